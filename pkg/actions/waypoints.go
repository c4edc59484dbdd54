package actions

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// waypointReady: the Gateway is programmed as it is, has an address, and every
// replica that istiod runs for it is available and among its endpoints. A waypoint
// without an address is bypassed, and one without endpoints makes calls fail,
// while its Gateway may say Programmed all the same.
func (r *Runner) waypointReady(snapshot *mesh.Snapshot, reference v1alpha1.ObjectReference) (verdict, error) {
	gateway, found := snapshot.Gateway(reference.Namespace, reference.Name)
	if !found {
		return verdict{}, fmt.Errorf("%s is gone: somebody has deleted it", reference)
	}
	if text := unprogrammed(gateway); text != "" {
		return verdictOn(reference, text), nil
	}
	deployments := deploymentsOf(snapshot, reference)
	if len(deployments) == 0 {
		return verdictOn(reference, "has no Deployment yet"), nil
	}
	wanted := 1
	var references []v1alpha1.ObjectReference
	for _, deployment := range deployments {
		references, wanted = append(references, deployment.Reference), max(wanted, int(deployment.Replicas))
	}
	result, _, err := r.rollouts(snapshot, references)
	if state := snapshot.WaypointState(gateway); err == nil && len(result.missing) == 0 && state.ReadyEndpoints < wanted {
		return verdictOn(reference, fmt.Sprintf("has %d of %d ready endpoints", state.ReadyEndpoints, wanted)), nil
	}
	return result, err
}

// unprogrammed says what a Gateway's status lacks; nothing where it says that
// istiod has taken up the Gateway as it is.
func unprogrammed(gateway gatewayv1.Gateway) string {
	programmed := meta.FindStatusCondition(gateway.Status.Conditions, string(gatewayv1.GatewayConditionProgrammed))
	switch {
	case programmed == nil || programmed.ObservedGeneration != gateway.Generation:
		return "is not taken up by istiod yet"
	case programmed.Status != metav1.ConditionTrue:
		return "is not programmed: " + checks.Saying(*programmed)
	case len(gateway.Status.Addresses) == 0:
		return "has no address yet"
	default:
		return ""
	}
}

// deploymentsOf are the Deployments that istiod runs for a Gateway.
func deploymentsOf(snapshot *mesh.Snapshot, gateway v1alpha1.ObjectReference) []mesh.Workload {
	return slices.DeleteFunc(slices.Clone(snapshot.Workloads(gateway.Namespace)), func(workload mesh.Workload) bool {
		return workload.Reference.Kind != mesh.KindDeployment ||
			workload.Template.Labels[label.IoK8sNetworkingGatewayGatewayName.Name] != gateway.Name
	})
}

// objectGone: the object does not exist, nor do pods of a Gateway, which may be
// draining.
func objectGone(snapshot *mesh.Snapshot, reference v1alpha1.ObjectReference) (verdict, error) {
	if _, found := snapshot.Object(reference); found {
		return verdictOn(reference, "is still there"), nil
	}
	var result verdict
	if reference.Kind == mesh.KindGateway {
		for _, pod := range snapshot.PodsOnceOf(reference.Namespace, label.IoK8sNetworkingGatewayGatewayName.Name, reference.Name) {
			result.missing = append(result.missing, fmt.Sprintf("%s still runs for %s", pod, reference))
		}
	}
	return result, nil
}

// waypointBoundTo: istiod has bound a Service to the waypoint that it is to use,
// or a policy to its waypoint.
func waypointBoundTo(snapshot *mesh.Snapshot, reference v1alpha1.ObjectReference) (verdict, error) {
	object, err := existing(snapshot, reference)
	switch {
	case err != nil:
		return verdict{}, err
	case isPolicy(reference):
		return verdictOn(reference, checks.Unaccepted(snapshot, reference, object, true)), nil
	default:
		return verdictOn(reference, unbound(snapshot, reference, object)), nil
	}
}

// waypointUnbound: istiod has bound a Service to no other waypoint than the one
// that its labels name now, which mostly is none.
func waypointUnbound(snapshot *mesh.Snapshot, reference v1alpha1.ObjectReference) (verdict, error) {
	object, found := snapshot.Object(reference)
	bound := checks.ConditionOf(object, checks.ConditionWaypointBound)
	if !found || bound == nil || bound.Status != metav1.ConditionTrue {
		return verdict{}, nil
	}
	if in, name, named := waypointNamed(snapshot, reference, object); named && mentions(bound.Message, in+"/"+name) {
		return verdict{}, nil
	}
	return verdictOn(reference, "still uses a waypoint: "+bound.Message), nil
}

// unbound says what keeps a Service from its waypoint.
func unbound(snapshot *mesh.Snapshot, reference v1alpha1.ObjectReference, object mesh.Object) string {
	in, name, named := waypointNamed(snapshot, reference, object)
	if !named {
		return "names no waypoint: somebody has changed its labels"
	}
	bound := checks.ConditionOf(object, checks.ConditionWaypointBound)
	switch {
	case bound == nil:
		return "is not bound to waypoint " + in + "/" + name + " yet"
	case bound.Status != metav1.ConditionTrue:
		return "is not bound to waypoint " + in + "/" + name + ": " + checks.Saying(*bound)
	case !mentions(bound.Message, in+"/"+name):
		return "is bound to another waypoint than " + in + "/" + name + " still: " + bound.Message
	default:
		return ""
	}
}

// waypointNamed is the waypoint that the labels of a Service or ServiceEntry
// name, or those of its namespace, as far as that is known here.
func waypointNamed(snapshot *mesh.Snapshot, reference v1alpha1.ObjectReference, object mesh.Object) (in, name string, named bool) {
	namespace, found := snapshot.Namespace(reference.Namespace)
	if !found {
		namespace.Name = reference.Namespace
	}
	return mesh.NamedWaypoint(labelsOf(object), namespace)
}

// mentions says whether a message names a waypoint. It is looked for as a word:
// one name can be the beginning of another.
func mentions(message, waypoint string) bool {
	return slices.ContainsFunc(strings.Fields(message), func(word string) bool { return strings.TrimRight(word, ".,;") == waypoint })
}
