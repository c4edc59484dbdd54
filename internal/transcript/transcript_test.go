package transcript_test

import (
	"bytes"
	"compress/gzip"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/internal/transcript"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func sightings() []transcript.Sighting {
	cart := fixture.Deployment("shop", "cart", fixture.Replicas(1))
	content := mesh.Content{
		Scope: mesh.Scope{Namespace: "shop"}, Objects: fixture.Objects(fixture.Namespace("shop", nil), cart),
		Pods: []metav1.ObjectMeta{{Name: "web", Namespace: "web"}}, HostNetwork: map[types.UID]bool{"a": true},
		Coverage: map[string]mesh.Coverage{mesh.KindPod: {State: mesh.CoverageForbidden, Reason: "not you"}}, KubernetesVersion: "v1",
	}
	call := transcript.Call{
		Caller: access.Caller{Mode: access.ModeSidecar, Address: netip.MustParseAddr("192.0.2.1")},
		Pod:    netip.MustParseAddr("10.1.0.1"), Service: "cart", Port: 80, Outcome: access.Allowed, By: "sidecar",
		Request: access.Request{HTTP: true, Method: "GET", Path: "/", Headers: map[string]string{"x": ""}},
	}
	later := content
	later.Objects = fixture.Objects(fixture.Namespace("shop", map[string]string{"istio.io/dataplane-mode": "ambient"}), cart)
	return []transcript.Sighting{
		{Seed: 1, Stage: "before", Content: content, Calls: []transcript.Call{call, call}},
		{Seed: 1, Stage: "after", Content: later, Calls: []transcript.Call{call}},
	}
}

func TestWhatIsReadIsWhatWasWritten(t *testing.T) {
	var file bytes.Buffer
	if err := transcript.Write(&file, sightings()); err != nil {
		t.Fatal(err)
	}
	read, err := transcript.Read(&file)
	if err != nil {
		t.Fatal(err)
	}
	compared := []cmp.Option{cmpopts.IgnoreUnexported(mesh.Content{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}
	if diff := cmp.Diff(sightings(), read, compared...); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
}

func TestADamagedFileIsNone(t *testing.T) {
	var file bytes.Buffer
	if err := transcript.Write(&file, sightings()); err != nil {
		t.Fatal(err)
	}
	half := file.Bytes()[:file.Len()/2]
	if read, err := transcript.Read(bytes.NewReader(half)); err == nil {
		t.Errorf("half a file is read: %d sightings", len(read))
	}
	var stray bytes.Buffer
	compressed := gzip.NewWriter(&stray)
	if _, err := compressed.Write([]byte(`{"sighting": {"seed": 7, "stage": "before", "objects": [3]}}`)); err != nil {
		t.Fatal(err)
	}
	if err := compressed.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := transcript.Read(&stray); err == nil || !strings.Contains(err.Error(), "seed 7, before: objects: number 3 of 0") {
		t.Errorf("the error is %v", err)
	}
}

func TestWhatTheModelDoesNotKnow(t *testing.T) {
	call := sightings()[0].Calls[0]
	if _, err := call.Question(&access.State{}); err == nil || !strings.Contains(err.Error(), "no pod 10.1.0.1") {
		t.Errorf("the error is %v", err)
	}
}
