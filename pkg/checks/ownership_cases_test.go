package checks_test

import (
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The fields of objects, as the API server notes who wrote them.
const (
	ownsInject      = `{"f:spec":{"f:template":{"f:metadata":{"f:labels":{".":{},"f:sidecar.istio.io/inject":{}}}}}}`
	ownsApp         = `{"f:spec":{"f:template":{"f:metadata":{"f:labels":{".":{},"f:app":{}}}}}}`
	ownsReplicas    = `{"f:spec":{"f:replicas":{}}}`
	ownsAnnotations = `{"f:metadata":{"f:annotations":{"f:a":{}}}}`
	ownsInjection   = `{"f:metadata":{"f:labels":{"f:istio-injection":{}}}}`
	ownsOtherLabel  = `{"f:metadata":{"f:labels":{"f:team":{}}}}`
)

func ownershipCases() []testCase {
	const update, apply = metav1.ManagedFieldsOperationUpdate, metav1.ManagedFieldsOperationApply
	pay := func(edits ...func(*metav1.ObjectMeta)) *appsv1.Deployment {
		return fixture.Deployment("shop", "pay", func(d *appsv1.Deployment) {
			for _, edit := range edits {
				edit(&d.ObjectMeta)
			}
		})
	}
	space := func(edits ...func(*metav1.ObjectMeta)) []any {
		namespace := fixture.Namespace("shop", labels{"istio-injection": "enabled"})
		for _, edit := range edits {
			edit(&namespace.ObjectMeta)
		}
		return []any{fixture.Without("Namespace", shop()...), fixture.Namespace("istio-system", nil), namespace}
	}
	labelled := func(key, value string) func(*metav1.ObjectMeta) {
		return func(object *metav1.ObjectMeta) {
			if object.Labels == nil {
				object.Labels = labels{}
			}
			object.Labels[key] = value
		}
	}
	annotated := func(key, value string) func(*metav1.ObjectMeta) {
		return func(object *metav1.ObjectMeta) {
			if object.Annotations == nil {
				object.Annotations = labels{}
			}
			object.Annotations[key] = value
		}
	}
	managed := func(manager string, operation metav1.ManagedFieldsOperationType, fields string) func(*metav1.ObjectMeta) {
		return func(object *metav1.ObjectMeta) {
			object.ManagedFields = append(object.ManagedFields, fixture.ManagedBy(manager, operation, fields))
		}
	}
	unmanaged := func(object *metav1.ObjectMeta) { object.ManagedFields = nil }
	bySubresource := func(object *metav1.ObjectMeta) {
		entry := fixture.ManagedBy("argocd-controller", update, ownsInject)
		entry.Subresource = "status"
		object.ManagedFields = append(object.ManagedFields, entry)
	}
	const field, template = "spec.template.metadata.labels[sidecar.istio.io/inject]", "spec.template"
	of := func(field, message string) []finding { return []finding{{fail, "Deployment shop/pay", field, message}} }
	warned := func(field, message string) []finding { return []finding{{warn, "Deployment shop/pay", field, message}} }
	ofSpace := func(field, message string) []finding { return []finding{{fail, "Namespace shop", field, message}} }
	const tracking = "argocd.argoproj.io/tracking-id"
	cronJob := fixture.CronJob("shop", "report", func(c *batchv1.CronJob) {
		managed("argocd-controller", apply, `{"f:spec":{"f:schedule":{}}}`)(&c.ObjectMeta)
	})
	unseen := func() []any {
		cart := fixture.Deployment("shop", "cart", func(d *appsv1.Deployment) { unmanaged(&d.ObjectMeta) })
		namespace := fixture.Namespace("shop", labels{"istio-injection": "enabled"})
		unmanaged(&namespace.ObjectMeta)
		return append(fixture.Installation(), namespace, cart)
	}
	pinned := fixture.Deployment("shop", "quiet", fixture.TemplateLabel("sidecar.istio.io/inject", "false"), func(d *appsv1.Deployment) {
		managed("acme", update, `{"f:spec":{"f:template":{"f:metadata":{"f:labels":{"f:istio.io/dataplane-mode":{}}}}}}`)(&d.ObjectMeta)
	})
	reconcilers := []testCase{
		{name: "none", check: "reconcilers", objects: shop()},
		{name: "Argo CD by its tracking ID", check: "reconcilers", objects: shop(pay(annotated(tracking, "checkout:apps/Deployment:shop/pay"))), want: of("metadata.annotations["+tracking+"]", "Argo CD application checkout reconciles it")},
		{name: "the namespace by its tracking ID", check: "reconcilers", objects: space(annotated(tracking, "base:/Namespace:shop/shop")), want: ofSpace("metadata.annotations["+tracking+"]", "Argo CD application base")},
		{name: "a tracking ID that was copied", check: "reconcilers", objects: shop(pay(annotated(tracking, "checkout:apps/StatefulSet:shop/pay")))},
		{name: "a tracking ID of another object", check: "reconcilers", objects: shop(pay(annotated(tracking, "checkout:apps/Deployment:shop/cart")))},
		{name: "a tracking ID that is none", check: "reconcilers", objects: shop(pay(annotated(tracking, "checkout")))},
		{name: "Argo CD by its label", check: "reconcilers", objects: shop(pay(labelled("argocd.argoproj.io/instance", "checkout"))), want: of("metadata.labels[argocd.argoproj.io/instance]", "Argo CD application checkout")},
		{name: "a label that everybody uses", check: "reconcilers", objects: shop(pay(labelled("app.kubernetes.io/instance", "checkout")))},
		{name: "a label that everybody uses, and Argo CD", check: "reconcilers", objects: shop(pay(labelled("app.kubernetes.io/instance", "checkout"), managed("argocd-controller", update, ownsReplicas))), want: of(template, "argocd-controller writes it")},
		{name: "Argo CD elsewhere in the object", check: "reconcilers", objects: shop(pay(managed("argocd-controller", update, ownsReplicas)))},
		{name: "Argo CD by what it wrote", check: "reconcilers", objects: shop(pay(managed("argocd-application-controller", update, ownsInject))), want: of(field, "argocd-application-controller writes it")},
		{name: "Argo CD by what it applies", check: "reconcilers", objects: shop(pay(managed("argocd-controller", apply, ownsReplicas))), want: of(template, "argocd-controller writes it")},
		{name: "a status alone", check: "reconcilers", objects: shop(pay(bySubresource))},
		{name: "Flux by its label", check: "reconcilers", objects: shop(pay(labelled("kustomize.toolkit.fluxcd.io/name", "apps"))), want: of("metadata.labels[kustomize.toolkit.fluxcd.io/name]", "Flux Kustomization apps")},
		{name: "Flux that was told not to", check: "reconcilers", objects: shop(pay(labelled("kustomize.toolkit.fluxcd.io/name", "apps"), annotated("kustomize.toolkit.fluxcd.io/reconcile", "disabled")))},
		{name: "Flux that was told not to apply", check: "reconcilers", objects: shop(pay(labelled("kustomize.toolkit.fluxcd.io/name", "apps"), annotated("kustomize.toolkit.fluxcd.io/ssa", "ignore")))},
		{name: "Flux that merges", check: "reconcilers", objects: shop(pay(labelled("kustomize.toolkit.fluxcd.io/name", "apps"), annotated("kustomize.toolkit.fluxcd.io/ssa", "Merge"))), want: of("metadata.labels[kustomize.toolkit.fluxcd.io/name]", "Flux Kustomization apps")},
		{name: "Flux by a Helm release", check: "reconcilers", objects: shop(pay(labelled("helm.toolkit.fluxcd.io/name", "pay"))), want: of("metadata.labels[helm.toolkit.fluxcd.io/name]", "Flux HelmRelease pay")},
		{name: "Flux by what it applies", check: "reconcilers", objects: shop(pay(managed("kustomize-controller", apply, ownsApp))), want: of(template, "kustomize-controller writes it")},
		{name: "Config Sync", check: "reconcilers", objects: shop(pay(annotated("configmanagement.gke.io/managed", "enabled"))), want: of("metadata.annotations[configmanagement.gke.io/managed]", "Config Sync")},
		{name: "Fleet", check: "reconcilers", objects: shop(pay(managed("fleetagent", update, ownsInject))), want: of(field, "fleetagent writes it")},
		{name: "a name that only sounds like it", check: "reconcilers", objects: shop(pay(managed("influxdb", update, ownsInject))), want: warned(field, "influxdb writes what the migration changes")},
		{name: "an operator by what it wrote", check: "reconcilers", objects: shop(pay(managed("shop-operator", update, ownsInject))), want: of(field, "shop-operator owns it")},
		{name: "a controller without a name of its own", check: "reconcilers", objects: shop(pay(managed("manager", update, ownsInject))), want: of(field, "manager owns it")},
		{name: "an operator elsewhere in the object", check: "reconcilers", objects: shop(pay(managed("shop-operator", update, ownsReplicas)))},
		{name: "a controller of Kubernetes", check: "reconcilers", objects: shop(pay(managed("kube-controller-manager", update, ownsInject)))},
		{name: "somebody who applies what would change", check: "reconcilers", objects: shop(pay(managed("acme", apply, ownsInject))), want: of(field, "acme owns it")},
		{name: "a person who applies what would change", check: "reconcilers", objects: shop(pay(managed("kubectl", apply, ownsInject)))},
		{name: "the namespace by its labels", check: "reconcilers", objects: space(managed("rancher", update, ownsInjection)), want: ofSpace("metadata.labels[istio-injection]", "rancher writes it")},
		{name: "the namespace by other fields", check: "reconcilers", objects: space(managed("rancher", update, ownsAnnotations), managed("acme", update, ownsOtherLabel))},
		{name: "the namespace by somebody who applies labels", check: "reconcilers", objects: space(managed("acme", apply, ownsOtherLabel)), want: []finding{{warn, "Namespace shop", "metadata.labels", "acme writes what the migration changes"}}},
		{name: "the namespace by somebody who applies annotations", check: "reconcilers", objects: space(managed("acme", apply, ownsAnnotations))},
		{name: "somebody who wrote the field", check: "reconcilers", objects: shop(pay(managed("acme", update, ownsInject))), want: warned(field, "acme writes what the migration changes")},
		{name: "somebody who wrote other fields", check: "reconcilers", objects: shop(pay(managed("acme", update, ownsApp)))},
		{name: "somebody who applies the template", check: "reconcilers", objects: shop(pay(managed("acme", apply, ownsApp))), want: warned(template, "acme writes")},
		{name: "somebody who applies other fields", check: "reconcilers", objects: shop(pay(managed("acme", apply, ownsReplicas)))},
		{name: "somebody, and a reconciler", check: "reconcilers", objects: shop(pay(managed("acme", update, ownsInject), managed("argocd-controller", update, ownsInject))), want: of(field, "argocd-controller writes it")},
		{name: "people and Kubernetes", check: "reconcilers", objects: shop(pay(managed("kubectl-client-side-apply", update, ownsInject), managed("kubectl", apply, ownsInject), managed("kubectl-ambient", update, ownsInject),
			managed("kube-controller-manager", update, ownsInject), managed("before-first-apply", update, ownsInject), managed("Mozilla", update, ownsInject), managed("helm", update, ownsInject)))},
		{name: "a CronJob", check: "reconcilers", objects: shop(cronJob), want: []finding{{fail, "CronJob shop/report", "spec.jobTemplate.spec.template", "argocd-controller writes it"}}},
		{name: "what is pinned", check: "reconcilers", objects: shop(pinned), want: []finding{{warn, "Deployment shop/quiet", "spec.template.metadata.labels[istio.io/dataplane-mode]", "acme writes"}}},
		{name: "what does not change", check: "reconcilers", objects: append(enrolled(), fixture.Deployment("shop", "done", fixture.TemplateLabel("sidecar.istio.io/inject", "false"), func(d *appsv1.Deployment) {
			managed("argocd-controller", apply, ownsInject)(&d.ObjectMeta)
		}))},
		{name: "fields that cannot be read", check: "reconcilers", objects: shop(pay(managed("acme", update, `["f:spec"]`))), want: warned("metadata.managedFields", "cannot be seen")},
		{name: "a dump that says nothing", check: "reconcilers", objects: unseen(), want: []finding{{warn, "Namespace shop", "metadata.managedFields", "cannot be seen"}}},
	}

	released := func(release string) []func(*metav1.ObjectMeta) {
		return []func(*metav1.ObjectMeta){labelled("app.kubernetes.io/managed-by", "Helm"), annotated("meta.helm.sh/release-name", release)}
	}
	const release = "metadata.annotations[meta.helm.sh/release-name]"
	asking := fixture.Deployment("shop", "pay", fixture.TemplateLabel("sidecar.istio.io/inject", "true"), func(d *appsv1.Deployment) {
		for _, edit := range released("checkout") {
			edit(&d.ObjectMeta)
		}
	})
	return append(reconcilers, []testCase{
		{name: "none", check: "helm-releases", objects: shop()},
		{name: "a release", check: "helm-releases", objects: shop(pay(released("checkout")...)), want: warned(release, "Helm release checkout manages it: the next helm upgrade keeps what the migration adds")},
		{name: "a release that asks for sidecars", check: "helm-releases", objects: shop(asking), want: warned(field, "Helm release checkout manages it: the next helm upgrade puts back")},
		{name: "the namespace", check: "helm-releases", objects: space(released("base")...), want: []finding{{warn, "Namespace shop", "metadata.labels[istio-injection]", "Helm release base manages it: the next helm upgrade puts back"}}},
		{name: "by what it wrote", check: "helm-releases", objects: shop(pay(managed("helm", update, ownsApp))), want: warned(template, "Helm manages it")},
		{name: "by what it wrote elsewhere", check: "helm-releases", objects: shop(pay(managed("helm", update, ownsReplicas)))},
		{name: "a namespace that it created on the way", check: "helm-releases", objects: space(managed("helm", update, ownsInjection))},
		{name: "a release of a reconciler", check: "helm-releases", objects: shop(pay(append(released("pay"), labelled("helm.toolkit.fluxcd.io/name", "pay"))...))},
		{name: "a release that somebody else writes too", check: "helm-releases", objects: shop(pay(append(released("pay"), managed("acme", update, ownsInject))...)), want: warned(release, "Helm release pay")},
		{name: "a pod of a release", check: "helm-releases", objects: shop(fixture.Pod("shop", "x", func(pod *corev1.Pod) { annotated("meta.helm.sh/release-name", "x")(&pod.ObjectMeta) }))},
	}...)
}
