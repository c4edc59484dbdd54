package plan_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// written are objects after steps that restart nothing, and what a record would hold
// of them before each step.
func written(t *testing.T, objects []unstructured.Unstructured, steps []v1alpha1.Step) (after []unstructured.Unstructured, before [][]v1alpha1.BeforeImage) {
	t.Helper()
	for i := range objects {
		after = append(after, *objects[i].DeepCopy())
	}
	for _, step := range steps {
		var images []v1alpha1.BeforeImage
		for _, change := range step.Changes {
			i := slices.IndexFunc(after, func(object unstructured.Unstructured) bool { return names(change.Object, object) })
			if change.Create != nil {
				if i >= 0 {
					t.Fatalf("step %s: %s is there already", step.ID, change.Object)
				}
				created := unstructured.Unstructured{Object: runtime.DeepCopyJSON(change.Create)}
				created.SetUID(fixture.UID(created.GetKind(), created.GetNamespace(), created.GetName()))
				created.SetGeneration(1)
				after = append(after, created)
				continue
			}
			if i < 0 {
				t.Fatalf("step %s: %s is not there", step.ID, change.Object)
			}
			images = append(images, v1alpha1.BeforeImage{Object: change.Object, Content: after[i].DeepCopy().Object})
			if change.Delete {
				if hash, err := plan.Hash(after[i].Object); err != nil || hash != change.BeforeHash {
					t.Errorf("step %s: %s is not what was planned for: %v", step.ID, change.Object, err)
				}
				after = slices.Delete(after, i, i+1)
				continue
			}
			changed, err := plan.Apply(after[i].Object, change.Fields)
			if err != nil {
				t.Fatal(err)
			}
			after[i].Object = changed
		}
		before = append(before, images)
	}
	return after, before
}

func simplified(t *testing.T, objects []unstructured.Unstructured, options plan.Options) v1alpha1.MigrationPlan {
	t.Helper()
	snapshot := fixture.Snapshot(objects)
	planned, err := plan.Simplify(snapshot, fixture.Find(snapshot, "shop"), options)
	if err != nil {
		t.Fatal(err)
	}
	return planned
}

// outlined says what a simplification does and keeps.
func outlined(planned v1alpha1.MigrationPlan) []string {
	var lines []string
	for _, step := range planned.Steps {
		for _, change := range step.Changes {
			switch {
			case change.Create != nil:
				lines = append(lines, "create "+change.Object.String())
			case change.Delete:
				lines = append(lines, "delete "+change.Object.String())
			default:
				lines = append(lines, "mark "+change.Object.String())
			}
		}
	}
	for _, kept := range planned.Kept {
		lines = append(lines, "keep "+kept.Object.String()+": "+kept.Reason)
	}
	return lines
}

// TestSimplificationOfAccess simplifies each mesh of testdata/access once it is
// enrolled: afterwards nothing is left to be enrolled or simplified, nothing is an
// orphan, and a rollback of both runs has everything as it was.
func TestSimplificationOfAccess(t *testing.T) {
	meshes, err := filepath.Glob("testdata/access/*.yaml")
	if err != nil || len(meshes) == 0 {
		t.Fatalf("no meshes: %v", err)
	}
	deleting := 0
	for _, path := range meshes {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			read, _ := readScenario(t, string(content))
			made := enrolledMesh(t, path)
			made.after = takingTraffic(t, made.after)
			if left := writes(planOf(t, made.after, read.Options)); len(left) > 0 {
				t.Skipf("it cannot be enrolled in one go: %v", left)
			}
			simplification := simplified(t, made.after, read.Options)
			t.Log(strings.Join(outlined(simplification), "\n"))
			if simplification.Blocked {
				t.Logf("blocked by %v", simplification.Overview.Blockers)
			}
			after, images := written(t, made.after, simplification.Steps)
			if len(simplification.Steps) > 0 {
				deleting++
			}

			again := planOf(t, after, read.Options)
			if left := writes(again); len(left) > 0 {
				t.Errorf("it is to be enrolled again: %v", sketch(again))
			}
			for _, gate := range again.Gates {
				if gate.ID == "orphaned-policies" && gate.Status == v1alpha1.StatusWarn || gate.ID == "waypoint-losses" && strings.Contains(gate.Message, "an earlier run") {
					t.Errorf("%s: %s", gate.Object, gate.Message)
				}
			}
			if twice := simplified(t, after, read.Options); len(twice.Steps) > 0 {
				t.Errorf("it is to be simplified again: %v", outlined(twice))
			}

			records := []v1alpha1.MigrationRecord{
				recordOf("two", simplification, done(len(simplification.Steps))...), recordOf("one", made.plan, done(len(made.plan.Steps))...),
			}
			records[0].Operation = v1alpha1.OperationSimplify
			for i := range images {
				records[0].Steps[i].Before = images[i]
			}
			back := rollback(t, after, records...)
			if len(back.Kept)+len(back.Gone) > 0 {
				t.Errorf("kept %v, gone %v", back.Kept, back.Gone)
			}
			restored, _ := written(t, after, back.Steps)
			wantPolicies(t, made.before, restored)
		})
	}
	if deleting == 0 {
		t.Error("nothing was deleted anywhere")
	}
}

