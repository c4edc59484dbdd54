package access

import (
	"maps"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
)

// target is what a targetRef names.
type target struct {
	group, kind, namespace, name string
}

// The kinds that policies are attached to.
const (
	kindService      = "Service"
	kindGateway      = "Gateway"
	kindGatewayClass = "GatewayClass"
	gatewayAPI       = "gateway.networking.k8s.io"
	istioNetworking  = "networking.istio.io"
)

// targetsOf returns what a policy is attached to by name, the older field
// included, which counts where the newer is empty (istio
// pilot/pkg/model/policyattachment.go, GetTargetRefs).
func targetsOf(spec *securityv1beta1.AuthorizationPolicy) []target {
	return targets(spec.GetTargetRef(), spec.GetTargetRefs())
}

func targets(older *typev1beta1.PolicyTargetReference, references []*typev1beta1.PolicyTargetReference) []target {
	if len(references) == 0 && older != nil {
		references = []*typev1beta1.PolicyTargetReference{older}
	}
	var all []target
	for _, reference := range references {
		all = append(all, target{reference.GetGroup(), reference.GetKind(), reference.GetNamespace(), reference.GetName()})
	}
	return all
}

// attachment says where a policy is, and what it names.
type attachment struct {
	namespace string
	// selected is false where there is no selector: an empty one is one, which
	// matters to ztunnel.
	selected bool
	selector selector
	targets  []target
}

func attachmentOf(namespace string, written *typev1beta1.WorkloadSelector, targets []target) attachment {
	return attachment{namespace: namespace, selected: written != nil, selector: selectorOf(written.GetMatchLabels()), targets: targets}
}

// reachesPod says whether the proxy of a pod is told of a policy: a sidecar, or
// a gateway that is no waypoint (istio pilot/pkg/model/policyattachment.go,
// ShouldAttachPolicy). Gateways of Gateway API are told of what names them, and
// of what selects them.
func (a *attachment) reachesPod(namespace string, labels map[string]string, roots []string) bool {
	if a.namespace != namespace && !slices.Contains(roots, a.namespace) {
		return false
	}
	if len(a.targets) == 0 {
		return a.selector.holds(labels)
	}
	gateway, isGateway := labels[label.IoK8sNetworkingGatewayGatewayName.Name]
	return isGateway && a.namesGateway(namespace, gateway)
}

// reachesAmbientPod says whether ztunnel enforces a policy for a pod: one with a
// selector that holds no labels is sent and applied to nothing (istio
// pilot/pkg/serviceregistry/ambient/workloads.go, buildWorkloadPolicies).
func (a *attachment) reachesAmbientPod(namespace string, labels map[string]string, roots []string) bool {
	if len(a.targets) > 0 || a.namespace != namespace && !slices.Contains(roots, a.namespace) {
		return false
	}
	return !a.selected || len(a.selector) > 0 && a.selector.holds(labels)
}

// reachesWaypoint says whether a waypoint enforces a policy for what is sent to a
// Service, or, where that is nil, to the address of a pod.
func (a *attachment) reachesWaypoint(waypoint *Waypoint, service *Service, roots []string) bool {
	return slices.ContainsFunc(a.targets, func(target target) bool {
		return service != nil && target.isService(service) && a.namespace == service.Reference.Namespace ||
			target.is(gatewayAPI, kindGatewayClass) && target.name == "istio-waypoint" && slices.Contains(roots, a.namespace)
	}) || a.namesGateway(waypoint.Namespace, waypoint.Name)
}

func (a *attachment) namesGateway(namespace, name string) bool {
	return a.namespace == namespace && slices.ContainsFunc(a.targets, func(target target) bool {
		return target.is(gatewayAPI, kindGateway) && target.name == name && (target.namespace == "" || target.namespace == namespace)
	})
}

func (t target) isService(service *Service) bool {
	if t.name != service.Reference.Name {
		return false
	}
	if service.Reference.Kind == mesh.KindServiceEntry {
		return t.is(istioNetworking, mesh.KindServiceEntry)
	}
	return t.is("", kindService)
}

// is takes no group for that of Kubernetes' own kinds, which has a name, too.
func (t target) is(group, kind string) bool {
	return t.kind == kind && (t.group == group || group == "" && t.group == "core")
}

// selector is labels that are required, character by character.
type selector []requirement

type requirement struct{ key, value string }

func selectorOf(labels map[string]string) selector {
	var made selector
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		made = append(made, requirement{key, labels[key]})
	}
	return made
}

func (s selector) holds(labels map[string]string) bool {
	for _, required := range s {
		if value, set := labels[required.key]; !set || value != required.value {
			return false
		}
	}
	return true
}
