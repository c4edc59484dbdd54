package classes

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	securityv1beta1 "istio.io/api/security/v1beta1"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
)

// policyTo is a policy with a rule for the operation and the conditions.
func policyTo(operation *securityv1beta1.Operation, when ...*securityv1beta1.Condition) *securityv1beta1.AuthorizationPolicy {
	return &securityv1beta1.AuthorizationPolicy{Rules: []*securityv1beta1.Rule{{
		To: []*securityv1beta1.Rule_To{{Operation: operation}}, When: when,
	}}}
}

// authentication accepts the issuers.
func authentication(issuers ...string) *securityv1beta1.RequestAuthentication {
	spec := &securityv1beta1.RequestAuthentication{}
	for _, issuer := range issuers {
		spec.JwtRules = append(spec.JwtRules, &securityv1beta1.JWTRule{Issuer: issuer})
	}
	return spec
}

// inWords is a request in a line, with what is at its default left out.
func inWords(request access.Request) string {
	if !request.HTTP {
		return strings.TrimSpace("connection " + request.ServerName)
	}
	words := []string{request.Method, request.Path}
	add := func(label, value string) {
		if value != "" {
			words = append(words, label+"="+value)
		}
	}
	add("host", request.Host)
	for _, name := range slices.Sorted(maps.Keys(request.Headers)) {
		add(name, request.Headers[name])
	}
	if request.ForwardedFor.IsValid() {
		add("for", request.ForwardedFor.String())
	}
	add("sni", request.ServerName)
	if request.Token.Issuer != "" {
		validity := "invalid"
		if request.Token.Valid {
			validity = "valid"
		}
		add(validity, request.Token.Issuer+"/"+request.Token.Subject)
	}
	add("aud", strings.Join(request.Token.Audiences, "+"))
	add("azp", request.Token.Presenter)
	for _, name := range slices.Sorted(maps.Keys(request.Token.Claims)) {
		add(name, strings.Join(request.Token.Claims[name], "+"))
	}
	return strings.Join(words, " ")
}

