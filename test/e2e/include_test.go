package e2e

import (
	"context"
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// calledElsewhere is a service whose callers follow its routes and its traffic policy
// in their own sidecars. Both are for those alone: other namespaces that come to be in
// ambient mode meanwhile would have the waypoint kept for them.
const calledElsewhere = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  replicas: 1
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec: {containers: [{name: api, image: api, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: api}
spec: {selector: {app: api}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: api}
spec: {hosts: [api], exportTo: [".", include-callers], http: [{timeout: 1s, route: [{destination: {host: api}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: api}
spec: {host: api, exportTo: [".", include-callers], trafficPolicy: {connectionPool: {http: {http1MaxPendingRequests: 10}}}}
`

// TestIncludedNamespace moves callers, and gives the service that they call in another
// namespace the waypoint that keeps its routes. While the run is at it both namespaces
// are its own, and a rollback puts both back.
func TestIncludedNamespace(t *testing.T) {
	t.Parallel()
	c := shared
	const callers, called = "include-callers", "include-called"
	before := c.shop(t, callers)
	c.namespace(t, called, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, called, calledElsewhere)
	c.settled(t, called)
	beforeCalled := c.state(t, called)

	// Without it the other namespace is named, and not written.
	without := c.ambient(t, "plan", "-n", callers, "-o", "json").want(t, 0)
	says(t, without.stdout, "enroll with --include-namespaces="+called, "VirtualService", "DestinationRule")
	c.wantState(t, called, beforeCalled)

	released := false
	unhold := c.HoldReadiness(withoutSidecar(callers, "cart"))
	release := func() {
		if released {
			return
		}
		released = true
		if err := unhold(context.Background()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(release)
	run := c.startAmbient(t.Context(), t, nil, "enroll", "-n", callers, "--include-namespaces="+called, "--yes")
	// Where the test has not waited for it, the end of its context ends the run.
	t.Cleanup(func() { _ = run.command.Wait() })
	c.eventually(t, "the run waits for cart", func(context.Context) error {
		return run.stderr.contains("waiting: Pod " + callers + "/cart-")
	})
	// A rollback of the run takes both locks again, in the order of the names; an enrolment
	// that includes nothing takes the one of its own namespace.
	for _, other := range []struct{ verb, namespace, held string }{
		{"enroll", called, called}, {"enroll", callers, callers}, {"rollback", callers, called},
	} {
		says(t, c.ambient(t, other.verb, "-n", other.namespace, "--yes").want(t, 3).stderr, "namespace "+other.held+" is being changed by run")
	}
	// The record is in the namespace that moves.
	says(t, c.ambient(t, "rollback", "-n", called, "--yes").want(t, 1).stderr, "namespace "+called+" holds no migration record")
	release()
	run.wait(t).want(t, 0)

	c.wantNoSidecars(t, callers)
	c.wantThroughWaypoint(t, called, "api")
	for _, pod := range c.pods(t, called) {
		if _, waypoint := pod.Labels["gateway.networking.k8s.io/gateway-name"]; !waypoint && !sidecar(&pod) {
			t.Errorf("pod %s of the other namespace has lost its sidecar", pod.Name)
		}
	}
	for _, namespace := range []string{callers, called} {
		c.wantUnlocked(t, namespace)
	}

	c.ambient(t, "rollback", "-n", callers, "--yes").want(t, 0)
	c.settled(t, callers)
	c.wantSidecars(t, callers)
	c.wantState(t, callers, before)
	c.wantStateSoon(t, called, beforeCalled)
	c.wantSidecars(t, called)
	for _, namespace := range []string{callers, called} {
		c.wantUnlocked(t, namespace)
	}
}

// wantThroughWaypoint fails the test unless a Service names a waypoint of its namespace
// and istiod says that it is bound to it.
func (c *cluster) wantThroughWaypoint(t *testing.T, namespace, name string) {
	t.Helper()
	c.eventually(t, "Service "+name+" is bound to its waypoint", func(ctx context.Context) error {
		service, err := c.kube.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if service.Labels["istio.io/use-waypoint"] != "waypoint" {
			return errors.New("it names none")
		}
		for _, condition := range service.Status.Conditions {
			if condition.Type == "istio.io/WaypointBound" && condition.Status == metav1.ConditionTrue {
				return c.waypointPods(ctx, namespace, 1)
			}
		}
		return errors.New("it is not bound yet")
	})
}
