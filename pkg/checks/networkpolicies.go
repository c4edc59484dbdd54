package checks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func networkPolicies() Check {
	return Check{
		ID: "network-policies", Category: CategoryNetwork, Severity: v1alpha1.SeverityError,
		About: "Whether everybody in the mesh whom NetworkPolicies let through to a workload that is moved or was, or a pod of none that is captured, or from it, on its own ports is let through on port 15008 too.",
		Why: "Ambient pods receive all traffic of the mesh on port 15008, and NetworkPolicy is enforced outside the pod, where only that port is seen (istio documentation, Ambient " +
			"and Kubernetes NetworkPolicy). A peer that may reach the application's port but not that one is cut off by the move. All policies on a pod add up. " +
			"Peers are the pods of the mesh at present, those that moved templates of this namespace would make, those of waypoints that the plan makes here, and blocks of addresses; callers outside the mesh keep using the application's own port. " +
			"NetworkPolicies of other namespaces, and policies of a network plugin's own kinds, are not evaluated: callers elsewhere need port 15008 in their egress as well.",
		Needs: moveNeeds(mesh.KindNetworkPolicy, mesh.PodsMeshWide, mesh.KindNamespace, mesh.KindService, mesh.KindNode, mesh.KindGateway,
			mesh.WaypointEndpoints, mesh.CiliumConfigMap, mesh.IstioConfigMaps),
		Passed: fmt.Sprintf("no NetworkPolicy of this namespace keeps port %d closed", portHBONE),
		Run: func(subject Subject) []Finding {
			if len(subject.Snapshot.NetworkPolicies(subject.Namespace.Name)) == 0 {
				return nil
			}
			evaluation := newReachability(subject)
			for _, workload := range slices.Concat(ambientWorkloads(subject), barePods(subject)) {
				evaluation.ingress(workload)
				evaluation.egress(workload, len(evaluation.peers))
				evaluation.toWaypoints(workload)
			}
			for _, workload := range slices.Concat(subject.Snapshot.Workloads(subject.Namespace.Name), plannedWaypoints(subject)) {
				switch {
				case isWaypoint(workload.Template.Labels):
					evaluation.atWaypoint(workload)
					evaluation.egress(workload, evaluation.moved)
				case workload.IsGateway():
					evaluation.egress(workload, evaluation.moved)
				}
			}
			return evaluation.findings()
		},
	}
}

// ambientWorkloads are the workloads of the namespace at hand that are to be in
// ambient mode: those that are moved, and those that were.
func ambientWorkloads(subject Subject) []mesh.Workload {
	return slices.DeleteFunc(subject.Snapshot.Workloads(subject.Namespace.Name), func(workload mesh.Workload) bool {
		return subject.Snapshot.RoleOf(workload, subject.Namespace) != mesh.RoleMove &&
			!slices.ContainsFunc(subject.Snapshot.PodsOf(workload), mesh.Pod.Redirected)
	})
}

// barePods are the pods of the namespace at hand that are captured, or are as soon as it is
// labelled, and that no workload makes, each as the workload of its own.
func barePods(subject Subject) []mesh.Workload {
	made := map[types.UID]bool{}
	for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
		markMoved(made, subject.Snapshot.PodsOf(workload))
	}
	captured := map[types.UID]bool{}
	markMoved(captured, LiveCaptures(subject.Snapshot, subject.Namespace))
	var bare []mesh.Workload
	for _, pod := range subject.Snapshot.Pods(subject.Namespace.Name) {
		if !made[pod.UID] && (captured[pod.UID] || pod.Redirected()) {
			bare = append(bare, mesh.Workload{
				Reference: pod.Reference(), UID: pod.UID, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: specOf(pod)},
			})
		}
	}
	return bare
}

