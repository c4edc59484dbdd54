package access

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	securityv1beta1 "istio.io/api/security/v1beta1"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// Fingerprint is a text that two servers of states of one Builder have in common
// only if every call to them is decided alike.
func (s *Server) Fingerprint() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s|%v|%v|%v|%v|%v|%v|%v|", s.Mode, s.Tunnels, s.promisesTLS(), s.NamedPorts, s.protocols, s.Addresses, s.capture, s.mutual.fingerprint())
	s.proxy.fingerprint(&text)
	fingerprint(&text, s.ztunnel.deny, s.ztunnel.allow)
	if s.UseWaypoint != nil {
		fmt.Fprintf(&text, "|%v", *s.UseWaypoint)
		s.direct.fingerprint(&text)
	}
	for _, service := range s.services {
		fmt.Fprintf(&text, "|%s %v %v", service.Reference, service.IngressUsesWaypoint, service.promiseTLS)
		if written := service.writtenFor(s); written != nil {
			fmt.Fprintf(&text, " %v %v %v", service.knows(s), service.opaque(s), written.ports)
		}
		if service.Waypoint != nil {
			fmt.Fprintf(&text, " %v", *service.Waypoint)
			service.proxy.fingerprint(&text)
		}
	}
	return text.String()
}

func (m *mutualTLS) fingerprint() string {
	return fmt.Sprint(m.refuses, m.disabled, m.disabledPorts, m.disabledNamespace)
}

func (p *proxy) fingerprint(text *strings.Builder) {
	fingerprint(text, p.custom, p.deny, p.allow)
	for _, rule := range p.tokens.rules {
		fmt.Fprintf(text, "%q%q%v", rule.issuer, rule.audiences, rule.forwards)
	}
	fmt.Fprintf(text, "%v", p.tokens.references)
}

// fingerprint goes by the addresses of policies: a Builder understands each of them
// once.
func fingerprint(text *strings.Builder, lists ...[]*policy) {
	for _, list := range lists {
		for _, policy := range list {
			fmt.Fprintf(text, "%p,", policy)
		}
		text.WriteByte(';')
	}
}

// Policies are the AuthorizationPolicies that decide calls to the server, at
// whichever point.
func (s *Server) Policies() []*clientsecurityv1.AuthorizationPolicy {
	all := s.podPolicies()
	for _, service := range s.services {
		all = takeObjects(all, service.proxy.custom, service.proxy.deny, service.proxy.allow)
	}
	return all
}

// podPolicies are those that decide calls to the pods' own addresses.
func (s *Server) podPolicies() []*clientsecurityv1.AuthorizationPolicy {
	return takeObjects(nil, s.proxy.custom, s.proxy.deny, s.proxy.allow, s.ztunnel.deny, s.ztunnel.allow, s.direct.custom, s.direct.deny, s.direct.allow)
}

func takeObjects(all []*clientsecurityv1.AuthorizationPolicy, lists ...[]*policy) []*clientsecurityv1.AuthorizationPolicy {
	for _, policy := range slices.Concat(lists...) {
		if !slices.Contains(all, policy.object) {
			all = append(all, policy.object)
		}
	}
	return all
}

// PolicyPorts are the ports of the pods that policies name which decide calls to
// their own addresses, or to them by whichever way, and those that their sidecar is told
// of: policies at the waypoints of Services name the Services' ports.
func (s *Server) PolicyPorts() []uint32 {
	ports := slices.Collect(maps.Keys(s.mutual.refuses.Ports))
	ports = slices.AppendSeq(ports, maps.Keys(s.mutual.disabledPorts))
	ports = append(ports, s.capture.Ports...)
	for _, policy := range s.podPolicies() {
		for _, rule := range policy.Spec.GetRules() {
			for _, text := range portTexts(rule) {
				if port, err := parsePort(text); err == nil {
					ports = append(ports, port)
				}
			}
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

func portTexts(rule *securityv1beta1.Rule) []string {
	var texts []string
	for _, to := range rule.GetTo() {
		texts = slices.Concat(texts, to.GetOperation().GetPorts(), to.GetOperation().GetNotPorts())
	}
	for _, when := range rule.GetWhen() {
		if when.GetKey() == keyDestinationPort {
			texts = slices.Concat(texts, when.GetValues(), when.GetNotValues())
		}
	}
	return texts
}

// Authentications are the RequestAuthentications that do, as far as requests can be
// told apart by them.
func (s *Server) Authentications() []*securityv1beta1.RequestAuthentication {
	var rules []*securityv1beta1.JWTRule
	proxies := []*proxy{&s.proxy, &s.direct}
	for _, service := range s.services {
		proxies = append(proxies, &service.proxy)
	}
	for _, proxy := range proxies {
		for _, rule := range proxy.tokens.rules {
			rules = append(rules, rule.written)
		}
	}
	if len(rules) == 0 {
		return nil
	}
	return []*securityv1beta1.RequestAuthentication{{JwtRules: rules}}
}
