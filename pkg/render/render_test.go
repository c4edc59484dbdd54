package render_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/golden"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/render"
	"sigs.k8s.io/yaml"
)

type object = map[string]any

var cart = v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "cart"}

// fits says whether every line keeps to the width of a terminal. Lines of one
// word, such as a name, cannot be broken.
func fits(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if len([]rune(line)) > render.Width && len(strings.Fields(line)) > 1 {
			t.Errorf("a line is %d columns wide: %q", len([]rune(line)), line)
		}
		if strings.TrimRight(line, " ") != line {
			t.Errorf("a line ends in spaces: %q", line)
		}
	}
}

func TestStatus(t *testing.T) {
	due := 4
	status := v1alpha1.MeshStatus{Namespaces: []v1alpha1.NamespaceStatus{
		{Name: "outside", DataPlane: v1alpha1.DataPlaneNone},
		{Name: "payments", RestartsDue: new(int), DataPlane: v1alpha1.DataPlaneSidecar, Injection: "rev=canary", Pods: v1alpha1.PodCounts{Sidecar: 12, Gateway: 1}, Blockers: 2, Warnings: 1},
		{Name: "shop", DataPlane: v1alpha1.DataPlaneMixed, Injection: "enabled", DataplaneMode: "ambient", Pods: v1alpha1.PodCounts{Sidecar: 1, Ambient: 2, None: 3}, RestartsDue: &due, Warnings: 3, Phase: v1alpha1.PhaseEnableAmbient, Record: &v1alpha1.RecordSummary{ID: "a", Operation: v1alpha1.OperationEnroll, State: v1alpha1.RunIncomplete}},
		{Name: "ways", RestartsDue: new(int), DataPlane: v1alpha1.DataPlaneAmbient, DataplaneMode: "ambient", Record: &v1alpha1.RecordSummary{State: v1alpha1.RunSucceeded}, Waypoints: []v1alpha1.WaypointStatus{
			{Name: "good", Exists: true, Programmed: true, ReadyEndpoints: 1, Used: true}, {Name: "spare", Exists: true, Programmed: true, ReadyEndpoints: 1},
			{Name: "empty", Exists: true, Programmed: true, Used: true}, {Name: "new", Exists: true, Used: true}, {Name: "gone", Used: true},
		}},
	}}
	var out bytes.Buffer
	if err := render.Status(&out, status, render.StatusStyle{}); err != nil {
		t.Fatal(err)
	}
	golden.Assert(t, "status.txt", out.String())
	for name, style := range map[string]render.StatusStyle{"status-wide.txt": {Wide: true}, "status-no-headers.txt": {NoHeaders: true}} {
		var styled bytes.Buffer
		if err := render.Status(&styled, v1alpha1.MeshStatus{Namespaces: status.Namespaces[1:2]}, style); err != nil {
			t.Fatal(err)
		}
		golden.Assert(t, name, styled.String())
	}
	for line := range strings.Lines(out.String()) {
		if trimmed := strings.TrimRight(line, " \n"); trimmed != strings.TrimRight(line, "\n") {
			t.Errorf("a line ends in spaces: %q", line)
		}
	}
}

// A label may hold anything where it comes from a file.
func TestStatusKeepsARowOnItsLine(t *testing.T) {
	var out bytes.Buffer
	if err := render.Status(&out, v1alpha1.MeshStatus{Namespaces: []v1alpha1.NamespaceStatus{{Name: "shop", Injection: "rev=a\x1b[2J\nb"}}}, render.StatusStyle{NoHeaders: true}); err != nil {
		t.Fatal(err)
	}
	if strings.Count(out.String(), "\n") != 1 || strings.Contains(out.String(), "\x1b") || !strings.Contains(out.String(), "rev=a [2J b") {
		t.Errorf("it writes %q", out.String())
	}
}

