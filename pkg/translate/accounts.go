package translate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/annotation"
	"k8s.io/apimachinery/pkg/types"
)

// sharedAccounts are waypoints that others run as the service account of, or may:
// what lets such a waypoint through to pods lets the others through, too, past what it
// decides.
func (t *translator) sharedAccounts() {
	var waypoints []types.NamespacedName
	for _, service := range t.translation.Services {
		if service.WaypointName != "" {
			waypoints = append(waypoints, types.NamespacedName{Namespace: service.WaypointNamespace, Name: service.WaypointName})
		}
	}
	for _, direct := range t.translation.Direct {
		waypoints = append(waypoints, types.NamespacedName{Namespace: direct.Namespace, Name: direct.Name})
	}
	slices.SortFunc(waypoints, func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
	for _, waypoint := range slices.Compact(waypoints) {
		principal := t.principalOf(waypoint.Namespace, waypoint.Name)
		_, account := identityParts(principal)
		sharing := t.snapshot.SharingAccount(waypoint.Namespace, waypoint.Name, account)
		if !sharing.Any() || !t.names(principal) {
			continue
		}
		field := "metadata.name"
		if account != waypoint.Name {
			field = "metadata.annotations[" + annotation.GatewayServiceAccount.Name + "]"
		}
		t.problem(gatewayReference(waypoint.Namespace, waypoint.Name), field,
			fmt.Sprintf("it runs as service account %s/%s, %s: policies that let the waypoint through would let them through as well", waypoint.Namespace, account, who(sharing)),
			"give the waypoint a service account that nobody else runs as, or choose another waypoint by --waypoint and --waypoint-namespace")
	}
}

// who says who else runs as a service account.
func who(sharing mesh.Sharing) string {
	if known := sharing.Known; len(known) > 0 {
		text := strings.Join(known[:min(3, len(known))], ", ")
		if rest := len(known) - 3; rest > 0 {
			text += fmt.Sprintf(" and %d more", rest)
		}
		return "which others have as well (" + text + ")"
	}
	return fmt.Sprintf("which others may have as well (other pods of the namespace whose account was not read: %d)", sharing.Unread)
}

// names says whether any policy of the translation names a principal.
func (t *translator) names(principal string) bool {
	return slices.ContainsFunc(slices.Concat(t.translation.Before, t.translation.Amended), func(object Object) bool {
		text, err := json.Marshal(object.Content["spec"])
		return err == nil && strings.Contains(string(text), strconv.Quote(principal))
	})
}
