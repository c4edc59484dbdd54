package actions

import (
	"context"
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
)

// observer follows a namespace by watches and makes a snapshot of it whenever
// it is asked for one.
type observer struct {
	// base is the part of the mesh that gates need and that is taken not to
	// change during a run.
	base    mesh.Content
	stores  []cache.Store
	changed chan struct{}
	// last is the snapshot that was made last.
	last *mesh.Snapshot
}

// observe starts to follow what a run is about; it returns when everything was
// read once. The watches end with ctx.
func observe(ctx context.Context, client dynamic.Interface, watches []Watch, base mesh.Content) (*observer, error) {
	o := &observer{base: gateBase(base, watches), changed: make(chan struct{}, 1)}
	signal := func(any) {
		select {
		case o.changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: signal, UpdateFunc: func(_, now any) { signal(now) }, DeleteFunc: signal}
	var informers []cache.SharedIndexInformer
	for _, watch := range watches {
		bounds := func(options *metav1.ListOptions) {
			options.LabelSelector, options.FieldSelector = watch.Labels, watch.Fields
		}
		informer := dynamicinformer.NewFilteredDynamicInformer(client, watch.Resource, watch.Namespace, 0, cache.Indexers{}, bounds).Informer()
		if _, err := informer.AddEventHandler(handler); err != nil {
			return nil, fmt.Errorf("watch %s in namespace %s: %w", watch.Resource.Resource, watch.Namespace, err)
		}
		o.stores = append(o.stores, informer.GetStore())
		informers = append(informers, informer)
		go informer.Run(ctx.Done())
	}
	for i, informer := range informers {
		// It returns at once; WaitForCacheSync looks every tenth of a second.
		if !cache.WaitFor(ctx, "", informer.HasSyncedChecker()) {
			return nil, fmt.Errorf("watch %s in namespace %s: %w", watches[i].Resource.Resource, watches[i].Namespace, context.Cause(ctx))
		}
	}
	return o, nil
}

// gateBase keeps of a mesh what gates need besides what is watched: what decides
// how pods come up, the injection webhooks and the configuration of istio-cni,
// the components themselves, and what verify asks of waypoints that the run has
// nothing to do with.
func gateBase(content mesh.Content, watches []Watch) mesh.Content {
	base := mesh.Content{Coverage: content.Coverage, Scope: content.Scope, KubernetesVersion: content.KubernetesVersion}
	for _, object := range content.Objects {
		switch object.GetKind() {
		case "MutatingWebhookConfiguration", "ConfigMap", mesh.KindDaemonSet, mesh.KindDeployment, mesh.KindServiceEntry,
			mesh.KindWorkloadEntry, mesh.KindGateway, mesh.KindGatewayClass, mesh.KindEndpointSlice:
		case mesh.KindService:
			if !content.Scope.Holds(object.GetNamespace()) {
				continue
			}
		default:
			continue
		}
		if !slices.ContainsFunc(watches, func(watch Watch) bool { return watch.shows(&object) }) {
			base.Objects = append(base.Objects, object)
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
	snapshot, err := mesh.NewSnapshotAfter(content, o.last)
	if err == nil {
		o.last = snapshot
	}
	return snapshot, err
}

// object is one that is watched, as it is now.
func (o *observer) object(reference v1alpha1.ObjectReference) (mesh.Object, bool) {
	for _, store := range o.stores {
		item, found, err := store.GetByKey(cache.NewObjectName(reference.Namespace, reference.Name).String())
		object, is := item.(*unstructured.Unstructured)
		if err == nil && found && is && object.GetKind() == reference.Kind {
			return object.Object, true
		}
	}
	return nil, false
}
