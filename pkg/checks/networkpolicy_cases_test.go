package checks_test

import (
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func netpol(name, spec string) string {
	return istio("networking.k8s.io/v1", "NetworkPolicy", "shop", name, spec)
}

const (
	ciliumConfig = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cilium-config, namespace: kube-system}\ndata: {enable-policy: default}"
	// podNetwork is a node that says which addresses its pods have.
	podNetwork = "apiVersion: v1\nkind: Node\nmetadata: {name: node-2}\nspec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24]}"
)

// waypoint is one of the namespace shop, with the Deployment and the pod that
// istiod makes for it.
func waypoint(edits ...func(*appsv1.Deployment)) []any {
	deployment := fixture.Deployment("shop", "way", append([]func(*appsv1.Deployment){func(d *appsv1.Deployment) {
		own := labels{
			"gateway.networking.k8s.io/gateway-name": "way", "gateway.networking.k8s.io/gateway-class-name": "istio-waypoint",
			"gateway.istio.io/managed": "istio.io-mesh-controller", "istio.io/dataplane-mode": "none", "sidecar.istio.io/inject": "false",
		}
		d.Spec.Template.Labels, d.Spec.Selector = own, &metav1.LabelSelector{MatchLabels: labels{"gateway.networking.k8s.io/gateway-name": "way"}}
		d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "istio-proxy", Args: []string{"proxy", "waypoint"}}}
	}}, edits...)...)
	return []any{waypointGateway, deployment, fixture.PodsOf(deployment)}
}

const (
	waypointGateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: way, namespace: shop}\nspec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}"
	waypointReady   = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: way-x, namespace: shop, labels: {gateway.networking.k8s.io/gateway-name: way}}\naddressType: IPv4\nendpoints: [{addresses: [10.0.0.9]}]"
)

