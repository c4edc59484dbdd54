package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// waypointSources are what tells which waypoints there are and who uses them.
func waypointSources(more ...string) []string {
	return append(append(workloadKinds(), "Namespace", mesh.KindService, mesh.KindServiceEntry, mesh.KindWorkloadEntry, mesh.KindGateway), more...)
}

func gatewayReference(gateway gatewayv1.Gateway) *v1alpha1.ObjectReference {
	return &v1alpha1.ObjectReference{
		APIVersion: gatewayv1.GroupVersion.String(), Kind: mesh.KindGateway, Namespace: gateway.Namespace, Name: gateway.Name,
	}
}

func waypointMissing() Check {
	return Check{
		ID: "waypoint-missing", Category: CategoryRouting, Severity: v1alpha1.SeverityError,
		About: "Looks for labels of this namespace and of what is in it that name a waypoint which does not exist.",
		Why: "ztunnel sends the traffic straight to the pods then, past every policy and route of the waypoint that was meant; a label of the " +
			"object itself does not fall back to the namespace's waypoint (istio pilot/pkg/serviceregistry/ambient/waypoints.go, " +
			"fetchWaypointForTarget). A canary that is missing leaves all traffic to the other waypoint.",
		Needs: waypointSources(), Passed: "every waypoint that is named here exists",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, user := range subject.Snapshot.WaypointUsers(subject.Namespace) {
				if _, found := subject.Snapshot.Gateway(user.Namespace, user.Name); found {
					continue
				}
				finding := Finding{
					Status: v1alpha1.StatusFail, Object: reference(user.Object), Field: user.Field,
					Message: fmt.Sprintf("waypoint %s/%s does not exist: ambient callers would go past it, straight to the pods", user.Namespace, user.Name),
					Remedy:  makeAgain(subject, user),
				}
				switch {
				case subject.deployed(user.Namespace, user.Name) && !subject.ambient():
					// Nothing goes past it yet.
					continue
				case subject.deployed(user.Namespace, user.Name):
					finding.Status, finding.Remedy = v1alpha1.StatusWarn, "kubectl ambient enroll: this plan makes it again"
					finding.Message = fmt.Sprintf("waypoint %s/%s does not exist any more: until the plan has made it again, ambient callers go past it, straight to the pods",
						user.Namespace, user.Name)
				case user.Canary:
					finding.Status, finding.Remedy = v1alpha1.StatusWarn, "remove the label"
					finding.Message = fmt.Sprintf("waypoint %s/%s does not exist: the canary gets no traffic", user.Namespace, user.Name)
				case user.Name == "":
					finding.Message = "the label names no waypoint: ambient callers would go straight to the pods"
					finding.Remedy = "name a waypoint, or remove the label; none says that there should be no waypoint"
				}
				findings = append(findings, finding)
			}
			return findings
		},
	}
}

// makeAgain is how a waypoint that is named and does not exist comes back.
func makeAgain(subject Subject, user mesh.WaypointUser) string {
	if !subject.ambient() {
		return fmt.Sprintf("istioctl waypoint apply -n %s --name %s, or remove the label", user.Namespace, user.Name)
	}
	return "kubectl ambient enroll -n " + subject.Namespace.Name + " --resume makes it again if a run has made it; else istioctl waypoint apply -n " +
		user.Namespace + " --name " + user.Name + ", or remove the label"
}

// ambient says whether the namespace is labelled for ambient mode.
func (s Subject) ambient() bool {
	return s.Namespace.Labels[label.IoIstioDataplaneMode.Name] == mesh.DataplaneAmbient
}

// usedWaypoints are the Gateways that the namespace and what is in it name, each
// with those who do.
func usedWaypoints(subject Subject) ([]gatewayv1.Gateway, map[string][]mesh.WaypointUser) {
	var gateways []gatewayv1.Gateway
	users := map[string][]mesh.WaypointUser{}
	for _, user := range subject.Snapshot.WaypointUsers(subject.Namespace) {
		gateway, found := subject.Snapshot.Gateway(user.Namespace, user.Name)
		if !found {
			continue
		}
		key := gateway.Namespace + "/" + gateway.Name
		if len(users[key]) == 0 {
			gateways = append(gateways, gateway)
		}
		users[key] = append(users[key], user)
	}
	return gateways, users
}

