package controlplane

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/internal/egress"
)

// network knows which process on loopback stands behind an address of the
// cluster. It serves the API server, which reaches webhooks by the addresses of
// their Services and kubelets by those of their nodes, and the doubles, which
// find istiod by the name of its Service.
type network struct {
	proxy *egress.Proxy

	mutex   sync.Mutex
	client  kubernetes.Interface
	kubelet string
	// pods returns the address behind a port of a pod.
	pods func(pod *corev1.Pod, port int) (string, error)
}

func (c *ControlPlane) startNetwork(ctx context.Context) error {
	network := &network{pods: c.podBackend}
	proxy, err := egress.Start(context.WithoutCancel(ctx), c.identities.webhook, c.identities.authority.Certificate(), network.resolve)
	if err != nil {
		return err
	}
	network.proxy = proxy
	c.network = network
	c.onStop(proxy.Stop)
	return nil
}

// podBackend knows the pods of istiod and the double of metrics-server. Nothing else
// listens on a pod's address.
func (c *ControlPlane) podBackend(pod *corev1.Pod, port int) (string, error) {
	if address, is := c.metrics.behind(pod); is {
		return address, nil
	}
	if revision, ok := istiodRevision(pod); ok {
		if istio := c.istiods.get(revision); istio != nil {
			if address, found := istio.podPorts()[port]; found {
				return address, nil
			}
		}
	}
	return "", fmt.Errorf("nothing listens on port %d of pod %s/%s", port, pod.Namespace, pod.Name)
}

// setClient gives the network the client with which it looks up addresses.
func (n *network) setClient(client kubernetes.Interface) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.client = client
}

// setKubelet says where kwok listens for all nodes.
func (n *network) setKubelet(address string) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.kubelet = address
}

// resolve implements egress.Resolve.
func (n *network) resolve(ctx context.Context, address string) (string, error) {
	host, port, err := splitAddress(address)
	if err != nil {
		return "", err
	}
	n.mutex.Lock()
	client, kubelet := n.client, n.kubelet
	n.mutex.Unlock()
	if client == nil {
		return "", fmt.Errorf("no route to %s yet", address)
	}
	switch {
	case port == kubeletPort && within(nodeNetwork, host):
		return kubelet, nil
	case within(podNetwork, host):
		return n.resolvePod(ctx, client, host, port)
	default:
		return n.resolveService(ctx, client, host, port)
	}
}

func (n *network) resolvePod(ctx context.Context, client kubernetes.Interface, host string, port int) (string, error) {
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "status.podIP=" + host, ResourceVersion: "0"})
	if err != nil {
		return "", err
	}
	for _, pod := range pods.Items {
		if pod.Status.PodIP == host {
			return n.pods(&pod, port)
		}
	}
	return "", fmt.Errorf("no pod has the address %s", host)
}

// resolveService leads to a pod behind the Service, as kube-proxy does.
func (n *network) resolveService(ctx context.Context, client kubernetes.Interface, host string, port int) (string, error) {
	service, err := findService(ctx, client, host)
	if err != nil {
		return "", err
	}
	pods, err := client.CoreV1().Pods(service.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: labels.SelectorFromSet(service.Spec.Selector).String(), ResourceVersion: "0",
	})
	if err != nil {
		return "", err
	}
	for _, candidate := range service.Spec.Ports {
		if int(candidate.Port) != port {
			continue
		}
		for _, pod := range pods.Items {
			if podReady(&pod) {
				return n.pods(&pod, targetPort(candidate))
			}
		}
	}
	return "", fmt.Errorf("nothing stands behind port %d of Service %s/%s", port, service.Namespace, service.Name)
}

func targetPort(port corev1.ServicePort) int {
	if target := port.TargetPort.IntValue(); target != 0 {
		return target
	}
	return int(port.Port)
}

func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(text)
	return host, port, err
}

func within(network, host string) bool {
	prefix, address := netip.MustParsePrefix(network), net.ParseIP(host)
	parsed, ok := netip.AddrFromSlice(address.To4())
	return ok && prefix.Contains(parsed)
}

// findService finds a Service by its name in the cluster or by its address.
func findService(ctx context.Context, client kubernetes.Interface, host string) (*corev1.Service, error) {
	if name, namespace, ok := parseServiceHost(host); ok {
		return client.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	}
	services, err := client.CoreV1().Services("").List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, err
	}
	for _, service := range services.Items {
		if service.Spec.ClusterIP == host {
			return &service, nil
		}
	}
	return nil, fmt.Errorf("no Service has the address %s", host)
}

// parseServiceHost takes a name such as istiod.istio-system.svc apart.
func parseServiceHost(host string) (name, namespace string, ok bool) {
	parts := strings.Split(host, ".")
	if len(parts) < 3 || parts[2] != "svc" {
		return "", "", false
	}
	return parts[0], parts[1], true
}
