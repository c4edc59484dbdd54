package checks

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	networkingv1 "istio.io/api/networking/v1"
	clientnetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// virtualMachines: a VM has no ztunnel. It keeps its sidecar, and ambient pods
// call it in plaintext unless it says that it accepts HBONE.
func virtualMachines() Check {
	return Check{
		ID: "virtual-machines", Category: CategoryPrerequisites, Severity: v1alpha1.SeverityError,
		About: "Whether virtual machines with sidecars back services of the namespace, or take part in the mesh elsewhere.",
		Why: "ztunnel runs on nodes of the cluster, so a VM stays on its sidecar. Ambient pods reach it by HBONE only where it is labelled networking.istio.io/tunnel=http, and in plaintext otherwise, " +
			"which a STRICT sidecar refuses (istio pilot/pkg/serviceregistry/ambient/workloads.go, setTunnelProtocol). As a caller it bypasses waypoints, as every sidecar does. " +
			"A WorkloadEntry without service account and registration is a plain address outside the mesh and no VM in this sense.",
		Needs:  []string{mesh.KindWorkloadEntry, mesh.KindWorkloadGroup, mesh.KindService, mesh.KindServiceEntry},
		Passed: "the mesh has no virtual machines",
		Run: func(subject Subject) []Finding {
			return slices.Concat(ownMachines(subject), ownEndpoints(subject), ownGroups(subject), machinesElsewhere(subject))
		},
	}
}

func ownMachines(subject Subject) []Finding {
	var findings []Finding
	for _, entry := range subject.Snapshot.WorkloadEntries() {
		if entry.Namespace != subject.Namespace.Name || !mesh.IsMachine(entry) {
			continue
		}
		labels := mesh.MachineLabels(entry)
		finding := machineFinding(backed(subject, labels), labels)
		finding.Object = &v1alpha1.ObjectReference{
			APIVersion: clientnetworkingv1.SchemeGroupVersion.String(), Kind: mesh.KindWorkloadEntry, Namespace: entry.Namespace, Name: entry.Name,
		}
		findings = append(findings, finding)
	}
	return findings
}

// machineFinding is about a VM of the namespace and the services that it backs.
func machineFinding(services []string, labels map[string]string) Finding {
	switch {
	case len(services) == 0:
		return Finding{
			Status:  v1alpha1.StatusWarn,
			Message: "the virtual machine stays on its sidecar: it calls past waypoints, so L7 policies that move there do not hold for it",
		}
	case labels[mesh.TunnelLabel] == mesh.TunnelHTTP:
		return Finding{
			Status: v1alpha1.StatusWarn,
			Message: fmt.Sprintf("the virtual machine backs %s and stays on its sidecar, which accepts HBONE: part of what serves it is ambient, and part is not",
				some(services)),
		}
	default:
		return Finding{
			Status: v1alpha1.StatusFail, Field: "metadata.labels[" + mesh.TunnelLabel + "]",
			Message: fmt.Sprintf("the virtual machine backs %s and is not known to accept HBONE: ambient pods would call it in plaintext", some(services)),
			Remedy:  "give the virtual machine a Service and a namespace of its own, or run its sidecar with ISTIO_META_ENABLE_HBONE=true and label it " + mesh.TunnelLabel + "=" + mesh.TunnelHTTP,
		}
	}
}

// backed names the Services and ServiceEntries of the namespace that select
// these labels.
func backed(subject Subject, labels map[string]string) []string {
	var services []string
	for _, service := range subject.Snapshot.Services(subject.Namespace.Name) {
		if len(service.Spec.Selector) > 0 && mesh.SelectsLabels(service.Spec.Selector, labels) {
			services = append(services, "Service "+service.Name)
		}
	}
	for _, entry := range subject.Snapshot.ServiceEntries() {
		selector := entry.Spec.WorkloadSelector.GetLabels()
		if entry.Namespace == subject.Namespace.Name && len(selector) > 0 && mesh.SelectsLabels(selector, labels) {
			services = append(services, "ServiceEntry "+entry.Name)
		}
	}
	return services
}

// ownEndpoints are VMs that a ServiceEntry names itself.
func ownEndpoints(subject Subject) []Finding {
	var findings []Finding
	for _, entry := range subject.Snapshot.ServiceEntries() {
		if entry.Namespace != subject.Namespace.Name {
			continue
		}
		for i, endpoint := range entry.Spec.Endpoints {
			if !endpointIsMachine(endpoint) {
				continue
			}
			finding := machineFinding([]string{"ServiceEntry " + entry.Name}, endpoint.Labels)
			finding.Object = &v1alpha1.ObjectReference{
				APIVersion: clientnetworkingv1.SchemeGroupVersion.String(), Kind: mesh.KindServiceEntry, Namespace: entry.Namespace, Name: entry.Name,
			}
			finding.Field = fmt.Sprintf("spec.endpoints[%d]", i)
			findings = append(findings, finding)
		}
	}
	return findings
}

func endpointIsMachine(endpoint *networkingv1.WorkloadEntry) bool {
	return endpoint.GetServiceAccount() != "" || endpoint.GetLabels()[label.SecurityTlsMode.Name] == "istio"
}

// ownGroups: VMs register themselves by a group, at any time.
func ownGroups(subject Subject) []Finding {
	var findings []Finding
	for _, group := range subject.Snapshot.WorkloadGroups() {
		if group.Namespace != subject.Namespace.Name {
			continue
		}
		message := "virtual machines that register by this group stay on their sidecars"
		if services := backed(subject, group.Spec.Metadata.GetLabels()); len(services) > 0 {
			message += " and back " + some(services)
		}
		findings = append(findings, Finding{
			Status: v1alpha1.StatusWarn, Message: message,
			Object: &v1alpha1.ObjectReference{
				APIVersion: clientnetworkingv1.SchemeGroupVersion.String(), Kind: mesh.KindWorkloadGroup, Namespace: group.Namespace, Name: group.Name,
			},
		})
	}
	return findings
}

func machinesElsewhere(subject Subject) []Finding {
	namespaces := map[string]bool{}
	number := 0
	for _, entry := range subject.Snapshot.WorkloadEntries() {
		if entry.Namespace != subject.Namespace.Name && mesh.IsMachine(entry) {
			namespaces[entry.Namespace] = true
			number++
		}
	}
	for _, group := range subject.Snapshot.WorkloadGroups() {
		if group.Namespace != subject.Namespace.Name {
			namespaces[group.Namespace] = true
		}
	}
	if len(namespaces) == 0 {
		return nil
	}
	return []Finding{{
		Status: v1alpha1.StatusWarn,
		Message: fmt.Sprintf("the mesh has virtual machines (%s registered now) in %s: they stay on sidecars, so as callers they bypass waypoints",
			count(number, "machine"), strings.Join(slices.Sorted(maps.Keys(namespaces)), ", ")),
	}}
}
