package mesh

import (
	"fmt"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// RouteController is the name under which istiod writes the status of routes, unless
// it was given another (istio pilot/pkg/features/pilot.go, ManagedGatewayController).
const RouteController = "istio.io/gateway-controller"

// ServiceNamespace returns the namespace of a route's parent that is a Service.
func (r Route) ServiceNamespace(parent gatewayv1.ParentReference) (string, bool) {
	if parent.Kind == nil || *parent.Kind != KindService || parent.Group == nil || *parent.Group != "" && *parent.Group != "core" {
		return "", false
	}
	if parent.Namespace != nil {
		return string(*parent.Namespace), true
	}
	return r.Reference.Namespace, true
}

// GatewayNamespace is where a route's parent is, if that is a Gateway.
func (r Route) GatewayNamespace(parent gatewayv1.ParentReference) (string, bool) {
	if parent.Kind != nil && *parent.Kind != KindGateway || parent.Group != nil && *parent.Group != gatewayv1.GroupName {
		return "", false
	}
	if parent.Namespace != nil {
		return string(*parent.Namespace), true
	}
	return r.Reference.Namespace, true
}

// BackendHost returns the full name of the host that a route's backend means. Besides
// Services istiod knows those of other clusters, which it takes for the Service of the
// same name, and host names as they are; the group of the former is a setting (istio
// pilot/pkg/config/kube/gateway/conversion.go, buildDestination, and
// pilot/pkg/features/experimental.go, MCS_API_GROUP). Any other kind is not known.
func (r Route) BackendHost(backend gatewayv1.BackendObjectReference) (host string, known bool) {
	group, kind, namespace := "", KindService, r.Reference.Namespace
	if backend.Group != nil {
		group = string(*backend.Group)
	}
	if backend.Kind != nil {
		kind = string(*backend.Kind)
	}
	if backend.Namespace != nil {
		namespace = string(*backend.Namespace)
	}
	switch {
	case kind == kindHostname && group == groupIstioNetworking:
		return string(backend.Name), true
	case kind == KindService && (group == "" || group == "core"), kind == kindServiceImport:
		return string(backend.Name) + "." + namespace + ".svc.cluster.local", true
	default:
		return "", false
	}
}

// Kinds of backends that are no Services.
const (
	kindHostname      = "Hostname"
	kindServiceImport = "ServiceImport"
)

// StatusAt is what istiod says of a route at a parent. Where only other controllers say
// something it is empty: nothing is judged by them.
func (r Route) StatusAt(parent gatewayv1.ParentReference) (status gatewayv1.RouteParentStatus, told bool) {
	text := func(reference gatewayv1.ParentReference) string {
		kind, namespace, section, port := KindGateway, r.Reference.Namespace, "", gatewayv1.PortNumber(0)
		if reference.Kind != nil {
			kind = string(*reference.Kind)
		}
		if reference.Namespace != nil {
			namespace = string(*reference.Namespace)
		}
		if reference.SectionName != nil {
			section = string(*reference.SectionName)
		}
		if reference.Port != nil {
			port = *reference.Port
		}
		return fmt.Sprintf("%s %s/%s %s %d", kind, namespace, reference.Name, section, port)
	}
	at := slices.DeleteFunc(slices.Clone(r.Statuses), func(status gatewayv1.RouteParentStatus) bool { return text(status.ParentRef) != text(parent) })
	if len(at) == 0 {
		return gatewayv1.RouteParentStatus{}, false
	}
	istiod := slices.IndexFunc(at, func(status gatewayv1.RouteParentStatus) bool { return status.ControllerName == RouteController })
	if istiod < 0 {
		return gatewayv1.RouteParentStatus{}, true
	}
	return at[istiod], true
}
