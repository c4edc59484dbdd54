package checks

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// ztunnelCertificates asks ztunnel for what it identifies pods by.
func ztunnelCertificates() Check {
	return Check{
		ID: "ztunnel-certificates", Category: CategoryDataPlane, Severity: v1alpha1.SeverityError,
		About: "Whether the ztunnel of its node holds a certificate of its own identity for every pod, that is in force and is being renewed.",
		Why: "ztunnel speaks for a pod with the certificate of its service account, which it asks the mesh's CA for (ztunnel src/cert_fetcher.rs). Without one every " +
			"connection from and to the pod fails. It is renewed after half its lifetime (ztunnel src/tls/certificate.rs, refresh_at), and where that fails again and again, after two and a half minutes at the most " +
			"(src/identity/manager.rs): one of which less than a quarter is left was not, which is a warning, and one of which less than a tenth is left is about to expire, and fails.",
		Needs: []string{"Pod", mesh.ZtunnelPods, mesh.IstioConfigMaps}, DependsThere: []string{IDZtunnelCaptured},
		Passed: "ztunnel holds a certificate in force for every pod",
		Run: func(subject Subject) []Finding {
			if subject.Evidence == nil {
				return perCaptured(subject, nil)
			}
			judge := certificateJudge{now: subject.Evidence.Taken, seen: map[string]bool{}}
			findings := perCaptured(subject, judge.look)
			for _, problem := range judge.problems {
				findings = append(findings, problem.finding())
			}
			return findings
		},
	}
}

// certificateJudge judges certificates at a time. What is the matter with several that
// a ztunnel holds is one problem of that ztunnel.
type certificateJudge struct {
	now      time.Time
	seen     map[string]bool
	problems []*certificateProblem
}

// certificateProblem is what is the matter with certificates of a ztunnel.
type certificateProblem struct {
	status v1alpha1.CheckStatus
	// pod is the first whose identity it is about.
	pod           mesh.Pod
	ztunnel, what string
	identities    []string
	// detail is about the first of them.
	detail string
}

func (p certificateProblem) finding() Finding {
	finding := Finding{
		Status: p.status, Object: reference(p.pod.Reference()),
		Message: fmt.Sprintf("the certificate for %s at %s %s%s", p.identities[0], p.ztunnel, p.what, p.detail),
		Remedy:  "look at the log of " + p.ztunnel + ", and of istiod, for " + p.identities[0],
	}
	if more := len(p.identities) - 1; more > 0 {
		finding.Message += fmt.Sprintf("; so it is with %s more there", count(more, "certificate"))
	}
	return finding
}

// look notes what is the matter with a pod's certificate. One that several pods have in
// common is looked at once.
func (j *certificateJudge) look(pod mesh.Pod, node mesh.NodeEvidence) *Finding {
	workload, known := node.Workloads[pod.Namespace+"/"+pod.Name]
	if !known {
		// ztunnelHBONE says so.
		return nil
	}
	if account := cmp.Or(pod.ServiceAccount, "default"); !strings.HasSuffix(workload.Identity, "/ns/"+pod.Namespace+"/sa/"+account) {
		return &Finding{
			Status: v1alpha1.StatusFail, Object: reference(pod.Reference()), Field: "spec.serviceAccountName",
			Message: fmt.Sprintf("%s takes the pod for %s, not for service account %s", node.Ztunnel, workload.Identity, account),
			Remedy:  "look at the log of " + node.Ztunnel + ", and of istiod, for " + workload.Identity,
		}
	}
	if key := node.Ztunnel + " " + workload.Identity; !j.seen[key] {
		j.seen[key] = true
		j.note(pod, node, workload.Identity)
	}
	return nil
}

func (j *certificateJudge) note(pod mesh.Pod, node mesh.NodeEvidence, identity string) {
	certificate, held := node.Certificates[identity]
	var what, detail string
	status := v1alpha1.StatusFail
	switch left := certificate.NotAfter.Sub(j.now); {
	case !held:
		what = "is missing"
	case certificate.State != mesh.CertificateAvailable:
		what, detail = "is missing", ": "+certificate.State
	case left <= 0:
		what, detail = "has expired", ", at "+certificate.NotAfter.UTC().Format(time.RFC3339)
	case j.now.Before(certificate.NotBefore):
		what, detail = "is not in force yet", ", but from "+certificate.NotBefore.UTC().Format(time.RFC3339)+" on"
	case left < certificate.NotAfter.Sub(certificate.NotBefore)/10:
		what, detail = "is about to expire", ", at "+certificate.NotAfter.UTC().Format(time.RFC3339)+", and was not renewed"
	case left < certificate.NotAfter.Sub(certificate.NotBefore)/4:
		status, what, detail = v1alpha1.StatusWarn, "was not renewed", ": it expires at "+certificate.NotAfter.UTC().Format(time.RFC3339)
	default:
		return
	}
	for _, problem := range j.problems {
		if problem.ztunnel == node.Ztunnel && problem.what == what {
			problem.identities = append(problem.identities, identity)
			return
		}
	}
	j.problems = append(j.problems, &certificateProblem{status: status, pod: pod, ztunnel: node.Ztunnel, what: what, identities: []string{identity}, detail: detail})
}
