package ztunnel

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"
)

// store is what istiod told a ztunnel.
type store struct {
	mutex     sync.Mutex
	workloads map[string]storedWorkload
	services  map[string]Service
	policies  map[string]Policy
	// changes counts what istiod has told.
	changes uint64
}

// storedWorkload keeps the ports that a workload offers to each service, which
// end up in the service's endpoints.
type storedWorkload struct {
	Workload
	ports map[string]map[uint16]uint16
}

func newStore() *store {
	return &store{workloads: map[string]storedWorkload{}, services: map[string]Service{}, policies: map[string]Policy{}}
}

// setAddress stores a workload or a service under the name of its resource.
func (s *store) setAddress(address *workloadapi.Address) error {
	if workload := address.GetWorkload(); workload != nil {
		encoded, err := encodeWorkload(workload)
		if err != nil {
			return err
		}
		ports := map[string]map[uint16]uint16{}
		for service, list := range workload.Services {
			ports[service] = encodePorts(list.Ports)
		}
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.changes++
		s.workloads[workload.Uid] = storedWorkload{encoded, ports}
		return nil
	}
	service, err := encodeService(address.GetService())
	if err != nil {
		return err
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.changes++
	s.services[service.Namespace+"/"+service.Hostname] = service
	return nil
}

// removeAddress removes a workload by its uid or a service by its name.
func (s *store) removeAddress(name string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.changes++
	delete(s.workloads, name)
	delete(s.services, name)
}

func (s *store) setPolicy(name string, policy *security.Authorization) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.changes++
	s.policies[name] = encodePolicy(policy)
}

func (s *store) removePolicy(name string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.changes++
	delete(s.policies, name)
}

// generation is another number after each change.
func (s *store) generation() uint64 {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.changes
}

// sortedWorkloads returns the workloads in the order of their uids.
func (s *store) sortedWorkloads() []Workload {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	result := make([]Workload, 0, len(s.workloads))
	for _, uid := range slices.Sorted(maps.Keys(s.workloads)) {
		result = append(result, s.workloads[uid].Workload)
	}
	return result
}

// sortedPolicies returns the policies in the order of their names.
func (s *store) sortedPolicies() []Policy {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	result := make([]Policy, 0, len(s.policies))
	for _, name := range slices.Sorted(maps.Keys(s.policies)) {
		result = append(result, s.policies[name])
	}
	return result
}

// sortedServices returns the services with their endpoints in the order of
// their hostnames. Endpoints of services that istiod has not sent are staged.
func (s *store) sortedServices() (services []Service, staged map[string]map[string]Endpoint) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	byName := make(map[string]Service, len(s.services))
	for name, service := range s.services {
		service.Endpoints = map[string]Endpoint{}
		byName[name] = service
	}
	staged = map[string]map[string]Endpoint{}
	for uid, workload := range s.workloads {
		for name, ports := range workload.ports {
			endpoint := Endpoint{WorkloadUID: uid, Port: ports, Status: workload.Status}
			service, known := byName[name]
			switch {
			case !known:
				if staged[name] == nil {
					staged[name] = map[string]Endpoint{}
				}
				staged[name][uid] = endpoint
			case service.admits(endpoint):
				service.Endpoints[uid] = endpoint
			}
		}
	}
	services = slices.AppendSeq(make([]Service, 0, len(byName)), maps.Values(byName))
	slices.SortFunc(services, func(a, b Service) int {
		return strings.Compare(a.Hostname+"/"+a.Namespace, b.Hostname+"/"+b.Namespace)
	})
	return services, staged
}

// admits tells whether ztunnel would use the endpoint at all.
func (s Service) admits(endpoint Endpoint) bool {
	return endpoint.Status == "Healthy" || s.LoadBalancer != nil && s.LoadBalancer.HealthPolicy == "AllowAll"
}
