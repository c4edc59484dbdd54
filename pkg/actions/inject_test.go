package actions

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// replacedPods are the pods that a runner's client has evicted or deleted.
func replacedPods(t *testing.T, runner *Runner) []string {
	t.Helper()
	var pods []string
	for _, action := range runner.Kube.(*fake.Clientset).Actions() {
		switch action := action.(type) {
		case clienttesting.CreateActionImpl:
			if action.GetSubresource() == "eviction" {
				eviction := action.GetObject().(*policyv1.Eviction)
				if uid := eviction.DeleteOptions.Preconditions.UID; uid == nil || *uid != fixture.UID("Pod", "shop", eviction.Name) {
					t.Errorf("the eviction of %s is not for its UID", eviction.Name)
				}
				pods = append(pods, "evict "+eviction.Name)
			}
		case clienttesting.DeleteActionImpl:
			if uid := action.DeleteOptions.Preconditions.UID; uid == nil || *uid != fixture.UID("Pod", "shop", action.Name) {
				t.Errorf("the deletion of %s is not for its UID", action.Name)
			}
			if seen := action.DeleteOptions.Preconditions.ResourceVersion; seen == nil || *seen != "7" {
				t.Errorf("the deletion of %s is not for what was seen of it", action.Name)
			}
			pods = append(pods, "delete "+action.Name)
		}
	}
	return pods
}

// answerEvictions makes the API server answer evictions so.
func answerEvictions(runner *Runner, answer func() error) {
	runner.Kube.(*fake.Clientset).PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return action.GetSubresource() == "eviction", nil, answer()
	})
}

