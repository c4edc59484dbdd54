package mesh_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

const mode = "istio.io/dataplane-mode"

func TestEnrolmentRuleCaptures(t *testing.T) {
	custom, err := mesh.EnrolmentRuleOf(map[string]string{"AMBIENT_ENABLEMENT_SELECTOR": `
- podSelector:
    matchLabels: {mesh: "on"}
  namespaceSelector:
    matchExpressions:
    - {key: team, operator: In, values: [shop, pay]}
`})
	if err != nil {
		t.Fatal(err)
	}
	excluding, err := mesh.EnrolmentRuleOf(map[string]string{"EXCLUDE_NAMESPACES": "kube-system, shop ,"})
	if err != nil {
		t.Fatal(err)
	}
	rule := mesh.DefaultEnrolmentRule()
	ambient := labels{mode: "ambient"}
	tests := []struct {
		name      string
		rule      mesh.EnrolmentRule
		pod       mesh.Pod
		namespace labels
		want      bool
	}{
		{"nothing is labelled", rule, mesh.Pod{}, nil, false},
		{"the namespace is", rule, mesh.Pod{}, ambient, true},
		{"the pod is", rule, mesh.Pod{Labels: ambient}, nil, true},
		{"the pod opted out", rule, mesh.Pod{Labels: labels{mode: "none"}}, ambient, false},
		{"the namespace opted out and the pod is", rule, mesh.Pod{Labels: ambient}, labels{mode: "none"}, true},
		{"the pod has a sidecar", rule, mesh.Pod{Annotations: labels{"sidecar.istio.io/status": "{}"}}, ambient, false},
		{"the pod has a sidecar and is labelled itself", rule, mesh.Pod{Labels: ambient, Annotations: labels{"sidecar.istio.io/status": ""}}, ambient, false},
		{"the pod is on the host's network", rule, mesh.Pod{HostNetwork: true}, ambient, false},
		{"the pod refuses injection, which does not matter", rule, mesh.Pod{Labels: labels{"sidecar.istio.io/inject": "false"}}, ambient, true},
		{"the namespace is excluded by default", rule, mesh.Pod{Namespace: "kube-system"}, ambient, false},
		{"the namespace is excluded by the configuration", excluding, mesh.Pod{Namespace: "shop"}, ambient, false},
		{"the namespace is not the excluded one", excluding, mesh.Pod{Namespace: "shops"}, ambient, true},
		{"a custom rule selects pod and namespace", custom, mesh.Pod{Labels: labels{"mesh": "on"}}, labels{"team": "pay"}, true},
		{"a custom rule does not select the namespace", custom, mesh.Pod{Labels: labels{"mesh": "on"}}, labels{"team": "hr"}, false},
		{"a custom rule does not select the pod", custom, mesh.Pod{}, labels{"team": "pay"}, false},
		{"a custom rule replaces the default one", custom, mesh.Pod{Labels: ambient}, ambient, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.rule.Captures(test.pod, test.namespace); got != test.want {
				t.Errorf("Captures is %t, want %t", got, test.want)
			}
		})
	}
}

func TestEnrolmentRuleOf(t *testing.T) {
	rule, err := mesh.EnrolmentRuleOf(nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(mesh.DefaultEnrolmentRule(), rule); diff != "" {
		t.Errorf("keys that are absent do not keep their defaults (-want +got):\n%s", diff)
	}

	rule, err = mesh.EnrolmentRuleOf(map[string]string{"EXCLUDE_NAMESPACES": ""})
	if err != nil {
		t.Fatal(err)
	}
	if len(rule.ExcludeNamespaces) != 0 {
		t.Errorf("an empty list excludes %v", rule.ExcludeNamespaces)
	}

	_, err = mesh.EnrolmentRuleOf(map[string]string{"AMBIENT_ENABLEMENT_SELECTOR": "podSelector: 3"})
	if err == nil || !strings.Contains(err.Error(), "AMBIENT_ENABLEMENT_SELECTOR") {
		t.Errorf("the error of a malformed selector does not name its key: %v", err)
	}
}

// The chart writes the selectors of its values as they are, so its default is
// the text below (istio manifests/charts/istio-cni/values.yaml).
func TestEnrolmentRuleOfTheChartIsTheDefault(t *testing.T) {
	rule, err := mesh.EnrolmentRuleOf(map[string]string{"AMBIENT_ENABLEMENT_SELECTOR": `
- podSelector:
    matchLabels: {istio.io/dataplane-mode: ambient}
- podSelector:
    matchExpressions:
    - {key: istio.io/dataplane-mode, operator: NotIn, values: [none]}
  namespaceSelector:
    matchLabels: {istio.io/dataplane-mode: ambient}
`})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(mesh.DefaultEnrolmentRule(), rule); diff != "" {
		t.Errorf("(-default +chart):\n%s", diff)
	}
}

// istio-cni refuses to start with a selector that it cannot compile, so what
// it captures then cannot be told.
func TestEnrolmentRuleOfRefusesASelectorThatDoesNotCompile(t *testing.T) {
	_, err := mesh.EnrolmentRuleOf(map[string]string{"AMBIENT_ENABLEMENT_SELECTOR": `
- podSelector:
    matchExpressions:
    - {key: mesh, operator: Inn, values: ["on"]}
`})
	if err == nil {
		t.Error("a selector with an unknown operator was accepted")
	}
}
