package checks

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// IDZtunnelInStep is the check for which istiod is asked.
const IDZtunnelInStep = "ztunnel-in-step"

// ztunnelInStep compares what ztunnels know with what istiod means them to.
func ztunnelInStep() Check {
	return Check{
		ID: IDZtunnelInStep, Category: CategoryDataPlane, Severity: v1alpha1.SeverityError,
		About: "Whether the ztunnels of the namespace's nodes know of its pods, Services and policies, and of mesh-wide policies, what istiod means them to know now.",
		Why: "A ztunnel that has lost istiod goes on with what it knew: pods that are gone, a waypoint that is not meant any more, a policy before it was changed. " +
			"It says Up of every pod all the while. What istiod means it to know is what istiod answers at /debug/ambientz (istio pilot/pkg/xds/debug.go); of one that runs outside the cluster that is unknown.",
		Needs: []string{"Pod", mesh.ZtunnelPods, mesh.IstioConfigMaps}, DependsThere: []string{IDZtunnelCaptured},
		Passed: "ztunnel knows of the namespace what istiod means it to know",
		Run: func(subject Subject) []Finding {
			if subject.Evidence == nil {
				return perCaptured(subject, nil)
			}
			asked := nodesAsked(subject.Snapshot, subject.Namespace.Name, subject.Evidence)
			var silent, nodes []string
			for _, pod := range expected(subject) {
				if slices.Contains(nodes, pod.Node) {
					continue
				}
				nodes = append(nodes, pod.Node)
				if _, problem := evidenceOf(subject.Evidence, pod); problem != "" {
					silent = append(silent, "node "+pod.Node)
				}
			}
			if len(nodes)+len(asked) == 0 {
				return noneCaptured()
			}
			slices.Sort(silent)
			findings := OutOfStep(subject.Snapshot, subject.Namespace, subject.Evidence)
			for i := range findings {
				if findings[i].Status == v1alpha1.StatusSkip {
					// That nobody can be asked is no evidence.
					findings[i].Status = v1alpha1.StatusUnknown
					findings[i].Remedy = "ask istiod where it runs, at /debug/ambientz, and compare that with istioctl ztunnel-config: from this cluster it cannot be asked"
				}
			}
			return slices.Concat(findings, leftOut(silent, len(nodes)))
		},
	}
}

// nodesAsked are the nodes of a namespace's pods that are in the evidence, which may hold
// others': it may have been collected for several namespaces at once.
func nodesAsked(snapshot *mesh.Snapshot, namespace string, evidence *mesh.Evidence) []string {
	own := map[string]bool{}
	for _, pod := range snapshot.Pods(namespace) {
		if _, asked := evidence.Nodes[pod.Node]; asked {
			own[pod.Node] = true
		}
	}
	return slices.Sorted(maps.Keys(own))
}

// nodesCapturing are the nodes whose ztunnels should capture pods of the namespace:
// those that ztunnel-captured is about.
func nodesCapturing(subject Subject) []string {
	with := map[string]bool{}
	for _, pod := range expected(subject) {
		with[pod.Node] = true
	}
	return slices.DeleteFunc(nodesAsked(subject.Snapshot, subject.Namespace.Name, subject.Evidence), func(node string) bool { return !with[node] })
}

// OutOfStep names the ztunnels of a namespace's nodes that know of it something else
// than istiod. Both are asked one after the other, so that what changes meanwhile
// differs for a moment.
func OutOfStep(snapshot *mesh.Snapshot, namespace mesh.Namespace, evidence *mesh.Evidence) []Finding {
	own := []string{namespace.Name}
	return outOfStep(snapshot, namespace, evidence, func(node mesh.NodeEvidence, istiod mesh.IstiodEvidence) []string {
		return slices.Concat(
			policyDifferences(snapshot, namespace, node, istiod),
			differences(own, "service", node.Services, istiod.Services, mesh.ZtunnelService.Equal, node.OnDemand),
			differences(own, "pod", node.Workloads, istiod.Workloads, mesh.ZtunnelWorkload.Equal, node.OnDemand),
		)
	})
}

