package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// protected is a namespace whose policies need HTTP: rules by method and path, for
// known callers and for any, a DENY that would refuse the waypoint, one that ztunnel would not enforce, tokens, a
// selector-less policy, and a second Service for the same pods on another port.
const protected = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: web}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: cart}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {serviceAccountName: web, containers: [{name: web, image: web, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
spec:
  replicas: 2
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart}}
    spec: {serviceAccountName: cart, containers: [{name: cart, image: cart, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {selector: {app: cart}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart-admin}
spec: {selector: {app: cart}, ports: [{name: http, port: 9000, targetPort: 8080}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nothing}
spec: {}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: browsers}
spec:
  selector: {matchLabels: {app: web}}
  action: ALLOW
  rules: [{to: [{operation: {methods: [GET]}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers}
spec:
  selector: {matchLabels: {app: cart}}
  action: ALLOW
  rules:
  - from: [{source: {principals: [cluster.local/ns/NAMESPACE/sa/web]}}]
    to: [{operation: {methods: [GET], ports: ["8080"]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-web-to-admin}
spec:
  selector: {matchLabels: {app: cart}}
  action: DENY
  rules:
  - from: [{source: {notPrincipals: [cluster.local/ns/NAMESPACE/sa/web]}}]
    to: [{operation: {paths: ["/admin*"], ports: ["8080"]}}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens}
spec:
  selector: {matchLabels: {app: cart}}
  jwtRules: [{issuer: issuer.example, jwks: '{"keys":[]}'}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: audited}
spec: {action: AUDIT, rules: [{to: [{operation: {methods: [POST]}}]}]}
`

// TestPoliciesThereAndBack moves a namespace that protects itself by HTTP, and wants
// every copy to be bound to its waypoint on the way and the former policies, and
// nothing else, at the end.
func TestPoliciesThereAndBack(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		namespace string
		labels    map[string]string
		options   []string
	}{
		{"policies", map[string]string{"istio-injection": "enabled"}, nil},
		{"policies-rev", map[string]string{"istio.io/rev": "canary"}, []string{"--waypoint-replicas=2", "--waypoint=layer7"}},
		{"policies-scope", map[string]string{"istio-injection": "enabled"}, []string{"--waypoint-scope=namespace"}},
	} {
		t.Run(test.namespace, func(t *testing.T) {
			t.Parallel()
			c := shared
			c.namespace(t, test.namespace, test.labels)
			c.applyText(t, test.namespace, strings.ReplaceAll(protected, "NAMESPACE", test.namespace))
			c.settled(t, test.namespace)
			before := c.state(t, test.namespace)

			arguments := append([]string{"-n", test.namespace}, test.options...)
			blocked := c.ambient(t, append([]string{"plan"}, arguments...)...).want(t, 3)
			says(t, blocked.stdout, "mixed-callers", "--mixed-callers=deny")
			c.ambient(t, append([]string{"enroll", "--yes"}, arguments...)...).want(t, 3)
			c.wantState(t, test.namespace, before)

			arguments = append(arguments, "--mixed-callers=deny")
			c.ambient(t, append([]string{"enroll", "--dry-run=server"}, arguments...)...).want(t, 0)
			c.wantState(t, test.namespace, before)
			c.ambient(t, append([]string{"enroll", "--yes"}, arguments...)...).want(t, 0)
			c.wantNoSidecars(t, test.namespace)
			c.wantBound(t, test.namespace)
			c.ambient(t, "verify", "-n", test.namespace).want(t, 0)
			says(t, c.ambient(t, append([]string{"enroll", "--yes"}, arguments...)...).want(t, 0).stdout, "nothing to do")

			c.ambient(t, "rollback", "-n", test.namespace, "--yes").want(t, 0)
			c.settled(t, test.namespace)
			c.wantSidecars(t, test.namespace)
			c.wantState(t, test.namespace, before)
		})
	}
}

var authorizationPolicies = schema.GroupVersionResource{Group: "security.istio.io", Version: "v1", Resource: "authorizationpolicies"}

// wantBound wants istiod to say of every policy with targets that it is bound, and
// of every Service that uses a waypoint that it is.
func (c *cluster) wantBound(t *testing.T, namespace string) {
	t.Helper()
	copies := 0
	list, err := c.dynamic.Resource(authorizationPolicies).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		policy := &list.Items[i]
		if _, targeted, _ := unstructured.NestedSlice(policy.Object, "spec", "targetRefs"); !targeted {
			continue
		}
		copies++
		if policy.GetLabels()[v1alpha1.OriginLabel] == "" {
			t.Errorf("AuthorizationPolicy %s does not say what it carries over", policy.GetName())
		}
		c.eventually(t, "policy "+policy.GetName()+" to be bound", func(ctx context.Context) error {
			live, err := c.dynamic.Resource(authorizationPolicies).Namespace(namespace).Get(ctx, policy.GetName(), metav1.GetOptions{})
			if err != nil {
				return err
			}
			return accepted(live)
		})
	}
	if copies == 0 {
		t.Error("no policy is attached to the waypoint")
	}
}

// accepted wants the condition by which istiod says that a policy holds at its
// waypoint.
func accepted(policy *unstructured.Unstructured) error {
	conditions, _, _ := unstructured.NestedSlice(policy.Object, "status", "conditions")
	for _, item := range conditions {
		condition, _ := item.(map[string]any)
		if condition["type"] == "WaypointAccepted" && condition["status"] == "True" && condition["reason"] == "Accepted" {
			return nil
		}
	}
	return fmt.Errorf("its conditions are %v", conditions)
}
