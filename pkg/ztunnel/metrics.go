package ztunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
)

const (
	// statsPort serves ztunnel's metrics (ztunnel src/config.rs, DEFAULT_STATS_PORT).
	statsPort = 15020
	// opened counts connections (ztunnel src/proxy/metrics.rs).
	opened = "istio_tcp_connections_opened_total"
	// closed counts them again when they end, with what became of them.
	closed = "istio_tcp_connections_closed_total"
	// unremarkable is what its label response_flags says of those that were let in.
	unremarkable = "-"
	// encrypted is what its label connection_security_policy says of mutual TLS.
	encrypted = "mutual_tls"
)

// AskTraffic adds to the evidence which connections its ztunnels have carried since
// they were started. One that does not say is in it with its problem.
func (r *Reader) AskTraffic(ctx context.Context, evidence *mesh.Evidence) error {
	var names []string
	for name, node := range evidence.Nodes {
		if node.Problem == "" {
			names = append(names, name)
		}
	}
	return r.addTo(ctx, evidence, names, func(_ string, pod *corev1.Pod, node *mesh.NodeEvidence) {
		if pod != nil && instanceOf(pod) != node.Instance {
			// Its counters are another one's than what it said before.
			node.TrafficProblem = "it was started anew in between"
			return
		}
		var err error
		if node.Traffic, err = r.traffic(ctx, pod); err != nil {
			node.TrafficProblem = err.Error()
		}
	})
}

func (r *Reader) traffic(ctx context.Context, pod *corev1.Pod) (map[string]mesh.Traffic, error) {
	if pod == nil {
		return nil, errors.New("its pod is gone")
	}
	ctx, cancel := context.WithTimeout(ctx, perNode)
	defer cancel()
	data, err := r.get(ctx, pod, statsPort, "/metrics")
	if err != nil {
		return nil, err
	}
	return ParseTraffic(pod.Namespace+"/"+pod.Name, data)
}

// ParseTraffic reads the metrics of the ztunnel pod of that name, in Prometheus' text
// format.
func ParseTraffic(ztunnel string, data []byte) (map[string]mesh.Traffic, error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read the metrics of %s: %w", ztunnel, err)
	}
	carried := map[string]mesh.Traffic{}
	for _, metric := range families[opened].GetMetric() {
		labels := labelsOf(metric)
		count := int64(metric.GetCounter().GetValue() + metric.GetUntyped().GetValue())
		// Each end of a connection reports it.
		switch labels["reporter"] {
		case "destination":
			to := labels["destination_workload_namespace"] + "/" + labels["destination_workload"]
			traffic := carried[to]
			traffic.Inbound += count
			if labels["connection_security_policy"] != encrypted {
				traffic.Plaintext += count
			}
			carried[to] = traffic
		case "source":
			from := labels["source_workload_namespace"] + "/" + labels["source_workload"]
			traffic := carried[from]
			traffic.Outbound += count
			carried[from] = traffic
		}
	}
	takeOffRefused(carried, families[closed].GetMetric())
	return carried, nil
}

// takeOffRefused takes off the connections that came to nothing: that were refused, or
// whose other end could not be reached. ztunnel counts a connection as opened before it
// asks policies (ztunnel src/proxy/inbound.rs, inbound_passthrough.rs), and flags it when it
// closes it.
func takeOffRefused(carried map[string]mesh.Traffic, closings []*dto.Metric) {
	for _, metric := range closings {
		labels := labelsOf(metric)
		if flags := labels["response_flags"]; flags == "" || flags == unremarkable {
			continue
		}
		count := int64(metric.GetCounter().GetValue() + metric.GetUntyped().GetValue())
		from := labels["source_workload_namespace"] + "/" + labels["source_workload"]
		to := labels["destination_workload_namespace"] + "/" + labels["destination_workload"]
		if traffic, known := carried[to]; known && labels["reporter"] == "destination" {
			traffic.Inbound = max(0, traffic.Inbound-count)
			if labels["connection_security_policy"] != encrypted {
				traffic.Plaintext = max(0, traffic.Plaintext-count)
			}
			carried[to] = traffic
		}
		if traffic, known := carried[from]; known && labels["reporter"] == "source" {
			traffic.Outbound = max(0, traffic.Outbound-count)
			carried[from] = traffic
		}
	}
}

// Counted is what one ztunnel has counted since it was started.
type Counted struct {
	// Instance tells it from others that its pod ran.
	Instance string
	Traffic  map[string]mesh.Traffic
	// Problem says why it did not answer.
	Problem string
}

// CountTraffic asks all ready ztunnels which connections they have carried, by node.
func (r *Reader) CountTraffic(ctx context.Context) (map[string]Counted, error) {
	found, err := r.pods(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]Counted{}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(atOnce)
	for node, pod := range found.pods {
		group.Go(func() error {
			answer := Counted{Instance: instanceOf(pod)}
			var err error
			if answer.Traffic, err = r.traffic(ctx, pod); err != nil {
				answer.Problem = err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			all[node] = answer
			return nil
		})
	}
	// The functions return no errors: a problem is part of the answer.
	_ = group.Wait()
	return all, ctx.Err()
}

func labelsOf(metric *dto.Metric) map[string]string {
	labels := map[string]string{}
	for _, pair := range metric.GetLabel() {
		labels[pair.GetName()] = pair.GetValue()
	}
	return labels
}
