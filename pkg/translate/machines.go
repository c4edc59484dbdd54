package translate

import (
	"maps"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// machinesOf are the virtual machines of a namespace, and the groups by which others
// may register at any time. They have no ztunnel and stay on their sidecars, which
// enforce what selects them; a waypoint in front of a service calls those behind it
// as it calls pods. A plain address outside the mesh is none.
func machinesOf(snapshot *mesh.Snapshot, namespace mesh.Namespace) []pods {
	var all []pods
	for _, entry := range snapshot.WorkloadEntries() {
		if entry.Namespace == namespace.Name && mesh.IsMachine(entry) {
			all = append(all, pods{
				name: mesh.KindWorkloadEntry + " " + entry.Name, labels: mesh.MachineLabels(entry),
				ports: maps.Clone(entry.Spec.GetPorts()), machine: true, enforces: true, stays: true,
			})
		}
	}
	for _, group := range snapshot.WorkloadGroups() {
		if group.Namespace == namespace.Name {
			all = append(all, pods{
				name: mesh.KindWorkloadGroup + " " + group.Name, labels: group.Spec.GetMetadata().GetLabels(),
				ports: maps.Clone(group.Spec.GetTemplate().GetPorts()), machine: true, enforces: true, stays: true,
			})
		}
	}
	return all
}

// outsideReader names an entry or a group of a namespace that a selector selects; it
// is empty where there is none. An entry that shows no identity may all the same
// stand for a proxy, which reads what selects it.
func outsideReader(snapshot *mesh.Snapshot, namespace string, selector map[string]string) string {
	for _, entry := range snapshot.WorkloadEntries() {
		if entry.Namespace == namespace && mesh.SelectsLabels(selector, mesh.MachineLabels(entry)) {
			return mesh.KindWorkloadEntry + " " + entry.Name
		}
	}
	for _, group := range snapshot.WorkloadGroups() {
		if group.Namespace == namespace && mesh.SelectsLabels(selector, group.Spec.GetMetadata().GetLabels()) {
			return mesh.KindWorkloadGroup + " " + group.Name
		}
	}
	return ""
}

// machines notes the virtual machines that a waypoint comes to call and whose
// sidecars decide by policies: no model of them as servers tells how calls to them
// are decided.
func (t *translator) machines(policies []*clientsecurityv1.AuthorizationPolicy) {
	for _, policy := range policies {
		selector := policy.Spec.GetSelector().GetMatchLabels()
		for _, service := range t.behind(selector) {
			for _, one := range service.pods {
				if !one.machine || !mesh.SelectsLabels(selector, one.labels) {
					continue
				}
				note := MachineBehind{Machine: one.name, Service: service.reference, Policy: authorizationReference(policy)}
				if !slices.Contains(t.translation.Machines, note) {
					t.translation.Machines = append(t.translation.Machines, note)
				}
			}
		}
	}
}

// MachineBehind is a virtual machine, or a group of them, behind a service with a
// waypoint, and a policy that its sidecar decides by.
type MachineBehind struct {
	// Machine is its kind and name.
	Machine         string
	Service, Policy v1alpha1.ObjectReference
}
