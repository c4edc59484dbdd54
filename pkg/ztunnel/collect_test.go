package ztunnel_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/ztunnel"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// apiServer lists the pods, and refuses everything else.
func apiServer(t *testing.T, pods ...*corev1.Pod) *ztunnel.Reader {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if request.URL.Path != "/api/v1/pods" || pods == nil {
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(apierrors.NewForbidden(corev1.Resource("pods"), "", nil).Status())
			return
		}
		if selector := request.URL.Query().Get("labelSelector"); selector != "app=ztunnel" {
			t.Errorf("pods are selected by %q", selector)
		}
		list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
		for _, pod := range pods {
			list.Items = append(list.Items, *pod)
		}
		_ = json.NewEncoder(w).Encode(list)
	}))
	t.Cleanup(server.Close)
	reader, err := ztunnel.NewReader(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return reader
}

func on(node string, edits ...func(*corev1.Pod)) *corev1.Pod {
	return in("istio-system", node, edits...)
}

// in is such a pod of some namespace's DaemonSet.
func in(namespace, node string, edits ...func(*corev1.Pod)) *corev1.Pod {
	set := fixture.DaemonSet(namespace, "ztunnel", func(set *appsv1.DaemonSet) { set.Spec.Template.Labels = map[string]string{"app": "ztunnel"} })
	made := fixture.Of("DaemonSet", "apps/v1", &set.ObjectMeta, set.Spec.Template)
	return fixture.Pod(namespace, "ztunnel-"+node, append([]func(*corev1.Pod){made, func(pod *corev1.Pod) { pod.Spec.NodeName = node }}, edits...)...)
}

// Whoever may make pods can label them app=ztunnel: those are not asked, and where two
// DaemonSets' are on a node nobody's word is taken.
func TestCollectAsksNobodyElse(t *testing.T) {
	bare := fixture.Pod("team", "ztunnel-fake", fixture.Labelled("app", "ztunnel"), func(pod *corev1.Pod) { pod.Spec.NodeName = "node" })
	for _, test := range []struct {
		name string
		pods []*corev1.Pod
		want string
	}{
		{"a pod that only bears the label", []*corev1.Pod{on("node"), bare}, "port-forward to Pod istio-system/ztunnel-node: "},
		{"the same, listed first", []*corev1.Pod{bare, on("node")}, "port-forward to Pod istio-system/ztunnel-node: "},
		{"nothing but that", []*corev1.Pod{bare}, "no ready ztunnel pod on node node"},
		{"another DaemonSet's", []*corev1.Pod{on("node"), in("team", "node")}, "pods of two namespaces are labelled app=ztunnel on node node: istio-system/ztunnel-node and team/ztunnel-node"},
		{"another DaemonSet's that is not ready", []*corev1.Pod{in("team", "node", fixture.NotReady), on("node")}, "pods of two namespaces are labelled app=ztunnel on node node: "},
		{"another DaemonSet's on another node", []*corev1.Pod{on("node"), in("team", "other")}, "port-forward to Pod istio-system/ztunnel-node: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			evidence, err := apiServer(t, test.pods...).Collect(t.Context(), []string{"node"})
			if err != nil {
				t.Fatal(err)
			}
			if got := evidence.Nodes["node"]; !strings.HasPrefix(got.Problem, test.want) || got.Captured != nil || got.Absent != (len(test.pods) == 1) {
				t.Errorf("the node is %+v", got)
			}
		})
	}
}

// What cannot be asked is no reason to say nothing of the rest.
func TestCollectSaysWhyANodeCouldNotBeAsked(t *testing.T) {
	terminating := func(pod *corev1.Pod) { pod.DeletionTimestamp = &metav1.Time{Time: fixture.Created} }
	reader := apiServer(t, on("refused"), on("unready", fixture.NotReady), on("leaving", terminating))
	evidence, err := reader.Collect(t.Context(), []string{"refused", "unready", "leaving", "bare"})
	if err != nil {
		t.Fatal(err)
	}
	for node, want := range map[string]string{
		"refused": "port-forward to Pod istio-system/ztunnel-refused: ", "unready": "no ready ztunnel pod on node unready",
		"leaving": "no ready ztunnel pod on node leaving: istio-system/ztunnel-leaving", "bare": "no ready ztunnel pod on node bare",
	} {
		got, asked := evidence.Nodes[node]
		if !asked || !strings.HasPrefix(got.Problem, want) || got.Captured != nil {
			t.Errorf("node %s is %+v", node, got)
		}
		if absent := node == "bare"; got.Absent != absent || absent != (got.Ztunnel == "") {
			t.Errorf("node %s: absent %t, ztunnel %q", node, got.Absent, got.Ztunnel)
		}
		if strings.Contains(got.Problem, "\n") {
			t.Errorf("the problem of node %s has several lines: %q", node, got.Problem)
		}
	}
	if len(evidence.Nodes) != 4 {
		t.Errorf("there is evidence of %d nodes", len(evidence.Nodes))
	}
}

