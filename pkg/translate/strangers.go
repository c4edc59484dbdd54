package translate

import (
	"fmt"
	"slices"

	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// strangers are pods of other namespaces that EndpointSlices of somebody's own put
// behind a service which gets a waypoint: the waypoint would call them by its own
// identity, and their policies, which are not at hand, do not know of it.
func (t *translator) strangers() {
	for _, service := range t.fronted {
		if !service.given {
			continue
		}
		for _, endpoint := range t.written[service.reference] {
			in := endpoint.Pod.Namespace
			if in == t.namespace.Name || !slices.ContainsFunc(t.snapshot.AuthorizationPolicies(), func(policy *clientsecurityv1.AuthorizationPolicy) bool {
				return policy.Namespace == in
			}) {
				continue
			}
			t.problem(endpoint.Slice, "endpoints", fmt.Sprintf("it puts Pod %s/%s behind %s, which gets a waypoint: the policies of namespace %s would see the waypoint call, not its callers",
				in, endpoint.Pod.Name, service.reference, in), "move namespace "+in+" with --include-namespaces, or leave the Service out by --waypoint-skip")
			break
		}
	}
}
