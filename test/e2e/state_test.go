package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// owned are the kinds whose objects users own, so that a rollback has to leave
// each exactly as it was.
var owned = []schema.GroupVersionResource{
	{Version: "v1", Resource: "services"},
	{Version: "v1", Resource: "serviceaccounts"},
	{Version: "v1", Resource: "configmaps"},
	{Version: "v1", Resource: "pods"},
	{Group: "apps", Version: "v1", Resource: "deployments"},
	{Group: "apps", Version: "v1", Resource: "statefulsets"},
	{Group: "apps", Version: "v1", Resource: "daemonsets"},
	{Group: "apps", Version: "v1", Resource: "replicasets"},
	{Group: "batch", Version: "v1", Resource: "cronjobs"},
	{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
	{Group: "security.istio.io", Version: "v1", Resource: "authorizationpolicies"},
	{Group: "security.istio.io", Version: "v1", Resource: "peerauthentications"},
	{Group: "security.istio.io", Version: "v1", Resource: "requestauthentications"},
	{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"},
}

// state is what users own of a namespace, by "resource/name".
func (c *cluster) state(t *testing.T, namespace string) map[string]any {
	t.Helper()
	state := map[string]any{}
	itself, err := c.dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).Get(t.Context(), namespace, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	state["namespaces/"+namespace] = usersPart(itself)
	for _, resource := range owned {
		list, err := c.dynamic.Resource(resource).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			item := &list.Items[i]
			_, isRecord := item.GetLabels()["ambient.kubectl-ambient.dev/record"]
			// Istiod gives each namespace its root certificates, in its own time (istio
			// pilot/pkg/serviceregistry/kube/controller/namespacecontroller.go).
			_, istiods := item.GetLabels()["istio.io/config"]
			// Pods of controllers are the controllers' business; the pods' own
			// conditions are tested apart.
			if isRecord || istiods || (resource.Resource == "pods" || resource.Resource == "replicasets") && metav1.GetControllerOf(item) != nil {
				continue
			}
			state[resource.Resource+"/"+item.GetName()] = usersPart(item)
		}
	}
	return state
}

// usersPart leaves out what the API server and controllers write by
// themselves.
func usersPart(object *unstructured.Unstructured) map[string]any {
	content := object.DeepCopy().Object
	unstructured.RemoveNestedField(content, "status")
	for _, field := range []string{"managedFields", "resourceVersion", "generation"} {
		unstructured.RemoveNestedField(content, "metadata", field)
	}
	for _, annotation := range []string{"deployment.kubernetes.io/revision", "deprecated.daemonset.template.generation"} {
		unstructured.RemoveNestedField(content, "metadata", "annotations", annotation)
	}
	if annotations, found, err := unstructured.NestedMap(content, "metadata", "annotations"); err == nil && found && len(annotations) == 0 {
		unstructured.RemoveNestedField(content, "metadata", "annotations")
	}
	return content
}

// wantState fails the test where a namespace is not as it was.
func (c *cluster) wantState(t *testing.T, namespace string, before map[string]any) {
	t.Helper()
	if diff := cmp.Diff(before, c.state(t, namespace)); diff != "" {
		t.Errorf("namespace %s is not as it was (-before +now):\n%s", namespace, diff)
	}
}

// wantStateSoon waits for a namespace to be as it was: what istiod has made for a
// Gateway is collected as garbage once that is gone.
func (c *cluster) wantStateSoon(t *testing.T, namespace string, before map[string]any) {
	t.Helper()
	c.eventually(t, "namespace "+namespace+" is as it was", func(context.Context) error {
		if diff := cmp.Diff(before, c.state(t, namespace)); diff != "" {
			return fmt.Errorf("(-before +now):\n%s", diff)
		}
		return nil
	})
}

// wantSidecars fails the test where a pod that is meant to have a sidecar lacks
// one, or one that is not has one.
func (c *cluster) wantSidecars(t *testing.T, namespace string, without ...string) {
	t.Helper()
	for _, pod := range c.pods(t, namespace) {
		exempt := false
		for _, app := range without {
			exempt = exempt || pod.Labels["app"] == app
		}
		if has := sidecar(&pod); has == exempt {
			t.Errorf("pod %s: has sidecar: %v", pod.Name, has)
		}
		if redirection := pod.Annotations["ambient.istio.io/redirection"]; redirection != "" {
			t.Errorf("pod %s is still redirected to ztunnel: %q", pod.Name, redirection)
		}
	}
}

// wantNoSidecars fails the test where a pod has a sidecar, or is not captured
// although it should be.
func (c *cluster) wantNoSidecars(t *testing.T, namespace string, pinned ...string) {
	t.Helper()
	for _, pod := range c.pods(t, namespace) {
		exempt := false
		for _, app := range pinned {
			exempt = exempt || pod.Labels["app"] == app
		}
		// Waypoints are proxies that ztunnel does not capture.
		_, waypoint := pod.Labels["gateway.networking.k8s.io/gateway-name"]
		exempt = exempt || waypoint
		captured := pod.Annotations["ambient.istio.io/redirection"] == "enabled"
		if exempt && captured {
			t.Errorf("pod %s is to be kept out and is captured", pod.Name)
		}
		if !exempt && (sidecar(&pod) || !captured) {
			t.Errorf("pod %s: has sidecar: %v, is captured: %v", pod.Name, sidecar(&pod), captured)
		}
	}
}
