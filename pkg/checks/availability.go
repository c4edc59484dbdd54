package checks

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// movedWorkloads are the workloads of the namespace at hand whose pods lose their
// sidecars.
func movedWorkloads(subject Subject) []mesh.Workload {
	return slices.DeleteFunc(subject.Snapshot.Workloads(subject.Namespace.Name), func(workload mesh.Workload) bool {
		return subject.Snapshot.RoleOf(workload, subject.Namespace) != mesh.RoleMove
	})
}

// renewedWorkloads are those of them that make new pods from their changed
// template, at once, at their next run, or as their pods are deleted. Jobs do not.
func renewedWorkloads(subject Subject) []mesh.Workload {
	return slices.DeleteFunc(movedWorkloads(subject), func(workload mesh.Workload) bool {
		return workload.Reference.Kind == mesh.KindJob
	})
}

// moveNeeds are the kinds that tell which workloads are moved, and more.
func moveNeeds(more ...string) []string {
	return slices.Concat(workloadKinds(), []string{mesh.KindMutatingWebhookConfiguration}, more)
}

func restartAvailability() Check {
	return availability(func(subject Subject) (restarted, evicted []mesh.Workload) {
		if subject.byNamespace() {
			return nil, movedWorkloads(subject)
		}
		// What is kept out gets a label on its template, which restarts it, too.
		return slices.DeleteFunc(subject.Snapshot.Workloads(subject.Namespace.Name), func(workload mesh.Workload) bool {
			return subject.Snapshot.RoleOf(workload, subject.Namespace) == mesh.RoleStay
		}), nil
	})
}

// availability is about the workloads that are restarted by their own strategy, and those
// whose pods are evicted.
func availability(of func(Subject) (restarted, evicted []mesh.Workload)) Check {
	return Check{
		ID: "restart-availability", Category: CategoryWorkloads, Severity: v1alpha1.SeverityWarning,
		About: "For each workload that is restarted, whether its strategy lets all of its pods be missing at a time.",
		Why: "Moving a workload restarts it once, by its own strategy, and so does keeping one out of ambient mode. With Recreate, with a single pod that has to go before the next one comes " +
			"(StatefulSets and DaemonSets, Deployments without surge), or with a maxUnavailable that covers every replica, that restart is an outage, " +
			"however gently it is done. The numbers are rounded as the controllers do (kubernetes pkg/controller/deployment/util/deployment_util.go, " +
			"pkg/controller/statefulset/stateful_set_utils.go, pkg/controller/daemon/util/daemonset_util.go). " +
			"With --strategy=namespace, and on the way back where no template brings the sidecars, pods are evicted, one at a time and without surge, so that every workload with a single pod has an outage. " +
			"Whether there is room for surging pods on the nodes, of one workload or, with --max-parallel-restarts, of several at a time, is not looked at.",
		Needs:  moveNeeds(),
		Passed: "every restart leaves pods to serve",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			judged := func(workloads []mesh.Workload, judge func(mesh.Workload) (field, message, remedy string)) {
				for _, workload := range workloads {
					if field, message, remedy := judge(workload); message != "" {
						findings = append(findings, Finding{
							Status: v1alpha1.StatusWarn, Object: reference(workload.Reference), Field: field, Message: message, Remedy: remedy,
						})
					}
				}
			}
			restarted, evicted := of(subject)
			judged(restarted, outage)
			judged(evicted, evictionOutage)
			return findings
		},
	}
}

// Outage says why nobody serves for a moment while a workload is restarted by its own
// strategy; it is empty where somebody does.
func Outage(workload mesh.Workload) string {
	_, message, _ := outage(workload)
	return message
}

