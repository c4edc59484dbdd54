package mesh

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"istio.io/api/annotation"
	"istio.io/api/label"
	clientnetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

// KubernetesVersion is the API server's version as it states it.
func (s *Snapshot) KubernetesVersion() string { return s.kubernetesVersion }

// Scope says which namespaces the snapshot is about.
func (s *Snapshot) Scope() Scope { return s.scope }

// Coverage says what is known of a kind, or of the part of one that a key names,
// as far as decisions about a namespace go.
func (s *Snapshot) Coverage(key, namespace string) Coverage {
	coverage, set := s.coverage[key]
	if !set || ofHand()[key] && !s.scope.Holds(namespace) {
		return Coverage{State: CoverageUnasked}
	}
	return coverage
}

// Unread names those of some kinds of which it is not known, for a namespace, what there
// is; it is empty where all were read.
func (s *Snapshot) Unread(namespace string, kinds ...string) string {
	return strings.Join(slices.DeleteFunc(kinds, func(kind string) bool { return s.Coverage(kind, namespace).Known() }), ", ")
}

// Unrecognized counts the objects of kinds that mean nothing here.
func (s *Snapshot) Unrecognized() map[schema.GroupVersionKind]int { return maps.Clone(s.unrecognized) }

// Suppressed says whether the owner of an object does not want to be told of a
// check's findings about it.
func (s *Snapshot) Suppressed(object v1alpha1.ObjectReference, check string) bool {
	for id := range strings.SplitSeq(s.suppressions[object.Unversioned()], ",") {
		if strings.TrimSpace(id) == check {
			return true
		}
	}
	return false
}

// Namespace returns the namespace of that name.
func (s *Snapshot) Namespace(name string) (Namespace, bool) {
	namespace, found := s.namespaces[name]
	return namespace, found
}

// Namespaces returns all namespaces by name.
func (s *Snapshot) Namespaces() []Namespace {
	return slices.SortedFunc(maps.Values(s.namespaces), func(a, b Namespace) int { return cmp.Compare(a.Name, b.Name) })
}

// Pods returns the live pods of a namespace by name.
func (s *Snapshot) Pods(namespace string) []Pod {
	return slices.DeleteFunc(slices.Clone(s.pods[namespace]), func(pod Pod) bool { return !pod.Live() })
}

// PodsOnceOf returns the pods of a namespace that have a label of that value,
// those that are being terminated included.
func (s *Snapshot) PodsOnceOf(namespace, key, value string) []Pod {
	return slices.DeleteFunc(slices.Clone(s.pods[namespace]), func(pod Pod) bool { return pod.Finished() || pod.Labels[key] != value })
}

// AllPods returns the live pods of the mesh, namespace by namespace.
func (s *Snapshot) AllPods() []Pod {
	var pods []Pod
	for _, namespace := range slices.Sorted(maps.Keys(s.pods)) {
		pods = append(pods, s.Pods(namespace)...)
	}
	return pods
}

// Workloads returns the workloads of a namespace by kind and name.
func (s *Snapshot) Workloads(namespace string) []Workload {
	return slices.Clone(s.workloads[namespace])
}

// PodsOf returns the live pods that belong to a workload, by ownership, not
// by labels: two workloads may share those.
func (s *Snapshot) PodsOf(workload Workload) []Pod { return slices.Clone(s.podsOf[workload.UID]) }

// Ending returns the pods of a namespace that are on their way out and may still run.
func (s *Snapshot) Ending(namespace string) []Pod {
	return slices.DeleteFunc(slices.Clone(s.pods[namespace]), func(pod Pod) bool { return !pod.Ending() })
}

// EndingOf returns those of them that belong to a workload.
func (s *Snapshot) EndingOf(workload Workload) []Pod { return slices.Clone(s.endingOf[workload.UID]) }

