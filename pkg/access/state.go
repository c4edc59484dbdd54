package access

import (
	"net/netip"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// State is the mesh at one instant, as far as it decides calls to the servers of
// some namespaces.
type State struct {
	snapshot *mesh.Snapshot
	// Servers are the pods that calls are for, alike ones as one.
	Servers []*Server
	// Services are those that select any of Servers.
	Services []*Service
}

// Server stands for pods that are alike: of one workload, with the same labels
// and in the same mode.
type Server struct {
	// Workload is what runs the pods, or a pod that nothing controls.
	Workload v1alpha1.ObjectReference
	// Labels are the pods', those that the injector adds included.
	Labels   map[string]string
	Identity Identity
	Mode     Mode
	// Tunnels is true where a sidecar accepts HBONE.
	Tunnels bool
	// NamedPorts are the container ports that have a name, by it.
	NamedPorts map[string]uint32
	// Ports are the pods' ports that containers declare or Services name.
	Ports []uint32
	// Addresses are those of the pods; empty where none runs yet.
	Addresses []netip.Addr
	// UseWaypoint is the waypoint for traffic to the pods' own addresses; nil
	// where there is none.
	UseWaypoint *Waypoint
}

// Service is a Service in front of servers.
type Service struct {
	Reference v1alpha1.ObjectReference
	Labels    map[string]string
	Selector  map[string]string
	Headless  bool
	Ports     []ServicePort
	// Waypoint is the one that traffic to the Service goes through; nil where
	// there is none, or where it was never ready: it is then bypassed.
	Waypoint *Waypoint
	// IngressUsesWaypoint is true where gateways use it, too.
	IngressUsesWaypoint bool
}

// Protocol is what istiod takes a port to carry.
type Protocol string

// The protocols. An undeclared one is told from what the caller sends.
const (
	ProtocolHTTP       Protocol = "HTTP"
	ProtocolTCP        Protocol = "TCP"
	ProtocolUndeclared Protocol = "undeclared"
	ProtocolUDP        Protocol = "UDP"
)

// ServicePort is a port of a Service.
type ServicePort struct {
	Port uint32
	// Target is the pod's port, or TargetName the name of one.
	Target     uint32
	TargetName string
	Protocol   Protocol
}

// Waypoint is a waypoint that is ready.
type Waypoint struct {
	Namespace, Name string
	// Class is its GatewayClass.
	Class    string
	Identity Identity
	// Labels are those of the namespace's Gateway pods that policies go by.
	Labels map[string]string
	// Addresses are its pods'; empty where they are not known.
	Addresses []netip.Addr
}
