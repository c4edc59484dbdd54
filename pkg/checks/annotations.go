package checks

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// sidecarAnnotations is about what pod templates say to their sidecars.
func sidecarAnnotations() Check {
	return Check{
		ID: "sidecar-annotations", Category: CategorySidecars, Severity: v1alpha1.SeverityError,
		About: "Looks at Istio's annotations in the pod templates of workloads that lose their sidecar, and says of each what ends.",
		Why: "In ambient mode istio-cni heeds ambient.istio.io/bypass-inbound-capture, ambient.istio.io/dns-capture and " +
			"istio.io/reroute-virtual-interfaces alone (istio cni/pkg/nodeagent/net.go); all others are the sidecar's and end with it. Most are " +
			"announced. An inbound port that is excluded from capture today can only have callers without mTLS: once ztunnel captures it, STRICT " +
			"refuses those that are outside the mesh. That, and virtual interfaces that the sidecar's own annotation names, whose traffic would " +
			"be taken for inbound, break calls that work today, so that they block.",
		Needs:  append(rootNamespaces(mesh.KindPeerAuthentication, "Namespace", "MutatingWebhookConfiguration"), workloadKinds()...),
		Passed: "no pod template speaks to its sidecar",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
				if subject.Snapshot.RoleOf(workload, subject.Namespace) != mesh.RoleMove {
					continue
				}
				for _, key := range slices.Sorted(maps.Keys(workload.Template.Annotations)) {
					if finding := annotationFinding(subject, workload, key); finding != nil {
						findings = append(findings, *finding)
					}
				}
			}
			return findings
		},
	}
}

// keptAnnotations are Istio's annotations that hold in ambient mode, that are a
// part of the migration itself, or that other checks are about.
var keptAnnotations = []string{
	annotation.AmbientBypassInboundCapture.Name, annotation.AmbientDnsCapture.Name, annotation.IoIstioRerouteVirtualInterfaces.Name,
	annotation.AmbientRedirection.Name, annotation.SidecarInject.Name, annotation.SidecarStatus.Name, annotation.ProxyOverrides.Name,
	annotation.InjectTemplates.Name, annotation.IoIstioRev.Name, annotation.PrometheusMergeMetrics.Name,
	annotation.GalleyAnalyzeSuppress.Name, annotation.NetworkingExportTo.Name,
}

// lostAnnotations say what ends with the sidecar.
var lostAnnotations = map[string]string{
	annotation.SidecarTrafficExcludeOutboundPorts.Name:    "the exclusion ends: calls to these ports go through ztunnel, as mTLS where the destination is in the mesh",
	annotation.SidecarTrafficExcludeOutboundIPRanges.Name: "the exclusion ends: calls to these addresses go through ztunnel, as mTLS where the destination is in the mesh",
	annotation.SidecarTrafficIncludeOutboundPorts.Name:    "the limit ends: calls to all ports go through ztunnel",
	annotation.SidecarTrafficIncludeOutboundIPRanges.Name: "the limit ends: calls to all addresses go through ztunnel",
	annotation.SidecarTrafficExcludeInterfaces.Name:       "the exclusion ends: ztunnel captures the traffic of every interface",
	annotation.SidecarTrafficExcludeInboundPorts.Name:     "the exclusion ends: ztunnel captures these ports, too",
	annotation.SidecarTrafficIncludeInboundPorts.Name:     "the limit ends: ztunnel captures every inbound port",
	annotation.SidecarInterceptionMode.Name:               "the mode is the sidecar's own: ztunnel captures all TCP traffic, and keeps the caller's address",
	annotation.SidecarUserVolume.Name:                     "the volume was for the sidecar and goes with it: certificates in it are used no more",
	annotation.SidecarUserVolumeMount.Name:                "the volume was for the sidecar and goes with it: certificates in it are used no more",
	annotation.SidecarBootstrapOverride.Name:              "Envoy's own bootstrap goes with the sidecar, whatever it added",
	annotation.SidecarRewriteAppHTTPProbers.Name:          "probes are not rewritten any more: the kubelet asks the application itself, from 169.254.7.127",
	annotation.SidecarNativeSidecar.Name:                  "there is no sidecar to be native, so that it means nothing",
	annotation.SidecarStatusPort.Name:                     "the sidecar's own status port is gone: whatever asks it gets no answer",
}

