package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mixed are objects of many kinds that checks have something to say of.
const mixed = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: get-only}
spec:
  selector: {matchLabels: {app: reviews}}
  rules: [{to: [{operation: {methods: [GET]}}]}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings}
spec:
  hosts: [ratings]
  http: [{route: [{destination: {host: ratings}}], timeout: 1s}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web-only}
spec:
  podSelector: {matchLabels: {app: productpage}}
  ingress: [{ports: [{port: 9080}]}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: details}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: details-v1}
  minReplicas: 1
  maxReplicas: 3
  metrics: [{type: ContainerResource, containerResource: {name: cpu, container: istio-proxy, target: {type: Utilization, averageUtilization: 80}}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ratings}
spec:
  parentRefs: [{group: "", kind: Service, name: ratings, port: 9080}]
  rules: [{backendRefs: [{name: ratings, port: 9080}]}]
`

// What a dump says is what the cluster says, byte for byte, whichever part of
// the mesh the dump holds. The test runs beside no other, so that the mesh stays
// as it is.
func TestADumpSaysWhatItsClusterSays(t *testing.T) {
	c := shared
	// What tests before it have deleted is still on its way out, and pods there are
	// callers.
	c.eventually(t, "namespaces that are being deleted to be gone", func(ctx context.Context) error {
		list, err := c.kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, namespace := range list.Items {
			if namespace.DeletionTimestamp != nil {
				return fmt.Errorf("namespace %s is being deleted", namespace.Name)
			}
		}
		return nil
	})
	for namespace, labels := range map[string]map[string]string{
		"dumped-label": {"istio-injection": "enabled"}, "dumped-rev": {"istio.io/rev": "canary"}, "dumped-outside": nil,
	} {
		c.namespace(t, namespace, labels)
		c.apply(t, namespace, map[string]string{"dumped-label": "bookinfo", "dumped-rev": "shop", "dumped-outside": "bookinfo"}[namespace])
	}
	c.applyText(t, "dumped-label", mixed)
	directory := t.TempDir()
	write := func(name string, arguments ...string) string {
		t.Helper()
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(c.ambient(t, append([]string{"snapshot"}, arguments...)...).want(t, 0).stdout), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	whole, wholeJSON := write("mesh.yaml"), write("mesh.json", "-o", "json")
	// No cluster is needed for files, and none is asked.
	noCluster := []string{"KUBECONFIG=" + filepath.Join(directory, "none")}
	compare := func(dump string, arguments ...string) {
		t.Helper()
		live := c.ambient(t, arguments...)
		again := c.ambientIn(t, noCluster, append(arguments, "-f", dump)...)
		if diff := cmp.Diff(live.stdout, again.stdout); diff != "" || live.status != again.status {
			t.Errorf("%v of %s ends with %d, not %d (-live +dump):\n%s", arguments, filepath.Base(dump), again.status, live.status, diff)
		}
	}
	for _, namespace := range []string{"dumped-label", "dumped-rev", "dumped-outside", "istio-system"} {
		own := write(namespace+".yaml", "-n", namespace)
		for _, dump := range []string{whole, wholeJSON, own} {
			compare(dump, "plan", "-n", namespace)
			compare(dump, "plan", "-n", namespace, "-o", "json", "--ignore-failures")
			compare(dump, "status", "-n", namespace, "-o", "wide")
			compare(dump, "status", "-n", namespace, "-o", "yaml")
		}
	}
	blocked := c.ambient(t, "plan", "-n", "dumped-label").want(t, 3)
	says(t, blocked.stdout, "get-only", "VirtualService dumped-label/ratings", "web-only", "15008")
	// The dump of one namespace says nothing of another.
	unknown := c.ambientIn(t, noCluster, "plan", "-n", "dumped-rev", "-f", filepath.Join(directory, "dumped-label.yaml")).want(t, 3)
	says(t, unknown.stdout, "checks cannot be made", "it was not asked for")

	text, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"kind: Secret", "BEGIN CERTIFICATE", "last-applied-configuration: '{", "last-applied-configuration: |"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the dump contains %q", secret)
		}
	}
}

// The number of requests does not grow with the mesh.
func TestPlanMakesAFixedNumberOfRequests(t *testing.T) {
	c := shared
	c.namespace(t, "count-0", map[string]string{"istio-injection": "enabled"})
	c.apply(t, "count-0", "shop")
	requests := func(arguments ...string) []string {
		t.Helper()
		recorder := &recorder{}
		kubeconfig := c.behind(t, recorder.decide)
		if run := c.ambientIn(t, []string{"KUBECONFIG=" + kubeconfig}, arguments...); run.status != 0 && run.status != 3 {
			t.Fatal(run)
		}
		slices.Sort(recorder.requests)
		return recorder.requests
	}
	add := func(first, last int) {
		t.Helper()
		for i := first; i <= last; i++ {
			name := fmt.Sprintf("count-%d", i)
			c.namespace(t, name, map[string]string{"istio-injection": "enabled"})
			c.applyText(t, name, "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n---\n"+
				"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: {app: web}}\n"+
				"  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: web, image: example.com/web:1}]}\n")
		}
		for i := first; i <= last; i++ {
			c.settled(t, fmt.Sprintf("count-%d", i))
		}
	}
	commands := [][]string{{"plan", "-n", "count-0"}, {"status"}, {"snapshot"}}
	add(1, 2)
	var few [][]string
	for _, command := range commands {
		few = append(few, requests(command...))
	}
	add(3, 59)
	for i, command := range commands {
		many := requests(command...)
		if diff := cmp.Diff(few[i], many); diff != "" {
			t.Errorf("%s makes other requests with 60 namespaces than with 3 (-3 +60):\n%s", command[0], diff)
		}
		t.Logf("%s: %d requests with 3 namespaces, %d with 60", command[0], len(few[i]), len(many))
	}
}

// verify -A reads the mesh, and asks each ztunnel, once for all namespaces: with each more
// of them it looks for that one's records, and no further.
func TestVerifyEverywhereIsOnePass(t *testing.T) {
	c := shared
	requests := func() (others, records []string) {
		t.Helper()
		recorder := &recorder{}
		kubeconfig := c.behind(t, recorder.decide)
		c.ambientIn(t, []string{"KUBECONFIG=" + kubeconfig}, "verify", "-A").want(t, 0)
		for _, request := range recorder.requests {
			if strings.Contains(request, "/namespaces/everywhere-") && strings.Contains(request, "/configmaps") {
				records = append(records, request)
			} else {
				others = append(others, request)
			}
		}
		slices.Sort(others)
		return others, records
	}
	// On every node, so that all ztunnels are asked from the first namespace on.
	const everywhere = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: {app: web}}\n" +
		"  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: web, image: example.com/web:1}]}\n"
	add := func(first, last int) {
		t.Helper()
		for i := first; i <= last; i++ {
			name := fmt.Sprintf("everywhere-%d", i)
			c.namespace(t, name, map[string]string{"istio.io/dataplane-mode": "ambient"})
			c.applyText(t, name, everywhere)
		}
		for i := first; i <= last; i++ {
			c.settled(t, fmt.Sprintf("everywhere-%d", i))
		}
		c.eventually(t, "all are verified", func(context.Context) error {
			if run := c.ambient(t, "verify", "-A"); run.status != 0 {
				return fmt.Errorf("%s", run)
			}
			return nil
		})
	}
	add(1, 1)
	few, one := requests()
	add(2, 12)
	many, twelve := requests()
	if diff := cmp.Diff(few, many); diff != "" {
		t.Errorf("it makes other requests with 12 namespaces than with one (-1 +12):\n%s", diff)
	}
	if len(one) == 0 || len(twelve) > 12*len(one) {
		t.Errorf("it looks for the records of one namespace in %d requests, and for those of twelve in %d", len(one), len(twelve))
	}
	t.Logf("verify -A: %d requests and %d for records with one namespace, %d and %d with 12", len(few), len(one), len(many), len(twelve))
}

// The files of --output-dir, applied phase by phase with kubectl alone, move the
// namespace.
func TestManifestsOfAPlanMoveTheNamespace(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "manifests"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.apply(t, namespace, "bookinfo")
	directory := filepath.Join(t.TempDir(), "phases")
	c.ambient(t, "plan", "-n", namespace, "--output-dir", directory, "--diff=false").want(t, 0)
	files, err := filepath.Glob(filepath.Join(directory, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 3 {
		t.Fatalf("there are files %v", files)
	}
	for _, file := range files {
		if output, err := c.Kubectl(t.Context(), "apply", "-f", file); err != nil {
			t.Fatalf("apply %s: %v\n%s", file, err, output)
		}
		c.settled(t, namespace)
	}
	c.eventually(t, "verify passes", func(context.Context) error {
		if run := c.ambient(t, "verify", "-n", namespace); run.status != 0 {
			return fmt.Errorf("%s", run)
		}
		return nil
	})
	c.wantNoSidecars(t, namespace)
	says(t, c.ambient(t, "plan", "-n", namespace).want(t, 0).stdout, "nothing to do")
}

// status --watch shows again what has changed, until it is interrupted.
func TestWatch(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "watched"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	run := c.startAmbient(ctx, t, nil, "status", "-n", namespace, "--watch")
	c.eventually(t, "the status is shown", func(context.Context) error { return run.stdout.contains("enabled") })
	c.apply(t, namespace, "shop")
	c.eventually(t, "the change is shown", func(context.Context) error { return run.stdout.contains("deployment/cart") })
	if err := run.command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	run.wait(t).want(t, 0)
}
