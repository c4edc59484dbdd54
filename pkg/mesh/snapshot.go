package mesh

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"sort"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	clientnetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
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

// Scope says which namespaces a snapshot is about: those at hand. Their pods and
// workloads are read whole; of the rest of the mesh only what decisions about
// them need.
type Scope struct {
	// Namespace is the one at hand.
	Namespace string `json:"namespace,omitempty"`
	// Also are further ones.
	Also []string `json:"also,omitempty"`
	// All puts every namespace at hand.
	All bool `json:"all,omitempty"`
}

// Holds says whether a namespace is at hand.
func (s Scope) Holds(namespace string) bool {
	return s.All || namespace != "" && slices.Contains(s.names(), namespace)
}

// names are the namespaces at hand, where they are named.
func (s Scope) names() []string {
	if s.Namespace == "" {
		return nil
	}
	return append([]string{s.Namespace}, s.Also...)
}

// Content is what a snapshot is made from, however it was taken.
type Content struct {
	Scope Scope
	// Objects are redacted objects of every kind that was read.
	Objects []unstructured.Unstructured
	// Originals are the objects that redacting took something from, as far as
	// they are known: a dump does not hold them. What a controller made is not
	// among them: nobody writes it.
	Originals map[v1alpha1.ObjectReference]Object
	// Pods are the live pods of the whole mesh, by metadata only. Those that
	// are among Objects, too, count once.
	Pods []metav1.ObjectMeta
	// HostNetwork holds the UIDs of pods on their node's network that are read
	// by metadata only.
	HostNetwork map[types.UID]bool
	// Coverage is by kind, or by the name of a part of one.
	Coverage map[string]Coverage
	// KubernetesVersion is the API server's, as it states it; empty where no
	// API server was asked.
	KubernetesVersion string

	// positions are where the objects stand in the files they were read from.
	positions map[v1alpha1.ObjectReference]position
}

// Add redacts an object and takes it in.
func (c *Content) Add(object unstructured.Unstructured) {
	redacted, lost := redact(object)
	c.Objects = append(c.Objects, redacted)
	if lost {
		c.keepOriginal(object)
	}
}

func (c *Content) keepOriginal(object unstructured.Unstructured) {
	if isPartOf(&object) {
		return
	}
	if c.Originals == nil {
		c.Originals = map[v1alpha1.ObjectReference]Object{}
	}
	c.Originals[referenceOf(&object)] = object.Object
}

