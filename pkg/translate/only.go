package translate

import (
	"fmt"
	"maps"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
)

// checkOnly wants the one Service that is to have a waypoint to be one that can.
func (t *translator) checkOnly() error {
	if t.options.Only == "" {
		return nil
	}
	service, found := t.service(t.options.Only)
	if !found {
		return &OptionError{Text: fmt.Sprintf("there is no Service %s in namespace %s", t.options.Only, t.namespace.Name)}
	}
	var cannot string
	switch {
	case mesh.IsWaypointPod(service.Labels):
		cannot = "is that of a waypoint itself: name the Service that is to go through it"
	case service.Labels[label.GatewayManaged.Name] != "":
		cannot = "is that of a gateway, which is a proxy itself: name the Services that it leads to"
	case service.Spec.Type == corev1.ServiceTypeExternalName:
		cannot = "is an ExternalName, which is an alias in the DNS that no traffic is for: name the Service that it stands for"
	case isHeadless(&service):
		cannot = "is headless: calls to it go to its pods, which name their waypoint in their template, so that they have to be restarted: enroll the namespace with --waypoint-add " + service.Name
	case !t.usable(mesh.ServiceNeed{Service: mesh.ServiceReference(service.Namespace, service.Name), Labels: service.Labels}, &service):
		cannot = "leads to gateways only, which are proxies themselves: name the Services that they lead to"
	default:
		return nil
	}
	return &OptionError{Text: fmt.Sprintf("Service %s/%s cannot have a waypoint: it %s", service.Namespace, service.Name, cannot)}
}

// beside says whether a service is not the only one that gets a waypoint.
func (t *translator) beside(service v1alpha1.ObjectReference) bool {
	return t.options.Only != "" && service != mesh.ServiceReference(t.namespace.Name, t.options.Only)
}

// placeBeside notes a service that goes through a waypoint already: what is made for
// pods that it shares with the only one, or for the same waypoint, is for both.
func (t *translator) placeBeside(need mesh.ServiceNeed, service *corev1.Service) {
	front := t.front(need, service)
	if service != nil && isHeadless(service) {
		if t.ownNamed(front.pods) != "" {
			t.headless = append(t.headless, headlessService{need: need, front: front})
		}
		return
	}
	if gateway, uses := t.snapshot.WaypointOf(need.Labels, t.namespace); uses {
		front.waypoint = gateway.Namespace + "/" + gateway.Name
		t.fronted = append(t.fronted, front)
		t.translation.Services = append(t.translation.Services, ServiceWaypoint{Need: need, WaypointNamespace: gateway.Namespace, WaypointName: gateway.Name})
	}
}

// stayOff leaves a Service without a waypoint that a rollback has taken off it: what
// ends with that was judged then, and is only announced.
func (t *translator) stayOff(need mesh.ServiceNeed, front *fronted) {
	if len(need.Reasons) == 0 || need.OnlyHints() {
		return
	}
	known := len(t.translation.Losses)
	t.skipped = append(t.skipped, front)
	t.loseNeed(need, "a rollback has taken it off its waypoint")
	for i := range t.translation.Losses[known:] {
		t.translation.Losses[known+i].Security = false
	}
}

// reaches says whether a policy of a selector is about pods at hand: those of the
// namespace, or behind the only Service that gets a waypoint.
func (t *translator) reaches(selector map[string]string) bool {
	if t.options.Only == "" {
		return selectsAny(selector, t.pods)
	}
	return len(t.behind(selector)) > 0
}

// coveredAlready says whether a run has attached a policy for all of a namespace to
// the waypoint that some services use: it holds for them as well then.
func (t *translator) coveredAlready(name v1alpha1.ObjectReference, services []*fronted) bool {
	return t.options.Only != "" && t.options.WaypointNamespace == t.namespace.Name && t.oursAt(name) &&
		!slices.ContainsFunc(services, func(service *fronted) bool {
			return service.waypoint != t.options.WaypointNamespace+"/"+t.options.Waypoint
		})
}

// narrowed is a selector for those of its pods that are behind the only Service that
// gets a waypoint, where it selects any that no waypoint stands before: calls to these
// are all direct. Of says which Service it was narrowed to, for names.
func (t *translator) narrowed(selector map[string]string) (narrow map[string]string, of []string) {
	if t.options.Only == "" || !slices.ContainsFunc(t.moving, func(one pods) bool {
		return mesh.SelectsLabels(selector, one.labels) && !slices.ContainsFunc(t.fronted, func(service *fronted) bool { return sharePods(service.pods, []pods{one}) })
	}) {
		return selector, nil
	}
	service, _ := t.service(t.options.Only)
	if len(service.Spec.Selector) == 0 {
		return selector, nil
	}
	narrow = maps.Clone(service.Spec.Selector)
	maps.Copy(narrow, selector)
	return narrow, []string{mesh.KindService, service.Name}
}

// narrow leaves of a translation what is for the only Service that gets a waypoint.
func (t *translator) narrow() {
	if t.options.Only == "" {
		return
	}
	t.translation.Direct = nil
	t.translation.Services = slices.DeleteFunc(t.translation.Services, func(one ServiceWaypoint) bool { return t.beside(one.Need.Service) })
}
