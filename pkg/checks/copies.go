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
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// waypointCopies is about Services that are another way to pods that policies protect.
func waypointCopies() Check {
	return handing(Check{
		ID: "waypoint-copies", Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Looks for Services and ServiceEntries that reach ambient pods which policies protect, by a selector or by endpoints that somebody has written, and that have no copies of these policies at their waypoint.",
		Why: "To pods behind a waypoint the waypoint is the caller, and it is let through: what a policy for these pods says of callers, only a copy for the Service, " +
			"or for its waypoint, enforces (istio pilot/pkg/model/policyattachment.go). What names ports only, ztunnel enforces for the waypoint as well; but an ALLOW not where another lets " +
			"the waypoint through to all ports, as those that runs make do. A Service that is made after the enrolment has none, nor has one that is " +
			"put behind a waypoint by hand. What somebody has attached there stands for a copy where it has the same rules. Without a waypoint, ztunnel decides its calls by what it can tell of them.",
		Needs:  rootNamespaces(append(waypointSources(mesh.KindGatewayClass), mesh.KindAuthorizationPolicy, mesh.KindRequestAuthentication, mesh.HandWrittenEndpoints)...),
		Passed: "every Service that reaches protected pods has copies of what protects them",
	}, func(subject Subject) []Finding {
		policies := selectingPods(subject)
		var findings []Finding
		for _, one := range callables(subject) {
			if finding := copiesFinding(subject, one, policies); finding != nil {
				findings = append(findings, *finding)
			}
		}
		return findings
	})
}

// callable is a Service or a ServiceEntry of the namespace by whose own address pods are
// called.
type callable struct {
	object v1alpha1.ObjectReference
	labels map[string]string
	// selects is the field that says which pods are behind it: the selector, or the labels
	// where somebody else has written that.
	selects string
	reaches func(mesh.Pod) bool
}

func callables(subject Subject) []callable {
	written := map[v1alpha1.ObjectReference]map[types.UID]bool{}
	for _, endpoint := range subject.Snapshot.WrittenEndpoints() {
		if written[endpoint.Service] == nil {
			written[endpoint.Service] = map[types.UID]bool{}
		}
		written[endpoint.Service][endpoint.Pod.UID] = true
	}
	var all []callable
	for _, service := range subject.Snapshot.Services(subject.Namespace.Name) {
		if mesh.Headless(service) || service.Spec.Type == corev1.ServiceTypeExternalName ||
			mesh.NeverThroughWaypoint(service.Labels) || slices.Contains(subject.Handed.TakenOff, service.Name) {
			continue
		}
		one := callable{object: mesh.ServiceReference(service.Namespace, service.Name), labels: service.Labels, selects: "spec.selector"}
		// Beside a selector somebody may have written more.
		behind, selector := written[one.object], service.Spec.Selector
		one.reaches = func(pod mesh.Pod) bool {
			return behind[pod.UID] || len(selector) > 0 && mesh.SelectsLabels(selector, pod.Labels)
		}
		if len(selector) == 0 {
			one.selects = useWaypointField
		}
		all = append(all, one)
	}
	for _, entry := range subject.Snapshot.ServiceEntries() {
		selector := entry.Spec.GetWorkloadSelector().GetLabels()
		if entry.Namespace == subject.Namespace.Name && len(selector) > 0 {
			all = append(all, callable{
				object: mesh.ServiceEntryReference(entry.Namespace, entry.Name), labels: entry.Labels, selects: "spec.workloadSelector",
				reaches: func(pod mesh.Pod) bool { return mesh.SelectsLabels(selector, pod.Labels) },
			})
		}
	}
	return all
}

// reachesAny says whether an ambient pod that a policy selects is behind it.
func (c callable) reachesAny(subject Subject, policy map[string]string) bool {
	meant := capturing(subject)
	return slices.ContainsFunc(subject.Snapshot.Pods(subject.Namespace.Name), func(pod mesh.Pod) bool {
		return c.reaches(pod) && mesh.SelectsLabels(policy, pod.Labels) && meant(pod)
	})
}

// useWaypointField is the label that names a waypoint.
var useWaypointField = "metadata.labels[" + label.IoIstioUseWaypoint.Name + "]"

func copiesFinding(subject Subject, way callable, policies []selecting) *Finding {
	if subject.diverted(way.object) {
		return nil
	}
	gateway, behind := subject.Snapshot.WaypointOf(way.labels, subject.Namespace)
	planned := slices.ContainsFunc(subject.Handed.Fronted, func(fronted v1alpha1.FrontedService) bool { return same(fronted.Object, way.object) })
	var missing []string
	status := v1alpha1.StatusWarn
	for _, one := range policies {
		switch {
		case !way.reachesAny(subject, one.selector):
		case !behind:
			// Where nothing stands in for it anywhere, others say so.
			if one.field != "" && madeFrom(subject, one, func(targets []mesh.Target) bool { return len(targets) > 0 }) {
				missing = append(missing, one.object.String())
			}
		case !losesBehind(subject, one, way, gateway):
			// Ztunnel enforces it for calls from the waypoint as for any.
		case subject.judged(one.object) && planned, one.field != "" && !copied(subject, one) && !subject.judged(one.object):
			// What is about requests and was never handed over, layer7Enforced names.
		case !namesIdentity(one, gateway) && !copiedTo(subject, one, front{object: way.object, gateway: gateway}):
			found := standingFor(subject, one, []front{{object: way.object, gateway: gateway}})
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
		Status: status, Object: reference(way.object), Field: useWaypointField,
		Message: fmt.Sprintf("calls to it go through waypoint %s/%s, where nothing enforces %s: to its pods the waypoint is the caller", gateway.Namespace, gateway.Name, some(missing)),
		Remedy:  "kubectl ambient enroll -n " + subject.Namespace.Name + " makes the copies; or take it off the waypoint",
	}
	if !behind {
		finding.Status, finding.Field = v1alpha1.StatusWarn, way.selects
		finding.Message = "it reaches pods that a waypoint protects by " + some(missing) + ", and goes through none: ztunnel decides its calls by what it can tell"
		finding.Remedy = "kubectl ambient enroll service/" + way.object.Name + " -n " + way.object.Namespace + " gives it a waypoint and the copies"
		if way.object.Kind != mesh.KindService {
			finding.Remedy = "label it with " + label.IoIstioUseWaypoint.Name + ": kubectl ambient enroll -n " + way.object.Namespace + " makes the copies then"
		}
	}
	return finding
}

// losesBehind says whether a policy means less for calls from a waypoint than for those
// of the callers themselves: it reads requests, or goes by who calls. An ALLOW that does
// neither does as well where another lets the waypoint through, to whichever port.
func losesBehind(subject Subject, one selecting, way callable, gateway gatewayv1.Gateway) bool {
	if one.field != "" || goesByCaller(one.spec) {
		return true
	}
	return one.action == securityv1beta1.AuthorizationPolicy_ALLOW && slices.ContainsFunc(subject.Snapshot.AuthorizationPolicies(), func(policy *istiosecurityv1.AuthorizationPolicy) bool {
		lets := selecting{object: *securityReference(policy, mesh.KindAuthorizationPolicy), spec: &policy.Spec}
		return policy.Namespace == subject.Namespace.Name && policy.Spec.GetAction() == securityv1beta1.AuthorizationPolicy_ALLOW && len(mesh.TargetsOf(&policy.Spec)) == 0 &&
			!onlyLogs(policy) && way.reachesAny(subject, policy.Spec.GetSelector().GetMatchLabels()) && namesIdentity(lets, gateway)
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
