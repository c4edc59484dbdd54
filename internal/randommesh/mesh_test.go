package randommesh_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/randommesh"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestSameSeedSameMesh(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		if diff := cmp.Diff(randommesh.New(seed), randommesh.New(seed)); diff != "" {
			t.Errorf("seed %d: %s", seed, diff)
		}
	}
	if cmp.Equal(randommesh.New(1).Objects[1:], randommesh.New(2).Objects[1:]) {
		t.Error("all seeds draw the same")
	}
}

// TestNames: meshes of different seeds can be in one cluster, and an object's
// namespace comes before it.
func TestNames(t *testing.T) {
	t.Parallel()
	met := map[string]bool{randommesh.RootNamespace: true}
	for seed := range uint64(300) {
		for _, object := range randommesh.New(seed).Objects {
			name := strings.Join([]string{object.GetKind(), object.GetNamespace(), object.GetName()}, "/")
			if met[name] {
				t.Errorf("seed %d: %s a second time", seed, name)
			}
			met[name] = true
			if object.GetKind() == "Namespace" {
				met[object.GetName()] = true
			} else if !met[object.GetNamespace()] {
				t.Errorf("seed %d: the namespace of %s is not there", seed, name)
			}
		}
	}
}

// TestExclusive: only a policy of the root namespace without a selector concerns
// other meshes.
func TestExclusive(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		mesh := randommesh.New(seed)
		want := slices.ContainsFunc(mesh.Objects, func(object unstructured.Unstructured) bool {
			_, selects, _ := unstructured.NestedMap(object.Object, "spec", "selector")
			return object.GetNamespace() == randommesh.RootNamespace && !selects
		})
		if mesh.Exclusive != want {
			t.Errorf("seed %d: exclusive %t, want %t", seed, mesh.Exclusive, want)
		}
	}
}

// TestShapes: whatever a mesh may hold, one of the first does.
func TestShapes(t *testing.T) {
	t.Parallel()
	met := map[string]bool{}
	for seed := range uint64(50) {
		mesh := randommesh.New(seed)
		for _, shape := range shapesOf(mesh) {
			met[shape] = true
		}
	}
	for _, want := range strings.Fields(wanted) {
		if !met[want] {
			t.Errorf("no mesh has %s", want)
		}
	}
}

// wanted are shapes as shapesOf writes them.
const wanted = `
callers=none callers=enabled callers=ambient
kind=Deployment kind=StatefulSet gateway opted-out account=default account=shared account=own
service=ClusterIP service=headless service=several
port=same port=number port=name protocol=http protocol=tcp protocol=plain protocol=grpc appProtocol=http
peers=STRICT peers=PERMISSIVE peers=namespace peers=workload peers=port
entry=http entry=admin entry=HTTP entry=TCP endpoints=bound endpoints=address
tokens=targets tokens=selector tokens=namespace tokens=root tokens=audiences tokens=forwarded tokens=two
scope=service scope=namespace mixed=block mixed=deny mixed=l4 replicas=0 replicas=1 replicas=2
action=ALLOW action=DENY action=AUDIT action=CUSTOM action= dry-run
reach=selector reach=namespace reach=root reach=root-selector reach=Service reach=Gateway
rules=none rules=empty rules=1 rules=2 rule=from rule=to rule=when rule=from,to rule=from,when rule=to,when rule=from,to,when from=2 to=2 when=2
principals notPrincipals namespaces notNamespaces serviceAccounts notServiceAccounts ipBlocks notIpBlocks
remoteIpBlocks notRemoteIpBlocks requestPrincipals notRequestPrincipals
methods notMethods paths notPaths hosts notHosts ports notPorts values notValues
pattern=exact pattern=prefix pattern=suffix pattern=any pattern=template
request.headers[x-team] source.ip remote.ip destination.ip destination.port connection.sni
source.namespace source.principal source.serviceAccount
request.auth.claims[groups] request.auth.claims[realm][roles] request.auth.principal request.auth.audiences request.auth.presenter
`

func shapesOf(mesh randommesh.Mesh) []string {
	shapes := []string{
		"scope=" + string(mesh.Options.Scope), "mixed=" + string(mesh.Options.MixedCallers), fmt.Sprintf("replicas=%d", mesh.Options.Replicas),
	}
	if mesh.Callers == "" {
		shapes = append(shapes, "callers=none")
	}
	for _, endpoints := range mesh.Endpoints {
		shapes = append(shapes, map[bool]string{true: "endpoints=bound", false: "endpoints=address"}[endpoints.Bound])
	}
	for _, object := range mesh.Objects {
		spec, _, _ := unstructured.NestedMap(object.Object, "spec")
		switch object.GetKind() {
		case "Namespace":
			if object.GetName() == mesh.Callers {
				shapes = append(shapes, "callers="+object.GetLabels()["istio-injection"]+object.GetLabels()["istio.io/dataplane-mode"])
			}
		case "Deployment", "StatefulSet":
			shapes = append(shapes, workloadShapes(object)...)
		case "Service":
			shapes = append(shapes, serviceShapes(object.GetName(), spec)...)
		case "ServiceEntry":
			port := spec["ports"].([]any)[0].(map[string]any)
			shapes = append(shapes, fmt.Sprint("entry=", port["name"]), fmt.Sprint("entry=", port["protocol"]))
		case "PeerAuthentication":
			shapes = append(shapes, peerShapes(spec)...)
		case "RequestAuthentication":
			shapes = append(shapes, tokenShapes(object.GetNamespace(), spec)...)
		case "AuthorizationPolicy":
			shapes = append(shapes, policyShapes(object, spec)...)
		}
	}
	return shapes
}

