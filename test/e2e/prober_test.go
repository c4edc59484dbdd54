package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/probe"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/probe/wire"
	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane"
	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/oracle"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// conduct is how the pods of probes behave.
type conduct int

const (
	// honest: they report what the oracle says of their calls.
	honest conduct = iota
	// stale: they report what the oracle said when that began.
	stale
	// silent: they run, and never end.
	silent
	// unstarted: their image cannot be pulled.
	unstarted
	// lying: they report as an honest one would, and end with status 0.
	lying
	// failing: something kills them before they can report.
	failing
	// late: they are honest once all others that end have ended.
	late
	// waiting: no node takes them until all others that end have ended; then they are honest.
	waiting
	// homeless: no node takes them.
	homeless
	// overdue: they report when the run has given up on them and removes them, which waits
	// for it.
	overdue
)

// overdueFinalizer keeps an overdue pod until it has reported.
const overdueFinalizer = "probed.example/overdue"

// prober plays the containers of probe pods, which run nowhere here: it fills in their
// status, by what the oracle makes of istiod's own configuration.
type prober struct {
	cluster *cluster
	oracle  *oracle.Oracle

	mu      sync.Mutex
	conduct conduct
	// cast are the conducts of the pods of a run, in the order in which they are made; empty
	// where all behave alike. node is where those go that are not to wait for one.
	cast []conduct
	node string
	// pods are as they were seen last.
	pods map[types.UID]*corev1.Pod
	// known is what stale pods go by, by namespace.
	known map[string]*oracle.State
	done  map[types.UID]bool
	// ended are the conducts of the cast in the order in which they have ended.
	ended []conduct
	errs  []error
	group sync.WaitGroup
}

// play starts a prober, until the test is over.
func play(t *testing.T, c *cluster, grpc string) *prober {
	t.Helper()
	p := &prober{cluster: c, known: map[string]*oracle.State{}, pods: map[types.UID]*corev1.Pod{}, done: map[types.UID]bool{}}
	var err error
	if p.oracle, err = oracle.New(c.RESTConfig(), grpc); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	factory := informers.NewSharedInformerFactoryWithOptions(c.kube, 0, informers.WithTweakListOptions(func(options *metav1.ListOptions) { options.LabelSelector = probe.Label }))
	pods := factory.Core().V1().Pods().Informer()
	see := func(object any) {
		if pod, is := object.(*corev1.Pod); is {
			p.see(ctx, pod)
		}
	}
	gone := func(object any) {
		if pod, is := object.(*corev1.Pod); is {
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.pods, pod.UID)
		}
	}
	if _, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: see, UpdateFunc: func(_, object any) { see(object) }, DeleteFunc: gone}); err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	t.Cleanup(func() {
		cancel()
		factory.Shutdown()
		p.group.Wait()
		if err := p.oracle.Close(context.Background()); err != nil {
			t.Error(err)
		}
		for _, err := range p.errs {
			t.Error(err)
		}
	})
	return p
}

// behave says how pods behave from now on.
func (p *prober) behave(t *testing.T, as conduct, namespace string) {
	t.Helper()
	var known *oracle.State
	if as == stale {
		var err error
		if known, err = p.oracle.Read(t.Context(), namespace); err != nil {
			t.Fatal(err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conduct, p.known[namespace], p.cast = as, known, nil
}

// behaveEach says how each pod of a run behaves from now on, of which there are as many,
// where the scheduler has no node for any.
func (p *prober) behaveEach(t *testing.T, cast ...conduct) {
	t.Helper()
	nodes := p.cluster.cordonAll(t)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cast, p.node, p.ended = cast, nodes[0], nil
}

// wantEnded wants pods of the cast to have ended, the last ones in any order.
func (p *prober) wantEnded(t *testing.T, first []conduct, last ...conduct) {
	t.Helper()
	p.cluster.eventually(t, "the pods have ended in their order", func(context.Context) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		ended := slices.Clone(p.ended)
		if len(ended) == len(first)+len(last) {
			slices.Sort(ended[:len(first)])
			slices.Sort(ended[len(first):])
		}
		if !slices.Equal(ended, slices.Concat(first, last)) {
			return fmt.Errorf("they ended as %v, not as %v and then %v", p.ended, first, last)
		}
		return nil
	})
}

// see does what has become due, with this pod or with those that have waited for it.
func (p *prober) see(ctx context.Context, pod *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pods[pod.UID] = pod
	for _, one := range p.pods {
		if act := p.due(one); act != nil {
			p.act(ctx, one, act)
		}
	}
}

func (p *prober) act(ctx context.Context, pod *corev1.Pod, act func(context.Context, *corev1.Pod) error) {
	pod = pod.DeepCopy()
	p.group.Go(func() {
		// The run may not have waited for it.
		if err := act(ctx, pod); err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.errs = append(p.errs, fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, err))
		}
	})
}

