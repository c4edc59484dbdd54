package plugin

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/actions"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

// The API server tries what is created and deleted. It cannot try a change of
// what does not exist.
func TestDryRunOfCreations(t *testing.T) {
	gateway := func(name string) (v1alpha1.ObjectReference, map[string]any) {
		return v1alpha1.ObjectReference{APIVersion: "gateway.networking.k8s.io/v1", Kind: "Gateway", Namespace: "shop", Name: name}, map[string]any{
			"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
			"metadata": map[string]any{"name": name, "namespace": "shop"}, "spec": map[string]any{"gatewayClassName": "istio-waypoint"},
		}
	}
	made, object := gateway("made")
	there, old := gateway("there")
	read := fixture.Object(old)
	hash, err := plan.Hash(read.Object)
	if err != nil {
		t.Fatal(err)
	}
	client := fixture.NewDynamic(&read)
	var tried []string
	client.PrependReactor("*", "gateways", func(action clienttesting.Action) (bool, runtime.Object, error) {
		tried = append(tried, action.GetVerb())
		if create, is := action.(clienttesting.CreateActionImpl); is {
			return true, create.GetObject(), nil
		}
		return action.GetVerb() == "delete", nil, nil
	})
	trial := &dryRun{
		writer: actions.Writer{Dynamic: client, Mapper: fixture.Mapper()}, state: plan.NewProjection(fixture.Snapshot(&read)),
		created: map[v1alpha1.ObjectReference]bool{}, changed: map[v1alpha1.ObjectReference]bool{},
	}
	var sides []string
	for _, change := range []v1alpha1.Change{
		{Object: made, Create: object},
		{Object: made, Fields: []v1alpha1.FieldChange{{Path: "/spec/gatewayClassName", Before: "istio-waypoint", After: "istio"}}},
		{Object: there, UID: string(read.GetUID()), Delete: true, BeforeHash: hash},
	} {
		diff, err := trial.try(t.Context(), change)
		if err != nil {
			t.Fatal(err)
		}
		class := func(of map[string]any) string {
			text, _ := plan.Lookup(of, "/spec/gatewayClassName").(string)
			return text
		}
		sides = append(sides, class(diff.Before)+" -> "+class(diff.After))
	}
	if diff := cmp.Diff([]string{" -> istio-waypoint", "istio-waypoint -> istio", "istio-waypoint -> "}, sides); diff != "" {
		t.Errorf("it shows (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"create", "get", "delete"}, tried); diff != "" || trial.untried != 1 {
		t.Errorf("%d not tried; tried are (-want +got):\n%s", trial.untried, diff)
	}
}

func TestManifestsNameWhatIsDeleted(t *testing.T) {
	options := &planOptions{namespaced: namespaced{name: "shop"}}
	text, err := options.manifests(plan.Manifests{Phase: v1alpha1.PhaseMigratePolicies, Deleted: []v1alpha1.ObjectReference{
		{APIVersion: "security.istio.io/v1", Kind: "AuthorizationPolicy", Namespace: "shop", Name: "old"},
	}}, false)
	if err != nil || !strings.Contains(string(text), "# To be deleted: kubectl -n shop delete authorizationpolicy old\n") {
		t.Errorf("%v:\n%s", err, text)
	}
}
