package actions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	fakedynamic "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	clienttesting "k8s.io/client-go/testing"
)

// trial is a run against fake API servers, and a log of what it wrote.
type trial struct {
	*Runner
	dynamic *fakedynamic.FakeDynamicClient
	record  *v1alpha1.MigrationRecord
	// version is the newest resource version given.
	version int

	mu  sync.Mutex
	log []string
}

func (r *trial) note(format string, arguments ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf(format, arguments...))
}

// strict answers no request whose context has ended, as a real client does; the
// fake one does not care.
type strict struct{ corev1client.ConfigMapsGetter }

func (s strict) ConfigMaps(namespace string) corev1client.ConfigMapInterface {
	return strictConfigMaps{s.ConfigMapsGetter.ConfigMaps(namespace)}
}

type strictConfigMaps struct {
	corev1client.ConfigMapInterface
}

func (s strictConfigMaps) Update(ctx context.Context, object *corev1.ConfigMap, options metav1.UpdateOptions) (*corev1.ConfigMap, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return s.ConfigMapInterface.Update(ctx, object, options)
}

func (s strictConfigMaps) Delete(ctx context.Context, name string, options metav1.DeleteOptions) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.ConfigMapInterface.Delete(ctx, name, options)
}

// newTrial prepares a run of the steps in a mesh that holds the objects.
func newTrial(t *testing.T, steps []v1alpha1.Step, objects ...any) *trial {
	t.Helper()
	content := fixture.Content(append(fixture.Installation(), objects...)...)
	kube := fake.NewClientset()
	r := &trial{version: 100000, dynamic: fixture.NewDynamic(content.Objects), record: &v1alpha1.MigrationRecord{
		TypeMeta: v1alpha1.Document(v1alpha1.KindMigrationRecord), ID: "one", Operation: v1alpha1.OperationEnroll, Namespace: "shop", State: v1alpha1.RunRunning,
		Plan: v1alpha1.MigrationPlan{Namespace: "shop", Steps: steps},
	}}
	for _, step := range steps {
		r.record.Steps = append(r.record.Steps, v1alpha1.StepRecord{ID: step.ID, State: v1alpha1.StepPending})
	}
	now := fixture.Created
	r.Runner = &Runner{
		Namespace: "shop", Writer: Writer{Dynamic: r.dynamic, Mapper: fixture.Mapper()}, Kube: kube, Store: record.NewStore(strict{kube.CoreV1()}, "shop"), Mesh: content,
		Evidence: func(context.Context, []string) (*mesh.Evidence, error) { return &mesh.Evidence{}, nil },
		Istiods:  inStep,
		Now: func() time.Time {
			now = now.Add(time.Second)
			return now
		},
	}
	if err := r.Store.Create(t.Context(), r.record); err != nil {
		t.Fatal(err)
	}
	kube.PrependReactor("update", "configmaps", func(action clienttesting.Action) (bool, runtime.Object, error) {
		stored, err := record.Unpack(action.(clienttesting.UpdateAction).GetObject().(*corev1.ConfigMap), nil)
		if err != nil {
			t.Error(err)
			return false, nil, nil
		}
		var states []string
		for _, step := range stored.Steps {
			states = append(states, string(step.State))
		}
		r.note("record %s: %s", stored.State, strings.Join(states, " "))
		return false, nil, nil
	})
	kube.PrependReactor("delete", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		r.note("delete the record")
		return false, nil, nil
	})
	r.dynamic.PrependReactor("patch", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		patch := action.(clienttesting.PatchAction)
		if patch.GetPatchType() == types.ApplyPatchType {
			// A creation.
			return false, nil, nil
		}
		r.note("patch %s", patch.GetName())
		return r.patch(action)
	})
	return r
}

// patch does what the fake API server does and, as a real one, gives the object
// a new resource version.
func (r *trial) patch(action clienttesting.Action) (bool, runtime.Object, error) {
	handled, object, err := clienttesting.ObjectReaction(r.dynamic.Tracker())(action)
	if !handled || err != nil {
		return handled, object, err
	}
	written := object.(*unstructured.Unstructured).DeepCopy()
	r.version++
	written.SetResourceVersion(strconv.Itoa(r.version))
	return true, written, r.dynamic.Tracker().Update(action.GetResource(), written, action.GetNamespace())
}

