package oracle

import (
	"net/netip"
	"testing"

	"google.golang.org/protobuf/types/known/emptypb"

	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"
)

var alice = ztunnelCall{
	identity:    "spiffe://td/ns/from/sa/alice",
	source:      netip.MustParseAddr("10.0.1.2"),
	destination: netip.MustParseAddrPort("192.168.0.7:8080"),
}

func anonymous() ztunnelCall {
	call := alice
	call.identity = ""
	return call
}

func exact(value string) []*security.StringMatch {
	return []*security.StringMatch{{MatchType: &security.StringMatch_Exact{Exact: value}}}
}

func prefix(value string) []*security.StringMatch {
	return []*security.StringMatch{{MatchType: &security.StringMatch_Prefix{Prefix: value}}}
}

func suffix(value string) []*security.StringMatch {
	return []*security.StringMatch{{MatchType: &security.StringMatch_Suffix{Suffix: value}}}
}

func presence() []*security.StringMatch {
	return []*security.StringMatch{{MatchType: &security.StringMatch_Presence{Presence: &emptypb.Empty{}}}}
}

func block(cidr string) []*security.Address {
	prefix := netip.MustParsePrefix(cidr)
	return []*security.Address{{Address: prefix.Addr().AsSlice(), Length: uint32(prefix.Bits())}}
}

func account(namespace, name string) []*security.ServiceAccountMatch {
	return []*security.ServiceAccountMatch{{Namespace: namespace, ServiceAccount: name}}
}

func TestZtunnelMatches(t *testing.T) {
	for name, test := range map[string]struct {
		match           *security.Match
		known, unstated bool
	}{
		"principal":                 {&security.Match{Principals: exact("td/ns/from/sa/alice")}, true, false},
		"principal with its scheme": {&security.Match{Principals: exact("spiffe://td/ns/from/sa/alice")}, false, false},
		"other principal":           {&security.Match{Principals: exact("td/ns/from/sa/bob")}, false, false},
		"principal by prefix":       {&security.Match{Principals: prefix("td/ns/from/")}, true, false},
		"principal by suffix":       {&security.Match{Principals: suffix("/sa/alice")}, true, false},
		"any principal":             {&security.Match{Principals: presence()}, true, false},
		"not the principal":         {&security.Match{NotPrincipals: exact("td/ns/from/sa/alice")}, false, true},
		"no principal":              {&security.Match{NotPrincipals: presence()}, false, true},
		"namespace":                 {&security.Match{Namespaces: exact("from")}, true, false},
		"namespace by prefix":       {&security.Match{Namespaces: prefix("fr")}, true, false},
		"not the namespace":         {&security.Match{NotNamespaces: exact("from")}, false, true},
		"not another namespace":     {&security.Match{NotNamespaces: exact("other")}, true, true},
		"service account":           {&security.Match{ServiceAccounts: account("from", "alice")}, true, false},
		"service account elsewhere": {&security.Match{ServiceAccounts: account("other", "alice")}, false, false},
		"not the service account":   {&security.Match{NotServiceAccounts: account("from", "alice")}, false, true},
		"source":                    {&security.Match{SourceIps: block("10.0.0.0/16")}, true, true},
		"other source":              {&security.Match{SourceIps: block("10.1.0.0/16")}, false, false},
		"not the source":            {&security.Match{NotSourceIps: block("10.0.1.2/32")}, false, false},
		"IPv6 source":               {&security.Match{SourceIps: block("2001:db8::/32")}, false, false},
		"destination":               {&security.Match{DestinationIps: block("192.168.0.7/32")}, true, true},
		"not the destination":       {&security.Match{NotDestinationIps: block("192.168.0.0/24")}, false, false},
		"port":                      {&security.Match{DestinationPorts: []uint32{80, 8080}}, true, true},
		"other port":                {&security.Match{DestinationPorts: []uint32{80}}, false, false},
		"not the port":              {&security.Match{NotDestinationPorts: []uint32{8080}}, false, false},
		"all kinds hold":            {&security.Match{Namespaces: exact("from"), DestinationPorts: []uint32{8080}}, true, false},
		"one kind does not hold":    {&security.Match{Namespaces: exact("from"), DestinationPorts: []uint32{80}}, false, false},
		"wanted and unwanted":       {&security.Match{Namespaces: prefix("fr"), NotNamespaces: exact("from")}, false, false},
		"no condition":              {&security.Match{}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			policy := allow("p", clause(test.match))
			if got := ztunnelMatches(policy, alice); got != test.known {
				t.Errorf("with identity: %v", got)
			}
			if got := ztunnelMatches(policy, anonymous()); got != test.unstated {
				t.Errorf("without identity: %v", got)
			}
		})
	}
}

