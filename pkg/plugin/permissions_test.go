package plugin

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// changeOf is a change of an object named a in the namespace shop.
func changeOf(apiVersion, kind string, change v1alpha1.Change) v1alpha1.Change {
	change.Object = v1alpha1.ObjectReference{APIVersion: apiVersion, Kind: kind, Namespace: "shop", Name: "a"}
	return change
}

// planOf is a plan with a step for each change, and one more for each gate.
func planOf(operation v1alpha1.Operation, changes []v1alpha1.Change, gates ...v1alpha1.Gate) v1alpha1.MigrationPlan {
	planned := v1alpha1.MigrationPlan{Operation: operation, Namespace: "shop", Options: &v1alpha1.PlanOptions{}}
	for _, change := range changes {
		planned.Steps = append(planned.Steps, v1alpha1.Step{Phase: v1alpha1.PhaseMigratePolicies, Changes: []v1alpha1.Change{change}})
	}
	for _, gate := range gates {
		planned.Steps = append(planned.Steps, v1alpha1.Step{Phase: v1alpha1.PhaseRestartWorkloads, Gate: gate})
	}
	return planned
}

var (
	creating = v1alpha1.Change{Create: map[string]any{}}
	deleting = v1alpha1.Change{Delete: true}
	changing = v1alpha1.Change{}
)

// about are the descriptions of needs that are not had by every run: on the
// resources that plans write, pods and nodes.
func about(needed needs) []string {
	var texts []string
	for _, need := range needed {
		follows := need.Verb == "list" || need.Verb == "watch"
		if need.Resource != "configmaps" && need.Resource != "leases" && (!follows || need.Namespace == "" && need.Resource == "pods") {
			texts = append(texts, describeNeed(need))
		}
	}
	slices.Sort(texts)
	return texts
}

