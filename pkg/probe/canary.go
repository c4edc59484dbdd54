package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/probe/wire"
	"istio.io/api/annotation"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
)

// What a canary is made of.
const (
	canaryPrefix = "kubectl-ambient-canary-"
	// lifeAnnotation is how old a namespace is that nobody works with any more.
	lifeAnnotation = "ambient.kubectl-ambient.dev/probe-lifetime"
	canaryServer   = "server"
	canaryAdmitted = "admitted"
	canaryRefused  = "refused"
	canaryApp      = "canary-server"
	// The ports: one that a DENY and an ALLOW are about, one that an ALLOW of one account
	// is about, one that is open to all who can prove who they are.
	portDeny, portAllow, portStrict = 8080, 8081, 8082
)

// lookAgain is how often is asked whether what a canary needs is there.
const lookAgain = 300 * time.Millisecond

// Canary proves on a namespace of its own that the data plane of a cluster enforces.
type Canary struct {
	*Runner
	Dynamic dynamic.Interface
	// Model says how the mesh decides calls in a namespace: policies for the whole mesh
	// are about a canary, too. It returns nil where these may not be read; the canary's
	// own policies are taken for all there are then, as they are where Model is nil.
	Model func(ctx context.Context, namespace string) (*access.State, error)

	// claim is the namespace, nil before it is asked for and where it was refused.
	claim *claim
	// node is that of the server.
	node string
}

// CanaryVerdict is what became of a canary's calls, and where.
type CanaryVerdict struct {
	Verdict
	// Server is the node that its server ran on, Callers are those of its callers.
	Server  string
	Callers []string
}

// Namespace is the one that it makes.
func (c *Canary) Namespace() string { return canaryPrefix + c.ID }

// Run makes the namespace, tries calls in it and removes it whatever happens. Left is
// what it could not remove.
func (c *Canary) Run(ctx context.Context) (verdict CanaryVerdict, left []error, err error) {
	defer func() { left = append(left, c.removeNamespace(ctx)...) }()
	// The namespace outlives the waiting for its server and that for its callers.
	settled, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	if err := c.settle(settled); err != nil {
		if ctx.Err() != nil {
			return CanaryVerdict{}, nil, ctx.Err()
		}
		return unproven("no call was tried", err), nil, nil
	}
	draft, err := c.expected(settled)
	if err != nil {
		return unproven("no call was tried", err), nil, nil
	}
	tried, left, err := c.Try(ctx, c.Namespace(), draft)
	if err != nil {
		return CanaryVerdict{}, left, err
	}
	// What became of calls to a server that has gone in the meantime tells nothing.
	switch missing, err := c.missing(ctx); {
	case ctx.Err() != nil:
		return CanaryVerdict{}, left, ctx.Err()
	case err != nil:
		return unproven("no call proves anything", err), left, nil
	case missing != "":
		return unproven("no call proves anything", errors.New(missing)), left, nil
	}
	verdict = CanaryVerdict{Verdict: Judge(draft, tried), Server: c.node}
	for _, of := range tried {
		if of.Node != "" {
			verdict.Callers = append(verdict.Callers, of.Node)
		}
	}
	slices.Sort(verdict.Callers)
	verdict.Callers = slices.Compact(verdict.Callers)
	return verdict, left, nil
}

func unproven(what string, why error) CanaryVerdict {
	return CanaryVerdict{Verdict: Verdict{Findings: []Finding{{
		Status: v1alpha1.StatusUnknown, Message: what + ": " + printableLine(why.Error()), Remedy: "see what is named; --probe-timeout gives it longer",
	}}}}
}

// life is how long the namespace and its server live at most: one timeout is the
// server's to come up, one is its callers', and the rest is for making and removing them.
func (c *Canary) life() time.Duration { return 2*c.Timeout + time.Minute }

// settle makes everything that calls need, and waits until it holds.
func (c *Canary) settle(ctx context.Context) error {
	for _, step := range []func(context.Context) error{c.makeNamespace, c.makeObjects, c.makePolicies, c.policiesHold, c.makeServer, c.serverHolds} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *Canary) makeNamespace(ctx context.Context) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: c.Namespace(), Annotations: map[string]string{lifeAnnotation: c.life().String()}, Labels: map[string]string{
			Label: c.ID, managedLabel: fieldManager, label.IoIstioDataplaneMode.Name: mesh.DataplaneAmbient, "pod-security.kubernetes.io/enforce": "restricted",
		},
	}}
	made, err := c.Kube.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{FieldManager: fieldManager})
	switch {
	case err == nil:
		c.claim, c.clock = &claim{made.Name, made.UID}, made.CreationTimestamp.Time
	case !refused(err):
		c.claim = &claim{name: c.Namespace()}
	}
	return err
}

