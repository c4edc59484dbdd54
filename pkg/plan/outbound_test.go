package plan_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/internal/golden"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// outboundMesh is a mesh of testdata/access in which shop calls pay through a waypoint.
func outboundMesh(t *testing.T, name string) (scenario, []any) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", "access", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return readScenario(t, string(content))
}

// remedies are what gates that block, or announce calls, tell to do.
func remedies(planned v1alpha1.MigrationPlan) string {
	var lines []string
	for _, gate := range planned.Gates {
		if strings.HasPrefix(gate.ID, "calls-") && gate.Status != v1alpha1.StatusPass && gate.Status != v1alpha1.StatusSkip {
			lines = append(lines, gate.ID+" "+string(gate.Status)+" "+gate.Object.String()+": "+gate.Remedy+"\n")
		}
	}
	return "\nREMEDIES\n" + strings.Join(lines, "")
}

// TestOutboundAndBack: callers that get their sidecars back pass by the waypoints of
// other namespaces, and what these refuse is let in again.
func TestOutboundAndBack(t *testing.T) {
	for _, name := range []string{"outbound-allowed", "outbound-denied", "outbound-unlisted"} {
		t.Run(name, func(t *testing.T) {
			read, parts := outboundMesh(t, name)
			before := fixture.Objects(parts...)
			snapshot := fixture.Snapshot(before)
			planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), read.Options)
			if err != nil {
				t.Fatal(err)
			}
			after := fixture.Snapshot(carriedOut(t, before, planned))
			back, err := plan.Rollback(after, fixture.Find(after, "shop"), []v1alpha1.MigrationRecord{recorded(t, planned, nil)})
			if err != nil {
				t.Fatal(err)
			}
			golden.AssertFile(t, filepath.Join("testdata", "access", name+".back.golden"), "# "+read.About+", and go back"+remedies(planned)+"\nBACK\n"+outcome(back)+remedies(back))
		})
	}
}

// TestOutboundIsAccepted by the name of the server, as calls to servers that move are.
func TestOutboundIsAccepted(t *testing.T) {
	read, parts := outboundMesh(t, "outbound-allowed")
	snapshot := fixture.Snapshot(parts...)
	read.Options.Accept = []string{checks.IDCallsNewlyAllowed + ":pay/api"}
	planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), read.Options)
	if err != nil {
		t.Fatal(err)
	}
	if planned.Blocked {
		t.Errorf("it is blocked although it is accepted:%s", remedies(planned))
	}
}

// TestCallersThatComeLater: a namespace that was moved before its callers, whose direct calls
// it refuses meanwhile, lets them in when they come, by its own policies. That keeps nobody
// from coming; what somebody has refused since does.
func TestCallersThatComeLater(t *testing.T) {
	made := enrolledMesh(t, filepath.Join("testdata", "access", "caller-elsewhere-deny.yaml"))
	moved := takingTraffic(t, made.after)
	const refusing = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: since, namespace: shop}
spec: {selector: {matchLabels: {app: cart}}, action: DENY, rules: [{from: [{source: {namespaces: [front]}}]}]}`
	const admitting = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: scrapers, namespace: shop}
spec: {selector: {matchLabels: {app: cart}}, rules: [{from: [{source: {namespaces: [metrics]}}]}]}`
	options := made.plan.Options
	simplification := simplified(t, moved, plan.OptionsOf(v1alpha1.MigrationPlan{Options: options}))
	simpler, _ := written(t, moved, simplification.Steps)
	if len(simplification.Steps) == 0 {
		t.Fatalf("nothing is simplified: %v, kept %v", simplification.Overview.Blockers, simplification.Kept)
	}
	for name, test := range map[string]struct {
		objects []unstructured.Unstructured
		// repaired is what policies would let in of sidecars, announced what nothing but
		// what runs have made refuses; neither is held against the plan.
		repaired, announced bool
	}{
		"once it is simplified":                          {simpler, false, true},
		"simplified, somebody admits others besides":     {append(slices.Clone(simpler), fixture.YAML(admitting)...), false, true},
		"simplified, somebody refuses them, at the pods": {append(slices.Clone(simpler), fixture.YAML(refusing)...), false, false},
		"as it was moved":                                {moved, true, false},
		"somebody refuses them, at the pods":             {append(slices.Clone(moved), fixture.YAML(refusing)...), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := fixture.Snapshot(test.objects)
			planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "front"), plan.Options{})
			if err != nil {
				t.Fatal(err)
			}
			let := 0
			for _, change := range planned.Access.Changes {
				if change.Outbound && change.Effect == v1alpha1.CallNewlyAllowed {
					let++
					if change.Repairs != test.repaired || change.Announced != test.announced {
						t.Errorf("it is as policies say: %t, announced: %t, of %+v", change.Repairs, change.Announced, change)
					}
				}
			}
			if expected := test.repaired || test.announced; let == 0 || planned.Blocked == expected {
				t.Errorf("%d kinds of calls are let in, blocked is %t by %v", let, planned.Blocked, planned.Overview.Blockers)
			}
		})
	}
}

// TestCallersThatJoinTheMesh: who has called in plaintext proves in ambient mode who it is,
// and goes through the waypoints of namespaces that were moved before. STRICT has kept it out
// so far, which keeps it from joining no more than others.
func TestCallersThatJoinTheMesh(t *testing.T) {
	const strict = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: anybody, namespace: shop}
