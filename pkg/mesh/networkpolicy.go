package mesh

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// NetworkRules is what NetworkPolicies let a pod receive, or send. The rules of
// all policies on a pod add up.
type NetworkRules struct {
	// Policies are those that restrict the direction. Without any, everything is
	// let through; with some, what a rule names.
	Policies []v1alpha1.ObjectReference
	Rules    []NetworkRule
}

// NetworkRule is a rule of a NetworkPolicy for one direction.
type NetworkRule struct {
	Policy    v1alpha1.ObjectReference
	Direction networkingv1.PolicyType
	// Index is the rule's place in the policy.
	Index int
	// Peers are who it is about; none means everybody.
	Peers []networkingv1.NetworkPolicyPeer
	// Ports are what it opens; none means all.
	Ports []networkingv1.NetworkPolicyPort
}

// NetworkRulesFor returns the rules for pods with these labels, out of the
// policies of their namespace.
func NetworkRulesFor(policies []networkingv1.NetworkPolicy, podLabels map[string]string, direction networkingv1.PolicyType) NetworkRules {
	var found NetworkRules
	for _, policy := range policies {
		if !restricts(policy, direction) || !selects(&policy.Spec.PodSelector, podLabels) {
			continue
		}
		reference := v1alpha1.ObjectReference{
			APIVersion: "networking.k8s.io/v1", Kind: KindNetworkPolicy, Namespace: policy.Namespace, Name: policy.Name,
		}
		found.Policies = append(found.Policies, reference)
		if direction == networkingv1.PolicyTypeIngress {
			for i, rule := range policy.Spec.Ingress {
				found.Rules = append(found.Rules, NetworkRule{reference, direction, i, rule.From, rule.Ports})
			}
			continue
		}
		for i, rule := range policy.Spec.Egress {
			found.Rules = append(found.Rules, NetworkRule{reference, direction, i, rule.To, rule.Ports})
		}
	}
	return found
}

// Restricted says whether anything is kept out at all.
func (r NetworkRules) Restricted() bool { return len(r.Policies) > 0 }

// restricts says whether a policy is about a direction. One that names no types
// is about ingress, and about egress if it has rules for it (kubernetes
// pkg/apis/networking/v1/defaults.go, SetDefaults_NetworkPolicy).
func restricts(policy networkingv1.NetworkPolicy, direction networkingv1.PolicyType) bool {
	if types := policy.Spec.PolicyTypes; len(types) > 0 {
		return slices.Contains(types, direction)
	}
	return direction == networkingv1.PolicyTypeIngress || len(policy.Spec.Egress) > 0
}

// Field is the path of the rule in its policy.
func (r NetworkRule) Field() string {
	if r.Direction == networkingv1.PolicyTypeIngress {
		return fmt.Sprintf("spec.ingress[%d]", r.Index)
	}
	return fmt.Sprintf("spec.egress[%d]", r.Index)
}

// PeerField is the path of one of the rule's peers.
func (r NetworkRule) PeerField(peer int) string {
	if r.Direction == networkingv1.PolicyTypeIngress {
		return fmt.Sprintf("%s.from[%d]", r.Field(), peer)
	}
	return fmt.Sprintf("%s.to[%d]", r.Field(), peer)
}

// PodPorts are the ports that the containers of a pod declare, init containers
// that keep running included.
func PodPorts(spec corev1.PodSpec) []corev1.ContainerPort {
	ports := []corev1.ContainerPort{}
	for _, container := range LastingContainers(spec) {
		ports = append(ports, container.Ports...)
	}
	return ports
}

// LastingContainers are the containers that run as long as their pod: its own,
// and the init containers that are restarted.
func LastingContainers(spec corev1.PodSpec) []corev1.Container {
	lasting := slices.Clone(spec.Containers)
	for _, container := range spec.InitContainers {
		if container.RestartPolicy != nil && *container.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			lasting = append(lasting, container)
		}
	}
	return lasting
}

// OpensTCP says whether the rule opens a TCP port of a pod that declares these.
func (r NetworkRule) OpensTCP(port int32, declared []corev1.ContainerPort) bool {
	return len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, func(candidate networkingv1.NetworkPolicyPort) bool {
		return slices.ContainsFunc(portRanges(candidate, declared), func(opened portRange) bool {
			return opened.first <= port && port <= opened.last
		})
	})
}

