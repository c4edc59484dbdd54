package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// workloads is how many Deployments a namespace of the benchmark has.
const workloads = 8

// BenchmarkEnroll times an enrolment against what the documentation of Istio has
// people type (istio.io, Migrate from sidecar to ambient: labels, then kubectl rollout
// restart and status for each workload), in the same run and with the same waits: each
// workload rolled out, its pod captured, and known to ztunnel by what istiod tells it,
// which is what istioctl ztunnel-config is for. It prints the ratio of the two, the same
// where nobody asks ztunnel while typing, what each takes of the processor, and how many
// requests a workload takes. It fails where an enrolment is too slow or asks too much.
func BenchmarkEnroll(b *testing.B) {
	c := shared
	var enrolling, typing, asking cost
	var requests [2]int64
	for i := range b.N {
		namespace := fmt.Sprintf("bench-%d-%d", b.N, i)
		c.benchNamespace(b, namespace, workloads)
		enrolling.add(c.timed(b, nil, "ambient", "enroll", "-n", namespace, "--yes"))
		hand := namespace + "-by-hand"
		c.benchNamespace(b, hand, workloads)
		typed, asked := c.byHand(b, hand)
		typing.add(typed)
		asking.add(asked)
	}
	for i, size := range []int{workloads / 2, workloads} {
		namespace := fmt.Sprintf("bench-%d-requests-%d", b.N, size)
		c.benchNamespace(b, namespace, size)
		var count atomic.Int64
		kubeconfig := c.behind(b, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.Contains(r.URL.Path, "/leases") {
					count.Add(1)
				}
				next.ServeHTTP(w, r)
			})
		})
		c.timed(b, []string{"KUBECONFIG=" + kubeconfig}, "ambient", "enroll", "-n", namespace, "--yes")
		requests[i] = count.Load()
	}
	b.ReportMetric(enrolling.wall.Seconds()/typing.wall.Seconds(), "enroll/by-hand-unasked")
	typing.add(asking)
	for name, cost := range map[string]cost{"enroll": enrolling, "by-hand": typing} {
		b.ReportMetric(float64(cost.wall.Milliseconds())/float64(b.N), "ms/"+name)
		b.ReportMetric(float64(cost.processor.Milliseconds())/float64(b.N), "cpu-ms/"+name)
	}
	ratio, each := enrolling.wall.Seconds()/typing.wall.Seconds(), float64(requests[1]-requests[0])/float64(workloads-workloads/2)
	b.ReportMetric(ratio, "enroll/by-hand")
	b.ReportMetric(each, "requests/workload")
	if ratio > mostRatio || each > mostRequestsEach {
		b.Errorf("an enrolment takes %.2f of the time of typing, of which at most %.1f will do, and %.1f requests a workload, of which %d will", ratio, mostRatio, each, mostRequestsEach)
	}
}

// An enrolment may take so much of the time of typing it, and so many requests for each
// workload.
const (
	mostRatio        = 1.1
	mostRequestsEach = 12
)

// cost is how long something took, and how much of that processors were busy with it.
type cost struct{ wall, processor time.Duration }

func (c *cost) add(more cost) { c.wall, c.processor = c.wall+more.wall, c.processor+more.processor }

// benchNamespace makes a namespace of Deployments with sidecars.
func (c *cluster) benchNamespace(b *testing.B, name string, size int) {
	b.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"istio-injection": "enabled"}}}
	if _, err := c.kube.CoreV1().Namespaces().Create(b.Context(), namespace, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.kube.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{}) })
	var manifest strings.Builder
	for i := range size {
		fmt.Fprintf(&manifest, "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app-%d}\nspec:\n  selector: {matchLabels: {app: app-%d}}\n"+
			"  template:\n    metadata: {labels: {app: app-%d}}\n    spec: {containers: [{name: app, image: example.com/app:1}]}\n", i, i, i)
	}
	c.timed(b, nil, "apply", "-n", name, "-f", c.manifest(b, manifest.String()))
	for i := range size {
		c.timed(b, nil, "rollout", "status", "-n", name, fmt.Sprintf("deployment/app-%d", i))
	}
}

// manifest is a file with a manifest.
func (c *cluster) manifest(b *testing.B, text string) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "manifest.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// byHand moves a namespace by what one types without the plugin, and waits for the
// same. It returns what typing takes, and what asking ztunnel does.
func (c *cluster) byHand(b *testing.B, namespace string) (typed, asked cost) {
	b.Helper()
	typed = c.timed(b, nil, "label", "namespace", namespace, "istio.io/dataplane-mode=ambient", "istio-injection-")
	for i := range workloads {
		typed.add(c.timed(b, nil, "rollout", "restart", "-n", namespace, fmt.Sprintf("deployment/app-%d", i)))
		typed.add(c.timed(b, nil, "rollout", "status", "-n", namespace, fmt.Sprintf("deployment/app-%d", i)))
		pod, more := c.captured(b, namespace, fmt.Sprintf("app=app-%d", i))
		typed.add(more)
		asked.add(c.known(b, namespace, pod))
	}
	return typed, asked
}

// captured asks kubectl until a pod with a label is in ambient mode, and returns its name
// and what that takes.
func (c *cluster) captured(b *testing.B, namespace, label string) (string, cost) {
	b.Helper()
	var took cost
	for {
		output, more := c.run(b, nil, "get", "pods", "-n", namespace, "-l", label, "-o",
			`jsonpath={range .items[*]}{.metadata.annotations.ambient\.istio\.io/redirection} {.metadata.name}{"\n"}{end}`)
		took.add(more)
		for line := range strings.Lines(output) {
			if pod, ok := strings.CutPrefix(line, "enabled "); ok {
				return strings.TrimSpace(pod), took
			}
		}
	}
}

// known asks istioctl until ztunnel reaches a pod by HBONE, and says what that takes.
func (c *cluster) known(b *testing.B, namespace, pod string) cost {
	b.Helper()
	var took cost
	for {
		output, more := c.program(b, nil, "istioctl", "ztunnel-config", "workloads", "--workload-namespace", namespace)
		took.add(more)
		for line := range strings.Lines(output) {
			if strings.Contains(line, " "+pod+" ") && strings.HasSuffix(strings.TrimSpace(line), "HBONE") {
				return took
			}
		}
	}
}

// timed runs kubectl, and says what it took.
func (c *cluster) timed(b *testing.B, environment []string, arguments ...string) cost {
	b.Helper()
	_, took := c.run(b, environment, arguments...)
	return took
}

func (c *cluster) run(b *testing.B, environment []string, arguments ...string) (string, cost) {
	b.Helper()
	return c.program(b, environment, "kubectl", arguments...)
}

// program runs one of the programs of the control plane.
func (c *cluster) program(b *testing.B, environment []string, name string, arguments ...string) (string, cost) {
	b.Helper()
	binaries := c.Programs().Directory
	command := exec.CommandContext(b.Context(), filepath.Join(binaries, name), arguments...)
	command.Env = append(os.Environ(), "PATH="+pluginDirectory+":"+binaries+":"+os.Getenv("PATH"), "KUBECONFIG="+c.Kubeconfig())
	command.Env = append(command.Env, environment...)
	started := time.Now()
	output, err := command.CombinedOutput()
	took := cost{time.Since(started), command.ProcessState.UserTime() + command.ProcessState.SystemTime()}
	if err != nil {
		b.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, output)
	}
	return string(output), took
}
