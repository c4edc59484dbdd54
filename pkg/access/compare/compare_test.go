package compare_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

const service = `
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: cart, labels: {istio.io/use-waypoint: waypoint}}
spec: {clusterIP: 10.96.0.1, selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}]}
`

const gateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: shop, name: waypoint}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status: {addresses: [{type: IPAddress, value: 10.96.0.9}]}
`

func policy(name, spec string) string {
	return "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {namespace: shop, name: " + name + "}\nspec: " + spec
}

// cartOnly makes a policy for cart.
func cartOnly(rules string) string {
	return policy("readers", "{selector: {matchLabels: {app: cart}}, rules: ["+rules+"]}")
}

const (
	getsByAnybody = "{to: [{operation: {methods: [GET]}}]}"
	getsByWeb     = "{from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}], to: [{operation: {methods: [GET]}}]}"
)

// stager makes the stages of one comparison.
type stager struct {
	builder access.Builder
	callers []string
}

// stage is the mesh with some workloads in ambient mode, the others with sidecars.
func (s *stager) stage(step string, ambient []string, parts ...any) compare.Stage {
	return compare.Stage{Step: step, State: s.state(access.Overlay{}, ambient, parts...)}
}

func (s *stager) state(overlay access.Overlay, ambient []string, parts ...any) *access.State {
	objects := []any{
		fixture.Without("ConfigMap", fixture.Installation()...),
		fixture.MeshConfig("rootNamespace: istio-system\ndefaultConfig: {proxyMetadata: {ISTIO_META_ENABLE_HBONE: \"true\"}}\n"),
		fixture.Namespace("shop", map[string]string{"istio-injection": "enabled", "istio.io/dataplane-mode": "ambient"}), service, parts,
	}
	for _, name := range append([]string{"cart"}, s.callers...) {
		moved := slices.Contains(ambient, name)
		deployment := fixture.Deployment("shop", name, func(deployment *appsv1.Deployment) {
			if moved {
				fixture.TemplateLabel("sidecar.istio.io/inject", "false")(deployment)
			}
			if name == "cart" {
				deployment.Spec.Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 8080}}
			}
		})
		mode := fixture.Sidecar
		if moved {
			mode = fixture.Ambient
		}
		objects = append(objects, deployment, fixture.PodsOf(deployment, mode))
	}
	return s.builder.Of(fixture.Snapshot(objects...), []string{"shop"}, overlay)
}

// told is a change in a few words.
func told(change v1alpha1.CallChange) string {
	target := fmt.Sprintf("pod:%d", change.Port)
	if change.Service != nil {
		target = fmt.Sprintf("%s:%d", change.Service.Name, change.Port)
	}
	return fmt.Sprintf("%s %s from %s (%s), %s until %s", change.Effect, target, strings.ReplaceAll(change.Caller.Name, "Deployment shop/", ""), change.Caller.Mode, change.From, change.Until)
}

func tell(changes []v1alpha1.CallChange) string {
	lines := make([]string, 0, len(changes))
	for _, change := range changes {
		lines = append(lines, told(change))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func wantTold(t *testing.T, changes []v1alpha1.CallChange, want ...string) {
	t.Helper()
	text := tell(changes)
	for _, line := range want {
		if !slices.Contains(strings.Split(text, "\n"), line) {
			t.Errorf("not told: %s\n%s", line, text)
		}
	}
}

// TestCallersAlike: callers whose calls change in the same way at the same time are
// told as one, by three of their names.
func TestCallersAlike(t *testing.T) {
	t.Parallel()
	stager := stager{callers: []string{"a", "b", "c", "d", "e"}}
	allow := cartOnly(getsByAnybody)
	changes := compare.New([]compare.Stage{stager.stage("", nil, allow), stager.stage("move", []string{"cart"}, allow)}, compare.Options{}).Changes()
	wantTold(t, changes, "newly-denied cart:80 from a, b, c and 3 more (sidecar), move until ")
}

// TestSpans: a change begins and ends with steps; one that comes again is another.
func TestSpans(t *testing.T) {
	t.Parallel()
	stager := stager{callers: []string{"web"}}
	open, shut := cartOnly("{}"), cartOnly(getsByWeb)
	stages := []compare.Stage{
		stager.stage("", nil, open), stager.stage("one", nil, shut), stager.stage("two", nil, shut), stager.stage("three", nil, open), stager.stage("four", nil, shut),
	}
	changes := compare.New(stages, compare.Options{}).Changes()
	wantTold(t, changes, "newly-denied cart:80 from cart, a workload nobody has seen (sidecar), one until three",
		"newly-denied cart:80 from cart, a workload nobody has seen (sidecar), four until ")
}

// TestWhileAStepRuns: stages of one step are one span, which ends with it.
func TestWhileAStepRuns(t *testing.T) {
	t.Parallel()
	stager := stager{callers: []string{"web"}}
	open, shut := cartOnly("{}"), cartOnly(getsByWeb)
	stages := []compare.Stage{stager.stage("", nil, open), stager.stage("one", nil, shut), stager.stage("one", nil, open)}
	wantTold(t, compare.New(stages, compare.Options{}).Changes(), "newly-denied cart:80 from cart, a workload nobody has seen (sidecar), one until one")
}

// TestWaypointIsNoCaller: nobody calls with the identity of a waypoint, although
// policies name it.
func TestWaypointIsNoCaller(t *testing.T) {
	t.Parallel()
	const admitted = "{from: [{source: {principals: [cluster.local/ns/shop/sa/waypoint]}}]}"
	stager := stager{callers: []string{"web"}}
	before, after := stager.stage("", nil, gateway, cartOnly(getsByWeb)), stager.stage("admit", nil, gateway, cartOnly(getsByWeb), policy("from-waypoint", "{selector: {matchLabels: {app: cart}}, rules: ["+admitted+"]}"))
	if changes := compare.New([]compare.Stage{before, after}, compare.Options{}).Changes(); len(changes) > 0 {
		t.Errorf("admitting the waypoint changes calls:\n%s", tell(changes))
	}
	withoutGateway := []compare.Stage{stager.stage("", nil, cartOnly(getsByWeb)), stager.stage("admit", nil, cartOnly(getsByWeb+", "+admitted))}
	wantTold(t, compare.New(withoutGateway, compare.Options{}).Changes(), "newly-allowed cart:80 from a workload nobody has seen (sidecar), admit until ")
}

// TestShownIdentity: ambient callers show who they are to the pod's address, too,
// and are no strangers to policies that ask for that.
func TestShownIdentity(t *testing.T) {
	t.Parallel()
	stager := stager{callers: []string{"web"}}
	allow := cartOnly(getsByWeb)
	stages := []compare.Stage{stager.stage("", nil, allow), stager.stage("move", []string{"web"}, allow)}
	wantTold(t, compare.New(stages, compare.Options{}).Changes(), "newly-proven pod:8080 from web (ambient), move until ")
	stages = []compare.Stage{stager.stage("", nil, cartOnly(getsByWeb)), stager.stage("open", []string{"web"}, cartOnly("{}"))}
	wantTold(t, compare.New(stages, compare.Options{}).Changes(), "newly-allowed pod:8080 from web (ambient), open until ")
}

// TestLimit: what is not compared is said to be.
func TestLimit(t *testing.T) {
	t.Parallel()
	stager := stager{callers: []string{"web"}}
	allow := cartOnly(getsByWeb)
	stages := []compare.Stage{stager.stage("", nil, allow), stager.stage("move", []string{"cart"}, allow)}
	whole := compare.New(stages, compare.Options{})
	if len(whole.Incomplete()) > 0 {
		t.Errorf("all calls are compared, and said not to be: %v", whole.Incomplete())
	}
	whole.Changes()
	limited := compare.New(stages, compare.Options{Limit: 1})
	limited.Changes()
	if incomplete := strings.Join(limited.Incomplete(), "\n"); !strings.Contains(incomplete, "Deployment shop/cart: its policies tell 3 kinds of requests apart, of which 1 were compared") {
		t.Errorf("not said: %s", incomplete)
	}
	if limited.Compared() >= whole.Compared() || limited.Compared() == 0 {
		t.Errorf("%d calls compared, without limit %d", limited.Compared(), whole.Compared())
	}
}

// TestWaits: a server waits for callers that pass by its waypoint and are refused
// once it has moved: those that move, and others that do not.
func TestWaits(t *testing.T) {
	t.Parallel()
	everybody := []string{"cart", "web"}
	front := compare.Options{Others: []compare.Group{{Namespace: "front", Modes: []access.Mode{access.ModeGateway}}, {Namespace: "late", Modes: []access.Mode{access.ModeAmbient}}, {Namespace: "half", Modes: []access.Mode{access.ModeAmbient}}}}
	front.Unseen = map[string]access.Mode{"late": access.ModeAmbient, "empty": access.ModeAmbient, "bare": access.ModeOutside}
	front.Seen = []access.Identity{{TrustDomain: "cluster.local", Namespace: "front", ServiceAccount: "edge"}}
	for name, test := range map[string]struct {
		rules   string
		callers []string
		other   []string
	}{
		"nobody":          {rules: "{from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]}"},
		"one":             {rules: getsByWeb, callers: []string{"web"}},
		"itself":          {rules: "{from: [{source: {principals: [cluster.local/ns/shop/sa/cart]}}], to: [{operation: {methods: [GET]}}]}", callers: []string{"cart"}},
		"a gateway":       {rules: "{from: [{source: {namespaces: [front]}}], to: [{operation: {methods: [GET]}}]}", other: []string{"Namespace front", "a workload nobody has seen"}},
		"its own account": {rules: "{from: [{source: {principals: [cluster.local/ns/front/sa/edge]}}], to: [{operation: {methods: [GET]}}]}", other: []string{"Namespace front"}},
		"half moved":      {rules: "{from: [{source: {namespaces: [half]}}], to: [{operation: {methods: [GET]}}]}", other: []string{"a workload nobody has seen"}},
		"several":         {rules: "{from: [{source: {namespaces: [empty, elsewhere, late]}}], to: [{operation: {methods: [GET]}}]}", other: []string{"a workload nobody has seen"}},
		"nothing":         {rules: "{from: [{source: {namespaces: [empty, bare]}}], to: [{operation: {methods: [GET]}}]}"},
		"no ambient":      {rules: "{from: [{source: {namespaces: [late]}}], to: [{operation: {methods: [GET]}}]}"},
		"anybody":         {rules: getsByAnybody, callers: []string{"cart", "web"}, other: []string{"Namespace front", "a workload nobody has seen"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stager := stager{callers: []string{"web"}}
			allow := cartOnly(test.rules)
			copied := policy("copy", "{targetRefs: [{kind: Service, group: \"\", name: cart}], rules: ["+test.rules+"]}")
			admitted := policy("from-waypoint", "{selector: {matchLabels: {app: cart}}, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/waypoint]}}]}]}")
			stages := []compare.Stage{stager.stage("", nil, allow), stager.stage("move", everybody, gateway, allow, copied, admitted)}
			var waited, others []string
			for _, waits := range compare.New(stages, front).Waits() {
				if waits.Workload.Name != "cart" {
					t.Errorf("%s waits", waits.Workload)
				}
				for _, workload := range waits.For {
					waited = append(waited, workload.Name)
				}
				others = append(others, waits.Others...)
			}
			slices.Sort(waited)
			if !slices.Equal(slices.Compact(waited), test.callers) || !slices.Equal(others, test.other) {
				t.Errorf("waits for %v and %v, want %v and %v", waited, others, test.callers, test.other)
			}
		})
	}
}
