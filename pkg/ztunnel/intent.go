package ztunnel

import (
	"encoding/json"
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// intent is what istiod answers at /debug/ambientz (istio pilot/pkg/xds/debug.go,
// ambientz): what it sends to ztunnels, in the JSON of its protocol buffers, with
// addresses as the base64 of their text.
type intent struct {
	Workloads []intendedWorkload `json:"workloads"`
	Services  []intendedService  `json:"services"`
	Policies  []policy           `json:"policies"`
}

type intendedWorkload struct {
	UID                   string           `json:"uid"`
	Name                  string           `json:"name"`
	Namespace             string           `json:"namespace"`
	Addresses             [][]byte         `json:"addresses"`
	Tunnel                string           `json:"tunnelProtocol"`
	NativeTunnel          bool             `json:"nativeTunnel"`
	TrustDomain           string           `json:"trustDomain"`
	ServiceAccount        string           `json:"serviceAccount"`
	ClusterID             string           `json:"clusterId"`
	Waypoint              *intendedGateway `json:"waypoint"`
	AuthorizationPolicies []string         `json:"authorizationPolicies"`
}

type intendedService struct {
	Namespace string            `json:"namespace"`
	Hostname  string            `json:"hostname"`
	Addresses []intendedAddress `json:"addresses"`
	Waypoint  *intendedGateway  `json:"waypoint"`
}

type intendedGateway struct {
	Hostname *struct {
		Namespace string `json:"namespace"`
		Hostname  string `json:"hostname"`
	} `json:"hostname"`
	Address *intendedAddress `json:"address"`
}

type intendedAddress struct {
	Network string `json:"network"`
	Address []byte `json:"address"`
	// Length is set for a range of addresses.
	Length *int `json:"length"`
}

func (g *intendedGateway) text() string {
	switch {
	case g == nil:
		return ""
	case g.Hostname != nil:
		return g.Hostname.Namespace + "/" + g.Hostname.Hostname
	case g.Address != nil:
		return g.Address.Network + "/" + string(g.Address.Address)
	default:
		return ""
	}
}

// ParseIntent reads what an istiod of that name answers to what it means ztunnels to
// know. cluster is the name by which they call their own.
func ParseIntent(istiod, cluster string, data []byte) (mesh.DataPlaneView, error) {
	var parsed intent
	if err := json.Unmarshal(data, &parsed); err != nil {
		return mesh.DataPlaneView{}, fmt.Errorf("read what %s answers: %w", istiod, err)
	}
	view := newView()
	for _, policy := range parsed.Policies {
		view.Policies[policy.Namespace+"/"+policy.Name] = policy.canonical()
	}
	for _, service := range parsed.Services {
		var addresses []string
		for _, address := range service.Addresses {
			// ztunnel keeps ranges apart.
			if address.Length == nil {
				addresses = append(addresses, address.Network+"/"+string(address.Address))
			}
		}
		view.Services[service.Namespace+"/"+service.Hostname] = mesh.ZtunnelService{Addresses: sorted(addresses), Waypoint: service.Waypoint.text()}
	}
	for _, workload := range parsed.Workloads {
		if isPodOf(workload.UID, cluster) {
			view.Workloads[workload.Namespace+"/"+workload.Name] = workload.asSent()
		}
	}
	return view, nil
}

// asSent is the workload as ztunnel takes it up: without a tunnel it is reached by
// TCP (ztunnel src/state/workload.rs).
func (w intendedWorkload) asSent() mesh.ZtunnelWorkload {
	protocol := "TCP"
	if w.Tunnel == mesh.ProtocolHBONE {
		protocol = mesh.ProtocolHBONE
	}
	var addresses []string
	for _, address := range w.Addresses {
		addresses = append(addresses, string(address))
	}
	return mesh.ZtunnelWorkload{
		Protocol: protocol, NativeTunnel: w.NativeTunnel, Addresses: sorted(addresses),
		Identity: identityOf(w.TrustDomain, w.Namespace, w.ServiceAccount),
		Policies: sorted(w.AuthorizationPolicies), Waypoint: w.Waypoint.text(),
	}
}
