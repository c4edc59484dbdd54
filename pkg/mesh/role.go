package mesh

import (
	"cmp"
	"maps"
	"slices"

	"istio.io/api/annotation"
	"istio.io/api/label"
)

// Role is what enrolling its namespace means for a workload.
type Role string

const (
	// RoleMove is for a workload whose pods have sidecars, or would get them:
	// they are to be replaced by pods without.
	RoleMove Role = "move"
	// RolePin is for a workload whose pods must stay out of ambient mode: they
	// opted out of the mesh, or are gateways.
	RolePin Role = "pin"
	// RoleStay is for a workload that nothing has to be done for.
	RoleStay Role = "stay"
)

// RoleOf decides a workload's role in the namespace's enrolment.
func (s *Snapshot) RoleOf(workload Workload, namespace Namespace) Role {
	template := workload.Template
	pinned := template.Labels[label.IoIstioDataplaneMode.Name] == DataplaneNone
	switch {
	case template.Spec.HostNetwork || workload.CarriesProxy():
		return RoleStay
	case workload.IsGateway():
		if pinned && !s.LeansOnNamespace(workload, namespace) {
			return RoleStay
		}
		return RolePin
	case workload.Injected(s.injectors, namespace.Labels), slices.ContainsFunc(s.PodsOf(workload), Pod.HasSidecar):
		return RoleMove
	case OptedOut(template.Labels, template.Annotations) && template.Labels[label.IoIstioDataplaneMode.Name] == "" &&
		namespace.Labels[label.IoIstioDataplaneMode.Name] != DataplaneAmbient:
		// In a namespace that is ambient already, a pod that refuses injection
		// is an ambient pod: that is how enrolled workloads look.
		return RolePin
	default:
		return RoleStay
	}
}

// LeansOnNamespace says whether a workload is injected only because of its
// namespace's labels: without them its next pod would have no proxy.
func (s *Snapshot) LeansOnNamespace(workload Workload, namespace Namespace) bool {
	return workload.Injected(s.injectors, namespace.Labels) && !workload.Injected(s.injectors, WithoutInjection(namespace.Labels))
}

// WithoutInjection returns a namespace's labels as they are once nothing in
// them asks for sidecars.
func WithoutInjection(namespaceLabels map[string]string) map[string]string {
	without := maps.Clone(namespaceLabels)
	delete(without, NamespaceInjectionLabel)
	delete(without, label.IoIstioRev.Name)
	return without
}

// OptedOut says whether labels and annotations of a pod refuse injection; the
// label wins (istio pkg/kube/inject, injectRequired).
func OptedOut(labels, annotations map[string]string) bool {
	return cmp.Or(labels[label.SidecarInject.Name], annotations[annotation.SidecarInject.Name]) == "false"
}
