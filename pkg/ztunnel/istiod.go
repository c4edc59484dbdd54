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
		evidence.Istiods[node.XDSAddress] = r.askIstiod(ctx, node.XDSAddress, node.Cluster)
	}
	return ctx.Err()
}

func (r *Reader) askIstiod(ctx context.Context, address, cluster string) mesh.IstiodEvidence {
	ctx, cancel := context.WithTimeout(ctx, perNode)
	defer cancel()
	pod, err := r.istiodAt(ctx, address)
	if err != nil {
		return mesh.IstiodEvidence{Problem: err.Error(), Elsewhere: errors.Is(err, errElsewhere)}
	}
	name := pod.Namespace + "/" + pod.Name
	data, err := r.get(ctx, pod, monitoringPort, "/debug/ambientz")
	if err != nil {
		return mesh.IstiodEvidence{Istiod: name, Problem: err.Error()}
	}
	view, err := ParseIntent(name, cluster, data)
	if err != nil {
		return mesh.IstiodEvidence{Istiod: name, Problem: err.Error()}
	}
	return mesh.IstiodEvidence{Istiod: name, DataPlaneView: view}
}

// istiodAt finds a ready pod behind the Service whose name in the cluster's DNS is
// the host of an address.
func (r *Reader) istiodAt(ctx context.Context, address string) (*corev1.Pod, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("ztunnel learns of the mesh at %q, which is no address: %w", address, err)
	}
	parts := strings.Split(parsed.Hostname(), ".")
	if len(parts) < 3 || parts[2] != "svc" {
		return nil, fmt.Errorf("ztunnel learns of the mesh from %s, which is no Service: %w", parsed.Host, errElsewhere)
	}
	service, err := r.client.CoreV1().Services(parts[1]).Get(ctx, parts[0], metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("get Service %s/%s, from which ztunnel learns of the mesh: %w", parts[1], parts[0], err)
	}
	if len(service.Spec.Selector) == 0 {
		return nil, fmt.Errorf("ztunnel learns of the mesh from Service %s/%s, which selects no pods: %w", parts[1], parts[0], errElsewhere)
	}
	pods, err := r.client.CoreV1().Pods(service.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(service.Spec.Selector).String()})
	if err != nil {
		return nil, fmt.Errorf("list the pods of Service %s/%s: %w", parts[1], parts[0], err)
	}
	i := slices.IndexFunc(pods.Items, func(pod corev1.Pod) bool {
		of := mesh.PodFromObject(&pod)
		return of.Live() && of.Ready
	})
	if i < 0 {
		return nil, fmt.Errorf("no pod of Service %s/%s is ready", parts[1], parts[0])
	}
	return &pods.Items[i], nil
}
