package checks

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// observabilityChecks are about what is measured of the mesh.
func observabilityChecks() []Check {
	return []Check{
		prometheusMerge(), podMonitors(), dashboards(), tracing(),
	}
}

func prometheusMerge() Check {
	return Check{
		ID: "prometheus-merge", Category: CategoryObservability, Severity: v1alpha1.SeverityWarning,
		About: "Whether the prometheus.io annotations of moved templates name where the application itself serves its metrics.",
		Why: "The injector points the prometheus.io annotations of a pod to the sidecar, which serves the application's metrics together with its own on port 15020 " +
			"(istio pkg/kube/inject/webhook.go, applyPrometheusMerge). Without the sidecar Prometheus goes by the template's annotations again: what these leave out, or have " +
			"never named right, is noticed only now. It also calls the application's port itself then, which STRICT mTLS refuses to a Prometheus outside the mesh.",
		Needs:  append(rootNamespaces(mesh.KindPeerAuthentication), moveNeeds()...),
		Passed: "every template says where Prometheus finds the application's metrics",
		Run: func(subject Subject) []Finding {
			merges := mergesByDefault(subject.Snapshot)
			var findings []Finding
			for _, workload := range renewedWorkloads(subject) {
				annotations := prometheusAnnotations(workload.Template.Annotations)
				own, err := strconv.ParseBool(workload.Template.Annotations[annotation.PrometheusMergeMetrics.Name])
				merged := merges
				if err == nil {
					merged = own
				}
				if scraped, err := strconv.ParseBool(annotations["scrape"]); err != nil || !scraped || !merged {
					// What does not ask for it is scraped for the sidecar's sake alone.
					continue
				}
				field, message := scrapedAfterwards(workload.Template.Spec, annotations)
				strict := subject.Snapshot.Strict(subject.Namespace.Name, workload.Template.Labels)
				if message == "" && strict {
					field, message = "prometheus.io/port", "its pods accept mTLS only, so a Prometheus outside the mesh no longer reads their metrics"
				}
				if message != "" {
					findings = append(findings, Finding{
						Status: v1alpha1.StatusWarn, Object: reference(workload.Reference),
						Field:   templateField(workload, "metadata.annotations["+field+"]"),
						Message: message, Remedy: prometheusRemedy(strict),
					})
				}
			}
			return findings
		},
	}
}

func prometheusRemedy(strict bool) string {
	remedy := "set prometheus.io/port and prometheus.io/path to where the application serves its metrics"
	if strict {
		remedy += "; its pods accept mTLS only: put Prometheus into the mesh, or make the port PERMISSIVE"
	}
	return remedy
}

func mergesByDefault(snapshot *mesh.Snapshot) bool {
	configurations := snapshot.Configurations()
	return len(configurations) == 0 || slices.ContainsFunc(configurations, func(configuration mesh.Configuration) bool {
		return configuration.EnablePrometheusMerge == nil || *configuration.EnablePrometheusMerge
	})
}

// notInNames are the characters that Prometheus replaces in the names of
// annotations, so that prometheus-io/port means prometheus.io/port.
var notInNames = regexp.MustCompile(`[^a-zA-Z0-9_]`)

// prometheusAnnotations are the prometheus.io annotations by what comes after the
// slash.
func prometheusAnnotations(annotations map[string]string) map[string]string {
	found := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		if rest, ours := strings.CutPrefix(notInNames.ReplaceAllString(name, "_"), "prometheus_io_"); ours {
			found[rest] = annotations[name]
		}
	}
	return found
}

