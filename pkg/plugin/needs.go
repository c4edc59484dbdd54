package plugin

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/actions"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// needs are what somebody has to be allowed to do, each once. What is needed in no
// namespace is needed for the whole cluster.
type needs []authorizationv1.ResourceAttributes

func (n *needs) add(in, group, resource, subresource string, verbs ...string) {
	for _, verb := range verbs {
		need := authorizationv1.ResourceAttributes{Namespace: in, Group: group, Resource: resource, Subresource: subresource, Verb: verb}
		if !slices.Contains(*n, need) {
			*n = append(*n, need)
		}
	}
}

// and are these needs with those of others that are not among them.
func (n needs) and(others needs) needs {
	all := slices.Clone(n)
	for _, need := range others {
		if !slices.Contains(all, need) {
			all = append(all, need)
		}
	}
	return all
}

// needsOf lists what a run in a namespace does beyond reading the mesh: write what
// the plan changes, watch what its gates wait for, keep the record, replace pods where a
// gate does, and ask the ztunnels, which run in the namespaces given.
func needsOf(planned v1alpha1.MigrationPlan, namespace string, ztunnels []string, mapper meta.RESTMapper) (needs, error) {
	var needed needs
	err := needed.addChanges(planned, mapper, func(change v1alpha1.Change) []string {
		switch {
		case change.Create != nil && plan.Ours(change.Create):
			// It is applied, which takes both verbs where it creates (Kubernetes
			// documentation, Server-Side Apply).
			return []string{"get", "create", "patch"}
		case change.Create != nil:
			return []string{"get", "create"}
		case change.Delete:
			return []string{"get", "delete"}
		default:
			return []string{"get", "patch"}
		}
	})
	if err != nil {
		return nil, err
	}
	if err := needed.addFollowing(planned, namespace, mapper); err != nil {
		return nil, err
	}
	asks := false
	for _, step := range planned.Steps {
		if step.Gate.Replaces {
			needed.add(namespace, "", "pods", "eviction", "create")
		}
		if step.Gate.Kind == v1alpha1.GateInjected {
			needed.addReplacing(namespace)
		}
		// The end of a rollback asks ztunnel as well, and does not depend on it.
		asks = asks || step.Gate.Kind == v1alpha1.GateCaptured || step.Gate.Kind == v1alpha1.GateVerified
	}
	if asks {
		needed.add("", "", "pods", "", "list")
		for _, in := range ztunnels {
			needed.add(in, "", "pods", "portforward", "create")
		}
	}
	return needed, nil
}

// needsBack lists what a rollback of some plans needs. Where it is made at once, a
// run for a single Service is rolled back like any other, which looks after pods.
func needsBack(plans []v1alpha1.MigrationPlan, namespace string, atOnce bool, mapper meta.RESTMapper) (needs, error) {
	var needed needs
	for _, planned := range plans {
		err := needed.addChanges(planned, mapper, func(change v1alpha1.Change) []string {
			switch {
			case change.Create != nil:
				return []string{"get", "delete"}
			case change.Delete:
				// It is made again.
				return []string{"get", "create"}
			default:
				return []string{"get", "patch"}
			}
		})
		if err != nil {
			return nil, err
		}
		if err := needed.addFollowing(planned, namespace, mapper); err != nil {
			return nil, err
		}
		if leavesPods := !atOnce && planned.Options != nil && planned.Options.Service != ""; !leavesPods && !onlyRefreshes(planned) {
			needed.addReplacing(namespace)
		}
	}
	return needed, nil
}

// onlyRefreshes says whether a plan leaves pods with sidecars, so that its rollback has
// none to replace.
func onlyRefreshes(planned v1alpha1.MigrationPlan) bool {
	return !slices.ContainsFunc(planned.Steps, func(step v1alpha1.Step) bool { return step.Phase != v1alpha1.PhaseRefreshSidecars })
}

// cordonVerbs are what it takes to cordon a node, and to uncordon it.
var cordonVerbs = []string{"get", "patch"}

// addChanges adds what it takes to make each change of a plan, by its verbs.
func (n *needs) addChanges(planned v1alpha1.MigrationPlan, mapper meta.RESTMapper, verbs func(v1alpha1.Change) []string) error {
	for _, step := range planned.Steps {
		for _, change := range step.Changes {
			kind := schema.FromAPIVersionAndKind(change.Object.APIVersion, change.Object.Kind)
			mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
			if err != nil {
				return fmt.Errorf("%s: %w", change.Object, err)
			}
			in := change.Object.Namespace
			if change.Object.Kind == mesh.KindNamespace {
				// A namespace is in itself, as far as permissions go (Kubernetes
				// staging/src/k8s.io/apiserver/pkg/endpoints/request/requestinfo.go).
				in = change.Object.Name
			}
			n.add(in, mapping.Resource.Group, mapping.Resource.Resource, "", verbs(change)...)
		}
		if step.Gate.Cordon {
			n.add("", "", "nodes", "", cordonVerbs...)
		}
	}
	return nil
}

// addFollowing adds what it takes to follow a run, to keep its record, and to hold its
// locks.
func (n *needs) addFollowing(planned v1alpha1.MigrationPlan, namespace string, mapper meta.RESTMapper) error {
	watches, err := actions.WatchesOf(planned, namespace, mapper)
	if err != nil {
		return err
	}
	for _, watch := range watches {
		n.add(watch.Namespace, watch.Resource.Group, watch.Resource.Resource, "", "list", "watch")
	}
	n.add(namespace, "", "configmaps", "", "create", "get", "update", "delete", "list")
	for _, locked := range plan.Namespaces(planned) {
		n.add(locked, "coordination.k8s.io", "leases", "", "create", "get", "update", "delete")
	}
	return nil
}

// addReplacing adds what it takes to replace pods that lack their sidecars: those that
// serve are evicted, those that do not are deleted.
func (n *needs) addReplacing(namespace string) {
	n.add(namespace, "", "pods", "", "delete")
	n.add(namespace, "", "pods", "eviction", "create")
}

// ztunnelNamespaces are where ztunnel's pods run; everywhere where none was seen, since
// it is then by those that come up that a run would be told.
func ztunnelNamespaces(snapshot *mesh.Snapshot) []string {
	var namespaces []string
	for _, pod := range snapshot.AllPods() {
		if pod.IsZtunnel() && !slices.Contains(namespaces, pod.Namespace) {
			namespaces = append(namespaces, pod.Namespace)
		}
	}
	if len(namespaces) == 0 {
		return []string{""}
	}
	slices.Sort(namespaces)
	return namespaces
}