// What a plan creates, changes and deletes is asked for by what the API server calls
// it, and of pods no more than its gates take.
func TestPermissionsThatAPlanNeeds(t *testing.T) {
	const policy, istio = "AuthorizationPolicy", "security.istio.io/v1"
	ztunnel := []string{
		"create pods/portforward in namespace istio-system", "list pods",
	}
	for _, test := range []struct {
		name    string
		planned v1alpha1.MigrationPlan
		want    []string
	}{
		{
			name:    "creating",
			planned: planOf(v1alpha1.OperationEnroll, []v1alpha1.Change{changeOf(istio, policy, creating)}),
			want:    []string{"create authorizationpolicies in namespace shop", "get authorizationpolicies in namespace shop"},
		},
		{
			name:    "creating what is ours",
			planned: planOf(v1alpha1.OperationEnroll, []v1alpha1.Change{changeOf(istio, policy, v1alpha1.Change{Create: map[string]any{"metadata": map[string]any{"labels": map[string]any{v1alpha1.OriginLabel: "test"}}}})}),
			want:    []string{"create authorizationpolicies in namespace shop", "get authorizationpolicies in namespace shop", "patch authorizationpolicies in namespace shop"},
		},
		{
			name:    "changing",
			planned: planOf(v1alpha1.OperationEnroll, []v1alpha1.Change{changeOf("v1", "Service", changing)}),
			want:    []string{"get services in namespace shop", "patch services in namespace shop"},
		},
		{
			name:    "deleting",
			planned: planOf(v1alpha1.OperationSimplify, []v1alpha1.Change{changeOf(istio, policy, deleting)}),
			want:    []string{"delete authorizationpolicies in namespace shop", "get authorizationpolicies in namespace shop"},
		},
		{name: "asking ztunnel", planned: planOf(v1alpha1.OperationEnroll, nil, v1alpha1.Gate{Kind: v1alpha1.GateVerified}), want: ztunnel},
		{name: "restarting", planned: planOf(v1alpha1.OperationEnroll, nil, v1alpha1.Gate{Kind: v1alpha1.GateCaptured}), want: ztunnel},
		{
			name:    "evicting",
			planned: planOf(v1alpha1.OperationEnroll, nil, v1alpha1.Gate{Kind: v1alpha1.GateSidecarsHBONE, Replaces: true}),
			want:    []string{"create pods/eviction in namespace shop"},
		},
		{
			name:    "cordoning",
			planned: planOf(v1alpha1.OperationEnroll, nil, v1alpha1.Gate{Kind: v1alpha1.GateSidecarsHBONE, Replaces: true, Cordon: true}),
			want:    []string{"create pods/eviction in namespace shop", "get nodes", "patch nodes"},
		},
		{
			name:    "giving sidecars back",
			planned: planOf(v1alpha1.OperationRollback, nil, v1alpha1.Gate{Kind: v1alpha1.GateInjected}, v1alpha1.Gate{Kind: v1alpha1.GateRestored}),
			want:    []string{"create pods/eviction in namespace shop", "delete pods in namespace shop"},
		},
		{
			name:    "taking a Service off its waypoint",
			planned: planOf(v1alpha1.OperationRollback, []v1alpha1.Change{changeOf("v1", "Service", changing)}, v1alpha1.Gate{Kind: v1alpha1.GateGone}),
			want:    []string{"get services in namespace shop", "patch services in namespace shop"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			needed, err := needsOf(test.planned, "shop", []string{"istio-system"}, fixture.Mapper())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, about(needed)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	unknown := planOf(v1alpha1.OperationEnroll, []v1alpha1.Change{changeOf(istio, "Nothing", creating)})
	if _, err := needsOf(unknown, "shop", nil, fixture.Mapper()); err == nil || !strings.Contains(err.Error(), "Nothing shop/a") {
		t.Errorf("the error is %v", err)
	}
	if _, err := needsBack([]v1alpha1.MigrationPlan{unknown}, "shop", false, fixture.Mapper()); err == nil || !strings.Contains(err.Error(), "Nothing shop/a") {
		t.Errorf("the error is %v", err)
	}
}

// Its rollback takes away what it creates, makes again what it deletes, and replaces pods
// where pods may have lost their sidecars.
func TestPermissionsThatTheWayBackNeeds(t *testing.T) {
	const istio = "security.istio.io/v1"
	pods := []string{"create pods/eviction in namespace shop", "delete pods in namespace shop"}
	service := planOf(v1alpha1.OperationEnroll, []v1alpha1.Change{changeOf(istio, "AuthorizationPolicy", creating)})
	service.Options.Service = "service/a"
	refreshing := planOf(v1alpha1.OperationEnroll, nil, v1alpha1.Gate{Kind: v1alpha1.GateSidecarsHBONE})
	refreshing.Steps[0].Phase = v1alpha1.PhaseRefreshSidecars
	created := []string{"delete authorizationpolicies in namespace shop", "get authorizationpolicies in namespace shop"}
	for _, test := range []struct {
		name   string
		plans  []v1alpha1.MigrationPlan
		atOnce bool
		want   []string
	}{
		{name: "of an enrolment", plans: []v1alpha1.MigrationPlan{planOf(v1alpha1.OperationEnroll, []v1alpha1.Change{changeOf(istio, "AuthorizationPolicy", creating)})}, want: append(slices.Clone(pods), created...)},
		{name: "of what is deleted", plans: []v1alpha1.MigrationPlan{planOf(v1alpha1.OperationSimplify, []v1alpha1.Change{changeOf(istio, "AuthorizationPolicy", deleting)})}, want: append(
			slices.Clone(pods), "create authorizationpolicies in namespace shop", "get authorizationpolicies in namespace shop",
		)},
		{name: "of a single Service", plans: []v1alpha1.MigrationPlan{service}, want: created},
		{name: "of a single Service at once", plans: []v1alpha1.MigrationPlan{service}, atOnce: true, want: append(slices.Clone(pods), created...)},
		{name: "of refreshed sidecars", plans: []v1alpha1.MigrationPlan{refreshing}, want: nil},
		{name: "of runs that are gone on with", plans: []v1alpha1.MigrationPlan{refreshing, service}, want: created},
	} {
		t.Run(test.name, func(t *testing.T) {
			needed, err := needsBack(test.plans, "shop", test.atOnce, fixture.Mapper())
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(test.want)
			if diff := cmp.Diff(test.want, about(needed)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Somebody who may not undo a run is warned, and refused where it is to be undone at once.
func TestWhoMayNotRollBack(t *testing.T) {
	snapshot := fixture.Snapshot(fixture.Installation()...)
	enrolling := planOf(v1alpha1.OperationEnroll, []v1alpha1.Change{changeOf("security.istio.io/v1", "AuthorizationPolicy", creating)}, v1alpha1.Gate{Kind: v1alpha1.GateVerified})
	const warning = "You could not roll this back yourself"
	for _, test := range []struct {
		name    string
		planned v1alpha1.MigrationPlan
		undo    bool
		may     func(authorizationv1.ResourceAttributes) bool
		status  int
		says    []string
		refuses []string
		never   []string
	}{
		{name: "everything is allowed", planned: enrolling, undo: true, may: func(authorizationv1.ResourceAttributes) bool { return true }, never: []string{"you may not", warning}},
		{
			name: "no way back", planned: enrolling,
			may: func(need authorizationv1.ResourceAttributes) bool {
				return need.Verb != "delete" || need.Resource == "configmaps" || need.Resource == "leases"
			},
			says: []string{
				warning, "you may not delete authorizationpolicies in namespace shop, delete pods in namespace shop: ask for a RoleBinding in namespace shop",
				"kind: ClusterRole\n", "name: kubectl-ambient-shop\n", "  - pods\n  verbs:\n  - delete\n",
			},
			never: []string{"  - create\n"},
		},
		{
			name: "no way back at once", planned: enrolling, undo: true, status: StatusBlocked,
			may: func(need authorizationv1.ResourceAttributes) bool {
				return need.Resource != "pods" || need.Subresource != "eviction"
			},
			refuses: []string{"you may not create pods/eviction in namespace shop", "kind: ClusterRole\n", "  - pods/eviction\n"},
			never:   []string{warning},
		},
		{
			name: "neither way", planned: enrolling, status: StatusBlocked,
			may: func(need authorizationv1.ResourceAttributes) bool {
				return need.Resource != "authorizationpolicies"
			},
			refuses: []string{"create authorizationpolicies in namespace shop", "get authorizationpolicies"},
			never:   []string{warning, "delete"},
		},
		{
			name: "no ztunnel", planned: enrolling, status: StatusBlocked,
			may:     func(need authorizationv1.ResourceAttributes) bool { return need.Subresource != "portforward" },
			refuses: []string{"you may not create pods/portforward in namespace istio-system: ask for a RoleBinding in namespace istio-system", "kind: Role\n", "  namespace: istio-system\n"},
			never:   []string{"ClusterRole"},
		},
		{
			name: "nothing", planned: enrolling, status: StatusBlocked,
			may:     func(authorizationv1.ResourceAttributes) bool { return false },
			refuses: []string{"ask for a ClusterRoleBinding to a role", "name: kubectl-ambient-shop-cluster\n", "name: kubectl-ambient-shop\n", "kind: Role\n", "\n---\n"},
		},
		{
			name: "rolling back", planned: planOf(v1alpha1.OperationRollback, []v1alpha1.Change{changeOf("security.istio.io/v1", "AuthorizationPolicy", deleting)}),
			may: func(need authorizationv1.ResourceAttributes) bool {
				return need.Resource != "pods" || need.Verb == "list" || need.Verb == "watch"
			},
			never: []string{"you may not", warning},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var said bytes.Buffer
			o := options(t, nil, io.Discard, &said)
			client := fake.NewClientset()
			client.PrependReactor("create", "selfsubjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
				review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview)
				review.Status.Allowed = test.may(*review.Spec.ResourceAttributes)
				return true, review, nil
			})
			o.kube, o.store = client, record.NewStore(client.CoreV1(), "shop")
			if test.undo {
				o.hooks.undo = func(context.Context, v1alpha1.MigrationRecord) (*prepared, error) { return nil, nil }
			}
			err := o.allowed(t.Context(), &prepared{snapshot: snapshot, plan: test.planned}, fixture.Mapper())
			if ExitStatus(err) != test.status {
				t.Errorf("status %d: %v", ExitStatus(err), err)
			}
			refused := ""
			if err != nil {
				refused = err.Error()
			}
			for _, text := range test.says {
				if !strings.Contains(said.String(), text) {
					t.Errorf("it does not say %q:\n%s", text, said.String())
				}
			}
			for _, text := range test.refuses {
				if !strings.Contains(refused, text) {
					t.Errorf("the error does not say %q:\n%s", text, refused)
				}
			}
			for _, text := range test.never {
				if strings.Contains(said.String()+refused, text) {
					t.Errorf("it says %q:\n%s%s", text, said.String(), refused)
				}
			}
		})
	}
}

// Ztunnel is asked where its pods are; where none was seen, it may come up anywhere.
func TestWhereZtunnelIsAsked(t *testing.T) {
	none := fixture.Snapshot(fixture.Namespace("shop", nil))
	for want, snapshot := range map[string]*mesh.Snapshot{"istio-system": fixture.Snapshot(fixture.Installation()...), "": none} {
		if got := ztunnelNamespaces(snapshot); len(got) != 1 || got[0] != want {
			t.Errorf("it is asked in %q, want %q", got, want)
		}
	}
}

// The role for --cordon allows just what a run needs of nodes, and the operator's none of it.
func TestCordoningHasARoleOfItsOwn(t *testing.T) {
	needed, err := needsOf(planOf(v1alpha1.OperationEnroll, nil, v1alpha1.Gate{Kind: v1alpha1.GateSidecarsHBONE, Cordon: true}), "shop", nil, fixture.Mapper())
	if err != nil {
		t.Fatal(err)
	}
	needed = slices.DeleteFunc(needed, func(need authorizationv1.ResourceAttributes) bool { return need.Resource != "nodes" })
	of := map[string][]rbacv1.PolicyRule{}
	for _, role := range Roles() {
		of[role.Name] = role.Rules
	}
	if diff := cmp.Diff(rulesOf(needed), of[CordonRole]); diff != "" || len(needed) == 0 {
		t.Errorf("the role is not what is needed (-want +got):\n%s", diff)
	}
	for _, rule := range of[OperatorRole] {
		if slices.Contains(rule.Resources, "nodes") {
			t.Errorf("the operator's role has %v on nodes", rule.Verbs)
		}
	}
}
