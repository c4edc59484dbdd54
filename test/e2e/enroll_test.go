package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestThereAndBack moves each sample application to ambient mode and back, in
// namespaces that ask for sidecars in every way there is.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		namespace, application string
		labels                 map[string]string
		// outside are the apps that never have a sidecar.
		outside []string
	}{
		{"bookinfo-label", "bookinfo", map[string]string{"istio-injection": "enabled"}, nil},
		{"bookinfo-rev", "bookinfo", map[string]string{"istio.io/rev": "canary", "team": "books"}, nil},
		{"shop", "shop", map[string]string{"istio-injection": "enabled"}, []string{"legacy", "debug", "ingress", "node-agent"}},
		{"shop-rev", "shop", map[string]string{"istio.io/rev": "canary"}, []string{"legacy", "debug", "ingress", "node-agent"}},
	} {
		t.Run(test.namespace, func(t *testing.T) {
			t.Parallel()
			c := shared
			c.namespace(t, test.namespace, test.labels)
			c.apply(t, test.namespace, test.application)
			c.wantSidecars(t, test.namespace, test.outside...)
			before, replicaSets := c.state(t, test.namespace), c.replicaSets(t, test.namespace)
			modes := c.watchModes(t, test.namespace)

			says(t, c.ambient(t, "status", "-n", test.namespace).want(t, 0).stdout, test.namespace, "sidecar")
			c.ambient(t, "verify", "-n", test.namespace).want(t, 3)
			c.ambient(t, "plan", "-n", test.namespace).want(t, 0)
			for _, strategy := range []string{"client", "server"} {
				c.ambient(t, "enroll", "-n", test.namespace, "--dry-run="+strategy).want(t, 0)
				c.wantState(t, test.namespace, before)
			}

			c.ambient(t, "enroll", "-n", test.namespace, "--yes").want(t, 0)
			c.wantNoSidecars(t, test.namespace, test.outside...)
			verified := c.ambient(t, "verify", "-n", test.namespace, "-o", "json").want(t, 0)
			var report v1alpha1.VerifyReport
			decode(t, verified.stdout, &report)
			if !report.Verified {
				t.Errorf("verify does not say so: %s", verified)
			}
			says(t, c.ambient(t, "status", "-n", test.namespace).want(t, 0).stdout, "ambient")
			says(t, c.ambient(t, "enroll", "-n", test.namespace, "--yes").want(t, 0).stdout, "nothing to do")

			c.ambient(t, "rollback", "-n", test.namespace, "--dry-run=client").want(t, 0)
			c.ambient(t, "rollback", "-n", test.namespace, "--yes").want(t, 0)
			c.settled(t, test.namespace)
			c.wantState(t, test.namespace, before)
			c.wantSidecars(t, test.namespace, test.outside...)
			says(t, c.ambient(t, "verify", "-n", test.namespace).want(t, 0).stdout, "was rolled back, and is on sidecars")
			if diff := cmp.Diff(replicaSets, c.replicaSets(t, test.namespace)); diff != "" {
				t.Errorf("the former ReplicaSets did not come back (-before +now):\n%s", diff)
			}
			modes.want(t)
			says(t, c.ambient(t, "rollback", "-n", test.namespace, "--yes").want(t, 0).stdout, "nothing to do")
		})
	}
}

