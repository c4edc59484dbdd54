package mesh_test

import (
	"slices"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

func parsed[T any](t *testing.T, text string) T {
	t.Helper()
	var value T
	if err := yaml.UnmarshalStrict([]byte(text), &value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}

func TestNetworkRulesFor(t *testing.T) {
	const ingress, egress = networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress
	tests := []struct {
		name, spec string
		direction  networkingv1.PolicyType
		restricted bool
		fields     []string
	}{
		{"no types and no rules restrict ingress", "{podSelector: {}}", ingress, true, nil},
		{"no types and no rules leave egress alone", "{podSelector: {}}", egress, false, nil},
		{"no types with egress rules restrict both", "{podSelector: {}, egress: [{}]}", egress, true, []string{"spec.egress[0]"}},
		{"no types with egress rules restrict ingress too", "{podSelector: {}, egress: [{}]}", ingress, true, nil},
		{"egress alone", "{podSelector: {}, policyTypes: [Egress], ingress: [{}]}", ingress, false, nil},
		{"ingress alone", "{podSelector: {}, policyTypes: [Ingress], egress: [{}]}", egress, false, nil},
		{"both", "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}, {}]}", ingress, true, []string{"spec.ingress[0]", "spec.ingress[1]"}},
		{"other pods", "{podSelector: {matchLabels: {app: other}}}", ingress, false, nil},
		{"these pods", "{podSelector: {matchLabels: {app: cart}}}", ingress, true, nil},
		{"these pods by expression", "{podSelector: {matchExpressions: [{key: app, operator: In, values: [cart, pay]}]}}", ingress, true, nil},
		{"not these pods by expression", "{podSelector: {matchExpressions: [{key: app, operator: DoesNotExist}]}}", ingress, false, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			policy := networkingv1.NetworkPolicy{Spec: parsed[networkingv1.NetworkPolicySpec](t, test.spec)}
			policy.Namespace, policy.Name = "shop", "a"
			rules := mesh.NetworkRulesFor([]networkingv1.NetworkPolicy{policy}, map[string]string{"app": "cart"}, test.direction)
			if rules.Restricted() != test.restricted {
				t.Errorf("restricted is %t", rules.Restricted())
			}
			var fields []string
			for _, rule := range rules.Rules {
				fields = append(fields, rule.Field())
				if rule.Policy.String() != "NetworkPolicy shop/a" {
					t.Errorf("the rule is of %s", rule.Policy)
				}
			}
			if !slices.Equal(fields, test.fields) {
				t.Errorf("the rules are %v", fields)
			}
		})
	}
}

func TestOpensTCP(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	declared := mesh.PodPorts(corev1.PodSpec{
		Containers: []corev1.Container{{Ports: []corev1.ContainerPort{
			{Name: "http", ContainerPort: 8080}, {Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP}, {Name: "dns-tcp", ContainerPort: 53, Protocol: corev1.ProtocolTCP},
		}}},
		InitContainers: []corev1.Container{
			{Ports: []corev1.ContainerPort{{Name: "once", ContainerPort: 1}}},
			{RestartPolicy: &always, Ports: []corev1.ContainerPort{{Name: "helper", ContainerPort: 9000}}},
		},
	})
	tests := []struct {
		name, ports string
		opened      []int32
		closed      []int32
	}{
		{"none", "[]", []int32{1, 8080, 15008, 65535}, nil},
		{"a number", "[{port: 8080}]", []int32{8080}, []int32{8079, 8081}},
		{"a number by TCP", "[{port: 8080, protocol: TCP}]", []int32{8080}, []int32{8081}},
		{"a number by UDP", "[{port: 8080, protocol: UDP}]", nil, []int32{8080}},
		{"a number by SCTP", "[{port: 8080, protocol: SCTP}]", nil, []int32{8080}},
		{"a range", "[{port: 8080, endPort: 8090}]", []int32{8080, 8085, 8090}, []int32{8079, 8091}},
		{"a protocol", "[{protocol: TCP}]", []int32{1, 65535}, nil},
		{"another protocol", "[{protocol: UDP}]", nil, []int32{1, 65535}},
		{"a name", "[{port: http}]", []int32{8080}, []int32{53}},
		{"a name of a UDP port", "[{port: dns}]", nil, []int32{53}},
		{"a name of a TCP port", "[{port: dns-tcp}]", []int32{53}, nil},
		{"a name by UDP", "[{port: http, protocol: UDP}]", nil, []int32{8080}},
		{"a name of an init container that stays", "[{port: helper}]", []int32{9000}, nil},
		{"a name of an init container that ends", "[{port: once}]", nil, []int32{1}},
		{"a name of nothing", "[{port: other}]", nil, []int32{8080}},
		{"several", "[{port: 1}, {port: 15008}]", []int32{1, 15008}, []int32{2}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rule := mesh.NetworkRule{Ports: parsed[[]networkingv1.NetworkPolicyPort](t, test.ports)}
			for _, port := range test.opened {
				if !rule.OpensTCP(port, declared) {
					t.Errorf("it does not open %d", port)
				}
			}
			for _, port := range test.closed {
				if rule.OpensTCP(port, declared) {
					t.Errorf("it opens %d", port)
				}
			}
		})
	}
}