// Where no run needs to be mentioned there is no column for it, and an ordinary
// mesh fits a terminal.
func TestStatusOfAnOrdinaryMesh(t *testing.T) {
	var out bytes.Buffer
	if err := render.Status(&out, v1alpha1.MeshStatus{Namespaces: []v1alpha1.NamespaceStatus{
		{Name: "payments", RestartsDue: new(int), DataPlane: v1alpha1.DataPlaneSidecar, Injection: "enabled", Pods: v1alpha1.PodCounts{Sidecar: 12}},
		{Name: "shop", RestartsDue: new(int), DataPlane: v1alpha1.DataPlaneAmbient, DataplaneMode: "ambient", Pods: v1alpha1.PodCounts{Ambient: 3}, Phase: v1alpha1.PhaseDisableInjection, Blockers: 1, Warnings: 2, Record: &v1alpha1.RecordSummary{State: v1alpha1.RunRolledBack}},
	}}, render.StatusStyle{}); err != nil {
		t.Fatal(err)
	}
	golden.Assert(t, "status-ordinary.txt", out.String())
	fits(t, out.String())
}

func TestStatusOfNothing(t *testing.T) {
	var out bytes.Buffer
	if err := render.Status(&out, v1alpha1.MeshStatus{}, render.StatusStyle{Nothing: "Nothing."}); err != nil || out.String() != "Nothing.\n" {
		t.Errorf("it writes %q, %v", out.String(), err)
	}
}

func results() []v1alpha1.CheckResult {
	return []v1alpha1.CheckResult{
		{ID: "istio-installed", Category: "prerequisites", Status: v1alpha1.StatusPass, Message: "istiod is installed"},
		{ID: "live-capture", Status: v1alpha1.StatusWarn, Object: &v1alpha1.ObjectReference{Kind: "Namespace", Name: "shop"}, Message: "3 running pods without sidecar will be captured at once, open connections included: a, b, c", Remedy: "label pods istio.io/dataplane-mode=none that must stay out"},
		{ID: "dry-run-policies", Status: v1alpha1.StatusSkip, Message: "skipped"},
		{ID: "layer7-policies", Status: v1alpha1.StatusUnknown, Message: "AuthorizationPolicy could not be read: authorizationpolicies.security.istio.io is forbidden: User \"jane\" cannot list resource", Remedy: "grant list on it, or run as somebody who may"},
		{ID: "restartable", Status: v1alpha1.StatusFail, Object: &cart, Field: "spec.paused", Message: "it is paused, so a changed template would not roll out", Remedy: "kubectl rollout resume it"},
		{ID: "cni-nodes", Category: "ambient components", Status: v1alpha1.StatusPass, Message: "istio-cni is ready on every node, and this sentence is so long that it has to be wrapped somewhere"},
	}
}

func samplePlan() v1alpha1.MigrationPlan {
	workloads := []v1alpha1.ObjectReference{cart}
	plan := v1alpha1.MigrationPlan{
		Overview: v1alpha1.Overview{
			Changes: map[string]int{"Deployment": 1, "Namespace": 1, "StatefulSet": 2}, RestartedWorkloads: 3, RestartedPods: 7,
			Blockers: []string{"layer7-policies", "restartable"}, Risks: []string{"live-capture"}, Differences: []string{"dashboards", "outbound-routing"},
		},
		Operation: v1alpha1.OperationEnroll, Namespace: "shop", Gates: results(),
		Steps: []v1alpha1.Step{
			{ID: "enable-ambient", Phase: v1alpha1.PhaseEnableAmbient, Summary: "label namespace shop for ambient mode", Notes: []string{"pods with sidecars are not touched by it", "3 running without sidecar are captured at once, which ends the connections that they have open"}, Changes: make([]v1alpha1.Change, 1), Gate: v1alpha1.Gate{Kind: v1alpha1.GateCaptured}},
			{ID: "restart-workloads/deployment/cart", Phase: v1alpha1.PhaseRestartWorkloads, Summary: "restart deployment/cart without sidecars", Changes: make([]v1alpha1.Change, 1), Gate: v1alpha1.Gate{Kind: v1alpha1.GateCaptured, Workloads: workloads}},
			{ID: "restart-workloads/deployment/done", Phase: v1alpha1.PhaseRestartWorkloads, Summary: "wait for deployment/done", Gate: v1alpha1.Gate{Kind: v1alpha1.GateCaptured, Workloads: workloads}},
			{ID: "verify", Phase: v1alpha1.PhaseVerify, Summary: "verify that the data plane agrees", Gate: v1alpha1.Gate{Kind: v1alpha1.GateVerified}},
		},
	}
	plan.Summary = v1alpha1.Summarize(plan.Gates)
	return plan
}

