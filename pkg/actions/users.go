package actions

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// UsedError says that a waypoint which a step deletes has come to be used since the
// plan was made.
type UsedError struct {
	Step  v1alpha1.Step
	Users map[v1alpha1.ObjectReference][]v1alpha1.ObjectReference
}

func (e *UsedError) Error() string {
	var used []string
	for waypoint, users := range e.Users {
		var names []string
		for _, user := range users {
			names = append(names, user.String())
		}
		used = append(used, fmt.Sprintf("%s is used by %s", waypoint, summary(names)))
	}
	slices.Sort(used)
	return fmt.Sprintf("step %s was not begun: %s since the plan was made, so that it is not deleted: run the command again, which deletes it if nobody uses it by then, and otherwise leaves it",
		e.Step.ID, strings.Join(used, ", "))
}

// userKinds are what names a waypoint by labels of its own, and so can be asked for by
// these: see WaypointUsedBy.
var userKinds = []schema.GroupVersionKind{
	{Version: "v1", Kind: mesh.KindNamespace},
	{Version: "v1", Kind: mesh.KindService},
	{Version: "v1", Kind: mesh.KindPod},
	{Group: "networking.istio.io", Version: "v1", Kind: mesh.KindServiceEntry},
	{Group: "networking.istio.io", Version: "v1", Kind: mesh.KindWorkloadEntry},
}

// naming are the labels by which one names a waypoint.
var naming = []string{label.IoIstioUseWaypoint.Name, label.IoIstioUseWaypointCanary.Name}

// unused wants nobody to have come to use the waypoints that a step deletes since the
// plan was made. The watches do not tell: who uses one may be in any namespace.
func (r *Runner) unused(ctx context.Context, step v1alpha1.Step) error {
	var waypoints []v1alpha1.ObjectReference
	var names []string
	for _, change := range step.Changes {
		if change.Delete && change.Object.Kind == mesh.KindGateway {
			waypoints, names = append(waypoints, change.Object), append(names, change.Object.Name)
		}
	}
	if len(waypoints) == 0 {
		return nil
	}
	now, err := r.namingNow(ctx, names)
	if err != nil {
		return fmt.Errorf("before step %s: who uses %s: %w", step.ID, waypoints[0], err)
	}
	then, err := mesh.NewSnapshot(namingThen(r.Mesh, names))
	if err != nil {
		return fmt.Errorf("before step %s: %w", step.ID, err)
	}
	used := map[v1alpha1.ObjectReference][]v1alpha1.ObjectReference{}
	for _, waypoint := range waypoints {
		known := then.WaypointUsedBy(waypoint.Namespace, waypoint.Name)
		for _, user := range now.WaypointUsedBy(waypoint.Namespace, waypoint.Name) {
			// The plan knew of it, and has seen to it.
			if !slices.Contains(known, user) || r.changes[user.Unversioned()] {
				used[waypoint] = append(used[waypoint], user)
			}
		}
	}
	if len(used) > 0 {
		return &UsedError{Step: step, Users: used}
	}
	return nil
}

// namingNow is what names waypoints of some names, as it is now: what has labels of its
// own as the API server has it, and pod templates as the watches do.
func (r *Runner) namingNow(ctx context.Context, names []string) (*mesh.Snapshot, error) {
	var content mesh.Content
	seen := map[v1alpha1.ObjectReference]bool{}
	for _, kind := range userKinds {
		mapping, err := r.Writer.Mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if meta.IsNoMatchError(err) {
			// A kind that is not installed has no objects.
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind.Kind, err)
		}
		for _, by := range naming {
			objects, err := r.labelled(ctx, mapping.Resource, by, names)
			if apierrors.IsForbidden(err) && r.Mesh.Coverage[meshWideKey(kind.Kind)].State == mesh.CoverageForbidden {
				// The plan was made without, and says so.
				continue
			}
			if err != nil {
				return nil, err
			}
			for _, object := range objects {
				reference := v1alpha1.ObjectReference{Kind: kind.Kind, Namespace: object.GetNamespace(), Name: object.GetName()}
				if !seen[reference] {
					seen[reference] = true
					content.Objects = append(content.Objects, object)
				}
			}
		}
	}
	for _, store := range r.observer.stores {
		for _, item := range store.List() {
			if object, is := item.(*unstructured.Unstructured); is && !namesItself(object.GetKind()) {
				content.Objects = append(content.Objects, *object)
			}
		}
	}
	return mesh.NewSnapshot(content)
}

// meshWideKey is what a snapshot calls all objects of a kind: of pods it has those of the
// namespace at hand apart.
func meshWideKey(kind string) string {
	if kind == mesh.KindPod {
		return mesh.PodsMeshWide
	}
	return kind
}

// labelled are the objects of the whole mesh that have one of some values in a label.
func (r *Runner) labelled(ctx context.Context, resource schema.GroupVersionResource, by string, names []string) ([]unstructured.Unstructured, error) {
	selector := metav1.FormatLabelSelector(&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: by, Operator: metav1.LabelSelectorOpIn, Values: names},
	}})
	var list *unstructured.UnstructuredList
	err := r.patiently(ctx, func() (err error) {
		list, err = r.Writer.Dynamic.Resource(resource).List(ctx, metav1.ListOptions{LabelSelector: selector})
		return err
	})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", resource.Resource, err)
	}
	return list.Items, nil
}

// namingThen is what named waypoints of some names when the plan was made, and the
// workloads, whose templates may.
func namingThen(content mesh.Content, names []string) mesh.Content {
	named := func(set map[string]string) bool {
		return slices.ContainsFunc(naming, func(by string) bool { return slices.Contains(names, set[by]) })
	}
	var then mesh.Content
	for _, object := range content.Objects {
		switch kind := object.GetKind(); {
		case namesItself(kind):
			if named(object.GetLabels()) {
				then.Objects = append(then.Objects, object)
			}
		case templated(&object):
			then.Objects = append(then.Objects, object)
		}
	}
	for _, pod := range content.Pods {
		if named(pod.Labels) {
			then.Pods = append(then.Pods, pod)
		}
	}
	return then
}

// namesItself says whether objects of a kind name waypoints by labels of their own.
func namesItself(kind string) bool {
	return slices.ContainsFunc(userKinds, func(one schema.GroupVersionKind) bool { return one.Kind == kind })
}

// templated says whether an object makes pods.
func templated(object *unstructured.Unstructured) bool {
	_, direct, _ := unstructured.NestedFieldNoCopy(object.Object, "spec", "template", "metadata")
	_, indirect, _ := unstructured.NestedFieldNoCopy(object.Object, "spec", "jobTemplate")
	return direct || indirect
}