// OpensTCPBesides says whether the rule opens a TCP port that is none of those
// given. A name that the pod at hand does not declare opens nothing of it; the
// names of an egress rule are other pods' and may stand for anything.
func (r NetworkRule) OpensTCPBesides(ports []int32, declared []corev1.ContainerPort) bool {
	if len(r.Ports) == 0 {
		return true
	}
	for _, candidate := range r.Ports {
		named := candidate.Port != nil && candidate.Port.Type == intstr.String
		if named && r.Direction == networkingv1.PolicyTypeEgress && isTCP(candidate.Protocol) {
			return true
		}
		for _, opened := range portRanges(candidate, declared) {
			for port := opened.first; port <= opened.last; port++ {
				if !slices.Contains(ports, port) {
					return true
				}
			}
		}
	}
	return false
}

type portRange struct{ first, last int32 }

// portRanges are the TCP ports that an entry of a rule means.
func portRanges(port networkingv1.NetworkPolicyPort, declared []corev1.ContainerPort) []portRange {
	const highest = 65535
	switch {
	case !isTCP(port.Protocol):
		return nil
	case port.Port == nil:
		return []portRange{{1, highest}}
	case port.Port.Type == intstr.String:
		var ranges []portRange
		for _, candidate := range declared {
			if candidate.Name == port.Port.StrVal && (candidate.Protocol == "" || candidate.Protocol == corev1.ProtocolTCP) {
				ranges = append(ranges, portRange{candidate.ContainerPort, candidate.ContainerPort})
			}
		}
		return ranges
	case port.EndPort != nil:
		return []portRange{{port.Port.IntVal, *port.EndPort}}
	default:
		return []portRange{{port.Port.IntVal, port.Port.IntVal}}
	}
}

// isTCP says whether a protocol is TCP, which is the API's default.
func isTCP(protocol *corev1.Protocol) bool { return protocol == nil || *protocol == corev1.ProtocolTCP }

// NetworkPeer is a pod as NetworkPolicies see it.
type NetworkPeer struct {
	// Name is how messages name it.
	Name      string
	Namespace Namespace
	Labels    map[string]string
	// Addresses are empty where they are not known.
	Addresses []string
	// Ports are what its containers declare; nil where that is not known.
	Ports []corev1.ContainerPort
}

// PeerSelector returns whether a peer of a policy of a namespace stands for a pod
// by its labels. A block of addresses does so for none.
func PeerSelector(peer networkingv1.NetworkPolicyPeer, home string) func(NetworkPeer) bool {
	namespaces, err := selectorOf(peer.NamespaceSelector)
	pods, other := selectorOf(peer.PodSelector)
	if err != nil || other != nil || peer.IPBlock != nil {
		// The API server would not have stored such a selector.
		return func(NetworkPeer) bool { return false }
	}
	return func(pod NetworkPeer) bool {
		if peer.NamespaceSelector == nil && pod.Namespace.Name != home {
			return false
		}
		return namespaces.Matches(labels.Set(pod.Namespace.Labels)) && pods.Matches(labels.Set(pod.Labels))
	}
}

// selectorOf compiles a selector; none selects everything.
func selectorOf(selector *metav1.LabelSelector) (labels.Selector, error) {
	if selector == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(selector)
}

// BlockHolds says whether an ipBlock holds an address and does not except it.
func BlockHolds(block *networkingv1.IPBlock, address string) bool {
	parsed, err := netip.ParseAddr(address)
	if block == nil || err != nil {
		return false
	}
	inside := func(text string) bool {
		prefix, err := netip.ParsePrefix(text)
		return err == nil && prefix.Contains(parsed.Unmap())
	}
	return inside(block.CIDR) && !slices.ContainsFunc(block.Except, inside)
}

