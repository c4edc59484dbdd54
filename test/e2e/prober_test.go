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
)

// prober plays the containers of probe pods, which run nowhere here: it fills in their
// status, by what the oracle makes of istiod's own configuration.
type prober struct {
	cluster *cluster
	oracle  *oracle.Oracle

	mu      sync.Mutex
	conduct conduct
	// known is what stale pods go by, by namespace.
	known map[string]*oracle.State
	done  map[types.UID]bool
	errs  []error
	group sync.WaitGroup
}

// play starts a prober, until the test is over.
func play(t *testing.T, c *cluster, grpc string) *prober {
	t.Helper()
	p := &prober{cluster: c, known: map[string]*oracle.State{}, done: map[types.UID]bool{}}
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
	if _, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: see, UpdateFunc: func(_, object any) { see(object) }}); err != nil {
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
	p.conduct, p.known[namespace] = as, known
}

// see ends a pod that runs, once it is as its labels want it.
func (p *prober) see(ctx context.Context, pod *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ambient := pod.Labels["istio.io/dataplane-mode"] != "none"
	switch {
	case p.done[pod.UID] || probeOf(pod).Args[0] != "try" || pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil || p.conduct == silent:
		return
	case ambient && pod.Annotations["ambient.istio.io/redirection"] != "enabled":
		return
	}
	p.done[pod.UID] = true
	as, known := p.conduct, p.known[pod.Namespace]
	p.group.Go(func() {
		if err := p.end(ctx, pod.DeepCopy(), as, known); err != nil && ctx.Err() == nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.errs = append(p.errs, fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, err))
		}
	})
}

func probeOf(pod *corev1.Pod) corev1.Container {
	at := slices.IndexFunc(pod.Spec.Containers, func(container corev1.Container) bool { return container.Name == "probe" })
	return pod.Spec.Containers[at]
}

// end writes what the kubelet would write.
func (p *prober) end(ctx context.Context, pod *corev1.Pod, as conduct, known *oracle.State) error {
	var state corev1.ContainerState
	if as == unstarted {
		state.Waiting = &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "Back-off pulling image"}
	} else {
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
	if apierrors.IsNotFound(err) {
		// The run has not waited for it.
		return nil
	}
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
