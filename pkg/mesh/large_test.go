package mesh_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"sigs.k8s.io/yaml"
)

// largeDump is what kubectl prints for a list of pods with sidecars, made while
// it is read.
type largeDump struct {
	// size is how many bytes of pods there are to be, at least.
	size int
	// pod writes one, with what goes before it.
	pod        func(into *bytes.Buffer, number int)
	head, tail string
	// each is called for every megabyte that was read.
	each func()

	pending             bytes.Buffer
	pods, written, read int
	begun, ended        bool
}

func (d *largeDump) Read(into []byte) (int, error) {
	for d.pending.Len() < len(into) && !d.ended {
		d.write()
	}
	n, err := d.pending.Read(into)
	megabytes := d.read >> 20
	d.read += n
	if d.each != nil && d.read>>20 > megabytes {
		d.each()
	}
	return n, err
}

func (d *largeDump) write() {
	before := d.pending.Len()
	switch {
	case !d.begun:
		d.pending.WriteString(d.head)
		d.begun = true
	case d.written < d.size:
		d.pod(&d.pending, d.pods)
		d.pods++
	default:
		d.pending.WriteString(d.tail)
		d.ended = true
	}
	d.written += d.pending.Len() - before
}

// largePod is one pod as the API server returns it, the injected sidecar and
// what the kubelet says included.
func largePod() string {
	const name = "cart-0000000"
	environment, conditions := "", ""
	for i := range 24 {
		environment += fmt.Sprintf("    - {name: SETTING_%d, value: \"a value of %s that is not for everybody, number %d\"}\n", i, name, i)
	}
	for _, kind := range []string{"PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"} {
		conditions += "  - {type: " + kind + ", status: \"True\", lastProbeTime: null, lastTransitionTime: \"2026-08-01T12:00:00Z\"}\n"
	}
	return `apiVersion: v1
kind: Pod
metadata:
  name: ` + name + `
  namespace: shop
  uid: 0a1b2c3d-0000-4000-8000-000000000000
  resourceVersion: "1"
  creationTimestamp: "2026-08-01T12:00:00Z"
  generateName: cart-
  labels: {app: cart, pod-template-hash: 5d8f7, security.istio.io/tlsMode: istio, networking.istio.io/tunnel: http, service.istio.io/canonical-name: cart}
  annotations:
    istio.io/rev: default
    sidecar.istio.io/status: '{"initContainers":["istio-init"],"containers":["istio-proxy"],"volumes":["workload-socket","istio-envoy","istio-data","istio-podinfo","istio-token","istiod-ca-cert"],"imagePullSecrets":null,"revision":"default"}'
    example.com/notes: |
      One line.
      - not an item
      ---- nor a document
  ownerReferences:
  - {apiVersion: apps/v1, kind: ReplicaSet, name: cart-5d8f7, uid: 0a1b2c3d-0000-4000-8000-aaaaaaaaaaaa, controller: true, blockOwnerDeletion: true}
spec:
  serviceAccountName: cart
  nodeName: node-1
  containers:
  - name: main
    image: example.com/cart:1
    command: [/bin/cart, --listen, ":8080", --verbose]
    ports: [{containerPort: 8080, protocol: TCP}]
    resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 256Mi}}
    readinessProbe: {httpGet: {path: /ready, port: 8080, scheme: HTTP}, periodSeconds: 10, failureThreshold: 3}
    volumeMounts: [{name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}]
    env:
` + environment + `  - name: istio-proxy
    image: docker.io/istio/proxyv2:1.31.1
    args: [proxy, sidecar, --domain, $(POD_NAMESPACE).svc.cluster.local, --proxyLogLevel=warning, --log_output_level=default:info]
    env:
` + environment + `  volumes:
  - name: token
    projected: {defaultMode: 420, sources: [{serviceAccountToken: {expirationSeconds: 3607, path: token}}, {configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}}]}
  tolerations: [{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 300}]
status:
  phase: Running
  podIP: 10.0.0.1
  conditions:
` + conditions + `  containerStatuses:
  - {name: main, ready: true, restartCount: 0, image: "example.com/cart:1", imageID: "example.com/cart@sha256:0000", started: true, state: {running: {startedAt: "2026-08-01T12:00:00Z"}}}
`
}

var podNumber = regexp.MustCompile(`0000000`)

