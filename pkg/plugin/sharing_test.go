package plugin

import (
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

const sharedYAML = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {from: All}}}]
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: pay, labels: {istio.io/use-waypoint: waypoint, istio.io/use-waypoint-namespace: shop}}
spec: {ports: [{port: 80}]}
`

// reading is a session with a cluster in which pay goes through shop's waypoint.
func reading(t *testing.T) (*session, *fixture.Cluster) {
	t.Helper()
	cluster := fixture.NewCluster(nil,
		fixture.Installation(), fixture.Namespace("shop", nil), fixture.Namespace("pay", nil), fixture.Namespace("far", nil), fixture.YAML(sharedYAML[1:]))
	kube := fake.NewClientset()
	kube.Resources = cluster.Discovery.Resources
	return &session{kube: kube, dyn: cluster.Dynamic, meta: cluster.Metadata}, cluster
}

// TestReadSharing: the namespaces that share a waypoint are read with that which is
// asked for.
func TestReadSharing(t *testing.T) {
	t.Parallel()
	session, _ := reading(t)
	_, snapshot, err := session.readSharing(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	if scope := snapshot.Scope(); !scope.Holds("shop") || !scope.Holds("pay") || scope.Holds("far") {
		t.Errorf("it is about %+v", scope)
	}
}

// TestReadSharingWithoutPermission: what may be read is not given up for what may not.
func TestReadSharingWithoutPermission(t *testing.T) {
	t.Parallel()
	session, cluster := reading(t)
	cluster.Dynamic.PrependReactor("list", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if action.GetNamespace() != "pay" {
			return false, nil, nil
		}
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", nil)
	})
	_, snapshot, err := session.readSharing(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	if scope := snapshot.Scope(); scope.Holds("pay") || !snapshot.Coverage("Pod", "shop").Known() {
		t.Errorf("it is about %+v, and knows of pods: %+v", scope, snapshot.Coverage("Pod", "shop"))
	}
}
