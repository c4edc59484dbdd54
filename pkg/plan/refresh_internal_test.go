package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// predating is a sidecar of before the mesh had the ambient profile.
func predating(pod *corev1.Pod) {
	fixture.Sidecar(pod)
	delete(pod.Labels, mesh.TunnelLabel)
}

// hbone is an installation whose sidecars accept HBONE.
func hbone() []any {
	return []any{
		fixture.Without("ConfigMap", fixture.Installation()...), fixture.CNIConfig(fixture.System, map[string]string{"AMBIENT_ENABLED": "true"}),
		fixture.MeshConfig("rootNamespace: istio-system\ndefaultConfig: {proxyMetadata: {ISTIO_META_ENABLE_HBONE: \"true\"}}\n"),
	}
}

// mixedAges is a namespace with sidecars of before and of now.
func mixedAges(installation []any, more ...any) []unstructured.Unstructured {
	cart, web := fixture.Deployment("shop", "cart"), fixture.Deployment("shop", "web")
	return fixture.Objects(installation, fixture.Namespace("shop", map[string]string{"istio-injection": "enabled"}),
		cart, fixture.PodsOf(cart, predating), web, fixture.PodsOf(web, fixture.Sidecar), more)
}

func refreshing(t *testing.T, objects []unstructured.Unstructured, until v1alpha1.Phase) v1alpha1.MigrationPlan {
	t.Helper()
	snapshot := fixture.Snapshot(objects)
	planned, err := Enroll(snapshot, fixture.Find(snapshot, "shop"), Options{
		Translation: translate.Options{MixedCallers: translate.MixedCallersDeny}, Until: until, RestartedAt: "2026-08-01T12:00:00Z",
	})
	if err != nil {
		t.Fatal(err)
	}
	return planned
}

func statusOf(planned v1alpha1.MigrationPlan, id string) v1alpha1.CheckStatus {
	i := slices.IndexFunc(planned.Gates, func(gate v1alpha1.CheckResult) bool { return gate.ID == id })
	if i < 0 {
		return ""
	}
	return planned.Gates[i].Status
}

const restartedPath = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt"

// What has sidecars that predate HBONE is restarted with sidecars, as kubectl rollout
// restart does, and nothing else is.
func TestSidecarsAreRefreshed(t *testing.T) {
	before := mixedAges(hbone())
	planned := refreshing(t, before, v1alpha1.PhaseRefreshSidecars)
	if diff := cmp.Diff([]string{"refresh-sidecars/deployment/cart"}, idsOf(planned)); diff != "" || planned.Blocked {
		t.Fatalf("blocked by %v (-want +got):\n%s", blockers(planned), diff)
	}
	step := planned.Steps[0]
	want := []v1alpha1.FieldChange{{Path: restartedPath, After: "2026-08-01T12:00:00Z"}}
	if diff := cmp.Diff(want, step.Changes[0].Fields); diff != "" || step.Gate.Kind != v1alpha1.GateSidecarsHBONE || step.Gate.Replaces {
		t.Errorf("the gate is %+v, the change (-want +got):\n%s", step.Gate, diff)
	}
	if planned.Options.RestartedAt != "2026-08-01T12:00:00Z" || planned.Handover != nil {
		t.Errorf("the options are %+v, the handover %+v", planned.Options, planned.Handover)
	}
	// One restart for nothing is left out of a rollback, and named.
	snapshot := fixture.Snapshot(carriedOut(t, before, planned.Steps))
	back, err := Rollback(snapshot, fixture.Find(snapshot, "shop"), []v1alpha1.MigrationRecord{recorded(t, planned)})
	if err != nil || len(back.Steps) > 0 || len(back.Kept) != 1 || back.Kept[0].Path != restartedPath {
		t.Errorf("it takes %v, keeps %+v, %v", idsOf(back), back.Kept, err)
	}
}

// An enrolment does so first; what comes to call sidecars by HBONE looks again. A
// rollback puts each template back whole.
func TestAnEnrolmentRefreshesSidecarsFirst(t *testing.T) {
	service := fixture.YAML(`
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop, uid: cart-service}
spec: {selector: {app: cart}, clusterIP: 10.96.0.10, ports: [{name: http, port: 80}]}
`)
	before := mixedAges(hbone(), service, fixture.YAML(admins("cart")[0]))
	planned := refreshing(t, before, "")
	if ids := idsOf(planned); ids[0] != "refresh-sidecars/deployment/cart" || ids[1] != "deploy-waypoints" {
		t.Errorf("the steps are %v", ids)
	}
	if slices.Contains(blockers(planned), "sidecar-hbone") || !planned.Handover.Sidecars {
		t.Errorf("it is blocked by %v, and relies on %+v", blockers(planned), planned.Handover)
	}
	for _, step := range planned.Steps {
		want := v1alpha1.GateKind("")
		switch {
		case step.Phase == v1alpha1.PhaseActivateWaypoints:
			want = v1alpha1.GateSidecarsHBONE
		case reliesOn(step.Phase) && (len(step.Changes) > 0 || step.Phase == v1alpha1.PhaseVerify):
			want = v1alpha1.GateHandoverHolds
		}
		if step.Requires != want {
			t.Errorf("step %s requires %q, not %q", step.ID, step.Requires, want)
		}
	}
	record := recorded(t, planned)
	after := carriedOut(t, before, planned.Steps)
	wanted(t, before, carriedOut(t, after, undoneTo(t, after, "", record).Steps))
	// Until then, it is as the phase has left it.
	part := carriedOut(t, after, undoneTo(t, after, v1alpha1.PhaseRefreshSidecars, record).Steps)
	wanted(t, carriedOut(t, before, refreshing(t, before, v1alpha1.PhaseRefreshSidecars).Steps), part)
}

