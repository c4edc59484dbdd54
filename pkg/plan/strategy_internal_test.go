package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// byLabels plans an enrolment that writes no templates.
func byLabels(t *testing.T, objects []unstructured.Unstructured, options Options) v1alpha1.MigrationPlan {
	t.Helper()
	options.Strategy = StrategyNamespace
	snapshot := fixture.Snapshot(objects)
	planned, err := Enroll(snapshot, fixture.Find(snapshot, "shop"), options)
	if err != nil {
		t.Fatal(err)
	}
	return planned
}

// evictPods makes the pods of workloads anew without sidecars, as those evictions do
// that steps wait for.
func evictPods(objects []unstructured.Unstructured, names ...string) []unstructured.Unstructured {
	after := slices.Clone(objects)
	made := slices.Clone(objects)
	restartPods(made)
	for i := range after {
		if after[i].GetKind() == mesh.KindPod && slices.Contains(names, after[i].GetLabels()["app"]) {
			after[i] = made[i]
		}
	}
	return after
}

// shape is the IDs of a plan's steps from the namespace's label on, with what they wait
// for.
func shape(planned v1alpha1.MigrationPlan) []string {
	var lines []string
	for _, step := range planned.Steps {
		line := step.ID + " " + string(step.Gate.Kind)
		if step.Gate.Evicts {
			line += " by eviction"
		}
		if step.Requires != "" {
			line += " if it holds"
		}
		lines = append(lines, line)
	}
	if at := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "enable-ambient") }); at >= 0 {
		return lines[at:]
	}
	return lines
}

func TestStrategyNamespaceThereAndBack(t *testing.T) {
	t.Parallel()
	objects := orderedShop()
	deny := Options{Translation: translate.Options{MixedCallers: translate.MixedCallersDeny}}
	planned := byLabels(t, objects, deny)
	if planned.Blocked || planned.Options.Strategy != "namespace" || planned.Overview.RestartedWorkloads != 4 {
		t.Errorf("blocked by %v, with %+v, %d workloads", planned.Overview.Blockers, planned.Options, planned.Overview.RestartedWorkloads)
	}
	want := []string{
		"enable-ambient captured if it holds", "enable-ambient/injection none if it holds",
		"restart-workloads/deployment/help captured by eviction if it holds", "restart-workloads/deployment/news captured by eviction if it holds",
		"restart-workloads/deployment/web captured by eviction if it holds", "restart-workloads/deployment/cart captured by eviction if it holds", "verify verified if it holds",
	}
	if diff := cmp.Diff(want, shape(planned)); diff != "" {
		t.Errorf("the steps are (-want +got):\n%s", diff)
	}
	for _, step := range planned.Steps {
		for _, change := range step.Changes {
			if change.Object.Kind == mesh.KindDeployment {
				t.Errorf("step %s writes %s", step.ID, change.Object)
			}
		}
	}
	labelled := carriedOut(t, objects, planned.Steps)
	record := recorded(t, planned)

	// Killed at any point, the pods tell what is left.
	resumed := byLabels(t, evictPods(labelled, "help", "news"), deny)
	if diff := cmp.Diff([]string{"restart-workloads/deployment/web captured by eviction if it holds", "restart-workloads/deployment/cart captured by eviction if it holds", "verify verified if it holds"}, shape(resumed)); diff != "" {
		t.Errorf("gone on with, the steps are (-want +got):\n%s", diff)
	}
	ambient := evictPods(labelled, "help", "news", "web", "cart")
	if done := byLabels(t, ambient, deny); len(done.Steps) > 0 {
		t.Errorf("something is left to be done: %v", shape(done))
	}

	back := undone(t, ambient, record)
	want = []string{
		"restore-injection none", "restore-workloads/deployment/cart injected", "restore-workloads/deployment/web injected", "restore-workloads/deployment/news injected",
		"restore-workloads/deployment/help injected", "replace-pods injected", "disable-ambient released",
	}
	if diff := cmp.Diff(want, shape(back)[:len(want)]); diff != "" {
		t.Errorf("the way back is (-want +got):\n%s", diff)
	}
	for _, object := range carriedOut(t, ambient, back.Steps) {
		if labels := object.GetLabels(); object.GetKind() == mesh.KindNamespace && object.GetName() == "shop" && (labels["istio-injection"] != "enabled" || labels["istio.io/dataplane-mode"] != "") {
			t.Errorf("the namespace is labelled %v", labels)
		}
	}
}