func diffs(step v1alpha1.Step) ([]render.ObjectDiff, error) {
	labels := func(more object) object {
		all := object{"app": "cart"}
		for key, value := range more {
			all[key] = value
		}
		return object{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": object{"name": "cart", "namespace": "shop"}, "spec": object{
			"replicas": int64(3), "selector": object{"matchLabels": object{"app": "cart"}}, "template": object{"metadata": object{"labels": all}, "spec": object{"containers": []any{object{"name": "main"}}}},
		}}
	}
	switch step.ID {
	case "enable-ambient":
		return []render.ObjectDiff{{Name: "Namespace shop", Before: object{"kind": "Namespace", "metadata": object{"name": "shop"}}, After: object{"kind": "Namespace", "metadata": object{"name": "shop", "labels": object{"istio.io/dataplane-mode": "ambient"}}}}}, nil
	case "restart-workloads/deployment/cart":
		return []render.ObjectDiff{{Name: "Deployment shop/cart", Before: labels(nil), After: labels(object{"sidecar.istio.io/inject": "false"})}}, nil
	}
	return nil, nil
}

func TestPlanWithDiffs(t *testing.T) {
	var out bytes.Buffer
	plan := samplePlan()
	plan.Blocked = true
	render.PlanHeading(&out, plan)
	render.Gates(&out, plan, true)
	if err := render.Steps(&out, plan, diffs); err != nil {
		t.Fatal(err)
	}
	golden.Assert(t, "plan-diffs.txt", out.String())
	fits(t, out.String())
}

func TestPlanInBrief(t *testing.T) {
	var out bytes.Buffer
	plan := samplePlan()
	plan.Operation = v1alpha1.OperationRollback
	plan.Steps = plan.Steps[:1]
	render.PlanHeading(&out, plan)
	render.Gates(&out, plan, false)
	if err := render.Steps(&out, plan, nil); err != nil {
		t.Fatal(err)
	}
	render.Kept(&out, []v1alpha1.KeptField{
		{Object: cart, Path: "/spec/template/metadata/labels/sidecar.istio.io~1inject", Expected: "false", Found: "true"},
		{Object: v1alpha1.ObjectReference{Kind: "Namespace", Name: "shop"}, Path: "/metadata/labels/istio-injection", Found: "disabled", Wanted: "enabled"},
	})
	golden.Assert(t, "plan-brief.txt", out.String())
	fits(t, out.String())
	if len(plan.Gates) != len(results()) {
		t.Error("rendering took gates out of the plan")
	}
}

// creating creates and deletes a Gateway.
func creating() (v1alpha1.MigrationPlan, func(v1alpha1.Step) ([]render.ObjectDiff, error)) {
	gateway := object{
		"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": object{"name": "waypoint", "namespace": "shop"},
		"spec": object{"gatewayClassName": "istio-waypoint"}, "status": object{"addresses": []any{}},
	}
	reference := v1alpha1.ObjectReference{APIVersion: "gateway.networking.k8s.io/v1", Kind: "Gateway", Namespace: "shop", Name: "waypoint"}
	plan := v1alpha1.MigrationPlan{
		Operation: v1alpha1.OperationEnroll, Namespace: "shop",
		Overview: v1alpha1.Overview{Creates: map[string]int{"Gateway": 1}, Changes: map[string]int{"Service": 2}, Deletes: map[string]int{"Gateway": 1}},
		Steps: []v1alpha1.Step{
			{ID: "deploy", Phase: v1alpha1.PhaseDeployWaypoints, Summary: "deploy waypoint shop/waypoint", Changes: []v1alpha1.Change{{Object: reference, Create: gateway}}},
			{ID: "delete", Phase: v1alpha1.PhaseDeactivateWaypoints, Summary: "delete it again", Changes: []v1alpha1.Change{{Object: reference, Delete: true}}},
		},
	}
	return plan, func(step v1alpha1.Step) ([]render.ObjectDiff, error) {
		if step.ID == "delete" {
			return []render.ObjectDiff{{Name: reference.String(), Before: gateway}}, nil
		}
		return []render.ObjectDiff{{Name: reference.String(), After: gateway}}, nil
	}
}

