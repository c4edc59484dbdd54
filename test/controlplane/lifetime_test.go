package controlplane

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// neighbourVariable makes the test binary run a control plane of its own beside
// the one of the tests, with old kubelets and without ambient mode.
const neighbourVariable = "CONTROLPLANE_TEST_NEIGHBOUR"

// neighbour is what the other process says when its control plane is ready.
type neighbour struct {
	Directory  string
	Kubeconfig string
}

func runNeighbour() int {
	ctx := context.Background()
	started, err := Start(ctx, Options{Nodes: Nodes(1), KubeletVersion: "v1.28.0"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if _, err := started.InstallIstio(ctx, IstioOptions{Profile: ProfileDefault}); err != nil {
		fmt.Fprintln(os.Stderr, errors.Join(err, started.Stop()))
		return 1
	}
	if err := json.NewEncoder(os.Stdout).Encode(neighbour{started.Directory(), started.Kubeconfig()}); err != nil {
		fmt.Fprintln(os.Stderr, errors.Join(err, started.Stop()))
		return 1
	}
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		fmt.Fprintln(os.Stderr, errors.Join(err, started.Stop()))
		return 1
	}
	if _, err := started.InstallIstio(ctx, IstioOptions{Profile: ProfileAmbient}); err != nil {
		fmt.Fprintln(os.Stderr, errors.Join(err, started.Stop()))
		return 1
	}
	fmt.Println("upgraded")
	// The test kills this process.
	select {}
}

// TestNeighbour runs a second control plane in another process: one without
// ambient mode, which it then installs. In the end it kills that process.
func TestNeighbour(t *testing.T) {
	process := startNeighbour(t)
	c := connectNeighbour(t, process.neighbour)

	const namespace = "classic-sidecars"
	createNamespace(t, c, namespace, map[string]string{"istio-injection": "enabled"})
	apply(t, c, namespace, echo(1))
	pod := readyPods(t, c, namespace, "echo", 1)[0]
	if sidecarIn(pod.Spec.Containers) == nil || sidecarIn(pod.Spec.InitContainers) != nil {
		t.Error("the pod has no classic sidecar")
	}
	if pod.Labels["networking.istio.io/tunnel"] != "" {
		t.Error("the sidecar speaks HBONE although ambient mode is not installed")
	}
	if _, err := plane.Client().Discovery().ServerVersion(); err != nil {
		t.Errorf("the control plane of the tests does not answer beside its neighbour: %v", err)
	}

	process.upgrade(t)
	if _, err := c.Kubectl(t.Context(), "rollout", "restart", "--namespace", namespace, "deployment/echo"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the sidecar speaks HBONE", func(ctx context.Context) error {
		pods, err := podsOf(ctx, c, namespace, "echo", 1)
		if err == nil && pods[0].Labels["networking.istio.io/tunnel"] != "http" {
			err = errors.New("its pod is not labelled so")
		}
		return err
	})

	children := childrenOf(t, process.command.Process.Pid)
	if len(children) < 6 {
		t.Fatalf("the neighbour has %d programs, want all of them", len(children))
	}
	if err := process.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the programs have ended with their parent", func(context.Context) error {
		alive := processes(t)
		for _, child := range children {
			// An orphan that has ended may wait for its new parent to notice.
			if process, exists := alive[child]; exists && !process.zombie {
				return fmt.Errorf("process %d lives", child)
			}
		}
		return nil
	})
}

// neighbourProcess is the process of a neighbour.
type neighbourProcess struct {
	neighbour
	command *exec.Cmd
	input   io.Writer
	output  *bufio.Reader
}

func startNeighbour(t *testing.T) *neighbourProcess {
	t.Helper()
	process := &neighbourProcess{command: exec.Command(os.Args[0])}
	process.command.Env = append(os.Environ(), neighbourVariable+"=1")
	process.command.Stderr = os.Stderr
	output, err := process.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if process.input, err = process.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := process.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.command.Process.Kill()
		_ = process.command.Wait()
	})
	process.output = bufio.NewReader(output)
	if err := json.Unmarshal([]byte(process.read(t)), &process.neighbour); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(process.Directory) })
	return process
}

func (n *neighbourProcess) read(t *testing.T) string {
	t.Helper()
	line, err := n.output.ReadString('\n')
	if err != nil {
		t.Fatalf("the neighbour has failed: %v", err)
	}
	return line
}

// upgrade has the neighbour install ambient mode.
func (n *neighbourProcess) upgrade(t *testing.T) {
	t.Helper()
	if _, err := fmt.Fprintln(n.input, "upgrade"); err != nil {
		t.Fatal(err)
	}
	n.read(t)
}

// connectNeighbour returns as much of a control plane as the tests' helpers use.
func connectNeighbour(t *testing.T, described neighbour) *ControlPlane {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", described.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &ControlPlane{
		options:    Options{Programs: plane.Programs()},
		directory:  described.Directory,
		launcher:   plane.launcher,
		kubeconfig: described.Kubeconfig,
		config:     config,
		client:     client,
	}
}

// childrenOf returns the processes that run and whose parent is the given one.
func childrenOf(t *testing.T, parent int) []int {
	t.Helper()
	var children []int
	for _, process := range processes(t) {
		if process.parent == parent {
			children = append(children, process.id)
		}
	}
	return children
}

// processState is a process of this machine.
type processState struct {
	id, parent int
	zombie     bool
}

func processes(t *testing.T) map[int]processState {
	t.Helper()
	output, err := exec.Command("ps", "-A", "-o", "pid=,ppid=,stat=").Output()
	if err != nil {
		t.Fatal(err)
	}
	result := map[int]processState{}
	for line := range strings.Lines(string(output)) {
		var process processState
		var state string
		if _, err := fmt.Sscan(line, &process.id, &process.parent, &state); err != nil {
			t.Fatalf("ps writes %q: %v", line, err)
		}
		process.zombie = strings.HasPrefix(state, "Z")
		result[process.id] = process
	}
	return result
}
