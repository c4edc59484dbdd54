package mesh

import (
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"istio.io/api/annotation"
	"istio.io/api/label"
)

// InjectionTemplates are a revision's templates for injected pods, as its
// ConfigMap istio-sidecar-injector holds them (istio pkg/kube/inject, Config).
type InjectionTemplates struct {
	// ConfigMap names where they were read.
	ConfigMap v1alpha1.ObjectReference `json:"-"`
	Revision  string                   `json:"-"`
	// Default are those of pods that name none.
	Default []string `json:"defaultTemplates"`
	// Templates are the templates' texts by name.
	Templates map[string]string `json:"templates"`
	// Aliases are names for several templates.
	Aliases map[string][]string `json:"aliases"`
}

// InjectionTemplates returns the templates of each revision. A ConfigMap that is
// not understood is left out: the injector does not understand it either.
func (s *Snapshot) InjectionTemplates() []InjectionTemplates {
	var all []InjectionTemplates
	for _, injection := range s.settings.injections {
		if injection.misread != nil {
			continue
		}
		templates, configMap := injection.InjectionTemplates, injection.configMap
		templates.ConfigMap = v1alpha1.ObjectReference{APIVersion: "v1", Kind: KindConfigMap, Namespace: configMap.Namespace, Name: configMap.Name}
		templates.Revision = configMap.Labels[label.IoIstioRev.Name]
		if len(templates.Default) == 0 {
			templates.Default = []string{TemplateSidecar}
		}
		all = append(all, templates)
	}
	return all
}

// TemplateSidecar is the template of a sidecar.
const TemplateSidecar = "sidecar"

// stockTemplates are those of Istio's charts (istio
// manifests/charts/istio-control/istio-discovery/templates,
// istiod-injector-configmap.yaml).
var stockTemplates = []string{
	TemplateSidecar, "gateway", "grpc-simple", "grpc-agent", "waypoint", "kube-gateway", "agentgateway", "agentgateway-waypoint",
}

// Custom returns the templates among names that are not Istio's own. Aliases are
// looked up once, as the injector does.
func (t InjectionTemplates) Custom(names []string) []string {
	var custom []string
	for _, name := range names {
		expanded := []string{name}
		if of, is := t.Aliases[name]; is {
			expanded = of
		}
		for _, name := range expanded {
			if !slices.Contains(stockTemplates, name) && !slices.Contains(custom, name) {
				custom = append(custom, name)
			}
		}
	}
	return custom
}

// ChangedSidecar says whether the text of the sidecar's template is not that of
// Istio's charts: every version of theirs that serves ambient mode writes the
// tunnel label.
func (t InjectionTemplates) ChangedSidecar() bool {
	text, set := t.Templates[TemplateSidecar]
	return set && !strings.Contains(text, TunnelLabel)
}

// TemplateNames returns the injection templates that annotations of a pod name.
func TemplateNames(annotations map[string]string) []string {
	var names []string
	for name := range strings.SplitSeq(annotations[annotation.InjectTemplates.Name], ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}
