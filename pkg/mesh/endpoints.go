package mesh

import (
	"maps"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// sliceController keeps the EndpointSlices of Services with selectors (kubernetes
// pkg/controller/endpointslice).
const sliceController = "endpointslice-controller.k8s.io"

// WrittenEndpoint is a pod that an EndpointSlice puts behind a Service which
// Kubernetes does not keep itself: somebody wrote it, or the Endpoints that it
// mirrors.
type WrittenEndpoint struct {
	Slice, Service v1alpha1.ObjectReference
	Pod            Pod
	// Bound is true where the endpoint names the pod; otherwise it has the pod's
	// address only.
	Bound bool
	// Ports are the pod's, by the names of the Service's.
	Ports map[string]uint32
}

// WrittenEndpoints returns those whose pods are known, by slice. Of pods whose
// metadata alone was read no address is known, and addresses on the host's network
// are no pod's own.
func (s *Snapshot) WrittenEndpoints() []WrittenEndpoint {
	var all []WrittenEndpoint
	finder := podFinder{snapshot: s}
	for i := range s.slices {
		slice := &s.slices[i]
		service := slice.Labels[discoveryv1.LabelServiceName]
		if service == "" || slice.Labels[discoveryv1.LabelManagedBy] == sliceController || slice.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		ports := slicePorts(slice)
		for _, endpoint := range slice.Endpoints {
			pod, bound, found := finder.find(endpoint)
			if !found {
				continue
			}
			all = append(all, WrittenEndpoint{
				Slice:   v1alpha1.ObjectReference{APIVersion: "discovery.k8s.io/v1", Kind: KindEndpointSlice, Namespace: slice.Namespace, Name: slice.Name},
				Service: ServiceReference(slice.Namespace, service), Pod: pod, Bound: bound, Ports: ports,
			})
		}
	}
	return all
}

// HasEndpointSlices says whether any EndpointSlice of a Service was read.
func (s *Snapshot) HasEndpointSlices(namespace, service string) bool {
	for i := range s.slices {
		if s.slices[i].Namespace == namespace && s.slices[i].Labels[discoveryv1.LabelServiceName] == service {
			return true
		}
	}
	return false
}

func slicePorts(slice *discoveryv1.EndpointSlice) map[string]uint32 {
	ports := map[string]uint32{}
	for _, port := range slice.Ports {
		if port.Port == nil || port.Protocol != nil && *port.Protocol != corev1.ProtocolTCP {
			continue
		}
		name := ""
		if port.Name != nil {
			name = *port.Name
		}
		ports[name] = PortNumber(*port.Port)
	}
	return ports
}

// podFinder finds pods by what endpoints say of them.
type podFinder struct {
	snapshot *Snapshot
	// byAddress is made when the first endpoint without a name asks for it.
	byAddress map[string]Pod
}

func (f *podFinder) find(endpoint discoveryv1.Endpoint) (pod Pod, bound, found bool) {
	if target := endpoint.TargetRef; target != nil && target.Kind == KindPod {
		for _, pod := range f.snapshot.pods[target.Namespace] {
			if pod.Name == target.Name && pod.Live() {
				return pod, true, true
			}
		}
		return Pod{}, true, false
	}
	for _, address := range endpoint.Addresses {
		if pod, found := f.at(address); found {
			return pod, false, true
		}
	}
	return Pod{}, false, false
}

func (f *podFinder) at(address string) (Pod, bool) {
	if f.byAddress == nil {
		f.byAddress = map[string]Pod{}
		for _, namespace := range slices.Sorted(maps.Keys(f.snapshot.pods)) {
			for _, pod := range f.snapshot.pods[namespace] {
				if !pod.Live() || pod.HostNetwork {
					continue
				}
				for _, own := range pod.Addresses {
					f.byAddress[own] = pod
				}
			}
		}
	}
	pod, found := f.byAddress[address]
	return pod, found
}

// PodsAt returns the pods, on a network of their own, that have any of some
// addresses.
func (s *Snapshot) PodsAt(addresses []string) []Pod {
	finder := podFinder{snapshot: s}
	var pods []Pod
	for _, address := range addresses {
		if pod, found := finder.at(address); found {
			pods = append(pods, pod)
		}
	}
	return pods
}
