package checks_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// enrolledAt is when the namespace was enrolled, between the creation of the objects of
// a fixture and what the evidence says.
var enrolledAt = fixture.Created.Add(time.Minute)

var cartWorkload = v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "cart"}

// was is a namespace that ran one pod behind one Service before, and what differs.
func was(edits ...func(*checks.Past)) *checks.Past {
	past := &checks.Past{
		Baseline: v1alpha1.Baseline{
			Version: v1alpha1.BaselineVersion, Taken: enrolledAt,
			Workloads: []v1alpha1.WorkloadBaseline{{Object: cartWorkload, Replicas: 1, Pods: 1, Ready: 1}},
			Services:  []v1alpha1.ServiceBaseline{{Name: "cart", Ready: 1}},
			Ztunnels:  map[string]v1alpha1.ZtunnelBaseline{fixture.Node: {Instance: "z/0", Connections: map[string]v1alpha1.Connections{"cart": {Inbound: 5}}}},
		},
		Snapshot: fixture.Snapshot(shop()...),
	}
	for _, edit := range edits {
		edit(past)
	}
	return past
}

func strict(all bool, open, ports []uint32) func(*checks.Past) {
	return func(past *checks.Past) {
		by := v1alpha1.ObjectReference{APIVersion: "security.istio.io/v1", Kind: "PeerAuthentication", Namespace: "shop", Name: "default"}
		past.Baseline.Strict = []v1alpha1.StrictBaseline{{Workload: cartWorkload, All: all, Open: open, Ports: ports, By: &by}}
	}
}

// carried is evidence of what a ztunnel has counted.
func carried(instance string, traffic map[string]mesh.Traffic) *mesh.Evidence {
	evidence := evidence()
	node := evidence.Nodes[fixture.Node]
	node.Instance, node.Traffic = instance, traffic
	evidence.Nodes[fixture.Node] = node
	return evidence
}

// elsewhere adds what the ztunnel of a node says that runs no pod of the namespace.
func elsewhere(evidence *mesh.Evidence, node mesh.NodeEvidence) *mesh.Evidence {
	node.Ztunnel, node.XDSAddress = "istio-system/ztunnel-y", istiodAddress
	evidence.Nodes["elsewhere"] = node
	return evidence
}

// silent is evidence of a ztunnel that does not say what it has counted.
func silent() *mesh.Evidence {
	evidence := evidence()
	node := evidence.Nodes[fixture.Node]
	node.TrafficProblem = "timed out"
	evidence.Nodes[fixture.Node] = node
	return evidence
}

// logged adds what the ztunnel's access log has of the namespace.
func logged(evidence *mesh.Evidence, log mesh.AccessLog) *mesh.Evidence {
	node := evidence.Nodes[fixture.Node]
	node.AccessLogs = map[string]mesh.AccessLog{"shop": log}
	evidence.Nodes[fixture.Node] = node
	return evidence
}

func change(effect v1alpha1.CallEffect) v1alpha1.CallChange {
	return v1alpha1.CallChange{
		Effect: effect, Server: cartWorkload, Port: 80, Caller: v1alpha1.CallCaller{Name: "Deployment shop/web", Mode: "ambient"},
		Before: v1alpha1.CallVerdict{Outcome: "denied"}, After: v1alpha1.CallVerdict{Outcome: "allowed"}, Alike: 2,
	}
}

const peerAuthentication = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: shop}\nspec: {mtls: {mode: %s}}"

