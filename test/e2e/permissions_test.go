package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPermissionsForTheWayBack enrolls as somebody who may not ask ztunnel, nor replace
// pods, and gives them what is printed, no more: that is just what is missing.
func TestPermissionsForTheWayBack(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "way-back"
	before := c.shop(t, namespace)
	user := c.without(t, namespace+"-starter", "portforward")
	operator, err := c.kube.RbacV1().ClusterRoles().Get(t.Context(), "kubectl-ambient-operator", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "starter"}}
	for _, rule := range operator.Rules {
		if slices.Contains(rule.Resources, "pods/eviction") {
			continue
		}
		if slices.Contains(rule.Resources, "pods") {
			rule.Verbs = []string{"patch"}
		}
		role.Rules = append(role.Rules, rule)
	}
	if _, err := c.kube.RbacV1().Roles(namespace).Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.bind(t, namespace, user, rbacv1.RoleRef{Kind: "Role", Name: role.Name})
	enroll := []string{"enroll", "-n", namespace, "--yes", "--as=" + user}

	blind := c.ambient(t, enroll...).want(t, 3)
	says(t, blind.stderr, "you may not create pods/portforward in namespace istio-system: ask for a RoleBinding in namespace istio-system", "kind: Role\n")
	c.grant(t, blind.stderr)
	c.bind(t, "istio-system", user, rbacv1.RoleRef{Kind: "Role", Name: "kubectl-ambient-" + namespace})

	refused := c.ambient(t, append(enroll, "--rollback-on-failure")...).want(t, 3)
	says(t, refused.stderr, "delete pods in namespace "+namespace, "create pods/eviction in namespace "+namespace, "kind: ClusterRole\n")
	c.wantState(t, namespace, before)

	warned := c.ambient(t, enroll...).want(t, 0)
	says(t, warned.stderr, "You could not roll this back yourself", "create pods/eviction in namespace "+namespace)
	stuck := c.ambient(t, "rollback", "-n", namespace, "--yes", "--as="+user).want(t, 3)
	says(t, stuck.stderr, "you may not", "delete pods in namespace "+namespace, "create pods/eviction in namespace "+namespace)

	c.grant(t, warned.stderr)
	c.bind(t, namespace, user, rbacv1.RoleRef{Kind: "ClusterRole", Name: "kubectl-ambient-" + namespace})
	c.ambient(t, "rollback", "-n", namespace, "--yes", "--as="+user).want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
	c.wantSidecars(t, namespace)
	if again := c.ambient(t, append(enroll, "--rollback-on-failure")...).want(t, 0); strings.Contains(again.stderr, "may not") {
		t.Errorf("something is still not allowed:\n%s", again.stderr)
	}
}

// grant applies the roles that a command has printed.
func (c *cluster) grant(t *testing.T, printed string) {
	t.Helper()
	at := strings.Index(printed, "apiVersion: rbac.authorization.k8s.io/v1\n")
	if at < 0 {
		t.Fatalf("no role was printed:\n%s", printed)
	}
	// What comes after a role is said line by line, and is no YAML.
	text, _, _ := strings.Cut(printed[at:], "\n\n")
	path := filepath.Join(t.TempDir(), "roles.yaml")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := c.Kubectl(t.Context(), "apply", "-f", path); err != nil {
		t.Fatalf("%v\n%s\n%s", err, output, text)
	}
}

// bind gives somebody a role in a namespace.
func (c *cluster) bind(t *testing.T, namespace, user string, role rbacv1.RoleRef) {
	t.Helper()
	role.APIGroup = rbacv1.GroupName
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: strings.ToLower(user + "-" + role.Kind)},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}}, RoleRef: role,
	}
	if _, err := c.kube.RbacV1().RoleBindings(namespace).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
