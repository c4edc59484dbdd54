package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/probe"
	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// probed is an application whose pods meet the restricted profile: everybody in the
// mesh may call web, web alone may call cart.
const probed = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: web}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {serviceAccountName: web, securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}, containers: [{name: web, image: web, ports: [{containerPort: 8080}], securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
spec:
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart}}
    spec: {securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}, containers: [{name: cart, image: cart, ports: [{containerPort: 8080}], securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: cart}
spec: {selector: {matchLabels: {app: cart}}, rules: [{from: [{source: {serviceAccounts: [web]}}]}]}
`

// denyAll is a policy that comes while probe pods go by what was before it.
const denyAll = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: web-deny}
spec: {selector: {matchLabels: {app: web}}, action: DENY, rules: [{from: [{source: {serviceAccounts: [default]}}]}]}
`

const probeImage = "--probe-image=registry.example/probe@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// TestProbe: verify --probe tries calls and removes its pods, whatever becomes of them.
// No container runs here: what the pods report is what an oracle says of istiod's own
// configuration.
func TestProbe(t *testing.T) {
	t.Parallel()
	c, err := start(t.Context(), controlplane.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.stopAfter(t)
	istio, err := c.InstallIstio(t.Context(), controlplane.IstioOptions{Environment: map[string]string{"PILOT_MAX_REQUESTS_PER_SECOND": "10000"}})
	if err != nil {
		t.Fatal(err)
	}
	// Probe pods come and go, in and out of ambient mode.
	c.stopObserving()
	p := play(t, c, istio.GRPC)
	const namespace = "probed"
	c.namespace(t, namespace, map[string]string{"istio.io/dataplane-mode": "ambient", "pod-security.kubernetes.io/enforce": "restricted"})
	c.applyText(t, namespace, probed)
	c.settled(t, namespace)
	c.eventually(t, "the namespace is verified", func(context.Context) error {
		if result := c.ambient(t, "verify", "-n", namespace); result.status != 0 {
			return fmt.Errorf("%s", result)
		}
		return nil
	})
	verify := []string{"verify", "-n", namespace, "--probe", probeImage, "--probe-service-account=default,web", "-o", "json"}
	t.Run("all right", func(t *testing.T) {
		p.behave(t, honest, namespace)
		result := c.ambient(t, verify...).want(t, 0)
		// Five callers, each with a call to web and one to cart: two accounts, in ambient
		// mode and with a sidecar, and somebody outside the mesh.
		wantProbe(t, result, "pass probe -: 10 calls of probe pods became what policies say")
		c.wantNoProbes(t, namespace)
	})
	t.Run("weaker than policies say", func(t *testing.T) {
		p.behave(t, stale, namespace)
		c.applyText(t, namespace, denyAll)
		wantProbe(t, c.ambient(t, verify...).want(t, 3),
			"fail probe Deployment web: GET / to web port 80 from a pod in ambient mode as default was let in (answered with status 200); policies refuse it: a DENY policy matches: AuthorizationPolicy probed/web-deny")
		p.behave(t, honest, namespace)
		wantProbe(t, c.ambient(t, verify...).want(t, 0), "pass probe -: calls of probe pods")
		c.wantNoProbes(t, namespace)
	})
	t.Run("a lying result", func(t *testing.T) {
		p.behave(t, lying, namespace)
		wantProbe(t, c.ambient(t, verify...).want(t, 3), "unknown probe -: neither is believed")
		c.wantNoProbes(t, namespace)
	})
	t.Run("never starts", func(t *testing.T) {
		p.behave(t, unstarted, namespace)
		wantProbe(t, c.ambient(t, verify...).want(t, 3), "unknown probe -: does not start: ImagePullBackOff")
		c.wantNoProbes(t, namespace)
	})
	t.Run("never ends", func(t *testing.T) {
		p.behave(t, silent, namespace)
		wantProbe(t, c.ambient(t, append(verify, "--probe-timeout=3s")...).want(t, 3), "unknown probe -: not over in time")
		c.wantNoProbes(t, namespace)
	})
	t.Run("some come late", func(t *testing.T) {
		p.behaveEach(t, honest, late, waiting, honest, late)
		wantProbe(t, c.ambient(t, verify...).want(t, 0), "pass probe -: 10 calls of probe pods became what policies say")
		c.wantNoProbes(t, namespace)
		p.wantEnded(t, []conduct{honest, honest}, late, late, waiting)
	})
	t.Run("some come too late", func(t *testing.T) {
		p.behaveEach(t, honest, failing, homeless, overdue, honest)
		result := c.ambient(t, append(verify, "--probe-timeout=15s")...).want(t, 3)
		// What the others report counts: no call of theirs is among what was not tried.
		wantUntried(t, result, map[string]string{
			"2": "it ended with status 137 (OOMKilled) without a report",
			"3": "no node takes it: Unschedulable",
			"4": "it was not over in time",
		})
		c.wantNoProbes(t, namespace)
		p.wantEnded(t, []conduct{honest, honest, failing}, overdue)
	})
	t.Run("killed", func(t *testing.T) { c.killProbe(t, p, namespace, append(verify, "--probe-timeout=3s")) })
	t.Run("not permitted", func(t *testing.T) {
		p.behave(t, honest, namespace)
		c.bindRoles(t, namespace)
		wantProbe(t, c.ambient(t, append(verify, "--as=onlooker")...).want(t, 3), "unknown probe -: you may not create pods in namespace probed")
		wantProbe(t, c.ambient(t, append(verify, "--as=prober")...).want(t, 0), "pass probe -: calls of probe pods")
		canary := []string{"verify", "--canary", probeImage, "-o", "json"}
		wantProbe(t, c.ambient(t, append(canary, "--as=prober")...).want(t, 3), "unknown probe -: you may not create namespaces")
		wantProbe(t, c.ambient(t, append(canary, "--as=scout")...).want(t, 0), "pass probe -: 6 calls of probe pods became what policies say")
		c.wantNoCanaries(t)
	})
	t.Run("a canary that a policy for the whole mesh is about", func(t *testing.T) {
		p.behave(t, honest, namespace)
		c.applyText(t, "istio-system", canaryBarred)
		barred := c.ambient(t, "verify", "--canary", probeImage, "-o", "json").want(t, 0)
		wantProbe(t, barred, "pass probe -: 4 calls of probe pods became what policies say")
		wantProbe(t, barred, "unknown probe-coverage Pod server: port 8081 from a pod in ambient mode as admitted was refused or reset, which cannot be told apart")
		c.wantNoCanaries(t)
		if output, err := c.Kubectl(t.Context(), "delete", "-n", "istio-system", "authorizationpolicy", "canary-barred"); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
	})
	t.Run("a canary whose pods never start", func(t *testing.T) {
		p.behave(t, unstarted, namespace)
		wantProbe(t, c.ambient(t, "verify", "--canary", probeImage, "-o", "json").want(t, 3), "unknown probe -: does not start: ImagePullBackOff")
		c.wantNoCanaries(t)
	})
}

// killProbe kills a run while its pods run: the next one removes them.
func (c *cluster) killProbe(t *testing.T, p *prober, namespace string, verify []string) {
	p.behave(t, silent, namespace)
	run := c.startAmbient(t.Context(), t, nil, append(slices.Clone(verify), "--probe-timeout=15s")...)
	var left []string
	c.eventually(t, "a probe pod runs", func(context.Context) error {
		if left = c.probes(t, namespace); len(left) == 0 {
			return fmt.Errorf("there is none")
		}
		return nil
	})
	if err := run.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	run.wait(t)
	if left = c.probes(t, namespace); len(left) == 0 {
		t.Fatal("the run that was killed has left no pod")
	}
	p.behave(t, honest, namespace)
	if early := c.ambient(t, verify...); strings.Contains(early.stderr, "removed what an earlier probe has left") {
		t.Errorf("a run removes pods that another may still wait for:\n%s", early)
	}
	// Fifteen seconds are theirs, two minutes the slack between clocks.
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Second, 3*patience, true, func(context.Context) (bool, error) {
		return strings.Contains(c.ambient(t, verify...).stderr, "removed what an earlier probe has left"), nil
	})
	if err != nil {
		t.Fatalf("no run removes what the killed one has left: %v", err)
	}
	c.wantNoProbes(t, namespace)
}

// bindRoles binds the roles of docs/rbac.yaml.
func (c *cluster) bindRoles(t *testing.T, namespace string) {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "docs", "rbac.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if output, err := c.Kubectl(t.Context(), "apply", "-f", path); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for user, role := range map[string]string{"onlooker": "viewer", "prober": "viewer", "scout": "canary"} {
		binding := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: user}, Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kubectl-ambient-" + role},
		}
		if _, err := c.kube.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "prober"}, Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "prober"}},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kubectl-ambient-prober"},
	}
	if _, err := c.kube.RbacV1().RoleBindings(namespace).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// wantProbe wants a finding of the checks about probes, "status check object: part of its
