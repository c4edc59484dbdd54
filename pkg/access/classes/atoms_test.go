package classes

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	securityv1beta1 "istio.io/api/security/v1beta1"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
)

// TestEveryFieldOfASource has one field in each case, and looks for a witness that
// the policy matches because of it.
func TestEveryFieldOfASource(t *testing.T) {
	type source = securityv1beta1.Source
	principals, namespaces, serviceAccounts := []string{"cluster.local/ns/a/sa/b"}, []string{"a"}, []string{"c/d"}
	blocks, subjects, trustDomains := []string{"10.0.0.0/8"}, []string{"https://issuer.example.com/a"}, []string{"td2"}
	type want struct {
		identity, address, client, subject string
	}
	for _, test := range []struct {
		name   string
		source *source
		// key is that of a condition with the same values.
		key    string
		values []string
		want
	}{
		{"principals", &source{Principals: principals}, "source.principal", principals, want{identity: "cluster.local/ns/a/sa/b"}},
		{"notPrincipals", &source{NotPrincipals: principals}, "source.principal", principals, want{identity: "cluster.local/ns/a/sa/b"}},
		{"namespaces", &source{Namespaces: namespaces}, "source.namespace", namespaces, want{identity: "cluster.local/ns/a/sa/default"}},
		{"notNamespaces", &source{NotNamespaces: namespaces}, "source.namespace", namespaces, want{identity: "cluster.local/ns/a/sa/default"}},
		{"serviceAccounts", &source{ServiceAccounts: serviceAccounts}, "source.serviceAccount", serviceAccounts, want{identity: "cluster.local/ns/c/sa/d"}},
		{"notServiceAccounts", &source{NotServiceAccounts: serviceAccounts}, "source.serviceAccount", serviceAccounts, want{identity: "cluster.local/ns/c/sa/d"}},
		{"trustDomains", &source{TrustDomains: trustDomains}, "source.trustDomain", trustDomains, want{identity: "td2/ns/other/sa/default"}},
		{"notTrustDomains", &source{NotTrustDomains: trustDomains}, "source.trustDomain", trustDomains, want{identity: "td2/ns/other/sa/default"}},
		{"ipBlocks", &source{IpBlocks: blocks}, "source.ip", blocks, want{address: "10.0.0.1"}},
		{"notIpBlocks", &source{NotIpBlocks: blocks}, "source.ip", blocks, want{address: "10.0.0.1"}},
		{"remoteIpBlocks", &source{RemoteIpBlocks: blocks}, "remote.ip", blocks, want{address: "10.0.0.1", client: "10.0.0.1"}},
		{"notRemoteIpBlocks", &source{NotRemoteIpBlocks: blocks}, "remote.ip", blocks, want{address: "10.0.0.1", client: "10.0.0.1"}},
		{"requestPrincipals", &source{RequestPrincipals: subjects}, "request.auth.principal", subjects, want{subject: "a"}},
		{"notRequestPrincipals", &source{NotRequestPrincipals: subjects}, "request.auth.principal", subjects, want{subject: "a"}},
	} {
		for form, policy := range map[string]*securityv1beta1.AuthorizationPolicy{
			"from":      policyFrom(test.source),
			"values":    policyTo(nil, &securityv1beta1.Condition{Key: test.key, Values: test.values}),
			"notValues": policyTo(nil, &securityv1beta1.Condition{Key: test.key, NotValues: test.values}),
		} {
			t.Run(test.name+" "+form, func(t *testing.T) {
				var atoms Atoms
				atoms.AddAuthentication(authentication("https://issuer.example.com"))
				atoms.AddPolicy(policy, "a")
				identities, addresses := []string{""}, []string{""}
				for _, identity := range atoms.Identities(nil, nil) {
					identities = append(identities, identity.Principal())
				}
				for _, address := range atoms.Addresses() {
					addresses = append(addresses, address.String())
				}
				clients, subjects := []string{""}, []string{""}
				requests, _, _ := atoms.Requests(100)
				for _, request := range requests {
					if request.ForwardedFor.IsValid() {
						clients = append(clients, request.ForwardedFor.String())
					}
					subjects = append(subjects, request.Token.Subject)
				}
				if !slices.Contains(identities, test.identity) {
					t.Errorf("identities %q, want %s among them", identities[1:], test.identity)
				}
				if !slices.Contains(addresses, test.address) {
					t.Errorf("addresses %q, want %s among them", addresses[1:], test.address)
				}
				if !slices.Contains(clients, test.client) {
					t.Errorf("clients in front %q, want %s among them", clients[1:], test.client)
				}
				if !slices.Contains(subjects, test.subject) {
					t.Errorf("subjects %q, want %s among them", subjects, test.subject)
				}
			})
		}
	}
}