// scrapedAfterwards says what Prometheus makes of a template's own annotations,
// where that is hardly meant.
func scrapedAfterwards(spec corev1.PodSpec, annotations map[string]string) (field, message string) {
	port, path := annotations["port"], cmp.Or(annotations["path"], "/metrics")
	var declared []string
	known := false
	for _, candidate := range mesh.PodPorts(spec) {
		if candidate.Protocol == corev1.ProtocolUDP || candidate.Protocol == corev1.ProtocolSCTP {
			continue
		}
		declared = append(declared, fmt.Sprint(candidate.ContainerPort))
		known = known || fmt.Sprint(candidate.ContainerPort) == port
	}
	switch {
	case port == "15020" || port == "15090" || path == "/stats/prometheus":
		return "prometheus.io/port", fmt.Sprintf("it names the sidecar's own metrics (port %s, path %s), which are gone afterwards", cmp.Or(port, "unset"), path)
	case port == "" && len(declared) == 0:
		return "prometheus.io/port", "it names no port and no container declares one: Prometheus scrapes port 80 at " + path + " once the sidecar does not do it"
	case port == "":
		return "prometheus.io/port", fmt.Sprintf("it names no port: Prometheus scrapes each declared one (%s) at %s once the sidecar does not do it", some(declared), path)
	case len(declared) > 0 && !known:
		return "prometheus.io/port", fmt.Sprintf("it names port %s, which no container declares (%s): without the sidecar Prometheus scrapes it directly", port, some(declared))
	default:
		return "", ""
	}
}

// monitor is what PodMonitors and ServiceMonitors have in common.
type monitor struct {
	Spec struct {
		Selector          metav1.LabelSelector `json:"selector"`
		NamespaceSelector struct {
			Any        bool     `json:"any"`
			MatchNames []string `json:"matchNames"`
		} `json:"namespaceSelector"`
		Endpoints           []monitorEndpoint `json:"endpoints"`
		PodMetricsEndpoints []monitorEndpoint `json:"podMetricsEndpoints"`
	} `json:"spec"`
}

type monitorEndpoint struct {
	Port       string              `json:"port"`
	PortNumber int32               `json:"portNumber"`
	TargetPort *intstr.IntOrString `json:"targetPort"`
	Path       string              `json:"path"`
}

func podMonitors() Check {
	return Check{
		ID: "pod-monitors", Category: CategoryObservability, Severity: v1alpha1.SeverityWarning,
		About: "PodMonitors and ServiceMonitors that collect the sidecars' metrics of moved workloads.",
		Why: "The ports 15020 and 15090 (http-envoy-prom) and the path /stats/prometheus are served by the sidecar (istio documentation, Prometheus). " +
			"Their targets disappear with it, application metrics that were merged into them included, and alerts on missing targets fire.",
		Needs:  moveNeeds(mesh.KindPodMonitor, mesh.KindServiceMonitor, mesh.KindService),
		Passed: "no monitor collects metrics from sidecars here",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, kind := range []string{mesh.KindPodMonitor, mesh.KindServiceMonitor} {
				for _, object := range subject.Snapshot.Others(kind) {
					if finding := monitorFinding(subject, object); finding != nil {
						findings = append(findings, *finding)
					}
				}
			}
			return findings
		},
	}
}

func monitorFinding(subject Subject, object unstructured.Unstructured) *Finding {
	var read monitor
	finding := Finding{
		Status: v1alpha1.StatusWarn, Object: istioReference(object.GetAPIVersion(), object.GetKind(), &object),
		Remedy: "monitor the application's own port, and ztunnel and the waypoints for the mesh's",
	}
	if err := mesh.Decode(object.Object, &read); err != nil {
		finding.Message = "it could not be understood, so it cannot be said whether it collects metrics from sidecars: " + strings.ReplaceAll(err.Error(), "\n", " ")
		return &finding
	}
	reach := read.Spec.NamespaceSelector
	if !reach.Any && !slices.Contains(reach.MatchNames, subject.Namespace.Name) && (len(reach.MatchNames) > 0 || object.GetNamespace() != subject.Namespace.Name) {
		return nil
	}
	services := monitoredServices(subject, read.Spec.Selector)
	field, endpoints, selects := "spec.endpoints", read.Spec.Endpoints, len(services) > 0
	if object.GetKind() == mesh.KindPodMonitor {
		field, endpoints, selects = "spec.podMetricsEndpoints", read.Spec.PodMetricsEndpoints, monitorsMoved(subject, read.Spec.Selector)
	}
	if !selects {
		return nil
	}
	for i, endpoint := range endpoints {
		if endpoint.ofSidecar(services) {
			finding.Field = fmt.Sprintf("%s[%d]", field, i)
			finding.Message = "it collects metrics from sidecars: its targets in namespace " + subject.Namespace.Name + " disappear"
			return &finding
		}
	}
	return nil
}

