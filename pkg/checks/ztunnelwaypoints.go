package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// ztunnelWaypoints asks ztunnel what it was told of the pods' own waypoints.
func ztunnelWaypoints() Check {
	return Check{
		ID: "ztunnel-waypoints", Category: CategoryDataPlane, Severity: v1alpha1.SeverityError,
		About: "Whether ztunnel sends calls to the own address of every pod through the waypoint that the pod names.",
		Why: "istiod tells ztunnel of a pod's waypoint once that is ready, admits the pod's namespace and takes calls to pods (istio " +
			"pilot/pkg/serviceregistry/ambient/waypoints.go, fetchWaypointForWorkload). Until then calls go past it, and past the policies that are attached to it.",
		Needs: []string{"Pod", mesh.ZtunnelPods, mesh.IstioConfigMaps, mesh.KindGateway}, Passed: "ztunnel goes through every waypoint that pods name",
		Run: func(subject Subject) []Finding {
			return perPod(subject, waypointFinding(subject.Snapshot, subject.Namespace))
		},
	}
}

// ThroughWaypoints is the gate of a restarted workload as far as ztunnel knows its
// waypoint. It is what verify checks.
func ThroughWaypoints(snapshot *mesh.Snapshot, namespace mesh.Namespace, pods []mesh.Pod, evidence *mesh.Evidence) []Finding {
	judge := waypointFinding(snapshot, namespace)
	var findings []Finding
	for _, pod := range pods {
		if node, problem := evidenceOf(evidence, pod); problem == "" {
			if finding := judge(pod, node); finding != nil {
				findings = append(findings, *finding)
			}
		}
	}
	return findings
}

// waypointFinding wants of a pod that names a waypoint for pods that ztunnel knows it.
func waypointFinding(snapshot *mesh.Snapshot, namespace mesh.Namespace) func(mesh.Pod, mesh.NodeEvidence) *Finding {
	return func(pod mesh.Pod, node mesh.NodeEvidence) *Finding {
		gateway, names := snapshot.WorkloadWaypointOf(pod.Labels, namespace)
		if _, own := pod.Labels[label.IoIstioUseWaypoint.Name]; !own || !names {
			return nil
		}
		known := node.Workloads[pod.Namespace+"/"+pod.Name].Waypoint
		if leadsTo(known, gateway) {
			return nil
		}
		through := "through none"
		if known != "" {
			through = "through " + known
		}
		return &Finding{
			Status: v1alpha1.StatusFail, Object: reference(pod.Reference()), Field: "metadata.labels[" + label.IoIstioUseWaypoint.Name + "]",
			Message: fmt.Sprintf("%s does not send calls to the pod through waypoint %s/%s, but %s", node.Ztunnel, gateway.Namespace, gateway.Name, through),
			Remedy:  "look at the waypoint's status: it has to be programmed, with an address",
		}
	}
}

// leadsTo says whether what ztunnel was told of a waypoint is a Gateway's address:
// one of its status, behind a namespace or a network.
func leadsTo(known string, gateway gatewayv1.Gateway) bool {
	in, address, _ := strings.Cut(known, "/")
	return slices.ContainsFunc(gateway.Status.Addresses, func(of gatewayv1.GatewayStatusAddress) bool {
		return of.Value == address && (in == gateway.Namespace || of.Type == nil || *of.Type != gatewayv1.HostnameAddressType)
	})
}
