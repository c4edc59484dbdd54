package checks_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The objects that findings about the installation name.
const (
	istiodObject  = "Deployment istio-system/istiod"
	ztunnelObject = "DaemonSet istio-system/ztunnel"
	cniObject     = "DaemonSet istio-system/istio-cni-node"
)

// chartOnly leaves the version to the chart's label.
func chartOnly(version string) func(*appsv1.Deployment) {
	return both(image("example.com/pilot@sha256:0123"), chartVersion(version))
}

// environment sets a variable of istiod.
func environment(name, value string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { setVariable(&d.Spec.Template, corev1.EnvVar{Name: name, Value: value}) }
}

// fromElsewhere makes a variable of istiod one whose value is not written.
func fromElsewhere(name string) func(*appsv1.Deployment) {
	source := &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{Key: name}}
	return func(d *appsv1.Deployment) {
		setVariable(&d.Spec.Template, corev1.EnvVar{Name: name, ValueFrom: source})
	}
}

func setVariable(template *corev1.PodTemplateSpec, variable corev1.EnvVar) {
	container := &template.Spec.Containers[0]
	for i := range container.Env {
		if container.Env[i].Name == variable.Name {
			container.Env[i] = variable
			return
		}
	}
	container.Env = append(container.Env, variable)
}

// without leaves out one object of the mesh.
func without(kind, name string, objects []any) []any {
	var kept []any
	for _, object := range fixture.Objects(objects...) {
		if object.GetKind() != kind || object.GetName() != name {
			kept = append(kept, object)
		}
	}
	return kept
}

// edited is the mesh with one object changed, by a path and a value.
func edited(objects []any, kind, name string, edit func(map[string]any)) []any {
	var all []any
	for _, object := range fixture.Objects(objects...) {
		if object.GetKind() == kind && object.GetName() == name {
			object = *object.DeepCopy()
			edit(object.Object)
		}
		all = append(all, object)
	}
	return all
}

// set is an edit that sets a field.
func set(value any, path ...string) func(map[string]any) {
	return func(object map[string]any) {
		if err := unstructured.SetNestedField(object, value, path...); err != nil {
			panic(err)
		}
	}
}

func kubernetesCases() []testCase {
	// The fixture's API server is 1.36.
	return []testCase{
		{name: "supported", check: "kubernetes-version", objects: shop()},
		{name: "newer than tested", check: "kubernetes-version", objects: control(image("pilot:1.29.9")), want: []finding{{warn, istiodObject, "", "Kubernetes is v1.36.3; Istio 1.29.9 was tested on versions up to 1.35"}}},
		{name: "newer than tested with one of two revisions", check: "kubernetes-version", objects: shop(fixture.Istiod("old", image("pilot:1.25.0"))), want: []finding{{warn, "Deployment istio-system/istiod-old", "", "up to 1.32"}}},
		{name: "an istiod that is too old", check: "kubernetes-version", objects: control(image("pilot:1.20.0"))},
		{name: "an istiod that is newer than tested", check: "kubernetes-version", objects: control(image("pilot:1.40.0"))},
		{name: "no version of istiod", check: "kubernetes-version", objects: control(image("pilot:latest")), want: []finding{{skip, "", "", "no istiod's version"}}},
	}
}

func TestKubernetesVersion(t *testing.T) {
	kubelet := func(version string) []any {
		node := fixture.KubernetesNode("node-9")
		node.Status.NodeInfo.KubeletVersion = version
		return []any{node}
	}
	tests := []struct {
		version, istiod string
		more            []any
		status          v1alpha1.CheckStatus
		message         string
	}{
		{"v1.32.0", "1.31.1", nil, pass, ""},
		{"v1.31.9", "1.31.1", nil, fail, "Kubernetes is v1.31.9; Istio 1.31.1 is supported on 1.32 and newer"},
		{"v1.37.0", "1.31.1", nil, warn, "tested on versions up to 1.36"},
		{"v1.33.4-gke.100", "1.31.1", nil, pass, ""},
		{"v1.31.4-gke.100", "1.31.1", nil, fail, "v1.31.4-gke.100"},
		{"v1.32.1+k3s1", "1.31.1", nil, pass, ""},
		{"v1.32.1-eks-7f9249a", "1.31.1", nil, pass, ""},
		{"v1.32", "1.31.1", nil, pass, ""},
		{"1.32+", "1.31.1", nil, pass, ""},
		{"v1.29.0", "1.25.0", nil, pass, ""},
		{"v1.28.0", "1.25.0", nil, fail, "1.29 and newer"},
		{"v1.33.0", "1.25.0", nil, warn, "up to 1.32"},
		{"v1.33.0", "1.26.0", nil, pass, ""},
		{"v1.33.0", "1.27.0", nil, pass, ""},
		{"v1.30.0", "1.28.0", nil, pass, ""},
		{"v1.29.0", "1.28.0", nil, fail, ""},
		{"v1.35.0", "1.29.0", nil, pass, ""},
		{"v1.31.0", "1.30.0", nil, fail, ""},
		{"v1.31.0", "1.31.1-solo", nil, warn, "Kubernetes is v1.31.0"},
		{"v1.31.0", "1.40.0", nil, fail, "1.32 and newer"},
		{"v1.90.0", "1.40.0", nil, pass, ""},
		{"", "1.31.1", nil, unknown, "no API server was asked"},
		{"", "1.31.1", kubelet("v1.32.0"), warn, "it is 1.32 or newer"},
		{"", "1.31.1", kubelet("v1.31.0"), unknown, "Istio 1.31.1 needs 1.32"},
		{"", "1.31.1", kubelet("kwok-0.8.0"), unknown, "no API server was asked"},
		{"devel", "1.31.1", nil, unknown, `the API server says "devel"`},
	}
	for _, test := range tests {
		t.Run(test.version+" with "+test.istiod, func(t *testing.T) {
			content := fixture.Content(append(control(image("pilot:"+test.istiod)), test.more...)...)
			content.KubernetesVersion = test.version
			c := testCase{check: "kubernetes-version"}
			if test.status != pass {
				c.want = []finding{{test.status, istiodObject, "", test.message}}
			}
			c.compare(t, c.run(t, content))
		})
	}
}

