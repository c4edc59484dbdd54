package plan

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	"istio.io/api/label"
)

// Strategy is what gives pods their new mode.
type Strategy string

// StrategyTemplate writes each workload's template once, in order. StrategyNamespace
// writes none: the namespace's labels say which mode new pods have, and the run evicts
// those of before, in order. It is for templates that somebody else writes.
const (
	StrategyTemplate  Strategy = "template"
	StrategyNamespace Strategy = "namespace"
)

// noteEvicts is the note of steps that evict pods.
const noteEvicts = "one at a time, PodDisruptionBudgets respected; its template is not written"

func (o Options) byNamespace() bool { return o.Strategy == StrategyNamespace }

// validateStrategy wants one that there is, and no choice about templates where none
// is written.
func (o Options) validateStrategy() error {
	switch {
	case o.Strategy != "" && o.Strategy != StrategyTemplate && !o.byNamespace():
		return fmt.Errorf("unknown strategy %q: use %s or %s", o.Strategy, StrategyTemplate, StrategyNamespace)
	case o.byNamespace() && o.Workload != "":
		return fmt.Errorf("strategy %s moves all of a namespace: %s can be moved alone by its template only", StrategyNamespace, o.Workload)
	case o.byNamespace() && o.Service != "":
		return fmt.Errorf("strategy %s is about restarts: a single Service gets its waypoint without any", StrategyNamespace)
	case o.byNamespace() && o.ResumePaused:
		return fmt.Errorf("strategy %s writes no template, for which paused Deployments would have to be resumed", StrategyNamespace)
	default:
		return nil
	}
}

// unlabelled lets guards hold for every pod that their policies select, from the first
// moment on: no template gets the label by which they would tell moved ones.
func unlabelled(translation translate.Translation) translate.Translation {
	translation.Before = slices.Clone(translation.Before)
	for i, object := range translation.Before {
		for _, after := range translation.After {
			if object.Guard && after.Reference == object.Reference {
				translation.Before[i] = after
			}
		}
	}
	translation.After = slices.DeleteFunc(slices.Clone(translation.After), isGuard)
	return translation
}

// injectionStep is the ID of the step that takes the injection labels away before pods
// are replaced. It is of the phase that labels the namespace, so that a run which ends
// before the restarts has done all of it or nothing.
const injectionStep = string(v1alpha1.PhaseEnableAmbient) + "/injection"

// stopInjecting comes when everything is there that stands in for sidecars: from then
// on whatever pod is made anew, for whatever reason, has none.
func (e enrolment) stopInjecting() ([]v1alpha1.Step, error) {
	steps, err := e.disableInjection()
	for i := range steps {
		steps[i].ID, steps[i].Phase = injectionStep, v1alpha1.PhaseEnableAmbient
		steps[i].Notes = []string{"from then on any pod that is evicted, rescheduled or scaled up is in ambient mode, whatever its workload's turn would be"}
	}
	return steps, err
}

// replacePods has the run evict the pods that have a sidecar, workload by workload.
// Which are left, the pods tell, also when an earlier run was killed.
func (e enrolment) replacePods() ([]v1alpha1.Step, error) {
	var steps []v1alpha1.Step
	for _, workload := range e.snapshot.Workloads(e.namespace.Name) {
		kind := workload.Reference.Kind
		if kind == mesh.KindJob || kind == mesh.KindCronJob || !e.movesByNamespace(workload) {
			continue
		}
		gate := e.captured(workload)
		gate.Replaces, gate.Evicts = true, true
		steps = append(steps, v1alpha1.Step{
			ID: stepID(v1alpha1.PhaseRestartWorkloads, workload.Reference), Phase: v1alpha1.PhaseRestartWorkloads,
			Summary: "evict the pods with sidecars of " + shortName(workload.Reference),
			Notes:   []string{noteEvicts},
			Gate:    gate,
		})
	}
	return steps, nil
}

// movesByNamespace says whether pods of a workload have a sidecar, or would have; or,
// once the namespace asks for none, are not all in ambient mode yet.
func (e enrolment) movesByNamespace(workload mesh.Workload) bool {
	if e.snapshot.RoleOf(workload, e.namespace) == mesh.RoleMove {
		return true
	}
	template := workload.Template
	if e.namespace.Labels[label.IoIstioDataplaneMode.Name] != mesh.DataplaneAmbient || template.Spec.HostNetwork || workload.IsGateway() ||
		workload.IsAgent() || workload.CarriesProxy() || template.Labels[label.IoIstioDataplaneMode.Name] == mesh.DataplaneNone {
		return false
	}
	return slices.ContainsFunc(e.snapshot.PodsOf(workload), func(pod mesh.Pod) bool { return !pod.Ready || !pod.Redirected() })
}

// outOfOrder are the workloads that wait for callers: once the namespace asks for no
// sidecars, nobody can promise that these come first.
func outOfOrder(waits []compare.Waits) []checks.Held {
	var held []checks.Held
	for _, one := range waits {
		callers := slices.Clone(one.Others)
		for _, caller := range one.For {
			callers = append(callers, caller.String())
		}
		if len(callers) > 0 {
			held = append(held, checks.Held{Workload: one.Workload, Callers: callers, Unordered: true})
		}
	}
	return held
}

// evictedBy are the workloads whose pods runs have replaced, or may have, without
// writing their templates, in the order in which they did.
func evictedBy(to v1alpha1.Phase, records []v1alpha1.MigrationRecord) []v1alpha1.ObjectReference {
	var workloads []v1alpha1.ObjectReference
	for _, record := range slices.Backward(records) {
		for i, step := range record.Plan.Steps {
			if remnant(record) || i >= len(record.Steps) || !record.Steps[i].Begun() || !step.Gate.Evicts || step.Phase != v1alpha1.PhaseRestartWorkloads || !isAfter(step.Phase, to) {
				continue
			}
			for _, workload := range step.Gate.Workloads {
				if !slices.Contains(workloads, workload) {
					workloads = append(workloads, workload)
				}
			}
		}
	}
	return workloads
}

// restoreEvicted replaces pods once more, those that were replaced last first: the
// namespace asks for sidecars again by then.
func (r *rollback) restoreEvicted() {
	for _, reference := range slices.Backward(r.evicted) {
		workload, found := r.snapshot.Workload(reference)
		written := slices.Contains(r.objects(v1alpha1.PhaseRestartWorkloads), reference)
		if !found || written || !workload.Injected(r.snapshot.Injectors(), r.restored.Labels) {
			// One whose template was written as well gets its sidecars with that.
			continue
		}
		r.evictAll(reference)
	}
}
