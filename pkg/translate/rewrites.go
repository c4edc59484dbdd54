package translate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	securityv1beta1 "istio.io/api/security/v1beta1"
)

// The parts of a request besides headers that routes change and policies read.
const (
	partPath = "path"
	partHost = "host"
)

// rewrites are routes of services behind the waypoint that change what a policy in
// front of them goes by. The caller's sidecar changes a request before the server's
// sidecar decides; a waypoint decides first: its router, which changes it, is the last
// filter (istio pilot/pkg/networking/core/listener_waypoint.go:
// those of authz come before it).
func (t *translator) rewrites() {
	for _, service := range t.fronted {
		if service.direct || t.beside(service.reference) {
			continue
		}
		for _, virtualService := range t.snapshot.VirtualServices() {
			if !t.follows(virtualService, service) {
				continue
			}
			changed := map[string]bool{}
			for _, one := range t.delegates(virtualService) {
				maps.Copy(changed, changedBy(&one.Spec))
			}
			t.rewrite(virtualServiceReference(virtualService), service, changed)
		}
		for _, route := range t.snapshot.Routes() {
			if routesFor(route, service.reference) {
				changed := map[string]bool{}
				for _, part := range route.Changes {
					changed[part] = true
				}
				t.rewrite(route.Reference, service, changed)
			}
		}
	}
}

// changedBy are the parts of requests that a VirtualService changes for callers in the
// mesh, headers by their names in lower case.
func changedBy(spec *networkingv1alpha3.VirtualService) map[string]bool {
	changed := map[string]bool{}
	headers := func(operations *networkingv1alpha3.Headers_HeaderOperations) {
		names := append(slices.Collect(maps.Keys(operations.GetSet())), slices.Collect(maps.Keys(operations.GetAdd()))...)
		for _, name := range append(names, operations.GetRemove()...) {
			changed[headerPart(name)] = true
		}
	}
	for _, http := range spec.GetHttp() {
		if !ofMesh(http) {
			continue
		}
		if rewrite := http.GetRewrite(); rewrite.GetUri() != "" || rewrite.GetUriRegexRewrite() != nil {
			changed[partPath] = true
		}
		if http.GetRewrite().GetAuthority() != "" {
			changed[partHost] = true
		}
		headers(http.GetHeaders().GetRequest())
		for _, route := range http.GetRoute() {
			headers(route.GetHeaders().GetRequest())
		}
	}
	return changed
}

// headerPart is a header as a part of requests: the host is one as well.
func headerPart(name string) string {
	switch name = strings.ToLower(name); name {
	case "host", ":authority":
		return partHost
	case ":path":
		return partPath
	default:
		return "header " + name
	}
}

func (t *translator) rewrite(route v1alpha1.ObjectReference, service *fronted, changed map[string]bool) {
	for _, policy := range t.snapshot.AuthorizationPolicies() {
		if ours(policy.Labels) || len(mesh.TargetsOf(&policy.Spec)) > 0 || dryRun(policy) || !t.inReach(policy.Namespace) ||
			policy.Spec.GetAction() == securityv1beta1.AuthorizationPolicy_AUDIT || !selectsAny(policy.Spec.GetSelector().GetMatchLabels(), service.pods) {
			continue
		}
		for _, part := range readBy(&policy.Spec) {
			if changed[part] {
				t.rewritten(route, service, part, authorizationReference(policy))
				return
			}
		}
	}
	for _, extension := range t.snapshot.Extensions() {
		if extension.Reference.Kind != mesh.KindRequestAuthentication || extension.Targeted() || isOurs(extension) ||
			!t.inReach(extension.Reference.Namespace) || !selectsAny(extension.Selector, service.pods) {
			continue
		}
		var spec securityv1beta1.RequestAuthentication
		fields, _ := extension.Object["spec"].(map[string]any)
		if err := mesh.Decode(fields, &spec); err != nil {
			// It is a problem of its own, see authentication.
			continue
		}
		for _, rule := range spec.GetJwtRules() {
			for _, header := range rule.GetFromHeaders() {
				if part := headerPart(header.GetName()); changed[part] {
					t.rewritten(route, service, part, extension.Reference)
					return
				}
			}
		}
	}
}

func (t *translator) rewritten(route v1alpha1.ObjectReference, service *fronted, part string, policy v1alpha1.ObjectReference) {
	t.problem(route, "spec", fmt.Sprintf("it changes the %s of calls for %s %s, which %s goes by: sidecars decide by what it is changed to, the waypoint by what was sent",
		part, service.reference.Kind, service.reference.Name, policy), "let the policy go by what callers send, or take the change out of the route")
}

// readBy are the parts of requests that the rules of a policy go by.
func readBy(spec *securityv1beta1.AuthorizationPolicy) []string {
	var read []string
	for _, rule := range spec.GetRules() {
		for _, to := range rule.GetTo() {
			operation := to.GetOperation()
			if len(operation.GetPaths())+len(operation.GetNotPaths()) > 0 {
				read = append(read, partPath)
			}
			if len(operation.GetHosts())+len(operation.GetNotHosts()) > 0 {
				read = append(read, partHost)
			}
		}
		for _, condition := range rule.GetWhen() {
			if name, is := strings.CutPrefix(condition.GetKey(), "request.headers["); is {
				read = append(read, headerPart(strings.TrimSuffix(name, "]")))
			}
		}
	}
	return read
}
