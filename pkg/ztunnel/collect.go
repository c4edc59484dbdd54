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
	byNode, err := r.pods(ctx)
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
			answer := r.ask(ctx, parser, node, byNode[node])
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
	pods, err := r.pods(ctx)
	if err != nil {
		return err
	}
	nodes := make([]mesh.NodeEvidence, len(names))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, name := range names {
		nodes[i] = evidence.Nodes[name]
		group.Go(func() error {
			ask(name, pods[name], &nodes[i])
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

// pods are the pods of ztunnel that run, by their nodes: the ready one where there is
// one. One that is being deleted runs until it is gone.
func (r *Reader) pods(ctx context.Context) (map[string]*corev1.Pod, error) {
	pods, err := r.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("list ztunnel pods: %w", err)
	}
	byNode := map[string]*corev1.Pod{}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if of := byNode[pod.Spec.NodeName]; !mesh.PodFromObject(pod).Finished() && (of == nil || ready(pod)) {
			byNode[pod.Spec.NodeName] = pod
		}
	}
	return byNode, nil
}

func ready(pod *corev1.Pod) bool {
	of := mesh.PodFromObject(pod)
	return of.Live() && of.Ready
}

func (r *Reader) ask(ctx context.Context, parser *parser, node string, pod *corev1.Pod) mesh.NodeEvidence {
	if pod == nil {
		return mesh.NodeEvidence{Absent: true, Problem: "no ready ztunnel pod on node " + node}
	}
	name := pod.Namespace + "/" + pod.Name
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