func waypointUnready() Check {
	return Check{
		ID: "waypoint-unready", Category: CategoryRouting, Severity: v1alpha1.SeverityError,
		About: "Looks at whether the waypoints that are named here can take traffic: by their status and their ready endpoints.",
		Why: "A waypoint counts once its Gateway has an address; until then ztunnel goes past it (istio " +
			"pilot/pkg/serviceregistry/ambient/waypoints.go). One that had an address and has no ready endpoint now makes calls fail, while the " +
			"Gateway may still say Programmed.",
		Needs: waypointSources(mesh.WaypointEndpoints), Passed: "every waypoint that is named here is ready",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			gateways, users := usedWaypoints(subject)
			for _, gateway := range gateways {
				if subject.deployed(gateway.Namespace, gateway.Name) {
					// The plan waits for it.
					continue
				}
				by := some(userNames(users[gateway.Namespace+"/"+gateway.Name]))
				state := subject.Snapshot.WaypointState(gateway)
				finding := Finding{
					Status: v1alpha1.StatusFail, Object: gatewayReference(gateway),
					Remedy: fmt.Sprintf("kubectl -n %s describe gateway %s, and look at the pods labelled %s=%s",
						gateway.Namespace, gateway.Name, label.IoK8sNetworkingGatewayGatewayName.Name, gateway.Name),
				}
				switch {
				case len(gateway.Status.Addresses) == 0:
					finding.Field = "status.addresses"
					finding.Message = "it was never ready: ambient callers go past it, straight to the pods of " + by
				case state.ReadyEndpoints == 0:
					finding.Field = "status"
					finding.Message = "it has no ready endpoint: calls of ambient callers fail to " + by
				case !state.Programmed:
					finding.Field = "status.conditions[Programmed]"
					finding.Message = "it is not programmed, so that what it does may be out of date, for " + by
				default:
					continue
				}
				findings = append(findings, finding)
			}
			return findings
		},
	}
}

