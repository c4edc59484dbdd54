package oracle

import (
	"net/netip"

	"k8s.io/apimachinery/pkg/types"
)

// Mode says how a caller's connections leave it.
type Mode string

// The modes of callers.
const (
	// Sidecar callers have an Envoy beside them that originates mTLS or HBONE.
	Sidecar Mode = "sidecar"
	// Ambient callers are captured by a ztunnel.
	Ambient Mode = "ambient"
	// Gateway callers are Envoys at the edge of the mesh.
	Gateway Mode = "gateway"
	// Outside callers are not part of the mesh.
	Outside Mode = "outside"
)

// Caller is who calls.
type Caller struct {
	// Identity is a SPIFFE identity, empty for callers outside the mesh.
	Identity string
	Mode     Mode
	// Address is the one that its connections come from.
	Address netip.Addr
}

// Call is one call to a pod.
type Call struct {
	Caller Caller
	// Service and Port are what the caller dials, unless it is Direct.
	Service types.NamespacedName
	Port    uint32
	// Host is that of a ServiceEntry, in the namespace of Service; empty for a Service
	// of Kubernetes.
	Host string
	// Pod is the one that the call ends at: an endpoint of the Service.
	Pod types.NamespacedName
	// Direct calls go to the pod's own address. Port is then the pod's port. The
	// Host of such a request must not name a Service: a sidecar would take the
	// request for one to that Service.
	Direct  bool
	Request Request
}

// Request is what is sent.
type Request struct {
	// HTTP is false for other protocols, which have none of Method, Path, Host,
	// Headers and Token.
	HTTP   bool
	Method string
	// Path is without a query.
	Path    string
	Host    string
	Headers map[string]string
	// Token is sent as the bearer token of the Authorization header.
	Token Token
	// SNI is set where the application itself speaks TLS, which is then opaque.
	SNI string
}

// TokenKind says whether a request bears a token.
type TokenKind int

// The kinds of tokens.
const (
	NoToken TokenKind = iota
	// ValidToken is signed by its issuer and current.
	ValidToken
	// InvalidToken names its issuer but does not verify.
	InvalidToken
)

// Token is a JSON web token.
type Token struct {
	Kind      TokenKind
	Issuer    string
	Subject   string
	Audiences []string
	// Claims are further ones, as encoding/json decodes them.
	Claims map[string]any
}

// payload returns the claims of a token as one object.
func (t Token) payload() map[string]any {
	result := make(map[string]any, len(t.Claims)+3)
	for name, value := range t.Claims {
		result[name] = value
	}
	result["iss"] = t.Issuer
	if t.Subject != "" {
		result["sub"] = t.Subject
	}
	switch len(t.Audiences) {
	case 0:
	case 1:
		result["aud"] = t.Audiences[0]
	default:
		list := make([]any, len(t.Audiences))
		for i, audience := range t.Audiences {
			list[i] = audience
		}
		result["aud"] = list
	}
	return result
}

// Outcome is what becomes of a call.
type Outcome string

// The outcomes of calls.
const (
	// Allowed calls reach the application.
	Allowed Outcome = "allowed"
	// Denied calls are refused by a policy or for lack of mTLS.
	Denied Outcome = "denied"
	// Delegated calls reach the application if an external authorizer agrees.
	Delegated Outcome = "delegated"
	// Unreachable calls fail for other reasons than policy.
	Unreachable Outcome = "unreachable"
)

// Verdict is what becomes of a call, and why.
type Verdict struct {
	Outcome Outcome
	// By names the points that decided, and the policies by which they did.
	By string
}

// join adds a further enforcement point to what was decided so far.
func (v Verdict) join(next Verdict) Verdict {
	if v.Outcome == Denied || v.Outcome == Unreachable {
		return v
	}
	if v.By != "" {
		next.By = v.By + "; " + next.By
	}
	if v.Outcome == Delegated && next.Outcome == Allowed {
		next.Outcome = Delegated
	}
	return next
}
