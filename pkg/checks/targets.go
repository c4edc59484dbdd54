package checks

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// targeting is a policy as far as it says what it is for.
type targeting struct {
	object   v1alpha1.ObjectReference
	selector map[string]string
	// selects is true where there is a selector, be it empty.
	selects bool
	targets []mesh.Target
	// effect is what the absence of its target means.
	effect string
}

// The effects of policies that apply to nothing.
const (
	effectAuthorization  = "it restricts nothing"
	effectAuthentication = "it checks no tokens"
	effectOther          = "it has no effect"
)

// targetings are the policies of the namespace.
func targetings(subject Subject) []targeting {
	var all []targeting
	for _, policy := range subject.Snapshot.AuthorizationPolicies() {
		if policy.Namespace == subject.Namespace.Name && !subject.planned(policy.Labels) {
			all = append(all, targeting{
				object: *securityReference(policy, mesh.KindAuthorizationPolicy), selector: policy.Spec.GetSelector().GetMatchLabels(),
				selects: policy.Spec.GetSelector() != nil, targets: mesh.TargetsOf(&policy.Spec), effect: effectAuthorization,
			})
		}
	}
	for _, policy := range subject.Snapshot.PeerAuthentications() {
		if policy.Namespace == subject.Namespace.Name {
			all = append(all, targeting{
				object: *securityReference(policy, mesh.KindPeerAuthentication), selector: policy.Spec.GetSelector().GetMatchLabels(),
				effect: effectOther,
			})
		}
	}
	for _, extension := range subject.Snapshot.Extensions() {
		if extension.Reference.Namespace != subject.Namespace.Name || extension.Reference.Kind == mesh.KindProxyConfig ||
			subject.planned(extension.Labels()) {
			continue
		}
		effect := effectOther
		if extension.Reference.Kind == mesh.KindRequestAuthentication {
			effect = effectAuthentication
		}
		all = append(all, targeting{
			object: extension.Reference, selector: extension.Selector, selects: extension.Selector != nil, targets: extension.Targets, effect: effect,
		})
	}
	return all
}

// targetKinds are the kinds of policies that say what they are for.
func targetKinds() []string {
	return []string{
		mesh.KindAuthorizationPolicy, mesh.KindPeerAuthentication, mesh.KindRequestAuthentication, mesh.KindTelemetry,
		mesh.KindWasmPlugin, mesh.KindTrafficExtension, mesh.KindEnvoyFilter,
	}
}

func policyTargets() Check {
	return Check{
		ID: "policy-targets", Category: CategoryPolicies, Severity: v1alpha1.SeverityWarning,
		About: "Looks at what the policies of this namespace name, by selector or by targetRefs, and whether it is there.",
		Why: "A policy without its target is not an error to Istio: it applies to nothing, and what it was to protect is open (istio " +
			"pilot/pkg/model/policyattachment.go). targetRefs count for Services and ServiceEntries of the policy's own namespace, for Gateways in " +
			"it, and in the root namespace for the class of waypoints. The policy is as dead before the migration as after it, so that it is " +
			"announced and does not block.",
		Needs: append(rootNamespaces(slices.Concat(targetKinds(), []string{
			mesh.KindService, mesh.KindServiceEntry, mesh.KindGateway, mesh.KindGatewayClass, mesh.KindWorkloadEntry, mesh.KindWorkloadGroup,
		})...), workloadKinds()...),
		Passed: "every policy of the namespace finds what it is for",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, policy := range targetings(subject) {
				findings = append(findings, targetFindings(subject, policy)...)
			}
			return findings
		},
	}
}

func targetFindings(subject Subject, policy targeting) []Finding {
	var findings []Finding
	say := func(field, message, remedy string) {
		findings = append(findings, Finding{
			Status: v1alpha1.StatusWarn, Object: reference(policy.object), Field: field, Message: message, Remedy: remedy,
		})
	}
	if policy.selects && len(policy.targets) > 0 {
		say("spec", "it has both a selector and targetRefs: sidecars and ztunnel pass over it, waypoints over the selector", "make two of it")
	}
	if len(policy.targets) == 0 && len(policy.selector) > 0 && !selectsSomething(subject, policy.selector) {
		say("spec.selector", "it selects no pod and no pod template of the namespace: "+policy.effect, "delete it, or correct the labels")
	}
	for i, target := range policy.targets {
		if problem := targetProblem(subject, policy, target); problem != "" {
			say(target.Field(i), problem+": "+policy.effect, "correct it, or delete the policy")
		}
	}
	return findings
}

