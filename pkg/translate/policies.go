package translate

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"google.golang.org/protobuf/proto"
	"istio.io/api/annotation"
	"istio.io/api/label"
	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
)

const securityVersion = "security.istio.io/v1"

// layer4Key says whether ztunnel enforces a condition of that key.
func layer4Key(key string) bool {
	return len(layer7Of(&securityv1beta1.Rule{When: []*securityv1beta1.Condition{{Key: key}}})) == 0
}

// layer7Of are the fields of a rule that ztunnel does not enforce.
func layer7Of(rule *securityv1beta1.Rule) []string {
	return mesh.Layer7Fields(&securityv1beta1.AuthorizationPolicy{Rules: []*securityv1beta1.Rule{rule}})
}

func authorizationReference(policy *clientsecurityv1.AuthorizationPolicy) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: securityVersion, Kind: mesh.KindAuthorizationPolicy, Namespace: policy.Namespace, Name: policy.Name}
}

// dryRun says whether a policy only logs what it would do. One with action CUSTOM
// refuses all the same (istio pilot/pkg/security/authz/builder/builder.go: its rules
// stay among those that are enforced).
func dryRun(policy *clientsecurityv1.AuthorizationPolicy) bool {
	dry, err := strconv.ParseBool(policy.Annotations[annotation.IoIstioDryRun.Name])
	return err == nil && dry && policy.Spec.GetAction() != securityv1beta1.AuthorizationPolicy_CUSTOM
}

// authorization carries the AuthorizationPolicies over that reach pods behind the
// waypoint: a copy for each Service at the waypoint, and what the originals need.
func (t *translator) authorization() {
	var applying []*clientsecurityv1.AuthorizationPolicy
	for _, policy := range t.snapshot.AuthorizationPolicies() {
		if ours(policy.Labels) || len(mesh.TargetsOf(&policy.Spec)) > 0 || !t.inReach(policy.Namespace) {
			continue
		}
		if !t.reaches(policy.Spec.GetSelector().GetMatchLabels()) {
			// It reaches nobody here, and has nothing to carry over.
			t.translation.Carried[authorizationReference(policy)] = true
			continue
		}
		if policy.Namespace != t.namespace.Name {
			// Its copies will be in another namespace.
			policy = located(policy)
		}
		applying = append(applying, policy)
	}
	for _, policy := range applying {
		t.copyAuthorization(policy)
	}
	t.admitWaypoints(applying)
	for _, policy := range applying {
		t.exemptWaypoints(policy)
	}
	for _, policy := range applying {
		t.guard(policy)
	}
	t.machines(applying)
	t.authorizers(applying)
}

// inReach says whether policies of a namespace apply to pods of the one at hand.
func (t *translator) inReach(namespace string) bool {
	return namespace == t.namespace.Name || slices.Contains(t.snapshot.RootNamespaces(), namespace)
}

// ours says whether an object was made by a run.
func ours(labels map[string]string) bool { return labels[v1alpha1.OriginLabel] != "" }

// behind returns the services with a waypoint whose pods a selector selects.
func (t *translator) behind(selector map[string]string) []*fronted {
	var reached []*fronted
	for _, service := range t.fronted {
		if !t.beside(service.reference) && selectsAny(selector, service.pods) {
			reached = append(reached, service)
		}
	}
	return reached
}

