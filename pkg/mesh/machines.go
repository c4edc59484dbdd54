package mesh

import (
	"maps"

	"istio.io/api/annotation"
	"istio.io/api/label"
	clientnetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// IsMachine says whether an entry stands for a sidecar outside of Kubernetes: it
// registered itself, or has an identity of the mesh (istio
// pkg/autoregistration, and the API's own words on serviceAccount).
func IsMachine(entry *clientnetworkingv1.WorkloadEntry) bool {
	return entry.Annotations[annotation.IoIstioAutoRegistrationGroup.Name] != "" || entry.Spec.ServiceAccount != "" ||
		MachineLabels(entry)[label.SecurityTlsMode.Name] == "istio"
}

// MachineLabels are the labels that an entry is selected by: those of its
// metadata win (istio pilot/pkg/serviceregistry/serviceentry,
// ConvertWorkloadEntry).
func MachineLabels(entry *clientnetworkingv1.WorkloadEntry) map[string]string {
	merged := map[string]string{}
	maps.Copy(merged, entry.Spec.Labels)
	maps.Copy(merged, entry.Labels)
	return merged
}
