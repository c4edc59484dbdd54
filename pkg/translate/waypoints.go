package translate

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	typev1beta1 "istio.io/api/type/v1beta1"
	clientnetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	gatewayGroup   = "gateway.networking.k8s.io"
	gatewayVersion = gatewayGroup + "/v1"
)

// waypoints decides which services get a waypoint, and which one.
func (t *translator) waypoints() error {
	needs := t.snapshot.WaypointNeeds(t.namespace)
	if _, found := t.snapshot.Namespace(t.options.WaypointNamespace); !found {
		return &OptionError{Text: fmt.Sprintf("there is no namespace %q for the waypoint", t.options.WaypointNamespace)}
	}
	if err := t.checkOnly(); err != nil {
		return err
	}
	for _, name := range slices.Concat(t.options.Skip, t.options.Add) {
		if _, found := t.service(name); !found {
			return &OptionError{fmt.Sprintf("there is no Service %s/%s to skip or to add a waypoint for", t.namespace.Name, name)}
		}
	}
	for _, service := range t.snapshot.Services(t.namespace.Name) {
		need := needOf(needs, mesh.ServiceReference(service.Namespace, service.Name), service.Labels)
		if t.beside(need.Service) {
			t.placeBeside(need, &service)
			continue
		}
		if isHeadless(&service) {
			t.placeHeadless(need, &service)
		} else {
			t.place(need, &service)
		}
	}
	for _, entry := range t.snapshot.ServiceEntries() {
		if entry.Namespace != t.namespace.Name {
			continue
		}
		need := needOf(needs, mesh.ServiceEntryReference(entry.Namespace, entry.Name), entry.Labels)
		if t.beside(need.Service) {
			t.placeBeside(need, nil)
			continue
		}
		t.place(need, nil)
	}
	if t.translation.Waypoint != nil && len(t.translation.Waypoint.Objects) == 0 {
		t.useExisting()
	}
	for _, service := range t.translation.Services {
		if service.WaypointName != "" {
			t.principals = append(t.principals, t.principalOf(service.WaypointNamespace, service.WaypointName))
		}
	}
	t.directWaypoints()
	for _, direct := range t.translation.Direct {
		t.principals = append(t.principals, t.principalOf(direct.Namespace, direct.Name))
	}
	slices.Sort(t.principals)
	t.principals = slices.Compact(t.principals)
	return nil
}

// needOf is why a service needs a waypoint, or that it is without a reason.
func needOf(needs []mesh.ServiceNeed, service v1alpha1.ObjectReference, labels map[string]string) mesh.ServiceNeed {
	for _, need := range needs {
		if need.Service == service {
			return need
		}
	}
	return mesh.ServiceNeed{Service: service, Labels: labels}
}

// place decides for one service.
func (t *translator) place(need mesh.ServiceNeed, service *corev1.Service) {
	front := t.front(need, service)
	if t.options.RoutingOnly {
		if _, uses := t.snapshot.WaypointOf(need.Labels, t.namespace); !uses && routed(need) && t.usable(need, service) {
			t.use(need, front, false)
		}
		return
	}
	if gateway, uses := t.snapshot.WaypointOf(need.Labels, t.namespace); uses && (service != nil || t.usable(need, nil)) {
		if service != nil && slices.Contains(t.options.Skip, service.Name) {
			t.err = errors.Join(t.err, &OptionError{Text: fmt.Sprintf("Service %s uses waypoint %s/%s already and cannot be skipped: remove its label first",
				service.Name, gateway.Namespace, gateway.Name)})
		}
		front.waypoint = gateway.Namespace + "/" + gateway.Name
		t.fronted = append(t.fronted, front)
		t.carry(need)
		t.translation.Services = append(t.translation.Services, ServiceWaypoint{
			Need: need, WaypointNamespace: gateway.Namespace, WaypointName: gateway.Name, Labels: t.ingressLabels(need),
		})
		return
	}
	added := service != nil && (slices.Contains(t.options.Add, service.Name) || t.options.Only == service.Name)
	needed := len(need.Reasons) > 0 && !need.OnlyHints()
	byNamespace := t.options.Scope == ScopeNamespace && t.anyNeed()
	switch {
	case service != nil && slices.Contains(t.options.TakenOff, service.Name):
		t.stayOff(need, front)
		t.optOut(need, service, byNamespace)
	case service != nil && slices.Contains(t.options.Skip, service.Name):
		if needed {
			t.skipped = append(t.skipped, front)
			t.loseNeed(need, "it is skipped")
		}
		t.optOut(need, service, byNamespace)
	case !added && need.Labels[label.IoIstioUseWaypoint.Name] == mesh.DataplaneNone:
		if needed {
			t.skipped = append(t.skipped, front)
			t.loseNeed(need, "its label "+label.IoIstioUseWaypoint.Name+" says none")
		}
	case !t.usable(need, service):
		if needed || added {
			t.skipped = append(t.skipped, front)
			t.loseNeed(need, "no waypoint can stand in front of it: "+t.whyUnusable(need, service))
		}
		t.optOut(need, service, byNamespace)
	case needed || added || byNamespace && service != nil:
		t.use(need, front, byNamespace)
	default:
		t.optOut(need, service, byNamespace)
	}
}

