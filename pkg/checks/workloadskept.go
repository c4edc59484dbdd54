package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
)

func workloadsKept() Check {
	return past(Check{
		ID: IDWorkloadsKept, Severity: v1alpha1.SeverityError,
		About: "Whether as many pods of each workload are ready as before the enrolment, each Service that had ready endpoints is there and has some, and no container restarts or is not ready since.",
		Why: "An application that cannot be reached, or cannot reach what it needs, fails its probes and is restarted, which nothing in the mesh says. What was scaled on purpose is told by its " +
			"replicas; a container that has restarted since and runs now is a warning, and so is one that was not ready before the enrolment either, and a workload or a Service that is gone: " +
			"somebody may have deleted it on purpose.",
		Needs:  append(workloadKinds(), mesh.KindPod, mesh.KindService),
		Passed: "as many pods are ready as before the enrolment, and no container has restarted since",
	}, func(subject Subject, past *Past) []Finding {
		var findings []Finding
		for _, was := range past.Baseline.Workloads {
			findings = append(findings, subject.workloadSince(past, was)...)
		}
		return append(findings, subject.servicesSince(past, findings)...)
	})
}

// workloadSince says what has become of a workload.
func (s Subject) workloadSince(past *Past, was v1alpha1.WorkloadBaseline) []Finding {
	workload, found := s.Snapshot.Workload(was.Object)
	if !found {
		if lists(past.Deleted, was.Object) || was.Ready == 0 {
			return nil
		}
		return []Finding{{
			Status: v1alpha1.StatusWarn, Object: reference(was.Object), Message: fmt.Sprintf("it is gone, and had %s ready before the enrolment", count(was.Ready, "pod")),
		}}
	}
	pods := s.Snapshot.PodsOf(workload)
	var warned []Finding
	if finding, is := troubled(past, was, workload, pods); is {
		warned = append(warned, finding)
		if finding.Status == v1alpha1.StatusFail {
			return warned
		}
	}
	ready, want := readyOf(pods), was.Ready
	scaled := workload.Replicas != was.Replicas
	if scaled {
		want = min(want, int(workload.Replicas))
	}
	switch {
	case ready < want && s.standsStill(workload):
		// restarts-complete says so.
		return warned
	case ready < want:
		return append(warned, Finding{
			Status: v1alpha1.StatusFail, Object: reference(was.Object), Field: "status",
			Message: fmt.Sprintf("%s ready, and %d were before the enrolment", areReady(ready), was.Ready), Remedy: describing(was.Object),
		})
	case scaled && len(warned) == 0:
		return []Finding{{
			Status: v1alpha1.StatusPass, Object: reference(was.Object), Field: "spec.replicas",
			Message: fmt.Sprintf("it was scaled from %d to %d since, and has what it wants", was.Replicas, workload.Replicas),
		}}
	default:
		return warned
	}
}

// standsStill says whether restarts-complete fails for a workload.
func (s Subject) standsStill(workload mesh.Workload) bool {
	rollout := mesh.RolloutOf(workload)
	return !rollout.Complete && s.unfinished(workload, rollout).Status == v1alpha1.StatusFail
}

func areReady(ready int) string {
	if ready == 1 {
		return "1 pod is"
	}
	return fmt.Sprintf("%d pods are", ready)
}

func readyOf(pods []mesh.Pod) int {
	return len(slices.DeleteFunc(slices.Clone(pods), func(pod mesh.Pod) bool { return !pod.Ready }))
}

func describing(object v1alpha1.ObjectReference) string {
	return fmt.Sprintf("kubectl -n %s describe %s/%s", object.Namespace, strings.ToLower(object.Kind), object.Name)
}

// troubled is about the first container of a workload that does not come up, or else has
// restarted since, or did not come up before either.
func troubled(past *Past, was v1alpha1.WorkloadBaseline, workload mesh.Workload, pods []mesh.Pod) (Finding, bool) {
	var milder Finding
	for _, pod := range pods {
		for _, container := range pod.ContainerStates() {
			again := container.Restarts > 0 && (pod.Created.After(past.Baseline.Taken) || container.Ended.After(past.Baseline.Taken))
			finding := Finding{
				Status: v1alpha1.StatusWarn, Object: reference(workload.Reference), Field: "status",
				Message: fmt.Sprintf("container %s of pod %s %s", container.Name, pod.Name, conditionOf(container)),
				Remedy:  fmt.Sprintf("kubectl -n %s logs %s -c %s --previous", pod.Namespace, pod.Name, container.Name),
			}
			before := slices.Contains(was.Troubled, container.Name)
			switch {
			case before && !container.Ready:
				finding.Message += "; it was not ready before the enrolment either"
				if milder.Object == nil {
					milder = finding
				}
			case (container.Waiting == "CrashLoopBackOff" || again && !container.Running) && !container.Ready, container.Running && !container.Ready && again:
				finding.Status = v1alpha1.StatusFail
				return finding, true
			case again && milder.Object == nil:
				milder = finding
			}
		}
	}
	return milder, milder.Object != nil
}

