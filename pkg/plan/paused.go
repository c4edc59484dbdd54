package plan

import (
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// A paused Deployment that is to be restarted is resumed by the write that changes its
// template, and paused again in a step of its own. Meanwhile it bears ResumedAnnotation,
// by which the next plan knows of it, should the run be killed.

const (
	pausedPath  = "/spec/paused"
	pauseSuffix = "/pause"
)

func resumedPath() string { return Pointer("/metadata/annotations", v1alpha1.ResumedAnnotation) }

// resuming are the edits that let a paused Deployment roll out.
func resuming() []edit { return []edit{{pausedPath, nil}, {resumedPath(), "true"}} }

// pausing are the edits that take these back.
func pausing() []edit { return []edit{{pausedPath, true}, {resumedPath(), nil}} }

// wasResumed says whether a run has resumed a Deployment and not paused it again.
func wasResumed(object map[string]any) bool { return Lookup(object, resumedPath()) != nil }

// resumes says whether a workload is resumed for its restart.
func (e enrolment) resumes(workload mesh.Workload) bool {
	return e.options.ResumePaused && workload.Paused && workload.Reference.Kind == mesh.KindDeployment
}

// resumeNotes are what an operator should know of a Deployment that is resumed.
func (e enrolment) resumeNotes(workload mesh.Workload) []string {
	notes := []string{"it is paused: it is resumed for the restart, and paused again when all workloads have moved"}
	if workload.Pending(e.snapshot.PodsOf(workload)) {
		notes = append(notes, "what was changed in its template while it was paused is rolled out, too")
	}
	return notes
}

// pauseAgain comes when all restarts are done: a step of the same workload right
// after its restart would be in the way of those that others wait for.
func (e enrolment) pauseAgain() ([]v1alpha1.Step, error) {
	var steps []v1alpha1.Step
	for _, workload := range e.snapshot.Workloads(e.namespace.Name) {
		if workload.Reference.Kind != mesh.KindDeployment {
			continue
		}
		object, err := e.state.Object(workload.Reference)
		if err != nil {
			return nil, err
		}
		if !wasResumed(object) {
			continue
		}
		step := pauseStep(v1alpha1.PhaseRestartWorkloads, workload.Reference)
		if err := e.state.changes(&step, workload.Reference, pausing()); err != nil {
			return nil, err
		}
		steps = appendStep(steps, step)
	}
	return steps, nil
}

func pauseStep(phase v1alpha1.Phase, reference v1alpha1.ObjectReference) v1alpha1.Step {
	return v1alpha1.Step{
		ID: stepID(phase, reference) + pauseSuffix, Phase: phase,
		Summary: "pause " + shortName(reference) + " again", Gate: v1alpha1.Gate{Kind: v1alpha1.GateNone},
	}
}

func pauses(step v1alpha1.Step) bool { return strings.HasSuffix(step.ID, pauseSuffix) }

// restorePaused puts the template of a Deployment back that the runs have resumed: it
// is resumed once more, and is what it was when its pods are.
func (r *rollback) restorePaused(reference v1alpha1.ObjectReference, object mesh.Object, step v1alpha1.Step) error {
	edits := slices.DeleteFunc(r.edits(v1alpha1.PhaseRestartWorkloads, reference, object, true), func(one edit) bool {
		return one.path == pausedPath || one.path == resumedPath()
	})
	if len(edits) > 0 {
		edits = append(edits, r.edits(v1alpha1.PhaseRefreshSidecars, reference, object, false)...)
	}
	switch {
	case len(edits) > 0:
		step.Notes = append(step.Notes, r.betweenRuns(reference, edits)...)
		if err := r.state.changes(&step, reference, append(edits, resuming()...)); err != nil {
			return err
		}
		r.plan.Steps = append(r.plan.Steps, step)
	case wasResumed(object):
		// A rollback that was stopped has written the template and not waited.
		r.plan.Steps = append(r.plan.Steps, step)
	}
	again := pauseStep(v1alpha1.PhaseRestoreWorkloads, reference)
	if err := r.state.changes(&again, reference, pausing()); err != nil {
		return err
	}
	r.plan.Steps = appendStep(r.plan.Steps, again)
	return nil
}

// resumed says whether the runs have resumed a Deployment.
func (r *rollback) resumed(reference v1alpha1.ObjectReference) bool {
	return slices.ContainsFunc(r.written, func(field writtenField) bool {
		return field.object == reference && field.path == resumedPath()
	})
}
