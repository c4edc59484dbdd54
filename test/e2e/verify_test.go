package e2e

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane"
	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/ztunnel"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fault is something that goes wrong in an enrolled namespace.
type fault struct {
	name string
	// plant makes it so, and returns what ends it.
	plant func(t *testing.T) (end func())
	// want are the findings, "status check object".
	want []string
	// says is what the first of them says.
	says string
}

// TestVerifyFaults plants faults in an enrolled namespace, one after the other: verify
// finds each, says what it is, and finds nothing else.
func TestVerifyFaults(t *testing.T) {
	t.Parallel()
	c, err := start(t.Context(), controlplane.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.stopAfter(t)
	if _, err := c.InstallIstio(t.Context(), controlplane.IstioOptions{}); err != nil {
		t.Fatal(err)
	}
	// The policies of the application name its identities.
	const namespace = "bookinfo"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.apply(t, namespace, "bookinfo")
	c.apply(t, namespace, "bookinfo-get")
	c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 0)
	// What follows is what the observer would complain about.
	c.observer.end(t, namespace)
	c.plantAll(t, namespace, c.faults(namespace))
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	says(t, c.ambient(t, "verify", "-n", namespace).want(t, 0).stdout, "every pod that had a sidecar before has one again", "was rolled back, and is on sidecars")
	c.plantAll(t, namespace, c.rolledBackFaults(namespace))
}

// plantAll plants faults one after the other.
func (c *cluster) plantAll(t *testing.T, namespace string, faults []fault) {
	t.Helper()
	c.wantFindings(t, namespace, nil, "")
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			end := sync.OnceFunc(fault.plant(t))
			// A fault that is not found must not hide those after it.
			t.Cleanup(end)
			c.wantFindings(t, namespace, fault.want, fault.says)
			end()
			c.wantFindings(t, namespace, nil, "")
		})
	}
	t.Logf("%d faults planted, each found and nothing else", len(faults))
}

// wantFindings waits until verify finds just what is wanted: some faults take a moment
// until istiod, or a controller, has heard of them. All else was looked at and passes,
// but for what means nothing because of what is wanted, or of nothing to be compared.
func (c *cluster) wantFindings(t *testing.T, namespace string, want []string, part string) {
	t.Helper()
	var got []string
	var first string
	c.eventually(t, "verify finds what is planted", func(context.Context) error {
		result := c.ambient(t, "verify", "-n", namespace, "-o", "json")
		var report v1alpha1.VerifyReport
		decode(t, result.stdout, &report)
		got, first = nil, ""
		blocked := false
		for _, found := range report.Results {
			if found.Status == v1alpha1.StatusPass || found.Status == v1alpha1.StatusSkip {
				continue
			}
			object := "-"
			if found.Object != nil {
				object = found.Object.Kind + " " + generated.ReplaceAllString(found.Object.Name, "")
			}
			if len(got) == 0 {
				first = found.Message
			}
			blocked = blocked || found.Blocks()
			got = append(got, fmt.Sprintf("%s %s %s", found.Status, found.ID, object))
		}
		if status := map[bool]int{false: 0, true: 3}[blocked]; result.status != status || report.Verified == blocked {
			t.Fatalf("want exit status %d, got %s", status, result)
		}
		slices.Sort(got)
		// A node has several pods.
		got = slices.Compact(got)
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("(-want +got):\n%s", diff)
		}
		if told := contradictions(report.Results); len(told) > 0 {
			return fmt.Errorf("next to %s:\n%s", got, strings.Join(told, "\n"))
		}
		return nil
	})
	says(t, first, part)
}

