package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// The mesh of BenchmarkVerify: pods of several workloads on many nodes.
const (
	verifiedNodes     = 20
	verifiedPods      = 2000
	verifiedWorkloads = 20
)

// BenchmarkVerify times verify on a namespace of 2,000 pods on 20 nodes, and says how
// many requests it takes for each node, and for each thousand pods, more.
func BenchmarkVerify(b *testing.B) {
	c, err := start(b.Context(), controlplane.Options{Nodes: controlplane.Nodes(verifiedNodes)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.stop)
	if _, err := c.InstallIstio(b.Context(), controlplane.IstioOptions{}); err != nil {
		b.Fatal(err)
	}
	c.ambientNamespace(b, "half", verifiedPods/10, verifiedNodes/2)
	c.ambientNamespace(b, "few", verifiedPods/10, verifiedNodes)
	c.ambientNamespace(b, "many", verifiedPods, verifiedNodes)
	half, few, many := c.verifying(b, "half"), c.verifying(b, "few"), c.verifying(b, "many")
	b.ResetTimer()
	var took cost
	for range b.N {
		took.add(c.timed(b, nil, "ambient", "verify", "-n", "many"))
	}
	b.ReportMetric(took.wall.Seconds()/float64(b.N), "s/verify")
	b.ReportMetric(took.processor.Seconds()/float64(b.N), "cpu-s/verify")
	b.ReportMetric(float64(many), "requests")
	b.ReportMetric(float64(few-half)/(verifiedNodes/2), "requests/node")
	b.ReportMetric(float64(many-few)/(verifiedPods-verifiedPods/10)*1000, "requests/1000-pods")
}

// ambientNamespace makes a namespace of pods in ambient mode on the first nodes, and
// waits until they are captured.
func (c *cluster) ambientNamespace(b *testing.B, name string, pods, nodes int) {
	b.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{modeLabel: "ambient"}}}
	if _, err := c.kube.CoreV1().Namespaces().Create(b.Context(), namespace, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	var names []string
	for _, node := range controlplane.Nodes(nodes) {
		names = append(names, node.Name)
	}
	var manifest strings.Builder
	for i := range verifiedWorkloads {
		fmt.Fprintf(&manifest, `---
apiVersion: v1
kind: Service
metadata: {name: app-%[1]d}
spec: {selector: {app: app-%[1]d}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app-%[1]d}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: app-%[1]d}}
  template:
    metadata: {labels: {app: app-%[1]d}}
    spec:
      containers: [{name: app, image: example.com/app:1}]
      affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%[3]s]}]}]}}}
`, i, pods/verifiedWorkloads, strings.Join(names, ", "))
	}
	c.timed(b, nil, "apply", "-n", name, "-f", c.manifest(b, manifest.String()))
	var captured int
	err := wait.PollUntilContextTimeout(b.Context(), 2*time.Second, 15*time.Minute, false, func(ctx context.Context) (bool, error) {
		list, err := c.kube.CoreV1().Pods(name).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return false, err
		}
		captured = 0
		for i := range list.Items {
			if ready(&list.Items[i]) && list.Items[i].Annotations["ambient.istio.io/redirection"] == "enabled" {
				captured++
			}
		}
		return captured == pods, nil
	})
	if err != nil {
		b.Fatalf("%d of %d pods are captured: %v", captured, pods, err)
	}
}

// verifying counts the requests of verify.
func (c *cluster) verifying(b *testing.B, namespace string) int64 {
	b.Helper()
	var count atomic.Int64
	kubeconfig := c.behind(b, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			count.Add(1)
			next.ServeHTTP(w, r)
		})
	})
	// ztunnel may not have heard yet of the last pods.
	c.timed(b, nil, "ambient", "verify", "-n", namespace, "--wait")
	c.timed(b, []string{"KUBECONFIG=" + kubeconfig}, "ambient", "verify", "-n", namespace)
	return count.Load()
}
