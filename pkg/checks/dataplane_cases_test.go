package checks_test

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

func verifyCases() []testCase {
	const pod = "Pod shop/cart-5d8f7-0"
	edited := func(edit func(*mesh.NodeEvidence)) *mesh.Evidence {
		evidence := evidence()
		node := evidence.Nodes[fixture.Node]
		edit(&node)
		evidence.Nodes[fixture.Node] = node
		return evidence
	}
	uid := fixture.UID("Pod", "shop", "cart-5d8f7-0")
	rolling := fixture.Deployment("shop", "slow", fixture.TemplateLabel("sidecar.istio.io/inject", "false"), fixture.Replicas(2))
	rolling.Status.UpdatedReplicas = 1
	outsideRolling := fixture.Deployment("shop", "slow", fixture.TemplateLabel("istio.io/dataplane-mode", "none"), fixture.Replicas(2))
	outsideRolling.Status.UpdatedReplicas = 1
	injecting := fixture.Namespace("shop", labels{"istio.io/dataplane-mode": "ambient", "istio-injection": "enabled"})
	replaceNamespace := func(namespace any) []any { return []any{fixture.Without("Namespace", enrolled()...), namespace} }
	without := []any{fixture.Without("Pod", enrolled()...)}
	cart := fixture.Deployment("shop", "cart")
	bare := func(edits ...func(*corev1.Pod)) []any {
		objects := fixture.Without("Pod", enrolled()...)
		return []any{objects, fixture.PodsOf(cart, edits...)[1]}
	}
	// quiet are pods that opted out, one on each of some nodes.
	quiet := func(nodes ...string) []any {
		objects := enrolled()
		for i, node := range nodes {
			objects = append(objects, fixture.Pod("shop", fmt.Sprintf("quiet-%d", i), fixture.Labelled("istio.io/dataplane-mode", "none"), func(pod *corev1.Pod) { pod.Spec.NodeName = node }))
		}
		return objects
	}
	const redirection = "metadata.annotations[ambient.istio.io/redirection]"
	const useWaypoint = "metadata.labels[istio.io/use-waypoint]"
	// certified is evidence of a certificate from one time to another, seen from when
	// it was taken.
	certified := func(from, to time.Duration) *mesh.Evidence {
		evidence := evidence()
		evidence.Nodes[fixture.Node].Certificates[identity] = mesh.ZtunnelCertificate{
			State: "Available", NotBefore: evidence.Taken.Add(from), NotAfter: evidence.Taken.Add(to),
		}
		return evidence
	}
	account := func(name, account string) any {
		return fixture.Pod("shop", name, fixture.Ambient, func(pod *corev1.Pod) { pod.Spec.ServiceAccountName = account })
	}
	several := func() *mesh.Evidence {
		evidence := certified(-25*time.Hour, -time.Hour)
		node := evidence.Nodes[fixture.Node]
		for name, account := range map[string]string{"dd": "web", "ee": "web", "ff": "pay"} {
			other := "spiffe://cluster.local/ns/shop/sa/" + account
			node.Workloads["shop/"+name] = mesh.ZtunnelWorkload{Protocol: "HBONE", Identity: other}
			node.Certificates[other] = node.Certificates[identity]
			node.Captured[fixture.UID("Pod", "shop", name)] = mesh.CaptureUp
		}
		return evidence
	}
	intended := func(edit func(*mesh.IstiodEvidence), more ...func(*mesh.Evidence)) *mesh.Evidence {
		evidence := evidence()
		istiod := evidence.Istiods[istiodAddress]
		edit(&istiod)
		evidence.Istiods[istiodAddress] = istiod
		for _, edit := range more {
			edit(evidence)
		}
		return evidence
	}
	const ztunnel = "Pod istio-system/ztunnel-x"
	const labelled = `
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop, labels: {istio.io/use-waypoint: own}}
spec: {selector: {app: cart}, ports: [{port: 80}], clusterIP: 10.0.0.1}`
	behindOwn := func(more ...any) []any {
		traffic, named := "workload", fixture.Labelled("istio.io/use-waypoint", "own")
		if len(more) > 0 {
			traffic, named = "service", func(*corev1.Pod) {}
		}
		return append(append(bare(fixture.Ambient, named), more...), fixture.YAML(strings.ReplaceAll(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: own, namespace: shop, labels: {istio.io/waypoint-for: TRAFFIC}}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status: {addresses: [{type: Hostname, value: own.shop.svc.cluster.local}]}`, "TRAFFIC", traffic)))
	}
	const mode = "metadata.labels[istio.io/dataplane-mode]"
	none, refusing := fixture.Labelled("istio.io/dataplane-mode", "none"), fixture.Labelled("sidecar.istio.io/inject", "false")
	// told has the template of cart refuse ambient mode, too.
	told := func(objects []any) []any {
		all := fixture.Objects(objects...)
		for i := range all {
			if all[i].GetKind() == "Deployment" && all[i].GetName() == "cart" {
				if err := unstructured.SetNestedField(all[i].Object, "none", "spec", "template", "metadata", "labels", "istio.io/dataplane-mode"); err != nil {
					panic(err)
				}
			}
		}
		return []any{all}
	}
	onHost := func(pod *corev1.Pod) { pod.Spec.HostNetwork = true }
	moving := func(p *checks.Past) { p.Moved = []v1alpha1.ObjectReference{cartWorkload} }
	beforehand := func(objects ...any) func(*checks.Past) {
		return func(p *checks.Past) { p.Snapshot = fixture.Snapshot(objects...) }
	}
	refusedAmbient := fixture.Deployment("shop", "cart", fixture.TemplateLabel("istio.io/dataplane-mode", "none"))
	refused := append(fixture.Installation(), fixture.Namespace("shop", labels{"istio-injection": "enabled"}), refusedAmbient, fixture.PodsOf(refusedAmbient, fixture.Sidecar))
	pending := fixture.Annotated("ambient.istio.io/redirection", "pending")
	unscheduled := func(pod *corev1.Pod) { pod.Spec.NodeName = "" }
	const injectLabel, modeLabel = "sidecar.istio.io/inject", "istio.io/dataplane-mode"
	// report is a CronJob that has no pods, set a StatefulSet whose pods have the labels of
	// cart when it was moved, and whose template has some more by now.
	report := func(more labels) any {
		return fixture.CronJob("shop", "report", func(c *batchv1.CronJob) { maps.Copy(c.Spec.JobTemplate.Spec.Template.Labels, more) })
	}
	set := func(more labels, edits ...func(*corev1.Pod)) []any {
		of := fixture.StatefulSet("shop", "db", func(s *appsv1.StatefulSet) {
			s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
			s.Spec.Template.Labels[injectLabel] = "false"
		})
		pods := fixture.PodsOfSet(of, append([]func(*corev1.Pod){fixture.Ambient}, edits...)...)
		maps.Copy(of.Spec.Template.Labels, more)
		return append([]any{of}, pods...)
	}
	// idle is a Deployment without pods.
	idle := func(edits ...func(*appsv1.Deployment)) any {
		return fixture.Deployment("shop", "idle", append(edits, fixture.Replicas(0), func(d *appsv1.Deployment) {
			d.Status = appsv1.DeploymentStatus{ObservedGeneration: 1, Conditions: d.Status.Conditions}
		})...)
	}
	again := append([]any{fixture.Without("Namespace", enrolled()...)}, injecting)
	paused := fixture.Deployment("shop", "cart", fixture.TemplateLabel(injectLabel, "false"), func(d *appsv1.Deployment) { d.Spec.Paused = true })
	paused.Status.UpdatedReplicas = 0
	const (
		reportInject = "spec.jobTemplate.spec.template.metadata.labels[sidecar.istio.io/inject]"
		reportMode   = "spec.jobTemplate.spec.template.metadata.labels[istio.io/dataplane-mode]"
		setInject    = "spec.template.metadata.labels[sidecar.istio.io/inject]"
		setMode      = "spec.template.metadata.labels[istio.io/dataplane-mode]"
		asks         = "its next pods would get a sidecar: its template asks for one"
		refuses      = "its next pods would be outside the mesh, in which it was before the enrolment: its template refuses ambient mode"
	)
	reportMoved := func(p *checks.Past) {
		p.Moved = []v1alpha1.ObjectReference{{APIVersion: "batch/v1", Kind: "CronJob", Namespace: "shop", Name: "report"}}
	}
	reportOnHost := fixture.CronJob("shop", "report", func(c *batchv1.CronJob) { c.Spec.JobTemplate.Spec.Template.Spec.HostNetwork = true })
	return append([]testCase{
		{name: "a CronJob that asks for a sidecar", check: "restarts-complete", objects: enrolled(report(labels{injectLabel: "true"})), want: []finding{{fail, "CronJob shop/report", reportInject, asks}}},
		{name: "a CronJob that asks for a sidecar by its revision", check: "restarts-complete", objects: enrolled(report(labels{"istio.io/rev": "default"})), want: []finding{{fail, "CronJob shop/report", "spec.jobTemplate.spec.template.metadata.labels[istio.io/rev]", asks}}},
		{name: "a CronJob that asks for a sidecar by its annotation only", check: "restarts-complete", objects: append(again, fixture.CronJob("shop", "report", func(c *batchv1.CronJob) {
			c.Spec.JobTemplate.Spec.Template.Annotations = labels{injectLabel: "true"}
		})), want: []finding{{fail, "CronJob shop/report", reportInject, "does not refuse the one that the namespace asks for"}}},
		{name: "a CronJob that says nothing", check: "restarts-complete", objects: enrolled(report(nil))},
		{name: "a CronJob that says nothing where the namespace asks", check: "restarts-complete", objects: append(again, report(nil)), want: []finding{{fail, "CronJob shop/report", reportInject, "its template does not refuse the one that the namespace asks for"}}},
		{name: "a CronJob that refuses where the namespace asks", check: "restarts-complete", objects: append(again, report(labels{injectLabel: "false"}))},
		{name: "a CronJob whose pods have a sidecar, which no-sidecars names", check: "restarts-complete", objects: enrolled(cronJobPods(labels{injectLabel: "true"}, fixture.Sidecar)...)},
		{name: "a CronJob whose pods would get a sidecar", check: "restarts-complete", objects: enrolled(cronJobPods(labels{injectLabel: "true"}, fixture.Ambient)...), want: []finding{{fail, "Pod shop/report-1-x", "metadata.labels", "a restart would give the pod a sidecar"}}},
		{name: "a Deployment of no replicas that asks for a sidecar", check: "restarts-complete", objects: enrolled(idle(fixture.TemplateLabel(injectLabel, "true"))), want: []finding{{fail, "Deployment shop/idle", setInject, asks}}},
		{name: "a Deployment of no replicas", check: "restarts-complete", objects: enrolled(idle())},
		{name: "a template that asks for a sidecar, of pods that are left to be deleted", check: "restarts-complete", objects: enrolled(set(labels{injectLabel: "true"})...), want: []finding{{fail, "StatefulSet shop/db", setInject, asks}}},
		{name: "a template of pods that are left to be deleted", check: "restarts-complete", objects: enrolled(set(nil)...)},
		{name: "a template that asks for a sidecar, beside a pod that would get one", check: "restarts-complete", objects: enrolled(set(labels{injectLabel: "true"}, fixture.Labelled(injectLabel, "true"))...), want: []finding{{fail, "Pod shop/db-0", "metadata.labels", "a restart would give the pod a sidecar"}}},
		{name: "a Job that has run", check: "restarts-complete", objects: enrolled(fixture.Job("shop", "once", func(j *batchv1.Job) { j.Spec.Template.Labels[injectLabel] = "true" }))},
		{name: "a gateway that the injector fills in, of no replicas", check: "restarts-complete", objects: enrolled(idle(fixture.TemplateLabel(injectLabel, "true"), fixture.TemplateAnnotation("inject.istio.io/templates", "gateway")))},
		{name: "a gRPC agent, which grpc-agents names", check: "restarts-complete", objects: enrolled(idle(fixture.TemplateLabel(injectLabel, "true"), fixture.TemplateAnnotation("inject.istio.io/templates", "grpc-agent")))},
		{name: "a template that holds a proxy, which kube-injected names", check: "restarts-complete", objects: enrolled(idle(fixture.TemplateLabel(injectLabel, "true"), func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: mesh.ProxyContainer}}
		}))},
		{name: "one of its node's network", check: "restarts-complete", objects: enrolled(idle(fixture.TemplateLabel(injectLabel, "true"), func(d *appsv1.Deployment) { d.Spec.Template.Spec.HostNetwork = true }))},

		{name: "a CronJob that refuses ambient mode", check: "outside-mesh", past: was(before(report(nil))), objects: enrolled(report(labels{modeLabel: "none", injectLabel: "false"})), want: []finding{{fail, "CronJob shop/report", reportMode, refuses}}},
		{name: "a CronJob that refuses ambient mode, and was moved", check: "outside-mesh", past: was(beforehand(fixture.Installation()...), reportMoved), objects: enrolled(report(labels{modeLabel: "none"})), want: []finding{{fail, "CronJob shop/report", reportMode, refuses}}},
		{name: "a CronJob that refuses ambient mode, and was in it before", check: "outside-mesh", past: was(beforehand(enrolled(report(nil))...)), objects: enrolled(report(labels{modeLabel: "none"})), want: []finding{{fail, "CronJob shop/report", reportMode, refuses}}},
		{name: "a CronJob that refused ambient mode before", check: "outside-mesh", past: was(before(report(labels{modeLabel: "none"})), reportMoved), objects: enrolled(report(labels{modeLabel: "none"}))},
		{name: "a CronJob that refused its sidecar before", check: "outside-mesh", past: was(before(report(labels{injectLabel: "false"}))), objects: enrolled(report(labels{modeLabel: "none", injectLabel: "false"}))},
		{name: "a CronJob that refuses ambient mode, and is new", check: "outside-mesh", past: was(), objects: enrolled(report(labels{modeLabel: "none"}))},
		{name: "a CronJob that refuses ambient mode, of which nothing is known", check: "outside-mesh", objects: enrolled(report(labels{modeLabel: "none"}))},
		{name: "a CronJob that refuses ambient mode and asks for a sidecar, which restarts-complete names", check: "outside-mesh", past: was(before(report(nil))), objects: enrolled(report(labels{modeLabel: "none", injectLabel: "true"}))},
		{name: "a CronJob that uses the node's network", check: "outside-mesh", past: was(before(report(nil))), objects: enrolled(reportOnHost), want: []finding{{fail, "CronJob shop/report", "spec.jobTemplate.spec.template.spec.hostNetwork", "they use the node's network"}}},
		{name: "a CronJob that used the node's network before", check: "outside-mesh", past: was(before(reportOnHost)), objects: enrolled(reportOnHost)},
		{name: "a CronJob that used the node's network before, in ambient mode", check: "outside-mesh", past: was(beforehand(enrolled(reportOnHost)...)), objects: enrolled(reportOnHost)},
		{name: "a CronJob that does not", check: "outside-mesh", past: was(before(report(nil))), objects: enrolled(report(labels{injectLabel: "false"}))},
		{name: "a Deployment of no replicas that refuses ambient mode", check: "outside-mesh", past: was(before(idle())), objects: enrolled(idle(fixture.TemplateLabel(modeLabel, "none"), fixture.TemplateLabel(injectLabel, "false"))), want: []finding{{fail, "Deployment shop/idle", setMode, refuses}}},
		{name: "a paused Deployment that refuses ambient mode, and whose pods do not", check: "outside-mesh", past: was(), objects: told(append(fixtureWithout("Deployment"), paused)), want: []finding{{fail, "Deployment shop/cart", setMode, refuses}}},
		{name: "a template of pods that are left to be deleted, which labels-consistent names", check: "outside-mesh", past: was(before(set(labels{injectLabel: ""}, fixture.Sidecar)...)), objects: enrolled(set(labels{modeLabel: "none"})...)},
		{name: "a template of pods that are left to be deleted", check: "labels-consistent", objects: enrolled(set(labels{modeLabel: "none"})...), want: []finding{{fail, "Pod shop/db-0", mode, "the pod that comes in its place is another"}}},
	}, []testCase{
		{name: "none", check: "no-sidecars", objects: enrolled()},
		{name: "a classic one", check: "no-sidecars", objects: enrolled(fixture.Pod("shop", "old", fixture.Sidecar)), want: []finding{{fail, "Pod shop/old", "spec.containers[istio-proxy]", "has a sidecar"}}},
		{name: "a native one", check: "no-sidecars", objects: enrolled(fixture.Pod("shop", "old", fixture.NativeSidecar)), want: []finding{{fail, "Pod shop/old", "spec.initContainers[istio-proxy]", "has a sidecar"}}},
		{name: "one by its annotation", check: "no-sidecars", objects: enrolled(fixture.Pod("shop", "old", fixture.Annotated("sidecar.istio.io/status", "{}"))), want: []finding{{fail, "Pod shop/old", "metadata.annotations[sidecar.istio.io/status]", "has a sidecar"}}},
		{name: "a gateway's proxy", check: "no-sidecars", objects: enrolled(fixture.Pod("shop", "ingress", fixture.Sidecar, fixture.Annotated("inject.istio.io/templates", "gateway")))},

		{name: "ambient", check: "dataplane-mode", objects: enrolled()},
		{name: "not labelled", check: "dataplane-mode", objects: replaceNamespace(fixture.Namespace("shop", nil)), want: []finding{{fail, "Namespace shop", "metadata.labels[istio.io/dataplane-mode]", `the label is "", not "ambient"`}}},
		{name: "still injected", check: "dataplane-mode", objects: replaceNamespace(injecting), want: []finding{{fail, "Namespace shop", "metadata.labels", "injection is enabled"}}},
		{name: "labelled otherwise and injected", check: "dataplane-mode", objects: replaceNamespace(fixture.Namespace("shop", labels{"istio.io/dataplane-mode": "none", "istio.io/rev": "default"})), want: []finding{
			{fail, "Namespace shop", "metadata.labels[istio.io/dataplane-mode]", `"none"`}, {fail, "Namespace shop", "metadata.labels", "injection is rev=default"},
		}},
		{name: "a label that asks a revision which is gone", check: "dataplane-mode", objects: replaceNamespace(fixture.Namespace("shop", labels{"istio.io/dataplane-mode": "ambient", "istio.io/rev": "gone"}))},

		{name: "all are", check: "restarts-complete", objects: enrolled()},
		{name: "one is not rolled out", check: "restarts-complete", objects: enrolled(rolling), want: []finding{{fail, "Deployment shop/slow", "status", "Updated: 1/2"}}},
		{name: "one is not rolled out, and is outside the mesh", check: "restarts-complete", objects: enrolled(outsideRolling), want: []finding{{warn, "Deployment shop/slow", "status", "it is outside the mesh by its own label"}}},
		{name: "one is not rolled out, and was in trouble before", check: "restarts-complete", past: was(func(p *checks.Past) {
			p.Baseline.Workloads = append(p.Baseline.Workloads, v1alpha1.WorkloadBaseline{Object: v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "slow"}, Troubled: []string{"main"}})
		}), objects: enrolled(rolling), want: []finding{{warn, "Deployment shop/slow", "status", "it was not ready before the enrolment either"}}},
		{name: "one is not rolled out, was in trouble before, and has fewer ready pods", check: "restarts-complete", past: was(func(p *checks.Past) {
			p.Baseline.Workloads = append(p.Baseline.Workloads, v1alpha1.WorkloadBaseline{Object: v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "slow"}, Ready: 1, Troubled: []string{"main"}})
		}), objects: enrolled(rolling), want: []finding{{fail, "Deployment shop/slow", "status", "Updated: 1/2"}}},
		{name: "one is not rolled out, and was not in trouble before", check: "restarts-complete", past: was(), objects: enrolled(rolling), want: []finding{{fail, "Deployment shop/slow", "status", "Updated: 1/2"}}},
		{name: "one would get a sidecar", check: "restarts-complete", objects: enrolled(fixture.Pod("shop", "other", fixture.Ambient, fixture.Labelled("sidecar.istio.io/inject", "true"))), want: []finding{{fail, "Pod shop/other", "metadata.labels", "a restart would give the pod a sidecar"}}},
		{name: "one has a sidecar, which no-sidecars names", check: "restarts-complete", objects: enrolled(fixture.Pod("shop", "old", fixture.Sidecar))},

		{name: "all are captured", check: "outside-mesh", objects: enrolled()},
		{name: "one that opted out of both", check: "outside-mesh", objects: bare(none, refusing), want: []finding{{warn, pod, mode, "outside the mesh"}}},
		{name: "one that had a sidecar", check: "outside-mesh", past: was(), objects: told(bare(none, refusing)), want: []finding{{fail, pod, mode, "Deployment shop/cart was in it before the enrolment: it refuses ambient mode"}}},
		{name: "one that ztunnel carried", check: "outside-mesh", past: was(beforehand(enrolled()...)), objects: told(bare(none, refusing)), want: []finding{{fail, pod, mode, "was in it before the enrolment"}}},
		{name: "one that a run has moved", check: "outside-mesh", past: was(beforehand(fixtureWithout("Pod")...), moving), objects: told(bare(none, refusing)), want: []finding{{fail, pod, mode, "was in it before the enrolment"}}},
		{name: "one that a run has moved, and that was not there before", check: "outside-mesh", past: was(beforehand(fixture.Installation()...), moving), objects: told(bare(none, refusing)), want: []finding{{fail, pod, mode, "was in it before the enrolment"}}},
		{name: "one that refused ambient mode before, beside its sidecar", check: "outside-mesh", past: was(beforehand(refused...)), objects: told(bare(none, refusing)), want: []finding{{warn, pod, mode, "it opted out of ambient mode"}}},
		{name: "one that was outside before", check: "outside-mesh", past: was(beforehand(bare()...)), objects: bare(none, refusing)},
		{name: "one that has come since", check: "outside-mesh", past: was(beforehand(fixture.Installation()...)), objects: bare(none, refusing), want: []finding{{warn, pod, mode, "it opted out of ambient mode"}}},
		{name: "one that had a sidecar and uses its node's network", check: "outside-mesh", past: was(), objects: bare(onHost), want: []finding{{fail, pod, "spec.hostNetwork", "was in it before the enrolment: it uses the node's network"}}},
		{name: "one that used its node's network before", check: "outside-mesh", past: was(beforehand(bare(onHost)...)), objects: bare(onHost)},
		{name: "one that opted out of ambient mode only", check: "outside-mesh", objects: bare(fixture.Labelled("istio.io/dataplane-mode", "none")), want: []finding{{warn, pod, "metadata.labels[istio.io/dataplane-mode]", "outside the mesh"}}},
		{
			name: "istio-cni leaves the namespace out", check: "outside-mesh",
			objects: append([]any{fixture.Without("ConfigMap", bare()...)}, fixture.MeshConfig(""), fixture.CNIConfig("istio-system", labels{"AMBIENT_ENABLED": "true", "EXCLUDE_NAMESPACES": "shop"})),
			want:    []finding{{fail, pod, "", "configured not to capture"}},
		},

		{name: "all are", check: "redirected", objects: enrolled()},
		{name: "one is not", check: "redirected", objects: bare(), want: []finding{{fail, pod, redirection, `the annotation is "", not "enabled"`}}},
		{name: "one is about to be", check: "redirected", objects: bare(pending), want: []finding{{fail, pod, redirection, `"pending"`}}},
		{name: "one that is not on a node yet", check: "redirected", objects: bare(unscheduled)},
		{name: "one that opted out", check: "redirected", objects: bare(fixture.Labelled("istio.io/dataplane-mode", "none"))},
		{name: "one with a sidecar, which no-sidecars names", check: "redirected", objects: bare(fixture.Sidecar)},

		{name: "all are", check: "ztunnel-captured", objects: enrolled(), evidence: evidence()},
		{name: "there are no pods", check: "ztunnel-captured", objects: without, want: []finding{{skip, "", "", "none of its pods is to be captured on a node"}}},
		{name: "nobody was asked", check: "ztunnel-captured", objects: enrolled(), want: []finding{{unknown, pod, "", "ztunnel was not asked"}}},
		{name: "the node was not asked", check: "ztunnel-captured", objects: enrolled(), evidence: &mesh.Evidence{}, want: []finding{{unknown, pod, "", "ztunnel on node node-1 was not asked"}}},
		{name: "the node could not be asked", check: "ztunnel-captured", objects: enrolled(), evidence: edited(func(n *mesh.NodeEvidence) { n.Problem = "no route" }), want: []finding{{unknown, pod, "", "ztunnel on node node-1 could not be asked: no route"}}},
		{name: "a node is named once", check: "ztunnel-captured", objects: enrolled(fixture.Pod("shop", "dd", fixture.Ambient)), want: []finding{{unknown, pod, "", "ztunnel was not asked"}}},
		{name: "one is pending", check: "ztunnel-captured", objects: enrolled(), evidence: edited(func(n *mesh.NodeEvidence) {
			n.Captured = map[types.UID]mesh.CaptureState{uid: mesh.CapturePending}
		}), want: []finding{{fail, pod, "", "says the pod is Pending"}}},
		{name: "one is not known", check: "ztunnel-captured", objects: enrolled(), evidence: edited(func(n *mesh.NodeEvidence) { n.Captured = nil }), want: []finding{{fail, pod, "", "does not know the pod as its own"}}},
		{name: "a pod of the same name before a restart", check: "ztunnel-captured", objects: enrolled(), evidence: edited(func(n *mesh.NodeEvidence) {
			n.Captured = map[types.UID]mesh.CaptureState{"former": mesh.CaptureUp}
		}), want: []finding{{fail, pod, "", "does not know the pod as its own"}}},

		{name: "all are", check: "ztunnel-hbone", objects: enrolled(), evidence: evidence()},
		{name: "there are no pods", check: "ztunnel-hbone", objects: without, want: []finding{{skip, "", "", "none of its pods is to be captured on a node"}}},
		{name: "nobody was asked", check: "ztunnel-hbone", objects: enrolled(), want: []finding{{skip, "", "", "it means nothing while ztunnel-captured does not hold"}}},
		{name: "one is not known", check: "ztunnel-hbone", objects: enrolled(), evidence: edited(func(n *mesh.NodeEvidence) { n.Workloads = nil }), want: []finding{{fail, pod, "", "was not told of the pod by istiod"}}},
		{name: "one is reached by TCP", check: "ztunnel-hbone", objects: enrolled(), evidence: edited(func(n *mesh.NodeEvidence) {
			n.Workloads = map[string]mesh.ZtunnelWorkload{"shop/cart-5d8f7-0": {Protocol: "TCP"}}
		}), want: []finding{{fail, pod, "", "reaches the pod by TCP, not HBONE"}}},
		{name: "one is taken for a sidecar", check: "ztunnel-hbone", objects: enrolled(), evidence: edited(func(n *mesh.NodeEvidence) {
			n.Workloads = map[string]mesh.ZtunnelWorkload{"shop/cart-5d8f7-0": {Protocol: "HBONE", NativeTunnel: true}}
		}), want: []finding{{fail, pod, "", "nativeTunnel"}}},

		{name: "there is none", check: "ztunnel-policies", objects: enrolled(), evidence: evidence()},
		{name: "all were received", check: "ztunnel-policies", objects: enrolled(), evidence: edited(func(n *mesh.NodeEvidence) {
			n.Workloads = map[string]mesh.ZtunnelWorkload{"shop/cart-5d8f7-0": {Protocol: "HBONE", Policies: []string{"shop/a"}}}
			n.Policies = map[string]string{"shop/a": ""}
		})},
		{name: "there are no pods", check: "ztunnel-policies", objects: without, want: []finding{{skip, "", "", "none of its pods is to be captured on a node"}}},
		{name: "nobody was asked", check: "ztunnel-policies", objects: enrolled(), want: []finding{{skip, "", "", "it means nothing while ztunnel-captured does not hold"}}},
		{name: "one was not received", check: "ztunnel-policies", objects: enrolled(), evidence: edited(func(n *mesh.NodeEvidence) {
			n.Workloads = map[string]mesh.ZtunnelWorkload{"shop/cart-5d8f7-0": {Protocol: "HBONE", Policies: []string{"shop/a", "shop/b"}}}
			n.Policies = map[string]string{"shop/a": ""}
		}), want: []finding{{fail, pod, "", "has not received the policies that hold for the pod: shop/b"}}},

		{name: "none is named", check: "ztunnel-waypoints", objects: enrolled(), evidence: evidence()},
		{name: "there are no pods", check: "ztunnel-waypoints", objects: without, want: []finding{{skip, "", "", "none of its pods is to be captured on a node"}}},
		{name: "nobody was asked", check: "ztunnel-waypoints", objects: enrolled(), want: []finding{{skip, "", "", "it means nothing while ztunnel-captured does not hold"}}},
		{name: "it is gone through", check: "ztunnel-waypoints", objects: behindOwn(), evidence: edited(func(n *mesh.NodeEvidence) {
			n.Workloads = map[string]mesh.ZtunnelWorkload{"shop/cart-5d8f7-0": {Protocol: "HBONE", Waypoint: "shop/own.shop.svc.cluster.local"}}
		})},
		{name: "it is passed by", check: "ztunnel-waypoints", objects: behindOwn(), evidence: edited(func(n *mesh.NodeEvidence) {
			n.Workloads = map[string]mesh.ZtunnelWorkload{"shop/cart-5d8f7-0": {Protocol: "HBONE"}}
		}), want: []finding{{fail, pod, useWaypoint, "does not send calls to the pod through waypoint shop/own, but through none"}}},
		{name: "it is another one", check: "ztunnel-waypoints", objects: behindOwn(), evidence: edited(func(n *mesh.NodeEvidence) {
			n.Workloads = map[string]mesh.ZtunnelWorkload{"shop/cart-5d8f7-0": {Protocol: "HBONE", Waypoint: "shop/own-2.shop.svc.cluster.local"}}
		}), want: []finding{{fail, pod, useWaypoint, "but through shop/own-2.shop.svc.cluster.local"}}},

		{name: "a Service is gone through it", check: "ztunnel-waypoints", objects: behindOwn(labelled), evidence: edited(func(n *mesh.NodeEvidence) {
			n.Services = map[string]mesh.ZtunnelService{"shop/cart.shop.svc.cluster.local": {Waypoint: "shop/own.shop.svc.cluster.local"}}
		})},
		{name: "a Service is passed by", check: "ztunnel-waypoints", objects: behindOwn(labelled), evidence: edited(func(n *mesh.NodeEvidence) {
			n.Services = map[string]mesh.ZtunnelService{"shop/cart.shop.svc.cluster.local": {}}
		}), want: []finding{{fail, "Service shop/cart", useWaypoint, "does not send calls to the Service through waypoint shop/own, but through none"}}},
		{name: "a Service that names none is sent through one", check: "ztunnel-waypoints", objects: enrolled(service), evidence: edited(func(n *mesh.NodeEvidence) {
			n.Services = map[string]mesh.ZtunnelService{"shop/cart.shop.svc.cluster.local": {Waypoint: "shop/own.shop.svc.cluster.local"}}
		}), want: []finding{{fail, "Service shop/cart", useWaypoint, "through none, but through shop/own.shop.svc.cluster.local"}}},
		{name: "a Service that ztunnel was not told of, which ztunnel-in-step compares", check: "ztunnel-waypoints", objects: behindOwn(labelled), evidence: evidence()},
		{name: "a Service that ztunnel was not told of, and istiod cannot be asked", check: "ztunnel-waypoints", objects: behindOwn(labelled), evidence: intended(func(i *mesh.IstiodEvidence) { i.Problem, i.Elsewhere = "not here", true }), want: []finding{{fail, "Service shop/cart", useWaypoint, "istio-system/ztunnel-x was not told of the Service by istiod"}}},
		{name: "a Service that ztunnel was not asked for, and istiod cannot be asked", check: "ztunnel-waypoints", objects: behindOwn(labelled), evidence: intended(func(i *mesh.IstiodEvidence) { i.Problem = "forbidden" }, func(e *mesh.Evidence) {
			node := e.Nodes[fixture.Node]
			node.OnDemand = true
			e.Nodes[fixture.Node] = node
		})},
		{name: "a Service without waypoint that ztunnel was not told of", check: "ztunnel-waypoints", objects: enrolled(service), evidence: intended(func(i *mesh.IstiodEvidence) { i.Problem = "forbidden" })},

		{name: "it is in force", check: "ztunnel-certificates", objects: enrolled(), evidence: evidence()},
		{name: "there are no pods", check: "ztunnel-certificates", objects: without, want: []finding{{skip, "", "", "none of its pods is to be captured on a node"}}},
		{name: "nobody was asked", check: "ztunnel-certificates", objects: enrolled(), want: []finding{{skip, "", "", "it means nothing while ztunnel-captured does not hold"}}},
		{name: "there is none", check: "ztunnel-certificates", objects: enrolled(), evidence: edited(func(n *mesh.NodeEvidence) { n.Certificates = nil }), want: []finding{{fail, pod, "", "the certificate for " + identity + " at istio-system/ztunnel-x is missing"}}},
		{name: "it was refused", check: "ztunnel-certificates", objects: enrolled(), evidence: edited(func(n *mesh.NodeEvidence) {
			n.Certificates = map[string]mesh.ZtunnelCertificate{identity: {State: "Unavailable: refused"}}
		}), want: []finding{{fail, pod, "", "is missing: Unavailable: refused"}}},
		{name: "it has expired", check: "ztunnel-certificates", objects: enrolled(), evidence: certified(-25*time.Hour, -time.Hour), want: []finding{{fail, pod, "", "has expired"}}},
		{name: "several have expired", check: "ztunnel-certificates", objects: enrolled(account("dd", "web"), account("ee", "web"), account("ff", "pay")), evidence: several(), want: []finding{{fail, pod, "", "has expired, at 2026-08-01T12:00:00Z; so it is with 2 certificates more there"}}},
		{name: "it is of the future", check: "ztunnel-certificates", objects: enrolled(), evidence: certified(time.Hour, 25*time.Hour), want: []finding{{fail, pod, "", "is not in force yet"}}},
		{name: "it is past its renewal", check: "ztunnel-certificates", objects: enrolled(), evidence: certified(-19*time.Hour, 5*time.Hour), want: []finding{{warn, pod, "", "was not renewed"}}},
		{name: "it has a minute left", check: "ztunnel-certificates", objects: enrolled(), evidence: certified(-24*time.Hour, time.Minute), want: []finding{{fail, pod, "", "is about to expire, at 2026-08-01T13:01:00Z, and was not renewed"}}},
		{name: "it has less than a tenth of its life left", check: "ztunnel-certificates", objects: enrolled(), evidence: certified(-22*time.Hour, 2*time.Hour), want: []finding{{fail, pod, "", "is about to expire"}}},
		{name: "it has more than a tenth of its life left", check: "ztunnel-certificates", objects: enrolled(), evidence: certified(-21*time.Hour, 3*time.Hour), want: []finding{{warn, pod, "", "was not renewed"}}},
		{name: "it is to be renewed now", check: "ztunnel-certificates", objects: enrolled(), evidence: certified(-13*time.Hour, 11*time.Hour)},
		{name: "it is another account's", check: "ztunnel-certificates", objects: enrolled(), evidence: edited(func(n *mesh.NodeEvidence) {
			n.Workloads = map[string]mesh.ZtunnelWorkload{"shop/cart-5d8f7-0": {Protocol: "HBONE", Identity: "spiffe://cluster.local/ns/shop/sa/web"}}
		}), want: []finding{{fail, pod, "spec.serviceAccountName", "takes the pod for spiffe://cluster.local/ns/shop/sa/web, not for service account cart"}}},

		{name: "it is", check: "ztunnel-in-step", objects: enrolled(), evidence: evidence()},
		{name: "a node without pods of the namespace", check: "ztunnel-in-step", objects: enrolled(), evidence: elsewhere(evidence(), mesh.NodeEvidence{})},
		{name: "there are no pods", check: "ztunnel-in-step", objects: without, want: []finding{{skip, "", "", "none of its pods is to be captured on a node"}}},
		{name: "nobody was asked", check: "ztunnel-in-step", objects: enrolled(), want: []finding{{skip, "", "", "it means nothing while ztunnel-captured does not hold"}}},
		{name: "the node was not asked", check: "ztunnel-in-step", objects: enrolled(), evidence: &mesh.Evidence{}, want: []finding{{skip, "", "", "it means nothing while ztunnel-captured does not hold"}}},
		{name: "istiod was not asked", check: "ztunnel-in-step", objects: enrolled(), evidence: intended(func(*mesh.IstiodEvidence) {}, func(e *mesh.Evidence) { e.Istiods = nil }), want: []finding{{unknown, ztunnel, "", "istiod was not asked"}}},
		{name: "istiod could not be asked", check: "ztunnel-in-step", objects: enrolled(), evidence: intended(func(i *mesh.IstiodEvidence) { i.Problem = "forbidden" }), want: []finding{{unknown, ztunnel, "", "cannot be told: forbidden"}}},
		{name: "istiod runs elsewhere", check: "ztunnel-in-step", objects: enrolled(), evidence: intended(func(i *mesh.IstiodEvidence) { i.Problem, i.Elsewhere = "not here", true }), want: []finding{{unknown, ztunnel, "", "not here"}}},
		{name: "a pod is not known yet", check: "ztunnel-in-step", objects: enrolled(), evidence: intended(func(i *mesh.IstiodEvidence) { i.Workloads["shop/new"] = mesh.ZtunnelWorkload{} }), want: []finding{{fail, ztunnel, "", "not in step with istiod istio-system/istiod-x: it has not heard of pod shop/new"}}},
		{name: "a pod is not known to a ztunnel that asks on demand", check: "ztunnel-in-step", objects: enrolled(), evidence: intended(func(i *mesh.IstiodEvidence) { i.Workloads["shop/new"] = mesh.ZtunnelWorkload{} }, func(e *mesh.Evidence) {
			node := e.Nodes[fixture.Node]
			node.OnDemand = true
			e.Nodes[fixture.Node] = node
		})},
		{name: "a pod of another namespace", check: "ztunnel-in-step", objects: enrolled(), evidence: intended(func(i *mesh.IstiodEvidence) { i.Workloads["other/new"] = mesh.ZtunnelWorkload{} })},
		{name: "a pod is gone", check: "ztunnel-in-step", objects: enrolled(), evidence: intended(func(i *mesh.IstiodEvidence) { clear(i.Workloads) }), want: []finding{{fail, ztunnel, "", "it still has pod shop/cart-5d8f7-0"}}},
		{name: "a pod has another waypoint", check: "ztunnel-in-step", objects: enrolled(), evidence: intended(func(i *mesh.IstiodEvidence) {
			i.Workloads["shop/cart-5d8f7-0"] = mesh.ZtunnelWorkload{Protocol: "HBONE", Identity: identity, Waypoint: "shop/own"}
		}), want: []finding{{fail, ztunnel, "", "it has another version of pod shop/cart-5d8f7-0"}}},
		{name: "a Service is new", check: "ztunnel-in-step", objects: enrolled(), evidence: intended(func(i *mesh.IstiodEvidence) {
			i.Services["shop/cart.shop.svc.cluster.local"] = mesh.ZtunnelService{}
		}), want: []finding{{fail, ztunnel, "", "it has not heard of service shop/cart.shop.svc.cluster.local"}}},
		{name: "policies of the mesh and of others", check: "ztunnel-in-step", objects: enrolled(), evidence: intended(func(i *mesh.IstiodEvidence) {
			i.Policies["istio-system/all"], i.Policies["other/one"] = "allow", "allow"
		}), want: []finding{{fail, ztunnel, "", "it has not heard of policy istio-system/all"}}},

		{name: "none is captured", check: "opted-out", objects: enrolled(fixture.Pod("shop", "quiet", fixture.Labelled("istio.io/dataplane-mode", "none"))), evidence: evidence()},
		{name: "one is captured", check: "opted-out", objects: enrolled(fixture.Pod("shop", "quiet", fixture.Labelled("istio.io/dataplane-mode", "none"), fixture.Ambient)), want: []finding{{fail, "Pod shop/quiet", redirection, "redirected to ztunnel all the same"}}},
		{name: "one is proxied, whatever its annotation says", check: "opted-out", objects: bare(fixture.Labelled("istio.io/dataplane-mode", "none")), evidence: evidence(), want: []finding{{fail, pod, "", "is proxied by istio-system/ztunnel-x all the same"}}},
		{name: "one of which nobody was asked", check: "opted-out", objects: bare(fixture.Labelled("istio.io/dataplane-mode", "none")), want: []finding{{unknown, pod, redirection, "is not redirected; ztunnel was not asked"}}},
		{name: "two on a node that was not asked", check: "opted-out", objects: quiet("other", "other"), evidence: evidence(), want: []finding{{unknown, "Pod shop/quiet-0", redirection, "ztunnel on node other was not asked"}}},
		{name: "two on two nodes that were not asked", check: "opted-out", objects: quiet("other", "third"), evidence: evidence(), want: []finding{
			{unknown, "Pod shop/quiet-0", redirection, "ztunnel on node other was not asked"}, {unknown, "Pod shop/quiet-1", redirection, "ztunnel on node third was not asked"},
		}},
		{name: "one whose ztunnel could not be asked", check: "opted-out", objects: quiet(fixture.Node), evidence: edited(func(n *mesh.NodeEvidence) { n.Problem = "no route" }), want: []finding{{unknown, "Pod shop/quiet-0", redirection, "could not be asked: no route"}}},
		{name: "one on a node without ztunnel", check: "opted-out", objects: quiet(fixture.Node), evidence: edited(func(n *mesh.NodeEvidence) { n.Absent, n.Problem = true, "no ready ztunnel pod" })},
		{name: "one that is not on a node yet", check: "opted-out", objects: quiet(""), evidence: evidence()},
		{name: "one of its node's network", check: "opted-out", objects: enrolled(fixture.Pod("shop", "quiet", fixture.Labelled("istio.io/dataplane-mode", "none"), func(pod *corev1.Pod) { pod.Spec.HostNetwork = true }))},
	}...)
}

// cronJobPods are a CronJob, a Job that it has started, and the pod of that.
func cronJobPods(more labels, edits ...func(*corev1.Pod)) []any {
	cron := fixture.CronJob("shop", "report", func(c *batchv1.CronJob) { maps.Copy(c.Spec.JobTemplate.Spec.Template.Labels, more) })
	job := fixture.Job("shop", "report-1", func(j *batchv1.Job) {
		j.OwnerReferences = []metav1.OwnerReference{fixture.Owner("CronJob", "batch/v1", &cron.ObjectMeta)}
		j.Spec.Template = cron.Spec.JobTemplate.Spec.Template
	})
	of := fixture.Of("Job", "batch/v1", &job.ObjectMeta, job.Spec.Template)
	return []any{cron, job, fixture.Pod("shop", "report-1-x", append([]func(*corev1.Pod){of}, edits...)...)}
}
