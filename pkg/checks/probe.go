package checks

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// Probed is what probe pods have found.
type Probed struct {
	// Proven is how many calls became what policies say.
	Proven int
	// Findings are about calls that did not, or could not be made; Untried about those
	// that were left out, or prove nothing.
	Findings, Untried []Finding
}

// ProbeChecks are the checks of what probe pods have found.
func ProbeChecks() []Check { return []Check{probeCalls(), probeCoverage()} }

func probeCalls() Check {
	return Check{
		ID: "probe", Category: CategoryDataPlane, Severity: v1alpha1.SeverityError,
		About: "Only with --probe or --canary: whether calls of short-lived pods in ambient mode, with a sidecar and outside the mesh become what policies say of them, by the model of " +
			"how calls are decided.",
		Why: "Everything else that is looked at is what components say of themselves. A call that is let in although policies refuse it is a hole whatever they say; " +
			"one that does not get through is an outage. A pod that did not start, or did not report, proves nothing.",
		Passed: "every call that was tried became what policies say",
		Run: func(subject Subject) []Finding {
			switch {
			case subject.Probed == nil:
				return []Finding{{Status: v1alpha1.StatusSkip, Message: "no call was tried"}}
			case slices.ContainsFunc(subject.Probed.Findings, func(finding Finding) bool { return finding.Status != v1alpha1.StatusWarn }):
				return subject.Probed.Findings
			case subject.Probed.Proven > 0:
				return append(slices.Clone(subject.Probed.Findings), Finding{Status: v1alpha1.StatusPass, Message: count(subject.Probed.Proven, "call") + " of probe pods became what policies say"})
			default:
				return append(slices.Clone(subject.Probed.Findings), Finding{Status: v1alpha1.StatusUnknown, Message: "no call proves anything", Remedy: "probe-coverage says why"})
			}
		},
	}
}

func probeCoverage() Check {
	return Check{
		ID: "probe-coverage", Category: CategoryDataPlane, Severity: v1alpha1.SeverityWarning,
		About: "Only with --probe: what probe pods did not try, or what they tried without proving anything.",
		Why: "Probe pods send GET and HEAD only, with no token and no other identity than they were given. ztunnel refuses by closing the connection, as an " +
			"application may do, and as it does where nobody answers (ztunnel src/proxy/inbound_passthrough.rs): such a refusal proves something only where " +
			"another call to the same port is answered.",
		Passed: "there is nothing that was not tried",
		Run: func(subject Subject) []Finding {
			if subject.Probed == nil {
				return []Finding{{Status: v1alpha1.StatusSkip, Message: "no call was tried"}}
			}
			return subject.Probed.Untried
		},
	}
}
