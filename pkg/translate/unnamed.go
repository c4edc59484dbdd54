package translate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	clientnetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// UnnamedSubsets are subsets of a DestinationRule that no route names.
type UnnamedSubsets struct {
	Object v1alpha1.ObjectReference
	// Names are the subsets, Left the places of those that are named, in order.
	Names []string
	Left  []int
	// Nothing is true where the rule says nothing without them, and keeps no other rule
	// from its host either.
	Nothing bool
	// Kept says why they have to stay all the same; it is empty where nothing is known
	// that they are still needed for.
	Kept string
}

// SubsetsUnnamed are those of the DestinationRules of a namespace. A subset by itself
// does nothing: it is what routes, and little else, choose by its name.
func SubsetsUnnamed(snapshot *mesh.Snapshot, namespace string) []UnnamedSubsets {
	var unnamed []UnnamedSubsets
	for _, rule := range snapshot.DestinationRules() {
		if rule.Namespace != namespace {
			continue
		}
		one := UnnamedSubsets{Object: destinationRuleReference(rule)}
		for i, subset := range rule.Spec.GetSubsets() {
			if namedByRoutes(snapshot, rule, subset.GetName()) {
				one.Left = append(one.Left, i)
			} else {
				one.Names = append(one.Names, subset.GetName())
			}
		}
		if len(one.Names) == 0 {
			continue
		}
		one.Nothing = len(one.Left) == 0 && rule.Spec.GetTrafficPolicy() == nil && !keepsOthers(snapshot, rule)
		one.Kept = chosenOtherwise(snapshot, rule, one.Names)
		unnamed = append(unnamed, one)
	}
	return unnamed
}

// namedByRoutes says whether any VirtualService of the mesh, of gateways included, may
// choose a subset of a rule. Which namespaces it is exported to is not asked: one that
// cannot see the rule today may tomorrow.
func namedByRoutes(snapshot *mesh.Snapshot, rule *clientnetworkingv1.DestinationRule, subset string) bool {
	return slices.ContainsFunc(snapshot.VirtualServices(), func(virtualService *clientnetworkingv1.VirtualService) bool {
		return slices.ContainsFunc(destinationsOf(&virtualService.Spec), func(destination *networkingv1alpha3.Destination) bool {
			return destination.GetSubset() == subset && mayMean(destination.GetHost(), virtualService.Namespace, rule.Spec.GetHost(), rule.Namespace)
		})
	})
}

// mayMean says whether two hosts, written in these namespaces, may have a name in common.
// One without a dot is a Service of the namespace that it is written in (istio
// pilot/pkg/model/config.go, ResolveShortnameToFQDN); of others
// the first two parts tell Services apart, and what comes behind is not looked at.
func mayMean(a, aNamespace, b, bNamespace string) bool {
	return strings.HasPrefix(a, "*") || strings.HasPrefix(b, "*") || slices.Equal(beginning(a, aNamespace), beginning(b, bNamespace))
}

func beginning(host, namespace string) []string {
	parts := strings.Split(strings.ToLower(host), ".")
	if len(parts) == 1 {
		return []string{parts[0], namespace}
	}
	return parts[:2]
}

// destinationsOf are what a VirtualService sends traffic to.
func destinationsOf(spec *networkingv1alpha3.VirtualService) []*networkingv1alpha3.Destination {
	var all []*networkingv1alpha3.Destination
	for _, http := range spec.GetHttp() {
		for _, route := range http.GetRoute() {
			all = append(all, route.GetDestination())
		}
		all = append(all, http.GetMirror())
		for _, mirror := range http.GetMirrors() {
			all = append(all, mirror.GetDestination())
		}
	}
	for _, tcp := range spec.GetTcp() {
		for _, route := range tcp.GetRoute() {
			all = append(all, route.GetDestination())
		}
	}
	for _, tls := range spec.GetTls() {
		for _, route := range tls.GetRoute() {
			all = append(all, route.GetDestination())
		}
	}
	return all
}

// keepsOthers says whether another rule may be about the same host: Istio goes by one
// for each host, of the most specific name and the nearest namespace (istio
// pilot/pkg/model/push_context.go, destinationRule), so that without this one the other
// would come to hold.
func keepsOthers(snapshot *mesh.Snapshot, rule *clientnetworkingv1.DestinationRule) bool {
	return slices.ContainsFunc(snapshot.DestinationRules(), func(other *clientnetworkingv1.DestinationRule) bool {
		return other != rule && mayMean(other.Spec.GetHost(), other.Namespace, rule.Spec.GetHost(), rule.Namespace)
	})
}

// chosenOtherwise says what else than a route may choose subsets of a rule by their
// name, or write them.
func chosenOtherwise(snapshot *mesh.Snapshot, rule *clientnetworkingv1.DestinationRule, names []string) string {
	for _, rollout := range snapshot.ArgoRollouts(rule.Namespace) {
		if slices.Contains(rollout.Routing, mesh.KindDestinationRule+" "+rule.Name) {
			return "Rollout " + rollout.Reference.Name + " writes its subsets"
		}
	}
	if len(rule.OwnerReferences) > 0 {
		return fmt.Sprintf("it is made by %s %s, which knows what for", rule.OwnerReferences[0].Kind, rule.OwnerReferences[0].Name)
	}
	for _, extension := range snapshot.Extensions() {
		if extension.Reference.Kind != mesh.KindEnvoyFilter {
			continue
		}
		// Whatever cannot be written as JSON has not been read from any.
		text, _ := json.Marshal(extension.Object["spec"])
		for _, name := range names {
			if strings.Contains(string(text), name) {
				return fmt.Sprintf("%s may mean its subset %s", extension.Reference, name)
			}
		}
	}
	return ""
}

func destinationRuleReference(rule *clientnetworkingv1.DestinationRule) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: networkingVersion, Kind: mesh.KindDestinationRule, Namespace: rule.Namespace, Name: rule.Name}
}