// Snapshot is the mesh as it was at one instant. It does not change.
type Snapshot struct {
	kubernetesVersion string
	scope             Scope
	coverage          map[string]Coverage
	originals         map[v1alpha1.ObjectReference]Object
	suppressions      map[v1alpha1.ObjectReference]string
	// unrecognized counts the objects of kinds that mean nothing here.
	unrecognized map[schema.GroupVersionKind]int

	namespaces map[string]Namespace
	pods       map[string][]Pod
	workloads  map[string][]Workload
	// controllers maps a ReplicaSet or Job to what controls it.
	controllers map[types.UID]metav1.OwnerReference
	// podsOf are the live pods by the workload that they belong to.
	podsOf map[types.UID][]Pod
	// endingOf are those of them that are on their way out.
	endingOf map[types.UID][]Pod

	nodes      []corev1.Node
	services   []corev1.Service
	slices     []discoveryv1.EndpointSlice
	budgets    []policyv1.PodDisruptionBudget
	netpols    []networkingv1.NetworkPolicy
	injectors  Injectors
	configMaps []corev1.ConfigMap
	// installations are the ConfigMaps that istiods read.
	installations []corev1.ConfigMap
	settings      settings
	istiods       []appsv1.Deployment
	daemonSets    []appsv1.DaemonSet
	gateways      []gatewayv1.Gateway
	autoscalers   []autoscalingv2.HorizontalPodAutoscaler
	limitRanges   []corev1.LimitRange
	quotas        []corev1.ResourceQuota
	// definitions are the CustomResourceDefinitions, by metadata only.
	definitions []metav1.ObjectMeta
	// whole are the objects, as they were read, of kinds that plans change and
	// that are held in another form besides.
	whole map[v1alpha1.ObjectReference]Object
	// rewritten are those of them that are otherwise since the mesh was read; nil ones
	// are gone. The map itself is nil as long as there are none.
	rewritten map[v1alpha1.ObjectReference]Object
	// decoded are the objects as typed ones, where a snapshot may follow this one, and
	// before those of the snapshot that it follows, while it is made.
	decoded, before map[uintptr]decoded
	// others are the objects of kinds that few checks look at.
	others map[string][]unstructured.Unstructured

	authorizationPolicies []*clientsecurityv1.AuthorizationPolicy
	peerAuthentications   []*clientsecurityv1.PeerAuthentication
	virtualServices       []*clientnetworkingv1.VirtualService
	destinationRules      []*clientnetworkingv1.DestinationRule
	serviceEntries        []*clientnetworkingv1.ServiceEntry
	sidecars              []*clientnetworkingv1.Sidecar
	workloadEntries       []*clientnetworkingv1.WorkloadEntry
	workloadGroups        []*clientnetworkingv1.WorkloadGroup
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
	// Backends are the objects that the rules send traffic to.
	Backends []gatewayv1.BackendObjectReference
	// Mirrors are those that filters, of rules and of single backends, send copies to.
	Mirrors []gatewayv1.BackendObjectReference
	// Changes are what filters change of requests: "path", "host", and headers as "header"
	// and their name in lower case.
	Changes []string
	// Generation counts the writes of the spec, and Statuses are what controllers say of
	// it, parent by parent.
	Generation int64
	Statuses   []gatewayv1.RouteParentStatus
}

// Extension is an object that changes proxies in ways that ambient mode does
// not carry over by itself: EnvoyFilter, WasmPlugin, TrafficExtension,
// Telemetry, ProxyConfig, RequestAuthentication.
type Extension struct {
	Reference v1alpha1.ObjectReference
	// Selector is the object's workload selector; nil selects every workload
	// in its reach.
	Selector map[string]string
	// Targets are the objects that targetRefs attach it to. Sidecars ignore an
	// object that has any.
	Targets []Target
	// Object is the whole object.
	Object Object
}

// Targeted says whether the object is attached by targetRefs.
func (e Extension) Targeted() bool { return len(e.Targets) > 0 }

// Labels are the object's own.
func (e Extension) Labels() map[string]string { return e.texts("labels") }

// Annotations are the object's own.
func (e Extension) Annotations() map[string]string { return e.texts("annotations") }

func (e Extension) texts(field string) map[string]string {
	metadata, _ := e.Object["metadata"].(map[string]any)
	values, _ := metadata[field].(map[string]any)
	texts := map[string]string{}
	for key, value := range values {
		texts[key], _ = value.(string)
	}
	return texts
}

