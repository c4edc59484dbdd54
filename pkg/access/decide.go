package access

import "net/netip"

// Hop is a point that a call passes, and what it sees of it.
type Hop struct {
	// Point is where policies may decide; empty at a pod outside the mesh.
	Point Point
	// Waypoint is set where Point is AtWaypoint.
	Waypoint *Waypoint
	// Identity is whom the point sees; none where the call arrives in plaintext.
	Identity Identity
	// Port is the one that the point sees: the Service's at its waypoint.
	Port uint32
}

// Way returns the points that a call passes, in order: its waypoint, if it goes
// through one, and the server's.
func (s *State) Way(call Call) []Hop {
	way := wayOf(&call)
	var hops []Hop
	if way.waypoint != nil {
		hops = append(hops, Hop{Point: AtWaypoint, Waypoint: way.waypoint, Identity: call.Caller.Identity, Port: call.Port})
	}
	hop := Hop{Identity: way.identity, Port: way.port}
	switch call.Server.Mode {
	case ModeSidecar:
		hop.Point = AtSidecar
	case ModeAmbient:
		hop.Point = AtZtunnel
	case ModeGateway:
		hop.Point = AtGateway
	case ModeOutside:
	}
	return append(hops, hop)
}

// way is how a call reaches its server.
type way struct {
	// waypoint is the one that it goes through; direct says that it was called by
	// the pod's address, not by the Service's.
	waypoint *Waypoint
	direct   bool
	// port, identity and address are what the server's point sees.
	port     uint32
	identity Identity
	address  netip.Addr
	// tunnelled is true for HBONE, secured for mTLS between Envoys.
	tunnelled, secured bool
}

// Decide says what becomes of a call.
func (s *State) Decide(call Call) Decision {
	way := wayOf(&call)
	decision := allowed
	if way.waypoint != nil {
		var taken bool
		if decision, taken = atWaypoint(&call, &way); decision.Outcome == Denied {
			return decision
		}
		if taken {
			call.Request.Token = Token{}
		}
	}
	if last := atServer(&call, &way); last.Outcome == Denied || decision.Outcome == Allowed {
		return last
	} else if last.Outcome == Delegated {
		decision.Policies = append(decision.Policies[:len(decision.Policies):len(decision.Policies)], last.Policies...)
	}
	return decision
}

// wayOf finds out how a call goes.
//
// Callers with a sidecar, and gateways, go straight to the pod, with what its
// labels promise. Gateways go through the waypoint of a Service that says so
// (istio pilot/pkg/xds/endpoints/endpoint_builder.go, findServiceWaypoint and
// buildEnvoyLbEndpoint). ztunnel sends what is for a Service through its
// waypoint, and what is for a pod's address, as it is for a headless Service,
// through the pod's (ztunnel src/proxy/outbound.rs, build_request).
func wayOf(call *Call) way {
	server, service := call.Server, call.Service
	way := way{port: server.PodPort(service, call.Port), address: call.Caller.Address}
	byService := service != nil && !service.Headless
	switch call.Caller.Mode {
	case ModeAmbient:
		if byService {
			way.waypoint = service.Waypoint
		} else {
			way.waypoint, way.direct = server.UseWaypoint, true
		}
		way.tunnelled = server.accepts() && (service == nil || !service.opaque(server))
	case ModeGateway:
		if byService && service.IngressUsesWaypoint {
			way.waypoint = service.Waypoint
		}
		if service != nil && service.Headless {
			// Gateways balance the load of headless Services themselves.
			if port, found := service.port(call.Port); found {
				way.port = server.targetOf(service, port)
			}
		}
		way.secured, way.tunnelled = secures(server, service, way.port, false)
	case ModeSidecar:
		dialled := service
		if service == nil {
			dialled = headlessListener(server, call.Port)
		}
		way.secured, way.tunnelled = secures(server, dialled, way.port, true)
	case ModeOutside:
	}
	if way.waypoint != nil {
		// A waypoint speaks HBONE, or plaintext.
		way.secured, way.tunnelled = false, server.accepts()
		way.address = firstOf(way.waypoint.Addresses)
	}
	if way.secured || way.tunnelled {
		way.identity = call.Caller.Identity
		if way.waypoint != nil {
			way.identity = way.waypoint.Identity
		}
	}
	return way
}

// secures says whether a sidecar or a gateway speaks mTLS to a server, or HBONE.
// A sidecar that is asked for an address of no Service speaks neither (istio
// pilot/pkg/networking/core/cluster_builder.go, buildDefaultPassthroughCluster);
// it has one way of speaking to all pods of a headless Service, which is mTLS
// where they all promise it, and never HBONE (cluster_tls.go,
// applyHBONETransportSocketMatches).
func secures(server *Server, service *Service, port uint32, sidecar bool) (secured, tunnelled bool) {
	if service == nil {
		return false, false
	}
	promises := server.promisesTLS() && service.knows(server)
	headless := service.Headless
	secured = promises && server.mutual.takes(port) && (!headless || service.promiseTLS)
	if headless && sidecar {
		// Its single way of speaking knows of no pod's own mode.
		return service.promiseTLS && !server.mutual.disabledNamespace, false
	}
	return secured, !promises && server.accepts()
}

