package plan

import (
	"fmt"
	"slices"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	securityv1beta1 "istio.io/api/security/v1beta1"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// Baseline is a namespace as it is, for what it will be after an enrolment to be
// compared with.
func Baseline(content mesh.Content, snapshot *mesh.Snapshot, namespace mesh.Namespace, now time.Time) (*v1alpha1.Baseline, error) {
	dump, err := mesh.Dump(mesh.Excerpt(content, snapshot, namespace))
	if err != nil {
		return nil, err
	}
	dump.Taken = now
	made := &v1alpha1.Baseline{Version: v1alpha1.BaselineVersion, Taken: now, Mesh: dump, Standing: checks.Standing(snapshot, namespace)}
	for _, workload := range snapshot.Workloads(namespace.Name) {
		pods := snapshot.PodsOf(workload)
		if workload.Reference.Kind != mesh.KindCronJob && workload.Reference.Kind != mesh.KindJob {
			made.Workloads = append(made.Workloads, workloadBaseline(workload, pods))
		}
		if strict, is := strictBaseline(snapshot, namespace, workload, pods); is {
			made.Strict = append(made.Strict, strict)
		}
	}
	for _, service := range snapshot.Services(namespace.Name) {
		if len(service.Spec.Selector) > 0 {
			made.Services = append(made.Services, v1alpha1.ServiceBaseline{Name: service.Name, Ready: readyIn(besidesJobs(snapshot.SelectedBy(service)))})
		}
	}
	return made, nil
}

// Unmended is what verify goes on to say of the namespace of a plan once its steps are
// done, and no step mends.
func Unmended(snapshot *mesh.Snapshot, planned v1alpha1.MigrationPlan) ([]v1alpha1.StandingFinding, error) {
	at := newStageMaker(snapshot, []string{planned.Namespace})
	for _, step := range planned.Steps {
		if _, err := at.apply(step); err != nil {
			return nil, fmt.Errorf("namespace %s after step %s: %w", planned.Namespace, step.ID, err)
		}
	}
	namespace, found := at.snapshot.Namespace(planned.Namespace)
	if !found {
		return nil, nil
	}
	return checks.Unmended(at.snapshot, namespace), nil
}

func workloadBaseline(workload mesh.Workload, pods []mesh.Pod) v1alpha1.WorkloadBaseline {
	// A rollout that is under way may run more pods than are wanted.
	made := v1alpha1.WorkloadBaseline{Object: workload.Reference, Replicas: workload.Replicas, Pods: len(pods), Ready: min(readyIn(pods), int(workload.Replicas))}
	for _, pod := range pods {
		for _, container := range pod.ContainerStates() {
			made.Restarts += container.Restarts
			if !container.Ready && container.Name != mesh.ProxyContainer && !slices.Contains(made.Troubled, container.Name) {
				made.Troubled = append(made.Troubled, container.Name)
			}
		}
	}
	slices.Sort(made.Troubled)
	return made
}

// besidesJobs leaves out the pods of Jobs, which are to end: a Service that only they serve
// loses nothing by that.
func besidesJobs(pods []mesh.Pod) []mesh.Pod {
	return slices.DeleteFunc(slices.Clone(pods), mesh.Pod.OfJob)
}

func readyIn(pods []mesh.Pod) int {
	return len(slices.DeleteFunc(slices.Clone(pods), func(pod mesh.Pod) bool { return !pod.Ready }))
}

// strictBaseline is where a workload refuses callers without mTLS, as what carries its
// traffic sees it.
func strictBaseline(snapshot *mesh.Snapshot, namespace mesh.Namespace, workload mesh.Workload, pods []mesh.Pod) (v1alpha1.StrictBaseline, bool) {
	labels, mutual := workload.Template.Labels, mesh.MutualTLS{}
	switch {
	case len(pods) > 0 && pods[0].HasSidecar():
		labels = pods[0].Labels
		mutual = snapshot.SidecarMutualTLS(namespace.Name, labels)
	case len(pods) > 0 && pods[0].Redirected():
		labels = pods[0].Labels
		mutual = snapshot.AmbientMutualTLS(namespace.Name, labels)
	case len(pods) == 0 && workload.Injected(snapshot.Injectors(), namespace.Labels):
		mutual = snapshot.SidecarMutualTLS(namespace.Name, labels)
	}
	made := v1alpha1.StrictBaseline{Workload: workload.Reference, All: mutual.Strict}
	made.Open, made.Ports = mutual.Exceptions()
	made.By = strictBy(snapshot.PeerLevelsOf(namespace.Name, labels))
	return made, mutual.RefusesAny()
}

// strictBy is the narrowest PeerAuthentication that asks for mTLS.
func strictBy(levels mesh.PeerLevels) *v1alpha1.ObjectReference {
	const strict = securityv1beta1.PeerAuthentication_MutualTLS_STRICT
	for _, policy := range []*clientsecurityv1.PeerAuthentication{levels.Workload, levels.Namespace, levels.Mesh} {
		if policy == nil {
			continue
		}
		asks := policy.Spec.GetMtls().GetMode() == strict
		for _, port := range policy.Spec.GetPortLevelMtls() {
			asks = asks || port.GetMode() == strict
		}
		if asks {
			reference := mesh.SecurityReference(mesh.KindPeerAuthentication, policy.Namespace, policy.Name)
			return &reference
		}
	}
	return nil
}