// TestDisturbed has pods deleted and workloads scaled up all the time during an
// enrolment and its rollback, and a workload deployed in between.
func TestDisturbed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		namespace string
		labels    map[string]string
	}{
		{"disturbed-label", map[string]string{"istio-injection": "enabled"}},
		{"disturbed-rev", map[string]string{"istio.io/rev": "canary"}},
	} {
		t.Run(test.namespace, func(t *testing.T) {
			t.Parallel()
			c := shared
			c.namespace(t, test.namespace, test.labels)
			c.apply(t, test.namespace, "bookinfo")
			before := c.state(t, test.namespace)
			modes := c.watchModes(t, test.namespace)

			calm := c.disturb(t, test.namespace)
			c.ambient(t, "enroll", "-n", test.namespace, "--yes").want(t, 0)
			calm()
			c.settled(t, test.namespace)
			c.ambient(t, "verify", "-n", test.namespace).want(t, 0)
			c.wantNoSidecars(t, test.namespace)
			modes.want(t)

			// What is deployed while the namespace is in ambient mode asks for nothing,
			// and has no sidecar; after the rollback it should have one.
			c.applyText(t, test.namespace, newcomer)
			c.settled(t, test.namespace)
			calm = c.disturb(t, test.namespace)
			c.ambient(t, "rollback", "-n", test.namespace, "--yes").want(t, 0)
			calm()
			c.settled(t, test.namespace)
			c.wantSidecars(t, test.namespace)
			if _, err := c.Kubectl(t.Context(), "delete", "-n", test.namespace, "deployment", "newcomer"); err != nil {
				t.Fatal(err)
			}
			c.scale(t, test.namespace, "ratings-v1", 1)
			c.wantState(t, test.namespace, before)
		})
	}
}

const newcomer = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: newcomer}
spec:
  replicas: 2
  selector: {matchLabels: {app: newcomer}}
  template:
    metadata: {labels: {app: newcomer}}
    spec:
      containers: [{name: newcomer, image: registry.example/newcomer:1}]
