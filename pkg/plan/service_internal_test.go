package plan

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const cartAndWeb = `
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop, uid: cart-service}
spec: {selector: {app: cart}, clusterIP: 10.96.0.10, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, uid: web-service}
spec: {selector: {app: web}, clusterIP: 10.96.0.11, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop, uid: db-service}
spec: {selector: {app: web}, clusterIP: None, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: shop, uid: alias-service}
spec: {type: ExternalName, externalName: example.com}
---
apiVersion: v1
kind: Service
metadata: {name: proxy, namespace: shop, uid: proxy-service, labels: {gateway.istio.io/managed: istio.io-mesh-controller}}
spec: {selector: {app: proxy}, clusterIP: 10.96.0.12, ports: [{name: http, port: 80}]}
`

const adminOf = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin-NAME, namespace: shop, uid: no-admin-NAME}
spec:
  selector: {matchLabels: {app: NAME}}
  action: DENY
  rules: [{from: [{source: {notPrincipals: [cluster.local/ns/shop/sa/ops]}}], to: [{operation: {paths: ["/admin*"]}}]}]
`

// forAll is a policy for the whole namespace, which every Service needs a waypoint for.
const forAll = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: shop, uid: no-admin}
spec:
  action: DENY
  rules: [{to: [{operation: {paths: ["/admin*"]}}]}]
`

// twoServices is a namespace of two Services with policies.
func twoServices(labels map[string]string, how func(name string) []any, policies ...string) []unstructured.Unstructured {
	parts := []any{fixture.Installation(), fixture.Namespace("shop", labels), fixture.YAML(cartAndWeb)}
	for _, name := range []string{"cart", "web"} {
		parts = append(parts, how(name)...)
	}
	for _, policy := range policies {
		parts = append(parts, fixture.YAML(policy))
	}
	return fixture.Objects(parts...)
}

func onSidecars(name string) []any {
	deployment := fixture.Deployment("shop", name)
	return append([]any{deployment}, fixture.PodsOf(deployment, fixture.Sidecar)...)
}

func inAmbient(name string) []any {
	deployment := fixture.Deployment("shop", name, fixture.TemplateLabel("sidecar.istio.io/inject", "false"))
	return append([]any{deployment}, fixture.PodsOf(deployment, fixture.Labelled("sidecar.istio.io/inject", "false"), fixture.Ambient)...)
}

func admins(names ...string) []string {
	var policies []string
	for _, name := range names {
		policies = append(policies, strings.ReplaceAll(adminOf, "NAME", name))
	}
	return policies
}

// fronting plans to give one Service of the namespace shop a waypoint.
func fronting(t *testing.T, objects []unstructured.Unstructured, service string) (v1alpha1.MigrationPlan, error) {
	t.Helper()
	snapshot := fixture.Snapshot(objects)
	return Enroll(snapshot, fixture.Find(snapshot, "shop"), Options{
		Translation: translate.Options{MixedCallers: translate.MixedCallersDeny}, Service: service,
	})
}

// takenOff plans to take it off.
func takenOff(t *testing.T, objects []unstructured.Unstructured, accept string, records ...v1alpha1.MigrationRecord) v1alpha1.MigrationPlan {
	t.Helper()
	snapshot := fixture.Snapshot(objects)
	planned, err := RollbackService(snapshot, fixture.Find(snapshot, "shop"), records, "service/cart", accept)
	if err != nil {
		t.Fatal(err)
	}
	if len(planned.Kept) > 0 || len(planned.Gone) > 0 {
		t.Errorf("kept %v, gone %v", planned.Kept, planned.Gone)
	}
	return planned
}

// served are the objects once istiod has given waypoints an address, without which none
// takes traffic.
func served(t *testing.T, objects []unstructured.Unstructured) []unstructured.Unstructured {
	t.Helper()
	after := slices.Clone(objects)
	for i, object := range after {
		if object.GetKind() != mesh.KindGateway {
			continue
		}
		after[i] = *object.DeepCopy()
		if err := unstructured.SetNestedSlice(after[i].Object, []any{map[string]any{"type": "IPAddress", "value": "10.96.200.1"}}, "status", "addresses"); err != nil {
			t.Fatal(err)
		}
	}
	return after
}

// blockers are the IDs of the gates that block.
func blockers(planned v1alpha1.MigrationPlan) []string {
	var ids []string
	for _, gate := range planned.Gates {
		if gate.Blocks() && !slices.Contains(ids, gate.ID) {
			ids = append(ids, gate.ID)
		}
	}
	return ids
}

var sidecarsAsked, inAmbientMode = map[string]string{"istio-injection": "enabled"}, map[string]string{"istio.io/dataplane-mode": "ambient"}