// makeObjects makes the accounts, and the Service by which the server is called.
func (c *Canary) makeObjects(ctx context.Context) error {
	options := metav1.CreateOptions{FieldManager: fieldManager}
	for _, name := range []string{canaryServer, canaryAdmitted, canaryRefused} {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}, AutomountServiceAccountToken: new(false)}
		if _, err := c.Kube.CoreV1().ServiceAccounts(c.Namespace()).Create(ctx, account, options); err != nil {
			return err
		}
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: canaryServer}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": canaryApp}}}
	for _, port := range []int32{portDeny, portAllow, portStrict} {
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{Name: fmt.Sprintf("http-%d", port), Port: port})
	}
	_, err := c.Kube.CoreV1().Services(c.Namespace()).Create(ctx, service, options)
	return err
}

// The policies' resources.
var (
	peerAuthentications   = schema.GroupVersionResource{Group: "security.istio.io", Version: "v1", Resource: "peerauthentications"}
	authorizationPolicies = schema.GroupVersionResource{Group: "security.istio.io", Version: "v1", Resource: "authorizationpolicies"}
)

// The names of the policies.
const (
	policyStrict, policyAllow, policyDeny = "strict", "allow", "deny"
)

func (c *Canary) makePolicies(ctx context.Context) error {
	principal := func(account string) any { return "*/ns/" + c.Namespace() + "/sa/" + account }
	from := func(principals ...any) []any {
		return []any{map[string]any{"source": map[string]any{"principals": principals}}}
	}
	to := func(port int) []any {
		return []any{map[string]any{"operation": map[string]any{"ports": []any{strconv.Itoa(port)}}}}
	}
	selector := map[string]any{"matchLabels": map[string]any{"app": canaryApp}}
	for _, policy := range []struct {
		resource   schema.GroupVersionResource
		kind, name string
		spec       map[string]any
	}{
		{peerAuthentications, mesh.KindPeerAuthentication, policyStrict, map[string]any{"mtls": map[string]any{"mode": "STRICT"}}},
		{authorizationPolicies, mesh.KindAuthorizationPolicy, policyAllow, map[string]any{"selector": selector, "action": "ALLOW", "rules": []any{
			map[string]any{"from": from(principal(canaryAdmitted), principal(canaryRefused)), "to": to(portDeny)},
			map[string]any{"from": from(principal(canaryAdmitted)), "to": to(portAllow)},
			map[string]any{"to": to(portStrict)},
		}}},
		{authorizationPolicies, mesh.KindAuthorizationPolicy, policyDeny, map[string]any{"selector": selector, "action": "DENY", "rules": []any{
			map[string]any{"from": from(principal(canaryRefused)), "to": to(portDeny)},
		}}},
	} {
		object := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": policy.resource.GroupVersion().String(), "kind": policy.kind, "metadata": map[string]any{"name": policy.name}, "spec": policy.spec,
		}}
		if _, err := c.Dynamic.Resource(policy.resource).Namespace(c.Namespace()).Create(ctx, object, metav1.CreateOptions{FieldManager: fieldManager}); err != nil {
			return err
		}
	}
	return nil
}

// ztunnelAccepted is what istiod says of a policy that it has for ztunnel (istio
// pilot/pkg/model/status.go).
const ztunnelAccepted = "ZtunnelAccepted"

// policiesHold waits until istiod has taken up the policies, before there is a server
// that they are for: ztunnel then never has it without them. Of PeerAuthentications
// istiod tells nothing; the one here was made before the others.
func (c *Canary) policiesHold(ctx context.Context) error {
	return c.until(ctx, func(ctx context.Context) (string, error) {
		for _, name := range []string{policyAllow, policyDeny} {
			object, err := c.Dynamic.Resource(authorizationPolicies).Namespace(c.Namespace()).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return "", err
			}
			conditions, _, err := unstructured.NestedSlice(object.Object, "status", "conditions")
			if err != nil {
				return "", fmt.Errorf("AuthorizationPolicy %s: %w", name, err)
			}
			if !slices.ContainsFunc(conditions, accepted) {
				return fmt.Sprintf("istiod has not accepted AuthorizationPolicy %s for ztunnel", name), nil
			}
		}
		return "", nil
	})
}

func accepted(condition any) bool {
	of, _ := condition.(map[string]any)
	return of["type"] == ztunnelAccepted && of["status"] == string(metav1.ConditionTrue)
}

