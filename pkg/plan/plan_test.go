package plan_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/internal/golden"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type labels = map[string]string

const (
	inject = "sidecar.istio.io/inject"
	mode   = "istio.io/dataplane-mode"
	rev    = "istio.io/rev"
)

// shop is a mesh with the namespace shop, labelled so, and what is in it.
func shop(namespace labels, parts ...any) []unstructured.Unstructured {
	return fixture.Objects(fixture.Installation(), fixture.Namespace("shop", namespace), parts)
}

func enroll(t *testing.T, objects []unstructured.Unstructured) v1alpha1.MigrationPlan {
	t.Helper()
	snapshot := fixture.Snapshot(objects)
	planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return planned
}

// apply carries a plan out, as far as it writes objects. Every field must be
// as the plan found it.
func apply(t *testing.T, objects []unstructured.Unstructured, steps []v1alpha1.Step) []unstructured.Unstructured {
	t.Helper()
	applied := make([]unstructured.Unstructured, len(objects))
	for i := range objects {
		applied[i] = *objects[i].DeepCopy()
	}
	for _, step := range steps {
		for _, change := range step.Changes {
			i := slices.IndexFunc(applied, func(object unstructured.Unstructured) bool { return names(change.Object, object) })
			if i < 0 {
				t.Fatalf("step %s: %s is not there", step.ID, change.Object)
			}
			for _, field := range change.Fields {
				if found := plan.Lookup(applied[i].Object, field.Path); !plan.Equal(found, field.Before) {
					t.Errorf("step %s: %s of %s is %v, not %v", step.ID, field.Path, change.Object, found, field.Before)
				}
			}
			after, err := plan.Apply(applied[i].Object, change.Fields)
			if err != nil {
				t.Fatal(err)
			}
			applied[i].Object = after
		}
	}
	return applied
}

func names(reference v1alpha1.ObjectReference, object unstructured.Unstructured) bool {
	return object.GetAPIVersion() == reference.APIVersion && object.GetKind() == reference.Kind && object.GetNamespace() == reference.Namespace && object.GetName() == reference.Name
}

// recordOf is the record of a run of a plan; states are those of its steps,
// the rest is pending.
func recordOf(id string, planned v1alpha1.MigrationPlan, states ...v1alpha1.StepState) v1alpha1.MigrationRecord {
	record := v1alpha1.MigrationRecord{ID: id, Operation: v1alpha1.OperationEnroll, Namespace: "shop", Started: fixture.Created, Plan: planned}
	for i, step := range planned.Steps {
		state := v1alpha1.StepPending
		if i < len(states) {
			state = states[i]
		}
		record.Steps = append(record.Steps, v1alpha1.StepRecord{ID: step.ID, State: state})
	}
	// Records are read back from the cluster: numbers and times change type.
	data, err := json.Marshal(record)
	if err != nil {
		panic(err)
	}
	var read v1alpha1.MigrationRecord
	if err := json.Unmarshal(data, &read); err != nil {
		panic(err)
	}
	return read
}

func done(n int) []v1alpha1.StepState {
	return slices.Repeat([]v1alpha1.StepState{v1alpha1.StepDone}, n)
}

func rollback(t *testing.T, objects []unstructured.Unstructured, records ...v1alpha1.MigrationRecord) v1alpha1.MigrationPlan {
	t.Helper()
	snapshot := fixture.Snapshot(objects)
	planned, err := plan.Rollback(snapshot, fixture.Find(snapshot, "shop"), records)
	if err != nil {
		t.Fatal(err)
	}
	return planned
}

// sketch is a plan in short: each step with the fields that it writes.
func sketch(planned v1alpha1.MigrationPlan) []string {
	var lines []string
	for _, step := range planned.Steps {
		lines = append(lines, step.ID+" ["+string(step.Gate.Kind)+"]")
		for _, change := range step.Changes {
			for _, field := range change.Fields {
				before, _ := json.Marshal(field.Before)
				after, _ := json.Marshal(field.After)
				lines = append(lines, "  "+change.Object.String()+" "+strings.ReplaceAll(field.Path, "~1", "/")+": "+string(before)+" -> "+string(after))
			}
		}
	}
	return lines
}

func ids(planned v1alpha1.MigrationPlan) []string {
	var ids []string
	for _, step := range planned.Steps {
		ids = append(ids, step.ID)
	}
	return ids
}

