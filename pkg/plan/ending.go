package plan

import (
	"slices"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// attachedSince are the policies that others have attached to Services and waypoints
// since the first of the runs began; all of them where that is not recorded. What was
// attached before restricted nothing until a run made the waypoint.
func (r *rollback) attachedSince() []v1alpha1.ObjectReference {
	var attached []v1alpha1.ObjectReference
	add := func(reference v1alpha1.ObjectReference, created time.Time, ours bool, targets []mesh.Target) {
		if !ours && len(targets) > 0 && (r.since == nil || created.After(*r.since)) {
			attached = append(attached, reference)
		}
	}
	for _, policy := range r.snapshot.AuthorizationPolicies() {
		add(mesh.SecurityReference(mesh.KindAuthorizationPolicy, policy.Namespace, policy.Name), policy.CreationTimestamp.Time, policy.Labels[v1alpha1.OriginLabel] != "", mesh.TargetsOf(&policy.Spec))
	}
	for _, extension := range r.snapshot.Extensions() {
		if extension.Reference.Kind != mesh.KindRequestAuthentication {
			continue
		}
		text, _ := Lookup(extension.Object, "/metadata/creationTimestamp").(string)
		// It is the API server's own.
		created, _ := time.Parse(time.RFC3339, text)
		add(extension.Reference, created, Ours(extension.Object), extension.Targets)
	}
	return attached
}

// outdated are the objects that the runs have made, in whichever namespace, and whose
// originals somebody has deleted or edited since: what they refuse beyond what the
// originals say now ends with a rollback.
func (r *rollback) outdated() ([]v1alpha1.ObjectReference, error) {
	edited, err := r.editedOriginals()
	if err != nil {
		return nil, err
	}
	gone := map[v1alpha1.ObjectReference]bool{}
	seen := map[string]bool{}
	for _, one := range r.created {
		if !seen[one.object.Namespace] {
			seen[one.object.Namespace] = true
			for _, orphan := range r.snapshot.Orphans(one.object.Namespace) {
				gone[orphan.Object.Unversioned()] = true
			}
		}
	}
	var copies []v1alpha1.ObjectReference
	for _, one := range r.created {
		live, found := r.snapshot.Object(one.object)
		if !found {
			continue
		}
		origin, _ := Lookup(live, Pointer("/metadata/annotations", v1alpha1.OriginLabel)).(string)
		isEdited := slices.ContainsFunc(edited, func(original v1alpha1.ObjectReference) bool { return original.String() == origin })
		// What lets a waypoint through refuses nothing for as long as there is an ALLOW
		// policy of the pods.
		lets := strings.HasPrefix(one.object.Name, mesh.FromWaypointPrefix)
		if gone[one.object.Unversioned()] || isEdited && !lets {
			copies = append(copies, one.object)
		}
	}
	return copies, nil
}

// editedOriginals are the policies that say something else than when the newest run was
// planned which has made copies of them, but for those that a run has deleted; and those
// that a run has amended and somebody has edited then.
func (r *rollback) editedOriginals() ([]v1alpha1.ObjectReference, error) {
	var edited []v1alpha1.ObjectReference
	seen := map[v1alpha1.ObjectReference]bool{}
	for _, record := range r.records {
		if record.Plan.Handover == nil || !handedOver(record) {
			continue
		}
		same, err := stillSaying(r.snapshot, *record.Plan.Handover)
		if err != nil {
			return nil, err
		}
		for _, known := range record.Plan.Handover.Policies {
			if service := record.Service(); service != "" && !onlyAbout(r.snapshot, known.Object, serviceOf(record.Namespace, service)) {
				// Of what concerns other Services that run has renewed nothing.
				continue
			}
			deleted := slices.ContainsFunc(r.deleted, func(one deletedObject) bool { return one.object == known.Object })
			if !seen[known.Object] && !deleted && !slices.Contains(same, known.Object) {
				edited = append(edited, known.Object)
			}
			seen[known.Object] = true
		}
	}
	written, _, err := writtenBy(r.records)
	if err != nil {
		return nil, err
	}
	for _, field := range written {
		live, found := r.snapshot.Object(field.object)
		now := Lookup(live, field.path)
		left := Equal(now, field.before) || slices.ContainsFunc(field.after, func(after any) bool { return Equal(now, after) })
		if field.phase == v1alpha1.PhaseMigratePolicies && found && !left && !slices.Contains(edited, field.object) {
			edited = append(edited, field.object)
		}
	}
	return edited, nil
}

// handedOver says whether a run has done all that it was to do about policies.
func handedOver(record v1alpha1.MigrationRecord) bool {
	for i, step := range record.Plan.Steps {
		if step.Phase == v1alpha1.PhaseMigratePolicies && (i >= len(record.Steps) || record.Steps[i].State != v1alpha1.StepDone) {
			return false
		}
	}
	return true
}

// endingWithWaypoints are the calls that only what goes with the waypoints refuses now,
// and what nothing takes the place of: what others have attached to them, which sidecars
// do not heed, and our copies of policies that were deleted or edited. It is not what was
// there before the runs that lets such calls in, but that nobody else knows of what has
// come since.
func (r *rollback) endingWithWaypoints(namespaces []string) ([]v1alpha1.CallChange, error) {
	attached := r.attachedSince()
	outdated, err := r.outdated()
	if err != nil {
		return nil, err
	}
	going := slices.Concat(attached, outdated)
	if len(going) == 0 {
		return nil, nil
	}
	at := newStageMaker(r.snapshot, namespaces)
	stages, err := at.stages(r.plan.Steps, false)
	if err != nil {
		return nil, err
	}
	without, err := r.snapshot.With(nil, going)
	if err != nil {
		return nil, err
	}
	options := comparing(r.snapshot, namespaces)
	options.Meant, options.Leaving = at.builder.Of(without, namespaces, access.Overlay{}), true
	ending := slices.DeleteFunc(compare.New(stages, options).Changes(), func(change v1alpha1.CallChange) bool {
		return change.Effect != v1alpha1.CallNewlyAllowed || !change.Repairs || change.Until != ""
	})
	for i := range ending {
		ending[i].Repairs = false
		ending[i].Remedy = remedyForEnding(len(attached) > 0, len(outdated) > 0)
	}
	return ending, nil
}

// remedyForEnding says what keeps such calls refused.
func remedyForEnding(attached, outdated bool) string {
	const (
		selecting = "have a policy that selects the pods refuse them: sidecars do not heed targetRefs"
		again     = "put back the policies that somebody has deleted or edited since: their copies end here"
	)
	switch {
	case attached && outdated:
		return again + "; or " + selecting
	case outdated:
		return again
	default:
		return selecting
	}
}