// aRollout is a Rollout with sidecars of before, made one minute after the other.
func aRollout(strategy, spec, status string) []any {
	cart := fixture.Deployment("shop", "cart")
	replicas := int32(4)
	cart.Spec.Replicas = &replicas
	minute := 0
	objects := fixture.PodsOf(cart, predating, func(pod *corev1.Pod) {
		pod.CreationTimestamp = metav1.Date(2026, 7, 1, 12, minute, 0, 0, time.UTC)
		minute++
	})
	controller := true
	objects[0].(*appsv1.ReplicaSet).OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "argoproj.io/v1alpha1", Kind: "Rollout", Name: "cart", UID: "cart-rollout", Controller: &controller,
	}}
	return append(objects, fixture.Loose(fmt.Sprintf(`
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: cart, namespace: shop, uid: cart-rollout, generation: 1}
spec: {replicas: 4%s, selector: {matchLabels: {app: cart}}, strategy: {canary: {%s}}, template: {metadata: {labels: {app: cart}}, spec: {containers: [{name: cart, image: cart}]}}}
status: {observedGeneration: "1", updatedReplicas: 4, availableReplicas: 4, %s}
`, spec, strategy, status)))
}

// Argo Rollouts is told to replace pods by their age, where the strategy lets one be
// missing; that is taken back by a rollback, which restarts nothing.
func TestRolloutsAreRefreshedByTheirRestartAt(t *testing.T) {
	const healthy, restarting = "phase: Healthy", "phase: Progressing, message: rollout is restarting"
	for _, test := range []struct {
		name                   string
		strategy, spec, status string
		want                   []v1alpha1.FieldChange
	}{
		{"one may be missing by default", "", "", healthy, []v1alpha1.FieldChange{{Path: restartAtPath, After: "2026-07-01T12:03:01Z"}}},
		{"restarted long ago", "maxUnavailable: 2", ", restartAt: '2026-01-01T00:00:00Z'", healthy, []v1alpha1.FieldChange{{Path: restartAtPath, Before: "2026-01-01T00:00:00Z", After: "2026-07-01T12:03:01Z"}}},
		{"being restarted", "maxUnavailable: 2", ", restartAt: '2026-07-01T12:03:01Z'", restarting, nil},
		{"none may be missing", "maxUnavailable: 0, maxSurge: 1", "", healthy, []v1alpha1.FieldChange{{Path: restartedPath, After: "2026-08-01T12:00:00Z"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			objects := fixture.Objects(hbone(), fixture.Namespace("shop", map[string]string{"istio-injection": "enabled"}), aRollout(test.strategy, test.spec, test.status))
			planned := refreshing(t, objects, v1alpha1.PhaseRefreshSidecars)
			if diff := cmp.Diff([]string{"refresh-sidecars/rollout/cart"}, idsOf(planned)); diff != "" {
				t.Fatalf("the steps are (-want +got):\n%s", diff)
			}
			if planned.Blocked {
				t.Errorf("it is blocked by %v", blockers(planned))
			}
			var fields []v1alpha1.FieldChange
			for _, change := range planned.Steps[0].Changes {
				fields = append(fields, change.Fields...)
			}
			if diff := cmp.Diff(test.want, fields); diff != "" {
				t.Errorf("it writes (-want +got):\n%s", diff)
			}
			if gate := planned.Steps[0].Gate; gate.Kind != v1alpha1.GateSidecarsHBONE || gate.Replaces || gate.Evicts {
				t.Errorf("the gate is %+v", gate)
			}
			if len(test.want) == 0 || test.want[0].Path != restartAtPath {
				return
			}
			after := carriedOut(t, objects, planned.Steps)
			snapshot := fixture.Snapshot(after)
			back, err := Rollback(snapshot, fixture.Find(snapshot, "shop"), []v1alpha1.MigrationRecord{recorded(t, planned)})
			if err != nil || len(back.Kept) > 0 || len(back.Steps) != 1 || back.Steps[0].Gate.Kind != v1alpha1.GateNone {
				t.Fatalf("it takes %v, keeps %+v, %v", idsOf(back), back.Kept, err)
			}
			wanted(t, objects, carriedOut(t, after, back.Steps))
			// What somebody has restarted since stays so.
			for i := range after {
				if after[i].GetKind() == "Rollout" {
					if err := unstructured.SetNestedField(after[i].Object, "2026-07-02T00:00:00Z", "spec", "restartAt"); err != nil {
						t.Fatal(err)
					}
				}
			}
			snapshot = fixture.Snapshot(after)
			back, err = Rollback(snapshot, fixture.Find(snapshot, "shop"), []v1alpha1.MigrationRecord{recorded(t, planned)})
			if err != nil || len(back.Steps) > 0 || len(back.Kept) != 1 || back.Kept[0].Path != restartAtPath {
				t.Errorf("it takes %v, keeps %+v, %v", idsOf(back), back.Kept, err)
			}
		})
	}
}

func TestNoSidecarsToRefresh(t *testing.T) {
	fresh := fixture.Deployment("shop", "web")
	none := fixture.Objects(hbone(), fixture.Namespace("shop", map[string]string{"istio-injection": "enabled"}), fresh, fixture.PodsOf(fresh, fixture.Sidecar))
	if planned := refreshing(t, none, v1alpha1.PhaseRefreshSidecars); len(planned.Steps) > 0 || planned.Blocked {
		t.Errorf("it would take %v, blocked by %v", idsOf(planned), blockers(planned))
	}
	// A restart would change nothing before the mesh has the ambient profile.
	if planned := refreshing(t, mixedAges(fixture.Installation()), v1alpha1.PhaseRefreshSidecars); len(planned.Steps) > 0 || !planned.Blocked || !slices.Contains(blockers(planned), "sidecar-hbone") {
		t.Errorf("it would take %v, blocked by %v", idsOf(planned), blockers(planned))
	}
}

// Sidecars of other namespaces stay a finding, with the command: an enrolment is blocked
// by it, and newer sidecars here are not.
func TestSidecarsElsewhereAreNamed(t *testing.T) {
	other := fixture.Deployment("other", "api")
	objects := mixedAges(hbone(), fixture.Namespace("other", map[string]string{"istio-injection": "enabled"}), other, fixture.PodsOf(other, predating))
	only := refreshing(t, objects, v1alpha1.PhaseRefreshSidecars)
	if only.Blocked || statusOf(only, "sidecar-hbone") != v1alpha1.StatusWarn || len(only.Steps) != 1 {
		t.Errorf("blocked by %v, %s: %v", blockers(only), statusOf(only, "sidecar-hbone"), idsOf(only))
	}
	whole := refreshing(t, objects, "")
	if !slices.Contains(blockers(whole), "sidecar-hbone") {
		t.Errorf("blocked by %v", blockers(whole))
	}
	for _, gate := range whole.Gates {
		if gate.ID == "sidecar-hbone" && (gate.Object.Name != "other" || !strings.Contains(gate.Remedy, "enroll -n other --until refresh-sidecars")) {
			t.Errorf("%s: %s", gate.Object, gate.Remedy)
		}
	}
}

// Pods that no controller replaces are replaced by hand, and their template stays.
func TestSidecarsAreRefreshedByHand(t *testing.T) {
	set := fixture.StatefulSet("shop", "db", func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType })
	objects := fixture.Objects(hbone(), fixture.Namespace("shop", map[string]string{"istio-injection": "enabled"}), set, fixture.PodsOfSet(set, predating))
	planned := refreshing(t, objects, v1alpha1.PhaseRefreshSidecars)
	if len(planned.Steps) != 1 || len(planned.Steps[0].Changes) > 0 || !planned.Steps[0].Gate.Replaces || len(planned.Steps[0].Notes) == 0 {
		t.Errorf("the steps are %+v", planned.Steps)
	}
}

