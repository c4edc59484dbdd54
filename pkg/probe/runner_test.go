package probe_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/probe"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/probe/wire"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

const image = "registry.example/probe@sha256:0000000000000000000000000000000000000000000000000000000000000000"

const redirection = "ambient.istio.io/redirection"

var pods = schema.GroupVersionResource{Version: "v1", Resource: "pods"}

// runner runs pods of which play says what becomes of each, as a kubelet would, and
// istio-cni, which redirects those that ask for it.
func runner(t *testing.T, play func(*corev1.Pod)) (*probe.Runner, *fake.Clientset) {
	t.Helper()
	client := fake.NewClientset()
	client.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		pod := action.(clienttesting.CreateAction).GetObject().(*corev1.Pod)
		pod.CreationTimestamp = metav1.Now()
		if pod.Labels["istio.io/dataplane-mode"] == "ambient" {
			pod.Annotations = map[string]string{redirection: "enabled"}
		}
		play(pod)
		return false, nil, nil
	})
	return &probe.Runner{Kube: client, Image: image, ID: "20260101-000000-abcdef", Timeout: 2 * time.Second}, client
}

// report has a pod end with a report.
func report(outcome wire.Outcome, status int32) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		var text wire.Report
		for _, id := range callsOf(pod) {
			text.Results = append(text.Results, wire.Result{ID: id, Outcome: outcome})
		}
		data, err := text.Encode()
		if err != nil {
			panic(err)
		}
		terminate(pod, status, string(data))
	}
}

func callsOf(pod *corev1.Pod) []string {
	var calls []wire.Call
	if err := json.Unmarshal([]byte(pod.Spec.Containers[0].Env[0].Value), &calls); err != nil {
		panic(err)
	}
	var ids []string
	for _, call := range calls {
		ids = append(ids, call.ID)
	}
	return ids
}

func terminate(pod *corev1.Pod, status int32, message string) {
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{
		{Name: "istio-proxy", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
		{Name: "probe", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: status, Message: message}}},
	}
}

func waiting(reason string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "probe", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}}
	}
}

// many is a draft of a number of calls from one caller.
func many(n int) probe.Draft {
	var draft probe.Draft
	for i := range n {
		draft.Attempts = append(draft.Attempts, probe.Attempt{Caller: probe.Caller{Mode: "ambient", Account: "default", Labels: map[string]string{"istio.io/dataplane-mode": "ambient"}}, Call: wire.Call{
			ID: fmt.Sprint(i + 1), Target: "cart.shop.svc:80", Protocol: wire.HTTP, Timeout: wire.Duration(time.Second), Expect: wire.Allowed,
		}})
	}
	return draft
}

func TestRunner(t *testing.T) {
	for _, test := range []struct {
		name string
		play func(*corev1.Pod)
		// failure is what is said of the pod, and what to do; empty where its results are
		// taken.
		failure string
	}{
		{"as expected", report(wire.Answered, 0), ""},
		{"different", report(wire.Reset, 1), ""},
		{"lying: the status says more than the report", report(wire.Reset, 0), "exit status 0 does not go with its report, which means 1"},
		{"lying: an outcome that there is not", report("fine", 0), "not known"},
		{"lying: of other calls", func(pod *corev1.Pod) { terminate(pod, 0, `{"results":[{"id":"7","outcome":"answered"}]}`) }, "says nothing of call 1"},
		{"no report", func(pod *corev1.Pod) { terminate(pod, 1, "") }, "it ended with status 1 (no reason) without a report; see that --probe-image"},
		{"killed", func(pod *corev1.Pod) {
			terminate(pod, 137, "")
			pod.Status.ContainerStatuses[1].State.Terminated.Reason = "OOMKilled"
		}, "it ended with status 137 (OOMKilled) without a report; probe again; kubectl describe node"},
		{"killed for its age", func(pod *corev1.Pod) {
			terminate(pod, 137, "")
			pod.Status.Phase, pod.Status.Reason = corev1.PodFailed, "DeadlineExceeded"
		}, "without a report: DeadlineExceeded; probe again; --probe-timeout"},
		{"not the program", func(pod *corev1.Pod) { terminate(pod, 0, "hello\x1b[2J") }, "cannot be read"},
		{"it could not try", func(pod *corev1.Pod) { terminate(pod, 2, `{"results":null,"error":"no calls"}`) }, "tried nothing: no calls"},
		{"no such image", waiting("ImagePullBackOff"), "does not start: ImagePullBackOff"},
		{"no node", func(pod *corev1.Pod) {
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes"}}
		}, "no node takes it: Unschedulable: 0/3 nodes"},
		{"never over", waiting("ContainerCreating"), "container probe does not start: ContainerCreating"},
		{"evicted", func(pod *corev1.Pod) { pod.Status.Phase, pod.Status.Reason = corev1.PodFailed, "Evicted" }, "without a report: Evicted"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			runner, client := runner(t, test.play)
			tried, left, err := runner.Try(t.Context(), "shop", many(1))
			if err != nil || len(left) > 0 || len(tried) != 1 {
				t.Fatalf("tried %+v, left %v, error %v", tried, left, err)
			}
			switch {
			case test.failure == "" && (tried[0].Failure != "" || len(tried[0].Results) != 1):
				t.Errorf("tried %+v", tried[0])
			case test.failure != "" && (!strings.Contains(tried[0].Failure+"; "+tried[0].Remedy, test.failure) || len(tried[0].Results) != 0 || tried[0].Remedy == ""):
				t.Errorf("tried %+v, want %q", tried[0], test.failure)
			}
			wantPods(t, client)
		})
	}
}

