package checks

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	securityv1beta1 "istio.io/api/security/v1beta1"
	istiosecurityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// enrollAgain is how what was handed over comes back.
func enrollAgain(subject Subject) string {
	return "kubectl ambient enroll -n " + subject.Namespace.Name + " --resume, which has the options of before: it makes again what is missing, and leaves alone what somebody has changed"
}

func handedOver() Check {
	return Check{
		ID: "handed-over", Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Whether what runs have made for this namespace, and policies that they have amended, are as they left them.",
		Why: "A copy of a policy at a waypoint is all that enforces it for pods without sidecars, and a waypoint without policies lets everything in; " +
			"a guard is all that keeps callers from going past it. Nothing makes them again by itself. A copy of what is not there any more is not missed.",
		Needs:  []string{mesh.KindAuthorizationPolicy, mesh.KindRequestAuthentication, mesh.KindGateway},
		Passed: "every policy of a run is as the run left it",
		Run: func(subject Subject) []Finding {
			switch {
			case subject.NoRecords != "":
				return []Finding{{Status: v1alpha1.StatusUnknown, Message: "what runs have made is not known: " + subject.NoRecords}}
			case subject.Handed == nil:
				return []Finding{{
					Status: v1alpha1.StatusUnknown, Message: "the records of runs were not read, so that it is not known what they have made",
					Remedy: "grant list on configmaps in namespace " + subject.Namespace.Name,
				}}
			}
			var findings []Finding
			for _, drift := range subject.Handed.Drifts {
				if drift.Gone && drift.Object.Kind == mesh.KindGateway && subject.names(drift.Object) {
					// waypoint-missing says so.
					continue
				}
				findings = append(findings, Finding{
					Status: v1alpha1.StatusFail, Object: reference(drift.Object), Field: drift.Field, Message: "it " + drift.Text(), Remedy: enrollAgain(subject),
				})
			}
			for _, unseen := range subject.Handed.Unseen {
				findings = append(findings, Finding{
					Status: v1alpha1.StatusUnknown, Object: reference(unseen), Message: "a run has made it, and it cannot be read", Remedy: "grant list on it",
				})
			}
			return findings
		},
	}
}

// names says whether anything in the namespace names a waypoint.
func (s Subject) names(gateway v1alpha1.ObjectReference) bool {
	return slices.ContainsFunc(s.Snapshot.WaypointUsers(s.Namespace), func(user mesh.WaypointUser) bool {
		return user.Namespace == gateway.Namespace && user.Name == gateway.Name
	})
}

func policiesAccepted() Check {
	return Check{
		ID: "policies-accepted", Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Whether istiod says of every AuthorizationPolicy of this namespace that is attached to a waypoint, or to what goes through one, of those of other namespaces at waypoints there that this one uses, and of those for the class of waypoints where the namespace uses one, that it holds there.",
		Why: "istiod writes the condition WaypointAccepted, with the generation of the policy that it is about. Without it the waypoint may enforce an " +
			"earlier policy, or none (istio pilot/pkg/serviceregistry/ambient/ambientindex.go). Of other kinds than AuthorizationPolicy it says nothing.",
		Needs:     rootNamespaces(append(waypointSources(mesh.KindGatewayClass), mesh.KindAuthorizationPolicy)...),
		DependsOn: []string{"waypoint-missing"},
		Passed:    "istiod accepts every AuthorizationPolicy at a waypoint",
		Run: func(subject Subject) []Finding {
			uses := len(subject.Snapshot.WaypointUsers(subject.Namespace)) > 0
			return unacceptedAtWaypoints(subject, func(policy *istiosecurityv1.AuthorizationPolicy) bool {
				own := policy.Namespace == subject.Namespace.Name && slices.ContainsFunc(mesh.TargetsOf(&policy.Spec), subject.throughWaypoint)
				return own || subject.atUsed(policy) || uses && subject.forTheClass(policy)
			})
		},
	}
}

// classPoliciesAccepted is policiesAccepted as to what no run makes in this namespace, and,
// as to the class, whatever the namespace uses: an enrolment may be what gives it a waypoint.
func classPoliciesAccepted() Check {
	check := policiesAccepted()
	check.Run = func(subject Subject) []Finding {
		return unacceptedAtWaypoints(subject, func(policy *istiosecurityv1.AuthorizationPolicy) bool {
			return subject.atUsed(policy) || subject.forTheClass(policy)
		})
	}
	return check
}

// atUsed says whether a policy of another namespace is attached to a waypoint there that
// this namespace uses.
func (s Subject) atUsed(policy *istiosecurityv1.AuthorizationPolicy) bool {
	return policy.Namespace != s.Namespace.Name && slices.ContainsFunc(mesh.TargetsOf(&policy.Spec), func(target mesh.Target) bool {
		if !target.Is(ofGateways) {
			return false
		}
		gateway, found := s.Snapshot.Gateway(policy.Namespace, target.Name)
		return found && s.Snapshot.IsWaypoint(gateway) && s.names(v1alpha1.ObjectReference{Namespace: policy.Namespace, Name: target.Name})
	})
}

