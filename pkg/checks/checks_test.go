package checks_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

type labels = map[string]string

// finding is what a test wants a check to say. An empty object means the mesh.
type finding struct {
	status  v1alpha1.CheckStatus
	object  string
	field   string
	message string
}

const (
	pass    = v1alpha1.StatusPass
	warn    = v1alpha1.StatusWarn
	fail    = v1alpha1.StatusFail
	skip    = v1alpha1.StatusSkip
	unknown = v1alpha1.StatusUnknown
)

// testCase is a mesh and what one check says of it.
type testCase struct {
	name string
	// check is the check's ID.
	check string
	// verify is true for a gate of enroll as verify makes it, where that differs.
	verify bool
	// objects are the whole mesh.
	objects []any
	// namespace is the one at hand: shop where it is empty.
	namespace string
	evidence  *mesh.Evidence
	// handed is what became of what runs made; of none where it is nil.
	handed *checks.Handed
	// returned is what a rollback is to have put back; nil where there was none.
	returned *checks.Returned
	// past is what was; noPast why there is none, and - where the records were not read.
	past   *checks.Past
	noPast string
	// want is empty where the check passes.
	want []finding
}

func (c testCase) at() string {
	if c.namespace == "" {
		return "shop"
	}
	return c.namespace
}

func (c testCase) content() mesh.Content { return fixture.Content(c.objects...) }

func (c testCase) run(t *testing.T, content mesh.Content) []v1alpha1.CheckResult {
	t.Helper()
	snapshot, err := mesh.NewSnapshot(content)
	if err != nil {
		t.Fatal(err)
	}
	namespace, found := snapshot.Namespace(c.at())
	if !found {
		namespace = mesh.Namespace{Name: c.at()}
	}
	all := slices.Concat(checks.EnrollGates(), checks.VerifyChecks(), checks.ReturnChecks())
	if c.verify {
		all = checks.VerifyChecks()
	}
	i := slices.IndexFunc(all, func(check checks.Check) bool { return check.ID == c.check })
	if i < 0 {
		t.Fatalf("there is no check %s", c.check)
	}
	handed := c.handed
	if handed == nil {
		handed = &checks.Handed{}
	}
	return checks.Run(all[i:i+1], checks.Subject{
		Snapshot: snapshot, Namespace: namespace, Evidence: c.evidence, Handed: handed, Past: c.past, NoPast: strings.TrimPrefix(c.noPast, "-"),
		Returned: c.returned,
	})
}

func (c testCase) test(t *testing.T) {
	c.compare(t, c.run(t, c.content()))
}

func (c testCase) compare(t *testing.T, results []v1alpha1.CheckResult) {
	t.Helper()
	want := c.want
	if len(want) == 0 {
		want = []finding{{status: pass}}
	}
	if len(results) != len(want) {
		t.Fatalf("there are %d results, not %d: %s", len(results), len(want), describe(results))
	}
	for i, result := range results {
		object := ""
		if result.Object != nil {
			object = result.Object.String()
		}
		if result.ID != c.check || result.Status != want[i].status || object != want[i].object || result.Field != want[i].field ||
			!strings.Contains(result.Message, want[i].message) {
			t.Errorf("result %d is\n  %s, not\n  %+v", i, describe(results[i:i+1]), want[i])
		}
		if result.Message == "" || strings.Contains(result.Message, "\n") {
			t.Errorf("the message is not one line: %q", result.Message)
		}
		if result.Blocks() && result.Remedy == "" {
			t.Errorf("nothing says what to do about it: %s", describe(results[i:i+1]))
		}
		if result.Object != nil && (result.Object.Kind == "" || result.Object.APIVersion == "") {
			t.Errorf("the object lacks its kind or version: %+v", result.Object)
		}
	}
}

func describe(results []v1alpha1.CheckResult) string {
	var lines []string
	for _, result := range results {
		lines = append(lines, fmt.Sprintf("%s %v at %q: %s (%s)", result.Status, result.Object, result.Field, result.Message, result.Remedy))
	}
	return strings.Join(lines, "\n  ")
}