func looking(t *testing.T, runner *Runner, snapshot *mesh.Snapshot, gate v1alpha1.Gate) verdict {
	t.Helper()
	got, err := runner.lookInjected(t.Context(), snapshot, gate)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

var injectedGate = v1alpha1.Gate{Kind: v1alpha1.GateInjected, Since: &fixture.Created}

func snapshotOf(objects ...any) *mesh.Snapshot {
	return fixture.Snapshot(append(objects, injectedShop, fixture.Injector("", false))...)
}

// podsOf are those of a Deployment of as many replicas, one for each list of
// edits.
func podsOf(edits ...[]func(*corev1.Pod)) []any {
	deployment := fixture.Deployment("shop", "cart", fixture.Replicas(int32(len(edits))))
	pods := fixture.PodsOf(deployment)
	for i := range edits {
		for _, edit := range edits[i] {
			edit(pods[i+1].(*corev1.Pod))
		}
	}
	return append(pods, deployment)
}

type edits = []func(*corev1.Pod)

var (
	whole   = edits{fixture.Sidecar}
	lacking = edits{}
	unready = edits{fixture.Sidecar, fixture.NotReady}
	broken  = edits{fixture.NotReady}
	older   = edits{fixture.CreatedAt(fixture.Created.Add(-time.Hour))}
)

func TestLookInjected(t *testing.T) {
	rolling := func(objects []any) []any {
		deployment := objects[len(objects)-1].(*appsv1.Deployment)
		deployment.Status.UpdatedReplicas--
		return objects
	}
	stuck := func(objects []any) []any {
		deployment := objects[len(objects)-1].(*appsv1.Deployment)
		deployment.Status.Conditions[1] = appsv1.DeploymentCondition{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded"}
		return objects
	}
	unavailable := func(objects []any) []any {
		deployment := objects[len(objects)-1].(*appsv1.Deployment)
		deployment.Status.AvailableReplicas, deployment.Status.ReadyReplicas = 0, 0
		return objects
	}
	const first, second = "Pod shop/cart-5d8f7-0", "Pod shop/cart-5d8f7-1"
	tests := []struct {
		name     string
		objects  []any
		want     []string
		replaced []string
		failed   bool
	}{
		{"all have theirs", podsOf(whole, whole), nil, nil, false},
		{"one lacks its own", podsOf(whole, lacking), []string{second + " has no sidecar"}, []string{"evict cart-5d8f7-1"}, false},
		{"all lack theirs, and one goes at a time", podsOf(lacking, lacking), []string{first, second}, []string{"evict cart-5d8f7-0"}, false},
		{"another one is not ready", podsOf(lacking, unready), []string{first + " has no sidecar", second + " is not ready"}, nil, false},
		{"another one lacks its own and is not ready", rolling(podsOf(lacking, broken)), []string{"Deployment shop/cart: ", first, second}, nil, false},
		{"one came up without and never got ready", unavailable(podsOf(whole, broken)), []string{"Deployment shop/cart: ", second}, []string{"evict cart-5d8f7-1"}, false},
		{"all did", unavailable(podsOf(broken, broken)), []string{"Deployment shop/cart: ", first, second}, []string{"evict cart-5d8f7-0"}, false},
		{"one did, another one comes back", unavailable(podsOf(broken, unready)), []string{"Deployment shop/cart: ", first, second, first + ": it is replaced when the others"}, nil, false},
		{"it is rolling", rolling(podsOf(lacking, whole)), []string{"Deployment shop/cart: ", first}, nil, false},
		{"one was there before", podsOf(older, whole), nil, nil, false},
		{"one was there before and is not ready", podsOf(append(edits{fixture.NotReady}, older...), whole), []string{first + " is not ready"}, nil, false},
		{"its controller has given up", stuck(podsOf(unready)), []string{"Deployment shop/cart: ", first}, nil, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			snapshot := snapshotOf(test.objects...)
			runner, _ := looker(snapshot)
			got := looking(t, runner, snapshot, injectedGate)
			missing(t, got, test.want...)
			if diff := cmp.Diff(test.replaced, replacedPods(t, runner)); diff != "" {
				t.Errorf("replaced (-want +got):\n%s", diff)
			}
			if got.failed != test.failed {
				t.Errorf("failed is %t", got.failed)
			}
			if runner.changed != (len(test.replaced) > 0) {
				t.Errorf("changed is %t", runner.changed)
			}
		})
	}
}

func TestLookInjectedWaitsForPodsThatAreNotSeenYet(t *testing.T) {
	objects := podsOf(lacking, whole)
	snapshot := snapshotOf(objects[0], objects[1], objects[3])
	runner, _ := looker(snapshot)
	missing(t, looking(t, runner, snapshot, injectedGate), "1 of 2 pods seen", "has no sidecar")
	if pods := replacedPods(t, runner); len(pods) > 0 {
		t.Errorf("it replaced %v", pods)
	}
}

// What was evicted is still seen as it was until the watch has caught up. The
// next pod goes when the replacement of the one before is ready, not earlier.
func TestLookInjectedDoesNotEvictAnotherPodBeforeItHasSeenTheFirstOneGo(t *testing.T) {
	snapshot := snapshotOf(podsOf(lacking, lacking, lacking)...)
	runner, _ := looker(snapshot)
	for range 3 {
		looking(t, runner, snapshot, injectedGate)
	}
	if diff := cmp.Diff([]string{"evict cart-5d8f7-0"}, replacedPods(t, runner)); diff != "" {
		t.Errorf("replaced (-want +got):\n%s", diff)
	}
}

func TestLookInjectedGoesOnWhenTheReplacementIsThere(t *testing.T) {
	runner, _ := looker(nil)
	looking(t, runner, snapshotOf(podsOf(lacking, lacking)...), injectedGate)
	next := podsOf(whole, lacking)
	next[1].(*corev1.Pod).UID, next[1].(*corev1.Pod).Name = "new", "cart-5d8f7-9"
	looking(t, runner, snapshotOf(next...), injectedGate)
	if diff := cmp.Diff([]string{"evict cart-5d8f7-0", "evict cart-5d8f7-1"}, replacedPods(t, runner)); diff != "" {
		t.Errorf("replaced (-want +got):\n%s", diff)
	}
}

func TestLookInjectedHeedsPodDisruptionBudgets(t *testing.T) {
	snapshot := snapshotOf(podsOf(lacking, whole)...)
	runner, _ := looker(snapshot)
	refusals := 2
	answerEvictions(runner, func() error {
		if refusals == 0 {
			return nil
		}
		refusals--
		return apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 10)
	})
	for range 2 {
		got := looking(t, runner, snapshot, injectedGate)
		missing(t, got, "has no sidecar", "PodDisruptionBudget")
		if got.retry <= 0 {
			t.Error("nobody tries again")
		}
		if runner.changed || got.failed {
			t.Errorf("changed is %t, failed %t", runner.changed, got.failed)
		}
	}
	looking(t, runner, snapshot, injectedGate)
	if !runner.changed {
		t.Error("it is not evicted when the budget allows it")
	}
	// What was refused does not count against the limit.
	if n := runner.replacements[fixture.UID("Deployment", "shop", "cart")]; n != 1 {
		t.Errorf("%d replacements are counted", n)
	}
}

