package actions

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// endingPod is the last pod of a workload as it was, which has 30 seconds to end.
func endingPod(pods []any, edits ...func(*corev1.Pod)) *corev1.Pod {
	pod := pods[len(pods)-1].(*corev1.Pod)
	pod.Name, pod.UID = "cart-old-0", "old"
	now, grace := metav1.NewTime(fixture.Created), int64(30)
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &now, &grace
	for _, edit := range edits {
		edit(pod)
	}
	return pod
}

func finished(pod *corev1.Pod) { pod.Status.Phase = corev1.PodFailed }

// A pod on its way out counts in no rollout, and still serves and calls.
func TestPodsThatStillEndAreWaitedFor(t *testing.T) {
	back := fixture.Deployment("shop", "cart")
	backAgain := append(fixture.PodsOf(back, fixture.Sidecar), back)
	moved := switched()
	inAmbient := append(fixture.PodsOf(moved, fixture.Ambient), moved, ambientShop)
	withSidecar := func(pod *corev1.Pod) { fixture.Sidecar(pod); delete(pod.Labels, inject) }
	cart := reference("Deployment", "cart")
	lookBack := gateOf(v1alpha1.GateInjected, cart)
	lookBack.Since = &fixture.Created
	for name, test := range map[string]struct {
		objects []any
		gate    v1alpha1.Gate
		ending  *corev1.Pod
		waits   string
		noted   string
	}{
		"in ambient mode, before the namespace is released": {
			backAgain, injectedGate, endingPod(fixture.PodsOf(back, fixture.Ambient)),
			"Pod shop/cart-old-0 still ends, and nothing but ztunnel protects it until it has", ": once the namespace is released, it is without mTLS and policies until it has",
		},
		"of nobody's, before the namespace is released": {
			backAgain, injectedGate, endingPod(fixture.PodsOf(back, fixture.Ambient), func(pod *corev1.Pod) { pod.OwnerReferences = nil }),
			"Pod shop/cart-old-0 still ends", "without mTLS and policies",
		},
		"with a sidecar, on the way there": {
			inAmbient, gateOf(v1alpha1.GateCaptured, cart), endingPod(fixture.PodsOf(moved), withSidecar),
			"Pod shop/cart-old-0 still ends, and its sidecar calls past waypoints until it has", "its sidecar calls past waypoints until it has",
		},
		"in ambient mode, of a workload that goes back": {backAgain, lookBack, endingPod(fixture.PodsOf(back, fixture.Ambient)), "", ""},
		"outside the mesh, on the way back":             {backAgain, injectedGate, endingPod(fixture.PodsOf(back)), "", ""},
		"with a sidecar, on the way back":               {backAgain, injectedGate, endingPod(fixture.PodsOf(back, fixture.Sidecar)), "", ""},
		"in ambient mode, on the way there":             {inAmbient, gateOf(v1alpha1.GateCaptured, cart), endingPod(fixture.PodsOf(moved, fixture.Ambient)), "", ""},
		"finished, on the way back":                     {backAgain, injectedGate, endingPod(fixture.PodsOf(back, fixture.Ambient), finished), "", ""},
		"finished with a sidecar, on the way there": {
			inAmbient, gateOf(v1alpha1.GateCaptured, cart), endingPod(fixture.PodsOf(moved), withSidecar, finished), "", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := fixture.Snapshot(append(slices.Clone(test.objects), test.ending, fixture.Injector("", false))...)
			if test.gate.Kind == v1alpha1.GateInjected {
				snapshot = snapshotOf(append(slices.Clone(test.objects), test.ending)...)
			}
			runner, _ := looker(snapshot)
			now := fixture.Created
			var notes []string
			runner.Now, runner.Events.Note = func() time.Time { return now }, func(text string) { notes = append(notes, text) }
			look := runner.gates()[test.gate.Kind]
			at := func(after time.Duration) verdict {
				now = fixture.Created.Add(after)
				got, err := look(t.Context(), snapshot, test.gate)
				if err != nil {
					t.Fatal(err)
				}
				return got
			}
			if test.waits == "" {
				missing(t, at(0))
				return
			}
			for _, after := range []time.Duration{0, 39 * time.Second} {
				got := at(after)
				missing(t, got, test.waits)
				if got.retry <= 0 || got.failed {
					t.Errorf("tried again after %s, failed %t", got.retry, got.failed)
				}
			}
			// One on a node that is gone never ends.
			for range 2 {
				missing(t, at(40*time.Second))
			}
			if len(notes) != 1 || !strings.Contains(notes[0], "Pod shop/cart-old-0 has not ended after 40s") || !strings.Contains(notes[0], test.noted) {
				t.Errorf("the notes are %q", notes)
			}
		})
	}
}

// What a restart waits for so is bounded by the gate's own time, which others need, too.
func TestPodsThatStillEndDoNotUseUpAGatesTime(t *testing.T) {
	pod := mesh.PodFromObject(endingPod(fixture.PodsOf(fixture.Deployment("shop", "cart"), fixture.Sidecar)))
	pod.Grace = 2 * time.Hour
	runner, _ := looker(nil)
	now := fixture.Created
	var notes []string
	runner.Now, runner.Events.Note = func() time.Time { return now }, func(text string) { notes = append(notes, text) }
	for _, test := range []struct {
		waited, left time.Duration
		waits        bool
	}{
		// However short the time is, it is waited for at first: a run may be bounded as a whole.
		{0, time.Minute, true}, {30 * time.Minute, 30 * time.Minute, true}, {42 * time.Minute, 18 * time.Minute, true},
		{48 * time.Minute, 12 * time.Minute, false},
	} {
		now = fixture.Created.Add(test.waited)
		ctx, cancel := context.WithTimeout(t.Context(), test.left)
		if got := runner.stillEnding(ctx, []mesh.Pod{pod}, "waits", "it calls"); len(got.missing) > 0 != test.waits {
			t.Errorf("after %s, with %s left, it waits for %q", test.waited, test.left, got.missing)
		}
		cancel()
	}
	if len(notes) != 1 || notes[0] != "Pod shop/cart-old-0 has not ended after 48m0s and is not waited for: it calls until it has" {
		t.Errorf("the notes are %q", notes)
	}
}