// stored is the record as the cluster holds it; nil where it holds none.
func (r *trial) stored(t *testing.T) *v1alpha1.MigrationRecord {
	t.Helper()
	configMap, err := r.Kube.CoreV1().ConfigMaps("shop").Get(context.Background(), record.Name("one"), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	stored, err := record.Unpack(configMap, nil)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func (r *trial) labels(t *testing.T) labels {
	t.Helper()
	object, err := r.Writer.Get(context.Background(), namespaceReference)
	if err != nil {
		t.Fatal(err)
	}
	return object.GetLabels()
}

func stepOf(id string, gate v1alpha1.GateKind, fields ...v1alpha1.FieldChange) v1alpha1.Step {
	step := v1alpha1.Step{ID: id, Summary: id, Gate: v1alpha1.Gate{Kind: gate}}
	if len(fields) > 0 {
		step.Changes = []v1alpha1.Change{change(fields...)}
	}
	return step
}

// twoSteps label the namespace and take a label away.
func twoSteps() []v1alpha1.Step {
	return []v1alpha1.Step{
		stepOf("a", v1alpha1.GateNone, field(modePath, nil, "ambient")), stepOf("b", v1alpha1.GateNone, field(injectionPath, "enabled", nil)),
	}
}

func enabledShop() any { return fixture.Namespace("shop", labels{"istio-injection": "enabled"}) }

func (r *trial) expect(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, r.log); diff != "" {
		t.Errorf("what was written (-want +got):\n%s", diff)
	}
}

func TestRunRecordsEachStepBeforeAndAfter(t *testing.T) {
	r := newTrial(t, twoSteps(), enabledShop())
	var told []string
	r.Events = Events{
		StepStarted: func(number, of int, step v1alpha1.Step) {
			told = append(told, fmt.Sprintf("%d/%d %s", number, of, step.ID))
		},
		StepDone: func(number, of int, _ v1alpha1.Step, took time.Duration) {
			told = append(told, fmt.Sprintf("%d/%d done %t", number, of, took > 0))
		},
	}
	changed, err := r.Run(t.Context(), r.record)
	if err != nil || !changed {
		t.Fatalf("changed is %t, %v", changed, err)
	}
	r.expect(t, "record running: running pending", "patch shop", "record running: done pending", "record running: done running", "patch shop", "record running: done done", "record succeeded: done done")
	if diff := cmp.Diff([]string{"1/2 a", "1/2 done true", "2/2 b", "2/2 done true"}, told); diff != "" {
		t.Errorf("it tells (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(labels{"kubernetes.io/metadata.name": "shop", "istio.io/dataplane-mode": "ambient"}, r.labels(t)); diff != "" {
		t.Errorf("the labels are (-want +got):\n%s", diff)
	}
	stored := r.stored(t)
	if stored.State != v1alpha1.RunSucceeded || stored.Reason != "" || stored.Finished == nil {
		t.Errorf("the record is %s (%s), finished %v", stored.State, stored.Reason, stored.Finished)
	}
	for i, want := range []labels{{"istio-injection": "enabled"}, {"istio-injection": "enabled", "istio.io/dataplane-mode": "ambient"}} {
		before := stored.Steps[i].Before
		if len(before) != 1 || before[0].Object != namespaceReference {
			t.Fatalf("step %d holds %v", i, before)
		}
		object := unstructured.Unstructured{Object: before[0].Content}
		want["kubernetes.io/metadata.name"] = "shop"
		if diff := cmp.Diff(want, object.GetLabels()); diff != "" {
			t.Errorf("before step %d the labels were (-want +got):\n%s", i, diff)
		}
		if stored.Steps[i].Started == nil || stored.Steps[i].Finished == nil || stored.Steps[i].Finished.Before(*stored.Steps[i].Started) {
			t.Errorf("step %d ran from %v to %v", i, stored.Steps[i].Started, stored.Steps[i].Finished)
		}
	}
}

func refuse(resource string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "shop", errors.New("not you"))
}

func TestRunThatFailsAfterAChangeIsIncomplete(t *testing.T) {
	r := newTrial(t, twoSteps(), enabledShop())
	n := 0
	r.dynamic.PrependReactor("patch", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		n++
		return n > 1, nil, refuse("namespaces")
	})
	changed, err := r.Run(t.Context(), r.record)
	if !changed || !apierrors.IsForbidden(err) || !strings.HasPrefix(err.Error(), "step b: ") {
		t.Fatalf("changed is %t, %v", changed, err)
	}
	r.expect(t, "record running: running pending", "patch shop", "record running: done pending", "record running: done running", "record incomplete: done failed")
	stored := r.stored(t)
	if stored.State != v1alpha1.RunIncomplete || stored.Reason != err.Error() || !strings.Contains(stored.Steps[1].Message, "not you") {
		t.Errorf("the record is %s (%s), its step says %q", stored.State, stored.Reason, stored.Steps[1].Message)
	}
}

