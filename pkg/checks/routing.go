package checks

import (
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// routingChecks are about where calls go.
func routingChecks() []Check {
	return []Check{
		routingRules(), outboundRouting(), serviceEntries(), sidecarResource(),
	}
}

const networkingVersion = "networking.istio.io/v1"

// meshGateway is the name by which a VirtualService binds to sidecars.
const meshGateway = "mesh"

func routingRules() Check {
	return Check{
		ID: "routing-rules", Category: CategoryRouting, Severity: v1alpha1.SeverityError,
		Needs: []string{
			"VirtualService", "DestinationRule", "Service", "HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute",
		},
		Passed: "no routing rule concerns a service of this namespace",
		Run: func(subject Subject) []Finding {
			services := serviceNames(subject)
			var findings []Finding
			refuse := func(object *v1alpha1.ObjectReference, field, message string) {
				findings = append(findings, Finding{
					Status: v1alpha1.StatusFail, Object: object, Field: field, Message: message, Remedy: later,
				})
			}
			for _, virtualService := range subject.Snapshot.VirtualServices() {
				own := virtualService.Namespace == subject.Namespace.Name
				if bindsMesh(&virtualService.Spec) && (own || concerns(virtualService.Spec.GetHosts(), virtualService.Namespace, services, subject)) {
					refuse(istioReference(networkingVersion, "VirtualService", virtualService), "spec.hosts",
						"its routes are lost without a waypoint")
				}
			}
			for _, rule := range subject.Snapshot.DestinationRules() {
				own := rule.Namespace == subject.Namespace.Name
				field := effectiveField(&rule.Spec)
				if field != "" && (own || concerns([]string{rule.Spec.GetHost()}, rule.Namespace, services, subject)) {
					refuse(istioReference(networkingVersion, "DestinationRule", rule), field, "its traffic policy is lost without a waypoint")
				}
			}
			for _, route := range subject.Snapshot.Routes() {
				if routesServiceOf(route, subject.Namespace.Name) {
					refuse(reference(route.Reference), "spec.parentRefs", "its routes are lost without a waypoint")
				}
			}
			return findings
		},
	}
}

// outboundRouting is about rules for services elsewhere: the callers of this
// namespace lose them with their sidecars. Who calls what cannot be seen, so
// it is announced, not refused.
func outboundRouting() Check {
	return Check{
		ID: "outbound-routing", Category: CategoryRouting, Severity: v1alpha1.SeverityWarning,
		Needs:  []string{"VirtualService", "DestinationRule", "Service"},
		Passed: "no routing rule for other namespaces is visible here",
		Run: func(subject Subject) []Finding {
			services := serviceNames(subject)
			var findings []Finding
			for _, virtualService := range subject.Snapshot.VirtualServices() {
				if virtualService.Namespace == subject.Namespace.Name || !bindsMesh(&virtualService.Spec) ||
					!exported(virtualService.Spec.GetExportTo(), subject.Namespace.Name) ||
					concerns(virtualService.Spec.GetHosts(), virtualService.Namespace, services, subject) {
					continue
				}
				findings = append(findings, Finding{
					Status: v1alpha1.StatusWarn, Object: istioReference(networkingVersion, "VirtualService", virtualService), Field: "spec.hosts",
					Message: "callers in this namespace no longer follow it, unless the service has a waypoint",
				})
			}
			for _, rule := range subject.Snapshot.DestinationRules() {
				field := effectiveField(&rule.Spec)
				if rule.Namespace == subject.Namespace.Name || field == "" || !exported(rule.Spec.GetExportTo(), subject.Namespace.Name) ||
					concerns([]string{rule.Spec.GetHost()}, rule.Namespace, services, subject) {
					continue
				}
				findings = append(findings, Finding{
					Status: v1alpha1.StatusWarn, Object: istioReference(networkingVersion, "DestinationRule", rule), Field: field,
					Message: "callers in this namespace no longer follow it, unless the service has a waypoint",
				})
			}
			return findings
		},
	}
}

func serviceEntries() Check {
	return Check{
		ID: "service-entries", Category: CategoryRouting, Severity: v1alpha1.SeverityError,
		Needs: []string{"ServiceEntry"}, Passed: "no ServiceEntry of this namespace needs a waypoint",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, entry := range subject.Snapshot.ServiceEntries() {
				wildcard := slices.ContainsFunc(entry.Spec.GetHosts(), func(host string) bool { return strings.HasPrefix(host, "*") })
				if entry.Namespace != subject.Namespace.Name || !wildcard {
					continue
				}
				findings = append(findings, Finding{
					Status: v1alpha1.StatusFail, Object: istioReference(networkingVersion, "ServiceEntry", entry), Field: "spec.hosts",
					Message: "wildcard hosts are not resolved by ztunnel: they need a waypoint", Remedy: later,
				})
			}
			return findings
		},
	}
}

