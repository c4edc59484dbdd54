package mesh_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// What ambient mode makes of a combination is what istiod's own
// convertedSelectorPeerAuthentications and convertPeerAuthentication returned for
// it.
func TestMutualTLS(t *testing.T) {
	const strict, permissive, unset, disable = "{mtls: {mode: STRICT}}", "{mtls: {mode: PERMISSIVE}}", "{}", "{mtls: {mode: DISABLE}}"
	own := func(mode, ports string) string {
		return "{selector: {matchLabels: {app: cart}}, mtls: {mode: " + mode + "}, portLevelMtls: {" + ports + "}}"
	}
	const open, closed, off, inherited = "80: {mode: PERMISSIVE}", "80: {mode: STRICT}", "80: {mode: DISABLE}", "80: {}"
	type says struct{ Port, Others bool }
	tests := []struct {
		name, mesh, namespace, workload string
		sidecar, ambient                says
	}{
		{"nothing", "", "", "", says{}, says{}},
		{"mesh", strict, "", "", says{true, true}, says{true, true}},
		{"namespace over mesh", strict, permissive, "", says{}, says{}},
		{"namespace over a mesh without mTLS", disable, strict, "", says{true, true}, says{true, true}},
		{"namespace that says nothing", strict, unset, "", says{true, true}, says{true, true}},
		{"workload", "", "", own("STRICT", ""), says{true, true}, says{true, true}},
		{"workload over namespace", "", strict, own("PERMISSIVE", ""), says{}, says{}},
		{"exception", "", "", own("STRICT", open), says{false, true}, says{false, true}},
		{"exception without mTLS", "", "", own("STRICT", off), says{false, true}, says{false, true}},
		{"exception that is none", "", "", own("STRICT", closed), says{true, true}, says{true, true}},
		{"exception that says nothing", "", "", own("STRICT", inherited), says{true, true}, says{true, true}},
		{"one strict port", "", "", own("PERMISSIVE", closed), says{true, false}, says{true, false}},
		{"one strict port, the rest without mTLS", "", "", own("DISABLE", closed), says{true, false}, says{true, false}},
		{"one strict port, the rest unset", "", "", own("UNSET", closed), says{true, false}, says{true, false}},
		{"one strict port under a lax namespace", "", permissive, own("UNSET", closed), says{true, false}, says{true, false}},
		{"one strict port under a lax namespace of a strict mesh", strict, permissive, own("UNSET", closed), says{true, false}, says{true, false}},
		{"inherited, but for a port", strict, "", own("UNSET", open), says{false, true}, says{false, true}},
		{"inherited from the namespace, but for a port", "", strict, own("UNSET", open), says{false, true}, says{false, true}},
		{"strict everywhere", strict, strict, own("UNSET", closed), says{true, true}, says{true, true}},
		{"lax everywhere", "", "", own("UNSET", open), says{}, says{}},
		// What istiod does not convert as sidecars understand it.
		{"inherited, but for a port without mTLS", strict, "", own("UNSET", off), says{false, true}, says{true, true}},
		{"one strict port of a lax workload in a strict mesh", strict, "", own("PERMISSIVE", closed), says{true, false}, says{false, false}},
		{"one strict port of a lax workload in a strict mesh, with a namespace that says nothing", strict, unset, own("PERMISSIVE", closed), says{true, false}, says{false, false}},
		{"one strict port of a lax workload in a strict namespace", strict, strict, own("PERMISSIVE", closed), says{true, false}, says{true, false}},
		{"an exception in a strict mesh, with a namespace that says nothing", strict, unset, own("UNSET", open), says{false, true}, says{false, false}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			objects := []any{fixture.Istiod("")}
			for namespace, spec := range map[string]string{"istio-system": test.mesh, "shop": test.namespace} {
				if spec != "" {
					objects = append(objects, peerAuthentication(namespace, "wide", spec))
				}
			}
			if test.workload != "" {
				objects = append(objects, peerAuthentication("shop", "own", test.workload))
			}
			snapshot := fixture.Snapshot(objects...)
			cart := labels{"app": "cart"}
			for mode, of := range map[string]struct {
				got  mesh.MutualTLS
				want says
			}{
				"sidecar": {snapshot.SidecarMutualTLS("shop", cart), test.sidecar}, "ambient": {snapshot.AmbientMutualTLS("shop", cart), test.ambient},
			} {
				if diff := cmp.Diff(of.want, says{of.got.Refuses(80), of.got.Refuses(81)}); diff != "" {
					t.Errorf("%s (-want +got):\n%s", mode, diff)
				}
			}
		})
	}
}

func peerAuthentication(namespace, name, spec string) string {
	return "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec: " + spec
}

func TestPeerLevelsOfARootNamespaceCountOnlyWithoutSelector(t *testing.T) {
	snapshot := fixture.Snapshot(fixture.Istiod(""),
		peerAuthentication("istio-system", "a", "{selector: {matchLabels: {app: cart}}, mtls: {mode: STRICT}}"),
		peerAuthentication("istio-system", "b", "{selector: {matchLabels: {}}, mtls: {mode: PERMISSIVE}}"),
	)
	for _, namespace := range []string{"shop", "istio-system"} {
		levels := snapshot.PeerLevelsOf(namespace, labels{"app": "cart"})
		if levels.Workload != nil || levels.Namespace != nil || levels.Mesh == nil || levels.Mesh.Name != "b" {
			t.Errorf("in %s they are %+v", namespace, levels)
		}
	}
}