func userNames(users []mesh.WaypointUser) []string {
	var names []string
	for _, user := range users {
		if name := user.Object.Kind + " " + user.Object.Name; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func waypointUnused() Check {
	return Check{
		ID: "waypoint-unused", Category: CategoryRouting, Severity: v1alpha1.SeverityWarning,
		About: "Looks for waypoints of this namespace that no label anywhere in the mesh names.",
		Why: "Nothing goes through such a waypoint, so that no policy or route that is attached to it has any effect, and it takes resources all " +
			"the same.",
		Needs: waypointSources(mesh.KindGatewayClass, mesh.PodsMeshWide), Passed: "every waypoint of the namespace is used",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, gateway := range subject.Snapshot.Gateways(subject.Namespace.Name) {
				if !subject.Snapshot.IsWaypoint(gateway) || subject.Snapshot.Traffic(gateway) == mesh.TrafficNone ||
					subject.Snapshot.WaypointUsed(gateway.Namespace, gateway.Name) {
					continue
				}
				findings = append(findings, Finding{
					Status: v1alpha1.StatusWarn, Object: gatewayReference(gateway), Field: "metadata.name",
					Message: "no label " + label.IoIstioUseWaypoint.Name + " names this waypoint: nothing goes through it",
					Remedy:  "label what should go through it, or delete it",
				})
			}
			return findings
		},
	}
}

func waypointShape() Check {
	return Check{
		ID: "waypoint-shape", Category: CategoryRouting, Severity: v1alpha1.SeverityError,
		About: "Looks at whether the waypoints of this namespace, and those that are named here, are made so that they take the traffic they are named for.",
		Why: "istiod takes any Gateway with an address for the waypoint that a label names, and ztunnel calls it on port 15008: one without that " +
			"listener, or of another class, does not answer. A waypoint that is not for the kind of traffic, or whose listener does not admit the " +
			"namespace, is passed over, policies and all (istio pilot/pkg/serviceregistry/ambient/waypoints.go). Nothing in istiod " +
			"reads the annotation that once made a waypoint one for a service account.",
		Needs: waypointSources(mesh.KindGatewayClass), Passed: "every waypoint is made for what it is used for",
		Run: func(subject Subject) []Finding {
			gateways, users := usedWaypoints(subject)
			for _, gateway := range subject.Snapshot.Gateways(subject.Namespace.Name) {
				_, hbone := mesh.HBONEListener(gateway)
				named := len(users[gateway.Namespace+"/"+gateway.Name]) > 0
				if !named && (subject.Snapshot.IsWaypoint(gateway) || hbone && !slices.Contains(otherTunnels, string(gateway.Spec.GatewayClassName))) {
					gateways = append(gateways, gateway)
				}
			}
			var findings []Finding
			for _, gateway := range gateways {
				findings = append(findings, shapeFindings(subject, gateway, users[gateway.Namespace+"/"+gateway.Name])...)
			}
			return findings
		},
	}
}

// otherTunnels are the classes of Gateways with an HBONE listener that are no
// waypoints.
var otherTunnels = []string{"istio-east-west", "istio-remote"}

// serviceAccountAnnotation made a waypoint one for a service account, before
// Istio 1.22.
const serviceAccountAnnotation = "istio.io/for-service-account"

func shapeFindings(subject Subject, gateway gatewayv1.Gateway, users []mesh.WaypointUser) []Finding {
	var findings []Finding
	say := func(status v1alpha1.CheckStatus, field, message, remedy string) {
		findings = append(findings, Finding{Status: status, Object: gatewayReference(gateway), Field: field, Message: message, Remedy: remedy})
	}
	// What nobody uses breaks nothing.
	broken := v1alpha1.StatusFail
	if len(users) == 0 {
		broken = v1alpha1.StatusWarn
	}
	snapshot, class := subject.Snapshot, string(gateway.Spec.GatewayClassName)
	switch {
	case snapshot.IsWaypoint(gateway):
	case class == "istio" || slices.Contains(otherTunnels, class):
		say(broken, "spec.gatewayClassName", "class "+class+" is not that of waypoints: no waypoint answers here", "set the class "+mesh.WaypointClass)
	default:
		say(v1alpha1.StatusWarn, "spec.gatewayClassName", "class "+class+" is not Istio's: whether it acts as a waypoint cannot be seen", "")
	}
	if _, hbone := mesh.HBONEListener(gateway); !hbone && !snapshot.BoundOtherwise(gateway) {
		say(broken, "spec.listeners", fmt.Sprintf("no listener has protocol %s on port %d, where ztunnel calls waypoints", mesh.ProtocolListenerHBONE, mesh.PortHBONE),
			fmt.Sprintf("add the listener {name: mesh, port: %d, protocol: %s}", mesh.PortHBONE, mesh.ProtocolListenerHBONE))
	}
	if account := gateway.Annotations[serviceAccountAnnotation]; account != "" {
		say(v1alpha1.StatusWarn, "metadata.annotations["+serviceAccountAnnotation+"]",
			"a waypoint is no longer for one service account: it takes the traffic of whatever names it, not that of "+account+" alone",
			"remove the annotation, and label what should go through the waypoint")
	}
	traffic := snapshot.Traffic(gateway)
	field := "metadata.labels[" + label.IoIstioWaypointFor.Name + "]"
	if !slices.Contains([]string{mesh.TrafficService, mesh.TrafficWorkload, mesh.TrafficAll, mesh.TrafficNone}, traffic) {
		say(broken, field, fmt.Sprintf("%q is no kind of traffic: nothing goes through the waypoint", traffic), "set service, workload or all")
		return findings
	}
	if refused := slices.DeleteFunc(slices.Clone(users), func(user mesh.WaypointUser) bool { return mesh.Takes(traffic, user.Traffic) }); len(refused) > 0 {
		say(v1alpha1.StatusFail, field, fmt.Sprintf("a waypoint for traffic %q passes over %s, which names it", traffic, some(userNames(refused))),
			"set "+mesh.TrafficAll+", or name another waypoint")
	}
	if len(users) > 0 && !mesh.AdmitsFrom(gateway, subject.Namespace) {
		say(v1alpha1.StatusFail, "spec.listeners[].allowedRoutes.namespaces",
			"it does not admit namespace "+subject.Namespace.Name+", so that "+some(userNames(users))+" goes past it",
			"let the listener's allowedRoutes.namespaces admit the namespace")
	}
	return findings
}

// waypointNeeds is about what a waypoint has to be made for.
func waypointNeeds() Check {
	return Check{
		ID: "waypoint-needs", Category: CategoryRouting, Severity: v1alpha1.SeverityWarning,
		About: "Names each service of this namespace that needs a waypoint and has none, with every reason.",
		Why: "A waypoint does for a service what sidecars did on layer 7: policies on requests, tokens, routes, retries, HTTP telemetry, extensions, " +
			"and a choice of endpoint for each request instead of for each connection (docs: Ambient mode, Use waypoint proxies). What needs one " +
			"for certain is refused by the check that is about it; this one says for which services. Ports of gRPC and HTTP/2 are a hint only: " +
			"their long connections stay with one endpoint.",
		Needs:  needsOfWaypoints(),
		Passed: "no service of this namespace needs a waypoint that it does not have",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, need := range subject.Snapshot.WaypointNeeds(subject.Namespace) {
				if _, has := subject.Snapshot.WaypointOf(need.Labels, subject.Namespace); has || subject.fronted(need.Service) || subject.direct(need.Service) {
					continue
				}
				finding := Finding{
					Status: v1alpha1.StatusWarn, Object: reference(need.Service), Field: "metadata.labels[" + label.IoIstioUseWaypoint.Name + "]",
					Message: needMessage(need),
					Remedy:  giveWaypoint(need.Service),
				}
				if field, why := unaddressed(subject, need.Service); field != "" {
					finding.Field, finding.Remedy = field, "give it an address in spec.addresses that the hosts resolve to"
					finding.Message += "; no call would go through one: " + why
				}
				findings = append(findings, finding)
			}
			return findings
		},
	}
}

