package plan

import (
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// routedFor says for whom the waypoints stay that the runs have made in another
// namespace: callers that came to be in ambient mode since, whose enrolment found the
// Services behind a waypoint, have lost their sidecars and would lose with it the routes
// that these carried out. Who calls what cannot be seen. Empty is nobody.
func (r *rollback) routedFor(in string) string {
	var callers, rules []string
	for _, service := range r.snapshot.Services(in) {
		waypoint, made := r.madeWaypointOf(service)
		if !made {
			continue
		}
		for _, caller := range r.snapshot.Namespaces() {
			if caller.Name == r.namespace.Name || caller.Name == in || !ambientSince(caller, waypoint) {
				continue
			}
			if unread := r.unreadRoutes(in); unread != "" {
				return "namespace " + caller.Name + " is in ambient mode, and whether its callers follow routes by it cannot be told: " + unread
			}
			for _, rule := range checks.FollowedAtWaypoint(r.snapshot, service, caller.Name) {
				callers, rules = append(callers, caller.Name), append(rules, rule.String())
			}
		}
	}
	if len(callers) == 0 {
		return ""
	}
	slices.Sort(callers)
	slices.Sort(rules)
	callers, rules = slices.Compact(callers), slices.Compact(rules)
	return "callers in ambient mode in other namespaces follow " + some(rules) + " by it alone: " + some(callers) +
		"; roll those back first, or have the rules exported to none of them (exportTo), then this again"
}

// madeWaypointOf is the waypoint that a Service of another namespace goes through, where
// the runs have made it, or have had the Service name it.
func (r *rollback) madeWaypointOf(service corev1.Service) (gatewayv1.Gateway, bool) {
	namespace, found := r.snapshot.Namespace(service.Namespace)
	if !found {
		return gatewayv1.Gateway{}, false
	}
	waypoint, has := r.snapshot.WaypointOf(service.Labels, namespace)
	if !has {
		return gatewayv1.Gateway{}, false
	}
	reference := mesh.ServiceReference(service.Namespace, service.Name)
	written := slices.ContainsFunc(r.objects(v1alpha1.PhaseActivateWaypoints), func(of v1alpha1.ObjectReference) bool {
		return of.Unversioned() == reference.Unversioned() || of.Unversioned() == namespace.Reference().Unversioned()
	})
	made := slices.ContainsFunc(r.created, func(created createdObject) bool {
		return created.object.Kind == mesh.KindGateway && created.object.Namespace == waypoint.Namespace && created.object.Name == waypoint.Name
	})
	return waypoint, written || made
}

// ambientSince says whether a namespace is in ambient mode and may not have been when a
// waypoint was made: callers that were in ambient mode before have not followed the
// routes before either. Both times are the API server's.
func ambientSince(namespace mesh.Namespace, waypoint gatewayv1.Gateway) bool {
	if namespace.Labels[label.IoIstioDataplaneMode.Name] != mesh.DataplaneAmbient {
		return false
	}
	managers, err := mesh.Managers(namespace.Object)
	if err != nil {
		return true
	}
	known := false
	for _, manager := range managers {
		if !manager.Owns("metadata", "labels", label.IoIstioDataplaneMode.Name) {
			continue
		}
		if manager.Written == nil || !manager.Written.Before(waypoint.CreationTimestamp.Time) {
			return true
		}
		known = true
	}
	return !known
}

// unreadRoutes says why it is not known which routes there are for Services of a
// namespace; empty where it is.
func (r *rollback) unreadRoutes(in string) string {
	var unread []string
	for _, kind := range []string{mesh.KindVirtualService, mesh.KindDestinationRule, mesh.KindHTTPRoute, mesh.KindGRPCRoute} {
		if coverage := r.snapshot.Coverage(kind, in); !coverage.Known() {
			unread = append(unread, kind+" cannot be read: "+coverage.Reason)
		}
	}
	return strings.Join(unread, ", ")
}
