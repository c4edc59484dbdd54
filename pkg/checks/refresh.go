package checks

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// IDSidecarHBONE is the ID of the check for sidecars that accept no HBONE.
const IDSidecarHBONE = "sidecar-hbone"

// forRefreshing are the gates of an enrolment that are about a restart in which pods
// keep their sidecars.
var forRefreshing = []string{
	"protected-namespace", "namespace-terminating", "istio-installed", "istio-version", "istiod-ready", "istiod-ambient",
	IDSidecarHBONE, "leftover-sidecars", "restartable", "argo-rollouts", "restart-availability", "readiness-probes", "disruption-budgets",
	"reconcilers", "helm-releases",
}

// RefreshGates must hold before sidecars are replaced by newer ones and nothing else is
// done.
func RefreshGates() []Check {
	gates := slices.DeleteFunc(EnrollGates(), func(check Check) bool { return !slices.Contains(forRefreshing, check.ID) })
	return append(gates, callsCompared(), callsNewlyAllowed(), callsNewlyProven(), callsNewlyDenied())
}

// LacksTunnel says whether a pod has a sidecar that ztunnel and waypoints do not call by
// HBONE.
func LacksTunnel(pod mesh.Pod) bool {
	return pod.HasSidecar() && !pod.IsAgent() && !pod.Tunnels()
}

// PredatesHBONE says whether that is because the sidecar was injected before the mesh
// had the ambient profile, so that a newer one would be called so.
func PredatesHBONE(pod mesh.Pod) bool {
	return pod.Live() && LacksTunnel(pod) && pod.Labels[mesh.TunnelLabel] == "" && pod.ProxyEnvironment["ISTIO_META_ENABLE_HBONE"] != "true"
}

// refreshes says whether the plan gives a pod's workload newer sidecars.
func (s Subject) refreshes(pod mesh.Pod) bool {
	if s.Migration == nil || pod.Namespace != s.Namespace.Name || !PredatesHBONE(pod) {
		return false
	}
	return slices.ContainsFunc(s.Migration.Refreshed, func(reference v1alpha1.ObjectReference) bool {
		workload, found := s.Snapshot.Workload(reference)
		return found && slices.ContainsFunc(s.Snapshot.PodsOf(workload), func(of mesh.Pod) bool { return of.Name == pod.Name })
	})
}

// needsNoTunnel says whether the plan ends before anything calls the sidecars of a
// namespace by HBONE that they do not accept. Where it has nothing to do although its
// own do not, that is an obstacle.
func (s Subject) needsNoTunnel(namespace string) bool {
	return s.Migration != nil && s.Migration.OnlyRefreshes && (namespace != s.Namespace.Name || len(s.Migration.Refreshed) > 0)
}
