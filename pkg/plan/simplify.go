package plan

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
)

// Simplify plans the deletion of what an enrolment of a namespace has replaced, with
// the options that it was enrolled with. It is blocked as long as any of its pods has
// a sidecar, or anything is left to be enrolled. A plan without steps means that
// nothing can be deleted; what is not, although it was replaced, is named in Kept.
func Simplify(snapshot *mesh.Snapshot, namespace mesh.Namespace, options Options) (v1alpha1.MigrationPlan, error) {
	options.Simplify, options.Until = true, ""
	planner, planned, err := begin(snapshot, namespace, options)
	if err != nil {
		return planned, err
	}
	planned.Operation = v1alpha1.OperationSimplify
	return planner.onlySimplify(planned)
}

// onlySimplify makes a plan that does nothing else. What is to be done before is not
// part of it: it blocks.
func (e enrolment) onlySimplify(planned v1alpha1.MigrationPlan) (v1alpha1.MigrationPlan, error) {
	pending := planned.Steps
	planned.Steps = []v1alpha1.Step{}
	migration := e.summary()
	deletions, err := e.simplify(&planned, migration)
	if err != nil {
		return planned, err
	}
	for _, step := range pending {
		migration.Simplification.Pending = append(migration.Simplification.Pending, step.Summary)
	}
	restarts, err := e.cleanTemplates(e.state)
	if err != nil {
		return planned, err
	}
	gates := checks.SimplifyGates()
	if writing := slices.Concat(deletions, restarts); len(writing) > 0 {
		gates = slices.Concat(checks.ReplacedGates(), gates, checks.OwnershipChecks())
		migration.Writes = writesOf(writing)
		planned.Steps = slices.Concat([]v1alpha1.Step{verification(v1alpha1.PhaseVerify)}, writing, []v1alpha1.Step{verification(v1alpha1.PhaseSimplify, "verify")})
	}
	planned.Gates = checks.Run(gates, checks.Subject{
		Snapshot: e.snapshot, Namespace: e.namespace, Migration: migration, Accepts: e.options.accepts,
	})
	planned.Summary = v1alpha1.Summarize(planned.Gates)
	planned.Blocked = slices.ContainsFunc(planned.Gates, v1alpha1.CheckResult.Blocks)
	if e.options.Unverified && len(planned.Steps) == 0 && !planned.Blocked {
		planned.Steps = []v1alpha1.Step{verification(v1alpha1.PhaseVerify)}
	}
	if len(planned.Steps) > 0 {
		if err := e.rely(&planned); err != nil {
			return planned, err
		}
		relyOnRoutes(&planned, migration)
	}
	planned.Steps = Span{Until: e.options.Until}.of(planned.Steps)
	planned.Overview = overview(e.snapshot, planned)
	return planned, nil
}

// relyOnRoutes has the run look, before it deletes anything, whether the routes of others
// that stand in for what goes are as they were when the plan was made.
func relyOnRoutes(planned *v1alpha1.MigrationPlan, migration *checks.Migration) {
	if migration.Simplification == nil {
		return
	}
	for _, route := range migration.Simplification.Routes {
		if !slices.Contains(planned.Handover.Objects, route) {
			planned.Handover.Objects = append(planned.Handover.Objects, route)
		}
	}
}

// verification is a step that only looks.
func verification(phase v1alpha1.Phase, of ...string) v1alpha1.Step {
	return v1alpha1.Step{
		ID: strings.Join(append([]string{string(phase)}, of...), "/"), Phase: phase,
		Summary: "verify that the data plane agrees", Gate: v1alpha1.Gate{Kind: v1alpha1.GateVerified},
	}
}

