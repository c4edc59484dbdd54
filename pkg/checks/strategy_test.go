package checks_test

import (
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// surging is a Deployment that starts a new pod before it stops the former.
func surging(name string) *appsv1.Deployment {
	return fixture.Deployment("shop", name, fixture.Probed, func(d *appsv1.Deployment) {
		one, none := intstr.FromInt32(1), intstr.FromInt32(0)
		d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: &one, MaxUnavailable: &none}
	})
}

// Workloads that are restarted at the same time need an extra pod each; what is
// evicted needs none.
func TestQuotaOfWorkloadsAtTheSameTime(t *testing.T) {
	quota := func(hard string) string {
		return "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: q, namespace: shop}\nspec: {hard: {pods: " + hard + "}}\nstatus: {hard: {pods: " + hard + "}, used: {pods: 3}}"
	}
	var wave []v1alpha1.ObjectReference
	objects := append(fixture.Installation(), fixture.Namespace("shop", labels{"istio-injection": "enabled"}))
	for _, name := range []string{"a", "b", "c"} {
		deployment := surging(name)
		objects = append(objects, deployment, fixture.PodsOf(deployment, fixture.Sidecar))
		wave = append(wave, v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: name})
	}
	for _, test := range []struct {
		name, hard, message string
		migration           checks.Migration
		status              v1alpha1.CheckStatus
	}{
		{name: "one by one", hard: "4", status: pass},
		{name: "in two waves", hard: "5", migration: checks.Migration{Parallel: [][]v1alpha1.ObjectReference{wave[:2], wave[2:]}}, status: pass},
		{
			name: "all at once", hard: "5", migration: checks.Migration{Parallel: [][]v1alpha1.ObjectReference{wave}}, status: warn,
			message: "one more pod of each of Deployment a, Deployment b, Deployment c, which are restarted at the same time (pods: 3 of 5 used)",
		},
		{name: "no room for one", hard: "3", migration: checks.Migration{Parallel: [][]v1alpha1.ObjectReference{wave}}, status: fail, message: "without which the restart stands still"},
		{name: "by eviction", hard: "3", migration: checks.Migration{Parallel: [][]v1alpha1.ObjectReference{wave}, ByNamespace: true}, status: pass},
	} {
		got := planned(t, "resource-quota", &test.migration, append(objects, quota(test.hard))...)
		if got.Status != test.status || !strings.Contains(got.Message, test.message) {
			t.Errorf("%s: it is %s: %s", test.name, got.Status, got.Message)
		}
	}
}

// With the namespace's labels alone, paused Deployments and partitions are no obstacle,
// and budgets are asked.
func TestWorkloadsMovedByEviction(t *testing.T) {
	byNamespace := &checks.Migration{ByNamespace: true}
	paused := fixture.Deployment("shop", "cart", fixture.Probed, func(d *appsv1.Deployment) { d.Spec.Paused = true })
	partition := int32(1)
	set := fixture.StatefulSet("shop", "db", func(s *appsv1.StatefulSet) {
		s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: &partition}
	})
	objects := append(fixture.Installation(), fixture.Namespace("shop", labels{"istio-injection": "enabled"}),
		paused, fixture.PodsOf(paused, fixture.Sidecar), set, fixture.PodsOfSet(set, fixture.Sidecar))
	if got := planned(t, "restartable", byNamespace, objects...); got.Status != pass {
		t.Errorf("it is %s: %s", got.Status, got.Message)
	}
	budget := "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: cart, namespace: shop}\nspec: {maxUnavailable: 0, selector: {matchLabels: {app: cart}}}"
	if got := planned(t, "disruption-budgets", byNamespace, append(objects, budget)...); !strings.Contains(got.Message, "the restart evicts pods and waits for it") {
		t.Errorf("of the budget it says: %s", got.Message)
	}
	unnamed := &checks.Migration{ByNamespace: true, Unnamed: []v1alpha1.ObjectReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Namespace: "shop", Name: "db"}}}
	if got := planned(t, "restartable", unnamed, objects...); got.Status != fail || got.Field != "spec.template.metadata.labels[istio.io/use-waypoint]" {
		t.Errorf("it is %s at %s: %s", got.Status, got.Field, got.Message)
	}
}

