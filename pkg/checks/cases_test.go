package checks_test

import (
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const service = `
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {selector: {app: cart}, ports: [{port: 80}]}`

// shop is a healthy mesh with an injected namespace, and what is added to it.
func shop(more ...any) []any {
	cart := fixture.Deployment("shop", "cart")
	return append(append(fixture.Installation(),
		fixture.Namespace("shop", labels{"istio-injection": "enabled"}), cart, fixture.PodsOf(cart, fixture.Sidecar), service,
	), more...)
}

// enrolled is a healthy mesh with an ambient namespace, and what is added to
// it.
func enrolled(more ...any) []any {
	cart := fixture.Deployment("shop", "cart", fixture.TemplateLabel("sidecar.istio.io/inject", "false"))
	return append(append(fixture.Installation(),
		fixture.Namespace("shop", labels{"istio.io/dataplane-mode": "ambient"}), cart, fixture.PodsOf(cart, fixture.Ambient),
	), more...)
}

// control is the mesh of shop with another control plane.
func control(edit func(*appsv1.Deployment)) []any {
	objects := fixture.Without("Deployment", fixture.Installation()...)
	return append([]any{objects, fixture.Istiod("", edit)}, shop()[len(fixture.Installation()):]...)
}

func image(image string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image }
}

func chartVersion(version string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Labels["app.kubernetes.io/version"] = version }
}

func both(edits ...func(*appsv1.Deployment)) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) {
		for _, edit := range edits {
			edit(d)
		}
	}
}

func prerequisiteCases() []testCase {
	terminating := fixture.Namespace("shop", nil)
	terminating.DeletionTimestamp = &metav1.Time{Time: fixture.Created}
	const images = "spec.template.spec.containers[].image"
	cni, ztunnel := fixture.CNI("mesh-cni"), fixture.Ztunnel("mesh-ztunnel")
	return []testCase{
		{name: "an application's", check: "protected-namespace", objects: shop()},
		{name: "Kubernetes' own", check: "protected-namespace", namespace: "kube-system", objects: shop(), want: []finding{{fail, "Namespace kube-system", "", "belongs to Kubernetes"}}},
		{name: "istiod's", check: "protected-namespace", namespace: "istio-system", objects: shop(), want: []finding{{fail, "Namespace istio-system", "", "runs istiod"}}},
		{name: "the root namespace", check: "protected-namespace", namespace: "policies", objects: append(control(func(*appsv1.Deployment) {}), func() any {
			config := fixture.MeshConfig("rootNamespace: policies\n")
			config.Name = "istio-canary"
			return config
		}()), want: []finding{{fail, "Namespace policies", "", "root namespace"}}},
		{name: "istio-cni's", check: "protected-namespace", namespace: "mesh-cni", objects: []any{fixture.Without("DaemonSet", fixture.Installation()...), cni}, want: []finding{{fail, "Namespace mesh-cni", "", "runs istio-cni"}}},
		{name: "ztunnel's", check: "protected-namespace", namespace: "mesh-ztunnel", objects: []any{fixture.Without("DaemonSet", fixture.Installation()...), ztunnel}, want: []finding{{fail, "Namespace mesh-ztunnel", "", "runs ztunnel"}}},

		{name: "it stays", check: "namespace-terminating", objects: shop()},
		{name: "it goes", check: "namespace-terminating", objects: []any{terminating}, want: []finding{{fail, "Namespace shop", "metadata.deletionTimestamp", "being deleted"}}},

		{name: "it is", check: "istio-installed", objects: shop()},
		{name: "it is not", check: "istio-installed", objects: []any{fixture.Namespace("shop", nil)}, want: []finding{{fail, "", "", "app=istiod"}}},

		{name: "new", check: "istio-version", objects: shop()},
		{name: "the oldest", check: "istio-version", objects: control(image("docker.io/istio/pilot:1.25.0"))},
		{name: "a vendor's", check: "istio-version", objects: control(image("example.com/pilot:1.27.1-solo"))},
		{name: "distroless", check: "istio-version", objects: control(image("docker.io/istio/pilot:1.30.2-distroless"))},
		{name: "a digest beside the tag", check: "istio-version", objects: control(image("docker.io/istio/pilot:1.30.2@sha256:0123"))},
		{name: "a registry with a port and no tag, and the chart's label", check: "istio-version", objects: control(both(image("localhost:5000/istio/pilot"), chartVersion("1.29.3")))},
		{name: "the image counts, not the chart", check: "istio-version", objects: control(both(image("docker.io/istio/pilot:1.24.0"), chartVersion("1.31.0"))), want: []finding{{fail, "Deployment istio-system/istiod", images, "1.24.0"}}},
		{name: "too old", check: "istio-version", objects: control(image("docker.io/istio/pilot:1.24.6")), want: []finding{{fail, "Deployment istio-system/istiod", images, "istiod is 1.24.6"}}},
		{name: "one of two revisions is too old", check: "istio-version", objects: shop(fixture.Istiod("old", image("pilot:1.20.0"))), want: []finding{{fail, "Deployment istio-system/istiod-old", images, "1.20.0"}}},
		{name: "no version", check: "istio-version", objects: control(image("docker.io/istio/pilot:latest")), want: []finding{{unknown, "Deployment istio-system/istiod", images, `"latest" is not a version`}}},
	}
}

func nodeOf(name string, edit func(*corev1.Node)) *corev1.Node {
	node := fixture.KubernetesNode(name)
	if edit != nil {
		edit(node)
	}
	return node
}

// on moves the only pod of a component to another node.
func on(node string, objects []any) []any {
	objects[1].(*corev1.Pod).Spec.NodeName = node
	return objects
}

