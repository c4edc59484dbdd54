package checks

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/annotation"
	"istio.io/api/label"
)

func noSidecars() Check {
	return Check{
		ID: "no-sidecars", Category: CategoryDataPlane, Severity: v1alpha1.SeverityError,
		About: "Whether any pod of the namespace runs a sidecar, as a container or as a native sidecar among the init containers.",
		Why:   "istio-cni leaves a pod with a sidecar alone, so that ztunnel does not capture it (istio cni/pkg/util/podutil.go). It is still carried by its sidecar, whatever the labels say.",
		Needs: []string{"Pod"}, Passed: "no pod has a sidecar",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, pod := range subject.Snapshot.Pods(subject.Namespace.Name) {
				if pod.HasSidecar() {
					findings = append(findings, Finding{
						Status: v1alpha1.StatusFail, Object: reference(pod.Reference()), Field: sidecarField(pod),
						Message: "the pod has a sidecar", Remedy: "enroll the namespace, or restart what runs the pod",
					})
				}
			}
			return findings
		},
	}
}

// sidecarField says where the sidecar is: native ones are init containers.
func sidecarField(pod mesh.Pod) string {
	switch {
	case slices.Contains(pod.InitContainers, mesh.ProxyContainer):
		return "spec.initContainers[" + mesh.ProxyContainer + "]"
	case slices.Contains(pod.Containers, mesh.ProxyContainer):
		return "spec.containers[" + mesh.ProxyContainer + "]"
	default:
		return "metadata.annotations[" + annotation.SidecarStatus.Name + "]"
	}
}

func dataplaneMode() Check {
	return Check{
		ID: "dataplane-mode", Category: CategoryDataPlane, Severity: v1alpha1.SeverityError,
		About: "Whether the namespace's labels ask for ambient mode and for no sidecars.",
		Why:   "A pod that is created while an injection webhook answers for the namespace gets a sidecar, and one that is created without the ambient label gets neither.",
		Needs: []string{"Namespace", "MutatingWebhookConfiguration"}, Passed: "the namespace is labelled ambient and asks for no sidecars",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			object := reference(subject.Namespace.Reference())
			if mode := subject.Namespace.Labels[label.IoIstioDataplaneMode.Name]; mode != mesh.DataplaneAmbient {
				findings = append(findings, Finding{
					Status: v1alpha1.StatusFail, Object: object, Field: "metadata.labels[" + label.IoIstioDataplaneMode.Name + "]",
					Message: fmt.Sprintf("the label is %q, not %q", mode, mesh.DataplaneAmbient), Remedy: "enroll the namespace",
				})
			}
			if subject.Snapshot.Injectors().Inject(subject.Namespace.Labels, nil, nil, false) {
				findings = append(findings, Finding{
					Status: v1alpha1.StatusFail, Object: object, Field: "metadata.labels",
					Message: "new pods still get sidecars: injection is " + subject.Snapshot.InjectionOf(subject.Namespace),
					Remedy:  "enroll the namespace",
				})
			}
			return findings
		},
	}
}

func restartsComplete() Check {
	return Check{
		ID: "restarts-complete", Category: CategoryDataPlane, Severity: v1alpha1.SeverityError,
		About: "Whether every workload is rolled out, and no pod is one that its next restart would give a sidecar; of a workload without such pods, or without any, whether its template would give its next pods one.",
		Why: "A rollout that stands still leaves pods of the old template, and a template that asks for injection by itself is injected again at the next restart (istio pkg/kube/inject/inject.go, injectRequired). " +
			"A CronJob has no pods most of the time, a Deployment may be scaled to none, and an OnDelete strategy keeps pods that are from an earlier template. " +
			"A workload that is outside the mesh by its own label, or had containers that were not ready before the enrolment and has as many ready pods as then, is a warning.",
		Needs: append(workloadKinds(), "MutatingWebhookConfiguration"), Passed: "every workload is rolled out, no restart is due",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
				if rollout := mesh.RolloutOf(workload); !rollout.Complete {
					findings = append(findings, subject.unfinished(workload, rollout))
				}
				if finding := subject.injectedNext(workload); finding != nil {
					findings = append(findings, *finding)
				}
			}
			for _, pod := range subject.Snapshot.Pods(subject.Namespace.Name) {
				// noSidecars names the pods that have one.
				if subject.Snapshot.RestartDue(pod, subject.Namespace) && !pod.HasSidecar() {
					findings = append(findings, Finding{
						Status: v1alpha1.StatusFail, Object: reference(pod.Reference()), Field: "metadata.labels",
						Message: "a restart would give the pod a sidecar",
						Remedy:  "set " + label.SidecarInject.Name + ": \"false\" in the template of what runs it",
					})
				}
			}
			return findings
		},
	}
}

