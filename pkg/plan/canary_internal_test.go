package plan

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// alone plans to move one workload of the namespace shop.
func alone(t *testing.T, objects []unstructured.Unstructured, workload string) (v1alpha1.MigrationPlan, error) {
	t.Helper()
	snapshot := fixture.Snapshot(objects)
	return Enroll(snapshot, fixture.Find(snapshot, "shop"), Options{
		Translation: translate.Options{MixedCallers: translate.MixedCallersDeny}, Workload: workload,
	})
}

func withWeb() []unstructured.Unstructured {
	web := fixture.Deployment("shop", "web")
	return append(guarded(), fixture.Objects(web, fixture.PodsOf(web, fixture.Sidecar))...)
}

// remade replaces the pods of a workload by those of its template as it is.
func remade(t *testing.T, objects []unstructured.Unstructured, name string) []unstructured.Unstructured {
	t.Helper()
	of := func(object unstructured.Unstructured) bool {
		return object.GetKind() == mesh.KindPod && object.GetLabels()["app"] == name
	}
	made := slices.DeleteFunc(madeAnew(t, objects, fixture.Ambient), func(object unstructured.Unstructured) bool { return !of(object) })
	return append(slices.DeleteFunc(slices.Clone(objects), of), made...)
}

// One workload is moved by its own labels, behind all that its calls and those to it
// need; the namespace takes it up without a restart, and a rollback undoes both.
func TestAWorkloadIsMovedAlone(t *testing.T) {
	before := withWeb()
	first, err := alone(t, before, "deployment/web")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"deploy-waypoints", "migrate-policies/service/cart", "migrate-policies/waypoint", "activate-waypoints/service/cart", "activate-waypoints/guards",
		"restart-workloads/deployment/web", "verify",
	}
	if diff := cmp.Diff(want, idsOf(first)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	restart, verify := first.Steps[5], first.Steps[6]
	fields := map[string]any{}
	for _, field := range restart.Changes[0].Fields {
		fields[field.Path] = field.After
	}
	if diff := cmp.Diff(map[string]any{
		"/spec/template/metadata/labels/sidecar.istio.io~1inject": "false", "/spec/template/metadata/labels/istio.io~1dataplane-mode": "ambient",
	}, fields); diff != "" {
		t.Errorf("the template gets (-want +got):\n%s", diff)
	}
	if restart.Gate.Kind != v1alpha1.GateCaptured || verify.Gate.Kind != v1alpha1.GateCaptured || len(verify.Gate.Workloads) != 1 || restart.Requires != v1alpha1.GateHandoverHolds {
		t.Errorf("the gates are %+v and %+v, it requires %s", restart.Gate, verify.Gate, restart.Requires)
	}
	if slices.ContainsFunc(first.Gates, func(gate v1alpha1.CheckResult) bool { return gate.ID == "live-capture" }) {
		t.Error("it announces what a namespace's label captures")
	}

	moved := remade(t, carriedOut(t, before, first.Steps), "web")
	if again, err := alone(t, moved, "deployment/web"); err != nil || len(again.Steps) > 0 || again.Blocked {
		t.Errorf("once more, it would take %v, %v", idsOf(again), err)
	}
	second := enrolledGuarded(t, moved, "")
	if slices.Contains(idsOf(second), "restart-workloads/deployment/web") || !slices.Contains(idsOf(second), "restart-workloads/deployment/cart") {
		t.Errorf("the namespace's enrolment takes the steps %v", idsOf(second))
	}
	one, two := recorded(t, first), recorded(t, second)
	two.ID, two.Started = "two", two.Started.Add(time.Hour)
	after := carriedOut(t, moved, second.Steps)
	wanted(t, moved, carriedOut(t, after, undoneTo(t, after, "", two).Steps))
	wanted(t, podless(before), podless(carriedOut(t, after, undoneTo(t, after, "", two, one).Steps)))
	wanted(t, podless(before), podless(carriedOut(t, moved, undoneTo(t, moved, "", one).Steps)))
}

func idsOf(planned v1alpha1.MigrationPlan) []string {
	var ids []string
	for _, step := range planned.Steps {
		ids = append(ids, step.ID)
	}
	return ids
}

func podless(objects []unstructured.Unstructured) []unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(objects), func(object unstructured.Unstructured) bool { return object.GetKind() == mesh.KindPod })
}

// A server whose callers keep sidecars cannot be moved before them, unless what
// becomes of their calls was chosen.
func TestAServerIsNotMovedBeforeItsCallers(t *testing.T) {
	snapshot := fixture.Snapshot(withWeb())
	planned, err := Enroll(snapshot, fixture.Find(snapshot, "shop"), Options{Workload: "deployment/cart"})
	if err != nil {
		t.Fatal(err)
	}
	held := slices.ContainsFunc(planned.Gates, func(gate v1alpha1.CheckResult) bool { return gate.ID == "mixed-callers" && gate.Blocks() })
	if !planned.Blocked || !held {
		t.Errorf("blocked is %t, by callers %t", planned.Blocked, held)
	}
}

// A run that was killed once it had written the template is gone on with.
func TestAWorkloadThatIsMovedAloneIsWaitedFor(t *testing.T) {
	before := withWeb()
	first, err := alone(t, before, "deployment/web")
	if err != nil {
		t.Fatal(err)
	}
	again, err := alone(t, carriedOut(t, before, first.Steps), "deployment/web")
	if err != nil || !slices.ContainsFunc(again.Steps, func(step v1alpha1.Step) bool {
		return strings.HasPrefix(step.Summary, "wait for deployment/web") && len(step.Changes) == 0
	}) {
		t.Errorf("it would take the steps %v, %v", idsOf(again), err)
	}
}

func TestAWorkloadThatCannotBeMovedAlone(t *testing.T) {
	for workload, want := range map[string]string{
		"deployment/none": "there is no deployment/none in namespace shop", "statefulset/cart": "there is no statefulset/cart", "deployment/quiet": "has no sidecars that could be moved",
	} {
		_, err := alone(t, withWeb(), workload)
		if option := (*translate.OptionError)(nil); !errors.As(err, &option) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v", workload, err)
		}
	}
}

func TestWorkloadNamed(t *testing.T) {
	for text, want := range map[string]string{
		"deployment/cart": "deployment/cart", "deploy/cart": "deployment/cart", "Deployments.apps/cart": "deployment/cart", "sts/db": "statefulset/db",
		"ds/agent": "daemonset/agent", "daemonsets/agent": "daemonset/agent", "cart": "", "pod/cart": "", "deploy/": "", "/cart": "", "deploy/a/b": "",
	} {
		if got, err := WorkloadNamed(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v", text, got, err)
		}
	}
}