func TestRequests(t *testing.T) {
	const issuer = "https://issuer.example.com"
	for _, test := range []struct {
		name            string
		policies        []*securityv1beta1.AuthorizationPolicy
		authentications []*securityv1beta1.RequestAuthentication
		requests        []string
	}{
		{"nothing told apart", nil, nil, []string{"GET /", "connection"}},
		{
			"methods and paths",
			[]*securityv1beta1.AuthorizationPolicy{policyTo(&securityv1beta1.Operation{Methods: []string{"GET"}, NotPaths: []string{"/admin*"}})}, nil,
			[]string{"GET /", "connection", "POST /", "GET /admin", "POST /admin"},
		},
		{
			"the same list asserted and negated",
			[]*securityv1beta1.AuthorizationPolicy{
				policyTo(&securityv1beta1.Operation{Methods: []string{"PUT", "POST"}}), policyTo(&securityv1beta1.Operation{NotMethods: []string{"POST", "PUT"}}),
			}, nil,
			[]string{"GET /", "connection", "POST /"},
		},
		{
			"hosts whatever their case",
			[]*securityv1beta1.AuthorizationPolicy{policyTo(&securityv1beta1.Operation{Hosts: []string{"Shop.example.com"}, NotHosts: []string{"shop.Example.com"}})}, nil,
			[]string{"GET / host=www.example.org", "connection", "GET / host=shop.example.com"},
		},
		{
			"a header",
			[]*securityv1beta1.AuthorizationPolicy{policyTo(nil, &securityv1beta1.Condition{Key: "request.headers[X-Tier]", Values: []string{"gold"}, NotValues: []string{"*"}})}, nil,
			[]string{"GET /", "connection", "GET / x-tier=other", "GET / x-tier=gold"},
		},
		{
			"a header that may be absent as well as different",
			[]*securityv1beta1.AuthorizationPolicy{policyTo(nil, &securityv1beta1.Condition{Key: "request.headers[x-tier]", NotValues: []string{"gold"}})}, nil,
			[]string{"GET /", "connection", "GET / x-tier=gold"},
		},
		{
			"a client in front",
			[]*securityv1beta1.AuthorizationPolicy{policyFrom(&securityv1beta1.Source{RemoteIpBlocks: []string{"10.0.0.0/8"}})}, nil,
			[]string{"GET /", "connection", "GET / for=192.0.2.1", "GET / for=10.0.0.1"},
		},
		{
			"tokens that nobody accepts",
			[]*securityv1beta1.AuthorizationPolicy{policyFrom(&securityv1beta1.Source{RequestPrincipals: []string{"*"}})}, nil,
			[]string{"GET /", "connection"},
		},
		{
			"tokens that no policy looks at", nil, []*securityv1beta1.RequestAuthentication{authentication(issuer)},
			[]string{"GET /", "connection", "GET / invalid=" + issuer + "/", "GET / valid=" + issuer + "/user"},
		},
		{
			"subjects",
			[]*securityv1beta1.AuthorizationPolicy{policyFrom(&securityv1beta1.Source{RequestPrincipals: []string{issuer + "/alice", "https://elsewhere.example.com/bob"}})},
			[]*securityv1beta1.RequestAuthentication{authentication(issuer)},
			[]string{"GET /", "connection", "GET / invalid=" + issuer + "/", "GET / valid=" + issuer + "/user", "GET / valid=" + issuer + "/alice"},
		},
		{
			"tokens without a subject",
			[]*securityv1beta1.AuthorizationPolicy{policyFrom(&securityv1beta1.Source{RequestPrincipals: []string{"*"}})},
			[]*securityv1beta1.RequestAuthentication{authentication(issuer)},
			[]string{"GET /", "connection", "GET / invalid=" + issuer + "/", "GET / valid=" + issuer + "/user", "GET / valid=" + issuer + "/"},
		},
		{
			"claims that are lists",
			[]*securityv1beta1.AuthorizationPolicy{policyTo(nil,
				&securityv1beta1.Condition{Key: "request.auth.claims[realm_access][roles]", Values: []string{"reader"}, NotValues: []string{"guest"}})},
			[]*securityv1beta1.RequestAuthentication{authentication(issuer)},
			[]string{
				"GET /", "connection", "GET / invalid=" + issuer + "/", "GET / valid=" + issuer + "/user",
				"GET / valid=" + issuer + "/user realm_access][roles=guest",
				"GET / valid=" + issuer + "/user realm_access][roles=reader",
				"GET / valid=" + issuer + "/user realm_access][roles=guest+reader",
			},
		},
		{
			"audiences that policies and authentication demand, and a presenter",
			[]*securityv1beta1.AuthorizationPolicy{policyTo(nil,
				&securityv1beta1.Condition{Key: "request.auth.audiences", Values: []string{"shop"}}, &securityv1beta1.Condition{Key: "request.auth.presenter", Values: []string{"app"}})},
			[]*securityv1beta1.RequestAuthentication{{JwtRules: []*securityv1beta1.JWTRule{{Issuer: issuer, Audiences: []string{"shop"}}}}},
			[]string{
				"GET /", "connection", "GET / invalid=" + issuer + "/", "GET / valid=" + issuer + "/user", "GET / valid=" + issuer + "/user aud=shop",
				"GET / valid=" + issuer + "/user aud=http://shop", "GET / valid=" + issuer + "/user azp=app",
				"GET / valid=" + issuer + "/user aud=shop azp=app", "GET / valid=" + issuer + "/user aud=http://shop azp=app",
			},
		},
		{
			"audiences that Envoy takes for the one demanded",
			[]*securityv1beta1.AuthorizationPolicy{policyTo(nil, &securityv1beta1.Condition{Key: "request.auth.audiences", Values: []string{"https://*"}})},
			[]*securityv1beta1.RequestAuthentication{{JwtRules: []*securityv1beta1.JWTRule{{Issuer: issuer, Audiences: []string{"shop"}}}}},
			[]string{
				"GET /", "connection", "GET / invalid=" + issuer + "/", "GET / valid=" + issuer + "/user", "GET / valid=" + issuer + "/user aud=shop",
				"GET / valid=" + issuer + "/user aud=https://shop", "GET / valid=" + issuer + "/user aud=https://",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var atoms Atoms
			for _, policy := range test.policies {
				atoms.AddPolicy(policy, "shop")
			}
			for _, authentication := range test.authentications {
				atoms.AddAuthentication(authentication)
			}
			requests, total, complete := atoms.Requests(1000)
			var got []string
			for _, request := range requests {
				got = append(got, inWords(request))
			}
			if difference := cmp.Diff(test.requests, got); difference != "" {
				t.Errorf("requests (-want +got):\n%s", difference)
			}
			if total != len(requests) || !complete {
				t.Errorf("%d of %d, complete: %v", len(requests), total, complete)
			}
			if reasons := atoms.Approximate(); len(reasons) > 0 {
				t.Errorf("approximate: %q", reasons)
			}
		})
	}
}

