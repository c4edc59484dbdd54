package access

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Progress is how far a workload is that a step restarts.
type Progress int

// While a workload is restarted it runs pods of both kinds, and afterwards those
// that are made from its template.
const (
	ProgressNone Progress = iota
	ProgressDuring
	ProgressAfter
)

// Overlay is what a snapshot that a plan has changed does not say by itself. The
// zero Overlay says nothing.
type Overlay struct {
	// Moved are the workloads that have been restarted since their pods were read.
	Moved map[v1alpha1.ObjectReference]Progress
	// Ready says of waypoints whether they are, whatever their status says.
	Ready map[types.NamespacedName]bool
	// AllSidecars takes every pod that ztunnel captures for one with a sidecar, and
	// no waypoint for ready: what is left decides calls by what policies say of the
	// pods that they select.
	AllSidecars bool
}

// Builder makes states, and keeps what it has understood of policies from one to
// the next, by their addresses: what a snapshot holds does not change. It is for
// one goroutine; the states are for any number.
type Builder struct {
	policies        map[*clientsecurityv1.AuthorizationPolicy]*policy
	authentications map[uintptr]*authentication
	// domains are those that policies were understood with.
	domains trustDomains
}

// Of makes the state of a single snapshot.
func Of(snapshot *mesh.Snapshot, namespaces []string, overlay Overlay) *State {
	return new(Builder).Of(snapshot, namespaces, overlay)
}

// Of makes the state for the servers of some namespaces, which are at hand: their
// pods and workloads are known whole.
func (b *Builder) Of(snapshot *mesh.Snapshot, namespaces []string, overlay Overlay) *State {
	building := &building{
		snapshot: snapshot, overlay: overlay, roots: snapshot.RootNamespaces(), domains: trustDomains{mesh.DefaultTrustDomain},
		waypoints: map[types.NamespacedName]*Waypoint{}, workloadOf: map[types.NamespacedName]v1alpha1.ObjectReference{},
	}
	building.captures = snapshot.CaptureDefaults()
	// Where istio-cni's rule cannot be read, what can be holds: the checks say so.
	building.rule, _ = snapshot.EnrolmentRule()
	if configurations := snapshot.Configurations(); len(configurations) > 0 {
		building.domains = append(trustDomains{configurations[0].TrustDomain}, configurations[0].TrustDomainAliases...)
		building.providers = providersOf(configurations)
	}
	b.understand(building, namespaces)
	building.state.TrustDomain = building.domains[0]
	building.keys = selectorKeys(snapshot, building.policies, namespaces)
	for _, namespace := range namespaces {
		building.addNamespace(namespace)
	}
	building.addServices(namespaces)
	building.enforce()
	return &building.state
}

// building is a state in the making.
type building struct {
	state           State
	snapshot        *mesh.Snapshot
	overlay         Overlay
	roots           []string
	domains         trustDomains
	providers       providers
	policies        []*policy
	authentications []*authentication
	rule            mesh.EnrolmentRule
	captures        mesh.CaptureDefaults
	waypoints       map[types.NamespacedName]*Waypoint
	// workloadOf are the workloads of pods, by the pods' names.
	workloadOf map[types.NamespacedName]v1alpha1.ObjectReference
	// keys are the volatile labels that any selector looks at.
	keys map[string]bool
	// byAddress is true where policies ask for the address that is called.
	byAddress bool
}

// providersOf returns the external authorizers that any revision knows.
func providersOf(configurations []mesh.Configuration) providers {
	known := providers{}
	for _, configuration := range configurations {
		for _, provider := range configuration.ExtensionProviders {
			name, _ := provider["name"].(string)
			for _, kind := range []string{providerHTTP, providerGRPC} {
				if _, is := provider[kind]; is {
					known[name] = kind
				}
			}
		}
	}
	return known
}

// understand compiles the policies that were not met before, of those that may reach
// servers of some namespaces: those that select pods are for pods of their own
// namespace, or the whole mesh's.
func (b *Builder) understand(building *building, namespaces []string) {
	if b.policies == nil || !slices.Equal(b.domains, building.domains) {
		b.policies, b.domains = map[*clientsecurityv1.AuthorizationPolicy]*policy{}, building.domains
	}
	if b.authentications == nil {
		b.authentications = map[uintptr]*authentication{}
	}
	for _, object := range building.snapshot.AuthorizationPolicies() {
		targeted := len(object.Spec.GetTargetRefs()) > 0 || object.Spec.GetTargetRef() != nil
		if !targeted && !slices.Contains(namespaces, object.Namespace) && !slices.Contains(building.roots, object.Namespace) {
			continue
		}
		compiled, met := b.policies[object]
		if !met {
			compiled = compile(object, building.domains)
			b.policies[object] = compiled
		}
		building.policies = append(building.policies, compiled)
		building.byAddress = building.byAddress || compiled.byDestination
	}
	for _, extension := range building.snapshot.Extensions() {
		if extension.Reference.Kind != mesh.KindRequestAuthentication {
			continue
		}
		at := reflect.ValueOf(extension.Object).Pointer()
		compiled, met := b.authentications[at]
		if !met {
			compiled = compileAuthentication(extension)
			b.authentications[at] = compiled
		}
		building.authentications = append(building.authentications, compiled)
	}
	slices.SortStableFunc(building.authentications, (*authentication).compareAge)
}

