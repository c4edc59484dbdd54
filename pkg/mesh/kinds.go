package mesh

import (
	"slices"
	"sync"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The kinds that checks name, besides those of workloads. Each is also the key
// of its kind in Coverage.
const (
	KindNamespace                    = "Namespace"
	KindNode                         = "Node"
	KindService                      = "Service"
	KindConfigMap                    = "ConfigMap"
	KindEndpointSlice                = "EndpointSlice"
	KindMutatingWebhookConfiguration = "MutatingWebhookConfiguration"
	KindPodDisruptionBudget          = "PodDisruptionBudget"
	KindNetworkPolicy                = "NetworkPolicy"
	KindHorizontalPodAutoscaler      = "HorizontalPodAutoscaler"
	KindVerticalPodAutoscaler        = "VerticalPodAutoscaler"
	KindLimitRange                   = "LimitRange"
	KindResourceQuota                = "ResourceQuota"
	KindRollout                      = "Rollout"

	KindGateway      = "Gateway"
	KindGatewayClass = "GatewayClass"
	KindHTTPRoute    = "HTTPRoute"
	KindGRPCRoute    = "GRPCRoute"
	KindTCPRoute     = "TCPRoute"
	KindTLSRoute     = "TLSRoute"

	KindAuthorizationPolicy   = "AuthorizationPolicy"
	KindPeerAuthentication    = "PeerAuthentication"
	KindRequestAuthentication = "RequestAuthentication"
	KindVirtualService        = "VirtualService"
	KindDestinationRule       = "DestinationRule"
	KindServiceEntry          = "ServiceEntry"
	KindSidecar               = "Sidecar"
	KindWorkloadEntry         = "WorkloadEntry"
	KindWorkloadGroup         = "WorkloadGroup"
	KindProxyConfig           = "ProxyConfig"
	KindEnvoyFilter           = "EnvoyFilter"
	KindWasmPlugin            = "WasmPlugin"
	KindTrafficExtension      = "TrafficExtension"
	KindTelemetry             = "Telemetry"

	KindPodMonitor           = "PodMonitor"
	KindServiceMonitor       = "ServiceMonitor"
	KindPrometheusRule       = "PrometheusRule"
	KindFelixConfiguration   = "FelixConfiguration"
	KindCiliumClusterPolicy  = "CiliumClusterwideNetworkPolicy"
	kindCustomResourceDef    = "CustomResourceDefinition"
	groupGateway             = "gateway.networking.k8s.io"
	groupIstioNetworking     = "networking.istio.io"
	groupIstioSecurity       = "security.istio.io"
	groupIstioExtensions     = "extensions.istio.io"
	groupIstioTelemetry      = "telemetry.istio.io"
	groupMonitoring          = "monitoring.coreos.com"
	groupAPIExtensions       = "apiextensions.k8s.io"
	groupAdmission           = "admissionregistration.k8s.io"
	groupKubernetesNetwork   = "networking.k8s.io"
	groupCalico              = "crd.projectcalico.org"
	groupCilium              = "cilium.io"
	groupVerticalAutoscaling = "autoscaling.k8s.io"
	groupRollouts            = "argoproj.io"
)

// The keys of Coverage for what is a part of a kind.
const (
	// PodsMeshWide is the metadata of all live pods.
	PodsMeshWide = "pods of the mesh"
	// SidecarsWithoutTunnel are the pods with a sidecar that lack the label by
	// which ztunnel knows that it accepts HBONE.
	SidecarsWithoutTunnel = "sidecars without HBONE"
	// IstiodDeployments are the Deployments labelled app=istiod.
	IstiodDeployments = "istiod Deployments"
	// ZtunnelPods are the pods labelled app=ztunnel.
	ZtunnelPods = "ztunnel pods"
	// CNIPods are the pods labelled k8s-app=istio-cni-node.
	CNIPods = "istio-cni pods"
	// IstioConfigMaps are the ConfigMaps of Istio installations.
	IstioConfigMaps = "Istio ConfigMaps"
	// CiliumConfigMap is Cilium's own configuration.
	CiliumConfigMap = "Cilium's ConfigMap"
	// WaypointParameters are the ConfigMaps by which runs have shaped waypoints.
	WaypointParameters = "waypoints' ConfigMaps"
	// Dashboards are the ConfigMaps that hold Grafana's dashboards.
	Dashboards = "dashboards"
	// WaypointEndpoints are the EndpointSlices of what istiod runs for
	// Gateways.
	WaypointEndpoints = "EndpointSlices of gateways"
	// HandWrittenEndpoints are the EndpointSlices of Services that Kubernetes does
	// not keep itself.
	HandWrittenEndpoints = "EndpointSlices written by hand"
	// CustomResourceDefinitions is their metadata.
	CustomResourceDefinitions = "CustomResourceDefinitions"
)

// collection is one list of objects that a snapshot is made from.
type collection struct {
	// key is what Coverage calls it: the kind, or a name for a part of it.
	key      string
	kind     string
	resource schema.GroupVersionResource
	// clusterScoped kinds are in no namespace.
	clusterScoped bool
	// atHand collections are read for the namespaces at hand only, the others
	// for the whole mesh.
	atHand bool
	// selector and fields bound a part of a kind, as label and field selectors.
	selector, fields string
	// metadata says that no more than that is read.
	metadata bool
}

func meshWide(kind, group, version, resource string) collection {
	return collection{key: kind, kind: kind, resource: schema.GroupVersionResource{Group: group, Version: version, Resource: resource}}
}

func atHand(kind, group, version, resource string) collection {
	c := meshWide(kind, group, version, resource)
	c.atHand = true
	return c
}

func clusterScoped(kind, group, resource string) collection {
	c := meshWide(kind, group, "v1", resource)
	c.clusterScoped = true
	return c
}

func (c collection) version(version string) collection {
	c.resource.Version = version
	return c
}

// part bounds a collection to what a label selector selects.
func (c collection) part(key, selector string) collection {
	c.key, c.selector = key, selector
	return c
}

func (c collection) named(key, name string) collection {
	c.key, c.fields = key, "metadata.name="+name
	return c
}

func (c collection) metadataOnly(key string) collection {
	c.key, c.metadata = key, true
	return c
}

// collections are the lists that every snapshot is made from. Their number does
// not depend on the size of the mesh.
func collections() []collection {
	pods := meshWide(KindPod, "", "v1", "pods")
	configMaps := meshWide(KindConfigMap, "", "v1", "configmaps")
	return []collection{
		clusterScoped(KindNamespace, "", "namespaces"),
		clusterScoped(KindNode, "", "nodes"),
		clusterScoped(KindMutatingWebhookConfiguration, groupAdmission, "mutatingwebhookconfigurations"),
		clusterScoped(kindCustomResourceDef, groupAPIExtensions, "customresourcedefinitions").metadataOnly(CustomResourceDefinitions),
		meshWide(KindDaemonSet, "apps", "v1", "daemonsets"),
		meshWide(KindService, "", "v1", "services"),
		// Every ConfigMap of an Istio installation carries its revision
		// (istio manifests/charts: istio, istio-cni-config).
		configMaps.part(IstioConfigMaps, "istio.io/rev"),
		configMaps.part(Dashboards, "grafana_dashboard"),
		configMaps.named(CiliumConfigMap, "cilium-config"),
		configMaps.part(WaypointParameters, v1alpha1.OriginLabel),
		meshWide(KindDeployment, "apps", "v1", "deployments").part(IstiodDeployments, "app=istiod"),
		// EndpointSlices mirror their Service's labels; those of waypoints are
		// told by the label that istiod puts on what it makes for a Gateway.
		meshWide(KindEndpointSlice, "discovery.k8s.io", "v1", "endpointslices").part(WaypointEndpoints, "gateway.networking.k8s.io/gateway-name"),
		// Kubernetes labels those that it keeps for the selectors of Services; of
		// Endpoints that people write it makes others.
		meshWide(KindEndpointSlice, "discovery.k8s.io", "v1", "endpointslices").part(HandWrittenEndpoints,
			discoveryv1.LabelServiceName+","+discoveryv1.LabelManagedBy+"!="+sliceController),
		pods.part(ZtunnelPods, "app=ztunnel"),
		pods.part(CNIPods, "k8s-app=istio-cni-node"),
		// The injector labels every pod that it gives a sidecar with a TLS mode
		// (istio manifests/charts/istio-control/istio-discovery/files,
		// injection-template.yaml).
		pods.part(SidecarsWithoutTunnel, "security.istio.io/tlsMode,"+TunnelLabel+"!="+TunnelHTTP),

		clusterScoped(KindGatewayClass, groupGateway, "gatewayclasses"),
		meshWide(KindGateway, groupGateway, "v1", "gateways"),
		meshWide(KindHTTPRoute, groupGateway, "v1", "httproutes"),
		meshWide(KindGRPCRoute, groupGateway, "v1", "grpcroutes"),
		meshWide(KindTCPRoute, groupGateway, "v1alpha2", "tcproutes"),
		meshWide(KindTLSRoute, groupGateway, "v1alpha2", "tlsroutes"),

		meshWide(KindAuthorizationPolicy, groupIstioSecurity, "v1", "authorizationpolicies"),
		meshWide(KindPeerAuthentication, groupIstioSecurity, "v1", "peerauthentications"),
		meshWide(KindRequestAuthentication, groupIstioSecurity, "v1", "requestauthentications"),
		meshWide(KindVirtualService, groupIstioNetworking, "v1", "virtualservices"),
		meshWide(KindDestinationRule, groupIstioNetworking, "v1", "destinationrules"),
		meshWide(KindServiceEntry, groupIstioNetworking, "v1", "serviceentries"),
		meshWide(KindSidecar, groupIstioNetworking, "v1", "sidecars"),
		meshWide(KindWorkloadEntry, groupIstioNetworking, "v1", "workloadentries"),
		meshWide(KindWorkloadGroup, groupIstioNetworking, "v1", "workloadgroups"),
		meshWide(KindProxyConfig, groupIstioNetworking, "v1beta1", "proxyconfigs"),
		meshWide(KindEnvoyFilter, groupIstioNetworking, "v1alpha3", "envoyfilters"),
		meshWide(KindWasmPlugin, groupIstioExtensions, "v1alpha1", "wasmplugins"),
		meshWide(KindTrafficExtension, groupIstioExtensions, "v1alpha1", "trafficextensions"),
		meshWide(KindTelemetry, groupIstioTelemetry, "v1", "telemetries"),

		meshWide(KindPodMonitor, groupMonitoring, "v1", "podmonitors"),
		meshWide(KindServiceMonitor, groupMonitoring, "v1", "servicemonitors"),
		meshWide(KindPrometheusRule, groupMonitoring, "v1", "prometheusrules"),
		clusterScoped(KindFelixConfiguration, groupCalico, "felixconfigurations"),
		clusterScoped(KindCiliumClusterPolicy, groupCilium, "ciliumclusterwidenetworkpolicies").version("v2"),

		atHand(KindPod, "", "v1", "pods"),
		atHand(KindDeployment, "apps", "v1", "deployments"),
		atHand(KindStatefulSet, "apps", "v1", "statefulsets"),
		atHand(KindReplicaSet, "apps", "v1", "replicasets"),
		atHand(KindJob, "batch", "v1", "jobs"),
		atHand(KindCronJob, "batch", "v1", "cronjobs"),
		atHand(KindRollout, groupRollouts, "v1alpha1", "rollouts"),
		atHand(KindPodDisruptionBudget, "policy", "v1", "poddisruptionbudgets"),
		atHand(KindNetworkPolicy, groupKubernetesNetwork, "v1", "networkpolicies"),
		atHand(KindHorizontalPodAutoscaler, "autoscaling", "v2", "horizontalpodautoscalers"),
		atHand(KindVerticalPodAutoscaler, groupVerticalAutoscaling, "v1", "verticalpodautoscalers"),
		atHand(KindLimitRange, "", "v1", "limitranges"),
		atHand(KindResourceQuota, "", "v1", "resourcequotas"),
	}
}

// understood are the kinds that a snapshot makes sense of.
var understood = sync.OnceValue(func() map[schema.GroupKind]bool {
	kinds := map[schema.GroupKind]bool{}
	for _, c := range collections() {
		kinds[schema.GroupKind{Group: c.resource.Group, Kind: c.kind}] = true
	}
	return kinds
})

// Understood says whether a snapshot makes sense of objects of a kind.
func Understood(kind schema.GroupKind) bool { return understood()[kind] }

// namespaced are the kinds among them whose objects are in namespaces.
var namespaced = sync.OnceValue(func() map[schema.GroupKind]bool {
	kinds := map[schema.GroupKind]bool{}
	for _, c := range collections() {
		kinds[schema.GroupKind{Group: c.resource.Group, Kind: c.kind}] = !c.clusterScoped
	}
	return kinds
})

// ofHand are the keys of Coverage of what is read for namespaces at hand only.
var ofHand = sync.OnceValue(func() map[string]bool {
	keys := map[string]bool{}
	for _, c := range collections() {
		keys[c.key] = c.atHand
	}
	return keys
})

// Resources are what a snapshot is made from, each once.
func Resources() []schema.GroupResource {
	var resources []schema.GroupResource
	for _, c := range collections() {
		if resource := c.resource.GroupResource(); !slices.Contains(resources, resource) {
			resources = append(resources, resource)
		}
	}
	return resources
}

// Keys are all keys of Coverage.
func Keys() []string {
	keys := []string{PodsMeshWide}
	for _, c := range collections() {
		keys = append(keys, c.key)
	}
	return keys
}
