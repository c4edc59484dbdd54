package translate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
)

// translator gathers a namespace's translation.
type translator struct {
	snapshot  *mesh.Snapshot
	namespace mesh.Namespace
	options   Options
	// pods are those of the namespace, moving those of them that lose their
	// sidecar, or have lost it.
	pods, moving []pods
	// fronted are the services that a waypoint stands in front of in the end, and the
	// pods that name one; skipped are the services that need one and get none.
	fronted, skipped []*fronted
	// headless are the headless Services whose pods are to have a waypoint.
	headless []headlessService
	// principals are the identities of the waypoints in front of them.
	principals  []string
	translation *Translation
	// written are the endpoints of Services that somebody has written.
	written map[v1alpha1.ObjectReference][]mesh.WrittenEndpoint
	// err is what could not be written.
	err error
}

// fronted is a service with a waypoint in front of it, or pods with one.
type fronted struct {
	// reference is what policies are attached to: the service, or the Gateway of pods.
	reference v1alpha1.ObjectReference
	// direct is true for pods that are called by their own address.
	direct bool
	pods   []pods
	ports  portMap
	// plain are the ports of the pods that carry no HTTP to the service, read those
	// that may.
	plain, read []string
	// waypoint is the namespace and name of the waypoint, given true where it is new
	// in front of the service.
	waypoint string
	given    bool
}

// Namespace translates what sidecars do for a namespace. Two translations of the
// same mesh are the same. An OptionError names an option that does not fit the mesh.
func Namespace(snapshot *mesh.Snapshot, namespace mesh.Namespace, options Options) (Translation, error) {
	if err := options.Validate(); err != nil {
		return Translation{}, err
	}
	t := &translator{
		snapshot: snapshot, namespace: namespace, options: options.withDefaults(namespace.Name),
		pods: podsOf(snapshot, namespace), translation: &Translation{Carried: map[v1alpha1.ObjectReference]bool{}},
	}
	for _, one := range t.pods {
		if one.moves {
			t.moving = append(t.moving, one)
		}
	}
	t.written = map[v1alpha1.ObjectReference][]mesh.WrittenEndpoint{}
	for _, endpoint := range snapshot.WrittenEndpoints() {
		t.written[endpoint.Service] = append(t.written[endpoint.Service], endpoint)
	}
	if err := t.waypoints(); err != nil {
		return Translation{}, err
	}
	t.authorization()
	t.authentication()
	t.extensions()
	t.routing()
	t.bypasses()
	t.rewrites()
	t.strangers()
	t.sharedAccounts()
	t.canaries()
	t.collisions()
	t.leftovers()
	t.narrow()
	return *t.translation, t.err
}

func (t *translator) problem(object v1alpha1.ObjectReference, field, message, remedy string) {
	t.translation.Problems = append(t.translation.Problems, Problem{Object: object, Field: field, Message: message, Remedy: remedy})
}

// problemOnce notes a problem that may be met several times.
func (t *translator) problemOnce(problem Problem) {
	if !slices.Contains(t.translation.Problems, problem) {
		t.translation.Problems = append(t.translation.Problems, problem)
	}
}

// attached names an object that is to be attached to a service of the namespace, or to
// a waypoint: a policy is in the namespace of what it is attached to (istio
// pilot/pkg/model/policyattachment.go).
func (t *translator) attached(kind, name string, to *fronted) v1alpha1.ObjectReference {
	reference := t.reference(kind, name)
	reference.Namespace = to.reference.Namespace
	return reference
}

// reference names an object of the namespace that is to be.
func (t *translator) reference(kind, name string) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: apiVersions[kind], Kind: kind, Namespace: t.namespace.Name, Name: name}
}

// apiVersions are those that objects are written in.
var apiVersions = map[string]string{
	mesh.KindAuthorizationPolicy: securityVersion, mesh.KindRequestAuthentication: securityVersion,
	mesh.KindTelemetry: "telemetry.istio.io/v1", mesh.KindWasmPlugin: "extensions.istio.io/v1alpha1",
	mesh.KindTrafficExtension: "extensions.istio.io/v1alpha1", mesh.KindEnvoyFilter: "networking.istio.io/v1alpha3",
	mesh.KindGateway: gatewayVersion, "ConfigMap": "v1",
}

// object writes an object that carries another one over.
func (t *translator) object(reference, origin v1alpha1.ObjectReference, spec any) map[string]any {
	return map[string]any{
		"apiVersion": reference.APIVersion, "kind": reference.Kind,
		"metadata": map[string]any{
			"name": reference.Name, "namespace": reference.Namespace,
			"labels":      map[string]any{v1alpha1.OriginLabel: originLabel(origin)},
			"annotations": map[string]any{v1alpha1.OriginLabel: origin.String()},
		},
		"spec": t.plain(spec),
	}
}

// plain is a value as JSON has it, with whole numbers kept whole.
func (t *translator) plain(value any) map[string]any {
	fields, err := plain(value)
	t.err = errors.Join(t.err, err)
	return fields
}

func plain(value any) (map[string]any, error) {
	fields := map[string]any{}
	data, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(data, &fields)
	}
	if err != nil {
		return fields, fmt.Errorf("write %T as JSON: %w", value, err)
	}
	return fields, nil
}

// withSpec is an object with another spec.
func (t *translator) withSpec(object mesh.Object, spec any) map[string]any {
	changed := runtime.DeepCopyJSON(object)
	changed["spec"] = t.plain(spec)
	return changed
}

func annotate(object map[string]any, key, value string) { metadata(object, "annotations")[key] = value }

func labelled(object map[string]any, key, value string) { metadata(object, "labels")[key] = value }

// metadata returns a map of an object's metadata, made where there is none.
func metadata(object map[string]any, name string) map[string]any {
	fields, _ := object["metadata"].(map[string]any)
	values, is := fields[name].(map[string]any)
	if !is {
		values = map[string]any{}
		fields[name] = values
	}
	return values
}

// selectorKey is a selector as a text that only it has.
func selectorKey(selector map[string]string) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		parts = append(parts, key+"="+selector[key])
	}
	return strings.Join(parts, ",")
}

// service finds a Service of the namespace.
func (t *translator) service(name string) (corev1.Service, bool) {
	for _, service := range t.snapshot.Services(t.namespace.Name) {
		if service.Name == name {
			return service, true
		}
	}
	return corev1.Service{}, false
}

// collisions are objects of others that have the name of one that is to be.
func (t *translator) collisions() {
	objects := slices.Clone(t.translation.Before)
	if t.translation.Waypoint != nil {
		objects = append(objects, t.translation.Waypoint.Objects...)
	}
	for _, direct := range t.translation.Direct {
		objects = append(objects, direct.Objects...)
	}
	for _, object := range objects {
		if _, found := t.snapshot.Object(object.Reference); found && !t.oursAt(object.Reference) {
			t.problem(object.Reference, "metadata.name", "an object of this name exists that is not kubectl-ambient's, and is left alone",
				"rename or delete it: the name is needed for what "+object.Why)
		}
	}
}
