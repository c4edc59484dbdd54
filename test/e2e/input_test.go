package e2e

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestBadInput: each ends with one line on stderr that names the object and
// what to do, the exit status of its kind, and no change.
func TestBadInput(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "bad-input"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.apply(t, namespace, "bookinfo")
	c.viewer(t, "viewer")
	before := c.state(t, namespace)
	for _, test := range []struct {
		name      string
		arguments []string
		status    int
		says      []string
	}{
		{"no such namespace, plan", []string{"plan", "-n", "nowhere"}, 1, []string{"namespace nowhere does not exist", "-n"}},
		{"no such namespace, status", []string{"status", "-n", "nowhere"}, 1, []string{"namespace nowhere does not exist"}},
		{"no such namespace, enroll", []string{"enroll", "-n", "nowhere", "--yes"}, 1, []string{"namespace nowhere does not exist"}},
		{"no such namespace, verify", []string{"verify", "-n", "nowhere"}, 1, []string{"namespace nowhere does not exist"}},
		{"no such namespace, rollback", []string{"rollback", "-n", "nowhere", "--yes"}, 1, []string{"namespace nowhere does not exist"}},
		{"no cluster", []string{"status", "--server=https://127.0.0.1:1"}, 1, []string{"cannot be reached at https://127.0.0.1:1", "--context"}},
		{"no such context", []string{"status", "--context=other"}, 1, []string{`"other"`}},
		{"superfluous argument", []string{"enroll", namespace, "--yes"}, 2, []string{`superfluous argument "bad-input"`, "-n"}},
		{"unknown command", []string{"enrol"}, 2, []string{`unknown command "enrol"`}},
		{"unknown flag", []string{"plan", "--all"}, 2, []string{"--all"}},
		{"unknown format", []string{"plan", "-n", namespace, "-o", "xml"}, 2, []string{"xml", "json or yaml"}},
		{"unknown dry run", []string{"enroll", "-n", namespace, "--dry-run=maybe"}, 2, []string{"maybe"}},
		{"nobody to ask", []string{"enroll", "-n", namespace}, 2, []string{"not a terminal", "--yes"}},
		{"nothing recorded", []string{"rollback", "-n", namespace, "--yes"}, 1, []string{"no migration record"}},
		{"kube-system", []string{"enroll", "-n", "kube-system", "--yes"}, 3, []string{"Namespace kube-system", "Kubernetes itself", "protected-namespace"}},
		{"istio-system", []string{"enroll", "-n", "istio-system", "--yes"}, 3, []string{"Namespace istio-system", "istiod"}},
		{"no permission to write", []string{"enroll", "-n", namespace, "--yes", "--as=viewer"}, 3, []string{"you may not", "patch namespaces", "create configmaps", "role"}},
		{"no permission at all", []string{"plan", "-n", namespace, "--as=nobody"}, 1, []string{"namespace bad-input cannot be read", "permission"}},
		{"no time", []string{"enroll", "-n", namespace, "--yes", "--timeout=1ms"}, 124, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			run := c.ambient(t, test.arguments...).want(t, test.status)
			says(t, run.stderr, test.says...)
			text, role, _ := strings.Cut(strings.TrimSpace(run.stderr), "\n\n")
			if role != "" && !strings.HasPrefix(role, "apiVersion: rbac.authorization.k8s.io/v1\n") {
				t.Errorf("more than one line, and no role:\n%s", run.stderr)
			}
			if lines := strings.Count(text, "\n"); lines > 0 {
				t.Errorf("more than one line:\n%s", run.stderr)
			}
			if !strings.HasPrefix(run.stderr, "error: ") {
				t.Errorf("not an error: %q", run.stderr)
			}
		})
	}
	c.wantState(t, namespace, before)
}

// viewer lets a user read everything but Secrets, and change nothing.
func (c *cluster) viewer(t *testing.T, user string) {
	t.Helper()
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"namespaces", "nodes", "pods", "services", "configmaps", "limitranges", "resourcequotas"}, Verbs: []string{"get", "list", "watch"}},
			{
				APIGroups: []string{
					"apps", "batch", "policy", "autoscaling", "apiextensions.k8s.io", "networking.k8s.io", "discovery.k8s.io", "admissionregistration.k8s.io", "gateway.networking.k8s.io",
					"security.istio.io", "networking.istio.io", "extensions.istio.io", "telemetry.istio.io",
				},
				Resources: []string{"*"}, Verbs: []string{"get", "list", "watch"},
			},
		},
	}
	if _, err := c.kube.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
	}
	if _, err := c.kube.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, err := range []error{
			c.kube.RbacV1().ClusterRoleBindings().Delete(context.Background(), user, metav1.DeleteOptions{}),
			c.kube.RbacV1().ClusterRoles().Delete(context.Background(), user, metav1.DeleteOptions{}),
		} {
			if err != nil {
				t.Error(err)
			}
		}
	})
}

