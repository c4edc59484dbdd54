package compare_test

import (
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestGroupsInSeveralModes: that calls of gateways to a pod's address were refused
// before is no reason for refusing those of ambient callers.
func TestGroupsInSeveralModes(t *testing.T) {
	const policy = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {namespace: shop, name: identified}
spec: {selector: {matchLabels: {app: cart}}, rules: [{from: [{source: {principals: ["*"]}}]}]}
`
	deployment := fixture.Deployment("shop", "cart", func(deployment *appsv1.Deployment) {
		deployment.Spec.Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 8080}}
	})
	before := fixture.Snapshot(append(fixture.Installation(), fixture.Namespace("shop", map[string]string{"istio-injection": "enabled"}),
		deployment, fixture.PodsOf(deployment, fixture.Sidecar), policy)...)
	closed := fixture.YAML(policy)[0]
	if err := unstructured.SetNestedSlice(closed.Object, nil, "spec", "rules"); err != nil {
		t.Fatal(err)
	}
	after, err := before.With([]unstructured.Unstructured{closed}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var builder access.Builder
	stages := []compare.Stage{
		{State: builder.Of(before, []string{"shop"}, access.Overlay{})},
		{Step: "close", State: builder.Of(after, []string{"shop"}, access.Overlay{})},
	}
	changes := compare.New(stages, compare.Options{Others: []compare.Group{{Namespace: "front", Modes: []access.Mode{access.ModeAmbient, access.ModeGateway}}}}).Changes()
	for _, change := range changes {
		if change.Effect == v1alpha1.CallNewlyDenied && change.Caller.Name == "Namespace front" && change.Caller.Mode == "ambient" && change.Service == nil {
			return
		}
	}
	t.Errorf("not announced, but only %+v", changes)
}
