package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane"
	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/ztunnel"
)

// TestVerifyReadsAccessLogs has a ztunnel start anew, which then has counted nothing: what
// it had carried before is in the log of its last process.
func TestVerifyReadsAccessLogs(t *testing.T) {
	t.Parallel()
	c, err := start(t.Context(), controlplane.Options{Nodes: controlplane.Nodes(1)})
	if err != nil {
		t.Fatal(err)
	}
	c.stopAfter(t)
	if _, err := c.InstallIstio(t.Context(), controlplane.IstioOptions{}); err != nil {
		t.Fatal(err)
	}
	const namespace = "logged"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.apply(t, namespace, "bookinfo")
	c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 0)
	node := c.podOf(t, namespace, "details").Spec.NodeName
	open := func(namespace string, times int) {
		c.Ztunnel(node).Open(ztunnel.Connection{
			Reporter: "destination", DestinationNamespace: namespace, DestinationWorkload: "details-v1", Security: "mutual_tls",
		}, times)
	}
	restart := func() {
		t.Helper()
		if err := c.RestartZtunnel(t.Context(), node); err != nil {
			t.Fatal(err)
		}
	}

	open("others", 2)
	restart()
	c.wantTraffic(t, namespace, "", v1alpha1.StatusSkip, "none seen")
	open(namespace, 3)
	c.wantTraffic(t, namespace, "", v1alpha1.StatusPass, "ztunnel has carried 3 connections to")
	c.wantLog(t, node)
	restart()
	c.wantTraffic(t, namespace, "", v1alpha1.StatusPass, "seen in ztunnel's access log since ", ": 3 connections to and 0 from")
	viewer := c.without(t, namespace+"-viewer", "none")
	c.wantTraffic(t, namespace, viewer, v1alpha1.StatusUnknown, "was started anew since", "get on pods/log in namespace istio-system is missing")
	if output, err := c.Kubectl(t.Context(), "create", "rolebinding", "log", "-n", "istio-system", "--clusterrole=kubectl-ambient-ztunnel-log", "--user="+viewer); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	c.wantTraffic(t, namespace, viewer, v1alpha1.StatusPass, "seen in ztunnel's access log since ")
	restart()
	c.wantTraffic(t, namespace, "", v1alpha1.StatusUnknown, "was started anew since", "its log begins at")
}

// wantLog wants kubectl to print a ztunnel's access log.
func (c *cluster) wantLog(t *testing.T, node string) {
	t.Helper()
	of := c.Ztunnel(node).Pod()
	output, err := c.Kubectl(t.Context(), "logs", "-n", of.Namespace, of.Name)
	if err != nil || strings.Count(output, "\taccess\tconnection complete\t") != 3 || !strings.Contains(output, ` dst.namespace="logged" `) {
		t.Errorf("the log is %s: %v", output, err)
	}
}

// wantTraffic wants verify to say something of the traffic, to a user if one is named.
func (c *cluster) wantTraffic(t *testing.T, namespace, user string, status v1alpha1.CheckStatus, parts ...string) {
	t.Helper()
	arguments := []string{"verify", "-n", namespace, "-o", "json"}
	if user != "" {
		arguments = append(arguments, "--as="+user)
	}
	c.eventually(t, "verify says what traffic was seen", func(context.Context) error {
		var report v1alpha1.VerifyReport
		run := c.ambient(t, arguments...)
		decode(t, run.stdout, &report)
		at := slices.IndexFunc(report.Results, func(result v1alpha1.CheckResult) bool { return result.ID == "traffic-seen" })
		if at < 0 || report.Results[at].Status != status {
			return fmt.Errorf("want %s: %s", status, run)
		}
		for _, part := range parts {
			if !strings.Contains(report.Results[at].Message, part) {
				return fmt.Errorf("want %q: %s", part, report.Results[at].Message)
			}
		}
		return nil
	})
}