// TestClaimsWithFieldsOfTheirOwn has conditions on claims that tokens hold apart.
func TestClaimsWithFieldsOfTheirOwn(t *testing.T) {
	for _, test := range []struct {
		claim string
		has   func(access.Token) bool
	}{
		{"iss", func(token access.Token) bool { return token.Issuer == "https://a.example.com" }},
		{"sub", func(token access.Token) bool { return token.Subject == "https://a.example.com" }},
		{"aud", func(token access.Token) bool { return slices.Contains(token.Audiences, "https://a.example.com") }},
		{"azp", func(token access.Token) bool { return token.Presenter == "https://a.example.com" }},
		{"scope", func(token access.Token) bool { return slices.Contains(token.Claims["scope"], "https://a.example.com") }},
	} {
		var atoms Atoms
		atoms.AddAuthentication(authentication(""))
		atoms.AddPolicy(policyTo(nil, &securityv1beta1.Condition{Key: "request.auth.claims[" + test.claim + "]", Values: []string{"https://a.example.com", "two words"}}), "shop")
		requests, _, _ := atoms.Requests(100)
		with := slices.IndexFunc(requests, func(request access.Request) bool { return request.Token.Valid && test.has(request.Token) })
		without := slices.IndexFunc(requests, func(request access.Request) bool { return request.Token.Valid && !test.has(request.Token) })
		if with < 0 || without < 0 {
			t.Errorf("claim %s: want a request with the value and one without among %v", test.claim, requests)
		}
	}
	var atoms Atoms
	atoms.AddAuthentication(authentication("https://issuer.example.com"))
	atoms.AddPolicy(policyTo(nil, &securityv1beta1.Condition{Key: "request.auth.claims[scope]", Values: []string{"two words"}}), "shop")
	requests, _, _ := atoms.Requests(100)
	if slices.ContainsFunc(requests, func(request access.Request) bool { return len(request.Token.Claims) > 0 }) {
		t.Errorf("a word of a scope has a space in it: %v", requests)
	}
}

func TestHostsThatCallersKnow(t *testing.T) {
	var atoms Atoms
	atoms.AddHost("Cart.shop.svc.cluster.local")
	if requests, _, _ := atoms.Requests(10); requests[0].Host != "" {
		t.Errorf("host %q although no policy looks at hosts", requests[0].Host)
	}
	atoms.AddPolicy(policyTo(&securityv1beta1.Operation{NotHosts: []string{"cart.shop*", "cart"}}), "shop")
	requests, _, _ := atoms.Requests(10)
	var hosts []string
	for _, request := range requests {
		hosts = append(hosts, request.Host)
	}
	if difference := cmp.Diff([]string{"cart.shop.svc.cluster.local", "", "www.example.org"}, hosts); difference != "" {
		t.Errorf("hosts (-want +got):\n%s", difference)
	}
}

