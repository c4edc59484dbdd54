package controlplane

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// istiods are the istiods that run, by revision.
type istiods struct {
	mutex   sync.Mutex
	running map[string]*Istio
}

func (i *istiods) get(revision string) *Istio {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return i.running[revision]
}

func (i *istiods) set(istio *Istio) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if i.running == nil {
		i.running = map[string]*Istio{}
	}
	i.running[istio.Revision] = istio
}

// Stop ends istiod, as if its pod had died. Installing its revision again
// starts it anew.
func (i *Istio) Stop() error {
	i.process.stop()
	return nil
}

// startIstiod starts the istiod of a revision as soon as all is there that it
// reads when it starts.
func (c *ControlPlane) startIstiod(ctx context.Context, options IstioOptions) (*Istio, error) {
	var deployment *appsv1.Deployment
	err := until(ctx, "istiod is deployed", func(ctx context.Context) (err error) {
		deployment, err = c.deployedIstiod(ctx, options.Revision)
		return err
	})
	if err != nil {
		return nil, err
	}
	revision := revisionName(options.Revision)
	directory := c.istiodDirectory(revision)
	if err := os.MkdirAll(directory, 0o750); err != nil {
		return nil, fmt.Errorf("starting istiod: %w", err)
	}
	container := deployment.Spec.Template.Spec.Containers[0]
	started, err := c.launch(ctx, server{
		name:        "istiod",
		log:         "istiod-" + revision,
		ports:       5,
		arguments:   func(ports []int) []string { return istiodArguments(container.Args, c.kubeconfig, ports) },
		environment: istiodEnvironment(deployment, options.Environment),
		directory:   directory,
		ready: func(ctx context.Context, ports []int) error {
			return answers(ctx, c.plain, "http://"+loopback(ports[3])+"/ready")
		},
	})
	if err != nil {
		return nil, err
	}
	istio := newIstio(revision, started, filepath.Join(c.Logs(), "istiod-"+revision+".log"))
	c.onStop(started.stop)
	c.istiods.set(istio)
	return istio, c.players.resync()
}

// deployedIstiod returns the Deployment of istiod when the ConfigMaps are there
// as well. Istiod watches them, but it has no injector if they are missing when
// it starts (pilot/pkg/bootstrap/sidecarinjector.go).
func (c *ControlPlane) deployedIstiod(ctx context.Context, revision string) (*appsv1.Deployment, error) {
	for _, name := range []string{"istio", "istio-sidecar-injector"} {
		if _, err := c.client.CoreV1().ConfigMaps(istioNamespace).Get(ctx, revisioned(name, revision), metav1.GetOptions{}); err != nil {
			return nil, err
		}
	}
	return c.client.AppsV1().Deployments(istioNamespace).Get(ctx, revisioned("istiod", revision), metav1.GetOptions{})
}

// istiodArguments are those of the Deployment, with addresses on loopback.
func istiodArguments(deployed []string, kubeconfig string, ports []int) []string {
	return append(append([]string(nil), deployed...),
		"--kubeconfig="+kubeconfig,
		"--grpcAddr="+loopback(ports[0]),
		"--secureGRPCAddr="+loopback(ports[1]),
		"--httpsAddr="+loopback(ports[2]),
		"--httpAddr="+loopback(ports[3]),
		"--monitoringAddr="+loopback(ports[4]),
	)
}

// istiodEnvironment is that of the Deployment. The name of the pod is fixed, so
// that an istiod that starts anew need not wait for its own leases to run out.
func istiodEnvironment(deployment *appsv1.Deployment, extra map[string]string) []string {
	pod := deployment.Spec.Template.Spec
	variables := map[string]string{}
	for _, variable := range pod.Containers[0].Env {
		if variable.ValueFrom == nil {
			variables[variable.Name] = variable.Value
		}
	}
	// The Deployment names a file that only clusters with a remote istiod have.
	delete(variables, "KUBECONFIG")
	variables["POD_NAME"] = deployment.Name
	variables["POD_NAMESPACE"] = deployment.Namespace
	variables["SERVICE_ACCOUNT"] = pod.ServiceAccountName
	maps.Copy(variables, extra)
	return sortedEnvironment(variables)
}

func newIstio(revision string, started running, log string) *Istio {
	ports := started.ports.Ports
	return &Istio{
		Revision:   revision,
		GRPC:       loopback(ports[0]),
		SecureGRPC: loopback(ports[1]),
		HTTPS:      loopback(ports[2]),
		HTTP:       loopback(ports[3]),
		Monitoring: loopback(ports[4]),
		Log:        log,
		process:    started,
	}
}

// podPorts are the addresses behind the ports of istiod's pod.
func (i *Istio) podPorts() map[int]string {
	return map[int]string{15010: i.GRPC, 15012: i.SecureGRPC, 15017: i.HTTPS, 8080: i.HTTP, 15014: i.Monitoring}
}

// istiodRevision tells which revision an istiod's pod belongs to.
func istiodRevision(pod *corev1.Pod) (revision string, ok bool) {
	if pod.Labels["app"] != "istiod" {
		return "", false
	}
	return revisionName(pod.Labels["istio.io/rev"]), true
}