func workloadShapes(object unstructured.Unstructured) []string {
	shapes := []string{"kind=" + object.GetKind()}
	account, _, _ := unstructured.NestedString(object.Object, "spec", "template", "spec", "serviceAccountName")
	switch account {
	case "default", "shared":
		shapes = append(shapes, "account="+account)
	case object.GetName():
		shapes = append(shapes, "account=own")
	}
	if _, is, _ := unstructured.NestedString(object.Object, "spec", "template", "metadata", "annotations", "inject.istio.io/templates"); is {
		shapes = append(shapes, "gateway")
	}
	if wish, _, _ := unstructured.NestedString(object.Object, "spec", "template", "metadata", "labels", "sidecar.istio.io/inject"); wish == "false" {
		shapes = append(shapes, "opted-out")
	}
	return shapes
}

func serviceShapes(name string, spec map[string]any) []string {
	shapes := []string{"service=ClusterIP"}
	if spec["clusterIP"] == "None" {
		shapes = []string{"service=headless"}
	}
	if strings.HasSuffix(name, "-too") {
		shapes = append(shapes, "service=several")
	}
	for _, item := range spec["ports"].([]any) {
		port := item.(map[string]any)
		protocol, _, _ := strings.Cut(port["name"].(string), "-")
		shapes = append(shapes, "protocol="+protocol)
		if declared, is := port["appProtocol"]; is {
			shapes = append(shapes, fmt.Sprint("appProtocol=", declared))
		}
		switch target := port["targetPort"].(type) {
		case string:
			shapes = append(shapes, "port=name")
		case int64:
			if target != port["port"] {
				shapes = append(shapes, "port=number")
			}
		default:
			shapes = append(shapes, "port=same")
		}
	}
	return shapes
}

func peerShapes(spec map[string]any) []string {
	mode, _, _ := unstructured.NestedString(spec, "mtls", "mode")
	shapes := []string{"peers=" + mode}
	if _, selects := spec["selector"]; !selects {
		return append(shapes, "peers=namespace")
	}
	if _, byPort := spec["portLevelMtls"]; byPort {
		shapes = append(shapes, "peers=port")
	}
	return append(shapes, "peers=workload")
}

func tokenShapes(namespace string, spec map[string]any) []string {
	rules := spec["jwtRules"].([]any)
	var shapes []string
	switch _, selects := spec["selector"]; {
	case namespace == randommesh.RootNamespace:
		shapes = append(shapes, "tokens=root")
	case spec["targetRefs"] != nil:
		shapes = append(shapes, "tokens=targets")
	case selects:
		shapes = append(shapes, "tokens=selector")
	default:
		shapes = append(shapes, "tokens=namespace")
	}
	if len(rules) == 2 {
		shapes = append(shapes, "tokens=two")
	}
	rule := rules[0].(map[string]any)
	if rule["audiences"] != nil {
		shapes = append(shapes, "tokens=audiences")
	}
	if rule["forwardOriginalToken"] == true {
		shapes = append(shapes, "tokens=forwarded")
	}
	return shapes
}

func policyShapes(object unstructured.Unstructured, spec map[string]any) []string {
	action, _ := spec["action"].(string)
	shapes := []string{"action=" + action, "reach=" + reachOf(object, spec)}
	if object.GetAnnotations()["istio.io/dry-run"] == "true" {
		shapes = append(shapes, "dry-run")
	}
	rules, _ := spec["rules"].([]any)
	if len(rules) == 0 {
		return append(shapes, "rules=none")
	}
	shapes = append(shapes, fmt.Sprintf("rules=%d", len(rules)))
	for _, item := range rules {
		shapes = append(shapes, ruleShapes(item.(map[string]any))...)
	}
	return shapes
}

func reachOf(object unstructured.Unstructured, spec map[string]any) string {
	root := object.GetNamespace() == randommesh.RootNamespace
	_, selects := spec["selector"]
	refs, _ := spec["targetRefs"].([]any)
	switch {
	case len(refs) > 0:
		return refs[0].(map[string]any)["kind"].(string)
	case root && selects:
		return "root-selector"
	case root:
		return "root"
	case selects:
		return "selector"
	default:
		return "namespace"
	}
}

func ruleShapes(rule map[string]any) []string {
	if len(rule) == 0 {
		return []string{"rules=empty"}
	}
	var shapes, parts []string
	for _, part := range []string{"from", "to", "when"} {
		items, _ := rule[part].([]any)
		if len(items) == 0 {
			continue
		}
		parts = append(parts, part)
		if len(items) == 2 {
			shapes = append(shapes, part+"=2")
		}
		for _, item := range items {
			fields := item.(map[string]any)
			if key, is := fields["key"]; is {
				shapes = append(shapes, key.(string))
			}
			for _, name := range []string{"source", "operation"} {
				if inner, is := fields[name].(map[string]any); is {
					fields = inner
				}
			}
			shapes = append(shapes, fieldShapes(fields)...)
		}
	}
	return append(shapes, "rule="+strings.Join(parts, ","))
}

func fieldShapes(fields map[string]any) []string {
	var shapes []string
	for name, list := range fields {
		values, is := list.([]any)
		if !is {
			continue
		}
		shapes = append(shapes, name)
		for _, value := range values {
			shapes = append(shapes, "pattern="+patternOf(value.(string)))
		}
	}
	return shapes
}

func patternOf(value string) string {
	switch {
	case strings.Contains(value, "{"):
		return "template"
	case value == "*":
		return "any"
	case strings.HasSuffix(value, "*"):
		return "prefix"
	case strings.HasPrefix(value, "*"):
		return "suffix"
	default:
		return "exact"
	}
}
