package usage

import (
	"fmt"
	"math"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/types"
)

// Sidecars are what the sidecars of a namespace take.
func Sidecars(snapshot *mesh.Snapshot, namespace string, measured Measured) *v1alpha1.ProxyResources {
	sum := summing(measured)
	for _, pod := range snapshot.Pods(namespace) {
		if pod.HasSidecar() {
			sum.add(pod, 1)
		}
	}
	return sum.done()
}

// Report is what the proxies of a namespace take now, and took before it was enrolled,
// as the baseline has it, which may be nil. Without evidence of which pods each ztunnel
// has captured, the namespace's share of all ztunnels is by its captured pods among those
// of the mesh.
func Report(snapshot *mesh.Snapshot, namespace mesh.Namespace, evidence *mesh.Evidence, measured Measured, baseline *v1alpha1.Baseline) *v1alpha1.ResourceReport {
	report := &v1alpha1.ResourceReport{
		Sidecars: Sidecars(snapshot, namespace.Name, measured), Ztunnel: ztunnels(snapshot, namespace.Name, evidence, measured),
		Waypoints: waypoints(snapshot, namespace, measured),
	}
	if baseline != nil {
		report.Before = baseline.Resources
	}
	return report
}

func ztunnels(snapshot *mesh.Snapshot, namespace string, evidence *mesh.Evidence, measured Measured) *v1alpha1.ProxyResources {
	sum := summing(measured)
	for _, pod := range snapshot.ZtunnelPods() {
		sum.add(pod, share(snapshot, namespace, evidence, pod.Node))
	}
	return sum.done()
}

// share is the part of a node's ztunnel that a namespace takes, from 0 to 1.
func share(snapshot *mesh.Snapshot, namespace string, evidence *mesh.Evidence, node string) float64 {
	own, all := 0, 0
	if evidence == nil {
		for _, pod := range snapshot.AllPods() {
			if pod.Live() && pod.Redirected() {
				all++
				if pod.Namespace == namespace {
					own++
				}
			}
		}
		return float64(own) / math.Max(float64(all), 1)
	}
	here := map[types.UID]bool{}
	for _, pod := range snapshot.Pods(namespace) {
		here[pod.UID] = true
	}
	for uid := range evidence.Nodes[node].Captured {
		all++
		if here[uid] {
			own++
		}
	}
	return float64(own) / math.Max(float64(all), 1)
}

// waypoints are those that what is in the namespace names, each once, and as a whole:
// who else uses it does not make it smaller.
func waypoints(snapshot *mesh.Snapshot, namespace mesh.Namespace, measured Measured) *v1alpha1.ProxyResources {
	sum := summing(measured)
	for _, waypoint := range snapshot.Waypoints(namespace) {
		for _, pod := range snapshot.Pods(waypoint.Namespace) {
			if waypoint.Used && pod.Labels["gateway.networking.k8s.io/gateway-name"] == waypoint.Name {
				sum.add(pod, 1)
			}
		}
	}
	return sum.done()
}

// sum adds up what proxies take.
type sum struct {
	measured                     Measured
	proxies, unmeasured          int
	cpu, memory                  float64
	requestedCPU, requestedBytes float64
}

func summing(measured Measured) *sum { return &sum{measured: measured} }

func (s *sum) add(pod mesh.Pod, share float64) {
	if share == 0 {
		return
	}
	s.proxies++
	requests := pod.ProxyRequests
	s.requestedCPU += share * float64(requests.Cpu().MilliValue())
	s.requestedBytes += share * float64(requests.Memory().Value())
	used, measured := s.measured.Containers[pod.Namespace+"/"+pod.Name][mesh.ProxyContainer]
	if !measured {
		s.unmeasured++
		return
	}
	s.cpu += share * float64(used.MilliCPU)
	s.memory += share * float64(used.Memory)
}

func (s *sum) done() *v1alpha1.ProxyResources {
	whole := func(value float64) int64 { return int64(math.Round(value)) }
	resources := &v1alpha1.ProxyResources{
		Proxies: s.proxies, RequestedMilliCPU: whole(s.requestedCPU), RequestedMemory: whole(s.requestedBytes), Unknown: s.measured.Problem,
	}
	switch {
	case resources.Unknown != "":
	case s.proxies > 0 && s.unmeasured == s.proxies:
		resources.Unknown = "there are no metrics of them yet"
	default:
		cpu, memory := whole(s.cpu), whole(s.memory)
		resources.MilliCPU, resources.Memory = &cpu, &memory
		if s.unmeasured > 0 {
			resources.Unknown = fmt.Sprintf("there are no metrics yet of %d of %d", s.unmeasured, s.proxies)
		}
	}
	return resources
}
