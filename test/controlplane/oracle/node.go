package oracle

import (
	"encoding/json"
	"fmt"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"
	corev1 "k8s.io/api/core/v1"
)

// istioMetaPrefix marks variables of a proxy's environment that its agent hands
// to istiod (pkg/bootstrap/config.go); those with a further prefix hold JSON.
const (
	istioMetaPrefix     = "ISTIO_META_"
	istioMetaJSONPrefix = "ISTIO_METAJSON_"
)

// proxyVersion is what proxies report: new enough for everything that istiod
// serves only to proxies of its own age.
const proxyVersion = "1.31.0"

// The kinds of Envoy, as they appear in node ids.
const (
	kindSidecar  = "sidecar"
	kindWaypoint = "waypoint"
	kindRouter   = "router"
	kindZtunnel  = "ztunnel"
)

// proxyContainer returns the container that runs Envoy, or nil.
func proxyContainer(pod *corev1.Pod) *corev1.Container {
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			if containers[i].Name == "istio-proxy" {
				return &containers[i]
			}
		}
	}
	return nil
}

// podKind returns which Envoy the pod runs, which the first arguments of its
// proxy say, or nothing.
func podKind(pod *corev1.Pod) string {
	container := proxyContainer(pod)
	if container == nil {
		return ""
	}
	for i, argument := range container.Args {
		if argument == "proxy" && i+1 < len(container.Args) {
			switch kind := container.Args[i+1]; kind {
			case kindSidecar, kindWaypoint, kindRouter:
				return kind
			}
		}
	}
	return ""
}

// podNode is the node of a pod's Envoy as its agent would describe it.
func podNode(kind string, pod *corev1.Pod) (*core.Node, error) {
	metadata := map[string]any{
		"NAME":            pod.Name,
		"NAMESPACE":       pod.Namespace,
		"SERVICE_ACCOUNT": pod.Spec.ServiceAccountName,
		"INSTANCE_IPS":    pod.Status.PodIP,
		"NODE_NAME":       pod.Spec.NodeName,
		"ISTIO_VERSION":   proxyVersion,
		"LABELS":          asAny(pod.Labels),
		"ANNOTATIONS":     asAny(pod.Annotations),
	}
	for _, variable := range proxyContainer(pod).Env {
		if variable.ValueFrom != nil {
			continue
		}
		if name, ok := strings.CutPrefix(variable.Name, istioMetaPrefix); ok {
			if _, set := metadata[name]; !set {
				metadata[name] = variable.Value
			}
		}
		if strings.HasPrefix(variable.Name, istioMetaJSONPrefix) {
			var values map[string]any
			if err := json.Unmarshal([]byte(variable.Value), &values); err != nil {
				return nil, fmt.Errorf("pod %s/%s: %s: %w", pod.Namespace, pod.Name, variable.Name, err)
			}
			metadata[strings.TrimPrefix(variable.Name, istioMetaJSONPrefix)] = values
		}
	}
	return newNode(kind, pod.Status.PodIP, pod.Name, pod.Namespace, metadata)
}

// noPodAddress is from a range for documentation.
const noPodAddress = "192.0.2.1"

// syntheticNode is a proxy that no pod runs: one that asks what its namespace
// is served.
func syntheticNode(kind, namespace string, labels map[string]string) (*core.Node, error) {
	return newNode(kind, noPodAddress, "oracle", namespace, map[string]any{
		"NAME":          "oracle",
		"NAMESPACE":     namespace,
		"INSTANCE_IPS":  noPodAddress,
		"CLUSTER_ID":    clusterID,
		"ISTIO_VERSION": proxyVersion,
		"ENABLE_HBONE":  "true",
		"LABELS":        asAny(labels),
	})
}

func newNode(kind, address, name, namespace string, metadata map[string]any) (*core.Node, error) {
	fields, err := structpb.NewStruct(metadata)
	if err != nil {
		return nil, fmt.Errorf("describing %s %s/%s: %w", kind, namespace, name, err)
	}
	return &core.Node{
		Id:       fmt.Sprintf("%s~%s~%s.%s~%s.svc.cluster.local", kind, address, name, namespace, namespace),
		Metadata: fields,
	}, nil
}

func asAny(values map[string]string) map[string]any {
	result := make(map[string]any, len(values))
	for name, value := range values {
		result[name] = value
	}
	return result
}
