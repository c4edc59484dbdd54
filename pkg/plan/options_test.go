package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
)

func TestOptionsValidate(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		options plan.Options
		want    string
	}{
		{name: "none"},
		{name: "checks", options: plan.Options{Accept: []string{checks.IDMixedCallers, checks.IDCallsNewlyAllowed + ":shop/cart", checks.IDCarriedOver + ":shop"}}},
		{name: "no such check", options: plan.Options{Accept: []string{"mixed-caller:shop/cart"}}, want: `no check "mixed-caller"`},
		{name: "no such scope", options: plan.Options{Translation: translate.Options{Scope: "pod"}}, want: `scope "pod"`},
		{name: "no such choice", options: plan.Options{Translation: translate.Options{MixedCallers: "allow"}}, want: `"allow" for mixed callers`},
		{name: "added and skipped", options: plan.Options{Translation: translate.Options{Add: []string{"cart"}, Skip: []string{"cart"}}}, want: `service "cart"`},
		{name: "fewer than no replicas", options: plan.Options{Translation: translate.Options{Replicas: -1}}, want: "-1 replicas"},
		{name: "a namespace in a name", options: plan.Options{Translation: translate.Options{Waypoint: "a/b"}}, want: `"a/b" cannot be the name of a waypoint`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := test.options.Validate()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// TestAccept: what is accepted blocks no more, and nothing else is accepted with it.
func TestAccept(t *testing.T) {
	t.Parallel()
	const both = `
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: NAME}
spec: {clusterIP: 10.96.0.1, selector: {app: NAME}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {namespace: shop, name: NAME}
spec: {selector: {matchLabels: {app: NAME}}, rules: [{to: [{operation: {methods: [GET]}}]}]}`
	objects := shop(labels{"istio-injection": "enabled"})
	for _, name := range []string{"cart", "web"} {
		deployment := fixture.Deployment("shop", name)
		objects = append(objects, fixture.Objects(deployment, fixture.PodsOf(deployment, fixture.Sidecar), strings.ReplaceAll(both, "NAME", name))...)
	}
	snapshot := fixture.Snapshot(objects)
	for _, test := range []struct {
		name    string
		accept  []string
		blocks  []string
		blocked bool
	}{
		{name: "nothing", blocks: []string{"cart", "web"}, blocked: true},
		{name: "the check", accept: []string{checks.IDMixedCallers}},
		{name: "one object", accept: []string{checks.IDMixedCallers + ":shop/cart"}, blocks: []string{"web"}, blocked: true},
		{name: "both objects", accept: []string{checks.IDMixedCallers + ":shop/cart", checks.IDMixedCallers + ":shop/web"}},
		{name: "a name without its namespace", accept: []string{checks.IDMixedCallers + ":cart"}, blocks: []string{"cart", "web"}, blocked: true},
		{name: "another check", accept: []string{checks.IDCarriedOver}, blocks: []string{"cart", "web"}, blocked: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), plan.Options{Accept: test.accept})
			if err != nil {
				t.Fatal(err)
			}
			var blocks []string
			for _, gate := range planned.Gates {
				switch {
				case gate.ID == checks.IDMixedCallers && gate.Blocks():
					blocks = append(blocks, gate.Object.Name)
				case gate.Accepted && gate.Status == v1alpha1.StatusPass:
					t.Errorf("%s passes, and is accepted", gate.ID)
				}
			}
			slices.Sort(blocks)
			if !slices.Equal(blocks, test.blocks) || planned.Blocked != test.blocked || !slices.Equal(planned.Accepted, test.accept) {
				t.Errorf("%v block, blocked %v, accepted %v", blocks, planned.Blocked, planned.Accepted)
			}
		})
	}
}