func networkPolicyCases() []testCase {
	const check = "network-policies"
	closed := func(field, message string) []finding {
		return []finding{{fail, "NetworkPolicy shop/a", field, message}}
	}
	warned := func(field, message string) []finding {
		return []finding{{warn, "NetworkPolicy shop/a", field, message}}
	}
	everybody := closed("spec.ingress[0].ports", "it lets everybody reach Deployment cart")
	// web is another application that moves; front one of another namespace.
	web := fixture.Deployment("shop", "web")
	inMesh := func(namespace, app string, edits ...func(*corev1.Pod)) []any {
		return []any{fixture.Namespace(namespace, labels{"team": namespace}), fixture.Pod(namespace, app, append([]func(*corev1.Pod){fixture.Sidecar}, edits...)...)}
	}
	addressed := func(address string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Status.PodIP, pod.Status.PodIPs = address, []corev1.PodIP{{IP: address}} }
	}
	named := func(pod *corev1.Pod) {
		pod.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
	}
	front, db := inMesh("front", "web"), inMesh("data", "db")
	dbService := "apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: data}\nspec: {selector: {app: db}, ports: [{port: 5432}]}"
	gateway := fixture.Deployment("shop", "ingress", fixture.InjectedGateway)
	cartAt := func(address string) []any {
		cart := fixture.Deployment("shop", "cart", fixture.Probed)
		return append(append(fixture.Installation(), fixture.Namespace("shop", labels{"istio-injection": "enabled"})), cart, fixture.PodsOf(cart, fixture.Sidecar, addressed(address)))
	}
	fromFront := "{namespaceSelector: {matchLabels: {team: front}}, podSelector: {matchLabels: {app: web}}}"
	return []testCase{
		{name: "none", check: check, objects: shop()},
		{name: "the application's port alone", check: check, objects: shop(netpol("a", "{podSelector: {}, ingress: [{ports: [{port: 8080}]}]}")), want: everybody},
		{name: "the application's port alone, with a caller", check: check, objects: shop(front, netpol("a", "{podSelector: {}, ingress: [{ports: [{port: 8080}]}]}")), want: closed("spec.ingress[0].ports", "everybody (such as Pod front/web) reach Deployment cart")},
		{name: "the application's port by its name alone", check: check, objects: shop(netpol("a", "{podSelector: {}, ingress: [{ports: [{port: http}]}]}")), want: everybody},
		{name: "a name that the application does not have", check: check, objects: shop(netpol("a", "{podSelector: {}, ingress: [{ports: [{port: http-envoy-prom}]}]}"))},
		{name: "the sidecar's ports alone", check: check, objects: shop(netpol("a", "{podSelector: {}, ingress: [{ports: [{port: 15020}, {port: 15090}]}]}"))},
		{name: "HBONE beside the application's port", check: check, objects: shop(netpol("a", "{podSelector: {}, ingress: [{ports: [{port: 8080}, {port: 15008}]}]}"))},
		{name: "HBONE by UDP, which it is not", check: check, objects: shop(netpol("a", "{podSelector: {}, ingress: [{ports: [{port: 8080}, {port: 15008, protocol: UDP}]}]}")), want: everybody},
		{name: "a port by UDP alone", check: check, objects: shop(netpol("a", "{podSelector: {}, ingress: [{ports: [{port: 8080, protocol: UDP}]}]}"))},
		{name: "HBONE in a range", check: check, objects: shop(netpol("a", "{podSelector: {}, ingress: [{ports: [{port: 8080, endPort: 15008}]}]}"))},
		{name: "a range that ends before", check: check, objects: shop(netpol("a", "{podSelector: {}, ingress: [{ports: [{port: 8080, endPort: 15007}]}]}")), want: everybody},
		{name: "every TCP port", check: check, objects: shop(netpol("a", "{podSelector: {}, ingress: [{ports: [{protocol: TCP}]}]}"))},
		{name: "peers alone", check: check, objects: shop(netpol("a", "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}"))},
		{name: "nothing at all", check: check, objects: shop(netpol("a", "{podSelector: {}, policyTypes: [Ingress]}"))},
		{name: "nothing at all, in neither direction", check: check, objects: shop(front, netpol("a", "{podSelector: {}, policyTypes: [Ingress, Egress]}"))},

		{name: "HBONE from the same peer by another policy", check: check, objects: shop(front, netpol("a", "{podSelector: {}, ingress: [{from: ["+fromFront+"], ports: [{port: 8080}]}]}"), netpol("b", "{podSelector: {}, ingress: [{from: ["+fromFront+"], ports: [{port: 15008}]}]}"))},
		{name: "HBONE from a wider peer by another rule", check: check, objects: shop(front, netpol("a", "{podSelector: {}, ingress: [{from: ["+fromFront+"], ports: [{port: 8080}]}, {from: [{namespaceSelector: {}}], ports: [{port: 15008}]}]}"))},
		{name: "HBONE from everybody by another policy", check: check, objects: shop(front, netpol("a", "{podSelector: {matchLabels: {app: cart}}, ingress: [{from: ["+fromFront+"], ports: [{port: 8080}]}]}"), netpol("b", "{podSelector: {}, ingress: [{ports: [{port: 15008}]}]}"))},
		{name: "HBONE from everybody by another rule", check: check, objects: shop(netpol("a", "{podSelector: {}, ingress: [{ports: [{port: 8080}]}, {ports: [{port: 15008}]}]}"))},
		{name: "HBONE from another peer", check: check, objects: shop(front, db, netpol("a", "{podSelector: {}, ingress: [{from: ["+fromFront+"], ports: [{port: 8080}]}, {from: [{namespaceSelector: {matchLabels: {team: data}}}], ports: [{port: 15008}]}]}")), want: closed("spec.ingress[0].from[0]", "it lets Pod front/web reach Deployment cart")},
		{name: "HBONE from a part of the peer", check: check, objects: shop(front, fixture.Pod("front", "mobile", fixture.Sidecar), netpol("a", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: front}}}], ports: [{port: 8080}]}, {from: ["+fromFront+"], ports: [{port: 15008}]}]}")), want: closed("spec.ingress[0].from[0]", "it lets Pod front/mobile reach Deployment cart")},
		{name: "HBONE from every part of the peer", check: check, objects: shop(front, netpol("a", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: front}}}], ports: [{port: 8080}]}, {from: ["+fromFront+"], ports: [{port: 15008}]}]}"))},
		{name: "the second of two peers", check: check, objects: shop(front, db, netpol("a", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: front}}}, {namespaceSelector: {matchLabels: {team: data}}}], ports: [{port: 8080}]}, {from: [{namespaceSelector: {matchLabels: {team: front}}}], ports: [{port: 15008}]}]}")), want: closed("spec.ingress[0].from[1]", "it lets Pod data/db reach")},
		{name: "a peer outside the mesh", check: check, objects: shop(fixture.Namespace("monitoring", labels{"team": "monitoring"}), fixture.Pod("monitoring", "prometheus"), netpol("a", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: monitoring}}}], ports: [{port: 8080}]}]}"))},
		{name: "a peer in ambient mode", check: check, objects: shop(fixture.Namespace("front", labels{"team": "front"}), fixture.Pod("front", "web", fixture.Ambient), netpol("a", "{podSelector: {}, ingress: [{from: ["+fromFront+"], ports: [{port: 8080}]}]}")), want: closed("spec.ingress[0].from[0]", "Pod front/web")},
		{name: "a gateway of the older charts, by its metadata", check: check, objects: shop(fixture.Pod("istio-system", "igw", fixture.Labelled("operator.istio.io/component", "IngressGateways")), netpol("a", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: igw}}}], ports: [{port: 8080}]}]}")), want: closed("spec.ingress[0].from[0]", "it lets Pod istio-system/igw reach")},
		{name: "a peer on its node's network", check: check, objects: shop(inMesh("front", "web", func(pod *corev1.Pod) { pod.Spec.HostNetwork = true }), netpol("a", "{podSelector: {}, ingress: [{from: ["+fromFront+"], ports: [{port: 8080}]}]}"))},
		{name: "a peer that is not there", check: check, objects: shop(netpol("a", "{podSelector: {}, ingress: [{from: ["+fromFront+"], ports: [{port: 8080}]}]}")), want: warned("spec.ingress[0].from[0]", "what it selects, of which there is nothing at present, reach Deployment cart")},
		{name: "a peer of this namespace that has no pod yet", check: check, objects: shop(web, netpol("a", "{podSelector: {matchLabels: {app: cart}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 8080}]}]}")), want: closed("spec.ingress[0].from[0]", "it lets Deployment web reach Deployment cart")},
		{name: "a peer of this namespace that runs without sidecar", check: check, objects: shop(fixture.Pod("shop", "bare"), netpol("a", "{podSelector: {matchLabels: {app: cart}}, ingress: [{from: [{podSelector: {matchLabels: {app: bare}}}], ports: [{port: 8080}]}]}")), want: closed("spec.ingress[0].from[0]", "it lets Pod shop/bare reach")},
		{name: "a pod without a controller", check: check, objects: shop(fixture.Pod("shop", "bare"), netpol("a", "{podSelector: {matchLabels: {app: bare}}, ingress: [{ports: [{port: 8080}]}]}")), want: closed("spec.ingress[0].ports", "it lets everybody (such as Deployment cart) reach Pod bare")},
		{name: "a pod without a controller, by the name of a port", check: check, objects: enrolled(fixture.Pod("shop", "bare", fixture.Ambient, named), netpol("a", "{podSelector: {matchLabels: {app: bare}}, ingress: [{ports: [{port: http}]}]}")), want: closed("spec.ingress[0].ports", "reach Pod bare")},
		{name: "a pod without a controller that stays out", check: check, objects: shop(fixture.Pod("shop", "bare", fixture.Labelled("istio.io/dataplane-mode", "none")), netpol("a", "{podSelector: {matchLabels: {app: bare}}, ingress: [{ports: [{port: 8080}]}]}"))},
		{name: "a pod without a controller, which calls others by the same port", check: check, objects: append(fixtureWithout("Deployment", "Pod", "ReplicaSet"), fixture.Pod("shop", "bare", fixture.Ambient, named), netpol("a", "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 8080}]}]}"), "apiVersion: v1\nkind: Service\nmetadata: {name: bare, namespace: shop}\nspec: {selector: {app: bare}, ports: [{port: 8080}]}"), want: closed("spec.egress[0].ports", "it lets Pod bare reach everybody, but")},
		{name: "egress of a pod without a controller", check: check, objects: enrolled(fixture.Pod("shop", "bare", fixture.Ambient), netpol("a", "{podSelector: {matchLabels: {app: bare}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: cart}}}], ports: [{port: 8080}]}]}")), want: closed("spec.egress[0].to[0]", "it lets Pod bare reach Deployment cart")},
		{name: "several workloads", check: check, objects: shop(web, front, netpol("a", "{podSelector: {}, ingress: [{from: ["+fromFront+"], ports: [{port: 8080}]}]}")), want: closed("spec.ingress[0].from[0]", "reach Deployment cart, Deployment web")},
		{name: "several policies", check: check, objects: shop(front, netpol("b", "{podSelector: {}, ingress: [{from: ["+fromFront+"], ports: [{port: 8081}]}]}"), netpol("a", "{podSelector: {}, ingress: [{from: ["+fromFront+"], ports: [{port: 8080}]}]}")), want: []finding{
			{fail, "NetworkPolicy shop/a", "spec.ingress[0].from[0]", "Pod front/web"}, {fail, "NetworkPolicy shop/b", "spec.ingress[0].from[0]", "Pod front/web"},
		}},

		{name: "all addresses", check: check, objects: shop(netpol("a", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 8080}]}]}")), want: closed("spec.ingress[0].from[0]", "it lets everybody reach Deployment cart")},
		{name: "HBONE from all addresses", check: check, objects: shop(front, netpol("a", "{podSelector: {}, ingress: [{from: ["+fromFront+"], ports: [{port: 8080}]}, {from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 15008}]}]}"))},
		{name: "HBONE from all addresses, which are no pods to Cilium", check: check, objects: shop(front, ciliumConfig, netpol("a", "{podSelector: {}, ingress: [{from: ["+fromFront+"], ports: [{port: 8080}]}, {from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 15008}]}]}")), want: closed("spec.ingress[0].from[0]", "Pod front/web")},
		{name: "all addresses, which are no pods to Cilium", check: check, objects: shop(front, ciliumConfig, netpol("a", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 8080}]}]}"))},
		{name: "addresses of pods", check: check, objects: shop(podNetwork, netpol("a", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.244.0.0/16}}], ports: [{port: 8080}]}]}")), want: closed("spec.ingress[0].from[0]", "everybody reach")},
		{name: "addresses of pods by the older field", check: check, objects: shop(strings.Replace(podNetwork, ", podCIDRs: [10.244.1.0/24]", "", 1), netpol("a", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.244.0.0/16}}], ports: [{port: 8080}]}]}")), want: closed("spec.ingress[0].from[0]", "everybody reach")},
		{name: "addresses of pods, covered", check: check, objects: shop(podNetwork, netpol("a", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.244.1.0/24}}], ports: [{port: 8080}]}, {from: [{ipBlock: {cidr: 10.244.0.0/16}}], ports: [{port: 15008}]}]}"))},
		{name: "addresses outside", check: check, objects: shop(podNetwork, netpol("a", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.168.0.0/16}}], ports: [{port: 8080}]}]}"))},
		{name: "addresses that nobody knows", check: check, objects: shop(netpol("a", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.168.0.0/16}}], ports: [{port: 8080}]}]}")), want: warned("spec.ingress[0].from[0]", "pods with such an address, if there are any, reach")},
		{name: "the address of a pod", check: check, objects: append(cartAt("192.168.0.7"), netpol("a", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.168.0.0/16}}], ports: [{port: 8080}]}]}")), want: closed("spec.ingress[0].from[0]", "it lets Deployment cart reach")},
		{name: "the address of a pod, excepted", check: check, objects: append(cartAt("192.168.0.7"), podNetwork, netpol("a", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.168.0.0/16, except: [192.168.0.0/24]}}], ports: [{port: 8080}]}]}"))},

		{name: "egress to a port of the mesh", check: check, objects: shop(db, dbService, netpol("a", "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}]}, {ports: [{port: 5432}]}]}")), want: closed("spec.egress[1].ports", "it lets Deployment cart reach everybody (such as Pod data/db)")},
		{name: "egress to a port of a moved workload", check: check, objects: shop(netpol("a", "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 8080}]}]}")), want: closed("spec.egress[0].ports", "it lets Deployment cart reach everybody")},
		{name: "egress to a port of the mesh, surely for one and perhaps for another", check: check, objects: shop(web, db, dbService, front, strings.NewReplacer("name: db", "name: web", "namespace: data", "namespace: front", "app: db", "app: web", "port: 5432", "port: 80, targetPort: http").Replace(dbService),
			netpol("a", "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 5432}]}]}"), netpol("b", "{podSelector: {matchLabels: {app: cart}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {team: data}}}], ports: [{port: 15008}]}]}")),
			want: closed("spec.egress[0].ports", "it lets Deployment cart, Deployment web reach everybody (such as Pod data/db), but")},
		{name: "egress to a port outside the mesh", check: check, objects: shop(db, dbService, netpol("a", "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 443}]}]}"))},
		{name: "egress to a port that may be the mesh's", check: check, objects: shop(db, strings.Replace(dbService, "port: 5432", "port: 80, targetPort: pg", 1), netpol("a", "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 443}]}]}")), want: warned("spec.egress[0].ports", "everybody (such as Pod data/db), if that has such a port,")},
		{name: "egress to a port by name", check: check, objects: shop(db, netpol("a", "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: pg}]}]}")), want: warned("spec.egress[0].ports", "if that has such a port,")},
		{name: "egress to a UDP port of the mesh", check: check, objects: shop(db, strings.Replace(dbService, "port: 5432", "port: 443, protocol: UDP", 1), netpol("a", "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 443}]}]}"))},
		{name: "egress without types counts too", check: check, objects: shop(db, dbService, netpol("a", "{podSelector: {}, ingress: [{}], egress: [{ports: [{port: 5432}]}]}")), want: closed("spec.egress[0].ports", "everybody")},
		{name: "egress to a peer", check: check, objects: shop(db, netpol("a", "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {team: data}}}], ports: [{port: 5432}]}]}")), want: closed("spec.egress[0].to[0]", "it lets Deployment cart reach Pod data/db")},
		{name: "egress to a peer, with HBONE", check: check, objects: shop(db, netpol("a", "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {team: data}}}], ports: [{port: 5432}, {port: 15008}]}]}"))},
		{name: "egress to DNS alone", check: check, objects: shop(front, netpol("a", "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}, {port: 53}]}]}"))},
		{name: "rules of a direction that is not restricted", check: check, objects: shop(netpol("a", "{podSelector: {}, policyTypes: [Egress], ingress: [{ports: [{port: 8080}]}]}"))},
		{name: "nothing that moves is selected", check: check, objects: shop(netpol("a", "{podSelector: {matchLabels: {app: batch}}, ingress: [{ports: [{port: 8080}]}]}"))},
		{name: "a selector by expression", check: check, objects: shop(netpol("a", "{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [cart]}]}, ingress: [{ports: [{port: 8080}]}]}"))},
		{name: "elsewhere", check: check, objects: shop(istio("networking.k8s.io/v1", "NetworkPolicy", "other", "a", "{podSelector: {}, ingress: [{ports: [{port: 8080}]}]}"))},

		{name: "a gateway that may call the application's port", check: check, objects: shop(gateway, netpol("a", "{podSelector: {matchLabels: {app: ingress}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: cart}}}], ports: [{port: 8080}]}]}")), want: closed("spec.egress[0].to[0]", "it lets Deployment ingress reach Deployment cart")},
		{name: "a gateway that may call what does not move", check: check, objects: shop(gateway, front, netpol("a", "{podSelector: {matchLabels: {app: ingress}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}], ports: [{port: 15443}]}]}")), want: closed("spec.egress[0].to[0]", "it lets Deployment ingress reach Deployment cart")},
		{name: "a gateway's own callers", check: check, objects: shop(gateway, netpol("a", "{podSelector: {matchLabels: {app: ingress}}, ingress: [{ports: [{port: 8443}]}]}"))},
		{name: "a waypoint that nobody may call", check: check, objects: shop(waypoint(), netpol("a", "{podSelector: {}, policyTypes: [Ingress]}")), want: []finding{{fail, "NetworkPolicy shop/a", "spec.ingress", "nobody in the mesh may reach waypoint Deployment way on port 15008"}}},
		{name: "a waypoint that may be called", check: check, objects: shop(waypoint(), netpol("a", "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}"))},
		{name: "a waypoint that may not be called from here", check: check, objects: shop(waypoint(), netpol("a", "{podSelector: {matchLabels: {app: cart}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: cart}}}]}]}")), want: closed("spec.egress", "it lets Deployment cart reach others, waypoint Pod shop/way-5d8f7-0 among them,")},
		{name: "a waypoint, and nobody may be called", check: check, objects: shop(waypoint(), netpol("a", "{podSelector: {matchLabels: {app: cart}}, policyTypes: [Egress], egress: [{ports: [{port: 53}]}]}"))},
		{name: "a waypoint that may be called from here", check: check, objects: shop(waypoint(), netpol("a", "{podSelector: {matchLabels: {app: cart}}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]}"))},
	}
}