// Object returns the whole object of a namespace, workload, Service, Gateway or
// policy, or of a pod that was read in detail.
func (s *Snapshot) Object(reference v1alpha1.ObjectReference) (Object, bool) {
	switch reference.Kind {
	case "Namespace":
		namespace, found := s.namespaces[reference.Name]
		return namespace.Object, found
	case KindPod:
		for _, pod := range s.pods[reference.Namespace] {
			if pod.Name == reference.Name && pod.Object != nil {
				return pod.Object, true
			}
		}
	default:
		if workload, found := s.Workload(reference); found {
			return workload.Object, true
		}
		object, found := s.rewritten[reference.Unversioned()]
		if found {
			return object, object != nil
		}
		object, found = s.whole[reference.Unversioned()]
		return object, found
	}
	return nil, false
}

// Original returns an object as it was before it was redacted. There is none of
// an object that was read from a dump.
func (s *Snapshot) Original(reference v1alpha1.ObjectReference) (Object, bool) {
	if original, redacted := s.originals[reference]; redacted {
		return original, true
	}
	object, found := s.Object(reference)
	return object, found && !holdsRedacted(map[string]any(object))
}

func holdsRedacted(value any) bool {
	switch value := value.(type) {
	case string:
		return strings.Contains(value, Redacted)
	case []any:
		return slices.ContainsFunc(value, holdsRedacted)
	case map[string]any:
		for _, part := range value {
			if holdsRedacted(part) {
				return true
			}
		}
	}
	return false
}

// Workload returns the workload of that kind, namespace and name.
func (s *Snapshot) Workload(reference v1alpha1.ObjectReference) (Workload, bool) {
	for _, workload := range s.workloads[reference.Namespace] {
		if workload.Reference.Kind == reference.Kind && workload.Reference.Name == reference.Name {
			return workload, true
		}
	}
	return Workload{}, false
}

// BarePods returns the live pods of a namespace that nothing controls.
func (s *Snapshot) BarePods(namespace string) []Pod {
	return slices.DeleteFunc(s.Pods(namespace), func(pod Pod) bool { return pod.Controller != nil })
}

// Nodes returns the cluster's nodes by name.
func (s *Snapshot) Nodes() []corev1.Node { return slices.Clone(s.nodes) }

// AllServices returns the Services of the mesh.
func (s *Snapshot) AllServices() []corev1.Service { return slices.Clone(s.services) }

// Services returns the Services of a namespace.
func (s *Snapshot) Services(namespace string) []corev1.Service {
	// They are in the order of their namespaces: a mesh has many that are not asked
	// for.
	first, _ := slices.BinarySearchFunc(s.services, namespace, func(o corev1.Service, namespace string) int { return cmp.Compare(o.Namespace, namespace) })
	last := first
	for last < len(s.services) && s.services[last].Namespace == namespace {
		last++
	}
	return slices.Clone(s.services[first:last])
}

// Budgets returns the PodDisruptionBudgets of the namespace at hand.
func (s *Snapshot) Budgets(namespace string) []policyv1.PodDisruptionBudget {
	return slices.DeleteFunc(slices.Clone(s.budgets), func(o policyv1.PodDisruptionBudget) bool { return o.Namespace != namespace })
}

// NetworkPolicies returns the NetworkPolicies of the namespace at hand.
func (s *Snapshot) NetworkPolicies(namespace string) []networkingv1.NetworkPolicy {
	return slices.DeleteFunc(slices.Clone(s.netpols), func(o networkingv1.NetworkPolicy) bool { return o.Namespace != namespace })
}

// Autoscalers returns the HorizontalPodAutoscalers of the namespace at hand.
func (s *Snapshot) Autoscalers(namespace string) []autoscalingv2.HorizontalPodAutoscaler {
	return slices.DeleteFunc(slices.Clone(s.autoscalers), func(o autoscalingv2.HorizontalPodAutoscaler) bool { return o.Namespace != namespace })
}

// LimitRanges returns the LimitRanges of the namespace at hand.
func (s *Snapshot) LimitRanges(namespace string) []corev1.LimitRange {
	return slices.DeleteFunc(slices.Clone(s.limitRanges), func(o corev1.LimitRange) bool { return o.Namespace != namespace })
}

// Quotas returns the ResourceQuotas of the namespace at hand.
func (s *Snapshot) Quotas(namespace string) []corev1.ResourceQuota {
	return slices.DeleteFunc(slices.Clone(s.quotas), func(o corev1.ResourceQuota) bool { return o.Namespace != namespace })
}

