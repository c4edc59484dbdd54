package checks_test

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

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

func atNode(node string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Spec.NodeName = node }
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
	istiodStatus := func(status map[string]any) []any {
		return edited(shop(), "Deployment", "istiod", set(status, "status"))
	}
	const available = "status.availableReplicas"
	cases := []testCase{
		{name: "it is", check: "istiod-ready", objects: shop()},
		{name: "it is not", check: "istiod-ready", objects: istiodStatus(map[string]any{"observedGeneration": int64(1), "replicas": int64(2), "unavailableReplicas": int64(2)}), want: []finding{{fail, istiodObject, available, "revision default has no available replica"}}},
		{name: "one of two replicas is", check: "istiod-ready", objects: istiodStatus(map[string]any{"replicas": int64(2), "unavailableReplicas": int64(1), "availableReplicas": int64(1)})},
		{name: "scaled to zero", check: "istiod-ready", objects: istiodStatus(map[string]any{"observedGeneration": int64(1)}), want: []finding{{fail, istiodObject, available, "no available replica"}}},
		{name: "a manifest", check: "istiod-ready", objects: istiodStatus(map[string]any{}), want: []finding{{unknown, istiodObject, "status", "the Deployment has no status"}}},
		{name: "one of two revisions is not", check: "istiod-ready", objects: edited(shop(fixture.Istiod("old")), "Deployment", "istiod-old", set(int64(0), "status", "availableReplicas")), want: []finding{{fail, "Deployment istio-system/istiod-old", available, "revision old"}}},

		{name: "it serves", check: "istiod-ambient", objects: shop()},
		{name: "it does not", check: "istiod-ambient", objects: control(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Env = nil }), want: []finding{{fail, "Deployment istio-system/istiod", variable, `revision default does not serve ambient mode: PILOT_ENABLE_AMBIENT is ""`}}},
		{name: "one of two does not", check: "istiod-ambient", objects: shop(fixture.Istiod("old", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Env[0].Value = "false" })), want: []finding{{fail, "Deployment istio-system/istiod-old", variable, `revision old does not serve ambient mode: PILOT_ENABLE_AMBIENT is "false"`}}},

		{name: "it serves, as any true value says", check: "istiod-ambient", objects: control(environment("PILOT_ENABLE_AMBIENT", "True"))},
		{name: "it comes from elsewhere", check: "istiod-ambient", objects: control(fromElsewhere("PILOT_ENABLE_AMBIENT")), want: []finding{{unknown, istiodObject, variable, "whether revision default serves ambient mode cannot be seen"}}},
		{name: "it may come from elsewhere", check: "istiod-ambient", objects: control(func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers[0].Env, d.Spec.Template.Spec.Containers[0].EnvFrom = nil, []corev1.EnvFromSource{{Prefix: "X"}}
		}), want: []finding{{unknown, istiodObject, variable, "cannot be seen"}}},
		{name: "it is written, whatever comes from elsewhere", check: "istiod-ambient", objects: control(func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{Prefix: "X"}}
		})},

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
			testCase{name: "missing where only a gateway and the node's own pods run", check: component.check, objects: shop(
				nodeOf("edge", func(n *corev1.Node) { n.Spec.Unschedulable = true }),
				fixture.Pod("shop", "way", fixture.Labelled("gateway.networking.k8s.io/gateway-name", "way"), atNode("edge")),
				fixture.Pod("shop", "agent", func(pod *corev1.Pod) { pod.Spec.HostNetwork = true }, atNode("edge")),
			)},
			testCase{name: "missing where no pod can run", check: component.check, objects: shop(
				nodeOf("cordoned", func(n *corev1.Node) { n.Spec.Unschedulable = true }), nodeOf("windows", func(n *corev1.Node) { n.Labels = labels{"kubernetes.io/os": "windows"} }),
			)},
		)
	}
	return slices.Concat(cases, ztunnelCases(), flagCases())
}

// resources are what ztunnel asks for and is limited to: cpu=1, memory=1Gi.
func resources(requests, limits corev1.ResourceList) []any {
	set := fixture.Ztunnel("istio-system")[0].(*appsv1.DaemonSet)
	set.Spec.Template.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: requests, Limits: limits}
	return append(without("DaemonSet", "ztunnel", shop()), set)
}

