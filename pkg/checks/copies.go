package checks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/annotation"
	"istio.io/api/label"
	securityv1beta1 "istio.io/api/security/v1beta1"
	istiosecurityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// waypointCopies is about Services that are another way to pods that policies protect.
func waypointCopies() Check {
	return handing(Check{
		ID: "waypoint-copies", Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Looks for Services that reach ambient pods which policies protect, and that have no copies of these policies at their waypoint.",
		Why: "To pods behind a waypoint the waypoint is the caller, and it is let through: what a policy for these pods says of callers, only a copy for the Service, " +
			"or for its waypoint, enforces (istio pilot/pkg/model/policyattachment.go). What names ports only, ztunnel enforces for the waypoint as well; but an ALLOW not where another lets " +
			"the waypoint through to all ports, as those that runs make do. A Service that is made after the enrolment has none, nor has one that is " +
			"put behind a waypoint by hand. What somebody has attached there stands for a copy where it has the same rules. Without a waypoint, ztunnel decides its calls by what it can tell of them.",
		Needs:  rootNamespaces(append(waypointSources(mesh.KindGatewayClass), mesh.KindAuthorizationPolicy, mesh.KindRequestAuthentication)...),
		Passed: "every Service that reaches protected pods has copies of what protects them",
	}, func(subject Subject) []Finding {
		policies := selectingPods(subject)
		var findings []Finding
		for _, service := range subject.Snapshot.Services(subject.Namespace.Name) {
			if finding := copiesFinding(subject, service, policies); finding != nil {
				findings = append(findings, *finding)
			}
		}
		return findings
	})
}

func copiesFinding(subject Subject, service corev1.Service, policies []selecting) *Finding {
	object := mesh.ServiceReference(service.Namespace, service.Name)
	if service.Spec.ClusterIP == corev1.ClusterIPNone || service.Spec.Type == corev1.ServiceTypeExternalName || subject.diverted(object) ||
		mesh.NeverThroughWaypoint(service.Labels) || slices.Contains(subject.Handed.TakenOff, service.Name) {
		return nil
	}
	gateway, behind := subject.Snapshot.WaypointOf(service.Labels, subject.Namespace)
	planned := slices.ContainsFunc(subject.Handed.Fronted, func(fronted v1alpha1.FrontedService) bool { return same(fronted.Object, object) })
	var missing []string
	status := v1alpha1.StatusWarn
	for _, one := range policies {
		switch {
		case !selectsTogether(subject, service.Spec.Selector, one.selector):
		case !behind:
			// Where nothing stands in for it anywhere, others say so.
			if one.field != "" && madeFrom(subject, one, func(targets []mesh.Target) bool { return len(targets) > 0 }) {
				missing = append(missing, one.object.String())
			}
		case !losesBehind(subject, one, service, gateway):
			// Ztunnel enforces it for calls from the waypoint as for any.
		case subject.judged(one.object) && planned, one.field != "" && !copied(subject, one) && !subject.judged(one.object):
			// What is about requests and was never handed over, layer7Enforced names.
		case !namesIdentity(one, gateway) && !copiedTo(subject, one, front{object: object, gateway: gateway}):
			found := standingFor(subject, one, []front{{object: object, gateway: gateway}})
			if len(found.without) == 0 {
				continue
			}
			name := one.object.String()
			if len(found.others) > 0 {
				name += " (" + found.text() + ")"
			}
			if found.status(one) == v1alpha1.StatusFail {
				status = v1alpha1.StatusFail
			}
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	finding := &Finding{
		Status: status, Object: reference(object), Field: "metadata.labels[" + label.IoIstioUseWaypoint.Name + "]",
		Message: fmt.Sprintf("calls to it go through waypoint %s/%s, where nothing enforces %s: to its pods the waypoint is the caller", gateway.Namespace, gateway.Name, some(missing)),
		Remedy:  "kubectl ambient enroll -n " + subject.Namespace.Name + " makes the copies; or take the Service off the waypoint",
	}
	if !behind {
		finding.Status, finding.Field = v1alpha1.StatusWarn, "spec.selector"
		finding.Message = "it reaches pods that a waypoint protects by " + some(missing) + ", and goes through none: ztunnel decides its calls by what it can tell"
		finding.Remedy = "kubectl ambient enroll service/" + service.Name + " -n " + service.Namespace + " gives it a waypoint and the copies"
	}
	return finding
}

// losesBehind says whether a policy means less for calls from a waypoint than for those
// of the callers themselves: it reads requests, or goes by who calls. An ALLOW that does
// neither does as well where another lets the waypoint through, to whichever port.
func losesBehind(subject Subject, one selecting, service corev1.Service, gateway gatewayv1.Gateway) bool {
	if one.field != "" || goesByCaller(one.spec) {
		return true
	}
	return one.action == securityv1beta1.AuthorizationPolicy_ALLOW && slices.ContainsFunc(subject.Snapshot.AuthorizationPolicies(), func(policy *istiosecurityv1.AuthorizationPolicy) bool {
		lets := selecting{object: *securityReference(policy, mesh.KindAuthorizationPolicy), spec: &policy.Spec}
		return policy.Namespace == subject.Namespace.Name && policy.Spec.GetAction() == securityv1beta1.AuthorizationPolicy_ALLOW && len(mesh.TargetsOf(&policy.Spec)) == 0 &&
			!onlyLogs(policy) && selectsTogether(subject, service.Spec.Selector, policy.Spec.GetSelector().GetMatchLabels()) && namesIdentity(lets, gateway)
	})
}

// goesByCaller says whether a policy has a rule that names callers.
func goesByCaller(spec *securityv1beta1.AuthorizationPolicy) bool {
	return slices.ContainsFunc(spec.GetRules(), func(rule *securityv1beta1.Rule) bool {
		return len(rule.GetFrom()) > 0 || slices.ContainsFunc(rule.GetWhen(), func(when *securityv1beta1.Condition) bool {
			return strings.HasPrefix(when.GetKey(), "source.")
		})
	})
}

// copiedTo says whether a run has made a copy of a policy that holds for calls on a way.
func copiedTo(subject Subject, one selecting, way front) bool {
	return madeFrom(subject, one, func(targets []mesh.Target) bool {
		return slices.ContainsFunc(targets, func(target mesh.Target) bool { return way.meets(subject, target) })
	})
}

// namesIdentity says whether a policy is written with a waypoint in mind: it names the
// identity that the waypoint calls pods by.
func namesIdentity(one selecting, gateway gatewayv1.Gateway) bool {
	account := cmp.Or(gateway.Annotations[annotation.GatewayServiceAccount.Name], gateway.Name)
	for _, rule := range one.spec.GetRules() {
		for _, from := range rule.GetFrom() {
			source := from.GetSource()
			named := slices.ContainsFunc(slices.Concat(source.GetPrincipals(), source.GetNotPrincipals()), func(principal string) bool {
				return strings.HasSuffix(principal, "/ns/"+gateway.Namespace+"/sa/"+account)
			})
			accounts := slices.Concat(source.GetServiceAccounts(), source.GetNotServiceAccounts())
			if named || slices.Contains(accounts, gateway.Namespace+"/"+account) || gateway.Namespace == one.object.Namespace && slices.Contains(accounts, account) {
				return true
			}
		}
	}
	return false
}
