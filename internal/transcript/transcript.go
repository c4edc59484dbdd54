// Package transcript keeps what a running istiod has been seen to decide of calls in
// meshes as the plugin reads them, so that the access model can be held against it
// where there is none.
package transcript

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// Sighting is a mesh at a stage of its migration, and calls that were decided there.
type Sighting struct {
	// Seed is what the mesh was drawn with, Stage names when it was seen.
	Seed  uint64
	Stage string
	// Content is what the plugin read, but for originals of what it redacts.
	Content mesh.Content
	Calls   []Call
}

// Call is one that was decided as istiod has proxies decide it.
type Call struct {
	Caller access.Caller
	// Workload and Pod are what was called, the latter by its address.
	Workload v1alpha1.ObjectReference
	Pod      netip.Addr
	// Service is the name of the one that was called, in the namespace of the workload;
	// empty for the pod's own address.
	Service string
	Port    uint32
	Request access.Request
	// Outcome is what became of it, By what decided that.
	Outcome access.Outcome
	By      string
}

// Question is the call as the access model is asked about it.
func (c *Call) Question(state *access.State) (access.Call, error) {
	question := access.Call{Caller: c.Caller, Port: c.Port, Request: c.Request}
	at := slices.IndexFunc(state.Servers, func(server *access.Server) bool {
		return server.Workload == c.Workload && slices.Contains(server.Addresses, c.Pod)
	})
	if at < 0 {
		return question, fmt.Errorf("the model knows of no pod %s of %s", c.Pod, c.Workload)
	}
	question.Server = state.Servers[at]
	if c.Service == "" {
		return question, nil
	}
	services := question.Server.Services()
	at = slices.IndexFunc(services, func(service *access.Service) bool {
		return service.Reference.Namespace == c.Workload.Namespace && service.Reference.Name == c.Service
	})
	if at < 0 {
		return question, fmt.Errorf("the model knows of no Service %s in front of %s", c.Service, c.Workload)
	}
	question.Service = services[at]
	return question, nil
}