// writes are the steps of a plan that do not only wait.
func writes(planned v1alpha1.MigrationPlan) []string {
	var writing []string
	for _, step := range planned.Steps {
		if len(step.Changes) > 0 {
			writing = append(writing, step.ID)
		}
	}
	return writing
}

// takingTraffic are objects with the waypoints among them ready.
func takingTraffic(t *testing.T, objects []unstructured.Unstructured) []unstructured.Unstructured {
	t.Helper()
	var slices []any
	for i := range objects {
		if objects[i].GetKind() != "Gateway" {
			continue
		}
		set(t, &objects[i], []any{map[string]any{"type": "Programmed", "status": "True", "reason": "Programmed", "observedGeneration": objects[i].GetGeneration()}}, "status", "conditions")
		slices = append(slices, fixture.YAML(fmt.Sprintf(`apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-1, namespace: %[2]s, labels: {gateway.networking.k8s.io/gateway-name: %[1]s}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.9], conditions: {ready: true}}]`, objects[i].GetName(), objects[i].GetNamespace())))
	}
	return append(objects, fixture.Objects(slices...)...)
}

func planOf(t *testing.T, objects []unstructured.Unstructured, options plan.Options) v1alpha1.MigrationPlan {
	t.Helper()
	snapshot := fixture.Snapshot(objects)
	planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), options)
	if err != nil {
		t.Fatal(err)
	}
	return planned
}

// wantPolicies wants every object but pods and what runs them to be what it was.
func wantPolicies(t *testing.T, before, now []unstructured.Unstructured) {
	t.Helper()
	said := func(objects []unstructured.Unstructured) map[string]any {
		all := map[string]any{}
		for _, object := range objects {
			if kind := object.GetKind(); kind == "Pod" || kind == "ReplicaSet" || kind == "EndpointSlice" {
				continue
			}
			content := plan.Bare(object.Object)
			for _, field := range []string{"uid", "creationTimestamp"} {
				unstructured.RemoveNestedField(content, "metadata", field)
			}
			all[object.GetKind()+" "+object.GetNamespace()+"/"+object.GetName()] = content
		}
		return all
	}
	if diff := cmp.Diff(said(before), said(now)); diff != "" {
		t.Errorf("it is not what it was (-was +is):\n%s", diff)
	}
}

// defaultDeny is a mesh of testdata/access with two policies that can be deleted, once
// it is enrolled.
const defaultDeny = "testdata/access/default-deny.yaml"

