package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestNodesAreReady(t *testing.T) {
	nodes, err := plane.Client().CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(nodes.Items) != 3 {
		t.Fatalf("there are %d nodes, want 3", len(nodes.Items))
	}
	for _, node := range nodes.Items {
		if node.Status.NodeInfo.KubeletVersion != DefaultKubeletVersion {
			t.Errorf("node %s has kubelet %s", node.Name, node.Status.NodeInfo.KubeletVersion)
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
				t.Errorf("node %s is not ready: %s", node.Name, condition.Message)
			}
		}
	}
}

func TestPodsGetAddressesAndEndpoints(t *testing.T) {
	namespace := newNamespace(t, "addresses", nil)
	apply(t, plane, namespace, echo(9))
	pods := readyPods(t, plane, namespace, "echo", 9)

	network, addresses, nodes := netip.MustParsePrefix(podNetwork), map[string]bool{}, map[string]bool{}
	for _, pod := range pods {
		address, err := netip.ParseAddr(pod.Status.PodIP)
		if err != nil || !network.Contains(address) {
			t.Errorf("pod %s has address %q", pod.Name, pod.Status.PodIP)
		}
		addresses[pod.Status.PodIP], nodes[pod.Spec.NodeName] = true, true
	}
	if len(addresses) != 9 || len(nodes) != 3 {
		t.Errorf("9 pods have %d addresses on %d nodes", len(addresses), len(nodes))
	}
	eventually(t, "the endpoints are ready", func(ctx context.Context) error {
		ready, err := readyEndpoints(ctx, namespace, "echo")
		if err == nil && ready != 9 {
			err = fmt.Errorf("%d are", ready)
		}
		return err
	})
}

// readyEndpoints counts the ready endpoints of a Service.
func readyEndpoints(ctx context.Context, namespace, service string) (int, error) {
	slices, err := plane.Client().DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{
		LabelSelector: "kubernetes.io/service-name=" + service,
	})
	if err != nil {
		return 0, err
	}
	count := 0
	for _, slice := range slices.Items {
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready != nil && *endpoint.Conditions.Ready {
				count++
			}
		}
	}
	return count, nil
}

func TestHostNetworkPodsHaveTheAddressOfTheirNode(t *testing.T) {
	namespace := newNamespace(t, "host-network", nil)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "host", Labels: map[string]string{"app": "host"}},
		Spec: corev1.PodSpec{
			HostNetwork: true, NodeName: "node-2",
			Containers: []corev1.Container{{Name: "host", Image: "host"}},
		},
	}
	if _, err := plane.Client().CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if ready := readyPods(t, plane, namespace, "host", 1); ready[0].Status.PodIP != nodeAddress(1) {
		t.Errorf("the pod has address %s, want %s", ready[0].Status.PodIP, nodeAddress(1))
	}
}

func TestJobsComplete(t *testing.T) {
	namespace := newNamespace(t, "jobs", nil)
	for name, annotations := range map[string]map[string]string{
		"short": nil,
		"long":  {KeepRunningAnnotation: "true"},
	} {
		job := &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Annotations: annotations, Labels: map[string]string{"app": name}},
				Spec: corev1.PodSpec{
					RestartPolicy: corev1.RestartPolicyNever,
					Containers:    []corev1.Container{{Name: "job", Image: "job"}},
				},
			}},
		}
		if _, err := plane.Client().BatchV1().Jobs(namespace).Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	readyPods(t, plane, namespace, "long", 1)
	eventually(t, "the short job is complete", func(ctx context.Context) error {
		job, err := plane.Client().BatchV1().Jobs(namespace).Get(ctx, "short", metav1.GetOptions{})
		if err == nil && job.Status.Succeeded != 1 {
			err = errors.New(job.Status.String())
		}
		return err
	})
	if pods, err := podsOf(t.Context(), plane, namespace, "long", 1); err != nil || pods[0].Status.Phase != corev1.PodRunning {
		t.Errorf("the long job does not run: %v", err)
	}
}

func TestEvictionsRespectBudgets(t *testing.T) {
	namespace := newNamespace(t, "evictions", nil)
	apply(t, plane, namespace, echo(2))
	pods := readyPods(t, plane, namespace, "echo", 2)
	setBudget(t, namespace, 2)
	if err := evict(t.Context(), pods[0]); err == nil {
		t.Fatal("the budget allows no eviction, but it succeeded")
	}
	setBudget(t, namespace, 1)
	eventually(t, "the eviction is allowed", func(ctx context.Context) error { return evict(ctx, pods[0]) })
	eventually(t, "the evicted pod is replaced", func(ctx context.Context) error {
		current, err := podsOf(ctx, plane, namespace, "echo", 2)
		if err != nil {
			return err
		}
		for _, pod := range current {
			if pod.UID == pods[0].UID {
				return errors.New("it is still there")
			}
		}
		return nil
	})
}

// setBudget says how many of the pods must stay, and waits until that counts.
func setBudget(t *testing.T, namespace string, minimum int) {
	t.Helper()
	budgets := plane.Client().PolicyV1().PodDisruptionBudgets(namespace)
	_ = budgets.Delete(t.Context(), "echo", metav1.DeleteOptions{})
	available := intstr.FromInt32(int32(minimum))
	_, err := budgets.Create(t.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "echo"},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: &available,
			Selector:     &metav1.LabelSelector{MatchLabels: map[string]string{"app": "echo"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the budget is observed", func(ctx context.Context) error {
		budget, err := budgets.Get(ctx, "echo", metav1.GetOptions{})
		if err == nil && budget.Status.ExpectedPods != 2 {
			err = errors.New(budget.Status.String())
		}
		return err
	})
}

func evict(ctx context.Context, pod corev1.Pod) error {
	return plane.Client().PolicyV1().Evictions(pod.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
	})
}

func TestStatefulSetsAndDaemonSetsRollOut(t *testing.T) {
	namespace := newNamespace(t, "rollouts", nil)
	apply(t, plane, namespace, `
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: ordered
spec:
  serviceName: ordered
  replicas: 2
  selector:
    matchLabels:
      app: ordered
  template:
    metadata:
      labels:
        app: ordered
    spec:
      containers:
      - name: ordered
        image: ordered
---
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: everywhere
spec:
  selector:
    matchLabels:
      app: everywhere
  template:
    metadata:
      labels:
        app: everywhere
    spec:
      containers:
      - name: everywhere
        image: everywhere
`)
	readyPods(t, plane, namespace, "ordered", 2)
	readyPods(t, plane, namespace, "everywhere", 3)
	for _, workload := range []string{"statefulset/ordered", "daemonset/everywhere"} {
		if _, err := plane.Kubectl(t.Context(), "rollout", "restart", "--namespace", namespace, workload); err != nil {
			t.Fatal(err)
		}
		if _, err := plane.Kubectl(t.Context(), "rollout", "status", "--namespace", namespace, workload, "--timeout", patience.String()); err != nil {
			t.Fatal(err)
		}
	}
	set, err := plane.Client().AppsV1().DaemonSets(namespace).Get(t.Context(), "everywhere", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if set.Status.UpdatedNumberScheduled != 3 || set.Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		t.Errorf("the DaemonSet was not rolled out: %s", set.Status.String())
	}
}
