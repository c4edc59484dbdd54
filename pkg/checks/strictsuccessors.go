package checks

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// successor is a workload, or a pod that no workload runs, that was not there before the
// enrolment, and may stand in for one that is gone.
type successor struct {
	object  v1alpha1.ObjectReference
	account string
	labels  map[string]string
	pods    []carried
}

// successors are those of the namespace. A Job that has run starts no pods any more.
func (j *strictJudge) successors() []successor {
	snapshot, namespace := j.subject.Snapshot, j.subject.Namespace.Name
	var all []successor
	for _, workload := range snapshot.Workloads(namespace) {
		_, was := j.past.Snapshot.Workload(workload.Reference)
		pods := j.carriedOf(workload)
		if was || workload.IsGateway() || len(pods) == 0 {
			continue
		}
		all = append(all, successor{object: workload.Reference, account: workload.Template.Spec.ServiceAccountName, labels: pods[0].labels, pods: pods})
	}
	for _, pod := range snapshot.BarePods(namespace) {
		if _, was := j.past.Snapshot.Object(pod.Reference()); !was && !pod.IsGateway() {
			all = append(all, successor{object: pod.Reference(), account: pod.ServiceAccount, labels: pod.Labels, pods: []carried{j.carriedPod(pod)}})
		}
	}
	return all
}

// lookAtSuccessors judges what has come in place of workloads that refused callers without
// mTLS and are gone: a name is no more than a name, and who replaces a workload under
// another one calls it the same by its Services.
func (j *strictJudge) lookAtSuccessors() {
	gone := slices.DeleteFunc(slices.Clone(j.past.Baseline.Strict), func(was v1alpha1.StrictBaseline) bool {
		_, there := j.subject.Snapshot.Workload(was.Workload)
		return there || was.Workload.Kind == mesh.KindJob
	})
	if len(gone) == 0 {
		return
	}
	for _, next := range j.successors() {
		by := func(judge func(v1alpha1.StrictBaseline, successor) bool) bool {
			return slices.ContainsFunc(gone, func(was v1alpha1.StrictBaseline) bool { return judge(was, next) })
		}
		if !by(j.succeeds) {
			by(j.succeedsByAccount)
		}
	}
}

// succeeds judges a successor by one workload that is gone, and says whether it stands in
// for it.
func (j *strictJudge) succeeds(was v1alpha1.StrictBaseline, next successor) bool {
	former, known := j.past.Snapshot.Workload(was.Workload)
	if !known {
		return false
	}
	labels := former.Template.Labels
	if pods := j.past.Snapshot.PodsOf(former); len(pods) > 0 {
		labels = pods[0].Labels
	}
	expected := was
	status := v1alpha1.StatusFail
	if !j.sharesService(was.Workload.Namespace, labels, next.labels) {
		// What the policies of before would have made of it.
		mutual := j.past.Snapshot.SidecarMutualTLS(was.Workload.Namespace, next.labels)
		if !mutual.RefusesAny() {
			return false
		}
		expected.All = mutual.Strict
		expected.Open, expected.Ports = mutual.Exceptions()
		labels = next.labels
		if !j.changed(was.By) {
			// Somebody has opened what nobody knows to be the same workload.
			status = v1alpha1.StatusWarn
		}
	}
	expected.Workload = next.object
	j.judge(next, func(pod carried) *Finding { return j.successorFinding(was, expected, labels, status, pod) })
	return true
}

// succeedsByAccount judges a successor that has neither a Service nor a policy in common
// with a workload that is gone, and says whether it runs as the same service account, one
// that only workloads ran as which refused callers without mTLS: principals go by that.
// Nobody knows from it that the new one is to refuse them, too.
func (j *strictJudge) succeedsByAccount(was v1alpha1.StrictBaseline, next successor) bool {
	former, known := j.past.Snapshot.Workload(was.Workload)
	if !known || former.Template.Spec.ServiceAccountName != next.account || !j.refusedAs(next.account) {
		return false
	}
	expected := was
	expected.Workload = next.object
	j.judge(next, func(pod carried) *Finding {
		finding := j.successorFinding(was, expected, former.Template.Labels, v1alpha1.StatusWarn, pod)
		if finding != nil {
			finding.Message += fmt.Sprintf("; whether it stands in for that is not known: it runs as service account %s, as only workloads did that refused them", next.account)
			finding.Remedy = "if it does: " + finding.Remedy
		}
		return finding
	})
	return true
}

