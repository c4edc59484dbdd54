package checks

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/Masterminds/semver/v3"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/annotation"
	"istio.io/api/label"
	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// policyChecks are about who may call whom.
func policyChecks() []Check {
	return []Check{
		layer7Policies(), requestAuthentication(), peerAuthenticationDisable(), peerAuthenticationModes(), dryRunPolicies(),
		policyAddresses(), policyTargets(), policyWaypoints(), orphanedPolicies(),
	}
}

// later is the remedy for what this version does not carry over.
const later = "this version of kubectl ambient does not carry it over to ambient mode: leave the namespace on sidecars"

// dryRunIgnoredSince is the first version whose ztunnel is not sent dry-run
// policies; older ones enforce them (istio
// pilot/pkg/serviceregistry/ambient/authorization.go).
var dryRunIgnoredSince = semver.MustParse("1.29.0")

func layer7Policies() Check {
	return Check{
		ID: "layer7-policies", Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Looks for AuthorizationPolicies that reach this namespace and cannot be enforced as they are without an HTTP proxy.",
		Why: "ztunnel knows addresses, ports and identities. Of an ALLOW it drops rules that need more, so that calls are refused; a DENY whose " +
			"only condition needs more never matches, so that calls are let in; AUDIT and CUSTOM are not sent to it at all (istio " +
			"pilot/pkg/serviceregistry/ambient/authorization.go). Behind a waypoint every policy of the pods sees the waypoint as caller.",
		Needs:  append(rootNamespaces("AuthorizationPolicy", "Service", mesh.KindServiceEntry), workloadKinds()...),
		Passed: "every AuthorizationPolicy that applies here is layer 4, or carried over to a waypoint",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			var applying []*clientsecurityv1.AuthorizationPolicy
			needs := subject.Snapshot.WaypointNeeds(subject.Namespace)
			for _, policy := range subject.Snapshot.AuthorizationPolicies() {
				if attached(&policy.Spec) || !applies(subject, policy.Namespace, policy.Spec.GetSelector()) ||
					subject.carries(*securityReference(policy, "AuthorizationPolicy")) {
					continue
				}
				if policy.Labels[v1alpha1.OriginLabel] == "" {
					// What an enrolment has made is written for the waypoint.
					applying = append(applying, policy)
				}
				findings = append(findings, layer7Findings(policy, needs)...)
			}
			findings = append(findings, behindWaypoints(subject, applying)...)
			return findings
		},
	}
}

// concerned ends a message with the services that an object concerns, if any.
func concerned(needs []mesh.ServiceNeed, object *v1alpha1.ObjectReference) string {
	var names []string
	for _, need := range needs {
		if slices.ContainsFunc(need.Reasons, func(reason mesh.Reason) bool {
			return reason.Object.Kind == object.Kind && reason.Object.Namespace == object.Namespace && reason.Object.Name == object.Name
		}) {
			names = append(names, need.Service.Kind+" "+need.Service.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "; it concerns " + some(names)
}

func layer7Findings(policy *clientsecurityv1.AuthorizationPolicy, needs []mesh.ServiceNeed) []Finding {
	object := securityReference(policy, "AuthorizationPolicy")
	concerns := concerned(needs, object)
	switch policy.Spec.GetAction() {
	case securityv1beta1.AuthorizationPolicy_ALLOW, securityv1beta1.AuthorizationPolicy_DENY:
		fields := mesh.Layer7Fields(&policy.Spec)
		if len(fields) == 0 {
			return nil
		}
		return []Finding{{
			Status: v1alpha1.StatusFail, Object: object, Field: fields[0],
			Message: fmt.Sprintf("%s of it %s HTTP, which ztunnel does not read%s", count(len(fields), "field"), verb(len(fields), "need"), concerns), Remedy: later,
		}}
	default:
		return []Finding{{
			Status: v1alpha1.StatusFail, Object: object, Field: "spec.action",
			Message: fmt.Sprintf("action %s is not enforced by ztunnel%s", policy.Spec.GetAction(), concerns), Remedy: later,
		}}
	}
}

// verb puts a verb into the form that goes with a number.
func verb(n int, plural string) string {
	if n == 1 {
		return plural + "s"
	}
	return plural
}

// attached says whether a policy is attached by targetRefs. Sidecars and
// ztunnel ignore such a policy (istio pilot/pkg/model/policyattachment.go).
func attached(spec *securityv1beta1.AuthorizationPolicy) bool {
	return spec.GetTargetRef() != nil || len(spec.GetTargetRefs()) > 0
}

// applies says whether an object of a namespace with a workload selector
// reaches pods of the namespace at hand.
func applies(subject Subject, namespace string, selector *typev1beta1.WorkloadSelector) bool {
	if namespace == subject.Namespace.Name {
		return true
	}
	return slices.Contains(subject.Snapshot.RootNamespaces(), namespace) && selectsAny(subject, selector.GetMatchLabels())
}

// selectsAny says whether labels select a workload or a pod of the namespace
// at hand.
func selectsAny(subject Subject, required map[string]string) bool {
	if len(required) == 0 {
		return true
	}
	for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
		if mesh.SelectsLabels(required, workload.Template.Labels) {
			return true
		}
	}
	return slices.ContainsFunc(subject.Snapshot.Pods(subject.Namespace.Name), func(pod mesh.Pod) bool {
		return mesh.SelectsLabels(required, pod.Labels)
	})
}

// behindWaypoints are about the Services that are called through a waypoint, by
// their own label or the namespace's, and whose pods policies select: these see
// the waypoint as caller.
func behindWaypoints(subject Subject, policies []*clientsecurityv1.AuthorizationPolicy) []Finding {
	var findings []Finding
	for _, service := range subject.Snapshot.Services(subject.Namespace.Name) {
		user := waypointUser(subject.Namespace, service)
		if user == nil || len(service.Spec.Selector) == 0 {
			continue
		}
		var names []string
		for _, policy := range policies {
			if selectsPodsOf(subject, service, policy.Spec.GetSelector().GetMatchLabels()) {
				names = append(names, policy.Name)
			}
		}
		if len(names) > 0 {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusFail, Object: reference(mesh.ServiceReference(service.Namespace, service.Name)), Field: "metadata.labels[" + label.IoIstioUseWaypoint.Name + "]",
				Message: fmt.Sprintf("by the label of %s calls come through a waypoint, whose identity these policies were not written for: %s", user, some(names)),
				Remedy:  later,
			})
		}
	}
	return findings
}

