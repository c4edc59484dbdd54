package plan

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Past is a namespace as it was before the runs of some records, newest first, which
// hold still, and what has become of it. The text says why there is none.
func Past(snapshot *mesh.Snapshot, namespace mesh.Namespace, open []v1alpha1.MigrationRecord) (past *checks.Past, missing string, err error) {
	enrolments := slices.DeleteFunc(slices.Clone(open), func(run v1alpha1.MigrationRecord) bool { return run.Operation != v1alpha1.OperationEnroll })
	if len(enrolments) == 0 {
		return nil, "no record says what the namespace was before it was enrolled", nil
	}
	oldest := enrolments[len(enrolments)-1]
	switch baseline := oldest.Baseline; {
	case baseline == nil:
		return nil, fmt.Sprintf("the record of run %s, which was made by version %s, does not say what the namespace was before it", oldest.ID, oldest.ToolVersion), nil
	case baseline.Version != v1alpha1.BaselineVersion:
		return nil, fmt.Sprintf("what the record of run %s says of the namespace before it is of version %d, and this tool reads %d", oldest.ID, baseline.Version, v1alpha1.BaselineVersion), nil
	}
	content, err := mesh.Restored(oldest.Baseline.Mesh)
	if err != nil {
		return nil, "", fmt.Errorf("run %s: %w", oldest.ID, err)
	}
	then, err := mesh.NewSnapshot(content)
	if err != nil {
		return nil, "", fmt.Errorf("run %s: what the namespace was before it: %w", oldest.ID, err)
	}
	past = &checks.Past{Baseline: *oldest.Baseline, Snapshot: then}
	past.Deleted, past.Lost = foretold(open)
	past.Moved = movedBy(stepsDone(open))
	return past, "", pastCalls(past, snapshot, namespace, stepsDone(open))
}

// movedBy are the workloads whose pods steps have moved: the gate of a step names one whose
// pods were only evicted as well, and its changes one that no gate waits for, as a CronJob.
func movedBy(steps []v1alpha1.Step) []v1alpha1.ObjectReference {
	var moved []v1alpha1.ObjectReference
	for _, step := range steps {
		if step.Phase == v1alpha1.PhaseRestartWorkloads {
			moved = append(moved, step.Gate.Workloads...)
			for _, change := range step.Changes {
				moved = append(moved, change.Object)
			}
		}
	}
	return moved
}

// foretold are the objects that runs have deleted, and those of which their plans said
// that they lose an effect.
func foretold(open []v1alpha1.MigrationRecord) (deleted, lost []v1alpha1.ObjectReference) {
	for _, step := range stepsDone(open) {
		for _, change := range step.Changes {
			if change.Delete {
				deleted = append(deleted, change.Object)
			}
		}
	}
	for _, run := range open {
		for _, gate := range run.Plan.Gates {
			if gate.ID == checks.IDWaypointLosses && gate.Object != nil {
				lost = append(lost, *gate.Object)
			}
		}
	}
	return deleted, lost
}

// stepsDone are the steps that runs have carried out, the oldest first.
func stepsDone(open []v1alpha1.MigrationRecord) []v1alpha1.Step {
	var steps []v1alpha1.Step
	for _, run := range slices.Backward(open) {
		for i, step := range run.Steps {
			if step.State == v1alpha1.StepDone && i < len(run.Plan.Steps) {
				steps = append(steps, run.Plan.Steps[i])
			}
		}
	}
	return steps
}

// policyEdit is a policy that somebody has changed since; before is nil for one that
// was not there.
type policyEdit struct {
	object v1alpha1.ObjectReference
	before map[string]any
}

// editsSince are the policies that decide about a namespace and that say something else
// than they did before the runs, or than the runs have made them say.
func editsSince(snapshot, then *mesh.Snapshot, left *Projection) []policyEdit {
	all := securityPolicies(then)
	for _, policy := range securityPolicies(snapshot) {
		// Of other namespaces nothing was kept.
		if _, kept := then.Namespace(policy.Namespace); kept && !slices.Contains(all, policy) {
			all = append(all, policy)
		}
	}
	var edits []policyEdit
	for _, policy := range all {
		before, was := left.objects[policy]
		if !was {
			before, was = then.Object(policy)
		}
		was = was && before != nil
		now, is := snapshot.Object(policy)
		switch {
		case was && is && Equal(sayings(before), sayings(now)), !was && !is, !was && Ours(now):
		case was:
			edits = append(edits, policyEdit{object: policy, before: before})
		default:
			edits = append(edits, policyEdit{object: policy})
		}
	}
	return edits
}

