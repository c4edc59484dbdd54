package mesh

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"istio.io/api/label"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The kinds of workloads that are told apart.
const (
	KindDeployment  = "Deployment"
	KindStatefulSet = "StatefulSet"
	KindDaemonSet   = "DaemonSet"
	KindReplicaSet  = "ReplicaSet"
	KindCronJob     = "CronJob"
	KindJob         = "Job"
	KindPod         = "Pod"
)

// Workload is what runs pods from a template: a Deployment, StatefulSet,
// DaemonSet, CronJob, a Rollout of Argo Rollouts that holds its template itself, a Job
// or ReplicaSet that nothing else controls. A custom resource may control the first three:
// its operator makes them, and their own controllers replace their pods.
type Workload struct {
	Reference v1alpha1.ObjectReference
	UID       types.UID
	Template  corev1.PodTemplateSpec
	// TemplatePath is the JSON pointer of the pod template in the object.
	TemplatePath string
	Selector     *metav1.LabelSelector
	// Replicas is how many pods there should be: a DaemonSet's controller says
	// so in its status. CronJobs and Jobs do not say.
	Replicas int32
	// Paused Deployments do not roll out a changed template.
	Paused bool
	// OnDelete is true where the controller leaves old pods in place until
	// somebody deletes them.
	OnDelete bool
	// Partition keeps a StatefulSet's pods below it at the old revision.
	Partition int32
	// Recreate is true where every old pod goes before a new one is made.
	Recreate bool
	// MaxSurge and MaxUnavailable are how many pods more or less than Replicas a
	// rolling restart may run, as they are written; nil where nothing is.
	MaxSurge, MaxUnavailable *intstr.IntOrString
	// MinReadySeconds is how long a pod has to be ready to count as available.
	MinReadySeconds int32
	// Operator is the custom resource that controls the workload, and whose operator so
	// has the say about its template; nil where there is none.
	Operator *metav1.OwnerReference
	// Object is the whole object as it was read.
	Object Object
}

// Object is an object's content, unknown fields included.
type Object map[string]any

func deploymentWorkload(d *appsv1.Deployment) Workload {
	workload := Workload{
		UID: d.UID, Template: d.Spec.Template, TemplatePath: "/spec/template", Selector: d.Spec.Selector,
		Replicas: replicasOf(d.Spec.Replicas), Paused: d.Spec.Paused,
		Recreate: d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType, MinReadySeconds: d.Spec.MinReadySeconds,
	}
	if rolling := d.Spec.Strategy.RollingUpdate; rolling != nil {
		workload.MaxSurge, workload.MaxUnavailable = rolling.MaxSurge, rolling.MaxUnavailable
	}
	return workload
}

func statefulSetWorkload(s *appsv1.StatefulSet) Workload {
	workload := Workload{
		UID: s.UID, Template: s.Spec.Template, TemplatePath: "/spec/template", Selector: s.Spec.Selector,
		Replicas: replicasOf(s.Spec.Replicas),
		OnDelete: s.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType, MinReadySeconds: s.Spec.MinReadySeconds,
	}
	if rolling := s.Spec.UpdateStrategy.RollingUpdate; rolling != nil {
		workload.MaxUnavailable = rolling.MaxUnavailable
		if rolling.Partition != nil {
			workload.Partition = *rolling.Partition
		}
	}
	return workload
}

func daemonSetWorkload(d *appsv1.DaemonSet) Workload {
	workload := Workload{
		UID: d.UID, Template: d.Spec.Template, TemplatePath: "/spec/template", Selector: d.Spec.Selector,
		Replicas: d.Status.DesiredNumberScheduled,
		OnDelete: d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType, MinReadySeconds: d.Spec.MinReadySeconds,
	}
	if rolling := d.Spec.UpdateStrategy.RollingUpdate; rolling != nil {
		workload.MaxSurge, workload.MaxUnavailable = rolling.MaxSurge, rolling.MaxUnavailable
	}
	return workload
}

func replicaSetWorkload(r *appsv1.ReplicaSet) Workload {
	return Workload{
		UID: r.UID, Template: r.Spec.Template, TemplatePath: "/spec/template", Selector: r.Spec.Selector,
		Replicas: replicasOf(r.Spec.Replicas),
	}
}