func skewCases() []testCase {
	const field = "image of the sidecars"
	sidecars := func(image string, edits ...func(*corev1.Pod)) []any {
		cart := fixture.Deployment("shop", "old", fixture.Replicas(2))
		return fixture.PodsOf(cart, append([]func(*corev1.Pod){fixture.Sidecar, func(pod *corev1.Pod) {
			pod.Spec.Containers[len(pod.Spec.Containers)-1].Image = image
		}}, edits...)...)
	}
	plain := func(pod *corev1.Pod) { delete(pod.Labels, "networking.istio.io/tunnel") }
	of := func(revision string) func(*corev1.Pod) { return fixture.Annotated("istio.io/rev", revision) }
	component := func(pod, image string, istiods ...any) []any {
		name := map[string]string{"ztunnel-x": "istio-proxy", "istio-cni-node-x": "install-cni"}[pod]
		return append(edited(shop(), "Pod", pod, set([]any{map[string]any{"name": name, "image": image}}, "spec", "containers")), istiods...)
	}
	connected := func(address, image string, istiods ...any) []any {
		container := map[string]any{"name": "istio-proxy", "image": image, "env": []any{map[string]any{"name": "XDS_ADDRESS", "value": address}}}
		return append(edited(shop(), "Pod", "ztunnel-x", set([]any{container}, "spec", "containers")), istiods...)
	}
	// istiod is the mesh with another istiod and data plane of its version.
	istiod := func(version string, more ...any) []any {
		objects := control(image("pilot:" + version))
		objects = edited(objects, "Pod", "ztunnel-x", set([]any{map[string]any{"name": "istio-proxy", "image": "ztunnel:" + version}}, "spec", "containers"))
		objects = edited(objects, "Pod", "istio-cni-node-x", set([]any{map[string]any{"name": "install-cni", "image": "install-cni:" + version}}, "spec", "containers"))
		objects = without("Pod", "cart-5d8f7-0", objects)
		return append(objects, more...)
	}
	const ztunnel, cni = "Pod istio-system/ztunnel-x", "Pod istio-system/istio-cni-node-x"
	const ztunnelImage, cniImage = "spec.containers[istio-proxy].image", "spec.containers[install-cni].image"
	cases := []testCase{
		{name: "all the same", check: "proxy-skew", objects: shop()},
		{name: "a minor version older", check: "proxy-skew", objects: shop(sidecars("proxyv2:1.30.0"))},
		{name: "a patch newer", check: "proxy-skew", objects: shop(sidecars("proxyv2:1.31.9-distroless"))},
		{name: "sidecars two minor versions older", check: "proxy-skew", objects: shop(sidecars("proxyv2:1.29.8")), want: []finding{{warn, "Namespace shop", field, "the sidecars of 2 pods (old-5d8f7-0, old-5d8f7-1) are 1.29.8, more than one minor version older than istiod 1.31.1"}}},
		{name: "sidecars newer", check: "proxy-skew", objects: shop(sidecars("proxyv2:1.32.0")), want: []finding{{warn, "Namespace shop", field, "are 1.32.0, newer than istiod 1.31.1"}}},
		{name: "sidecars of the next major version", check: "proxy-skew", objects: shop(sidecars("proxyv2:2.0.0")), want: []finding{{warn, "Namespace shop", field, "newer"}}},
		{name: "sidecars of the last major version", check: "proxy-skew", objects: shop(sidecars("proxyv2:0.31.0", plain)), want: []finding{{warn, "Namespace shop", field, "older"}}},
		{name: "sidecars without a version", check: "proxy-skew", objects: shop(sidecars("proxyv2@sha256:0123")), want: []finding{{warn, "Namespace shop", field, "cannot be seen: image proxyv2@sha256:0123 has no tag"}}},
		{name: "sidecars of a tag that is no version", check: "proxy-skew", objects: shop(sidecars("proxyv2:latest")), want: []finding{{warn, "Namespace shop", field, `cannot be seen: "latest" is not a version`}}},
		{name: "sidecars of an older revision", check: "proxy-skew", objects: shop(fixture.Istiod("old", image("pilot:1.29.0")), sidecars("proxyv2:1.29.8", of("old")))},
		{name: "sidecars newer than their revision", check: "proxy-skew", objects: shop(fixture.Istiod("old", image("pilot:1.29.0")), sidecars("proxyv2:1.30.0", of("old"))), want: []finding{{warn, "Namespace shop", field, "newer than istiod 1.29.0"}}},
		{name: "sidecars of a tag suit one revision", check: "proxy-skew", objects: shop(fixture.Istiod("old", image("pilot:1.29.0")), sidecars("proxyv2:1.29.8", of("prod")))},
		{name: "gateways are not sidecars", check: "proxy-skew", objects: shop(sidecars("proxyv2:1.20.0", fixture.Labelled("gateway.networking.k8s.io/gateway-name", "way")))},

		{name: "ztunnel a minor version older", check: "proxy-skew", objects: component("ztunnel-x", "ztunnel:1.30.4")},
		{name: "ztunnel two minor versions older", check: "proxy-skew", objects: component("ztunnel-x", "ztunnel:1.29.4"), want: []finding{{fail, ztunnel, ztunnelImage, "ztunnel is 1.29.4 in 1 pod, more than one minor version older than istiod 1.31.1"}}},
		{name: "ztunnel newer", check: "proxy-skew", objects: component("ztunnel-x", "ztunnel:1.32.0"), want: []finding{{fail, ztunnel, ztunnelImage, "newer than istiod 1.31.1"}}},
		{name: "ztunnel without a version", check: "proxy-skew", objects: component("ztunnel-x", "ztunnel"), want: []finding{{warn, ztunnel, ztunnelImage, "whether istiod supports this ztunnel cannot be seen"}}},
		{name: "ztunnel without an image", check: "proxy-skew", objects: component("ztunnel-x", ""), want: []finding{{warn, ztunnel, ztunnelImage, "no image is known"}}},
		{name: "ztunnel suits one of two revisions", check: "proxy-skew", objects: component("ztunnel-x", "ztunnel:1.29.4", fixture.Istiod("old", image("pilot:1.29.0")))},
		{name: "ztunnel suits another revision than its own", check: "proxy-skew", objects: connected("istiod.istio-system.svc:15012", "ztunnel:1.29.4", fixture.Istiod("old", image("pilot:1.29.0"))), want: []finding{{fail, ztunnel, ztunnelImage, "older than istiod 1.31.1"}}},
		{name: "ztunnel suits its own revision", check: "proxy-skew", objects: connected("https://istiod-old.istio-system.svc:15012", "ztunnel:1.29.4", fixture.Istiod("old", image("pilot:1.29.0")))},
		{name: "ztunnel is connected elsewhere", check: "proxy-skew", objects: connected("example.com:15012", "ztunnel:1.30.4")},
		{name: "istio-cni two minor versions older", check: "proxy-skew", objects: component("istio-cni-node-x", "install-cni:1.29.4"), want: []finding{{fail, cni, cniImage, "istio-cni is 1.29.4"}}},
		{name: "istio-cni newer", check: "proxy-skew", objects: component("istio-cni-node-x", "install-cni:1.32.0-distroless"), want: []finding{{fail, cni, cniImage, "newer"}}},
		{name: "no version of istiod", check: "proxy-skew", objects: control(image("pilot:latest")), want: []finding{{skip, "", "", "no istiod's version"}}},

		{name: "sidecars that reject what istiod sends", check: "proxy-skew", objects: istiod("1.29.2", sidecars("proxyv2:1.29.1")), want: []finding{{fail, "Namespace shop", field, "are 1.29.1 and reject the HBONE listeners of istiod 1.29.2"}}},
		{name: "so do others", check: "proxy-skew", objects: istiod("1.30.1", sidecars("proxyv2:1.29.0")), want: []finding{{fail, "Namespace shop", field, "of istiod 1.30.1"}}},
		{name: "they do without HBONE", check: "proxy-skew", objects: istiod("1.29.2", sidecars("proxyv2:1.29.1", plain))},
		{name: "they know it", check: "proxy-skew", objects: istiod("1.29.4", sidecars("proxyv2:1.29.2"))},
	}
	for _, version := range []string{"1.29.1", "1.29.5", "1.30.2"} {
		cases = append(cases, testCase{name: "istiod " + version + " heeds them", check: "proxy-skew", objects: istiod(version, sidecars("proxyv2:1.29.1"))})
	}
	return cases
}

