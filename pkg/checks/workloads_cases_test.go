package checks_test

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func workloadCases() []testCase {
	partition := int32(2)
	withPods := func(set *appsv1.StatefulSet) []any { return append(fixture.PodsOfSet(set, fixture.Sidecar), set) }
	onDelete := fixture.StatefulSet("shop", "db", func(s *appsv1.StatefulSet) {
		s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
	})
	revision := func(pod *corev1.Pod) { pod.Labels[appsv1.ControllerRevisionHashLabelKey] = "db-0" }
	held := append(fixture.PodsOfSet(onDelete, fixture.Sidecar, revision), onDelete)
	written := onDelete.DeepCopy()
	written.Spec.Template.Labels["sidecar.istio.io/inject"] = "false"
	begun := append(fixture.PodsOfSet(onDelete, fixture.Sidecar, revision), written)
	partitioned := fixture.StatefulSet("shop", "db", func(s *appsv1.StatefulSet) {
		s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: &partition}
	})
	lone := fixture.ReplicaSet("shop", "lone", nil)
	cron := fixture.CronJob("shop", "report")
	run := fixture.Job("shop", "report-1", func(job *batchv1.Job) {
		job.OwnerReferences = []metav1.OwnerReference{fixture.Owner("CronJob", "batch/v1", &cron.ObjectMeta)}
	})
	runPod := fixture.Pod("shop", "report-1-x", fixture.Of("Job", "batch/v1", &run.ObjectMeta, fixture.Template("report")), fixture.Sidecar)
	ended := func(pod *corev1.Pod) *corev1.Pod {
		pod = pod.DeepCopy()
		pod.Status.Phase = corev1.PodSucceeded
		return pod
	}
	argo := fixture.Pod("shop", "argo-1", fixture.Of("Rollout", "argoproj.io/v1alpha1", &metav1.ObjectMeta{Name: "argo", UID: "rollout.argo"}, fixture.Template("argo")), fixture.Sidecar)
	kubeInjected := fixture.Deployment("shop", "manual", func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: "istio-proxy"})
	})
	optedOut := fixture.Deployment("shop", "quiet", fixture.TemplateLabel("sidecar.istio.io/inject", "false"))
	selecting := func(kind, version, spec string) string { return istio(version, kind, "shop", "x", spec) }
	const tlsMode = "security.istio.io/tlsMode"
	own := fixture.Deployment("shop", "own", fixture.TemplateLabel("service.istio.io/canonical-name", "own"))
	moved := shop
	onlyOwn := append(fixture.Installation(), fixture.Namespace("shop", labels{"istio-injection": "enabled"}), own)
	return append([]testCase{
		{name: "all can", check: "restartable", objects: shop()},
		{name: "a paused Deployment", check: "restartable", objects: shop(fixture.Deployment("shop", "idle", func(d *appsv1.Deployment) { d.Spec.Paused = true })), want: []finding{{fail, "Deployment shop/idle", "spec.paused", "it is paused"}}},
		{name: "a paused Deployment outside the mesh", check: "restartable", objects: []any{fixture.Installation(), fixture.Namespace("shop", nil), fixture.Deployment("shop", "idle", func(d *appsv1.Deployment) { d.Spec.Paused = true })}},
		{name: "an OnDelete StatefulSet", check: "restartable", objects: shop(withPods(onDelete))},
		{name: "an OnDelete StatefulSet with pods of an earlier template", check: "restartable", objects: shop(held), want: []finding{{fail, "StatefulSet shop/db", "spec.template", "some of its pods are from an earlier template"}}},
		{name: "an OnDelete StatefulSet whose template a run has written", check: "restartable", objects: append(fixture.Installation(), fixture.Namespace("shop", labels{"istio-injection": "enabled", "istio.io/dataplane-mode": "ambient"}), begun)},
		{name: "an OnDelete DaemonSet", check: "restartable", objects: shop(fixture.DaemonSet("shop", "agent", func(d *appsv1.DaemonSet) { d.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType }))},
		{name: "an OnDelete DaemonSet with pods of an earlier template", check: "restartable", objects: shop(fixture.DaemonSet("shop", "agent", func(d *appsv1.DaemonSet) {
			d.Spec.UpdateStrategy.Type, d.Status.UpdatedNumberScheduled = appsv1.OnDeleteDaemonSetStrategyType, 0
		})), want: []finding{{fail, "DaemonSet shop/agent", "spec.template", "some of its pods are from an earlier template"}}},
		{name: "a partitioned StatefulSet", check: "restartable", objects: shop(withPods(partitioned)), want: []finding{{fail, "StatefulSet shop/db", "spec.updateStrategy.rollingUpdate.partition", "partition 2"}}},
		{name: "a ReplicaSet of its own", check: "restartable", objects: shop(lone, fixture.Pod("shop", "lone-x", fixture.Of("ReplicaSet", "apps/v1", &lone.ObjectMeta, fixture.Template("lone")), fixture.Sidecar))},
		{name: "a ReplicaSet of its own with a pod of an earlier template", check: "restartable", objects: shop(lone, fixture.Pod("shop", "lone-x", fixture.Of("ReplicaSet", "apps/v1", &lone.ObjectMeta, fixture.Template("lone")), fixture.Sidecar, fixture.Labelled("istio.io/rev", "old"))), want: []finding{{fail, "ReplicaSet shop/lone", "spec.template", "some of its pods are from an earlier template"}}},
		{name: "a ReplicaSet of its own without pods", check: "restartable", objects: shop(lone)},
		{name: "a CronJob that runs", check: "restartable", objects: shop(cron, run, runPod), want: []finding{{fail, "CronJob shop/report", "", "1 pod with a sidecar still running"}}},
		{name: "a CronJob that ran", check: "restartable", objects: shop(cron, run, ended(runPod))},
		{name: "a Job that runs", check: "restartable", objects: shop(fixture.Job("shop", "import"), fixture.Pod("shop", "import-x", fixture.Of("Job", "batch/v1", &fixture.Job("shop", "import").ObjectMeta, fixture.Template("import")), fixture.NativeSidecar)), want: []finding{{fail, "Job shop/import", "", "1 pod with a sidecar still running"}}},
		{name: "a bare pod with a sidecar", check: "restartable", objects: shop(fixture.Pod("shop", "lonely", fixture.Sidecar)), want: []finding{{fail, "Pod shop/lonely", "", "nothing controls the pod"}}},
		{name: "a bare pod without", check: "restartable", objects: shop(fixture.Pod("shop", "lonely"))},
		{name: "a pod of a controller that is not known", check: "restartable", objects: shop(argo), want: []finding{{fail, "Rollout shop/argo", "", "1 pod with a sidecar is run by it, which this version cannot restart"}}},
		{name: "kube-injected names its own", check: "restartable", objects: shop(kubeInjected, fixture.PodsOf(kubeInjected))},

		{name: "none", check: "selector-labels", objects: shop()},
		{name: "a Deployment's own selector", check: "selector-labels", objects: moved(fixture.Deployment("shop", "odd", fixture.TemplateLabel("sidecar.istio.io/inject", "true"), func(d *appsv1.Deployment) {
			d.Spec.Selector.MatchLabels = labels{"app": "odd", "sidecar.istio.io/inject": "true"}
		})), want: []finding{{fail, "Deployment shop/odd", "spec.selector", "sidecar.istio.io/inject"}}},
		{name: "a Service", check: "selector-labels", objects: moved(selecting("Service", "v1", "{selector: {app: cart, "+tlsMode+": istio}}")), want: []finding{{fail, "Service shop/x", "spec.selector", tlsMode}}},
		{name: "a PodDisruptionBudget", check: "selector-labels", objects: moved(selecting("PodDisruptionBudget", "policy/v1", "{selector: {matchExpressions: [{key: service.istio.io/canonical-name, operator: Exists}]}}")), want: []finding{{fail, "PodDisruptionBudget shop/x", "spec.selector", "service.istio.io/canonical-name"}}},
		{name: "a NetworkPolicy", check: "selector-labels", objects: moved(selecting("NetworkPolicy", "networking.k8s.io/v1", "{podSelector: {matchLabels: {"+tlsMode+": istio}}, ingress: [{from: [{podSelector: {matchLabels: {networking.istio.io/tunnel: http}}}]}], egress: [{to: [{podSelector: {matchLabels: {istio.io/rev: a}}}, {ipBlock: {cidr: 10.0.0.0/8}}]}]}")), want: []finding{
			{fail, "NetworkPolicy shop/x", "spec.podSelector", tlsMode}, {fail, "NetworkPolicy shop/x", "spec.ingress[].from[].podSelector", "networking.istio.io/tunnel"}, {fail, "NetworkPolicy shop/x", "spec.egress[].to[].podSelector", "istio.io/rev"},
		}},
		{name: "an AuthorizationPolicy", check: "selector-labels", objects: moved(policy("shop", "{selector: {matchLabels: {"+tlsMode+": istio}}}")), want: []finding{{fail, "AuthorizationPolicy shop/p", "spec.selector", tlsMode}}},
		{name: "the root namespace's AuthorizationPolicy", check: "selector-labels", objects: moved(policy("istio-system", "{selector: {matchLabels: {"+tlsMode+": istio}}}")), want: []finding{{fail, "AuthorizationPolicy istio-system/p", "spec.selector", tlsMode}}},
		{name: "a PeerAuthentication", check: "selector-labels", objects: moved(peer("shop", "{selector: {matchLabels: {service.istio.io/canonical-revision: latest}}}")), want: []finding{{fail, "PeerAuthentication shop/p", "spec.selector", "service.istio.io/canonical-revision"}}},
		{name: "a label that the template has itself", check: "selector-labels", objects: append(onlyOwn, selecting("Service", "v1", "{selector: {service.istio.io/canonical-name: own}}"))},
		{name: "nothing is moved", check: "selector-labels", objects: append(enrolled(), selecting("Service", "v1", "{selector: {"+tlsMode+": istio}}"))},

		{name: "all have sidecars", check: "live-capture", objects: shop()},
		{name: "pods that run without", check: "live-capture", objects: shop(fixture.Pod("shop", "a"), fixture.Pod("shop", "b")), want: []finding{{warn, "Namespace shop", "", "2 running pods without sidecar will be captured at once, open connections included: a, b"}}},
		{name: "pods that opted out are pinned first", check: "live-capture", objects: shop(optedOut, fixture.PodsOf(optedOut), fixture.Pod("shop", "bare", fixture.Labelled("sidecar.istio.io/inject", "false")))},
		{name: "pods that are captured already", check: "live-capture", objects: append(enrolled(), fixture.Pod("shop", "a", fixture.Ambient))},
		{name: "pods on the host's network", check: "live-capture", objects: shop(fixture.Pod("shop", "a", func(pod *corev1.Pod) { pod.Spec.HostNetwork = true }))},
		{name: "pods that refuse", check: "live-capture", objects: shop(fixture.Pod("shop", "a", fixture.Labelled("istio.io/dataplane-mode", "none")))},
	}, slices.Concat(availabilityCases(), argoCases(), autoscalerCases(), limitCases(), commandCases(), outsideCases())...)
}
