package mesh

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"istio.io/api/annotation"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// The values of label istio.io/waypoint-for: which traffic a waypoint takes
// (istio pkg/config/constants).
const (
	TrafficService  = "service"
	TrafficWorkload = "workload"
	TrafficAll      = "all"
	TrafficNone     = "none"
)

// IstioReads says whether a label can mean something to Istio.
func IstioReads(name string) bool {
	prefix, _, prefixed := strings.Cut(name, "/")
	return prefixed && (prefix == "istio.io" || strings.HasSuffix(prefix, ".istio.io"))
}

// WaypointUser is a label that sends an object's traffic through a waypoint.
type WaypointUser struct {
	// Object carries the label, at Field.
	Object v1alpha1.ObjectReference
	Field  string
	// Namespace and Name are the waypoint's. The name is empty where the label
	// is.
	Namespace string
	Name      string
	// Traffic is what the object is to a waypoint: TrafficService,
	// TrafficWorkload, or empty for a namespace, which stands for both.
	Traffic string
	// Canary is true for label istio.io/use-waypoint-canary.
	Canary bool
}

// useOf reads the labels of an object by which it uses a waypoint (istio
// pilot/pkg/serviceregistry/ambient/waypoints.go, GetUseWaypoint). Set says
// whether there is such a label: the value none is one, too, and refuses.
func useOf(labels map[string]string, fallback string) (namespace, name string, set bool) {
	name, set = labels[label.IoIstioUseWaypoint.Name]
	if !set {
		return "", "", false
	}
	return cmp.Or(labels[label.IoIstioUseWaypointNamespace.Name], fallback), name, true
}

func usersOf(object v1alpha1.ObjectReference, path, traffic, fallback string, labels map[string]string) []WaypointUser {
	var users []WaypointUser
	if namespace, name, set := useOf(labels, fallback); set && name != DataplaneNone {
		users = append(users, WaypointUser{
			Object: object, Field: path + "[" + label.IoIstioUseWaypoint.Name + "]", Namespace: namespace, Name: name, Traffic: traffic,
		})
	}
	if canary := labels[label.IoIstioUseWaypointCanary.Name]; canary != "" && canary != DataplaneNone && traffic != TrafficWorkload {
		users = append(users, WaypointUser{
			Object: object, Field: path + "[" + label.IoIstioUseWaypointCanary.Name + "]",
			Namespace: cmp.Or(labels[label.IoIstioUseWaypointCanaryNamespace.Name], fallback), Name: canary, Traffic: traffic, Canary: true,
		})
	}
	return users
}

// WaypointUsers returns the labels of a namespace and of what is in it that name
// waypoints: its Services, ServiceEntries, WorkloadEntries, pod templates and the
// pods that nothing controls.
func (s *Snapshot) WaypointUsers(namespace Namespace) []WaypointUser {
	const path = "metadata.labels"
	users := usersOf(namespace.Reference(), path, "", namespace.Name, namespace.Labels)
	for _, service := range s.Services(namespace.Name) {
		users = append(users, usersOf(ServiceReference(service.Namespace, service.Name), path, TrafficService, namespace.Name, service.Labels)...)
	}
	for _, entry := range s.serviceEntries {
		if entry.Namespace == namespace.Name {
			users = append(users, usersOf(ServiceEntryReference(entry.Namespace, entry.Name), path, TrafficService, namespace.Name, entry.Labels)...)
		}
	}
	for _, entry := range s.workloadEntries {
		if entry.Namespace == namespace.Name {
			users = append(users, usersOf(workloadEntryReference(entry.Namespace, entry.Name), path, TrafficWorkload, namespace.Name, entry.Labels)...)
		}
	}
	for _, workload := range s.Workloads(namespace.Name) {
		template := strings.ReplaceAll(strings.TrimPrefix(workload.TemplatePath, "/"), "/", ".") + "." + path
		users = append(users, usersOf(workload.Reference, template, TrafficWorkload, namespace.Name, workload.Template.Labels)...)
	}
	for _, pod := range s.BarePods(namespace.Name) {
		users = append(users, usersOf(pod.Reference(), path, TrafficWorkload, namespace.Name, pod.Labels)...)
	}
	return users
}

// ServiceReference names a Service as an object.
func ServiceReference(namespace, name string) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: "v1", Kind: KindService, Namespace: namespace, Name: name}
}

