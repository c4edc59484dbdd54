package controlplane

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// metricsServer names the program, and labels the pod that it runs as.
const metricsServer = "metrics-server"

// metricsManifest registers metrics-server with the API server's aggregation layer, as
// its own manifests do.
const metricsManifest = `
apiVersion: v1
kind: Pod
metadata: {name: metrics-server, namespace: kube-system, labels: {k8s-app: metrics-server}}
spec: {containers: [{name: metrics-server, image: metrics-server}]}
---
apiVersion: v1
kind: Service
metadata: {name: metrics-server, namespace: kube-system}
spec: {selector: {k8s-app: metrics-server}, ports: [{name: https, port: 443, targetPort: 10250}]}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  {group: metrics.k8s.io, version: v1beta1, groupPriorityMinimum: 100, versionPriority: 100, insecureSkipTLSVerify: true, service: {name: metrics-server, namespace: kube-system}}
`

// ServeMetrics runs metrics-server behind the API server's aggregation layer. What it
// serves is what kwok says in place of kubelets, by stages/usage.yaml: that of the
// containers of a pod, and not of its init containers, to which native sidecars belong.
// It ends with the control plane.
func (c *ControlPlane) ServeMetrics(ctx context.Context) error {
	programs, err := BuildMetricsServer(ctx, c.options.Progress)
	if err != nil {
		return err
	}
	proxy, err := c.network.proxy.StartPlain()
	if err != nil {
		return err
	}
	secure, err := c.secureClient()
	if err != nil {
		return err
	}
	ports, err := c.startServer(ctx, server{
		name:        metricsServer,
		path:        programs.Path(metricsServer),
		ports:       1,
		arguments:   func(ports []int) []string { return metricsServerArguments(c.identities, c.kubeconfig, ports[0]) },
		environment: []string{"HTTPS_PROXY=" + proxy},
		ready: func(ctx context.Context, ports []int) error {
			return answers(ctx, secure, "https://"+loopback(ports[0])+"/livez")
		},
	})
	if err != nil {
		return err
	}
	c.metrics.Store(loopback(ports[0]))
	path, err := c.writeState("metrics.yaml", []byte(metricsManifest))
	if err != nil {
		return err
	}
	if output, err := c.Kubectl(ctx, "apply", "-f", path); err != nil {
		return fmt.Errorf("registering the metrics API: %w: %s", err, output)
	}
	return c.awaitMetrics(ctx)
}

// awaitMetrics waits until the API server finds that what is registered answers.
func (c *ControlPlane) awaitMetrics(ctx context.Context) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, last = c.client.Discovery().RESTClient().Get().AbsPath("/apis/metrics.k8s.io/v1beta1/pods").DoRaw(ctx)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the metrics API: %w", errors.Join(err, last))
	}
	return nil
}

// metricsAddress is where metrics-server listens.
type metricsAddress struct{ atomic.Value }

func (a *metricsAddress) behind(pod *corev1.Pod) (string, bool) {
	address, _ := a.Load().(string)
	return address, address != "" && pod.Labels["k8s-app"] == metricsServer
}
