package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane"
	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/ztunnel"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// route is what the namespace has besides the application before it is enrolled, which
// has a PeerAuthentication of its own.
const (
	route = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{timeout: 3s, route: [{destination: {host: reviews}}]}]}`
	strictMode = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict}
spec: {mtls: {mode: STRICT}}`
)

// TestVerifyAgainstWhatWas has verify find what is not as it was before a namespace was
// enrolled, one thing after the other, and nothing else.
func TestVerifyAgainstWhatWas(t *testing.T) {
	t.Parallel()
	c, err := start(t.Context(), controlplane.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.stop)
	if _, err := c.InstallIstio(t.Context(), controlplane.IstioOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.ServeMetrics(t.Context(), proxiesUse); err != nil {
		t.Fatal(err)
	}
	// The policies of the application name its identities.
	const namespace = "bookinfo"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, route)
	c.apply(t, namespace, "bookinfo")
	c.apply(t, namespace, "bookinfo-get")
	c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 0)
	c.wantBaseline(t, namespace)
	c.wantResources(t, namespace)
	c.wantFindings(t, namespace, nil, "")
	for _, fault := range c.sinceFaults(namespace) {
		t.Run(fault.name, func(t *testing.T) {
			end := fault.plant(t)
			c.wantFindings(t, namespace, fault.want, fault.says)
			end()
			c.wantFindings(t, namespace, nil, "")
		})
	}
	t.Run("plaintext where STRICT was", func(t *testing.T) {
		c.Ztunnel(c.podOf(t, namespace, "details").Spec.NodeName).Open(ztunnel.Connection{
			Reporter: "destination", DestinationNamespace: namespace, DestinationWorkload: "details-v1", Security: "unknown",
		}, 2)
		c.wantFindings(t, namespace, []string{"fail plaintext-seen Deployment details-v1"}, "has let in 2 connections without mTLS")
	})
}

// wantBaseline wants the record to hold what the namespace was, once.
func (c *cluster) wantBaseline(t *testing.T, namespace string) {
	t.Helper()
	runs, err := record.NewStore(c.kube.CoreV1(), namespace).List(t.Context())
	if err != nil || len(runs) != 1 {
		t.Fatalf("%d records: %v", len(runs), err)
	}
	run := runs[0]
	if run.Baseline == nil {
		t.Fatal("the record holds no baseline")
	}
	data, err := json.Marshal(run.Baseline)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the baseline is %d KiB before it is packed", len(data)>>10)
	if len(run.Baseline.Workloads) != 6 || len(run.Baseline.Strict) != 6 || len(run.Baseline.Services) != 4 || len(run.Baseline.Ztunnels) == 0 ||
		run.Baseline.Strict[0].By == nil || !run.Baseline.Strict[0].All || strings.Contains(string(data), `"kind":"Secret"`) {
		t.Errorf("the baseline is %.4000s", data)
	}
}

// proxiesUse is what proxies use here: nothing else is asked for.
func proxiesUse(pod *corev1.Pod, container string) (milliCPU, memory int64) {
	const mebibyte = 1 << 20
	switch {
	case container != "istio-proxy":
		return 1000, 1 << 30
	case pod.Labels["app"] == "ztunnel":
		return 60, 30 * mebibyte
	case pod.Labels["gateway.networking.k8s.io/gateway-name"] != "":
		return 15, 70 * mebibyte
	default:
		return 25, 40 * mebibyte
	}
}

