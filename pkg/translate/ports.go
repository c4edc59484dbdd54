package translate

import (
	"slices"
	"strconv"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	securityv1beta1 "istio.io/api/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// portMap says which ports of the pods each port of a Service leads to. A sidecar
// and ztunnel compare a policy's ports with the pod's, a waypoint with the Service's
// (istio pilot/pkg/networking/core/listener_waypoint.go: the destination of a chain
// inbound-vip is the Service's address and port).
type portMap []portTarget

type portTarget struct {
	service uint32
	targets []uint32
	// http is true where the Service declares that the port carries HTTP.
	http bool
}

// portsOf maps a Service's ports by the pods behind it: a named target may mean a
// different port in each.
func portsOf(service *corev1.Service, behind []pods) portMap {
	var ports portMap
	for _, port := range service.Spec.Ports {
		protocol, _ := mesh.PortProtocol(port)
		target := portTarget{service: mesh.PortNumber(port.Port), http: protocol == mesh.ProtocolHTTP}
		switch {
		case port.TargetPort.Type == intstr.String:
			for _, one := range behind {
				if number, named := one.ports[port.TargetPort.StrVal]; named && !slices.Contains(target.targets, number) {
					target.targets = append(target.targets, number)
				}
			}
		case port.TargetPort.IntVal != 0:
			target.targets = []uint32{mesh.PortNumber(port.TargetPort.IntVal)}
		default:
			target.targets = []uint32{mesh.PortNumber(port.Port)}
		}
		ports = append(ports, target)
	}
	return ports
}

// allHTTP says whether no port may carry anything else.
func (m portMap) allHTTP() bool {
	return !slices.ContainsFunc(m, func(port portTarget) bool { return !port.http })
}

// translate names the Service's ports that lead to any of some ports of pods.
func (m portMap) translate(podPorts []string) []string {
	var translated []string
	for _, port := range m {
		leads := slices.ContainsFunc(port.targets, func(target uint32) bool {
			return slices.Contains(podPorts, strconv.FormatUint(uint64(target), 10))
		})
		if number := strconv.FormatUint(uint64(port.service), 10); leads && !slices.Contains(translated, number) {
			translated = append(translated, number)
		}
	}
	return translated
}

// alike says whether a policy cannot tell the ports of pods apart that these lead to: of
// each list of ports that it names, either all are in it or none.
func (m portMap) alike(spec *securityv1beta1.AuthorizationPolicy) bool {
	for _, rule := range spec.GetRules() {
		for _, to := range rule.GetTo() {
			if !m.allOrNone(to.GetOperation().GetPorts()) || !m.allOrNone(to.GetOperation().GetNotPorts()) {
				return false
			}
		}
		for _, condition := range rule.GetWhen() {
			if condition.GetKey() == keyDestinationPort && (!m.allOrNone(condition.GetValues()) || !m.allOrNone(condition.GetNotValues())) {
				return false
			}
		}
	}
	return true
}

func (m portMap) allOrNone(named []string) bool {
	var in, out bool
	for _, port := range m {
		for _, target := range port.targets {
			if slices.Contains(named, strconv.FormatUint(uint64(target), 10)) {
				in = true
			} else {
				out = true
			}
		}
	}
	return !in || !out
}
