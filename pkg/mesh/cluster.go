package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/pager"
)

// Cluster is what a snapshot of a live cluster is taken with.
type Cluster struct {
	Dynamic   dynamic.Interface
	Metadata  metadata.Interface
	Discovery discovery.DiscoveryInterface
}

// Take reads the mesh from a cluster: a fixed number of list requests, paged,
// in parallel. Kinds that are not installed or not permitted are recorded as
// such; any other failure ends the reading with an error that names the kind.
func Take(ctx context.Context, cluster Cluster, scope Scope) (*Snapshot, error) {
	content, err := Read(ctx, cluster, scope)
	if err != nil {
		return nil, err
	}
	return NewSnapshot(content)
}

// Read collects the content of a snapshot from a cluster.
func Read(ctx context.Context, cluster Cluster, scope Scope) (Content, error) {
	client := discovery.ToDiscoveryInterfaceWithContext(cluster.Discovery)
	version, err := client.ServerVersionWithContext(ctx)
	if err != nil {
		return Content{}, fmt.Errorf("read the version of the API server: %w", err)
	}
	served, err := servedVersions(ctx, client)
	if err != nil {
		return Content{}, err
	}
	reading := &reading{
		cluster: cluster,
		content: Content{
			Scope:             scope,
			Coverage:          map[string]Coverage{},
			HostNetwork:       map[types.UID]bool{},
			KubernetesVersion: version.GitVersion,
		},
		seen: map[types.UID]bool{},
	}
	// The client's own rate limit is what bounds the load on the API server;
	// eight at a time keep a 2-core API server busy without queueing.
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, collection := range collections() {
		resource, installed := served.resolve(collection.resource)
		failure, failed := served.failed[resource.Group]
		switch {
		case collection.atHand && !scope.All && len(scope.names()) == 0:
			reading.cover(collection.key, Coverage{State: CoverageUnasked})
		case failed && !installed:
			reading.cover(collection.key, Coverage{State: CoverageFailed, Reason: failure})
		case !installed:
			reading.cover(collection.key, Coverage{State: CoverageAbsent})
		default:
			collection.resource = resource
			group.Go(func() error { return reading.list(ctx, collection) })
		}
	}
	if !scope.All {
		group.Go(func() error { return reading.listPodMetadata(ctx) })
		group.Go(func() error { return reading.listHostNetwork(ctx) })
	}
	if err := group.Wait(); err != nil {
		return Content{}, err
	}
	if scope.All {
		// Every pod was read whole.
		reading.cover(PodsMeshWide, reading.content.Coverage[KindPod])
	}
	return reading.content, nil
}

// served is what the API server serves. A kind is taken for not installed by
// this and not by a 404, which a version that is not served would answer too.
type served struct {
	// versions are by group and resource, the preferred one first.
	versions map[schema.GroupResource][]string
	// failed says, by group, why it is not known what is served of it.
	failed map[string]string
}

func servedVersions(ctx context.Context, client discovery.DiscoveryInterfaceWithContext) (served, error) {
	result := served{versions: map[schema.GroupResource][]string{}, failed: map[string]string{}}
	groups, lists, err := client.ServerGroupsAndResourcesWithContext(ctx)
	var partly *discovery.ErrGroupDiscoveryFailed
	if err != nil && !errors.As(err, &partly) {
		return result, fmt.Errorf("read which kinds the API server serves: %w", err)
	}
	if partly != nil {
		for version, failure := range partly.Groups {
			result.failed[version.Group] = failure.Error()
		}
	}
	preferred := map[string]string{}
	for _, group := range groups {
		preferred[group.Name] = group.PreferredVersion.Version
	}
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return result, fmt.Errorf("read which kinds the API server serves: %w", err)
		}
		for _, resource := range list.APIResources {
			key := schema.GroupResource{Group: version.Group, Resource: resource.Name}
			if version.Version == preferred[version.Group] {
				result.versions[key] = slices.Insert(result.versions[key], 0, version.Version)
			} else {
				result.versions[key] = append(result.versions[key], version.Version)
			}
		}
	}
	return result, nil
}

// resolve returns the resource in the version asked for, where it is served,
// or else in the one that the API server prefers.
func (s served) resolve(resource schema.GroupVersionResource) (schema.GroupVersionResource, bool) {
	versions := s.versions[resource.GroupResource()]
	if len(versions) == 0 {
		return resource, false
	}
	if !slices.Contains(versions, resource.Version) {
		resource.Version = versions[0]
	}
	return resource, true
}

// reading is a snapshot in the making.
type reading struct {
	cluster Cluster

	mu      sync.Mutex
	content Content
	// seen keeps an object that two collections hold from being added twice.
	seen map[types.UID]bool
}

