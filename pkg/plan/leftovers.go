package plan

import (
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	"istio.io/api/label"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	admissionv1 "k8s.io/api/admissionregistration/v1"
)

const networkingVersion = "networking.istio.io/v1"

// leftovers are what nothing needs any more once some workloads have lost their
// sidecars, and that is left to its owners.
func (e enrolment) leftovers(moved map[v1alpha1.ObjectReference]bool) []checks.Leftover {
	left := e.inTemplates(moved)
	if e.sidecarsElsewhere(moved) {
		return left
	}
	left = append(left, e.unfollowed()...)
	return append(left, e.meshWide()...)
}

// inTemplates are the annotations for sidecars in the templates of pods that have
// none, and the label by which they were moved.
func (e enrolment) inTemplates(moved map[v1alpha1.ObjectReference]bool) []checks.Leftover {
	var left []checks.Leftover
	for _, workload := range e.withoutSidecars(moved) {
		metadata := fieldName(workload.TemplatePath) + ".metadata"
		names, kept := e.annotationsLeft(workload, moved[workload.Reference])
		if len(names) > 0 {
			left = append(left, checks.Leftover{
				Object: workload.Reference, Field: metadata + ".annotations[" + names[0] + "]",
				Message: "its template has annotations that only sidecars read: " + some(names), Remedy: kept,
			})
			continue
		}
		left = append(left, checks.Leftover{
			Object: workload.Reference, Field: metadata + ".labels[" + label.SidecarInject.Name + "]",
			Message: "its template refuses a sidecar that nothing asks for any more",
			Remedy:  "leave it out at the next deployment, once nobody is going to roll back: taking it out is a restart",
		})
	}
	return left
}

// fieldName is a path into an object as people write it.
func fieldName(path string) string {
	return strings.ReplaceAll(strings.Trim(path, "/"), "/", ".")
}

// sidecarsElsewhere says whether any sidecar of the mesh is left once some workloads
// have lost theirs: in a pod, or in a virtual machine.
func (e enrolment) sidecarsElsewhere(moved map[v1alpha1.ObjectReference]bool) bool {
	gone := e.podsOf(moved)
	return len(e.snapshot.WorkloadEntries())+len(e.snapshot.WorkloadGroups()) > 0 || slices.ContainsFunc(e.snapshot.AllPods(), func(pod mesh.Pod) bool {
		return pod.HasSidecar() && (pod.Namespace != e.namespace.Name || !gone[pod.Name])
	})
}

// unfollowed are the routes of the namespace that no proxy follows: no sidecar is left
// in the mesh, they are not for gateways, and no waypoint stands before their hosts.
// Gateways heed DestinationRules whoever routes: those are named where there is none.
func (e enrolment) unfollowed() []checks.Leftover {
	var left []checks.Leftover
	const message, remedy = "no proxy follows it any more: no sidecar is left in the mesh, and no waypoint stands before what it is about", "delete it, unless it is for a proxy that is to come"
	for _, virtualService := range e.snapshot.VirtualServices() {
		reference := v1alpha1.ObjectReference{APIVersion: networkingVersion, Kind: mesh.KindVirtualService, Namespace: virtualService.Namespace, Name: virtualService.Name}
		if virtualService.Namespace == e.namespace.Name && onlyOfMesh(&virtualService.Spec) && !e.behindWaypoint(virtualService.Spec.GetHosts()) {
			left = append(left, checks.Leftover{Object: reference, Field: "spec.hosts", Message: message, Remedy: remedy})
		}
	}
	if slices.ContainsFunc(e.snapshot.AllPods(), mesh.Pod.IsGateway) {
		return left
	}
	for _, rule := range e.snapshot.DestinationRules() {
		reference := v1alpha1.ObjectReference{APIVersion: networkingVersion, Kind: mesh.KindDestinationRule, Namespace: rule.Namespace, Name: rule.Name}
		if rule.Namespace == e.namespace.Name && !e.behindWaypoint([]string{rule.Spec.GetHost()}) {
			left = append(left, checks.Leftover{Object: reference, Field: "spec.host", Message: message, Remedy: remedy})
		}
	}
	return left
}

// onlyOfMesh says whether a VirtualService is for no gateway.
func onlyOfMesh(spec *networkingv1alpha3.VirtualService) bool {
	return !slices.ContainsFunc(spec.GetGateways(), func(gateway string) bool { return gateway != mesh.MeshGateway })
}

// behindWaypoint says whether any of some hosts, written in the namespace, may mean
// something that a waypoint stands before. Of hosts elsewhere that is not looked at.
func (e enrolment) behindWaypoint(hosts []string) bool {
	return slices.ContainsFunc(hosts, func(host string) bool {
		own := false
		for _, service := range e.snapshot.Services(e.namespace.Name) {
			if !mesh.HostMeans(host, e.namespace.Name, service.Name, service.Namespace) {
				continue
			}
			own = true
			if slices.ContainsFunc(e.translation.Services, func(placed translate.ServiceWaypoint) bool {
				return placed.WaypointName != "" && placed.Need.Service == mesh.ServiceReference(service.Namespace, service.Name)
			}) {
				return true
			}
		}
		return !own
	})
}

// meshWide are what only sidecars need of the whole mesh.
func (e enrolment) meshWide() []checks.Leftover {
	const message = "no sidecar is left in the mesh"
	var left []checks.Leftover
	var named []string
	for _, injector := range e.snapshot.Injectors() {
		if slices.Contains(named, injector.Configuration) {
			continue
		}
		named = append(named, injector.Configuration)
		left = append(left, checks.Leftover{
			Object:  v1alpha1.ObjectReference{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: mesh.KindMutatingWebhookConfiguration, Name: injector.Configuration},
			Field:   "webhooks[" + injector.Webhook.Name + "]",
			Message: message + " that it would inject", Remedy: "it can go once nothing is to be rolled back, unless gateways are injected by it",
		})
	}
	roots := e.snapshot.RootNamespaces()
	for _, sidecar := range e.snapshot.Sidecars() {
		if slices.Contains(roots, sidecar.Namespace) {
			left = append(left, checks.Leftover{
				Object: v1alpha1.ObjectReference{APIVersion: networkingVersion, Kind: mesh.KindSidecar, Namespace: sidecar.Namespace, Name: sidecar.Name},
				Field:  "spec", Message: message + " that reads it", Remedy: "it can go once nothing is to be rolled back",
			})
		}
	}
	for _, extension := range e.snapshot.Extensions() {
		patches := extension.Patches()
		if extension.Reference.Kind != mesh.KindEnvoyFilter || !slices.Contains(roots, extension.Reference.Namespace) || extension.Targeted() || len(patches) == 0 ||
			slices.ContainsFunc(patches, func(patch mesh.Patch) bool { return !strings.HasPrefix(patch.Context, mesh.ContextSidecars) }) {
			continue
		}
		left = append(left, checks.Leftover{
			Object: extension.Reference, Field: "spec.configPatches", Message: message + " that it patches", Remedy: "it can go once nothing is to be rolled back",
		})
	}
	return left
}
