package translate_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// noDelete needs HTTP, and selects whatever is in the namespace.
const noDelete = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-delete, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {methods: [DELETE]}}]}]}
`

// guards are the selectors of the guards among objects, by name but for its hash.
func guards(objects []translate.Object) []string {
	var all []string
	for _, object := range objects {
		if !object.Guard {
			continue
		}
		spec, _ := object.Content["spec"].(map[string]any)
		selector, _ := spec["selector"].(map[string]any)
		labels, _ := selector["matchLabels"].(map[string]any)
		name := object.Reference.Name
		all = append(all, fmt.Sprintf("%s %v", name[:len(name)-len("-00000000")], labels))
	}
	return all
}

// TestReachOfGuards: a guard reaches no proxy that would enforce it by itself, and
// holds in the end whatever a template says.
func TestReachOfGuards(t *testing.T) {
	t.Parallel()
	refusing := func(deployment *appsv1.Deployment) {
		fixture.TemplateLabel("sidecar.istio.io/inject", "false")(deployment)
	}
	gateway := fixture.Deployment("shop", "edge-istio", refusing, fixture.TemplateLabel("gateway.networking.k8s.io/gateway-name", "edge"))
	const whole, narrow = "no-delete-guard map[]", "no-delete-guard map[sidecar.istio.io/inject:false]"
	each := func(inject string) []string {
		return []string{"no-delete-guard-cart map[app:cart" + inject + "]", "no-delete-guard-web map[app:web" + inject + "]"}
	}
	const refused = " sidecar.istio.io/inject:false"
	for _, test := range []struct {
		name          string
		parts         []any
		before, after []string
		problems      int
	}{
		{name: "nothing else", before: []string{narrow}, after: []string{whole}},
		{
			name:   "pods that opted out of both modes enforce nothing",
			parts:  []any{running(fixture.Deployment("shop", "legacy", refusing, fixture.TemplateLabel("istio.io/dataplane-mode", "none")))},
			before: []string{narrow}, after: []string{whole},
		},
		{
			name: "nor do those on their node's network",
			parts: []any{running(fixture.Deployment("shop", "agent", func(deployment *appsv1.Deployment) {
				deployment.Spec.Template.Spec.HostNetwork = true
			}), func(pod *corev1.Pod) { pod.Spec.HostNetwork = true })},
			before: []string{narrow}, after: []string{whole},
		},
		{
			name:   "nor do bare pods that opted out",
			parts:  []any{fixture.Pod("shop", "bare", fixture.Labelled("sidecar.istio.io/inject", "false"))},
			before: []string{narrow}, after: []string{whole},
		},
		{name: "a bare pod keeps its sidecar", parts: []any{fixture.Pod("shop", "bare", fixture.Sidecar)}, before: each(refused), after: each("")},
		{name: "an injected gateway", parts: []any{running(fixture.Deployment("shop", "edge", fixture.InjectedGateway))}, before: each(refused), after: each("")},
		{name: "a gateway that istiod runs", parts: []any{running(gateway)}, before: each(refused), after: each("")},
		{
			name:   "an agent",
			parts:  []any{running(fixture.Deployment("shop", "grpc", fixture.TemplateAnnotation("inject.istio.io/templates", "grpc-agent")), fixture.Sidecar)},
			before: each(refused), after: each(""),
		},
		{
			name: "a proxy in the template",
			parts: []any{running(fixture.Deployment("shop", "carried", func(deployment *appsv1.Deployment) {
				containers := &deployment.Spec.Template.Spec.Containers
				*containers = append(*containers, corev1.Container{Name: mesh.ProxyContainer})
			}), fixture.Sidecar)},
			before: each(refused), after: each(""),
		},
		{name: "a virtual machine", parts: []any{machine("app: vm")}, before: each(refused), after: each("")},
		{
			name:   "a virtual machine with the labels of a workload",
			parts:  []any{machine("app: cart")},
			before: []string{narrow},
		},
		{
			name: "virtual machines that may register",
			parts: []any{fixture.YAML(`
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: vms, namespace: shop}
spec: {metadata: {labels: {app: vm}}, template: {serviceAccount: vm}}
`)},
			before: each(refused), after: each(""),
		},
		{
			name:     "a workload that no label of its own tells from the gateway",
			parts:    []any{running(gateway), running(expressed(), fixture.Sidecar)},
			before:   []string{narrow},
			problems: 1,
		},
		{
			name:   "and one that the label by which pods move does",
			parts:  []any{running(fixture.Deployment("shop", "edge", fixture.InjectedGateway)), running(expressed(), fixture.Sidecar)},
			before: []string{narrow},
		},
		{
			name: "a gateway with the labels of a workload",
			parts: []any{running(fixture.Deployment("shop", "edge-istio", refusing,
				fixture.TemplateLabel("gateway.networking.k8s.io/gateway-name", "edge"), fixture.TemplateLabel("app", "cart")))},
			before:   []string{narrow},
			problems: 1,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			snapshot := fixture.Snapshot(shop(append(test.parts, fixture.YAML(noDelete))...)...)
			translation, err := translate.Namespace(snapshot, fixture.Find(snapshot, "shop"), translate.Options{MixedCallers: translate.MixedCallersDeny})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.before, guards(translation.Before)); diff != "" {
				t.Errorf("meanwhile (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.after, guards(translation.After)); diff != "" {
				t.Errorf("in the end (-want +got):\n%s", diff)
			}
			reach := slices.DeleteFunc(translation.Problems, func(problem translate.Problem) bool { return problem.Field != "spec.selector" })
			if len(reach) != test.problems {
				t.Errorf("problems: %v", translation.Problems)
			}
		})
	}
}

// TestGuardsForWhatHasComeSince: what comes to a namespace in ambient mode had no sidecar
// that would have enforced a policy, but where its pods are guarded one by one, a
// workload more needs a guard more.
func TestGuardsForWhatHasComeSince(t *testing.T) {
	t.Parallel()
	refusing := fixture.TemplateLabel("sidecar.istio.io/inject", "false")
	gateway := running(fixture.Deployment("shop", "edge-istio", refusing, fixture.TemplateLabel("gateway.networking.k8s.io/gateway-name", "edge")))
	late := running(fixture.Deployment("shop", "late"), fixture.Ambient)
	own := running(fixture.Deployment("shop", "own", fixture.TemplateLabel("istio.io/dataplane-mode", "ambient")), fixture.Ambient)
	guard := `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  {name: guard, namespace: shop, labels: {` + v1alpha1.OriginLabel + `: no-delete}, annotations: {` + v1alpha1.OriginLabel + `: AuthorizationPolicy shop/no-delete}}
