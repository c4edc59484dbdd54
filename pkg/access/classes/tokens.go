package classes

import (
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
)

// principalPattern is a value of requestPrincipals: of issuer and subject. Istio
// splits it at the last slash and reads stars in ways of its own (istio
// pilot/pkg/security/authz/model/generator.go, requestPrincipalGenerator).
type principalPattern struct {
	issuer, subject stringPattern
}

func parsePrincipal(value string) principalPattern {
	present := stringPattern{kind: patternPresent}
	slash := strings.LastIndex(value, "/")
	issuer, subject := value, ""
	if slash >= 0 {
		issuer, subject = value[:slash], value[slash+1:]
	}
	switch {
	case value == "*":
		return principalPattern{present, present}
	case strings.HasPrefix(value, "*") && slash < 0:
		return principalPattern{present, parsePattern(value)}
	case strings.HasPrefix(value, "*"):
		// The subject is taken literally: "*/*" is for the subject "*" only.
		return principalPattern{leadingStar(issuer), stringPattern{text: subject}}
	case strings.HasSuffix(value, "*") && slash < 0:
		return principalPattern{parsePattern(value), present}
	case strings.HasSuffix(value, "*"):
		return principalPattern{stringPattern{text: issuer}, trailingStar(subject)}
	default:
		return principalPattern{stringPattern{text: issuer}, stringPattern{text: subject}}
	}
}

func leadingStar(value string) stringPattern {
	if value == "*" {
		return stringPattern{kind: patternPresent}
	}
	return stringPattern{kind: patternSuffix, text: strings.TrimPrefix(value, "*")}
}

func trailingStar(value string) stringPattern {
	if value == "*" {
		return stringPattern{kind: patternPresent}
	}
	return stringPattern{kind: patternPrefix, text: strings.TrimSuffix(value, "*")}
}

func (p principalPattern) matches(token access.Token) bool {
	return p.issuer.matches(token.Issuer) && p.subject.matches(token.Subject)
}

// tokenAtoms are what policies tell tokens apart by.
type tokenAtoms struct {
	principals [][]principalPattern
	// issuers and subjects are those of principals, one by one, and conditions
	// about the claims iss and sub.
	issuers, subjects conditions
	// issuerClaim and subjectClaim are the latter alone.
	issuerClaim, subjectClaim conditions
	// audiences also has what RequestAuthentications demand.
	audiences, presenter conditions
	claims               map[string]conditions
	// demanded are the latter, preferred as witnesses.
	demanded []string

	// accepted are the issuers that some RequestAuthentication accepts; anyIssuer
	// is set where one accepts whatever issuer its keys belong to.
	accepted  map[string]bool
	anyIssuer bool
}

func (a *tokenAtoms) addPrincipals(values []string) {
	if len(values) == 0 {
		return
	}
	values = slices.Compact(slices.Sorted(slices.Values(values)))
	var list []principalPattern
	for _, value := range values {
		list = append(list, parsePrincipal(value))
	}
	if slices.ContainsFunc(a.principals, func(other []principalPattern) bool { return slices.Equal(other, list) }) {
		return
	}
	a.principals = append(a.principals, list)
	for _, pattern := range list {
		a.issuers.addOne(pattern.issuer)
		a.subjects.addOne(pattern.subject)
	}
}

// addClaim takes in a condition about a claim, by its name as policies write it
// between the first bracket and the last.
func (a *tokenAtoms) addClaim(name string, values []string) {
	switch name {
	case "iss":
		a.issuers.add(values, parsePattern)
		a.issuerClaim.add(values, parsePattern)
	case "sub":
		a.subjects.add(values, parsePattern)
		a.subjectClaim.add(values, parsePattern)
	case "aud":
		a.audiences.add(values, parsePattern)
	case "azp":
		a.presenter.add(values, parsePattern)
	default:
		if a.claims == nil {
			a.claims = map[string]conditions{}
		}
		list := a.claims[name]
		list.add(values, parsePattern)
		a.claims[name] = list
	}
}

// addDemanded takes in the audiences of which a RequestAuthentication demands one.
// Envoy takes those for the same that differ in http:// or https:// in front or a
// slash at the end (envoy source/common/jwt/check_audience.cc).
func (a *tokenAtoms) addDemanded(audiences []string) {
	var same []string
	for _, audience := range audiences {
		bare := strings.TrimPrefix(audience, "http://")
		if bare == audience {
			bare = strings.TrimPrefix(audience, "https://")
		}
		bare = strings.TrimSuffix(bare, "/")
		for _, scheme := range []string{"", "http://", "https://"} {
			same = append(same, scheme+bare, scheme+bare+"/")
		}
	}
	a.audiences.add(same, func(value string) stringPattern { return stringPattern{text: value} })
	a.demanded = append(a.demanded, audiences...)
}

// tokenWitnesses are what tokens of each class are made of.
type tokenWitnesses struct {
	// refused are invalid, holders valid tokens that differ in issuer and subject.
	refused, holders []access.Token
	audiences        [][]string
	presenters       []string
	claims           []claimWitnesses
}

type claimWitnesses struct {
	name   string
	values [][]string
}