// forTheClass says whether a policy is for all waypoints of the mesh. What it names
// besides, and is not there, policyTargets says in its own namespace.
func (s Subject) forTheClass(policy *istiosecurityv1.AuthorizationPolicy) bool {
	return slices.ContainsFunc(mesh.TargetsOf(&policy.Spec), func(target mesh.Target) bool {
		return target.Is(ofTheClass) && targetProblem(s, targeting{object: *securityReference(policy, mesh.KindAuthorizationPolicy)}, target) == ""
	})
}

// unacceptedAtWaypoints makes a finding of each of some policies that istiod does not say
// holds at a waypoint.
func unacceptedAtWaypoints(subject Subject, concerned func(*istiosecurityv1.AuthorizationPolicy) bool) []Finding {
	var findings []Finding
	for _, policy := range subject.Snapshot.AuthorizationPolicies() {
		if !concerned(policy) {
			continue
		}
		object := securityReference(policy, mesh.KindAuthorizationPolicy)
		// It was read together with the typed one.
		whole, _ := subject.Snapshot.Object(*object)
		if text := Unaccepted(subject.Snapshot, *object, whole, true); text != "" {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusFail, Object: object, Field: "status.conditions[" + ConditionWaypointAccepted + "]", Message: "it " + text,
				Remedy: "correct what it is attached to; if it is as it should be, look at the log of istiod",
			})
		}
	}
	return findings
}

// throughWaypoint says whether a target, of the namespace at hand, is a waypoint or
// goes through one.
func (s Subject) throughWaypoint(target mesh.Target) bool {
	switch {
	case target.Is(ofGateways):
		gateway, found := s.Snapshot.Gateway(s.Namespace.Name, target.Name)
		return found && s.Snapshot.IsWaypoint(gateway)
	case target.Is(ofServices), target.Is(ofEntries):
		return targetProblem(s, targeting{object: v1alpha1.ObjectReference{Namespace: s.Namespace.Name}}, target) == "" && withoutWaypoint(s, target) == ""
	default:
		return target.Is(ofTheClass)
	}
}

func layer7Enforced() Check {
	return Check{
		ID: "layer7-enforced", Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Looks for policies about requests that select ambient pods, and that nothing at a waypoint enforces.",
		Why: "ztunnel does not read requests: of an ALLOW it drops the rules that do, a DENY may refuse nothing or too much, and tokens it does not check (istio " +
			"pilot/pkg/serviceregistry/ambient/authorization.go, convertAuthorizationPolicy). Waypoints pass over policies with selectors. What was there when the namespace was enrolled has been judged then; " +
			"what was made or changed since holds nowhere until its copy is at the waypoint, or somebody has attached the same rules (ports may differ) on every way to its pods " +
			"that leads through one. A policy of its action with other rules is named: it does not hold of a DENY and of a CUSTOM, and is a warning of an ALLOW and of tokens, " +
			"with which a waypoint refuses no less than it is told to. Guards that refuse direct calls are for the workloads that there were, in a namespace with proxies of its own: " +
			"one that has come since, and that none selects, is named.",
		Needs:  rootNamespaces(append(waypointSources(mesh.KindGatewayClass), mesh.KindAuthorizationPolicy, mesh.KindRequestAuthentication)...),
		Passed: "every policy about requests that selects ambient pods was handed over",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, one := range layer7Selecting(subject) {
				switch {
				case subject.judged(one.object):
					findings = append(findings, unguarded(subject, one)...)
				case copied(subject, one) && subject.Handed == nil:
					// A simplification compares calls with it and without. Where verify has
					// not read the records, handed-over is unknown.
				case copied(subject, one):
					findings = append(findings, Finding{
						Status: v1alpha1.StatusUnknown, Object: reference(one.object), Field: one.field,
						Message: "it was made or changed since the newest run that is recorded: whether what is at the waypoint says the same cannot be told", Remedy: enrollAgain(subject),
					})
				default:
					if finding := neverHanded(subject, one); finding != nil {
						findings = append(findings, *finding)
					}
				}
			}
			return findings
		},
	}
}