// copyAuthorization attaches copies of a policy to the services whose pods it
// selects. Sidecars ignore them, ztunnel as well (istio
// pilot/pkg/model/policyattachment.go), so that they can be there beforehand.
func (t *translator) copyAuthorization(policy *clientsecurityv1.AuthorizationPolicy) {
	origin := authorizationReference(policy)
	services := t.behind(policy.Spec.GetSelector().GetMatchLabels())
	if len(services) == 0 {
		t.unfronted(policy)
		return
	}
	t.translation.Carried[origin] = true
	for _, pods := range services {
		if pods.direct {
			t.copyDirect(policy, origin, pods)
		}
	}
	services = slices.DeleteFunc(services, func(service *fronted) bool { return service.direct })
	if field := destinationAddress(&policy.Spec); field != "" && len(services) > 0 {
		t.problem(origin, field, "the address of a pod means nothing at a waypoint, where the destination is the Service's address",
			"name ports or select pods by labels instead")
	}
	name := t.reference(mesh.KindAuthorizationPolicy, generatedName(policy.Name, t.options.Waypoint, policy.Namespace))
	if policy.Spec.GetSelector() == nil && t.forWaypoint(name, services) && !namesPorts(&policy.Spec) {
		spec := t.copied(policy, nil)
		spec.TargetRefs = []*typev1beta1.PolicyTargetReference{gatewayTarget(t.options.Waypoint)}
		t.addCopy(policy, origin, spec, v1alpha1.ObjectReference{}, name)
		return
	}
	for _, service := range services {
		if !dryRun(policy) {
			t.wholeService(origin, policy.Spec.GetSelector().GetMatchLabels(), service)
		}
		spec := t.copied(policy, service.ports)
		spec.TargetRefs = []*typev1beta1.PolicyTargetReference{service.target()}
		t.addCopy(policy, origin, spec, service.reference, t.attachedTo(policy, service))
	}
}

// attachedTo names the copy of a policy for a service, or for pods.
func (t *translator) attachedTo(policy *clientsecurityv1.AuthorizationPolicy, to *fronted) v1alpha1.ObjectReference {
	return t.attached(mesh.KindAuthorizationPolicy, generatedName(policy.Name, to.reference.Name, policy.Namespace), to)
}

// wholeService wants a selector to select all pods of a service.
func (t *translator) wholeService(origin v1alpha1.ObjectReference, selector map[string]string, service *fronted) {
	other := unselected(selector, service.pods)
	if other != "" && service.direct {
		t.problem(origin, "spec.selector", "it selects some pods that waypoint "+service.waypoint+" would decide for and not others ("+other+"): the waypoint decides for all of them alike",
			"let it select all pods of the headless Service, or give those that it selects a Service of their own")
		return
	}
	if other != "" {
		t.problem(origin, "spec.selector", "it selects some pods of Service "+service.reference.Name+" and not others ("+other+"): the waypoint decides for the Service as a whole",
			"let it select all pods of the Service, or give those that it selects a Service of their own")
	}
}

// unselected names pods of a service that a selector leaves out; it is empty where
// there are none. Gateways enforce what selects them themselves.
func unselected(selector map[string]string, behind []pods) string {
	for _, one := range behind {
		if !one.proxy && !mesh.SelectsLabels(selector, one.labels) {
			return one.name
		}
	}
	return ""
}

// unfronted: no Service with a waypoint leads to the pods of a policy. What of it
// needs HTTP cannot be decided by anybody.
func (t *translator) unfronted(policy *clientsecurityv1.AuthorizationPolicy) {
	origin, fields := authorizationReference(policy), mesh.Layer7Fields(&policy.Spec)
	action := policy.Spec.GetAction()
	switch {
	case dryRun(policy) || action == securityv1beta1.AuthorizationPolicy_AUDIT || t.onlyMachines(policy.Spec.GetSelector().GetMatchLabels()):
		t.translation.Carried[origin] = true
	case t.givenUp(policy.Spec.GetSelector().GetMatchLabels()):
		// The loss is listed with the services that get no waypoint.
	case action == securityv1beta1.AuthorizationPolicy_CUSTOM:
		fields = append([]string{"spec.action"}, fields...)
		fallthrough
	case len(fields) > 0:
		t.translation.Losses = append(t.translation.Losses, Loss{
			Object: origin, Field: fields[0], Security: true,
			Message: "no Service leads to its pods, and so no waypoint: ztunnel refuses what it cannot decide without HTTP",
		})
	}
}