// allCases are those of every check that looks at a snapshot.
func allCases() []testCase {
	return slices.Concat(
		prerequisiteCases(), componentCases(), sidecarCases(), policyCases(), routingCases(), extensionCases(),
		workloadCases(), networkCases(), observabilityCases(), ownershipCases(), verifyCases(), enforcedCases(), standingCases(), returnCases(), pastCases(),
	)
}

func TestChecks(t *testing.T) {
	for _, test := range allCases() {
		t.Run(test.check+"/"+test.name, test.test)
	}
}

func TestEveryCheckHasCasesThatPassAndCasesThatDoNot(t *testing.T) {
	passing, finding := map[string]bool{}, map[string]bool{}
	for _, test := range allCases() {
		passing[test.check] = passing[test.check] || len(test.want) == 0 || test.want[0].status == pass
		finding[test.check] = finding[test.check] || len(test.want) > 0
	}
	for _, check := range slices.Concat(checks.EnrollGates(), checks.VerifyChecks(), checks.ReturnChecks()) {
		if !passing[check.ID] || !finding[check.ID] {
			t.Errorf("%s: passing %t, finding %t", check.ID, passing[check.ID], finding[check.ID])
		}
	}
}

// A healthy mesh passes every gate, so none of the cases above fails for
// something that its mesh has in common with this one.
func TestAHealthyNamespacePassesEveryGate(t *testing.T) {
	snapshot := fixture.Snapshot(shop()...)
	results := checks.Run(checks.EnrollGates(), checks.Subject{Snapshot: snapshot, Namespace: fixture.Find(snapshot, "shop")})
	for _, result := range results {
		if result.Status != pass {
			t.Errorf("%s: %s", result.ID, describe([]v1alpha1.CheckResult{result}))
		}
	}
	snapshot = fixture.Snapshot(enrolled(service)...)
	results = checks.Run(checks.VerifyChecks(), checks.Subject{Snapshot: snapshot, Namespace: fixture.Find(snapshot, "shop"), Evidence: carried("z/0", map[string]mesh.Traffic{"shop/cart": {Inbound: 6}}), Handed: &checks.Handed{}, Past: was()})
	for _, result := range results {
		if result.Status != pass {
			t.Errorf("%s: %s", result.ID, describe([]v1alpha1.CheckResult{result}))
		}
	}
}

func everyCheck() []checks.Check {
	return slices.Concat(checks.EnrollGates(), checks.VerifyChecks(), checks.ReturnChecks(), checks.RollbackGates(nil, nil, nil))
}

func TestNoCheckPassesOnWhatWasNotRead(t *testing.T) {
	empty, err := mesh.NewSnapshot(mesh.Content{})
	if err != nil {
		t.Fatal(err)
	}
	subject := checks.Subject{Snapshot: empty, Namespace: mesh.Namespace{Name: "shop"}}
	results := checks.Run(everyCheck(), subject)
	isUnknown := func(id string) bool {
		return slices.ContainsFunc(results, func(result v1alpha1.CheckResult) bool { return result.ID == id && result.Status == unknown })
	}
	dependencies := map[string][]string{}
	for _, check := range everyCheck() {
		dependencies[check.ID] = slices.Concat(check.DependsOn, check.DependsThere)
	}
	var waits func(id string) bool
	waits = func(id string) bool {
		return slices.ContainsFunc(dependencies[id], func(on string) bool { return isUnknown(on) || waits(on) })
	}
	for _, result := range results {
		// A check that is skipped does not block by itself: what it depends on does.
		skipped := result.Status == skip && waits(result.ID)
		if result.Status != unknown && !skipped {
			t.Errorf("%s is %s: %s", result.ID, result.Status, result.Message)
		}
	}
}

func TestACheckIsUnknownWhereWhatItNeedsIsForbidden(t *testing.T) {
	for _, check := range everyCheck() {
		for _, key := range check.Needs {
			for _, coverage := range []mesh.Coverage{{State: mesh.CoverageForbidden, Reason: "pods is forbidden: not you"}, {State: mesh.CoverageUnasked}} {
				content := fixture.Content(shop()...)
				content.Coverage[key] = coverage
				snapshot, err := mesh.NewSnapshot(content)
				if err != nil {
					t.Fatal(err)
				}
				results := checks.Run([]checks.Check{check}, checks.Subject{Snapshot: snapshot, Namespace: fixture.Find(snapshot, "shop")})
				if len(results) != 1 || results[0].Status != unknown || !strings.Contains(results[0].Message, key) || !strings.Contains(results[0].Message, coverage.Reason) {
					t.Errorf("%s without %s (%s):\n  %s", check.ID, key, coverage.State, describe(results))
				}
				if coverage.State == mesh.CoverageForbidden && results[0].Remedy == "" {
					t.Errorf("%s without %s: nothing says what to do about it", check.ID, key)
				}
			}
		}
	}
}

