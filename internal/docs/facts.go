package docs

// Fact is something about Istio that a migration has to reckon with.
type Fact struct {
	// ID is the section and the number of the fact.
	ID   string
	Text string
	// Checks are the IDs of the checks that find where it matters.
	Checks []string
	// Also says what else of this tool goes by it; empty where nothing does.
	Also string
}

// Section is a group of facts.
type Section struct {
	Title string
	Facts []Fact
}

const theOrder = "the order of the steps: docs/order.md"

// Facts are what the checks rest on, by section.
func Facts() []Section {
	return []Section{
		{"1. What is easily got wrong", []Fact{
			{"1.1", "A DENY rule whose only layer 4 part is a source never matches at ztunnel: it fails open.", []string{"layer7-policies"}, ""},
			{"1.2", "HBONE does not prove ambient mode: sidecars that accept it show as HBONE, too, with a native tunnel.", []string{"ztunnel-hbone", "sidecar-hbone"}, ""},
			{"1.3", "Behind a waypoint, layer 4 policies meet the waypoint's identity.", []string{"layer7-policies", "istiod-policy-flags"}, ""},
			{"1.4", "The namespace's label captures running pods without sidecar at once, opted-out ones included.", []string{"live-capture", "opted-out"}, "phase pin"},
			{"1.5", "Without the namespace's revision label a Gateway, waypoints included, can be left to no istiod.", []string{"gateway-revision"}, ""},
			{"1.6", "A template that asks for injection by itself is injected whatever the namespace says.", []string{"restarts-complete", "no-sidecars"}, "phase restart-workloads"},
			{"1.7", "Taking the ambient label away while pods have no sidecar leaves them without policy and mTLS.", []string{"injector-present"}, "the order of a rollback"},
			{"1.8", "A waypoint that was never ready is bypassed; one that was and has no endpoints makes traffic fail.", []string{"waypoint-unready"}, ""},
			{"1.9", "Without a STRICT PeerAuthentication plaintext is accepted in ambient mode, too.", []string{"peer-authentication-modes"}, "PeerAuthentications are never touched"},
			{"1.10", "A policy on a waypoint that no traffic goes through allows everything.", []string{"policy-waypoints", "policy-targets"}, ""},
			{"1.11", "Layer 7 rules hide in hosts, request principals, remote addresses and most conditions.", []string{"layer7-policies"}, ""},
			{"1.12", "A rollout restart of Deployments misses every other kind of workload.", []string{"restartable", "argo-rollouts"}, ""},
			{"1.13", "An HTTPRoute with a Service as parent replaces a VirtualService in sidecars at once.", []string{"route-conflicts"}, ""},
			{"1.14", "Once the injection label is gone, new pods are ambient; once it is back, an unchanged ReplicaSet keeps pods without sidecar.", []string{"restarts-complete", "leftover-sidecars"}, theOrder},
			{"1.15", "Server-side apply cannot remove a label that somebody else owns.", []string{"reconcilers"}, "changes are JSON patches that test the former value"},
		}},
		{"2. Enrolment and injection", []Fact{
			{"2.1", "istio-cni never enrols pods on the host's network.", []string{"host-network"}, ""},
			{"2.2", "istio-cni never enrols a pod that carries the injector's status annotation.", []string{"kube-injected", "no-sidecars"}, ""},
			{"2.3", "The pod's label enrols it, or the namespace's unless the pod says none.", []string{"captured-after", "dataplane-mode", "outside-mesh"}, ""},
			{"2.4", "istio-cni's selectors and excluded namespaces are configurable.", []string{"captured-after", "cni-ambient", "outside-mesh"}, ""},
			{"2.5", "The redirection annotation says enabled or pending, and is a claim.", []string{"redirected", "ztunnel-captured"}, ""},
			{"2.6", "Of the annotations of pods only three count in ambient mode; every tuning of the sidecar is ignored.", []string{"sidecar-annotations"}, ""},
			{"2.7", "istio-injection outweighs istio.io/rev on a namespace; without either a pod's own label injects.", []string{"dataplane-mode", "gateway-injection"}, ""},
			{"2.8", "A pod's label outweighs its annotation; then the injector's own selectors and policy decide.", []string{"leftover-sidecars", "restarts-complete"}, ""},
			{"2.9", "A mesh that injects by default needs istio-injection=disabled to keep out.", []string{"dataplane-mode", "gateway-injection"}, "phase disable-injection"},
			{"2.10", "A template that holds the proxy itself is not changed by a restart.", []string{"kube-injected"}, ""},
			{"2.11", "Revision tags are told by their webhook configurations.", []string{"injector-present", "dataplane-mode"}, ""},
			{"2.12", "Native sidecars are init containers that keep running.", []string{"no-sidecars", "proxy-skew"}, ""},
			{"2.13", "A template that refuses injection moves its workload while the namespace still injects; the exact former template brings the former ReplicaSet back.", []string{"restartable"}, theOrder},
			{"2.14", "Sidecars accept HBONE once they are injected by an installation with the ambient profile; a label tells.", []string{"sidecar-hbone"}, ""},
			{"2.15", "Gateways and proxyless gRPC applications carry no HBONE label; a pod's own TLS mode is kept.", []string{"grpc-agents", "sidecar-hbone"}, ""},
			{"2.16", "A STRICT sidecar without the label resets the calls of ambient clients, wherever in the mesh it is.", []string{"sidecar-hbone"}, ""},
			{"2.17", "Ambient mode is switched on per istiod.", []string{"istiod-ambient"}, ""},
			{"2.18", "istio-cni says in a ConfigMap, perhaps elsewhere than istiod's namespace, whether it serves ambient mode.", []string{"cni-ambient"}, ""},
			{"2.19", "ztunnel and istio-cni have to be ready on every node that runs pods of the mesh.", []string{"ztunnel-nodes", "cni-nodes"}, ""},
			{"2.20", "istiod has to trust the account that ztunnel runs as.", []string{"trusted-node-accounts"}, ""},
		}},
		{"5. PeerAuthentication", []Fact{
			{"5.1", "STRICT refuses callers without identity; the workload's outweighs the namespace's and the mesh's, and the oldest wins.", []string{"peer-authentication-modes", "headless-strict"}, ""},
			{"5.2", "PERMISSIVE accepts plaintext; callers in the mesh use HBONE all the same.", []string{"peer-authentication-modes"}, ""},
			{"5.3", "DISABLE is a blocker where plaintext is required, which cannot be seen.", []string{"peer-authentication-disable"}, ""},
			{"5.4", "Modes of single ports need a selector, outside the root namespace, and count on the workload's ports.", []string{"peer-authentication-modes"}, ""},
			{"5.5", "DISABLE of a port under a STRICT parent is not attached: the port becomes STRICT.", []string{"peer-authentication-disable"}, ""},
			{"5.6", "A PeerAuthentication with a selector in the root namespace is ignored.", []string{"peer-authentication-modes"}, ""},
		}},
		{"7. Other resources", []Fact{
			{"7.1", "Telemetry holds at waypoints by target, or for a whole namespace; one with a selector is ignored there.", []string{"telemetry"}, ""},
			{"7.2", "WasmPlugin and TrafficExtension hold at waypoints by target only.", []string{"wasm-plugins"}, ""},
			{"7.3", "EnvoyFilter is not supported at waypoints.", []string{"envoy-filters"}, ""},
			{"7.4", "Sidecar resources have no effect; REGISTRY_ONLY disappears, and unknown destinations are reached.", []string{"sidecar-resource"}, ""},
			{"7.5", "Wildcard hosts of a ServiceEntry need a waypoint.", []string{"service-entries"}, ""},
			{"7.6", "WorkloadEntry and WorkloadGroup stand for virtual machines, which stay on sidecars.", []string{"virtual-machines"}, ""},
			{"7.7", "ProxyConfig has no effect.", []string{"proxy-configs"}, ""},
			{"7.8", "Gateways stay as they are and have to be kept out of ambient mode.", []string{"gateway-injection", "gateway-revision"}, "phase pin"},
		}},
		{"8. What blocks today", []Fact{
			{"8.1", "Virtual machines are not captured.", []string{"virtual-machines"}, ""},
			{"8.2", "SPIRE as the provider of certificates.", []string{"spire"}, ""},
			{"8.3", "Several clusters with one primary; several primaries on several networks need a flag.", []string{"multicluster"}, ""},
			{"8.4", "PeerAuthentication DISABLE where plaintext is required.", []string{"peer-authentication-disable"}, ""},
			{"8.5", "EnvoyFilters on the namespace's workloads.", []string{"envoy-filters"}, ""},
			{"8.6", "Templates that hold the proxy themselves.", []string{"kube-injected"}, ""},
			{"8.7", "A CNI plugin that istio-cni does not work with, or no istio-cni.", []string{"cni-compatibility", "cni-ambient"}, ""},
			{"8.8", "Sidecars older than 1.29.2 have a flaw in their configuration.", []string{"proxy-skew"}, ""},
			{"8.9", "Sidecars cannot send HBONE to headless Services; under STRICT they no longer reach them.", []string{"headless-strict"}, ""},
			{"8.10", "Traffic to headless Services skips the waypoints of services.", []string{"headless-services", "ztunnel-waypoints"}, ""},
		}},
		{"9. What breaks applications", []Fact{
			{"9.1", "NetworkPolicies have to allow port 15008.", []string{"network-policies"}, ""},
			{"9.2", "NetworkPolicies have to allow probes from 169.254.7.127.", []string{"network-policy-probes"}, ""},
			{"9.3", "Pod Security and quotas have to admit the pods of waypoints.", []string{"pod-security", "resource-quota"}, ""},
			{"9.4", "With single replicas, Recreate or a budget that allows nothing the restart itself is the outage.", []string{"restart-availability", "disruption-budgets"}, ""},
			{"9.5", "UDP is not tunnelled.", []string{"udp-ports"}, ""},
			{"9.6", "Excluded ports and addresses lose their exclusion; STRICT then applies to them.", []string{"sidecar-annotations"}, ""},
			{"9.7", "Jobs that tell their sidecar to quit find nobody.", []string{"jobs-quit-sidecar"}, ""},
			{"9.8", "Metrics are no longer merged into the proxy's endpoint.", []string{"prometheus-merge", "pod-monitors"}, ""},
			{"9.9", "The reporter of metrics becomes the source, at ztunnel, or the waypoint.", []string{"dashboards"}, ""},
			{"9.10", "Traces have one span a waypoint, and none without.", []string{"tracing"}, ""},
			{"9.11", "Without a waypoint, gRPC connections that live long stay with one pod.", []string{"waypoint-needs"}, ""},
			{"9.12", "TLS origination of a DestinationRule is lost without a waypoint for egress.", []string{"routing-rules", "outbound-routing"}, ""},
			{"9.13", "Capturing running pods breaks the connections that they keep open.", []string{"live-capture"}, ""},
			{"9.14", "Waiting for the proxy at start becomes pointless.", []string{"sidecar-annotations", "jobs-quit-sidecar"}, ""},
		}},
	}
}