// Definition returns the metadata of a CustomResourceDefinition by its name:
// plural and group.
func (s *Snapshot) Definition(name string) (metav1.ObjectMeta, bool) {
	for _, definition := range s.definitions {
		if definition.Name == name {
			return definition, true
		}
	}
	return metav1.ObjectMeta{}, false
}

// Definitions returns the metadata of all CustomResourceDefinitions.
func (s *Snapshot) Definitions() []metav1.ObjectMeta { return slices.Clone(s.definitions) }

// Others returns the objects of a kind that has no type of its own here:
// KindRollout, KindVerticalPodAutoscaler, KindGatewayClass, KindPodMonitor,
// KindServiceMonitor, KindPrometheusRule, KindFelixConfiguration or
// KindCiliumClusterPolicy.
func (s *Snapshot) Others(kind string) []unstructured.Unstructured {
	return slices.Clone(s.others[kind])
}

// ConfigMaps returns those that were read: of Istio installations, of Cilium,
// and Grafana's dashboards.
func (s *Snapshot) ConfigMaps() []corev1.ConfigMap { return slices.Clone(s.configMaps) }

// DaemonSets returns the DaemonSets of the cluster.
func (s *Snapshot) DaemonSets() []appsv1.DaemonSet { return slices.Clone(s.daemonSets) }

// WorkloadEntries returns all of the mesh's: workloads outside Kubernetes.
func (s *Snapshot) WorkloadEntries() []*clientnetworkingv1.WorkloadEntry {
	return slices.Clone(s.workloadEntries)
}

// WorkloadGroups returns all of the mesh's.
func (s *Snapshot) WorkloadGroups() []*clientnetworkingv1.WorkloadGroup {
	return slices.Clone(s.workloadGroups)
}

// Injectors returns the injection webhooks of all revisions.
func (s *Snapshot) Injectors() Injectors { return slices.Clone(s.injectors) }

// Istiods returns the Deployments of istiod, one per revision.
func (s *Snapshot) Istiods() []appsv1.Deployment { return slices.Clone(s.istiods) }

// DefaultRevision is the revision of an installation that names none.
const DefaultRevision = "default"

// RevisionOf returns the revision that an istiod Deployment serves.
func RevisionOf(istiod appsv1.Deployment) string {
	return cmp.Or(istiod.Labels[label.IoIstioRev.Name], DefaultRevision)
}

// CNI returns the DaemonSet of istio-cni's agent.
func (s *Snapshot) CNI() (appsv1.DaemonSet, bool) {
	return s.daemonSet(func(d appsv1.DaemonSet) bool {
		return d.Spec.Template.Labels["k8s-app"] == "istio-cni-node"
	})
}

// CNIConfig returns the ConfigMap istio-cni-config beside istio-cni's agent.
func (s *Snapshot) CNIConfig() (corev1.ConfigMap, bool) {
	agent, installed := s.CNI()
	for _, configMap := range s.configMaps {
		if configMap.Name == "istio-cni-config" && (!installed || configMap.Namespace == agent.Namespace) {
			return configMap, true
		}
	}
	return corev1.ConfigMap{}, false
}

// Ztunnel returns the DaemonSet of ztunnel.
func (s *Snapshot) Ztunnel() (appsv1.DaemonSet, bool) {
	return s.daemonSet(func(d appsv1.DaemonSet) bool { return d.Spec.Template.Labels["app"] == "ztunnel" })
}

func (s *Snapshot) daemonSet(matches func(appsv1.DaemonSet) bool) (appsv1.DaemonSet, bool) {
	for _, candidate := range s.daemonSets {
		if matches(candidate) {
			return candidate, true
		}
	}
	return appsv1.DaemonSet{}, false
}

// ReadyOn says on which nodes a component's pods are ready. Component is
// ZtunnelPods or CNIPods.
func (s *Snapshot) ReadyOn(component string) map[string]bool {
	ready := map[string]bool{}
	for _, pod := range s.componentPods(component) {
		if pod.Ready {
			ready[pod.Node] = true
		}
	}
	return ready
}