// message", and that none of the same check says otherwise: has another status, or was
// not made. What passes may have something to know beside it.
func wantProbe(t *testing.T, result result, want string) {
	t.Helper()
	var report v1alpha1.VerifyReport
	decode(t, result.stdout, &report)
	head, part, _ := strings.Cut(want, ": ")
	var got []string
	said := false
	status, rest, _ := strings.Cut(head, " ")
	id, _, _ := strings.Cut(rest, " ")
	for _, found := range report.Results {
		if !strings.HasPrefix(found.ID, "probe") {
			if found.Blocks() {
				t.Errorf("verify finds %s %s %s", found.Status, found.ID, found.Message)
			}
			continue
		}
		object := "-"
		if found.Object != nil {
			object = found.Object.Kind + " " + found.Object.Name
		}
		text := fmt.Sprintf("%s %s %s", found.Status, found.ID, object)
		got = append(got, text+": "+found.Message)
		said = said || text == head && strings.Contains(found.Message, part)
		known := found.Status == v1alpha1.StatusWarn && status == string(v1alpha1.StatusPass)
		if found.ID == id && string(found.Status) != status && !known {
			t.Errorf("next to %q: %s: %s", want, text, found.Message)
		}
	}
	if !said {
		t.Errorf("want %q in:\n%s\nstderr:\n%s", want, strings.Join(got, "\n"), result.stderr)
	}
}

