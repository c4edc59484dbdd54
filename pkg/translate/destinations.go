package translate

import (
	"cmp"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	clientnetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
)

// destination is what a route can lead to: a Service, or else a ServiceEntry.
type destination struct {
	reference v1alpha1.ObjectReference
	service   *corev1.Service
	entry     *clientnetworkingv1.ServiceEntry
}

// destinations are all that routes of the mesh can lead to.
func (t *translator) destinations() []destination {
	var all []destination
	for _, service := range t.snapshot.AllServices() {
		all = append(all, destination{reference: mesh.ServiceReference(service.Namespace, service.Name), service: &service})
	}
	for _, entry := range t.snapshot.ServiceEntries() {
		all = append(all, destination{reference: mesh.ServiceEntryReference(entry.Namespace, entry.Name), entry: entry})
	}
	return all
}

// isCalled says whether a full host name means the destination.
func (d destination) isCalled(host string) bool {
	if d.service != nil {
		return mesh.HostMeans(host, "", d.service.Name, d.service.Namespace)
	}
	return slices.ContainsFunc(d.entry.Spec.GetHosts(), func(own string) bool { return mesh.HostsMatch(own, host) })
}

func (d destination) isAlias() bool {
	return d.service != nil && d.service.Spec.Type == corev1.ServiceTypeExternalName
}

// fullHost is a host that a VirtualService of some namespace sends to: one without a dot
// is that of a Service there (istio pilot/pkg/model/config.go, ResolveShortnameToFQDN).
func fullHost(host, written string) string {
	if host == "" || strings.Contains(host, ".") || strings.HasPrefix(host, "*") {
		return host
	}
	return host + "." + written + ".svc.cluster.local"
}

// answering is what takes the calls to a destination.
type answering struct {
	pods  []pods
	ports portMap
	// elsewhere are the other namespaces with pods that do. Which these are is not known.
	elsewhere []string
}

// answeringFor finds what takes the calls to a destination.
func (t *translator) answeringFor(to destination) answering {
	switch {
	case to.isAlias():
		return t.answeringAlias(to.service.Spec.ExternalName)
	case to.service != nil:
		return t.answeringService(*to.service)
	}
	found := t.selectedByEntry(to.entry)
	for _, endpoint := range to.entry.Spec.GetEndpoints() {
		found.add(t.answeringAt(endpoint.GetAddress(), to.entry, endpoint.GetPorts()))
	}
	if to.entry.Spec.GetResolution() == networkingv1alpha3.ServiceEntry_NONE {
		// The addresses are then where the calls go.
		for _, address := range to.entry.Spec.GetAddresses() {
			found.add(t.answeringAt(address, to.entry, nil))
		}
	}
	return found
}

// answeringAlias finds what an ExternalName is another name for. A route to it leads to
// the service of that name, and to none by way of a second ExternalName (istio
// pilot/pkg/networking/core/route/route.go, GetDestinationCluster).
func (t *translator) answeringAlias(host string) answering {
	var found answering
	for _, to := range t.destinations() {
		if !to.isAlias() && to.isCalled(host) {
			found.add(t.answeringFor(to))
		}
	}
	return found
}

func (a *answering) add(other answering) {
	a.pods, a.ports, a.elsewhere = append(a.pods, other.pods...), append(a.ports, other.ports...), append(a.elsewhere, other.elsewhere...)
}

// answeringService finds what is behind a Service: the pods that it selects, and those
// that somebody has put there, whichever namespace they are of.
func (t *translator) answeringService(service corev1.Service) answering {
	var found answering
	if service.Namespace != t.namespace.Name {
		found.elsewhere = append(found.elsewhere, service.Namespace)
		service.Spec.Selector = nil
	}
	for _, endpoint := range t.written[mesh.ServiceReference(service.Namespace, service.Name)] {
		if endpoint.Pod.Namespace != t.namespace.Name {
			found.elsewhere = append(found.elsewhere, endpoint.Pod.Namespace)
		}
	}
	found.pods = t.selected(&service)
	found.ports = t.portsOf(&service, found.pods)
	return found
}

// selectedByEntry finds what a ServiceEntry selects, which is of its own namespace.
func (t *translator) selectedByEntry(entry *clientnetworkingv1.ServiceEntry) answering {
	switch {
	case len(entry.Spec.GetWorkloadSelector().GetLabels()) == 0:
		return answering{}
	case entry.Namespace != t.namespace.Name:
		return answering{elsewhere: []string{entry.Namespace}}
	}
	front := &fronted{}
	t.frontEntry(front, entry)
	return answering{pods: front.pods, ports: front.ports}
}

// answeringAt finds what a ServiceEntry leads to by an address: that of a pod, the
// address of a Service, or its name.
func (t *translator) answeringAt(address string, entry *clientnetworkingv1.ServiceEntry, ports map[string]uint32) answering {
	var found answering
	if address == "" {
		// An endpoint on another network may have none, and neither has an ExternalName.
		return found
	}
	for _, pod := range t.snapshot.PodsAt([]string{address}) {
		if pod.Namespace != t.namespace.Name {
			found.elsewhere = append(found.elsewhere, pod.Namespace)
			continue
		}
		for _, one := range t.pods {
			if one.name == mesh.KindPod+" "+pod.Name {
				found.pods = append(found.pods, one)
			}
		}
		for _, port := range entry.Spec.GetPorts() {
			target := cmp.Or(ports[port.GetName()], port.GetTargetPort(), port.GetNumber())
			found.ports = append(found.ports, portTarget{service: port.GetNumber(), targets: []uint32{target}})
		}
	}
	for _, service := range t.snapshot.AllServices() {
		if slices.Contains(service.Spec.ClusterIPs, address) || service.Spec.ClusterIP == address || mesh.HostMeans(address, "", service.Name, service.Namespace) {
			found.add(t.answeringService(service))
		}
	}
	return found
}
