package mesh

import (
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
)

// Protocol is what istiod takes a Service's port to carry.
type Protocol string

// The protocols, as far as policies tell them apart. What an undeclared port carries
// is told from what the caller sends.
const (
	ProtocolHTTP       Protocol = "HTTP"
	ProtocolTCP        Protocol = "TCP"
	ProtocolUDP        Protocol = "UDP"
	ProtocolUndeclared Protocol = "undeclared"
)

// silentPorts are of applications where the server speaks first, so that nothing is
// told from what the caller sends (istio pkg/config/kube/conversion.go,
// wellKnownPorts).
var silentPorts = []int32{25, 53, 3306, 27017}

// PortProtocol tells a port's protocol by its appProtocol, or else by its name up to
// the first hyphen, and whether what TCP carries is declared to be TLS (istio
// pkg/config/kube/conversion.go, ConvertProtocol).
func PortProtocol(port corev1.ServicePort) (protocol Protocol, tls bool) {
	if port.Protocol == corev1.ProtocolUDP {
		return ProtocolUDP, false
	}
	name := port.Name
	if port.AppProtocol != nil {
		name = *port.AppProtocol
		switch name {
		case "kubernetes.io/h2c", "kubernetes.io/ws":
			return ProtocolHTTP, false
		case "kubernetes.io/wss":
			return ProtocolTCP, true
		}
	}
	name = strings.ToLower(name)
	if strings.HasPrefix(name, "grpc-web") {
		return ProtocolHTTP, false
	}
	prefix, _, _ := strings.Cut(name, "-")
	if protocol, tls = protocolNamed(prefix); protocol == ProtocolUndeclared && slices.Contains(silentPorts, port.Port) {
		return ProtocolTCP, false
	}
	return protocol, tls
}

// EntryPortProtocol tells that of a ServiceEntry's port, by the field of that name
// (istio pkg/config/protocol/instance.go, Parse).
func EntryPortProtocol(port *networkingv1alpha3.ServicePort) (protocol Protocol, tls bool) {
	name := strings.ToLower(port.GetProtocol())
	if strings.HasPrefix(name, "grpc-web") {
		return ProtocolHTTP, false
	}
	return protocolNamed(name)
}

func protocolNamed(name string) (protocol Protocol, tls bool) {
	switch name {
	case "http", "http2", "http_proxy", "grpc":
		return ProtocolHTTP, false
	case "https", "tls":
		return ProtocolTCP, true
	case "tcp", "mongo", "redis", "mysql":
		return ProtocolTCP, false
	case "udp":
		return ProtocolUDP, false
	default:
		return ProtocolUndeclared, false
	}
}

// PortNumber is a port as policies write it. What is no port, in a file, is 0, which
// no policy names.
func PortNumber(port int32) uint32 {
	if port < 0 {
		return 0
	}
	return uint32(port)
}
