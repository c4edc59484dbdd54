package plan_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

var baselineTaken = fixture.Created.Add(time.Hour)

// shopBefore is a namespace with sidecars, two workloads and what is added.
func shopBefore(more ...any) []any {
	objects := append(fixture.Installation(), fixture.Namespace("shop", map[string]string{"istio-injection": "enabled"}))
	for _, name := range []string{"cart", "web"} {
		deployment := fixture.Deployment("shop", name, fixture.Probed)
		objects = append(objects, deployment, fixture.PodsOf(deployment, fixture.Sidecar), serviceOf("shop", name))
	}
	return append(objects, more...)
}

func serviceOf(namespace, name string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: %s}\nspec: {clusterIP: 10.0.0.1, selector: {app: %s}, ports: [{name: http, port: 80, targetPort: 8080}]}", name, namespace, name)
}

const (
	strictShop = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: strict, namespace: shop}\nspec: {mtls: {mode: STRICT}}"
	onlyWeb    = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: only-web, namespace: shop}\n" +
		"spec: {selector: {matchLabels: {app: cart}}, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]}]}"
	everybody = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: only-web, namespace: shop}\nspec: {selector: {matchLabels: {app: cart}}, rules: [{}]}"
	nobody    = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: late, namespace: shop}\nspec: {action: DENY, selector: {matchLabels: {app: cart}}, rules: [{}]}"
)

// baselineOf is what a record holds of a mesh, after it was written and read.
func baselineOf(t *testing.T, objects ...any) *v1alpha1.Baseline {
	t.Helper()
	content := fixture.Content(objects...)
	snapshot, err := mesh.NewSnapshot(content)
	if err != nil {
		t.Fatal(err)
	}
	taken, err := plan.Baseline(content, snapshot, fixture.Find(snapshot, "shop"), baselineTaken)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(taken)
	if err != nil {
		t.Fatal(err)
	}
	var read v1alpha1.Baseline
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	return &read
}

func enrolment(baseline *v1alpha1.Baseline) []v1alpha1.MigrationRecord {
	return []v1alpha1.MigrationRecord{{ID: "one", Operation: v1alpha1.OperationEnroll, State: v1alpha1.RunSucceeded, ToolVersion: "1", Baseline: baseline}}
}

func TestBaseline(t *testing.T) {
	secret := fixture.Pod("shop", "bare", func(pod *corev1.Pod) {
		pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "PASSWORD", Value: "hunter2"}}
	})
	baseline := baselineOf(t, shopBefore(strictShop, secret, fixture.Namespace("other", nil), serviceOf("other", "elsewhere"))...)
	data, err := json.Marshal(baseline)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"hunter2", "elsewhere"} {
		if strings.Contains(string(data), part) {
			t.Errorf("it holds %s", part)
		}
	}
	if len(baseline.Workloads) != 2 || baseline.Workloads[0].Ready != 1 || baseline.Workloads[0].Replicas != 1 {
		t.Errorf("the workloads are %+v", baseline.Workloads)
	}
	if len(baseline.Services) != 2 || baseline.Services[1].Ready != 1 {
		t.Errorf("the Services are %+v", baseline.Services)
	}
	if len(baseline.Strict) != 2 || !baseline.Strict[0].All || baseline.Strict[0].By.Name != "strict" {
		t.Errorf("strict are %+v", baseline.Strict)
	}
}

// What serves a Service only until it has ended is not missed afterwards.
func TestBaselineLeavesOutPodsOfJobs(t *testing.T) {
	job := fixture.Job("shop", "import")
	pod := fixture.Pod("shop", "import-x", fixture.Of("Job", "batch/v1", &job.ObjectMeta, job.Spec.Template))
	beside := fixture.Pod("shop", "beside", fixture.Labelled("app", "import"))
	for _, test := range []struct {
		name    string
		objects []any
		want    int
	}{{"a Job alone", []any{job, pod}, 0}, {"a Job and a pod", []any{job, pod, beside}, 1}} {
		t.Run(test.name, func(t *testing.T) {
			baseline := baselineOf(t, append(append(fixture.Installation(), fixture.Namespace("shop", nil), serviceOf("shop", "import")), test.objects...)...)
			if want := []v1alpha1.ServiceBaseline{{Name: "import", Ready: test.want}}; !slices.Equal(baseline.Services, want) {
				t.Errorf("the Services are %+v", baseline.Services)
			}
		})
	}
}

