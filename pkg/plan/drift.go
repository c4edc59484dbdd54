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
)

// sayings is what decisions are made by in a policy: its spec, and whether it only
// logs what it would do.
func sayings(policy map[string]any) map[string]any {
	said := map[string]any{"spec": policy["spec"]}
	if dryRun := Lookup(policy, Pointer("/metadata/annotations", annotation.IoIstioDryRun.Name)); dryRun != nil {
		said["metadata"] = map[string]any{"annotations": map[string]any{annotation.IoIstioDryRun.Name: dryRun}}
	}
	return said
}

// Drift says how an object differs from what it is to be, nil where it does not: in
// its spec, in whether it is a dry run, or in a label that Istio reads. Nil for what
// is there means that it is gone.
func Drift(reference v1alpha1.ObjectReference, wanted, there map[string]any) *checks.Drift {
	if there == nil {
		return &checks.Drift{Object: reference, Gone: true}
	}
	if isSecurityPolicy(reference.Kind) {
		path := Pointer("/metadata/annotations", annotation.IoIstioDryRun.Name)
		if was, is := Lookup(wanted, path), Lookup(there, path); !Equal(was, is) {
			return &checks.Drift{Object: reference, Field: "metadata.annotations[" + annotation.IoIstioDryRun.Name + "]", Expected: was, Found: is}
		}
		// These have no defaults: what one holds besides what is wanted is a
		// difference, too.
		return firstDrift(reference, "spec", wanted["spec"], there["spec"], true)
	}
	labels, _ := Lookup(wanted, "/metadata/labels").(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		path := Pointer("/metadata/labels", name)
		if found := Lookup(there, path); mesh.IstioReads(name) && !Equal(labels[name], found) {
			return &checks.Drift{Object: reference, Field: "metadata.labels[" + name + "]", Expected: labels[name], Found: found}
		}
	}
	// An HTTPRoute is only ever looked at as somebody else has written it, defaults and all.
	return firstDrift(reference, "spec", wanted["spec"], there["spec"], reference.Kind == mesh.KindHTTPRoute)
}

func isSecurityPolicy(kind string) bool {
	return slices.Contains([]string{mesh.KindAuthorizationPolicy, mesh.KindPeerAuthentication, mesh.KindRequestAuthentication}, kind)
}

// firstDrift is the first field, by name and place, in which a value is not what is
// wanted. What it holds besides counts where nothing sets defaults.
func firstDrift(reference v1alpha1.ObjectReference, field string, wanted, there any, besides bool) *checks.Drift {
	if Equal(wanted, there) {
		return nil
	}
	whole := &checks.Drift{Object: reference, Field: field, Expected: wanted, Found: there}
	switch part := wanted.(type) {
	case map[string]any:
		found, is := there.(map[string]any)
		if !is {
			return whole
		}
		keys := slices.Collect(maps.Keys(part))
		if besides {
			keys = slices.AppendSeq(keys, maps.Keys(found))
		}
		slices.Sort(keys)
		for _, key := range slices.Compact(keys) {
			if drift := firstDrift(reference, inside(field, key), part[key], found[key], besides); drift != nil {
				return drift
			}
		}
		return nil
	case []any:
		found, is := there.([]any)
		if !is || len(found) != len(part) {
			return whole
		}
		for i := range part {
			if drift := firstDrift(reference, fmt.Sprintf("%s[%d]", field, i), part[i], found[i], besides); drift != nil {
				return drift
			}
		}
		return nil
	default:
		return whole
	}
}

// inside names a field as checks do: keys that are no names of fields in brackets.
func inside(field, key string) string {
	if strings.ContainsAny(key, "./") {
		return field + "[" + key + "]"
	}
	return field + "." + key
}

// Handed is what became of what open enrolments, given newest first, have handed
// over: of what they made and amended, and of the policies that the newest of them
// was planned with.
func Handed(snapshot *mesh.Snapshot, records []v1alpha1.MigrationRecord) (*checks.Handed, error) {
	written, created, err := writtenBy(records)
	if err != nil {
		return nil, err
	}
	handed, done := &checks.Handed{}, doneBy(records)
	for _, one := range created {
		if one.object.Kind == mesh.KindConfigMap {
			continue
		}
		live, found := snapshot.Object(one.object)
		last := one.contents[len(one.contents)-1]
		switch {
		case found:
		case !snapshot.Coverage(one.object.Kind, one.object.Namespace).Known():
			handed.Unseen = append(handed.Unseen, one.object)
			continue
		case !done[one.object], originGone(snapshot, last):
			continue
		}
		if drift := Drift(one.object, last, live); drift != nil {
			handed.Drifts = append(handed.Drifts, *drift)
		}
	}
	for _, field := range written {
		ours := slices.ContainsFunc(created, func(one createdObject) bool { return one.object == field.object })
		if field.phase != v1alpha1.PhaseMigratePolicies || ours || !done[field.object] {
			continue
		}
		// What others have made of it since is theirs to say; put back to what it was
		// before the runs, it refuses the waypoint.
		live, found := snapshot.Object(field.object)
		now := Lookup(live, field.path)
		drift := firstDrift(field.object, strings.Join(Segments(field.path), "."), field.after[len(field.after)-1], now, true)
		if found && drift != nil && Equal(now, field.before) {
			handed.Drifts = append(handed.Drifts, *drift)
		}
	}
	handed.Fronted = frontedBy(records)
	handed.Judged, err = judgedBy(snapshot, records)
	return handed, err
}

