package actions

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// Policies that select nothing hold for a pod, too: its gate wants at ztunnel what istiod
// gives it for the namespace and the mesh.
func TestLookCapturedWantsPoliciesWithoutSelector(t *testing.T) {
	policies := func(names ...string) map[string]string {
		all := map[string]string{"other/own": "x"}
		for _, name := range names {
			all[name] = "x"
		}
		return all
	}
	for _, test := range []struct {
		name          string
		knows, meant  map[string]string
		problem       string
		elsewhere     bool
		want          []string
		first, second int
	}{
		{name: "all are there", knows: policies("shop/all", "istio-system/mesh"), meant: policies("shop/all", "istio-system/mesh"), first: 1, second: 1},
		{name: "that of the namespace is not", knows: policies("istio-system/mesh"), meant: policies("shop/all", "istio-system/mesh"), want: []string{"has not heard of policy shop/all"}, first: 1, second: 2},
		{name: "that of the mesh is not", knows: policies("shop/all"), meant: policies("shop/all", "istio-system/mesh"), want: []string{"has not heard of policy istio-system/mesh"}, first: 1, second: 2},
		{name: "one is of before", knows: map[string]string{"shop/all": "old"}, meant: policies("shop/all"), want: []string{"has another version of policy shop/all"}, first: 1, second: 2},
		{name: "one is gone", knows: policies("shop/all"), meant: policies(), want: []string{"still has policy shop/all"}, first: 1, second: 2},
		{name: "those of other namespaces", knows: policies("far/a"), meant: policies("far/b"), first: 1, second: 1},
		{name: "istiod cannot be asked", knows: policies("shop/all"), problem: "connection refused", first: 1, second: 2},
		{name: "istiod runs elsewhere", knows: policies("shop/all"), problem: "elsewhere", elsewhere: true, first: 1, second: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			two := switched(fixture.Replicas(2))
			snapshot := fixture.Snapshot(append(fixture.Installation(), ambientShop, two, fixture.PodsOf(two, fixture.Ambient))...)
			runner, _ := looker(snapshot)
			runner.Evidence = func(context.Context, []string) (*mesh.Evidence, error) {
				evidence := evidenceFor(snapshot.Pods("shop")...)
				for name, node := range evidence.Nodes {
					node.Policies = test.knows
					evidence.Nodes[name] = node
				}
				return evidence, nil
			}
			asked := 0
			runner.Istiods = func(_ context.Context, evidence *mesh.Evidence) error {
				asked++
				evidence.Istiods = map[string]mesh.IstiodEvidence{"": {
					Istiod: "istio-system/istiod-x", Problem: test.problem, Elsewhere: test.elsewhere, DataPlaneView: mesh.DataPlaneView{Policies: test.meant},
				}}
				return nil
			}
			for _, times := range []int{test.first, test.second} {
				got, err := runner.lookCaptured(t.Context(), snapshot, gateOf(v1alpha1.GateCaptured, reference("Deployment", "cart")))
				if err != nil {
					t.Fatal(err)
				}
				missing(t, got, test.want...)
				if asked != times {
					t.Errorf("istiod was asked %d times, want %d", asked, times)
				}
			}
		})
	}
}

// What istiod has said of other nodes' policies is kept; what it says of pods is not.
func TestNoteMeant(t *testing.T) {
	r := &Runner{}
	r.noteMeant(map[string]mesh.IstiodEvidence{"a": {DataPlaneView: mesh.DataPlaneView{Policies: map[string]string{"x": "1"}, Workloads: map[string]mesh.ZtunnelWorkload{"y": {}}}}})
	r.noteMeant(map[string]mesh.IstiodEvidence{"b": {Problem: "refused"}})
	want := map[string]mesh.IstiodEvidence{"a": {DataPlaneView: mesh.DataPlaneView{Policies: map[string]string{"x": "1"}}}, "b": {Problem: "refused"}}
	if diff := cmp.Diff(want, r.meant); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
