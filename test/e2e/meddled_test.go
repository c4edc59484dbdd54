package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// meddler is a proxy that lets somebody else act at one of the writes of a run:
// after it, and before the run hears of it.
type meddler struct {
	at  int
	act func(ctx context.Context) error

	mu    sync.Mutex
	count int
	err   error
	acted bool
}

func (m *meddler) decide(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !writes(r) || !m.next() {
			next.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		err := m.act(r.Context())
		m.mu.Lock()
		m.err, m.acted = err, true
		m.mu.Unlock()
		for key, values := range answer.Header() {
			w.Header()[key] = values
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	})
}

func (m *meddler) next() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count++
	return m.count == m.at
}

// meddling is what somebody else does in the middle of a run, and what is to come of
// it.
type meddling struct {
	name string
	act  func(ctx context.Context, c *cluster, namespace string) error
	// stop ends it, where it goes on.
	stop func(ctx context.Context, c *cluster, namespace string) error
	// statuses are those that the run may end with, says what it has to say where it
	// does not end well.
	statuses []int
	says     string
	// remains is what is different at the end, after the rollback.
	remains func(state map[string]any)
}

func meddlings() []meddling {
	patch := func(kind, name, body string) func(context.Context, *cluster, string) error {
		return func(ctx context.Context, c *cluster, namespace string) error {
			_, err := c.Kubectl(ctx, "patch", "-n", namespace, kind, name, "--type=merge", "-p", body)
			return err
		}
	}
	return []meddling{
		{
			name: "scaled", act: patch("deployment", "cart", `{"spec":{"replicas":3}}`), statuses: []int{0},
			remains: func(state map[string]any) {
				_ = unstructured.SetNestedField(state, int64(3), "deployments/cart", "spec", "replicas")
			},
		},
		{
			name: "deployed", statuses: []int{0},
			act: patch("deployment", "cart", `{"spec":{"template":{"metadata":{"annotations":{"build":"2"}}}}}`),
			remains: func(state map[string]any) {
				_ = unstructured.SetNestedField(state, "2", "deployments/cart", "spec", "template", "metadata", "annotations", "build")
			},
		},
		{
			name: "deleted", statuses: []int{0, 4}, says: "StatefulSet",
			act: func(ctx context.Context, c *cluster, namespace string) error {
				return c.kube.AppsV1().StatefulSets(namespace).Delete(ctx, "db", metav1.DeleteOptions{})
			},
			remains: func(state map[string]any) { delete(state, "statefulsets/db") },
		},
		{
			name: "labelled otherwise", statuses: []int{0, 4}, says: "dataplane-mode",
			act: func(ctx context.Context, c *cluster, namespace string) error {
				_, err := c.kube.CoreV1().Namespaces().Patch(ctx, namespace, types.MergePatchType, []byte(`{"metadata":{"labels":{"istio.io/dataplane-mode":null}}}`), metav1.PatchOptions{})
				return err
			},
		},
		{
			name: "refused by quota", statuses: []int{0, 4}, says: "quota",
			act: func(ctx context.Context, c *cluster, namespace string) error {
				quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "none"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}}}
				_, err := c.kube.CoreV1().ResourceQuotas(namespace).Create(ctx, quota, metav1.CreateOptions{})
				return err
			},
			stop: func(ctx context.Context, c *cluster, namespace string) error {
				return c.kube.CoreV1().ResourceQuotas(namespace).Delete(ctx, "none", metav1.DeleteOptions{})
			},
		},
		{
			name: "refused by a policy", statuses: []int{0, 4}, says: "not in a change freeze",
			act: func(ctx context.Context, c *cluster, namespace string) error {
				policy := &admissionv1.ValidatingAdmissionPolicy{
					ObjectMeta: metav1.ObjectMeta{Name: namespace},
					Spec: admissionv1.ValidatingAdmissionPolicySpec{
						MatchConstraints: &admissionv1.MatchResources{
							NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
							ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
								Operations: []admissionv1.OperationType{admissionv1.Update},
								Rule:       admissionv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments", "statefulsets"}},
							}}},
						},
						MatchConditions: []admissionv1.MatchCondition{{Name: "people", Expression: "!request.userInfo.username.startsWith('system:')"}},
						Validations:     []admissionv1.Validation{{Expression: "false", Message: "not in a change freeze"}},
					},
				}
				if _, err := c.kube.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(ctx, policy, metav1.CreateOptions{}); err != nil {
					return err
				}
				binding := &admissionv1.ValidatingAdmissionPolicyBinding{
					ObjectMeta: metav1.ObjectMeta{Name: namespace},
					Spec:       admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: namespace, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}},
				}
				_, err := c.kube.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Create(ctx, binding, metav1.CreateOptions{})
				return err
			},
			stop: func(ctx context.Context, c *cluster, namespace string) error {
				if err := c.kube.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Delete(ctx, namespace, metav1.DeleteOptions{}); err != nil {
					return err
				}
				return c.kube.AdmissionregistrationV1().ValidatingAdmissionPolicies().Delete(ctx, namespace, metav1.DeleteOptions{})
			},
		},
	}
}

