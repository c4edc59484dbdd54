package mesh_test

import (
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
)

func TestPortProtocol(t *testing.T) {
	for _, test := range []struct {
		name, app string
		transport corev1.Protocol
		port      int32
		want      mesh.Protocol
		tls       bool
	}{
		{name: "http", want: mesh.ProtocolHTTP},
		{name: "HTTP2-web", want: mesh.ProtocolHTTP},
		{name: "grpc-web-x", want: mesh.ProtocolHTTP},
		{name: "grpc-api", want: mesh.ProtocolHTTP},
		{name: "https", want: mesh.ProtocolTCP, tls: true},
		{name: "tls-db", want: mesh.ProtocolTCP, tls: true},
		{name: "redis", want: mesh.ProtocolTCP},
		{name: "udp-dns", want: mesh.ProtocolUDP},
		{name: "http", transport: corev1.ProtocolUDP, want: mesh.ProtocolUDP},
		{name: "httpx", want: mesh.ProtocolUndeclared},
		{name: "web-http", want: mesh.ProtocolUndeclared},
		{port: 3306, want: mesh.ProtocolTCP},
		{port: 8080, want: mesh.ProtocolUndeclared},
		{name: "http", port: 3306, want: mesh.ProtocolHTTP},
		{name: "http", app: "tcp", want: mesh.ProtocolTCP},
		{name: "tcp", app: "kubernetes.io/h2c", want: mesh.ProtocolHTTP},
		{app: "kubernetes.io/ws", want: mesh.ProtocolHTTP},
		{app: "kubernetes.io/wss", want: mesh.ProtocolTCP, tls: true},
		{app: "Kubernetes.io/h2c", want: mesh.ProtocolUndeclared},
	} {
		port := corev1.ServicePort{Name: test.name, Port: test.port, Protocol: test.transport}
		if test.app != "" {
			port.AppProtocol = &test.app
		}
		if got, tls := mesh.PortProtocol(port); got != test.want || tls != test.tls {
			t.Errorf("%q, appProtocol %q, %s %d: %s, TLS %v", test.name, test.app, test.transport, test.port, got, tls)
		}
	}
}