// selectsSomething also counts workloads that are not in Kubernetes. A root
// namespace's selectors are about the whole mesh.
func selectsSomething(subject Subject, selector map[string]string) bool {
	snapshot, name := subject.Snapshot, subject.Namespace.Name
	if selectsAny(subject, selector) {
		return true
	}
	for _, entry := range snapshot.WorkloadEntries() {
		if entry.Namespace == name && (mesh.SelectsLabels(selector, entry.Spec.GetLabels()) || mesh.SelectsLabels(selector, entry.Labels)) {
			return true
		}
	}
	for _, group := range snapshot.WorkloadGroups() {
		if group.Namespace == name && mesh.SelectsLabels(selector, group.Spec.GetMetadata().GetLabels()) {
			return true
		}
	}
	return slices.Contains(snapshot.RootNamespaces(), name) && slices.ContainsFunc(snapshot.AllPods(), func(pod mesh.Pod) bool {
		return mesh.SelectsLabels(selector, pod.Labels)
	})
}

// The kinds of objects that policies may be attached to (istio
// pkg/config/validation, allowedTargetRefs).
var (
	ofServices = v1alpha1.ObjectReference{APIVersion: "v1", Kind: mesh.KindService}
	ofEntries  = v1alpha1.ObjectReference{APIVersion: networkingVersion, Kind: mesh.KindServiceEntry}
	ofGateways = v1alpha1.ObjectReference{APIVersion: gatewayv1.GroupVersion.String(), Kind: mesh.KindGateway}
	ofTheClass = v1alpha1.ObjectReference{APIVersion: gatewayv1.GroupVersion.String(), Kind: mesh.KindGatewayClass}
)

// targetProblem says why nothing enforces a policy for one of its targets.
func targetProblem(subject Subject, policy targeting, target mesh.Target) string {
	namespace := policy.object.Namespace
	named := target.Kind + " " + target.Name
	isRoot := slices.Contains(subject.Snapshot.RootNamespaces(), namespace)
	switch {
	case target.Namespace != "" && target.Namespace != namespace:
		return named + " is in another namespace, which a targetRef cannot name"
	case target.Is(ofServices):
		for _, service := range subject.Snapshot.Services(namespace) {
			if service.Name == target.Name {
				return ""
			}
		}
	case target.Is(ofEntries):
		for _, entry := range subject.Snapshot.ServiceEntries() {
			if entry.Namespace == namespace && entry.Name == target.Name {
				return ""
			}
		}
	case target.Is(ofGateways):
		if _, found := subject.Snapshot.Gateway(namespace, target.Name); found {
			return ""
		}
	case target.Is(ofTheClass) && !isRoot:
		return named + " counts only in policies of the root namespace"
	case target.Is(ofTheClass) && target.Name != mesh.WaypointClass:
		return named + " is not the class of waypoints, " + mesh.WaypointClass
	case target.Is(ofTheClass):
		for _, class := range subject.Snapshot.Others(mesh.KindGatewayClass) {
			if class.GetName() == target.Name {
				return ""
			}
		}
	default:
		group := target.Group
		if group == "" {
			group = "core"
		}
		return fmt.Sprintf("policies cannot be attached to kind %s of group %s", target.Kind, group)
	}
	return named + " does not exist"
}

// policyWaypoints is about policies that only a waypoint would enforce, where
// there is none that traffic goes through.
func policyWaypoints() Check {
	return Check{
		ID: "policy-waypoints", Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Looks for policies with targetRefs whose Gateway or service no traffic reaches by way of a waypoint.",
		Why: "Sidecars and ztunnel pass over a policy with targetRefs, so that only the waypoint in front of its target enforces it, and without " +
			"one it allows everything (istio pilot/pkg/model/policyattachment.go, istio#57315). In a namespace that still has sidecars nothing is " +
			"lost by the enrolment, but the author may take the policy for what protects the service afterwards: announced. Where the namespace " +
			"is ambient already, access is open now, and restarting more workloads would take what their sidecars still enforce: an " +
			"AuthorizationPolicy or RequestAuthentication blocks. So does one for a headless Service, which istiod accepts, and which calls to the pods' own addresses pass by; " +
			"one that there was before the enrolment is a warning, and so is any for a plan, which could not mend it. A waypoint that only headless Services or ExternalNames " +
			"name, or a namespace in which nothing inherits the label, takes no traffic; where pod templates of such a namespace were not read, it is a warning.",
		Needs: append(rootNamespaces(slices.Concat(targetKinds(), []string{
			"Namespace", mesh.KindService, mesh.KindServiceEntry, mesh.KindWorkloadEntry, mesh.KindGateway, mesh.KindGatewayClass, mesh.PodsMeshWide,
		})...), workloadKinds()...),
		Passed: "every policy that needs a waypoint has one",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, policy := range targetings(subject) {
				for i, target := range policy.targets {
					if targetProblem(subject, policy, target) != "" || subject.leftBehind(target) {
						// policy-targets reports it, or waypoint-diverted.
						continue
					}
					if target.Is(ofGateways) {
						findings = append(findings, neverEntered(subject, policy, target.Field(i), target.Name)...)
					} else if target.Is(ofServices) && subject.Snapshot.IsHeadless(mesh.ServiceReference(policy.object.Namespace, target.Name)) {
						findings = append(findings, passedBy(subject, policy, target.Field(i), target.Name))
					} else if without := withoutWaypoint(subject, target); without != "" {
						findings = append(findings, unenforced(subject, policy, target.Field(i), without))
					}
				}
			}
			return findings
		},
	}
}

