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
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	proxyCPU = "sidecar.istio.io/proxyCPU"
	excluded = "traffic.sidecar.istio.io/excludeOutboundPorts"
)

// tuned has a template that says something to sidecars, and something to others.
func tuned(template *corev1.PodTemplateSpec) {
	template.Annotations = map[string]string{proxyCPU: "100m", excluded: "9000", "example.com/team": "carts"}
}

// moved has a template whose pods have lost their sidecar.
func moved(template *corev1.PodTemplateSpec) {
	tuned(template)
	template.Labels[inject] = "false"
}

// annotationsTaken are the annotations that each step takes out of templates.
func annotationsTaken(planned v1alpha1.MigrationPlan) map[string][]string {
	taken := map[string][]string{}
	for _, step := range planned.Steps {
		for _, change := range step.Changes {
			for _, field := range change.Fields {
				if segments := plan.Segments(field.Path); segments[len(segments)-2] == "annotations" && field.After == nil {
					taken[step.ID] = append(taken[step.ID], segments[len(segments)-1])
				}
			}
		}
	}
	return taken
}

// leftIn is what is said of each object's annotations that are left.
func leftIn(planned v1alpha1.MigrationPlan) map[string]string {
	left := map[string]string{}
	for _, gate := range planned.Gates {
		if gate.ID == "leftovers" && gate.Object != nil && strings.Contains(gate.Field, ".annotations[") {
			left[gate.Object.Name] = gate.Remedy
		}
	}
	return left
}

