package probe

import (
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/probe/wire"
	corev1 "k8s.io/api/core/v1"
)

// What is expected of a canary's calls is what all policies say that are about it, those
// for the whole mesh included.
func TestWhatIsExpectedOfACanary(t *testing.T) {
	canary := &Canary{Runner: &Runner{ID: "one"}}
	namespace := canary.Namespace()
	const wide = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: wide, namespace: istio-system}
spec: `
	own := strings.ReplaceAll(`
apiVersion: v1
kind: Service
metadata: {name: server, namespace: NAMESPACE}
spec: {clusterIP: 10.96.1.1, selector: {app: canary-server}, ports: [{name: http-8080, port: 8080}, {name: http-8081, port: 8081}, {name: http-8082, port: 8082}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: NAMESPACE}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow, namespace: NAMESPACE}
spec:
  selector: {matchLabels: {app: canary-server}}
  rules:
  - {from: [{source: {principals: ["*/ns/NAMESPACE/sa/admitted", "*/ns/NAMESPACE/sa/refused"]}}], to: [{operation: {ports: ["8080"]}}]}
  - {from: [{source: {principals: ["*/ns/NAMESPACE/sa/admitted"]}}], to: [{operation: {ports: ["8081"]}}]}
  - {to: [{operation: {ports: ["8082"]}}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny, namespace: NAMESPACE}
spec:
  selector: {matchLabels: {app: canary-server}}
  action: DENY
  rules: [{from: [{source: {principals: ["*/ns/NAMESPACE/sa/refused"]}}], to: [{operation: {ports: ["8080"]}}]}]
`, "NAMESPACE", namespace)
	const a, r = wire.Allowed, wire.Refused
	for _, test := range []struct {
		name, wide string
		want       []wire.Expectation
		untried    int
	}{
		{"nothing else", "", []wire.Expectation{a, r, a, r, a, r}, 0},
		{"nothing is let in by default", "{}", []wire.Expectation{a, r, a, r, a, r}, 0},
		{"all of the mesh are let in", `{rules: [{from: [{source: {principals: ["*"]}}]}]}`, []wire.Expectation{a, r, a, a, a, r}, 0},
		{"a port is closed", `{action: DENY, rules: [{to: [{operation: {ports: ["8081"]}}]}]}`, []wire.Expectation{a, r, r, r, a, r}, 0},
		{"some addresses are refused", `{action: DENY, rules: [{from: [{source: {ipBlocks: [10.1.0.0/16]}}], to: [{operation: {ports: ["8081"]}}]}]}`, []wire.Expectation{a, r, r, a, r}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			objects := append(fixture.Installation(), fixture.Namespace(namespace, map[string]string{"istio.io/dataplane-mode": "ambient"}),
				fixture.Pod(namespace, canaryServer, fixture.Ambient, fixture.Labelled("app", canaryApp), func(pod *corev1.Pod) {
					pod.Status.PodIP, pod.Status.PodIPs = "10.0.0.9", []corev1.PodIP{{IP: "10.0.0.9"}}
				}), own)
			if test.wide != "" {
				objects = append(objects, wide+test.wide)
			}
			draft, err := decided(canary.draft(), access.Of(fixture.Snapshot(objects...), []string{namespace}, access.Overlay{}), namespace)
			if err != nil {
				t.Fatal(err)
			}
			var got []wire.Expectation
			for _, attempt := range draft.Attempts {
				got = append(got, attempt.Call.Expect)
			}
			if !slices.Equal(got, test.want) || len(draft.Untried) != test.untried {
				t.Errorf("got %q, want %q; untried: %+v", got, test.want, draft.Untried)
			}
		})
	}
	if _, err := decided(canary.draft(), access.Of(fixture.Snapshot(fixture.Installation()...), []string{namespace}, access.Overlay{}), namespace); err == nil {
		t.Error("a canary that is not there is no error")
	}
}
