package oracle

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	xdscore "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Names of listeners that istiod serves.
const (
	virtualInbound   = "virtualInbound"
	virtualOutbound  = "virtualOutbound"
	connectTerminate = "connect_terminate"
	mainInternal     = "main_internal"
)

// The values of Envoy's transport protocols.
const (
	rawTransport = "raw_buffer"
	tlsTransport = "tls"
)

// socket is what Envoy's listener filters learn of a connection before it is
// given to a filter chain.
type socket struct {
	destination netip.AddrPort
	transport   string
	// protocols are those that the client offers, or that were recognized.
	protocols []string
}

// envoyListener is a listener that is ready to be evaluated.
type envoyListener struct {
	chains   []*filterChain
	fallback *filterChain
	matcher  *xdsmatcher.Matcher
	// inspectors are the listener filters that recognize protocols, by name.
	inspectors map[string]*listener.ListenerFilter
}

type filterChain struct {
	name  string
	match *listener.FilterChainMatch
	// mutual is true where the chain wants the client's certificate.
	mutual bool
	// terminates is true where the chain ends TLS of any kind.
	terminates bool
	filters    *filters
}

func newListener(source *listener.Listener) (*envoyListener, error) {
	result := &envoyListener{matcher: source.FilterChainMatcher, inspectors: map[string]*listener.ListenerFilter{}}
	for _, filter := range source.ListenerFilters {
		result.inspectors[filter.Name] = filter
	}
	for _, chain := range source.FilterChains {
		read, err := newChain(chain)
		if err != nil {
			return nil, fmt.Errorf("listener %s: chain %s: %w", source.Name, chain.Name, err)
		}
		result.chains = append(result.chains, read)
	}
	if source.DefaultFilterChain != nil {
		read, err := newChain(source.DefaultFilterChain)
		if err != nil {
			return nil, fmt.Errorf("listener %s: default chain: %w", source.Name, err)
		}
		result.fallback = read
	}
	return result, nil
}

func newChain(source *listener.FilterChain) (*filterChain, error) {
	result := &filterChain{name: source.Name, match: source.FilterChainMatch}
	if result.match == nil {
		result.match = &listener.FilterChainMatch{}
	}
	if len(result.match.ServerNames)+len(result.match.SourcePrefixRanges)+len(result.match.SourcePorts)+len(result.match.DirectSourcePrefixRanges) > 0 {
		return nil, errors.New("it matches server names or sources")
	}
	if source.TransportSocket != nil {
		context := &tls.DownstreamTlsContext{}
		if err := source.TransportSocket.GetTypedConfig().UnmarshalTo(context); err != nil {
			return nil, err
		}
		result.terminates, result.mutual = true, context.RequireClientCertificate.GetValue()
	}
	var err error
	result.filters, err = newFilters(source.Filters)
	return result, err
}

// Listener filters that recognize protocols.
const (
	tlsInspector  = "envoy.filters.listener.tls_inspector"
	httpInspector = "envoy.filters.listener.http_inspector"
)

// inspects tells whether a listener filter looks at connections to a port.
func (l *envoyListener) inspects(inspector string, port uint16) bool {
	filter := l.inspectors[inspector]
	return filter != nil && (filter.FilterDisabled == nil || !disables(filter.FilterDisabled, port))
}

// disables evaluates the predicates that istiod uses, which name ports.
func disables(predicate *listener.ListenerFilterChainMatchPredicate, port uint16) bool {
	switch rule := predicate.Rule.(type) {
	case *listener.ListenerFilterChainMatchPredicate_DestinationPortRange:
		return int32(port) >= rule.DestinationPortRange.Start && int32(port) < rule.DestinationPortRange.End
	case *listener.ListenerFilterChainMatchPredicate_OrMatch:
		return slices.ContainsFunc(rule.OrMatch.Rules, func(p *listener.ListenerFilterChainMatchPredicate) bool { return disables(p, port) })
	case *listener.ListenerFilterChainMatchPredicate_NotMatch:
		return !disables(rule.NotMatch, port)
	default:
		return false
	}
}

// opaque is what is learnt of a connection whose TLS nobody of the mesh made or
// of one without TLS.
func (l *envoyListener) opaque(destination netip.AddrPort, request *Request) (s socket, sni string) {
	s = socket{destination: destination, transport: rawTransport}
	switch {
	case !request.HTTP && request.SNI != "" && l.inspects(tlsInspector, destination.Port()):
		s.transport, sni = tlsTransport, request.SNI
	case request.HTTP && l.inspects(httpInspector, destination.Port()):
		s.protocols = plainHTTP
	}
	return s, sni
}

// find returns the chain that takes a connection, or nil.
func (l *envoyListener) find(s socket) (*filterChain, error) {
	if l.matcher != nil {
		name, err := evaluateMatcher(l.matcher, s)
		if err != nil || name == "" {
			return l.fallback, err
		}
		index := slices.IndexFunc(l.chains, func(chain *filterChain) bool { return chain.name == name })
		if index < 0 {
			return nil, fmt.Errorf("there is no chain %s", name)
		}
		return l.chains[index], nil
	}
	return l.narrow(s), nil
}