// SecurityReference names an object of Istio's security API: an AuthorizationPolicy, a
// PeerAuthentication or a RequestAuthentication.
func SecurityReference(kind, namespace, name string) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: "security.istio.io/v1", Kind: kind, Namespace: namespace, Name: name}
}

// ServiceEntryReference names a ServiceEntry as an object.
func ServiceEntryReference(namespace, name string) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: "networking.istio.io/v1", Kind: KindServiceEntry, Namespace: namespace, Name: name}
}

func workloadEntryReference(namespace, name string) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: "networking.istio.io/v1", Kind: KindWorkloadEntry, Namespace: namespace, Name: name}
}

// Reference names the pod as an object.
func (p Pod) Reference() v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: "v1", Kind: KindPod, Namespace: p.Namespace, Name: p.Name}
}

// WaypointUsed says whether anything in the mesh names a waypoint. Pod templates
// count in its own namespace only: those of others are not always known.
func (s *Snapshot) WaypointUsed(namespace, name string) bool {
	return s.waypointUsed(namespace, name, nil)
}

// WaypointEntered says whether anything in the mesh that names a waypoint goes through it:
// istiod passes over one that does not take such traffic, or does not admit the namespace
// (istio ambient/waypoints.go, fetchWaypointForTarget). A Service without an address of its
// own is called past every waypoint for Services, and a namespace's label stands for what
// inherits it. Pod templates count as for WaypointUsed. Where nothing is seen to go through
// the waypoint, unread names the namespaces whose label names it and of which not all was
// read that may inherit that.
func (s *Snapshot) WaypointEntered(gateway gatewayv1.Gateway) (entered bool, unread []string) {
	traffic := s.Traffic(gateway)
	entered = s.waypointUsed(gateway.Namespace, gateway.Name, func(user WaypointUser) bool {
		from := cmp.Or(user.Object.Namespace, user.Object.Name)
		namespace, found := s.Namespace(from)
		if !found {
			namespace = Namespace{Name: from}
		}
		switch {
		case !Takes(traffic, user.Traffic) || !AdmitsFrom(gateway, namespace):
			return false
		case user.Object.Kind == KindService:
			return slices.ContainsFunc(s.Services(from), func(service corev1.Service) bool {
				return service.Name == user.Object.Name && maySendThroughWaypoint(service)
			})
		case user.Traffic != "":
			return true
		case s.inherited(user, traffic):
			return true
		case s.Unread(from, inheriting(traffic)...) != "" && !slices.Contains(unread, from):
			unread = append(unread, from)
		}
		return false
	})
	return entered, unread
}

// Headless says whether calls to a Service go to the addresses of its pods, past every
// waypoint for Services, whatever its labels say (ztunnel src/proxy/outbound.rs,
// build_request).
func Headless(service corev1.Service) bool {
	return service.Spec.ClusterIP == corev1.ClusterIPNone && service.Spec.Type != corev1.ServiceTypeExternalName
}

// IsHeadless says whether an object is a headless Service that there is.
func (s *Snapshot) IsHeadless(object v1alpha1.ObjectReference) bool {
	return object.Kind == KindService && slices.ContainsFunc(s.Services(object.Namespace), func(service corev1.Service) bool {
		return service.Name == object.Name && Headless(service)
	})
}

// maySendThroughWaypoint says whether a label can send calls to a Service through a
// waypoint: istiod tells ztunnel nothing of external names (istio ambient/services.go,
// serviceServiceBuilder).
func maySendThroughWaypoint(service corev1.Service) bool {
	return !Headless(service) && service.Spec.Type != corev1.ServiceTypeExternalName && !NeverThroughWaypoint(service.Labels)
}