// TestEnrollAndSimplify plans both in one: it deletes what a simplification afterwards
// would.
func TestEnrollAndSimplify(t *testing.T) {
	content, err := os.ReadFile(defaultDeny)
	if err != nil {
		t.Fatal(err)
	}
	read, parts := readScenario(t, string(content))
	read.Options.Simplify = true
	whole := planOf(t, fixture.Objects(parts...), read.Options)
	if whole.Operation != v1alpha1.OperationEnroll || whole.Options == nil || !whole.Options.Simplify {
		t.Errorf("it is a %s with options %v", whole.Operation, whole.Options)
	}
	steps := ids(whole)
	want := []string{"verify", "simplify/own", "simplify", "simplify/verify"}
	if last := steps[max(0, len(steps)-len(want)):]; !slices.Equal(last, want) {
		t.Errorf("it ends with %v", last)
	}
	for _, step := range whole.Steps {
		if required := step.Requires == v1alpha1.GateHandoverHolds; step.Phase == v1alpha1.PhaseSimplify && required != (len(step.Changes) > 0) {
			t.Errorf("step %s requires %q", step.ID, step.Requires)
		}
	}
	after := simplified(t, takingTraffic(t, enrolledMesh(t, defaultDeny).after), read.Options)
	together := v1alpha1.MigrationPlan{Steps: slices.DeleteFunc(slices.Clone(whole.Steps), func(step v1alpha1.Step) bool { return step.Phase != v1alpha1.PhaseSimplify })}
	if diff := cmp.Diff(outlined(after), outlined(together)); diff != "" {
		t.Errorf("together it is another simplification (-afterwards +together):\n%s", diff)
	}
}

