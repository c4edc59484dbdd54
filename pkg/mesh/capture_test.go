package mesh_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

const (
	includeInbound = "traffic.sidecar.istio.io/includeInboundPorts"
	excludeInbound = "traffic.sidecar.istio.io/excludeInboundPorts"
	interception   = "sidecar.istio.io/interceptionMode"
)

var (
	nothing  = mesh.InboundCapture{Limited: true}
	only80   = mesh.InboundCapture{Limited: true, Ports: []uint32{80}}
	allBut90 = mesh.InboundCapture{Ports: []uint32{90}}
)

func TestInboundCaptureOfPods(t *testing.T) {
	told := func(name string, arguments ...string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: name, Args: append([]string{"istio-iptables", "-p", "15001"}, arguments...)})
		}
	}
	annotated := func(pairs ...string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			for i := 0; i < len(pairs); i += 2 {
				pod.Annotations[pairs[i]] = pairs[i+1]
			}
		}
	}
	for name, test := range map[string]struct {
		edit func(*corev1.Pod)
		want mesh.InboundCapture
	}{
		"nobody says anything":       {annotated(), mesh.InboundCapture{}},
		"as the injector writes it":  {told("istio-validation", "-m", "REDIRECT", "-b", "*", "-d", "15090,15021,15020"), mesh.InboundCapture{}},
		"some are left out":          {told("istio-init", "-b", "*", "-d", "15090,15021,90,15020"), allBut90},
		"some are taken":             {told("istio-init", "-b", "80", "-d", "80,15020"), only80},
		"none is taken":              {told("istio-init", "-b", "", "-d", "15020"), nothing},
		"another container's words":  {told("migrate", "-b", "", "-d", "15020"), mesh.InboundCapture{}},
		"the annotations where none": {annotated(excludeInbound, "15020, 90"), allBut90},
		"a limit by annotation":      {annotated(includeInbound, "80", excludeInbound, "80"), only80},
		"an empty limit":             {annotated(includeInbound, ""), nothing},
		"no interception":            {annotated(interception, "NONE"), nothing},
		"no interception, says Envoy": {func(pod *corev1.Pod) {
			pod.Spec.Containers[1].Env = []corev1.EnvVar{{Name: "ISTIO_META_INTERCEPTION_MODE", Value: "NONE"}}
		}, nothing},
		"a status port of its own": {annotated(excludeInbound, "90,7777", "status.sidecar.istio.io/port", "7777"), allBut90},
		"what is no port":          {annotated(excludeInbound, "x,90,99999,-1,"), allBut90},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := fixture.Snapshot(fixture.Installation(), fixture.Namespace("shop", nil), fixture.Pod("shop", "cart", fixture.Sidecar, test.edit))
			if diff := cmp.Diff(test.want, snapshot.Pods("shop")[0].InboundCapture(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestInboundCaptureCaptures(t *testing.T) {
	for _, test := range []struct {
		capture mesh.InboundCapture
		want    map[uint32]bool
	}{
		{mesh.InboundCapture{}, map[uint32]bool{80: true, 90: true}},
		{allBut90, map[uint32]bool{80: true, 90: false}},
		{only80, map[uint32]bool{80: true, 90: false}},
		{nothing, map[uint32]bool{80: false, 90: false}},
	} {
		for port, want := range test.want {
			if test.capture.Captures(port) != want {
				t.Errorf("%+v captures %d: want %t", test.capture, port, want)
			}
		}
	}
}

func TestCaptureDefaults(t *testing.T) {
	for name, test := range map[string]struct {
		values, mesh string
		annotations  map[string]string
		want         mesh.InboundCapture
	}{
		"as Istio ships them":            {values: `{"global":{"proxy":{"includeInboundPorts":"*","excludeInboundPorts":""}}}`},
		"nothing about it":               {values: `{}`},
		"a port left out of all":         {values: `{"global":{"proxy":{"excludeInboundPorts":90}}}`, want: allBut90},
		"only one taken":                 {values: `{"global":{"proxy":{"includeInboundPorts":"80"}}}`, want: only80},
		"none taken":                     {values: `{"global":{"proxy":{"includeInboundPorts":""}}}`, want: nothing},
		"no interception":                {values: `{}`, mesh: "defaultConfig: {interceptionMode: NONE}", want: nothing},
		"the template has the last word": {values: `{"global":{"proxy":{"includeInboundPorts":""}}}`, annotations: map[string]string{includeInbound: "*", excludeInbound: "90"}, want: allBut90},
		"so has its configuration":       {values: `{}`, mesh: "defaultConfig: {interceptionMode: REDIRECT}", annotations: map[string]string{"proxy.istio.io/config": "interceptionMode: NONE"}, want: nothing},
	} {
		t.Run(name, func(t *testing.T) {
			injector := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio-sidecar-injector, namespace: istio-system, labels: {istio.io/rev: default}}\ndata: {config: 'policy: enabled', values: '" + test.values + "'}"
			configuration := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system, labels: {istio.io/rev: default}}\ndata: {mesh: '" + test.mesh + "'}"
			snapshot := fixture.Snapshot(injector, configuration, fixture.Namespace("shop", nil), fixture.Deployment("shop", "cart", func(d *appsv1.Deployment) { d.Spec.Template.Annotations = test.annotations }))
			template := snapshot.Workloads("shop")[0].Template
			for _, revision := range []string{"", "default"} {
				got := snapshot.CaptureDefaults().Of(revision, template.Annotations)
				if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("of revision %q (-want +got):\n%s", revision, diff)
				}
			}
		})
	}
}
