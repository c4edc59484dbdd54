package probe_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/probe"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func canary(t *testing.T) (*probe.Canary, *fake.Clientset) {
	t.Helper()
	runner, client := runner(t, func(*corev1.Pod) {})
	client.PrependReactor("create", "namespaces", func(action clienttesting.Action) (bool, runtime.Object, error) {
		object := action.(clienttesting.CreateAction).GetObject().(*corev1.Namespace)
		object.UID, object.CreationTimestamp = "made", metav1.Now()
		return false, nil, nil
	})
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

// A namespace that was there is somebody else's.
func TestCanaryLeavesANamespaceThatWasThere(t *testing.T) {
	canary, client := canary(t)
	if err := client.Tracker().Add(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: canary.Namespace()}}); err != nil {
		t.Fatal(err)
	}
	verdict, left, err := canary.Run(t.Context())
	if err != nil || len(left) > 0 || len(verdict.Findings) != 1 || !strings.Contains(verdict.Findings[0].Message, "already exists") {
		t.Errorf("verdict %+v, left %v, error %v", verdict, left, err)
	}
	if left := namespaces(t, client); !slices.Equal(left, []string{canary.Namespace()}) {
		t.Errorf("namespaces %q are left", left)
	}
}

// What is removed is the namespace that was made, not one of its name.
func TestCanaryRemovesWhatItMade(t *testing.T) {
	canary, client := canary(t)
	var deleted []types.UID
	client.PrependReactor("delete", "namespaces", func(action clienttesting.Action) (bool, runtime.Object, error) {
		deleted = append(deleted, *action.(clienttesting.DeleteActionImpl).DeleteOptions.Preconditions.UID)
		return false, nil, nil
	})
	if _, left, err := canary.Run(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("left %v, error %v", left, err)
	}
	if !slices.Equal(deleted, []types.UID{"made"}) {
		t.Errorf("deleted with the UIDs %q", deleted)
	}
}

// The namespace came to be, although making it seemed to fail.
func TestCanaryRemovesANamespaceThatItWasNotToldOf(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	canary, client := canary(t)
	client.PrependReactor("create", "namespaces", func(action clienttesting.Action) (bool, runtime.Object, error) {
		cancel()
		if err := client.Tracker().Add(action.(clienttesting.CreateAction).GetObject()); err != nil {
			return true, nil, err
		}
		return true, nil, context.Canceled
	})
	if _, left, err := canary.Run(ctx); !errors.Is(err, context.Canceled) || len(left) > 0 {
		t.Errorf("left %v, error %v", left, err)
	}
	if left := namespaces(t, client); len(left) > 0 {
		t.Errorf("namespaces %q are left", left)
	}
}

func TestSweepNamespaces(t *testing.T) {
	canary, client := canary(t)
	const life, manager = "ambient.kubectl-ambient.dev/probe-lifetime", "app.kubernetes.io/managed-by"
	for name, of := range map[string]struct {
		label, life, manager string
		age                  time.Duration
	}{
		"kubectl-ambient-canary-gone":  {"gone", "5m0s", "kubectl-ambient", 8 * time.Minute},
		"kubectl-ambient-canary-busy":  {"busy", "5m0s", "kubectl-ambient", 6 * time.Minute},
		"kubectl-ambient-canary-other": {"else", "5m0s", "kubectl-ambient", time.Hour},
		"kubectl-ambient-canary-helm":  {"helm", "5m0s", "helm", time.Hour},
		"kubectl-ambient-canary-odd":   {"odd", "soon", "kubectl-ambient", time.Hour},
		"shop":                         {"shop", "5m0s", "kubectl-ambient", time.Hour},
	} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{probe.Label: of.label, manager: of.manager}, Annotations: map[string]string{life: of.life},
			CreationTimestamp: metav1.NewTime(time.Now().Add(-of.age)),
		}}
		if err := client.Tracker().Add(namespace); err != nil {
			t.Fatal(err)
		}
	}
	if swept, err := canary.SweepNamespaces(t.Context()); err != nil || len(swept) > 0 {
		t.Errorf("without knowing the time: swept %q, error %v", swept, err)
	}
	if _, left, err := canary.Run(t.Context()); err != nil || len(left) > 0 {
		t.Fatalf("left %v, error %v", left, err)
	}
	swept, err := canary.SweepNamespaces(t.Context())
	if err != nil || !slices.Equal(swept, []string{"kubectl-ambient-canary-gone"}) {
		t.Errorf("swept %q, error %v", swept, err)
	}
	if left := namespaces(t, client); len(left) != 5 || slices.Contains(left, "kubectl-ambient-canary-gone") {
		t.Errorf("namespaces %q are left", left)
	}
}
