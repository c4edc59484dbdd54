package mesh

import (
	"fmt"
	"strconv"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
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
	// Paused is true where it does not roll out at all. Waits is the field by which it
	// waits for somebody in the middle of a roll-out; empty where it does not.
	Paused bool
	Waits  string

	labels, annotations map[string]string
	hostNetwork         bool
}

// argoWorkload is a Rollout as a workload, where it holds its template itself. What is
// not what the controller could read, it does not run pods from.
func argoWorkload(object *unstructured.Unstructured) (Workload, bool) {
	var rollout struct {
		Spec struct {
			Replicas        *int32                  `json:"replicas"`
			Selector        *metav1.LabelSelector   `json:"selector"`
			Template        *corev1.PodTemplateSpec `json:"template"`
			WorkloadRef     map[string]any          `json:"workloadRef"`
			Paused          bool                    `json:"paused"`
			MinReadySeconds int32                   `json:"minReadySeconds"`
			Strategy        struct {
				Canary struct {
					MaxSurge       *intstr.IntOrString `json:"maxSurge"`
					MaxUnavailable *intstr.IntOrString `json:"maxUnavailable"`
				} `json:"canary"`
				BlueGreen map[string]any `json:"blueGreen"`
			} `json:"strategy"`
		} `json:"spec"`
	}
	if err := decodeJSON(object, &rollout); err != nil {
		return Workload{}, false
	}
	spec := rollout.Spec
	if spec.Template == nil || spec.WorkloadRef != nil {
		return Workload{}, false
	}
	workload := Workload{
		UID: object.GetUID(), Template: *spec.Template, TemplatePath: "/spec/template", Selector: spec.Selector,
		Replicas: replicasOf(spec.Replicas), Paused: spec.Paused, MinReadySeconds: spec.MinReadySeconds,
		MaxSurge: spec.Strategy.Canary.MaxSurge, MaxUnavailable: spec.Strategy.Canary.MaxUnavailable,
	}
	if spec.Strategy.BlueGreen != nil {
		// The new pods are all there before the old ones go.
		every, none := intstr.FromString("100%"), intstr.FromInt32(0)
		workload.MaxSurge, workload.MaxUnavailable = &every, &none
	}
	return workload, true
}

// argoRolloutOf judges a Rollout by its status, which its controller sums up in a word
// (argo-rollouts utils/rollout/rolloututil.go, GetRolloutPhase).
func argoRolloutOf(workload Workload) Rollout {
	object := workload.Object
	phase, message := textAt(object, "status", "phase"), textAt(object, "status", "message")
	switch {
	case !argoObserved(object):
		return Rollout{Message: "Argo Rollouts has not seen yet what was written"}
	case phase != argoHealthy:
		text := "its phase is " + phase
		if message != "" {
			text += ": " + message
		}
		rollout := Rollout{Message: text, Failed: phase == argoDegraded}
		if rollout.Failed {
			rollout.Failure = failureOf(object)
		}
		return rollout
	case numberAt(object, "status", "updatedReplicas") < int64(workload.Replicas) || numberAt(object, "status", "availableReplicas") < int64(workload.Replicas):
		return Rollout{Message: fmt.Sprintf("Updated: %d/%d, Available: %d/%d", numberAt(object, "status", "updatedReplicas"), workload.Replicas,
			numberAt(object, "status", "availableReplicas"), workload.Replicas)}
	default:
		return Rollout{Complete: true}
	}
}

// argoObserved says whether the controller has seen what was written: the generation is a
// text in the status of a Rollout.
func argoObserved(object Object) bool {
	seen, err := strconv.ParseInt(textAt(object, "status", "observedGeneration"), 10, 64)
	return err == nil && seen >= numberAt(object, "metadata", "generation")
}

// The phases of a Rollout that mean that it is done, or has failed (argo-rollouts
// pkg/apis/rollouts/v1alpha1/types.go, RolloutPhase).
const (
	argoHealthy  = "Healthy"
	argoDegraded = "Degraded"
)

// ArgoRollouts returns the Rollouts of the namespace at hand.
func (s *Snapshot) ArgoRollouts(namespace string) []ArgoRollout {
	var rollouts []ArgoRollout
	for i := range s.others[KindRollout] {
		object := &s.others[KindRollout][i]
		if object.GetNamespace() != namespace {
			continue
		}
		rollout := ArgoRollout{Reference: referenceOf(object), UID: object.GetUID(), Routing: argoRouting(object.Object), Waits: argoWaits(object.Object)}
		rollout.Paused, _, _ = unstructured.NestedBool(object.Object, "spec", "paused")
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

// argoWaits is the field by which a Rollout waits to be promoted: a pause of its canary
// steps without duration, or a blue-green strategy that does not promote by itself.
func argoWaits(object map[string]any) string {
	if promotes, set, _ := unstructured.NestedBool(object, "spec", "strategy", "blueGreen", "autoPromotionEnabled"); set && !promotes {
		return "spec.strategy.blueGreen.autoPromotionEnabled"
	}
	steps, _, _ := unstructured.NestedSlice(object, "spec", "strategy", "canary", "steps")
	for i, item := range steps {
		step, _ := item.(map[string]any)
		pause, isPause := step["pause"]
		fields, _ := pause.(map[string]any)
		if isPause && fields["duration"] == nil {
			return fmt.Sprintf("spec.strategy.canary.steps[%d].pause", i)
		}
	}
	return ""
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