// onlyMachines says whether a selector selects nothing but virtual machines, whose
// sidecars go on to decide.
func (t *translator) onlyMachines(selector map[string]string) bool {
	return !slices.ContainsFunc(t.pods, func(one pods) bool { return !one.machine && mesh.SelectsLabels(selector, one.labels) })
}

// addCopy adds a copy, unless it would say nothing: only an ALLOW policy without
// rules does, it allows nothing.
func (t *translator) addCopy(policy *clientsecurityv1.AuthorizationPolicy, origin v1alpha1.ObjectReference, spec *securityv1beta1.AuthorizationPolicy, service, reference v1alpha1.ObjectReference) {
	if spec.GetAction() != securityv1beta1.AuthorizationPolicy_ALLOW && len(spec.GetRules()) == 0 {
		return
	}
	content := t.policyAt(reference, origin, spec)
	if value, set := policy.Annotations[annotation.IoIstioDryRun.Name]; set {
		annotate(content, annotation.IoIstioDryRun.Name, value)
	}
	if value, set := policy.Labels[label.IoIstioRev.Name]; set {
		labelled(content, label.IoIstioRev.Name, value)
	}
	t.translation.Before = append(t.translation.Before, Object{
		Reference: reference, Content: content, Origin: origin, Service: service,
		Why: "does at the waypoint what " + origin.String() + " does in sidecars",
	})
}

// policy writes an AuthorizationPolicy of the namespace.
func (t *translator) policy(name string, origin v1alpha1.ObjectReference, spec *securityv1beta1.AuthorizationPolicy) map[string]any {
	return t.policyAt(t.reference(mesh.KindAuthorizationPolicy, name), origin, spec)
}

// policyAt writes an AuthorizationPolicy, its action even where it is the default:
// what is read in a hurry should say what it does.
func (t *translator) policyAt(reference, origin v1alpha1.ObjectReference, spec *securityv1beta1.AuthorizationPolicy) map[string]any {
	content := t.object(reference, origin, spec)
	if fields, is := content["spec"].(map[string]any); is {
		fields["action"] = spec.GetAction().String()
	}
	return content
}

// copied is a policy's spec without what it selects, for calls to a Service with
// these ports.
func (t *translator) copied(policy *clientsecurityv1.AuthorizationPolicy, ports portMap) *securityv1beta1.AuthorizationPolicy {
	copied := &securityv1beta1.AuthorizationPolicy{Action: policy.Spec.GetAction(), ActionDetail: policy.Spec.GetActionDetail()}
	for _, rule := range policy.Spec.GetRules() {
		if translated := behindService(rule, policy.Spec.GetAction(), ports, t.principals); translated != nil {
			qualify(translated, policy.Namespace)
			copied.Rules = append(copied.Rules, translated)
		}
	}
	return copied
}

// forWaypoint says whether what is for all pods of the namespace, and so for some
// services, is attached to their waypoint, under a name.
func (t *translator) forWaypoint(name v1alpha1.ObjectReference, services []*fronted) bool {
	return t.wholeWaypoint(services) || t.coveredAlready(name, services)
}

func gatewayTarget(waypoint string) *typev1beta1.PolicyTargetReference {
	return &typev1beta1.PolicyTargetReference{Group: gatewayGroup, Kind: mesh.KindGateway, Name: waypoint}
}

// wholeWaypoint says whether some services are all that a waypoint of the namespace
// is for: a policy for all of them can then be attached to the waypoint itself, and
// holds for Services that come to use it later. It would hold for those of other
// namespaces as well, where any of them uses the waypoint.
func (t *translator) wholeWaypoint(services []*fronted) bool {
	shared := slices.ContainsFunc(t.snapshot.WaypointUsedBy(t.options.WaypointNamespace, t.options.Waypoint), func(user v1alpha1.ObjectReference) bool {
		return user.Namespace != t.namespace.Name && user != t.namespace.Reference()
	})
	all := 0
	for _, one := range t.fronted {
		if !one.direct {
			all++
		}
	}
	return !shared && t.options.WaypointNamespace == t.namespace.Name && len(services) > 0 && len(services) == all &&
		!slices.ContainsFunc(services, func(service *fronted) bool {
			return service.waypoint != t.options.WaypointNamespace+"/"+t.options.Waypoint || service.reference.Kind != mesh.KindService
		})
}

