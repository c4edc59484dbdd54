package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// forSidecars is what a namespace has besides its policies for nothing but sidecars,
// and a policy by addresses and identities, which ztunnel goes on to enforce.
const forSidecars = `
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {egress: [{hosts: ["./*", "istio-system/*"]}]}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: cart, labels: {team: carts}}
spec:
  selector: {matchLabels: {app: cart}}
  accessLogging: [{providers: [{name: envoy}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: scrapers}
spec:
  selector: {matchLabels: {app: web}}
  action: ALLOW
  rules: [{from: [{source: {principals: [cluster.local/ns/monitoring/sa/prometheus]}}]}]
`

var (
	sidecars    = schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "sidecars"}
	telemetries = schema.GroupVersionResource{Group: "telemetry.istio.io", Version: "v1", Resource: "telemetries"}

	virtualServices  = schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "virtualservices"}
	destinationRules = schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "destinationrules"}
	httpRoutes       = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}
)

// routed is a route of Istio's with subsets: one rule says nothing else, the other holds
// a traffic policy as well.
const routed = `
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, labels: {team: carts}}
spec: {hosts: [cart], http: [{route: [{destination: {host: cart}}], timeout: 5s}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart}
spec: {host: cart, trafficPolicy: {connectionPool: {http: {maxRetries: 2}}}, subsets: [{name: v1, labels: {version: v1}}]}
`

// webTemplate and smallTemplate are where the templates of web in protected, and of cart
// in smallProtected, are told something for their sidecars.
const (
	webTemplate   = "metadata: {labels: {app: web}}"
	smallTemplate = "metadata: {labels: {app: cart}}"
)

const proxyAnnotation = "sidecar.istio.io/proxyCPU"

// tuned has the template of a Deployment bear an annotation for its sidecars.
func tuned(t *testing.T, manifests, template string) string {
	t.Helper()
	if strings.Count(manifests, "    "+template) != 1 {
		t.Fatalf("%s is not one template of\n%s", template, manifests)
	}
	return strings.Replace(manifests, "    "+template, "    "+strings.TrimSuffix(template, "}")+", annotations: {"+proxyAnnotation+": 50m}}", 1)
}

// wantTuned wants that annotation to be in the template of a Deployment and in each of its
// pods, or in none of them.
func (c *cluster) wantTuned(t *testing.T, namespace, name string, want bool) {
	t.Helper()
	deployment, err := c.kube.AppsV1().Deployments(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, is := deployment.Spec.Template.Annotations[proxyAnnotation]; is != want {
		t.Errorf("the template of %s has %v", name, deployment.Spec.Template.Annotations)
	}
	pods, err := c.kube.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + name})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("%d pods of %s: %v", len(pods.Items), name, err)
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if _, is := pod.Annotations[proxyAnnotation]; is != want && pod.DeletionTimestamp == nil {
			t.Errorf("pod %s has %v", pod.Name, pod.Annotations)
		}
	}
}

// cleaned has annotations for sidecars taken out by restarts, put back by undoing that
// run alone, and taken out again.
func (c *cluster) cleaned(t *testing.T, namespace string) {
	t.Helper()
	restart := []string{"simplify", "-n", namespace, "--restart", "--yes"}
	says(t, c.ambient(t, "simplify", "-n", namespace, "--dry-run=server").want(t, 0).stdout, proxyAnnotation, "simplify --restart")
	c.wantTuned(t, namespace, "web", true)
	says(t, c.ambient(t, restart...).want(t, 0).stdout, "restart deployment/web without annotations for sidecars")
	c.wantTuned(t, namespace, "web", false)
	newest := c.records(t, namespace)[0]
	if newest.Operation != v1alpha1.OperationSimplify {
		t.Fatalf("the newest run is %s, of %s", newest.ID, newest.Operation)
	}
	c.ambient(t, "rollback", "-n", namespace, "--run", newest.ID, "--yes").want(t, 0)
	c.wantTuned(t, namespace, "web", true)
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
	c.ambient(t, restart...).want(t, 0)
	c.wantTuned(t, namespace, "web", false)
}

// reroute has an HTTPRoute say what the VirtualService says, once the Service has a
// waypoint, and waits until istiod accepts it.
func (c *cluster) reroute(t *testing.T, namespace string) {
	t.Helper()
	c.applyText(t, namespace, `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart}
spec: {parentRefs: [{group: "", kind: Service, name: cart}], rules: [{timeouts: {request: 5s}, backendRefs: [{name: cart, port: 80}]}]}
`)
	if output, err := c.Kubectl(t.Context(), "wait", "-n", namespace, "httproute/cart",
		"--for=jsonpath={.status.parents[0].conditions[?(@.type==\"ResolvedRefs\")].status}=True", "--timeout=30s"); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
}

