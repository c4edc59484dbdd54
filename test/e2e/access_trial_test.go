package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/randommesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/classes"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/actions"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/wait"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applydiscoveryv1 "k8s.io/client-go/applyconfigurations/discovery/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
)

func cached(client discovery.DiscoveryInterface) discovery.CachedDiscoveryInterface {
	return memory.NewMemCacheClient(client)
}

// rollbackEvery is how many meshes there are for one that is rolled back.
const rollbackEvery = 3

// trial is the migration of one mesh.
type trial struct {
	*testing.T
	*accessWorld
	mesh randommesh.Mesh
	// there and back are the migration and, of some meshes, its rollback.
	there, back leg
	// before is how all was before the migration, last how it was seen last.
	before, last *sighting
	// during is told when the middle of the restart under way has been looked at.
	during chan error
	// told is how many disagreements have been printed.
	told int
}

// leg is a plan that is carried out.
type leg struct {
	planned v1alpha1.MigrationPlan
	// stages are what the plan expects.
	stages []compare.Stage
	// atoms are what calls can be told apart by in any of the stages, by the workload
	// that answers.
	atoms map[v1alpha1.ObjectReference]*classes.Atoms
	// began is how all was seen to be when it began.
	began *sighting
}

// leg is the one that a stage is of.
func (r *trial) leg(at stage) *leg {
	if at.back {
		return &r.back
	}
	return &r.there
}

// try migrates a mesh, and rolls some of them back.
func (w *accessWorld) try(t *testing.T, drawn randommesh.Mesh) {
	if drawn.Exclusive {
		w.exclusive.Lock()
		defer w.exclusive.Unlock()
	} else {
		w.exclusive.RLock()
		defer w.exclusive.RUnlock()
	}
	r := &trial{T: t, accessWorld: w, mesh: drawn}
	defer r.remove()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if err := r.migrate(ctx); err != nil {
		t.Errorf("%v\nagain: ACCESS_SEED=%d go test -count=1 -run TestAccess .", err, drawn.Seed)
	}
	w.totals.meshes.Add(1)
}

func (r *trial) migrate(ctx context.Context) error {
	for i := range r.mesh.Objects {
		if err := r.create(ctx, &r.mesh.Objects[i]); err != nil {
			return err
		}
	}
	if err := r.quiet(ctx, r.unsettled); err != nil {
		return err
	}
	content, snapshot, err := r.read(ctx)
	if err != nil {
		return err
	}
	namespace, _ := snapshot.Namespace(r.mesh.Namespace)
	if r.there.planned, err = plan.Enroll(snapshot, namespace, plan.Options{Translation: r.mesh.Options}); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	r.noteGates()
	if r.there.stages, err = plan.Stages(snapshot, r.there.planned); err != nil {
		return fmt.Errorf("stages of the plan: %w", err)
	}
	if r.before, err = r.look(ctx, stage{step: -1}); err != nil {
		return fmt.Errorf("before the migration: %w", err)
	}
	r.there.began, r.last = r.before, r.before
	r.check(r.before)
	state := r.state(r.T, r.mesh.Namespace)
	run, err := r.run(ctx, "enroll", r.there.planned, content, actions.Events{StepStarted: r.stepStarted(ctx), StepDone: r.stepDone(ctx, false)})
	if err != nil {
		return fmt.Errorf("enroll: %w", err)
	}
	if r.mesh.Seed%rollbackEvery != 0 {
		return nil
	}
	return r.rollback(ctx, run, state)
}

// dealt are the gates that a test of decisions does not mind.
var dealt = []string{"calls-newly-allowed", "calls-newly-denied", "mixed-callers"}

// noteGates counts plans that something blocks which is not about calls.
func (r *trial) noteGates() {
	var others []string
	for _, gate := range r.there.planned.Gates {
		if gate.Blocks() && !slices.Contains(dealt, gate.ID) {
			others = append(others, gate.ID+": "+gate.Message)
		}
	}
	if len(others) > 0 {
		r.totals.blocked.Add(1)
		r.Logf("carried out although it is blocked by\n%s", strings.Join(others, "\n"))
	}
}