// inherited says whether anything that a waypoint for some traffic takes calls to has no
// label of its own that would come before one of its namespace. A canary is inherited
// together with the waypoint that it stands beside, and by services only (istio
// ambient/waypoints.go, buildWeightedWaypoints).
func (s *Snapshot) inherited(user WaypointUser, traffic string) bool {
	namespace := user.Object.Name
	inherits := func(labels map[string]string) bool {
		_, own := labels[label.IoIstioUseWaypoint.Name]
		_, ownCanary := labels[label.IoIstioUseWaypointCanary.Name]
		return !own && (!user.Canary || !ownCanary)
	}
	if Takes(traffic, TrafficService) {
		for _, service := range s.Services(namespace) {
			if inherits(service.Labels) && maySendThroughWaypoint(service) {
				return true
			}
		}
		for _, entry := range s.serviceEntries {
			if entry.Namespace == namespace && inherits(entry.Labels) {
				return true
			}
		}
	}
	if !Takes(traffic, TrafficWorkload) || user.Canary {
		return false
	}
	for _, entry := range s.workloadEntries {
		if entry.Namespace == namespace && inherits(entry.Labels) {
			return true
		}
	}
	return slices.ContainsFunc(s.Pods(namespace), func(pod Pod) bool { return !IsWaypointPod(pod.Labels) && inherits(pod.Labels) }) ||
		slices.ContainsFunc(s.lastingLabels(namespace), inherits)
}

// inheriting are the keys of Coverage of what a namespace's label sends through a waypoint
// that is for some traffic.
func inheriting(traffic string) []string {
	var keys []string
	if Takes(traffic, TrafficService) {
		keys = append(keys, KindService, KindServiceEntry)
	}
	if Takes(traffic, TrafficWorkload) {
		keys = append(append(keys, KindWorkloadEntry, PodsMeshWide), workloadKinds...)
	}
	return keys
}

// IngressUsesWaypoint says whether gateways go through the waypoint of a Service as well,
// by the Service's label, or else its namespace's (istio ambient/services.go,
// ingressUseWaypointFromLabels).
func IngressUsesWaypoint(service, namespace map[string]string) bool {
	text, set := service[label.IoIstioIngressUseWaypoint.Name]
	if !set {
		text = namespace[label.IoIstioIngressUseWaypoint.Name]
	}
	uses, err := strconv.ParseBool(text)
	return err == nil && uses
}

// WaypointUsedBy returns the objects of the mesh whose labels name a waypoint, as
// far as WaypointUsed knows them.
func (s *Snapshot) WaypointUsedBy(namespace, name string) []v1alpha1.ObjectReference {
	var users []v1alpha1.ObjectReference
	s.waypointUsed(namespace, name, func(user WaypointUser) bool {
		// An object may name it as its canary, too.
		if len(users) == 0 || users[len(users)-1] != user.Object {
			users = append(users, user.Object)
		}
		return false
	})
	return users
}

// waypointUsed looks for a label that names a waypoint and of which enough is true, or
// any where enough is nil.
func (s *Snapshot) waypointUsed(namespace, name string, enough func(WaypointUser) bool) bool {
	names := func(object v1alpha1.ObjectReference, traffic, fallback string, labels map[string]string) bool {
		return slices.ContainsFunc(usersOf(object, "", traffic, fallback, labels), func(user WaypointUser) bool {
			return user.Namespace == namespace && user.Name == name && (enough == nil || enough(user))
		})
	}
	for _, of := range s.Namespaces() {
		if names(of.Reference(), "", of.Name, of.Labels) {
			return true
		}
	}
	for _, service := range s.services {
		if names(ServiceReference(service.Namespace, service.Name), TrafficService, service.Namespace, service.Labels) {
			return true
		}
	}
	for _, entry := range s.serviceEntries {
		if names(ServiceEntryReference(entry.Namespace, entry.Name), TrafficService, entry.Namespace, entry.Labels) {
			return true
		}
	}
	for _, entry := range s.workloadEntries {
		if names(workloadEntryReference(entry.Namespace, entry.Name), TrafficWorkload, entry.Namespace, entry.Labels) {
			return true
		}
	}
	for _, in := range slices.Sorted(maps.Keys(s.pods)) {
		for _, pod := range s.pods[in] {
			if pod.Live() && names(pod.Reference(), TrafficWorkload, pod.Namespace, pod.Labels) {
				return true
			}
		}
	}
	return slices.ContainsFunc(s.workloads[namespace], func(workload Workload) bool {
		return names(workload.Reference, TrafficWorkload, namespace, workload.Template.Labels)
	})
}

// NamedWaypoint returns the namespace and name of the waypoint that the labels of
// a Service or ServiceEntry name, or else those of its namespace. Whether there is
// such a waypoint is not looked at.
func NamedWaypoint(labels map[string]string, namespace Namespace) (in, name string, named bool) {
	in, name, set := useOf(labels, namespace.Name)
	if !set {
		in, name, set = useOf(namespace.Labels, namespace.Name)
	}
	if !set || name == "" || name == DataplaneNone {
		return "", "", false
	}
	return in, name, true
}