// until waits until nothing is missing.
func (c *Canary) until(ctx context.Context, look func(context.Context) (missing string, err error)) error {
	var last string
	err := wait.PollUntilContextCancel(ctx, lookAgain, true, func(ctx context.Context) (bool, error) {
		missing, err := look(ctx)
		last = missing
		return missing == "", err
	})
	if wait.Interrupted(err) && last != "" {
		return errors.New(last)
	}
	return err
}

func (c *Canary) makeServer(ctx context.Context) error {
	server := pod{name: canaryServer, caller: Caller{Account: canaryServer}, labels: map[string]string{"app": canaryApp, label.SidecarInject.Name: "false"}, life: c.life()}
	for _, port := range []int{portDeny, portAllow, portStrict} {
		server.serves = append(server.serves, fmt.Sprintf(":%d", port))
	}
	_, err := c.create(ctx, c.Namespace(), server)
	return err
}

// serverHolds waits until the server runs and istio-cni has redirected it.
func (c *Canary) serverHolds(ctx context.Context) error { return c.until(ctx, c.missing) }

// missing says what the server lacks to be called.
func (c *Canary) missing(ctx context.Context) (string, error) {
	object, err := c.Kube.CoreV1().Pods(c.Namespace()).Get(ctx, canaryServer, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	server := pod{name: canaryServer}
	if tried, over := ended(server, object); over {
		return "", fmt.Errorf("pod %s: %s", canaryServer, tried.Failure)
	}
	ready := slices.ContainsFunc(object.Status.Conditions, func(condition corev1.PodCondition) bool {
		return condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue
	})
	c.node = object.Spec.NodeName
	switch {
	case object.DeletionTimestamp != nil:
		return "", fmt.Errorf("pod %s: somebody has deleted it", canaryServer)
	case !ready:
		return fmt.Sprintf("pod %s: %s", canaryServer, pending(server, object).Failure), nil
	case object.Annotations[annotation.AmbientRedirection.Name] != "enabled":
		return fmt.Sprintf("pod %s runs, and istio-cni has not redirected it: is ambient mode installed, with ztunnel on node %s?", canaryServer, c.node), nil
	default:
		return "", nil
	}
}

// draft is what is tried: each policy has a call that it refuses, and the same port one
// that is let in.
func (c *Canary) draft() Draft {
	ambient := map[string]string{label.SidecarInject.Name: "false"}
	outside := maps.Clone(ambient)
	outside[label.IoIstioDataplaneMode.Name] = mesh.DataplaneNone
	admitted := Caller{Mode: access.ModeAmbient, Account: canaryAdmitted, Labels: ambient}
	refused := Caller{Mode: access.ModeAmbient, Account: canaryRefused, Labels: ambient}
	stranger := Caller{Mode: access.ModeOutside, Account: canaryRefused, Labels: outside}
	reference := func(kind, name string) v1alpha1.ObjectReference {
		return mesh.SecurityReference(kind, c.Namespace(), name)
	}
	denied := func(reason, kind, name string) access.Decision {
		return access.Decision{Outcome: access.Denied, Point: access.AtZtunnel, Reason: reason, Policies: []v1alpha1.ObjectReference{reference(kind, name)}}
	}
	var draft Draft
	add := func(caller Caller, port uint32, protocol wire.Protocol, expected access.Decision) {
		expect := wire.Refused
		if expected.Outcome == access.Allowed {
			expect = wire.Allowed
		}
		draft.Attempts = append(draft.Attempts, Attempt{
			Caller: caller, Port: port, Expected: expected,
			Server:  v1alpha1.ObjectReference{APIVersion: "v1", Kind: mesh.KindPod, Namespace: c.Namespace(), Name: canaryServer},
			Service: mesh.ServiceReference(c.Namespace(), canaryServer),
			Call: wire.Call{
				ID: strconv.Itoa(len(draft.Attempts) + 1), Protocol: protocol, Timeout: wire.Duration(canaryCallTimeout), Expect: expect,
				Target: net.JoinHostPort(canaryServer+"."+c.Namespace()+".svc", strconv.Itoa(int(port))),
			},
		})
	}
	allowed := access.Decision{Outcome: access.Allowed}
	add(admitted, portDeny, wire.HTTP, allowed)
	add(refused, portDeny, wire.HTTP, denied("a DENY policy matches", mesh.KindAuthorizationPolicy, policyDeny))
	add(admitted, portAllow, wire.HTTP, allowed)
	add(refused, portAllow, wire.HTTP, denied("no ALLOW policy matches", mesh.KindAuthorizationPolicy, policyAllow))
	add(admitted, portStrict, wire.HTTP, allowed)
	add(stranger, portStrict, wire.Plaintext, denied("plaintext refused by STRICT", mesh.KindPeerAuthentication, policyStrict))
	return draft
}

// expected is the draft with what the policies of the mesh make of it.
func (c *Canary) expected(ctx context.Context) (Draft, error) {
	draft := c.draft()
	if c.Model == nil {
		return draft, nil
	}
	state, err := c.Model(ctx, c.Namespace())
	if err != nil || state == nil {
		return draft, err
	}
	return decided(draft, state, c.Namespace())
}

// decided takes what a model says of a canary's calls for what is expected of them. What
// it cannot tell is not tried.
func decided(draft Draft, state *access.State, namespace string) (Draft, error) {
	at := slices.IndexFunc(state.Servers, func(server *access.Server) bool {
		return server.Workload.Name == canaryServer && server.Workload.Namespace == namespace
	})
	if at < 0 || len(state.Servers[at].Services()) != 1 {
		return Draft{}, fmt.Errorf("pod %s and its Service are not in what was read of namespace %s", canaryServer, namespace)
	}
	servers := state.Servers[at : at+1]
	to := target{service: servers[0].Services()[0], servers: servers}
	_, addresses := witnesses(servers)
	drawing := drawing{state: state, namespace: namespace}
	tried := Draft{Untried: draft.Untried}
	for _, attempt := range draft.Attempts {
		to.port = access.ServicePort{Port: attempt.Port}
		decision, told := drawing.decide(to, attempt.Caller, access.Request{HTTP: true, Method: http.MethodGet, Path: "/"}, addresses)
		if !told {
			tried.Untried = append(tried.Untried, Untried{Server: &attempt.Server, Reason: attempt.String() + " was not tried: what policies say of it depends on the caller's address, or on an external authorizer"})
			continue
		}
		attempt.Expected, attempt.Call.Expect = decision, wire.Refused
		if decision.Outcome == access.Allowed {
			attempt.Call.Expect = wire.Allowed
		}
		tried.Attempts = append(tried.Attempts, attempt)
	}
	return tried, nil
}

// canaryCallTimeout bounds each call.
const canaryCallTimeout = 5 * time.Second

// removeNamespace removes the namespace that this run has made, and no other of its name.
func (c *Canary) removeNamespace(ctx context.Context) []error {
	if c.claim == nil {
		return nil
	}
	removing, cancel := context.WithTimeout(context.WithoutCancel(ctx), removal)
	defer cancel()
	err := persist(removing, c.claim.uid != "", func(ctx context.Context) error {
		uid, err := c.claim.uid, error(nil)
		if uid == "" {
			uid, err = c.find(ctx)
		}
		if err != nil {
			return err
		}
		return c.Kube.CoreV1().Namespaces().Delete(ctx, c.claim.name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	})
	if err != nil {
		return []error{fmt.Errorf("namespace %s could not be removed: %w", c.claim.name, err)}
	}
	return nil
}

// find looks for the namespace where nobody knows whether it came to be.
func (c *Canary) find(ctx context.Context) (types.UID, error) {
	namespaces, err := c.Kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: Label + "=" + c.ID})
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(namespaces.Items, func(object corev1.Namespace) bool { return object.Name == c.claim.name })
	if at < 0 {
		return "", apierrors.NewNotFound(corev1.Resource("namespaces"), c.claim.name)
	}
	return namespaces.Items[at].UID, nil
}

