package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// with plans an enrolment with options.
func with(t *testing.T, objects []unstructured.Unstructured, options plan.Options) v1alpha1.MigrationPlan {
	t.Helper()
	snapshot := fixture.Snapshot(objects)
	planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), options)
	if err != nil {
		t.Fatal(err)
	}
	return planned
}

func TestWhatIsReplacedByHand(t *testing.T) {
	set := fixture.StatefulSet("shop", "db", func(s *appsv1.StatefulSet) {
		s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
	})
	daemon := fixture.DaemonSet("shop", "agent", func(d *appsv1.DaemonSet) { d.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType })
	lone := fixture.ReplicaSet("shop", "lone", nil)
	objects := shop(labels{"istio-injection": "enabled"}, running(fixture.Deployment("shop", "cart"), fixture.Sidecar), set, daemon, lone)
	planned := with(t, objects, plan.Options{Cordon: true})
	if planned.Blocked || !planned.Options.Cordon {
		t.Errorf("blocked is %t by %v, the options are %+v", planned.Blocked, planned.Overview.Blockers, planned.Options)
	}
	type said struct{ Replaces, Cordon, Noted bool }
	got := map[string]said{}
	for _, step := range planned.Steps {
		if step.Phase == v1alpha1.PhaseRestartWorkloads {
			noted := slices.ContainsFunc(step.Notes, func(note string) bool { return strings.Contains(note, "they are evicted, one") })
			got[step.ID] = said{step.Gate.Replaces, step.Gate.Cordon, noted}
		}
	}
	want := map[string]said{
		"restart-workloads/deployment/cart": {}, "restart-workloads/statefulset/db": {true, false, true},
		"restart-workloads/daemonset/agent": {true, true, true}, "restart-workloads/replicaset/lone": {true, false, true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the restarts are (-want +got):\n%s", diff)
	}
	back := rollback(t, apply(t, objects, planned.Steps), recordOf("one", planned, done(len(planned.Steps))...))
	plan.Cordoning(fixture.Snapshot(objects), &back)
	var cordoning []string
	for _, step := range back.Steps {
		if step.Gate.Cordon {
			cordoning = append(cordoning, step.ID)
		}
	}
	if diff := cmp.Diff([]string{"restore-workloads/daemonset/agent", "replace-pods"}, cordoning); diff != "" {
		t.Errorf("the rollback cordons in (-want +got):\n%s", diff)
	}
}

func TestNodesThatADaemonSetsControllerTakesAreSaid(t *testing.T) {
	const cordoned = "no node is cordoned: --cordon is for DaemonSets with OnDelete, whose pods the run replaces itself"
	for name, test := range map[string]struct {
		unavailable, surge intstr.IntOrString
		options            plan.Options
		want               []string
	}{
		"one node at a time": {unavailable: intstr.FromInt32(1)},
		"several nodes": {
			unavailable: intstr.FromString("50%"),
			want:        []string{"its controller replaces the pods of 2 nodes at a time, as spec.updateStrategy.rollingUpdate.maxUnavailable says"},
		},
		"several nodes, the next pods first": {
			surge: intstr.FromInt32(3),
			want:  []string{"its controller replaces the pods of 3 nodes at a time, as spec.updateStrategy.rollingUpdate.maxSurge says"},
		},
		"to be cordoned": {unavailable: intstr.FromInt32(1), options: plan.Options{Cordon: true}, want: []string{cordoned}},
	} {
		t.Run(name, func(t *testing.T) {
			daemon := fixture.DaemonSet("shop", "agent", func(d *appsv1.DaemonSet) {
				d.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &test.unavailable, MaxSurge: &test.surge}
				d.Status.DesiredNumberScheduled = 4
			})
			planned := with(t, shop(labels{"istio-injection": "enabled"}, daemon), test.options)
			i := slices.IndexFunc(planned.Steps, func(step v1alpha1.Step) bool { return step.ID == "restart-workloads/daemonset/agent" })
			if i < 0 {
				t.Fatalf("no step restarts it: %v", sketch(planned))
			}
			if diff := cmp.Diff(test.want, planned.Steps[i].Notes); diff != "" {
				t.Errorf("the notes are (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNodesThatWereLeftCordonedAreUncordonedFirst(t *testing.T) {
	left, foreign, elsewhere := fixture.KubernetesNode("node-2"), fixture.KubernetesNode("node-3"), fixture.KubernetesNode("node-4")
	left.Annotations = map[string]string{v1alpha1.CordonedAnnotation: "shop"}
	elsewhere.Annotations = map[string]string{v1alpha1.CordonedAnnotation: "other"}
	left.Spec.Unschedulable, foreign.Spec.Unschedulable, elsewhere.Spec.Unschedulable = true, true, true
	before := shop(labels{"istio-injection": "enabled"}, running(fixture.Deployment("shop", "cart"), fixture.Sidecar), foreign, elsewhere)
	enrolment := enroll(t, before)
	record := recordOf("one", enrolment, done(len(enrolment.Steps))...)
	after := append(apply(t, before, enrolment.Steps), fixture.Object(left))
	uncordon := func(phase string) []string {
		return []string{
			phase + "/node/node-2 [none]", "  Node node-2 /spec/unschedulable: true -> null",
			"  Node node-2 /metadata/annotations/ambient.kubectl-ambient.dev/cordoned: \"shop\" -> null",
		}
	}
	for phase, planned := range map[string]v1alpha1.MigrationPlan{"restart-workloads": enroll(t, after), "restore-workloads": rollback(t, after, record)} {
		text := strings.Join(sketch(planned), "\n")
		if want := strings.Join(uncordon(phase), "\n"); !strings.Contains(text, want) {
			t.Errorf("want\n%s\nin\n%s", want, text)
		}
		if strings.Contains(text, "node-3") || strings.Contains(text, "node-4") {
			t.Errorf("it uncordons other nodes:\n%s", text)
		}
	}
	// A run that uncordoned a node has left nothing to take back.
	resumed := enroll(t, after)
	again := rollback(t, apply(t, after, resumed.Steps), recordOf("two", resumed, done(len(resumed.Steps))...), record)
	if text := strings.Join(sketch(again), "\n"); strings.Contains(text, "Node") || len(again.Kept)+len(again.Gone) > 0 {
		t.Errorf("it would cordon what was uncordoned, or keeps %v %v:\n%s", again.Kept, again.Gone, text)
	}
}

// A paused Deployment is what it was wherever the run has stopped, and is paused again
// by the run that goes on.
func TestPausedDeployments(t *testing.T) {
	paused := fixture.Deployment("shop", "cart", func(d *appsv1.Deployment) { d.Spec.Paused = true })
	before := shop(labels{"istio-injection": "enabled"}, running(paused, fixture.Sidecar), running(fixture.Deployment("shop", "web"), fixture.Sidecar))
	resuming := plan.Options{ResumePaused: true}
	enrolment := with(t, before, resuming)
	if enrolment.Blocked || enrolment.Overview.RestartedWorkloads != 2 {
		t.Errorf("blocked is %t by %v, the figures are %+v", enrolment.Blocked, enrolment.Overview.Blockers, enrolment.Overview)
	}
	want := []string{
		"enable-ambient", "restart-workloads/deployment/cart", "restart-workloads/deployment/web", "restart-workloads/deployment/cart/pause", "disable-injection", "verify",
	}
	if diff := cmp.Diff(want, ids(enrolment)); diff != "" {
		t.Errorf("the steps are (-want +got):\n%s", diff)
	}
	whole := apply(t, before, enrolment.Steps)
	for n := range len(enrolment.Steps) {
		stopped := apply(t, before, enrolment.Steps[:n])
		record := recordOf("one", enrolment, done(n)...)
		back := rollback(t, stopped, record)
		same(t, before, apply(t, stopped, back.Steps))
		same(t, whole, apply(t, stopped, with(t, stopped, resuming).Steps))
		// The rollback may stop, too.
		for m := range len(back.Steps) {
			halfway := apply(t, stopped, back.Steps[:m])
			same(t, before, apply(t, halfway, rollback(t, halfway, record).Steps))
		}
	}
	want = []string{
		"restore-workloads/deployment/cart [injected]", `  Deployment shop/cart /spec/template/metadata/labels/sidecar.istio.io/inject: "false" -> null`,
		"  Deployment shop/cart /spec/paused: true -> null", `  Deployment shop/cart /metadata/annotations/ambient.kubectl-ambient.dev/resumed: null -> "true"`,
		"restore-workloads/deployment/cart/pause [none]", "  Deployment shop/cart /spec/paused: null -> true",
	}
	back := strings.Join(sketch(rollback(t, whole, recordOf("one", enrolment, done(len(enrolment.Steps))...))), "\n")
	if !strings.Contains(back, strings.Join(want, "\n")) {
		t.Errorf("want\n%s\nin\n%s", strings.Join(want, "\n"), back)
	}
}