// narrow picks a chain as Envoy does: criterion by criterion, each time going on
// with the most specific value only, even if it turns out to lead nowhere.
func (l *envoyListener) narrow(s socket) *filterChain {
	candidates := l.chains
	candidates = mostSpecific(candidates, func(m *listener.FilterChainMatch) int {
		switch {
		case m.DestinationPort == nil:
			return 0
		case m.DestinationPort.Value == uint32(s.destination.Port()):
			return 1
		}
		return -1
	})
	candidates = mostSpecific(candidates, func(m *listener.FilterChainMatch) int { return prefixLength(m, s.destination.Addr()) })
	candidates = mostSpecific(candidates, func(m *listener.FilterChainMatch) int {
		switch m.TransportProtocol {
		case "":
			return 0
		case s.transport:
			return 1
		}
		return -1
	})
	candidates = mostSpecific(candidates, func(m *listener.FilterChainMatch) int { return protocolRank(m, s.protocols) })
	if len(candidates) == 0 {
		return l.fallback
	}
	return candidates[0]
}

// mostSpecific keeps the chains of the highest rank. Negative ranks are no match.
func mostSpecific(chains []*filterChain, rank func(*listener.FilterChainMatch) int) []*filterChain {
	best := -1
	var result []*filterChain
	for _, chain := range chains {
		switch r := rank(chain.match); {
		case r < 0 || r < best:
		case r > best:
			best, result = r, []*filterChain{chain}
		default:
			result = append(result, chain)
		}
	}
	return result
}

func prefixLength(m *listener.FilterChainMatch, address netip.Addr) int {
	if len(m.PrefixRanges) == 0 {
		return 0
	}
	best := -1
	for _, cidr := range m.PrefixRanges {
		if contains, err := inRange(cidr, address); err == nil && contains {
			best = max(best, int(cidr.PrefixLen.GetValue())+1)
		}
	}
	return best
}

// protocolRank prefers the protocols that the client names first.
func protocolRank(m *listener.FilterChainMatch, offered []string) int {
	if len(m.ApplicationProtocols) == 0 {
		return 0
	}
	for i, protocol := range offered {
		if slices.Contains(m.ApplicationProtocols, protocol) {
			return len(offered) - i
		}
	}
	return -1
}

// The inputs of matchers that istiod uses for waypoints.
const (
	destinationIPInput   = "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.DestinationIPInput"
	destinationPortInput = "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.DestinationPortInput"
	protocolInput        = "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.ApplicationProtocolInput"
)

// evaluateMatcher returns the name of a chain, or nothing.
func evaluateMatcher(m *xdsmatcher.Matcher, s socket) (string, error) {
	tree := m.GetMatcherTree()
	if tree == nil {
		return "", fmt.Errorf("matcher %T", m.MatcherType)
	}
	next, err := branch(tree, s)
	if err != nil {
		return "", err
	}
	if next != nil {
		if name, err := follow(next, s); name != "" || err != nil {
			return name, err
		}
	}
	if m.OnNoMatch == nil {
		return "", nil
	}
	return follow(m.OnNoMatch, s)
}

func follow(on *xdsmatcher.Matcher_OnMatch, s socket) (string, error) {
	if inner := on.GetMatcher(); inner != nil {
		return evaluateMatcher(inner, s)
	}
	name := &wrapperspb.StringValue{}
	if err := on.GetAction().GetTypedConfig().UnmarshalTo(name); err != nil {
		return "", err
	}
	return name.Value, nil
}

func branch(tree *xdsmatcher.Matcher_MatcherTree, s socket) (*xdsmatcher.Matcher_OnMatch, error) {
	switch input := tree.Input.GetTypedConfig().GetTypeUrl(); input {
	case destinationIPInput:
		return branchByAddress(tree.GetCustomMatch(), s.destination.Addr())
	case destinationPortInput:
		return tree.GetExactMatchMap().GetMap()[fmt.Sprint(s.destination.Port())], nil
	case protocolInput:
		var key string
		if len(s.protocols) > 0 {
			key = "'" + s.protocols[0] + "'"
		}
		return tree.GetExactMatchMap().GetMap()[key], nil
	default:
		return nil, fmt.Errorf("matcher input %s", input)
	}
}

func branchByAddress(custom *xdscore.TypedExtensionConfig, address netip.Addr) (*xdsmatcher.Matcher_OnMatch, error) {
	ranges := &xdsmatcher.IPMatcher{}
	if err := custom.GetTypedConfig().UnmarshalTo(ranges); err != nil {
		return nil, err
	}
	longest := -1
	var result *xdsmatcher.Matcher_OnMatch
	for _, candidate := range ranges.RangeMatchers {
		for _, cidr := range candidate.Ranges {
			base, err := netip.ParseAddr(cidr.AddressPrefix)
			if err != nil {
				return nil, err
			}
			prefix, err := base.Prefix(int(cidr.PrefixLen.GetValue()))
			if err != nil {
				return nil, err
			}
			if prefix.Contains(address) && prefix.Bits() > longest {
				longest, result = prefix.Bits(), candidate.OnMatch
			}
		}
	}
	return result, nil
}