func TestPlanThatCreatesAndDeletes(t *testing.T) {
	plan, diffs := creating()
	for name, with := range map[string]func(v1alpha1.Step) ([]render.ObjectDiff, error){"plan-creates.txt": diffs, "plan-creates-brief.txt": nil} {
		var out bytes.Buffer
		render.PlanHeading(&out, plan)
		if err := render.Steps(&out, plan, with); err != nil {
			t.Fatal(err)
		}
		render.Kept(&out, []v1alpha1.KeptField{{Object: plan.Steps[0].Changes[0].Object, Reason: "it is used by Service other/web, which the rollback does not change"}})
		golden.Assert(t, name, out.String())
		fits(t, out.String())
	}
}

// calls are decided differently at two workloads, in three ways.
func calls() *v1alpha1.AccessReport {
	service := &v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "shop", Name: "cart"}
	policy := []v1alpha1.ObjectReference{{Kind: "AuthorizationPolicy", Namespace: "shop", Name: "get-only"}}
	web := v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "web"}
	change := func(effect v1alpha1.CallEffect, server v1alpha1.ObjectReference, from, until string) v1alpha1.CallChange {
		allowed, denied := v1alpha1.CallVerdict{Outcome: "allowed"}, v1alpha1.CallVerdict{Outcome: "denied", Point: "ztunnel", Reason: "no ALLOW policy matches", Policies: policy}
		changed := v1alpha1.CallChange{
			Effect: effect, From: from, Until: until, Server: server, Port: 80, Before: allowed, After: denied, Alike: 2,
			Caller:  v1alpha1.CallCaller{Name: "Deployment shop/front", Mode: "sidecar"},
			Request: v1alpha1.CallRequest{Method: "GET", Host: "cart.shop", Path: "/"},
		}
		if effect == v1alpha1.CallNewlyAllowed {
			changed.Before, changed.After = denied, allowed
		}
		return changed
	}
	report := &v1alpha1.AccessReport{Compared: 412}
	for port := range 5 {
		denied := change(v1alpha1.CallNewlyDenied, cart, "restart-workloads/deployment/cart", "")
		denied.Port += uint32(port)
		denied.Service = service
		denied.Remedy = "move the callers with sidecars first: they pass by waypoints"
		report.Changes = append(report.Changes, denied)
	}
	for _, until := range []string{"a", "b", "c", "d"} {
		report.Changes = append(report.Changes, change(v1alpha1.CallNewlyDenied, cart, "enable-ambient", until))
	}
	allowed := change(v1alpha1.CallNewlyAllowed, web, "restart-workloads/deployment/web", "restart-workloads/deployment/web")
	allowed.Request = v1alpha1.CallRequest{Headers: map[string]string{"x": "a\nb"}}
	allowed.Caller = v1alpha1.CallCaller{Name: "somebody outside the mesh", Address: "192.0.2.1"}
	allowed.Alike = 1
	proven := change(v1alpha1.CallNewlyAllowed, cart, "restart-workloads/deployment/web", "")
	proven.Effect = v1alpha1.CallNewlyProven
	proven.Before.Point, proven.Before.Reason = "sidecar", "plaintext refused by STRICT"
	report.Changes = append(report.Changes, allowed, proven)
	return report
}

// What is newly allowed comes first; of the rest enough is shown to see what it is
// about.
func TestAccess(t *testing.T) {
	for name, all := range map[string]bool{"access.txt": false, "access-wide.txt": true} {
		var out bytes.Buffer
		render.Access(&out, calls(), all)
		golden.Assert(t, name, out.String())
		fits(t, out.String())
	}
}

func TestAccessWithoutChanges(t *testing.T) {
	for want, report := range map[string]*v1alpha1.AccessReport{
		"": nil,
		"\nCALLS\n1 call compared: none of them is decided differently\n":                         {Compared: 1},
		"\nCALLS\n8 calls compared, and not all there are: none of them is decided differently\n": {Compared: 8, Incomplete: []string{"too many"}},
	} {
		var out bytes.Buffer
		render.Access(&out, report, false)
		if out.String() != want {
			t.Errorf("it writes %q, not %q", out.String(), want)
		}
	}
}

// Kinds are counted as one writes them.
func TestPlanHeadingCountsKinds(t *testing.T) {
	var out bytes.Buffer
	render.PlanHeading(&out, v1alpha1.MigrationPlan{Operation: v1alpha1.OperationEnroll, Namespace: "shop", Overview: v1alpha1.Overview{
		Creates:   map[string]int{"AuthorizationPolicy": 2, "Gateway": 2, "ServiceEntry": 1},
		Accepted:  []string{"calls-newly-allowed"},
		Waypoints: []v1alpha1.WaypointUse{{Namespace: "shop", Name: "waypoint", Created: true, Services: 3}, {Namespace: "infra", Name: "edge", Services: 1}},
	}})
	golden.Assert(t, "plan-heading.txt", out.String())
	fits(t, out.String())
}

