package checks

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// probeAddress is what istio-cni makes kubelets' probes of ambient pods come
// from (istio cni/pkg/nodeagent/options.go).
const probeAddress = "169.254.7.127"

// cniCompatibility is about what else makes the pods' network. istio-cni's own
// rules are inside the pods, so most plugins do not matter; those that act on
// connections before a packet leaves the pod, or that treat the address of
// probes specially, do.
func cniCompatibility() Check {
	return Check{
		ID: "cni-compatibility", Category: CategoryPrerequisites, Severity: v1alpha1.SeverityError,
		About: "Which CNI plugin and which distribution of Kubernetes the cluster runs, and the settings of theirs that ambient mode depends on.",
		Why: "istio-cni must stay in the chain of plugins, the address of a Service must still be in a connection when ztunnel sees it, and kubelets' probes reach ambient pods from " + probeAddress + " " +
			"(istio.io, Platform-Specific Prerequisites for ambient mode). " +
			"Where the plugin replaces a Service's address inside the pod, ztunnel takes the connection for one to a pod and passes by the waypoint and its policies (docs.cilium.io, Integration with Istio; istio/istio issue 55481 for Calico). " +
			"Calico's eBPF mode drops such probes before 3.29 (istio/istio issue 52765), and the VPC CNI does where it enforces pods' security groups strictly (aws/amazon-vpc-cni-k8s issue 2797), unless istio-cni is 1.30 or newer.",
		Needs:  []string{mesh.KindDaemonSet, mesh.KindNode, mesh.CiliumConfigMap, mesh.KindFelixConfiguration, mesh.IstioConfigMaps, "Pod"},
		Passed: "the CNI plugin is one that istio-cni works with, as far as its settings show",
		Run: func(subject Subject) []Finding {
			found := plugins(subject.Snapshot)
			findings := platformFindings(subject.Snapshot)
			if len(found) == 0 && platformOf(subject.Snapshot).plugin == "" {
				findings = append(findings, Finding{
					Status:  v1alpha1.StatusWarn,
					Message: "the CNI plugin cannot be told by the cluster's DaemonSets and nodes, so whether it suits ambient mode is not known",
					Remedy:  "try ambient mode in a namespace of test workloads first, their probes and a waypoint included",
				})
			}
			for _, plugin := range found {
				findings = append(findings, plugin.examine(subject, plugin.set)...)
			}
			return findings
		},
	}
}

// plugin is a CNI plugin as its DaemonSet shows it.
type plugin struct {
	set     appsv1.DaemonSet
	examine func(Subject, appsv1.DaemonSet) []Finding
}

// knownPlugins are by the names of their DaemonSets.
func knownPlugins() map[string]func(Subject, appsv1.DaemonSet) []Finding {
	fine := func(Subject, appsv1.DaemonSet) []Finding { return nil }
	return map[string]func(Subject, appsv1.DaemonSet) []Finding{
		"cilium": ciliumFindings,
		// GKE's build of Cilium is configured by GKE.
		"anetd":       fine,
		"calico-node": calicoFindings, "canal": calicoFindings, "rke2-canal": calicoFindings,
		"aws-node": awsFindings,
		"kindnet":  fine, "kindnetd": fine,
		"kube-flannel": fine, "kube-flannel-ds": fine, "kube-flannel-ds-amd64": fine, "flannel": fine,
		"azure-cns": fine, "azure-cni": fine,
		"ovnkube-node": ovnFindings,
		"weave-net":    undocumented("Weave Net"), "antrea-agent": undocumented("Antrea"), "kube-router": undocumented("kube-router"),
		"kube-ovn-cni": undocumented("Kube-OVN"), "terway-eniip": undocumented("Terway"), "terway": undocumented("Terway"),
		"sdn": undocumented("OpenShift SDN"),
	}
}

func plugins(snapshot *mesh.Snapshot) []plugin {
	known := knownPlugins()
	var found []plugin
	for _, set := range snapshot.DaemonSets() {
		if examine, is := known[set.Name]; is {
			found = append(found, plugin{set, examine})
		}
	}
	return found
}

func undocumented(name string) func(Subject, appsv1.DaemonSet) []Finding {
	return func(_ Subject, set appsv1.DaemonSet) []Finding {
		return []Finding{{
			Status: v1alpha1.StatusWarn, Object: daemonSetReference(set),
			Message: "Istio's documentation says nothing of ambient mode on " + name,
			Remedy:  "try it in a namespace of test workloads first, their probes and a waypoint included",
		}}
	}
}