spec: {selector: {matchLabels: {app: cart}}, action: DENY, rules: [{}]}
`
	const cart = "no-delete-guard-cart map[app:cart]"
	for _, test := range []struct {
		name  string
		parts []any
		want  []string
	}{
		{"one by one", []any{gateway, guard, late}, []string{cart, "no-delete-guard-late map[app:late]"}},
		{"where nothing is guarded yet", []any{gateway, late}, []string{cart}},
		{"what is in ambient mode by itself", []any{gateway, guard, own}, []string{cart}},
		{"all by one", []any{guard, late}, []string{"no-delete-guard map[]"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			moved := running(fixture.Deployment("shop", "cart", refusing), fixture.Ambient)
			snapshot := fixture.Snapshot(fixture.Installation(), fixture.Namespace("shop", map[string]string{"istio.io/dataplane-mode": "ambient"}), noDelete, moved, test.parts)
			translation, err := translate.Namespace(snapshot, fixture.Find(snapshot, "shop"), translate.Options{MixedCallers: translate.MixedCallersDeny})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, guards(translation.After)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// machine is a virtual machine with a label.
func machine(label string) any {
	return fixture.YAML(`
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: shop}
spec: {address: 10.77.0.1, labels: {` + label + `}, serviceAccount: vm}
`)
}

// running is a Deployment and its pods.
func running(deployment *appsv1.Deployment, edits ...func(*corev1.Pod)) []any {
	return []any{deployment, fixture.PodsOf(deployment, edits...)}
}

// expressed is a Deployment that selects its pods by an expression alone.
func expressed() *appsv1.Deployment {
	return fixture.Deployment("shop", "odd", func(deployment *appsv1.Deployment) {
		deployment.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{"odd"}},
		}}
	})
}