func componentCases() []testCase {
	const variable = "spec.template.spec.containers[].env[PILOT_ENABLE_AMBIENT]"
	withoutConfig := func(more ...any) []any { return append(more, fixture.Without("ConfigMap", shop()...)) }
	withoutSets := func(more ...any) []any {
		return append(more, fixture.Without("DaemonSet", fixture.Without("Pod", shop()...)))
	}
	config := func(key, value string) *corev1.ConfigMap {
		return fixture.CNIConfig("istio-system", map[string]string{"AMBIENT_ENABLED": "true", key: value})
	}
	byVariable := fixture.CNI("istio-system")
	byVariable[0].(*appsv1.DaemonSet).Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "AMBIENT_ENABLED", Value: "true"}}
	noSets := fixture.Without("DaemonSet", shop()...)
	cases := []testCase{
		{name: "it serves", check: "istiod-ambient", objects: shop()},
		{name: "it does not", check: "istiod-ambient", objects: control(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Env = nil }), want: []finding{{fail, "Deployment istio-system/istiod", variable, `revision default does not serve ambient mode: PILOT_ENABLE_AMBIENT is ""`}}},
		{name: "one of two does not", check: "istiod-ambient", objects: shop(fixture.Istiod("old", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Env[0].Value = "false" })), want: []finding{{fail, "Deployment istio-system/istiod-old", variable, `revision old does not serve ambient mode: PILOT_ENABLE_AMBIENT is "false"`}}},

		{name: "it redirects", check: "cni-ambient", objects: shop()},
		{name: "it redirects, by its own environment", check: "cni-ambient", objects: []any{fixture.Without("ConfigMap", noSets), byVariable}},
		{name: "it is not installed", check: "cni-ambient", objects: withoutSets(), want: []finding{{fail, "", "", "istio-cni is not installed"}}},
		{name: "it is not configured", check: "cni-ambient", objects: withoutConfig(), want: []finding{{fail, "DaemonSet istio-system/istio-cni-node", "", "istio-cni-config is missing"}}},
		{name: "it does not redirect", check: "cni-ambient", objects: withoutConfig(config("AMBIENT_ENABLED", "false")), want: []finding{{fail, "ConfigMap istio-system/istio-cni-config", "data.AMBIENT_ENABLED", `AMBIENT_ENABLED is "false"`}}},
		{name: "its rule cannot be read", check: "cni-ambient", objects: withoutConfig(config("AMBIENT_ENABLEMENT_SELECTOR", "nonsense")), want: []finding{{unknown, "ConfigMap istio-system/istio-cni-config", "data", "AMBIENT_ENABLEMENT_SELECTOR"}}},
		{name: "its rule cannot be read, and its environment enables it", check: "cni-ambient", objects: []any{fixture.Without("ConfigMap", noSets), byVariable, config("AMBIENT_ENABLEMENT_SELECTOR", "nonsense")}, want: []finding{{unknown, "ConfigMap istio-system/istio-cni-config", "data", "AMBIENT_ENABLEMENT_SELECTOR"}}},
	}
	for _, component := range []struct {
		check, name, set string
		objects          func(string) []any
	}{{"cni-nodes", "istio-cni", "DaemonSet istio-system/istio-cni-node", fixture.CNI}, {"ztunnel-nodes", "ztunnel", "DaemonSet istio-system/ztunnel", fixture.Ztunnel}} {
		elsewhere := func(more ...any) []any {
			objects := append(fixture.Without("Pod", shop()...), fixture.Objects(fixture.PodsOf(fixture.Deployment("shop", "cart"), fixture.Sidecar)[1])...)
			return append([]any{objects, on("node-2", component.objects("istio-system"))[1]}, more...)
		}
		unready := fixture.Without("Pod", shop()...)
		pod := component.objects("istio-system")[1].(*corev1.Pod)
		fixture.NotReady(pod)
		cases = append(cases,
			testCase{name: "ready everywhere", check: component.check, objects: shop()},
			testCase{name: "not installed", check: component.check, objects: withoutSets(), want: []finding{{fail, "", "", component.name + " is not installed"}}},
			testCase{name: "missing where pods run", check: component.check, objects: elsewhere(), want: []finding{{fail, component.set, "status.numberReady", "not ready on 1 node that pods of this namespace run on: node-1"}}},
			testCase{name: "not ready where pods run", check: component.check, objects: []any{unready, pod, fixture.PodsOf(fixture.Deployment("shop", "cart"), fixture.Sidecar)[1]}, want: []finding{{fail, component.set, "status.numberReady", "node-1"}}},
			testCase{name: "missing where pods could run", check: component.check, objects: shop(fixture.KubernetesNode("node-2"), fixture.KubernetesNode("node-3")), want: []finding{{warn, component.set, "status.numberReady", "not ready on 2 nodes that restarted pods may be scheduled to: node-2, node-3"}}},
			testCase{name: "missing where no pod can run", check: component.check, objects: shop(
				nodeOf("cordoned", func(n *corev1.Node) { n.Spec.Unschedulable = true }), nodeOf("windows", func(n *corev1.Node) { n.Labels = labels{"kubernetes.io/os": "windows"} }),
			)},
		)
	}
	return cases
}

func sidecarCases() []testCase {
	old := func(pod *corev1.Pod) {
		fixture.Sidecar(pod)
		delete(pod.Labels, "networking.istio.io/tunnel")
	}
	const field = "label networking.istio.io/tunnel of its pods"
	proxy := corev1.Container{Name: "istio-proxy"}
	return []testCase{
		{name: "all do", check: "sidecar-hbone", objects: shop(fixture.Pod("pay", "a", fixture.NativeSidecar))},
		{name: "one elsewhere does not", check: "sidecar-hbone", objects: shop(fixture.Pod("pay", "a", old)), want: []finding{{fail, "Namespace pay", field, "the sidecars of 1 pod predate HBONE, so ambient pods could not call them: a"}}},
		{name: "many do not", check: "sidecar-hbone", objects: shop(fixture.Pod("pay", "a", old), fixture.Pod("pay", "b", old), fixture.Pod("pay", "c", old), fixture.Pod("pay", "d", old), fixture.Pod("shop", "e", old)), want: []finding{
			{fail, "Namespace pay", field, "4 pods predate HBONE, so ambient pods could not call them: a, b, c and 1 more"}, {fail, "Namespace shop", field, "1 pod predate HBONE, so ambient pods could not call them: e"},
		}},
		{name: "another value than http does not count", check: "sidecar-hbone", objects: shop(fixture.Pod("pay", "a", fixture.Sidecar, fixture.Labelled("networking.istio.io/tunnel", "none"))), want: []finding{{fail, "Namespace pay", field, "predate HBONE"}}},
		{name: "gateways and pods that are gone do not count", check: "sidecar-hbone", objects: shop(
			fixture.Pod("pay", "gateway", old, fixture.Annotated("inject.istio.io/templates", "gateway")), fixture.Pod("pay", "done", old, func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodSucceeded }),
		)},

		{name: "none", check: "kube-injected", objects: shop()},
		{name: "a Deployment", check: "kube-injected", objects: shop(fixture.Deployment("shop", "manual", func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, proxy)
		})), want: []finding{{fail, "Deployment shop/manual", "spec.template.spec.containers", "the template itself holds an istio-proxy container"}}},
		{name: "a gateway's template holds its proxy", check: "kube-injected", objects: shop(fixture.Deployment("shop", "ingress", fixture.InjectedGateway))},
		{name: "a Deployment of another namespace", check: "kube-injected", objects: shop(fixture.Deployment("pay", "manual", func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, proxy)
		}))},
		{name: "a native sidecar", check: "kube-injected", objects: shop(fixture.StatefulSet("shop", "manual", func(s *appsv1.StatefulSet) {
			s.Spec.Template.Spec.InitContainers = []corev1.Container{proxy}
		})), want: []finding{{fail, "StatefulSet shop/manual", "spec.template.spec.initContainers", "the template itself holds an istio-proxy container"}}},
		{name: "a CronJob", check: "kube-injected", objects: shop(fixture.CronJob("shop", "manual", func(c *batchv1.CronJob) {
			c.Spec.JobTemplate.Spec.Template.Spec.Containers = []corev1.Container{proxy}
		})), want: []finding{{fail, "CronJob shop/manual", "spec.jobTemplate.spec.template.spec.containers", "the template itself holds an istio-proxy container"}}},
	}
}

