package cni

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"istio.io/api/annotation"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/ztunnel"
)

const workers = 8

// NodeIndex is the index of pods by node that the agent needs.
const NodeIndex = "node"

// IndexByNode indexes pods for NodeIndex.
func IndexByNode(object any) ([]string, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return nil, nil
	}
	return []string{pod.Spec.NodeName}, nil
}

// Options say where an agent acts.
type Options struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	// Ztunnels returns the ztunnels that are connected on a node, the latest
	// last. There are two while the DaemonSet replaces one by another.
	Ztunnels func(node string) []*ztunnel.Instance
	// Fault returns what is made to go wrong with a pod.
	Fault func(pod *corev1.Pod) Fault
	// Log takes what happens, line by line.
	Log func(format string, arguments ...any)
}

// Agent plays the agents of all nodes. It acts on the nodes on which a pod of
// the agent's DaemonSet is ready.
type Agent struct {
	options    Options
	pods       cache.SharedIndexInformer
	podLister  listers.PodLister
	namespaces listers.NamespaceLister
	configs    cache.SharedIndexInformer
	queue      workqueue.TypedRateLimitingInterface[types.NamespacedName]
}

// New prepares an agent. The informers must be started afterwards, and have to
// index pods by NodeIndex.
func New(options Options) (*Agent, error) {
	agent := &Agent{
		options:    options,
		pods:       options.Informers.Core().V1().Pods().Informer(),
		podLister:  options.Informers.Core().V1().Pods().Lister(),
		namespaces: options.Informers.Core().V1().Namespaces().Lister(),
		configs:    options.Informers.Core().V1().ConfigMaps().Informer(),
		// As the agent's queue: retries start small and end at a few seconds.
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](5*time.Millisecond, 5*time.Second)),
	}
	for informer, handler := range map[cache.SharedIndexInformer]cache.ResourceEventHandler{
		agent.pods: cache.ResourceEventHandlerFuncs{AddFunc: agent.podAdded, UpdateFunc: agent.podUpdated, DeleteFunc: agent.podDeleted},
		options.Informers.Core().V1().Namespaces().Informer(): cache.ResourceEventHandlerFuncs{UpdateFunc: agent.namespaceUpdated},
		agent.configs: onAnyEvent(agent.configChanged),
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return nil, fmt.Errorf("preparing the CNI agent: %w", err)
		}
	}
	return agent, nil
}

func onAnyEvent(react func(object any)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    react,
		UpdateFunc: func(_, object any) { react(object) },
		DeleteFunc: react,
	}
}

// Run acts until the context ends.
func (a *Agent) Run(ctx context.Context) {
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for a.processNext(ctx) {
			}
		})
	}
	<-ctx.Done()
	a.queue.ShutDown()
	group.Wait()
}

func (a *Agent) processNext(ctx context.Context) bool {
	name, shutdown := a.queue.Get()
	if shutdown {
		return false
	}
	defer a.queue.Done(name)
	if err := a.reconcile(ctx, name); err != nil {
		if ctx.Err() == nil {
			a.options.Log("%s: %v", name, err)
		}
		a.queue.AddRateLimited(name)
		return true
	}
	a.queue.Forget(name)
	return true
}

// Resync looks at all pods of a node again, or of all nodes if it is empty.
func (a *Agent) Resync(node string) {
	if node == "" {
		a.enqueueAll(a.pods.GetStore().List())
		return
	}
	pods, err := a.pods.GetIndexer().ByIndex(NodeIndex, node)
	if err != nil {
		a.options.Log("node %s: %v", node, err)
		return
	}
	a.enqueueAll(pods)
}

func (a *Agent) enqueueAll(objects []any) {
	for _, object := range objects {
		a.enqueue(object.(*corev1.Pod))
	}
}

func (a *Agent) enqueue(pod *corev1.Pod) {
	a.queue.Add(types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name})
}

func (a *Agent) podAdded(object any) { a.podChanged(object.(*corev1.Pod)) }

func (a *Agent) podUpdated(old, object any) {
	if old, pod := old.(*corev1.Pod), object.(*corev1.Pod); old.UID != pod.UID {
		a.podDeleted(old)
	}
	a.podChanged(object.(*corev1.Pod))
}

// podChanged looks at a pod, and at all of its node if it is an agent, whose
// coming and going decides whether anything is done there.
func (a *Agent) podChanged(pod *corev1.Pod) {
	if isAgent(pod) {
		a.Resync(pod.Spec.NodeName)
		return
	}
	a.enqueue(pod)
}