// TestWhatAReconcilerWritesBlocks wants no plan to write, nor to delete, what a
// reconciler would put back, whichever object that is.
func TestWhatAReconcilerWritesBlocks(t *testing.T) {
	content, err := os.ReadFile(defaultDeny)
	if err != nil {
		t.Fatal(err)
	}
	read, _ := readScenario(t, string(content))
	blockers := func(planned v1alpha1.MigrationPlan) []string {
		var of []string
		for _, gate := range planned.Gates {
			if gate.ID == "reconcilers" && gate.Blocks() {
				of = append(of, gate.Object.String())
			}
		}
		return of
	}
	const flux = "labels: {kustomize.toolkit.fluxcd.io/name: apps}, "
	deleted := strings.Replace(string(content), "metadata: {name: readers", "metadata: {"+flux+"name: readers", 1)
	labelled := strings.Replace(string(content), "metadata: {name: cart", "metadata: {"+flux+"name: cart", 1)
	for _, test := range []struct {
		name, content string
		simplify      bool
		want          []string
	}{
		{name: "nobody", content: string(content), simplify: true},
		{name: "a Service", content: labelled, want: []string{"Service shop/cart"}},
		{name: "a policy that stays as it is", content: deleted},
		{name: "a policy that is deleted", content: deleted, simplify: true, want: []string{"AuthorizationPolicy shop/readers"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, parts := readScenario(t, test.content)
			options := read.Options
			options.Simplify = test.simplify
			planned := planOf(t, fixture.Objects(parts...), options)
			if got := blockers(planned); !slices.Equal(got, test.want) || len(got) > 0 && !planned.Blocked {
				t.Errorf("what blocks is %v, blocked is %t", got, planned.Blocked)
			}
		})
	}
	// Afterwards, by simplify alone.
	after := takingTraffic(t, enrolledMesh(t, defaultDeny).after)
	for i := range after {
		if after[i].GetName() == "readers" {
			after[i].SetLabels(map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"})
		}
	}
	planned := simplified(t, after, read.Options)
	if got := blockers(planned); !slices.Equal(got, []string{"AuthorizationPolicy shop/readers"}) || !planned.Blocked {
		t.Errorf("what blocks simplify is %v, blocked is %t", got, planned.Blocked)
	}
}

// TestNothingIsDeletedBeforeTheLastSidecar wants a namespace that is not moved to be
// left alone.
func TestNothingIsDeletedBeforeTheLastSidecar(t *testing.T) {
	content, err := os.ReadFile(defaultDeny)
	if err != nil {
		t.Fatal(err)
	}
	read, parts := readScenario(t, string(content))
	planned := simplified(t, fixture.Objects(parts...), read.Options)
	if !planned.Blocked || !slices.Contains(planned.Overview.Blockers, "wholly-ambient") {
		t.Errorf("blocked is %t, by %v", planned.Blocked, planned.Overview.Blockers)
	}
}

// TestRollbackMakesAgainWhatIsGone wants a rollback to make again what a run has
// deleted, and no more: what somebody has made of that name is named and stays.
func TestRollbackMakesAgainWhatIsGone(t *testing.T) {
	content, err := os.ReadFile(defaultDeny)
	if err != nil {
		t.Fatal(err)
	}
	read, _ := readScenario(t, string(content))
	made := enrolledMesh(t, defaultDeny)
	enrolled := takingTraffic(t, made.after)
	simplification := simplified(t, enrolled, read.Options)
	simple, images := written(t, enrolled, simplification.Steps)
	record := func(states ...v1alpha1.StepState) v1alpha1.MigrationRecord {
		run := recordOf("two", simplification, states...)
		run.Operation = v1alpha1.OperationSimplify
		for i := range images {
			if run.Steps[i].State != v1alpha1.StepPending {
				run.Steps[i].Before = images[i]
			}
		}
		return run
	}
	all := done(len(simplification.Steps))
	another := fixture.YAML("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: readers, namespace: shop}\nspec: {selector: {matchLabels: {app: cart}}, action: DENY, rules: [{}]}")
	same := slices.DeleteFunc(slices.Clone(enrolled), func(object unstructured.Unstructured) bool { return object.GetName() != "readers" })
	for _, test := range []struct {
		name    string
		objects []unstructured.Unstructured
		run     v1alpha1.MigrationRecord
		again   []string
		kept    []string
	}{
		{"all of it", simple, record(all...), []string{"nothing", "readers"}, nil},
		{"somebody has made another", append(slices.Clone(simple), another...), record(all...), []string{"nothing"}, []string{"readers"}},
		{"somebody has made it again", append(slices.Clone(simple), same...), record(all...), []string{"nothing"}, nil},
		{"nothing was deleted yet", enrolled, record(v1alpha1.StepDone, v1alpha1.StepDone, v1alpha1.StepRunning), nil, nil},
		{"never begun, and gone", simple, record(), nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			back := rollback(t, test.objects, test.run, recordOf("one", made.plan, done(len(made.plan.Steps))...))
			var again, kept []string
			for _, step := range back.Steps {
				for _, change := range step.Changes {
					if change.Create == nil {
						continue
					}
					again = append(again, change.Object.Name)
					if step.ID != back.Steps[0].ID || step.Phase != v1alpha1.PhaseRestoreReplaced || plan.Ours(change.Create) {
						t.Errorf("step %s makes %v", step.ID, change.Create)
					}
				}
			}
			for _, one := range back.Kept {
				kept = append(kept, one.Object.Name)
			}
			slices.Sort(again)
			if diff := cmp.Diff([][]string{test.again, test.kept}, [][]string{again, kept}); diff != "" {
				t.Errorf("made again, and kept, are (-want +got):\n%s", diff)
			}
			for _, step := range plan.Stamped(back, "three").Steps {
				for _, change := range step.Changes {
					if change.Create != nil && plan.Lookup(change.Create, plan.Pointer("/metadata/annotations", v1alpha1.RunAnnotation)) != nil {
						t.Errorf("%s is not made as it was: %v", change.Object, change.Create)
					}
				}
			}
		})
	}
}

// replacedRoutes are a VirtualService, an HTTPRoute that says the same, and rules with
// subsets, some of which a gateway goes on to name.
const replacedRoutes = `apiVersion: v1
kind: Service
metadata: {name: cart-v1, namespace: shop}
spec: {clusterIP: 10.0.1.1, selector: {app: cart, version: v1}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop, labels: {team: carts}}
spec: {hosts: [cart], http: [{route: [{destination: {host: cart, port: {number: 80}}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart, namespace: shop}
spec: {host: cart, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: basket, namespace: shop}
spec: {host: basket, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: of-gateway, namespace: edge}
spec: {hosts: [shop.example], gateways: [edge], http: [{route: [{destination: {host: basket.shop.svc.cluster.local, subset: v2}}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart, namespace: shop, generation: 1}
spec: {parentRefs: [{group: "", kind: Service, name: cart}], rules: [{backendRefs: [{name: cart, port: 80}]}]}
status:
  parents:
  - parentRef: {group: "", kind: Service, name: cart}
    controllerName: istio.io/gateway-controller
    conditions:
    - {type: Accepted, status: "True", observedGeneration: 1, reason: Accepted, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}
    - {type: ResolvedRefs, status: "True", observedGeneration: 1, reason: ResolvedRefs, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}
`

