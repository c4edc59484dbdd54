package translate

import (
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	clientnetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// Superseded is an object that only sidecars needed: what it does lives on at
// waypoints and in guards, or nothing else than a sidecar ever reads it.
type Superseded struct {
	Object v1alpha1.ObjectReference
	// By are the objects at waypoints that do it now; none where only sidecars read it.
	By []v1alpha1.ObjectReference
	// Routes are the routes of users that say the same; none where it is no route.
	Routes []v1alpha1.ObjectReference
	// Decides is true where it may decide calls, at ztunnel as well.
	Decides bool
	// Kept says why it has to stay all the same; it is empty where nothing is known
	// that it is still needed for.
	Kept string
}

// SupersededIn returns them of a namespace whose workloads have all lost their
// sidecars, or lose them, by kind and name: routes, too, which waypoints go on to follow
// unless another one says the same. What is the mesh's own, or was never carried over,
// is not among them.
func SupersededIn(snapshot *mesh.Snapshot, namespace mesh.Namespace, translation Translation) []Superseded {
	s := &superseding{snapshot: snapshot, namespace: namespace, pods: podsOf(snapshot, namespace), translation: translation}
	if slices.Contains(snapshot.RootNamespaces(), namespace.Name) {
		return nil
	}
	for _, policy := range snapshot.AuthorizationPolicies() {
		if policy.Namespace == namespace.Name && !ours(policy.Labels) && len(mesh.TargetsOf(&policy.Spec)) == 0 {
			s.carriedOver(authorizationReference(policy), policy.Spec.GetSelector().GetMatchLabels(), true)
		}
	}
	for _, extension := range snapshot.Extensions() {
		if extension.Reference.Namespace != namespace.Name || isOurs(extension) || extension.Targeted() {
			continue
		}
		if onlyForSidecars(extension) {
			s.add(Superseded{Object: extension.Reference}, extension.Selector)
			continue
		}
		s.carriedOver(extension.Reference, extension.Selector, extension.Reference.Kind == mesh.KindRequestAuthentication)
	}
	for _, sidecar := range snapshot.Sidecars() {
		if sidecar.Namespace == namespace.Name {
			s.add(Superseded{Object: sidecarReference(sidecar)}, sidecar.Spec.GetWorkloadSelector().GetLabels())
		}
	}
	s.rerouted()
	slices.SortFunc(s.found, func(a, b Superseded) int { return strings.Compare(a.Object.String(), b.Object.String()) })
	return s.found
}

// superseding gathers what is superseded.
type superseding struct {
	snapshot    *mesh.Snapshot
	namespace   mesh.Namespace
	pods        []pods
	translation Translation
	found       []Superseded
}

// carriedOver adds an object that has copies at waypoints. What has none was not
// carried over: that its effect has ended was announced, and it stays.
func (s *superseding) carriedOver(origin v1alpha1.ObjectReference, selector map[string]string, decides bool) {
	one := Superseded{Object: origin, Decides: decides}
	lasting := false
	for _, object := range s.translation.Before {
		targets := mesh.TargetsIn(object.Content)
		if object.Origin != origin || len(targets) == 0 {
			continue
		}
		one.By = append(one.By, object.Reference)
		lasting = lasting || slices.ContainsFunc(targets, func(target mesh.Target) bool { return target.Kind == mesh.KindGateway })
	}
	if len(one.By) == 0 {
		return
	}
	if len(selector) == 0 && !lasting {
		one.Kept = "it is for the whole namespace, Services included that are yet to come, and what stands in for it is for those that are there"
	}
	s.add(one, selector)
}

// add adds an object. A proxy that the object selects goes on to read it.
func (s *superseding) add(one Superseded, selector map[string]string) {
	if proxy := s.reader(selector); proxy != "" && one.Kept == "" {
		one.Kept = proxy + " is a proxy that reads it"
	}
	s.found = append(s.found, one)
}

// reader names a proxy of the namespace that a selector selects and that is still
// there when all sidecars of pods are gone; it is empty where there is none.
func (s *superseding) reader(selector map[string]string) string {
	for _, one := range s.pods {
		if one.enforces && mesh.SelectsLabels(selector, one.labels) {
			return one.name
		}
	}
	return outsideReader(s.snapshot, s.namespace.Name, selector)
}

// onlyForSidecars says whether an EnvoyFilter patches nothing but sidecars. Waypoints
// are patched in the same contexts, but only by what has targetRefs (istio
// pilot/pkg/networking/core/cluster.go, BuildClusters, and
// pilot/pkg/model/policyattachment.go, ShouldAttachPolicy).
func onlyForSidecars(extension mesh.Extension) bool {
	patches := extension.Patches()
	return extension.Reference.Kind == mesh.KindEnvoyFilter && len(patches) > 0 && !slices.ContainsFunc(patches, func(patch mesh.Patch) bool {
		return !strings.HasPrefix(patch.Context, mesh.ContextSidecars)
	})
}

func sidecarReference(sidecar *clientnetworkingv1.Sidecar) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: networkingVersion, Kind: mesh.KindSidecar, Namespace: sidecar.Namespace, Name: sidecar.Name}
}