func namesPorts(spec *securityv1beta1.AuthorizationPolicy) bool {
	for _, rule := range spec.GetRules() {
		if anyPorts(rule) || slices.ContainsFunc(rule.GetWhen(), func(condition *securityv1beta1.Condition) bool { return condition.GetKey() == keyDestinationPort }) {
			return true
		}
	}
	return false
}

func destinationAddress(spec *securityv1beta1.AuthorizationPolicy) string {
	for i, rule := range spec.GetRules() {
		for j, condition := range rule.GetWhen() {
			if condition.GetKey() == keyDestinationIP {
				return fmt.Sprintf("spec.rules[%d].when[%d].key (%s)", i, j, keyDestinationIP)
			}
		}
	}
	return ""
}

// admitWaypoints lets waypoints call the pods that any ALLOW policy selects: to
// ztunnel and to sidecars they are the callers. It has the selector of the policy,
// so that it makes no pod refuse anything that no ALLOW policy selected before.
func (t *translator) admitWaypoints(policies []*clientsecurityv1.AuthorizationPolicy) {
	done := map[string]bool{}
	wideFirst := slices.Clone(policies)
	slices.SortStableFunc(wideFirst, func(a, b *clientsecurityv1.AuthorizationPolicy) int {
		return cmp.Compare(min(1, len(a.Spec.GetSelector().GetMatchLabels())), min(1, len(b.Spec.GetSelector().GetMatchLabels())))
	})
	for _, policy := range wideFirst {
		selector := policy.Spec.GetSelector().GetMatchLabels()
		if policy.Spec.GetAction() != securityv1beta1.AuthorizationPolicy_ALLOW || dryRun(policy) || len(t.behind(selector)) == 0 {
			continue
		}
		key := selectorKey(selector)
		if done[key] || done[selectorKey(nil)] {
			continue
		}
		done[key] = true
		name := mesh.FromWaypointPrefix + hash(key)
		origin := authorizationReference(policy)
		spec := &securityv1beta1.AuthorizationPolicy{
			Action: securityv1beta1.AuthorizationPolicy_ALLOW, Selector: workloadSelector(selector),
			Rules: []*securityv1beta1.Rule{{From: []*securityv1beta1.Rule_From{{Source: &securityv1beta1.Source{Principals: t.principals}}}}},
		}
		t.translation.Before = append(t.translation.Before, Object{
			Reference: t.reference(mesh.KindAuthorizationPolicy, name), Origin: origin,
			Content: t.policy(name, origin, spec),
			Why:     "admits the waypoint to pods that an ALLOW policy selects",
		})
	}
}