func (r *trial) resource(object *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := object.GroupVersionKind()
	mapping, err := r.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	resource := r.dynamic.Resource(mapping.Resource)
	if object.GetNamespace() == "" {
		return resource, nil
	}
	return resource.Namespace(object.GetNamespace()), nil
}

func (r *trial) create(ctx context.Context, object *unstructured.Unstructured) error {
	resource, err := r.resource(object)
	if err != nil {
		return err
	}
	if _, err = resource.Create(ctx, object, metav1.CreateOptions{FieldManager: "kubectl-create"}); err != nil {
		return fmt.Errorf("create %s %s: %w", object.GetKind(), object.GetName(), err)
	}
	return nil
}

// remove deletes the mesh, but does not wait for its namespaces to be gone.
func (r *trial) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i := range r.mesh.Objects {
		object := &r.mesh.Objects[i]
		if object.GetKind() != "Namespace" && object.GetNamespace() != randommesh.RootNamespace {
			continue
		}
		resource, err := r.resource(object)
		if err == nil {
			err = resource.Delete(ctx, object.GetName(), metav1.DeleteOptions{})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			r.Errorf("delete %s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
}

// quiet waits until a condition holds of each namespace of the mesh, and the
// endpoints of its Services are those of its pods.
func (r *trial) quiet(ctx context.Context, condition func(context.Context, string) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		last = r.writeEndpoints(ctx, "")
		for _, namespace := range r.namespaces() {
			last = errors.Join(last, condition(ctx, namespace), r.endpointsAreLate(ctx, namespace))
		}
		return last == nil, nil
	})
	return errors.Join(err, last)
}

func (r *trial) namespaces() []string {
	if r.mesh.Callers == "" {
		return []string{r.mesh.Namespace}
	}
	return []string{r.mesh.Namespace, r.mesh.Callers}
}

// endpointsAreLate returns an error where the EndpointSlices of a Service are not
// those of the pods that it selects.
func (r *trial) endpointsAreLate(ctx context.Context, namespace string) error {
	services, err := r.kube.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	pods, err := r.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	endpointSlices, err := r.kube.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, service := range services.Items {
		want, got := map[string]bool{}, map[string]bool{}
		for i := range pods.Items {
			pod := &pods.Items[i]
			if r.selector(&service).Matches(labels.Set(pod.Labels)) {
				want[pod.Status.PodIP] = ready(pod) && pod.DeletionTimestamp == nil
			}
		}
		for _, slice := range endpointSlices.Items {
			if slice.Labels["kubernetes.io/service-name"] != service.Name {
				continue
			}
			for _, endpoint := range slice.Endpoints {
				got[endpoint.Addresses[0]] = endpoint.Conditions.Ready != nil && *endpoint.Conditions.Ready
			}
		}
		// A port whose name only some pods have, or none, leaves them out.
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("endpoints of Service %s/%s (-pods +endpoints):\n%s", namespace, service.Name, diff)
		}
	}
	return nil
}

// selector selects the pods that are behind a Service, whoever writes its endpoints.
func (r *trial) selector(service *corev1.Service) labels.Selector {
	for _, endpoints := range r.mesh.Endpoints {
		if endpoints.Service == service.Name && service.Namespace == r.mesh.Namespace {
			return labels.SelectorFromSet(labels.Set{"app": endpoints.App})
		}
	}
	return labels.SelectorFromSet(service.Spec.Selector)
}