// due is what is to be done with a pod, once: it gets a node, or ends when it runs and is
// as its labels want it.
func (p *prober) due(pod *corev1.Pod) func(context.Context, *corev1.Pod) error {
	as, known := p.of(pod), p.known[pod.Namespace]
	once := func(key types.UID, is bool, act func(context.Context, *corev1.Pod) error) func(context.Context, *corev1.Pod) error {
		if !is || p.done[key] {
			return nil
		}
		p.done[key] = true
		return act
	}
	removed := pod.DeletionTimestamp != nil
	if pod.Spec.NodeName == "" {
		takes := len(p.cast) > 0 && as != homeless && !removed && unschedulable(pod) && (as != waiting || p.othersEnded(pod))
		return once(pod.UID+"/bound", takes, p.bind(p.node))
	}
	if as == overdue && !removed {
		return once(pod.UID+"/kept", true, p.finalize(overdueFinalizer))
	}
	redirected := pod.Labels["istio.io/dataplane-mode"] == "none" || pod.Annotations["ambient.istio.io/redirection"] == "enabled"
	ends := probeOf(pod).Args[0] == "try" && pod.Status.Phase == corev1.PodRunning && redirected && removed == (as == overdue) &&
		as != silent && (as != late || p.othersEnded(pod))
	return once(pod.UID, ends, func(ctx context.Context, pod *corev1.Pod) error {
		if err := p.end(ctx, pod, as, known); err != nil {
			return err
		}
		p.mu.Lock()
		p.ended = append(p.ended, as)
		p.mu.Unlock()
		if as != overdue {
			return nil
		}
		return p.finalize()(ctx, pod)
	})
}

// of is how a pod behaves: their names end in their numbers, beginning with 1.
func (p *prober) of(pod *corev1.Pod) conduct {
	var number int
	if _, err := fmt.Sscan(pod.Name[strings.LastIndex(pod.Name, "-")+1:], &number); err != nil || number > len(p.cast) {
		return p.conduct
	}
	return p.cast[number-1]
}

// othersEnded says whether all pods of a run have ended that end without waiting for
// others, as the API server has it.
func (p *prober) othersEnded(pod *corev1.Pod) bool {
	prompt := func(as conduct) bool { return as == honest || as == failing }
	left := 0
	for _, as := range p.cast {
		if prompt(as) {
			left++
		}
	}
	for _, other := range p.pods {
		if other.Labels[probe.Label] == pod.Labels[probe.Label] && prompt(p.of(other)) && hasEnded(other) {
			left--
		}
	}
	return left == 0
}

func hasEnded(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(status corev1.ContainerStatus) bool {
		return status.Name == "probe" && status.State.Terminated != nil
	})
}

// unschedulable says whether the scheduler has said that it has no node for a pod.
func unschedulable(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(condition corev1.PodCondition) bool {
		return condition.Type == corev1.PodScheduled && condition.Reason == corev1.PodReasonUnschedulable
	})
}

// bind does the scheduler's work.
func (p *prober) bind(node string) func(context.Context, *corev1.Pod) error {
	return func(ctx context.Context, pod *corev1.Pod) error {
		return p.cluster.kube.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: pod.Name, UID: pod.UID}, Target: corev1.ObjectReference{Kind: "Node", Name: node},
		}, metav1.CreateOptions{})
	}
}

// finalize says what has to be done with a pod before it is gone.
func (p *prober) finalize(with ...string) func(context.Context, *corev1.Pod) error {
	return func(ctx context.Context, pod *corev1.Pod) error {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"finalizers": with}})
		if err != nil {
			return err
		}
		_, err = p.cluster.kube.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	}
}

func probeOf(pod *corev1.Pod) corev1.Container {
	at := slices.IndexFunc(pod.Spec.Containers, func(container corev1.Container) bool { return container.Name == "probe" })
	return pod.Spec.Containers[at]
}