// From the step on that takes the injection label away, there are pods of both kinds
// of every workload that is not through.
func TestStrategyNamespaceIsComparedAsAllMixed(t *testing.T) {
	t.Parallel()
	snapshot := fixture.Snapshot(orderedShop())
	planned, err := Enroll(snapshot, fixture.Find(snapshot, "shop"), Options{Strategy: StrategyNamespace})
	if err != nil {
		t.Fatal(err)
	}
	stages, err := Stages(snapshot, planned)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, stage := range stages {
		line := strings.TrimPrefix(stage.Step, "restart-workloads/deployment/") + ": " + modes(stage.State)
		if stage.Step != "" && (len(got) > 0 || strings.HasPrefix(stage.Step, "enable-ambient")) && !slices.Contains(got, line) {
			got = append(got, line)
		}
	}
	want := []string{
		"enable-ambient: cart s, help s, news s, web s", "enable-ambient/injection: cart a+s, help a+s, news a+s, web a+s",
		"help: cart a+s, help a+s, news a+s, web a+s", "help: cart a+s, help a, news a+s, web a+s",
		"news: cart a+s, help a, news a+s, web a+s", "news: cart a+s, help a, news a, web a+s",
		"web: cart a+s, help a, news a, web a+s", "web: cart a+s, help a, news a, web a",
		"cart: cart a+s, help a, news a, web a", "cart: cart a, help a, news a, web a", "verify: cart a, help a, news a, web a",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the stages are (-want +got):\n%s", diff)
	}
}

// finding is what a gate says of an object, if it blocks.
func finding(planned v1alpha1.MigrationPlan, id, name string) v1alpha1.CheckResult {
	for _, gate := range planned.Gates {
		if gate.ID == id && gate.Object != nil && gate.Object.Name == name {
			return gate
		}
	}
	return v1alpha1.CheckResult{}
}

func TestStrategyNamespaceCannotPromiseAnOrder(t *testing.T) {
	t.Parallel()
	planned := byLabels(t, orderedShop(), Options{})
	if held := finding(planned, checks.IDMixedCallers, "cart"); !held.Blocks() || !strings.Contains(held.Message, "with --strategy=namespace its pods may move before these callers, whenever one is made anew: Deployment shop/web") {
		t.Errorf("it says of cart: %s", held.Message)
	}
}

func TestStrategyNamespaceNamesTemplatesThatWouldHaveToChange(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, field, message string
		edit                 func(*appsv1.Deployment)
	}{
		{"asks by label", "spec.template.metadata.labels[sidecar.istio.io/inject]", "asks for a sidecar itself", fixture.TemplateLabel("sidecar.istio.io/inject", "true")},
		{"asks by annotation", "", "", fixture.TemplateAnnotation("sidecar.istio.io/inject", "true")},
		{"asks by revision", "spec.template.metadata.labels[istio.io/rev]", "asks for a sidecar itself", fixture.TemplateLabel("istio.io/rev", "default")},
		{"opted out", "spec.template.metadata.labels[istio.io/dataplane-mode]", "the namespace's label would capture them", fixture.TemplateLabel("sidecar.istio.io/inject", "false")},
	} {
		objects := fixture.Objects(
			fixture.Installation(), fixture.CNIConfig(fixture.System, map[string]string{"AMBIENT_ENABLED": "true"}),
			fixture.Namespace("shop", map[string]string{"istio-injection": "enabled"}), fixture.Deployment("shop", "odd", test.edit), fixture.Deployment("shop", "plain"),
		)
		got := finding(byLabels(t, objects, Options{}), "restartable", "odd")
		if got.Field != test.field || !strings.Contains(got.Message, test.message) || got.Blocks() != (test.message != "") {
			t.Errorf("%s: it says %q of %q", test.name, got.Message, got.Field)
		}
		if got := finding(byLabels(t, objects, Options{}), "restartable", "plain"); got.Message != "" {
			t.Errorf("%s: of the other it says %q", test.name, got.Message)
		}
	}
}