// headlessListener returns the headless Service for whose sake sidecars know the
// server's address and port: they listen on each pod's for ports that are not
// declared to be HTTP (istio pilot/pkg/networking/core/listener.go,
// buildSidecarOutboundListeners).
func headlessListener(server *Server, port uint32) *Service {
	for _, service := range server.services {
		if !service.Headless {
			continue
		}
		if of, found := service.port(port); found && (of.Protocol == ProtocolTCP || of.Protocol == ProtocolUndeclared) {
			return service
		}
	}
	return nil
}

func firstOf(addresses []netip.Addr) netip.Addr {
	if len(addresses) == 0 {
		return netip.Addr{}
	}
	return addresses[0]
}

// atWaypoint decides what reaches the waypoint: with the caller's identity and
// address, as ztunnel keeps both (istio pilot/pkg/xds/filters/filters.go,
// ConnectAuthorityFilter), and the port that was dialled. Taken says that the
// request goes on without its token.
func atWaypoint(call *Call, way *way) (decision Decision, taken bool) {
	enforced, destinations, protocol, asked := &call.Server.direct, call.Server.Addresses, ProtocolUndeclared, serverName{}
	if !way.direct {
		enforced, destinations = &call.Service.proxy, call.Service.Addresses
		if port, found := call.Service.port(call.Port); found {
			protocol = port.Protocol
			if port.TLS {
				asked.plain = call.Request.ServerName
			}
		}
	}
	form := call.Request.on(protocol)
	known := facts{
		identity: call.Caller.Identity, source: call.Caller.Address, remote: call.Request.client(call.Caller.Address, form),
		destinations: destinations, port: call.Port, serverName: asked, request: &call.Request,
	}
	decision = enforced.decide(&known, form, false)
	return decision, known.taken
}

// on says in which form policies are enforced on a port of some protocol.
func (r *Request) on(protocol Protocol) form {
	if protocol == ProtocolHTTP || r.HTTP && protocol != ProtocolTCP {
		return formHTTP
	}
	return formTCP
}

// client is who counts as the caller to Envoy: over HTTP whom a proxy in front
// names.
func (r *Request) client(source netip.Addr, form form) netip.Addr {
	if form == formHTTP && r.ForwardedFor.IsValid() {
		return r.ForwardedFor
	}
	return source
}

// pastSidecar says whether a call reaches the application itself, at a port that the
// sidecar does not capture: nothing of the mesh refuses it there. Whether mTLS that is
// sent to such a port is understood is up to the application, and to DestinationRules.
// HBONE ends at the sidecar's own port, whichever port is meant.
func (w *way) pastSidecar(server *Server) bool {
	return server.Mode == ModeSidecar && !w.tunnelled && !server.capture.Captures(w.port)
}

// atServer decides what reaches the server's own point.
func atServer(call *Call, way *way) Decision {
	server := call.Server
	if server.Mode == ModeOutside && !way.secured || way.pastSidecar(server) {
		return allowed
	}
	point := AtSidecar
	switch server.Mode {
	case ModeAmbient, ModeOutside:
		point = AtZtunnel
	case ModeGateway:
		point = AtGateway
	case ModeSidecar:
	}
	if way.secured && (server.Mode == ModeAmbient || server.Mode == ModeOutside) {
		// The label is the pod's own: nothing there terminates what sidecars send.
		// A gateway might.
		return Decision{Outcome: Denied, Point: point, Reason: reasonNotSpoken}
	}
	if way.secured && server.Mode == ModeSidecar && !server.mutual.takes(way.port) {
		return Decision{Outcome: Denied, Point: point, Policies: server.mutual.deciding, Reason: reasonDisabled}
	}
	if way.identity.None() && !way.tunnelled && !way.secured && server.mutual.refuses.Refuses(way.port) {
		return Decision{Outcome: Denied, Point: point, Policies: server.mutual.deciding, Reason: reasonPlaintext}
	}
	if server.Mode == ModeAmbient {
		return server.ztunnel.decide(&facts{
			identity: way.identity, source: way.address, destinations: server.Addresses, port: way.port, request: &call.Request,
		})
	}
	var asked serverName
	switch {
	case way.secured:
		asked = serverName{service: call.Service, port: call.Port}
	case !way.tunnelled:
		asked.plain = call.Request.ServerName
	}
	protocol := ProtocolUndeclared
	if of, known := server.protocols[way.port]; known && server.Mode == ModeSidecar {
		protocol = of
	}
	form := call.Request.on(protocol)
	return server.proxy.decide(&facts{
		identity: way.identity, source: way.address, remote: call.Request.client(way.address, form),
		destinations: server.Addresses, port: way.port, serverName: asked, request: &call.Request,
	}, form, way.tunnelled)
}