// ofSidecar says whether an endpoint is the sidecar's, directly or by the port of a
// Service.
func (e monitorEndpoint) ofSidecar(services []corev1.Service) bool {
	const envoy = "http-envoy-prom"
	sidecar := func(port intstr.IntOrString) bool {
		return port.IntVal == 15020 || port.IntVal == 15090 || port.StrVal == envoy
	}
	if e.Path == "/stats/prometheus" || e.Port == envoy || sidecar(intstr.FromInt32(e.PortNumber)) || e.TargetPort != nil && sidecar(*e.TargetPort) {
		return true
	}
	return slices.ContainsFunc(services, func(service corev1.Service) bool {
		return slices.ContainsFunc(service.Spec.Ports, func(port corev1.ServicePort) bool {
			return port.Name == e.Port && e.Port != "" && sidecar(port.TargetPort)
		})
	})
}

func monitorsMoved(subject Subject, selector metav1.LabelSelector) bool {
	return slices.ContainsFunc(movedWorkloads(subject), func(workload mesh.Workload) bool {
		return matches(&selector, workload.Template.Labels) ||
			slices.ContainsFunc(subject.Snapshot.PodsOf(workload), func(pod mesh.Pod) bool { return matches(&selector, pod.Labels) })
	})
}

// monitoredServices are the Services that a selector selects and that lead to
// moved workloads.
func monitoredServices(subject Subject, selector metav1.LabelSelector) []corev1.Service {
	moved := movedWorkloads(subject)
	return slices.DeleteFunc(subject.Snapshot.Services(subject.Namespace.Name), func(service corev1.Service) bool {
		leads := len(service.Spec.Selector) > 0 && slices.ContainsFunc(moved, func(workload mesh.Workload) bool {
			return mesh.SelectsLabels(service.Spec.Selector, workload.Template.Labels)
		})
		return !leads || !matches(&selector, service.Labels)
	})
}

func dashboards() Check {
	return Check{
		ID: "dashboards", Category: CategoryObservability, Severity: v1alpha1.SeverityWarning,
		About: "Grafana dashboards and Prometheus rules that tell metrics by their reporter.",
		Why: "A sidecar reports HTTP metrics as source or destination. Of ambient pods ztunnel reports TCP metrics only, as source and destination (ztunnel " +
			"src/proxy/metrics.rs); HTTP metrics come from waypoints, whose reporter is waypoint, and not at all without one (istio documentation, Istio Standard Metrics). " +
			"A query that asks for reporter=\"destination\" of requests comes back empty, and an alert made from it never fires. Which of them are about this namespace is not looked at.",
		Needs:  moveNeeds(mesh.Dashboards, mesh.KindPrometheusRule),
		Passed: "no dashboard or rule tells metrics by their reporter",
		Run: func(subject Subject) []Finding {
			if len(movedWorkloads(subject)) == 0 {
				return nil
			}
			var findings []Finding
			const remedy = "let them ask for reporter=\"waypoint\" too, or for TCP metrics"
			if names := reportingDashboards(subject.Snapshot); len(names) > 0 {
				findings = append(findings, Finding{
					Status:  v1alpha1.StatusWarn,
					Message: fmt.Sprintf("%s for a reporter of metrics; without sidecars, HTTP metrics come from waypoints only: %s", asks(len(names), "dashboard"), some(names)), Remedy: remedy,
				})
			}
			if names := reportingRules(subject.Snapshot); len(names) > 0 {
				findings = append(findings, Finding{
					Status:  v1alpha1.StatusWarn,
					Message: fmt.Sprintf("%s for a reporter of metrics; without sidecars, HTTP metrics come from waypoints only: %s", asks(len(names), "PrometheusRule"), some(names)), Remedy: remedy,
				})
			}
			return findings
		},
	}
}

func asks(n int, noun string) string {
	if n == 1 {
		return count(n, noun) + " asks"
	}
	return count(n, noun) + " ask"
}