// refreshEndpoints writes the EndpointSlices that nobody else does once more after
// istiod knows their pods.
//
// What istiod tells callers of an endpoint is made of the pod that it knows by that name
// when the slice changes. Of pods that change later it looks only at the Services that
// select them, which one with slices of somebody's own does not
// (pilot/pkg/serviceregistry/kube/controller: Controller.getPod and
// recomputeServiceForPod). What sidecars that stay connected are pushed of it is another
// matter (stale-endpoints): each look here connects anew.
func (r *trial) refreshEndpoints(ctx context.Context, at stage) error {
	if len(r.mesh.Endpoints) == 0 {
		return nil
	}
	if err := r.oracle.Await(ctx); err != nil {
		return err
	}
	return r.writeEndpoints(ctx, r.nameOf(at))
}

// writeEndpoints writes the EndpointSlices that nobody else does, as of the pods that
// there are, at a stage.
func (r *trial) writeEndpoints(ctx context.Context, at string) error {
	for _, endpoints := range r.mesh.Endpoints {
		pods, err := r.kube.CoreV1().Pods(r.mesh.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + endpoints.App})
		if err != nil {
			return err
		}
		slice := applydiscoveryv1.EndpointSlice(endpoints.Service+"-1", r.mesh.Namespace).
			WithLabels(map[string]string{discoveryv1.LabelServiceName: endpoints.Service}).
			WithAnnotations(map[string]string{"example.com/written": at}).WithAddressType(discoveryv1.AddressTypeIPv4).
			WithPorts(applydiscoveryv1.EndpointPort().WithName(endpoints.PortName).WithPort(int32(endpoints.Port)).WithProtocol(corev1.ProtocolTCP))
		for i := range pods.Items {
			pod := &pods.Items[i]
			if pod.Status.PodIP == "" {
				continue
			}
			endpoint := applydiscoveryv1.Endpoint().WithAddresses(pod.Status.PodIP).WithConditions(applydiscoveryv1.EndpointConditions().WithReady(ready(pod) && pod.DeletionTimestamp == nil))
			if endpoints.Bound {
				endpoint.WithTargetRef(applycorev1.ObjectReference().WithKind(mesh.KindPod).WithNamespace(pod.Namespace).WithName(pod.Name).WithUID(pod.UID))
			}
			slice.WithEndpoints(endpoint)
		}
		if _, err := r.kube.DiscoveryV1().EndpointSlices(r.mesh.Namespace).Apply(ctx, slice, metav1.ApplyOptions{FieldManager: "somebody", Force: true}); err != nil {
			return err
		}
	}
	return nil
}

// read reads what the plugin would.
func (r *trial) read(ctx context.Context) (mesh.Content, *mesh.Snapshot, error) {
	source := mesh.Cluster{Dynamic: r.dynamic, Metadata: r.metadata, Discovery: r.kube.Discovery()}
	content, err := mesh.Read(ctx, source, mesh.Scope{Namespace: r.mesh.Namespace})
	if err != nil {
		return content, nil, err
	}
	snapshot, err := mesh.NewSnapshot(content)
	return content, snapshot, err
}

// run records a plan and carries it out, as the plugin does, whatever its gates say.
func (r *trial) run(ctx context.Context, id string, planned v1alpha1.MigrationPlan, content mesh.Content, events actions.Events) (*v1alpha1.MigrationRecord, error) {
	run := &v1alpha1.MigrationRecord{
		TypeMeta: v1alpha1.Document(v1alpha1.KindMigrationRecord), ID: id, Operation: planned.Operation, Namespace: planned.Namespace,
		State: v1alpha1.RunRunning, Plan: planned,
	}
	for _, step := range planned.Steps {
		run.Steps = append(run.Steps, v1alpha1.StepRecord{ID: step.ID, State: v1alpha1.StepPending})
	}
	store := record.NewStore(r.kube.CoreV1(), planned.Namespace)
	if err := store.Create(ctx, run); err != nil {
		return nil, err
	}
	waiting := ""
	events.Waiting = func(step v1alpha1.Step, missing []string) { waiting = fmt.Sprintf("%s waits for %q", step.ID, missing) }
	runner := &actions.Runner{
		Namespace: planned.Namespace, Kube: r.kube, Store: store, Mesh: content, Now: time.Now, Backoff: actions.DefaultBackoff(),
		Evidence: r.reader.Collect, Istiods: r.reader.AskIstiods, Writer: actions.Writer{Dynamic: r.dynamic, Mapper: r.mapper}, Events: events, GateTimeout: patience,
	}
	if _, err := runner.Run(ctx, run); err != nil {
		return run, fmt.Errorf("%w; last it was: %s", err, waiting)
	}
	return run, nil
}

