package actions

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// What an error carries of logs: so many lines of each container that is not ready, of
// so many pods. One line says what fails as a rule, and pods of one workload fail
// alike.
const (
	lastLines    = 5
	mostLogBytes = 4 << 10
	mostLogPods  = 2
)

// lastLogs are the last lines of the containers that are not ready, in pods that a
// text names or that a gate is about. Not being allowed to read logs is no reason to
// fail: then there are none.
func (r *Runner) lastLogs(ctx context.Context, snapshot *mesh.Snapshot, gate v1alpha1.Gate, text string) []string {
	var lines []string
	shown := 0
	for _, pod := range notServing(snapshot, r.Namespace, gate, text) {
		found := r.podLogs(ctx, pod)
		if len(found) == 0 {
			continue
		}
		lines = append(lines, found...)
		if shown++; shown == mostLogPods {
			break
		}
	}
	return lines
}

// notServing are the pods that are not ready and that a text names or a gate is about.
func notServing(snapshot *mesh.Snapshot, namespace string, gate v1alpha1.Gate, text string) []mesh.Pod {
	about := map[string]bool{}
	for _, reference := range gate.Workloads {
		if workload, found := snapshot.Workload(reference); found {
			for _, pod := range snapshot.PodsOf(workload) {
				about[pod.Name] = true
			}
		}
	}
	return slices.DeleteFunc(snapshot.Pods(namespace), func(pod mesh.Pod) bool {
		return pod.Ready || !about[pod.Name] && !containsName(text, pod.String())
	})
}

// podLogs are the last lines of a pod's containers that are not ready, and of those
// that they took the place of.
func (r *Runner) podLogs(ctx context.Context, of mesh.Pod) []string {
	var pod corev1.Pod
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(of.Object, &pod); err != nil {
		return nil
	}
	var lines []string
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		ended := status.State.Terminated
		if status.Ready || ended != nil && ended.ExitCode == 0 {
			continue
		}
		name := of.String() + " " + status.Name
		if status.RestartCount > 0 {
			lines = append(lines, r.containerLog(ctx, pod, status.Name, name+" before its restart", true)...)
		}
		lines = append(lines, r.containerLog(ctx, pod, status.Name, name, false)...)
	}
	return lines
}

func (r *Runner) containerLog(ctx context.Context, pod corev1.Pod, container, name string, previous bool) []string {
	tail, bytes := int64(lastLines), int64(mostLogBytes)
	stream, err := r.Kube.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
		Container: container, TailLines: &tail, LimitBytes: &bytes, Previous: previous,
	}).Stream(ctx)
	if err != nil {
		return nil
	}
	defer func() { _ = stream.Close() }()
	// What was read until the answer broke off is of use, too.
	text, _ := io.ReadAll(io.LimitReader(stream, mostLogBytes))
	var lines []string
	for line := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n") {
		if line = printable(line); line != "" {
			lines = append(lines, fmt.Sprintf("%s: %s", name, line))
		}
	}
	return lines[max(0, len(lines)-lastLines):]
}

// printable is a line without what would do something to a terminal.
func printable(line string) string {
	return strings.TrimSpace(strings.Map(func(char rune) rune {
		if char < ' ' && char != '\t' || char == 0x7f || char >= 0x80 && char < 0xa0 {
			return -1
		}
		return char
	}, line))
}
