package docs

import (
	"fmt"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/plugin"
	"sigs.k8s.io/yaml"
)

// Roles writes docs/rbac.yaml: the roles that the project recommends.
func Roles() (string, error) {
	text := &strings.Builder{}
	fmt.Fprintf(text, `# What kubectl ambient needs. Written from the code; kubectl apply -f it as it is.
#
# %s is for status, plan, verify, snapshot and history: bind it by a
# ClusterRoleBinding. %s is what enroll, simplify and rollback need
# besides: bind it by a ClusterRoleBinding, or by a RoleBinding in each namespace that
# is to be migrated, and in that of a waypoint elsewhere. %s is what
# --cordon needs besides the operator's: nodes are in no namespace, so that it can only be
# bound by a ClusterRoleBinding, and who has it may change any node. %s
# is what verify --probe needs besides the viewer's, bound like the operator's;
# %s is what verify --canary needs, in a namespace that it makes: it can
# only be bound by a ClusterRoleBinding, and who has it may make pods and policies
# everywhere, and delete any namespace with all that is in it: bind it for as long as a
# canary takes. %s reads what ztunnel has logged: bind it by a
# RoleBinding in ztunnel's namespace, and nowhere else. None reads Secrets.
`, plugin.ViewerRole, plugin.OperatorRole, plugin.CordonRole, plugin.ProberRole, plugin.CanaryRole, plugin.LogRole)
	for _, role := range plugin.Roles() {
		data, err := yaml.Marshal(role)
		if err != nil {
			return "", fmt.Errorf("role %s: %w", role.Name, err)
		}
		text.WriteString("---\n")
		text.Write(data)
	}
	return text.String(), nil
}