func strictCases() []testCase {
	const cart = "Deployment shop/cart"
	peers := func(mode string) string { return fmt.Sprintf(peerAuthentication, mode) }
	const perPort = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: cart, namespace: shop}\n" +
		"spec: {selector: {matchLabels: {app: cart}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: PERMISSIVE}}}"
	// Together these are STRICT to sidecars, but for a port, and not to ztunnel: istiod takes
	// the empty selector for one there.
	const ports = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: cart, namespace: shop}\n" +
		"spec: {selector: {matchLabels: {app: cart}}, portLevelMtls: {8080: {mode: PERMISSIVE}}}"
	const empty = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: shop}\nspec: {selector: {}, mtls: {mode: STRICT}}"
	injected := fixture.Namespace("shop", labels{"istio-injection": "enabled"})
	told := fixture.Deployment("shop", "cart", fixture.TemplateLabel("sidecar.istio.io/inject", "false"), fixture.TemplateLabel("istio.io/dataplane-mode", "none"))
	left := func(more ...any) []any {
		return append(append(fixtureWithout("Deployment", "Pod", "ReplicaSet"), told, peers("STRICT")), more...)
	}
	twice := func(past *checks.Past) {
		web := past.Baseline.Strict[0]
		web.Workload.Name = "web"
		past.Baseline.Strict = append(past.Baseline.Strict, web)
	}
	forgetful := func() *mesh.Evidence {
		evidence := evidence()
		node := evidence.Nodes[fixture.Node]
		node.Captured = nil
		evidence.Nodes[fixture.Node] = node
		return evidence
	}
	// own selects the pods of cart by a label that what replaces them may have, byName by one
	// that it has not.
	const own = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: own, namespace: shop}\nspec: {selector: {matchLabels: {app: cart}}, mtls: {mode: STRICT}}"
	byName := strings.Replace(own, "app: cart", "version: v1", 1)
	formerly := func(more ...any) []any {
		cart := fixture.Deployment("shop", "cart", fixture.TemplateLabel("version", "v1"))
		return append(append(fixture.Installation(), injected, cart, fixture.PodsOf(cart, fixture.Sidecar)), more...)
	}
	alone := func(more ...any) func(*checks.Past) {
		return func(past *checks.Past) { past.Snapshot = fixture.Snapshot(formerly(more...)...) }
	}
	// next is the mesh with another workload in place of cart.
	next := func(app string, more ...any) []any {
		deployment := fixture.Deployment("shop", "cart-v2", fixture.TemplateLabel("sidecar.istio.io/inject", "false"), fixture.TemplateLabel("app", app))
		return append(append(fixtureWithout("Deployment", "Pod", "ReplicaSet"), deployment, fixture.PodsOf(deployment, fixture.Ambient)), more...)
	}
	replacedBy := func(by string) []finding {
		return []finding{{fail, "Deployment shop/cart-v2", "", "it accepts callers without mTLS on all ports; Deployment shop/cart, which is gone, refused them before the enrolment " + by}}
	}
	strictBy := func(name string) func(*checks.Past) {
		return func(past *checks.Past) {
			strict(true, nil, nil)(past)
			past.Baseline.Strict[0].By.Name = name
		}
	}
	// runningAs is the mesh with another workload in place of cart, which runs as an account,
	// and accounted the mesh as it was, with cart running as one.
	runsAs := func(account string) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) { d.Spec.Template.Spec.ServiceAccountName = account }
	}
	runningAs := func(account string, more ...any) []any {
		deployment := fixture.Deployment("shop", "basket", fixture.TemplateLabel("sidecar.istio.io/inject", "false"), runsAs(account))
		return append(append(fixtureWithout("Deployment", "Pod", "ReplicaSet"), deployment, fixture.PodsOf(deployment, fixture.Ambient)), more...)
	}
	accounted := func(account string, more ...any) func(*checks.Past) {
		return func(past *checks.Past) {
			cart := fixture.Deployment("shop", "cart", runsAs(account))
			past.Snapshot = fixture.Snapshot(append(append(fixture.Installation(), injected, cart, fixture.PodsOf(cart, fixture.Sidecar), own), more...)...)
		}
	}
	bareAs := func(name, account string) any {
		return fixture.Pod("shop", name, fixture.Ambient, func(pod *corev1.Pod) { pod.Spec.ServiceAccountName = account })
	}
	permissive := fixture.Deployment("shop", "other", runsAs("till"))
	ofBasket := strings.NewReplacer("name: own", "name: basket", "app: cart", "app: basket").Replace(own)
	const unsure = "shop/own; whether it stands in for that is not known: it runs as service account till, as only workloads did that refused them"
	once := v1alpha1.ObjectReference{APIVersion: "batch/v1", Kind: "Job", Namespace: "shop", Name: "once"}
	return []testCase{
		{name: "never was", check: "strict-kept", past: was(), objects: enrolled()},
		{name: "is", check: "strict-kept", past: was(strict(true, nil, nil)), objects: enrolled(peers("STRICT"))},
		{name: "gone", check: "strict-kept", past: was(strict(true, nil, nil), before(peers("STRICT"))), objects: enrolled(), want: []finding{{fail, cart, "", "on all ports, and refused them before it was enrolled by PeerAuthentication shop/default, which is gone"}}},
		{name: "permissive", check: "strict-kept", past: was(strict(true, nil, nil), before(peers("STRICT"))), objects: enrolled(peers("PERMISSIVE")), want: []finding{{fail, cart, "", "by PeerAuthentication shop/default"}}},
		{name: "a port opened", check: "strict-kept", past: was(strict(true, nil, nil), before(peers("STRICT"))), objects: enrolled(peers("STRICT"), perPort), want: []finding{{fail, cart, "", "on port 8080"}}},
		{name: "a port was open", check: "strict-kept", past: was(strict(true, []uint32{8080}, nil)), objects: enrolled(peers("STRICT"), perPort)},
		{name: "on a port", check: "strict-kept", past: was(strict(false, nil, []uint32{8080}), before(peers("STRICT"))), objects: enrolled(perPort), want: []finding{{fail, cart, "", "on port 8080"}}},
		{name: "never meant for ztunnel", check: "strict-kept", past: was(strict(true, nil, nil)), objects: enrolled(), want: []finding{{warn, cart, "", "which the plan has named"}}},
		{name: "without pods, is", check: "strict-kept", past: was(strict(true, nil, nil)), objects: append(fixtureWithout("Pod"), peers("STRICT"))},
		{name: "without pods, gone", check: "strict-kept", past: was(strict(true, nil, nil), before(peers("STRICT"))), objects: fixtureWithout("Pod"), want: []finding{{fail, cart, "", "on all ports, and refused them before it was enrolled by PeerAuthentication shop/default, which is gone"}}},
		{name: "without pods, a port opened by the labels of its template", check: "strict-kept", past: was(strict(true, nil, nil), before(peers("STRICT"))), objects: append(fixtureWithout("Pod"), peers("STRICT"), perPort), want: []finding{{fail, cart, "", "on port 8080"}}},
		{name: "without pods, and they would have sidecars", check: "strict-kept", past: was(strict(true, []uint32{8080}, nil), before(peers("STRICT"))), objects: append(fixture.Installation(), injected, fixture.Deployment("shop", "cart"), empty, ports)},
		{name: "without pods, and they would have none", check: "strict-kept", past: was(strict(true, []uint32{8080}, nil), before(peers("STRICT"))), objects: append(fixtureWithout("Pod"), empty, ports), want: []finding{{fail, cart, "", "on all ports"}}},
		{name: "outside the mesh, which outside-mesh names", check: "strict-kept", past: was(strict(true, nil, nil), before(peers("STRICT"))), objects: left(fixture.PodsOf(told)), want: []finding{{skip, "", "", "while outside-mesh does not hold"}}},
		{name: "one of two pods is outside the mesh", check: "strict-kept", past: was(strict(true, nil, nil), before(peers("STRICT")), twice), objects: left(fixture.PodsOf(told), fixture.Deployment("shop", "web"), fixture.PodsOf(fixture.Deployment("shop", "web"), fixture.Ambient)), want: []finding{{skip, "", "", "for Deployment shop/cart while outside-mesh does not hold there"}}},
		{name: "outside the mesh, and its template was before", check: "strict-kept", past: was(strict(true, nil, nil), func(p *checks.Past) {
			p.Snapshot = fixture.Snapshot(append(fixture.Installation(), injected, told, fixture.PodsOf(told, fixture.Sidecar))...)
		}), objects: left(fixture.PodsOf(told)), want: []finding{{warn, cart, "", "its template refused ambient mode already"}}},
		{name: "outside the mesh without pods, which outside-mesh names", check: "strict-kept", past: was(strict(true, nil, nil), before(peers("STRICT"))), objects: left(), want: []finding{{skip, "", "", "while outside-mesh does not hold"}}},
		{name: "outside the mesh without pods, as its template was before", check: "strict-kept", past: was(strict(true, nil, nil), before(peers("STRICT")), func(p *checks.Past) {
			p.Snapshot = fixture.Snapshot(append(fixture.Installation(), injected, told)...)
		}), objects: left(), want: []finding{{warn, cart, "", "its template refused ambient mode already"}}},
		{name: "not redirected", check: "strict-kept", past: was(strict(true, nil, nil), before(peers("STRICT"))), objects: append(fixtureWithout("Pod", "ReplicaSet"), peers("STRICT"), fixture.PodsOf(fixture.Deployment("shop", "cart"))), want: []finding{{skip, "", "", "while redirected does not hold"}}},
		{name: "not proxied", check: "strict-kept", past: was(strict(true, nil, nil), before(peers("STRICT"))), objects: enrolled(peers("STRICT")), evidence: forgetful(), want: []finding{{skip, "", "", "while ztunnel-captured does not hold"}}},
		{name: "proxied", check: "strict-kept", past: was(strict(true, nil, nil), before(peers("STRICT"))), objects: enrolled(peers("STRICT")), evidence: evidence()},
		{name: "a Job that has run", check: "strict-kept", past: was(strict(true, nil, nil), before(peers("STRICT")), func(p *checks.Past) { p.Baseline.Strict[0].Workload = once }), objects: append(enrolled(), fixture.Job("shop", "once"))},
		{name: "a workload that is gone", check: "strict-kept", past: was(strict(true, nil, nil)), objects: fixtureWithout("Deployment", "Pod", "ReplicaSet")},
		{name: "replaced under another name, is", check: "strict-kept", past: was(strict(true, nil, nil), before(peers("STRICT"))), objects: next("cart", peers("STRICT"))},
		{name: "replaced under another name, gone", check: "strict-kept", past: was(strict(true, nil, nil), before(peers("STRICT"))), objects: next("cart"), want: replacedBy("by PeerAuthentication shop/default, which is gone")},
		{name: "replaced under another name, without Service, gone", check: "strict-kept", past: was(strict(true, nil, nil), alone(peers("STRICT"))), objects: next("basket"), want: replacedBy("by PeerAuthentication shop/default, which is gone")},
		{name: "replaced under another name, without Service, its selector's policy gone", check: "strict-kept", past: was(strictBy("own"), alone(own)), objects: next("cart"), want: replacedBy("by PeerAuthentication shop/own, which is gone")},
		{name: "replaced under another name, behind its Service, its selector's policy gone", check: "strict-kept", past: was(strictBy("own"), alone(service, byName)), objects: next("cart"), want: replacedBy("by PeerAuthentication shop/own, which is gone")},
		{name: "replaced under another name, behind its Service, its policy selects it no more", check: "strict-kept", past: was(strictBy("own"), alone(service, byName)), objects: next("cart", byName), want: replacedBy("by PeerAuthentication shop/own")},
		{name: "replaced, and the new one is opened by a policy of its own", check: "strict-kept", past: was(strict(true, nil, nil), alone(peers("STRICT"))), objects: next("cart", peers("STRICT"), perPort), want: []finding{{warn, "Deployment shop/cart-v2", "", "on port 8080"}}},
		{name: "gone, and what comes beside was never covered", check: "strict-kept", past: was(strictBy("own"), alone(own)), objects: next("basket")},
		{name: "gone, and what comes beside runs as its account", check: "strict-kept", past: was(strictBy("own"), accounted("till")), objects: runningAs("till", own), want: []finding{{warn, "Deployment shop/basket", "", unsure}}},
		{name: "gone, and a pod that comes beside runs as its account", check: "strict-kept", past: was(strictBy("own"), accounted("till")), objects: append(fixtureWithout("Deployment", "Pod", "ReplicaSet"), bareAs("basket", "till"), own), want: []finding{{warn, "Pod shop/basket", "", unsure}}},
		{name: "gone, and what comes beside runs as its account and is STRICT", check: "strict-kept", past: was(strictBy("own"), accounted("till")), objects: runningAs("till", ofBasket)},
		{name: "gone, and what comes beside runs as another account", check: "strict-kept", past: was(strictBy("own"), accounted("till")), objects: runningAs("purse", own)},
		{name: "gone, and what comes beside runs as the account of all who name none", check: "strict-kept", past: was(strictBy("own"), accounted("default")), objects: runningAs("default", own)},
		{name: "gone, and what comes beside runs as an account of others", check: "strict-kept", past: was(strictBy("own"), accounted("till", permissive)), objects: runningAs("till", own)},
		{name: "gone, and what comes beside runs as an account of another pod", check: "strict-kept", past: was(strictBy("own"), accounted("till", bareAs("other", "till"))), objects: runningAs("till", own)},
		{name: "there, and what comes beside runs as its account", check: "strict-kept", past: was(strictBy("own"), accounted("till")), objects: append(runningAs("till", own), fixture.Deployment("shop", "cart", runsAs("till")))},
		{name: "no baseline", check: "strict-kept", noPast: "the record is older", objects: enrolled(), want: []finding{{skip, "", "", "cannot be compared: the record is older"}}},
		{name: "no records", check: "strict-kept", noPast: "-", objects: enrolled(), want: []finding{{skip, "", "", "were not read"}}},
	}
}

