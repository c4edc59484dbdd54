package access

import (
	"strconv"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/annotation"
	securityv1beta1 "istio.io/api/security/v1beta1"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// form is one in which a policy is enforced.
type form int

// The forms: what Envoy is told of for ports that speak HTTP, for others, and
// what ztunnel is told.
const (
	formHTTP form = iota
	formTCP
	formAmbient
)

// policy is an AuthorizationPolicy in the three forms in which it is enforced.
type policy struct {
	attachment
	object *clientsecurityv1.AuthorizationPolicy
	// reference names it, as a list of one so that a decision need not make it.
	reference []v1alpha1.ObjectReference
	action    securityv1beta1.AuthorizationPolicy_Action
	dryRun    bool
	rules     [3]rules
	// byDestination is true where it asks for the address of what is called.
	byDestination bool
}

func compile(object *clientsecurityv1.AuthorizationPolicy, domains trustDomains) *policy {
	compiled := &policy{
		object:     object,
		reference:  []v1alpha1.ObjectReference{mesh.SecurityReference(mesh.KindAuthorizationPolicy, object.Namespace, object.Name)},
		attachment: attachmentOf(object.Namespace, object.Spec.GetSelector(), targetsOf(&object.Spec)),
		action:     object.Spec.GetAction(),
	}
	// A value that is no boolean counts for none (istio authz/builder/builder.go,
	// isDryRun).
	compiled.dryRun, _ = strconv.ParseBool(object.Annotations[annotation.IoIstioDryRun.Name])
	http := proxyCompiler{namespace: object.Namespace, domains: domains, allow: compiled.action == securityv1beta1.AuthorizationPolicy_ALLOW}
	tcp := http
	tcp.tcp = true
	for _, written := range object.Spec.GetRules() {
		if written == nil {
			continue
		}
		compiled.add(formHTTP, http.rules(written))
		compiled.add(formTCP, tcp.rules(written))
		compiled.add(formAmbient, ambientRules(written, object.Namespace, compiled.action))
		for _, when := range written.GetWhen() {
			compiled.byDestination = compiled.byDestination || when.GetKey() == keyDestinationIP
		}
	}
	return compiled
}

func (p *policy) add(form form, made rules) { p.rules[form] = append(p.rules[form], made...) }

// matches says whether any rule of the policy does.
func (p *policy) matches(f *facts, form form) bool { return p.rules[form].hold(f) }
