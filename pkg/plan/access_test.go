package plan_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/internal/golden"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// scenario is the first document of a file of testdata/access: what is in the mesh
// besides the objects that follow it, and what is chosen.
type scenario struct {
	// About says what the file is there for.
	About     string       `json:"about"`
	Options   plan.Options `json:"options"`
	Workloads []player     `json:"workloads"`
	// MeshConfig is added to that of the mesh, in which sidecars accept HBONE.
	MeshConfig string `json:"meshConfig"`
}

// player is a workload and its pods.
type player struct {
	Name string `json:"name"`
	// Namespace is shop unless it says otherwise.
	Namespace string `json:"namespace"`
	// Kind is Deployment, CronJob, Gateway or Pod; without one it is a Deployment.
	Kind string `json:"kind"`
	// Ports are the container's.
	Ports map[string]int32 `json:"ports"`
	// Labels are those of the template, Mode is what its pods have: sidecar, which
	// is the default, ambient or nothing.
	Labels map[string]string `json:"labels"`
	// Annotations are those of the template, and of its pods.
	Annotations map[string]string `json:"annotations"`
	Mode        string            `json:"mode"`
	// Address is that of its pod.
	Address string `json:"address"`
	// Pods are the modes of a Deployment's pods in the middle of a restart; without them
	// it has one in Mode. Those with a sidecar are of the former template, which did not
	// refuse injection yet.
	Pods []string `json:"pods"`
}

func (p player) objects() []any {
	namespace := p.Namespace
	if namespace == "" {
		namespace = "shop"
	}
	edits := []func(*corev1.Pod){func(pod *corev1.Pod) { pod.Status.PodIP = p.Address }}
	switch {
	case p.Kind == "Gateway":
	case p.Mode == "":
		// A pod's own labels stay as they are.
		edits = append(edits, fixture.Sidecar, func(pod *corev1.Pod) { maps.Copy(pod.Labels, p.Labels) })
	case p.Mode == "ambient":
		edits = append(edits, fixture.Ambient)
	}
	template := func(template *corev1.PodTemplateSpec) {
		for _, name := range slices.Sorted(maps.Keys(p.Ports)) {
			template.Spec.Containers[0].Ports = append(template.Spec.Containers[0].Ports, corev1.ContainerPort{Name: name, ContainerPort: p.Ports[name]})
		}
		maps.Copy(template.Labels, p.Labels)
		if len(p.Annotations) > 0 {
			template.Annotations = maps.Clone(p.Annotations)
		}
	}
	switch p.Kind {
	case "CronJob":
		return []any{fixture.CronJob(namespace, p.Name, func(job *batchv1.CronJob) { template(&job.Spec.JobTemplate.Spec.Template) })}
	case "Pod":
		return []any{fixture.Pod(namespace, p.Name, edits...)}
	}
	deployment := fixture.Deployment(namespace, p.Name, func(deployment *appsv1.Deployment) {
		if p.Kind == "Gateway" {
			fixture.InjectedGateway(deployment)
			maps.Copy(deployment.Spec.Template.Labels, map[string]string{"istio": p.Name})
		}
		template(&deployment.Spec.Template)
	})
	if len(p.Pods) > 0 {
		return append([]any{deployment}, p.restarting(deployment)...)
	}
	return append([]any{deployment}, fixture.PodsOf(deployment, edits...)...)
}

// restarting sets how far the restart of a Deployment is, and returns the ReplicaSets
// of both templates with their pods.
func (p player) restarting(deployment *appsv1.Deployment) []any {
	former := deployment.DeepCopy()
	delete(former.Spec.Template.Labels, "sidecar.istio.io/inject")
	var objects []any
	updated := int32(0)
	for _, template := range []struct {
		name string
		of   *appsv1.Deployment
		mode string
		edit func(*corev1.Pod)
	}{{p.Name + "-5d8f7", former, "sidecar", fixture.Sidecar}, {p.Name + "-7c9b6", deployment, "ambient", fixture.Ambient}} {
		set := fixture.ReplicaSet(deployment.Namespace, template.name, template.of)
		count := int32(0)
		for i, mode := range p.Pods {
			if mode == template.mode {
				of := fixture.Of("ReplicaSet", "apps/v1", &set.ObjectMeta, set.Spec.Template)
				objects = append(objects, fixture.Pod(deployment.Namespace, fmt.Sprintf("%s-%d", set.Name, i), of, template.edit))
				count++
			}
		}
		set.Spec.Replicas = &count
		set.Status = appsv1.ReplicaSetStatus{ObservedGeneration: 1, Replicas: count, FullyLabeledReplicas: count, ReadyReplicas: count, AvailableReplicas: count}
		objects, updated = append(objects, set), count
	}
	replicas := int32(len(p.Pods))
	deployment.Spec.Replicas = &replicas
	deployment.Status.Replicas, deployment.Status.ReadyReplicas, deployment.Status.AvailableReplicas = replicas, replicas, replicas
	deployment.Status.UpdatedReplicas = updated
	return objects
}

