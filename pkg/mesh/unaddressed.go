package mesh

import (
	"slices"
	"strconv"
	"strings"

	"istio.io/api/annotation"
	"istio.io/api/label"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	clientnetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// Unaddressed says, by a field and in words, why callers in ambient mode call none of a
// ServiceEntry's hosts by an address that ztunnel knows it by, so that it neither leads
// them to its endpoints nor through a waypoint. Both are empty where they do. Istiod
// allocates addresses to entries without, but for some of them (istio
// pilot/pkg/networking/serviceentry/ip_autoallocation.go, and
// pilot/pkg/serviceregistry/ambient/services.go, constructServiceEntries), and pods learn
// these from ztunnel's DNS alone.
func (s *Snapshot) Unaddressed(entry *clientnetworkingv1.ServiceEntry) (field, why string) {
	if len(entry.Spec.GetAddresses()) > 0 {
		return "", ""
	}
	name, resolution := label.NetworkingEnableAutoallocateIp.Name, entry.Spec.GetResolution()
	switch {
	case resolution == networkingv1alpha3.ServiceEntry_NONE:
		return "spec.resolution", "it has no address, and istiod allocates none with resolution NONE"
	case resolution != networkingv1alpha3.ServiceEntry_DYNAMIC_DNS && !slices.ContainsFunc(entry.Spec.GetHosts(), func(host string) bool { return !strings.HasPrefix(host, "*") }):
		return "spec.hosts", "it has no address, and istiod allocates none to wildcard hosts with resolution " + resolution.String()
	case strings.EqualFold(entry.Labels[name], "false"):
		return "metadata.labels[" + name + "]", "it has no address, and istiod may not allocate one"
	case !s.capturesDNS(entry.Namespace):
		return "spec.addresses", "it has no address, and ambient pods do not learn the one that istiod allocates: AMBIENT_DNS_CAPTURE is off in istio-cni"
	default:
		return "", ""
	}
}

// capturesDNS says whether istio-cni leads the DNS of ambient pods to ztunnel: of all by
// its ConfigMap, or of any of a namespace by their annotation (istio
// cni/pkg/nodeagent/net.go).
func (s *Snapshot) capturesDNS(namespace string) bool {
	config, found := s.CNIConfig()
	capture, set := config.Data["AMBIENT_DNS_CAPTURE"]
	return !found || !set || capture == "true" || slices.ContainsFunc(s.Workloads(namespace), func(workload Workload) bool {
		own, err := strconv.ParseBool(workload.Template.Annotations[annotation.AmbientDnsCapture.Name])
		return err == nil && own
	})
}
