package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/internal/transcript"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/classes"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/oracle"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// stage is a point of a migration: before it, during a step of its plan, after one,
// after a step of the rollback, or after all of it.
type stage struct {
	// step is the index of the step in the plan of its leg; negative where no step is
	// under way or done, which is before the migration, or after the rollback.
	step         int
	during, back bool
}

// restored is after the rollback.
func (s stage) restored() bool { return s.back && s.step < 0 }

func (r *trial) nameOf(at stage) string {
	switch {
	case at.restored():
		return "after the rollback"
	case at.step < 0:
		return "before the migration"
	case at.during:
		return "during " + r.there.planned.Steps[at.step].ID
	case at.back:
		return "on the way back, after " + r.back.planned.Steps[at.step].ID
	default:
		return "after " + r.there.planned.Steps[at.step].ID
	}
}

// sighting is a mesh at a stage, as the plugin reads it and as istiod serves it.
type sighting struct {
	stage
	state    *access.State
	verdicts *oracle.State
	// pods are by address.
	pods map[netip.Addr]types.NamespacedName
	// known are the namespaces whose sidecars and gateways were asked.
	known []string
	// byHand are the Services whose EndpointSlices somebody writes: for as long as one has
	// no pods in it, state does not have the Service.
	byHand  []string
	members []*member
	servers []*subject
	// content is what state is made of, calls are some of those that were decided.
	content mesh.Content
	calls   []transcript.Call
	alike   map[likeness]bool
}

// member is who may call.
type member struct {
	// name is that by which the plan tells callers.
	name     string
	identity access.Identity
	modes    []access.Mode
}

// unseen is what the plan calls callers that nobody has seen.
const unseen = "a workload nobody has seen"

// subject is a server with what calls to it can be told apart by.
type subject struct {
	*access.Server
	requests   []access.Request
	constants  constants
	identities []access.Identity
	addresses  []netip.Addr
}

// somewhere is where callers are of whom no policy wants to know.
var somewhere = netip.MustParseAddr("192.0.2.77")

// mostRequests is how many kinds of requests to one server are looked at.
const mostRequests = 3000

func (r *trial) look(ctx context.Context, at stage) (*sighting, error) {
	if err := r.refreshEndpoints(ctx, at); err != nil {
		return nil, err
	}
	content, snapshot, err := r.read(ctx)
	if err != nil {
		return nil, err
	}
	seen := &sighting{
		stage: at, state: access.Of(snapshot, []string{r.mesh.Namespace}, access.Overlay{}), pods: map[netip.Addr]types.NamespacedName{},
		content: content, alike: map[likeness]bool{},
	}
	for _, endpoints := range r.mesh.Endpoints {
		seen.byHand = append(seen.byHand, endpoints.Service)
	}
	pods, err := r.kube.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if address, err := netip.ParseAddr(pod.Status.PodIP); err == nil && pod.DeletionTimestamp == nil {
			seen.pods[address] = types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
		}
	}
	for _, server := range seen.state.Servers {
		seen.servers = append(seen.servers, subjectOf(server))
	}
	seen.addMembers(r, pods.Items)
	seen.known = r.knownNamespaces(seen)
	if seen.verdicts, err = r.oracle.Read(ctx, seen.known...); err != nil {
		return nil, err
	}
	r.totals.stages.Add(1)
	return seen, nil
}

// atomsOf are what calls to some servers can be told apart by.
func atomsOf(servers ...*access.Server) *classes.Atoms {
	atoms := &classes.Atoms{}
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
	return atoms
}

func subjectOf(server *access.Server) *subject {
	made, atoms := &subject{Server: server, constants: constantsOf(server)}, atomsOf(server)
	requests, _, _ := atoms.Requests(mostRequests)
	for _, request := range requests {
		// Within TLS of the application's own nobody sees HTTP.
		if !request.HTTP || request.ServerName == "" {
			made.requests = append(made.requests, request)
		}
	}
	made.identities = atoms.Identities(nil, []string{"cluster.local"})
	made.addresses = atoms.Addresses()
	if len(made.addresses) == 0 {
		made.addresses = []netip.Addr{somewhere}
	}
	return made
}

