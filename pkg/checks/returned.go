package checks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Returned is what a rollback is to have put back.
type Returned struct {
	v1alpha1.Restoration
	// Kept is what the rollback has left alone.
	Kept []v1alpha1.KeptField
	// Ending is true for the rollback itself, which waits for what is to come about: that
	// nothing asks for a sidecar is not for it to mend.
	Ending bool
}

// keeps returns why a rollback has left something of an object alone.
func (r Returned) keeps(object v1alpha1.ObjectReference) (v1alpha1.KeptField, bool) {
	i := slices.IndexFunc(r.Kept, func(kept v1alpha1.KeptField) bool { return same(kept.Object, object) })
	if i < 0 {
		return v1alpha1.KeptField{}, false
	}
	return r.Kept[i], true
}

// asking are the labels and annotations that ask for a sidecar, or refuse it.
var asking = []string{label.SidecarInject.Name, label.IoIstioRev.Name, mesh.NamespaceInjectionLabel}

// keepsAsking says whether a rollback has left alone what asks for the sidecars of a
// workload, in its template or at the namespace, since somebody else had changed it.
func (r Returned) keepsAsking(workload, namespace v1alpha1.ObjectReference) bool {
	return slices.ContainsFunc(r.Kept, func(kept v1alpha1.KeptField) bool {
		path := strings.NewReplacer("~1", "/", "~0", "~").Replace(kept.Path)
		asks := slices.ContainsFunc(asking, func(name string) bool { return strings.HasSuffix(path, "/"+name) })
		return same(kept.Object, workload) && (asks || path == "") || same(kept.Object, namespace) && asks
	})
}

// ReturnChecks are those of a namespace that was rolled back: they are the gate at the
// end of a rollback, and what verify makes of it afterwards.
func ReturnChecks() []Check {
	return []Check{istioInstalled(), sidecarsBack(), captureEnded(), nothingLeft()}
}

// returning is a check of what a rollback has put back: without one it is skipped.
func returning(check Check, run func(Subject) []Finding) Check {
	check.Run = func(subject Subject) []Finding {
		if subject.Returned == nil {
			return []Finding{{Status: v1alpha1.StatusSkip, Message: "the namespace was not rolled back"}}
		}
		return run(subject)
	}
	return check
}

// IDSidecarsBack is the check that says which pods lack the sidecars that they had.
const IDSidecarsBack = "sidecars-back"

func sidecarsBack() Check {
	return returning(Check{
		ID: IDSidecarsBack, Category: CategoryDataPlane, Severity: v1alpha1.SeverityError,
		About: "Whether every pod of the workloads that an enrolment had moved is ready and has a sidecar again, once that was rolled back.",
		Why: "A pod that came up while the namespace asked for no sidecars is not replaced by its controller, since its template does not say so: it is in neither mode then, " +
			"without mTLS and policies. So is one for which nothing asks any more, or that refuses its sidecar, whoever has it so: it is weaker than before. Where the rollback has left " +
			"alone what asks for it, since somebody else had changed that, it is a warning. What was there without a sidecar before the enrolment is not missed.",
		Needs: append(workloadKinds(), "Pod", "MutatingWebhookConfiguration"), Passed: "every pod that had a sidecar before has one again",
	}, func(subject Subject) []Finding {
		var findings []Finding
		for _, of := range subject.Returned.Workloads {
			if workload, found := subject.Snapshot.Workload(of); found {
				findings = append(findings, backFindings(subject, workload)...)
			}
		}
		return findings
	})
}

func backFindings(subject Subject, workload mesh.Workload) []Finding {
	describe := fmt.Sprintf("kubectl -n %s get pods", workload.Reference.Namespace)
	kept := subject.Returned.keepsAsking(workload.Reference, subject.Namespace.Reference())
	asked := workload.Injected(subject.Snapshot.Injectors(), subject.Namespace.Labels)
	if !asked && !kept && wroteRefusal(subject, workload.Reference, workload.Template.Labels) {
		return []Finding{{
			Status: v1alpha1.StatusFail, Object: reference(workload.Reference), Field: "spec.template.metadata.labels[" + label.SidecarInject.Name + "]",
			Message: "its template refuses the sidecar that its pods had before the enrolment: somebody has put that back since the rollback",
			Remedy:  "take the label out of the template, and out of where it is kept",
		}}
	}
	if rollout := mesh.RolloutOf(workload); !rollout.Complete {
		return []Finding{{Status: v1alpha1.StatusFail, Object: reference(workload.Reference), Field: "status", Message: rollout.Message, Remedy: describe}}
	}
	if !asked {
		return []Finding{unasked(subject, workload, kept)}
	}
	var findings []Finding
	for _, pod := range subject.Snapshot.PodsOf(workload) {
		finding := Finding{Status: v1alpha1.StatusFail, Object: reference(pod.Reference()), Remedy: describe}
		switch {
		case subject.lackedBefore(pod):
			continue
		case !pod.HasSidecar() && mesh.OptedOut(pod.Labels, pod.Annotations) && !wroteRefusal(subject, workload.Reference, pod.Labels):
			finding.Message = "the pod refuses the sidecar that it had before the enrolment, by a label or annotation that no run has written: it is outside the mesh"
			finding.Remedy = "take it out where it comes from, and delete the pod"
			if subject.Returned.Ending {
				finding.Status = v1alpha1.StatusWarn
			}
		case !pod.HasSidecar():
			finding.Message = "the pod has no sidecar, and had one before the enrolment"
			finding.Remedy = "delete the pod: the one that comes in its place gets a sidecar"
		case !pod.Ready:
			finding.Message = "the pod and its sidecar are not ready"
			if pod.Trouble != "" {
				finding.Message += ": " + pod.Trouble
			}
		default:
			continue
		}
		findings = append(findings, finding)
	}
	return findings
}

