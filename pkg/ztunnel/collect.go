// Package ztunnel asks the data plane: it reads what the ztunnel of a node
// says of itself, through a port-forward to its pod, since its admin interface
// listens on the pod's loopback only.
package ztunnel

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	// adminPort is ztunnel's admin interface (istio/ztunnel ARCHITECTURE.md).
	adminPort = 15000
	// selector finds the pods of ztunnel's DaemonSet (istio
	// manifests/charts/ztunnel).
	selector = "app=ztunnel"
	// perNode bounds how long one node is waited for, so that one that hangs
	// is reported instead of holding up the others.
	perNode = 20 * time.Second
	// atOnce is how many nodes are asked at the same time.
	atOnce = 8
	// mostBytes bounds an answer. A config dump of a mesh of 100,000 pods
	// stays below it.
	mostBytes = 512 << 20
)

// Reader asks the ztunnels of a cluster.
type Reader struct {
	config *rest.Config
	client kubernetes.Interface
}

// NewReader returns a reader for the cluster that config names.
func NewReader(config *rest.Config) (*Reader, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for ztunnel: %w", err)
	}
	return &Reader{config: config, client: client}, nil
}

// Collect asks the ztunnels of the nodes named. A node that cannot be asked is
// in the evidence with its problem; an error means that the ztunnel pods could
// not even be listed.
func (r *Reader) Collect(ctx context.Context, nodes []string) (*mesh.Evidence, error) {
	found, err := r.pods(ctx)
	if err != nil {
		return nil, err
	}
	evidence := &mesh.Evidence{Nodes: map[string]mesh.NodeEvidence{}, Taken: time.Now()}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(atOnce)
	parser := newParser()
	for _, node := range nodes {
		group.Go(func() error {
			answer := r.ask(ctx, parser, node, found)
			mu.Lock()
			defer mu.Unlock()
			evidence.Nodes[node] = answer
			return nil
		})
	}
	// The functions return no errors: a node's problem is part of the answer.
	_ = group.Wait()
	return evidence, ctx.Err()
}

// addTo adds to the evidence of some nodes what their ztunnels answer, several at a time.
// Pod is nil where a node has none any more: what is wrong is part of the answer.
func (r *Reader) addTo(ctx context.Context, evidence *mesh.Evidence, names []string, ask func(name string, pod *corev1.Pod, node *mesh.NodeEvidence)) error {
	found, err := r.pods(ctx)
	if err != nil {
		return err
	}
	nodes := make([]mesh.NodeEvidence, len(names))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, name := range names {
		nodes[i] = evidence.Nodes[name]
		group.Go(func() error {
			ask(name, found.pods[name], &nodes[i])
			return nil
		})
	}
	// The functions return no errors.
	_ = group.Wait()
	for i, name := range names {
		evidence.Nodes[name] = nodes[i]
	}
	return ctx.Err()
}

// running are the pods of ztunnel that run, by their nodes: the ready one where there is
// one. One that is being deleted runs until it is gone.
type running struct {
	pods map[string]*corev1.Pod
	// rivals names the pods of nodes on which more than one namespace has such a pod:
	// whose word counts there cannot be told.
	rivals map[string]string
}

// pods goes by what ztunnel's DaemonSet makes. Whoever may make pods can give them its
// label, and would else be asked in its place.
func (r *Reader) pods(ctx context.Context) (running, error) {
	found := running{pods: map[string]*corev1.Pod{}, rivals: map[string]string{}}
	pods, err := r.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return found, fmt.Errorf("list ztunnel pods: %w", err)
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if is := mesh.PodFromObject(pod); is.Finished() || !is.IsZtunnel() {
			continue
		}
		node := pod.Spec.NodeName
		other := found.pods[node]
		if other != nil && other.Namespace != pod.Namespace {
			found.rivals[node] = nameOf(other) + " and " + nameOf(pod)
		}
		if other == nil || ready(pod) {
			found.pods[node] = pod
		}
	}
	for node := range found.rivals {
		delete(found.pods, node)
	}
	return found, nil
}

func nameOf(pod *corev1.Pod) string { return pod.Namespace + "/" + pod.Name }

func ready(pod *corev1.Pod) bool {
	of := mesh.PodFromObject(pod)
	return of.Live() && of.Ready
}

func (r *Reader) ask(ctx context.Context, parser *parser, node string, found running) mesh.NodeEvidence {
	if rivals := found.rivals[node]; rivals != "" {
		return mesh.NodeEvidence{Problem: "pods of two namespaces are labelled app=ztunnel on node " + node + ": " + rivals + ". Take the label from what is not Istio's"}
	}
	pod := found.pods[node]
	if pod == nil {
		return mesh.NodeEvidence{Absent: true, Problem: "no ready ztunnel pod on node " + node}
	}
	name := nameOf(pod)
	if !ready(pod) {
		return mesh.NodeEvidence{Ztunnel: name, Problem: "no ready ztunnel pod on node " + node + ": " + name + " is not ready, or is being deleted"}
	}
	ctx, cancel := context.WithTimeout(ctx, perNode)
	defer cancel()
	data, err := r.get(ctx, pod, adminPort, "/config_dump")
	if err != nil {
		return mesh.NodeEvidence{Ztunnel: name, Problem: err.Error()}
	}
	evidence, err := parser.parse(name, data)
	if err != nil {
		return mesh.NodeEvidence{Ztunnel: name, Problem: err.Error()}
	}
	evidence.Instance = instanceOf(pod)
	return evidence
}

// instanceOf is another text after each start of ztunnel.
func instanceOf(pod *corev1.Pod) string {
	starts := int32(0)
	for _, status := range pod.Status.ContainerStatuses {
		starts += status.RestartCount
	}
	return fmt.Sprintf("%s/%d", pod.UID, starts)
}
