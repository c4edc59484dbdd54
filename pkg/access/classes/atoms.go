package classes

import (
	"fmt"
	"strings"

	securityv1beta1 "istio.io/api/security/v1beta1"
)

// Atoms are the conditions that AuthorizationPolicies put on calls, taken from
// any number of policies, those of several states of the mesh included. From them
// come finitely many witnesses, one of each class of requests, identities and
// addresses that the policies can tell apart; ports are a matter of servers. Two states whose policies
// are all here decide all calls alike if they decide the witnesses alike, but for
// what Approximate names. The zero Atoms is ready for use, by one goroutine at a
// time.
type Atoms struct {
	methods, paths, hosts, serverNames conditions
	// headers are by lower-case name.
	headers map[string]conditions
	tokens  tokenAtoms

	// knownHosts are preferred as witnesses.
	knownHosts []string

	identities identityAtoms
	// remotes are about the client that a trusted proxy names, sources about the
	// address that a connection comes from.
	remotes, sources []blocks

	templates map[string]*pathTemplate
	// tokenHeaders are those in which tokens come, or what proxies take from them
	// goes on.
	tokenHeaders map[string]bool
	reasons      map[string]bool

	// found is kept until the next condition comes in.
	found *witnesses
}

// AddPolicy takes in what a policy tells calls apart by, whatever its action and
// its targets. The namespace is the policy's own, which service accounts without
// one are of.
func (a *Atoms) AddPolicy(spec *securityv1beta1.AuthorizationPolicy, namespace string) {
	a.found = nil
	for _, rule := range spec.GetRules() {
		for _, from := range rule.GetFrom() {
			a.addSource(from.GetSource(), namespace)
		}
		for _, to := range rule.GetTo() {
			a.addOperation(to.GetOperation())
		}
		for _, when := range rule.GetWhen() {
			a.addWhen(when.GetKey(), when.GetValues(), namespace)
			a.addWhen(when.GetKey(), when.GetNotValues(), namespace)
		}
	}
}

func (a *Atoms) addSource(source *securityv1beta1.Source, namespace string) {
	a.identities.addPrincipals(source.GetPrincipals())
	a.identities.addPrincipals(source.GetNotPrincipals())
	a.identities.addNamespaces(source.GetNamespaces())
	a.identities.addNamespaces(source.GetNotNamespaces())
	a.identities.addServiceAccounts(source.GetServiceAccounts(), namespace)
	a.identities.addServiceAccounts(source.GetNotServiceAccounts(), namespace)
	a.identities.addTrustDomains(source.GetTrustDomains())
	a.identities.addTrustDomains(source.GetNotTrustDomains())
	a.tokens.addPrincipals(source.GetRequestPrincipals())
	a.tokens.addPrincipals(source.GetNotRequestPrincipals())
	a.sources = addBlocks(a.sources, source.GetIpBlocks())
	a.sources = addBlocks(a.sources, source.GetNotIpBlocks())
	a.remotes = addBlocks(a.remotes, source.GetRemoteIpBlocks())
	a.remotes = addBlocks(a.remotes, source.GetNotRemoteIpBlocks())
}

func (a *Atoms) addOperation(operation *securityv1beta1.Operation) {
	a.methods.add(operation.GetMethods(), parsePattern)
	a.methods.add(operation.GetNotMethods(), parsePattern)
	a.addPaths(operation.GetPaths())
	a.addPaths(operation.GetNotPaths())
	a.hosts.add(lower(operation.GetHosts()), parsePattern)
	a.hosts.add(lower(operation.GetNotHosts()), parsePattern)
}

// addWhen takes in the values or notValues of a condition, by the keys of istio
// pilot/pkg/security/authz/model/model.go. Rules with other keys are dropped, or
// match regardless of the key, for every call alike.
func (a *Atoms) addWhen(key string, values []string, namespace string) {
	if len(values) == 0 {
		return
	}
	switch {
	case key == "source.ip":
		a.sources = addBlocks(a.sources, values)
	case key == "remote.ip":
		a.remotes = addBlocks(a.remotes, values)
	case key == "source.namespace":
		a.identities.addNamespaces(values)
	case key == "source.principal":
		a.identities.addPrincipals(values)
	case key == "source.serviceAccount":
		a.identities.addServiceAccounts(values, namespace)
	case key == "source.trustDomain":
		a.identities.addTrustDomains(values)
	case key == "request.auth.principal":
		a.tokens.addPrincipals(values)
	case key == "request.auth.audiences":
		a.tokens.audiences.add(values, parsePattern)
	case key == "request.auth.presenter":
		a.tokens.presenter.add(values, parsePattern)
	case strings.HasPrefix(key, "request.auth.claims["):
		a.tokens.addClaim(bracketed(key), values)
	case strings.HasPrefix(key, "request.headers["):
		a.addHeader(strings.ToLower(bracketed(key)), values)
	case key == "destination.ip":
		a.reason("destination.ip: pods have new addresses once they are restarted")
	case key == "connection.sni":
		a.serverNames.add(values, parsePattern)
		a.reason("connection.sni: between proxies it is the name that the mesh's own TLS asks for")
	case strings.HasPrefix(key, "experimental.envoy.filters."):
		a.reason(key + ": only the Envoy filter knows its values")
	}
}

