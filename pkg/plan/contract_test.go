package plan_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
)

// readBack is a plan as it is read from the file it was written to.
func readBack(t *testing.T, planned v1alpha1.MigrationPlan) v1alpha1.MigrationPlan {
	t.Helper()
	data, err := json.Marshal(planned)
	if err != nil {
		t.Fatal(err)
	}
	var read v1alpha1.MigrationPlan
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	return read
}

func TestOptionsAreThoseThatAPlanWasMadeWith(t *testing.T) {
	want := plan.Options{
		Translation: translate.Options{
			Scope: translate.ScopeNamespace, Skip: []string{"a"}, Add: []string{"b"}, Waypoint: "w", WaypointNamespace: "n", Replicas: 2,
			MixedCallers: translate.MixedCallersDeny, EnvoyFilters: true,
		},
		Include: []string{"other"}, Accept: []string{"restartable"}, Until: v1alpha1.PhasePin,
	}
	chosen := want.Chosen()
	got := plan.OptionsOf(readBack(t, v1alpha1.MigrationPlan{Options: &chosen, Accepted: want.Accept}))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !plan.SameOptions(chosen, got.Chosen()) || plan.SameOptions(chosen, plan.Options{}.Chosen()) {
		t.Error("options are not told apart")
	}
}

func TestAContractIsAWholePlanOfAnEnrolment(t *testing.T) {
	good := func() v1alpha1.MigrationPlan {
		return v1alpha1.MigrationPlan{
			TypeMeta: v1alpha1.Document(v1alpha1.KindMigrationPlan), Operation: v1alpha1.OperationEnroll, Options: &v1alpha1.PlanOptions{},
		}
	}
	if err := plan.Contract(good()); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(*v1alpha1.MigrationPlan){
		`not a MigrationPlan`:   func(p *v1alpha1.MigrationPlan) { p.Kind = "MeshStatus" },
		`of version "v9"`:       func(p *v1alpha1.MigrationPlan) { p.APIVersion = "v9" },
		"plan of a rollback":    func(p *v1alpha1.MigrationPlan) { p.Operation = v1alpha1.OperationRollback },
		"with which options":    func(p *v1alpha1.MigrationPlan) { p.Options = nil },
		"it is blocked":         func(p *v1alpha1.MigrationPlan) { p.Blocked = true },
		"begins with phase pin": func(p *v1alpha1.MigrationPlan) { p.Options.From = v1alpha1.PhasePin },
		"does not hold Deployment shop/cart, which step restart touches": func(p *v1alpha1.MigrationPlan) {
			p.Steps = []v1alpha1.Step{{ID: "restart", Changes: []v1alpha1.Change{{
				Object: v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "cart"},
			}}}}
		},
	} {
		spoilt := good()
		spoil(&spoilt)
		if err := plan.Contract(spoilt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, the error is %v", want, err)
		}
	}
}

