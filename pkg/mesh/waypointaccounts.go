package mesh

import (
	"cmp"
	"slices"

	"istio.io/api/annotation"
	"istio.io/api/label"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// AccountOf is the service account that a waypoint runs as: one of its own name, unless
// an annotation says otherwise (istio
// pilot/pkg/config/kube/gatewaycommon/deploymentcontroller.go).
func AccountOf(gateway gatewayv1.Gateway) string {
	return cmp.Or(gateway.Annotations[annotation.GatewayServiceAccount.Name], gateway.Name)
}

// Sharing is who runs as the service account of a waypoint besides it.
type Sharing struct {
	// Known are workloads, and pods of none, by kind and name.
	Known []string
	// Unread is how many pods may, of which only metadata was read. None are counted
	// where the account has the waypoint's own name: istiod makes that one for it.
	Unread int
}

// Any says whether somebody does, as far as is known, or may.
func (s Sharing) Any() bool { return len(s.Known) > 0 || s.Unread > 0 }

// SharingAccount returns who else runs as a service account that a waypoint, which need
// not be there yet, runs as.
func (s *Snapshot) SharingAccount(namespace, waypoint, account string) Sharing {
	var sharing Sharing
	own := func(labels map[string]string) bool {
		return IsWaypointPod(labels) && labels[label.IoK8sNetworkingGatewayGatewayName.Name] == waypoint
	}
	is := func(name string) bool { return cmp.Or(name, "default") == account }
	templated := map[string]bool{}
	for _, workload := range s.Workloads(namespace) {
		if own(workload.Template.Labels) || !is(workload.Template.Spec.ServiceAccountName) {
			continue
		}
		sharing.Known = append(sharing.Known, workload.Reference.Kind+" "+workload.Reference.Name)
		for _, pod := range s.PodsOf(workload) {
			templated[pod.Name] = true
		}
	}
	for _, pod := range s.Pods(namespace) {
		switch {
		case own(pod.Labels) || templated[pod.Name]:
		case !pod.Detailed && account != waypoint:
			sharing.Unread++
		case pod.Detailed && is(pod.ServiceAccount):
			sharing.Known = append(sharing.Known, KindPod+" "+pod.Name)
		}
	}
	slices.Sort(sharing.Known)
	return sharing
}

// WaypointsSharingAccounts are the waypoints that others run, or may run, as the
// service account of.
func (s *Snapshot) WaypointsSharingAccounts() []gatewayv1.Gateway {
	return slices.DeleteFunc(slices.Clone(s.gateways), func(gateway gatewayv1.Gateway) bool {
		return !s.IsWaypoint(gateway) || !s.SharingAccount(gateway.Namespace, gateway.Name, AccountOf(gateway)).Any()
	})
}
