package access

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	clientnetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/types"
)

func entryReference(entry *clientnetworkingv1.ServiceEntry) v1alpha1.ObjectReference {
	return mesh.ServiceEntryReference(entry.Namespace, entry.Name)
}

// entryOf is a ServiceEntry as a Service in front of the pods that it selects.
func entryOf(entry *clientnetworkingv1.ServiceEntry) *Service {
	selector := entry.Spec.GetWorkloadSelector().GetLabels()
	service := &Service{
		Reference: entryReference(entry), Labels: entry.Labels, Selector: selector, selector: selectorOf(selector),
		Addresses: entryAddresses(entry), created: entry.CreationTimestamp.Time,
	}
	if hosts := entry.Spec.GetHosts(); len(hosts) > 0 {
		service.Host = hosts[0]
	}
	for _, port := range entry.Spec.GetPorts() {
		protocol, tls := mesh.EntryPortProtocol(port)
		// A container's port of the same name comes before the numbers (istio
		// pilot/pkg/serviceregistry/serviceentry/conversion.go,
		// convertWorkloadInstanceToServiceInstance, and ambient/workloads.go,
		// constructServices).
		service.Ports = append(service.Ports, ServicePort{
			Name: port.GetName(), Port: port.GetNumber(), Target: cmp.Or(port.GetTargetPort(), port.GetNumber()), TargetName: port.GetName(),
			Protocol: protocol, TLS: tls,
		})
	}
	return service
}

// entryAddresses are its own, or those that istiod has given it.
func entryAddresses(entry *clientnetworkingv1.ServiceEntry) []netip.Addr {
	if written := entry.Spec.GetAddresses(); len(written) > 0 {
		return parseAddresses(written)
	}
	var given []string
	for _, address := range entry.Status.GetAddresses() {
		given = append(given, address.GetValue())
	}
	return parseAddresses(given)
}

// noteEntries notes the ServiceEntries that lead to servers in ways that are not
// modelled.
func (b *building) noteEntries() {
	for _, entry := range b.snapshot.ServiceEntries() {
		if odd := oddEntry(entry); odd != "" && len(entry.Spec.GetWorkloadSelector().GetLabels()) > 0 {
			for _, server := range b.state.Servers {
				if entryOf(entry).selectsLabels(server) {
					server.unknown = append(server.unknown, odd)
				}
			}
		}
		b.noteAddresses(entry)
	}
}

// oddEntry says why it is not known how calls go to the pods that a ServiceEntry
// selects, if it is not.
func oddEntry(entry *clientnetworkingv1.ServiceEntry) string {
	name, spec := entryReference(entry), &entry.Spec
	switch {
	case spec.GetResolution() != networkingv1alpha3.ServiceEntry_STATIC:
		return fmt.Sprintf("%s selects its pods with spec.resolution %s: where calls go is not known", name, spec.GetResolution())
	case spec.GetLocation() != networkingv1alpha3.ServiceEntry_MESH_INTERNAL:
		return fmt.Sprintf("%s selects its pods with spec.location %s: whether sidecars speak mTLS to them is not known", name, spec.GetLocation())
	case len(spec.GetAddresses()) == 0 && strings.EqualFold(entry.Labels[label.NetworkingEnableAutoallocateIp.Name], "false"):
		return fmt.Sprintf("%s selects its pods and has no spec.addresses: what its callers dial is not known", name)
	case slices.ContainsFunc(spec.GetAddresses(), func(text string) bool { return len(parseAddresses([]string{text})) == 0 }):
		return fmt.Sprintf("%s selects its pods and spec.addresses holds blocks: what its callers dial is not known", name)
	case slices.ContainsFunc(spec.GetHosts(), func(host string) bool { return strings.HasPrefix(host, "*") }):
		return fmt.Sprintf("%s selects its pods and spec.hosts has a wildcard: what its callers dial is not known", name)
	default:
		return ""
	}
}

// noteAddresses: endpoints of a ServiceEntry that are addresses of pods are workloads
// of their own to istiod, without the pods' labels and identities, and which of the
// two a proxy minds is not known.
func (b *building) noteAddresses(entry *clientnetworkingv1.ServiceEntry) {
	var addresses []string
	for _, endpoint := range entry.Spec.GetEndpoints() {
		addresses = append(addresses, endpoint.GetAddress())
	}
	if len(addresses) == 0 {
		return
	}
	for _, pod := range b.snapshot.PodsAt(addresses) {
		workload, atHand := b.workloadOf[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}]
		for _, server := range b.state.Servers {
			if atHand && server.Workload == workload {
				server.unknown = append(server.unknown, fmt.Sprintf("%s spec.endpoints has the address of its pod %s: how such calls go is not known", entryReference(entry), pod.Name))
			}
		}
	}
}