// hidden takes away what a key of Coverage stands for, as if it were
// forbidden.
func hidden(content mesh.Content, key, namespace string) mesh.Content {
	isSelected := func(object unstructured.Unstructured) bool {
		kind, of := object.GetKind(), object.GetLabels()
		own := object.GetNamespace() == namespace
		switch key {
		case mesh.IstioConfigMaps:
			return kind == "ConfigMap" && of["istio.io/rev"] != ""
		case mesh.Dashboards:
			return kind == "ConfigMap" && of["grafana_dashboard"] != ""
		case mesh.CiliumConfigMap:
			return kind == "ConfigMap" && object.GetName() == "cilium-config"
		case mesh.CustomResourceDefinitions:
			return kind == "CustomResourceDefinition"
		case mesh.WaypointEndpoints:
			return kind == "EndpointSlice" && of["gateway.networking.k8s.io/gateway-name"] != ""
		case mesh.HandWrittenEndpoints:
			return kind == "EndpointSlice" && of["gateway.networking.k8s.io/gateway-name"] == ""
		case mesh.IstiodDeployments:
			return kind == "Deployment" && of["app"] == "istiod"
		case mesh.ZtunnelPods:
			return kind == "Pod" && of["app"] == "ztunnel" && !own
		case mesh.CNIPods:
			return kind == "Pod" && of["k8s-app"] == "istio-cni-node" && !own
		case mesh.SidecarsWithoutTunnel:
			return kind == "Pod" && !own && of["security.istio.io/tlsMode"] != "" && of["networking.istio.io/tunnel"] != "http"
		case mesh.PodsMeshWide:
			return kind == "Pod" && !own && of["app"] != "ztunnel" && of["k8s-app"] != "istio-cni-node"
		case "Pod", mesh.KindDeployment:
			return kind == key && own
		default:
			return kind == key
		}
	}
	content.Objects = slices.DeleteFunc(slices.Clone(content.Objects), isSelected)
	content.Coverage = maps.Clone(content.Coverage)
	content.Coverage[key] = mesh.Coverage{State: mesh.CoverageForbidden, Reason: "not you"}
	return content
}

// What a check would have found does not become a pass because it was not
// allowed to see it: each kind that a finding rests on is among its needs.
func TestNoFindingTurnsIntoAPassWhereAKindIsForbidden(t *testing.T) {
	for _, test := range allCases() {
		if len(test.want) == 0 || test.want[0].status == unknown {
			continue
		}
		whole := test.content()
		if results := test.run(t, whole); results[0].Status == pass {
			// TestChecks reports it.
			continue
		}
		for _, key := range mesh.Keys() {
			if key == "Namespace" {
				// Without it there is nothing to check.
				continue
			}
			content := hidden(whole, key, test.at())
			if len(content.Objects) == len(whole.Objects) {
				// The check sees what it saw before, or is unknown for want of the kind.
				continue
			}
			results := test.run(t, content)
			if len(results) == 1 && results[0].Status == pass {
				t.Errorf("%s/%s: passes where %s is forbidden", test.check, test.name, key)
			}
		}
	}
}

