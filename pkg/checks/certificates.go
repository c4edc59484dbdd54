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
			"connection from and to the pod fails. It is renewed after half its lifetime (ztunnel src/identity/manager.rs): one of which less than a quarter is left was not.",
		Needs: []string{"Pod", mesh.ZtunnelPods, mesh.IstioConfigMaps}, DependsOn: []string{"ztunnel-captured"},
		Passed: "ztunnel holds a certificate in force for every pod",
		Run: func(subject Subject) []Finding {
			if subject.Evidence == nil {
				return perPod(subject, nil)
			}
			return perPod(subject, certificateFinding(subject.Evidence.Taken))
		},
	}
}

// certificateFinding judges certificates at a time. One that several pods have in
// common is reported for the first.
func certificateFinding(now time.Time) func(mesh.Pod, mesh.NodeEvidence) *Finding {
	reported := map[string]bool{}
	return func(pod mesh.Pod, node mesh.NodeEvidence) *Finding {
		workload, known := node.Workloads[pod.Namespace+"/"+pod.Name]
		if !known {
			// ztunnelHBONE says so.
			return nil
		}
		key := node.Ztunnel + " " + workload.Identity
		finding := Finding{
			Status: v1alpha1.StatusFail, Object: reference(pod.Reference()),
			Remedy: "look at the log of " + node.Ztunnel + ", and of istiod, for " + workload.Identity,
		}
		if account := cmp.Or(pod.ServiceAccount, "default"); !strings.HasSuffix(workload.Identity, "/ns/"+pod.Namespace+"/sa/"+account) {
			finding.Field = "spec.serviceAccountName"
			finding.Message = fmt.Sprintf("%s takes the pod for %s, not for service account %s", node.Ztunnel, workload.Identity, account)
			return &finding
		}
		certificate, held := node.Certificates[workload.Identity]
		left := certificate.NotAfter.Sub(now)
		switch {
		case reported[key]:
			return nil
		case !held:
			finding.Message = fmt.Sprintf("%s has no certificate for %s", node.Ztunnel, workload.Identity)
		case certificate.State != mesh.CertificateAvailable:
			finding.Message = fmt.Sprintf("%s has no certificate for %s: %s", node.Ztunnel, workload.Identity, certificate.State)
		case left <= 0:
			finding.Message = fmt.Sprintf("the certificate for %s at %s has expired, at %s", workload.Identity, node.Ztunnel, certificate.NotAfter.UTC().Format(time.RFC3339))
		case now.Before(certificate.NotBefore):
			finding.Message = fmt.Sprintf("the certificate for %s at %s holds from %s on only", workload.Identity, node.Ztunnel, certificate.NotBefore.UTC().Format(time.RFC3339))
		case left < certificate.NotAfter.Sub(certificate.NotBefore)/4:
			finding.Status = v1alpha1.StatusWarn
			finding.Message = fmt.Sprintf("the certificate for %s at %s was not renewed: it expires at %s",
				workload.Identity, node.Ztunnel, certificate.NotAfter.UTC().Format(time.RFC3339))
		default:
			return nil
		}
		reported[key] = true
		return &finding
	}
}