// waypointUser returns whose label sends calls of a Service through a waypoint:
// its own comes before the namespace's.
func waypointUser(namespace mesh.Namespace, service corev1.Service) *v1alpha1.ObjectReference {
	user, value := reference(mesh.ServiceReference(service.Namespace, service.Name)), service.Labels[label.IoIstioUseWaypoint.Name]
	if value == "" {
		user, value = reference(namespace.Reference()), namespace.Labels[label.IoIstioUseWaypoint.Name]
	}
	if value == "" || value == mesh.DataplaneNone {
		return nil
	}
	return user
}

// selectsPodsOf says whether labels select a pod or a pod template that a Service
// selects.
func selectsPodsOf(subject Subject, service corev1.Service, required map[string]string) bool {
	both := func(set map[string]string) bool {
		return mesh.SelectsLabels(service.Spec.Selector, set) && mesh.SelectsLabels(required, set)
	}
	return slices.ContainsFunc(subject.Snapshot.Workloads(subject.Namespace.Name), func(workload mesh.Workload) bool { return both(workload.Template.Labels) }) ||
		slices.ContainsFunc(subject.Snapshot.Pods(subject.Namespace.Name), func(pod mesh.Pod) bool { return both(pod.Labels) })
}

func requestAuthentication() Check {
	return Check{
		ID: "request-authentication", Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Looks for RequestAuthentications that reach this namespace.",
		Why: "ztunnel does not read requests, so that no token is checked any more, and at a waypoint only a RequestAuthentication with " +
			"targetRefs counts (istio pilot/pkg/model/policyattachment.go). Requests with forged tokens would reach the application.",
		Needs:  append(rootNamespaces("RequestAuthentication", mesh.KindService, mesh.KindServiceEntry), workloadKinds()...),
		Passed: "every RequestAuthentication that applies here is carried over to a waypoint",
		Run: func(subject Subject) []Finding {
			needs := subject.Snapshot.WaypointNeeds(subject.Namespace)
			var findings []Finding
			for _, extension := range applyingExtensions(subject, mesh.KindRequestAuthentication) {
				if subject.carries(extension.Reference) {
					continue
				}
				object := reference(extension.Reference)
				findings = append(findings, Finding{
					Status: v1alpha1.StatusFail, Object: object, Field: extension.EffectiveField(),
					Message: "tokens are validated by sidecars and waypoints only" + concerned(needs, object), Remedy: later,
				})
			}
			return findings
		},
	}
}