// neverHanded is about a policy about requests of which no run has made anything: what
// somebody has attached to the waypoints in front of its pods may stand for it.
func neverHanded(subject Subject, one selecting) *Finding {
	var ways []front
	var bare []string
	takenOff := true
	for _, pod := range expected(subject) {
		if !mesh.SelectsLabels(one.selector, pod.Labels) || subject.behindTakenOff(pod) {
			continue
		}
		takenOff = false
		to, called := waysTo(subject, pod)
		if called && len(to) == 0 {
			bare = append(bare, pod.Reference().String())
		}
		for _, way := range to {
			if !slices.ContainsFunc(ways, func(known front) bool { return known.text() == way.text() }) {
				ways = append(ways, way)
			}
		}
	}
	found := standingFor(subject, one, ways)
	without := slices.Concat(found.without, bare)
	finding := &Finding{
		Status: v1alpha1.StatusFail, Object: reference(one.object), Field: one.field,
		Message: "it selects ambient pods, for which ztunnel cannot enforce it, and nothing at a waypoint does", Remedy: enrollAgain(subject),
	}
	switch {
	case takenOff, found.some && len(without) == 0:
		// Of the one takenOff tells.
		return nil
	case len(found.others) > 0 && len(bare) == 0:
		finding.Status = found.status(one)
		finding.Message = "it selects ambient pods, for which ztunnel cannot enforce it, and for calls to " + some(without) + " " + found.text()
		finding.Remedy = "attach its rules as well, or delete it where what is attached says enough; or " + finding.Remedy
	case found.some:
		finding.Message += " for calls to " + some(without)
	}
	return finding
}

// judged says whether the newest run was planned with a policy as it is now.
func (s Subject) judged(policy v1alpha1.ObjectReference) bool {
	return s.Handed != nil && lists(s.Handed.Judged, policy)
}

// selecting is a policy that goes by a selector.
type selecting struct {
	object   v1alpha1.ObjectReference
	selector map[string]string
	// action and spec are those of an AuthorizationPolicy.
	action securityv1beta1.AuthorizationPolicy_Action
	spec   *securityv1beta1.AuthorizationPolicy
	// tokens are the rules of a RequestAuthentication.
	tokens any
	// field is where it is about requests; empty where it is about connections only.
	field string
}

// layer7Selecting are those of selectingPods that are about requests.
func layer7Selecting(subject Subject) []selecting {
	return slices.DeleteFunc(selectingPods(subject), func(one selecting) bool { return one.field == "" })
}

// selectingPods are the policies of others that refuse or check something and select
// ambient pods of the namespace.
func selectingPods(subject Subject) []selecting {
	var all []selecting
	pods := expected(subject)
	add := func(one selecting) {
		reaches := one.object.Namespace == subject.Namespace.Name || slices.Contains(subject.Snapshot.RootNamespaces(), one.object.Namespace)
		if reaches && slices.ContainsFunc(pods, func(pod mesh.Pod) bool { return mesh.SelectsLabels(one.selector, pod.Labels) }) {
			all = append(all, one)
		}
	}
	for _, policy := range subject.Snapshot.AuthorizationPolicies() {
		fields := mesh.Layer7Fields(&policy.Spec)
		custom := policy.Spec.GetAction() == securityv1beta1.AuthorizationPolicy_CUSTOM
		if policy.Labels[v1alpha1.OriginLabel] != "" || len(mesh.TargetsOf(&policy.Spec)) > 0 || onlyLogs(policy) {
			continue
		}
		one := selecting{
			object:   *securityReference(policy, mesh.KindAuthorizationPolicy),
			selector: policy.Spec.GetSelector().GetMatchLabels(), action: policy.Spec.GetAction(), spec: &policy.Spec,
		}
		switch {
		case custom:
			one.field = "spec.action"
		case len(fields) > 0:
			one.field = fields[0]
		}
		add(one)
	}
	for _, extension := range subject.Snapshot.Extensions() {
		if extension.Reference.Kind == mesh.KindRequestAuthentication && !extension.Targeted() && extension.Labels()[v1alpha1.OriginLabel] == "" {
			add(selecting{object: extension.Reference, field: "spec.jwtRules", selector: extension.Selector, tokens: tokensOf(extension)})
		}
	}
	return all
}

// copied says whether a run has made something of a policy: a copy at a waypoint, or
// a guard where there is none.
func copied(subject Subject, one selecting) bool {
	return madeFrom(subject, one, func([]mesh.Target) bool { return true })
}

// madeFrom says whether a run has made something of a policy that is for targets which
// are meant.
func madeFrom(subject Subject, one selecting, meant func([]mesh.Target) bool) bool {
	from := func(labels, annotations map[string]string) bool {
		return labels[v1alpha1.OriginLabel] != "" && annotations[v1alpha1.OriginLabel] == one.object.String()
	}
	for _, policy := range subject.Snapshot.AuthorizationPolicies() {
		if policy.Namespace == subject.Namespace.Name && from(policy.Labels, policy.Annotations) && meant(mesh.TargetsOf(&policy.Spec)) {
			return true
		}
	}
	return slices.ContainsFunc(subject.Snapshot.Extensions(), func(extension mesh.Extension) bool {
		return extension.Reference.Namespace == subject.Namespace.Name && from(extension.Labels(), extension.Annotations()) && meant(extension.Targets)
	})
}
