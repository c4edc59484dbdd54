package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/annotation"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// The conditions that istiod writes on what waypoints are about (istio
// pilot/pkg/model, service.go). That on a Service has no generation: it names the
// waypoint in its message.
const (
	ConditionWaypointBound    = "istio.io/WaypointBound"
	ConditionWaypointAccepted = "WaypointAccepted"
	ConditionZtunnelAccepted  = "ZtunnelAccepted"
)

// Saying is what a condition gives as its reason.
func Saying(condition metav1.Condition) string {
	if condition.Message == "" {
		return condition.Reason
	}
	return condition.Reason + ": " + condition.Message
}

// reasonAccepted is the reason of a condition with which istiod has nothing to
// find fault. One that says PartiallyInvalid is True, too: some of the policy's
// targets are bound, and others are not (istio pilot/pkg/model/service.go).
const reasonAccepted = "Accepted"

// Unaccepted says what istiod lacks of a policy. It writes no condition on other
// kinds than AuthorizationPolicy (istio
// pilot/pkg/serviceregistry/ambient/ambientindex.go): of those there is nothing
// to wait for. With bound every target has to have its waypoint; without, a
// Service may still be without.
func Unaccepted(snapshot *mesh.Snapshot, reference v1alpha1.ObjectReference, object mesh.Object, bound bool) string {
	if reference.Kind != mesh.KindAuthorizationPolicy {
		return ""
	}
	targets := mesh.TargetsIn(object)
	if len(targets) == 0 {
		if beyondZtunnel(object) {
			return ""
		}
		return refusedByZtunnel(object)
	}
	condition := ConditionOf(object, ConditionWaypointAccepted)
	switch {
	case condition == nil && onDryRun(object):
		// Istiod refuses it for ztunnel although it is not for ztunnel, and of the
		// two conditions that it writes the one takes the other's place (istio
		// pilot/pkg/serviceregistry/ambient/authorization.go,
		// convertAuthorizationPolicy).
		return refusedByZtunnel(object)
	case condition == nil || condition.ObservedGeneration != generationOf(object):
		return "is not taken up by istiod yet"
	case condition.Status == metav1.ConditionTrue && condition.Reason == reasonAccepted:
		return ""
	case !bound && awaitsUse(snapshot, targets, condition.Status == metav1.ConditionTrue):
		return ""
	default:
		return "is not accepted for its waypoint: " + Saying(*condition)
	}
}

// awaitsUse says whether nothing else keeps a policy from its waypoints than that
// its Services use none yet. Of a policy with several targets istiod does not say
// what is wrong with which, only whether any is bound: so it is looked at here
// whether the Services are there. A Gateway must be what is bound.
func awaitsUse(snapshot *mesh.Snapshot, targets []mesh.Target, anyBound bool) bool {
	services := 0
	for _, target := range targets {
		if target.Kind != mesh.KindService && target.Kind != mesh.KindServiceEntry {
			continue
		}
		services++
		if _, found := snapshot.Object(v1alpha1.ObjectReference{Kind: target.Kind, Namespace: target.Namespace, Name: target.Name}); !found {
			return false
		}
	}
	return services == len(targets) || services > 0 && anyBound
}

// refusedByZtunnel says what keeps a policy without targets from ztunnel. Actions
// that it does not know, and dry runs, are refused by design.
func refusedByZtunnel(object mesh.Object) string {
	condition := ConditionOf(object, ConditionZtunnelAccepted)
	if condition == nil || condition.ObservedGeneration != generationOf(object) {
		return "is not taken up by istiod yet"
	}
	if condition.Status != metav1.ConditionTrue && !beyondZtunnel(object) {
		return "is not accepted for ztunnel: " + Saying(*condition)
	}
	return ""
}

// beyondZtunnel says whether a policy is refused for ztunnel by design. There is nothing
// to wait for then: istiod keeps all such policies under one name, so that of several
// only one has its condition written (istio pilot/pkg/model/service.go,
// WorkloadAuthorization.ResourceName: what is refused has no Authorization).
func beyondZtunnel(object mesh.Object) bool {
	// Where it is no text the API server has refused it.
	action, _, _ := unstructured.NestedString(object, "spec", "action")
	return onDryRun(object) || action != "" && !slices.Contains([]string{"ALLOW", "DENY"}, action)
}

func onDryRun(object mesh.Object) bool {
	dryRun, _, _ := unstructured.NestedString(object, "metadata", "annotations", annotation.IoIstioDryRun.Name)
	return dryRun != ""
}

// ConditionOf returns a condition of an object's status; nil where it has none.
func ConditionOf(object mesh.Object, kind string) *metav1.Condition {
	var read struct {
		Status struct {
			Conditions []condition `json:"conditions"`
		} `json:"status"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object, &read); err != nil {
		return nil
	}
	var conditions []metav1.Condition
	for _, one := range read.Status.Conditions {
		conditions = append(conditions, one.plain())
	}
	return meta.FindStatusCondition(conditions, kind)
}

// generationOf counts the writes of an object's spec.
func generationOf(object mesh.Object) int64 {
	// Without one it is 0.
	generation, _, _ := unstructured.NestedInt64(object, "metadata", "generation")
	return generation
}

// condition is one as Istio's API has it: 64-bit numbers may be texts there
// (protobuf's JSON).
type condition struct {
	Type               string `json:"type"`
	Status             string `json:"status"`
	Reason             string `json:"reason"`
	Message            string `json:"message"`
	ObservedGeneration any    `json:"observedGeneration"`
}

func (c condition) plain() metav1.Condition {
	plain := metav1.Condition{Type: c.Type, Status: metav1.ConditionStatus(c.Status), Reason: c.Reason, Message: c.Message}
	if _, err := fmt.Sscan(strings.TrimSpace(fmt.Sprint(c.ObservedGeneration)), &plain.ObservedGeneration); err != nil {
		plain.ObservedGeneration = 0
	}
	return plain
}
