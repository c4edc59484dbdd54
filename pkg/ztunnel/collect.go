// Package ztunnel asks the data plane: it reads what the ztunnel of a node
// says of itself, through a port-forward to its pod, since its admin interface
// listens on the pod's loopback only.
package ztunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
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
	// mostBytes bounds a config dump. One of a mesh of 100,000 pods stays
	// below it.
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
	pods, err := r.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("list ztunnel pods: %w", err)
	}
	byNode := map[string]*corev1.Pod{}
	for i := range pods.Items {
		pod := mesh.PodFromObject(&pods.Items[i])
		if pod.Live() && pod.Ready {
			byNode[pod.Node] = &pods.Items[i]
		}
	}
	evidence := &mesh.Evidence{Nodes: map[string]mesh.NodeEvidence{}}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, node := range nodes {
		group.Go(func() error {
			answer := r.ask(ctx, node, byNode[node])
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

func (r *Reader) ask(ctx context.Context, node string, pod *corev1.Pod) mesh.NodeEvidence {
	if pod == nil {
		return mesh.NodeEvidence{Problem: "no ready ztunnel pod on node " + node}
	}
	ctx, cancel := context.WithTimeout(ctx, perNode)
	defer cancel()
	data, err := r.get(ctx, pod, "/config_dump")
	if err != nil {
		return mesh.NodeEvidence{Problem: err.Error()}
	}
	evidence, err := Parse(pod.Namespace+"/"+pod.Name, data)
	if err != nil {
		return mesh.NodeEvidence{Problem: err.Error()}
	}
	return evidence
}

// get reads a path of the pod's admin interface.
func (r *Reader) get(ctx context.Context, pod *corev1.Pod, path string) ([]byte, error) {
	address, stop, err := r.forward(ctx, pod)
	if err != nil {
		return nil, fmt.Errorf("port-forward to Pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask Pod %s/%s for %s: %w", pod.Namespace, pod.Name, path, unwrapURL(err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask Pod %s/%s for %s: it answered %s", pod.Namespace, pod.Name, path, response.Status)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, mostBytes))
	if err != nil {
		return nil, fmt.Errorf("read %s of Pod %s/%s: %w", path, pod.Namespace, pod.Name, err)
	}
	return data, nil
}

// unwrapURL takes off the address of the local end of the port-forward, which
// means nothing to a reader.
func unwrapURL(err error) error {
	var urlError *url.Error
	if errors.As(err, &urlError) {
		return urlError.Err
	}
	return err
}

// forward opens a port-forward to the pod's admin port and returns its local
// address. It ends when stop is called.
func (r *Reader) forward(ctx context.Context, pod *corev1.Pod) (address string, stop func(), err error) {
	dialer, err := r.dialer(pod)
	if err != nil {
		return "", nil, err
	}
	stopped, ready := make(chan struct{}), make(chan struct{})
	stop = sync.OnceFunc(func() { close(stopped) })
	complaints := &lines{}
	forwarder, err := portforward.NewOnAddressesForStreaming(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", adminPort)}, stopped, ready, io.Discard, complaints)
	if err != nil {
		return "", nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-ended:
		return "", nil, errors.Join(err, complaints.err())
	case <-ctx.Done():
		stop()
		return "", nil, ctx.Err()
	}
	ports, err := forwarder.GetPorts()
	if err != nil || len(ports) != 1 {
		stop()
		return "", nil, errors.Join(errors.New("the local port is not known"), err)
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(ports[0].Local)), stop, nil
}

// dialer speaks the WebSocket protocol and falls back to SPDY, which API
// servers before 1.31 need, as kubectl does.
func (r *Reader) dialer(pod *corev1.Pod) (httpstream.Dialer, error) {
	target := r.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(r.config)
	if err != nil {
		return nil, err
	}
	overSPDY := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, target)
	overWebSocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(target, r.config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialerForStreaming(overWebSocket, overSPDY, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

// lines keeps what the port-forward complains of.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(data)
}

func (l *lines) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.TrimSpace(l.text.String())
	if text == "" {
		return nil
	}
	return errors.New(text)
}
