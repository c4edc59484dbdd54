package mesh

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"istio.io/api/label"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// ReasonKind is what something does for a service that ztunnel cannot do.
type ReasonKind string

// What needs a waypoint.
const (
	NeedPolicy    ReasonKind = "layer 7 policy"
	NeedJWT       ReasonKind = "JWT"
	NeedRouting   ReasonKind = "routing"
	NeedTelemetry ReasonKind = "telemetry"
	NeedExtension ReasonKind = "extension"
	// NeedBalancing is the choice of an endpoint for each request: ztunnel makes
	// it for each connection.
	NeedBalancing ReasonKind = "request-level load balancing"
)

// Reason is one thing for which a service needs a waypoint.
type Reason struct {
	Kind   ReasonKind
	Object v1alpha1.ObjectReference
	// Field is the path of what it is in Object.
	Field string
	// Hint is true where the service may well do without.
	Hint bool
}

// ServiceNeed is a Service or ServiceEntry and why it needs a waypoint.
type ServiceNeed struct {
	Service v1alpha1.ObjectReference
	// Labels are the service's own.
	Labels  map[string]string
	Reasons []Reason
}

// OnlyHints says whether the service may well do without a waypoint.
func (n ServiceNeed) OnlyHints() bool {
	return !slices.ContainsFunc(n.Reasons, func(reason Reason) bool { return !reason.Hint })
}

// WaypointNeeds returns the services of a namespace that do something that takes
// a waypoint in ambient mode, by kind and name, and for each what that is.
// Policies count for the services whose pods they select: a waypoint stands in
// front of services.
func (s *Snapshot) WaypointNeeds(namespace Namespace) []ServiceNeed {
	var needs []ServiceNeed
	for _, candidate := range s.candidates(namespace) {
		candidate.addPolicies(s)
		candidate.addExtensions(s)
		candidate.addRouting(s)
		candidate.addPorts()
		if len(candidate.reasons) > 0 {
			needs = append(needs, ServiceNeed{Service: candidate.reference, Labels: candidate.labels, Reasons: candidate.reasons})
		}
	}
	return needs
}

// candidate is a service that may need a waypoint.
type candidate struct {
	reference v1alpha1.ObjectReference
	labels    map[string]string
	// service is nil for a ServiceEntry.
	service *corev1.Service
	entry   *networkingv1alpha3.ServiceEntry
	// pods are the labels of the service's pods, and of the templates of pods.
	pods    []map[string]string
	reasons []Reason
	// roots are the namespaces whose policies apply mesh-wide.
	roots []string
}

func (s *Snapshot) candidates(namespace Namespace) []*candidate {
	sets := s.labelSets(namespace.Name)
	written := map[v1alpha1.ObjectReference][]map[string]string{}
	for _, endpoint := range s.WrittenEndpoints() {
		if endpoint.Service.Namespace == namespace.Name && endpoint.Pod.Namespace == namespace.Name && !endpoint.Pod.IsGateway() {
			written[endpoint.Service] = append(written[endpoint.Service], endpoint.Pod.Labels)
		}
	}
	var candidates []*candidate
	roots := s.RootNamespaces()
	add := func(c *candidate, selector map[string]string) {
		c.roots = roots
		if len(selector) > 0 {
			for _, set := range sets {
				if subset(selector, set) {
					c.pods = append(c.pods, set)
				}
			}
		}
		candidates = append(candidates, c)
	}
	for _, service := range s.Services(namespace.Name) {
		// An external name is an alias in the DNS: no traffic is for it. Gateways
		// and waypoints need no waypoint.
		if service.Spec.Type != corev1.ServiceTypeExternalName && service.Labels[label.GatewayManaged.Name] == "" {
			reference := ServiceReference(service.Namespace, service.Name)
			add(&candidate{reference: reference, labels: service.Labels, service: &service, pods: written[reference]}, service.Spec.Selector)
		}
	}
	for _, entry := range s.serviceEntries {
		if entry.Namespace == namespace.Name {
			add(&candidate{reference: ServiceEntryReference(entry.Namespace, entry.Name), labels: entry.Labels, entry: &entry.Spec},
				entry.Spec.GetWorkloadSelector().GetLabels())
		}
	}
	return candidates
}

