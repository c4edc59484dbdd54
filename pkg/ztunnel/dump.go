package ztunnel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/types"
)

// dump is the part of ztunnel's /config_dump that evidence is made from.
type dump struct {
	Workloads     list[dumpWorkload]   `json:"workloads"`
	Policies      list[dumpPolicy]     `json:"policies"`
	WorkloadState map[string]dumpState `json:"workloadState"`
	Config        struct {
		ClusterID string `json:"clusterId"`
	} `json:"config"`
}

type dumpWorkload struct {
	UID          string `json:"uid"`
	Name         string `json:"name"`
	Namespace    string `json:"namespace"`
	Protocol     string `json:"protocol"`
	NativeTunnel bool   `json:"nativeTunnel"`
	Waypoint     *struct {
		Destination string `json:"destination"`
	} `json:"waypoint"`
	AuthorizationPolicies []string `json:"authorizationPolicies"`
}

type dumpPolicy struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

// isPodOf goes by the workload's UID, "CLUSTER//Pod/NAMESPACE/NAME" (istio
// pilot/pkg/serviceregistry/ambient, generatePodUID): a WorkloadEntry, or a pod
// of another cluster, can bear the name of a pod.
func (w dumpWorkload) isPodOf(cluster string) bool {
	parts := strings.Split(w.UID, "/")
	if len(parts) < 3 {
		return true
	}
	return parts[2] == "Pod" && (cluster == "" || parts[0] == cluster)
}

type dumpState struct {
	State string `json:"state"`
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
	var parsed dump
	if err := json.Unmarshal(data, &parsed); err != nil {
		return mesh.NodeEvidence{}, fmt.Errorf("read the config dump of %s: %w", ztunnel, err)
	}
	if parsed.WorkloadState == nil {
		return mesh.NodeEvidence{}, fmt.Errorf("the config dump of %s has no workloadState: is it older than Istio 1.25, or not ztunnel?", ztunnel)
	}
	evidence := mesh.NodeEvidence{
		Ztunnel: ztunnel, Captured: map[types.UID]mesh.CaptureState{}, Workloads: map[string]mesh.ZtunnelWorkload{}, Policies: map[string]bool{},
	}
	for _, policy := range parsed.Policies {
		evidence.Policies[policy.Namespace+"/"+policy.Name] = true
	}
	for uid, state := range parsed.WorkloadState {
		evidence.Captured[types.UID(uid)] = mesh.CaptureState(state.State)
	}
	for _, workload := range parsed.Workloads {
		if !workload.isPodOf(parsed.Config.ClusterID) {
			continue
		}
		known := mesh.ZtunnelWorkload{
			Protocol: workload.Protocol, NativeTunnel: workload.NativeTunnel, Policies: workload.AuthorizationPolicies,
		}
		if workload.Waypoint != nil {
			known.Waypoint = workload.Waypoint.Destination
		}
		evidence.Workloads[workload.Namespace+"/"+workload.Name] = known
	}
	return evidence, nil
}
