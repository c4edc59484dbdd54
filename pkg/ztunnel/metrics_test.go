package ztunnel_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/ztunnel"
)

// The metrics are in the form of OpenMetrics, whose names of types lack the suffix.
const metrics = `# HELP istio_tcp_connections_opened The total number of TCP connections opened.
# TYPE istio_tcp_connections_opened counter
istio_tcp_connections_opened_total{reporter="destination",source_workload="web",source_workload_namespace="shop",destination_workload="cart",destination_workload_namespace="shop",connection_security_policy="mutual_tls",response_flags="-"} 3
istio_tcp_connections_opened_total{reporter="destination",source_workload="unknown",source_workload_namespace="unknown",destination_workload="cart",destination_workload_namespace="shop",connection_security_policy="unknown",response_flags="-"} 2
istio_tcp_connections_opened_total{reporter="source",source_workload="web",source_workload_namespace="shop",destination_workload="cart",destination_workload_namespace="shop",connection_security_policy="mutual_tls",response_flags="-"} 3
# TYPE istio_tcp_connections_closed counter
istio_tcp_connections_closed_total{reporter="destination",destination_workload="cart",destination_workload_namespace="shop"} 7
istio_tcp_connections_closed_total{reporter="destination",destination_workload="cart",destination_workload_namespace="shop",connection_security_policy="unknown",response_flags="-"} 1
istio_tcp_connections_closed_total{reporter="destination",destination_workload="cart",destination_workload_namespace="shop",connection_security_policy="unknown",response_flags="DENY"} 1
istio_tcp_connections_closed_total{reporter="destination",destination_workload="cart",destination_workload_namespace="shop",connection_security_policy="mutual_tls",response_flags="DENY"} 1
istio_tcp_connections_closed_total{reporter="source",source_workload="web",source_workload_namespace="shop",destination_workload="cart",destination_workload_namespace="shop",connection_security_policy="unknown",response_flags="CONNECT"} 1
# EOF
`

func TestParseTraffic(t *testing.T) {
	got, err := ztunnel.ParseTraffic("istio-system/ztunnel-x", []byte(metrics))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]mesh.Traffic{"shop/cart": {Inbound: 3, Plaintext: 1}, "shop/web": {Outbound: 2}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	typed := strings.Replace(metrics, "TYPE istio_tcp_connections_opened counter", "TYPE istio_tcp_connections_opened_total counter", 1)
	if got, err = ztunnel.ParseTraffic("istio-system/ztunnel-x", []byte(typed)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("with the type of the whole name (-want +got):\n%s", diff)
	}
}

func TestParseTrafficOfOneThatCarriedNone(t *testing.T) {
	got, err := ztunnel.ParseTraffic("istio-system/ztunnel-x", []byte("# EOF\n"))
	if err != nil || got == nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestParseTrafficRefusesWhatIsNoMetrics(t *testing.T) {
	for _, text := range []string{"<html>", "istio_tcp_connections_opened_total{reporter=", `{"a":1}`} {
		if _, err := ztunnel.ParseTraffic("istio-system/ztunnel-x", []byte(text)); err == nil || !strings.Contains(err.Error(), "istio-system/ztunnel-x") {
			t.Errorf("%q: the error is %v", text, err)
		}
	}
}
