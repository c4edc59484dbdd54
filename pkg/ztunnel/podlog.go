package ztunnel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// container is that of ztunnel in its pods (istio manifests/charts/ztunnel).
	container = "istio-proxy"
	// mostLog bounds what is read of a log. Kubelets keep 10 MiB of a container by
	// default, and serve what they have not rotated away.
	mostLog = 32 << 20
	// longestLine bounds a line, which container runtimes cut at 16 KiB.
	longestLine = 256 << 10
	// headOfLog is enough for a first line, whose head may have been rotated away.
	headOfLog = 64 << 10
)

// firstWords are what a process of ztunnel begins its log with, in either format (ztunnel
// src/main.rs).
var firstWords = []string{"\tztunnel\tversion: ", `"message":"version: `}

// AskAccessLogs adds to the evidence which connections the access logs of some nodes'
// ztunnels have, of each namespace since its own time.
func (r *Reader) AskAccessLogs(ctx context.Context, evidence *mesh.Evidence, wanted map[string]map[string]time.Time) error {
	if len(wanted) == 0 {
		return nil
	}
	return r.addTo(ctx, evidence, slices.Collect(maps.Keys(wanted)), func(name string, pod *corev1.Pod, node *mesh.NodeEvidence) {
		node.AccessLogs = r.accessLogs(ctx, pod, wanted[name])
	})
}

// accessLogs reads the log of a ztunnel and, where that does not reach back far enough,
// that of the process before it in the same container.
func (r *Reader) accessLogs(ctx context.Context, pod *corev1.Pod, since map[string]time.Time) map[string]mesh.AccessLog {
	tally := newAccessTally(since)
	if pod == nil {
		return tally.result(func(string, time.Time) string { return "its pod is gone, and its log with it" })
	}
	ctx, cancel := context.WithTimeout(ctx, perNode)
	defer cancel()
	log := podLog{reader: r, pod: pod}
	begins, err := log.read(ctx, tally)
	// lost says why the log before could not be read.
	var lost error
	if err == nil && !tally.settled() && begins.process && begins.at.After(tally.earliest()) && restarted(pod) {
		log.previous = true
		var before beginning
		if before, lost = log.read(ctx, tally); lost == nil {
			begins = before
		}
	}
	return tally.result(func(namespace string, since time.Time) string {
		switch {
		case err != nil:
			return err.Error()
		case lost != nil && begins.at.After(since):
			return lost.Error()
		case begins.at.After(since):
			return fmt.Sprintf("its log begins at %s, after the enrolment", begins.at.UTC().Format(time.RFC3339))
		case tally.unread > 0:
			return fmt.Sprintf("%d lines of its access log cannot be read", tally.unread)
		case !tally.on[namespace]:
			return "its access log has no connection of anybody, and may be turned off: see RUST_LOG of its DaemonSet"
		default:
			return ""
		}
	})
}

func restarted(pod *corev1.Pod) bool {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == container {
			return status.RestartCount > 0
		}
	}
	return false
}

// podLog is the log of a ztunnel, or of the process before it.
type podLog struct {
	reader   *Reader
	pod      *corev1.Pod
	previous bool
}

// beginning is what the first line that there is tells.
type beginning struct {
	at time.Time
	// process is true where that is the first line of a process, so that nothing of it was
	// rotated away.
	process bool
}

func (l podLog) read(ctx context.Context, tally *accessTally) (beginning, error) {
	since := metav1.NewTime(tally.earliest())
	limit := int64(mostLog)
	read, err := l.lines(ctx, &corev1.PodLogOptions{SinceTime: &since, LimitBytes: &limit}, func(at time.Time, line string) bool {
		tally.add(at, line)
		return true
	})
	if err != nil {
		return beginning{}, err
	}
	if read >= limit && !tally.settled() {
		return beginning{}, fmt.Errorf("%s has more than %d MiB since the enrolment, of which no more was read", l, limit>>20)
	}
	return l.beginning(ctx)
}

func (l podLog) beginning(ctx context.Context) (beginning, error) {
	var begins beginning
	limit := int64(headOfLog)
	_, err := l.lines(ctx, &corev1.PodLogOptions{LimitBytes: &limit}, func(at time.Time, line string) bool {
		begins = beginning{at, slices.ContainsFunc(firstWords, func(words string) bool { return strings.Contains(line, words) })}
		return false
	})
	if err == nil && begins.at.IsZero() {
		err = fmt.Errorf("%s is empty", l)
	}
	return begins, err
}

// lines reads lines, until next wants no more, and says how many bytes these were. The
// last one counts only if it was not cut.
func (l podLog) lines(ctx context.Context, options *corev1.PodLogOptions, next func(at time.Time, line string) bool) (int64, error) {
	options.Container, options.Previous, options.Timestamps = container, l.previous, true
	stream, err := l.reader.client.CoreV1().Pods(l.pod.Namespace).GetLogs(l.pod.Name, options).Stream(ctx)
	if apierrors.IsForbidden(err) {
		return 0, fmt.Errorf("%s may not be read, for which get on pods/log in namespace %s is missing: %w", l, l.pod.Namespace, err)
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", l, err)
	}
	defer func() { _ = stream.Close() }()
	read := int64(0)
	lines := bufio.NewReaderSize(io.LimitReader(stream, *options.LimitBytes), longestLine)
	for {
		line, err := lines.ReadSlice('\n')
		read += int64(len(line))
		switch {
		case errors.Is(err, io.EOF):
			return read, nil
		case err != nil:
			return read, fmt.Errorf("read %s: %w", l, err)
		}
		stamp, text, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			return read, fmt.Errorf("read %s: a line has no time: %w", l, err)
		}
		if !next(at, text) {
			return read, nil
		}
	}
}

// String names the log.
func (l podLog) String() string {
	if l.previous {
		return fmt.Sprintf("the log of the process before in Pod %s/%s", l.pod.Namespace, l.pod.Name)
	}
	return fmt.Sprintf("the log of Pod %s/%s", l.pod.Namespace, l.pod.Name)
}
