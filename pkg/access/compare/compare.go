package compare

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/classes"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// Stage is the mesh after a step, or during one. The states of all stages come from
// one access.Builder.
type Stage struct {
	// Step is the ID of the step; empty for the stage before the first.
	Step  string
	State *access.State
	// Callers is the state whose servers call those of State, which are others; nil
	// where State's own call each other. Who does not move is left out then: what
	// becomes of these calls follows from where the caller is. It is set at all stages
	// or at none.
	Callers *access.State
}

// callers is the state whose servers call.
func (s Stage) callers() *access.State {
	if s.Callers != nil {
		return s.Callers
	}
	return s.State
}

// Group is callers of other namespaces, whose service accounts are not known.
type Group struct {
	// Name is what messages call them; empty for all callers of a namespace.
	Name      string
	Namespace string
	// ServiceAccount is empty where it is not known.
	ServiceAccount string
	Modes          []access.Mode
}

// Options are what a comparison needs besides the stages.
type Options struct {
	// Others are the callers in namespaces that the states have no servers of.
	Others []Group
	// Unseen says how callers call that nobody has seen, by namespace: with sidecars
	// where nothing is said. Those outside the mesh prove no identity: there are none.
	Unseen map[string]access.Mode
	// Seen are identities that some of the Others without accounts are known by.
	Seen []access.Identity
	// Limit is how many requests are decided for one server at most, for each
	// caller and port; what is beyond is left out, and said to be.
	Limit int
	// BothEnds takes what is decided as at the last stage for what is expected, too:
	// only what is neither as before nor as in the end is a difference.
	BothEnds bool
	// Meant is how calls would be decided if nothing but what policies say did, in a
	// state of the same Builder: differences that lead there are told apart. Nil where
	// nothing tells.
	Meant *access.State
	// Shared are identities of waypoints that others have, or may have, as well.
	Shared []access.Identity
	// Leaving takes for meant, too, what comes to leave the waypoint that it goes
	// through. Otherwise that never is: what others have attached there is enforced by
	// nobody any more, whatever policies say that select pods.
	Leaving bool
}

// DefaultLimit bounds the requests by which policies of one server are told apart.
const DefaultLimit = 20_000

// Comparison compares stages with the first of them.
type Comparison struct {
	stages       []Stage
	options      Options
	servers      []*subject
	participants []*participant
	// waypoints are the identities of waypoints in any stage.
	waypoints  map[access.Identity]bool
	compared   int
	incomplete []string
}

// participant is who may call.
type participant struct {
	name     string
	workload v1alpha1.ObjectReference
	identity access.Identity
	// modes are by stage; one entry holds for all stages of who does not move.
	modes [][]access.Mode
	// meant are the modes in the state that tells what is meant, of workloads.
	meant []access.Mode
	// unseen is true for callers that nobody has seen.
	unseen bool
}

func (p *participant) at(stage int) []access.Mode { return p.modes[min(stage, len(p.modes)-1)] }

// subject is a workload that answers calls.
type subject struct {
	workload v1alpha1.ObjectReference
	// servers are its pods, stage by stage; keys number their fingerprints.
	servers [][]*access.Server
	keys    []int
	states  []*access.State
	targets []target
	// callers are the classes of callers that its policies can tell apart.
	callers   []*callerClass
	addresses []netip.Addr
	requests  []access.Request
	tables    map[int]*table
	// meant is what is to be made of calls; nil where nothing tells.
	meant *table
	memo  map[memoKey][]difference
}

// target is what a caller can dial to reach a workload.
type target struct {
	// service is nil for the pod's own address.
	service *v1alpha1.ObjectReference
	port    uint32
	// other is true for the port that stands for those that nobody names.
	other bool
}

// callerClass is callers that the policies of a server cannot tell apart.
type callerClass struct {
	identity access.Identity
	members  []*participant
}

