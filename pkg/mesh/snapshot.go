package mesh

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	clientnetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Coverage says how much of a kind a snapshot holds.
type Coverage struct {
	State CoverageState
	// Reason is the API server's word, where State is CoverageForbidden or
	// CoverageFailed.
	Reason string
}

// CoverageState is whether a kind was read.
type CoverageState string

// A kind that is not installed is known to have no objects; one that was
// refused, that the API server could not tell of, or that was not asked for, is
// not known at all.
const (
	CoverageRead      CoverageState = "read"
	CoverageAbsent    CoverageState = "absent"
	CoverageForbidden CoverageState = "forbidden"
	CoverageFailed    CoverageState = "failed"
	CoverageUnasked   CoverageState = "unasked"
)

// Known says whether the absence of an object means that there is none.
func (c Coverage) Known() bool {
	return c.State == CoverageRead || c.State == CoverageAbsent
}

// Content is what a snapshot is made from, however it was taken.
type Content struct {
	// Objects are whole objects of every kind that was read.
	Objects []unstructured.Unstructured
	// Pods are the live pods of the whole mesh, by metadata only.
	Pods []metav1.ObjectMeta
	// HostNetwork holds the UIDs of live pods on their node's network.
	HostNetwork map[types.UID]bool
	// Coverage is by Kind.
	Coverage map[string]Coverage
	// KubernetesVersion is the API server's, as it states it.
	KubernetesVersion string
}

// Snapshot is the mesh as it was at one instant. It does not change.
type Snapshot struct {
	kubernetesVersion string
	coverage          map[string]Coverage

	namespaces map[string]Namespace
	pods       map[string][]Pod
	workloads  map[string][]Workload
	// controllers maps a ReplicaSet or Job to what controls it.
	controllers map[types.UID]metav1.OwnerReference

	nodes      []corev1.Node
	services   []corev1.Service
	slices     []discoveryv1.EndpointSlice
	budgets    []policyv1.PodDisruptionBudget
	netpols    []networkingv1.NetworkPolicy
	injectors  Injectors
	configMaps []corev1.ConfigMap
	// configurations are what the ConfigMaps say of each revision's mesh.
	configurations []Configuration
	istiods        []appsv1.Deployment
	daemonSets     []appsv1.DaemonSet
	gateways       []gatewayv1.Gateway

	authorizationPolicies []*clientsecurityv1.AuthorizationPolicy
	peerAuthentications   []*clientsecurityv1.PeerAuthentication
	virtualServices       []*clientnetworkingv1.VirtualService
	destinationRules      []*clientnetworkingv1.DestinationRule
	serviceEntries        []*clientnetworkingv1.ServiceEntry
	sidecars              []*clientnetworkingv1.Sidecar
	routes                []Route
	extensions            []Extension
}

// Namespace is a namespace and its whole object.
type Namespace struct {
	Name        string
	UID         types.UID
	Labels      map[string]string
	Annotations map[string]string
	Terminating bool
	Object      Object
}

// Reference names the namespace as an object.
func (n Namespace) Reference() v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: n.Name}
}

// Route is an HTTPRoute, GRPCRoute, TCPRoute or TLSRoute.
type Route struct {
	Reference v1alpha1.ObjectReference
	Parents   []gatewayv1.ParentReference
}

// Extension is an object that changes proxies in ways that ambient mode does
// not carry over by itself: EnvoyFilter, WasmPlugin, TrafficExtension,
// Telemetry, ProxyConfig, RequestAuthentication.
type Extension struct {
	Reference v1alpha1.ObjectReference
	// Selector is the object's workload selector; nil selects every workload
	// in its reach.
	Selector map[string]string
	// Targeted objects are attached by targetRefs; sidecars ignore them.
	Targeted bool
}

// NewSnapshot indexes content. An error names the object that could not be
// understood.
func NewSnapshot(content Content) (*Snapshot, error) {
	s := &Snapshot{
		kubernetesVersion: content.KubernetesVersion,
		coverage:          maps.Clone(content.Coverage),
		namespaces:        map[string]Namespace{},
		pods:              map[string][]Pod{},
		workloads:         map[string][]Workload{},
		controllers:       map[types.UID]metav1.OwnerReference{},
	}
	detailed := map[types.UID]bool{}
	var webhooks []admissionv1.MutatingWebhookConfiguration
	for i := range content.Objects {
		object := &content.Objects[i]
		if err := s.add(object, detailed, &webhooks); err != nil {
			return nil, fmt.Errorf("%s: %w", referenceOf(object), err)
		}
	}
	s.injectors = InjectorsOf(webhooks, s.configMaps)
	for _, metadata := range content.Pods {
		if detailed[metadata.UID] {
			continue
		}
		pod := PodFromMetadata(metadata)
		pod.HostNetwork = content.HostNetwork[pod.UID]
		s.pods[pod.Namespace] = append(s.pods[pod.Namespace], pod)
	}
	s.sort()
	s.configurations = configurationsOf(s.configMaps)
	return s, nil
}