func TestRunThatFailsAndChangedNothingLeavesNoRecord(t *testing.T) {
	r := newTrial(t, twoSteps(), enabledShop())
	r.dynamic.PrependReactor("patch", "*", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, refuse("namespaces") })
	changed, err := r.Run(t.Context(), r.record)
	if changed || !apierrors.IsForbidden(err) {
		t.Fatalf("changed is %t, %v", changed, err)
	}
	r.expect(t, "record running: running pending", "delete the record")
	if r.stored(t) != nil {
		t.Error("there is a record of a run that changed nothing")
	}
}

// What cannot be kept is not changed.
func TestRunStopsWhereNoBackupCanBeWritten(t *testing.T) {
	r := newTrial(t, twoSteps(), enabledShop())
	full, kept := errors.New("no space left"), 0
	r.Backup = func(images []v1alpha1.BeforeImage) error {
		if kept += len(images); kept > 1 {
			return full
		}
		if images[0].Object.Kind != mesh.KindNamespace || images[0].Content["kind"] != "Namespace" {
			t.Errorf("it is given %+v", images[0])
		}
		r.note("keep %s", images[0].Object.Name)
		return nil
	}
	changed, err := r.Run(t.Context(), r.record)
	if !changed || !errors.Is(err, full) || !strings.HasPrefix(err.Error(), "before step b: ") {
		t.Fatalf("changed is %t, %v", changed, err)
	}
	r.expect(t, "keep shop", "record running: running pending", "patch shop", "record running: done pending", "record incomplete: done pending")
}

// A patch can be carried out although its answer never arrives: the connection
// breaks, or the time is over. Its record is all that a rollback has.
func TestRunKeepsTheRecordWhereItIsNotKnownWhetherSomethingWasChanged(t *testing.T) {
	for name, lost := range map[string]error{
		"the connection breaks": errors.New("read: connection reset by peer"), "the time is over": context.DeadlineExceeded, "it is interrupted": context.Canceled,
		"the API server takes too long": apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0),
	} {
		t.Run(name, func(t *testing.T) {
			r := newTrial(t, twoSteps(), enabledShop())
			r.dynamic.PrependReactor("patch", "namespaces", func(clienttesting.Action) (bool, runtime.Object, error) {
				resource := schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
				patched := shopNamespace(labels{"istio-injection": "enabled", "istio.io/dataplane-mode": "ambient"})
				patched.SetResourceVersion("2")
				if err := r.dynamic.Tracker().Update(resource, patched, ""); err != nil {
					t.Error(err)
				}
				return true, nil, lost
			})
			changed, err := r.Run(t.Context(), r.record)
			if err == nil {
				// Having looked again and gone on is fine, too.
				return
			}
			if !changed {
				t.Errorf("it claims to have changed nothing: %v", err)
			}
			if stored := r.stored(t); stored == nil {
				t.Error("the record is gone, and the label is there")
			}
		})
	}
}

func TestRunWithAContextThatHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := newTrial(t, twoSteps(), enabledShop())
	changed, err := r.Run(ctx, r.record)
	if changed || !errors.Is(err, context.Canceled) {
		t.Errorf("changed is %t, %v", changed, err)
	}
	if r.stored(t) != nil {
		t.Error("there is a record of a run that changed nothing")
	}
}

