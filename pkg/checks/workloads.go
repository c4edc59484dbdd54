package checks

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// workloadChecks are about what has to be restarted.
func workloadChecks() []Check {
	return []Check{
		restartable(), argoRollouts(), restartAvailability(), readinessProbes(), disruptionBudgets(), selectorLabels(), liveCapture(),
		autoscalers(), limitRanges(), quitSidecar(), hostNetwork(), headlessServices(), udpPorts(),
	}
}

func restartable() Check {
	return Check{
		ID: "restartable", Category: CategoryWorkloads, Severity: v1alpha1.SeverityError,
		About: "Whether a change of its template replaces the pods of every workload that has a sidecar, and whether something runs every such pod.",
		Why: "A workload is moved by its template, and a sidecar stays for as long as its pod does. Paused Deployments, partitions and Jobs keep their pods " +
			"when the template changes (kubernetes documentation, Workloads). Those of an OnDelete strategy, and of a ReplicaSet of its own, the run evicts " +
			"itself, one at a time; where some of them are from an earlier template than there is now, that would roll out what somebody is holding back. " +
			"What is below a partition comes back from the former template, whoever deletes it. Bare pods and pods of controllers that this version does " +
			"not know are replaced by nobody, and Jobs that run are left to end: neither is ever deleted. The next pods of a CronJob come up without a " +
			"sidecar by themselves. With --strategy=namespace no template is written: pods are evicted, and those whose template asks for a sidecar itself, has to " +
			"keep them out of ambient mode, or has to name a waypoint, cannot be moved so. That is how Deployments, StatefulSets and DaemonSets of operators move, whose " +
			"templates are not to be written (reconcilers); pods that an operator runs itself, without one of these, are not moved at all: how they are replaced is " +
			"its own affair.",
		Needs:  append(workloadKinds(), "MutatingWebhookConfiguration"),
		Passed: "every workload that has to be restarted can be",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			moved := map[types.UID]bool{}
			for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
				pods := subject.Snapshot.PodsOf(workload)
				if workload.CarriesProxy() || workload.IsAgent() {
					// kube-injected and grpc-agents name it.
					markMoved(moved, pods)
					continue
				}
				if subject.byNamespace() {
					if finding := fixedTemplate(subject, workload); finding != nil {
						findings = append(findings, *finding)
					}
				}
				if subject.Snapshot.RoleOf(workload, subject.Namespace) != mesh.RoleMove {
					// What is pinned needs no restart: where one does not happen
					// by itself, its running pods are labelled.
					continue
				}
				markMoved(moved, pods)
				if finding := obstacle(subject, workload, pods); finding != nil {
					findings = append(findings, *finding)
				}
			}
			return append(findings, strayFindings(subject, moved)...)
		},
	}
}

func markMoved(moved map[types.UID]bool, pods []mesh.Pod) {
	for _, pod := range pods {
		moved[pod.UID] = true
	}
}