// SweepNamespaces removes the namespaces of canaries that were killed. It goes by the time
// at which this one was made, and sweeps nothing where there was none.
func (c *Canary) SweepNamespaces(ctx context.Context) (swept []string, err error) {
	if c.clock.IsZero() {
		return nil, nil
	}
	namespaces, err := c.Kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: Label})
	if err != nil {
		return nil, fmt.Errorf("list namespaces that canaries have left: %w", err)
	}
	var failed []error
	for i := range namespaces.Items {
		object := &namespaces.Items[i]
		if !c.outlived(object) {
			continue
		}
		err := c.Kube.CoreV1().Namespaces().Delete(ctx, object.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: new(object.UID)}})
		if err != nil && !apierrors.IsNotFound(err) {
			failed = append(failed, fmt.Errorf("namespace %s, which a canary has left: %w", object.Name, err))
			continue
		}
		swept = append(swept, object.Name)
	}
	return swept, errors.Join(failed...)
}

// outlived says whether a namespace is one that a canary made, by name and labels, and
// that no run works with, by the API server's clock.
func (c *Canary) outlived(object *corev1.Namespace) bool {
	id := object.Labels[Label]
	life, err := time.ParseDuration(object.Annotations[lifeAnnotation])
	ours := err == nil && id != c.ID && object.Name == canaryPrefix+id && object.Labels[managedLabel] == fieldManager
	return ours && object.DeletionTimestamp == nil && c.clock.Sub(object.CreationTimestamp.Time) > life+slack
}
