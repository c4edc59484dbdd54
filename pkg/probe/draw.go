package probe

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/classes"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/probe/wire"
)

const (
	// mostRequests is how many of the requests that policies tell apart are looked at,
	// for one server.
	mostRequests = 400
	// mostAttempts bounds what is tried in one namespace.
	mostAttempts = 240
)

// Attempt is a call that is to be tried, and what policies say of it.
type Attempt struct {
	Call   wire.Call
	Caller Caller
	// Server is the workload that answers, Service what is dialled.
	Server, Service v1alpha1.ObjectReference
	Port            uint32
	// Expected is the decision that it should meet with.
	Expected access.Decision
}

// String says the attempt as a plan words calls.
func (a Attempt) String() string {
	what := "a connection"
	switch a.Call.Protocol {
	case wire.HTTP:
		what = cmp.Or(a.Call.Method, "GET") + " " + cmp.Or(a.Call.Path, "/")
		if a.Call.Host != "" {
			what += " with host " + a.Call.Host
		}
		for _, name := range slices.Sorted(maps.Keys(a.Call.Headers)) {
			what += fmt.Sprintf(" with header %s: %s", name, a.Call.Headers[name])
		}
	case wire.Plaintext:
		what = "a request in plaintext"
	case wire.TCP:
	}
	return fmt.Sprintf("%s to %s port %d from %s", what, a.Service.Name, a.Port, a.Caller)
}

// Untried is what could not be tried at a server.
type Untried struct {
	// Server is nil where it is about all.
	Server *v1alpha1.ObjectReference
	Reason string
}

// Draft is what is to be tried, and what is not.
type Draft struct {
	// Protected is how many workloads anything protects.
	Protected int
	Attempts  []Attempt
	Untried   []Untried
}

// Draw chooses the calls that are tried in a namespace: for each workload that anything
// protects and each caller, one that is to be let in and one that is to be refused, as
// far as requests that change nothing can be those.
func Draw(state *access.State, namespace string, callers []Caller, timeout time.Duration) Draft {
	drawing := drawing{state: state, namespace: namespace, callers: callers, timeout: timeout}
	byWorkload := map[v1alpha1.ObjectReference][]*access.Server{}
	for _, server := range state.Servers {
		_, ours := server.Labels[Label]
		if !ours && server.Protected() && (server.Mode == access.ModeAmbient || server.Mode == access.ModeSidecar) && server.Workload.Namespace == namespace {
			byWorkload[server.Workload] = append(byWorkload[server.Workload], server)
		}
	}
	workloads := slices.SortedFunc(maps.Keys(byWorkload), func(a, b v1alpha1.ObjectReference) int { return cmp.Compare(a.String(), b.String()) })
	drawing.Protected = len(workloads)
	for _, workload := range workloads {
		drawing.drawWorkload(workload, byWorkload[workload])
	}
	return drawing.Draft
}

// drawing is a Draft in the making.
type drawing struct {
	Draft
	state     *access.State
	namespace string
	callers   []Caller
	timeout   time.Duration
}

// target is a port of a Service in front of a workload.
type target struct {
	service *access.Service
	port    access.ServicePort
	// servers are all that the Service selects, of whichever workload: any of them may
	// answer.
	servers []*access.Server
}

// choice is what a caller can try at a target: the first call that is to be let in, and
// the first that is to be refused; nil where there is none.
type choice struct{ allowed, refused *Attempt }

func (d *drawing) drawWorkload(workload v1alpha1.ObjectReference, servers []*access.Server) {
	reasons := map[string]bool{}
	for _, server := range servers {
		for _, reason := range server.Unknown() {
			reasons[reason] = true
		}
	}
	targets := d.targets(servers)
	switch {
	case len(reasons) > 0:
		d.leave(workload, "what becomes of calls cannot be told: "+strings.Join(slices.Sorted(maps.Keys(reasons)), "; "))
		return
	case !slices.ContainsFunc(servers, func(server *access.Server) bool { return len(server.Addresses) > 0 }):
		d.leave(workload, "no pod of it runs")
		return
	case len(targets) == 0:
		d.leave(workload, "no Service with a port for TCP is in front of it alone or of pods alike")
		return
	case len(d.Attempts) >= mostAttempts:
		d.leave(workload, fmt.Sprintf("%d calls are tried in one run, which are those to the workloads before it", mostAttempts))
		return
	}
	requests, addresses := witnesses(servers)
	table := make([][]choice, len(targets))
	for i, target := range targets {
		for _, caller := range d.callers {
			table[i] = append(table[i], d.choose(workload, target, caller, requests, addresses, reasons))
		}
	}
	d.take(workload, table, reasons)
}

