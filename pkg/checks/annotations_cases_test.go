package checks_test

import (
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

func listens(ports ...int32) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) {
		container := &d.Spec.Template.Spec.Containers[0]
		for _, port := range ports {
			container.Ports = append(container.Ports, corev1.ContainerPort{ContainerPort: port})
		}
	}
}

func annotationCases() []testCase {
	const object = "Deployment shop/pay"
	annotated := func(key, value string, edits ...func(*appsv1.Deployment)) *appsv1.Deployment {
		return fixture.Deployment("shop", "pay", append(edits, fixture.TemplateAnnotation(key, value))...)
	}
	field := func(key string) string { return "spec.template.metadata.annotations[" + key + "]" }
	strict := peer("shop", "{mtls: {mode: STRICT}}")
	lax := peer("shop", "{selector: {matchLabels: {app: pay}}, mtls: {mode: STRICT}, portLevelMtls: {9090: {mode: PERMISSIVE}}}")
	const exclude, include, mode = "traffic.sidecar.istio.io/excludeInboundPorts", "traffic.sidecar.istio.io/includeInboundPorts", "sidecar.istio.io/interceptionMode"
	const kubevirt, reroute, config = "traffic.sidecar.istio.io/kubevirtInterfaces", "istio.io/reroute-virtual-interfaces", "proxy.istio.io/config"
	udp := func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 53, Protocol: corev1.ProtocolUDP}}
	}
	cases := []testCase{
		{name: "none", check: "sidecar-annotations", objects: shop()},
		{name: "those that hold in ambient mode", check: "sidecar-annotations", objects: shop(annotated("ambient.istio.io/bypass-inbound-capture", "true"), fixture.Deployment("shop", "b", fixture.TemplateAnnotation("ambient.istio.io/dns-capture", "false"), fixture.TemplateAnnotation(reroute, "tap0")))},
		{name: "others' and those of the migration", check: "sidecar-annotations", objects: shop(annotated("example.com/a", "b", fixture.TemplateAnnotation("sidecar.istio.io/inject", "true"), fixture.TemplateAnnotation("inject.istio.io/templates", "sidecar"), fixture.TemplateAnnotation("notistio.io/a", "b")))},
		{name: "a workload that has no sidecar", check: "sidecar-annotations", objects: shop(annotated(exclude, "9090", fixture.TemplateLabel("sidecar.istio.io/inject", "false")), strict)},
		{name: "another namespace's", check: "sidecar-annotations", objects: shop(fixture.Deployment("pay", "pay", fixture.TemplateAnnotation(exclude, "9090")), strict)},
		{name: "two of them", check: "sidecar-annotations", objects: shop(annotated("sidecar.istio.io/proxyCPU", "1", fixture.TemplateAnnotation("sidecar.istio.io/logLevel", "debug"))), want: []finding{
			{warn, object, field("sidecar.istio.io/logLevel"), "for the sidecar and has no effect"}, {warn, object, field("sidecar.istio.io/proxyCPU"), "resources are no longer needed"},
		}},
		{name: "a CronJob's", check: "sidecar-annotations", objects: shop(fixture.CronJob("shop", "night", func(c *batchv1.CronJob) {
			c.Spec.JobTemplate.Spec.Template.Annotations = labels{"sidecar.istio.io/userVolume": "[]"}
		})), want: []finding{{warn, "CronJob shop/night", "spec.jobTemplate.spec.template.metadata.annotations[sidecar.istio.io/userVolume]", "the volume was for the sidecar"}}},

		{name: "an excluded inbound port", check: "sidecar-annotations", objects: shop(annotated(exclude, "9090")), want: []finding{{warn, object, field(exclude), "the exclusion ends: ztunnel captures these ports"}}},
		{name: "an excluded inbound port under STRICT", check: "sidecar-annotations", objects: shop(annotated(exclude, "9090, 9091"), strict), want: []finding{{fail, object, field(exclude), "does not capture port 9090, 9091, ztunnel does, and STRICT applies there"}}},
		{name: "an excluded inbound port under the mesh's STRICT", check: "sidecar-annotations", objects: shop(annotated(exclude, "9090"), peer("istio-system", "{mtls: {mode: STRICT}}")), want: []finding{{fail, object, field(exclude), "port 9090"}}},
		{name: "an excluded inbound port that is not STRICT", check: "sidecar-annotations", objects: shop(annotated(exclude, "9090"), lax), want: []finding{{warn, object, field(exclude), "the exclusion ends"}}},
		{name: "two excluded inbound ports, one of them STRICT", check: "sidecar-annotations", objects: shop(annotated(exclude, "9090,9091,x,99999"), lax), want: []finding{{fail, object, field(exclude), "does not capture port 9091, ztunnel"}}},
		{name: "included inbound ports under STRICT", check: "sidecar-annotations", objects: shop(annotated(include, "8080", listens(8080, 9090)), strict), want: []finding{{fail, object, field(include), "does not capture port 9090, ztunnel"}}},
		{name: "included inbound ports that are all there are", check: "sidecar-annotations", objects: shop(annotated(include, "8080,9090", listens(8080, 9090)), strict), want: []finding{{warn, object, field(include), "the limit ends"}}},
		{name: "all inbound ports", check: "sidecar-annotations", objects: shop(annotated(include, "*", listens(8080)), strict), want: []finding{{warn, object, field(include), "the limit ends"}}},
		{name: "UDP is not captured anyway", check: "sidecar-annotations", objects: shop(annotated(include, "", udp), strict), want: []finding{{warn, object, field(include), "the limit ends"}}},
		{name: "no interception under STRICT", check: "sidecar-annotations", objects: shop(annotated(mode, "NONE", listens(8080)), strict), want: []finding{{fail, object, field(mode), "does not capture port 8080"}}},
		{name: "TPROXY under STRICT", check: "sidecar-annotations", objects: shop(annotated(mode, "TPROXY", listens(8080)), strict), want: []finding{{warn, object, field(mode), "keeps the caller's address"}}},

		{name: "virtual interfaces, in the sidecar's way", check: "sidecar-annotations", objects: shop(annotated(kubevirt, "tap0")), want: []finding{{fail, object, field(kubevirt), "would be taken for inbound traffic"}}},
		{name: "virtual interfaces, in both ways", check: "sidecar-annotations", objects: shop(annotated(kubevirt, "tap0", fixture.TemplateAnnotation(reroute, "tap0")))},

		{name: "a configuration", check: "sidecar-annotations", objects: shop(annotated(config, "{holdApplicationUntilProxyStarts: true, concurrency: 2, tracing: {}, proxyMetadata: {SECRET: hush}}")), want: []finding{{warn, object, field(config), "settings of the sidecar end: concurrency (ztunnel's own holds), holdApplicationUntilProxyStarts (pointless: ztunnel is there before the pod), proxyMetadata, tracing (a waypoint would have its own)"}}},
		{name: "a configuration that is none", check: "sidecar-annotations", objects: shop(annotated(config, "{")), want: []finding{{warn, object, field(config), "the sidecar's configuration has no effect"}}},
	}
	for key, message := range map[string]string{
		"traffic.sidecar.istio.io/excludeOutboundPorts": "the exclusion ends", "traffic.sidecar.istio.io/excludeOutboundIPRanges": "the exclusion ends",
		"traffic.sidecar.istio.io/includeOutboundPorts": "the limit ends", "traffic.sidecar.istio.io/includeOutboundIPRanges": "the limit ends",
		"traffic.sidecar.istio.io/excludeInterfaces": "every interface", "sidecar.istio.io/proxyMemoryLimit": "resources", "sidecar.istio.io/userVolumeMount": "volume",
		"sidecar.istio.io/bootstrapOverride": "bootstrap", "sidecar.istio.io/rewriteAppHTTPProbers": "probes are not rewritten", "sidecar.istio.io/nativeSidecar": "means nothing",
		"sidecar.istio.io/statsInclusionRegexps": "statistics end", "sidecar.istio.io/proxyImageType": "image", "status.sidecar.istio.io/port": "status port",
		"readiness.status.sidecar.istio.io/periodSeconds": "readiness probe is gone", "sidecar.istio.io/somethingNew": "no effect in ambient mode",
	} {
		cases = append(cases, testCase{name: key, check: "sidecar-annotations", objects: shop(annotated(key, "1")), want: []finding{{warn, object, field(key), message}}})
	}
	return cases
}

