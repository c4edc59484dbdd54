package plan

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// NotRecordedError says that no run has put a Service behind the waypoint that it goes
// through.
type NotRecordedError struct{ Text string }

func (e *NotRecordedError) Error() string { return e.Text }

// RollbackService plans to take one Service off its waypoint, as service/cart, by what
// recorded runs, given newest first, have made for it: its labels, the policies that
// are attached to it, and what of the rest nothing needs any more without it. What runs
// have done besides stays. Since the namespace may have lost its sidecars by then, calls
// are compared with how they are decided today.
func RollbackService(
	snapshot *mesh.Snapshot, namespace mesh.Namespace, records []v1alpha1.MigrationRecord, named string, accepted ...string,
) (v1alpha1.MigrationPlan, error) {
	planned := NothingToRollBack(namespace.Name)
	planned.Accepted, planned.Service = accepted, named
	since := oldest(records)
	planner := rollback{snapshot: snapshot, namespace: namespace, state: NewProjection(snapshot), plan: &planned, since: &since}
	var err error
	if planner.written, planner.created, err = writtenBy(records); err != nil {
		return planned, err
	}
	part := &servicePart{rollback: &planner, service: serviceOf(namespace.Name, named)}
	if err := part.narrow(); err != nil {
		return planned, err
	}
	if err := part.unsimplified(records); err != nil {
		return planned, err
	}
	for _, record := range records {
		if part.in(record) {
			planned.Undoes = append(planned.Undoes, record.ID)
		}
	}
	return planned, part.finish()
}

// servicePart is what a rollback of a single Service is about.
type servicePart struct {
	*rollback
	service v1alpha1.ObjectReference
	// own are the labels of the pods behind the Service, fronted those of pods behind
	// others that go on through a waypoint, rest those of all others.
	own, fronted, rest []map[string]string
	// staying are guards that stay for others and are about the Service's pods, too.
	staying []checks.Lost
}

// narrow leaves of what the runs have written and created what is the Service's.
func (p *servicePart) narrow() error {
	p.sort()
	written := slices.Clone(p.written)
	p.written = slices.DeleteFunc(written, func(field writtenField) bool {
		return !p.writtenFor(field)
	})
	if err := p.recorded(); err != nil {
		return err
	}
	all := p.created
	p.created = slices.DeleteFunc(slices.Clone(all), func(one createdObject) bool { return !p.goes(one) })
	for _, one := range all {
		if p.parameterOf(one) {
			p.created = append(p.created, one)
		}
	}
	p.created = slices.DeleteFunc(p.created, func(one createdObject) bool { return p.elsewhere(one) })
	for _, one := range p.created {
		p.plan.Part = append(p.plan.Part, one.object)
	}
	for _, field := range p.written {
		if !slices.Contains(p.plan.Part, field.object) {
			p.plan.Part = append(p.plan.Part, field.object)
		}
	}
	return nil
}

// sort tells the pods of the namespace apart by the Services that lead to them.
func (p *servicePart) sort() {
	var sets []map[string]string
	for _, workload := range p.snapshot.Workloads(p.namespace.Name) {
		if !mesh.IsWaypointPod(workload.Template.Labels) {
			sets = append(sets, workload.Template.Labels)
		}
	}
	for _, pod := range p.snapshot.Pods(p.namespace.Name) {
		if pod.Live() && !mesh.IsWaypointPod(pod.Labels) {
			sets = append(sets, pod.Labels)
		}
	}
	for _, set := range sets {
		own, fronted := p.leadsTo(p.service, set), p.behindAnother(set)
		switch {
		case fronted:
			p.fronted = append(p.fronted, set)
		case !own:
			p.rest = append(p.rest, set)
		}
		if own {
			p.own = append(p.own, set)
		}
	}
}

// leadsTo says whether a Service leads to pods of some labels.
func (p *servicePart) leadsTo(service v1alpha1.ObjectReference, set map[string]string) bool {
	for _, one := range p.snapshot.Services(service.Namespace) {
		if one.Name == service.Name && len(one.Spec.Selector) > 0 && mesh.SelectsLabels(one.Spec.Selector, set) {
			return true
		}
	}
	return slices.ContainsFunc(p.snapshot.WrittenEndpoints(), func(endpoint mesh.WrittenEndpoint) bool {
		return endpoint.Service == service && mesh.SelectsLabels(endpoint.Pod.Labels, set)
	})
}

// behindAnother says whether another service of the namespace that goes through a
// waypoint leads to pods of some labels, or they name one themselves.
func (p *servicePart) behindAnother(set map[string]string) bool {
	if name := set[label.IoIstioUseWaypoint.Name]; name != "" && name != mesh.DataplaneNone {
		return true
	}
	for _, one := range p.snapshot.Services(p.namespace.Name) {
		reference := mesh.ServiceReference(one.Namespace, one.Name)
		if _, _, named := mesh.NamedWaypoint(one.Labels, p.namespace); named && reference != p.service && p.leadsTo(reference, set) {
			return true
		}
	}
	for _, entry := range p.snapshot.ServiceEntries() {
		selector := entry.Spec.GetWorkloadSelector().GetLabels()
		if _, _, named := mesh.NamedWaypoint(entry.Labels, p.namespace); entry.Namespace == p.namespace.Name && named && len(selector) > 0 && mesh.SelectsLabels(selector, set) {
			return true
		}
	}
	return false
}