// ovnFindings: in shared gateway mode OVN-Kubernetes' traffic between node and
// pod does not pass the host's rules (docs.redhat.com, OpenShift Service Mesh,
// Installing Istio ambient mode; istio/istio.io pull request 16877). The setting
// is in an object of OpenShift's, which is not read.
func ovnFindings(_ Subject, set appsv1.DaemonSet) []Finding {
	return []Finding{{
		Status: v1alpha1.StatusWarn, Object: daemonSetReference(set),
		Message: "OVN-Kubernetes: whether it routes through the host, which kubelets' probes of ambient pods need, cannot be seen",
		Remedy: `see that gatewayConfig.routingViaHost is true: kubectl patch networks.operator.openshift.io cluster --type=merge ` +
			`-p '{"spec":{"defaultNetwork":{"ovnKubernetesConfig":{"gatewayConfig":{"routingViaHost":true}}}}}'`,
	}}
}

// ciliumFindings read Cilium's own ConfigMap, whose keys are the agent's flags.
func ciliumFindings(subject Subject, set appsv1.DaemonSet) []Finding {
	config, found := ciliumConfig(subject.Snapshot, set.Namespace)
	if !found {
		return []Finding{{
			Status: v1alpha1.StatusUnknown, Object: daemonSetReference(set),
			Message: "how Cilium is configured cannot be seen: there is no ConfigMap cilium-config beside it",
			Remedy:  "let the snapshot include it, or accept this check once cni-exclusive, bpf-lb-sock-hostns-only and enable-bpf-masquerade are seen to suit ambient mode",
		}}
	}
	object := &v1alpha1.ObjectReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: config.Namespace, Name: config.Name}
	on := func(key string) bool { return enabled(config.Data[key]) }
	fail := func(key, message, value string) Finding {
		return Finding{
			Status: v1alpha1.StatusFail, Object: object, Field: "data." + key, Message: message,
			Remedy: fmt.Sprintf("helm -n %s upgrade cilium cilium/cilium --reuse-values --set %s, then kubectl -n %s rollout restart daemonset/%s",
				config.Namespace, value, config.Namespace, set.Name),
		}
	}
	var findings []Finding
	// The agent's own default is false; its chart writes true.
	if on("cni-exclusive") {
		findings = append(findings, fail("cni-exclusive", "Cilium removes other CNI plugins, istio-cni's included: new pods would not be captured", "cni.exclusive=false"))
	}
	replaces := on("bpf-lb-sock") || slices.Contains([]string{"true", "strict", "partial", "probe"}, config.Data["kube-proxy-replacement"])
	if replaces && !on("bpf-lb-sock-hostns-only") {
		findings = append(findings, fail("bpf-lb-sock-hostns-only",
			"Cilium replaces Services' addresses inside pods: ztunnel would take calls for calls to pods, and pass by waypoints and their policies", "socketLB.hostNamespaceOnly=true"))
	}
	if on("enable-bpf-masquerade") {
		findings = append(findings, fail("enable-bpf-masquerade",
			"Cilium masquerades by BPF, which loses kubelets' probes of ambient pods from "+probeAddress, "bpf.masquerade=false"))
	}
	return findings
}

func ciliumConfig(snapshot *mesh.Snapshot, namespace string) (corev1.ConfigMap, bool) {
	for _, configMap := range snapshot.ConfigMaps() {
		if configMap.Name == "cilium-config" && configMap.Namespace == namespace {
			return configMap, true
		}
	}
	return corev1.ConfigMap{}, false
}

// felix are the settings of Calico's agent that matter here, as one source has
// them; empty where it does not say.
type felix struct {
	object           *v1alpha1.ObjectReference
	field            string
	bpf, connectTime string
}

// connectTimeDefault is what Felix does in eBPF mode unless it is told
// otherwise.
const connectTimeDefault = "TCP"