func injectorConfig(name, revision, config string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: istio-system, labels: {istio.io/rev: " + revision + "}}\ndata: {config: '" + config + "'}"
}

func templateCases() []testCase {
	const object, defaults = "ConfigMap istio-system/istio-sidecar-injector", "data.config (defaultTemplates)"
	const stock = "sidecar: networking.istio.io/tunnel, gateway: x"
	config := func(config string) string { return injectorConfig("istio-sidecar-injector", "default", config) }
	named := func(names string) *appsv1.Deployment {
		return fixture.Deployment("shop", "pay", fixture.TemplateAnnotation("inject.istio.io/templates", names))
	}
	const field = "spec.template.metadata.annotations[inject.istio.io/templates]"
	return []testCase{
		{name: "no configuration", check: "injection-templates", objects: shop()},
		{name: "Istio's own", check: "injection-templates", objects: shop(config("{defaultTemplates: [sidecar], templates: {"+stock+"}}"), named("sidecar"))},
		{name: "one that nobody uses", check: "injection-templates", objects: shop(config("{templates: {" + stock + ", hello: x}}"))},
		{name: "a default", check: "injection-templates", objects: shop(config("{defaultTemplates: [sidecar, hello], templates: {" + stock + ", hello: x}}")), want: []finding{{warn, object, defaults, "template hello adds to pods goes with the sidecars of Deployment/cart"}}},
		{name: "a default by an alias", check: "injection-templates", objects: shop(config("{defaultTemplates: [all], aliases: {all: [sidecar, hello]}, templates: {" + stock + ", hello: x}}")), want: []finding{{warn, object, defaults, "template hello adds"}}},
		{name: "an alias for Istio's own", check: "injection-templates", objects: shop(config("{defaultTemplates: [all], aliases: {all: [sidecar]}, templates: {"+stock+"}}"), named("all"))},
		{name: "a workload's", check: "injection-templates", objects: shop(config("{templates: {"+stock+"}}"), named("sidecar, hello")), want: []finding{{warn, "Deployment shop/pay", field, "template hello adds to its pods goes with the sidecar"}}},
		{name: "a workload's, and nothing is known of templates", check: "injection-templates", objects: shop(named("sidecar,hello")), want: []finding{{warn, "Deployment shop/pay", field, "template hello"}}},
		{name: "a workload's without sidecar", check: "injection-templates", objects: shop(fixture.Deployment("shop", "pay", fixture.TemplateAnnotation("inject.istio.io/templates", "hello"), fixture.TemplateLabel("sidecar.istio.io/inject", "false")))},
		{name: "a changed sidecar", check: "injection-templates", objects: shop(config("{templates: {sidecar: x}}")), want: []finding{{warn, object, "data.config (templates.sidecar)", "the sidecar's template is not Istio's own: what it adds to pods goes with the sidecars of Deployment/cart"}}},
		{name: "another revision's", check: "injection-templates", objects: shop(injectorConfig("istio-sidecar-injector-canary", "canary", "{defaultTemplates: [hello]}"))},
		{name: "a configuration that is none", check: "injection-templates", objects: shop(config("[")), want: []finding{{unknown, "", "", "it cannot be told without Istio ConfigMaps: ConfigMap istio-system/"}}},
	}
}
