package mesh_test

import (
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRolloutOf(t *testing.T) {
	stale := fixture.Deployment("shop", "cart")
	stale.Generation = 2
	rolling := fixture.Deployment("shop", "cart", fixture.Replicas(3))
	rolling.Status.UpdatedReplicas = 1
	unready := fixture.Deployment("shop", "cart")
	unready.Status.ReadyReplicas, unready.Status.AvailableReplicas, unready.Status.UnavailableReplicas = 0, 0, 1
	stuck := fixture.Deployment("shop", "cart")
	stuck.Status.Conditions[1] = appsv1.DeploymentCondition{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded"}
	set := fixture.StatefulSet("shop", "db")
	set.Status.UpdateRevision, set.Status.UpdatedReplicas = "db-2", 0
	daemon := fixture.DaemonSet("shop", "agent")
	daemon.Status.UpdatedNumberScheduled = 0

	tests := []struct {
		name     string
		object   any
		complete bool
		failed   bool
	}{
		{"a Deployment that is rolled out", fixture.Deployment("shop", "cart"), true, false},
		{"a Deployment that is scaled to zero", fixture.Deployment("shop", "cart", fixture.Replicas(0)), true, false},
		{"a Deployment whose controller has not looked yet", stale, false, false},
		{"a Deployment that rolls", rolling, false, false},
		{"a Deployment that is not ready", unready, false, false},
		{"a Deployment that has given up", stuck, false, true},
		{"a StatefulSet that is rolled out", fixture.StatefulSet("shop", "db"), true, false},
		{"a StatefulSet that rolls", set, false, false},
		{"a DaemonSet that is rolled out", fixture.DaemonSet("shop", "agent"), true, false},
		{"a DaemonSet that rolls", daemon, false, false},
		{"a ReplicaSet of its own", fixture.ReplicaSet("shop", "lone", nil), true, false},
		{"a CronJob", fixture.CronJob("shop", "report"), true, false},
		{"a Job that runs", fixture.Job("shop", "import"), true, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rollout := mesh.RolloutOf(fixture.Snapshot(test.object).Workloads("shop")[0])
			if rollout.Complete != test.complete || rollout.Failed != test.failed {
				t.Errorf("the rollout is %+v", rollout)
			}
			if rollout.Complete != (rollout.Message == "") {
				t.Errorf("complete is %t and the message %q", rollout.Complete, rollout.Message)
			}
		})
	}
}

// A Job has no template to roll out. One that was suspended, or failed long
// ago, says nothing about the namespace's mode, and must not keep an enrolment
// from being verified.
func TestRolloutOfAJobIsCompleteHoweverTheJobFared(t *testing.T) {
	condition := func(kind batchv1.JobConditionType) func(*batchv1.Job) {
		return func(job *batchv1.Job) {
			job.Status.Active = 0
			job.Status.Conditions = []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(fixture.Created)}}
		}
	}
	suspended := fixture.Job("shop", "import", func(job *batchv1.Job) {
		suspend := true
		job.Spec.Suspend, job.Status = &suspend, batchv1.JobStatus{}
	})
	for name, job := range map[string]*batchv1.Job{
		"finished": fixture.Job("shop", "import", condition(batchv1.JobComplete)), "failed": fixture.Job("shop", "import", condition(batchv1.JobFailed)), "suspended": suspended,
	} {
		t.Run(name, func(t *testing.T) {
			if rollout := mesh.RolloutOf(fixture.Snapshot(job).Workloads("shop")[0]); !rollout.Complete {
				t.Errorf("the rollout is %+v", rollout)
			}
		})
	}
}

func TestRolloutOfWhatCannotBeUnderstoodIsNotComplete(t *testing.T) {
	rollout := mesh.RolloutOf(mesh.Workload{Object: mesh.Object{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "cart", "generation": "one"},
	}})
	if rollout.Complete || rollout.Message == "" {
		t.Errorf("the rollout is %+v", rollout)
	}
	if strings.Contains(rollout.Message, "\n") {
		t.Errorf("the message is of several lines: %q", rollout.Message)
	}
}