// Target is what a targetRef of a policy names: an object of the policy's own
// namespace, unless it says otherwise.
type Target struct {
	Group     string `json:"group"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Single is true where the older field targetRef holds it.
	Single bool `json:"-"`
}

// NewSnapshot indexes content. An error names the object that could not be
// understood.
func NewSnapshot(content Content) (*Snapshot, error) {
	return index(newSnapshot(content), content, nil)
}

// NewSnapshotAfter is NewSnapshot for a mesh of which there are snapshots one after the
// other: the very objects that the former one was made of are not decoded again, nor is
// what the ConfigMaps of installations say, which are long, in the same version. There is
// no former one at first.
func NewSnapshotAfter(content Content, former *Snapshot) (*Snapshot, error) {
	s := newSnapshot(content)
	s.decoded = map[uintptr]decoded{}
	if former != nil {
		s.before = former.decoded
	}
	defer func() { s.before = nil }()
	return index(s, content, former)
}

// index takes content into a snapshot that is still empty.
func index(s *Snapshot, content Content, former *Snapshot) (*Snapshot, error) {
	detailed := map[types.UID]bool{}
	var webhooks []admissionv1.MutatingWebhookConfiguration
	var failures []error
	// In order, so that nothing depends on which request was answered first.
	objects := slices.Clone(content.Objects)
	sortObjects(objects)
	for i := range objects {
		object := &objects[i]
		if err := s.add(object, detailed, &webhooks); err != nil {
			failures = append(failures, &ObjectError{Object: referenceOf(object), Err: fault(object, err)})
		}
	}
	if len(failures) > 0 {
		return nil, errors.Join(failures...)
	}
	s.installations = installationsOf(s.configMaps, s.istiods)
	sortNamed(s.installations, func(o *corev1.ConfigMap) metav1.Object { return o })
	s.settings = settingsAfter(s.installations, former)
	s.injectors = injectorsOf(webhooks, policiesOf(s.settings.injections))
	for _, metadata := range content.Pods {
		if detailed[metadata.UID] {
			continue
		}
		pod := PodFromMetadata(metadata)
		pod.HostNetwork = content.HostNetwork[pod.UID]
		s.pods[pod.Namespace] = append(s.pods[pod.Namespace], pod)
	}
	s.sort()
	s.doubtInstallations()
	s.podsOf, s.endingOf = s.podsByWorkload(Pod.Live), s.podsByWorkload(Pod.Ending)
	return s, nil
}

// newSnapshot knows what content says of itself, and no object yet.
func newSnapshot(content Content) *Snapshot {
	return &Snapshot{
		kubernetesVersion: content.KubernetesVersion,
		scope:             content.Scope,
		coverage:          maps.Clone(content.Coverage),
		originals:         content.Originals,
		suppressions:      map[v1alpha1.ObjectReference]string{},
		unrecognized:      map[schema.GroupVersionKind]int{},
		others:            map[string][]unstructured.Unstructured{},
		namespaces:        map[string]Namespace{},
		pods:              map[string][]Pod{},
		workloads:         map[string][]Workload{},
		controllers:       map[types.UID]metav1.OwnerReference{},
		whole:             map[v1alpha1.ObjectReference]Object{},
	}
}

// ObjectError says which object could not be understood, and why.
type ObjectError struct {
	Object v1alpha1.ObjectReference
	Err    error
}

func (e *ObjectError) Error() string { return e.Object.String() + ": " + e.Err.Error() }

func (e *ObjectError) Unwrap() error { return e.Err }

// podsByWorkload follows the controllers of each pod that counts up to a workload. What is read
// from files may go round in circles: no chain of controllers is longer than
// that of a CronJob, its Job and the pod.
func (s *Snapshot) podsByWorkload(counts func(Pod) bool) map[types.UID][]Pod {
	const longest = 4
	workloads := map[types.UID]bool{}
	for _, namespace := range s.workloads {
		for _, workload := range namespace {
			workloads[workload.UID] = true
		}
	}
	pods := map[types.UID][]Pod{}
	for _, namespace := range s.pods {
		for _, pod := range namespace {
			if !counts(pod) || pod.Controller == nil {
				continue
			}
			owner, known := *pod.Controller, true
			for range longest {
				if workloads[owner.UID] || !known {
					break
				}
				owner, known = s.controllers[owner.UID]
			}
			if workloads[owner.UID] {
				pods[owner.UID] = append(pods[owner.UID], pod)
			}
		}
	}
	return pods
}

// SuppressAnnotation names the checks, separated by commas, whose findings about
// an object its owner does not want to be told of.
const SuppressAnnotation = v1alpha1.Group + "/suppress"

func (s *Snapshot) add(object *unstructured.Unstructured, detailed map[types.UID]bool, webhooks *[]admissionv1.MutatingWebhookConfiguration) error {
	if ids := object.GetAnnotations()[SuppressAnnotation]; ids != "" {
		s.suppressions[referenceOf(object).Unversioned()] = ids
	}
	kind := object.GroupVersionKind()
	if !Understood(kind.GroupKind()) {
		s.unrecognized[kind]++
		return nil
	}
	if object.GetName() == "" {
		return errors.New("metadata.name: the object has no name")
	}
	if object.GetUID() == "" {
		object = object.DeepCopy()
		object.SetUID(placeholderUID(referenceOf(object)))
	}
	if slices.Contains(written, kind.Kind) {
		whole := s.whole
		if s.rewritten != nil {
			whole = s.rewritten
		}
		whole[referenceOf(object).Unversioned()] = s.asRead(object)
	}
	switch kind.Kind {
	case KindNamespace:
		s.namespaces[object.GetName()] = Namespace{
			Name: object.GetName(), UID: object.GetUID(), Labels: object.GetLabels(), Annotations: object.GetAnnotations(),
			Terminating: object.GetDeletionTimestamp() != nil, Object: s.asRead(object),
		}
	case KindPod:
		pod, err := decodeOnce[corev1.Pod](s, object)
		if err != nil {
			return err
		}
		detailed[pod.UID] = true
		taken := PodFromObject(pod)
		taken.Object = s.asRead(object)
		s.pods[pod.Namespace] = append(s.pods[pod.Namespace], taken)
	case KindDeployment, KindStatefulSet, KindDaemonSet, KindReplicaSet, KindCronJob, KindJob:
		return s.addWorkload(object)
	case KindNode:
		return appendDecoded(s, object, &s.nodes)
	case KindService:
		return appendDecoded(s, object, &s.services)
	case KindEndpointSlice:
		return appendDecoded(s, object, &s.slices)
	case KindPodDisruptionBudget:
		return appendDecoded(s, object, &s.budgets)
	case KindNetworkPolicy:
		return appendDecoded(s, object, &s.netpols)
	case KindMutatingWebhookConfiguration:
		return appendDecoded(s, object, webhooks)
	case KindConfigMap:
		return appendDecoded(s, object, &s.configMaps)
	case KindHorizontalPodAutoscaler:
		return s.addAutoscaler(object)
	case KindLimitRange:
		return appendDecoded(s, object, &s.limitRanges)
	case KindResourceQuota:
		return appendDecoded(s, object, &s.quotas)
	case kindCustomResourceDef:
		return s.addDefinition(object)
	case KindGateway:
		return appendDecoded(s, object, &s.gateways)
	case KindAuthorizationPolicy:
		return appendPointer(s, object, &s.authorizationPolicies)
	case KindPeerAuthentication:
		return appendPointer(s, object, &s.peerAuthentications)
	case KindVirtualService:
		return appendPointer(s, object, &s.virtualServices)
	case KindDestinationRule:
		return appendPointer(s, object, &s.destinationRules)
	case KindServiceEntry:
		return appendPointer(s, object, &s.serviceEntries)
	case KindSidecar:
		return appendPointer(s, object, &s.sidecars)
	case KindWorkloadEntry:
		return appendPointer(s, object, &s.workloadEntries)
	case KindWorkloadGroup:
		return appendPointer(s, object, &s.workloadGroups)
	case KindHTTPRoute, KindGRPCRoute, KindTCPRoute, KindTLSRoute:
		return s.addRoute(object)
	case KindEnvoyFilter, KindWasmPlugin, KindTrafficExtension, KindTelemetry, KindProxyConfig, KindRequestAuthentication:
		return s.addExtension(object)
	case KindRollout:
		s.others[KindRollout] = append(s.others[KindRollout], *object)
		if workload, holds := argoWorkload(object); holds {
			s.takeWorkload(object, workload)
		}
	default:
		s.others[kind.Kind] = append(s.others[kind.Kind], *object)
	}
	return nil
}

// written are the kinds that a migration writes, besides namespaces, pods and
// workloads; and HTTPRoutes, which may stand in for what it deletes.
var written = []string{
	KindService, KindServiceEntry, KindGateway, KindAuthorizationPolicy, KindRequestAuthentication, KindPeerAuthentication,
	KindTelemetry, KindWasmPlugin, KindTrafficExtension, KindEnvoyFilter, KindSidecar, KindConfigMap, KindNode,
	KindVirtualService, KindDestinationRule, KindHTTPRoute,
}

// placeholderUID stands for the UID of an object that was never in a cluster.
func placeholderUID(reference v1alpha1.ObjectReference) types.UID {
	return types.UID("file:" + reference.String())
}

// asRead is an object as it was read: without the placeholder for its UID.
func (s *Snapshot) asRead(object *unstructured.Unstructured) Object {
	if !strings.HasPrefix(string(object.GetUID()), "file:") {
		return object.Object
	}
	plain := object.DeepCopy()
	unstructured.RemoveNestedField(plain.Object, "metadata", "uid")
	return plain.Object
}

// addAutoscaler reads version 1, too, which knows one metric only.
func (s *Snapshot) addAutoscaler(object *unstructured.Unstructured) error {
	if err := appendDecoded(s, object, &s.autoscalers); err != nil {
		return err
	}
	var first autoscalingv1.HorizontalPodAutoscaler
	if err := decode(object, &first); err != nil {
		return err
	}
	percentage := first.Spec.TargetCPUUtilizationPercentage
	if percentage == nil {
		return nil
	}
	added := &s.autoscalers[len(s.autoscalers)-1]
	added.Spec.Metrics = append(added.Spec.Metrics, autoscalingv2.MetricSpec{
		Type: autoscalingv2.ResourceMetricSourceType,
		Resource: &autoscalingv2.ResourceMetricSource{
			Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: percentage},
		},
	})
	return nil
}

func (s *Snapshot) addDefinition(object *unstructured.Unstructured) error {
	var partial metav1.PartialObjectMetadata
	if err := decode(object, &partial); err != nil {
		return err
	}
	s.definitions = append(s.definitions, partial.ObjectMeta)
	return nil
}

func (s *Snapshot) addWorkload(object *unstructured.Unstructured) error {
	if isPartOf(object) {
		s.controllers[object.GetUID()] = *metav1.GetControllerOf(object)
		return nil
	}
	var workload Workload
	switch object.GetKind() {
	case KindDeployment:
		d, err := decodeOnce[appsv1.Deployment](s, object)
		if err != nil {
			return err
		}
		if d.Labels["app"] == "istiod" {
			s.istiods = append(s.istiods, *d)
		}
		workload = deploymentWorkload(d)
	case KindStatefulSet:
		set, err := decodeOnce[appsv1.StatefulSet](s, object)
		if err != nil {
			return err
		}
		workload = statefulSetWorkload(set)
	case KindDaemonSet:
		d, err := decodeOnce[appsv1.DaemonSet](s, object)
		if err != nil {
			return err
		}
		s.daemonSets = append(s.daemonSets, *d)
		workload = daemonSetWorkload(d)
	case KindReplicaSet:
		r, err := decodeOnce[appsv1.ReplicaSet](s, object)
		if err != nil {
			return err
		}
		workload = replicaSetWorkload(r)
	case KindCronJob:
		c, err := decodeOnce[batchv1.CronJob](s, object)
		if err != nil {
			return err
		}
		workload = cronJobWorkload(c)
	case KindJob:
		j, err := decodeOnce[batchv1.Job](s, object)
		if err != nil {
			return err
		}
		workload = jobWorkload(j)
	}
	s.takeWorkload(object, workload)
	return nil
}

func (s *Snapshot) takeWorkload(object *unstructured.Unstructured, workload Workload) {
	workload.Reference, workload.Operator = referenceOf(object), operatorOf(object)
	workload.Object = s.asRead(object)
	s.workloads[object.GetNamespace()] = append(s.workloads[object.GetNamespace()], workload)
}

func (s *Snapshot) addRoute(object *unstructured.Unstructured) error {
	var route struct {
		Spec struct {
			ParentRefs []gatewayv1.ParentReference `json:"parentRefs"`
			Rules      []struct {
				Filters     []routeFilter `json:"filters"`
				BackendRefs []struct {
					gatewayv1.BackendRef `json:",inline"`
					Filters              []routeFilter `json:"filters"`
				} `json:"backendRefs"`
			} `json:"rules"`
		} `json:"spec"`
		Status gatewayv1.RouteStatus `json:"status"`
	}
	if err := decodeJSON(object, &route); err != nil {
		return err
	}
	added := Route{
		Reference: referenceOf(object), Parents: route.Spec.ParentRefs, Generation: object.GetGeneration(), Statuses: route.Status.Parents,
	}
	for _, rule := range route.Spec.Rules {
		added.addFilters(rule.Filters)
		for _, backend := range rule.BackendRefs {
			added.Backends = append(added.Backends, backend.BackendObjectReference)
			added.addFilters(backend.Filters)
		}
	}
	s.routes = append(s.routes, added)
	return nil
}

// routeFilter is what filters of HTTPRoutes and GRPCRoutes have in common.
type routeFilter struct {
	RequestMirror *struct {
		BackendRef gatewayv1.BackendObjectReference `json:"backendRef"`
	} `json:"requestMirror"`
	URLRewrite            *gatewayv1.HTTPURLRewriteFilter `json:"urlRewrite"`
	RequestHeaderModifier *gatewayv1.HTTPHeaderFilter     `json:"requestHeaderModifier"`
}

func (r *Route) addFilters(filters []routeFilter) {
	for _, filter := range filters {
		if filter.RequestMirror != nil {
			r.Mirrors = append(r.Mirrors, filter.RequestMirror.BackendRef)
		}
		if rewrite := filter.URLRewrite; rewrite != nil && rewrite.Path != nil {
			r.Changes = append(r.Changes, "path")
		}
		if rewrite := filter.URLRewrite; rewrite != nil && rewrite.Hostname != nil {
			r.Changes = append(r.Changes, "host")
		}
		if modifier := filter.RequestHeaderModifier; modifier != nil {
			for _, header := range slices.Concat(modifier.Set, modifier.Add) {
				r.addHeader(string(header.Name))
			}
			for _, name := range modifier.Remove {
				r.addHeader(name)
			}
		}
	}
}

func (r *Route) addHeader(name string) {
	name = strings.ToLower(name)
	if name == "host" {
		r.Changes = append(r.Changes, "host")
		return
	}
	r.Changes = append(r.Changes, "header "+name)
}

func (s *Snapshot) addExtension(object *unstructured.Unstructured) error {
	var extension struct {
		Spec struct {
			Selector struct {
				MatchLabels map[string]string `json:"matchLabels"`
			} `json:"selector"`
			WorkloadSelector struct {
				Labels      map[string]string `json:"labels"`
				MatchLabels map[string]string `json:"matchLabels"`
			} `json:"workloadSelector"`
			TargetRef  *Target  `json:"targetRef"`
			TargetRefs []Target `json:"targetRefs"`
		} `json:"spec"`
	}
	if err := decodeJSON(object, &extension); err != nil {
		return err
	}
	spec := extension.Spec
	added := Extension{Reference: referenceOf(object), Targets: spec.TargetRefs, Object: object.Object}
	for _, selector := range []map[string]string{spec.Selector.MatchLabels, spec.WorkloadSelector.Labels, spec.WorkloadSelector.MatchLabels} {
		if len(selector) > 0 {
			added.Selector = selector
		}
	}
	if spec.TargetRef != nil && len(added.Targets) == 0 {
		spec.TargetRef.Single = true
		added.Targets = append(added.Targets, *spec.TargetRef)
	}
	s.extensions = append(s.extensions, added)
	return nil
}

// sort orders everything by name, so that no result depends on the order in
// which requests were answered.
func (s *Snapshot) sort() {
	for _, pods := range s.pods {
		slices.SortFunc(pods, func(a, b Pod) int { return cmp.Compare(a.Name, b.Name) })
	}
	for _, workloads := range s.workloads {
		sortWorkloads(workloads)
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
	sortPointers(s.workloadEntries)
	sortPointers(s.workloadGroups)
	sortNamed(s.autoscalers, func(o *autoscalingv2.HorizontalPodAutoscaler) metav1.Object { return o })
	sortNamed(s.limitRanges, func(o *corev1.LimitRange) metav1.Object { return o })
	sortNamed(s.quotas, func(o *corev1.ResourceQuota) metav1.Object { return o })
	sortNamed(s.definitions, func(o *metav1.ObjectMeta) metav1.Object { return o })
	for _, others := range s.others {
		sortNamed(others, func(o *unstructured.Unstructured) metav1.Object { return o })
	}
	slices.SortFunc(s.routes, func(a, b Route) int { return cmp.Compare(a.Reference.String(), b.Reference.String()) })
	sortExtensions(s.extensions)
}

func sortWorkloads(workloads []Workload) {
	slices.SortFunc(workloads, func(a, b Workload) int {
		return cmp.Or(cmp.Compare(a.Reference.Kind, b.Reference.Kind), cmp.Compare(a.Reference.Name, b.Reference.Name))
	})
}

func sortExtensions(extensions []Extension) {
	slices.SortFunc(extensions, func(a, b Extension) int { return cmp.Compare(a.Reference.String(), b.Reference.String()) })
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

func appendDecoded[T any](s *Snapshot, object *unstructured.Unstructured, to *[]T) error {
	typed, err := decodeOnce[T](s, object)
	if err != nil {
		return err
	}
	*to = append(*to, *typed)
	return nil
}

// appendPointer is for Istio's kinds: their specs are protobuf messages, which
// must not be copied and are read by their own JSON rules.
func appendPointer[T any](s *Snapshot, object *unstructured.Unstructured, to *[]*T) error {
	typed, err := once(s, object, func(into *T) error { return decodeJSON(object, into) })
	if err != nil {
		return err
	}
	*to = append(*to, typed)
	return nil
}

// decoded is an object as a typed one. It keeps the object, so that no other comes to
// have its address.
type decoded struct {
	object map[string]any
	typed  any
}

// addressOf tells objects apart that may look alike: watches bring a new one with each
// change.
func addressOf(object *unstructured.Unstructured) uintptr {
	return reflect.ValueOf(object.Object).Pointer()
}

func decodeOnce[T any](s *Snapshot, object *unstructured.Unstructured) (*T, error) {
	return once(s, object, func(into *T) error { return decode(object, into) })
}

// once decodes an object unless the snapshot before this one holds the same. Nobody
// changes what a snapshot was made of, or holds.
func once[T any](s *Snapshot, object *unstructured.Unstructured, decode func(*T) error) (*T, error) {
	typed, known := s.before[addressOf(object)].typed.(*T)
	if !known {
		typed = new(T)
		if err := decode(typed); err != nil {
			return nil, err
		}
	}
	if s.decoded != nil {
		s.decoded[addressOf(object)] = decoded{object.Object, typed}
	}
	return typed, nil
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
func decode[T any](object *unstructured.Unstructured, into *T) error {
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into); err == nil {
		return nil
	}
	// The converter does not name the field that it fails at, the decoder of
	// JSON does. It starts afresh: what was converted so far is of no use.
	var again T
	if err := decodeJSON(object, &again); err != nil {
		return err
	}
	*into = again
	return nil
}

// Decode reads a part of an object into a type by that type's JSON rules. What the
// type does not know is left out.
func Decode(part map[string]any, into any) error {
	data, err := json.Marshal(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}
