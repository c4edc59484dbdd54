package controlplane

import (
	"context"
	"fmt"
	"maps"
	"runtime"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// kubeletPort is where the API server expects the kubelet of every node.
const kubeletPort = 10250

// nodeAddress is the address of the node with the given index. Nobody on this
// machine answers there: the egress proxy leads to kwok.
func nodeAddress(index int) string { return fmt.Sprintf("172.18.0.%d", index+2) }

// createNodes creates the nodes as their kubelets would register them: ready
// from the start, since kwok keeps their leases.
func (c *ControlPlane) createNodes(ctx context.Context) error {
	for i, node := range c.options.Nodes {
		if _, err := c.client.CoreV1().Nodes().Create(ctx, newNode(node, nodeAddress(i)), metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating node %s: %w", node.Name, err)
		}
	}
	return nil
}

func newNode(node Node, address string) *corev1.Node {
	labels := map[string]string{
		corev1.LabelHostname:   node.Name,
		corev1.LabelOSStable:   "linux",
		corev1.LabelArchStable: runtime.GOARCH,
	}
	maps.Copy(labels, node.Labels)
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse("1000"),
		corev1.ResourceMemory:           resource.MustParse("4Ti"),
		corev1.ResourceEphemeralStorage: resource.MustParse("4Ti"),
		corev1.ResourcePods:             resource.MustParse("10000"),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:   node.Name,
			Labels: labels,
			// kwok serves all nodes at one address.
			Annotations: map[string]string{"kwok.x-k8s.io/node": "fake", "metrics.k8s.io/resource-metrics-path": "/metrics/nodes/" + node.Name + "/metrics/resource"},
		},
		Spec: corev1.NodeSpec{Taints: node.Taints},
		Status: corev1.NodeStatus{
			Capacity:    capacity,
			Allocatable: capacity,
			Conditions:  nodeConditions(),
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: address},
				{Type: corev1.NodeHostName, Address: node.Name},
			},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: kubeletPort}},
			NodeInfo: corev1.NodeSystemInfo{
				Architecture:            runtime.GOARCH,
				OperatingSystem:         "linux",
				OSImage:                 "kwok",
				KernelVersion:           "kwok",
				ContainerRuntimeVersion: "kwok://0.8.0",
				KubeletVersion:          node.KubeletVersion,
			},
		},
	}
}

func nodeConditions() []corev1.NodeCondition {
	now := metav1.Now()
	conditions := []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"}}
	for _, pressure := range []corev1.NodeConditionType{
		corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure, corev1.NodeNetworkUnavailable,
	} {
		conditions = append(conditions, corev1.NodeCondition{Type: pressure, Status: corev1.ConditionFalse, Reason: "KubeletReady"})
	}
	for i := range conditions {
		conditions[i].LastHeartbeatTime, conditions[i].LastTransitionTime = now, now
	}
	return conditions
}
