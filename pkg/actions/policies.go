package actions

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
)

// policyAccepted: istiod has taken up a policy as it is now, and found nothing
// wrong with it but that a Service which it is for uses no waypoint yet.
func policyAccepted(snapshot *mesh.Snapshot, reference v1alpha1.ObjectReference) (verdict, error) {
	object, err := existing(snapshot, reference)
	if err != nil {
		return verdict{}, err
	}
	return verdictOn(reference, checks.Unaccepted(snapshot, reference, object, false)), nil
}

func isPolicy(reference v1alpha1.ObjectReference) bool {
	return slices.Contains([]string{mesh.KindAuthorizationPolicy, mesh.KindRequestAuthentication, mesh.KindPeerAuthentication}, reference.Kind)
}

func labelsOf(object mesh.Object) map[string]string {
	labels := map[string]string{}
	read, _ := plan.Lookup(object, "/metadata/labels").(map[string]any)
	for name, value := range read {
		if text, is := value.(string); is {
			labels[name] = text
		}
	}
	return labels
}