// unfinished is about a workload that is not rolled out. What is outside the mesh by its
// own label, and what was in trouble before the enrolment and has as many ready pods as
// then, is no matter of the enrolment.
func (s Subject) unfinished(workload mesh.Workload, rollout mesh.Rollout) Finding {
	finding := Finding{
		Status: v1alpha1.StatusFail, Object: reference(workload.Reference), Field: "status", Message: rollout.Message, Remedy: describing(workload.Reference),
	}
	before := s.Past != nil && slices.ContainsFunc(s.Past.Baseline.Workloads, func(was v1alpha1.WorkloadBaseline) bool {
		return was.Object == workload.Reference && len(was.Troubled) > 0 && readyOf(s.Snapshot.PodsOf(workload)) >= was.Ready
	})
	switch {
	case workload.Template.Labels[label.IoIstioDataplaneMode.Name] == mesh.DataplaneNone:
		finding.Status = v1alpha1.StatusWarn
		finding.Message += "; it is outside the mesh by its own label"
	case before:
		finding.Status = v1alpha1.StatusWarn
		finding.Message += "; it was not ready before the enrolment either"
	}
	return finding
}

// expected are the pods of the namespace that ztunnel should capture. A pod
// that is not on a node yet has no traffic; restarts-complete names what it
// keeps waiting.
func expected(subject Subject) []mesh.Pod {
	meant := capturing(subject)
	return slices.DeleteFunc(subject.Snapshot.Pods(subject.Namespace.Name), func(pod mesh.Pod) bool { return !meant(pod) })
}

// capturing says of pods of the namespace whether ztunnel should capture them.
func capturing(subject Subject) func(mesh.Pod) bool {
	rule, err := subject.Snapshot.EnrolmentRule()
	if err != nil {
		rule = mesh.DefaultEnrolmentRule()
	}
	return func(pod mesh.Pod) bool { return pod.Node != "" && rule.Captures(pod, subject.Namespace.Labels) }
}

const idRedirected = "redirected"

func redirected() Check {
	return Check{
		ID: idRedirected, Category: CategoryDataPlane, Severity: v1alpha1.SeverityError,
		About: "Whether istio-cni says of every pod that its traffic is redirected to ztunnel.",
		Why:   "istio-cni annotates a pod once it has set up the redirection. A pod that is captured late, or not at all, sends plaintext past ztunnel (istio cni/pkg/util/podutil.go).",
		Needs: []string{"Pod", mesh.IstioConfigMaps}, Passed: "istio-cni redirects every pod to ztunnel",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, pod := range expected(subject) {
				if pod.Redirected() {
					continue
				}
				findings = append(findings, Finding{
					Status: v1alpha1.StatusFail, Object: reference(pod.Reference()), Field: "metadata.annotations[" + annotation.AmbientRedirection.Name + "]",
					Message: fmt.Sprintf("the pod is not redirected: the annotation is %q, not %q",
						pod.Annotations[annotation.AmbientRedirection.Name], mesh.RedirectionEnabled),
					Remedy: "look at the logs of istio-cni on node " + pod.Node,
				})
			}
			return findings
		},
	}
}

// IDZtunnelCaptured is the check that says of which pods ztunnel can be asked for more.
const IDZtunnelCaptured = "ztunnel-captured"

// ztunnelCaptured asks ztunnel itself. The annotation that istio-cni writes
// can be stale after a node has restarted (istio#61182).
func ztunnelCaptured() Check {
	return Check{
		ID: IDZtunnelCaptured, Category: CategoryDataPlane, Severity: v1alpha1.SeverityError,
		About: "Whether the ztunnel of its node says of every pod that it is proxied.",
		Why:   "The annotation that istio-cni writes is a claim, and stale once a node has restarted (istio/istio issue 61182). The state of the pod in ztunnel's own dump is what tells.",
		Needs: []string{"Pod", mesh.ZtunnelPods, mesh.IstioConfigMaps}, Passed: "ztunnel proxies every pod on its node",
		Run: func(subject Subject) []Finding {
			return perPod(subject, capturedFinding)
		},
	}
}