// A Service gets its waypoint alone, whether its namespace has moved or not: nothing but
// it and what is made for it is written, and a rollback leaves nothing of that.
func TestAServiceGetsItsWaypointAlone(t *testing.T) {
	for name, before := range map[string][]unstructured.Unstructured{
		"on sidecars":     twoServices(sidecarsAsked, onSidecars, admins("cart", "web")...),
		"in ambient mode": twoServices(inAmbientMode, inAmbient, admins("cart", "web")...),
		"policy for all":  twoServices(inAmbientMode, inAmbient, forAll),
	} {
		t.Run(name, func(t *testing.T) {
			planned, err := fronting(t, before, "service/cart")
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range planned.Steps {
				for _, change := range step.Changes {
					own := change.Object == serviceIn("shop", "cart") || change.Object.Name == "no-admin-cart"
					if change.Create == nil && !own && !createdBefore(planned, change.Object) {
						t.Errorf("step %s changes %s", step.ID, change.Object)
					}
					if strings.Contains(change.Object.Name, "admin-web") {
						t.Errorf("step %s is about %s", step.ID, change.Object)
					}
				}
			}
			for _, id := range []string{"deploy-waypoints", "activate-waypoints/service/cart", "verify"} {
				if !slices.Contains(idsOf(planned), id) {
					t.Errorf("no step %s: %v", id, idsOf(planned))
				}
			}
			if settles := slices.Contains(idsOf(planned), "settle-policies"); settles == (name == "on sidecars") {
				t.Errorf("the steps are %v", idsOf(planned))
			}
			if allowed := blockers(planned); len(allowed) > 0 {
				t.Errorf("it is blocked by %v", allowed)
			}
			after := served(t, carriedOut(t, before, planned.Steps))
			if again, err := fronting(t, after, "service/cart"); err != nil || len(changing(again)) > 0 {
				t.Errorf("once more, it would change %v, %v", changing(again), err)
			}
			record := recorded(t, planned)
			back := takenOff(t, after, "calls-newly-allowed", record)
			wanted(t, before, carriedOut(t, after, back.Steps))
			if rest := UndoneBy(back, record); rest.State != v1alpha1.RunRolledBack || record.State == rest.State {
				t.Errorf("the record says %s: %+v", rest.State, rest.Steps)
			}
		})
	}
}

// createdBefore says whether a plan creates an object.
func createdBefore(planned v1alpha1.MigrationPlan, object v1alpha1.ObjectReference) bool {
	return slices.ContainsFunc(planned.Steps, func(step v1alpha1.Step) bool {
		return slices.ContainsFunc(step.Changes, func(change v1alpha1.Change) bool { return change.Object == object && change.Create != nil })
	})
}

// A policy for the whole namespace is guarded for the pods behind the one Service only:
// calls to the others are direct ones, and go on as they are.
func TestTheGuardOfOneServiceIsForItsPods(t *testing.T) {
	planned, err := fronting(t, twoServices(inAmbientMode, inAmbient, forAll), "service/cart")
	if err != nil {
		t.Fatal(err)
	}
	guards := 0
	for _, step := range planned.Steps {
		for _, change := range step.Changes {
			if change.Create == nil || change.Object.Kind != mesh.KindAuthorizationPolicy || len(mesh.TargetsIn(change.Create)) > 0 {
				continue
			}
			guards++
			if Lookup(change.Create, "/spec/selector/matchLabels/app") != "cart" {
				t.Errorf("%s selects %v", change.Object, Lookup(change.Create, "/spec/selector"))
			}
		}
	}
	if guards == 0 {
		t.Error("there is no guard")
	}
}

