package ztunnel_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/ztunnel"
	"k8s.io/apimachinery/pkg/types"
)

const (
	cart = `{"uid":"Kubernetes//Pod/shop/cart-1","workloadIps":["10.0.0.1"],"waypoint":{"destination":"shop/waypoint.shop.mesh.internal","hboneMtlsPort":15008},` +
		`"protocol":"HBONE","name":"cart-1","namespace":"shop","serviceAccount":"cart","node":"node-1","authorizationPolicies":["shop/a","istio-system/b"],"status":"Healthy"}`
	pay      = `{"uid":"Kubernetes//Pod/pay/pay-1","protocol":"HBONE","nativeTunnel":true,"name":"pay-1","namespace":"pay","node":"node-2","authorizationPolicies":[]}`
	old      = `{"uid":"Kubernetes//Pod/hr/old-1","protocol":"TCP","name":"old-1","namespace":"hr","node":"node-2"}`
	policies = `{"name":"a","namespace":"shop","scope":"WorkloadSelector","action":"Deny","rules":[]},{"name":"b","namespace":"istio-system"}`
	states   = `"workloadState":{"uid-1":{"state":"Up","connections":{"inbound":[],"outbound":[]},"info":{"name":"cart-1"}},"uid-2":{"state":"Pending"}}`
)

func want() mesh.NodeEvidence {
	return mesh.NodeEvidence{
		Ztunnel:      "istio-system/ztunnel-x",
		Captured:     map[types.UID]mesh.CaptureState{"uid-1": mesh.CaptureUp, "uid-2": mesh.CapturePending},
		Certificates: map[string]mesh.ZtunnelCertificate{},
		DataPlaneView: mesh.DataPlaneView{
			Workloads: map[string]mesh.ZtunnelWorkload{
				"shop/cart-1": {
					Protocol: "HBONE", Addresses: []string{"10.0.0.1"}, Identity: "spiffe://cluster.local/ns/shop/sa/cart",
					Policies: []string{"istio-system/b", "shop/a"}, Waypoint: "shop/waypoint.shop.mesh.internal",
				},
				"pay/pay-1": {Protocol: "HBONE", NativeTunnel: true, Identity: "spiffe://cluster.local/ns/pay/sa/"},
				"hr/old-1":  {Protocol: "TCP", Identity: "spiffe://cluster.local/ns/hr/sa/"},
			},
			Services: map[string]mesh.ZtunnelService{},
			Policies: map[string]string{
				"shop/a":         `{"Scope":"workloadselector","Action":"deny","DryRun":false,"Rules":[]}`,
				"istio-system/b": `{"Scope":"global","Action":"allow","DryRun":false,"Rules":[]}`,
			},
		},
	}
}

func TestParse(t *testing.T) {
	for name, dump := range map[string]string{
		"workloads as an array": `{"workloads":[` + cart + `,` + pay + `,` + old + `],` + states + `,"version":{"version":"1.31"},"services":[],"policies":[` + policies + `]}`,
		"workloads as a map":    `{"workloads":{"Kubernetes//Pod/shop/cart-1":` + cart + `,"b":` + pay + `,"c":` + old + `},` + states + `,"services":{},"policies":{"a":` + strings.Replace(policies, ",{", `,"b":{`, 1) + `}}`,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ztunnel.Parse("istio-system/ztunnel-x", []byte(dump))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want(), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseOfAZtunnelThatCapturesNothing(t *testing.T) {
	for _, dump := range []string{`{"workloads":[],"workloadState":{}}`, `{"workloads":{},"workloadState":{}}`, `{"workloads":null,"workloadState":{}}`, `{"workloadState":{}}`} {
		got, err := ztunnel.Parse("a", []byte(dump))
		if err != nil || got.Captured == nil || len(got.Captured) != 0 || len(got.Workloads) != 0 || got.Problem != "" {
			t.Errorf("%s is %+v, %v", dump, got, err)
		}
	}
}

func TestParseRefusesWhatIsNoEvidence(t *testing.T) {
	for name, test := range map[string]struct{ dump, want string }{
		"no workloadState":           {`{"workloads":[]}`, "no workloadState"},
		"workloadState is null":      {`{"workloads":[],"workloadState":null}`, "no workloadState"},
		"something else":             {`{"configs":[]}`, "no workloadState"},
		"no JSON":                    {`<html>`, "invalid character"},
		"cut off":                    {`{"workloads":[` + cart, "unexpected end"},
		"workloads of another shape": {`{"workloads":3,"workloadState":{}}`, "neither an array nor a map"},
		"state of another shape":     {`{"workloads":[],"workloadState":[1]}`, "workloadState"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ztunnel.Parse("istio-system/ztunnel-x", []byte(test.dump))
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "istio-system/ztunnel-x") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// The error is about the element that is wrong, not about the shape that the
// other versions of ztunnel write.
func TestParseSaysWhichFieldIsWrong(t *testing.T) {
	for _, dump := range []string{`{"workloads":[{"name":3}],"workloadState":{}}`, `{"workloads":{"a":{"name":3}},"workloadState":{}}`} {
		if _, err := ztunnel.Parse("a", []byte(dump)); err == nil || !strings.Contains(err.Error(), "name") {
			t.Errorf("%s: the error is %v", dump, err)
		}
	}
}

// A WorkloadEntry can have the name of a pod. It is another workload, and what
// ztunnel says of it says nothing of the pod.
func TestParseDoesNotTakeAWorkloadEntryForAPod(t *testing.T) {
	const pod = `{"uid":"Kubernetes//Pod/shop/cart-1","protocol":"HBONE","name":"cart-1","namespace":"shop"}`
	const entry = `{"uid":"Kubernetes/networking.istio.io/WorkloadEntry/shop/cart-1","protocol":"TCP","name":"cart-1","namespace":"shop"}`
	for _, dump := range []string{`[` + pod + `,` + entry + `]`, `[` + entry + `,` + pod + `]`} {
		got, err := ztunnel.Parse("a", []byte(`{"workloads":`+dump+`,"workloadState":{}}`))
		if err != nil {
			t.Fatal(err)
		}
		if protocol := got.Workloads["shop/cart-1"].Protocol; protocol != "HBONE" {
			t.Errorf("the pod's protocol is %s", protocol)
		}
	}
}
