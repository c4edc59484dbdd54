package mesh

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

func objectOf(t *testing.T, text string) unstructured.Unstructured {
	t.Helper()
	var rest chunk
	rest.add([]byte(text), 1)
	value, err := rest.parse(position{file: "f", line: 1, document: 1})
	if err != nil {
		t.Fatal(err)
	}
	return unstructured.Unstructured{Object: value.(map[string]any)}
}

func TestRedact(t *testing.T) {
	tests := []struct {
		name, object, want string
		lost               bool
	}{
		{
			"what kubectl last applied",
			"{apiVersion: v1, kind: Service, metadata: {name: a, annotations: {kubectl.kubernetes.io/last-applied-configuration: x, example.com/a: b}}, spec: {x: y}}",
			"{apiVersion: v1, kind: Service, metadata: {name: a, annotations: {example.com/a: b}}, spec: {x: y}}", false,
		},
		{
			"what kubectl last applied alone",
			"{apiVersion: v1, kind: Service, metadata: {name: a, annotations: {kubectl.kubernetes.io/last-applied-configuration: x}}}",
			"{apiVersion: v1, kind: Service, metadata: {name: a}}", false,
		},
		{
			"field managers of what is migrated",
			"{apiVersion: v1, kind: Namespace, metadata: {name: a, managedFields: [{manager: kubectl}]}}",
			"{apiVersion: v1, kind: Namespace, metadata: {name: a, managedFields: [{manager: kubectl}]}}", false,
		},
		{
			"field managers of what is not",
			"{apiVersion: v1, kind: Pod, metadata: {name: a, managedFields: [{manager: kubelet}]}}", "{apiVersion: v1, kind: Pod, metadata: {name: a}}", false,
		},
		{
			"a kind that means nothing here",
			"{apiVersion: example.com/v1, kind: Basket, metadata: {name: a, annotations: {kubectl.kubernetes.io/last-applied-configuration: x}, managedFields: []}, spec: {password: hunter2}, data: {a: b}}",
			"{apiVersion: example.com/v1, kind: Basket, metadata: {name: a}}", false,
		},
		{"a Secret", "{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {a: b}, stringData: {c: d}}", "{apiVersion: v1, kind: Secret, metadata: {name: a}}", false},
		{
			"a CustomResourceDefinition", "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: a, labels: {b: c}}, spec: {x: y}, status: {}}",
			"{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: a, labels: {b: c}}}", false,
		},
		{
			"Istio's own, which a simplification may delete", "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, managedFields: []}, spec: {http: [{headers: {request: {set: {a: b}}}}]}}",
			"{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, managedFields: []}, spec: {http: [{headers: {request: {set: {a: b}}}}]}}", false,
		},
		{
			"Istio's own, which nothing deletes", "{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: a, managedFields: []}, spec: {address: 10.0.0.1}}",
			"{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: a}, spec: {address: 10.0.0.1}}", false,
		},
		{"a Node", "{apiVersion: v1, kind: Node, metadata: {name: a}, status: {images: [{names: [x]}], nodeInfo: {a: b}}}", "{apiVersion: v1, kind: Node, metadata: {name: a}, status: {nodeInfo: {a: b}}}", false},
		{
			"webhooks", "{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingWebhookConfiguration, metadata: {name: a}, webhooks: [{name: x, clientConfig: {caBundle: QQ==, service: {name: s}}}, {name: y}]}",
			"{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingWebhookConfiguration, metadata: {name: a}, webhooks: [{name: x, clientConfig: {service: {name: s}}}, {name: y}]}", false,
		},

		{
			"variables",
			"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: main, env: [{name: PASSWORD, value: hunter2}, {name: EMPTY, value: ''}, {name: REF, valueFrom: {secretKeyRef: {name: s, key: k}}}, {name: BARE}]}]}}",
			"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: main, env: [{name: PASSWORD, value: <redacted>}, {name: EMPTY, value: ''}, {name: REF, valueFrom: {secretKeyRef: {name: s, key: k}}}, {name: BARE}]}]}}", true,
		},
		{
			"variables of every kind of container",
			"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {initContainers: [{env: [{name: A, value: b}]}], containers: [{env: [{name: A, value: b}]}], ephemeralContainers: [{env: [{name: A, value: b}]}]}}",
			"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {initContainers: [{env: [{name: A, value: <redacted>}]}], containers: [{env: [{name: A, value: <redacted>}]}], ephemeralContainers: [{env: [{name: A, value: <redacted>}]}]}}", true,
		},
		{
			"command lines",
			"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: main, command: [sh, -c, 'curl -H hunter2 localhost:15020/quitquitquit'], args: [--password, hunter2, '']}]}}",
			"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: main, command: [<redacted>, <redacted>, 15020 quitquitquit], args: [<redacted>, <redacted>, <redacted>]}]}}", true,
		},
		{
			"what is captured",
			"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {initContainers: [{name: istio-init, args: [istio-iptables, -b, '*', -d, '15090,15021,90', -m, REDIRECT, --hunter2, '']}]}}",
			"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {initContainers: [{name: istio-init, args: [<redacted>, -b, '*', -d, '15090,15021,90', -m, REDIRECT, <redacted>, '']}]}}", true,
		},
		{
			"command lines of proxies",
			"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: istio-proxy, args: [proxy, router], env: [{name: ISTIO_META_ENABLE_HBONE, value: 'true'}, {name: PROXY_CONFIG, value: '{}'}]}]}}",
			"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: istio-proxy, args: [proxy, router], env: [{name: ISTIO_META_ENABLE_HBONE, value: 'true'}, {name: PROXY_CONFIG, value: <redacted>}]}]}}", true,
		},
		{
			"nothing to redact", "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: discovery, image: x, env: [{name: PILOT_ENABLE_AMBIENT, value: 'true'}]}]}, status: {phase: Running}}",
			"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: discovery, image: x, env: [{name: PILOT_ENABLE_AMBIENT, value: 'true'}]}]}, status: {phase: Running}}", false,
		},
		{
			"headers of probes and hooks",
			"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{livenessProbe: {httpGet: {path: /, httpHeaders: [{name: Authorization, value: hunter2}]}}, lifecycle: {preStop: {httpGet: {httpHeaders: [{name: A, value: b}, {name: C, value: ''}, {name: D}]}}}}]}}",
			"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{livenessProbe: {httpGet: {path: /, httpHeaders: [{name: Authorization, value: <redacted>}]}}, lifecycle: {preStop: {httpGet: {httpHeaders: [{name: A, value: <redacted>}, {name: C, value: ''}, {name: D}]}}}}]}}", true,
		},
		{
			"a template", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, managedFields: []}, spec: {template: {spec: {containers: [{env: [{name: A, value: b}]}]}}}}",
			"{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, managedFields: []}, spec: {template: {spec: {containers: [{env: [{name: A, value: <redacted>}]}]}}}}", true,
		},
		{
			"a Rollout's template", "{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: a}, spec: {template: {spec: {containers: [{command: [x]}]}}}}",
			"{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: a}, spec: {template: {spec: {containers: [{command: [<redacted>]}]}}}}", true,
		},
		{
			"a CronJob's template", "{apiVersion: batch/v1, kind: CronJob, metadata: {name: a}, spec: {jobTemplate: {spec: {template: {spec: {containers: [{env: [{name: A, value: b}]}]}}}}}}",
			"{apiVersion: batch/v1, kind: CronJob, metadata: {name: a}, spec: {jobTemplate: {spec: {template: {spec: {containers: [{env: [{name: A, value: <redacted>}]}]}}}}}}", true,
		},

		{"a ConfigMap", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {a: b, c: ''}, binaryData: {d: QQ==}}", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {a: <redacted>, c: ''}}", true},
		{"a ConfigMap of bytes", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, binaryData: {d: QQ==}}", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}", true},
		{"an empty ConfigMap", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}", false},
		{"istio-cni's configuration", "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio-cni-config}, data: {A: b}}", "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio-cni-config}, data: {A: b}}", false},
		{"Cilium's configuration", "{apiVersion: v1, kind: ConfigMap, metadata: {name: cilium-config}, data: {a: b}}", "{apiVersion: v1, kind: ConfigMap, metadata: {name: cilium-config}, data: {a: b}}", false},
		{"the mesh's configuration", "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio}, data: {mesh: 'trustDomain: b', other: x}}", "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio}, data: {mesh: 'trustDomain: b', other: <redacted>}}", true},
		{"that of a revision", "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio-canary}, data: {mesh: 'rootNamespace: b'}}", "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio-canary}, data: {mesh: 'rootNamespace: b'}}", false},
		{"what another ConfigMap says of a mesh", "{apiVersion: v1, kind: ConfigMap, metadata: {name: istiography}, data: {mesh: 'a: b'}}", "{apiVersion: v1, kind: ConfigMap, metadata: {name: istiography}, data: {mesh: <redacted>}}", true},
		{
			"the injector's configuration",
			"{apiVersion: v1, kind: ConfigMap, metadata: {name: istio-sidecar-injector-x}, data: {config: 'policy: enabled', values: '{\"global\": {\"network\": \"n\", \"imagePullSecrets\": [\"hunter2\"]}, \"pilot\": {}}', other: x}}",
			"{apiVersion: v1, kind: ConfigMap, metadata: {name: istio-sidecar-injector-x}, data: {config: 'policy: enabled', values: \"gateways: {}\\nglobal:\\n  network: \\\"n\\\"\\n  waypoint: {}\\n\", other: <redacted>}}", true,
		},
		{"values that cannot be read", "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio-sidecar-injector}, data: {values: '{{'}}", "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio-sidecar-injector}, data: {values: <redacted>}}", true},
		{
			"a dashboard",
			"{apiVersion: v1, kind: ConfigMap, metadata: {name: d, labels: {grafana_dashboard: '1'}}, data: {a.json: 'sum(x{reporter=\"source\",a=\"hunter2\"}) + y{reporter=~\\\"destination\\\"} + z{reporter=\"source\"}', b.json: hunter2}}",
			"{apiVersion: v1, kind: ConfigMap, metadata: {name: d, labels: {grafana_dashboard: '1'}}, data: {a.json: \"reporter=\\\"source\\\"\\nreporter=~\\\\\\\"destination\\\\\\\"\", b.json: ''}}", true,
		},
		{
			"a dashboard that escapes its queries", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"d","labels":{"grafana_dashboard":"1"}},"data":{"a.json":"{\"expr\":\"x{reporter=\\\"source\\\"}\"}"}}`,
			`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"d","labels":{"grafana_dashboard":"1"}},"data":{"a.json":"reporter=\\\"source\\\""}}`, true,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			object, before := objectOf(t, test.object), objectOf(t, test.object)
			got, lost := redact(object)
			if diff := cmp.Diff(objectOf(t, test.want).Object, got.Object); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if lost != test.lost {
				t.Errorf("lost is %t", lost)
			}
			if diff := cmp.Diff(before.Object, object.Object); diff != "" {
				t.Errorf("it changed what it was given (-before +after):\n%s", diff)
			}
			again, _ := redact(got)
			if diff := cmp.Diff(got.Object, again.Object); diff != "" {
				t.Errorf("redacting again changes something (-once +twice):\n%s", diff)
			}
			if text, err := yaml.Marshal(got.Object); err != nil || strings.Contains(string(text), "hunter2") {
				t.Errorf("something is left: %s, %v", text, err)
			}
		})
	}
}

// Each of these decides something, so none may be taken out.
func TestTellingVariablesAreKept(t *testing.T) {
	for _, name := range []string{
		"PILOT_ENABLE_AMBIENT", "ENABLE_NATIVE_SIDECARS", "AMBIENT_ENABLED", "ISTIO_META_ENABLE_HBONE", "CA_TRUSTED_NODE_ACCOUNTS", "CA_ADDR", "XDS_ADDRESS", "EXTERNAL_ISTIOD",
		"CLUSTER_ID", "NETWORK", "REVISION", "PLATFORM", "CLOUD_PLATFORM", "EXCLUDE_NAMESPACES", "POD_SECURITY_GROUP_ENFORCING_MODE", "FELIX_BPFENABLED", "SPIRE_ENABLED",
	} {
		if !tellingVariables.MatchString(name) {
			t.Errorf("%s is not kept", name)
		}
	}
	for _, name := range []string{"", "PASSWORD", "MY_PILOT_TOKEN", "NETWORK_PASSWORD", "REVISION_KEY", "CA_ADDR_TOKEN", "DATABASE_URL", "pilot_x", "XDS_ADDRESSES"} {
		if tellingVariables.MatchString(name) {
			t.Errorf("%s is kept", name)
		}
	}
}

func TestTellingPart(t *testing.T) {
	for word, want := range map[string]string{
		"": Redacted, Redacted: Redacted, "sh": Redacted, "hunter2": Redacted, "curl -XPOST http://127.0.0.1:15020/quitquitquit": "15020 quitquitquit",
		"until curl localhost:15021/healthz/ready; do sleep 1; done": "15021 healthz/ready", "pilot-agent wait; pilot-agent wait": "pilot-agent", "--port=15001": "15001",
		"150010": Redacted, "x15020": Redacted, ":15090": "15090", "15020 quitquitquit": "15020 quitquitquit", "15004": Redacted,
	} {
		if got := tellingPart(word); got != want {
			t.Errorf("of %q it keeps %q, want %q", word, got, want)
		}
	}
}

// Field managers are needed of every kind that a migration writes to, and of no
// other: they are a third of a dump.
func TestManagedKindsAreUnderstood(t *testing.T) {
	kinds := map[string]bool{}
	for kind := range understood() {
		kinds[kind.Kind] = true
	}
	for _, kind := range managed {
		if !kinds[kind] {
			t.Errorf("%s is not read at all", kind)
		}
	}
}

func TestContentKeepsOriginalsOfWhatIsWritten(t *testing.T) {
	const env = "spec: {containers: [{name: main, env: [{name: A, value: b}]}]}}"
	for name, test := range map[string]struct {
		object string
		kept   bool
	}{
		"a pod":                              {"{apiVersion: v1, kind: Pod, metadata: {name: a}, " + env, true},
		"a pod that nothing was taken from":  {"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {}}", false},
		"a pod that a controller made":       {"{apiVersion: v1, kind: Pod, metadata: {name: a, ownerReferences: [{kind: ReplicaSet, name: r, uid: u, controller: true}]}, " + env, false},
		"a pod that somebody else owns":      {"{apiVersion: v1, kind: Pod, metadata: {name: a, ownerReferences: [{kind: Basket, name: r, uid: u}]}, " + env, true},
		"a Secret":                           {"{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {a: b}}", false},
		"a CustomResourceDefinition":         {"{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: a}, spec: {}}", false},
		"a ConfigMap":                        {"{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {a: b}}", true},
		"a Deployment, whatever it was read": {"{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {template: {" + env + "}}", true},
	} {
		t.Run(name, func(t *testing.T) {
			object := objectOf(t, test.object)
			var content Content
			content.Add(object)
			original, kept := content.Originals[referenceOf(&object)]
			if kept != test.kept {
				t.Fatalf("the original is kept: %t", kept)
			}
			if diff := cmp.Diff(objectOf(t, test.object).Object, map[string]any(original)); kept && diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Kinds that nothing is said of below are kept as they are.
func TestRedactKnowsEveryKindWithContainers(t *testing.T) {
	for kind := range understood() {
		for _, path := range [][]string{{"spec"}, {"spec", "template", "spec"}, {"spec", "jobTemplate", "spec", "template", "spec"}} {
			object := unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "a"}}}
			object.SetGroupVersionKind(schema.GroupVersionKind{Group: kind.Group, Version: "v1", Kind: kind.Kind})
			containers := []any{map[string]any{"env": []any{map[string]any{"name": "A", "value": "hunter2"}}}}
			if err := unstructured.SetNestedSlice(object.Object, containers, append(path, "containers")...); err != nil {
				t.Fatal(err)
			}
			redacted, _ := redact(object)
			hides := !strings.Contains(marshalled(t, redacted.Object), "hunter2")
			holdsPods := map[string]int{
				KindPod: 1, KindDeployment: 3, KindStatefulSet: 3, KindDaemonSet: 3, KindReplicaSet: 3, KindJob: 3, KindRollout: 3, KindCronJob: 5,
			}[kind.Kind] == len(path)
			if hides != (holdsPods || kind.Kind == kindCustomResourceDef) {
				t.Errorf("%s at %v is hidden: %t", kind.Kind, path, hides)
			}
		}
	}
}