func TestChecksAreWellFormed(t *testing.T) {
	for name, list := range map[string][]checks.Check{
		"enroll": checks.EnrollGates(), "verify": checks.VerifyChecks(), "rollback": checks.RollbackGates(nil, nil, nil), "return": checks.ReturnChecks(),
	} {
		seen := map[string]bool{}
		for _, check := range list {
			if seen[check.ID] {
				t.Errorf("%s: %s is there twice", name, check.ID)
			}
			seen[check.ID] = true
			if check.ID == "" || check.Category == "" || check.Passed == "" || check.Run == nil {
				t.Errorf("%s: %s lacks something: %+v", name, check.ID, check)
			}
			if check.ID != strings.ToLower(check.ID) || strings.ContainsAny(check.ID, " :/") {
				t.Errorf("%s: %q cannot be named on a command line", name, check.ID)
			}
			if check.Severity != v1alpha1.SeverityError && check.Severity != v1alpha1.SeverityWarning {
				t.Errorf("%s: %s has severity %q", name, check.ID, check.Severity)
			}
			if len(check.Needs) == 0 {
				t.Errorf("%s: %s needs nothing, so it passes on an empty mesh", name, check.ID)
			}
			for _, id := range slices.Concat(check.DependsOn, check.DependsThere) {
				if !seen[id] {
					t.Errorf("%s: %s depends on %s, which does not come before it", name, check.ID, id)
				}
			}
			for _, key := range check.Needs {
				if !slices.Contains(mesh.Keys(), key) {
					t.Errorf("%s: %s needs %s, which is never read", name, check.ID, key)
				}
			}
		}
	}
	// Those of enroll and verify are shown and accepted by ID alike. These are both.
	both := []string{
		"istio-installed", "waypoint-missing", "waypoint-unready", "waypoint-shape", "policy-targets", "policy-waypoints", "route-conflicts", "route-targets", "network-policies",
	}
	for _, gate := range checks.EnrollGates() {
		if !slices.Contains(both, gate.ID) && slices.ContainsFunc(checks.VerifyChecks(), func(check checks.Check) bool { return check.ID == gate.ID }) {
			t.Errorf("%s is a gate and a check of verify", gate.ID)
		}
	}
}

func TestRun(t *testing.T) {
	content := fixture.Content()
	content.Coverage["Node"] = mesh.Coverage{State: mesh.CoverageForbidden, Reason: "not you"}
	content.Coverage["Pod"] = mesh.Coverage{State: mesh.CoverageAbsent}
	snapshot, err := mesh.NewSnapshot(content)
	if err != nil {
		t.Fatal(err)
	}
	object := v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "cart"}
	findings := func(found ...checks.Finding) func(checks.Subject) []checks.Finding {
		return func(checks.Subject) []checks.Finding { return found }
	}
	results := checks.Run([]checks.Check{
		{ID: "a", Category: "x", Severity: v1alpha1.SeverityError, Needs: []string{"Pod"}, Passed: "fine", Run: findings()},
		{ID: "b", Severity: v1alpha1.SeverityWarning, Run: findings(checks.Finding{Status: warn, Object: &object, Field: "f", Message: "m", Remedy: "r"}, checks.Finding{Status: fail, Message: "n"})},
		{ID: "c", Needs: []string{"Pod", "Node"}, Run: func(checks.Subject) []checks.Finding { panic(errors.New("it must not be run")) }},
		{ID: "d", DependsOn: []string{"a"}, Passed: "fine", Run: findings()},
		{ID: "e", DependsOn: []string{"a", "b"}, Run: func(checks.Subject) []checks.Finding { panic(errors.New("it must not be run")) }},
		{ID: "f", DependsOn: []string{"e"}, Run: func(checks.Subject) []checks.Finding { panic(errors.New("it must not be run")) }},
		{ID: "g", Run: findings(checks.Finding{Status: skip, Message: "there is nothing to look at"})},
		{ID: "h", DependsOn: []string{"g"}, Passed: "fine", Run: findings()},
		{ID: "i", DependsThere: []string{"b"}, Passed: "fine", Run: findings()},
		{ID: "j", DependsThere: []string{"c"}, Run: func(checks.Subject) []checks.Finding { panic(errors.New("it must not be run")) }},
		{ID: "k", DependsThere: []string{"j"}, Run: func(checks.Subject) []checks.Finding { panic(errors.New("it must not be run")) }},
	}, checks.Subject{Snapshot: snapshot})
	want := []v1alpha1.CheckResult{
		{ID: "a", Category: "x", Severity: v1alpha1.SeverityError, Status: pass, Message: "fine"},
		{ID: "b", Severity: v1alpha1.SeverityWarning, Status: warn, Object: &object, Field: "f", Message: "m", Remedy: "r", Docs: "docs/checks.md#b"},
		{ID: "b", Severity: v1alpha1.SeverityWarning, Status: fail, Message: "n", Docs: "docs/checks.md#b"},
		{ID: "c", Status: unknown, Message: "it cannot be told without Node: not you", Remedy: "grant list on it, or run as somebody who may", Docs: "docs/checks.md#c",
			Unseen: []v1alpha1.KindCoverage{{Key: "Node", State: "forbidden", Reason: "not you"}}},
		{ID: "d", Status: pass, Message: "fine"},
		{ID: "e", Status: skip, Message: "it means nothing while b does not hold", Docs: "docs/checks.md#e"},
		{ID: "f", Status: skip, Message: "it means nothing while b does not hold", Docs: "docs/checks.md#f"},
		{ID: "g", Status: skip, Message: "there is nothing to look at", Docs: "docs/checks.md#g"},
		{ID: "h", Status: pass, Message: "fine"},
		{ID: "i", Status: pass, Message: "fine"},
		{ID: "j", Status: skip, Message: "it means nothing while c does not hold", Docs: "docs/checks.md#j"},
		{ID: "k", Status: skip, Message: "it means nothing while c does not hold", Docs: "docs/checks.md#k"},
	}
	if diff := cmp.Diff(want, results); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A mesh's pods are known by metadata alone outside the namespace at hand, but