// Gateway returns the Gateway API Gateway of that name.
func (s *Snapshot) Gateway(namespace, name string) (gatewayv1.Gateway, bool) {
	for _, gateway := range s.gateways {
		if gateway.Namespace == namespace && gateway.Name == name {
			return gateway, true
		}
	}
	return gatewayv1.Gateway{}, false
}

// WaypointState is what is known of a Gateway as a waypoint.
func (s *Snapshot) WaypointState(gateway gatewayv1.Gateway) v1alpha1.WaypointStatus {
	return s.waypoint(gateway, s.WaypointUsed(gateway.Namespace, gateway.Name))
}

// The controllers of GatewayClasses whose Gateways are waypoints (istio
// pkg/config/constants).
var waypointControllers = []string{"istio.io/mesh-controller", "istio.io/agentgateway-waypoint-controller"}

// waypointManager is what istiod writes to label gateway.istio.io/managed of
// waypoints' pods, Deployments and Services.
const waypointManager = "istio.io-mesh-controller"

// IsWaypointPod says whether labels are those of what istiod runs for a waypoint
// (istio manifests/charts/istio-control/istio-discovery/files/waypoint.yaml).
func IsWaypointPod(labels map[string]string) bool {
	return labels[label.GatewayManaged.Name] == waypointManager
}

// The classes of Gateways that istiod makes waypoints of by itself.
var waypointClasses = []string{WaypointClass, "istio-agentgateway-waypoint"}

// IsWaypoint says whether a Gateway is of a class whose Gateways are Istio's
// waypoints.
func (s *Snapshot) IsWaypoint(gateway gatewayv1.Gateway) bool {
	class := string(gateway.Spec.GatewayClassName)
	if slices.Contains(waypointClasses, class) {
		return true
	}
	controller, _ := s.gatewayClass(class, "spec", "controllerName")
	return slices.Contains(waypointControllers, controller)
}

// gatewayClass returns a text field of a GatewayClass.
func (s *Snapshot) gatewayClass(name string, path ...string) (string, bool) {
	for _, class := range s.others[KindGatewayClass] {
		if class.GetName() != name {
			continue
		}
		var value any = class.Object
		for _, key := range path {
			fields, _ := value.(map[string]any)
			value = fields[key]
		}
		text, is := value.(string)
		return text, is
	}
	return "", false
}

// Traffic returns the traffic that a waypoint takes, as the Gateway's label
// says, or else its class's (istio ambient/waypoints.go,
// gatewayToWaypointTransform).
func (s *Snapshot) Traffic(gateway gatewayv1.Gateway) string {
	if traffic, set := gateway.Labels[label.IoIstioWaypointFor.Name]; set {
		return traffic
	}
	if traffic, set := s.gatewayClass(string(gateway.Spec.GatewayClassName), "metadata", "labels", label.IoIstioWaypointFor.Name); set {
		return traffic
	}
	return TrafficService
}

// Takes says whether a waypoint that is for some traffic takes what an object
// sends or receives. A namespace's label stands for all that is in it.
func Takes(traffic, of string) bool {
	switch traffic {
	case TrafficAll:
		return true
	case TrafficService, TrafficWorkload:
		return of == "" || of == traffic
	default:
		return false
	}
}

// The protocol and port on which waypoints listen.
const (
	ProtocolListenerHBONE = "HBONE"
	PortHBONE             = 15008
)

// HBONEListener returns the listener on which ztunnel reaches a waypoint. A
// waypoint with a binding of its own (ambient.istio.io/waypoint-inbound-binding)
// may do without one.
func HBONEListener(gateway gatewayv1.Gateway) (gatewayv1.Listener, bool) {
	for _, listener := range gateway.Spec.Listeners {
		if listener.Protocol == ProtocolListenerHBONE && listener.Port == PortHBONE {
			return listener, true
		}
	}
	return gatewayv1.Listener{}, false
}

// BoundOtherwise says whether ztunnel reaches a waypoint in another way than by
// its HBONE listener, as its annotation or that of its class says.
func (s *Snapshot) BoundOtherwise(gateway gatewayv1.Gateway) bool {
	_, own := gateway.Annotations[annotation.AmbientWaypointInboundBinding.Name]
	_, ofClass := s.gatewayClass(string(gateway.Spec.GatewayClassName), "metadata", "annotations", annotation.AmbientWaypointInboundBinding.Name)
	return own || ofClass
}

