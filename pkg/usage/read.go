// Package usage says what the proxies of a namespace take: what they use, as the metrics
// API has it, and what is reserved for them.
package usage

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// Group is that of the metrics API, which metrics-server serves (kubernetes
// staging/src/k8s.io/metrics/pkg/apis/metrics/v1beta1).
const Group = "metrics.k8s.io"

// resourcePods are the metrics of pods.
var resourcePods = schema.GroupVersionResource{Group: Group, Version: "v1beta1", Resource: "pods"}

// ofProxies selects the pods of ztunnel, and of what istiod runs for Gateways.
var ofProxies = []string{"app=ztunnel", "gateway.networking.k8s.io/gateway-name"}

// patience bounds each request: nothing depends on the answer, and who serves the API may
// hang.
const patience = 10 * time.Second

// Used is what a container uses.
type Used struct {
	MilliCPU, Memory int64
}

// Measured is what the metrics API says.
type Measured struct {
	// Containers are by "namespace/pod", and by name.
	Containers map[string]map[string]Used
	// Problem says why it says nothing, and what to do; empty where it was read.
	Problem string
}

// Read asks the metrics API for the pods of a namespace, or of all, and for proxies that
// serve it from others. That it does not answer is part of what was measured.
func Read(ctx context.Context, client dynamic.Interface, namespace string) (Measured, error) {
	measured := Measured{Containers: map[string]map[string]Used{}}
	ask := func(namespace, selector string) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		list, err := client.Resource(resourcePods).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return err
		}
		for i := range list.Items {
			measured.add(&list.Items[i])
		}
		return nil
	}
	err := ask(namespace, "")
	if namespace != metav1.NamespaceAll {
		for _, selector := range ofProxies {
			if err == nil {
				err = ask(metav1.NamespaceAll, selector)
			}
		}
	}
	if err != nil && ctx.Err() != nil {
		return measured, ctx.Err()
	}
	measured.Problem = problem(err)
	return measured, nil
}

func problem(err error) string {
	switch {
	case err == nil:
		return ""
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("%v: grant list on pods of API group %s", err, Group)
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("the API server does not serve %s: metrics-server is not installed", Group)
	default:
		return fmt.Sprintf("%s does not answer: %v: kubectl get apiservice v1beta1.%s shows why", Group, err, Group)
	}
}

// add takes in the metrics of a pod. A quantity that cannot be read counts as none.
func (m Measured) add(pod *unstructured.Unstructured) {
	containers, _, _ := unstructured.NestedSlice(pod.Object, "containers")
	of := map[string]Used{}
	for _, item := range containers {
		container, _ := item.(map[string]any)
		name, _ := container["name"].(string)
		amount := func(of string) resource.Quantity {
			text, _, _ := unstructured.NestedString(container, "usage", of)
			quantity, err := resource.ParseQuantity(text)
			if err != nil {
				return resource.Quantity{}
			}
			return quantity
		}
		cpu, memory := amount("cpu"), amount("memory")
		of[name] = Used{MilliCPU: cpu.MilliValue(), Memory: memory.Value()}
	}
	m.Containers[pod.GetNamespace()+"/"+pod.GetName()] = of
}