// contradictions are the results that do not go with what else there is: a check that
// passes, and has findings that block; and one that was skipped although what it depends
// on holds.
func contradictions(results []v1alpha1.CheckResult) []string {
	blocks := map[string]bool{}
	for _, result := range results {
		blocks[result.ID] = blocks[result.ID] || result.Blocks()
	}
	var told []string
	for _, result := range results {
		blocker, waits := strings.CutPrefix(result.Message, "it means nothing ")
		switch {
		case result.Status == v1alpha1.StatusPass && blocks[result.ID]:
			told = append(told, fmt.Sprintf("%s passes, and does not: %s", result.ID, result.Message))
		case result.Status == v1alpha1.StatusSkip && waits && !slices.ContainsFunc(strings.Fields(blocker), func(word string) bool { return blocks[word] }),
			result.Status == v1alpha1.StatusSkip && !waits && !mayMeanNothing[result.ID]:
			told = append(told, fmt.Sprintf("%s was skipped: %s", result.ID, result.Message))
		}
	}
	return told
}

// mayMeanNothing are the checks that have nothing to look at where nobody calls, or no
// ztunnel that runs since then has counted.
var mayMeanNothing = map[string]bool{"traffic-seen": true, "plaintext-seen": true}

func TestContradictions(t *testing.T) {
	t.Parallel()
	result := func(status v1alpha1.CheckStatus, id, message string) v1alpha1.CheckResult {
		return v1alpha1.CheckResult{ID: id, Status: status, Severity: v1alpha1.SeverityError, Message: message}
	}
	fails := result(v1alpha1.StatusFail, "a", "no")
	for _, test := range []struct {
		name    string
		results []v1alpha1.CheckResult
		want    int
	}{
		{"none", []v1alpha1.CheckResult{fails, result(v1alpha1.StatusPass, "b", "yes")}, 0},
		{"it passes, too", []v1alpha1.CheckResult{fails, result(v1alpha1.StatusPass, "a", "yes")}, 1},
		{"skipped for it", []v1alpha1.CheckResult{fails, result(v1alpha1.StatusSkip, "b", "it means nothing while a does not hold")}, 0},
		{"left out for it", []v1alpha1.CheckResult{fails, result(v1alpha1.StatusSkip, "b", "it means nothing for Pod shop/x while a does not hold there")}, 0},
		{"skipped for what holds", []v1alpha1.CheckResult{fails, result(v1alpha1.StatusSkip, "b", "it means nothing while c does not hold")}, 1},
		{"skipped for another reason", []v1alpha1.CheckResult{fails, result(v1alpha1.StatusSkip, "b", "it cannot be compared: no record")}, 1},
		{"nobody called", []v1alpha1.CheckResult{result(v1alpha1.StatusSkip, "traffic-seen", "none seen")}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := contradictions(test.results); len(got) != test.want {
				t.Errorf("%d are wanted: %q", test.want, got)
			}
		})
	}
}

// generated is the end of a pod's name that its controllers make up.
var generated = regexp.MustCompile(`(-[a-f0-9]{6,10})?-[a-z0-9]{5}$`)

// podOf is a pod of an app.
func (c *cluster) podOf(t *testing.T, namespace, app string) *corev1.Pod {
	t.Helper()
	pods, err := c.kube.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("no pod of %s: %v", app, err)
	}
	return &pods.Items[0]
}

// kubectlIn runs kubectl in a namespace, also when the test's own context has ended.
func (c *cluster) kubectlIn(namespace string) func(t *testing.T, arguments ...string) {
	return func(t *testing.T, arguments ...string) {
		t.Helper()
		if output, err := c.Kubectl(context.WithoutCancel(t.Context()), append([]string{"-n", namespace}, arguments...)...); err != nil {
			t.Fatalf("kubectl %s: %v\n%s", strings.Join(arguments, " "), err, output)
		}
	}
}