// labelSets are the labels of a namespace's pods and pod templates, gateways left
// out.
func (s *Snapshot) labelSets(namespace string) []map[string]string {
	var sets []map[string]string
	for _, workload := range s.workloads[namespace] {
		if !workload.IsGateway() {
			sets = append(sets, workload.Template.Labels)
		}
	}
	for _, pod := range s.Pods(namespace) {
		if !pod.IsGateway() {
			sets = append(sets, pod.Labels)
		}
	}
	return sets
}

func (c *candidate) add(kind ReasonKind, object v1alpha1.ObjectReference, field string) {
	c.reasons = append(c.reasons, Reason{Kind: kind, Object: object, Field: field})
}

// reached says whether an object of a namespace with a selector reaches pods of
// the service.
func (c *candidate) reached(namespace string, selector map[string]string) bool {
	return c.inReach(namespace) && slices.ContainsFunc(c.pods, func(set map[string]string) bool { return subset(selector, set) })
}

// inReach says whether objects of a namespace concern the service at all.
func (c *candidate) inReach(namespace string) bool {
	return namespace == c.reference.Namespace || slices.Contains(c.roots, namespace)
}

// targeted returns the place of the target that is the service.
func (c *candidate) targeted(namespace string, targets []Target) (int, bool) {
	i := slices.IndexFunc(targets, func(target Target) bool {
		return namespace == c.reference.Namespace && (target.Namespace == "" || target.Namespace == namespace) &&
			target.Name == c.reference.Name && target.Is(c.reference)
	})
	return i, i >= 0
}

// Is says whether a target is of the kind of an object.
func (t Target) Is(object v1alpha1.ObjectReference) bool {
	group, _, found := strings.Cut(object.APIVersion, "/")
	if !found {
		group = ""
	}
	own := t.Group
	if own == "core" {
		own = ""
	}
	return own == group && t.Kind == object.Kind
}

// Field is the path of the target that comes at a place in an object.
func (t Target) Field(i int) string {
	if t.Single {
		return "spec.targetRef"
	}
	return fmt.Sprintf("spec.targetRefs[%d]", i)
}

// TargetsOf returns what a policy is attached to. The older field counts only
// where the newer is empty (istio pilot/pkg/model/policyattachment.go).
func TargetsOf(policy interface {
	GetTargetRef() *typev1beta1.PolicyTargetReference
	GetTargetRefs() []*typev1beta1.PolicyTargetReference
}) []Target {
	var targets []Target
	for _, target := range policy.GetTargetRefs() {
		targets = append(targets, Target{Group: target.GetGroup(), Kind: target.GetKind(), Namespace: target.GetNamespace(), Name: target.GetName()})
	}
	if target := policy.GetTargetRef(); target != nil && len(targets) == 0 {
		targets = append(targets, Target{
			Group: target.GetGroup(), Kind: target.GetKind(), Namespace: target.GetNamespace(), Name: target.GetName(), Single: true,
		})
	}
	return targets
}

