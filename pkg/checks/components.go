package checks

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// componentChecks are about the parts of an installation that ambient mode needs.
func componentChecks() []Check {
	return []Check{
		istiodReady(), istiodAmbient(), istiodPolicyFlags(), cniAmbient(), cniNodes(), ztunnelNodes(), ztunnelResources(), trustedNodeAccounts(),
		capturedAfter(), gatewayRevision(), gatewayInjection(),
	}
}

// environmentField is where a workload's environment variable is written.
func environmentField(name string) string { return "spec.template.spec.containers[].env[" + name + "]" }

// enabled reads a boolean as Istio, Cilium and Felix do (istio pkg/env).
func enabled(value string) bool {
	on, err := strconv.ParseBool(value)
	return err == nil && on
}

func istiodReady() Check {
	return Check{
		ID: "istiod-ready", Category: CategoryComponents, Severity: v1alpha1.SeverityError,
		About: "Whether every istiod has a replica that is available.",
		Why: "Pods are replaced during the migration, and istiod is needed for each: its webhook is called for new pods, ztunnel learns of them from it, and it signs their certificates " +
			"(istio architecture/ambient/ztunnel.md). With no istiod to answer, restarted pods do not start or are outside the mesh.",
		Needs: []string{mesh.IstiodDeployments}, Passed: "every istiod is available",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, istiod := range subject.Snapshot.Istiods() {
				if istiod.Status.AvailableReplicas > 0 {
					continue
				}
				command := fmt.Sprintf("kubectl -n %s rollout status deployment/%s", istiod.Namespace, istiod.Name)
				finding := Finding{
					Status: v1alpha1.StatusFail, Object: deploymentReference(istiod), Field: "status.availableReplicas", Remedy: command,
					Message: fmt.Sprintf("revision %s has no available replica: nothing injects, configures or signs certificates for pods that are restarted", mesh.RevisionOf(istiod)),
				}
				if equality.Semantic.DeepEqual(istiod.Status, appsv1.DeploymentStatus{}) {
					// The API server writes a status soon; what was never in a cluster has none.
					finding.Status, finding.Field = v1alpha1.StatusUnknown, "status"
					finding.Message = fmt.Sprintf("whether revision %s is available cannot be told: the Deployment has no status", mesh.RevisionOf(istiod))
					finding.Remedy = "take the snapshot from the cluster, or see " + command
				}
				findings = append(findings, finding)
			}
			return findings
		},
	}
}

func istiodAmbient() Check {
	return Check{
		ID: "istiod-ambient", Category: CategoryComponents, Severity: v1alpha1.SeverityError,
		About: "Whether every istiod serves ambient mode: PILOT_ENABLE_AMBIENT in its environment.",
		Why: "Without it istiod sends ztunnel nothing and runs no waypoints, and its sidecars speak no HBONE (istio pilot/pkg/features/ambient.go). " +
			"Every revision counts, since its sidecars and gateways are to call the ambient pods.",
		Needs: []string{mesh.IstiodDeployments}, Passed: "every istiod serves ambient mode",
		Run: func(subject Subject) []Finding {
			const variable = "PILOT_ENABLE_AMBIENT"
			var findings []Finding
			for _, istiod := range subject.Snapshot.Istiods() {
				value, state := mesh.Setting(istiod.Spec.Template, variable)
				finding := Finding{Object: deploymentReference(istiod), Field: environmentField(variable)}
				switch {
				case state == mesh.SettingHidden:
					finding.Status = v1alpha1.StatusUnknown
					finding.Message = fmt.Sprintf("whether revision %s serves ambient mode cannot be seen: %s does not come from the Deployment itself",
						mesh.RevisionOf(istiod), variable)
					finding.Remedy = "write " + variable + "=true into the Deployment's own environment"
				case enabled(value):
					continue
				default:
					finding.Status = v1alpha1.StatusFail
					finding.Message = fmt.Sprintf("revision %s does not serve ambient mode: %s is %q, not \"true\"", mesh.RevisionOf(istiod), variable, value)
					finding.Remedy = enableAmbient(subject.Snapshot, partIstiod, istiod)
				}
				findings = append(findings, finding)
			}
			return findings
		},
	}
}