// The write that moves a workload takes out what only its sidecars read, where all of
// that is to go; a rollback puts the whole template back.
func TestEnrollingWithSimplifyTakesAnnotationsOutOfTemplates(t *testing.T) {
	objects := shop(labels{"istio-injection": "enabled"}, running(fixture.Deployment("shop", "cart", func(d *appsv1.Deployment) { tuned(&d.Spec.Template) }), fixture.Sidecar))
	for name, test := range map[string]struct {
		options plan.Options
		taken   map[string][]string
		left    map[string]string
	}{
		"not simplified": {plan.Options{}, map[string][]string{}, map[string]string{}},
		"simplified":     {plan.Options{Simplify: true}, map[string][]string{"restart-workloads/deployment/cart": {proxyCPU, excluded}}, map[string]string{}},
		"without templates": {
			plan.Options{Simplify: true, Strategy: plan.StrategyNamespace}, map[string][]string{},
			map[string]string{"cart": "leave them out at the next deployment, or have them taken out by a restart: kubectl ambient simplify --restart"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			planned := with(t, objects, test.options)
			if diff := cmp.Diff(test.taken, annotationsTaken(planned)); diff != "" {
				t.Errorf("taken out are (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.left, leftIn(planned)); diff != "" {
				t.Errorf("left are (-want +got):\n%s", diff)
			}
			if after := apply(t, objects, planned.Steps); len(test.taken) > 0 {
				same(t, objects, apply(t, after, rollback(t, after, recordOf("one", planned, done(len(planned.Steps))...)).Steps))
			}
		})
	}
}

// simplify --restart restarts what it can, and says of the others why not.
func TestSimplifyRestartsForOtherAnnotations(t *testing.T) {
	paused := func(d *appsv1.Deployment) { moved(&d.Spec.Template); d.Spec.Paused = true }
	surging := func(d *appsv1.Deployment) { moved(&d.Spec.Template); d.Status.UpdatedReplicas = 0; d.Generation++ }
	objects := shop(labels{mode: "ambient"},
		running(fixture.Deployment("shop", "cart", func(d *appsv1.Deployment) { moved(&d.Spec.Template) }), fixture.Ambient),
		running(fixture.Deployment("shop", "clean", func(d *appsv1.Deployment) { moved(&d.Spec.Template); d.Spec.Template.Annotations = nil }), fixture.Ambient),
		running(fixture.Deployment("shop", "out", func(d *appsv1.Deployment) { moved(&d.Spec.Template); d.Spec.Template.Labels[mode] = "none" })),
		running(fixture.Deployment("shop", "paused", paused), fixture.Ambient),
		running(fixture.Deployment("shop", "surging", surging), fixture.Ambient),
		running(fixture.Deployment("shop", "unready", func(d *appsv1.Deployment) { moved(&d.Spec.Template) }), fixture.Ambient, fixture.NotReady),
		fixture.StatefulSet("shop", "by-hand", func(s *appsv1.StatefulSet) {
			moved(&s.Spec.Template)
			s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
		}),
		fixture.CronJob("shop", "nightly", func(c *batchv1.CronJob) { moved(&c.Spec.JobTemplate.Spec.Template) }),
	)
	const restart = "leave them out at the next deployment, or have them taken out by a restart: kubectl ambient simplify --restart"
	const none = "leave them out at the next deployment: taking them out would be a restart now, and "
	hindered := map[string]string{
		"paused": none + "it is paused", "surging": none + "its pods are not all there as it is", "unready": none + "its pods are not all there as it is",
		"by-hand": none + "nothing replaces all of its pods when its template changes",
	}
	named := simplified(t, objects, plan.Options{})
	if taken := annotationsTaken(named); len(taken) > 0 {
		t.Errorf("it would take out %v", taken)
	}
	want := map[string]string{"cart": restart, "nightly": restart}
	for name, remedy := range hindered {
		want[name] = remedy
	}
	if diff := cmp.Diff(want, leftIn(named)); diff != "" {
		t.Errorf("left are (-want +got):\n%s", diff)
	}

	planned := simplified(t, objects, plan.Options{CleanTemplates: true})
	both := []string{proxyCPU, excluded}
	if diff := cmp.Diff(map[string][]string{"restart-workloads/deployment/cart": both, "restart-workloads/cronjob/nightly": both}, annotationsTaken(planned)); diff != "" {
		t.Errorf("taken out are (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(hindered, leftIn(planned)); diff != "" {
		t.Errorf("left are (-want +got):\n%s", diff)
	}
	if want := []string{"verify", "restart-workloads/cronjob/nightly", "restart-workloads/deployment/cart", "simplify/verify"}; !slices.Equal(ids(planned), want) {
		t.Errorf("the steps are %v, not %v", ids(planned), want)
	}
	for _, step := range planned.Steps {
		if step.ID == "restart-workloads/deployment/cart" && (step.Gate.Kind != v1alpha1.GateCaptured || len(step.Gate.Workloads) != 1) {
			t.Errorf("%s waits for %+v", step.ID, step.Gate)
		}
	}
	after := apply(t, objects, planned.Steps)
	if again := simplified(t, after, plan.Options{CleanTemplates: true}); len(again.Steps) > 0 {
		t.Errorf("it would restart again: %v", ids(again))
	}
	same(t, objects, apply(t, after, rollback(t, after, recordOf("one", planned, done(len(planned.Steps))...)).Steps))
}

// What somebody else writes is not restarted for other annotations either.
func TestSimplifyRestartsNothingOfAReconciler(t *testing.T) {
	objects := shop(labels{mode: "ambient"}, running(fixture.Deployment("shop", "cart", func(d *appsv1.Deployment) {
		moved(&d.Spec.Template)
		d.ManagedFields = append(d.ManagedFields, fixture.ManagedBy("argocd-controller", metav1.ManagedFieldsOperationApply,
			`{"f:spec":{"f:template":{"f:metadata":{"f:annotations":{"f:`+proxyCPU+`":{}}}}}}`))
	}), fixture.Ambient))
	planned := simplified(t, objects, plan.Options{CleanTemplates: true})
	if !planned.Blocked || !slices.ContainsFunc(planned.Gates, func(gate v1alpha1.CheckResult) bool { return gate.ID == "reconcilers" && gate.Blocks() }) {
		t.Errorf("blocked is %t by %v", planned.Blocked, planned.Overview.Blockers)
	}
}
