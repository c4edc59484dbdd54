package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// TestVerifyCleanEnrolments enrols every sample application, none of which anything has
// to be accepted for. Every check of verify passes, but for the one that says that
// nobody has called these applications, whose pods run nothing.
func TestVerifyCleanEnrolments(t *testing.T) {
	t.Parallel()
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
			c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 0)
			run := c.ambient(t, "verify", "-n", namespace, "-o", "json").want(t, 0)
			var report v1alpha1.VerifyReport
			decode(t, run.stdout, &report)
			if !report.Verified || len(report.Results) < 30 {
				t.Errorf("it is not verified: %s", run)
			}
			for _, result := range report.Results {
				if result.Status != v1alpha1.StatusPass && (result.ID != "traffic-seen" || result.Status != v1alpha1.StatusSkip) {
					t.Errorf("%s %s: %v: %s", result.Status, result.ID, result.Object, result.Message)
				}
			}
		})
	}
}