// AdmitsFrom says whether a waypoint may be used from a namespace, as its HBONE
// listener's allowedRoutes say: without them from its own only (istio
// ambient/waypoints.go, makeWaypointSelector).
func AdmitsFrom(gateway gatewayv1.Gateway, namespace Namespace) bool {
	from, selector := gatewayv1.NamespacesFromSame, (*metav1.LabelSelector)(nil)
	if listener, found := HBONEListener(gateway); found && listener.AllowedRoutes != nil && listener.AllowedRoutes.Namespaces != nil {
		allowed := listener.AllowedRoutes.Namespaces
		if allowed.From != nil {
			from = *allowed.From
		}
		selector = allowed.Selector
	}
	switch from {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSelector:
		// The API server wants a selector there. Without one istiod would
		// select nothing.
		return selector != nil && selects(selector, namespace.Labels)
	default:
		return gateway.Namespace == namespace.Name
	}
}

// WaypointOf returns the waypoint that traffic to a Service or ServiceEntry goes
// through, and whether there is one: its own label comes before the namespace's,
// and one that does not hold is not made up for by the other (istio
// ambient/waypoints.go, fetchWaypointForService). Whether the waypoint is ready is
// not looked at.
func (s *Snapshot) WaypointOf(labels map[string]string, namespace Namespace) (gatewayv1.Gateway, bool) {
	if NeverThroughWaypoint(labels) {
		return gatewayv1.Gateway{}, false
	}
	return s.waypointFor(labels, namespace, TrafficService)
}

// NeverThroughWaypoint says whether a Service of these labels is one of those that
// istiod runs for waypoints and east-west gateways, which no label of the namespace
// sends through a waypoint (istio ambient/waypoints.go, fetchWaypointForService);
// those of other gateways it does.
func NeverThroughWaypoint(labels map[string]string) bool {
	managed := labels[label.GatewayManaged.Name]
	return managed == waypointManager || managed == "istio.io-eastwest-controller"
}

// WorkloadWaypointOf returns the waypoint that traffic to a pod's own address
// goes through, by the same rules (istio ambient/waypoints.go,
// fetchWaypointForWorkload).
func (s *Snapshot) WorkloadWaypointOf(labels map[string]string, namespace Namespace) (gatewayv1.Gateway, bool) {
	return s.waypointFor(labels, namespace, TrafficWorkload)
}

// PodsNameWaypoint says whether all that makes pods behind a headless Service names a
// waypoint that takes calls to their own addresses.
func (s *Snapshot) PodsNameWaypoint(service v1alpha1.ObjectReference, namespace Namespace) bool {
	if service.Kind != KindService {
		return false
	}
	named := false
	for _, of := range s.Services(namespace.Name) {
		if of.Name != service.Name || !Headless(of) || len(of.Spec.Selector) == 0 {
			continue
		}
		for _, set := range s.lastingLabels(namespace.Name) {
			if !subset(of.Spec.Selector, set) {
				continue
			}
			if _, found := s.WorkloadWaypointOf(set, namespace); !found {
				return false
			}
			named = true
		}
	}
	return named
}

// lastingLabels are the labels of a namespace's pod templates and bare pods, gateways
// left out.
func (s *Snapshot) lastingLabels(namespace string) []map[string]string {
	var sets []map[string]string
	for _, workload := range s.workloads[namespace] {
		if !workload.IsGateway() {
			sets = append(sets, workload.Template.Labels)
		}
	}
	for _, pod := range s.BarePods(namespace) {
		if !pod.IsGateway() {
			sets = append(sets, pod.Labels)
		}
	}
	return sets
}

func (s *Snapshot) waypointFor(labels map[string]string, namespace Namespace, traffic string) (gatewayv1.Gateway, bool) {
	in, name, set := useOf(labels, namespace.Name)
	if !set {
		in, name, set = useOf(namespace.Labels, namespace.Name)
	}
	if !set || name == DataplaneNone {
		return gatewayv1.Gateway{}, false
	}
	gateway, found := s.Gateway(in, name)
	if !found || !AdmitsFrom(gateway, namespace) || !Takes(s.Traffic(gateway), traffic) {
		return gatewayv1.Gateway{}, false
	}
	return gateway, true
}
