package ztunnel_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/ztunnel"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// istiodServer has the Service istio-system/istiod, a Service without selector and a pod
// of the first, does not let services of the namespace closed be read, and forwards
// nothing.
func istiodServer(t *testing.T) *ztunnel.Reader {
	t.Helper()
	service := func(name string, selector map[string]string) corev1.Service {
		return corev1.Service{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: name},
			Spec: corev1.ServiceSpec{Selector: selector},
		}
	}
	answers := map[string]any{
		"/api/v1/namespaces/istio-system/services/istiod": service("istiod", map[string]string{"app": "istiod"}),
		"/api/v1/namespaces/istio-system/services/remote": service("remote", nil),
		"/api/v1/namespaces/istio-system/pods": corev1.PodList{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []corev1.Pod{*fixture.Pod("istio-system", "istiod-x")},
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer, found := answers[request.URL.Path]
		switch {
		case found:
			_ = json.NewEncoder(w).Encode(answer)
		case strings.HasPrefix(request.URL.Path, "/api/v1/namespaces/closed/"), strings.HasSuffix(request.URL.Path, "/portforward"):
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(apierrors.NewForbidden(corev1.Resource("services"), "", nil).Status())
		default:
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(apierrors.NewNotFound(corev1.Resource("services"), "").Status())
		}
	}))
	t.Cleanup(server.Close)
	reader, err := ztunnel.NewReader(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return reader
}

func TestAskIstiodsFindsThemByTheirNamesInTheClustersDNS(t *testing.T) {
	const asked = "port-forward to Pod istio-system/istiod-x: "
	for address, want := range map[string]struct {
		problem   string
		elsewhere bool
	}{
		"https://istiod.istio-system.svc:15012":               {asked, false},
		"https://istiod.istio-system.svc.cluster.local:15012": {asked, false},
		"https://istiod.istio-system:15012":                   {asked, false},
		"https://remote.istio-system:15012":                   {"ztunnel learns of the mesh from Service istio-system/remote, which selects no pods", true},
		"https://istiod.example:15012":                        {"ztunnel learns of the mesh from istiod.example:15012, which is no Service", true},
		"https://istiod.closed:15012":                         {"get Service closed/istiod, from which ztunnel learns of the mesh: ", false},
		"https://gone.istio-system.svc:15012":                 {"get Service istio-system/gone, from which ztunnel learns of the mesh: ", false},
		"https://istiod.mesh.example:15012":                   {"ztunnel learns of the mesh from istiod.mesh.example:15012, which is no Service", true},
		"https://istiod:15012":                                {asked, false},
		"https://control:15012":                               {"ztunnel learns of the mesh from control:15012, which is no Service", true},
		"https://10.0.0.1:15012":                              {"ztunnel learns of the mesh from 10.0.0.1:15012, which is no Service", true},
		"https://[fd00::1]:15012":                             {"ztunnel learns of the mesh from [fd00::1]:15012, which is no Service", true},
	} {
		t.Run(address, func(t *testing.T) {
			evidence := &mesh.Evidence{Nodes: map[string]mesh.NodeEvidence{"node-1": {Ztunnel: "istio-system/ztunnel-x", XDSAddress: address}}}
			if err := istiodServer(t).AskIstiods(t.Context(), evidence); err != nil {
				t.Fatal(err)
			}
			got, found := evidence.Istiods[address]
			if !found || !strings.HasPrefix(got.Problem, want.problem) || got.Elsewhere != want.elsewhere {
				t.Errorf("it is %+v", got)
			}
		})
	}
}