func multiclusterCases() []testCase {
	injector := fixture.Injector("", false)
	for i := range injector.Webhooks {
		injector.Webhooks[i].ClientConfig.Service = &admissionv1.ServiceReference{Namespace: "istio-system", Name: "istiod"}
	}
	url := "https://istiod.example.com/inject"
	remote := fixture.Injector("", false)
	for i := range remote.Webhooks {
		remote.Webhooks[i].ClientConfig.Service, remote.Webhooks[i].ClientConfig.URL = nil, &url
	}
	values := func(text string) *corev1.ConfigMap {
		configMap := fixture.MeshConfig("")
		configMap.Name, configMap.Data = "istio-sidecar-injector", map[string]string{"values": text}
		return configMap
	}
	root := fixture.Namespace("istio-system", labels{"topology.istio.io/network": "east"})
	inNetwork := append(without("Namespace", "istio-system", shop()), root)
	eastWest := `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: between, namespace: istio-system}
spec: {gatewayClassName: istio-east-west, listeners: []}`
	gateway := func(of string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: between, namespace: istio-system, labels: " + of + "}\nspec: {}"
	}
	const injectorConfig = "ConfigMap istio-system/istio-sidecar-injector"
	multi := func(edit func(*appsv1.Deployment)) []any {
		return append(control(edit), eastWest)
	}
	return []testCase{
		{name: "one cluster", check: "multicluster", objects: shop(values(`{"global": {"network": "", "multiCluster": {"clusterName": "a"}}}`))},
		{name: "values that cannot be read", check: "multicluster", objects: shop(values("<redacted>: [")), want: []finding{{unknown, "", "", "it cannot be told without Istio ConfigMaps: ConfigMap istio-system/"}}},
		{name: "istiod behind a URL, and here", check: "multicluster", objects: append(without("MutatingWebhookConfiguration", "istio-sidecar-injector", shop()), remote)},
		{name: "no Istio at all", check: "multicluster", objects: []any{fixture.Namespace("shop", nil)}},
		{name: "istiod elsewhere, by URL", check: "multicluster", objects: []any{fixture.Namespace("shop", nil), remote}, want: []finding{{fail, "", "", "injection webhooks call https://istiod.example.com/inject, and no istiod runs here"}}},
		{name: "istiod elsewhere, by a Service", check: "multicluster", objects: []any{fixture.Namespace("shop", nil), injector}, want: []finding{{fail, "", "", "call Service istio-system/istiod"}}},
		{name: "istiod elsewhere, by the values", check: "multicluster", objects: shop(values(`{"global": {"remotePilotAddress": "10.0.0.1"}}`)), want: []finding{{fail, injectorConfig, "data.values, global.remotePilotAddress", "the istiod at 10.0.0.1"}}},
		{name: "istiod for others", check: "multicluster", objects: control(environment("EXTERNAL_ISTIOD", "true")), want: []finding{{fail, istiodObject, "spec.template.spec.containers[].env[EXTERNAL_ISTIOD]", "serves other clusters"}}},
		{name: "istiod for this cluster only", check: "multicluster", objects: control(environment("EXTERNAL_ISTIOD", "false"))},
		{name: "a network, by the root namespace", check: "multicluster", objects: inNetwork, want: []finding{{warn, "Namespace istio-system", "", "the cluster is in network east, but revision default does not serve ambient pods across networks"}}},
		{name: "a network, by the values", check: "multicluster", objects: shop(values(`{"global": {"network": "west"}}`)), want: []finding{{warn, injectorConfig, "", "in network west"}}},
		{name: "an east-west gateway", check: "multicluster", objects: multi(func(*appsv1.Deployment) {}), want: []finding{{warn, "Gateway istio-system/between", "", "there is an east-west gateway, but"}}},
		{name: "an east-west gateway of sidecars", check: "multicluster", objects: shop(gateway("{istio: eastwestgateway}")), want: []finding{{warn, "Service istio-system/between", "", "a gateway to other networks"}}},
		{name: "the same by its other label", check: "multicluster", objects: shop(gateway("{app: istio-eastwestgateway}")), want: []finding{{warn, "Service istio-system/between", "", "a gateway to other networks"}}},
		{name: "a gateway to a network", check: "multicluster", objects: shop(gateway("{topology.istio.io/network: west}")), want: []finding{{warn, "Service istio-system/between", "", "a gateway to west"}}},
		{name: "several networks, served", check: "multicluster", objects: multi(environment("AMBIENT_ENABLE_MULTI_NETWORK", "true")), want: []finding{{warn, "Gateway istio-system/between", "", "needs waypoints of the same names"}}},
		{name: "several networks, not seen", check: "multicluster", objects: multi(fromElsewhere("AMBIENT_ENABLE_MULTI_NETWORK")), want: []finding{{warn, "Gateway istio-system/between", "", "cannot be seen"}}},
		{name: "several networks and revisions", check: "multicluster", objects: append(multi(environment("AMBIENT_ENABLE_MULTI_NETWORK", "true")), fixture.Istiod("old")), want: []finding{{warn, "Gateway istio-system/between", "", "same names"}, {warn, "Gateway istio-system/between", "", "revision old does not serve"}}},
	}
}