func memory(quantity string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(quantity)}
}

func ztunnelCases() []testCase {
	const list = "spec.template.spec.containers[0].resources"
	large := func(pods string, objects []any) []any {
		return append(objects, nodeOf("large", func(n *corev1.Node) {
			n.Status.Allocatable = corev1.ResourceList{corev1.ResourcePods: resource.MustParse(pods)}
		}))
	}
	withoutZtunnel := without("DaemonSet", "ztunnel", shop())
	skipped := []finding{{skip, "", "", "ztunnel is not installed"}}
	// The mesh has five pods at the most: the rule gives 126 MiB and some for 110
	// pods a node.
	cases := []testCase{
		{name: "as the chart has them", check: "ztunnel-resources", objects: shop()},
		{name: "not installed", check: "ztunnel-resources", objects: withoutZtunnel, want: skipped},
		{name: "no requests", check: "ztunnel-resources", objects: resources(nil, nil), want: []finding{{warn, ztunnelObject, list + ".requests.memory", "may evict it"}}},
		{name: "a limit for a request", check: "ztunnel-resources", objects: resources(nil, memory("512Mi"))},
		{name: "a limit that is enough", check: "ztunnel-resources", objects: resources(memory("64Mi"), memory("127Mi"))},
		{name: "a limit that is too small", check: "ztunnel-resources", objects: resources(memory("64Mi"), memory("126Mi")), want: []finding{{warn, ztunnelObject, list + ".limits.memory", "ztunnel may use 126Mi of memory; by a rule of thumb 127Mi are needed for the 110 pods that fit a node"}}},
		{name: "a limit that is too small for a large node", check: "ztunnel-resources", objects: large("250", resources(memory("64Mi"), memory("256Mi"))), want: []finding{{warn, ztunnelObject, list + ".limits.memory", "the 250 pods"}}},
		{name: "a limit that is enough for a small node", check: "ztunnel-resources", objects: large("8", resources(memory("64Mi"), memory("32Mi")))},
		{name: "a CPU limit", check: "ztunnel-resources", objects: resources(memory("64Mi"), corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m")}), want: []finding{{warn, ztunnelObject, list + ".limits.cpu", "limited to 500m CPU"}}},
		{name: "all at once", check: "ztunnel-resources", objects: resources(nil, corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}), want: []finding{{warn, ztunnelObject, list + ".requests.memory", ""}, {warn, ztunnelObject, list + ".limits.cpu", "limited to 2 CPU"}}},
	}
	const variable = "spec.template.spec.containers[].env[CA_TRUSTED_NODE_ACCOUNTS]"
	elsewhere := func(istiods ...any) []any {
		objects := fixture.Without("Deployment", withoutZtunnel...)
		return append([]any{objects, fixture.Ztunnel("kube-system")}, istiods...)
	}
	trusting := func(accounts string) func(*appsv1.Deployment) {
		return environment("CA_TRUSTED_NODE_ACCOUNTS", accounts)
	}
	asking := func(address string, more ...any) []any {
		set := fixture.Ztunnel("kube-system")[0].(*appsv1.DaemonSet)
		setVariable(&set.Spec.Template, corev1.EnvVar{Name: "CA_ADDRESS", Value: address})
		return append(append([]any{withoutZtunnel}, set), more...)
	}
	return append(cases,
		testCase{name: "beside istiod", check: "trusted-node-accounts", objects: shop()},
		testCase{name: "not installed", check: "trusted-node-accounts", objects: withoutZtunnel, want: skipped},
		testCase{name: "elsewhere, and trusted", check: "trusted-node-accounts", objects: elsewhere(fixture.Istiod("", trusting("istio-system/ztunnel,kube-system/ztunnel")))},
		testCase{name: "elsewhere, and not trusted", check: "trusted-node-accounts", objects: elsewhere(fixture.Istiod("")), want: []finding{{fail, istiodObject, variable, `kube-system/ztunnel is not in CA_TRUSTED_NODE_ACCOUNTS, which is "istio-system/ztunnel"`}}},
		testCase{name: "istiod takes the list as it is written", check: "trusted-node-accounts", objects: elsewhere(fixture.Istiod("", trusting("istio-system/ztunnel, kube-system/ztunnel"))), want: []finding{{fail, istiodObject, variable, "kube-system/ztunnel is not in"}}},
		testCase{name: "nobody is trusted", check: "trusted-node-accounts", objects: control(func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers[0].Env = d.Spec.Template.Spec.Containers[0].Env[:1]
		}), want: []finding{{fail, istiodObject, variable, `which is ""`}}},
		testCase{name: "it cannot be seen", check: "trusted-node-accounts", objects: control(fromElsewhere("CA_TRUSTED_NODE_ACCOUNTS")), want: []finding{{unknown, istiodObject, variable, "cannot be seen"}}},
		testCase{name: "one of two revisions does not trust it", check: "trusted-node-accounts", objects: shop(fixture.Istiod("old", trusting("old/ztunnel"))), want: []finding{{fail, "Deployment istio-system/istiod-old", variable, "revision old does not give"}}},
		testCase{name: "it asks another revision", check: "trusted-node-accounts", objects: asking("istiod-new.istio-system.svc:15012", fixture.Istiod("new", trusting("kube-system/ztunnel"))), want: []finding{{warn, istiodObject, variable, "revision default does not give"}}},
		testCase{name: "the revision that it asks does not trust it", check: "trusted-node-accounts", objects: asking("istiod-new.istio-system.svc:15012", fixture.Istiod("new")), want: []finding{{warn, istiodObject, variable, ""}, {fail, "Deployment istio-system/istiod-new", variable, "revision new"}}},
		testCase{name: "it asks a revision that is not here", check: "trusted-node-accounts", objects: asking("istiod-gone.istio-system.svc:15012"), want: []finding{{fail, istiodObject, variable, "revision default"}}},
		testCase{name: "it asks another CA", check: "trusted-node-accounts", objects: asking("cert-manager-istio-csr.cert-manager.svc:443"), want: []finding{{warn, "DaemonSet kube-system/ztunnel", "spec.template.spec.containers[].env[CA_ADDRESS]", "takes certificates from cert-manager-istio-csr.cert-manager.svc:443"}}},
	)
}

