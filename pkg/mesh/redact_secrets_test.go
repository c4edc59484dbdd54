package mesh

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// Each of these holds a secret somewhere, and something that has to stay.
func TestRedactFindsPlantedSecrets(t *testing.T) {
	tests := map[string]struct {
		object string
		kept   []string
		lost   bool
	}{
		"telling variables of an application": {`
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  containers:
  - {name: main, env: [{name: ENABLE_X, value: hunter2}, {name: SPIRE_TOKEN, value: hunter2}]}
  - {name: discovery, env: [{name: PILOT_ENABLE_AMBIENT, value: kept-1}]}
  - {name: install-cni, env: [{name: AMBIENT_ENABLED, value: kept-2}]}
  - {name: aws-node, env: [{name: ENABLE_POD_ENI, value: kept-3}]}
  - {name: calico-node, env: [{name: FELIX_BPFENABLED, value: kept-4}]}`, []string{"ENABLE_X", "kept-1", "kept-2", "kept-3", "kept-4"}, true},
		"queries of probes and hooks": {`
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec:
  template:
    spec:
      containers:
      - livenessProbe: {httpGet: {path: '/kept-1?token=hunter2'}}
        readinessProbe: {httpGet: {path: '/kept-2?hunter2'}}
        startupProbe: {httpGet: {path: '/kept-3?a=b?hunter2'}}
        lifecycle: {preStop: {httpGet: {path: '/kept-4?hunter2'}}, postStart: {httpGet: {path: '/kept-5?'}}}`, []string{"/kept-1?", "/kept-2?", "/kept-3?", "/kept-4?", "/kept-5?"}, true},
		"volumes": {`
apiVersion: batch/v1
kind: CronJob
metadata: {name: a}
spec:
  jobTemplate:
    spec:
      template:
        spec:
          volumes:
          - {name: a, csi: {driver: kept-1, volumeAttributes: {user: hunter2, empty: ''}}}
          - {name: b, flexVolume: {driver: kept-2, options: {password: hunter2}}}
          - {name: c, hostPath: {path: /kept-3/spire}}`, []string{"kept-1", "kept-2", "kept-3", "user", "password"}, true},
		"annotations of a CronJob, its Jobs and their pods": {`
apiVersion: batch/v1
kind: CronJob
metadata: {name: a, annotations: {example.com/a: hunter2, argocd.argoproj.io/tracking-id: kept-1, kustomize.toolkit.fluxcd.io/reconcile: kept-2, kubernetes.io/change-cause: kubectl set env A=hunter2}}
spec:
  jobTemplate:
    metadata: {annotations: {vault.example.com/template: hunter2}}
    spec:
      template:
        metadata:
          annotations:
            example.com/b: hunter2
            istio.io.example.com/b: hunter2
            sidecar.istio.io/inject: kept-3
            proxy.istio.io/overrides: '{"containers":[{"env":[{"name":"A","value":"hunter2"}]}]}'
            sidecar.istio.io/userVolume: '[{"name":"a","csi":{"volumeAttributes":{"a":"hunter2"}}}]'
            prometheus-io/path: /kept-4?token=hunter2
            prometheus.io/password: hunter2
            kubectl.kubernetes.io/restartedAt: kept-5
            ambient.kubectl-ambient.dev/suppress: kept-6
            meta.helm.sh/release-name: kept-7
            vpc.amazonaws.com/pod-eni: '[{}]'`, []string{"kept-1", "kept-2", "kept-3", "/kept-4", "kept-5", "kept-6", "kept-7", "example.com/a", "proxy.istio.io/overrides", "vpc.amazonaws.com/pod-eni"}, true},
		"the sidecar's own configuration": {`
apiVersion: v1
kind: Pod
metadata:
  name: a
  annotations:
    proxy.istio.io/config: |
      concurrency: 7
      proxyMetadata: {ISTIO_META_DNS_CAPTURE: kept-1, TOKEN: hunter2, EMPTY: ""}
      tracing: {lightstep: {accessToken: hunter2}, sampling: 10}
      extraStatTags: [hunter2]
spec: {}`, []string{"concurrency: 7", "kept-1", "TOKEN", "accessToken", "sampling: 10", "extraStatTags"}, true},
		"a sidecar's configuration that cannot be read": {"{apiVersion: v1, kind: Pod, metadata: {name: a, annotations: {proxy.istio.io/config: '[hunter2'}}, spec: {}}", nil, true},
		"a mesh's configuration": {`
apiVersion: v1
kind: ConfigMap
metadata: {name: istio}
data:
  mesh: |
    rootNamespace: kept-1
    trustDomain: kept-2
    trustDomainAliases: [kept-3]
    discoverySelectors: [{matchLabels: {a: kept-4}}]
    outboundTrafficPolicy: {mode: REGISTRY_ONLY}
    enableTracing: true
    enablePrometheusMerge: false
    defaultProviders: {tracing: [kept-5]}
    extensionProviders:
    - {name: kept-6, opentelemetry: {service: o, http: {headers: [{name: a, value: hunter2}]}}}
    - {name: kept-7, envoyExtAuthzHttp: {headersToUpstreamOnAllow: [hunter2]}}
    - {name: kept-9, envoyExtAuthzGrpc: {service: kept-10.authz.svc.cluster.local, failOpen: true, statusOnError: hunter2}}
    caCertificates: [{pem: hunter2}]
    defaultConfig:
      discoveryAddress: hunter2
      proxyMetadata: {ISTIO_META_X: kept-8, TOKEN: hunter2}
      tracing: {zipkin: {address: hunter2}, lightstep: {accessToken: hunter2}}`, []string{
			"kept-1", "kept-2", "kept-3", "kept-4", "kept-5", "kept-6", "kept-7", "kept-8", "kept-9", "kept-10.authz", "failOpen: true", "REGISTRY_ONLY", "enableTracing: true", "enablePrometheusMerge: false",
			"opentelemetry: {}", "envoyExtAuthzHttp: {}", "TOKEN", "zipkin", "lightstep",
		}, true},
		"a mesh's configuration that cannot be read": {"{apiVersion: v1, kind: ConfigMap, metadata: {name: istio}, data: {mesh: 'a: [hunter2'}}", nil, true},
		"settings of the wrong type":                 {"{apiVersion: v1, kind: ConfigMap, metadata: {name: istio}, data: {mesh: '{extensionProviders: hunter2, defaultConfig: [hunter2]}'}}", []string{"extensionProviders", "defaultConfig"}, true},
		"what containers said": {`
apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {}
status:
  containerStatuses: [{state: {terminated: {reason: kept-1, exitCode: 1, message: hunter2}}, lastState: {terminated: {reason: kept-2, message: hunter2}}}]
  initContainerStatuses: [{state: {waiting: {reason: kept-3, message: 'exec: hunter2'}}}]
  ephemeralContainerStatuses: [{lastState: {terminated: {message: hunter2}}}]`, []string{"kept-1", "kept-2", "kept-3", "exitCode"}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			object := objectOf(t, strings.TrimPrefix(test.object, "\n"))
			once, lost := redact(object)
			data, err := yaml.Marshal(once.Object)
			if err != nil {
				t.Fatal(err)
			}
			text := string(data)
			if strings.Contains(text, "hunter2") {
				t.Errorf("a secret is left in\n%s", text)
			}
			for _, kept := range test.kept {
				if !strings.Contains(text, kept) {
					t.Errorf("%s is not left in\n%s", kept, text)
				}
			}
			if lost != test.lost {
				t.Errorf("lost is %t", lost)
			}
			twice, lost := redact(once)
			if diff := cmp.Diff(once.Object, twice.Object); diff != "" || lost {
				t.Errorf("redacting again changes something: %t (-once +twice):\n%s", lost, diff)
			}
		})
	}
}
