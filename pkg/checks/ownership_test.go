package checks_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Whatever a plan changes or deletes has its owner asked for, and nothing else.
func TestOwnersOfWhatAPlanWrites(t *testing.T) {
	// managedBy is an entry of metadata.managedFields.
	managedBy := func(manager, operation, fields string) string {
		return fmt.Sprintf("managedFields: [{manager: %s, operation: %s, apiVersion: v1, fieldsType: FieldsV1, fieldsV1: %s}]", manager, operation, fields)
	}
	ownedBy := func(apiVersion, kind, name, controller string) string {
		return fmt.Sprintf("ownerReferences: [{apiVersion: %s, kind: %s, name: %s, uid: u, controller: %s}]", apiVersion, kind, name, controller)
	}
	at := func(apiVersion, kind string) v1alpha1.ObjectReference {
		return v1alpha1.ObjectReference{APIVersion: apiVersion, Kind: kind, Namespace: "shop", Name: "x"}
	}
	service, policy, deployment := at("v1", "Service"), at("security.istio.io/v1", "AuthorizationPolicy"), at("apps/v1", "Deployment")
	useWaypoint := checks.Write{Object: service, Fields: [][]string{{"metadata", "labels", "istio.io/use-waypoint"}}}
	amended := checks.Write{Object: policy, Fields: [][]string{{"spec", "rules"}}}
	gone := checks.Write{Object: policy, Deleted: true}
	restarted := checks.Write{Object: deployment, Fields: [][]string{{"spec", "template", "metadata", "labels", "sidecar.istio.io/inject"}}}
	const (
		flux    = "labels: {kustomize.toolkit.fluxcd.io/name: apps}"
		strimzi = "kafka.strimzi.io/v1beta2"
		label   = "metadata.labels[istio.io/use-waypoint]"
		owners  = "metadata.ownerReferences"
	)
	for _, test := range []struct {
		name     string
		write    checks.Write
		metadata string
		status   v1alpha1.CheckStatus
		field    string
		says     string
	}{
		{name: "a Service of nobody", write: useWaypoint, metadata: managedBy("kubectl-client-side-apply", "Update", "{f:spec: {}}"), status: pass},
		{name: "a Service of Flux", write: useWaypoint, metadata: flux, status: fail, field: "metadata.labels[kustomize.toolkit.fluxcd.io/name]", says: "Flux Kustomization apps reconciles it"},
		{name: "a Service of Argo CD", write: useWaypoint, metadata: "annotations: {argocd.argoproj.io/tracking-id: 'cart:/Service:shop/x'}", status: fail, says: "Argo CD application cart", field: "metadata.annotations[argocd.argoproj.io/tracking-id]"},
		{name: "a Service that a reconciler applies", write: useWaypoint, metadata: managedBy("helm-controller", "Apply", "{f:spec: {f:ports: {}}}"), status: fail, field: "metadata.labels", says: "helm-controller writes it"},
		{name: "a Service whose label somebody writes", write: useWaypoint, metadata: managedBy("acme", "Update", "{f:metadata: {f:labels: {f:istio.io/use-waypoint: {}}}}"), status: warn, field: label, says: "acme writes what"},
		{name: "a Service whose label Kubernetes writes", write: useWaypoint, metadata: managedBy("kube-controller-manager", "Update", "{f:metadata: {f:labels: {f:istio.io/use-waypoint: {}}}}"), status: pass},
		{name: "a Service whose label a cloud's controllers write", write: useWaypoint, metadata: managedBy("cloud-controller-manager", "Update", "{f:metadata: {f:labels: {f:istio.io/use-waypoint: {}}}}"), status: pass},
		{name: "a Service whose label somebody called like Kubernetes writes", write: useWaypoint, metadata: managedBy("kube-downscaler", "Update", "{f:metadata: {f:labels: {f:istio.io/use-waypoint: {}}}}"), status: warn, field: label, says: "kube-downscaler writes what"},
		{name: "a Service whose label an operator called like Kubernetes writes", write: useWaypoint, metadata: managedBy("kube-prometheus-operator", "Update", "{f:metadata: {f:labels: {f:istio.io/use-waypoint: {}}}}"), status: fail, field: label, says: "kube-prometheus-operator owns it"},
		{name: "a Service whose label somebody applies who is called almost like Kubernetes", write: useWaypoint, metadata: managedBy("kube-controller-manager-2", "Apply", "{f:metadata: {f:labels: {f:istio.io/use-waypoint: {}}}}"), status: fail, field: label, says: "kube-controller-manager-2 owns it"},
		{name: "a Service whose ports somebody writes", write: useWaypoint, metadata: managedBy("acme", "Update", "{f:spec: {f:ports: {}}}"), status: pass},
		{name: "a Service of an operator", write: useWaypoint, metadata: ownedBy(strimzi, "Kafka", "events", "true"), status: fail, field: owners, says: "Kafka events controls it"},
		{name: "a Service of a Gateway", write: useWaypoint, metadata: ownedBy("gateway.networking.k8s.io/v1", "Gateway", "edge", "true") + "\n  " + managedBy("kubectl", "Update", "{f:spec: {}}"), status: pass},
		{name: "a Service of a StatefulSet", write: useWaypoint, metadata: ownedBy("apps/v1", "StatefulSet", "db", "true") + "\n  " + managedBy("kubectl", "Update", "{f:spec: {}}"), status: pass},
		{name: "an amended policy of Argo CD", write: amended, metadata: "labels: {argocd.argoproj.io/instance: cart}", status: fail, field: "metadata.labels[argocd.argoproj.io/instance]", says: "Argo CD application cart"},
		{name: "an amended policy by what was written", write: amended, metadata: managedBy("argocd-controller", "Update", "{f:spec: {f:rules: {}}}"), status: fail, field: "spec.rules", says: "argocd-controller writes it"},
		{name: "an amended policy by what somebody wrote", write: amended, metadata: managedBy("acme", "Update", "{f:spec: {f:rules: {}}}"), status: warn, field: "spec.rules", says: "acme writes"},
		{name: "an amended policy by something in it", write: checks.Write{Object: policy, Fields: [][]string{{"spec"}}}, metadata: managedBy("acme", "Update", "{f:spec: {f:rules: {}}}"), status: warn, field: "spec", says: "acme writes"},
		{name: "a deleted policy of a person", write: gone, metadata: managedBy("kubectl-edit", "Update", "{f:metadata: {f:labels: {f:a: {}}}}"), status: pass},
		{name: "a deleted policy that a reconciler wrote", write: gone, metadata: managedBy("kustomize-controller", "Update", "{f:metadata: {f:labels: {f:a: {}}}}"), status: fail, says: "kustomize-controller writes it"},
		{name: "a deleted policy that somebody applies", write: gone, metadata: managedBy("acme", "Apply", "{f:metadata: {f:labels: {f:a: {}}}}"), status: warn, says: "acme writes"},
		{name: "a deleted policy that somebody wrote", write: gone, metadata: managedBy("acme", "Update", "{f:spec: {f:rules: {}}}"), status: warn, field: "spec", says: "acme writes"},
		{name: "a deleted policy of an operator", write: gone, metadata: ownedBy("acme.example/v1", "Tenant", "red", "true"), status: fail, field: owners, says: "Tenant red controls it"},
		{name: "a workload of an operator", write: restarted, metadata: ownedBy(strimzi, "KafkaConnect", "sink", "true"), status: fail, field: owners, says: "KafkaConnect sink controls it"},
		{name: "a workload that a custom resource only owns", write: restarted, metadata: ownedBy(strimzi, "KafkaConnect", "sink", "false"), status: warn, field: owners, says: "it is not known whether its operator"},
		{name: "a workload of OLM", write: restarted, metadata: "labels: {olm.owner: acme.v1}\n  " + ownedBy("operators.coreos.com/v1alpha1", "ClusterServiceVersion", "acme.v1", "false"), status: fail, field: "metadata.labels[olm.owner]", says: "Operator Lifecycle Manager"},
		{name: "a workload of the addon manager", write: restarted, metadata: "labels: {addonmanager.kubernetes.io/mode: Reconcile}", status: fail, field: "metadata.labels[addonmanager.kubernetes.io/mode]", says: "the addon manager reconciles it"},
		{name: "an addon that is only there", write: restarted, metadata: "labels: {addonmanager.kubernetes.io/mode: EnsureExists}\n  " + managedBy("kubectl", "Update", "{f:spec: {}}"), status: pass},
		{name: "a workload that is not written", write: useWaypoint, metadata: managedBy("kubectl", "Update", "{f:spec: {}}"), status: pass},
	} {
		t.Run(test.name, func(t *testing.T) {
			written := fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata:\n  name: x\n  namespace: shop\n  %s\nspec: {}",
				test.write.Object.APIVersion, test.write.Object.Kind, test.metadata)
			// Nobody's business, since no step writes it.
			beside := fixture.Deployment("shop", "beside")
			beside.Labels = map[string]string{"argocd.argoproj.io/instance": "beside"}
			// That somebody is known to have written something keeps it from being said
			// that nobody is.
			seen := fixture.Namespace("shop", nil)
			seen.ManagedFields = []metav1.ManagedFieldsEntry{fixture.ManagedBy("kubectl-create", metav1.ManagedFieldsOperationUpdate, ownsOtherLabel)}
			migration := &checks.Migration{Writes: []checks.Write{
				test.write, {Object: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: "shop"}, Fields: [][]string{{"metadata", "labels", "istio-injection"}}},
				{Object: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "shop", Name: "unborn"}, Fields: useWaypoint.Fields},
			}}
			got := planned(t, "reconcilers", migration, append(fixture.Installation(), seen, beside, written)...)
			if got.Status != test.status || got.Field != test.field || !strings.Contains(got.Message, test.says) {
				t.Errorf("it is %s at %q: %s", got.Status, got.Field, got.Message)
			}
			if got.Status != pass && (got.Object == nil || *got.Object != test.write.Object) {
				t.Errorf("it is about %v", got.Object)
			}
			if got.Status == fail && !strings.Contains(got.Remedy, "--output-dir") {
				t.Errorf("the remedy is %s", got.Remedy)
			}
			if offered := strings.Contains(got.Remedy, "--strategy=namespace"); offered != (test.field == owners && test.write.Object == deployment) {
				t.Errorf("the remedy is %s", got.Remedy)
			}
		})
	}
	if got := planned(t, "reconcilers", &checks.Migration{}, append(fixture.Installation(), fixture.Namespace("shop", labels{"argocd.argoproj.io/instance": "shop"}))...); got.Status != pass {
		t.Errorf("a plan that writes nothing is %s: %s", got.Status, got.Message)
	}
	released := "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: x, namespace: shop, annotations: {meta.helm.sh/release-name: shop}}\nspec: {}"
	if got := planned(t, "helm-releases", &checks.Migration{Writes: []checks.Write{gone}}, append(fixture.Installation(), fixture.Namespace("shop", nil), released)...); got.Status != warn || !strings.Contains(got.Message, "makes it again") {
		t.Errorf("a deleted object of a release is %s: %s", got.Status, got.Message)
	}
}