// TargetsIn returns what a policy is attached to that is held as a whole object:
// nothing where that cannot be read. A target's namespace is the policy's own,
// unless it says otherwise.
func TargetsIn(policy Object) []Target {
	var read struct {
		Metadata struct {
			Namespace string `json:"namespace"`
		} `json:"metadata"`
		Spec struct {
			TargetRef  *Target  `json:"targetRef"`
			TargetRefs []Target `json:"targetRefs"`
		} `json:"spec"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(policy, &read); err != nil {
		return nil
	}
	targets := read.Spec.TargetRefs
	if single := read.Spec.TargetRef; single != nil && len(targets) == 0 {
		single.Single = true
		targets = []Target{*single}
	}
	for i := range targets {
		targets[i].Namespace = cmp.Or(targets[i].Namespace, read.Metadata.Namespace)
	}
	return targets
}

func (c *candidate) addPolicies(s *Snapshot) {
	for _, policy := range s.authorizationPolicies {
		if !c.inReach(policy.Namespace) {
			continue
		}
		object := SecurityReference(KindAuthorizationPolicy, policy.Namespace, policy.Name)
		if targets := TargetsOf(&policy.Spec); len(targets) > 0 {
			if i, is := c.targeted(policy.Namespace, targets); is {
				c.add(NeedPolicy, object, targets[i].Field(i))
			}
			continue
		}
		if !c.reached(policy.Namespace, policy.Spec.GetSelector().GetMatchLabels()) {
			continue
		}
		if action := policy.Spec.GetAction(); action != securityv1beta1.AuthorizationPolicy_ALLOW && action != securityv1beta1.AuthorizationPolicy_DENY {
			c.add(NeedPolicy, object, "spec.action")
		} else if fields := Layer7Fields(&policy.Spec); len(fields) > 0 {
			c.add(NeedPolicy, object, fields[0])
		}
	}
}

// extensionNeeds are what kinds of extensions do. A ProxyConfig does nothing at a
// waypoint either.
var extensionNeeds = map[string]ReasonKind{
	KindRequestAuthentication: NeedJWT, KindTelemetry: NeedTelemetry,
	KindWasmPlugin: NeedExtension, KindTrafficExtension: NeedExtension, KindEnvoyFilter: NeedExtension,
}

func (c *candidate) addExtensions(s *Snapshot) {
	for _, extension := range s.extensions {
		kind, does := extensionNeeds[extension.Reference.Kind]
		if !does {
			continue
		}
		if extension.Targeted() {
			if i, is := c.targeted(extension.Reference.Namespace, extension.Targets); is {
				c.add(kind, extension.Reference, extension.Targets[i].Field(i))
			}
			continue
		}
		// The mesh's telemetry would make every service of it need a waypoint.
		if kind == NeedTelemetry && extension.Reference.Namespace != c.reference.Namespace {
			continue
		}
		if field := extension.EffectiveField(); field != "" && c.reached(extension.Reference.Namespace, extension.Selector) {
			c.add(kind, extension.Reference, field)
		}
	}
}

// EffectiveField returns the path of the first field of an extension by which it
// does something in sidecars; empty where it does nothing in them.
func (e Extension) EffectiveField() string {
	spec, _ := e.Object["spec"].(map[string]any)
	first := func(names ...string) string {
		for _, name := range names {
			if list, is := spec[name].([]any); spec[name] != nil && (!is || len(list) > 0) {
				return "spec." + name
			}
		}
		return ""
	}
	switch e.Reference.Kind {
	case KindRequestAuthentication:
		return first("jwtRules")
	case KindTelemetry:
		return first("tracing", "metrics", "accessLogging")
	case KindWasmPlugin:
		return cmp.Or(first("url"), "spec")
	case KindTrafficExtension:
		return cmp.Or(first("wasm", "lua"), "spec")
	case KindProxyConfig:
		return cmp.Or(first("concurrency", "environmentVariables", "image"), "spec")
	case KindEnvoyFilter:
		patches := e.Patches()
		if i := slices.IndexFunc(patches, func(patch Patch) bool { return patch.Context != ContextGateway && patch.Context != ContextWaypoint }); i >= 0 {
			return fmt.Sprintf("spec.configPatches[%d].applyTo (%s)", i, patches[i].ApplyTo)
		}
	}
	return ""
}

// The contexts of an EnvoyFilter's patches that are not about sidecars.
const (
	ContextGateway  = "GATEWAY"
	ContextWaypoint = "WAYPOINT"
)

// ContextSidecars begins the contexts that are about nothing else.
const ContextSidecars = "SIDECAR_"

// Patch is what a check needs of an EnvoyFilter's patch.
type Patch struct {
	ApplyTo string
	// Context is empty or ANY for sidecars and gateways alike.
	Context string
}

// Patches returns the patches of an EnvoyFilter.
func (e Extension) Patches() []Patch {
	spec, _ := e.Object["spec"].(map[string]any)
	list, _ := spec["configPatches"].([]any)
	var patches []Patch
	for _, item := range list {
		fields, _ := item.(map[string]any)
		match, _ := fields["match"].(map[string]any)
		var patch Patch
		patch.ApplyTo, _ = fields["applyTo"].(string)
		patch.Context, _ = match["context"].(string)
		patches = append(patches, patch)
	}
	return patches
}

func (c *candidate) addRouting(s *Snapshot) {
	for _, virtualService := range s.virtualServices {
		if !BindsMesh(&virtualService.Spec) {
			continue
		}
		for i, host := range virtualService.Spec.GetHosts() {
			if c.meant(host, virtualService) {
				c.add(NeedRouting, networkingReference(KindVirtualService, virtualService), fmt.Sprintf("spec.hosts[%d]", i))
				break
			}
		}
	}
	for _, rule := range s.destinationRules {
		field := EffectiveField(&rule.Spec)
		// ztunnel uses mTLS whatever a DestinationRule says, and so does a
		// waypoint, which follows no rule that selects workloads (istio
		// pilot/pkg/networking/core/cluster_waypoint.go, buildWaypointInboundVIP).
		if field == "" || rule.Spec.GetWorkloadSelector() != nil || disablesTLS(&rule.Spec) || !c.meant(rule.Spec.GetHost(), rule) {
			continue
		}
		kind := NeedRouting
		if strings.HasSuffix(field, ".loadBalancer") {
			kind = NeedBalancing
		}
		c.add(kind, networkingReference(KindDestinationRule, rule), field)
	}
	for _, route := range s.routes {
		for i, parent := range route.Parents {
			group, kind, namespace := "gateway.networking.k8s.io", KindGateway, route.Reference.Namespace
			if parent.Group != nil {
				group = string(*parent.Group)
			}
			if parent.Kind != nil {
				kind = string(*parent.Kind)
			}
			if parent.Namespace != nil {
				namespace = string(*parent.Namespace)
			}
			target := Target{Group: group, Kind: kind}
			if target.Is(c.reference) && namespace == c.reference.Namespace && string(parent.Name) == c.reference.Name {
				c.add(NeedRouting, route.Reference, fmt.Sprintf("spec.parentRefs[%d]", i))
				break
			}
		}
	}
}

func disablesTLS(rule *networkingv1alpha3.DestinationRule) bool {
	return EffectiveField(rule) == "spec.trafficPolicy.tls.mode" &&
		rule.GetTrafficPolicy().GetTls().GetMode() == networkingv1alpha3.ClientTLSSettings_DISABLE
}

func networkingReference(kind string, object metav1.Object) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: "networking.istio.io/v1", Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName()}
}

// meant says whether a host in a rule can mean the service.
func (c *candidate) meant(host string, rule metav1.Object) bool {
	if c.service != nil {
		return HostMeans(host, rule.GetNamespace(), c.reference.Name, c.reference.Namespace)
	}
	return slices.ContainsFunc(c.entry.GetHosts(), func(own string) bool { return HostsMatch(host, own) })
}

// addPorts hints at protocols that keep connections open: requests of theirs are
// balanced by a proxy that knows requests, or not at all. Clients of headless
// services balance by themselves. Protocols are told as istiod does (istio
// pkg/config/kube/conversion.go, ConvertProtocol).
func (c *candidate) addPorts() {
	if c.service == nil || Headless(*c.service) || len(c.service.Spec.Selector) == 0 {
		return
	}
	for i, port := range c.service.Spec.Ports {
		field, name := "name", port.Name
		if port.AppProtocol != nil {
			field, name = "appProtocol", *port.AppProtocol
		}
		name = strings.ToLower(name)
		prefix, _, _ := strings.Cut(name, "-")
		if prefix == "grpc" || prefix == "http2" || name == "kubernetes.io/h2c" {
			c.reasons = append(c.reasons, Reason{
				Kind: NeedBalancing, Object: c.reference, Field: fmt.Sprintf("spec.ports[%d].%s", i, field), Hint: true,
			})
			return
		}
	}
}
