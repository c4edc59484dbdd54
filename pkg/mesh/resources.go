package mesh

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	helpers "k8s.io/component-helpers/resource"
)

// PodResources are what a pod asks for as a whole.
type PodResources struct {
	Requests, Limits corev1.ResourceList
}

// ResourcesOf returns what a pod made from a template asks for once the limit
// ranges of its namespace have filled in what its containers leave out
// (kubernetes plugin/pkg/admission/limitranger, mergePodResourceRequirements). A
// sidecar that is injected comes on top.
func ResourcesOf(template corev1.PodTemplateSpec, ranges []corev1.LimitRange) PodResources {
	spec := template.Spec.DeepCopy()
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			completeResources(&containers[i].Resources, ranges)
		}
	}
	pod := &corev1.Pod{Spec: *spec}
	options := helpers.PodResourcesOptions{ExcludeOverhead: true}
	return PodResources{Requests: helpers.PodRequests(pod, options), Limits: helpers.PodLimits(pod, options)}
}

// completeResources sets what a container leaves out: a request is the limit
// where that is given (kubernetes pkg/apis/core/v1/defaults.go), and limit ranges
// have defaults for the rest.
func completeResources(resources *corev1.ResourceRequirements, ranges []corev1.LimitRange) {
	resources.Requests = withDefaults(resources.Requests, resources.Limits)
	for _, limits := range ranges {
		for _, item := range limits.Spec.Limits {
			if item.Type == corev1.LimitTypeContainer {
				resources.Requests = withDefaults(resources.Requests, item.DefaultRequest)
				resources.Limits = withDefaults(resources.Limits, item.Default)
			}
		}
	}
}

func withDefaults(list, defaults corev1.ResourceList) corev1.ResourceList {
	for name, quantity := range defaults {
		if _, set := list[name]; set {
			continue
		}
		if list == nil {
			list = corev1.ResourceList{}
		}
		list[name] = quantity.DeepCopy()
	}
	return list
}

// LastingRequest returns what the containers of a template that run as long as
// their pod request of a resource together, limit ranges considered. There is no
// such number where one of them requests nothing.
func LastingRequest(template corev1.PodTemplateSpec, ranges []corev1.LimitRange, name corev1.ResourceName) (resource.Quantity, bool) {
	var total resource.Quantity
	for _, container := range LastingContainers(template.Spec) {
		resources := *container.Resources.DeepCopy()
		completeResources(&resources, ranges)
		quantity, set := resources.Requests[name]
		if !set {
			return resource.Quantity{}, false
		}
		total.Add(quantity)
	}
	return total, true
}
