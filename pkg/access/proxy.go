package access

import (
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	securityv1beta1 "istio.io/api/security/v1beta1"
)

// ReasonDeny is the reason of a call that DENY policies refuse, those of the decision,
// ReasonPlaintext of one whose caller proves nothing, which the PeerAuthentications of the
// decision refuse.
const (
	ReasonDeny      = "a DENY policy matches"
	ReasonPlaintext = "plaintext refused by STRICT"
)

// Reasons of decisions.
const (
	reasonPlaintext     = ReasonPlaintext
	reasonDeny          = ReasonDeny
	reasonNoAllow       = "no ALLOW policy matches"
	reasonToken         = "no RequestAuthentication accepts the token"
	reasonCustom        = "a CUSTOM policy leaves it to an external authorizer"
	reasonCustomRefuses = "a CUSTOM policy names no external authorizer that is known"
	reasonCustomDryRun  = "a CUSTOM policy on dry run matches, which refuses"
	reasonCustomSeveral = "CUSTOM policies name several external authorizers"
	reasonDisabled      = "sidecars send mTLS, which DISABLE does not take"
	reasonNotSpoken     = "the pod's label security.istio.io/tlsMode promises mTLS that it does not speak"
)

var allowed = Decision{Outcome: Allowed}

// proxy is what Envoy enforces on a pod or at a waypoint, in its order: CUSTOM,
// tokens, DENY, ALLOW (istio pilot/pkg/networking/core/listener_builder.go,
// buildHTTPConnectionManager, and networkfilter.go, buildCompleteNetworkFilters).
type proxy struct {
	point  Point
	tokens tokens
	custom []*policy
	deny   []*policy
	allow  []*policy
	// allowing names the policies in allow.
	allowing  []v1alpha1.ObjectReference
	providers providers
	// several is true where CUSTOM policies name more than one provider.
	several bool
}

// add takes a policy in. AUDIT policies decide nothing.
func (p *proxy) add(compiled *policy) {
	switch compiled.action {
	case securityv1beta1.AuthorizationPolicy_CUSTOM:
		p.several = p.several || len(p.custom) > 0 && p.custom[0].provider() != compiled.provider()
		p.custom = append(p.custom, compiled)
	case securityv1beta1.AuthorizationPolicy_DENY:
		if !compiled.dryRun {
			p.deny = append(p.deny, compiled)
		}
	case securityv1beta1.AuthorizationPolicy_ALLOW:
		if !compiled.dryRun {
			p.allow = append(p.allow, compiled)
			p.allowing = append(p.allowing, compiled.reference...)
		}
	default:
	}
}

func (p *policy) provider() string { return p.object.Spec.GetProvider().GetName() }

// decide decides a call on a port that speaks HTTP, or on one that does not.
// tunnelled is true for what reaches a sidecar through HBONE: there CUSTOM
// policies do not see who calls, as istiod tells them to look for the identity
// in TLS (istio pilot/pkg/networking/core/listener_inbound.go,
// buildInboundHBONEListeners, which replaces the other filters only).
func (p *proxy) decide(f *facts, form form, tunnelled bool) Decision {
	f.anonymous = tunnelled
	decision := p.delegate(f, form)
	f.anonymous = false
	if decision.Outcome == Denied {
		return decision
	}
	if form == formHTTP {
		passes, by := p.tokens.check(f.request)
		if !passes {
			return Decision{Outcome: Denied, Point: p.point, Policies: p.tokens.references, Reason: reasonToken}
		}
		f.accepted, f.taken = by != nil, by != nil && !by.forwards
	}
	if matching := matching(p.deny, f, form); matching != nil {
		return Decision{Outcome: Denied, Point: p.point, Policies: matching, Reason: reasonDeny}
	}
	for _, policy := range p.allow {
		if policy.matches(f, form) {
			return decision
		}
	}
	if len(p.allow) > 0 {
		return Decision{Outcome: Denied, Point: p.point, Policies: p.allowing, Reason: reasonNoAllow}
	}
	return decision
}

// matching returns the policies that match.
func matching(policies []*policy, f *facts, form form) []v1alpha1.ObjectReference {
	var found []v1alpha1.ObjectReference
	for _, policy := range policies {
		if !policy.matches(f, form) {
			continue
		}
		if found == nil {
			// Its capacity is its length: appending to it makes another.
			found = policy.reference
		} else {
			found = append(found, policy.reference...)
		}
	}
	return found
}

// delegate says what the CUSTOM policies do (istio authz/builder/builder.go,
// buildHTTP and buildTCP).
func (p *proxy) delegate(f *facts, form form) Decision {
	if len(p.custom) == 0 {
		return allowed
	}
	decision := allowed
	for _, policy := range p.custom {
		if !policy.matches(f, form) {
			continue
		}
		outcome, reason := p.custody(policy, form)
		switch {
		case outcome == Denied:
			return Decision{Outcome: Denied, Point: p.point, Policies: policy.reference, Reason: reason}
		case outcome == Delegated && decision.Outcome == Delegated:
			decision.Policies = append(decision.Policies[:len(decision.Policies):len(decision.Policies)], policy.reference...)
		case outcome == Delegated:
			decision = Decision{Outcome: Delegated, Point: p.point, Policies: policy.reference, Reason: reason}
		}
	}
	return decision
}

// custody says what becomes of a call that a CUSTOM policy matches.
//
// A policy on dry run is put where Envoy enforces it, with the action DENY. Only
// where a provider is in error are such policies left out.
func (p *proxy) custody(policy *policy, form form) (Outcome, string) {
	kind, known := p.providers[policy.provider()]
	switch failed := p.several || !known && p.providers != nil; {
	case failed && policy.dryRun:
		return Allowed, ""
	case p.several:
		return Denied, reasonCustomSeveral
	case failed:
		return Denied, reasonCustomRefuses
	case form == formTCP && kind == providerHTTP:
		return Allowed, ""
	case policy.dryRun:
		return Denied, reasonCustomDryRun
	default:
		return Delegated, reasonCustom
	}
}

// providers are the external authorizers that the mesh's configuration names, by
// what they speak; nil where it is not known.
type providers map[string]string

// The kinds of external authorizers, by their fields in the configuration.
const (
	providerHTTP = "envoyExtAuthzHttp"
	providerGRPC = "envoyExtAuthzGrpc"
)