// rolledBackFaults are those of a namespace that was rolled back.
func (c *cluster) rolledBackFaults(namespace string) []fault {
	kubectl := c.kubectlIn(namespace)
	// renew has the pod of details made anew.
	renew := func(t *testing.T) {
		t.Helper()
		kubectl(t, "delete", "pod", "-l", "app=details", "--now")
		kubectl(t, "rollout", "status", "deployment/details-v1", "--timeout=60s")
	}
	return []fault{
		{
			name: "a namespace that is labelled again",
			plant: func(t *testing.T) func() {
				kubectl(t, "label", "namespace", namespace, "istio.io/dataplane-mode=ambient")
				return func() { kubectl(t, "label", "namespace", namespace, "istio.io/dataplane-mode-") }
			},
			want: []string{"fail capture-ended Namespace bookinfo"}, says: "the namespace is labelled ambient again",
		},
		{
			name: "a pod that is kept captured",
			plant: func(t *testing.T) func() {
				restore := c.withoutCNI(t)
				kubectl(t, "annotate", "pod", c.podOf(t, namespace, "details").Name, "ambient.istio.io/redirection=enabled")
				// istio-cni takes it out as soon as it is back.
				return restore
			},
			want: []string{"fail capture-ended Pod details-v1"}, says: "is redirected to ztunnel, and nothing asks for that any more",
		},
		{
			name: "a pod that came up without a sidecar",
			plant: func(t *testing.T) func() {
				kubectl(t, "label", "namespace", namespace, "istio-injection-")
				renew(t)
				kubectl(t, "label", "namespace", namespace, "istio-injection=enabled")
				return func() { renew(t) }
			},
			want: []string{"fail sidecars-back Pod details-v1"}, says: "has no sidecar, and had one before the enrolment",
		},
		{
			name: "a namespace that nothing asks sidecars for any more",
			plant: func(t *testing.T) func() {
				kubectl(t, "label", "namespace", namespace, "istio-injection-")
				renew(t)
				return func() {
					kubectl(t, "label", "namespace", namespace, "istio-injection=enabled")
					renew(t)
				}
			},
			want: []string{
				"fail sidecars-back Deployment details-v1", "warn sidecars-back Deployment productpage-v1", "warn sidecars-back Deployment ratings-v1",
				"warn sidecars-back Deployment reviews-v1", "warn sidecars-back Deployment reviews-v2", "warn sidecars-back Deployment reviews-v3",
			},
			says: "nothing asks for",
		},
		{
			name: "a guard that no run has made which was rolled back",
			plant: func(t *testing.T) func() {
				path := file(t, `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: left, labels: {ambient.kubectl-ambient.dev/origin: ratings-from-reviews}}
spec: {action: DENY, selector: {matchLabels: {app: nobody}}, rules: [{from: [{source: {namespaces: [other]}}]}]}`)
				kubectl(t, "apply", "-f", path)
				return func() { kubectl(t, "delete", "-f", path) }
			},
			want: []string{"warn nothing-left AuthorizationPolicy left"}, says: "an enrolment has made it",
		},
	}
}

