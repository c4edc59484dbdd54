package checks

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	clientnetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

func serviceEntries() Check {
	return Check{
		ID: "service-entries", Category: CategoryRouting, Severity: v1alpha1.SeverityError,
		About: "Looks at the ServiceEntries of this namespace, and at those that exportTo hides from it.",
		Why: "A sidecar tells an external service by the name in the request, ztunnel by the address of the connection: a service without an " +
			"address that istiod could send it, wildcard hosts above all, is unknown to it, and calls go wherever the application's own DNS says " +
			"(istio pilot/pkg/serviceregistry/ambient/services.go, constructServiceEntries). Where the entry has endpoints of its own, or needs " +
			"one resolved for each call, those calls break. With resolution NONE they go to the same place as before. exportTo is not heeded in " +
			"ambient mode.",
		Needs: []string{
			mesh.KindServiceEntry, "Namespace", mesh.KindGateway, mesh.KindGatewayClass, mesh.IstioConfigMaps, mesh.KindDaemonSet,
		},
		Passed: "ztunnel knows every ServiceEntry of this namespace as its sidecars do",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			var hidden []string
			for _, entry := range subject.Snapshot.ServiceEntries() {
				if entry.Namespace != subject.Namespace.Name {
					if !exported(entry.Spec.GetExportTo(), subject.Namespace.Name) {
						hidden = append(hidden, entry.Namespace+"/"+entry.Name)
					}
					continue
				}
				findings = append(findings, entryFindings(subject, entry)...)
			}
			if len(hidden) > 0 {
				findings = append(findings, Finding{
					Status:  v1alpha1.StatusWarn,
					Message: "exportTo is not heeded in ambient mode, so that ambient pods here see entries that it hides from sidecars: " + some(hidden),
				})
			}
			return findings
		},
	}
}

func entryFindings(subject Subject, entry *clientnetworkingv1.ServiceEntry) []Finding {
	var findings []Finding
	say := func(status v1alpha1.CheckStatus, field, message, remedy string) {
		findings = append(findings, Finding{
			Status: status, Object: istioReference(networkingVersion, mesh.KindServiceEntry, entry), Field: field, Message: message, Remedy: remedy,
		})
	}
	_, bound := subject.Snapshot.WaypointOf(entry.Labels, subject.Namespace)
	bound = bound || subject.fronted(mesh.ServiceEntryReference(entry.Namespace, entry.Name))
	resolution, addresses := entry.Spec.GetResolution(), len(entry.Spec.GetAddresses()) > 0
	wildcard := slices.ContainsFunc(entry.Spec.GetHosts(), func(host string) bool { return strings.HasPrefix(host, "*") })
	switch {
	case wildcard && resolution == networkingv1alpha3.ServiceEntry_NONE && (!bound || !addresses):
		say(v1alpha1.StatusWarn, "spec.hosts",
			"wildcard hosts are not told apart by ztunnel: calls go to the same place, and what else Istio does for these hosts ends",
			"resolution DYNAMIC_DNS and a waypoint keep it")
	case wildcard && !addresses && resolution != networkingv1alpha3.ServiceEntry_DYNAMIC_DNS:
		say(v1alpha1.StatusFail, "spec.hosts",
			fmt.Sprintf("istiod allocates no address for wildcard hosts with resolution %s: ztunnel cannot tell calls to them", resolution),
			"name the hosts that are called, or give it an address in spec.addresses")
	case resolution == networkingv1alpha3.ServiceEntry_DYNAMIC_DNS && !bound:
		say(v1alpha1.StatusFail, cmp.Or(fieldIf(wildcard, "spec.hosts"), "spec.resolution"),
			fmt.Sprintf("hosts with resolution %s are not resolved by ztunnel: they need a waypoint", resolution),
			"label it with "+label.IoIstioUseWaypoint.Name+", naming a waypoint that is there")
	case !wildcard && redirects(&entry.Spec) && !addresses:
		if field, why := subject.Snapshot.Unaddressed(entry); field != "" {
			say(v1alpha1.StatusFail, field, why+": ztunnel could not lead calls to its endpoints", "give it an address in spec.addresses that the hosts resolve to")
		} else if len(entry.Status.GetAddresses()) == 0 {
			say(v1alpha1.StatusWarn, "status.addresses",
				"ztunnel leads calls to its endpoints only by an address: it has none of its own, and istiod has not allocated one yet", "")
		}
	}
	if exports := entry.Spec.GetExportTo(); len(exports) > 0 && !slices.Contains(exports, "*") {
		say(v1alpha1.StatusWarn, "spec.exportTo", "it is not heeded in ambient mode: ambient pods of every namespace see the entry", "")
	}
	return findings
}

