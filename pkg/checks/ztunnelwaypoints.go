package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// ztunnelWaypoints asks ztunnel what it was told of the pods' own waypoints.
func ztunnelWaypoints() Check {
	return Check{
		ID: "ztunnel-waypoints", Category: CategoryDataPlane, Severity: v1alpha1.SeverityError,
		About: "Whether ztunnel sends calls to every Service through the waypoint that is named for it, and to one without through none; and calls to the own address of a pod whose label names a waypoint, through that. " +
			"Pods that only their namespace's label names one for are not looked at. " +
			"What waypoint-unready and waypoint-shape say of a waypoint, this does not say again.",
		Why: "istiod tells ztunnel of a waypoint once that is ready, admits the namespace and takes such calls (istio " +
			"pilot/pkg/serviceregistry/ambient/waypoints.go, fetchWaypointForService and fetchWaypointForWorkload). Until then calls go past it, and past the policies that are attached to it. That ztunnel was never told of a Service, ztunnel-in-step says where istiod can be asked.",
		Needs:     []string{"Pod", mesh.KindService, mesh.ZtunnelPods, mesh.IstioConfigMaps, mesh.KindGateway},
		DependsOn: []string{"waypoint-shape"}, DependsThere: []string{IDZtunnelCaptured},
		Passed: "ztunnel goes through every waypoint that is named, ready and made for such calls",
		Run: func(subject Subject) []Finding {
			findings := perCaptured(subject, waypointFinding(subject.Snapshot, subject.Namespace))
			if subject.Evidence == nil {
				return findings
			}
			return append(findings, aroundWaypoints(subject)...)
		},
	}
}

// aroundWaypoints are the Services of the namespace that the ztunnels which were asked
// reach by another waypoint than the one that is named for them. Those without one
// address of their own are not sent anywhere by ztunnel.
func aroundWaypoints(subject Subject) []Finding {
	var findings []Finding
	nodes, services := nodesAsked(subject.Snapshot, subject.Namespace.Name, subject.Evidence), map[string]map[string]mesh.ZtunnelService{}
	for _, name := range nodes {
		services[name] = knownServices(subject.Evidence.Nodes[name], subject.Namespace.Name)
	}
	for _, service := range subject.Snapshot.Services(subject.Namespace.Name) {
		if mesh.Headless(service) || service.Spec.Type == corev1.ServiceTypeExternalName {
			continue
		}
		gateway, meant := subject.Snapshot.WaypointOf(service.Labels, subject.Namespace)
		if meant && len(gateway.Status.Addresses) == 0 {
			// waypointUnready says so; of one that passes over the Service waypointShape does.
			continue
		}
		for _, name := range nodes {
			known, told := services[name][service.Name]
			if !told {
				if meant && neverTold(subject.Evidence, name) {
					findings = append(findings, untoldFinding(service, subject.Evidence.Nodes[name]))
					break
				}
				continue
			}
			if meant && leadsTo(known.Waypoint, gateway) || !meant && known.Waypoint == "" {
				continue
			}
			through := "through none"
			if meant {
				through = fmt.Sprintf("through waypoint %s/%s", gateway.Namespace, gateway.Name)
			}
			findings = append(findings, Finding{
				Status: v1alpha1.StatusFail, Object: reference(mesh.ServiceReference(service.Namespace, service.Name)),
				Field:   "metadata.labels[" + label.IoIstioUseWaypoint.Name + "]",
				Message: fmt.Sprintf("%s does not send calls to the Service %s, but %s", subject.Evidence.Nodes[name].Ztunnel, through, passing(known.Waypoint)),
				Remedy:  "look at the condition istio.io/WaypointBound of the Service, and at the status of the waypoint",
			})
			break
		}
	}
	return findings
}

// neverTold says whether nothing makes up for it that the ztunnel of a node does not know a
// Service. One that asks on demand has not been asked for it; and where istiod says what
// it means ztunnel to know, ztunnelInStep compares that.
func neverTold(evidence *mesh.Evidence, name string) bool {
	node := evidence.Nodes[name]
	istiod, asked := evidence.Istiods[node.XDSAddress]
	return node.Problem == "" && !node.OnDemand && asked && istiod.Problem != ""
}

func untoldFinding(service corev1.Service, node mesh.NodeEvidence) Finding {
	return Finding{
		Status: v1alpha1.StatusFail, Object: reference(mesh.ServiceReference(service.Namespace, service.Name)), Field: useWaypointField,
		Message: fmt.Sprintf("%s was not told of the Service by istiod, and sends calls to it through no waypoint", node.Ztunnel),
		Remedy:  "look at the log of " + node.Ztunnel + " for its connection to istiod",
	}
}

// knownServices is what ztunnel knows of the Services of a namespace, by their names,
// whatever the cluster's domain.
func knownServices(node mesh.NodeEvidence, namespace string) map[string]mesh.ZtunnelService {
	services := map[string]mesh.ZtunnelService{}
	for key, known := range node.Services {
		hostname, within := strings.CutPrefix(key, namespace+"/")
		if name, _, is := strings.Cut(hostname, "."+namespace+".svc."); within && is {
			services[name] = known
		}
	}
	return services
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
		return &Finding{
			Status: v1alpha1.StatusFail, Object: reference(pod.Reference()), Field: "metadata.labels[" + label.IoIstioUseWaypoint.Name + "]",
			Message: fmt.Sprintf("%s does not send calls to the pod through waypoint %s/%s, but %s", node.Ztunnel, gateway.Namespace, gateway.Name, passing(known)),
			Remedy:  "look at the waypoint's status: it has to be programmed, with an address",
		}
	}
}

// passing says which waypoint ztunnel goes through.
func passing(known string) string {
	if known == "" {
		return "through none"
	}
	return "through " + known
}

// leadsTo says whether what ztunnel was told of a waypoint is a Gateway's address:
// one of its status, behind a namespace or a network.
func leadsTo(known string, gateway gatewayv1.Gateway) bool {
	in, address, _ := strings.Cut(known, "/")
	return slices.ContainsFunc(gateway.Status.Addresses, func(of gatewayv1.GatewayStatusAddress) bool {
		return of.Value == address && (in == gateway.Namespace || of.Type == nil || *of.Type != gatewayv1.HostnameAddressType)
	})
}