// The plan that was reviewed is compared with one of the mesh as it is now.
func TestDepartures(t *testing.T) {
	object := func(name string, replicas int64, image string) v1alpha1.BeforeImage {
		return v1alpha1.BeforeImage{
			Object:  v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: name},
			Content: map[string]any{"spec": map[string]any{"replicas": replicas, "image": image}},
		}
	}
	step := func(id string, objects ...v1alpha1.BeforeImage) v1alpha1.Step {
		made := v1alpha1.Step{ID: id, Summary: "summary of " + id}
		for _, of := range objects {
			made.Changes = append(made.Changes, v1alpha1.Change{Object: of.Object, BeforeHash: "h"})
		}
		return made
	}
	reviewed := v1alpha1.MigrationPlan{
		Steps:   []v1alpha1.Step{step("a", object("cart", 2, "v1")), step("b", object("web", 2, "v1"))},
		Objects: []v1alpha1.BeforeImage{object("cart", 2, "v1"), object("web", 2, "v1")},
	}
	with := func(change func(*v1alpha1.MigrationPlan)) v1alpha1.MigrationPlan {
		now := readBack(t, reviewed)
		change(&now)
		return now
	}
	for name, test := range map[string]struct {
		now  v1alpha1.MigrationPlan
		want []string
	}{
		"nothing has changed": {with(func(*v1alpha1.MigrationPlan) {}), nil},
		"an object has changed": {with(func(p *v1alpha1.MigrationPlan) { p.Objects[1] = object("web", 2, "v2") }),
			[]string{"web: it has changed since"}},
		"an object needs nothing any more": {with(func(p *v1alpha1.MigrationPlan) { p.Objects, p.Steps = p.Objects[:1], p.Steps[:1] }),
			[]string{"web: no step of a plan made now touches it: it is gone, or needs nothing any more"}},
		"a step is new": {with(func(p *v1alpha1.MigrationPlan) { p.Steps = append(p.Steps, step("c", object("new", 1, "v1"))) }),
			[]string{": step c has to be taken as well: summary of c"}},
		"a step waits for something else": {with(func(p *v1alpha1.MigrationPlan) { p.Steps[0].Gate.Kind = v1alpha1.GateReady }),
			[]string{": step a would do or wait for something else now"}},
		"the order is another": {with(func(p *v1alpha1.MigrationPlan) { p.Steps[0], p.Steps[1] = p.Steps[1], p.Steps[0] }),
			[]string{": the steps would be taken in another order now"}},
		"what an object holds besides does not count": {with(func(p *v1alpha1.MigrationPlan) { p.Steps[0].Changes[0].BeforeHash = "other" }), nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, departure := range plan.Departures(readBack(t, reviewed), test.now) {
				got = append(got, departure.Object.Name+": "+departure.Message)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A plan that was written to a file holds the objects that its steps touch, and is
// not put out by an autoscaler.
func TestAReviewedPlanHoldsItsObjects(t *testing.T) {
	planned := func(replicas int32, image string) v1alpha1.MigrationPlan {
		cart := fixture.Deployment("shop", "cart")
		cart.Spec.Replicas = &replicas
		cart.Spec.Template.Spec.Containers[0].Image = image
		snapshot := fixture.Snapshot(shop(labels{"istio-injection": "enabled"}, running(cart, fixture.Sidecar)))
		made, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), plan.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return plan.WithObjects(snapshot, made)
	}
	reviewed := planned(2, "cart:1")
	var names []string
	for _, object := range reviewed.Objects {
		names = append(names, object.Object.Kind+" "+object.Object.Name)
	}
	if diff := cmp.Diff([]string{"Namespace shop", "Deployment cart"}, names); diff != "" {
		t.Errorf("the objects (-want +got):\n%s", diff)
	}
	if departures := plan.Departures(readBack(t, reviewed), planned(5, "cart:1")); len(departures) != 0 {
		t.Errorf("scaling it departs from the plan: %+v", departures)
	}
	departures := plan.Departures(readBack(t, reviewed), planned(2, "cart:2"))
	if len(departures) != 1 || departures[0].Object.Name != "cart" || departures[0].After == nil {
		t.Errorf("another image departs from the plan by %+v", departures)
	}
}

// What a policy that no step touches lets in was reviewed, too.
func TestDeparturesOfPoliciesThatNoStepTouches(t *testing.T) {
	policy := func(name, namespace, rest string) any {
		return fixture.YAML("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: " + name + ", namespace: " + namespace + ", generation: 1}\nspec: " + rest + "\n")
	}
	const nobody, everybody = "{action: ALLOW, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/nobody]}}]}]}", "{action: ALLOW, rules: [{to: [{operation: {ports: [\"8080\"]}}]}]}"
	planned := func(policies ...any) v1alpha1.MigrationPlan {
		snapshot := fixture.Snapshot(shop(labels{"istio-injection": "enabled"}, append(policies, fixture.Namespace("other", nil), running(fixture.Deployment("shop", "cart"), fixture.Sidecar))...))
		made, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), plan.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return plan.WithObjects(snapshot, made)
	}
	reviewed := planned(policy("allow", "shop", nobody))
	for _, test := range []struct {
		name string
		now  v1alpha1.MigrationPlan
		want []string
	}{
		{"nothing has changed", planned(policy("allow", "shop", nobody)), nil},
		{"changed", planned(policy("allow", "shop", everybody)), []string{"AuthorizationPolicy shop/allow: it has changed since, and decides calls to the namespace"}},
		{"gone", planned(), []string{"AuthorizationPolicy shop/allow: it is gone, and the plan was made with it"}},
		{"new", planned(policy("allow", "shop", nobody), policy("more", "shop", everybody)),
			[]string{"AuthorizationPolicy shop/more: it was not there when the plan was made, and decides calls to the namespace"}},
		{"new in the root namespace", planned(policy("allow", "shop", nobody), policy("more", "istio-system", everybody)),
			[]string{"AuthorizationPolicy istio-system/more: it was not there when the plan was made, and decides calls to the namespace"}},
		{"new elsewhere", planned(policy("allow", "shop", nobody), policy("more", "other", everybody)), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, departure := range plan.Departures(readBack(t, reviewed), test.now) {
				got = append(got, departure.Object.String()+": "+departure.Message)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// With a last phase, the plan ends there.
func TestUntil(t *testing.T) {
	snapshot := fixture.Snapshot(shop(labels{"istio-injection": "enabled"}, running(fixture.Deployment("shop", "cart"), fixture.Sidecar)))
	for until, want := range map[v1alpha1.Phase][]string{
		v1alpha1.PhaseDeployWaypoints:  nil,
		v1alpha1.PhaseEnableAmbient:    {"enable-ambient"},
		v1alpha1.PhaseRestartWorkloads: {"enable-ambient", "restart-workloads/deployment/cart"},
		v1alpha1.PhaseVerify:           {"enable-ambient", "restart-workloads/deployment/cart", "disable-injection", "verify"},
	} {
		planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), plan.Options{Until: until})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, step := range planned.Steps {
			got = append(got, step.ID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("until %s (-want +got):\n%s", until, diff)
		}
		if restarted := planned.Overview.RestartedWorkloads; (restarted == 1) != (len(want) > 1) {
			t.Errorf("until %s %d workloads are restarted", until, restarted)
		}
	}
	if err := (plan.Options{Until: "no-such-phase"}).Validate(); err == nil {
		t.Error("an unknown phase is accepted")
	}
}

// What was accepted and names no finding is said: it may be a typing mistake.
func TestAcceptedWithoutAFinding(t *testing.T) {
	snapshot := fixture.Snapshot(shop(labels{"istio-injection": "enabled"}, running(fixture.Deployment("shop", "cart"), fixture.Sidecar)))
	planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), plan.Options{Accept: []string{"readiness-probes", "restartable:shop/nothing", "calls-compared"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"restartable:shop/nothing", "calls-compared"}, planned.Overview.Unmatched); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
