package e2e

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// strayRoute is a route to a backend that istiod does not know.
const strayRoute = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: astray}
spec: {parentRefs: [{group: "", kind: Service, name: cart, port: 80}], rules: [{backendRefs: [{group: example.com, kind: Bucket, name: astray}]}]}`

// idlePolicy is a policy at a waypoint that nothing goes through.
const idlePolicy = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: idle}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: idle}
spec: {action: DENY, targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: idle}], rules: [{to: [{operation: {methods: [DELETE]}}]}]}`

// TestEnrollEndsAsVerifyWouldSay plants, before an enrolment, what verify would fail on
// after it: enroll does not end well then, but for what verify would have failed on before.
func TestEnrollEndsAsVerifyWouldSay(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		namespace, fault string
		// status is that of enroll.
		status int
		says   string
		// stands waits for what istiod says of the fault, finds is what verify goes on to say.
		stands []string
		finds  string
	}{
		{"arrives-astray", strayRoute, 0, "", []string{
			"httproute/astray", `--for=jsonpath={.status.parents[0].conditions[?(@.type=="ResolvedRefs")].status}=False`,
		}, "fail routes-accepted HTTPRoute astray"},
		// In the namespace with sidecars it was announced, and no run could mend it.
		{"arrives-idle", idlePolicy, 0, "", []string{"gateway/idle", "--for=condition=Programmed"}, "fail policy-waypoints AuthorizationPolicy idle"},
		{"arrives-closed", `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-http}
spec: {podSelector: {matchLabels: {app: cart}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {}}], ports: [{port: 8080}]}]}`, 3, "network-policies", nil, ""},
		{"arrives-twofold", `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart}
spec: {parentRefs: [{group: "", kind: Service, name: cart, port: 80}], rules: [{backendRefs: [{name: cart, port: 80}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart}
spec: {hosts: [cart], http: [{route: [{destination: {host: cart}}]}]}`, 3, "route-conflicts", nil, ""},
	} {
		t.Run(test.namespace, func(t *testing.T) {
			t.Parallel()
			c := shared
			c.namespace(t, test.namespace, map[string]string{"istio-injection": "enabled"})
			c.applyText(t, test.namespace, strings.ReplaceAll(protected, "NAMESPACE", test.namespace))
			c.applyText(t, test.namespace, test.fault)
			c.settled(t, test.namespace)
			if test.status == 0 {
				// What stood before is what istiod has said by then.
				c.kubectlIn(test.namespace)(t, append([]string{"wait", "--timeout=60s"}, test.stands...)...)
			}
			enrolled := c.ambient(t, "enroll", "-n", test.namespace, "--yes", "--mixed-callers=deny", "--gate-timeout=60s").want(t, test.status)
			if test.status != 0 {
				says(t, enrolled.stdout+enrolled.stderr, test.says)
				return
			}
			c.wantFindings(t, test.namespace, []string{test.finds}, "")
		})
	}
}

// TestEnrollWaitsForAllThatVerifyAsks makes, while an enrolment goes on, what its own steps
// say nothing about: the last gate of the run that goes on with it finds it.
func TestEnrollWaitsForAllThatVerifyAsks(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "arrives-late"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, strings.ReplaceAll(protected, "NAMESPACE", namespace))
	c.settled(t, namespace)
	c.observer.excuse(namespace, takesCapture)
	release := c.HoldCapture(func(pod *corev1.Pod) bool { return pod.Namespace == namespace && pod.Labels["app"] == "cart" })
	defer release()
	enroll := []string{"enroll", "-n", namespace, "--yes", "--gate-timeout=15s"}
	says(t, c.ambient(t, append(enroll, "--mixed-callers=deny")...).want(t, 4).stderr, "is not redirected to ztunnel yet")
	// What stood before is what the first run saw.
	c.applyText(t, namespace, strayRoute)
	release()
	says(t, c.ambient(t, append(enroll, "--resume")...).want(t, 4).stderr, "routes-accepted", "HTTPRoute "+namespace+"/astray", "it is not resolved at Service cart")
	// All is done by now but to ask that gate.
	for _, again := range [][]string{append(enroll, "--resume"), append(enroll, "--mixed-callers=deny")} {
		says(t, c.ambient(t, again...).want(t, 4).stderr, "routes-accepted", "HTTPRoute "+namespace+"/astray")
	}
	c.kubectlIn(namespace)(t, "delete", "httproute", "astray")
	c.ambient(t, append(enroll, "--resume")...).want(t, 0)
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
}