// calicoFindings go by Felix' order of sources: its environment, the
// FelixConfiguration of the node, the one named default.
func calicoFindings(subject Subject, set appsv1.DaemonSet) []Finding {
	environment := felixOfEnvironment(set)
	base, nodes := felixConfigurations(subject.Snapshot)
	if base.object == nil && environment.bpf == "" {
		return []Finding{{
			Status: v1alpha1.StatusWarn, Object: daemonSetReference(set),
			Message: "whether Calico runs in eBPF mode cannot be seen: there is no FelixConfiguration named default",
			Remedy:  "calicoctl get felixconfiguration default -o yaml: in eBPF mode bpfConnectTimeLoadBalancing must be Disabled",
		}}
	}
	sources := [][]felix{{environment, base}}
	for _, node := range nodes {
		sources = append(sources, []felix{environment, node, base})
	}
	var findings []Finding
	inUse := false
	named := map[v1alpha1.ObjectReference]bool{}
	for _, layers := range sources {
		settings := effective(layers)
		if !enabled(settings.bpf) {
			continue
		}
		inUse = true
		if strings.EqualFold(settings.connectTime, "Disabled") || named[*settings.object] {
			continue
		}
		named[*settings.object] = true
		findings = append(findings, Finding{
			Status: v1alpha1.StatusFail, Object: settings.object, Field: settings.field,
			Message: fmt.Sprintf("Calico's eBPF mode replaces Services' addresses inside pods (bpfConnectTimeLoadBalancing is %s): ztunnel would take calls for calls to pods, and pass by waypoints and their policies",
				cmp.Or(settings.connectTime, connectTimeDefault)),
			Remedy: `kubectl patch felixconfiguration default --type=merge -p '{"spec":{"bpfConnectTimeLoadBalancing":"Disabled","bpfHostNetworkedNATWithoutCTLB":"Enabled"}}'`,
		})
	}
	if !inUse {
		return nil
	}
	return append(findings, calicoVersionFindings(set)...)
}

// effective takes each setting from the first source that has it. The object is
// the one to change: what sets connect-time load balancing, or eBPF mode where
// nothing does.
func effective(layers []felix) felix {
	var settings felix
	for _, layer := range layers {
		if settings.bpf == "" && layer.bpf != "" {
			settings.bpf = layer.bpf
			if settings.connectTime == "" {
				settings.object, settings.field = layer.object, layer.field
			}
		}
		if settings.connectTime == "" && layer.connectTime != "" {
			settings.connectTime, settings.object, settings.field = layer.connectTime, layer.object, layer.field
		}
	}
	return settings
}

func felixOfEnvironment(set appsv1.DaemonSet) felix {
	found := felix{object: daemonSetReference(set), field: environmentField("FELIX_BPFCONNECTTIMELOADBALANCING")}
	for _, container := range set.Spec.Template.Spec.Containers {
		for _, variable := range container.Env {
			switch strings.ToUpper(variable.Name) {
			case "FELIX_BPFENABLED":
				found.bpf = variable.Value
			case "FELIX_BPFCONNECTTIMELOADBALANCING":
				found.connectTime = variable.Value
			}
		}
	}
	return found
}

// felixConfigurations returns the one for all nodes, without an object where
// there is none, and those of single nodes.
func felixConfigurations(snapshot *mesh.Snapshot) (felix, []felix) {
	var base felix
	var nodes []felix
	for _, object := range snapshot.Others(mesh.KindFelixConfiguration) {
		configuration := felix{
			object: &v1alpha1.ObjectReference{APIVersion: object.GetAPIVersion(), Kind: object.GetKind(), Name: object.GetName()},
			field:  "spec.bpfConnectTimeLoadBalancing",
		}
		if on, set, err := unstructured.NestedBool(object.Object, "spec", "bpfEnabled"); err == nil && set {
			configuration.bpf = strconv.FormatBool(on)
		}
		configuration.connectTime, _, _ = unstructured.NestedString(object.Object, "spec", "bpfConnectTimeLoadBalancing")
		if object.GetName() == "default" {
			base = configuration
		} else {
			nodes = append(nodes, configuration)
		}
	}
	return base, nodes
}

// probesFixed is the version of Calico whose eBPF mode lets the probes of
// ambient pods through.
const probesFixed = "3.29.0"

func calicoVersionFindings(set appsv1.DaemonSet) []Finding {
	image := ""
	for _, container := range set.Spec.Template.Spec.Containers {
		if container.Name == "calico-node" {
			image = container.Image
		}
	}
	object, field := daemonSetReference(set), "spec.template.spec.containers[calico-node].image"
	version, err := imageRelease(image)
	switch {
	case err != nil:
		return []Finding{{
			Status: v1alpha1.StatusWarn, Object: object, Field: field,
			Message: "whether Calico's eBPF mode lets probes of ambient pods through cannot be seen: " + err.Error(),
			Remedy:  "see that Calico is " + probesFixed + " or newer",
		}}
	case version.LessThan(semver.MustParse(probesFixed)):
		return []Finding{{
			Status: v1alpha1.StatusFail, Object: object, Field: field,
			Message: fmt.Sprintf("Calico %s in eBPF mode drops kubelets' probes of ambient pods from %s", version, probeAddress),
			Remedy:  "upgrade Calico to " + probesFixed + " or newer",
		}}
	default:
		return nil
	}
}

