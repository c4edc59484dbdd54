package mesh

import (
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	securityv1beta1 "istio.io/api/security/v1beta1"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// FromWaypointPrefix begins the names of policies that let a waypoint through to the
// pods of a selector: one for all ALLOW policies that have it.
const FromWaypointPrefix = "from-waypoint-"

// Orphan is an object that an enrolment has made from another, which is gone although
// no run has deleted it.
type Orphan struct {
	Object v1alpha1.ObjectReference
	// Origin is what it was made from, as messages name it.
	Origin string
}

// Orphans returns those of a namespace. Which object one was made from, its annotation
// says; what is of a kind that was not read is not taken for gone.
func (s *Snapshot) Orphans(namespace string) []Orphan {
	there := map[string]bool{}
	for _, policy := range s.authorizationPolicies {
		there[SecurityReference(KindAuthorizationPolicy, policy.Namespace, policy.Name).String()] = true
	}
	for _, extension := range s.extensions {
		there[extension.Reference.String()] = true
	}
	var orphans []Orphan
	add := func(object v1alpha1.ObjectReference, labels, annotations map[string]string) {
		origin := annotations[v1alpha1.OriginLabel]
		kind, of, _ := strings.Cut(origin, " ")
		in, _, _ := strings.Cut(of, "/")
		simplified := annotations[v1alpha1.SimplifiedAnnotation] != ""
		if object.Namespace == namespace && labels[v1alpha1.OriginLabel] != "" && !simplified && of != "" && !there[origin] && s.Coverage(kind, in).Known() {
			orphans = append(orphans, Orphan{Object: object, Origin: origin})
		}
	}
	for _, policy := range s.authorizationPolicies {
		if !s.letsWaypointThrough(policy) {
			add(SecurityReference(KindAuthorizationPolicy, policy.Namespace, policy.Name), policy.Labels, policy.Annotations)
		}
	}
	for _, extension := range s.extensions {
		add(extension.Reference, extension.Labels(), extension.Annotations())
	}
	return orphans
}

// letsWaypointThrough says whether a policy admits a waypoint to pods that another
// ALLOW policy than the one it was made from selects just so.
func (s *Snapshot) letsWaypointThrough(policy *clientsecurityv1.AuthorizationPolicy) bool {
	if !strings.HasPrefix(policy.Name, FromWaypointPrefix) {
		return false
	}
	roots := s.RootNamespaces()
	return slices.ContainsFunc(s.authorizationPolicies, func(other *clientsecurityv1.AuthorizationPolicy) bool {
		return other.Labels[v1alpha1.OriginLabel] == "" && other.Spec.GetAction() == securityv1beta1.AuthorizationPolicy_ALLOW &&
			len(TargetsOf(&other.Spec)) == 0 && (other.Namespace == policy.Namespace || slices.Contains(roots, other.Namespace)) &&
			maps.Equal(other.Spec.GetSelector().GetMatchLabels(), policy.Spec.GetSelector().GetMatchLabels())
	})
}
