package checks_test

import (
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func cniCases() []testCase {
	bare := without("DaemonSet", "kindnet", shop())
	cluster := func(more ...any) []any { return append(append([]any{}, bare...), more...) }
	plugin := func(name string) *appsv1.DaemonSet { return fixture.DaemonSet("kube-system", name) }
	cilium := func(settings string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cilium-config, namespace: kube-system}\ndata: {" + settings + "}"
	}
	const config = "ConfigMap kube-system/cilium-config"
	calico := func(image string, variables ...string) *appsv1.DaemonSet {
		set := plugin("calico-node")
		set.Spec.Template.Spec.Containers = []corev1.Container{{Name: "calico-node", Image: image}}
		for i := 0; i < len(variables); i += 2 {
			setVariable(&set.Spec.Template, corev1.EnvVar{Name: variables[i], Value: variables[i+1]})
		}
		return set
	}
	felix := func(name, spec string) string {
		return "apiVersion: crd.projectcalico.org/v1\nkind: FelixConfiguration\nmetadata: {name: " + name + "}\nspec: {" + spec + "}"
	}
	const node, recent = "DaemonSet kube-system/calico-node", "docker.io/calico/node:v3.30.1"
	const byDefault, connectTime, environment = "FelixConfiguration default", "spec.bpfConnectTimeLoadBalancing", "spec.template.spec.containers[].env[FELIX_BPFCONNECTTIMELOADBALANCING]"
	aws := func(cni string, variables ...string) []any {
		set := plugin("aws-node")
		set.Spec.Template.Spec.Containers[0].Name = "aws-node"
		for i := 0; i < len(variables); i += 2 {
			setVariable(&set.Spec.Template, corev1.EnvVar{Name: variables[i], Value: variables[i+1]})
		}
		agent := fixture.CNI("istio-system")[0].(*appsv1.DaemonSet)
		agent.Spec.Template.Spec.Containers[0].Image = "install-cni:" + cni
		return append(without("DaemonSet", "istio-cni-node", bare), set, agent)
	}
	told := aws("1.30.0", "ENABLE_POD_ENI", "true")
	setVariable(&told[len(told)-1].(*appsv1.DaemonSet).Spec.Template, corev1.EnvVar{Name: "AMBIENT_ENABLE_AWS_BRANCH_ENI_PROBE", Value: "true"})
	secured := fixture.Deployment("shop", "secured")
	interfaces := fixture.PodsOf(secured, fixture.Sidecar, fixture.Annotated("vpc.amazonaws.com/pod-eni", "[{}]"))
	const enforcing = "spec.template.spec.containers[].env[POD_SECURITY_GROUP_ENFORCING_MODE]"
	noProbes := fixture.CNIConfig("istio-system", labels{"AMBIENT_ENABLED": "true", "AMBIENT_ENABLE_AWS_BRANCH_ENI_PROBE": "false"})

	// on is a node of a distribution, and istio-cni with one of its directories.
	on := func(kubelet, runtime, label, volume, directory string) []any {
		name := "n"
		if label == "k3d" {
			name, label = "k3d-x-server-0", ""
		}
		machine := nodeOf(name, func(n *corev1.Node) {
			n.Status.NodeInfo = corev1.NodeSystemInfo{KubeletVersion: kubelet, ContainerRuntimeVersion: runtime}
			metav1.SetMetaDataLabel(&n.ObjectMeta, label, "x")
		})
		agent := fixture.CNI("istio-system")[0].(*appsv1.DaemonSet)
		agent.Spec.Template.Spec.Volumes = []corev1.Volume{
			{Name: "other", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/opt"}}},
			{Name: volume, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: directory}}},
		}
		return append(without("DaemonSet", "istio-cni-node", bare), machine, agent)
	}
	const path = "spec.template.spec.volumes[1].hostPath.path"

	cases := []testCase{
		{name: "kindnet", check: "cni-compatibility", objects: shop()},
		{name: "none that is known", check: "cni-compatibility", objects: cluster(plugin("something")), want: []finding{{warn, "", "", "cannot be told"}}},
		{name: "one that is not documented", check: "cni-compatibility", objects: cluster(plugin("antrea-agent")), want: []finding{{warn, "DaemonSet kube-system/antrea-agent", "", "says nothing of ambient mode on Antrea"}}},
		{name: "OVN-Kubernetes", check: "cni-compatibility", objects: cluster(plugin("ovnkube-node")), want: []finding{{warn, "DaemonSet kube-system/ovnkube-node", "", "routes through the host"}}},

		{name: "Cilium", check: "cni-compatibility", objects: cluster(plugin("cilium"), cilium(`cni-exclusive: "false", kube-proxy-replacement: "true", bpf-lb-sock-hostns-only: "true", enable-bpf-masquerade: "false"`))},
		{name: "Cilium that says nothing", check: "cni-compatibility", objects: cluster(plugin("cilium"), cilium(``))},
		{name: "Cilium beside kube-proxy", check: "cni-compatibility", objects: cluster(plugin("cilium"), cilium(`kube-proxy-replacement: "disabled"`))},
		{name: "Cilium that cannot be seen", check: "cni-compatibility", objects: cluster(plugin("cilium")), want: []finding{{unknown, "DaemonSet kube-system/cilium", "", "there is no ConfigMap cilium-config"}}},
		{name: "Cilium elsewhere", check: "cni-compatibility", objects: cluster(fixture.DaemonSet("cilium", "cilium"), cilium(``)), want: []finding{{unknown, "DaemonSet cilium/cilium", "", "there is no ConfigMap cilium-config"}}},
		{name: "Cilium alone", check: "cni-compatibility", objects: cluster(plugin("cilium"), cilium(`cni-exclusive: "true"`)), want: []finding{{fail, config, "data.cni-exclusive", "removes other CNI plugins"}}},
		{name: "Cilium for kube-proxy, in pods", check: "cni-compatibility", objects: cluster(plugin("cilium"), cilium(`kube-proxy-replacement: "strict"`)), want: []finding{{fail, config, "data.bpf-lb-sock-hostns-only", "inside pods"}}},
		{name: "Cilium's load balancing by sockets, in pods", check: "cni-compatibility", objects: cluster(plugin("cilium"), cilium(`bpf-lb-sock: "true", bpf-lb-sock-hostns-only: "false"`)), want: []finding{{fail, config, "data.bpf-lb-sock-hostns-only", "pass by waypoints"}}},
		{name: "Cilium's masquerading", check: "cni-compatibility", objects: cluster(plugin("cilium"), cilium(`enable-bpf-masquerade: "true"`)), want: []finding{{fail, config, "data.enable-bpf-masquerade", "169.254.7.127"}}},
		{name: "all of Cilium's", check: "cni-compatibility", objects: cluster(plugin("cilium"), cilium(`cni-exclusive: "true", kube-proxy-replacement: "true", enable-bpf-masquerade: "true"`)), want: []finding{{fail, config, "data.cni-exclusive", ""}, {fail, config, "data.bpf-lb-sock-hostns-only", ""}, {fail, config, "data.enable-bpf-masquerade", ""}}},

		{name: "Calico", check: "cni-compatibility", objects: cluster(calico(recent), felix("default", ""))},
		{name: "Calico, which cannot be seen", check: "cni-compatibility", objects: cluster(calico(recent)), want: []finding{{warn, node, "", "there is no FelixConfiguration named default"}}},
		{name: "Calico by its environment", check: "cni-compatibility", objects: cluster(calico(recent, "FELIX_BPFENABLED", "false"))},
		{name: "Calico's eBPF mode", check: "cni-compatibility", objects: cluster(calico(recent), felix("default", "bpfEnabled: true, bpfConnectTimeLoadBalancing: Disabled"))},
		{name: "Calico's eBPF mode, as it is by default", check: "cni-compatibility", objects: cluster(calico(recent), felix("default", "bpfEnabled: true")), want: []finding{{fail, byDefault, connectTime, "bpfConnectTimeLoadBalancing is TCP"}}},
		{name: "Calico's eBPF mode, for all", check: "cni-compatibility", objects: cluster(calico(recent), felix("default", "bpfEnabled: true, bpfConnectTimeLoadBalancing: Enabled")), want: []finding{{fail, byDefault, connectTime, "is Enabled"}}},
		{name: "Calico's eBPF mode, by its environment", check: "cni-compatibility", objects: cluster(calico(recent, "FELIX_BPFENABLED", "true"), felix("default", "")), want: []finding{{fail, node, environment, "is TCP"}}},
		{name: "Calico's eBPF mode, by its environment alone", check: "cni-compatibility", objects: cluster(calico(recent, "FELIX_BPFENABLED", "true")), want: []finding{{fail, node, environment, "is TCP"}}},
		{name: "Calico's eBPF mode, its environment wins", check: "cni-compatibility", objects: cluster(calico(recent, "FELIX_BPFConnectTimeLoadBalancing", "Disabled"), felix("default", "bpfEnabled: true, bpfConnectTimeLoadBalancing: TCP"))},
		{name: "Calico's eBPF mode, its environment spoils it", check: "cni-compatibility", objects: cluster(calico(recent, "FELIX_BPFConnectTimeLoadBalancing", "TCP"), felix("default", "bpfEnabled: true, bpfConnectTimeLoadBalancing: Disabled")), want: []finding{{fail, node, environment, "is TCP"}}},
		{name: "Calico's eBPF mode, off by its environment", check: "cni-compatibility", objects: cluster(calico(recent, "FELIX_BPFENABLED", "false"), felix("default", "bpfEnabled: true"))},
		{name: "Calico's eBPF mode, on one node", check: "cni-compatibility", objects: cluster(calico(recent), felix("default", ""), felix("node.one", "bpfEnabled: true")), want: []finding{{fail, "FelixConfiguration node.one", connectTime, "is TCP"}}},
		{name: "Calico's eBPF mode, spoilt on one node", check: "cni-compatibility", objects: cluster(calico(recent), felix("default", "bpfEnabled: true, bpfConnectTimeLoadBalancing: Disabled"), felix("node.one", "bpfConnectTimeLoadBalancing: TCP")), want: []finding{{fail, "FelixConfiguration node.one", connectTime, "is TCP"}}},
		{name: "Calico's eBPF mode, named once", check: "cni-compatibility", objects: cluster(calico(recent), felix("default", "bpfEnabled: true"), felix("node.one", "logSeverityScreen: Info")), want: []finding{{fail, byDefault, connectTime, "is TCP"}}},
		{name: "an old Calico's eBPF mode", check: "cni-compatibility", objects: cluster(calico("calico/node:v3.28.2"), felix("default", "bpfEnabled: true, bpfConnectTimeLoadBalancing: Disabled")), want: []finding{{fail, node, "spec.template.spec.containers[calico-node].image", "Calico 3.28.2 in eBPF mode drops kubelets' probes"}}},
		{name: "the oldest Calico's eBPF mode", check: "cni-compatibility", objects: cluster(calico("calico/node:v3.29.0"), felix("default", "bpfEnabled: true, bpfConnectTimeLoadBalancing: Disabled"))},
		{name: "some Calico's eBPF mode", check: "cni-compatibility", objects: cluster(calico("calico/node:master"), felix("default", "bpfEnabled: true, bpfConnectTimeLoadBalancing: Disabled")), want: []finding{{warn, node, "spec.template.spec.containers[calico-node].image", "cannot be seen"}}},
		{name: "an old Calico", check: "cni-compatibility", objects: cluster(calico("calico/node:v3.20.0"), felix("default", "bpfEnabled: false"))},

		{name: "the VPC CNI", check: "cni-compatibility", objects: aws("1.29.0")},
		{name: "the VPC CNI, not strict", check: "cni-compatibility", objects: append(aws("1.29.0", "ENABLE_POD_ENI", "true", "POD_SECURITY_GROUP_ENFORCING_MODE", "standard"), interfaces)},
		{name: "the VPC CNI, configured elsewhere", check: "cni-compatibility", objects: aws("1.29.0", "ENABLE_POD_ENI", "<redacted>"), want: []finding{{warn, "DaemonSet kube-system/aws-node", "spec.template.spec.containers[].env[ENABLE_POD_ENI]", "cannot be seen"}}},
		{name: "the VPC CNI, strict by default", check: "cni-compatibility", objects: aws("1.29.0", "ENABLE_POD_ENI", "true"), want: []finding{{warn, "DaemonSet kube-system/aws-node", enforcing, "an ambient pod that has one fails"}}},
		{name: "the VPC CNI, strict for pods of the namespace", check: "cni-compatibility", objects: append(aws("1.29.0", "ENABLE_POD_ENI", "true", "POD_SECURITY_GROUP_ENFORCING_MODE", "strict"), interfaces), want: []finding{{fail, "DaemonSet kube-system/aws-node", enforcing, "would fail their probes from 169.254.7.127 once they are ambient (1 pod: secured-5d8f7-0)"}}},
		{name: "the VPC CNI, strict, and a new istio-cni", check: "cni-compatibility", objects: append(aws("1.30.0", "ENABLE_POD_ENI", "true"), interfaces)},
		{name: "the VPC CNI, strict, and a new istio-cni told otherwise", check: "cni-compatibility", objects: append(without("ConfigMap", "istio-cni-config", aws("1.30.0", "ENABLE_POD_ENI", "true")), noProbes), want: []finding{{warn, "DaemonSet kube-system/aws-node", enforcing, ""}}},
		{name: "the VPC CNI, strict, and a new istio-cni told so itself", check: "cni-compatibility", objects: append(without("ConfigMap", "istio-cni-config", told), noProbes)},
		{name: "the VPC CNI, strict, and no istio-cni", check: "cni-compatibility", objects: without("DaemonSet", "istio-cni-node", aws("1.30.0", "ENABLE_POD_ENI", "true")), want: []finding{{warn, "DaemonSet kube-system/aws-node", enforcing, ""}}},

		{name: "GKE", check: "cni-compatibility", objects: on("v1.33.4-gke.1", "", "cloud.google.com/gke-nodepool", "cni-bin-dir", "/home/kubernetes/bin")},
		{name: "AKS", check: "cni-compatibility", objects: on("v1.33.4", "", "kubernetes.azure.com/cluster", "cni-bin-dir", "/opt/cni/bin")},
		{name: "K3s", check: "cni-compatibility", objects: on("v1.33.4+k3s1", "", "", "cni-net-dir", "/var/lib/rancher/k3s/agent/etc/cni/net.d/")},
		{name: "minikube with containerd", check: "cni-compatibility", objects: on("v1.33.4", "containerd://2.0.0", "minikube.k8s.io/name", "cni-netns-dir", "/var/run/netns")},
		{name: "no istio-cni", check: "cni-compatibility", objects: without("DaemonSet", "istio-cni-node", on("v1.33.4+k3s1", "", "", "cni-net-dir", "/etc"))},
	}
	for _, platform := range []struct{ title, kubelet, runtime, label, volume, plugin string }{
		{"OpenShift", "v1.33.4", "", "node.openshift.io/os_id", "cni-net-dir", "ovnkube-node"},
		{"GKE", "v1.33.4-gke.1", "", "cloud.google.com/gke-nodepool", "cni-bin-dir", ""},
		{"MicroK8s", "v1.33.4", "", "microk8s.io/cluster", "cni-net-dir", "kindnet"},
		{"k3d", "v1.33.4+k3s1", "", "k3d", "cni-net-dir", ""},
		{"K3s", "v1.33.4+k3s1", "", "", "cni-net-dir", ""},
		{"minikube with Docker", "v1.33.4", "docker://28.0.0", "minikube.k8s.io/name", "cni-netns-dir", ""},
	} {
		want := []finding{{warn, cniObject, path, fmt.Sprintf("istio-cni works in /somewhere; on %s it is /", platform.title)}}
		objects := on(platform.kubelet, platform.runtime, platform.label, platform.volume, "/somewhere")
		if platform.plugin != "" {
			objects = append(objects, plugin(platform.plugin))
		}
		if platform.plugin == "ovnkube-node" {
			want = append(want, finding{warn, "DaemonSet kube-system/ovnkube-node", "", ""})
		}
		cases = append(cases, testCase{name: "istio-cni not made for " + platform.title, check: "cni-compatibility", objects: objects, want: want})
	}
	return cases
}
