package ztunnel

import (
	"encoding/json"
	"sync"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// parser reads the config dumps of the ztunnels of a mesh. Each of them knows all of the
// mesh, and what they say of a workload, or of a Service, most often is the same text: it
// is read once. It is safe for concurrent use.
type parser struct {
	mu        sync.Mutex
	workloads map[string]saidWorkload
	services  map[string]saidService
}

func newParser() *parser {
	return &parser{workloads: map[string]saidWorkload{}, services: map[string]saidService{}}
}

// said is what a dump says.
type said struct {
	dump
	workloads []saidWorkload
	services  []saidService
}

// saidWorkload is a workload by "namespace/name".
type saidWorkload struct {
	uid, key string
	workload mesh.ZtunnelWorkload
}

// saidService is a Service by "namespace/hostname".
type saidService struct {
	key     string
	service mesh.ZtunnelService
}

func (w dumpWorkload) said() saidWorkload {
	return saidWorkload{uid: w.UID, key: w.Namespace + "/" + w.Name, workload: mesh.ZtunnelWorkload{
		Protocol: w.Protocol, NativeTunnel: w.NativeTunnel, Addresses: sorted(w.Addresses),
		Identity: identityOf(w.TrustDomain, w.Namespace, w.ServiceAccount),
		Policies: sorted(w.AuthorizationPolicies), Waypoint: w.Waypoint.text(),
	}}
}

func (s dumpService) said() saidService {
	return saidService{key: s.Namespace + "/" + s.Hostname, service: mesh.ZtunnelService{Addresses: sorted(s.Addresses), Waypoint: s.Waypoint.text()}}
}

// read reads a dump piece by piece. One that is not written as newer ztunnels do is read
// as a whole, which also tells what is wrong with it.
func (p *parser) read(data []byte) (said, error) {
	var parsed said
	end, ok := eachMember(data, skipSpace(data, 0), func(name string, at int) (int, bool) { return p.member(&parsed, name, data, at) })
	if ok && skipSpace(data, end) == len(data) {
		return parsed, nil
	}
	whole, err := readDump(data)
	parsed = said{dump: whole}
	for _, workload := range whole.Workloads {
		parsed.workloads = append(parsed.workloads, workload.said())
	}
	for _, service := range whole.Services {
		parsed.services = append(parsed.services, service.said())
	}
	return parsed, err
}

// member takes in the member of a dump whose value begins at a place, and says where it
// ends.
func (p *parser) member(into *said, name string, data []byte, at int) (end int, ok bool) {
	switch name {
	case "workloads":
		return readOnce(&p.mu, p.workloads, data, at, &into.workloads, dumpWorkload.said)
	case "services":
		return readOnce(&p.mu, p.services, data, at, &into.services, dumpService.said)
	}
	if end = endOfValue(data, at); end < 0 {
		return 0, false
	}
	value := data[at:end]
	switch name {
	case "policies":
		return end, json.Unmarshal(value, &into.Policies) == nil
	case "certificates":
		return end, json.Unmarshal(value, &into.Certificates) == nil
	case "workloadState":
		return end, json.Unmarshal(value, &into.WorkloadState) == nil
	case "config":
		return end, json.Unmarshal(value, &into.Config) == nil
	default:
		return end, json.Valid(value)
	}
}

// readOnce reads the elements of the array that begins at a place, but for those that were
// read before, and says where it ends.
func readOnce[From, To any](mu *sync.Mutex, before map[string]To, data []byte, at int, into *[]To, convert func(From) To) (end int, ok bool) {
	return eachElement(data, at, func(text []byte) bool {
		mu.Lock()
		known, is := before[string(text)]
		mu.Unlock()
		if !is {
			var from From
			if json.Unmarshal(text, &from) != nil {
				return false
			}
			known = convert(from)
			mu.Lock()
			before[string(text)] = known
			mu.Unlock()
		}
		*into = append(*into, known)
		return true
	})
}
