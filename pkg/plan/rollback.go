package plan

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// Rollback plans the undoing of recorded enrolments of a namespace, which are
// given newest first. Every field that a run may have written goes back to
// what it was before the first of them, if it still is what a run wrote. A
// field that somebody else has changed since is left alone and named in Kept. What
// is accepted, named as Options.Accept names it, does not block.
func Rollback(
	snapshot *mesh.Snapshot, namespace mesh.Namespace, records []v1alpha1.MigrationRecord, accepted ...string,
) (v1alpha1.MigrationPlan, error) {
	return RollbackAs(snapshot, namespace, records, Undoing{Accept: accepted})
}

// Undoing is what may be chosen about a rollback by records.
type Undoing struct {
	// To is the phase after which what was done is undone: what was done in it and
	// before stays, as Options.Until leaves it. Empty means all.
	To v1alpha1.Phase
	// Accept are findings that do not block, named as Options.Accept names them.
	Accept []string
	// MaxParallelRestarts is how many workloads are put back at the same time; up to 1
	// they are one after another.
	MaxParallelRestarts int
}

// RollbackAs is Rollback as it was chosen.
func RollbackAs(
	snapshot *mesh.Snapshot, namespace mesh.Namespace, records []v1alpha1.MigrationRecord, chosen Undoing,
) (v1alpha1.MigrationPlan, error) {
	planned, to := NothingToRollBack(namespace.Name), chosen.To
	planned.Accepted, planned.To = chosen.Accept, to
	for _, record := range records {
		planned.Undoes = append(planned.Undoes, record.ID)
	}
	if err := separable(records, to); err != nil {
		return planned, err
	}
	moved := unreturned(records)
	if len(moved) == 0 {
		moved = records
	}
	since := oldest(moved)
	planner := rollback{
		snapshot: snapshot, namespace: namespace, records: records, state: NewProjection(snapshot), plan: &planned,
		since: &since, parallel: chosen.MaxParallelRestarts, stays: len(records) > 0 && len(unreturned(records)) == 0,
	}
	var err error
	if planner.written, planner.created, err = writtenAfter(to, records); err != nil {
		return planned, err
	}
	planner.deleted, planner.evicted = deletedBy(to, records), evictedBy(to, records)
	return planned, planner.finish(mixedCallersOf(records))
}

// finish plans the steps that put back what the runs may have written, and judges
// them. Mixed callers is what was chosen about those by the runs.
func (r *rollback) finish(mixedCallers string) error {
	err := r.take(
		r.restoreReplaced, r.unsettlePolicies, r.restoreInjection, r.uncordon, r.restoreWorkloads, r.keepRefreshed, r.nameMissing, r.replacePods, r.disableAmbient,
		r.unguardDirectCalls, r.deactivateWaypoints, r.removeWaypoints, r.restorePolicies, r.unpin,
	)
	if err != nil {
		return err
	}
	about, err := concernedBy(r.snapshot, []string{r.namespace.Name}, r.plan.Steps)
	if err != nil {
		return err
	}
	if err := r.inWaves(about.all()); err != nil {
		return err
	}
	access, err := reportBack(r.snapshot, about, r.plan.Steps)
	if err != nil {
		return err
	}
	ending, err := r.endingWithWaypoints(about.own)
	if err != nil {
		return err
	}
	access.Changes = append(access.Changes, ending...)
	noteAnnounced(access.Changes, r.records)
	access.MixedCallers = mixedCallers
	r.judge(&checks.Migration{Access: access, Unguarded: r.unguarded(), Parallel: parallel(r.plan.Steps)}, checks.RollbackGates(r.formerWorkloads(), r.restartedWorkloads(), r.evictedWorkloads()))
	return nil
}

