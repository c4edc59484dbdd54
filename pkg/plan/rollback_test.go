package plan_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// mixed is a namespace with something of everything that an enrolment writes.
func mixed() []unstructured.Unstructured {
	cart := fixture.Deployment("shop", "cart", fixture.TemplateLabel(rev, "default"), fixture.TemplateAnnotation(inject, "true"))
	quiet := fixture.Deployment("shop", "quiet", fixture.TemplateLabel(inject, "false"))
	set := fixture.StatefulSet("shop", "db")
	return shop(labels{"istio-injection": "enabled", "team": "a"},
		running(cart, fixture.Sidecar), running(quiet), set, fixture.PodsOfSet(set, fixture.NativeSidecar),
		running(fixture.Deployment("shop", "ingress", fixture.InjectedGateway)), fixture.CronJob("shop", "report"),
		fixture.Pod("shop", "bare", fixture.Labelled(inject, "false")),
	)
}

func edit(t *testing.T, objects []unstructured.Unstructured, kind, name, path string, value any) {
	t.Helper()
	for i, object := range objects {
		if object.GetKind() == kind && object.GetName() == name && (object.GetNamespace() == "shop" || kind == "Namespace") {
			after, err := plan.Apply(object.Object, []v1alpha1.FieldChange{{Path: path, After: value}})
			if err != nil {
				t.Fatal(err)
			}
			objects[i].Object = after
			return
		}
	}
	t.Fatalf("%s %s is not there", kind, name)
}

func same(t *testing.T, want, got []unstructured.Unstructured) {
	t.Helper()
	for i := range want {
		if diff := cmp.Diff(want[i].Object, got[i].Object); diff != "" {
			t.Errorf("%s %s is not what it was (-was +is):\n%s", want[i].GetKind(), want[i].GetName(), diff)
		}
	}
}

func TestRollbackOfAWholeEnrolment(t *testing.T) {
	before := mixed()
	enrolment := enroll(t, before)
	after := apply(t, before, enrolment.Steps)
	planned := rollback(t, after, recordOf("one", enrolment, done(len(enrolment.Steps))...))
	if planned.Blocked || len(planned.Kept) > 0 {
		t.Errorf("blocked is %t, kept %v", planned.Blocked, planned.Kept)
	}
	if diff := cmp.Diff([]string{"one"}, planned.Undoes); diff != "" {
		t.Errorf("it undoes (-want +got):\n%s", diff)
	}
	same(t, before, apply(t, after, planned.Steps))
	goldenPlan(t, "rollback-mixed.json", planned)
}