func TestLookInjectedNamesPodsUnderSeveralBudgets(t *testing.T) {
	snapshot := snapshotOf(podsOf(lacking, whole)...)
	runner, _ := looker(snapshot)
	// This is how the API server says it.
	answer := error(&apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: 500,
		Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
	}})
	answerEvictions(runner, func() error { return answer })
	got := looking(t, runner, snapshot, injectedGate)
	missing(t, got, "has no sidecar", "more than one PodDisruptionBudget selects it")
	if got.failed || got.retry <= 0 || runner.changed {
		t.Errorf("failed is %t, tried again after %s, changed %t", got.failed, got.retry, runner.changed)
	}
	answer = nil
	looking(t, runner, snapshot, injectedGate)
	if !runner.changed {
		t.Error("it is not evicted when one budget is left")
	}
	answer = apierrors.NewInternalError(errors.New("no leader"))
	runner, _ = looker(snapshot)
	answerEvictions(runner, func() error { return answer })
	if _, err := runner.lookInjected(t.Context(), snapshot, injectedGate); err == nil {
		t.Error("another 500 is no error")
	}
}

func TestLookInjectedBearsPodsThatAreGoneAlready(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	for _, test := range []struct {
		answer error
		waits  []string
	}{
		{apierrors.NewNotFound(pods, "cart"), []string{"has no sidecar"}},
		// It may be there still: whoever is evicted only once is not to be taken for that.
		{apierrors.NewConflict(pods, "cart", errors.New("modified")), []string{"has no sidecar", "another write came in between"}},
	} {
		snapshot := snapshotOf(podsOf(lacking)...)
		runner, _ := looker(snapshot)
		answer := test.answer
		answerEvictions(runner, func() error { return answer })
		missing(t, looking(t, runner, snapshot, injectedGate), test.waits...)
		if runner.changed {
			t.Error("it claims to have changed something")
		}
		answer = nil
		looking(t, runner, snapshot, injectedGate)
		if again := apierrors.IsConflict(test.answer); runner.changed != again {
			t.Errorf("after %v it is evicted again: %t", test.answer, runner.changed)
		}
	}
	snapshot := snapshotOf(podsOf(lacking)...)
	runner, _ := looker(snapshot)
	forbidden := apierrors.NewForbidden(pods, "cart", errors.New("not you"))
	answerEvictions(runner, func() error { return forbidden })
	if _, err := runner.lookInjected(t.Context(), snapshot, injectedGate); !errors.Is(err, forbidden) || !strings.Contains(err.Error(), "evict Pod shop/cart-5d8f7-0") {
		t.Errorf("the error is %v", err)
	}
}

// An injector that does not inject must not take a workload down for ever.
func TestLookInjectedStopsReplacingInTheEnd(t *testing.T) {
	runner, _ := looker(nil)
	for i := range 10 {
		objects := podsOf(lacking, lacking)
		for j := range 2 {
			pod := objects[j+1].(*corev1.Pod)
			pod.Name = fmt.Sprintf("cart-%d-%d", i, j)
			pod.UID = fixture.UID("Pod", "shop", pod.Name)
		}
		got := looking(t, runner, snapshotOf(objects...), injectedGate)
		if n := len(replacedPods(t, runner)); n > 4 {
			t.Fatalf("%d pods of a workload of 2 were replaced", n)
		}
		if i < 4 {
			if got.failed {
				t.Fatalf("it gives up after %d replacements", i)
			}
			continue
		}
		if !got.failed {
			t.Fatal("it does not give up")
		}
		missing(t, got, "came up without a sidecar again")
	}
}