func clause(matches ...*security.Match) *security.Rules { return &security.Rules{Matches: matches} }

// allow is a policy of one rule with the clauses.
func allow(name string, clauses ...*security.Rules) *security.Authorization {
	return &security.Authorization{Name: name, Namespace: "ns", Action: security.Action_ALLOW, Groups: []*security.Group{{Rules: clauses}}}
}

func deny(name string, clauses ...*security.Rules) *security.Authorization {
	policy := allow(name, clauses...)
	policy.Action = security.Action_DENY
	return policy
}

func TestZtunnelCombines(t *testing.T) {
	yes := &security.Match{Namespaces: exact("from")}
	no := &security.Match{Namespaces: exact("other")}
	dry := deny("dry", clause(yes))
	dry.DryRun = true
	twoRules := allow("two", clause(no))
	twoRules.Groups = append(twoRules.Groups, &security.Group{Rules: []*security.Rules{clause(yes)}})
	for name, test := range map[string]struct {
		policies []*security.Authorization
		want     Verdict
	}{
		"nothing":                      {nil, Verdict{Allowed, "no ALLOW"}},
		"allowed":                      {[]*security.Authorization{allow("a", clause(yes))}, Verdict{Allowed, "ALLOW ns/a"}},
		"not allowed":                  {[]*security.Authorization{allow("a", clause(no))}, Verdict{Denied, "no ALLOW matches"}},
		"allowed by another":           {[]*security.Authorization{allow("a", clause(no)), allow("b", clause(yes))}, Verdict{Allowed, "ALLOW ns/b"}},
		"denied although allowed":      {[]*security.Authorization{allow("a", clause(yes)), deny("d", clause(yes))}, Verdict{Denied, "DENY ns/d"}},
		"a denial that does not match": {[]*security.Authorization{deny("d", clause(no))}, Verdict{Allowed, "no ALLOW"}},
		"rules are alternatives":       {[]*security.Authorization{twoRules}, Verdict{Allowed, "ALLOW ns/two"}},
		"clauses hold together":        {[]*security.Authorization{allow("a", clause(yes), clause(no))}, Verdict{Denied, "no ALLOW matches"}},
		"matches are alternatives":     {[]*security.Authorization{allow("a", clause(no, yes))}, Verdict{Allowed, "ALLOW ns/a"}},
		"an empty match is skipped":    {[]*security.Authorization{deny("d", clause(yes), clause(&security.Match{}))}, Verdict{Allowed, "no ALLOW"}},
		"an empty clause matches":      {[]*security.Authorization{deny("d", clause(yes), clause())}, Verdict{Denied, "DENY ns/d"}},
		"a rule without clauses":       {[]*security.Authorization{allow("a")}, Verdict{Allowed, "ALLOW ns/a"}},
		"no rules allow nothing":       {[]*security.Authorization{{Name: "a", Namespace: "ns"}}, Verdict{Denied, "no ALLOW matches"}},
		"dry run":                      {[]*security.Authorization{dry}, Verdict{Allowed, "no ALLOW"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := decideZtunnel(test.policies, alice); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestPoliciesOfWorkload(t *testing.T) {
	scoped := func(namespace, name string, scope security.Scope) *security.Authorization {
		return &security.Authorization{Namespace: namespace, Name: name, Scope: scope}
	}
	policies := map[string]*security.Authorization{
		"root/mesh":   scoped("root", "mesh", security.Scope_GLOBAL),
		"here/all":    scoped("here", "all", security.Scope_NAMESPACE),
		"here/listed": scoped("here", "listed", security.Scope_WORKLOAD_SELECTOR),
		"here/other":  scoped("here", "other", security.Scope_WORKLOAD_SELECTOR),
		"there/all":   scoped("there", "all", security.Scope_NAMESPACE),
	}
	workload := &workloadapi.Workload{Namespace: "here", AuthorizationPolicies: []string{"here/listed", "here/not-sent"}}
	var names []string
	for _, policy := range policiesOf(policies, workload) {
		names = append(names, policyName(policy))
	}
	if got, want := len(names), 3; got != want || names[0] != "here/all" || names[1] != "here/listed" || names[2] != "root/mesh" {
		t.Errorf("got %v", names)
	}
}