// addMembers finds the callers that there are: workloads of the namespace, pods of
// the other one, somebody nobody has seen, and somebody outside the mesh.
func (s *sighting) addMembers(r *trial, pods []corev1.Pod) {
	byName := map[string]*member{}
	for _, server := range s.state.Servers {
		name := server.Workload.String()
		one := byName[name]
		if one == nil {
			one = &member{name: name, identity: server.Identity}
			byName[name] = one
			s.members = append(s.members, one)
		}
		if !slices.Contains(one.modes, server.Mode) {
			one.modes = append(one.modes, server.Mode)
		}
	}
	var others []access.Mode
	for i := range pods {
		pod := &pods[i]
		if pod.Namespace != r.mesh.Callers || pod.DeletionTimestamp != nil {
			continue
		}
		mode := modeOf(pod)
		identity := access.Identity{TrustDomain: "cluster.local", Namespace: pod.Namespace, ServiceAccount: pod.Spec.ServiceAccountName}
		s.members = append(s.members, &member{name: "Namespace " + pod.Namespace, identity: identity, modes: []access.Mode{mode}})
		others = append(others, mode)
	}
	met := map[access.Identity]bool{}
	for _, server := range s.servers {
		for _, identity := range server.identities {
			if met[identity] || r.isWaypoint(identity) {
				continue
			}
			met[identity] = true
			switch {
			case slices.ContainsFunc(s.members, func(other *member) bool { return other.identity == identity }):
			case identity.Namespace == r.mesh.Callers:
				s.members = append(s.members, &member{name: "Namespace " + r.mesh.Callers, identity: identity, modes: others})
			default:
				s.members = append(s.members, &member{name: unseen, identity: identity, modes: []access.Mode{access.ModeSidecar}})
			}
		}
	}
	s.members = append(s.members, &member{name: "somebody outside the mesh", modes: []access.Mode{access.ModeOutside}})
}

// isWaypoint says whether an identity is that of a waypoint, which nobody else has,
// at any stage of the plan.
func (r *trial) isWaypoint(identity access.Identity) bool {
	return slices.ContainsFunc(r.there.stages, func(of compare.Stage) bool {
		return slices.ContainsFunc(of.State.Services, func(service *access.Service) bool {
			return service.Waypoint != nil && service.Waypoint.Identity == identity
		}) || slices.ContainsFunc(of.State.Servers, func(server *access.Server) bool {
			return server.UseWaypoint != nil && server.UseWaypoint.Identity == identity
		})
	})
}

func modeOf(pod *corev1.Pod) access.Mode {
	switch {
	case pod.Annotations["inject.istio.io/templates"] == "gateway":
		return access.ModeGateway
	case sidecar(pod):
		return access.ModeSidecar
	default:
		return access.ModeAmbient
	}
}

// mostOthers is how many invented namespaces are asked for what their proxies know.
const mostOthers = 2

// knownNamespaces are the mesh's and some of those that policies were the reason to
// invent.
func (r *trial) knownNamespaces(seen *sighting) []string {
	if r.before != nil {
		return r.before.known
	}
	invented := map[string]bool{}
	for _, server := range seen.servers {
		for _, identity := range server.identities {
			if !slices.Contains(r.namespaces(), identity.Namespace) {
				invented[identity.Namespace] = true
			}
		}
	}
	names := slices.Sorted(maps.Keys(invented))
	return append(r.namespaces(), names[:min(len(names), mostOthers)]...)
}

// call is one that both the model and the oracle can decide.
type call struct {
	mode     access.Mode
	identity access.Identity
	address  netip.Addr
	// service is empty for the pod's own address.
	service string
	port    uint32
	request access.Request
	// invented is true of a request that need not be a witness of its kind.
	invented bool
}

func (c call) String() string {
	who := string(c.mode)
	if !c.identity.None() {
		who += " " + c.identity.Principal()
	}
	target := fmt.Sprintf("Service %s:%d", c.service, c.port)
	if c.service == "" {
		target = fmt.Sprintf("the pod's port %d", c.port)
	}
	return fmt.Sprintf("%s at %s to %s: %+v", who, c.address, target, c.request)
}

// possible says whether the oracle takes the call: it knows the callers of some
// namespaces, no gateway that calls a pod's own address, and no sidecar that would
// take a request to a pod's address for one to a Service.
func (s *sighting) possible(asked call) bool {
	if (asked.mode == access.ModeSidecar || asked.mode == access.ModeGateway) && !slices.Contains(s.known, asked.identity.Namespace) {
		return false
	}
	if asked.service != "" {
		return true
	}
	named := slices.ContainsFunc(s.state.Services, func(service *access.Service) bool { return hostNames(asked.request.Host, service) }) ||
		slices.ContainsFunc(s.byHand, func(name string) bool { return strings.HasPrefix(strings.ToLower(asked.request.Host), name) })
	return asked.mode != access.ModeGateway && (asked.mode != access.ModeSidecar || !named)
}

