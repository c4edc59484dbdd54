package mesh

import (
	"maps"
	"slices"

	securityv1beta1 "istio.io/api/security/v1beta1"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// MutualTLS says where a pod refuses callers without mTLS.
type MutualTLS struct {
	// Strict is for all ports that Ports does not name.
	Strict bool
	// Ports are those of the pod that a PeerAuthentication names.
	Ports map[uint32]bool
}

// Refuses says whether a caller without mTLS is refused on a port.
func (m MutualTLS) Refuses(port uint32) bool {
	if strict, named := m.Ports[port]; named {
		return strict
	}
	return m.Strict
}

// RefusesAny says whether there is a port on which one is.
func (m MutualTLS) RefusesAny() bool {
	return m.Strict || slices.Contains(slices.Collect(maps.Values(m.Ports)), true)
}

// Exceptions are the ports on which callers without mTLS are accepted although others
// refuse them, and those on which they are refused although others accept them, in order.
func (m MutualTLS) Exceptions() (open, strict []uint32) {
	for _, port := range slices.Sorted(maps.Keys(m.Ports)) {
		switch {
		case m.Ports[port] && !m.Strict:
			strict = append(strict, port)
		case !m.Ports[port] && m.Strict:
			open = append(open, port)
		}
	}
	return open, strict
}

// PeerLevels are the PeerAuthentications that decide for a pod, each the oldest
// of its level; nil where a level has none.
type PeerLevels struct {
	Mesh, Namespace, Workload *clientsecurityv1.PeerAuthentication
}

// PeerLevelsOf returns those of a pod with these labels. Policies of a root
// namespace that have a selector count nowhere (istio
// pilot/pkg/security/authn/policy_applier.go, ComposePeerAuthentication).
func (s *Snapshot) PeerLevelsOf(namespace string, podLabels map[string]string) PeerLevels {
	return s.peerLevels(namespace, podLabels, func(policy *clientsecurityv1.PeerAuthentication) bool {
		return len(policy.Spec.GetSelector().GetMatchLabels()) == 0
	})
}

func (s *Snapshot) peerLevels(namespace string, podLabels map[string]string, wide func(*clientsecurityv1.PeerAuthentication) bool) PeerLevels {
	roots := s.RootNamespaces()
	var levels PeerLevels
	older := func(level **clientsecurityv1.PeerAuthentication, policy *clientsecurityv1.PeerAuthentication) {
		if *level == nil || policy.CreationTimestamp.Before(&(*level).CreationTimestamp) {
			*level = policy
		}
	}
	for _, policy := range s.peerAuthentications {
		selector := policy.Spec.GetSelector().GetMatchLabels()
		root := slices.Contains(roots, policy.Namespace)
		switch {
		case wide(policy) && root:
			older(&levels.Mesh, policy)
		case wide(policy) && policy.Namespace == namespace:
			older(&levels.Namespace, policy)
		case len(selector) > 0 && !root && policy.Namespace == namespace && subset(selector, podLabels):
			older(&levels.Workload, policy)
		}
	}
	return levels
}

func modeOf(policy *clientsecurityv1.PeerAuthentication) securityv1beta1.PeerAuthentication_MutualTLS_Mode {
	if policy == nil {
		return securityv1beta1.PeerAuthentication_MutualTLS_UNSET
	}
	return policy.Spec.GetMtls().GetMode()
}

// The modes, for short.
const (
	modeUnset      = securityv1beta1.PeerAuthentication_MutualTLS_UNSET
	modeDisable    = securityv1beta1.PeerAuthentication_MutualTLS_DISABLE
	modePermissive = securityv1beta1.PeerAuthentication_MutualTLS_PERMISSIVE
	modeStrict     = securityv1beta1.PeerAuthentication_MutualTLS_STRICT
)

// SidecarMutualTLS says what the sidecar of a pod with these labels refuses
// (istio pilot/pkg/security/authn/policy_applier.go, ComposePeerAuthentication).
func (s *Snapshot) SidecarMutualTLS(namespace string, podLabels map[string]string) MutualTLS {
	levels := s.PeerLevelsOf(namespace, podLabels)
	mode := modePermissive
	for _, policy := range []*clientsecurityv1.PeerAuthentication{levels.Mesh, levels.Namespace, levels.Workload} {
		if own := modeOf(policy); own != modeUnset {
			mode = own
		}
	}
	result := MutualTLS{Strict: mode == modeStrict, Ports: map[uint32]bool{}}
	if levels.Workload == nil {
		return result
	}
	for port, mtls := range levels.Workload.Spec.GetPortLevelMtls() {
		result.Ports[port] = mtls.GetMode() == modeStrict || mtls.GetMode() == modeUnset && result.Strict
	}
	return result
}

// AmbientMutualTLS says what ztunnel refuses for a pod with these labels. It
// follows istiod step by step, its mistakes included: which policies istiod tells
// ztunnel to apply to a pod (istio pilot/pkg/serviceregistry/ambient/authorization.go,
// convertedSelectorPeerAuthentications), and what it sends of them
// (convertPeerAuthentication). ztunnel passes over a policy that it is told to
// apply and was never sent (ztunnel src/state.rs, assert_rbac).
func (s *Snapshot) AmbientMutualTLS(namespace string, podLabels map[string]string) MutualTLS {
	levels := s.PeerLevelsOf(namespace, podLabels)
	strict := modeOf(levels.Mesh) == modeStrict
	if mode := modeOf(levels.Namespace); mode != modeUnset {
		strict = mode == modeStrict
	}
	if levels.Workload == nil {
		return MutualTLS{Strict: strict}
	}
	mode := modeOf(levels.Workload)
	if mode != modeUnset {
		strict = mode == modeStrict
	}
	has := portModes(levels.Workload)
	var own bool
	switch {
	case mode == modeStrict:
		own = has[modePermissive] || has[modeDisable]
	case mode == modeUnset && strict:
		own = has[modePermissive]
	default:
		own = has[modeStrict]
	}
	if !own {
		return MutualTLS{Strict: strict}
	}
	// Here, other than above, istiod takes an empty selector for one.
	sent := s.peerLevels(namespace, podLabels, func(policy *clientsecurityv1.PeerAuthentication) bool { return policy.Spec.GetSelector() == nil })
	sent.Workload = levels.Workload
	return sent.converted()
}

func portModes(policy *clientsecurityv1.PeerAuthentication) map[securityv1beta1.PeerAuthentication_MutualTLS_Mode]bool {
	modes := map[securityv1beta1.PeerAuthentication_MutualTLS_Mode]bool{}
	for _, mtls := range policy.Spec.GetPortLevelMtls() {
		modes[mtls.GetMode()] = true
	}
	return modes
}

// converted is what istiod makes of a PeerAuthentication with modes for ports: a
// DENY of callers without identity, on some ports or on all but some.
func (l PeerLevels) converted() MutualTLS {
	mode := modeOf(l.Workload)
	namespace, mesh := modeOf(l.Namespace), modeOf(l.Mesh)
	byMesh := mesh == modeStrict && namespace == modeUnset
	closed, open := map[uint32]bool{}, map[uint32]bool{}
	for port, mtls := range l.Workload.Spec.GetPortLevelMtls() {
		switch mtls.GetMode() {
		case modeStrict:
			// The mesh's mode counts here whatever the workload's own is.
			if mode == modeStrict || mode == modeUnset && namespace == modeStrict || byMesh {
				continue
			}
			closed[port] = true
		case modePermissive, modeDisable:
			// A policy of the namespace that sets no mode counts as not strict.
			lax := l.Namespace != nil && namespace != modeStrict || l.Namespace == nil && mesh != modeStrict
			if mode == modePermissive || mode == modeDisable || mode == modeUnset && lax {
				continue
			}
			open[port] = false
		default:
		}
	}
	parentStrict := byMesh || namespace == modeStrict
	result := MutualTLS{Strict: len(open) > 0 && (mode == modeStrict || parentStrict), Ports: closed}
	if result.Strict {
		maps.Copy(result.Ports, open)
	}
	return result
}

// subset says whether a set holds all required labels, as istiod compares them:
// character by character.
func subset(required, set map[string]string) bool {
	for key, value := range required {
		if actual, is := set[key]; !is || actual != value {
			return false
		}
	}
	return true
}
