package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The address besides probeAddress that the kubelet's probes come from in ambient
// mode, and the variables by which istio-cni is told others (istio
// cni/README.md).
const (
	probeAddressIPv6       = "fd16:9254:7127:1337:ffff:ffff:ffff:ffff"
	probeAddressVariable   = "HOST_PROBE_SNAT_IP"
	probeAddressVariableV6 = "HOST_PROBE_SNAT_IPV6"
)

func networkPolicyProbes() Check {
	return Check{
		ID: "network-policy-probes", Category: CategoryNetwork, Severity: v1alpha1.SeverityError,
		About: "Moved workloads whose probes by HTTP, TCP or gRPC a NetworkPolicy does not let through from the address that they have in ambient mode.",
		Why: "Network plugins let the kubelet's probes pass because they come from the node. In ambient mode istio-cni gives them the source address " + probeAddress +
			", so that ztunnel can tell them (istio cni/pkg/iptables/iptables.go). Whether a NetworkPolicy holds for that address depends on the plugin (istio documentation, Ambient and " +
			"Kubernetes NetworkPolicy), which cannot be seen in most cases, so it is a warning; Calico's eBPF mode refused it before 3.29 (istio issue 52765). Cilium is known to refuse it (istio " +
			"documentation, Platform-Specific Prerequisites; istio issue 49277), so there it fails, unless a CiliumClusterwideNetworkPolicy admits it. A pod whose probes fail is never ready, " +
			"and is killed by its liveness probe.",
		Needs:  moveNeeds(mesh.KindNetworkPolicy, mesh.CiliumConfigMap, mesh.KindCiliumClusterPolicy),
		Passed: "no NetworkPolicy keeps the probes of ambient pods out",
		Run: func(subject Subject) []Finding {
			policies := subject.Snapshot.NetworkPolicies(subject.Namespace.Name)
			var findings []Finding
			for _, workload := range renewedWorkloads(subject) {
				rules := mesh.NetworkRulesFor(policies, workload.Template.Labels, networkingv1.PolicyTypeIngress)
				if !rules.Restricted() {
					continue
				}
				address := probesFrom(subject, workload)
				refused := slices.DeleteFunc(probesOf(workload.Template.Spec), func(probe probe) bool {
					return admitsAddress(rules, address, probe.port, mesh.PodPorts(workload.Template.Spec)) || ciliumAdmits(subject.Snapshot, workload, address, probe.port)
				})
				if len(refused) > 0 {
					findings = append(findings, probeFinding(subject, workload, rules, address, refused))
				}
			}
			return findings
		},
	}
}

func probeFinding(subject Subject, workload mesh.Workload, rules mesh.NetworkRules, address string, refused []probe) Finding {
	var policies, ports []string
	for _, policy := range rules.Policies {
		policies = append(policies, policy.Name)
	}
	for _, probe := range refused {
		ports = append(ports, fmt.Sprint(probe.port))
	}
	slices.Sort(ports)
	ports = slices.Compact(ports)
	oneOf := "NetworkPolicy " + policies[0]
	if len(policies) > 1 {
		oneOf = "one of them"
	}
	finding := Finding{
		Status: v1alpha1.StatusWarn, Object: reference(workload.Reference), Field: templateField(workload, refused[0].field),
		Message: fmt.Sprintf("NetworkPolicy %s does not admit its probes, which come from %s in ambient mode, to port %s; whether they pass all the same depends on the network plugin",
			some(policies), address, strings.Join(ports, ", ")),
		Remedy: fmt.Sprintf("add the ingress rule {from: [{ipBlock: {cidr: %s/%d}}]} to %s", address, bits(address), oneOf),
	}
	if hasCilium(subject.Snapshot) {
		finding.Status = v1alpha1.StatusFail
		finding.Message = fmt.Sprintf("Cilium refuses its probes to port %s, which come from %s in ambient mode: NetworkPolicy %s does not admit them, and its pods would not become ready",
			strings.Join(ports, ", "), address, some(policies))
		finding.Remedy += ", or a CiliumClusterwideNetworkPolicy with fromCIDR"
	}
	return finding
}

func bits(address string) int {
	parsed, err := netip.ParseAddr(address)
	if err != nil {
		return 32
	}
	return parsed.BitLen()
}

// probesFrom is where the probes of a workload's pods come from, by the family of
// their primary address.
func probesFrom(subject Subject, workload mesh.Workload) string {
	variable, standard := probeAddressVariable, probeAddress
	for _, pod := range subject.Snapshot.PodsOf(workload) {
		if len(pod.Addresses) > 0 && strings.Contains(pod.Addresses[0], ":") {
			variable, standard = probeAddressVariableV6, probeAddressIPv6
		}
	}
	agent, _ := subject.Snapshot.CNI()
	configured, _ := mesh.Setting(agent.Spec.Template, variable)
	return cmp.Or(configured, standard)
}

// probe is one that the kubelet makes over the network.
type probe struct {
	field string
	port  int32
}

