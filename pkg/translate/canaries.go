package translate

import (
	"istio.io/api/label"
)

// canaries are services with a waypoint that pass part of their calls on to a second
// one: it has none of the copies, nothing lets it through to the pods, and how calls
// through it are decided is not modelled.
func (t *translator) canaries() {
	behind := map[string]bool{}
	for _, service := range t.translation.Services {
		if service.WaypointName != "" {
			behind[service.Need.Service.String()] = true
		}
	}
	for _, user := range t.snapshot.WaypointUsers(t.namespace) {
		whole := user.Object == t.namespace.Reference()
		if !user.Canary || whole && len(behind) == 0 || !whole && !behind[user.Object.String()] {
			continue
		}
		t.problem(user.Object, user.Field, "it sends part of the calls through a second waypoint, "+user.Namespace+"/"+user.Name+
			": policies are carried over to the first alone, and pods would refuse calls from the second or decide them by its identity",
			"remove label "+label.IoIstioUseWaypointCanary.Name+" until the namespace has moved")
	}
}
