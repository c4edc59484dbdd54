package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/ztunnel"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What istioctl's summaries of a config dump have in the fields of their lines.
const (
	nameField            = 1
	waypointField        = 3
	workloadWaypoint     = 4
	protocolField        = 5
	certificateType      = 1
	certificateState     = 2
	certificateNotAfter  = 5
	certificateNotBefore = 6
)

// summary are the lines of one of istioctl's tables, without its heading.
func summary(text string) [][]string {
	var lines [][]string
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 0 {
			lines = append(lines, fields)
		}
	}
	return lines[1:]
}

// inNamespace are the lines of a summary about a namespace.
func inNamespace(lines [][]string, namespace string) [][]string {
	return slices.DeleteFunc(slices.Clone(lines), func(fields []string) bool { return fields[0] != namespace })
}

// waypointName is what istioctl calls the waypoint that a view names by hostname, or by
// address.
func waypointName(view mesh.DataPlaneView, destination string) string {
	name := func(hostname string) string {
		_, hostname, _ = strings.Cut(hostname, "/")
		name, _, _ := strings.Cut(hostname, ".")
		return name
	}
	for key, service := range view.Services {
		if key == destination || slices.Contains(service.Addresses, destination) {
			return name(key)
		}
	}
	if destination == "" {
		return "None"
	}
	return destination
}

// workloadsOf are the lines that istioctl would have of the workloads of a view: name,
// waypoint and protocol.
func workloadsOf(view mesh.DataPlaneView) []string {
	var lines []string
	for key, workload := range view.Workloads {
		lines = append(lines, fmt.Sprint(strings.Replace(key, "/", " ", 1), " ", waypointName(view, workload.Waypoint), " ", workload.Protocol))
	}
	slices.Sort(lines)
	return lines
}

func workloadsIn(lines [][]string) []string {
	var found []string
	for _, fields := range lines {
		found = append(found, fmt.Sprint(fields[0], " ", fields[nameField], " ", fields[workloadWaypoint], " ", fields[protocolField]))
	}
	slices.Sort(found)
	return found
}

// servicesOf are the lines of services: name and waypoint.
func servicesOf(view mesh.DataPlaneView) []string {
	var lines []string
	for key, service := range view.Services {
		namespace, hostname, _ := strings.Cut(key, "/")
		name, _, _ := strings.Cut(hostname, ".")
		lines = append(lines, fmt.Sprint(namespace, " ", name, " ", waypointName(view, service.Waypoint)))
	}
	slices.Sort(lines)
	return lines
}

func servicesIn(lines [][]string) []string {
	var found []string
	for _, fields := range lines {
		found = append(found, fmt.Sprint(fields[0], " ", fields[nameField], " ", fields[waypointField]))
	}
	slices.Sort(found)
	return found
}

func policiesIn(lines [][]string) []string {
	var found []string
	for _, fields := range lines {
		found = append(found, fields[0]+"/"+fields[nameField])
	}
	slices.Sort(found)
	return found
}

// certificatesOf are the lines of certificates in force, and of their terms.
func certificatesOf(certificates map[string]mesh.ZtunnelCertificate) []string {
	const asWritten = "2006-01-02T15:04:05Z07:00"
	var lines []string
	for identity, certificate := range certificates {
		if certificate.State == mesh.CertificateAvailable {
			lines = append(lines, fmt.Sprint(identity, " ", certificate.NotAfter.Format(asWritten), " ", certificate.NotBefore.Format(asWritten)))
		}
	}
	slices.Sort(lines)
	return lines
}

func certificatesIn(lines [][]string) []string {
	var found []string
	for _, fields := range lines {
		if fields[certificateType] == "Leaf" && fields[certificateState] == mesh.CertificateAvailable {
			found = append(found, fmt.Sprint(fields[0], " ", fields[certificateNotAfter], " ", fields[certificateNotBefore]))
		}
	}
	slices.Sort(found)
	return found
}

// istioctlTests is where the files are that istioctl's own tests read: in the sources
// that it is built from.
func istioctlTests(t *testing.T) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", "istio.io/istio")
	command.Dir = filepath.Join("..", "controlplane")
	output, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(output, &module); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(module.Dir, "istioctl", "pkg", "writer", "ztunnel", "configdump", "testdata")
}