func largeYAML(size int) *largeDump {
	// Written as kubectl does, in block style.
	text, err := yaml.Marshal(parsedObject(largePod()))
	if err != nil {
		panic(err)
	}
	item := "- " + strings.TrimSuffix(strings.ReplaceAll(string(text), "\n", "\n  "), "  ")
	return &largeDump{size: size, head: "apiVersion: v1\nitems:\n", tail: "kind: List\nmetadata:\n  resourceVersion: \"\"\n", pod: numbered(item)}
}

func largeJSON(size int) *largeDump {
	text, err := indented(parsedObject(largePod()))
	if err != nil {
		panic(err)
	}
	return &largeDump{
		size: size, head: "{\n    \"apiVersion\": \"v1\",\n    \"items\": [\n", tail: "\n    ],\n    \"kind\": \"List\"\n}\n", pod: between(numbered(text), ",\n"),
	}
}

// numbered writes the pod with another number in its name and UID.
func numbered(text string) func(*bytes.Buffer, int) {
	parts := podNumber.Split(text, -1)
	return func(into *bytes.Buffer, number int) {
		for i, part := range parts {
			if i > 0 {
				fmt.Fprintf(into, "%07d", number)
			}
			into.WriteString(part)
		}
	}
}

func parsedObject(text string) map[string]any {
	var value map[string]any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		panic(err)
	}
	return value
}

// indented is JSON as kubectl prints it.
func indented(value any) (string, error) {
	text, err := json.MarshalIndent(value, "        ", "    ")
	return "        " + string(text), err
}

// largeLine is JSON as the API server itself sends it.
func largeLine(size int) *largeDump {
	text, err := json.Marshal(parsedObject(largePod()))
	if err != nil {
		panic(err)
	}
	dump := largeJSON(size)
	dump.head, dump.tail, dump.pod = `{"kind":"PodList","apiVersion":"v1","items":[`, "]}", between(numbered(string(text)), ",")
	return dump
}

// between writes a text between the pods.
func between(pod func(*bytes.Buffer, int), text string) func(*bytes.Buffer, int) {
	return func(into *bytes.Buffer, number int) {
		if number > 0 {
			into.WriteString(text)
		}
		pod(into, number)
	}
}

func largeDumps(size int) map[string]*largeDump {
	return map[string]*largeDump{"YAML": largeYAML(size), "JSON": largeJSON(size), "JSON in one line": largeLine(size)}
}

// While a dump is read, hardly more is in memory than what is kept of it so far:
// neither its text nor what its objects were before they were redacted.
func TestALargeDumpIsReadObjectByObject(t *testing.T) {
	for name, dump := range largeDumps(10 << 20) {
		t.Run(name, func(t *testing.T) {
			before, most := live(), uint64(0)
			dump.each = func() { most = max(most, live()-before) }
			content, err := mesh.ReadFiles(t.Context(), mesh.Files{Names: []string{"-"}, Stdin: dump})
			if err != nil {
				t.Fatal(err)
			}
			kept := live() - before
			if len(content.Objects) != dump.pods || len(content.Originals) != 0 {
				t.Errorf("%d of %d pods are kept, and %d originals", len(content.Objects), dump.pods, len(content.Originals))
			}
			// Besides, there are one object in all its shapes and some buffers.
			if most > kept+4<<20 {
				t.Errorf("%d MB were held to keep %d MB", most>>20, kept>>20)
			}
			if perPod := kept / uint64(dump.pods); perPod > 64<<10 {
				t.Errorf("a pod takes %d KB", perPod>>10)
			}
			runtime.KeepAlive(content)
		})
	}
}

// live is how much memory is in use.
func live() uint64 {
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return memory.HeapAlloc
}

// A dump of 200 MB: how long it takes to read and to make a snapshot of, what is
// kept of it, and how much memory the process has had at most. Run each by itself:
//
//	go test ./pkg/mesh -run - -bench 200MB/YAML -benchtime 1x
func BenchmarkReadFiles200MB(b *testing.B) {
	for name, write := range map[string]func(int) *largeDump{"YAML": largeYAML, "JSON": largeJSON} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				dump := write(200 << 20)
				content, err := mesh.ReadFiles(b.Context(), mesh.Files{Names: []string{"-"}, Stdin: dump})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(b.Elapsed().Seconds(), "s-to-read")
				b.ReportMetric(float64(live()>>20), "kept-MB")
				snapshot, err := mesh.NewSnapshot(content)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(len(snapshot.AllPods())), "pods")
				var memory runtime.MemStats
				runtime.ReadMemStats(&memory)
				b.ReportMetric(float64(memory.Sys>>20), "most-MB")
				runtime.KeepAlive(content)
			}
		})
	}
}
