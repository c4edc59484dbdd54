package translate

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"google.golang.org/protobuf/proto"
	"istio.io/api/label"
	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

// headlessService is a headless Service whose pods are to have a waypoint of their
// own. Such a Service has no address by which ztunnel could tell calls to it from
// others to its pods: only a waypoint that the pods name themselves takes them
// (ztunnel src/proxy/outbound.rs, build_request; istio
// pilot/pkg/serviceregistry/ambient/waypoints.go, fetchWaypointForWorkload).
type headlessService struct {
	need  mesh.ServiceNeed
	front *fronted
}

func isHeadless(service *corev1.Service) bool {
	return mesh.Headless(*service) && service.Labels[label.GatewayManaged.Name] == ""
}

// placeHeadless decides whether the pods of a headless Service get a waypoint. The
// Service's own labels say nothing of its pods.
func (t *translator) placeHeadless(need mesh.ServiceNeed, service *corev1.Service) {
	if t.options.RoutingOnly {
		return
	}
	front := t.front(need, service)
	front.pods = slices.DeleteFunc(front.pods, func(one pods) bool { return one.proxy || one.stays })
	carried, lost := t.atPods(need)
	added, skipped := slices.Contains(t.options.Add, service.Name), slices.Contains(t.options.Skip, service.Name)
	own := t.ownNamed(front.pods)
	switch {
	case skipped && own != "":
		t.err = errors.Join(t.err, &OptionError{Text: "the pods of Service " + service.Name + " name waypoint " + own + " already and it cannot be skipped: take the label out of their template first"})
	case skipped:
		t.giveUp(need, front, "it is skipped")
	case len(front.pods) == 0 && added:
		t.err = errors.Join(t.err, &OptionError{Text: "Service " + service.Name + " is headless and leads to no pods that ztunnel captures: nothing of it can have a waypoint"})
	case len(front.pods) == 0:
		t.giveUp(need, front, "no waypoint can stand in front of it: it is headless, and no pods are behind it that ztunnel captures")
	case len(carried.Reasons) > 0 || added || own != "":
		t.loseNeed(lost, "it is headless: calls to the addresses of pods follow no routes")
		t.headless = append(t.headless, headlessService{need: carried, front: front})
	default:
		t.giveUp(need, front, "it is headless: calls to the addresses of pods follow no routes")
	}
	t.optOut(need, service, t.options.Scope == ScopeNamespace && t.anyNeed())
}

// ownNamed is a waypoint that a run has made for the namespace and that pods name:
// calls go through it, needed or not.
func (t *translator) ownNamed(behind []pods) string {
	for _, name := range t.waypointsNamed(behind) {
		if gateway, found := t.snapshot.Gateway(name.Namespace, name.Name); found && t.own(gateway) {
			return name.String()
		}
	}
	return ""
}

// atPods parts what a waypoint of the pods can do for a headless Service from what
// it cannot: route, choose an endpoint, and heed what is attached to the Service
// (istio pilot/pkg/networking/core/listener_waypoint.go: the chains for the addresses
// of pods belong to no Service).
func (t *translator) atPods(need mesh.ServiceNeed) (carried, lost mesh.ServiceNeed) {
	carried, lost = need, need
	carried.Reasons, lost.Reasons = nil, nil
	for _, reason := range need.Reasons {
		switch {
		case reason.Hint || t.oursAt(reason.Object):
		case reason.Kind == mesh.NeedRouting || reason.Kind == mesh.NeedBalancing || strings.HasPrefix(reason.Field, "spec.targetRef"):
			lost.Reasons = append(lost.Reasons, reason)
		default:
			carried.Reasons = append(carried.Reasons, reason)
		}
	}
	return carried, lost
}

// giveUp leaves a service without a waypoint, and says what is lost with that.
func (t *translator) giveUp(need mesh.ServiceNeed, front *fronted, why string) {
	if len(need.Reasons) > 0 && !need.OnlyHints() {
		t.skipped = append(t.skipped, front)
		t.loseNeed(need, why)
	}
}

// directWaypoints gives the pods of headless Services their waypoints: one for all
// Services that share any pods, since a pod names one waypoint.
func (t *translator) directWaypoints() {
	rest := t.headless
	for len(rest) > 0 {
		group, grown := []headlessService{rest[0]}, true
		rest = slices.Clone(rest[1:])
		for grown {
			grown = false
			rest = slices.DeleteFunc(rest, func(one headlessService) bool {
				shares := slices.ContainsFunc(group, func(of headlessService) bool { return sharePods(of.front.pods, one.front.pods) })
				if shares {
					group, grown = append(group, one), true
				}
				return shares
			})
		}
		t.directWaypoint(group)
	}
	slices.SortFunc(t.translation.Direct, func(a, b WorkloadWaypoint) int { return cmp.Compare(a.Name, b.Name) })
}

