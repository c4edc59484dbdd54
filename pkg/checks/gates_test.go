package checks_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

func rollbackResults(workloads []mesh.Workload, namespace mesh.Namespace, objects ...any) []v1alpha1.CheckResult {
	snapshot := fixture.Snapshot(objects...)
	return checks.Run(checks.RollbackGates(workloads, workloads, nil), checks.Subject{Snapshot: snapshot, Namespace: namespace, Migration: &checks.Migration{Access: &v1alpha1.AccessReport{}}})
}

func TestRollbackGates(t *testing.T) {
	cart := fixture.Snapshot(fixture.Deployment("shop", "cart")).Workloads("shop")
	canary := mesh.Namespace{Name: "shop", Labels: labels{"istio.io/rev": "canary"}}
	terminating := canary
	terminating.Terminating = true
	tests := []struct {
		name      string
		namespace mesh.Namespace
		objects   []any
		id        string
		want      finding
	}{
		{"the injector is there", canary, []any{fixture.Istiod("canary"), fixture.Injector("canary", false)}, "", finding{}},
		{"the injector is gone", canary, []any{fixture.Istiod(""), fixture.Injector("", false)}, "injector-present", finding{fail, "Deployment shop/cart", "", "injection: rev=canary"}},
		{"nothing asks for sidecars", mesh.Namespace{Name: "shop"}, []any{fixture.Istiod(""), fixture.Injector("", false)}, "injector-present", finding{warn, "Deployment shop/cart", "", "nothing asked for them"}},
		{"istiod is gone", canary, []any{fixture.Injector("canary", false)}, "istio-installed", finding{fail, "", "", "no Istio control plane"}},
		{"the namespace is being deleted", terminating, []any{fixture.Istiod("canary"), fixture.Injector("canary", false)}, "namespace-terminating", finding{fail, "Namespace shop", "metadata.deletionTimestamp", "being deleted"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, result := range rollbackResults(cart, test.namespace, test.objects...) {
				if result.ID != test.id {
					if result.Status != pass {
						t.Errorf("%s does not pass: %s", result.ID, result.Message)
					}
					continue
				}
				testCase{check: test.id, want: []finding{test.want}}.compare(t, []v1alpha1.CheckResult{result})
			}
		})
	}
}

// What a rollback does not replace leaves ambient mode while it runs.
func TestARollbackNamesStaleEndpoints(t *testing.T) {
	const written = `
apiVersion: v1
kind: Service
metadata: {name: hand, namespace: shop}
spec: {clusterIP: 10.0.0.9, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: hand-1, namespace: shop, labels: {kubernetes.io/service-name: hand}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints:
- {addresses: [10.9.0.1], targetRef: {kind: Pod, namespace: shop, name: cart-5d8f7-0}}
- {addresses: [10.9.0.2], targetRef: {kind: Pod, namespace: shop, name: plain}}
`
	objects := enrolled(fixture.Pod("shop", "plain", fixture.Ambient), written)
	cart, _ := fixture.Snapshot(objects...).Workload(v1alpha1.ObjectReference{Kind: mesh.KindDeployment, Namespace: "shop", Name: "cart"})
	both, one := "calling Pod cart-5d8f7-0, Pod plain by it by HBONE", "calling Pod plain by it by HBONE"
	for _, test := range []struct {
		name      string
		namespace mesh.Namespace
		replaced  []mesh.Workload
		want      []finding
	}{
		{"one pod stays", mesh.Namespace{Name: "shop"}, []mesh.Workload{cart}, []finding{{warn, "Service shop/hand", "", one}}},
		{"two do", mesh.Namespace{Name: "shop"}, nil, []finding{{warn, "Service shop/hand", "", both}}},
		{"the namespace stays ambient", mesh.Namespace{Name: "shop", Labels: labels{"istio.io/dataplane-mode": "ambient"}}, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			results := slices.DeleteFunc(rollbackResults(test.replaced, test.namespace, objects...), func(result v1alpha1.CheckResult) bool { return result.ID != "stale-endpoints-back" })
			testCase{check: "stale-endpoints-back", want: test.want}.compare(t, results)
		})
	}
}

func TestARollbackOfNothingNeedsNoInjector(t *testing.T) {
	for _, result := range rollbackResults(nil, mesh.Namespace{Name: "shop"}, fixture.Istiod("")) {
		if result.Status != pass {
			t.Errorf("%s does not pass: %s", result.ID, result.Message)
		}
	}
}

