package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	securityv1beta1 "istio.io/api/security/v1beta1"
)

// layer4Keys are the `when` keys that ztunnel enforces (istio
// pilot/pkg/serviceregistry/ambient/authorization.go). Every other key needs
// HTTP.
var layer4Keys = []string{"source.ip", "source.namespace", "source.principal", "destination.ip", "destination.port"}

// Layer7Fields returns the paths of the fields of an AuthorizationPolicy that
// cannot be enforced by ztunnel: those that need HTTP, and trust domains, which
// istiod does not send it. The layer 4 fields are those that istiod translates for
// it (same file); everything else is layer 7, `methods: ["*"]` included.
func Layer7Fields(spec *securityv1beta1.AuthorizationPolicy) []string {
	var fields []string
	for i, rule := range spec.GetRules() {
		for j, from := range rule.GetFrom() {
			source := from.GetSource()
			at := fmt.Sprintf("spec.rules[%d].from[%d].source", i, j)
			fields = appendSet(fields, at, []namedValues{
				{"requestPrincipals", source.GetRequestPrincipals()},
				{"notRequestPrincipals", source.GetNotRequestPrincipals()},
				{"remoteIpBlocks", source.GetRemoteIpBlocks()},
				{"notRemoteIpBlocks", source.GetNotRemoteIpBlocks()},
				{"trustDomains", source.GetTrustDomains()},
				{"notTrustDomains", source.GetNotTrustDomains()},
			})
		}
		for j, to := range rule.GetTo() {
			operation := to.GetOperation()
			at := fmt.Sprintf("spec.rules[%d].to[%d].operation", i, j)
			fields = appendSet(fields, at, []namedValues{
				{"hosts", operation.GetHosts()},
				{"notHosts", operation.GetNotHosts()},
				{"methods", operation.GetMethods()},
				{"notMethods", operation.GetNotMethods()},
				{"paths", operation.GetPaths()},
				{"notPaths", operation.GetNotPaths()},
			})
		}
		for j, when := range rule.GetWhen() {
			if !slices.Contains(layer4Keys, when.GetKey()) {
				fields = append(fields, fmt.Sprintf("spec.rules[%d].when[%d].key (%s)", i, j, when.GetKey()))
			}
		}
	}
	return fields
}

type namedValues struct {
	name   string
	values []string
}

func appendSet(fields []string, at string, candidates []namedValues) []string {
	for _, candidate := range candidates {
		if len(candidate.values) > 0 {
			fields = append(fields, at+"."+candidate.name)
		}
	}
	return fields
}

// ParseBlock reads an address or a block of them as Istio does (istio
// pilot/pkg/networking/util/util.go, AddrStrToPrefix).
func ParseBlock(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		return netip.ParsePrefix(text)
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(address, address.BitLen()), nil
}

// FieldValue is a text and the path of the field that it stands in.
type FieldValue struct {
	Field, Value string
}

// addressKeys are the `when` keys whose values are addresses (istio
// pkg/config/security/security.go, ValidateAttribute).
var addressKeys = []string{"source.ip", "remote.ip", "destination.ip"}

// MalformedBlocks returns what stands in an AuthorizationPolicy for an address or
// a block of addresses, and is neither.
func MalformedBlocks(spec *securityv1beta1.AuthorizationPolicy) []FieldValue {
	var malformed []FieldValue
	look := func(at string, candidates ...namedValues) {
		for _, candidate := range candidates {
			for i, value := range candidate.values {
				if _, err := ParseBlock(value); err != nil {
					malformed = append(malformed, FieldValue{fmt.Sprintf("%s.%s[%d]", at, candidate.name, i), value})
				}
			}
		}
	}
	for i, rule := range spec.GetRules() {
		for j, from := range rule.GetFrom() {
			source := from.GetSource()
			look(fmt.Sprintf("spec.rules[%d].from[%d].source", i, j),
				namedValues{"ipBlocks", source.GetIpBlocks()}, namedValues{"notIpBlocks", source.GetNotIpBlocks()},
				namedValues{"remoteIpBlocks", source.GetRemoteIpBlocks()}, namedValues{"notRemoteIpBlocks", source.GetNotRemoteIpBlocks()})
		}
		for j, when := range rule.GetWhen() {
			if slices.Contains(addressKeys, when.GetKey()) {
				look(fmt.Sprintf("spec.rules[%d].when[%d]", i, j), namedValues{"values", when.GetValues()}, namedValues{"notValues", when.GetNotValues()})
			}
		}
	}
	return malformed
}
