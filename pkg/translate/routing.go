package translate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	clientnetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
)

const networkingVersion = "networking.istio.io/v1"

// routing says what of the routes for services behind a waypoint ends there: a
// waypoint follows those of the service's namespace and of its own, and does not
// know who calls (istio pilot/pkg/networking/core/listener_waypoint.go).
func (t *translator) routing() {
	for _, virtualService := range t.snapshot.VirtualServices() {
		reference := v1alpha1.ObjectReference{
			APIVersion: networkingVersion, Kind: mesh.KindVirtualService, Namespace: virtualService.Namespace, Name: virtualService.Name,
		}
		if virtualService.Namespace == t.namespace.Name && mesh.BindsMesh(&virtualService.Spec) {
			t.outbound(reference, "spec.hosts", virtualService.Spec.GetHosts())
		}
		if !t.translation.Carried[reference] {
			continue
		}
		if !t.heeded(virtualService.Namespace) {
			t.consumerRule(reference, "spec.hosts")
			continue
		}
		t.hidden(reference, t.exports(mesh.KindVirtualService, virtualService.Spec.GetExportTo()))
		for i, http := range virtualService.Spec.GetHttp() {
			t.lostMatches(reference, i, http)
		}
	}
	for _, rule := range t.snapshot.DestinationRules() {
		reference := v1alpha1.ObjectReference{APIVersion: networkingVersion, Kind: mesh.KindDestinationRule, Namespace: rule.Namespace, Name: rule.Name}
		if rule.Spec.GetWorkloadSelector() != nil {
			t.forSomeCallers(reference, rule)
			continue
		}
		if field := mesh.EffectiveField(&rule.Spec); rule.Namespace == t.namespace.Name && field != "" {
			t.outbound(reference, field, []string{rule.Spec.GetHost()})
		}
		// Where neither its own namespace nor the service's has a rule, a waypoint follows one
		// of the root namespace, as sidecars do (istio pilot/pkg/model/push_context.go,
		// destinationRule).
		root := slices.Contains(t.snapshot.RootNamespaces(), rule.Namespace)
		switch {
		case !t.translation.Carried[reference]:
		case !root && !t.heeded(rule.Namespace):
			t.consumerRule(reference, "spec.host")
		default:
			for _, one := range tlsSettings(&rule.Spec) {
				t.certificates(reference, rule, one)
			}
			t.hidden(reference, t.exports(mesh.KindDestinationRule, rule.Spec.GetExportTo()))
		}
	}
	t.subsetsOfGateways()
	for _, route := range t.snapshot.Routes() {
		if t.translation.Carried[route.Reference] && !t.heeded(route.Reference.Namespace) {
			t.consumerRule(route.Reference, "metadata.namespace")
		}
	}
}

// heeded says whether the waypoints of the namespace's services follow rules of
// another namespace.
func (t *translator) heeded(namespace string) bool {
	return namespace == t.namespace.Name || slices.ContainsFunc(t.fronted, func(service *fronted) bool {
		in, _, _ := strings.Cut(service.waypoint, "/")
		return in == namespace && !service.direct
	})
}

// concerns says whether a host that a rule of the namespace is written for may mean a
// Service of it, or a ServiceEntry whose waypoint takes the rule over.
func (t *translator) concerns(host string, carried bool) bool {
	return slices.ContainsFunc(t.snapshot.Services(t.namespace.Name), func(service corev1.Service) bool {
		return mesh.HostMeans(host, t.namespace.Name, service.Name, t.namespace.Name)
	}) || carried && slices.ContainsFunc(t.snapshot.ServiceEntries(), func(entry *clientnetworkingv1.ServiceEntry) bool {
		return entry.Namespace == t.namespace.Name &&
			slices.ContainsFunc(entry.Spec.GetHosts(), func(of string) bool { return mesh.HostsMatch(host, of) })
	})
}

// elsewhere are the Services of other namespaces that a host may mean, but for those
// whose waypoint is in this namespace and follows its rules.
func (t *translator) elsewhere(host string, all []corev1.Service) (lost []string, known bool) {
	for _, service := range all {
		if service.Namespace == t.namespace.Name || !mesh.HostMeans(host, t.namespace.Name, service.Name, service.Namespace) {
			continue
		}
		known = true
		namespace, _ := t.snapshot.Namespace(service.Namespace)
		if gateway, found := t.snapshot.WaypointOf(service.Labels, namespace); !found || gateway.Namespace != t.namespace.Name {
			lost = append(lost, "Service "+service.Namespace+"/"+service.Name)
		}
	}
	return lost, known
}

// loses says whether what ends of an object is listed already.
func (t *translator) loses(reference v1alpha1.ObjectReference) bool {
	return slices.ContainsFunc(t.translation.Losses, func(loss Loss) bool { return loss.Object == reference })
}

// mostElsewhere is how many services elsewhere a loss names.
const mostElsewhere = 3

// outbound is a rule of this namespace that its own callers follow, for services
// elsewhere: each of its hosts may be one.
func (t *translator) outbound(reference v1alpha1.ObjectReference, field string, hosts []string) {
	if t.options.Only != "" {
		// No caller leaves its sidecar.
		return
	}
	var names []string
	all := t.snapshot.AllServices()
	for _, host := range hosts {
		lost, known := t.elsewhere(host, all)
		if !known && !t.concerns(host, t.translation.Carried[reference] || t.loses(reference)) {
			lost = []string{"host " + host}
		}
		names = append(names, lost...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 {
		return
	}
	about := strings.Join(names[:min(mostElsewhere, len(names))], ", ")
	if more := len(names) - mostElsewhere; more > 0 {
		about += fmt.Sprintf(" and %d more", more)
	}
	t.translation.Losses = append(t.translation.Losses, Loss{
		Object: reference, Field: field,
		Message: "callers here no longer follow it for " + about + ": waypoints elsewhere do not follow rules of this namespace",
		Remedy:  "move the rule to the namespace of what it is for, which needs a waypoint there: --include-namespaces makes one",
	})
}

// consumerRule is a rule of callers for a service of this namespace.
func (t *translator) consumerRule(reference v1alpha1.ObjectReference, field string) {
	delete(t.translation.Carried, reference)
	t.translation.Losses = append(t.translation.Losses, Loss{
		Object: reference, Field: field,
		Message: "a waypoint does not follow rules of namespace " + reference.Namespace + ": ambient callers no longer follow it",
	})
}

// lostMatches are conditions on who calls.
func (t *translator) lostMatches(reference v1alpha1.ObjectReference, i int, http *networkingv1alpha3.HTTPRoute) {
	for j, match := range http.GetMatch() {
		var field string
		switch {
		case len(match.GetSourceLabels()) > 0:
			field = "sourceLabels"
		case match.GetSourceNamespace() != "":
			field = "sourceNamespace"
		default:
			continue
		}
		t.translation.Losses = append(t.translation.Losses, Loss{
			Object: reference, Field: fmt.Sprintf("spec.http[%d].match[%d].%s", i, j, field),
			Message: "a waypoint does not tell callers apart: the route is taken, or not, whoever calls",
		})
	}
}
