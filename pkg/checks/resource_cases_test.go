package checks_test

import (
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// resources are written as cpu=100m,memory=1Gi.
func podResources(text string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for entry := range strings.SplitSeq(text, ",") {
		if name, quantity, found := strings.Cut(entry, "="); found {
			list[corev1.ResourceName(name)] = resource.MustParse(quantity)
		}
	}
	return list
}

// sized is a Deployment whose container asks for resources.
func sized(requests, limits string, edits ...func(*appsv1.Deployment)) *appsv1.Deployment {
	return fixture.Deployment("shop", "pay", append([]func(*appsv1.Deployment){func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: podResources(requests), Limits: podResources(limits)}
	}}, edits...)...)
}

// proxied gives the sidecar of a pod requests.
func proxied(requests string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		fixture.Sidecar(pod)
		pod.Spec.Containers[len(pod.Spec.Containers)-1].Resources.Requests = podResources(requests)
	}
}

func autoscalerCases() []testCase {
	autoscaler := func(metrics string) string {
		return istio("autoscaling/v2", "HorizontalPodAutoscaler", "shop", "h", "{scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: pay}, metrics: ["+metrics+"]}")
	}
	const (
		cpu       = "{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}"
		absolute  = "{type: Resource, resource: {name: cpu, target: {type: AverageValue, averageValue: 1}}}"
		container = "{type: ContainerResource, containerResource: {name: cpu, container: main, target: {type: Utilization, averageUtilization: 80}}}"
		proxy     = "{type: ContainerResource, containerResource: {name: cpu, container: istio-proxy, target: {type: Utilization, averageUtilization: 80}}}"
		requests  = "{type: Pods, pods: {metric: {name: istio_requests_per_second}, target: {type: AverageValue, averageValue: 10}}}"
		own       = "{type: Pods, pods: {metric: {name: queue_length}, target: {type: AverageValue, averageValue: 10}}}"
		named     = "HorizontalPodAutoscaler shop/h"
		field     = "spec.metrics[0].resource.target.averageUtilization"
	)
	pay := sized("cpu=500m", "")
	running := func(d *appsv1.Deployment, sidecar string, more ...any) []any {
		return shop(append([]any{d, fixture.PodsOf(d, proxied(sidecar))}, more...)...)
	}
	of := func(status string, field, message string) []finding {
		if status == "fail" {
			return []finding{{fail, named, field, message}}
		}
		return []finding{{warn, named, field, message}}
	}
	vertical := func(spec string) string {
		return istio("autoscaling.k8s.io/v1", "VerticalPodAutoscaler", "shop", "v", "{targetRef: {apiVersion: apps/v1, kind: Deployment, name: pay}"+spec+"}")
	}
	const verticalName, mode = "VerticalPodAutoscaler shop/v", "spec.updatePolicy.updateMode"
	return []testCase{
		{name: "none", check: "autoscalers", objects: shop()},
		{name: "by utilization", check: "autoscalers", objects: running(pay, "cpu=100m", autoscaler(cpu)), want: of("warn", field, "against 600m a pod now, 100m of it the sidecar's, and against 500m afterwards")},
		{name: "by utilization, before any pod runs", check: "autoscalers", objects: shop(pay, autoscaler(cpu)), want: of("warn", field, "the sidecar's included")},
		{name: "by utilization, beside a pod that lost its sidecar", check: "autoscalers", objects: shop(pay, fixture.PodsOf(pay), fixture.Pod("shop", "pay-5d8f7-1", fixture.Of("ReplicaSet", "apps/v1", &fixture.ReplicaSet("shop", "pay-5d8f7", nil).ObjectMeta, pay.Spec.Template), proxied("cpu=100m")), autoscaler(cpu)), want: of("warn", field, "against 600m a pod now")},
		{name: "by utilization in the first version", check: "autoscalers", objects: running(pay, "cpu=100m", istio("autoscaling/v1", "HorizontalPodAutoscaler", "shop", "h", "{scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: pay}, targetCPUUtilizationPercentage: 80}")), want: of("warn", field, "against 600m a pod now")},
		{name: "by utilization, and the sidecar requests nothing", check: "autoscalers", objects: running(pay, "memory=1Gi", autoscaler(cpu))},
		{name: "by utilization, and the application requests nothing", check: "autoscalers", objects: running(sized("memory=1Gi", ""), "cpu=100m", autoscaler(cpu))},
		{name: "by utilization of what a LimitRange fills in", check: "autoscalers", objects: running(sized("", ""), "cpu=100m", autoscaler(cpu), istio("v1", "LimitRange", "shop", "l", "{limits: [{type: Container, defaultRequest: {cpu: 200m}}]}")), want: of("warn", field, "against 300m a pod now")},
		{name: "by utilization of what the pod requests as a whole", check: "autoscalers", objects: running(sized("cpu=500m", "", func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Resources = &corev1.ResourceRequirements{Requests: podResources("cpu=1")}
		}), "cpu=100m", autoscaler(cpu))},
		{name: "by usage", check: "autoscalers", objects: running(pay, "cpu=100m", autoscaler(absolute))},
		{name: "by the application's container", check: "autoscalers", objects: running(pay, "cpu=100m", autoscaler(container))},
		{name: "by the sidecar alone", check: "autoscalers", objects: running(pay, "cpu=100m", autoscaler(proxy)), want: of("fail", "spec.metrics[0]", "cpu of container istio-proxy goes with the sidecar, and the autoscaler has no other metric")},
		{name: "by the sidecar's metrics alone", check: "autoscalers", objects: running(pay, "cpu=100m", autoscaler(requests+", "+proxy)), want: of("fail", "spec.metrics[0]", "metric istio_requests_per_second")},
		{name: "by the sidecar too", check: "autoscalers", objects: running(pay, "cpu=100m", autoscaler(container+", "+proxy)), want: of("warn", "spec.metrics[1]", "does not scale down")},
		{name: "by the application's own metric", check: "autoscalers", objects: running(pay, "cpu=100m", autoscaler(own))},
		{name: "of what does not move", check: "autoscalers", objects: append(enrolled(), pay, autoscaler(proxy))},
		{name: "of another kind by that name", check: "autoscalers", objects: shop(fixture.StatefulSet("shop", "pay"), autoscaler(proxy))},

		{name: "a vertical one that acts", check: "autoscalers", objects: shop(pay, vertical("")), want: []finding{{warn, verticalName, mode, "in mode Auto it evicts pods of Deployment shop/pay"}}},
		{name: "a vertical one that recreates", check: "autoscalers", objects: shop(pay, vertical(", updatePolicy: {updateMode: Recreate}")), want: []finding{{warn, verticalName, mode, "in mode Recreate"}}},
		{name: "a vertical one that advises", check: "autoscalers", objects: shop(pay, vertical(`, updatePolicy: {updateMode: "Off"}`))},
		{name: "a vertical one that acts on new pods", check: "autoscalers", objects: shop(pay, vertical(", updatePolicy: {updateMode: Initial}"))},
		{name: "a vertical one for the sidecar", check: "autoscalers", objects: shop(pay, vertical(`, updatePolicy: {updateMode: "Off"}, resourcePolicy: {containerPolicies: [{containerName: main}, {containerName: istio-proxy, mode: "Off"}]}`)), want: []finding{{warn, verticalName, "spec.resourcePolicy.containerPolicies[1]", "not there afterwards"}}},
		{name: "a vertical one of something else", check: "autoscalers", objects: shop(vertical(""))},
		{name: "a vertical one elsewhere", check: "autoscalers", objects: shop(pay, istio("autoscaling.k8s.io/v1", "VerticalPodAutoscaler", "other", "v", "{targetRef: {kind: Deployment, name: pay}}"))},
	}
}

