package mesh

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// ContainerState is what the kubelet says of a container of a pod.
type ContainerState struct {
	Name     string
	Ready    bool
	Running  bool
	Restarts int32
	// Waiting is why it does not run; empty where nothing is said.
	Waiting string
	// Last is why it ended last, with its exit code, and Ended when; empty where it
	// never did.
	Last     string
	ExitCode int32
	Ended    time.Time
}

// ContainerStates are those of the pod's containers that stay up, its native sidecars
// left out; nil where no more than metadata was read.
func (p Pod) ContainerStates() []ContainerState {
	var read struct {
		Status corev1.PodStatus `json:"status"`
	}
	if p.Object == nil || runtime.DefaultUnstructuredConverter.FromUnstructured(map[string]any{"status": p.Object["status"]}, &read) != nil {
		return nil
	}
	var states []ContainerState
	for _, status := range read.Status.ContainerStatuses {
		state := ContainerState{Name: status.Name, Ready: status.Ready, Running: status.State.Running != nil, Restarts: status.RestartCount}
		if waiting := status.State.Waiting; waiting != nil {
			state.Waiting = waiting.Reason
		}
		ended := status.State.Terminated
		if ended == nil {
			ended = status.LastTerminationState.Terminated
		}
		if ended != nil {
			state.Last, state.ExitCode, state.Ended = ended.Reason, ended.ExitCode, ended.FinishedAt.Time
		}
		states = append(states, state)
	}
	return states
}

// SelectedBy are the live pods that a Service selects. One without a selector
// selects none.
func (s *Snapshot) SelectedBy(service corev1.Service) []Pod { return s.selected(service) }