func machineCases() []testCase {
	entry := func(namespace, metadata, spec string) string {
		return "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: vm, namespace: " + namespace + metadata + "}\nspec: {address: 10.0.0.9" + spec + "}"
	}
	group := func(namespace, app string) string {
		return "apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {name: vms, namespace: " + namespace + "}\nspec: {metadata: {labels: {app: " + app + "}}, template: {serviceAccount: vm}}"
	}
	serviceEntry := func(rest string) string {
		return "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: outside, namespace: shop}\nspec: {hosts: [x.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC" + rest + "}"
	}
	const registered = `, annotations: {istio.io/autoRegistrationGroup: vms}`
	const vm, tunnel = "WorkloadEntry shop/vm", "metadata.labels[networking.istio.io/tunnel]"
	headless := "apiVersion: v1\nkind: Service\nmetadata: {name: none, namespace: shop}\nspec: {ports: [{port: 80}]}"
	return []testCase{
		{name: "none", check: "virtual-machines", objects: shop()},
		{name: "an address outside the mesh", check: "virtual-machines", objects: shop(entry("shop", "", ", labels: {app: cart}"), entry("other", "", ""))},
		{name: "an endpoint outside the mesh", check: "virtual-machines", objects: shop(serviceEntry(", endpoints: [{address: 10.0.0.9}]"))},
		{name: "it backs a Service", check: "virtual-machines", objects: shop(headless, entry("shop", "", ", serviceAccount: cart, labels: {app: cart}")), want: []finding{{fail, vm, tunnel, "the virtual machine backs Service cart and is not known to accept HBONE"}}},
		{name: "it backs a Service, by its own labels", check: "virtual-machines", objects: shop(entry("shop", registered+", labels: {app: cart}", ", labels: {app: other}")), want: []finding{{fail, vm, tunnel, "Service cart"}}},
		{name: "it has a TLS mode and backs a Service", check: "virtual-machines", objects: shop(entry("shop", "", `, labels: {app: cart, security.istio.io/tlsMode: istio}`)), want: []finding{{fail, vm, tunnel, "Service cart"}}},
		{name: "it backs a ServiceEntry", check: "virtual-machines", objects: shop(serviceEntry(", workloadSelector: {labels: {app: vm}}"), entry("shop", "", ", serviceAccount: vm, labels: {app: vm}")), want: []finding{{fail, vm, tunnel, "ServiceEntry outside"}}},
		{name: "a ServiceEntry names it", check: "virtual-machines", objects: shop(serviceEntry(", endpoints: [{address: 10.0.0.8}, {address: 10.0.0.9, serviceAccount: vm}]")), want: []finding{{fail, "ServiceEntry shop/outside", "spec.endpoints[1]", "backs ServiceEntry outside"}}},
		{name: "a ServiceEntry names it by its TLS mode", check: "virtual-machines", objects: shop(serviceEntry(", endpoints: [{address: 10.0.0.9, labels: {security.istio.io/tlsMode: istio}}]")), want: []finding{{fail, "ServiceEntry shop/outside", "spec.endpoints[0]", "backs"}}},
		{name: "another namespace's ServiceEntries", check: "virtual-machines", objects: shop(
			strings.Replace(serviceEntry(", workloadSelector: {labels: {app: vm}}"), "namespace: shop", "namespace: other", 1),
			strings.Replace(serviceEntry(", endpoints: [{address: 10.0.0.9, serviceAccount: vm}]"), "outside, namespace: shop", "there, namespace: other", 1),
			serviceEntry(", endpoints: [{address: 10.0.0.9}]"), entry("shop", "", ", serviceAccount: vm, labels: {app: vm}"),
		), want: []finding{{warn, vm, "", "stays on its sidecar"}}},
		{name: "it accepts HBONE", check: "virtual-machines", objects: shop(entry("shop", "", `, serviceAccount: cart, labels: {app: cart, networking.istio.io/tunnel: http}`)), want: []finding{{warn, vm, "", "part of what serves it is ambient"}}},
		{name: "it backs nothing", check: "virtual-machines", objects: shop(entry("shop", "", ", serviceAccount: cart, labels: {app: vm}")), want: []finding{{warn, vm, "", "stays on its sidecar"}}},
		{name: "a group that backs a Service", check: "virtual-machines", objects: shop(group("shop", "cart")), want: []finding{{warn, "WorkloadGroup shop/vms", "", "and back Service cart"}}},
		{name: "a group that backs nothing", check: "virtual-machines", objects: shop(group("shop", "vm")), want: []finding{{warn, "WorkloadGroup shop/vms", "", "register by this group"}}},
		{name: "elsewhere", check: "virtual-machines", objects: shop(entry("other", "", ", serviceAccount: cart, labels: {app: cart}"), group("legacy", "x")), want: []finding{{warn, "", "", "(1 machine registered now) in legacy, other"}}},
	}
}

