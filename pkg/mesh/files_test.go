package mesh_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"sigs.k8s.io/yaml"
)

// A dump leads to the content that it was made from.
func TestADumpIsReadAsItWasWritten(t *testing.T) {
	deployment := fixture.Deployment("shop", "cart")
	content, err := mesh.Read(t.Context(), cluster(nil, fixture.Namespace("shop", labels{"istio-injection": "enabled"}), deployment,
		fixture.PodsOf(deployment, fixture.Sidecar), fixture.Pod("pay", "other")).Mesh(), mesh.Scope{Namespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	dump, err := mesh.Dump(content)
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(dump)
	if err != nil {
		t.Fatal(err)
	}
	read, err := mesh.ReadFiles(t.Context(), mesh.Files{Names: []string{"-"}, Stdin: strings.NewReader(string(text))})
	if err != nil {
		t.Fatal(err)
	}
	again, err := mesh.Dump(read)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(dump, again); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
}
