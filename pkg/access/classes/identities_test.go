package classes

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	securityv1beta1 "istio.io/api/security/v1beta1"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
)

// policyFrom is an ALLOW policy with a rule for each source.
func policyFrom(sources ...*securityv1beta1.Source) *securityv1beta1.AuthorizationPolicy {
	policy := &securityv1beta1.AuthorizationPolicy{}
	for _, source := range sources {
		policy.Rules = append(policy.Rules, &securityv1beta1.Rule{From: []*securityv1beta1.Rule_From{{Source: source}}})
	}
	return policy
}

func TestIdentities(t *testing.T) {
	known := []access.Identity{{Namespace: "shop", ServiceAccount: "web"}, {Namespace: "shop", ServiceAccount: "cart"}, {Namespace: "pay", ServiceAccount: "web"}}
	for _, test := range []struct {
		name         string
		source       *securityv1beta1.Source
		known        []access.Identity
		trustDomains []string
		principals   []string
	}{
		{"nothing told apart", &securityv1beta1.Source{}, known, nil, []string{"cluster.local/ns/pay/sa/web"}},
		{"nobody known", &securityv1beta1.Source{}, nil, []string{"td1"}, []string{"td1/ns/other/sa/default"}},
		{
			"a principal that is known", &securityv1beta1.Source{Principals: []string{"cluster.local/ns/shop/sa/web"}}, known, nil,
			[]string{"cluster.local/ns/pay/sa/web", "cluster.local/ns/shop/sa/web"},
		},
		{
			"a principal that nobody has been seen with", &securityv1beta1.Source{Principals: []string{"cluster.local/ns/shop/sa/admin"}}, known, nil,
			[]string{"cluster.local/ns/pay/sa/web", "cluster.local/ns/shop/sa/admin"},
		},
		{
			"one whose trust domain is known, and one of which nothing is", &securityv1beta1.Source{Principals: []string{"*/ns/shop/sa/web"}},
			[]access.Identity{{}, {TrustDomain: "td2", Namespace: "shop", ServiceAccount: "web"}}, []string{"td1"},
			[]string{"td2/ns/shop/sa/web", "td1/ns/other/sa/default"},
		},
		{
			"cluster.local for the mesh's own", &securityv1beta1.Source{Principals: []string{"cluster.local/ns/shop/sa/web"}}, known, []string{"td1"},
			[]string{"td1/ns/pay/sa/web", "td1/ns/shop/sa/web"},
		},
		{
			"a foreign trust domain", &securityv1beta1.Source{Principals: []string{"td2/ns/shop/sa/web"}}, known, []string{"td1"},
			[]string{"td1/ns/pay/sa/web", "td1/ns/shop/sa/web", "td2/ns/other/sa/default", "td2/ns/shop/sa/web"},
		},
		{
			"namespaces", &securityv1beta1.Source{NotNamespaces: []string{"shop"}}, known, nil,
			[]string{"cluster.local/ns/pay/sa/web", "cluster.local/ns/shop/sa/cart"},
		},
		{
			"a service account of the policy's namespace", &securityv1beta1.Source{ServiceAccounts: []string{"web"}}, known, nil,
			[]string{"cluster.local/ns/pay/sa/web", "cluster.local/ns/shop/sa/web"},
		},
		{
			"a service account that is not known", &securityv1beta1.Source{ServiceAccounts: []string{"shop/web"}},
			[]access.Identity{{Namespace: "shop"}}, nil,
			[]string{"cluster.local/ns/shop/sa/default", "cluster.local/ns/shop/sa/web"},
		},
		{
			// The expression for sidecars takes the star across the slash:
			// everybody's namespace is followed by "sa/".
			"a namespace's ending that sidecars find in every identity", &securityv1beta1.Source{Namespaces: []string{"*-a", "*sa"}},
			[]access.Identity{{Namespace: "shop", ServiceAccount: "web"}}, nil,
			[]string{"cluster.local/ns/shop/sa/web", "cluster.local/ns/other-a/sa/default"},
		},
		{
			"trust domains", &securityv1beta1.Source{NotTrustDomains: []string{"cluster.local"}}, known[:1], nil,
			[]string{"cluster.local/ns/shop/sa/web", "other.example/ns/other/sa/default"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var atoms Atoms
			atoms.AddPolicy(policyFrom(test.source), "shop")
			var principals []string
			for _, identity := range atoms.Identities(test.known, test.trustDomains) {
				principals = append(principals, identity.Principal())
			}
			if difference := cmp.Diff(test.principals, principals); difference != "" {
				t.Errorf("identities (-want +got):\n%s", difference)
			}
			if reasons := atoms.Approximate(); len(reasons) > 0 {
				t.Errorf("approximate: %q", reasons)
			}
		})
	}
}

// TestIdentitiesOfRandomPolicies compares with all identities of short names.
func TestIdentitiesOfRandomPolicies(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	var names []string
	for name := range words("ab", 3) {
		names = append(names, name)
	}
	star := func(value string) string {
		switch random.IntN(4) {
		case 0:
			return value[:random.IntN(len(value))] + "*"
		case 1:
			return "*" + value[1+random.IntN(len(value)):]
		default:
			return value
		}
	}
	name := func() string { return names[random.IntN(len(names))] }
	for range 300 {
		var atoms Atoms
		for range 1 + random.IntN(3) {
			source := &securityv1beta1.Source{}
			for range 1 + random.IntN(2) {
				switch random.IntN(4) {
				case 0, 1:
					source.Principals = append(source.Principals, star("td/ns/"+name()+"/sa/"+name()))
				case 2:
					source.NotNamespaces = append(source.NotNamespaces, strings.Replace(star(name()), "**", "*", 1))
				default:
					source.ServiceAccounts = append(source.ServiceAccounts, name()+"/"+name())
				}
			}
			atoms.AddPolicy(policyFrom(source), "a")
		}
		identities := atoms.Identities([]access.Identity{{Namespace: "a", ServiceAccount: "b"}, {Namespace: "b"}}, []string{"td"})
		if slices.Contains(identities, access.Identity{}) {
			t.Error("the identity that is none is among them")
		}
		requireWitnesses(t, identities, func(yield func(access.Identity) bool) {
			for _, namespace := range names {
				for _, serviceAccount := range names {
					if !yield(access.Identity{TrustDomain: "td", Namespace: namespace, ServiceAccount: serviceAccount}) {
						return
					}
				}
			}
		}, atoms.identities.signature)
		if t.Failed() {
			t.FailNow()
		}
	}
}

// TestPrincipalsOfSeveralTrustDomains has a list of which proxies put the mesh's
// trust domain into one value and not into the other.
func TestPrincipalsOfSeveralTrustDomains(t *testing.T) {
	var atoms Atoms
	atoms.AddPolicy(policyFrom(&securityv1beta1.Source{Principals: []string{"cluster.local/ns/a/sa/x", "td9/ns/b/sa/y"}}), "a")
	identities := atoms.Identities(nil, []string{"td1"})
	for _, principal := range [][3]string{{"td1", "a", "x"}, {"td1", "b", "y"}, {"td9", "a", "x"}, {"td9", "b", "y"}, {"td1", "other", "default"}} {
		identity := access.Identity{TrustDomain: principal[0], Namespace: principal[1], ServiceAccount: principal[2]}
		if !slices.Contains(identities, identity) {
			t.Errorf("no %s among %v", identity.Principal(), identities)
		}
	}
}
