package mesh

import (
	"regexp"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// Redacted stands for a value that was taken out.
const Redacted = "<redacted>"

// redact returns an object without what decisions do not need and nobody should
// find in a bug report: values of environment variables, command lines, ConfigMaps'
// data, annotations, certificates of webhooks, what kubectl apply last applied. It
// is made of every object that is read, from a cluster and from files alike, so that both
// lead to the same decisions; redacting twice changes nothing. Istio's and
// Gateway API's own objects stay whole: they are what is migrated.
//
// The second result says whether something was taken out that a writer of the
// object would miss. Nobody writes objects of which only metadata is kept.
func redact(object unstructured.Unstructured) (unstructured.Unstructured, bool) {
	kind := object.GroupVersionKind().GroupKind()
	if !Understood(kind) || kind.Kind == kindCustomResourceDef {
		return metadataOf(object), false
	}
	object = *object.DeepCopy()
	lost := false
	trimMetadata(&object)
	switch object.GetKind() {
	case KindPod:
		lost = redactPod(object.Object)
		redactStatuses(object.Object)
	case KindDeployment, KindStatefulSet, KindDaemonSet, KindReplicaSet, KindJob, KindRollout:
		lost = redactPod(object.Object, "spec", "template")
	case KindCronJob:
		lost = redactAnnotations(object.Object, "spec", "jobTemplate", "metadata")
		lost = redactPod(object.Object, "spec", "jobTemplate", "spec", "template") || lost
	case KindConfigMap:
		lost = redactConfigMap(object.Object)
	case KindMutatingWebhookConfiguration:
		redactWebhooks(object.Object)
	case KindNode:
		unstructured.RemoveNestedField(object.Object, "status", "images")
	}
	return object, lost
}

// metadataOf keeps what identifies an object and what is said of it.
func metadataOf(object unstructured.Unstructured) unstructured.Unstructured {
	kept := unstructured.Unstructured{Object: map[string]any{}}
	for _, key := range []string{"apiVersion", "kind", "metadata"} {
		if value, set := object.Object[key]; set {
			kept.Object[key] = runtime.DeepCopyJSONValue(value)
		}
	}
	trimMetadata(&kept)
	return kept
}

// managed are the kinds whose field managers are looked at: those that a
// migration changes. A ReplicaSet is changed where nothing controls it.
var managed = []string{
	KindNamespace, KindService, KindDeployment, KindStatefulSet, KindDaemonSet, KindCronJob, KindRollout,
	KindGateway, KindAuthorizationPolicy, KindRequestAuthentication, KindTelemetry, KindWasmPlugin,
	KindTrafficExtension, KindEnvoyFilter, KindSidecar, KindServiceEntry, KindVirtualService, KindDestinationRule,
}

func trimMetadata(object *unstructured.Unstructured) {
	ownTemplate := object.GetKind() == KindReplicaSet && metav1.GetControllerOf(object) == nil
	if !slices.Contains(managed, object.GetKind()) && !ownTemplate {
		unstructured.RemoveNestedField(object.Object, "metadata", "managedFields")
	}
	if annotations, found, err := unstructured.NestedMap(object.Object, "metadata", "annotations"); err == nil && found {
		delete(annotations, corev1.LastAppliedConfigAnnotation)
		if len(annotations) == 0 {
			unstructured.RemoveNestedField(object.Object, "metadata", "annotations")
			return
		}
		// The error could only be that the metadata is not a map.
		_ = unstructured.SetNestedMap(object.Object, annotations, "metadata", "annotations")
	}
}

// redactPod redacts an object and the pod in it, which may be the object itself.
func redactPod(object map[string]any, path ...string) bool {
	lost := redactAnnotations(object, "metadata")
	lost = redactAnnotations(object, append(slices.Clone(path), "metadata")...) || lost
	spec := append(slices.Clone(path), "spec")
	lost = redactVolumes(object, spec...) || lost
	return redactPodSpec(object, spec...) || lost
}

func redactPodSpec(object map[string]any, path ...string) bool {
	lost := false
	for _, list := range []string{"containers", "initContainers", "ephemeralContainers"} {
		containers, found, err := unstructured.NestedFieldNoCopy(object, append(slices.Clone(path), list)...)
		if err != nil || !found {
			continue
		}
		items, _ := containers.([]any)
		for _, item := range items {
			if container, ok := item.(map[string]any); ok {
				lost = redactContainer(container) || lost
				lost = redactHeaders(container) || lost
			}
		}
	}
	return lost
}

// tellingVariables are the environment variables of Istio's and CNI plugins'
// containers that say how they are configured.
var tellingVariables = regexp.MustCompile(`^(PILOT_|ENABLE_|AMBIENT_|ISTIO_META_|CA_TRUSTED_NODE_ACCOUNTS$|CA_ADDR(ESS)?$|XDS_ADDRESS$|EXTERNAL_ISTIOD$|` +
	`CLUSTER_ID$|NETWORK$|HOST_PROBE_SNAT_IP(?:V6)?$|REVISION$|PLATFORM$|CLOUD_PLATFORM$|EXCLUDE_NAMESPACES$|POD_SECURITY_GROUP_ENFORCING_MODE$|FELIX_BPF|SPIRE_)`)

// tellingWords are the words of a command line that say something about Istio.
var tellingWords = regexp.MustCompile(`quitquitquit|healthz/ready|pilot-agent|\b150(?:00|01|06|08|20|21|90)\b`)

// capturing are the init containers that the injector tells which ports are captured, and
// captureWords what it tells them of that.
var (
	capturing    = map[string]bool{initContainer: true, validationContainer: true}
	captureWords = regexp.MustCompile(`^(?:-[bdm]|[0-9]{1,5}(?:, ?[0-9]{1,5})*|\*|REDIRECT|TPROXY|NONE)?$`)
)

func redactContainer(container map[string]any) bool {
	lost := false
	of, _ := container["name"].(string)
	telling := configured[of]
	variables, _ := container["env"].([]any)
	for _, item := range variables {
		variable, _ := item.(map[string]any)
		name, _ := variable["name"].(string)
		if telling && tellingVariables.MatchString(name) {
			continue
		}
		if value, set := variable["value"]; set && value != Redacted && value != "" {
			variable["value"] = Redacted
			lost = true
		}
	}
	if of == ProxyContainer {
		return lost
	}
	for _, path := range commandLines {
		line, _, _ := unstructured.NestedFieldNoCopy(container, path...)
		words, _ := line.([]any)
		for i := range words {
			word, _ := words[i].(string)
			if capturing[of] && captureWords.MatchString(word) {
				continue
			}
			if kept := tellingPart(word); kept != word {
				words[i] = kept
				lost = true
			}
		}
	}
	return lost
}

// commandLines are where a container says what to execute.
var commandLines = [][]string{
	{"command"}, {"args"},
	{"lifecycle", "postStart", "exec", "command"}, {"lifecycle", "preStop", "exec", "command"},
	{"livenessProbe", "exec", "command"}, {"readinessProbe", "exec", "command"}, {"startupProbe", "exec", "command"},
}

// redactHeaders takes out what probes and hooks of a container say who they are:
// headers, and queries.
func redactHeaders(container map[string]any) bool {
	lost := false
	for _, path := range [][]string{
		{"livenessProbe"}, {"readinessProbe"}, {"startupProbe"}, {"lifecycle", "postStart"}, {"lifecycle", "preStop"},
	} {
		field, _, _ := unstructured.NestedFieldNoCopy(container, append(path, "httpGet")...)
		request, _ := field.(map[string]any)
		if text, isText := request["path"].(string); isText && withoutQuery(text) != text {
			request["path"] = withoutQuery(text)
			lost = true
		}
		headers, _ := request["httpHeaders"].([]any)
		for _, item := range headers {
			header, _ := item.(map[string]any)
			if value, set := header["value"]; set && value != Redacted && value != "" {
				header["value"] = Redacted
				lost = true
			}
		}
	}
	return lost
}

// tellingPart keeps of a command line only what it says about Istio.
func tellingPart(word string) string {
	if word == Redacted {
		return word
	}
	found := tellingWords.FindAllString(word, -1)
	if len(found) == 0 {
		return Redacted
	}
	slices.Sort(found)
	return strings.Join(slices.Compact(found), " ")
}

// Reporter matches a mention of the label that says who measured, in a query of
// Istio's metrics.
var Reporter = regexp.MustCompile(`reporter\s*(?:=~|!~|!=|=)\s*\\*"[^"\\]*\\*"`)

// redactConfigMap keeps what Istio's own ConfigMaps, Cilium's and migrations' say. Of a
// dashboard it keeps how it asks for the reporter of metrics.
func redactConfigMap(object map[string]any) bool {
	data, _ := object["data"].(map[string]any)
	_, lost := object["binaryData"]
	delete(object, "binaryData")
	name, _, _ := unstructured.NestedString(object, "metadata", "name")
	labels, _, _ := unstructured.NestedStringMap(object, "metadata", "labels")
	_, dashboard := labels["grafana_dashboard"]
	_, created := labels[v1alpha1.OriginLabel]
	for key := range data {
		text, _ := data[key].(string)
		kept := text
		switch {
		case name == "istio-cni-config" || name == "cilium-config":
		case created && (key == "deployment" || key == "podDisruptionBudget"):
			// What a migration says of its waypoint; a rollback deletes it as written.
		case (name == "istio" || strings.HasPrefix(name, "istio-")) && key == "mesh":
			kept = meshConfiguration(text)
		case strings.HasPrefix(name, "istio-sidecar-injector") && key == "config":
		case strings.HasPrefix(name, "istio-sidecar-injector") && key == "values":
			kept = installationValues(text)
		case dashboard:
			mentions := Reporter.FindAllString(text, -1)
			slices.Sort(mentions)
			kept = strings.Join(slices.Compact(mentions), "\n")
		case text != "":
			kept = Redacted
		}
		if kept != text {
			data[key] = kept
			lost = true
		}
	}
	return lost
}

// installationValues keeps of an installation's values what says in which shape
// of mesh it takes part.
func installationValues(text string) string {
	var values struct {
		Global struct {
			Network             any `json:"network,omitempty"`
			MultiCluster        any `json:"multiCluster,omitempty"`
			Platform            any `json:"platform,omitempty"`
			ExternalIstiod      any `json:"externalIstiod,omitempty"`
			RemotePilotAddress  any `json:"remotePilotAddress,omitempty"`
			CAAddress           any `json:"caAddress,omitempty"`
			PilotCertProvider   any `json:"pilotCertProvider,omitempty"`
			NativeNftables      any `json:"nativeNftables,omitempty"`
			TrustedNodeAccounts any `json:"trustedNodeAccounts,omitempty"`
			Proxy               *struct {
				IncludeInboundPorts any `json:"includeInboundPorts,omitempty"`
				ExcludeInboundPorts any `json:"excludeInboundPorts,omitempty"`
			} `json:"proxy,omitempty"`
			Waypoint struct {
				Resources any `json:"resources,omitempty"`
			} `json:"waypoint"`
		} `json:"global"`
		Gateways struct {
			SeccompProfile any `json:"seccompProfile,omitempty"`
		} `json:"gateways"`
	}
	if err := yaml.Unmarshal([]byte(text), &values); err != nil {
		return Redacted
	}
	kept, err := yaml.Marshal(values)
	if err != nil {
		return Redacted
	}
	return string(kept)
}

func redactWebhooks(object map[string]any) {
	webhooks, _ := object["webhooks"].([]any)
	for _, item := range webhooks {
		webhook, _ := item.(map[string]any)
		unstructured.RemoveNestedField(webhook, "clientConfig", "caBundle")
	}
}