// lostPrefixes are for families of annotations.
var lostPrefixes = []struct{ prefix, lost string }{
	{"sidecar.istio.io/proxyCPU", "the sidecar's resources are no longer needed; ztunnel's are set for its DaemonSet"},
	{"sidecar.istio.io/proxyMemory", "the sidecar's resources are no longer needed; ztunnel's are set for its DaemonSet"},
	{"sidecar.istio.io/proxyImage", "the sidecar's image is no longer used, nor what was built into it"},
	{"sidecar.istio.io/stats", "the sidecar's own statistics end: ztunnel reports Istio's standard TCP metrics"},
	{"sidecar.istio.io/extraStatTags", "the sidecar's own statistics end: ztunnel reports Istio's standard TCP metrics"},
	{"readiness.status.sidecar.istio.io/", "the sidecar's readiness probe is gone: the pod is ready when its application is"},
}

func annotationFinding(subject Subject, workload mesh.Workload, key string) *Finding {
	domain, _, _ := strings.Cut(key, "/")
	if domain != "istio.io" && !strings.HasSuffix(domain, ".istio.io") || slices.Contains(keptAnnotations, key) {
		return nil
	}
	value := workload.Template.Annotations[key]
	finding := &Finding{
		Status: v1alpha1.StatusWarn, Object: reference(workload.Reference), Field: templateField(workload, "metadata.annotations["+key+"]"),
		Message: lostBy(key),
		Remedy:  "see that the application does without it, and take it off the template once the namespace is moved",
	}
	switch key {
	case annotation.ProxyConfig.Name:
		finding.Message = lostConfig(value)
	case annotation.SidecarTrafficKubevirtInterfaces.Name:
		if workload.Template.Annotations[annotation.IoIstioRerouteVirtualInterfaces.Name] != "" {
			return nil
		}
		finding.Status = v1alpha1.StatusFail
		finding.Message = "ambient mode does not heed it: what leaves through these interfaces would be taken for inbound traffic"
		finding.Remedy = fmt.Sprintf("annotate the template with %s: %q", annotation.IoIstioRerouteVirtualInterfaces.Name, value)
	case annotation.SidecarTrafficExcludeInboundPorts.Name, annotation.SidecarTrafficIncludeInboundPorts.Name, annotation.SidecarInterceptionMode.Name:
		refused := refusedPorts(subject, workload, key, value)
		if len(refused) > 0 {
			finding.Status = v1alpha1.StatusFail
			finding.Message = fmt.Sprintf("the sidecar does not capture port %s, ztunnel does, and STRICT applies there: callers outside the mesh would be refused",
				some(refused))
			finding.Remedy = "for these ports set portLevelMtls to PERMISSIVE in a PeerAuthentication that selects the workload, or bring their callers into the mesh"
		}
	}
	return finding
}

func lostBy(key string) string {
	if lost, known := lostAnnotations[key]; known {
		return lost
	}
	for _, family := range lostPrefixes {
		if strings.HasPrefix(key, family.prefix) {
			return family.lost
		}
	}
	return "it is for the sidecar and has no effect in ambient mode"
}

// refusedPorts are the ports of a workload that its sidecar leaves alone and on
// which callers without mTLS would be refused in ambient mode. Today's callers of
// them have no mTLS: a sidecar that offered it would reach the application itself.
func refusedPorts(subject Subject, workload mesh.Workload, key, value string) []string {
	modes := subject.Snapshot.AmbientMutualTLS(subject.Namespace.Name, workload.Template.Labels)
	var refused []string
	for _, port := range uncaptured(workload, key, value) {
		if modes.Refuses(port) {
			refused = append(refused, strconv.Itoa(int(port)))
		}
	}
	return refused
}

func uncaptured(workload mesh.Workload, key, value string) []uint32 {
	listed := mesh.PortList(value)
	switch key {
	case annotation.SidecarTrafficExcludeInboundPorts.Name:
		return listed
	case annotation.SidecarTrafficIncludeInboundPorts.Name:
		if strings.TrimSpace(value) == "*" {
			return nil
		}
		return slices.DeleteFunc(containerPorts(workload.Template.Spec), func(port uint32) bool { return slices.Contains(listed, port) })
	default:
		// Of the modes only NONE captures nothing.
		if value != "NONE" {
			return nil
		}
		return containerPorts(workload.Template.Spec)
	}
}

// containerPorts are the TCP ports that a pod's containers say they listen on.
func containerPorts(spec corev1.PodSpec) []uint32 {
	var ports []uint32
	for _, container := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, port := range container.Ports {
			number := mesh.PortNumber(port.ContainerPort)
			if port.Protocol != corev1.ProtocolUDP && port.Protocol != corev1.ProtocolSCTP && !slices.Contains(ports, number) {
				ports = append(ports, number)
			}
		}
	}
	return ports
}

