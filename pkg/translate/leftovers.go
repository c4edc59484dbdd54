package translate

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// leftovers are policies that earlier runs have made and that nothing asks for any
// more, since other options were chosen, or other policies are there. They go on to
// hold. Those whose original is gone a check of its own names; those whose original a
// run has deleted stand for themselves.
func (t *translator) leftovers() {
	if t.options.RoutingOnly || t.options.Only != "" {
		return
	}
	accounted := map[v1alpha1.ObjectReference]bool{}
	for _, object := range t.translation.Before {
		accounted[object.Reference.Unversioned()] = true
	}
	for _, orphan := range t.snapshot.Orphans(t.namespace.Name) {
		accounted[orphan.Object.Unversioned()] = true
	}
	for _, policy := range t.snapshot.AuthorizationPolicies() {
		if reference := authorizationReference(policy); ours(policy.Labels) && !simplified(policy.Annotations) && t.mine(policy.Namespace, mesh.TargetsOf(&policy.Spec)) && !accounted[reference.Unversioned()] {
			t.leftover(reference, policy.Annotations[v1alpha1.OriginLabel])
		}
	}
	for _, extension := range t.snapshot.Extensions() {
		if isOurs(extension) && !simplified(extension.Annotations()) && t.mine(extension.Reference.Namespace, extension.Targets) && !accounted[extension.Reference.Unversioned()] {
			t.leftover(extension.Reference, extension.Annotations()[v1alpha1.OriginLabel])
		}
	}
}

// simplified says whether an object stands for what it was made from, which a run has
// deleted.
func simplified(annotations map[string]string) bool {
	return annotations[v1alpha1.SimplifiedAnnotation] != ""
}

// mine says whether a policy that a run has made is for the namespace: it is in it, or
// is attached to a waypoint elsewhere that was made for it.
func (t *translator) mine(in string, targets []mesh.Target) bool {
	return in == t.namespace.Name || slices.ContainsFunc(targets, func(target mesh.Target) bool {
		gateway, found := t.snapshot.Gateway(in, target.Name)
		return target.Kind == mesh.KindGateway && found && t.own(gateway)
	})
}

func (t *translator) leftover(object v1alpha1.ObjectReference, origin string) {
	from := ""
	if origin != "" {
		from = " from " + origin
	}
	t.translation.Losses = append(t.translation.Losses, Loss{
		Object: object, Field: "metadata.labels[" + v1alpha1.OriginLabel + "]",
		Message: "an earlier run has made it" + from + ", and nothing asks for it with these options: it goes on to hold until somebody deletes it",
	})
}

// isOurs says whether an extension was made by a run.
func isOurs(extension mesh.Extension) bool { return ours(extension.Labels()) }
