package plan

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func unrecorded(t *testing.T, objects []unstructured.Unstructured, chosen Unrecorded) v1alpha1.MigrationPlan {
	t.Helper()
	snapshot := fixture.Snapshot(objects)
	planned, err := RollbackUnrecorded(snapshot, fixture.Find(snapshot, "shop"), chosen)
	if err != nil {
		t.Fatal(err)
	}
	return planned
}

// An enrolment whose records were deleted is undone by what it has left, but for what
// was pinned: others may have done that.
func TestRollbackOfAnEnrolmentWithoutItsRecord(t *testing.T) {
	before := guarded()
	enrolment := enrolledGuarded(t, before, "")
	after := madeAnew(t, carriedOut(t, before, enrolment.Steps), fixture.Ambient)
	planned := unrecorded(t, after, Unrecorded{})
	if !planned.Unrecorded || len(planned.Undoes) > 0 || len(planned.Kept) > 0 {
		t.Errorf("it says %t, undoes %v, keeps %v", planned.Unrecorded, planned.Undoes, planned.Kept)
	}
	want := []string{
		"unsettle-policies", "restore-injection", "restore-workloads/deployment/cart", "replace-pods", "disable-ambient", "deactivate-waypoints/guards",
		"deactivate-waypoints", "remove-waypoints", "restore-policies", "restore-policies/attached",
	}
	var got []string
	for _, step := range planned.Steps {
		got = append(got, step.ID)
		if step.Gate.Since != nil {
			t.Errorf("step %s spares pods that are older than %s", step.ID, step.Gate.Since)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if notes := planned.Steps[0].Notes; len(notes) == 0 || !strings.Contains(notes[len(notes)-1], "need not be exactly that") {
		t.Errorf("the first step does not say that there is no record: %v", notes)
	}
	bare := func(objects []unstructured.Unstructured) []unstructured.Unstructured {
		return slices.DeleteFunc(slices.Clone(objects), func(object unstructured.Unstructured) bool {
			return object.GetKind() == mesh.KindPod || object.GetName() == "quiet"
		})
	}
	wanted(t, bare(before), bare(carriedOut(t, after, planned.Steps)))
	// Wherever it stops, it can be gone on with, and there is nothing to do in the end.
	for n := range planned.Steps {
		partly := carriedOut(t, after, planned.Steps[:n+1])
		rest := unrecorded(t, partly, Unrecorded{Begun: &planned})
		wanted(t, bare(before), bare(carriedOut(t, partly, rest.Steps)))
	}
	if again := changing(unrecorded(t, carriedOut(t, after, planned.Steps), Unrecorded{Begun: &planned})); len(again) > 0 {
		t.Errorf("in the end it would take the steps %v", again)
	}
}

func TestRollbackWithoutRecord(t *testing.T) {
	cart := fixture.Deployment("shop", "cart")
	byHand := map[string]string{"istio.io/dataplane-mode": "ambient"}
	with := func(labels map[string]string, more ...string) map[string]string {
		labels = maps.Clone(labels)
		for i := 0; i < len(more); i += 2 {
			labels[more[i]] = more[i+1]
		}
		return labels
	}
	service := fixture.YAML("{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop, uid: s, labels: {istio.io/use-waypoint: mine}}, spec: {selector: {app: cart}, ports: [{port: 80}]}}")
	one, two := []any{fixture.Injector("", false)}, []any{fixture.Injector("1-31", false), fixture.Injector("1-32", false), fixture.InjectorTag("default", false)}
	for _, test := range []struct {
		name      string
		injectors []any
		labels    map[string]string
		more      []any
		revision  string
		want      []string
		err       string
	}{
		{"moved by hand", one, byHand, nil, "", []string{"restore-injection istio-injection=enabled", "restore-workloads/deployment/cart", "replace-pods", "disable-ambient istio.io/dataplane-mode="}, ""},
		{"refusing sidecars", one, with(byHand, "istio-injection", "disabled"), nil, "", []string{"restore-injection istio-injection=enabled", "restore-workloads/deployment/cart", "replace-pods", "disable-ambient istio.io/dataplane-mode="}, ""},
		{"injected by default", []any{fixture.Injector("", true)}, with(byHand, "istio-injection", "disabled"), nil, "", []string{"restore-injection istio-injection=", "restore-workloads/deployment/cart", "replace-pods", "disable-ambient istio.io/dataplane-mode="}, ""},
		{"of the only revision", []any{fixture.Injector("1-31", false)}, byHand, nil, "", []string{"restore-injection istio.io/rev=1-31", "restore-workloads/deployment/cart", "replace-pods", "disable-ambient istio.io/dataplane-mode="}, ""},
		{"of a revision that is chosen", two, byHand, nil, "1-32", []string{"restore-injection istio.io/rev=1-32", "restore-workloads/deployment/cart", "replace-pods", "disable-ambient istio.io/dataplane-mode="}, ""},
		{"of the default, chosen", two, byHand, nil, "default", []string{"restore-injection istio-injection=enabled", "restore-workloads/deployment/cart", "replace-pods", "disable-ambient istio.io/dataplane-mode="}, ""},
		{"asking for sidecars already", one, with(byHand, "istio-injection", "enabled"), nil, "", []string{"restore-workloads/deployment/cart", "replace-pods", "disable-ambient istio.io/dataplane-mode="}, ""},
		{"with somebody's waypoint", one, byHand, []any{service}, "", []string{"restore-injection istio-injection=enabled", "restore-workloads/deployment/cart", "replace-pods", "disable-ambient istio.io/dataplane-mode=", "deactivate-waypoints istio.io/use-waypoint="}, ""},
		{"not in ambient mode", one, map[string]string{"istio-injection": "enabled"}, []any{service}, "", nil, ""},
		{"with a choice", two, byHand, nil, "", nil, "choose one, of 1-31, 1-32, default"},
		{"of a revision that is not there", two, byHand, nil, "1-30", nil, "revision 1-30 would not inject namespace shop: choose one that does, of 1-31, 1-32, default"},
		{"of a revision besides the one it asks for", two, with(byHand, "istio.io/rev", "1-31"), nil, "1-32", nil, "asks for sidecars already"},
		{"with no injector", nil, byHand, nil, "", nil, "which none is installed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			installed := slices.DeleteFunc(fixture.Objects(fixture.Installation()), func(object unstructured.Unstructured) bool {
				return object.GetKind() == "MutatingWebhookConfiguration"
			})
			snapshot := fixture.Snapshot(installed, test.injectors, fixture.Namespace("shop", test.labels), cart, fixture.PodsOf(cart, fixture.Ambient), test.more)
			planned, err := RollbackUnrecorded(snapshot, fixture.Find(snapshot, "shop"), Unrecorded{Revision: test.revision})
			if option := (*translate.OptionError)(nil); test.err != "" && (!errors.As(err, &option) || !strings.Contains(err.Error(), test.err)) || test.err == "" && err != nil {
				t.Fatalf("the error is %v", err)
			}
			var got []string
			for _, step := range planned.Steps {
				line := step.ID
				for _, change := range step.Changes {
					for _, field := range change.Fields {
						value, _ := field.After.(string)
						segments := Segments(field.Path)
						line += " " + segments[len(segments)-1] + "=" + value
					}
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(test.want, got); diff != "" && test.err == "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// No template brings the sidecars of what was moved by hand: each workload's pods are
// evicted in turn, and counted, and who has a single one has an outage that is announced.
func TestRollbackOfWhatWasMovedByHandAnnouncesItsRestarts(t *testing.T) {
	objects := []any{fixture.Namespace("shop", map[string]string{"istio.io/dataplane-mode": "ambient"})}
	for name, replicas := range map[string]int32{"cart": 2, "pay": 1, "web": 3} {
		deployment := fixture.Deployment("shop", name, fixture.Replicas(replicas))
		objects = append(objects, deployment, fixture.PodsOf(deployment, fixture.Ambient))
	}
	for parallel, waves := range map[int][]int{1: {0, 0, 0}, 2: {1, 1, 2}} {
		planned := unrecorded(t, fixture.Objects(append(fixture.Installation(), objects...)...), Unrecorded{MaxParallelRestarts: parallel})
		var evicts []string
		var got []int
		for _, step := range planned.Steps {
			if step.Phase == v1alpha1.PhaseRestoreWorkloads {
				evicts, got = append(evicts, step.Summary), append(got, step.Wave)
			}
		}
		want := []string{
			"evict the pods of deployment/cart and wait for their sidecars", "evict the pods of deployment/pay and wait for their sidecars",
			"evict the pods of deployment/web and wait for their sidecars",
		}
		if diff := cmp.Diff(want, evicts); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(waves, got); diff != "" {
			t.Errorf("%d at a time, waves (-want +got):\n%s", parallel, diff)
		}
		if sum := planned.Overview; sum.RestartedWorkloads != 3 || sum.RestartedPods != 6 || !slices.Contains(sum.Risks, "restart-availability") {
			t.Errorf("the overview is %+v", sum)
		}
		outages := slices.DeleteFunc(slices.Clone(planned.Gates), func(gate v1alpha1.CheckResult) bool {
			return gate.ID != "restart-availability" || gate.Object == nil || gate.Object.Name != "pay" || gate.Status != v1alpha1.StatusWarn
		})
		if len(outages) != 1 || !strings.Contains(outages[0].Message, "its only pod is evicted before the next one is ready") {
			t.Errorf("of the outage is said %+v", outages)
		}
	}
}

// A rollback that was stopped is gone on with where it was: what it has replaced is waited
// for before anything else is touched, and counts no more.
func TestRollbackOfWhatWasMovedByHandGoesOnWithWhatIsNotReady(t *testing.T) {
	objects := []any{fixture.Namespace("shop", map[string]string{"istio.io/dataplane-mode": "ambient"})}
	for name, like := range map[string][]func(*corev1.Pod){"cart": {fixture.Ambient}, "done": {fixture.Sidecar}, "web": {fixture.Sidecar, fixture.NotReady}} {
		deployment := fixture.Deployment("shop", name, fixture.Replicas(1))
		objects = append(objects, deployment, fixture.PodsOf(deployment, like...))
	}
	planned := unrecorded(t, fixture.Objects(append(fixture.Installation(), objects...)...), Unrecorded{})
	var got []string
	for _, step := range planned.Steps {
		if step.Phase == v1alpha1.PhaseRestoreWorkloads {
			got = append(got, step.Summary)
		}
	}
	if diff := cmp.Diff([]string{"wait for the sidecars of deployment/web", "evict the pods of deployment/cart and wait for their sidecars"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if sum := planned.Overview; sum.RestartedWorkloads != 1 || sum.RestartedPods != 1 {
		t.Errorf("the overview is %+v", sum)
	}
}

// What an enrolment has left in a namespace that is not in ambient mode goes, and that is
// all: it may never have been in the mesh, and its pods are not touched.
func TestRollbackWithoutRecordOfLeftoversAlone(t *testing.T) {
	cart := fixture.Deployment("shop", "cart")
	leftover := fixture.YAML(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop, labels: {ambient.kubectl-ambient.dev/origin: 20260101-000000-abcdef}}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec: {selector: {app: cart}, ports: [{port: 80}]}`)
	want := []string{"deactivate-waypoints", "remove-waypoints"}
	for name, test := range map[string]struct {
		labels map[string]string
		like   func(*corev1.Pod)
	}{
		"never in the mesh":        {nil, func(*corev1.Pod) {}},
		"on sidecars":              {map[string]string{"istio-injection": "enabled"}, fixture.Sidecar},
		"with pods made before it": {map[string]string{"istio-injection": "enabled"}, func(*corev1.Pod) {}},
	} {
		t.Run(name, func(t *testing.T) {
			objects := fixture.Objects(fixture.Installation(), fixture.Namespace("shop", test.labels), cart, fixture.PodsOf(cart, test.like), leftover)
			planned := unrecorded(t, objects, Unrecorded{})
			if diff := cmp.Diff(want, idsOf(planned)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if err := Concluding(&planned, nil); err != nil || len(planned.Steps) != len(want) {
				t.Errorf("it ends with %v, %v", idsOf(planned), err)
			}
			// One that has stopped is gone on with as it was begun.
			partly := carriedOut(t, objects, planned.Steps[:1])
			if rest := idsOf(unrecorded(t, partly, Unrecorded{Begun: &planned})); slices.ContainsFunc(rest, func(id string) bool { return !slices.Contains(want, id) }) {
				t.Errorf("gone on with, it takes the steps %v", rest)
			}
			snapshot := fixture.Snapshot(objects)
			if _, err := RollbackUnrecorded(snapshot, fixture.Find(snapshot, "shop"), Unrecorded{Revision: "default"}); err == nil || !strings.Contains(err.Error(), "leave the revision out") {
				t.Errorf("with a revision the error is %v", err)
			}
		})
	}
}

// What cannot be read may have to be put back.
func TestRollbackWithoutRecordWantsToSeeEverything(t *testing.T) {
	content := fixture.Content(fixture.Installation(), fixture.Namespace("shop", map[string]string{"istio.io/dataplane-mode": "ambient"}))
	content.Coverage[mesh.KindAuthorizationPolicy] = mesh.Coverage{State: mesh.CoverageForbidden, Reason: "you may not list them"}
	snapshot, err := mesh.NewSnapshot(content)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := RollbackUnrecorded(snapshot, fixture.Find(snapshot, "shop"), Unrecorded{}); err == nil || !strings.Contains(err.Error(), "AuthorizationPolicy in namespace shop cannot be read") {
		t.Errorf("the error is %v", err)
	}
}
