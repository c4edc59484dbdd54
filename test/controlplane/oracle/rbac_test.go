package oracle

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

func aliceCalls() *envoyCall {
	return &envoyCall{
		source:      netip.MustParseAddr("10.0.1.2"),
		remote:      netip.MustParseAddr("203.0.113.9"),
		destination: netip.MustParseAddrPort("192.168.0.7:8080"),
		certified:   "spiffe://td/ns/from/sa/alice",
		filterState: map[string]string{peerPrincipal: "spiffe://td/ns/from/sa/bob"},
		sni:         "a.example",
		http:        true,
		request:     &Request{HTTP: true, Method: "GET", Path: "/a/b", Host: "Echo.example", Headers: map[string]string{"X-Team": "blue"}},
		metadata: map[string]map[string]any{jwtMetadata: {"payload": map[string]any{
			"iss": "https://issuer", "groups": []any{"x", "y"}, "nested": map[string]any{"role": "admin"},
		}}},
	}
}

// fromJSON decodes a message, as istiod would send it.
func fromJSON[T proto.Message](t *testing.T, message T, text string) T {
	t.Helper()
	if err := protojson.Unmarshal([]byte(text), message); err != nil {
		t.Fatal(err)
	}
	return message
}

func TestPermissions(t *testing.T) {
	for text, want := range map[string]bool{
		`{"any": true}`:              true,
		`{"notRule": {"any": true}}`: false,
		`{"andRules": {"rules": [{"any": true}, {"destinationPort": 80}]}}`:                                false,
		`{"orRules": {"rules": [{"destinationPort": 80}, {"destinationPort": 8080}]}}`:                     true,
		`{"destinationIp": {"addressPrefix": "192.168.0.0", "prefixLen": 16}}`:                             true,
		`{"destinationIp": {"addressPrefix": "192.169.0.0", "prefixLen": 16}}`:                             false,
		`{"requestedServerName": {"exact": "a.example"}}`:                                                  true,
		`{"header": {"name": ":method", "stringMatch": {"exact": "GET"}}}`:                                 true,
		`{"header": {"name": ":method", "stringMatch": {"exact": "get"}}}`:                                 false,
		`{"header": {"name": ":authority", "stringMatch": {"exact": "echo.example", "ignoreCase": true}}}`: true,
		`{"header": {"name": "x-team", "stringMatch": {"prefix": "bl"}}}`:                                  true,
		`{"header": {"name": "x-team", "presentMatch": true}}`:                                             true,
		`{"header": {"name": "x-other", "presentMatch": true}}`:                                            false,
		`{"header": {"name": "x-other", "stringMatch": {"exact": ""}}}`:                                    false,
		`{"header": {"name": "x-other", "stringMatch": {"exact": "v"}, "invertMatch": true}}`:              false,
		`{"urlPath": {"path": {"exact": "/a/b"}}}`:                                                         true,
		`{"urlPath": {"path": {"prefix": "/b"}}}`:                                                          false,
		`{"urlPath": {"path": {"suffix": "/b"}}}`:                                                          true,
		`{"urlPath": {"path": {"safeRegex": {"regex": "/a"}}}}`:                                            false,
		`{"uriTemplate": {"typedConfig": {"@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", "pathTemplate": "/a/*"}}}`: true,
	} {
		got, err := aliceCalls().permits(fromJSON(t, &rbac.Permission{}, text))
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
}

func TestPrincipals(t *testing.T) {
	claim := func(path, value string) string {
		return `{"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": [{"key": "payload"}, ` + path + `], "value": ` + value + `}}`
	}
	for text, want := range map[string]bool{
		`{"any": true}`:            true,
		`{"notId": {"any": true}}`: false,
		`{"authenticated": {}}`:    true,
		`{"authenticated": {"principalName": {"exact": "spiffe://td/ns/from/sa/alice"}}}`:                                                                        true,
		`{"authenticated": {"principalName": {"safeRegex": {"regex": ".*/ns/from/.*"}}}}`:                                                                        true,
		`{"authenticated": {"principalName": {"exact": "spiffe://td/ns/from/sa/bob"}}}`:                                                                          false,
		`{"filterState": {"key": "io.istio.peer_principal", "stringMatch": {"suffix": "/sa/bob"}}}`:                                                              true,
		`{"filterState": {"key": "io.istio.other", "stringMatch": {"suffix": "/sa/bob"}}}`:                                                                       false,
		`{"directRemoteIp": {"addressPrefix": "10.0.0.0", "prefixLen": 16}}`:                                                                                     true,
		`{"remoteIp": {"addressPrefix": "10.0.0.0", "prefixLen": 16}}`:                                                                                           false,
		`{"remoteIp": {"addressPrefix": "203.0.113.0", "prefixLen": 24}}`:                                                                                        true,
		`{"orIds": {"ids": [{"notId": {"any": true}}, {"any": true}]}}`:                                                                                          true,
		`{"andIds": {"ids": [{"any": true}, {"header": {"name": "X-TEAM", "stringMatch": {"exact": "blue"}}}]}}`:                                                 true,
		claim(`{"key": "iss"}`, `{"stringMatch": {"exact": "https://issuer"}}`):                                                                                  true,
		claim(`{"key": "sub"}`, `{"stringMatch": {"exact": ""}}`):                                                                                                false,
		claim(`{"key": "groups"}`, `{"listMatch": {"oneOf": {"stringMatch": {"exact": "y"}}}}`):                                                                  true,
		claim(`{"key": "groups"}`, `{"stringMatch": {"exact": "y"}}`):                                                                                            false,
		claim(`{"key": "nested"}, {"key": "role"}`, `{"orMatch": {"valueMatchers": [{"stringMatch": {"exact": "user"}}, {"stringMatch": {"exact": "admin"}}]}}`): true,
	} {
		got, err := aliceCalls().is(fromJSON(t, &rbac.Principal{}, text))
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
}

func TestConnectionsWithoutIdentity(t *testing.T) {
	call := aliceCalls()
	call.certified, call.filterState = "", nil
	for text, want := range map[string]bool{
		`{"authenticated": {}}`: false,
		`{"notId": {"authenticated": {"principalName": {"safeRegex": {"regex": ".+"}}}}}`:                    true,
		`{"filterState": {"key": "io.istio.peer_principal", "stringMatch": {"safeRegex": {"regex": ".+"}}}}`: false,
	} {
		if got, err := call.is(fromJSON(t, &rbac.Principal{}, text)); err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
}

func TestHTTPMatchersNeedHTTP(t *testing.T) {
	call := aliceCalls()
	call.http = false
	if _, err := call.permits(fromJSON(t, &rbac.Permission{}, `{"urlPath": {"path": {"exact": "/"}}}`)); !errors.Is(err, errNotHTTP) {
		t.Errorf("a path: %v", err)
	}
	if _, err := call.is(fromJSON(t, &rbac.Principal{}, `{"header": {"name": "x", "presentMatch": true}}`)); !errors.Is(err, errNotHTTP) {
		t.Errorf("a header: %v", err)
	}
}

func TestUnknownMatchersAreErrors(t *testing.T) {
	if _, err := aliceCalls().permits(fromJSON(t, &rbac.Permission{}, `{"destinationPortRange": {"start": 1, "end": 9}}`)); err == nil {
		t.Error("a permission was guessed")
	}
	if _, err := aliceCalls().is(fromJSON(t, &rbac.Principal{}, `{"sourceIp": {"addressPrefix": "10.0.0.0", "prefixLen": 8}}`)); err == nil {
		t.Error("a principal was guessed")
	}
	if _, err := matchTemplate("/a/x*", "/a/xy"); err == nil {
		t.Error("a path template was guessed")
	}
}

func TestRBACFilter(t *testing.T) {
	const matching = `{"ns[n]-policy[p]-rule[0]": {"permissions": [{"any": true}], "principals": [{"any": true}]}}`
	const other = `{"ns[n]-policy[p]-rule[0]": {"permissions": [{"destinationPort": 1}], "principals": [{"any": true}]}}`
	for text, want := range map[string]Verdict{
		`{}`:                             {Outcome: Allowed},
		`{"rules": {"action": "ALLOW"}}`: {Denied, "no ALLOW matches"},
		`{"rules": {"action": "ALLOW", "policies": ` + matching + `}}`:      {Allowed, "ALLOW ns[n]-policy[p]-rule[0]"},
		`{"rules": {"action": "ALLOW", "policies": ` + other + `}}`:         {Denied, "no ALLOW matches"},
		`{"rules": {"action": "DENY", "policies": ` + matching + `}}`:       {Denied, "DENY ns[n]-policy[p]-rule[0]"},
		`{"rules": {"action": "DENY", "policies": ` + other + `}}`:          {Outcome: Allowed},
		`{"rules": {"action": "LOG", "policies": ` + matching + `}}`:        {Outcome: Allowed},
		`{"shadowRules": {"action": "DENY", "policies": ` + matching + `}}`: {Outcome: Allowed},
	} {
		config := fromJSON(t, &httprbac.RBAC{}, text)
		got, err := rbacStep(httpRBACMetadata, config.Rules, config.ShadowRules, config.ShadowRulesStatPrefix)(aliceCalls())
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
}

func TestPathTemplates(t *testing.T) {
	for _, test := range []struct {
		template, path string
		want           bool
	}{
		{"/a/*", "/a/b", true},
		{"/a/*", "/a/", false},
		{"/a/*", "/a/b/c", false},
		{"/a/**", "/a/b/c", true},
		{"/a/**", "/a/", true},
		{"/a/**", "/b", false},
		{"/*/b/**", "/x/b/y", true},
		{"/a/**.js", "/a/b/c.js", true},
		{"/a/**.js", "/a/b/c.css", false},
		{"/a.b", "/axb", false},
	} {
		if got, err := matchTemplate(test.template, test.path); err != nil || got != test.want {
			t.Errorf("%s on %s: got %v, %v", test.template, test.path, got, err)
		}
	}
}

func TestPathsThatEnvoyRewrites(t *testing.T) {
	for path, plain := range map[string]bool{
		"/": true, "/a/b": true, "/a.b/..c": true,
		"": false, "a": false, "/a//b": false, "/a/../b": false, "/a/.": false, "/%61": false, "/a?b": false, `/a\b`: false,
	} {
		if err := plainPath(path); (err == nil) != plain {
			t.Errorf("%q: %v", path, err)
		} else if err != nil && !strings.Contains(err.Error(), "normal form") {
			t.Errorf("%q: %v", path, err)
		}
	}
}
