package checks_test

func extensionCases() []testCase {
	one := func(version, kind, namespace, spec string) string {
		return istio(version, kind, namespace, "x", spec)
	}
	const envoy, wasm, telemetry, proxy = "networking.istio.io/v1alpha3", "extensions.istio.io/v1alpha1", "telemetry.istio.io/v1", "networking.istio.io/v1beta1"
	return []testCase{
		{name: "none", check: "extensions", objects: shop()},
		{name: "an EnvoyFilter", check: "extensions", objects: shop(one(envoy, "EnvoyFilter", "shop", "{}")), want: []finding{{fail, "EnvoyFilter shop/x", "", "changes sidecars"}}},
		{name: "the root namespace's EnvoyFilter", check: "extensions", objects: shop(one(envoy, "EnvoyFilter", "istio-system", "{workloadSelector: {labels: {app: cart}}}")), want: []finding{{fail, "EnvoyFilter istio-system/x", "", "changes sidecars"}}},
		{name: "the root namespace's EnvoyFilter for gateways", check: "extensions", objects: shop(one(envoy, "EnvoyFilter", "istio-system", "{workloadSelector: {labels: {istio: ingressgateway}}}"))},
		{name: "another namespace's EnvoyFilter", check: "extensions", objects: shop(one(envoy, "EnvoyFilter", "pay", "{}"))},
		{name: "a WasmPlugin", check: "extensions", objects: shop(one(wasm, "WasmPlugin", "shop", "{selector: {matchLabels: {app: cart}}}")), want: []finding{{fail, "WasmPlugin shop/x", "", "sidecars and waypoints only"}}},
		{name: "a TrafficExtension", check: "extensions", objects: shop(one(wasm, "TrafficExtension", "shop", "{}")), want: []finding{{fail, "TrafficExtension shop/x", "", "sidecars and waypoints only"}}},
		{name: "a WasmPlugin at a waypoint", check: "extensions", objects: shop(one(wasm, "WasmPlugin", "shop", "{targetRefs: [{kind: Gateway, name: way}]}"))},
		{name: "Telemetry", check: "extensions", objects: shop(one(telemetry, "Telemetry", "shop", "{}")), want: []finding{{fail, "Telemetry shop/x", "", "HTTP telemetry"}}},
		{name: "Telemetry of the mesh", check: "extensions", objects: shop(one(telemetry, "Telemetry", "istio-system", "{}")), want: []finding{{warn, "Telemetry istio-system/x", "", "HTTP telemetry"}}},
		{name: "a ProxyConfig", check: "extensions", objects: shop(one(proxy, "ProxyConfig", "shop", "{}")), want: []finding{{warn, "ProxyConfig shop/x", "", "no effect in ambient mode"}}},
	}
}
