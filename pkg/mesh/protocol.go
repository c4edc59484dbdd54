package mesh

import (
	"slices"
	"strings"

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
// the first hyphen (istio pkg/config/kube/conversion.go, ConvertProtocol).
func PortProtocol(port corev1.ServicePort) Protocol {
	if port.Protocol == corev1.ProtocolUDP {
		return ProtocolUDP
	}
	name := strings.ToLower(port.Name)
	if port.AppProtocol != nil {
		name = strings.ToLower(*port.AppProtocol)
		switch name {
		case "kubernetes.io/h2c", "kubernetes.io/ws":
			return ProtocolHTTP
		case "kubernetes.io/wss":
			return ProtocolTCP
		}
	}
	if strings.HasPrefix(name, "grpc-web") {
		return ProtocolHTTP
	}
	prefix, _, _ := strings.Cut(name, "-")
	switch prefix {
	case "http", "http2", "http_proxy", "grpc":
		return ProtocolHTTP
	case "tcp", "https", "tls", "mongo", "redis", "mysql":
		return ProtocolTCP
	case "udp":
		return ProtocolUDP
	}
	if slices.Contains(silentPorts, port.Port) {
		return ProtocolTCP
	}
	return ProtocolUndeclared
}
