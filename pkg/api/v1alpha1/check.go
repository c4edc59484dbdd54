package v1alpha1

// CheckStatus is the outcome of one check on one object.
type CheckStatus string

// The outcomes. Unknown means that what the check needed could not be seen;
// it blocks like Fail and is never reported as Pass.
const (
	StatusPass    CheckStatus = "pass"
	StatusWarn    CheckStatus = "warn"
	StatusFail    CheckStatus = "fail"
	StatusSkip    CheckStatus = "skip"
	StatusUnknown CheckStatus = "unknown"
)

// Severity is what a finding of a check means for a migration.
type Severity string

// Error findings block a migration; warnings are announced.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
)

// CheckResult is one finding of one check, or its passing.
type CheckResult struct {
	// ID is stable: scripts and suppressions refer to it.
	ID       string      `json:"id"`
	Category string      `json:"category"`
	Severity Severity    `json:"severity"`
	Status   CheckStatus `json:"status"`
	// Object is what the finding is about; nil where it is about the mesh.
	Object *ObjectReference `json:"object,omitempty"`
	// Field is the path within Object, as `kubectl explain` writes paths.
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
	// Remedy says what to do; empty where nothing has to be done.
	Remedy string `json:"remedy,omitempty"`
	// Unseen names what the check needed and could not be read. The status is
	// then unknown.
	Unseen []KindCoverage `json:"unseen,omitempty"`
	// Suppressed says by what a finding was taken out of the report: "--skip",
	// or the annotation of an object. Its status is then skip. A migration goes
	// by the finding all the same.
	Suppressed string `json:"suppressed,omitempty"`
	// Accepted is true where an operator has accepted the finding, which then does
	// not block.
	Accepted bool `json:"accepted,omitempty"`
	// Docs is where the check is explained: a file of the project's repository
	// and a heading in it.
	Docs string `json:"docs,omitempty"`
}

// Blocks says whether this result stops a migration: a failure, or something
// that could not be seen. What at worst would be a warning stops nothing, seen or
// not.
func (r CheckResult) Blocks() bool {
	return !r.Accepted && (r.Status == StatusFail || r.Status == StatusUnknown && r.Severity != SeverityWarning)
}

// Summary counts the checks of a report by their outcome. A check with
// several findings counts once, with its worst; one of which everything that blocks
// was accepted counts as accepted, and not as failed or unknown.
type Summary struct {
	Checked int `json:"checked"`
	Warned  int `json:"warned"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
	Unknown int `json:"unknown"`
	// Accepted checks would block, had their findings not been accepted.
	Accepted int `json:"accepted,omitempty"`
}

// VerifyReport is the outcome of verify: what the control plane and the data
// plane say of a namespace that should be in ambient mode.
type VerifyReport struct {
	TypeMeta  `json:",inline"`
	Namespace string `json:"namespace"`
	// After is rollback where the namespace was rolled back, so that the checks are
	// whether its sidecars are back; empty where they are about ambient mode.
	After Operation `json:"after,omitempty"`
	// Verified is true when every check was made and none failed.
	Verified bool          `json:"verified"`
	Summary  Summary       `json:"summary"`
	Results  []CheckResult `json:"results"`
	// Resources are what the namespace's proxies take, and took before it was enrolled.
	Resources *ResourceReport `json:"resources,omitempty"`
}

// VerifyReportList is the outcome of verify for all namespaces that were enrolled.
type VerifyReportList struct {
	TypeMeta `json:",inline"`
	// Verified is true when every one of them is.
	Verified bool           `json:"verified"`
	Items    []VerifyReport `json:"items"`
}

// Summarize counts results by check. The worst outcome of a check counts: fail,
// then unknown, what was accepted of these, warn, pass, skip.
func Summarize(results []CheckResult) Summary {
	worst := map[string]CheckResult{}
	for _, result := range results {
		current, seen := worst[result.ID]
		if !seen || gravity(result) > gravity(current) {
			worst[result.ID] = result
		}
	}
	summary := Summary{Checked: len(worst)}
	for _, result := range worst {
		if result.Accepted {
			summary.Accepted++
			continue
		}
		switch result.Status {
		case StatusWarn:
			summary.Warned++
		case StatusFail:
			summary.Failed++
		case StatusSkip:
			summary.Skipped++
		case StatusUnknown:
			summary.Unknown++
		case StatusPass:
		}
	}
	return summary
}

func gravity(result CheckResult) int {
	switch {
	case result.Accepted:
		return 3
	case result.Status == StatusFail:
		return 5
	case result.Status == StatusUnknown:
		return 4
	case result.Status == StatusWarn:
		return 2
	case result.Status == StatusPass:
		return 1
	default:
		return 0
	}
}