// probesOf are the probes of a pod by HTTP, TCP or gRPC. Those on ports that
// cannot be told are left out: such a pod is never ready anyway.
func probesOf(spec corev1.PodSpec) []probe {
	var probes []probe
	add := func(path string, container corev1.Container) {
		for _, candidate := range []struct {
			name  string
			probe *corev1.Probe
		}{{"startupProbe", container.StartupProbe}, {"readinessProbe", container.ReadinessProbe}, {"livenessProbe", container.LivenessProbe}} {
			if candidate.probe == nil {
				continue
			}
			if port := probePort(candidate.probe, container.Ports); port != 0 {
				probes = append(probes, probe{path + "." + candidate.name, port})
			}
		}
	}
	for i, container := range spec.InitContainers {
		add(fmt.Sprintf("spec.initContainers[%d]", i), container)
	}
	for i, container := range spec.Containers {
		add(fmt.Sprintf("spec.containers[%d]", i), container)
	}
	return probes
}

func probePort(probe *corev1.Probe, declared []corev1.ContainerPort) int32 {
	var port intstr.IntOrString
	switch {
	case probe.HTTPGet != nil:
		port = probe.HTTPGet.Port
	case probe.TCPSocket != nil:
		port = probe.TCPSocket.Port
	case probe.GRPC != nil:
		return probe.GRPC.Port
	}
	if port.Type == intstr.Int {
		return port.IntVal
	}
	for _, candidate := range declared {
		if candidate.Name == port.StrVal {
			return candidate.ContainerPort
		}
	}
	return 0
}

// admitsAddress says whether rules let an address that no pod has through.
func admitsAddress(rules mesh.NetworkRules, address string, port int32, declared []corev1.ContainerPort) bool {
	return slices.ContainsFunc(rules.Rules, func(rule mesh.NetworkRule) bool {
		return rule.OpensTCP(port, declared) && (len(rule.Peers) == 0 || slices.ContainsFunc(rule.Peers, func(peer networkingv1.NetworkPolicyPeer) bool {
			return mesh.BlockHolds(peer.IPBlock, address)
		}))
	})
}

// ciliumAdmits says whether a policy of Cilium's for the whole cluster lets an
// address through to a workload's pods.
func ciliumAdmits(snapshot *mesh.Snapshot, workload mesh.Workload, address string, port int32) bool {
	return slices.ContainsFunc(snapshot.Others(mesh.KindCiliumClusterPolicy), func(object unstructured.Unstructured) bool {
		specs, _, _ := unstructured.NestedSlice(object.Object, "specs")
		if spec, found, _ := unstructured.NestedMap(object.Object, "spec"); found {
			specs = append(specs, spec)
		}
		return slices.ContainsFunc(specs, func(item any) bool {
			spec, _ := item.(map[string]any)
			return ciliumSelects(spec, workload.Template.Labels) && ciliumOpens(spec, address, port)
		})
	})
}

// ciliumSelects evaluates an endpointSelector whose keys are plain labels of pods,
// with or without the prefix by which Cilium tells their source. Others it takes
// for selecting something else.
func ciliumSelects(spec map[string]any, podLabels map[string]string) bool {
	selected, found, _ := unstructured.NestedMap(spec, "endpointSelector")
	if !found {
		return false
	}
	var selector metav1.LabelSelector
	if err := mesh.Decode(selected, &selector); err != nil {
		return false
	}
	plain := &metav1.LabelSelector{MatchLabels: map[string]string{}}
	for key, value := range selector.MatchLabels {
		plain.MatchLabels[ciliumKey(key)] = value
	}
	for _, expression := range selector.MatchExpressions {
		expression.Key = ciliumKey(expression.Key)
		plain.MatchExpressions = append(plain.MatchExpressions, expression)
	}
	return matches(plain, podLabels)
}

func ciliumKey(key string) string {
	return strings.TrimPrefix(strings.TrimPrefix(key, "k8s:"), "any:")
}

// ciliumOpens says whether an ingress rule lets an address through to a port.
func ciliumOpens(spec map[string]any, address string, port int32) bool {
	var rules struct {
		Ingress []struct {
			FromCIDR    []string                       `json:"fromCIDR"`
			FromCIDRSet []struct{ Cidr string }        `json:"fromCIDRSet"`
			ToPorts     []struct{ Ports []ciliumPort } `json:"toPorts"`
		} `json:"ingress"`
	}
	if err := mesh.Decode(spec, &rules); err != nil {
		return false
	}
	for _, rule := range rules.Ingress {
		blocks := rule.FromCIDR
		for _, set := range rule.FromCIDRSet {
			blocks = append(blocks, set.Cidr)
		}
		from := slices.ContainsFunc(blocks, func(cidr string) bool { return mesh.BlockHolds(&networkingv1.IPBlock{CIDR: cidr}, address) })
		var ports []ciliumPort
		for _, entry := range rule.ToPorts {
			ports = append(ports, entry.Ports...)
		}
		if from && (len(rule.ToPorts) == 0 || slices.ContainsFunc(ports, func(candidate ciliumPort) bool { return candidate.opens(port) })) {
			return true
		}
	}
	return false
}

// ciliumPort is an entry of toPorts.
type ciliumPort struct {
	Port     string `json:"port"`
	EndPort  int32  `json:"endPort"`
	Protocol string `json:"protocol"`
}

func (p ciliumPort) opens(port int32) bool {
	first := intstr.Parse(p.Port)
	if first.Type != intstr.Int || p.Protocol != "" && p.Protocol != "TCP" && p.Protocol != "ANY" {
		return false
	}
	return first.IntVal == 0 || first.IntVal <= port && port <= max(first.IntVal, p.EndPort)
}