// TestReadsIstioctlsDump: a config dump of a real ztunnel, as istioctl tests itself
// with, says to us what it says to istioctl.
func TestReadsIstioctlsDump(t *testing.T) {
	t.Parallel()
	directory := istioctlTests(t)
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(directory, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	evidence, err := ztunnel.Parse("istio-system/ztunnel-test", []byte(read("dump.json")))
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Split(strings.TrimSpace(read("allsummary.txt")), "\n\n")
	if len(all) < 4 {
		t.Fatalf("istioctl has only %d summaries", len(all))
	}
	for name, pair := range map[string][2][]string{
		"workloads":    {workloadsIn(summary(all[0])), workloadsOf(evidence.DataPlaneView)},
		"services":     {servicesIn(summary(all[1])), servicesOf(evidence.DataPlaneView)},
		"policies":     {policiesIn(summary(all[2])), slices.Sorted(maps.Keys(evidence.Policies))},
		"certificates": {certificatesIn(summary(all[3])), certificatesOf(evidence.Certificates)},
	} {
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" || len(pair[0]) == 0 {
			t.Errorf("%s (-istioctl +here):\n%s", name, diff)
		}
	}
	if len(evidence.Captured) == 0 {
		t.Error("it captures nothing")
	}
	for uid, state := range evidence.Captured {
		if state != mesh.CaptureUp {
			t.Errorf("pod %s is %q", uid, state)
		}
	}
}

// TestAgreesWithIstioctl: of an enrolled namespace with a waypoint, what istioctl says
// of each ztunnel is what verify goes by.
func TestAgreesWithIstioctl(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "agreed"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, strings.ReplaceAll(protected, "NAMESPACE", namespace))
	c.settled(t, namespace)
	c.ambient(t, "enroll", "-n", namespace, "--yes", "--mixed-callers=deny").want(t, 0)
	reader, err := ztunnel.NewReader(c.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	pods, err := c.kube.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	nodes := map[string]bool{}
	for i := range pods.Items {
		// A node that has only the waypoint's pod proxies none, and has no certificate.
		if pod := &pods.Items[i]; redirected(pod) {
			nodes[pod.Spec.NodeName] = true
		}
	}
	for node := range nodes {
		c.eventually(t, "both say the same of node "+node, func(ctx context.Context) error {
			return c.agree(ctx, reader, namespace, node)
		})
	}
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
}

// agree says where istioctl and a reader differ about a namespace: both ask, one after
// the other, while other tests go on.
func (c *cluster) agree(ctx context.Context, reader *ztunnel.Reader, namespace, node string) error {
	evidence, err := reader.Collect(ctx, []string{node})
	if err != nil {
		return err
	}
	here := evidence.Nodes[node]
	if here.Problem != "" {
		return fmt.Errorf("node %s: %s", node, here.Problem)
	}
	own := mesh.DataPlaneView{Workloads: map[string]mesh.ZtunnelWorkload{}, Services: here.Services}
	for key, workload := range here.Workloads {
		if strings.HasPrefix(key, namespace+"/") {
			own.Workloads[key] = workload
		}
	}
	certificates := map[string]mesh.ZtunnelCertificate{}
	identities := "spiffe://cluster.local/ns/" + namespace + "/"
	for identity, certificate := range here.Certificates {
		if strings.HasPrefix(identity, identities) {
			certificates[identity] = certificate
		}
	}
	services := slices.DeleteFunc(servicesOf(here.DataPlaneView), func(line string) bool { return !strings.HasPrefix(line, namespace+" ") })
	policies := slices.DeleteFunc(slices.Sorted(maps.Keys(here.Policies)), func(key string) bool { return !strings.HasPrefix(key, namespace+"/") })
	for _, asked := range []struct {
		kind string
		here []string
		in   func([][]string) []string
	}{
		{"workloads", workloadsOf(own), workloadsIn},
		{"services", services, servicesIn},
		{"policies", policies, policiesIn},
		{"certificates", certificatesOf(certificates), func(lines [][]string) []string {
			return certificatesIn(slices.DeleteFunc(lines, func(fields []string) bool { return !strings.HasPrefix(fields[0], identities) }))
		}},
	} {
		output, err := c.Istioctl(ctx, "ztunnel-config", asked.kind, "--node", node)
		if err != nil {
			return err
		}
		lines := summary(output)
		if asked.kind != "certificates" {
			lines = inNamespace(lines, namespace)
		}
		there := asked.in(lines)
		if diff := cmp.Diff(there, asked.here); diff != "" || len(there) == 0 {
			return fmt.Errorf("%s of node %s (-istioctl +here):\n%s", asked.kind, node, diff)
		}
	}
	return nil
}
