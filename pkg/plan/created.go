package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// createdObject is an object that the runs may have created.
type createdObject struct {
	phase  v1alpha1.Phase
	object v1alpha1.ObjectReference
	// contents are what each write left, oldest first.
	contents []map[string]any
	// done is true where a step that created it was carried out to its end.
	done bool
}

func noteCreated(created []createdObject, phase v1alpha1.Phase, change v1alpha1.Change, done bool) []createdObject {
	for i := range created {
		if created[i].object == change.Object {
			created[i].contents = append(created[i].contents, change.Create)
			created[i].done = created[i].done || done
			return created
		}
	}
	return append(created, createdObject{phase: phase, object: change.Object, contents: []map[string]any{change.Create}, done: done})
}

// rewrite notes a later change of the object.
func (c *createdObject) rewrite(change v1alpha1.Change) error {
	if change.Delete {
		return nil
	}
	after, err := Apply(c.contents[len(c.contents)-1], change.Fields)
	if err != nil {
		return fmt.Errorf("%s: %w", change.Object, err)
	}
	c.contents = append(c.contents, after)
	return nil
}

// untouched says whether an object is what one of the writes left.
func (c createdObject) untouched(live map[string]any) bool {
	return slices.ContainsFunc(c.contents, func(content map[string]any) bool { return AsWritten(live, content, len(c.contents)-1) })
}

// seesAll wants the kinds to be known that the rollback is about: what cannot be
// read is not gone.
func (r *rollback) seesAll() error {
	var references []v1alpha1.ObjectReference
	for _, created := range r.created {
		references = append(references, created.object)
	}
	for _, deleted := range r.deleted {
		references = append(references, deleted.object)
	}
	for _, phase := range []v1alpha1.Phase{
		v1alpha1.PhaseDeployWaypoints, v1alpha1.PhaseMigratePolicies, v1alpha1.PhaseActivateWaypoints, v1alpha1.PhaseSettlePolicies,
	} {
		references = append(references, r.objects(phase)...)
	}
	for _, reference := range references {
		key := reference.Kind
		if key == mesh.KindConfigMap {
			key = mesh.WaypointParameters
		}
		if coverage := r.snapshot.Coverage(key, reference.Namespace); !coverage.Known() {
			return fmt.Errorf("%s cannot be read, and has to be put back: %s", reference, coverage.Reason)
		}
	}
	return nil
}

// createdRemain says whether anything is there that the runs created.
func (r *rollback) createdRemain() bool {
	return slices.ContainsFunc(r.created, func(created createdObject) bool {
		_, found := r.snapshot.Object(created.object)
		return found
	})
}

// whatever is any object that the runs created.
func whatever(createdObject) bool { return true }

// deleteCreated plans one step that deletes what the runs created in a phase, as far
// as it is meant, last created first. What is not any more what a run wrote, or what somebody
// else has come to need, is kept.
func (r *rollback) deleteCreated(phase v1alpha1.Phase, meant func(createdObject) bool, step v1alpha1.Step) error {
	for _, created := range slices.Backward(r.created) {
		live, found := r.snapshot.Object(created.object)
		if created.phase != phase || !found || !meant(created) {
			continue
		}
		if kept, keep := r.keeps(created, live); keep {
			r.plan.Kept = append(r.plan.Kept, kept)
			continue
		}
		if err := r.state.deletes(&step, created.object); err != nil {
			return err
		}
	}
	step.Gate.Objects = changedBy(step)
	r.plan.Steps = appendStep(r.plan.Steps, step)
	return nil
}

// keeps says whether an object that a run created is to stay, and why.
func (r *rollback) keeps(created createdObject, live mesh.Object) (v1alpha1.KeptField, bool) {
	kept := v1alpha1.KeptField{Object: created.object}
	if reason := r.reliedOn(created.object); reason != "" {
		kept.Reason, kept.Later = reason, true
		return kept, true
	}
	if !created.untouched(live) {
		kept.Reason = "it is not what the run created: somebody has changed it, or made it anew"
		kept.Expected, kept.Found = differing(created.contents[len(created.contents)-1], live)
		return kept, true
	}
	if created.object.Kind == mesh.KindGateway {
		if users := r.remainingUsers(created.object, anyUser); len(users) > 0 {
			kept.Reason = "it is used by " + some(users) + ", which the rollback does not change"
			return kept, true
		}
		return kept, false
	}
	for _, gateway := range r.created {
		if gateway.object.Kind != mesh.KindGateway || !parametrizedBy(gateway, created.object) {
			continue
		}
		// A waypoint without its parameters would be one without its replicas.
		if by := r.stillTargeted(mesh.Target{Kind: mesh.KindGateway, Namespace: gateway.object.Namespace, Name: gateway.object.Name}); by != "" {
			kept.Reason = "it is for " + by
			return kept, true
		}
	}
	for _, target := range mesh.TargetsIn(live) {
		if by := r.stillTargeted(target); by != "" {
			kept.Reason = "it is for " + by
			return kept, true
		}
	}
	return kept, false
}

