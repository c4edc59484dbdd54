package checks_test

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func prerequisiteCases() []testCase {
	terminating := fixture.Namespace("shop", nil)
	terminating.DeletionTimestamp = &metav1.Time{Time: fixture.Created}
	const images = "spec.template.spec.containers[].image"
	cni, ztunnel := fixture.CNI("mesh-cni"), fixture.Ztunnel("mesh-ztunnel")
	cases := []testCase{
		{name: "an application's", check: "protected-namespace", objects: shop()},
		{name: "Kubernetes' own", check: "protected-namespace", namespace: "kube-system", objects: shop(), want: []finding{{fail, "Namespace kube-system", "", "belongs to Kubernetes"}}},
		{name: "istiod's", check: "protected-namespace", namespace: "istio-system", objects: shop(), want: []finding{{fail, "Namespace istio-system", "", "runs istiod"}}},
		{name: "the root namespace", check: "protected-namespace", namespace: "policies", objects: append(control(func(*appsv1.Deployment) {}), func() any {
			config := fixture.MeshConfig("rootNamespace: policies\n")
			config.Name = "istio-canary"
			return config
		}()), want: []finding{{fail, "Namespace policies", "", "root namespace"}}},
		{name: "istio-cni's", check: "protected-namespace", namespace: "mesh-cni", objects: []any{fixture.Without("DaemonSet", fixture.Installation()...), cni}, want: []finding{{fail, "Namespace mesh-cni", "", "runs istio-cni"}}},
		{name: "ztunnel's", check: "protected-namespace", namespace: "mesh-ztunnel", objects: []any{fixture.Without("DaemonSet", fixture.Installation()...), ztunnel}, want: []finding{{fail, "Namespace mesh-ztunnel", "", "runs ztunnel"}}},

		{name: "it stays", check: "namespace-terminating", objects: shop()},
		{name: "it goes", check: "namespace-terminating", objects: []any{terminating}, want: []finding{{fail, "Namespace shop", "metadata.deletionTimestamp", "being deleted"}}},

		{name: "it is", check: "istio-installed", objects: shop()},
		{name: "it is not", check: "istio-installed", objects: []any{fixture.Namespace("shop", nil)}, want: []finding{{fail, "", "", "app=istiod"}}},

		{name: "new", check: "istio-version", objects: shop()},
		{name: "the oldest", check: "istio-version", objects: control(image("docker.io/istio/pilot:1.25.0"))},
		{name: "a vendor's", check: "istio-version", objects: control(image("example.com/pilot:1.27.1-solo")), want: []finding{{warn, istiodObject, images, "a vendor's build, 1.27.1-solo"}}},
		{name: "a vendor's, distroless", check: "istio-version", objects: control(image("example.com/pilot:1.27.1-solo-distroless")), want: []finding{{warn, istiodObject, images, "a vendor's build, 1.27.1-solo:"}}},
		{name: "another vendor's", check: "istio-version", objects: control(image("example.com/pilot:1.27.1-tetrate-v0")), want: []finding{{warn, istiodObject, images, "1.27.1-tetrate-v0"}}},
		{name: "a vendor's, by its build", check: "istio-version", objects: control(chartOnly("1.27.1+eks.2")), want: []finding{{warn, istiodObject, images, "1.27.1-eks.2"}}},
		{name: "a vendor's that is too old", check: "istio-version", objects: control(image("example.com/pilot:1.24.1-solo")), want: []finding{{fail, istiodObject, images, "istiod is 1.24.1-solo"}, {warn, istiodObject, images, "a vendor's"}}},
		{name: "before the release", check: "istio-version", objects: control(image("docker.io/istio/pilot:1.31.0-rc.1")), want: []finding{{warn, istiodObject, images, "from before the release, 1.31.0-rc.1"}}},
		{name: "a build of the day", check: "istio-version", objects: control(image("docker.io/istio/pilot:1.31-alpha.0123abc")), want: []finding{{warn, istiodObject, images, "from before the release"}}},
		{name: "the newest", check: "istio-version", objects: control(image("docker.io/istio/pilot:1.31.9"))},
		{name: "newer than tested", check: "istio-version", objects: control(image("docker.io/istio/pilot:1.32.0")), want: []finding{{warn, istiodObject, images, "1.31 is the newest"}}},
		{name: "much newer than tested", check: "istio-version", objects: control(image("docker.io/istio/pilot:2.0.0")), want: []finding{{warn, istiodObject, images, "1.31 is the newest"}}},
		{name: "distroless", check: "istio-version", objects: control(image("docker.io/istio/pilot:1.30.2-distroless"))},
		{name: "with debugging tools", check: "istio-version", objects: control(image("docker.io/istio/pilot:1.30.2-debug"))},
		{name: "a digest beside the tag", check: "istio-version", objects: control(image("docker.io/istio/pilot:1.30.2@sha256:0123"))},
		{name: "a registry with a port and no tag, and the chart's label", check: "istio-version", objects: control(both(image("localhost:5000/istio/pilot"), chartVersion("1.29.3")))},
		{name: "the image counts, not the chart", check: "istio-version", objects: control(both(image("docker.io/istio/pilot:1.24.0"), chartVersion("1.31.0"))), want: []finding{{fail, "Deployment istio-system/istiod", images, "1.24.0"}}},
		{name: "too old", check: "istio-version", objects: control(image("docker.io/istio/pilot:1.24.6")), want: []finding{{fail, "Deployment istio-system/istiod", images, "istiod is 1.24.6"}}},
		{name: "one of two revisions is too old", check: "istio-version", objects: shop(fixture.Istiod("old", image("pilot:1.20.0"))), want: []finding{{fail, "Deployment istio-system/istiod-old", images, "1.20.0"}}},
		{name: "a digest, and the placeholder of istioctl's charts", check: "istio-version", objects: control(chartOnly("1.0.0")), want: []finding{{unknown, istiodObject, images, "its image has no tag"}}},
		{name: "latest, and the placeholder of istioctl's charts", check: "istio-version", objects: control(both(image("pilot:latest"), chartVersion("1.0.0"))), want: []finding{{unknown, istiodObject, images, `"latest" is not a version`}}},
		{name: "a digest, and istioctl's label", check: "istio-version", objects: control(both(chartOnly("1.0.0"), operatorVersion("1.30.1")))},
		{name: "istioctl's label comes before the chart's", check: "istio-version", objects: control(both(chartOnly("1.31.0"), operatorVersion("1.24.2"))), want: []finding{{fail, istiodObject, images, "istiod is 1.24.2"}}},
		{name: "no version", check: "istio-version", objects: control(image("docker.io/istio/pilot:latest")), want: []finding{{unknown, "Deployment istio-system/istiod", images, `"latest" is not a version`}}},
	}
	return slices.Concat(cases, discoveryCases(), kubernetesCases(), skewCases(), cniCases(), multiclusterCases(), machineCases(), spireCases(), gatewayAPICases())
}