// simplify makes the steps that delete what was replaced once those of a plan are
// done, and names what is kept. No decision about any call is another one after them:
// what would change one stays.
func (e enrolment) simplify(planned *v1alpha1.MigrationPlan, migration *checks.Migration) ([]v1alpha1.Step, error) {
	before := planned.Steps
	at := newStageMaker(e.snapshot, nil)
	moved := map[v1alpha1.ObjectReference]bool{}
	for _, step := range before {
		restarted, err := at.apply(step)
		if err != nil {
			return nil, err
		}
		for _, workload := range restarted {
			moved[workload], at.overlay.Moved[workload] = true, access.ProgressAfter
		}
	}
	migration.Simplification = &checks.Simplification{Sidecars: e.sidecarsLeft(moved), Leftovers: e.leftovers(moved)}
	s := &simplification{enrolment: e, at: at}
	for _, one := range translate.SupersededIn(e.snapshot, e.namespace, e.translation) {
		switch kept := s.inDoubt(one); {
		case kept != "":
			s.keep(one.Object, kept)
		case len(one.Routes) > 0 && len(before) > 0:
			s.keep(one.Object, laterOn)
		case one.Decides:
			s.undecided = append(s.undecided, one.Object)
		default:
			s.deleted = append(s.deleted, one.Object)
			migration.Simplification.Routes = append(migration.Simplification.Routes, one.Routes...)
		}
	}
	if err := s.decide(s.undecided); err != nil {
		return nil, err
	}
	s.subsets(len(before) > 0)
	slices.SortFunc(s.kept, func(a, b v1alpha1.KeptField) int { return strings.Compare(a.Object.String(), b.Object.String()) })
	planned.Kept = append(planned.Kept, s.kept...)
	if len(s.deleted)+len(s.narrowed) == 0 {
		return nil, nil
	}
	return s.steps(s.deleted)
}

// simplification decides what can be deleted.
type simplification struct {
	enrolment
	// at is the mesh when it comes to that.
	at *stageMaker
	// undecided may decide calls, deleted can go, kept has to stay.
	undecided, deleted []v1alpha1.ObjectReference
	kept               []v1alpha1.KeptField
	// narrowed are DestinationRules that lose subsets, and stay.
	narrowed []translate.UnnamedSubsets
}

func (s *simplification) keep(object v1alpha1.ObjectReference, reason string) {
	s.kept = append(s.kept, v1alpha1.KeptField{Object: object, Reason: reason})
}

// inDoubt says why an object has to stay, whatever it decides: it is empty where
// nothing is known.
func (s *simplification) inDoubt(one translate.Superseded) string {
	if one.Kept != "" {
		return one.Kept
	}
	for _, by := range one.By {
		object, found := s.at.state.find(by)
		if !found || !Ours(object) {
			return by.String() + ", which is to stand in for it, is not there, or not as an enrolment makes it"
		}
	}
	if _, found := s.at.state.find(one.Object); !found {
		return "it is not known in whole"
	}
	return ""
}

// laterOn is why routes, and what they might name, stay while a run has other things to
// do first: what is true of them now need not be by then.
const laterOn = "whether it can go is looked at when pods have been moved: simplify then"

// namersOf are the kinds that have to be known for it to be known what names subsets, or
// that several networks are spanned.
func namersOf() []string {
	return []string{
		mesh.KindVirtualService, mesh.KindDestinationRule, mesh.KindEnvoyFilter, mesh.KindRollout, mesh.KindGateway, mesh.KindService, mesh.KindNamespace, mesh.IstioConfigMaps,
	}
}

// subsets looks for those that no route names, those included that are about to go: they
// would come to name nothing before they have. A rule that says nothing else goes as a
// whole.
func (s *simplification) subsets(late bool) {
	elsewhere, unread := checks.SpansNetworks(s.snapshot), s.snapshot.Unread(s.namespace.Name, namersOf()...)
	for _, one := range translate.SubsetsUnnamed(s.at.snapshot, s.namespace.Name) {
		_, known := s.at.state.find(one.Object)
		names := "no route names " + some(one.Names) + ", but "
		switch {
		case unread != "":
			s.keep(one.Object, "whether anything names "+some(one.Names)+" cannot be told without "+unread)
		case late:
			s.keep(one.Object, laterOn)
		case one.Kept != "":
			s.keep(one.Object, names+one.Kept)
		case elsewhere != "":
			s.keep(one.Object, names+elsewhere+": routes of other clusters may, whose proxies name them to the gateway between networks")
		case !known:
			s.keep(one.Object, names+"it is not known in whole")
		case one.Nothing:
			s.deleted = append(s.deleted, one.Object)
		default:
			s.narrowed = append(s.narrowed, one)
		}
	}
}

