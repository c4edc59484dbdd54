package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// ordered is a Service whose pods admit their callers by HTTP: web comes before cart.
const ordered = `
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.0.0.1, selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-get, namespace: shop, generation: 1}
spec: {selector: {matchLabels: {app: cart}}, action: ALLOW, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}], to: [{operation: {methods: [GET]}}]}]}
`

// orderedShop is a namespace with four workloads, of which web is the only caller that
// cart's policy admits.
func orderedShop(edits ...func(*appsv1.Deployment)) []unstructured.Unstructured {
	parts := []any{
		fixture.Installation(), fixture.CNIConfig(fixture.System, map[string]string{"AMBIENT_ENABLED": "true"}),
		fixture.Namespace("shop", map[string]string{"istio-injection": "enabled"}), fixture.YAML(ordered[1:]),
	}
	for _, name := range []string{"cart", "help", "news", "web"} {
		deployment := fixture.Deployment("shop", name, append(edits, func(deployment *appsv1.Deployment) {
			deployment.Spec.Template.Spec.ServiceAccountName = name
		})...)
		parts = append(parts, deployment, fixture.PodsOf(deployment, fixture.Sidecar, func(pod *corev1.Pod) { pod.Spec.ServiceAccountName = name }))
	}
	return fixture.Objects(parts...)
}

// restartPods makes the pods of orderedShop anew without sidecars.
func restartPods(objects []unstructured.Unstructured) {
	for i := range objects {
		name := objects[i].GetLabels()["app"]
		if objects[i].GetKind() == mesh.KindPod && objects[i].GetNamespace() == "shop" {
			pods := fixture.PodsOf(fixture.Deployment("shop", name), fixture.Ambient, func(pod *corev1.Pod) { pod.Spec.ServiceAccountName = name })
			objects[i].Object = fixture.Object(pods[1]).Object
		}
	}
}

// waved is the restarts of a plan, its waves told apart by bars.
func waved(planned v1alpha1.MigrationPlan) string {
	var text []string
	for first, end := range Waves(planned.Steps) {
		var wave []string
		for _, step := range planned.Steps[first:end] {
			if step.Phase == v1alpha1.PhaseRestartWorkloads || step.Phase == v1alpha1.PhaseRestoreWorkloads {
				wave = append(wave, restarted(step).Name)
			}
		}
		if len(wave) > 0 {
			text = append(text, strings.Join(wave, " "))
		}
	}
	return strings.Join(text, " | ")
}

func TestWavesThereAndBack(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		parallel    int
		there, back string
	}{
		{0, "help | news | web | cart", "cart | web | news | help"},
		{1, "help | news | web | cart", "cart | web | news | help"},
		{2, "help news | web | cart", "cart | web news | help"},
		{3, "help news web | cart", "cart | web news help"},
	} {
		objects := orderedShop()
		snapshot := fixture.Snapshot(objects)
		planned, err := Enroll(snapshot, fixture.Find(snapshot, "shop"), Options{MaxParallelRestarts: test.parallel})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.there, waved(planned)); diff != "" {
			t.Errorf("%d at a time, they move as (-want +got):\n%s", test.parallel, diff)
		}
		if again := OptionsOf(planned); !SameOptions(again.Chosen(), *planned.Options) || (again.MaxParallelRestarts > 1) != (test.parallel > 1) {
			t.Errorf("%d at a time, the plan says %d", test.parallel, again.MaxParallelRestarts)
		}
		ambient := carriedOut(t, objects, planned.Steps)
		restartPods(ambient)
		after := fixture.Snapshot(ambient)
		back, err := RollbackAs(after, fixture.Find(after, "shop"), []v1alpha1.MigrationRecord{recorded(t, planned)}, Undoing{MaxParallelRestarts: test.parallel})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.back, waved(back)); diff != "" {
			t.Errorf("%d at a time, they go back as (-want +got):\n%s", test.parallel, diff)
		}
	}
}

// In a wave there are pods of both kinds of all its workloads, as callers and as
// servers: whatever any two of them have come to is compared.
func TestStagesOfAWave(t *testing.T) {
	t.Parallel()
	snapshot := fixture.Snapshot(orderedShop())
	planned, err := Enroll(snapshot, fixture.Find(snapshot, "shop"), Options{MaxParallelRestarts: 3})
	if err != nil {
		t.Fatal(err)
	}
	stages, err := Stages(snapshot, planned)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, stage := range stages {
		name, restart := strings.CutPrefix(stage.Step, "restart-workloads/deployment/")
		if !restart {
			continue
		}
		got = append(got, name+": "+modes(stage.State))
	}
	want := []string{
		"help: cart s, help a+s, news s, web s", "news: cart s, help a+s, news a+s, web s", "web: cart s, help a+s, news a+s, web a+s", "web: cart s, help a, news a, web a",
		"cart: cart a+s, help a, news a, web a", "cart: cart a, help a, news a, web a",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the stages are (-want +got):\n%s", diff)
	}
}

