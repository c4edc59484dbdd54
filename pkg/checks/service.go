package checks

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
)

// forServices are the gates of an enrolment that are about waypoints and the control
// plane behind them: all that matters where a Service gets a waypoint and nothing else
// becomes of its namespace.
var forServices = []string{
	"protected-namespace", "namespace-terminating", "istio-installed", "istio-version", "discovery-selectors", "multicluster", "gateway-api",
	"istiod-ready", "istiod-ambient", "istiod-policy-flags", "sidecar-hbone",
	"route-conflicts", "waypoint-missing", "waypoint-unready", "waypoint-shape",
	"network-policies", "plugin-policies", "pod-security", "resource-quota", "reconcilers", "helm-releases",
}

// ServiceGates are those of EnrollGates that must hold before a single Service gets a
// waypoint: no pod is restarted or captured by that.
func ServiceGates() []Check {
	return slices.DeleteFunc(EnrollGates(), func(check Check) bool { return !slices.Contains(forServices, check.ID) })
}

// AboutWaypoint says whether a gate names a waypoint that takes no traffic although
// something names it. Such a gate counts where nothing is left to be done for a
// Service that does.
func AboutWaypoint(id string) bool {
	return id == "waypoint-missing" || id == "waypoint-unready" || id == "waypoint-shape"
}

// ServiceRollbackGates are the checks that must hold before a single Service is taken
// off its waypoint.
func ServiceRollbackGates() []Check {
	return []Check{
		namespaceTerminating(), istioInstalled(), callsCompared(), callsNewlyAllowed(), callsNewlyProven(), callsNewlyDenied(), guardsStay(),
	}
}

func guardsStay() Check {
	const id = "guards-stay"
	return planned(Check{
		ID: id, Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Looks for policies that refuse calls past waypoints and stay for other pods, although they are about those of a Service that is taken off its waypoint.",
		Why: "Such a policy lets in what comes through the waypoint and refuses whatever ztunnel cannot tell from what it is to refuse, which may be all " +
			"calls to the Service from then on. Without it, calls to the other pods would be let in that are refused.",
		Needs: []string{mesh.KindAuthorizationPolicy, mesh.KindService}, Passed: "no policy for calls past the waypoint is left about the Service's pods",
	}, func(subject Subject) []Finding {
		var findings []Finding
		for _, guard := range subject.Migration.GuardsStay {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusFail, Object: reference(guard.Object), Field: guard.Field, Message: guard.Message,
				Remedy: "leave the Service behind its waypoint, roll back the namespace, or accept it: --accept " + acceptable(id, guard.Object),
			})
		}
		return findings
	})
}

// takenOff is about Services that somebody has taken off their waypoint by a rollback:
// that is no drift, and yet nothing does there what sidecars did.
func takenOff() Check {
	return handing(Check{
		ID: IDTakenOff, Category: CategoryPolicies, Severity: v1alpha1.SeverityWarning,
		About: "Names Services that a rollback has taken off their waypoint, and that need one.",
		Why: "What waypoints do at layer 7 (policies on requests, tokens, routes) nothing does for such a Service once its pods have no sidecars. Which " +
			"calls that lets in was judged when it was taken off; enroll --resume leaves it so.",
		Needs: []string{mesh.KindService, mesh.KindAuthorizationPolicy, mesh.KindRequestAuthentication}, Passed: "no rollback has taken a Service off a waypoint that it needs",
	}, func(subject Subject) []Finding {
		var findings []Finding
		for _, need := range subject.Snapshot.WaypointNeeds(subject.Namespace) {
			if need.Service.Kind != mesh.KindService || need.OnlyHints() || !slices.Contains(subject.Handed.TakenOff, need.Service.Name) {
				continue
			}
			if _, uses := subject.Snapshot.WaypointOf(need.Labels, subject.Namespace); uses {
				continue
			}
			findings = append(findings, Finding{
				Status: v1alpha1.StatusWarn, Object: reference(need.Service), Field: "metadata.labels[" + label.IoIstioUseWaypoint.Name + "]",
				Message: "a rollback has taken it off its waypoint, and it " + needMessage(need),
				Remedy:  "kubectl ambient enroll service/" + need.Service.Name + " -n " + need.Service.Namespace + " puts it on again",
			})
		}
		return findings
	})
}

// IDTakenOff is the ID of the check about Services that were taken off their waypoint.
const IDTakenOff = "taken-off"

// TakenOff is what is to be said of Services that rollbacks have taken off their
// waypoint, by name.
func TakenOff(snapshot *mesh.Snapshot, namespace mesh.Namespace, services []string) []v1alpha1.CheckResult {
	if len(services) == 0 {
		return nil
	}
	return Run([]Check{takenOff()}, Subject{Snapshot: snapshot, Namespace: namespace, Handed: &Handed{TakenOff: services}})
}

// behindTakenOff says whether a pod is behind a Service that was taken off its waypoint: a
// check of its own names that.
func (s Subject) behindTakenOff(pod mesh.Pod) bool {
	return s.Handed != nil && len(s.Handed.TakenOff) > 0 && slices.ContainsFunc(s.Snapshot.Services(s.Namespace.Name), func(service corev1.Service) bool {
		return slices.Contains(s.Handed.TakenOff, service.Name) && len(service.Spec.Selector) > 0 && mesh.SelectsLabels(service.Spec.Selector, pod.Labels)
	})
}