// obstacle says why a change of the template would not replace the workload's pods,
// or would replace them by others than it should.
func obstacle(subject Subject, workload mesh.Workload, pods []mesh.Pod) *Finding {
	at := workload.Reference
	finding := Finding{Status: v1alpha1.StatusFail, Object: reference(at)}
	switch {
	case workload.Reference.Kind == mesh.KindRollout:
		// argo-rollouts speaks of it.
		return nil
	case subject.byNamespace() && workload.Paused && workload.Pending(pods):
		finding.Field = "spec.paused"
		finding.Message = "it is paused while its template has changed, so that nobody can tell when all of its pods are there"
		finding.Remedy = fmt.Sprintf("kubectl -n %s rollout resume %s/%s, or put the template back", at.Namespace, strings.ToLower(at.Kind), at.Name)
	case subject.byNamespace() && (workload.Paused || workload.Partition > 0 && !workload.OnDelete):
		// Pods are made anew from whichever template they are from.
		return nil
	case workload.Paused && subject.Migration != nil && subject.Migration.ResumePaused:
		return nil
	case workload.Paused:
		finding.Field = "spec.paused"
		finding.Message = "it is paused, so a changed template would not roll out"
		finding.Remedy = fmt.Sprintf("pass --resume-paused to have it resumed for the restart and paused again, or kubectl -n %s rollout resume %s/%s",
			at.Namespace, strings.ToLower(at.Kind), at.Name)
	case workload.ByHand() && workload.Pending(pods) && !begun(subject, workload):
		finding.Field = "spec.template"
		finding.Message = "some of its pods are from an earlier template, and replacing them would roll out what was changed in it since"
		finding.Remedy = "delete those pods first, one at a time, or put the template back to what they are from"
	case workload.ByHand():
		return nil
	case workload.Partition > 0:
		finding.Field = "spec.updateStrategy.rollingUpdate.partition"
		finding.Message = fmt.Sprintf("partition %d keeps pods below it at the former template, also where they are deleted", workload.Partition)
		finding.Remedy = patch(at, `{"spec":{"updateStrategy":{"rollingUpdate":{"partition":0}}}}`)
	case (workload.Reference.Kind == mesh.KindJob || workload.Reference.Kind == mesh.KindCronJob) && slices.ContainsFunc(pods, mesh.Pod.HasSidecar):
		finding.Message = fmt.Sprintf("%s with a sidecar still running", count(len(pods), "pod"))
		finding.Remedy = "wait until it has finished; it is never killed"
	default:
		return nil
	}
	return &finding
}

// begun says whether a run has written the workload's template already.
func begun(subject Subject, workload mesh.Workload) bool {
	return workload.Template.Labels[label.SidecarInject.Name] == "false" &&
		subject.Namespace.Labels[label.IoIstioDataplaneMode.Name] == mesh.DataplaneAmbient
}

// patch is the command that changes a workload's spec.
func patch(at v1alpha1.ObjectReference, change string) string {
	return fmt.Sprintf("kubectl -n %s patch %s/%s --type=merge -p '%s'", at.Namespace, strings.ToLower(at.Kind), at.Name, change)
}

// strayFindings are about pods with sidecars that belong to no workload: one for
// each bare pod, and one for each controller that this version does not know.
func strayFindings(subject Subject, moved map[types.UID]bool) []Finding {
	var findings []Finding
	controlled := map[v1alpha1.ObjectReference]int{}
	for _, pod := range subject.Snapshot.Pods(subject.Namespace.Name) {
		if !pod.HasSidecar() || moved[pod.UID] || runByArgo(subject, pod) {
			continue
		}
		owner, found := subject.Snapshot.OwnerOf(pod)
		if !found {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusFail, Object: reference(pod.Reference()),
				Message: "nothing controls the pod, so nothing would replace it by one without a sidecar, and it is not deleted",
				Remedy:  fmt.Sprintf("run it by a Deployment, or kubectl -n %s delete pod %s", pod.Namespace, pod.Name),
			})
			continue
		}
		controlled[v1alpha1.ObjectReference{APIVersion: owner.APIVersion, Kind: owner.Kind, Namespace: pod.Namespace, Name: owner.Name}]++
	}
	for _, owner := range slices.SortedFunc(maps.Keys(controlled), func(a, b v1alpha1.ObjectReference) int { return cmp.Compare(a.String(), b.String()) }) {
		findings = append(findings, Finding{
			Status: v1alpha1.StatusFail, Object: reference(owner),
			Message: runBy(controlled[owner]) + ", which this version cannot restart",
			Remedy:  "leave the namespace on sidecars",
		})
	}
	return findings
}

// runBy counts the pods with sidecars that something runs.
func runBy(pods int) string {
	if pods == 1 {
		return "1 pod with a sidecar is run by it"
	}
	return count(pods, "pod") + " with sidecars are run by it"
}

// injectorLabels are the labels that the injector adds to pods (istio
// injection-template.yaml). They go with the sidecar.
var injectorLabels = []string{
	label.SecurityTlsMode.Name, mesh.TunnelLabel, label.ServiceCanonicalName.Name, label.ServiceCanonicalRevision.Name,
}

