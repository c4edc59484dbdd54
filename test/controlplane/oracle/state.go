package oracle

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"
)

// State is what istiod served at one time. It does not change, and any number
// of goroutines may decide calls by it.
type State struct {
	pods      map[types.NamespacedName]*server
	addresses map[netip.Addr]*server
	services  map[string]*workloadapi.Service
	// members are the pods of each Service.
	members  map[string][]*server
	policies map[string]*security.Authorization
	callers  map[callerKey]*view
	// waypoints are the namespaces of the waypoints that were read.
	waypoints map[string]bool
	// addressed are the endpoints of each Service that are addresses only.
	addressed map[string][]*workloadapi.Workload
}

// callerKey is a namespace and a kind of Envoy.
type callerKey struct{ namespace, kind string }

// server is a pod that calls end at, or a waypoint.
type server struct {
	pod      *corev1.Pod
	address  netip.Addr
	workload *workloadapi.Workload
	// policies are those that a ztunnel applies to the pod.
	policies []*security.Authorization
	// kind is that of the pod's Envoy, empty for one without.
	kind      string
	listeners map[string]*envoyListener
	// view is what a waypoint knows of others.
	view *view
}

func (s *server) name() string { return s.pod.Namespace + "/" + s.pod.Name }

// hop is a connection on its way to a pod.
type hop struct {
	transport   transport
	identity    string
	source      netip.Addr
	destination netip.AddrPort
	sni         string
	request     Request
}

// Decide tells what becomes of a call. It is an error if the state does not
// cover the call or holds what the oracle does not understand.
func (s *State) Decide(call Call) (Verdict, error) {
	verdict, err := s.decide(call)
	if err != nil {
		return Verdict{}, fmt.Errorf("deciding a call of %s %q to %s: %w", call.Caller.Mode, call.Caller.Identity, call.Pod, err)
	}
	return verdict, nil
}

func (s *State) decide(call Call) (Verdict, error) {
	target := s.pods[call.Pod]
	if target == nil {
		return Verdict{}, errors.New("the pod was not read")
	}
	if (call.Caller.Mode == Outside) != (call.Caller.Identity == "") {
		return Verdict{}, errors.New("exactly the callers outside have no identity")
	}
	switch call.Caller.Mode {
	case Ambient:
		return s.decideAmbient(call, target)
	case Outside:
		return s.decidePlain(call, target)
	case Sidecar, Gateway:
		return s.decideEnvoy(call, target)
	default:
		return Verdict{}, fmt.Errorf("caller mode %q", call.Caller.Mode)
	}
}

func (c Call) hostname() string {
	return cmp.Or(c.Host, c.Service.Name+"."+c.Service.Namespace+".svc.cluster.local")
}

func (c Call) serviceKey() string { return c.Service.Namespace + "/" + c.hostname() }

// endpoint is what ztunnel takes the pod for as an endpoint of the Service.
func (s *State) endpoint(call Call, target *server) *workloadapi.Workload {
	key := call.serviceKey()
	if call.Direct || target.workload.Services[key] != nil {
		return target.workload
	}
	for _, candidate := range s.addressed[key] {
		for _, address := range candidate.Addresses {
			if slices.Equal(address, target.address.AsSlice()) {
				return candidate
			}
		}
	}
	return target.workload
}

// podPort is the port of the pod that a call arrives at. Nothing translates the
// port of a headless Service. It is zero if the pod does not serve the port.
func (s *State) podPort(call Call, target *server) (uint16, error) {
	if call.Direct {
		return uint16(call.Port), nil //nolint:gosec // A port.
	}
	service := s.services[call.serviceKey()]
	if service == nil {
		return 0, fmt.Errorf("istiod serves no Service %s", call.Service)
	}
	for _, port := range s.endpoint(call, target).Services[call.serviceKey()].GetPorts() {
		switch {
		case port.ServicePort != call.Port:
		case len(service.Addresses) == 0:
			return uint16(call.Port), nil //nolint:gosec // A port.
		default:
			return uint16(port.TargetPort), nil //nolint:gosec // A port.
		}
	}
	return 0, nil
}

var notAnEndpoint = Verdict{Unreachable, "the pod does not serve the port"}