func TestPastNamesWhatRunsHaveMoved(t *testing.T) {
	reference := func(kind, name string) v1alpha1.ObjectReference {
		return v1alpha1.ObjectReference{APIVersion: "v1", Kind: kind, Namespace: "shop", Name: name}
	}
	step := func(phase v1alpha1.Phase, gate v1alpha1.Gate, changes ...v1alpha1.Change) v1alpha1.Step {
		return v1alpha1.Step{Phase: phase, Gate: gate, Changes: changes}
	}
	evicts := v1alpha1.Gate{Kind: v1alpha1.GateCaptured, Evicts: true, Workloads: []v1alpha1.ObjectReference{reference("Deployment", "evicted")}}
	records := enrolment(baselineOf(t, shopBefore()...))
	records[0].Plan.Steps = []v1alpha1.Step{
		step(v1alpha1.PhasePin, v1alpha1.Gate{Workloads: []v1alpha1.ObjectReference{reference("Deployment", "pinned")}}),
		step(v1alpha1.PhaseRestartWorkloads, evicts),
		step(v1alpha1.PhaseRestartWorkloads, v1alpha1.Gate{Kind: v1alpha1.GateNone}, v1alpha1.Change{Object: reference("CronJob", "report")}),
		step(v1alpha1.PhaseRestartWorkloads, v1alpha1.Gate{Workloads: []v1alpha1.ObjectReference{reference("Deployment", "not-begun")}}),
	}
	for _, state := range []v1alpha1.StepState{v1alpha1.StepDone, v1alpha1.StepDone, v1alpha1.StepDone, v1alpha1.StepPending} {
		records[0].Steps = append(records[0].Steps, v1alpha1.StepRecord{State: state})
	}
	snapshot := fixture.Snapshot(shopBefore()...)
	past, missing, err := plan.Past(snapshot, fixture.Find(snapshot, "shop"), records)
	if err != nil || missing != "" {
		t.Fatal(err, missing)
	}
	if want := []v1alpha1.ObjectReference{reference("Deployment", "evicted"), reference("CronJob", "report")}; !slices.Equal(past.Moved, want) {
		t.Errorf("moved are %v, not %v", past.Moved, want)
	}
}

func TestBaselineOfTroubledContainers(t *testing.T) {
	looping := fixture.Deployment("shop", "loop")
	status := func(pod *corev1.Pod) {
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{
			{Name: "main", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}, RestartCount: 3},
			{Name: "helper", Ready: true},
			{Name: mesh.ProxyContainer},
		}
	}
	baseline := baselineOf(t, append(fixture.Installation(), fixture.Namespace("shop", nil), looping, fixture.PodsOf(looping, status))...)
	if len(baseline.Workloads) != 1 || baseline.Workloads[0].Restarts != 3 || !slices.Equal(baseline.Workloads[0].Troubled, []string{"main"}) {
		t.Errorf("the workloads are %+v", baseline.Workloads)
	}
}

// A record holds a baseline for as long as the enrolment stands: of a namespace of 50
// Services, with a policy, a route and three pods each, it is to take a small part of a
// ConfigMap.
func TestBaselineIsSmall(t *testing.T) {
	objects := append(fixture.Installation(), fixture.Namespace("shop", map[string]string{"istio-injection": "enabled"}))
	for i := range 50 {
		name := fmt.Sprintf("service-%d", i)
		deployment := fixture.Deployment("shop", name, fixture.Probed, fixture.Replicas(3))
		objects = append(objects, deployment, fixture.PodsOf(deployment, fixture.Sidecar), serviceOf("shop", name), strings.ReplaceAll(strings.ReplaceAll(onlyWeb, "only-web", name), "cart", name),
			fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: %s, namespace: shop}\nspec: {hosts: [%s], http: [{timeout: 3s, route: [{destination: {host: %s}}]}]}", name, name, name))
	}
	data, err := json.Marshal(baselineOf(t, objects...))
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	if _, err := writer.Write(data); err != nil || writer.Close() != nil {
		t.Fatal(err)
	}
	t.Logf("%d KiB, packed %d KiB", len(data)>>10, packed.Len()>>10)
	const most = 48 << 10
	if packed.Len() > most {
		t.Errorf("it takes %d bytes, more than %d", packed.Len(), most)
	}
}

