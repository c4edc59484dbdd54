package translate

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	securityv1beta1 "istio.io/api/security/v1beta1"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// authorizer is a Service, or a ServiceEntry, that CUSTOM policies leave calls to.
type authorizer struct {
	object   v1alpha1.ObjectReference
	selector map[string]string
	// local is true where each proxy asks at its own pod.
	local bool
	// failOpen is true where calls are let in that it cannot be asked about.
	failOpen bool
}

// authorizers looks at who asks the external authorizers of CUSTOM policies. A sidecar
// does so as its own pod, and a waypoint as itself: what admits the pods to the authorizer
// need not admit the waypoint: the filter calls the provider's cluster, as a call of the
// proxy's own (istio pilot/pkg/security/authz/builder/extauthz.go, buildExtAuthzHTTP).
func (t *translator) authorizers(applying []*clientsecurityv1.AuthorizationPolicy) {
	for _, policy := range applying {
		behind := t.behind(policy.Spec.GetSelector().GetMatchLabels())
		if policy.Spec.GetAction() != securityv1beta1.AuthorizationPolicy_CUSTOM || len(policy.Spec.GetRules()) == 0 || len(behind) == 0 {
			continue
		}
		of, known := t.authorizer(policy.Spec.GetProvider().GetName())
		if !known {
			continue
		}
		var waypoints []string
		for _, service := range behind {
			waypoints = append(waypoints, service.waypoint)
		}
		slices.Sort(waypoints)
		for _, waypoint := range slices.Compact(waypoints) {
			t.asked(policy, of, waypoint)
		}
	}
}

// asked is about a waypoint that asks an authorizer for a policy.
func (t *translator) asked(policy *clientsecurityv1.AuthorizationPolicy, of authorizer, waypoint string) {
	const field = "spec.provider.name"
	origin := authorizationReference(policy)
	outcome := "each call that it is to decide is refused"
	if of.failOpen {
		outcome = "each call that it is to decide is let in without it (failOpen)"
	}
	if of.local {
		t.problem(origin, field, "each sidecar asks its external authorizer at its own pod ("+of.object.String()+"), and waypoint "+waypoint+" would ask at the waypoint's, where nobody answers: "+outcome,
			"run the authorizer behind a Service and have extensionProviders name that, or leave the services out by --waypoint-skip")
		return
	}
	namespace, name, _ := strings.Cut(waypoint, "/")
	asker := t.principalOf(namespace, name)
	refusing, certain := t.refusing(of, asker, t.accountsOf(policy.Spec.GetSelector().GetMatchLabels()))
	if refusing == nil {
		return
	}
	remedy := "have a rule of it admit principal " + asker + ", too, before this"
	if refusing.Spec.GetAction() == securityv1beta1.AuthorizationPolicy_DENY {
		remedy = "exempt principal " + asker + " from it (notPrincipals) before this"
	}
	comes, by := "waypoint "+waypoint+" comes to ask its external authorizer, "+of.object.String()+", in place of the pods", authorizationReference(refusing).String()
	if certain {
		t.problem(origin, field, comes+", and "+by+" refuses that: "+outcome, remedy)
		return
	}
	t.translation.Losses = append(t.translation.Losses, Loss{
		Object: origin, Field: field, Message: comes + ", and " + by + " may refuse that: then " + outcome + "; " + remedy,
	})
}

// authorizer finds whom proxies ask by an extension provider of a name: a Service or a
// ServiceEntry by its host (istio pilot/pkg/model/telemetry_logging.go, LookupCluster).
func (t *translator) authorizer(name string) (authorizer, bool) {
	for _, configuration := range t.snapshot.Configurations() {
		if provider, is := configuration.Authorizer(name); is {
			if of, known := t.authorizerAt(provider.Service); known {
				of.failOpen = provider.FailOpen
				return of, true
			}
		}
	}
	return authorizer{}, false
}

func (t *translator) authorizerAt(service string) (authorizer, bool) {
	in, host, qualified := strings.Cut(service, "/")
	if !qualified {
		in, host = "", service
	}
	for _, one := range t.snapshot.AllServices() {
		if (in == "" || in == one.Namespace) && mesh.HostMeans(host, "", one.Name, one.Namespace) {
			return authorizer{object: mesh.ServiceReference(one.Namespace, one.Name), selector: one.Spec.Selector}, true
		}
	}
	for _, entry := range t.snapshot.ServiceEntries() {
		if (in == "" || in == entry.Namespace) && slices.ContainsFunc(entry.Spec.GetHosts(), func(own string) bool { return strings.EqualFold(own, host) }) {
			return authorizer{
				object: mesh.ServiceEntryReference(entry.Namespace, entry.Name), selector: entry.Spec.GetWorkloadSelector().GetLabels(), local: local(&entry.Spec),
			}, true
		}
	}
	return authorizer{}, false
}

// local says whether all endpoints of a ServiceEntry are at whoever calls.
func local(entry *networkingv1alpha3.ServiceEntry) bool {
	return len(entry.GetEndpoints()) > 0 && !slices.ContainsFunc(entry.GetEndpoints(), func(endpoint *networkingv1alpha3.WorkloadEntry) bool {
		address, err := netip.ParseAddr(endpoint.GetAddress())
		loopback := err == nil && address.IsLoopback()
		return !loopback && endpoint.GetAddress() != "localhost" && !strings.HasPrefix(endpoint.GetAddress(), "unix://")
	})
}

