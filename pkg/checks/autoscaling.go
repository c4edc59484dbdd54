package checks

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func autoscalers() Check {
	return Check{
		ID: "autoscalers", Category: CategoryWorkloads, Severity: v1alpha1.SeverityError,
		About: "HorizontalPodAutoscalers and VerticalPodAutoscalers of moved workloads that measure, or size, the sidecar.",
		Why: "Utilization is usage divided by what all containers of a pod request, the sidecar's included (kubernetes " +
			"pkg/controller/podautoscaler/replica_calculator.go): without it the same load gives another number of replicas. A metric of container istio-proxy, " +
			"or one that sidecars report, is not there any more; an autoscaler all of whose metrics fail stops scaling, and one of whose metrics fail never " +
			"scales down (kubernetes pkg/controller/podautoscaler/horizontal.go, computeReplicasForMetrics). " +
			"A VerticalPodAutoscaler that acts by itself evicts pods in the middle of the restarts.",
		Needs:  moveNeeds(mesh.KindHorizontalPodAutoscaler, mesh.KindVerticalPodAutoscaler, mesh.KindLimitRange),
		Passed: "no autoscaler depends on sidecars",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, autoscaler := range subject.Snapshot.Autoscalers(subject.Namespace.Name) {
				target := autoscaler.Spec.ScaleTargetRef
				if workload, found := movedTarget(subject, target.Kind, target.Name); found {
					findings = append(findings, horizontalFindings(subject, autoscaler, workload)...)
				}
			}
			for _, object := range subject.Snapshot.Others(mesh.KindVerticalPodAutoscaler) {
				if object.GetNamespace() == subject.Namespace.Name {
					findings = append(findings, verticalFindings(subject, object)...)
				}
			}
			return findings
		},
	}
}

// movedTarget returns the moved workload that an autoscaler names.
func movedTarget(subject Subject, kind, name string) (mesh.Workload, bool) {
	for _, workload := range movedWorkloads(subject) {
		if workload.Reference.Kind == kind && workload.Reference.Name == name {
			return workload, true
		}
	}
	return mesh.Workload{}, false
}

func horizontalFindings(subject Subject, autoscaler autoscalingv2.HorizontalPodAutoscaler, workload mesh.Workload) []Finding {
	object := &v1alpha1.ObjectReference{
		APIVersion: "autoscaling/v2", Kind: mesh.KindHorizontalPodAutoscaler, Namespace: autoscaler.Namespace, Name: autoscaler.Name,
	}
	var findings []Finding
	gone, first := 0, 0
	for i, metric := range autoscaler.Spec.Metrics {
		if source := goneMetric(metric); source != "" {
			if gone++; gone == 1 {
				first = i
			}
			continue
		}
		if message := utilizationChange(subject, metric, workload); message != "" {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusWarn, Object: object, Field: fmt.Sprintf("spec.metrics[%d].resource.target.averageUtilization", i), Message: message,
				Remedy: "scale by a ContainerResource metric of the application's container, or set the target anew",
			})
		}
	}
	if gone == 0 {
		return findings
	}
	finding := Finding{
		Status: v1alpha1.StatusWarn, Object: object, Field: fmt.Sprintf("spec.metrics[%d]", first),
		Message: goneMetric(autoscaler.Spec.Metrics[first]) + " goes with the sidecar: while a metric is missing, the autoscaler does not scale down",
		Remedy:  "measure the application instead, before the migration",
	}
	if gone == len(autoscaler.Spec.Metrics) {
		finding.Status = v1alpha1.StatusFail
		finding.Message = goneMetric(autoscaler.Spec.Metrics[first]) + " goes with the sidecar, and the autoscaler has no other metric: it stops scaling " + workload.Reference.String()
	}
	return append([]Finding{finding}, findings...)
}

// goneMetric names what a metric measures where sidecars alone report it. Envoy's
// and Istio's own metrics have these prefixes (istio documentation, Istio Standard
// Metrics), however an adapter passes them on.
func goneMetric(metric autoscalingv2.MetricSpec) string {
	if container := metric.ContainerResource; container != nil && container.Container == mesh.ProxyContainer {
		return fmt.Sprintf("%s of container %s", container.Name, mesh.ProxyContainer)
	}
	if pods := metric.Pods; pods != nil && (strings.HasPrefix(pods.Metric.Name, "istio_") || strings.HasPrefix(pods.Metric.Name, "envoy_")) {
		return "metric " + pods.Metric.Name
	}
	return ""
}

// utilizationChange says what an autoscaler measures against once the sidecar's
// request is gone; nothing where that stays the same, or where it cannot measure
// now either.
func utilizationChange(subject Subject, metric autoscalingv2.MetricSpec, workload mesh.Workload) string {
	source := metric.Resource
	if source == nil || source.Target.Type != autoscalingv2.UtilizationMetricType || hasOwnRequest(workload.Template.Spec, source.Name) {
		return ""
	}
	application, complete := mesh.LastingRequest(workload.Template, subject.Snapshot.LimitRanges(subject.Namespace.Name), source.Name)
	if !complete {
		return ""
	}
	for _, pod := range subject.Snapshot.PodsOf(workload) {
		if !pod.HasSidecar() {
			continue
		}
		sidecar, set := pod.ProxyRequests[source.Name]
		if !set || sidecar.IsZero() {
			return ""
		}
		total := application.DeepCopy()
		total.Add(sidecar)
		return fmt.Sprintf("utilization of %s is measured against %s a pod now, %s of it the sidecar's, and against %s afterwards: the same load gives another number of replicas",
			source.Name, total.String(), sidecar.String(), application.String())
	}
	return fmt.Sprintf("utilization of %s is measured against what all containers request, the sidecar's included: the same load gives another number of replicas", source.Name)
}

// hasOwnRequest says whether a pod requests a resource as a whole: then its
// containers' requests do not count.
func hasOwnRequest(spec corev1.PodSpec, name corev1.ResourceName) bool {
	if spec.Resources == nil {
		return false
	}
	_, set := spec.Resources.Requests[name]
	return set
}

func verticalFindings(subject Subject, object unstructured.Unstructured) []Finding {
	kind, _, _ := unstructured.NestedString(object.Object, "spec", "targetRef", "kind")
	name, _, _ := unstructured.NestedString(object.Object, "spec", "targetRef", "name")
	workload, found := movedTarget(subject, kind, name)
	if !found {
		return nil
	}
	reference := istioReference(object.GetAPIVersion(), mesh.KindVerticalPodAutoscaler, &object)
	var findings []Finding
	policies, _, _ := unstructured.NestedSlice(object.Object, "spec", "resourcePolicy", "containerPolicies")
	for i, item := range policies {
		if policy, ok := item.(map[string]any); ok && policy["containerName"] == mesh.ProxyContainer {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusWarn, Object: reference, Field: fmt.Sprintf("spec.resourcePolicy.containerPolicies[%d]", i),
				Message: "it is about the sidecar, which is not there afterwards", Remedy: "remove it once the namespace is moved",
			})
		}
	}
	// It acts by itself unless it is told otherwise.
	mode, _, _ := unstructured.NestedString(object.Object, "spec", "updatePolicy", "updateMode")
	if mode = cmp.Or(mode, "Auto"); mode != "Off" && mode != "Initial" {
		findings = append(findings, Finding{
			Status: v1alpha1.StatusWarn, Object: reference, Field: "spec.updatePolicy.updateMode",
			Message: fmt.Sprintf("in mode %s it evicts pods of %s by itself, in the middle of the restart too", mode, workload.Reference),
			Remedy:  "set it to Initial for the migration",
		})
	}
	return findings
}
