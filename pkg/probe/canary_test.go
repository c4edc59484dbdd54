package probe_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/probe"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func canary(t *testing.T) (*probe.Canary, *fake.Clientset) {
	t.Helper()
	runner, client := runner(t, func(*corev1.Pod) {})
	return &probe.Canary{Runner: runner, Dynamic: fixture.NewDynamic()}, client
}

func namespaces(t *testing.T, client *fake.Clientset) []string {
	t.Helper()
	list, err := client.CoreV1().Namespaces().List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, namespace := range list.Items {
		names = append(names, namespace.Name)
	}
	return names
}

// Nobody accepts the policies here: without them nothing is tried.
func TestCanaryWithoutIstiod(t *testing.T) {
	canary, client := canary(t)
	verdict, left, err := canary.Run(t.Context())
	if err != nil || len(left) > 0 {
		t.Fatalf("left %v, error %v", left, err)
	}
	if len(verdict.Findings) != 1 || verdict.Findings[0].Status != v1alpha1.StatusUnknown || !strings.Contains(verdict.Findings[0].Message, "istiod has not accepted AuthorizationPolicy allow") || verdict.Proven > 0 {
		t.Errorf("the verdict is %+v", verdict)
	}
	if left := namespaces(t, client); len(left) > 0 {
		t.Errorf("namespaces %q are left", left)
	}
}

func TestSweepNamespaces(t *testing.T) {
	canary, client := canary(t)
	const until = "ambient.kubectl-ambient.dev/probe-until"
	past, future := time.Now().Add(-time.Minute).Format(time.RFC3339), time.Now().Add(time.Minute).Format(time.RFC3339)
	for name, of := range map[string]struct{ label, until string }{
		"kubectl-ambient-canary-gone": {"gone", past}, "kubectl-ambient-canary-busy": {"busy", future}, "kubectl-ambient-canary-other": {"else", past},
		"shop": {"shop", past}, "kubectl-ambient-canary-odd": {"odd", "soon"}, canary.Namespace(): {canary.ID, past},
	} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{probe.Label: of.label}, Annotations: map[string]string{until: of.until}}}
		if err := client.Tracker().Add(namespace); err != nil {
			t.Fatal(err)
		}
	}
	swept, err := canary.SweepNamespaces(t.Context())
	if err != nil || !slices.Equal(swept, []string{"kubectl-ambient-canary-gone"}) {
		t.Errorf("swept %q, error %v", swept, err)
	}
	if left := namespaces(t, client); len(left) != 5 || slices.Contains(left, "kubectl-ambient-canary-gone") {
		t.Errorf("namespaces %q are left", left)
	}
}