// TestEveryFieldCounts takes policies with random fields and compares with random
// requests, judging each list of the policies by itself.
func TestEveryFieldCounts(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	list := func(from ...string) []string { return []string{pick(from...), pick(from...)}[:1+random.IntN(2)] }
	type field struct {
		holds func(access.Request) bool
		add   func(*securityv1beta1.Rule)
	}
	matched := func(values []string, value string) bool {
		return slices.ContainsFunc(values, func(pattern string) bool { return parsePattern(pattern).matches(value) })
	}
	operation := func(values []string, attribute func(access.Request) string, operation *securityv1beta1.Operation) field {
		return field{
			func(request access.Request) bool { return matched(values, attribute(request)) },
			func(rule *securityv1beta1.Rule) {
				rule.To = append(rule.To, &securityv1beta1.Rule_To{Operation: operation})
			},
		}
	}
	when := func(key string, values []string, attribute func(access.Request) string) field {
		return field{
			func(request access.Request) bool { return matched(values, attribute(request)) },
			func(rule *securityv1beta1.Rule) {
				condition := &securityv1beta1.Condition{Key: key, Values: values}
				if random.IntN(2) == 0 {
					condition = &securityv1beta1.Condition{Key: key, NotValues: values}
				}
				rule.When = append(rule.When, condition)
			},
		}
	}
	methods, paths, hosts := []string{"GET", "PUT", "P*", "*T"}, []string{"/a", "/a*", "*/b", "/a/b"}, []string{"a.b", "a.*", "*.b:80", "*"}
	values := []string{"a", "a*", "*b", "*"}
	fields := []func() field{
		func() field {
			values := list(methods...)
			return operation(values, func(request access.Request) string { return request.Method }, &securityv1beta1.Operation{Methods: values})
		},
		func() field {
			values := list(methods...)
			return operation(values, func(request access.Request) string { return request.Method }, &securityv1beta1.Operation{NotMethods: values})
		},
		func() field {
			values := list(paths...)
			return operation(values, func(request access.Request) string { return request.Path }, &securityv1beta1.Operation{Paths: values})
		},
		func() field {
			values := list(paths...)
			return operation(values, func(request access.Request) string { return request.Path }, &securityv1beta1.Operation{NotPaths: values})
		},
		func() field {
			values := list(hosts...)
			return operation(values, func(request access.Request) string { return request.Host }, &securityv1beta1.Operation{Hosts: values})
		},
		func() field {
			values := list(hosts...)
			return operation(values, func(request access.Request) string { return request.Host }, &securityv1beta1.Operation{NotHosts: values})
		},
		func() field {
			return when("request.headers[X-A]", list(values...), func(request access.Request) string { return request.Headers["x-a"] })
		},
		func() field {
			return when("request.auth.claims[a][b]", list(values...), func(request access.Request) string { return strings.Join(request.Token.Claims["a][b"], "") })
		},
		func() field {
			return when("request.auth.presenter", list(values...), func(request access.Request) string { return request.Token.Presenter })
		},
		func() field {
			return when("request.auth.claims[sub]", list(values...), func(request access.Request) string { return request.Token.Subject })
		},
		func() field {
			return when("connection.sni", list(values...), func(request access.Request) string { return request.ServerName })
		},
	}
	for range 300 {
		var atoms Atoms
		atoms.AddAuthentication(authentication("i"))
		var chosen []field
		for range 4 {
			rule := &securityv1beta1.Rule{}
			next := fields[random.IntN(len(fields))]()
			next.add(rule)
			chosen = append(chosen, next)
			atoms.AddPolicy(&securityv1beta1.AuthorizationPolicy{Rules: []*securityv1beta1.Rule{rule}}, "shop")
		}
		signature := func(request access.Request) string {
			signature := fmt.Sprint(request.Token.Valid)
			for _, field := range chosen {
				signature += fmt.Sprint(field.holds(request))
			}
			return signature
		}
		requests, _, complete := atoms.Requests(100000)
		if !complete {
			t.Fatal("not complete")
		}
		witnessed := map[string]bool{}
		for _, request := range requests {
			if request.HTTP {
				witnessed[signature(request)] = true
			}
		}
		for range 500 {
			request := access.Request{
				HTTP: true, Method: pick("GET", "PUT", "POST", "HEAD"), Path: pick("/", "/a", "/a/b", "/ab", "/c/b"), Host: pick("a.b", "a.b:80", "a.c", "c"),
				ServerName: pick("", "a", "b", "ab"), Headers: map[string]string{"x-a": pick("", "a", "b", "ab", "c")},
			}
			if random.IntN(2) == 0 {
				request.Token = access.Token{
					Issuer: "i", Valid: true, Subject: pick("", "a", "b", "ab", "c"), Presenter: pick("", "a", "b", "ab", "c"),
					Claims: map[string][]string{"a][b": {pick("", "a", "b", "ab", "c")}},
				}
			}
			if !witnessed[signature(request)] {
				t.Fatalf("no witness among %d stands for %s", len(requests), inWords(request))
			}
		}
	}
}

func TestServerNames(t *testing.T) {
	var atoms Atoms
	atoms.AddPolicy(policyTo(nil, &securityv1beta1.Condition{Key: "connection.sni", Values: []string{"*.example.com"}}), "shop")
	requests, _, _ := atoms.Requests(10)
	var got []string
	for _, request := range requests {
		got = append(got, inWords(request))
	}
	want := []string{"GET /", "connection", "connection www.example.com", "GET / sni=www.example.com"}
	if difference := cmp.Diff(want, got); difference != "" {
		t.Errorf("requests (-want +got):\n%s", difference)
	}
}