func cniAmbient() Check {
	return Check{
		ID: "cni-ambient", Category: CategoryComponents, Severity: v1alpha1.SeverityError,
		About: "Whether istio-cni is installed, runs in ambient mode, and has a rule that can be read for which pods it captures.",
		Why: "istio-cni redirects the traffic of ambient pods to ztunnel, from inside the pods (istio cni/pkg/nodeagent). " +
			"Without it, or with AMBIENT_ENABLED unset, pods that lose their sidecars would be outside the mesh: without mTLS and without policies.",
		Needs: []string{mesh.KindDaemonSet, mesh.IstioConfigMaps}, Passed: "istio-cni redirects pods for ambient mode",
		Run: func(subject Subject) []Finding {
			cni, found := subject.Snapshot.CNI()
			if !found {
				return []Finding{{
					Status:  v1alpha1.StatusFail,
					Message: "istio-cni is not installed: no DaemonSet with pods labelled k8s-app=istio-cni-node",
					Remedy:  installAmbient(subject.Snapshot, partCNI),
				}}
			}
			config, found := subject.Snapshot.CNIConfig()
			inEnvironment := ambientOfCNI(cni)
			if !found && enabled(inEnvironment) {
				return nil
			}
			if !found {
				return []Finding{{
					Status: v1alpha1.StatusFail, Object: daemonSetReference(cni),
					Message: "istio-cni does not run in ambient mode: ConfigMap istio-cni-config is missing",
					Remedy:  installAmbient(subject.Snapshot, partCNI),
				}}
			}
			object := &v1alpha1.ObjectReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: config.Namespace, Name: config.Name}
			if value := cmp.Or(inEnvironment, config.Data["AMBIENT_ENABLED"]); !enabled(value) {
				return []Finding{{
					Status: v1alpha1.StatusFail, Object: object, Field: "data.AMBIENT_ENABLED",
					Message: fmt.Sprintf("istio-cni does not run in ambient mode: AMBIENT_ENABLED is %q, not \"true\"", value),
					Remedy:  installAmbient(subject.Snapshot, partCNI),
				}}
			}
			if _, err := subject.Snapshot.EnrolmentRule(); err != nil {
				return []Finding{{
					Status: v1alpha1.StatusUnknown, Object: object, Field: "data",
					Message: "which pods istio-cni captures cannot be told: " + err.Error(),
					Remedy:  "correct the ConfigMap",
				}}
			}
			return nil
		},
	}
}

// ambientOfCNI is what istio-cni's own environment says of ambient mode; nothing
// where only its ConfigMap does.
func ambientOfCNI(cni appsv1.DaemonSet) string {
	value, _ := mesh.Setting(cni.Spec.Template, "AMBIENT_ENABLED")
	return value
}

func cniNodes() Check {
	check := componentNodes("cni-nodes", "istio-cni", partCNI, mesh.CNIPods, func(s *mesh.Snapshot) (appsv1.DaemonSet, bool) { return s.CNI() })
	// Where istio-cni is not installed, cni-ambient reports it.
	check.DependsOn = []string{"cni-ambient"}
	return check
}

func ztunnelNodes() Check {
	return componentNodes("ztunnel-nodes", "ztunnel", partZtunnel, mesh.ZtunnelPods, func(s *mesh.Snapshot) (appsv1.DaemonSet, bool) { return s.Ztunnel() })
}