// before is the mesh as it was with something more.
func before(more ...any) func(*checks.Past) {
	return func(past *checks.Past) { past.Snapshot = fixture.Snapshot(shop(more...)...) }
}

// fixtureWithout is the mesh of enrolled without some kinds in its namespace.
func fixtureWithout(kinds ...string) []any {
	objects := fixture.Objects(enrolled()...)
	var kept []any
	for _, object := range objects {
		gone := false
		for _, kind := range kinds {
			gone = gone || object.GetKind() == kind && object.GetNamespace() == "shop"
		}
		if !gone {
			kept = append(kept, object)
		}
	}
	return kept
}

func callsKeptCases() []testCase {
	const cart = "Deployment shop/cart"
	edited := []v1alpha1.ObjectReference{{APIVersion: "security.istio.io/v1", Kind: "AuthorizationPolicy", Namespace: "shop", Name: "late"}}
	with := func(edit func(*checks.Past)) *checks.Past { return was(edit) }
	return []testCase{
		{name: "as before", check: "calls-kept", past: was(), objects: enrolled()},
		{name: "as announced", check: "calls-kept", past: with(func(p *checks.Past) { p.Foretold = 3 }), objects: enrolled(), want: []finding{{pass, "", "", "but for 3 kinds that its plan announced"}}},
		{name: "let in", check: "calls-kept", past: with(func(p *checks.Past) {
			p.Changes = []v1alpha1.CallChange{change(v1alpha1.CallNewlyAllowed), change(v1alpha1.CallNewlyAllowed)}
		}), objects: enrolled(), want: []finding{{fail, cart, "", "4 kinds of calls are let in that were refused before"}}},
		{name: "refused", check: "calls-kept", past: with(func(p *checks.Past) { p.Changes = []v1alpha1.CallChange{change(v1alpha1.CallNewlyDenied)} }), objects: enrolled(), want: []finding{{warn, cart, "", "2 kinds of calls are refused that were let in before"}}},
		{name: "by an edit", check: "calls-kept", past: with(func(p *checks.Past) {
			p.Following, p.Edited = []v1alpha1.CallChange{change(v1alpha1.CallNewlyAllowed)}, edited
		}), objects: enrolled(), want: []finding{{warn, cart, "", "somebody has edited since: AuthorizationPolicy shop/late, so that the namespace is weaker than before"}}},
		{name: "refused by an edit", check: "calls-kept", past: with(func(p *checks.Past) {
			p.Following, p.Edited = []v1alpha1.CallChange{change(v1alpha1.CallNewlyDenied)}, edited
		}), objects: enrolled(), want: []finding{{warn, cart, "", "somebody has edited since: AuthorizationPolicy shop/late"}}},
		{name: "not all", check: "calls-kept", past: with(func(p *checks.Past) { p.Incomplete = []string{"too many"} }), objects: enrolled(), want: []finding{{unknown, "", "", "not every kind of call was compared: too many"}}},
	}
}

