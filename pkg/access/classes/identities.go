package classes

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
)

// identityCondition is one list of a policy about who calls; it holds where any
// of its values matches.
type identityCondition []func(access.Identity) bool

// identityAtoms are what policies tell callers apart by. Every value is read as
// conditions about single parts of an identity, which have no slash in them; the
// witnesses of the parts together therefore give those of whole identities.
type identityAtoms struct {
	// lists that are there already, by field and values.
	known      map[string]bool
	conditions []identityCondition

	namespaces, serviceAccounts conditions
	// trustDomains are conditions that trust domains other than those of the mesh
	// may meet; named are trust domains that policies name.
	trustDomains conditions
	named        []string
	// byTrustDomain is true where the trust domain of a caller counts of itself.
	byTrustDomain bool
	// inexact are values that only a proxy with Envoy understands as written.
	inexact []string
}

func (a *identityAtoms) addOnce(field string, values []string, add func(values []string)) {
	if len(values) == 0 {
		return
	}
	values = slices.Compact(slices.Sorted(slices.Values(values)))
	key := field + "\x00" + strings.Join(values, "\x00")
	if a.known[key] {
		return
	}
	if a.known == nil {
		a.known = map[string]bool{}
	}
	a.known[key] = true
	add(values)
}

// add takes in a condition of which holds makes the values' matchers.
func (a *identityAtoms) add(values []string, holds func(value string) func(access.Identity) bool) {
	var list identityCondition
	for _, value := range values {
		list = append(list, holds(value))
	}
	a.conditions = append(a.conditions, list)
}

// addPrincipals takes in principals. Sidecars and waypoints put each of the mesh's
// trust domains in the place of one of them, or of cluster.local, where the
// principal is written in full (istio pilot/pkg/security/trustdomain/bundle.go);
// ztunnel takes all as they are written. Which of them a proxy does depends on the
// trust domain that is written; so those of each are a condition of their own,
// about the rest, and the caller's trust domain always counts.
func (a *identityAtoms) addPrincipals(values []string) {
	a.addOnce("principals", values, func(values []string) {
		var whole []string
		rests := map[string][]string{}
		for _, value := range values {
			a.addParts(parsePattern(value))
			if trustDomain, rest, _ := strings.Cut(value, "/"); strings.Count(value, "/") == 4 && trustDomain != "*" {
				rests[trustDomain] = append(rests[trustDomain], rest)
			} else {
				whole = append(whole, value)
			}
		}
		if len(whole) > 0 {
			a.add(whole, principalMatcher)
		}
		for _, trustDomain := range slices.Sorted(maps.Keys(rests)) {
			a.byTrustDomain = true
			a.add(rests[trustDomain], restMatcher)
		}
	})
}

func principalMatcher(value string) func(access.Identity) bool {
	pattern := parsePattern(value)
	return func(identity access.Identity) bool { return pattern.matches(identity.Principal()) }
}

// restMatcher compares what follows the trust domain.
func restMatcher(rest string) func(access.Identity) bool {
	pattern := stringPattern{text: rest}
	if strings.HasSuffix(rest, "*") {
		pattern = stringPattern{kind: patternPrefix, text: strings.TrimSuffix(rest, "*")}
	}
	return func(identity access.Identity) bool {
		_, after, _ := strings.Cut(identity.Principal(), "/")
		return pattern.matches(after)
	}
}

// addParts takes a principal apart.
func (a *identityAtoms) addParts(pattern stringPattern) {
	parts := strings.Split(pattern.text, "/")
	if pattern.kind == patternPresent || len(parts) > 5 {
		return
	}
	// The parts of a suffix count from the end, those of others from the start.
	first := 0
	if pattern.kind == patternSuffix {
		first = 5 - len(parts)
	}
	for i, part := range parts {
		inner := stringPattern{text: part}
		if i == 0 && pattern.kind == patternSuffix || i == len(parts)-1 && pattern.kind == patternPrefix {
			inner.kind = pattern.kind
		}
		a.addPart(first+i, inner)
	}
}

