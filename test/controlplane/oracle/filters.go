package oracle

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacconfig "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httpauthz "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	jwt "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	httprbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	netauthz "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ext_authz/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	netrbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Where RBAC filters leave the policies that would have matched.
const (
	httpRBACMetadata = "envoy.filters.http.rbac"
	netRBACMetadata  = "envoy.filters.network.rbac"
	shadowPolicy     = "shadow_effective_policy_id"
)

const blackHole = "BlackHoleCluster"

// passive are filters that decide nothing as istiod configures them: they tell
// proxies of each other, count, and change responses. Fault and CORS filters act
// only where a route tells them to.
var passive = map[string]bool{
	"istio.metadata_exchange":           true,
	"istio.stats":                       true,
	"waypoint_upstream_peer_metadata":   true,
	"waypoint_downstream_peer_metadata": true,
	"connect_authority":                 true,
	"set_dst_address":                   true,
	"envoy.filters.http.grpc_stats":     true,
	"envoy.filters.http.fault":          true,
	"envoy.filters.http.cors":           true,
	"envoy.filters.http.router":         true,
}

// step is a filter that decides.
type step func(call *envoyCall) (Verdict, error)

// filters are those of a chain.
type filters struct {
	network []step
	// manager is nil in chains for other protocols than HTTP.
	manager *hcm.HttpConnectionManager
	http    []step
	// cluster is where a TCP chain sends connections.
	cluster string
}

func newFilters(source []*listener.Filter) (*filters, error) {
	result := &filters{}
	for _, filter := range source {
		if err := result.add(filter); err != nil {
			return nil, fmt.Errorf("filter %s: %w", filter.Name, err)
		}
	}
	return result, nil
}

func (f *filters) add(filter *listener.Filter) error {
	message, err := unpack(filter.GetTypedConfig())
	switch config := message.(type) {
	case *netrbac.RBAC:
		if config.Matcher != nil || config.ShadowMatcher != nil {
			return errors.New("a matcher tree")
		}
		f.network = append(f.network, rbacStep(netRBACMetadata, config.Rules, config.ShadowRules, config.ShadowRulesStatPrefix))
	case *netauthz.ExtAuthz:
		f.network = append(f.network, authorizerStep(config.FilterEnabledMetadata))
	case *tcpproxy.TcpProxy:
		f.cluster = config.GetCluster()
	case *hcm.HttpConnectionManager:
		f.manager = config
		return f.addHTTP(config.HttpFilters)
	default:
		if passive[filter.Name] {
			return nil
		}
		return errors.Join(errors.New("not understood"), err)
	}
	return nil
}

func (f *filters) addHTTP(source []*hcm.HttpFilter) error {
	for _, filter := range source {
		if filter.GetConfigDiscovery() != nil || filter.Disabled {
			return fmt.Errorf("filter %s: it is discovered or disabled", filter.Name)
		}
		message, err := unpack(filter.GetTypedConfig())
		switch config := message.(type) {
		case *httprbac.RBAC:
			if config.Matcher != nil || config.ShadowMatcher != nil {
				return fmt.Errorf("filter %s: a matcher tree", filter.Name)
			}
			f.http = append(f.http, rbacStep(httpRBACMetadata, config.Rules, config.ShadowRules, config.ShadowRulesStatPrefix))
		case *jwt.JwtAuthentication:
			f.http = append(f.http, jwtStep(config))
		case *httpauthz.ExtAuthz:
			f.http = append(f.http, authorizerStep(config.FilterEnabledMetadata))
		default:
			if !passive[filter.Name] {
				return errors.Join(fmt.Errorf("filter %s: not understood", filter.Name), err)
			}
		}
	}
	return nil
}

// unpack decodes what this package knows.
func unpack(config *anypb.Any) (proto.Message, error) {
	if config == nil {
		return nil, errors.New("it has no configuration")
	}
	return config.UnmarshalNew()
}

