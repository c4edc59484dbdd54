package probe_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/probe"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/probe/wire"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

const service = `
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: cart}
spec: {clusterIP: 10.96.0.1, selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}]}
`

const tcpService = `
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: cart}
spec: {clusterIP: 10.96.0.1, selector: {app: cart}, ports: [{name: tcp, port: 5432}]}
`

const waypoint = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: shop, name: waypoint}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status: {addresses: [{type: IPAddress, value: 10.96.0.9}]}
`

func through(service string) string {
	return strings.Replace(service, "name: cart}", "name: cart, labels: {istio.io/use-waypoint: waypoint}}", 1)
}

const strict = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {namespace: shop, name: default}
spec: {mtls: {mode: STRICT}}
`

func policy(spec string) string {
	return "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {namespace: shop, name: policy}\nspec: " + spec
}

// draw is what is tried in namespace shop, with a workload cart in ambient mode.
func draw(t *testing.T, accounts []string, parts ...any) (probe.Draft, []string) {
	t.Helper()
	cart := fixture.Deployment("shop", "cart", func(deployment *appsv1.Deployment) {
		deployment.Spec.Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 8080}}
	})
	objects := append(fixture.Objects(fixture.Installation()...), fixture.Objects(fixture.Namespace("shop", map[string]string{"istio.io/dataplane-mode": "ambient"}), cart)...)
	var all []any
	for _, object := range objects {
		all = append(all, object)
	}
	all = append(all, fixture.PodsOf(cart, fixture.Ambient, func(pod *corev1.Pod) { pod.Status.PodIP = "10.0.0.2" })...)
	snapshot := fixture.Snapshot(append(all, parts...)...)
	callers, missing := probe.Callers(snapshot, fixture.Find(snapshot, "shop"), accounts)
	return probe.Draw(access.Of(snapshot, []string{"shop"}, access.Overlay{}), "shop", callers, time.Second), missing
}

func lines(draft probe.Draft) []string {
	var all []string
	for _, attempt := range draft.Attempts {
		all = append(all, fmt.Sprintf("%s %s: %s", attempt.Call.Protocol, attempt, attempt.Call.Expect))
	}
	for _, untried := range draft.Untried {
		all = append(all, "untried: "+untried.Reason)
	}
	return all
}

func TestDraw(t *testing.T) {
	const (
		ambient = " to cart port 80 from a pod in ambient mode as default"
		sidecar = " to cart port 80 from a pod with a sidecar as default"
		outside = " to cart port 80 from a pod outside the mesh"
	)
	for _, test := range []struct {
		name     string
		accounts []string
		parts    []any
		want     []string
	}{
		{"nothing is protected", nil, []any{service}, nil},
		{"STRICT", nil, []any{service, strict}, []string{
			"http GET /" + ambient + ": allowed", "http GET /" + sidecar + ": allowed", "plaintext a request in plaintext" + outside + ": refused",
		}},
		{"a DENY at ztunnel", nil, []any{service, policy("{action: DENY, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/default]}}]}]}")}, []string{
			"http GET /" + ambient + ": refused", "plaintext a request in plaintext" + outside + ": allowed", "http GET /" + sidecar + ": refused",
		}},
		{"an ALLOW at ztunnel, of an account that was not asked for", nil, []any{service, policy("{rules: [{from: [{source: {serviceAccounts: [web]}}]}]}")}, []string{
			"http GET /" + ambient + ": refused", "http GET /" + sidecar + ": refused", "plaintext a request in plaintext" + outside + ": refused",
		}},
		{"an ALLOW at ztunnel, of one that was", []string{"web"}, []any{service, policy("{rules: [{from: [{source: {serviceAccounts: [web]}}]}]}")}, []string{
			"http GET / to cart port 80 from a pod in ambient mode as web: allowed", "http GET / to cart port 80 from a pod with a sidecar as web: allowed",
			"plaintext a request in plaintext" + outside + ": refused",
		}},
		{"methods and paths at a waypoint", nil, []any{through(service), waypoint, policy("{targetRefs: [{kind: Service, group: '', name: cart}], action: DENY, rules: [{to: [{operation: {methods: [GET, POST], paths: [/admin]}}]}]}")}, []string{
			"http GET /" + ambient + ": allowed", "http GET /admin" + ambient + ": refused", "http GET /" + sidecar + ": allowed", "plaintext a request in plaintext" + outside + ": allowed",
			"untried: not every call that policies tell apart was tried: some need another method than GET and HEAD",
		}},
		{"only what changes something is refused", nil, []any{through(service), waypoint, policy("{targetRefs: [{kind: Service, group: '', name: cart}], action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}")}, []string{
			"http GET /" + ambient + ": allowed", "http GET /" + sidecar + ": allowed", "plaintext a request in plaintext" + outside + ": allowed",
			"untried: not every call that policies tell apart was tried: some need another method than GET and HEAD",
		}},
		{"addresses decide", nil, []any{service, policy("{action: DENY, rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}")}, []string{
			"untried: not every call that policies tell apart was tried: some depend on the address that the caller has, on an external authorizer, or on which pod answers",
			"untried: no call to it could be tried",
		}},
		{"TCP", nil, []any{tcpService, strict}, []string{
			"tcp a connection to cart port 5432 from a pod in ambient mode as default: allowed", "tcp a connection to cart port 5432 from a pod with a sidecar as default: allowed",
			"tcp a connection to cart port 5432 from a pod outside the mesh: refused",
		}},
		{"no Service", nil, []any{strict}, []string{"untried: no Service with a port for TCP is in front of it alone or of pods alike"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			accounts := test.accounts
			if accounts == nil {
				accounts = []string{probe.DefaultAccount}
			}
			draft, missing := draw(t, accounts, test.parts...)
			if draft.Protected > 0 == (test.name == "nothing is protected") {
				t.Errorf("%d workloads are protected", draft.Protected)
			}
			got := lines(draft)
			slices.Sort(got)
			slices.Sort(test.want)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(missing) > 0 {
				t.Errorf("callers are missing: %s", missing)
			}
			var calls []wire.Call
			for _, attempt := range draft.Attempts {
				calls = append(calls, attempt.Call)
			}
			if text, err := wire.EncodeCalls(calls); err != nil {
				t.Error(err)
			} else if _, err := wire.DecodeCalls([]byte(text)); err != nil && len(calls) > 0 {
				t.Errorf("the program does not take the calls: %v", err)
			}
		})
	}
}