func fieldIf(is bool, field string) string {
	if is {
		return field
	}
	return ""
}

// redirects says whether calls to an entry's hosts go elsewhere than where the
// DNS says.
func redirects(entry *networkingv1alpha3.ServiceEntry) bool {
	return entry.GetResolution() != networkingv1alpha3.ServiceEntry_NONE && (len(entry.GetEndpoints()) > 0 || entry.GetWorkloadSelector() != nil)
}

func sidecarResource() Check {
	return Check{
		ID: "sidecar-resource", Category: CategoryRouting, Severity: v1alpha1.SeverityError,
		About: "Looks at the Sidecar resource, or the mesh's outbound traffic policy, that decides for each pod that loses its sidecar.",
		Why: "Nothing in ambient mode reads Sidecar resources. ztunnel lets calls to unknown destinations pass, so that REGISTRY_ONLY, or a proxy " +
			"that such calls had to take, no longer keeps anything from leaving: a security boundary is gone. Listeners that it defines, inbound " +
			"and outbound, are gone as well, and with them every call to them. What only keeps configuration small is announced.",
		Needs:  append(rootNamespaces("Sidecar", "Namespace", "MutatingWebhookConfiguration"), workloadKinds()...),
		Passed: "nothing restricts what callers here may call",
		Run: func(subject Subject) []Finding {
			governing, ungoverned := governingSidecars(subject)
			var findings []Finding
			if ungoverned {
				findings = meshRegistryOnly(subject)
			}
			for _, sidecar := range subject.Snapshot.Sidecars() {
				if slices.Contains(governing, sidecar) {
					findings = append(findings, sidecarFindings(sidecar)...)
				}
			}
			return findings
		},
	}
}

// governingSidecars are the Sidecar resources that decide for pods with sidecars:
// of the namespace those that select them, then those for all, then the root
// namespace's, the oldest of each (istio pilot/pkg/model/push_context.go,
// initSidecarScopes and getSidecarScope). Where none sets an outbound traffic
// policy, the mesh's holds.
func governingSidecars(subject Subject) (governing []*clientnetworkingv1.Sidecar, byMesh bool) {
	var candidates []*clientnetworkingv1.Sidecar
	sidecars := subject.Snapshot.Sidecars()
	slices.SortStableFunc(sidecars, func(a, b *clientnetworkingv1.Sidecar) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	for _, wide := range []bool{false, true} {
		for _, sidecar := range sidecars {
			if sidecar.Namespace == subject.Namespace.Name && (sidecar.Spec.GetWorkloadSelector() == nil) == wide {
				candidates = append(candidates, sidecar)
			}
		}
	}
	for _, sidecar := range sidecars {
		if sidecar.Namespace != subject.Namespace.Name && slices.Contains(subject.Snapshot.RootNamespaces(), sidecar.Namespace) &&
			sidecar.Spec.GetWorkloadSelector() == nil {
			candidates = append(candidates, sidecar)
		}
	}
	for _, set := range sidecarSets(subject) {
		i := slices.IndexFunc(candidates, func(sidecar *clientnetworkingv1.Sidecar) bool {
			return mesh.SelectsLabels(sidecar.Spec.GetWorkloadSelector().GetLabels(), set)
		})
		if i >= 0 && !slices.Contains(governing, candidates[i]) {
			governing = append(governing, candidates[i])
		}
		byMesh = byMesh || i < 0 || candidates[i].Spec.GetOutboundTrafficPolicy() == nil
	}
	return governing, byMesh
}

// sidecarSets are the labels of pods that have sidecars or would get them; an
// empty set where there are none.
func sidecarSets(subject Subject) []map[string]string {
	var sets []map[string]string
	for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
		if subject.Snapshot.RoleOf(workload, subject.Namespace) == mesh.RoleMove {
			sets = append(sets, workload.Template.Labels)
		}
	}
	for _, pod := range subject.Snapshot.Pods(subject.Namespace.Name) {
		if pod.HasSidecar() {
			sets = append(sets, pod.Labels)
		}
	}
	if len(sets) == 0 {
		return []map[string]string{{}}
	}
	return sets
}