// outage says why nobody serves for a moment while a workload is restarted.
func outage(workload mesh.Workload) (field, message, remedy string) {
	const single = "its only pod stops before the new one starts, so the restart is an outage"
	restart := workload.Restart()
	switch {
	case !workload.Renews() || workload.Replicas == 0 || restart.Unavailable < workload.Replicas:
		return "", "", ""
	case workload.Recreate:
		return "spec.strategy.type", fmt.Sprintf("Recreate stops %s before it starts new ones, so the restart is an outage", all(workload.Replicas)),
			patch(workload.Reference, `{"spec":{"strategy":{"type":"RollingUpdate","rollingUpdate":null}}}`) + ", or move it when an outage is acceptable"
	case workload.Replicas > 1:
		return strategyField(workload, "maxUnavailable"), fmt.Sprintf("it lets %s be missing at a time, so the restart is an outage", all(workload.Replicas)),
			"set a lower maxUnavailable for the migration"
	case workload.Reference.Kind == mesh.KindStatefulSet || workload.Reference.Kind == mesh.KindReplicaSet:
		return "spec.replicas", single, "run a second replica, if it can, or move it when an outage is acceptable"
	case workload.Reference.Kind == mesh.KindDaemonSet:
		return "status.desiredNumberScheduled", single, "set spec.updateStrategy.rollingUpdate to maxSurge: 1 and maxUnavailable: 0, or move it when an outage is acceptable"
	case restart.Surge == 0:
		return strategyField(workload, "maxSurge"), single, "set maxSurge: 1, or run a second replica"
	default:
		return strategyField(workload, "maxUnavailable"), "its only pod may stop before the new one is ready, so the restart can be an outage",
			"set maxUnavailable: 0, or run a second replica"
	}
}

// evictionOutage says why nobody serves for a moment while the pods of a workload are
// evicted one at a time: the next one comes when its predecessor goes.
func evictionOutage(workload mesh.Workload) (field, message, remedy string) {
	const single = "its only pod is evicted before the next one is ready, so moving it is an outage"
	switch {
	case workload.Replicas != 1 || workload.Reference.Kind == mesh.KindCronJob || workload.Reference.Kind == mesh.KindJob:
		return "", "", ""
	case workload.Reference.Kind == mesh.KindDaemonSet:
		return "status.desiredNumberScheduled", single, "move it when an outage is acceptable"
	default:
		return "spec.replicas", single, "run a second replica, if it can, or move it when an outage is acceptable"
	}
}

func all(replicas int32) string {
	if replicas == 1 {
		return "its only pod"
	}
	return fmt.Sprintf("all of its %d pods", replicas)
}

// strategyField is where a kind of workload keeps how it is restarted.
func strategyField(workload mesh.Workload, name string) string {
	if workload.Reference.Kind == mesh.KindDeployment {
		return "spec.strategy.rollingUpdate." + name
	}
	return "spec.updateStrategy.rollingUpdate." + name
}

func readinessProbes() Check {
	return Check{
		ID: "readiness-probes", Category: CategoryWorkloads, Severity: v1alpha1.SeverityWarning,
		About: "Templates of restarted workloads none of whose containers has a readiness probe.",
		Why: "Each workload is restarted behind a gate that waits until its new pods are ready. Without a readiness probe a pod is ready as soon as its " +
			"containers run (kubernetes documentation, Configure Liveness, Readiness and Startup Probes), so neither the rolling restart nor the gate " +
			"notices an application that does not serve. With a sidecar, the probe of istio-proxy still delayed that moment; afterwards nothing does.",
		Needs:  moveNeeds(),
		Passed: "every restarted pod says itself when it is ready",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, workload := range movedWorkloads(subject) {
				if !workload.Renews() || workload.Replicas == 0 || saysWhenReady(workload.Template.Spec) {
					continue
				}
				message := "no container has a readiness probe: its pods count as ready at once, and the gate after its restart cannot tell whether they serve"
				if workload.MinReadySeconds > 0 {
					message = fmt.Sprintf("no container has a readiness probe: its pods count as available after %d seconds, whether they serve or not",
						workload.MinReadySeconds)
				}
				findings = append(findings, Finding{
					Status: v1alpha1.StatusWarn, Object: reference(workload.Reference), Field: templateField(workload, "spec.containers[].readinessProbe"),
					Message: message, Remedy: "add a readiness probe",
				})
			}
			return findings
		},
	}
}

// saysWhenReady says whether anything holds a pod's readiness back.
func saysWhenReady(spec corev1.PodSpec) bool {
	return len(spec.ReadinessGates) > 0 || slices.ContainsFunc(mesh.LastingContainers(spec), func(container corev1.Container) bool {
		return container.ReadinessProbe != nil
	})
}

