package mesh

import (
	"fmt"
	"maps"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// With returns the mesh as it would be with some objects changed or created, and
// others deleted. Kinds that a plan changes are understood: namespaces, workloads,
// nodes, Services and ServiceEntries, Gateways, routes of Istio, policies and extensions.
// Pods stay as they are: what becomes of them is for controllers to decide.
func (s *Snapshot) With(changed []unstructured.Unstructured, deleted []v1alpha1.ObjectReference) (*Snapshot, error) {
	next := *s
	next.decoded = nil
	kinds := map[string]bool{}
	for _, reference := range deleted {
		next.drop(reference, kinds)
	}
	for i := range changed {
		next.drop(referenceOf(&changed[i]), kinds)
	}
	for i := range changed {
		object := &changed[i]
		if !kinds[object.GetKind()] {
			return nil, fmt.Errorf("%s: a change of this kind cannot be foreseen", referenceOf(object))
		}
		if object.GetUID() == "" {
			object = object.DeepCopy()
			object.SetUID(s.uidOf(referenceOf(object)))
		}
		if err := next.add(object, map[types.UID]bool{}, &[]admissionv1.MutatingWebhookConfiguration{}); err != nil {
			return nil, &ObjectError{Object: referenceOf(object), Err: fault(object, err)}
		}
	}
	next.sortChanged(kinds)
	return &next, nil
}

// uidOf keeps a workload's UID, by which its pods are found.
func (s *Snapshot) uidOf(reference v1alpha1.ObjectReference) types.UID {
	if workload, found := s.Workload(reference); found {
		return workload.UID
	}
	return placeholderUID(reference)
}

// drop takes an object out, without touching what the snapshot that it was copied
// from holds. It notes the kinds that it knows.
func (s *Snapshot) drop(reference v1alpha1.ObjectReference, kinds map[string]bool) {
	is := func(object metav1.Object) bool {
		return object.GetNamespace() == reference.Namespace && object.GetName() == reference.Name
	}
	first := !kinds[reference.Kind]
	kinds[reference.Kind] = true
	if len(kinds) == 1 && first {
		s.suppressions, s.rewritten = maps.Clone(s.suppressions), maps.Clone(s.rewritten)
		if s.rewritten == nil {
			s.rewritten = map[v1alpha1.ObjectReference]Object{}
		}
	}
	s.rewritten[reference.Unversioned()] = nil
	switch reference.Kind {
	case KindNamespace:
		s.namespaces = cloneOnce(s.namespaces, first)
		delete(s.namespaces, reference.Name)
	case KindDeployment, KindStatefulSet, KindDaemonSet, KindReplicaSet, KindCronJob, KindJob, KindRollout:
		s.others = cloneOnce(s.others, first)
		s.others[reference.Kind] = without(s.others[reference.Kind], func(object unstructured.Unstructured) bool { return is(&object) })
		s.workloads = maps.Clone(s.workloads)
		s.workloads[reference.Namespace] = without(s.workloads[reference.Namespace], func(workload Workload) bool {
			return workload.Reference.Kind == reference.Kind && workload.Reference.Name == reference.Name
		})
		s.istiods, s.daemonSets = dropNamed(s.istiods, is), dropNamed(s.daemonSets, is)
	case KindNode:
		s.nodes = dropNamed(s.nodes, is)
	case KindService:
		s.services = dropNamed(s.services, is)
	case KindGateway:
		s.gateways = dropNamed(s.gateways, is)
	case KindServiceEntry:
		s.serviceEntries = dropPointers(s.serviceEntries, is)
	case KindAuthorizationPolicy:
		s.authorizationPolicies = dropPointers(s.authorizationPolicies, is)
	case KindPeerAuthentication:
		s.peerAuthentications = dropPointers(s.peerAuthentications, is)
	case KindSidecar:
		s.sidecars = dropPointers(s.sidecars, is)
	case KindVirtualService:
		s.virtualServices = dropPointers(s.virtualServices, is)
	case KindDestinationRule:
		s.destinationRules = dropPointers(s.destinationRules, is)
	case KindEnvoyFilter, KindWasmPlugin, KindTrafficExtension, KindTelemetry, KindRequestAuthentication:
		s.extensions = without(s.extensions, func(extension Extension) bool {
			own := extension.Reference
			return own.Kind == reference.Kind && own.Namespace == reference.Namespace && own.Name == reference.Name
		})
	default:
		delete(kinds, reference.Kind)
	}
}

func cloneOnce[K comparable, V any](m map[K]V, first bool) map[K]V {
	if first {
		return maps.Clone(m)
	}
	return m
}

// without returns a new slice that lacks some elements.
func without[T any](list []T, unwanted func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(list), unwanted)
}

func dropNamed[T any, P interface {
	*T
	metav1.Object
}](list []T, is func(metav1.Object) bool) []T {
	kept := make([]T, 0, len(list)+1)
	for i := range list {
		if !is(P(&list[i])) {
			kept = append(kept, list[i])
		}
	}
	return kept
}

func dropPointers[T metav1.Object](list []T, is func(metav1.Object) bool) []T {
	return without(list, func(object T) bool { return is(object) })
}

// sortChanged puts the kinds that were changed back into their order.
func (s *Snapshot) sortChanged(kinds map[string]bool) {
	for kind := range kinds {
		switch kind {
		case KindNode:
			sortNamed(s.nodes, func(o *corev1.Node) metav1.Object { return o })
		case KindService:
			sortNamed(s.services, func(o *corev1.Service) metav1.Object { return o })
		case KindGateway:
			sortNamed(s.gateways, func(o *gatewayv1.Gateway) metav1.Object { return o })
		case KindServiceEntry:
			sortPointers(s.serviceEntries)
		case KindAuthorizationPolicy:
			sortPointers(s.authorizationPolicies)
		case KindPeerAuthentication:
			sortPointers(s.peerAuthentications)
		case KindSidecar:
			sortPointers(s.sidecars)
		case KindVirtualService:
			sortPointers(s.virtualServices)
		case KindDestinationRule:
			sortPointers(s.destinationRules)
		case KindEnvoyFilter, KindWasmPlugin, KindTrafficExtension, KindTelemetry, KindRequestAuthentication:
			sortExtensions(s.extensions)
		case KindDeployment, KindStatefulSet, KindDaemonSet, KindReplicaSet, KindCronJob, KindJob, KindRollout:
			sortNamed(s.others[kind], func(o *unstructured.Unstructured) metav1.Object { return o })
			for namespace := range s.workloads {
				sortWorkloads(s.workloads[namespace])
			}
		}
	}
}