// parametrizedBy says whether a Gateway that the runs created takes its parameters
// from a ConfigMap.
func parametrizedBy(gateway createdObject, object v1alpha1.ObjectReference) bool {
	content := gateway.contents[len(gateway.contents)-1]
	return object.Kind == mesh.KindConfigMap && object.Namespace == gateway.object.Namespace &&
		Lookup(content, "/spec/infrastructure/parametersRef/kind") == mesh.KindConfigMap &&
		Lookup(content, "/spec/infrastructure/parametersRef/name") == object.Name
}

// stayingWaypoints says of each waypoint that a step takes objects off, and that the
// rollback does not delete, that connections through it go on.
func (r *rollback) stayingWaypoints(step v1alpha1.Step) []string {
	var notes []string
	for _, change := range step.Changes {
		object, found := r.snapshot.Object(change.Object)
		if !found {
			continue
		}
		labels, _, _ := unstructured.NestedStringMap(object, "metadata", "labels")
		in, name, named := mesh.NamedWaypoint(labels, mesh.Namespace{Name: namespaceOf(change.Object)})
		if !named || r.removes(in, name) {
			continue
		}
		note := "waypoint " + in + "/" + name + " stays" + r.whyStays(in, name) + ": connections that are open through it go on until they end"
		if !slices.Contains(notes, note) {
			notes = append(notes, note)
		}
	}
	return notes
}

// removes says whether the rollback deletes a waypoint.
func (r *rollback) removes(namespace, name string) bool {
	for _, created := range r.created {
		if created.object.Kind != mesh.KindGateway || created.object.Namespace != namespace || created.object.Name != name {
			continue
		}
		live, found := r.snapshot.Object(created.object)
		if !found {
			return true
		}
		_, keep := r.keeps(created, live)
		return !keep
	}
	_, found := r.snapshot.Gateway(namespace, name)
	return !found
}

// whyStays names those that keep a waypoint, where there are any.
func (r *rollback) whyStays(namespace, name string) string {
	gateway := v1alpha1.ObjectReference{Kind: mesh.KindGateway, Namespace: namespace, Name: name}
	if users := r.remainingUsers(gateway, anyUser); len(users) > 0 {
		return " for " + some(users)
	}
	return ""
}

// reliedOn says who relies on an object that is in another namespace and not made for
// this one alone. Empty is nobody. Where that namespace is in ambient mode, what lets its
// routes hold for callers here may be all that enforces its policies now.
func (r *rollback) reliedOn(reference v1alpha1.ObjectReference) string {
	in := namespaceOf(reference)
	if in == r.namespace.Name || in == "" {
		return ""
	}
	other, found := r.snapshot.Namespace(in)
	if !found || r.madeForThis(reference) {
		return ""
	}
	if other.Labels[label.IoIstioDataplaneMode.Name] == mesh.DataplaneAmbient {
		return "namespace " + in + " is in ambient mode by now and relies on it: roll that back first, then this again"
	}
	return r.routedFor(in)
}

// madeForThis says whether an object is a waypoint that a run has made for the
// namespace in another one, a part of it, or attached to such waypoints alone. Who else
// uses them is looked at by itself.
func (r *rollback) madeForThis(reference v1alpha1.ObjectReference) bool {
	object, _ := r.snapshot.Object(reference)
	if Lookup(object, Pointer("/metadata/annotations", v1alpha1.OriginLabel)) == r.namespace.Reference().String() {
		return true
	}
	targets := mesh.TargetsIn(object)
	return len(targets) > 0 && !slices.ContainsFunc(targets, func(target mesh.Target) bool {
		gateway := v1alpha1.ObjectReference{APIVersion: gatewayVersion, Kind: mesh.KindGateway, Namespace: target.Namespace, Name: target.Name}
		return target.Kind != mesh.KindGateway || !r.madeForThis(gateway)
	})
}

// differing are the specs of an object as it was written and as it is, where
// they differ.
func differing(written, live map[string]any) (expected, found any) {
	if Equal(written["spec"], live["spec"]) {
		return nil, nil
	}
	return written["spec"], live["spec"]
}

// anyUser is any user of a waypoint.
func anyUser(v1alpha1.ObjectReference) bool { return true }