func spireCases() []testCase {
	socket := corev1.Volume{Name: "workload-socket", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "csi.spiffe.io"}}}
	onHost := corev1.Volume{Name: "workload-socket", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/run/spire/sockets"}}}
	empty := corev1.Volume{Name: "workload-socket", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
	mounted := func(volume corev1.Volume, container string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.Volumes = append(pod.Spec.Volumes, volume)
			for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
				for i := range list {
					if list[i].Name == container {
						list[i].VolumeMounts = []corev1.VolumeMount{{Name: volume.Name, MountPath: "/var/run/secrets/workload-spiffe-uds"}}
					}
				}
			}
		}
	}
	db := fixture.Deployment("shop", "db")
	pods := func(edits ...func(*corev1.Pod)) []any { return shop(db, fixture.PodsOf(db, edits...)) }
	asking := fixture.Deployment("shop", "db", fixture.TemplateAnnotation("inject.istio.io/templates", "sidecar,spire"))
	gateway := fixture.Deployment("shop", "edge", fixture.TemplateAnnotation("inject.istio.io/templates", "gateway,spire"))
	application := fixture.Deployment("shop", "db", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Volumes = []corev1.Volume{socket} })
	optedOut := fixture.Deployment("shop", "db", fixture.TemplateLabel("sidecar.istio.io/inject", "false"), func(d *appsv1.Deployment) { d.Spec.Template.Spec.Volumes = []corev1.Volume{socket} })
	config := func(text string) *corev1.ConfigMap {
		configMap := fixture.MeshConfig("")
		configMap.Name, configMap.Data = "istio-sidecar-injector", map[string]string{"config": text}
		return configMap
	}
	const template = "defaultTemplates: [%s]\ntemplates:\n  sidecar: 'spec: {}'\n  spire: 'spec: {volumes: [{csi: {driver: csi.spiffe.io}}]}'\n"
	ztunnel := func(image string, edit func(*appsv1.DaemonSet)) []any {
		set := fixture.Ztunnel("istio-system")[0].(*appsv1.DaemonSet)
		set.Spec.Template.Spec.Containers[0].Image = image
		edit(set)
		return append(without("DaemonSet", "ztunnel", shop()), set)
	}
	byVariable := func(name, value string) func(*appsv1.DaemonSet) {
		return func(set *appsv1.DaemonSet) {
			setVariable(&set.Spec.Template, corev1.EnvVar{Name: name, Value: value})
		}
	}
	agent := fixture.DaemonSet("spire", "spire-agent")
	labelled := fixture.DaemonSet("spire", "agent", func(set *appsv1.DaemonSet) {
		set.Spec.Template.Labels = labels{"app.kubernetes.io/name": "spire-agent"}
	})
	const volumes, cannot = "spec.template.spec.volumes", "which ztunnel cannot use"
	return []testCase{
		{name: "none", check: "spire", objects: shop()},
		{name: "the volume that every sidecar has", check: "spire", objects: pods(fixture.Sidecar, mounted(empty, "istio-proxy"))},
		{name: "the driver, in sidecars", check: "spire", objects: pods(fixture.Sidecar, mounted(socket, "istio-proxy")), want: []finding{{fail, "Deployment shop/db", volumes, cannot}}},
		{name: "the driver, in native sidecars", check: "spire", objects: pods(fixture.NativeSidecar, mounted(socket, "istio-proxy")), want: []finding{{fail, "Deployment shop/db", volumes, cannot}}},
		{name: "the agent's directory, in sidecars", check: "spire", objects: pods(fixture.Sidecar, mounted(onHost, "istio-proxy")), want: []finding{{fail, "Deployment shop/db", volumes, cannot}}},
		{name: "the injection template", check: "spire", objects: shop(asking, agent), want: []finding{{fail, "Deployment shop/db", volumes, cannot}}},
		{name: "a pod that nothing controls", check: "spire", objects: shop(fixture.Pod("shop", "bare", fixture.Sidecar, mounted(socket, "istio-proxy"))), want: []finding{{fail, "Pod shop/bare", "spec.volumes", cannot}}},
		{name: "a gateway keeps its proxy", check: "spire", objects: shop(gateway)},
		{name: "the application alone", check: "spire", objects: shop(application), want: []finding{{warn, "Deployment shop/db", volumes, "keeps that identity"}}},
		{name: "an application outside the mesh", check: "spire", objects: shop(optedOut)},
		{name: "every sidecar", check: "spire", objects: shop(config(fmt.Sprintf(template, "sidecar, spire"))), want: []finding{{fail, "ConfigMap istio-system/istio-sidecar-injector", "data.config", "the default injection template"}}},
		{name: "a template that nobody uses", check: "spire", objects: shop(config(fmt.Sprintf(template, "sidecar")))},
		{name: "a configuration that cannot be read", check: "spire", objects: shop(config("defaultTemplates: {")), want: []finding{{unknown, "", "", "it cannot be told without Istio ConfigMaps: ConfigMap istio-system/"}}},
		{name: "ztunnel", check: "spire", objects: ztunnel("ztunnel:1.31.1", func(set *appsv1.DaemonSet) { set.Spec.Template.Spec.Volumes = []corev1.Volume{socket} }), want: []finding{{fail, ztunnelObject, "spec.template.spec", "which Istio's ztunnel cannot"}}},
		{name: "ztunnel, by its environment", check: "spire", objects: ztunnel("ztunnel:1.31.1", byVariable("SPIRE_ENABLED", "true")), want: []finding{{fail, ztunnelObject, "spec.template.spec", "which Istio's ztunnel cannot"}}},
		{name: "ztunnel, by its CA", check: "spire", objects: ztunnel("ztunnel:1.31.1", byVariable("CA_ADDRESS", "spire-server.spire:443")), want: []finding{{fail, ztunnelObject, "spec.template.spec", "which Istio's ztunnel cannot"}}},
		{name: "ztunnel with istiod's CA", check: "spire", objects: ztunnel("ztunnel:1.31.1", byVariable("CA_ADDRESS", "istiod.istio-system.svc:15012"))},
		{name: "a vendor's ztunnel", check: "spire", objects: ztunnel("ztunnel:1.31.1-solo", byVariable("SPIRE_ENABLED", "true")), want: []finding{{warn, ztunnelObject, "spec.template.spec", "whether this vendor's build 1.31.1-solo can"}}},
		{name: "elsewhere", check: "spire", objects: shop(fixture.Pod("other", "far", fixture.Sidecar, fixture.Annotated("inject.istio.io/templates", "sidecar,spire"))), want: []finding{{warn, "", "", "the proxies of 1 pod elsewhere take their certificates from SPIRE: ztunnel's must chain to a root that they trust (other/far)"}}},
		{name: "the agent alone", check: "spire", objects: shop(agent), want: []finding{{warn, "DaemonSet spire/spire-agent", "", "no proxy that could be seen"}}},
		{name: "the agent by its label", check: "spire", objects: shop(labelled), want: []finding{{warn, "DaemonSet spire/agent", "", "no proxy that could be seen"}}},
	}
}