func TestOpensTCPBesides(t *testing.T) {
	besides := []int32{15020, 15021}
	declared := []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}, {Name: "agent", ContainerPort: 15020}}
	for ports, want := range map[string][2]bool{ // for ingress, for egress
		"[]":                                           {true, true},
		"[{port: 8080}]":                               {true, true},
		"[{port: 15020}]":                              {false, false},
		"[{port: 15020, endPort: 15021}]":              {false, false},
		"[{port: 15020, endPort: 15022}]":              {true, true},
		"[{protocol: TCP}]":                            {true, true},
		"[{protocol: UDP}]":                            {false, false},
		"[{port: http}]":                               {true, true},
		"[{port: agent}]":                              {false, true},
		"[{port: other}]":                              {false, true},
		"[{port: other, protocol: UDP}]":               {false, false},
		"[{port: 15021}, {port: 1}]":                   {true, true},
		"[{port: 15021}, {port: other}]":               {false, true},
		"[{port: 8080, protocol: UDP}, {port: agent}]": {false, true},
	} {
		rule := mesh.NetworkRule{Direction: networkingv1.PolicyTypeIngress, Ports: parsed[[]networkingv1.NetworkPolicyPort](t, ports)}
		if rule.OpensTCPBesides(besides, declared) != want[0] {
			t.Errorf("ingress %s: %t", ports, !want[0])
		}
		rule.Direction = networkingv1.PolicyTypeEgress
		if rule.OpensTCPBesides(besides, declared) != want[1] {
			t.Errorf("egress %s: %t", ports, !want[1])
		}
	}
}

func TestPeerSelector(t *testing.T) {
	cart := mesh.NetworkPeer{Namespace: mesh.Namespace{Name: "shop", Labels: map[string]string{"team": "shop"}}, Labels: map[string]string{"app": "cart"}, Addresses: []string{"10.0.0.1"}}
	for text, want := range map[string][2]bool{ // for a policy of its own namespace, for one of another
		"{podSelector: {}}":                                 {true, false},
		"{podSelector: {matchLabels: {app: cart}}}":         {true, false},
		"{podSelector: {matchLabels: {app: pay}}}":          {false, false},
		"{namespaceSelector: {}}":                           {true, true},
		"{namespaceSelector: {matchLabels: {team: shop}}}":  {true, true},
		"{namespaceSelector: {matchLabels: {team: other}}}": {false, false},
		"{namespaceSelector: {matchLabels: {team: shop}}, podSelector: {matchLabels: {app: cart}}}":               {true, true},
		"{namespaceSelector: {matchLabels: {team: shop}}, podSelector: {matchLabels: {app: pay}}}":                {false, false},
		"{namespaceSelector: {matchExpressions: [{key: team, operator: Exists}]}}":                                {true, true},
		"{namespaceSelector: {}, podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [cart]}]}}": {false, false},
		"{ipBlock: {cidr: 0.0.0.0/0}}":                                               {false, false},
		"{podSelector: {matchExpressions: [{key: app, operator: Sometimes}]}}":       {false, false},
		"{namespaceSelector: {matchExpressions: [{key: app, operator: Sometimes}]}}": {false, false},
	} {
		var peer networkingv1.NetworkPolicyPeer
		if err := yaml.Unmarshal([]byte(text), &peer); err != nil {
			t.Fatal(err)
		}
		if got := mesh.PeerSelector(peer, "shop")(cart); got != want[0] {
			t.Errorf("%s from its own namespace: %t", text, got)
		}
		if got := mesh.PeerSelector(peer, "other")(cart); got != want[1] {
			t.Errorf("%s from another namespace: %t", text, got)
		}
	}
}

