package e2e

import (
	"math"
	"slices"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const modeLabel = "istio.io/dataplane-mode"

// protection is what a namespace and the pods of its workloads that had sidecars have
// been, in turn. Namespaces and pods are seen by two watches, of which one may be
// behind the other; their resource versions count in one row, since they are kept in
// one etcd, and say what has been at the same time.
type protection struct {
	captures []captureState
	pods     map[types.UID]*protectedPod
}

// captureState is whether a namespace captures its pods, from a version on.
type captureState struct {
	from    uint64
	ambient bool
}

// protectedPod is a pod of a workload that had sidecars.
type protectedPod struct {
	name   string
	states []podState
}

// podState is whether a pod is exposed, from a version on: ready, with no sidecar, and
// not captured. Mode is its own label, nil where it has none.
type podState struct {
	from    uint64
	exposed bool
	mode    *string
}

// versionOf is the version of an object, which for a deleted one is that of its
// deletion.
func versionOf(object metav1.Object) uint64 {
	version, err := strconv.ParseUint(object.GetResourceVersion(), 10, 64)
	if err != nil {
		return math.MaxUint64
	}
	return version
}

// lookAtCapture notes whether a namespace captures its pods now.
func (o *observer) lookAtCapture(namespace *corev1.Namespace, watched *watched) {
	of := &watched.protection
	of.captures = append(of.captures, captureState{versionOf(namespace), namespace.Labels[modeLabel] == "ambient"})
	for _, pod := range of.pods {
		o.judgeCapture(namespace.Name, watched, pod)
	}
}

// lookAtProtection notes whether a pod is exposed now, or that it is gone.
func (o *observer) lookAtProtection(pod *corev1.Pod, gone bool, watched *watched) {
	of, workload := &watched.protection, workloadOf(pod)
	if !gone && pod.DeletionTimestamp == nil && ready(pod) && sidecar(pod) {
		watched.protected[workload] = true
	}
	if !watched.protected[workload] {
		return
	}
	known := of.pods[pod.UID]
	if known == nil {
		known = &protectedPod{name: pod.Name}
		of.pods[pod.UID] = known
	}
	captured := pod.Annotations["ambient.istio.io/redirection"] == "enabled"
	exposed := !gone && pod.DeletionTimestamp == nil && ready(pod) && !sidecar(pod) && !captured
	state := podState{from: versionOf(pod), exposed: exposed}
	if mode, own := pod.Labels[modeLabel]; own {
		state.mode = &mode
	}
	known.states = append(known.states, state)
	if exposed {
		o.judgeCapture(pod.Namespace, watched, known)
		o.later(cniReaction, pod.Namespace, watched, func() string {
			if watched.excused[takesCapture] || !known.exposedSince(state.from) {
				return ""
			}
			return "pod " + pod.Name + " is ready, has no sidecar any more, and is not captured"
		})
	}
}

// judgeCapture judges later whether a pod was exposed while istio-cni was not to
// capture it.
func (o *observer) judgeCapture(namespace string, watched *watched, pod *protectedPod) {
	o.later(behindBy, namespace, watched, func() string {
		if watched.excused[takesCapture] || !pod.exposedIn(watched.protection.captures) {
			return ""
		}
		return "pod " + pod.name + " is ready, has no sidecar any more, and is not to be captured"
	})
}

// exposedSince says whether a pod has been exposed from a version on to now.
func (p *protectedPod) exposedSince(version uint64) bool {
	for _, state := range p.states {
		if state.from >= version && !state.exposed {
			return false
		}
	}
	return true
}

// exposedIn says whether a pod was ever exposed while neither it nor its namespace was
// to be captured.
func (p *protectedPod) exposedIn(captures []captureState) bool {
	for i, state := range p.states {
		until := uint64(math.MaxUint64)
		if i+1 < len(p.states) {
			until = p.states[i+1].from
		}
		switch {
		case !state.exposed || state.mode != nil && *state.mode == "ambient":
			continue
		case state.mode != nil || uncaptured(captures, state.from, until):
			return true
		}
	}
	return false
}

// uncaptured says whether a namespace did not capture its pods at some version of those
// from one to before another.
func uncaptured(captures []captureState, from, until uint64) bool {
	for i, capture := range captures {
		ended := i+1 < len(captures) && captures[i+1].from <= from
		if !capture.ambient && !ended && capture.from < until {
			return true
		}
	}
	return false
}

// TestExposedIn: a pod is exposed where it and its namespace say so at one version,
// in whatever order they are seen.
func TestExposedIn(t *testing.T) {
	t.Parallel()
	ambient, none := "ambient", "none"
	captured := []captureState{{from: 10, ambient: true}}
	ends := slices.Concat(captured, []captureState{{from: 20}})
	for _, test := range []struct {
		name     string
		states   []podState
		captures []captureState
		want     bool
	}{
		{name: "in a namespace that captures", states: []podState{{from: 12, exposed: true}}, captures: captured},
		{name: "in a namespace that captures no more", states: []podState{{from: 12, exposed: true}}, captures: ends, want: true},
		{name: "gone before", states: []podState{{from: 12, exposed: true}, {from: 19}}, captures: ends},
		{name: "gone at once after", states: []podState{{from: 12, exposed: true}, {from: 21}}, captures: ends, want: true},
		{name: "captured again before", states: []podState{{from: 22, exposed: true}}, captures: slices.Concat(ends, []captureState{{from: 21, ambient: true}})},
		{name: "captured by itself", states: []podState{{from: 22, exposed: true, mode: &ambient}}, captures: ends},
		{name: "captured by its namespace, and not to be", states: []podState{{from: 12, exposed: true, mode: &none}}, captures: captured, want: true},
		{name: "with a sidecar", states: []podState{{from: 22}}, captures: ends},
	} {
		pod := &protectedPod{states: test.states}
		if got := pod.exposedIn(test.captures); got != test.want {
			t.Errorf("%s: want %t, got %t", test.name, test.want, got)
		}
	}
}