func istio(version, kind, namespace, name, spec string) string {
	return "apiVersion: " + version + "\nkind: " + kind + "\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec: " + spec
}

func policy(namespace, spec string) string {
	return istio("security.istio.io/v1", "AuthorizationPolicy", namespace, "p", spec)
}

func peer(namespace, spec string) string {
	return istio("security.istio.io/v1", "PeerAuthentication", namespace, "p", spec)
}

func dryRun(value, spec string) string {
	return "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop, annotations: {istio.io/dry-run: \"" + value + "\"}}\nspec: " + spec
}

func policyCases() []testCase {
	const name = "AuthorizationPolicy shop/p"
	const methods = `{rules: [{to: [{operation: {methods: [GET], paths: [/a]}}]}]}`
	const layer4 = `{selector: {matchLabels: {app: cart}}, rules: [{from: [{source: {principals: [a]}}], to: [{operation: {ports: ["80"]}}]}]}`
	zero := fixture.StatefulSet("shop", "db", func(s *appsv1.StatefulSet) { s.Spec.Replicas = new(int32) })
	using := fixture.Namespace("shop", labels{"istio-injection": "enabled", "istio.io/use-waypoint": "way"})
	usingService := `
apiVersion: v1
kind: Service
metadata: {name: pay, namespace: shop, labels: {istio.io/use-waypoint: way}}`
	refusing := fixture.Namespace("shop", labels{"istio-injection": "enabled", "istio.io/use-waypoint": "none"})
	requests := func(namespace, spec string) string {
		return istio("security.istio.io/v1", "RequestAuthentication", namespace, "j", spec)
	}
	const disable = "mtls: {mode: DISABLE}"
	older := func(objects ...any) []any {
		return append(control(image("pilot:1.28.9")), objects...)
	}
	const dryRunField = "metadata.annotations[istio.io/dry-run]"
	return []testCase{
		{name: "none", check: "layer7-policies", objects: shop()},
		{name: "layer 4 alone", check: "layer7-policies", objects: shop(policy("shop", layer4))},
		{name: "allow nothing", check: "layer7-policies", objects: shop(policy("shop", "{}"))},
		{name: "methods", check: "layer7-policies", objects: shop(policy("shop", methods)), want: []finding{{fail, name, "spec.rules[0].to[0].operation.methods", "2 fields needs HTTP"}}},
		{name: "a DENY", check: "layer7-policies", objects: shop(policy("shop", `{action: DENY, rules: [{from: [{source: {principals: [a]}}], to: [{operation: {paths: [/a]}}]}]}`)), want: []finding{{fail, name, "spec.rules[0].to[0].operation.paths", "1 field needs HTTP"}}},
		{name: "AUDIT", check: "layer7-policies", objects: shop(policy("shop", "{action: AUDIT, rules: [{}]}")), want: []finding{{fail, name, "spec.action", "action AUDIT is not enforced by ztunnel"}}},
		{name: "CUSTOM", check: "layer7-policies", objects: shop(policy("shop", "{action: CUSTOM, provider: {name: x}, rules: [{}]}")), want: []finding{{fail, name, "spec.action", "action CUSTOM is not enforced by ztunnel"}}},
		{name: "another namespace's", check: "layer7-policies", objects: shop(policy("pay", methods))},
		{name: "attached to a waypoint", check: "layer7-policies", objects: shop(policy("shop", `{targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: way}], rules: [{to: [{operation: {methods: [GET]}}]}]}`))},
		{name: "attached to a waypoint, in the old way", check: "layer7-policies", objects: shop(policy("shop", `{targetRef: {kind: Gateway, group: gateway.networking.k8s.io, name: way}, rules: [{to: [{operation: {methods: [GET]}}]}]}`))},
		{name: "the root namespace's", check: "layer7-policies", objects: shop(policy("istio-system", methods)), want: []finding{{fail, "AuthorizationPolicy istio-system/p", "spec.rules[0].to[0].operation.methods", "needs HTTP"}}},
		{name: "the root namespace's, which selects a pod here", check: "layer7-policies", objects: shop(policy("istio-system", `{selector: {matchLabels: {app: cart}}, rules: [{to: [{operation: {hosts: [a]}}]}]}`)), want: []finding{{fail, "AuthorizationPolicy istio-system/p", "spec.rules[0].to[0].operation.hosts", "needs HTTP"}}},
		{name: "the root namespace's, which selects a pod that runs no more", check: "layer7-policies", objects: shop(zero, policy("istio-system", `{selector: {matchLabels: {app: db}}, rules: [{to: [{operation: {hosts: [a]}}]}]}`)), want: []finding{{fail, "AuthorizationPolicy istio-system/p", "spec.rules[0].to[0].operation.hosts", "needs HTTP"}}},
		{name: "the root namespace's, which selects gateways", check: "layer7-policies", objects: shop(policy("istio-system", `{selector: {matchLabels: {istio: ingressgateway}}, rules: [{to: [{operation: {hosts: [a]}}]}]}`))},
		{name: "layer 4 behind a waypoint", check: "layer7-policies", objects: []any{fixture.Without("Namespace", shop()...), using, policy("shop", layer4)}, want: []finding{{fail, "Namespace shop", "metadata.labels[istio.io/use-waypoint]", "whose identity these policies were not written for: p"}}},
		{name: "layer 4 behind a Service's waypoint", check: "layer7-policies", objects: shop(usingService, policy("shop", layer4)), want: []finding{{fail, "Service shop/pay", "metadata.labels[istio.io/use-waypoint]", "p"}}},
		{name: "a waypoint and no policy", check: "layer7-policies", objects: shop(usingService)},
		{name: "layer 4 and a namespace that refuses waypoints", check: "layer7-policies", objects: []any{fixture.Without("Namespace", shop()...), refusing, policy("shop", layer4)}},

		{
			name: "the root namespace's, known by istiod alone", check: "layer7-policies", objects: []any{fixture.Without("ConfigMap", shop()...), policy("istio-system", methods)},
			want: []finding{{fail, "AuthorizationPolicy istio-system/p", "spec.rules[0].to[0].operation.methods", "needs HTTP"}},
		},

		{name: "none", check: "request-authentication", objects: shop()},
		{name: "one", check: "request-authentication", objects: shop(requests("shop", "{}")), want: []finding{{fail, "RequestAuthentication shop/j", "", "tokens are validated by sidecars and waypoints only"}}},
		{name: "the root namespace's", check: "request-authentication", objects: shop(requests("istio-system", "{}")), want: []finding{{fail, "RequestAuthentication istio-system/j", "", "tokens"}}},
		{name: "the root namespace's, for gateways", check: "request-authentication", objects: shop(requests("istio-system", "{selector: {matchLabels: {istio: ingressgateway}}}"))},
		{name: "another namespace's", check: "request-authentication", objects: shop(requests("pay", "{}"))},
		{name: "attached to a waypoint", check: "request-authentication", objects: shop(requests("shop", "{targetRefs: [{kind: Gateway, name: way}]}"))},

		{name: "strict", check: "peer-authentication-disable", objects: shop(peer("shop", "{mtls: {mode: STRICT}}"))},
		{name: "disabled", check: "peer-authentication-disable", objects: shop(peer("shop", "{"+disable+"}")), want: []finding{{fail, "PeerAuthentication shop/p", "spec.mtls.mode", "mTLS is disabled"}}},
		{name: "disabled for ports", check: "peer-authentication-disable", objects: shop(peer("shop", "{selector: {matchLabels: {app: cart}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}, 443: {mode: STRICT}, 9090: {mode: DISABLE}}}")), want: []finding{
			{fail, "PeerAuthentication shop/p", "spec.portLevelMtls[8080].mode", "mTLS is disabled"}, {fail, "PeerAuthentication shop/p", "spec.portLevelMtls[9090].mode", "mTLS is disabled"},
		}},
		{name: "disabled mesh-wide", check: "peer-authentication-disable", objects: shop(peer("istio-system", "{"+disable+"}")), want: []finding{{fail, "PeerAuthentication istio-system/p", "spec.mtls.mode", "mTLS is disabled"}}},
		{name: "disabled elsewhere", check: "peer-authentication-disable", objects: shop(peer("pay", "{"+disable+"}"))},

		{name: "none", check: "dry-run-policies", objects: shop(policy("shop", layer4))},
		{name: "one", check: "dry-run-policies", objects: shop(dryRun("true", layer4)), want: []finding{{warn, name, dryRunField, "ztunnel is not sent the policy"}}},
		{name: "one, as strconv.ParseBool reads it", check: "dry-run-policies", objects: shop(dryRun("True", layer4)), want: []finding{{warn, name, dryRunField, "ztunnel is not sent the policy"}}},
		{name: "one that is over", check: "dry-run-policies", objects: shop(dryRun("false", layer4))},
		{name: "one that an older ztunnel enforces", check: "dry-run-policies", objects: older(dryRun("true", layer4)), want: []finding{{fail, name, dryRunField, "ztunnel before 1.29.0 enforces the policy"}}},
		{name: "one, and the version cannot be told", check: "dry-run-policies", objects: append(control(image("pilot:latest")), dryRun("true", layer4)), want: []finding{{fail, name, dryRunField, "enforces the policy"}}},
		{name: "one at a waypoint", check: "dry-run-policies", objects: older(dryRun("true", `{targetRefs: [{kind: Gateway, name: way}], rules: [{}]}`))},
	}
}

