package e2e

import "testing"

// TestNewcomersAreGuarded: in a namespace with a gateway of its own each workload has a
// guard of its own. Verify names one that comes later, enrolling again guards it, and a
// rollback takes that back, too.
func TestNewcomersAreGuarded(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "newcomers"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
spec:
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart}}
    spec: {containers: [{name: cart, image: example.com/cart, ports: [{containerPort: 8080}]}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: edge}
spec:
  selector: {matchLabels: {istio: edge}}
  template:
    metadata: {labels: {istio: edge, sidecar.istio.io/inject: "true"}, annotations: {inject.istio.io/templates: gateway}}
    spec: {containers: [{name: istio-proxy, image: auto}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-delete}
spec: {action: DENY, rules: [{to: [{operation: {methods: [DELETE]}}]}]}
`)
	c.settled(t, namespace)
	before := c.state(t, namespace)
	c.ambient(t, "enroll", "-n", namespace, "--mixed-callers=deny", "--yes").want(t, 0)
	c.wantFindings(t, namespace, nil, "")
	c.applyText(t, namespace, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: late}
spec:
  selector: {matchLabels: {app: late}}
  template:
    metadata: {labels: {app: late}}
    spec: {containers: [{name: late, image: example.com/late}]}
`)
	c.settled(t, namespace)
	c.wantFindings(t, namespace, []string{"fail layer7-enforced Deployment late"}, "no guard of AuthorizationPolicy newcomers/no-delete selects its pods")
	again := c.ambient(t, "enroll", "-n", namespace, "--resume", "--yes").want(t, 0)
	says(t, again.stdout, "is in ambient mode")
	c.wantFindings(t, namespace, nil, "")
	says(t, c.ambient(t, "enroll", "-n", namespace, "--mixed-callers=deny", "--yes").want(t, 0).stdout, "nothing to do")

	c.kubectlIn(namespace)(t, "delete", "deployment/late", "--wait")
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
}