// stepStarted has the middle of restarts looked at while they are waited for.
func (r *trial) stepStarted(ctx context.Context) func(number, of int, step v1alpha1.Step) {
	return func(number, _ int, step v1alpha1.Step) {
		r.during = nil
		if step.Phase != v1alpha1.PhaseRestartWorkloads || len(step.Changes) == 0 || step.Changes[0].Object.Kind != mesh.KindDeployment {
			return
		}
		name := step.Changes[0].Object.Name
		release, err := r.hold(ctx, r.mesh.Namespace, name)
		done := make(chan error, 1)
		r.during = done
		if err != nil {
			done <- err
			return
		}
		go func() {
			err := r.lookDuring(ctx, number-1, name)
			done <- errors.Join(err, release(context.WithoutCancel(ctx)))
		}()
	}
}

func (r *trial) lookDuring(ctx context.Context, step int, name string) error {
	both := func(ctx context.Context, namespace string) error {
		if namespace != r.mesh.Namespace {
			return nil
		}
		return r.bothKinds(ctx, namespace, name)
	}
	if err := r.quiet(ctx, both); err != nil {
		return err
	}
	seen, err := r.look(ctx, stage{step: step, during: true})
	if err != nil {
		return err
	}
	r.check(seen)
	return nil
}

// stepDone has the mesh looked at after each step of the migration, or of the way back.
func (r *trial) stepDone(ctx context.Context, back bool) func(number, of int, step v1alpha1.Step, took time.Duration) {
	return func(number, _ int, step v1alpha1.Step, _ time.Duration) {
		if r.during != nil {
			if err := <-r.during; err != nil {
				r.Errorf("during step %s: %v", step.ID, err)
			}
		}
		if step.Phase == v1alpha1.PhaseVerify {
			return
		}
		err := r.quiet(ctx, r.unsettled)
		var seen *sighting
		if err == nil {
			seen, err = r.look(ctx, stage{step: number - 1, back: back})
		}
		if err != nil {
			r.Errorf("after step %s: %v", step.ID, err)
			return
		}
		r.last = seen
		r.check(seen)
	}
}

// rollback undoes the migration, and wants all to be as it was, and on the way there as
// it was before the migration or after it.
func (r *trial) rollback(ctx context.Context, run *v1alpha1.MigrationRecord, state map[string]any) error {
	content, snapshot, err := r.read(ctx)
	if err != nil {
		return err
	}
	namespace, _ := snapshot.Namespace(r.mesh.Namespace)
	r.back.began, r.during = r.last, nil
	if r.back.planned, err = plan.Rollback(snapshot, namespace, []v1alpha1.MigrationRecord{*run}); err != nil {
		return fmt.Errorf("plan the rollback: %w", err)
	}
	if r.back.stages, err = plan.Stages(snapshot, r.back.planned); err != nil {
		return fmt.Errorf("stages of the rollback's plan: %w", err)
	}
	if _, err := r.run(ctx, "rollback", r.back.planned, content, actions.Events{StepDone: r.stepDone(ctx, true)}); err != nil {
		return fmt.Errorf("rollback: %w", err)
	}
	if err := r.quiet(ctx, r.unsettled); err != nil {
		return err
	}
	after, err := r.look(ctx, stage{step: -1, back: true})
	if err != nil {
		return fmt.Errorf("after the rollback: %w", err)
	}
	r.check(after)
	r.wantState(r.T, r.mesh.Namespace, state)
	r.totals.rolledBack.Add(1)
	return nil
}
