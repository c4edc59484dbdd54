package e2e

import (
	"context"
	"errors"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// gatewayName is the label by which istiod tells what it has made for a Gateway.
const gatewayName = "gateway.networking.k8s.io/gateway-name"

// TestWaypointFails: a waypoint that is never programmed, or is programmed and has no
// endpoints, stops the run before anything goes through it. The run is rolled back, and
// made again once that is mended.
func TestWaypointFails(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		namespace string
		// fail makes waypoints of the namespace fail, and returns what mends them.
		fail func(*testing.T, *cluster, string) (mend func(context.Context) error)
		says string
	}{
		{"never-programmed", refuseWaypoints, "Gateway never-programmed/waypoint is not programmed"},
		{"no-endpoints", func(t *testing.T, c *cluster, namespace string) func(context.Context) error {
			t.Helper()
			return c.HoldReadiness(func(pod *corev1.Pod) bool { return pod.Namespace == namespace && pod.Labels[gatewayName] != "" })
		}, "Gateway no-endpoints/waypoint "},
	} {
		t.Run(test.namespace, func(t *testing.T) {
			t.Parallel()
			c := shared
			c.namespace(t, test.namespace, map[string]string{"istio-injection": "enabled"})
			c.applyText(t, test.namespace, strings.ReplaceAll(protected, "NAMESPACE", test.namespace))
			c.settled(t, test.namespace)
			before := c.state(t, test.namespace)
			mend := test.fail(t, c, test.namespace)
			enroll := []string{"enroll", "-n", test.namespace, "--yes", "--mixed-callers=deny", "--gate-timeout=10s"}

			says(t, c.ambient(t, enroll...).want(t, 4).stderr, "step deploy-waypoints", "timed out waiting", test.says, "to go on:", "to roll back:")
			c.wantIncomplete(t, test.namespace, "timed out waiting")
			c.ambient(t, "rollback", "-n", test.namespace, "--yes").want(t, 0)
			c.wantSidecars(t, test.namespace)
			c.wantStateSoon(t, test.namespace, before)

			if err := mend(context.WithoutCancel(t.Context())); err != nil {
				t.Fatal(err)
			}
			c.ambient(t, "enroll", "-n", test.namespace, "--yes", "--mixed-callers=deny").want(t, 0)
			c.ambient(t, "verify", "-n", test.namespace).want(t, 0)
			c.wantNoSidecars(t, test.namespace)
			c.ambient(t, "rollback", "-n", test.namespace, "--yes").want(t, 0)
			c.settled(t, test.namespace)
			c.wantSidecars(t, test.namespace)
			c.wantStateSoon(t, test.namespace, before)
		})
	}
}

// refuseWaypoints has the API server refuse what istiod makes for Gateways.
func refuseWaypoints(t *testing.T, c *cluster, namespace string) (mend func(context.Context) error) {
	t.Helper()
	err := c.refuse(t.Context(), namespace, "no gateways here", "has(object.metadata.labels) && '"+gatewayName+"' in object.metadata.labels", admissionv1.Create,
		admissionv1.Rule{APIGroups: []string{"", "apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments", "services"}})
	if err != nil {
		t.Fatal(err)
	}
	like := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "like", Labels: map[string]string{gatewayName: "like"}},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}},
	}
	c.eventually(t, "such Services are refused", func(ctx context.Context) error {
		_, err := c.kube.CoreV1().Services(namespace).Create(ctx, like, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
			return nil
		}
		return errors.Join(errors.New("it is admitted"), err)
	})
	return func(ctx context.Context) error { return c.admit(ctx, namespace) }
}
