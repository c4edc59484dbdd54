package checks

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// networkChecks are about the network beneath the mesh.
func networkChecks() []Check {
	return []Check{
		networkPolicies(), headlessStrict(),
	}
}

// portHBONE is where ambient pods receive all mesh traffic.
const portHBONE = 15008

// networkPolicies finds workloads that a NetworkPolicy would cut off: it lets
// some port pass, but not the one that all mesh traffic takes in ambient mode.
// Who may call whom by it is not evaluated.
func networkPolicies() Check {
	return Check{
		ID: "network-policies", Category: CategoryNetwork, Severity: v1alpha1.SeverityError,
		Needs:  append(workloadKinds(), "MutatingWebhookConfiguration", "NetworkPolicy"),
		Passed: fmt.Sprintf("no NetworkPolicy keeps port %d closed", portHBONE),
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, policy := range subject.Snapshot.NetworkPolicies(subject.Namespace.Name) {
				for _, direction := range directionsOf(policy) {
					if !direction.closed() || !selectsMoved(subject, &policy.Spec.PodSelector) {
						continue
					}
					if alsoOpened(subject, policy, direction.name) {
						continue
					}
					findings = append(findings, Finding{
						Status: v1alpha1.StatusFail,
						Object: &v1alpha1.ObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy", Namespace: policy.Namespace, Name: policy.Name},
						Field:  "spec." + direction.name,
						Message: fmt.Sprintf("it lets no TCP traffic pass on port %d, which carries all mesh traffic in ambient mode",
							portHBONE),
						Remedy: fmt.Sprintf("allow port %d wherever it allows the application's ports", portHBONE),
					})
				}
			}
			return findings
		},
	}
}

// direction is the ports that a NetworkPolicy opens one way.
type direction struct {
	name string
	// rules holds the ports of each rule; a rule without any opens all.
	rules [][]networkingv1.NetworkPolicyPort
}

// directionsOf returns what a policy restricts. One that names no types
// restricts ingress, and egress if it has rules for it.
func directionsOf(policy networkingv1.NetworkPolicy) []direction {
	var directions []direction
	types := policy.Spec.PolicyTypes
	if len(types) == 0 || slices.Contains(types, networkingv1.PolicyTypeIngress) {
		ingress := direction{name: "ingress"}
		for _, rule := range policy.Spec.Ingress {
			ingress.rules = append(ingress.rules, rule.Ports)
		}
		directions = append(directions, ingress)
	}
	if slices.Contains(types, networkingv1.PolicyTypeEgress) || len(types) == 0 && len(policy.Spec.Egress) > 0 {
		egress := direction{name: "egress"}
		for _, rule := range policy.Spec.Egress {
			egress.rules = append(egress.rules, rule.Ports)
		}
		directions = append(directions, egress)
	}
	return directions
}

// closed says whether the direction opens something, but not HBONE. One that
// opens nothing cuts off nothing that works today.
func (d direction) closed() bool {
	return slices.ContainsFunc(d.rules, opensApplication) && !slices.ContainsFunc(d.rules, opensHBONE)
}

func opensHBONE(ports []networkingv1.NetworkPolicyPort) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(port networkingv1.NetworkPolicyPort) bool {
		if port.Protocol != nil && *port.Protocol != corev1.ProtocolTCP {
			return false
		}
		if port.Port == nil {
			return true
		}
		first := port.Port.IntVal
		last := first
		if port.EndPort != nil {
			last = *port.EndPort
		}
		return first <= portHBONE && portHBONE <= last
	})
}

// opensApplication says whether a rule opens more than DNS, which is all that
// many egress policies open besides their peers.
func opensApplication(ports []networkingv1.NetworkPolicyPort) bool {
	const dns = 53
	return slices.ContainsFunc(ports, func(port networkingv1.NetworkPolicyPort) bool {
		return port.Port == nil || port.Port.IntVal != dns
	})
}

// alsoOpened says whether another policy that selects all of the same pods
// opens HBONE: the rules of all policies on a pod add up.
func alsoOpened(subject Subject, policy networkingv1.NetworkPolicy, name string) bool {
	for _, other := range subject.Snapshot.NetworkPolicies(subject.Namespace.Name) {
		if other.Name == policy.Name || !selectsAllOf(subject, &other.Spec.PodSelector, &policy.Spec.PodSelector) {
			continue
		}
		for _, direction := range directionsOf(other) {
			if direction.name == name && slices.ContainsFunc(direction.rules, opensHBONE) {
				return true
			}
		}
	}
	return false
}

func selectsMoved(subject Subject, selector *metav1.LabelSelector) bool {
	return slices.ContainsFunc(subject.Snapshot.Workloads(subject.Namespace.Name), func(workload mesh.Workload) bool {
		return subject.Snapshot.RoleOf(workload, subject.Namespace) == mesh.RoleMove && matches(selector, workload.Template.Labels)
	})
}

// selectsAllOf says whether every moved workload that narrow selects is
// selected by wide too.
func selectsAllOf(subject Subject, wide, narrow *metav1.LabelSelector) bool {
	for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
		if subject.Snapshot.RoleOf(workload, subject.Namespace) == mesh.RoleMove &&
			matches(narrow, workload.Template.Labels) && !matches(wide, workload.Template.Labels) {
			return false
		}
	}
	return true
}

func matches(selector *metav1.LabelSelector, set map[string]string) bool {
	compiled, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && compiled.Matches(labels.Set(set))
}

// headlessStrict: a sidecar that calls a headless Service addresses the pod,
// not the Service, and cannot send HBONE; it falls back to plaintext, which a
// STRICT ambient pod refuses. Pods of one StatefulSet call each other so, too,
// while it is being restarted.
func headlessStrict() Check {
	return Check{
		ID: "headless-strict", Category: CategoryNetwork, Severity: v1alpha1.SeverityError,
		Needs:  append(rootNamespaces("MutatingWebhookConfiguration", "Service", "PeerAuthentication"), workloadKinds()...),
		Passed: "no headless Service has pods that accept mTLS only",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, service := range subject.Snapshot.Services(subject.Namespace.Name) {
				if service.Spec.ClusterIP != corev1.ClusterIPNone || len(service.Spec.Selector) == 0 {
					continue
				}
				for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
					template := workload.Template
					if subject.Snapshot.RoleOf(workload, subject.Namespace) != mesh.RoleMove ||
						!mesh.SelectsLabels(service.Spec.Selector, template.Labels) ||
						!subject.Snapshot.Strict(subject.Namespace.Name, template.Labels) {
						continue
					}
					findings = append(findings, Finding{
						Status:  v1alpha1.StatusFail,
						Object:  &v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: service.Namespace, Name: service.Name},
						Field:   "spec.clusterIP",
						Message: fmt.Sprintf("callers that still have a sidecar could not reach %s by this headless Service: its pods accept mTLS only", workload.Reference),
						Remedy:  "set mTLS to PERMISSIVE for it until every caller is in ambient mode",
					})
				}
			}
			return findings
		},
	}
}