func goldenPlan(t *testing.T, name string, planned v1alpha1.MigrationPlan) {
	t.Helper()
	// The gates have tests of their own, and hashes change with the fields that
	// Kubernetes adds to its types.
	planned.Gates, planned.Summary = []v1alpha1.CheckResult{}, v1alpha1.Summary{}
	for i := range planned.Steps {
		for j := range planned.Steps[i].Changes {
			planned.Steps[i].Changes[j].BeforeHash, planned.Steps[i].Changes[j].AfterHash = "(hash)", "(hash)"
		}
	}
	data, err := json.MarshalIndent(planned, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden.Assert(t, name, string(data)+"\n")
}

func running(deployment *appsv1.Deployment, edits ...func(*corev1.Pod)) []any {
	return append([]any{deployment}, fixture.PodsOf(deployment, edits...)...)
}

func TestEnrollPlainNamespace(t *testing.T) {
	set := fixture.StatefulSet("shop", "db")
	planned := enroll(t, shop(labels{"istio-injection": "enabled"}, running(fixture.Deployment("shop", "cart"), fixture.Sidecar), set, fixture.PodsOfSet(set, fixture.NativeSidecar)))
	goldenPlan(t, "enroll-plain.json", planned)
}

func TestEnroll(t *testing.T) {
	gateway := fixture.Deployment("shop", "ingress", fixture.InjectedGateway)
	ownGateway := fixture.Deployment("shop", "ingress", fixture.InjectedGateway, fixture.TemplateLabel(inject, "true"))
	quiet := fixture.Deployment("shop", "quiet", fixture.TemplateLabel(inject, "false"))
	quietSet := fixture.StatefulSet("shop", "quiet", func(s *appsv1.StatefulSet) {
		s.Spec.Template.Labels[inject] = "false"
		s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
	})
	cart := func(edits ...func(*appsv1.Deployment)) *appsv1.Deployment {
		return fixture.Deployment("shop", "cart", edits...)
	}
	switched := cart(fixture.TemplateLabel(inject, "false"))
	const cartLabels, cartAnnotations = "  Deployment shop/cart /spec/template/metadata/labels/", "  Deployment shop/cart /spec/template/metadata/annotations/"
	enable, moveCart := []string{"enable-ambient [captured]", "  Namespace shop /metadata/labels/" + mode + `: null -> "ambient"`}, []string{"restart-workloads/deployment/cart [captured]", cartLabels + inject + `: null -> "false"`}
	stop := []string{"disable-injection [none]", "  Namespace shop /metadata/labels/istio-injection: \"enabled\" -> null"}
	verify := []string{"verify [verified]"}
	enabled := labels{"istio-injection": "enabled"}
	tests := []struct {
		name    string
		objects []unstructured.Unstructured
		want    []string
	}{
		{"plain", shop(enabled, running(cart(), fixture.Sidecar)), slices.Concat(enable, moveCart, stop, verify)},
		{"labelled with a revision", shop(labels{rev: "canary"}, fixture.Injector("canary", false), running(cart(), fixture.Sidecar)), slices.Concat(
			enable, moveCart, []string{"disable-injection [none]", `  Namespace shop /metadata/labels/istio.io/rev: "canary" -> null`}, verify)},
		{"injected by default", append(fixture.Without("MutatingWebhookConfiguration", shop(nil, running(cart(), fixture.Sidecar))), fixture.Object(fixture.Injector("", true))), slices.Concat(
			enable, moveCart, []string{"disable-injection [none]", `  Namespace shop /metadata/labels/istio-injection: null -> "disabled"`}, verify)},
		{"injected by label where that is the default", append(fixture.Without("MutatingWebhookConfiguration", shop(enabled, running(cart(), fixture.Sidecar))), fixture.Object(fixture.Injector("", true))), slices.Concat(
			enable, moveCart, []string{"disable-injection [none]", `  Namespace shop /metadata/labels/istio-injection: "enabled" -> "disabled"`}, verify)},
		{"injected by revision where injection is the default", append(fixture.Without("MutatingWebhookConfiguration", shop(labels{rev: "default"}, running(cart(), fixture.Sidecar))), fixture.Object(fixture.Injector("", true))), slices.Concat(
			enable, moveCart, []string{"disable-injection [none]", `  Namespace shop /metadata/labels/istio-injection: null -> "disabled"`, `  Namespace shop /metadata/labels/istio.io/rev: "default" -> null`}, verify)},
		{"both labels", shop(labels{"istio-injection": "enabled", rev: "canary"}, fixture.Injector("canary", false), running(cart(), fixture.Sidecar)), slices.Concat(
			enable, moveCart, stop, []string{`  Namespace shop /metadata/labels/istio.io/rev: "canary" -> null`}, verify)},
		{"both labels, and the revision is gone", shop(labels{"istio-injection": "enabled", rev: "gone"}, running(cart(), fixture.Sidecar)), slices.Concat(
			enable, moveCart, stop, []string{`  Namespace shop /metadata/labels/istio.io/rev: "gone" -> null`}, verify)},
		{"a workload that asks itself", shop(enabled, running(cart(fixture.TemplateLabel(inject, "true"), fixture.TemplateLabel(rev, "default"), fixture.TemplateAnnotation(inject, "true")), fixture.Sidecar)), slices.Concat(
			enable, []string{moveCart[0], cartLabels + inject + `: "true" -> "false"`, cartLabels + rev + `: "default" -> null`, cartAnnotations + inject + `: "true" -> null`}, stop, verify)},
		{"one that asks itself in a namespace that does not", shop(nil, running(cart(fixture.TemplateLabel(inject, "true")), fixture.Sidecar)), slices.Concat(enable, []string{moveCart[0], cartLabels + inject + `: "true" -> "false"`}, verify)},
		{"an opted-out workload and a bare pod", shop(enabled, running(quiet), fixture.Pod("shop", "bare", fixture.Annotated(inject, "false"))), slices.Concat(
			[]string{"pin/deployment/quiet [ready]", "  Deployment shop/quiet /spec/template/metadata/labels/" + mode + `: null -> "none"`, "pin/pods [none]", "  Pod shop/bare /metadata/labels/" + mode + `: null -> "none"`}, enable, stop, verify)},
		{"an opted-out workload whose pods do not follow its template", shop(enabled, quietSet, fixture.PodsOfSet(quietSet)), slices.Concat(
			[]string{"pin/statefulset/quiet [none]", "  StatefulSet shop/quiet /spec/template/metadata/labels/" + mode + `: null -> "none"`, "  Pod shop/quiet-0 /metadata/labels/" + mode + `: null -> "none"`}, enable, stop, verify)},
		{"a gateway that leans on the namespace", shop(enabled, running(gateway)), slices.Concat(
			[]string{"pin/deployment/ingress [ready]", "  Deployment shop/ingress /spec/template/metadata/labels/" + mode + `: null -> "none"`, "  Deployment shop/ingress /spec/template/metadata/labels/" + inject + `: null -> "true"`}, enable, stop, verify)},
		{"a gateway that leans on the namespace's revision", shop(labels{rev: "canary"}, fixture.Injector("canary", false), running(gateway)), slices.Concat(
			[]string{
				"pin/deployment/ingress [ready]", "  Deployment shop/ingress /spec/template/metadata/labels/" + mode + `: null -> "none"`,
				"  Deployment shop/ingress /spec/template/metadata/labels/" + rev + `: null -> "canary"`, "  Deployment shop/ingress /spec/template/metadata/labels/" + inject + `: null -> "true"`,
			}, enable, []string{"disable-injection [none]", `  Namespace shop /metadata/labels/istio.io/rev: "canary" -> null`}, verify)},
		{"a gateway that asks itself", shop(enabled, running(ownGateway)), slices.Concat(
			[]string{"pin/deployment/ingress [ready]", "  Deployment shop/ingress /spec/template/metadata/labels/" + mode + `: null -> "none"`}, enable, stop, verify)},
		{"a CronJob", shop(enabled, fixture.CronJob("shop", "report")), slices.Concat(
			enable, []string{"restart-workloads/cronjob/report [none]", "  CronJob shop/report /spec/jobTemplate/spec/template/metadata/labels/" + inject + `: null -> "false"`}, stop, verify)},
		{"a Job, whose template cannot be changed", shop(enabled, fixture.Job("shop", "import")), slices.Concat(enable, stop, verify)},
		{"already ambient", shop(labels{mode: "ambient"}, running(switched, fixture.Ambient)), nil},
		{"a template that is switched already, and a pod that is not", shop(labels{"istio-injection": "enabled", mode: "ambient"}, running(switched, fixture.Sidecar)), slices.Concat(moveCart[:1], stop, verify)},
		{"a template that is switched already, and its pods are, too", shop(labels{"istio-injection": "enabled", mode: "ambient"}, running(switched, fixture.Ambient)), slices.Concat(stop, verify)},
		{"no sidecars", shop(nil, running(cart())), slices.Concat(enable, verify)},
		{"sidecars that nothing asks for any more", shop(nil, running(cart(), fixture.Sidecar)), slices.Concat(enable, moveCart, verify)},
		{"another mode", shop(labels{mode: "none"}), slices.Concat([]string{enable[0], "  Namespace shop /metadata/labels/" + mode + `: "none" -> "ambient"`}, verify)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			planned := enroll(t, test.objects)
			if diff := cmp.Diff(test.want, sketch(planned)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			invariants(t, planned)
		})
	}
}

// invariants are what holds for every enrolment.
func invariants(t *testing.T, planned v1alpha1.MigrationPlan) {
	t.Helper()
	order := []v1alpha1.Phase{v1alpha1.PhasePin, v1alpha1.PhaseEnableAmbient, v1alpha1.PhaseRestartWorkloads, v1alpha1.PhaseDisableInjection, v1alpha1.PhaseVerify}
	last := 0
	seen, written := map[string]bool{}, map[v1alpha1.ObjectReference]string{}
	for i, step := range planned.Steps {
		place := slices.Index(order, step.Phase)
		if place < last {
			t.Errorf("step %s comes too late", step.ID)
		}
		last = max(last, place)
		if seen[step.ID] {
			t.Errorf("step %s is there twice", step.ID)
		}
		seen[step.ID] = true
		if step.Summary == "" || step.Gate.Kind == "" {
			t.Errorf("step %s lacks a summary or a gate", step.ID)
		}
		if step.Phase == v1alpha1.PhaseVerify && i != len(planned.Steps)-1 {
			t.Error("something comes after verify")
		}
		for _, change := range step.Changes {
			if change.Object.Kind != "Namespace" {
				if former := written[change.Object]; former != "" {
					t.Errorf("%s is written by %s and %s", change.Object, former, step.ID)
				}
				written[change.Object] = step.ID
			}
			if change.UID == "" || change.BeforeHash == "" || change.AfterHash == "" || change.BeforeHash == change.AfterHash {
				t.Errorf("step %s: the change of %s lacks its UID or hashes", step.ID, change.Object)
			}
			for _, field := range change.Fields {
				if plan.Equal(field.Before, field.After) {
					t.Errorf("step %s: %s does not change", step.ID, field.Path)
				}
			}
		}
	}
	if len(planned.Steps) > 0 && planned.Steps[len(planned.Steps)-1].Phase != v1alpha1.PhaseVerify {
		t.Error("the plan does not end by verifying")
	}
	leftBehind := slices.ContainsFunc(planned.Gates, func(gate v1alpha1.CheckResult) bool {
		return gate.Blocks() && checks.LeavesBehind(gate.ID)
	})
	if len(planned.Steps) == 0 && planned.Blocked != leftBehind {
		t.Errorf("a plan without steps is blocked: %t, pods are left behind: %t", planned.Blocked, leftBehind)
	}
}

func TestEnrollIsBlockedByItsGatesAndShowsItsSteps(t *testing.T) {
	paused := fixture.Deployment("shop", "cart", func(d *appsv1.Deployment) { d.Spec.Paused = true })
	planned := enroll(t, shop(labels{"istio-injection": "enabled"}, running(paused, fixture.Sidecar)))
	if !planned.Blocked || len(planned.Steps) == 0 || planned.Summary.Failed != 1 {
		t.Errorf("blocked is %t, with %d steps and %+v", planned.Blocked, len(planned.Steps), planned.Summary)
	}
	if planned.Kind != v1alpha1.KindMigrationPlan || planned.APIVersion != v1alpha1.GroupVersion || planned.Operation != v1alpha1.OperationEnroll || planned.Namespace != "shop" {
		t.Errorf("the plan is %+v", planned.TypeMeta)
	}
}

func TestEnrollIsBlockedByWhatCannotBeSeen(t *testing.T) {
	content := fixture.Content(shop(labels{"istio-injection": "enabled"}))
	content.Coverage["AuthorizationPolicy"] = mesh.Coverage{State: mesh.CoverageForbidden, Reason: "not you"}
	snapshot, err := mesh.NewSnapshot(content)
	if err != nil {
		t.Fatal(err)
	}
	planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), plan.Options{})
	if err != nil || !planned.Blocked {
		t.Errorf("blocked is %t, %v", planned.Blocked, err)
	}
}

