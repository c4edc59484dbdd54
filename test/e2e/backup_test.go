package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestBackup: what --backup-dir has written puts every object back by kubectl apply
// alone, labels that the run had added included, and once more after a rollback.
func TestBackup(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "backup"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, strings.ReplaceAll(protected, "NAMESPACE", namespace))
	c.settled(t, namespace)
	before := withoutApplied(c.state(t, namespace))

	first := filepath.Join(t.TempDir(), "enroll")
	arguments := []string{"enroll", "-n", namespace, "--mixed-callers=deny", "--yes", "--backup-dir", first}
	says(t, c.ambient(t, append(arguments, "--dry-run=client")...).want(t, 2).stderr, "--backup-dir cannot be given with --dry-run")
	c.ambient(t, arguments...).want(t, 0)
	c.wantNoSidecars(t, namespace)
	says(t, c.ambient(t, arguments...).want(t, 1).stderr, "is not empty")

	// Nothing is waited for in between.
	c.observer.excuse(namespace, takesCapture)
	if output, err := c.Kubectl(t.Context(), "apply", "-f", first); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	c.settled(t, namespace)
	now := withoutApplied(c.state(t, namespace))
	for name, object := range now {
		if _, there := before[name]; !there && created(object) {
			delete(now, name)
		}
	}
	if diff := cmp.Diff(before, now); diff != "" {
		t.Errorf("the backup does not put back what was there (-before +now):\n%s", diff)
	}
	for _, pod := range c.pods(t, namespace) {
		if pod.Labels["app"] != "" && !sidecar(&pod) {
			t.Errorf("pod %s has no sidecar", pod.Name)
		}
	}
	// What the enrolment had created goes by its record.
	second := filepath.Join(t.TempDir(), "rollback")
	c.ambient(t, "rollback", "-n", namespace, "--yes", "--backup-dir", second).want(t, 0)
	c.settled(t, namespace)
	if diff := cmp.Diff(before, withoutApplied(c.state(t, namespace))); diff != "" {
		t.Errorf("the rollback does not put back what was there (-before +now):\n%s", diff)
	}
	// The backup of a rollback has what it deleted.
	if output, err := c.Kubectl(t.Context(), "apply", "-f", second, "--dry-run=server"); err != nil || !strings.Contains(output, "gateway.gateway.networking.k8s.io/waypoint created") {
		t.Fatalf("%v\n%s", err, output)
	}
}

// withoutApplied is a state without what kubectl apply notes down for itself.
func withoutApplied(state map[string]any) map[string]any {
	for name, object := range state {
		content, _ := object.(map[string]any)
		unstructured.RemoveNestedField(content, "metadata", "annotations", corev1.LastAppliedConfigAnnotation)
		if annotations, found, _ := unstructured.NestedMap(content, "metadata", "annotations"); found && len(annotations) == 0 {
			unstructured.RemoveNestedField(content, "metadata", "annotations")
		}
		state[name] = content
	}
	return state
}

// created says whether an enrolment has made an object, or istiod for a waypoint.
func created(object any) bool {
	content, _ := object.(map[string]any)
	labels, _, _ := unstructured.NestedStringMap(content, "metadata", "labels")
	_, origin := labels[v1alpha1.OriginLabel]
	_, waypoint := labels["gateway.networking.k8s.io/gateway-name"]
	return origin || waypoint
}