// refusedAs says whether all that ran as a service account before refused callers without
// mTLS. Of the account that pods have who name none it says nothing.
func (j *strictJudge) refusedAs(account string) bool {
	if account == "" || account == defaultAccount {
		return false
	}
	refused := func(workload v1alpha1.ObjectReference) bool {
		return slices.ContainsFunc(j.past.Baseline.Strict, func(was v1alpha1.StrictBaseline) bool { return was.Workload == workload })
	}
	namespace := j.subject.Namespace.Name
	return !slices.ContainsFunc(j.past.Snapshot.Workloads(namespace), func(workload mesh.Workload) bool {
		return workload.Template.Spec.ServiceAccountName == account && !refused(workload.Reference)
	}) && !slices.ContainsFunc(j.past.Snapshot.BarePods(namespace), func(pod mesh.Pod) bool { return pod.ServiceAccount == account })
}

// defaultAccount is that of pods that name none.
const defaultAccount = "default"

// judge looks at the pods of a successor until one is found wanting; those that other checks
// name are left out.
func (j *strictJudge) judge(next successor, find func(carried) *Finding) {
	j.looked++
	for _, pod := range next.pods {
		if pod.named != "" {
			if name := next.object.String(); !slices.Contains(j.left[pod.named], name) {
				j.left[pod.named] = append(j.left[pod.named], name)
			}
			continue
		}
		if finding := find(pod); finding != nil {
			j.findings = append(j.findings, *finding)
			return
		}
	}
}

// sharesService says whether a Service of before selected pods of some labels and selects
// those of others.
func (j *strictJudge) sharesService(namespace string, former, now map[string]string) bool {
	for _, service := range j.past.Snapshot.Services(namespace) {
		selector := service.Spec.Selector
		if len(selector) > 0 && mesh.SelectsLabels(selector, former) && mesh.SelectsLabels(selector, now) {
			return true
		}
	}
	return false
}

// changed says whether somebody has changed or deleted a policy since.
func (j *strictJudge) changed(policy *v1alpha1.ObjectReference) bool {
	if policy == nil {
		return false
	}
	_, there := j.subject.Snapshot.Object(*policy)
	return !there || lists(j.past.Edited, *policy)
}

// successorFinding is about pods that accept callers without mTLS which those that they
// stand in for refused, or would have.
func (j *strictJudge) successorFinding(was, expected v1alpha1.StrictBaseline, labels map[string]string, status v1alpha1.CheckStatus, pod carried) *Finding {
	namespace := was.Workload.Namespace
	finding := &Finding{Status: status, Object: reference(expected.Workload), Remedy: "ask for STRICT again by a PeerAuthentication"}
	before := fmt.Sprintf("; %s, which is gone, refused them before the enrolment%s", was.Workload, j.subject.asked(was.By))
	if pod.outside {
		finding.Message = "it is outside the mesh, where nothing refuses callers without mTLS" + before
		finding.Remedy = "take what keeps it out of ambient mode out of its template"
		return finding
	}
	mutual := j.subject.Snapshot.AmbientMutualTLS(namespace, pod.labels)
	if pod.sidecar {
		mutual = j.subject.Snapshot.SidecarMutualTLS(namespace, pod.labels)
	}
	ports := opened(expected, mutual)
	if ports == "" {
		return nil
	}
	finding.Message = "it accepts callers without mTLS " + ports + before
	if !pod.sidecar && !j.changed(was.By) && opened(expected, j.past.Snapshot.AmbientMutualTLS(namespace, labels)) != "" {
		finding.Status = v1alpha1.StatusWarn
		finding.Message += "; ztunnel is not told by it what sidecars were, which the plan has named"
	}
	return finding
}