func (d *drawing) leave(workload v1alpha1.ObjectReference, reason string) {
	d.Untried = append(d.Untried, Untried{Server: &workload, Reason: reason})
}

// targets are the ports of Services in front of the servers. Calls to the pods' own
// addresses are not tried: pods come and go.
func (d *drawing) targets(servers []*access.Server) []target {
	var targets []target
	seen := map[*access.Service]bool{}
	for _, server := range servers {
		for _, service := range server.Services() {
			if seen[service] || service.Reference.Kind == mesh.KindServiceEntry {
				continue
			}
			seen[service] = true
			all := slices.DeleteFunc(slices.Clone(d.state.Servers), func(other *access.Server) bool { return !service.Selects(other) })
			for _, port := range service.Ports {
				if port.Protocol != access.ProtocolUDP {
					targets = append(targets, target{service, port, all})
				}
			}
		}
	}
	return targets
}

// witnesses are the requests and the addresses of callers that policies tell apart.
func witnesses(servers []*access.Server) ([]access.Request, []netip.Addr) {
	var atoms classes.Atoms
	for _, server := range servers {
		for _, policy := range server.Policies() {
			atoms.AddPolicy(&policy.Spec, policy.Namespace)
		}
		for _, authentication := range server.Authentications() {
			atoms.AddAuthentication(authentication)
		}
		for _, service := range server.Services() {
			atoms.AddHost(service.Name())
		}
	}
	requests, _, _ := atoms.Requests(mostRequests)
	addresses := atoms.Addresses()
	if len(addresses) == 0 {
		addresses = []netip.Addr{{}}
	}
	return requests, addresses
}

// choose finds what a caller can try at a target. Reasons gathers why something that
// policies tell apart cannot be.
func (d *drawing) choose(workload v1alpha1.ObjectReference, to target, caller Caller, requests []access.Request, addresses []netip.Addr, reasons map[string]bool) choice {
	var made choice
	for _, request := range requests {
		protocol, speaks := d.speaks(to, caller, request)
		if !speaks {
			continue
		}
		decision, told := d.decide(to, caller, request, addresses)
		reason := untriable(request, caller)
		switch {
		case !told:
			reasons["some depend on the address that the caller has, on an external authorizer, or on which pod answers"] = true
			continue
		case reason != "":
			reasons["some need "+reason] = true
			continue
		}
		attempt := d.attempt(workload, to, caller, request, protocol, decision)
		if made.allowed == nil && decision.Outcome == access.Allowed {
			made.allowed = attempt
		}
		if made.refused == nil && decision.Outcome == access.Denied {
			made.refused = attempt
		}
		if made.allowed != nil && made.refused != nil {
			break
		}
	}
	return made
}

// speaks says in which protocol a request is made at a target; none where what Istio
// takes the port to carry is another, or is told from bytes that nobody knows here.
func (d *drawing) speaks(to target, caller Caller, request access.Request) (wire.Protocol, bool) {
	switch to.port.Protocol {
	case access.ProtocolHTTP:
		if caller.Mode == access.ModeOutside && plain(request) {
			return wire.Plaintext, true
		}
		return wire.HTTP, request.HTTP
	case access.ProtocolTCP:
		return wire.TCP, !request.HTTP && !to.port.TLS
	default:
		return wire.TCP, !request.HTTP && d.ztunnelAlone(to, caller)
	}
}

// plain is a request that has nothing of its own.
func plain(request access.Request) bool {
	return request.HTTP && request.Method == http.MethodGet && request.Path == "/" && request.Host == "" && len(request.Headers) == 0
}

// ztunnelAlone says whether nothing but ztunnel decides what goes to a target: Envoy
// waits for the first bytes of a port whose protocol nobody has declared.
func (d *drawing) ztunnelAlone(to target, caller Caller) bool {
	return caller.Mode != access.ModeSidecar && !slices.ContainsFunc(to.servers, func(server *access.Server) bool {
		way := d.state.Way(access.Call{Caller: caller.caller(d.state, d.namespace), Server: server, Service: to.service, Port: to.port.Port})
		return len(way) != 1 || way[0].Point != access.AtZtunnel
	})
}