// hostNames says whether a host could be a Service's.
func hostNames(host string, service *access.Service) bool {
	name, _, _ := strings.Cut(strings.ToLower(host), ":")
	return name == service.Name() || strings.HasPrefix(name, service.Reference.Name+"."+service.Reference.Namespace)
}

// own are the Services of a server's own namespace: an EndpointSlice that another mesh
// has yet to write anew may have the address of a pod that is gone, and that this one
// was given.
func own(server *access.Server) []*access.Service {
	return slices.DeleteFunc(server.Services(), func(service *access.Service) bool { return service.Reference.Namespace != server.Workload.Namespace })
}

// modelled decides a call by the access model.
func (s *sighting) modelled(asked call, server *access.Server) (access.Decision, bool) {
	return modelled(s.state, asked, server)
}

func modelled(state *access.State, asked call, server *access.Server) (access.Decision, bool) {
	question := access.Call{
		Caller: access.Caller{Mode: asked.mode, Identity: asked.identity, Address: asked.address},
		Server: server, Port: asked.port, Request: asked.request,
	}
	if asked.service != "" {
		services := own(server)
		at := slices.IndexFunc(services, func(service *access.Service) bool { return service.Reference.Name == asked.service })
		if at < 0 {
			return access.Decision{}, false
		}
		question.Service = services[at]
		if server.PodPort(question.Service, asked.port) == 0 {
			return access.Decision{}, false
		}
	}
	return state.Decide(question), true
}

// observed decides a call by the oracle, at each of a server's pods.
func (s *sighting) observed(asked call, server *access.Server) ([]oracle.Verdict, error) {
	question := oracle.Call{
		Caller:  oracle.Caller{Mode: oracle.Mode(asked.mode), Address: asked.address},
		Service: types.NamespacedName{Namespace: server.Workload.Namespace, Name: asked.service},
		Port:    asked.port, Direct: asked.service == "",
	}
	if !asked.identity.None() {
		question.Caller.Identity = "spiffe://" + asked.identity.Principal()
	}
	name := asked.service
	for _, service := range s.state.Services {
		if service.Reference.Namespace == server.Workload.Namespace && service.Reference.Name == asked.service && service.Reference.Kind == mesh.KindServiceEntry {
			question.Host, name = service.Host, service.Host
		}
	}
	var verdicts []oracle.Verdict
	for _, address := range server.Addresses {
		question.Pod = s.pods[address]
		question.Request = sent(asked.request, cmp.Or(name, address.String()))
		verdict, err := s.verdicts.Decide(question)
		if err != nil {
			return nil, err
		}
		verdicts = append(verdicts, verdict)
	}
	return verdicts, nil
}

// sent is a request as it is on the wire.
func sent(request access.Request, host string) oracle.Request {
	if !request.HTTP {
		return oracle.Request{SNI: request.ServerName}
	}
	made := oracle.Request{
		HTTP: true, Method: request.Method, Path: request.Path, Host: cmp.Or(request.Host, host), Headers: maps.Clone(request.Headers), Token: tokenOf(request.Token),
	}
	if request.ForwardedFor.IsValid() {
		if made.Headers == nil {
			made.Headers = map[string]string{}
		}
		made.Headers["x-forwarded-for"] = request.ForwardedFor.String()
	}
	return made
}

// tokenOf is a token with all its claims.
func tokenOf(token access.Token) oracle.Token {
	if token.Issuer == "" {
		return oracle.Token{}
	}
	made := oracle.Token{Kind: oracle.ValidToken, Issuer: token.Issuer, Subject: token.Subject, Audiences: token.Audiences, Claims: map[string]any{}}
	if !token.Valid {
		made.Kind = oracle.InvalidToken
	}
	if token.Presenter != "" {
		made.Claims["azp"] = token.Presenter
	}
	for path, values := range token.Claims {
		list := make([]any, len(values))
		for i, value := range values {
			list[i] = value
		}
		within := made.Claims
		names := strings.Split(path, "][")
		for _, name := range names[:len(names)-1] {
			inner, is := within[name].(map[string]any)
			if !is {
				inner = map[string]any{}
				within[name] = inner
			}
			within = inner
		}
		within[names[len(names)-1]] = list
	}
	return made
}
