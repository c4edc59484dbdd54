package plan

import (
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
)

// unseenIn says how callers of other namespaces call that nobody has seen: as a pod
// would that came up there without labels of its own. They are not in a namespace whose
// labels say ambient mode, so that no identity that nobody has holds up what comes after
// it. Where nothing is injected and nothing captured, only pods that ask for it
// themselves are in the mesh, and those that are there stand for them. Of namespaces
// that are not among these nothing is known: callers there count as those with sidecars.
func unseenIn(snapshot *mesh.Snapshot, atHand []string, groups []compare.Group) map[string]access.Mode {
	injectors := snapshot.Injectors()
	rule, err := snapshot.EnrolmentRule()
	modes := map[string]access.Mode{}
	for _, namespace := range snapshot.Namespaces() {
		if slices.Contains(atHand, namespace.Name) || injectors.Inject(namespace.Labels, nil, nil, false) {
			continue
		}
		inhabited := slices.ContainsFunc(groups, func(group compare.Group) bool {
			return group.Namespace == namespace.Name && group.ServiceAccount == ""
		})
		switch bare := (mesh.Pod{Namespace: namespace.Name}); {
		case err == nil && rule.Captures(bare, namespace.Labels):
			modes[namespace.Name] = access.ModeAmbient
		case inhabited:
			modes[namespace.Name] = access.ModeOutside
		}
	}
	return modes
}

// accountsOf are the identities that a gateway of another namespace calls with, by the
// name of its workload: of its pods no more than metadata is known. Its account has that
// name where Istio makes it (istio manifests/charts/gateway/templates/_helpers.tpl, and
// pilot/pkg/config/kube/gateway/deploymentcontroller.go), or one that begins with it
// (manifests/charts/gateways/istio-ingress/templates/serviceaccount.yaml). By these, a
// gateway is not taken for a workload with a sidecar that nobody has seen.
func accountsOf(snapshot *mesh.Snapshot, pod mesh.Pod) []access.Identity {
	owner, owned := snapshot.OwnerOf(pod)
	if !owned {
		return nil
	}
	name := owner.Name
	if hash := pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]; owner.Kind == mesh.KindReplicaSet && hash != "" {
		name = strings.TrimSuffix(name, "-"+hash)
	}
	var identities []access.Identity
	for _, account := range []string{name, name + "-service-account"} {
		identities = append(identities, access.Identity{TrustDomain: snapshot.TrustDomain(), Namespace: pod.Namespace, ServiceAccount: account})
	}
	return identities
}