func sharePods(some, others []pods) bool {
	return slices.ContainsFunc(some, func(one pods) bool {
		return slices.ContainsFunc(others, func(other pods) bool { return one.name == other.name })
	})
}

// directWaypoint gives the pods of some headless Services their waypoint: the one
// that they name already, or a new one for them alone.
func (t *translator) directWaypoint(group []headlessService) {
	front := &fronted{direct: true}
	var direct WorkloadWaypoint
	for _, one := range group {
		direct.Services = append(direct.Services, one.need.Service)
		front.plain, front.read = append(front.plain, one.front.plain...), append(front.read, one.front.read...)
		for _, behind := range one.front.pods {
			if !sharePods(front.pods, []pods{behind}) {
				front.pods = append(front.pods, behind)
			}
		}
	}
	waypoint, why := t.waypointOfPods(front.pods, direct.Services[0].Name)
	if why != "" {
		for _, one := range group {
			t.giveUp(one.need, one.front, why)
		}
		return
	}
	direct.Waypoint = waypoint
	front.reference, front.waypoint = waypoint.Reference(), waypoint.Namespace+"/"+waypoint.Name
	direct.Labels = t.useLabels(waypoint.Namespace, waypoint.Name)
	for _, one := range front.pods {
		if one.template && one.rolls() {
			direct.Workloads = append(direct.Workloads, one.workload)
		}
	}
	t.unlabelled(front, direct)
	t.fronted = append(t.fronted, front)
	t.translation.Direct = append(t.translation.Direct, direct)
}

// rolls says whether a plan can change the template of pods.
func (p pods) rolls() bool {
	return p.workload.Kind != "" && p.workload.Kind != mesh.KindJob
}

// waypointOfPods is the waypoint that pods name, or are to name; why says what keeps
// it from deciding for them.
func (t *translator) waypointOfPods(behind []pods, service string) (waypoint Waypoint, why string) {
	generated := types.NamespacedName{
		Namespace: t.options.WaypointNamespace,
		Name:      boundedName(validation.DNS1035LabelMaxLength, t.options.Waypoint, service, t.namespace.Name),
	}
	names := t.waypointsNamed(behind)
	if len(names) > 1 {
		return waypoint, "its pods name different waypoints by label " + label.IoIstioUseWaypoint.Name
	}
	if len(names) == 1 && names[0] != generated {
		gateway, found := t.snapshot.Gateway(names[0].Namespace, names[0].Name)
		if !found || !t.own(gateway) || !mesh.Takes(t.snapshot.Traffic(gateway), mesh.TrafficWorkload) {
			return Waypoint{Namespace: names[0].Namespace, Name: names[0].Name}, t.whyNot(names[0], behind)
		}
		generated = names[0]
	}
	return Waypoint{Namespace: generated.Namespace, Name: generated.Name, Objects: t.dedicated(generated)}, ""
}

// waypointsNamed are the waypoints that pods name by labels that last: those of their
// template, or of a pod that nothing makes anew.
func (t *translator) waypointsNamed(behind []pods) []types.NamespacedName {
	var names []types.NamespacedName
	for _, one := range behind {
		name, set := one.labels[label.IoIstioUseWaypoint.Name]
		if !set || !one.template && one.workload.Kind != "" {
			continue
		}
		in := cmp.Or(one.labels[label.IoIstioUseWaypointNamespace.Name], t.namespace.Name)
		if of := (types.NamespacedName{Namespace: in, Name: name}); !slices.Contains(names, of) {
			names = append(names, of)
		}
	}
	return names
}

// whyNot says why a waypoint of somebody else cannot decide for pods that name it.
// What is attached to it holds for all that goes through it.
func (t *translator) whyNot(waypoint types.NamespacedName, behind []pods) string {
	if waypoint.Name == mesh.DataplaneNone {
		return "label " + label.IoIstioUseWaypoint.Name + " of its pods says none"
	}
	labels := t.useLabels(waypoint.Namespace, waypoint.Name)
	if _, takes := t.snapshot.WorkloadWaypointOf(labels, t.namespace); !takes {
		return "its pods name waypoint " + waypoint.String() + ", which takes no calls to them"
	}
	for _, user := range t.snapshot.WaypointUsedBy(waypoint.Namespace, waypoint.Name) {
		if !slices.ContainsFunc(behind, func(one pods) bool { return one.is(user) }) {
			return "its pods name waypoint " + waypoint.String() + ", which " + user.String() + " uses as well"
		}
	}
	return ""
}

// is says whether pods are those of an object, a workload or a pod.
func (p pods) is(object v1alpha1.ObjectReference) bool {
	return p.workload.Unversioned() == object.Unversioned() || p.name == object.Kind+" "+object.Name
}