// conditionOf says how a container fares, and how it ended last.
func conditionOf(container mesh.ContainerState) string {
	text := "has restarted since the enrolment"
	switch {
	case container.Waiting != "":
		text = "does not come up (" + container.Waiting + ")"
	case container.Running && !container.Ready:
		text = "runs and is not ready: its probe fails"
	}
	text += fmt.Sprintf(", after %s", count(int(container.Restarts), "restart"))
	if container.Last != "" {
		text += fmt.Sprintf("; it ended last with %s, exit code %d", container.Last, container.ExitCode)
	}
	return text
}

// servicesSince names the Services that are gone, or had ready endpoints and have none,
// where what was said of workloads does not tell why.
func (s Subject) servicesSince(past *Past, said []Finding) []Finding {
	var findings []Finding
	services := s.Snapshot.Services(s.Namespace.Name)
	for _, was := range past.Baseline.Services {
		object := mesh.ServiceReference(s.Namespace.Name, was.Name)
		i := slices.IndexFunc(services, func(service corev1.Service) bool { return service.Name == was.Name })
		switch {
		case was.Ready == 0, past.servedByJobs(object), i < 0 && lists(past.Deleted, object):
		case i < 0:
			findings = append(findings, Finding{
				Status: v1alpha1.StatusWarn, Object: reference(object), Message: fmt.Sprintf("it is gone, and had %s before the enrolment", count(was.Ready, "ready endpoint")),
			})
		case s.unreached(past, services[i], said):
			findings = append(findings, Finding{
				Status: v1alpha1.StatusFail, Object: reference(object), Field: "spec.selector",
				Message: fmt.Sprintf("it has no ready endpoint, and had %d before the enrolment", was.Ready), Remedy: describing(object),
			})
		}
	}
	return findings
}

// servedByJobs says whether only pods of Jobs stood behind a Service, which earlier
// versions counted: they have ended since, as they were to.
func (p *Past) servedByJobs(object v1alpha1.ObjectReference) bool {
	for _, service := range p.Snapshot.Services(object.Namespace) {
		if service.Name == object.Name {
			pods := p.Snapshot.SelectedBy(service)
			return len(pods) > 0 && !slices.ContainsFunc(pods, func(pod mesh.Pod) bool { return !pod.OfJob() })
		}
	}
	return false
}

// unreached says whether a Service has no ready endpoint, and what was said of workloads
// does not tell why.
func (s Subject) unreached(past *Past, service corev1.Service, said []Finding) bool {
	pods := s.Snapshot.SelectedBy(service)
	if len(pods) == 0 {
		return !s.scaledDown(past, service)
	}
	return readyOf(pods) == 0 && (len(said) == 0 || !s.explained(pods, said))
}

// scaledDown says whether a Service has no pods since all workloads that it selects want
// none, and one of them did before: that is said of the workload.
func (s Subject) scaledDown(past *Past, service corev1.Service) bool {
	scaled := false
	for _, workload := range s.Snapshot.Workloads(s.Namespace.Name) {
		if len(service.Spec.Selector) == 0 || !mesh.SelectsLabels(service.Spec.Selector, workload.Template.Labels) {
			continue
		}
		if workload.Replicas > 0 {
			return false
		}
		scaled = scaled || slices.ContainsFunc(past.Baseline.Workloads, func(was v1alpha1.WorkloadBaseline) bool {
			return was.Object == workload.Reference && was.Replicas > 0
		})
	}
	return scaled
}

// explained says whether findings are about the workloads of all pods.
func (s Subject) explained(pods []mesh.Pod, said []Finding) bool {
	blamed := map[string]bool{}
	for _, finding := range said {
		if workload, found := s.Snapshot.Workload(*finding.Object); found && finding.Status == v1alpha1.StatusFail {
			for _, pod := range s.Snapshot.PodsOf(workload) {
				blamed[pod.Name] = true
			}
		}
	}
	return !slices.ContainsFunc(pods, func(pod mesh.Pod) bool { return !blamed[pod.Name] })
}