// faults are those that are planted in an enrolled namespace.
func (c *cluster) faults(namespace string) []fault {
	pod := func(t *testing.T, app string) *corev1.Pod { return c.podOf(t, namespace, app) }
	kubectl := c.kubectlIn(namespace)
	// applied is a manifest that is deleted again.
	applied := func(manifest string) func(t *testing.T) func() {
		return func(t *testing.T) func() {
			path := file(t, manifest)
			kubectl(t, "apply", "-f", path)
			return func() { kubectl(t, "delete", "-f", path) }
		}
	}
	done := func(does, undoes []string) func(t *testing.T) func() {
		return func(t *testing.T) func() {
			kubectl(t, does...)
			return func() { kubectl(t, undoes...) }
		}
	}
	injected := func(native string) string {
		return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: straggler, labels: {sidecar.istio.io/inject: "true"}, annotations: {sidecar.istio.io/nativeSidecar: %q}}
spec: {containers: [{name: app, image: app}]}`, native)
	}
	return append(c.waypointFaults(namespace, kubectl), []fault{
		{
			name: "a pod with a sidecar", plant: applied(injected("false")),
			want: []string{"fail no-sidecars Pod straggler"}, says: "has a sidecar",
		},
		{
			name: "a pod with a native sidecar", plant: applied(injected("true")),
			want: []string{"fail no-sidecars Pod straggler"}, says: "has a sidecar",
		},
		{
			name: "a moved workload that is told to stay out",
			plant: func(t *testing.T) func() {
				mode := func(value string) {
					kubectl(t, "patch", "deployment", "details-v1", "-p", `{"spec": {"template": {"metadata": {"labels": {"istio.io/dataplane-mode": `+value+`}}}}}`)
					kubectl(t, "rollout", "status", "deployment/details-v1", "--timeout=60s")
				}
				mode(`"none"`)
				return func() { mode("null") }
			},
			want: []string{"fail outside-mesh Pod details-v1"}, says: "Deployment bookinfo/details-v1 was in it before the enrolment: it refuses ambient mode",
		},
		{
			name: "annotated and not captured",
			plant: func(t *testing.T) func() {
				name := pod(t, "details").Name
				return c.FeignCapture(func(pod *corev1.Pod) bool { return pod.Name == name })
			},
			want: []string{"fail ztunnel-captured Pod details-v1"}, says: "says the pod is Pending",
		},
		{
			name:  "no ztunnel on a node",
			plant: func(t *testing.T) func() { return c.withoutZtunnel(t, namespace, pod(t, "details").Spec.NodeName) },
			want:  []string{"unknown ztunnel-captured Pod details-v1"}, says: "no ready ztunnel pod on node",
		},
		{
			name: "no ztunnel on a node and one on another that has lost istiod",
			plant: func(t *testing.T) func() {
				node := pod(t, "details").Spec.NodeName
				back := c.withoutZtunnel(t, namespace, node)
				heard := c.cutOff(t, kubectl, c.anotherNode(t, namespace, node))
				return func() {
					heard()
					back()
				}
			},
			want: []string{"fail ztunnel-in-step Pod ztunnel", "unknown ztunnel-captured Pod details-v1"}, says: "no ready ztunnel pod on node",
		},
		{
			name:  "a policy at a waypoint that nothing uses",
			plant: applied(idlePolicy),
			want:  []string{"fail policy-waypoints AuthorizationPolicy idle"}, says: "no traffic goes through waypoint idle",
		},
		{
			name: "a waypoint that is never programmed",
			plant: applied(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: unborn, labels: {istio.io/rev: nobody}}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: v1
kind: Service
metadata: {name: unborn, labels: {istio.io/use-waypoint: unborn}}
spec: {selector: {app: details}, ports: [{name: http, port: 80, targetPort: 9080}]}`),
			want: []string{"fail waypoint-unready Gateway unborn"}, says: "it was never ready",
		},
		{
			name: "a waypoint without endpoints", plant: done([]string{"scale", "deployment/waypoint", "--replicas=0"}, []string{"scale", "deployment/waypoint", "--replicas=1"}),
			want: []string{"fail waypoint-unready Gateway waypoint"}, says: "no ready endpoint",
		},
		{
			name: "an ALLOW about requests that selects pods",
			plant: applied(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: late}
spec: {selector: {matchLabels: {app: details}}, rules: [{to: [{operation: {methods: [GET]}}]}]}`),
			want: []string{"fail layer7-enforced AuthorizationPolicy late"}, says: "ztunnel cannot enforce it, and nothing at a waypoint does",
		},
		{
			name: "a DENY about requests that selects pods",
			plant: applied(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: late}
spec: {action: DENY, selector: {matchLabels: {app: details}}, rules: [{from: [{source: {namespaces: [other]}}], to: [{operation: {methods: [DELETE]}}]}]}`),
			want: []string{"fail layer7-enforced AuthorizationPolicy late"}, says: "ztunnel cannot enforce it, and nothing at a waypoint does",
		},
		{
			name: "a use of a waypoint that is missing", plant: done([]string{"label", "service/details", "istio.io/use-waypoint=nowhere"}, []string{"label", "service/details", "istio.io/use-waypoint-"}),
			want: []string{"fail waypoint-missing Service details"}, says: "waypoint bookinfo/nowhere does not exist",
		},
		{
			name: "certificates that have expired",
			plant: func(t *testing.T) func() {
				return c.Ztunnel(pod(t, "details").Spec.NodeName).AgeCertificates(48 * time.Hour)
			},
			want: []string{"fail ztunnel-certificates Pod details-v1"}, says: "has expired",
		},
		{
			name:  "a ztunnel that has lost istiod",
			plant: func(t *testing.T) func() { return c.cutOff(t, kubectl, pod(t, "details").Spec.NodeName) },
			want:  []string{"fail ztunnel-in-step Pod ztunnel"}, says: "not in step with istiod",
		},
		{
			name: "two routers of one Service",
			plant: applied(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ratings}
spec: {parentRefs: [{group: "", kind: Service, name: ratings, port: 9080}], rules: [{backendRefs: [{name: ratings, port: 9080}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings}
spec: {hosts: [ratings], http: [{route: [{destination: {host: ratings}}]}]}`),
			want: []string{"fail route-conflicts VirtualService ratings"}, says: "too: sidecars follow that alone",
		},
		{
			name: "a NetworkPolicy that keeps the port of HBONE closed",
			plant: applied(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-http}
spec: {podSelector: {matchLabels: {app: details}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {}}], ports: [{port: 9080}]}]}`),
			want: []string{"fail network-policies NetworkPolicy only-http"}, says: "15008",
		},
		{
			name: "a pod that opted out and stays captured",
			plant: func(t *testing.T) func() {
				kubectl(t, "apply", "-f", file(t, `
apiVersion: v1
kind: Pod
metadata: {name: shy, labels: {sidecar.istio.io/inject: "false"}}
spec: {serviceAccountName: details, containers: [{name: app, image: app}]}`))
				c.eventually(t, "the pod is captured", func(ctx context.Context) error { return c.redirected(ctx, namespace, "shy") })
				// Without istio-cni nobody takes it out.
				restore := c.withoutCNI(t)
				kubectl(t, "label", "pod", "shy", "istio.io/dataplane-mode=none")
				return func() {
					restore()
					kubectl(t, "delete", "pod", "shy", "--now")
				}
			},
			want: []string{"fail opted-out Pod shy"}, says: "opted out and is redirected to ztunnel all the same",
		},
		{
			name: "a pod of a workload that was taken out by hand",
			plant: func(t *testing.T) func() {
				name := pod(t, "details").Name
				kubectl(t, "label", "pod", name, "istio.io/dataplane-mode=none")
				return func() { kubectl(t, "label", "pod", name, "istio.io/dataplane-mode-") }
			},
			want: []string{"fail labels-consistent Pod details-v1", "fail outside-mesh Pod details-v1"}, says: "it refuses ambient mode, by a label that no run has written",
		},
	}...)
}