const (
	registryOnlyEnds   = "REGISTRY_ONLY ends: ztunnel lets calls to unknown destinations pass"
	registryOnlyRemedy = "restrict them by NetworkPolicy or an egress waypoint, then remove the field"
)

func sidecarFindings(sidecar *clientnetworkingv1.Sidecar) []Finding {
	var findings []Finding
	say := func(status v1alpha1.CheckStatus, field, message, remedy string) {
		findings = append(findings, Finding{
			Status: status, Object: istioReference(networkingVersion, mesh.KindSidecar, sidecar), Field: field, Message: message, Remedy: remedy,
		})
	}
	policy := sidecar.Spec.GetOutboundTrafficPolicy()
	if policy != nil && policy.GetMode() == networkingv1alpha3.OutboundTrafficPolicy_REGISTRY_ONLY {
		say(v1alpha1.StatusFail, "spec.outboundTrafficPolicy.mode", registryOnlyEnds, registryOnlyRemedy)
	}
	if policy.GetEgressProxy() != nil {
		say(v1alpha1.StatusFail, "spec.outboundTrafficPolicy.egressProxy", "calls to unknown destinations no longer take this proxy: ztunnel lets them pass",
			registryOnlyRemedy)
	}
	for i, listener := range sidecar.Spec.GetIngress() {
		field := fmt.Sprintf("spec.ingress[%d]", i)
		status, part, message := ingressLost(listener)
		switch status {
		case v1alpha1.StatusFail:
			say(status, field+part, message, "let the application listen on that port of the pod itself")
		case v1alpha1.StatusWarn:
			say(status, field+part, message, "let the application listen on the pod's address")
		default:
		}
	}
	for i, listener := range sidecar.Spec.GetEgress() {
		if listener.GetBind() != "" || listener.GetCaptureMode() == networkingv1alpha3.CaptureMode_NONE {
			say(v1alpha1.StatusFail, fmt.Sprintf("spec.egress[%d]", i), "the application calls a listener of its sidecar, which is gone in ambient mode",
				"let the application call the destination itself")
		}
	}
	if len(findings) == 0 {
		say(v1alpha1.StatusWarn, "spec", "it has no effect in ambient mode",
			fmt.Sprintf("once the namespace is moved: kubectl -n %s delete sidecars.networking.istio.io %s", sidecar.Namespace, sidecar.Name))
	}
	return findings
}

// ingressLost says what becomes of calls to an inbound listener once nobody
// forwards them: they arrive at the port itself.
func ingressLost(listener *networkingv1alpha3.IstioIngressListener) (status v1alpha1.CheckStatus, part, message string) {
	port, endpoint := strconv.Itoa(int(listener.GetPort().GetNumber())), listener.GetDefaultEndpoint()
	host, to, err := net.SplitHostPort(endpoint)
	switch {
	case listener.GetTls() != nil:
		return v1alpha1.StatusFail, ".tls", "the sidecar ends TLS on port " + port + ", ztunnel does not"
	case endpoint == "":
		return "", "", ""
	case err != nil || to != port:
		return v1alpha1.StatusFail, ".defaultEndpoint", "the sidecar leads calls from port " + port + " to " + endpoint + ", ztunnel does not"
	case host == "127.0.0.1" || host == "::1":
		return v1alpha1.StatusWarn, ".defaultEndpoint", "calls come to port " + port + " of the pod's address: an application that listens on " + host + " only does not get them"
	default:
		return "", "", ""
	}
}

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
