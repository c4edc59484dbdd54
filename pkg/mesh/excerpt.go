package mesh

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// Excerpt is the part of a snapshot's content that decides how calls to one namespace
// are routed and admitted: what is in the namespace, in the root namespaces and in those
// of the waypoints that it uses, and what the control planes are configured with. Of pods
// that are alike one is in it, and without what nothing of this asks for. Who may read the
// namespace may read the excerpt: it holds no configuration of proxies from elsewhere.
func Excerpt(content Content, snapshot *Snapshot, namespace Namespace) Content {
	excerpt := Content{
		Scope: Scope{Namespace: namespace.Name}, Coverage: maps.Clone(content.Coverage), HostNetwork: map[types.UID]bool{},
		KubernetesVersion: content.KubernetesVersion,
	}
	chosen := &excerpting{own: namespace.Name, around: map[string]bool{}, alike: map[string]bool{}}
	for _, root := range snapshot.RootNamespaces() {
		chosen.around[root] = true
	}
	for _, user := range snapshot.WaypointUsers(namespace) {
		chosen.around[user.Namespace] = true
	}
	objects := slices.Clone(content.Objects)
	sortObjects(objects)
	for i := range objects {
		object := &objects[i]
		switch {
		case !chosen.takes(object):
		case object.GetNamespace() != namespace.Name && slices.Contains(concealed, object.GetKind()):
			excerpt.Objects = append(excerpt.Objects, outline(object))
		default:
			excerpt.Objects = append(excerpt.Objects, lean(object))
		}
	}
	return excerpt
}

// excerpting chooses objects.
type excerpting struct {
	own string
	// around are the namespaces besides whose policies, routes and waypoints count.
	around map[string]bool
	// alike are the pods that stand for all that are like them.
	alike map[string]bool
}

// configuring are the kinds that decide about a namespace from others.
var configuring = []string{
	KindAuthorizationPolicy, KindPeerAuthentication, KindRequestAuthentication, KindVirtualService, KindDestinationRule, KindServiceEntry, KindSidecar,
	KindWorkloadEntry, KindEnvoyFilter, KindWasmPlugin, KindTrafficExtension, KindTelemetry, KindProxyConfig,
	KindGateway, KindHTTPRoute, KindGRPCRoute, KindTCPRoute, KindTLSRoute, KindEndpointSlice,
}

// controlling are the kinds that say how the mesh is configured.
var controlling = []string{KindMutatingWebhookConfiguration, KindGatewayClass}

func (e *excerpting) takes(object *unstructured.Unstructured) bool {
	kind, namespace := object.GetKind(), object.GetNamespace()
	labels := object.GetLabels()
	switch {
	case !Understood(object.GroupVersionKind().GroupKind()):
		return false
	case kind == KindNamespace:
		return object.GetName() == e.own || e.around[object.GetName()]
	case slices.Contains(controlling, kind), kind == KindConfigMap && labels["istio.io/rev"] != "":
		return true
	case kind == KindDeployment && labels["app"] == "istiod", kind == KindDaemonSet && (labels["k8s-app"] == "istio-cni-node" || labels["app"] == "ztunnel"):
		return true
	case kind == KindPod && (namespace == e.own || e.around[namespace] && labels["gateway.networking.k8s.io/gateway-name"] != ""):
		return e.first(object)
	case namespace == e.own && (kind == KindService || slices.Contains(workloadKinds, kind)):
		return true
	default:
		return (namespace == e.own || e.around[namespace]) && slices.Contains(configuring, kind)
	}
}

// workloadKinds are those that run the namespace's pods.
var workloadKinds = []string{KindDeployment, KindStatefulSet, KindDaemonSet, KindReplicaSet, KindCronJob, KindJob, KindRollout}

