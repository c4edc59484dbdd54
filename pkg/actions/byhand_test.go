package actions

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// store is an OnDelete StatefulSet of three whose template has moved; its pods are
// edited one by one.
func store(edits ...[]func(*corev1.Pod)) []any {
	former := fixture.StatefulSet("shop", "db", func(s *appsv1.StatefulSet) {
		replicas := int32(len(edits))
		s.Spec.Replicas = &replicas
		s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
	})
	pods := fixture.PodsOfSet(former)
	for i := range edits {
		for _, edit := range edits[i] {
			edit(pods[i].(*corev1.Pod))
		}
	}
	moved := former.DeepCopy()
	moved.Spec.Template.Labels[inject] = "false"
	return append(pods, moved, ambientShop)
}

var (
	former = []func(*corev1.Pod){fixture.Sidecar}
	fresh  = []func(*corev1.Pod){fixture.Labelled(inject, "false"), fixture.Ambient}
)

func replacing(kind, name string) v1alpha1.Gate {
	gate := gateOf(v1alpha1.GateCaptured, reference(kind, name))
	gate.Replaces = true
	return gate
}

func TestRenewingGoesOneByOneFromTheHighestOrdinal(t *testing.T) {
	unready := append([]func(*corev1.Pod){fixture.NotReady}, fresh...)
	outside := fresh[:1]
	late := func(objects []any) []any {
		for _, object := range objects {
			if set, is := object.(*appsv1.StatefulSet); is {
				set.Generation = 2
			}
		}
		return objects
	}
	for name, test := range map[string]struct {
		objects []any
		evicted []string
		want    []string
	}{
		"all are former":                          {store(former, former, former), []string{"evict db-2"}, []string{"db-2 is being replaced"}},
		"one is fresh":                            {store(former, former, fresh), []string{"evict db-1"}, []string{"db-1 is being replaced"}},
		"the fresh one is not ready":              {store(former, former, unready), nil, []string{"db-2 is not ready"}},
		"the fresh one is not captured":           {store(former, former, outside), nil, []string{"db-2 is not redirected"}},
		"a former one is not ready":               {store(append(former, fixture.NotReady), former, fresh), nil, []string{"db-0 is not ready"}},
		"the fresh one is not there yet":          {store(former, former, fresh)[:2:2], nil, nil},
		"all are fresh":                           {store(fresh, fresh, fresh), nil, nil},
		"the controller has not seen the change":  {late(store(former)), nil, []string{"has not seen its new template yet"}},
		"a fresh one has got a sidecar of itself": {store(former, append(fresh, fixture.Sidecar)), nil, []string{"db-1 still has a sidecar"}},
	} {
		t.Run(name, func(t *testing.T) {
			objects := test.objects
			if name == "the fresh one is not there yet" {
				all := store(former, former, fresh)
				objects = append(objects, all[3:]...)
				test.want = []string{"2 of 3 pods seen"}
			}
			snapshot := fixture.Snapshot(objects...)
			runner, _ := looker(snapshot)
			got, err := runner.lookCaptured(t.Context(), snapshot, replacing("StatefulSet", "db"))
			if err != nil {
				t.Fatal(err)
			}
			missing(t, got, test.want...)
			if diff := cmp.Diff(test.evicted, replacedPods(t, runner)); diff != "" {
				t.Errorf("evicted (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRenewingEvictsNoPodTwice(t *testing.T) {
	snapshot := fixture.Snapshot(store(former, former)...)
	runner, _ := looker(snapshot)
	for range 3 {
		got, err := runner.lookCaptured(t.Context(), snapshot, replacing("StatefulSet", "db"))
		if err != nil {
			t.Fatal(err)
		}
		missing(t, got, "db-1 is being replaced")
	}
	if diff := cmp.Diff([]string{"evict db-1"}, replacedPods(t, runner)); diff != "" {
		t.Errorf("evicted (-want +got):\n%s", diff)
	}
}

// A pod that comes back from the former template over and over is not the run's to
// mend.
func TestRenewingGivesUp(t *testing.T) {
	for i := range 4 {
		objects := store(former)
		runner, _ := looker(fixture.Snapshot(objects...))
		workload := fixture.Snapshot(objects...).Workloads("shop")[0]
		runner.replacements[workload.UID] = i
		got, err := runner.lookCaptured(t.Context(), fixture.Snapshot(objects...), replacing("StatefulSet", "db"))
		if err != nil {
			t.Fatal(err)
		}
		if got.failed != (i >= 2) {
			t.Errorf("after %d replacements it says %+v", i, got)
		}
	}
}

func TestNobodyIsEvictedUnlessThePlanSaysSo(t *testing.T) {
	snapshot := fixture.Snapshot(store(former)...)
	runner, _ := looker(snapshot)
	gate := replacing("StatefulSet", "db")
	gate.Replaces = false
	got, err := runner.lookCaptured(t.Context(), snapshot, gate)
	if err != nil || len(got.missing) == 0 {
		t.Errorf("it says %+v, %v", got, err)
	}
	if pods := replacedPods(t, runner); len(pods) > 0 {
		t.Errorf("it evicted %v", pods)
	}
}

// On the way back, what was made since the migration began goes in the same order;
// what was there before is from the template of before.
func TestGoingBackByHand(t *testing.T) {
	back := func(edits ...[]func(*corev1.Pod)) []any {
		objects := store(edits...)
		set := objects[len(objects)-2].(*appsv1.StatefulSet)
		delete(set.Spec.Template.Labels, inject)
		objects[len(objects)-1] = injectedShop
		return append(objects, fixture.Injector("", false))
	}
	old := append([]func(*corev1.Pod){fixture.CreatedAt(fixture.Created.Add(-time.Hour))}, former...)
	snapshot := fixture.Snapshot(back(old, fresh, fresh)...)
	runner, _ := looker(snapshot)
	missing(t, looking(t, runner, snapshot, injectedGate), "db-2 has no sidecar", "db-1 has no sidecar")
	if diff := cmp.Diff([]string{"evict db-2"}, replacedPods(t, runner)); diff != "" {
		t.Errorf("evicted (-want +got):\n%s", diff)
	}
	snapshot = fixture.Snapshot(back(old, old, former)...)
	runner, _ = looker(snapshot)
	missing(t, looking(t, runner, snapshot, injectedGate))
}

var nodes = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}

// agents is an OnDelete DaemonSet that has moved, with a pod on each of two nodes.
func agents(edits ...[]func(*corev1.Pod)) []any {
	former := fixture.DaemonSet("shop", "agent", func(d *appsv1.DaemonSet) {
		d.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType
		d.Status.DesiredNumberScheduled, d.Status.CurrentNumberScheduled, d.Status.NumberReady, d.Status.NumberAvailable = 2, 2, 2, 2
	})
	moved := former.DeepCopy()
	moved.Spec.Template.Labels[inject] = "false"
	objects := []any{moved, ambientShop}
	for i, list := range edits {
		of := fixture.Of("DaemonSet", "apps/v1", &former.ObjectMeta, former.Spec.Template)
		on := func(pod *corev1.Pod) { pod.Spec.NodeName = fmt.Sprintf("node-%d", i+1) }
		objects = append(objects, fixture.Pod("shop", fmt.Sprintf("agent-%d", i+1), append([]func(*corev1.Pod){of, on}, list...)...))
	}
	return objects
}

// TestCordoning has the node of the pod that goes cordoned, and nobody else's: the one
// before is uncordoned first, and what somebody else has cordoned stays so.
func TestCordoning(t *testing.T) {
	foreign := fixture.KubernetesNode("node-2")
	foreign.Spec.Unschedulable = true
	for name, test := range map[string]struct {
		second *corev1.Node
		want   []bool
	}{
		"its own": {fixture.KubernetesNode("node-2"), []bool{false, false}}, "somebody else's": {foreign, []bool{false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTrial(t, []v1alpha1.Step{{ID: "one"}}, test.second)
			r.replaced, r.replacements = map[types.UID]bool{}, map[types.UID]int{}
			var noted []string
			r.noteCordon = func(_ context.Context, node string) error {
				noted = append(noted, node)
				return nil
			}
			gate := replacing("DaemonSet", "agent")
			gate.Cordon = true
			look := func(objects []any) {
				t.Helper()
				snapshot := fixture.Snapshot(objects...)
				r.Evidence = func(context.Context, []string) (*mesh.Evidence, error) {
					return evidenceFor(snapshot.Pods("shop")...), nil
				}
				if _, err := r.lookCaptured(t.Context(), snapshot, gate); err != nil {
					t.Fatal(err)
				}
			}
			look(agents(former, former))
			if got := r.unschedulable(t); !got[0] {
				t.Errorf("node-1 is not cordoned while its pod is replaced")
			}
			look(agents(fresh, former))
			if got := r.unschedulable(t); got[0] || !got[1] {
				t.Errorf("cordoned are %v while the pod of node-2 is replaced", got)
			}
			look(agents(fresh, fresh))
			if diff := cmp.Diff(test.want, r.unschedulable(t)); diff != "" {
				t.Errorf("cordoned at the end (-want +got):\n%s", diff)
			}
			if want := 2; name == "its own" && len(noted) != want {
				t.Errorf("recorded are %v", noted)
			}
		})
	}
}

// A run that ends early takes its cordon off.
func TestUncordoningAtTheEnd(t *testing.T) {
	r := newTrial(t, []v1alpha1.Step{{ID: "one"}}, fixture.KubernetesNode("node-2"))
	r.replaced, r.replacements = map[types.UID]bool{}, map[types.UID]int{}
	r.noteCordon = func(context.Context, string) error { return nil }
	gate := replacing("DaemonSet", "agent")
	gate.Cordon = true
	if _, err := r.lookCaptured(t.Context(), fixture.Snapshot(agents(former, former)...), gate); err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := r.uncordonLeft(ended); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]bool{false, false}, r.unschedulable(t)); diff != "" {
		t.Errorf("cordoned (-want +got):\n%s", diff)
	}
}

func (r *trial) unschedulable(t *testing.T) []bool {
	t.Helper()
	var cordoned []bool
	for _, name := range []string{"node-1", "node-2"} {
		node, err := r.dynamic.Resource(nodes).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		set, _, err := unstructured.NestedBool(node.Object, "spec", "unschedulable")
		if err != nil {
			t.Fatal(err)
		}
		cordoned = append(cordoned, set)
	}
	return cordoned
}