// plannedWaypoints are the Deployments that istiod will make for the waypoints which a plan
// makes in the namespace at hand, by what a policy can select them by (istio
// manifests/charts/istio-control/istio-discovery/files/waypoint.yaml).
func plannedWaypoints(subject Subject) []mesh.Workload {
	if subject.Migration == nil {
		return nil
	}
	var planned []mesh.Workload
	for _, gateway := range subject.Migration.Deployed {
		there := slices.ContainsFunc(subject.Snapshot.Workloads(subject.Namespace.Name), func(workload mesh.Workload) bool {
			return isWaypoint(workload.Template.Labels) && workload.Template.Labels[label.IoK8sNetworkingGatewayGatewayName.Name] == gateway.Name
		})
		if gateway.Namespace != subject.Namespace.Name || there {
			continue
		}
		planned = append(planned, mesh.Workload{
			Reference: v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: gateway.Namespace, Name: gateway.Name},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{
				label.IoK8sNetworkingGatewayGatewayName.Name:      gateway.Name,
				label.IoK8sNetworkingGatewayGatewayClassName.Name: mesh.WaypointClass,
				label.GatewayManaged.Name:                         "istio.io-mesh-controller",
				label.SidecarInject.Name:                          "false",
				label.IoIstioDataplaneMode.Name:                   mesh.DataplaneNone,
			}}},
		})
	}
	return planned
}

// specOf is what a pod was made to be; nothing where that cannot be read.
func specOf(pod mesh.Pod) corev1.PodSpec {
	var read corev1.Pod
	if pod.Object == nil || runtime.DefaultUnstructuredConverter.FromUnstructured(map[string]any{"spec": pod.Object["spec"]}, &read) != nil {
		return corev1.PodSpec{}
	}
	return read.Spec
}

// ownPorts are those of sidecars and istiod, by which no application is reached
// (istio documentation, Application Requirements).
var ownPorts = []int32{15000, 15001, 15002, 15004, 15006, portHBONE, 15009, 15010, 15012, 15014, 15017, 15020, 15021, 15053, 15090}

// portDNS is what many egress policies open to everybody.
const portDNS = 53

// isWaypoint says whether labels are those that istiod gives to waypoints' pods
// (istio manifests/charts/istio-control/istio-discovery/files/waypoint.yaml).
func isWaypoint(labels map[string]string) bool {
	return mesh.IsWaypointPod(labels) || labels["gateway.networking.k8s.io/gateway-class-name"] == mesh.WaypointClass
}

// reachability evaluates the NetworkPolicies of the namespace at hand.
type reachability struct {
	subject  Subject
	policies []networkingv1.NetworkPolicy
	// peers are the pods of the mesh: first those of ambient workloads, each by its
	// template, then the others.
	peers []mesh.NetworkPeer
	moved int
	// waypoints are those of them that the namespace has or uses.
	waypoints []int
	services  map[string][]corev1.Service
	// members say for which of the peers a peer of a policy stands. A mesh has many
	// pods, and workloads share policies.
	members map[place][]bool
	// blocksHoldPods is false where an ipBlock never stands for a pod.
	blocksHoldPods bool
	// podNetworks are the addresses that the nodes give to pods, where they say so.
	podNetworks []string
	found       []closed
}

// place is a field of a NetworkPolicy.
type place struct {
	policy v1alpha1.ObjectReference
	field  string
}

// closed is a place where a NetworkPolicy keeps the mesh's traffic out.
type closed struct {
	place
	status    v1alpha1.CheckStatus
	direction networkingv1.PolicyType
	// rule is the path of the rule to be completed; empty where it takes a new one.
	rule      string
	workloads []string
	// peer is who is on the other side.
	peer string
}

// certainty is how sure it is that a pod is called on a port.
type certainty int

const (
	no certainty = iota
	perhaps
	yes
)

