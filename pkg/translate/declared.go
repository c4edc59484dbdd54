package translate

import (
	"cmp"
	"slices"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
)

// declaration is what a Service or a ServiceEntry says of the ports of pods behind it.
type declaration struct {
	created time.Time
	host    string
	// of are the ports that it declares of some pods, none where they are not behind it.
	of func(pods) []declaredPort
}

// declaredPort is a port of pods, and what it is declared to carry.
type declaredPort struct {
	number   uint32
	protocol mesh.Protocol
}

// declarations are those that sidecars of the namespace go by: the oldest of them
// says what a port carries, and of several of the same second the first by its host
// name (istio pilot/pkg/model/context.go, SetServiceTargets, and
// pilot/pkg/networking/core/listener_inbound.go, getFilterChainsByServicePort).
func (t *translator) declarations() []declaration {
	var all []declaration
	for _, service := range t.snapshot.Services(t.namespace.Name) {
		if service.Spec.Type == corev1.ServiceTypeExternalName {
			continue
		}
		all = append(all, declaration{
			created: service.CreationTimestamp.Time, host: service.Name + "." + service.Namespace + ".svc.cluster.local",
			of: func(one pods) []declaredPort { return t.declaredBy(&service, one) },
		})
	}
	for _, entry := range t.snapshot.ServiceEntries() {
		selector := entry.Spec.GetWorkloadSelector().GetLabels()
		if entry.Namespace != t.namespace.Name || len(selector) == 0 {
			continue
		}
		host := ""
		if hosts := entry.Spec.GetHosts(); len(hosts) > 0 {
			host = hosts[0]
		}
		all = append(all, declaration{created: entry.CreationTimestamp.Time, host: host, of: func(one pods) []declaredPort {
			if !mesh.SelectsLabels(selector, one.labels) {
				return nil
			}
			var ports []declaredPort
			for _, port := range entry.Spec.GetPorts() {
				protocol, _ := mesh.EntryPortProtocol(port)
				ports = append(ports, declaredPort{number: entryTarget(port, one), protocol: protocol})
			}
			return ports
		}})
	}
	slices.SortStableFunc(all, func(a, b declaration) int { return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.host, b.host)) })
	return all
}

// declaredBy are the ports that a Service declares of pods that it selects, or, where
// no Service does, that EndpointSlices put behind it which somebody has written (istio
// pilot/pkg/serviceregistry/kube/controller/controller.go, GetProxyServiceTargets).
func (t *translator) declaredBy(service *corev1.Service, one pods) []declaredPort {
	var ports []declaredPort
	if selects(service, one) {
		for i, port := range portsOf(service, []pods{one}) {
			protocol, _ := mesh.PortProtocol(service.Spec.Ports[i])
			for _, target := range port.targets {
				ports = append(ports, declaredPort{number: target, protocol: protocol})
			}
		}
		return ports
	}
	if slices.ContainsFunc(t.snapshot.Services(t.namespace.Name), func(other corev1.Service) bool { return selects(&other, one) }) {
		return nil
	}
	for _, endpoint := range t.written[mesh.ServiceReference(service.Namespace, service.Name)] {
		if one.name != mesh.KindPod+" "+endpoint.Pod.Name || endpoint.Slice.Namespace != t.namespace.Name {
			continue
		}
		for _, port := range service.Spec.Ports {
			if number, named := endpoint.Ports[port.Name]; named {
				protocol, _ := mesh.PortProtocol(port)
				ports = append(ports, declaredPort{number: number, protocol: protocol})
			}
		}
	}
	return ports
}

func selects(service *corev1.Service, one pods) bool {
	return len(service.Spec.Selector) > 0 && mesh.SelectsLabels(service.Spec.Selector, one.labels)
}
