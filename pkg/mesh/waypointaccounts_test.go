package mesh_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestSharingAccount looks for who runs as the account of a waypoint besides it.
func TestSharingAccount(t *testing.T) {
	t.Parallel()
	own := fixture.Deployment("infra", "waypoint", fixture.TemplateLabel("gateway.istio.io/managed", "istio.io-mesh-controller"),
		fixture.TemplateLabel("gateway.networking.k8s.io/gateway-name", "waypoint"))
	unnamed := fixture.Deployment("infra", "unnamed", func(deployment *appsv1.Deployment) {
		deployment.Spec.Template.Spec.ServiceAccountName = ""
	})
	named := fixture.Deployment("infra", "waypoint-account", func(deployment *appsv1.Deployment) {
		deployment.Spec.Template.Spec.ServiceAccountName = "waypoint"
	})
	for _, test := range []struct {
		name    string
		parts   []any
		unread  []metav1.ObjectMeta
		account string
		want    mesh.Sharing
	}{
		{name: "the waypoint alone", parts: []any{own, fixture.PodsOf(own)}, account: "waypoint"},
		{name: "a workload", parts: []any{own, named, fixture.PodsOf(named)}, account: "waypoint", want: mesh.Sharing{Known: []string{"Deployment waypoint-account"}}},
		{name: "a bare pod", parts: []any{fixture.Pod("infra", "other")}, account: "other", want: mesh.Sharing{Known: []string{"Pod other"}}},
		{name: "no account is default", parts: []any{unnamed}, account: "default", want: mesh.Sharing{Known: []string{"Deployment unnamed"}}},
		{name: "another account", parts: []any{unnamed}, account: "other"},
		{name: "pods not read in detail", unread: []metav1.ObjectMeta{{Namespace: "infra", Name: "a", UID: "1"}}, account: "default", want: mesh.Sharing{Unread: 1}},
		{name: "which hardly have the waypoint's own", unread: []metav1.ObjectMeta{{Namespace: "infra", Name: "a", UID: "1"}}, account: "waypoint"},
		{
			name: "nor are the waypoint's pods others", account: "default",
			unread: []metav1.ObjectMeta{{Namespace: "infra", Name: "a", UID: "1", Labels: own.Spec.Template.Labels}},
		},
		{name: "another namespace", parts: []any{fixture.Pod("shop", "other")}, account: "other"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			content := fixture.Content(test.parts...)
			content.Pods = test.unread
			snapshot, err := mesh.NewSnapshot(content)
			if err != nil {
				t.Fatal(err)
			}
			got := snapshot.SharingAccount("infra", "waypoint", test.account)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got.Any() != (len(test.want.Known)+test.want.Unread > 0) {
				t.Errorf("whether anybody does: %v", got.Any())
			}
		})
	}
}
