package ztunnel_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/ztunnel"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// Evidence is dated by the API server's clock where that of whoever asks is another.
func TestEvidenceIsOfTheClustersTime(t *testing.T) {
	for name, test := range map[string]struct{ ahead, want time.Duration }{
		"the same clock":      {0, 0},
		"seconds apart":       {-30 * time.Second, 0},
		"the cluster's ahead": {time.Hour, time.Hour},
		"it is behind":        {-24 * time.Hour, -24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			requests := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				requests++
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Date", time.Now().Add(test.ahead).UTC().Format(http.TimeFormat))
				_ = json.NewEncoder(w).Encode(corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}})
			}))
			defer server.Close()
			reader, err := ztunnel.NewReader(&rest.Config{Host: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			evidence, err := reader.Collect(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if off := time.Until(evidence.Taken) - test.want; off.Abs() > 10*time.Second {
				t.Errorf("it is taken %s from what the cluster says", off)
			}
			if requests != 1 {
				t.Errorf("it takes %d requests", requests)
			}
		})
	}
}