func gatewayAPICases() []testCase {
	const gateways = "gateways.gateway.networking.k8s.io"
	const version, channel = "metadata.annotations[gateway.networking.k8s.io/bundle-version]", "metadata.annotations[gateway.networking.k8s.io/channel]"
	none := without("CustomResourceDefinition", gateways, shop())
	with := func(bundle, channel string) []any {
		return append(none, fixture.GatewayAPI("gateways", bundle, channel))
	}
	route := func(kind string) string {
		return "apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: " + kind + "\nmetadata: {name: r, namespace: other}\nspec: {}"
	}
	grpc := "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: r, namespace: other}\nspec: {}"
	older := func(version string, more ...any) []any { return append(control(image("pilot:"+version)), more...) }
	const tcp, tls = "CustomResourceDefinition tcproutes.gateway.networking.k8s.io", "CustomResourceDefinition tlsroutes.gateway.networking.k8s.io"
	const api = "CustomResourceDefinition " + gateways
	return []testCase{
		{name: "installed", check: "gateway-api", objects: shop()},
		{name: "not installed", check: "gateway-api", objects: none, want: []finding{{warn, api, "", "Gateway API is not installed, so there can be no waypoint"}}},
		{name: "not among what was read", check: "gateway-api", objects: append(none, grpc), want: []finding{{warn, "", "", "its definitions are not among what was read"}}},
		{name: "no version", check: "gateway-api", objects: with("", ""), want: []finding{{warn, api, version, `"" is not a version`}}},
		{name: "too old", check: "gateway-api", objects: with("v0.8.1", "standard"), want: []finding{{warn, api, version, "Gateway API is v0.8.1"}}},
		{name: "the oldest", check: "gateway-api", objects: with("v1.0.0", "standard")},
		{name: "TCPRoutes that nobody uses", check: "gateway-api", objects: shop(fixture.GatewayAPI("tcproutes", "v1.4.0", "experimental"))},
		{name: "TCPRoutes", check: "gateway-api", objects: shop(fixture.GatewayAPI("tcproutes", "v1.6.0", "standard"), route("TCPRoute"))},
		{name: "TCPRoutes of a candidate", check: "gateway-api", objects: shop(fixture.GatewayAPI("tcproutes", "v1.6.0-rc.1", "standard"), route("TCPRoute"))},
		{name: "TCPRoutes that are too old", check: "gateway-api", objects: append(with("v1.5.0", "experimental"), fixture.GatewayAPI("tcproutes", "v1.5.0", "experimental"), route("TCPRoute")), want: []finding{{warn, tcp, version, "istiod 1.31.1 (revision default) ignores 1 TCPRoute: their definition is of Gateway API 1.5.0, older than 1.6.0"}}},
		{name: "TCPRoutes before 1.31", check: "gateway-api", objects: older("1.30.0", fixture.GatewayAPI("tcproutes", "v1.6.0", "standard"), route("TCPRoute"))},
		{name: "TCPRoutes that an older istiod reads, in another channel", check: "gateway-api", objects: older("1.30.0", fixture.GatewayAPI("tcproutes", "v1.5.0", "experimental"), route("TCPRoute")), want: []finding{{warn, api, channel, "1 TCPRoute of the experimental channel"}}},
		{name: "TCPRoutes without a version", check: "gateway-api", objects: shop(fixture.GatewayAPI("tcproutes", "new", "standard"), route("TCPRoute")), want: []finding{{warn, tcp, version, "does not state a version"}}},
		{name: "TLSRoutes that are too old", check: "gateway-api", objects: append(with("v1.4.0", "experimental"), fixture.GatewayAPI("tlsroutes", "v1.4.0", "experimental"), route("TLSRoute")), want: []finding{{warn, tls, version, "older than 1.5.0"}}},
		{name: "TLSRoutes that are too new", check: "gateway-api", objects: older("1.29.0", fixture.GatewayAPI("tlsroutes", "v1.5.0", "standard"), route("TLSRoute")), want: []finding{{warn, tls, version, "versions before 1.30 read those before 1.5.0 only"}}},
		{name: "TLSRoutes of the first istiod that reads them", check: "gateway-api", objects: older("1.30.0", fixture.GatewayAPI("tlsroutes", "v1.5.0", "standard"), route("TLSRoute"))},
		{name: "TLSRoutes for a newer istiod", check: "gateway-api", objects: older("2.0.0", fixture.GatewayAPI("tlsroutes", "v1.5.0", "standard"), route("TLSRoute"))},
		{name: "TLSRoutes for one of two revisions", check: "gateway-api", objects: shop(fixture.Istiod("old", image("pilot:1.29.0")), fixture.GatewayAPI("tlsroutes", "v1.5.0", "standard"), route("TLSRoute")), want: []finding{{warn, tls, version, "istiod 1.29.0 (revision old)"}}},
		{name: "GRPCRoutes that are too old", check: "gateway-api", objects: append(with("v1.0.0", "experimental"), fixture.GatewayAPI("grpcroutes", "v1.0.0", "experimental"), grpc), want: []finding{{warn, "CustomResourceDefinition grpcroutes.gateway.networking.k8s.io", version, "older than 1.1.0"}}},
	}
}