// securityPolicies are those of a snapshot that decide who may call.
func securityPolicies(snapshot *mesh.Snapshot) []v1alpha1.ObjectReference {
	var all []v1alpha1.ObjectReference
	add := func(kind, namespace, name string) {
		all = append(all, mesh.SecurityReference(kind, namespace, name))
	}
	for _, policy := range snapshot.AuthorizationPolicies() {
		add(mesh.KindAuthorizationPolicy, policy.Namespace, policy.Name)
	}
	for _, policy := range snapshot.PeerAuthentications() {
		add(mesh.KindPeerAuthentication, policy.Namespace, policy.Name)
	}
	for _, extension := range snapshot.Extensions() {
		if extension.Reference.Kind == mesh.KindRequestAuthentication {
			add(mesh.KindRequestAuthentication, extension.Reference.Namespace, extension.Reference.Name)
		}
	}
	return all
}

// The stages that calls are compared at, besides the one before the runs.
const (
	stageForetold = "foretold"
	stageKept     = "kept"
	stageNow      = "now"
)

// pastCalls compares how calls are decided now with how they were. What the plans of
// the runs said of the mesh as it was tells what was announced, and accepted; the mesh
// as it would be had nobody edited policies tells what follows from that.
func pastCalls(past *checks.Past, snapshot *mesh.Snapshot, namespace mesh.Namespace, done []v1alpha1.Step) error {
	maker, before, foretold := foretelling(past.Snapshot, namespace, done)
	stages := []compare.Stage{{State: before}, {Step: stageForetold, State: foretold}}
	edits := editsSince(snapshot, past.Snapshot, maker.state)
	if len(edits) > 0 {
		unedited, err := withoutEdits(snapshot, edits)
		if err != nil {
			return err
		}
		stages = append(stages, compare.Stage{Step: stageKept, State: maker.builder.Of(unedited, maker.namespaces, access.Overlay{})})
	}
	for _, edit := range edits {
		past.Edited = append(past.Edited, edit.object)
	}
	now := compare.Stage{Step: stageNow, State: maker.builder.Of(snapshot, maker.namespaces, access.Overlay{})}
	stages = append(stages, now)
	report := reportOf(stages, comparing(snapshot, maker.namespaces))
	past.Compared, past.Incomplete = report.Compared, report.Incomplete
	for _, change := range report.Changes {
		switch {
		case change.Until != "":
			// It is not so any more.
		case change.From == stageForetold:
			past.Foretold += max(change.Alike, 1)
		case change.From == stageNow && len(edits) > 0:
			past.Following = append(past.Following, change)
		default:
			past.Changes = append(past.Changes, change)
		}
	}
	if len(edits) > 0 {
		callsOfNewServers(past, before, stages[len(stages)-2].State, now, comparing(snapshot, maker.namespaces))
	}
	return nil
}

// callsOfNewServers compares calls to workloads that were not there before the runs, as
// one that has been replaced under another name, with what they would be had nobody edited
// policies: before the runs nobody answered them, which tells nothing.
func callsOfNewServers(past *checks.Past, before, kept *access.State, now compare.Stage, options compare.Options) {
	isNew := func(workload v1alpha1.ObjectReference) bool {
		return !slices.ContainsFunc(before.Servers, func(server *access.Server) bool { return server.Workload == workload })
	}
	if !slices.ContainsFunc(now.State.Servers, func(server *access.Server) bool { return isNew(server.Workload) }) {
		return
	}
	report := reportOf([]compare.Stage{{State: kept}, now}, options)
	past.Compared += report.Compared
	for _, text := range report.Incomplete {
		if !slices.Contains(past.Incomplete, text) {
			past.Incomplete = append(past.Incomplete, text)
		}
	}
	for _, change := range report.Changes {
		if isNew(change.Server) {
			past.Following = append(past.Following, change)
		}
	}
}

// foretelling are the mesh before some steps, and after them. Where somebody had changed
// what one of them was to change, nothing tells what it would have made of it: nothing
// counts then as announced.
func foretelling(then *mesh.Snapshot, namespace mesh.Namespace, done []v1alpha1.Step) (maker *stageMaker, before, after *access.State) {
	maker = newStageMaker(then, []string{namespace.Name})
	stages, err := maker.stages(done, true)
	if err != nil {
		maker = newStageMaker(then, []string{namespace.Name})
		stages = []compare.Stage{maker.stage("")}
	}
	return maker, stages[0].State, stages[len(stages)-1].State
}

// withoutEdits is the mesh as it is but for what somebody has edited.
func withoutEdits(snapshot *mesh.Snapshot, edits []policyEdit) (*mesh.Snapshot, error) {
	var restored []unstructured.Unstructured
	var deleted []v1alpha1.ObjectReference
	for _, edit := range edits {
		if edit.before == nil {
			deleted = append(deleted, edit.object)
		} else {
			restored = append(restored, unstructured.Unstructured{Object: edit.before})
		}
	}
	return snapshot.With(restored, deleted)
}
