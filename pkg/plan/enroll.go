package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/annotation"
	"istio.io/api/label"
)

// Enroll plans the move of a namespace to ambient mode. A plan without steps
// means that there is nothing to do; a blocked one holds the steps that would
// be taken if its gates held.
func Enroll(snapshot *mesh.Snapshot, namespace mesh.Namespace) (v1alpha1.MigrationPlan, error) {
	planned := v1alpha1.MigrationPlan{
		TypeMeta: v1alpha1.Document(v1alpha1.KindMigrationPlan), Operation: v1alpha1.OperationEnroll, Namespace: namespace.Name,
		Gates: checks.Run(checks.EnrollGates(), checks.Subject{Snapshot: snapshot, Namespace: namespace}),
	}
	planned.Summary = v1alpha1.Summarize(planned.Gates)
	planner := enrolment{snapshot: snapshot, namespace: namespace}
	for _, part := range []func() ([]v1alpha1.Step, error){
		planner.pin, planner.enableAmbient, planner.restartWorkloads, planner.disableInjection,
	} {
		steps, err := part()
		if err != nil {
			return planned, err
		}
		planned.Steps = append(planned.Steps, steps...)
	}
	if len(planned.Steps) == 0 {
		return planned, nil
	}
	planned.Blocked = slices.ContainsFunc(planned.Gates, v1alpha1.CheckResult.Blocks)
	planned.Steps = append(planned.Steps, v1alpha1.Step{
		ID: string(v1alpha1.PhaseVerify), Phase: v1alpha1.PhaseVerify,
		Summary: "verify that the data plane agrees",
		Gate:    v1alpha1.Gate{Kind: v1alpha1.GateVerified},
	})
	return planned, nil
}

type enrolment struct {
	snapshot  *mesh.Snapshot
	namespace mesh.Namespace
}

// pin keeps out what must stay out. It comes before the namespace's label, so
// that no pod of such a workload is ever captured, one that is scaled up in
// the meantime included; these pods are in neither mode before and after, so
// their restart cannot come too early.
func (e enrolment) pin() ([]v1alpha1.Step, error) {
	var steps []v1alpha1.Step
	for _, workload := range e.snapshot.Workloads(e.namespace.Name) {
		if e.snapshot.RoleOf(workload, e.namespace) != mesh.RolePin {
			continue
		}
		step := v1alpha1.Step{
			ID: stepID(v1alpha1.PhasePin, workload.Reference), Phase: v1alpha1.PhasePin,
			Summary: "keep " + shortName(workload.Reference) + " out of ambient mode",
			Notes:   []string{e.pinReason(workload)},
			Gate:    v1alpha1.Gate{Kind: v1alpha1.GateReady, Workloads: []v1alpha1.ObjectReference{workload.Reference}},
		}
		if workload.Reference.Kind != mesh.KindJob {
			if err := addChange(&step, workload.Reference, workload.Object, e.pinEdits(workload)); err != nil {
				return nil, err
			}
		}
		if !workload.Rolls() {
			step.Gate = v1alpha1.Gate{Kind: v1alpha1.GateNone}
			if err := pinPods(&step, e.snapshot.PodsOf(workload)); err != nil {
				return nil, err
			}
		}
		steps = appendStep(steps, step)
	}
	bare := v1alpha1.Step{
		ID: string(v1alpha1.PhasePin) + "/pods", Phase: v1alpha1.PhasePin, Summary: "keep pods that opted out, out of ambient mode",
		Gate: v1alpha1.Gate{Kind: v1alpha1.GateNone},
	}
	if e.namespace.Labels[label.IoIstioDataplaneMode.Name] != mesh.DataplaneAmbient {
		optedOut := slices.DeleteFunc(e.snapshot.BarePods(e.namespace.Name), func(pod mesh.Pod) bool {
			return pod.HasSidecar() || pod.HostNetwork || !mesh.OptedOut(pod.Labels, pod.Annotations)
		})
		if err := pinPods(&bare, optedOut); err != nil {
			return nil, err
		}
	}
	return appendStep(steps, bare), nil
}

func (e enrolment) pinReason(workload mesh.Workload) string {
	if workload.IsGateway() {
		return "its pods are gateways: proxies themselves, which ztunnel must not capture"
	}
	return "its pods opted out of the mesh by " + label.SidecarInject.Name + ": \"false\""
}

func (e enrolment) pinEdits(workload mesh.Workload) []edit {
	labels := Pointer(workload.TemplatePath, "metadata", "labels")
	edits := []edit{{Pointer(labels, label.IoIstioDataplaneMode.Name), mesh.DataplaneNone}}
	if !workload.IsGateway() || !e.snapshot.LeansOnNamespace(workload, e.namespace) {
		return edits
	}
	// The injector fills in a gateway's proxy too. One that leans on the
	// namespace's label would come up without, once that is gone.
	edits = append(edits, edit{Pointer(labels, label.SidecarInject.Name), "true"})
	if e.namespace.Labels[mesh.NamespaceInjectionLabel] == "" {
		if revision := e.namespace.Labels[label.IoIstioRev.Name]; revision != "" {
			edits = append(edits, edit{Pointer(labels, label.IoIstioRev.Name), revision})
		}
	}
	return edits
}

func pinPods(step *v1alpha1.Step, pods []mesh.Pod) error {
	for _, pod := range pods {
		path := Pointer("/metadata/labels", label.IoIstioDataplaneMode.Name)
		object := v1alpha1.ObjectReference{APIVersion: "v1", Kind: mesh.KindPod, Namespace: pod.Namespace, Name: pod.Name}
		if err := addChange(step, object, pod.Object, []edit{{path, mesh.DataplaneNone}}); err != nil {
			return err
		}
	}
	return nil
}