`

// disturb deletes a pod and scales a Deployment whenever a pod of the namespace
// changes, at most some dozens of times, until it is told to be calm.
func (c *cluster) disturb(t *testing.T, namespace string) (calm func()) {
	t.Helper()
	c.observer.excuse(namespace, takesPods)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	watch, err := c.kube.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer watch.Stop()
		count, replicas := 0, 1
		for event := range watch.ResultChan() {
			pod, isPod := event.Object.(*corev1.Pod)
			if !isPod || pod.DeletionTimestamp != nil || count == 40 {
				continue
			}
			count++
			switch count % 10 {
			case 3:
				if err := c.kube.CoreV1().Pods(namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{}); err != nil {
					continue
				}
			case 7:
				replicas = 3 - replicas
				patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
				if _, err := c.kube.AppsV1().Deployments(namespace).Patch(ctx, "ratings-v1", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
					ended <- err
					return
				}
			}
		}
		ended <- nil
	}()
	return func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("disturbing: %v", err)
		}
	}
}

func (c *cluster) scale(t *testing.T, namespace, deployment string, replicas int) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	if _, err := c.kube.AppsV1().Deployments(namespace).Patch(t.Context(), deployment, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.settled(t, namespace)
}

// TestNeverReady: a workload whose pods do not get ready without a sidecar
// stops the run with the reason, within the time given, and the rollback
// restores everything all the same.
func TestNeverReady(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		namespace, app, workload string
		// bounds are the flags, one of which ends the run after this time.
		bounds []string
		after  time.Duration
	}{
		{"never-ready", "cart", "Deployment never-ready/cart", []string{"--timeout=40s"}, 40 * time.Second},
		{"never-ready-set", "db", "StatefulSet never-ready-set/db", []string{"--gate-timeout=15s", "--timeout=2m"}, 15 * time.Second},
		{"never-ready-daemon", "cache", "DaemonSet never-ready-daemon/cache", []string{"--gate-timeout=15s", "--timeout=2m"}, 15 * time.Second},
	} {
		t.Run(test.namespace, func(t *testing.T) {
			t.Parallel()
			c := shared
			c.namespace(t, test.namespace, map[string]string{"istio-injection": "enabled"})
			c.apply(t, test.namespace, "shop")
			before := c.state(t, test.namespace)
			c.holdReadiness(t, test.namespace, test.app)

			started := time.Now()
			stopped := c.ambient(t, append([]string{"enroll", "-n", test.namespace, "--yes"}, test.bounds...)...).want(t, 4)
			if took := time.Since(started); took < test.after || took > 2*time.Minute {
				t.Errorf("it took %s", took)
			}
			says(t, stopped.stderr, "timed out waiting", test.workload, "kubectl ambient rollback -n "+test.namespace)
			c.wantIncomplete(t, test.namespace, "timed out waiting")

			c.ambient(t, "rollback", "-n", test.namespace, "--yes").want(t, 0)
			c.settled(t, test.namespace)
			c.wantState(t, test.namespace, before)
			c.wantSidecars(t, test.namespace, "legacy", "debug", "ingress", "node-agent")
		})
	}
	t.Run("never-ready-evicted", func(t *testing.T) {
		t.Parallel()
		c := shared
		const namespace = "never-ready-evicted"
		c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
		c.applyText(t, namespace, ownedWeb)
		c.settled(t, namespace)
		before := c.state(t, namespace)
		c.holdReadiness(t, namespace, "web")
		stopped := c.ambient(t, "enroll", "-n", namespace, "--yes", "--strategy=namespace", "--gate-timeout=15s").want(t, 4)
		says(t, stopped.stderr, "timed out waiting", "Deployment "+namespace+"/web")
		// No template brings the sidecar of the one that was evicted.
		rolled := c.ambient(t, "rollback", "-n", namespace, "--yes", "--gate-timeout=1m").want(t, 0)
		says(t, rolled.stderr, "evicted Pod "+namespace+"/web-")
		c.settled(t, namespace)
		c.wantState(t, namespace, before)
		c.wantSidecars(t, namespace)
	})
}

// TestCaptureFails: a pod that ztunnel does not capture holds the run, whether
// istio-cni admits it or not.
func TestCaptureFails(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		namespace string
		fail      func(*cluster, func(*corev1.Pod) bool) func()
		reason    string
	}{
		{"capture-pending", func(c *cluster, matches func(*corev1.Pod) bool) func() { return c.HoldCapture(matches) }, "is not redirected to ztunnel yet"},
		{"capture-feigned", func(c *cluster, matches func(*corev1.Pod) bool) func() { return c.FeignCapture(matches) }, "says the pod is Pending"},
	} {
		t.Run(test.namespace, func(t *testing.T) {
			t.Parallel()
			c := shared
			c.namespace(t, test.namespace, map[string]string{"istio-injection": "enabled"})
			c.apply(t, test.namespace, "bookinfo")
			c.observer.excuse(test.namespace, takesCapture)
			release := test.fail(c, func(pod *corev1.Pod) bool {
				return pod.Namespace == test.namespace && pod.Labels["app"] == "ratings"
			})
			defer release()

			stopped := c.ambient(t, "enroll", "-n", test.namespace, "--yes", "--gate-timeout=10s").want(t, 4)
			says(t, stopped.stderr, "restart-workloads/deployment/ratings-v1", test.reason)
			says(t, c.ambient(t, "verify", "-n", test.namespace).want(t, 3).stdout, "fail")
			says(t, c.ambient(t, "status", "-n", test.namespace).want(t, 0).stdout, "enroll incomplete")

			// Once it is mended, enrolling again goes on from there, and one
			// rollback undoes both runs.
			release()
			c.ambient(t, "enroll", "-n", test.namespace, "--yes").want(t, 0)
			c.ambient(t, "verify", "-n", test.namespace).want(t, 0)
			c.ambient(t, "rollback", "-n", test.namespace, "--yes").want(t, 0)
			c.settled(t, test.namespace)
			c.wantSidecars(t, test.namespace)
		})
	}
}

// TestSomebodyElse: what somebody else has changed since is left alone and
// named.
func TestSomebodyElse(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "somebody-else"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.apply(t, namespace, "bookinfo")
	c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 0)
	// A deploy of a new version, and one that takes a decision of its own.
	for deployment, patch := range map[string]string{
		"details-v1": `{"spec":{"template":{"spec":{"containers":[{"name":"details","image":"registry.example/details:2"}]}}}}`,
		"ratings-v1": `{"spec":{"template":{"metadata":{"labels":{"sidecar.istio.io/inject":"never"}}}}}`,
	} {
		if _, err := c.kube.AppsV1().Deployments(namespace).Patch(t.Context(), deployment, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	c.settled(t, namespace)
	rolled := c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	says(t, rolled.stdout, "LEFT ALONE", "Deployment somebody-else/ratings-v1", `"never"`)
	details, err := c.kube.AppsV1().Deployments(namespace).Get(t.Context(), "details-v1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if image := details.Spec.Template.Spec.Containers[0].Image; image != "registry.example/details:2" {
		t.Errorf("the rollback reverted somebody's deploy: %s", image)
	}
	if label, set := details.Spec.Template.Labels["sidecar.istio.io/inject"]; set {
		t.Errorf("the label of the run is still there: %q", label)
	}
}

// TestWithoutSidecars: a namespace that never had sidecars is enrolled by its
// label, with a warning.
func TestWithoutSidecars(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "plain"
	c.namespace(t, namespace, nil)
	c.apply(t, namespace, "bookinfo")
	before := c.state(t, namespace)
	enrolled := c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 0)
	says(t, enrolled.stdout, "live-capture", "captured at once")
	c.wantNoSidecars(t, namespace)
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.wantState(t, namespace, before)
	for _, pod := range c.pods(t, namespace) {
		if sidecar(&pod) || pod.Annotations["ambient.istio.io/redirection"] != "" {
			t.Errorf("pod %s is not as it was", pod.Name)
		}
	}
}

// TestDocuments: with -o json stdout is one document of the version, whatever
// the command.
func TestDocuments(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "documents"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.apply(t, namespace, "bookinfo")
	for _, test := range []struct {
		arguments []string
		status    int
		kind      string
	}{
		{[]string{"status"}, 0, v1alpha1.KindMeshStatus},
		{[]string{"plan"}, 0, v1alpha1.KindMigrationPlan},
		{[]string{"enroll", "--dry-run=client"}, 0, v1alpha1.KindMigrationPlan},
		{[]string{"enroll", "--dry-run=server"}, 0, v1alpha1.KindMigrationPlan},
		{[]string{"verify"}, 3, v1alpha1.KindVerifyReport},
		{[]string{"enroll", "--yes"}, 0, v1alpha1.KindMigrationRecord},
		{[]string{"verify"}, 0, v1alpha1.KindVerifyReport},
		{[]string{"enroll", "--yes"}, 0, v1alpha1.KindMigrationPlan},
		{[]string{"rollback", "--yes"}, 0, v1alpha1.KindMigrationRecord},
	} {
		name := strings.Join(test.arguments, " ")
		run := c.ambient(t, append(test.arguments, "-n", namespace, "-o", "json")...).want(t, test.status)
		var document struct {
			v1alpha1.TypeMeta `json:",inline"`
		}
		decode(t, run.stdout, &document)
		if document.APIVersion != v1alpha1.GroupVersion || document.Kind != test.kind {
			t.Errorf("%s: want a %s, got %+v", name, test.kind, document)
		}
	}
}

// decode reads one JSON document, and nothing after it.
func decode(t *testing.T, text string, into any) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	if decoder.More() {
		t.Fatalf("more than one document:\n%s", text)
	}
}

// TestWaypointStatus: status tells a waypoint that is ready from one that is
// not there. Its readiness is read off EndpointSlices, which istiod and the
// endpoint controller label.
func TestWaypointStatus(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "waypoints"
	c.namespace(t, namespace, map[string]string{"istio.io/dataplane-mode": "ambient", "istio.io/use-waypoint": "waypoint"})
	says(t, c.ambient(t, "status", "-n", namespace).want(t, 0).stdout, "waypoint (missing)")
	c.applyText(t, namespace, `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
`)
	c.eventually(t, "the waypoint is ready", func(context.Context) error {
		var status v1alpha1.MeshStatus
		decode(t, c.ambient(t, "status", "-n", namespace, "-o", "json").want(t, 0).stdout, &status)
		waypoints := status.Namespaces[0].Waypoints
		if len(waypoints) != 1 || !waypoints[0].Ready() || !waypoints[0].Used || waypoints[0].ReadyEndpoints != 1 {
			return fmt.Errorf("not ready: %+v", waypoints)
		}
		return nil
	})
	says(t, c.ambient(t, "status", "-n", namespace).want(t, 0).stdout, "waypoint (ready)", "1 gateway")
}
