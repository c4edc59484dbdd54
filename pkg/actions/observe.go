package actions

import (
	"context"
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
)

// watched are the kinds of the namespace that gates are about.
var watched = []schema.GroupVersionResource{
	{Version: "v1", Resource: "pods"},
	{Group: "apps", Version: "v1", Resource: "replicasets"},
	{Group: "apps", Version: "v1", Resource: "deployments"},
	{Group: "apps", Version: "v1", Resource: "statefulsets"},
	{Group: "apps", Version: "v1", Resource: "daemonsets"},
	{Group: "batch", Version: "v1", Resource: "jobs"},
	{Group: "batch", Version: "v1", Resource: "cronjobs"},
}

// observer follows a namespace by watches and makes a snapshot of it whenever
// it is asked for one.
type observer struct {
	// base is the part of the mesh that gates need and that is taken not to
	// change during a run.
	base    mesh.Content
	stores  []cache.Store
	changed chan struct{}
}

// observe starts to follow a namespace; it returns when everything was read
// once. The watches end with ctx.
func observe(ctx context.Context, client dynamic.Interface, namespace string, base mesh.Content) (*observer, error) {
	o := &observer{base: gateBase(base, namespace), changed: make(chan struct{}, 1)}
	inNamespace := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, namespace, nil)
	itself := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, metav1.NamespaceAll, func(options *metav1.ListOptions) {
		options.FieldSelector = fields.OneTermEqualSelector("metadata.name", namespace).String()
	})
	informers := []cache.SharedIndexInformer{itself.ForResource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).Informer()}
	for _, resource := range watched {
		informers = append(informers, inNamespace.ForResource(resource).Informer())
	}
	signal := func(any) {
		select {
		case o.changed <- struct{}{}:
		default:
		}
	}
	for _, informer := range informers {
		handler := cache.ResourceEventHandlerFuncs{AddFunc: signal, UpdateFunc: func(_, now any) { signal(now) }, DeleteFunc: signal}
		if _, err := informer.AddEventHandler(handler); err != nil {
			return nil, fmt.Errorf("watch namespace %s: %w", namespace, err)
		}
		o.stores = append(o.stores, informer.GetStore())
	}
	inNamespace.Start(ctx.Done())
	itself.Start(ctx.Done())
	for _, informer := range informers {
		if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			return nil, fmt.Errorf("watch namespace %s: %w", namespace, context.Cause(ctx))
		}
	}
	return o, nil
}

// gateBase keeps of a mesh what gates need besides the namespace: what decides
// how its pods come up, the injection webhooks and the configuration of
// istio-cni, and the components themselves.
func gateBase(content mesh.Content, namespace string) mesh.Content {
	base := mesh.Content{Coverage: content.Coverage, Scope: content.Scope, KubernetesVersion: content.KubernetesVersion}
	for _, object := range content.Objects {
		switch object.GetKind() {
		case "MutatingWebhookConfiguration", "ConfigMap":
			base.Objects = append(base.Objects, object)
		case mesh.KindDaemonSet, mesh.KindDeployment:
			if object.GetNamespace() != namespace {
				base.Objects = append(base.Objects, object)
			}
		}
	}
	return base
}

// snapshot is the namespace as it is now.
func (o *observer) snapshot() (*mesh.Snapshot, error) {
	content := o.base
	content.Objects = append([]unstructured.Unstructured(nil), o.base.Objects...)
	for _, store := range o.stores {
		for _, item := range store.List() {
			if object, ok := item.(*unstructured.Unstructured); ok {
				content.Objects = append(content.Objects, *object)
			}
		}
	}
	return mesh.NewSnapshot(content)
}
