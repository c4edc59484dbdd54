package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	"istio.io/api/annotation"
	"istio.io/api/label"
)

// Enroll plans the move of a namespace to ambient mode. A plan without steps
// means that there is nothing to do; a blocked one holds the steps that would
// be taken if its gates held.
func Enroll(snapshot *mesh.Snapshot, namespace mesh.Namespace, options Options) (v1alpha1.MigrationPlan, error) {
	return enroll(snapshot, namespace, options, false)
}

// Survey is Enroll without what takes long: calls are not compared, so that restarts
// are in no order and no gate is about calls. It is to be looked at only.
func Survey(snapshot *mesh.Snapshot, namespace mesh.Namespace, options Options) (v1alpha1.MigrationPlan, error) {
	return enroll(snapshot, namespace, options, true)
}

// begin makes the planner of an enrolment, and the steps of all phases of it but those
// that only look or delete.
func begin(snapshot *mesh.Snapshot, namespace mesh.Namespace, options Options) (planner enrolment, planned v1alpha1.MigrationPlan, err error) {
	chosen := options.Chosen()
	planned = v1alpha1.MigrationPlan{
		TypeMeta: v1alpha1.Document(v1alpha1.KindMigrationPlan), Operation: v1alpha1.OperationEnroll, Namespace: namespace.Name,
		Steps: []v1alpha1.Step{}, Options: &chosen, Accepted: options.Accept,
	}
	if err := options.validateStrategy(); err != nil {
		return planner, planned, &translate.OptionError{Text: err.Error()}
	}
	if options, err = options.forService(); err != nil {
		return planner, planned, err
	}
	own, others, err := handovers(snapshot, namespace, options)
	if err != nil {
		return planner, planned, err
	}
	if options.byNamespace() {
		own.translation = unlabelled(own.translation)
	}
	planner = enrolment{snapshot: snapshot, namespace: namespace, state: NewProjection(snapshot), handover: own, others: others, options: options}
	if options.Workload != "" {
		if options.Simplify {
			return planner, planned, &translate.OptionError{Text: "a workload is moved alone while others keep their sidecars: what these need cannot be simplified away"}
		}
		workload, err := canary(snapshot, namespace, options.Workload)
		if err != nil {
			return planner, planned, err
		}
		planner.canary = &workload
	}
	planned.Steps, err = planner.steps()
	if len(refreshed(planned.Steps)) == 0 {
		chosen.RestartedAt = ""
	}
	return planner, planned, err
}

func enroll(snapshot *mesh.Snapshot, namespace mesh.Namespace, options Options, survey bool) (v1alpha1.MigrationPlan, error) {
	planner, planned, err := begin(snapshot, namespace, options)
	if err != nil {
		return planned, err
	}
	if options.Simplify && len(planned.Steps) == 0 {
		return planner.onlySimplify(planned)
	}
	migration, gates := planner.summary(), checks.HandoverGates()
	migration.Refreshed, migration.OnlyRefreshes = refreshed(planned.Steps), planner.onlyRefreshes()
	if !survey {
		gates = checks.PlanGates()
		if err := planner.judge(&planned, migration); err != nil {
			return planned, err
		}
	}
	var deletions []v1alpha1.Step
	if options.Simplify && !survey {
		if deletions, err = planner.simplify(&planned, migration); err != nil {
			return planned, err
		}
		if len(deletions) > 0 {
			deletions = append(deletions, verification(v1alpha1.PhaseSimplify, "verify"))
		}
		gates = slices.Concat(gates, checks.SimplifyGates())
	}
	migration.Writes = writesOf(slices.Concat(planned.Steps, deletions))
	planned.Gates = checks.Run(planner.gates(gates), checks.Subject{
		Snapshot: snapshot, Namespace: namespace, Migration: migration, Accepts: options.accepts,
	})
	planned.Gates = planner.concerning(planned.Gates, planned.Steps)
	planned.Summary = v1alpha1.Summarize(planned.Gates)
	if len(planned.Steps) > 0 {
		if !planner.onlyRefreshes() {
			planned.Steps = append(append(planned.Steps, planner.verification()), deletions...)
		}
		planned.Blocked = slices.ContainsFunc(planned.Gates, v1alpha1.CheckResult.Blocks)
	} else if planner.canary == nil {
		// Nothing can be done; whether nothing has to be is another question.
		planned.Blocked = slices.ContainsFunc(planned.Gates, func(gate v1alpha1.CheckResult) bool {
			return gate.Blocks() && (planner.leavesBehind(gate) || planner.leavesEdited(gate))
		})
	}
	if options.Unverified && len(planned.Steps) == 0 && !planned.Blocked && !planner.onlyRefreshes() {
		planned.Steps = append(planned.Steps, planner.verification())
	}
	if len(planned.Steps) > 0 && !planner.onlyRefreshes() {
		if err := planner.rely(&planned); err != nil {
			return planned, err
		}
		relyOnRoutes(&planned, migration)
	}
	planned.Steps = Span{Until: options.Until}.of(planned.Steps)
	planned.Overview = overview(snapshot, planned)
	if planner.onlyRefreshes() {
		return planned, nil
	}
	planned.Overview.Waypoints = waypointUses(append([]handover{planner.handover}, planner.others...), planned)
	return planned, nil
}

