package translate

import (
	"maps"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	securityv1beta1 "istio.io/api/security/v1beta1"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// guard keeps direct calls to pods that have lost their sidecar as narrow as they
// were: what a DENY or CUSTOM policy refuses by HTTP, ztunnel cannot tell apart, so
// that whatever it might be about is refused, unless it comes through the waypoint.
// With MixedCallersLayer4 it is the other way round: what an ALLOW policy allows by
// HTTP is allowed as far as ztunnel can tell.
func (t *translator) guard(policy *clientsecurityv1.AuthorizationPolicy) {
	if selector := policy.Spec.GetSelector().GetMatchLabels(); dryRun(policy) || len(t.behind(selector)) == 0 && t.givenUp(selector) {
		return
	}
	custom := policy.Spec.GetAction() == securityv1beta1.AuthorizationPolicy_CUSTOM
	spec := &securityv1beta1.AuthorizationPolicy{}
	var why string
	switch action := policy.Spec.GetAction(); {
	case action == securityv1beta1.AuthorizationPolicy_ALLOW && t.options.MixedCallers == MixedCallersLayer4:
		spec.Action, why = securityv1beta1.AuthorizationPolicy_ALLOW, "allows direct calls as far as ztunnel can tell them apart"
	case (action == securityv1beta1.AuthorizationPolicy_DENY || custom) && t.options.MixedCallers != MixedCallersLayer4:
		spec.Action, why = securityv1beta1.AuthorizationPolicy_DENY, "refuses direct calls that ztunnel cannot tell from refused ones"
	default:
		return
	}
	for _, rule := range policy.Spec.GetRules() {
		if len(layer7Of(rule)) == 0 && !custom {
			continue
		}
		kept := layer4(withoutExemption(rule, t.principals))
		qualify(kept, policy.Namespace)
		if spec.GetAction() == securityv1beta1.AuthorizationPolicy_DENY && len(t.principals) > 0 {
			exempt(kept, t.principals)
		}
		spec.Rules = append(spec.Rules, kept)
	}
	if len(spec.GetRules()) > 0 {
		t.addGuard(authorizationReference(policy), policy.Spec.GetSelector().GetMatchLabels(), spec, why)
	}
}

// givenUp says whether a selector's pods are those of services that were to have no
// waypoint: what is lost with that is listed, and to be accepted.
func (t *translator) givenUp(selector map[string]string) bool {
	return slices.ContainsFunc(t.skipped, func(service *fronted) bool { return selectsAny(selector, service.pods) })
}

// addGuard adds a policy for pods that have lost their sidecar: those of the
// selector whose template refuses injection. When no sidecar is left, it is to hold
// whatever a template says.
func (t *translator) addGuard(origin v1alpha1.ObjectReference, selector map[string]string, spec *securityv1beta1.AuthorizationPolicy, why string) {
	if t.options.RoutingOnly || !selectsAny(selector, t.guarded(origin)) {
		return
	}
	kind := "guard"
	if spec.GetAction() == securityv1beta1.AuthorizationPolicy_ALLOW {
		kind = "layer4"
	}
	selector, of := t.narrowed(selector)
	for _, reach := range t.reachOf(origin, selector) {
		name := generatedName(append([]string{origin.Name, kind, origin.Kind, origin.Namespace}, of...)...)
		if reach.workload.Name != "" {
			name = generatedName(origin.Name, kind+"-"+reach.workload.Name, origin.Kind, origin.Namespace, reach.workload.Kind)
		}
		object := Object{Reference: t.reference(mesh.KindAuthorizationPolicy, name), Origin: origin, Guard: true, Why: why}
		spec.Selector = workloadSelector(moved(reach.selector))
		object.Content = t.policy(name, origin, spec)
		t.translation.Before = append(t.translation.Before, object)
		if !reach.settles {
			continue
		}
		spec.Selector = workloadSelector(reach.selector)
		object.Content = t.policy(name, origin, spec)
		object.Why = "holds for every pod that the policy selects, whatever its template says"
		t.translation.After = append(t.translation.After, object)
	}
}

// guarded are the pods that guards of a policy are for: those that have lost their
// sidecar, and where a run has made any, those that have come since, too. They never had
// a sidecar that would have enforced the policy, but the namespace is guarded.
func (t *translator) guarded(origin v1alpha1.ObjectReference) []pods {
	if len(t.snapshot.GuardsOf(t.namespace.Name, origin)) == 0 {
		return t.moving
	}
	return slices.DeleteFunc(slices.Clone(t.pods), func(one pods) bool { return !one.moves && !one.joined })
}

// reach is which pods a guard is for.
type reach struct {
	selector map[string]string
	// workload is the one that they are of, where the guard is for one alone.
	workload v1alpha1.ObjectReference
	// settles is true where the guard may hold whatever a template says.
	settles bool
}

// reachOf makes guards of a policy reach the pods that move, and no proxy that would
// enforce them by itself: it can tell what it is asked, and decides by the policy.
// Where the policy selects one, each workload has a guard of its own, by the labels
// that are its for good.
func (t *translator) reachOf(origin v1alpha1.ObjectReference, selector map[string]string) []reach {
	if t.enforcing(selector) == "" {
		return []reach{{selector: selector, settles: true}}
	}
	if each := t.reachOfEach(selector, t.guarded(origin)); len(each) > 0 {
		return each
	}
	if proxy := t.enforcing(moved(selector)); proxy != "" {
		t.problem(origin, "spec.selector", "what keeps direct calls narrow would reach "+proxy+", a proxy that enforces it by itself: "+
			"it refuses injection by the same label, and not every workload that the policy selects has labels in spec.selector.matchLabels that it lacks",
			"select the pods that the policy is for by a label that the proxy does not have")
	}
	return []reach{{selector: selector}}
}

// reachOfEach is nil where any workload cannot be told from a proxy by its own
// labels.
func (t *translator) reachOfEach(selector map[string]string, guarded []pods) []reach {
	var each []reach
	for _, one := range guarded {
		if !mesh.SelectsLabels(selector, one.labels) || slices.ContainsFunc(each, func(other reach) bool { return other.workload == one.workload }) {
			continue
		}
		narrowed := map[string]string{}
		maps.Copy(narrowed, selector)
		maps.Copy(narrowed, one.matchLabels)
		if len(one.matchLabels) == 0 || t.enforcing(narrowed) != "" {
			return nil
		}
		each = append(each, reach{selector: narrowed, workload: one.workload, settles: true})
	}
	return each
}

// enforcing names pods of a selector that enforce policies by themselves, or what
// stands for proxies outside of Kubernetes; it is empty where there are none.
func (t *translator) enforcing(selector map[string]string) string {
	for _, one := range t.pods {
		if one.enforces && mesh.SelectsLabels(selector, one.labels) {
			return one.name
		}
	}
	return outsideReader(t.snapshot, t.namespace.Name, selector)
}

// moved is a selector for pods of the one given that a run has taken the sidecar
// from: their template refuses injection by label.
func moved(selector map[string]string) map[string]string {
	narrowed := map[string]string{label.SidecarInject.Name: "false"}
	for key, value := range selector {
		narrowed[key] = value
	}
	return narrowed
}
