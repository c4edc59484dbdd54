package checks

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"google.golang.org/protobuf/proto"
	"istio.io/api/annotation"
	securityv1beta1 "istio.io/api/security/v1beta1"
	istiosecurityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// front is a way to pods that leads through a waypoint: a Service or ServiceEntry, or,
// where it is neither, the pods' own address.
type front struct {
	object  v1alpha1.ObjectReference
	gateway gatewayv1.Gateway
}

// text names the way.
func (f front) text() string {
	if f.object.Kind == "" {
		return "the address of pods behind waypoint " + f.gateway.Namespace + "/" + f.gateway.Name
	}
	return f.object.String()
}

// meets says whether what is attached to a target, in the namespace at hand, holds for
// calls on this way.
func (f front) meets(subject Subject, target mesh.Target) bool {
	switch {
	case target.Is(ofServices), target.Is(ofEntries):
		return target.Kind == f.object.Kind && target.Name == f.object.Name
	case target.Is(ofGateways):
		return target.Name == f.gateway.Name && f.gateway.Namespace == subject.Namespace.Name
	default:
		return target.Is(ofTheClass)
	}
}

// waysTo are the ways to a pod that lead through a waypoint. called says whether there
// are Services by which it is called at all.
func waysTo(subject Subject, pod mesh.Pod) (ways []front, called bool) {
	for _, service := range subject.Snapshot.Services(subject.Namespace.Name) {
		if service.Spec.Type == corev1.ServiceTypeExternalName || len(service.Spec.Selector) == 0 || !mesh.SelectsLabels(service.Spec.Selector, pod.Labels) {
			continue
		}
		called = true
		gateway, behind := subject.Snapshot.WaypointOf(service.Labels, subject.Namespace)
		// Calls to a headless Service go to the address of a pod.
		if behind && !mesh.Headless(service) {
			ways = append(ways, front{object: mesh.ServiceReference(service.Namespace, service.Name), gateway: gateway})
		}
	}
	for _, entry := range subject.Snapshot.ServiceEntries() {
		labels := entry.Spec.GetWorkloadSelector().GetLabels()
		if entry.Namespace != subject.Namespace.Name || len(labels) == 0 || !mesh.SelectsLabels(labels, pod.Labels) {
			continue
		}
		called = true
		if gateway, behind := subject.Snapshot.WaypointOf(entry.Labels, subject.Namespace); behind {
			ways = append(ways, front{object: mesh.ServiceEntryReference(entry.Namespace, entry.Name), gateway: gateway})
		}
	}
	if gateway, behind := subject.Snapshot.WorkloadWaypointOf(pod.Labels, subject.Namespace); behind {
		ways = append(ways, front{gateway: gateway})
	}
	return ways, called
}

// attachment is a policy that somebody has attached to a waypoint, or to what goes through
// one, in no run of ours.
type attachment struct {
	object  v1alpha1.ObjectReference
	targets []mesh.Target
	// same is true where it says what the policy says that it is compared with.
	same bool
}

// attachedLike are those of the same kind and action as a policy that goes by a selector.
func attachedLike(subject Subject, one selecting) []attachment {
	var all []attachment
	if one.object.Kind == mesh.KindRequestAuthentication {
		for _, extension := range subject.Snapshot.Extensions() {
			if extension.Reference.Kind == one.object.Kind && extension.Reference.Namespace == subject.Namespace.Name &&
				extension.Targeted() && extension.Labels()[v1alpha1.OriginLabel] == "" {
				all = append(all, attachment{object: extension.Reference, targets: extension.Targets, same: equality.Semantic.DeepEqual(one.tokens, tokensOf(extension))})
			}
		}
		return all
	}
	for _, policy := range subject.Snapshot.AuthorizationPolicies() {
		targets := mesh.TargetsOf(&policy.Spec)
		if policy.Namespace != subject.Namespace.Name || policy.Labels[v1alpha1.OriginLabel] != "" || len(targets) == 0 ||
			policy.Spec.GetAction() != one.action || onlyLogs(policy) {
			continue
		}
		all = append(all, attachment{object: *securityReference(policy, mesh.KindAuthorizationPolicy), targets: targets, same: saysAll(&policy.Spec, one.spec)})
	}
	return all
}

