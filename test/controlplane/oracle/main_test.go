package oracle

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane"
)

// plane and oracle are shared by the tests, each of which uses namespaces of its
// own.
var (
	plane  *controlplane.ControlPlane
	oracle *Oracle
)

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	plane, err = controlplane.Start(ctx, controlplane.Options{Progress: func(message string) { fmt.Fprintln(os.Stderr, message) }})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()
	istio, err := plane.InstallIstio(ctx, controlplane.IstioOptions{
		MeshConfig: map[string]any{"extensionProviders": []any{map[string]any{
			"name":              "guard",
			"envoyExtAuthzGrpc": map[string]any{"service": "guard.istio-system.svc.cluster.local", "port": 9000},
		}}},
		// Istiod admits few new streams per second, and each proxy is one.
		Environment: map[string]string{"PILOT_MAX_REQUESTS_PER_SECOND": "10000"},
	})
	if err != nil {
		return 1, err
	}
	if oracle, err = New(plane.RESTConfig(), istio.GRPC); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, oracle.Close(ctx)) }()
	return m.Run(), nil
}

// newNamespace creates a namespace that the end of the test deletes.
func newNamespace(t *testing.T, name string, labels map[string]string) string {
	t.Helper()
	namespaces := plane.Client().CoreV1().Namespaces()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if _, err := namespaces.Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := namespaces.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return name
}

func sidecarLabels() map[string]string {
	return map[string]string{"istio-injection": "enabled"}
}

func ambientLabels() map[string]string {
	return map[string]string{"istio.io/dataplane-mode": "ambient"}
}

// apply applies a manifest with kubectl.
func apply(t *testing.T, namespace, manifest string) {
	t.Helper()
	file := t.TempDir() + "/manifest.yaml"
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := plane.Kubectl(t.Context(), "apply", "--namespace", namespace, "--filename", file); err != nil {
		t.Fatal(err)
	}
}

const echo = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo}
spec:
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      containers:
      - {name: echo, image: echo}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  selector: {app: echo}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: tcp, port: 9000}
  - {name: sniffed, port: 9100}
---
`

const waypoint = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---
`

// readyPod waits until the pod of a Deployment with the label app is ready, is
// captured where it should be, and is an endpoint.
func readyPod(t *testing.T, namespace, selector string, captured bool) types.NamespacedName {
	t.Helper()
	var name types.NamespacedName
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		pods, err := plane.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil || len(pods.Items) != 1 {
			return false, err
		}
		pod := &pods.Items[0]
		name = types.NamespacedName{Namespace: namespace, Name: pod.Name}
		slices, err := plane.Client().DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{})
		if err != nil || captured && pod.Annotations["ambient.istio.io/redirection"] != "enabled" {
			return false, err
		}
		for _, slice := range slices.Items {
			for _, endpoint := range slice.Endpoints {
				if endpoint.TargetRef != nil && endpoint.TargetRef.Name == pod.Name && endpoint.Conditions.Ready != nil && *endpoint.Conditions.Ready {
					return true, nil
				}
			}
		}
		return false, nil
	})
	if err != nil {
		t.Fatalf("pod %s of %s: %v", selector, namespace, err)
	}
	return name
}

// bindWaypoint deploys a waypoint and binds the namespace to it.
func bindWaypoint(t *testing.T, namespace string) {
	t.Helper()
	apply(t, namespace, waypoint)
	if _, err := plane.Kubectl(t.Context(), "wait", "gateway/waypoint", "--namespace", namespace,
		"--for", "condition=Programmed", "--timeout", "30s"); err != nil {
		t.Fatal(err)
	}
	readyPod(t, namespace, "gateway.networking.k8s.io/gateway-name=waypoint", false)
	if _, err := plane.Kubectl(t.Context(), "label", "namespace", namespace, "istio.io/use-waypoint=waypoint"); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, namespaces ...string) *State {
	t.Helper()
	state, err := oracle.Read(t.Context(), namespaces...)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// callerAddress is where the callers of tests are.
var callerAddress = netip.MustParseAddr("10.9.8.7")

// from is a caller of the service account default.
func from(mode Mode, namespace string) Caller {
	return Caller{Identity: "spiffe://cluster.local/ns/" + namespace + "/sa/default", Mode: mode, Address: callerAddress}
}

func outside() Caller { return Caller{Mode: Outside, Address: callerAddress} }

// get is a request for a path.
func get(path string) Request {
	return Request{HTTP: true, Method: "GET", Path: path, Host: "echo"}
}

// decision is a call and what is to become of it.
type decision struct {
	name   string
	caller Caller
	port   uint32
	direct bool
	with   Request
	want   Outcome
}

func (d decision) check(t *testing.T, state *State, pod types.NamespacedName) {
	t.Helper()
	verdict, err := state.Decide(Call{
		Caller:  d.caller,
		Service: types.NamespacedName{Namespace: pod.Namespace, Name: "echo"},
		Port:    d.port,
		Pod:     pod,
		Direct:  d.direct,
		Request: d.with,
	})
	if err != nil {
		t.Errorf("%s: %v", d.name, err)
	} else if verdict.Outcome != d.want {
		t.Errorf("%s: got %+v, want %s", d.name, verdict, d.want)
	}
}

func checkAll(t *testing.T, state *State, pod types.NamespacedName, decisions []decision) {
	t.Helper()
	for _, d := range decisions {
		d.check(t, state, pod)
	}
}
