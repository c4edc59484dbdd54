package mesh

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

// WaypointPods is what an installation makes waypoints from (istio
// manifests/charts/istio-control/istio-discovery/files/waypoint.yaml).
type WaypointPods struct {
	// Seccomp says whether they have a seccomp profile.
	Seccomp bool
	// Resources is what each asks for.
	Resources PodResources
}

// WaypointPods returns what waypoints are made from. Of several revisions with
// settings of their own the least is returned: no seccomp profile where one lacks
// it, and the resources of the first.
func (s *Snapshot) WaypointPods() WaypointPods {
	pods := WaypointPods{Resources: defaultWaypointResources()}
	first := true
	for _, configMap := range s.installations {
		text := configMap.Data["values"]
		if text == "" || !holdsInjection(configMap) {
			continue
		}
		var values struct {
			Global struct {
				Waypoint struct {
					Resources *corev1.ResourceRequirements `json:"resources"`
				} `json:"waypoint"`
			} `json:"global"`
			Gateways struct {
				SeccompProfile *corev1.SeccompProfile `json:"seccompProfile"`
			} `json:"gateways"`
		}
		if err := yaml.Unmarshal([]byte(text), &values); err != nil {
			continue
		}
		seccomp := values.Gateways.SeccompProfile != nil && values.Gateways.SeccompProfile.Type != ""
		pods.Seccomp = seccomp && (first || pods.Seccomp)
		if resources := values.Global.Waypoint.Resources; first && resources != nil {
			pods.Resources = PodResources{Requests: resources.Requests, Limits: resources.Limits}
		}
		first = false
	}
	return pods
}

// defaultWaypointResources are the chart's (istio
// manifests/charts/istio-control/istio-discovery/values.yaml, global.waypoint).
func defaultWaypointResources() PodResources {
	return PodResources{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi")},
	}
}
