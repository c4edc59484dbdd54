package oracle

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// hbonePort is where tunnels end.
const hbonePort = 15008

// peerPrincipal is the filter state by which the end of a tunnel hands the
// client's identity on (pilot/pkg/xds/filters/filters.go).
const peerPrincipal = "io.istio.peer_principal"

// Protocols as sidecars offer them in mutual TLS, and as Envoy's inspector
// names what it recognizes.
var (
	mutualHTTP = []string{"istio-http/1.1"}
	mutualTCP  = []string{"istio-peer-exchange", "istio"}
	plainHTTP  = []string{"http/1.1"}
)

// decideSidecar decides at the pod's sidecar.
func (s *server) decideSidecar(h hop) (Verdict, error) {
	if err := s.captures(h.destination.Port()); err != nil {
		return Verdict{}, err
	}
	if h.transport == tunnel {
		verdict, _, _, err := s.decideTunnel(h)
		return verdict, err
	}
	inbound := s.listeners[virtualInbound]
	if inbound == nil {
		return Verdict{}, fmt.Errorf("sidecar %s has no inbound listener", s.name())
	}
	arrived, sni := arriving(inbound, h)
	chain, err := inbound.find(arrived)
	if err != nil {
		return Verdict{}, err
	}
	by := "sidecar " + s.name() + ": "
	switch {
	case chain == nil && h.transport == plaintext && arrived.transport == tlsTransport:
		// The application's own TLS, at a port that is declared to carry something else.
		return Verdict{Unreachable, by + "no chain takes the TLS of applications"}, nil
	case chain == nil:
		return Verdict{Denied, by + "no chain takes " + string(h.transport)}, nil
	case chain.mutual && h.transport != mutualTLS:
		return Verdict{Denied, by + "mTLS is required"}, nil
	case !chain.terminates && h.transport == mutualTLS:
		return Verdict{Unreachable, by + "the application gets TLS"}, nil
	case chain.terminates && !chain.mutual:
		return Verdict{}, fmt.Errorf("sidecar %s: chain %s has TLS of its own", s.name(), chain.name)
	}
	call := &envoyCall{source: h.source, remote: h.source, destination: h.destination, sni: sni}
	if h.transport == mutualTLS {
		call.certified = h.identity
	}
	verdict, err := chain.filters.decide(call, &h.request)
	verdict.By = by + verdict.By
	return verdict, err
}

// captures refuses to judge ports that do not pass the sidecar.
func (s *server) captures(port uint16) error {
	included := s.pod.Annotations["traffic.sidecar.istio.io/includeInboundPorts"]
	excluded := strings.Split(s.pod.Annotations["traffic.sidecar.istio.io/excludeInboundPorts"], ",")
	if included != "" && included != "*" || slices.Contains(excluded, strconv.Itoa(int(port))) {
		return fmt.Errorf("pod %s excludes ports from its sidecar", s.name())
	}
	return nil
}

// arriving is what the listener learns of a connection.
func arriving(inbound *envoyListener, h hop) (socket, string) {
	switch {
	case h.transport == mutualTLS && h.request.HTTP:
		return socket{destination: h.destination, transport: tlsTransport, protocols: mutualHTTP}, h.sni
	case h.transport == mutualTLS:
		return socket{destination: h.destination, transport: tlsTransport, protocols: mutualTCP}, h.sni
	case h.transport == otherTLS:
		return socket{destination: h.destination, transport: tlsTransport}, h.sni
	default:
		return inbound.opaque(h.destination, &h.request)
	}
}

// decideTunnel decides a connection that comes in a tunnel, at a sidecar or at a
// waypoint: first at the end of the tunnel, then at the inner connection. It
// returns the inner chain and the request as it goes on.
func (s *server) decideTunnel(h hop) (Verdict, string, Request, error) {
	by := s.kind + " " + s.name() + ": "
	terminate, inner := s.listeners[connectTerminate], s.listeners[mainInternal]
	if terminate == nil || inner == nil {
		return Verdict{Unreachable, by + "takes no HBONE"}, "", Request{}, nil
	}
	outer, err := s.decideTermination(terminate, h)
	if err != nil || outer.Outcome == Denied {
		outer.By = by + outer.By
		return outer, "", Request{}, err
	}
	arrived, sni := inner.opaque(h.destination, &h.request)
	chain, err := inner.find(arrived)
	if err != nil {
		return Verdict{}, "", Request{}, err
	}
	if chain == nil {
		return Verdict{Unreachable, by + "no chain for " + h.destination.String()}, "", Request{}, nil
	}
	call := &envoyCall{
		source:      h.source,
		remote:      h.source,
		destination: h.destination,
		sni:         sni,
		filterState: map[string]string{peerPrincipal: h.identity},
	}
	verdict, err := chain.filters.decide(call, &h.request)
	verdict.By = by + verdict.By
	request := h.request
	if call.http {
		request = *call.request
	}
	return verdict, chain.name, request, err
}

// decideTermination decides the CONNECT request that opens a tunnel, where the
// certificate is still that of the connection.
func (s *server) decideTermination(terminate *envoyListener, h hop) (Verdict, error) {
	at := netip.AddrPortFrom(s.address, hbonePort)
	chain, err := terminate.find(socket{destination: at, transport: tlsTransport})
	if err != nil || chain == nil {
		return Verdict{Unreachable, "no chain for tunnels"}, err
	}
	call := &envoyCall{source: h.source, remote: h.source, destination: at, certified: h.identity}
	connect := Request{HTTP: true, Method: "CONNECT", Path: "/", Host: h.destination.String()}
	return chain.filters.decide(call, &connect)
}
