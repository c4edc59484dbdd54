package checks_test

import (
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// rolling is a Deployment of some replicas with a strategy; an empty bound is
// left out.
func rolling(replicas int32, surge, unavailable string) *appsv1.Deployment {
	bound := func(text string) *intstr.IntOrString {
		if text == "" {
			return nil
		}
		value := intstr.Parse(text)
		return &value
	}
	return fixture.Deployment("shop", "pay", fixture.Replicas(replicas), func(d *appsv1.Deployment) {
		d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: bound(surge), MaxUnavailable: bound(unavailable)}
	})
}

func recreate(replicas int32) *appsv1.Deployment {
	return fixture.Deployment("shop", "pay", fixture.Replicas(replicas), func(d *appsv1.Deployment) { d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType })
}

func availabilityCases() []testCase {
	const outage = "so the restart is an outage"
	surge, unavailable := "spec.strategy.rollingUpdate.maxSurge", "spec.strategy.rollingUpdate.maxUnavailable"
	db := func(replicas int32, edits ...func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
		return fixture.StatefulSet("shop", "db", append([]func(*appsv1.StatefulSet){func(s *appsv1.StatefulSet) { s.Spec.Replicas = &replicas }}, edits...)...)
	}
	everyPod := intstr.FromString("100%")
	agent := func(pods int32, edits ...func(*appsv1.DaemonSet)) *appsv1.DaemonSet {
		return fixture.DaemonSet("shop", "agent", append([]func(*appsv1.DaemonSet){func(d *appsv1.DaemonSet) { d.Status.DesiredNumberScheduled = pods }}, edits...)...)
	}
	surging := func(d *appsv1.DaemonSet) {
		one, none := intstr.FromInt32(1), intstr.FromInt32(0)
		d.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{MaxSurge: &one, MaxUnavailable: &none}
	}
	of := func(object string, field, message string) []finding { return []finding{{warn, object, field, message}} }
	cases := []testCase{
		{name: "one replica that surges", check: "restart-availability", objects: shop(rolling(1, "", ""))},
		{name: "one replica that does not", check: "restart-availability", objects: shop(rolling(1, "0", "1")), want: of("Deployment shop/pay", surge, outage)},
		{name: "one replica whose bounds round down to none", check: "restart-availability", objects: shop(rolling(1, "0", "25%")), want: of("Deployment shop/pay", surge, outage)},
		{name: "one replica that surges and may be missing", check: "restart-availability", objects: shop(rolling(1, "1", "1")), want: of("Deployment shop/pay", unavailable, "may stop before the new one is ready")},
		{name: "all replicas may be missing", check: "restart-availability", objects: shop(rolling(3, "1", "100%")), want: of("Deployment shop/pay", unavailable, "all of its 3 pods")},
		{name: "as many may be missing as there are", check: "restart-availability", objects: shop(rolling(3, "1", "3")), want: of("Deployment shop/pay", unavailable, "all of its 3 pods")},
		{name: "all but one may be missing", check: "restart-availability", objects: shop(rolling(3, "1", "2"))},
		{name: "two replicas without surge", check: "restart-availability", objects: shop(rolling(2, "0", "1"))},
		{name: "no replica", check: "restart-availability", objects: shop(rolling(0, "0", "1"))},
		{name: "Recreate", check: "restart-availability", objects: shop(recreate(2)), want: of("Deployment shop/pay", "spec.strategy.type", "Recreate stops all of its 2 pods")},
		{name: "Recreate of one", check: "restart-availability", objects: shop(recreate(1)), want: of("Deployment shop/pay", "spec.strategy.type", "Recreate stops its only pod")},
		{name: "Recreate of none", check: "restart-availability", objects: shop(recreate(0))},
		{name: "Recreate outside the mesh", check: "restart-availability", objects: append(enrolled(), recreate(2))},
		{name: "a StatefulSet of one", check: "restart-availability", objects: shop(db(1)), want: of("StatefulSet shop/db", "spec.replicas", outage)},
		{name: "a StatefulSet of two", check: "restart-availability", objects: shop(db(2))},
		{name: "a StatefulSet all of whose pods may be missing", check: "restart-availability", objects: shop(db(2, func(s *appsv1.StatefulSet) {
			s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{MaxUnavailable: &everyPod}
		})), want: of("StatefulSet shop/db", "spec.updateStrategy.rollingUpdate.maxUnavailable", "all of its 2 pods")},
		{name: "a StatefulSet of one whose pod is deleted by hand", check: "restart-availability", objects: shop(db(1, func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType })), want: of("StatefulSet shop/db", "spec.replicas", outage)},
		{name: "a DaemonSet on one node", check: "restart-availability", objects: shop(agent(1)), want: of("DaemonSet shop/agent", "status.desiredNumberScheduled", outage)},
		{name: "a DaemonSet on one node that surges", check: "restart-availability", objects: shop(agent(1, surging))},
		{name: "a DaemonSet on two nodes", check: "restart-availability", objects: shop(agent(2))},
		{name: "a DaemonSet all of whose pods may be missing", check: "restart-availability", objects: shop(agent(4, func(d *appsv1.DaemonSet) {
			d.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &everyPod}
		})), want: of("DaemonSet shop/agent", "spec.updateStrategy.rollingUpdate.maxUnavailable", "all of its 4 pods")},
		{name: "a CronJob", check: "restart-availability", objects: shop(fixture.CronJob("shop", "report"))},
	}

	probed := func(edit func(*corev1.PodSpec)) *appsv1.Deployment {
		return fixture.Deployment("shop", "pay", func(d *appsv1.Deployment) { edit(&d.Spec.Template.Spec) })
	}
	probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}}
	always := corev1.ContainerRestartPolicyAlways
	const field, unready = "spec.template.spec.containers[].readinessProbe", "count as ready at once"
	cases = append(cases, []testCase{
		{name: "with a probe", check: "readiness-probes", objects: shop()},
		{name: "without", check: "readiness-probes", objects: shop(probed(func(*corev1.PodSpec) {})), want: of("Deployment shop/pay", field, unready)},
		{name: "liveness alone", check: "readiness-probes", objects: shop(probed(func(spec *corev1.PodSpec) { spec.Containers[0].LivenessProbe = probe })), want: of("Deployment shop/pay", field, unready)},
		{name: "on one of two containers", check: "readiness-probes", objects: shop(probed(func(spec *corev1.PodSpec) {
			spec.Containers = append(spec.Containers, corev1.Container{Name: "helper", ReadinessProbe: probe})
		}))},
		{name: "on an init container that stays", check: "readiness-probes", objects: shop(probed(func(spec *corev1.PodSpec) {
			spec.InitContainers = []corev1.Container{{Name: "helper", RestartPolicy: &always, ReadinessProbe: probe}}
		}))},
		{name: "a readiness gate", check: "readiness-probes", objects: shop(probed(func(spec *corev1.PodSpec) {
			spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.com/ready"}}
		}))},
		{name: "a wait instead", check: "readiness-probes", objects: shop(fixture.Deployment("shop", "pay", func(d *appsv1.Deployment) { d.Spec.MinReadySeconds = 30 })), want: of("Deployment shop/pay", field, "after 30 seconds")},
		{name: "a StatefulSet's wait", check: "readiness-probes", objects: shop(fixture.StatefulSet("shop", "db", func(s *appsv1.StatefulSet) { s.Spec.MinReadySeconds = 20 })), want: of("StatefulSet shop/db", field, "after 20 seconds")},
		{name: "a DaemonSet's wait", check: "readiness-probes", objects: shop(fixture.DaemonSet("shop", "agent", func(d *appsv1.DaemonSet) { d.Spec.MinReadySeconds = 10 })), want: of("DaemonSet shop/agent", field, "after 10 seconds")},
		{name: "no replica", check: "readiness-probes", objects: shop(rolling(0, "", ""))},
		{name: "a CronJob", check: "readiness-probes", objects: shop(fixture.CronJob("shop", "report"))},
		{name: "what does not move", check: "readiness-probes", objects: enrolled()},
	}...)

	budget := func(spec, status string) string {
		return istio("policy/v1", "PodDisruptionBudget", "shop", "b", "{selector: {matchLabels: {app: cart}}, "+spec+"}") + "\nstatus: " + status
	}
	const named = "PodDisruptionBudget shop/b"
	cases = append(cases, []testCase{
		{name: "none", check: "disruption-budgets", objects: shop()},
		{name: "one may be missing", check: "disruption-budgets", objects: shop(budget("maxUnavailable: 1", "{expectedPods: 1, disruptionsAllowed: 1}"))},
		{name: "none may be missing", check: "disruption-budgets", objects: shop(budget("maxUnavailable: 0", "{}")), want: of(named, "spec.maxUnavailable", "it never allows a disruption")},
		{name: "no percentage may be missing", check: "disruption-budgets", objects: shop(budget(`maxUnavailable: "0%"`, "{}")), want: of(named, "spec.maxUnavailable", "it never allows a disruption")},
		{name: "a percentage that rounds up", check: "disruption-budgets", objects: shop(budget(`maxUnavailable: "1%"`, "{}"))},
		{name: "as many as there are", check: "disruption-budgets", objects: shop(budget("minAvailable: 1", "{}")), want: of(named, "spec.minAvailable", "it wants all of its 1 pod")},
		{name: "as many as are expected", check: "disruption-budgets", objects: shop(budget("minAvailable: 2", "{expectedPods: 2, disruptionsAllowed: 0}")), want: of(named, "spec.minAvailable", "it wants all of its 2 pods")},
		{name: "all in percent", check: "disruption-budgets", objects: shop(budget(`minAvailable: "100%"`, "{}")), want: of(named, "spec.minAvailable", "never allows")},
		{name: "fewer than there are", check: "disruption-budgets", objects: shop(budget("minAvailable: 1", "{expectedPods: 2, disruptionsAllowed: 1}"))},
		{name: "none at present", check: "disruption-budgets", objects: shop(budget("minAvailable: 1", "{expectedPods: 2, disruptionsAllowed: 0}")), want: of(named, "status.disruptionsAllowed", "at present")},
		{
			name: "two of the same pods", check: "disruption-budgets",
			objects: shop(budget("maxUnavailable: 1", "{}"), istio("policy/v1", "PodDisruptionBudget", "shop", "all", "{selector: {}, maxUnavailable: 1}")),
			want:    of(named, "spec.selector", "it selects 1 pod that PodDisruptionBudget shop/all selects too, and the API server evicts no such pod"),
		},
		{
			name: "two of different pods", check: "disruption-budgets",
			objects: shop(budget("maxUnavailable: 1", "{}"), istio("policy/v1", "PodDisruptionBudget", "shop", "all", "{selector: {matchLabels: {app: pay}}, maxUnavailable: 1}")),
		},
		{name: "of other pods", check: "disruption-budgets", objects: shop(istio("policy/v1", "PodDisruptionBudget", "shop", "b", "{selector: {matchLabels: {app: pay}}, maxUnavailable: 0}"))},
		{name: "of pods that do not move", check: "disruption-budgets", objects: append(enrolled(), budget("maxUnavailable: 0", "{}"))},
	}...)
	return cases
}