func TestAWithheldPlan(t *testing.T) {
	var out bytes.Buffer
	plan := samplePlan()
	plan.Blocked, plan.Withheld, plan.Steps = true, true, nil
	render.PlanHeading(&out, plan)
	if err := render.Steps(&out, plan, diffs); err != nil {
		t.Fatal(err)
	}
	golden.Assert(t, "plan-withheld.txt", out.String())
	fits(t, out.String())
}

func TestDrift(t *testing.T) {
	var out bytes.Buffer
	render.Drift(&out, v1alpha1.MeshStatus{Namespaces: []v1alpha1.NamespaceStatus{{Name: "pay"}}})
	if out.Len() > 0 {
		t.Errorf("where there is none it says %q", out.String())
	}
	guard := v1alpha1.ObjectReference{Kind: "AuthorizationPolicy", Namespace: "shop", Name: "p-guard-1"}
	render.Drift(&out, v1alpha1.MeshStatus{Namespaces: []v1alpha1.NamespaceStatus{{Name: "pay"}, {Name: "shop", Drift: []v1alpha1.CheckResult{
		{Object: &guard, Message: "an enrolment made it from AuthorizationPolicy shop/p, which is gone: it goes on to hold", Remedy: "kubectl delete it"},
	}}}})
	golden.Assert(t, "drift.txt", out.String())
	fits(t, out.String())
}

func TestNamespaceDetails(t *testing.T) {
	namespace := v1alpha1.NamespaceStatus{
		Workloads: []v1alpha1.WorkloadStatus{
			{Object: cart, DataPlane: v1alpha1.DataPlaneSidecar, Pods: v1alpha1.PodCounts{Sidecar: 2}, Enrolment: "move", RestartsDue: new(int), Rollout: "1 of 2 pods are ready"},
			{Object: v1alpha1.ObjectReference{Kind: "CronJob", Name: "nightly"}, DataPlane: v1alpha1.DataPlaneNone, RestartsDue: new(int), Enrolment: "stay"},
		},
		Services: []v1alpha1.ServiceStatus{
			{Name: "cart", Type: "ClusterIP", DataPlane: v1alpha1.DataPlaneSidecar, Pods: v1alpha1.PodCounts{Sidecar: 2}, WaypointFrom: "Namespace", Waypoint: &v1alpha1.WaypointStatus{Namespace: "shop", Name: "way", Exists: true, Programmed: true, ReadyEndpoints: 1}},
			{Name: "peers", Type: "Headless", DataPlane: v1alpha1.DataPlaneNone},
		},
	}
	var out bytes.Buffer
	if err := render.NamespaceDetails(&out, namespace, render.StatusStyle{}); err != nil {
		t.Fatal(err)
	}
	golden.Assert(t, "details.txt", out.String())
	fits(t, out.String())
	var nothing bytes.Buffer
	if err := render.NamespaceDetails(&nothing, v1alpha1.NamespaceStatus{}, render.StatusStyle{}); err != nil || nothing.Len() > 0 {
		t.Errorf("it writes %q, %v", nothing.String(), err)
	}
}

func TestUnrecognized(t *testing.T) {
	var out bytes.Buffer
	render.Unrecognized(&out, map[string]int{"Secret": 2, "Kustomization.kustomize.config.k8s.io": 1})
	if want := "not looked at: 3 objects of kinds that say nothing of the mesh: 1\nKustomization.kustomize.config.k8s.io, 2 Secret\n"; out.String() != want {
		t.Errorf("it writes %q", out.String())
	}
}

func TestKeptNothing(t *testing.T) {
	var out bytes.Buffer
	render.Kept(&out, nil)
	if out.Len() > 0 {
		t.Errorf("it writes %q", out.String())
	}
}

func TestStepsReturnsTheErrorOfADiff(t *testing.T) {
	broken := errors.New("gone")
	err := render.Steps(&bytes.Buffer{}, samplePlan(), func(v1alpha1.Step) ([]render.ObjectDiff, error) { return nil, broken })
	if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "step enable-ambient: ") {
		t.Errorf("the error is %v", err)
	}
}

