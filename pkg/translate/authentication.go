package translate

import (
	"maps"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"google.golang.org/protobuf/proto"
	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
)

// authentication carries RequestAuthentications over: at a waypoint only those with
// targetRefs count.
func (t *translator) authentication() {
	for _, extension := range t.snapshot.Extensions() {
		if extension.Reference.Kind != mesh.KindRequestAuthentication || extension.Targeted() || !t.inReach(extension.Reference.Namespace) ||
			isOurs(extension) {
			continue
		}
		if !t.reaches(extension.Selector) {
			t.translation.Carried[extension.Reference] = true
			continue
		}
		var spec securityv1beta1.RequestAuthentication
		fields, _ := extension.Object["spec"].(map[string]any)
		if err := mesh.Decode(fields, &spec); err != nil {
			t.problem(extension.Reference, "spec", "it cannot be understood: "+err.Error(), "correct it")
			continue
		}
		if len(spec.GetJwtRules()) == 0 {
			continue
		}
		t.copyAuthentication(extension, &spec)
		if t.options.MixedCallers != MixedCallersLayer4 {
			t.guardTokens(extension)
		}
	}
}

// copyAuthentication attaches copies to the services whose pods are selected, or one to
// the waypoint of all of them.
func (t *translator) copyAuthentication(extension mesh.Extension, spec *securityv1beta1.RequestAuthentication) {
	services := t.behind(extension.Selector)
	if len(services) == 0 {
		if !t.givenUp(extension.Selector) {
			t.translation.Losses = append(t.translation.Losses, Loss{
				Object: extension.Reference, Field: "spec.jwtRules", Security: true,
				Message: "no Service leads to its pods, and so no waypoint: nobody checks tokens, and ztunnel refuses calls whether they have one or not",
			})
		}
		return
	}
	t.translation.Carried[extension.Reference] = true
	whole := t.reference(mesh.KindRequestAuthentication, generatedName(extension.Reference.Name, t.options.Waypoint, extension.Reference.Namespace))
	of := slices.DeleteFunc(slices.Clone(services), func(service *fronted) bool { return service.direct })
	all := len(extension.Selector) == 0 && t.forWaypoint(whole, of)
	for _, service := range services {
		if all && !service.direct {
			continue
		}
		t.wholeService(extension.Reference, extension.Selector, service)
		name := generatedName(extension.Reference.Name, service.reference.Name, extension.Reference.Namespace)
		t.addTokens(extension, spec, service.target(), service.reference, t.attached(mesh.KindRequestAuthentication, name, service))
	}
	if all {
		t.addTokens(extension, spec, gatewayTarget(t.options.Waypoint), v1alpha1.ObjectReference{}, whole)
	}
}

// addTokens attaches one copy. While sidecars behind the waypoint check tokens as well,
// the waypoint has to pass them on, which it does not do by itself (docs:
// RequestAuthentication, JWTRule forwardOriginalToken).
func (t *translator) addTokens(extension mesh.Extension, spec *securityv1beta1.RequestAuthentication, target *typev1beta1.PolicyTargetReference, service, reference v1alpha1.ObjectReference) {
	copied, _ := proto.Clone(spec).(*securityv1beta1.RequestAuthentication)
	copied.Selector, copied.TargetRef = nil, nil
	copied.TargetRefs = []*typev1beta1.PolicyTargetReference{target}
	object := Object{
		Reference: reference, Origin: extension.Reference, Service: service,
		Content: t.object(reference, extension.Reference, copied),
		Why:     "checks tokens at the waypoint as " + extension.Reference.String() + " does in sidecars",
	}
	final := object
	if slices.ContainsFunc(copied.GetJwtRules(), func(rule *securityv1beta1.JWTRule) bool { return !rule.GetForwardOriginalToken() }) {
		for _, rule := range copied.GetJwtRules() {
			rule.ForwardOriginalToken = true
		}
		object.Content = t.object(reference, extension.Reference, copied)
		object.Why += ", and passes them on to those"
		final.Why = "no longer passes tokens on, which no sidecar checks any more"
		t.translation.After = append(t.translation.After, final)
	}
	t.translation.Before = append(t.translation.Before, object)
}

// guardTokens keeps requests with bad tokens from pods that have lost their sidecar:
// nobody in front of them reads tokens but the waypoint. Ports that carry no HTTP
// were not checked before either.
func (t *translator) guardTokens(extension mesh.Extension) {
	if len(t.behind(extension.Selector)) == 0 && t.givenUp(extension.Selector) {
		return
	}
	rule := &securityv1beta1.Rule{}
	if len(t.principals) > 0 {
		exempt(rule, t.principals)
	}
	if plain := t.plainPorts(extension.Selector); len(plain) > 0 {
		rule.To = []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{NotPorts: plain}}}
	}
	t.addGuard(extension.Reference, extension.Selector, &securityv1beta1.AuthorizationPolicy{
		Action: securityv1beta1.AuthorizationPolicy_DENY, Rules: []*securityv1beta1.Rule{rule},
	}, "refuses direct calls, whose tokens nobody checks")
}

// plainPorts are the ports of all pods of a selector to which Services lead that
// carry no HTTP there, and no others.
func (t *translator) plainPorts(selector map[string]string) []string {
	var plainPorts []string
	for i, one := range selectedBy(selector, t.pods) {
		of := t.plainPortsOf(one)
		if i == 0 {
			plainPorts = of
		}
		plainPorts = slices.DeleteFunc(plainPorts, func(port string) bool { return !slices.Contains(of, port) })
	}
	return plainPorts
}

func (t *translator) plainPortsOf(one pods) []string {
	var plain, read []string
	for _, service := range slices.Concat(t.fronted, t.skipped) {
		if slices.ContainsFunc(service.pods, func(behind pods) bool { return maps.Equal(behind.labels, one.labels) }) {
			plain, read = append(plain, service.plain...), append(read, service.read...)
		}
	}
	slices.Sort(plain)
	return slices.DeleteFunc(slices.Compact(plain), func(port string) bool { return slices.Contains(read, port) })
}