// enforce finds out which policies hold where.
func (b *building) enforce() {
	for _, server := range b.state.Servers {
		for _, service := range b.state.Services {
			if service.Selects(server) {
				server.services = append(server.services, service)
			}
		}
		server.setPorts()
		server.mutual = mutualTLSOf(b.snapshot, server)
		b.enforceOn(server)
	}
	b.noteUnknown()
	for _, service := range b.state.Services {
		service.promiseTLS = true
		for _, server := range b.state.Servers {
			if slices.Contains(server.services, service) && !server.promisesTLS() {
				service.promiseTLS = false
			}
		}
		if service.Waypoint != nil {
			service.proxy = b.waypointProxy(service.Waypoint, service)
		}
	}
}

func (b *building) enforceOn(server *Server) {
	namespace, labels := server.Workload.Namespace, server.Labels
	switch server.Mode {
	case ModeAmbient:
		for _, policy := range b.policies {
			if policy.reachesAmbientPod(namespace, labels, b.roots) {
				server.ztunnel.add(policy)
			}
		}
	case ModeSidecar, ModeGateway:
		point := AtSidecar
		if server.Mode == ModeGateway {
			point = AtGateway
		}
		server.proxy = b.proxyOf(point, func(a *attachment) bool { return a.reachesPod(namespace, labels, b.roots) })
	case ModeOutside:
	}
	if server.UseWaypoint != nil {
		server.direct = b.waypointProxy(server.UseWaypoint, nil)
	}
}

func (b *building) waypointProxy(waypoint *Waypoint, service *Service) proxy {
	return b.proxyOf(AtWaypoint, func(a *attachment) bool { return a.reachesWaypoint(waypoint, service, b.roots) })
}

func (b *building) proxyOf(point Point, reaches func(*attachment) bool) proxy {
	made := proxy{point: point, providers: b.providers}
	for _, policy := range b.policies {
		if reaches(&policy.attachment) {
			made.add(policy)
		}
	}
	for _, authentication := range b.authentications {
		if reaches(&authentication.attachment) {
			made.tokens.add(authentication)
		}
	}
	made.tokens.sort()
	return made
}

// volatileLabels tell the pods of a workload apart, or those of one revision from
// those of another.
var volatileLabels = map[string]bool{
	"pod-template-hash": true, "controller-revision-hash": true, "pod-template-generation": true, "rollouts-pod-template-hash": true,
	"statefulset.kubernetes.io/pod-name": true, "apps.kubernetes.io/pod-index": true, "job-name": true, "controller-uid": true,
	"batch.kubernetes.io/job-name": true, "batch.kubernetes.io/controller-uid": true, "batch.kubernetes.io/job-completion-index": true,
}

// selectorKeys returns those of the volatile labels that a selector looks at, as
// the selector of a Service for one pod of a StatefulSet does.
func selectorKeys(snapshot *mesh.Snapshot, policies []*policy, namespaces []string) map[string]bool {
	keys := map[string]bool{}
	add := func(selector map[string]string) {
		for key := range selector {
			if volatileLabels[key] {
				keys[key] = true
			}
		}
	}
	for _, policy := range policies {
		add(policy.object.Spec.GetSelector().GetMatchLabels())
	}
	for _, extension := range snapshot.Extensions() {
		add(extension.Selector)
	}
	for _, policy := range snapshot.PeerAuthentications() {
		add(policy.Spec.GetSelector().GetMatchLabels())
	}
	for _, namespace := range namespaces {
		for _, service := range snapshot.Services(namespace) {
			add(service.Spec.Selector)
		}
	}
	return keys
}

// setPorts takes in what Services say of the server's ports. Of several that name
// the same the oldest counts (istio pilot/pkg/networking/core/listener_inbound.go,
// getFilterChainsByServicePort): the Services are in that order, those that heeds
// leaves out excepted.
func (s *Server) setPorts() {
	s.protocols = map[uint32]Protocol{}
	for _, service := range s.services {
		heeded := s.heeds(service)
		for _, port := range service.Ports {
			target := s.targetOf(service, port)
			if target == 0 || port.Protocol == ProtocolUDP {
				continue
			}
			s.Ports = append(s.Ports, target)
			if _, known := s.protocols[target]; !known && heeded {
				s.protocols[target] = port.Protocol
			}
		}
	}
	slices.Sort(s.Ports)
	s.Ports = slices.Compact(s.Ports)
}

// parseAddresses leaves out what is no address.
func parseAddresses(texts []string) []netip.Addr {
	var addresses []netip.Addr
	for _, text := range texts {
		if address, err := netip.ParseAddr(strings.TrimSpace(text)); err == nil {
			addresses = append(addresses, address.Unmap())
		}
	}
	return addresses
}
