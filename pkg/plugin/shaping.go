package plugin

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/spf13/cobra"
)

// shaping is which findings of the gates a command shows, and which make it end
// with status 3. It never reaches enroll.
type shaping struct {
	checks.Shaping
	failOn string
}

func (s *shaping) addFlags(command *cobra.Command, failOn, meaning string) {
	flags := command.Flags()
	flags.StringSliceVar(&s.Only, "checks", nil, "Show the findings of these checks or categories only (docs/checks.md)")
	flags.StringSliceVar(&s.Skip, "skip", nil, "Do not show the findings of these checks or categories; enroll goes by them all the same")
	flags.StringVar(&s.failOn, "fail-on", failOn, "Which findings end in exit status 3: error or warning"+meaning)
}

func (s *shaping) validate() error {
	if err := s.Validate(slices.Concat(checks.EnrollGates(), checks.PlanGates())); err != nil {
		return usageError("%w", err)
	}
	switch v1alpha1.Severity(s.failOn) {
	case "", v1alpha1.SeverityError, v1alpha1.SeverityWarning:
		return nil
	default:
		return usageError("unknown value %q of --fail-on: use error or warning", s.failOn)
	}
}

// onWarning says whether a warning ends in exit status 3.
func (s *shaping) onWarning() bool { return v1alpha1.Severity(s.failOn) == v1alpha1.SeverityWarning }