// routed says whether routes or traffic policies are among why a service needs a
// waypoint.
func routed(need mesh.ServiceNeed) bool {
	return slices.ContainsFunc(need.Reasons, func(reason mesh.Reason) bool {
		return !reason.Hint && (reason.Kind == mesh.NeedRouting || reason.Kind == mesh.NeedBalancing)
	})
}

// anyNeed says whether any service of the namespace needs a waypoint for services, or
// is to have one.
func (t *translator) anyNeed() bool {
	headless := func(name string) bool {
		service, found := t.service(name)
		return found && isHeadless(&service)
	}
	return slices.ContainsFunc(t.options.Add, func(name string) bool { return !headless(name) }) ||
		slices.ContainsFunc(t.snapshot.WaypointNeeds(t.namespace), func(need mesh.ServiceNeed) bool {
			return !need.OnlyHints() && !slices.Contains(t.options.Skip, need.Service.Name) &&
				(need.Service.Kind != mesh.KindService || !headless(need.Service.Name))
		})
}

// usable says whether ztunnel sends traffic for a service through a waypoint.
// Gateways are proxies themselves.
func (t *translator) usable(need mesh.ServiceNeed, service *corev1.Service) bool {
	if service == nil {
		return t.unaddressed(need.Service) == ""
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName || need.Labels[label.GatewayManaged.Name] != "" {
		return false
	}
	behind := t.selected(service)
	return len(behind) == 0 || slices.ContainsFunc(behind, func(one pods) bool { return !one.proxy })
}

// unaddressed is why ztunnel would send no call for a ServiceEntry through a waypoint.
func (t *translator) unaddressed(reference v1alpha1.ObjectReference) string {
	for _, entry := range t.snapshot.ServiceEntries() {
		if entry.Namespace == reference.Namespace && entry.Name == reference.Name {
			_, why := t.snapshot.Unaddressed(entry)
			return why
		}
	}
	return ""
}

func (t *translator) whyUnusable(need mesh.ServiceNeed, service *corev1.Service) string {
	if service == nil {
		return t.unaddressed(need.Service)
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return "it is the name of something outside"
	}
	return "its pods are gateways"
}

// front gathers what policies need to know of a service.
func (t *translator) front(need mesh.ServiceNeed, service *corev1.Service) *fronted {
	front := &fronted{reference: need.Service}
	if service == nil {
		for _, entry := range t.snapshot.ServiceEntries() {
			if entry.Namespace == need.Service.Namespace && entry.Name == need.Service.Name {
				t.frontEntry(front, entry)
			}
		}
		return front
	}
	front.pods = t.selected(service)
	front.ports = t.portsOf(service, front.pods)
	for i, port := range service.Spec.Ports {
		protocol, _ := mesh.PortProtocol(port)
		front.classify(protocol, front.ports[i].targets)
	}
	return front
}

// frontEntry gathers it of a ServiceEntry.
func (t *translator) frontEntry(front *fronted, entry *clientnetworkingv1.ServiceEntry) {
	if selector := entry.Spec.GetWorkloadSelector().GetLabels(); len(selector) > 0 {
		front.pods = selectedBy(selector, t.pods)
	}
	for _, port := range entry.Spec.GetPorts() {
		protocol, _ := mesh.EntryPortProtocol(port)
		target := portTarget{service: port.GetNumber(), http: protocol == mesh.ProtocolHTTP}
		for _, one := range front.pods {
			if number := entryTarget(port, one); !slices.Contains(target.targets, number) {
				target.targets = append(target.targets, number)
			}
		}
		front.ports = append(front.ports, target)
		front.classify(protocol, target.targets)
	}
}

// entryTarget is the port of pods that a ServiceEntry's port leads to. A container's
// port with its name comes before the numbers (istio
// pilot/pkg/serviceregistry/ambient/workloads.go, constructServices).
func entryTarget(port *networkingv1alpha3.ServicePort, one pods) uint32 {
	if number, named := one.ports[port.GetName()]; named {
		return number
	}
	return cmp.Or(port.GetTargetPort(), port.GetNumber())
}

// classify notes whether calls to ports of the pods are read.
func (f *fronted) classify(protocol mesh.Protocol, targets []uint32) {
	for _, target := range targets {
		switch number := strconv.FormatUint(uint64(target), 10); protocol {
		case mesh.ProtocolTCP:
			f.plain = append(f.plain, number)
		case mesh.ProtocolUDP:
			// It is no business of any proxy.
		default:
			f.read = append(f.read, number)
		}
	}
}

// selected are the pods that a Service selects, and those that EndpointSlices put
// behind it which somebody has written.
func (t *translator) selected(service *corev1.Service) []pods {
	var behind []pods
	if len(service.Spec.Selector) > 0 {
		behind = selectedBy(service.Spec.Selector, t.pods)
	}
	for _, endpoint := range t.written[mesh.ServiceReference(service.Namespace, service.Name)] {
		for _, one := range t.pods {
			if one.name == "Pod "+endpoint.Pod.Name {
				behind = append(behind, one)
			}
		}
	}
	return behind
}

// portsOf maps a Service's ports, by the EndpointSlices that somebody has written,
// too.
func (t *translator) portsOf(service *corev1.Service, behind []pods) portMap {
	ports := portsOf(service, behind)
	written := t.written[mesh.ServiceReference(service.Namespace, service.Name)]
	for i, port := range service.Spec.Ports {
		if len(service.Spec.Selector) == 0 && len(written) > 0 {
			ports[i].targets = nil
		}
		for _, endpoint := range written {
			if number, named := endpoint.Ports[port.Name]; named && !slices.Contains(ports[i].targets, number) {
				ports[i].targets = append(ports[i].targets, number)
			}
		}
	}
	return ports
}

func selectedBy(selector map[string]string, all []pods) []pods {
	return slices.DeleteFunc(slices.Clone(all), func(one pods) bool { return !mesh.SelectsLabels(selector, one.labels) })
}

// use puts a service behind the waypoint.
func (t *translator) use(need mesh.ServiceNeed, front *fronted, byNamespace bool) {
	t.wantWaypoint()
	front.waypoint, front.given = t.options.WaypointNamespace+"/"+t.options.Waypoint, true
	t.fronted = append(t.fronted, front)
	t.carry(need)
	placed := ServiceWaypoint{Need: need, WaypointNamespace: t.options.WaypointNamespace, WaypointName: t.options.Waypoint}
	placed.Labels = t.ingressLabels(need)
	_, own := need.Labels[label.IoIstioUseWaypoint.Name]
	if byNamespace {
		t.translation.NamespaceLabels = t.useLabels(t.options.WaypointNamespace, t.options.Waypoint)
	}
	if !byNamespace || own {
		// Its own label comes before the namespace's.
		maps.Copy(placed.Labels, t.useLabels(t.options.WaypointNamespace, t.options.Waypoint))
	}
	t.translation.Services = append(t.translation.Services, placed)
}

// useLabels name a waypoint.
func (t *translator) useLabels(namespace, waypoint string) map[string]string {
	labels := map[string]string{label.IoIstioUseWaypoint.Name: waypoint}
	if namespace != t.namespace.Name {
		labels[label.IoIstioUseWaypointNamespace.Name] = namespace
	}
	return labels
}

// ingressLabels let gateways call a service through its waypoint, where they would
// else pass by what checks requests there. They do not by themselves (istio
// pilot/pkg/serviceregistry/ambient/services.go, ingressUseWaypointFromLabels).
func (t *translator) ingressLabels(need mesh.ServiceNeed) map[string]string {
	labels := map[string]string{}
	if _, decided := need.Labels[label.IoIstioIngressUseWaypoint.Name]; decided {
		return labels
	}
	if slices.ContainsFunc(need.Reasons, func(reason mesh.Reason) bool {
		return (reason.Kind == mesh.NeedPolicy || reason.Kind == mesh.NeedJWT || reason.Kind == mesh.NeedExtension) && !t.oursAt(reason.Object)
	}) {
		labels[label.IoIstioIngressUseWaypoint.Name] = "true"
	}
	return labels
}

// oursAt says whether an object that is there was made by a run: it needs no more
// than what it was made from.
func (t *translator) oursAt(reference v1alpha1.ObjectReference) bool {
	object, found := t.snapshot.Object(reference)
	fields, _ := object["metadata"].(map[string]any)
	labels, _ := fields["labels"].(map[string]any)
	return found && labels[v1alpha1.OriginLabel] != nil
}

// optOut keeps a service away from the namespace's waypoint, where istiod does not by
// itself: an external name is no service to it.
func (t *translator) optOut(need mesh.ServiceNeed, service *corev1.Service, byNamespace bool) {
	alias := service != nil && service.Spec.Type == corev1.ServiceTypeExternalName
	if byNamespace && !alias && need.Labels[label.IoIstioUseWaypoint.Name] == "" && !mesh.NeverThroughWaypoint(need.Labels) {
		t.translation.Services = append(t.translation.Services, ServiceWaypoint{
			Need: need, Labels: map[string]string{label.IoIstioUseWaypoint.Name: mesh.DataplaneNone},
		})
	}
}

// carry notes whose effect a waypoint takes over: everything that holds there as it
// is. Policies and extensions need more, and are noted where they get it.
func (t *translator) carry(need mesh.ServiceNeed) {
	for _, reason := range need.Reasons {
		if reason.Kind == mesh.NeedRouting || reason.Kind == mesh.NeedBalancing {
			t.translation.Carried[reason.Object] = true
		}
	}
}

func (t *translator) loseNeed(need mesh.ServiceNeed, why string) {
	for _, reason := range need.Reasons {
		if reason.Hint {
			continue
		}
		loss := Loss{
			Object: reason.Object, Field: reason.Field, Service: need.Service,
			Message:  fmt.Sprintf("%s for %s %s ends, since %s", reason.Kind, need.Service.Kind, need.Service.Name, why),
			Security: reason.Kind == mesh.NeedPolicy || reason.Kind == mesh.NeedJWT || reason.Kind == mesh.NeedExtension,
		}
		if need.Service.Kind == mesh.KindServiceEntry && t.unaddressed(need.Service) != "" {
			loss.Remedy = "give " + need.Service.String() + " an address in spec.addresses that its hosts resolve to"
		}
		if t.encrypts(reason.Object) {
			loss.Security = true
			loss.Message += ": what it encrypts leaves as it is"
		}
		t.translation.Losses = append(t.translation.Losses, loss)
	}
}

// wantWaypoint makes the waypoint part of the translation, once.
func (t *translator) wantWaypoint() {
	if t.translation.Waypoint != nil {
		return
	}
	waypoint := &Waypoint{Namespace: t.options.WaypointNamespace, Name: t.options.Waypoint}
	gateway, found := t.snapshot.Gateway(waypoint.Namespace, waypoint.Name)
	if !found || t.own(gateway) && t.options.Replicas > 0 {
		waypoint.Objects = t.waypointObjects(waypoint.Name, mesh.TrafficService, "is the waypoint")
	} else if t.options.Replicas > 0 {
		t.translation.Losses = append(t.translation.Losses, Loss{
			Object: gatewayReference(waypoint.Namespace, waypoint.Name), Field: "spec.infrastructure.parametersRef",
			Message: "no run for this namespace has made this waypoint: it keeps the replicas that it has",
		})
	}
	t.translation.Waypoint = waypoint
}

// own says whether a run for the namespace has made a Gateway. One that another
// namespace's run has made is used as it is, or not at all: its owner relies on how
// it is.
func (t *translator) own(gateway gatewayv1.Gateway) bool {
	return ours(gateway.Labels) && gateway.Annotations[v1alpha1.OriginLabel] == t.namespace.Reference().String()
}

// useExisting looks at whether a Gateway that is there already is a waypoint that
// takes what it is to take.
func (t *translator) useExisting() {
	gateway, _ := t.snapshot.Gateway(t.translation.Waypoint.Namespace, t.translation.Waypoint.Name)
	reference := gatewayReference(gateway.Namespace, gateway.Name)
	switch {
	case !t.snapshot.IsWaypoint(gateway):
		t.problem(reference, "spec.gatewayClassName", "it is no waypoint", "choose another name by --waypoint")
	case !mesh.Takes(t.snapshot.Traffic(gateway), mesh.TrafficService):
		t.problem(reference, "metadata.labels["+label.IoIstioWaypointFor.Name+"]", "it takes no traffic for Services", "choose another one by --waypoint")
	case !mesh.AdmitsFrom(gateway, t.namespace):
		t.problem(reference, "spec.listeners[].allowedRoutes.namespaces", "it does not admit namespace "+t.namespace.Name,
			"let the listener's allowedRoutes.namespaces admit the namespace")
	}
}

// gatewayReference names a Gateway.
func gatewayReference(namespace, name string) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: gatewayVersion, Kind: mesh.KindGateway, Namespace: namespace, Name: name}
}

