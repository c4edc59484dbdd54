package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
)

// cluster is a control plane and the clients that tests look at it with.
type cluster struct {
	*controlplane.ControlPlane
	kube    kubernetes.Interface
	dynamic dynamic.Interface
}

func start(ctx context.Context, options controlplane.Options) (*cluster, error) {
	options.Progress = func(line string) { fmt.Fprintln(os.Stderr, line) }
	plane, err := controlplane.Start(ctx, options)
	if err != nil {
		return nil, err
	}
	c := &cluster{ControlPlane: plane}
	if c.kube, err = kubernetes.NewForConfig(plane.RESTConfig()); err != nil {
		return nil, err
	}
	if c.dynamic, err = dynamic.NewForConfig(plane.RESTConfig()); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *cluster) stop() {
	if err := c.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// keepLogs has the logs of every program survive the control plane.
func (c *cluster) keepLogs() {
	directory := os.Getenv("E2E_LOGS")
	if directory == "" {
		directory = filepath.Join(os.TempDir(), "kubectl-ambient-e2e-logs")
	}
	c.KeepLogs(directory)
	fmt.Fprintln(os.Stderr, "the logs of the control plane are kept in", directory)
}

// patience is how long a test waits for what should take seconds.
const patience = 90 * time.Second

// result is what a command printed and how it ended.
type result struct {
	stdout, stderr string
	status         int
}

func (r result) String() string {
	return fmt.Sprintf("exit status %d\nstdout:\n%s\nstderr:\n%s", r.status, r.stdout, r.stderr)
}

// ambient runs `kubectl ambient` as users do, without a terminal.
func (c *cluster) ambient(t *testing.T, arguments ...string) result {
	t.Helper()
	return c.ambientIn(t, nil, arguments...)
}

func (c *cluster) ambientIn(t *testing.T, environment []string, arguments ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	command := c.ambientCommand(ctx, environment, arguments...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run kubectl ambient %s: %v", strings.Join(arguments, " "), err)
	}
	return result{stdout.String(), stderr.String(), command.ProcessState.ExitCode()}
}

func (c *cluster) ambientCommand(ctx context.Context, environment []string, arguments ...string) *exec.Cmd {
	binaries := c.Programs().Directory
	command := exec.CommandContext(ctx, filepath.Join(binaries, "kubectl"), append([]string{"ambient"}, arguments...)...)
	command.Env = append(os.Environ(), "PATH="+pluginDirectory+":"+binaries+":"+os.Getenv("PATH"), "KUBECONFIG="+c.Kubeconfig())
	command.Env = append(command.Env, environment...)
	return command
}

// want fails the test unless a command ended with the status.
func (r result) want(t *testing.T, status int) result {
	t.Helper()
	if r.status != status {
		t.Fatalf("want exit status %d, got %s", status, r)
	}
	return r
}

// says fails the test unless the text contains every part.
func says(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("want %q in:\n%s", part, text)
		}
	}
}

// namespace makes a namespace with labels, to be deleted after the test.
func (c *cluster) namespace(t *testing.T, name string, labels map[string]string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if _, err := c.kube.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatalf("create namespace %s: %v", name, err)
	}
	t.Cleanup(func() {
		err := c.kube.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("delete namespace %s: %v", name, err)
		}
	})
}

// apply applies a sample application to a namespace and waits until its pods
// are ready.
func (c *cluster) apply(t *testing.T, namespace, application string) {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "testdata", "apps", application+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if output, err := c.Kubectl(t.Context(), "apply", "--server-side", "--field-manager=kubectl", "-n", namespace, "-f", path); err != nil {
		t.Fatalf("apply %s: %v\n%s", application, err, output)
	}
	c.settled(t, namespace)
}

// applyText applies a manifest given as text.
func (c *cluster) applyText(t *testing.T, namespace, manifest string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(path, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := c.Kubectl(t.Context(), "apply", "-n", namespace, "-f", path); err != nil {
		t.Fatalf("apply: %v\n%s", err, output)
	}
}

// settled waits until every workload of a namespace is rolled out and every
// pod ready.
func (c *cluster) settled(t *testing.T, namespace string) {
	t.Helper()
	c.eventually(t, "namespace "+namespace+" settles", func(ctx context.Context) error {
		return c.unsettled(ctx, namespace)
	})
}

func (c *cluster) unsettled(ctx context.Context, namespace string) error {
	deployments, err := c.kube.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range deployments.Items {
		if d.Status.ObservedGeneration != d.Generation || d.Status.UpdatedReplicas != *d.Spec.Replicas ||
			d.Status.AvailableReplicas != *d.Spec.Replicas || d.Status.Replicas != *d.Spec.Replicas {
			return fmt.Errorf("deployment %s is not rolled out: %+v", d.Name, d.Status)
		}
	}
	sets, err := c.kube.AppsV1().StatefulSets(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, s := range sets.Items {
		if s.Status.ObservedGeneration != s.Generation || s.Status.ReadyReplicas != *s.Spec.Replicas ||
			s.Status.UpdateRevision != s.Status.CurrentRevision {
			return fmt.Errorf("statefulset %s is not rolled out: %+v", s.Name, s.Status)
		}
	}
	daemons, err := c.kube.AppsV1().DaemonSets(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range daemons.Items {
		if d.Status.ObservedGeneration != d.Generation || d.Status.DesiredNumberScheduled == 0 ||
			d.Status.NumberAvailable != d.Status.DesiredNumberScheduled || d.Status.UpdatedNumberScheduled != d.Status.DesiredNumberScheduled {
			return fmt.Errorf("daemonset %s is not rolled out: %+v", d.Name, d.Status)
		}
	}
	pods, err := c.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range pods.Items {
		if pods.Items[i].DeletionTimestamp != nil || !ready(&pods.Items[i]) {
			return fmt.Errorf("pod %s is not ready or is being deleted", pods.Items[i].Name)
		}
	}
	return nil
}

func ready(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// eventually waits for a condition, and fails the test with what was wrong
// last.
func (c *cluster) eventually(t *testing.T, what string, condition func(context.Context) error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		last = condition(ctx)
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("waited in vain: %s: %v", what, last)
	}
}

// pods returns the live pods of a namespace.
func (c *cluster) pods(t *testing.T, namespace string) []corev1.Pod {
	t.Helper()
	list, err := c.kube.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var live []corev1.Pod
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			live = append(live, pod)
		}
	}
	return live
}