// writtenFor says whether a field that the runs have written is the Service's: a label
// of its own, or a policy of others that is about its pods, and about no others behind
// a waypoint.
func (p *servicePart) writtenFor(field writtenField) bool {
	if field.phase == v1alpha1.PhaseActivateWaypoints {
		return field.object == p.service
	}
	live, found := p.snapshot.Object(field.object)
	ours := slices.ContainsFunc(p.created, func(one createdObject) bool { return one.object == field.object })
	return field.phase == v1alpha1.PhaseMigratePolicies && !ours && found && selectsSets(live, p.own) && !selectsSets(live, p.fronted)
}

// goes says whether an object that the runs have created is not needed any more
// without the Service.
func (p *servicePart) goes(one createdObject) bool {
	content := one.contents[len(one.contents)-1]
	targets := mesh.TargetsIn(content)
	switch {
	case one.object.Kind == mesh.KindGateway:
		return p.leaves(one.object.Namespace, one.object.Name)
	case one.object.Kind == mesh.KindConfigMap:
		return false
	case len(targets) > 0:
		return !slices.ContainsFunc(targets, func(target mesh.Target) bool {
			if target.Kind == mesh.KindGateway {
				return !p.leaves(target.Namespace, target.Name)
			}
			return target.Kind != mesh.KindService || serviceIn(target.Namespace, target.Name) != p.service
		})
	case !selectsSets(content, p.own) || selectsSets(content, p.fronted):
		p.keepGuard(one, content)
		return false
	case isGuardPhase(one.phase) && selectsSets(content, p.rest):
		// It is all that refuses direct calls to those.
		p.keepGuard(one, content)
		return false
	default:
		return true
	}
}

// keepGuard notes a guard that stays for others and would refuse all calls to pods of
// the Service that it is meant for: they are direct ones then.
func (p *servicePart) keepGuard(one createdObject, content map[string]any) {
	live, found := p.snapshot.Object(one.object)
	if !found || !isGuardPhase(one.phase) || Lookup(content, "/spec/action") != "DENY" || !selectsWhole(live, p.own) {
		return
	}
	p.staying = append(p.staying, checks.Lost{
		Object: one.object, Field: "spec.selector",
		Message: "it stays for other pods that it selects, and refuses direct calls, which all calls to Service " + p.service.Name + " would be",
	})
}

// isGuardPhase says whether what is created in a phase is about calls past waypoints.
func isGuardPhase(phase v1alpha1.Phase) bool {
	return phase == v1alpha1.PhaseActivateWaypoints || phase == v1alpha1.PhaseSettlePolicies
}

// selectsSets says whether a policy with a selector is about pods of any of some
// labels, whether they have lost their sidecars yet or not.
func selectsSets(policy map[string]any, sets []map[string]string) bool {
	// What is no map of texts the API server has refused.
	selector, _, _ := unstructured.NestedStringMap(policy, "spec", "selector", "matchLabels")
	delete(selector, label.SidecarInject.Name)
	return slices.ContainsFunc(sets, func(set map[string]string) bool { return mesh.SelectsLabels(selector, set) })
}

// selectsWhole says whether it is about them as they are.
func selectsWhole(policy map[string]any, sets []map[string]string) bool {
	selector, _, _ := unstructured.NestedStringMap(policy, "spec", "selector", "matchLabels")
	return slices.ContainsFunc(sets, func(set map[string]string) bool { return mesh.SelectsLabels(selector, set) })
}

// leaves says whether a waypoint that the runs have created has nobody left without
// the Service.
func (p *servicePart) leaves(namespace, name string) bool {
	gateway := v1alpha1.ObjectReference{APIVersion: gatewayVersion, Kind: mesh.KindGateway, Namespace: namespace, Name: name}
	made := slices.ContainsFunc(p.created, func(one createdObject) bool { return one.object.Unversioned() == gateway.Unversioned() })
	return made && p.named(namespace, name) && len(p.remainingUsers(gateway, anyUser)) == 0
}

// named says whether the runs had the Service name a waypoint.
func (p *servicePart) named(namespace, name string) bool {
	values := func(of string) []any {
		var all []any
		for _, field := range p.written {
			if field.object == p.service && field.path == Pointer("/metadata/labels", of) {
				all = append(all, field.after...)
			}
		}
		return all
	}
	in := values(label.IoIstioUseWaypointNamespace.Name)
	return slices.Contains(values(label.IoIstioUseWaypoint.Name), any(name)) && (slices.Contains(in, any(namespace)) || len(in) == 0 && namespace == p.namespace.Name)
}

