package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// meddler is a proxy that lets somebody else act at one of the writes of a run:
// after it, and before the run hears of it.
type meddler struct {
	// at is the write, counted from 1 among those that are meant; all are where of is nil.
	at  int
	of  func(*http.Request) bool
	act func(ctx context.Context) error

	mu    sync.Mutex
	count int
	err   error
	acted bool
}

func (m *meddler) decide(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !writes(r) || m.of != nil && !m.of(r) || !m.next() {
			next.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		err := m.act(r.Context())
		m.mu.Lock()
		m.err, m.acted = err, true
		m.mu.Unlock()
		replay(answer, w)
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
	// verified is what verify says after a run that has ended well; where it is empty,
	// all has to hold.
	verified string
	// accept is what the rollback at the end has to be told to accept.
	accept string
	// excused is what it does to pods by itself.
	excused []excuse
}

// patched is what somebody else patches.
func patched(kind, name, body string) func(context.Context, *cluster, string) error {
	return func(ctx context.Context, c *cluster, namespace string) error {
		_, err := c.Kubectl(ctx, "patch", "-n", namespace, kind, name, "--type=merge", "-p", body)
		return err
	}
}

// deleted is what somebody else deletes.
func deleted(kind, name string) func(context.Context, *cluster, string) error {
	return func(ctx context.Context, c *cluster, namespace string) error {
		_, err := c.Kubectl(ctx, "delete", "-n", namespace, kind, name)
		return err
	}
}

// scaledUp and evicted are what happens to pods all the time.
func scaledUp() meddling {
	return meddling{
		name: "scaled", act: patched("deployment", "cart", `{"spec":{"replicas":3}}`), statuses: []int{0},
		remains: func(state map[string]any) {
			_ = unstructured.SetNestedField(state, int64(3), "deployments/cart", "spec", "replicas")
		},
	}
}

func evicted() meddling {
	return meddling{
		name: "evicted", statuses: []int{0}, excused: []excuse{takesPods},
		act: func(ctx context.Context, c *cluster, namespace string) error {
			pods, err := c.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			for _, pod := range pods.Items {
				eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pod.Name}}
				if err := c.kube.PolicyV1().Evictions(namespace).Evict(ctx, eviction); err != nil && !apierrors.IsNotFound(err) {
					return err
				}
			}
			return nil
		},
	}
}

// toWorkloads are what somebody else does to a namespace of plain workloads.
func toWorkloads() []meddling {
	return []meddling{
		{
			name: "deployed", statuses: []int{0},
			act: patched("deployment", "cart", `{"spec":{"template":{"metadata":{"annotations":{"build":"2"}}}}}`),
			remains: func(state map[string]any) {
				_ = unstructured.SetNestedField(state, "2", "deployments/cart", "spec", "template", "metadata", "annotations", "build")
			},
		},
		{
			name: "deleted", statuses: []int{0, 4}, says: "StatefulSet", verified: "StatefulSet", act: deleted("statefulset", "db"),
			remains: func(state map[string]any) { delete(state, "statefulsets/db") },
		},
		{
			name: "labelled otherwise", statuses: []int{0, 4}, says: "dataplane-mode", excused: []excuse{takesCapture},
			act: func(ctx context.Context, c *cluster, namespace string) error {
				_, err := c.Kubectl(ctx, "label", "namespace", namespace, "istio.io/dataplane-mode-")
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
				return c.refuse(ctx, namespace, "not in a change freeze", "!request.userInfo.username.startsWith('system:')", admissionv1.Update,
					admissionv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments", "statefulsets"}})
			},
			stop: func(ctx context.Context, c *cluster, namespace string) error { return c.admit(ctx, namespace) },
		},
	}
}

// toPolicies are what somebody else does to what a namespace hands over. Whenever it
// is, the run must not end as if what the plan was made with held.
func toPolicies() []meddling {
	return []meddling{
		{
			name: "edited", statuses: []int{4}, says: "AuthorizationPolicy ", accept: "calls-newly-allowed",
			// Callers of the namespace itself alone are refused what the copies admit still: those
			// of the namespaces of tests beside would be let in by that as they move.
			act: patched("authorizationpolicy", "browsers", `{"spec":{"rules":[
				{"from":[{"source":{"notServiceAccounts":["web","cart"]}}],"to":[{"operation":{"methods":["GET"]}}]},{"to":[{"operation":{"methods":["PUT"]}}]}]}}`),
			remains: func(state map[string]any) {
				methods := func(name string) []any {
					return []any{map[string]any{"operation": map[string]any{"methods": []any{name}}}}
				}
				others := []any{map[string]any{"source": map[string]any{"notServiceAccounts": []any{"web", "cart"}}}}
				rules := []any{map[string]any{"from": others, "to": methods("GET")}, map[string]any{"to": methods("PUT")}}
				_ = unstructured.SetNestedSlice(state, rules, "authorizationpolicies/browsers", "spec", "rules")
			},
		},
		{
			name: "withdrawn", statuses: []int{4}, says: "AuthorizationPolicy ", accept: "calls-newly-allowed",
			act:     deleted("authorizationpolicy", "only-web-to-admin"),
			remains: func(state map[string]any) { delete(state, "authorizationpolicies/only-web-to-admin") },
		},
		{
			name: "without service", statuses: []int{4}, says: "cart-admin", act: deleted("service", "cart-admin"),
			remains: func(state map[string]any) { delete(state, "services/cart-admin") },
		},
	}
}

// refuse has the API server refuse what is done in a namespace, until admit.
func (c *cluster) refuse(ctx context.Context, namespace, message, condition string, operation admissionv1.OperationType, rule admissionv1.Rule) error {
	policy := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
				ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{operation}, Rule: rule,
				}}},
			},
			MatchConditions: []admissionv1.MatchCondition{{Name: "condition", Expression: condition}},
			Validations:     []admissionv1.Validation{{Expression: "false", Message: message}},
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
}