// TestSimplificationOfRoutes deletes a VirtualService that an HTTPRoute says the same as,
// and subsets that nothing names; a rollback makes all of it again.
func TestSimplificationOfRoutes(t *testing.T) {
	content, err := os.ReadFile(defaultDeny)
	if err != nil {
		t.Fatal(err)
	}
	read, _ := readScenario(t, string(content))
	made := enrolledMesh(t, defaultDeny)
	routes := fixture.YAML(replacedRoutes)
	enrolled := append(takingTraffic(t, made.after), routes...)
	simplification := simplified(t, enrolled, read.Options)
	var of []string
	for _, line := range outlined(simplification) {
		if strings.Contains(line, "VirtualService") || strings.Contains(line, "DestinationRule") {
			of = append(of, line)
		}
	}
	want := []string{"delete DestinationRule shop/cart", "delete VirtualService shop/cart", "mark DestinationRule shop/basket"}
	if diff := cmp.Diff(want, of); diff != "" {
		t.Errorf("it does (-want +got):\n%s", diff)
	}
	held := slices.ContainsFunc(simplification.Handover.Objects, func(object v1alpha1.ObjectReference) bool { return object.Kind == "HTTPRoute" })
	if at := slices.IndexFunc(simplification.Gates, func(gate v1alpha1.CheckResult) bool {
		return gate.ID == "layer7-enforced" && gate.Status != v1alpha1.StatusPass
	}); at >= 0 {
		t.Errorf("what stands in for a policy is doubted: %+v", simplification.Gates[at])
	}
	if !held {
		t.Errorf("nothing looks at the HTTPRoute again: %v", simplification.Handover.Objects)
	}

	after, images := written(t, enrolled, simplification.Steps)
	for i := range after {
		if after[i].GetName() == "basket" {
			left, _, _ := unstructured.NestedSlice(after[i].Object, "spec", "subsets")
			if len(left) != 1 || left[0].(map[string]any)["name"] != "v2" {
				t.Errorf("the subsets left are %v", left)
			}
		}
	}
	if twice := simplified(t, after, read.Options); len(twice.Steps) > 0 {
		t.Errorf("it is to be simplified again: %v", outlined(twice))
	}
	if left := writes(planOf(t, after, read.Options)); len(left) > 0 {
		t.Errorf("it is to be enrolled again: %v", left)
	}

	run := recordOf("two", simplification, done(len(simplification.Steps))...)
	run.Operation = v1alpha1.OperationSimplify
	for i := range images {
		run.Steps[i].Before = images[i]
	}
	back := rollback(t, after, run, recordOf("one", made.plan, done(len(made.plan.Steps))...))
	if len(back.Kept)+len(back.Gone) > 0 {
		t.Errorf("kept %v, gone %v", back.Kept, back.Gone)
	}
	restored, _ := written(t, after, back.Steps)
	wantPolicies(t, append(slices.Clone(made.before), routes...), restored)
}

