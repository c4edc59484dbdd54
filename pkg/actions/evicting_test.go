package actions

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// webOf is a Deployment of two whose template nobody writes, in a namespace labelled
// so; its pods are edited one by one.
func webOf(namespace any, edits ...[]func(*corev1.Pod)) []any {
	deployment := fixture.Deployment("shop", "web", func(d *appsv1.Deployment) {
		replicas := int32(len(edits))
		d.Spec.Replicas = &replicas
	})
	pods := fixture.PodsOf(deployment)
	for i := range edits {
		for _, edit := range edits[i] {
			edit(pods[1+i].(*corev1.Pod))
		}
	}
	return append(pods, deployment, namespace)
}

// TestEvicting evicts pods with sidecars although the template stays, one at a time,
// and only what would come back without.
func TestEvicting(t *testing.T) {
	sidecar, ambient := []func(*corev1.Pod){fixture.Sidecar}, []func(*corev1.Pod){fixture.Ambient}
	unready := []func(*corev1.Pod){fixture.Ambient, fixture.NotReady}
	injecting := fixture.Namespace("shop", labels{"istio-injection": "enabled", "istio.io/dataplane-mode": "ambient"})
	for name, test := range map[string]struct {
		objects []any
		evicted []string
		want    []string
		failed  bool
	}{
		"all have sidecars":                        {objects: webOf(ambientShop, sidecar, sidecar), evicted: []string{"evict web-5d8f7-0"}, want: []string{"web-5d8f7-0 is being replaced"}},
		"one has moved":                            {objects: webOf(ambientShop, ambient, sidecar), evicted: []string{"evict web-5d8f7-1"}, want: []string{"web-5d8f7-1 is being replaced"}},
		"the one that has moved is not ready":      {objects: webOf(ambientShop, unready, sidecar), want: []string{"web-5d8f7-0 is not ready"}},
		"all have moved":                           {objects: webOf(ambientShop, ambient, ambient)},
		"the namespace asks for sidecars":          {objects: webOf(injecting, sidecar, sidecar), want: []string{"would have a sidecar again"}, failed: true},
		"the namespace is not in ambient mode yet": {objects: webOf(fixture.Namespace("shop", nil), sidecar, sidecar), want: []string{"not labelled istio.io/dataplane-mode=ambient"}, failed: true},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := fixture.Snapshot(append(fixture.Installation(), test.objects...)...)
			runner, _ := looker(snapshot)
			gate := replacing("Deployment", "web")
			gate.Evicts = true
			got, err := runner.lookCaptured(t.Context(), snapshot, gate)
			if err != nil {
				t.Fatal(err)
			}
			missing(t, got, test.want...)
			if got.failed != test.failed {
				t.Errorf("failed is %t", got.failed)
			}
			if diff := cmp.Diff(test.evicted, replacedPods(t, runner)); diff != "" {
				t.Errorf("evicted (-want +got):\n%s", diff)
			}
		})
	}
}

// What comes back with a sidecar all the same is not evicted for ever.
func TestEvictingGivesUp(t *testing.T) {
	former := []func(*corev1.Pod){fixture.Sidecar}
	snapshot := fixture.Snapshot(append(fixture.Installation(), webOf(ambientShop, former, former)...)...)
	runner, _ := looker(snapshot)
	deployment, _ := snapshot.Workload(reference("Deployment", "web"))
	runner.replacements[deployment.UID] = mostReplacements(deployment)
	gate := replacing("Deployment", "web")
	gate.Evicts = true
	got, err := runner.lookCaptured(t.Context(), snapshot, gate)
	if err != nil || !got.failed {
		t.Fatalf("failed is %t, %v", got.failed, err)
	}
	missing(t, got, "came back with a sidecar again: look at the injector")
}