func TestDiffOfWhatDoesNotChangeIsEmpty(t *testing.T) {
	var out bytes.Buffer
	same := object{"a": "b"}
	if err := render.Diff(&out, []render.ObjectDiff{{Name: "Pod shop/a", Before: same, After: same}}); err != nil || out.Len() > 0 {
		t.Errorf("it writes %q, %v", out.String(), err)
	}
}

// Several namespaces at once are a table, and the findings of each; and test cases
// for a build server.
func TestVerifications(t *testing.T) {
	reports := []v1alpha1.VerifyReport{{Namespace: "shop", Results: results()}, {Namespace: "pay", Verified: true, Results: results()[:1]}}
	for i := range reports {
		reports[i].Summary = v1alpha1.Summarize(reports[i].Results)
	}
	for name, test := range map[string]struct {
		reports []v1alpha1.VerifyReport
		write   func(io.Writer, []v1alpha1.VerifyReport) error
	}{
		"verifications.txt": {reports, render.Verifications}, "verifications-none.txt": {nil, render.Verifications}, "verify.xml": {reports, render.JUnit},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := test.write(&out, test.reports); err != nil {
				t.Fatal(err)
			}
			golden.Assert(t, name, out.String())
		})
	}
}

func TestVerification(t *testing.T) {
	for name, report := range map[string]v1alpha1.VerifyReport{
		"verified.txt": {Namespace: "shop", Verified: true, Results: results()[:1]}, "not-verified.txt": {Namespace: "shop", Results: results()},
	} {
		t.Run(name, func(t *testing.T) {
			report.Summary = v1alpha1.Summarize(report.Results)
			var out bytes.Buffer
			render.Verification(&out, report)
			golden.Assert(t, name, out.String())
			fits(t, out.String())
		})
	}
}

// A namespace that was rolled back is not said to be on sidecars where some pods have none.
func TestVerificationAfterRollback(t *testing.T) {
	lacking := v1alpha1.CheckResult{ID: checks.IDSidecarsBack, Status: v1alpha1.StatusWarn, Message: "1 pod without the sidecar"}
	for _, test := range []struct {
		name     string
		verified bool
		results  []v1alpha1.CheckResult
		want     string
	}{
		{"all are back", true, results()[:1], "was rolled back, and is on sidecars.\n"},
		{"some are not", true, []v1alpha1.CheckResult{lacking}, "was rolled back, and is not wholly on sidecars.\n"},
		{"it is not verified", false, []v1alpha1.CheckResult{lacking}, "was rolled back, and is not verified to be on sidecars.\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			render.Verification(&out, v1alpha1.VerifyReport{Namespace: "shop", After: v1alpha1.OperationRollback, Verified: test.verified, Results: test.results})
			if !strings.HasSuffix(out.String(), "Namespace shop "+test.want) {
				t.Errorf("it says %q", out.String())
			}
			fits(t, out.String())
		})
	}
}

// A build server fails where verify does: not for what was accepted, nor for what at
// worst would be a warning.
func TestJUnitFailsWhereVerifyDoes(t *testing.T) {
	all := []v1alpha1.CheckResult{
		{ID: "a", Status: v1alpha1.StatusFail, Message: "known", Accepted: true}, {ID: "b", Status: v1alpha1.StatusUnknown, Message: "unseen", Accepted: true},
		{ID: "c", Status: v1alpha1.StatusUnknown, Severity: v1alpha1.SeverityWarning, Message: "who knows"}, {ID: "d", Status: v1alpha1.StatusWarn, Message: "look"},
	}
	var out bytes.Buffer
	if err := render.JUnit(&out, []v1alpha1.VerifyReport{{Namespace: "shop", Results: all}}); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`failures="0" errors="0"`, "[accepted: known", "[accepted: unseen", "[unknown: who knows", "[warning: look"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("it lacks %q:\n%s", part, out.String())
		}
	}
}

// What was accepted is shown as what it is, behind what blocks, and counted apart.
func TestAcceptedResults(t *testing.T) {
	results := results()
	for i := range results {
		results[i].Accepted = results[i].Blocks()
	}
	results = append(results, v1alpha1.CheckResult{ID: "sidecar-hbone", Status: v1alpha1.StatusFail, Object: &cart, Message: "its sidecar is too old", Remedy: "restart it"})
	var out bytes.Buffer
	render.Results(&out, results)
	render.Summary(&out, v1alpha1.Summarize(results))
	golden.Assert(t, "results-accepted.txt", out.String())
	fits(t, out.String())
}

