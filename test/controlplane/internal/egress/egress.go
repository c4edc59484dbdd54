// Package egress is the network between the API server and the cluster: a proxy
// through which the API server reaches Services, nodes and pods that have
// addresses in the cluster and, in truth, listen on loopback.
//
// It lets webhook configurations name Services, as in any cluster, although
// nothing routes the addresses of Services on this machine.
package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/internal/authority"
)

const dialTimeout = 5 * time.Second

// Resolve returns the loopback address behind an address of the cluster.
type Resolve func(ctx context.Context, address string) (string, error)

// Proxy takes the API server's connections to the cluster.
type Proxy struct {
	resolve  Resolve
	listener net.Listener
	server   *http.Server
	tunnels  sync.WaitGroup
	cancel   context.CancelFunc
}

// Start starts a proxy on loopback, which ends with the context. The API server
// speaks to proxies only over TLS with a client certificate, which must be from
// one of the given authorities.
func Start(ctx context.Context, pair authority.Pair, clients []byte, resolve Resolve) (*Proxy, error) {
	certificate, err := tls.LoadX509KeyPair(pair.CertificateFile, pair.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("starting the egress proxy: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(clients)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
	})
	if err != nil {
		return nil, fmt.Errorf("starting the egress proxy: %w", err)
	}
	// Tunnels end with the context of their requests.
	ctx, cancel := context.WithCancel(ctx)
	proxy := &Proxy{resolve: resolve, listener: listener, cancel: cancel}
	proxy.server = &http.Server{
		Handler:           proxy,
		ReadHeaderTimeout: dialTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	go func() { _ = proxy.server.Serve(listener) }()
	return proxy, nil
}

// StartPlain lets programs of this machine use the proxy that speak no TLS to one, and
// returns the address at which they do.
func (p *Proxy) StartPlain() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("starting the egress proxy: %w", err)
	}
	go func() { _ = p.server.Serve(listener) }()
	return "http://" + listener.Addr().String(), nil
}

// URL is the address of the proxy.
func (p *Proxy) URL() string { return "https://" + p.listener.Addr().String() }

// Stop ends the proxy and its connections.
func (p *Proxy) Stop() {
	p.cancel()
	_ = p.server.Close()
	p.tunnels.Wait()
}

// ServeHTTP serves one CONNECT request.
func (p *Proxy) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	if request.Method != http.MethodConnect {
		http.Error(response, "only CONNECT is served", http.StatusMethodNotAllowed)
		return
	}
	target, err := p.dial(request.Context(), request.Host)
	if err != nil {
		http.Error(response, err.Error(), http.StatusBadGateway)
		return
	}
	client, _, err := http.NewResponseController(response).Hijack()
	if err != nil {
		_ = target.Close()
		http.Error(response, err.Error(), http.StatusInternalServerError)
		return
	}
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		_ = target.Close()
		_ = client.Close()
		return
	}
	p.tunnel(request.Context(), client, target)
}

func (p *Proxy) dial(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	resolved, err := p.resolve(ctx, address)
	if err != nil {
		return nil, err
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", resolved)
}

// tunnel copies both ways until either side or the proxy ends.
func (p *Proxy) tunnel(ctx context.Context, client, target net.Conn) {
	p.tunnels.Add(1)
	defer p.tunnels.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() {
		_ = client.Close()
		_ = target.Close()
	})
	var directions sync.WaitGroup
	for _, direction := range [][2]net.Conn{{client, target}, {target, client}} {
		directions.Go(func() {
			defer cancel()
			_, _ = io.Copy(direction[0], direction[1])
		})
	}
	directions.Wait()
}

// Configuration writes the file that makes the API server use the proxy.
func (p *Proxy) Configuration(path string, client authority.Pair, servers string) error {
	content := fmt.Sprintf(`apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport:
      tcp:
        url: %q
        tlsConfig:
          caBundle: %q
          clientCert: %q
          clientKey: %q
`, p.URL(), servers, client.CertificateFile, client.KeyFile)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return fmt.Errorf("configuring egress: %w", err)
	}
	return nil
}
