package ztunnel

import (
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"
)

func newTestClient() *client {
	return newClient(&core.Node{Id: "ztunnel"}, nil, newStore(), func() {}, func(string, ...any) {})
}

func resource(t *testing.T, name, version string, message proto.Message) *discovery.Resource {
	t.Helper()
	packed, err := anypb.New(message)
	if err != nil {
		t.Fatal(err)
	}
	return &discovery.Resource{Name: name, Version: version, Resource: packed}
}

func TestResponsesAreAcknowledged(t *testing.T) {
	c := newTestClient()
	request := c.handle(&discovery.DeltaDiscoveryResponse{
		TypeUrl: addressType, Nonce: "1",
		Resources: []*discovery.Resource{resource(t, "one", "v1", cartWorkload("one", workloadapi.WorkloadStatus_HEALTHY))},
	})
	if request.ResponseNonce != "1" || request.TypeUrl != addressType || request.ErrorDetail != nil {
		t.Errorf("the answer is %+v", request)
	}
	select {
	case <-c.synced:
		t.Error("the client is synced although one type is missing")
	default:
	}
	c.handle(&discovery.DeltaDiscoveryResponse{
		TypeUrl: authorizationType, Nonce: "2",
		Resources: []*discovery.Resource{resource(t, "shop/guard", "", &security.Authorization{Name: "guard", Namespace: "shop"})},
	})
	<-c.synced
	if len(c.store.sortedWorkloads()) != 1 || len(c.store.sortedPolicies()) != 1 {
		t.Error("the resources were not stored")
	}
}

func TestRefusedResourcesAreNamed(t *testing.T) {
	c := newTestClient()
	request := c.handle(&discovery.DeltaDiscoveryResponse{
		TypeUrl: addressType, Nonce: "1",
		Resources: []*discovery.Resource{
			resource(t, "good", "v1", cartWorkload("good", workloadapi.WorkloadStatus_HEALTHY)),
			resource(t, "bad", "v1", &workloadapi.Address{}),
		},
	})
	if request.ErrorDetail == nil || !strings.Contains(request.ErrorDetail.Message, "bad") || strings.Contains(request.ErrorDetail.Message, "good") {
		t.Errorf("the answer is %+v", request)
	}
	if len(c.store.sortedWorkloads()) != 1 {
		t.Error("the good resource was not stored")
	}
	// A refused resource must be sent again after a reconnection.
	if versions := c.subscription(addressType).InitialResourceVersions; len(versions) != 1 || versions["good"] != "v1" {
		t.Errorf("the versions are %v", versions)
	}
}

func TestRemovalsAreForgotten(t *testing.T) {
	c := newTestClient()
	for typeURL, message := range map[string]proto.Message{
		addressType:       cartWorkload("one", workloadapi.WorkloadStatus_HEALTHY),
		authorizationType: &security.Authorization{Name: "one"},
	} {
		c.handle(&discovery.DeltaDiscoveryResponse{TypeUrl: typeURL, Resources: []*discovery.Resource{resource(t, "one", "v1", message)}})
		c.handle(&discovery.DeltaDiscoveryResponse{TypeUrl: typeURL, RemovedResources: []string{"one"}})
		if versions := c.subscription(typeURL).InitialResourceVersions; len(versions) != 0 {
			t.Errorf("%s: the versions are %v", typeURL, versions)
		}
	}
	if len(c.store.sortedWorkloads()) != 0 || len(c.store.sortedPolicies()) != 0 {
		t.Error("the resources are still there")
	}
}