spec: {selector: {matchLabels: {app: cart}}, rules: [{to: [{operation: {methods: [GET]}}]}]}`
	content, err := os.ReadFile(filepath.Join("testdata", "access", "caller-elsewhere-deny.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	made := enrolledFrom(t, string(content)+"---"+strict)
	moved := takingTraffic(t, made.after)
	simpler, _ := written(t, moved, simplified(t, moved, plan.OptionsOf(v1alpha1.MigrationPlan{Options: made.plan.Options})).Steps)
	joining := []any{
		fixture.Namespace("late", nil),
		fixture.Pod("late", "debug", func(pod *corev1.Pod) { pod.Status.PodIP = "10.0.7.1" }),
	}
	for name, objects := range map[string][]unstructured.Unstructured{"as it was moved": moved, "once it is simplified": simpler} {
		t.Run(name, func(t *testing.T) {
			snapshot := fixture.Snapshot(append([]any{objects}, joining...)...)
			planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "late"), plan.Options{})
			if err != nil {
				t.Fatal(err)
			}
			let := slices.DeleteFunc(planned.Access.Changes, func(change v1alpha1.CallChange) bool { return change.Effect != v1alpha1.CallNewlyAllowed })
			if len(let) == 0 || planned.Blocked {
				t.Errorf("it lets in %+v, blocked is %t by %v", let, planned.Blocked, planned.Overview.Blockers)
			}
		})
	}
}

// TestOutboundThatIsNotKnown blocks only where there is something to be known.
func TestOutboundThatIsNotKnown(t *testing.T) {
	const unknown = "Namespace pay: callers that move come to call it another way, by its waypoints or past them, and its pods are known by their metadata alone"
	all := func(mesh.Object) bool { return true }
	for name, test := range map[string]struct {
		keep func(object mesh.Object) bool
		want []string
	}{
		"a waypoint and a policy": {all, []string{unknown}},
		"no policy":               {func(object mesh.Object) bool { return object["kind"] != mesh.KindAuthorizationPolicy }, nil},
		"no waypoint":             {func(object mesh.Object) bool { return object["kind"] != mesh.KindGateway }, nil},
		"no caller":               {func(object mesh.Object) bool { return !in(object, "shop") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			read, parts := outboundMesh(t, "outbound-denied")
			objects := fixture.Objects(parts...)
			for i := len(objects) - 1; i >= 0; i-- {
				if !test.keep(objects[i].Object) {
					objects = slices.Delete(objects, i, i+1)
				}
			}
			content := fixture.Content(objects)
			content.Scope = mesh.Scope{Namespace: "shop"}
			snapshot, err := mesh.NewSnapshot(content)
			if err != nil {
				t.Fatal(err)
			}
			planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), read.Options)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			if planned.Access != nil {
				got = planned.Access.Unread
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("not compared (-want +got):\n%s", diff)
			}
		})
	}
}

// TestOutboundToWhatIsBeingDeleted: a namespace that is being deleted loses its policies one
// after another, which keeps no caller from moving.
func TestOutboundToWhatIsBeingDeleted(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		read, parts := outboundMesh(t, "outbound-allowed")
		objects := fixture.Objects(parts...)
		for i := range objects {
			if objects[i].GetKind() == mesh.KindNamespace && objects[i].GetName() == "pay" && deleted {
				objects[i].SetDeletionTimestamp(new(metav1.Now()))
			}
		}
		snapshot := fixture.Snapshot(objects)
		planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), read.Options)
		if err != nil {
			t.Fatal(err)
		}
		if planned.Blocked == deleted || fails(planned, checks.IDCallsNewlyAllowed) == deleted {
			t.Errorf("pay is being deleted: %t; blocked is %t by %v", deleted, planned.Blocked, planned.Overview.Blockers)
		}
	}
}

// in says whether an object is in a namespace.
func in(object mesh.Object, namespace string) bool {
	metadata, _ := object["metadata"].(map[string]any)
	return metadata["namespace"] == namespace
}

// TestOutboundIsReadWhole: what calls go to another way is at hand.
func TestOutboundIsReadWhole(t *testing.T) {
	_, parts := outboundMesh(t, "outbound-denied")
	if diff := cmp.Diff([]string{"pay"}, plan.Sharing(fixture.Snapshot(parts...), []string{"shop"})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestOutboundThatNobodyAnnounced: what a waypoint of another namespace has come to
// refuse since the enrolment keeps a rollback that would let it in.
func TestOutboundThatNobodyAnnounced(t *testing.T) {
	read, parts := outboundMesh(t, "outbound-denied")
	before := fixture.Objects(parts...)
	snapshot := fixture.Snapshot(slices.DeleteFunc(slices.Clone(before), func(object unstructured.Unstructured) bool { return object.GetKind() == mesh.KindAuthorizationPolicy }))
	planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), read.Options)
	if err != nil {
		t.Fatal(err)
	}
	after := fixture.Snapshot(carriedOut(t, before, planned))
	records := []v1alpha1.MigrationRecord{recorded(t, planned, nil)}
	for _, test := range []struct {
		accepted []string
		blocked  bool
	}{{nil, true}, {[]string{checks.IDCallsNewlyAllowed + ":pay/api"}, false}} {
		back, err := plan.Rollback(after, fixture.Find(after, "shop"), records, test.accepted...)
		if err != nil {
			t.Fatal(err)
		}
		if back.Blocked != test.blocked || !fails(back, checks.IDCallsNewlyAllowed) {
			t.Errorf("accepting %v, blocked is %t:%s", test.accepted, back.Blocked, remedies(back))
		}
	}
}