// onlyLogs says whether a policy refuses nothing: it audits, or is tried in a dry run,
// which a check by somebody else cannot be.
func onlyLogs(policy *istiosecurityv1.AuthorizationPolicy) bool {
	dry, err := strconv.ParseBool(policy.Annotations[annotation.IoIstioDryRun.Name])
	action := policy.Spec.GetAction()
	return action == securityv1beta1.AuthorizationPolicy_AUDIT || action != securityv1beta1.AuthorizationPolicy_CUSTOM && err == nil && dry
}

func tokensOf(extension mesh.Extension) any {
	spec, _ := extension.Object["spec"].(map[string]any)
	return spec["jwtRules"]
}

// saysAll says whether a policy at a waypoint has the rules of one that goes by a
// selector. Another rule of a DENY refuses more, and another of an ALLOW lets in more.
// Ports are those of Services at the one and those of pods at the other: which they are
// is not compared.
func saysAll(there, one *securityv1beta1.AuthorizationPolicy) bool {
	within := func(outer, inner []*securityv1beta1.Rule) bool {
		return !slices.ContainsFunc(inner, func(rule *securityv1beta1.Rule) bool {
			return !slices.ContainsFunc(outer, func(other *securityv1beta1.Rule) bool { return proto.Equal(withoutPorts(other), withoutPorts(rule)) })
		})
	}
	if !within(there.GetRules(), one.GetRules()) || there.GetProvider().GetName() != one.GetProvider().GetName() {
		return false
	}
	return one.GetAction() != securityv1beta1.AuthorizationPolicy_ALLOW || within(one.GetRules(), there.GetRules())
}

// withoutPorts is a rule that says of ports only that it names some.
func withoutPorts(rule *securityv1beta1.Rule) *securityv1beta1.Rule {
	copied, _ := proto.Clone(rule).(*securityv1beta1.Rule)
	for _, to := range copied.GetTo() {
		if operation := to.GetOperation(); operation != nil {
			operation.Ports, operation.NotPorts = anyOf(operation.Ports), anyOf(operation.NotPorts)
		}
	}
	for _, when := range copied.GetWhen() {
		if when.GetKey() == "destination.port" {
			when.Values, when.NotValues = anyOf(when.Values), anyOf(when.NotValues)
		}
	}
	return copied
}

// anyOf stands for values whatever they are, where there are any.
func anyOf(values []string) []string {
	if len(values) == 0 {
		return nil
	}
	return []string{""}
}

// standing is what stands at waypoints for a policy that goes by a selector.
type standing struct {
	// without are the ways on which nothing says what it says.
	without []string
	// others are the policies of somebody else's of its kind and action, on all of these.
	others []string
	// some is true where it stands on other ways.
	some bool
}

// standingFor looks at some ways for what somebody has attached in place of a policy.
func standingFor(subject Subject, one selecting, ways []front) standing {
	var found standing
	candidates, differing := attachedLike(subject, one), true
	for _, way := range ways {
		meeting := slices.DeleteFunc(slices.Clone(candidates), func(candidate attachment) bool {
			return !slices.ContainsFunc(candidate.targets, func(target mesh.Target) bool { return way.meets(subject, target) })
		})
		if slices.ContainsFunc(meeting, func(candidate attachment) bool { return candidate.same }) {
			found.some = true
			continue
		}
		found.without = append(found.without, way.text())
		differing = differing && len(meeting) > 0
		for _, candidate := range meeting {
			if name := candidate.object.String(); !slices.Contains(found.others, name) {
				found.others = append(found.others, name)
			}
		}
	}
	if !differing {
		found.others = nil
	}
	return found
}

// status is how bad it is that only others stand for a policy. An ALLOW that says
// something else still refuses what it does not name, and of tokens the policies decide
// that ask for them; what a DENY names is let in unless another names it as well.
func (s standing) status(one selecting) v1alpha1.CheckStatus {
	if len(s.others) > 0 && (one.object.Kind == mesh.KindRequestAuthentication || one.action == securityv1beta1.AuthorizationPolicy_ALLOW) {
		return v1alpha1.StatusWarn
	}
	return v1alpha1.StatusFail
}

// text says what is instead of a policy.
func (s standing) text() string {
	return fmt.Sprintf("somebody's %s is attached with other rules", some(s.others))
}
