package checks

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// routingChecks are about where calls go.
func routingChecks() []Check {
	return []Check{
		routingRules(), outboundRouting(), routeConflicts(), routeTargets(), serviceEntries(), sidecarResource(),
		waypointMissing(), waypointUnready(), waypointUnused(), waypointShape(), waypointNeeds(),
	}
}

const networkingVersion = "networking.istio.io/v1"

func routingRules() Check {
	return Check{
		ID: "routing-rules", Category: CategoryRouting, Severity: v1alpha1.SeverityError,
		About: "Looks for routes and traffic policies for the services of this namespace.",
		Why: "Routes, retries, timeouts, pools and load balancing are the work of the caller's sidecar, or of a waypoint (istio " +
			"pilot/pkg/networking/core/listener_waypoint.go, getVirtualServiceForWaypoint). ztunnel does none of it, so that calls of ambient pods " +
			"would go to any endpoint of the service.",
		Needs: []string{
			"VirtualService", "DestinationRule", "Service", mesh.KindServiceEntry, "HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute",
		},
		Passed: "every routing rule for services of this namespace is carried over to a waypoint",
		Run: func(subject Subject) []Finding {
			services := serviceNames(subject)
			needs := subject.Snapshot.WaypointNeeds(subject.Namespace)
			var findings []Finding
			refuse := func(object *v1alpha1.ObjectReference, field, message string) {
				if subject.carries(*object) {
					return
				}
				findings = append(findings, Finding{
					Status: v1alpha1.StatusFail, Object: object, Field: field, Message: message + concerned(needs, object), Remedy: later,
				})
			}
			for _, virtualService := range subject.Snapshot.VirtualServices() {
				own := virtualService.Namespace == subject.Namespace.Name
				if mesh.BindsMesh(&virtualService.Spec) && (own || concerns(virtualService.Spec.GetHosts(), virtualService.Namespace, services, subject)) {
					refuse(istioReference(networkingVersion, "VirtualService", virtualService), "spec.hosts",
						"its routes are lost without a waypoint")
				}
			}
			for _, rule := range subject.Snapshot.DestinationRules() {
				own := rule.Namespace == subject.Namespace.Name
				field := mesh.EffectiveField(&rule.Spec)
				object := istioReference(networkingVersion, "DestinationRule", rule)
				switch {
				case field == "":
				case rule.Spec.GetWorkloadSelector() != nil:
					// Of other namespaces it is for callers there alone.
					if own {
						refuse(object, field, "its traffic policy is lost: a waypoint follows no rule with a workloadSelector")
					}
				case own || concerns([]string{rule.Spec.GetHost()}, rule.Namespace, services, subject):
					refuse(object, field, "its traffic policy is lost without a waypoint")
				}
			}
			for _, route := range subject.Snapshot.Routes() {
				if routesServiceOf(route, subject.Namespace.Name) {
					refuse(reference(route.Reference), "spec.parentRefs", "its routes are lost without a waypoint")
				}
			}
			return findings
		},
	}
}

func serviceNames(subject Subject) []string {
	var names []string
	for _, service := range subject.Snapshot.Services(subject.Namespace.Name) {
		names = append(names, service.Name)
	}
	return names
}

func exported(exportTo []string, namespace string) bool {
	return len(exportTo) == 0 || slices.Contains(exportTo, "*") || slices.Contains(exportTo, namespace)
}

// concerns says whether hosts, as they are written in a namespace, can mean
// Services of the namespace at hand.
func concerns(hosts []string, written string, services []string, subject Subject) bool {
	return slices.ContainsFunc(hosts, func(host string) bool {
		return slices.ContainsFunc(services, func(service string) bool {
			return mesh.HostMeans(host, written, service, subject.Namespace.Name)
		})
	})
}

func routesServiceOf(route mesh.Route, namespace string) bool {
	for _, parent := range route.Parents {
		if parent.Kind == nil || *parent.Kind != "Service" {
			continue
		}
		in := route.Reference.Namespace
		if parent.Namespace != nil {
			in = string(*parent.Namespace)
		}
		if in == namespace || route.Reference.Namespace == namespace {
			return true
		}
	}
	return false
}