func virtualService(namespace, spec string) string {
	return istio("networking.istio.io/v1", "VirtualService", namespace, "v", spec)
}

func destinationRule(namespace, spec string) string {
	return istio("networking.istio.io/v1", "DestinationRule", namespace, "d", spec)
}

func route(kind, namespace, parent string) string {
	return istio("gateway.networking.k8s.io/v1", kind, namespace, "r", "{parentRefs: ["+parent+"]}")
}

func routingCases() []testCase {
	const http = "http: [{route: [{destination: {host: cart}}]}]"
	const lost = "its routes are lost without a waypoint"
	const policyLost = "its traffic policy is lost without a waypoint"
	refusedVS := []finding{{fail, "VirtualService shop/v", "spec.hosts", lost}}
	refusedElsewhere := []finding{{fail, "VirtualService pay/v", "spec.hosts", lost}}
	outbound := []finding{{warn, "VirtualService pay/v", "spec.hosts", "callers in this namespace no longer follow it"}}
	entry := func(namespace, spec string) string {
		return istio("networking.istio.io/v1", "ServiceEntry", namespace, "e", spec)
	}
	sidecar := func(namespace, spec string) string {
		return istio("networking.istio.io/v1", "Sidecar", namespace, "s", spec)
	}
	cases := []testCase{
		{name: "none", check: "routing-rules", objects: shop()},
		{name: "a VirtualService", check: "routing-rules", objects: shop(virtualService("shop", "{hosts: [cart], "+http+"}")), want: refusedVS},
		{name: "a VirtualService for sidecars and a gateway", check: "routing-rules", objects: shop(virtualService("shop", "{hosts: [cart], gateways: [ingress, mesh], "+http+"}")), want: refusedVS},
		{name: "a VirtualService for a gateway alone", check: "routing-rules", objects: shop(virtualService("shop", "{hosts: [cart], gateways: [ingress], "+http+"}"))},
		{name: "another namespace's, by the full name", check: "routing-rules", objects: shop(virtualService("pay", "{hosts: [cart.shop.svc.cluster.local], "+http+"}")), want: refusedElsewhere},
		{name: "another namespace's, by a short name", check: "routing-rules", objects: shop(virtualService("pay", "{hosts: [cart.shop], "+http+"}")), want: refusedElsewhere},
		{name: "another namespace's, by a wildcard", check: "routing-rules", objects: shop(virtualService("pay", `{hosts: ["*.shop.svc.cluster.local"], `+http+"}")), want: refusedElsewhere},
		{name: "another namespace's, for everything", check: "routing-rules", objects: shop(virtualService("pay", `{hosts: ["*"], `+http+"}")), want: refusedElsewhere},
		{name: "another namespace's, by a name of its own", check: "routing-rules", objects: shop(virtualService("pay", "{hosts: [cart], "+http+"}"))},
		{name: "another namespace's, for a host elsewhere", check: "routing-rules", objects: shop(virtualService("pay", `{hosts: ["*.example.com"], `+http+"}"))},
		{name: "another namespace's, for a service that is not there", check: "routing-rules", objects: shop(virtualService("pay", "{hosts: [gone.shop.svc.cluster.local], "+http+"}"))},

		{name: "subsets alone", check: "routing-rules", objects: shop(destinationRule("shop", "{host: cart, subsets: [{name: v1, labels: {version: v1}}]}"))},
		{name: "mTLS alone", check: "routing-rules", objects: shop(destinationRule("shop", "{host: cart, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}"))},
		{name: "another namespace's DestinationRule", check: "routing-rules", objects: shop(destinationRule("pay", "{host: cart.shop.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}}}")), want: []finding{{fail, "DestinationRule pay/d", "spec.trafficPolicy.tls.mode", policyLost}}},
		{name: "another namespace's DestinationRule for its own", check: "routing-rules", objects: shop(destinationRule("pay", "{host: cart, trafficPolicy: {tls: {mode: DISABLE}}}"))},
		{name: "a subset's policy", check: "routing-rules", objects: shop(destinationRule("shop", "{host: cart, subsets: [{name: v1}, {name: v2, trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}}]}")), want: []finding{{fail, "DestinationRule shop/d", "spec.subsets[v2].trafficPolicy.connectionPool", policyLost}}},

		{name: "a route of a Service", check: "routing-rules", objects: shop(route("HTTPRoute", "shop", `{group: "", kind: Service, name: cart}`)), want: []finding{{fail, "HTTPRoute shop/r", "spec.parentRefs", lost}}},
		{name: "a route of a Service, from elsewhere", check: "routing-rules", objects: shop(route("GRPCRoute", "pay", `{group: "", kind: Service, name: cart, namespace: shop}`)), want: []finding{{fail, "GRPCRoute pay/r", "spec.parentRefs", lost}}},
		{name: "a consumer's route for a Service elsewhere", check: "routing-rules", objects: shop(route("HTTPRoute", "shop", `{group: "", kind: Service, name: pay, namespace: pay}`)), want: []finding{{fail, "HTTPRoute shop/r", "spec.parentRefs", lost}}},
		{name: "a route of a Service elsewhere", check: "routing-rules", objects: shop(route("HTTPRoute", "pay", `{group: "", kind: Service, name: cart}`))},
		{name: "a gateway's route", check: "routing-rules", objects: shop(route("HTTPRoute", "shop", "{name: ingress}"))},

		{name: "none", check: "outbound-routing", objects: shop(virtualService("shop", "{hosts: [cart], "+http+"}"))},
		{name: "a VirtualService of others", check: "outbound-routing", objects: shop(virtualService("pay", "{hosts: [pay], "+http+"}")), want: outbound},
		{name: "one exported to all", check: "outbound-routing", objects: shop(virtualService("pay", `{hosts: [pay], exportTo: ["*"], `+http+"}")), want: outbound},
		{name: "one exported here", check: "outbound-routing", objects: shop(virtualService("pay", "{hosts: [pay], exportTo: [hr, shop], "+http+"}")), want: outbound},
		{name: "one that is not exported", check: "outbound-routing", objects: shop(virtualService("pay", `{hosts: [pay], exportTo: ["."], `+http+"}"))},
		{name: "one for a gateway", check: "outbound-routing", objects: shop(virtualService("pay", "{hosts: [pay], gateways: [ingress], "+http+"}"))},
		{name: "one that routing-rules refuses", check: "outbound-routing", objects: shop(virtualService("pay", "{hosts: [cart.shop], "+http+"}"))},
		{name: "a DestinationRule of others", check: "outbound-routing", objects: shop(destinationRule("pay", "{host: pay, trafficPolicy: {loadBalancer: {simple: RANDOM}}}")), want: []finding{{warn, "DestinationRule pay/d", "spec.trafficPolicy.loadBalancer", "no longer follow it"}}},
		{name: "a DestinationRule of others that is not exported", check: "outbound-routing", objects: shop(destinationRule("pay", `{host: pay, exportTo: ["."], trafficPolicy: {loadBalancer: {simple: RANDOM}}}`))},
		{name: "a DestinationRule of others without effect", check: "outbound-routing", objects: shop(destinationRule("pay", "{host: pay}"))},

		{name: "a host", check: "service-entries", objects: shop(entry("shop", "{hosts: [api.example.com]}"))},
		{name: "a wildcard", check: "service-entries", objects: shop(entry("shop", `{hosts: [api.example.com, "*.example.com"]}`)), want: []finding{{fail, "ServiceEntry shop/e", "spec.hosts", "wildcard hosts are not resolved by ztunnel"}}},
		{name: "a wildcard elsewhere", check: "service-entries", objects: shop(entry("pay", `{hosts: ["*.example.com"]}`))},

		{name: "none", check: "sidecar-resource", objects: shop()},
		{name: "one", check: "sidecar-resource", objects: shop(sidecar("shop", `{egress: [{hosts: ["./*"]}]}`)), want: []finding{{warn, "Sidecar shop/s", "spec", "no effect in ambient mode"}}},
		{name: "one that lets everything pass", check: "sidecar-resource", objects: shop(sidecar("shop", "{outboundTrafficPolicy: {mode: ALLOW_ANY}}")), want: []finding{{warn, "Sidecar shop/s", "spec", "no effect in ambient mode"}}},
		{name: "one that restricts", check: "sidecar-resource", objects: shop(sidecar("shop", "{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}")), want: []finding{{fail, "Sidecar shop/s", "spec.outboundTrafficPolicy.mode", "REGISTRY_ONLY ends"}}},
		{name: "the mesh's", check: "sidecar-resource", objects: shop(sidecar("istio-system", "{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}")), want: []finding{{fail, "Sidecar istio-system/s", "spec.outboundTrafficPolicy.mode", "REGISTRY_ONLY ends"}}},
		{name: "the mesh's, for others", check: "sidecar-resource", objects: shop(sidecar("istio-system", "{workloadSelector: {labels: {app: pay}}, outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"))},
		{name: "another namespace's", check: "sidecar-resource", objects: shop(sidecar("pay", "{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"))},
	}
	for field, text := range map[string]string{
		"loadBalancer": "loadBalancer: {simple: RANDOM}", "connectionPool": "connectionPool: {http: {http1MaxPendingRequests: 1}}",
		"outlierDetection": "outlierDetection: {consecutive5xxErrors: 5}", "portLevelSettings": "portLevelSettings: [{port: {number: 80}}]",
		"tunnel": "tunnel: {targetHost: a, targetPort: 80}", "proxyProtocol": "proxyProtocol: {version: V2}", "tls.mode": "tls: {mode: SIMPLE}",
		"retryBudget": "retryBudget: {percent: 20}",
	} {
		cases = append(cases, testCase{
			name: "a DestinationRule with " + field, check: "routing-rules", objects: shop(destinationRule("shop", "{host: cart, trafficPolicy: {"+text+"}}")),
			want: []finding{{fail, "DestinationRule shop/d", "spec.trafficPolicy." + field, policyLost}},
		})
	}
	return cases
}

