package render

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jstemmer/go-junit-report/v2/junit"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
)

// Verification writes the outcome of verify.
func Verification(out io.Writer, report v1alpha1.VerifyReport) {
	Results(out, report.Results)
	fmt.Fprintln(out)
	if report.Resources != nil {
		Resources(out, *report.Resources)
		fmt.Fprintln(out)
	}
	Summary(out, report.Summary)
	switch {
	case report.After == v1alpha1.OperationRollback && report.Verified && lacksSidecars(report):
		fmt.Fprintf(out, "Namespace %s was rolled back, and is not wholly on sidecars.\n", report.Namespace)
		return
	case report.After == v1alpha1.OperationRollback && report.Verified:
		fmt.Fprintf(out, "Namespace %s was rolled back, and is on sidecars.\n", report.Namespace)
		return
	case report.After == v1alpha1.OperationRollback:
		fmt.Fprintf(out, "Namespace %s was rolled back, and is not verified to be on sidecars.\n", report.Namespace)
		return
	case report.Verified:
		fmt.Fprintf(out, "Namespace %s is in ambient mode.\n", report.Namespace)
		return
	}
	fmt.Fprintf(out, "Namespace %s is not verified to be in ambient mode.\n", report.Namespace)
}

// lacksSidecars says whether some pods that are to have sidecars have none, or will not,
// although nothing of that blocks.
func lacksSidecars(report v1alpha1.VerifyReport) bool {
	return slices.ContainsFunc(report.Results, func(result v1alpha1.CheckResult) bool {
		return result.ID == checks.IDSidecarsBack && result.Status == v1alpha1.StatusWarn
	})
}

// Proof is where the calls of a canary were tried: the node of its server, and those of
// its callers.
type Proof struct {
	Server  string
	Callers []string
}

// Canary writes what calls in a namespace made for them have proven, and what they have
// not.
func Canary(out io.Writer, report v1alpha1.VerifyReport, proof Proof) {
	Results(out, report.Results)
	fmt.Fprintln(out)
	Summary(out, report.Summary)
	if !report.Verified {
		fmt.Fprintln(out, "It is not proven that ztunnel enforces policies.")
		return
	}
	fmt.Fprintf(out, "ztunnel enforces STRICT, ALLOW and DENY at layer 4 on node %s, for calls from node(s) %s.\n", proof.Server, strings.Join(proof.Callers, ", "))
	fmt.Fprintln(out, "Not proven: that it does so on other nodes, anything of waypoints, and anything of your own policies.")
}

// Verifications writes the outcome of verify for several namespaces: a table of all,
// then the findings of those that are not verified.
func Verifications(out io.Writer, reports []v1alpha1.VerifyReport) error {
	if len(reports) == 0 {
		fmt.Fprintln(out, "No namespace is labelled ambient, and none was enrolled.")
		return nil
	}
	var rows [][]string
	for _, report := range reports {
		verified := "no"
		if report.Verified {
			verified = "yes"
		}
		summary := report.Summary
		row := []string{report.Namespace, verified}
		for _, count := range []int{summary.Checked, summary.Warned, summary.Failed, summary.Skipped, summary.Unknown} {
			row = append(row, strconv.Itoa(count))
		}
		rows = append(rows, row)
	}
	if err := table(trimmed{out}, []string{"NAMESPACE", "VERIFIED", "CHECKED", "WARNED", "FAILED", "SKIPPED", "UNKNOWN"}, rows); err != nil {
		return err
	}
	for _, report := range reports {
		var findings []v1alpha1.CheckResult
		for _, result := range report.Results {
			if result.Status != v1alpha1.StatusPass && result.Status != v1alpha1.StatusSkip {
				findings = append(findings, result)
			}
		}
		if len(findings) > 0 {
			fmt.Fprintf(out, "\nNamespace %s\n", report.Namespace)
			Results(out, findings)
		}
	}
	return nil
}

// JUnit writes the outcome of verify as test cases, one for each result: what blocks
// is a failure, or an error where it could not be seen. What does not block is said in
// the output of its case: a build server fails where verify does.
func JUnit(out io.Writer, reports []v1alpha1.VerifyReport) error {
	suites := junit.Testsuites{Name: "kubectl ambient verify"}
	for _, report := range reports {
		suite := junit.Testsuite{Name: report.Namespace}
		for _, result := range report.Results {
			suite.AddTestcase(testcase(report.Namespace, result))
		}
		suites.AddSuite(suite)
	}
	return suites.WriteXML(out)
}

func testcase(namespace string, result v1alpha1.CheckResult) junit.Testcase {
	made := junit.Testcase{Name: result.ID, Classname: "ambient." + namespace}
	if result.Object != nil {
		made.Name += " " + result.Object.String()
	}
	var details []string
	for _, line := range []struct{ before, text string }{{"at ", result.Field}, {"-> ", result.Remedy}, {"", result.Docs}} {
		if line.text != "" {
			details = append(details, line.before+line.text)
		}
	}
	said := &junit.Result{Message: result.Message, Type: string(result.Status), Data: strings.Join(details, "\n")}
	switch {
	case result.Status == v1alpha1.StatusPass:
	case result.Status == v1alpha1.StatusSkip:
		made.Skipped = said
	case result.Blocks() && result.Status == v1alpha1.StatusFail:
		made.Failure = said
	case result.Blocks():
		made.Error = said
	default:
		made.SystemOut = &junit.Output{Data: aside(result) + ": " + result.Message + "\n" + said.Data}
	}
	return made
}

// aside says what a finding is that does not block.
func aside(result v1alpha1.CheckResult) string {
	switch {
	case result.Accepted:
		return "accepted"
	case result.Status == v1alpha1.StatusUnknown:
		return "unknown"
	default:
		return "warning"
	}
}
