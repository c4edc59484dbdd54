package mesh

import (
	"fmt"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Rollout is how far a workload's controller has come with its template.
type Rollout struct {
	Complete bool
	// Failed is true where the controller itself has given up, as a Deployment
	// does at its progress deadline.
	Failed bool
	// Failure tells one failure from another, of the same rollout or of an earlier one
	// whose condition its controller has yet to take back; empty where it has not failed.
	Failure string
	// Message says what is still waited for, in the words of kstatus; empty
	// where the rollout is complete.
	Message string
}

// RolloutOf judges a workload by its status.
//
// A Job rolls nothing out: whether it has succeeded is not about its template. Nor
// does a controller that leaves its pods to be deleted by others: kstatus calls such
// a StatefulSet complete whatever its pods do, and such a DaemonSet unfinished for as
// long as somebody keeps a pod. A paused Deployment it never calls complete.
func RolloutOf(workload Workload) Rollout {
	if workload.Reference.Kind == KindJob {
		return Rollout{Complete: true}
	}
	if workload.Reference.Kind == KindRollout {
		return argoRolloutOf(workload)
	}
	if workload.Paused && workload.Reference.Kind == KindDeployment {
		return pausedRollout(workload)
	}
	if workload.OnDelete {
		return onDeleteRollout(workload)
	}
	result, err := status.Compute(&unstructured.Unstructured{Object: workload.Object})
	if err != nil {
		return Rollout{Message: fmt.Sprintf("its status could not be understood: %v", err)}
	}
	if result.Status == status.CurrentStatus {
		return Rollout{Complete: true}
	}
	rollout := Rollout{Failed: result.Status == status.FailedStatus, Message: result.Message}
	if rollout.Failed {
		rollout.Failure = failureOf(workload.Object)
	}
	if rollout.Message == "" {
		rollout.Message = "its status is " + string(result.Status)
	}
	return rollout
}

// pausedRollout wants all pods to be from the template and available: a Deployment
// that was paused when it was rolled out stays so.
func pausedRollout(workload Workload) Rollout {
	wanted, replicas := int64(workload.Replicas), numberAt(workload.Object, "status", "replicas")
	updated, available := numberAt(workload.Object, "status", "updatedReplicas"), numberAt(workload.Object, "status", "availableReplicas")
	switch {
	case !workload.Observed():
		return Rollout{Message: "its controller has not seen yet what was written"}
	case updated < max(replicas, wanted) || available < wanted:
		return Rollout{Message: fmt.Sprintf("it is paused, and %d of %d pods are from its template, %d available", updated, max(replicas, wanted), available)}
	default:
		return Rollout{Complete: true}
	}
}

// onDeleteRollout wants the pods to be there and ready, whichever template they are
// from.
func onDeleteRollout(workload Workload) Rollout {
	ready := numberAt(workload.Object, "status", "readyReplicas")
	if workload.Reference.Kind == KindDaemonSet {
		ready = numberAt(workload.Object, "status", "numberReady")
	}
	switch {
	case !workload.Observed():
		return Rollout{Message: "its controller has not seen yet what was written"}
	case ready < int64(workload.Replicas):
		return Rollout{Message: fmt.Sprintf("Ready: %d/%d", ready, workload.Replicas)}
	default:
		return Rollout{Complete: true}
	}
}

// Observed says whether the workload's controller has seen it as it is.
func (w Workload) Observed() bool {
	if w.Reference.Kind == KindRollout {
		return argoObserved(w.Object)
	}
	return numberAt(w.Object, "status", "observedGeneration") >= numberAt(w.Object, "metadata", "generation")
}

// Updated says whether the workload's controller has made all its pods from the template
// as it is, whether they are ready or not: what it replaces by itself, it has replaced.
func (w Workload) Updated() bool {
	updated, replicas := numberAt(w.Object, "status", "updatedReplicas"), numberAt(w.Object, "status", "replicas")
	if w.Reference.Kind == KindDaemonSet {
		updated, replicas = numberAt(w.Object, "status", "updatedNumberScheduled"), numberAt(w.Object, "status", "currentNumberScheduled")
	}
	return w.Observed() && updated >= int64(w.Replicas) && updated >= replicas
}

// failureOf are the conditions that say that a rollout has failed, with their times. The
// controller of Deployments leaves that of an exceeded deadline as it is where the template
// becomes one whose ReplicaSet is there, until it sees some progress (kubernetes
// pkg/controller/deployment/progress.go, syncRolloutStatus, and sync.go, getNewReplicaSet);
// Argo Rollouts does as well.
func failureOf(object Object) string {
	conditions, _, _ := unstructured.NestedSlice(object, "status", "conditions")
	saying := []any{"failed:"}
	for _, item := range conditions {
		condition, _ := item.(map[string]any)
		if kind, _ := condition["type"].(string); kind == "Progressing" || kind == "InvalidSpec" {
			saying = append(saying, condition)
		}
	}
	return fmt.Sprint(saying...)
}