func limitCases() []testCase {
	limits := func(item string) string {
		return istio("v1", "LimitRange", "shop", "l", "{limits: ["+item+"]}")
	}
	// cart requests nothing, so it is left out here.
	mesh := func(more ...any) []any {
		return append(append(fixture.Installation(), fixture.Namespace("shop", labels{"istio-injection": "enabled"})), more...)
	}
	refused := func(field, message string) []finding { return []finding{{fail, "LimitRange shop/l", field, message}} }
	return []testCase{
		{name: "none", check: "limit-ranges", objects: shop()},
		{name: "enough", check: "limit-ranges", objects: mesh(sized("cpu=100m", ""), limits("{type: Pod, min: {cpu: 100m}}"))},
		{name: "too little", check: "limit-ranges", objects: mesh(sized("cpu=99m", ""), limits("{type: Pod, min: {cpu: 100m}}")), want: refused("spec.limits[0].min[cpu]", "Deployment shop/pay once they have no sidecar: they request 99m, less than 100m")},
		{name: "nothing", check: "limit-ranges", objects: mesh(sized("memory=1Gi", ""), limits("{type: Container}, {type: Pod, min: {cpu: 100m}}")), want: refused("spec.limits[1].min[cpu]", "they request nothing")},
		{name: "too low a limit", check: "limit-ranges", objects: mesh(sized("cpu=200m", "cpu=100m"), limits("{type: Pod, min: {cpu: 150m}}")), want: refused("spec.limits[0].min[cpu]", "their limit is 100m, less than 150m")},
		{name: "a limit that stands for the request", check: "limit-ranges", objects: mesh(sized("", "cpu=100m"), limits("{type: Pod, min: {cpu: 100m}}"))},
		{name: "a request that is filled in", check: "limit-ranges", objects: mesh(sized("", ""), limits("{type: Container, defaultRequest: {cpu: 100m}}, {type: Pod, min: {cpu: 100m}}"))},
		{name: "no limit where there is a maximum", check: "limit-ranges", objects: mesh(sized("cpu=1", ""), limits("{type: Pod, max: {cpu: 4}}")), want: refused("spec.limits[0].max[cpu]", "they have no limit")},
		{name: "a limit where there is a maximum", check: "limit-ranges", objects: mesh(sized("cpu=1", "cpu=2"), limits("{type: Pod, max: {cpu: 4}}"))},
		{name: "a limit that is filled in", check: "limit-ranges", objects: mesh(sized("cpu=1", ""), limits("{type: Container, default: {cpu: 2}}, {type: Pod, max: {cpu: 4}}"))},
		{name: "too high a ratio", check: "limit-ranges", objects: mesh(sized("cpu=100m", "cpu=1"), limits("{type: Pod, maxLimitRequestRatio: {cpu: 5}}")), want: refused("spec.limits[0].maxLimitRequestRatio[cpu]", "their limit is 1 and they request 100m")},
		{name: "no ratio", check: "limit-ranges", objects: mesh(sized("cpu=100m", ""), limits("{type: Pod, maxLimitRequestRatio: {cpu: 5}}")), want: refused("spec.limits[0].maxLimitRequestRatio[cpu]", "their limit is 0")},
		{name: "just the ratio", check: "limit-ranges", objects: mesh(sized("cpu=200m", "cpu=1"), limits("{type: Pod, maxLimitRequestRatio: {cpu: 5}}"))},
		{name: "per container", check: "limit-ranges", objects: mesh(sized("cpu=99m", ""), limits("{type: Container, min: {cpu: 100m}}"))},
		{name: "the next pods of a CronJob", check: "limit-ranges", objects: mesh(fixture.CronJob("shop", "report"), limits("{type: Pod, min: {cpu: 100m}}")), want: refused("spec.limits[0].min[cpu]", "CronJob shop/report")},
		{name: "a Job that makes no more pods", check: "limit-ranges", objects: mesh(fixture.Job("shop", "import"), limits("{type: Pod, min: {cpu: 100m}}"))},
		{name: "elsewhere", check: "limit-ranges", objects: mesh(sized("", ""), istio("v1", "LimitRange", "other", "l", "{limits: [{type: Pod, min: {cpu: 100m}}]}"))},
	}
}

