package controlplane

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	informers "k8s.io/client-go/informers/core/v1"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/ztunnel"
)

// players connects pods that kwok plays with what answers in their place: those
// of ztunnel with a double each, those of istiod with the istiod of their
// revision.
type players struct {
	plane *ControlPlane
	pods  listers.PodLister
	queue workqueue.TypedRateLimitingInterface[types.NamespacedName]

	mutex sync.Mutex
	// ztunnels are in the order in which they came.
	ztunnels []*ztunnel.Instance
	logs     map[string]io.Writer
}

func newPlayers(plane *ControlPlane, pods informers.PodInformer) *players {
	return &players{
		plane: plane,
		pods:  pods.Lister(),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](5*time.Millisecond, time.Second)),
		logs: map[string]io.Writer{},
	}
}

func (p *players) watch(pods cache.SharedIndexInformer) error {
	_, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    p.enqueue,
		UpdateFunc: func(_, object any) { p.enqueue(object) },
		DeleteFunc: p.enqueue,
	})
	return err
}

func (p *players) enqueue(object any) {
	if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = unknown.Obj
	}
	if pod, ok := object.(*corev1.Pod); ok && isPlayed(pod) {
		p.queue.Add(nameOf(pod))
	}
}

// resync looks at all pods again, after an istiod has come.
func (p *players) resync() error {
	pods, err := p.pods.List(labels.Everything())
	if err != nil {
		return err
	}
	for _, pod := range pods {
		p.enqueue(pod)
	}
	return nil
}

func nameOf(pod *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
}

// isZtunnel recognizes the pods of ztunnel's DaemonSet by the label that is part
// of its interface and, lest others use that as well, by what it runs.
func isZtunnel(pod *corev1.Pod) bool {
	return pod.Labels["app"] == "ztunnel" && slices.Contains(pod.Spec.Containers[0].Args, "ztunnel")
}

func isPlayed(pod *corev1.Pod) bool {
	_, istiod := istiodRevision(pod)
	return istiod || isZtunnel(pod)
}

// onNode returns the doubles of ztunnel that serve the node, the latest last.
func (p *players) onNode(node string) []*ztunnel.Instance {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	var result []*ztunnel.Instance
	for _, instance := range p.ztunnels {
		if instance.Node() == node {
			result = append(result, instance)
		}
	}
	return result
}

// find returns the double of a pod, or nil.
func (p *players) find(pod types.NamespacedName) *ztunnel.Instance {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, instance := range p.ztunnels {
		if nameOf(instance.Pod()) == pod {
			return instance
		}
	}
	return nil
}

func (p *players) run(ctx context.Context) {
	var worker sync.WaitGroup
	worker.Go(func() {
		for p.processNext(ctx) {
		}
	})
	<-ctx.Done()
	p.queue.ShutDown()
	worker.Wait()
	for _, instance := range slices.Clone(p.ztunnels) {
		p.stopZtunnel(nameOf(instance.Pod()))
	}
}

func (p *players) processNext(ctx context.Context) bool {
	name, shutdown := p.queue.Get()
	if shutdown {
		return false
	}
	defer p.queue.Done(name)
	if err := p.reconcile(ctx, name); err != nil {
		p.queue.AddRateLimited(name)
	} else {
		p.queue.Forget(name)
	}
	return true
}

func (p *players) reconcile(ctx context.Context, name types.NamespacedName) error {
	pod, err := p.pods.Pods(name.Namespace).Get(name.Name)
	if apierrors.IsNotFound(err) {
		p.stopZtunnel(name)
		return nil
	}
	if err != nil {
		return err
	}
	if revision, ok := istiodRevision(pod); ok {
		return p.connectIstiod(ctx, pod, revision)
	}
	if pod.DeletionTimestamp != nil || !podReady(pod) {
		p.stopZtunnel(name)
		return nil
	}
	return p.startZtunnel(ctx, pod)
}

func (p *players) connectIstiod(ctx context.Context, pod *corev1.Pod, revision string) error {
	istio := p.plane.istiods.get(revision)
	if istio == nil {
		return nil
	}
	return p.plane.forward(ctx, pod, istio.podPorts())
}

func (p *players) startZtunnel(ctx context.Context, pod *corev1.Pod) error {
	if p.find(nameOf(pod)) != nil {
		return nil
	}
	log, err := p.logFor(pod.Spec.NodeName)
	if err != nil {
		return err
	}
	served, err := p.plane.containerLog(pod)
	if err != nil {
		return err
	}
	instance, err := ztunnel.Start(ctx, ztunnel.Options{
		Pod:          pod,
		XDSAddress:   p.plane.plaintextXDS,
		Issue:        p.plane.issueFor(pod),
		IstioVersion: istioVersion,
		Log:          log,
		ContainerLog: served,
	})
	if err != nil {
		return err
	}
	if err := p.connectZtunnel(ctx, pod, instance, served); err != nil {
		instance.Stop()
		return err
	}
	p.mutex.Lock()
	p.ztunnels = append(p.ztunnels, instance)
	p.mutex.Unlock()
	p.plane.agent.Resync(pod.Spec.NodeName)
	return nil
}

// connectZtunnel makes kwok lead what is asked of a pod to its double.
func (p *players) connectZtunnel(ctx context.Context, pod *corev1.Pod, instance *ztunnel.Instance, log string) error {
	if err := p.plane.forward(ctx, pod, map[int]string{15000: instance.Address(), 15020: instance.Address()}); err != nil {
		return err
	}
	return p.plane.serveLog(ctx, pod, log, ztunnel.PreviousLog(log))
}

func (p *players) stopZtunnel(pod types.NamespacedName) {
	instance := p.find(pod)
	if instance == nil {
		return
	}
	p.mutex.Lock()
	p.ztunnels = slices.DeleteFunc(p.ztunnels, func(other *ztunnel.Instance) bool { return other == instance })
	p.mutex.Unlock()
	instance.Stop()
	p.plane.agent.Resync(instance.Node())
}

// logFor returns the log that all ztunnels of a node share.
func (p *players) logFor(node string) (io.Writer, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if log, ok := p.logs[node]; ok {
		return log, nil
	}
	log, err := p.plane.openLogFile("ztunnel-" + node)
	if err == nil {
		p.logs[node] = log
	}
	return log, err
}

// plaintextXDS finds the istiod that ztunnel's environment names. The double
// speaks plaintext, so it goes to the port for that.
func (c *ControlPlane) plaintextXDS(ctx context.Context, configured string) (string, error) {
	host, _, err := splitAddress(configured)
	if err != nil {
		return "", fmt.Errorf("XDS_ADDRESS: %w", err)
	}
	return c.network.resolve(ctx, net.JoinHostPort(host, "15010"))
}