func TestRunThatIsInterruptedBetweenSteps(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := newTrial(t, twoSteps(), enabledShop())
	r.Events.StepDone = func(int, int, v1alpha1.Step, time.Duration) { cancel() }
	changed, err := r.Run(ctx, r.record)
	if !changed || !errors.Is(err, context.Canceled) {
		t.Errorf("changed is %t, %v", changed, err)
	}
	r.expect(t, "record running: running pending", "patch shop", "record running: done pending", "record incomplete: done pending")
	if stored := r.stored(t); stored.State != v1alpha1.RunIncomplete || stored.Reason == "" {
		t.Errorf("the record is %s (%s)", stored.State, stored.Reason)
	}
}

// Whoever wrote the record in between may have started a run of their own.
func TestRunStopsWhereSomebodyElseHasWrittenTheRecord(t *testing.T) {
	r := newTrial(t, twoSteps(), enabledShop())
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "configmaps"}, "one", errors.New("modified"))
	r.Kube.(*fake.Clientset).PrependReactor("update", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, conflict })
	changed, err := r.Run(t.Context(), r.record)
	if changed || !apierrors.IsConflict(err) || !strings.HasPrefix(err.Error(), "before step a: ") {
		t.Errorf("changed is %t, %v", changed, err)
	}
	if slices.Contains(r.log, "patch shop") {
		t.Error("it changed the cluster without a record")
	}
}

func TestRunNamesWhatOthersHaveChanged(t *testing.T) {
	r := newTrial(t, twoSteps(), fixture.Namespace("shop", labels{"istio-injection": "enabled", "istio.io/dataplane-mode": "none"}))
	changed, err := r.Run(t.Context(), r.record)
	var other *ChangedError
	if changed || !errors.As(err, &other) {
		t.Errorf("changed is %t, %v", changed, err)
	}
}

func TestRunPassesOverWhatIsDoneAlready(t *testing.T) {
	r := newTrial(t, twoSteps(), fixture.Namespace("shop", labels{"istio.io/dataplane-mode": "ambient"}))
	changed, err := r.Run(t.Context(), r.record)
	if changed || err != nil {
		t.Errorf("changed is %t, %v", changed, err)
	}
	if stored := r.stored(t); stored == nil || stored.State != v1alpha1.RunSucceeded {
		t.Errorf("the record is %v", stored)
	}
}

// update writes an object as somebody else would.
func (r *trial) update(t *testing.T, object unstructured.Unstructured) {
	t.Helper()
	for resource, kind := range fixture.Kinds[object.GetAPIVersion()] {
		if kind != object.GetKind() {
			continue
		}
		version, err := schema.ParseGroupVersion(object.GetAPIVersion())
		if err != nil {
			t.Fatal(err)
		}
		if err := r.dynamic.Tracker().Update(version.WithResource(resource), &object, object.GetNamespace()); err != nil {
			t.Error(err)
		}
	}
}

// shopWithCart is a namespace whose workload is switched, and a step that waits
// for its pods.
func shopWithCart(edits ...func(*corev1.Pod)) ([]v1alpha1.Step, []any) {
	wait := stepOf("b", v1alpha1.GateCaptured)
	wait.Gate.Workloads = []v1alpha1.ObjectReference{reference("Deployment", "cart")}
	return []v1alpha1.Step{stepOf("a", v1alpha1.GateNone, field(modePath, nil, "ambient")), wait}, []any{fixture.Namespace("shop", nil), switched(), fixture.PodsOf(switched(), edits...)}
}

func TestRunWaitsAtAGateUntilItHolds(t *testing.T) {
	steps, objects := shopWithCart()
	r := newTrial(t, steps, objects...)
	pod := func(edits ...func(*corev1.Pod)) unstructured.Unstructured {
		return fixture.Object(fixture.PodsOf(switched(), edits...)[1])
	}
	var proxied bool
	r.Evidence = func(context.Context, []string) (*mesh.Evidence, error) {
		if !proxied {
			return &mesh.Evidence{}, nil
		}
		return evidenceFor(fixture.Snapshot(pod()).Pods("shop")...), nil
	}
	var waited []string
	r.Events.Waiting = func(step v1alpha1.Step, missing []string) {
		waited = append(waited, step.ID+": "+strings.Join(missing, "; "))
		switch len(waited) {
		case 1:
			r.update(t, pod(fixture.Ambient))
		case 2:
			proxied = true
			r.update(t, pod(fixture.Ambient, fixture.Annotated("touched", "true")))
		}
	}
	changed, err := r.Run(t.Context(), r.record)
	if !changed || err != nil {
		t.Fatalf("changed is %t, %v", changed, err)
	}
	want := []string{"b: Pod shop/cart-5d8f7-0 is not redirected to ztunnel yet", "b: Pod shop/cart-5d8f7-0: ztunnel on node node-1 was not asked"}
	if diff := cmp.Diff(want, waited); diff != "" {
		t.Errorf("it waited for (-want +got):\n%s", diff)
	}
}

