package ztunnel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/types"
)

// dump is the part of ztunnel's /config_dump that evidence is made from.
type dump = dumpOf[[]dumpWorkload, []dumpService, []policy, []dumpCertificates]

// olderDump is one that has maps where newer versions of ztunnel have arrays. It reads
// both, and takes longer for it.
type olderDump = dumpOf[list[dumpWorkload], list[dumpService], list[policy], list[dumpCertificates]]

type dumpOf[W ~[]dumpWorkload, S ~[]dumpService, P ~[]policy, C ~[]dumpCertificates] struct {
	Workloads     W                    `json:"workloads"`
	Services      S                    `json:"services"`
	Policies      P                    `json:"policies"`
	Certificates  C                    `json:"certificates"`
	WorkloadState map[string]dumpState `json:"workloadState"`
	Config        dumpConfig           `json:"config"`
}

type dumpConfig struct {
	ClusterID   string `json:"clusterId"`
	XDSAddress  string `json:"xdsAddress"`
	XDSOnDemand bool   `json:"xdsOnDemand"`
}

func readDump(data []byte) (dump, error) {
	var parsed dump
	err := json.Unmarshal(data, &parsed)
	if err == nil || !errors.As(err, new(*json.UnmarshalTypeError)) {
		return parsed, err
	}
	var older olderDump
	err = json.Unmarshal(data, &older)
	return dump{older.Workloads, older.Services, older.Policies, older.Certificates, older.WorkloadState, older.Config}, err
}

type dumpWorkload struct {
	UID                   string       `json:"uid"`
	Name                  string       `json:"name"`
	Namespace             string       `json:"namespace"`
	Addresses             []string     `json:"workloadIps"`
	Protocol              string       `json:"protocol"`
	NativeTunnel          bool         `json:"nativeTunnel"`
	TrustDomain           string       `json:"trustDomain"`
	ServiceAccount        string       `json:"serviceAccount"`
	Waypoint              *destination `json:"waypoint"`
	AuthorizationPolicies []string     `json:"authorizationPolicies"`
}

type dumpService struct {
	Namespace string       `json:"namespace"`
	Hostname  string       `json:"hostname"`
	Addresses []string     `json:"vips"`
	Waypoint  *destination `json:"waypoint"`
}

// destination is where a waypoint is reached: "network/address" or
// "namespace/hostname".
type destination struct {
	Destination string `json:"destination"`
}

func (d *destination) text() string {
	if d == nil {
		return ""
	}
	return d.Destination
}

type dumpCertificates struct {
	Identity  string            `json:"identity"`
	State     string            `json:"state"`
	CertChain []dumpCertificate `json:"certChain"`
}

type dumpCertificate struct {
	ValidFrom      time.Time `json:"validFrom"`
	ExpirationTime time.Time `json:"expirationTime"`
}

type dumpState struct {
	State string `json:"state"`
}

// isPodOf goes by a workload's UID, "CLUSTER//Pod/NAMESPACE/NAME" (istio
// pilot/pkg/serviceregistry/ambient, generatePodUID): a WorkloadEntry, or a pod
// of another cluster, can bear the name of a pod.
func isPodOf(uid, cluster string) bool {
	parts := strings.Split(uid, "/")
	if len(parts) < 3 {
		return true
	}
	return parts[2] == "Pod" && (cluster == "" || parts[0] == cluster)
}

// identityOf is the SPIFFE identity of a workload. istiod leaves out the trust
// domain that is everybody's default (ztunnel src/state/workload.rs).
func identityOf(trustDomain, namespace, account string) string {
	if trustDomain == "" {
		trustDomain = "cluster.local"
	}
	return "spiffe://" + trustDomain + "/ns/" + namespace + "/sa/" + account
}

// sorted is a list in an order of its own: neither end keeps one.
func sorted(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}

// list reads an array, as newer versions of ztunnel write it, or the values of
// a map, as older ones do.
type list[T any] []T

func (l *list[T]) UnmarshalJSON(data []byte) error {
	switch text := bytes.TrimSpace(data); {
	case bytes.HasPrefix(text, []byte("[")), bytes.Equal(text, []byte("null")):
		return json.Unmarshal(data, (*[]T)(l))
	case !bytes.HasPrefix(text, []byte("{")):
		return errors.New("neither an array nor a map of objects")
	}
	var byKey map[string]T
	if err := json.Unmarshal(data, &byKey); err != nil {
		return err
	}
	*l = nil
	for _, item := range byKey {
		*l = append(*l, item)
	}
	return nil
}

// Parse reads a config dump of the ztunnel pod of that name. A dump without
// workloadState is an error: a ztunnel that does not say what it captures is
// no evidence.
func Parse(ztunnel string, data []byte) (mesh.NodeEvidence, error) {
	return newParser().parse(ztunnel, data)
}

func (p *parser) parse(ztunnel string, data []byte) (mesh.NodeEvidence, error) {
	parsed, err := p.read(data)
	if err != nil {
		return mesh.NodeEvidence{}, fmt.Errorf("read the config dump of %s: %w", ztunnel, err)
	}
	if parsed.WorkloadState == nil {
		return mesh.NodeEvidence{}, fmt.Errorf("the config dump of %s has no workloadState: is it older than Istio 1.25, or not ztunnel?", ztunnel)
	}
	evidence := mesh.NodeEvidence{
		Ztunnel: ztunnel, XDSAddress: parsed.Config.XDSAddress, Cluster: parsed.Config.ClusterID, OnDemand: parsed.Config.XDSOnDemand, DataPlaneView: viewOf(parsed),
		Captured: map[types.UID]mesh.CaptureState{}, Certificates: map[string]mesh.ZtunnelCertificate{},
	}
	for uid, state := range parsed.WorkloadState {
		evidence.Captured[types.UID(uid)] = mesh.CaptureState(state.State)
	}
	for _, held := range parsed.Certificates {
		certificate := mesh.ZtunnelCertificate{State: held.State}
		if len(held.CertChain) > 0 {
			certificate.NotBefore, certificate.NotAfter = held.CertChain[0].ValidFrom, held.CertChain[0].ExpirationTime
		}
		// One that is there counts, whatever else is said of its identity.
		if evidence.Certificates[held.Identity].State != mesh.CertificateAvailable {
			evidence.Certificates[held.Identity] = certificate
		}
	}
	return evidence, nil
}

func viewOf(d said) mesh.DataPlaneView {
	view := mesh.DataPlaneView{
		Workloads: make(map[string]mesh.ZtunnelWorkload, len(d.workloads)), Services: make(map[string]mesh.ZtunnelService, len(d.services)), Policies: map[string]string{},
	}
	for _, policy := range d.Policies {
		view.Policies[policy.Namespace+"/"+policy.Name] = policy.canonical()
	}
	for _, service := range d.services {
		view.Services[service.key] = service.service
	}
	for _, workload := range d.workloads {
		if isPodOf(workload.uid, d.Config.ClusterID) {
			view.Workloads[workload.key] = workload.workload
		}
	}
	return view
}

func newView() mesh.DataPlaneView {
	return mesh.DataPlaneView{
		Workloads: map[string]mesh.ZtunnelWorkload{}, Services: map[string]mesh.ZtunnelService{}, Policies: map[string]string{},
	}
}
