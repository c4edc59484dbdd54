package mesh

import (
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
	case template.Spec.HostNetwork || workload.CarriesProxy() || workload.IsAgent():
		return RoleStay
	case workload.IsGateway():
		if pinned && len(s.PinLabels(workload, namespace)) == 0 {
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

// EnrolledLabels returns a namespace's labels as its enrolment leaves them:
// ambient, and asking for no sidecars.
func (s *Snapshot) EnrolledLabels(namespace Namespace) map[string]string {
	enrolled := maps.Clone(namespace.Labels)
	if enrolled == nil {
		enrolled = map[string]string{}
	}
	enrolled[label.IoIstioDataplaneMode.Name] = DataplaneAmbient
	injects := func() bool { return s.injectors.Inject(enrolled, nil, nil, false) }
	if injects() {
		// Both labels go, also the one that the other outweighs: left behind,
		// it would be the one that decides.
		delete(enrolled, NamespaceInjectionLabel)
		delete(enrolled, label.IoIstioRev.Name)
	}
	if injects() {
		// The mesh injects namespaces that say nothing.
		enrolled[NamespaceInjectionLabel] = InjectionDisabled
	}
	return enrolled
}

// PinLabels returns the labels that a workload's template lacks to stay out of
// ambient mode as it is now. A gateway that is injected only because of its
// namespace needs labels of its own to be injected once the namespace is
// enrolled: the injector fills in its proxy, too.
func (s *Snapshot) PinLabels(workload Workload, namespace Namespace) map[string]string {
	pins := map[string]string{label.IoIstioDataplaneMode.Name: DataplaneNone}
	if workload.IsGateway() && workload.Injected(s.injectors, namespace.Labels) && !s.injectedWith(workload, namespace, pins) {
		pins[label.SidecarInject.Name] = "true"
		// The namespace's revision decides which istiod runs the gateway, where
		// the other label does not outweigh it.
		revision := namespace.Labels[label.IoIstioRev.Name]
		if revision != "" && (namespace.Labels[NamespaceInjectionLabel] == "" || !s.injectedWith(workload, namespace, pins)) {
			pins[label.IoIstioRev.Name] = revision
		}
	}
	maps.DeleteFunc(pins, func(key, value string) bool { return workload.Template.Labels[key] == value })
	return pins
}

// LosesProxy says whether a gateway that is injected now would come up without
// its proxy after the enrolment, whatever it is labelled.
func (s *Snapshot) LosesProxy(workload Workload, namespace Namespace) bool {
	return workload.IsGateway() && workload.Injected(s.injectors, namespace.Labels) &&
		!s.injectedWith(workload, namespace, s.PinLabels(workload, namespace))
}

// injectedWith says whether a workload with these labels added would be
// injected in its enrolled namespace.
func (s *Snapshot) injectedWith(workload Workload, namespace Namespace, added map[string]string) bool {
	labels := maps.Clone(workload.Template.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, added)
	return s.injectors.Inject(s.EnrolledLabels(namespace), labels, workload.Template.Annotations, workload.Template.Spec.HostNetwork)
}

// OptedOut says whether labels and annotations of a pod refuse injection; the
// label wins (istio pkg/kube/inject, injectRequired).
func OptedOut(labels, annotations map[string]string) bool {
	wish := annotations[annotation.SidecarInject.Name]
	if byLabel, set := labels[label.SidecarInject.Name]; set {
		wish = byLabel
	}
	return wish == "false"
}
