package access

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	securityv1beta1 "istio.io/api/security/v1beta1"
)

// authentication is a RequestAuthentication.
type authentication struct {
	attachment
	reference v1alpha1.ObjectReference
	rules     []tokenRule
	// created is when it was; the zero time is that of one that is yet to be.
	created time.Time
}

// compareAge puts the oldest first, and of those of the same second that of the
// first name (istio pilot/pkg/model/config.go, configCompareByCreationTime).
func (a *authentication) compareAge(b *authentication) int {
	if a.created.IsZero() != b.created.IsZero() {
		return cmp.Compare(b.created.Unix(), a.created.Unix())
	}
	return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.reference.Name, b.reference.Name))
}

// tokenRule is what a RequestAuthentication accepts: an issuer's tokens for some
// audiences, or for any. Where in a request it looks for them is not known here:
// a call has one token, and every rule finds it.
type tokenRule struct {
	issuer    string
	audiences []string
	// forwards is true where the token that it accepts goes on with the request.
	forwards bool
	written  *securityv1beta1.JWTRule
}

// compileAuthentication takes one whose rules cannot be understood for one
// without any: the API server would not have stored it.
func compileAuthentication(extension mesh.Extension) *authentication {
	compiled := &authentication{
		attachment: attachment{namespace: extension.Reference.Namespace, selector: selectorOf(extension.Selector)},
		reference:  extension.Reference,
	}
	for _, named := range extension.Targets {
		compiled.targets = append(compiled.targets, target{named.Group, named.Kind, named.Namespace, named.Name})
	}
	metadata, _ := extension.Object["metadata"].(map[string]any)
	created, _ := metadata["creationTimestamp"].(string)
	if at, err := time.Parse(time.RFC3339, created); err == nil {
		compiled.created = at
	}
	spec, _ := extension.Object["spec"].(map[string]any)
	var written struct {
		JWTRules []*securityv1beta1.JWTRule `json:"jwtRules"`
	}
	if err := mesh.Decode(spec, &written); err != nil {
		return compiled
	}
	for _, rule := range written.JWTRules {
		compiled.rules = append(compiled.rules, tokenRule{
			issuer: rule.GetIssuer(), audiences: rule.GetAudiences(), forwards: rule.GetForwardOriginalToken(), written: rule,
		})
	}
	return compiled
}

// tokens is what a point of enforcement makes of the tokens of requests (istio
// pilot/pkg/security/authn/policy_applier.go, convertToEnvoyJwtConfig). Without
// rules it looks at none. Of several that accept a token the first takes it.
type tokens struct {
	rules      []tokenRule
	references []v1alpha1.ObjectReference
}

func (t *tokens) add(authentication *authentication) {
	t.rules = append(t.rules, authentication.rules...)
	t.references = append(t.references, authentication.reference)
}

// sort puts the rules into the order in which Envoy tries them, which is that of
// their issuers; those of one stay as they were (policy_applier.go,
// newPolicyApplier).
func (t *tokens) sort() {
	slices.SortStableFunc(t.rules, func(a, b tokenRule) int { return cmp.Compare(a.issuer, b.issuer) })
}

// check says whether the request may go on, and which rule accepts its token; nil
// where it has none that is looked at. Without one it may; with one that no rule
// accepts it may not, that of an issuer whom no rule knows included. A browser's
// question before a call from another site is not asked for one.
func (t *tokens) check(request *Request) (passes bool, by *tokenRule) {
	token := &request.Token
	if len(t.rules) == 0 || token.Issuer == "" || request.preflight() {
		return true, nil
	}
	if !token.Valid {
		return false, nil
	}
	by = t.accepting(token)
	return by != nil, by
}

func (t *tokens) accepting(token *Token) *tokenRule {
	for i := range t.rules {
		rule := &t.rules[i]
		if (rule.issuer == "" || rule.issuer == token.Issuer) && rule.suits(token.Audiences) {
			return rule
		}
	}
	return nil
}

func (r *tokenRule) suits(audiences []string) bool {
	if len(r.audiences) == 0 {
		return true
	}
	for _, audience := range audiences {
		if slices.Contains(r.audiences, audience) {
			return true
		}
	}
	return false
}

// preflight says whether Envoy takes the request for a CORS preflight.
func (r *Request) preflight() bool {
	return r.Method == http.MethodOptions && r.Headers["origin"] != "" && r.Headers["access-control-request-method"] != ""
}