// ZtunnelPods returns the live pods of ztunnel: those that a DaemonSet makes. Whoever may
// make pods can give them its label.
func (s *Snapshot) ZtunnelPods() []Pod { return s.componentPods(ZtunnelPods) }

func (s *Snapshot) componentPods(component string) []Pod {
	key, value := "app", "ztunnel"
	if component == CNIPods {
		key, value = "k8s-app", "istio-cni-node"
	}
	var pods []Pod
	for _, namespace := range slices.Sorted(maps.Keys(s.pods)) {
		for _, pod := range s.pods[namespace] {
			if pod.Live() && pod.Detailed && pod.Labels[key] == value && (component != ZtunnelPods || pod.IsZtunnel()) {
				pods = append(pods, pod)
			}
		}
	}
	return pods
}

// EnrolmentRule returns istio-cni's rule, or the default one where its
// ConfigMap is not there. The error names what could not be read in it.
func (s *Snapshot) EnrolmentRule() (EnrolmentRule, error) {
	config, found := s.CNIConfig()
	if !found {
		return DefaultEnrolmentRule(), nil
	}
	return EnrolmentRuleOf(config.Data)
}

// Configuration is what decisions need of a revision's mesh configuration.
type Configuration struct {
	// ConfigMap names where it was read.
	ConfigMap v1alpha1.ObjectReference `json:"-"`
	// RootNamespace is the one whose policies apply mesh-wide; istiod's own
	// where the configuration does not say (istio pkg/config/mesh,
	// DefaultMeshConfig).
	RootNamespace string `json:"rootNamespace"`
	// Revision is whose configuration it is.
	Revision string `json:"-"`
	// DiscoverySelectors select the namespaces that istiod looks at, by their
	// labels; where there are none it looks at all of them.
	DiscoverySelectors    []metav1.LabelSelector `json:"discoverySelectors"`
	OutboundTrafficPolicy struct {
		Mode string `json:"mode"`
	} `json:"outboundTrafficPolicy"`
	// EnablePrometheusMerge is nil where the default holds, which is true (istio
	// pkg/kube/inject/webhook.go, enablePrometheusMerge).
	EnablePrometheusMerge *bool `json:"enablePrometheusMerge"`
	// EnableTracing is nil where the default holds, which is true (istio
	// pkg/config/mesh/mesh.go, DefaultMeshConfig).
	EnableTracing    *bool `json:"enableTracing"`
	DefaultProviders struct {
		Tracing []string `json:"tracing"`
	} `json:"defaultProviders"`
	// DefaultVirtualServiceExportTo and DefaultDestinationRuleExportTo say who sees rules
	// that do not say so themselves; all namespaces where they are empty.
	DefaultVirtualServiceExportTo  []string `json:"defaultVirtualServiceExportTo"`
	DefaultDestinationRuleExportTo []string `json:"defaultDestinationRuleExportTo"`
	// TrustDomain is that of the mesh's own identities; cluster.local where the
	// configuration does not say (istio pkg/config/mesh, DefaultMeshConfig).
	TrustDomain string `json:"trustDomain"`
	// TrustDomainAliases are others that policies for TrustDomain mean, too.
	TrustDomainAliases []string `json:"trustDomainAliases"`
	// ExtensionProviders are the external authorizers, tracers and the like, each
	// by its name and by the one field that says of what kind it is.
	ExtensionProviders []map[string]any `json:"extensionProviders"`
	DefaultConfig      struct {
		// ProxyMetadata are variables of every sidecar.
		ProxyMetadata map[string]any `json:"proxyMetadata"`
		// Tracing holds what spans are sent to, by its kind, beside numbers that
		// shape them.
		Tracing map[string]any `json:"tracing"`
		// InterceptionMode is how sidecars get at their pods' traffic; NONE where
		// they do not.
		InterceptionMode string `json:"interceptionMode"`
	} `json:"defaultConfig"`
}

// DefaultTrustDomain is the trust domain of an installation that names none.
const DefaultTrustDomain = "cluster.local"

