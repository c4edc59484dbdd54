package access

import (
	"net/netip"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// Mode is how a pod takes part in the mesh.
type Mode string

// The modes. Outside the mesh are pods without a proxy, and whatever is no pod.
const (
	ModeSidecar Mode = "sidecar"
	ModeAmbient Mode = "ambient"
	ModeGateway Mode = "gateway"
	ModeOutside Mode = "outside"
)

// Identity is what mutual TLS proves of a workload: spiffe://TRUSTDOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT.
// The zero Identity is none.
type Identity struct {
	TrustDomain, Namespace, ServiceAccount string
}

// None says whether there is no identity.
func (i Identity) None() bool { return i == Identity{} }

// Principal is the identity as policies write it: without the scheme.
func (i Identity) Principal() string {
	if i.None() {
		return ""
	}
	return i.TrustDomain + "/ns/" + i.Namespace + "/sa/" + i.ServiceAccount
}

// Caller is who calls.
type Caller struct {
	// Mode decides which way the call goes.
	Mode Mode
	// Identity is what the caller's proxy, or ztunnel on its behalf, can prove.
	// Callers outside the mesh have none.
	Identity Identity
	// Address is the caller's own; the zero Addr matches no block.
	Address netip.Addr
}

// Call is one request, or one connection, of a caller to a server.
type Call struct {
	Caller Caller
	// Server is the pod that answers.
	Server *Server
	// Service is what the caller dialled; nil where it dialled the pod's own
	// address.
	Service *Service
	// Port is the Service's port, or the pod's where Service is nil.
	Port    uint32
	Request Request
}

// Request is what is asked for, as far as policies can tell requests apart.
type Request struct {
	// HTTP is false for a connection that carries something else; the fields
	// below it are then empty.
	HTTP   bool
	Method string
	// Path is without the query.
	Path string
	// Host is the :authority, a port included where the caller sends one: policies
	// compare that, too.
	Host string
	// Headers are by lower-case name.
	Headers map[string]string
	Token   Token
	// ForwardedFor is the client that a trusted proxy in front names (remote.ip);
	// the zero Addr means that the caller's own address counts.
	ForwardedFor netip.Addr
	// ServerName is what a TLS client of the application's own asks for (SNI).
	ServerName string
}

// Token is the JSON Web Token that a request carries.
type Token struct {
	// Issuer is empty where the request carries none.
	Issuer string
	// Valid is false for one that no RequestAuthentication would accept: of a
	// known issuer, expired or badly signed.
	Valid   bool
	Subject string
	// Audiences is the claim aud, Presenter the claim azp.
	Audiences []string
	Presenter string
	// Claims are the others, each a list of strings. A nested claim's key is its
	// path in brackets as policies write it: "a][b".
	Claims map[string][]string
}

// Outcome is what becomes of a call, from the narrowest to the widest.
type Outcome int

// The outcomes. Delegated leaves it to an external authorizer, in a CUSTOM
// policy, which may refuse.
const (
	Denied Outcome = iota
	Delegated
	Allowed
)

// Point is where a call is decided.
type Point string

// The enforcement points.
const (
	AtSidecar  Point = "sidecar"
	AtZtunnel  Point = "ztunnel"
	AtWaypoint Point = "waypoint"
	AtGateway  Point = "gateway"
)

// Decision is what becomes of a call, and why.
type Decision struct {
	Outcome Outcome
	// Point is where it was denied or delegated; empty where it is allowed.
	Point Point
	// Policies are responsible: those that deny it or delegate it; where it is
	// refused because no ALLOW policy matches, the ALLOW policies that there are;
	// where plaintext is refused, the PeerAuthentication. Decisions share the list:
	// it is not to be changed.
	Policies []v1alpha1.ObjectReference
	// Reason says it in a few words, such as "plaintext refused by STRICT" or
	// "no ALLOW policy matches"; empty where it is allowed.
	Reason string
}
