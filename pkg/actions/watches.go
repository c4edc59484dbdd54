package actions

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Watch is a list of objects that a run follows.
type Watch struct {
	Kind      string
	Resource  schema.GroupVersionResource
	Namespace string
	// Labels and Fields are the selectors that bound it.
	Labels, Fields string
}

// base are the namespace itself and the kinds in it that the gates about pods
// need.
func base(namespace string) []Watch {
	watches := []Watch{namespaceNamed(namespace)}
	for _, kind := range []struct{ name, group, resource string }{
		{mesh.KindPod, "", "pods"},
		{mesh.KindReplicaSet, "apps", "replicasets"},
		{mesh.KindDeployment, "apps", "deployments"},
		{mesh.KindStatefulSet, "apps", "statefulsets"},
		{mesh.KindDaemonSet, "apps", "daemonsets"},
		{mesh.KindJob, "batch", "jobs"},
		{mesh.KindCronJob, "batch", "cronjobs"},
	} {
		resource := schema.GroupVersionResource{Group: kind.group, Version: "v1", Resource: kind.resource}
		watches = append(watches, Watch{Kind: kind.name, Resource: resource, Namespace: namespace})
	}
	return watches
}

// namespaceNamed is one namespace itself.
func namespaceNamed(name string) Watch {
	return Watch{
		Kind: mesh.KindNamespace, Resource: schema.GroupVersionResource{Version: "v1", Resource: "namespaces"},
		Fields: fields.OneTermEqualSelector("metadata.name", name).String(),
	}
}

// WatchesOf lists what a run of a plan follows: what every run does, and the
// kinds that this plan writes or waits for besides. A kind that it has nothing to
// do with may not be installed, or not be the user's to read.
func WatchesOf(planned v1alpha1.MigrationPlan, namespace string, mapper meta.RESTMapper) ([]Watch, error) {
	watches := base(namespace)
	add := func(watch Watch) {
		if slices.ContainsFunc(watches, watch.within) {
			return
		}
		watches = append(slices.DeleteFunc(watches, func(other Watch) bool { return other.within(watch) }), watch)
	}
	for _, step := range planned.Steps {
		var references []v1alpha1.ObjectReference
		for _, change := range step.Changes {
			references = append(references, change.Object)
		}
		for _, reference := range slices.Concat(references, step.Gate.Objects, step.Gate.Workloads) {
			if reference.Kind == mesh.KindNamespace {
				continue
			}
			kind := schema.FromAPIVersionAndKind(reference.APIVersion, reference.Kind)
			mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", reference, err)
			}
			add(Watch{Kind: reference.Kind, Resource: mapping.Resource, Namespace: reference.Namespace})
		}
		for _, watch := range besides(step.Gate) {
			add(watch)
		}
	}
	if planned.Handover == nil {
		return watches, nil
	}
	relied, err := reliedOn(*planned.Handover, mapper)
	for _, watch := range relied {
		add(watch)
	}
	return watches, err
}

// reliedOn are the lists that tell whether what was handed over holds: one for each
// kind and namespace, however many objects it is about.
func reliedOn(handover v1alpha1.Handover, mapper meta.RESTMapper) ([]Watch, error) {
	var watches []Watch
	wanted := slices.Clone(handover.Lists)
	want := func(object v1alpha1.ObjectReference) {
		wanted = append(wanted, v1alpha1.ObjectList{APIVersion: object.APIVersion, Kind: object.Kind, Namespace: object.Namespace})
	}
	for _, waypoint := range handover.Waypoints {
		want(waypoint)
		watches = append(watches, ranFor(waypoint.Namespace)...)
	}
	for _, service := range handover.Services {
		want(service.Object)
		watches = append(watches, namespaceNamed(service.Object.Namespace))
	}
	for _, object := range handover.Objects {
		want(object)
	}
	for _, list := range wanted {
		kind := schema.FromAPIVersionAndKind(list.APIVersion, list.Kind)
		mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			return nil, fmt.Errorf("%s in namespace %s: %w", list.Kind, list.Namespace, err)
		}
		watches = append(watches, Watch{Kind: list.Kind, Resource: mapping.Resource, Namespace: list.Namespace})
	}
	return watches, nil
}

// besides are what a gate looks at besides its objects.
func besides(gate v1alpha1.Gate) []Watch {
	var watches []Watch
	services := schema.GroupVersionResource{Version: "v1", Resource: "services"}
	for _, object := range gate.Objects {
		switch {
		case gate.Kind == v1alpha1.GateWaypointsReady || gate.Kind == v1alpha1.GateGone && object.Kind == mesh.KindGateway:
			watches = append(watches, ranFor(object.Namespace)...)
		case gate.Kind == v1alpha1.GatePoliciesAccepted || gate.Kind == v1alpha1.GateWaypointsBound:
			watches = append(watches, Watch{Kind: mesh.KindService, Resource: services, Namespace: object.Namespace})
		}
	}
	return watches
}

// ranFor are what istiod runs for Gateways: their Deployments, pods and the
// endpoints of their Services, all of which it labels (istio
// manifests/charts/istio-control/istio-discovery/files/waypoint.yaml).
func ranFor(namespace string) []Watch {
	var watches []Watch
	for _, kind := range []struct{ name, group, resource string }{
		{mesh.KindPod, "", "pods"},
		{mesh.KindReplicaSet, "apps", "replicasets"},
		{mesh.KindDeployment, "apps", "deployments"},
		{mesh.KindEndpointSlice, "discovery.k8s.io", "endpointslices"},
	} {
		resource := schema.GroupVersionResource{Group: kind.group, Version: "v1", Resource: kind.resource}
		watches = append(watches, Watch{Kind: kind.name, Resource: resource, Namespace: namespace, Labels: label.IoK8sNetworkingGatewayGatewayName.Name})
	}
	return watches
}

// within says whether another watch shows all that this one does.
func (w Watch) within(other Watch) bool {
	bounded := other.Labels != "" && other.Labels != w.Labels || other.Fields != "" && other.Fields != w.Fields
	return w.Kind == other.Kind && w.Namespace == other.Namespace && w.Resource.Group == other.Resource.Group && !bounded
}

// shows says whether an object is among those that are watched. An object whose
// labels are bounded is told by them.
func (w Watch) shows(object *unstructured.Unstructured) bool {
	if w.Kind != object.GetKind() || w.Namespace != object.GetNamespace() {
		return false
	}
	_, labelled := object.GetLabels()[w.Labels]
	return w.Labels == "" || labelled
}
