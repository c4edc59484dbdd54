package translate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// extensions carries over what changes the proxies of pods behind a waypoint:
// Telemetry, WasmPlugin and TrafficExtension, and EnvoyFilter where that is asked
// for.
func (t *translator) extensions() {
	for _, extension := range t.snapshot.Extensions() {
		if extension.Targeted() || isOurs(extension) || !t.inReach(extension.Reference.Namespace) || extension.EffectiveField() == "" {
			continue
		}
		if !t.reaches(extension.Selector) {
			t.translation.Carried[extension.Reference] = true
			continue
		}
		switch extension.Reference.Kind {
		case mesh.KindTelemetry:
			t.telemetry(extension)
		case mesh.KindWasmPlugin, mesh.KindTrafficExtension:
			t.proxyExtension(extension)
		case mesh.KindEnvoyFilter:
			t.envoyFilter(extension)
		}
	}
}

// telemetry: what has no selector holds at waypoints of its namespace, and the
// mesh's everywhere (istio pilot/pkg/model/telemetry.go, applicableTelemetries).
func (t *translator) telemetry(extension mesh.Extension) {
	services := t.behind(extension.Selector)
	if len(services) == 0 {
		return
	}
	t.translation.Carried[extension.Reference] = true
	if len(extension.Selector) == 0 && (extension.Reference.Namespace != t.namespace.Name || t.options.WaypointNamespace == t.namespace.Name) {
		return
	}
	t.attachCopies(extension, services)
}

// proxyExtension: at a waypoint only what has targetRefs runs (istio
// pilot/pkg/model/policyattachment.go), and it runs for all that is sent to the
// target. While sidecars behind it run the same, it runs twice.
func (t *translator) proxyExtension(extension mesh.Extension) {
	services := t.behind(extension.Selector)
	if len(services) == 0 {
		return
	}
	t.translation.Carried[extension.Reference] = true
	for _, service := range services {
		t.wholeService(extension.Reference, extension.Selector, service)
	}
	passing := "of callers with sidecars or to a pod's own address"
	if !slices.ContainsFunc(services, func(service *fronted) bool { return !service.direct }) {
		passing = "of callers with sidecars"
	}
	t.translation.Losses = append(t.translation.Losses, Loss{
		Object: extension.Reference, Field: extension.EffectiveField(), Security: true,
		Message: "it runs at the waypoint only: calls that pass by it, " + passing + ", are no longer seen by it",
		Remedy:  "refuse calls that pass by the waypoint by an AuthorizationPolicy",
	})
	spec, _ := extension.Object["spec"].(map[string]any)
	matches, _ := spec["match"].([]any)
	for i, item := range matches {
		match, _ := item.(map[string]any)
		if mode, _ := match["mode"].(string); mode == "CLIENT" || mode == "CLIENT_AND_SERVER" {
			t.translation.Losses = append(t.translation.Losses, Loss{
				Object: extension.Reference, Field: fmt.Sprintf("spec.match[%d].mode", i),
				Message: "what it does to calls that pods of the namespace make ends: ambient pods have no proxy of their own", Security: true,
			})
		}
	}
	t.attachCopies(extension, services)
}

// envoyFilter: an EnvoyFilter with targetRefs is applied to waypoints by istiod, but
// Istio does not support it there.
func (t *translator) envoyFilter(extension mesh.Extension) {
	services := t.behind(extension.Selector)
	if len(services) == 0 || !t.options.EnvoyFilters {
		return
	}
	for i, patch := range extension.Patches() {
		if patch.Context != "" && patch.Context != "ANY" && patch.Context != mesh.ContextWaypoint && patch.Context != mesh.ContextGateway {
			t.problem(extension.Reference, fmt.Sprintf("spec.configPatches[%d].match.context", i),
				"context "+patch.Context+" is not that of a waypoint, so that the patch would change nothing there",
				"rewrite the patch for context "+mesh.ContextWaypoint)
		}
	}
	t.translation.Carried[extension.Reference] = true
	t.attachCopies(extension, services)
}

// attachCopies attaches copies of an extension to services.
func (t *translator) attachCopies(extension mesh.Extension, services []*fronted) {
	kind := extension.Reference.Kind
	for _, service := range services {
		name := generatedName(extension.Reference.Name, service.reference.Name, extension.Reference.Namespace)
		spec, _ := extension.Object["spec"].(map[string]any)
		copied := runtime.DeepCopyJSON(spec)
		for _, field := range []string{"selector", "workloadSelector", "targetRef"} {
			delete(copied, field)
		}
		target := service.target()
		copied["targetRefs"] = []any{map[string]any{"group": target.GetGroup(), "kind": target.GetKind(), "name": target.GetName()}}
		reference := t.attached(kind, name, service)
		t.pullSecret(extension, reference.Namespace)
		if version, _ := extension.Object["apiVersion"].(string); version != "" {
			reference.APIVersion = version
		}
		content := t.object(reference, extension.Reference, copied)
		t.translation.Before = append(t.translation.Before, Object{
			Reference: reference, Content: content, Origin: extension.Reference, Service: service.reference,
			Why: "does at the waypoint what " + extension.Reference.String() + " does in sidecars",
		})
	}
}

// pullSecret is about the Secret by which a module is fetched: istiod looks for it in the
// namespace of the object that names it (istio pilot/pkg/model/extensions.go). Secrets are
// not read, so that whether there is one beside the copy is not known.
func (t *translator) pullSecret(extension mesh.Extension, namespace string) {
	path := []string{"spec", "imagePullSecret"}
	if extension.Reference.Kind == mesh.KindTrafficExtension {
		path = []string{"spec", "wasm", "imagePullSecret"}
	}
	name, _, _ := unstructured.NestedString(extension.Object, path...)
	if name == "" || namespace == extension.Reference.Namespace {
		return
	}
	t.problemOnce(Problem{
		Object: extension.Reference, Field: strings.Join(path, "."),
		Message: fmt.Sprintf("its copy is in namespace %s, where istiod looks for Secret %s: without one the module is not fetched, and does nothing at the waypoint", namespace, name),
		Remedy:  fmt.Sprintf("make Secret %s/%s, which is not looked at, and accept this", namespace, name),
	})
}
