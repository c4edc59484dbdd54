package checks_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
)

// What stands before an enrolment is what verify would find of what others have made, and
// nothing of what an enrolment is to change.
func TestStanding(t *testing.T) {
	const astray = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: astray, namespace: shop}\n" +
		"spec: {parentRefs: [{group: \"\", kind: Service, name: cart, port: 80}]}"
	route := v1alpha1.ObjectReference{APIVersion: "gateway.networking.k8s.io/v1", Kind: "HTTPRoute", Namespace: "shop", Name: "astray"}
	const meshWide = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: all, namespace: istio-system}\n" +
		"spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}]}"
	class := v1alpha1.ObjectReference{APIVersion: "security.istio.io/v1", Kind: "AuthorizationPolicy", Namespace: "istio-system", Name: "all"}
	const own = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: own, namespace: shop}\n" +
		"spec: {targetRefs: [{group: '', kind: Service, name: cart}]}"
	for _, test := range []struct {
		name    string
		objects []any
		want    []v1alpha1.StandingFinding
	}{
		{"nothing", shop(), nil},
		{"a policy for all waypoints that istiod says nothing of", shop(waypointClass, meshWide), []v1alpha1.StandingFinding{{ID: "policies-accepted", Object: &class, Field: "status.conditions[WaypointAccepted]"}}},
		{"a policy of its own, which an enrolment may put to use", shop(waypointClass, own, gateway("shop", "way", "istio-waypoint", "")), nil},
		{"a route that istiod says nothing of", shop(astray, service), []v1alpha1.StandingFinding{{ID: "routes-accepted", Object: &route, Field: "status.parents[0]"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			snapshot := fixture.Snapshot(test.objects...)
			if diff := cmp.Diff(test.want, checks.Standing(snapshot, fixture.Find(snapshot, "shop"))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestHoldsUp(t *testing.T) {
	object := func(version, name string) *v1alpha1.ObjectReference {
		return &v1alpha1.ObjectReference{APIVersion: "example.com/" + version, Kind: "Route", Namespace: "shop", Name: name}
	}
	result := v1alpha1.CheckResult{ID: "routes-accepted", Severity: v1alpha1.SeverityError, Status: fail, Object: object("v1", "a"), Field: "status"}
	edited := func(edit func(*v1alpha1.CheckResult)) v1alpha1.CheckResult {
		other := result
		edit(&other)
		return other
	}
	standing := []v1alpha1.StandingFinding{{ID: "routes-accepted", Object: object("v1beta1", "a"), Field: "status"}, {ID: "route-targets", Unknown: true}}
	for _, test := range []struct {
		name   string
		result v1alpha1.CheckResult
		want   bool
	}{
		{"as before", result, false},
		{"of another object", edited(func(r *v1alpha1.CheckResult) { r.Object = object("v1", "b") }), true},
		{"of another field", edited(func(r *v1alpha1.CheckResult) { r.Field = "spec" }), true},
		{"of another check", edited(func(r *v1alpha1.CheckResult) { r.ID = "route-targets" }), true},
		{"not to be seen any more", edited(func(r *v1alpha1.CheckResult) { r.Status = unknown }), true},
		{"not to be seen as before", v1alpha1.CheckResult{ID: "route-targets", Severity: v1alpha1.SeverityError, Status: unknown}, false},
		{"found since it can be seen", v1alpha1.CheckResult{ID: "route-targets", Severity: v1alpha1.SeverityError, Status: fail}, true},
		{"a warning", edited(func(r *v1alpha1.CheckResult) { r.Object, r.Status = object("v1", "b"), warn }), false},
		{"accepted", edited(func(r *v1alpha1.CheckResult) { r.Object, r.Accepted = object("v1", "b"), true }), false},
		{"an istiod that cannot be asked", v1alpha1.CheckResult{ID: "ztunnel-in-step", Severity: v1alpha1.SeverityError, Status: unknown}, false},
		{"calls that could not all be compared", v1alpha1.CheckResult{ID: "calls-kept", Severity: v1alpha1.SeverityError, Status: unknown}, false},
		{"calls that may not be compared", v1alpha1.CheckResult{ID: "calls-kept", Severity: v1alpha1.SeverityError, Status: unknown, Unseen: []v1alpha1.KindCoverage{{Key: "Service"}}}, true},
		{"calls that are let in", v1alpha1.CheckResult{ID: "calls-kept", Severity: v1alpha1.SeverityError, Status: fail}, true},
		{"a ztunnel that is not in step", v1alpha1.CheckResult{ID: "ztunnel-in-step", Severity: v1alpha1.SeverityError, Status: fail}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := checks.HoldsUp(test.result, standing); got != test.want {
				t.Errorf("it is %v, not %v", got, test.want)
			}
		})
	}
}
