package ztunnel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"
)

// The types that ztunnel subscribes to.
const (
	addressType       = "type.googleapis.com/istio.workload.Address"
	authorizationType = "type.googleapis.com/istio.security.Authorization"
)

const (
	initialBackoff = 10 * time.Millisecond
	maximumBackoff = time.Second
	maximumMessage = 200 << 20
)

// client keeps a subscription to istiod alive, as ztunnel's src/xds/client.rs.
type client struct {
	node *core.Node
	// address finds istiod anew for each connection.
	address func(context.Context) (string, error)
	store   *store
	// changed is called after each response.
	changed func()
	log     func(format string, arguments ...any)
	line    line

	mutex    sync.Mutex
	versions map[string]map[string]string
	answered map[string]bool
	synced   chan struct{}
}

func newClient(node *core.Node, address func(context.Context) (string, error), store *store, changed func(), log func(string, ...any)) *client {
	return &client{
		node:     node,
		address:  address,
		store:    store,
		changed:  changed,
		log:      log,
		versions: map[string]map[string]string{addressType: {}, authorizationType: {}},
		answered: map[string]bool{},
		synced:   make(chan struct{}),
	}
}

// line is the connection to istiod, which tests can cut.
type line struct {
	mutex sync.Mutex
	down  bool
	// hangUp ends the stream that is open.
	hangUp context.CancelFunc
}

// open says whether there is a connection to be had, and ends its context once it is
// cut.
func (l *line) open(ctx context.Context) (context.Context, context.CancelFunc, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	if l.down {
		cancel()
		return nil, nil, errors.New("the connection to istiod is cut")
	}
	l.hangUp = cancel
	return ctx, cancel, nil
}

func (l *line) set(down bool) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.down = down
	if down && l.hangUp != nil {
		l.hangUp()
	}
}

// run subscribes until the context ends, and again whenever the stream breaks.
// What is known stays known meanwhile.
func (c *client) run(ctx context.Context) {
	backoff := initialBackoff
	for ctx.Err() == nil {
		received, err := c.stream(ctx)
		if ctx.Err() != nil {
			return
		}
		c.log("xds stream ended: %v", err)
		if received {
			backoff = initialBackoff
		}
		select {
		case <-ctx.Done():
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, maximumBackoff)
	}
}

func (c *client) stream(ctx context.Context) (received bool, err error) {
	address, err := c.address(ctx)
	if err != nil {
		return false, err
	}
	connection, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maximumMessage)))
	if err != nil {
		return false, err
	}
	defer func() { _ = connection.Close() }()
	ctx, cancel, err := c.line.open(ctx)
	if err != nil {
		return false, err
	}
	defer cancel()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(connection).DeltaAggregatedResources(ctx)
	if err != nil {
		return false, err
	}
	for _, typeURL := range []string{addressType, authorizationType} {
		if err := stream.Send(c.subscription(typeURL)); err != nil {
			return false, err
		}
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return received, err
		}
		received = true
		if err := stream.Send(c.handle(response)); err != nil {
			return received, err
		}
	}
}

// subscription asks for everything: a first request that names no resources is
// a wildcard. It tells what is known already, so that a reconnection gets only
// what has changed, removals included.
func (c *client) subscription(typeURL string) *discovery.DeltaDiscoveryRequest {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return &discovery.DeltaDiscoveryRequest{
		Node:                    c.node,
		TypeUrl:                 typeURL,
		InitialResourceVersions: maps.Clone(c.versions[typeURL]),
	}
}

// handle takes a response and returns its ACK, or the NACK that says which
// resources were refused. The others count nevertheless.
func (c *client) handle(response *discovery.DeltaDiscoveryResponse) *discovery.DeltaDiscoveryRequest {
	var refused []error
	c.mutex.Lock()
	for _, resource := range response.Resources {
		if err := c.take(response.TypeUrl, resource); err != nil {
			refused = append(refused, fmt.Errorf("%s: %w", resource.Name, err))
			continue
		}
		c.versions[response.TypeUrl][resource.Name] = resource.Version
	}
	for _, name := range response.RemovedResources {
		c.remove(response.TypeUrl, name)
		delete(c.versions[response.TypeUrl], name)
	}
	c.mutex.Unlock()

	request := &discovery.DeltaDiscoveryRequest{TypeUrl: response.TypeUrl, ResponseNonce: response.Nonce}
	if err := errors.Join(refused...); err != nil {
		c.log("refused: %v", err)
		request.ErrorDetail = &rpcstatus.Status{Message: strings.ReplaceAll(err.Error(), "\n", "; ")}
	} else {
		c.answer(response.TypeUrl)
	}
	c.changed()
	return request
}

func (c *client) take(typeURL string, resource *discovery.Resource) error {
	switch typeURL {
	case addressType:
		address := &workloadapi.Address{}
		if err := resource.Resource.UnmarshalTo(address); err != nil {
			return err
		}
		if address.Type == nil {
			return errors.New("unknown address type")
		}
		return c.store.setAddress(address)
	case authorizationType:
		policy := &security.Authorization{}
		if err := resource.Resource.UnmarshalTo(policy); err != nil {
			return err
		}
		c.store.setPolicy(resource.Name, policy)
		return nil
	default:
		return fmt.Errorf("unknown type %s", typeURL)
	}
}

func (c *client) remove(typeURL, name string) {
	if typeURL == authorizationType {
		c.store.removePolicy(name)
		return
	}
	c.store.removeAddress(name)
}

// answer notes that a type was received. Ztunnel is ready only then.
func (c *client) answer(typeURL string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if len(c.answered) == len(c.versions) {
		return
	}
	c.answered[typeURL] = true
	if len(c.answered) == len(c.versions) {
		close(c.synced)
	}
}
