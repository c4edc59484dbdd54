package plan

import (
	"slices"
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
		reference := v1alpha1.ObjectReference{
			APIVersion: "security.istio.io/v1", Kind: mesh.KindAuthorizationPolicy, Namespace: policy.Namespace, Name: policy.Name,
		}
		add(reference, policy.CreationTimestamp.Time, policy.Labels[v1alpha1.OriginLabel] != "", mesh.TargetsOf(&policy.Spec))
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

// endingWithWaypoints are the calls that only such policies refuse now, and that are
// let in once there is no waypoint to enforce them: sidecars do not heed what is
// attached. It is not what was there before the runs that lets them in, but that
// nobody else knows of what has come since.
func (r *rollback) endingWithWaypoints(namespaces []string) ([]v1alpha1.CallChange, error) {
	attached := r.attachedSince()
	if len(attached) == 0 {
		return nil, nil
	}
	at := newStageMaker(r.snapshot, namespaces)
	stages, err := at.stages(r.plan.Steps, false)
	if err != nil {
		return nil, err
	}
	without, err := r.snapshot.With(nil, attached)
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
		ending[i].Remedy = "have a policy that selects the pods refuse them: sidecars do not heed targetRefs"
	}
	return ending, nil
}
