package mesh

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestRedactKeepsSettingsOfWaypoints: what a migration wrote has to be known as it
// is, or it could not be told from what somebody else has changed.
func TestRedactKeepsSettingsOfWaypoints(t *testing.T) {
	data := map[string]any{"deployment": "spec: {replicas: 2}", "podDisruptionBudget": "spec: {maxUnavailable: 1}"}
	object := unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "data": data,
		"metadata": map[string]any{"namespace": "shop", "name": "waypoint-parameters", "labels": map[string]any{v1alpha1.OriginLabel: "shop"}},
	}}
	redacted, lost := redact(*object.DeepCopy())
	if diff := cmp.Diff(data, redacted.Object["data"]); diff != "" || lost {
		t.Errorf("lost is %t (-want +got):\n%s", lost, diff)
	}
}
