// Package checks holds what must be true before, during and after a
// migration, as values. Each check is a pure function of the mesh; the runner
// knows nothing of output.
package checks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// Subject is what a check is about.
type Subject struct {
	Snapshot *mesh.Snapshot
	// Namespace is the one at hand.
	Namespace mesh.Namespace
	// Evidence is what the data plane says; nil where it was not asked.
	Evidence *mesh.Evidence
	// Migration is what a plan makes of the namespace; nil where there is none.
	Migration *Migration
	// Handed is what became of what runs have handed over; nil where that was not
	// read.
	Handed *Handed
	// Returned is what a rollback is to have put back; nil where the namespace was not
	// rolled back.
	Returned *Returned
	// Past is the namespace before it was enrolled. NoPast says why there is none; both
	// are empty where the records were not read.
	Past   *Past
	NoPast string
	// NoRecords says why the records of runs could not be understood; empty where they
	// could, or may not be read.
	NoRecords string
	// Probed is what probe pods have found; nil where none were asked for.
	Probed *Probed
	// Accepts says which findings that block were accepted; nil for none.
	Accepts func(v1alpha1.CheckResult) bool
}

// Finding is something that a check has to say. A check that finds nothing
// passes.
type Finding struct {
	Status  v1alpha1.CheckStatus
	Object  *v1alpha1.ObjectReference
	Field   string
	Message string
	Remedy  string
	// unseen is what kept the check from being made.
	unseen []v1alpha1.KindCoverage
}

// Check is one thing that must hold.
type Check struct {
	// ID is stable: scripts, suppressions and docs/checks.md refer to it.
	ID       string
	Category string
	Severity v1alpha1.Severity
	// About is what the check looks at, in a sentence of docs/checks.md.
	About string
	// Why is what happens otherwise, for docs/checks.md, with sources.
	Why string
	// Needs are the keys of the snapshot's Coverage without which the check
	// cannot be made.
	Needs []string
	// DependsOn are the IDs of checks without whose passing this one means
	// nothing: it is skipped where one of them fails or is unknown, or is skipped for
	// that itself, so that one cause is reported once. One that is skipped because it
	// means nothing here keeps nothing from being made.
	DependsOn []string
	// DependsThere are the IDs of checks of pods, without whose passing for a pod this one
	// means nothing about it: it looks at what else there is, and says what it leaves out.
	// It is skipped where such a check was not made at all.
	DependsThere []string
	// Passed is what is true when nothing was found.
	Passed string
	// Run returns the findings.
	Run func(Subject) []Finding
}

// The categories.
const (
	CategoryPrerequisites = "prerequisites"
	CategoryComponents    = "ambient components"
	CategorySidecars      = "sidecars"
	CategoryPolicies      = "policies"
	CategoryRouting       = "routing"
	CategoryExtensions    = "extensions"
	CategoryWorkloads     = "workloads"
	CategoryNetwork       = "network"
	CategoryObservability = "observability"
	CategoryOwnership     = "ownership"
	CategoryDataPlane     = "data plane"
	CategoryPast          = "against what was"
)

// Run makes the checks in order. A check whose needs were not read is unknown:
// it is not run, since what it did not see would look like what is not there.
func Run(checks []Check, subject Subject) []v1alpha1.CheckResult {
	var results []v1alpha1.CheckResult
	// blockers are the checks that what depends on a check waits for, by its ID, and unmade
	// those for which a check was not made at all.
	blockers, unmade := map[string]string{}, map[string]string{}
	for _, check := range checks {
		blocker := check.blocker(blockers, unmade)
		if blocker != "" {
			blockers[check.ID], unmade[check.ID] = blocker, blocker
		}
		for _, finding := range check.findings(subject, blocker) {
			result := v1alpha1.CheckResult{
				ID: check.ID, Category: check.Category, Severity: check.Severity, Status: finding.Status,
				Object: finding.Object, Field: Line(finding.Field), Message: Line(finding.Message), Remedy: Line(finding.Remedy),
				Unseen: finding.unseen,
			}
			if result.Status != v1alpha1.StatusPass {
				result.Docs = Docs(check.ID)
			}
			// What depends on a check is looked at although it does not hold, once
			// that was accepted: accepting one finding must not hide others.
			result.Accepted = result.Blocks() && subject.Accepts != nil && subject.Accepts(result)
			if result.Blocks() {
				blockers[check.ID] = check.ID
				if finding.unseen != nil {
					unmade[check.ID] = check.ID
				}
			}
			results = append(results, result)
		}
	}
	return results
}

// Docs is where a check is explained.
func Docs(id string) string { return "docs/checks.md#" + id }

// blocker is the check that does not hold and without which this one means nothing:
// one that it depends on, or that such a one depends on. It is empty where there is none.
func (c Check) blocker(blockers, unmade map[string]string) string {
	for _, id := range c.DependsOn {
		if blockers[id] != "" {
			return blockers[id]
		}
	}
	for _, id := range c.DependsThere {
		if unmade[id] != "" {
			return unmade[id]
		}
	}
	return ""
}