func (s *State) decidePlain(call Call, target *server) (Verdict, error) {
	port, err := s.podPort(call, target)
	if err != nil || port == 0 {
		return notAnEndpoint, err
	}
	return s.arrive(target, hop{
		transport:   plaintext,
		source:      call.Caller.Address,
		destination: netip.AddrPortFrom(target.address, port),
		request:     call.Request,
	})
}

// decideAmbient follows ztunnel: to a Service it goes by the Service's waypoint,
// to a pod by the workload's, and else straight (ztunnel's
// src/proxy/outbound.rs). A headless Service has no address of its own, so that
// ztunnel sees a pod.
func (s *State) decideAmbient(call Call, target *server) (Verdict, error) {
	port, err := s.podPort(call, target)
	if err != nil {
		return Verdict{}, err
	}
	h := hop{identity: call.Caller.Identity, source: call.Caller.Address, request: call.Request}
	waypoint := target.workload.Waypoint
	h.destination = netip.AddrPortFrom(target.address, port)
	service := s.services[call.serviceKey()]
	upstream := target.workload
	if !call.Direct && len(service.Addresses) > 0 {
		upstream = s.endpoint(call, target)
	}
	if !call.Direct && len(service.Addresses) > 0 {
		if len(service.WeightedWaypoints) > 0 {
			return Verdict{}, errors.New("the Service has several waypoints by weight")
		}
		waypoint = service.Waypoint
		if waypoint != nil {
			address, ok := netip.AddrFromSlice(service.Addresses[0].Address)
			if !ok {
				return Verdict{}, errors.New("the Service has no valid address")
			}
			h.destination = netip.AddrPortFrom(address, uint16(call.Port)) //nolint:gosec // A port.
		}
	}
	if waypoint != nil {
		return s.passWaypoint(waypoint, h, target)
	}
	if port == 0 {
		return notAnEndpoint, nil
	}
	h.transport = plaintext
	if upstream.TunnelProtocol == workloadapi.TunnelProtocol_HBONE {
		h.transport = tunnel
	}
	if h.transport == plaintext {
		h.identity = ""
	}
	return s.arrive(target, h)
}

// decideEnvoy follows the Envoy of a sidecar or a gateway.
func (s *State) decideEnvoy(call Call, target *server) (Verdict, error) {
	kind := kindSidecar
	if call.Caller.Mode == Gateway {
		kind = kindRouter
	}
	_, namespace, _ := identityParts(call.Caller.Identity)
	v := s.callers[callerKey{namespace, kind}]
	if v == nil {
		return Verdict{}, fmt.Errorf("callers of namespace %q were not read", namespace)
	}
	port, err := s.podPort(call, target)
	if err != nil {
		return Verdict{}, err
	}
	name, err := v.clusterFor(call, netip.AddrPortFrom(target.address, port))
	if err != nil {
		return Verdict{}, err
	}
	way, verdict, err := v.follow(name, netip.AddrPortFrom(target.address, port))
	if err != nil || verdict.Outcome != "" {
		return verdict, err
	}
	h := hop{
		transport:   way.transport,
		identity:    call.Caller.Identity,
		source:      call.Caller.Address,
		destination: way.endpoint,
		sni:         way.sni,
		request:     call.Request,
	}
	if way.waypoint.IsValid() {
		return s.passWaypointPod(s.addresses[way.waypoint], h, target)
	}
	return s.arrive(target, h)
}

// clusterFor is the cluster that takes a call.
func (v *view) clusterFor(call Call, pod netip.AddrPort) (string, error) {
	if call.Direct {
		if call.Caller.Mode == Gateway {
			return "", errors.New("gateways call Services only")
		}
		if name := v.pods[pod]; name != "" {
			return name, nil
		}
		return v.unknown, nil
	}
	name := outboundCluster(call.Port, call.hostname())
	if v.clusters[name] == nil && call.Caller.Mode == Sidecar {
		return v.unknown, nil
	}
	return name, nil
}

