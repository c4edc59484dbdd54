package access

import (
	"errors"
	"strconv"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	securityv1beta1 "istio.io/api/security/v1beta1"
)

// The keys of conditions (istio pilot/pkg/security/authz/model/model.go).
const (
	keySourceIP         = "source.ip"
	keyRemoteIP         = "remote.ip"
	keyNamespace        = "source.namespace"
	keyServiceAccount   = "source.serviceAccount"
	keyTrustDomain      = "source.trustDomain"
	keyPrincipal        = "source.principal"
	keyRequestPrincipal = "request.auth.principal"
	keyAudiences        = "request.auth.audiences"
	keyPresenter        = "request.auth.presenter"
	keyClaims           = "request.auth.claims"
	keyHeaders          = "request.headers"
	keyDestinationIP    = "destination.ip"
	keyDestinationPort  = "destination.port"
	keyServerName       = "connection.sni"
	keyFilterMetadata   = "experimental.envoy.filters."
	// Those of fields that are no conditions.
	keyHosts   = "hosts"
	keyMethods = "methods"
	keyPaths   = "paths"
)

// proxyCompiler turns a rule into what istiod tells Envoy of it (istio
// pilot/pkg/security/authz/model/model.go, New and Generate).
type proxyCompiler struct {
	namespace string
	domains   trustDomains
	// allow is true for the rules of an ALLOW policy: what cannot be told to
	// Envoy makes such a rule disappear. Of any other only the value does, so
	// that the rule matches more.
	allow bool
	// tcp is true for ports that do not speak HTTP.
	tcp bool
}

var (
	errHTTPOnly = errors.New("it needs HTTP")
	errKey      = errors.New("the key has no name in brackets")
)

// rules returns the rule as Envoy gets it, or none where it is left out.
func (c proxyCompiler) rules(written *securityv1beta1.Rule) rules {
	var permissions, principals conjunction
	var failed error
	add := func(to *conjunction, key string, values, notValues []string) {
		if err := c.add(to, key, values, notValues); err != nil {
			failed = err
		}
	}
	for _, when := range written.GetWhen() {
		switch key := when.GetKey(); {
		case key == keyDestinationIP, key == keyDestinationPort, key == keyServerName, strings.HasPrefix(key, keyFilterMetadata):
			add(&permissions, key, when.GetValues(), when.GetNotValues())
		case knownKey(key):
			add(&principals, key, when.GetValues(), when.GetNotValues())
		default:
			// istiod leaves out the whole rule, of a DENY too.
			return nil
		}
	}
	var from, to clause
	for _, written := range written.GetFrom() {
		source, conditions := written.GetSource(), clone(principals)
		add(&conditions, keySourceIP, source.GetIpBlocks(), source.GetNotIpBlocks())
		add(&conditions, keyRemoteIP, source.GetRemoteIpBlocks(), source.GetNotRemoteIpBlocks())
		add(&conditions, keyNamespace, source.GetNamespaces(), source.GetNotNamespaces())
		add(&conditions, keyTrustDomain, source.GetTrustDomains(), source.GetNotTrustDomains())
		add(&conditions, keyServiceAccount, source.GetServiceAccounts(), source.GetNotServiceAccounts())
		add(&conditions, keyRequestPrincipal, source.GetRequestPrincipals(), source.GetNotRequestPrincipals())
		add(&conditions, keyPrincipal, source.GetPrincipals(), source.GetNotPrincipals())
		from = append(from, conditions)
	}
	if len(from) == 0 {
		from = clause{principals}
	}
	for _, written := range written.GetTo() {
		operation, conditions := written.GetOperation(), clone(permissions)
		add(&conditions, keyDestinationPort, operation.GetPorts(), operation.GetNotPorts())
		add(&conditions, keyPaths, operation.GetPaths(), operation.GetNotPaths())
		add(&conditions, keyMethods, operation.GetMethods(), operation.GetNotMethods())
		add(&conditions, keyHosts, operation.GetHosts(), operation.GetNotHosts())
		to = append(to, conditions)
	}
	if len(to) == 0 {
		to = clause{permissions}
	}
	if failed != nil && c.allow {
		return nil
	}
	return rules{{to, from}}
}

func clone(conditions conjunction) conjunction { return append(conjunction{}, conditions...) }

func knownKey(key string) bool {
	switch key {
	case keySourceIP, keyRemoteIP, keyNamespace, keyServiceAccount, keyTrustDomain, keyPrincipal, keyRequestPrincipal, keyAudiences, keyPresenter:
		return true
	default:
		return strings.HasPrefix(key, keyHeaders) || strings.HasPrefix(key, keyClaims)
	}
}

// add adds what a key says, and returns why Envoy is not told some of it. A list
// of which nothing is left says nothing.
func (c proxyCompiler) add(to *conjunction, key string, values, notValues []string) error {
	var failed error
	for _, list := range []struct {
		values  []string
		negated bool
	}{{values, false}, {notValues, true}} {
		made, err := c.condition(key, list.values)
		if err != nil {
			failed = err
		}
		if len(made.values) > 0 {
			made.negated = list.negated
			*to = append(*to, made)
		}
	}
	return failed
}

func (c proxyCompiler) condition(key string, values []string) (condition, error) {
	made, err := attributeOf(key)
	switch {
	case len(values) == 0:
		return condition{}, nil
	case err != nil:
		return condition{}, err
	case c.tcp && made.needsHTTP():
		return condition{}, errHTTPOnly
	}
	switch key {
	case keyPrincipal:
		values = expand(values, c.domains.ofPrincipal)
	case keyTrustDomain:
		values = expand(values, c.domains.ofDomain)
	}
	var failed error
	for _, text := range values {
		value, err := c.value(made.attribute, text)
		if err != nil {
			failed = err
			continue
		}
		made.values = append(made.values, value)
	}
	return made, failed
}