// configurationsOf reads the mesh configuration of each revision. One that
// cannot be read is left out: doubtInstallations says so.
func configurationsOf(configMaps []corev1.ConfigMap) []Configuration {
	var configurations []Configuration
	for _, configMap := range configMaps {
		if !holdsConfiguration(configMap) {
			continue
		}
		var configuration Configuration
		if err := yaml.Unmarshal([]byte(configMap.Data["mesh"]), &configuration); err != nil {
			continue
		}
		configuration.RootNamespace = cmp.Or(configuration.RootNamespace, configMap.Namespace)
		configuration.TrustDomain = cmp.Or(configuration.TrustDomain, DefaultTrustDomain)
		configuration.Revision = cmp.Or(configMap.Labels[label.IoIstioRev.Name], DefaultRevision)
		configuration.ConfigMap = v1alpha1.ObjectReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: configMap.Namespace, Name: configMap.Name}
		configurations = append(configurations, configuration)
	}
	return configurations
}

// Configurations returns the mesh configuration of each revision.
func (s *Snapshot) Configurations() []Configuration { return slices.Clone(s.settings.configurations) }

// RootNamespaces returns the namespaces whose policies apply mesh-wide.
func (s *Snapshot) RootNamespaces() []string {
	var roots []string
	for _, configuration := range s.settings.configurations {
		roots = append(roots, configuration.RootNamespace)
	}
	for _, istiod := range s.istiods {
		roots = append(roots, istiod.Namespace)
	}
	slices.Sort(roots)
	return slices.Compact(roots)
}

// TrustDomain returns the mesh's, as the first of its revisions says: those of one
// mesh have it in common, or they could not call each other.
func (s *Snapshot) TrustDomain() string {
	if len(s.settings.configurations) == 0 {
		return DefaultTrustDomain
	}
	return s.settings.configurations[0].TrustDomain
}

// AuthorizationPolicies returns all of the mesh's.
func (s *Snapshot) AuthorizationPolicies() []*clientsecurityv1.AuthorizationPolicy {
	return slices.Clone(s.authorizationPolicies)
}

// PeerAuthentications returns all of the mesh's.
func (s *Snapshot) PeerAuthentications() []*clientsecurityv1.PeerAuthentication {
	return slices.Clone(s.peerAuthentications)
}

// VirtualServices returns all of the mesh's.
func (s *Snapshot) VirtualServices() []*clientnetworkingv1.VirtualService {
	return slices.Clone(s.virtualServices)
}

// DestinationRules returns all of the mesh's.
func (s *Snapshot) DestinationRules() []*clientnetworkingv1.DestinationRule {
	return slices.Clone(s.destinationRules)
}

// ServiceEntries returns all of the mesh's.
func (s *Snapshot) ServiceEntries() []*clientnetworkingv1.ServiceEntry {
	return slices.Clone(s.serviceEntries)
}

// Sidecars returns all Sidecar resources of the mesh.
func (s *Snapshot) Sidecars() []*clientnetworkingv1.Sidecar { return slices.Clone(s.sidecars) }

// Routes returns all Gateway API routes.
func (s *Snapshot) Routes() []Route { return slices.Clone(s.routes) }

// Extensions returns all objects that change proxies.
func (s *Snapshot) Extensions() []Extension { return slices.Clone(s.extensions) }

// AllGateways returns the Gateway API Gateways of the mesh, waypoints included.
func (s *Snapshot) AllGateways() []gatewayv1.Gateway { return slices.Clone(s.gateways) }

// Gateways returns the Gateway API Gateways of a namespace.
func (s *Snapshot) Gateways(namespace string) []gatewayv1.Gateway {
	return slices.DeleteFunc(slices.Clone(s.gateways), func(o gatewayv1.Gateway) bool { return o.Namespace != namespace })
}

// InjectionOf says which label of a namespace asks for sidecars, as status
// shows it.
func (s *Snapshot) InjectionOf(namespace Namespace) string {
	if value := namespace.Labels[NamespaceInjectionLabel]; value != "" {
		return value
	}
	if revision := namespace.Labels[label.IoIstioRev.Name]; revision != "" {
		return "rev=" + revision
	}
	if s.injectors.ByDefault(namespace.Name) {
		return "default"
	}
	return ""
}