// A gate that judged the mesh as it was before the write would hold at once.
func TestRunDoesNotJudgeAGateByWhatItHasNotSeenYet(t *testing.T) {
	r := newTrial(t, []v1alpha1.Step{stepOf("a", v1alpha1.GateCaptured, field(modePath, nil, "ambient"))}, fixture.Namespace("shop", nil), fixture.Pod("shop", "cart"))
	r.dynamic.PrependWatchReactor("namespaces", func(clienttesting.Action) (bool, watch.Interface, error) { return true, watch.NewFake(), nil })
	r.dynamic.PrependReactor("patch", "namespaces", func(clienttesting.Action) (bool, runtime.Object, error) {
		written := fixture.Object(fixture.Namespace("shop", labels{"istio.io/dataplane-mode": "ambient"}))
		written.SetResourceVersion("1000000")
		return true, &written, nil
	})
	r.GateTimeout = 50 * time.Millisecond
	changed, err := r.Run(t.Context(), r.record)
	if !changed || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "waiting to see what was written") {
		t.Errorf("changed is %t, %v", changed, err)
	}
}

func TestRunGivesUpAtAGateWhenItsTimeIsOver(t *testing.T) {
	steps, objects := shopWithCart(fixture.NotReady)
	r := newTrial(t, steps, objects...)
	r.GateTimeout = 500 * time.Millisecond
	if _, err := r.Kube.CoreV1().Events("shop").Create(t.Context(), event("Pod", "cart-5d8f7-0", "Unhealthy", fixture.Created), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	changed, err := r.Run(t.Context(), r.record)
	var gate *GateError
	if !changed || !errors.As(err, &gate) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("changed is %t, %v", changed, err)
	}
	if gate.Step.ID != "b" || len(gate.Missing) != 1 || !strings.Contains(gate.Missing[0], "Pod shop/cart-5d8f7-0 is not ready") {
		t.Errorf("the gate is %+v", gate)
	}
	if diff := cmp.Diff([]string{"Pod shop/cart-5d8f7-0: Unhealthy: because"}, gate.Events); diff != "" {
		t.Errorf("the events are (-want +got):\n%s", diff)
	}
	if stored := r.stored(t); stored.State != v1alpha1.RunIncomplete || stored.Steps[1].State != v1alpha1.StepFailed {
		t.Errorf("the record is %+v", stored)
	}
}

// A ztunnel that does not answer is what the gate waits for, and has to be named
// when the time is over.
func TestRunSaysThatZtunnelDidNotAnswer(t *testing.T) {
	steps, objects := shopWithCart(fixture.Ambient)
	r := newTrial(t, steps, objects...)
	r.GateTimeout = 50 * time.Millisecond
	r.Evidence = func(ctx context.Context, _ []string) (*mesh.Evidence, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	_, err := r.Run(t.Context(), r.record)
	var gate *GateError
	if !errors.As(err, &gate) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the error is %v", err)
	}
	if !strings.Contains(err.Error(), "ztunnel") {
		t.Errorf("the error does not say what was waited for: %v", err)
	}
}