// BlockOverlaps says whether an ipBlock holds any address of a network, and does
// not except the whole of it.
func BlockOverlaps(block *networkingv1.IPBlock, network string) bool {
	other, err := netip.ParsePrefix(network)
	if block == nil || err != nil {
		return false
	}
	own, err := netip.ParsePrefix(block.CIDR)
	if err != nil || !own.Overlaps(other) {
		return false
	}
	return !slices.ContainsFunc(block.Except, func(text string) bool {
		except, err := netip.ParsePrefix(text)
		return err == nil && within(other, except)
	})
}

// BlockIsEverything says whether an ipBlock holds every address of a family.
func BlockIsEverything(block *networkingv1.IPBlock) bool {
	if block == nil || len(block.Except) > 0 {
		return false
	}
	prefix, err := netip.ParsePrefix(block.CIDR)
	return err == nil && prefix.Bits() == 0
}

func within(narrow, wide netip.Prefix) bool {
	return wide.Bits() <= narrow.Bits() && wide.Contains(narrow.Addr())
}

// PeerCovers says whether everything that one peer stands for is surely stood for
// by another, both of policies of the namespace.
func PeerCovers(wide, narrow networkingv1.NetworkPolicyPeer, home Namespace) bool {
	if wide.IPBlock != nil || narrow.IPBlock != nil {
		return wide.IPBlock != nil && narrow.IPBlock != nil && blockCovers(wide.IPBlock, narrow.IPBlock)
	}
	switch {
	case wide.NamespaceSelector == nil && narrow.NamespaceSelector != nil:
		return false
	case wide.NamespaceSelector != nil && narrow.NamespaceSelector == nil && !selects(wide.NamespaceSelector, home.Labels):
		return false
	case wide.NamespaceSelector != nil && narrow.NamespaceSelector != nil && !selectorCovers(wide.NamespaceSelector, narrow.NamespaceSelector):
		return false
	default:
		return selectorCovers(wide.PodSelector, narrow.PodSelector)
	}
}

func blockCovers(wide, narrow *networkingv1.IPBlock) bool {
	outer, err := netip.ParsePrefix(wide.CIDR)
	if err != nil {
		return false
	}
	inner, err := netip.ParsePrefix(narrow.CIDR)
	if err != nil || !within(inner, outer) {
		return false
	}
	for _, text := range wide.Except {
		hole, err := netip.ParsePrefix(text)
		if err != nil {
			return false
		}
		if hole.Overlaps(inner) && !slices.ContainsFunc(narrow.Except, func(text string) bool {
			except, err := netip.ParsePrefix(text)
			return err == nil && within(hole, except)
		}) {
			return false
		}
	}
	return true
}

// selectorCovers says whether every set of labels that narrow selects is surely
// selected by wide: each of wide's requirements follows from one of narrow's.
func selectorCovers(wide, narrow *metav1.LabelSelector) bool {
	required, ok := requirements(wide)
	if !ok {
		return false
	}
	given, ok := requirements(narrow)
	if !ok {
		return false
	}
	for _, requirement := range required {
		if !slices.ContainsFunc(given, func(candidate labels.Requirement) bool { return implies(candidate, requirement) }) {
			return false
		}
	}
	return true
}

// requirements are those of a selector; none select everything.
func requirements(selector *metav1.LabelSelector) (labels.Requirements, bool) {
	compiled, err := selectorOf(selector)
	if err != nil {
		return nil, false
	}
	return compiled.Requirements()
}

// implies says whether labels that meet one requirement surely meet the other.
func implies(given, required labels.Requirement) bool {
	if given.Key() != required.Key() {
		return false
	}
	has := isIn(given.Operator())
	switch required.Operator() {
	case selection.In, selection.Equals, selection.DoubleEquals:
		return has && required.Values().IsSuperset(given.Values())
	case selection.NotIn:
		return has && given.Values().Intersection(required.Values()).Len() == 0 ||
			given.Operator() == selection.NotIn && given.Values().IsSuperset(required.Values()) ||
			given.Operator() == selection.DoesNotExist
	case selection.Exists:
		return has || given.Operator() == selection.Exists
	case selection.DoesNotExist:
		return given.Operator() == selection.DoesNotExist
	default:
		return false
	}
}

func isIn(operator selection.Operator) bool {
	return operator == selection.In || operator == selection.Equals || operator == selection.DoubleEquals
}