// Scripts go through the steps without asking whether there are any.
func TestAPlanWithoutStepsHasAnEmptyListOfThem(t *testing.T) {
	switched := fixture.Deployment("shop", "cart", fixture.TemplateLabel(inject, "false"))
	planned := enroll(t, shop(labels{mode: "ambient"}, running(switched, fixture.Ambient)))
	if planned.Blocked {
		t.Error("it is blocked")
	}
	data, err := json.Marshal(planned)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), `"steps":[]`) {
		t.Errorf("it is written as %s", data[strings.Index(string(data), `"steps"`):])
	}
}

// The hash of the object as a step leaves it is what a plan that was saved is
// compared with, so it has to count what the steps before have changed.
func TestHashesAreThoseOfTheObjectAsTheStepFindsAndLeavesIt(t *testing.T) {
	objects := shop(labels{"istio-injection": "enabled"}, running(fixture.Deployment("shop", "cart"), fixture.Sidecar))
	planned := enroll(t, objects)
	for i, step := range planned.Steps {
		before, after := apply(t, objects, planned.Steps[:i]), apply(t, objects, planned.Steps[:i+1])
		for _, change := range step.Changes {
			at := slices.IndexFunc(after, func(object unstructured.Unstructured) bool { return names(change.Object, object) })
			if got := hash(t, before[at].Object); got != change.BeforeHash {
				t.Errorf("step %s: the hash of what the step finds is %s, not %s", step.ID, change.BeforeHash, got)
			}
			if got := hash(t, after[at].Object); got != change.AfterHash {
				t.Errorf("step %s: the hash of %s afterwards is %s, not %s", step.ID, change.Object, change.AfterHash, got)
			}
		}
	}
}