func TestPastCalls(t *testing.T) {
	for name, test := range map[string]struct {
		before, now                []any
		edited, changes, following int
	}{
		"as it was":                              {shopBefore(onlyWeb), shopBefore(onlyWeb), 0, 0, 0},
		"a policy edited":                        {shopBefore(onlyWeb), shopBefore(everybody), 1, 0, 1},
		"a policy deleted":                       {shopBefore(onlyWeb), shopBefore(), 1, 0, 1},
		"a policy made":                          {shopBefore(), shopBefore(nobody), 1, 0, 1},
		"another's policy":                       {shopBefore(), shopBefore(fixture.Namespace("other", nil), strings.ReplaceAll(nobody, "namespace: shop", "namespace: other")), 0, 0, 0},
		"a workload replaced under another name": {shopBefore(onlyWeb), replaced(shopBefore(onlyWeb)), 0, 0, 0},
		"a workload replaced under another name, its policy deleted": {shopBefore(onlyWeb), replaced(shopBefore()), 1, 0, 1},
		"a workload replaced under another name, its policy widened": {shopBefore(onlyWeb), replaced(shopBefore(everybody)), 1, 0, 1},
		"a workload replaced under another name, STRICT deleted":     {shopBefore(strictShop), replaced(shopBefore()), 1, 0, 1},
		"another account": {shopBefore(onlyWeb), renamed(shopBefore(onlyWeb)), 0, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := fixture.Snapshot(test.now...)
			past, missing, err := plan.Past(snapshot, fixture.Find(snapshot, "shop"), enrolment(baselineOf(t, test.before...)))
			if err != nil || missing != "" {
				t.Fatal(missing, err)
			}
			if len(past.Edited) != test.edited || len(past.Changes) > 0 != (test.changes > 0) || len(past.Following) > 0 != (test.following > 0) || past.Foretold != 0 || past.Compared == 0 {
				t.Errorf("edited are %v, changes %+v, following %+v", past.Edited, past.Changes, past.Following)
			}
		})
	}
}

// renamed gives a mesh's callers labels by which its policies do not select them any
// more: nobody has edited a policy.
// replaced is a mesh in which cart-v2 has come in place of cart, with its labels.
func replaced(objects []any) []any {
	next := fixture.Deployment("shop", "cart-v2", fixture.Probed, func(deployment *appsv1.Deployment) {
		deployment.Spec.Template = fixture.Deployment("shop", "cart", fixture.Probed).Spec.Template
	})
	made := []any{next, fixture.PodsOf(next, fixture.Sidecar)}
	for _, object := range fixture.Objects(objects...) {
		ofCart := object.GetKind() == mesh.KindDeployment || object.GetKind() == "ReplicaSet" || object.GetKind() == mesh.KindPod
		if !ofCart || !strings.HasPrefix(object.GetName(), "cart") {
			made = append(made, object)
		}
	}
	return made
}

func renamed(objects []any) []any {
	var made []any
	for _, object := range fixture.Objects(objects...) {
		if object.GetKind() == mesh.KindPod && strings.HasPrefix(object.GetName(), "cart") {
			labels := object.GetLabels()
			labels["app"] = "basket"
			object.SetLabels(labels)
		}
		made = append(made, object)
	}
	return made
}

func TestPastIsMissing(t *testing.T) {
	snapshot := fixture.Snapshot(shopBefore()...)
	other := baselineOf(t, shopBefore()...)
	other.Version = 99
	newer := append(enrolment(baselineOf(t, shopBefore()...)), enrolment(nil)...)
	for name, test := range map[string]struct {
		records []v1alpha1.MigrationRecord
		why     string
	}{
		"no record":       {nil, "no record says"},
		"an old record":   {enrolment(nil), "the record of run one, which was made by version 1, does not say"},
		"an older record": {newer, "does not say"},
		"a newer version": {enrolment(other), "is of version 99, and this tool reads 1"},
	} {
		past, missing, err := plan.Past(snapshot, fixture.Find(snapshot, "shop"), test.records)
		if past != nil || err != nil || !strings.Contains(missing, test.why) {
			t.Errorf("%s: %v, %q, %v", name, past, missing, err)
		}
	}
}
