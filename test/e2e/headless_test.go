package e2e

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// headless is a StatefulSet that is called by its headless Service and protects
// itself by HTTP, with a caller, and a Service with an address for the same pods.
const headless = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: web}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: store}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {serviceAccountName: web, containers: [{name: web, image: web, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: store}
spec:
  replicas: 2
  serviceName: store-pods
  selector: {matchLabels: {app: store}}
  template:
    metadata: {labels: {app: store}}
    spec: {serviceAccountName: store, containers: [{name: store, image: store, ports: [{name: http, containerPort: 8080}, {name: peer, containerPort: 7000}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: store-pods}
spec: {clusterIP: None, selector: {app: store}, ports: [{name: http, port: 8080}, {name: tcp-peer, port: 7000}]}
---
apiVersion: v1
kind: Service
metadata: {name: store}
spec: {selector: {app: store}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers}
spec:
  selector: {matchLabels: {app: store}}
  action: ALLOW
  rules:
  - from: [{source: {principals: [cluster.local/ns/NAMESPACE/sa/web]}}]
    to: [{operation: {methods: [GET], ports: ["8080"]}}]
  - from: [{source: {principals: [cluster.local/ns/NAMESPACE/sa/store]}}]
    to: [{operation: {ports: ["7000"]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin}
spec:
  selector: {matchLabels: {app: store}}
  action: DENY
  rules: [{to: [{operation: {paths: ["/admin*"]}}]}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens}
spec:
  selector: {matchLabels: {app: store}}
  jwtRules: [{issuer: issuer.example, jwks: '{"keys":[]}'}]
`

var gateways = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"}

// TestHeadlessThereAndBack moves a StatefulSet whose policies need HTTP and that is
// called at its pods' own addresses. It wants a waypoint for these that the new pods
// name and ztunnel goes through, every copy to be bound there, and at the end what
// there was.
func TestHeadlessThereAndBack(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		namespace, waypoints string
		options              []string
	}{
		{"headless", "headless", nil},
		{"headless-too", "headless-waypoints", []string{"--waypoint-namespace=headless-waypoints", "--waypoint-replicas=2"}},
	} {
		t.Run(test.namespace, func(t *testing.T) {
			t.Parallel()
			shared.headlessThereAndBack(t, test.namespace, test.waypoints, test.options)
		})
	}
}

func (c *cluster) headlessThereAndBack(t *testing.T, namespace, waypoints string, options []string) {
	t.Helper()
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	if waypoints != namespace {
		c.namespace(t, waypoints, nil)
	}
	c.applyText(t, namespace, strings.ReplaceAll(headless, "NAMESPACE", namespace))
	c.settled(t, namespace)
	before, elsewhere := c.state(t, namespace), c.state(t, waypoints)

	arguments := append([]string{"-n", namespace, "--mixed-callers=deny"}, options...)
	planned := c.ambient(t, append([]string{"plan"}, arguments...)...).want(t, 0)
	says(t, planned.stdout, "waypoint-store-pods-")
	c.ambient(t, append([]string{"enroll", "--yes"}, arguments...)...).want(t, 0)
	c.wantNoSidecars(t, namespace)
	c.wantBound(t, namespace)
	if waypoints != namespace {
		c.wantBound(t, waypoints)
	}
	c.wantBehindOwnWaypoint(t, namespace, waypoints, "store")
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
	says(t, c.ambient(t, append([]string{"enroll", "--yes"}, arguments...)...).want(t, 0).stdout, "nothing to do")

	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.settled(t, namespace)
	c.wantSidecars(t, namespace)
	c.wantState(t, namespace, before)
	c.wantState(t, waypoints, elsewhere)
}

// wantBehindOwnWaypoint wants the pods of an application, and no others, to name a
// waypoint that is for pods.
func (c *cluster) wantBehindOwnWaypoint(t *testing.T, namespace, waypoints, app string) {
	t.Helper()
	for _, pod := range c.pods(t, namespace) {
		name, names := pod.Labels["istio.io/use-waypoint"]
		if names != (pod.Labels["app"] == app) {
			t.Errorf("pod %s names waypoint %q", pod.Name, name)
		}
		if !names {
			continue
		}
		gateway, err := c.dynamic.Resource(gateways).Namespace(waypoints).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(fmt.Errorf("the waypoint of pod %s: %w", pod.Name, err))
		}
		if traffic := gateway.GetLabels()["istio.io/waypoint-for"]; traffic != "workload" {
			t.Errorf("the waypoint of pod %s is for traffic %q", pod.Name, traffic)
		}
	}
}