// New prepares a comparison of stages with the first of them.
func New(stages []Stage, options Options) *Comparison {
	if options.Limit <= 0 {
		options.Limit = DefaultLimit
	}
	c := &Comparison{stages: stages, options: options}
	c.addWaypoints()
	c.addParticipants()
	c.addSubjects()
	return c
}

// Compared is how many calls have been decided.
func (c *Comparison) Compared() int { return c.compared }

// Incomplete says what could not be compared.
func (c *Comparison) Incomplete() []string {
	slices.Sort(c.incomplete)
	return slices.Compact(c.incomplete)
}

// unseenName is what callers are called that nobody has seen, outsideName those that
// are not in the mesh.
const (
	unseenName  = "a workload nobody has seen"
	outsideName = "somebody outside the mesh"
)

// addParticipants finds the callers: the workloads of the states, groups of other
// namespaces, and somebody outside the mesh.
func (c *Comparison) addParticipants() {
	byWorkload := map[v1alpha1.ObjectReference]*participant{}
	for i, stage := range c.stages {
		for _, server := range stage.callers().Servers {
			one, known := byWorkload[server.Workload]
			if !known {
				one = &participant{name: server.Workload.String(), workload: server.Workload, modes: make([][]access.Mode, len(c.stages))}
				byWorkload[server.Workload] = one
				c.participants = append(c.participants, one)
			}
			if !server.Identity.None() {
				one.identity = server.Identity
			}
			if !slices.Contains(one.modes[i], server.Mode) {
				one.modes[i] = append(one.modes[i], server.Mode)
			}
		}
	}
	if c.callersElsewhere() {
		c.participants = slices.DeleteFunc(c.participants, (*participant).stays)
		return
	}
	c.addMeantModes(byWorkload)
	for _, group := range c.options.Others {
		// Each pod of theirs stays in its mode: what becomes of calls in one says
		// nothing of those in another.
		for _, mode := range group.Modes {
			c.participants = append(c.participants, &participant{
				name: cmp.Or(group.Name, "Namespace "+group.Namespace), identity: access.Identity{Namespace: group.Namespace, ServiceAccount: group.ServiceAccount}, modes: [][]access.Mode{{mode}},
			})
		}
	}
}

// callersElsewhere says whether only those are looked at who call from elsewhere.
func (c *Comparison) callersElsewhere() bool { return c.stages[0].Callers != nil }

// stays says whether a participant calls in the same modes at all stages.
func (p *participant) stays() bool {
	return !slices.ContainsFunc(p.modes, func(modes []access.Mode) bool { return !slices.Equal(modes, p.modes[0]) })
}

// addSubjects finds the workloads that answer, with what their policies tell apart.
func (c *Comparison) addSubjects() {
	byWorkload := map[v1alpha1.ObjectReference]*subject{}
	for i, stage := range c.stages {
		for _, server := range stage.State.Servers {
			one, known := byWorkload[server.Workload]
			if !known {
				one = &subject{
					workload: server.Workload, servers: make([][]*access.Server, len(c.stages)), keys: make([]int, len(c.stages)),
					tables: map[int]*table{}, memo: map[memoKey][]difference{},
				}
				byWorkload[server.Workload] = one
				c.servers = append(c.servers, one)
			}
			one.servers[i] = append(one.servers[i], server)
		}
	}
	c.addMeantServers(byWorkload)
	for _, one := range c.servers {
		one.states = make([]*access.State, len(c.stages))
		numbers := map[string]int{}
		for i := range c.stages {
			one.states[i] = c.stages[i].State
			if i > 0 && one.states[i] == one.states[i-1] {
				one.keys[i] = one.keys[i-1]
				continue
			}
			fingerprint := fingerprints(one.servers[i])
			if _, met := numbers[fingerprint]; !met {
				numbers[fingerprint] = len(numbers)
			}
			one.keys[i] = numbers[fingerprint]
		}
		c.describe(one)
	}
	slices.SortFunc(c.servers, func(a, b *subject) int { return cmp.Compare(a.workload.String(), b.workload.String()) })
}