// dedicated is what makes a waypoint for pods alone.
func (t *translator) dedicated(name types.NamespacedName) []Object {
	gateway, found := t.snapshot.Gateway(name.Namespace, name.Name)
	reference := gatewayReference(name.Namespace, name.Name)
	const why = "is the waypoint for calls to the addresses of pods"
	switch {
	case !found, t.own(gateway) && t.options.Replicas > 0:
		return t.waypointObjects(name.Name, mesh.TrafficWorkload, why)
	case !t.own(gateway):
		t.problem(reference, "metadata.name", "an object of this name exists that is not kubectl-ambient's, and is left alone",
			"rename or delete it: the name is needed for what "+why)
	case !t.snapshot.IsWaypoint(gateway) || !mesh.Takes(t.snapshot.Traffic(gateway), mesh.TrafficWorkload):
		t.problem(reference, "metadata.labels["+label.IoIstioWaypointFor.Name+"]", "it takes no calls to the addresses of pods any more",
			"put the label back to "+mesh.TrafficWorkload)
	case !mesh.AdmitsFrom(gateway, t.namespace):
		t.problem(reference, "spec.listeners[].allowedRoutes.namespaces", "it does not admit namespace "+t.namespace.Name,
			"let the listener's allowedRoutes.namespaces admit the namespace")
	}
	return nil
}

// unlabelled are pods in ambient mode that no plan makes anew, so that nothing would
// have them name the waypoint. Those with sidecars block for that reason.
func (t *translator) unlabelled(front *fronted, direct WorkloadWaypoint) {
	for _, one := range front.pods {
		names := true
		for key, value := range direct.Labels {
			names = names && one.labels[key] == value
		}
		workload, known := t.snapshot.Workload(one.workload)
		switch {
		case names || known && t.snapshot.RoleOf(workload, t.namespace) == mesh.RoleMove:
		case one.template && one.rolls() && workload.Reference.Kind != mesh.KindCronJob && !workload.Renews():
			t.problem(one.workload, "spec.template.metadata.labels["+label.IoIstioUseWaypoint.Name+"]",
				"its pods are called at their own addresses and have to name waypoint "+front.waypoint+", and changing its template would not replace them",
				"let it roll out changes by itself (unpause it, use no partition), or name the Service in --waypoint-skip")
		case !one.template && !one.rolls():
			t.problem(t.podReference(one), "metadata.labels["+label.IoIstioUseWaypoint.Name+"]",
				"it is called at its own address and has to name waypoint "+front.waypoint+", and no template makes it anew",
				"kubectl -n "+t.namespace.Name+" label "+strings.ToLower(strings.Replace(one.name, " ", "/", 1))+" "+assignments(direct.Labels))
		}
	}
}

func (t *translator) podReference(one pods) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: "v1", Kind: mesh.KindPod, Namespace: t.namespace.Name, Name: strings.TrimPrefix(one.name, mesh.KindPod+" ")}
}

func assignments(labels map[string]string) string {
	var written []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		written = append(written, key+"="+labels[key])
	}
	return strings.Join(written, " ")
}

// copyDirect attaches a copy of a policy to the waypoint of pods, where the port is
// the pods' own (istio pilot/pkg/networking/core/listener_waypoint.go, direct-tcp and
// direct-http).
func (t *translator) copyDirect(policy *clientsecurityv1.AuthorizationPolicy, origin v1alpha1.ObjectReference, behind *fronted) {
	if !dryRun(policy) {
		t.wholeService(origin, policy.Spec.GetSelector().GetMatchLabels(), behind)
	}
	plain := t.declaredPlain(behind.pods)
	spec := &securityv1beta1.AuthorizationPolicy{Action: policy.Spec.GetAction(), ActionDetail: policy.Spec.GetActionDetail()}
	for _, rule := range policy.Spec.GetRules() {
		copied := withoutExemption(rule, t.principals)
		qualify(copied, policy.Namespace)
		spec.Rules = append(spec.Rules, beforePods(copied, spec.GetAction(), plain)...)
	}
	spec.TargetRefs = []*typev1beta1.PolicyTargetReference{behind.target()}
	t.addCopy(policy, origin, spec, behind.reference, t.attachedTo(policy, behind))
}

// declaredPlain are the ports at which the sidecar of any of some pods takes what
// comes for no HTTP.
func (t *translator) declaredPlain(behind []pods) []string {
	all := t.declarations()
	var plain []string
	for _, one := range behind {
		declared := map[uint32]bool{}
		for _, declaration := range all {
			for _, port := range declaration.of(one) {
				if declared[port.number] || port.protocol == mesh.ProtocolUDP {
					continue
				}
				declared[port.number] = true
				if number := strconv.FormatUint(uint64(port.number), 10); port.protocol == mesh.ProtocolTCP && !slices.Contains(plain, number) {
					plain = append(plain, number)
				}
			}
		}
	}
	slices.Sort(plain)
	return plain
}