// modes are those that the workloads of a state have: sidecar, ambient, or both.
func modes(state *access.State) string {
	of := map[string][]string{}
	var names []string
	for _, server := range state.Servers {
		name := server.Workload.Name
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		if letter := string(server.Mode)[:1]; !slices.Contains(of[name], letter) {
			of[name] = append(of[name], letter)
		}
	}
	slices.Sort(names)
	var all []string
	for _, name := range names {
		slices.Sort(of[name])
		all = append(all, fmt.Sprintf("%s %s", name, strings.Join(of[name], "+")))
	}
	return strings.Join(all, ", ")
}

// A run that was killed in the midst of a wave leaves several workloads half done:
// these are waited for first, and count as half done until they are.
func TestWaveThatWasKilled(t *testing.T) {
	t.Parallel()
	objects := orderedShop()
	snapshot := fixture.Snapshot(objects)
	planned, err := Enroll(snapshot, fixture.Find(snapshot, "shop"), Options{MaxParallelRestarts: 3})
	if err != nil {
		t.Fatal(err)
	}
	until := slices.IndexFunc(planned.Steps, func(step v1alpha1.Step) bool { return step.Phase == v1alpha1.PhaseRestartWorkloads })
	// The first of them was recorded, and not written.
	written := append(slices.Clone(planned.Steps[:until]), planned.Steps[until+1:until+3]...)
	after := fixture.Snapshot(carriedOut(t, objects, written))
	resumed, err := Enroll(after, fixture.Find(after, "shop"), OptionsOf(planned))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("news web | cart help", waved(resumed)); diff != "" {
		t.Errorf("gone on with, they move as (-want +got):\n%s", diff)
	}
	stages, err := Stages(after, resumed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("cart s, help s, news a+s, web a+s", modes(stages[1].State)); diff != "" {
		t.Errorf("meanwhile they are (-want +got):\n%s", diff)
	}
	record := recorded(t, planned)
	for i := range record.Steps {
		switch {
		case i >= until+3:
			record.Steps[i].State = v1alpha1.StepPending
		case i >= until:
			record.Steps[i].State = v1alpha1.StepRunning
		}
	}
	back, err := RollbackAs(after, fixture.Find(after, "shop"), []v1alpha1.MigrationRecord{record}, Undoing{MaxParallelRestarts: 3})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("web news", waved(back)); diff != "" {
		t.Errorf("they go back as (-want +got):\n%s", diff)
	}
}

// What a rollback has put back and not waited for comes first.
func TestRollbackThatWasKilledWaitsFirst(t *testing.T) {
	t.Parallel()
	objects := orderedShop()
	snapshot := fixture.Snapshot(objects)
	planned, err := Enroll(snapshot, fixture.Find(snapshot, "shop"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	ambient := carriedOut(t, objects, planned.Steps)
	restartPods(ambient)
	after := fixture.Snapshot(ambient)
	record := recorded(t, planned)
	back, err := Rollback(after, fixture.Find(after, "shop"), []v1alpha1.MigrationRecord{record})
	if err != nil {
		t.Fatal(err)
	}
	until := slices.IndexFunc(back.Steps, func(step v1alpha1.Step) bool { return step.Phase == v1alpha1.PhaseRestoreWorkloads })
	// cart and web are put back, and have their former pods.
	half := fixture.Snapshot(carriedOut(t, ambient, back.Steps[:until+2]))
	resumed, err := RollbackAs(half, fixture.Find(half, "shop"), []v1alpha1.MigrationRecord{record}, Undoing{MaxParallelRestarts: 2})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("cart | web | news help", waved(resumed)); diff != "" {
		t.Errorf("gone on with, they go back as (-want +got):\n%s", diff)
	}
	for _, step := range resumed.Steps {
		if begun := isBegun(step); begun != (step.Summary == "wait for the sidecars of deployment/cart" || step.Summary == "wait for the sidecars of deployment/web") {
			t.Errorf("%s begins with %d changes", step.Summary, len(step.Changes))
		}
	}
}