func fingerprints(servers []*access.Server) string {
	var keys []string
	for _, server := range servers {
		keys = append(keys, server.Fingerprint())
	}
	slices.Sort(keys)
	return strings.Join(keys, "\n")
}

// describe finds what calls to a workload can be told apart by, in any stage.
func (c *Comparison) describe(one *subject) {
	var atoms classes.Atoms
	met := map[any]bool{}
	if one.meant != nil {
		for _, server := range one.meant.servers {
			addPolicies(server, &atoms, met)
		}
	}
	seen := map[int]bool{}
	for i, servers := range one.servers {
		for _, server := range servers {
			for _, reason := range server.Unknown() {
				c.incomplete = append(c.incomplete, fmt.Sprintf("%s: %s", one.workload, reason))
			}
		}
		if seen[one.keys[i]] {
			continue
		}
		seen[one.keys[i]] = true
		for _, server := range servers {
			addPolicies(server, &atoms, met)
			one.addTargets(server, &atoms)
		}
	}
	one.addTarget(target{port: one.otherPort(), other: true})
	var total int
	var complete bool
	one.requests, total, complete = atoms.Requests(c.options.Limit)
	if !complete {
		c.incomplete = append(c.incomplete, fmt.Sprintf("%s: its policies tell %d kinds of requests apart, of which %d were compared", one.workload, total, len(one.requests)))
	}
	for _, reason := range atoms.Approximate() {
		c.incomplete = append(c.incomplete, fmt.Sprintf("%s: %s", one.workload, reason))
	}
	one.addresses = atoms.Addresses()
	if len(one.addresses) == 0 {
		one.addresses = []netip.Addr{{}}
	}
	one.callers = c.callerClasses(&atoms)
}

// addPolicies adds what the policies tell apart that decide calls to a server.
func addPolicies(server *access.Server, atoms *classes.Atoms, met map[any]bool) {
	for _, policy := range server.Policies() {
		if !met[policy] {
			met[policy] = true
			atoms.AddPolicy(&policy.Spec, policy.Namespace)
		}
	}
	for _, authentication := range server.Authentications() {
		atoms.AddAuthentication(authentication)
	}
}

// addTargets are the ports of the Services in front of a server, and its own.
func (s *subject) addTargets(server *access.Server, atoms *classes.Atoms) {
	for _, service := range server.Services() {
		atoms.AddHost(service.Name())
		for _, port := range service.Ports {
			if port.Protocol != access.ProtocolUDP {
				s.addTarget(target{service: &service.Reference, port: port.Port})
			}
		}
	}
	// Containers need not declare the ports that they listen on.
	for _, port := range slices.Concat(server.Ports, server.PolicyPorts()) {
		s.addTarget(target{port: port})
	}
}

// lastPort is what stands for all ports that nothing names, unless it is named
// itself.
const lastPort = 65535

// otherPort is a port of the pods that nobody names: proxies accept calls there,
// too, and policies tell it from others.
func (s *subject) otherPort() uint32 {
	port := uint32(lastPort)
	for slices.ContainsFunc(s.targets, func(of target) bool { return of.service == nil && of.port == port }) {
		port--
	}
	return port
}

func (s *subject) addTarget(one target) {
	same := func(other target) bool {
		return one.port == other.port && (one.service == nil) == (other.service == nil) && (one.service == nil || *one.service == *other.service)
	}
	if !slices.ContainsFunc(s.targets, same) {
		s.targets = append(s.targets, one)
	}
}

