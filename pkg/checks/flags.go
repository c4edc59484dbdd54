package checks

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// policyFlag is a switch of istiod that changes which policies hold where.
type policyFlag struct {
	name string
	// standard is its value where it is not set, with ambient mode enabled.
	standard bool
	// otherwise is what is different with the other value.
	otherwise string
}

// policyFlags are those of istio pilot/pkg/features/ambient.go.
func policyFlags() []policyFlag {
	return []policyFlag{
		{
			"PILOT_AUTO_ALLOW_WAYPOINT_POLICY", false,
			"every pod behind a waypoint allows that waypoint only, as soon as it is bound: callers that bypass it, those with sidecars included, are refused unless another ALLOW policy admits them",
		},
		{
			"ENABLE_LAYERED_WAYPOINT_AUTHORIZATION_POLICIES", false,
			"policies that select the waypoint's own pod, those without a selector in its namespace and the root namespace included, decide by their L4 parts who may call the waypoint",
		},
		{
			"AMBIENT_ENABLE_DRY_RUN_AUTHORIZATION_POLICY", false,
			"policies for a dry run are sent to ztunnel, and a ztunnel before 1.29 enforces them",
		},
		{
			"ENABLE_INGRESS_WAYPOINT_ROUTING", true,
			"gateways never call waypoints, whatever istio.io/ingress-use-waypoint says: L7 policies that move to a waypoint do not hold for what comes through a gateway",
		},
		{
			"PILOT_ENABLE_AMBIENT_WAYPOINTS", true,
			"the controllers of ambient mode do not run: there are no waypoints, and no L7 policies for ambient pods",
		},
		{
			"PILOT_ENABLE_SENDING_HBONE", true,
			"sidecars and gateways have no listener to send by HBONE, by which they are told to call pods in ambient mode: such calls fail",
		},
		{
			"PILOT_ENABLE_SIDECAR_LISTENING_HBONE", true,
			"sidecars do not accept HBONE, whatever their pods' labels say: calls of pods in ambient mode to them fail",
		},
	}
}

// istiodPolicyFlags: the plan is made for istiod's defaults.
func istiodPolicyFlags() Check {
	return Check{
		ID: "istiod-policy-flags", Category: CategoryComponents, Severity: v1alpha1.SeverityWarning,
		About: "Switches in istiod's environment that change which policies hold where in ambient mode.",
		Why: "What this tool says of policies, at ztunnel and at waypoints, holds for istiod's defaults. These switches change it: which callers a pod behind a waypoint admits by itself, " +
			"whether policies with selectors count at a waypoint, whether gateways use waypoints at all, and whether pods in ambient mode and sidecars reach each other " +
			"(istio pilot/pkg/features/ambient.go, pilot/pkg/serviceregistry/ambient/policies.go, pilot/pkg/networking/plugin/authz/authorization.go, " +
			"pilot/pkg/networking/core/listener.go, pilot/pkg/model/context.go).",
		Needs:  []string{mesh.IstiodDeployments},
		Passed: "istiod's switches for policies in ambient mode are at their defaults",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, istiod := range subject.Snapshot.Istiods() {
				var hidden []string
				for _, flag := range policyFlags() {
					value, state := mesh.Setting(istiod.Spec.Template, flag.name)
					if state == mesh.SettingHidden {
						hidden = append(hidden, flag.name)
					}
					on, err := strconv.ParseBool(value)
					if state != mesh.SettingSet || err != nil || on == flag.standard {
						// What is no boolean counts for nothing (istio pkg/env).
						continue
					}
					findings = append(findings, Finding{
						Status: v1alpha1.StatusWarn, Object: deploymentReference(istiod), Field: environmentField(flag.name),
						Message: fmt.Sprintf("%s is %q on revision %s: %s", flag.name, value, mesh.RevisionOf(istiod), flag.otherwise),
						Remedy:  "take it off istiod, or see that the plan's policies suit it",
					})
				}
				if len(hidden) > 0 {
					findings = append(findings, Finding{
						Status: v1alpha1.StatusWarn, Object: deploymentReference(istiod), Field: "spec.template.spec.containers[].env",
						Message: fmt.Sprintf("whether revision %s sets %s cannot be seen: what it would be set by is not in the Deployment itself",
							mesh.RevisionOf(istiod), strings.Join(hidden, ", ")),
						Remedy: "see that istiod's environment does not set them",
					})
				}
			}
			return findings
		},
	}
}