func (c Check) findings(subject Subject, blocker string) []Finding {
	if blocker != "" {
		return []Finding{meaningless(blocker)}
	}
	findings := c.unseen(subject.Snapshot, subject.Namespace.Name)
	if len(findings) == 0 {
		findings = c.Run(subject)
	}
	if len(findings) == 0 {
		findings = []Finding{{Status: v1alpha1.StatusPass, Message: c.Passed}}
	}
	return findings
}

// meaningless is the finding of a check that is not made while another does not hold.
func meaningless(blocker string) Finding {
	return Finding{Status: v1alpha1.StatusSkip, Message: "it means nothing while " + blocker + " does not hold"}
}

// unseen is the finding of a check whose needs were not all read.
func (c Check) unseen(snapshot *mesh.Snapshot, namespace string) []Finding {
	var unseen []v1alpha1.KindCoverage
	for _, key := range c.Needs {
		if coverage := snapshot.Coverage(key, namespace); !coverage.Known() {
			unseen = append(unseen, v1alpha1.KindCoverage{Key: key, State: string(coverage.State), Reason: cmp.Or(coverage.Reason, "it was not asked for")})
		}
	}
	if len(unseen) == 0 {
		return nil
	}
	var texts []string
	for _, one := range unseen {
		texts = append(texts, one.Key+": "+one.Reason)
	}
	return []Finding{{
		Status: v1alpha1.StatusUnknown, Message: "it cannot be told without " + strings.Join(texts, "; "), Remedy: seeing(unseen), unseen: unseen,
	}}
}

// seeing is how to have read what was not.
func seeing(unseen []v1alpha1.KindCoverage) string {
	var remedies []string
	for _, one := range unseen {
		remedy := "take the snapshot from the cluster or a dump that covers it; for plain files that hold everything, --assume-complete"
		switch mesh.CoverageState(one.State) {
		case mesh.CoverageForbidden:
			remedy = "grant list on it, or run as somebody who may"
		case mesh.CoverageFailed:
			remedy = "correct what is named"
			if one.Key != mesh.IstioConfigMaps {
				remedy = "kubectl get apiservices shows which does not answer"
			}
		case mesh.CoverageUnasked, mesh.CoverageRead, mesh.CoverageAbsent:
		}
		if !slices.Contains(remedies, remedy) {
			remedies = append(remedies, remedy)
		}
	}
	return strings.Join(remedies, "; ")
}

// EnrollGates are the checks that must hold before a namespace is enrolled, in
// the order in which they are shown. A check comes after those that it depends
// on.
func EnrollGates() []Check {
	return slices.Concat(
		prerequisiteChecks(), componentChecks(), sidecarChecks(), policyChecks(), routingChecks(), extensionChecks(),
		workloadChecks(), networkChecks(), observabilityChecks(), OwnershipChecks(),
	)
}

// LeavesBehind says whether a gate names pods which no step would take the
// sidecar from. Such a gate counts even where nothing is left to be done.
func LeavesBehind(id string) bool {
	return id == "kube-injected" || id == "grpc-agents" || id == "restartable" || id == "argo-rollouts"
}

// VerifyChecks are the checks that make up verify.
func VerifyChecks() []Check {
	return slices.Concat(underlyingChecks(), []Check{waypointShape()}, arrivedChecks(), standingChecks(), pastChecks())
}

// ArrivalChecks are those of them about what an enrolment makes of a namespace, which is
// watched: its last gate makes these again and again, and once they hold all the others.
func ArrivalChecks() []Check { return slices.Concat(underlyingChecks(), arrivedChecks()) }

// underlyingChecks are about what all else rests upon, arrivedChecks about what an
// enrolment has made of a namespace.
func underlyingChecks() []Check {
	return []Check{istioInstalled(), waypointMissing(), waypointUnready()}
}

// standingChecks are about what others have made as well, and what holds of it may hold,
// or not, before an enrolment as after it.
func standingChecks() []Check {
	return []Check{
		routesAccepted(), ztunnelAccepted(), waypointCopies(), labelsConsistent(),
		policyTargets(), policyWaypoints(), routeConflicts(), unsaidTargets(), networkPolicies(),
	}
}

func arrivedChecks() []Check {
	return []Check{
		waypointDiverted(), handedOver(), policiesAccepted(), layer7Enforced(), takenOff(),
		noSidecars(), dataplaneMode(), restartsComplete(),
		outsideMesh(), redirected(), ztunnelCaptured(), ztunnelHBONE(), ztunnelPolicies(), ztunnelWaypoints(), ztunnelCertificates(), ztunnelInStep(), optedOut(),
	}
}

// reference returns a pointer, as results hold it.
func reference(object v1alpha1.ObjectReference) *v1alpha1.ObjectReference { return &object }

// some lists at most three names and counts the rest: a line that names every
// one of a hundred pods tells nobody anything.
func some(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// count puts a number before a noun: "1 pod", "3 pods".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
