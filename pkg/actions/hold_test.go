package actions

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
)

// relied is what pods of namespace shop rely on: a waypoint, a Service behind it, and
// a copy of a policy there; the policy itself is known, too.
func relied() *v1alpha1.Handover {
	return &v1alpha1.Handover{
		Waypoints: []v1alpha1.ObjectReference{gatewayReference},
		Services:  []v1alpha1.FrontedService{{Object: serviceReference, Waypoint: "shop/waypoint", Bound: true}},
		Objects:   []v1alpha1.ObjectReference{policyReference},
		Policies:  []v1alpha1.KnownPolicy{{Object: named("original")}, {Object: named("foreign")}},
		Lists:     []v1alpha1.ObjectList{{APIVersion: "security.istio.io/v1", Kind: "AuthorizationPolicy", Namespace: "shop"}},
	}
}

func named(name string) v1alpha1.ObjectReference {
	reference := policyReference
	reference.Name = name
	return reference
}

// selecting is a policy for pods.
func selecting(name, app, method string) []any {
	return []any{fixture.YAML(fmt.Sprintf(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: %s, namespace: shop, generation: 2}
spec: {selector: {matchLabels: {app: %s}}, rules: [{to: [{operation: {methods: [%s]}}]}]}
`, name, app, method))}
}

// scene is what there is of relied, part by part, so that a test can change one.
type scene struct {
	gateway, proxies, service, copied, original, foreign, more []any
}

func handedOver() scene {
	const target = `targetRefs: [{group: "", kind: Service, name: cart}], rules: [{to: [{operation: {methods: [GET]}}]}]`
	return scene{
		gateway: gatewayStatus("True", 2, anAddress), proxies: proxies(1, 1),
		service:  serviceOf("istio.io/use-waypoint: waypoint, istio.io/ingress-use-waypoint: \"true\"", bound("True", "bound to shop/waypoint")),
		copied:   policyOf("AuthorizationPolicy", target, accepted(checks.ConditionWaypointAccepted, "True", "Accepted", "2")),
		original: selecting("original", "cart", "GET"), foreign: selecting("foreign", "nobody", "GET"),
	}
}

func (s scene) objects() []any {
	cart := fixture.Deployment("shop", "cart")
	return slices.Concat([]any{fixture.Namespace("shop", nil), cart, fixture.PodsOf(cart, fixture.Sidecar)},
		s.gateway, s.proxies, s.service, s.copied, s.original, s.foreign, s.more)
}

func TestHandoverHolds(t *testing.T) {
	const service = "Service shop/cart "
	const attached = "bound to shop/waypoint"
	const condition = checks.ConditionWaypointAccepted
	copyOf := func(spec, condition string) []any { return policyOf("AuthorizationPolicy", spec, condition) }
	const get, target = "rules: [{to: [{operation: {methods: [GET]}}]}]", `targetRefs: [{group: "", kind: Service, name: cart}], `
	takenUp := accepted(condition, "True", "Accepted", "2")
	for _, test := range []struct {
		name   string
		change func(*scene)
		want   []string
		lost   bool
	}{
		{name: "it holds", change: func(*scene) {}},
		{name: "the waypoint is gone", change: func(s *scene) { s.gateway = nil }, want: []string{"Gateway shop/waypoint is gone: somebody has deleted the waypoint of Service shop/cart"}, lost: true},
		{name: "it is not taken up", change: func(s *scene) { s.gateway = gatewayStatus("True", 1, anAddress) }, want: []string{"Gateway shop/waypoint is not taken up by istiod yet"}},
		{name: "it has no endpoint", change: func(s *scene) { s.proxies = proxies(1, 0) }, want: []string{"Gateway shop/waypoint has no ready endpoint: calls to Service shop/cart fail"}},
		{name: "one of two endpoints", change: func(s *scene) { s.proxies = proxies(2, 1) }},
		{name: "the Service is gone", change: func(s *scene) { s.service = nil }, want: []string{service + "is gone"}, lost: true},
		{name: "it names no waypoint", change: func(s *scene) { s.service = serviceOf("", "") }, want: []string{service + "names no waypoint: its label istio.io/use-waypoint is to name shop/waypoint"}, lost: true},
		{name: "it names another one", change: func(s *scene) { s.service = serviceOf("istio.io/use-waypoint: other", "") }, want: []string{service + "names waypoint shop/other by its label"}, lost: true},
		{name: "gateways pass by", change: func(s *scene) { s.service = serviceOf("istio.io/use-waypoint: waypoint", bound("True", attached)) }, want: []string{service + `has label istio.io/ingress-use-waypoint "", and is to have "true"`}, lost: true},
		{name: "it is not bound", change: func(s *scene) {
			s.service = serviceOf("istio.io/use-waypoint: waypoint, istio.io/ingress-use-waypoint: \"true\"", bound("False", "no"))
		}, want: []string{service + "is not bound to waypoint shop/waypoint"}},
		{name: "the copy is gone", change: func(s *scene) { s.copied = nil }, want: []string{"AuthorizationPolicy shop/get is gone"}, lost: true},
		{name: "its rules are others", change: func(s *scene) { s.copied = copyOf(target+"rules: [{to: [{operation: {methods: [PUT]}}]}]", takenUp) }, want: []string{`AuthorizationPolicy shop/get is not what it was made to be: spec.rules[0].to[0].operation.methods[0] is "PUT", and was "GET"`}, lost: true},
		{name: "it has another action", change: func(s *scene) { s.copied = copyOf("action: DENY, "+target+get, takenUp) }, want: []string{`spec.action is "DENY", and was absent`}, lost: true},
		{name: "it was made a dry run", change: func(s *scene) {
			s.copied = []any{fixture.YAML(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: get, namespace: shop, generation: 2, annotations: {istio.io/dry-run: "true"}}
spec: {` + target + get + `}`)}
		}, want: []string{`metadata.annotations[istio.io/dry-run] is "true", and was absent`}, lost: true},
		{name: "it is not accepted", change: func(s *scene) { s.copied = copyOf(target+get, accepted(condition, "False", "AncestorNotBound", "2")) }, want: []string{"AuthorizationPolicy shop/get is not accepted for its waypoint"}},
		{name: "it is not taken up", change: func(s *scene) { s.copied = copyOf(target+get, accepted(condition, "True", "Accepted", "1")) }, want: []string{"AuthorizationPolicy shop/get is not taken up by istiod yet"}},
		{name: "the original is another", change: func(s *scene) { s.original = selecting("original", "cart", "PUT") }, want: []string{"AuthorizationPolicy shop/original is not what it was"}, lost: true},
		{name: "the original is gone", change: func(s *scene) { s.original = nil }, want: []string{"AuthorizationPolicy shop/original is gone: somebody has deleted it since the plan was made"}, lost: true},
		{name: "one that selects nothing here is another", change: func(s *scene) { s.foreign = selecting("foreign", "nobody", "PUT") }},
		{name: "one that selected nothing selects now", change: func(s *scene) { s.foreign = selecting("foreign", "cart", "GET") }, want: []string{"AuthorizationPolicy shop/foreign is not what it was"}, lost: true},
		{name: "a new one for the pods", change: func(s *scene) { s.more = selecting("late", "cart", "GET") }, want: []string{"AuthorizationPolicy shop/late has been made since the plan was"}, lost: true},
		{name: "a new one for the waypoint", change: func(s *scene) {
			s.more = []any{fixture.YAML("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: late, namespace: shop}\n" +
				"spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}]}")}
		}, want: []string{"AuthorizationPolicy shop/late has been made"}, lost: true},
		{name: "a new one for other pods", change: func(s *scene) { s.more = selecting("late", "nobody", "GET") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			now := handedOver()
			test.change(&now)
			snapshot := fixture.Snapshot(now.objects()...)
			runner, _ := looker(snapshot)
			var err error
			if runner.holding, err = hold(v1alpha1.MigrationPlan{Handover: relied()}, fixture.Content(handedOver().objects()...)); err != nil {
				t.Fatal(err)
			}
			got, err := runner.gates()[v1alpha1.GateHandoverHolds](t.Context(), snapshot, v1alpha1.Gate{})
			if err != nil {
				t.Fatal(err)
			}
			missing(t, got, test.want...)
			if got.failed != test.lost {
				t.Errorf("given up: %t, want %t", got.failed, test.lost)
			}
		})
	}
}