// bracketed is what is between the first bracket of a key and the last.
func bracketed(key string) string {
	_, inner, _ := strings.Cut(key, "[")
	return strings.TrimSuffix(inner, "]")
}

func (a *Atoms) addPaths(paths []string) {
	valid := make([]string, 0, len(paths))
	for _, path := range paths {
		if isPathTemplate(path) && a.templates[path] == nil {
			template, err := parsePathTemplate(path)
			if err != nil {
				a.reason(fmt.Sprintf("paths: Envoy refuses it: %v", err))
				continue
			}
			if a.templates == nil {
				a.templates = map[string]*pathTemplate{}
			}
			a.templates[path] = template
		}
		valid = append(valid, path)
	}
	a.paths.add(valid, func(path string) stringPattern {
		if template := a.templates[path]; template != nil {
			return stringPattern{kind: patternTemplate, text: path, template: template}
		}
		return parsePattern(path)
	})
}

func (a *Atoms) addHeader(name string, values []string) {
	switch {
	case strings.HasPrefix(name, ":") || name == "host":
		a.reason("request.headers[" + name + "]: it is no header but the request line or its host")
		return
	case strings.HasPrefix(name, "x-envoy-") || strings.HasPrefix(name, "x-forwarded-") || name == "x-request-id":
		a.reason("request.headers[" + name + "]: proxies on the way write it")
	}
	if a.headers == nil {
		a.headers = map[string]conditions{}
	}
	list := a.headers[name]
	list.add(values, parsePattern)
	a.headers[name] = list
}

// AddAuthentication takes in which tokens a RequestAuthentication accepts.
func (a *Atoms) AddAuthentication(spec *securityv1beta1.RequestAuthentication) {
	a.found = nil
	for _, rule := range spec.GetJwtRules() {
		if rule.GetIssuer() == "" {
			a.tokens.anyIssuer = true
		} else {
			if a.tokens.accepted == nil {
				a.tokens.accepted = map[string]bool{}
			}
			a.tokens.accepted[rule.GetIssuer()] = true
		}
		a.tokens.addDemanded(rule.GetAudiences())
		a.addTokenHeaders(rule)
	}
}

// addTokenHeaders notes the headers that a rule reads and writes. Without other
// places tokens come in the header Authorization.
func (a *Atoms) addTokenHeaders(rule *securityv1beta1.JWTRule) {
	var names []string
	if len(rule.GetFromHeaders())+len(rule.GetFromParams())+len(rule.GetFromCookies()) == 0 {
		names = append(names, "authorization")
	}
	for _, header := range rule.GetFromHeaders() {
		names = append(names, header.GetName())
	}
	if len(rule.GetFromCookies()) > 0 {
		names = append(names, "cookie")
	}
	for _, output := range rule.GetOutputClaimToHeaders() {
		names = append(names, output.GetHeader())
	}
	names = append(names, rule.GetOutputPayloadToHeader())
	if a.tokenHeaders == nil {
		a.tokenHeaders = map[string]bool{}
	}
	for _, name := range names {
		a.tokenHeaders[strings.ToLower(name)] = true
	}
}

// AddHost takes in a name that callers know the server by. Where policies are
// about hosts, witnesses take it before others.
func (a *Atoms) AddHost(host string) {
	a.found = nil
	a.knownHosts = append(a.knownHosts, strings.ToLower(host))
}

func (a *Atoms) reason(reason string) {
	if a.reasons == nil {
		a.reasons = map[string]bool{}
	}
	a.reasons[reason] = true
}

// lower is for hosts, which Envoy compares whatever their case.
func lower(values []string) []string {
	lowered := make([]string, 0, len(values))
	for _, value := range values {
		lowered = append(lowered, strings.ToLower(value))
	}
	return lowered
}
