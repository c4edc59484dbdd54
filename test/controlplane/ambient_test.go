package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/ztunnel"
)

const redirectionAnnotation = "ambient.istio.io/redirection"

// dumpOf gets /config_dump of the ztunnel on a node by a real port-forward.
func dumpOf(ctx context.Context, c *ControlPlane, node string) (ztunnel.Dump, error) {
	instance := c.Ztunnel(node)
	if instance == nil {
		return ztunnel.Dump{}, fmt.Errorf("node %s has no ztunnel", node)
	}
	address, stop, err := c.PortForward(ctx, instance.Pod().Namespace, instance.Pod().Name, 15000)
	if err != nil {
		return ztunnel.Dump{}, err
	}
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/config_dump", nil)
	if err != nil {
		return ztunnel.Dump{}, err
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return ztunnel.Dump{}, err
	}
	defer response.Body.Close()
	var dump ztunnel.Dump
	return dump, json.NewDecoder(response.Body).Decode(&dump)
}

func workloadIn(dump ztunnel.Dump, pod *corev1.Pod) (ztunnel.Workload, error) {
	uid := "Kubernetes//Pod/" + pod.Namespace + "/" + pod.Name
	for _, workload := range dump.Workloads {
		if workload.UID == uid {
			return workload, nil
		}
	}
	return ztunnel.Workload{}, fmt.Errorf("there is no workload %s", uid)
}

// captured returns nil if the pod is captured by all that can be seen.
func captured(ctx context.Context, c *ControlPlane, pod *corev1.Pod) error {
	if annotation := pod.Annotations[redirectionAnnotation]; annotation != "enabled" {
		return fmt.Errorf("pod %s has annotation %q", pod.Name, annotation)
	}
	dump, err := dumpOf(ctx, c, pod.Spec.NodeName)
	if err != nil {
		return err
	}
	workload, err := workloadIn(dump, pod)
	if err != nil {
		return err
	}
	if workload.Protocol != "HBONE" || workload.NativeTunnel {
		return fmt.Errorf("pod %s has protocol %s, nativeTunnel %v", pod.Name, workload.Protocol, workload.NativeTunnel)
	}
	if state := dump.WorkloadState[string(pod.UID)]; state.State != ztunnel.StateUp || state.Info.Name != pod.Name {
		return fmt.Errorf("pod %s has workloadState %+v", pod.Name, state)
	}
	return nil
}

// allCaptured waits until the pods are there and captured.
func allCaptured(t *testing.T, namespace string, count int) []corev1.Pod {
	t.Helper()
	var pods []corev1.Pod
	eventually(t, "the pods are captured", func(ctx context.Context) (err error) {
		if pods, err = podsOf(ctx, plane, namespace, "echo", count); err != nil {
			return err
		}
		for _, pod := range pods {
			if err := captured(ctx, plane, &pod); err != nil {
				return err
			}
		}
		return nil
	})
	return pods
}

func ambientLabels() map[string]string {
	return map[string]string{"istio.io/dataplane-mode": "ambient"}
}

