package checks

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	"k8s.io/apimachinery/pkg/types"
)

const idOutsideMesh = "outside-mesh"

// outsideMesh names pods that nothing carries: istio-cni leaves their namespace out, or
// selects by rules of its own, or they were told to stay out although sidecars, or ztunnel,
// carried them before the enrolment.
func outsideMesh() Check {
	return Check{
		ID: idOutsideMesh, Category: CategoryDataPlane, Severity: v1alpha1.SeverityError,
		About: "Whether there are pods that nothing is to capture, although nothing says that they are to stay out, or although they were in the mesh before the enrolment; and whether a workload that was in it has a template by which its next pods would not be.",
		Why: "Which pods are captured is configurable in istio-cni's ConfigMap, and a pod that it selects in no way has neither mTLS nor policies (istio cni/pkg/util/enablement_selector.go). " +
			"That a template refuses sidecars is no word on that: enroll writes it. Pods of a workload that had sidecars before the enrolment, or that a run has moved, fail where " +
			"they have come to refuse ambient mode or to use their node's network, and so does the workload where its template has and no pod shows it yet. Pods that refuse both and were " +
			"outside the mesh before as well are no finding; others are a warning.",
		Needs: append(workloadKinds(), mesh.IstioConfigMaps, "MutatingWebhookConfiguration"), Passed: "every pod is to be captured, or was told to stay out",
		Run: func(subject Subject) []Finding {
			rule, err := subject.Snapshot.EnrolmentRule()
			if err != nil {
				return []Finding{{
					Status: v1alpha1.StatusUnknown, Message: "which pods istio-cni captures cannot be told: " + err.Error(),
					Remedy: "correct ConfigMap istio-cni-config",
				}}
			}
			were := subject.were()
			var findings []Finding
			for _, pod := range subject.Snapshot.Pods(subject.Namespace.Name) {
				if finding := subject.outside(rule, pod, were[pod.UID]); finding != nil {
					findings = append(findings, *finding)
				}
			}
			for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
				if finding := subject.outsideNext(rule, workload); finding != nil {
					findings = append(findings, *finding)
				}
			}
			return findings
		},
	}
}

// station is where the pods of a workload were before the enrolment.
type station struct {
	workload v1alpha1.ObjectReference
	// known is true for a workload that there was, inMesh where something carried its pods,
	// or would have where it had none, excused where it refused ambient mode already.
	known, inMesh, excused bool
}

// were says of the pods of workloads where they were before the enrolment.
func (s Subject) were() map[types.UID]station {
	were := map[types.UID]station{}
	if s.Past == nil {
		return were
	}
	for _, workload := range s.Snapshot.Workloads(s.Namespace.Name) {
		station := s.Past.stationOf(workload.Reference)
		for _, pod := range s.Snapshot.PodsOf(workload) {
			were[pod.UID] = station
		}
	}
	return were
}

func (p *Past) stationOf(reference v1alpha1.ObjectReference) station {
	moved := slices.Contains(p.Moved, reference)
	workload, found := p.Snapshot.Workload(reference)
	if !found {
		return station{workload: reference, known: moved, inMesh: moved}
	}
	pods := p.Snapshot.PodsOf(workload)
	carried := slices.ContainsFunc(pods, func(pod mesh.Pod) bool { return pod.HasSidecar() || pod.Redirected() })
	namespace, _ := p.Snapshot.Namespace(reference.Namespace)
	mode := cmp.Or(workload.Template.Labels[label.IoIstioDataplaneMode.Name], namespace.Labels[label.IoIstioDataplaneMode.Name])
	asked := workload.Injected(p.Snapshot.Injectors(), namespace.Labels) || mode == mesh.DataplaneAmbient && !workload.Template.Spec.HostNetwork
	return station{
		workload: reference, known: true, inMesh: moved || carried || len(pods) == 0 && asked,
		excused: workload.Template.Labels[label.IoIstioDataplaneMode.Name] == mesh.DataplaneNone,
	}
}

// outside is about a pod that nothing carries.
func (s Subject) outside(rule mesh.EnrolmentRule, pod mesh.Pod, was station) *Finding {
	told := pod.Labels[label.IoIstioDataplaneMode.Name] == mesh.DataplaneNone
	lost := was.inMesh && !was.excused
	switch {
	case pod.IsGateway() || pod.HasSidecar() || rule.Captures(pod, s.Namespace.Labels), pod.HostNetwork && !lost:
		return nil
	case pod.HostNetwork:
		return &Finding{
			Status: v1alpha1.StatusFail, Object: reference(pod.Reference()), Field: "spec.hostNetwork",
			Message: fmt.Sprintf("the pod is outside the mesh, and %s was in it before the enrolment: it uses the node's network", was.workload),
			Remedy:  "take hostNetwork out of the template of " + was.workload.String(),
		}
	case told && lost:
		return &Finding{
			Status: v1alpha1.StatusFail, Object: reference(pod.Reference()), Field: "metadata.labels[" + label.IoIstioDataplaneMode.Name + "]",
			Message: fmt.Sprintf("the pod is outside the mesh, and %s was in it before the enrolment: it refuses ambient mode, by a label that no run has written", was.workload),
			Remedy:  fmt.Sprintf("take %s out of the template of %s, and out of where it is kept", label.IoIstioDataplaneMode.Name, was.workload),
		}
	case told && mesh.OptedOut(pod.Labels, pod.Annotations) && (pod.Controller == nil || was.known && !was.inMesh):
		// Runs write the label into templates alone: a pod that nothing controls has it of
		// its own.
		return nil
	case told:
		return &Finding{
			Status: v1alpha1.StatusWarn, Object: reference(pod.Reference()), Field: "metadata.labels[" + label.IoIstioDataplaneMode.Name + "]",
			Message: "the pod is outside the mesh: no sidecar, and it opted out of ambient mode",
		}
	case s.Namespace.Labels[label.IoIstioDataplaneMode.Name] == mesh.DataplaneAmbient:
		return &Finding{
			Status: v1alpha1.StatusFail, Object: reference(pod.Reference()),
			Message: "the pod is outside the mesh: istio-cni is configured not to capture it",
			Remedy:  "change EXCLUDE_NAMESPACES or AMBIENT_ENABLEMENT_SELECTOR in ConfigMap istio-cni-config",
		}
	default:
		return nil
	}
}