func routesKeptCases() []testCase {
	const route = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: cart, namespace: shop}\n" +
		"spec: {hosts: [cart], http: [{timeout: 3s, route: [{destination: {host: cart}}]}]}"
	const object, field = "VirtualService shop/cart", "spec.hosts[0]"
	way := gateway("shop", "way", "istio-waypoint", "")
	const fronted = "apiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: shop, labels: {istio.io/use-waypoint: way}}\nspec: {selector: {app: cart}, ports: [{port: 80}]}"
	reference := v1alpha1.ObjectReference{APIVersion: "networking.istio.io/v1", Kind: "VirtualService", Namespace: "shop", Name: "cart"}
	return []testCase{
		{name: "none", check: "routes-kept", past: was(), objects: enrolled(service)},
		{name: "at a waypoint", check: "routes-kept", past: was(before(route)), objects: enrolled(route, way, fronted)},
		{name: "at a waypoint that calls to a headless Service pass by", check: "routes-kept", past: was(before(route)), objects: enrolled(route, way, strings.Replace(fronted, "spec: {", "spec: {clusterIP: None, ", 1)), want: []finding{{fail, object, field, "the Service has no waypoint"}}},
		{name: "at none", check: "routes-kept", past: was(before(route)), objects: enrolled(route, service), want: []finding{{fail, object, field, "the Service has no waypoint"}}},
		{name: "gone", check: "routes-kept", past: was(before(route)), objects: enrolled(way, fronted), want: []finding{{warn, object, field, "is gone or names other Services"}}},
		{name: "deleted by a run", check: "routes-kept", past: was(before(route), func(p *checks.Past) { p.Deleted = []v1alpha1.ObjectReference{reference} }), objects: enrolled(way, fronted)},
		{name: "announced", check: "routes-kept", past: was(before(route), func(p *checks.Past) { p.Lost = []v1alpha1.ObjectReference{reference} }), objects: enrolled(route, service)},
		{name: "taken off", check: "routes-kept", past: was(before(route)), objects: enrolled(route, service), handed: &checks.Handed{TakenOff: []string{"cart"}}},
		{name: "a Service that is gone", check: "routes-kept", past: was(before(route)), objects: enrolled(route)},
	}
}