// beforePods writes a rule as it has to read in front of pods. A sidecar reads it at a
// port that is declared to carry no HTTP as it does for a connection, whatever comes;
// the waypoint goes by what it sees.
func beforePods(rule *securityv1beta1.Rule, action securityv1beta1.AuthorizationPolicy_Action, plain []string) []*securityv1beta1.Rule {
	connection, whole := ofConnection(rule)
	if len(plain) == 0 || proto.Equal(connection, rule) {
		return []*securityv1beta1.Rule{rule}
	}
	var rules []*securityv1beta1.Rule
	if rule.To = exceptPorts(rule.GetTo(), plain); len(rule.GetTo()) > 0 {
		rules = append(rules, rule)
	}
	connection.To = onPorts(connection.GetTo(), plain)
	if len(connection.GetTo()) > 0 && (whole || action != securityv1beta1.AuthorizationPolicy_ALLOW) {
		rules = append(rules, connection)
	}
	return rules
}

// ofConnection is a rule as a proxy reads it for a connection: nothing of it is about
// requests, and the client is who has connected. Whole is false where something is
// left out, as which Envoy is not told of an ALLOW rule at all (istio
// pilot/pkg/security/authz/model/model.go, Generate with forTCP).
func ofConnection(rule *securityv1beta1.Rule) (connection *securityv1beta1.Rule, whole bool) {
	connection, _ = proto.Clone(rule).(*securityv1beta1.Rule)
	whole = !needsHTTP(rule.GetTo())
	for _, from := range connection.GetFrom() {
		source := from.GetSource()
		if source == nil {
			continue
		}
		whole = whole && len(source.GetRequestPrincipals())+len(source.GetNotRequestPrincipals()) == 0
		source.RequestPrincipals, source.NotRequestPrincipals = nil, nil
		if len(source.GetIpBlocks())+len(source.GetNotIpBlocks()) == 0 {
			source.IpBlocks, source.NotIpBlocks = source.GetRemoteIpBlocks(), source.GetNotRemoteIpBlocks()
		}
		source.RemoteIpBlocks, source.NotRemoteIpBlocks = nil, nil
		if proto.Equal(source, &securityv1beta1.Source{}) {
			connection.From = nil
			break
		}
	}
	for _, to := range connection.GetTo() {
		kept := &securityv1beta1.Operation{Ports: to.GetOperation().GetPorts(), NotPorts: to.GetOperation().GetNotPorts()}
		if to.Operation = kept; proto.Equal(kept, &securityv1beta1.Operation{}) {
			connection.To = nil
			break
		}
	}
	connection.When = slices.DeleteFunc(connection.GetWhen(), func(condition *securityv1beta1.Condition) bool {
		request := strings.HasPrefix(condition.GetKey(), "request.")
		whole = whole && !request
		return request
	})
	for _, condition := range connection.GetWhen() {
		if condition.GetKey() == "remote.ip" {
			condition.Key = "source.ip"
		}
	}
	return connection, whole
}

// exceptPorts takes some ports out of operations; none is left where they name no
// others.
func exceptPorts(to []*securityv1beta1.Rule_To, ports []string) []*securityv1beta1.Rule_To {
	if len(to) == 0 {
		return []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{NotPorts: ports}}}
	}
	var kept []*securityv1beta1.Rule_To
	for _, one := range to {
		operation, _ := proto.Clone(one.GetOperation()).(*securityv1beta1.Operation)
		if operation == nil {
			operation = &securityv1beta1.Operation{}
		}
		if wanted := operation.GetPorts(); len(wanted) == 0 {
			operation.NotPorts = with(operation.GetNotPorts(), ports)
		} else if operation.Ports = without(wanted, ports); len(operation.GetPorts()) == 0 {
			continue
		}
		kept = append(kept, &securityv1beta1.Rule_To{Operation: operation})
	}
	return kept
}

// onPorts narrows operations to some ports; none is left where they name others.
func onPorts(to []*securityv1beta1.Rule_To, ports []string) []*securityv1beta1.Rule_To {
	if len(to) == 0 {
		return []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{Ports: ports}}}
	}
	var kept []*securityv1beta1.Rule_To
	for _, one := range to {
		operation := one.GetOperation()
		wanted := operation.GetPorts()
		if len(wanted) == 0 {
			wanted = ports
		}
		operation.Ports = slices.DeleteFunc(slices.Clone(wanted), func(port string) bool {
			return !slices.Contains(ports, port) || slices.Contains(operation.GetNotPorts(), port)
		})
		if operation.NotPorts = nil; len(operation.GetPorts()) > 0 {
			kept = append(kept, one)
		}
	}
	return kept
}
