package controlplane

import "testing"

func TestDefaults(t *testing.T) {
	options, err := Options{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if len(options.Nodes) != 3 || options.Nodes[2].Name != "node-3" || options.Nodes[2].KubeletVersion != DefaultKubeletVersion {
		t.Errorf("the nodes are %+v", options.Nodes)
	}
	options.Progress("is safe to call")
}

func TestKubeletVersions(t *testing.T) {
	given := []Node{{Name: "old", KubeletVersion: "v1.28.0"}, {Name: "other"}}
	options, err := Options{Nodes: given, KubeletVersion: "v1.32.0"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if options.Nodes[0].KubeletVersion != "v1.28.0" || options.Nodes[1].KubeletVersion != "v1.32.0" {
		t.Errorf("the nodes are %+v", options.Nodes)
	}
	if given[1].KubeletVersion != "" {
		t.Error("the caller's nodes were changed")
	}
}

func TestImpossibleNodes(t *testing.T) {
	for name, nodes := range map[string][]Node{
		"without a name": {{}},
		"too many":       Nodes(maximumNodes + 1),
	} {
		if _, err := (Options{Nodes: nodes}).withDefaults(); err == nil {
			t.Errorf("nodes %s are accepted", name)
		}
	}
}
