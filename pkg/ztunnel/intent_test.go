package ztunnel_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/ztunnel"
)

// What istiod means and what ztunnel has taken up of it are the same, however each
// writes it down.
func TestIstiodAndZtunnelAgree(t *testing.T) {
	text := func(words string) string { return base64.StdEncoding.EncodeToString([]byte(words)) }
	intent := fmt.Sprintf(`{"workloads":[
		{"uid":"Kubernetes//Pod/shop/cart-1","name":"cart-1","namespace":"shop","addresses":[%q],"tunnelProtocol":"HBONE","serviceAccount":"cart","clusterId":"Kubernetes",
		 "authorizationPolicies":["shop/b","shop/a"],"waypoint":{"hostname":{"namespace":"shop","hostname":"waypoint.shop.svc.cluster.local"},"hboneMtlsPort":15008}},
		{"uid":"Kubernetes//Pod/shop/old-1","name":"old-1","namespace":"shop","addresses":[%q],"trustDomain":"td","serviceAccount":"old","waypoint":{"address":{"network":"n","address":%q}}},
		{"uid":"Kubernetes//Pod/shop/side-1","name":"side-1","namespace":"shop","tunnelProtocol":"HBONE","nativeTunnel":true,"serviceAccount":"side"},
		{"uid":"other//Pod/shop/far-1","name":"far-1","namespace":"shop"}],
	"services":[{"name":"cart","namespace":"shop","hostname":"cart.shop.svc.cluster.local","addresses":[{"network":"n","address":%q},{"address":%q,"length":24}],
		"waypoint":{"hostname":{"namespace":"shop","hostname":"waypoint.shop.svc.cluster.local"}}},{"name":"bare","namespace":"shop","hostname":"bare.shop.svc.cluster.local"}],
	"policies":[{"name":"a","namespace":"shop","scope":"WORKLOAD_SELECTOR","action":"DENY","groups":[{"rules":[{"matches":[
		{"namespaces":[{"exact":"x"}],"notPrincipals":[{"prefix":"y"},{"presence":{}}],"sourceIps":[{"address":"CgAAAA==","length":8}],"destinationPorts":[80],
		 "serviceAccounts":[{"namespace":"shop","serviceAccount":"web"}]}]},{}]}]},
		{"name":"none","namespace":"shop","scope":"NAMESPACE"}]}`, text("10.0.0.1"), text("10.0.0.2"), text("10.9.0.1"), text("10.1.0.1"), text("10.2.0.0"))
	dump := `{"config":{"clusterId":"Kubernetes"},"workloadState":{},"workloads":[
		{"uid":"Kubernetes//Pod/shop/cart-1","name":"cart-1","namespace":"shop","workloadIps":["10.0.0.1"],"protocol":"HBONE","trustDomain":"cluster.local","serviceAccount":"cart",
		 "authorizationPolicies":["shop/a","shop/b"],"waypoint":{"destination":"shop/waypoint.shop.svc.cluster.local","hboneMtlsPort":15008}},
		{"uid":"Kubernetes//Pod/shop/old-1","name":"old-1","namespace":"shop","workloadIps":["10.0.0.2"],"protocol":"TCP","trustDomain":"td","serviceAccount":"old","waypoint":{"destination":"n/10.9.0.1"}},
		{"uid":"Kubernetes//Pod/shop/side-1","name":"side-1","namespace":"shop","workloadIps":[],"protocol":"HBONE","nativeTunnel":true,"serviceAccount":"side"}],
	"services":[{"name":"cart","namespace":"shop","hostname":"cart.shop.svc.cluster.local","vips":["n/10.1.0.1"],"cidrVips":[{"network":"","cidr":"10.2.0.0/24"}],
		"waypoint":{"destination":"shop/waypoint.shop.svc.cluster.local"}},{"name":"bare","namespace":"shop","hostname":"bare.shop.svc.cluster.local","vips":[]}],
	"policies":[{"name":"a","namespace":"shop","scope":"WorkloadSelector","action":"Deny","dryRun":false,"rules":[[[
		{"namespaces":[{"Exact":"x"}],"notPrincipals":[{"Prefix":"y"},{"Presence":[]}],"sourceIps":["10.0.0.0/8"],"destinationPorts":[80],
		 "serviceAccounts":[{"namespace":"shop","serviceAccount":"web"}]}],[]]]},
		{"name":"none","namespace":"shop","scope":"Namespace","action":"Allow","rules":[]}]}`
	meant, err := ztunnel.ParseIntent("istio-system/istiod-x", "Kubernetes", []byte(intent))
	if err != nil {
		t.Fatal(err)
	}
	known, err := ztunnel.Parse("istio-system/ztunnel-x", []byte(dump))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(meant, known.DataPlaneView); diff != "" {
		t.Errorf("(-istiod +ztunnel):\n%s", diff)
	}
	if len(meant.Workloads) != 3 || len(meant.Services) != 2 || len(meant.Policies) != 2 {
		t.Errorf("it holds %d workloads, %d services and %d policies", len(meant.Workloads), len(meant.Services), len(meant.Policies))
	}
	for of, with := range map[string]string{`"sourceIps":["10.0.0.0/8"]`: `"sourceIps":["10.0.0.0/9"]`, `"Deny"`: `"Allow"`, `{"Exact":"x"}`: `{"Suffix":"x"}`, `[80]`: `[81]`} {
		other, err := ztunnel.Parse("istio-system/ztunnel-x", []byte(strings.Replace(dump, of, with, 1)))
		if err != nil || other.Policies["shop/a"] == meant.Policies["shop/a"] {
			t.Errorf("%s instead of %s makes no difference: %v", with, of, err)
		}
	}
}

func TestParseIntentRefusesWhatIsNone(t *testing.T) {
	for _, text := range []string{"<html>", `{"workloads":3}`, `{"policies":[{"groups":[{"rules":[{"matches":[{"sourceIps":[{"address":"AA=="}]}]}]}]}]}`} {
		if _, err := ztunnel.ParseIntent("istio-system/istiod-x", "", []byte(text)); err == nil || !strings.Contains(err.Error(), "istio-system/istiod-x") {
			t.Errorf("%s: the error is %v", text, err)
		}
	}
}