func (s *Snapshot) add(object *unstructured.Unstructured, detailed map[types.UID]bool, webhooks *[]admissionv1.MutatingWebhookConfiguration) error {
	switch object.GetKind() {
	case "Namespace":
		s.namespaces[object.GetName()] = Namespace{
			Name: object.GetName(), UID: object.GetUID(), Labels: object.GetLabels(), Annotations: object.GetAnnotations(),
			Terminating: object.GetDeletionTimestamp() != nil, Object: object.Object,
		}
	case "Pod":
		var pod corev1.Pod
		if err := decode(object, &pod); err != nil {
			return err
		}
		detailed[pod.UID] = true
		taken := PodFromObject(&pod)
		taken.Object = object.Object
		s.pods[pod.Namespace] = append(s.pods[pod.Namespace], taken)
	case KindDeployment, KindStatefulSet, KindDaemonSet, KindReplicaSet, KindCronJob, KindJob:
		return s.addWorkload(object)
	case "Node":
		return appendDecoded(object, &s.nodes)
	case "Service":
		return appendDecoded(object, &s.services)
	case "EndpointSlice":
		return appendDecoded(object, &s.slices)
	case "PodDisruptionBudget":
		return appendDecoded(object, &s.budgets)
	case "NetworkPolicy":
		return appendDecoded(object, &s.netpols)
	case "MutatingWebhookConfiguration":
		return appendDecoded(object, webhooks)
	case "ConfigMap":
		return appendDecoded(object, &s.configMaps)
	case "Gateway":
		// Istio's own Gateway kind configures proxies that stay as they are.
		if strings.HasPrefix(object.GetAPIVersion(), gatewayv1.GroupName+"/") {
			return appendDecoded(object, &s.gateways)
		}
	case "AuthorizationPolicy":
		return appendPointer(object, &s.authorizationPolicies)
	case "PeerAuthentication":
		return appendPointer(object, &s.peerAuthentications)
	case "VirtualService":
		return appendPointer(object, &s.virtualServices)
	case "DestinationRule":
		return appendPointer(object, &s.destinationRules)
	case "ServiceEntry":
		return appendPointer(object, &s.serviceEntries)
	case "Sidecar":
		return appendPointer(object, &s.sidecars)
	case "HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute":
		return s.addRoute(object)
	case "EnvoyFilter", "WasmPlugin", "TrafficExtension", "Telemetry", "ProxyConfig", "RequestAuthentication":
		s.addExtension(object)
	}
	return nil
}

func (s *Snapshot) addWorkload(object *unstructured.Unstructured) error {
	if controller := metav1.GetControllerOf(object); controller != nil {
		s.controllers[object.GetUID()] = *controller
		return nil
	}
	var workload Workload
	switch object.GetKind() {
	case KindDeployment:
		var d appsv1.Deployment
		if err := decode(object, &d); err != nil {
			return err
		}
		if d.Labels["app"] == "istiod" {
			s.istiods = append(s.istiods, d)
		}
		workload = deploymentWorkload(&d)
	case KindStatefulSet:
		var set appsv1.StatefulSet
		if err := decode(object, &set); err != nil {
			return err
		}
		workload = statefulSetWorkload(&set)
	case KindDaemonSet:
		var d appsv1.DaemonSet
		if err := decode(object, &d); err != nil {
			return err
		}
		s.daemonSets = append(s.daemonSets, d)
		workload = daemonSetWorkload(&d)
	case KindReplicaSet:
		var r appsv1.ReplicaSet
		if err := decode(object, &r); err != nil {
			return err
		}
		workload = replicaSetWorkload(&r)
	case KindCronJob:
		var c batchv1.CronJob
		if err := decode(object, &c); err != nil {
			return err
		}
		workload = cronJobWorkload(&c)
	case KindJob:
		var j batchv1.Job
		if err := decode(object, &j); err != nil {
			return err
		}
		workload = jobWorkload(&j)
	}
	workload.Reference = referenceOf(object)
	workload.Object = object.Object
	s.workloads[object.GetNamespace()] = append(s.workloads[object.GetNamespace()], workload)
	return nil
}

