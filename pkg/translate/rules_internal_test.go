package translate

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"google.golang.org/protobuf/proto"
	securityv1beta1 "istio.io/api/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// rule reads a rule.
func rule(t *testing.T, text string) *securityv1beta1.Rule {
	t.Helper()
	var read securityv1beta1.Rule
	var fields map[string]any
	if err := yaml.Unmarshal([]byte(text), &fields); err != nil {
		t.Fatal(err)
	}
	if err := mesh.Decode(fields, &read); err != nil {
		t.Fatal(err)
	}
	return &read
}

// brief writes a rule in one line; none is a rule that matches nothing.
func brief(t *testing.T, rule *securityv1beta1.Rule) string {
	t.Helper()
	if rule == nil {
		return "none"
	}
	text, err := rule.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), " ", "")
}

// oneToOne is a Service whose ports lead to one port of the pods each.
var oneToOne = portMap{{service: 80, targets: []uint32{8080}}, {service: 81, targets: []uint32{8080}}, {service: 90, targets: []uint32{9090}}}

const (
	allow    = securityv1beta1.AuthorizationPolicy_ALLOW
	deny     = securityv1beta1.AuthorizationPolicy_DENY
	waypoint = "cluster.local/ns/shop/sa/waypoint"
)

func TestBehindService(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, rule, want string }{
		{"nothing to translate", `{to: [{operation: {methods: [GET]}}]}`, `{"to":[{"operation":{"methods":["GET"]}}]}`},
		{"everything", `{}`, `{}`},
		{"ports", `{to: [{operation: {ports: ["8080", "7000"]}}]}`, `{"to":[{"operation":{"ports":["80","81"]}}]}`},
		{"ports of another Service", `{to: [{operation: {ports: ["7000"]}}]}`, `none`},
		{"the Service's number is not the pod's", `{to: [{operation: {ports: ["80"]}}]}`, `none`},
		{"not these ports", `{to: [{operation: {notPorts: ["9090"]}}]}`, `{"to":[{"operation":{"notPorts":["90"]}}]}`},
		{"not ports of another Service", `{to: [{operation: {notPorts: ["7000"]}}]}`, `{}`},
		{"one of several operations", `{to: [{operation: {ports: ["7000"], methods: [GET]}}, {operation: {ports: ["9090"], methods: [PUT]}}]}`, `{"to":[{"operation":{"ports":["90"],"methods":["PUT"]}}]}`},
		{"one of several that is always so", `{to: [{operation: {paths: [/a]}}, {operation: {notPorts: ["7000"]}}]}`, `{"to":[{"operation":{"methods":["*"]}}]}`},
		{"one of several that says nothing", `{to: [{operation: {methods: [GET], ports: ["7000"]}}, {}]}`, `{"to":[{"operation":{"methods":["*"]}}]}`},
		{"what is left is still about HTTP", `{to: [{operation: {ports: ["7000"], paths: [/a]}}, {operation: {ports: ["8080"]}}]}`, `{"to":[{"operation":{"ports":["80","81"],"methods":["*"]}}]}`},
		{"a condition", `{when: [{key: destination.port, values: ["9090"]}, {key: "request.headers[a]", values: [b]}]}`, `{"when":[{"key":"destination.port","values":["90"]},{"key":"request.headers[a]","values":["b"]}]}`},
		{"a condition that never holds", `{when: [{key: destination.port, values: ["7000"]}]}`, `none`},
		{"a condition that always holds", `{when: [{key: destination.port, notValues: ["7000"]}]}`, `{}`},
		{"an exemption", `{from: [{source: {notPrincipals: [` + waypoint + `]}}], to: [{operation: {methods: [PUT]}}]}`, `{"to":[{"operation":{"methods":["PUT"]}}]}`},
		{"an exemption beside others", `{from: [{source: {notPrincipals: [a/ns/b/sa/c, ` + waypoint + `]}}]}`, `{"from":[{"source":{"notPrincipals":["a/ns/b/sa/c"]}}]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			written := rule(t, test.rule)
			before := proto.Clone(written)
			if got := brief(t, behindService(written, allow, oneToOne, []string{waypoint})); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if !proto.Equal(before, written) {
				t.Error("the rule itself was changed")
			}
		})
	}
}

// TestBehindServiceByAction: other rules than those of ALLOW are enforced on ports
// without HTTP, too.
func TestBehindServiceByAction(t *testing.T) {
	t.Parallel()
	written := rule(t, `{to: [{operation: {paths: [/a]}}, {operation: {notPorts: ["7000"]}}]}`)
	if got := brief(t, behindService(written, deny, oneToOne, nil)); got != "{}" {
		t.Errorf("got %s", got)
	}
}

// TestBehindServiceMeansTheSame: by brute force over small rules, the copy of a rule
// matches a call to a port of the Service exactly if the rule matches the call to
// the port of the pods that it leads to.
func TestBehindServiceMeansTheSame(t *testing.T) {
	t.Parallel()
	lists := [][]string{nil, {"8080"}, {"9090"}, {"8080", "7000"}, {"7000"}, {"80"}}
	methods := [][]string{nil, {"GET"}}
	var operations []*securityv1beta1.Rule_To
	for _, ports := range lists {
		for _, notPorts := range lists {
			for _, methods := range methods {
				if len(ports)+len(notPorts)+len(methods) > 0 {
					operations = append(operations, &securityv1beta1.Rule_To{Operation: &securityv1beta1.Operation{Ports: ports, NotPorts: notPorts, Methods: methods}})
				}
			}
		}
	}
	var conditions [][]*securityv1beta1.Condition
	for _, values := range lists {
		for _, notValues := range lists {
			if len(values)+len(notValues) > 0 {
				conditions = append(conditions, []*securityv1beta1.Condition{{Key: keyDestinationPort, Values: values, NotValues: notValues}})
			}
		}
	}
	conditions = append(conditions, nil)
	compared := 0
	for i, first := range operations {
		for _, to := range [][]*securityv1beta1.Rule_To{nil, {first}, {first, operations[(i*7+3)%len(operations)]}} {
			for _, when := range conditions {
				written := &securityv1beta1.Rule{To: to, When: when}
				for _, action := range []securityv1beta1.AuthorizationPolicy_Action{allow, deny} {
					copied := behindService(written, action, oneToOne, nil)
					for _, port := range oneToOne {
						for _, method := range []string{"GET", "PUT"} {
							compared++
							if want, got := matches(written, port.targets[0], method), copied != nil && matches(copied, port.service, method); want != got {
								t.Fatalf("%s of %s to port %d: %v, its copy %s: %v", method, brief(t, written), port.service, want, brief(t, copied), got)
							}
						}
					}
				}
			}
		}
	}
	if compared < 10_000 {
		t.Errorf("only %d calls compared", compared)
	}
}

// matches is how Envoy reads a rule about ports and methods.
func matches(rule *securityv1beta1.Rule, port uint32, method string) bool {
	number := strconv.FormatUint(uint64(port), 10)
	holds := func(values, notValues []string, value string) bool {
		return (len(values) == 0 || slices.Contains(values, value) || slices.Contains(values, "*")) && !slices.Contains(notValues, value)
	}
	return (len(rule.GetTo()) == 0 || slices.ContainsFunc(rule.GetTo(), func(to *securityv1beta1.Rule_To) bool {
		operation := to.GetOperation()
		return holds(operation.GetPorts(), operation.GetNotPorts(), number) && holds(operation.GetMethods(), operation.GetNotMethods(), method)
	})) && !slices.ContainsFunc(rule.GetWhen(), func(condition *securityv1beta1.Condition) bool {
		return !holds(condition.GetValues(), condition.GetNotValues(), number)
	})
}

func TestLayer4(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, rule, want string }{
		{"nothing but HTTP", `{to: [{operation: {methods: [GET]}}]}`, `{}`},
		{"callers and HTTP", `{from: [{source: {principals: [a], requestPrincipals: [b]}}], to: [{operation: {paths: [/a], ports: ["80"]}}]}`, `{"from":[{"source":{"principals":["a"]}}],"to":[{"operation":{"ports":["80"]}}]}`},
		{"an alternative by HTTP alone is any", `{from: [{source: {namespaces: [a]}}, {source: {requestPrincipals: [b]}}]}`, `{}`},
		{"an operation by HTTP alone is any", `{to: [{operation: {ports: ["80"]}}, {operation: {methods: [GET]}}]}`, `{}`},
		{"conditions", `{when: [{key: source.ip, values: [10.0.0.1]}, {key: "request.headers[a]", values: [b]}]}`, `{"when":[{"key":"source.ip","values":["10.0.0.1"]}]}`},
		{"all of a source", `{from: [{source: {notPrincipals: [a], notNamespaces: [b], serviceAccounts: [c], notServiceAccounts: [d], ipBlocks: [10.0.0.0/8], notIpBlocks: [10.1.0.0/16]}}]}`,
			`{"from":[{"source":{"notPrincipals":["a"],"serviceAccounts":["c"],"notServiceAccounts":["d"],"notNamespaces":["b"],"ipBlocks":["10.0.0.0/8"],"notIpBlocks":["10.1.0.0/16"]}}]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := brief(t, layer4(rule(t, test.rule))); sorted(got) != sorted(test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// TestExempt: an exemption put in and taken out again leaves a rule as it was.
func TestExempt(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{to: [{operation: {methods: [GET]}}]}`:                                 `{"from":[{"source":{"notPrincipals":["` + waypoint + `"]}}],"to":[{"operation":{"methods":["GET"]}}]}`,
		`{from: [{source: {namespaces: [a]}}, {source: {notPrincipals: [b]}}]}`: `{"from":[{"source":{"namespaces":["a"],"notPrincipals":["` + waypoint + `"]}},{"source":{"notPrincipals":["b","` + waypoint + `"]}}]}`,
	} {
		written := rule(t, text)
		before := brief(t, written)
		exempt(written, []string{waypoint})
		exempt(written, []string{waypoint})
		got := brief(t, written)
		if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
		if after := brief(t, withoutExemption(written, []string{waypoint})); after != before {
			t.Errorf("%s: without it: %s", text, after)
		}
	}
}

// sorted are the bytes of a text in order: fields come in any.
func sorted(text string) string {
	bytes := []byte(text)
	slices.Sort(bytes)
	return string(bytes)
}

func TestMayMatchSource(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`{}`: true,
		`{from: [{source: {principals: [` + waypoint + `]}}]}`:                        true,
		`{from: [{source: {principals: ["*/sa/waypoint"]}}]}`:                         true,
		`{from: [{source: {principals: ["cluster.local/*"]}}]}`:                       true,
		`{from: [{source: {principals: ["*"]}}]}`:                                     true,
		`{from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]}`:            false,
		`{from: [{source: {notPrincipals: [` + waypoint + `]}}]}`:                     false,
		`{from: [{source: {namespaces: [shop]}}]}`:                                    true,
		`{from: [{source: {notNamespaces: [shop]}}]}`:                                 false,
		`{from: [{source: {notNamespaces: [shop]}}, {source: {namespaces: [shop]}}]}`: true,
		`{from: [{source: {serviceAccounts: [waypoint]}}]}`:                           true,
		`{from: [{source: {serviceAccounts: [other/waypoint]}}]}`:                     false,
		`{from: [{source: {notServiceAccounts: [shop/waypoint]}}]}`:                   false,
		`{from: [{source: {requestPrincipals: [a]}}]}`:                                true,
		`{when: [{key: source.principal, values: [cluster.local/ns/shop/sa/web]}]}`:   false,
		`{when: [{key: source.namespace, notValues: [shop]}]}`:                        false,
		`{when: [{key: source.namespace, values: ["sh*"]}]}`:                          true,
		`{when: [{key: source.ip, values: [10.0.0.1]}]}`:                              true,
	} {
		if got := mayMatchSource(rule(t, text), waypoint, "shop"); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// A rule may mean the waypoint by another name of the mesh's trust domain.
func TestRefusesWaypointByAnyNameOfTheTrustDomain(t *testing.T) {
	t.Parallel()
	of := translator{
		snapshot:   fixture.Snapshot(fixture.Without("ConfigMap", fixture.Installation()...), fixture.MeshConfig("trustDomain: td1\ntrustDomainAliases: [old]")),
		principals: []string{"td1/ns/shop/sa/waypoint"},
	}
	for principal, want := range map[string]bool{
		"td1/ns/shop/sa/*": true, "cluster.local/ns/shop/sa/*": true, "old/ns/shop/sa/waypoint": true,
		"other/ns/shop/sa/*": false, "cluster.local/ns/shop/sa/web": false, "cluster.local/ns/front/sa/*": false,
	} {
		if got := of.refusesWaypoint(rule(t, `{from: [{source: {principals: ["`+principal+`"]}}]}`), "shop"); got != want {
			t.Errorf("%s: %t", principal, got)
		}
	}
}

func TestQualify(t *testing.T) {
	t.Parallel()
	written := rule(t, `{from: [{source: {serviceAccounts: [a, b/c], notServiceAccounts: [d]}}], when: [{key: source.serviceAccount, values: [e], notValues: [f/g]}, {key: source.namespace, values: [h]}]}`)
	qualify(written, "root")
	const want = `{"from":[{"source":{"serviceAccounts":["root/a","b/c"],"notServiceAccounts":["root/d"]}}],"when":[{"key":"source.serviceAccount","values":["root/e"],"notValues":["f/g"]},{"key":"source.namespace","values":["h"]}]}`
	if got := brief(t, written); sorted(got) != sorted(want) {
		t.Errorf("got %s", got)
	}
}

func TestPortsOf(t *testing.T) {
	t.Parallel()
	service := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{
		{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)},
		{Name: "tcp", Port: 81},
		{Name: "http-named", Port: 82, TargetPort: intstr.FromString("web")},
		{Name: "nobody", Port: 83, TargetPort: intstr.FromString("none")},
	}}}
	behind := []pods{{ports: map[string]uint32{"web": 8080}}, {ports: map[string]uint32{"web": 8081}}, {ports: map[string]uint32{"web": 8080}}, {}}
	want := portMap{{80, []uint32{8080}, true}, {81, []uint32{81}, false}, {82, []uint32{8080, 8081}, true}, {83, nil, false}}
	if diff := cmp.Diff(want, portsOf(service, behind), cmp.AllowUnexported(portTarget{})); diff != "" {
		t.Error(diff)
	}
	if got := want.translate([]string{"8081", "81"}); !slices.Equal(got, []string{"81", "82"}) {
		t.Errorf("translated %v", got)
	}
	if got := want.translate([]string{"83"}); got != nil {
		t.Errorf("translated %v", got)
	}
}

func TestGeneratedName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", validation.DNS1123SubdomainMaxLength)
	met := map[string][]string{}
	for _, parts := range [][]string{
		{"a", "b", "shop"}, {"a", "b", "root"}, {"a-b", "c", "shop"}, {"a", "b-c", "shop"}, {long, "b", "shop"}, {long, "c", "shop"},
		{strings.Repeat("a.", 130)[:validation.DNS1123SubdomainMaxLength], "b", "shop"}, {"a", "b", "c", "shop"},
	} {
		name := generatedName(parts...)
		if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
			t.Errorf("%v: %q: %v", parts, name, problems)
		}
		if other, is := met[name]; is {
			t.Errorf("%v and %v are both %s", parts, other, name)
		}
		met[name] = parts
		if name != generatedName(parts...) {
			t.Errorf("%v: two names", parts)
		}
	}
}
