package checks

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	securityv1beta1 "istio.io/api/security/v1beta1"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// peerAuthenticationModes is about PeerAuthentications that mean something else
// than they seem to say, or something else in ambient mode.
func peerAuthenticationModes() Check {
	return Check{
		ID: "peer-authentication-modes", Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Looks at which PeerAuthentication decides for each pod of this namespace, on which port, with its sidecar and without.",
		Why: "Sidecars follow the narrowest policy, the oldest of several; policies of a root namespace with a selector and modes for ports " +
			"without one are ignored (istio pilot/pkg/security/authn/policy_applier.go). For ztunnel istiod turns modes for ports into a policy " +
			"of its own, and leaves that out in some combinations with the modes of the mesh and the namespace " +
			"(pilot/pkg/serviceregistry/ambient/authorization.go, convertPeerAuthentication): the pod then accepts plaintext where its sidecar " +
			"refused it. That blocks; what holds in neither mode is announced.",
		Needs:  append(rootNamespaces(mesh.KindPeerAuthentication, mesh.KindService, "Namespace", "MutatingWebhookConfiguration"), workloadKinds()...),
		Passed: "every PeerAuthentication means the same in ambient mode",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, policy := range subject.Snapshot.PeerAuthentications() {
				root := slices.Contains(subject.Snapshot.RootNamespaces(), policy.Namespace)
				if policy.Namespace != subject.Namespace.Name && !root {
					continue
				}
				findings = append(findings, ignoredModes(subject, policy, root)...)
				if policy.Namespace == subject.Namespace.Name && !root && len(policy.Spec.GetSelector().GetMatchLabels()) > 0 {
					findings = append(findings, unknownPorts(subject, policy)...)
				}
			}
			return append(findings, changedModes(subject)...)
		},
	}
}

// ignoredModes are what Istio does not heed of a PeerAuthentication.
func ignoredModes(subject Subject, policy *clientsecurityv1.PeerAuthentication, root bool) []Finding {
	var findings []Finding
	say := func(field, message, remedy string) {
		findings = append(findings, Finding{
			Status: v1alpha1.StatusWarn, Object: securityReference(policy, mesh.KindPeerAuthentication), Field: field, Message: message, Remedy: remedy,
		})
	}
	selector := policy.Spec.GetSelector().GetMatchLabels()
	switch {
	case root && len(selector) > 0:
		if policy.Namespace == subject.Namespace.Name || selectsAny(subject, selector) {
			say("spec.selector", "Istio ignores it: a PeerAuthentication of the root namespace counts only without a selector",
				"write it in the namespace of the pods")
		}
		return findings
	case len(selector) == 0 && len(policy.Spec.GetPortLevelMtls()) > 0:
		say("spec.portLevelMtls", "Istio ignores the modes of ports: they count only in a PeerAuthentication with a selector",
			"write them in a PeerAuthentication that selects the pods")
	}
	mode := policy.Spec.GetMtls().GetMode()
	if mode == securityv1beta1.PeerAuthentication_MutualTLS_UNSET && len(policy.Spec.GetPortLevelMtls()) == 0 {
		say("spec.mtls.mode", "it sets no mode and so changes nothing: what is inherited holds", "delete it, or set the mode")
	}
	if winner := overruling(subject, policy); winner != nil {
		say("spec", "Istio ignores it: PeerAuthentication "+winner.Namespace+"/"+winner.Name+", which is older, decides for the same pods",
			"merge the two")
	}
	return findings
}

// overruling is the PeerAuthentication that decides in the place of another one
// of the same level, for all pods or, with a selector, for some.
func overruling(subject Subject, policy *clientsecurityv1.PeerAuthentication) *clientsecurityv1.PeerAuthentication {
	selector := policy.Spec.GetSelector().GetMatchLabels()
	for _, set := range labelSets(subject) {
		levels := subject.Snapshot.PeerLevelsOf(subject.Namespace.Name, set)
		deciding := levels.Workload
		if len(selector) == 0 {
			deciding = levels.Namespace
			if levels.Mesh != nil && levels.Mesh.Namespace == policy.Namespace {
				deciding = levels.Mesh
			}
		} else if !mesh.SelectsLabels(selector, set) {
			continue
		}
		if deciding != nil && deciding != policy {
			return deciding
		}
	}
	return nil
}

// labelSets are the labels of what runs in the namespace: of pod templates and of
// pods; an empty set where nothing runs.
func labelSets(subject Subject) []map[string]string {
	var sets []map[string]string
	for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
		sets = append(sets, workload.Template.Labels)
	}
	for _, pod := range subject.Snapshot.Pods(subject.Namespace.Name) {
		sets = append(sets, pod.Labels)
	}
	if len(sets) == 0 {
		return []map[string]string{{}}
	}
	return sets
}