func quotaCases() []testCase {
	quota := func(hard, used string, spec ...string) string {
		return "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: q, namespace: shop}\nspec: {hard: {" + hard + "}" + strings.Join(spec, "") + "}\nstatus: {hard: {" + hard + "}, used: {" + used + "}}"
	}
	full := quota("pods: 1", "pods: 1")
	careful := func(d *appsv1.Deployment) {
		d.Spec.Strategy.RollingUpdate = rolling(1, "1", "0").Spec.Strategy.RollingUpdate
	}
	generous := func(d *appsv1.Deployment) {
		replicas := int32(3)
		d.Spec.Replicas = &replicas
		d.Spec.Strategy.RollingUpdate = rolling(1, "1", "1").Spec.Strategy.RollingUpdate
	}
	// cart surges too, so it is left out where numbers matter.
	mesh := func(more ...any) []any {
		return append(append(fixture.Installation(), fixture.Namespace("shop", labels{"istio-injection": "enabled"})), more...)
	}
	of := func(field, message string) []finding {
		return []finding{{fail, "ResourceQuota shop/q", field, message}}
	}
	warned := func(field, message string) []finding {
		return []finding{{warn, "ResourceQuota shop/q", field, message}}
	}
	const stands = "without which the restart stands still: Deployment pay"
	pay := sized("cpu=500m,memory=1Gi", "cpu=1", careful)
	route := istio("networking.istio.io/v1", "VirtualService", "shop", "vs", "{hosts: [cart], http: [{route: [{destination: {host: cart}}]}]}")
	return []testCase{
		{name: "none", check: "resource-quota", objects: shop()},
		{name: "no room for a pod", check: "resource-quota", objects: mesh(pay, full), want: of("spec.hard[pods]", stands)},
		{name: "room for a pod", check: "resource-quota", objects: mesh(pay, quota("pods: 2", "pods: 1"))},
		{name: "no room, counted otherwise", check: "resource-quota", objects: mesh(pay, quota("count/pods: 1", "count/pods: 1")), want: of("spec.hard[count/pods]", "count/pods: 1 of 1 used")},
		{name: "no room for its processors", check: "resource-quota", objects: mesh(pay, quota("requests.cpu: 1", "requests.cpu: 501m")), want: of("spec.hard[requests.cpu]", "requests.cpu: 501m of 1 used")},
		{name: "just room for its processors", check: "resource-quota", objects: mesh(pay, quota("requests.cpu: 1", "requests.cpu: 500m"))},
		{name: "no room for its processors by their short name", check: "resource-quota", objects: mesh(pay, quota("cpu: 1", "cpu: 501m")), want: of("spec.hard[cpu]", stands)},
		{name: "no room for its memory", check: "resource-quota", objects: mesh(pay, quota("requests.memory: 2Gi", "requests.memory: 1025Mi")), want: of("spec.hard[requests.memory]", stands)},
		{name: "no room for its limits", check: "resource-quota", objects: mesh(pay, quota("limits.cpu: 1", "limits.cpu: 1m")), want: of("spec.hard[limits.cpu]", stands)},
		{name: "no room for what it does not use", check: "resource-quota", objects: mesh(pay, quota("services: 1, limits.memory: 1Gi", "services: 1, limits.memory: 1Gi"))},
		{name: "a quota without status", check: "resource-quota", objects: mesh(pay, istio("v1", "ResourceQuota", "shop", "q", "{hard: {requests.cpu: 100m}}")), want: of("spec.hard[requests.cpu]", "0 of 100m used")},
		{name: "no room, and a pod may be missing", check: "resource-quota", objects: mesh(sized("", "", generous), full), want: warned("spec.hard[pods]", "goes on with one pod less: Deployment pay")},
		{name: "no room, and no surge", check: "resource-quota", objects: mesh(rolling(2, "0", "1"), full)},
		{name: "no room for a StatefulSet, which needs none", check: "resource-quota", objects: mesh(fixture.StatefulSet("shop", "db"), full)},
		{name: "no room for no replica", check: "resource-quota", objects: mesh(rolling(0, "1", "0"), full)},
		{name: "no room for some pods", check: "resource-quota", objects: mesh(pay, quota("pods: 1", "pods: 1", ", scopes: [NotTerminating]")), want: warned("spec.hard[pods]", "where it counts those of the restart")},
		{name: "no room for pods of a class", check: "resource-quota", objects: mesh(pay, quota("pods: 1", "pods: 1", ", scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: Exists}]}")), want: warned("spec.hard[pods]", "where it counts those of the restart")},
		{name: "elsewhere", check: "resource-quota", objects: mesh(pay, strings.Replace(full, "namespace: shop", "namespace: other", 1))},
		{name: "room for restarts, not for a waypoint", check: "resource-quota", objects: mesh(sized("cpu=10m", "", careful), quota("requests.cpu: 1", "requests.cpu: 901m"), service, route), want: warned("spec.hard[requests.cpu]", "no room for the waypoint's pod (requests.cpu: 901m of 1 used): Service cart needs one")},
		{name: "room for restarts and a waypoint", check: "resource-quota", objects: mesh(sized("cpu=10m", "", careful), quota("requests.cpu: 1", "requests.cpu: 900m"), service, route)},
		{name: "no room for a waypoint that nothing needs", check: "resource-quota", objects: mesh(sized("cpu=10m", "", careful), quota("requests.cpu: 1", "requests.cpu: 901m"))},
	}
}
