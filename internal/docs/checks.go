// Package docs writes the parts of the documentation that say what the code
// says. Tests keep the files current: go test ./internal/docs -update.
package docs

import (
	"fmt"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/mitchellh/go-wordwrap"
)

// width is that of the text of the files.
const width = 80

// Checks is docs/checks.md.
func Checks() string {
	var text strings.Builder
	text.WriteString(`# Checks

Written by internal/docs from the checks themselves.

What could not be seen is unknown, and blocks like a failure. A check is skipped
where one that it depends on does not hold. Nothing that is hidden by --skip, by
--checks or by the annotation ` + mesh.SuppressAnnotation + `
lets a namespace be enrolled. What blocks yields only to its being accepted, which
the record of the run holds: --accept CHECK for all findings of a check, --accept
CHECK:NAMESPACE/NAME for those about one object. verify takes the same flag for
what will stay as it is, and shows it as accepted, never as passed.

To hide findings about one object from status and plan, its owner names the
checks, separated by commas:

    kubectl annotate deployment cart ` + mesh.SuppressAnnotation + `=CHECK,CHECK

On a namespace the annotation hides them for everything in it.

`)
	writeChecks(&text, "Gates of an enrolment", checks.EnrollGates())
	writeChecks(&text, "Gates of a plan", checks.PlanGates())
	writeChecks(&text, "Gates of a simplification", checks.SimplifyGates())
	writeChecks(&text, "Checks of verify", checks.VerifyChecks())
	writeChecks(&text, "Checks of verify after a rollback", checks.ReturnChecks())
	writeChecks(&text, "Checks of verify --probe", checks.ProbeChecks())
	writeChecks(&text, "Gates of a rollback", checks.RollbackGates(nil, nil, nil))
	writeChecks(&text, "Gates of a rollback of a single Service", checks.ServiceRollbackGates())
	writeFacts(&text)
	return text.String()
}

func writeChecks(text *strings.Builder, title string, list []checks.Check) {
	fmt.Fprintf(text, "## %s\n\n", title)
	category := ""
	for _, check := range list {
		if check.Category != category {
			category = check.Category
			fmt.Fprintf(text, "### %s\n\n", strings.ToUpper(category[:1])+category[1:])
		}
		if explainedBefore(text.String(), check.ID) {
			fmt.Fprintf(text, "[%s](#%s): see above.\n\n", check.ID, check.ID)
			continue
		}
		fmt.Fprintf(text, "%s%s\n\n", heading, check.ID)
		paragraph(text, check.About)
		paragraph(text, check.Why)
		line := "Holds when " + check.Passed + "."
		if check.Severity == v1alpha1.SeverityWarning {
			line += " It announces only, and never blocks by what it finds."
		}
		paragraph(text, line)
		reads := "Reads " + strings.Join(check.Needs, ", ") + "."
		if len(check.DependsOn) > 0 {
			reads += " Depends on " + strings.Join(check.DependsOn, ", ") + "."
		}
		if len(check.DependsThere) > 0 {
			reads += " Leaves out the pods, and the nodes, for which " + strings.Join(check.DependsThere, ", ") + " does not hold."
		}
		paragraph(text, reads)
	}
}

const heading = "#### "

func explainedBefore(text, id string) bool { return strings.Contains(text, "\n"+heading+id+"\n") }

func paragraph(text *strings.Builder, words string) {
	if words != "" {
		text.WriteString(wordwrap.WrapString(words, width) + "\n\n")
	}
}

func writeFacts(text *strings.Builder) {
	text.WriteString("## Which check finds what\n\nWhat is known of Istio and matters to a migration, and where it is looked at.\n")
	for _, section := range Facts() {
		fmt.Fprintf(text, "\n### %s\n\n| | fact | checks |\n|---|---|---|\n", section.Title)
		for _, fact := range section.Facts {
			var where []string
			for _, id := range fact.Checks {
				where = append(where, fmt.Sprintf("[%s](#%s)", id, id))
			}
			if fact.Also != "" {
				where = append(where, fact.Also)
			}
			fmt.Fprintf(text, "| %s | %s | %s |\n", fact.ID, fact.Text, strings.Join(where, ", "))
		}
	}
}
