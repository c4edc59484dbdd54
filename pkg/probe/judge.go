package probe

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/probe/wire"
)

// Finding is what traffic has shown, or could not.
type Finding struct {
	Status v1alpha1.CheckStatus
	// Object is nil where it is about no single one.
	Object          *v1alpha1.ObjectReference
	Message, Remedy string
}

// Verdict is what became of a Draft.
type Verdict struct {
	// Proven is how many calls became what policies say, and prove it.
	Proven int
	// Findings are calls that became something else, and what kept calls from being
	// tried; Untried is what was left out, or proves nothing.
	Findings, Untried []Finding
}

// Tried is what became of one probe pod.
type Tried struct {
	// Pod is its name, Node where it ran, if anywhere.
	Pod, Node string
	Results   []wire.Result
	// Failure is why there are no results; Remedy what to do about it.
	Failure, Remedy string
	// Attempts are the IDs of the calls that it was given.
	Attempts []string
}

// Judge compares what pods report with what policies say.
func Judge(draft Draft, tried []Tried) Verdict {
	var verdict Verdict
	results := map[string]wire.Result{}
	for _, pod := range tried {
		if pod.Failure != "" {
			verdict.Findings = append(verdict.Findings, Finding{
				Status: v1alpha1.StatusUnknown, Message: fmt.Sprintf("%d calls were not tried: pod %s: %s", len(pod.Attempts), pod.Pod, pod.Failure), Remedy: pod.Remedy,
			})
		}
		for _, result := range pod.Results {
			results[result.ID] = result
		}
	}
	for _, attempt := range draft.Attempts {
		if result, reported := results[attempt.Call.ID]; reported {
			verdict.judge(draft, attempt, result, results)
		}
	}
	for _, untried := range draft.Untried {
		verdict.Untried = append(verdict.Untried, Finding{Status: v1alpha1.StatusUnknown, Object: untried.Server, Message: untried.Reason})
	}
	return verdict
}

func (v *Verdict) judge(draft Draft, attempt Attempt, result wire.Result, results map[string]wire.Result) {
	server := attempt.Server
	finding := Finding{Object: &server}
	switch judgement := wire.Judge(attempt.Call.Expect, result.Outcome); {
	case judgement == wire.Different && attempt.Call.Expect == wire.Refused:
		finding.Status = v1alpha1.StatusFail
		finding.Message = fmt.Sprintf("%s was let in (%s); policies refuse it: %s", attempt, told(result), why(attempt.Expected))
		finding.Remedy = "treat the workload as unprotected until it is refused: kubectl ambient verify names what ztunnel and waypoints do not have"
		v.Findings = append(v.Findings, finding)
	case judgement == wire.Different:
		finding.Status = v1alpha1.StatusFail
		finding.Message = fmt.Sprintf("%s did not get through (%s); policies allow it", attempt, told(result))
		finding.Remedy = "look for what is in between: NetworkPolicies on port 15008, waypoints without endpoints, policies that istiod and ztunnel hold differently"
		v.Findings = append(v.Findings, finding)
	case judgement == wire.Untold:
		finding.Status = v1alpha1.StatusUnknown
		finding.Message = fmt.Sprintf("%s tells nothing (%s)", attempt, told(result))
		finding.Remedy = "see that the application answers there, and probe again"
		v.Findings = append(v.Findings, finding)
	case result.Outcome == wire.Reset && !answers(draft, attempt, results):
		finding.Status = v1alpha1.StatusUnknown
		finding.Message = fmt.Sprintf("%s was refused or reset, which cannot be told apart: no call that is let in shows that anybody answers there", attempt)
		finding.Remedy = "--probe-service-account NAME, with an account that policies admit"
		v.Untried = append(v.Untried, finding)
	default:
		v.Proven++
	}
}

// answers says whether any call to the same target was answered that was to be.
func answers(draft Draft, attempt Attempt, results map[string]wire.Result) bool {
	return slices.ContainsFunc(draft.Attempts, func(other Attempt) bool {
		result, reported := results[other.Call.ID]
		return reported && other.Call.Target == attempt.Call.Target && other.Call.Expect == wire.Allowed &&
			wire.Judge(wire.Allowed, result.Outcome) == wire.AsExpected
	})
}

// told is an outcome in words.
func told(result wire.Result) string {
	text := map[wire.Outcome]string{
		wire.Answered: "answered", wire.Open: "the connection stayed open", wire.RBAC: "refused by the filter of a proxy", wire.Forbidden: "refused, by the application or by somebody in front of it",
		wire.Reset: "refused or reset", wire.Unavailable: "a proxy on the way got no answer", wire.TLS: "answered in TLS", wire.Garbled: "answered, not in HTTP",
		wire.Timeout: "no answer in time", wire.Unlistened: "nobody listens", wire.Unnamed: "the name was not found", wire.Unreachable: "there is no way there",
	}[result.Outcome]
	if result.Status != 0 {
		text += fmt.Sprintf(" with status %d", result.Status)
	}
	if result.Detail != "" {
		text += ": " + printableLine(result.Detail)
	}
	return text
}

// printableLine is what a pod reports without what moves cursors.
func printableLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, text)
}

// why is the reason of a refusal, with its policies.
func why(decision access.Decision) string {
	var names []string
	for _, policy := range decision.Policies {
		names = append(names, policy.String())
	}
	if len(names) == 0 {
		return decision.Reason
	}
	return decision.Reason + ": " + strings.Join(names, ", ")
}