func extensionCases() []testCase {
	one := func(version, kind, namespace, spec string) string {
		return istio(version, kind, namespace, "x", spec)
	}
	const envoy, wasm, telemetry, proxy = "networking.istio.io/v1alpha3", "extensions.istio.io/v1alpha1", "telemetry.istio.io/v1", "networking.istio.io/v1beta1"
	return []testCase{
		{name: "none", check: "extensions", objects: shop()},
		{name: "an EnvoyFilter", check: "extensions", objects: shop(one(envoy, "EnvoyFilter", "shop", "{}")), want: []finding{{fail, "EnvoyFilter shop/x", "", "changes sidecars"}}},
		{name: "the root namespace's EnvoyFilter", check: "extensions", objects: shop(one(envoy, "EnvoyFilter", "istio-system", "{workloadSelector: {labels: {app: cart}}}")), want: []finding{{fail, "EnvoyFilter istio-system/x", "", "changes sidecars"}}},
		{name: "the root namespace's EnvoyFilter for gateways", check: "extensions", objects: shop(one(envoy, "EnvoyFilter", "istio-system", "{workloadSelector: {labels: {istio: ingressgateway}}}"))},
		{name: "another namespace's EnvoyFilter", check: "extensions", objects: shop(one(envoy, "EnvoyFilter", "pay", "{}"))},
		{name: "a WasmPlugin", check: "extensions", objects: shop(one(wasm, "WasmPlugin", "shop", "{selector: {matchLabels: {app: cart}}}")), want: []finding{{fail, "WasmPlugin shop/x", "", "sidecars and waypoints only"}}},
		{name: "a TrafficExtension", check: "extensions", objects: shop(one(wasm, "TrafficExtension", "shop", "{}")), want: []finding{{fail, "TrafficExtension shop/x", "", "sidecars and waypoints only"}}},
		{name: "a WasmPlugin at a waypoint", check: "extensions", objects: shop(one(wasm, "WasmPlugin", "shop", "{targetRefs: [{kind: Gateway, name: way}]}"))},
		{name: "Telemetry", check: "extensions", objects: shop(one(telemetry, "Telemetry", "shop", "{}")), want: []finding{{fail, "Telemetry shop/x", "", "HTTP telemetry"}}},
		{name: "Telemetry of the mesh", check: "extensions", objects: shop(one(telemetry, "Telemetry", "istio-system", "{}")), want: []finding{{warn, "Telemetry istio-system/x", "", "HTTP telemetry"}}},
		{name: "a ProxyConfig", check: "extensions", objects: shop(one(proxy, "ProxyConfig", "shop", "{}")), want: []finding{{warn, "ProxyConfig shop/x", "", "no effect in ambient mode"}}},
	}
}