// passedBy is about a policy that is attached to a headless Service. istiod accepts it by the
// Service's labels alone (istio pilot/pkg/serviceregistry/ambient/waypoints.go,
// fetchWaypointForService), but nobody calls such a Service by an address of its own. One
// that there was before the enrolment has never been enforced, in sidecars neither.
func passedBy(subject Subject, policy targeting, field, service string) Finding {
	finding := unenforced(subject, policy, field, "calls to headless Service "+service+" go to its pods, past every waypoint for Services")
	finding.Remedy = "have the policy select the pods, or attach it to a waypoint for workloads, or delete it"
	switch {
	case finding.Status != v1alpha1.StatusFail:
		return finding
	case subject.Migration != nil:
		// No plan can mend it, and a run that has stopped is to go on all the same.
		finding.Status = v1alpha1.StatusWarn
		return finding
	case subject.Past == nil:
		return finding
	}
	if _, was := subject.Past.Snapshot.Object(policy.object); was {
		finding.Status = v1alpha1.StatusWarn
		finding.Message += "; it was there before the enrolment, and not enforced either"
	}
	return finding
}

// neverEntered is about a policy that is attached to a Gateway: nothing where that is an
// ingress gateway, or a waypoint that something goes through. What was not read of another
// namespace that names the waypoint may do so, and is for nobody to call absent.
func neverEntered(subject Subject, policy targeting, field, name string) []Finding {
	gateway, _ := subject.Snapshot.Gateway(policy.object.Namespace, name)
	if !subject.Snapshot.IsWaypoint(gateway) {
		return nil
	}
	entered, unread := subject.Snapshot.WaypointEntered(gateway)
	if entered {
		return nil
	}
	if len(unread) == 0 {
		return []Finding{unenforced(subject, policy, field, "no traffic goes through waypoint "+name)}
	}
	return []Finding{{
		Status: v1alpha1.StatusWarn, Object: reference(policy.object), Field: field,
		Message: fmt.Sprintf("no traffic is seen to go through waypoint %s, and not all of %s was read, whose label names it: if there is none, %s", name, some(unread), policy.effect),
		Remedy:  "look at the pod templates there: kubectl ambient status without -n reads those of every namespace",
	}}
}

func unenforced(subject Subject, policy targeting, field, without string) Finding {
	finding := Finding{
		Status: v1alpha1.StatusWarn, Object: reference(policy.object), Field: field,
		Message: without + ", and nothing else enforces the policy: " + policy.effect,
		Remedy:  "label what it is for with " + label.IoIstioUseWaypoint.Name + ", or delete the policy",
	}
	if subject.Namespace.Labels[label.IoIstioDataplaneMode.Name] == mesh.DataplaneAmbient && policy.effect != effectOther {
		finding.Status = v1alpha1.StatusFail
	}
	return finding
}

// withoutWaypoint says why no waypoint stands before a Service or ServiceEntry that is
// there; nothing where one does.
func withoutWaypoint(subject Subject, target mesh.Target) string {
	snapshot, namespace := subject.Snapshot, subject.Namespace
	behind := func(labels map[string]string) string {
		object := v1alpha1.ObjectReference{Kind: target.Kind, Namespace: namespace.Name, Name: target.Name}
		// Where it was ambient before, the plan mends what was taken away.
		if _, found := snapshot.WaypointOf(labels, namespace); found || subject.ambient() && subject.fronted(object) {
			return ""
		}
		return target.Kind + " " + target.Name + " has no waypoint"
	}
	switch {
	case target.Is(ofServices):
		for _, service := range snapshot.Services(namespace.Name) {
			if service.Name == target.Name {
				return behind(service.Labels)
			}
		}
	case target.Is(ofEntries):
		for _, entry := range snapshot.ServiceEntries() {
			if entry.Namespace == namespace.Name && entry.Name == target.Name {
				return behind(entry.Labels)
			}
		}
	}
	return ""
}
