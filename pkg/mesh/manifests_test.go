package mesh_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// owned is an object whose controller is another one.
func owned(apiVersion, kind, name, uid, ownerKind, ownerUID string) string {
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: shop, uid: %s, ownerReferences: [{apiVersion: v1, kind: %s, name: owner, uid: %s, controller: true}]}\nspec: {}\n",
		apiVersion, kind, name, uid, ownerKind, ownerUID)
}

// What owns itself, or nothing that is there, belongs to no workload; looking for
// it comes to an end.
func TestOwnersMayGoRoundInCircles(t *testing.T) {
	set := func(name, uid, owner string) string {
		return owned("apps/v1", "ReplicaSet", name, uid, "ReplicaSet", owner)
	}
	pod := func(name, owner string) string { return owned("v1", "Pod", name, name, "ReplicaSet", owner) }
	texts := []string{
		set("self", "self", "self"), pod("of-self", "self"),
		set("ping", "ping", "pong"), set("pong", "pong", "ping"), pod("of-ping", "ping"),
		set("one", "one", "two"), set("two", "two", "three"), set("three", "three", "four"), set("four", "four", "five"), set("five", "five", "cart"), pod("of-one", "one"),
		pod("own", "own"), pod("of-nothing", "nothing"), owned("batch/v1", "Job", "job", "job", "CronJob", "job"), owned("v1", "Pod", "of-job", "of-job", "Job", "job"),
		owned("apps/v1", "Deployment", "odd", "odd", "Deployment", "odd"), owned("v1", "Pod", "of-odd", "of-odd", "Deployment", "odd"),
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: cart, namespace: shop, uid: cart}\nspec: {}\n", set("good", "good", "cart"), pod("of-good", "good"),
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n",
	}
	content := read(t, strings.Join(texts, "---\n"))
	one := snapshot(t, content)
	var workloads []string
	for _, workload := range one.Workloads("shop") {
		workloads = append(workloads, workload.Reference.String())
		var pods []string
		for _, pod := range one.PodsOf(workload) {
			pods = append(pods, pod.Name)
		}
		if diff := cmp.Diff([]string{"of-good"}, pods); diff != "" {
			t.Errorf("the pods of %s (-want +got):\n%s", workload.Reference, diff)
		}
		one.RoleOf(workload, fixture.Find(one, "shop"))
	}
	if diff := cmp.Diff([]string{"Deployment shop/cart"}, workloads); diff != "" {
		t.Errorf("the workloads (-want +got):\n%s", diff)
	}
	if status := one.Status(fixture.Find(one, "shop")); status.Pods.None != 8 {
		t.Errorf("the status is %+v", status)
	}
}

// Manifests that were never in a cluster have no UIDs. They are told apart all the
// same, and nothing of what stands for those is left in the objects.
func TestManifestsWithoutUIDs(t *testing.T) {
	pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: shop%s}\nspec: {containers: [{name: istio-proxy}]}\n"
	content := read(t, strings.Join([]string{
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n",
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: cart, namespace: shop}\nspec: {template: {metadata: {labels: {app: cart}}}}\n",
		"apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: cart, namespace: shop}\nspec: {}\n",
		fmt.Sprintf(pod, "a", ""), fmt.Sprintf(pod, "b", ""),
		fmt.Sprintf(pod, "c", ", ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: x, controller: true}]"),
		"apiVersion: v1\nkind: Pod\nmetadata: {name: d, namespace: shop, uid: d}\n",
	}, "---\n"))
	one := snapshot(t, content)
	uids := map[string]bool{}
	for _, workload := range one.Workloads("shop") {
		uids[string(workload.UID)] = true
		if pods := one.PodsOf(workload); len(pods) > 0 {
			t.Errorf("%s has pods: %v", workload.Reference, pods)
		}
	}
	for _, pod := range one.Pods("shop") {
		uids[string(pod.UID)] = true
		metadata, _ := pod.Object["metadata"].(map[string]any)
		if _, set := metadata["uid"]; pod.Detailed && set {
			t.Errorf("%s is given a UID in its object", pod)
		}
	}
	if len(uids) != 6 || uids[""] {
		t.Errorf("the UIDs are %v", uids)
	}
	if status := one.Status(fixture.Find(one, "shop")); status.Pods.Sidecar != 3 || status.Pods.None != 1 {
		t.Errorf("the status is %+v", status)
	}
	var bare []string
	for _, pod := range one.BarePods("shop") {
		bare = append(bare, pod.Name)
	}
	if diff := cmp.Diff([]string{"a", "b", "d"}, bare); diff != "" {
		t.Errorf("the bare pods (-want +got):\n%s", diff)
	}
}

func TestPositionsSayWhereAnObjectStands(t *testing.T) {
	directory := tree(t, map[string]string{
		"a.yaml": service("good") + "---\n# bad\napiVersion: v1\nkind: Service\nmetadata: {name: one}\nspec: {ports: [{port: http}]}\n",
		"b.json": "{\"kind\": \"List\", \"items\": [\n{\"apiVersion\": \"apps/v1\", \"kind\": \"Deployment\", \"metadata\": {\"name\": \"good\"}},\n" +
			"{\"apiVersion\": \"apps/v1\", \"kind\": \"Deployment\",\n\"metadata\": {\"name\": \"two\"}, \"spec\": {\"replicas\": \"many\"}}]}",
	})
	content, err := mesh.ReadFiles(t.Context(), mesh.Files{Names: []string{directory}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = mesh.NewSnapshot(content)
	want := directory + "/b.json:3 (document 1): Deployment default/two: spec.replicas: cannot read string as int32\n" +
		directory + "/a.yaml:6 (document 2): Service default/one: spec.ports[0].port: cannot read string as int32"
	if explained := content.Positions(err); explained == nil || explained.Error() != want {
		t.Errorf("the error is\n  %v, want\n  %s", explained, want)
	}
	// Where an object was read again, the place of what counts is named.
	content = read(t, versioned("1", "x", "1")+"---\n"+versioned("2", "x", "2")+"spec: {ports: none}\n")
	_, err = mesh.NewSnapshot(content)
	if explained := content.Positions(err); explained == nil || !strings.HasPrefix(explained.Error(), "stdin:5 (document 2): Service shop/a: spec.ports: cannot read string as ") {
		t.Errorf("the error is %v", explained)
	}
	other := errors.New("other")
	if explained := content.Positions(other); !errors.Is(explained, other) || explained.Error() != "other" {
		t.Errorf("another error becomes %v", explained)
	}
	if content.Positions(nil) != nil || !errors.Is((mesh.Content{}).Positions(other), other) {
		t.Error("there is nothing to explain")
	}
}