// PoliciesOutOfStep is OutOfStep as to policies alone, also those that select no workload
// and hold for the namespace or the mesh: ztunnel is not told of those with each pod, and
// lets in what they would refuse for as long as it has not received them.
func PoliciesOutOfStep(snapshot *mesh.Snapshot, namespace mesh.Namespace, evidence *mesh.Evidence) []Finding {
	return outOfStep(snapshot, namespace, evidence, func(node mesh.NodeEvidence, istiod mesh.IstiodEvidence) []string {
		return policyDifferences(snapshot, namespace, node, istiod)
	})
}

func policyDifferences(snapshot *mesh.Snapshot, namespace mesh.Namespace, node mesh.NodeEvidence, istiod mesh.IstiodEvidence) []string {
	concerned := append(snapshot.RootNamespaces(), namespace.Name)
	return differences(concerned, "policy", node.Policies, istiod.Policies, func(a, b string) bool { return a == b }, false)
}

func outOfStep(snapshot *mesh.Snapshot, namespace mesh.Namespace, evidence *mesh.Evidence, compare func(mesh.NodeEvidence, mesh.IstiodEvidence) []string) []Finding {
	var findings []Finding
	unasked := map[string]bool{}
	for _, name := range nodesAsked(snapshot, namespace.Name, evidence) {
		node := evidence.Nodes[name]
		if node.Problem != "" {
			// Others say so.
			continue
		}
		istiod, asked := evidence.Istiods[node.XDSAddress]
		if !asked {
			istiod.Problem = "istiod was not asked"
		}
		if istiod.Problem != "" {
			if !unasked[istiod.Problem] {
				findings = append(findings, unaskedFinding(node, istiod))
			}
			unasked[istiod.Problem] = true
			continue
		}
		if differences := compare(node, istiod); len(differences) > 0 {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusFail, Object: ztunnelReference(node),
				Message: fmt.Sprintf("it is not in step with istiod %s: it %s", istiod.Istiod, some(differences)),
				Remedy:  fmt.Sprintf("look at its log for its connection to istiod; restarting it (kubectl -n %s delete pod %s) interrupts the connections of the node", ztunnelReference(node).Namespace, ztunnelReference(node).Name),
			})
		}
	}
	return findings
}

// unaskedFinding is about an istiod that did not say what it means. Where it runs
// elsewhere, it never will, and is not to be asked again: that is a skip.
func unaskedFinding(node mesh.NodeEvidence, istiod mesh.IstiodEvidence) Finding {
	finding := Finding{
		Status: v1alpha1.StatusUnknown, Object: ztunnelReference(node),
		Message: "what istiod means ztunnel to know cannot be told: " + istiod.Problem, Remedy: "verify again once istiod can be asked",
	}
	if istiod.Elsewhere {
		finding.Status, finding.Remedy = v1alpha1.StatusSkip, ""
	}
	return finding
}

func ztunnelReference(node mesh.NodeEvidence) *v1alpha1.ObjectReference {
	namespace, name, _ := strings.Cut(node.Ztunnel, "/")
	return &v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: namespace, Name: name}
}

// differences are what one side knows of namespaces that the other does not, or
// otherwise. What is asked for on demand only need not be known.
func differences[T any](namespaces []string, noun string, known, meant map[string]T, equal func(T, T) bool, onDemand bool) []string {
	var found []string
	for _, key := range keysWithin(namespaces, meant) {
		has, there := known[key]
		switch {
		case !there && onDemand, there && equal(has, meant[key]):
		case !there:
			found = append(found, "has not heard of "+noun+" "+key)
		default:
			found = append(found, "has another version of "+noun+" "+key)
		}
	}
	for _, key := range keysWithin(namespaces, known) {
		if _, there := meant[key]; !there {
			found = append(found, "still has "+noun+" "+key)
		}
	}
	return found
}

// keysWithin are the sorted keys "namespace/name" of some namespaces: a mesh has many
// others.
func keysWithin[T any](namespaces []string, values map[string]T) []string {
	var keys []string
	for key := range values {
		if namespace, _, _ := strings.Cut(key, "/"); slices.Contains(namespaces, namespace) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