func peerAuthenticationDisable() Check {
	return Check{
		ID: "peer-authentication-disable", Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Looks for PeerAuthentications that switch mTLS off for pods of this namespace.",
		Why: "Ambient mode knows no such thing: callers in the mesh use HBONE all the same, and for a port under a STRICT parent istiod leaves " +
			"the exception out, so that the port becomes mTLS only (istio pilot/pkg/serviceregistry/ambient/authorization.go). Whoever needs " +
			"the absence of mTLS is cut off.",
		Needs:  append(rootNamespaces("PeerAuthentication"), workloadKinds()...),
		Passed: "no PeerAuthentication disables mTLS here",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, policy := range subject.Snapshot.PeerAuthentications() {
				if !applies(subject, policy.Namespace, policy.Spec.GetSelector()) {
					continue
				}
				for _, field := range disabledFields(&policy.Spec) {
					findings = append(findings, Finding{
						Status: v1alpha1.StatusFail, Object: securityReference(policy, "PeerAuthentication"), Field: field,
						Message: "mTLS is disabled, which ambient mode cannot do: callers in the mesh keep using it",
						Remedy:  "set PERMISSIVE, if nothing needs the absence of mTLS",
					})
				}
			}
			return findings
		},
	}
}

func disabledFields(spec *securityv1beta1.PeerAuthentication) []string {
	var fields []string
	if spec.GetMtls().GetMode() == securityv1beta1.PeerAuthentication_MutualTLS_DISABLE {
		fields = append(fields, "spec.mtls.mode")
	}
	for port, mtls := range spec.GetPortLevelMtls() {
		if mtls.GetMode() == securityv1beta1.PeerAuthentication_MutualTLS_DISABLE {
			fields = append(fields, fmt.Sprintf("spec.portLevelMtls[%d].mode", port))
		}
	}
	slices.Sort(fields)
	return fields
}

func dryRunPolicies() Check {
	return Check{
		ID: "dry-run-policies", Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Looks for AuthorizationPolicies that are only tried out.",
		Why: "istiod does not send a dry-run policy to ztunnel, and before 1.29 it sent it as one to be enforced (istio " +
			"pilot/pkg/serviceregistry/ambient/authorization.go): calls that pass today would be refused.",
		Needs:  append(rootNamespaces("AuthorizationPolicy"), workloadKinds()...),
		Passed: "no dry-run AuthorizationPolicy applies here",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, policy := range subject.Snapshot.AuthorizationPolicies() {
				dryRun, _ := strconv.ParseBool(policy.Annotations[annotation.IoIstioDryRun.Name])
				if !dryRun || attached(&policy.Spec) ||
					!applies(subject, policy.Namespace, policy.Spec.GetSelector()) {
					continue
				}
				finding := Finding{
					Status: v1alpha1.StatusWarn, Object: securityReference(policy, "AuthorizationPolicy"),
					Field:   "metadata.annotations[" + annotation.IoIstioDryRun.Name + "]",
					Message: "the dry run ends: ztunnel is not sent the policy and reports no results",
				}
				if dryRunEnforced(subject.Snapshot) {
					finding.Status = v1alpha1.StatusFail
					finding.Message = "ztunnel before " + dryRunIgnoredSince.String() + " enforces the policy in spite of the dry run"
					finding.Remedy = "delete the policy, or upgrade Istio first"
				}
				findings = append(findings, finding)
			}
			return findings
		},
	}
}

// dryRunEnforced errs towards true where a version cannot be told.
func dryRunEnforced(snapshot *mesh.Snapshot) bool {
	for _, istiod := range snapshot.Istiods() {
		version, err := versionOf(istiod)
		if err != nil || version.LessThan(dryRunIgnoredSince) {
			return true
		}
	}
	return false
}

func securityReference(object metav1.Object, kind string) *v1alpha1.ObjectReference {
	return reference(mesh.SecurityReference(kind, object.GetNamespace(), object.GetName()))
}

func istioReference(apiVersion, kind string, object metav1.Object) *v1alpha1.ObjectReference {
	return &v1alpha1.ObjectReference{APIVersion: apiVersion, Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName()}
}

// applyingExtensions are the objects of a kind that reach sidecars of the
// namespace: those in it, and those of a root namespace that select pods here,
// unless they are attached by targetRefs.
func applyingExtensions(subject Subject, kind string) []mesh.Extension {
	return slices.DeleteFunc(subject.Snapshot.Extensions(), func(extension mesh.Extension) bool {
		if extension.Reference.Kind != kind || extension.Targeted() {
			return true
		}
		if extension.Reference.Namespace == subject.Namespace.Name {
			return false
		}
		root := slices.Contains(subject.Snapshot.RootNamespaces(), extension.Reference.Namespace)
		return !root || !selectsAny(subject, extension.Selector)
	})
}