func capturedFinding(pod mesh.Pod, node mesh.NodeEvidence) *Finding {
	state, known := node.Captured[pod.UID]
	if state == mesh.CaptureUp {
		return nil
	}
	finding := Finding{
		Status: v1alpha1.StatusFail, Object: reference(pod.Reference()),
		Message: fmt.Sprintf("ztunnel on node %s says the pod is %s", pod.Node, state),
		Remedy:  "restart the pod; if it stays so, look at the logs of ztunnel and istio-cni on the node",
	}
	if !known {
		finding.Message = fmt.Sprintf("ztunnel on node %s does not know the pod as its own", pod.Node)
	}
	return &finding
}

func ztunnelHBONE() Check {
	return Check{
		ID: "ztunnel-hbone", Category: CategoryDataPlane, Severity: v1alpha1.SeverityError,
		About: "Whether istiod tells ztunnel to reach every pod by HBONE, through the ztunnel of its node.",
		Why:   "A sidecar that accepts HBONE shows as HBONE too, with a tunnel of its own; a pod that shows as TCP is sent plaintext (istio pilot/pkg/serviceregistry/ambient/workloads.go).",
		Needs: []string{"Pod", mesh.ZtunnelPods, mesh.IstioConfigMaps}, DependsThere: []string{IDZtunnelCaptured},
		Passed: "ztunnel reaches every pod by HBONE, through ztunnel",
		Run: func(subject Subject) []Finding {
			return perCaptured(subject, hboneFinding)
		},
	}
}

func ztunnelPolicies() Check {
	return Check{
		ID: "ztunnel-policies", Category: CategoryDataPlane, Severity: v1alpha1.SeverityError,
		About: "Whether the ztunnel of each pod's node has received every policy that istiod names for the pod.",
		Why: "ztunnel learns of a pod and of the policies that hold for it apart, and passes over one that it has not received: what that policy " +
			"refuses is let in (ztunnel src/state.rs, assert_rbac).",
		Needs: []string{"Pod", mesh.ZtunnelPods, mesh.IstioConfigMaps}, DependsThere: []string{IDZtunnelCaptured},
		Passed: "ztunnel has every policy that holds for the pods",
		Run: func(subject Subject) []Finding {
			return perCaptured(subject, policiesFinding)
		},
	}
}

// hboneFinding wants HBONE without a native tunnel: sidecars that speak HBONE
// show as HBONE too, but terminate it themselves.
func hboneFinding(pod mesh.Pod, node mesh.NodeEvidence) *Finding {
	workload, known := node.Workloads[pod.Namespace+"/"+pod.Name]
	finding := Finding{Status: v1alpha1.StatusFail, Object: reference(pod.Reference()), Remedy: "compare istioctl ztunnel-config workloads with the pod"}
	switch {
	case !known:
		finding.Message = fmt.Sprintf("ztunnel on node %s was not told of the pod by istiod", pod.Node)
	case workload.Protocol != mesh.ProtocolHBONE:
		finding.Message = fmt.Sprintf("ztunnel on node %s reaches the pod by %s, not %s", pod.Node, workload.Protocol, mesh.ProtocolHBONE)
	case workload.NativeTunnel:
		finding.Message = fmt.Sprintf("ztunnel on node %s takes the pod for one with a sidecar (nativeTunnel)", pod.Node)
	default:
		return nil
	}
	return &finding
}

// perPod applies a judgement to every pod that should be captured, with what
// the ztunnel of its node says; a node that could not be asked is unknown.
func perPod(subject Subject, judge func(mesh.Pod, mesh.NodeEvidence) *Finding) []Finding {
	var findings []Finding
	reported := map[string]bool{}
	pods := expected(subject)
	if len(pods) == 0 {
		return noneCaptured()
	}
	for _, pod := range pods {
		node, problem := evidenceOf(subject.Evidence, pod)
		if problem != "" {
			if !reported[pod.Node] {
				reported[pod.Node] = true
				findings = append(findings, Finding{
					Status: v1alpha1.StatusUnknown, Object: reference(pod.Reference()), Message: problem,
					Remedy: "verify again once ztunnel can be asked",
				})
			}
			continue
		}
		if finding := judge(pod, node); finding != nil {
			findings = append(findings, *finding)
		}
	}
	return findings
}

func evidenceOf(evidence *mesh.Evidence, pod mesh.Pod) (mesh.NodeEvidence, string) {
	if evidence == nil {
		return mesh.NodeEvidence{}, "ztunnel was not asked"
	}
	node, asked := evidence.Nodes[pod.Node]
	switch {
	case !asked:
		return node, "ztunnel on node " + pod.Node + " was not asked"
	case node.Problem != "":
		return node, "ztunnel on node " + pod.Node + " could not be asked: " + node.Problem
	default:
		return node, ""
	}
}