// Whoever reconciles templates is in nobody's way where these are not written; whoever
// reconciles the namespace is.
func TestStrategyNamespaceLeavesTemplatesToTheirOwners(t *testing.T) {
	t.Parallel()
	objects := orderedShop(func(deployment *appsv1.Deployment) {
		deployment.Labels = map[string]string{"kustomize.toolkit.fluxcd.io/name": "shop"}
	})
	snapshot := fixture.Snapshot(objects)
	planned, err := Enroll(snapshot, fixture.Find(snapshot, "shop"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	deny := Options{Translation: translate.Options{MixedCallers: translate.MixedCallersDeny}}
	if got := finding(planned, "reconcilers", "cart"); !got.Blocks() {
		t.Errorf("by templates, it says %q", got.Message)
	}
	if got := byLabels(t, objects, deny); got.Blocked {
		t.Errorf("by labels, it is blocked by %v", got.Overview.Blockers)
	}
	for i := range objects {
		if objects[i].GetKind() == mesh.KindNamespace && objects[i].GetName() == "shop" {
			labels := objects[i].GetLabels()
			labels["kustomize.toolkit.fluxcd.io/name"] = "shop"
			objects[i].SetLabels(labels)
		}
	}
	if got := finding(byLabels(t, objects, deny), "reconcilers", "shop"); !got.Blocks() {
		t.Errorf("of the namespace, it says %q", got.Message)
	}
}

// What operators make is blocked where templates are written, and moves there and back,
// like the rest, where the namespace's labels decide.
func TestStrategyNamespaceMovesWorkloadsOfOperators(t *testing.T) {
	t.Parallel()
	objects := orderedShop(func(deployment *appsv1.Deployment) {
		deployment.OwnerReferences = []metav1.OwnerReference{fixture.Owner("Shop", "acme.example/v1", &metav1.ObjectMeta{Name: "all", UID: "all"})}
	})
	snapshot := fixture.Snapshot(objects)
	written, err := Enroll(snapshot, fixture.Find(snapshot, "shop"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := finding(written, "reconcilers", "cart"); !got.Blocks() || !strings.Contains(got.Message, "Shop all controls it") || !strings.Contains(got.Remedy, "--strategy=namespace") {
		t.Errorf("by templates, it says %q: %s", got.Message, got.Remedy)
	}
	deny := Options{Translation: translate.Options{MixedCallers: translate.MixedCallersDeny}}
	planned := byLabels(t, objects, deny)
	if planned.Blocked {
		t.Errorf("by labels, it is blocked by %v", planned.Overview.Blockers)
	}
	if diff := cmp.Diff(shape(byLabels(t, orderedShop(), deny)), shape(planned)); diff != "" {
		t.Errorf("it is not moved like what nobody controls (-nobody +operator):\n%s", diff)
	}
	for _, step := range planned.Steps {
		for _, change := range step.Changes {
			if change.Object.Kind == mesh.KindDeployment {
				t.Errorf("step %s writes %s", step.ID, change.Object)
			}
		}
	}
	ambient := evictPods(carriedOut(t, objects, planned.Steps), "help", "news", "web", "cart")
	if done := byLabels(t, ambient, deny); len(done.Steps) > 0 {
		t.Errorf("something is left to be done: %v", shape(done))
	}
	if back := shape(undone(t, ambient, recorded(t, planned))); !slices.Contains(back, "restore-workloads/deployment/cart injected") {
		t.Errorf("the way back is %v", back)
	}
}

func TestStrategyNamespaceAnnouncesOutages(t *testing.T) {
	t.Parallel()
	for replicas, want := range map[int32]string{1: "its only pod is evicted before the next one is ready, so moving it is an outage", 2: ""} {
		planned := byLabels(t, orderedShop(func(deployment *appsv1.Deployment) { deployment.Spec.Replicas = &replicas }), Options{})
		if got := finding(planned, "restart-availability", "web"); got.Message != want {
			t.Errorf("of %d pods it says %q", replicas, got.Message)
		}
	}
}

func TestStrategyNamespaceIsUndoneWithTheLabels(t *testing.T) {
	t.Parallel()
	objects := orderedShop()
	planned := byLabels(t, objects, Options{Translation: translate.Options{MixedCallers: translate.MixedCallersDeny}})
	record := recorded(t, planned)
	snapshot := fixture.Snapshot(evictPods(carriedOut(t, objects, planned.Steps), "help", "news", "web", "cart"))
	_, err := RollbackAs(snapshot, fixture.Find(snapshot, "shop"), []v1alpha1.MigrationRecord{record}, Undoing{To: v1alpha1.PhaseEnableAmbient})
	if err == nil || !strings.Contains(err.Error(), "roll back to a phase before enable-ambient") {
		t.Errorf("back to the labels: %v", err)
	}
	back, err := RollbackAs(snapshot, fixture.Find(snapshot, "shop"), []v1alpha1.MigrationRecord{record}, Undoing{To: v1alpha1.PhaseActivateWaypoints})
	if err != nil || len(back.Steps) == 0 || back.Steps[0].ID != "restore-injection" {
		t.Errorf("back to before the labels: %v, %v", shape(back), err)
	}
}

func TestStrategyValidate(t *testing.T) {
	t.Parallel()
	for text, options := range map[string]Options{
		`unknown strategy "pods"`: {Strategy: "pods"}, "can be moved alone by its template only": {Strategy: StrategyNamespace, Workload: "deployment/cart"},
		"writes no template": {Strategy: StrategyNamespace, ResumePaused: true}, "without any": {Strategy: StrategyNamespace, Service: "service/cart"},
	} {
		if err := options.Validate(); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("want %q, got %v", text, err)
		}
	}
	if err := (Options{Strategy: StrategyTemplate}).Validate(); err != nil {
		t.Error(err)
	}
}

// No pod gets the label by which guards tell those that have moved: from the first
// moment on they hold for all.
func TestStrategyNamespaceGuardsAllPods(t *testing.T) {
	t.Parallel()
	_, policy, _ := strings.Cut(ordered, "---\n")
	refusing := strings.Replace(policy, "action: ALLOW, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}], to: [{operation: {methods: [GET]}}]}]",
		"action: DENY, rules: [{to: [{operation: {methods: [TRACE]}}]}]", 1)
	objects := slices.DeleteFunc(orderedShop(), func(object unstructured.Unstructured) bool { return object.GetKind() == mesh.KindAuthorizationPolicy })
	objects = append(objects, fixture.Objects(fixture.YAML(refusing))...)
	options := Options{Translation: translate.Options{MixedCallers: translate.MixedCallersDeny}}
	guards := func(planned v1alpha1.MigrationPlan) []any {
		var selectors []any
		for _, step := range planned.Steps {
			for _, change := range step.Changes {
				if step.Phase == v1alpha1.PhaseActivateWaypoints && change.Create != nil {
					selectors = append(selectors, Lookup(change.Create, "/spec/selector/matchLabels"))
				}
			}
		}
		return selectors
	}
	snapshot := fixture.Snapshot(objects)
	byTemplate, err := Enroll(snapshot, fixture.Find(snapshot, "shop"), options)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]any{map[string]any{"app": "cart", "sidecar.istio.io/inject": "false"}}, guards(byTemplate)); diff != "" {
		t.Errorf("by templates (-want +got):\n%s", diff)
	}
	planned := byLabels(t, objects, options)
	if diff := cmp.Diff([]any{map[string]any{"app": "cart"}}, guards(planned)); diff != "" {
		t.Errorf("by labels (-want +got):\n%s", diff)
	}
	for _, change := range planned.Access.Changes {
		if change.Effect == v1alpha1.CallNewlyAllowed {
			t.Errorf("newly allowed: %s", checks.DescribeChange(change))
		}
	}
	for _, change := range undone(t, evictPods(carriedOut(t, objects, planned.Steps), "help", "news", "web", "cart"), recorded(t, planned)).Access.Changes {
		if change.Effect == v1alpha1.CallNewlyAllowed {
			t.Errorf("newly allowed on the way back: %s", checks.DescribeChange(change))
		}
	}
}