// changedModes are the ports on which ambient mode decides otherwise than the
// sidecars did. That a port without mTLS becomes one with it is what
// peer-authentication-disable is about.
func changedModes(subject Subject) []Finding {
	var findings []Finding
	reported := map[*clientsecurityv1.PeerAuthentication]bool{}
	for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
		set := workload.Template.Labels
		policy := subject.Snapshot.PeerLevelsOf(subject.Namespace.Name, set).Workload
		if policy == nil || reported[policy] || subject.Snapshot.RoleOf(workload, subject.Namespace) != mesh.RoleMove {
			continue
		}
		now, then := subject.Snapshot.SidecarMutualTLS(subject.Namespace.Name, set), subject.Snapshot.AmbientMutualTLS(subject.Namespace.Name, set)
		opened := openedPorts(now, then)
		if len(opened) == 0 {
			continue
		}
		reported[policy] = true
		findings = append(findings, Finding{
			Status: v1alpha1.StatusFail, Object: securityReference(policy, mesh.KindPeerAuthentication), Field: "spec.portLevelMtls",
			Message: fmt.Sprintf("ztunnel would let callers without mTLS in on %s, where sidecars refuse them: istiod does not convert this combination of modes",
				some(opened)),
			Remedy: "set mtls.mode STRICT, which now comes from the mesh, in a PeerAuthentication of the namespace itself",
		})
	}
	return findings
}

func openedPorts(now, then mesh.MutualTLS) []string {
	var opened []string
	for _, port := range slices.Sorted(maps.Keys(now.Ports)) {
		if now.Refuses(port) && !then.Refuses(port) {
			opened = append(opened, "port "+strconv.Itoa(int(port)))
		}
	}
	if now.Strict && !then.Strict {
		opened = append(opened, "every other port")
	}
	return opened
}

// unknownPorts are modes for ports that no selected pod is known to listen on.
// Ports are those of pods, and it is easy to write a Service's. Containers need
// not say what they listen on: where nothing says, nothing is known.
func unknownPorts(subject Subject, policy *clientsecurityv1.PeerAuthentication) []Finding {
	known, published := listening(subject, policy.Spec.GetSelector().GetMatchLabels())
	if len(known) == 0 {
		return nil
	}
	var findings []Finding
	for _, port := range slices.Sorted(maps.Keys(policy.Spec.GetPortLevelMtls())) {
		if known[port] {
			continue
		}
		message := fmt.Sprintf("no container or Service says that the pods listen on port %d: the mode holds for no traffic", port)
		if service := published[port]; service != "" {
			message = fmt.Sprintf("port %d is that of Service %s, not one that the pods listen on: the mode holds for no traffic", port, service)
		}
		findings = append(findings, Finding{
			Status: v1alpha1.StatusWarn, Object: securityReference(policy, mesh.KindPeerAuthentication), Field: fmt.Sprintf("spec.portLevelMtls[%d]", port),
			Message: message, Remedy: "name the port that the container listens on",
		})
	}
	return findings
}

// listening returns the ports that selected pods are known to listen on, and the
// Services' own ports by the Service.
func listening(subject Subject, selector map[string]string) (known map[uint32]bool, published map[uint32]string) {
	known, published = map[uint32]bool{}, map[uint32]string{}
	services := subject.Snapshot.Services(subject.Namespace.Name)
	add := func(set map[string]string, spec corev1.PodSpec) {
		if !mesh.SelectsLabels(selector, set) {
			return
		}
		for _, port := range containerPorts(spec) {
			known[port] = true
		}
		for _, service := range services {
			if len(service.Spec.Selector) == 0 || !mesh.SelectsLabels(service.Spec.Selector, set) {
				continue
			}
			for _, port := range service.Spec.Ports {
				published[mesh.PortNumber(port.Port)] = service.Name
				for _, target := range targetPorts(port, spec) {
					known[target] = true
				}
			}
		}
	}
	for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
		add(workload.Template.Labels, workload.Template.Spec)
	}
	for _, pod := range subject.Snapshot.Pods(subject.Namespace.Name) {
		add(pod.Labels, podSpec(pod))
	}
	return known, published
}

// podSpec reads the spec of a pod, as far as its type knows it.
func podSpec(pod mesh.Pod) corev1.PodSpec {
	var typed corev1.Pod
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(pod.Object, &typed); err != nil {
		return corev1.PodSpec{}
	}
	return typed.Spec
}

// targetPorts are the ports of a pod that a Service's port leads to.
func targetPorts(port corev1.ServicePort, spec corev1.PodSpec) []uint32 {
	switch {
	case port.TargetPort.Type == intstr.Int && port.TargetPort.IntVal == 0:
		return []uint32{mesh.PortNumber(port.Port)}
	case port.TargetPort.Type == intstr.Int:
		return []uint32{mesh.PortNumber(port.TargetPort.IntVal)}
	}
	var ports []uint32
	for _, container := range spec.Containers {
		for _, named := range container.Ports {
			if named.Name == port.TargetPort.StrVal {
				ports = append(ports, mesh.PortNumber(named.ContainerPort))
			}
		}
	}
	return ports
}
