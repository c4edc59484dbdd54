package checks

import (
	"fmt"
	"maps"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	"k8s.io/apimachinery/pkg/types"
)

func strictKept() Check {
	return past(Check{
		ID: IDStrictKept, Severity: v1alpha1.SeverityError,
		About: "Whether each workload that refused callers without mTLS before the enrolment, on all ports or on some, refuses them still; where it has no pods, whether they would.",
		Why: "ztunnel accepts plaintext for a pod unless a PeerAuthentication asks for mTLS, and what istiod makes of one for ztunnel is not in every case what sidecars make of it " +
			"(istio pilot/pkg/serviceregistry/ambient/authorization.go, convertPeerAuthentication). Nobody notices a PeerAuthentication that is gone: all calls succeed. " +
			"A pod that neither a sidecar nor ztunnel carries refuses nobody, whatever a PeerAuthentication asks for; what other checks name is left out. " +
			"Where such a workload is gone, those that have come since are looked at in its place: those that one of its Services selected, and those that the policies of before would have covered. " +
			"One that has neither in common with it, and runs as its service account, as only workloads did that refused such callers, is a warning: " +
			"nobody knows whether it stands in for it. Of others nothing is said, since deleting one workload and adding another looks the same.",
		Needs:  append(workloadKinds(), mesh.KindPeerAuthentication, "MutatingWebhookConfiguration", mesh.IstioConfigMaps),
		Passed: "whatever refused callers without mTLS does so still",
	}, func(subject Subject, past *Past) []Finding {
		judge := strictJudge{subject: subject, past: past, were: subject.were(), left: map[string][]string{}}
		for _, was := range past.Baseline.Strict {
			if workload, found := subject.Snapshot.Workload(was.Workload); found {
				judge.look(was, judge.carriedOf(workload))
			}
		}
		judge.lookAtSuccessors()
		for _, id := range slices.Sorted(maps.Keys(judge.left)) {
			judge.findings = append(judge.findings, leftOutFor(id, judge.left[id], judge.looked)...)
		}
		return judge.findings
	})
}

// carried is what decides which mTLS a workload's pods ask for: their labels, and what
// carries them.
type carried struct {
	labels  map[string]string
	sidecar bool
	// outside is true where neither a sidecar nor ztunnel carries them, and named is the
	// check that says so, or that ztunnel does not although it is to.
	outside bool
	named   string
	// excused is true where they refused ambient mode before the enrolment already.
	excused bool
}

// strictJudge looks at workloads that refused callers without mTLS.
type strictJudge struct {
	subject  Subject
	past     *Past
	were     map[types.UID]station
	findings []Finding
	looked   int
	// left are the workloads that are left out, by the check that names their pods.
	left map[string][]string
}

// carriedOf are the pods of a workload; where it has none, as its template would have
// them come up. A Job without pods has run, and starts no other.
func (j *strictJudge) carriedOf(workload mesh.Workload) []carried {
	snapshot, namespace := j.subject.Snapshot, j.subject.Namespace
	var all []carried
	for _, pod := range snapshot.PodsOf(workload) {
		all = append(all, j.carriedPod(pod))
	}
	if len(all) == 0 && workload.Reference.Kind != mesh.KindJob {
		template := workload.Template
		injected := workload.Injected(snapshot.Injectors(), namespace.Labels)
		one := carried{
			labels: template.Labels, sidecar: injected,
			excused: j.past.stationOf(workload.Reference).excused,
			outside: !injected && (template.Labels[label.IoIstioDataplaneMode.Name] == mesh.DataplaneNone || template.Spec.HostNetwork),
		}
		if j.subject.outsideNext(j.rule(), workload) != nil {
			one.named = idOutsideMesh
		}
		all = append(all, one)
	}
	return all
}

func (j *strictJudge) carriedPod(pod mesh.Pod) carried {
	one := carried{labels: pod.Labels, sidecar: pod.HasSidecar(), excused: j.were[pod.UID].excused}
	if one.sidecar || pod.Node == "" {
		return one
	}
	rule := j.rule()
	node, problem := evidenceOf(j.subject.Evidence, pod)
	switch {
	case !rule.Captures(pod, j.subject.Namespace.Labels):
		one.outside = true
		if finding := j.subject.outside(rule, pod, j.were[pod.UID]); finding != nil && finding.Status == v1alpha1.StatusFail {
			one.named = idOutsideMesh
		}
	case !pod.Redirected():
		one.outside, one.named = true, idRedirected
	case problem == "" && capturedFinding(pod, node) != nil:
		one.outside, one.named = true, IDZtunnelCaptured
	}
	return one
}

// rule says which pods istio-cni captures; where nobody can tell, as it does by default.
func (j *strictJudge) rule() mesh.EnrolmentRule {
	rule, err := j.subject.Snapshot.EnrolmentRule()
	if err != nil {
		return mesh.DefaultEnrolmentRule()
	}
	return rule
}

// look says where a workload accepts callers without mTLS that it refused.
func (j *strictJudge) look(was v1alpha1.StrictBaseline, pods []carried) {
	j.looked++
	for _, pod := range pods {
		if pod.named != "" {
			if name := was.Workload.String(); !slices.Contains(j.left[pod.named], name) {
				j.left[pod.named] = append(j.left[pod.named], name)
			}
			continue
		}
		if finding := j.unstrict(was, pod); finding != nil {
			j.findings = append(j.findings, *finding)
			return
		}
	}
}

// unstrict is about pods of a workload that accept callers without mTLS that it refused.
func (j *strictJudge) unstrict(was v1alpha1.StrictBaseline, pod carried) *Finding {
	namespace := was.Workload.Namespace
	if pod.outside {
		finding := &Finding{
			Status: v1alpha1.StatusFail, Object: reference(was.Workload),
			Message: "it is outside the mesh, where nothing refuses callers without mTLS, and it refused them before it was enrolled",
			Remedy:  "take what keeps it out of ambient mode out of its template",
		}
		if pod.excused {
			finding.Status = v1alpha1.StatusWarn
			finding.Message += "; its template refused ambient mode already"
		}
		return finding
	}
	mutual := j.subject.Snapshot.AmbientMutualTLS(namespace, pod.labels)
	if pod.sidecar {
		mutual = j.subject.Snapshot.SidecarMutualTLS(namespace, pod.labels)
	}
	ports := opened(was, mutual)
	if ports == "" {
		return nil
	}
	finding := &Finding{
		Status: v1alpha1.StatusFail, Object: reference(was.Workload),
		Message: fmt.Sprintf("it accepts callers without mTLS %s, and refused them before it was enrolled%s", ports, j.subject.asked(was.By)),
		Remedy:  "ask for STRICT again by a PeerAuthentication",
	}
	if !pod.sidecar && opened(was, j.past.Snapshot.AmbientMutualTLS(namespace, pod.labels)) != "" {
		// The policies are what they were: the plan has named these calls.
		finding.Status = v1alpha1.StatusWarn
		finding.Message += "; ztunnel is not told by it what sidecars were, which the plan has named"
	}
	return finding
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