func disruptionBudgets() Check {
	return Check{
		ID: "disruption-budgets", Category: CategoryWorkloads, Severity: v1alpha1.SeverityWarning,
		About: "PodDisruptionBudgets that allow none of the pods they select to be evicted, or that share pods with another one.",
		Why: "A rolling restart deletes pods without asking a budget (kubernetes documentation, Disruptions), so the move itself is not stopped; where the run " +
			"replaces the pods itself (OnDelete, ReplicaSets of their own), it evicts them, and waits. So does a rollback, which evicts pods whose template did " +
			"not change, and whoever drains a node meanwhile: for as long as the budget allows nothing. A pod that two budgets select is not evicted at all " +
			"(kubernetes pkg/registry/core/pod/storage/eviction.go).",
		Needs:  moveNeeds(mesh.KindPodDisruptionBudget),
		Passed: "every PodDisruptionBudget lets pods be evicted",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			budgets := subject.Snapshot.Budgets(subject.Namespace.Name)
			for i, budget := range budgets {
				selects := func(pod mesh.Pod) bool { return matches(budget.Spec.Selector, pod.Labels) }
				selected := movedPods(subject, selects)
				if selected == 0 {
					continue
				}
				if field, message := allowsNothing(budget, selected); message != "" {
					findings = append(findings, budgetFinding(subject, budget, field, message, selects, "let it allow one disruption, or run one more replica"))
				}
				for _, other := range budgets[:i] {
					both := func(pod mesh.Pod) bool { return selects(pod) && matches(other.Spec.Selector, pod.Labels) }
					if shared := movedPods(subject, both); shared > 0 {
						message := fmt.Sprintf("it selects %s that PodDisruptionBudget %s/%s selects too, and the API server evicts no such pod", podCount(shared), other.Namespace, other.Name)
						findings = append(findings, budgetFinding(subject, budget, "spec.selector", message, both, "let each pod be selected by one budget"))
					}
				}
			}
			return findings
		},
	}
}

// budgetFinding says what a budget that refuses evictions of some pods means for the move.
func budgetFinding(subject Subject, budget policyv1.PodDisruptionBudget, field, message string, selects func(mesh.Pod) bool, remedy string) Finding {
	consequence := ": the restart does not ask it, but a rollback's evictions and node drains wait for it"
	if slices.ContainsFunc(movedWorkloads(subject), func(workload mesh.Workload) bool {
		return (workload.ByHand() || subject.byNamespace()) && slices.ContainsFunc(subject.Snapshot.PodsOf(workload), selects)
	}) {
		consequence = ": the restart evicts pods and waits for it, as do a rollback and node drains"
	}
	return Finding{
		Status:  v1alpha1.StatusWarn,
		Object:  &v1alpha1.ObjectReference{APIVersion: "policy/v1", Kind: mesh.KindPodDisruptionBudget, Namespace: budget.Namespace, Name: budget.Name},
		Field:   field,
		Message: message + consequence,
		Remedy:  remedy,
	}
}

func movedPods(subject Subject, selected func(mesh.Pod) bool) int {
	n := 0
	for _, workload := range movedWorkloads(subject) {
		for _, pod := range subject.Snapshot.PodsOf(workload) {
			if selected(pod) {
				n++
			}
		}
	}
	return n
}

// allowsNothing says why a budget over so many pods lets none be evicted: by what
// it is, or as things are. Percentages are rounded up (kubernetes
// pkg/controller/disruption/disruption.go).
func allowsNothing(budget policyv1.PodDisruptionBudget, pods int) (field, message string) {
	if expected := int(budget.Status.ExpectedPods); expected > 0 {
		pods = expected
	}
	count := func(value *intstr.IntOrString) int {
		n, err := intstr.GetScaledValueFromIntOrPercent(value, pods, true)
		if err != nil {
			return 0
		}
		return n
	}
	spec := budget.Spec
	switch {
	case spec.MaxUnavailable != nil && count(spec.MaxUnavailable) == 0:
		return "spec.maxUnavailable", "it never allows a disruption"
	case spec.MinAvailable != nil && count(spec.MinAvailable) >= pods:
		return "spec.minAvailable", fmt.Sprintf("it wants all of its %s, so it never allows a disruption", podCount(pods))
	case budget.Status.ExpectedPods > 0 && budget.Status.DisruptionsAllowed == 0:
		return "status.disruptionsAllowed", "it allows no disruption at present"
	default:
		return "", ""
	}
}

func podCount(n int) string { return count(n, "pod") }