// TestRoutesOfWhichTooLittleIsKnown wants routes and subsets to stay where what might
// name them could not be read, and while other steps come first.
func TestRoutesOfWhichTooLittleIsKnown(t *testing.T) {
	content, err := os.ReadFile(defaultDeny)
	if err != nil {
		t.Fatal(err)
	}
	read, _ := readScenario(t, string(content))
	enrolled := append(takingTraffic(t, enrolledMesh(t, defaultDeny).after), fixture.YAML(replacedRoutes)...)
	for kind, stays := range map[string][]string{
		mesh.KindGRPCRoute:       {"keep VirtualService shop/cart: waypoints follow it, and whether a route of Gateway API stands in for it cannot be told without GRPCRoute"},
		mesh.KindVirtualService:  {"keep DestinationRule shop/basket: whether anything names v1, v2 cannot be told without VirtualService", "keep DestinationRule shop/cart: "},
		mesh.KindEnvoyFilter:     {"keep DestinationRule shop/cart: whether anything names v1 cannot be told without EnvoyFilter"},
		mesh.KindRollout:         {"keep DestinationRule shop/cart: whether anything names v1 cannot be told without Rollout"},
		mesh.KindDestinationRule: nil,
	} {
		t.Run(kind, func(t *testing.T) {
			known := fixture.Content(enrolled)
			known.Coverage[kind] = mesh.Coverage{State: mesh.CoverageForbidden, Reason: "not you"}
			known.Objects = fixture.Without(kind, known.Objects)
			snapshot, err := mesh.NewSnapshot(known)
			if err != nil {
				t.Fatal(err)
			}
			simplification, err := plan.Simplify(snapshot, fixture.Find(snapshot, "shop"), read.Options)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Join(outlined(simplification), "\n")
			for _, stay := range stays {
				if !strings.Contains(lines, stay) {
					t.Errorf("it does not say %q:\n%s", stay, lines)
				}
			}
			if strings.Contains(lines, "delete DestinationRule") && kind != mesh.KindGRPCRoute {
				t.Errorf("it does\n%s", lines)
			}
		})
	}
}

// TestRoutesThatStay wants a VirtualService that nothing stands in for to stay, with what
// it names, and the plan to say why.
func TestRoutesThatStay(t *testing.T) {
	content, err := os.ReadFile(defaultDeny)
	if err != nil {
		t.Fatal(err)
	}
	read, _ := readScenario(t, string(content))
	routes := slices.DeleteFunc(fixture.YAML(strings.Replace(replacedRoutes, "{host: cart, port: {number: 80}}", "{host: cart, subset: v1}", 1)), func(object unstructured.Unstructured) bool {
		return object.GetKind() == "HTTPRoute" || object.GetName() == "basket"
	})
	simplification := simplified(t, append(takingTraffic(t, enrolledMesh(t, defaultDeny).after), routes...), read.Options)
	lines := strings.Join(outlined(simplification), "\n")
	if strings.Contains(lines, "DestinationRule") || strings.Contains(lines, "delete VirtualService") ||
		!strings.Contains(lines, "keep VirtualService shop/cart: waypoints follow it, and no route of Gateway API stands in for it") {
		t.Errorf("it does\n%s", lines)
	}
}

// A pod on its way out serves until it has ended: its sidecar still reads what is to go.
func TestNothingIsDeletedThatASidecarReadsWhichStillEnds(t *testing.T) {
	content, err := os.ReadFile(defaultDeny)
	if err != nil {
		t.Fatal(err)
	}
	read, _ := readScenario(t, string(content))
	now := metav1.NewTime(fixture.Created)
	for name, test := range map[string]struct {
		edit   func(*corev1.Pod)
		blocks bool
	}{
		"ending":   {func(pod *corev1.Pod) { pod.DeletionTimestamp = &now }, true},
		"finished": {func(pod *corev1.Pod) { pod.DeletionTimestamp, pod.Status.Phase = &now, corev1.PodFailed }, false},
	} {
		pod := fixture.Pod("shop", "cart-old-0", fixture.Sidecar, test.edit)
		planned := simplified(t, append(takingTraffic(t, enrolledMesh(t, defaultDeny).after), fixture.Objects(pod)...), read.Options)
		blocks := slices.ContainsFunc(planned.Gates, func(gate v1alpha1.CheckResult) bool {
			return gate.ID == checks.IDWhollyAmbient && gate.Blocks() && gate.Object != nil && gate.Object.Name == "cart-old-0"
		})
		if blocks != test.blocks {
			t.Errorf("%s: it blocks: %t", name, blocks)
		}
	}
}