func cronJobWorkload(c *batchv1.CronJob) Workload {
	return Workload{
		UID: c.UID, Template: c.Spec.JobTemplate.Spec.Template, TemplatePath: "/spec/jobTemplate/spec/template",
	}
}

func jobWorkload(j *batchv1.Job) Workload {
	return Workload{
		UID: j.UID, Template: j.Spec.Template, TemplatePath: "/spec/template", Selector: j.Spec.Selector,
	}
}

// replicasOf applies the API's default of one replica.
func replicasOf(replicas *int32) int32 {
	if replicas == nil {
		return 1
	}
	return *replicas
}

// IsGateway says whether the workload's pods are proxies themselves.
func (w Workload) IsGateway() bool {
	return isGateway(w.Template.Labels, w.Template.Annotations) || routes(w.Template.Spec.Containers)
}

// IsAgent says whether the workload's pods speak xDS themselves.
func (w Workload) IsAgent() bool { return hasTemplate(w.Template.Annotations, "grpc-agent") }

// CarriesProxy says whether the template itself holds a sidecar, as
// `istioctl kube-inject` writes it. A restart does not remove that one.
func (w Workload) CarriesProxy() bool {
	if w.IsGateway() {
		return false
	}
	isProxy := func(container corev1.Container) bool { return container.Name == ProxyContainer }
	return slices.ContainsFunc(w.Template.Spec.Containers, isProxy) ||
		slices.ContainsFunc(w.Template.Spec.InitContainers, isProxy)
}

// Injected says whether a pod made from the template now would get a sidecar.
func (w Workload) Injected(injectors Injectors, namespaceLabels map[string]string) bool {
	return injectors.Inject(namespaceLabels, w.Template.Labels, w.Template.Annotations, w.Template.Spec.HostNetwork)
}

// ByHand says whether nothing replaces the running pods when the template changes,
// and one that is deleted comes back made from the template as it is then. The
// partition of a StatefulSet is not of this kind: what is below it comes back made
// from the former template (kubernetes
// pkg/controller/statefulset/stateful_set_utils.go, newVersionedStatefulSetPod).
func (w Workload) ByHand() bool {
	switch w.Reference.Kind {
	case KindReplicaSet:
		return true
	case KindStatefulSet, KindDaemonSet:
		return w.OnDelete && w.Partition == 0
	default:
		return false
	}
}

// Renews says whether the running pods can be replaced by ones from a changed
// template: by their controller, or by hand.
func (w Workload) Renews() bool { return w.Rolls() || w.ByHand() }

// modeLabels are the labels of a template that a migration writes.
var modeLabels = []string{
	label.SidecarInject.Name, label.IoIstioRev.Name, label.IoIstioUseWaypoint.Name, label.IoIstioUseWaypointNamespace.Name,
}

// Outdated says whether a pod is from another template than the workload has now, as
// far as the labels tell that a migration writes.
func (w Workload) Outdated(pod Pod) bool {
	return slices.ContainsFunc(modeLabels, func(key string) bool { return pod.Labels[key] != w.Template.Labels[key] })
}

// Pending says whether some pods are known to be from an earlier template than the
// workload has now, although nothing is under way.
func (w Workload) Pending(pods []Pod) bool {
	switch w.Reference.Kind {
	case KindStatefulSet:
		revision := textAt(w.Object, "status", "updateRevision")
		return revision != "" && slices.ContainsFunc(pods, func(pod Pod) bool {
			own := pod.Labels[appsv1.ControllerRevisionHashLabelKey]
			return own != "" && own != revision
		})
	case KindDaemonSet:
		return numberAt(w.Object, "status", "updatedNumberScheduled") < numberAt(w.Object, "status", "currentNumberScheduled")
	case KindDeployment:
		return numberAt(w.Object, "status", "updatedReplicas") < numberAt(w.Object, "status", "replicas")
	default:
		return slices.ContainsFunc(pods, w.Outdated)
	}
}

// Rolls says whether a change of the template replaces the running pods.
func (w Workload) Rolls() bool {
	switch w.Reference.Kind {
	case KindDeployment, KindStatefulSet, KindDaemonSet, KindRollout:
		return !w.Paused && !w.OnDelete && w.Partition == 0
	default:
		return false
	}
}
