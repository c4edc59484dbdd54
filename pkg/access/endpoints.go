package access

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// written is how an EndpointSlice that people write puts the pods of a workload
// behind a Service. Whoever wrote it for pods that are there is taken to write it
// for those that come after them.
type written struct {
	slice v1alpha1.ObjectReference
	// bound is true where it names the pods; otherwise it has their addresses only.
	bound bool
	// ports are the pods', by the names of the Service's.
	ports map[string]uint32
}

// written finds the workloads behind Services by their EndpointSlices.
func (b *building) written() map[v1alpha1.ObjectReference]map[v1alpha1.ObjectReference]*written {
	links := map[v1alpha1.ObjectReference]map[v1alpha1.ObjectReference]*written{}
	for _, endpoint := range b.snapshot.WrittenEndpoints() {
		workload, atHand := b.workloadOf[types.NamespacedName{Namespace: endpoint.Pod.Namespace, Name: endpoint.Pod.Name}]
		if !atHand {
			continue
		}
		if links[endpoint.Service] == nil {
			links[endpoint.Service] = map[v1alpha1.ObjectReference]*written{}
		}
		if known := links[endpoint.Service][workload]; known == nil || known.bound && !endpoint.Bound {
			// Of several the one decides that knows least.
			links[endpoint.Service][workload] = &written{slice: endpoint.Slice, bound: endpoint.Bound, ports: endpoint.Ports}
		}
	}
	return links
}

// knows says whether callers' proxies know of the pod behind an endpoint: one by
// address only they look up among the pods of the EndpointSlice's namespace (istio
// pilot/pkg/serviceregistry/kube/controller/endpointslice.go, getPod).
func (s *Service) knows(server *Server) bool {
	written := s.writtenFor(server)
	return written == nil || written.bound || written.slice.Namespace == server.Workload.Namespace
}

// opaque says whether ztunnel takes an endpoint of the Service for a mere address,
// to which it speaks plaintext (istio pilot/pkg/serviceregistry/ambient/workloads.go,
// endpointSlicesBuilder). Headless Services have no address by which it could tell
// that a call is for them.
func (s *Service) opaque(server *Server) bool {
	written := s.writtenFor(server)
	return written != nil && !written.bound && !s.Headless
}

// heeds says whether a sidecar takes the protocols of its ports from a Service:
// EndpointSlices that people write count where no Service selects the pod, and in
// its own namespace (istio pilot/pkg/serviceregistry/kube/controller/controller.go,
// GetProxyServiceTargets).
func (s *Server) heeds(service *Service) bool {
	written := service.writtenFor(s)
	if written == nil {
		return true
	}
	return written.slice.Namespace == s.Workload.Namespace && !slices.ContainsFunc(s.services, func(other *Service) bool {
		return other.Reference.Kind == mesh.KindService && other.selectsLabels(s)
	})
}

// noteUnknown notes what leads to servers in ways that are not modelled.
func (b *building) noteUnknown() {
	unread := b.unreadEndpoints()
	for _, server := range b.state.Servers {
		server.unknown = append(server.unknown, unread...)
		for _, service := range server.services {
			written := service.writtenFor(server)
			if written == nil || !written.bound || service.Headless {
				continue
			}
			for _, port := range service.Ports {
				// ztunnel goes by the Service, Envoys by the EndpointSlice.
				if target := server.target(port); target != written.ports[port.Name] {
					server.unknown = append(server.unknown, fmt.Sprintf("port %d of %s leads to its port %d by spec.ports[].targetPort and to %d by %s: callers with and without sidecars differ",
						port.Port, service.Reference, target, written.ports[port.Name], written.slice))
				}
			}
		}
	}
	b.noteEntries()
}

// unreadEndpoints names the Services without selector whose endpoints may be any
// pods, as they could not be read.
func (b *building) unreadEndpoints() []string {
	if b.snapshot.Coverage(mesh.HandWrittenEndpoints, "").Known() {
		return nil
	}
	var unread []string
	for _, service := range b.snapshot.AllServices() {
		if len(service.Spec.Selector) > 0 || service.Spec.Type == corev1.ServiceTypeExternalName || b.snapshot.HasEndpointSlices(service.Namespace, service.Name) ||
			service.Namespace == corev1.NamespaceDefault && service.Name == "kubernetes" {
			continue
		}
		unread = append(unread, fmt.Sprintf("%s has no selector, and its EndpointSlices, which may lead to these pods, were not read", mesh.ServiceReference(service.Namespace, service.Name)))
	}
	return unread
}