// awsFindings: pods with security groups of their own have an interface of
// their own, which link-local addresses cannot be routed to.
func awsFindings(subject Subject, set appsv1.DaemonSet) []Finding {
	const enforcing = "POD_SECURITY_GROUP_ENFORCING_MODE"
	template := set.Spec.Template
	ownInterfaces, state := mesh.Setting(template, "ENABLE_POD_ENI")
	mode, _ := mesh.Setting(template, enforcing)
	if state == mesh.SettingHidden {
		return []Finding{{
			Status: v1alpha1.StatusWarn, Object: daemonSetReference(set), Field: environmentField("ENABLE_POD_ENI"),
			Message: "whether the VPC CNI gives pods security groups of their own cannot be seen; their probes would need " + enforcing + "=standard",
			Remedy:  fmt.Sprintf("kubectl -n %s set env daemonset/%s --list shows it", set.Namespace, set.Name),
		}}
	}
	if !enabled(ownInterfaces) || mode == "standard" || branchProbes(subject.Snapshot) {
		return nil
	}
	finding := Finding{
		Status: v1alpha1.StatusWarn, Object: daemonSetReference(set), Field: environmentField(enforcing),
		Message: "the VPC CNI enforces pods' security groups strictly: an ambient pod that has one fails its probes from " + probeAddress,
		Remedy: fmt.Sprintf("kubectl -n %s set env daemonset/%s %s=standard, and replace the pods that have security groups; or upgrade istio-cni to 1.30",
			set.Namespace, set.Name, enforcing),
	}
	var pods []string
	for _, pod := range subject.Snapshot.Pods(subject.Namespace.Name) {
		if pod.Annotations["vpc.amazonaws.com/pod-eni"] != "" {
			pods = append(pods, pod.Name)
		}
	}
	if len(pods) > 0 {
		finding.Status = v1alpha1.StatusFail
		finding.Message = fmt.Sprintf("the VPC CNI enforces pods' security groups strictly: those of this namespace that have one would fail their probes from %s once they are ambient (%s: %s)",
			probeAddress, count(len(pods), "pod"), some(pods))
	}
	return []Finding{finding}
}

// branchProbes says whether istio-cni leads probes to such interfaces itself,
// as it does since 1.30 (istio cni/pkg/nodeagent/options.go).
func branchProbes(snapshot *mesh.Snapshot) bool {
	const setting = "AMBIENT_ENABLE_AWS_BRANCH_ENI_PROBE"
	agent, found := snapshot.CNI()
	if !found {
		return false
	}
	value, _ := mesh.Setting(agent.Spec.Template, setting)
	if config, there := snapshot.CNIConfig(); there && value == "" {
		value = config.Data[setting]
	}
	if value != "" && !enabled(value) {
		return false
	}
	for _, container := range agent.Spec.Template.Spec.Containers {
		if version, err := imageRelease(container.Image); err == nil && version.at("1.30.0") {
			return true
		}
	}
	return false
}

// platformFindings compare istio-cni's directories with the distribution's. One
// may have been installed with other directories than it has by default.
func platformFindings(snapshot *mesh.Snapshot) []Finding {
	platform := platformOf(snapshot)
	agent, found := snapshot.CNI()
	if platform.directory == "" || !found {
		return nil
	}
	for i, volume := range agent.Spec.Template.Spec.Volumes {
		if volume.Name != platform.volume || volume.HostPath == nil || strings.TrimSuffix(volume.HostPath.Path, "/") == platform.directory {
			continue
		}
		return []Finding{{
			Status: v1alpha1.StatusWarn, Object: daemonSetReference(agent), Field: fmt.Sprintf("spec.template.spec.volumes[%d].hostPath.path", i),
			Message: fmt.Sprintf("istio-cni works in %s; on %s it is %s, unless that was installed otherwise", volume.HostPath.Path, platform.title, platform.directory),
			Remedy:  installAmbient(snapshot, partCNI),
		}}
	}
	return nil
}
