package mesh

import (
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// MeshGateway is the name by which a VirtualService binds to sidecars.
const MeshGateway = "mesh"

// BindsMesh says whether a VirtualService is for sidecars and waypoints: it is
// unless it names gateways only.
func BindsMesh(spec *networkingv1alpha3.VirtualService) bool {
	return len(spec.GetGateways()) == 0 || slices.Contains(spec.GetGateways(), MeshGateway)
}

// HostMeans says whether a host, as VirtualServices and DestinationRules write it
// in their own namespace, can mean a Service. A host with a dot is a full name to
// Istio, so that cart.shop is no Service at all (istio pilot/pkg/model/config.go,
// ResolveShortnameToFQDN); its author meant one, so that it counts.
func HostMeans(host, written, service, namespace string) bool {
	if suffix, wildcard := strings.CutPrefix(host, "*"); wildcard {
		return strings.HasSuffix(service+"."+namespace+".svc.cluster.local", suffix)
	}
	name, rest, qualified := strings.Cut(host, ".")
	if name != service {
		return false
	}
	if !qualified {
		return written == namespace
	}
	return rest == namespace || rest == namespace+".svc" || strings.HasPrefix(rest, namespace+".svc.")
}

// HostsMatch says whether two hosts, either of which may begin with a wildcard,
// have a name in common (istio pkg/config/host, Name.Matches).
func HostsMatch(a, b string) bool {
	suffixA, wildcardA := strings.CutPrefix(a, "*")
	suffixB, wildcardB := strings.CutPrefix(b, "*")
	switch {
	case a == "" || b == "":
		return false
	case wildcardA && wildcardB:
		return strings.HasSuffix(suffixA, suffixB) || strings.HasSuffix(suffixB, suffixA)
	case wildcardA:
		return strings.HasSuffix(b, suffixA)
	case wildcardB:
		return strings.HasSuffix(a, suffixB)
	default:
		return strings.EqualFold(a, b)
	}
}

// EffectiveField returns the first field of a DestinationRule that ambient mode
// does not fulfil by itself. Subsets alone do nothing, and mTLS between
// workloads is what ztunnel does anyway.
func EffectiveField(spec *networkingv1alpha3.DestinationRule) string {
	if field := effectivePolicy(spec.GetTrafficPolicy()); field != "" {
		return "spec.trafficPolicy" + field
	}
	for _, subset := range spec.GetSubsets() {
		if field := effectivePolicy(subset.GetTrafficPolicy()); field != "" {
			return "spec.subsets[" + subset.GetName() + "].trafficPolicy" + field
		}
	}
	return ""
}

func effectivePolicy(policy *networkingv1alpha3.TrafficPolicy) string {
	switch {
	case policy == nil:
		return ""
	case policy.GetLoadBalancer() != nil:
		return ".loadBalancer"
	case policy.GetConnectionPool() != nil:
		return ".connectionPool"
	case policy.GetOutlierDetection() != nil:
		return ".outlierDetection"
	case len(policy.GetPortLevelSettings()) > 0:
		return ".portLevelSettings"
	case policy.GetRetryBudget() != nil:
		return ".retryBudget"
	case policy.GetTunnel() != nil:
		return ".tunnel"
	case policy.GetProxyProtocol() != nil:
		return ".proxyProtocol"
	case policy.GetTls() != nil && policy.GetTls().GetMode() != networkingv1alpha3.ClientTLSSettings_ISTIO_MUTUAL:
		return ".tls.mode"
	default:
		return ""
	}
}
