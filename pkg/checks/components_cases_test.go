package checks_test

import (
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
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
