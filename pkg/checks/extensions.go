package checks

import (
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// extensionChecks are about what changes the proxies themselves.
func extensionChecks() []Check {
	return []Check{
		envoyFilters(), wasmPlugins(), telemetry(), proxyConfigs(),
	}
}

// extensionNeeds are what checks of extensions rest on.
func extensionNeeds(kinds ...string) []string {
	return append(rootNamespaces(append(kinds, mesh.KindService, mesh.KindServiceEntry)...), workloadKinds()...)
}

func envoyFilters() Check {
	return Check{
		ID: "envoy-filters", Category: CategoryExtensions, Severity: v1alpha1.SeverityError,
		About: "Looks for EnvoyFilters that change sidecars of this namespace, and for those that are attached to its waypoints.",
		Why: "An EnvoyFilter patches the configuration of a proxy that is gone in ambient mode, and with it whatever it protected or repaired. " +
			"One with targetRefs is applied to a waypoint by istiod's code, but Istio does not support it there (docs: Migrate policies): " +
			"the next version may break it. Patches for gateways alone concern neither.",
		Needs: extensionNeeds(mesh.KindEnvoyFilter, mesh.KindGateway, mesh.KindGatewayClass), Passed: "no EnvoyFilter changes sidecars or waypoints here, but for those carried over",
		Run: func(subject Subject) []Finding {
			needs := subject.Snapshot.WaypointNeeds(subject.Namespace)
			var findings []Finding
			for _, extension := range applyingExtensions(subject, mesh.KindEnvoyFilter) {
				object := reference(extension.Reference)
				if field := extension.EffectiveField(); field != "" && !subject.carries(extension.Reference) {
					findings = append(findings, Finding{
						Status: v1alpha1.StatusFail, Object: object, Field: field,
						Message: "it changes sidecars, which are gone in ambient mode" + concerned(needs, object), Remedy: later,
					})
				}
			}
			return append(findings, attachedFilters(subject)...)
		},
	}
}

// attachedFilters are EnvoyFilters that istiod applies to waypoints of the
// namespace: they name one, or the class of all.
func attachedFilters(subject Subject) []Finding {
	var findings []Finding
	for _, extension := range subject.Snapshot.Extensions() {
		if extension.Reference.Kind != mesh.KindEnvoyFilter {
			continue
		}
		own := extension.Reference.Namespace == subject.Namespace.Name
		root := slices.Contains(subject.Snapshot.RootNamespaces(), extension.Reference.Namespace)
		for i, target := range extension.Targets {
			gateway, found := subject.Snapshot.Gateway(extension.Reference.Namespace, target.Name)
			isWaypoint := own && target.Kind == mesh.KindGateway && found && subject.Snapshot.IsWaypoint(gateway)
			isClass := root && target.Kind == mesh.KindGatewayClass && target.Name == mesh.WaypointClass
			if !isWaypoint && !isClass && (!own || target.Kind != mesh.KindService && target.Kind != mesh.KindServiceEntry) {
				continue
			}
			findings = append(findings, Finding{
				Status: v1alpha1.StatusWarn, Object: reference(extension.Reference), Field: target.Field(i),
				Message: "it is attached to " + target.Kind + " " + target.Name + ", and so to a waypoint, where Istio does not support EnvoyFilters",
				Remedy:  "look for another way to do what it does: TrafficExtension, WasmPlugin, Telemetry",
			})
		}
	}
	return findings
}

func wasmPlugins() Check {
	return Check{
		ID: "wasm-plugins", Category: CategoryExtensions, Severity: v1alpha1.SeverityError,
		About: "Looks for WasmPlugins and TrafficExtensions that run in sidecars of this namespace.",
		Why: "Extensions run in Envoy. ztunnel is none, and a waypoint runs only those that are attached to it by targetRefs (istio " +
			"pilot/pkg/model/policyattachment.go). Where the extension authenticates, rewrites or limits requests, that ends.",
		Needs: extensionNeeds(mesh.KindWasmPlugin, mesh.KindTrafficExtension), Passed: "every WasmPlugin and TrafficExtension that runs in sidecars here is carried over to a waypoint",
		Run: func(subject Subject) []Finding {
			needs := subject.Snapshot.WaypointNeeds(subject.Namespace)
			var findings []Finding
			for _, kind := range []string{mesh.KindWasmPlugin, mesh.KindTrafficExtension} {
				for _, extension := range applyingExtensions(subject, kind) {
					if subject.carries(extension.Reference) {
						continue
					}
					object := reference(extension.Reference)
					findings = append(findings, Finding{
						Status: v1alpha1.StatusFail, Object: object, Field: extension.EffectiveField(),
						Message: "it runs in sidecars and waypoints only" + concerned(needs, object), Remedy: later,
					})
				}
			}
			return findings
		},
	}
}

// telemetry is about what proxies report. Mesh-wide telemetry is common and
// harmless to lose for the time being: a warning.
func telemetry() Check {
	return Check{
		ID: "telemetry", Category: CategoryExtensions, Severity: v1alpha1.SeverityError,
		About: "Looks at Telemetry that configures what sidecars of this namespace report.",
		Why: "ztunnel reports TCP metrics and writes access logs of its own, and reads no Telemetry; spans and HTTP metrics end. At a waypoint " +
			"Telemetry for the whole mesh, the waypoint's namespace or the service's holds, and one with targetRefs; one with a selector does not " +
			"(istio pilot/pkg/model/telemetry.go, applicableTelemetries). The mesh's is announced, that of the namespace itself blocks.",
		Needs: extensionNeeds(mesh.KindTelemetry), Passed: "every Telemetry that configures sidecars here is carried over to a waypoint",
		Run: func(subject Subject) []Finding {
			needs := subject.Snapshot.WaypointNeeds(subject.Namespace)
			var findings []Finding
			for _, extension := range applyingExtensions(subject, mesh.KindTelemetry) {
				configured := configures(extension)
				if len(configured) == 0 || subject.carries(extension.Reference) {
					continue
				}
				object := reference(extension.Reference)
				at := "a waypoint would heed it"
				if len(extension.Selector) > 0 {
					at = "a waypoint would not heed it either, since it has a selector"
				}
				finding := Finding{
					Status: v1alpha1.StatusFail, Object: object, Field: extension.EffectiveField(), Remedy: later,
					Message: "what it says of HTTP telemetry (" + strings.Join(configured, ", ") + ") ends with the sidecars; " + at + concerned(needs, object),
				}
				if extension.Reference.Namespace != subject.Namespace.Name {
					finding.Status, finding.Remedy = v1alpha1.StatusWarn, ""
				}
				findings = append(findings, finding)
			}
			return findings
		},
	}
}

// configures names what a Telemetry is about.
func configures(extension mesh.Extension) []string {
	spec, _ := extension.Object["spec"].(map[string]any)
	var configured []string
	for _, part := range []struct{ field, name string }{{"tracing", "tracing"}, {"metrics", "metrics"}, {"accessLogging", "access logging"}} {
		if list, _ := spec[part.field].([]any); len(list) > 0 {
			configured = append(configured, part.name)
		}
	}
	return configured
}

func proxyConfigs() Check {
	return Check{
		ID: "proxy-configs", Category: CategoryExtensions, Severity: v1alpha1.SeverityWarning,
		About: "Looks for ProxyConfigs that configure sidecars of this namespace.",
		Why: "A ProxyConfig is read when a pod is injected (istio pilot/pkg/model/proxy_config.go): what is not injected has no use for it. " +
			"ztunnel has its own settings, in its DaemonSet.",
		Needs: append(rootNamespaces(mesh.KindProxyConfig), workloadKinds()...), Passed: "no ProxyConfig configures sidecars here",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, extension := range applyingExtensions(subject, mesh.KindProxyConfig) {
				findings = append(findings, Finding{
					Status: v1alpha1.StatusWarn, Object: reference(extension.Reference), Field: extension.EffectiveField(),
					Message: "it has no effect in ambient mode",
				})
			}
			return findings
		},
	}
}
