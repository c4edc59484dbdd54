package plugin

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/usage"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// The names of the roles that the project recommends.
const (
	ViewerRole   = "kubectl-ambient-viewer"
	OperatorRole = "kubectl-ambient-operator"
	// CordonRole is apart from the operator's: who may change nodes may keep every pod of
	// the cluster from them.
	CordonRole = "kubectl-ambient-cordon"
	ProberRole = "kubectl-ambient-prober"
	CanaryRole = "kubectl-ambient-canary"
	// LogRole is to be bound in ztunnel's namespace only: logs elsewhere are nobody's
	// business here.
	LogRole = "kubectl-ambient-ztunnel-log"
)

// Roles are the roles that the project recommends: for those who look, which is to
// be bound for the whole cluster, and for those who migrate, which may be bound in
// single namespaces besides, as may that for those who probe; for those who have nodes
// cordoned, which is for the whole cluster again; and for ztunnel's log, which is to be
// bound in its namespace. None of them reads Secrets.
func Roles() []rbacv1.ClusterRole {
	return []rbacv1.ClusterRole{
		clusterRole(ViewerRole, viewerNeeds()), clusterRole(OperatorRole, operatorNeeds()),
		clusterRole(CordonRole, attributes("", "nodes", cordonVerbs...)),
		clusterRole(ProberRole, proberNeeds("")), clusterRole(CanaryRole, slices.Concat(canaryNeeds(), inCanaryNeeds(""))),
		clusterRole(LogRole, attributes("", "pods/log", "get")),
	}
}

func clusterRole(name string, needs []authorizationv1.ResourceAttributes) rbacv1.ClusterRole {
	return rbacv1.ClusterRole{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"},
		ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rulesOf(needs),
	}
}

// missingRoles writes the smallest roles that allow what somebody may not do in a run
// in a namespace, and where each is to be bound. What is missing in the namespace itself
// and for the cluster are ClusterRoles, each of its own: bound where it belongs, neither
// allows more than is missing. What is missing in another namespace is a Role there.
func missingRoles(namespace string, missing needs) (string, error) {
	in := map[string]needs{}
	for _, need := range missing {
		in[need.Namespace] = append(in[need.Namespace], need)
	}
	var where []string
	var documents []string
	for _, place := range slices.Sorted(maps.Keys(in)) {
		var role any
		switch place {
		case namespace:
			role = clusterRole("kubectl-ambient-"+namespace, in[place])
			where = append(where, "a RoleBinding in namespace "+namespace+" to a role that allows it")
		case "":
			role = clusterRole("kubectl-ambient-"+namespace+"-cluster", in[place])
			where = append(where, "a ClusterRoleBinding to a role that allows it")
		default:
			role = rbacv1.Role{
				TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "Role"},
				ObjectMeta: metav1.ObjectMeta{Namespace: place, Name: "kubectl-ambient-" + namespace}, Rules: rulesOf(in[place]),
			}
			where = append(where, "a RoleBinding in namespace "+place+" to a role that allows it")
		}
		data, err := yaml.Marshal(role)
		if err != nil {
			return "", fmt.Errorf("write the role that is missing: %w", err)
		}
		documents = append(documents, string(data))
	}
	return strings.Join(where, ", and ") + ", such as\n\n" + strings.Join(documents, "---\n"), nil
}

// viewerNeeds are what status, plan, verify, snapshot and history need.
func viewerNeeds() []authorizationv1.ResourceAttributes {
	needs := append(attributes("", "pods/portforward", "create"), attributes(usage.Group, "pods", "list")...)
	for _, resource := range mesh.Resources() {
		needs = append(needs, attributes(resource.Group, resource.Resource, "get", "list", "watch")...)
	}
	return needs
}

// operatorNeeds are what enroll, simplify and rollback need besides.
func operatorNeeds() []authorizationv1.ResourceAttributes {
	return slices.Concat(
		attributes("", "namespaces", "patch"),
		attributes("", "pods", "patch", "delete"),
		attributes("", "pods/eviction", "create"),
		attributes("", "pods/log", "get"),
		attributes("", "services", "patch"),
		attributes("", "configmaps", "create", "patch", "update", "delete"),
		attributes("", "events", "create", "list"),
		attributes("coordination.k8s.io", "leases", "get", "create", "update", "delete"),
		attributes("apps", "deployments", "patch"),
		attributes("apps", "statefulsets", "patch"),
		attributes("apps", "daemonsets", "patch"),
		attributes("apps", "replicasets", "patch"),
		attributes("batch", "cronjobs", "patch"),
		attributes("argoproj.io", "rollouts", "patch"),
		attributes("gateway.networking.k8s.io", "gateways", "create", "patch", "delete"),
		attributes("security.istio.io", "authorizationpolicies", "create", "patch", "delete"),
		attributes("security.istio.io", "requestauthentications", "create", "patch", "delete"),
		attributes("telemetry.istio.io", "telemetries", "create", "patch", "delete"),
		attributes("extensions.istio.io", "wasmplugins", "create", "patch", "delete"),
		attributes("extensions.istio.io", "trafficextensions", "create", "patch", "delete"),
		attributes("networking.istio.io", "envoyfilters", "create", "patch", "delete"),
		attributes("networking.istio.io", "serviceentries", "patch"),
		attributes("networking.istio.io", "sidecars", "create", "delete"),
		attributes("networking.istio.io", "virtualservices", "create", "delete"),
		attributes("networking.istio.io", "destinationrules", "create", "patch", "delete"),
	)
}

// attributes ask for verbs on a resource, or on a part of one behind a slash.
func attributes(group, resource string, verbs ...string) []authorizationv1.ResourceAttributes {
	var all []authorizationv1.ResourceAttributes
	name, part, _ := strings.Cut(resource, "/")
	for _, verb := range verbs {
		all = append(all, authorizationv1.ResourceAttributes{Group: group, Resource: name, Subresource: part, Verb: verb})
	}
	return all
}

// rulesOf are the fewest rules that allow what is needed and nothing else: one for
// each set of verbs in a group.
func rulesOf(needs []authorizationv1.ResourceAttributes) []rbacv1.PolicyRule {
	type resource struct{ group, name string }
	verbs := map[resource][]string{}
	for _, need := range needs {
		name := need.Resource
		if need.Subresource != "" {
			name += "/" + need.Subresource
		}
		of := resource{need.Group, name}
		if !slices.Contains(verbs[of], need.Verb) {
			verbs[of] = append(verbs[of], need.Verb)
		}
	}
	type kind struct{ group, verbs string }
	rules := map[kind]*rbacv1.PolicyRule{}
	for _, of := range slices.SortedFunc(maps.Keys(verbs), func(a, b resource) int { return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.name, b.name)) }) {
		slices.SortFunc(verbs[of], func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
		key := kind{of.group, strings.Join(verbs[of], ",")}
		if rules[key] == nil {
			rules[key] = &rbacv1.PolicyRule{APIGroups: []string{of.group}, Verbs: verbs[of]}
		}
		rules[key].Resources = append(rules[key].Resources, of.name)
	}
	var sorted []rbacv1.PolicyRule
	for _, rule := range rules {
		sorted = append(sorted, *rule)
	}
	slices.SortFunc(sorted, func(a, b rbacv1.PolicyRule) int {
		return cmp.Or(cmp.Compare(a.APIGroups[0], b.APIGroups[0]), cmp.Compare(a.Resources[0], b.Resources[0]))
	})
	return sorted
}

// rank is the customary order of verbs.
func rank(verb string) int {
	return slices.Index([]string{"get", "list", "watch", "create", "update", "patch", "delete"}, verb)
}
