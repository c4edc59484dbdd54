package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/actions"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/restmapper"
)

const echoService = `
apiVersion: v1
kind: Service
metadata: {name: echo, labels: {app: echo}}
spec:
  selector: {app: echo}
  ports: [{name: http, port: 80, targetPort: 8080}]
`

// object is an object as a plan creates it.
func object(apiVersion, kind, namespace, name string, spec map[string]any) map[string]any {
	return map[string]any{
		"apiVersion": apiVersion, "kind": kind,
		"metadata": map[string]any{"namespace": namespace, "name": name, "labels": map[string]any{v1alpha1.OriginLabel: "test"}},
		"spec":     spec,
	}
}

func creation(object map[string]any) v1alpha1.Change {
	metadata := object["metadata"].(map[string]any)
	return v1alpha1.Change{
		Object: v1alpha1.ObjectReference{
			APIVersion: object["apiVersion"].(string), Kind: object["kind"].(string),
			Namespace: metadata["namespace"].(string), Name: metadata["name"].(string),
		},
		Create: object,
	}
}

// waypointPlan deploys a waypoint, gives it policies and sends a Service's
// traffic through it. The Gateway leaves to the API server what that sets by
// default.
func waypointPlan(namespace string) v1alpha1.MigrationPlan {
	const security = "security.istio.io/v1"
	gateway := creation(object("gateway.networking.k8s.io/v1", "Gateway", namespace, "waypoint", map[string]any{
		"gatewayClassName": "istio-waypoint",
		"listeners":        []any{map[string]any{"name": "mesh", "port": int64(15008), "protocol": "HBONE"}},
	}))
	target := map[string]any{"group": "", "kind": "Service", "name": "echo"}
	get := []any{map[string]any{"to": []any{map[string]any{"operation": map[string]any{"methods": []any{"GET"}}}}}}
	policy := creation(object(security, "AuthorizationPolicy", namespace, "echo-get", map[string]any{
		"action": "ALLOW", "rules": get, "targetRefs": []any{target},
	}))
	custom := creation(object(security, "AuthorizationPolicy", namespace, "echo-audit", map[string]any{
		"action": "AUDIT", "rules": get, "selector": map[string]any{"matchLabels": map[string]any{"app": "echo"}},
	}))
	fromWaypoint := creation(object(security, "AuthorizationPolicy", namespace, "echo-from-waypoint", map[string]any{
		"action":   "ALLOW",
		"selector": map[string]any{"matchLabels": map[string]any{"app": "echo"}},
		"rules": []any{map[string]any{"from": []any{map[string]any{"source": map[string]any{
			"principals": []any{"cluster.local/ns/" + namespace + "/sa/waypoint"},
		}}}}},
	}))
	authentication := creation(object(security, "RequestAuthentication", namespace, "echo", map[string]any{
		"targetRefs": []any{target},
		"jwtRules":   []any{map[string]any{"issuer": "https://issuer.example", "jwks": `{"keys":[]}`, "forwardOriginalToken": true}},
	}))
	service := v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: namespace, Name: "echo"}
	return v1alpha1.MigrationPlan{
		TypeMeta: v1alpha1.Document(v1alpha1.KindMigrationPlan), Operation: v1alpha1.OperationEnroll, Namespace: namespace,
		Steps: []v1alpha1.Step{
			{
				ID: "deploy-waypoints/waypoint", Phase: v1alpha1.PhaseDeployWaypoints, Changes: []v1alpha1.Change{gateway},
				Gate: v1alpha1.Gate{Kind: v1alpha1.GateWaypointsReady, Objects: []v1alpha1.ObjectReference{gateway.Object}},
			},
			{
				ID: "migrate-policies", Phase: v1alpha1.PhaseMigratePolicies, Changes: []v1alpha1.Change{policy, custom, fromWaypoint, authentication},
				Gate: v1alpha1.Gate{Kind: v1alpha1.GatePoliciesAccepted, Objects: []v1alpha1.ObjectReference{
					policy.Object, custom.Object, fromWaypoint.Object, authentication.Object,
				}},
			},
			{
				ID: "activate-waypoints", Phase: v1alpha1.PhaseActivateWaypoints,
				Changes: []v1alpha1.Change{{
					Object: service, Fields: []v1alpha1.FieldChange{{Path: "/metadata/labels/istio.io~1use-waypoint", After: "waypoint"}},
				}},
				Gate: v1alpha1.Gate{Kind: v1alpha1.GateWaypointsBound, Objects: []v1alpha1.ObjectReference{service, policy.Object}},
			},
		},
	}
}

