package checks

import (
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// Simplification is what a plan deletes because it was replaced, as far as checks judge
// it.
type Simplification struct {
	// Pending are the steps of an enrolment that would have to come first, by summary.
	Pending []string
	// Sidecars are the pods that have one when the plan comes to delete something.
	Sidecars []v1alpha1.ObjectReference
	// Routes are those of others that stand in for routes which the plan deletes.
	Routes []v1alpha1.ObjectReference
	// Leftovers are what no proxy needs any more and no plan deletes.
	Leftovers []Leftover
}

// Leftover is something that nothing needs any more.
type Leftover struct {
	Object                 v1alpha1.ObjectReference
	Field, Message, Remedy string
}

// The IDs of the gates that judge a simplification.
const (
	IDWhollyAmbient = "wholly-ambient"
	IDLeftovers     = "leftovers"
)

// SimplifyGates judge what a plan deletes because it was replaced.
func SimplifyGates() []Check { return []Check{whollyAmbient(), leftovers()} }

// ReplacedGates are the checks of verify that do without asking ztunnel: what stands
// in for what is to be deleted is there, accepted, and takes calls.
func ReplacedGates() []Check {
	return []Check{
		istioInstalled(), waypointMissing(), waypointUnready(), policiesAccepted(), layer7Enforced(), noSidecars(), dataplaneMode(), restartsComplete(),
	}
}

func whollyAmbient() Check {
	return planned(Check{
		ID: IDWhollyAmbient, Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Looks for pods that still have a sidecar, and for what is left of an enrolment, before anything is deleted that sidecars read.",
		Why: "A sidecar enforces the policies that select its pod, and heeds routes, EnvoyFilters and Sidecar resources: without them it lets in what it " +
			"refused. What stands in for them is for calls to pods without one.",
		Needs: []string{mesh.KindPod}, Passed: "no pod of the namespace has a sidecar, and nothing is left of an enrolment",
	}, func(subject Subject) []Finding {
		simplification := subject.Migration.Simplification
		if simplification == nil {
			return nil
		}
		var findings []Finding
		for _, pod := range simplification.Sidecars {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusFail, Object: reference(pod), Message: "it has a sidecar, which reads what would be deleted",
				Remedy: "restart it without one, or delete nothing",
			})
		}
		if pending := simplification.Pending; len(pending) > 0 {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusFail, Object: reference(subject.Namespace.Reference()),
				Message: fmt.Sprintf("%s of an enrolment %s still to be taken: %s", count(len(pending), "step"), verbIs(len(pending)), some(pending)),
				Remedy:  "enroll it first, with the options that it was enrolled with",
			})
		}
		return findings
	})
}

func verbIs(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

func leftovers() Check {
	return planned(Check{
		ID: IDLeftovers, Category: CategoryPolicies, Severity: v1alpha1.SeverityWarning,
		About: "Names what nothing needs any more once the sidecars are gone, and what is left to its owners all the same.",
		Why: "Annotations for sidecars mean nothing in ambient mode, but taking them out of a template is a restart: the next deployment does it for " +
			"free, enroll --simplify with the restart that there is anyway, and simplify --restart with one of its own. Routes that no proxy follows today may be there for one that is to come. What is for the whole mesh is not one namespace's.",
		Needs:  []string{mesh.KindPod, mesh.PodsMeshWide, mesh.KindWorkloadEntry, mesh.KindVirtualService, mesh.KindDestinationRule, mesh.KindSidecar, mesh.KindMutatingWebhookConfiguration},
		Passed: "nothing is left over that only sidecars needed",
	}, func(subject Subject) []Finding {
		if subject.Migration.Simplification == nil {
			return nil
		}
		var findings []Finding
		for _, leftover := range subject.Migration.Simplification.Leftovers {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusWarn, Object: reference(leftover.Object), Field: leftover.Field, Message: leftover.Message, Remedy: leftover.Remedy,
			})
		}
		return findings
	})
}
