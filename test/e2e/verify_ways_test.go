package e2e

import (
	"context"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestVerifyWays asks verify in every way there is: of all namespaces, until it holds,
// again and again, and by somebody who may not ask ztunnel.
func TestVerifyWays(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "ways"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.apply(t, namespace, "bookinfo")
	c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 0)
	c.verifyEverywhere(t, namespace, c.damaged(t))
	c.verifyUntilItHolds(t, namespace)
	c.verifyAgain(t, namespace)
	blind := c.without(t, namespace+"-blind", "portforward")
	unseen := c.ambient(t, "verify", "-n", namespace, "--as="+blind).want(t, 3)
	says(t, unseen.stdout, "unknown", "ztunnel-captured", "pods/portforward")
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	unseen = c.ambient(t, "verify", "-n", namespace, "--as="+blind).want(t, 3)
	says(t, unseen.stdout, "unknown", "capture-ended", "pods/portforward")
	known := c.ambient(t, "verify", "-n", namespace, "--as="+blind, "--accept=capture-ended").want(t, 0)
	says(t, known.stdout, "accepted", "capture-ended", "pods/portforward")
	says(t, c.ambient(t, "verify", "-n", namespace, "--accept=captured-ended").want(t, 2).stderr, "captured-ended", "docs/checks.md")
	says(t, c.ambient(t, "verify", "-n", namespace).want(t, 0).stdout, "is on sidecars")
}

// damaged is a namespace with a record that nobody can read.
func (c *cluster) damaged(t *testing.T) string {
	t.Helper()
	const namespace = "ways-damaged"
	c.namespace(t, namespace, map[string]string{"istio.io/dataplane-mode": "ambient"})
	garbage := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kubectl-ambient-damaged", Labels: map[string]string{record.Label: "enroll"}}}
	if _, err := c.kube.CoreV1().ConfigMaps(namespace).Create(t.Context(), garbage, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return namespace
}

// verifyEverywhere wants a namespace among all that were enrolled, whatever tests beside
// do to others, and one whose record cannot be read.
func (c *cluster) verifyEverywhere(t *testing.T, namespace, damaged string) {
	t.Helper()
	c.eventually(t, "verify -A tells of every namespace", func(context.Context) error {
		run := c.ambient(t, "verify", "-A", "-o", "json")
		if run.status != 0 && run.status != 3 {
			return fmt.Errorf("%s", run)
		}
		var list v1alpha1.VerifyReportList
		decode(t, run.stdout, &list)
		at := slices.IndexFunc(list.Items, func(report v1alpha1.VerifyReport) bool { return report.Namespace == namespace })
		all := !slices.ContainsFunc(list.Items, func(report v1alpha1.VerifyReport) bool { return !report.Verified })
		switch {
		case at < 0 || !list.Items[at].Verified:
			return fmt.Errorf("namespace %s is not verified: %s", namespace, run)
		case !slices.ContainsFunc(list.Items, func(report v1alpha1.VerifyReport) bool {
			return report.Namespace == damaged && slices.ContainsFunc(report.Results, func(result v1alpha1.CheckResult) bool {
				return result.ID == "handed-over" && result.Status == v1alpha1.StatusUnknown && strings.Contains(result.Message, "ConfigMap "+damaged+"/kubectl-ambient-damaged")
			})
		}):
			return fmt.Errorf("nothing is said of the record of namespace %s that cannot be read: %s", damaged, run)
		case list.Verified != all || all != (run.status == 0):
			t.Errorf("%d reports, verified %v, exit status %d", len(list.Items), list.Verified, run.status)
		}
		return nil
	})
	var suites struct {
		Suites []struct {
			Name     string `xml:"name,attr"`
			Failures int    `xml:"failures,attr"`
		} `xml:"testsuite"`
	}
	run := c.ambient(t, "verify", "-n", namespace, "-o", "junit").want(t, 0)
	if err := xml.Unmarshal([]byte(run.stdout), &suites); err != nil || len(suites.Suites) != 1 || suites.Suites[0].Failures != 0 {
		t.Errorf("%v: %s", err, run)
	}
}

// verifyUntilItHolds has a rollout held up, which verify --wait waits for.
func (c *cluster) verifyUntilItHolds(t *testing.T, namespace string) {
	t.Helper()
	release := c.HoldReadiness(func(pod *corev1.Pod) bool { return pod.Namespace == namespace && pod.Labels["app"] == "ratings" })
	c.kubectlIn(namespace)(t, "scale", "deployment/ratings-v1", "--replicas=2")
	says(t, c.ambient(t, "verify", "-n", namespace, "--wait", "--timeout=20s").want(t, 3).stdout, "fail", "restarts-complete")
	says(t, c.ambient(t, "verify", "-n", namespace, "--wait", "--timeout=1ms").want(t, 124).stderr, "no look was finished within --timeout=1ms")
	run := c.startAmbient(t.Context(), t, nil, "verify", "-n", namespace, "--wait")
	c.eventually(t, "verify waits", func(context.Context) error { return run.stderr.contains("waiting: ") })
	if err := release(t.Context()); err != nil {
		t.Fatal(err)
	}
	says(t, run.wait(t).want(t, 0).stdout, "Namespace "+namespace+" is in ambient mode.")
}

// verifyAgain has a workload scaled in front of verify --watch.
func (c *cluster) verifyAgain(t *testing.T, namespace string) {
	t.Helper()
	run := c.startAmbient(t.Context(), t, nil, "verify", "-n", namespace, "--watch")
	c.eventually(t, "the namespace is verified", func(context.Context) error { return run.stdout.contains("is in ambient mode.") })
	release := c.HoldReadiness(func(pod *corev1.Pod) bool { return pod.Namespace == namespace && pod.Labels["app"] == "details" })
	c.kubectlIn(namespace)(t, "scale", "deployment/details-v1", "--replicas=2")
	c.eventually(t, "the change is shown", func(context.Context) error { return run.stdout.contains("fail     restarts-complete") })
	if err := release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := run.command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	run.wait(t).want(t, 0)
}

// without is somebody who may look at everything but, of pods, at a part of theirs.
func (c *cluster) without(t *testing.T, name, part string) string {
	t.Helper()
	roles, err := filepath.Abs(filepath.Join("..", "..", "docs", "rbac.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if output, err := c.Kubectl(t.Context(), "apply", "-f", roles); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	viewer, err := c.kube.RbacV1().ClusterRoles().Get(t.Context(), "kubectl-ambient-viewer", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, rule := range viewer.Rules {
		rule.Resources = slices.DeleteFunc(slices.Clone(rule.Resources), func(resource string) bool { return strings.HasSuffix(resource, "/"+part) })
		if len(rule.Resources) > 0 {
			role.Rules = append(role.Rules, rule)
		}
	}
	if _, err := c.kube.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name}},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
	}
	if _, err := c.kube.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return name
}
