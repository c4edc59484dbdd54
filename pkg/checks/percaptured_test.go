package checks_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// What is wrong at one node, or with one pod, hides nothing that is wrong at another: pod
// aa of node-a and pod cart of the other node each have a fault, and both are found.
func TestFaultsOfTwoNodes(t *testing.T) {
	const elsewhere, other = "node-a", "spiffe://cluster.local/ns/shop/sa/aa"
	on := func(node string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Spec.NodeName, pod.Spec.ServiceAccountName = node, "aa" }
	}
	aa := fixture.Pod("shop", "aa", fixture.Ambient, on(elsewhere))
	unasked := func(node *mesh.NodeEvidence) { node.Problem = "no ready ztunnel pod" }
	pending := func(node *mesh.NodeEvidence) {
		node.Captured[fixture.UID("Pod", "shop", "aa")] = mesh.CapturePending
	}
	expired := func(node *mesh.NodeEvidence) {
		node.Certificates[identity] = mesh.ZtunnelCertificate{State: mesh.CertificateAvailable, NotBefore: fixture.Created.Add(-48 * time.Hour), NotAfter: fixture.Created}
	}
	stale := func(node *mesh.NodeEvidence) { delete(node.Workloads, "shop/aa") }
	byTCP := func(node *mesh.NodeEvidence) {
		node.Workloads["shop/cart-5d8f7-0"] = mesh.ZtunnelWorkload{Protocol: "TCP", Identity: identity}
	}
	unpoliced := func(node *mesh.NodeEvidence) {
		node.Workloads["shop/cart-5d8f7-0"] = mesh.ZtunnelWorkload{Protocol: "HBONE", Identity: identity, Policies: []string{"shop/p"}}
	}
	plain := func(node *mesh.NodeEvidence) {
		node.Traffic = map[string]mesh.Traffic{"shop/cart": {Inbound: 8, Plaintext: 2}}
	}
	const left, leftNode, all = "skip: it means nothing for Pod shop/aa while", "skip: it means nothing for node node-a while", "skip: it means nothing while ztunnel-captured"
	for _, test := range []struct {
		name string
		// at is what is wrong at node-a, here what at the other node.
		at, here func(*mesh.NodeEvidence)
		want     map[string][]string
	}{
		{name: "nothing", want: map[string][]string{
			"ztunnel-captured": {"pass"}, "ztunnel-hbone": {"pass"}, "ztunnel-policies": {"pass"}, "ztunnel-waypoints": {"pass"}, "ztunnel-certificates": {"pass"},
			"ztunnel-in-step": {"pass"}, "traffic-seen": {"pass"}, "plaintext-seen": {"pass"},
		}},
		{name: "one cannot be asked", at: unasked, want: map[string][]string{
			"ztunnel-captured": {"unknown: ztunnel on node node-a could not be asked"}, "ztunnel-hbone": {left}, "ztunnel-policies": {left}, "ztunnel-waypoints": {left},
			"ztunnel-certificates": {left}, "ztunnel-in-step": {leftNode}, "traffic-seen": {"pass: ztunnel has carried"}, "plaintext-seen": {leftNode},
		}},
		{name: "none can be asked", at: unasked, here: unasked, want: map[string][]string{
			"ztunnel-captured": {"unknown: ztunnel on node node-a could", "unknown: ztunnel on node " + fixture.Node + " could"}, "ztunnel-hbone": {all}, "ztunnel-certificates": {all},
			"ztunnel-in-step": {all}, "traffic-seen": {all}, "plaintext-seen": {all},
		}},
		{name: "one cannot be asked, a certificate of another has expired", at: unasked, here: expired, want: map[string][]string{
			"ztunnel-captured": {"unknown: ztunnel on node node-a could not be asked"}, "ztunnel-certificates": {left, "fail: the certificate for " + identity},
		}},
		{name: "one cannot be asked, another is not in step", at: unasked, here: stale, want: map[string][]string{
			"ztunnel-captured": {"unknown: ztunnel on node node-a could not be asked"}, "ztunnel-in-step": {"fail: it is not in step with istiod istio-system/istiod-x: it has not heard of pod shop/aa", leftNode},
		}},
		{name: "one cannot be asked, another has let in plaintext", at: unasked, here: plain, want: map[string][]string{
			"ztunnel-captured": {"unknown: ztunnel on node node-a could not be asked"}, "plaintext-seen": {"fail: ztunnel has let in 2 connections"},
		}},
		{name: "a pod is pending, another is reached by TCP", at: pending, here: byTCP, want: map[string][]string{
			"ztunnel-captured": {"fail: ztunnel on node node-a says the pod is Pending"}, "ztunnel-hbone": {left, "fail: ztunnel on node " + fixture.Node + " reaches the pod by TCP"},
			"ztunnel-certificates": {left}, "traffic-seen": {"pass"}, "plaintext-seen": {"pass"},
		}},
		{name: "a pod is pending, and policies of another are missing", at: pending, here: unpoliced, want: map[string][]string{
			"ztunnel-captured": {"fail: ztunnel on node node-a says the pod is Pending"}, "ztunnel-policies": {left, "fail: istio-system/ztunnel-x has not received the policies"},
		}},
		{name: "a pod is pending at a ztunnel that is not in step", at: func(node *mesh.NodeEvidence) { pending(node); stale(node) }, want: map[string][]string{
			"ztunnel-captured": {"fail: ztunnel on node node-a says the pod is Pending"}, "ztunnel-hbone": {left},
			"ztunnel-in-step": {"fail: it is not in step with istiod istio-system/istiod-x: it has not heard of pod shop/aa"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			evidence := evidence()
			view := func() mesh.DataPlaneView {
				view := known()
				view.Workloads["shop/aa"] = mesh.ZtunnelWorkload{Protocol: "HBONE", Identity: other}
				return view
			}
			evidence.Istiods[istiodAddress] = mesh.IstiodEvidence{Istiod: "istio-system/istiod-x", DataPlaneView: view()}
			for name, edit := range map[string]func(*mesh.NodeEvidence){elsewhere: test.at, fixture.Node: test.here} {
				node := evidence.Nodes[fixture.Node]
				if name == elsewhere {
					node.Ztunnel = "istio-system/ztunnel-a"
				}
				node.DataPlaneView = view()
				node.Instance, node.Traffic = "z/1", map[string]mesh.Traffic{"shop/cart": {Inbound: 8}}
				node.Captured = map[types.UID]mesh.CaptureState{fixture.UID("Pod", "shop", "aa"): mesh.CaptureUp, fixture.UID("Pod", "shop", "cart-5d8f7-0"): mesh.CaptureUp}
				certificate := mesh.ZtunnelCertificate{State: mesh.CertificateAvailable, NotBefore: fixture.Created, NotAfter: fixture.Created.Add(24 * time.Hour)}
				node.Certificates = map[string]mesh.ZtunnelCertificate{identity: certificate, other: certificate}
				if edit != nil {
					edit(&node)
				}
				evidence.Nodes[name] = node
			}
			snapshot := fixture.Snapshot(enrolled(aa)...)
			got := map[string][]string{}
			for _, result := range checks.Run(checks.VerifyChecks(), checks.Subject{
				Snapshot: snapshot, Namespace: fixture.Find(snapshot, "shop"), Evidence: evidence, Handed: &checks.Handed{}, Past: was(strict(true, nil, nil)),
			}) {
				got[result.ID] = append(got[result.ID], string(result.Status)+": "+result.Message)
			}
			for id, want := range test.want {
				slices.Sort(got[id])
				slices.Sort(want)
				if !slices.EqualFunc(want, got[id], func(want, got string) bool { return strings.HasPrefix(got, want) }) {
					t.Errorf("%s (-want +got):\n%s", id, cmp.Diff(want, got[id]))
				}
			}
		})
	}
}