func TestApproximate(t *testing.T) {
	for _, test := range []struct {
		key    string
		values []string
		reason string
	}{
		{"destination.ip", []string{"10.0.0.1"}, "destination.ip"},
		{"connection.sni", []string{"a"}, "connection.sni"},
		{"experimental.envoy.filters.a.b[c]", []string{"d"}, "experimental.envoy.filters.a.b[c]"},
		{"request.headers[:path]", []string{"/a?b"}, "request.headers[:path]"},
		{"request.headers[X-Forwarded-For]", []string{"10.0.0.1"}, "request.headers[x-forwarded-for]"},
		{"request.headers[Authorization]", []string{"Bearer *"}, "request.headers[authorization]"},
		{"source.namespace", []string{"a*b"}, "namespaces: a*b"},
		{"request.auth.claims[group]", []string{"a", "b"}, ""},
		{"what.is.no.key", []string{"a"}, ""},
	} {
		t.Run(test.key, func(t *testing.T) {
			var atoms Atoms
			atoms.AddAuthentication(authentication("https://issuer.example.com"))
			atoms.AddPolicy(policyTo(nil, &securityv1beta1.Condition{Key: test.key, NotValues: test.values}), "shop")
			reasons := atoms.Approximate()
			if test.reason == "" {
				if len(reasons) > 0 {
					t.Errorf("reasons %q, want none", reasons)
				}
			} else if len(reasons) != 1 || !strings.HasPrefix(reasons[0], test.reason+" ") && !strings.HasPrefix(reasons[0], test.reason+":") {
				t.Errorf("reasons %q, want one for %s", reasons, test.reason)
			}
		})
	}
	t.Run("headers that RequestAuthentications read and write", func(t *testing.T) {
		var atoms Atoms
		atoms.AddAuthentication(&securityv1beta1.RequestAuthentication{JwtRules: []*securityv1beta1.JWTRule{{
			Issuer: "https://issuer.example.com", FromHeaders: []*securityv1beta1.JWTHeader{{Name: "X-Token"}}, FromCookies: []string{"session"},
			OutputPayloadToHeader: "X-Payload", OutputClaimToHeaders: []*securityv1beta1.ClaimToHeader{{Header: "X-Group", Claim: "group"}},
		}}})
		for _, header := range []string{"x-token", "Cookie", "x-payload", "X-GROUP", "authorization", "x-other"} {
			atoms.AddPolicy(policyTo(nil, &securityv1beta1.Condition{Key: "request.headers[" + header + "]", Values: []string{"a"}}), "shop")
		}
		want := []string{"cookie", "x-group", "x-payload", "x-token"}
		var got []string
		for _, reason := range atoms.Approximate() {
			got = append(got, strings.TrimSuffix(strings.TrimPrefix(reason, "request.headers["), "]: RequestAuthentications read or write it"))
		}
		if difference := cmp.Diff(want, got); difference != "" {
			t.Errorf("headers (-want +got):\n%s", difference)
		}
	})
	t.Run("a template that Envoy refuses", func(t *testing.T) {
		var atoms Atoms
		atoms.AddPolicy(policyTo(&securityv1beta1.Operation{Paths: []string{"/a=b/{*}"}}), "shop")
		if reasons := atoms.Approximate(); len(reasons) != 1 || !strings.HasPrefix(reasons[0], "paths: ") {
			t.Errorf("reasons %q", reasons)
		}
	})
	t.Run("an authentication without issuer", func(t *testing.T) {
		var atoms Atoms
		atoms.AddAuthentication(authentication(""))
		if reasons := atoms.Approximate(); len(reasons) != 1 || !strings.HasPrefix(reasons[0], "RequestAuthentication: ") {
			t.Errorf("reasons %q", reasons)
		}
	})
	t.Run("more lists than are looked at", func(t *testing.T) {
		var atoms Atoms
		atoms.AddAuthentication(authentication("https://issuer.example.com"))
		for i := range 7 {
			atoms.AddPolicy(policyTo(nil, &securityv1beta1.Condition{Key: "request.auth.claims[group]", Values: []string{fmt.Sprint("team-", i)}}), "shop")
		}
		if reasons := atoms.Approximate(); len(reasons) != 1 || !strings.HasPrefix(reasons[0], "request.auth.claims[group]: ") {
			t.Errorf("reasons %q", reasons)
		}
	})
	t.Run("what comes in after it was asked", func(t *testing.T) {
		var atoms Atoms
		if requests, _, _ := atoms.Requests(10); len(requests) != 2 {
			t.Errorf("%d requests, want two", len(requests))
		}
		atoms.AddPolicy(policyTo(&securityv1beta1.Operation{Methods: []string{"GET"}}), "shop")
		if requests, _, _ := atoms.Requests(10); len(requests) != 3 {
			t.Errorf("%d requests, want three", len(requests))
		}
	})
}