func TestServiceAccountsAreOfThePolicysNamespace(t *testing.T) {
	for _, namespace := range []string{"a", "b"} {
		var atoms Atoms
		atoms.AddPolicy(policyFrom(&securityv1beta1.Source{ServiceAccounts: []string{"web"}}), namespace)
		identities := atoms.Identities(nil, nil)
		want := access.Identity{TrustDomain: "cluster.local", Namespace: namespace, ServiceAccount: "web"}
		if !slices.Contains(identities, want) {
			t.Errorf("identities %v, want %v among them", identities, want)
		}
	}
}

func TestIdentitiesDoNotDependOnTheOrderOfPolicies(t *testing.T) {
	policies := []*securityv1beta1.AuthorizationPolicy{
		policyFrom(&securityv1beta1.Source{Principals: []string{"td2/ns/a/sa/b", "td3/ns/a/sa/b"}}),
		policyFrom(&securityv1beta1.Source{Namespaces: []string{"c*"}}), policyFrom(&securityv1beta1.Source{ServiceAccounts: []string{"d/e"}}),
	}
	known := []access.Identity{{Namespace: "b", ServiceAccount: "x"}, {Namespace: "a", ServiceAccount: "y"}}
	var forward, backward Atoms
	for i := range policies {
		forward.AddPolicy(policies[i], "a")
		backward.AddPolicy(policies[len(policies)-1-i], "a")
	}
	one := forward.Identities(known, []string{"td1"})
	slices.Reverse(known)
	if other := backward.Identities(known, []string{"td1"}); fmt.Sprint(one) != fmt.Sprint(other) {
		t.Errorf("%v and %v", one, other)
	}
}

func TestCallerClass(t *testing.T) {
	var atoms Atoms
	atoms.AddPolicy(policyFrom(&securityv1beta1.Source{NotNamespaces: []string{"a", "b"}, IpBlocks: []string{"10.0.0.0/8"}, RemoteIpBlocks: []string{"fd00::/8"}}), "a")
	identity := func(namespace string) access.Identity {
		return access.Identity{TrustDomain: "cluster.local", Namespace: namespace, ServiceAccount: "web"}
	}
	inside, outside, sixth := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fd00::1")
	usual := atoms.CallerClass(identity("a"), inside)
	if same := atoms.CallerClass(identity("b"), inside.Next()); same != usual {
		t.Errorf("callers that the policy cannot tell apart are of %q and %q", usual, same)
	}
	for name, class := range map[string]string{
		"another namespace": atoms.CallerClass(identity("c"), inside), "no identity": atoms.CallerClass(access.Identity{}, inside),
		"another address": atoms.CallerClass(identity("a"), outside), "an address of the other block": atoms.CallerClass(identity("a"), sixth),
		"no address": atoms.CallerClass(identity("a"), netip.Addr{}),
	} {
		if class == usual {
			t.Errorf("%s makes no difference", name)
		}
	}
	if atoms.CallerClass(identity("a"), outside) == atoms.CallerClass(identity("a"), sixth) {
		t.Error("remoteIpBlocks make no difference")
	}
}
