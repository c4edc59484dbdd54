package translate

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	securityv1beta1 "istio.io/api/security/v1beta1"
	clientnetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// bypasses are routes of services behind the waypoint that lead to other services:
// the waypoint decides by the policies of the service that was called and then calls
// the pods of the other one by its own identity, which they admit (istio
// pilot/pkg/networking/core/listener_waypoint.go: a route's cluster is chosen after
// the filters of the called service). A sidecar sent such a call with the caller's
// identity, and the other service's policies decided.
func (t *translator) bypasses() {
	for _, service := range t.fronted {
		if service.direct || t.beside(service.reference) {
			continue
		}
		for _, virtualService := range t.snapshot.VirtualServices() {
			if !t.follows(virtualService, service) {
				continue
			}
			followed := t.delegates(virtualService)
			for _, to := range t.snapshot.AllServices() {
				if slices.ContainsFunc(followed, func(one *clientnetworkingv1.VirtualService) bool { return leads(&one.Spec, one.Namespace, to) }) {
					t.bypass(virtualServiceReference(virtualService), service, to)
				}
			}
		}
		for _, route := range t.snapshot.Routes() {
			if routesFor(route, service.reference) {
				t.bypassByRoute(route, service)
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
			unread := Problem{
				Object: virtualServiceReference(root), Field: fmt.Sprintf("spec.http[%d].delegate", i),
				Message: fmt.Sprintf("VirtualService %s/%s could not be read: whether it leads calls past policies is unknown", namespace, delegate.GetName()),
				Remedy:  "plan with leave to read VirtualServices of that namespace",
			}
			if !slices.Contains(t.translation.Problems, unread) {
				t.translation.Problems = append(t.translation.Problems, unread)
			}
		}
	}
	return all
}

// leads says whether a VirtualService, written in a namespace, sends calls to a
// Service, copies for a mirror included: they do there what any other call does.
func leads(spec *networkingv1alpha3.VirtualService, written string, to corev1.Service) bool {
	return slices.ContainsFunc(destinationsOf(spec), func(destination *networkingv1alpha3.Destination) bool {
		return mesh.HostMeans(destination.GetHost(), written, to.Name, to.Namespace)
	})
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

func (t *translator) bypassByRoute(route mesh.Route, service *fronted) {
	for _, backend := range slices.Concat(route.Backends, route.Mirrors) {
		if backend.Kind != nil && *backend.Kind != mesh.KindService {
			continue
		}
		namespace := route.Reference.Namespace
		if backend.Namespace != nil {
			namespace = string(*backend.Namespace)
		}
		for _, to := range t.snapshot.Services(namespace) {
			if to.Name == string(backend.Name) {
				t.bypass(route.Reference, service, to)
			}
		}
	}
}

// bypass is a problem where the pods of the other service have a policy that the
// called one does not.
func (t *translator) bypass(route v1alpha1.ObjectReference, called *fronted, to corev1.Service) {
	if called.reference.Kind == mesh.KindService && to.Namespace == called.reference.Namespace && to.Name == called.reference.Name {
		return
	}
	policy := t.uncovered(called, to)
	if policy == "" {
		return
	}
	t.problem(route, "spec", fmt.Sprintf("it leads calls for %s %s to Service %s/%s, and the waypoint would not ask %s, which decides them today",
		called.reference.Kind, called.reference.Name, to.Namespace, to.Name, policy), "let callers call that Service itself, or attach the policy to both")
}

// uncovered is a policy for the pods of a service that does not reach those of the
// one that is called. Of other namespaces the pods are not known: any policy there
// counts, and any of a root namespace unless it is for all pods of the mesh, the called
// ones among them. So does one that names ports which the two do not have in common: its
// copy for the called service is not about the ports that the route leads to.
func (t *translator) uncovered(called *fronted, to corev1.Service) string {
	behind := t.selected(&to)
	both := slices.Concat(called.ports, t.portsOf(&to, behind))
	decides := func(namespace string, selector map[string]string, spec *securityv1beta1.AuthorizationPolicy) bool {
		switch {
		case to.Namespace == t.namespace.Name:
			return t.inReach(namespace) && selectsAny(selector, behind) && (!selectsAny(selector, called.pods) || !both.alike(spec))
		case slices.Contains(t.snapshot.RootNamespaces(), namespace):
			return len(selector) > 0 || len(called.pods) == 0 || namesPorts(spec)
		default:
			return namespace == to.Namespace
		}
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
