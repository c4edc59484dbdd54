package mesh

import (
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// ArgoRollout is a Rollout of Argo Rollouts: it runs pods as a Deployment does,
// by a controller of its own.
type ArgoRollout struct {
	Reference v1alpha1.ObjectReference
	UID       types.UID
	// Workload is the object of the same namespace that holds the template, where
	// the Rollout itself does not.
	Workload *v1alpha1.ObjectReference
	// Routing are the Istio objects that its canary steps rewrite.
	Routing []string

	labels, annotations map[string]string
	hostNetwork         bool
}

// ArgoRollouts returns the Rollouts of the namespace at hand.
func (s *Snapshot) ArgoRollouts(namespace string) []ArgoRollout {
	var rollouts []ArgoRollout
	for i := range s.others[KindRollout] {
		object := &s.others[KindRollout][i]
		if object.GetNamespace() != namespace {
			continue
		}
		rollout := ArgoRollout{Reference: referenceOf(object), UID: object.GetUID(), Routing: argoRouting(object.Object)}
		if name := textAt(object.Object, "spec", "workloadRef", "name"); name != "" {
			rollout.Workload = &v1alpha1.ObjectReference{
				APIVersion: textAt(object.Object, "spec", "workloadRef", "apiVersion"),
				Kind:       textAt(object.Object, "spec", "workloadRef", "kind"), Namespace: namespace, Name: name,
			}
		} else {
			// What is not what the controller could read, it does not run pods from.
			rollout.labels, _, _ = unstructured.NestedStringMap(object.Object, "spec", "template", "metadata", "labels")
			rollout.annotations, _, _ = unstructured.NestedStringMap(object.Object, "spec", "template", "metadata", "annotations")
			rollout.hostNetwork, _, _ = unstructured.NestedBool(object.Object, "spec", "template", "spec", "hostNetwork")
		}
		rollouts = append(rollouts, rollout)
	}
	return rollouts
}

// ArgoInjected says whether a pod that a Rollout made now would get a sidecar.
func (s *Snapshot) ArgoInjected(rollout ArgoRollout, namespace Namespace) bool {
	if rollout.Workload != nil {
		workload, found := s.Workload(*rollout.Workload)
		return found && workload.Injected(s.injectors, namespace.Labels)
	}
	return s.injectors.Inject(namespace.Labels, rollout.labels, rollout.annotations, rollout.hostNetwork)
}

// ArgoRolloutOf returns the Rollout that runs a pod.
func (s *Snapshot) ArgoRolloutOf(pod Pod) (ArgoRollout, bool) {
	owner, controlled := s.OwnerOf(pod)
	if !controlled || owner.Kind != KindRollout {
		return ArgoRollout{}, false
	}
	for _, rollout := range s.ArgoRollouts(pod.Namespace) {
		if rollout.Reference.Name == owner.Name {
			return rollout, true
		}
	}
	return ArgoRollout{}, false
}

// argoRouting names the objects of spec.strategy.canary.trafficRouting.istio.
func argoRouting(object map[string]any) []string {
	istio, _, _ := unstructured.NestedMap(object, "spec", "strategy", "canary", "trafficRouting", "istio")
	var names []string
	if name := textAt(istio, "virtualService", "name"); name != "" {
		names = append(names, KindVirtualService+" "+name)
	}
	several, _, _ := unstructured.NestedSlice(istio, "virtualServices")
	for _, item := range several {
		if entry, ok := item.(map[string]any); ok && textAt(entry, "name") != "" {
			names = append(names, KindVirtualService+" "+textAt(entry, "name"))
		}
	}
	if name := textAt(istio, "destinationRule", "name"); name != "" {
		names = append(names, KindDestinationRule+" "+name)
	}
	return names
}

// numberAt is the number at a path of an object, 0 where there is none.
func numberAt(object map[string]any, path ...string) int64 {
	number, _, _ := unstructured.NestedInt64(object, path...)
	return number
}

// textAt is the string at a path of an object, empty where there is none.
func textAt(object map[string]any, path ...string) string {
	text, _, _ := unstructured.NestedString(object, path...)
	return text
}