func workloadsKeptCases() []testCase {
	const cart = "Deployment shop/cart"
	of := func(replicas int32, edits ...func(*corev1.Pod)) []any {
		deployment := fixture.Deployment("shop", "cart", fixture.TemplateLabel("sidecar.istio.io/inject", "false"), fixture.Replicas(replicas), func(d *appsv1.Deployment) {
			d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.AvailableReplicas, d.Status.ReadyReplicas = replicas, replicas, replicas, replicas
		})
		return append(fixtureWithout("Deployment", "Pod", "ReplicaSet"), deployment, fixture.PodsOf(deployment, append([]func(*corev1.Pod){fixture.Ambient}, edits...)...), service)
	}
	ran := func(replicas int32, ready int) *checks.Past {
		return was(func(p *checks.Past) {
			p.Baseline.Workloads[0].Replicas, p.Baseline.Workloads[0].Ready = replicas, ready
		})
	}
	stuck := func(mode string) []any {
		deployment := fixture.Deployment("shop", "cart", fixture.TemplateLabel("istio.io/dataplane-mode", mode))
		deployment.Status.UpdatedReplicas, deployment.Status.AvailableReplicas, deployment.Status.ReadyReplicas = 0, 0, 0
		return append(fixtureWithout("Deployment", "Pod", "ReplicaSet"), deployment, fixture.PodsOf(deployment, fixture.NotReady))
	}
	container := func(status corev1.ContainerStatus) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			status.Name = "main"
			pod.CreationTimestamp.Time = enrolledAt.Add(time.Minute)
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{status}
		}
	}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "OOMKilled", ExitCode: 137}}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	withoutService := of(1)[:len(of(1))-1]
	importing := fixture.Job("shop", "import", func(j *batchv1.Job) { j.Spec.Template.Labels = labels{"app": "import"} })
	importingPod := fixture.Pod("shop", "import-x", fixture.Of("Job", "batch/v1", &importing.ObjectMeta, importing.Spec.Template))
	importingToo := fixture.Pod("shop", "import-too", fixture.Labelled("app", "import"))
	importingService := strings.NewReplacer("name: cart", "name: import", "app: cart", "app: import").Replace(service)
	older := container(corev1.ContainerStatus{Ready: true, RestartCount: 4, State: running, LastTerminationState: ended})
	return []testCase{
		{name: "as before", check: "workloads-kept", past: was(), objects: of(1)},
		{name: "scaled up", check: "workloads-kept", past: was(), objects: of(2), want: []finding{{pass, cart, "spec.replicas", "scaled from 1 to 2"}}},
		{name: "scaled down", check: "workloads-kept", past: ran(3, 3), objects: of(2), want: []finding{{pass, cart, "spec.replicas", "scaled from 3 to 2"}}},
		{name: "fewer ready", check: "workloads-kept", past: ran(2, 2), objects: of(2, func(pod *corev1.Pod) {
			if pod.Name == "cart-5d8f7-1" {
				fixture.NotReady(pod)
			}
		}), want: []finding{{fail, cart, "status", "1 pod is ready, and 2 were before"}}},
		{name: "fewer ready, as restarts-complete says", check: "workloads-kept", past: was(func(p *checks.Past) { p.Baseline.Services = nil }), objects: stuck("ambient")},
		{name: "fewer ready outside the mesh, which restarts-complete warns of only", check: "workloads-kept", past: was(func(p *checks.Past) { p.Baseline.Services = nil }), objects: stuck("none"), want: []finding{{fail, cart, "status", "0 pods are ready, and 1 were before"}}},
		{name: "no endpoint", check: "workloads-kept", past: was(), objects: append(slices.Clone(of(1)[:len(of(1))-1]), strings.Replace(service, "app: cart", "app: nobody", 1)), want: []finding{
			{fail, "Service shop/cart", "spec.selector", "it has no ready endpoint, and had 1"},
		}},
		{name: "a Service of a Job that has ended, as earlier versions counted it", check: "workloads-kept", past: was(before(importing, importingPod, importingService), func(p *checks.Past) {
			p.Baseline.Services = append(p.Baseline.Services, v1alpha1.ServiceBaseline{Name: "import", Ready: 1})
		}), objects: append(of(1), importing, importingService)},
		{name: "a Service of a Job and of more, all of which are gone", check: "workloads-kept", past: was(before(importing, importingPod, importingService, importingToo), func(p *checks.Past) {
			p.Baseline.Services = append(p.Baseline.Services, v1alpha1.ServiceBaseline{Name: "import", Ready: 2})
		}), objects: append(of(1), importing, importingService), want: []finding{{fail, "Service shop/import", "spec.selector", "it has no ready endpoint, and had 2"}}},
		{name: "scaled to none", check: "workloads-kept", past: was(), objects: of(0), want: []finding{{pass, cart, "spec.replicas", "scaled from 1 to 0"}}},
		{name: "gone", check: "workloads-kept", past: was(), objects: append(fixtureWithout("Deployment", "Pod", "ReplicaSet"), service), want: []finding{
			{warn, cart, "", "it is gone, and had 1 pod ready before"}, {fail, "Service shop/cart", "spec.selector", "it has no ready endpoint, and had 1"},
		}},
		{name: "gone, and its Service with it", check: "workloads-kept", past: was(), objects: fixtureWithout("Deployment", "Pod", "ReplicaSet"), want: []finding{
			{warn, cart, "", "it is gone, and had 1 pod ready before"}, {warn, "Service shop/cart", "", "it is gone, and had 1 ready endpoint before"},
		}},
		{name: "a Service that is gone", check: "workloads-kept", past: was(), objects: withoutService, want: []finding{{warn, "Service shop/cart", "", "it is gone, and had 1 ready endpoint before"}}},
		{name: "a Service that is gone, and had no endpoint", check: "workloads-kept", past: was(func(p *checks.Past) { p.Baseline.Services[0].Ready = 0 }), objects: withoutService},
		{name: "a Service that a run has deleted", check: "workloads-kept", past: was(func(p *checks.Past) {
			p.Deleted = []v1alpha1.ObjectReference{{APIVersion: "v1", Kind: "Service", Namespace: "shop", Name: "cart"}}
		}), objects: withoutService},
		{name: "restarted", check: "workloads-kept", past: was(), objects: of(1, older), want: []finding{{warn, cart, "status", "after 4 restarts; it ended last with OOMKilled, exit code 137"}}},
		{name: "restarted before", check: "workloads-kept", past: was(), objects: of(1, older, fixture.CreatedAt(fixture.Created))},
		{name: "in a crash loop", check: "workloads-kept", past: was(), objects: of(1, fixture.NotReady, container(corev1.ContainerStatus{RestartCount: 4, State: waiting, LastTerminationState: ended})), want: []finding{{fail, cart, "status", "does not come up (CrashLoopBackOff), after 4 restarts"}}},
		{name: "in a crash loop as before", check: "workloads-kept", past: was(func(p *checks.Past) {
			p.Baseline.Workloads[0].Ready, p.Baseline.Workloads[0].Troubled, p.Baseline.Services[0].Ready = 0, []string{"main"}, 0
		}), objects: of(1, fixture.NotReady, container(corev1.ContainerStatus{RestartCount: 4, State: waiting, LastTerminationState: ended})), want: []finding{{warn, cart, "status", "it was not ready before the enrolment either"}}},
		{name: "in a crash loop as before, and fewer are ready", check: "workloads-kept", past: was(func(p *checks.Past) { p.Baseline.Workloads[0].Troubled = []string{"main"} }), objects: of(1, fixture.NotReady, container(corev1.ContainerStatus{RestartCount: 4, State: waiting, LastTerminationState: ended})), want: []finding{
			{warn, cart, "status", "it was not ready before the enrolment either"}, {fail, cart, "status", "0 pods are ready, and 1 were before"},
		}},
		{name: "another container is in a crash loop", check: "workloads-kept", past: was(func(p *checks.Past) { p.Baseline.Workloads[0].Troubled = []string{"other"} }), objects: of(1, fixture.NotReady, container(corev1.ContainerStatus{RestartCount: 4, State: waiting, LastTerminationState: ended})), want: []finding{{fail, cart, "status", "does not come up (CrashLoopBackOff), after 4 restarts"}}},
		{name: "a probe that fails", check: "workloads-kept", past: was(), objects: of(1, fixture.NotReady, container(corev1.ContainerStatus{RestartCount: 1, State: running})), want: []finding{{fail, cart, "status", "its probe fails, after 1 restart"}}},
	}
}