// WaypointClass is the GatewayClass of waypoints.
const WaypointClass = "istio-waypoint"

// Waypoints returns the waypoint that a namespace's label names, wherever that
// is, and those that the namespace holds besides.
func (s *Snapshot) Waypoints(namespace Namespace) []v1alpha1.WaypointStatus {
	var waypoints []v1alpha1.WaypointStatus
	in, name, set := useOf(namespace.Labels, namespace.Name)
	set = set && name != DataplaneNone && name != ""
	if set {
		waypoints = append(waypoints, s.waypointNamed(in, name))
	}
	for _, gateway := range s.gateways {
		isUsed := set && gateway.Namespace == in && gateway.Name == name
		if gateway.Namespace == namespace.Name && !isUsed && s.IsWaypoint(gateway) {
			waypoints = append(waypoints, s.WaypointState(gateway))
		}
	}
	return waypoints
}

// waypointNamed is the state of a waypoint that a label names.
func (s *Snapshot) waypointNamed(namespace, name string) v1alpha1.WaypointStatus {
	if gateway, found := s.Gateway(namespace, name); found && s.IsWaypoint(gateway) {
		return s.waypoint(gateway, true)
	}
	return v1alpha1.WaypointStatus{Namespace: namespace, Name: name, Used: true}
}

// namedWaypoint returns the waypoint that traffic to a Service is to go through,
// whether that can be or not, and the kind of the object whose label names it.
func (s *Snapshot) namedWaypoint(service corev1.Service, namespace Namespace) (*v1alpha1.WaypointStatus, string) {
	from := KindService
	in, name, set := useOf(service.Labels, service.Namespace)
	if !set {
		from = KindNamespace
		in, name, set = useOf(namespace.Labels, namespace.Name)
	}
	if !set || name == DataplaneNone || name == "" {
		return nil, ""
	}
	status := s.waypointNamed(in, name)
	return &status, from
}

func (s *Snapshot) waypoint(gateway gatewayv1.Gateway, used bool) v1alpha1.WaypointStatus {
	status := v1alpha1.WaypointStatus{
		Namespace: gateway.Namespace, Name: gateway.Name, Exists: true, Used: used,
		Programmed: meta.IsStatusConditionTrue(gateway.Status.Conditions, string(gatewayv1.GatewayConditionProgrammed)),
	}
	ready := map[string]bool{}
	for _, endpoints := range s.slices {
		if endpoints.Namespace != gateway.Namespace || endpoints.Labels[label.IoK8sNetworkingGatewayGatewayName.Name] != gateway.Name {
			continue
		}
		for _, endpoint := range endpoints.Endpoints {
			if endpoint.Conditions.Ready != nil && !*endpoint.Conditions.Ready || len(endpoint.Addresses) == 0 {
				continue
			}
			// A pod with addresses of both families is in two slices.
			name := endpoint.Addresses[0]
			if endpoint.TargetRef != nil && endpoint.TargetRef.UID != "" {
				name = string(endpoint.TargetRef.UID)
			}
			ready[name] = true
		}
	}
	status.ReadyEndpoints = len(ready)
	return status
}

// RestartDue says whether a restart now would move the pod to another mode
// than the one it runs in: it has a sidecar that would not come back, or
// lacks one that would be injected.
func (s *Snapshot) RestartDue(pod Pod, namespace Namespace) bool {
	if pod.IsGateway() || pod.HostNetwork {
		return false
	}
	return pod.HasSidecar() != s.injectors.Inject(namespace.Labels, pod.Labels, injectionWish(pod), false)
}

// injectionWish is what the pod's own template asked of the injector. The
// injector adds its status and revision annotations, which decide nothing.
func injectionWish(pod Pod) map[string]string {
	return map[string]string{annotation.SidecarInject.Name: pod.Annotations[annotation.SidecarInject.Name]}
}

// SelectsLabels says whether a map of required labels selects a set. An empty
// one selects everything.
func SelectsLabels(required, set map[string]string) bool {
	return selects(&metav1.LabelSelector{MatchLabels: required}, set)
}