func TestBlocks(t *testing.T) {
	block := func(text string) *networkingv1.IPBlock {
		value := parsed[networkingv1.IPBlock](t, text)
		return &value
	}
	for _, test := range []struct {
		block, address string
		want           bool
	}{
		{"{cidr: 10.0.0.0/8}", "10.1.2.3", true},
		{"{cidr: 10.0.0.0/8}", "11.1.2.3", false},
		{"{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}", "10.1.2.3", false},
		{"{cidr: 10.0.0.0/8, except: [10.2.0.0/16]}", "10.1.2.3", true},
		{"{cidr: 169.254.7.127/32}", "169.254.7.127", true},
		{"{cidr: 169.254.7.127/32}", "169.254.7.126", false},
		{`{cidr: "::/0"}`, "10.0.0.1", false},
		{`{cidr: "fd16:9254::/32"}`, "fd16:9254::1", true},
		{"{cidr: 10.0.0.0/8}", "::ffff:10.0.0.1", true},
		{"{cidr: nonsense}", "10.0.0.1", false},
		{"{cidr: 10.0.0.0/8}", "nonsense", false},
	} {
		if got := mesh.BlockHolds(block(test.block), test.address); got != test.want {
			t.Errorf("%s holds %s: %t", test.block, test.address, got)
		}
	}
	if mesh.BlockHolds(nil, "10.0.0.1") || mesh.BlockOverlaps(nil, "10.0.0.0/8") || mesh.BlockIsEverything(nil) {
		t.Error("no block is taken for one")
	}
	for _, test := range []struct {
		block, network string
		want           bool
	}{
		{"{cidr: 10.0.0.0/8}", "10.244.1.0/24", true},
		{"{cidr: 10.244.1.7/32}", "10.244.1.0/24", true},
		{"{cidr: 192.168.0.0/16}", "10.244.1.0/24", false},
		{"{cidr: 10.0.0.0/8, except: [10.244.0.0/16]}", "10.244.1.0/24", false},
		{"{cidr: 10.0.0.0/8, except: [10.244.1.0/25]}", "10.244.1.0/24", true},
		{"{cidr: nonsense}", "10.244.1.0/24", false},
		{"{cidr: 10.0.0.0/8}", "nonsense", false},
		{"{cidr: 10.0.0.0/8, except: [nonsense]}", "10.244.1.0/24", true},
	} {
		if got := mesh.BlockOverlaps(block(test.block), test.network); got != test.want {
			t.Errorf("%s overlaps %s: %t", test.block, test.network, got)
		}
	}
	for text, want := range map[string]bool{
		"{cidr: 0.0.0.0/0}": true, `{cidr: "::/0"}`: true, "{cidr: 0.0.0.0/1}": false, "{cidr: 0.0.0.0/0, except: [10.0.0.0/8]}": false, "{cidr: nonsense}": false,
	} {
		if got := mesh.BlockIsEverything(block(text)); got != want {
			t.Errorf("%s is everything: %t", text, got)
		}
	}
}

