package checks_test

import (
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
)

// returnCases are about a namespace that was rolled back.
func returnCases() []testCase {
	const pod, deployment, mode = "Pod shop/cart-5d8f7-0", "Deployment shop/cart", "metadata.labels[istio.io/dataplane-mode]"
	reference := v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "cart"}
	since := fixture.Created.Add(-time.Hour)
	returned := func(edits ...func(*checks.Returned)) *checks.Returned {
		returned := &checks.Returned{Restoration: v1alpha1.Restoration{Workloads: []v1alpha1.ObjectReference{reference}, Since: &since, Unlabelled: true}}
		for _, edit := range edits {
			edit(returned)
		}
		return returned
	}
	keeping := func(object v1alpha1.ObjectReference) func(*checks.Returned) {
		return func(returned *checks.Returned) {
			returned.Kept = []v1alpha1.KeptField{{Object: object, Reason: "it is used by Service other/web"}}
		}
	}
	// leaving leaves a label of the namespace alone.
	leaving := func(path string) func(*checks.Returned) {
		return func(returned *checks.Returned) {
			returned.Kept = []v1alpha1.KeptField{{Object: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: "shop"}, Path: path}}
		}
	}
	evicting := func(returned *checks.Returned) { returned.Evicted = returned.Workloads }
	cart := fixture.Deployment("shop", "cart", fixture.Probed)
	refusing := fixture.Deployment("shop", "cart", fixture.TemplateLabel("sidecar.istio.io/inject", "false"))
	rolling := fixture.Deployment("shop", "cart", fixture.Replicas(2))
	rolling.Status.UpdatedReplicas = 1
	// with is the namespace back on sidecars, with other pods of the workload.
	with := func(edits ...func(*corev1.Pod)) []any {
		return []any{fixture.Without("Pod", shop()...), fixture.PodsOf(cart, edits...)[1]}
	}
	// of is it with another workload, or other labels of the namespace.
	of := func(deployment any, labels labels) []any {
		return append(fixture.Installation(), fixture.Namespace("shop", labels), deployment, fixture.PodsOf(cart))
	}
	injected := labels{"istio-injection": "enabled"}
	both := labels{"istio-injection": "enabled", "istio.io/dataplane-mode": "ambient"}
	asked := func(edits ...func(*mesh.NodeEvidence)) *mesh.Evidence {
		evidence := evidence()
		node := evidence.Nodes[fixture.Node]
		node.Captured = nil
		for _, edit := range edits {
			edit(&node)
		}
		evidence.Nodes[fixture.Node] = node
		return evidence
	}
	way := v1alpha1.ObjectReference{APIVersion: "gateway.networking.k8s.io/v1", Kind: "Gateway", Namespace: "shop", Name: "way"}
	creating := func(objects ...v1alpha1.ObjectReference) func(*checks.Returned) {
		return func(returned *checks.Returned) { returned.Created = objects }
	}
	security := func(kind, name string) v1alpha1.ObjectReference {
		return v1alpha1.ObjectReference{APIVersion: "security.istio.io/v1", Kind: kind, Namespace: "shop", Name: name}
	}
	elsewhere := way
	elsewhere.Namespace = "other"
	const left = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop, labels: {ambient.kubectl-ambient.dev/origin: p}}\nspec: {}"
	const tokens = "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: j, namespace: shop, labels: {ambient.kubectl-ambient.dev/origin: j}}\nspec: {}"
	made := gateway("shop", "way", "istio-waypoint", ", labels: {ambient.kubectl-ambient.dev/origin: enroll}, annotations: {ambient.kubectl-ambient.dev/origin: Namespace other}")
	return []testCase{
		{name: "all are", check: "sidecars-back", objects: shop(), returned: returned()},
		{name: "it was never moved", check: "sidecars-back", objects: enrolled(), want: []finding{{skip, "", "", "was not rolled back"}}},
		{name: "a pod has none", check: "sidecars-back", objects: with(), returned: returned(), want: []finding{{fail, pod, "", "has no sidecar, and had one before"}}},
		{name: "a pod had none before", check: "sidecars-back", objects: with(fixture.CreatedAt(since.Add(-time.Hour))), returned: returned()},
		{name: "a native one", check: "sidecars-back", objects: with(fixture.NativeSidecar), returned: returned()},
		{name: "a pod is not ready", check: "sidecars-back", objects: with(fixture.Sidecar, fixture.NotReady), returned: returned(), want: []finding{{fail, pod, "", "are not ready"}}},
		{name: "a rollout goes on", check: "sidecars-back", objects: of(rolling, injected), returned: returned(), want: []finding{{fail, deployment, "status", "Updated: 1/2"}}},
		{name: "its template refuses it", check: "sidecars-back", objects: of(refusing, injected), returned: returned(), want: []finding{{fail, deployment, "spec.template.metadata.labels[sidecar.istio.io/inject]", "refuses the sidecar"}}},
		{name: "somebody's annotation refuses it", check: "sidecars-back", objects: of(fixture.Deployment("shop", "cart", fixture.TemplateAnnotation("sidecar.istio.io/inject", "false")), injected), returned: returned(), want: []finding{{fail, deployment, "", "1 pod without the sidecar that its pods had before"}}},
		{name: "a label that no run has written refuses it", check: "sidecars-back", objects: of(refusing, injected), returned: returned(evicting), want: []finding{{fail, deployment, "", "1 pod without the sidecar that its pods had before"}}},
		{name: "a pod refuses it by somebody's annotation", check: "sidecars-back", objects: with(fixture.Annotated("sidecar.istio.io/inject", "false")), returned: returned(), want: []finding{{fail, pod, "", "that no run has written"}}},
		{name: "a pod refuses it by the label of runs", check: "sidecars-back", objects: with(fixture.Labelled("sidecar.istio.io/inject", "false")), returned: returned(), want: []finding{{fail, pod, "", "has no sidecar, and had one before"}}},
		{name: "its template was left alone", check: "sidecars-back", objects: of(refusing, injected), returned: returned(keeping(reference)), want: []finding{{warn, deployment, "", "the rollback has left alone what asked for it"}}},
		{name: "nothing asks for it", check: "sidecars-back", objects: of(cart, nil), returned: returned(), want: []finding{{fail, deployment, "", "nothing asks for it: outside the mesh"}}},
		{name: "nothing asks for it, and they have it still", check: "sidecars-back", objects: append(fixture.Installation(), fixture.Namespace("shop", nil), cart, fixture.PodsOf(cart, fixture.Sidecar)), returned: returned(), want: []finding{{warn, deployment, "", "those made from now on are outside the mesh"}}},
		{name: "nothing asks for it, and they had none before", check: "sidecars-back", objects: append(fixture.Installation(), fixture.Namespace("shop", nil), cart, fixture.PodsOf(cart, fixture.CreatedAt(since.Add(-time.Hour)))), returned: returned(), want: []finding{{warn, deployment, "", "those made from now on are outside the mesh"}}},
		{name: "nothing asks for it, as the rollback ends", check: "sidecars-back", objects: of(cart, nil), returned: returned(func(returned *checks.Returned) { returned.Ending = true }), want: []finding{{warn, deployment, "", "nothing asks for it: outside the mesh"}}},
		{name: "the namespace's label was left alone", check: "sidecars-back", objects: of(cart, labels{"istio-injection": "disabled"}), returned: returned(leaving("/metadata/labels/istio-injection")), want: []finding{{warn, deployment, "", "somebody else had changed that"}}},
		{name: "the namespace's revision was left alone", check: "sidecars-back", objects: of(cart, labels{"istio.io/rev": "gone"}), returned: returned(leaving("/metadata/labels/istio.io~1rev")), want: []finding{{warn, deployment, "", "somebody else had changed that"}}},
		{name: "another label of the namespace was left alone", check: "sidecars-back", objects: of(cart, nil), returned: returned(leaving("/metadata/labels/istio.io~1use-waypoint")), want: []finding{{fail, deployment, "", "nothing asks for it: outside the mesh"}}},
		{name: "a workload that is gone", check: "sidecars-back", objects: append(fixture.Installation(), fixture.Namespace("shop", injected)), returned: returned()},

		{name: "it has", check: "capture-ended", objects: shop(), returned: returned(), evidence: asked()},
		{name: "it was never moved", check: "capture-ended", objects: enrolled(), want: []finding{{skip, "", "", "was not rolled back"}}},
		{name: "the namespace is labelled", check: "capture-ended", objects: of(cart, both), returned: returned(), evidence: asked(), want: []finding{{fail, "Namespace shop", mode, "labelled ambient again"}}},
		{name: "it was labelled before", check: "capture-ended", objects: of(cart, both), returned: returned(func(returned *checks.Returned) { returned.Unlabelled = false }), evidence: asked()},
		{name: "a pod is redirected", check: "capture-ended", objects: with(fixture.Sidecar, fixture.Ambient), returned: returned(), evidence: asked(), want: []finding{{fail, pod, "metadata.annotations[ambient.istio.io/redirection]", "is redirected to ztunnel, and nothing asks"}}},
		{name: "a pod is proxied", check: "capture-ended", objects: shop(), returned: returned(), evidence: evidence(), want: []finding{{fail, pod, "", "is proxied by istio-system/ztunnel-x, and nothing asks"}}},
		{name: "a pod asks for it itself", check: "capture-ended", objects: with(fixture.Ambient, fixture.Labelled("istio.io/dataplane-mode", "ambient")), returned: returned(), evidence: evidence(), want: []finding{{warn, pod, mode, "by a label of its own"}}},
		{name: "nobody was asked", check: "capture-ended", objects: shop(), returned: returned(), want: []finding{{unknown, pod, "metadata.annotations[ambient.istio.io/redirection]", "is not redirected; ztunnel was not asked"}}},
		{name: "a node has no ztunnel", check: "capture-ended", objects: shop(), returned: returned(), evidence: asked(func(node *mesh.NodeEvidence) {
			node.Ztunnel, node.Absent, node.Problem = "", true, "no ready ztunnel pod"
		})},
		{name: "a node's ztunnel is not known by name", check: "capture-ended", objects: shop(), returned: returned(), evidence: asked(func(node *mesh.NodeEvidence) { node.Ztunnel, node.Problem = "", "no answer" }), want: []finding{{unknown, pod, "metadata.annotations[ambient.istio.io/redirection]", "could not be asked: no answer"}}},
		{name: "a node could not be asked", check: "capture-ended", objects: shop(), returned: returned(), evidence: asked(func(node *mesh.NodeEvidence) { node.Problem = "no route" }), want: []finding{{unknown, pod, "metadata.annotations[ambient.istio.io/redirection]", "could not be asked: no route"}}},

		{name: "nothing is", check: "nothing-left", objects: shop(policy("shop", "{}"), gateway("shop", "way", "istio-waypoint", "")), returned: returned()},
		{name: "it was never moved", check: "nothing-left", objects: enrolled(), want: []finding{{skip, "", "", "was not rolled back"}}},
		{name: "something is", check: "nothing-left", objects: shop(left, tokens, made), returned: returned(creating(security("AuthorizationPolicy", "p"), security("RequestAuthentication", "j"), way)), want: []finding{
			{fail, "AuthorizationPolicy shop/p", "metadata.labels[ambient.kubectl-ambient.dev/origin]", "the rollback has not deleted it"},
			{fail, "RequestAuthentication shop/j", "metadata.labels[ambient.kubectl-ambient.dev/origin]", "the rollback has not deleted it"},
			{fail, "Gateway shop/way", "metadata.labels[ambient.kubectl-ambient.dev/origin]", "the rollback has not deleted it"},
		}},
		{name: "something is, elsewhere", check: "nothing-left", objects: shop(gateway("other", "way", "istio-waypoint", ", labels: {ambient.kubectl-ambient.dev/origin: enroll}")), returned: returned(creating(elsewhere)), want: []finding{
			{fail, "Gateway other/way", "metadata.labels[ambient.kubectl-ambient.dev/origin]", "the rollback has not deleted it"},
		}},
		{name: "what was made is gone", check: "nothing-left", objects: shop(), returned: returned(creating(way))},
		{name: "somebody has made one by its name", check: "nothing-left", objects: shop(gateway("shop", "way", "istio-waypoint", "")), returned: returned(creating(way))},
		{name: "another run has made it", check: "nothing-left", objects: shop(left, made), returned: returned(), want: []finding{
			{warn, "AuthorizationPolicy shop/p", "metadata.labels[ambient.kubectl-ambient.dev/origin]", "an enrolment has made it for what it does not say"},
			{warn, "Gateway shop/way", "metadata.labels[ambient.kubectl-ambient.dev/origin]", "an enrolment has made it for Namespace other"},
		}},
		{
			name: "something was left for others", check: "nothing-left", objects: shop(made), returned: returned(keeping(way), creating(way)),
			want: []finding{{warn, "Gateway shop/way", "metadata.labels[ambient.kubectl-ambient.dev/origin]", "the rollback has left it: it is used by Service other/web"}},
		},
		{
			name: "an earlier rollback has left it", check: "nothing-left", objects: shop(made), returned: returned(keeping(way)),
			want: []finding{{warn, "Gateway shop/way", "metadata.labels[ambient.kubectl-ambient.dev/origin]", "the rollback has left it: it is used by Service other/web"}},
		},
	}
}