// withoutZtunnel takes ztunnel off a node.
func (c *cluster) withoutZtunnel(t *testing.T, namespace, node string) (back func()) {
	t.Helper()
	restore, err := c.RemoveZtunnel(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := restore(context.WithoutCancel(t.Context())); err != nil {
			t.Fatal(err)
		}
		// It counts anew: without any connection nobody could tell whether there were some.
		c.Ztunnel(node).Open(ztunnel.Connection{Reporter: "source", SourceNamespace: namespace, SourceWorkload: "productpage-v1", Security: "mutual_tls"}, 1)
	}
}

// cutOff has the ztunnel of a node lose istiod, and makes a policy that it does not hear of.
func (c *cluster) cutOff(t *testing.T, kubectl func(t *testing.T, arguments ...string), node string) (heard func()) {
	t.Helper()
	restore := c.Ztunnel(node).Cut()
	path := file(t, `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: news}
spec: {action: DENY, selector: {matchLabels: {app: details}}, rules: [{from: [{source: {namespaces: [other]}}]}]}`)
	kubectl(t, "apply", "-f", path)
	return func() {
		restore()
		kubectl(t, "delete", "-f", path)
	}
}

// anotherNode is one that pods of a namespace run on besides a node.
func (c *cluster) anotherNode(t *testing.T, namespace, node string) string {
	t.Helper()
	pods, err := c.kube.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		if pod.Spec.NodeName != "" && pod.Spec.NodeName != node {
			return pod.Spec.NodeName
		}
	}
	t.Fatalf("all pods of %s are on node %s", namespace, node)
	return ""
}