// What blocks stands first, whatever order the checks were made in.
func TestResultsWriteWhatBlocksFirst(t *testing.T) {
	var out bytes.Buffer
	render.Results(&out, results())
	var order []string
	for line := range strings.Lines(out.String()) {
		if !strings.HasPrefix(line, " ") {
			order = append(order, strings.Fields(line)[0])
		}
	}
	if diff := cmp.Diff([]string{"fail", "unknown", "warn", "skip", "pass", "pass"}, order); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What is said of several objects is said once.
func TestResultsWriteWhatIsAlikeOnce(t *testing.T) {
	about := func(id, name, message string) v1alpha1.CheckResult {
		object := v1alpha1.ObjectReference{Kind: "Deployment", Namespace: "shop", Name: name}
		return v1alpha1.CheckResult{ID: id, Status: v1alpha1.StatusWarn, Object: &object, Field: "spec", Message: message, Remedy: "mend it"}
	}
	var out bytes.Buffer
	render.Results(&out, []v1alpha1.CheckResult{
		about("readiness-probes", "cart", "no probe"), about("readiness-probes", "search", "no probe"), about("readiness-probes", "db", "another probe"),
		about("readiness-probes", "a-workload-with-a-long-name", "no probe"), about("udp-ports", "cart", "no probe"), {ID: "udp-ports", Status: v1alpha1.StatusWarn, Message: "no probe"},
	})
	golden.Assert(t, "results-alike.txt", out.String())
	fits(t, out.String())
}

// One permission that is missing is said once, whatever it keeps from being
// made.
func TestResultsWriteWhatCouldNotBeReadOnce(t *testing.T) {
	forbidden := v1alpha1.KindCoverage{Key: "AuthorizationPolicy", State: "forbidden", Reason: "authorizationpolicies.security.istio.io is forbidden"}
	unasked := func(key string) v1alpha1.KindCoverage {
		return v1alpha1.KindCoverage{Key: key, State: "unasked", Reason: "the files hold none"}
	}
	var out bytes.Buffer
	render.Results(&out, []v1alpha1.CheckResult{
		{ID: "layer7-policies", Status: v1alpha1.StatusUnknown, Message: "m", Remedy: "grant list on it", Unseen: []v1alpha1.KindCoverage{forbidden, unasked("Service")}},
		{ID: "dry-run-policies", Status: v1alpha1.StatusUnknown, Message: "m", Remedy: "grant list on it", Unseen: []v1alpha1.KindCoverage{forbidden}},
		{ID: "restartable", Status: v1alpha1.StatusUnknown, Message: "m", Remedy: "take a dump", Unseen: []v1alpha1.KindCoverage{unasked("CronJob"), unasked("Service")}},
		{ID: "istio-version", Status: v1alpha1.StatusUnknown, Message: "no version", Remedy: "label it"},
	})
	golden.Assert(t, "results-unseen.txt", out.String())
	fits(t, out.String())
}

func TestDocument(t *testing.T) {
	plan := samplePlan()
	plan.TypeMeta = v1alpha1.Document(v1alpha1.KindMigrationPlan)
	for _, format := range []render.Format{render.FormatJSON, render.FormatYAML} {
		var out bytes.Buffer
		if err := render.Document(&out, format, plan); err != nil {
			t.Fatal(err)
		}
		var read v1alpha1.MigrationPlan
		if err := yaml.UnmarshalStrict(out.Bytes(), &read); err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		if diff := cmp.Diff(plan, read); diff != "" {
			t.Errorf("%s does not say everything (-want +got):\n%s", format, diff)
		}
		if json.Valid(out.Bytes()) != (format == render.FormatJSON) || !bytes.HasSuffix(out.Bytes(), []byte("\n")) {
			t.Errorf("%s is written as\n%s", format, out.String())
		}
	}
	if err := render.Document(&bytes.Buffer{}, render.FormatJSON, func() {}); err == nil {
		t.Error("what cannot be encoded was")
	}
}

func TestParseFormat(t *testing.T) {
	for _, text := range []string{"", "json", "yaml"} {
		if format, err := render.ParseFormat(text); err != nil || string(format) != text {
			t.Errorf("%q is %q, %v", text, format, err)
		}
	}
	for _, text := range []string{"wide", "JSON", "name", " "} {
		if _, err := render.ParseFormat(text); err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), "json or yaml") {
			t.Errorf("%q: the error is %v", text, err)
		}
	}
}