// TestRefused: what cannot be carried over is refused, each object by its name; what
// a waypoint takes over is not.
func TestRefused(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "refused"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.apply(t, namespace, "bookinfo")
	c.applyText(t, namespace, refusedObjects)
	before := c.state(t, namespace)
	plan := c.ambient(t, "plan", "-n", namespace).want(t, 3)
	says(t, plan.stdout, "BLOCKED",
		"PeerAuthentication refused/open", "spec.portLevelMtls[9080].mode",
		"VirtualService refused/canary",
		"HTTPRoute refused/reviews",
		"EnvoyFilter refused/filter",
		"waypoints   refused/waypoint (new)",
		"Sidecar refused/registry", "REGISTRY_ONLY",
		"ServiceEntry refused/anything",
		"Pod refused/bare", "nothing controls the pod",
		"Service refused/by-canonical-name", "service.istio.io/canonical-name",
		"Service refused/headless", "accept mTLS only",
		"NetworkPolicy refused/ratings-port", "port 15008",
	)
	says(t, plan.stderr, "more findings")
	// What a waypoint takes over is copied for it.
	says(t, c.ambient(t, "plan", "-n", namespace, "--ignore-failures", "--diff=false").want(t, 3).stdout,
		"refused/only-get-", "refused/audited-", "refused/tokens-", "refused/plugin-", "refused/lua-")
	c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 3)
	c.wantState(t, namespace, before)
}

const refusedObjects = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-get}
spec:
  rules: [{to: [{operation: {methods: [GET]}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: audited}
spec:
  action: AUDIT
  rules: [{to: [{operation: {ports: ["9080"]}}]}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens}
spec:
  jwtRules: [{issuer: "https://issuer.example", jwksUri: "https://issuer.example/keys"}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: open}
spec:
  selector: {matchLabels: {app: details}}
  mtls: {mode: STRICT}
  portLevelMtls: {9080: {mode: DISABLE}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: canary}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews}}], timeout: 2s}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: pool}
spec:
  host: reviews
  trafficPolicy: {connectionPool: {tcp: {maxConnections: 10}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews}
spec:
  parentRefs: [{group: "", kind: Service, name: reviews, port: 9080}]
  rules: [{backendRefs: [{name: reviews, port: 9080}]}]
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: filter}
spec:
  workloadSelector: {labels: {app: reviews}}
  configPatches:
  - applyTo: HTTP_FILTER
    match: {context: SIDECAR_INBOUND, listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.buffer
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 1024}
---
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: plugin}
spec:
  url: oci://registry.example/plugin:1
---
apiVersion: extensions.istio.io/v1alpha1
kind: TrafficExtension
metadata: {name: lua}
spec:
  lua: {inlineCode: "function envoy_on_request(handle) end"}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: logs}
spec:
  accessLogging: [{providers: [{name: envoy}]}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: registry}
spec:
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
  egress: [{hosts: ["./*"]}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: anything}
spec:
  hosts: ["*.anything.example"]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: NONE
---
apiVersion: v1
kind: Pod
metadata: {name: bare, labels: {app: bare}}
spec:
  containers: [{name: bare, image: registry.example/bare:1}]
---
apiVersion: v1
kind: Service
metadata: {name: by-canonical-name}
spec:
  selector: {service.istio.io/canonical-name: reviews}
  ports: [{name: http, port: 9080}]
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec:
  clusterIP: None
  selector: {app: ratings}
  ports: [{name: http, port: 9080}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: ratings-port}
spec:
  podSelector: {matchLabels: {app: ratings}}
  ingress: [{ports: [{port: 9080}]}]
