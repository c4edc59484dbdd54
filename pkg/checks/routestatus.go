package checks

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// routesAccepted reads what istiod says of routes. Its condition ResolvedWaypoints is
// True whatever it means: that a parent has no waypoint, only its message says (istio
// pilot/pkg/config/kube/gateway/conditions.go), so that this is told by the labels.
func routesAccepted() Check {
	return Check{
		ID: "routes-accepted", Category: CategoryRouting, Severity: v1alpha1.SeverityError,
		About: "Whether istiod has taken up every Gateway API route of this namespace, accepts it, finds what it names, and whether a waypoint follows it.",
		Why: "A route that is not accepted by its parent, or whose backends are not found, is not followed, or answers calls with errors (istio " +
			"pilot/pkg/config/kube/gateway, conditions.go). A Service that it names and that is not there is such a backend, or such a parent. ztunnel follows no route: without a waypoint in front of the Service that it is for, " +
			"ambient callers go past it.",
		Needs: append(waypointSources(mesh.KindGatewayClass), routeKinds()...), DependsOn: []string{"waypoint-missing"},
		Passed: "every route of the namespace is accepted and resolved",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, route := range subject.Snapshot.Routes() {
				if route.Reference.Namespace != subject.Namespace.Name {
					continue
				}
				if finding := routeFinding(subject, route); finding != nil {
					findings = append(findings, *finding)
				}
			}
			return findings
		},
	}
}

// routeFinding is what there is to say of a route: what istiod says of it at any of its
// parents comes before whether a waypoint follows it.
func routeFinding(subject Subject, route mesh.Route) *Finding {
	for i, parent := range route.Parents {
		if finding := subject.statusFinding(route, i, parent); finding != nil {
			return finding
		}
	}
	for i, parent := range route.Parents {
		if finding := followedFinding(subject, route, i, parent); finding != nil {
			return finding
		}
	}
	return nil
}

// saysMissing says whether istiod itself says that what a route names is not there.
func saysMissing(route mesh.Route) bool {
	return slices.ContainsFunc(route.Parents, func(parent gatewayv1.ParentReference) bool {
		status, _ := route.StatusAt(parent)
		return status.ControllerName == mesh.RouteController && slices.ContainsFunc(status.Conditions, func(condition metav1.Condition) bool {
			return condition.Status == metav1.ConditionFalse && condition.ObservedGeneration == route.Generation &&
				(condition.Reason == string(gatewayv1.RouteReasonBackendNotFound) || condition.Reason == string(gatewayv1.RouteReasonNoMatchingParent))
		})
	})
}

// statusFinding is about what istiod says of a route at a parent.
func (s Subject) statusFinding(route mesh.Route, i int, parent gatewayv1.ParentReference) *Finding {
	at := fmt.Sprintf("status.parents[%d]", i)
	finding := &Finding{
		Status: v1alpha1.StatusFail, Object: reference(route.Reference), Field: at,
		Remedy: fmt.Sprintf("kubectl -n %s describe %s.gateway.networking.k8s.io %s", route.Reference.Namespace, route.Reference.Kind, route.Reference.Name),
	}
	status, told := route.StatusAt(parent)
	_, ofService := route.ServiceNamespace(parent)
	switch {
	case !told && (ofService || s.ofIstiod(route, parent)) && (route.Reference.Kind == mesh.KindHTTPRoute || route.Reference.Kind == mesh.KindGRPCRoute):
		finding.Message = fmt.Sprintf("istiod says nothing of it at %s %s", parentKind(parent), parent.Name)
		finding.Remedy = "look at the log of istiod"
		return finding
	case !told && s.lacksGateway(route, parent):
		// istiod takes what it has said there back (conditions.go, createRouteStatus).
		in, _ := route.GatewayNamespace(parent)
		finding.Field = fmt.Sprintf("spec.parentRefs[%d]", i)
		finding.Message = fmt.Sprintf("there is no Gateway %s/%s", in, parent.Name)
		finding.Remedy = "name a Gateway that is there, or make it"
		return finding
	case !told, status.ControllerName != mesh.RouteController:
		return nil
	}
	for _, kind := range []gatewayv1.RouteConditionType{gatewayv1.RouteConditionAccepted, gatewayv1.RouteConditionResolvedRefs} {
		condition := meta.FindStatusCondition(status.Conditions, string(kind))
		switch {
		case condition == nil || condition.ObservedGeneration != route.Generation:
			finding.Message = fmt.Sprintf("it is not taken up by istiod yet, at %s %s", parentKind(parent), parent.Name)
		case condition.Status != metav1.ConditionTrue:
			finding.Message = fmt.Sprintf("it is not %s at %s %s: %s", said[kind], parentKind(parent), parent.Name, Saying(*condition))
		default:
			continue
		}
		finding.Field = at + ".conditions[" + string(kind) + "]"
		return finding
	}
	return nil
}

