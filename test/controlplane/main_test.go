package controlplane

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// plane is shared by all tests, each of which uses namespaces of its own.
var (
	plane *ControlPlane
	istio *Istio
)

// patience bounds what a test waits for.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(neighbourVariable) != "" {
		os.Exit(runNeighbour())
	}
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	progress := func(message string) { fmt.Fprintln(os.Stderr, message) }
	if plane, err = Start(ctx, Options{Progress: progress}); err != nil {
		return 1, err
	}
	defer func() {
		if code != 0 {
			logs := filepath.Join(os.TempDir(), "controlplane-test-logs")
			plane.KeepLogs(logs)
			fmt.Fprintln(os.Stderr, "the logs of the programs are in", logs)
		}
		if stopped := plane.Stop(); err == nil {
			err = stopped
		}
	}()
	if istio, err = plane.InstallIstio(ctx, IstioOptions{}); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// eventually fails the test unless the condition comes to hold.
func eventually(t *testing.T, what string, condition func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := until(ctx, what, condition); err != nil {
		t.Fatal(err)
	}
}

// newNamespace creates a namespace that the end of the test deletes.
func newNamespace(t *testing.T, name string, labels map[string]string) string {
	t.Helper()
	createNamespace(t, plane, name, labels)
	t.Cleanup(func() {
		if err := plane.Client().CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return name
}

func createNamespace(t *testing.T, c *ControlPlane, name string, labels map[string]string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if _, err := c.Client().CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// apply applies a manifest with kubectl.
func apply(t *testing.T, c *ControlPlane, namespace, manifest string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Kubectl(t.Context(), "apply", "--namespace", namespace, "--filename", file); err != nil {
		t.Fatal(err)
	}
}

// echo is a Deployment named echo with the given number of replicas.
func echo(replicas int) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata:
  name: echo
spec:
  replicas: %d
  selector:
    matchLabels:
      app: echo
  template:
    metadata:
      labels:
        app: echo
    spec:
      containers:
      - name: echo
        image: echo
        ports:
        - containerPort: 8080
---
apiVersion: v1
kind: Service
metadata:
  name: echo
spec:
  selector:
    app: echo
  ports:
  - name: http
    port: 80
    targetPort: 8080
`, replicas)
}

// podsOf returns the pods with the label app, which must be as many as said.
func podsOf(ctx context.Context, c *ControlPlane, namespace, app string, count int) ([]corev1.Pod, error) {
	list, err := c.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.Set{"app": app}.String()})
	if err != nil {
		return nil, err
	}
	var pods []corev1.Pod
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			pods = append(pods, pod)
		}
	}
	if len(pods) != count {
		return nil, fmt.Errorf("there are %d pods of %s/%s, not %d", len(pods), namespace, app, count)
	}
	return pods, nil
}

// readyPods waits until there are so many pods and all are ready.
func readyPods(t *testing.T, c *ControlPlane, namespace, app string, count int) []corev1.Pod {
	t.Helper()
	var pods []corev1.Pod
	eventually(t, "the pods are ready", func(ctx context.Context) (err error) {
		if pods, err = podsOf(ctx, c, namespace, app, count); err != nil {
			return err
		}
		for _, pod := range pods {
			if !podReady(&pod) {
				return fmt.Errorf("pod %s is not ready", pod.Name)
			}
		}
		return nil
	})
	return pods
}