func optedOut() Check {
	return Check{
		ID: "opted-out", Category: CategoryDataPlane, Severity: v1alpha1.SeverityError,
		About: "Whether a pod that refuses ambient mode is captured all the same, by what istio-cni or the ztunnel of its node says.",
		Why: "The pod's label comes before its namespace's (istio cni/pkg/util/enablement_selector.go). A gateway that ztunnel captures is a proxy behind a proxy. " +
			"A node on which no ztunnel runs captures nothing; of one whose ztunnel cannot be asked nobody knows.",
		Needs: []string{"Pod"}, Passed: "no pod that opted out is captured",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			unseen := unseenNodes{evidence: subject.Evidence}
			for _, pod := range subject.Snapshot.Pods(subject.Namespace.Name) {
				if pod.Labels[label.IoIstioDataplaneMode.Name] != mesh.DataplaneNone || pod.Node == "" || pod.HostNetwork {
					continue
				}
				if finding := capturedStill(subject.Evidence, pod); finding != nil {
					finding.Message = "the pod opted out and " + finding.Message + " all the same"
					findings = append(findings, *finding)
				} else if finding := unseen.about(pod); finding != nil {
					findings = append(findings, *finding)
				}
			}
			return findings
		},
	}
}

// unseenNodes names each node once of which nobody knows whether it captures a pod that
// is not to be captured.
type unseenNodes struct {
	evidence *mesh.Evidence
	named    []string
}

func (u *unseenNodes) about(pod mesh.Pod) *Finding {
	node, problem := evidenceOf(u.evidence, pod)
	if problem == "" || node.Absent || slices.Contains(u.named, pod.Node) {
		return nil
	}
	u.named = append(u.named, pod.Node)
	return &Finding{
		Status: v1alpha1.StatusUnknown, Object: reference(pod.Reference()), Field: "metadata.annotations[" + annotation.AmbientRedirection.Name + "]",
		Message: "istio-cni says that the pod is not redirected; " + problem, Remedy: "verify again once ztunnel can be asked",
	}
}

// capturedStill says who takes a pod for captured that is not to be. A node that could
// not be asked says nothing, which unseenNodes names.
func capturedStill(evidence *mesh.Evidence, pod mesh.Pod) *Finding {
	finding := &Finding{
		Status: v1alpha1.StatusFail, Object: reference(pod.Reference()), Remedy: "look at the logs of istio-cni on node " + pod.Node,
	}
	node, problem := evidenceOf(evidence, pod)
	_, proxied := node.Captured[pod.UID]
	switch {
	case pod.Redirected():
		finding.Field = "metadata.annotations[" + annotation.AmbientRedirection.Name + "]"
		finding.Message = "is redirected to ztunnel"
	case problem == "" && proxied:
		finding.Message = "is proxied by " + node.Ztunnel
	default:
		return nil
	}
	return finding
}

// Captured is the gate of a restarted workload as far as ztunnel knows: what
// keeps its pods from counting as captured. It is what verify checks.
func Captured(pods []mesh.Pod, evidence *mesh.Evidence) []Finding {
	var findings []Finding
	for _, pod := range pods {
		node, problem := evidenceOf(evidence, pod)
		if problem != "" {
			findings = append(findings, Finding{Status: v1alpha1.StatusUnknown, Object: reference(pod.Reference()), Message: problem})
			continue
		}
		for _, judge := range []func(mesh.Pod, mesh.NodeEvidence) *Finding{capturedFinding, hboneFinding, policiesFinding} {
			if finding := judge(pod, node); finding != nil {
				findings = append(findings, *finding)
			}
		}
	}
	return findings
}

// policiesFinding: ztunnel learns of a pod and of the policies that hold for it
// apart, and lets in what a policy would refuse that it has not received yet.
func policiesFinding(pod mesh.Pod, node mesh.NodeEvidence) *Finding {
	var missing []string
	for _, name := range node.Workloads[pod.Namespace+"/"+pod.Name].Policies {
		if _, received := node.Policies[name]; !received {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return &Finding{
		Status: v1alpha1.StatusFail, Object: reference(pod.Reference()),
		Message: fmt.Sprintf("%s has not received the policies that hold for the pod: %s", node.Ztunnel, some(missing)),
		Remedy:  "look at the log of " + node.Ztunnel,
	}
}