// waypointFaults are those about what stands before Services.
func (c *cluster) waypointFaults(namespace string, kubectl func(t *testing.T, arguments ...string)) []fault {
	const label = "istio.io/use-waypoint"
	// other is a waypoint that works, and that nothing was made for.
	other := func(t *testing.T) (gone func()) {
		path := file(t, `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: other}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}`)
		kubectl(t, "apply", "-f", path)
		kubectl(t, "wait", "gateway/other", "--for=condition=Programmed", "--timeout=60s")
		kubectl(t, "rollout", "status", "deployment/other", "--timeout=60s")
		return func() { kubectl(t, "delete", "-f", path) }
	}
	return []fault{
		{
			name: "another waypoint",
			plant: func(t *testing.T) func() {
				gone := other(t)
				kubectl(t, "label", "service/ratings", "--overwrite", label+"=other")
				return func() {
					kubectl(t, "label", "service/ratings", "--overwrite", label+"=waypoint")
					gone()
				}
			},
			want: []string{"fail waypoint-diverted Service ratings"}, says: "it names waypoint bookinfo/other, and a run has put it behind bookinfo/waypoint",
		},
		{
			name: "no waypoint any more",
			plant: func(t *testing.T) func() {
				kubectl(t, "label", "service/ratings", label+"-")
				return func() { kubectl(t, "label", "service/ratings", label+"=waypoint") }
			},
			want: []string{"fail waypoint-diverted Service ratings"}, says: "it names no waypoint any more",
		},
		{
			name: "a waypoint for gateways no more",
			plant: func(t *testing.T) func() {
				kubectl(t, "label", "service/ratings", "istio.io/ingress-use-waypoint-")
				return func() { kubectl(t, "label", "service/ratings", "istio.io/ingress-use-waypoint=true") }
			},
			want: []string{"fail waypoint-diverted Service ratings"}, says: "gateways go past waypoint bookinfo/waypoint",
		},
		{
			name: "a Service to protected pods without copies",
			plant: func(t *testing.T) func() {
				path := file(t, `
apiVersion: v1
kind: Service
metadata: {name: alias, labels: {istio.io/use-waypoint: waypoint}}
spec: {selector: {app: ratings}, ports: [{name: http, port: 80, targetPort: 9080}]}`)
				kubectl(t, "apply", "-f", path)
				return func() { kubectl(t, "delete", "-f", path) }
			},
			want: []string{"fail waypoint-copies Service alias"}, says: "where nothing enforces AuthorizationPolicy bookinfo/ratings-from-reviews",
		},
		{
			name: "a Service without selector to protected pods without copies",
			plant: func(t *testing.T) func() {
				pod := c.podOf(t, namespace, "ratings")
				path := file(t, strings.NewReplacer("ADDRESS", pod.Status.PodIP, "POD", pod.Name, "NAMESPACE", namespace).Replace(`
apiVersion: v1
kind: Service
metadata: {name: alias, labels: {istio.io/use-waypoint: waypoint}}
spec: {ports: [{name: http, port: 80, targetPort: 9080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: alias-1, labels: {kubernetes.io/service-name: alias}}
addressType: IPv4
ports: [{name: http, port: 9080}]
endpoints: [{addresses: [ADDRESS], conditions: {ready: true}, targetRef: {kind: Pod, namespace: NAMESPACE, name: POD}}]`))
				kubectl(t, "apply", "-f", path)
				return func() { kubectl(t, "delete", "-f", path) }
			},
			want: []string{"fail waypoint-copies Service alias"}, says: "where nothing enforces AuthorizationPolicy bookinfo/ratings-from-reviews",
		},
		{
			name: "a ServiceEntry to protected pods without copies",
			plant: func(t *testing.T) func() {
				path := file(t, `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: alias, labels: {istio.io/use-waypoint: waypoint}}
spec: {hosts: [alias.example.com], addresses: [240.240.1.1], ports: [{number: 80, name: http, protocol: HTTP, targetPort: 9080}], resolution: STATIC, workloadSelector: {labels: {app: ratings}}}`)
				kubectl(t, "apply", "-f", path)
				return func() { kubectl(t, "delete", "-f", path) }
			},
			want: []string{"fail waypoint-copies ServiceEntry alias"}, says: "where nothing enforces AuthorizationPolicy bookinfo/ratings-from-reviews",
		},
		{
			name: "a route to a backend that istiod does not know",
			plant: func(t *testing.T) func() {
				path := file(t, `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: astray}
spec: {parentRefs: [{group: "", kind: Service, name: ratings, port: 9080}], rules: [{backendRefs: [{group: example.com, kind: Bucket, name: astray}]}]}`)
				kubectl(t, "apply", "-f", path)
				return func() { kubectl(t, "delete", "-f", path) }
			},
			want: []string{"fail routes-accepted HTTPRoute astray"}, says: "it is not resolved at Service ratings: InvalidKind",
		},
		{
			name: "a route to a Service that is not there",
			plant: func(t *testing.T) func() {
				path := file(t, `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: astray}
spec: {parentRefs: [{group: "", kind: Service, name: ratings, port: 9080}], rules: [{backendRefs: [{name: gone, port: 9080}]}]}`)
				kubectl(t, "apply", "-f", path)
				return func() { kubectl(t, "delete", "-f", path) }
			},
			want: []string{"fail routes-accepted HTTPRoute astray"}, says: "it is not resolved at Service ratings: BackendNotFound",
		},
		{
			name: "a route for a Service that is not there",
			plant: func(t *testing.T) func() {
				path := file(t, `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: astray}
spec: {parentRefs: [{group: "", kind: Service, name: gone, port: 9080}], rules: [{backendRefs: [{name: ratings, port: 9080}]}]}`)
				kubectl(t, "apply", "-f", path)
				return func() { kubectl(t, "delete", "-f", path) }
			},
			want: []string{"fail routes-accepted HTTPRoute astray"}, says: "it is not accepted at Service gone: NoMatchingParent",
		},
		c.strictDeleted(namespace),
	}
}