func networkProbeCases() []testCase {
	const check, field = "network-policy-probes", "spec.template.spec.containers[0].readinessProbe"
	probing := func(edit func(*corev1.Container)) *appsv1.Deployment {
		return fixture.Deployment("shop", "pay", func(d *appsv1.Deployment) { edit(&d.Spec.Template.Spec.Containers[0]) })
	}
	restricted := netpol("a", "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}")
	ofPay := netpol("a", "{podSelector: {matchLabels: {app: pay}}, ingress: [{from: [{podSelector: {}}]}]}")
	admitting := func(cidr, more string) string {
		return netpol("b", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: "+cidr+more+"}}]}]}")
	}
	warned := func(message string) []finding {
		return []finding{{warn, "Deployment shop/cart", field, message}}
	}
	failed := []finding{{fail, "Deployment shop/cart", field, "Cilium refuses its probes to port 8080, which come from 169.254.7.127"}}
	pay := func(message string) []finding {
		return []finding{{warn, "Deployment shop/pay", "spec.template.spec.containers[0].livenessProbe", message}}
	}
	ciliumPolicy := func(spec string) string {
		return "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: probes}\n" + spec
	}
	const open = "endpointSelector: {}, ingress: [{fromCIDR: [169.254.7.127/32]}]"
	grpc := probing(func(c *corev1.Container) {
		c.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 9000}}}
	})
	tcp := probing(func(c *corev1.Container) {
		c.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(9001)}}}
	})
	exec := probing(func(c *corev1.Container) {
		c.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}}
	})
	unnamed := probing(func(c *corev1.Container) {
		c.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("nowhere")}}}
	})
	six := func() []any {
		cart := fixture.Deployment("shop", "cart", fixture.Probed)
		return append(append(fixture.Installation(), fixture.Namespace("shop", labels{"istio-injection": "enabled"})), cart, fixture.PodsOf(cart, fixture.Sidecar, func(pod *corev1.Pod) {
			pod.Status.PodIP, pod.Status.PodIPs = "fd00::7", []corev1.PodIP{{IP: "fd00::7"}, {IP: "10.0.0.7"}}
		}))
	}
	configured := []any{fixture.Without("DaemonSet", shop()...), fixture.DaemonSet("istio-system", "istio-cni-node", func(d *appsv1.DaemonSet) {
		d.Spec.Template.Labels = labels{"k8s-app": "istio-cni-node"}
		d.Spec.Template.Spec.Containers[0].Name = "install-cni"
		d.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "HOST_PROBE_SNAT_IP", Value: "169.254.1.1"}}
	})}
	return []testCase{
		{name: "no policy", check: check, objects: shop()},
		{name: "a policy", check: check, objects: shop(restricted), want: warned("NetworkPolicy a does not admit its probes, which come from 169.254.7.127 in ambient mode, to port 8080")},
		{name: "a policy that denies everything", check: check, objects: shop(netpol("a", "{podSelector: {}}")), want: warned("NetworkPolicy a does not admit")},
		{name: "two policies", check: check, objects: shop(restricted, netpol("b", "{podSelector: {}}")), want: warned("NetworkPolicy a, b does not admit")},
		{name: "a policy for egress", check: check, objects: shop(netpol("a", "{podSelector: {}, policyTypes: [Egress]}"))},
		{name: "a policy for other pods", check: check, objects: shop(netpol("a", "{podSelector: {matchLabels: {app: other}}}"))},
		{name: "a policy for everybody on the port", check: check, objects: shop(netpol("a", "{podSelector: {}, ingress: [{ports: [{port: http}, {port: 15008}]}]}"))},
		{name: "a policy for everybody on another port", check: check, objects: shop(netpol("a", "{podSelector: {}, ingress: [{ports: [{port: 15008}]}]}")), want: warned("to port 8080")},
		{name: "the address is admitted", check: check, objects: shop(restricted, admitting("169.254.7.127/32", ""))},
		{name: "the address is admitted to another port", check: check, objects: shop(restricted, netpol("b", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 169.254.7.127/32}}], ports: [{port: 9}]}]}")), want: warned("to port 8080")},
		{name: "its network is admitted", check: check, objects: shop(restricted, admitting("169.254.0.0/16", ""))},
		{name: "its network but not the address is admitted", check: check, objects: shop(restricted, admitting("169.254.0.0/16", ", except: [169.254.7.0/24]")), want: warned("NetworkPolicy a, b")},
		{name: "another address is admitted", check: check, objects: shop(restricted, admitting("169.254.7.128/32", "")), want: warned("NetworkPolicy a, b")},
		{name: "the address is another", check: check, objects: append(configured, restricted, admitting("169.254.7.127/32", "")), want: warned("come from 169.254.1.1")},
		{name: "IPv6", check: check, objects: append(six(), restricted, admitting("169.254.7.127/32", "")), want: warned("come from fd16:9254:7127:1337:ffff:ffff:ffff:ffff")},
		{name: "IPv6 is admitted", check: check, objects: append(six(), restricted, admitting(`"fd16:9254:7127:1337:ffff:ffff:ffff:ffff/128"`, ""))},
		{name: "a gRPC probe", check: check, objects: shop(grpc, ofPay), want: pay("to port 9000")},
		{name: "a TCP probe", check: check, objects: shop(tcp, ofPay), want: pay("to port 9001")},
		{name: "a probe that executes something", check: check, objects: shop(exec, ofPay)},
		{name: "a probe of a port that is not there", check: check, objects: shop(unnamed, ofPay)},
		{name: "Cilium", check: check, objects: shop(restricted, ciliumConfig), want: failed},
		{name: "Cilium that admits it", check: check, objects: shop(restricted, ciliumConfig, ciliumPolicy("spec: {"+open+"}"))},
		{name: "Cilium that admits it in the second of several", check: check, objects: shop(restricted, ciliumConfig, ciliumPolicy("specs: [{endpointSelector: {}}, {"+open+"}]"))},
		{name: "Cilium that admits it in a set", check: check, objects: shop(restricted, ciliumConfig, ciliumPolicy("spec: {endpointSelector: {}, ingress: [{fromCIDRSet: [{cidr: 169.254.0.0/16}]}]}"))},
		{name: "Cilium that admits it for these pods", check: check, objects: shop(restricted, ciliumConfig, ciliumPolicy("spec: {endpointSelector: {matchLabels: {k8s:app: cart}, matchExpressions: [{key: app, operator: Exists}]}, ingress: [{fromCIDR: [169.254.7.127/32]}]}"))},
		{name: "Cilium that admits it for other pods", check: check, objects: shop(restricted, ciliumConfig, ciliumPolicy("spec: {endpointSelector: {matchLabels: {app: other}}, ingress: [{fromCIDR: [169.254.7.127/32]}]}")), want: failed},
		{name: "Cilium that admits it to nodes", check: check, objects: shop(restricted, ciliumConfig, ciliumPolicy("spec: {nodeSelector: {}, ingress: [{fromCIDR: [169.254.7.127/32]}]}")), want: failed},
		{name: "Cilium that admits it to the port", check: check, objects: shop(restricted, ciliumConfig, ciliumPolicy(`spec: {endpointSelector: {}, ingress: [{fromCIDR: [169.254.7.127/32], toPorts: [{ports: [{port: "8000", endPort: 8080, protocol: TCP}]}]}]}`))},
		{name: "Cilium that admits it to the one port", check: check, objects: shop(restricted, ciliumConfig, ciliumPolicy(`spec: {endpointSelector: {}, ingress: [{fromCIDR: [169.254.7.127/32], toPorts: [{ports: [{port: "8080"}]}]}]}`))},
		{name: "Cilium that admits it to another port", check: check, objects: shop(restricted, ciliumConfig, ciliumPolicy(`spec: {endpointSelector: {}, ingress: [{fromCIDR: [169.254.7.127/32], toPorts: [{ports: [{port: "8079", protocol: TCP}, {port: "8080", protocol: UDP}, {port: http}]}]}]}`)), want: failed},
		{name: "Cilium that admits another address", check: check, objects: shop(restricted, ciliumConfig, ciliumPolicy("spec: {endpointSelector: {}, ingress: [{fromCIDR: [10.0.0.0/8]}]}")), want: failed},
		{name: "Cilium's policy that is no policy", check: check, objects: shop(restricted, ciliumConfig, ciliumPolicy("spec: {endpointSelector: {}, ingress: none}")), want: failed},
	}
}

