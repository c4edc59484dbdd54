package checks_test

import (
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	appsv1 "k8s.io/api/apps/v1"
)

const service = `
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {selector: {app: cart}, ports: [{port: 80}]}`

// shop is a healthy mesh with an injected namespace, and what is added to it.
func shop(more ...any) []any {
	cart := fixture.Deployment("shop", "cart", fixture.Probed)
	return append(append(fixture.Installation(),
		fixture.Namespace("shop", labels{"istio-injection": "enabled"}), cart, fixture.PodsOf(cart, fixture.Sidecar), service,
		fixture.DaemonSet("kube-system", "kindnet"),
	), more...)
}

// enrolled is a healthy mesh with an ambient namespace, and what is added to
// it.
func enrolled(more ...any) []any {
	cart := fixture.Deployment("shop", "cart", fixture.TemplateLabel("sidecar.istio.io/inject", "false"))
	return append(append(fixture.Installation(),
		fixture.Namespace("shop", labels{"istio.io/dataplane-mode": "ambient"}), cart, fixture.PodsOf(cart, fixture.Ambient),
	), more...)
}

// control is the mesh of shop with another control plane.
func control(edit func(*appsv1.Deployment)) []any {
	objects := fixture.Without("Deployment", fixture.Installation()...)
	return append([]any{objects, fixture.Istiod("", edit)}, shop()[len(fixture.Installation()):]...)
}

func image(image string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image }
}

func chartVersion(version string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Labels["app.kubernetes.io/version"] = version }
}

func operatorVersion(version string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Labels["operator.istio.io/version"] = version }
}

func both(edits ...func(*appsv1.Deployment)) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) {
		for _, edit := range edits {
			edit(d)
		}
	}
}
