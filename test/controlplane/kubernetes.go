package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/internal/authority"
)

// startAPIServer starts etcd and the API server, and connects to it.
func (c *ControlPlane) startAPIServer(ctx context.Context) error {
	etcd, err := c.startEtcd(ctx)
	if err != nil {
		return err
	}
	egress := filepath.Join(c.directory, "egress.yaml")
	if err := c.network.proxy.Configuration(egress, c.identities.egressClient, c.identities.authority.CertificateFile); err != nil {
		return err
	}
	secure, err := c.secureClient()
	if err != nil {
		return err
	}
	ports, err := c.startServer(ctx, server{
		name:  "kube-apiserver",
		ports: 1,
		arguments: func(ports []int) []string {
			return apiserverArguments(c.identities, etcd, ports[0], egress)
		},
		ready: func(ctx context.Context, ports []int) error {
			return answers(ctx, secure, "https://"+loopback(ports[0])+"/readyz")
		},
	})
	if err != nil {
		return err
	}
	return c.connect(ports[0])
}

// startEtcd starts etcd and returns its client port.
func (c *ControlPlane) startEtcd(ctx context.Context) (int, error) {
	ports, err := c.startServer(ctx, server{
		name:  "etcd",
		ports: 2,
		arguments: func(ports []int) []string {
			return etcdArguments(filepath.Join(c.directory, "etcd", strconv.Itoa(ports[0])), ports[0], ports[1])
		},
		ready: func(ctx context.Context, ports []int) error {
			return answers(ctx, c.plain, "http://"+loopback(ports[0])+"/health")
		},
	})
	if err != nil {
		return 0, err
	}
	return ports[0], nil
}

// secureClient is an administrator's client for the health endpoints, which
// trusts only servers of this control plane.
func (c *ControlPlane) secureClient() (*http.Client, error) {
	certificate, err := tls.LoadX509KeyPair(c.identities.admin.CertificateFile, c.identities.admin.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("loading the administrator's certificate: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.identities.authority.Certificate())
	transport := &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, RootCAs: pool}}
	return &http.Client{Transport: transport, Timeout: 5 * time.Second}, nil
}

// connect creates the administrator's kubeconfig and clients.
func (c *ControlPlane) connect(port int) error {
	path, err := c.writeKubeconfig("admin", c.identities.admin, port)
	if err != nil {
		return err
	}
	c.kubeconfig = path
	for name, pair := range map[string]authority.Pair{
		"kube-controller-manager": c.identities.controllerManager,
		"kube-scheduler":          c.identities.scheduler,
	} {
		if _, err := c.writeKubeconfig(name, pair, port); err != nil {
			return err
		}
	}
	if c.config, err = clientcmd.BuildConfigFromFlags("", path); err != nil {
		return fmt.Errorf("loading %s: %w", path, err)
	}
	c.config.QPS = -1
	if c.client, err = kubernetes.NewForConfig(c.config); err != nil {
		return fmt.Errorf("creating a client: %w", err)
	}
	if c.dynamic, err = dynamic.NewForConfig(c.config); err != nil {
		return fmt.Errorf("creating a client: %w", err)
	}
	c.network.setClient(c.client)
	return nil
}

func (c *ControlPlane) writeKubeconfig(name string, pair authority.Pair, port int) (string, error) {
	path := c.kubeconfigOf(name)
	// The certificates are embedded, so that the file can be copied elsewhere.
	certificate, key, err := pair.Read()
	if err != nil {
		return "", fmt.Errorf("writing %s: %w", path, err)
	}
	config := api.NewConfig()
	config.Clusters["controlplane"] = &api.Cluster{
		Server:                   "https://" + loopback(port),
		CertificateAuthorityData: c.identities.authority.Certificate(),
	}
	config.AuthInfos[name] = &api.AuthInfo{ClientCertificateData: certificate, ClientKeyData: key}
	config.Contexts["controlplane"] = &api.Context{Cluster: "controlplane", AuthInfo: name}
	config.CurrentContext = "controlplane"
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return "", fmt.Errorf("writing %s: %w", path, err)
	}
	return path, nil
}

func (c *ControlPlane) kubeconfigOf(name string) string {
	return filepath.Join(c.directory, name+".kubeconfig")
}

// startControllers starts what acts on the API server, and creates what it
// needs meanwhile.
func (c *ControlPlane) startControllers(ctx context.Context) error {
	return parallel(ctx,
		c.startControllerManager,
		c.startScheduler,
		c.startNodes,
		func(ctx context.Context) error { return c.applyManifests(ctx, c.options.Programs, "gateway-api") },
	)
}

// startNodes starts kwok, which needs its resources to be defined, and creates
// the nodes that it plays.
func (c *ControlPlane) startNodes(ctx context.Context) error {
	if err := c.applyManifests(ctx, c.options.Programs, "kwok"); err != nil {
		return err
	}
	if err := c.startKwok(ctx); err != nil {
		return err
	}
	return c.createNodes(ctx)
}

func (c *ControlPlane) startControllerManager(ctx context.Context) error {
	_, err := c.startServer(ctx, server{
		name: "kube-controller-manager",
		arguments: func([]int) []string {
			return controllerManagerArguments(c.identities, c.kubeconfigOf("kube-controller-manager"))
		},
	})
	return err
}

func (c *ControlPlane) startScheduler(ctx context.Context) error {
	path, err := c.writeState("kube-scheduler.yaml", []byte(schedulerConfiguration(c.kubeconfigOf("kube-scheduler"))))
	if err != nil {
		return err
	}
	_, err = c.startServer(ctx, server{
		name:      "kube-scheduler",
		arguments: func([]int) []string { return []string{"--config=" + path, "--secure-port=0"} },
	})
	return err
}

func (c *ControlPlane) startKwok(ctx context.Context) error {
	configuration, err := kwokConfiguration()
	if err != nil {
		return err
	}
	path, err := c.writeState("kwok.yaml", configuration)
	if err != nil {
		return err
	}
	secure, err := c.secureClient()
	if err != nil {
		return err
	}
	ports, err := c.startServer(ctx, server{
		name:  "kwok",
		ports: 1,
		arguments: func(ports []int) []string {
			return kwokArguments(c.identities, c.kubeconfig, path, ports[0])
		},
		environment: []string{"KWOK_WORKDIR=" + filepath.Join(c.directory, "kwok")},
		ready: func(ctx context.Context, ports []int) error {
			return answers(ctx, secure, "https://"+loopback(ports[0])+"/healthz")
		},
	})
	if err != nil {
		return err
	}
	c.network.setKubelet("127.0.0.1:" + strconv.Itoa(ports[0]))
	return nil
}

// writeState writes a file of the control plane's state directory.
func (c *ControlPlane) writeState(name string, content []byte) (string, error) {
	path := filepath.Join(c.directory, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return "", fmt.Errorf("writing %s: %w", name, err)
	}
	return path, nil
}
