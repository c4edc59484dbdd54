package ztunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// get reads a path that a port of the pod's loopback serves.
func (r *Reader) get(ctx context.Context, pod *corev1.Pod, port int, path string) ([]byte, error) {
	address, stop, err := r.forward(ctx, pod, port)
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
	var data bytes.Buffer
	if length := response.ContentLength; length > 0 && length < mostBytes {
		// Dumps are large, and ztunnel says how large. ReadFrom wants room beyond the end.
		data.Grow(int(length) + bytes.MinRead)
	}
	if _, err := data.ReadFrom(io.LimitReader(response.Body, mostBytes)); err != nil {
		return nil, fmt.Errorf("read %s of Pod %s/%s: %w", path, pod.Namespace, pod.Name, err)
	}
	return data.Bytes(), nil
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

// forward opens a port-forward to a port of the pod and returns its local address.
// It ends when stop is called.
func (r *Reader) forward(ctx context.Context, pod *corev1.Pod, port int) (address string, stop func(), err error) {
	dialer, err := r.dialer(pod)
	if err != nil {
		return "", nil, err
	}
	stopped, ready := make(chan struct{}), make(chan struct{})
	stop = sync.OnceFunc(func() { close(stopped) })
	complaints := &lines{}
	forwarder, err := portforward.NewOnAddressesForStreaming(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, stopped, ready, io.Discard, complaints)
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