// first says whether a pod is the first of those that calls cannot tell apart.
func (e *excerpting) first(pod *unstructured.Unstructured) bool {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return true
	}
	annotations := pod.GetAnnotations()
	phase, _, _ := unstructured.NestedString(pod.Object, "status", "phase")
	key := fmt.Sprint(owner.UID, pod.GetLabels(), annotations["ambient.istio.io/redirection"], annotations["sidecar.istio.io/status"] != "", phase, pod.GetDeletionTimestamp() != nil)
	if e.alike[key] {
		return false
	}
	e.alike[key] = true
	return true
}

// concealed are the kinds that configure proxies with whatever their owners write, which
// may be a credential. Calls are decided by none of them: only whom they select counts.
var concealed = []string{KindEnvoyFilter, KindWasmPlugin, KindTrafficExtension, KindTelemetry, KindProxyConfig}

// outline is what identifies an object, and whom it selects.
func outline(object *unstructured.Unstructured) unstructured.Unstructured {
	kept := unstructured.Unstructured{Object: map[string]any{}}
	for _, path := range [][]string{
		{"apiVersion"}, {"kind"}, {"metadata", "name"}, {"metadata", "namespace"}, {"metadata", "labels"},
		{"spec", "selector"}, {"spec", "workloadSelector"}, {"spec", "targetRef"}, {"spec", "targetRefs"},
	} {
		if value, set, err := unstructured.NestedFieldCopy(object.Object, path...); err == nil && set {
			// The error could only be that what was just made is not a map.
			_ = unstructured.SetNestedField(kept.Object, value, path...)
		}
	}
	return kept
}

// lean is an object without what decisions about calls do not ask for.
func lean(object *unstructured.Unstructured) unstructured.Unstructured {
	small := *object.DeepCopy()
	small.SetManagedFields(nil)
	switch {
	case small.GetKind() == KindPod:
		leanPod(small.Object)
		unstructured.RemoveNestedField(small.Object, "status", "containerStatuses")
		unstructured.RemoveNestedField(small.Object, "status", "initContainerStatuses")
	case slices.Contains([]string{KindDeployment, KindStatefulSet, KindDaemonSet, KindJob, KindRollout}, small.GetKind()):
		leanPod(small.Object, "spec", "template")
	case small.GetKind() == KindReplicaSet && metav1.GetControllerOf(&small) != nil:
		// It only says whose the pods are.
		delete(small.Object, "spec")
		delete(small.Object, "status")
	}
	return small
}

// leanPod takes out of a pod, or of a template, what containers are given, but for
// proxies and Istio's own.
func leanPod(object map[string]any, path ...string) {
	spec := append(slices.Clone(path), "spec")
	unstructured.RemoveNestedField(object, append(slices.Clone(spec), "volumes")...)
	for _, list := range []string{"containers", "initContainers"} {
		field, _, _ := unstructured.NestedFieldNoCopy(object, append(slices.Clone(spec), list)...)
		containers, _ := field.([]any)
		for _, item := range containers {
			container, _ := item.(map[string]any)
			name, _ := container["name"].(string)
			delete(container, "volumeMounts")
			if !configured[name] {
				delete(container, "env")
				delete(container, "command")
				delete(container, "args")
			}
		}
	}
}

// Restored makes content from what Dump has written, and JSON has kept since.
func Restored(dump v1alpha1.MeshSnapshot) (Content, error) {
	content := Content{Coverage: map[string]Coverage{}, HostNetwork: map[types.UID]bool{}}
	content.fromDump(dump)
	for _, item := range dump.Items {
		// Numbers without a fraction have to be whole again.
		data, err := json.Marshal(item)
		if err != nil {
			return content, fmt.Errorf("write an object of a snapshot: %w", err)
		}
		var object map[string]any
		if err := utiljson.Unmarshal(data, &object); err != nil {
			return content, fmt.Errorf("read an object of a snapshot: %w", err)
		}
		content.Add(unstructured.Unstructured{Object: object})
	}
	return content, nil
}
