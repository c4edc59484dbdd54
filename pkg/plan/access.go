package plan

import (
	"fmt"
	"maps"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// judge puts the restarts into their order, and gathers what gates need to know of
// how calls are decided.
func (e enrolment) judge(planned *v1alpha1.MigrationPlan, migration *checks.Migration) error {
	if len(planned.Steps) == 0 {
		// What nothing changes is decided as before.
		migration.Access = &v1alpha1.AccessReport{}
		return nil
	}
	about, err := concernedBy(e.snapshot, e.atHand(), planned.Steps)
	if err != nil {
		return err
	}
	mended := e.mended(planned.Steps)
	final, err := stagesOf(e.snapshot, about.all(), planned.Steps, mended == "")
	if err != nil {
		return err
	}
	if mended != "" {
		final = []compare.Stage{final[stageAfter(final, mended)], final[len(final)-1]}
	}
	waits := compare.New(final, comparing(e.snapshot, about.all())).Waits()
	held := orderRestarts(planned.Steps, waits, e.options.MaxParallelRestarts)
	migration.Parallel = parallel(planned.Steps)
	at := newStageMaker(e.snapshot, about.all())
	stages, err := at.stages(planned.Steps, false)
	if err != nil {
		return err
	}
	if migration.Access, err = e.report(at, stages, planned.Steps, mended); err != nil {
		return err
	}
	own := migration.Access.Changes
	noteRemedies(own, stages[len(stages)-1].State)
	alone, err := policiesAlone(e.snapshot)
	if err != nil {
		return err
	}
	migration.Access = joinedReports(migration.Access, outbound(e.snapshot, at.builder, stages, about.all(), alone))
	migration.Access.Incomplete = slices.Concat(migration.Access.Incomplete, about.unknown, e.uncompared())
	migration.Access.MixedCallers = string(e.mixedCallers())
	if e.mixedCallers() == translate.MixedCallersBlock {
		if e.options.byNamespace() {
			held = outOfOrder(waits)
		}
		migration.Held = slices.Concat(held, heldInPlace(e.snapshot, planned.Steps, own))
	}
	if migration.Access.Compared > 0 {
		planned.Access = migration.Access
	}
	return nil
}

// report compares how the steps of a plan decide calls in some namespaces.
func report(snapshot *mesh.Snapshot, namespaces []string, steps []v1alpha1.Step) (*v1alpha1.AccessReport, error) {
	stages, err := stagesOf(snapshot, namespaces, steps, false)
	if err != nil {
		return nil, err
	}
	return reportOf(stages, comparing(snapshot, namespaces)), nil
}

// reportOf compares stages with the first of them.
func reportOf(stages []compare.Stage, options compare.Options) *v1alpha1.AccessReport {
	comparison := compare.New(stages, options)
	made := &v1alpha1.AccessReport{Changes: comparison.Changes()}
	made.Compared, made.Incomplete = comparison.Compared(), comparison.Incomplete()
	return made
}

// uncompared says which servers are not modelled though a waypoint comes between them
// and their callers: virtual machines, which decide by the policies that select them.
func (e enrolment) uncompared() []string {
	var all []string
	for _, one := range append([]handover{e.handover}, e.others...) {
		for _, of := range one.translation.Machines {
			all = append(all, fmt.Sprintf("%s in namespace %s is behind %s, which a waypoint stands in front of, and decides by %s: how calls to virtual machines are decided is not modelled. "+
				"Leave the Service out by --waypoint-skip, or give the virtual machine labels that it does not select", of.Machine, one.of.Name, of.Service, of.Policy))
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(all)))
}

// joinedReports is a report with what another one tells besides.
func joinedReports(report, other *v1alpha1.AccessReport) *v1alpha1.AccessReport {
	report.Changes = append(report.Changes, other.Changes...)
	report.Compared += other.Compared
	report.Incomplete = slices.Compact(slices.Sorted(slices.Values(slices.Concat(report.Incomplete, other.Incomplete))))
	report.Unread = slices.Compact(slices.Sorted(slices.Values(slices.Concat(report.Unread, other.Unread))))
	return report
}

// reportBack does so for a rollback: between now and what was before the runs, a call
// that is let in at neither end must not be let in on the way. Namespaces that only
// share a waypoint, or are called through one, have nothing put back: for them, what
// holds now is to hold.
func reportBack(snapshot *mesh.Snapshot, about concerned, steps []v1alpha1.Step) (*v1alpha1.AccessReport, error) {
	at := newStageMaker(snapshot, about.own)
	stages, err := at.stages(steps, false)
	if err != nil {
		return nil, err
	}
	options := comparing(snapshot, about.own)
	options.BothEnds = true
	made := reportOf(stages, options)
	if len(about.beside) > 0 {
		beside, err := stagesOf(snapshot, about.beside, steps, false)
		if err != nil {
			return nil, err
		}
		made = joinedReports(made, reportOf(beside, comparing(snapshot, about.beside)))
		for i := range beside {
			beside[i].Callers = stages[i].State
		}
		made = joinedReports(made, outboundReport(beside, compare.Options{}))
	}
	made = joinedReports(made, outbound(snapshot, at.builder, stages, about.all(), nil))
	made.Incomplete = append(made.Incomplete, about.unknown...)
	noteRemedies(made.Changes, nil)
	return made, nil
}

func (e enrolment) mixedCallers() translate.MixedCallers {
	if e.options.Translation.MixedCallers == "" {
		return translate.MixedCallersBlock
	}
	return e.options.Translation.MixedCallers
}

// summary is what the translation carries over, and what it does not.
func (e enrolment) summary() *checks.Migration {
	migration := &checks.Migration{ResumePaused: e.options.ResumePaused, ByNamespace: e.options.byNamespace()}
	for _, workload := range e.snapshot.Workloads(e.namespace.Name) {
		if _, joins := e.joins(workload); joins && e.options.byNamespace() {
			migration.Unnamed = append(migration.Unnamed, workload.Reference)
		}
	}
	for object := range e.translation.Carried {
		migration.Carried = append(migration.Carried, object)
	}
	for _, loss := range e.translation.Losses {
		migration.Lost = append(migration.Lost, checks.Lost{Object: loss.Object, Field: loss.Field, Message: loss.Message, Security: loss.Security, Remedy: loss.Remedy})
	}
	for _, one := range append([]handover{e.handover}, e.others...) {
		for _, service := range one.translation.Services {
			if service.WaypointName != "" {
				migration.Fronted = append(migration.Fronted, service.Need.Service)
			}
		}
		if waypoint := one.translation.Waypoint; waypoint != nil {
			migration.Deployed = append(migration.Deployed, waypoint.Reference())
		}
		for _, direct := range one.translation.Direct {
			migration.Direct = append(migration.Direct, direct.Services...)
			migration.Deployed = append(migration.Deployed, direct.Reference())
		}
		for _, problem := range one.translation.Problems {
			migration.Unsolved = append(migration.Unsolved, checks.Unsolved{
				Object: problem.Object, Field: problem.Field, Message: problem.Message, Remedy: problem.Remedy,
			})
		}
	}
	migration.Unsolved = append(migration.Unsolved, e.state.unsolvedEdits()...)
	return migration
}

// atHand are the namespaces whose servers the plan concerns.
func (e enrolment) atHand() []string {
	return append([]string{e.namespace.Name}, e.options.Include...)
}

// comparing is what a comparison needs besides the stages: the callers of other
// namespaces. Of their pods no more than metadata is known, which does not tell
// their service accounts.
func comparing(snapshot *mesh.Snapshot, atHand []string) compare.Options {
	groups := map[string][]access.Mode{}
	var options compare.Options
	for _, pod := range snapshot.AllPods() {
		if slices.Contains(atHand, pod.Namespace) || !pod.Live() || pod.IsZtunnel() {
			continue
		}
		if pod.IsGateway() {
			options.Seen = append(options.Seen, accountsOf(snapshot, pod)...)
		}
		if mode := callerMode(pod); mode != access.ModeOutside && !slices.Contains(groups[pod.Namespace], mode) {
			groups[pod.Namespace] = append(groups[pod.Namespace], mode)
		}
	}
	for _, waypoint := range snapshot.WaypointsSharingAccounts() {
		options.Shared = append(options.Shared, access.Identity{
			TrustDomain: snapshot.TrustDomain(), Namespace: waypoint.Namespace, ServiceAccount: mesh.AccountOf(waypoint),
		})
	}
	for _, entry := range snapshot.WorkloadEntries() {
		// Virtual machines keep their sidecars; which account they have is theirs to say.
		options.Others = append(options.Others, compare.Group{
			Name: mesh.KindWorkloadEntry + " " + entry.Namespace + "/" + entry.Name, Namespace: entry.Namespace,
			ServiceAccount: entry.Spec.GetServiceAccount(), Modes: []access.Mode{access.ModeSidecar},
		})
	}
	for _, namespace := range slices.Sorted(maps.Keys(groups)) {
		slices.Sort(groups[namespace])
		options.Others = append(options.Others, compare.Group{Namespace: namespace, Modes: groups[namespace]})
	}
	options.Unseen = unseenIn(snapshot, atHand, options.Others)
	return options
}

// callerMode is how a pod of another namespace calls. A waypoint does not call by
// itself: what it passes on is decided with the call.
func callerMode(pod mesh.Pod) access.Mode {
	switch {
	case mesh.IsWaypointPod(pod.Labels):
		return access.ModeOutside
	case pod.IsGateway():
		return access.ModeGateway
	case pod.HasSidecar():
		return access.ModeSidecar
	case pod.Redirected():
		return access.ModeAmbient
	default:
		return access.ModeOutside
	}
}

// Stages are the mesh as a plan's steps would leave it: before the first of them and
// after each, and during those that restart something.
func Stages(snapshot *mesh.Snapshot, planned v1alpha1.MigrationPlan) ([]compare.Stage, error) {
	return stagesOf(snapshot, []string{planned.Namespace}, planned.Steps, false)
}

// stagesOf is the mesh before the first step and after each, and during those that
// restart something; or only the first and the last of them.
func stagesOf(snapshot *mesh.Snapshot, namespaces []string, steps []v1alpha1.Step, ends bool) ([]compare.Stage, error) {
	return newStageMaker(snapshot, namespaces).stages(steps, ends)
}

// stages are that of the mesh as it is and those of some steps, which are carried out.
func (m *stageMaker) stages(steps []v1alpha1.Step, ends bool) ([]compare.Stage, error) {
	stages := []compare.Stage{m.stage("")}
	for _, step := range steps {
		if isBegun(step) {
			// Its new pods may come up at any time.
			m.marks(step.Gate.Workloads, access.ProgressDuring)
		}
	}
	for first, end := range Waves(steps) {
		var restarted []v1alpha1.ObjectReference
		for _, step := range steps[first:end] {
			begun, err := m.apply(step)
			if err != nil {
				return nil, err
			}
			// In a wave all may be half done at once: by the last of its steps there
			// are pods of both kinds of all of them, so that every call is compared
			// which any of them can make or answer, whichever are done and which not.
			m.marks(begun, access.ProgressDuring)
			restarted = append(restarted, begun...)
			if len(begun) > 0 && !ends {
				stages = append(stages, m.stage(step.ID))
			}
		}
		m.marks(restarted, access.ProgressAfter)
		if !ends || end == len(steps) {
			stages = append(stages, m.stage(steps[end-1].ID))
		}
	}
	return stages, nil
}

// stageMaker carries out steps on a snapshot.
type stageMaker struct {
	snapshot   *mesh.Snapshot
	state      *Projection
	builder    *access.Builder
	namespaces []string
	overlay    access.Overlay
}

func newStageMaker(snapshot *mesh.Snapshot, namespaces []string) *stageMaker {
	return &stageMaker{
		snapshot: snapshot, state: NewProjection(snapshot), builder: new(access.Builder), namespaces: namespaces,
		overlay: access.Overlay{Moved: map[v1alpha1.ObjectReference]access.Progress{}, Ready: map[types.NamespacedName]bool{}},
	}
}

func (m *stageMaker) marks(workloads []v1alpha1.ObjectReference, progress access.Progress) {
	for _, workload := range workloads {
		m.overlay.Moved[workload] = progress
	}
}

func (m *stageMaker) stage(step string) compare.Stage {
	overlay := access.Overlay{Moved: maps.Clone(m.overlay.Moved), Ready: maps.Clone(m.overlay.Ready)}
	return compare.Stage{Step: step, State: m.builder.Of(m.snapshot, m.namespaces, overlay)}
}

// apply makes the changes of a step, and returns the workloads that it restarts.
func (m *stageMaker) apply(step v1alpha1.Step) ([]v1alpha1.ObjectReference, error) {
	var changed []unstructured.Unstructured
	var deleted, restarted []v1alpha1.ObjectReference
	for _, change := range step.Changes {
		_, after, err := m.state.Apply(change)
		switch {
		case err != nil:
			return nil, err
		case change.Delete:
			deleted = append(deleted, change.Object)
		case change.Object.Kind == mesh.KindPod, change.Object.Kind == "ConfigMap":
			// Pods that are pinned are outside the mesh before and after.
		default:
			changed = append(changed, unstructured.Unstructured{Object: after})
			if _, is := m.snapshot.Workload(change.Object); is && !pauses(step) {
				restarted = append(restarted, change.Object)
			}
		}
	}
	if step.Gate.Kind == v1alpha1.GateWaypointsReady {
		for _, gateway := range step.Gate.Objects {
			m.overlay.Ready[types.NamespacedName{Namespace: gateway.Namespace, Name: gateway.Name}] = true
		}
	}
	if isBegun(step) || step.Phase == v1alpha1.PhaseRefreshSidecars && len(step.Changes) == 0 {
		restarted = append(restarted, step.Gate.Workloads...)
	}
	next, err := m.snapshot.With(changed, deleted)
	if err != nil {
		return nil, err
	}
	m.snapshot = next
	return restarted, nil
}