func expand(values []string, meant func(string) []string) []string {
	var all []string
	for _, value := range values {
		all = append(all, meant(value)...)
	}
	return all
}

// needsHTTP says whether Envoy compares the attribute on ports that speak HTTP
// only. It knows remote.ip and connection.sni on others, too.
func (c condition) needsHTTP() bool {
	switch c.attribute {
	case attributeRequestPrincipal, attributeClaim, attributeHeader, attributeHost, attributeMethod, attributePath:
		return true
	default:
		return false
	}
}

// attributeOf returns a condition without values on what a key names.
func attributeOf(key string) (condition, error) {
	switch key {
	case keySourceIP:
		return condition{attribute: attributeSourceIP}, nil
	case keyRemoteIP:
		return condition{attribute: attributeRemoteIP}, nil
	case keyDestinationIP:
		return condition{attribute: attributeDestinationIP}, nil
	case keyDestinationPort:
		return condition{attribute: attributePort}, nil
	case keyServerName:
		return condition{attribute: attributeServerName}, nil
	case keyNamespace:
		return condition{attribute: attributeNamespaceInPrincipal}, nil
	case keyServiceAccount:
		return condition{attribute: attributeServiceAccount}, nil
	case keyTrustDomain:
		return condition{attribute: attributeTrustDomain}, nil
	case keyPrincipal:
		return condition{attribute: attributePrincipal}, nil
	case keyRequestPrincipal:
		return condition{attribute: attributeRequestPrincipal}, nil
	case keyAudiences:
		return condition{attribute: attributeClaim, name: "aud"}, nil
	case keyPresenter:
		return condition{attribute: attributeClaim, name: "azp"}, nil
	case keyHosts:
		return condition{attribute: attributeHost}, nil
	case keyMethods:
		return condition{attribute: attributeMethod}, nil
	case keyPaths:
		return condition{attribute: attributePath}, nil
	}
	if rest, is := strings.CutPrefix(key, keyHeaders); is {
		name, err := bracketed(rest)
		return condition{attribute: attributeHeader, name: strings.ToLower(name)}, err
	}
	if rest, is := strings.CutPrefix(key, keyClaims); is {
		name, err := bracketed(rest)
		return condition{attribute: attributeClaim, name: name}, err
	}
	if !strings.Contains(key, "[") {
		return condition{}, errKey
	}
	return condition{attribute: attributeUnknown}, nil
}

// bracketed returns what stands in brackets: for a nested claim that is its path,
// with brackets between its names.
func bracketed(text string) (string, error) {
	inner, opens := strings.CutPrefix(text, "[")
	inner, closes := strings.CutSuffix(inner, "]")
	if !opens || !closes {
		return "", errKey
	}
	return inner, nil
}

func (c proxyCompiler) value(of attribute, text string) (value, error) {
	made := value{text: text}
	var err error
	switch of {
	case attributeSourceIP, attributeRemoteIP, attributeDestinationIP:
		made.prefix, err = mesh.ParseBlock(text)
	case attributePort:
		made.port, err = parsePort(text)
	case attributeNamespaceInPrincipal:
		made.exact = !strings.Contains(text, "*")
		made.parts = namespaceParts(text)
	case attributeServiceAccount:
		made.identity = parseServiceAccount(text, c.namespace)
	case attributePrincipal:
		made.identity, made.exact = parsePrincipal(text)
	case attributeRequestPrincipal:
		made.issuer, made.subject = parseRequestPrincipal(text)
	case attributePath:
		if isPathTemplate(text) {
			made.template = pathTemplate(text)
		}
	default:
	}
	return made, err
}

func parsePort(text string) (uint32, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	return uint32(port), err
}

// parseServiceAccount reads NAME or NAMESPACE/NAME.
func parseServiceAccount(text, namespace string) Identity {
	if in, name, both := strings.Cut(text, "/"); both {
		return Identity{Namespace: in, ServiceAccount: name}
	}
	return Identity{Namespace: namespace, ServiceAccount: text}
}

// parsePrincipal reads a principal that is written out in full.
func parsePrincipal(text string) (Identity, bool) {
	parts := strings.Split(text, "/")
	if len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa" || strings.HasPrefix(text, "*") || strings.HasSuffix(text, "*") {
		return Identity{}, false
	}
	return Identity{TrustDomain: parts[0], Namespace: parts[2], ServiceAccount: parts[4]}, true
}

// parseRequestPrincipal takes ISSUER/SUBJECT apart at its last slash. The first
// of its ends that is a wildcard is one; the other part is then as it is written
// (istio authz/model/generator.go, requestPrincipalGenerator).
func parseRequestPrincipal(text string) (issuer, subject claimText) {
	anything := claimText{text: "*"}
	at := strings.LastIndex(text, "/")
	switch {
	case text == "*":
		return anything, anything
	case strings.HasPrefix(text, "*") && at < 0:
		return anything, claimText{text: text}
	case strings.HasPrefix(text, "*"):
		return claimText{text: text[:at]}, claimText{text: text[at+1:], exact: true}
	case strings.HasSuffix(text, "*") && at < 0:
		return claimText{text: text}, anything
	case strings.HasSuffix(text, "*"):
		return claimText{text: text[:at], exact: true}, claimText{text: text[at+1:]}
	case at < 0:
		return claimText{text: text, exact: true}, claimText{exact: true}
	default:
		return claimText{text: text[:at], exact: true}, claimText{text: text[at+1:], exact: true}
	}
}
