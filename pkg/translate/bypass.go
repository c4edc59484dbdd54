package translate

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	securityv1beta1 "istio.io/api/security/v1beta1"
	clientnetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// bypasses are routes of services behind the waypoint that lead to other services:
// the waypoint decides by the policies of the service that was called and then calls
// the pods of the other one by its own identity, which they admit (istio
// pilot/pkg/networking/core/listener_waypoint.go: a route's cluster is chosen after
// the filters of the called service). A sidecar sent such a call with the caller's
// identity, and the other service's policies decided.
func (t *translator) bypasses() {
	all := t.destinations()
	for _, service := range t.fronted {
		if service.direct || t.beside(service.reference) {
			continue
		}
		for _, virtualService := range t.snapshot.VirtualServices() {
			if !t.follows(virtualService, service) {
				continue
			}
			t.bypassTo(virtualServiceReference(virtualService), service, t.leads(virtualService), all)
		}
		for _, route := range t.snapshot.Routes() {
			if routesFor(route, service.reference) {
				t.bypassByRoute(route, service, all)
			}
		}
	}
}

// follows says whether the waypoint in front of a service follows a VirtualService.
func (t *translator) follows(virtualService *clientnetworkingv1.VirtualService, service *fronted) bool {
	return mesh.BindsMesh(&virtualService.Spec) && t.heeded(virtualService.Namespace) &&
		slices.ContainsFunc(virtualService.Spec.GetHosts(), func(host string) bool {
			return t.isHostOf(host, virtualService.Namespace, service.reference)
		})
}

// delegates are a VirtualService and those that its routes delegate to, whose hosts are
// those of their own namespace. Istio follows no delegate of a delegate (istio
// pilot/pkg/model/virtualservice_controller.go, mergeVirtualServices), and leaves a route
// out whose delegate is not there. One that could not be read may lead anywhere.
func (t *translator) delegates(root *clientnetworkingv1.VirtualService) []*clientnetworkingv1.VirtualService {
	all := []*clientnetworkingv1.VirtualService{root}
	for i, http := range root.Spec.GetHttp() {
		delegate := http.GetDelegate()
		if delegate == nil || !ofMesh(http) {
			continue
		}
		namespace := cmp.Or(delegate.GetNamespace(), root.Namespace)
		at := slices.IndexFunc(t.snapshot.VirtualServices(), func(one *clientnetworkingv1.VirtualService) bool {
			return one.Namespace == namespace && one.Name == delegate.GetName()
		})
		switch {
		case at >= 0:
			all = append(all, t.snapshot.VirtualServices()[at])
		case t.snapshot.Unread(namespace, mesh.KindVirtualService) != "":
			t.problemOnce(Problem{
				Object: virtualServiceReference(root), Field: fmt.Sprintf("spec.http[%d].delegate", i),
				Message: fmt.Sprintf("VirtualService %s/%s could not be read: whether it leads calls past policies is unknown", namespace, delegate.GetName()),
				Remedy:  "plan with leave to read VirtualServices of that namespace",
			})
		}
	}
	return all
}

// leads are the full names of the hosts that a VirtualService and its delegates send
// calls to, copies for a mirror included: they do there what any other call does.
func (t *translator) leads(virtualService *clientnetworkingv1.VirtualService) []string {
	var hosts []string
	for _, one := range t.delegates(virtualService) {
		for _, destination := range destinationsOf(&one.Spec) {
			if destination.GetHost() != "" {
				hosts = append(hosts, fullHost(destination.GetHost(), one.Namespace))
			}
		}
	}
	return hosts
}

// routesFor says whether a route has a Service for its parent.
func routesFor(route mesh.Route, service v1alpha1.ObjectReference) bool {
	return slices.ContainsFunc(route.Parents, func(parent gatewayv1.ParentReference) bool { return isParent(route, parent, service) })
}

// isParent says whether a route's parent is a service. Besides Services, waypoints
// follow routes of ServiceEntries (istio
// pilot/pkg/config/kube/gateway/conversion.go, allowedParentReferences).
func isParent(route mesh.Route, parent gatewayv1.ParentReference, service v1alpha1.ObjectReference) bool {
	if service.Kind == mesh.KindServiceEntry {
		namespace := route.Reference.Namespace
		if parent.Namespace != nil {
			namespace = string(*parent.Namespace)
		}
		return parent.Kind != nil && *parent.Kind == mesh.KindServiceEntry && namespace == service.Namespace && string(parent.Name) == service.Name
	}
	namespace, is := route.ServiceNamespace(parent)
	return is && namespace == service.Namespace && string(parent.Name) == service.Name
}