func podSecurityCases() []testCase {
	const check, field = "pod-security", "metadata.labels[pod-security.kubernetes.io/enforce]"
	restricted := func(version string, more ...any) []any {
		own := labels{"istio-injection": "enabled", "pod-security.kubernetes.io/enforce": "restricted"}
		if version != "" {
			own["pod-security.kubernetes.io/enforce-version"] = version
		}
		return append([]any{fixture.Without("Namespace", shop()...), fixture.Namespace("shop", own)}, more...)
	}
	labelled := func(own labels, more ...any) []any {
		own["pod-security.kubernetes.io/enforce"] = "restricted"
		return append([]any{fixture.Without("Namespace", shop()...), fixture.Namespace("shop", own)}, more...)
	}
	baseline := []any{fixture.Without("Namespace", shop()...), fixture.Namespace("shop", labels{"istio-injection": "enabled", "pod-security.kubernetes.io/enforce": "baseline"})}
	values := func(text string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio-sidecar-injector, namespace: istio-system, labels: {istio.io/rev: default}}\ndata: {values: '" + text + "'}"
	}
	seccomp := values(`{"gateways": {"seccompProfile": {"type": "RuntimeDefault"}}}`)
	profile := &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	fails := []finding{{fail, "Namespace shop", field, "refuses the pods of waypoint way"}}
	needs := func(what string) []finding { return []finding{{warn, "Namespace shop", field, what}} }
	route := istio("gateway.networking.k8s.io/v1", "HTTPRoute", "shop", "r", "{parentRefs: [{group: \"\", kind: Service, name: cart}]}")
	return []testCase{
		{name: "no standard", check: check, objects: shop(waypointGateway)},
		{name: "baseline", check: check, objects: append(baseline, waypointGateway)},
		{name: "no waypoint", check: check, objects: restricted("")},
		{name: "a waypoint", check: check, objects: restricted("", waypointGateway), want: fails},
		{name: "a waypoint whose pods are refused", check: check, objects: restricted("latest", waypoint()), want: fails},
		{name: "a waypoint that runs", check: check, objects: restricted("v1.30", waypoint(), waypointReady), want: needs("would refuse the next pod of waypoint way")},
		{name: "a waypoint before the standard asked for it", check: check, objects: restricted("v1.18", waypointGateway)},
		{name: "a waypoint when the standard asked for it", check: check, objects: restricted("v1.19", waypointGateway), want: fails},
		{name: "a waypoint with a profile by the installation", check: check, objects: restricted("", waypointGateway, seccomp)},
		{name: "a waypoint with a profile of its pod", check: check, objects: restricted("", waypoint(func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.SecurityContext = &corev1.PodSecurityContext{SeccompProfile: profile}
		}))},
		{name: "a waypoint with a profile of its container", check: check, objects: restricted("", waypoint(func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{SeccompProfile: profile}
		}))},
		{name: "a waypoint without a profile in spite of the installation", check: check, objects: restricted("", seccomp, waypoint(func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{}
		})), want: fails},
		{name: "another Gateway", check: check, objects: restricted("", strings.Replace(waypointGateway, "istio-waypoint", "istio", 1))},
		{name: "a policy that needs one", check: check, objects: restricted("", policy("shop", "{rules: [{to: [{operation: {methods: [GET]}}]}]}")), want: needs("Service cart needs one")},
		{name: "a custom policy", check: check, objects: restricted("", policy("shop", "{action: CUSTOM, provider: {name: x}, rules: [{}]}")), want: needs("Service cart needs one")},
		{name: "a policy that needs none", check: check, objects: restricted("", policy("shop", "{rules: [{from: [{source: {namespaces: [a]}}]}]}"))},
		{name: "a policy that is attached", check: check, objects: restricted("", policy("shop", "{targetRefs: [{kind: Service, group: \"\", name: cart}], rules: [{to: [{operation: {methods: [GET]}}]}]}")), want: needs("Service cart needs one")},
		{name: "tokens", check: check, objects: restricted("", istio("security.istio.io/v1", "RequestAuthentication", "shop", "jwt", "{jwtRules: [{issuer: a}]}")), want: needs("Service cart needs one")},
		{name: "a VirtualService", check: check, objects: restricted("", istio("networking.istio.io/v1", "VirtualService", "shop", "vs", "{hosts: [cart]}")), want: needs("Service cart needs one")},
		{name: "a gateway's VirtualService", check: check, objects: restricted("", istio("networking.istio.io/v1", "VirtualService", "shop", "vs", "{hosts: [cart], gateways: [ingress]}"))},
		{name: "a route", check: check, objects: restricted("", route), want: needs("Service cart needs one")},
		{name: "a route, and pods with a profile", check: check, objects: restricted("", route, seccomp)},
		{name: "a label that names a waypoint that is not there", check: check, objects: labelled(labels{"istio-injection": "enabled", "istio.io/use-waypoint": "gone"}), want: needs("its label names waypoint gone, which is not there")},
		{name: "a label that names a waypoint elsewhere that is not there", check: check, objects: labelled(labels{"istio-injection": "enabled", "istio.io/use-waypoint": "way", "istio.io/use-waypoint-namespace": "other"}, route)},
		{name: "a waypoint elsewhere", check: check, objects: labelled(labels{"istio-injection": "enabled", "istio.io/use-waypoint": "way", "istio.io/use-waypoint-namespace": "other"}, strings.Replace(waypointGateway, "namespace: shop", "namespace: other", 1), route)},
	}
}