func newReachability(subject Subject) *reachability {
	snapshot := subject.Snapshot
	r := &reachability{
		subject: subject, policies: snapshot.NetworkPolicies(subject.Namespace.Name), services: map[string][]corev1.Service{}, members: map[place][]bool{},
		blocksHoldPods: !hasCilium(snapshot),
	}
	for _, service := range snapshot.AllServices() {
		r.services[service.Namespace] = append(r.services[service.Namespace], service)
	}
	for _, node := range snapshot.Nodes() {
		r.podNetworks = append(r.podNetworks, node.Spec.PodCIDRs...)
		if len(node.Spec.PodCIDRs) == 0 && node.Spec.PodCIDR != "" {
			r.podNetworks = append(r.podNetworks, node.Spec.PodCIDR)
		}
	}
	known := map[types.UID]bool{}
	for _, workload := range ambientWorkloads(subject) {
		peer := mesh.NetworkPeer{
			Name: shortReference(workload), Namespace: subject.Namespace, Labels: workload.Template.Labels, Ports: mesh.PodPorts(workload.Template.Spec),
		}
		pods := snapshot.PodsOf(workload)
		markMoved(known, pods)
		for _, pod := range pods {
			peer.Addresses = append(peer.Addresses, pod.Addresses...)
		}
		r.peers = append(r.peers, peer)
	}
	r.moved = len(r.peers)
	for _, pod := range LiveCaptures(snapshot, subject.Namespace) {
		if !known[pod.UID] {
			known[pod.UID] = true
			r.peers = append(r.peers, mesh.NetworkPeer{Name: pod.String(), Namespace: subject.Namespace, Labels: pod.Labels, Addresses: pod.Addresses})
		}
	}
	waypoints := map[string]bool{}
	for _, waypoint := range snapshot.Waypoints(subject.Namespace) {
		waypoints[waypoint.Namespace+"/"+waypoint.Name] = true
	}
	for _, pod := range snapshot.AllPods() {
		if known[pod.UID] || pod.HostNetwork || !inMesh(pod) {
			continue
		}
		namespace, found := snapshot.Namespace(pod.Namespace)
		if !found {
			namespace = mesh.Namespace{Name: pod.Namespace}
		}
		peer := mesh.NetworkPeer{Name: pod.String(), Namespace: namespace, Labels: pod.Labels}
		if pod.Namespace == subject.Namespace.Name {
			// Of other namespaces no more than metadata is read.
			peer.Addresses = pod.Addresses
		}
		r.peers = append(r.peers, peer)
		if isWaypoint(pod.Labels) && waypoints[pod.Namespace+"/"+pod.Labels[label.IoK8sNetworkingGatewayGatewayName.Name]] {
			r.waypoints = append(r.waypoints, len(r.peers)-1)
		}
	}
	for _, waypoint := range plannedWaypoints(subject) {
		r.peers = append(r.peers, mesh.NetworkPeer{Name: shortReference(waypoint), Namespace: subject.Namespace, Labels: waypoint.Template.Labels})
		r.waypoints = append(r.waypoints, len(r.peers)-1)
	}
	return r
}

// inMesh says whether a pod sends and receives the traffic of the mesh, by what
// its metadata tells. The older charts of Istio's own gateways write neither
// annotation nor label of an injected one, but name themselves as a component
// (istio manifests/charts/gateways/istio-ingress/templates/deployment.yaml).
func inMesh(pod mesh.Pod) bool {
	return pod.HasSidecar() || pod.Redirected() || pod.IsGateway() || strings.HasSuffix(pod.Labels["operator.istio.io/component"], "Gateways")
}

// shortReference is how messages name a workload of the namespace at hand.
func shortReference(workload mesh.Workload) string {
	return workload.Reference.Kind + " " + workload.Reference.Name
}

// hasCilium says whether the cluster's network is Cilium's. Its policies tell pods
// by what they are: blocks of addresses never mean pods (Cilium documentation,
// Layer 3 Policies).
func hasCilium(snapshot *mesh.Snapshot) bool {
	return slices.ContainsFunc(snapshot.ConfigMaps(), func(configMap corev1.ConfigMap) bool { return configMap.Name == "cilium-config" })
}

// comparison is of the rules of one workload for one direction: whom a rule lets
// through to an application's port, another must let through to HBONE.
type comparison struct {
	*reachability
	workload mesh.Workload
	// among is how many of the peers are looked at.
	among int
	// tunnels are the rules that open HBONE.
	tunnels []mesh.NetworkRule
	// opens says whether a rule opens an application's port.
	opens func(mesh.NetworkRule) bool
	// serves says how sure it is that a peer, if it is not named, is called on one
	// of the ports that a rule opens to everybody, or calls it.
	serves func(mesh.NetworkRule, mesh.NetworkPeer) certainty
}