func (e enrolment) enableAmbient() ([]v1alpha1.Step, error) {
	step := v1alpha1.Step{
		ID: string(v1alpha1.PhaseEnableAmbient), Phase: v1alpha1.PhaseEnableAmbient,
		Summary: "label namespace " + e.namespace.Name + " for ambient mode",
		Notes:   []string{"pods with sidecars are not touched by it"},
		Gate:    v1alpha1.Gate{Kind: v1alpha1.GateCaptured},
	}
	if live := checks.LiveCaptures(e.snapshot, e.namespace); len(live) > 0 {
		step.Notes = append(step.Notes, fmt.Sprintf("%d running without sidecar are captured at once", len(live)))
	}
	path := Pointer("/metadata/labels", label.IoIstioDataplaneMode.Name)
	if err := addChange(&step, e.namespace.Reference(), e.namespace.Object, []edit{{path, mesh.DataplaneAmbient}}); err != nil {
		return nil, err
	}
	return appendStep(nil, step), nil
}

// restartWorkloads writes each template once: the label that refuses injection
// is what moves the workload, and changing the template is what restarts it.
func (e enrolment) restartWorkloads() ([]v1alpha1.Step, error) {
	var steps []v1alpha1.Step
	for _, workload := range e.snapshot.Workloads(e.namespace.Name) {
		if workload.Reference.Kind == mesh.KindJob || e.snapshot.RoleOf(workload, e.namespace) != mesh.RoleMove {
			// The template of a Job cannot be changed; those still running
			// with a sidecar block the plan (restartable).
			continue
		}
		step := v1alpha1.Step{
			ID: stepID(v1alpha1.PhaseRestartWorkloads, workload.Reference), Phase: v1alpha1.PhaseRestartWorkloads,
			Summary: "restart " + shortName(workload.Reference) + " without sidecars",
			Gate:    v1alpha1.Gate{Kind: v1alpha1.GateCaptured, Workloads: []v1alpha1.ObjectReference{workload.Reference}},
		}
		if workload.Reference.Kind == mesh.KindCronJob {
			step.Summary = "let " + shortName(workload.Reference) + " start its next pods without sidecars"
			step.Gate = v1alpha1.Gate{Kind: v1alpha1.GateNone}
		}
		labels, annotations := Pointer(workload.TemplatePath, "metadata", "labels"), Pointer(workload.TemplatePath, "metadata", "annotations")
		err := addChange(&step, workload.Reference, workload.Object, []edit{
			{Pointer(labels, label.SidecarInject.Name), "false"},
			{Pointer(labels, label.IoIstioRev.Name), nil},
			{Pointer(annotations, annotation.SidecarInject.Name), nil},
		})
		if err != nil {
			return nil, err
		}
		if len(step.Changes) == 0 {
			// The template is written already, by an earlier run perhaps; what
			// is left is to wait for its pods.
			steps = append(steps, step)
			continue
		}
		steps = appendStep(steps, step)
	}
	return steps, nil
}

func (e enrolment) disableInjection() ([]v1alpha1.Step, error) {
	var edits []edit
	labels := maps.Clone(e.namespace.Labels)
	injects := func() bool { return e.snapshot.Injectors().Inject(labels, nil, nil, false) }
	for _, name := range []string{mesh.NamespaceInjectionLabel, label.IoIstioRev.Name} {
		if _, set := labels[name]; set && injects() {
			delete(labels, name)
			edits = append(edits, edit{Pointer("/metadata/labels", name), nil})
		}
	}
	if injects() {
		// The mesh injects namespaces that say nothing.
		path := Pointer("/metadata/labels", mesh.NamespaceInjectionLabel)
		edits = slices.DeleteFunc(edits, func(e edit) bool { return e.path == path })
		edits = append(edits, edit{path, mesh.InjectionDisabled})
	}
	step := v1alpha1.Step{
		ID: string(v1alpha1.PhaseDisableInjection), Phase: v1alpha1.PhaseDisableInjection,
		Summary: "stop asking for sidecars in namespace " + e.namespace.Name,
		Notes:   []string{"changes nothing for what was restarted; new workloads are ambient from here on"},
		Gate:    v1alpha1.Gate{Kind: v1alpha1.GateNone},
	}
	if err := addChange(&step, e.namespace.Reference(), e.namespace.Object, edits); err != nil {
		return nil, err
	}
	return appendStep(nil, step), nil
}

func addChange(step *v1alpha1.Step, reference v1alpha1.ObjectReference, object mesh.Object, edits []edit) error {
	change, err := changeOf(reference, object, edits)
	if err != nil || change == nil {
		return err
	}
	step.Changes = append(step.Changes, *change)
	return nil
}

// appendStep leaves out a step that changes nothing.
func appendStep(steps []v1alpha1.Step, step v1alpha1.Step) []v1alpha1.Step {
	if len(step.Changes) == 0 {
		return steps
	}
	return append(steps, step)
}

func stepID(phase v1alpha1.Phase, object v1alpha1.ObjectReference) string {
	return string(phase) + "/" + shortName(object)
}

// shortName is an object as kubectl writes it: deployment/cart.
func shortName(object v1alpha1.ObjectReference) string {
	return strings.ToLower(object.Kind) + "/" + object.Name
}
