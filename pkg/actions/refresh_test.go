package actions

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// without takes the label off a pod by which its sidecar is called by HBONE.
func without(pod *corev1.Pod) { delete(pod.Labels, "networking.istio.io/tunnel") }

// aging is an OnDelete StatefulSet, in a namespace that is injected, whose pods are
// edited one by one.
func aging(edits ...[]func(*corev1.Pod)) []any {
	set := fixture.StatefulSet("shop", "db", func(s *appsv1.StatefulSet) {
		replicas := int32(len(edits))
		s.Spec.Replicas = &replicas
		s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
	})
	pods := fixture.PodsOfSet(set)
	for i := range edits {
		for _, edit := range edits[i] {
			edit(pods[i].(*corev1.Pod))
		}
	}
	return append(pods, set, fixture.Injector("", false), fixture.Namespace("shop", map[string]string{"istio-injection": "enabled"}))
}

// Pods are replaced by hand while any sidecar accepts no HBONE, one at a time and only
// while all others are ready; then each has to have one of the revision that injects it.
func TestRefreshingByHand(t *testing.T) {
	old, fresh := []func(*corev1.Pod){fixture.Sidecar, without}, []func(*corev1.Pod){fixture.Sidecar}
	for name, test := range map[string]struct {
		objects []any
		evicted []string
		want    []string
	}{
		"all are old":             {aging(old, old), []string{"evict db-1"}, []string{"db-1 is being replaced"}},
		"one is left":             {aging(old, fresh), []string{"evict db-0"}, []string{"db-0 is being replaced"}},
		"the fresh one not ready": {aging(old, append(fresh, fixture.NotReady)), nil, []string{"db-1 is not ready"}},
		"all are fresh":           {aging(fresh, fresh), nil, nil},
		"one has none":            {aging(fresh, nil), nil, []string{"db-1 has no sidecar"}},
		"another revision":        {aging(append(fresh, fixture.Annotated("istio.io/rev", "old"))), nil, []string{"of revision old, not of default"}},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := fixture.Snapshot(test.objects...)
			runner, _ := looker(snapshot)
			gate := gateOf(v1alpha1.GateSidecarsHBONE, reference("StatefulSet", "db"))
			gate.Replaces = true
			got, err := runner.lookRefreshed(t.Context(), snapshot, gate)
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

// Steps that rely on it look at all sidecars of the namespace.
func TestSidecarsAreLookedAtAgain(t *testing.T) {
	snapshot := fixture.Snapshot(aging([]func(*corev1.Pod){fixture.Sidecar}, []func(*corev1.Pod){fixture.Sidecar, without})...)
	runner, _ := looker(snapshot)
	got, err := runner.lookRefreshed(t.Context(), snapshot, v1alpha1.Gate{Kind: v1alpha1.GateSidecarsHBONE})
	if err != nil {
		t.Fatal(err)
	}
	missing(t, got, "db-1 has a sidecar that does not accept HBONE")
	runner.holding = &holding{Handover: v1alpha1.Handover{Sidecars: true}}
	if got, err = runner.lookHandover(t.Context(), snapshot, v1alpha1.Gate{}); err != nil {
		t.Fatal(err)
	}
	missing(t, got, "db-1 has a sidecar that does not accept HBONE")
}
