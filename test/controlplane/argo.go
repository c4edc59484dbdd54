package controlplane

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
)

// rolloutsController names the program that moves Rollouts of Argo Rollouts.
const rolloutsController = "rollouts-controller"

// RunArgoRollouts runs the controller of Argo Rollouts, with the types that come with it.
// It ends with the control plane, or when the returned function is called; the types stay.
func (c *ControlPlane) RunArgoRollouts(ctx context.Context) (stop func(), err error) {
	programs, err := BuildArgoRollouts(ctx, c.options.Progress)
	if err != nil {
		return nil, err
	}
	if err := c.applyManifests(ctx, programs, "crds"); err != nil {
		return nil, err
	}
	started, err := c.launch(ctx, server{
		name:      rolloutsController,
		path:      programs.Path(rolloutsController),
		ports:     2,
		arguments: func(ports []int) []string { return rolloutsArguments(c.kubeconfig, ports[0], ports[1]) },
		ready: func(ctx context.Context, ports []int) error {
			return answers(ctx, http.DefaultClient, "http://"+loopback(ports[0])+"/healthz")
		},
	})
	if err != nil {
		return nil, fmt.Errorf("starting Argo Rollouts: %w", err)
	}
	c.onStop(started.stop)
	return started.stop, nil
}

// rolloutsArguments leave out the election of a leader: there is one controller.
func rolloutsArguments(kubeconfig string, health, metrics int) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--leader-elect=false",
		"--healthzPort=" + strconv.Itoa(health),
		"--metricsport=" + strconv.Itoa(metrics),
		"--loglevel=warn",
	}
}