// exemptWaypoints lets a DENY policy pass over calls from a waypoint that it would
// refuse although it would not have refused the client: where it goes by who calls,
// which behind a waypoint is the waypoint, or where ztunnel, which drops what needs
// HTTP, refuses too much of it. CUSTOM policies cannot go by who calls (istio
// pkg/config/validation, ValidateAuthorizationPolicy): while a sidecar is behind the
// waypoint, the external authorizer is asked at both.
func (t *translator) exemptWaypoints(policy *clientsecurityv1.AuthorizationPolicy) {
	if policy.Spec.GetAction() != securityv1beta1.AuthorizationPolicy_DENY || dryRun(policy) || len(t.behind(policy.Spec.GetSelector().GetMatchLabels())) == 0 {
		return
	}
	amended, _ := proto.Clone(&policy.Spec).(*securityv1beta1.AuthorizationPolicy)
	var first string
	for i, rule := range amended.GetRules() {
		if !t.refusesWaypoint(rule, policy.Namespace) {
			continue
		}
		exempt(rule, t.principals)
		if first == "" {
			first = fmt.Sprintf("spec.rules[%d]", i)
		}
	}
	if proto.Equal(amended, &policy.Spec) {
		return
	}
	origin := authorizationReference(policy)
	if policy.Namespace != t.namespace.Name {
		t.problem(origin, first, "it applies to the whole mesh and would refuse calls from the waypoint, whoever calls it",
			fmt.Sprintf("add the waypoint to from.source.notPrincipals of the rule: %s", t.principals[0]))
		return
	}
	whole, found := t.snapshot.Object(origin)
	if !found {
		t.problem(origin, first, "it is not known in whole, so that the waypoint cannot be exempted from it", "plan from the cluster or from whole manifests")
		return
	}
	t.translation.Amended = append(t.translation.Amended, Object{
		Reference: origin, Content: t.withSpec(whole, amended), Origin: origin,
		Why: "exempts the waypoint, which has decided by the client already",
	})
}

// refusesWaypoint says whether a rule may match a call from a waypoint for another
// reason than what the client asks for.
func (t *translator) refusesWaypoint(rule *securityv1beta1.Rule, namespace string) bool {
	matches := func(principal string) bool { return mayMatchSource(rule, principal, namespace) }
	if !slices.ContainsFunc(t.principals, func(principal string) bool { return slices.ContainsFunc(t.alsoKnownAs(principal), matches) }) {
		return false
	}
	return goesBySource(rule) || len(layer7Of(rule)) > 0 && (anyPorts(rule) || len(layer4(rule).GetWhen()) > 0)
}

// alsoKnownAs are the principals by which a policy may mean one of the mesh's own: that of
// any of its trust domains, and cluster.local whatever those are (istio
// pilot/pkg/security/trustdomain/bundle.go, ReplaceTrustDomainAliases).
func (t *translator) alsoKnownAs(principal string) []string {
	_, rest, _ := strings.Cut(principal, "/")
	known := []string{principal, mesh.DefaultTrustDomain + "/" + rest}
	for _, configuration := range t.snapshot.Configurations() {
		for _, alias := range configuration.TrustDomainAliases {
			known = append(known, alias+"/"+rest)
		}
	}
	return known
}

// anyPorts says whether any operation of a rule names ports: of several ztunnel
// passes over those of which nothing is left without HTTP, and keeps the others.
func anyPorts(rule *securityv1beta1.Rule) bool {
	return slices.ContainsFunc(rule.GetTo(), func(to *securityv1beta1.Rule_To) bool {
		return len(to.GetOperation().GetPorts())+len(to.GetOperation().GetNotPorts()) > 0
	})
}

func workloadSelector(labels map[string]string) *typev1beta1.WorkloadSelector {
	if len(labels) == 0 {
		return nil
	}
	return &typev1beta1.WorkloadSelector{MatchLabels: labels}
}

// Unexempted is the spec of a DENY policy without what an enrolment has put into it
// so that it passes over calls from waypoints, given by their identities. It is false
// where the policy exempts none.
func Unexempted(policy *clientsecurityv1.AuthorizationPolicy, waypoints []string) (map[string]any, bool) {
	if policy.Spec.GetAction() != securityv1beta1.AuthorizationPolicy_DENY {
		return nil, false
	}
	former, _ := proto.Clone(&policy.Spec).(*securityv1beta1.AuthorizationPolicy)
	for i, rule := range former.GetRules() {
		former.Rules[i] = withoutExemption(rule, waypoints)
	}
	if proto.Equal(former, &policy.Spec) {
		return nil, false
	}
	spec, err := plain(former)
	return spec, err == nil
}
