package controlplane

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// admissionName sorts behind the webhooks of Istio, which the API server calls
// in the order of their names, so that pods are seen after injection.
const admissionName = "zz-controlplane"

// startAdmission starts the webhook by which faults reach pods before anybody
// else sees them, and registers it.
func (c *ControlPlane) startAdmission(ctx context.Context) error {
	certificate, err := tls.LoadX509KeyPair(c.identities.webhook.CertificateFile, c.identities.webhook.KeyFile)
	if err != nil {
		return fmt.Errorf("starting the admission webhook: %w", err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		return fmt.Errorf("starting the admission webhook: %w", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(c.serveAdmission), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	c.onStop(func() { _ = server.Close() })
	return c.registerAdmission(ctx, listener.Addr())
}

func (c *ControlPlane) registerAdmission(ctx context.Context, address net.Addr) error {
	url := "https://" + address.String() + "/pods"
	fail, none, never, all := registrationv1.Fail, registrationv1.SideEffectClassNone, registrationv1.NeverReinvocationPolicy, registrationv1.NamespacedScope
	configuration := &registrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: admissionName},
		Webhooks: []registrationv1.MutatingWebhook{{
			Name:                    "pods.controlplane.kubectl-ambient.dev",
			ClientConfig:            registrationv1.WebhookClientConfig{URL: &url, CABundle: c.identities.authority.Certificate()},
			AdmissionReviewVersions: []string{"v1"},
			FailurePolicy:           &fail,
			SideEffects:             &none,
			ReinvocationPolicy:      &never,
			Rules: []registrationv1.RuleWithOperations{{
				Operations: []registrationv1.OperationType{registrationv1.Create},
				Rule:       registrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}, Scope: &all},
			}},
		}},
	}
	_, err := c.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(ctx, configuration, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("registering the admission webhook: %w", err)
	}
	return nil
}

func (c *ControlPlane) serveAdmission(response http.ResponseWriter, request *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(request.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(response, "no AdmissionReview", http.StatusBadRequest)
		return
	}
	review.Response = c.admit(review.Request)
	review.Response.UID = review.Request.UID
	review.Request = nil
	response.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(response).Encode(review)
}

// admit refuses the ztunnels of nodes that are to have none, and marks the pods
// that are not to become ready.
func (c *ControlPlane) admit(request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	pod := &corev1.Pod{}
	if err := json.Unmarshal(request.Object.Raw, pod); err != nil {
		return refuse(err.Error())
	}
	pod.Namespace = request.Namespace
	if node := daemonNode(pod); isZtunnel(pod) && c.faults.bars(node) {
		return refuse("node " + node + " takes no ztunnel")
	}
	if !c.faults.holds(pod) {
		return &admissionv1.AdmissionResponse{Allowed: true}
	}
	patch, err := holdPatch(pod)
	if err != nil {
		return refuse(err.Error())
	}
	kind := admissionv1.PatchTypeJSONPatch
	return &admissionv1.AdmissionResponse{Allowed: true, Patch: patch, PatchType: &kind}
}

func refuse(reason string) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: reason, Code: http.StatusForbidden}}
}

func holdPatch(pod *corev1.Pod) ([]byte, error) {
	annotations := map[string]string{unreadyAnnotation: ""}
	for name, value := range pod.Annotations {
		annotations[name] = value
	}
	return json.Marshal([]map[string]any{{"op": "add", "path": "/metadata/annotations", "value": annotations}})
}

// daemonNode returns the node for which a DaemonSet's pod is meant, which its
// controller says by a node affinity and leaves to the scheduler.
func daemonNode(pod *corev1.Pod) string {
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.NodeAffinity == nil {
		return ""
	}
	required := pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil {
		return ""
	}
	for _, term := range required.NodeSelectorTerms {
		for _, field := range term.MatchFields {
			if field.Key == metav1.ObjectNameField && len(field.Values) == 1 {
				return field.Values[0]
			}
		}
	}
	return ""
}
