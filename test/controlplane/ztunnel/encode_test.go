package ztunnel

import (
	"encoding/json"
	"testing"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"
)

func encoded(t *testing.T, value any, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	content, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestEncodeWorkload(t *testing.T) {
	tests := []struct {
		name     string
		workload *workloadapi.Workload
		want     string
	}{
		{
			name:     "what is left out",
			workload: &workloadapi.Workload{Uid: "cluster//Pod/shop/cart", Name: "cart", Namespace: "shop"},
			want: `{"workloadIps":[],"protocol":"TCP","networkMode":"Standard","uid":"cluster//Pod/shop/cart","name":"cart",` +
				`"namespace":"shop","trustDomain":"cluster.local","serviceAccount":"default","workloadType":"deployment",` +
				`"status":"Healthy","clusterId":"Kubernetes","capacity":1}`,
		},
		{
			name: "a captured pod",
			workload: &workloadapi.Workload{
				Uid: "cluster//Pod/shop/cart", Name: "cart", Namespace: "shop", ServiceAccount: "cart", TrustDomain: "mesh.example",
				Addresses: [][]byte{{10, 244, 0, 7}}, Node: "node-1", TunnelProtocol: workloadapi.TunnelProtocol_HBONE,
				WorkloadType: workloadapi.WorkloadType_POD, WorkloadName: "cart", CanonicalName: "cart", CanonicalRevision: "v1",
				ClusterId: "cluster", Network: "net", AuthorizationPolicies: []string{"shop/guard"},
				Services: map[string]*workloadapi.PortList{"shop/cart.shop.svc.cluster.local": {}, "shop/all.shop.svc.cluster.local": {}},
				Waypoint: &workloadapi.GatewayAddress{
					Destination: &workloadapi.GatewayAddress_Hostname{Hostname: &workloadapi.NamespacedHostname{
						Namespace: "shop", Hostname: "waypoint.shop.svc.cluster.local",
					}},
					HboneMtlsPort: 15008,
				},
			},
			want: `{"workloadIps":["10.244.0.7"],"waypoint":{"destination":"shop/waypoint.shop.svc.cluster.local","hboneMtlsPort":15008},` +
				`"protocol":"HBONE","networkMode":"Standard","uid":"cluster//Pod/shop/cart","name":"cart","namespace":"shop",` +
				`"trustDomain":"mesh.example","serviceAccount":"cart","network":"net","workloadName":"cart","workloadType":"pod",` +
				`"canonicalName":"cart","canonicalRevision":"v1","node":"node-1","authorizationPolicies":["shop/guard"],"status":"Healthy",` +
				`"clusterId":"cluster","services":["shop/all.shop.svc.cluster.local","shop/cart.shop.svc.cluster.local"],"capacity":1}`,
		},
		{
			name: "a sidecar",
			workload: &workloadapi.Workload{
				Uid: "cluster//Pod/shop/pay", Name: "pay", Namespace: "shop", ServiceAccount: "pay",
				TunnelProtocol: workloadapi.TunnelProtocol_HBONE, NativeTunnel: true, Status: workloadapi.WorkloadStatus_UNHEALTHY,
				NetworkMode: workloadapi.NetworkMode_HOST_NETWORK, Capacity: wrapperspb.UInt32(3), Hostname: "pay.example",
				Locality:          &workloadapi.Locality{Region: "r", Zone: "z"},
				ApplicationTunnel: &workloadapi.ApplicationTunnel{Protocol: workloadapi.ApplicationTunnel_PROXY, Port: 15088},
				NetworkGateway: &workloadapi.GatewayAddress{
					Destination:   &workloadapi.GatewayAddress_Address{Address: &workloadapi.NetworkAddress{Network: "net", Address: []byte{1, 2, 3, 4}}},
					HboneMtlsPort: 15008,
				},
			},
			want: `{"workloadIps":[],"networkGateway":{"destination":"net/1.2.3.4","hboneMtlsPort":15008},"protocol":"HBONE",` +
				`"networkMode":"HostNetwork","uid":"cluster//Pod/shop/pay","name":"pay","namespace":"shop","trustDomain":"cluster.local",` +
				`"serviceAccount":"pay","workloadType":"deployment","hostname":"pay.example","nativeTunnel":true,` +
				`"applicationTunnel":{"protocol":"PROXY","port":15088},"status":"Unhealthy","clusterId":"Kubernetes",` +
				`"locality":{"region":"r","zone":"z","subzone":""},"capacity":3}`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			workload, err := encodeWorkload(test.workload)
			if got := encoded(t, workload, err); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestRefusedWorkloads(t *testing.T) {
	for name, workload := range map[string]*workloadapi.Workload{
		"legacy protocol":          {TunnelProtocol: workloadapi.TunnelProtocol_LEGACY_ISTIO_MTLS},
		"broken address":           {Addresses: [][]byte{{1, 2, 3}}},
		"waypoint without address": {Waypoint: &workloadapi.GatewayAddress{}},
	} {
		if _, err := encodeWorkload(workload); err == nil {
			t.Errorf("%s: the workload is accepted", name)
		}
	}
}

func TestEncodeService(t *testing.T) {
	whole, part := uint32(32), uint32(24)
	tests := []struct {
		name    string
		service *workloadapi.Service
		want    string
	}{
		{
			name:    "headless",
			service: &workloadapi.Service{Name: "cart", Namespace: "shop", Hostname: "cart.shop.svc.cluster.local"},
			want: `{"name":"cart","namespace":"shop","hostname":"cart.shop.svc.cluster.local","vips":[],"ports":{},"endpoints":{},` +
				`"subjectAltNames":[],"canonical":false,"visibility":"Public"}`,
		},
		{
			name: "with all that there is",
			service: &workloadapi.Service{
				Name: "cart", Namespace: "shop", Hostname: "cart.shop.svc.cluster.local",
				Addresses: []*workloadapi.NetworkAddress{
					{Network: "net", Address: []byte{10, 96, 0, 7}},
					{Address: []byte{10, 96, 0, 8}, Length: &whole},
					{Network: "net", Address: []byte{10, 97, 0, 0}, Length: &part},
				},
				Ports:           []*workloadapi.Port{{ServicePort: 80, TargetPort: 8080}},
				SubjectAltNames: []string{"spiffe://one"},
				Waypoint: &workloadapi.GatewayAddress{
					Destination:   &workloadapi.GatewayAddress_Address{Address: &workloadapi.NetworkAddress{Address: []byte{10, 96, 0, 9}}},
					HboneMtlsPort: 15008,
				},
				WeightedWaypoints: []*workloadapi.WeightedWaypoint{{
					Destination: &workloadapi.GatewayAddress{Destination: &workloadapi.GatewayAddress_Hostname{
						Hostname: &workloadapi.NamespacedHostname{Namespace: "shop", Hostname: "canary"},
					}},
					Weight: 10,
				}},
				LoadBalancing: &workloadapi.LoadBalancing{
					RoutingPreference: []workloadapi.LoadBalancing_Scope{workloadapi.LoadBalancing_NETWORK, workloadapi.LoadBalancing_NODE},
					Mode:              workloadapi.LoadBalancing_FAILOVER,
					HealthPolicy:      workloadapi.LoadBalancing_ALLOW_ALL,
				},
				IpFamilies: workloadapi.IPFamilies_DUAL, Canonical: true, Visibility: workloadapi.Service_NAMESPACE,
			},
			want: `{"name":"cart","namespace":"shop","hostname":"cart.shop.svc.cluster.local","vips":["net/10.96.0.7","/10.96.0.8"],` +
				`"cidrVips":[{"network":"net","cidr":"10.97.0.0/24"}],"ports":{"80":8080},"endpoints":{},"subjectAltNames":["spiffe://one"],` +
				`"waypoint":{"destination":"/10.96.0.9","hboneMtlsPort":15008},` +
				`"weightedWaypoints":[{"destination":{"destination":"shop/canary","hboneMtlsPort":0},"weight":10}],` +
				`"loadBalancer":{"routingPreferences":["Network","Node"],"mode":"Failover","healthPolicy":"AllowAll"},` +
				`"ipFamilies":"Dual","canonical":true,"visibility":"Namespace"}`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			service, err := encodeService(test.service)
			if got := encoded(t, service, err); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestEncodePolicy(t *testing.T) {
	tests := []struct {
		name   string
		policy *security.Authorization
		want   string
	}{
		{
			name:   "allow nothing",
			policy: &security.Authorization{Name: "nothing", Namespace: "shop", Scope: security.Scope_NAMESPACE},
			want:   `{"name":"nothing","namespace":"shop","scope":"Namespace","action":"Allow","rules":[],"dryRun":false}`,
		},
		{
			// What is left of a rule that had only HTTP attributes. Ztunnel
			// skips the empty match, so that the rule never holds.
			name: "an empty match",
			policy: &security.Authorization{
				Name: "http", Namespace: "shop", Action: security.Action_DENY, Scope: security.Scope_WORKLOAD_SELECTOR,
				Groups: []*security.Group{{Rules: []*security.Rules{{Matches: []*security.Match{{}}}}}},
			},
			want: `{"name":"http","namespace":"shop","scope":"WorkloadSelector","action":"Deny","rules":[[[{}]]],"dryRun":false}`,
		},
		{
			name: "all kinds of matches",
			policy: &security.Authorization{
				Name: "all", Namespace: "istio-system", DryRun: true,
				Groups: []*security.Group{{Rules: []*security.Rules{{Matches: []*security.Match{{
					Namespaces:      []*security.StringMatch{{MatchType: &security.StringMatch_Exact{Exact: "a"}}},
					NotNamespaces:   []*security.StringMatch{{MatchType: &security.StringMatch_Prefix{Prefix: "b"}}},
					Principals:      []*security.StringMatch{{MatchType: &security.StringMatch_Suffix{Suffix: "c"}}, {}},
					NotPrincipals:   []*security.StringMatch{{MatchType: &security.StringMatch_Presence{Presence: &emptypb.Empty{}}}},
					ServiceAccounts: []*security.ServiceAccountMatch{{Namespace: "d", ServiceAccount: "e"}},
					SourceIps:       []*security.Address{{Address: []byte{10, 0, 0, 0}, Length: 8}, {Address: []byte{1}}},
					DestinationIps:  []*security.Address{{Address: []byte{10, 0, 0, 1}, Length: 32}},
					DestinationPorts: []uint32{
						80, 443,
					},
					NotDestinationPorts: []uint32{22},
				}}}}}},
			},
			want: `{"name":"all","namespace":"istio-system","scope":"Global","action":"Allow","rules":[[[{"namespaces":[{"Exact":"a"}],` +
				`"notNamespaces":[{"Prefix":"b"}],"serviceAccounts":[{"namespace":"d","serviceAccount":"e"}],"principals":[{"Suffix":"c"}],` +
				`"notPrincipals":[{"Presence":[]}],"sourceIps":["10.0.0.0/8"],"destinationIps":["10.0.0.1/32"],` +
				`"destinationPorts":[80,443],"notDestinationPorts":[22]}]]],"dryRun":true}`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := encoded(t, encodePolicy(test.policy), nil); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}
