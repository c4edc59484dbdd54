package ztunnel_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/ztunnel"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// kubelet serves the logs of the pods: what each process has written, the last of them
// first, each line behind its time. Nil is for logs that may not be read.
func kubelet(t *testing.T, pod *corev1.Pod, logs []string) *ztunnel.Reader {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		query, process := request.URL.Query(), 0
		if query.Get("previous") == "true" {
			process = 1
		}
		w.Header().Set("Content-Type", "application/json")
		switch {
		case request.URL.Path == "/api/v1/pods":
			_ = json.NewEncoder(w).Encode(corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []corev1.Pod{*pod}})
		case logs == nil:
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(apierrors.NewForbidden(corev1.Resource("pods/log"), pod.Name, nil).Status())
		case process >= len(logs):
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(apierrors.NewBadRequest("previous terminated container not found").Status())
		default:
			if query.Get("container") != "istio-proxy" || query.Get("timestamps") != "true" || query.Get("limitBytes") == "" {
				t.Errorf("the log is asked for with %s", query.Encode())
			}
			since, _ := time.Parse(time.RFC3339, query.Get("sinceTime"))
			for line := range strings.Lines(logs[process]) {
				if at, err := time.Parse(time.RFC3339, line[:20]); err != nil || !at.Before(since) {
					_, _ = w.Write([]byte(line))
				}
			}
		}
	}))
	t.Cleanup(server.Close)
	reader, err := ztunnel.NewReader(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return reader
}

func TestAskAccessLogs(t *testing.T) {
	enrolled := time.Date(2026, 8, 20, 12, 0, 0, 0, time.UTC)
	const (
		began = "2026-08-20T11:00:00Z 2026-08-20T11:00:00.000000Z\tinfo\tztunnel\tversion: 1.31\t\n"
		anew  = "2026-08-20T13:00:00Z 2026-08-20T13:00:00.000000Z\tinfo\tztunnel\tversion: 1.31\t\n"
		early = "2026-08-20T11:30:00Z " + inbound + "\n"
		late  = "2026-08-20T12:30:00Z " + inbound + "\n"
		after = "2026-08-20T13:30:00Z " + outbound + "\n"
		none  = "has no connection of anybody"

		jsonBegan = `2026-08-20T11:00:00Z {"level":"info","time":"2026-08-20T11:00:00.000000Z","scope":"ztunnel","message":"version: 1.31"}` + "\n"
	)
	other := func(line string) string { return strings.ReplaceAll(line, `"shop"`, `"other"`) }
	for _, test := range []struct {
		name string
		logs []string
		want mesh.AccessLog
	}{
		{"some", []string{began + early + late + late}, mesh.AccessLog{Inbound: 2}},
		{"in JSON", []string{jsonBegan + "2026-08-20T12:30:00Z " + jsonInbound + "\n"}, mesh.AccessLog{Inbound: 1}},
		{"none before it was started anew, in JSON", []string{strings.ReplaceAll(jsonBegan, "11:00", "13:00"), jsonBegan + other("2026-08-20T12:30:00Z "+jsonInbound+"\n")}, mesh.AccessLog{}},
		{"none but of others", []string{began + early + other(late)}, mesh.AccessLog{}},
		{"rotated before the enrolment", []string{early + other(late)}, mesh.AccessLog{}},
		{"rotated since", []string{other(late)}, mesh.AccessLog{Gap: "its log begins at 2026-08-20T12:30:00Z"}},
		{"some before alone", []string{began + early}, mesh.AccessLog{Gap: none}},
		{"cut", []string{began + other(late) + strings.TrimSuffix(late, "\"\n") + "\n"}, mesh.AccessLog{Gap: "1 lines of its access log cannot be read"}},
		{"an end that is cut", []string{began + other(late) + strings.TrimSuffix(late, "\n")}, mesh.AccessLog{}},
		{"some before it was started anew", []string{anew + after, began + late}, mesh.AccessLog{Inbound: 1}},
		{"none before it was started anew", []string{anew + after, began + early}, mesh.AccessLog{}},
		{"started anew twice", []string{anew + after, anew + other(late)}, mesh.AccessLog{Gap: "its log begins at 2026-08-20T13:00:00Z"}},
		{"a log before that is gone", []string{anew + after}, mesh.AccessLog{Gap: "read the log of the process before in Pod istio-system/ztunnel-a: "}},
		{"empty", []string{""}, mesh.AccessLog{Gap: "is empty"}},
		{"forbidden", nil, mesh.AccessLog{Gap: "get on pods/log in namespace istio-system is missing"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := on("a", func(pod *corev1.Pod) {
				pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "istio-proxy", Ready: true, RestartCount: 1}}
			})
			evidence := &mesh.Evidence{Nodes: map[string]mesh.NodeEvidence{"a": {Instance: "kept"}}}
			err := kubelet(t, pod, test.logs).AskAccessLogs(t.Context(), evidence, map[string]map[string]time.Time{"a": {"shop": enrolled}})
			if err != nil {
				t.Fatal(err)
			}
			got := evidence.Nodes["a"].AccessLogs["shop"]
			if !strings.Contains(got.Gap, test.want.Gap) || (test.want.Gap == "") != (got.Gap == "") {
				t.Errorf("the gap is %q, want %q", got.Gap, test.want.Gap)
			}
			got.Gap = test.want.Gap
			if diff := cmp.Diff(test.want, got); diff != "" || evidence.Nodes["a"].Instance != "kept" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// That logging was on before one namespace was enrolled says nothing of the time after
// another was.
func TestAskAccessLogsOfSeveralNamespaces(t *testing.T) {
	const log = "2026-08-20T11:00:00Z 2026-08-20T11:00:00.000000Z\tinfo\tztunnel\tversion: 1.31\t\n2026-08-20T11:30:00Z " + inbound + "\n"
	early, late := time.Date(2026, 8, 20, 11, 0, 0, 0, time.UTC), time.Date(2026, 8, 20, 12, 0, 0, 0, time.UTC)
	evidence := &mesh.Evidence{Nodes: map[string]mesh.NodeEvidence{"a": {}}}
	wanted := map[string]map[string]time.Time{"a": {"shop": early, "idle": early, "other": late}}
	if err := kubelet(t, on("a"), []string{log}).AskAccessLogs(t.Context(), evidence, wanted); err != nil {
		t.Fatal(err)
	}
	logs := evidence.Nodes["a"].AccessLogs
	if logs["shop"] != (mesh.AccessLog{Inbound: 1}) || logs["idle"] != (mesh.AccessLog{}) || !strings.Contains(logs["other"].Gap, "has no connection of anybody") {
		t.Errorf("the logs have %+v", logs)
	}
}