// bypassByRoute looks at what a route of Gateway API leads to. An InferencePool may be any
// pods; a backend of another kind that is not known leads nowhere: istiod refuses it, and
// calls to it are answered with an error (istio pilot/pkg/config/kube/gateway/conversion.go,
// buildDestination, InvalidDestinationKind).
func (t *translator) bypassByRoute(route mesh.Route, service *fronted, all []destination) {
	for _, backend := range slices.Concat(route.Backends, route.Mirrors) {
		host, known := route.BackendHost(backend)
		switch {
		case !known && !isPool(backend):
			continue
		case !known:
			t.problemOnce(Problem{
				Object: route.Reference, Field: "spec.rules",
				Message: fmt.Sprintf("it leads calls for %s %s to %s %s, which may lead anywhere: whether policies there would still decide them is unknown",
					service.reference.Kind, service.reference.Name, backendKind(backend), backend.Name),
				Remedy: "lead to Services, or leave the Service out by --waypoint-skip",
			})
			continue
		}
		t.bypassTo(route.Reference, service, []string{host}, all)
	}
}

// isPool says whether a backend is an InferencePool, of any version of its API.
func isPool(backend gatewayv1.BackendObjectReference) bool {
	return backendKind(backend) == "InferencePool.inference.networking.k8s.io" || backendKind(backend) == "InferencePool.inference.networking.x-k8s.io"
}

// backendKind names the kind of a backend, and the group where that is not Kubernetes' own.
func backendKind(backend gatewayv1.BackendObjectReference) string {
	kind := mesh.KindService
	if backend.Kind != nil {
		kind = string(*backend.Kind)
	}
	if backend.Group != nil && *backend.Group != "" {
		return kind + "." + string(*backend.Group)
	}
	return kind
}

// bypassTo looks at the services that a route leads to by the names of their hosts. A
// name that no service bears may be that of a ServiceEntry that could not be read.
func (t *translator) bypassTo(route v1alpha1.ObjectReference, service *fronted, hosts []string, all []destination) {
	for _, to := range all {
		if slices.ContainsFunc(hosts, to.isCalled) {
			t.bypass(route, service, to)
		}
	}
	if t.snapshot.Unread(t.namespace.Name, mesh.KindServiceEntry) == "" {
		return
	}
	for _, host := range hosts {
		if !slices.ContainsFunc(all, func(to destination) bool { return to.isCalled(host) }) {
			t.problemOnce(Problem{
				Object: route, Field: "spec",
				Message: fmt.Sprintf("it leads calls for %s %s to host %s, and ServiceEntries could not be read: whether it leads past policies is unknown",
					service.reference.Kind, service.reference.Name, host),
				Remedy: "plan with leave to read ServiceEntries",
			})
		}
	}
}

// bypass is a problem where the pods of the other service have a policy that the
// called one does not.
func (t *translator) bypass(route v1alpha1.ObjectReference, called *fronted, to destination) {
	if to.reference == called.reference {
		return
	}
	policy := t.uncovered(called, t.answeringFor(to))
	if policy == "" {
		return
	}
	t.problem(route, "spec", fmt.Sprintf("it leads calls for %s %s to %s %s/%s, and the waypoint would not ask %s, which decides them today",
		called.reference.Kind, called.reference.Name, to.reference.Kind, to.reference.Namespace, to.reference.Name, policy),
		"let callers call that "+to.reference.Kind+" itself, or attach the policy to both")
}

// uncovered is a policy for the pods that a route leads to and not for those of the
// service that is called. Of other namespaces the pods are not known: any policy there
// counts, and any of a root namespace unless it is for all pods of the mesh, the called
// ones among them. So does one that names ports which the two do not have in common: its
// copy for the called service is not about the ports that the route leads to.
func (t *translator) uncovered(called *fronted, to answering) string {
	both := slices.Concat(called.ports, to.ports)
	here := func(namespace string, selector map[string]string, spec *securityv1beta1.AuthorizationPolicy) bool {
		return t.inReach(namespace) && selectsAny(selector, to.pods) && (!selectsAny(selector, called.pods) || !both.alike(spec))
	}
	elsewhere := func(namespace string, selector map[string]string, spec *securityv1beta1.AuthorizationPolicy) bool {
		if len(to.elsewhere) > 0 && slices.Contains(t.snapshot.RootNamespaces(), namespace) {
			return len(selector) > 0 || len(called.pods) == 0 || namesPorts(spec)
		}
		return slices.Contains(to.elsewhere, namespace)
	}
	decides := func(namespace string, selector map[string]string, spec *securityv1beta1.AuthorizationPolicy) bool {
		return here(namespace, selector, spec) || elsewhere(namespace, selector, spec)
	}
	for _, policy := range t.snapshot.AuthorizationPolicies() {
		if !ours(policy.Labels) && len(mesh.TargetsOf(&policy.Spec)) == 0 && !dryRun(policy) &&
			policy.Spec.GetAction() != securityv1beta1.AuthorizationPolicy_AUDIT && decides(policy.Namespace, policy.Spec.GetSelector().GetMatchLabels(), &policy.Spec) {
			return authorizationReference(policy).String()
		}
	}
	for _, extension := range t.snapshot.Extensions() {
		if extension.Reference.Kind == mesh.KindRequestAuthentication && !extension.Targeted() && !isOurs(extension) &&
			decides(extension.Reference.Namespace, extension.Selector, nil) {
			return extension.Reference.String()
		}
	}
	return ""
}
