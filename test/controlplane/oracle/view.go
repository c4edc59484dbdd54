package oracle

import (
	"fmt"
	"net/netip"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	internal "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3"
	raw "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// transport is how a connection between two pods is made.
type transport string

const (
	plaintext transport = "plaintext"
	// mutualTLS is Istio's own between sidecars.
	mutualTLS transport = "mTLS"
	// tunnel is HBONE.
	tunnel transport = "HBONE"
	// otherTLS has no certificate of the mesh.
	otherTLS transport = "TLS"
)

// Where endpoints say how they are to be reached.
const (
	socketMatchMetadata = "envoy.transport_socket_match"
	tunnelMetadata      = "envoy.filters.listener.original_dst"
)

// view is what a client's Envoy knows of others.
type view struct {
	clusters  map[string]*cluster.Cluster
	endpoints map[string]*endpoint.ClusterLoadAssignment
	// pods are the clusters of listeners at pods' own addresses, which headless
	// Services have.
	pods map[netip.AddrPort]string
	// unknown is the cluster for connections to nowhere known.
	unknown string
}

// path is how a client's Envoy reaches an endpoint.
type path struct {
	transport transport
	// endpoint is the address and port of the pod, or of the Service if a
	// waypoint comes before it.
	endpoint netip.AddrPort
	waypoint netip.Addr
	sni      string
}

func newView(listeners []*listener.Listener, clusters []*cluster.Cluster, endpoints []*endpoint.ClusterLoadAssignment) (*view, error) {
	v := &view{
		clusters:  map[string]*cluster.Cluster{},
		endpoints: map[string]*endpoint.ClusterLoadAssignment{},
		pods:      map[netip.AddrPort]string{},
	}
	for _, c := range clusters {
		v.clusters[c.Name] = c
	}
	for _, e := range endpoints {
		v.endpoints[e.ClusterName] = e
	}
	for _, l := range listeners {
		if err := v.addListener(l); err != nil {
			return nil, fmt.Errorf("listener %s: %w", l.Name, err)
		}
	}
	return v, nil
}

func (v *view) addListener(l *listener.Listener) error {
	chains := l.FilterChains
	if l.DefaultFilterChain != nil {
		chains = append(chains[:len(chains):len(chains)], l.DefaultFilterChain)
	}
	for _, chain := range chains {
		name, err := tcpCluster(chain)
		if err != nil {
			return err
		}
		switch socket := l.GetAddress().GetSocketAddress(); {
		case name == "":
		case l.Name == virtualOutbound && chain.FilterChainMatch.GetDestinationPort() == nil:
			v.unknown = name
		case l.Name != virtualOutbound && socket != nil:
			if address, err := netip.ParseAddr(socket.Address); err == nil {
				v.pods[netip.AddrPortFrom(address, uint16(socket.GetPortValue()))] = name //nolint:gosec // A port.
			}
		}
	}
	return nil
}

// tcpCluster is where a chain for TCP sends its connections, if it is one.
func tcpCluster(chain *listener.FilterChain) (string, error) {
	for _, filter := range chain.Filters {
		config := &tcpproxy.TcpProxy{}
		if filter.GetTypedConfig().MessageIs(config) {
			if err := filter.GetTypedConfig().UnmarshalTo(config); err != nil {
				return "", err
			}
			return config.GetCluster(), nil
		}
	}
	return "", nil
}

// edsNames are the clusters whose endpoints are to be asked for.
func edsNames(clusters []*cluster.Cluster) []string {
	var names []string
	for _, c := range clusters {
		if c.GetType() == cluster.Cluster_EDS {
			names = append(names, c.Name)
		}
	}
	return names
}

// reach returns how the endpoint at an address is reached by way of a cluster,
// or false if the cluster has no such endpoint.
func (v *view) reach(name string, pod netip.Addr) (path, bool, error) {
	c := v.clusters[name]
	if c.GetEdsClusterConfig().GetServiceName() != "" && c.GetEdsClusterConfig().GetServiceName() != name {
		return path{}, false, fmt.Errorf("cluster %s has the endpoints of another", name)
	}
	for _, locality := range v.endpoints[name].GetEndpoints() {
		for _, candidate := range locality.LbEndpoints {
			found, ok, err := reachEndpoint(c, candidate, pod)
			if ok || err != nil {
				return found, ok, err
			}
		}
	}
	return path{}, false, nil
}

func reachEndpoint(c *cluster.Cluster, e *endpoint.LbEndpoint, pod netip.Addr) (path, bool, error) {
	result := path{}
	metadata := e.Metadata.GetFilterMetadata()
	switch address := e.GetEndpoint().GetAddress().GetAddress().(type) {
	case *core.Address_SocketAddress:
		ip, err := netip.ParseAddr(address.SocketAddress.Address)
		if err != nil || ip != pod {
			return path{}, false, nil //nolint:nilerr // An endpoint with a name is no pod.
		}
		result.endpoint = netip.AddrPortFrom(ip, uint16(address.SocketAddress.GetPortValue())) //nolint:gosec // A port.
	case *core.Address_EnvoyInternalAddress:
		local, err := netip.ParseAddrPort(metadata[tunnelMetadata].GetFields()["local"].GetStringValue())
		if err != nil {
			return path{}, false, fmt.Errorf("cluster %s: an endpoint in a tunnel to nowhere: %w", c.Name, err)
		}
		if waypoint := metadata[tunnelMetadata].GetFields()["waypoint"].GetStringValue(); waypoint != "" {
			at, err := netip.ParseAddrPort(waypoint)
			if err != nil {
				return path{}, false, fmt.Errorf("cluster %s: waypoint: %w", c.Name, err)
			}
			return path{transport: tunnel, endpoint: local, waypoint: at.Addr()}, true, nil
		}
		if local.Addr() != pod {
			return path{}, false, nil
		}
		result.endpoint = local
	default:
		return path{}, false, fmt.Errorf("cluster %s: endpoint address %T", c.Name, address)
	}
	var err error
	result.transport, result.sni, err = transportOf(c, metadata[socketMatchMetadata])
	// Only an internal address leads into a tunnel: waypoints have the transport
	// for it towards all endpoints, and it does nothing for those beyond HBONE.
	if internal := e.GetEndpoint().GetAddress().GetEnvoyInternalAddress(); err == nil && (internal != nil) != (result.transport == tunnel) {
		if internal != nil {
			return path{}, false, fmt.Errorf("cluster %s: %s to a tunnel", c.Name, result.transport)
		}
		result.transport = plaintext
	}
	return result, err == nil, err
}

// transportOf is the transport of a cluster for an endpoint with such metadata.
func transportOf(c *cluster.Cluster, metadata *structpb.Struct) (transport, string, error) {
	for _, candidate := range c.GetTransportSocketMatches() {
		if includes(metadata, candidate.Match) {
			return transportFrom(candidate.TransportSocket)
		}
	}
	return transportFrom(c.GetTransportSocket())
}

func includes(metadata, wanted *structpb.Struct) bool {
	for name, value := range wanted.GetFields() {
		if metadata.GetFields()[name].GetStringValue() != value.GetStringValue() {
			return false
		}
	}
	return true
}

func transportFrom(s *core.TransportSocket) (transport, string, error) {
	if s == nil {
		return plaintext, "", nil
	}
	message, err := s.GetTypedConfig().UnmarshalNew()
	if err != nil {
		return "", "", fmt.Errorf("transport socket %s: %w", s.Name, err)
	}
	switch config := message.(type) {
	case *raw.RawBuffer:
		return plaintext, "", nil
	case *internal.InternalUpstreamTransport:
		inner, _, err := transportFrom(config.TransportSocket)
		if err == nil && inner != plaintext {
			err = fmt.Errorf("%s in a tunnel", inner)
		}
		return tunnel, "", err
	case *tls.UpstreamTlsContext:
		for _, secret := range config.GetCommonTlsContext().GetTlsCertificateSdsSecretConfigs() {
			if secret.Name == "default" {
				return mutualTLS, config.Sni, nil
			}
		}
		return otherTLS, config.Sni, nil
	default:
		return "", "", fmt.Errorf("transport socket %T", config)
	}
}

func outboundCluster(port uint32, hostname string) string {
	return strings.Join([]string{"outbound", fmt.Sprint(port), "", hostname}, "|")
}