// remainingUsers are the objects that name a waypoint and count, and that are not
// changed by the steps planned so far.
func (r *rollback) remainingUsers(gateway v1alpha1.ObjectReference, counts func(v1alpha1.ObjectReference) bool) []string {
	var users []string
	for _, user := range r.snapshot.WaypointUsedBy(gateway.Namespace, gateway.Name) {
		if counts(user) && !r.released(user, gateway) {
			users = append(users, user.String())
		}
	}
	return users
}

// released says whether the labels of a waypoint's user are put back by this
// rollback, so that they name it no more.
func (r *rollback) released(user, gateway v1alpha1.ObjectReference) bool {
	if r.releasedByTemplate(user, gateway) {
		return true
	}
	for _, reference := range append(r.objects(v1alpha1.PhaseActivateWaypoints), r.namespace.Reference()) {
		if reference.Unversioned() != user.Unversioned() {
			continue
		}
		object, found := r.snapshot.Object(reference)
		if !found {
			return true
		}
		labels := r.labelsAfter(reference, object)
		in, name, named := mesh.NamedWaypoint(labels, mesh.Namespace{Name: namespaceOf(user)})
		return !named || in != gateway.Namespace || name != gateway.Name
	}
	return false
}

// releasedByTemplate says whether a user is a workload that gets a template back by
// which its pods do not name the waypoint, or a pod of it.
func (r *rollback) releasedByTemplate(user, gateway v1alpha1.ObjectReference) bool {
	for _, reference := range r.objects(v1alpha1.PhaseRestartWorkloads) {
		workload, found := r.snapshot.Workload(reference)
		if !found || reference.Unversioned() != user.Unversioned() &&
			!slices.ContainsFunc(r.snapshot.PodsOf(workload), func(pod mesh.Pod) bool { return pod.Reference() == user }) {
			continue
		}
		labels := r.former(v1alpha1.PhaseRestartWorkloads, workload).Template.Labels
		in, name, named := mesh.NamedWaypoint(labels, mesh.Namespace{Name: namespaceOf(user)})
		return !named || in != gateway.Namespace || name != gateway.Name
	}
	return false
}

// labelsAfter are the labels of an object once its share of activate-waypoints
// is undone.
func (r *rollback) labelsAfter(reference v1alpha1.ObjectReference, object mesh.Object) map[string]string {
	labels := map[string]string{}
	read, _ := Lookup(object, "/metadata/labels").(map[string]any)
	for name, value := range read {
		set(labels, name, value)
	}
	for _, edit := range r.edits(v1alpha1.PhaseActivateWaypoints, reference, object, false) {
		segments := Segments(edit.path)
		set(labels, segments[len(segments)-1], edit.after)
	}
	return labels
}

// stillTargeted says what of a policy's target keeps needing the policy: a
// waypoint that stays, or a Service that somebody else sends through one now. A
// policy with a selector has no target.
func (r *rollback) stillTargeted(target mesh.Target) string {
	for _, created := range r.created {
		if created.object.Kind != mesh.KindGateway || target.Kind != mesh.KindGateway || created.object.Name != target.Name || created.object.Namespace != target.Namespace {
			continue
		}
		live, found := r.snapshot.Object(created.object)
		if !found {
			continue
		}
		if _, keep := r.keeps(created, live); keep {
			return created.object.String() + ", which is kept"
		}
	}
	if target.Kind == mesh.KindGateway && !r.removes(target.Namespace, target.Name) {
		// While it was attached nobody else used the waypoint (translate, wholeWaypoint):
		// whoever does now has come to rely on it.
		gateway := v1alpha1.ObjectReference{APIVersion: gatewayVersion, Kind: mesh.KindGateway, Namespace: target.Namespace, Name: target.Name}
		elsewhere := func(user v1alpha1.ObjectReference) bool { return namespaceOf(user) != r.namespace.Name }
		if users := r.remainingUsers(gateway, elsewhere); len(users) > 0 {
			return gateway.String() + ", which is used by " + some(users)
		}
	}
	for _, kept := range r.plan.Kept {
		object := kept.Object
		if object.Kind == target.Kind && object.Namespace == target.Namespace && object.Name == target.Name &&
			strings.HasPrefix(kept.Path, Pointer("/metadata/labels", label.IoIstioUseWaypoint.Name)) {
			return object.String() + ", which somebody else sends through a waypoint now"
		}
	}
	return ""
}

// namespaceOf is the namespace that an object is in, or is.
func namespaceOf(reference v1alpha1.ObjectReference) string {
	if reference.Kind == mesh.KindNamespace {
		return reference.Name
	}
	return reference.Namespace
}

// mostUsers is how many users of a waypoint are named.
const mostUsers = 3

func some(names []string) string {
	if len(names) <= mostUsers {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:mostUsers], ", "), len(names)-mostUsers)
}
