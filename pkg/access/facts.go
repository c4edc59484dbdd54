package access

import "net/netip"

// facts are what a point of enforcement knows of a call. They are made for each
// call: nothing may keep them, or store addresses in them, as they would then no
// longer fit on the stack.
type facts struct {
	// identity is none of callers in plaintext.
	identity Identity
	// anonymous is true while identity is not looked at.
	anonymous bool
	// principal is identity as policies write it, once somebody asked.
	principal string
	// source is who connects, remote whom a proxy in front names instead.
	source, remote netip.Addr
	// destinations are the addresses of what is called, any of which it may be.
	destinations []netip.Addr
	port         uint32
	serverName   serverName
	request      *Request
	// accepted is true where a RequestAuthentication has accepted the request's
	// token: no policy sees another.
	accepted bool
	// taken is true where it took the token, too: it does not go on with the
	// request.
	taken bool
}

func (f *facts) identified() bool { return !f.anonymous && !f.identity.None() }

func (f *facts) principalText() string {
	if f.principal == "" {
		f.principal = f.identity.Principal()
	}
	return f.principal
}

// serverName is what a TLS client asks for: what sidecars and gateways ask
// sidecars for is made from the Service and its port, where it is known.
type serverName struct {
	plain   string
	service *Service
	port    uint32
}