// An eviction of a pod that is not ready may be refused for ever. It is deleted, but while
// another member is away only once it is stuck: a quorum's members are often not ready for
// that very reason.
func TestLookInjectedDeletesOnlyThePodThatAStatefulSetIsStuckOn(t *testing.T) {
	budget := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 10)
	for name, test := range map[string]struct {
		answer error
		away   bool
		after  time.Duration
		want   []string
	}{
		"its eviction is allowed":               {nil, false, 0, []string{"evict db-1"}},
		"it is refused":                         {budget, false, 0, []string{"evict db-1", "delete db-1"}},
		"another is away":                       {nil, true, 29 * time.Second, nil},
		"another is away, and it is stuck":      {nil, true, 30 * time.Second, []string{"evict db-1"}},
		"it is stuck, and its eviction refused": {budget, true, 30 * time.Second, []string{"evict db-1", "delete db-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			set := fixture.StatefulSet("shop", "db", func(s *appsv1.StatefulSet) {
				replicas := int32(3)
				s.Spec.Replicas = &replicas
			})
			set.Status.UpdateRevision, set.Status.UpdatedReplicas, set.Status.ReadyReplicas, set.Status.AvailableReplicas = "db-2", 0, 2, 2
			pods := fixture.PodsOfSet(set)
			fixture.NotReady(pods[1].(*corev1.Pod))
			pods[1].(*corev1.Pod).ResourceVersion = "7"
			fixture.Sidecar(pods[2].(*corev1.Pod))
			if test.away {
				fixture.NotReady(pods[2].(*corev1.Pod))
			}
			snapshot := snapshotOf(append(pods, set)...)
			runner, _ := looker(snapshot)
			answerEvictions(runner, func() error { return test.answer })
			now := fixture.Created
			runner.Now, runner.GateTimeout = func() time.Time { return now }, time.Minute
			var got verdict
			if test.away {
				if got = looking(t, runner, snapshot, injectedGate); got.retry <= 0 || len(replacedPods(t, runner)) > 0 {
					t.Errorf("at first it has replaced %v, and looks again in %s", replacedPods(t, runner), got.retry)
				}
			}
			now = now.Add(test.after)
			got = looking(t, runner, snapshot, injectedGate)
			if diff := cmp.Diff(test.want, replacedPods(t, runner)); diff != "" {
				t.Errorf("replaced (-want +got):\n%s", diff)
			}
			if waits := test.want == nil; waits != slices.ContainsFunc(got.missing, func(text string) bool {
				return strings.Contains(text, "Pod shop/db-1: it is replaced when the others of its workload are back, or once it was not ready for 30s")
			}) {
				t.Errorf("it waits for %q", got.missing)
			}
		})
	}
}

// Evictions have no surge: were one pod of every workload evicted at once, all of a
// namespace could be away.
func TestLookInjectedReplacesPodsWorkloadByWorkload(t *testing.T) {
	ofWorkload := func(name string, edits ...func(*corev1.Pod)) []any {
		deployment := fixture.Deployment("shop", name, fixture.Replicas(1))
		pods := fixture.PodsOf(deployment)
		for _, edit := range edits {
			edit(pods[1].(*corev1.Pod))
		}
		return append(pods, deployment)
	}
	runner, _ := looker(nil)
	cart, web := ofWorkload("cart", lacking...), ofWorkload("web", lacking...)
	looking(t, runner, snapshotOf(append(cart, web...)...), injectedGate)
	looking(t, runner, snapshotOf(append(cart, web...)...), injectedGate)
	coming := ofWorkload("cart", append(slices.Clone(whole), fixture.NotReady)...)
	looking(t, runner, snapshotOf(append(coming, web...)...), injectedGate)
	if diff := cmp.Diff([]string{"evict " + cart[1].(*corev1.Pod).Name}, replacedPods(t, runner)); diff != "" {
		t.Errorf("replaced (-want +got):\n%s", diff)
	}
	looking(t, runner, snapshotOf(append(ofWorkload("cart", whole...), web...)...), injectedGate)
	if diff := cmp.Diff([]string{"evict " + cart[1].(*corev1.Pod).Name, "evict " + web[1].(*corev1.Pod).Name}, replacedPods(t, runner)); diff != "" {
		t.Errorf("replaced (-want +got):\n%s", diff)
	}
}