// Where templates are not to be written, newer sidecars come by evictions, and undoing
// the enrolment does not evict the pods again for it.
func TestSidecarsAreRefreshedWithoutWritingTemplates(t *testing.T) {
	objects := mixedAges(hbone())
	snapshot := fixture.Snapshot(objects)
	planned, err := Enroll(snapshot, fixture.Find(snapshot, "shop"), Options{Until: v1alpha1.PhaseRefreshSidecars, Strategy: StrategyNamespace})
	if err != nil || len(planned.Steps) != 1 {
		t.Fatalf("the steps are %q, the error is %v", outline(planned), err)
	}
	step := planned.Steps[0]
	if len(step.Changes) > 0 || !step.Gate.Replaces || !step.Gate.Evicts || step.Gate.Kind != v1alpha1.GateSidecarsHBONE {
		t.Errorf("the step is %+v", step)
	}
	back, err := Rollback(snapshot, fixture.Find(snapshot, "shop"), []v1alpha1.MigrationRecord{recorded(t, planned)})
	if err != nil || slices.ContainsFunc(back.Steps, func(step v1alpha1.Step) bool { return step.Phase == v1alpha1.PhaseRestoreWorkloads }) {
		t.Errorf("the way back is %q, the error is %v", outline(back), err)
	}
}