// read takes a file apart.
func readScenario(t *testing.T, content string) (scenario, []any) {
	t.Helper()
	first, objects, _ := strings.Cut(content, "\n---\n")
	var read scenario
	if err := yaml.UnmarshalStrict([]byte(first), &read); err != nil {
		t.Fatal(err)
	}
	parts := []any{
		fixture.Without("ConfigMap", fixture.Installation()...),
		fixture.MeshConfig("rootNamespace: istio-system\ndefaultConfig: {proxyMetadata: {ISTIO_META_ENABLE_HBONE: \"true\"}}\n" + read.MeshConfig),
		fixture.CNIConfig(fixture.System, map[string]string{"AMBIENT_ENABLED": "true", "EXCLUDE_NAMESPACES": "kube-system"}),
	}
	namespaces := map[string]bool{"shop": true}
	for _, one := range read.Workloads {
		if one.Namespace != "" {
			namespaces[one.Namespace] = true
		}
		parts = append(parts, one.objects()...)
	}
	declared := map[string]bool{}
	for _, object := range fixture.YAML(objects) {
		declared[object.GetName()] = declared[object.GetName()] || object.GetKind() == "Namespace"
		parts = append(parts, object)
	}
	for _, name := range slices.Sorted(maps.Keys(namespaces)) {
		if !declared[name] {
			parts = append(parts, fixture.Namespace(name, map[string]string{"istio-injection": "enabled"}))
		}
	}
	return read, parts
}

// outcome is a plan as an operator would want to read it over: what each step
// writes, which gates have something to say of policies, and which calls change.
func outcome(planned v1alpha1.MigrationPlan) string {
	var out strings.Builder
	fmt.Fprintf(&out, "BLOCKED: %v\n\nSTEPS\n", planned.Blocked)
	for _, step := range planned.Steps {
		fmt.Fprintf(&out, "%s [%s]\n", step.ID, step.Gate.Kind)
		for _, change := range step.Changes {
			if change.Create != nil {
				fmt.Fprintf(&out, "  create %s %s\n", change.Object, flow(change.Create["spec"]))
			}
			for _, field := range change.Fields {
				fmt.Fprintf(&out, "  %s %s: %s -> %s\n", change.Object, strings.ReplaceAll(field.Path, "~1", "/"), flow(field.Before), flow(field.After))
			}
		}
	}
	out.WriteString("\nGATES\n")
	for _, gate := range planned.Gates {
		if gate.Status == v1alpha1.StatusPass || gate.Status == v1alpha1.StatusSkip || gate.ID == checks.IDCallsNewlyAllowed || gate.ID == checks.IDCallsNewlyDenied {
			continue
		}
		if gate.Status == v1alpha1.StatusWarn && gate.Category != checks.CategoryPolicies {
			continue
		}
		object := ""
		if gate.Object != nil {
			object = " " + gate.Object.String()
		}
		accepted := ""
		if gate.Accepted {
			accepted = " (accepted)"
		}
		fmt.Fprintf(&out, "%s %s%s%s %s: %s\n", gate.ID, gate.Status, accepted, object, gate.Field, gate.Message)
	}
	out.WriteString("\nCALLS\n")
	if planned.Access != nil {
		for _, change := range planned.Access.Changes {
			fmt.Fprintf(&out, "%s %s: %s\n", change.Effect, change.Server, checks.DescribeChange(change))
			if change.Remedy != "" {
				fmt.Fprintf(&out, "  -> %s\n", change.Remedy)
			}
		}
	}
	return out.String()
}

// flow writes a value in one line.
func flow(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// TestAccess plans the move of each mesh of testdata/access, and compares what
// becomes of its policies and calls with what somebody has read and found right.
func TestAccess(t *testing.T) {
	meshes, err := filepath.Glob("testdata/access/*.yaml")
	if err != nil || len(meshes) == 0 {
		t.Fatalf("no meshes: %v", err)
	}
	for _, path := range meshes {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			read, parts := readScenario(t, string(content))
			snapshot := fixture.Snapshot(parts...)
			planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), read.Options)
			if err != nil {
				t.Fatal(err)
			}
			golden.AssertFile(t, filepath.Join("testdata", "access", name+".golden"), "# "+read.About+"\n"+outcome(planned))
		})
	}
}