func TestEnrollDoesNotChangeTheSnapshot(t *testing.T) {
	objects := shop(labels{"istio-injection": "enabled"}, running(fixture.Deployment("shop", "cart", fixture.TemplateLabel(rev, "default")), fixture.Sidecar), fixture.Pod("shop", "bare", fixture.Labelled(inject, "false")))
	snapshot := fixture.Snapshot(objects)
	var plans []string
	for range 2 {
		planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), plan.Options{})
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(planned)
		if err != nil {
			t.Fatal(err)
		}
		plans = append(plans, string(data))
	}
	if diff := cmp.Diff(plans[0], plans[1]); diff != "" {
		t.Errorf("the second plan differs:\n%s", diff)
	}
}

// A pod can appear between the list of all pods' metadata and the list of the
// namespace's pods.
func TestEnrollBearsPodsThatAreKnownByMetadataAlone(t *testing.T) {
	defer func() {
		if problem := recover(); problem != nil {
			t.Errorf("it panics: %v", problem)
		}
	}()
	content := fixture.Content(shop(labels{"istio-injection": "enabled"}))
	content.Pods = []metav1.ObjectMeta{fixture.Pod("shop", "late", fixture.Labelled(inject, "false")).ObjectMeta}
	snapshot, err := mesh.NewSnapshot(content)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), plan.Options{}); err != nil {
		t.Logf("the error is %v", err)
	}
}

