package plan

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/types"
)

// Sharing are the namespaces that share a waypoint with one of some: what a plan for
// those does to its policies decides calls there, too. So are those that are called
// through waypoints, since callers that leave their sidecars come to go through these.
// To be compared, they have to be at hand like those that are planned for.
func Sharing(snapshot *mesh.Snapshot, namespaces []string) []string {
	var sharing []string
	for _, name := range namespaces {
		namespace, found := snapshot.Namespace(name)
		if !found {
			continue
		}
		if len(sharing) == 0 {
			sharing = behindWaypoints(snapshot, namespaces)
		}
		for _, gateway := range snapshot.Gateways(name) {
			if snapshot.IsWaypoint(gateway) {
				sharing = append(sharing, usersOf(snapshot, types.NamespacedName{Namespace: name, Name: gateway.Name})...)
			}
		}
		for _, user := range snapshot.WaypointUsers(namespace) {
			if user.Namespace != name {
				sharing = append(sharing, usersOf(snapshot, types.NamespacedName{Namespace: user.Namespace, Name: user.Name})...)
			}
		}
	}
	slices.Sort(sharing)
	return slices.DeleteFunc(slices.Compact(sharing), func(name string) bool { return slices.Contains(namespaces, name) })
}

// usersOf are the namespaces in which anything goes through a waypoint.
func usersOf(snapshot *mesh.Snapshot, waypoint types.NamespacedName) []string {
	gateway, found := snapshot.Gateway(waypoint.Namespace, waypoint.Name)
	if !found {
		return nil
	}
	var names []string
	for _, user := range snapshot.WaypointUsedBy(waypoint.Namespace, waypoint.Name) {
		namespace, known := snapshot.Namespace(namespaceOf(user))
		if known && mesh.AdmitsFrom(gateway, namespace) && !slices.Contains(names, namespace.Name) {
			names = append(names, namespace.Name)
		}
	}
	slices.Sort(names)
	return names
}

// concerned is whom the steps of a plan may decide calls of.
type concerned struct {
	// own are those that are planned for, or written in; beside those that share a
	// waypoint with them. Both are at hand, so that calls in them can be compared.
	own, beside []string
	// unknown says of the others why they cannot.
	unknown []string
}

func (c concerned) all() []string { return slices.Concat(c.own, c.beside) }

// concernedBy are some namespaces, those that steps write in, and those that go
// through a waypoint which a step changes, before it or after.
func concernedBy(snapshot *mesh.Snapshot, namespaces []string, steps []v1alpha1.Step) (concerned, error) {
	made := concerned{own: slices.Clone(namespaces)}
	waypoints, err := waypointsOf(snapshot, steps)
	if err != nil {
		return made, err
	}
	after, err := carried(snapshot, steps)
	if err != nil {
		return made, err
	}
	add := func(to *[]string, name, why string) {
		switch _, found := snapshot.Namespace(name); {
		case !found || slices.Contains(made.all(), name):
		case snapshot.Scope().Holds(name):
			*to = append(*to, name)
		default:
			made.unknown = append(made.unknown, fmt.Sprintf("Namespace %s: %s, and its pods are known by their metadata alone", name, why))
		}
	}
	for _, step := range steps {
		for _, change := range step.Changes {
			add(&made.own, namespaceOf(change.Object), "the steps change objects in it")
		}
	}
	for _, waypoint := range waypoints {
		for _, at := range []*mesh.Snapshot{snapshot, after} {
			for _, name := range usersOf(at, waypoint) {
				add(&made.beside, name, "it goes through waypoint "+waypoint.String()+", which the steps change, or policies at it")
			}
		}
	}
	slices.Sort(made.unknown)
	made.unknown = slices.Compact(made.unknown)
	return made, nil
}

// waypointsOf are the Gateways that steps change, and those that policies they change
// are attached to.
func waypointsOf(snapshot *mesh.Snapshot, steps []v1alpha1.Step) ([]types.NamespacedName, error) {
	state := NewProjection(snapshot)
	var waypoints []types.NamespacedName
	add := func(namespace, name string) {
		if one := (types.NamespacedName{Namespace: namespace, Name: name}); !slices.Contains(waypoints, one) {
			waypoints = append(waypoints, one)
		}
	}
	for _, step := range steps {
		for _, change := range step.Changes {
			before, after, err := state.Apply(change)
			if err != nil {
				return nil, err
			}
			switch change.Object.Kind {
			case mesh.KindGateway:
				add(change.Object.Namespace, change.Object.Name)
			case mesh.KindAuthorizationPolicy, mesh.KindRequestAuthentication:
				for _, target := range slices.Concat(mesh.TargetsIn(before), mesh.TargetsIn(after)) {
					if target.Kind == mesh.KindGateway {
						add(target.Namespace, target.Name)
					}
				}
			}
		}
	}
	return waypoints, nil
}

// carried is the mesh once steps are carried out.
func carried(snapshot *mesh.Snapshot, steps []v1alpha1.Step) (*mesh.Snapshot, error) {
	at := newStageMaker(snapshot, nil)
	for _, step := range steps {
		if _, err := at.apply(step); err != nil {
			return nil, err
		}
	}
	return at.snapshot, nil
}