func flagCases() []testCase {
	field := func(name string) string { return "spec.template.spec.containers[].env[" + name + "]" }
	cases := []testCase{
		{name: "at their defaults", check: "istiod-policy-flags", objects: shop()},
		{name: "they cannot be seen", check: "istiod-policy-flags", objects: control(func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{Prefix: "X"}}
		}), want: []finding{{warn, istiodObject, "spec.template.spec.containers[].env", "whether revision default sets PILOT_AUTO_ALLOW_WAYPOINT_POLICY, ENABLE_LAYERED"}}},
		{name: "one of two revisions", check: "istiod-policy-flags", objects: shop(fixture.Istiod("old", environment("PILOT_AUTO_ALLOW_WAYPOINT_POLICY", "1"))), want: []finding{{warn, "Deployment istio-system/istiod-old", field("PILOT_AUTO_ALLOW_WAYPOINT_POLICY"), "on revision old: every pod behind a waypoint"}}},
		{name: "no boolean", check: "istiod-policy-flags", objects: control(environment("ENABLE_INGRESS_WAYPOINT_ROUTING", "never"))},
	}
	for name, standard := range map[string]string{
		"PILOT_AUTO_ALLOW_WAYPOINT_POLICY": "false", "ENABLE_LAYERED_WAYPOINT_AUTHORIZATION_POLICIES": "false",
		"AMBIENT_ENABLE_DRY_RUN_AUTHORIZATION_POLICY": "false", "ENABLE_INGRESS_WAYPOINT_ROUTING": "true", "PILOT_ENABLE_AMBIENT_WAYPOINTS": "true",
		"PILOT_ENABLE_SENDING_HBONE": "true", "PILOT_ENABLE_SIDECAR_LISTENING_HBONE": "true",
	} {
		other := map[string]string{"true": "false", "false": "true"}[standard]
		cases = append(cases,
			testCase{name: name + " as it is", check: "istiod-policy-flags", objects: control(environment(name, standard))},
			testCase{name: name + " changed", check: "istiod-policy-flags", objects: control(environment(name, other)), want: []finding{{warn, istiodObject, field(name), name + ` is "` + other + `" on revision default`}}},
		)
	}
	return cases
}