// TestMeddled lets somebody else act in the middle of an enrolment, at several of
// its writes. The run goes on, or stops and says why; in both cases a rollback puts
// everything back but for what somebody else has done.
func TestMeddled(t *testing.T) {
	t.Parallel()
	c := shared
	var runs, stopped, lost atomic.Int32
	for _, of := range meddlings() {
		for _, at := range []int{1, 4, 7, 11} {
			t.Run(fmt.Sprintf("%s/%d", of.name, at), func(t *testing.T) {
				t.Parallel()
				namespace := fmt.Sprintf("%s-%d", strings.ReplaceAll(of.name, " ", "-"), at)
				before := c.shop(t, namespace)
				modes := c.watchModes(t, namespace)
				runs.Add(1)
				defer countLost(t, &lost)
				m := &meddler{at: at, act: func(ctx context.Context) error { return of.act(context.WithoutCancel(ctx), c, namespace) }}
				ended := c.ambientIn(t, []string{"KUBECONFIG=" + c.behind(t, m.decide)}, "enroll", "-n", namespace, "--yes", "--gate-timeout=15s")
				if !m.acted || m.err != nil {
					t.Fatalf("nobody has meddled, of %d writes: %v", m.count, m.err)
				}
				if !slices.Contains(of.statuses, ended.status) {
					t.Fatalf("want one of %v: %s", of.statuses, ended)
				}
				if ended.status != 0 {
					stopped.Add(1)
					says(t, ended.stderr, of.says, "to go on:", "to roll back:")
				}
				if of.stop != nil {
					if err := of.stop(context.WithoutCancel(t.Context()), c, namespace); err != nil {
						t.Fatal(err)
					}
				}
				c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
				c.settled(t, namespace)
				if of.remains != nil {
					of.remains(before)
				}
				c.wantState(t, namespace, before)
				c.wantSidecars(t, namespace)
				modes.want(t)
			})
		}
	}
	t.Cleanup(func() {
		fmt.Printf("meddled: %d runs, of which %d have stopped; lost: %d\n", runs.Load(), stopped.Load(), lost.Load())
	})
}

// TestNamespaceBeingDeleted: what goes on in a namespace that is deleted meanwhile
// ends, and says so.
func TestNamespaceBeingDeleted(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "going"
	c.shop(t, namespace)
	m := &meddler{at: 4, act: func(ctx context.Context) error {
		return c.kube.CoreV1().Namespaces().Delete(context.WithoutCancel(ctx), namespace, metav1.DeleteOptions{})
	}}
	ended := c.ambientIn(t, []string{"KUBECONFIG=" + c.behind(t, m.decide)}, "enroll", "-n", namespace, "--yes", "--gate-timeout=15s")
	if ended.status != 4 && ended.status != 1 {
		t.Fatal(ended)
	}
	c.eventually(t, "the namespace is gone", func(ctx context.Context) error {
		_, err := c.kube.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is there"), err)
	})
}