type enrolment struct {
	snapshot  *mesh.Snapshot
	namespace mesh.Namespace
	options   Options
	// handover is that of the namespace, others are those of namespaces that stay
	// on sidecars.
	handover
	others []handover
	// canary is the workload that is moved alone; nil where all are.
	canary *mesh.Workload
	// state is the mesh as the steps planned so far leave it.
	state *Projection
}

// steps are those of all phases but the last, which only looks.
func (e enrolment) steps() ([]v1alpha1.Step, error) {
	steps := []v1alpha1.Step{}
	parts := []func() ([]v1alpha1.Step, error){
		e.refreshSidecars, e.forEach(e.deployWaypoints), e.forEach(e.migratePolicies), e.pin, e.forEach(e.activateWaypoints), e.guardDirectCalls,
		e.enableAmbient, e.uncordon, e.restartWorkloads, e.pauseAgain, e.settlePolicies, e.disableInjection,
	}
	if e.options.byNamespace() {
		parts = []func() ([]v1alpha1.Step, error){
			e.forEach(e.deployWaypoints), e.forEach(e.migratePolicies), e.pin, e.forEach(e.activateWaypoints), e.guardDirectCalls,
			e.enableAmbient, e.stopInjecting, e.uncordon, e.replacePods, e.settlePolicies,
		}
	}
	if e.canary != nil {
		parts = []func() ([]v1alpha1.Step, error){
			e.forEach(e.deployWaypoints), e.forEach(e.migratePolicies), e.forEach(e.activateWaypoints), e.guardDirectCalls, e.moveFirst,
		}
	}
	if e.options.Service != "" {
		parts = []func() ([]v1alpha1.Step, error){
			e.forEach(e.deployWaypoints), e.forEach(e.migratePolicies), e.forEach(e.activateWaypoints), e.guardDirectCalls, e.settleAtOnce,
		}
	}
	if e.onlyRefreshes() {
		parts = []func() ([]v1alpha1.Step, error){e.refreshSidecars}
	}
	for _, part := range parts {
		added, err := part()
		if err != nil {
			return nil, err
		}
		steps = append(steps, added...)
	}
	return steps, nil
}

