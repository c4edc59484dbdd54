package checks_test

import (
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	appsv1 "k8s.io/api/apps/v1"
)

func observabilityCases() []testCase {
	scraped := func(annotations labels, edits ...func(*appsv1.Deployment)) *appsv1.Deployment {
		return fixture.Deployment("shop", "pay", append([]func(*appsv1.Deployment){fixture.Probed, func(d *appsv1.Deployment) { d.Spec.Template.Annotations = annotations }}, edits...)...)
	}
	unported := func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Ports = nil }
	meshConfig := func(text string, more ...any) []any {
		return append([]any{fixture.Without("ConfigMap", shop()...), fixture.MeshConfig(text), fixture.CNIConfig("istio-system", labels{"AMBIENT_ENABLED": "true"})}, more...)
	}
	const scrape, port, path = "prometheus.io/scrape", "prometheus.io/port", "prometheus.io/path"
	const field = "spec.template.metadata.annotations[prometheus.io/port]"
	of := func(message string) []finding { return []finding{{warn, "Deployment shop/pay", field, message}} }
	strict := peer("shop", "{mtls: {mode: STRICT}}")
	cases := []testCase{
		{name: "no annotation", check: "prometheus-merge", objects: shop(scraped(nil))},
		{name: "refused", check: "prometheus-merge", objects: shop(scraped(labels{scrape: "false"}))},
		{name: "the application's port", check: "prometheus-merge", objects: shop(scraped(labels{scrape: "true", port: "8080", path: "/internal"}))},
		{name: "a port that is not declared", check: "prometheus-merge", objects: shop(scraped(labels{scrape: "true", port: "9090"})), want: of("it names port 9090, which no container declares (8080)")},
		{name: "a port where none is declared", check: "prometheus-merge", objects: shop(scraped(labels{scrape: "true", port: "9090"}, unported))},
		{name: "no port", check: "prometheus-merge", objects: shop(scraped(labels{scrape: "true"})), want: of("Prometheus scrapes each declared one (8080) at /metrics")},
		{name: "no port, and a path", check: "prometheus-merge", objects: shop(scraped(labels{scrape: "true", path: "/m"})), want: of("(8080) at /m ")},
		{name: "no port, and none is declared", check: "prometheus-merge", objects: shop(scraped(labels{scrape: "true"}, unported)), want: of("no container declares one: Prometheus scrapes port 80")},
		{name: "the agent's port", check: "prometheus-merge", objects: shop(scraped(labels{scrape: "true", port: "15020"})), want: of("it names the sidecar's own metrics (port 15020")},
		{name: "Envoy's port", check: "prometheus-merge", objects: shop(scraped(labels{scrape: "true", port: "15090"})), want: of("it names the sidecar's own metrics")},
		{name: "the agent's path", check: "prometheus-merge", objects: shop(scraped(labels{scrape: "true", port: "8080", path: "/stats/prometheus"})), want: of("path /stats/prometheus")},
		{name: "names that Prometheus takes for the same", check: "prometheus-merge", objects: shop(scraped(labels{"prometheus-io/scrape": "true", "prometheus.io.port": "9090"})), want: of("it names port 9090")},
		{name: "strict", check: "prometheus-merge", objects: shop(strict, scraped(labels{scrape: "true", port: "8080"})), want: of("its pods accept mTLS only")},
		{name: "not merged in the mesh", check: "prometheus-merge", objects: meshConfig("enablePrometheusMerge: false", scraped(labels{scrape: "true"}))},
		{name: "merged in the mesh", check: "prometheus-merge", objects: meshConfig("enablePrometheusMerge: true", scraped(labels{scrape: "true"})), want: of("it names no port")},
		{name: "not merged for these pods", check: "prometheus-merge", objects: shop(scraped(labels{scrape: "true", "prometheus.istio.io/merge-metrics": "false"}))},
		{name: "merged for these pods alone", check: "prometheus-merge", objects: meshConfig("enablePrometheusMerge: false", scraped(labels{scrape: "true", "prometheus.istio.io/merge-metrics": "true"})), want: of("it names no port")},
		{name: "what does not move", check: "prometheus-merge", objects: append(enrolled(), scraped(labels{scrape: "true"}))},
	}

	pods := func(namespace, spec string) string {
		return istio("monitoring.coreos.com/v1", "PodMonitor", namespace, "m", spec)
	}
	services := func(spec string) string {
		return istio("monitoring.coreos.com/v1", "ServiceMonitor", "shop", "m", spec)
	}
	const merged = "selector: {matchLabels: {app: cart}}, podMetricsEndpoints: [{port: http}, {port: http-envoy-prom}]"
	monitored := func(kind, field string) []finding {
		return []finding{{warn, kind + " shop/m", field, "it collects metrics from sidecars: its targets in namespace shop disappear"}}
	}
	ofPods, ofServices := monitored("PodMonitor", "spec.podMetricsEndpoints[1]"), monitored("ServiceMonitor", "spec.endpoints[0]")
	metrics := "apiVersion: v1\nkind: Service\nmetadata: {name: cart-metrics, namespace: shop, labels: {app: cart}}\nspec: {selector: {app: cart}, ports: [{name: app, port: 80, targetPort: 8080}, {name: merged, port: 81, targetPort: 15020}]}"
	elsewhere := []finding{{warn, "PodMonitor other/m", "spec.podMetricsEndpoints[1]", "its targets in namespace shop"}}
	cases = append(cases, []testCase{
		{name: "none", check: "pod-monitors", objects: shop()},
		{name: "Envoy's port by name", check: "pod-monitors", objects: shop(pods("shop", "{"+merged+"}")), want: ofPods},
		{name: "the agent's port by number", check: "pod-monitors", objects: shop(pods("shop", "{selector: {}, podMetricsEndpoints: [{port: http}, {portNumber: 15020}]}")), want: ofPods},
		{name: "Envoy's port as a target", check: "pod-monitors", objects: shop(pods("shop", "{selector: {}, podMetricsEndpoints: [{port: http}, {targetPort: 15090}]}")), want: ofPods},
		{name: "Envoy's port as a target by name", check: "pod-monitors", objects: shop(pods("shop", "{selector: {}, podMetricsEndpoints: [{port: http}, {targetPort: http-envoy-prom}]}")), want: ofPods},
		{name: "the path", check: "pod-monitors", objects: shop(pods("shop", "{selector: {}, podMetricsEndpoints: [{port: http}, {path: /stats/prometheus}]}")), want: ofPods},
		{name: "by labels of the sidecar", check: "pod-monitors", objects: shop(pods("shop", "{selector: {matchLabels: {security.istio.io/tlsMode: istio}}, podMetricsEndpoints: [{port: http}, {path: /stats/prometheus}]}")), want: ofPods},
		{name: "the application's port", check: "pod-monitors", objects: shop(pods("shop", "{selector: {}, podMetricsEndpoints: [{port: http, path: /metrics}]}"))},
		{name: "other pods", check: "pod-monitors", objects: shop(pods("shop", strings.Replace("{"+merged+"}", "cart", "other", 1)))},
		{name: "from elsewhere, for everything", check: "pod-monitors", objects: shop(pods("other", "{namespaceSelector: {any: true}, "+merged+"}")), want: elsewhere},
		{name: "from elsewhere, for this namespace", check: "pod-monitors", objects: shop(pods("other", "{namespaceSelector: {matchNames: [a, shop]}, "+merged+"}")), want: elsewhere},
		{name: "from elsewhere, for another", check: "pod-monitors", objects: shop(pods("other", "{namespaceSelector: {matchNames: [a]}, "+merged+"}"))},
		{name: "from elsewhere, for its own", check: "pod-monitors", objects: shop(pods("other", "{"+merged+"}"))},
		{name: "from here, for another", check: "pod-monitors", objects: shop(pods("shop", "{namespaceSelector: {matchNames: [a]}, "+merged+"}"))},
		{name: "what cannot be read", check: "pod-monitors", objects: shop(pods("shop", "{podMetricsEndpoints: none}")), want: []finding{{warn, "PodMonitor shop/m", "", "it could not be understood"}}},
		{name: "a Service's port that is the agent's", check: "pod-monitors", objects: shop(metrics, services("{selector: {matchLabels: {app: cart}}, endpoints: [{port: merged}]}")), want: ofServices},
		{name: "a Service's port that is the application's", check: "pod-monitors", objects: shop(metrics, services("{selector: {matchLabels: {app: cart}}, endpoints: [{port: app}]}"))},
		{name: "a Service's target that is Envoy's", check: "pod-monitors", objects: shop(metrics, services("{selector: {}, endpoints: [{targetPort: 15090}]}")), want: ofServices},
		{name: "a Service that is not selected", check: "pod-monitors", objects: shop(metrics, services("{selector: {matchLabels: {app: other}}, endpoints: [{port: merged}]}"))},
		{name: "a Service of pods that do not move", check: "pod-monitors", objects: append(enrolled(), metrics, services("{selector: {}, endpoints: [{port: merged}]}"))},
		{name: "pods that do not move", check: "pod-monitors", objects: append(enrolled(), pods("shop", "{"+merged+"}"))},
	}...)

	dashboard := func(name, text string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: grafana, labels: {grafana_dashboard: \"1\"}}\ndata: {d.json: '" + text + "'}"
	}
	const destination = `{"expr": "sum(rate(istio_requests_total{reporter=\"destination\"}[5m]))"}`
	rules := func(name, expression string) string {
		return istio("monitoring.coreos.com/v1", "PrometheusRule", "monitoring", name, "{groups: [{name: g, rules: [{alert: Errors, expr: '"+expression+"'}, {record: total, expr: 'up'}]}]}")
	}
	const ofSource = `sum(istio_requests_total{reporter=~"source|destination"}) > 1`
	cases = append(cases, []testCase{
		{name: "none", check: "dashboards", objects: shop()},
		{name: "a dashboard", check: "dashboards", objects: shop(dashboard("istio", destination)), want: []finding{{warn, "", "", `1 dashboard asks for a reporter of metrics; without sidecars, HTTP metrics come from waypoints only: grafana/istio (reporter="destination")`}}},
		{name: "many dashboards", check: "dashboards", objects: shop(dashboard("a", destination), dashboard("b", destination), dashboard("c", destination), dashboard("d", destination)), want: []finding{{warn, "", "", "4 dashboards ask"}}},
		{name: "a dashboard of something else", check: "dashboards", objects: shop(dashboard("nodes", `{"expr": "up"}`))},
		{name: "a rule", check: "dashboards", objects: shop(rules("errors", ofSource)), want: []finding{{warn, "", "", "1 PrometheusRule asks for a reporter of metrics; without sidecars, HTTP metrics come from waypoints only: monitoring/errors (Errors)"}}},
		{name: "a recording rule", check: "dashboards", objects: shop(istio("monitoring.coreos.com/v1", "PrometheusRule", "monitoring", "r", "{groups: [{name: g, rules: [{record: total, expr: '"+ofSource+"'}]}]}")), want: []finding{{warn, "", "", "monitoring/r (total)"}}},
		{name: "a rule of something else", check: "dashboards", objects: shop(rules("errors", "up"))},
		{name: "a rule that cannot be read", check: "dashboards", objects: shop(istio("monitoring.coreos.com/v1", "PrometheusRule", "monitoring", "r", "{groups: none}")), want: []finding{{warn, "", "", "monitoring/r (could not be understood)"}}},
		{name: "both", check: "dashboards", objects: shop(dashboard("istio", destination), rules("errors", ofSource)), want: []finding{{warn, "", "", "1 dashboard"}, {warn, "", "", "1 PrometheusRule"}}},
		{name: "nothing moves", check: "dashboards", objects: append(enrolled(), dashboard("istio", destination), rules("errors", ofSource))},
	}...)

	telemetry := func(namespace, spec string) string {
		return istio("telemetry.istio.io/v1", "Telemetry", namespace, "t", spec)
	}
	const spans = "spans of its sidecars end"
	configured := func(setting string) []finding {
		return []finding{{warn, "ConfigMap istio-system/istio", "data.mesh (" + setting + ")", spans}}
	}
	return append(cases, []testCase{
		{name: "none", check: "tracing", objects: shop()},
		{name: "a default provider", check: "tracing", objects: meshConfig("defaultProviders: {tracing: [otel]}"), want: configured("defaultProviders.tracing")},
		{name: "a provider that is no default", check: "tracing", objects: meshConfig("extensionProviders: [{name: otel, opentelemetry: {service: o, port: 4317}}]")},
		{name: "the older setting", check: "tracing", objects: meshConfig("defaultConfig: {tracing: {zipkin: {address: z}}}"), want: configured("defaultConfig.tracing.zipkin")},
		{name: "the older setting, turned off", check: "tracing", objects: meshConfig("{enableTracing: false, defaultConfig: {tracing: {zipkin: {address: z}}}}")},
		{name: "the older setting, turned on", check: "tracing", objects: meshConfig("{enableTracing: true, defaultConfig: {tracing: {zipkin: {address: z}}}}"), want: configured("defaultConfig.tracing.zipkin")},
		{name: "nowhere to send spans to", check: "tracing", objects: meshConfig("{enableTracing: true, defaultConfig: {tracing: {sampling: 10}}}")},
		{name: "a Telemetry of the namespace", check: "tracing", objects: shop(telemetry("shop", "{tracing: [{providers: [{name: otel}]}]}")), want: []finding{{warn, "Telemetry shop/t", "spec.tracing", spans}}},
		{name: "a Telemetry of the mesh", check: "tracing", objects: shop(telemetry("istio-system", "{tracing: [{randomSamplingPercentage: 1}]}")), want: []finding{{warn, "Telemetry istio-system/t", "spec.tracing", spans}}},
		{name: "a Telemetry that turns it off", check: "tracing", objects: shop(telemetry("shop", "{tracing: [{disableSpanReporting: true}]}"))},
		{name: "a Telemetry of metrics", check: "tracing", objects: shop(telemetry("shop", "{metrics: [{}]}"))},
		{name: "a Telemetry that is attached", check: "tracing", objects: shop(telemetry("shop", "{targetRefs: [{kind: Service, group: \"\", name: cart}], tracing: [{}]}"))},
		{name: "a Telemetry of other pods", check: "tracing", objects: shop(telemetry("shop", "{selector: {matchLabels: {app: other}}, tracing: [{}]}"))},
		{name: "a Telemetry elsewhere", check: "tracing", objects: shop(telemetry("other", "{tracing: [{}]}"))},
		{name: "nothing moves", check: "tracing", objects: append(enrolled(), telemetry("shop", "{tracing: [{}]}"))},
	}...)
}