// The remedy must be a command that fits the installation: a wrong one breaks
// what is there.
func TestRemediesFitTheInstallation(t *testing.T) {
	helm := func(release string) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) { d.Annotations = labels{"meta.helm.sh/release-name": release} }
	}
	istioctl := func(d *appsv1.Deployment) { d.Labels["operator.istio.io/managed"] = "Reconcile" }
	sail := func(d *appsv1.Deployment) {
		d.OwnerReferences = []metav1.OwnerReference{{APIVersion: "sailoperator.io/v1", Kind: "IstioRevision", Name: "default"}}
	}
	chart := func(version string) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) { d.Labels["helm.sh/chart"] = "istiod-" + version }
	}
	off := func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Env = nil }
	elsewhere := func(d *appsv1.Deployment) { d.Namespace = "mesh" }
	gke := nodeOf("gke", func(n *corev1.Node) { n.Labels = labels{"cloud.google.com/gke-nodepool": "a"} })
	const parts = "--set values.profile=ambient --set components.cni.enabled=true --set components.ztunnel.enabled=true"
	const options = ", with every -f and --set of the existing installation"
	cni := fixture.CNI("kube-system")[0].(*appsv1.DaemonSet)
	cni.Annotations = labels{"meta.helm.sh/release-name": "mesh-cni"}
	trusted := fixture.Ztunnel("mesh")[:1]
	nothing := func(*appsv1.Deployment) {}
	tests := []struct {
		name, check string
		revision    string
		edit        func(*appsv1.Deployment)
		more        []any
		want        string
	}{
		{"istiod by Helm", "istiod-ambient", "", helm("control"), nil, "helm -n istio-system upgrade control istio/istiod --version 1.31.1 --reuse-values --set profile=ambient"},
		{"istiod by Helm, with its chart's version", "istiod-ambient", "", both(helm("control"), chart("1.31.1-tetrate0")), nil, "helm -n istio-system upgrade control istio/istiod --version 1.31.1-tetrate0 --reuse-values --set profile=ambient"},
		{"a revision by Helm", "istiod-ambient", "canary", both(helm("istiod-canary"), chart("1.30.9")), nil, "helm -n istio-system upgrade istiod-canary istio/istiod --version 1.30.9 --reuse-values --set profile=ambient"},
		{"istiod by Helm, of no version", "istiod-ambient", "", both(helm("control"), image("pilot:latest")), nil, "helm -n istio-system upgrade control istio/istiod --reuse-values --set profile=ambient"},
		{"istiod by istioctl", "istiod-ambient", "", istioctl, nil, "istioctl install " + parts + options},
		{"a revision by istioctl", "istiod-ambient", "canary", istioctl, nil, "istioctl install --revision canary " + parts + options},
		{"istiod by istioctl elsewhere, on GKE", "istiod-ambient", "", both(istioctl, elsewhere), []any{gke}, "istioctl install --set values.global.istioNamespace=mesh " + parts + " --set values.global.platform=gke" + options},
		{"istiod by the Sail operator", "istiod-ambient", "", sail, nil, "set spec.profile: ambient in the Sail operator's Istio that IstioRevision default belongs to"},
		{"istiod by whatever", "istiod-ambient", "", chart("1.0.0"), nil, "installed with Helm: helm -n istio-system upgrade istiod istio/istiod --version 1.31.1 --reuse-values --set profile=ambient; installed with istioctl: istioctl install " + parts + options},
		{"istio-cni by Helm", "cni-ambient", "", helm("istiod"), []any{gke}, "helm -n istio-system install istio-cni istio/cni --version 1.31.1 --set profile=ambient --set global.platform=gke"},
		{"istio-cni by Helm, which is there", "cni-ambient", "", helm("istiod"), []any{cni}, "helm -n kube-system upgrade mesh-cni istio/cni --version 1.31.1 --reuse-values --set profile=ambient"},
		{"istio-cni by istioctl", "cni-nodes", "", istioctl, nil, "istioctl install " + parts + options},
		{"istio-cni by the Sail operator", "cni-ambient", "", sail, nil, "set spec.profile: ambient in the Sail operator's IstioCNI default"},
		{"ztunnel by Helm", "ztunnel-nodes", "", helm("istiod"), nil, "helm -n istio-system install ztunnel istio/ztunnel --version 1.31.1"},
		{"ztunnel by Helm, of a revision elsewhere", "ztunnel-nodes", "canary", both(helm("istiod"), elsewhere), nil, "helm -n mesh install ztunnel istio/ztunnel --version 1.31.1 --set revision=canary --set istioNamespace=mesh"},
		{"ztunnel by the Sail operator", "ztunnel-nodes", "", sail, nil, "create a ZTunnel named default for the Sail operator"},
		{"trust by Helm", "trusted-node-accounts", "", helm("control"), trusted, "helm -n istio-system upgrade control istio/istiod --version 1.31.1 --reuse-values --set profile=ambient --set trustedZtunnelNamespace=mesh --set trustedZtunnelName=ztunnel"},
		{"trust by istioctl", "trusted-node-accounts", "", istioctl, trusted, "istioctl install as before, with --set for values.pilot.trustedZtunnelNamespace=mesh and values.pilot.trustedZtunnelName=ztunnel"},
		{"trust by the Sail operator", "trusted-node-accounts", "", sail, trusted, "set spec.values.pilot.trustedZtunnelNamespace=mesh and values.pilot.trustedZtunnelName=ztunnel in the Sail operator's Istio"},
		{"trust by whatever", "trusted-node-accounts", "", nothing, trusted, "installed with Helm: helm -n istio-system upgrade istiod istio/istiod --version 1.31.1 --reuse-values --set profile=ambient --set trustedZtunnelNamespace=mesh --set trustedZtunnelName=ztunnel; installed with istioctl: install as before, with --set for values.pilot.trustedZtunnelNamespace=mesh and values.pilot.trustedZtunnelName=ztunnel"},
		{"all, where there is no istiod", "ztunnel-nodes", "", nil, nil, "install Istio with its ambient profile"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			objects := []any{fixture.Namespace("shop", nil), test.more}
			if test.edit != nil {
				objects = append(objects, fixture.Istiod(test.revision, both(off, test.edit)))
			}
			results := testCase{check: test.check}.run(t, fixture.Content(objects...))
			if len(results) != 1 || results[0].Remedy != test.want {
				t.Errorf("it says\n  %s\nnot\n  %s", describe(results), test.want)
			}
		})
	}
}

// What a check says of a live cluster, where pods elsewhere are known by their
// metadata, it says of a dump, too.
func TestPrerequisitesSayTheSameOfClustersAndDumps(t *testing.T) {
	for _, test := range append(spireCases(), machineCases()...) {
		t.Run(test.check+"/"+test.name, func(t *testing.T) {
			whole, flat := test.run(t, test.content()), test.run(t, metadataOnly(test.content(), "shop"))
			if describe(whole) != describe(flat) {
				t.Errorf("the dump: %s\nthe cluster: %s", describe(whole), describe(flat))
			}
		})
	}
}

// docs/checks.md is made from these.
func TestPrerequisitesAndComponentsAreExplained(t *testing.T) {
	for _, check := range checks.EnrollGates() {
		if check.Category != checks.CategoryPrerequisites && check.Category != checks.CategoryComponents {
			continue
		}
		if check.About == "" || check.Why == "" || !strings.HasSuffix(check.About, ".") || !strings.HasSuffix(check.Why, ".") {
			t.Errorf("%s: about %q, why %q", check.ID, check.About, check.Why)
		}
	}
}
