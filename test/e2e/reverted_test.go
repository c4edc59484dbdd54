package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// reversion is what a GitOps controller keeps as it knows it.
type reversion struct {
	name, manifest string
	resource       schema.GroupVersionResource
	// object is its name; empty for the namespace itself.
	object string
	// path leads to a label, which is to have the value; none where that is empty.
	path  []string
	value string
	// says is what the run has to name, where it is stopped on the way there; rollback
	// is true where only the way back is.
	says     string
	rollback bool
}

// keep puts the label back whenever it is changed, until it is told to stop.
func (r reversion) keep(t *testing.T, c *cluster, namespace string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	client, name := c.dynamic.Resource(r.resource).Namespace(namespace), r.object
	watches, patches := client.Watch, client.Patch
	if name == "" {
		name = namespace
		watches, patches = c.dynamic.Resource(r.resource).Watch, c.dynamic.Resource(r.resource).Patch
	}
	watch, err := watches(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
	if err != nil {
		t.Fatal(err)
	}
	body := map[string]any{}
	var value any
	if r.value != "" {
		value = r.value
	}
	if err := unstructured.SetNestedField(body, value, r.path...); err != nil {
		t.Fatal(err)
	}
	patch, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan int)
	go func() {
		count := 0
		for event := range watch.ResultChan() {
			object, is := event.Object.(*unstructured.Unstructured)
			if !is {
				continue
			}
			if found, _, _ := unstructured.NestedString(object.Object, r.path...); found == r.value {
				continue
			}
			// It is tried again when the object changes the next time.
			if _, err := patches(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "gitops"}); err == nil {
				count++
			}
		}
		ended <- count
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		watch.Stop()
		if count := <-ended; count == 0 {
			t.Error("nothing was reverted: nothing was tested")
		}
	}
	t.Cleanup(stop)
	return stop
}

// TestReverted runs against a controller that undoes a change within milliseconds:
// the run stops, says what is undone, and a rollback puts everything back once the
// controller is told.
func TestReverted(t *testing.T) {
	t.Parallel()
	namespaces := schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	deployments := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	services := schema.GroupVersionResource{Version: "v1", Resource: "services"}
	for _, r := range []reversion{
		{name: "mode", manifest: smallShop, resource: namespaces, path: []string{"metadata", "labels", "istio.io/dataplane-mode"}, says: "dataplane-mode"},
		{name: "injection", manifest: smallShop, resource: namespaces, path: []string{"metadata", "labels", "istio-injection"}, value: "enabled", says: "istio-injection"},
		{name: "template", manifest: smallShop, resource: deployments, object: "cart", path: []string{"spec", "template", "metadata", "labels", "sidecar.istio.io/inject"}, says: "sidecar.istio.io~1inject"},
		{name: "service", manifest: protected, resource: services, object: "cart", path: []string{"metadata", "labels", "istio.io/use-waypoint"}, says: "use-waypoint"},
		{name: "back", manifest: smallShop, resource: namespaces, path: []string{"metadata", "labels", "istio-injection"}, says: "istio-injection", rollback: true},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			c := shared
			namespace := "reverted-" + r.name
			c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
			c.applyText(t, namespace, strings.ReplaceAll(r.manifest, "NAMESPACE", namespace))
			c.settled(t, namespace)
			before := c.state(t, namespace)
			if r.name == "mode" {
				// It is the controller that takes pods out of ambient mode.
				c.observer.excuse(namespace, takesCapture)
			}
			command := []string{"enroll", "-n", namespace, "--yes", "--mixed-callers=deny", "--gate-timeout=30s"}
			if r.rollback {
				c.ambient(t, command...).want(t, 0)
				command = []string{"rollback", "-n", namespace, "--yes", "--gate-timeout=30s"}
			}
			stop := r.keep(t, c, namespace)
			stopped := c.ambient(t, command...).want(t, 4)
			says(t, stopped.stderr, "what the run has written does not stay", r.says, "somebody else has changed it", "to go on:")
			stop()
			c.wantIncomplete(t, namespace, "does not stay")
			c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
			c.settled(t, namespace)
			c.wantState(t, namespace, before)
			c.wantSidecars(t, namespace)
		})
	}
}

// wantIncomplete wants the newest record to say that its run has stopped, and why.
func (c *cluster) wantIncomplete(t *testing.T, namespace, reason string) {
	t.Helper()
	var history v1alpha1.MigrationHistory
	decode(t, c.ambient(t, "history", "-n", namespace, "-o", "json").want(t, 0).stdout, &history)
	var record v1alpha1.MigrationRecord
	decode(t, c.ambient(t, "history", "-n", namespace, history.Runs[0].ID, "-o", "json").want(t, 0).stdout, &record)
	if record.State != v1alpha1.RunIncomplete || !strings.Contains(record.Reason, reason) {
		t.Errorf("the record is %s: %s", record.State, record.Reason)
	}
}