func (s *Snapshot) addRoute(object *unstructured.Unstructured) error {
	var spec struct {
		Spec struct {
			ParentRefs []gatewayv1.ParentReference `json:"parentRefs"`
		} `json:"spec"`
	}
	if err := decodeJSON(object, &spec); err != nil {
		return err
	}
	s.routes = append(s.routes, Route{Reference: referenceOf(object), Parents: spec.Spec.ParentRefs})
	return nil
}

func (s *Snapshot) addExtension(object *unstructured.Unstructured) {
	extension := Extension{Reference: referenceOf(object)}
	for _, path := range [][]string{{"spec", "selector", "matchLabels"}, {"spec", "workloadSelector", "labels"}} {
		if selector, found, err := unstructured.NestedStringMap(object.Object, path...); err == nil && found {
			extension.Selector = selector
		}
	}
	targets, _, _ := unstructured.NestedSlice(object.Object, "spec", "targetRefs")
	target, _, _ := unstructured.NestedMap(object.Object, "spec", "targetRef")
	extension.Targeted = len(targets) > 0 || len(target) > 0
	s.extensions = append(s.extensions, extension)
}

// sort orders everything by name, so that no result depends on the order in
// which requests were answered.
func (s *Snapshot) sort() {
	for _, pods := range s.pods {
		slices.SortFunc(pods, func(a, b Pod) int { return cmp.Compare(a.Name, b.Name) })
	}
	for _, workloads := range s.workloads {
		slices.SortFunc(workloads, func(a, b Workload) int {
			return cmp.Or(cmp.Compare(a.Reference.Kind, b.Reference.Kind), cmp.Compare(a.Reference.Name, b.Reference.Name))
		})
	}
	sortNamed(s.nodes, func(o *corev1.Node) metav1.Object { return o })
	sortNamed(s.services, func(o *corev1.Service) metav1.Object { return o })
	sortNamed(s.slices, func(o *discoveryv1.EndpointSlice) metav1.Object { return o })
	sortNamed(s.budgets, func(o *policyv1.PodDisruptionBudget) metav1.Object { return o })
	sortNamed(s.netpols, func(o *networkingv1.NetworkPolicy) metav1.Object { return o })
	sortNamed(s.configMaps, func(o *corev1.ConfigMap) metav1.Object { return o })
	sortNamed(s.istiods, func(o *appsv1.Deployment) metav1.Object { return o })
	sortNamed(s.daemonSets, func(o *appsv1.DaemonSet) metav1.Object { return o })
	sortNamed(s.gateways, func(o *gatewayv1.Gateway) metav1.Object { return o })
	sortPointers(s.authorizationPolicies)
	sortPointers(s.peerAuthentications)
	sortPointers(s.virtualServices)
	sortPointers(s.destinationRules)
	sortPointers(s.serviceEntries)
	sortPointers(s.sidecars)
	slices.SortFunc(s.routes, func(a, b Route) int { return cmp.Compare(a.Reference.String(), b.Reference.String()) })
	slices.SortFunc(s.extensions, func(a, b Extension) int { return cmp.Compare(a.Reference.String(), b.Reference.String()) })
}

func sortNamed[T any](objects []T, metadata func(*T) metav1.Object) {
	sort.SliceStable(objects, func(i, j int) bool { return before(metadata(&objects[i]), metadata(&objects[j])) })
}

func sortPointers[T metav1.Object](objects []T) {
	sort.SliceStable(objects, func(i, j int) bool { return before(objects[i], objects[j]) })
}

func before(a, b metav1.Object) bool {
	if a.GetNamespace() != b.GetNamespace() {
		return a.GetNamespace() < b.GetNamespace()
	}
	return a.GetName() < b.GetName()
}

func referenceOf(object *unstructured.Unstructured) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{
		APIVersion: object.GetAPIVersion(), Kind: object.GetKind(), Namespace: object.GetNamespace(), Name: object.GetName(),
	}
}

func appendDecoded[T any](object *unstructured.Unstructured, to *[]T) error {
	var typed T
	if err := decode(object, &typed); err != nil {
		return err
	}
	*to = append(*to, typed)
	return nil
}

// appendPointer is for Istio's kinds: their specs are protobuf messages, which
// must not be copied and are read by their own JSON rules.
func appendPointer[T any](object *unstructured.Unstructured, to *[]*T) error {
	typed := new(T)
	if err := decodeJSON(object, typed); err != nil {
		return err
	}
	*to = append(*to, typed)
	return nil
}

func decodeJSON(object *unstructured.Unstructured, into any) error {
	data, err := object.MarshalJSON()
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// decode converts an object of a Kubernetes kind to its type. Fields that the
// type does not know are dropped, which is why objects that are to be written
// back keep their whole content beside it.
func decode(object *unstructured.Unstructured, into any) error {
	return runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into)
}
