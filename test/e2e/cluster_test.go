package e2e

import (
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
	// observer follows what runs do to the namespaces of tests.
	observer *observer
	// stopObserving ends that.
	stopObserving context.CancelFunc
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
	observing, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stopObserving = stop
	if c.observer, err = observeAll(observing, plane.RESTConfig()); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *cluster) stop() {
	c.stopObserving()
	if err := c.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// stopAfter stops it when a test that has it for itself is over, and keeps its logs if
// that has failed.
func (c *cluster) stopAfter(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			c.keepLogs(t.Name())
		}
		c.stop()
	})
}

// keepLogs has the logs of every program survive the control plane, by the name of whose
// it is.
func (c *cluster) keepLogs(name string) {
	directory := os.Getenv("E2E_LOGS")
	if directory == "" {
		directory = filepath.Join(os.TempDir(), "kubectl-ambient-e2e-logs")
	}
	directory = filepath.Join(directory, name)
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

// ambient runs the plugin as kubectl does, without a terminal. That kubectl finds it,
// and runs it so, TestReadme shows: kubectl in front of every run would take a tenth of
// the time of all tests.
func (c *cluster) ambient(t *testing.T, arguments ...string) result {
	t.Helper()
	return c.ambientIn(t, nil, arguments...)
}

func (c *cluster) ambientIn(t *testing.T, environment []string, arguments ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	return c.startAmbient(ctx, t, environment, arguments...).wait(t)
}

// underWay is a run of the plugin that was started.
type underWay struct {
	command        *exec.Cmd
	stdout, stderr watchedText
}

// startAmbient runs the plugin in the background, until the context ends.
func (c *cluster) startAmbient(ctx context.Context, t *testing.T, environment []string, arguments ...string) *underWay {
	t.Helper()
	return c.start(t, exec.CommandContext(ctx, filepath.Join(pluginDirectory, "kubectl-ambient"), arguments...), environment)
}

// kubectlAmbient has kubectl run the plugin.
func (c *cluster) kubectlAmbient(t *testing.T, arguments ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	kubectl := filepath.Join(c.Programs().Directory, "kubectl")
	return c.start(t, exec.CommandContext(ctx, kubectl, append([]string{"ambient"}, arguments...)...), nil).wait(t)
}

func (c *cluster) start(t *testing.T, command *exec.Cmd, environment []string) *underWay {
	t.Helper()
	command.Env = append(os.Environ(), "PATH="+pluginDirectory+":"+c.Programs().Directory+":"+os.Getenv("PATH"), "KUBECONFIG="+c.Kubeconfig())
	command.Env = append(command.Env, environment...)
	run := &underWay{command: command}
	command.Stdout, command.Stderr = &run.stdout, &run.stderr
	if err := command.Start(); err != nil {
		t.Fatalf("start %s: %v", command, err)
	}
	return run
}

// wait waits for the end of a run. The status of one that was killed is -1.
func (u *underWay) wait(t *testing.T) result {
	t.Helper()
	err := u.command.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %s: %v", u.command, err)
	}
	return result{u.stdout.String(), u.stderr.String(), u.command.ProcessState.ExitCode()}
}

// holdReadiness keeps an app's pods without sidecar from becoming ready until
// the test is over.
func (c *cluster) holdReadiness(t *testing.T, namespace, app string) {
	t.Helper()
	release := c.HoldReadiness(withoutSidecar(namespace, app))
	t.Cleanup(func() {
		if err := release(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// withoutSidecar are an app's pods that have no sidecar.
func withoutSidecar(namespace, app string) func(*corev1.Pod) bool {
	return func(pod *corev1.Pod) bool {
		return pod.Namespace == namespace && pod.Labels["app"] == app && !sidecar(pod)
	}
}

// enrollHeld starts an enrolment and returns when it waits for the pods of an
// application of bookinfo, which do not become ready before the test is over.
func (c *cluster) enrollHeld(t *testing.T, namespace, app string) *underWay {
	t.Helper()
	c.holdReadiness(t, namespace, app)
	run := c.startAmbient(t.Context(), t, nil, "enroll", "-n", namespace, "--yes")
	// Where the test has not waited for it, the end of its context ends the run.
	t.Cleanup(func() { _ = run.command.Wait() })
	c.eventually(t, "the run waits for "+app, func(context.Context) error {
		return run.stderr.contains("waiting: Pod " + namespace + "/" + app + "-v1")
	})
	return run
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

// namespace makes a namespace with labels, to be deleted after the test, and observes
// it until then.
func (c *cluster) namespace(t *testing.T, name string, labels map[string]string) {
	t.Helper()
	c.observer.begin(name)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if _, err := c.kube.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{FieldManager: "kubectl-create"}); err != nil {
		t.Fatalf("create namespace %s: %v", name, err)
	}
	t.Cleanup(func() {
		c.observer.end(t, name)
		err := c.kube.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("delete namespace %s: %v", name, err)
		}
	})
}

// apply applies a sample application to a namespace, as if it had been written for it, and
// waits until its pods are ready.
func (c *cluster) apply(t *testing.T, namespace, application string) {
	t.Helper()
	manifest, err := os.ReadFile(filepath.Join("..", "..", "testdata", "apps", application+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	base, _, _ := strings.Cut(application, "-")
	path := filepath.Join(t.TempDir(), application+".yaml")
	moved := strings.NewReplacer("cluster.local/ns/"+base+"/", "cluster.local/ns/"+namespace+"/", `namespaces: ["`+base+`"]`, `namespaces: ["`+namespace+`"]`)
	if err := os.WriteFile(path, []byte(moved.Replace(string(manifest))), 0o600); err != nil {
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
	c.eventuallyIn(t.Context(), t, what, condition)
}

// eventuallyIn is eventually for what is cleaned up as well, when the test's own context
// has ended.
func (c *cluster) eventuallyIn(ctx context.Context, t *testing.T, what string, condition func(context.Context) error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		err := condition(ctx)
		// An attempt that time cut short says nothing.
		if last == nil || ctx.Err() == nil {
			last = err
		}
		return err == nil, nil
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