// wantRerouted wants the HTTPRoute to be the only route, and the traffic policy to be
// there without its subsets.
func (c *cluster) wantRerouted(t *testing.T, namespace string) {
	t.Helper()
	if _, err := c.dynamic.Resource(httpRoutes).Namespace(namespace).Get(t.Context(), "cart", metav1.GetOptions{}); err != nil {
		t.Errorf("what stands in for the VirtualService is gone: %v", err)
	}
	if _, err := c.dynamic.Resource(virtualServices).Namespace(namespace).Get(t.Context(), "cart", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the VirtualService is still there: %v", err)
	}
	if _, err := c.dynamic.Resource(destinationRules).Namespace(namespace).Get(t.Context(), "web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a DestinationRule of nothing but subsets is still there: %v", err)
	}
	rule, err := c.dynamic.Resource(destinationRules).Namespace(namespace).Get(t.Context(), "cart", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, subsets, _ := unstructured.NestedSlice(rule.Object, "spec", "subsets")
	_, policy, _ := unstructured.NestedMap(rule.Object, "spec", "trafficPolicy")
	if subsets || !policy {
		t.Errorf("the DestinationRule is %v", rule.Object["spec"])
	}
}

// TestSimplify deletes what was replaced in a namespace that protects itself by HTTP,
// as a command of its own and as the end of an enrolment. Nothing takes what is left
// for left over, and a rollback has every object as it was.
func TestSimplify(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		namespace string
		labels    map[string]string
		with      bool
	}{
		{"simplify", map[string]string{"istio-injection": "enabled"}, false},
		{"simplify-with", map[string]string{"istio.io/rev": "canary"}, true},
	} {
		t.Run(test.namespace, func(t *testing.T) {
			t.Parallel()
			c := shared
			c.namespace(t, test.namespace, test.labels)
			c.applyText(t, test.namespace, strings.ReplaceAll(tuned(t, protected, webTemplate)+forSidecars+routed, "NAMESPACE", test.namespace))
			c.settled(t, test.namespace)
			before := c.said(t, test.namespace)
			simplify := []string{"simplify", "-n", test.namespace}
			enroll := []string{"enroll", "-n", test.namespace, "--mixed-callers=deny", "--yes"}

			says(t, c.ambient(t, append(simplify, "--yes")...).want(t, 3).stdout, "wholly-ambient")
			if diff := cmp.Diff(before, c.said(t, test.namespace)); diff != "" {
				t.Errorf("something was changed (-before +now):\n%s", diff)
			}
			if test.with {
				c.ambient(t, append(enroll, "--simplify")...).want(t, 0)
				c.wantTuned(t, test.namespace, "web", false)
				// What is named by nothing is looked for when nothing else is left to be done.
				later := c.ambient(t, append(simplify, "--yes")...).want(t, 0).stdout
				says(t, later, "delete DestinationRule "+test.namespace+"/web", "take out subsets")
				if strings.Contains(later, "reconcilers") {
					t.Errorf("who else writes what goes is not seen:\n%s", later)
				}
			} else {
				c.ambient(t, enroll...).want(t, 0)
				says(t, c.ambient(t, append(simplify, "--dry-run=server")...).want(t, 0).stdout, "VirtualService "+test.namespace+"/cart", "no route of Gateway API stands in for it")
				c.reroute(t, test.namespace)
				enrolled := c.said(t, test.namespace)
				shown := c.ambient(t, append(simplify, "--dry-run=server")...).want(t, 0)
				says(t, shown.stdout, "scrapers", "it still decides calls")
				if diff := cmp.Diff(enrolled, c.said(t, test.namespace)); diff != "" {
					t.Errorf("something was changed (-before +now):\n%s", diff)
				}
				c.ambient(t, append(simplify, "--yes")...).want(t, 0)
				c.wantRerouted(t, test.namespace)
				c.cleaned(t, test.namespace)
			}
			for name, resource := range map[string]schema.GroupVersionResource{
				"nothing": authorizationPolicies, "browsers": authorizationPolicies, "readers": authorizationPolicies, "only-web-to-admin": authorizationPolicies,
				"audited": authorizationPolicies, "tokens": {Group: "security.istio.io", Version: "v1", Resource: "requestauthentications"},
				"default": sidecars, "cart": telemetries,
			} {
				if _, err := c.dynamic.Resource(resource).Namespace(test.namespace).Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
					t.Errorf("%s %s is still there: %v", resource.Resource, name, err)
				}
			}
			if _, err := c.dynamic.Resource(authorizationPolicies).Namespace(test.namespace).Get(t.Context(), "scrapers", metav1.GetOptions{}); err != nil {
				t.Errorf("what still decides calls is gone: %v", err)
			}

			c.wantBound(t, test.namespace)
			c.ambient(t, "verify", "-n", test.namespace).want(t, 0)
			for _, status := range []string{c.ambient(t, "status", "-n", test.namespace).want(t, 0).stdout, c.ambient(t, enroll...).want(t, 0).stdout} {
				if strings.Contains(status, "orphaned") || strings.Contains(status, "which is gone") || strings.Contains(status, "an earlier run has made it") {
					t.Errorf("what stands for itself is taken for left over:\n%s", status)
				}
			}
			says(t, c.ambient(t, enroll...).want(t, 0).stdout, "nothing to do")
			says(t, c.ambient(t, append(simplify, "--yes")...).want(t, 0).stdout, "nothing to do", "scrapers")

			c.ambient(t, "rollback", "-n", test.namespace, "--dry-run=server").want(t, 0)
			c.ambient(t, "rollback", "-n", test.namespace, "--yes").want(t, 0)
			c.settled(t, test.namespace)
			c.wantSidecars(t, test.namespace)
			if diff := cmp.Diff(before, c.said(t, test.namespace)); diff != "" {
				t.Errorf("it is not as it was (-before +now):\n%s", diff)
			}
		})
	}
}