// admit ends refuse.
func (c *cluster) admit(ctx context.Context, namespace string) error {
	if err := c.kube.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Delete(ctx, namespace, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return c.kube.AdmissionregistrationV1().ValidatingAdmissionPolicies().Delete(ctx, namespace, metav1.DeleteOptions{})
}

// meddled are runs that somebody else meddles with.
type meddled struct {
	*cluster
	runs, stopped, lost atomic.Int32
}

// enrolled meddles at one of the writes of an enrolment, and rolls back.
func (m *meddled) enrolled(t *testing.T, of meddling, at int, manifest string) {
	t.Helper()
	t.Run(fmt.Sprintf("%s/%d", of.name, at), func(t *testing.T) {
		t.Parallel()
		namespace := fmt.Sprintf("%s-%d", strings.ReplaceAll(of.name, " ", "-"), at)
		m.try(t, namespace, manifest, of, func() (result, *meddler) {
			return m.meddle(t, namespace, of, at, "enroll", "-n", namespace, "--yes", "--mixed-callers=deny", "--gate-timeout=15s")
		}, "to go on:", "to roll back:")
	})
}

// rolledBack meddles at one of the writes of a rollback, and rolls back what is left.
func (m *meddled) rolledBack(t *testing.T, of meddling, at int, manifest string) {
	t.Helper()
	t.Run(fmt.Sprintf("%s back/%d", of.name, at), func(t *testing.T) {
		t.Parallel()
		// What is verified then is that all that is there has its sidecars.
		of.verified = ""
		namespace := fmt.Sprintf("%s-back-%d", strings.ReplaceAll(of.name, " ", "-"), at)
		m.try(t, namespace, manifest, of, func() (result, *meddler) {
			m.ambient(t, "enroll", "-n", namespace, "--yes", "--mixed-callers=deny").want(t, 0)
			return m.meddle(t, namespace, of, at, "rollback", "-n", namespace, "--yes", "--gate-timeout=15s")
		}, "to go on:")
	})
}

func (m *meddled) meddle(t *testing.T, namespace string, of meddling, at int, command ...string) (result, *meddler) {
	t.Helper()
	somebody := &meddler{at: at, act: func(ctx context.Context) error { return of.act(context.WithoutCancel(ctx), m.cluster, namespace) }}
	return m.ambientIn(t, []string{"KUBECONFIG=" + m.behind(t, somebody.decide)}, command...), somebody
}

// try meddles with a run, which says hints where it stops, and rolls back what is left.
func (m *meddled) try(t *testing.T, namespace, manifest string, of meddling, run func() (result, *meddler), hints ...string) {
	t.Helper()
	m.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	m.applyText(t, namespace, strings.ReplaceAll(manifest, "NAMESPACE", namespace))
	m.settled(t, namespace)
	before, modes := m.state(t, namespace), m.watchModes(t, namespace)
	m.observer.excuse(namespace, of.excused...)
	m.runs.Add(1)
	defer countLost(t, &m.lost)
	ended, somebody := run()
	if !somebody.acted || somebody.err != nil {
		t.Fatalf("nobody has meddled, of %d writes: %v", somebody.count, somebody.err)
	}
	if !slices.Contains(of.statuses, ended.status) {
		t.Fatalf("want one of %v: %s", of.statuses, ended)
	}
	if ended.status != 0 {
		m.stopped.Add(1)
		says(t, ended.stderr, append(hints, of.says)...)
		m.wantIncomplete(t, namespace, "")
	}
	if of.stop != nil {
		if err := of.stop(context.WithoutCancel(t.Context()), m.cluster, namespace); err != nil {
			t.Fatal(err)
		}
	}
	if ended.status == 0 {
		m.wantVerified(t, namespace, of)
	}
	m.ambient(t, "rollback", "-n", namespace, "--yes", "--accept="+of.accept).want(t, 0)
	m.settled(t, namespace)
	if of.remains != nil {
		of.remains(before)
	}
	m.wantStateSoon(t, namespace, before)
	m.wantSidecars(t, namespace)
	modes.want(t)
}

// wantVerified wants verify to say of a run that has ended well that all holds, or what
// somebody has done.
func (m *meddled) wantVerified(t *testing.T, namespace string, of meddling) {
	t.Helper()
	m.settled(t, namespace)
	if of.verified == "" {
		m.ambient(t, "verify", "-n", namespace).want(t, 0)
		return
	}
	says(t, m.ambient(t, "verify", "-n", namespace).want(t, 3).stdout, of.verified)
}

// TestMeddled lets somebody else act in the middle of a run, at several of its writes.
// The run goes on, or stops and says why; in both cases a rollback puts everything
// back but for what somebody else has done. Pods are evicted or scaled up at every
// write, there and back; unless every write is asked for, at a part of them.
func TestMeddled(t *testing.T) {
	t.Parallel()
	m := &meddled{cluster: shared}
	for i, of := range toWorkloads() {
		for _, at := range sampled(i, 2, 1, 4, 7, 11) {
			m.enrolled(t, of, at, smallShop)
		}
	}
	for i, of := range toWorkloads() {
		for _, at := range sampled(i, 4, 1, 6, 11, 15) {
			m.rolledBack(t, of, at, smallShop)
		}
	}
	for i, of := range toPolicies() {
		for _, at := range sampled(i, 2, 1, 8, 15, 22) {
			m.enrolled(t, of, at, protected)
		}
	}
	// A step is three writes, so that each kind of write is among them.
	for i, of := range []meddling{scaledUp(), evicted()} {
		for _, at := range sampled(i, 8, upTo(smallShopEnrolled)...) {
			m.enrolled(t, of, at, smallShop)
		}
		for _, at := range sampled(i+2, 8, upTo(smallShopRolledBack)...) {
			m.rolledBack(t, of, at, smallShop)
		}
	}
	t.Cleanup(func() {
		fmt.Printf("meddled: %d runs, of which %d have stopped; lost: %d\n", m.runs.Load(), m.stopped.Load(), m.lost.Load())
	})
}

// upTo are the numbers from 1 to n.
func upTo(n int) []int {
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = i + 1
	}
	return numbers
}