// tell makes a progress go through a run.
func tell(progress *render.Progress) {
	step := v1alpha1.Step{Summary: "restart deployment/cart without sidecars"}
	progress.StepStarted(1, 2, step)
	progress.Waiting(step, []string{"Pod shop/cart-1 still has a sidecar", "Pod shop/cart-2 still has a sidecar"})
	progress.Waiting(step, []string{"Pod shop/cart-1 still has a sidecar", "Pod shop/cart-2 still has a sidecar"})
	progress.Waiting(step, []string{"Pod shop/cart-2 is not ready: container main: CrashLoopBackOff: back-off 5m0s restarting failed container"})
	progress.Waiting(step, []string{"short"})
	progress.Note("evicted Pod shop/cart-2")
	progress.Waiting(step, []string{"short"})
	progress.StepDone(1, 2, step, 12345*time.Millisecond)
	progress.Clear()
}

func TestProgressInLines(t *testing.T) {
	var out bytes.Buffer
	tell(render.NewProgress(&out, false))
	golden.Assert(t, "progress-lines.txt", out.String())
	if strings.Contains(out.String(), "\r") {
		t.Error("lines are drawn in place where there is no terminal")
	}
}

// screen is what a terminal shows after a text with carriage returns.
func screen(t *testing.T, text string) []string {
	t.Helper()
	lines, column := [][]rune{nil}, 0
	for _, r := range text {
		last := len(lines) - 1
		switch r {
		case '\r':
			column = 0
		case '\n':
			lines, column = append(lines, nil), 0
		default:
			for len(lines[last]) <= column {
				lines[last] = append(lines[last], ' ')
			}
			lines[last][column] = r
			if column++; column >= render.Width {
				t.Errorf("a line that is drawn in place reaches the edge: %q", string(lines[last]))
			}
		}
	}
	var shown []string
	for _, line := range lines {
		shown = append(shown, strings.TrimRight(string(line), " "))
	}
	return shown
}

func TestProgressOnATerminal(t *testing.T) {
	var out bytes.Buffer
	tell(render.NewProgress(&out, true))
	want := []string{"[1/2] restart deployment/cart without sidecars", "      evicted Pod shop/cart-2", "[1/2] done in 12.3s", ""}
	if diff := cmp.Diff(want, screen(t, out.String())); diff != "" {
		t.Errorf("the terminal shows (-want +got):\n%s", diff)
	}
	golden.Assert(t, "progress-terminal.txt", strings.ReplaceAll(out.String(), "\r", "<CR>"))
}

func TestProgressOnATerminalDrawsOverTheLineBefore(t *testing.T) {
	var out bytes.Buffer
	progress := render.NewProgress(&out, true)
	for _, missing := range []string{"a long line that says what is waited for", "short", "a bit longer"} {
		progress.Waiting(v1alpha1.Step{}, []string{missing})
		if diff := cmp.Diff([]string{"      waiting: " + missing}, screen(t, out.String())); diff != "" {
			t.Errorf("the terminal shows (-want +got):\n%s", diff)
		}
	}
}

// The kubelet's messages come in any language and of any length.
func TestProgressCutsALineBetweenCharacters(t *testing.T) {
	var out bytes.Buffer
	render.NewProgress(&out, true).Waiting(v1alpha1.Step{}, []string{strings.Repeat("ü", 100)})
	if !utf8.ValidString(out.String()) {
		t.Errorf("a character is cut in two: %q", out.String())
	}
}

// The message with which a container ended can have several lines.
func TestProgressOnATerminalKeepsToOneLine(t *testing.T) {
	var out bytes.Buffer
	progress := render.NewProgress(&out, true)
	progress.Waiting(v1alpha1.Step{}, []string{"container main: Error: panic:\nruntime error"})
	progress.Clear()
	if shown := screen(t, out.String()); strings.Join(shown, "") != "" {
		t.Errorf("what is left on the terminal is %q", shown)
	}
}