// narrow takes subsets out of DestinationRules that say other things as well.
func (s *simplification) narrow(state *Projection) (v1alpha1.Step, error) {
	step := v1alpha1.Step{
		ID: string(v1alpha1.PhaseSimplify) + "/subsets", Phase: v1alpha1.PhaseSimplify,
		Summary: "take out subsets that no route names",
		Notes:   []string{"what else their DestinationRules say stays; a rollback puts them back"},
		Gate:    v1alpha1.Gate{Kind: v1alpha1.GateNone},
	}
	const path = "/spec/subsets"
	for _, one := range s.narrowed {
		object, err := state.Object(one.Object)
		if err != nil {
			return step, err
		}
		// It was read as a list before.
		all, _ := Lookup(object, path).([]any)
		var left any
		if len(one.Left) > 0 {
			named := make([]any, 0, len(one.Left))
			for _, i := range one.Left {
				named = append(named, all[i])
			}
			left = named
		}
		if err := state.changes(&step, one.Object, []edit{{path, left}}); err != nil {
			return step, err
		}
	}
	return step, nil
}

// decide deletes, of some objects, those without which every call is decided as with
// them. They are tried together, and in halves where that changes anything.
func (s *simplification) decide(objects []v1alpha1.ObjectReference) error {
	if len(objects) == 0 {
		return nil
	}
	reason, err := s.changes(slices.Concat(s.deleted, objects))
	switch {
	case err != nil:
		return err
	case reason == "":
		s.deleted = append(s.deleted, objects...)
		return nil
	case len(objects) == 1:
		s.keep(objects[0], reason)
		return nil
	}
	half := len(objects) / 2
	if err := s.decide(objects[:half]); err != nil {
		return err
	}
	return s.decide(objects[half:])
}

// changes says which call is decided differently once some objects are deleted, or
// that this cannot be told; it is empty where none is.
func (s *simplification) changes(objects []v1alpha1.ObjectReference) (string, error) {
	steps, err := s.steps(objects)
	if err != nil {
		return "", err
	}
	about, err := concernedBy(s.at.snapshot, []string{s.namespace.Name}, steps)
	if err != nil {
		return "", err
	}
	if len(about.unknown) > 0 {
		return "whether it still decides calls cannot be told: " + about.unknown[0], nil
	}
	at := s.at.fork(about.all())
	stages := []compare.Stage{at.stage("")}
	for _, step := range steps {
		if _, err := at.apply(step); err != nil {
			return "", err
		}
		stages = append(stages, at.stage(step.ID))
	}
	report := reportOf(stages, comparing(s.snapshot, about.all()))
	switch {
	case len(report.Changes) > 0:
		change := report.Changes[0]
		return fmt.Sprintf("it still decides calls: without it, %s from %s would be %s, now %s", checks.DescribeCall(change),
			checks.DescribeCaller(change.Caller), checks.Verdict(change.After), checks.Verdict(change.Before)), nil
	case len(report.Incomplete) > 0:
		return "whether it still decides calls cannot be told: " + report.Incomplete[0], nil
	default:
		return "", nil
	}
}

// fork is the same place of the mesh again, to go on from in another way, looked at in
// some namespaces.
func (m *stageMaker) fork(namespaces []string) *stageMaker {
	fork := newStageMaker(m.snapshot, namespaces)
	fork.state = &Projection{snapshot: m.state.snapshot, objects: maps.Clone(m.state.objects)}
	fork.overlay = access.Overlay{Moved: maps.Clone(m.overlay.Moved), Ready: maps.Clone(m.overlay.Ready)}
	return fork
}