// A node whose ztunnel is silent and that has no pod which ztunnel should capture keeps no
// check from having been made whole.
func TestNodesWithoutCapturedPods(t *testing.T) {
	optedOut := fixture.Pod("shop", "aa", fixture.Labelled("istio.io/dataplane-mode", "none"), func(pod *corev1.Pod) { pod.Spec.NodeName = "node-a" })
	evidence := evidence()
	node := evidence.Nodes[fixture.Node]
	node.Instance, node.Traffic = "z/1", map[string]mesh.Traffic{"shop/cart": {Inbound: 8}}
	node.Captured = map[types.UID]mesh.CaptureState{fixture.UID("Pod", "shop", "cart-5d8f7-0"): mesh.CaptureUp}
	evidence.Nodes[fixture.Node] = node
	evidence.Nodes["node-a"] = mesh.NodeEvidence{Problem: "no ready ztunnel pod"}
	snapshot := fixture.Snapshot(enrolled(optedOut)...)
	for _, result := range checks.Run(checks.VerifyChecks(), checks.Subject{
		Snapshot: snapshot, Namespace: fixture.Find(snapshot, "shop"), Evidence: evidence, Handed: &checks.Handed{}, Past: was(strict(true, nil, nil)),
	}) {
		if slices.Contains([]string{checks.IDZtunnelCaptured, checks.IDZtunnelInStep, "traffic-seen", "plaintext-seen"}, result.ID) && strings.Contains(result.Message, "node-a") {
			t.Errorf("%s: %s: %s", result.ID, result.Status, result.Message)
		}
	}
}
