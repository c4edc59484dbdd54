package mesh

import (
	"cmp"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
)

// Status says where a namespace stands.
func (s *Snapshot) Status(namespace Namespace) v1alpha1.NamespaceStatus {
	status := v1alpha1.NamespaceStatus{
		Name:          namespace.Name,
		Injection:     s.InjectionOf(namespace),
		DataplaneMode: namespace.Labels[label.IoIstioDataplaneMode.Name],
		Waypoints:     s.Waypoints(namespace),
	}
	status.Pods, status.RestartsDue = s.count(s.Pods(namespace.Name), namespace)
	status.DataPlane = dataPlane(status.Pods)
	return status
}

// count counts pods by what carries their traffic, and those that a restart
// would move, where the webhooks that inject pods are known.
func (s *Snapshot) count(pods []Pod, namespace Namespace) (counts v1alpha1.PodCounts, restartsDue *int) {
	due := 0
	for _, pod := range pods {
		switch {
		case pod.IsGateway():
			counts.Gateway++
		case pod.HasSidecar():
			counts.Sidecar++
		case pod.Redirected():
			counts.Ambient++
		default:
			counts.None++
		}
		if s.RestartDue(pod, namespace) {
			due++
		}
	}
	if !s.Coverage(KindMutatingWebhookConfiguration, namespace.Name).Known() {
		return counts, nil
	}
	return counts, &due
}

// WorkloadStatuses says where the workloads of a namespace stand.
func (s *Snapshot) WorkloadStatuses(namespace Namespace) []v1alpha1.WorkloadStatus {
	var statuses []v1alpha1.WorkloadStatus
	for _, workload := range s.Workloads(namespace.Name) {
		status := v1alpha1.WorkloadStatus{Object: workload.Reference, Enrolment: string(s.RoleOf(workload, namespace))}
		status.Pods, status.RestartsDue = s.count(s.PodsOf(workload), namespace)
		status.DataPlane = dataPlane(status.Pods)
		if rollout := RolloutOf(workload); !rollout.Complete {
			status.Rollout = rollout.Message
		}
		statuses = append(statuses, status)
	}
	for _, pod := range s.BarePods(namespace.Name) {
		status := v1alpha1.WorkloadStatus{Object: pod.Reference(), Enrolment: string(RoleStay)}
		status.Pods, status.RestartsDue = s.count([]Pod{pod}, namespace)
		status.DataPlane = dataPlane(status.Pods)
		statuses = append(statuses, status)
	}
	return statuses
}

// headless is what status calls a Service without an address of its own.
const headless = "Headless"

// ServiceStatuses says how traffic to the Services of a namespace is carried.
func (s *Snapshot) ServiceStatuses(namespace Namespace) []v1alpha1.ServiceStatus {
	var statuses []v1alpha1.ServiceStatus
	for _, service := range s.Services(namespace.Name) {
		status := v1alpha1.ServiceStatus{Name: service.Name, Type: string(cmp.Or(service.Spec.Type, corev1.ServiceTypeClusterIP))}
		if Headless(service) {
			status.Type = headless
		}
		status.Pods, _ = s.count(s.selected(service), namespace)
		status.DataPlane = dataPlane(status.Pods)
		status.Waypoint, status.WaypointFrom = s.namedWaypoint(service, namespace)
		statuses = append(statuses, status)
	}
	return statuses
}

// selected are the live pods that a Service selects. One without a selector
// selects none.
func (s *Snapshot) selected(service corev1.Service) []Pod {
	if len(service.Spec.Selector) == 0 {
		return nil
	}
	return slices.DeleteFunc(s.Pods(service.Namespace), func(pod Pod) bool { return !SelectsLabels(service.Spec.Selector, pod.Labels) })
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