// addPart takes in a condition about TRUSTDOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT's
// part of that index.
func (a *identityAtoms) addPart(index int, pattern stringPattern) {
	if pattern.text == "" {
		return
	}
	switch index {
	case 0:
		a.addTrustDomainPart(pattern)
	case 2:
		a.namespaces.addOne(pattern)
	case 4:
		a.serviceAccounts.addOne(pattern)
	}
}

func (a *identityAtoms) addTrustDomainPart(pattern stringPattern) {
	// cluster.local stands for the mesh's own, whatever its name.
	if pattern.kind == patternExact && pattern.text != "cluster.local" && !strings.Contains(pattern.text, "*") {
		a.named = append(a.named, pattern.text)
	}
	if pattern.kind != patternExact {
		a.trustDomains.addOne(pattern)
	}
}

// addNamespaces takes in namespaces. Envoy gets an expression in which every star
// also matches slashes (istio pilot/pkg/security/authz/model/generator.go,
// srcNamespaceGenerator), ztunnel compares the namespace: two conditions.
func (a *identityAtoms) addNamespaces(values []string) {
	a.addOnce("namespaces", values, func(values []string) {
		a.add(values, func(value string) func(access.Identity) bool {
			parts := strings.Split("/ns/"+value+"/", "*")
			return func(identity access.Identity) bool { return containsInOrder(identity.Principal(), parts) }
		})
		a.add(values, func(value string) func(access.Identity) bool {
			pattern := parsePattern(value)
			return func(identity access.Identity) bool { return pattern.matches(identity.Namespace) }
		})
		for _, value := range values {
			a.addPart(2, parsePattern(value))
			if inner := strings.Trim(value, "*"); strings.Contains(inner, "*") || strings.Count(value, "*") > 1 {
				a.addPart(2, stringPattern{text: strings.ReplaceAll(value, "*", "x")})
				a.inexact = append(a.inexact, value)
			}
		}
	})
}

// containsInOrder says whether the value contains the parts, one after the other.
func containsInOrder(value string, parts []string) bool {
	for _, part := range parts {
		_, rest, found := strings.Cut(value, part)
		if !found {
			return false
		}
		value = rest
	}
	return true
}

// addServiceAccounts takes in service accounts, NAMESPACE/NAME or, in the
// policy's namespace, NAME.
func (a *identityAtoms) addServiceAccounts(values []string, namespace string) {
	qualified := make([]string, 0, len(values))
	for _, value := range values {
		if !strings.Contains(value, "/") {
			value = namespace + "/" + value
		}
		qualified = append(qualified, value)
	}
	a.addOnce("serviceAccounts", qualified, func(values []string) {
		a.add(values, func(value string) func(access.Identity) bool {
			return func(identity access.Identity) bool { return identity.Namespace+"/"+identity.ServiceAccount == value }
		})
		for _, value := range values {
			namespace, name, _ := strings.Cut(value, "/")
			a.addPart(2, stringPattern{text: namespace})
			a.addPart(4, stringPattern{text: name})
		}
	})
}

func (a *identityAtoms) addTrustDomains(values []string) {
	a.addOnce("trustDomains", values, func(values []string) {
		// Sidecars and waypoints take the mesh's trust domains for one another.
		a.byTrustDomain = true
		a.add(values, func(value string) func(access.Identity) bool {
			pattern := parsePattern(value)
			return func(identity access.Identity) bool { return pattern.matches(identity.TrustDomain) }
		})
		var list condition
		for _, value := range values {
			pattern := parsePattern(value)
			list = append(list, pattern)
			a.addTrustDomainPart(pattern)
		}
		a.trustDomains = append(a.trustDomains, list)
	})
}

// witnesses finds the parts of identities. Trust domains are those that policies
// name and, where policies tell others apart, invented ones.
func (a *identityAtoms) witnesses(found *witnesses, missed func(attribute string, complete bool)) {
	var complete bool
	found.namespaces, complete = namespaceSpace.witnesses(a.namespaces)
	missed("namespaces of callers", complete)
	found.serviceAccounts, complete = serviceAccountSpace.witnesses(a.serviceAccounts)
	missed("service accounts of callers", complete)
	found.trustDomains = slices.Compact(slices.Sorted(slices.Values(a.named)))
	if len(a.trustDomains) > 0 {
		invented, complete := trustDomainSpace.witnesses(a.trustDomains)
		missed("trust domains of callers", complete)
		found.trustDomains = append(found.trustDomains, invented...)
	}
}