// TestSimplifyKilled kills a simplification at each of its writes: it can be made
// again, and it can be rolled back with the enrolment before it. Unless every write is
// asked for both ways, these take turns.
func TestSimplifyKilled(t *testing.T) {
	t.Parallel()
	c := shared
	trial := func(t *testing.T, namespace string) (before map[string]any) {
		t.Helper()
		c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
		c.applyText(t, namespace, tuned(t, smallProtected, smallTemplate)+routed)
		c.settled(t, namespace)
		before = c.said(t, namespace)
		c.ambient(t, "enroll", "-n", namespace, "--mixed-callers=deny", "--yes").want(t, 0)
		c.reroute(t, namespace)
		return before
	}
	const calm = "simplify-never"
	trial(t, calm)
	writing := newKiller(0)
	writing.run(t.Context(), t, c, "simplify", "-n", calm, "--restart", "--yes").want(t, 0)
	var runs, lost atomic.Int32
	for at := 1; at <= writing.counted(); at++ {
		for i, again := range []bool{true, false} {
			if os.Getenv(everyWrite) == "" && at%2 != i {
				continue
			}
			namespace := fmt.Sprintf("simplify-killed-%d-%v", at, again)
			t.Run(namespace, func(t *testing.T) {
				t.Parallel()
				runs.Add(1)
				defer countLost(t, &lost)
				before := trial(t, namespace)
				c.kill(t, at, namespace, "simplify", "-n", namespace, "--restart", "--yes")
				if again {
					c.simplifyAgain(t, namespace)
				}
				c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
				c.settled(t, namespace)
				if diff := cmp.Diff(before, c.said(t, namespace)); diff != "" {
					t.Errorf("it is not as it was (-before +now):\n%s", diff)
				}
			})
		}
	}
	t.Cleanup(func() {
		fmt.Printf("killed, simplified: %d runs, at the %d writes of a simplification; lost: %d\n", runs.Load(), writing.counted(), lost.Load())
	})
}

// simplifyAgain makes a simplification of smallProtected that was killed again.
func (c *cluster) simplifyAgain(t *testing.T, namespace string) {
	t.Helper()
	simplify := []string{"simplify", "-n", namespace, "--restart", "--yes"}
	c.ambient(t, simplify...).want(t, 0)
	says(t, c.ambient(t, simplify...).want(t, 0).stdout, "nothing to do")
	c.wantTuned(t, namespace, "cart", false)
	says(t, c.ambient(t, "enroll", "-n", namespace, "--mixed-callers=deny", "--yes").want(t, 0).stdout, "nothing to do")
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
	if _, err := c.dynamic.Resource(authorizationPolicies).Namespace(namespace).Get(t.Context(), "readers", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("what was replaced is still there: %v", err)
	}
	c.wantRerouted(t, namespace)
}

const smallProtected = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
spec:
  replicas: 1
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart}}
    spec: {containers: [{name: cart, image: cart, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers}
spec:
  selector: {matchLabels: {app: cart}}
  rules: [{to: [{operation: {methods: [GET]}}]}]
`

// said is what users say in their objects of a namespace: an object that was deleted
// and made again says the same.
func (c *cluster) said(t *testing.T, namespace string) map[string]any {
	t.Helper()
	state := c.state(t, namespace)
	for _, resource := range []schema.GroupVersionResource{sidecars, telemetries, virtualServices, destinationRules} {
		list, err := c.dynamic.Resource(resource).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			state[resource.Resource+"/"+list.Items[i].GetName()] = usersPart(&list.Items[i])
		}
	}
	for _, object := range state {
		content, _ := object.(map[string]any)
		for _, field := range []string{"uid", "creationTimestamp"} {
			unstructured.RemoveNestedField(content, "metadata", field)
		}
		unstructured.RemoveNestedField(content, "metadata", "annotations", v1alpha1.RunAnnotation)
	}
	return state
}