// A pod that did not come up in the mode of its caller is another caller: what it reports
// proves nothing.
func TestRunnerBelievesOnlyPodsInTheirMode(t *testing.T) {
	answered := report(wire.Answered, 0)
	as := func(change func(*corev1.Pod)) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			answered(pod)
			change(pod)
		}
	}
	plain := as(func(pod *corev1.Pod) { pod.Annotations = nil })
	redirected := as(func(pod *corev1.Pod) { pod.Annotations = map[string]string{redirection: "enabled"} })
	pending := as(func(pod *corev1.Pod) { pod.Annotations = map[string]string{redirection: "pending"} })
	injected := as(func(pod *corev1.Pod) {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "istio-proxy"})
	})
	native := as(func(pod *corev1.Pod) {
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: "istio-proxy"})
	})
	both := as(func(pod *corev1.Pod) {
		injected(pod)
		pod.Annotations = map[string]string{redirection: "enabled"}
	})
	for name, test := range map[string]struct {
		mode access.Mode
		play func(*corev1.Pod)
		// failure is empty where the results are taken.
		failure string
	}{
		"ambient, redirected":      {access.ModeAmbient, redirected, ""},
		"ambient, not redirected":  {access.ModeAmbient, plain, "not in the mode of a pod in ambient mode as default: it has neither a sidecar nor"},
		"ambient, pending":         {access.ModeAmbient, pending, "neither a sidecar nor"},
		"ambient, with a sidecar":  {access.ModeAmbient, injected, "it has a sidecar"},
		"sidecar, injected":        {access.ModeSidecar, injected, ""},
		"sidecar, a native one":    {access.ModeSidecar, native, ""},
		"sidecar, not injected":    {access.ModeSidecar, plain, "not in the mode of a pod with a sidecar as default: it has neither"},
		"sidecar, redirected, too": {access.ModeSidecar, both, "it has a sidecar, and istio-cni says that it is redirected"},
		"outside, in no mode":      {access.ModeOutside, plain, ""},
		"outside, redirected":      {access.ModeOutside, redirected, "not in the mode of a pod outside the mesh: istio-cni says that it is redirected"},
		"outside, injected":        {access.ModeOutside, injected, "it has a sidecar"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runner, client := runner(t, test.play)
			draft := many(1)
			draft.Attempts[0].Caller = probe.Caller{Mode: test.mode, Account: "default"}
			tried, left, err := runner.Try(t.Context(), "shop", draft)
			if err != nil || len(left) > 0 || len(tried) != 1 {
				t.Fatalf("tried %+v, left %v, error %v", tried, left, err)
			}
			taken := test.failure == ""
			if taken != (tried[0].Failure == "" && len(tried[0].Results) == 1) || !strings.Contains(tried[0].Failure, test.failure) || !taken && tried[0].Remedy == "" {
				t.Errorf("tried %+v, want %q", tried[0], test.failure)
			}
			wantPods(t, client)
		})
	}
}

// istio-cni takes the annotation from a pod that has ended.
func TestRunnerBelievesWhatWasRedirected(t *testing.T) {
	var made *corev1.Pod
	runner, client := runner(t, func(pod *corev1.Pod) { made = pod })
	client.PrependWatchReactor("pods", func(_ clienttesting.Action) (bool, watch.Interface, error) {
		watching := watch.NewFakeWithChanSize(1, false)
		ended := made.DeepCopy()
		report(wire.Answered, 0)(ended)
		ended.Annotations = nil
		watching.Modify(ended)
		return true, watching, nil
	})
	tried, left, err := runner.Try(t.Context(), "shop", many(1))
	if err != nil || len(left) > 0 || len(tried) != 1 || tried[0].Failure != "" || len(tried[0].Results) != 1 {
		t.Errorf("tried %+v, left %v, error %v", tried, left, err)
	}
}