// steps delete some objects: first what stands in for them is made to stand for
// itself, then they go.
func (s *simplification) steps(objects []v1alpha1.ObjectReference) ([]v1alpha1.Step, error) {
	without, err := s.at.snapshot.With(nil, objects)
	if err != nil {
		return nil, err
	}
	state := s.at.fork(nil).state
	own := v1alpha1.Step{
		ID: string(v1alpha1.PhaseSimplify) + "/own", Phase: v1alpha1.PhaseSimplify,
		Summary: "let what stands in for policies stand for itself",
		Notes:   []string{"nothing looks for what it was made from any more; from now on it is what its owners change"},
	}
	if err := s.passages(state, &own, without); err != nil {
		return nil, err
	}
	for _, orphan := range s.orphans(without, objects) {
		path := Pointer("/metadata/annotations", v1alpha1.SimplifiedAnnotation)
		if err := state.changes(&own, orphan, []edit{{path, "true"}}); err != nil {
			return nil, err
		}
	}
	own.Gate = v1alpha1.Gate{Kind: v1alpha1.GatePoliciesAccepted, Objects: changedBy(own)}
	gone := v1alpha1.Step{
		ID: string(v1alpha1.PhaseSimplify), Phase: v1alpha1.PhaseSimplify,
		Summary: "delete what only sidecars needed",
		Notes:   []string{"a rollback makes it again, from the record of this run"},
	}
	sorted := slices.SortedFunc(slices.Values(objects), func(a, b v1alpha1.ObjectReference) int { return strings.Compare(a.String(), b.String()) })
	for _, object := range sorted {
		if err := state.deletes(&gone, object); err != nil {
			return nil, err
		}
	}
	gone.Gate = v1alpha1.Gate{Kind: v1alpha1.GateGone, Objects: changedBy(gone)}
	narrowed, err := s.narrow(state)
	return appendStep(appendStep(appendStep(nil, own), gone), narrowed), err
}

// passages makes what lets the waypoint through fit the ALLOW policies that are left:
// one such policy may be for several of them.
func (s *simplification) passages(state *Projection, step *v1alpha1.Step, without *mesh.Snapshot) error {
	namespace, found := without.Namespace(s.namespace.Name)
	if !found {
		return nil
	}
	left, err := translate.Namespace(without, namespace, s.options.Translation)
	if err != nil {
		return err
	}
	for _, object := range left.Before {
		if !strings.HasPrefix(object.Reference.Name, mesh.FromWaypointPrefix) {
			continue
		}
		if err := state.edited(object.Content, s.forms(object.Reference)); err != nil {
			return err
		}
		err := state.creates(step, object.Content)
		if taken := (*TakenError)(nil); err != nil && !errors.As(err, &taken) {
			return err
		}
	}
	return nil
}

// orphans are what runs have made from some objects, and that is not made from
// anything any more without them.
func (s *simplification) orphans(without *mesh.Snapshot, objects []v1alpha1.ObjectReference) []v1alpha1.ObjectReference {
	namespaces := []string{s.namespace.Name}
	for _, object := range s.translation.Before {
		if !slices.Contains(namespaces, object.Reference.Namespace) {
			namespaces = append(namespaces, object.Reference.Namespace)
		}
	}
	var orphans []v1alpha1.ObjectReference
	for _, namespace := range namespaces {
		for _, orphan := range without.Orphans(namespace) {
			if slices.ContainsFunc(objects, func(object v1alpha1.ObjectReference) bool { return object.String() == orphan.Origin }) {
				orphans = append(orphans, orphan.Object)
			}
		}
	}
	return orphans
}

// sidecarsLeft are the pods that still have a sidecar once some workloads are moved, those
// on their way out included: they serve until they have ended.
func (e enrolment) sidecarsLeft(moved map[v1alpha1.ObjectReference]bool) []v1alpha1.ObjectReference {
	var left []v1alpha1.ObjectReference
	gone := e.podsOf(moved)
	for _, pod := range slices.Concat(e.snapshot.Pods(e.namespace.Name), e.snapshot.Ending(e.namespace.Name)) {
		if pod.HasSidecar() && !gone[pod.Name] {
			left = append(left, pod.Reference())
		}
	}
	return left
}

// podsOf are the pods of some workloads, by name.
func (e enrolment) podsOf(workloads map[v1alpha1.ObjectReference]bool) map[string]bool {
	pods := map[string]bool{}
	for _, workload := range e.snapshot.Workloads(e.namespace.Name) {
		if workloads[workload.Reference] {
			for _, pod := range slices.Concat(e.snapshot.PodsOf(workload), e.snapshot.EndingOf(workload)) {
				pods[pod.Name] = true
			}
		}
	}
	return pods
}
