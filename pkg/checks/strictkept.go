package checks

import (
	"fmt"
	"maps"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

func strictKept() Check {
	return past(Check{
		ID: IDStrictKept, Severity: v1alpha1.SeverityError,
		About: "Whether each workload that refused callers without mTLS before the enrolment, on all ports or on some, refuses them still; where it has no pods, whether they would.",
		Why: "ztunnel accepts plaintext for a pod unless a PeerAuthentication asks for mTLS, and what istiod makes of one for ztunnel is not in every case what sidecars make of it " +
			"(istio pilot/pkg/serviceregistry/ambient/authorization.go, convertPeerAuthentication). Nobody notices a PeerAuthentication that is gone: all calls succeed.",
		Needs:  append(workloadKinds(), mesh.KindPeerAuthentication, "MutatingWebhookConfiguration"),
		Passed: "whatever refused callers without mTLS does so still",
	}, func(subject Subject, past *Past) []Finding {
		var findings []Finding
		for _, was := range past.Baseline.Strict {
			if workload, found := subject.Snapshot.Workload(was.Workload); found {
				findings = append(findings, subject.unstrict(past, was, workload)...)
			}
		}
		return findings
	})
}

// carried is what decides which mTLS a workload's pods ask for: their labels, and whether a
// sidecar carries them.
type carried struct {
	labels  map[string]string
	sidecar bool
}

// carriedOf are the pods of a workload; where it has none, as its template would have
// them come up. A Job without pods has run, and starts no other.
func (s Subject) carriedOf(workload mesh.Workload) []carried {
	var all []carried
	for _, pod := range s.Snapshot.PodsOf(workload) {
		all = append(all, carried{labels: pod.Labels, sidecar: pod.HasSidecar()})
	}
	if len(all) == 0 && workload.Reference.Kind != mesh.KindJob {
		all = append(all, carried{labels: workload.Template.Labels, sidecar: workload.Injected(s.Snapshot.Injectors(), s.Namespace.Labels)})
	}
	return all
}

// unstrict says where a workload accepts callers without mTLS that it refused.
func (s Subject) unstrict(past *Past, was v1alpha1.StrictBaseline, workload mesh.Workload) []Finding {
	namespace := was.Workload.Namespace
	for _, pod := range s.carriedOf(workload) {
		mutual := s.Snapshot.AmbientMutualTLS(namespace, pod.labels)
		if pod.sidecar {
			mutual = s.Snapshot.SidecarMutualTLS(namespace, pod.labels)
		}
		ports := opened(was, mutual)
		if ports == "" {
			continue
		}
		finding := Finding{
			Status: v1alpha1.StatusFail, Object: reference(was.Workload),
			Message: fmt.Sprintf("it accepts callers without mTLS %s, and refused them before it was enrolled%s", ports, s.asked(was.By)),
			Remedy:  "ask for STRICT again by a PeerAuthentication",
		}
		if !pod.sidecar && opened(was, past.Snapshot.AmbientMutualTLS(namespace, pod.labels)) != "" {
			// The policies are what they were: the plan has named these calls.
			finding.Status = v1alpha1.StatusWarn
			finding.Message += "; ztunnel is not told by it what sidecars were, which the plan has named"
		}
		return []Finding{finding}
	}
	return nil
}

// opened says where callers are accepted that were refused; empty for nowhere.
func opened(was v1alpha1.StrictBaseline, now mesh.MutualTLS) string {
	if was.All && !now.Strict {
		return "on all ports"
	}
	for _, port := range was.Ports {
		if !now.Refuses(port) {
			return fmt.Sprintf("on port %d", port)
		}
	}
	if was.All {
		for _, port := range slices.Sorted(maps.Keys(now.Ports)) {
			if !now.Ports[port] && !slices.Contains(was.Open, port) {
				return fmt.Sprintf("on port %d", port)
			}
		}
	}
	return ""
}

// asked says what has become of the PeerAuthentication that asked for it.
func (s Subject) asked(by *v1alpha1.ObjectReference) string {
	if by == nil {
		return ""
	}
	if _, there := s.Snapshot.Object(*by); !there {
		return fmt.Sprintf(" by %s, which is gone", by)
	}
	return fmt.Sprintf(" by %s", by)
}