// ingress looks for peers that may reach a workload's own ports, but not HBONE.
func (r *reachability) ingress(workload mesh.Workload) {
	declared := mesh.PodPorts(workload.Template.Spec)
	r.compare(networkingv1.PolicyTypeIngress, comparison{
		reachability: r, workload: workload, among: len(r.peers),
		opens:  func(rule mesh.NetworkRule) bool { return rule.OpensTCPBesides(ownPorts, declared) },
		serves: func(mesh.NetworkRule, mesh.NetworkPeer) certainty { return yes },
	})
}

// egress looks for peers whose own ports a workload may reach, but not HBONE. A
// port that is open towards everybody is mostly meant for what is outside the
// mesh: it counts where something in the mesh is called on it.
func (r *reachability) egress(workload mesh.Workload, peers int) {
	r.compare(networkingv1.PolicyTypeEgress, comparison{
		reachability: r, workload: workload, among: peers, opens: opensEgress, serves: r.serves,
	})
}

func opensEgress(rule mesh.NetworkRule) bool {
	return rule.OpensTCPBesides(append([]int32{portDNS}, ownPorts...), nil)
}

// serves says whether a Service leads to a port of a pod that an egress rule opens,
// or the pod itself declares one.
func (r *reachability) serves(rule mesh.NetworkRule, peer mesh.NetworkPeer) certainty {
	if slices.ContainsFunc(rule.Ports, func(port networkingv1.NetworkPolicyPort) bool {
		return port.Port != nil && port.Port.Type == intstr.String
	}) {
		return perhaps
	}
	opened := func(port int32) bool { return rule.OpensTCP(port, nil) }
	if slices.ContainsFunc(peer.Ports, func(port corev1.ContainerPort) bool {
		return port.Protocol != corev1.ProtocolUDP && opened(port.ContainerPort)
	}) {
		return yes
	}
	sure := no
	for _, service := range r.services[peer.Namespace.Name] {
		if len(service.Spec.Selector) == 0 || !mesh.SelectsLabels(service.Spec.Selector, peer.Labels) {
			continue
		}
		for _, port := range service.Spec.Ports {
			switch {
			case port.Protocol != "" && port.Protocol != corev1.ProtocolTCP:
			case port.TargetPort.Type == intstr.Int && opened(cmp.Or(port.TargetPort.IntVal, port.Port)):
				return yes
			case port.TargetPort.Type == intstr.String && peer.Ports == nil:
				// Which port that is only the pod says.
				sure = perhaps
			}
		}
	}
	return sure
}

func (r *reachability) compare(direction networkingv1.PolicyType, c comparison) {
	rules := mesh.NetworkRulesFor(r.policies, c.workload.Template.Labels, direction)
	c.tunnels = tunnelsOf(rules)
	for _, rule := range rules.Rules {
		if rule.OpensTCP(portHBONE, nil) || !c.opens(rule) {
			continue
		}
		if len(rule.Peers) == 0 {
			c.everybody(rule, rule.Field()+".ports")
		}
		for i, peer := range rule.Peers {
			switch {
			case peer.IPBlock == nil:
				c.selected(rule, i, peer)
			case r.blocksHoldPods:
				c.block(rule, i, peer)
			}
		}
	}
}

// tunnelsOf are the rules that open HBONE.
func tunnelsOf(rules mesh.NetworkRules) []mesh.NetworkRule {
	return slices.DeleteFunc(slices.Clone(rules.Rules), func(rule mesh.NetworkRule) bool { return !rule.OpensTCP(portHBONE, nil) })
}

// everybody is about a rule that names nobody, or all addresses.
func (c comparison) everybody(rule mesh.NetworkRule, field string) {
	surely := func(least certainty) func(int) bool {
		return func(i int) bool { return c.serves(rule, c.peers[i]) >= least }
	}
	example := func(lost []string) string {
		if i := slices.IndexFunc(lost, func(name string) bool {
			return name != shortReference(c.workload) && name != c.workload.Reference.String()
		}); i >= 0 {
			return "everybody (such as " + lost[i] + ")"
		}
		return "everybody"
	}
	if lost := c.cutOff(surely(yes)); len(lost) > 0 {
		c.report(v1alpha1.StatusFail, rule, field, example(lost))
	} else if lost := c.cutOff(surely(perhaps)); len(lost) > 0 {
		c.report(v1alpha1.StatusWarn, rule, field, example(lost)+", if that has such a port,")
	}
}