// wantUntried wants that some pods of a run have tried none of their two calls, by their
// numbers, and nothing else of probes.
func wantUntried(t *testing.T, result result, want map[string]string) {
	t.Helper()
	var report v1alpha1.VerifyReport
	decode(t, result.stdout, &report)
	said := map[string]bool{}
	for _, found := range report.Results {
		if found.ID != "probe" {
			continue
		}
		pod, why, _ := strings.Cut(strings.TrimPrefix(found.Message, "2 calls were not tried: pod "), ": ")
		number := pod[strings.LastIndex(pod, "-")+1:]
		if found.Status != v1alpha1.StatusUnknown || want[number] == "" || !strings.HasPrefix(why, want[number]) || found.Remedy == "" {
			t.Errorf("the probe finds: %s: %s; %s", found.Status, found.Message, found.Remedy)
		}
		said[number] = true
	}
	if len(said) != len(want) {
		t.Errorf("the probe says nothing of some of the pods %v:\n%s", want, result.stdout)
	}
}

func (c *cluster) probes(t *testing.T, namespace string) []string {
	t.Helper()
	pods, err := c.kube.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: probe.Label})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, pod := range pods.Items {
		names = append(names, pod.Name)
	}
	return names
}

func (c *cluster) wantNoProbes(t *testing.T, namespace string) {
	t.Helper()
	c.eventually(t, "no probe pod is left", func(context.Context) error {
		if left := c.probes(t, namespace); len(left) > 0 {
			return fmt.Errorf("there are %q", left)
		}
		return nil
	})
}

func (c *cluster) wantNoCanaries(t *testing.T) {
	t.Helper()
	c.eventually(t, "no canary is left", func(ctx context.Context) error {
		namespaces, err := c.kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: probe.Label})
		if err != nil || len(namespaces.Items) > 0 {
			return fmt.Errorf("there are %d: %w", len(namespaces.Items), err)
		}
		return nil
	})
}

// canaryBarred refuses what the policies of a canary let in.
const canaryBarred = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: canary-barred}
spec:
  selector: {matchLabels: {app: canary-server}}
  action: DENY
  rules: [{to: [{operation: {ports: ["8081"]}}]}]
`