func (a *Agent) podDeleted(object any) {
	if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = unknown.Obj
	}
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	hand(a.options.Ztunnels(pod.Spec.NodeName), pod, "")
	a.enqueue(pod)
}

func (a *Agent) namespaceUpdated(_, object any) {
	namespace := object.(*corev1.Namespace)
	pods, err := a.pods.GetIndexer().ByIndex(cache.NamespaceIndex, namespace.Name)
	if err != nil {
		a.options.Log("namespace %s: %v", namespace.Name, err)
		return
	}
	a.enqueueAll(pods)
}

func (a *Agent) configChanged(object any) {
	if config, ok := object.(*corev1.ConfigMap); ok && config.Name == ConfigMapName {
		a.Resync("")
	}
}

// isAgent recognizes the pods of the agent's DaemonSet.
func isAgent(pod *corev1.Pod) bool { return pod.Labels["k8s-app"] == "istio-cni-node" }

func ready(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil
		}
	}
	return false
}

// config returns the configuration of the agent that acts on a node. Without an
// agent nothing is done there, neither for nor against a pod.
func (a *Agent) config(node string) (config Config, acts bool, err error) {
	pods, err := a.pods.GetIndexer().ByIndex(NodeIndex, node)
	if err != nil {
		return Config{}, false, err
	}
	for _, object := range pods {
		pod := object.(*corev1.Pod)
		if !isAgent(pod) || !ready(pod) {
			continue
		}
		stored, exists, err := a.configs.GetStore().GetByKey(pod.Namespace + "/" + ConfigMapName)
		if err != nil || !exists {
			return Config{}, false, err
		}
		config, err := NewConfig(stored.(*corev1.ConfigMap).Data)
		return config, config.Ambient, err
	}
	return Config{}, false, nil
}

// reconcile looks at a pod as soon as it has a node. The agent learns of a new
// pod from the CNI plugin, before the pod runs
// (cni/pkg/nodeagent/cni-watcher.go), and of one that exists from its informer.
func (a *Agent) reconcile(ctx context.Context, name types.NamespacedName) error {
	pod, err := a.podLister.Pods(name.Namespace).Get(name.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if pod.Spec.NodeName == "" {
		return nil
	}
	config, acts, err := a.config(pod.Spec.NodeName)
	if err != nil || !acts {
		return err
	}
	namespace, err := a.namespaces.Get(name.Namespace)
	if err != nil {
		return err
	}
	connected := a.options.Ztunnels(pod.Spec.NodeName)
	wanted := decide(situation{
		enrols:     config.Enrols(pod, namespace.Labels),
		terminated: terminated(pod),
		connected:  len(connected) > 0,
		annotated:  redirection(pod),
		fault:      a.options.Fault(pod),
	})
	// The agent annotates last, so that the annotation never promises too much.
	hand(connected, pod, wanted.state)
	return a.annotate(ctx, pod, wanted.annotation)
}

// hand brings ztunnel's view of the pod into the wanted state. A pod is sent to
// the latest ztunnel alone, and taken back from all of them
// (cni/pkg/nodeagent/ztunnelserver_linux.go).
func hand(connected []*ztunnel.Instance, pod *corev1.Pod, state ztunnel.State) {
	if state == "" {
		for _, instance := range connected {
			instance.Release(pod.UID)
		}
		return
	}
	info := ztunnel.WorkloadInfo{Name: pod.Name, Namespace: pod.Namespace, ServiceAccount: pod.Spec.ServiceAccountName}
	if len(connected) > 0 {
		connected[len(connected)-1].Capture(pod.UID, info, state)
	}
}

// annotate sets or removes the annotation if it differs, by the same patch as
// the agent (cni/pkg/util/podutil.go): a merge patch of the status subresource,
// for which fewer permissions are needed.
func (a *Agent) annotate(ctx context.Context, pod *corev1.Pod, value string) error {
	if redirection(pod) == value {
		return nil
	}
	patch, err := redirectionPatch(value)
	if err != nil {
		return err
	}
	_, err = a.options.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("annotating: %w", err)
	}
	return nil
}

func redirectionPatch(value string) ([]byte, error) {
	var annotated any
	if value != "" {
		annotated = value
	}
	return json.Marshal(map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{annotation.AmbientRedirection.Name: annotated}},
	})
}
