//go:build unix

package plan

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"syscall"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// What a plan may take for the town of townPolicies policies, on one core.
const (
	townSize     = 50
	townPolicies = 200
	mostTime     = 2 * time.Second
	mostMemory   = 300 << 20
)

// town is a namespace of 50 workloads behind Services and so many policies, each of
// which goes by callers, by requests or by both.
func town(policies int) *mesh.Snapshot { return fixture.Snapshot(townParts(policies)...) }

func townParts(policies int) []any {
	parts := []any{
		fixture.Without("ConfigMap", fixture.Installation()...),
		fixture.MeshConfig("rootNamespace: istio-system\ndefaultConfig: {proxyMetadata: {ISTIO_META_ENABLE_HBONE: \"true\"}}\n"),
		fixture.CNIConfig(fixture.System, map[string]string{"AMBIENT_ENABLED": "true", "EXCLUDE_NAMESPACES": "kube-system"}),
		fixture.Namespace("shop", map[string]string{"istio-injection": "enabled"}),
	}
	for i := range townSize {
		name := fmt.Sprintf("app-%d", i)
		deployment := fixture.Deployment("shop", name, func(deployment *appsv1.Deployment) {
			deployment.Spec.Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
		})
		parts = append(parts, deployment, fixture.PodsOf(deployment, fixture.Sidecar), fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: %s}
spec: {clusterIP: 10.96.1.%d, selector: {app: %s}, ports: [{name: http, port: 80, targetPort: 8080}]}`, name, i, name))
	}
	for i := range policies {
		parts = append(parts, townPolicy(i))
	}
	return parts
}

func townPolicy(i int) string {
	app := fmt.Sprintf("selector: {matchLabels: {app: app-%d}}", i%townSize)
	from := fmt.Sprintf("from: [{source: {principals: [cluster.local/ns/shop/sa/app-%d]}}]", (i+7)%townSize)
	spec := []string{
		fmt.Sprintf(`{%s, rules: [{%s, to: [{operation: {methods: [GET], paths: ["/a-%d*"]}}]}]}`, app, from, i),
		fmt.Sprintf(`{%s, action: DENY, rules: [{from: [{source: {notNamespaces: [shop, ingress]}}], to: [{operation: {ports: ["8080"]}}]}]}`, app),
		fmt.Sprintf(`{%s, rules: [{%s, to: [{operation: {methods: [POST], hosts: ["h-%d.example.com"]}}]}]}`, app, from, i),
		fmt.Sprintf(`{%s, rules: [{%s}]}`, app, from),
	}[(i/townSize+i)%4]
	return fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {namespace: shop, name: policy-%d}\nspec: %s", i, spec)
}

// The namespaces that town calls through waypoints, and the services of each.
const (
	besideTown   = 30
	besideVaried = 10
)

// townAmong is a town among namespaces whose services are behind waypoints, with
// policies there and in front of the pods that tell the town's callers apart.
func townAmong(namespaces int) *mesh.Snapshot {
	parts := townParts(townPolicies)
	for i := range namespaces {
		name := fmt.Sprintf("beside-%d", i)
		parts = append(parts, fixture.Namespace(name, map[string]string{"istio.io/dataplane-mode": "ambient", "istio.io/use-waypoint": "waypoint"}), fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: %s}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status: {addresses: [{type: IPAddress, value: 10.97.0.%d}]}`, name, i))
		for j := range besideVaried {
			app := fmt.Sprintf("app-%d", j)
			deployment := fixture.Deployment(name, app)
			parts = append(parts, deployment, fixture.PodsOf(deployment, fixture.Ambient), fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {namespace: %[1]s, name: %[2]s}
spec: {clusterIP: 10.98.%[3]d.%[4]d, selector: {app: %[2]s}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {namespace: %[1]s, name: at-%[2]s}
spec:
  targetRefs: [{group: "", kind: Service, name: %[2]s}]
  rules:
  - {from: [{source: {principals: [cluster.local/ns/shop/sa/app-%[4]d]}}], to: [{operation: {methods: [GET], paths: ["/a-%[4]d*"]}}]}
  - {from: [{source: {namespaces: [shop]}}], to: [{operation: {methods: [POST]}}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {namespace: %[1]s, name: from-waypoint-%[2]s}
spec: {selector: {matchLabels: {app: %[2]s}}, rules: [{from: [{source: {principals: [cluster.local/ns/%[1]s/sa/waypoint]}}]}]}`, name, app, i, j))
		}
	}
	return fixture.Snapshot(parts...)
}

// BenchmarkPlanAccess plans the move of towns, on one core. The metric anew/plan is
// how many times as long as the whole plan it takes to compare each of its stages
// with the first one by itself, as one would who kept nothing from one to the next;
// MiB-peak is the most memory that the process has held meanwhile, mesh included.
func BenchmarkPlanAccess(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, test := range []struct{ policies, beside int }{{50, 0}, {100, 0}, {townPolicies, 0}, {400, 0}, {townPolicies, besideTown}} {
		b.Run(fmt.Sprintf("policies=%d,beside=%d", test.policies, test.beside), func(b *testing.B) {
			snapshot := townAmong(test.beside)
			if test.beside == 0 {
				snapshot = town(test.policies)
			}
			namespace := fixture.Find(snapshot, "shop")
			options := Options{Translation: translate.Options{MixedCallers: translate.MixedCallersDeny}}
			var compared int
			b.ReportAllocs()
			// What was needed for other towns is not this plan's.
			debug.FreeOSMemory()
			most := watchMemory()
			started := busy(b)
			for b.Loop() {
				planned, err := Enroll(snapshot, namespace, options)
				if err != nil {
					b.Fatal(err)
				}
				compared = planned.Access.Compared
			}
			took, peak := (busy(b)-started)/time.Duration(b.N), most()
			b.ReportMetric(float64(took.Milliseconds()), "cpu-ms/op")
			b.ReportMetric(float64(compared), "calls")
			b.ReportMetric(float64(peak)/(1<<20), "MiB-peak")
			b.ReportMetric(float64(anew(b, snapshot, namespace, options))/float64(took), "anew/plan")
			if test.policies == townPolicies && test.beside == 0 && (took > mostTime || peak > mostMemory) {
				b.Errorf("a plan took %v and %d MiB, at most %v and %d MiB are allowed", took, peak>>20, mostTime, mostMemory>>20)
			}
		})
	}
}

// busy is how long the process has been at work: what else the machine does should
// not count.
func busy(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// sampled is how often the memory is looked at: a plan takes hundreds of times as
// long, and a look hardly anything.
const sampled = time.Millisecond

// watchMemory looks at the memory until it is asked for the most that it has seen.
func watchMemory() (most func() uint64) {
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		ticker := time.NewTicker(sampled)
		defer ticker.Stop()
		for seen := held(); ; seen = max(seen, held()) {
			select {
			case <-ticker.C:
			case <-stop:
				peak <- max(seen, held())
				return
			}
		}
	}()
	return func() uint64 {
		close(stop)
		return <-peak
	}
}

// held is the memory that the process has from the system by way of Go: objects, what
// is garbage by now, stacks and what Go itself needs.
func held() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}

// anew compares each stage of a plan with the first one by itself, and returns how
// long that took.
func anew(b *testing.B, snapshot *mesh.Snapshot, namespace mesh.Namespace, options Options) time.Duration {
	b.Helper()
	own, others, err := handovers(snapshot, namespace, options)
	if err != nil {
		b.Fatal(err)
	}
	planner := enrolment{snapshot: snapshot, namespace: namespace, state: NewProjection(snapshot), handover: own, others: others, options: options}
	steps, err := planner.steps()
	if err != nil {
		b.Fatal(err)
	}
	started := busy(b)
	stages, err := stagesOf(snapshot, planner.atHand(), steps, false)
	if err != nil {
		b.Fatal(err)
	}
	for _, stage := range stages[1:] {
		compare.New([]compare.Stage{stages[0], stage}, comparing(snapshot, planner.atHand())).Changes()
	}
	return busy(b) - started
}