// frontedBy are the services that the newest of the runs which has put services behind
// a waypoint was planned with; and those that were since given one by themselves.
func frontedBy(records []v1alpha1.MigrationRecord) []v1alpha1.FrontedService {
	var all []v1alpha1.FrontedService
	for _, record := range records {
		if record.Plan.Handover == nil || !activated(record) {
			continue
		}
		for _, fronted := range record.Plan.Handover.Services {
			named := record.Service() == "" || serviceOf(record.Namespace, record.Service()) == fronted.Object
			known := slices.ContainsFunc(all, func(other v1alpha1.FrontedService) bool { return other.Object == fronted.Object })
			if named && !known {
				all = append(all, fronted)
			}
		}
		if record.Service() == "" {
			break
		}
	}
	return all
}

// activated says whether a run has sent calls through waypoints, or found them so.
func activated(record v1alpha1.MigrationRecord) bool {
	if options := record.Plan.Options; options != nil && !(Span{Until: options.Until}).Holds(v1alpha1.PhaseActivateWaypoints) {
		return false
	}
	for i, step := range record.Plan.Steps {
		if step.Phase == v1alpha1.PhaseActivateWaypoints && (i >= len(record.Steps) || record.Steps[i].State != v1alpha1.StepDone) {
			return false
		}
	}
	return true
}

// judgedBy are the policies that say what they said when the newest of the runs was
// planned; and of those that were planned since for a single Service, what they judged
// of that one's.
func judgedBy(snapshot *mesh.Snapshot, records []v1alpha1.MigrationRecord) ([]v1alpha1.ObjectReference, error) {
	var all []v1alpha1.ObjectReference
	for _, record := range records {
		relied := record.Plan.Handover
		if relied == nil {
			if record.Service() == "" {
				return all, nil
			}
			continue
		}
		same, err := stillSaying(snapshot, *relied)
		if err != nil {
			return nil, err
		}
		if named := record.Service(); named != "" {
			service := serviceOf(record.Namespace, named)
			same = slices.DeleteFunc(same, func(policy v1alpha1.ObjectReference) bool { return !onlyAbout(snapshot, policy, service) })
		}
		all = append(all, same...)
		if record.Service() == "" {
			return all, nil
		}
	}
	return all, nil
}

// doneBy are the objects that steps have changed which are known to be done.
func doneBy(records []v1alpha1.MigrationRecord) map[v1alpha1.ObjectReference]bool {
	objects := map[v1alpha1.ObjectReference]bool{}
	for _, record := range records {
		for i, step := range record.Steps {
			if step.State != v1alpha1.StepDone || i >= len(record.Plan.Steps) {
				continue
			}
			for _, change := range left(record, i) {
				objects[change.Object] = true
			}
		}
	}
	return objects
}

// stillSaying are the policies of a handover that say what they said when it was planned.
func stillSaying(snapshot *mesh.Snapshot, relied v1alpha1.Handover) ([]v1alpha1.ObjectReference, error) {
	same := slices.Clone(relied.Objects)
	for _, known := range relied.Policies {
		object, found := snapshot.Object(known.Object)
		if !found {
			continue
		}
		hash, err := Hash(sayings(object))
		if err != nil {
			return nil, err
		}
		if hash == known.Hash {
			same = append(same, known.Object)
		}
	}
	return same, nil
}

// originGone says whether the object that a created one carries over is not there
// any more: then nobody misses the created one, unless a run has deleted it and left
// the created one in its place.
func originGone(snapshot *mesh.Snapshot, created map[string]any) bool {
	if Lookup(created, Pointer("/metadata/annotations", v1alpha1.SimplifiedAnnotation)) != nil {
		return false
	}
	origin, _ := Lookup(created, Pointer("/metadata/annotations", v1alpha1.OriginLabel)).(string)
	kind, name, named := strings.Cut(origin, " ")
	namespace, name, namespaced := strings.Cut(name, "/")
	if !named || !namespaced {
		return false
	}
	_, found := snapshot.Object(v1alpha1.ObjectReference{Kind: kind, Namespace: namespace, Name: name})
	return !found
}
