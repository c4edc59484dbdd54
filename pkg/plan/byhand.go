package plan

import (
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// byHand is what an operator should know of a workload whose pods are not replaced by
// a controller of Kubernetes.
func byHand(workload mesh.Workload) []string {
	if workload.Reference.Kind == mesh.KindRollout {
		return []string{"Argo Rollouts replaces its pods by the strategy of the Rollout, whose steps and pauses are waited for"}
	}
	if rollsNodes(workload) {
		return nodesAtATime(workload.Restart())
	}
	if !workload.ByHand() {
		return nil
	}
	order := "one at a time"
	switch workload.Reference.Kind {
	case mesh.KindStatefulSet:
		order = "one at a time, the highest ordinal first"
	case mesh.KindDaemonSet:
		order = "one node at a time"
	}
	return []string{"its controller replaces no pods when the template changes: they are evicted, " + order + ", PodDisruptionBudgets respected"}
}

// rollsNodes says whether a DaemonSet's controller replaces its pods, of as many nodes at
// a time as its strategy says.
func rollsNodes(workload mesh.Workload) bool {
	return workload.Reference.Kind == mesh.KindDaemonSet && !workload.ByHand()
}

func nodesAtATime(restart mesh.Restart) []string {
	field, nodes := "maxUnavailable", restart.Unavailable
	if restart.Surge > 0 {
		field, nodes = "maxSurge", restart.Surge
	}
	if nodes <= 1 {
		return nil
	}
	return []string{fmt.Sprintf("its controller replaces the pods of %d nodes at a time, as spec.updateStrategy.rollingUpdate.%s says", nodes, field)}
}

// replacing is what an operator should know of how a workload's pods are replaced in an
// enrolment.
func (e enrolment) replacing(workload mesh.Workload) []string {
	notes := byHand(workload)
	if e.options.Cordon && rollsNodes(workload) {
		notes = append(notes, "no node is cordoned: --cordon is for DaemonSets with OnDelete, whose pods the run replaces itself")
	}
	return notes
}

// cordons says whether cordoning nodes is about a workload's pods.
func cordons(workload mesh.Workload) bool {
	return workload.ByHand() && workload.Reference.Kind == mesh.KindDaemonSet
}

// Cordoning has a rollback cordon the nodes of DaemonSets whose pods it replaces
// itself.
func Cordoning(snapshot *mesh.Snapshot, planned *v1alpha1.MigrationPlan) {
	for i := range planned.Steps {
		gate := &planned.Steps[i].Gate
		if gate.Kind != v1alpha1.GateInjected {
			continue
		}
		gate.Cordon = len(gate.Workloads) == 0
		for _, reference := range gate.Workloads {
			workload, found := snapshot.Workload(reference)
			gate.Cordon = gate.Cordon || found && cordons(workload)
		}
		if gate.Cordon {
			// It is taken by itself.
			planned.Steps[i].Wave = 0
		}
	}
}

// NodeReference names a node as an object.
func NodeReference(name string) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: "v1", Kind: mesh.KindNode, Name: name}
}

// Cordon cordons a node for a run in a namespace, and says so on it: two writes of
// one object are one, so that it is never cordoned without a trace, and what somebody
// else has cordoned bears none.
func Cordon(node, namespace string) v1alpha1.Change {
	return v1alpha1.Change{Object: NodeReference(node), Fields: []v1alpha1.FieldChange{
		{Path: unschedulablePath, After: true}, {Path: cordonedPath(), After: namespace},
	}}
}

// Uncordon takes back what Cordon did.
func Uncordon(node, namespace string) v1alpha1.Change {
	return v1alpha1.Change{Object: NodeReference(node), Fields: []v1alpha1.FieldChange{
		{Path: unschedulablePath, Before: true}, {Path: cordonedPath(), Before: namespace},
	}}
}

const unschedulablePath = "/spec/unschedulable"

func cordonedPath() string { return Pointer("/metadata/annotations", v1alpha1.CordonedAnnotation) }

// uncordonSteps are for the nodes that a run in the namespace has cordoned and, since
// it was killed, has not uncordoned.
func uncordonSteps(snapshot *mesh.Snapshot, namespace mesh.Namespace, state *Projection, phase v1alpha1.Phase) ([]v1alpha1.Step, error) {
	var steps []v1alpha1.Step
	for _, node := range snapshot.Nodes() {
		if node.Annotations[v1alpha1.CordonedAnnotation] != namespace.Name {
			continue
		}
		reference := NodeReference(node.Name)
		step := v1alpha1.Step{
			ID: stepID(phase, reference), Phase: phase, Summary: "uncordon " + shortName(reference),
			Notes: []string{"a run that was interrupted has left it cordoned"},
			Gate:  v1alpha1.Gate{Kind: v1alpha1.GateNone},
		}
		if err := state.changes(&step, reference, []edit{{unschedulablePath, nil}, {cordonedPath(), nil}}); err != nil {
			return nil, err
		}
		steps = appendStep(steps, step)
	}
	return steps, nil
}

func (e enrolment) uncordon() ([]v1alpha1.Step, error) {
	return uncordonSteps(e.snapshot, e.namespace, e.state, v1alpha1.PhaseRestartWorkloads)
}

func (r *rollback) uncordon() error {
	steps, err := uncordonSteps(r.snapshot, r.namespace, r.state, v1alpha1.PhaseRestoreWorkloads)
	r.plan.Steps = append(r.plan.Steps, steps...)
	return err
}