func TestRollbackOrder(t *testing.T) {
	before := mixed()
	enrolment := enroll(t, before)
	planned := rollback(t, apply(t, before, enrolment.Steps), recordOf("one", enrolment, done(len(enrolment.Steps))...))
	want := []string{
		"restore-injection", "restore-workloads/statefulset/db", "restore-workloads/deployment/cart", "restore-workloads/cronjob/report",
		"replace-pods", "disable-ambient", "unpin/pod/bare", "unpin/deployment/quiet", "unpin/deployment/ingress",
	}
	if diff := cmp.Diff(want, ids(planned)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, step := range planned.Steps {
		injected := step.Gate.Kind == v1alpha1.GateInjected
		if injected != (step.Gate.Since != nil) || injected && !step.Gate.Since.Equal(fixture.Created) {
			t.Errorf("step %s waits for pods since %v", step.ID, step.Gate.Since)
		}
	}
}

// A run can be killed at any instant: whatever the last step had got round to
// writing goes back.
func TestRollbackOfARunThatStoppedAnywhere(t *testing.T) {
	before := mixed()
	enrolment := enroll(t, before)
	for n := range len(enrolment.Steps) {
		for _, wrote := range []bool{false, true} {
			for _, state := range []v1alpha1.StepState{v1alpha1.StepRunning, v1alpha1.StepFailed} {
				t.Run(fmt.Sprintf("%s %s, wrote %t", state, enrolment.Steps[n].ID, wrote), func(t *testing.T) {
					written := enrolment.Steps[:n]
					if wrote {
						written = enrolment.Steps[:n+1]
					}
					after := apply(t, before, written)
					planned := rollback(t, after, recordOf("one", enrolment, append(done(n), state)...))
					if planned.Blocked || len(planned.Kept) > 0 {
						t.Errorf("blocked is %t, kept %v", planned.Blocked, planned.Kept)
					}
					same(t, before, apply(t, after, planned.Steps))
				})
			}
		}
	}
}

func TestRollbackLeavesAloneWhatWasNeverStarted(t *testing.T) {
	before := mixed()
	enrolment := enroll(t, before)
	// Somebody else happened to do what the pending steps would have done.
	after := apply(t, before, enrolment.Steps)
	planned := rollback(t, after, recordOf("one", enrolment))
	for _, step := range planned.Steps {
		if len(step.Changes) > 0 {
			t.Errorf("step %s changes what no run has written", step.ID)
		}
	}
}

// A run that had nothing left to do but to ask a gate takes nothing from what its
// rollback puts back.
func TestRollbackOfARunWithoutSteps(t *testing.T) {
	before := mixed()
	first := enroll(t, before)
	after := apply(t, before, first.Steps)
	second := first
	second.Steps = nil
	one, two := recordOf("one", first, done(len(first.Steps))...), recordOf("two", second)
	two.Started = two.Started.Add(time.Hour)
	planned := rollback(t, after, two, one)
	if diff := cmp.Diff([]string{"two", "one"}, planned.Undoes); diff != "" {
		t.Errorf("it undoes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(ids(rollback(t, after, one)), ids(planned)); diff != "" {
		t.Errorf("its steps are not those of the other alone (-want +got):\n%s", diff)
	}
	same(t, before, apply(t, after, planned.Steps))
}

func TestRollbackOfTwoRuns(t *testing.T) {
	before := mixed()
	first := enroll(t, before)
	// The first run stopped when it had moved one workload.
	stopped := slices.Index(ids(first), "restart-workloads/deployment/cart") + 1
	between := apply(t, before, first.Steps[:stopped])
	second := enroll(t, between)
	after := apply(t, between, second.Steps)
	one, two := recordOf("one", first, done(stopped)...), recordOf("two", second, done(len(second.Steps))...)
	two.Started = two.Started.Add(time.Hour)
	planned := rollback(t, after, two, one)
	if planned.Blocked || len(planned.Kept) > 0 {
		t.Errorf("blocked is %t, kept %v", planned.Blocked, planned.Kept)
	}
	if diff := cmp.Diff([]string{"two", "one"}, planned.Undoes); diff != "" {
		t.Errorf("it undoes (-want +got):\n%s", diff)
	}
	same(t, before, apply(t, after, planned.Steps))
	for _, step := range planned.Steps {
		if step.Gate.Since != nil && !step.Gate.Since.Equal(one.Started) {
			t.Errorf("step %s counts pods since %s, not since the first run", step.ID, step.Gate.Since)
		}
	}
}

// A field that both runs have written, and somebody else in between, goes back to what
// that one made of it: a label, an annotation, and one that was removed.
func TestRollbackOfTwoRunsThatWroteTheSameField(t *testing.T) {
	const label, annotation = "/spec/template/metadata/labels/sidecar.istio.io~1inject", "/spec/template/metadata/annotations/sidecar.istio.io~1inject"
	for _, test := range []struct {
		name, kind, of, path string
		value                any
		writes               string
		between              bool
	}{
		{"a label", "Deployment", "cart", label, "true", `"true" -> "false"`, true},
		{"a label as it was", "Deployment", "cart", label, nil, `null -> "false"`, false},
		{"an annotation", "Deployment", "cart", annotation, "yes", `"yes" -> null`, true},
		{"an annotation as it was", "Deployment", "cart", annotation, "true", `"true" -> null`, false},
		{"the namespace's mode", "Namespace", "shop", "/metadata/labels/istio.io~1dataplane-mode", "none", `"none" -> "ambient"`, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := mixed()
			first := enroll(t, before)
			between := apply(t, before, first.Steps)
			if test.path == annotation {
				// Without its label the workload is moved once more.
				edit(t, between, test.kind, test.of, label, nil)
			}
			edit(t, between, test.kind, test.of, test.path, test.value)
			second := enroll(t, between)
			after := apply(t, between, second.Steps)
			one, two := recordOf("one", first, done(len(first.Steps))...), recordOf("two", second, done(len(second.Steps))...)
			two.Started = two.Started.Add(time.Hour)
			if !slices.ContainsFunc(sketch(second), func(line string) bool {
				return strings.HasSuffix(line, strings.ReplaceAll(test.path, "~1", "/")+": "+test.writes) || strings.HasSuffix(line, test.path+": "+test.writes)
			}) {
				t.Fatalf("the second run does not write the field:\n%s", strings.Join(sketch(second), "\n"))
			}
			planned := rollback(t, after, two, one)
			if len(planned.Kept) > 0 {
				t.Errorf("kept %v", planned.Kept)
			}
			var notes []string
			for _, step := range planned.Steps {
				for _, note := range step.Notes {
					if strings.Contains(note, "between the runs") {
						notes = append(notes, note)
					}
				}
			}
			if said := len(notes) == 1 && strings.Contains(notes[0], test.path); said != test.between || !said && len(notes) > 0 {
				t.Errorf("it says %q", notes)
			}
			want := apply(t, before, nil)
			edit(t, want, test.kind, test.of, test.path, test.value)
			same(t, want, apply(t, after, planned.Steps))
		})
	}
}

func TestRollbackKeepsWhatOthersHaveChanged(t *testing.T) {
	const cartLabel, modeLabel = "/spec/template/metadata/labels/sidecar.istio.io~1inject", "/metadata/labels/istio.io~1dataplane-mode"
	before := mixed()
	enrolment := enroll(t, before)
	record := recordOf("one", enrolment, done(len(enrolment.Steps))...)
	tests := []struct {
		name       string
		kind, of   string
		path       string
		value      any
		want       []v1alpha1.KeptField
		stillThere bool
	}{
		{"a label set to something else", "Deployment", "cart", cartLabel, "true", []v1alpha1.KeptField{{
			Object: v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "cart"}, Path: cartLabel, Expected: "false", Found: "true", Wanted: nil,
		}}, true},
		{"the namespace's mode set to something else", "Namespace", "shop", modeLabel, "none", []v1alpha1.KeptField{{
			Object: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: "shop"}, Path: modeLabel, Expected: "ambient", Found: "none", Wanted: nil,
		}}, true},
		{"the namespace's injection set to something else", "Namespace", "shop", "/metadata/labels/istio-injection", "disabled", []v1alpha1.KeptField{{
			Object: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: "shop"}, Path: "/metadata/labels/istio-injection", Expected: nil, Found: "disabled", Wanted: "enabled",
		}}, true},
		{"a label put back already", "Deployment", "cart", cartLabel, nil, nil, false},
		{"a field that no run has written", "Deployment", "cart", "/spec/template/metadata/labels/version", "2", nil, true},
		{"the number of replicas", "Deployment", "cart", "/spec/replicas", int64(5), nil, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			after := apply(t, before, enrolment.Steps)
			edit(t, after, test.kind, test.of, test.path, test.value)
			planned := rollback(t, after, record)
			if diff := cmp.Diff(test.want, planned.Kept); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
			restored := apply(t, after, planned.Steps)
			want := slices.Clone(before)
			for i := range want {
				want[i] = *want[i].DeepCopy()
			}
			if test.stillThere {
				edit(t, want, test.kind, test.of, test.path, test.value)
			}
			same(t, want, restored)
		})
	}
}