func TestRequestsBeyondTheLimit(t *testing.T) {
	var atoms Atoms
	for i := range 10 {
		atoms.AddPolicy(policyTo(&securityv1beta1.Operation{Methods: []string{fmt.Sprint("M", i)}, Paths: []string{fmt.Sprint("/p", i)}, Hosts: []string{fmt.Sprint("h", i)}},
			&securityv1beta1.Condition{Key: "request.headers[x-a]", Values: []string{fmt.Sprint("v", i)}}), "shop")
	}
	const classes, single = 11*11*11*11 + 1, 10 * 4
	requests, total, complete := atoms.Requests(60)
	if len(requests) != 60 || total != classes || complete {
		t.Fatalf("%d of %d, complete: %v, want 60 of %d", len(requests), total, complete, classes)
	}
	usual := requests[0]
	for i, request := range requests[2 : 2+single] {
		if differences := departuresOf(usual, request); differences != 1 {
			t.Errorf("request %d, %q, differs in %d attributes", i, inWords(request), differences)
		}
	}
	again, _, _ := atoms.Requests(60)
	if difference := cmp.Diff(requests, again, cmpopts.EquateComparable(usual.ForwardedFor)); difference != "" {
		t.Errorf("the second time (-first +second):\n%s", difference)
	}
	all, _, complete := atoms.Requests(classes)
	seen := map[string]bool{}
	for _, request := range all {
		seen[inWords(request)] = true
	}
	if len(seen) != classes || !complete {
		t.Errorf("%d requests, complete: %v, want %d", len(seen), complete, classes)
	}
	for _, limit := range []int{-1, 0, 1, 2} {
		if requests, _, complete := atoms.Requests(limit); len(requests) != max(limit, 0) || complete {
			t.Errorf("limit %d: %d requests, complete: %v", limit, len(requests), complete)
		}
	}
}

func departuresOf(usual, request access.Request) int {
	differences := 0
	for _, differs := range []bool{
		usual.Method != request.Method, usual.Path != request.Path, usual.Host != request.Host, usual.Headers["x-a"] != request.Headers["x-a"],
	} {
		if differs {
			differences++
		}
	}
	return differences
}

func TestTotalSaturates(t *testing.T) {
	var atoms Atoms
	for i := range 100 {
		for header := range 12 {
			atoms.AddPolicy(policyTo(nil, &securityv1beta1.Condition{Key: fmt.Sprintf("request.headers[x-%d]", header), Values: []string{fmt.Sprint("v", i)}}), "shop")
		}
	}
	if _, total, complete := atoms.Requests(10); total != math.MaxInt || complete {
		t.Errorf("%d classes, complete: %v", total, complete)
	}
}

