package checks

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// extensionChecks are about what changes the proxies themselves.
func extensionChecks() []Check {
	return []Check{
		extensions(),
	}
}

// extensions is about what changes the proxies themselves. Mesh-wide
// telemetry is common and harmless to lose for the time being: a warning.
func extensions() Check {
	return Check{
		ID: "extensions", Category: CategoryExtensions, Severity: v1alpha1.SeverityError,
		Needs:  append(rootNamespaces("EnvoyFilter", "WasmPlugin", "TrafficExtension", "Telemetry", "ProxyConfig"), workloadKinds()...),
		Passed: "nothing that extends sidecars applies here",
		Run: func(subject Subject) []Finding {
			findings := slices.Concat(
				extensionFindings(subject, "EnvoyFilter", v1alpha1.StatusFail, "it changes sidecars, which are gone in ambient mode"),
				extensionFindings(subject, "WasmPlugin", v1alpha1.StatusFail, "it runs in sidecars and waypoints only"),
				extensionFindings(subject, "TrafficExtension", v1alpha1.StatusFail, "it runs in sidecars and waypoints only"),
				extensionFindings(subject, "ProxyConfig", v1alpha1.StatusWarn, "it has no effect in ambient mode"),
			)
			for _, finding := range extensionFindings(subject, "Telemetry", v1alpha1.StatusFail, "its HTTP telemetry comes from sidecars and waypoints only") {
				if finding.Object.Namespace != subject.Namespace.Name {
					finding.Status, finding.Remedy = v1alpha1.StatusWarn, ""
				}
				findings = append(findings, finding)
			}
			return findings
		},
	}
}
