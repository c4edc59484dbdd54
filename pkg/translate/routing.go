package translate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
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
		if !t.translation.Carried[reference] {
			if virtualService.Namespace == t.namespace.Name && mesh.BindsMesh(&virtualService.Spec) && !t.concerns(virtualService.Spec.GetHosts()) {
				t.outbound(reference, "spec.hosts")
			}
			continue
		}
		if !t.heeded(virtualService.Namespace) {
			t.consumerRule(reference, "spec.hosts")
			continue
		}
		for i, http := range virtualService.Spec.GetHttp() {
			t.lostMatches(reference, i, http)
		}
	}
	for _, rule := range t.snapshot.DestinationRules() {
		reference := v1alpha1.ObjectReference{APIVersion: networkingVersion, Kind: mesh.KindDestinationRule, Namespace: rule.Namespace, Name: rule.Name}
		switch {
		case t.translation.Carried[reference] && !t.heeded(rule.Namespace):
			t.consumerRule(reference, "spec.host")
		case !t.translation.Carried[reference] && rule.Namespace == t.namespace.Name && mesh.EffectiveField(&rule.Spec) != "" &&
			!t.concerns([]string{rule.Spec.GetHost()}):
			t.outbound(reference, mesh.EffectiveField(&rule.Spec))
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

// concerns says whether hosts, written in the namespace, may mean Services of it.
func (t *translator) concerns(hosts []string) bool {
	return slices.ContainsFunc(hosts, func(host string) bool {
		return slices.ContainsFunc(t.snapshot.Services(t.namespace.Name), func(service corev1.Service) bool {
			return mesh.HostMeans(host, t.namespace.Name, service.Name, t.namespace.Name)
		})
	})
}

// outbound is a rule of this namespace for services elsewhere, which its own callers
// follow.
func (t *translator) outbound(reference v1alpha1.ObjectReference, field string) {
	if t.options.Only != "" {
		// No caller leaves its sidecar.
		return
	}
	t.translation.Losses = append(t.translation.Losses, Loss{
		Object: reference, Field: field,
		Message: "callers here no longer follow it: it is about services elsewhere, whose waypoints do not follow rules of other namespaces",
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