// Whoever has its pods deleted by others is done when they are ready, whichever
// template they are from; whoever is paused, when they are all from this one.
func TestRolloutOfWhatDoesNotRollOut(t *testing.T) {
	set := func(edits ...func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
		made := fixture.StatefulSet("shop", "db")
		made.Spec.UpdateStrategy.Type, made.Generation, made.Status.ObservedGeneration = appsv1.OnDeleteStatefulSetStrategyType, 2, 2
		for _, edit := range edits {
			edit(made)
		}
		return made
	}
	daemon := func(ready int32) *appsv1.DaemonSet {
		made := fixture.DaemonSet("shop", "agent")
		made.Spec.UpdateStrategy.Type, made.Status.UpdatedNumberScheduled, made.Status.NumberReady = appsv1.OnDeleteDaemonSetStrategyType, 0, ready
		return made
	}
	pause := func(d *appsv1.Deployment) { d.Spec.Paused = true }
	half := fixture.Deployment("shop", "cart", pause)
	half.Status.UpdatedReplicas = 0
	for name, test := range map[string]struct {
		object any
		want   string
	}{
		"a StatefulSet":                                  {set(), ""},
		"a StatefulSet with pods not ready":              {set(func(s *appsv1.StatefulSet) { s.Status.ReadyReplicas = 0 }), "Ready: 0/1"},
		"a StatefulSet whose controller is late":         {set(func(s *appsv1.StatefulSet) { s.Status.ObservedGeneration = 1 }), "has not seen yet"},
		"a paused Deployment":                            {fixture.Deployment("shop", "cart", pause), ""},
		"a paused Deployment whose template was changed": {half, "0 of 1 pods are from its template"},
		"a DaemonSet":                                    {daemon(1), ""},
		"a DaemonSet with pods not ready":                {daemon(0), "Ready: 0/1"},
	} {
		t.Run(name, func(t *testing.T) {
			got := mesh.RolloutOf(fixture.Snapshot(test.object).Workloads("shop")[0])
			if got.Complete != (test.want == "") || !strings.Contains(got.Message, test.want) {
				t.Errorf("the rollout is %+v, want %q", got, test.want)
			}
		})
	}
}

func TestOutdated(t *testing.T) {
	deployment := fixture.Deployment("shop", "cart", fixture.TemplateLabel("sidecar.istio.io/inject", "false"))
	for name, test := range map[string]struct {
		edit func(*corev1.Pod)
		want bool
	}{
		"made from the template":             {fixture.Labelled("other", "x"), false},
		"before it moved":                    {func(pod *corev1.Pod) { delete(pod.Labels, "sidecar.istio.io/inject") }, true},
		"with another revision":              {fixture.Labelled("istio.io/rev", "old"), true},
		"behind a waypoint that it left":     {fixture.Labelled("istio.io/use-waypoint", "edge"), true},
		"with labels that the injector adds": {fixture.Sidecar, false},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := fixture.Snapshot(deployment, fixture.PodsOf(deployment, test.edit))
			workload := snapshot.Workloads("shop")[0]
			if got := workload.Outdated(snapshot.PodsOf(workload)[0]); got != test.want {
				t.Errorf("Outdated is %t, want %t", got, test.want)
			}
		})
	}
}

func TestRolls(t *testing.T) {
	paused := fixture.Deployment("shop", "a", func(d *appsv1.Deployment) { d.Spec.Paused = true })
	onDelete := fixture.StatefulSet("shop", "a", func(s *appsv1.StatefulSet) {
		s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
	})
	partition := int32(2)
	partitioned := fixture.StatefulSet("shop", "a", func(s *appsv1.StatefulSet) {
		s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: &partition}
	})
	onDeleteDaemon := fixture.DaemonSet("shop", "a", func(d *appsv1.DaemonSet) { d.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType })
	for name, test := range map[string]struct {
		object any
		want   bool
	}{
		"Deployment": {fixture.Deployment("shop", "a"), true}, "paused Deployment": {paused, false},
		"StatefulSet": {fixture.StatefulSet("shop", "a"), true}, "OnDelete StatefulSet": {onDelete, false}, "partitioned StatefulSet": {partitioned, false},
		"DaemonSet": {fixture.DaemonSet("shop", "a"), true}, "OnDelete DaemonSet": {onDeleteDaemon, false},
		"ReplicaSet": {fixture.ReplicaSet("shop", "a", nil), false}, "CronJob": {fixture.CronJob("shop", "a"), false}, "Job": {fixture.Job("shop", "a"), false},
	} {
		t.Run(name, func(t *testing.T) {
			workload := fixture.Snapshot(test.object).Workloads("shop")[0]
			if got := workload.Rolls(); got != test.want {
				t.Errorf("Rolls is %t, want %t", got, test.want)
			}
			byHand := strings.HasPrefix(name, "OnDelete") || name == "ReplicaSet"
			if got := workload.ByHand(); got != byHand {
				t.Errorf("ByHand is %t, want %t", got, byHand)
			}
		})
	}
}