func wantPods(t *testing.T, client *fake.Clientset, want ...string) {
	t.Helper()
	list, err := client.CoreV1().Pods("").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, pod := range list.Items {
		got = append(got, pod.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("there are pods %q, want %q", got, want)
	}
}

func TestRunnerGivesEachPodWhatItsReportHolds(t *testing.T) {
	var made []*corev1.Pod
	runner, client := runner(t, func(pod *corev1.Pod) {
		made = append(made, pod)
		report(wire.Answered, 0)(pod)
	})
	tried, left, err := runner.Try(t.Context(), "shop", many(wire.MostCalls+1))
	if err != nil || len(left) > 0 || len(tried) != 2 || len(tried[0].Results) != wire.MostCalls || len(tried[1].Results) != 1 {
		t.Errorf("tried %+v, left %v, error %v", tried, left, err)
	}
	for _, pod := range made {
		spec := pod.Spec
		if spec.SecurityContext.RunAsUser != nil || !*spec.SecurityContext.RunAsNonRoot {
			t.Errorf("pod %s: %+v", pod.Name, spec.SecurityContext)
		}
		if *spec.AutomountServiceAccountToken || *spec.ActiveDeadlineSeconds != 2 || spec.RestartPolicy != corev1.RestartPolicyNever || spec.Containers[0].Image != image {
			t.Errorf("pod %s: %+v", pod.Name, spec)
		}
	}
	wantPods(t, client)
}

func TestRunnerThatMayNotMakePods(t *testing.T) {
	runner, client := runner(t, report(wire.Answered, 0))
	client.PrependReactor("create", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(pods.GroupResource(), "probe", errors.New("exceeded quota: small"))
	})
	tried, left, err := runner.Try(t.Context(), "shop", many(1))
	if err != nil || len(left) > 0 || len(tried) != 1 || !strings.Contains(tried[0].Failure, "exceeded quota: small") {
		t.Errorf("tried %+v, left %v, error %v", tried, left, err)
	}
}

// A namespace that is being deleted admits no pod, and takes those that are there.
func TestRunnerWhereTheNamespaceIsBeingDeleted(t *testing.T) {
	t.Run("before", func(t *testing.T) {
		runner, client := runner(t, report(wire.Answered, 0))
		client.PrependReactor("create", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(pods.GroupResource(), "probe", errors.New("unable to create new content in namespace shop because it is being terminated"))
		})
		tried, left, err := runner.Try(t.Context(), "shop", many(1))
		if err != nil || len(left) > 0 || len(tried) != 1 || !strings.Contains(tried[0].Failure, "it is being terminated") || len(tried[0].Results) > 0 {
			t.Errorf("tried %+v, left %v, error %v", tried, left, err)
		}
		wantPods(t, client)
	})
	t.Run("meanwhile", func(t *testing.T) {
		var made *corev1.Pod
		runner, client := runner(t, func(pod *corev1.Pod) { pod.UID, made = "made", pod })
		deleted := make(chan error, 1)
		client.PrependWatchReactor("pods", func(action clienttesting.Action) (bool, watch.Interface, error) {
			watching, err := client.Tracker().Watch(pods, action.GetNamespace())
			go func() { deleted <- client.Tracker().Delete(pods, made.Namespace, made.Name) }()
			return true, watching, err
		})
		tried, left, err := runner.Try(t.Context(), "shop", many(1))
		if err != nil || len(left) > 0 || len(tried) != 1 || !strings.Contains(tried[0].Failure, "somebody has deleted it") {
			t.Errorf("tried %+v, left %v, error %v", tried, left, err)
		}
		if err := <-deleted; err != nil {
			t.Error(err)
		}
		wantPods(t, client)
	})
}

func TestRunnerSaysWhatItCouldNotRemove(t *testing.T) {
	runner, client := runner(t, report(wire.Answered, 0))
	client.PrependReactor("delete", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(pods.GroupResource(), "probe", errors.New("not you"))
	})
	tried, left, err := runner.Try(t.Context(), "shop", many(1))
	if err != nil || len(left) != 1 || !strings.Contains(left[0].Error(), "not you") || len(tried) != 1 {
		t.Errorf("tried %+v, left %v, error %v", tried, left, err)
	}
}

func TestRunnerRemovesWhenInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	runner, client := runner(t, func(*corev1.Pod) { cancel() })
	if _, left, err := runner.Try(ctx, "shop", many(1)); !errors.Is(err, context.Canceled) || len(left) > 0 {
		t.Errorf("left %v, error %v", left, err)
	}
	wantPods(t, client)
}

// A pod that waits at a webhook when the run is interrupted comes to be after it was
// asked to be removed.
func TestRunnerRemovesWhatComesLate(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	runner, client := runner(t, func(*corev1.Pod) {})
	var late *corev1.Pod
	client.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		late = action.(clienttesting.CreateAction).GetObject().(*corev1.Pod)
		cancel()
		return true, nil, context.Canceled
	})
	client.PrependReactor("delete", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		if late == nil {
			return false, nil, nil
		}
		err := client.Tracker().Add(late)
		late = nil
		if err != nil {
			return true, nil, err
		}
		return true, nil, apierrors.NewNotFound(pods.GroupResource(), "probe")
	})
	if _, left, err := runner.Try(ctx, "shop", many(1)); !errors.Is(err, context.Canceled) || len(left) > 0 {
		t.Errorf("left %v, error %v", left, err)
	}
	wantPods(t, client)
}