// What a step changes is what is wanted from then on.
func TestHandoverFollowsTheSteps(t *testing.T) {
	holding, err := hold(v1alpha1.MigrationPlan{Handover: relied()}, fixture.Content(handedOver().objects()...))
	if err != nil {
		t.Fatal(err)
	}
	rules := []any{map[string]any{"to": []any{map[string]any{"operation": map[string]any{"methods": []any{"PUT"}}}}}}
	change := v1alpha1.Change{Object: policyReference, Fields: []v1alpha1.FieldChange{{Path: "/spec/rules", After: rules}}}
	pod := v1alpha1.Change{Object: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "gone"}, Delete: true}
	if err := holding.note([]v1alpha1.Change{change, pod}); err != nil {
		t.Fatal(err)
	}
	drifts, err := holding.drifts(fixture.Snapshot(handedOver().objects()...))
	if err != nil || len(drifts) != 1 || drifts[0].Field != "spec.rules[0].to[0].operation.methods[0]" {
		t.Errorf("%+v, %v", drifts, err)
	}
}

// A step that requires what does not hold is not begun: nothing of it is written, and
// its record says so.
func TestAStepIsNotBegun(t *testing.T) {
	steps := twoSteps()
	steps[1].Requires = v1alpha1.GateHandoverHolds
	now := handedOver()
	now.gateway = nil
	r := newTrial(t, steps, append(now.objects(), fixture.Deployment("shop", "web"), fixture.Deployment("shop", "pay"))...)
	r.record.Plan.Handover = relied()
	before := fixture.Content(append(fixture.Installation(), handedOver().objects()...)...)
	r.Mesh = before
	changed, err := r.Run(t.Context(), r.record)
	var gate *GateError
	if !errors.As(err, &gate) || !gate.Before || !strings.Contains(err.Error(), "step "+steps[1].ID+" was not begun") ||
		!strings.Contains(err.Error(), "Gateway shop/waypoint is gone") || !strings.Contains(err.Error(), "enroll again, which makes anew what is gone and names what somebody has changed, or roll back") {
		t.Fatalf("the error is %v", err)
	}
	if !changed {
		t.Error("the first step has changed nothing")
	}
	stored := r.stored(t)
	if stored.State != v1alpha1.RunIncomplete || stored.Steps[1].State != v1alpha1.StepPending || stored.Steps[1].Message == "" {
		t.Errorf("the record is %+v", stored.Steps[1])
	}
}

func TestWatchesOfAHandover(t *testing.T) {
	watches, err := WatchesOf(v1alpha1.MigrationPlan{Handover: relied()}, "shop", fixture.Mapper())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, watch := range watches {
		if !slices.ContainsFunc(base("shop"), watch.within) {
			got = append(got, strings.TrimSpace(watch.Namespace+"/"+watch.Resource.Resource+" "+watch.Labels+watch.Fields))
		}
	}
	slices.Sort(got)
	want := []string{"shop/authorizationpolicies", "shop/endpointslices " + gatewayName, "shop/gateways", "shop/services"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
