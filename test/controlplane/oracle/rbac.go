package oracle

import (
	"errors"
	"fmt"
	"net/netip"

	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	template "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// envoyCall is what an Envoy knows of a connection and, for HTTP, of the
// request on it.
type envoyCall struct {
	source      netip.Addr
	remote      netip.Addr
	destination netip.AddrPort
	// certified is the identity of the client's certificate on this very
	// connection, which has none where the connection came out of a tunnel.
	certified string
	// filterState is what a tunnel handed on.
	filterState map[string]string
	sni         string
	http        bool
	request     *Request
	metadata    map[string]map[string]any
}

// header returns a header of the request, nil if it has none.
func (c *envoyCall) header(name string) *string {
	switch name {
	case ":method":
		return &c.request.Method
	case ":authority", "host":
		return &c.request.Host
	case ":path":
		return &c.request.Path
	default:
		return lookup(c.request.Headers, name)
	}
}

var errNotHTTP = errors.New("an HTTP matcher in a TCP chain")

// matchedPolicy returns the policy that matches, the first by its name as Envoy
// keeps them, or nothing.
func matchedPolicy(rules *rbac.RBAC, call *envoyCall) (string, error) {
	for _, name := range sortedKeys(rules.Policies) {
		matched, err := matchPolicy(rules.Policies[name], call)
		if err != nil {
			return "", fmt.Errorf("policy %s: %w", name, err)
		}
		if matched {
			return name, nil
		}
	}
	return "", nil
}

func matchPolicy(policy *rbac.Policy, call *envoyCall) (bool, error) {
	if policy.Condition != nil || policy.CheckedCondition != nil {
		return false, errors.New("a condition")
	}
	matched, err := anyOf(policy.Permissions, call.permits)
	if !matched || err != nil {
		return false, err
	}
	return anyOf(policy.Principals, call.is)
}

func (c *envoyCall) permits(permission *rbac.Permission) (bool, error) {
	switch rule := permission.Rule.(type) {
	case *rbac.Permission_Any:
		return rule.Any, nil
	case *rbac.Permission_AndRules:
		return allOf(rule.AndRules.Rules, c.permits)
	case *rbac.Permission_OrRules:
		return anyOf(rule.OrRules.Rules, c.permits)
	case *rbac.Permission_NotRule:
		matched, err := c.permits(rule.NotRule)
		return !matched, err
	case *rbac.Permission_DestinationIp:
		return inRange(rule.DestinationIp, c.destination.Addr())
	case *rbac.Permission_DestinationPort:
		return rule.DestinationPort == uint32(c.destination.Port()), nil
	case *rbac.Permission_RequestedServerName:
		return matchString(rule.RequestedServerName, c.sni)
	case *rbac.Permission_Metadata:
		return matchMetadata(rule.Metadata, c.metadata) //nolint:staticcheck // It is what istiod sends.
	case *rbac.Permission_Header, *rbac.Permission_UrlPath, *rbac.Permission_UriTemplate:
		return c.permitsRequest(permission)
	default:
		return false, fmt.Errorf("permission %T", rule)
	}
}

func (c *envoyCall) permitsRequest(permission *rbac.Permission) (bool, error) {
	if !c.http {
		return false, errNotHTTP
	}
	switch rule := permission.Rule.(type) {
	case *rbac.Permission_Header:
		return matchHeader(rule.Header, c.header(rule.Header.Name))
	case *rbac.Permission_UrlPath:
		return matchString(rule.UrlPath.GetPath(), c.request.Path)
	case *rbac.Permission_UriTemplate:
		config := &template.UriTemplateMatchConfig{}
		if err := rule.UriTemplate.TypedConfig.UnmarshalTo(config); err != nil {
			return false, err
		}
		return matchTemplate(config.PathTemplate, c.request.Path)
	default:
		return false, fmt.Errorf("permission %T", rule)
	}
}

func (c *envoyCall) is(principal *rbac.Principal) (bool, error) {
	switch identifier := principal.Identifier.(type) {
	case *rbac.Principal_Any:
		return identifier.Any, nil
	case *rbac.Principal_AndIds:
		return allOf(identifier.AndIds.Ids, c.is)
	case *rbac.Principal_OrIds:
		return anyOf(identifier.OrIds.Ids, c.is)
	case *rbac.Principal_NotId:
		matched, err := c.is(identifier.NotId)
		return !matched, err
	case *rbac.Principal_Authenticated_:
		return c.isAuthenticated(identifier.Authenticated.PrincipalName)
	case *rbac.Principal_FilterState:
		return c.hasFilterState(identifier.FilterState)
	case *rbac.Principal_DirectRemoteIp:
		return inRange(identifier.DirectRemoteIp, c.source)
	case *rbac.Principal_RemoteIp:
		return inRange(identifier.RemoteIp, c.remote)
	case *rbac.Principal_Metadata:
		return matchMetadata(identifier.Metadata, c.metadata) //nolint:staticcheck // It is what istiod sends.
	case *rbac.Principal_Header:
		if !c.http {
			return false, errNotHTTP
		}
		return matchHeader(identifier.Header, c.header(identifier.Header.Name))
	default:
		return false, fmt.Errorf("principal %T", identifier)
	}
}

// isAuthenticated matches the certificate of the connection itself.
func (c *envoyCall) isAuthenticated(name *matcher.StringMatcher) (bool, error) {
	if c.certified == "" {
		return false, nil
	}
	if name == nil {
		return true, nil
	}
	return matchString(name, c.certified)
}

func (c *envoyCall) hasFilterState(m *matcher.FilterStateMatcher) (bool, error) {
	value, ok := c.filterState[m.Key]
	if !ok {
		return false, nil
	}
	wanted, ok := m.Matcher.(*matcher.FilterStateMatcher_StringMatch)
	if !ok {
		return false, fmt.Errorf("filter state matcher %T", m.Matcher)
	}
	return matchString(wanted.StringMatch, value)
}