// lackedBefore says whether a pod lacked its sidecar before the enrolment, for a reason of
// its own.
func (s Subject) lackedBefore(pod mesh.Pod) bool {
	return !pod.HasSidecar() && s.Returned.Since != nil && pod.Created.Before(*s.Returned.Since)
}

// unasked is about a workload for whose sidecars nothing asks any more: its pods lack them,
// or will once they are made anew.
func unasked(subject Subject, workload mesh.Workload, kept bool) Finding {
	finding := Finding{
		Status: v1alpha1.StatusWarn, Object: reference(workload.Reference),
		Message: "nothing asks for the sidecars that its pods had before: those made from now on are outside the mesh", Remedy: "label the namespace or the template as before",
	}
	without := 0
	for _, pod := range subject.Snapshot.PodsOf(workload) {
		if !pod.HasSidecar() && !subject.lackedBefore(pod) {
			without++
		}
	}
	if without == 0 {
		return finding
	}
	finding.Message = fmt.Sprintf("%s without the sidecar that its pods had before the enrolment, and nothing asks for it: outside the mesh", count(without, "pod"))
	switch {
	case kept:
		finding.Message += "; the rollback has left alone what asked for it, since somebody else had changed that"
	case !subject.Returned.Ending:
		finding.Status = v1alpha1.StatusFail
		finding.Remedy += ", and restart what runs the pods"
	}
	return finding
}

// wroteRefusal says whether a template, or a pod, refuses its sidecar just as runs have
// them do it: by the label, which no run writes where it only evicts pods. What refuses
// it otherwise is the doing of somebody else.
func wroteRefusal(subject Subject, workload v1alpha1.ObjectReference, labels map[string]string) bool {
	evicted := slices.ContainsFunc(subject.Returned.Evicted, func(one v1alpha1.ObjectReference) bool { return same(one, workload) })
	return !evicted && labels[label.SidecarInject.Name] == "false"
}

// IDCaptureEnded is the check for which ztunnel is asked after a rollback.
const IDCaptureEnded = "capture-ended"

func captureEnded() Check {
	return returning(Check{
		ID: IDCaptureEnded, Category: CategoryDataPlane, Severity: v1alpha1.SeverityError,
		About: "Whether nothing of a namespace that was rolled back is captured any more: by its labels, by what istio-cni says of its pods, and by ztunnel's own word.",
		Why: "A pod with a sidecar that ztunnel captures as well is a proxy behind a proxy, and one without is still in ambient mode, past the policies that only sidecars " +
			"enforce. Pods that ask for ambient mode by a label of their own are not meant.",
		Needs: []string{"Namespace", "Pod", mesh.ZtunnelPods, mesh.IstioConfigMaps}, Passed: "no pod is captured any more",
	}, func(subject Subject) []Finding {
		var findings []Finding
		if subject.Returned.Unlabelled && subject.ambient() {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusFail, Object: reference(subject.Namespace.Reference()), Field: "metadata.labels[" + label.IoIstioDataplaneMode.Name + "]",
				Message: "the namespace is labelled ambient again: pods that come up without a sidecar are captured",
				Remedy:  "kubectl label namespace " + subject.Namespace.Name + " " + label.IoIstioDataplaneMode.Name + "-, or enroll the namespace",
			})
		}
		return append(findings, stillCaptured(subject)...)
	})
}