// What an operator makes is evicted like the rest where the namespace's labels decide,
// since nothing of it is written; where its template decides otherwise, its custom
// resource is named. Pods that an operator runs itself stay.
func TestWorkloadsOfOperatorsMovedByEviction(t *testing.T) {
	kafka := metav1.ObjectMeta{Name: "events", UID: "events"}
	owner := fixture.Owner("Kafka", "kafka.strimzi.io/v1beta2", &kafka)
	owned := func(object *metav1.ObjectMeta) { object.OwnerReferences = []metav1.OwnerReference{owner} }
	exporter := func(edits ...func(*appsv1.Deployment)) []any {
		deployment := fixture.Deployment("shop", "exporter", append(edits, func(d *appsv1.Deployment) { owned(&d.ObjectMeta) })...)
		return []any{deployment, fixture.PodsOf(deployment, fixture.Sidecar)}
	}
	broker := fixture.StatefulSet("shop", "broker", func(s *appsv1.StatefulSet) { owned(&s.ObjectMeta) })
	brokers := []any{broker, fixture.PodsOfSet(broker, fixture.Sidecar)}
	alone := fixture.Pod("shop", "broker-0", fixture.Sidecar, func(pod *corev1.Pod) { owned(&pod.ObjectMeta) })
	for _, test := range []struct {
		name                    string
		objects                 []any
		status                  v1alpha1.CheckStatus
		object, field, message  string
		remedy, neverRecommends string
	}{
		{name: "by the namespace's labels", objects: append(exporter(), brokers...), status: pass},
		{
			name: "asking for a sidecar", objects: exporter(fixture.TemplateLabel("sidecar.istio.io/inject", "true")), status: fail, object: "Deployment shop/exporter",
			field: "spec.template.metadata.labels[sidecar.istio.io/inject]", message: "its template asks for a sidecar itself",
			remedy: "have Kafka events, whose operator writes the template, take it out", neverRecommends: "--strategy=template",
		},
		{
			name: "opted out", objects: exporter(fixture.TemplateLabel("sidecar.istio.io/inject", "false"))[:1], status: fail, object: "Deployment shop/exporter",
			field: "spec.template.metadata.labels[istio.io/dataplane-mode]", message: "its pods have to stay out", remedy: "have Kafka events, whose operator writes the template, set the label",
		},
		{name: "pods without a workload", objects: []any{alone}, status: fail, object: "Kafka shop/events", message: "1 pod with a sidecar is run by it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			objects := append(fixture.Installation(), fixture.Namespace("shop", labels{"istio-injection": "enabled"}))
			got := planned(t, "restartable", &checks.Migration{ByNamespace: true}, append(objects, test.objects...)...)
			if got.Status != test.status || got.Field != test.field || !strings.Contains(got.Message, test.message) {
				t.Errorf("it is %s at %q: %s", got.Status, got.Field, got.Message)
			}
			if got.Object != nil && got.Object.String() != test.object || got.Object == nil && test.object != "" {
				t.Errorf("it is about %v", got.Object)
			}
			if !strings.Contains(got.Remedy, test.remedy) || test.neverRecommends != "" && strings.Contains(got.Remedy, test.neverRecommends) {
				t.Errorf("the remedy is %s", got.Remedy)
			}
		})
	}
	unnamed := &checks.Migration{ByNamespace: true, Unnamed: []v1alpha1.ObjectReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Namespace: "shop", Name: "broker"}}}
	objects := append(fixture.Installation(), fixture.Namespace("shop", labels{"istio-injection": "enabled"}), brokers)
	if got := planned(t, "restartable", unnamed, objects...); got.Status != fail || strings.Contains(got.Remedy, "--strategy=template") {
		t.Errorf("it is %s: %s", got.Status, got.Remedy)
	}
}
