package controlplane

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/cni"
	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/ztunnel"
)

// startDoubles starts what plays the programs that cannot be built. They watch
// the cluster and do nothing until the pods are there that they play.
func (c *ControlPlane) startDoubles(ctx context.Context) error {
	log, err := c.openLog("cni")
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(c.client, 0)
	pods := factory.Core().V1().Pods().Informer()
	if err := pods.AddIndexers(cache.Indexers{cni.NodeIndex: cni.IndexByNode}); err != nil {
		return fmt.Errorf("starting the doubles: %w", err)
	}
	c.players = newPlayers(c, factory.Core().V1().Pods())
	c.agent, err = cni.New(cni.Options{
		Client:    c.client,
		Informers: factory,
		Ztunnels:  c.players.onNode,
		Fault:     c.faults.of,
		Log:       log,
	})
	if err != nil {
		return fmt.Errorf("starting the doubles: %w", err)
	}
	if err := c.players.watch(pods); err != nil {
		return fmt.Errorf("starting the doubles: %w", err)
	}
	if err := c.startAdmission(ctx); err != nil {
		return fmt.Errorf("starting the doubles: %w", err)
	}
	c.runDoubles(context.WithoutCancel(ctx), factory)
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("starting the doubles: watching %s: %w", kind, ctx.Err())
		}
	}
	return nil
}

// runDoubles runs the doubles until the control plane is stopped.
func (c *ControlPlane) runDoubles(ctx context.Context, factory informers.SharedInformerFactory) {
	ctx, cancel := context.WithCancel(ctx)
	factory.Start(ctx.Done())
	var group sync.WaitGroup
	group.Go(func() { c.agent.Run(ctx) })
	group.Go(func() { c.players.run(ctx) })
	c.onStop(func() {
		cancel()
		group.Wait()
		factory.Shutdown()
	})
}

// openLog opens a log among those of the programs and returns a function that
// writes lines to it.
func (c *ControlPlane) openLog(name string) (func(format string, arguments ...any), error) {
	file, err := c.openLogFile(name)
	if err != nil {
		return nil, err
	}
	var mutex sync.Mutex
	return func(format string, arguments ...any) {
		mutex.Lock()
		defer mutex.Unlock()
		fmt.Fprintf(file, "%s %s\n", time.Now().UTC().Format(time.RFC3339Nano), fmt.Sprintf(format, arguments...))
	}, nil
}

func (c *ControlPlane) openLogFile(name string) (io.Writer, error) {
	file, err := os.OpenFile(filepath.Join(c.Logs(), name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", name, err)
	}
	c.onStop(func() { _ = file.Close() })
	return file, nil
}

// Ztunnel returns the double of ztunnel on a node, or nil while the node has no
// ztunnel that is ready. While the DaemonSet replaces one, it is the new one.
func (c *ControlPlane) Ztunnel(node string) *ztunnel.Instance {
	instances := c.players.onNode(node)
	if len(instances) == 0 {
		return nil
	}
	return instances[len(instances)-1]
}

// HasSidecar tells whether a sidecar was injected into a pod.
func HasSidecar(pod *corev1.Pod) bool {
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, container := range containers {
			if container.Name == "istio-proxy" {
				return true
			}
		}
	}
	return false
}