func reportingDashboards(snapshot *mesh.Snapshot) []string {
	var names []string
	for _, configMap := range snapshot.ConfigMaps() {
		if _, dashboard := configMap.Labels["grafana_dashboard"]; !dashboard {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(configMap.Data)) {
			if mention := mesh.Reporter.FindString(configMap.Data[key]); mention != "" {
				names = append(names, fmt.Sprintf("%s/%s (%s)", configMap.Namespace, configMap.Name, strings.ReplaceAll(mention, `\`, "")))
				break
			}
		}
	}
	return names
}

func reportingRules(snapshot *mesh.Snapshot) []string {
	var names []string
	for _, object := range snapshot.Others(mesh.KindPrometheusRule) {
		var rules struct {
			Spec struct {
				Groups []struct {
					Rules []struct {
						Alert  string             `json:"alert"`
						Record string             `json:"record"`
						Expr   intstr.IntOrString `json:"expr"`
					} `json:"rules"`
				} `json:"groups"`
			} `json:"spec"`
		}
		name := object.GetNamespace() + "/" + object.GetName()
		if err := mesh.Decode(object.Object, &rules); err != nil {
			names = append(names, name+" (could not be understood)")
			continue
		}
		var asking []string
		for _, group := range rules.Spec.Groups {
			for _, rule := range group.Rules {
				if mesh.Reporter.MatchString(rule.Expr.StrVal) {
					asking = append(asking, cmp.Or(rule.Alert, rule.Record))
				}
			}
		}
		if len(asking) > 0 {
			names = append(names, fmt.Sprintf("%s (%s)", name, some(asking)))
		}
	}
	return names
}

func tracing() Check {
	return Check{
		ID: "tracing", Category: CategoryObservability, Severity: v1alpha1.SeverityWarning,
		About: "Tracing that is configured for the namespace, by Telemetry or by the mesh's configuration.",
		Why: "Spans are made where HTTP is read (istio pilot/pkg/networking/core/tracing.go): in sidecars, two for each call, and in waypoints, one. ztunnel makes none. " +
			"Traces of calls between ambient pods lose their spans, and become gaps where applications do not make spans themselves.",
		Needs:  append(rootNamespaces(mesh.KindTelemetry), moveNeeds()...),
		Passed: "no tracing is configured",
		Run: func(subject Subject) []Finding {
			if len(movedWorkloads(subject)) == 0 {
				return nil
			}
			const message = "spans of its sidecars end: ztunnel makes none, and a waypoint one for each call"
			var findings []Finding
			for _, configuration := range subject.Snapshot.Configurations() {
				if field := tracingField(configuration); field != "" {
					findings = append(findings, Finding{
						Status: v1alpha1.StatusWarn, Object: reference(configuration.ConfigMap), Field: "data.mesh (" + field + ")", Message: message,
						Remedy: "make spans in the applications, or give services a waypoint whose calls have to be traced",
					})
				}
			}
			for _, extension := range subject.Snapshot.Extensions() {
				here := extension.Reference.Namespace == subject.Namespace.Name ||
					slices.Contains(subject.Snapshot.RootNamespaces(), extension.Reference.Namespace)
				if extension.Reference.Kind != mesh.KindTelemetry || extension.Targeted() || !here || !selectsAny(subject, extension.Selector) || !traces(extension.Object) {
					continue
				}
				findings = append(findings, Finding{
					Status: v1alpha1.StatusWarn, Object: reference(extension.Reference), Field: "spec.tracing", Message: message,
					Remedy: "attach it to a waypoint by targetRefs for the services whose calls have to be traced",
				})
			}
			return findings
		},
	}
}

// tracingField is what makes a mesh's configuration send spans anywhere: a default
// provider, or the older settings, which need a place to send them to.
func tracingField(configuration mesh.Configuration) string {
	if len(configuration.DefaultProviders.Tracing) > 0 {
		return "defaultProviders.tracing"
	}
	if configuration.EnableTracing != nil && !*configuration.EnableTracing {
		return ""
	}
	for _, tracer := range []string{"zipkin", "lightstep", "datadog", "stackdriver", "openCensusAgent"} {
		if _, set := configuration.DefaultConfig.Tracing[tracer]; set {
			return "defaultConfig.tracing." + tracer
		}
	}
	return ""
}

// traces says whether a Telemetry turns tracing on, or shapes it.
func traces(object mesh.Object) bool {
	entries, _, _ := unstructured.NestedSlice(object, "spec", "tracing")
	return slices.ContainsFunc(entries, func(item any) bool {
		entry, _ := item.(map[string]any)
		off, _ := entry["disableSpanReporting"].(bool)
		return !off
	})
}
