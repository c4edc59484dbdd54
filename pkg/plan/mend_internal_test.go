package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// moved is the namespace once it is moved: its pods have no sidecar.
func moved(t *testing.T) []unstructured.Unstructured {
	t.Helper()
	objects, _ := finished(t)
	cart := fixture.Deployment("shop", "cart", fixture.TemplateLabel("sidecar.istio.io/inject", "false"))
	return append(lacking(objects, func(object unstructured.Unstructured) bool {
		return object.GetNamespace() == "shop" && (object.GetKind() == mesh.KindPod || object.GetKind() == mesh.KindReplicaSet)
	}), fixture.Objects(fixture.PodsOf(cart, fixture.Ambient))...)
}

// What was handed over and is gone is made again: that calls are let in by it which
// are refused without it does not block. What no run has handed over is compared with
// today, as is what would be open on the way.
func TestMending(t *testing.T) {
	ours := func(object unstructured.Unstructured) bool { return Ours(object.Object) }
	waypoint := func(object unstructured.Unstructured) bool { return object.GetKind() == mesh.KindGateway }
	policy := func(prefix string) func(unstructured.Unstructured) bool {
		return func(object unstructured.Unstructured) bool {
			return ours(object) && !waypoint(object) && strings.HasPrefix(object.GetName(), prefix)
		}
	}
	for _, test := range []struct {
		name string
		gone func(unstructured.Unstructured) bool
		// first is the phase of the first step.
		first                     v1alpha1.Phase
		blocked, repairs, missing bool
	}{
		{name: "the waypoint", gone: waypoint, first: v1alpha1.PhaseDeployWaypoints, repairs: true, missing: true},
		{name: "what admits the waypoint", gone: policy("from-waypoint"), first: v1alpha1.PhaseMigratePolicies, repairs: true},
		{name: "a copy, without which all is open", gone: policy("readers"), first: v1alpha1.PhaseMigratePolicies, repairs: true},
		{
			name: "the waypoint and the copy: it would be open in between", first: v1alpha1.PhaseDeployWaypoints, blocked: true, repairs: true, missing: true,
			gone: func(object unstructured.Unstructured) bool { return waypoint(object) || policy("readers")(object) },
		},
		{name: "all of it: nothing tells that there was anything", gone: ours, first: v1alpha1.PhaseDeployWaypoints, blocked: true, missing: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			planned := enrolled(t, lacking(moved(t), test.gone))
			if len(planned.Steps) == 0 || planned.Steps[0].Phase != test.first {
				t.Fatalf("the steps are %q", outline(planned))
			}
			blocks := slices.Contains(planned.Overview.Blockers, checks.IDCallsNewlyAllowed)
			if blocks != test.blocked || planned.Blocked != test.blocked {
				t.Errorf("it is blocked by %q", planned.Overview.Blockers)
			}
			if repairs := slices.ContainsFunc(planned.Access.Changes, func(change v1alpha1.CallChange) bool { return change.Repairs }); repairs != test.repairs {
				t.Errorf("it repairs: %t", repairs)
			}
			missing := slices.ContainsFunc(planned.Gates, func(gate v1alpha1.CheckResult) bool {
				return gate.ID == "waypoint-missing" && gate.Status == v1alpha1.StatusWarn && strings.Contains(gate.Message, "does not exist any more")
			})
			if missing != test.missing {
				t.Errorf("the missing waypoint is named: %t", missing)
			}
		})
	}
}

// A Service that has come since the run was never behind its waypoint: that calls to it
// are let in repairs nothing.
func TestWhatComesLaterIsNoRepair(t *testing.T) {
	planned := enrolled(t, append(moved(t), fixture.YAML(`
apiVersion: v1
kind: Service
metadata: {name: cart-too, namespace: shop}
spec: {clusterIP: 10.0.0.3, selector: {app: cart}, ports: [{name: http, port: 80}]}`)...))
	if !slices.Contains(planned.Overview.Blockers, checks.IDCallsNewlyAllowed) {
		t.Errorf("it is blocked by %q", planned.Overview.Blockers)
	}
	for _, change := range planned.Access.Changes {
		if change.Effect == v1alpha1.CallNewlyAllowed && change.Service != nil && change.Repairs {
			t.Errorf("it repairs %s", checks.DescribeChange(change))
		}
	}
}
