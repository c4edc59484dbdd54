package mesh

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"istio.io/api/annotation"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// InboundCapture says which ports of a pod reach its sidecar. The others reach the
// application itself: no policy and no mutual TLS holds there. The zero InboundCapture
// captures all, as sidecars do that nobody told otherwise.
type InboundCapture struct {
	// Limited is true where only Ports are captured, otherwise all but them.
	Limited bool
	Ports   []uint32
}

// Captures says whether a port reaches the sidecar.
func (c InboundCapture) Captures(port uint32) bool {
	return slices.Contains(c.Ports, port) == c.Limited
}

// captureAll is what stands for every port.
const captureAll = "*"

// interceptNone is the mode in which nothing is captured.
const interceptNone = "NONE"

var interceptionModes = []string{"REDIRECT", "TPROXY", interceptNone}

// The init containers that the injector adds: the first one sets the rules, the second
// one looks whether istio-cni has.
const (
	initContainer       = "istio-init"
	validationContainer = "istio-validation"
)

// The ports of the sidecar itself, which it answers whether they are captured or not,
// and which go with it (istio documentation, Application Requirements).
var sidecarPorts = []uint32{15020, 15021, 15090}

// captureOf reads what a sidecar is told: exclusions count only where all is included
// (istio tools/istio-iptables/pkg/capture/run.go, handleInboundPortsInclude).
func captureOf(include, exclude, mode string) InboundCapture {
	switch {
	case mode == interceptNone:
		return InboundCapture{Limited: true}
	case strings.TrimSpace(include) == captureAll:
		excluded := slices.DeleteFunc(PortList(exclude), func(port uint32) bool { return slices.Contains(sidecarPorts, port) })
		return InboundCapture{Ports: excluded}
	default:
		return InboundCapture{Limited: true, Ports: PortList(include)}
	}
}

// PortList reads ports that are separated by commas, in the order of their numbers. What
// is none is passed over.
func PortList(text string) []uint32 {
	var ports []uint32
	for part := range strings.SplitSeq(text, ",") {
		if port, err := strconv.ParseUint(strings.TrimSpace(part), 10, 16); err == nil {
			ports = append(ports, uint32(port))
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// InboundCapture says which ports of a pod reach its sidecar, which means something only
// where it has one. The init container that the injector adds is told it in so many
// words, whether it or istio-cni sets the rules (istio
// manifests/charts/istio-control/istio-discovery/files/injection-template.yaml); without
// one the annotations tell, as they do istio-cni (istio
// cni/pkg/plugin/sidecar_redirect.go, NewRedirect).
func (p Pod) InboundCapture() InboundCapture {
	if p.ProxyEnvironment["ISTIO_META_INTERCEPTION_MODE"] == interceptNone {
		return InboundCapture{Limited: true}
	}
	captured, told := captureOfArguments(initArguments(p.Object))
	if !told {
		captured = CaptureDefaults{}.Of(DefaultRevision, p.Annotations)
	}
	if port := PortList(p.Annotations[annotation.SidecarStatusPort.Name]); !captured.Limited && len(port) > 0 {
		captured.Ports = slices.DeleteFunc(captured.Ports, func(excluded uint32) bool { return excluded == port[0] })
	}
	return captured
}

// initArguments are those of the init container in which the injector says what is
// captured.
func initArguments(pod Object) []string {
	containers, _, err := unstructured.NestedSlice(pod, "spec", "initContainers")
	if err != nil {
		return nil
	}
	for _, item := range containers {
		container, _ := item.(map[string]any)
		if name, _ := container["name"].(string); !capturing[name] {
			continue
		}
		arguments, _, err := unstructured.NestedStringSlice(container, "args")
		if err == nil {
			return arguments
		}
	}
	return nil
}

func captureOfArguments(arguments []string) (captured InboundCapture, told bool) {
	values := map[string]string{}
	for i, argument := range arguments {
		if i+1 < len(arguments) && slices.Contains([]string{"-b", "-d", "-m"}, argument) {
			values[argument] = arguments[i+1]
		}
	}
	include, told := values["-b"]
	return captureOf(include, values["-d"], values["-m"]), told
}

// CaptureDefaults are what installations tell sidecars whose pod template says nothing,
// by revision.
type CaptureDefaults map[string]captureDefault

type captureDefault struct{ include, exclude, mode string }

// CaptureDefaults returns them.
func (s *Snapshot) CaptureDefaults() CaptureDefaults { return maps.Clone(s.settings.captures) }

// capturesOf reads them from the configuration of the injectors and of the mesh.
func capturesOf(configMaps []corev1.ConfigMap, configurations []Configuration) CaptureDefaults {
	modes := map[string]string{}
	for _, configuration := range configurations {
		modes[configuration.Revision] = configuration.DefaultConfig.InterceptionMode
	}
	defaults := CaptureDefaults{}
	for _, configMap := range configMaps {
		var values struct {
			Global struct {
				Proxy struct {
					// Helm takes a single port for a number.
					IncludeInboundPorts any `json:"includeInboundPorts"`
					ExcludeInboundPorts any `json:"excludeInboundPorts"`
				} `json:"proxy"`
			} `json:"global"`
		}
		if !holdsInjection(configMap) || yaml.Unmarshal([]byte(configMap.Data["values"]), &values) != nil {
			continue
		}
		revision := cmp.Or(configMap.Labels[label.IoIstioRev.Name], DefaultRevision)
		made := captureDefault{include: captureAll, mode: modes[revision]}
		if include := values.Global.Proxy.IncludeInboundPorts; include != nil {
			made.include = fmt.Sprint(include)
		}
		if exclude := values.Global.Proxy.ExcludeInboundPorts; exclude != nil {
			made.exclude = fmt.Sprint(exclude)
		}
		defaults[revision] = made
	}
	return defaults
}

// Of is what a sidecar that a revision injects captures of a pod with annotations.
func (d CaptureDefaults) Of(revision string, annotations map[string]string) InboundCapture {
	told, known := d[cmp.Or(revision, DefaultRevision)]
	if !known {
		told.include = captureAll
	}
	var own struct {
		InterceptionMode string `json:"interceptionMode"`
	}
	if yaml.Unmarshal([]byte(annotations[annotation.ProxyConfig.Name]), &own) == nil && own.InterceptionMode != "" {
		told.mode = own.InterceptionMode
	}
	for name, to := range map[string]*string{
		annotation.SidecarTrafficIncludeInboundPorts.Name: &told.include,
		annotation.SidecarTrafficExcludeInboundPorts.Name: &told.exclude,
		annotation.SidecarInterceptionMode.Name:           &told.mode,
	} {
		if value, set := annotations[name]; set {
			*to = value
		}
	}
	return captureOf(told.include, told.exclude, told.mode)
}
