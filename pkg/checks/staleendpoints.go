package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	"k8s.io/apimachinery/pkg/types"
)

// whyStaleEndpoints is why istiod says nothing of what becomes of a pod.
const whyStaleEndpoints = "Whether sidecars speak HBONE to an endpoint they hear with the list of endpoints. Where a pod is captured while it runs, or no longer, istiod pushes that list " +
	"for the Services whose selector selects the pod, and for nothing else (istio pilot/pkg/serviceregistry/kube/controller/controller.go, recomputeServiceForPod; pilot/pkg/xds/eds.go, " +
	"skippedEdsConfigs). Behind EndpointSlices that people write, and behind ServiceEntries that select pods, sidecars go by the former list until istiod pushes it for some other reason. " +
	"Writing the same EndpointSlice again is none; another label of the Service, or of the ServiceEntry, is. "

// staleEndpoints: the comparison of calls takes the lists of endpoints as istiod would
// make them, not as sidecars had them pushed.
func staleEndpoints() Check {
	return Check{
		ID: "stale-endpoints", Category: CategoryNetwork, Severity: v1alpha1.SeverityWarning,
		About: "Services without selector, and ServiceEntries, that lead to pods which are captured while they run.",
		Why: whyStaleEndpoints + "Until then callers with sidecars call the pod in plaintext, though ztunnel takes HBONE there: policies that name callers refuse them, and so " +
			"does STRICT. Nothing is let in that should not be. The comparison of calls takes the list as pushed.",
		Needs:  staleNeeds(mesh.KindMutatingWebhookConfiguration),
		Passed: "sidecars hear of every pod that is captured while it runs",
		Run: func(subject Subject) []Finding {
			return behindStale(subject, LiveCaptures(subject.Snapshot, subject.Namespace),
				"in plaintext, which policies that name callers refuse")
		},
	}
}

// staleEndpointsBack is the same the other way round.
func staleEndpointsBack(workloads []mesh.Workload) Check {
	return Check{
		ID: "stale-endpoints-back", Category: CategoryNetwork, Severity: v1alpha1.SeverityWarning,
		About:  "Services without selector, and ServiceEntries, that lead to pods which a rollback takes out of ambient mode while they run.",
		Why:    whyStaleEndpoints + "After a rollback callers with sidecars go on speaking HBONE to a pod where nobody takes it any more: their calls fail.",
		Needs:  staleNeeds(),
		Passed: "sidecars hear of every pod that leaves ambient mode while it runs",
		Run: func(subject Subject) []Finding {
			return behindStale(subject, liveReleases(subject, workloads), "by HBONE, which nobody takes there any more")
		},
	}
}

func staleNeeds(more ...string) []string {
	return slices.Concat(workloadKinds(), []string{mesh.KindService, mesh.HandWrittenEndpoints, mesh.KindServiceEntry, mesh.IstioConfigMaps}, more)
}

// liveReleases are the pods that ztunnel lets go of while they run: those that the
// rollback does not replace.
func liveReleases(subject Subject, workloads []mesh.Workload) []mesh.Pod {
	rule, err := subject.Snapshot.EnrolmentRule()
	if err != nil {
		rule = mesh.DefaultEnrolmentRule()
	}
	replaced := map[types.UID]bool{}
	for _, workload := range workloads {
		markMoved(replaced, subject.Snapshot.PodsOf(workload))
	}
	return slices.DeleteFunc(subject.Snapshot.Pods(subject.Namespace.Name), func(pod mesh.Pod) bool {
		return !pod.Redirected() || replaced[pod.UID] || rule.Captures(pod, subject.Namespace.Labels)
	})
}

// behindStale makes a finding of each Service and ServiceEntry that sidecars reach some
// of the pods by and that istiod says nothing of. By is how they go on calling them. The
// label of the remedy is another one each time.
func behindStale(subject Subject, pods []mesh.Pod, by string) []Finding {
	var findings []Finding
	for _, one := range append(behindWritten(subject, pods), behindEntries(subject, pods)...) {
		command := fmt.Sprintf("kubectl label -n %s %s/%s ambient.kubectl-ambient.dev/told=$(date +%%s) --overwrite", one.object.Namespace, strings.ToLower(one.object.Kind), one.object.Name)
		findings = append(findings, Finding{
			Status: v1alpha1.StatusWarn, Object: reference(one.object),
			Message: fmt.Sprintf("callers with sidecars may go on calling %s by it %s, until istiod has a reason to tell them", some(one.pods), by),
			Remedy:  "give istiod one as soon as the run is over: " + command,
		})
	}
	return findings
}

// stale is a Service or a ServiceEntry, and pods behind it.
type stale struct {
	object v1alpha1.ObjectReference
	pods   []string
}

// behindWritten are the Services with some of the pods in EndpointSlices that somebody
// has written. Sidecars take a headless Service for addresses, whatever is behind them
// (headless-services).
func behindWritten(subject Subject, pods []mesh.Pod) []stale {
	changing := map[types.UID]bool{}
	markMoved(changing, pods)
	addressed := map[v1alpha1.ObjectReference]bool{}
	for _, service := range subject.Snapshot.AllServices() {
		addressed[mesh.ServiceReference(service.Namespace, service.Name)] = !mesh.Headless(service)
	}
	var all []stale
	for _, endpoint := range subject.Snapshot.WrittenEndpoints() {
		if !changing[endpoint.Pod.UID] || !addressed[endpoint.Service] {
			continue
		}
		at := slices.IndexFunc(all, func(one stale) bool { return one.object == endpoint.Service })
		if at < 0 {
			at, all = len(all), append(all, stale{object: endpoint.Service})
		}
		if name := "Pod " + endpoint.Pod.Name; !slices.Contains(all[at].pods, name) {
			all[at].pods = append(all[at].pods, name)
		}
	}
	return all
}

// behindEntries are the ServiceEntries that select some of the pods.
func behindEntries(subject Subject, pods []mesh.Pod) []stale {
	var all []stale
	for _, entry := range subject.Snapshot.ServiceEntries() {
		selector := entry.Spec.GetWorkloadSelector().GetLabels()
		if len(selector) == 0 || entry.Spec.GetResolution() != networkingv1alpha3.ServiceEntry_STATIC {
			continue
		}
		one := stale{object: mesh.ServiceEntryReference(entry.Namespace, entry.Name)}
		for _, pod := range pods {
			if pod.Namespace == entry.Namespace && mesh.SelectsLabels(selector, pod.Labels) {
				one.pods = append(one.pods, "Pod "+pod.Name)
			}
		}
		if len(one.pods) > 0 {
			all = append(all, one)
		}
	}
	return all
}
