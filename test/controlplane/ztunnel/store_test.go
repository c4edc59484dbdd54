package ztunnel

import (
	"testing"

	"istio.io/istio/pkg/workloadapi"
)

const cart = "shop/cart.shop.svc.cluster.local"

func cartService(policy workloadapi.LoadBalancing_HealthPolicy) *workloadapi.Address {
	return &workloadapi.Address{Type: &workloadapi.Address_Service{Service: &workloadapi.Service{
		Name: "cart", Namespace: "shop", Hostname: "cart.shop.svc.cluster.local",
		LoadBalancing: &workloadapi.LoadBalancing{HealthPolicy: policy},
	}}}
}

func cartWorkload(uid string, status workloadapi.WorkloadStatus) *workloadapi.Address {
	return &workloadapi.Address{Type: &workloadapi.Address_Workload{Workload: &workloadapi.Workload{
		Uid: uid, Namespace: "shop", Status: status,
		Services: map[string]*workloadapi.PortList{cart: {Ports: []*workloadapi.Port{{ServicePort: 80, TargetPort: 8080}}}},
	}}}
}

func fill(t *testing.T, s *store, addresses ...*workloadapi.Address) {
	t.Helper()
	for _, address := range addresses {
		if err := s.setAddress(address); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEndpointsFollowHealth(t *testing.T) {
	for policy, want := range map[workloadapi.LoadBalancing_HealthPolicy]int{
		workloadapi.LoadBalancing_ONLY_HEALTHY: 1,
		workloadapi.LoadBalancing_ALLOW_ALL:    2,
	} {
		s := newStore()
		fill(t, s, cartService(policy), cartWorkload("one", workloadapi.WorkloadStatus_HEALTHY), cartWorkload("two", workloadapi.WorkloadStatus_UNHEALTHY))
		services, staged := s.sortedServices()
		if len(services) != 1 || len(services[0].Endpoints) != want || len(staged) != 0 {
			t.Errorf("%s: the services are %+v, staged are %+v", policy, services, staged)
		}
	}
}

func TestEndpointsAreStagedUntilTheirServiceComes(t *testing.T) {
	s := newStore()
	fill(t, s, cartWorkload("one", workloadapi.WorkloadStatus_HEALTHY))
	services, staged := s.sortedServices()
	if len(services) != 0 || staged[cart]["one"].Port[80] != 8080 {
		t.Errorf("the services are %+v, staged are %+v", services, staged)
	}
	fill(t, s, cartService(workloadapi.LoadBalancing_ONLY_HEALTHY))
	services, staged = s.sortedServices()
	if len(services) != 1 || services[0].Endpoints["one"].WorkloadUID != "one" || len(staged) != 0 {
		t.Errorf("the services are %+v, staged are %+v", services, staged)
	}
}

func TestRemovalTakesWorkloadsAndServices(t *testing.T) {
	s := newStore()
	fill(t, s, cartService(workloadapi.LoadBalancing_ONLY_HEALTHY), cartWorkload("one", workloadapi.WorkloadStatus_HEALTHY))
	s.removeAddress("one")
	if services, _ := s.sortedServices(); len(s.sortedWorkloads()) != 0 || len(services[0].Endpoints) != 0 {
		t.Error("the workload is still there")
	}
	s.removeAddress(cart)
	if services, _ := s.sortedServices(); len(services) != 0 {
		t.Error("the service is still there")
	}
}