// A gateway's proxy is filled in by the injector. After the enrolment its next
// pod must still get one, whatever asked for it before, or the plan must be
// blocked.
func TestEnrollKeepsGatewaysInjected(t *testing.T) {
	byDefault := fixture.Injector("", true)
	for name, test := range map[string]struct {
		namespace labels
		injectors []any
		edits     []func(*appsv1.Deployment)
	}{
		"istio-injection":                        {labels{"istio-injection": "enabled"}, []any{fixture.Injector("", false)}, nil},
		"a revision":                             {labels{rev: "canary"}, []any{fixture.Injector("canary", false)}, nil},
		"both labels":                            {labels{"istio-injection": "enabled", rev: "canary"}, []any{fixture.Injector("", false), fixture.Injector("canary", false)}, nil},
		"both labels, one of them void":          {labels{"istio-injection": "enabled", rev: "gone"}, []any{fixture.Injector("", false)}, nil},
		"its own label":                          {labels{"istio-injection": "enabled"}, []any{fixture.Injector("", false)}, []func(*appsv1.Deployment){fixture.TemplateLabel(inject, "true")}},
		"by default":                             {nil, []any{byDefault}, nil},
		"a label where injection is the default": {labels{"istio-injection": "enabled"}, []any{byDefault}, nil},
		"its own revision":                       {labels{"istio-injection": "enabled"}, []any{fixture.Injector("", false)}, []func(*appsv1.Deployment){fixture.TemplateLabel(rev, "gone")}},
		"its own label by default":               {nil, []any{byDefault}, []func(*appsv1.Deployment){fixture.TemplateLabel(inject, "true")}},
	} {
		t.Run(name, func(t *testing.T) {
			gateway := fixture.Deployment("shop", "ingress", append([]func(*appsv1.Deployment){fixture.InjectedGateway}, test.edits...)...)
			objects := fixture.Objects(fixture.Without("MutatingWebhookConfiguration", shop(test.namespace, running(gateway))), test.injectors)
			injected := func(objects []unstructured.Unstructured) bool {
				snapshot := fixture.Snapshot(objects)
				workload, _ := snapshot.Workload(v1alpha1.ObjectReference{Kind: "Deployment", Namespace: "shop", Name: "ingress"})
				return workload.Injected(snapshot.Injectors(), fixture.Find(snapshot, "shop").Labels)
			}
			if !injected(objects) {
				t.Fatal("the gateway is not injected to begin with")
			}
			planned := enroll(t, objects)
			// At no step may a gateway's pod come up without a proxy.
			for i, step := range planned.Steps {
				if !injected(apply(t, objects, planned.Steps[:i+1])) && !planned.Blocked {
					t.Errorf("after step %s the gateway is not injected any more", step.ID)
				}
			}
		})
	}
}

