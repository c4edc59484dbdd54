package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// TestVerifyCleanEnrolments enrols every sample application: verify has nothing to say
// of any.
func TestVerifyCleanEnrolments(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("..", "..", "testdata", "apps", "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("there are no sample applications: %v", err)
	}
	for _, path := range paths {
		application := strings.TrimSuffix(filepath.Base(path), ".yaml")
		t.Run(application, func(t *testing.T) {
			t.Parallel()
			c, namespace := shared, "clean-"+application
			c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
			if base, _, variant := strings.Cut(application, "-"); variant {
				// It changes another one.
				c.apply(t, namespace, base)
			}
			c.apply(t, namespace, application)
			enroll := append([]string{"enroll", "-n", namespace, "--yes"}, c.acceptance(t, namespace)...)
			c.ambient(t, enroll...).want(t, 0)
			run := c.ambient(t, "verify", "-n", namespace, "-o", "json").want(t, 0)
			var report v1alpha1.VerifyReport
			decode(t, run.stdout, &report)
			if !report.Verified || len(report.Results) == 0 {
				t.Errorf("it is not verified: %s", run)
			}
			for _, result := range report.Results {
				if result.Status != v1alpha1.StatusPass && result.Status != v1alpha1.StatusSkip && !result.Accepted {
					t.Errorf("%s %s: %v: %s", result.Status, result.ID, result.Object, result.Message)
				}
			}
		})
	}
}

// acceptance is what an enrolment has to be given so that nothing blocks it.
func (c *cluster) acceptance(t *testing.T, namespace string) []string {
	t.Helper()
	var planned v1alpha1.MigrationPlan
	decode(t, c.ambient(t, "plan", "-n", namespace, "-o", "json").stdout, &planned)
	var accept []string
	for _, gate := range planned.Gates {
		switch {
		case !gate.Blocks():
		case gate.Object == nil:
			accept = append(accept, "--accept", gate.ID)
		default:
			accept = append(accept, "--accept", gate.ID+":"+strings.TrimPrefix(gate.Object.Namespace+"/"+gate.Object.Name, "/"))
		}
	}
	return accept
}