func TestCallersThatCannotBeHad(t *testing.T) {
	snapshot := fixture.Snapshot(fixture.Namespace("shop", map[string]string{"istio-injection": "disabled"}), fixture.Namespace("kube-system", nil))
	callers, missing := probe.Callers(snapshot, fixture.Find(snapshot, "kube-system"), []string{"default"})
	if len(callers) != 1 || callers[0].Mode != access.ModeOutside || len(missing) != 2 {
		t.Errorf("callers %v, missing %q", callers, missing)
	}
}

// TestJudge goes through what can become of a call.
func TestJudge(t *testing.T) {
	draft, _ := draw(t, []string{"web"}, service, policy("{rules: [{from: [{source: {serviceAccounts: [web]}}]}]}"))
	refused := slices.IndexFunc(draft.Attempts, func(a probe.Attempt) bool { return a.Call.Expect == wire.Refused })
	for _, test := range []struct {
		name              string
		allowed, refused  wire.Outcome
		proven            int
		findings, untried string
	}{
		{"as policies say", wire.Answered, wire.Reset, 3, "", ""},
		{"signed", wire.Timeout, wire.RBAC, 1, "fail did not get through", ""},
		{"let in", wire.Answered, wire.Answered, 2, "fail was let in", ""},
		{"nobody answers at all", wire.Unlistened, wire.Reset, 0, "unknown tells nothing", "unknown cannot be told apart"},
		{"shut out", wire.RBAC, wire.Reset, 0, "fail did not get through", "unknown cannot be told apart"},
		{"nothing told", wire.Answered, wire.Timeout, 2, "unknown tells nothing", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			tried := probe.Tried{Pod: "probe"}
			for i, attempt := range draft.Attempts {
				outcome := test.allowed
				if i == refused {
					outcome = test.refused
				}
				tried.Results = append(tried.Results, wire.Result{ID: attempt.Call.ID, Outcome: outcome})
			}
			verdict := probe.Judge(draft, []probe.Tried{tried})
			if verdict.Proven != test.proven {
				t.Errorf("%d calls are proven, want %d", verdict.Proven, test.proven)
			}
			wantFinding(t, verdict.Findings, test.findings)
			wantFinding(t, verdict.Untried, test.untried)
		})
	}
}

// wantFinding wants all findings to be of a status and to say something, or none.
func wantFinding(t *testing.T, findings []probe.Finding, want string) {
	t.Helper()
	status, says, _ := strings.Cut(want, " ")
	if (len(findings) == 0) != (want == "") {
		t.Errorf("findings %+v, want %q", findings, want)
	}
	for _, finding := range findings {
		if string(finding.Status) != status || !strings.Contains(finding.Message, says) || finding.Object == nil {
			t.Errorf("finding %+v, want %q", finding, want)
		}
	}
}