// selected is about a peer that selects pods.
func (c comparison) selected(rule mesh.NetworkRule, index int, peer networkingv1.NetworkPolicyPeer) {
	if c.covered(peer) {
		return
	}
	members := c.membersOf(rule, index)
	if lost := c.cutOff(func(i int) bool { return members[i] }); len(lost) > 0 {
		c.report(v1alpha1.StatusFail, rule, rule.PeerField(index), some(lost))
		return
	}
	selects := mesh.PeerSelector(peer, c.subject.Namespace.Name)
	anybody := slices.ContainsFunc(c.subject.Snapshot.AllPods(), func(pod mesh.Pod) bool {
		namespace, found := c.subject.Snapshot.Namespace(pod.Namespace)
		return found && selects(mesh.NetworkPeer{Namespace: namespace, Labels: pod.Labels})
	})
	if !anybody {
		c.report(v1alpha1.StatusWarn, rule, rule.PeerField(index), "what it selects, of which there is nothing at present,")
	}
}

// membersOf says for which of the mesh's pods a peer of a rule stands.
func (r *reachability) membersOf(rule mesh.NetworkRule, index int) []bool {
	at := place{rule.Policy, rule.PeerField(index)}
	if known, found := r.members[at]; found {
		return known
	}
	peer := rule.Peers[index]
	selects := mesh.PeerSelector(peer, r.subject.Namespace.Name)
	members := make([]bool, len(r.peers))
	for i, pod := range r.peers {
		members[i] = selects(pod) || r.blocksHoldPods && holds(peer.IPBlock, pod)
	}
	r.members[at] = members
	return members
}

// block is about a peer that is a block of addresses: of pods, of some pods, or of
// what is outside the cluster.
func (c comparison) block(rule mesh.NetworkRule, index int, peer networkingv1.NetworkPolicyPeer) {
	if c.covered(peer) {
		return
	}
	field := rule.PeerField(index)
	ofPods := slices.ContainsFunc(c.podNetworks, func(network string) bool { return mesh.BlockOverlaps(peer.IPBlock, network) })
	if mesh.BlockIsEverything(peer.IPBlock) || ofPods {
		c.everybody(rule, field)
		return
	}
	members := c.membersOf(rule, index)
	lost := c.cutOff(func(i int) bool { return members[i] })
	switch {
	case len(lost) > 0:
		c.report(v1alpha1.StatusFail, rule, field, some(lost))
	case len(c.podNetworks) == 0:
		// The nodes do not say which addresses pods have.
		c.report(v1alpha1.StatusWarn, rule, field, "pods with such an address, if there are any,")
	}
}

// covered says whether rules that open HBONE surely name everything that a peer
// stands for.
func (c comparison) covered(peer networkingv1.NetworkPolicyPeer) bool {
	return slices.ContainsFunc(c.tunnels, func(rule mesh.NetworkRule) bool {
		return len(rule.Peers) == 0 || slices.ContainsFunc(rule.Peers, func(candidate networkingv1.NetworkPolicyPeer) bool {
			return mesh.PeerCovers(candidate, peer, c.subject.Namespace) || c.blocksHoldPods && mesh.BlockIsEverything(candidate.IPBlock)
		})
	})
}

// cutOff are the peers that a rule lets through, but none that opens HBONE.
func (c comparison) cutOff(passes func(int) bool) []string {
	var names []string
	for i := range c.among {
		if passes(i) && !c.reached(i, c.tunnels) {
			names = append(names, c.peers[i].Name)
		}
	}
	return names
}

// reached says whether rules let one of the peers through.
func (r *reachability) reached(peer int, rules []mesh.NetworkRule) bool {
	return slices.ContainsFunc(rules, func(rule mesh.NetworkRule) bool {
		if len(rule.Peers) == 0 {
			return true
		}
		for i := range rule.Peers {
			if r.membersOf(rule, i)[peer] {
				return true
			}
		}
		return false
	})
}