func (r *reading) list(ctx context.Context, collection collection) error {
	objects, coverage, err := r.listInScope(ctx, collection)
	if err != nil {
		return err
	}
	if collection.key == KindNamespace && coverage.State == CoverageForbidden {
		if objects, err = r.namespaceAtHand(ctx, collection); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.content.Coverage[collection.key] = coverage
	for _, object := range objects {
		if !r.seen[object.GetUID()] {
			r.seen[object.GetUID()] = true
			r.content.Add(object)
		}
	}
	return nil
}

// manyAtHand is from how many namespaces at hand on what is read of them is listed
// together with that of all others, which is dropped: requests are then as many in a
// mesh of hundreds of namespaces that depend on each other as in one of a dozen.
const manyAtHand = 12

// listInScope lists what the scope has of a collection.
func (r *reading) listInScope(ctx context.Context, collection collection) ([]unstructured.Unstructured, Coverage, error) {
	names := r.content.Scope.names()
	if !collection.atHand || len(names) == 0 {
		return r.listIn(ctx, collection, metav1.NamespaceAll)
	}
	if len(names) >= manyAtHand {
		objects, coverage, err := r.listIn(ctx, collection, metav1.NamespaceAll)
		if err != nil || coverage.State == CoverageRead {
			objects = slices.DeleteFunc(objects, func(object unstructured.Unstructured) bool { return !slices.Contains(names, object.GetNamespace()) })
			return objects, coverage, err
		}
		// Who may not list those of all namespaces may be allowed to in each of some.
	}
	var objects []unstructured.Unstructured
	coverage := Coverage{State: CoverageRead}
	for _, name := range names {
		some, of, err := r.listIn(ctx, collection, name)
		if err != nil {
			return nil, of, err
		}
		if of.State != CoverageRead {
			// One namespace that may not be read makes the kind unknown.
			coverage = of
		}
		objects = append(objects, some...)
	}
	return objects, coverage, nil
}

func (r *reading) listIn(ctx context.Context, collection collection, namespace string) ([]unstructured.Unstructured, Coverage, error) {
	list := r.listWhole
	if collection.metadata {
		list = r.listMetadata
	}
	objects, err := list(ctx, collection, namespace)
	coverage, err := coverageOf(collection.key, namespace, err)
	return objects, coverage, err
}

// namespaceAtHand reads the one namespace at hand for somebody who may not list
// them all, so that a plan has something to say what it does not know about. One
// that may not be read either, or is not there, is none.
func (r *reading) namespaceAtHand(ctx context.Context, collection collection) ([]unstructured.Unstructured, error) {
	name := r.content.Scope.Namespace
	if name == "" {
		return nil, nil
	}
	object, err := r.cluster.Dynamic.Resource(collection.resource).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err) || apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get Namespace %s: %w", name, err)
	}
	return []unstructured.Unstructured{*object}, nil
}

func (r *reading) listWhole(ctx context.Context, collection collection, namespace string) ([]unstructured.Unstructured, error) {
	client := r.cluster.Dynamic.Resource(collection.resource).Namespace(namespace)
	var objects []unstructured.Unstructured
	err := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		options.LabelSelector, options.FieldSelector = collection.selector, collection.fields
		return client.List(ctx, options)
	}).EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		objects = append(objects, *object.(*unstructured.Unstructured))
		return nil
	})
	return objects, err
}

func (r *reading) listMetadata(ctx context.Context, collection collection, namespace string) ([]unstructured.Unstructured, error) {
	client := r.cluster.Metadata.Resource(collection.resource).Namespace(namespace)
	var objects []unstructured.Unstructured
	err := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return client.List(ctx, options)
	}).EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		partial := object.(*metav1.PartialObjectMetadata)
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(partial)
		if err != nil {
			return err
		}
		whole := unstructured.Unstructured{Object: content}
		whole.SetGroupVersionKind(collection.resource.GroupVersion().WithKind(collection.kind))
		objects = append(objects, whole)
		return nil
	})
	return objects, err
}

// livePods leaves out pods that have run to their end.
const livePods = "status.phase!=Succeeded,status.phase!=Failed"

func (r *reading) listPodMetadata(ctx context.Context) error {
	pods, err := r.podMetadata(ctx, livePods)
	coverage, err := coverageOf(PodsMeshWide, "", err)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.content.Coverage[PodsMeshWide] = coverage
	r.content.Pods = pods
	return nil
}

// listHostNetwork finds the pods that neither mode can capture, which their
// metadata alone does not tell. API servers before 1.31 do not know this field
// selector and answer BadRequest: then nothing is known to be on the host's
// network, which errs towards naming a pod as outside the mesh.
func (r *reading) listHostNetwork(ctx context.Context) error {
	pods, err := r.podMetadata(ctx, livePods+",spec.hostNetwork=true")
	if apierrors.IsBadRequest(err) || apierrors.IsForbidden(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list pods on the host network: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, pod := range pods {
		r.content.HostNetwork[pod.UID] = true
	}
	return nil
}

func (r *reading) podMetadata(ctx context.Context, fieldSelector string) ([]metav1.ObjectMeta, error) {
	client := r.cluster.Metadata.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"})
	var pods []metav1.ObjectMeta
	err := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		options.FieldSelector = fieldSelector
		return client.List(ctx, options)
	}).EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		metadata := object.(*metav1.PartialObjectMetadata).ObjectMeta
		metadata.ManagedFields = nil
		delete(metadata.Annotations, corev1.LastAppliedConfigAnnotation)
		for key, value := range metadata.Annotations {
			metadata.Annotations[key] = tellingAnnotation(key, value)
		}
		pods = append(pods, metadata)
		return nil
	})
	return pods, err
}

func (r *reading) cover(key string, coverage Coverage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.content.Coverage[key] = coverage
}

// coverageOf turns the outcome of a list request into coverage. What neither
// means "not installed" nor "not permitted" stays an error.
func coverageOf(key, namespace string, err error) (Coverage, error) {
	switch {
	case err == nil:
		return Coverage{State: CoverageRead}, nil
	case apierrors.IsForbidden(err):
		var status apierrors.APIStatus
		reason := err.Error()
		if errors.As(err, &status) {
			reason = status.Status().Message
		}
		return Coverage{State: CoverageForbidden, Reason: reason}, nil
	case namespace != "":
		return Coverage{}, fmt.Errorf("list %s in namespace %s: %w", key, namespace, err)
	default:
		return Coverage{}, fmt.Errorf("list %s: %w", key, err)
	}
}