// parameterOf says whether an object holds the parameters of a waypoint that goes.
func (p *servicePart) parameterOf(one createdObject) bool {
	return slices.ContainsFunc(p.created, func(gateway createdObject) bool {
		return gateway.object.Kind == mesh.KindGateway && parametrizedBy(gateway, one.object)
	})
}

// elsewhere says whether an object is in a namespace that is in ambient mode and relies
// on it.
func (p *servicePart) elsewhere(one createdObject) bool { return p.reliedOn(one.object) != "" }

// recorded wants runs to have put the Service behind its waypoint, or it to be behind
// none.
func (p *servicePart) recorded() error {
	if slices.ContainsFunc(p.written, func(field writtenField) bool { return field.object == p.service }) {
		return nil
	}
	short := shortName(p.service)
	service, found := p.snapshot.Object(p.service)
	if !found {
		return &NotRecordedError{Text: fmt.Sprintf("there is no Service %s in namespace %s", p.service.Name, p.namespace.Name)}
	}
	labels, _, _ := unstructured.NestedStringMap(service, "metadata", "labels")
	in, name, named := mesh.NamedWaypoint(labels, p.namespace)
	_, _, own := mesh.NamedWaypoint(labels, mesh.Namespace{Name: p.namespace.Name})
	switch {
	case named && own:
		return &NotRecordedError{Text: fmt.Sprintf("no record of namespace %s says that a run has put %s behind waypoint %s/%s: kubectl -n %s label %s %s- takes it off by hand, which no gate looks at",
			p.namespace.Name, short, in, name, p.namespace.Name, short, label.IoIstioUseWaypoint.Name)}
	case named:
		return &NotRecordedError{Text: fmt.Sprintf("%s goes through waypoint %s/%s by the label of namespace %s, which is not its own: kubectl -n %s label %s %s=%s takes it off by hand, which no gate looks at",
			short, in, name, p.namespace.Name, p.namespace.Name, short, label.IoIstioUseWaypoint.Name, mesh.DataplaneNone)}
	default:
		return nil
	}
}

// unsimplified wants no policy for pods of the Service to be deleted because the
// waypoint stands in for it.
func (p *servicePart) unsimplified(records []v1alpha1.MigrationRecord) error {
	if len(p.plan.Part) == 0 {
		return nil
	}
	for _, deleted := range deletedBy("", records) {
		if selectsSets(deleted.content, p.own) {
			return fmt.Errorf("%s is about the pods of %s and was deleted by simplify, since waypoints stand in for it: have it made again first, by rollback --to=%s",
				deleted.object, shortName(p.service), v1alpha1.PhaseVerify)
		}
	}
	return nil
}

// in says whether a run has something to be undone with the Service.
func (p *servicePart) in(record v1alpha1.MigrationRecord) bool {
	for i := range record.Plan.Steps {
		if slices.ContainsFunc(left(record, i), func(change v1alpha1.Change) bool { return slices.Contains(p.plan.Part, change.Object) }) {
			return true
		}
	}
	return false
}

// finish plans the steps and judges them.
func (p *servicePart) finish() error {
	if err := p.take(p.unsettlePolicies, p.unguardDirectCalls, p.deactivateWaypoints, p.removeWaypoints, p.restorePolicies); err != nil {
		return err
	}
	about, err := concernedBy(p.snapshot, []string{p.namespace.Name}, p.plan.Steps)
	if err != nil {
		return err
	}
	access, err := report(p.snapshot, about.all(), p.plan.Steps)
	if err != nil {
		return err
	}
	noteRemedies(access.Changes, nil)
	access.Incomplete = append(access.Incomplete, about.unknown...)
	migration := &checks.Migration{Access: access}
	if len(p.plan.Steps) > 0 {
		migration.GuardsStay = p.staying
	}
	p.judge(migration, checks.ServiceRollbackGates())
	return nil
}

// onlyAbout says whether all pods that a policy selects are behind a Service.
func onlyAbout(snapshot *mesh.Snapshot, policy, service v1alpha1.ObjectReference) bool {
	object, found := snapshot.Object(policy)
	if !found || len(mesh.TargetsIn(object)) > 0 {
		return found
	}
	selector, _, _ := unstructured.NestedStringMap(object, "spec", "selector", "matchLabels")
	i := slices.IndexFunc(snapshot.Services(service.Namespace), func(one corev1.Service) bool { return one.Name == service.Name })
	if i < 0 {
		return false
	}
	behind := snapshot.Services(service.Namespace)[i].Spec.Selector
	return len(behind) > 0 && !slices.ContainsFunc(snapshot.Pods(service.Namespace), func(pod mesh.Pod) bool {
		return pod.Live() && mesh.SelectsLabels(selector, pod.Labels) && !mesh.SelectsLabels(behind, pod.Labels)
	})
}