// for sidecars whose label says that they accept no HBONE.
func metadataOnly(content mesh.Content, namespace string) mesh.Content {
	content.Objects = slices.DeleteFunc(content.Objects, func(object unstructured.Unstructured) bool {
		if object.GetKind() != "Pod" || object.GetNamespace() == namespace {
			return false
		}
		if phase, _, _ := unstructured.NestedString(object.Object, "status", "phase"); phase == "Succeeded" {
			// The list of metadata is of live pods.
			return true
		}
		if of := object.GetLabels(); of["security.istio.io/tlsMode"] != "" && of["networking.istio.io/tunnel"] != "http" {
			return false
		}
		if onHost, _, _ := unstructured.NestedBool(object.Object, "spec", "hostNetwork"); onHost {
			content.HostNetwork[object.GetUID()] = true
		}
		content.Pods = append(content.Pods, metav1.ObjectMeta{
			Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID(), Labels: object.GetLabels(), Annotations: object.GetAnnotations(),
		})
		return true
	})
	return content
}

func TestWhatIsElsewhereIsSeenByItsMetadata(t *testing.T) {
	for _, test := range slices.Concat(sidecarCases(), networkCases(), workloadCases(), observabilityCases()) {
		t.Run(test.check+"/"+test.name, func(t *testing.T) {
			whole, flat := test.run(t, test.content()), test.run(t, metadataOnly(test.content(), "shop"))
			if diff := cmp.Diff(whole, flat); diff != "" {
				t.Errorf("metadata alone tells something else (-whole +metadata):\n%s", diff)
			}
		})
	}
}

const (
	istiodAddress = "https://istiod.istio-system.svc:15012"
	identity      = "spiffe://cluster.local/ns/shop/sa/cart"
)

// known is what ztunnel knows of the mesh of enrolled, and istiod means it to know.
func known() mesh.DataPlaneView {
	return mesh.DataPlaneView{
		Workloads: map[string]mesh.ZtunnelWorkload{"shop/cart-5d8f7-0": {Protocol: "HBONE", Identity: identity}},
		Services:  map[string]mesh.ZtunnelService{}, Policies: map[string]string{},
	}
}

func evidence() *mesh.Evidence {
	uid := fixture.UID("Pod", "shop", "cart-5d8f7-0")
	return &mesh.Evidence{Nodes: map[string]mesh.NodeEvidence{fixture.Node: {
		Ztunnel: "istio-system/ztunnel-x", Captured: map[types.UID]mesh.CaptureState{uid: mesh.CaptureUp},
		DataPlaneView: known(), XDSAddress: istiodAddress,
		Certificates: map[string]mesh.ZtunnelCertificate{identity: {State: "Available", NotBefore: fixture.Created, NotAfter: fixture.Created.Add(24 * time.Hour)}},
	}}, Istiods: map[string]mesh.IstiodEvidence{istiodAddress: {Istiod: "istio-system/istiod-x", DataPlaneView: known()}}, Taken: fixture.Created.Add(time.Hour)}
}
