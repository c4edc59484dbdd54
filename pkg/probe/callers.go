package probe

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/annotation"
	"istio.io/api/label"
)

// DefaultAccount is the ServiceAccount of pods that name none. Probe pods have it
// unless they are given another: every other one is an identity that policies may admit,
// and is used only where somebody has asked for it.
const DefaultAccount = "default"

// Caller is a kind of probe pod: how it takes part in the mesh, and as whom.
type Caller struct {
	Mode    access.Mode
	Account string
	// Labels and Annotations are what make its pods take part so.
	Labels, Annotations map[string]string
}

// String is the caller as messages name it.
func (c Caller) String() string {
	switch c.Mode {
	case access.ModeAmbient:
		return "a pod in ambient mode as " + c.Account
	case access.ModeSidecar:
		return "a pod with a sidecar as " + c.Account
	default:
		return "a pod outside the mesh"
	}
}

// caller is what policies know of it.
func (c Caller) caller(state *access.State, namespace string) access.Caller {
	if c.Mode == access.ModeOutside {
		return access.Caller{Mode: c.Mode}
	}
	return access.Caller{Mode: c.Mode, Identity: access.Identity{TrustDomain: state.TrustDomain, Namespace: namespace, ServiceAccount: c.Account}}
}

// Callers are those that pods of a namespace can be, with some ServiceAccounts: in
// ambient mode, with a sidecar, and outside the mesh. Missing says which cannot be had,
// and why.
func Callers(snapshot *mesh.Snapshot, namespace mesh.Namespace, accounts []string) (callers []Caller, missing []string) {
	ambient := map[string]string{label.IoIstioDataplaneMode.Name: mesh.DataplaneAmbient, label.SidecarInject.Name: "false"}
	rule, err := snapshot.EnrolmentRule()
	captured := err == nil && rule.Captures(mesh.Pod{Namespace: namespace.Name, Labels: ambient}, namespace.Labels)
	injected, injects := injectedLabels(snapshot.Injectors(), namespace.Labels)
	for _, account := range accounts {
		if captured {
			callers = append(callers, Caller{Mode: access.ModeAmbient, Account: account, Labels: ambient})
		}
		if injects {
			callers = append(callers, Caller{Mode: access.ModeSidecar, Account: account, Labels: injected, Annotations: map[string]string{
				// Without it the calls would be made before the sidecar knows of anything.
				annotation.ProxyConfig.Name: "holdApplicationUntilProxyStarts: true",
			}})
		}
	}
	if !captured {
		missing = append(missing, fmt.Sprintf("no call was tried from ambient mode: istio-cni captures no pod of namespace %s, whatever its labels", namespace.Name))
	}
	if !injects {
		missing = append(missing, fmt.Sprintf("no call was tried from a pod with a sidecar: no revision injects one in namespace %s", namespace.Name))
	}
	outside := map[string]string{label.IoIstioDataplaneMode.Name: mesh.DataplaneNone, label.SidecarInject.Name: "false"}
	return append(callers, Caller{Mode: access.ModeOutside, Account: DefaultAccount, Labels: outside}), missing
}

// injectedLabels are those with which a pod of a namespace gets a sidecar.
func injectedLabels(injectors mesh.Injectors, namespace map[string]string) (map[string]string, bool) {
	wishes := []map[string]string{{label.SidecarInject.Name: "true"}}
	for _, injector := range injectors {
		wishes = append(wishes, map[string]string{label.SidecarInject.Name: "true", label.IoIstioRev.Name: injector.Revision})
	}
	at := slices.IndexFunc(wishes, func(labels map[string]string) bool {
		labels[label.IoIstioDataplaneMode.Name] = mesh.DataplaneNone
		_, injects := injectors.Injecting(namespace, labels, nil, false)
		return injects
	})
	if at < 0 {
		return nil, false
	}
	return wishes[at], true
}
