package oracle

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	jwt "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
)

// jwtMetadata is where Envoy's filter leaves what a token says.
const jwtMetadata = "envoy.filters.http.jwt_authn"

// jwtResult is what became of a request at the JWT filter.
type jwtResult struct {
	passed bool
	// provider verified the token, if one did.
	provider *jwt.JwtProvider
}

// checkToken applies the JWT filter. Istio configures one rule for all paths.
func checkToken(config *jwt.JwtAuthentication, request *Request) (jwtResult, error) {
	if config.BypassCorsPreflight && isPreflight(request) {
		return jwtResult{passed: true}, nil
	}
	if config.FilterStateRules != nil || len(config.Rules) != 1 || config.Rules[0].Match.GetPrefix() != "/" || config.Rules[0].GetRequires() == nil {
		return jwtResult{}, errors.New("rules that are not one for all paths")
	}
	return satisfies(config, config.Rules[0].GetRequires(), nil, request.Token)
}

func isPreflight(request *Request) bool {
	return request.Method == http.MethodOptions &&
		lookup(request.Headers, "origin") != nil && lookup(request.Headers, "access-control-request-method") != nil
}

// satisfies evaluates a requirement. Beside others, the permission to have no
// token looks at the places where those others expect one.
func satisfies(config *jwt.JwtAuthentication, requirement *jwt.JwtRequirement, siblings []*jwt.JwtProvider, token Token) (jwtResult, error) {
	switch kind := requirement.RequiresType.(type) {
	case *jwt.JwtRequirement_ProviderName:
		provider, ok := config.Providers[kind.ProviderName]
		if !ok {
			return jwtResult{}, fmt.Errorf("unknown provider %s", kind.ProviderName)
		}
		return verify(provider, token)
	case *jwt.JwtRequirement_RequiresAny:
		return satisfiesAny(config, kind.RequiresAny.Requirements, token)
	case *jwt.JwtRequirement_RequiresAll:
		return satisfiesAll(config, kind.RequiresAll.Requirements, token)
	case *jwt.JwtRequirement_AllowMissing:
		return allowMissing(config, siblings, token)
	default:
		return jwtResult{}, fmt.Errorf("requirement %T", kind)
	}
}

func satisfiesAny(config *jwt.JwtAuthentication, requirements []*jwt.JwtRequirement, token Token) (jwtResult, error) {
	var siblings []*jwt.JwtProvider
	for _, requirement := range requirements {
		if provider := config.Providers[requirement.GetProviderName()]; provider != nil {
			siblings = append(siblings, provider)
		}
	}
	for _, requirement := range requirements {
		if result, err := satisfies(config, requirement, siblings, token); result.passed || err != nil {
			return result, err
		}
	}
	return jwtResult{}, nil
}

func satisfiesAll(config *jwt.JwtAuthentication, requirements []*jwt.JwtRequirement, token Token) (jwtResult, error) {
	all := jwtResult{passed: true}
	for _, requirement := range requirements {
		result, err := satisfies(config, requirement, nil, token)
		if !result.passed || err != nil {
			return jwtResult{}, err
		}
		if result.provider != nil {
			all.provider = result.provider
		}
	}
	return all, nil
}

// allowMissing lets requests pass that have no token where the siblings expect
// one. A token that is there must be a valid one of its issuer.
func allowMissing(config *jwt.JwtAuthentication, siblings []*jwt.JwtProvider, token Token) (jwtResult, error) {
	if token.Kind == NoToken || !slices.ContainsFunc(siblings, readsBearer) {
		return jwtResult{passed: true}, nil
	}
	for _, name := range sortedKeys(config.Providers) {
		if provider := config.Providers[name]; provider.Issuer == token.Issuer {
			return verifyToken(provider, token)
		}
	}
	return jwtResult{}, nil
}

func verify(provider *jwt.JwtProvider, token Token) (jwtResult, error) {
	if !readsBearer(provider) {
		return jwtResult{}, nil
	}
	return verifyToken(provider, token)
}

func verifyToken(provider *jwt.JwtProvider, token Token) (jwtResult, error) {
	if provider.PayloadInMetadata == "" {
		return jwtResult{}, fmt.Errorf("provider of %s leaves no payload", provider.Issuer)
	}
	valid := token.Kind == ValidToken && token.Issuer == provider.Issuer && admitsAudience(provider, token)
	if !valid {
		return jwtResult{}, nil
	}
	return jwtResult{passed: true, provider: provider}, nil
}

// readsBearer tells whether a provider looks for tokens in the Authorization
// header, as it does unless it is told to look elsewhere.
func readsBearer(provider *jwt.JwtProvider) bool {
	if len(provider.FromHeaders)+len(provider.FromParams)+len(provider.FromCookies) == 0 {
		return true
	}
	return slices.ContainsFunc(provider.FromHeaders, func(header *jwt.JwtHeader) bool {
		return strings.EqualFold(header.Name, "authorization") && header.ValuePrefix == "Bearer "
	})
}

func admitsAudience(provider *jwt.JwtProvider, token Token) bool {
	if len(provider.Audiences) == 0 {
		return true
	}
	return slices.ContainsFunc(provider.Audiences, func(wanted string) bool {
		return slices.ContainsFunc(token.Audiences, func(audience string) bool { return plainAudience(audience) == plainAudience(wanted) })
	})
}

// plainAudience drops what Envoy does not compare.
func plainAudience(audience string) string {
	audience = strings.TrimPrefix(strings.TrimPrefix(audience, "https://"), "http://")
	return strings.TrimSuffix(audience, "/")
}

// metadataOf is what the filter leaves of a token. Claims that are lists in one
// string become lists.
func metadataOf(provider *jwt.JwtProvider, token Token) map[string]any {
	payload := token.payload()
	for _, claim := range provider.NormalizePayloadInMetadata.GetSpaceDelimitedClaims() {
		if text, ok := payload[claim].(string); ok {
			var list []any
			for word := range strings.FieldsSeq(text) {
				list = append(list, word)
			}
			payload[claim] = list
		}
	}
	return map[string]any{provider.PayloadInMetadata: payload}
}