// carryOut records a plan and carries it out, as enroll does.
func (c *cluster) carryOut(t *testing.T, id string, planned v1alpha1.MigrationPlan) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client, err := metadata.NewForConfig(c.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	content, err := mesh.Read(ctx, mesh.Cluster{Dynamic: c.dynamic, Metadata: client, Discovery: c.kube.Discovery()}, mesh.Scope{Namespace: planned.Namespace})
	if err != nil {
		t.Fatal(err)
	}
	groups, err := restmapper.GetAPIGroupResources(c.kube.Discovery())
	if err != nil {
		t.Fatal(err)
	}
	run := &v1alpha1.MigrationRecord{
		TypeMeta: v1alpha1.Document(v1alpha1.KindMigrationRecord), ID: id, Operation: planned.Operation, Namespace: planned.Namespace,
		State: v1alpha1.RunRunning, Plan: planned,
	}
	for _, step := range planned.Steps {
		run.Steps = append(run.Steps, v1alpha1.StepRecord{ID: step.ID, State: v1alpha1.StepPending})
	}
	store := record.NewStore(c.kube.CoreV1(), planned.Namespace)
	if err := store.Create(ctx, run); err != nil {
		t.Fatal(err)
	}
	runner := &actions.Runner{
		Namespace: planned.Namespace, Kube: c.kube, Store: store, Mesh: content, Now: time.Now, Backoff: actions.DefaultBackoff(),
		Writer: actions.Writer{Dynamic: c.dynamic, Mapper: restmapper.NewDiscoveryRESTMapper(groups)},
		Events: actions.Events{Waiting: func(step v1alpha1.Step, missing []string) { t.Logf("%s waits for %q", step.ID, missing) }},
	}
	if _, err := runner.Run(ctx, run); err != nil {
		t.Fatal(err)
	}
}

// TestWaypointThereAndBack: what a run creates is there once its gates hold, and
// bound by istiod; the rollback leaves nothing of it.
func TestWaypointThereAndBack(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "waypointed"
	c.namespace(t, namespace, nil)
	c.applyText(t, namespace, echoService)
	before := c.state(t, namespace)

	planned := waypointPlan(namespace)
	c.carryOut(t, "20260101-000000-aaaaaa", planned)
	service, err := c.kube.CoreV1().Services(namespace).Get(t.Context(), "echo", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bound := false
	for _, condition := range service.Status.Conditions {
		bound = bound || condition.Type == "istio.io/WaypointBound" && condition.Status == metav1.ConditionTrue
	}
	if !bound {
		t.Errorf("the gate holds, and the Service is not bound: %+v", service.Status)
	}
	if err := c.waypointPods(t.Context(), namespace, 1); err != nil {
		t.Errorf("the gate holds: %v", err)
	}

	for _, strategy := range []string{"client", "server"} {
		says(t, c.ambient(t, "rollback", "-n", namespace, "--dry-run="+strategy).want(t, 0).stdout, "-  gatewayClassName: istio-waypoint")
	}
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	for _, step := range planned.Steps {
		for _, change := range step.Changes {
			if change.Create == nil {
				continue
			}
			if err := c.gone(t.Context(), change.Object); err != nil {
				t.Error(err)
			}
		}
	}
	if err := c.waypointPods(t.Context(), namespace, 0); err != nil {
		t.Errorf("the rollback is done: %v", err)
	}
	c.wantStateSoon(t, namespace, before)
}

// waypointPods wants so many pods of the waypoint.
func (c *cluster) waypointPods(ctx context.Context, namespace string, want int) error {
	pods, err := c.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "gateway.networking.k8s.io/gateway-name=waypoint"})
	if err != nil {
		return err
	}
	if len(pods.Items) != want {
		return fmt.Errorf("%d pods of the waypoint, want %d", len(pods.Items), want)
	}
	return nil
}

func (c *cluster) gone(ctx context.Context, reference v1alpha1.ObjectReference) error {
	resources := map[string]string{
		"Gateway": "gateways", "AuthorizationPolicy": "authorizationpolicies", "RequestAuthentication": "requestauthentications",
	}
	kind := schema.FromAPIVersionAndKind(reference.APIVersion, reference.Kind)
	resource := kind.GroupVersion().WithResource(resources[reference.Kind])
	_, err := c.dynamic.Resource(resource).Namespace(reference.Namespace).Get(ctx, reference.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	default:
		return errors.New(reference.String() + " is still there")
	}
}