// accountsOf are the identities of the workloads that a selector selects.
func (t *translator) accountsOf(selector map[string]string) []string {
	var principals []string
	for _, workload := range t.snapshot.Workloads(t.namespace.Name) {
		if mesh.SelectsLabels(selector, workload.Template.Labels) && !workload.IsGateway() {
			account := cmp.Or(workload.Template.Spec.ServiceAccountName, "default")
			principals = append(principals, t.snapshot.TrustDomain()+"/ns/"+t.namespace.Name+"/sa/"+account)
		}
	}
	return principals
}

// refusing is a policy that refuses a waypoint at an authorizer, and does not refuse all
// of those who ask today; nil where there is none. It is certain where that depends on
// nothing but who calls.
func (t *translator) refusing(of authorizer, asker string, today []string) (refusing *clientsecurityv1.AuthorizationPolicy, certain bool) {
	if t.behindOwn(of) {
		// What stands in front of its pods is let through to them.
		return nil, false
	}
	for _, set := range t.meshed(of) {
		var allowing []*clientsecurityv1.AuthorizationPolicy
		for _, policy := range t.snapshot.AuthorizationPolicies() {
			if !t.governs(policy, of.object.Namespace, set) {
				continue
			}
			switch policy.Spec.GetAction() {
			case securityv1beta1.AuthorizationPolicy_ALLOW:
				allowing = append(allowing, policy)
			case securityv1beta1.AuthorizationPolicy_DENY:
				for _, rule := range policy.Spec.GetRules() {
					if goesBySource(rule) && t.mayBe(rule, policy, asker) && !t.mayBeAll(rule, policy, today) {
						return policy, goesByIdentityAlone(rule)
					}
				}
			default:
			}
		}
		admitting := func(principal string) int {
			return slices.IndexFunc(allowing, func(policy *clientsecurityv1.AuthorizationPolicy) bool {
				return slices.ContainsFunc(policy.Spec.GetRules(), func(rule *securityv1beta1.Rule) bool { return t.mayBe(rule, policy, principal) })
			})
		}
		for _, principal := range today {
			if i := admitting(principal); i >= 0 && admitting(asker) < 0 {
				return allowing[i], true
			}
		}
	}
	return nil, false
}

// behindOwn says whether an authorizer is a Service of the namespace with a waypoint.
func (t *translator) behindOwn(of authorizer) bool {
	return slices.ContainsFunc(t.translation.Services, func(service ServiceWaypoint) bool {
		return service.Need.Service == of.object && service.WaypointName != ""
	})
}

// meshed are the labels of the authorizer's pods that are in the mesh, where policies
// for them are enforced.
func (t *translator) meshed(of authorizer) []map[string]string {
	var sets []map[string]string
	for _, pod := range t.snapshot.AllPods() {
		inMesh := pod.HasSidecar() || pod.Redirected()
		if pod.Namespace == of.object.Namespace && pod.Live() && inMesh && len(of.selector) > 0 && mesh.SelectsLabels(of.selector, pod.Labels) {
			sets = append(sets, pod.Labels)
		}
	}
	return sets
}

// governs says whether a policy decides calls to pods of a namespace.
func (t *translator) governs(policy *clientsecurityv1.AuthorizationPolicy, namespace string, set map[string]string) bool {
	reaches := policy.Namespace == namespace || slices.Contains(t.snapshot.RootNamespaces(), policy.Namespace)
	return reaches && !dryRun(policy) && len(mesh.TargetsOf(&policy.Spec)) == 0 && mesh.SelectsLabels(policy.Spec.GetSelector().GetMatchLabels(), set)
}

// mayBe says whether the sources of a policy's rule may match a principal by any of its
// names.
func (t *translator) mayBe(rule *securityv1beta1.Rule, policy *clientsecurityv1.AuthorizationPolicy, principal string) bool {
	return slices.ContainsFunc(t.alsoKnownAs(principal), func(known string) bool { return mayMatchSource(rule, known, policy.Namespace) })
}

// mayBeAll says so of several principals, if there are any.
func (t *translator) mayBeAll(rule *securityv1beta1.Rule, policy *clientsecurityv1.AuthorizationPolicy, principals []string) bool {
	return len(principals) > 0 && !slices.ContainsFunc(principals, func(principal string) bool { return !t.mayBe(rule, policy, principal) })
}

// goesByIdentityAlone says whether nothing but the identity of who calls decides whether a
// rule matches.
func goesByIdentityAlone(rule *securityv1beta1.Rule) bool {
	return len(rule.GetTo()) == 0 && len(rule.GetWhen()) == 0 && !slices.ContainsFunc(rule.GetFrom(), func(from *securityv1beta1.Rule_From) bool {
		source := from.GetSource()
		return len(source.GetIpBlocks())+len(source.GetNotIpBlocks())+len(source.GetRemoteIpBlocks())+len(source.GetNotRemoteIpBlocks())+
			len(source.GetRequestPrincipals())+len(source.GetNotRequestPrincipals()) > 0
	})
}