// lostConfig says what annotation proxy.istio.io/config sets that ends.
func lostConfig(text string) string {
	var config map[string]any
	if err := yaml.Unmarshal([]byte(text), &config); err != nil || len(config) == 0 {
		return "the sidecar's configuration has no effect in ambient mode"
	}
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(config)) {
		switch key {
		case "holdApplicationUntilProxyStarts":
			parts = append(parts, key+" (pointless: ztunnel is there before the pod)")
		case "terminationDrainDuration", "drainDuration", "concurrency", "image":
			parts = append(parts, key+" (ztunnel's own holds)")
		case "tracing", "proxyStatsMatcher", "envoyAccessLogService", "envoyMetricsService", "extraStatTags":
			parts = append(parts, key+" (a waypoint would have its own)")
		default:
			parts = append(parts, key)
		}
	}
	return "settings of the sidecar end: " + strings.Join(parts, ", ")
}

// injectionTemplates is about what injection adds to pods besides a sidecar.
func injectionTemplates() Check {
	return Check{
		ID: "injection-templates", Category: CategorySidecars, Severity: v1alpha1.SeverityWarning,
		About: "Looks for injection templates that are not Istio's own and that workloads which lose their sidecar get their pods from.",
		Why: "A template may add containers, volumes, environment or security settings besides the sidecar (istio pkg/kube/inject, " +
			"selectTemplates). Pods that are no longer injected get none of it, and an application that leans on it fails.",
		Needs:  append(workloadKinds(), "Namespace", "MutatingWebhookConfiguration", mesh.IstioConfigMaps),
		Passed: "injection adds nothing to pods besides Istio's own sidecar",
		Run: func(subject Subject) []Finding {
			all := subject.Snapshot.InjectionTemplates()
			users := map[int][]string{}
			var findings []Finding
			for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
				if subject.Snapshot.RoleOf(workload, subject.Namespace) != mesh.RoleMove {
					continue
				}
				at := slices.IndexFunc(all, func(templates mesh.InjectionTemplates) bool {
					return templates.Revision == revisionFor(subject, workload)
				})
				var templates mesh.InjectionTemplates
				if at >= 0 {
					templates = all[at]
				}
				if _, named := workload.Template.Annotations[annotation.InjectTemplates.Name]; !named {
					users[at] = append(users[at], workload.Reference.Kind+"/"+workload.Reference.Name)
					continue
				}
				if custom := templates.Custom(mesh.TemplateNames(workload.Template.Annotations)); len(custom) > 0 {
					findings = append(findings, Finding{
						Status: v1alpha1.StatusWarn, Object: reference(workload.Reference),
						Field:   templateField(workload, "metadata.annotations["+annotation.InjectTemplates.Name+"]"),
						Message: "what injection template " + some(custom) + " adds to its pods goes with the sidecar",
						Remedy:  "put what the application needs of it into the pod template",
					})
				}
			}
			for at, templates := range all {
				if len(users[at]) > 0 {
					findings = append(findings, defaultTemplateFindings(templates, users[at])...)
				}
			}
			return findings
		},
	}
}

// revisionFor is the revision whose injector gives a workload's pods their
// sidecars.
func revisionFor(subject Subject, workload mesh.Workload) string {
	template := workload.Template
	injector, _ := subject.Snapshot.Injectors().Injecting(subject.Namespace.Labels, template.Labels, template.Annotations, template.Spec.HostNetwork)
	return injector.Revision
}

func defaultTemplateFindings(templates mesh.InjectionTemplates, users []string) []Finding {
	var findings []Finding
	if custom := templates.Custom(templates.Default); len(custom) > 0 {
		findings = append(findings, Finding{
			Status: v1alpha1.StatusWarn, Object: reference(templates.ConfigMap), Field: "data.config (defaultTemplates)",
			Message: fmt.Sprintf("what injection template %s adds to pods goes with the sidecars of %s", some(custom), some(users)),
			Remedy:  "put what the applications need of it into their pod templates",
		})
	}
	if templates.ChangedSidecar() {
		findings = append(findings, Finding{
			Status: v1alpha1.StatusWarn, Object: reference(templates.ConfigMap), Field: "data.config (templates." + mesh.TemplateSidecar + ")",
			Message: "the sidecar's template is not Istio's own: what it adds to pods goes with the sidecars of " + some(users),
			Remedy:  "put what the applications need of it into their pod templates",
		})
	}
	return findings
}