func trafficCases() []testCase {
	const cart = "Deployment shop/cart"
	counted := func(in, plain int64) map[string]mesh.Traffic {
		return map[string]mesh.Traffic{"shop/cart": {Inbound: in, Plaintext: plain}, "other/web": {Inbound: 99, Plaintext: 99}}
	}
	unasked := evidence()
	strict := strict(true, nil, nil)
	return []testCase{
		{name: "some", check: "traffic-seen", past: was(), objects: enrolled(), evidence: carried("z/0", counted(8, 0)), want: []finding{{pass, "", "", "3 connections to and 0 from"}}},
		{name: "as ever", check: "traffic-seen", past: was(), objects: enrolled(), evidence: carried("z/0", counted(5, 0)), want: []finding{{skip, "", "", "none seen"}}},
		{name: "some since it was started anew", check: "traffic-seen", past: was(), objects: enrolled(), evidence: carried("z/1", counted(1, 0)), want: []finding{{pass, "", "", "1 connection to"}}},
		{name: "none since it was started anew", check: "traffic-seen", past: was(), objects: enrolled(), evidence: carried("z/1", counted(0, 0)), want: []finding{{unknown, "", "", "was started anew since"}}},
		{name: "some in the log", check: "traffic-seen", past: was(), objects: enrolled(), evidence: logged(carried("z/1", counted(0, 0)), mesh.AccessLog{Inbound: 2, Outbound: 1}), want: []finding{{pass, "", "", "seen in ztunnel's access log since "}}},
		{name: "some in the log of one that does not say", check: "traffic-seen", past: was(), objects: enrolled(), evidence: logged(silent(), mesh.AccessLog{Inbound: 2}), want: []finding{{pass, "", "", "2 connections to and 0 from its workloads"}}},
		{name: "none in the log", check: "traffic-seen", past: was(), objects: enrolled(), evidence: logged(carried("z/1", counted(0, 0)), mesh.AccessLog{}), want: []finding{{skip, "", "", "none seen"}}},
		{name: "a log that does not tell", check: "traffic-seen", past: was(), objects: enrolled(), evidence: logged(carried("z/1", counted(0, 0)), mesh.AccessLog{Gap: "its log begins later"}), want: []finding{{unknown, "", "", "was started anew since, and with it what it counts; its log begins later"}}},
		{name: "not asked", check: "traffic-seen", past: was(), objects: enrolled(), evidence: unasked, want: []finding{{unknown, "", "", "was not asked"}}},
		{name: "never asked", check: "traffic-seen", past: was(func(p *checks.Past) { p.Baseline.ZtunnelProblem = "forbidden" }), objects: enrolled(), evidence: carried("z/0", counted(8, 0)), want: []finding{{unknown, "", "", "it is not known what"}}},
		{name: "without evidence", check: "traffic-seen", past: was(), objects: enrolled(), want: []finding{{unknown, "", "", "ztunnel was not asked"}}},
		{name: "on a node of another namespace alone", check: "traffic-seen", past: was(), objects: enrolled(), evidence: elsewhere(carried("z/0", counted(5, 0)), mesh.NodeEvidence{Traffic: counted(8, 0)}), want: []finding{{skip, "", "", "none seen"}}},
		{name: "encrypted", check: "plaintext-seen", past: was(strict), objects: enrolled(), evidence: carried("z/0", counted(8, 0))},
		{name: "plain", check: "plaintext-seen", past: was(strict), objects: enrolled(), evidence: carried("z/0", counted(8, 2)), want: []finding{{fail, cart, "", "let in 2 connections without mTLS"}}},
		{name: "no ztunnel says", check: "plaintext-seen", past: was(strict), objects: enrolled(), evidence: silent(), want: []finding{{skip, "", "", "no ztunnel says what it has let in: node " + fixture.Node + ": timed out"}}},
		{name: "no ztunnel said before", check: "plaintext-seen", past: was(strict, func(p *checks.Past) { p.Baseline.ZtunnelProblem = "forbidden" }), objects: enrolled(), evidence: carried("z/0", counted(8, 2)), want: []finding{{skip, "", "", "it is not known what the ztunnel of node " + fixture.Node}}},
		{name: "a ztunnel was started anew", check: "plaintext-seen", past: was(strict), objects: enrolled(), evidence: carried("z/1", counted(8, 0)), want: []finding{{pass, "", "", "but not everything was counted: the ztunnel of node " + fixture.Node + " was started anew"}}},
		{name: "one of two ztunnels says", check: "plaintext-seen", past: was(strict), objects: enrolled(fixture.Pod("shop", "bare", fixture.Ambient, func(pod *corev1.Pod) { pod.Spec.NodeName = "elsewhere" })), evidence: elsewhere(carried("z/0", counted(8, 0)), mesh.NodeEvidence{
			TrafficProblem: "timed out", Captured: map[types.UID]mesh.CaptureState{fixture.UID("Pod", "shop", "bare"): mesh.CaptureUp},
		}), want: []finding{{pass, "", "", "but not everything was counted: node elsewhere: timed out"}}},
		{name: "on no node", check: "plaintext-seen", past: was(strict), objects: fixtureWithout("Pod"), evidence: evidence(), want: []finding{{skip, "", "", "none of its pods is to be captured on a node"}}},
		{name: "nothing to be told where nobody was strict", check: "plaintext-seen", past: was(), objects: enrolled(), evidence: silent()},
		{name: "plain and permissive", check: "plaintext-seen", past: was(), objects: enrolled(), evidence: carried("z/0", counted(8, 2))},
	}
}

func pastCases() []testCase {
	var all []testCase
	for _, cases := range [][]testCase{strictCases(), callsKeptCases(), routesKeptCases(), workloadsKeptCases(), trafficCases()} {
		all = append(all, cases...)
	}
	return all
}

func TestChecksAgainstWhatWas(t *testing.T) {
	for _, test := range pastCases() {
		t.Run(test.check+"/"+test.name, test.test)
	}
}
