package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
)

type content = map[string]any

// What a run adds is in a backup as null, key by key, and what it takes away as it
// was; what the API server has written is not in it.
func TestBackup(t *testing.T) {
	const applied = "kubectl.kubernetes.io/last-applied-configuration"
	deployment := v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "cart"}
	served := func(more content) content {
		metadata := content{
			"name": "cart", "namespace": "shop", "uid": "1", "resourceVersion": "2", "generation": int64(3), "creationTimestamp": "2026-01-01T00:00:00Z",
			"managedFields": []any{content{"manager": "kubectl"}},
		}
		for key, value := range more {
			metadata[key] = value
		}
		return content{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": content{"replicas": int64(2)}, "status": content{"replicas": int64(2)}}
	}
	bare := func(metadata, spec content) content {
		metadata["name"], metadata["namespace"] = "cart", "shop"
		return content{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
	}
	autoscaler := `{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: cart, namespace: shop}, spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: cart}}}`
	for _, test := range []struct {
		name    string
		mesh    []any
		object  content
		changes []v1alpha1.FieldChange
		want    content
	}{
		{
			"what is added, in a map that was there and in one that was not", nil, served(content{"labels": content{"app": "cart"}}),
			[]v1alpha1.FieldChange{{Path: "/metadata/labels/mode", After: "ambient"}, {Path: "/spec/template/metadata/labels/inject", After: "false"}},
			bare(content{"labels": content{"app": "cart", "mode": nil}}, content{
				"replicas": int64(2), "template": content{"metadata": content{"labels": content{"inject": nil}}},
			}),
		},
		{
			"what is changed and what is taken away", nil, served(content{"labels": content{"a": "1", "b": "2"}}),
			[]v1alpha1.FieldChange{{Path: "/metadata/labels/a", Before: "1", After: "x"}, {Path: "/metadata/labels/b", Before: "2"}},
			bare(content{"labels": content{"a": "1", "b": "2"}}, content{"replicas": int64(2)}),
		},
		{
			"a part that is changed as a whole", nil, served(nil),
			[]v1alpha1.FieldChange{{Path: "/spec", Before: content{"replicas": int64(2)}, After: content{"replicas": int64(3), "selector": content{"a": "b"}}}},
			bare(content{}, content{"replicas": int64(2), "selector": nil}),
		},
		{
			"what is added twice", nil, served(nil),
			[]v1alpha1.FieldChange{{Path: "/spec/x", After: content{"a": "b"}}, {Path: "/spec/x", Before: content{"a": "b"}, After: content{"c": "d"}}},
			bare(content{}, content{"replicas": int64(2), "x": nil}),
		},
		{"replicas are an autoscaler's", []any{autoscaler}, served(nil), nil, bare(content{}, content{})},
		{
			"but for apply, where it has set them", []any{autoscaler}, served(content{"annotations": content{applied: `{"spec":{"replicas":1}}`}}), nil,
			bare(content{}, content{"replicas": int64(2)}),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			planned := v1alpha1.MigrationPlan{Steps: []v1alpha1.Step{
				{Changes: []v1alpha1.Change{{Object: v1alpha1.ObjectReference{Kind: "Service", Name: "other"}, Fields: []v1alpha1.FieldChange{{Path: "/metadata/labels/other", After: "x"}}}}},
				{Changes: []v1alpha1.Change{{Object: deployment, Fields: test.changes}}},
			}}
			got := plan.Backup(fixture.Snapshot(shop(nil, test.mesh...)), planned, v1alpha1.BeforeImage{Object: deployment, Content: test.object})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBackupName(t *testing.T) {
	for want, object := range map[string]v1alpha1.ObjectReference{
		"1_namespace_shop_shop.yaml":                                    {APIVersion: "v1", Kind: "Namespace", Name: "shop"},
		"2_authorizationpolicy.security.istio.io_shop_old.yaml":         {APIVersion: "security.istio.io/v1", Kind: "AuthorizationPolicy", Namespace: "shop", Name: "old"},
		"3_deployment.apps_shop_cart.yaml":                              {APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "cart"},
		"3_pod_shop_cart-0.yaml":                                        {APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "cart-0"},
		"4_service_shop_cart.yaml":                                      {APIVersion: "v1", Kind: "Service", Namespace: "shop", Name: "cart"},
		"4_serviceentry.networking.istio.io_other_example-org.com.yaml": {APIVersion: "networking.istio.io/v1", Kind: "ServiceEntry", Namespace: "other", Name: "example-org.com"},
	} {
		if got := plan.BackupName(object); got != want {
			t.Errorf("%s is kept in %s, not in %s", object, got, want)
		}
	}
}
