package ztunnel_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/ztunnel"
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
	return fixture.Pod("istio-system", "ztunnel-"+node, append(edits, func(pod *corev1.Pod) { pod.Spec.NodeName = node })...)
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
		"leaving": "no ready ztunnel pod on node leaving", "bare": "no ready ztunnel pod on node bare",
	} {
		got, asked := evidence.Nodes[node]
		if !asked || !strings.HasPrefix(got.Problem, want) || got.Captured != nil {
			t.Errorf("node %s is %+v", node, got)
		}
		if strings.Contains(got.Problem, "\n") {
			t.Errorf("the problem of node %s has several lines: %q", node, got.Problem)
		}
	}
	if len(evidence.Nodes) != 4 {
		t.Errorf("there is evidence of %d nodes", len(evidence.Nodes))
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