// lacksGateway says whether a route's parent is a Gateway that is not there.
func (s Subject) lacksGateway(route mesh.Route, parent gatewayv1.ParentReference) bool {
	in, ofGateway := route.GatewayNamespace(parent)
	if !ofGateway || !s.Snapshot.Coverage(mesh.KindGateway, in).Known() {
		return false
	}
	_, found := s.Snapshot.Gateway(in, string(parent.Name))
	return !found
}

// istiodClass is the class of the Gateways that istiod runs for the mesh's ingress,
// unless it was told otherwise (istio pilot/pkg/features/pilot.go,
// GatewayAPIDefaultGatewayClass): nobody else says anything of routes at these.
const istiodClass = "istio"

// ofIstiod says whether a route's parent is a Gateway of which istiod speaks.
func (s Subject) ofIstiod(route mesh.Route, parent gatewayv1.ParentReference) bool {
	in, ofGateway := route.GatewayNamespace(parent)
	if !ofGateway {
		return false
	}
	gateway, found := s.Snapshot.Gateway(in, string(parent.Name))
	return found && gateway.Spec.GatewayClassName == istiodClass
}

// said is what a condition that does not hold means, in words.
var said = map[gatewayv1.RouteConditionType]string{
	gatewayv1.RouteConditionAccepted: "accepted", gatewayv1.RouteConditionResolvedRefs: "resolved",
}

func parentKind(parent gatewayv1.ParentReference) string {
	if parent.Kind == nil {
		return mesh.KindGateway
	}
	return string(*parent.Kind)
}

// followedFinding is about a route for a Service of the namespace that no waypoint
// stands before.
func followedFinding(subject Subject, route mesh.Route, i int, parent gatewayv1.ParentReference) *Finding {
	in, ofService := route.ServiceNamespace(parent)
	if !ofService || in != subject.Namespace.Name || !subject.ambient() {
		return nil
	}
	for _, service := range subject.Snapshot.Services(in) {
		if service.Name != string(parent.Name) {
			continue
		}
		finding := &Finding{Status: v1alpha1.StatusWarn, Object: reference(route.Reference), Field: fmt.Sprintf("spec.parentRefs[%d]", i)}
		if mesh.Headless(service) {
			if subject.direct(mesh.ServiceReference(in, service.Name)) {
				return nil
			}
			finding.Message = "calls to headless Service " + service.Name + " go to its pods, and ztunnel follows no route: ambient callers go past it"
			finding.Remedy = "have the pods named by a waypoint for workloads, or route calls to a Service with an address"
			return finding
		}
		if _, has := subject.Snapshot.WaypointOf(service.Labels, subject.Namespace); has || subject.diverted(mesh.ServiceReference(in, service.Name)) {
			return nil
		}
		finding.Message = "Service " + service.Name + " has no waypoint, and ztunnel follows no route: ambient callers go past it"
		finding.Remedy = "kubectl ambient enroll service/" + service.Name + " -n " + in + " gives the Service a waypoint"
		return finding
	}
	return nil
}
