package randommesh

import (
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Provider is the external authorizer that CUSTOM policies name.
const Provider = "guard"

// RootNamespace is the one whose policies concern the whole mesh.
const RootNamespace = "istio-system"

// Mesh is a mesh that was drawn.
type Mesh struct {
	Seed uint64
	// Objects are those of the mesh in an order in which they can be created,
	// namespaces first. All have names that no other seed's have.
	Objects []unstructured.Unstructured
	// Namespace is the one to be migrated, Callers the one of other callers; empty
	// where there is none.
	Namespace, Callers string
	// Options are what its operator chose.
	Options translate.Options
	// Endpoints are those of Services without selectors.
	Endpoints []Endpoints
	// Exclusive is true where a policy concerns the pods of every mesh: two such
	// meshes cannot be in one cluster at a time.
	Exclusive bool
}

// MeshConfig is what the mesh configuration has to say for the meshes.
func MeshConfig() map[string]any {
	return map[string]any{"extensionProviders": []any{map[string]any{
		"name":              Provider,
		"envoyExtAuthzGrpc": map[string]any{"service": "guard." + RootNamespace + ".svc.cluster.local", "port": int64(9000)},
	}}}
}

// New draws the mesh of a seed.
func New(seed uint64) Mesh {
	drawn := &drawing{dice: newDice(seed), mesh: Mesh{Seed: seed, Namespace: fmt.Sprintf("mesh-%d", seed)}}
	drawn.namespaces()
	drawn.workloads()
	drawn.services()
	drawn.peerAuthentications()
	drawn.policies()
	drawn.options()
	drawn.otherWays()
	return drawn.mesh
}

// drawing is a mesh in the making.
type drawing struct {
	dice
	mesh Mesh
	// pods are the workloads of the namespace, by which everything else goes.
	pods []workload
	// tokens is true where requests are asked for them.
	tokens bool
	// serviceNames are those of the Services that were drawn.
	serviceNames []string
}

func (d *drawing) add(apiVersion, kind, namespace, name string, labels map[string]any, fields map[string]any) {
	metadata := map[string]any{"name": name}
	if namespace != "" {
		metadata["namespace"] = namespace
	}
	if len(labels) > 0 {
		metadata["labels"] = labels
	}
	object := map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": metadata}
	for field, value := range fields {
		object[field] = value
	}
	d.mesh.Objects = append(d.mesh.Objects, unstructured.Unstructured{Object: object})
}

// last is the object that was added last.
func (d *drawing) last() *unstructured.Unstructured { return &d.mesh.Objects[len(d.mesh.Objects)-1] }

func (d *drawing) namespaces() {
	d.add("v1", "Namespace", "", d.mesh.Namespace, map[string]any{"istio-injection": "enabled"}, nil)
	if !d.in(60) {
		return
	}
	d.mesh.Callers = d.mesh.Namespace + "-front"
	labels := pick(d.dice, []weighted[map[string]any]{
		{60, map[string]any{"istio-injection": "enabled"}},
		{40, map[string]any{"istio.io/dataplane-mode": "ambient"}},
	})
	d.add("v1", "Namespace", "", d.mesh.Callers, labels, nil)
}

func (d *drawing) options() {
	d.mesh.Options = translate.Options{
		Scope:        pick(d.dice, []weighted[translate.Scope]{{70, translate.ScopeService}, {30, translate.ScopeNamespace}}),
		MixedCallers: one(d.dice, translate.MixedCallersBlock, translate.MixedCallersDeny, translate.MixedCallersLayer4),
		Replicas:     pick(d.dice, []weighted[int32]{{70, 0}, {15, 1}, {15, 2}}),
	}
}
