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
	// mostForVerify is how long it may take, mostPodsForARequest how many pods may cost
	// another request.
	mostForVerify       = 3 * time.Second
	mostPodsForARequest = 100
)

// BenchmarkVerify times verify on an enrolled namespace of 2,000 pods on 20 nodes, with
// policies and a waypoint, and says how many requests it takes for each node, and for
// each thousand pods, more.
func BenchmarkVerify(b *testing.B) {
	c, err := start(b.Context(), controlplane.Options{Nodes: controlplane.Nodes(verifiedNodes)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.stop)
	if _, err := c.InstallIstio(b.Context(), controlplane.IstioOptions{}); err != nil {
		b.Fatal(err)
	}
	c.enrolledNamespace(b, "half", verifiedPods/10, verifiedNodes/2)
	c.enrolledNamespace(b, "few", verifiedPods/10, verifiedNodes)
	c.enrolledNamespace(b, "many", verifiedPods, verifiedNodes)
	half, few, many := c.verifying(b, "half"), c.verifying(b, "few"), c.verifying(b, "many")
	var took cost
	for b.Loop() {
		took.add(c.timed(b, nil, "ambient", "verify", "-n", "many"))
	}
	// A benchmark that fails does not show its metrics.
	b.Logf("verify took %s, and %s of processor time; it asked %d times for %d pods on %d nodes, %d for %d there, and %d on %d nodes",
		took.wall/time.Duration(b.N), took.processor/time.Duration(b.N), many, verifiedPods, verifiedNodes, few, verifiedPods/10, half, verifiedNodes/2)
	// Pages of lists are all that grows with pods.
	if most := few + verifiedPods/mostPodsForARequest; many > most {
		b.Errorf("verify asks %d times for 10 times the pods on as many nodes, instead of %d: want %d at most", many, few, most)
	}
	if each := took.wall / time.Duration(b.N); each > mostForVerify {
		b.Errorf("verify takes %s, want %s at most", each, mostForVerify)
	}
	b.ReportMetric(took.wall.Seconds()/float64(b.N), "s/verify")
	b.ReportMetric(took.processor.Seconds()/float64(b.N), "cpu-s/verify")
	b.ReportMetric(float64(many), "requests")
	b.ReportMetric(float64(few-half)/(verifiedNodes/2), "requests/node")
	b.ReportMetric(float64(many-few)/(verifiedPods-verifiedPods/10)*1000, "requests/1000-pods")
}

// guarded is what protects a namespace: some workloads by who calls, one by HTTP.
const guarded = `---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: app-0}
spec:
  selector: {matchLabels: {app: app-0}}
  rules:
  - from: [{source: {namespaces: [NAMESPACE]}}]
    to: [{operation: {methods: [GET], ports: ["80"]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: app-1}
spec:
  selector: {matchLabels: {app: app-1}}
  rules: [{from: [{source: {namespaces: [NAMESPACE]}}]}]
`

// enrolledNamespace makes a namespace on the first nodes, enrols it, scales it up, and
// waits until its pods are captured.
func (c *cluster) enrolledNamespace(b *testing.B, name string, pods, nodes int) {
	b.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"istio-injection": "enabled"}}}
	if _, err := c.kube.CoreV1().Namespaces().Create(b.Context(), namespace, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	var names []string
	for _, node := range controlplane.Nodes(nodes) {
		names = append(names, node.Name)
	}
	var manifest strings.Builder
	manifest.WriteString(strings.ReplaceAll(guarded, "NAMESPACE", name))
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
  selector: {matchLabels: {app: app-%[1]d}}
  template:
    metadata: {labels: {app: app-%[1]d}}
    spec:
      containers: [{name: app, image: example.com/app:1}]
      affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%[2]s]}]}]}}}
`, i, strings.Join(names, ", "))
	}
	c.timed(b, nil, "apply", "-n", name, "-f", c.manifest(b, manifest.String()))
	c.timed(b, nil, "rollout", "status", "-n", name, "deployment", "--watch=true")
	c.timed(b, nil, "ambient", "enroll", "-n", name, "--yes", "--mixed-callers=deny")
	c.timed(b, nil, "scale", "-n", name, "deployment", "-l", "!gateway.networking.k8s.io/gateway-name", fmt.Sprintf("--replicas=%d", pods/verifiedWorkloads))
	var captured int
	err := wait.PollUntilContextTimeout(b.Context(), 2*time.Second, 15*time.Minute, false, func(ctx context.Context) (bool, error) {
		list, err := c.kube.CoreV1().Pods(name).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return false, err
		}
		captured = 0
		for i := range list.Items {
			if ready(&list.Items[i]) && list.Items[i].DeletionTimestamp == nil && list.Items[i].Annotations["ambient.istio.io/redirection"] == "enabled" {
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