// A plan's own change that somebody else undid and did again differently must
// not block the rest: only what is kept is kept.
func TestRollbackOfOneFieldDoesNotHangOnAnother(t *testing.T) {
	before := mixed()
	enrolment := enroll(t, before)
	after := apply(t, before, enrolment.Steps)
	edit(t, after, "Deployment", "cart", "/spec/template/metadata/labels/istio.io~1rev", "canary")
	planned := rollback(t, after, recordOf("one", enrolment, done(len(enrolment.Steps))...))
	want := []string{
		"  Deployment shop/cart /spec/template/metadata/labels/" + inject + `: "false" -> null`,
		"  Deployment shop/cart /spec/template/metadata/annotations/" + inject + `: null -> "true"`,
	}
	got := slices.DeleteFunc(sketch(planned), func(line string) bool { return !strings.HasPrefix(line, "  Deployment shop/cart") })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(planned.Kept) != 1 || planned.Kept[0].Wanted != "default" {
		t.Errorf("kept is %v", planned.Kept)
	}
}

func TestRollbackPassesOverWhatIsGone(t *testing.T) {
	before := mixed()
	enrolment := enroll(t, before)
	gone := []string{"cart", "quiet", "bare"}
	after := slices.DeleteFunc(apply(t, before, enrolment.Steps), func(object unstructured.Unstructured) bool { return slices.Contains(gone, object.GetName()) })
	planned := rollback(t, after, recordOf("one", enrolment, done(len(enrolment.Steps))...))
	if planned.Blocked || len(planned.Kept) > 0 {
		t.Errorf("blocked is %t, kept %v", planned.Blocked, planned.Kept)
	}
	left := slices.DeleteFunc(slices.Clone(before), func(object unstructured.Unstructured) bool { return slices.Contains(gone, object.GetName()) })
	same(t, left, apply(t, after, planned.Steps))
}