// componentNodes checks that a per-node component is ready wherever pods of the
// namespace run that it is to serve. On which nodes the mesh's other pods run is
// not known of a live cluster; any node that takes pods may be one of theirs, and
// a restarted pod may land on it: those without the component are a warning.
func componentNodes(id, name string, lacking part, pods string, find func(*mesh.Snapshot) (appsv1.DaemonSet, bool)) Check {
	return Check{
		ID: id, Category: CategoryComponents, Severity: v1alpha1.SeverityError,
		About: "Whether " + name + " is ready on the nodes that the namespace's pods run on, and on the others that take pods.",
		Why: "Both istio-cni and ztunnel work for the pods of their own node. Where one of them is not ready, a new ambient pod does not start, and a pod that is relabelled while it runs is not captured; " +
			"where ztunnel goes, the connections of the node's ambient pods go with it (istio architecture/ambient/ztunnel-cni-lifecycle.md).",
		Needs:  []string{mesh.KindDaemonSet, pods, "Node", "Pod"},
		Passed: name + " is ready on every node",
		Run: func(subject Subject) []Finding {
			daemonSet, found := find(subject.Snapshot)
			if !found {
				return []Finding{{
					Status: v1alpha1.StatusFail, Message: name + " is not installed: no DaemonSet of it in any namespace",
					Remedy: installAmbient(subject.Snapshot, lacking),
				}}
			}
			return missingOnNodes(subject, name, daemonSetReference(daemonSet), subject.Snapshot.ReadyOn(pods))
		},
	}
}

func missingOnNodes(subject Subject, name string, object *v1alpha1.ObjectReference, ready map[string]bool) []Finding {
	hosting := map[string]bool{}
	for _, pod := range subject.Snapshot.Pods(subject.Namespace.Name) {
		// Gateways and pods on the node's own network are captured by neither.
		if pod.Node != "" && !ready[pod.Node] && !pod.HostNetwork && !pod.IsGateway() {
			hosting[pod.Node] = true
		}
	}
	var elsewhere []string
	for _, node := range subject.Snapshot.Nodes() {
		if !node.Spec.Unschedulable && node.Labels["kubernetes.io/os"] != "windows" && !ready[node.Name] && !hosting[node.Name] {
			elsewhere = append(elsewhere, node.Name)
		}
	}
	var findings []Finding
	if len(hosting) > 0 {
		findings = append(findings, Finding{
			Status: v1alpha1.StatusFail, Object: object, Field: "status.numberReady",
			Message: fmt.Sprintf("%s is not ready on %s that pods of this namespace run on: %s",
				name, count(len(hosting), "node"), some(slices.Sorted(maps.Keys(hosting)))),
			Remedy: "kubectl -n " + object.Namespace + " get pods -o wide shows where it is missing",
		})
	}
	if len(elsewhere) > 0 {
		findings = append(findings, Finding{
			Status: v1alpha1.StatusWarn, Object: object, Field: "status.numberReady",
			Message: fmt.Sprintf("%s is not ready on %s that restarted pods may be scheduled to: %s",
				name, count(len(elsewhere), "node"), some(elsewhere)),
			Remedy: "cordon the nodes, or let " + name + " run there",
		})
	}
	return findings
}

func daemonSetReference(daemonSet appsv1.DaemonSet) *v1alpha1.ObjectReference {
	return &v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "DaemonSet", Namespace: daemonSet.Namespace, Name: daemonSet.Name}
}

// gatewayRevision: which istiod runs a Gateway is decided by its own revision
// label, or its namespace's. Taking that away would leave the Gateway, a
// waypoint included, to another revision or to none.
func gatewayRevision() Check {
	return Check{
		ID: "gateway-revision", Category: CategoryComponents, Severity: v1alpha1.SeverityError,
		About: "Whether the namespace's Gateways say themselves which revision runs them.",
		Why: "The namespace's istio.io/rev goes when injection is disabled. A Gateway without a revision of its own, a waypoint included, then belongs to the default revision or to none: " +
			"its Deployment is no longer reconciled and its status goes stale (istio pkg/revisions/tag_watcher.go).",
		Needs:  []string{"Namespace", "Gateway", "MutatingWebhookConfiguration"},
		Passed: "no Gateway leans on the namespace's revision",
		Run: func(subject Subject) []Finding {
			if subject.Namespace.Labels[label.IoIstioRev.Name] == "" {
				return nil
			}
			var findings []Finding
			for _, gateway := range subject.Snapshot.Gateways(subject.Namespace.Name) {
				if gateway.Labels[label.IoIstioRev.Name] != "" {
					continue
				}
				findings = append(findings, Finding{
					Status:  v1alpha1.StatusFail,
					Object:  &v1alpha1.ObjectReference{APIVersion: gatewayv1.GroupVersion.String(), Kind: "Gateway", Namespace: gateway.Namespace, Name: gateway.Name},
					Field:   "metadata.labels[" + label.IoIstioRev.Name + "]",
					Message: "only the namespace's revision label says which istiod runs it, and that label goes",
					Remedy: fmt.Sprintf("kubectl -n %s label gateways.gateway.networking.k8s.io %s %s=%s",
						gateway.Namespace, gateway.Name, label.IoIstioRev.Name, subject.Namespace.Labels[label.IoIstioRev.Name]),
				})
			}
			return findings
		},
	}
}