// end writes what the kubelet would write.
func (p *prober) end(ctx context.Context, pod *corev1.Pod, as conduct, known *oracle.State) error {
	var state corev1.ContainerState
	switch as {
	case unstarted:
		state.Waiting = &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "Back-off pulling image"}
	case failing:
		state.Terminated = &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}
	default:
		terminated, err := p.terminated(ctx, pod, as, known)
		if err != nil {
			return err
		}
		state.Terminated = terminated
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"containerStatuses": []any{map[string]any{
		"name": "probe", "image": "", "imageID": "", "restartCount": 0, "ready": false, "started": false, "state": map[string]any{
			"running": nil, "waiting": state.Waiting, "terminated": state.Terminated,
		},
	}}}})
	if err != nil {
		return err
	}
	_, err = p.cluster.kube.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

func (p *prober) terminated(ctx context.Context, pod *corev1.Pod, as conduct, known *oracle.State) (*corev1.ContainerStateTerminated, error) {
	calls, err := wire.DecodeCalls([]byte(probeOf(pod).Env[0].Value))
	if err != nil {
		return nil, err
	}
	if as != stale {
		if known, err = p.read(ctx, pod.Namespace); err != nil {
			return nil, err
		}
	}
	var report wire.Report
	for _, call := range calls {
		result, err := p.answer(ctx, known, pod, call)
		if err != nil {
			return nil, err
		}
		report.Results = append(report.Results, result)
	}
	message, err := report.Encode()
	status := report.Status(calls)
	if as == lying {
		report.Results[0].Outcome = wire.Unlistened
		message, err = report.Encode()
		status = wire.StatusExpected
	}
	return &corev1.ContainerStateTerminated{ExitCode: int32(status), Message: string(message)}, err
}

// read asks the oracle, again while istiod has not heard of a pod that runs already.
func (p *prober) read(ctx context.Context, namespace string) (state *oracle.State, err error) {
	var last error
	if err = wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		state, last = p.oracle.Read(ctx, namespace)
		return last == nil, nil
	}); err != nil {
		return nil, fmt.Errorf("%w: %w", err, last)
	}
	return state, nil
}

// answer is what becomes of a call.
func (p *prober) answer(ctx context.Context, state *oracle.State, pod *corev1.Pod, call wire.Call) (wire.Result, error) {
	var port uint32
	host, number, _ := strings.Cut(call.Target, ":")
	if _, err := fmt.Sscan(number, &port); err != nil {
		return wire.Result{}, err
	}
	name, namespace, _ := strings.Cut(strings.TrimSuffix(host, ".svc"), ".")
	server, err := p.serving(ctx, namespace, name)
	if err != nil {
		return wire.Result{}, err
	}
	question := oracle.Call{
		Service: types.NamespacedName{Namespace: namespace, Name: name}, Port: port, Pod: server,
		Caller:  oracle.Caller{Mode: oracle.Outside},
		Request: oracle.Request{HTTP: call.Protocol != wire.TCP, Method: "GET", Path: "/", Host: cmp.Or(call.Host, host), Headers: call.Headers},
	}
	if call.Path != "" {
		question.Request.Method, question.Request.Path = call.Method, call.Path
	}
	switch {
	case controlplane.HasSidecar(pod):
		question.Caller.Mode = oracle.Sidecar
	case pod.Annotations["ambient.istio.io/redirection"] == "enabled":
		question.Caller.Mode = oracle.Ambient
	}
	if question.Caller.Mode != oracle.Outside {
		question.Caller.Identity = "spiffe://cluster.local/ns/" + pod.Namespace + "/sa/" + pod.Spec.ServiceAccountName
	}
	verdict, err := state.Decide(question)
	result := wire.Result{ID: call.ID}
	switch {
	case verdict.Outcome == oracle.Allowed && call.Protocol == wire.TCP:
		result.Outcome = wire.Open
	case verdict.Outcome == oracle.Allowed:
		result.Outcome, result.Status = wire.Answered, 200
	case verdict.Outcome == oracle.Denied && strings.Contains(verdict.By, "waypoint"):
		result.Outcome, result.Status = wire.RBAC, 403
	case verdict.Outcome == oracle.Denied:
		result.Outcome = wire.Reset
	default:
		result.Outcome, result.Detail = wire.Unlistened, verdict.By
	}
	return result, err
}

// serving is a ready pod of a Service.
func (p *prober) serving(ctx context.Context, namespace, name string) (types.NamespacedName, error) {
	service, err := p.cluster.kube.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return types.NamespacedName{}, err
	}
	pods, err := p.cluster.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(service.Spec.Selector).String()})
	if err != nil {
		return types.NamespacedName{}, err
	}
	if len(pods.Items) == 0 {
		return types.NamespacedName{}, fmt.Errorf("service %s/%s has no pods", namespace, name)
	}
	return types.NamespacedName{Namespace: namespace, Name: pods.Items[0].Name}, nil
}
