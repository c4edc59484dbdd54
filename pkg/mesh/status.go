package mesh

import (
	"istio.io/api/label"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// Status says where a namespace stands.
func (s *Snapshot) Status(namespace Namespace) v1alpha1.NamespaceStatus {
	status := v1alpha1.NamespaceStatus{
		Name:          namespace.Name,
		Injection:     s.InjectionOf(namespace),
		DataplaneMode: namespace.Labels[label.IoIstioDataplaneMode.Name],
		Waypoints:     s.Waypoints(namespace),
	}
	for _, pod := range s.Pods(namespace.Name) {
		switch {
		case pod.IsGateway():
			status.Pods.Gateway++
		case pod.HasSidecar():
			status.Pods.Sidecar++
		case pod.Redirected():
			status.Pods.Ambient++
		default:
			status.Pods.None++
		}
		if s.RestartDue(pod, namespace) {
			status.RestartsDue++
		}
	}
	status.DataPlane = dataPlane(status.Pods)
	return status
}

func dataPlane(pods v1alpha1.PodCounts) v1alpha1.DataPlane {
	switch {
	case pods.Sidecar > 0 && pods.Ambient > 0:
		return v1alpha1.DataPlaneMixed
	case pods.Sidecar > 0:
		return v1alpha1.DataPlaneSidecar
	case pods.Ambient > 0:
		return v1alpha1.DataPlaneAmbient
	default:
		return v1alpha1.DataPlaneNone
	}
}

// InMesh says whether a namespace has anything to do with the mesh: it is
// labelled for it, or has pods or waypoints in it.
func InMesh(status v1alpha1.NamespaceStatus) bool {
	pods := status.Pods
	return status.Injection != "" || status.DataplaneMode != "" || len(status.Waypoints) > 0 ||
		pods.Sidecar+pods.Ambient+pods.Gateway > 0
}