// decide takes a connection through the filters of a chain. It notes in the
// call what later hops need: the token, if it was taken away.
func (f *filters) decide(call *envoyCall, request *Request) (Verdict, error) {
	verdict := Verdict{Outcome: Allowed}
	run := func(steps []step) error {
		for _, step := range steps {
			next, err := step(call)
			if err != nil {
				return err
			}
			verdict = verdict.join(next)
			if verdict.Outcome == Denied {
				return nil
			}
		}
		return nil
	}
	call.metadata = map[string]map[string]any{}
	if err := run(f.network); err != nil || verdict.Outcome == Denied {
		return verdict, err
	}
	if f.manager == nil {
		if f.cluster == blackHole {
			return Verdict{Unreachable, "blackhole"}, nil
		}
		return verdict, nil
	}
	if !request.HTTP {
		return Verdict{Unreachable, "HTTP is expected"}, nil
	}
	if err := plainPath(request.Path); err != nil && f.manager.NormalizePath.GetValue() {
		return Verdict{}, err
	}
	copied := *request
	call.http, call.request = true, &copied
	call.remote = remoteAddress(f.manager, call)
	return verdict, run(f.http)
}

// plainPath refuses paths that Envoy would rewrite before it looks at them.
func plainPath(path string) error {
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, `%?#\`) || strings.Contains(path, "//") ||
		strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../") {
		return fmt.Errorf("path %q is not in normal form", path)
	}
	return nil
}

// remoteAddress is the client by Envoy's account: the last that the request
// itself names, since istiod has servers trust that header, else the peer.
func remoteAddress(manager *hcm.HttpConnectionManager, call *envoyCall) netip.Addr {
	forwarded := lookup(call.request.Headers, "x-forwarded-for")
	if manager.UseRemoteAddress.GetValue() || forwarded == nil || manager.XffNumTrustedHops > 0 {
		return call.source
	}
	list := strings.Split(*forwarded, ",")
	address, err := netip.ParseAddr(strings.TrimSpace(list[len(list)-1]))
	if err != nil {
		return call.source
	}
	return address
}

func rbacStep(metadata string, rules, shadow *rbacconfig.RBAC, prefix string) step {
	return func(call *envoyCall) (Verdict, error) {
		if shadow != nil {
			name, err := matchedPolicy(shadow, call)
			if err != nil {
				return Verdict{}, err
			}
			if name != "" {
				values := maps.Clone(call.metadata[metadata])
				if values == nil {
					values = map[string]any{}
				}
				values[prefix+shadowPolicy] = name
				call.metadata[metadata] = values
			}
		}
		return decideRBAC(rules, call)
	}
}

func decideRBAC(rules *rbacconfig.RBAC, call *envoyCall) (Verdict, error) {
	if rules == nil || rules.Action == rbacconfig.RBAC_LOG {
		return Verdict{Outcome: Allowed}, nil
	}
	name, err := matchedPolicy(rules, call)
	switch {
	case err != nil:
		return Verdict{}, err
	case rules.Action == rbacconfig.RBAC_DENY && name != "":
		return Verdict{Denied, "DENY " + name}, nil
	case rules.Action == rbacconfig.RBAC_ALLOW && name == "":
		return Verdict{Denied, "no ALLOW matches"}, nil
	case rules.Action == rbacconfig.RBAC_ALLOW:
		return Verdict{Allowed, "ALLOW " + name}, nil
	default:
		return Verdict{Outcome: Allowed}, nil
	}
}

// authorizerStep asks an external authorizer where the metadata say so.
func authorizerStep(enabled *matcher.MetadataMatcher) step {
	return func(call *envoyCall) (Verdict, error) {
		if enabled == nil {
			return Verdict{Delegated, "external authorizer"}, nil
		}
		asked, err := matchMetadata(enabled, call.metadata)
		if asked && err == nil {
			return Verdict{Delegated, "external authorizer"}, nil
		}
		return Verdict{Outcome: Allowed}, err
	}
}

// jwtStep checks the token, leaves what it says as metadata, and takes it from
// the request unless it is to be forwarded.
func jwtStep(config *jwt.JwtAuthentication) step {
	return func(call *envoyCall) (Verdict, error) {
		result, err := checkToken(config, call.request)
		if err != nil {
			return Verdict{}, err
		}
		if !result.passed {
			return Verdict{Denied, "the token is not accepted"}, nil
		}
		if result.provider != nil {
			call.metadata[jwtMetadata] = metadataOf(result.provider, call.request.Token)
			if !result.provider.Forward {
				call.request.Token = Token{}
			}
		}
		return Verdict{Outcome: Allowed}, nil
	}
}