// What a ztunnel counts is only to be compared with what the same one has counted: one that
// was started in between is not asked.
func TestTrafficOfAnotherZtunnelIsNoTraffic(t *testing.T) {
	pod := on("a")
	for name, test := range map[string]struct{ instance, problem string }{
		"the same":                {string(pod.UID) + "/0", "port-forward to Pod istio-system/ztunnel-a: "},
		"one before it":           {string(pod.UID) + "-before/0", "it was started anew in between"},
		"before it was restarted": {string(pod.UID) + "/-1", "it was started anew in between"},
	} {
		t.Run(name, func(t *testing.T) {
			evidence := &mesh.Evidence{Nodes: map[string]mesh.NodeEvidence{"a": {Instance: test.instance}}}
			if err := apiServer(t, pod).AskTraffic(t.Context(), evidence); err != nil {
				t.Fatal(err)
			}
			if got := evidence.Nodes["a"]; !strings.HasPrefix(got.TrafficProblem, test.problem) || got.Traffic != nil {
				t.Errorf("it is %+v", got)
			}
		})
	}
}

// Only a node on which no ztunnel runs is known to capture nothing: what a ztunnel that
// does not answer captures, nobody knows.
func TestThatACaptureHasEndedIsUnknownWhereAZtunnelRunsAndDoesNotAnswer(t *testing.T) {
	ended := func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodFailed }
	for _, test := range []struct {
		name string
		// ztunnel is the pod on the node; nil for none.
		ztunnel *corev1.Pod
		want    v1alpha1.CheckStatus
	}{
		{"none", nil, v1alpha1.StatusPass},
		{"one that has ended", on("node", ended), v1alpha1.StatusPass},
		{"one that may not be asked", on("node"), v1alpha1.StatusUnknown},
		{"one that is not ready", on("node", fixture.NotReady), v1alpha1.StatusUnknown},
		{"one that is being deleted", on("node", func(pod *corev1.Pod) { pod.DeletionTimestamp = &metav1.Time{Time: fixture.Created} }), v1alpha1.StatusUnknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			pods := []*corev1.Pod{on("another")}
			if test.ztunnel != nil {
				pods = append(pods, test.ztunnel)
			}
			evidence, err := apiServer(t, pods...).Collect(t.Context(), []string{"node"})
			if err != nil {
				t.Fatal(err)
			}
			back := fixture.Pod("shop", "cart", fixture.Sidecar, func(pod *corev1.Pod) { pod.Spec.NodeName = "node" })
			snapshot := fixture.Snapshot(fixture.Installation(), fixture.Namespace("shop", map[string]string{"istio-injection": "enabled"}), back)
			results := checks.Run(checks.ReturnChecks(), checks.Subject{
				Snapshot: snapshot, Namespace: fixture.Find(snapshot, "shop"), Evidence: evidence, Returned: &checks.Returned{},
			})
			i := slices.IndexFunc(results, func(result v1alpha1.CheckResult) bool { return result.ID == "capture-ended" })
			if i < 0 || results[i].Status != test.want {
				t.Errorf("the results are %+v", results)
			}
		})
	}
}

func TestCollectOfNoNodesAsksNobody(t *testing.T) {
	evidence, err := apiServer(t, on("a")).Collect(t.Context(), nil)
	if err != nil || len(evidence.Nodes) != 0 {
		t.Errorf("%+v, %v", evidence, err)
	}
}

func TestCollectFailsWhereThePodsCannotBeListed(t *testing.T) {
	if _, err := apiServer(t).Collect(t.Context(), []string{"a"}); !apierrors.IsForbidden(err) || !strings.HasPrefix(err.Error(), "list ztunnel pods: ") {
		t.Errorf("the error is %v", err)
	}
}