// sampled are every so many of some writes, from one on that is another for each kind;
// all of them where every write is asked for.
func sampled(kind, every int, writes ...int) []int {
	if os.Getenv(everyWrite) != "" {
		return writes
	}
	var taken []int
	for i := kind % every; i < len(writes); i += every {
		taken = append(taken, writes[i])
	}
	return taken
}

// TestNamespaceBeingDeleted: what goes on in a namespace that is deleted meanwhile
// ends, and says so.
func TestNamespaceBeingDeleted(t *testing.T) {
	t.Parallel()
	for _, at := range []int{1, 4, 10} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			c := shared
			namespace := fmt.Sprintf("going-%d", at)
			c.shop(t, namespace)
			m := &meddler{at: at, act: func(ctx context.Context) error {
				return c.kube.CoreV1().Namespaces().Delete(context.WithoutCancel(ctx), namespace, metav1.DeleteOptions{})
			}}
			started := time.Now()
			ended := c.ambientIn(t, []string{"KUBECONFIG=" + c.behind(t, m.decide)}, "enroll", "-n", namespace, "--yes", "--gate-timeout=15s")
			// Before its first write to something else than its record a run has changed nothing.
			if changed := at > 2; changed && ended.status != 4 || !changed && ended.status != 1 && ended.status != 4 {
				t.Error(ended)
			}
			if !strings.Contains(ended.stderr, "is being deleted") && !strings.Contains(ended.stderr, "is gone") && !strings.Contains(ended.stderr, "not found") {
				t.Errorf("it does not say why: %s", ended)
			}
			if took := time.Since(started); took > time.Minute {
				t.Errorf("it took %s", took)
			}
			c.eventually(t, "the namespace is gone", func(ctx context.Context) error {
				_, err := c.kube.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
				if apierrors.IsNotFound(err) {
					return nil
				}
				return errors.Join(errors.New("it is there"), err)
			})
		})
	}
}
