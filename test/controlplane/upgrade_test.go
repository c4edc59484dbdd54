package controlplane

import (
	"context"
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestInstallingARevisionAgain(t *testing.T) {
	first, err := plane.InstallIstio(t.Context(), IstioOptions{Profile: ProfileMinimal, Revision: "again"})
	if err != nil {
		t.Fatal(err)
	}
	second, err := plane.InstallIstio(t.Context(), IstioOptions{
		Profile:     ProfileMinimal,
		Revision:    "again",
		MeshConfig:  map[string]any{"accessLogFile": "/dev/stdout"},
		Set:         []string{"values.pilot.env.PILOT_ENABLE_AMBIENT=true"},
		Environment: map[string]string{"PILOT_DEBOUNCE_AFTER": "50ms"},
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-first.process.process.Done():
	default:
		t.Error("the first istiod still runs")
	}
	mesh, err := plane.Client().CoreV1().ConfigMaps(istioNamespace).Get(t.Context(), "istio-again", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(mesh.Data["mesh"], "accessLogFile: /dev/stdout") {
		t.Errorf("the mesh configuration is\n%s", mesh.Data["mesh"])
	}
	if err := answers(t.Context(), plane.plain, "http://"+second.Monitoring+"/version"); err != nil {
		t.Error(err)
	}
	namespace := newNamespace(t, "installed-again", map[string]string{"istio.io/rev": "again"})
	apply(t, plane, namespace, echo(1))
	if pod := readyPods(t, plane, namespace, "echo", 1)[0]; revisionOf(&pod) != "again" {
		t.Errorf("the pod was injected by %q", revisionOf(&pod))
	}
}

func TestZtunnelRollsOut(t *testing.T) {
	namespace := newNamespace(t, "ztunnel-rollout", ambientLabels())
	apply(t, plane, namespace, echo(1))
	pod := allCaptured(t, namespace, 1)[0]
	before := plane.Ztunnel(pod.Spec.NodeName)

	for _, arguments := range [][]string{{"restart"}, {"status", "--timeout", patience.String()}} {
		arguments = append([]string{"rollout", arguments[0], "--namespace", istioNamespace, "daemonset/ztunnel"}, arguments[1:]...)
		if _, err := plane.Kubectl(t.Context(), arguments...); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "another ztunnel serves the node", func(context.Context) error {
		if after := plane.Ztunnel(pod.Spec.NodeName); after == nil || after == before {
			return errors.New("it does not")
		}
		return nil
	})
	allCaptured(t, namespace, 1)
}
