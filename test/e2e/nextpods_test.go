package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// The namespace in which names and templates change: who calls till has to prove who they
// are, which a policy for its pods alone asks for. All else has no pods, or keeps those that
// it has when its template changes.
const (
	tillService = `
apiVersion: v1
kind: Service
metadata: {name: till}
spec: {selector: {app: till}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: closed}
spec:
  replicas: 0
  selector: {matchLabels: {app: closed}}
  template: {metadata: {labels: {app: closed}}, spec: {containers: [{name: app, image: app}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: ledger}
spec:
  serviceName: ledger
  updateStrategy: {type: OnDelete}
  selector: {matchLabels: {app: ledger}}
  template: {metadata: {labels: {app: ledger}}, spec: {containers: [{name: app, image: app}]}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: report}
spec:
  schedule: "0 3 1 1 *"
  jobTemplate: {spec: {template: {metadata: {labels: {app: report}}, spec: {restartPolicy: Never, containers: [{name: app, image: app}]}}}}`
	till = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: till, release: NAME}}
  template: {metadata: {labels: {app: till, release: NAME}}, spec: {containers: [{name: app, image: app}]}}`
	tillStrict = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: till}
spec: {selector: {matchLabels: {app: till}}, mtls: {mode: STRICT}}`
)

// verifyNextPods has verify find what no pod of an enrolled namespace shows: what templates
// would make of the next ones, and what a workload was under another name.
func (c *cluster) verifyNextPods(t *testing.T) {
	t.Helper()
	const namespace = "till"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, tillService)
	c.applyText(t, namespace, named("till"))
	c.applyText(t, namespace, tillStrict)
	c.settled(t, namespace)
	c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 0)
	// What follows is what the observer would complain about.
	c.observer.end(t, namespace)
	c.plantAll(t, namespace, c.nextPodFaults(namespace))
}

// named is the Deployment of till under a name.
func named(name string) string { return strings.ReplaceAll(till, "NAME", name) }

// nextPodFaults are those that no pod shows.
func (c *cluster) nextPodFaults(namespace string) []fault {
	kubectl := c.kubectlIn(namespace)
	// labelled has a template labelled, which the enrolment has left with another value; null
	// is for none.
	labelled := func(object, path, label, value, left string) func(t *testing.T) func() {
		return func(t *testing.T) func() {
			set := func(value string) {
				patch := fmt.Sprintf(path, fmt.Sprintf(`{"metadata":{"labels":{%q:%s}}}`, label, value))
				kubectl(t, "patch", object, "--type=merge", "-p", patch)
			}
			set(value)
			return func() { set(left) }
		}
	}
	const (
		jobTemplate, template = `{"spec":{"jobTemplate":{"spec":{"template":%s}}}}`, `{"spec":{"template":%s}}`
		inject, mode          = "sidecar.istio.io/inject", "istio.io/dataplane-mode"
		asks                  = "its next pods would get a sidecar: its template asks for one"
		refuses               = "its next pods would be outside the mesh, in which it was before the enrolment: its template refuses ambient mode"
	)
	return []fault{
		{
			name: "a CronJob that asks for a sidecar again", plant: labelled("cronjob/report", jobTemplate, inject, `"true"`, `"false"`),
			want: []string{"fail restarts-complete CronJob report"}, says: asks,
		},
		{
			name: "a Deployment of no replicas that asks for a sidecar again", plant: labelled("deployment/closed", template, inject, `"true"`, `"false"`),
			want: []string{"fail restarts-complete Deployment closed"}, says: asks,
		},
		{
			name: "a StatefulSet that asks for a sidecar again and keeps its pods", plant: labelled("statefulset/ledger", template, inject, `"true"`, `"false"`),
			want: []string{"fail restarts-complete StatefulSet ledger"}, says: asks,
		},
		{
			name: "a CronJob that refuses ambient mode", plant: labelled("cronjob/report", jobTemplate, mode, `"none"`, "null"),
			want: []string{"fail outside-mesh CronJob report"}, says: refuses,
		},
		{
			name: "a Deployment of no replicas that refuses ambient mode", plant: labelled("deployment/closed", template, mode, `"none"`, "null"),
			want: []string{"fail outside-mesh Deployment closed"}, says: refuses,
		},
		{
			name: "a workload of another name whose STRICT is gone",
			plant: func(t *testing.T) func() {
				swap := func(name, former string) {
					path := file(t, named(name))
					kubectl(t, "apply", "-f", path)
					kubectl(t, "rollout", "status", "deployment/"+name, "--timeout=60s")
					kubectl(t, "delete", "deployment", former)
				}
				swap("counter", "till")
				// That it has another name is no matter of STRICT.
				c.wantFindings(t, namespace, []string{"warn workloads-kept Deployment till"}, "it is gone, and had 1 pod ready before")
				path := file(t, tillStrict)
				kubectl(t, "delete", "-f", path)
				return func() {
					kubectl(t, "apply", "-f", path)
					swap("till", "counter")
				}
			},
			want: []string{"fail strict-kept Deployment counter", "warn workloads-kept Deployment till"},
			says: "Deployment till/till, which is gone, refused them before the enrolment by PeerAuthentication till/till, which is gone",
		},
	}
}