func TestPodsOfAmbientNamespacesAreCaptured(t *testing.T) {
	namespace := newNamespace(t, "captured", ambientLabels())
	apply(t, plane, namespace, echo(3))
	pods := allCaptured(t, namespace, 3)

	dump, err := dumpOf(t.Context(), plane, pods[0].Spec.NodeName)
	if err != nil {
		t.Fatal(err)
	}
	workload, err := workloadIn(dump, &pods[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(workload.WorkloadIPs) != 1 || workload.WorkloadIPs[0] != pods[0].Status.PodIP ||
		workload.Node != pods[0].Spec.NodeName || workload.Status != "Healthy" {
		t.Errorf("the workload does not describe the pod: %+v", workload)
	}
	for _, pod := range pods {
		_, present := dump.WorkloadState[string(pod.UID)]
		if here := pod.Spec.NodeName == pods[0].Spec.NodeName; present != here {
			t.Errorf("pod %s on %s: in the workloadState of %s: %v", pod.Name, pod.Spec.NodeName, pods[0].Spec.NodeName, present)
		}
	}
}

func TestServicesHaveEndpoints(t *testing.T) {
	namespace := newNamespace(t, "endpoints", ambientLabels())
	apply(t, plane, namespace, echo(2))
	pods := allCaptured(t, namespace, 2)
	eventually(t, "the service has its endpoints", func(context.Context) error {
		for _, service := range plane.Ztunnel(pods[0].Spec.NodeName).Services() {
			if service.Namespace == namespace && service.Name == "echo" && len(service.Endpoints) == 2 && service.Ports[80] == 8080 {
				return nil
			}
		}
		return errors.New("it has not")
	})
}

func TestEnrolmentFollowsLabels(t *testing.T) {
	namespace := newNamespace(t, "labels", nil)
	apply(t, plane, namespace, echo(1))
	pod := readyPods(t, plane, namespace, "echo", 1)[0]
	label := func(value string) {
		t.Helper()
		patch := fmt.Sprintf(`{"metadata":{"labels":{"istio.io/dataplane-mode":%s}}}`, value)
		if _, err := plane.Client().CoreV1().Namespaces().Patch(t.Context(), namespace, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	label(`"ambient"`)
	allCaptured(t, namespace, 1)
	label("null")
	eventually(t, "the pod is released", func(ctx context.Context) error {
		current, err := plane.Client().CoreV1().Pods(namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if annotation, present := current.Annotations[redirectionAnnotation]; present {
			return fmt.Errorf("it has annotation %q", annotation)
		}
		if _, present := plane.Ztunnel(pod.Spec.NodeName).Captured()[pod.UID]; present {
			return errors.New("ztunnel still has it")
		}
		return nil
	})
}

func TestSidecarsAreNotCaptured(t *testing.T) {
	labels := ambientLabels()
	labels["istio-injection"] = "enabled"
	namespace := newNamespace(t, "sidecars", labels)
	apply(t, plane, namespace, echo(1))
	pod := readyPods(t, plane, namespace, "echo", 1)[0]
	eventually(t, "ztunnel knows the sidecar", func(ctx context.Context) error {
		dump, err := dumpOf(ctx, plane, pod.Spec.NodeName)
		if err != nil {
			return err
		}
		workload, err := workloadIn(dump, &pod)
		if err != nil {
			return err
		}
		if !workload.NativeTunnel || workload.Protocol != "HBONE" {
			return fmt.Errorf("protocol %s, nativeTunnel %v", workload.Protocol, workload.NativeTunnel)
		}
		if _, present := dump.WorkloadState[string(pod.UID)]; present {
			t.Error("the sidecar's pod was captured")
		}
		return nil
	})
	if _, present := pod.Annotations[redirectionAnnotation]; present {
		t.Error("the sidecar's pod is annotated")
	}
}

func TestCertificatesComeFromIstiod(t *testing.T) {
	namespace := newNamespace(t, "certificates", ambientLabels())
	apply(t, plane, namespace, echo(1))
	pod := allCaptured(t, namespace, 1)[0]
	identity := "spiffe://cluster.local/ns/" + namespace + "/sa/default"
	eventually(t, "there is a certificate", func(ctx context.Context) error {
		dump, err := dumpOf(ctx, plane, pod.Spec.NodeName)
		if err != nil {
			return err
		}
		for _, certificates := range dump.Certificates {
			if certificates.Identity != identity {
				continue
			}
			if certificates.State != "Available" || len(certificates.CertChain) == 0 || len(certificates.RootCerts) == 0 {
				return fmt.Errorf("its state is %s, its chain has %d elements", certificates.State, len(certificates.CertChain))
			}
			return nil
		}
		return errors.New("there is none for " + identity)
	})
}

func TestPoliciesReachZtunnel(t *testing.T) {
	namespace := newNamespace(t, "policies", ambientLabels())
	apply(t, plane, namespace, echo(1)+`
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: guard
spec:
  selector:
    matchLabels:
      app: echo
  action: DENY
  rules:
  - from:
    - source:
        principals: ["cluster.local/ns/elsewhere/sa/stranger"]
    to:
    - operation:
        ports: ["8080"]
`)
	pod := allCaptured(t, namespace, 1)[0]
	eventually(t, "ztunnel has the policy", func(ctx context.Context) error {
		dump, err := dumpOf(ctx, plane, pod.Spec.NodeName)
		if err != nil {
			return err
		}
		workload, err := workloadIn(dump, &pod)
		if err != nil {
			return err
		}
		if len(workload.AuthorizationPolicies) != 1 || workload.AuthorizationPolicies[0] != namespace+"/guard" {
			return fmt.Errorf("the workload has policies %v", workload.AuthorizationPolicies)
		}
		for _, policy := range dump.Policies {
			if policy.Namespace == namespace && policy.Name == "guard" {
				return checkGuard(policy)
			}
		}
		return errors.New("it has not")
	})
	if _, err := plane.Kubectl(t.Context(), "delete", "authorizationpolicy", "guard", "--namespace", namespace); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ztunnel has lost the policy", func(context.Context) error {
		for _, policy := range plane.Ztunnel(pod.Spec.NodeName).Policies() {
			if policy.Namespace == namespace {
				return errors.New("it has not")
			}
		}
		return nil
	})
}

func checkGuard(policy ztunnel.Policy) error {
	if policy.Action != "Deny" || policy.Scope != "WorkloadSelector" || len(policy.Rules) != 1 {
		return fmt.Errorf("the policy is %+v", policy)
	}
	var principals, ports int
	for _, clause := range policy.Rules[0] {
		for _, match := range clause {
			principals += len(match.Principals)
			ports += len(match.DestinationPorts)
		}
	}
	if principals != 1 || ports != 1 {
		return fmt.Errorf("the rules are %+v", policy.Rules)
	}
	return nil
}

func TestWaypointsAreProgrammed(t *testing.T) {
	labels := ambientLabels()
	labels["istio.io/use-waypoint"] = "waypoint"
	namespace := newNamespace(t, "waypoints", labels)
	apply(t, plane, namespace, echo(1)+`
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: waypoint
spec:
  gatewayClassName: istio-waypoint
  listeners:
  - name: mesh
    port: 15008
    protocol: HBONE
`)
	if _, err := plane.Kubectl(t.Context(), "wait", "gateway/waypoint", "--namespace", namespace,
		"--for", "condition=Programmed", "--timeout", patience.String()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the waypoint has a ready endpoint", func(ctx context.Context) error {
		ready, err := readyEndpoints(ctx, namespace, "waypoint")
		if err == nil && ready == 0 {
			err = errors.New("it has not")
		}
		return err
	})
	eventually(t, "ztunnel sends the service's traffic to the waypoint", func(context.Context) error {
		for _, service := range plane.Ztunnel("node-1").Services() {
			if service.Namespace == namespace && service.Name == "echo" && service.Waypoint != nil {
				return nil
			}
		}
		return errors.New("it does not")
	})
}

func TestPortForwardsOfKubectl(t *testing.T) {
	pod := plane.Ztunnel("node-1").Pod()
	for name, websockets := range map[string]string{"WebSocket": "true", "SPDY": "false"} {
		t.Run(name, func(t *testing.T) {
			address := forwardWithKubectl(t, pod, websockets)
			eventually(t, "the port answers", func(ctx context.Context) error {
				return answers(ctx, plane.plain, "http://"+address+"/config_dump")
			})
		})
	}
}

func TestIstioctlReadsZtunnel(t *testing.T) {
	namespace := newNamespace(t, "istioctl", ambientLabels())
	apply(t, plane, namespace, echo(1))
	pod := allCaptured(t, namespace, 1)[0]
	for _, kind := range []string{"workloads", "services", "policies", "certificates"} {
		output, err := plane.Istioctl(t.Context(), "ztunnel-config", kind, "--node", pod.Spec.NodeName)
		if err != nil {
			t.Fatal(err)
		}
		if kind == "workloads" && !strings.Contains(output, pod.Name) {
			t.Errorf("istioctl does not show pod %s:\n%s", pod.Name, output)
		}
	}
	output, err := plane.Istioctl(t.Context(), "version")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"control plane version: " + istioVersion, "data plane version: " + istioVersion} {
		if !strings.Contains(output, line) {
			t.Errorf("istioctl does not say %q:\n%s", line, output)
		}
	}
}