// The gate of a restarted workload and verify must not disagree.
func TestCapturedSaysWhatVerifySays(t *testing.T) {
	snapshot := fixture.Snapshot(enrolled()...)
	for _, test := range verifyCases() {
		if !slices.Contains([]string{"ztunnel-captured", "ztunnel-hbone", "ztunnel-policies"}, test.check) || test.evidence == nil {
			continue
		}
		t.Run(test.check+"/"+test.name, func(t *testing.T) {
			found := map[v1alpha1.CheckStatus]bool{}
			for _, finding := range checks.Captured(snapshot.Pods("shop"), test.evidence) {
				found[finding.Status] = true
				if finding.Object == nil || finding.Object.String() != "Pod shop/cart-5d8f7-0" {
					t.Errorf("the finding does not name the pod: %+v", finding)
				}
			}
			want := map[v1alpha1.CheckStatus]bool{}
			for _, finding := range test.want {
				want[finding.status] = true
			}
			if diff := cmp.Diff(want, found); diff != "" {
				t.Errorf("(-verify +gate):\n%s", diff)
			}
		})
	}
	if found := checks.Captured(snapshot.Pods("shop"), nil); len(found) != 1 || found[0].Status != unknown {
		t.Errorf("without evidence it says %+v", found)
	}
}

func TestLiveCaptures(t *testing.T) {
	optedOut := fixture.Deployment("shop", "quiet", fixture.TemplateLabel("sidecar.istio.io/inject", "false"))
	content := fixture.Content(shop(fixture.Pod("shop", "a"), optedOut, fixture.PodsOf(optedOut))...)
	snapshot, err := mesh.NewSnapshot(content)
	if err != nil {
		t.Fatal(err)
	}
	namespace := fixture.Find(snapshot, "shop")
	live := checks.LiveCaptures(snapshot, namespace)
	if len(live) != 1 || live[0].Name != "a" {
		t.Errorf("it returns %v", live)
	}
	if namespace.Labels["istio.io/dataplane-mode"] != "" {
		t.Error("it labelled the namespace of its caller")
	}
	if live := checks.LiveCaptures(snapshot, mesh.Namespace{Name: "shop"}); len(live) != 1 {
		t.Errorf("for a namespace without labels it returns %v", live)
	}
}

// What a test of the mesh as a whole wants: some gate that stops the enrolment.
func blocks(t *testing.T, objects ...any) bool {
	t.Helper()
	snapshot := fixture.Snapshot(objects...)
	for _, result := range checks.Run(checks.EnrollGates(), checks.Subject{Snapshot: snapshot, Namespace: fixture.Find(snapshot, "shop")}) {
		if result.Blocks() {
			return true
		}
	}
	return false
}

// istio-cni would not capture its pods: the first workload would lose its
// sidecar and be in no mesh at all.
func TestANamespaceThatIstioCNIDoesNotCaptureIsBlocked(t *testing.T) {
	objects := fixture.Without("ConfigMap", shop()...)
	for name, data := range map[string]labels{
		"excluded":                      {"AMBIENT_ENABLED": "true", "EXCLUDE_NAMESPACES": "kube-system,shop"},
		"not selected by a custom rule": {"AMBIENT_ENABLED": "true", "AMBIENT_ENABLEMENT_SELECTOR": "[{podSelector: {matchLabels: {mesh: ambient}}}]"},
	} {
		t.Run(name, func(t *testing.T) {
			if !blocks(t, objects, fixture.MeshConfig(""), fixture.CNIConfig("istio-system", data)) {
				t.Error("no gate blocks")
			}
		})
	}
}

// The mesh's own outbound traffic policy ends with the sidecars, as that of a
// Sidecar resource does: calls to unknown destinations pass.
func TestTheMeshsOwnRestrictionOfOutboundTrafficIsNotLostSilently(t *testing.T) {
	objects := fixture.Without("ConfigMap", shop()...)
	cni := fixture.CNIConfig("istio-system", labels{"AMBIENT_ENABLED": "true"})
	if blocks(t, objects, cni, fixture.MeshConfig("outboundTrafficPolicy: {mode: ALLOW_ANY}")) {
		t.Fatal("a gate blocks without a reason")
	}
	if !blocks(t, objects, cni, fixture.MeshConfig("outboundTrafficPolicy: {mode: REGISTRY_ONLY}")) {
		t.Error("no gate blocks")
	}
}

// A workload that is injected and says istio.io/dataplane-mode=none would lose
// its sidecar and not be captured either.
func TestAnInjectedWorkloadThatRefusesAmbientModeIsNotTakenOutOfTheMesh(t *testing.T) {
	refusing := fixture.Deployment("shop", "keep", fixture.TemplateLabel("istio.io/dataplane-mode", "none"))
	objects := shop(refusing, fixture.PodsOf(refusing, fixture.Sidecar))
	snapshot := fixture.Snapshot(objects...)
	workload, _ := snapshot.Workload(v1alpha1.ObjectReference{Kind: "Deployment", Namespace: "shop", Name: "keep"})
	if snapshot.RoleOf(workload, fixture.Find(snapshot, "shop")) == mesh.RoleMove && !blocks(t, objects...) {
		t.Error("it is moved and no gate blocks")
	}
}