// take plans the steps of some parts, in order.
func (r *rollback) take(parts ...func() error) error {
	if err := r.seesAll(); err != nil {
		return err
	}
	r.restored = r.restoredNamespace()
	for _, part := range parts {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

// judge makes the checks that have to hold, and sums the plan up.
func (r *rollback) judge(migration *checks.Migration, gates []checks.Check) {
	if migration.Access.Compared > 0 {
		r.plan.Access = migration.Access
	}
	subject := checks.Subject{Snapshot: r.snapshot, Namespace: r.restored, Migration: migration, Accepts: Options{Accept: r.plan.Accepted}.accepts}
	r.plan.Gates = checks.Run(gates, subject)
	r.plan.Summary = v1alpha1.Summarize(r.plan.Gates)
	r.plan.Blocked = slices.ContainsFunc(r.plan.Gates, v1alpha1.CheckResult.Blocks)
	r.plan.Overview = overview(r.snapshot, *r.plan)
}

// NothingToRollBack is the plan of a rollback that has nothing to undo.
func NothingToRollBack(namespace string) v1alpha1.MigrationPlan {
	return v1alpha1.MigrationPlan{
		TypeMeta: v1alpha1.Document(v1alpha1.KindMigrationPlan), Operation: v1alpha1.OperationRollback, Namespace: namespace,
		Gates: []v1alpha1.CheckResult{}, Steps: []v1alpha1.Step{},
	}
}

type rollback struct {
	snapshot  *mesh.Snapshot
	namespace mesh.Namespace
	// restored is the namespace as the rollback leaves it.
	restored mesh.Namespace
	// state is the mesh as the steps planned so far leave it.
	state *Projection
	plan  *v1alpha1.MigrationPlan
	// parallel is how many workloads may be put back at the same time.
	parallel int
	// records are those of the runs, newest first; none where they are not there.
	records []v1alpha1.MigrationRecord
	// since is when the first of the runs began; nil where that is not recorded.
	since   *time.Time
	written []writtenField
	created []createdObject
	deleted []deletedObject
	// evicted are the workloads whose pods the runs have replaced by the namespace's
	// labels alone.
	evicted []v1alpha1.ObjectReference
	// evicts are the workloads whose pods the plan evicts, which bring no sidecars by
	// their templates.
	evicts []v1alpha1.ObjectReference
	// stays is true where no pod is to change its mode, since only leftovers of an
	// enrolment are there, or what other namespaces relied on.
	stays bool
}

// writtenField is a field that the runs may have written.
type writtenField struct {
	phase  v1alpha1.Phase
	object v1alpha1.ObjectReference
	path   string
	// before is what was there before the runs wrote it, after what each of them
	// wrote, oldest first. Where somebody else wrote it between two runs, before is what
	// they made of it, without what the earlier runs had, and after begins with the
	// later one.
	before any
	after  []any
	// between is true where somebody else wrote it between two runs, remains is what the
	// earlier ones had added to it, where that cannot be told apart from theirs.
	between bool
	remains []string
}

// oldest is when the first of the runs started.
func oldest(records []v1alpha1.MigrationRecord) time.Time {
	var since time.Time
	for _, record := range records {
		if since.IsZero() || record.Started.Before(since) {
			since = record.Started
		}
	}
	return since
}

// writtenBy collects what the runs may have written, in the order in which
// they did: fields of objects that were there before, and objects that they
// created.
func writtenBy(records []v1alpha1.MigrationRecord) (written []writtenField, created []createdObject, err error) {
	return writtenAfter("", records)
}

// writtenAfter collects what they may have written in the phases after one. What they
// created before is then an object like others.
func writtenAfter(to v1alpha1.Phase, records []v1alpha1.MigrationRecord) (written []writtenField, created []createdObject, err error) {
	for _, record := range slices.Backward(records) {
		for i, step := range record.Plan.Steps {
			if !isAfter(step.Phase, to) {
				continue
			}
			for _, change := range left(record, i) {
				if change.Object.Kind == mesh.KindNode {
					// What a run wrote there is gone when the run is, but for what
					// uncordon finds.
					continue
				}
				if change.Create != nil {
					created = noteCreated(created, step.Phase, change, record.Steps[i].State == v1alpha1.StepDone)
					continue
				}
				if i := slices.IndexFunc(created, func(of createdObject) bool { return of.object == change.Object }); i >= 0 {
					if err := created[i].rewrite(change); err != nil {
						return nil, nil, err
					}
					if step.Phase != v1alpha1.PhaseSettlePolicies && step.Phase != v1alpha1.PhaseSimplify {
						continue
					}
					// It is deleted in the end, but before a sidecar comes back it has
					// to be what it was while there were sidecars, and before what it was
					// made from is there again, what it was beside that.
				}
				phase := step.Phase
				if step.ID == injectionStep {
					// The namespace asks for sidecars again before pods are replaced.
					phase = v1alpha1.PhaseDisableInjection
				}
				for _, field := range change.Fields {
					written = note(written, phase, change.Object, field)
				}
			}
		}
	}
	return written, created, nil
}

func note(written []writtenField, phase v1alpha1.Phase, object v1alpha1.ObjectReference, field v1alpha1.FieldChange) []writtenField {
	for i := range written {
		if written[i].object == object && written[i].path == field.Path {
			written[i].rewrite(field)
			return written
		}
	}
	return append(written, writtenField{
		phase: phase, object: object, path: field.Path, before: field.Before, after: []any{field.After},
	})
}

// rewrite notes that a later step or run has written the field. What it found there is
// neither what was there before nor what was written until then where somebody else has
// written it in between: that is what it goes back to, and nothing that was written
// before is ours any more.
func (f *writtenField) rewrite(field v1alpha1.FieldChange) {
	if !Equal(field.Before, f.before) && !f.wrote(field.Before) {
		f.before, f.remains = f.without(field.Before)
		f.after, f.between = nil, true
	}
	f.after = append(f.after, field.After)
}

// wrote says whether a value is one that the runs have written.
func (f *writtenField) wrote(value any) bool {
	return slices.ContainsFunc(f.after, func(after any) bool { return Equal(value, after) })
}

// without is what somebody else has made of the field, without what the runs had made
// of it before. Where the two cannot be told apart it is all of it, and what the runs
// had added to it remains there.
func (f *writtenField) without(found any) (before any, remains []string) {
	if back, possible := f.takenBack(found); possible {
		return back, nil
	}
	for _, after := range f.after {
		remains = append(remains, addedTexts(f.before, after)...)
	}
	remains = append(remains, f.remains...)
	held := textsIn(found)
	remains = slices.DeleteFunc(remains, func(text string) bool { return !slices.Contains(held, text) })
	slices.Sort(remains)
	return found, slices.Compact(remains)
}

// edits returns what restores an object's fields of a phase, given how the
// object is now. With keep it also notes what somebody else has changed.
func (r *rollback) edits(phase v1alpha1.Phase, reference v1alpha1.ObjectReference, object mesh.Object, keep bool) []edit {
	var edits []edit
	for _, field := range r.written {
		if field.phase != phase || field.object != reference {
			continue
		}
		found := Lookup(object, field.path)
		switch {
		case Equal(found, field.before):
		case field.wrote(found):
			edits = append(edits, edit{field.path, field.before})
		default:
			back, possible := field.takenBack(found)
			if possible && !Equal(back, found) {
				edits = append(edits, edit{field.path, back})
			} else if keep && !possible {
				r.plan.Kept = append(r.plan.Kept, field.keptField(found))
			}
		}
	}
	return edits
}

// objects returns the objects that the runs changed in a phase, in the order
// in which they did.
func (r *rollback) objects(phase v1alpha1.Phase) []v1alpha1.ObjectReference {
	var objects []v1alpha1.ObjectReference
	for _, field := range r.written {
		if field.phase == phase && !slices.Contains(objects, field.object) {
			objects = append(objects, field.object)
		}
	}
	return objects
}

// restoredNamespace applies the namespace's own restorations to its labels,
// so that injection can be judged as it will be.
func (r *rollback) restoredNamespace() mesh.Namespace {
	reference := r.namespace.Reference()
	var fields []v1alpha1.FieldChange
	for _, phase := range []v1alpha1.Phase{v1alpha1.PhaseDisableInjection, v1alpha1.PhaseEnableAmbient} {
		for _, edit := range r.edits(phase, reference, r.namespace.Object, false) {
			fields = append(fields, v1alpha1.FieldChange{Path: edit.path, After: edit.after})
		}
	}
	restored := r.namespace
	object, err := Apply(r.namespace.Object, fields)
	if err != nil {
		return restored
	}
	restored.Labels = map[string]string{}
	labels, _ := Lookup(object, "/metadata/labels").(map[string]any)
	for key, value := range labels {
		restored.Labels[key], _ = value.(string)
	}
	return restored
}

// unsettlePolicies comes first: a pod that gets its sidecar back must find the
// policies that its sidecar enforced.
func (r *rollback) unsettlePolicies() error {
	if err := r.restoreObjects(v1alpha1.PhaseSettlePolicies, v1alpha1.Step{
		ID: string(v1alpha1.PhaseUnsettlePolicies), Phase: v1alpha1.PhaseUnsettlePolicies,
		Summary: "put policies back as they were before the last sidecar left", Gate: v1alpha1.Gate{Kind: v1alpha1.GatePoliciesAccepted},
	}); err != nil {
		return err
	}
	// Guards that had to wait until pods named their waypoint go before these do not
	// name it any more: nobody could call them in the meantime.
	return r.deleteCreated(v1alpha1.PhaseSettlePolicies, whatever, v1alpha1.Step{
		ID: string(v1alpha1.PhaseUnsettlePolicies) + "/guards", Phase: v1alpha1.PhaseUnsettlePolicies,
		Summary: "delete what refuses calls past the waypoints that pods name", Gate: v1alpha1.Gate{Kind: v1alpha1.GateGone},
	})
}

func (r *rollback) restoreInjection() error {
	return r.restoreObject(v1alpha1.PhaseDisableInjection, r.namespace.Reference(), v1alpha1.Step{
		ID: string(v1alpha1.PhaseRestoreInjection), Phase: v1alpha1.PhaseRestoreInjection,
		Summary: "ask for sidecars in namespace " + r.namespace.Name + " again",
		Notes:   []string{"changes nothing for workloads whose template refuses injection"},
		Gate:    v1alpha1.Gate{Kind: v1alpha1.GateNone},
	})
}

// restoreWorkloads goes through the workloads in reverse: those that were
// moved last go back first.
func (r *rollback) restoreWorkloads() error {
	r.restoreEvicted()
	for _, reference := range slices.Backward(r.objects(v1alpha1.PhaseRestartWorkloads)) {
		if r.halfBack(reference) {
			r.plan.Steps = append(r.plan.Steps, v1alpha1.Step{
				ID: stepID(v1alpha1.PhaseRestoreWorkloads, reference), Phase: v1alpha1.PhaseRestoreWorkloads,
				Summary: "wait for the sidecars of " + shortName(reference),
				Notes:   []string{"its template was put back before"},
				Gate:    v1alpha1.Gate{Kind: v1alpha1.GateInjected, Workloads: []v1alpha1.ObjectReference{reference}, Since: r.since},
			})
		}
	}
	for _, reference := range slices.Backward(r.objects(v1alpha1.PhaseRestartWorkloads)) {
		step := v1alpha1.Step{
			ID: stepID(v1alpha1.PhaseRestoreWorkloads, reference), Phase: v1alpha1.PhaseRestoreWorkloads,
			Summary: "put the template of " + shortName(reference) + " back and wait for its sidecars",
			Gate:    v1alpha1.Gate{Kind: v1alpha1.GateInjected, Workloads: []v1alpha1.ObjectReference{reference}, Since: r.since},
		}
		if workload, found := r.snapshot.Workload(reference); found {
			step.Notes = byHand(workload)
		}
		if reference.Kind == mesh.KindCronJob {
			step.Summary = "put the template of " + shortName(reference) + " back"
			step.Gate = v1alpha1.Gate{Kind: v1alpha1.GateNone}
		}
		object, found := r.snapshot.Object(reference)
		if found && r.resumed(reference) {
			if err := r.restorePaused(reference, object, step); err != nil {
				return err
			}
			continue
		}
		if err := r.restoreObject(v1alpha1.PhaseRestartWorkloads, reference, step); err != nil {
			return err
		}
	}
	return nil
}

// halfBack says whether a rollback that was stopped has put back the template of a
// workload, and not waited for its pods: those come before others are touched.
func (r *rollback) halfBack(reference v1alpha1.ObjectReference) bool {
	workload, found := r.snapshot.Workload(reference)
	if !found || r.resumed(reference) || len(r.edits(v1alpha1.PhaseRestartWorkloads, reference, workload.Object, false)) > 0 ||
		!workload.Renews() || !workload.Injected(r.snapshot.Injectors(), r.restored.Labels) {
		return false
	}
	return slices.ContainsFunc(r.snapshot.PodsOf(workload), func(pod mesh.Pod) bool { return r.lacks(pod) || r.comesBack(pod) })
}

// replacePods is a step of its own, since no template says which pods came up
// without a sidecar: those made while the namespace did not ask for any belong
// to a revision that did not change.
func (r *rollback) replacePods() error {
	if !r.snapshot.Injectors().Inject(r.restored.Labels, nil, nil, false) && len(r.objects(v1alpha1.PhaseRestartWorkloads)) == 0 {
		return nil
	}
	if r.stays || r.onlyRefreshed() {
		return nil
	}
	var rollouts []v1alpha1.ObjectReference
	for _, workload := range r.snapshot.Workloads(r.namespace.Name) {
		if workload.Reference.Kind == mesh.KindRollout {
			rollouts = append(rollouts, workload.Reference)
		}
	}
	r.restoreLacking()
	which := "only pods created since the migration began"
	if r.since == nil {
		which = "whenever they were created"
	}
	r.plan.Steps = append(r.plan.Steps, v1alpha1.Step{
		ID: string(v1alpha1.PhaseReplacePods), Phase: v1alpha1.PhaseReplacePods,
		Summary: "replace pods that should have a sidecar and came up without",
		Notes:   []string{which + "; evicted one at a time, workload by workload, PodDisruptionBudgets respected"},
		Gate:    v1alpha1.Gate{Kind: v1alpha1.GateInjected, Objects: rollouts, Since: r.since},
	})
	return nil
}

// restoreLacking evicts the pods that lack a sidecar now, and of which no other step
// is: those of workloads that came after the enrolment, and of all in a namespace that
// was moved by hand. A workload at a time, as restarts do: evictions have no surge. Those
// of which an earlier rollback has replaced pods that are not ready yet come first.
func (r *rollback) restoreLacking() {
	var begun, others []v1alpha1.ObjectReference
	for _, workload := range r.snapshot.Workloads(r.namespace.Name) {
		kind := workload.Reference.Kind
		if kind == mesh.KindJob || kind == mesh.KindCronJob || workload.IsGateway() || workload.CarriesProxy() ||
			slices.Contains(r.evicted, workload.Reference) || slices.Contains(r.objects(v1alpha1.PhaseRestartWorkloads), workload.Reference) ||
			!workload.Injected(r.snapshot.Injectors(), r.restored.Labels) {
			continue
		}
		switch pods := r.snapshot.PodsOf(workload); {
		case slices.ContainsFunc(pods, r.comesBack):
			begun = append(begun, workload.Reference)
		case slices.ContainsFunc(pods, r.lacks):
			others = append(others, workload.Reference)
		}
	}
	for _, reference := range slices.Concat(begun, others) {
		r.evictAll(reference)
	}
}

// comesBack says whether a pod has its sidecar again, and is not ready yet.
func (r *rollback) comesBack(pod mesh.Pod) bool {
	return pod.HasSidecar() && !pod.Ready && madeSince(pod, r.since)
}

// lacks says whether a pod is to have a sidecar again, and has come up without.
func (r *rollback) lacks(pod mesh.Pod) bool { return lacksSince(pod, r.since) }

func lacksSince(pod mesh.Pod, since *time.Time) bool {
	return !pod.HasSidecar() && madeSince(pod, since)
}

// madeSince says whether a pod is not from before the migration; without a time, all count.
func madeSince(pod mesh.Pod, since *time.Time) bool {
	return since == nil || !pod.Created.Before(*since)
}

// evictAll plans that a workload's pods without sidecars are evicted, and waited for.
func (r *rollback) evictAll(workload v1alpha1.ObjectReference) {
	step := v1alpha1.Step{
		ID: stepID(v1alpha1.PhaseRestoreWorkloads, workload), Phase: v1alpha1.PhaseRestoreWorkloads,
		Summary: "wait for the sidecars of " + shortName(workload),
		Notes:   []string{"its pods came up with sidecars already"},
		Gate:    v1alpha1.Gate{Kind: v1alpha1.GateInjected, Workloads: []v1alpha1.ObjectReference{workload}, Since: r.since},
	}
	if there, found := r.snapshot.Workload(workload); found && slices.ContainsFunc(r.snapshot.PodsOf(there), r.lacks) {
		r.evicts = append(r.evicts, workload)
		step.Summary, step.Notes = "evict the pods of "+shortName(workload)+" and wait for their sidecars", []string{noteEvicts}
	}
	r.plan.Steps = append(r.plan.Steps, step)
}

// evictedWorkloads are those whose pods the plan evicts.
func (r *rollback) evictedWorkloads() []mesh.Workload {
	var workloads []mesh.Workload
	for _, reference := range r.evicts {
		if workload, found := r.snapshot.Workload(reference); found {
			workloads = append(workloads, workload)
		}
	}
	return workloads
}

func (r *rollback) disableAmbient() error {
	return r.restoreObject(v1alpha1.PhaseEnableAmbient, r.namespace.Reference(), v1alpha1.Step{
		ID: string(v1alpha1.PhaseDisableAmbient), Phase: v1alpha1.PhaseDisableAmbient,
		Summary: "take the ambient label off namespace " + r.namespace.Name,
		Gate:    v1alpha1.Gate{Kind: v1alpha1.GateReleased},
	})
}

// unguardDirectCalls comes while calls still go through the waypoint: pods that were
// in ambient mode before are called directly as soon as it is deactivated, and what
// refuses direct calls would refuse those.
func (r *rollback) unguardDirectCalls() error {
	return r.deleteCreated(v1alpha1.PhaseActivateWaypoints, whatever, v1alpha1.Step{
		ID: string(v1alpha1.PhaseDeactivateWaypoints) + "/guards", Phase: v1alpha1.PhaseDeactivateWaypoints,
		Summary: "decide direct calls as before", Gate: v1alpha1.Gate{Kind: v1alpha1.GateGone},
	})
}

// deactivateWaypoints takes the Services off the waypoints in one step: none of
// them is to be called through a waypoint by some and past it by others for
// longer than it takes.
func (r *rollback) deactivateWaypoints() error {
	step := v1alpha1.Step{
		ID: string(v1alpha1.PhaseDeactivateWaypoints), Phase: v1alpha1.PhaseDeactivateWaypoints,
		Summary: "send traffic past the waypoints again",
		Notes:   []string{"connections that are open stay on their waypoint until they end, or it is deleted"},
		Gate:    v1alpha1.Gate{Kind: v1alpha1.GateWaypointsUnbound},
	}
	if err := r.restoring(v1alpha1.PhaseActivateWaypoints, &step); err != nil {
		return err
	}
	step.Notes = append(step.Notes, r.stayingWaypoints(step)...)
	for _, reference := range slices.Backward(r.objects(v1alpha1.PhaseActivateWaypoints)) {
		if _, found := r.snapshot.Object(reference); found && reference.Kind != mesh.KindNamespace && r.reliedOn(reference) == "" {
			step.Gate.Objects = append(step.Gate.Objects, reference)
		}
	}
	// A rollback that was stopped may have changed the labels and not waited:
	// before anything is deleted, somebody has to.
	if len(step.Changes) > 0 || len(step.Gate.Objects) > 0 && r.createdRemain() {
		r.plan.Steps = append(r.plan.Steps, step)
	}
	return nil
}

// restorePolicies comes when the waypoints that go are gone. Of one that stays, what
// lets it through goes before what it enforces: requests on connections that are open
// are refused behind it before they are unchecked at it.
func (r *rollback) restorePolicies() error {
	err := r.restoreObjects(v1alpha1.PhaseMigratePolicies, v1alpha1.Step{
		ID: string(v1alpha1.PhaseRestorePolicies), Phase: v1alpha1.PhaseRestorePolicies,
		Summary: "put policies back as they were", Gate: v1alpha1.Gate{Kind: v1alpha1.GatePoliciesAccepted},
	})
	if err != nil {
		return err
	}
	attached := func(created createdObject) bool {
		return len(mesh.TargetsIn(created.contents[len(created.contents)-1])) > 0
	}
	if err := r.deleteCreated(v1alpha1.PhaseSimplify, whatever, v1alpha1.Step{
		ID: string(v1alpha1.PhaseRestorePolicies) + "/simplified", Phase: v1alpha1.PhaseRestorePolicies,
		Summary: "delete the policies that stood in for deleted ones", Gate: v1alpha1.Gate{Kind: v1alpha1.GateGone},
	}); err != nil {
		return err
	}
	err = r.deleteCreated(v1alpha1.PhaseMigratePolicies, func(created createdObject) bool { return !attached(created) }, v1alpha1.Step{
		ID: string(v1alpha1.PhaseRestorePolicies) + "/passage", Phase: v1alpha1.PhaseRestorePolicies,
		Summary: "delete the policies that let the waypoint through", Gate: v1alpha1.Gate{Kind: v1alpha1.GateGone},
	})
	if err != nil {
		return err
	}
	return r.deleteCreated(v1alpha1.PhaseMigratePolicies, attached, v1alpha1.Step{
		ID: string(v1alpha1.PhaseRestorePolicies) + "/attached", Phase: v1alpha1.PhaseRestorePolicies,
		Summary: "delete the policies that the waypoint enforced", Gate: v1alpha1.Gate{Kind: v1alpha1.GateGone},
	})
}

// removeWaypoints comes before the policies at them go: connections that were open
// when the Services were taken off a waypoint still end there, and without policies
// it would pass on whatever is asked on them.
func (r *rollback) removeWaypoints() error {
	step := v1alpha1.Step{
		ID: string(v1alpha1.PhaseRemoveWaypoints), Phase: v1alpha1.PhaseRemoveWaypoints,
		Summary: "delete the waypoints that the enrolment deployed",
		Gate:    v1alpha1.Gate{Kind: v1alpha1.GateGone},
	}
	if err := r.restoreObjects(v1alpha1.PhaseDeployWaypoints, v1alpha1.Step{
		ID: string(v1alpha1.PhaseRemoveWaypoints) + "/restored", Phase: v1alpha1.PhaseRemoveWaypoints,
		Summary: "put waypoints back as they were", Gate: v1alpha1.Gate{Kind: v1alpha1.GateWaypointsReady},
	}); err != nil {
		return err
	}
	return r.deleteCreated(v1alpha1.PhaseDeployWaypoints, whatever, step)
}

func (r *rollback) unpin() error {
	for _, reference := range slices.Backward(r.objects(v1alpha1.PhasePin)) {
		gate := v1alpha1.Gate{Kind: v1alpha1.GateNone}
		if workload, found := r.snapshot.Workload(reference); found && workload.Rolls() {
			gate = v1alpha1.Gate{Kind: v1alpha1.GateReady, Workloads: []v1alpha1.ObjectReference{reference}}
		}
		err := r.restoreObject(v1alpha1.PhasePin, reference, v1alpha1.Step{
			ID: stepID(v1alpha1.PhaseUnpin, reference), Phase: v1alpha1.PhaseUnpin,
			Summary: "put " + shortName(reference) + " back as it was", Gate: gate,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// restoreObject plans a step that restores one object, unless it is gone or is
// as it was.
func (r *rollback) restoreObject(phase v1alpha1.Phase, reference v1alpha1.ObjectReference, step v1alpha1.Step) error {
	object, found := r.snapshot.Object(reference)
	if !found {
		r.gone(reference)
		return nil
	}
	if reason := r.reliedOn(reference); reason != "" {
		r.plan.Kept = append(r.plan.Kept, v1alpha1.KeptField{Object: reference, Reason: reason, Later: true})
		return nil
	}
	edits := r.edits(phase, reference, object, true)
	if phase == v1alpha1.PhaseRestartWorkloads && len(edits) > 0 {
		// The whole template is what it was, so that its former pods' controller is.
		edits = append(edits, r.edits(v1alpha1.PhaseRefreshSidecars, reference, object, false)...)
	}
	step.Notes = append(step.Notes, r.betweenRuns(reference, edits)...)
	if err := r.state.changes(&step, reference, edits); err != nil {
		return err
	}
	r.plan.Steps = appendStep(r.plan.Steps, step)
	return nil
}

// restoreObjects plans one step that restores all objects that the runs changed
// in a phase, last changed first. Its gate is about those.
func (r *rollback) restoreObjects(phase v1alpha1.Phase, step v1alpha1.Step) error {
	if err := r.restoring(phase, &step); err != nil {
		return err
	}
	step.Gate.Objects = changedBy(step)
	r.plan.Steps = appendStep(r.plan.Steps, step)
	return nil
}

// gone notes that somebody has deleted an object that was there before the runs.
func (r *rollback) gone(reference v1alpha1.ObjectReference) {
	if !slices.ContainsFunc(r.created, func(of createdObject) bool { return of.object == reference }) {
		r.plan.Gone = append(r.plan.Gone, reference)
	}
}

// restoring makes what restores the objects of a phase part of a step.
func (r *rollback) restoring(phase v1alpha1.Phase, step *v1alpha1.Step) error {
	for _, reference := range slices.Backward(r.objects(phase)) {
		object, found := r.snapshot.Object(reference)
		if !found {
			r.gone(reference)
			continue
		}
		if reason := r.reliedOn(reference); reason != "" {
			r.plan.Kept = append(r.plan.Kept, v1alpha1.KeptField{Object: reference, Reason: reason, Later: true})
			continue
		}
		edits := r.edits(phase, reference, object, true)
		if slices.ContainsFunc(edits, func(one edit) bool { return r.inPart(reference, one) }) {
			step.Notes = append(step.Notes, reference.String()+" has been changed since: what the run had made of it is taken back, the rest stays")
		}
		step.Notes = append(step.Notes, r.betweenRuns(reference, edits)...)
		if err := r.state.changes(step, reference, edits); err != nil {
			return err
		}
	}
	return nil
}

// betweenRuns says of each field that is put back as somebody else made it between two
// runs that it is, and what of the runs remains in it.
func (r *rollback) betweenRuns(reference v1alpha1.ObjectReference, edits []edit) []string {
	var notes []string
	for _, field := range r.written {
		at := slices.IndexFunc(edits, func(one edit) bool { return one.path == field.path })
		if !field.between || field.object != reference || at < 0 {
			continue
		}
		note := reference.String() + ": somebody has changed " + field.path + " between the runs, and it goes back to what they made of it"
		if remains := slices.DeleteFunc(slices.Clone(field.remains), func(text string) bool { return !holdsAny(edits[at].after, []string{text}) }); len(remains) > 0 {
			note += ", which holds what a run had added, " + some(remains) + ": take it out by hand, " + editCommand(reference)
		}
		notes = append(notes, note)
	}
	return notes
}

// inPart says whether an edit takes back a part of a field, and leaves the rest as
// somebody else has made it.
func (r *rollback) inPart(reference v1alpha1.ObjectReference, one edit) bool {
	return slices.ContainsFunc(r.written, func(field writtenField) bool {
		return field.object == reference && field.path == one.path && !Equal(one.after, field.before)
	})
}

// changedBy are the objects that a step changes. A namespace's label is about
// what is in it: no gate looks at the namespace itself.
func changedBy(step v1alpha1.Step) []v1alpha1.ObjectReference {
	var objects []v1alpha1.ObjectReference
	for _, change := range step.Changes {
		if change.Object.Kind != mesh.KindNamespace {
			objects = append(objects, change.Object)
		}
	}
	return objects
}

// formerWorkloads are the workloads whose pods the injector has to give a proxy
// to again, as the rollback leaves their templates: those that the runs moved,
// and gateways that they pinned.
func (r *rollback) formerWorkloads() []mesh.Workload {
	var workloads []mesh.Workload
	for _, phase := range []v1alpha1.Phase{v1alpha1.PhaseRestartWorkloads, v1alpha1.PhasePin} {
		for _, reference := range r.objects(phase) {
			workload, found := r.snapshot.Workload(reference)
			if found && (phase == v1alpha1.PhaseRestartWorkloads || workload.IsGateway()) {
				workloads = append(workloads, r.former(phase, workload))
			}
		}
	}
	for _, reference := range r.evicted {
		written := slices.ContainsFunc(workloads, func(workload mesh.Workload) bool { return workload.Reference == reference })
		if workload, found := r.snapshot.Workload(reference); found && !written {
			workloads = append(workloads, workload)
		}
	}
	slices.SortFunc(workloads, func(a, b mesh.Workload) int { return cmp.Compare(a.Reference.String(), b.Reference.String()) })
	return workloads
}

// restartedWorkloads are those whose pods are replaced since their templates are put back,
// as they are then.
func (r *rollback) restartedWorkloads() []mesh.Workload {
	var workloads []mesh.Workload
	for _, phase := range []v1alpha1.Phase{v1alpha1.PhaseRestartWorkloads, v1alpha1.PhasePin} {
		for _, reference := range r.objects(phase) {
			workload, found := r.snapshot.Workload(reference)
			if found && len(r.edits(phase, reference, workload.Object, false)) > 0 {
				workloads = append(workloads, r.former(phase, workload))
			}
		}
	}
	slices.SortFunc(workloads, func(a, b mesh.Workload) int { return cmp.Compare(a.Reference.String(), b.Reference.String()) })
	return slices.CompactFunc(workloads, func(a, b mesh.Workload) bool { return a.Reference == b.Reference })
}

// former is a workload as the rollback leaves its template.
func (r *rollback) former(phase v1alpha1.Phase, workload mesh.Workload) mesh.Workload {
	labels, annotations := copyStrings(workload.Template.Labels), copyStrings(workload.Template.Annotations)
	for _, edit := range r.edits(phase, workload.Reference, workload.Object, false) {
		if !strings.HasPrefix(edit.path, workload.TemplatePath+"/") {
			continue
		}
		segments := Segments(edit.path)
		target := labels
		if segments[len(segments)-2] == "annotations" {
			target = annotations
		}
		set(target, segments[len(segments)-1], edit.after)
	}
	workload.Template.Labels, workload.Template.Annotations = labels, annotations
	return workload
}

func copyStrings(from map[string]string) map[string]string {
	to := map[string]string{}
	for key, value := range from {
		to[key] = value
	}
	return to
}

func set(target map[string]string, key string, value any) {
	if text, isText := value.(string); isText {
		target[key] = text
		return
	}
	delete(target, key)
}
