package controlplane

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

const (
	istioNamespace = "istio-system"
	// installTimeout bounds the installation of Istio.
	installTimeout = 3 * time.Minute
)

// Profiles of istioctl that make sense here.
const (
	// ProfileAmbient installs istiod, istio-cni and ztunnel, with sidecars that
	// speak HBONE.
	ProfileAmbient = "ambient"
	// ProfileDefault installs istiod and an ingress gateway, for sidecars only.
	ProfileDefault = "default"
	// ProfileMinimal installs istiod alone, which suits a further revision.
	ProfileMinimal = "minimal"
)

// IstioOptions say what to install.
type IstioOptions struct {
	// Profile is ProfileAmbient by default.
	Profile string
	// Revision is the revision of the control plane; empty is the default one.
	Revision string
	// MeshConfig is merged into the mesh configuration.
	MeshConfig map[string]any
	// Set are further settings, as for istioctl install --set.
	Set []string
	// Environment is added to that of istiod, on top of what the installed
	// Deployment says.
	Environment map[string]string
}

// Istio is an installed revision and the istiod that serves it.
type Istio struct {
	// Revision is the name under which objects ask for it: "default" if the
	// options named none.
	Revision string
	// GRPC is the address of plaintext xDS, port 15010 of the pod.
	GRPC string
	// SecureGRPC is the address of xDS and of the certificate authority over
	// TLS, port 15012 of the pod.
	SecureGRPC string
	// HTTPS is the address of the webhooks, port 15017 of the pod.
	HTTPS string
	// HTTP is the address of the debug interface, port 8080 of the pod.
	HTTP string
	// Monitoring is the address of metrics and version, port 15014 of the pod.
	Monitoring string
	// Log is the file with istiod's log.
	Log string

	process running
}

// InstallIstio installs a revision of Istio with istioctl, starts the istiod
// that serves it, and returns when injection and validation work. The istiod of
// the cluster is a pod that kwok plays; the one that answers runs beside it and
// takes its environment and flags from the same Deployment.
//
// Installing a revision again upgrades it and restarts its istiod.
func (c *ControlPlane) InstallIstio(ctx context.Context, options IstioOptions) (*Istio, error) {
	if options.Profile == "" {
		options.Profile = ProfileAmbient
	}
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	istio, err := c.installIstio(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("installing Istio (profile %s, revision %q): %w", options.Profile, options.Revision, err)
	}
	return istio, nil
}

func (c *ControlPlane) installIstio(ctx context.Context, options IstioOptions) (istio *Istio, err error) {
	c.options.Progress("installing Istio, profile " + options.Profile)
	install := func(ctx context.Context) error { return c.istioctlInstall(ctx, options) }
	serve := func(ctx context.Context) (err error) {
		istio, err = c.startIstiod(ctx, options)
		return err
	}
	if previous := c.istiods.get(revisionName(options.Revision)); previous != nil {
		err = errors.Join(install(ctx), previous.Stop(), serve(ctx))
	} else {
		// A first istiod can start as soon as its Deployment is there.
		err = parallel(ctx, install, serve)
	}
	if err != nil {
		return nil, err
	}
	c.options.Progress("waiting for istiod and ztunnel")
	if err := parallel(ctx, func(ctx context.Context) error { return c.waitForWebhooks(ctx, istio) }, c.waitForDataPlane); err != nil {
		return nil, err
	}
	return istio, nil
}

func (c *ControlPlane) istioctlInstall(ctx context.Context, options IstioOptions) error {
	arguments := []string{"install", "--skip-confirmation", "--set", "profile=" + options.Profile, "--set", "tag=" + istioVersion}
	if options.Revision != "" {
		arguments = append(arguments, "--revision", options.Revision)
	}
	if options.MeshConfig != nil {
		overlay, err := c.writeOverlay(options)
		if err != nil {
			return err
		}
		arguments = append(arguments, "--filename", overlay)
	}
	for _, setting := range options.Set {
		arguments = append(arguments, "--set", setting)
	}
	_, err := c.Istioctl(ctx, arguments...)
	return err
}

func (c *ControlPlane) writeOverlay(options IstioOptions) (string, error) {
	overlay, err := yaml.Marshal(map[string]any{
		"apiVersion": "install.istio.io/v1alpha1",
		"kind":       "IstioOperator",
		"spec":       map[string]any{"meshConfig": options.MeshConfig},
	})
	if err != nil {
		return "", fmt.Errorf("encoding the mesh configuration: %w", err)
	}
	return c.writeState("istio-"+revisionName(options.Revision)+".yaml", overlay)
}

// revisionName is the name by which istiod knows a revision.
func revisionName(revision string) string {
	if revision == "" {
		return "default"
	}
	return revision
}

// revisioned is the name that Istio's charts give to an object of a revision.
func revisioned(name, revision string) string {
	if revision == "" || revision == "default" {
		return name
	}
	return name + "-" + revision
}

func (c *ControlPlane) istiodDirectory(revision string) string {
	return filepath.Join(c.directory, "istiod", revision)
}

// sortedEnvironment renders variables in a fixed order.
func sortedEnvironment(variables map[string]string) []string {
	environment := make([]string, 0, len(variables))
	for name, value := range variables {
		environment = append(environment, name+"="+value)
	}
	slices.SortFunc(environment, strings.Compare)
	return environment
}
