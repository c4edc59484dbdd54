package controlplane

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// Usage says what a container of a pod uses: thousandths of a CPU, and bytes.
type Usage func(pod *corev1.Pod, container string) (milliCPU, memory int64)

// metricsServer labels the pod that the double of metrics-server runs as.
const metricsServer = "metrics-server"

// metricsManifest registers the double with the API server's aggregation layer, as
// metrics-server is by its own manifests.
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

// ServeMetrics serves metrics.k8s.io through the API server's aggregation layer, as
// metrics-server does for what kubelets measure: here a function says it. It ends with
// the control plane.
func (c *ControlPlane) ServeMetrics(ctx context.Context, usage Usage) error {
	certificate, key, err := c.identities.webhook.Read()
	if err != nil {
		return fmt.Errorf("serving metrics: %w", err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return fmt.Errorf("serving metrics: %w", err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	if err != nil {
		return fmt.Errorf("serving metrics: %w", err)
	}
	server := &http.Server{Handler: c.metricsHandler(usage), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	c.onStop(func() { _ = server.Close() })
	c.metrics.Store(listener.Addr().(*net.TCPAddr).String())

	path := filepath.Join(c.directory, "metrics.yaml")
	if err := os.WriteFile(path, []byte(metricsManifest), 0o600); err != nil {
		return fmt.Errorf("serving metrics: %w", err)
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

// metricsAddress is where the double of metrics-server listens.
type metricsAddress struct{ atomic.Value }

func (a *metricsAddress) behind(pod *corev1.Pod) (string, bool) {
	address, _ := a.Load().(string)
	return address, address != "" && pod.Labels["k8s-app"] == metricsServer
}

func (c *ControlPlane) metricsHandler(usage Usage) http.Handler {
	const version = "metrics.k8s.io/v1beta1"
	mux := http.NewServeMux()
	mux.HandleFunc("GET /apis/"+version, func(response http.ResponseWriter, _ *http.Request) {
		answer(response, metav1.APIResourceList{
			TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: version,
			APIResources: []metav1.APIResource{{Name: "pods", Namespaced: true, Kind: "PodMetrics", Verbs: metav1.Verbs{"get", "list"}}},
		})
	})
	list := func(response http.ResponseWriter, request *http.Request) {
		pods, err := c.client.CoreV1().Pods(request.PathValue("namespace")).List(request.Context(), metav1.ListOptions{LabelSelector: request.URL.Query().Get("labelSelector")})
		if err != nil {
			http.Error(response, err.Error(), http.StatusInternalServerError)
			return
		}
		items := []any{}
		for i := range pods.Items {
			items = append(items, podMetrics(&pods.Items[i], usage))
		}
		answer(response, map[string]any{"apiVersion": version, "kind": "PodMetricsList", "metadata": map[string]any{}, "items": items})
	}
	mux.HandleFunc("GET /apis/"+version+"/pods", list)
	mux.HandleFunc("GET /apis/"+version+"/namespaces/{namespace}/pods", list)
	return mux
}

// podMetrics is what metrics-server says of a pod: native sidecars are among its
// containers.
func podMetrics(pod *corev1.Pod, usage Usage) map[string]any {
	containers := []any{}
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for _, container := range list {
			cpu, memory := usage(pod, container.Name)
			containers = append(containers, map[string]any{
				"name": container.Name, "usage": map[string]string{"cpu": fmt.Sprintf("%dm", cpu), "memory": fmt.Sprintf("%d", memory)},
			})
		}
	}
	return map[string]any{
		"metadata":  map[string]any{"name": pod.Name, "namespace": pod.Namespace, "labels": pod.Labels},
		"timestamp": metav1.Now(), "window": "30s", "containers": containers,
	}
}

func answer(response http.ResponseWriter, content any) {
	response.Header().Set("Content-Type", "application/json")
	// Who does not listen any more is told nothing.
	_ = json.NewEncoder(response).Encode(content)
}