func TestRollbackIsBlockedWhereTheInjectorIsGone(t *testing.T) {
	before := shop(labels{rev: "canary"}, fixture.Injector("canary", false), running(fixture.Deployment("shop", "cart"), fixture.Sidecar))
	enrolment := enroll(t, before)
	after := slices.DeleteFunc(apply(t, before, enrolment.Steps), func(object unstructured.Unstructured) bool {
		return object.GetName() == "istio-sidecar-injector-canary"
	})
	planned := rollback(t, after, recordOf("one", enrolment, done(len(enrolment.Steps))...))
	if !planned.Blocked || len(planned.Steps) == 0 {
		t.Errorf("blocked is %t, with %d steps", planned.Blocked, len(planned.Steps))
	}
	i := slices.IndexFunc(planned.Gates, v1alpha1.CheckResult.Blocks)
	if i < 0 || planned.Gates[i].ID != "injector-present" || planned.Gates[i].Object.Name != "cart" || !strings.Contains(planned.Gates[i].Message, "rev=canary") {
		t.Errorf("the gates are %+v", planned.Gates)
	}
}

// Taking its own labels off a gateway restarts it. Where the injector is gone it
// would come back without a proxy, as a workload would without its sidecar.
func TestRollbackOfAGatewayIsBlockedWhereTheInjectorIsGone(t *testing.T) {
	before := shop(labels{rev: "canary"}, fixture.Injector("canary", false), running(fixture.Deployment("shop", "ingress", fixture.InjectedGateway)))
	enrolment := enroll(t, before)
	after := slices.DeleteFunc(apply(t, before, enrolment.Steps), func(object unstructured.Unstructured) bool {
		return object.GetName() == "istio-sidecar-injector-canary"
	})
	planned := rollback(t, after, recordOf("one", enrolment, done(len(enrolment.Steps))...))
	if !planned.Blocked {
		t.Errorf("nothing blocks:\n%s", strings.Join(sketch(planned), "\n"))
	}
}

func TestRollbackOfANamespaceWithoutSidecars(t *testing.T) {
	before := shop(nil, running(fixture.Deployment("shop", "cart")))
	enrolment := enroll(t, before)
	after := apply(t, before, enrolment.Steps)
	planned := rollback(t, after, recordOf("one", enrolment, done(len(enrolment.Steps))...))
	if diff := cmp.Diff([]string{"disable-ambient"}, ids(planned)); diff != "" {
		t.Errorf("the steps are (-want +got):\n%s", diff)
	}
	same(t, before, apply(t, after, planned.Steps))
}