func TestRunGivesUpAtAGateWhoseControllerHas(t *testing.T) {
	stuck := exceeded(fixture.Created)
	for _, test := range []struct {
		name string
		// before is the Deployment when the step begins.
		before *appsv1.Deployment
	}{{"it was rolling", rolling()}, {"it had exceeded an earlier deadline", exceeded(fixture.Created.Add(-time.Hour))}} {
		t.Run(test.name, func(t *testing.T) {
			steps, _ := shopWithCart()
			r := newTrial(t, steps, fixture.Namespace("shop", nil), test.before)
			r.Events.Waiting = func(v1alpha1.Step, []string) { r.update(t, fixture.Object(stuck)) }
			_, err := r.Run(t.Context(), r.record)
			if !errors.Is(err, errGivenUp) || !strings.Contains(err.Error(), "Deployment shop/cart") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// What a controller goes on to say of the template before is no failure of the step.
func TestRunWaitsAtAGateWhoseControllerHadGivenUpBefore(t *testing.T) {
	steps, _ := shopWithCart()
	pods := fixture.PodsOf(switched(), fixture.Ambient)
	r := newTrial(t, steps, fixture.Namespace("shop", nil), exceeded(fixture.Created), pods)
	r.Evidence = func(context.Context, []string) (*mesh.Evidence, error) {
		return evidenceFor(fixture.Snapshot(pods).Pods("shop")...), nil
	}
	var waited []string
	r.Events.Waiting = func(_ v1alpha1.Step, missing []string) {
		waited = append(waited, missing...)
		r.update(t, fixture.Object(switched()))
	}
	if _, err := r.Run(t.Context(), r.record); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Deployment shop/cart: Progress deadline exceeded"}, waited); diff != "" {
		t.Errorf("it waited for (-want +got):\n%s", diff)
	}
}

// rolling is a Deployment whose new pods are yet to come.
func rolling() *appsv1.Deployment {
	deployment := switched()
	deployment.Status.UpdatedReplicas = 0
	return deployment
}

// exceeded is one whose controller gave up at a time.
func exceeded(at time.Time) *appsv1.Deployment {
	deployment := rolling()
	deployment.Status.Conditions[1] = appsv1.DeploymentCondition{
		Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded", LastUpdateTime: metav1.NewTime(at),
	}
	return deployment
}

// A state that is older than what was written says nothing yet; a newer one
// does, whatever somebody else has made of the field.
func TestSeen(t *testing.T) {
	shop := fixture.Namespace("shop", nil)
	shop.ResourceVersion = "100"
	there := v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: "shop"}
	for _, test := range []struct {
		name    string
		object  v1alpha1.ObjectReference
		written writing
		want    bool
	}{
		{"older", there, writing{version: "101"}, false},
		{"the same", there, writing{version: "100"}, true},
		{"newer", there, writing{version: "99"}, true},
		{"deleted since", reference("Deployment", "gone"), writing{version: "101"}, true},
		{"created and not there yet", reference("Deployment", "gone"), writing{version: "101", created: true}, false},
		{"versions that do not compare", there, writing{version: "x"}, false},
	} {
		if got := seen(fixture.Snapshot(shop).Object, map[v1alpha1.ObjectReference]writing{test.object: test.written}); got != test.want {
			t.Errorf("%s: seen is %t", test.name, got)
		}
	}
}

// Pods come and go. One that is gone before it is pinned needs no pin.
func TestRunPassesOverAPodThatIsGone(t *testing.T) {
	pin := v1alpha1.Step{ID: "pin/pods", Gate: v1alpha1.Gate{Kind: v1alpha1.GateNone}, Changes: []v1alpha1.Change{{
		Object: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "gone"}, UID: "gone", Fields: []v1alpha1.FieldChange{field(modePath, nil, "none")},
	}}}
	r := newTrial(t, append([]v1alpha1.Step{pin}, twoSteps()...), enabledShop())
	if _, err := r.Run(t.Context(), r.record); err != nil {
		t.Errorf("the run fails: %v", err)
	}
}

func TestGateBaseKeepsWhatDecidesHowPodsComeUp(t *testing.T) {
	content := fixture.Content(fixture.Installation(), fixture.Namespace("shop", nil), fixture.DaemonSet("shop", "agent"), fixture.Pod("shop", "cart"))
	var kinds []string
	for _, object := range gateBase(content, base("shop")).Objects {
		kinds = append(kinds, object.GetKind()+" "+object.GetName())
	}
	slices.Sort(kinds)
	want := []string{"ConfigMap istio", "ConfigMap istio-cni-config", "DaemonSet istio-cni-node", "DaemonSet ztunnel", "Deployment istiod", "MutatingWebhookConfiguration istio-sidecar-injector"}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