func TestPeerCovers(t *testing.T) {
	home := mesh.Namespace{Name: "shop", Labels: map[string]string{"team": "shop"}}
	pods := func(selector string) string { return "{podSelector: " + selector + "}" }
	expression := func(key, operator, values string) string {
		if values == "" {
			return "{matchExpressions: [{key: " + key + ", operator: " + operator + "}]}"
		}
		return "{matchExpressions: [{key: " + key + ", operator: " + operator + ", values: [" + values + "]}]}"
	}
	tests := []struct {
		wide, narrow string
		want         bool
	}{
		{pods("{}"), pods("{}"), true},
		{pods("{}"), pods("{matchLabels: {app: a}}"), true},
		{pods("{matchLabels: {app: a}}"), pods("{}"), false},
		{pods("{matchLabels: {app: a}}"), pods("{matchLabels: {app: a, tier: b}}"), true},
		{pods("{matchLabels: {app: a, tier: b}}"), pods("{matchLabels: {app: a}}"), false},
		{pods("{matchLabels: {app: a}}"), pods("{matchLabels: {app: b}}"), false},

		{pods(expression("app", "In", "a, b")), pods("{matchLabels: {app: a}}"), true},
		{pods(expression("app", "In", "a, b")), pods(expression("app", "In", "b")), true},
		{pods(expression("app", "In", "a, b")), pods(expression("app", "In", "b, c")), false},
		{pods(expression("app", "In", "a")), pods(expression("app", "Exists", "")), false},
		{pods(expression("app", "In", "a")), pods(expression("app", "NotIn", "a")), false},
		{pods(expression("app", "Exists", "")), pods("{matchLabels: {app: a}}"), true},
		{pods(expression("app", "Exists", "")), pods(expression("app", "Exists", "")), true},
		{pods(expression("app", "Exists", "")), pods(expression("app", "NotIn", "a")), false},
		{pods(expression("app", "NotIn", "a")), pods("{matchLabels: {app: b}}"), true},
		{pods(expression("app", "NotIn", "a")), pods("{matchLabels: {app: a}}"), false},
		{pods(expression("app", "NotIn", "a")), pods(expression("app", "NotIn", "a, b")), true},
		{pods(expression("app", "NotIn", "a, b")), pods(expression("app", "NotIn", "a")), false},
		{pods(expression("app", "NotIn", "a")), pods(expression("app", "DoesNotExist", "")), true},
		{pods(expression("app", "NotIn", "a")), pods("{}"), false},
		{pods(expression("app", "DoesNotExist", "")), pods(expression("app", "DoesNotExist", "")), true},
		{pods(expression("app", "DoesNotExist", "")), pods(expression("app", "NotIn", "a")), false},
		{pods(expression("app", "Sometimes", "")), pods("{}"), false},
		{pods("{}"), pods(expression("app", "Sometimes", "")), false},

		{"{namespaceSelector: {}}", pods("{}"), true},
		{"{namespaceSelector: {matchLabels: {team: shop}}}", pods("{}"), true},
		{"{namespaceSelector: {matchLabels: {team: other}}}", pods("{}"), false},
		{"{namespaceSelector: {}}", "{namespaceSelector: {matchLabels: {team: other}}}", true},
		{"{namespaceSelector: {matchLabels: {team: other}}}", "{namespaceSelector: {}}", false},
		{pods("{}"), "{namespaceSelector: {matchLabels: {team: shop}}}", false},
		{"{namespaceSelector: {}}", "{namespaceSelector: {}, podSelector: {matchLabels: {app: a}}}", true},
		{"{namespaceSelector: {}, podSelector: {matchLabels: {app: a}}}", "{namespaceSelector: {}}", false},

		{"{ipBlock: {cidr: 10.0.0.0/8}}", "{ipBlock: {cidr: 10.1.0.0/16}}", true},
		{"{ipBlock: {cidr: 10.0.0.0/8}}", "{ipBlock: {cidr: 10.0.0.0/8}}", true},
		{"{ipBlock: {cidr: 10.1.0.0/16}}", "{ipBlock: {cidr: 10.0.0.0/8}}", false},
		{"{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.2.0/24]}}", "{ipBlock: {cidr: 10.1.0.0/16}}", false},
		{"{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.2.0/24]}}", "{ipBlock: {cidr: 10.2.0.0/16}}", true},
		{"{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.2.0/24]}}", "{ipBlock: {cidr: 10.1.0.0/16, except: [10.1.2.0/23]}}", true},
		{"{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.2.0/24]}}", "{ipBlock: {cidr: 10.1.0.0/16, except: [10.1.2.0/25]}}", false},
		{"{ipBlock: {cidr: 10.0.0.0/8, except: [nonsense]}}", "{ipBlock: {cidr: 10.1.0.0/16}}", false},
		{"{ipBlock: {cidr: nonsense}}", "{ipBlock: {cidr: 10.1.0.0/16}}", false},
		{"{ipBlock: {cidr: 10.0.0.0/8}}", "{ipBlock: {cidr: nonsense}}", false},
		{"{ipBlock: {cidr: 0.0.0.0/0}}", pods("{}"), false},
		{"{namespaceSelector: {}}", "{ipBlock: {cidr: 10.0.0.0/8}}", false},
	}
	for _, test := range tests {
		wide, narrow := parsed[networkingv1.NetworkPolicyPeer](t, test.wide), parsed[networkingv1.NetworkPolicyPeer](t, test.narrow)
		if got := mesh.PeerCovers(wide, narrow, home); got != test.want {
			t.Errorf("%s covers %s: %t", test.wide, test.narrow, got)
		}
	}
}
