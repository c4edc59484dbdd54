package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
		// simplified is true where what runs have made is all that says what holds.
		simplified bool
	}{
		{name: "the waypoint", gone: waypoint, first: v1alpha1.PhaseDeployWaypoints, repairs: true, missing: true},
		{name: "what admits the waypoint", gone: policy("from-waypoint"), first: v1alpha1.PhaseMigratePolicies, repairs: true},
		{
			name: "what admits the waypoint, after a simplification", gone: policy("from-waypoint"), first: v1alpha1.PhaseMigratePolicies,
			simplified: true, blocked: true,
		},
		{name: "a copy, without which all is open", gone: policy("readers"), first: v1alpha1.PhaseMigratePolicies, repairs: true},
		{
			name: "the waypoint and the copy: it would be open in between", first: v1alpha1.PhaseDeployWaypoints, blocked: true, repairs: true, missing: true,
			gone: func(object unstructured.Unstructured) bool { return waypoint(object) || policy("readers")(object) },
		},
		{name: "all of it: nothing tells that there was anything", gone: ours, first: v1alpha1.PhaseDeployWaypoints, blocked: true, missing: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			objects := lacking(moved(t), test.gone)
			for i := range objects {
				if test.simplified && policy("readers")(objects[i]) {
					objects[i].SetAnnotations(map[string]string{v1alpha1.SimplifiedAnnotation: "true"})
				}
			}
			planned := enrolled(t, objects)
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

// rewritten are objects with those of a name as something makes of them.
func rewritten(objects []unstructured.Unstructured, name string, edit func(map[string]any)) []unstructured.Unstructured {
	var all []unstructured.Unstructured
	for _, object := range objects {
		if object.GetName() == name {
			object = *object.DeepCopy()
			edit(object.Object)
		}
		all = append(all, object)
	}
	return all
}

// What policies admit that have come or changed since the run is let in as it would have
// been at once with sidecars. What they would not admit blocks, however it comes to be
// let in.
func TestMendingLetsInWhatPoliciesSay(t *testing.T) {
	const writers = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: writers, namespace: shop, generation: 1}
spec: {selector: {matchLabels: {app: cart}}, rules: [{to: [{operation: {methods: [POST]}}]}]}`
	attached := func(spec string) string {
		return `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: attached, namespace: shop, generation: 1}
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}], ` + spec + `}`
	}
	passage := func(object unstructured.Unstructured) bool {
		return strings.HasPrefix(object.GetName(), mesh.FromWaypointPrefix)
	}
	for _, test := range []struct {
		name    string
		objects func(moved []unstructured.Unstructured) []unstructured.Unstructured
		// repairs and blocks are the methods that are let in, with and without blocking.
		repairs, blocks []string
	}{
		{
			name: "a policy has come that admits more",
			objects: func(moved []unstructured.Unstructured) []unstructured.Unstructured {
				return append(moved, fixture.YAML(writers[1:])...)
			},
			repairs: []string{"POST"},
		},
		{
			name: "a policy admits more than it did",
			objects: func(moved []unstructured.Unstructured) []unstructured.Unstructured {
				return rewritten(moved, "readers", func(object map[string]any) {
					object["spec"].(map[string]any)["rules"] = []any{map[string]any{"to": []any{map[string]any{"operation": map[string]any{"methods": []any{"GET", "PUT"}}}}}}
				})
			},
			repairs: []string{"PUT"},
		},
		{
			name: "what lets the waypoint through is gone, and somebody has attached to it what admits more than policies of pods do",
			objects: func(moved []unstructured.Unstructured) []unstructured.Unstructured {
				return append(lacking(moved, passage), fixture.YAML(attached("rules: [{to: [{operation: {methods: [POST]}}]}]")[1:])...)
			},
			repairs: []string{"GET"}, blocks: []string{"POST"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			planned := enrolled(t, test.objects(moved(t)))
			var repairs, blocks []string
			for _, change := range planned.Access.Changes {
				if change.Effect == v1alpha1.CallNewlyAllowed && change.Repairs {
					repairs = append(repairs, change.Request.Method)
				} else if change.Effect == v1alpha1.CallNewlyAllowed {
					blocks = append(blocks, change.Request.Method)
				}
			}
			slices.Sort(repairs)
			slices.Sort(blocks)
			if diff := cmp.Diff(test.repairs, slices.Compact(repairs)); diff != "" {
				t.Errorf("repairs (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.blocks, slices.Compact(blocks)); diff != "" {
				t.Errorf("blocks (-want +got):\n%s", diff)
			}
			if blocked := slices.Contains(planned.Overview.Blockers, checks.IDCallsNewlyAllowed); blocked != (len(test.blocks) > 0) {
				t.Errorf("it is blocked by %q", planned.Overview.Blockers)
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
