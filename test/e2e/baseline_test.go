package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane"
	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/ztunnel"
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
	c.stopAfter(t)
	// kwok says what containers use, and not what init containers do, to which native
	// sidecars belong.
	if _, err := c.InstallIstio(t.Context(), controlplane.IstioOptions{Environment: map[string]string{"ENABLE_NATIVE_SIDECARS": "false"}}); err != nil {
		t.Fatal(err)
	}
	if err := c.ServeMetrics(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The policies of the application name its identities.
	const namespace = "bookinfo"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, route)
	c.apply(t, namespace, "bookinfo")
	c.apply(t, namespace, "bookinfo-get")
	c.measured(t, namespace, 7)
	c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 0)
	c.wantBaseline(t, namespace)
	c.measured(t, namespace, 8)
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
	t.Run("next pods", c.verifyNextPods)
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

// measured waits until metrics-server tells of so many pods of a namespace, and of every
// ztunnel: it has to have asked kubelets twice.
func (c *cluster) measured(t *testing.T, namespace string, pods int) {
	t.Helper()
	ztunnels, err := c.kube.CoreV1().Pods("istio-system").List(t.Context(), metav1.ListOptions{LabelSelector: "app=ztunnel"})
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]int{"namespaces/" + namespace + "/pods": pods, "namespaces/istio-system/pods?labelSelector=app%3Dztunnel": len(ztunnels.Items)} {
		c.eventually(t, "metrics-server tells of "+query, func(ctx context.Context) error {
			output, err := c.Kubectl(ctx, "get", "--raw", "/apis/metrics.k8s.io/v1beta1/"+query)
			if err != nil {
				return err
			}
			var list struct{ Items []struct{ Containers []any } }
			if err := json.Unmarshal([]byte(output), &list); err != nil {
				return err
			}
			if len(list.Items) != want {
				return fmt.Errorf("it tells of %d pods, want %d", len(list.Items), want)
			}
			return nil
		})
	}
}

// wantResources wants verify and status to say what proxies took before, and take now:
// what stages/usage.yaml of test/controlplane says that they do.
func (c *cluster) wantResources(t *testing.T, namespace string) {
	t.Helper()
	var report v1alpha1.VerifyReport
	decode(t, c.ambient(t, "verify", "-n", namespace, "-o", "json").want(t, 0).stdout, &report)
	wants := func(name string, resources *v1alpha1.ProxyResources, proxies, milliCPU, mebibytes int64) {
		if resources == nil || resources.MilliCPU == nil || resources.Memory == nil || resources.Unknown != "" {
			t.Fatalf("what %s take is not known: %+v", name, resources)
		}
		// CPU is measured: so many seconds between two looks.
		if off := *resources.MilliCPU - proxies*milliCPU; int64(resources.Proxies) != proxies || *resources.Memory != proxies*mebibytes<<20 || max(off, -off) > 1+proxies*milliCPU/20 {
			t.Errorf("%s: %d with %dm and %d bytes, want %d with %dm and %dMi", name, resources.Proxies, *resources.MilliCPU, *resources.Memory, proxies, proxies*milliCPU, proxies*mebibytes)
		}
	}
	// Nobody else's pods are captured, so that each ztunnel with any counts as a whole.
	nodes := int64(report.Resources.Ztunnel.Proxies)
	wants("sidecars before", report.Resources.Before, 7, 25, 40)
	wants("sidecars", report.Resources.Sidecars, 0, 25, 40)
	wants("ztunnels", report.Resources.Ztunnel, nodes, 60, 30)
	wants("waypoints", report.Resources.Waypoints, 1, 15, 70)
	if nodes == 0 || report.Resources.Before.RequestedMilliCPU == 0 || report.Resources.Before.RequestedMemory == 0 || report.Resources.Waypoints.RequestedMemory == 0 {
		t.Errorf("nothing is reserved: %+v", report.Resources)
	}
	if text := c.ambient(t, "verify", "-n", namespace).want(t, 0).stdout; !regexp.MustCompile(`sidecars before  7       1[678]\dm  280Mi`).MatchString(text) {
		t.Errorf("verify does not say what sidecars took:\n%s", text)
	}
	says(t, c.ambient(t, "status", "-n", namespace, "-o", "wide").want(t, 0).stdout, "m/70Mi")
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