func workloadCases() []testCase {
	partition := int32(2)
	withPods := func(set *appsv1.StatefulSet) []any { return append(fixture.PodsOfSet(set, fixture.Sidecar), set) }
	onDelete := fixture.StatefulSet("shop", "db", func(s *appsv1.StatefulSet) {
		s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
	})
	partitioned := fixture.StatefulSet("shop", "db", func(s *appsv1.StatefulSet) {
		s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: &partition}
	})
	lone := fixture.ReplicaSet("shop", "lone", nil)
	cron := fixture.CronJob("shop", "report")
	run := fixture.Job("shop", "report-1", func(job *batchv1.Job) {
		job.OwnerReferences = []metav1.OwnerReference{fixture.Owner("CronJob", "batch/v1", &cron.ObjectMeta)}
	})
	runPod := fixture.Pod("shop", "report-1-x", fixture.Of("Job", "batch/v1", &run.ObjectMeta, fixture.Template("report")), fixture.Sidecar)
	ended := func(pod *corev1.Pod) *corev1.Pod {
		pod = pod.DeepCopy()
		pod.Status.Phase = corev1.PodSucceeded
		return pod
	}
	argo := fixture.Pod("shop", "argo-1", fixture.Of("Rollout", "argoproj.io/v1alpha1", &metav1.ObjectMeta{Name: "argo", UID: "rollout.argo"}, fixture.Template("argo")), fixture.Sidecar)
	kubeInjected := fixture.Deployment("shop", "manual", func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: "istio-proxy"})
	})
	optedOut := fixture.Deployment("shop", "quiet", fixture.TemplateLabel("sidecar.istio.io/inject", "false"))
	selecting := func(kind, version, spec string) string { return istio(version, kind, "shop", "x", spec) }
	const tlsMode = "security.istio.io/tlsMode"
	own := fixture.Deployment("shop", "own", fixture.TemplateLabel("service.istio.io/canonical-name", "own"))
	moved := shop
	onlyOwn := append(fixture.Installation(), fixture.Namespace("shop", labels{"istio-injection": "enabled"}), own)
	return []testCase{
		{name: "all can", check: "restartable", objects: shop()},
		{name: "a paused Deployment", check: "restartable", objects: shop(fixture.Deployment("shop", "idle", func(d *appsv1.Deployment) { d.Spec.Paused = true })), want: []finding{{fail, "Deployment shop/idle", "spec.paused", "it is paused"}}},
		{name: "a paused Deployment outside the mesh", check: "restartable", objects: []any{fixture.Installation(), fixture.Namespace("shop", nil), fixture.Deployment("shop", "idle", func(d *appsv1.Deployment) { d.Spec.Paused = true })}},
		{name: "an OnDelete StatefulSet", check: "restartable", objects: shop(withPods(onDelete)), want: []finding{{fail, "StatefulSet shop/db", "spec.updateStrategy.type", "OnDelete leaves its pods in place"}}},
		{name: "an OnDelete DaemonSet", check: "restartable", objects: shop(fixture.DaemonSet("shop", "agent", func(d *appsv1.DaemonSet) { d.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType })), want: []finding{{fail, "DaemonSet shop/agent", "spec.updateStrategy.type", "OnDelete leaves its pods in place"}}},
		{name: "a partitioned StatefulSet", check: "restartable", objects: shop(withPods(partitioned)), want: []finding{{fail, "StatefulSet shop/db", "spec.updateStrategy.rollingUpdate.partition", "partition 2"}}},
		{name: "a ReplicaSet of its own", check: "restartable", objects: shop(lone, fixture.Pod("shop", "lone-x", fixture.Of("ReplicaSet", "apps/v1", &lone.ObjectMeta, fixture.Template("lone")), fixture.Sidecar)), want: []finding{{fail, "ReplicaSet shop/lone", "", "without a Deployment"}}},
		{name: "a ReplicaSet of its own without pods", check: "restartable", objects: shop(lone)},
		{name: "a CronJob that runs", check: "restartable", objects: shop(cron, run, runPod), want: []finding{{fail, "CronJob shop/report", "", "1 pod with a sidecar still running"}}},
		{name: "a CronJob that ran", check: "restartable", objects: shop(cron, run, ended(runPod))},
		{name: "a Job that runs", check: "restartable", objects: shop(fixture.Job("shop", "import"), fixture.Pod("shop", "import-x", fixture.Of("Job", "batch/v1", &fixture.Job("shop", "import").ObjectMeta, fixture.Template("import")), fixture.NativeSidecar)), want: []finding{{fail, "Job shop/import", "", "1 pod with a sidecar still running"}}},
		{name: "a bare pod with a sidecar", check: "restartable", objects: shop(fixture.Pod("shop", "lonely", fixture.Sidecar)), want: []finding{{fail, "Pod shop/lonely", "", "nothing controls the pod"}}},
		{name: "a bare pod without", check: "restartable", objects: shop(fixture.Pod("shop", "lonely"))},
		{name: "a pod of a controller that is not known", check: "restartable", objects: shop(argo), want: []finding{{fail, "Pod shop/argo-1", "", "run by Rollout argo, which this version cannot restart"}}},
		{name: "kube-injected names its own", check: "restartable", objects: shop(kubeInjected, fixture.PodsOf(kubeInjected))},

		{name: "none", check: "selector-labels", objects: shop()},
		{name: "a Deployment's own selector", check: "selector-labels", objects: moved(fixture.Deployment("shop", "odd", fixture.TemplateLabel("sidecar.istio.io/inject", "true"), func(d *appsv1.Deployment) {
			d.Spec.Selector.MatchLabels = labels{"app": "odd", "sidecar.istio.io/inject": "true"}
		})), want: []finding{{fail, "Deployment shop/odd", "spec.selector", "sidecar.istio.io/inject"}}},
		{name: "a Service", check: "selector-labels", objects: moved(selecting("Service", "v1", "{selector: {app: cart, "+tlsMode+": istio}}")), want: []finding{{fail, "Service shop/x", "spec.selector", tlsMode}}},
		{name: "a PodDisruptionBudget", check: "selector-labels", objects: moved(selecting("PodDisruptionBudget", "policy/v1", "{selector: {matchExpressions: [{key: service.istio.io/canonical-name, operator: Exists}]}}")), want: []finding{{fail, "PodDisruptionBudget shop/x", "spec.selector", "service.istio.io/canonical-name"}}},
		{name: "a NetworkPolicy", check: "selector-labels", objects: moved(selecting("NetworkPolicy", "networking.k8s.io/v1", "{podSelector: {matchLabels: {"+tlsMode+": istio}}, ingress: [{from: [{podSelector: {matchLabels: {networking.istio.io/tunnel: http}}}]}], egress: [{to: [{podSelector: {matchLabels: {istio.io/rev: a}}}, {ipBlock: {cidr: 10.0.0.0/8}}]}]}")), want: []finding{
			{fail, "NetworkPolicy shop/x", "spec.podSelector", tlsMode}, {fail, "NetworkPolicy shop/x", "spec.ingress[].from[].podSelector", "networking.istio.io/tunnel"}, {fail, "NetworkPolicy shop/x", "spec.egress[].to[].podSelector", "istio.io/rev"},
		}},
		{name: "an AuthorizationPolicy", check: "selector-labels", objects: moved(policy("shop", "{selector: {matchLabels: {"+tlsMode+": istio}}}")), want: []finding{{fail, "AuthorizationPolicy shop/p", "spec.selector", tlsMode}}},
		{name: "the root namespace's AuthorizationPolicy", check: "selector-labels", objects: moved(policy("istio-system", "{selector: {matchLabels: {"+tlsMode+": istio}}}")), want: []finding{{fail, "AuthorizationPolicy istio-system/p", "spec.selector", tlsMode}}},
		{name: "a PeerAuthentication", check: "selector-labels", objects: moved(peer("shop", "{selector: {matchLabels: {service.istio.io/canonical-revision: latest}}}")), want: []finding{{fail, "PeerAuthentication shop/p", "spec.selector", "service.istio.io/canonical-revision"}}},
		{name: "a label that the template has itself", check: "selector-labels", objects: append(onlyOwn, selecting("Service", "v1", "{selector: {service.istio.io/canonical-name: own}}"))},
		{name: "nothing is moved", check: "selector-labels", objects: append(enrolled(), selecting("Service", "v1", "{selector: {"+tlsMode+": istio}}"))},

		{name: "all have sidecars", check: "live-capture", objects: shop()},
		{name: "pods that run without", check: "live-capture", objects: shop(fixture.Pod("shop", "a"), fixture.Pod("shop", "b")), want: []finding{{warn, "Namespace shop", "", "2 running pods without sidecar will be captured at once, open connections included: a, b"}}},
		{name: "pods that opted out are pinned first", check: "live-capture", objects: shop(optedOut, fixture.PodsOf(optedOut), fixture.Pod("shop", "bare", fixture.Labelled("sidecar.istio.io/inject", "false")))},
		{name: "pods that are captured already", check: "live-capture", objects: append(enrolled(), fixture.Pod("shop", "a", fixture.Ambient))},
		{name: "pods on the host's network", check: "live-capture", objects: shop(fixture.Pod("shop", "a", func(pod *corev1.Pod) { pod.Spec.HostNetwork = true }))},
		{name: "pods that refuse", check: "live-capture", objects: shop(fixture.Pod("shop", "a", fixture.Labelled("istio.io/dataplane-mode", "none")))},
	}
}

