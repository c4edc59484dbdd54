package translate_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
)

const replacedYAML = `apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.0.0.1, selector: {app: cart}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: shop, labels: {istio.io/use-waypoint: none}}
spec: {clusterIP: 10.0.0.2, selector: {app: plain}, ports: [{name: http, port: 80}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: shop}
spec: {selector: {matchLabels: {app: cart}}, rules: [{to: [{operation: {methods: [GET]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: by-address, namespace: shop}
spec: {selector: {matchLabels: {app: plain}}, rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: whole-mesh, namespace: istio-system}
spec: {action: DENY, rules: [{to: [{operation: {methods: [TRACE]}}]}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: shop}
spec: {jwtRules: [{issuer: issuer.example}]}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: logs, namespace: shop}
spec: {selector: {matchLabels: {app: cart}}, accessLogging: [{providers: [{name: envoy}]}]}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: all-logs, namespace: shop}
spec: {accessLogging: [{providers: [{name: envoy}]}]}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: inbound, namespace: shop}
spec: {workloadSelector: {labels: {app: cart}}, configPatches: [{applyTo: HTTP_FILTER, match: {context: SIDECAR_INBOUND}}]}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: any, namespace: shop}
spec: {workloadSelector: {labels: {app: cart}}, configPatches: [{applyTo: HTTP_FILTER, match: {context: ANY}}]}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: root, namespace: istio-system}
spec: {configPatches: [{applyTo: HTTP_FILTER, match: {context: SIDECAR_INBOUND}}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: shop}
spec: {egress: [{hosts: ["./*"]}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: cart, namespace: shop}
spec: {workloadSelector: {labels: {app: cart}}, egress: [{hosts: ["./*"]}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: istio-system}
spec: {egress: [{hosts: ["./*"]}]}
`

func TestSuperseded(t *testing.T) {
	const (
		later   = "it is for the whole namespace, Services included that are yet to come, and what stands in for it is for those that are there"
		gateway = "Deployment edge is a proxy that reads it"
		machine = "WorkloadEntry vm is a proxy that reads it"
		group   = "WorkloadGroup vms is a proxy that reads it"
	)
	edge := fixture.Deployment("shop", "edge", fixture.InjectedGateway, fixture.TemplateLabel("app", "cart"))
	for _, test := range []struct {
		name  string
		parts []any
		want  map[string]string
	}{
		{"all moved", nil, map[string]string{
			"AuthorizationPolicy shop/readers": "", "EnvoyFilter shop/inbound": "", "RequestAuthentication shop/tokens": "",
			"Sidecar shop/cart": "", "Sidecar shop/default": "", "Telemetry shop/logs": "",
		}},
		{"for Services that are yet to come", []any{fixture.YAML("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: ports, namespace: shop}\nspec: {action: DENY, rules: [{to: [{operation: {ports: [\"80\"], methods: [PUT]}}]}]}")}, map[string]string{
			"AuthorizationPolicy shop/ports": later, "AuthorizationPolicy shop/readers": "", "EnvoyFilter shop/inbound": "", "RequestAuthentication shop/tokens": "",
			"Sidecar shop/cart": "", "Sidecar shop/default": "", "Telemetry shop/logs": "",
		}},
		{"a gateway", []any{edge}, map[string]string{
			"AuthorizationPolicy shop/readers": gateway, "EnvoyFilter shop/inbound": gateway, "RequestAuthentication shop/tokens": gateway,
			"Sidecar shop/cart": gateway, "Sidecar shop/default": gateway, "Telemetry shop/logs": gateway,
		}},
		{"a virtual machine", []any{fixture.YAML("apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: vm, namespace: shop}\nspec: {address: 10.9.9.9, labels: {app: cart}}")}, map[string]string{
			"AuthorizationPolicy shop/readers": machine, "EnvoyFilter shop/inbound": machine, "RequestAuthentication shop/tokens": machine,
			"Sidecar shop/cart": machine, "Sidecar shop/default": machine, "Telemetry shop/logs": machine,
		}},
		{"another virtual machine", []any{fixture.YAML("apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {name: vms, namespace: shop}\nspec: {metadata: {labels: {app: db}}, template: {}}")}, map[string]string{
			"AuthorizationPolicy shop/readers": "", "EnvoyFilter shop/inbound": "", "RequestAuthentication shop/tokens": group,
			"Sidecar shop/cart": "", "Sidecar shop/default": group, "Telemetry shop/logs": "",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cart, plain := fixture.Deployment("shop", "cart"), fixture.Deployment("shop", "plain")
			snapshot := fixture.Snapshot(fixture.Installation(), fixture.Namespace("shop", map[string]string{"istio-injection": "enabled"}),
				cart, plain, fixture.PodsOf(cart, fixture.Sidecar), fixture.YAML(replacedYAML), test.parts)
			namespace := fixture.Find(snapshot, "shop")
			translation, err := translate.Namespace(snapshot, namespace, translate.Options{})
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, one := range translate.SupersededIn(snapshot, namespace, translation) {
				got[one.Object.String()] = one.Kept
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("superseded are (-want +got):\n%s", diff)
			}
		})
	}
}
