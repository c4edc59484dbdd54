package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/internal/authority"
)

// newClient returns a client that speaks through a proxy which knows one host.
func newClient(t *testing.T, authenticated bool) *http.Client {
	t.Helper()
	target := httptest.NewTLSServer(http.HandlerFunc(func(response http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(response, "reached")
	}))
	t.Cleanup(target.Close)
	root, err := authority.New(t.TempDir(), "kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	server, err := root.Server("proxy", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := Start(t.Context(), server, root.Certificate(), func(_ context.Context, address string) (string, error) {
		if address == "10.96.0.5:443" {
			return target.Listener.Addr().String(), nil
		}
		return "", errors.New("no route")
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)

	// The target's certificate does not name its address in the cluster.
	config := &tls.Config{InsecureSkipVerify: true}
	if authenticated {
		pair, err := root.Client("apiserver")
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := tls.LoadX509KeyPair(pair.CertificateFile, pair.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	location, err := url.Parse(proxy.URL())
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(location), TLSClientConfig: config}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestTunnelLeadsToTheResolvedAddress(t *testing.T) {
	response, err := newClient(t, true).Get("https://10.96.0.5:443/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if content, err := io.ReadAll(response.Body); err != nil || string(content) != "reached" {
		t.Errorf("the answer is %q: %v", content, err)
	}
}

func get(client *http.Client, url string) error {
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

func TestUnknownAddressesAreRefused(t *testing.T) {
	err := get(newClient(t, true), "https://10.96.0.6:443/")
	if err == nil || !strings.Contains(err.Error(), "Bad Gateway") {
		t.Errorf("the error is %v", err)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	err := get(newClient(t, false), "https://10.96.0.5:443/")
	if err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("the error is %v", err)
	}
}