func argoCases() []testCase {
	rollout := func(spec string) string {
		return istio("argoproj.io/v1alpha1", "Rollout", "shop", "argo", spec)
	}
	healthy := func(spec string) string {
		return rollout(spec) + "\nstatus: {phase: Healthy, observedGeneration: \"1\", updatedReplicas: 1, availableReplicas: 1}"
	}
	const template = "template: {metadata: {labels: {app: argo}}, spec: {containers: [{name: main}]}}"
	set := fixture.ReplicaSet("shop", "argo-7c9", nil, func(set *appsv1.ReplicaSet) {
		set.OwnerReferences = []metav1.OwnerReference{fixture.Owner("Rollout", "argoproj.io/v1alpha1", &metav1.ObjectMeta{Name: "argo", UID: fixture.UID("Rollout", "shop", "argo")})}
	})
	pods := func(n int) []any {
		objects := []any{set}
		for i := range n {
			objects = append(objects, fixture.Pod("shop", "argo-7c9-"+string(rune('a'+i)), fixture.Of("ReplicaSet", "apps/v1", &set.ObjectMeta, fixture.Template("argo")), fixture.Sidecar))
		}
		return objects
	}
	optedOut := rollout(`{template: {metadata: {labels: {sidecar.istio.io/inject: "false"}}}}`)
	lent := fixture.Deployment("shop", "lent", fixture.Replicas(0))
	of := func(field, message string) []finding {
		return []finding{{fail, "Rollout shop/argo", field, message}}
	}
	return []testCase{
		{name: "none", check: "argo-rollouts", objects: shop()},
		{name: "one with pods", check: "argo-rollouts", objects: shop(healthy("{"+template+"}"), pods(2))},
		{name: "one in the middle of a change", check: "argo-rollouts", objects: shop(rollout("{"+template+"}"), pods(2)), want: of("status.phase", "2 pods with sidecars are run by it, and it is in the middle of another change")},
		{name: "one that is paused", check: "argo-rollouts", objects: shop(healthy("{" + template + ", paused: true}")), want: of("spec.paused", "it is paused")},
		{name: "one with a pause that somebody ends", check: "argo-rollouts", objects: shop(healthy("{" + template + ", strategy: {canary: {steps: [{setWeight: 20}, {pause: {}}]}}}")), want: of("spec.strategy.canary.steps[1].pause", "it waits there for somebody to promote it")},
		{name: "one with a pause that ends by itself", check: "argo-rollouts", objects: shop(healthy("{" + template + ", strategy: {canary: {steps: [{setWeight: 20}, {pause: {duration: 10m}}]}}}"))},
		{name: "one that somebody promotes", check: "argo-rollouts", objects: shop(healthy("{" + template + ", strategy: {blueGreen: {activeService: argo, autoPromotionEnabled: false}}}")), want: of("spec.strategy.blueGreen.autoPromotionEnabled", "it waits there")},
		{name: "one that promotes itself", check: "argo-rollouts", objects: shop(healthy("{" + template + ", strategy: {blueGreen: {activeService: argo}}}"))},
		{name: "one whose template cannot be read", check: "argo-rollouts", objects: shop(healthy("{template: {spec: {containers: main}}}")), want: of("spec.template", "could not be read")},
		{name: "one with a pod, that opted out since", check: "argo-rollouts", objects: shop(optedOut, pods(1)), want: of("status.phase", "1 pod with a sidecar is run by it")},
		{name: "one that would be injected", check: "argo-rollouts", objects: shop(rollout("{" + template + "}")), want: of("status.phase", "its next pods would get sidecars")},
		{name: "one that opted out", check: "argo-rollouts", objects: shop(optedOut)},
		{name: "one that opted out by annotation", check: "argo-rollouts", objects: shop(rollout(`{template: {metadata: {annotations: {sidecar.istio.io/inject: "false"}}}}`))},
		{name: "one on its node's network", check: "argo-rollouts", objects: shop(rollout(`{template: {spec: {hostNetwork: true}}}`))},
		{name: "one with the template of a Deployment", check: "argo-rollouts", objects: shop(lent, rollout("{workloadRef: {apiVersion: apps/v1, kind: Deployment, name: lent}}")), want: of("spec.workloadRef", "its next pods")},
		{name: "one with the template of a Deployment that is gone", check: "argo-rollouts", objects: shop(rollout("{workloadRef: {apiVersion: apps/v1, kind: Deployment, name: gone}}"))},
		{name: "one that routes by Istio", check: "argo-rollouts", objects: shop(rollout("{" + template + ", strategy: {canary: {trafficRouting: {istio: {virtualService: {name: vs}, destinationRule: {name: dr}}}}}}")), want: of("spec.strategy.canary.trafficRouting.istio", "VirtualService vs and DestinationRule dr")},
		{name: "one that routes by several", check: "argo-rollouts", objects: shop(rollout("{" + template + ", strategy: {canary: {trafficRouting: {istio: {virtualServices: [{name: a}, {name: b}]}}}}}")), want: of("spec.strategy.canary.trafficRouting.istio", "VirtualService a and VirtualService b")},
		{name: "one elsewhere", check: "argo-rollouts", objects: shop(istio("argoproj.io/v1alpha1", "Rollout", "other", "argo", "{"+template+"}"))},
		{name: "one in ambient mode", check: "argo-rollouts", objects: append(enrolled(), rollout("{"+template+"}"))},

		{name: "a Rollout's pods", check: "restartable", objects: shop(rollout("{"+template+"}"), pods(2))},
		{name: "pods of a Rollout that was not read", check: "restartable", objects: shop(pods(2)), want: []finding{{fail, "Rollout shop/argo", "", "2 pods with sidecars are run by it"}}},
		{name: "a CronJob between two runs", check: "restartable", objects: shop(fixture.CronJob("shop", "report", func(c *batchv1.CronJob) { c.Spec.Schedule = "0 3 * * *" }))},
	}
}
