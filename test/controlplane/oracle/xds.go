package oracle

import (
	"context"
	"errors"
	"fmt"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"
)

// The types of resources that are asked for.
const (
	listenerType      = "type.googleapis.com/envoy.config.listener.v3.Listener"
	clusterType       = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointType      = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	addressType       = "type.googleapis.com/istio.workload.Address"
	authorizationType = "type.googleapis.com/istio.security.Authorization"
)

// maximumMessage is more than any mesh of a test needs.
const maximumMessage = 200 << 20

// connect opens a connection in plaintext, as proxies without certificates do.
func connect(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maximumMessage)))
}

// envoyStream is a subscription of one Envoy.
type envoyStream struct {
	stream discovery.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	node   *core.Node
}

func openEnvoy(ctx context.Context, connection *grpc.ClientConn, node *core.Node) (*envoyStream, error) {
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(connection).StreamAggregatedResources(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting as %s: %w", node.Id, err)
	}
	return &envoyStream{stream: stream, node: node}, nil
}

// ask subscribes to a type and returns its resources. Without names it asks for
// all. Responses for other types, which pushes may bring, are passed over: each
// caller asks for a type once.
func (s *envoyStream) ask(typeURL string, names ...string) ([]*anypb.Any, error) {
	request := &discovery.DiscoveryRequest{Node: s.node, TypeUrl: typeURL, ResourceNames: names}
	if err := s.stream.Send(request); err != nil {
		return nil, fmt.Errorf("asking for %s as %s: %w", typeURL, s.node.Id, err)
	}
	for {
		response, err := s.stream.Recv()
		if err != nil {
			return nil, fmt.Errorf("asking for %s as %s: %w", typeURL, s.node.Id, err)
		}
		if response.TypeUrl == typeURL {
			return response.Resources, nil
		}
	}
}

func (s *envoyStream) listeners() ([]*listener.Listener, error) {
	return decode(s, listenerType, func() *listener.Listener { return &listener.Listener{} })
}

func (s *envoyStream) clusters() ([]*cluster.Cluster, error) {
	return decode(s, clusterType, func() *cluster.Cluster { return &cluster.Cluster{} })
}

func (s *envoyStream) endpoints(names []string) ([]*endpoint.ClusterLoadAssignment, error) {
	if len(names) == 0 {
		return nil, nil
	}
	return decode(s, endpointType, func() *endpoint.ClusterLoadAssignment { return &endpoint.ClusterLoadAssignment{} }, names...)
}

func decode[T proto.Message](s *envoyStream, typeURL string, empty func() T, names ...string) ([]T, error) {
	resources, err := s.ask(typeURL, names...)
	if err != nil {
		return nil, err
	}
	result := make([]T, 0, len(resources))
	for _, resource := range resources {
		message := empty()
		if err := resource.UnmarshalTo(message); err != nil {
			return nil, fmt.Errorf("decoding %s as %s: %w", typeURL, s.node.Id, err)
		}
		result = append(result, message)
	}
	return result, nil
}

// ambientResources are what a ztunnel is served, by the names of the resources.
type ambientResources struct {
	workloads map[string]*workloadapi.Workload
	services  map[string]*workloadapi.Service
	policies  map[string]*security.Authorization
}

// readAmbient subscribes as a ztunnel to everything. The first answer for each
// type is complete. Changes of the one that come before the other's are taken in.
func readAmbient(ctx context.Context, connection *grpc.ClientConn, node *core.Node) (*ambientResources, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(connection).DeltaAggregatedResources(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting as %s: %w", node.Id, err)
	}
	result := &ambientResources{
		workloads: map[string]*workloadapi.Workload{},
		services:  map[string]*workloadapi.Service{},
		policies:  map[string]*security.Authorization{},
	}
	missing := map[string]bool{addressType: true, authorizationType: true}
	for _, typeURL := range sortedKeys(missing) {
		if err := stream.Send(&discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: typeURL}); err != nil {
			return nil, fmt.Errorf("asking for %s: %w", typeURL, err)
		}
	}
	for len(missing) > 0 {
		response, err := stream.Recv()
		if err != nil {
			return nil, fmt.Errorf("receiving what ztunnel is served: %w", err)
		}
		if err := result.take(response); err != nil {
			return nil, err
		}
		delete(missing, response.TypeUrl)
	}
	return result, nil
}

func (r *ambientResources) take(response *discovery.DeltaDiscoveryResponse) error {
	for _, resource := range response.Resources {
		if err := r.takeOne(response.TypeUrl, resource); err != nil {
			return fmt.Errorf("%s %s: %w", response.TypeUrl, resource.Name, err)
		}
	}
	for _, name := range response.RemovedResources {
		if response.TypeUrl == authorizationType {
			delete(r.policies, name)
			continue
		}
		delete(r.workloads, name)
		delete(r.services, name)
	}
	return nil
}

func (r *ambientResources) takeOne(typeURL string, resource *discovery.Resource) error {
	if typeURL == authorizationType {
		policy := &security.Authorization{}
		if err := resource.Resource.UnmarshalTo(policy); err != nil {
			return err
		}
		r.policies[resource.Name] = policy
		return nil
	}
	address := &workloadapi.Address{}
	if err := resource.Resource.UnmarshalTo(address); err != nil {
		return err
	}
	switch {
	case address.GetWorkload() != nil:
		r.workloads[resource.Name] = address.GetWorkload()
	case address.GetService() != nil:
		r.services[resource.Name] = address.GetService()
	default:
		return errors.New("unknown kind of address")
	}
	return nil
}