// A StatefulSet's stuck pod that has its sidecar is not this run's making.
func TestLookInjectedLeavesOtherStuckPodsAlone(t *testing.T) {
	set := fixture.StatefulSet("shop", "db")
	set.Status.ReadyReplicas, set.Status.AvailableReplicas = 0, 0
	snapshot := snapshotOf(append(fixture.PodsOfSet(set, fixture.Sidecar, fixture.NotReady), set)...)
	runner, _ := looker(snapshot)
	looking(t, runner, snapshot, injectedGate)
	if pods := replacedPods(t, runner); len(pods) > 0 {
		t.Errorf("it replaced %v", pods)
	}
	old := snapshotOf(append(fixture.PodsOfSet(set, append(older, fixture.NotReady)...), set)...)
	looking(t, runner, old, injectedGate)
	if pods := replacedPods(t, runner); len(pods) > 0 {
		t.Errorf("it replaced %v, which were there before", pods)
	}
}

func TestLookInjectedIsAboutWhatShouldHaveSidecars(t *testing.T) {
	quiet := fixture.Deployment("shop", "quiet", fixture.TemplateLabel(inject, "false"))
	gateway := fixture.Deployment("shop", "ingress", fixture.InjectedGateway)
	job := fixture.Job("shop", "import")
	cron := fixture.CronJob("shop", "report")
	run := fixture.Job("shop", "report-1", func(job *batchv1.Job) {
		job.OwnerReferences = append(job.OwnerReferences, fixture.Owner("CronJob", "batch/v1", &cron.ObjectMeta))
	})
	manual := fixture.Deployment("shop", "manual", func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: "istio-proxy"})
	})
	snapshot := snapshotOf(quiet, fixture.PodsOf(quiet), gateway, fixture.PodsOf(gateway), manual, fixture.PodsOf(manual), cron, run, job,
		fixture.Pod("shop", "import-x", fixture.Of("Job", "batch/v1", &job.ObjectMeta, fixture.Template("import"))), fixture.Pod("shop", "report-x", fixture.Of("Job", "batch/v1", &run.ObjectMeta, fixture.Template("report"))),
		fixture.Pod("shop", "bare"))
	runner, _ := looker(snapshot)
	missing(t, looking(t, runner, snapshot, injectedGate))
	if pods := replacedPods(t, runner); len(pods) > 0 {
		t.Errorf("it replaced %v", pods)
	}
}

func TestLookInjectedIsAboutTheWorkloadsNamed(t *testing.T) {
	other := fixture.Deployment("shop", "other")
	snapshot := snapshotOf(append(podsOf(whole), other, fixture.PodsOf(other))...)
	runner, _ := looker(snapshot)
	gate := injectedGate
	gate.Workloads = []v1alpha1.ObjectReference{reference("Deployment", "cart")}
	missing(t, looking(t, runner, snapshot, gate))
	gate.Workloads = append(gate.Workloads, reference("Deployment", "other"))
	missing(t, looking(t, runner, snapshot, gate), "Pod shop/other-5d8f7-0 has no sidecar")
	gate.Workloads = []v1alpha1.ObjectReference{reference("Deployment", "deleted")}
	missing(t, looking(t, runner, snapshot, gate))
}

func TestLookInjectedWithoutSinceIsAboutAllPods(t *testing.T) {
	snapshot := snapshotOf(podsOf(older)...)
	runner, _ := looker(snapshot)
	missing(t, looking(t, runner, snapshot, v1alpha1.Gate{Kind: v1alpha1.GateInjected}), "has no sidecar")
}

// An eviction or a deletion whose answer was lost may have been carried out.
func TestReplacingAPodMayHaveChangedSomethingWhereTheAnswerIsLost(t *testing.T) {
	set := fixture.StatefulSet("shop", "db")
	set.Status.UpdateRevision, set.Status.UpdatedReplicas, set.Status.ReadyReplicas, set.Status.AvailableReplicas = "db-2", 0, 0, 0
	for name, objects := range map[string][]any{
		"an eviction": podsOf(lacking), "a deletion": append(fixture.PodsOfSet(set, fixture.NotReady), set),
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := snapshotOf(objects...)
			runner, _ := looker(snapshot)
			lost := errors.New("read: connection reset by peer")
			runner.Kube.(*fake.Clientset).PrependReactor("*", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
				return action.GetVerb() == "delete" || action.GetSubresource() == "eviction", nil, lost
			})
			if _, err := runner.lookInjected(t.Context(), snapshot, injectedGate); !errors.Is(err, lost) {
				t.Fatalf("the error is %v", err)
			}
			if !runner.changed {
				t.Error("it claims to have changed nothing")
			}
		})
	}
}