func TestProjection(t *testing.T) {
	objects := shop(labels{"istio-injection": "enabled"}, running(fixture.Deployment("shop", "cart"), fixture.Sidecar))
	snapshot := fixture.Snapshot(objects)
	planned := enroll(t, objects)
	projection := plan.NewProjection(snapshot)
	last := map[string]map[string]any{}
	for _, step := range planned.Steps {
		for _, change := range step.Changes {
			before, after, err := projection.Apply(change)
			if err != nil {
				t.Fatal(err)
			}
			if _, there := before["status"]; there {
				t.Errorf("%s is shown with its status", change.Object)
			}
			if former, seen := last[change.Object.String()]; seen {
				if diff := cmp.Diff(former, before); diff != "" {
					t.Errorf("step %s does not see what the step before left (-left +seen):\n%s", step.ID, diff)
				}
			}
			last[change.Object.String()] = after
		}
	}
	if got := last["Namespace shop"]["metadata"].(map[string]any)["labels"]; !cmp.Equal(got, map[string]any{"kubernetes.io/metadata.name": "shop", mode: "ambient"}) {
		t.Errorf("in the end the namespace's labels are %v", got)
	}
	if _, _, err := projection.Apply(v1alpha1.Change{Object: v1alpha1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "gone"}}); err == nil || !strings.Contains(err.Error(), "Pod shop/gone") {
		t.Errorf("the error does not name the object: %v", err)
	}
}

// random is a namespace of random workloads with random labels and
// annotations, those that matter among them.
func random(source *rand.Rand) []unstructured.Unstructured {
	pick := func(values ...string) string { return values[source.IntN(len(values))] }
	some := func(choices map[string][]string) labels {
		chosen := labels{}
		for _, key := range slices.Sorted(func(yield func(string) bool) {
			for key := range choices {
				if !yield(key) {
					return
				}
			}
		}) {
			if source.IntN(3) == 0 {
				chosen[key] = pick(choices[key]...)
			}
		}
		return chosen
	}
	templateOf := func(template *corev1.PodTemplateSpec) {
		for key, value := range some(map[string][]string{inject: {"true", "false", ""}, rev: {"default", "canary", "gone"}, mode: {"none", "ambient"}, "a~b/c": {"x"}, "version": {"1", "2"}}) {
			template.Labels[key] = value
		}
		if annotations := some(map[string][]string{inject: {"true", "false"}, "inject.istio.io/templates": {"gateway", "sidecar"}, "note": {"a", "b"}}); len(annotations) > 0 {
			template.Annotations = annotations
		}
		template.Spec.HostNetwork = source.IntN(8) == 0
	}
	objects := []any{fixture.Installation()[0], fixture.Istiod(""), fixture.Injector("", source.IntN(3) == 0)}
	if source.IntN(2) == 0 {
		objects = append(objects, fixture.Injector("canary", false))
	}
	objects = append(objects, fixture.Namespace("shop", some(map[string][]string{"istio-injection": {"enabled", "disabled"}, rev: {"default", "canary", "gone"}, mode: {"none", "ambient"}, "team": {"a"}})))
	var sidecar []func(*corev1.Pod)
	for i := range 1 + source.IntN(6) {
		name := fmt.Sprintf("app-%d", i)
		sidecar = nil
		if source.IntN(2) == 0 {
			sidecar = append(sidecar, fixture.Sidecar)
		}
		switch source.IntN(5) {
		case 0:
			set := fixture.StatefulSet("shop", name, func(s *appsv1.StatefulSet) {
				templateOf(&s.Spec.Template)
				if source.IntN(3) == 0 {
					s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
				}
			})
			objects = append(objects, set, fixture.PodsOfSet(set, sidecar...))
		case 1:
			objects = append(objects, fixture.CronJob("shop", name, func(c *batchv1.CronJob) { templateOf(&c.Spec.JobTemplate.Spec.Template) }))
		case 2:
			objects = append(objects, fixture.Pod("shop", name, append(sidecar, func(pod *corev1.Pod) {
				template := corev1.PodTemplateSpec{ObjectMeta: pod.ObjectMeta}
				template.Annotations = nil
				templateOf(&template)
				pod.Labels, pod.Spec.HostNetwork = template.Labels, template.Spec.HostNetwork
			})...))
		default:
			objects = append(objects, running(fixture.Deployment("shop", name, func(d *appsv1.Deployment) { templateOf(&d.Spec.Template) }), sidecar...))
		}
	}
	return fixture.Objects(objects...)
}

