package controlplane

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"regexp"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

var forwardingLine = regexp.MustCompile(`Forwarding from (127\.0\.0\.1:\d+)`)

// forwardWithKubectl runs kubectl port-forward until the test ends, and returns
// the address that it forwards.
func forwardWithKubectl(t *testing.T, pod *corev1.Pod, websockets string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, plane.Programs().Path("kubectl"), "port-forward", "--namespace", pod.Namespace, "pod/"+pod.Name, ":15000")
	command.Env = append(append(os.Environ(), plane.Environment()...), "KUBECTL_PORT_FORWARD_WEBSOCKETS="+websockets)
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = command.Wait()
	})
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		if found := forwardingLine.FindStringSubmatch(lines.Text()); found != nil {
			return found[1]
		}
	}
	t.Fatal("kubectl forwards nothing")
	return ""
}
