package checks

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
)

func quitSidecar() Check {
	return Check{
		ID: "jobs-quit-sidecar", Category: CategoryWorkloads, Severity: v1alpha1.SeverityError,
		About: "Commands of moved templates that talk to the sidecar of their own pod: wait until it is ready, or tell it to quit.",
		Why: "The sidecar's agent answers on ports 15020 and 15021 of the pod's loopback address (istio pilot/cmd/pilot-agent/status/server.go). In ambient mode nothing " +
			"does: ztunnel's own are in ztunnel's pod. A loop that waits for the sidecar at start never ends, so the application never starts; a call of " +
			"quitquitquit at the end fails, and the Job with it where the call decides about the exit status. Only these words of a command are read, so a wait that " +
			"gives up by itself cannot be told from one that does not.",
		Needs:  moveNeeds(),
		Passed: "no command talks to its pod's sidecar",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, workload := range movedWorkloads(subject) {
				if workload.Reference.Kind == mesh.KindJob && len(subject.Snapshot.PodsOf(workload)) == 0 {
					// It has run, or never will.
					continue
				}
				spec := workload.Template.Spec
				for i := range spec.InitContainers {
					findings = append(findings, commandFindings(workload, fmt.Sprintf("spec.initContainers[%d]", i), spec.InitContainers[i])...)
				}
				for i := range spec.Containers {
					findings = append(findings, commandFindings(workload, fmt.Sprintf("spec.containers[%d]", i), spec.Containers[i])...)
				}
			}
			return findings
		},
	}
}

var (
	agentPort   = regexp.MustCompile(`\b1502[01]\b`)
	sidecarPart = regexp.MustCompile(`\b150(?:00|20|21)\b|pilot-agent`)
)

// commandFindings are about what one container executes at its start and its end.
func commandFindings(workload mesh.Workload, path string, container corev1.Container) []Finding {
	var findings []Finding
	for _, line := range linesOf(container) {
		finding := Finding{Object: reference(workload.Reference), Field: templateField(workload, path+"."+line.field)}
		quits := strings.Contains(line.text, "quitquitquit")
		switch {
		case line.starts && strings.Contains(line.text, "healthz/ready") && agentPort.MatchString(line.text):
			finding.Status = v1alpha1.StatusFail
			finding.Message = "it waits for the sidecar to be ready, which would never answer"
			finding.Remedy = "remove the wait: ambient mode needs none"
			findings = append(findings, finding)
			if quits {
				findings = append(findings, quitFinding(finding))
			}
		case quits:
			findings = append(findings, quitFinding(finding))
		case sidecarPart.MatchString(line.text):
			finding.Status = v1alpha1.StatusWarn
			finding.Message = "it mentions a port or program of the sidecar (" + sidecarPart.FindString(line.text) + "), which is not there afterwards"
			finding.Remedy = "see what it does when nobody answers"
			findings = append(findings, finding)
		}
	}
	return findings
}

func quitFinding(finding Finding) Finding {
	finding.Status = v1alpha1.StatusWarn
	finding.Message = "it tells the sidecar to quit, and finds none: where the call decides about the exit status, the container fails"
	finding.Remedy = "remove the call, or let it fail: ... || true"
	return finding
}

// commandLine is something that a container executes.
type commandLine struct {
	field string
	text  string
	// starts is true for what has to end before the application runs, or runs it.
	starts bool
}

func linesOf(container corev1.Container) []commandLine {
	var lines []commandLine
	add := func(field string, starts bool, words ...string) {
		if len(words) > 0 {
			lines = append(lines, commandLine{field, strings.Join(words, " "), starts})
		}
	}
	switch {
	case len(container.Args) == 0:
		add("command", true, container.Command...)
	default:
		// The arguments are where a shell's script is.
		add("args", true, append(append([]string{}, container.Command...), container.Args...)...)
	}
	if lifecycle := container.Lifecycle; lifecycle != nil {
		if lifecycle.PostStart != nil && lifecycle.PostStart.Exec != nil {
			add("lifecycle.postStart.exec.command", true, lifecycle.PostStart.Exec.Command...)
		}
		if lifecycle.PreStop != nil && lifecycle.PreStop.Exec != nil {
			add("lifecycle.preStop.exec.command", false, lifecycle.PreStop.Exec.Command...)
		}
	}
	return lines
}