// Of an enrolment of the whole namespace one Service's part is undone: what others need
// stays, and the rest is undone by the next rollback. What lets calls in has to be
// accepted, since nothing enforces the Service's policies any more.
func TestAServiceIsTakenOffItsWaypoint(t *testing.T) {
	before := twoServices(sidecarsAsked, onSidecars, admins("cart", "web")...)
	whole := enrolledGuarded(t, before, "")
	after := served(t, remadeAll(t, carriedOut(t, before, whole.Steps)))
	record := recorded(t, whole)
	if blocked := takenOff(t, after, "", record); !blocked.Blocked || !slices.Contains(blockers(blocked), "calls-newly-allowed") {
		t.Fatalf("it is blocked by %v", blockers(blocked))
	}
	back := takenOff(t, after, "calls-newly-allowed:shop/cart", record)
	if back.Blocked {
		t.Fatalf("it is blocked by %v", blockers(back))
	}
	for _, step := range back.Steps {
		for _, change := range step.Changes {
			if strings.Contains(change.Object.Name, "web") || change.Object.Kind == mesh.KindGateway || change.Object.Kind == mesh.KindDeployment || change.Object.Kind == mesh.KindNamespace {
				t.Errorf("step %s writes %s", step.ID, change.Object)
			}
		}
	}
	off := carriedOut(t, after, back.Steps)
	rest := UndoneBy(back, record)
	if rest.State == v1alpha1.RunRolledBack {
		t.Error("the record says that nothing is left")
	}
	if again := takenOff(t, off, "", rest); len(again.Steps) > 0 || len(again.Undoes) > 0 {
		t.Errorf("once more, it would take %v", idsOf(again))
	}
	wanted(t, podless(before), podless(carriedOut(t, off, undoneTo(t, off, "", rest).Steps)))

	on, err := fronting(t, off, "service/cart")
	if err != nil || !slices.Contains(changing(on), "activate-waypoints/service/cart") || slices.Contains(changing(on), "deploy-waypoints") {
		t.Fatalf("it is put on again by %v, %v", idsOf(on), err)
	}
	second := recorded(t, on)
	second.ID, second.Started = "two", second.Started.Add(time.Hour)
	twice := carriedOut(t, off, on.Steps)
	wanted(t, podless(before), podless(carriedOut(t, twice, undoneTo(t, twice, "", second, rest).Steps)))
	if part := takenOff(t, twice, "", second, rest); !cmp.Equal(part.Undoes, []string{"two"}) {
		t.Errorf("it undoes %v", part.Undoes)
	}
}

// remadeAll replaces the pods of all workloads by those of their templates as they are.
func remadeAll(t *testing.T, objects []unstructured.Unstructured) []unstructured.Unstructured {
	t.Helper()
	return remade(t, remade(t, objects, "cart"), "web")
}

// What a rollback has taken off is not made again by who goes on with the enrolment,
// and is announced.
func TestAServiceThatWasTakenOffStaysOff(t *testing.T) {
	snapshot := fixture.Snapshot(twoServices(inAmbientMode, inAmbient, admins("cart")...))
	planned, err := Enroll(snapshot, fixture.Find(snapshot, "shop"), Options{Translation: translate.Options{TakenOff: []string{"cart"}}})
	if err != nil || len(changing(planned)) > 0 {
		t.Fatalf("it would change %v, %v", changing(planned), err)
	}
	announced := slices.ContainsFunc(planned.Gates, func(gate v1alpha1.CheckResult) bool {
		return gate.ID == "waypoint-losses" && gate.Status == v1alpha1.StatusWarn && strings.Contains(gate.Message, "a rollback has taken it off")
	})
	if planned.Blocked || !announced {
		t.Errorf("blocked is %t, announced %t: %v", planned.Blocked, announced, blockers(planned))
	}
}

func TestAServiceThatCannotHaveAWaypoint(t *testing.T) {
	objects := twoServices(inAmbientMode, inAmbient)
	for service, want := range map[string]string{
		"service/none": "there is no Service none in namespace shop", "service/db": "--waypoint-add db", "service/alias": "ExternalName", "service/proxy": "a waypoint itself",
	} {
		_, err := fronting(t, objects, service)
		if option := (*translate.OptionError)(nil); !errors.As(err, &option) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v", service, err)
		}
	}
}

// What no run has put behind a waypoint is not taken off it.
func TestAServiceThatNoRunHasPutBehindAWaypoint(t *testing.T) {
	byHand := twoServices(inAmbientMode, inAmbient)
	for i := range byHand {
		if byHand[i].GetKind() == mesh.KindService && byHand[i].GetName() == "cart" {
			byHand[i].SetLabels(map[string]string{"istio.io/use-waypoint": "waypoint"})
		}
	}
	for name, test := range map[string]struct {
		objects []unstructured.Unstructured
		want    string
	}{
		"its own label":       {byHand, "kubectl -n shop label service/cart istio.io/use-waypoint-"},
		"its namespace's":     {twoServices(map[string]string{"istio.io/use-waypoint": "waypoint"}, inAmbient), "istio.io/use-waypoint=none"},
		"none, and no record": {twoServices(inAmbientMode, inAmbient), ""},
	} {
		snapshot := fixture.Snapshot(test.objects)
		planned, err := RollbackService(snapshot, fixture.Find(snapshot, "shop"), nil, "service/cart")
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) || len(planned.Steps) > 0 {
			t.Errorf("%s: %v, %v", name, idsOf(planned), err)
		}
	}
}

func TestServiceNamed(t *testing.T) {
	for text, want := range map[string]string{
		"service/cart": "service/cart", "svc/cart": "service/cart", "Services/cart": "service/cart", "deploy/cart": "", "cart": "", "svc/": "", "svc/a/b": "",
	} {
		got, is, err := ServiceNamed(text)
		if got != want || is != strings.HasPrefix(strings.ToLower(text), "s") || (err != nil) != (is && want == "") {
			t.Errorf("%q is %q, %t, %v", text, got, is, err)
		}
	}
}
