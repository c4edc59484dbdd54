package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
)

// Options are what an operator may choose about an enrolment.
type Options struct {
	Translation translate.Options
	// Include are other namespaces that may be written: their services get waypoints
	// where callers here would no longer follow their routes.
	Include []string
	// Accept are findings that do not block: CHECK-ID for all of a check,
	// CHECK-ID:NAMESPACE/NAME for those about one object, CHECK-ID:NAME about one
	// without a namespace.
	Accept []string
}

// Validate wants choices that there are, and checks that can be accepted.
func (o Options) Validate() error {
	gates := slices.Concat(checks.EnrollGates(), checks.PlanGates())
	for _, accepted := range o.Accept {
		id, _, _ := strings.Cut(accepted, ":")
		if !slices.ContainsFunc(gates, func(check checks.Check) bool { return check.ID == id }) {
			return fmt.Errorf("there is no check %q to accept: docs/checks.md lists them", id)
		}
	}
	return o.Translation.Validate()
}

// accepts says whether a finding was accepted.
func (o Options) accepts(result v1alpha1.CheckResult) bool {
	return slices.ContainsFunc(o.Accept, func(accepted string) bool {
		id, name, narrowed := strings.Cut(accepted, ":")
		if id != result.ID || !narrowed {
			return id == result.ID
		}
		if result.Object == nil {
			return false
		}
		full := result.Object.Name
		if result.Object.Namespace != "" {
			full = result.Object.Namespace + "/" + full
		}
		return full == name
	})
}
