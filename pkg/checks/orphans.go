package checks

import (
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// IDOrphanedPolicies is the check that names drift: what an enrolment made and
// nobody looks after any more.
const IDOrphanedPolicies = "orphaned-policies"

func orphanedPolicies() Check {
	return Check{
		ID: IDOrphanedPolicies, Category: CategoryPolicies, Severity: v1alpha1.SeverityWarning,
		About: "Looks for policies that an enrolment made from others which somebody has deleted since.",
		Why: "A copy at a waypoint, a guard for direct calls or what lets a waypoint through is an object of its own: it goes on to hold when " +
			"the policy that it was made from is deleted, which whoever deletes that does not expect. Nothing deletes it by itself, since it may " +
			"be all that still refuses a call.",
		Needs: []string{"AuthorizationPolicy", "RequestAuthentication"}, Passed: "everything that an enrolment made still has what it was made from",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, orphan := range subject.Snapshot.Orphans(subject.Namespace.Name) {
				findings = append(findings, Finding{
					Status: v1alpha1.StatusWarn, Object: reference(orphan.Object), Field: "metadata.annotations[" + v1alpha1.OriginLabel + "]",
					Message: "an enrolment made it from " + orphan.Origin + ", which is gone: it goes on to hold",
					Remedy:  "if it is not meant to: " + deleteCommand(orphan.Object),
				})
			}
			return findings
		},
	}
}

// deleteCommand deletes an object. The kind is named with its group: others have
// kinds of the same names.
func deleteCommand(object v1alpha1.ObjectReference) string {
	group, _, _ := strings.Cut(object.APIVersion, "/")
	return "kubectl delete " + strings.ToLower(object.Kind) + "." + group + " " + object.Name + " -n " + object.Namespace
}