// selectorLabels is about everything that selects pods by labels which the
// migration adds, removes, or which go with the sidecar: it would silently
// select other pods afterwards.
func selectorLabels() Check {
	return Check{
		ID: "selector-labels", Category: CategoryWorkloads, Severity: v1alpha1.SeverityError,
		About: "Selectors of workloads, Services, PodDisruptionBudgets, NetworkPolicies and Istio policies that use a label which pods gain or lose with their sidecar.",
		Why: "The injector adds labels to pods (istio manifests/charts/istio-control/istio-discovery/files/injection-template.yaml), and moving a workload " +
			"sets or removes those that ask for injection. Whatever selects pods by one of them silently selects other pods afterwards: a Service loses its " +
			"endpoints, a policy its pods.",
		Needs: append(rootNamespaces("MutatingWebhookConfiguration", "Service", "PodDisruptionBudget", "NetworkPolicy",
			"AuthorizationPolicy", "PeerAuthentication"), workloadKinds()...),
		Passed: "nothing selects pods by labels that change with the sidecar",
		Run: func(subject Subject) []Finding {
			changing := changingLabels(subject)
			if len(changing) == 0 {
				return nil
			}
			var findings []Finding
			for _, selector := range selectorsOf(subject) {
				for _, key := range selector.keys {
					if changing[key] {
						findings = append(findings, Finding{
							Status: v1alpha1.StatusFail, Object: selector.object, Field: selector.field,
							Message: fmt.Sprintf("it selects pods by %s, which changes when the sidecar goes", key),
							Remedy:  "select them by a label of their own",
						})
					}
				}
			}
			return findings
		},
	}
}

// changingLabels are the labels that pods of moved workloads have now and not
// afterwards, or the other way round.
func changingLabels(subject Subject) map[string]bool {
	changing := map[string]bool{}
	for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
		if subject.Snapshot.RoleOf(workload, subject.Namespace) != mesh.RoleMove {
			continue
		}
		changing[label.SidecarInject.Name] = true
		changing[label.IoIstioRev.Name] = true
		for _, key := range injectorLabels {
			if _, own := workload.Template.Labels[key]; !own {
				changing[key] = true
			}
		}
	}
	return changing
}

// labelSelector is the label keys that one object selects pods by.
type labelSelector struct {
	object *v1alpha1.ObjectReference
	field  string
	keys   []string
}

func selectorsOf(subject Subject) []labelSelector {
	namespace := subject.Namespace.Name
	var selectors []labelSelector
	add := func(object *v1alpha1.ObjectReference, field string, keys []string) {
		selectors = append(selectors, labelSelector{object, field, keys})
	}
	for _, workload := range subject.Snapshot.Workloads(namespace) {
		add(reference(workload.Reference), "spec.selector", selectorKeys(workload.Selector))
	}
	for _, service := range subject.Snapshot.Services(namespace) {
		object := reference(mesh.ServiceReference(namespace, service.Name))
		add(object, "spec.selector", slices.Sorted(maps.Keys(service.Spec.Selector)))
	}
	for _, budget := range subject.Snapshot.Budgets(namespace) {
		object := &v1alpha1.ObjectReference{APIVersion: "policy/v1", Kind: "PodDisruptionBudget", Namespace: namespace, Name: budget.Name}
		add(object, "spec.selector", selectorKeys(budget.Spec.Selector))
	}
	for _, policy := range subject.Snapshot.NetworkPolicies(namespace) {
		object := &v1alpha1.ObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy", Namespace: namespace, Name: policy.Name}
		add(object, "spec.podSelector", selectorKeys(&policy.Spec.PodSelector))
		for _, rule := range policy.Spec.Ingress {
			for _, peer := range rule.From {
				add(object, "spec.ingress[].from[].podSelector", selectorKeys(peer.PodSelector))
			}
		}
		for _, rule := range policy.Spec.Egress {
			for _, peer := range rule.To {
				add(object, "spec.egress[].to[].podSelector", selectorKeys(peer.PodSelector))
			}
		}
	}
	for _, policy := range subject.Snapshot.AuthorizationPolicies() {
		if !subject.planned(policy.Labels) && applies(subject, policy.Namespace, policy.Spec.GetSelector()) {
			add(securityReference(policy, "AuthorizationPolicy"), "spec.selector", slices.Sorted(maps.Keys(policy.Spec.GetSelector().GetMatchLabels())))
		}
	}
	for _, policy := range subject.Snapshot.PeerAuthentications() {
		if applies(subject, policy.Namespace, policy.Spec.GetSelector()) {
			add(securityReference(policy, "PeerAuthentication"), "spec.selector", slices.Sorted(maps.Keys(policy.Spec.GetSelector().GetMatchLabels())))
		}
	}
	return selectors
}