// wantResources wants verify and status to say what proxies took before, and take now.
func (c *cluster) wantResources(t *testing.T, namespace string) {
	t.Helper()
	var report v1alpha1.VerifyReport
	decode(t, c.ambient(t, "verify", "-n", namespace, "-o", "json").want(t, 0).stdout, &report)
	type use struct{ proxies, milliCPU, mebibytes int64 }
	of := func(resources *v1alpha1.ProxyResources) use {
		if resources == nil || resources.MilliCPU == nil || resources.Memory == nil || resources.Unknown != "" {
			t.Fatalf("what proxies take is not known: %+v", resources)
		}
		return use{int64(resources.Proxies), *resources.MilliCPU, *resources.Memory >> 20}
	}
	nodes := of(report.Resources.Ztunnel).proxies
	// Nobody else's pods are captured, so that each ztunnel with any counts as a whole.
	want := map[string]use{"before": {7, 175, 280}, "sidecars": {}, "ztunnel": {nodes, 60 * nodes, 30 * nodes}, "waypoints": {1, 15, 70}}
	got := map[string]use{
		"before": of(report.Resources.Before), "sidecars": of(report.Resources.Sidecars), "ztunnel": of(report.Resources.Ztunnel), "waypoints": of(report.Resources.Waypoints),
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(use{})); diff != "" || nodes == 0 {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if report.Resources.Before.RequestedMilliCPU == 0 || report.Resources.Before.RequestedMemory == 0 || report.Resources.Waypoints.RequestedMemory == 0 {
		t.Errorf("nothing is reserved: %+v", report.Resources)
	}
	says(t, c.ambient(t, "verify", "-n", namespace).want(t, 0).stdout, "sidecars before  7       175m  280Mi")
	says(t, c.ambient(t, "status", "-n", namespace, "-o", "wide").want(t, 0).stdout, "15m/70Mi")
}

// sinceFaults are those of what is compared with before.
func (c *cluster) sinceFaults(namespace string) []fault {
	kubectl := c.kubectlIn(namespace)
	return []fault{
		c.strictDeleted(namespace),
		{
			name: "a policy that somebody has made", want: []string{"warn calls-kept Deployment details-v1"}, says: "somebody has edited since: AuthorizationPolicy bookinfo/late",
			plant: func(t *testing.T) func() {
				c.applyText(t, namespace, `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: late}
spec: {action: DENY, selector: {matchLabels: {app: details}}, rules: [{from: [{source: {principals: ["cluster.local/ns/bookinfo/sa/productpage"]}}]}]}`)
				return func() { kubectl(t, "delete", "authorizationpolicy", "late") }
			},
		},
		{
			name: "a VirtualService that somebody has deleted", want: []string{"warn routes-kept VirtualService reviews"}, says: "it routed calls to Service bookinfo/reviews",
			plant: func(t *testing.T) func() {
				kubectl(t, "delete", "virtualservice", "reviews")
				return func() { c.applyText(t, namespace, route) }
			},
		},
		{
			name: "a container that restarts", want: []string{"warn workloads-kept Deployment ratings-v1"}, says: "has restarted since the enrolment, after 2 restarts; it ended last with OOMKilled, exit code 137",
			plant: func(t *testing.T) func() {
				name := c.podOf(t, namespace, "ratings").Name
				c.patchContainer(t, namespace, name, `"ready":true,"restartCount":2,"lastState":{"terminated":{"exitCode":137,"reason":"OOMKilled"}},"state":{"running":{}}`)
				return func() {
					c.patchContainer(t, namespace, name, `"ready":true,"restartCount":0,"state":{"running":{}}`)
				}
			},
		},
		{
			name: "a container that does not come up", want: []string{"fail workloads-kept Deployment ratings-v1"}, says: "does not come up (CrashLoopBackOff)",
			plant: func(t *testing.T) func() {
				name := c.podOf(t, namespace, "ratings").Name
				c.patchContainer(t, namespace, name, `"ready":false,"restartCount":7,"lastState":{"terminated":{"exitCode":1,"reason":"Error"}},"state":{"waiting":{"reason":"CrashLoopBackOff"}}`)
				return func() {
					c.patchContainer(t, namespace, name, `"ready":true,"restartCount":0,"state":{"running":{}}`)
				}
			},
		},
		{
			name: "a ztunnel that was started anew", want: []string{"unknown traffic-seen -"}, says: "was started anew since",
			plant: func(t *testing.T) func() {
				node := c.podOf(t, namespace, "details").Spec.NodeName
				restore, err := c.RemoveZtunnel(t.Context(), node)
				if err == nil {
					err = restore(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
				return func() {
					c.Ztunnel(node).Open(ztunnel.Connection{Reporter: "destination", DestinationNamespace: namespace, DestinationWorkload: "details-v1", Security: "mutual_tls"}, 3)
				}
			},
		},
	}
}

// strictDeleted is the PeerAuthentication of the bookshop that somebody deletes.
func (c *cluster) strictDeleted(namespace string) fault {
	var want []string
	for _, workload := range []string{"details-v1", "productpage-v1", "ratings-v1", "reviews-v1", "reviews-v2", "reviews-v3"} {
		want = append(want, "fail strict-kept Deployment "+workload)
	}
	return fault{
		name: "STRICT deleted", want: want, says: "refused them before it was enrolled by PeerAuthentication bookinfo/strict, which is gone",
		plant: func(t *testing.T) func() {
			if output, err := c.Kubectl(t.Context(), "-n", namespace, "delete", "peerauthentication", "strict"); err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			return func() { c.applyText(t, namespace, strictMode) }
		},
	}
}

// patchContainer writes what the kubelet says of a pod's only container.
func (c *cluster) patchContainer(t *testing.T, namespace, pod, fields string) {
	t.Helper()
	read, err := c.kube.CoreV1().Pods(namespace).Get(context.WithoutCancel(t.Context()), pod, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	of := read.Spec.Containers[0]
	patch := fmt.Sprintf(`{"status":{"containerStatuses":[{"name":%q,"image":%q,"imageID":"",%s}]}}`, of.Name, of.Image, fields)
	if _, err := c.kube.CoreV1().Pods(namespace).Patch(context.WithoutCancel(t.Context()), pod, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}
