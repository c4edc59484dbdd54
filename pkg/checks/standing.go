package checks

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// Standing is what does not hold in a namespace before it is enrolled, of what verify
// looks at whoever has made it: no enrolment has caused that.
func Standing(snapshot *mesh.Snapshot, namespace mesh.Namespace) []v1alpha1.StandingFinding {
	asked := slices.Concat(underlyingChecks(), []Check{waypointShape(), classPoliciesAccepted()}, standingChecks())
	return blocking(asked, snapshot, namespace)
}

// Unmended is what verify goes on to say of a namespace as a plan leaves it, although
// nothing of that is for the plan to mend: policies that nobody enforces, which are
// announced while there are sidecars, and fail afterwards.
func Unmended(snapshot *mesh.Snapshot, namespace mesh.Namespace) []v1alpha1.StandingFinding {
	return blocking([]Check{policyWaypoints()}, snapshot, namespace)
}

func blocking(asked []Check, snapshot *mesh.Snapshot, namespace mesh.Namespace) []v1alpha1.StandingFinding {
	var standing []v1alpha1.StandingFinding
	for _, result := range Run(asked, Subject{Snapshot: snapshot, Namespace: namespace, Handed: &Handed{}}) {
		about := standingFinding(result)
		if result.Blocks() && !slices.ContainsFunc(standing, func(other v1alpha1.StandingFinding) bool { return sameStanding(other, about) }) {
			standing = append(standing, about)
		}
	}
	return standing
}

func standingFinding(result v1alpha1.CheckResult) v1alpha1.StandingFinding {
	return v1alpha1.StandingFinding{ID: result.ID, Object: result.Object, Field: result.Field, Unknown: result.Status == v1alpha1.StatusUnknown}
}

func sameStanding(one, other v1alpha1.StandingFinding) bool {
	if one.ID != other.ID || one.Field != other.Field || one.Unknown != other.Unknown || (one.Object == nil) != (other.Object == nil) {
		return false
	}
	return one.Object == nil || one.Object.Unversioned() == other.Object.Unversioned()
}

// HoldsUp says whether a result of verify keeps an enrolment from having ended well: it
// blocks, and did not stand before, and somebody could mend it.
func HoldsUp(result v1alpha1.CheckResult, standing []v1alpha1.StandingFinding) bool {
	switch {
	case !result.Blocks(), result.Status == v1alpha1.StatusUnknown && staysUnknown(result):
		return false
	default:
		about := standingFinding(result)
		return !slices.ContainsFunc(standing, func(before v1alpha1.StandingFinding) bool { return sameStanding(before, about) })
	}
}

// staysUnknown says whether waiting does not help against a result that is unknown. An
// istiod that cannot be asked stays so: nothing else depends on its debug interface, which
// it may not even serve (istio pilot/pkg/features, ENABLE_DEBUG_ON_HTTP). So do kinds of
// calls that are too many to be compared, or cannot be modelled: the plan has compared each
// of its steps, and had accepted what it could not.
func staysUnknown(result v1alpha1.CheckResult) bool {
	return result.ID == IDZtunnelInStep || result.ID == IDCallsKept && len(result.Unseen) == 0
}