// unaddressed says why nothing would go through a waypoint of a ServiceEntry.
func unaddressed(subject Subject, service v1alpha1.ObjectReference) (field, why string) {
	for _, entry := range subject.Snapshot.ServiceEntries() {
		if service == mesh.ServiceEntryReference(entry.Namespace, entry.Name) {
			return subject.Snapshot.Unaddressed(entry)
		}
	}
	return "", ""
}

// giveWaypoint is how to have a plan give a service a waypoint.
func giveWaypoint(service v1alpha1.ObjectReference) string {
	if service.Kind == mesh.KindService {
		return "--waypoint-add " + service.Name + " gives it one"
	}
	return fmt.Sprintf("kubectl -n %s label %s %s %s=NAME, of a waypoint that is ready",
		service.Namespace, strings.ToLower(service.Kind), service.Name, label.IoIstioUseWaypoint.Name)
}

func needMessage(need mesh.ServiceNeed) string {
	var reasons []string
	for _, reason := range need.Reasons {
		text := string(reason.Kind)
		if reason.Object != need.Service {
			text += " by " + reason.Object.String()
		}
		reasons = append(reasons, text+" at "+reason.Field)
	}
	if need.OnlyHints() {
		return "may do better with a waypoint: " + some(reasons)
	}
	return fmt.Sprintf("needs a waypoint, for %s: %s", count(len(reasons), "reason"), some(reasons))
}