// stillCaptured are the pods that are captured and that no label wants to be. A node
// without ztunnel captures nothing.
func stillCaptured(subject Subject) []Finding {
	rule, err := subject.Snapshot.EnrolmentRule()
	if err != nil {
		rule = mesh.DefaultEnrolmentRule()
	}
	labels := subject.Namespace.Labels
	var findings []Finding
	unseen := unseenNodes{evidence: subject.Evidence}
	for _, pod := range subject.Snapshot.Pods(subject.Namespace.Name) {
		own := pod.Labels[label.IoIstioDataplaneMode.Name] == mesh.DataplaneAmbient
		switch {
		case pod.Node == "" || pod.HostNetwork:
			continue
		case own && rule.Captures(pod, labels):
			findings = append(findings, Finding{
				Status: v1alpha1.StatusWarn, Object: reference(pod.Reference()), Field: "metadata.labels[" + label.IoIstioDataplaneMode.Name + "]",
				Message: "the pod is in ambient mode, by a label of its own",
			})
			continue
		case rule.Captures(pod, labels):
			// The namespace's label is what is the matter.
			continue
		}
		if finding := capturedStill(subject.Evidence, pod); finding != nil {
			finding.Message = "the pod " + finding.Message + ", and nothing asks for that any more"
			findings = append(findings, *finding)
			continue
		}
		if finding := unseen.about(pod); finding != nil {
			findings = append(findings, *finding)
		}
	}
	return findings
}

// IDNothingLeft is the check of what runs that were rolled back have made.
const IDNothingLeft = "nothing-left"

func nothingLeft() Check {
	return returning(Check{
		ID: IDNothingLeft, Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Whether anything is left of what the runs have made that were rolled back, and what else an enrolment has made in the namespace.",
		Why: "Copies of policies, guards and waypoints are deleted by the rollback, but for those that others have come to use or changed, which it names. One that is left decides " +
			"calls without anybody looking after it: sidecars pass over what is attached to a waypoint, and heed a policy with a selector. What the run of another namespace has made, " +
			"what an earlier rollback has left, or somebody has applied from a plan's manifests, is named as well, but is no sign of a rollback that is not complete.",
		Needs: []string{mesh.KindAuthorizationPolicy, mesh.KindRequestAuthentication, mesh.KindGateway}, Passed: "nothing that an enrolment has made is left",
	}, func(subject Subject) []Finding {
		var findings []Finding
		created := subject.Returned.Created
		for _, object := range created {
			live, found := subject.Snapshot.Object(object)
			if labels, _, _ := unstructured.NestedStringMap(live, "metadata", "labels"); !found || labels[v1alpha1.OriginLabel] == "" {
				// What somebody has made by that name since is not what a run has made.
				continue
			}
			finding := leftFinding(subject, object)
			if finding.Status == v1alpha1.StatusFail {
				finding.Remedy = deleteCommand(object)
			}
			findings = append(findings, finding)
		}
		for _, object := range madeIn(subject) {
			if slices.ContainsFunc(created, func(one v1alpha1.ObjectReference) bool { return same(one, object) }) {
				continue
			}
			finding := leftFinding(subject, object)
			if finding.Status == v1alpha1.StatusFail {
				finding.Status = v1alpha1.StatusWarn
				finding.Message = "an enrolment has made it for " + originOf(subject.Snapshot, object) + ", and none that was rolled back: something else may need it"
			}
			findings = append(findings, finding)
		}
		return findings
	})
}

// leftFinding is about something that an enrolment has made and that is there.
func leftFinding(subject Subject, object v1alpha1.ObjectReference) Finding {
	finding := Finding{
		Status: v1alpha1.StatusFail, Object: reference(object), Field: "metadata.labels[" + v1alpha1.OriginLabel + "]",
		Message: "an enrolment has made it, and the rollback has not deleted it",
	}
	if kept, is := subject.Returned.keeps(object); is {
		finding.Status, finding.Message = v1alpha1.StatusWarn, "an enrolment has made it, and the rollback has left it: "+kept.Reason
	}
	return finding
}

// originOf is what an object says that it was made for.
func originOf(snapshot *mesh.Snapshot, object v1alpha1.ObjectReference) string {
	live, _ := snapshot.Object(object)
	annotations, _, _ := unstructured.NestedStringMap(live, "metadata", "annotations")
	return cmp.Or(annotations[v1alpha1.OriginLabel], "what it does not say")
}

// madeIn are the objects of the namespace that bear the label of what runs create.
func madeIn(subject Subject) []v1alpha1.ObjectReference {
	var made []v1alpha1.ObjectReference
	for _, policy := range subject.Snapshot.AuthorizationPolicies() {
		if policy.Namespace == subject.Namespace.Name && policy.Labels[v1alpha1.OriginLabel] != "" {
			made = append(made, *securityReference(policy, mesh.KindAuthorizationPolicy))
		}
	}
	for _, extension := range subject.Snapshot.Extensions() {
		if extension.Reference.Namespace == subject.Namespace.Name && extension.Labels()[v1alpha1.OriginLabel] != "" {
			made = append(made, extension.Reference)
		}
	}
	for _, gateway := range subject.Snapshot.Gateways(subject.Namespace.Name) {
		if gateway.Labels[v1alpha1.OriginLabel] != "" {
			made = append(made, *gatewayReference(gateway))
		}
	}
	return made
}
