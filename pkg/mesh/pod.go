package mesh

import (
	"slices"
	"strings"
	"time"

	"istio.io/api/annotation"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ProxyContainer is the name of the proxy's container in sidecars and
// gateways alike (istio pkg/kube/inject, ProxyContainerName).
const ProxyContainer = "istio-proxy"

// TunnelLabel is set by the injector on pods whose sidecar accepts HBONE:
// value TunnelHTTP (istio injection-template.yaml). ztunnel decides by it.
const (
	TunnelLabel = "networking.istio.io/tunnel"
	TunnelHTTP  = "http"
)

// The values of annotation ambient.istio.io/redirection that istio-cni
// writes (istio pkg/config/constants).
const (
	RedirectionEnabled = "enabled"
	RedirectionPending = "pending"
)

// Pod is what decisions need of a pod.
type Pod struct {
	Namespace   string
	Name        string
	UID         types.UID
	Labels      map[string]string
	Annotations map[string]string
	// Controller is the owner that manages the pod, if any.
	Controller *metav1.OwnerReference
	Created    time.Time
	// Terminating pods are on their way out; they are counted nowhere.
	Terminating bool
	// Grace is how long a pod on its way out is given to end, from when that began.
	Grace time.Duration

	// Detailed is true where more than metadata was read. The fields below
	// are empty otherwise.
	Detailed    bool
	Phase       corev1.PodPhase
	Ready       bool
	Node        string
	HostNetwork bool
	Containers  []string
	// InitContainers hold native sidecars (restartPolicy Always).
	InitContainers []string
	ServiceAccount string
	// ProxyImage is the image of the pod's proxy; empty where it has none.
	ProxyImage string
	// ProxyEnvironment holds the variables of the pod's proxy that say how it is
	// configured, such as ISTIO_META_ENABLE_HBONE.
	ProxyEnvironment map[string]string
	// ProxyRequests is what the pod's proxy requests.
	ProxyRequests corev1.ResourceList
	// Addresses are the pod's own, the primary one first.
	Addresses []string
	// Router is true where the pod's own proxy is a gateway's.
	Router bool
	// Trouble says why the pod is not ready, in the kubelet's or the
	// scheduler's words; empty where nothing is said.
	Trouble string
	// Object is the whole pod as it was read.
	Object Object
}

// PodFromMetadata takes what a metadata-only list tells of a pod.
func PodFromMetadata(object metav1.ObjectMeta) Pod {
	return Pod{
		Namespace:   object.Namespace,
		Name:        object.Name,
		UID:         object.UID,
		Labels:      object.Labels,
		Annotations: object.Annotations,
		Controller:  metav1.GetControllerOf(&object),
		Created:     object.CreationTimestamp.Time,
		Terminating: object.DeletionTimestamp != nil,
		Grace:       graceOf(object.DeletionGracePeriodSeconds),
	}
}

func graceOf(seconds *int64) time.Duration {
	if seconds == nil {
		return 0
	}
	return time.Duration(*seconds) * time.Second
}

// PodFromObject takes a whole pod, as far as its type knows it.
func PodFromObject(object *corev1.Pod) Pod {
	pod := PodFromMetadata(object.ObjectMeta)
	pod.Detailed = true
	pod.Phase = object.Status.Phase
	pod.Node = object.Spec.NodeName
	pod.HostNetwork = object.Spec.HostNetwork
	pod.ServiceAccount = object.Spec.ServiceAccountName
	pod.Router = routes(object.Spec.Containers)
	for _, container := range object.Spec.Containers {
		pod.Containers = append(pod.Containers, container.Name)
		pod.addProxy(container)
	}
	for _, container := range object.Spec.InitContainers {
		pod.InitContainers = append(pod.InitContainers, container.Name)
		pod.addProxy(container)
	}
	for _, address := range object.Status.PodIPs {
		pod.Addresses = append(pod.Addresses, address.IP)
	}
	if len(pod.Addresses) == 0 && object.Status.PodIP != "" {
		pod.Addresses = []string{object.Status.PodIP}
	}
	for _, condition := range object.Status.Conditions {
		if condition.Type == corev1.PodReady {
			pod.Ready = condition.Status == corev1.ConditionTrue
		}
	}
	if !pod.Ready {
		pod.Trouble = podTrouble(object)
	}
	return pod
}

// addProxy takes what the proxy's container says of itself, if it is that.
func (p *Pod) addProxy(container corev1.Container) {
	if container.Name != ProxyContainer {
		return
	}
	p.ProxyImage, p.ProxyEnvironment, p.ProxyRequests = container.Image, map[string]string{}, container.Resources.Requests
	for _, variable := range container.Env {
		if variable.Value != Redacted {
			p.ProxyEnvironment[variable.Name] = variable.Value
		}
	}
}

// podTrouble picks the most telling reason for a pod not being ready: a
// container that waits or failed, before the conditions, which only repeat it.
func podTrouble(pod *corev1.Pod) string {
	statuses := slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
	for _, status := range statuses {
		if waiting := status.State.Waiting; waiting != nil && waiting.Reason != "" &&
			waiting.Reason != "PodInitializing" && waiting.Reason != "ContainerCreating" {
			return joinReason("container "+status.Name+": "+waiting.Reason, waiting.Message)
		}
		if ended := status.State.Terminated; ended != nil && ended.ExitCode != 0 {
			return joinReason("container "+status.Name+": "+ended.Reason, ended.Message)
		}
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		for _, condition := range pod.Status.Conditions {
			if condition.Type == kind && condition.Status == corev1.ConditionFalse && condition.Reason != "" {
				return joinReason(condition.Reason, condition.Message)
			}
		}
	}
	return ""
}

func joinReason(reason, message string) string {
	if message == "" {
		return reason
	}
	return reason + ": " + message
}

// String is the pod as messages name it.
func (p Pod) String() string { return "Pod " + p.Namespace + "/" + p.Name }

// Finished says whether the pod has run to its end: it carries no traffic.
func (p Pod) Finished() bool {
	return p.Phase == corev1.PodSucceeded || p.Phase == corev1.PodFailed
}

// Live says whether the pod counts: neither finished nor on its way out.
func (p Pod) Live() bool { return !p.Terminating && !p.Finished() }

// Ending says whether the pod is on its way out and its containers may still run.
func (p Pod) Ending() bool { return p.Terminating && !p.Finished() }

// HasSidecar says whether the pod runs an injected proxy, as a container or
// as a native sidecar among the init containers. The annotation decides where
// only metadata was read: the injector always writes it, and istio-cni goes by
// it too (istio cni/pkg/util, podHasSidecar). ztunnel's own container bears the
// name of the proxy as well (istio manifests/charts/ztunnel).
func (p Pod) HasSidecar() bool {
	if p.IsGateway() || p.IsZtunnel() {
		return false
	}
	if _, injected := p.Annotations[annotation.SidecarStatus.Name]; injected {
		return true
	}
	return slices.Contains(p.Containers, ProxyContainer) || slices.Contains(p.InitContainers, ProxyContainer)
}

// IsGateway says whether the pod is a proxy in its own right: an injected
// gateway, or one that istiod runs for a Gateway resource, waypoints included.
func (p Pod) IsGateway() bool {
	return p.Router || isGateway(p.Labels, p.Annotations)
}

// IsAgent says whether the pod's injected container is the agent of an
// application that speaks xDS itself (proxyless gRPC), not a sidecar that
// captures traffic.
func (p Pod) IsAgent() bool { return hasTemplate(p.Annotations, "grpc-agent") }

func isGateway(labels, annotations map[string]string) bool {
	return labels[label.IoK8sNetworkingGatewayGatewayName.Name] != "" || labels[label.GatewayManaged.Name] != "" ||
		hasTemplate(annotations, "gateway")
}

// hasTemplate says whether a pod asks for an injection template by name.
func hasTemplate(annotations map[string]string, name string) bool {
	for template := range strings.SplitSeq(annotations[annotation.InjectTemplates.Name], ",") {
		if strings.TrimSpace(template) == name {
			return true
		}
	}
	return false
}

// routes says whether containers hold a gateway's proxy that was not injected,
// as the charts of Istio's own ingress and egress gateways write it: the proxy
// in its role of a router (istio manifests/charts/gateways).
func routes(containers []corev1.Container) bool {
	return slices.ContainsFunc(containers, func(container corev1.Container) bool {
		return container.Name == ProxyContainer && slices.Contains(container.Args, "router")
	})
}

// OfJob says whether the pod is one of a Job's, which is to end.
func (p Pod) OfJob() bool { return p.Controller != nil && p.Controller.Kind == KindJob }

// IsZtunnel says whether the pod is one of ztunnel's DaemonSet.
func (p Pod) IsZtunnel() bool {
	return p.Labels["app"] == "ztunnel" && p.Controller != nil && p.Controller.Kind == KindDaemonSet
}

// Tunnels says whether the pod's sidecar accepts HBONE, as ztunnel sees it.
func (p Pod) Tunnels() bool { return p.Labels[TunnelLabel] == TunnelHTTP }

// Redirected says whether istio-cni reports the pod's traffic as redirected
// to ztunnel. It is a claim: after a node reboot it can be stale
// (istio#61182), so ztunnel's own word is asked for where it matters.
func (p Pod) Redirected() bool {
	return p.Annotations[annotation.AmbientRedirection.Name] == RedirectionEnabled
}
