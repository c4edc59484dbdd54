package actions

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

// A waypoint is not deleted that somebody has come to use since the plan was made.
func TestAWaypointThatIsUsedByNow(t *testing.T) {
	const gateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop, uid: u1}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
`
	service := func(name, namespace, set string) []any {
		return []any{fixture.YAML("apiVersion: v1\nkind: Service\nmetadata: {name: " + name + ", namespace: " + namespace + ", labels: {" + set + "}}\nspec: {ports: [{port: 80}]}\n")}
	}
	const here, there = "istio.io/use-waypoint: waypoint", "istio.io/use-waypoint: waypoint, istio.io/use-waypoint-namespace: shop"
	reference := v1alpha1.ObjectReference{APIVersion: "gateway.networking.k8s.io/v1", Kind: "Gateway", Namespace: "shop", Name: "waypoint"}
	for _, test := range []struct {
		name string
		// then is there when the plan is made, now comes afterwards.
		then, now []any
		user      string
	}{
		{name: "nobody"},
		{name: "a waypoint of that name elsewhere", now: service("web", "other", here)},
		{name: "a Service", now: service("new", "shop", here), user: "Service shop/new"},
		{name: "a Service of another namespace", now: service("web", "other", there), user: "Service other/web"},
		{name: "as its canary", now: service("new", "shop", "istio.io/use-waypoint-canary: waypoint"), user: "Service shop/new"},
		{name: "a namespace", now: []any{fixture.Namespace("late", labels{"istio.io/use-waypoint": "waypoint", "istio.io/use-waypoint-namespace": "shop"})}, user: "Namespace late"},
		{name: "a pod", now: []any{fixture.Pod("shop", "odd", fixture.Labelled("istio.io/use-waypoint", "waypoint"))}, user: "Pod shop/odd"},
		{name: "a template", now: []any{fixture.Deployment("shop", "odd", fixture.TemplateLabel("istio.io/use-waypoint", "waypoint"))}, user: "Deployment shop/odd"},
		{name: "who did so before", then: service("old", "shop", here)},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newTrial(t, nil, enabledShop(), fixture.YAML(gateway[1:]), test.then)
			for _, object := range fixture.Objects(test.now...) {
				mapping, err := r.Writer.Mapper.RESTMapping(object.GroupVersionKind().GroupKind(), object.GroupVersionKind().Version)
				if err != nil {
					t.Fatal(err)
				}
				if err := r.dynamic.Tracker().Create(mapping.Resource, &object, object.GetNamespace()); err != nil {
					t.Fatal(err)
				}
			}
			r.deleting(t, reference)
			changed, err := r.Run(t.Context(), r.record)
			_, getErr := r.Writer.Get(t.Context(), reference)
			if test.user == "" {
				if err != nil || !changed || !apierrors.IsNotFound(getErr) {
					t.Fatalf("changed is %t, %v; the waypoint: %v", changed, err, getErr)
				}
				return
			}
			var used *UsedError
			if !errors.As(err, &used) || changed || getErr != nil {
				t.Fatalf("changed is %t, %v; the waypoint: %v", changed, err, getErr)
			}
			want := "step remove-waypoints was not begun: Gateway shop/waypoint is used by " + test.user + " since the plan was made, so that it is not deleted: run the command again, which deletes it if nobody uses it by then, and otherwise leaves it"
			if diff := cmp.Diff(want, err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Where it cannot be told any more who uses it, it is not deleted. What the plan could
// not tell is no reason.
func TestAWaypointWhoseUsersCannotBeSeen(t *testing.T) {
	reference := v1alpha1.ObjectReference{APIVersion: "gateway.networking.k8s.io/v1", Kind: "Gateway", Namespace: "shop", Name: "waypoint"}
	r := newTrial(t, nil, enabledShop(), gatewayStatus("True", 2, anAddress))
	r.deleting(t, reference)
	r.dynamic.PrependReactor("list", "services", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, refuse("services") })
	changed, err := r.Run(t.Context(), r.record)
	if changed || !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "who uses Gateway shop/waypoint") {
		t.Errorf("changed is %t, %v", changed, err)
	}
	if _, err := r.Writer.Get(t.Context(), reference); err != nil {
		t.Error(err)
	}
	for resource, key := range map[string]string{"workloadentries": mesh.KindWorkloadEntry, "pods": mesh.PodsMeshWide} {
		r = newTrial(t, nil, enabledShop(), gatewayStatus("True", 2, anAddress))
		r.deleting(t, reference)
		r.dynamic.PrependReactor("list", resource, func(action clienttesting.Action) (bool, runtime.Object, error) {
			return action.GetNamespace() == "", nil, refuse(resource)
		})
		r.Mesh.Coverage[key] = mesh.Coverage{State: mesh.CoverageForbidden, Reason: "not you"}
		if changed, err := r.Run(t.Context(), r.record); !changed || err != nil {
			t.Errorf("%s: changed is %t, %v", resource, changed, err)
		}
	}
}

// deleting gives the run one step, which deletes an object that is there.
func (r *trial) deleting(t *testing.T, reference v1alpha1.ObjectReference) {
	t.Helper()
	live, err := r.Writer.Get(t.Context(), reference)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := plan.Hash(live.Object)
	if err != nil {
		t.Fatal(err)
	}
	step := v1alpha1.Step{
		ID: "remove-waypoints", Phase: v1alpha1.PhaseRemoveWaypoints,
		Changes: []v1alpha1.Change{{Object: reference, Delete: true, UID: string(live.GetUID()), BeforeHash: hash}},
		Gate:    v1alpha1.Gate{Kind: v1alpha1.GateGone, Objects: []v1alpha1.ObjectReference{reference}},
	}
	r.record.Operation, r.record.Plan.Steps = v1alpha1.OperationRollback, []v1alpha1.Step{step}
	r.record.Steps = []v1alpha1.StepRecord{{ID: step.ID, State: v1alpha1.StepPending}}
}
