package checks_test

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

func sidecarCases() []testCase {
	old := func(pod *corev1.Pod) {
		fixture.Sidecar(pod)
		delete(pod.Labels, "networking.istio.io/tunnel")
	}
	const field = "label networking.istio.io/tunnel of its pods"
	proxy := corev1.Container{Name: "istio-proxy"}
	hbone := func(pod *corev1.Pod) {
		for i := range pod.Spec.Containers {
			if pod.Spec.Containers[i].Name == "istio-proxy" {
				pod.Spec.Containers[i].Env = append(pod.Spec.Containers[i].Env, corev1.EnvVar{Name: "ISTIO_META_ENABLE_HBONE", Value: "true"})
			}
		}
	}
	unmarked := func(pod *corev1.Pod) {
		old(pod)
		delete(pod.Labels, "security.istio.io/tlsMode")
	}
	return append(slices.Concat(annotationCases(), templateCases()), []testCase{
		{name: "all do", check: "sidecar-hbone", objects: shop(fixture.Pod("pay", "a", fixture.NativeSidecar))},
		{name: "one elsewhere does not", check: "sidecar-hbone", objects: shop(fixture.Pod("pay", "a", old)), want: []finding{{fail, "Namespace pay", field, "the sidecars of 1 pod predate HBONE, so ambient pods could not call them: a"}}},
		{name: "many do not", check: "sidecar-hbone", objects: shop(fixture.Pod("pay", "a", old), fixture.Pod("pay", "b", old), fixture.Pod("pay", "c", old), fixture.Pod("pay", "d", old), fixture.Pod("shop", "e", old)), want: []finding{
			{fail, "Namespace pay", field, "4 pods predate HBONE, so ambient pods could not call them: a, b, c and 1 more"}, {fail, "Namespace shop", field, "1 pod predate HBONE, so ambient pods could not call them: e"},
		}},
		{name: "another value than http does not count", check: "sidecar-hbone", objects: shop(fixture.Pod("pay", "a", fixture.Sidecar, fixture.Labelled("networking.istio.io/tunnel", "none"))), want: []finding{{fail, "Namespace pay", field, "of 1 pod are hidden by a label of the pods' own"}}},
		{name: "one whose template does not write the label", check: "sidecar-hbone", objects: shop(fixture.Pod("pay", "a", old, hbone), fixture.Pod("pay", "b", old), fixture.Pod("pay", "c", old, hbone)), want: []finding{
			{fail, "Namespace pay", field, "2 pods accept HBONE, but their injection template does not write the label, so ambient pods could not call them: a, c"},
			{fail, "Namespace pay", field, "1 pod predate HBONE, so ambient pods could not call them: b"},
		}},
		{name: "one elsewhere without the injector's other label", check: "sidecar-hbone", objects: shop(fixture.Pod("pay", "a", unmarked, hbone)), want: []finding{{fail, "Namespace pay", field, "predate HBONE"}}},
		{name: "one here without the injector's other label", check: "sidecar-hbone", objects: shop(fixture.Pod("shop", "a", unmarked, hbone)), want: []finding{{fail, "Namespace shop", field, "accept HBONE, but their injection template"}}},
		{name: "gateways and pods that are gone do not count", check: "sidecar-hbone", objects: shop(
			fixture.Pod("pay", "gateway", old, fixture.Annotated("inject.istio.io/templates", "gateway")), fixture.Pod("pay", "done", old, func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodSucceeded }),
		)},

		{name: "one that brings its own bootstrap file", check: "grpc-agents", objects: shop(fixture.Deployment("shop", "rpc", fixture.TemplateAnnotation("inject.istio.io/templates", "grpc-simple"))), want: []finding{{fail, "Deployment shop/rpc", "spec.template.metadata.annotations", "need the bootstrap file that is injected"}}},

		{name: "none", check: "kube-injected", objects: shop()},
		{name: "a Deployment", check: "kube-injected", objects: shop(fixture.Deployment("shop", "manual", func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, proxy)
		})), want: []finding{{fail, "Deployment shop/manual", "spec.template.spec.containers", "the template itself holds an istio-proxy container"}}},
		{name: "a gateway's template holds its proxy", check: "kube-injected", objects: shop(fixture.Deployment("shop", "ingress", fixture.InjectedGateway))},
		{name: "a Deployment of another namespace", check: "kube-injected", objects: shop(fixture.Deployment("pay", "manual", func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, proxy)
		}))},
		{name: "a native sidecar", check: "kube-injected", objects: shop(fixture.StatefulSet("shop", "manual", func(s *appsv1.StatefulSet) {
			s.Spec.Template.Spec.InitContainers = []corev1.Container{proxy}
		})), want: []finding{{fail, "StatefulSet shop/manual", "spec.template.spec.initContainers", "the template itself holds an istio-proxy container"}}},
		{name: "a CronJob", check: "kube-injected", objects: shop(fixture.CronJob("shop", "manual", func(c *batchv1.CronJob) {
			c.Spec.JobTemplate.Spec.Template.Spec.Containers = []corev1.Container{proxy}
		})), want: []finding{{fail, "CronJob shop/manual", "spec.jobTemplate.spec.template.spec.containers", "the template itself holds an istio-proxy container"}}},
	}...)
}