func verifyCases() []testCase {
	const pod = "Pod shop/cart-5d8f7-0"
	edited := func(edit func(*mesh.NodeEvidence)) *mesh.Evidence {
		evidence := evidence()
		node := evidence.Nodes[fixture.Node]
		edit(&node)
		evidence.Nodes[fixture.Node] = node
		return evidence
	}
	uid := fixture.UID("Pod", "shop", "cart-5d8f7-0")
	rolling := fixture.Deployment("shop", "slow", fixture.TemplateLabel("sidecar.istio.io/inject", "false"), fixture.Replicas(2))
	rolling.Status.UpdatedReplicas = 1
	injecting := fixture.Namespace("shop", labels{"istio.io/dataplane-mode": "ambient", "istio-injection": "enabled"})
	replaceNamespace := func(namespace any) []any { return []any{fixture.Without("Namespace", enrolled()...), namespace} }
	cart := fixture.Deployment("shop", "cart")
	bare := func(edits ...func(*corev1.Pod)) []any {
		objects := fixture.Without("Pod", enrolled()...)
		return []any{objects, fixture.PodsOf(cart, edits...)[1]}
	}
	const redirection = "metadata.annotations[ambient.istio.io/redirection]"
	pending := fixture.Annotated("ambient.istio.io/redirection", "pending")
	unscheduled := func(pod *corev1.Pod) { pod.Spec.NodeName = "" }
	return []testCase{
		{name: "none", check: "no-sidecars", objects: enrolled()},
		{name: "a classic one", check: "no-sidecars", objects: enrolled(fixture.Pod("shop", "old", fixture.Sidecar)), want: []finding{{fail, "Pod shop/old", "spec.containers[istio-proxy]", "has a sidecar"}}},
		{name: "a native one", check: "no-sidecars", objects: enrolled(fixture.Pod("shop", "old", fixture.NativeSidecar)), want: []finding{{fail, "Pod shop/old", "spec.initContainers[istio-proxy]", "has a sidecar"}}},
		{name: "one by its annotation", check: "no-sidecars", objects: enrolled(fixture.Pod("shop", "old", fixture.Annotated("sidecar.istio.io/status", "{}"))), want: []finding{{fail, "Pod shop/old", "metadata.annotations[sidecar.istio.io/status]", "has a sidecar"}}},
		{name: "a gateway's proxy", check: "no-sidecars", objects: enrolled(fixture.Pod("shop", "ingress", fixture.Sidecar, fixture.Annotated("inject.istio.io/templates", "gateway")))},

		{name: "ambient", check: "dataplane-mode", objects: enrolled()},
		{name: "not labelled", check: "dataplane-mode", objects: replaceNamespace(fixture.Namespace("shop", nil)), want: []finding{{fail, "Namespace shop", "metadata.labels[istio.io/dataplane-mode]", `the label is "", not "ambient"`}}},
		{name: "still injected", check: "dataplane-mode", objects: replaceNamespace(injecting), want: []finding{{fail, "Namespace shop", "metadata.labels", "injection is enabled"}}},
		{name: "labelled otherwise and injected", check: "dataplane-mode", objects: replaceNamespace(fixture.Namespace("shop", labels{"istio.io/dataplane-mode": "none", "istio.io/rev": "default"})), want: []finding{
			{fail, "Namespace shop", "metadata.labels[istio.io/dataplane-mode]", `"none"`}, {fail, "Namespace shop", "metadata.labels", "injection is rev=default"},
		}},
		{name: "a label that asks a revision which is gone", check: "dataplane-mode", objects: replaceNamespace(fixture.Namespace("shop", labels{"istio.io/dataplane-mode": "ambient", "istio.io/rev": "gone"}))},

		{name: "all are", check: "restarts-complete", objects: enrolled()},
		{name: "one is not rolled out", check: "restarts-complete", objects: enrolled(rolling), want: []finding{{fail, "Deployment shop/slow", "status", "Updated: 1/2"}}},
		{name: "one would get a sidecar", check: "restarts-complete", objects: enrolled(fixture.Pod("shop", "other", fixture.Ambient, fixture.Labelled("sidecar.istio.io/inject", "true"))), want: []finding{{fail, "Pod shop/other", "metadata.labels", "a restart would give the pod a sidecar"}}},
		{name: "one has a sidecar, which no-sidecars names", check: "restarts-complete", objects: enrolled(fixture.Pod("shop", "old", fixture.Sidecar))},

		{name: "all are captured", check: "outside-mesh", objects: enrolled()},
		{name: "one that opted out of both", check: "outside-mesh", objects: bare(fixture.Labelled("istio.io/dataplane-mode", "none"), fixture.Labelled("sidecar.istio.io/inject", "false"))},
		{name: "one that opted out of ambient mode only", check: "outside-mesh", objects: bare(fixture.Labelled("istio.io/dataplane-mode", "none")), want: []finding{{warn, pod, "metadata.labels[istio.io/dataplane-mode]", "outside the mesh"}}},
		{
			name: "istio-cni leaves the namespace out", check: "outside-mesh",
			objects: append([]any{fixture.Without("ConfigMap", bare()...)}, fixture.MeshConfig(""), fixture.CNIConfig("istio-system", labels{"AMBIENT_ENABLED": "true", "EXCLUDE_NAMESPACES": "shop"})),
			want:    []finding{{fail, pod, "", "configured not to capture"}},
		},

		{name: "all are", check: "redirected", objects: enrolled()},
		{name: "one is not", check: "redirected", objects: bare(), want: []finding{{fail, pod, redirection, `the annotation is "", not "enabled"`}}},
		{name: "one is about to be", check: "redirected", objects: bare(pending), want: []finding{{fail, pod, redirection, `"pending"`}}},
		{name: "one that is not on a node yet", check: "redirected", objects: bare(unscheduled)},
		{name: "one that opted out", check: "redirected", objects: bare(fixture.Labelled("istio.io/dataplane-mode", "none"))},
		{name: "one with a sidecar, which no-sidecars names", check: "redirected", objects: bare(fixture.Sidecar)},

		{name: "all are", check: "ztunnel-captured", objects: enrolled(), evidence: evidence()},
		{name: "nobody was asked", check: "ztunnel-captured", objects: enrolled(), want: []finding{{unknown, pod, "", "ztunnel was not asked"}}},
		{name: "the node was not asked", check: "ztunnel-captured", objects: enrolled(), evidence: &mesh.Evidence{}, want: []finding{{unknown, pod, "", "ztunnel on node node-1 was not asked"}}},
		{name: "the node could not be asked", check: "ztunnel-captured", objects: enrolled(), evidence: edited(func(n *mesh.NodeEvidence) { n.Problem = "no route" }), want: []finding{{unknown, pod, "", "ztunnel on node node-1 could not be asked: no route"}}},
		{name: "a node is named once", check: "ztunnel-captured", objects: enrolled(fixture.Pod("shop", "dd", fixture.Ambient)), want: []finding{{unknown, pod, "", "ztunnel was not asked"}}},
		{name: "one is pending", check: "ztunnel-captured", objects: enrolled(), evidence: edited(func(n *mesh.NodeEvidence) {
			n.Captured = map[types.UID]mesh.CaptureState{uid: mesh.CapturePending}
		}), want: []finding{{fail, pod, "", "says the pod is Pending"}}},
		{name: "one is not known", check: "ztunnel-captured", objects: enrolled(), evidence: edited(func(n *mesh.NodeEvidence) { n.Captured = nil }), want: []finding{{fail, pod, "", "does not know the pod as its own"}}},
		{name: "a pod of the same name before a restart", check: "ztunnel-captured", objects: enrolled(), evidence: edited(func(n *mesh.NodeEvidence) {
			n.Captured = map[types.UID]mesh.CaptureState{"former": mesh.CaptureUp}
		}), want: []finding{{fail, pod, "", "does not know the pod as its own"}}},

		{name: "all are", check: "ztunnel-hbone", objects: enrolled(), evidence: evidence()},
		{name: "nobody was asked", check: "ztunnel-hbone", objects: enrolled(), want: []finding{{unknown, pod, "", "ztunnel was not asked"}}},
		{name: "one is not known", check: "ztunnel-hbone", objects: enrolled(), evidence: edited(func(n *mesh.NodeEvidence) { n.Workloads = nil }), want: []finding{{fail, pod, "", "was not told of the pod by istiod"}}},
		{name: "one is reached by TCP", check: "ztunnel-hbone", objects: enrolled(), evidence: edited(func(n *mesh.NodeEvidence) {
			n.Workloads = map[string]mesh.ZtunnelWorkload{"shop/cart-5d8f7-0": {Protocol: "TCP"}}
		}), want: []finding{{fail, pod, "", "reaches the pod by TCP, not HBONE"}}},
		{name: "one is taken for a sidecar", check: "ztunnel-hbone", objects: enrolled(), evidence: edited(func(n *mesh.NodeEvidence) {
			n.Workloads = map[string]mesh.ZtunnelWorkload{"shop/cart-5d8f7-0": {Protocol: "HBONE", NativeTunnel: true}}
		}), want: []finding{{fail, pod, "", "nativeTunnel"}}},

		{name: "none is captured", check: "opted-out", objects: enrolled(fixture.Pod("shop", "quiet", fixture.Labelled("istio.io/dataplane-mode", "none")))},
		{name: "one is captured", check: "opted-out", objects: enrolled(fixture.Pod("shop", "quiet", fixture.Labelled("istio.io/dataplane-mode", "none"), fixture.Ambient)), want: []finding{{fail, "Pod shop/quiet", redirection, "redirected to ztunnel all the same"}}},
	}
}