`

// TestInterrupted: Ctrl-C in the middle of a run stops it, says how to go on,
// and the rollback works from there.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "interrupted"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.apply(t, namespace, "bookinfo")
	before := c.state(t, namespace)
	run := c.enrollHeld(t, namespace, "reviews")
	if err := run.command.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	says(t, run.wait(t).want(t, 4).stderr, "interrupted while waiting", "to go on:", "kubectl ambient enroll -n interrupted", "to roll back:")
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
	c.wantSidecars(t, namespace)
}

// TestOtherInstallations goes through a cluster's life: without Istio, with
// Istio but without ambient mode, with ambient mode but sidecars from before,
// with a node that lacks ztunnel. Its kubelets are old, so that sidecars are
// ordinary containers.
func TestOtherInstallations(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	c, err := start(ctx, controlplane.Options{Nodes: controlplane.Nodes(2), KubeletVersion: "v1.31.0"})
	if err != nil {
		t.Fatal(err)
	}
	c.stopAfter(t)
	const namespace = "bookinfo"

	says(t, c.ambient(t, "status").want(t, 1).stderr, "no Istio in the cluster", "app=istiod")
	for _, command := range [][]string{{"plan"}, {"enroll", "--yes"}} {
		says(t, c.ambient(t, append(command, "-n", "default")...).want(t, 3).stderr, "no Istio control plane found", "istio-installed")
	}

	if _, err := c.InstallIstio(ctx, controlplane.IstioOptions{Profile: controlplane.ProfileDefault}); err != nil {
		t.Fatal(err)
	}
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.apply(t, namespace, "bookinfo")
	for _, pod := range c.pods(t, namespace) {
		if len(pod.Spec.Containers) != 2 {
			t.Fatalf("pod %s has no classic sidecar: the test needs one", pod.Name)
		}
	}
	before := c.state(t, namespace)
	says(t, c.ambient(t, "status").want(t, 0).stdout, namespace, "sidecar", "enabled")
	unprepared := c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 3)
	says(t, unprepared.stdout, "PILOT_ENABLE_AMBIENT", "istio-cni is not installed", "ztunnel is not installed", "predate HBONE",
		"istioctl install --set", "components.ztunnel.enabled=true")
	says(t, unprepared.stderr, "Deployment istio-system/istiod")
	c.wantState(t, namespace, before)

	if _, err := c.InstallIstio(ctx, controlplane.IstioOptions{}); err != nil {
		t.Fatal(err)
	}
	says(t, c.ambient(t, "plan", "-n", namespace).want(t, 0).stdout, "refresh-sidecars", "restart deployment/details-v1 for sidecars")
	if output, err := c.Kubectl(ctx, "rollout", "restart", "deployment", "-n", namespace); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	c.settled(t, namespace)
	before = c.state(t, namespace)

	restore, err := c.RemoveZtunnel(ctx, "node-2")
	if err != nil {
		t.Fatal(err)
	}
	missing := c.ambient(t, "plan", "-n", namespace).want(t, 3)
	says(t, missing.stdout, "ztunnel is not ready on 1 node", "node-2")
	if err := restore(ctx); err != nil {
		t.Fatal(err)
	}

	c.eventually(t, "the gates hold", func(context.Context) error {
		if run := c.ambient(t, "plan", "-n", namespace); run.status != 0 {
			return errors.New(run.String())
		}
		return nil
	})
	c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 0)
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
	c.wantNoSidecars(t, namespace)

	restore, err = c.RemoveZtunnel(ctx, "node-2")
	if err != nil {
		t.Fatal(err)
	}
	says(t, c.ambient(t, "verify", "-n", namespace).want(t, 3).stdout, "unknown", "ztunnel on node node-2 could not be asked")
	if err := restore(ctx); err != nil {
		t.Fatal(err)
	}
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
	c.wantSidecars(t, namespace)

	// A second revision without ambient mode keeps every namespace back: its
	// sidecars could not be called. The remedy is about that revision.
	if _, err := c.InstallIstio(ctx, controlplane.IstioOptions{Revision: "canary", Profile: controlplane.ProfileDefault}); err != nil {
		t.Fatal(err)
	}
	revisioned := c.ambient(t, "plan", "-n", namespace).want(t, 3)
	says(t, revisioned.stdout, "Deployment istio-system/istiod-canary", "revision canary does not serve ambient mode", "--revision canary")
}

// TestTwoAtOnce: while one run changes a namespace, no other may; when it was
// killed, the next one finds that out, and the rollback restores everything.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "two-at-once"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.apply(t, namespace, "bookinfo")
	before := c.state(t, namespace)
	run := c.enrollHeld(t, namespace, "ratings")
	for _, verb := range []string{"enroll", "rollback"} {
		says(t, c.ambient(t, verb, "-n", namespace, "--yes").want(t, 3).stderr, "namespace two-at-once is being changed by run")
	}
	if err := run.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	run.wait(t).want(t, -1)
	rolled := c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	says(t, rolled.stderr, "is still alive")
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
	c.wantSidecars(t, namespace)
	says(t, c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0).stdout, "nothing to do")
}

// TestTwoEnrolments: of two that start at once one makes the migration, and the other
// finds that out.
func TestTwoEnrolments(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "two-enrolments"
	before := c.shop(t, namespace)
	enroll := []string{"enroll", "-n", namespace, "--yes"}
	runs := []*underWay{c.startAmbient(t.Context(), t, nil, enroll...), c.startAmbient(t.Context(), t, nil, enroll...)}
	changed := 0
	for _, run := range runs {
		ended := run.wait(t)
		if ended.status != 0 && ended.status != 3 {
			t.Error(ended)
		}
		if strings.Contains(ended.stdout, "is in ambient mode, in") {
			changed++
		}
	}
	if changed != 1 {
		t.Errorf("%d of two have moved the namespace", changed)
	}
	c.wantNoSidecars(t, namespace)
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
	c.wantSidecars(t, namespace)
}