// TestTokensOfRandomPolicies compares with all tokens of short subjects and lists.
func TestTokensOfRandomPolicies(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	values := []string{"a", "b", "ab", "a*", "*b", "*", "ba"}
	principals := []string{"a/b", "a/*", "*/b", "b/a*", "*", "*a", "a*", "*b/ab", "*/*", "a/ab"}
	pick := func(from []string) []string {
		return []string{from[random.IntN(len(from))], from[random.IntN(len(from))]}[:1+random.IntN(2)]
	}
	var lists [][]string
	for _, first := range []string{"", "a", "b", "ab", "ba", "x"} {
		for _, second := range []string{"", "a", "b", "ab", "ba", "x"} {
			lists = append(lists, slices.DeleteFunc([]string{first, second}, func(value string) bool { return value == "" }))
		}
	}
	for range 300 {
		var atoms tokenAtoms
		atoms.accepted = map[string]bool{"a": true, "b": true}
		for range 1 + random.IntN(2) {
			atoms.addPrincipals(pick(principals))
		}
		for range 1 + random.IntN(2) {
			atoms.addClaim("aud", pick(values))
		}
		atoms.addClaim("sub", pick(values))
		found := atoms.witnesses(func(attribute string, complete bool) {
			if !complete {
				t.Errorf("%s: not complete", attribute)
			}
		})
		tokens, total := found.tokens(math.MaxInt)
		if total != len(tokens) {
			t.Errorf("%d of %d tokens", len(tokens), total)
		}
		signature := func(token access.Token) string {
			signature := fmt.Sprint(token.Issuer, token.Valid, atoms.subjectClaim.of(token.Subject))
			for _, list := range atoms.principals {
				signature += fmt.Sprint(slices.ContainsFunc(list, func(pattern principalPattern) bool { return token.Valid && pattern.matches(token) }))
			}
			audiences := atoms.audiences.nothing()
			for _, audience := range token.Audiences {
				audiences = union(audiences, atoms.audiences.of(audience))
			}
			return signature + audiences
		}
		requireWitnesses(t, tokens, func(yield func(access.Token) bool) {
			for _, issuer := range []string{"a", "b"} {
				for subject := range words("ab*", 3) {
					for _, list := range lists {
						if !yield(access.Token{Issuer: issuer, Valid: true, Subject: subject, Audiences: list}) {
							return
						}
					}
				}
			}
		}, signature)
		if t.Failed() {
			t.FailNow()
		}
	}
}

func TestParsePrincipal(t *testing.T) {
	for _, test := range []struct {
		value           string
		issuer, subject string
		want            bool
	}{
		{"*", "a", "b", true},
		{"*", "a", "", false},
		{"https://a/b/c", "https://a/b", "c", true},
		{"https://a/*", "https://a", "c", true},
		{"https://a/*", "https://a/b", "c", false},
		{"https://a/c*", "https://a", "cd", true},
		{"https://*", "https:/", "c", true},
		{"abc*", "abcd", "e", true},
		{"*/c", "a", "c", true},
		{"*.com/c", "a.com", "c", true},
		{"*.com/c", "a.com", "cd", false},
		{"*/*", "a", "c", false},
		{"*/*", "a", "*", true},
		{"*c", "a", "bc", true},
		{"a", "a", "b", false},
	} {
		if got := parsePrincipal(test.value).matches(access.Token{Issuer: test.issuer, Subject: test.subject}); got != test.want {
			t.Errorf("%s and %s/%s: %v", test.value, test.issuer, test.subject, got)
		}
	}
}

// BenchmarkClasses is a mesh of fifty services with policies as there are.
func BenchmarkClasses(b *testing.B) {
	var known []access.Identity
	for i := range 100 {
		known = append(known, access.Identity{Namespace: fmt.Sprint("team-", i%20), ServiceAccount: fmt.Sprint("app-", i)})
	}
	policies := make([]*securityv1beta1.AuthorizationPolicy, 200)
	for i := range policies {
		policies[i] = policyTo(&securityv1beta1.Operation{
			Methods: []string{"GET", "HEAD"}, Paths: []string{fmt.Sprintf("/api/v%d/*", i), fmt.Sprintf("/users/{*}/%d", i), "/healthz"}, Ports: []string{"8080"},
		}, &securityv1beta1.Condition{Key: "request.auth.claims[groups]", Values: []string{fmt.Sprint("team-", i)}})
		policies[i].Rules[0].From = []*securityv1beta1.Rule_From{{Source: &securityv1beta1.Source{
			Principals: []string{fmt.Sprintf("cluster.local/ns/team-%d/sa/app-%d", i%20, i%100), fmt.Sprintf("*/ns/team-%d/*", i%7)}, IpBlocks: []string{"10.0.0.0/8"},
		}}, {Source: &securityv1beta1.Source{Namespaces: []string{fmt.Sprint("team-", i%20)}, RequestPrincipals: []string{"https://issuer.example.com/*"}}}}
	}
	for b.Loop() {
		for service := range 50 {
			var atoms Atoms
			atoms.AddAuthentication(authentication("https://issuer.example.com"))
			for i := range 6 {
				atoms.AddPolicy(policies[(service*4+i)%len(policies)], "team-1")
			}
			requests, _, _ := atoms.Requests(2000)
			identities, addresses := atoms.Identities(known, []string{"cluster.local"}), atoms.Addresses()
			if len(requests) == 0 || len(identities) == 0 || len(addresses) == 0 {
				b.Fatal("no classes")
			}
		}
	}
}