// gatewayInjection: the injector fills in the proxy of an injected gateway. One
// that nothing but its namespace asks for can lose it with the sidecars.
func gatewayInjection() Check {
	return Check{
		ID: "gateway-injection", Category: CategoryComponents, Severity: v1alpha1.SeverityError,
		About: "Whether gateways in the namespace whose proxies are injected keep them when the namespace's own injection ends.",
		Why: "The injector fills in a gateway's container, whose image is only a placeholder (istio manifests/charts/gateway). " +
			"A gateway that nothing asks injection for would not start again.",
		Needs:  append(workloadKinds(), "Namespace", "MutatingWebhookConfiguration"),
		Passed: "every injected gateway keeps its proxy",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
				if subject.Snapshot.LosesProxy(workload, subject.Namespace) {
					findings = append(findings, Finding{
						Status: v1alpha1.StatusFail, Object: reference(workload.Reference), Field: "spec.template.metadata.labels",
						Message: "the gateway's proxy is injected only because of the namespace, which no label of its own can replace here",
						Remedy:  "run the gateway in a namespace of its own",
					})
				}
			}
			return findings
		},
	}
}

// capturedAfter: without its sidecar a pod that ztunnel is not to capture has no
// mTLS and no policy.
func capturedAfter() Check {
	return Check{
		ID: "captured-after", Category: CategoryComponents, Severity: v1alpha1.SeverityError,
		About: "Whether istio-cni's rule captures every pod that is to lose its sidecar.",
		Why: "istio-cni captures by selectors, which an installation can change, and leaves whole namespaces out (istio cni/pkg/util/enablement_selector.go). " +
			"A pod that loses its sidecar and is not captured has neither mTLS nor policies.",
		Needs:  append(workloadKinds(), "Namespace", "MutatingWebhookConfiguration", mesh.IstioConfigMaps),
		Passed: "ztunnel is to capture every pod that loses its sidecar",
		Run: func(subject Subject) []Finding {
			rule, err := subject.Snapshot.EnrolmentRule()
			if err != nil {
				// cni-ambient reports it, and blocks.
				return nil
			}
			enrolled := subject.Snapshot.EnrolledLabels(subject.Namespace)
			if !rule.Captures(mesh.Pod{Namespace: subject.Namespace.Name}, enrolled) {
				return []Finding{{
					Status: v1alpha1.StatusFail, Object: reference(subject.Namespace.Reference()),
					Message: "istio-cni is configured not to capture pods of this namespace, whatever its label",
					Remedy:  "change EXCLUDE_NAMESPACES or AMBIENT_ENABLEMENT_SELECTOR in ConfigMap istio-cni-config",
				}}
			}
			var findings []Finding
			for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
				pod := mesh.Pod{Namespace: subject.Namespace.Name, Labels: workload.Template.Labels}
				if subject.Snapshot.RoleOf(workload, subject.Namespace) != mesh.RoleMove || rule.Captures(pod, enrolled) {
					continue
				}
				findings = append(findings, Finding{
					Status: v1alpha1.StatusFail, Object: reference(workload.Reference), Field: templateField(workload, "metadata.labels"),
					Message: "its pods have sidecars and labels that keep them out of ambient mode: they would be outside the mesh",
					Remedy:  "take " + label.IoIstioDataplaneMode.Name + "=" + mesh.DataplaneNone + " off its template, or opt it out of injection, too",
				})
			}
			return findings
		},
	}
}
