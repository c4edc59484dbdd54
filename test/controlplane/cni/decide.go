package cni

import (
	corev1 "k8s.io/api/core/v1"

	"istio.io/api/annotation"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/ztunnel"
)

// The values of the annotation by which the agent records what it has done
// (pkg/config/constants).
const (
	redirectionEnabled = "enabled"
	redirectionPending = "pending"
)

// Fault is what is made to go wrong with a pod.
type Fault int

const (
	// NoFault lets a pod be captured.
	NoFault Fault = iota
	// HoldCapture keeps the proxy of the pod from starting. The agent knows.
	HoldCapture
	// FeignCapture keeps the proxy of the pod from starting while the agent
	// believes that it runs, as after a node has restarted (istio/ztunnel#1761).
	FeignCapture
)

// situation is what the agent knows about a pod when it decides.
type situation struct {
	enrols     bool
	terminated bool
	// connected tells whether a ztunnel is connected on the node.
	connected bool
	// annotated is what the annotation says now.
	annotated string
	fault     Fault
}

// decision is how the agent wants a pod to be: the value of its annotation,
// empty for none, and the state of its proxy in ztunnel, empty for none.
type decision struct {
	annotation string
	state      ztunnel.State
}

// decide follows cni/pkg/nodeagent/meshdataplane_linux.go: a pod that should be
// enrolled has its network redirected first and is then sent to ztunnel. If
// that fails, the annotation says that the pod is pending, since redirection is
// in place. A pod that is enrolled already is not looked at again while its ztunnel is
// away (reconcilePod in cni/pkg/nodeagent/informers.go): the annotation stays.
func decide(s situation) decision {
	switch {
	case !s.enrols || s.terminated:
		return decision{}
	case !s.connected && s.annotated == redirectionEnabled:
		return decision{annotation: redirectionEnabled}
	case !s.connected:
		return decision{annotation: redirectionPending}
	case s.fault == HoldCapture:
		return decision{redirectionPending, ztunnel.StatePending}
	case s.fault == FeignCapture:
		return decision{redirectionEnabled, ztunnel.StatePending}
	default:
		return decision{redirectionEnabled, ztunnel.StateUp}
	}
}

// terminated tells whether the containers of a pod will not run again, as
// CheckPodTerminal in pkg/kube/util.go.
func terminated(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
}

func redirection(pod *corev1.Pod) string {
	return pod.Annotations[annotation.AmbientRedirection.Name]
}