// What a killed run has left fills the quota that this one needs: the API server tells
// the time although it admits no pod.
func TestSweepUnderAQuota(t *testing.T) {
	runner, client := runner(t, report(wire.Answered, 0))
	client.PrependReactor("create", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(pods.GroupResource(), "probe", errors.New("exceeded quota: count/pods"))
	})
	now := time.Now().Add(time.Hour)
	client.PrependReactor("create", "selfsubjectreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &authenticationv1.SelfSubjectReview{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(now)}}, nil
	})
	const id, prefix = "20251231-000000-fedcba", "kubectl-ambient-probe-20251231-000000-fedcba-"
	for name, age := range map[string]time.Duration{"old": 3 * time.Minute, "new": time.Minute} {
		if err := client.Tracker().Add(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: prefix + name, CreationTimestamp: metav1.NewTime(now.Add(-age)),
			Labels: map[string]string{probe.Label: id, "app.kubernetes.io/managed-by": "kubectl-ambient"},
		}, Spec: corev1.PodSpec{ActiveDeadlineSeconds: new(int64(30))}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, left, err := runner.Try(t.Context(), "shop", many(1)); err != nil || len(left) > 0 {
		t.Fatalf("left %v, error %v", left, err)
	}
	if swept, err := runner.Sweep(t.Context(), "shop"); err != nil || !slices.Equal(swept, []string{prefix + "old"}) {
		t.Errorf("swept %q, error %v", swept, err)
	}
	wantPods(t, client, prefix+"new")
}

func TestSweep(t *testing.T) {
	const id, prefix = "20251231-000000-fedcba", "kubectl-ambient-probe-20251231-000000-fedcba-"
	// The API server's clock is behind, or this one's ahead.
	now := time.Now().Add(-time.Hour)
	old := metav1.NewTime(now.Add(-3 * time.Minute))
	for _, test := range []struct {
		name   string
		change func(*corev1.Pod)
		swept  bool
	}{
		{"left", func(*corev1.Pod) {}, true},
		{"in use", func(pod *corev1.Pod) { pod.CreationTimestamp = metav1.NewTime(now.Add(-2 * time.Minute)) }, false},
		{"of this run", func(pod *corev1.Pod) { pod.Labels[probe.Label] = "20260101-000000-abcdef" }, false},
		{"without the label", func(pod *corev1.Pod) { delete(pod.Labels, probe.Label) }, false},
		{"an empty label", func(pod *corev1.Pod) { pod.Labels[probe.Label] = "" }, false},
		{"another's name", func(pod *corev1.Pod) { pod.Name = "cart-1" }, false},
		{"the name of another run", func(pod *corev1.Pod) { pod.Labels[probe.Label] = "20251231-000000-aaaaaa" }, false},
		{"managed by another", func(pod *corev1.Pod) { pod.Labels["app.kubernetes.io/managed-by"] = "helm" }, false},
		{"controlled", func(pod *corev1.Pod) {
			pod.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "cart", Controller: new(true)}}
		}, false},
		{"without a deadline", func(pod *corev1.Pod) { pod.Spec.ActiveDeadlineSeconds = nil }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			runner, client := runner(t, func(pod *corev1.Pod) {
				pod.CreationTimestamp = metav1.NewTime(now)
				report(wire.Answered, 0)(pod)
			})
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: prefix + "1", CreationTimestamp: old, Labels: map[string]string{probe.Label: id, "app.kubernetes.io/managed-by": "kubectl-ambient"},
			}, Spec: corev1.PodSpec{ActiveDeadlineSeconds: new(int64(30))}}
			test.change(pod)
			if err := client.Tracker().Add(pod); err != nil {
				t.Fatal(err)
			}
			if swept, err := runner.Sweep(t.Context(), "shop"); err != nil || len(swept) > 0 {
				t.Errorf("without knowing the time: swept %q, error %v", swept, err)
			}
			if _, left, err := runner.Try(t.Context(), "shop", many(1)); err != nil || len(left) > 0 {
				t.Fatalf("left %v, error %v", left, err)
			}
			swept, err := runner.Sweep(t.Context(), "shop")
			if err != nil || slices.Contains(swept, pod.Name) != test.swept {
				t.Errorf("swept %q, error %v", swept, err)
			}
			if test.swept {
				wantPods(t, client)
			} else {
				wantPods(t, client, pod.Name)
			}
		})
	}
}