// decide says what becomes of a call, whichever pod of the Service answers it and
// whichever address the caller has; told is false where that makes a difference, or
// an external authorizer is asked.
func (d *drawing) decide(to target, caller Caller, request access.Request, addresses []netip.Addr) (decision access.Decision, told bool) {
	call := access.Call{Caller: caller.caller(d.state, d.namespace), Service: to.service, Port: to.port.Port, Request: request}
	for i, server := range to.servers {
		call.Server = server
		for j, address := range addresses {
			call.Caller.Address = address
			one := d.state.Decide(call)
			if i == 0 && j == 0 {
				decision = one
			}
			if one.Outcome != decision.Outcome || one.Outcome == access.Delegated {
				return access.Decision{}, false
			}
		}
	}
	return decision, true
}

// untriable says what a request has that a probe does not send; empty where it can be
// tried.
func untriable(request access.Request, caller Caller) string {
	switch {
	case request.ServerName != "":
		return "TLS of the application's own"
	case !request.HTTP:
		return ""
	case request.Method != http.MethodGet && request.Method != http.MethodHead:
		return "another method than GET and HEAD"
	case request.Token.Issuer != "":
		return "a token"
	case request.ForwardedFor.IsValid():
		return "a proxy in front that names its client"
	case !printable(request.Path) || !strings.HasPrefix(request.Path, "/"):
		return "a path that is not sent as it is"
	case request.Host != "" && caller.Mode == access.ModeSidecar:
		// The sidecar would send it where that host is.
		return "another host than the Service's, which a sidecar goes by"
	case request.Host != "" && !printable(request.Host):
		return "a host that is not sent as it is"
	}
	for name, value := range request.Headers {
		if !printable(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
			return "a header that is not sent as it is"
		}
	}
	return ""
}

// printable says whether a text is what it is in a request line.
func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

func (d *drawing) attempt(workload v1alpha1.ObjectReference, to target, caller Caller, request access.Request, protocol wire.Protocol, decision access.Decision) *Attempt {
	name := to.service.Reference.Name + "." + to.service.Reference.Namespace + ".svc"
	call := wire.Call{
		Target: net.JoinHostPort(name, strconv.Itoa(int(to.port.Port))), Protocol: protocol, Timeout: wire.Duration(d.timeout), Expect: wire.Allowed,
	}
	if protocol == wire.HTTP {
		call.Method, call.Path, call.Host, call.Headers = request.Method, request.Path, request.Host, request.Headers
	}
	if decision.Outcome == access.Denied {
		call.Expect = wire.Refused
	}
	return &Attempt{Call: call, Caller: caller, Server: workload, Service: to.service.Reference, Port: to.port.Port, Expected: decision}
}

// take takes for each caller the first call that is to be let in and the first that is
// to be refused, at targets that let anybody in first: that somebody is let in shows that
// somebody listens.
func (d *drawing) take(workload v1alpha1.ObjectReference, table [][]choice, reasons map[string]bool) {
	slices.SortStableFunc(table, func(a, b []choice) int { return cmp.Compare(admits(b), admits(a)) })
	taken := 0
	for caller := range d.callers {
		for _, kind := range []func(choice) *Attempt{
			func(c choice) *Attempt { return c.allowed }, func(c choice) *Attempt { return c.refused },
		} {
			at := slices.IndexFunc(table, func(row []choice) bool { return kind(row[caller]) != nil })
			if at < 0 {
				continue
			}
			d.add(kind(table[at][caller]))
			taken++
			if admitted := slices.IndexFunc(table[at], func(c choice) bool { return c.allowed != nil }); admitted >= 0 {
				d.add(table[at][admitted].allowed)
			}
		}
	}
	if len(reasons) > 0 {
		d.leave(workload, "not every call that policies tell apart was tried: "+strings.Join(slices.Sorted(maps.Keys(reasons)), "; "))
	}
	if taken == 0 {
		d.leave(workload, "no call to it could be tried")
	}
}

// admits is 1 where any caller is let in.
func admits(row []choice) int {
	if slices.ContainsFunc(row, func(c choice) bool { return c.allowed != nil }) {
		return 1
	}
	return 0
}

// add takes an attempt, once.
func (d *drawing) add(attempt *Attempt) {
	same := func(other Attempt) bool { return other.String() == attempt.String() && other.Server == attempt.Server }
	if slices.ContainsFunc(d.Attempts, same) {
		return
	}
	made := *attempt
	made.Call.ID = strconv.Itoa(len(d.Attempts) + 1)
	d.Attempts = append(d.Attempts, made)
}