func sidecarResource() Check {
	return Check{
		ID: "sidecar-resource", Category: CategoryRouting, Severity: v1alpha1.SeverityError,
		Needs:  append(rootNamespaces("Sidecar"), workloadKinds()...),
		Passed: "nothing restricts what callers here may call",
		Run: func(subject Subject) []Finding {
			findings := meshRegistryOnly(subject)
			for _, sidecar := range subject.Snapshot.Sidecars() {
				if !appliesNetworking(subject, sidecar.Namespace, sidecar.Spec.GetWorkloadSelector()) {
					continue
				}
				finding := Finding{
					Status: v1alpha1.StatusWarn, Object: istioReference(networkingVersion, "Sidecar", sidecar), Field: "spec",
					Message: "it has no effect in ambient mode",
				}
				if sidecar.Spec.GetOutboundTrafficPolicy().GetMode() == networkingv1alpha3.OutboundTrafficPolicy_REGISTRY_ONLY && sidecar.Spec.GetOutboundTrafficPolicy() != nil {
					finding.Status = v1alpha1.StatusFail
					finding.Field = "spec.outboundTrafficPolicy.mode"
					finding.Message, finding.Remedy = registryOnlyEnds, registryOnlyRemedy
				}
				findings = append(findings, finding)
			}
			return findings
		},
	}
}

const (
	registryOnlyEnds   = "REGISTRY_ONLY ends: ztunnel lets calls to unknown destinations pass"
	registryOnlyRemedy = "restrict them by NetworkPolicy or an egress waypoint, then remove the field"
)

// meshRegistryOnly is the same restriction, made for the whole mesh.
func meshRegistryOnly(subject Subject) []Finding {
	var findings []Finding
	for _, configuration := range subject.Snapshot.Configurations() {
		if configuration.OutboundTrafficPolicy.Mode == networkingv1alpha3.OutboundTrafficPolicy_REGISTRY_ONLY.String() {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusFail, Object: reference(configuration.ConfigMap), Field: "data.mesh (outboundTrafficPolicy.mode)",
				Message: registryOnlyEnds, Remedy: registryOnlyRemedy,
			})
		}
	}
	return findings
}

func appliesNetworking(subject Subject, namespace string, selector *networkingv1alpha3.WorkloadSelector) bool {
	if namespace == subject.Namespace.Name {
		return true
	}
	return slices.Contains(subject.Snapshot.RootNamespaces(), namespace) && selectsAny(subject, selector.GetLabels())
}

func serviceNames(subject Subject) []string {
	var names []string
	for _, service := range subject.Snapshot.Services(subject.Namespace.Name) {
		names = append(names, service.Name)
	}
	return names
}

func bindsMesh(spec *networkingv1alpha3.VirtualService) bool {
	return len(spec.GetGateways()) == 0 || slices.Contains(spec.GetGateways(), meshGateway)
}

// effectiveField returns the first field of a DestinationRule that ambient
// mode does not fulfil by itself. Subsets alone do nothing, and mTLS between
// workloads is what ztunnel does anyway.
func effectiveField(spec *networkingv1alpha3.DestinationRule) string {
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

func exported(exportTo []string, namespace string) bool {
	return len(exportTo) == 0 || slices.Contains(exportTo, "*") || slices.Contains(exportTo, namespace)
}

func concerns(hosts []string, written string, services []string, subject Subject) bool {
	return slices.ContainsFunc(hosts, func(host string) bool {
		return hostNames(host, written, services, subject.Namespace.Name)
	})
}

func routesServiceOf(route mesh.Route, namespace string) bool {
	for _, parent := range route.Parents {
		if parent.Kind == nil || *parent.Kind != "Service" {
			continue
		}
		in := route.Reference.Namespace
		if parent.Namespace != nil {
			in = string(*parent.Namespace)
		}
		if in == namespace || route.Reference.Namespace == namespace {
			return true
		}
	}
	return false
}

// hostNames says whether a host, as VirtualServices and DestinationRules write
// it in their own namespace, can mean a Service of another namespace.
func hostNames(host, written string, services []string, namespace string) bool {
	if strings.HasPrefix(host, "*") {
		suffix := strings.TrimPrefix(host, "*")
		return slices.ContainsFunc(services, func(service string) bool {
			return strings.HasSuffix(service+"."+namespace+".svc.cluster.local", suffix)
		})
	}
	name, rest, qualified := strings.Cut(host, ".")
	if !qualified {
		return written == namespace && slices.Contains(services, name)
	}
	in, _, _ := strings.Cut(rest, ".")
	return in == namespace && slices.Contains(services, name)
}