// After the enrolment nothing of the namespace gets a sidecar, and whatever had
// one is captured.
func TestEnrollLeavesNothingWithoutAMesh(t *testing.T) {
	cart := fixture.Deployment("shop", "cart", fixture.TemplateLabel(inject, "true"), fixture.TemplateAnnotation(inject, "true"))
	for name, test := range map[string]struct {
		namespace labels
		injector  any
	}{
		"istio-injection": {labels{"istio-injection": "enabled"}, fixture.Injector("", false)}, "a revision": {labels{rev: "canary"}, fixture.Injector("canary", false)},
		"by default": {nil, fixture.Injector("", true)}, "its own": {nil, fixture.Injector("", false)},
	} {
		t.Run(name, func(t *testing.T) {
			objects := fixture.Objects(fixture.Without("MutatingWebhookConfiguration", shop(test.namespace, running(cart, fixture.Sidecar), fixture.CronJob("shop", "report"))), test.injector)
			snapshot := fixture.Snapshot(apply(t, objects, enroll(t, objects).Steps))
			namespace := fixture.Find(snapshot, "shop")
			if snapshot.Injectors().Inject(namespace.Labels, nil, nil, false) {
				t.Error("a new workload would be injected")
			}
			rule, err := snapshot.EnrolmentRule()
			if err != nil {
				t.Fatal(err)
			}
			for _, workload := range snapshot.Workloads("shop") {
				if workload.Injected(snapshot.Injectors(), namespace.Labels) {
					t.Errorf("%s is injected", workload.Reference)
				}
				if !rule.Captures(mesh.Pod{Namespace: "shop", Labels: workload.Template.Labels, Annotations: workload.Template.Annotations}, namespace.Labels) {
					t.Errorf("%s is not captured", workload.Reference)
				}
			}
		})
	}
}

func TestEnrollInWaves(t *testing.T) {
	goldenPlan(t, "enroll-waves.json", with(t, shop(labels{"istio-injection": "enabled"},
		running(fixture.Deployment("shop", "cart"), fixture.Sidecar), running(fixture.Deployment("shop", "web"), fixture.Sidecar), fixture.CronJob("shop", "report"),
	), plan.Options{MaxParallelRestarts: 2}))
}

func TestEnrollByNamespace(t *testing.T) {
	set := fixture.StatefulSet("shop", "db")
	goldenPlan(t, "enroll-namespace.json", with(t, shop(labels{"istio-injection": "enabled"},
		running(fixture.Deployment("shop", "cart"), fixture.Sidecar), set, fixture.PodsOfSet(set, fixture.NativeSidecar), fixture.CronJob("shop", "report"),
	), plan.Options{Strategy: plan.StrategyNamespace}))
}
