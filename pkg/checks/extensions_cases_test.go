package checks_test

func extensionCases() []testCase {
	one := func(version, kind, namespace, spec string) string {
		return istio(version, kind, namespace, "x", spec)
	}
	const envoy, wasm, reports, proxy = "networking.istio.io/v1alpha3", "extensions.istio.io/v1alpha1", "telemetry.istio.io/v1", "networking.istio.io/v1beta1"
	const filter = "configPatches: [{applyTo: HTTP_FILTER, match: {context: SIDECAR_INBOUND}}]"
	const anywhere = "configPatches: [{applyTo: CLUSTER, match: {context: GATEWAY}}, {applyTo: LISTENER}]"
	const atFilter = "spec.configPatches[0].applyTo (HTTP_FILTER)"
	way := gateway("shop", "way", "istio-waypoint", "")
	attached := func(namespace, target string) string {
		return one(envoy, "EnvoyFilter", namespace, "{"+filter+", targetRefs: ["+target+"]}")
	}
	const toWay = "{group: gateway.networking.k8s.io, kind: Gateway, name: way}"
	return []testCase{
		{name: "none", check: "envoy-filters", objects: shop()},
		{name: "one", check: "envoy-filters", objects: shop(one(envoy, "EnvoyFilter", "shop", "{"+filter+"}")), want: []finding{{fail, "EnvoyFilter shop/x", atFilter, "changes sidecars, which are gone in ambient mode; it concerns Service cart"}}},
		{name: "one that is also for sidecars", check: "envoy-filters", objects: shop(one(envoy, "EnvoyFilter", "shop", "{"+anywhere+"}")), want: []finding{{fail, "EnvoyFilter shop/x", "spec.configPatches[1].applyTo (LISTENER)", "changes sidecars"}}},
		{name: "one for gateways", check: "envoy-filters", objects: shop(one(envoy, "EnvoyFilter", "shop", "{configPatches: [{applyTo: CLUSTER, match: {context: GATEWAY}}]}"))},
		{name: "one that does nothing", check: "envoy-filters", objects: shop(one(envoy, "EnvoyFilter", "shop", "{}"))},
		{name: "the root namespace's", check: "envoy-filters", objects: shop(one(envoy, "EnvoyFilter", "istio-system", "{workloadSelector: {labels: {app: cart}}, "+filter+"}")), want: []finding{{fail, "EnvoyFilter istio-system/x", atFilter, "changes sidecars"}}},
		{name: "the root namespace's, for gateways", check: "envoy-filters", objects: shop(one(envoy, "EnvoyFilter", "istio-system", "{workloadSelector: {labels: {istio: ingressgateway}}, "+filter+"}"))},
		{name: "another namespace's", check: "envoy-filters", objects: shop(one(envoy, "EnvoyFilter", "pay", "{"+filter+"}"))},
		{name: "at a waypoint", check: "envoy-filters", objects: shop(way, attached("shop", toWay)), want: []finding{{warn, "EnvoyFilter shop/x", "spec.targetRefs[0]", "attached to Gateway way, and so to a waypoint, where Istio does not support EnvoyFilters"}}},
		{name: "at a Service", check: "envoy-filters", objects: shop(attached("shop", `{group: "", kind: Service, name: cart}`)), want: []finding{{warn, "EnvoyFilter shop/x", "spec.targetRefs[0]", "attached to Service cart"}}},
		{name: "at all waypoints", check: "envoy-filters", objects: shop(attached("istio-system", "{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}")), want: []finding{{warn, "EnvoyFilter istio-system/x", "spec.targetRefs[0]", "attached to GatewayClass istio-waypoint"}}},
		{name: "at an ingress gateway", check: "envoy-filters", objects: shop(gateway("shop", "way", "istio", ""), attached("shop", toWay))},
		{name: "at a waypoint elsewhere", check: "envoy-filters", objects: shop(gateway("pay", "way", "istio-waypoint", ""), attached("pay", toWay))},

		{name: "none", check: "wasm-plugins", objects: shop()},
		{name: "a WasmPlugin", check: "wasm-plugins", objects: shop(one(wasm, "WasmPlugin", "shop", "{url: a, selector: {matchLabels: {app: cart}}}")), want: []finding{{fail, "WasmPlugin shop/x", "spec.url", "sidecars and waypoints only; it concerns Service cart"}}},
		{name: "a TrafficExtension", check: "wasm-plugins", objects: shop(one(wasm, "TrafficExtension", "shop", "{lua: {inlineCode: a}}")), want: []finding{{fail, "TrafficExtension shop/x", "spec.lua", "sidecars and waypoints only"}}},
		{name: "the root namespace's", check: "wasm-plugins", objects: shop(one(wasm, "WasmPlugin", "istio-system", "{url: a}")), want: []finding{{fail, "WasmPlugin istio-system/x", "spec.url", "sidecars and waypoints only"}}},
		{name: "another namespace's", check: "wasm-plugins", objects: shop(one(wasm, "WasmPlugin", "pay", "{url: a}"))},
		{name: "a WasmPlugin at a waypoint", check: "wasm-plugins", objects: shop(one(wasm, "WasmPlugin", "shop", "{targetRefs: [{kind: Gateway, name: way}]}"))},

		{name: "none", check: "telemetry", objects: shop()},
		{name: "one that says nothing", check: "telemetry", objects: shop(one(reports, "Telemetry", "shop", "{}"))},
		{name: "the namespace's", check: "telemetry", objects: shop(one(reports, "Telemetry", "shop", "{tracing: [{randomSamplingPercentage: 10}], accessLogging: [{providers: [{name: envoy}]}]}")), want: []finding{{fail, "Telemetry shop/x", "spec.tracing", "(tracing, access logging) ends with the sidecars; a waypoint would heed it; it concerns Service cart"}}},
		{name: "one for a workload", check: "telemetry", objects: shop(one(reports, "Telemetry", "shop", "{selector: {matchLabels: {app: cart}}, metrics: [{providers: [{name: prometheus}]}]}")), want: []finding{{fail, "Telemetry shop/x", "spec.metrics", "(metrics) ends with the sidecars; a waypoint would not heed it either"}}},
		{name: "the mesh's", check: "telemetry", objects: shop(one(reports, "Telemetry", "istio-system", "{accessLogging: [{}]}")), want: []finding{{warn, "Telemetry istio-system/x", "spec.accessLogging", "HTTP telemetry (access logging)"}}},
		{name: "at a waypoint", check: "telemetry", objects: shop(one(reports, "Telemetry", "shop", "{tracing: [{}], targetRefs: [{kind: Gateway, name: way}]}"))},

		{name: "none", check: "proxy-configs", objects: shop()},
		{name: "one", check: "proxy-configs", objects: shop(one(proxy, "ProxyConfig", "shop", "{concurrency: 0}")), want: []finding{{warn, "ProxyConfig shop/x", "spec.concurrency", "no effect in ambient mode"}}},
		{name: "the root namespace's, for others", check: "proxy-configs", objects: shop(one(proxy, "ProxyConfig", "istio-system", "{selector: {matchLabels: {app: pay}}}"))},
	}
}