// witnesses are the tokens' parts.
//
// Only issuers that some RequestAuthentication accepts have valid tokens: without
// one Envoy does not look at a token, and with one for other issuers it refuses
// the request, so that requestPrincipals of an issuer that nobody accepts match
// no request that gets that far. For the same reason the invalid token of an
// accepted issuer stands for that of an unknown one.
//
// A claim may be a list, and a condition holds where any of its elements matches.
// Two conditions can thus hold together that no single value meets; so the
// witnesses are lists, one for each union of what single values meet. That a
// claim cannot at once be a string and have claims nested in it is left out of
// account: it only yields a token more than needed.
func (a *tokenAtoms) witnesses(missed func(attribute string, complete bool)) tokenWitnesses {
	var found tokenWitnesses
	if len(a.accepted) == 0 && !a.anyIssuer {
		return found
	}
	issuers := slices.Sorted(maps.Keys(a.accepted))
	if a.anyIssuer {
		others, complete := issuerSpace.witnesses(a.issuers)
		missed("the issuer of tokens", complete)
		issuers = append(issuers, slices.DeleteFunc(others, func(issuer string) bool { return a.accepted[issuer] })...)
	}
	for _, issuer := range issuers {
		found.refused = append(found.refused, access.Token{Issuer: issuer})
	}
	subjects, complete := subjectSpace.witnesses(a.subjects)
	missed("the subject of tokens", complete)
	found.holders = a.holders(issuers, append(subjects, ""))
	audienceSpace := claimSpace
	audienceSpace.common = slices.Concat(audienceSpace.common, a.demanded)
	found.audiences, complete = listWitnesses(audienceSpace, a.audiences)
	missed("the audiences of tokens", complete)
	presenters, complete := claimSpace.witnesses(a.presenter)
	missed("the presenter of tokens", complete)
	found.presenters = optional(presenters, a.presenter)
	for _, name := range slices.Sorted(maps.Keys(a.claims)) {
		values, complete := listWitnesses(spaceOfClaim(name), a.claims[name])
		missed("request.auth.claims["+name+"]", complete)
		found.claims = append(found.claims, claimWitnesses{name, values})
	}
	return found
}

// tokens are the first ones up to a limit, the absent one before all others, and
// how many there are.
func (w *tokenWitnesses) tokens(limit int) (tokens []access.Token, total int) {
	tokens = append([]access.Token{{}}, w.refused...)
	sizes := []int{len(w.holders), len(w.audiences), len(w.presenters)}
	for _, claim := range w.claims {
		sizes = append(sizes, len(claim.values))
	}
	if len(w.holders) == 0 {
		return tokens, len(tokens)
	}
	total = saturatingAdd(len(tokens), product(sizes))
	for indices := range departures(sizes) {
		if len(tokens) >= limit {
			break
		}
		token := w.holders[indices[0]]
		token.Audiences = w.audiences[indices[1]]
		token.Presenter = w.presenters[indices[2]]
		for i, claim := range w.claims {
			if values := claim.values[indices[3+i]]; len(values) > 0 {
				if token.Claims == nil {
					token.Claims = map[string][]string{}
				}
				token.Claims[claim.name] = values
			}
		}
		tokens = append(tokens, token)
	}
	return tokens, total
}

// holders are valid tokens of the issuers, one for each combination of conditions
// on issuer and subject; which issuer it is matters of itself.
func (a *tokenAtoms) holders(issuers, subjects []string) []access.Token {
	var tokens []access.Token
	seen := map[string]bool{}
	for _, issuer := range issuers {
		for _, subject := range subjects {
			token := access.Token{Issuer: issuer, Subject: subject, Valid: true}
			signature := issuer + "\x00" + a.issuerClaim.of(issuer) + a.subjectClaim.of(subject)
			for _, list := range a.principals {
				if slices.ContainsFunc(list, func(pattern principalPattern) bool { return pattern.matches(token) }) {
					signature += "1"
				} else {
					signature += "0"
				}
			}
			if !seen[signature] {
				seen[signature] = true
				tokens = append(tokens, token)
			}
		}
	}
	return tokens
}

// spaceOfClaim is what values of a claim look like. Envoy splits some at spaces
// (istio pilot/pkg/security/authn/policy_applier.go, buildSpaceDelimitedClaims).
func spaceOfClaim(name string) valueSpace {
	if name == "scope" || name == "permission" {
		return wordSpace
	}
	return claimSpace
}

// maxLists bounds the lists that stand for the classes of one claim.
const maxLists = 64

// listWitnesses are lists of values of which one stands for each combination of
// conditions that a list can meet, the empty one first. A list meets what any of
// its elements meets; so lists of the witnesses of single values are enough, each
// made of those that add something.
func listWitnesses(space valueSpace, c conditions) (lists [][]string, complete bool) {
	values, complete := space.witnesses(c)
	lists = [][]string{nil}
	signatures := []string{c.nothing()}
	seen := map[string]bool{c.nothing(): true}
	for i := 0; i < len(lists); i++ {
		for _, value := range values {
			signature := union(signatures[i], c.of(value))
			if seen[signature] {
				continue
			}
			if len(lists) == maxLists {
				return lists, false
			}
			seen[signature] = true
			lists = append(lists, append(slices.Clone(lists[i]), value))
			signatures = append(signatures, signature)
		}
	}
	return lists, complete
}

// union is the signature of what meets either.
func union(a, b string) string {
	both := []byte(a)
	for i := range both {
		both[i] = max(both[i], b[i])
	}
	return string(both)
}
