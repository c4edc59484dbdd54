package access

import (
	"net/netip"
	"slices"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// State is the mesh at one instant, as far as it decides calls to the servers of
// some namespaces. A Builder makes it; it does not change.
type State struct {
	// Servers are the pods that calls are for, alike ones as one.
	Servers []*Server
	// Services are those that select any of Servers.
	Services []*Service
	// TrustDomain is that of the mesh's own identities.
	TrustDomain string
}

// BehindWaypoints is the state of those servers only that a Service, or their own
// address, is behind a waypoint of, and calls to which anything decides.
func (s *State) BehindWaypoints() *State {
	behind := &State{Services: s.Services, TrustDomain: s.TrustDomain}
	for _, server := range s.Servers {
		fronted := server.UseWaypoint != nil || slices.ContainsFunc(server.services, func(service *Service) bool { return service.Waypoint != nil })
		if fronted && len(server.Policies())+len(server.Authentications()) > 0 {
			behind.Servers = append(behind.Servers, server)
		}
	}
	return behind
}

// Server stands for pods that are alike: of one workload, with the same labels
// and in the same mode.
type Server struct {
	// Workload is what runs the pods, or a pod that nothing controls.
	Workload v1alpha1.ObjectReference
	// Labels are the pods', those that the injector adds included. Those that
	// tell the pods of a workload apart are left out where no selector uses them.
	Labels   map[string]string
	Identity Identity
	Mode     Mode
	// Tunnels is true where a sidecar accepts HBONE.
	Tunnels bool
	// NamedPorts are the container ports that have a name, by it.
	NamedPorts map[string]uint32
	// Ports are the pods' ports that containers declare or Services name.
	Ports []uint32
	// Addresses are those of the pods; empty where none runs yet. Where a policy
	// asks for the address that is called, pods with different ones are several
	// servers.
	Addresses []netip.Addr
	// UseWaypoint is the waypoint for traffic to the pods' own addresses; nil
	// where there is none.
	UseWaypoint *Waypoint

	services []*Service
	mutual   mutualTLS
	// capture is what a sidecar captures, which decides nothing elsewhere.
	capture mesh.InboundCapture
	// proxy is what a sidecar or gateway enforces, ztunnel what ztunnel does,
	// direct what UseWaypoint does.
	proxy, direct proxy
	ztunnel       ztunnel
	// protocols are what Services say of the pods' ports; the others are in none.
	protocols map[uint32]Protocol
	// unknown is why calls to the server cannot all be told.
	unknown []string
}

// Unknown says why calls to the server cannot all be told, if there is anything that
// protects it.
func (s *Server) Unknown() []string {
	if len(s.unknown) == 0 || !s.Protected() {
		return nil
	}
	return slices.Clone(s.unknown)
}

// Protected says whether any policy may refuse a call to the server.
func (s *Server) Protected() bool {
	return len(s.Policies()) > 0 || len(s.Authentications()) > 0 || s.mutual.refuses.RefusesAny()
}

// Services returns those that select the server.
func (s *Server) Services() []*Service { return slices.Clone(s.services) }

// accepts says whether the pods understand HBONE: ambient ones do, whether
// ztunnel has captured them already or not.
func (s *Server) accepts() bool {
	return s.Mode == ModeAmbient || s.Mode == ModeSidecar && s.Tunnels
}

// promisesTLS says whether the pods' label makes sidecars and gateways speak mTLS
// to them, as they do to those that speak it themselves.
func (s *Server) promisesTLS() bool { return s.Labels[labelTLSMode] == tlsModeIstio }

// PodPort is the port of the pod that a call to a port of a Service reaches: of a
// headless one the same, as its clients dial the pod's own address. It is 0 where
// the server has no port of the name that the Service gives.
func (s *Server) PodPort(service *Service, port uint32) uint32 {
	if service == nil || service.Headless {
		return port
	}
	for _, of := range service.Ports {
		if of.Port == port {
			return s.targetOf(service, of)
		}
	}
	return port
}

// targetOf is the server's port to which a port of a Service leads.
func (s *Server) targetOf(service *Service, port ServicePort) uint32 {
	if written := service.writtenFor(s); written != nil {
		return written.ports[port.Name]
	}
	return s.target(port)
}

func (s *Server) target(port ServicePort) uint32 {
	if number, named := s.NamedPorts[port.TargetName]; named && port.TargetName != "" {
		return number
	}
	return port.Target
}

// Service is a Service in front of servers, or a ServiceEntry.
type Service struct {
	Reference v1alpha1.ObjectReference
	// Host is the name by which proxies know it, the first one of a ServiceEntry.
	Host     string
	Labels   map[string]string
	Selector map[string]string
	Headless bool
	Ports    []ServicePort
	// Addresses are the Service's own.
	Addresses []netip.Addr
	// Waypoint is the one that traffic to the Service goes through; nil where
	// there is none, or where it was never ready: it is then bypassed.
	Waypoint *Waypoint
	// IngressUsesWaypoint is true where gateways use it, too.
	IngressUsesWaypoint bool

	// selector is Selector, as it is compared.
	selector selector
	// written are the workloads to whose pods EndpointSlices lead that people write.
	written map[v1alpha1.ObjectReference]*written
	created time.Time
	// proxy is what Waypoint enforces.
	proxy proxy
	// promiseTLS is true where all servers promise mTLS: a sidecar sends none to
	// any of a headless Service otherwise.
	promiseTLS bool
}

// Name is what callers are likely to call it.
func (s *Service) Name() string {
	if s.Reference.Kind == mesh.KindServiceEntry {
		return s.Host
	}
	return s.Reference.Name
}

// Selects says whether the Service is in front of a server.
func (s *Service) Selects(server *Server) bool {
	return s.selectsLabels(server) || s.written[server.Workload] != nil
}

func (s *Service) selectsLabels(server *Server) bool {
	return len(s.selector) > 0 && server.Workload.Namespace == s.Reference.Namespace && s.selector.holds(server.Labels)
}

// writtenFor says how an EndpointSlice that people write leads to a server; nil
// where the Service selects it anyway, which istiod minds first.
func (s *Service) writtenFor(server *Server) *written {
	if of := s.written[server.Workload]; of != nil && !s.selectsLabels(server) {
		return of
	}
	return nil
}

func (s *Service) port(number uint32) (ServicePort, bool) {
	for _, port := range s.Ports {
		if port.Port == number {
			return port, true
		}
	}
	return ServicePort{}, false
}

// Protocol is what istiod takes a port to carry.
type Protocol = mesh.Protocol

// The protocols. An undeclared one is told from what the caller sends.
const (
	ProtocolHTTP       = mesh.ProtocolHTTP
	ProtocolTCP        = mesh.ProtocolTCP
	ProtocolUndeclared = mesh.ProtocolUndeclared
	ProtocolUDP        = mesh.ProtocolUDP
)

// ServicePort is a port of a Service.
type ServicePort struct {
	Name string
	Port uint32
	// TargetName is the name of the pod's port; Target is its number where there is
	// no port of that name, and 0 where there is then none.
	Target     uint32
	TargetName string
	Protocol   Protocol
	// TLS is true for a port of protocol TCP whose declared protocol is TLS.
	TLS bool
}

// Waypoint is a waypoint that is ready.
type Waypoint struct {
	Namespace, Name string
	// Class is its GatewayClass.
	Class    string
	Identity Identity
	// Addresses are its pods'; empty where they are not known.
	Addresses []netip.Addr
}

// String is the waypoint as messages name it.
func (w *Waypoint) String() string { return w.Namespace + "/" + w.Name }

// The labels by which proxies know what a pod speaks (istio
// manifests/charts/istio-control/istio-discovery/files/injection-template.yaml).
const (
	labelTLSMode = "security.istio.io/tlsMode"
	tlsModeIstio = "istio"
)