// redirected says why a pod is not redirected to ztunnel.
func (c *cluster) redirected(ctx context.Context, namespace, name string) error {
	pod, err := c.kube.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err == nil && (!ready(pod) || pod.Annotations["ambient.istio.io/redirection"] != "enabled") {
		err = fmt.Errorf("pod %s is not ready, or not redirected: %v", name, pod.Annotations)
	}
	return err
}

// withoutCNI takes istio-cni off all nodes until the returned function is called.
func (c *cluster) withoutCNI(t *testing.T) (restore func()) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	set := func(nodes string, wanted bool) {
		t.Helper()
		patch := `{"spec":{"template":{"spec":{"nodeSelector":{"kubernetes.io/os":` + nodes + `}}}}}`
		if output, err := c.Kubectl(ctx, "-n", "istio-system", "patch", "daemonset/istio-cni-node", "--type=merge", "-p", patch); err != nil {
			t.Fatalf("patch istio-cni-node: %v\n%s", err, output)
		}
		c.eventuallyIn(ctx, t, "istio-cni comes or goes", func(ctx context.Context) error {
			pods, err := c.kube.CoreV1().Pods("istio-system").List(ctx, metav1.ListOptions{LabelSelector: "k8s-app=istio-cni-node"})
			if err != nil {
				return err
			}
			if there := slices.ContainsFunc(pods.Items, func(pod corev1.Pod) bool { return ready(&pod) }); there != wanted {
				return fmt.Errorf("there are %d pods of istio-cni", len(pods.Items))
			}
			return nil
		})
	}
	set(`"nowhere"`, false)
	return func() { set(`"linux"`, true) }
}
