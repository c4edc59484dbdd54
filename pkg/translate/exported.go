package translate

import (
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// hidden is about a rule that waypoints would follow and do not see: one in another
// namespace sees what is exported to its own (istio pilot/pkg/model/push_context.go,
// VirtualServicesForGateway and destinationRule).
func (t *translator) hidden(reference v1alpha1.ObjectReference, exportTo []string) {
	for _, service := range t.fronted {
		in, _, _ := strings.Cut(service.waypoint, "/")
		if service.direct || in == "" || exportedTo(exportTo, reference.Namespace, in) {
			continue
		}
		loss := Loss{
			Object: reference, Field: "spec.exportTo", Security: t.encrypts(reference),
			Message: "waypoints in namespace " + in + " do not see it: ambient callers no longer follow it",
			Remedy:  "export it to namespace " + in,
		}
		if !slices.Contains(t.translation.Losses, loss) {
			t.translation.Losses = append(t.translation.Losses, loss)
		}
	}
}

// exportedTo says whether what is written in a namespace is seen in another one.
func exportedTo(exportTo []string, written, seen string) bool {
	return len(exportTo) == 0 || slices.ContainsFunc(exportTo, func(to string) bool {
		return to == "*" || to == seen || to == "." && written == seen
	})
}

// exports are who sees a rule: those that it names, or the mesh's default for its kind.
func (t *translator) exports(kind string, own []string) []string {
	configurations := t.snapshot.Configurations()
	switch {
	case len(own) > 0 || len(configurations) == 0:
		return own
	case kind == mesh.KindVirtualService:
		return configurations[0].DefaultVirtualServiceExportTo
	default:
		return configurations[0].DefaultDestinationRuleExportTo
	}
}
