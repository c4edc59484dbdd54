package ztunnel

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// monitoringPort is where istiod serves its debug paths, to callers on its own
// loopback without credentials (istio pilot/pkg/bootstrap/server.go and
// pilot/pkg/xds/debug.go, allowAuthenticatedOrLocalhost). A port-forward arrives
// there.
const monitoringPort = 15014

// errElsewhere means that nobody in this cluster can be asked.
var errElsewhere = errors.New("istiod does not run in this cluster")

// AskIstiods adds to the evidence what the istiods that its ztunnels learn from mean
// ztunnels to know. One that cannot be asked is in it with its problem.
func (r *Reader) AskIstiods(ctx context.Context, evidence *mesh.Evidence) error {
	evidence.Istiods = map[string]mesh.IstiodEvidence{}
	for _, node := range evidence.Nodes {
		if _, asked := evidence.Istiods[node.XDSAddress]; asked || node.Problem != "" {
			continue
		}
		evidence.Istiods[node.XDSAddress] = r.askIstiod(ctx, node)
	}
	return ctx.Err()
}

func (r *Reader) askIstiod(ctx context.Context, node mesh.NodeEvidence) mesh.IstiodEvidence {
	ctx, cancel := context.WithTimeout(ctx, perNode)
	defer cancel()
	pod, err := r.istiodAt(ctx, node)
	if err != nil {
		return mesh.IstiodEvidence{Problem: err.Error(), Elsewhere: errors.Is(err, errElsewhere)}
	}
	name := pod.Namespace + "/" + pod.Name
	data, err := r.get(ctx, pod, monitoringPort, "/debug/ambientz")
	if err != nil {
		return mesh.IstiodEvidence{Istiod: name, Problem: err.Error()}
	}
	view, err := ParseIntent(name, node.Cluster, data)
	if err != nil {
		return mesh.IstiodEvidence{Istiod: name, Problem: err.Error()}
	}
	return mesh.IstiodEvidence{Istiod: name, DataPlaneView: view}
}

// istiodAt finds a ready pod behind the Service whose name in the cluster's DNS is
// the host from which a ztunnel learns of the mesh.
func (r *Reader) istiodAt(ctx context.Context, node mesh.NodeEvidence) (*corev1.Pod, error) {
	parsed, err := url.Parse(node.XDSAddress)
	if err != nil {
		return nil, fmt.Errorf("ztunnel learns of the mesh at %q, which is no address: %w", node.XDSAddress, err)
	}
	own, _, _ := strings.Cut(node.Ztunnel, "/")
	service, err := r.serviceAt(ctx, parsed, own)
	if err != nil {
		return nil, err
	}
	name := service.Namespace + "/" + service.Name
	if len(service.Spec.Selector) == 0 {
		return nil, fmt.Errorf("ztunnel learns of the mesh from Service %s, which selects no pods: %w", name, errElsewhere)
	}
	pods, err := r.client.CoreV1().Pods(service.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(service.Spec.Selector).String()})
	if err != nil {
		return nil, fmt.Errorf("list the pods of Service %s: %w", name, err)
	}
	i := slices.IndexFunc(pods.Items, func(pod corev1.Pod) bool {
		of := mesh.PodFromObject(&pod)
		return of.Live() && of.Ready
	})
	if i < 0 {
		return nil, fmt.Errorf("no pod of Service %s is ready", name)
	}
	return &pods.Items[i], nil
}

// serviceAt is the Service that an address names in the cluster's DNS, for a pod of some
// namespace. One label or two are a Service by the search path of that pod, if there is
// such a Service; else somebody's host.
func (r *Reader) serviceAt(ctx context.Context, address *url.URL, own string) (*corev1.Service, error) {
	parts := strings.Split(address.Hostname(), ".")
	if len(parts) > 2 && parts[2] != "svc" {
		return nil, notAService(address)
	}
	name, namespace := parts[0], own
	if len(parts) > 1 {
		namespace = parts[1]
	}
	service, err := r.client.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if len(parts) <= 2 && apierrors.IsNotFound(err) {
		return nil, notAService(address)
	}
	if err != nil {
		return nil, fmt.Errorf("get Service %s/%s, from which ztunnel learns of the mesh: %w", namespace, name, err)
	}
	return service, nil
}

func notAService(address *url.URL) error {
	return fmt.Errorf("ztunnel learns of the mesh from %s, which is no Service: %w", address.Host, errElsewhere)
}