// waypointObjects are what istiod makes a waypoint for some traffic from.
func (t *translator) waypointObjects(name, traffic, why string) []Object {
	namespace := t.options.WaypointNamespace
	origin := t.namespace.Reference()
	labels := map[string]any{v1alpha1.OriginLabel: originLabel(origin), label.IoIstioWaypointFor.Name: traffic}
	if revision := t.revision(name); revision != "" {
		// Without it nobody looks after the waypoint once the namespace's own
		// label is gone.
		labels[label.IoIstioRev.Name] = revision
	}
	listener := map[string]any{"name": "mesh", "port": int64(mesh.PortHBONE), "protocol": mesh.ProtocolListenerHBONE}
	if namespace != t.namespace.Name {
		listener["allowedRoutes"] = map[string]any{"namespaces": map[string]any{
			"from": string(gatewayv1.NamespacesFromSelector), "selector": map[string]any{"matchLabels": map[string]any{corev1.LabelMetadataName: t.namespace.Name}},
		}}
	}
	spec := map[string]any{"gatewayClassName": mesh.WaypointClass, "listeners": []any{listener}}
	var objects []Object
	if t.options.Replicas > 0 {
		objects = append(objects, t.waypointParameters(name, namespace))
		spec["infrastructure"] = map[string]any{"parametersRef": map[string]any{"group": "", "kind": "ConfigMap", "name": parametersName(name)}}
	}
	return append(objects, Object{
		Reference: gatewayReference(namespace, name), Origin: origin, Why: why,
		Content: map[string]any{
			"apiVersion": gatewayVersion, "kind": mesh.KindGateway,
			"metadata": map[string]any{
				"name": name, "namespace": namespace, "labels": labels,
				"annotations": map[string]any{v1alpha1.OriginLabel: origin.String()},
			},
			"spec": spec,
		},
	})
}