func selectorKeys(selector *metav1.LabelSelector) []string {
	if selector == nil {
		return nil
	}
	keys := slices.Sorted(maps.Keys(selector.MatchLabels))
	for _, expression := range selector.MatchExpressions {
		keys = append(keys, expression.Key)
	}
	return keys
}

// LiveCaptureID is the check about pods that the namespace's label captures.
const LiveCaptureID = "live-capture"

// liveCapture announces the pods that change mode the instant the namespace
// gets its label: those that run without a sidecar and did not opt out.
func liveCapture() Check {
	return Check{
		ID: LiveCaptureID, Category: CategoryWorkloads, Severity: v1alpha1.SeverityWarning,
		About: "Running pods without a sidecar that the namespace's label puts into ambient mode at once.",
		Why: "istio-cni enrols a running pod as soon as its namespace is labelled, unless it has a sidecar or refuses (istio " +
			"cni/pkg/util/enablement_selector.go). Connections that such a pod holds are redirected while they are open, and break.",
		Needs:  append(workloadKinds(), "MutatingWebhookConfiguration", mesh.IstioConfigMaps),
		Passed: "no running pod is captured before its workload's turn",
		Run: func(subject Subject) []Finding {
			var names []string
			for _, pod := range LiveCaptures(subject.Snapshot, subject.Namespace) {
				names = append(names, pod.Name)
			}
			if len(names) == 0 {
				return nil
			}
			return []Finding{{
				Status: v1alpha1.StatusWarn, Object: reference(subject.Namespace.Reference()),
				Message: fmt.Sprintf("%s without sidecar will be captured at once, open connections included: %s",
					count(len(names), "running pod"), some(names)),
				Remedy: "label pods " + label.IoIstioDataplaneMode.Name + "=none that must stay out",
			}}
		},
	}
}

// LiveCaptures returns the pods that ztunnel captures as soon as the namespace
// is labelled: not those with sidecars, and not those that are pinned first.
func LiveCaptures(snapshot *mesh.Snapshot, namespace mesh.Namespace) []mesh.Pod {
	rule, err := snapshot.EnrolmentRule()
	if err != nil {
		// cni-ambient reports it, and blocks.
		rule = mesh.DefaultEnrolmentRule()
	}
	labelled := maps.Clone(namespace.Labels)
	if labelled == nil {
		labelled = map[string]string{}
	}
	labelled[label.IoIstioDataplaneMode.Name] = mesh.DataplaneAmbient
	pinned := map[types.UID]bool{}
	for _, workload := range snapshot.Workloads(namespace.Name) {
		if snapshot.RoleOf(workload, namespace) == mesh.RolePin {
			markMoved(pinned, snapshot.PodsOf(workload))
		}
	}
	return slices.DeleteFunc(snapshot.Pods(namespace.Name), func(pod mesh.Pod) bool {
		bareOptOut := pod.Controller == nil && mesh.OptedOut(pod.Labels, pod.Annotations)
		return pinned[pod.UID] || bareOptOut || pod.HasSidecar() || pod.IsGateway() ||
			!rule.Captures(pod, labelled) || rule.Captures(pod, namespace.Labels)
	})
}
