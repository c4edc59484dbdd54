package controlplane

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// PortForward forwards a port of a pod through the API server, as kubectl does,
// and returns the address on loopback that leads there until stop is called.
func (c *ControlPlane) PortForward(ctx context.Context, namespace, pod string, port int) (address string, stop func(), err error) {
	title := fmt.Sprintf("forwarding port %d of pod %s/%s", port, namespace, pod)
	dialer, err := c.portForwardDialer(namespace, pod)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", title, err)
	}
	stopped, ready, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var failures strings.Builder
	forwarder, err := portforward.NewOnAddressesForStreaming(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, stopped, ready, io.Discard, &failures)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", title, err)
	}
	go func() {
		defer close(ended)
		ended <- forwarder.ForwardPorts()
	}()
	stop = func() {
		close(stopped)
		for range ended {
		}
	}
	select {
	case err := <-ended:
		return "", nil, fmt.Errorf("%s: %w", title, err)
	case <-ctx.Done():
		stop()
		return "", nil, fmt.Errorf("%s: %w", title, ctx.Err())
	case <-ready:
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("%s: %w", title, err)
	}
	return loopback(int(ports[0].Local)), stop, nil
}

// portForwardDialer prefers WebSockets and falls back to SPDY.
func (c *ControlPlane) portForwardDialer(namespace, pod string) (httpstream.Dialer, error) {
	url := c.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return nil, err
	}
	fallback := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	preferred, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, c.config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialerForStreaming(preferred, fallback, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}