// callerClasses sorts the participants into classes that the policies can tell
// apart. Of each class that identities nobody has been seen with are in, there is a
// caller that nobody has seen: with a sidecar, as those are who pass by waypoints,
// unless the namespace says otherwise. Callers of a namespace whose accounts are not
// known may have any: they stand for those that nobody has seen and that call as they
// do. A gateway does not stand for a sidecar, which may pass by where it does not.
func (c *Comparison) callerClasses(atoms *classes.Atoms) []*callerClass {
	domains := []string{c.stages[0].State.TrustDomain}
	byClass := map[string]*callerClass{}
	var all []*callerClass
	put := func(identity access.Identity, member *participant) {
		key := atoms.CallerClass(identity, netip.Addr{})
		class, known := byClass[key]
		if !known {
			class = &callerClass{identity: identity}
			byClass[key] = class
			all = append(all, class)
		}
		if !slices.Contains(class.members, member) {
			class.members = append(class.members, member)
		}
	}
	for _, member := range c.participants {
		if member.identity.None() {
			put(access.Identity{}, member)
			continue
		}
		for _, identity := range atoms.Possible(member.identity, domains) {
			if member.workload.Name != "" || !c.isWaypoint(identity) {
				put(identity, member)
			}
		}
	}
	if c.callersElsewhere() {
		return all
	}
	modeIn := func(namespace string) string { return string(c.unseenMode(namespace)) }
	for _, witness := range atoms.IdentitiesApart(domains, modeIn) {
		mode := c.unseenMode(witness.Namespace)
		if identity, is := c.unseen(atoms, witness); is && mode != access.ModeOutside {
			put(identity, &participant{name: unseenName, identity: identity, modes: [][]access.Mode{{mode}}, unseen: true})
		}
	}
	put(access.Identity{}, &participant{name: outsideName, modes: [][]access.Mode{{access.ModeOutside}}})
	return all
}

// unseenMode is how callers of a namespace call that nobody has seen: outside the mesh,
// which is as nobody, where others of the namespace that call so stand for them.
func (c *Comparison) unseenMode(namespace string) access.Mode {
	mode := cmp.Or(c.options.Unseen[namespace], access.ModeSidecar)
	if slices.ContainsFunc(c.options.Others, func(group Group) bool {
		return group.Namespace == namespace && group.ServiceAccount == "" && slices.Contains(group.Modes, mode)
	}) {
		return access.ModeOutside
	}
	return mode
}

// unseen is an identity that nobody has been seen with, of the class of one: itself, or
// that of another account which policies cannot tell from it.
func (c *Comparison) unseen(atoms *classes.Atoms, witness access.Identity) (access.Identity, bool) {
	class := atoms.CallerClass(witness, netip.Addr{})
	for _, account := range []string{witness.ServiceAccount, "unseen", witness.ServiceAccount + "-unseen", "unseen-" + witness.ServiceAccount} {
		identity := witness
		identity.ServiceAccount = account
		if atoms.CallerClass(identity, netip.Addr{}) == class && !c.isSeen(identity) && !c.isWaypoint(identity) {
			return identity, true
		}
	}
	return access.Identity{}, false
}

func (c *Comparison) isSeen(identity access.Identity) bool {
	return slices.Contains(c.options.Seen, identity) || slices.ContainsFunc(c.participants, func(one *participant) bool { return one.identity == identity })
}

// isWaypoint says whether an identity is that of a waypoint alone: nobody else calls
// with it, and what the waypoint passes on is decided with the call.
func (c *Comparison) isWaypoint(identity access.Identity) bool {
	return c.waypoints[identity] && !slices.Contains(c.options.Shared, identity)
}

func (c *Comparison) addWaypoints() {
	c.waypoints = map[access.Identity]bool{}
	for _, stage := range c.stages {
		for _, service := range stage.State.Services {
			if service.Waypoint != nil {
				c.waypoints[service.Waypoint.Identity] = true
			}
		}
		for _, server := range stage.State.Servers {
			if server.UseWaypoint != nil {
				c.waypoints[server.UseWaypoint.Identity] = true
			}
		}
	}
}

// service finds a target's Service in a state.
func (s *subject) service(server *access.Server, of target) *access.Service {
	for _, service := range server.Services() {
		if service.Reference == *of.service {
			return service
		}
	}
	return nil
}
