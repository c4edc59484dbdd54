package controlplane

import (
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
)

// DefaultKubeletVersion is the version that nodes report by default. From 1.33
// on istiod injects native sidecars (pkg/kube/inject/webhook.go).
const DefaultKubeletVersion = kubernetesVersion

// Annotations by which a test tells kwok what to do with a pod.
const (
	// KeepRunningAnnotation, with any value, keeps the pod of a Job from
	// completing at once.
	KeepRunningAnnotation = "controlplane.kubectl-ambient.dev/keep-running"
	// unreadyAnnotation keeps a pod from becoming ready. Tests use HoldReadiness.
	unreadyAnnotation = "controlplane.kubectl-ambient.dev/unready"
)

// Options say what control plane to start. The zero value is useful.
type Options struct {
	// Directory takes the state and the logs. It must be empty or missing. By
	// default it is a temporary directory that Stop removes.
	Directory string
	// Nodes are the nodes of the cluster: by default three, named node-1 to
	// node-3.
	Nodes []Node
	// KubeletVersion is reported by the nodes that name none themselves,
	// DefaultKubeletVersion by default. Istiod injects native sidecars only
	// where the kubelets are new enough for them.
	KubeletVersion string
	// Programs are those to run. By default Build provides them.
	Programs Programs
	// Progress is told in short sentences what is going on.
	Progress func(string)
	// KeepLogs is a directory to which Stop copies the logs before it removes
	// the state. Empty means that they are not kept.
	KeepLogs string
}

// Node is a node of the cluster.
type Node struct {
	Name string
	// KubeletVersion that the node reports, Options.KubeletVersion by default.
	KubeletVersion string
	Labels         map[string]string
	Taints         []corev1.Taint
}

// Nodes returns the given number of nodes, named node-1 and so on.
func Nodes(count int) []Node {
	nodes := make([]Node, count)
	for i := range nodes {
		nodes[i].Name = fmt.Sprintf("node-%d", i+1)
	}
	return nodes
}

// maximumNodes is how many addresses nodeAddress can give out.
const maximumNodes = 250

func (o Options) withDefaults() (Options, error) {
	if o.Nodes == nil {
		o.Nodes = Nodes(3)
	}
	if len(o.Nodes) > maximumNodes {
		return o, fmt.Errorf("at most %d nodes are possible", maximumNodes)
	}
	if o.KubeletVersion == "" {
		o.KubeletVersion = DefaultKubeletVersion
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	nodes := make([]Node, len(o.Nodes))
	for i, node := range o.Nodes {
		if node.Name == "" {
			return o, errors.New("a node has no name")
		}
		if node.KubeletVersion == "" {
			node.KubeletVersion = o.KubeletVersion
		}
		node.Labels = maps.Clone(node.Labels)
		nodes[i] = node
	}
	o.Nodes = nodes
	return o, nil
}