func (a *identityAtoms) signature(identity access.Identity) string {
	signature := make([]byte, len(a.conditions))
	for i, list := range a.conditions {
		signature[i] = '0'
		if slices.ContainsFunc(list, func(matches func(access.Identity) bool) bool { return matches(identity) }) {
			signature[i] = '1'
		}
	}
	if a.byTrustDomain {
		return string(signature) + identity.TrustDomain
	}
	return string(signature)
}

// Identities are callers of which one stands for each class that the policies can
// tell apart: of the known ones where one is in the class, in order of namespace
// and service account, and after them ones that nobody has been seen with.
// A known identity may lack its service account, which is then any, and its trust
// domain, which is then each of those given. Where policies are about trust
// domains themselves, or name others, callers of such others are there as well;
// cluster.local in a policy stands for the mesh's own. Whether one that matches
// nothing is known or not, there is one unless every identity matches something.
// The Identity that is none is not among them.
func (a *Atoms) Identities(known []access.Identity, trustDomains []string) []access.Identity {
	return a.identitiesApart(known, trustDomains, func(string) string { return "" })
}

// IdentitiesApart are identities of which one stands for each class and for each kind of
// namespaces, which apart tells by their names: policies may make one class of callers
// of several namespaces that do not call alike.
func (a *Atoms) IdentitiesApart(trustDomains []string, apart func(namespace string) string) []access.Identity {
	return a.identitiesApart(nil, trustDomains, apart)
}

func (a *Atoms) identitiesApart(known []access.Identity, trustDomains []string, apart func(namespace string) string) []access.Identity {
	atoms := &a.identities
	if len(trustDomains) == 0 {
		trustDomains = []string{"cluster.local"}
	}
	found := a.witnesses()
	seen := map[string]bool{}
	var identities []access.Identity
	take := func(identity access.Identity) {
		if signature := apart(identity.Namespace) + " " + atoms.signature(identity); !seen[signature] {
			seen[signature] = true
			identities = append(identities, identity)
		}
	}
	known = slices.SortedFunc(slices.Values(known), compareIdentities)
	for _, identity := range known {
		for _, completed := range completions(identity, trustDomains, found.serviceAccounts) {
			take(completed)
		}
	}
	for _, trustDomain := range slices.Concat(trustDomains, found.trustDomains) {
		for _, namespace := range found.namespaces {
			for _, serviceAccount := range found.serviceAccounts {
				take(access.Identity{TrustDomain: trustDomain, Namespace: namespace, ServiceAccount: serviceAccount})
			}
		}
	}
	return identities
}

// Possible are the identities that one may be of which parts are not known, as far
// as the policies can tell them apart.
func (a *Atoms) Possible(identity access.Identity, trustDomains []string) []access.Identity {
	return completions(identity, trustDomains, a.witnesses().serviceAccounts)
}

func compareIdentities(a, b access.Identity) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.ServiceAccount, b.ServiceAccount),
		strings.Compare(a.TrustDomain, b.TrustDomain))
}

// completions are what a known identity may be: what is missing of it is any of
// those given.
func completions(identity access.Identity, trustDomains, serviceAccounts []string) []access.Identity {
	if identity.None() {
		return nil
	}
	if identity.TrustDomain != "" {
		trustDomains = []string{identity.TrustDomain}
	}
	if identity.ServiceAccount != "" {
		serviceAccounts = []string{identity.ServiceAccount}
	}
	var completed []access.Identity
	for _, trustDomain := range trustDomains {
		for _, serviceAccount := range serviceAccounts {
			completed = append(completed, access.Identity{TrustDomain: trustDomain, Namespace: identity.Namespace, ServiceAccount: serviceAccount})
		}
	}
	return completed
}
