package oracle

import (
	"net/http"
	"reflect"
	"testing"

	jwt "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
)

// twoIssuers is what istiod makes of two rules.
const twoIssuers = `{
  "providers": {
    "origins-0": {"issuer": "one", "audiences": ["https://echo/"], "payloadInMetadata": "payload",
      "normalizePayloadInMetadata": {"spaceDelimitedClaims": ["scope"]}},
    "origins-1": {"issuer": "two", "payloadInMetadata": "payload", "fromHeaders": [{"name": "x-token"}]}},
  "rules": [{"match": {"prefix": "/"}, "requires": {"requiresAny": {"requirements": [
    {"providerName": "origins-0"}, {"providerName": "origins-1"},
    {"requiresAll": {"requirements": [
      {"requiresAny": {"requirements": [{"providerName": "origins-0"}, {"allowMissing": {}}]}},
      {"requiresAny": {"requirements": [{"providerName": "origins-1"}, {"allowMissing": {}}]}}]}}]}}}],
  "bypassCorsPreflight": true}`

func TestTokens(t *testing.T) {
	config := fromJSON(t, &jwt.JwtAuthentication{}, twoIssuers)
	valid := Token{Kind: ValidToken, Issuer: "one", Audiences: []string{"echo"}}
	for name, test := range map[string]struct {
		token            Token
		passes, verified bool
	}{
		"none":                              {Token{}, true, false},
		"valid":                             {valid, true, true},
		"for others":                        {Token{Kind: ValidToken, Issuer: "one", Audiences: []string{"other"}}, false, false},
		"for nobody":                        {Token{Kind: ValidToken, Issuer: "one"}, false, false},
		"forged":                            {Token{Kind: InvalidToken, Issuer: "one", Audiences: []string{"echo"}}, false, false},
		"of an unknown issuer":              {Token{Kind: ValidToken, Issuer: "three"}, false, false},
		"of an issuer that looks elsewhere": {Token{Kind: ValidToken, Issuer: "two"}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := checkToken(config, &Request{HTTP: true, Token: test.token})
			if err != nil || got.passed != test.passes || (got.provider != nil) != test.verified {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestPreflightsNeedNoToken(t *testing.T) {
	config := fromJSON(t, &jwt.JwtAuthentication{}, twoIssuers)
	preflight := Request{HTTP: true, Method: http.MethodOptions, Token: Token{Kind: InvalidToken, Issuer: "one"},
		Headers: map[string]string{"Origin": "a", "Access-Control-Request-Method": "GET"}}
	if got, err := checkToken(config, &preflight); err != nil || !got.passed {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestPayload(t *testing.T) {
	provider := fromJSON(t, &jwt.JwtAuthentication{}, twoIssuers).Providers["origins-0"]
	got := metadataOf(provider, Token{Issuer: "one", Subject: "s", Audiences: []string{"a", "b"}, Claims: map[string]any{"scope": "read write"}})
	want := map[string]any{"payload": map[string]any{
		"iss": "one", "sub": "s", "aud": []any{"a", "b"}, "scope": []any{"read", "write"},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}