// follow returns how a cluster reaches a pod, or the verdict that it does not.
func (v *view) follow(name string, pod netip.AddrPort) (path, Verdict, error) {
	c := v.clusters[name]
	switch {
	case name == blackHole || c == nil:
		return path{}, Verdict{Unreachable, "the caller's proxy does not know the destination"}, nil
	case c.GetType() == cluster.Cluster_ORIGINAL_DST:
		if pod.Port() == 0 {
			return path{}, notAnEndpoint, nil
		}
		// Such a cluster knows no metadata of endpoints.
		by, sni, err := transportOf(c, nil)
		return path{transport: by, sni: sni, endpoint: pod}, Verdict{}, err
	}
	way, ok, err := v.reach(name, pod.Addr())
	if err == nil && !ok {
		return path{}, notAnEndpoint, nil
	}
	return way, Verdict{}, err
}

// passWaypoint sends a connection through a waypoint that ztunnel was told of.
func (s *State) passWaypoint(waypoint *workloadapi.GatewayAddress, h hop, target *server) (Verdict, error) {
	key, err := s.waypointKey(waypoint)
	if err != nil {
		return Verdict{}, err
	}
	members := s.members[key]
	index := slices.IndexFunc(members, func(member *server) bool { return member.workload.Status == workloadapi.WorkloadStatus_HEALTHY })
	if index < 0 {
		return Verdict{Unreachable, "waypoint " + key + " has no healthy pod"}, nil
	}
	return s.passWaypointPod(members[index], h, target)
}

func (s *State) waypointKey(waypoint *workloadapi.GatewayAddress) (string, error) {
	if named := waypoint.GetHostname(); named != nil {
		return named.Namespace + "/" + named.Hostname, nil
	}
	for _, key := range sortedKeys(s.services) {
		for _, address := range s.services[key].Addresses {
			if slices.Equal(address.Address, waypoint.GetAddress().GetAddress()) {
				return key, nil
			}
		}
	}
	return "", errors.New("a waypoint that is no Service")
}

// passWaypointPod lets a waypoint decide and sends what it admits on to the pod
// as the waypoint. The waypoint sees the client's own address and identity: the
// termination of the tunnel hands both on to the inner connection
// (pilot/pkg/xds/filters/filters.go, ConnectAuthorityFilter), and a ztunnel
// connects from the client's address.
func (s *State) passWaypointPod(waypoint *server, h hop, target *server) (Verdict, error) {
	if waypoint == nil || waypoint.kind != kindWaypoint || waypoint.view == nil {
		return Verdict{}, errors.New("the waypoint was not read")
	}
	verdict, chain, request, err := waypoint.decideTunnel(h)
	if err != nil || verdict.Outcome == Denied || verdict.Outcome == Unreachable {
		return verdict, err
	}
	next := hop{
		transport:   tunnel,
		identity:    identityOf(waypoint.workload),
		source:      waypoint.address,
		destination: netip.AddrPortFrom(target.address, h.destination.Port()),
		request:     request,
	}
	if strings.HasPrefix(chain, "inbound-vip|") {
		way, missing, err := waypoint.view.follow(chain, netip.AddrPortFrom(target.address, 0))
		if err != nil || missing.Outcome != "" {
			return missing, err
		}
		next.transport, next.destination, next.sni = way.transport, way.endpoint, way.sni
	}
	after, err := s.arrive(target, next)
	return verdict.join(after), err
}

// arrive decides a connection at the pod.
func (s *State) arrive(target *server, h hop) (Verdict, error) {
	switch {
	case target.kind == kindSidecar:
		return target.decideSidecar(h)
	case target.kind != "":
		return Verdict{}, fmt.Errorf("the pod is a %s", target.kind)
	case target.workload.TunnelProtocol == workloadapi.TunnelProtocol_HBONE:
		return target.decideCaptured(h), nil
	case h.transport == plaintext:
		return Verdict{Allowed, "no enforcement at " + target.name()}, nil
	default:
		return Verdict{Unreachable, "pod " + target.name() + " does not speak " + string(h.transport)}, nil
	}
}

// decideCaptured decides at the ztunnel of the pod. It takes only HBONE for
// encrypted, and passes other TLS to the application as it is.
func (s *server) decideCaptured(h hop) Verdict {
	call := ztunnelCall{source: h.source, destination: h.destination}
	if h.transport == tunnel {
		call.identity = h.identity
	}
	verdict := decideZtunnel(s.policies, call)
	verdict.By = "ztunnel: " + verdict.By
	if h.transport == mutualTLS && verdict.Outcome == Allowed {
		return Verdict{Unreachable, "the application at " + s.name() + " gets TLS"}
	}
	return verdict
}