func holds(block *networkingv1.IPBlock, pod mesh.NetworkPeer) bool {
	return mesh.BlockIsEverything(block) ||
		slices.ContainsFunc(pod.Addresses, func(address string) bool { return mesh.BlockHolds(block, address) })
}

func (c comparison) report(status v1alpha1.CheckStatus, rule mesh.NetworkRule, field, peer string) {
	c.add(closed{
		place: place{rule.Policy, field}, status: status, direction: rule.Direction, rule: rule.Field(), workloads: []string{shortReference(c.workload)}, peer: peer,
	})
}

// toWaypoints: what a workload that may call others sends to a service with a
// waypoint goes to the waypoint.
func (r *reachability) toWaypoints(workload mesh.Workload) {
	rules := mesh.NetworkRulesFor(r.policies, workload.Template.Labels, networkingv1.PolicyTypeEgress)
	if !rules.Restricted() || !slices.ContainsFunc(rules.Rules, opensEgress) {
		return
	}
	for _, waypoint := range r.waypoints {
		if !r.reached(waypoint, tunnelsOf(rules)) {
			r.add(closed{
				place: place{rules.Policies[0], "spec.egress"}, status: v1alpha1.StatusFail, direction: networkingv1.PolicyTypeEgress,
				workloads: []string{shortReference(workload)}, peer: "others, waypoint " + r.peers[waypoint].Name + " among them,",
			})
			return
		}
	}
}

// atWaypoint: a waypoint is called on HBONE alone.
func (r *reachability) atWaypoint(workload mesh.Workload) {
	rules := mesh.NetworkRulesFor(r.policies, workload.Template.Labels, networkingv1.PolicyTypeIngress)
	tunnels := tunnelsOf(rules)
	callable := false
	for i, peer := range r.peers {
		callable = callable || !isWaypoint(peer.Labels) && r.reached(i, tunnels)
	}
	if rules.Restricted() && !callable {
		r.add(closed{
			place: place{rules.Policies[0], "spec.ingress"}, status: v1alpha1.StatusFail, direction: networkingv1.PolicyTypeIngress,
			workloads: []string{shortReference(workload)},
		})
	}
}

// add joins what is found at the same place for several workloads.
func (r *reachability) add(found closed) {
	for i := range r.found {
		known := &r.found[i]
		if known.place != found.place {
			continue
		}
		if known.status != v1alpha1.StatusFail && found.status == v1alpha1.StatusFail {
			known.status, known.peer = found.status, found.peer
		}
		known.workloads = append(known.workloads, found.workloads...)
		return
	}
	r.found = append(r.found, found)
}

func (r *reachability) findings() []Finding {
	slices.SortStableFunc(r.found, func(a, b closed) int {
		return cmp.Or(cmp.Compare(a.policy.Name, b.policy.Name), cmp.Compare(a.field, b.field))
	})
	var findings []Finding
	for _, found := range r.found {
		workloads := some(found.workloads)
		finding := Finding{Status: found.status, Object: reference(found.policy), Field: found.field}
		switch {
		case found.peer == "":
			finding.Message = fmt.Sprintf("nobody in the mesh may reach waypoint %s on port %d, where it is called", workloads, portHBONE)
		case found.direction == networkingv1.PolicyTypeIngress:
			finding.Message = fmt.Sprintf("it lets %s reach %s, but not on port %d, which carries the mesh's traffic in ambient mode", found.peer, workloads, portHBONE)
		default:
			finding.Message = fmt.Sprintf("it lets %s reach %s, but not on port %d, which carries the mesh's traffic in ambient mode", workloads, found.peer, portHBONE)
		}
		finding.Remedy = fmt.Sprintf("add {port: %d, protocol: TCP} to %s.ports", portHBONE, found.rule)
		if found.rule == "" {
			finding.Remedy = fmt.Sprintf("add a rule {ports: [{port: %d, protocol: TCP}]} to %s", portHBONE, found.field)
		}
		findings = append(findings, finding)
	}
	return findings
}
