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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// policyChecks are about who may call whom.
func policyChecks() []Check {
	return []Check{
		layer7Policies(), requestAuthentication(), peerAuthenticationDisable(), dryRunPolicies(),
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
		Needs:  append(rootNamespaces("AuthorizationPolicy", "Service"), workloadKinds()...),
		Passed: "every AuthorizationPolicy that applies here is layer 4",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			var applying []string
			for _, policy := range subject.Snapshot.AuthorizationPolicies() {
				if attached(&policy.Spec) || !applies(subject, policy.Namespace, policy.Spec.GetSelector()) {
					continue
				}
				applying = append(applying, policy.Name)
				findings = append(findings, layer7Findings(policy)...)
			}
			if user := waypointUser(subject); user != nil && len(applying) > 0 {
				findings = append(findings, Finding{
					Status: v1alpha1.StatusFail, Object: user, Field: "metadata.labels[" + label.IoIstioUseWaypoint.Name + "]",
					Message: "traffic comes through a waypoint, whose identity these policies were not written for: " + some(applying),
					Remedy:  later,
				})
			}
			return findings
		},
	}
}

func layer7Findings(policy *clientsecurityv1.AuthorizationPolicy) []Finding {
	object := securityReference(policy, "AuthorizationPolicy")
	switch policy.Spec.GetAction() {
	case securityv1beta1.AuthorizationPolicy_ALLOW, securityv1beta1.AuthorizationPolicy_DENY:
		fields := mesh.Layer7Fields(&policy.Spec)
		if len(fields) == 0 {
			return nil
		}
		return []Finding{{
			Status: v1alpha1.StatusFail, Object: object, Field: fields[0],
			Message: fmt.Sprintf("%s needs HTTP, which ztunnel does not read", count(len(fields), "field")), Remedy: later,
		}}
	default:
		return []Finding{{
			Status: v1alpha1.StatusFail, Object: object, Field: "spec.action",
			Message: fmt.Sprintf("action %s is not enforced by ztunnel", policy.Spec.GetAction()), Remedy: later,
		}}
	}
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

// waypointUser returns the namespace or the first Service at hand that sends
// its traffic through a waypoint.
func waypointUser(subject Subject) *v1alpha1.ObjectReference {
	uses := func(labels map[string]string) bool {
		value := labels[label.IoIstioUseWaypoint.Name]
		return value != "" && value != mesh.DataplaneNone
	}
	if uses(subject.Namespace.Labels) {
		return reference(subject.Namespace.Reference())
	}
	for _, service := range subject.Snapshot.Services(subject.Namespace.Name) {
		if uses(service.Labels) {
			return &v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: service.Namespace, Name: service.Name}
		}
	}
	return nil
}

func requestAuthentication() Check {
	return Check{
		ID: "request-authentication", Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		Needs:  append(rootNamespaces("RequestAuthentication"), workloadKinds()...),
		Passed: "no RequestAuthentication applies here",
		Run: func(subject Subject) []Finding {
			return extensionFindings(subject, "RequestAuthentication", v1alpha1.StatusFail,
				"tokens are validated by sidecars and waypoints only")
		},
	}
}

func peerAuthenticationDisable() Check {
	return Check{
		ID: "peer-authentication-disable", Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
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
	return istioReference("security.istio.io/v1", kind, object)
}

func istioReference(apiVersion, kind string, object metav1.Object) *v1alpha1.ObjectReference {
	return &v1alpha1.ObjectReference{APIVersion: apiVersion, Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName()}
}

// extensionFindings names the objects of a kind that apply here and are not
// attached by targetRefs.
func extensionFindings(subject Subject, kind string, status v1alpha1.CheckStatus, message string) []Finding {
	var findings []Finding
	for _, extension := range subject.Snapshot.Extensions() {
		if extension.Reference.Kind != kind || extension.Targeted() {
			continue
		}
		if extension.Reference.Namespace != subject.Namespace.Name {
			root := slices.Contains(subject.Snapshot.RootNamespaces(), extension.Reference.Namespace)
			if !root || !selectsAny(subject, extension.Selector) {
				continue
			}
		}
		finding := Finding{Status: status, Object: reference(extension.Reference), Message: message}
		if status == v1alpha1.StatusFail {
			finding.Remedy = later
		}
		findings = append(findings, finding)
	}
	return findings
}