func parametersName(waypoint string) string { return waypoint + "-parameters" }

// waypointParameters are settings that istiod merges into what it makes of the
// Gateway (istio pilot/pkg/config/kube/gatewaycommon/deploymentcontroller.go).
func (t *translator) waypointParameters(waypoint, namespace string) Object {
	data := map[string]any{"deployment": fmt.Sprintf("spec:\n  replicas: %d\n", t.options.Replicas)}
	if t.options.Replicas > 1 {
		data["podDisruptionBudget"] = "spec:\n  maxUnavailable: 1\n"
	}
	origin := t.namespace.Reference()
	return Object{
		Reference: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: namespace, Name: parametersName(waypoint)},
		Origin:    origin, Why: "says how many pods the waypoint has",
		Content: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": map[string]any{
				"name": parametersName(waypoint), "namespace": namespace,
				"labels":      map[string]any{v1alpha1.OriginLabel: originLabel(origin)},
				"annotations": map[string]any{v1alpha1.OriginLabel: origin.String()},
			},
			"data": data,
		},
	}
}

// revision is the one that the namespace's sidecars are of, where it is named, or
// that of a waypoint that is there. A waypoint in a namespace with a revision of its own
// is of that one.
func (t *translator) revision(waypoint string) string {
	if gateway, found := t.snapshot.Gateway(t.options.WaypointNamespace, waypoint); found {
		return gateway.Labels[label.IoIstioRev.Name]
	}
	if in, found := t.snapshot.Namespace(t.options.WaypointNamespace); found && in.Name != t.namespace.Name && in.Labels[label.IoIstioRev.Name] != "" {
		return ""
	}
	return t.namespace.Labels[label.IoIstioRev.Name]
}

// principalOf is a waypoint's identity: the service account of one that is yet to be
// bears its name.
func (t *translator) principalOf(namespace, name string) string {
	account := name
	if gateway, found := t.snapshot.Gateway(namespace, name); found {
		account = mesh.AccountOf(gateway)
	}
	return t.snapshot.TrustDomain() + "/ns/" + namespace + "/sa/" + account
}

// target is what attaches a policy to a service.
func (f *fronted) target() *typev1beta1.PolicyTargetReference {
	group, _, versioned := strings.Cut(f.reference.APIVersion, "/")
	if !versioned {
		group = ""
	}
	return &typev1beta1.PolicyTargetReference{Group: group, Kind: f.reference.Kind, Name: f.reference.Name}
}
