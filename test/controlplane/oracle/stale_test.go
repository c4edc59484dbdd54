package oracle

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"istio.io/istio/pkg/workloadapi"
)

// A sidecar that is connected hears of endpoints when istiod pushes them. When a pod is
// captured, or no longer, istiod does so for the Services that select it. Of what is
// behind an EndpointSlice that somebody has written it says nothing, not even when that is
// written again as it was, and nothing of what a ServiceEntry selects, until something about
// the Service or the ServiceEntry is different.
func TestEndpointsThatPeopleWrite(t *testing.T) {
	noneTerminating(t)
	namespace := newNamespace(t, "written", nil)
	apply(t, namespace, echo+`
apiVersion: v1
kind: Service
metadata: {name: written}
spec: {ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: marker}
spec: {ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: entry}
spec:
  hosts: [entry.written.svc.cluster.local]
  ports: [{name: http, number: 80, targetPort: 8080, protocol: HTTP}]
  location: MESH_INTERNAL
  resolution: STATIC
  workloadSelector: {labels: {app: echo}}
`)
	pod := readyPod(t, namespace, "app=echo", false)
	object, err := plane.Client().CoreV1().Pods(namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	slices := 0
	write := func(service, endpoint string) {
		t.Helper()
		slices++
		apply(t, namespace, fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %s-1, labels: {kubernetes.io/service-name: %s}, annotations: {example.com/written: "%d"}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [%s]
`, service, service, slices, endpoint))
	}
	bound := fmt.Sprintf("{addresses: [%s], conditions: {ready: true}, targetRef: {kind: Pod, namespace: %s, name: %s, uid: %s}}", object.Status.PodIP, namespace, pod.Name, object.UID)
	write("written", bound)
	write("marker", "{addresses: [192.0.2.1]}")
	if err := oracle.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	sidecar := subscribe(t, namespace, "echo", "written", "marker", "entry")
	want := func(when string, selecting, apart bool) {
		t.Helper()
		// What is pushed together with this comes with all endpoints: istiod must have
		// told ztunnel before.
		mark := fmt.Sprintf("192.0.2.%d", 2+slices)
		write("marker", "{addresses: ["+mark+"]}")
		sidecar.until(t, func() bool { return sidecar.tunnels["marker"][mark] != nil })
		for service, tunnelled := range map[string]bool{"echo": selecting, "written": apart, "entry": apart} {
			if got := sidecar.tunnels[service][object.Status.PodIP]; got == nil || *got != tunnelled {
				t.Errorf("%s, the sidecar speaks HBONE by Service %s: %t, want %t", when, service, got != nil && *got, tunnelled)
			}
		}
	}
	capture := func(mode string) {
		t.Helper()
		patch := `{"metadata":{"labels":{"istio.io/dataplane-mode":` + mode + `}}}`
		if _, err := plane.Client().CoreV1().Namespaces().Patch(t.Context(), namespace, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
			state, err := oracle.read(ctx, []string{namespace})
			return err == nil && (state.pods[pod].workload.TunnelProtocol == workloadapi.TunnelProtocol_HBONE) == (mode != "null"), nil
		})
		if err != nil {
			t.Fatalf("istiod has not told ztunnel of the capture: %v", err)
		}
	}
	label := func(value string) {
		t.Helper()
		for _, object := range []string{"service/written", "serviceentry/entry"} {
			if _, err := plane.Kubectl(t.Context(), "label", object, "--namespace", namespace, "--overwrite", "example.com/capture="+value); err != nil {
				t.Fatal(err)
			}
		}
	}
	want("outside the mesh", false, false)
	capture(`"ambient"`)
	want("captured", true, false)
	write("written", bound)
	want("captured and written again", true, false)
	label("on")
	want("captured and told", true, true)
	capture("null")
	want("captured no longer", false, true)
	write("written", bound)
	want("captured no longer and written again", false, true)
	label("off")
	want("captured no longer and told", false, false)
}

// subscription is a sidecar that stays connected.
type subscription struct {
	*envoyStream
	// tunnels says for each Service and each address behind it whether HBONE reaches it.
	tunnels map[string]map[string]*bool
}

func subscribe(t *testing.T, namespace string, services ...string) *subscription {
	t.Helper()
	node, err := syntheticNode(kindSidecar, namespace, nil)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := openEnvoy(t.Context(), oracle.connection, node)
	if err != nil {
		t.Fatal(err)
	}
	s := &subscription{stream, map[string]map[string]*bool{}}
	if _, err := stream.clusters(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, service := range services {
		names = append(names, outboundCluster(80, service+"."+namespace+".svc.cluster.local"))
	}
	if err := stream.stream.Send(&discovery.DiscoveryRequest{Node: node, TypeUrl: endpointType, ResourceNames: names}); err != nil {
		t.Fatal(err)
	}
	s.until(t, func() bool { return len(s.tunnels) == len(services) })
	return s
}

// until takes in what is pushed until a condition holds.
func (s *subscription) until(t *testing.T, condition func() bool) {
	t.Helper()
	for !condition() {
		response, err := s.stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if response.TypeUrl != endpointType {
			continue
		}
		for _, resource := range response.Resources {
			assignment := &endpoint.ClusterLoadAssignment{}
			if err := resource.UnmarshalTo(assignment); err != nil {
				t.Fatal(err)
			}
			s.take(assignment)
		}
	}
}

func (s *subscription) take(assignment *endpoint.ClusterLoadAssignment) {
	_, host, _ := strings.Cut(assignment.ClusterName, "||")
	service, _, _ := strings.Cut(host, ".")
	s.tunnels[service] = map[string]*bool{}
	for _, locality := range assignment.Endpoints {
		for _, one := range locality.LbEndpoints {
			// HBONE goes to an internal listener, by whose name the address follows.
			address, tunnelled := one.GetEndpoint().GetAddress().GetSocketAddress().GetAddress(), false
			if internal := one.GetEndpoint().GetAddress().GetEnvoyInternalAddress(); internal != nil {
				address, _, _ = strings.Cut(internal.EndpointId, ":")
				tunnelled = true
			}
			s.tunnels[service][address] = &tunnelled
		}
	}
}

// noneTerminating waits until what tests before have left behind is gone.
func noneTerminating(t *testing.T) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		namespaces, err := plane.Client().CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		for _, namespace := range namespaces.Items {
			if namespace.DeletionTimestamp != nil {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		t.Fatalf("namespaces go on being deleted: %v", err)
	}
}