// pin keeps out what must stay out. It comes before the namespace's label, so
// that no pod of such a workload is ever captured, one that is scaled up in
// the meantime included; these pods are in neither mode before and after, so
// their restart cannot come too early.
func (e enrolment) pin() ([]v1alpha1.Step, error) {
	var steps []v1alpha1.Step
	for _, workload := range e.snapshot.Workloads(e.namespace.Name) {
		if e.options.byNamespace() || e.snapshot.RoleOf(workload, e.namespace) != mesh.RolePin {
			// Where templates are not written, a gate names those that need a pin.
			continue
		}
		step := v1alpha1.Step{
			ID: stepID(v1alpha1.PhasePin, workload.Reference), Phase: v1alpha1.PhasePin,
			Summary: "keep " + shortName(workload.Reference) + " out of ambient mode",
			Notes:   []string{e.pinReason(workload)},
			Gate:    v1alpha1.Gate{Kind: v1alpha1.GateReady, Workloads: []v1alpha1.ObjectReference{workload.Reference}},
		}
		if workload.Reference.Kind != mesh.KindJob {
			if err := e.state.changes(&step, workload.Reference, e.pinEdits(workload)); err != nil {
				return nil, err
			}
		}
		if !workload.Rolls() {
			step.Gate = v1alpha1.Gate{Kind: v1alpha1.GateNone}
			if err := e.pinPods(&step, e.snapshot.PodsOf(workload)); err != nil {
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
			// Where the namespace's pods are known by metadata only, gates are
			// unknown, and block.
			return !pod.Detailed || pod.HasSidecar() || pod.HostNetwork || !mesh.OptedOut(pod.Labels, pod.Annotations)
		})
		if err := e.pinPods(&bare, optedOut); err != nil {
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
	pins := e.snapshot.PinLabels(workload, e.namespace)
	var edits []edit
	for _, name := range slices.Sorted(maps.Keys(pins)) {
		edits = append(edits, edit{Pointer(workload.TemplatePath, "metadata", "labels", name), pins[name]})
	}
	return edits
}

func (e enrolment) pinPods(step *v1alpha1.Step, pods []mesh.Pod) error {
	for _, pod := range pods {
		path := Pointer("/metadata/labels", label.IoIstioDataplaneMode.Name)
		if err := e.state.changes(step, pod.Reference(), []edit{{path, mesh.DataplaneNone}}); err != nil {
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
	if err := e.state.changes(&step, e.namespace.Reference(), []edit{{path, mesh.DataplaneAmbient}}); err != nil {
		return nil, err
	}
	return appendStep(nil, step), nil
}

// restartWorkloads writes each template once: the label that refuses injection
// is what moves the workload, and changing the template is what restarts it.
func (e enrolment) restartWorkloads() ([]v1alpha1.Step, error) {
	var steps []v1alpha1.Step
	for _, workload := range e.snapshot.Workloads(e.namespace.Name) {
		if workload.Reference.Kind == mesh.KindJob {
			// Its template cannot be changed; one with sidecars blocks the plan
			// (restartable).
			continue
		}
		waypoint, joins := e.joins(workload)
		if e.unfinished(workload) && !joins {
			steps = append(steps, e.waitFor(workload))
			continue
		}
		moves := e.snapshot.RoleOf(workload, e.namespace) == mesh.RoleMove
		if !moves && !joins {
			continue
		}
		step := v1alpha1.Step{
			ID: stepID(v1alpha1.PhaseRestartWorkloads, workload.Reference), Phase: v1alpha1.PhaseRestartWorkloads,
			Summary: "restart " + shortName(workload.Reference) + " without sidecars",
			Notes:   e.replacing(workload),
			Gate:    e.captured(workload),
		}
		if workload.Reference.Kind == mesh.KindCronJob {
			step.Summary = "let " + shortName(workload.Reference) + " start its next pods without sidecars"
			step.Gate = v1alpha1.Gate{Kind: v1alpha1.GateNone}
		}
		var edits []edit
		labels, annotations := Pointer(workload.TemplatePath, "metadata", "labels"), Pointer(workload.TemplatePath, "metadata", "annotations")
		if moves {
			edits = []edit{
				{Pointer(labels, label.SidecarInject.Name), "false"},
				{Pointer(labels, label.IoIstioRev.Name), nil},
				{Pointer(annotations, annotation.SidecarInject.Name), nil},
			}
			if e.options.Simplify {
				// They mean nothing to the pods that this write makes.
				named := slices.DeleteFunc(annotationsForSidecars(workload), func(name string) bool { return name == annotation.SidecarInject.Name })
				edits = append(edits, withoutAnnotations(workload, named)...)
			}
		} else {
			step.Summary = strings.Replace(step.Summary, "without sidecars", "behind its waypoint", 1)
		}
		if joins {
			step.Notes = append(step.Notes, "calls to its pods' own addresses go through waypoint "+waypoint.Namespace+"/"+waypoint.Name+" from then on, of callers in ambient mode")
			for _, name := range slices.Sorted(maps.Keys(waypoint.Labels)) {
				edits = append(edits, edit{Pointer(labels, name), waypoint.Labels[name]})
			}
		}
		if e.resumes(workload) {
			step.Notes = append(step.Notes, e.resumeNotes(workload)...)
			edits = append(edits, resuming()...)
		}
		if err := e.state.changes(&step, workload.Reference, edits); err != nil {
			return nil, err
		}
		steps = appendStep(steps, step)
	}
	return steps, nil
}

// unfinished says whether a workload was moved, by an earlier run perhaps, and
// its pods are not there yet: what comes after it has to wait for them.
func (e enrolment) unfinished(workload mesh.Workload) bool {
	if !hasMoved(workload, e.namespace) || !workload.Renews() || workload.Template.Spec.HostNetwork || workload.IsGateway() {
		return false
	}
	return !mesh.RolloutOf(workload).Complete || slices.ContainsFunc(e.snapshot.PodsOf(workload), func(pod mesh.Pod) bool {
		return pod.HasSidecar() || !pod.Ready || !pod.Redirected() || workload.ByHand() && workload.Outdated(pod)
	})
}

func (e enrolment) disableInjection() ([]v1alpha1.Step, error) {
	enrolled := e.snapshot.EnrolledLabels(e.namespace)
	var edits []edit
	for _, name := range []string{mesh.NamespaceInjectionLabel, label.IoIstioRev.Name} {
		var after any
		if value, set := enrolled[name]; set {
			after = value
		}
		edits = append(edits, edit{Pointer("/metadata/labels", name), after})
	}
	step := v1alpha1.Step{
		ID: string(v1alpha1.PhaseDisableInjection), Phase: v1alpha1.PhaseDisableInjection,
		Summary: "stop asking for sidecars in namespace " + e.namespace.Name,
		Notes:   []string{"changes nothing for what was restarted; new workloads are ambient from here on"},
		Gate:    v1alpha1.Gate{Kind: v1alpha1.GateNone},
	}
	if err := e.state.changes(&step, e.namespace.Reference(), edits); err != nil {
		return nil, err
	}
	return appendStep(nil, step), nil
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