// meshed checks that an enrolment takes nothing out of the mesh: what had a
// sidecar is captured afterwards, a gateway that had a proxy keeps it, and what
// had opted out is still out. A gate that fails for it announces it instead.
func meshed(t *testing.T, before []unstructured.Unstructured, planned v1alpha1.MigrationPlan) {
	t.Helper()
	announced := map[string]bool{}
	for _, gate := range planned.Gates {
		if gate.Blocks() && gate.Object != nil {
			announced[gate.ID+" "+gate.Object.String()] = true
		}
	}
	former, later := fixture.Snapshot(before), fixture.Snapshot(apply(t, before, planned.Steps))
	was, is := fixture.Find(former, "shop"), fixture.Find(later, "shop")
	rule := mesh.DefaultEnrolmentRule()
	for _, workload := range later.Workloads("shop") {
		old, _ := former.Workload(workload.Reference)
		injectedBefore, injectedNow := old.Injected(former.Injectors(), was.Labels), workload.Injected(later.Injectors(), is.Labels)
		captured := rule.Captures(mesh.Pod{Labels: workload.Template.Labels, HostNetwork: workload.Template.Spec.HostNetwork}, is.Labels)
		switch role := former.RoleOf(old, was); {
		case old.IsGateway():
			if injectedBefore && !injectedNow && !announced["gateway-injection "+workload.Reference.String()] {
				t.Errorf("%s loses its proxy", workload.Reference)
			}
			if captured && !workload.Template.Spec.HostNetwork {
				t.Errorf("%s is captured, a gateway", workload.Reference)
			}
		case role == mesh.RoleMove && workload.Reference.Kind != mesh.KindJob:
			if injectedNow {
				t.Errorf("%s is injected", workload.Reference)
			}
			if !captured && !announced["captured-after "+workload.Reference.String()] {
				t.Errorf("%s is not captured", workload.Reference)
			}
		case role == mesh.RolePin && captured:
			t.Errorf("%s had opted out and is captured", workload.Reference)
		}
	}
}

func TestRollbackRestoresRandomNamespacesExactly(t *testing.T) {
	for seed := range uint64(200) {
		source := rand.New(rand.NewPCG(seed, 7))
		before := random(source)
		enrolment := enroll(t, before)
		invariants(t, enrolment)
		meshed(t, before, enrolment)
		stopped := source.IntN(len(enrolment.Steps) + 1)
		after := apply(t, before, enrolment.Steps[:stopped])
		planned := rollback(t, after, recordOf("one", enrolment, done(stopped)...))
		if len(planned.Kept) > 0 {
			t.Errorf("seed %d: kept %v", seed, planned.Kept)
		}
		same(t, before, apply(t, after, planned.Steps))
		if again := enroll(t, apply(t, before, enrolment.Steps)); len(again.Steps) > 0 {
			for _, step := range again.Steps {
				if len(step.Changes) > 0 {
					t.Errorf("seed %d: after the enrolment another would still change something: %s", seed, strings.Join(sketch(again), "\n"))
					break
				}
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, strings.Join(sketch(enrolment), "\n"))
		}
	}
}

// TestPinningIsARestart, there and back: one of the only pod of a StatefulSet is an outage.
func TestPinningIsARestart(t *testing.T) {
	legacy := fixture.StatefulSet("shop", "legacy", func(set *appsv1.StatefulSet) {
		set.Spec.Template.Annotations = map[string]string{"sidecar.istio.io/inject": "false"}
	})
	before := fixture.Objects(fixture.Installation(), fixture.Namespace("shop", map[string]string{"istio-injection": "enabled"}), legacy, fixture.PodsOfSet(legacy))
	snapshot := fixture.Snapshot(before)
	planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	after := fixture.Snapshot(carriedOut(t, before, planned))
	back, err := plan.Rollback(after, fixture.Find(after, "shop"), []v1alpha1.MigrationRecord{recorded(t, planned, nil)})
	if err != nil {
		t.Fatal(err)
	}
	for id, planned := range map[string]v1alpha1.MigrationPlan{"pin/statefulset/legacy": planned, "unpin/statefulset/legacy": back} {
		if !slices.ContainsFunc(planned.Steps, func(step v1alpha1.Step) bool { return step.ID == id }) {
			t.Errorf("there is no step %s", id)
		}
		if !slices.ContainsFunc(planned.Gates, func(gate v1alpha1.CheckResult) bool {
			return gate.ID == "restart-availability" && gate.Status == v1alpha1.StatusWarn && gate.Object != nil && gate.Object.Name == "legacy"
		}) {
			t.Errorf("nothing is said of the outage by %s: %+v", id, planned.Overview)
		}
	}
}
