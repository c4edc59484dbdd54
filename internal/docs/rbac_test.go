package docs_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/docs"
	"github.com/kubectl-ambient/kubectl-ambient/internal/golden"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plugin"
)

func TestRolesAreDocumented(t *testing.T) {
	text, err := docs.Roles()
	if err != nil {
		t.Fatal(err)
	}
	golden.AssertFile(t, filepath.Join("..", "..", "docs", "rbac.yaml"), text)
}

func TestNoRoleReadsSecretsOrAllowsEverything(t *testing.T) {
	for _, role := range plugin.Roles() {
		for _, rule := range role.Rules {
			for _, list := range [][]string{rule.APIGroups, rule.Resources, rule.Verbs} {
				if slices.Contains(list, "*") || slices.Contains(list, "secrets") {
					t.Errorf("%s has the rule %+v", role.Name, rule)
				}
			}
		}
	}
}
