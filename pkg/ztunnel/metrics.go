package ztunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
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
	// encrypted is what its label connection_security_policy says of mutual TLS.
	encrypted = "mutual_tls"
)

// AskTraffic adds to the evidence which connections its ztunnels have carried since
// they were started. One that does not say is in it with its problem.
func (r *Reader) AskTraffic(ctx context.Context, evidence *mesh.Evidence) error {
	pods, err := r.pods(ctx)
	if err != nil {
		return err
	}
	answers := map[string]mesh.NodeEvidence{}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(atOnce)
	for name, node := range evidence.Nodes {
		if node.Problem != "" {
			continue
		}
		group.Go(func() error {
			var err error
			if node.Traffic, err = r.traffic(ctx, pods[name]); err != nil {
				node.TrafficProblem = err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			answers[name] = node
			return nil
		})
	}
	// The functions return no errors: a node's problem is part of the answer.
	_ = group.Wait()
	maps.Copy(evidence.Nodes, answers)
	return ctx.Err()
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
	return carried, nil
}

func labelsOf(metric *dto.Metric) map[string]string {
	labels := map[string]string{}
	for _, pair := range metric.GetLabel() {
		labels[pair.GetName()] = pair.GetValue()
	}
	return labels
}
