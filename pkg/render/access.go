package render

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
)

// groupExamples is how many calls of a group are shown where not all are.
const groupExamples = 3

// mostGroups is how many groups of an effect are shown where not all are. Calls that
// are newly allowed are holes, those that are proven hardly news.
var mostGroups = map[v1alpha1.CallEffect]int{v1alpha1.CallNewlyAllowed: 12, v1alpha1.CallNewlyDenied: 4, v1alpha1.CallNewlyProven: 1}

// effects are the effects in the order in which they are shown.
var effects = []v1alpha1.CallEffect{v1alpha1.CallNewlyAllowed, v1alpha1.CallNewlyDenied, v1alpha1.CallNewlyProven}

var outcomes = map[v1alpha1.CallEffect]string{
	v1alpha1.CallNewlyAllowed: "newly allowed", v1alpha1.CallNewlyDenied: "newly denied",
	v1alpha1.CallNewlyProven: "newly allowed to callers whom policies admit",
}

// callGroup is calls to one server that are decided differently in the same way,
// from and until the same steps.
type callGroup struct {
	server  v1alpha1.ObjectReference
	effect  v1alpha1.CallEffect
	when    string
	verdict string
	changes []v1alpha1.CallChange
}

// Access writes which calls a plan's steps decide differently. All writes every one.
func Access(out io.Writer, report *v1alpha1.AccessReport, all bool) {
	if report == nil {
		return
	}
	compared := count(report.Compared, "call") + " compared"
	if len(report.Incomplete) > 0 {
		compared += ", and not all there are"
	}
	fmt.Fprintln(out, "\nCALLS")
	if len(report.Changes) == 0 {
		fmt.Fprintf(out, "%s: none of them is decided differently\n", compared)
		return
	}
	groups := groupCalls(report.Changes)
	fmt.Fprintln(out, wrapped(fmt.Sprintf("%s; decided differently from today: %s", compared, kindsOf(groups)), 0))
	var server v1alpha1.ObjectReference
	shown, left := map[v1alpha1.CallEffect]int{}, []callGroup{}
	for _, group := range groups {
		if shown[group.effect]++; shown[group.effect] > mostGroups[group.effect] && !all {
			left = append(left, group)
			continue
		}
		if group.server != server {
			server = group.server
			fmt.Fprintf(out, "%s\n", server)
		}
		writeCalls(out, group, all)
	}
	if len(left) > 0 {
		fmt.Fprintln(out, wrapped(fmt.Sprintf("and %s; -o wide shows them", kindsOf(left)), 0))
	}
}

// groupCalls groups changes by server, those with newly allowed calls first, and
// each server's by effect.
func groupCalls(changes []v1alpha1.CallChange) []callGroup {
	var servers []v1alpha1.ObjectReference
	for _, effect := range effects {
		for _, change := range changes {
			if change.Effect == effect && !slices.Contains(servers, change.Server) {
				servers = append(servers, change.Server)
			}
		}
	}
	var groups []callGroup
	for _, server := range servers {
		for _, effect := range effects {
			groups = append(groups, groupsOf(changes, server, effect)...)
		}
	}
	return groups
}

func groupsOf(changes []v1alpha1.CallChange, server v1alpha1.ObjectReference, effect v1alpha1.CallEffect) []callGroup {
	var groups []callGroup
	for _, change := range changes {
		if change.Server != server || change.Effect != effect {
			continue
		}
		group := callGroup{
			server: server, effect: effect, when: checks.DescribeSpan(change),
			verdict: "today " + checks.Verdict(change.Before) + ", then " + checks.Verdict(change.After),
		}
		i := slices.IndexFunc(groups, func(one callGroup) bool { return one.when == group.when && one.verdict == group.verdict })
		if i < 0 {
			i = len(groups)
			groups = append(groups, group)
		}
		groups[i].changes = append(groups[i].changes, change)
	}
	return groups
}

// kindsOf counts the kinds of calls of groups by what becomes of them.
func kindsOf(groups []callGroup) string {
	var texts []string
	for _, effect := range effects {
		kinds := 0
		for _, group := range groups {
			if group.effect == effect {
				kinds += alikeAll(group.changes)
			}
		}
		if kinds > 0 {
			texts = append(texts, fmt.Sprintf("%s %s", count(kinds, "kind"), outcomes[effect]))
		}
	}
	return strings.Join(texts, ", ")
}

func alikeAll(changes []v1alpha1.CallChange) int {
	kinds := 0
	for _, change := range changes {
		kinds += max(change.Alike, 1)
	}
	return kinds
}

func writeCalls(out io.Writer, group callGroup, all bool) {
	fmt.Fprintf(out, "  %s\n", wrapped(outcomes[group.effect]+", "+group.when+":", 2))
	fmt.Fprintf(out, "  %s\n", wrapped(group.verdict, 2))
	shown := group.changes
	if !all {
		shown = shown[:min(len(shown), groupExamples)]
	}
	for _, change := range shown {
		text := checks.DescribeCall(change) + " from " + checks.DescribeCaller(change.Caller)
		if change.Alike > 1 {
			text += fmt.Sprintf(" (%d kinds alike)", change.Alike)
		}
		fmt.Fprintf(out, "  - %s\n", wrapped(checks.Line(text), 4))
	}
	if left := group.changes[len(shown):]; len(left) > 0 {
		fmt.Fprintf(out, "  - and %s; -o wide shows them\n", count(alikeAll(left), "kind"))
	}
	for _, remedy := range remediesOf(shown) {
		fmt.Fprintf(out, "  -> %s\n", wrapped(checks.Line(remedy), 5))
	}
}

// remediesOf are what can be done about some calls of a group, each once: callers of one
// group may need different ones.
func remediesOf(changes []v1alpha1.CallChange) []string {
	var remedies []string
	for _, change := range changes {
		if change.Remedy != "" && !slices.Contains(remedies, change.Remedy) {
			remedies = append(remedies, change.Remedy)
		}
	}
	return remedies
}
