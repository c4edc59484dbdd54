package classes

import (
	"iter"
	"maps"
	"math"
	"net/netip"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
)

// witnesses are the values of each attribute, the default first.
type witnesses struct {
	methods, paths, hosts, serverNames []string
	headers                            []headerWitnesses
	forwardedFor                       []netip.Addr
	tokens                             tokenWitnesses

	namespaces, serviceAccounts, trustDomains []string
	// missed are the attributes of which a class may have been missed.
	missed []string
}

type headerWitnesses struct {
	name   string
	values []string
}

// witnesses finds them, once.
func (a *Atoms) witnesses() *witnesses {
	if a.found != nil {
		return a.found
	}
	found := &witnesses{methods: []string{"GET"}, paths: []string{"/"}, hosts: []string{""}}
	a.found = found
	missed := func(attribute string, complete bool) {
		if !complete {
			found.missed = append(found.missed, attribute)
		}
	}
	var complete bool
	if len(a.methods) > 0 {
		found.methods, complete = methodSpace.witnesses(a.methods)
		missed("methods", complete)
	}
	if len(a.paths) > 0 {
		found.paths, complete = pathWitnesses(a.paths)
		missed("paths", complete)
	}
	if len(a.hosts) > 0 {
		space := hostSpace
		space.common = slices.Concat(a.knownHosts, space.common)
		found.hosts, complete = space.witnesses(a.hosts)
		missed("hosts", complete)
	}
	names, complete := serverNameSpace.witnesses(a.serverNames)
	missed("connection.sni", complete)
	found.serverNames = optional(names, a.serverNames)
	for _, name := range slices.Sorted(maps.Keys(a.headers)) {
		values, complete := headerSpace.witnesses(a.headers[name])
		missed("request.headers["+name+"]", complete)
		found.headers = append(found.headers, headerWitnesses{name, optional(values, a.headers[name])})
	}
	found.forwardedFor = []netip.Addr{{}}
	if len(a.remotes) > 0 {
		found.forwardedFor = append(found.forwardedFor, addressWitnesses(a.remotes)...)
	}
	found.tokens = a.tokens.witnesses(missed)
	a.identities.witnesses(found, missed)
	return found
}

// Approximate says why the witnesses may not stand for all calls: of which
// attributes calls can differ in ways that they do not show. It is empty where
// they do.
func (a *Atoms) Approximate() []string {
	reasons := slices.Collect(maps.Keys(a.reasons))
	for _, attribute := range a.witnesses().missed {
		reasons = append(reasons, attribute+": its patterns make more combinations than were searched")
	}
	for _, namespace := range a.identities.inexact {
		reasons = append(reasons, "namespaces: "+namespace+" has a star in its middle, which sidecars and waypoints heed and ztunnel does not")
	}
	for name := range a.headers {
		if a.tokenHeaders[name] {
			reasons = append(reasons, "request.headers["+name+"]: RequestAuthentications read or write it")
		}
	}
	if a.tokens.anyIssuer {
		reasons = append(reasons, "RequestAuthentication: a rule without issuer accepts tokens without one, too")
	}
	slices.Sort(reasons)
	return slices.Compact(reasons)
}

// Addresses are source addresses of which one stands for each combination of
// blocks, those of source.ip and those of remote.ip, since without a proxy in
// front both are the caller's own. The first is in no block unless there is no
// such address.
func (a *Atoms) Addresses() []netip.Addr {
	return addressWitnesses(slices.Concat(a.sources, a.remotes))
}

// CallerClass is the same for callers that the policies cannot tell apart by who
// they are and where they call from. That they have an identity is told apart
// always.
func (a *Atoms) CallerClass(identity access.Identity, address netip.Addr) string {
	class := "none"
	if !identity.None() {
		class = a.identities.signature(identity)
	}
	return class + "/" + blockSignature(slices.Concat(a.sources, a.remotes), address)
}

// Requests are of which one stands for each class that the policies can tell
// apart. The most ordinary comes first, then a connection that carries no HTTP,
// one for each server name that policies tell apart, then requests in the order of
// how many attributes they differ in from the first. Total is the number of
// classes, at most math.MaxInt. Where it is more than the limit, complete is false
// and the requests are the first ones: as far as the limit allows they have every
// witness of every attribute with the others at their default.
//
// Attributes that no policy looks at are at their default; the host is then empty
// and stands for whatever the caller dialled.
func (a *Atoms) Requests(limit int) (requests []access.Request, total int, complete bool) {
	found := a.witnesses()
	tokens, tokenTotal := found.tokens.tokens(limit)
	sizes := []int{len(found.methods), len(found.paths), len(found.hosts), len(found.forwardedFor), len(found.serverNames)}
	for _, header := range found.headers {
		sizes = append(sizes, len(header.values))
	}
	total = saturatingAdd(saturatingMultiply(product(sizes), tokenTotal), len(found.serverNames))
	sizes = append(sizes, len(tokens))
	requests = make([]access.Request, 0, max(0, min(limit, total)))
	for indices := range departures(sizes) {
		if len(requests) >= limit {
			break
		}
		requests = append(requests, found.request(indices, tokens))
		if len(requests) == 1 {
			for _, name := range found.serverNames[:min(len(found.serverNames), limit-1)] {
				requests = append(requests, access.Request{ServerName: name})
			}
		}
	}
	return requests, total, total <= limit
}

// request is the one with those witnesses, in the order of Requests.
func (w *witnesses) request(indices []int, tokens []access.Token) access.Request {
	request := access.Request{
		HTTP:         true,
		Method:       w.methods[indices[0]],
		Path:         w.paths[indices[1]],
		Host:         w.hosts[indices[2]],
		ForwardedFor: w.forwardedFor[indices[3]],
		ServerName:   w.serverNames[indices[4]],
		Token:        tokens[indices[len(indices)-1]],
	}
	for i, header := range w.headers {
		if value := header.values[indices[5+i]]; value != "" {
			if request.Headers == nil {
				request.Headers = map[string]string{}
			}
			request.Headers[header.name] = value
		}
	}
	return request
}

// departures yields all ways to choose one of each, as indices that are only good
// until the next: first the first of each, then those that depart from that in
// one place, in two, and so on.
func departures(sizes []int) iter.Seq[[]int] {
	return func(yield func([]int) bool) {
		indices := make([]int, len(sizes))
		var depart func(from, places int) bool
		depart = func(from, places int) bool {
			if places == 0 {
				return yield(indices)
			}
			for place := from; place <= len(sizes)-places; place++ {
				for index := 1; index < sizes[place]; index++ {
					indices[place] = index
					if !depart(place+1, places-1) {
						return false
					}
				}
				indices[place] = 0
			}
			return true
		}
		for places := 0; places <= len(sizes); places++ {
			if !depart(0, places) {
				return
			}
		}
	}
}

// product is how many ways there are, at most math.MaxInt.
func product(sizes []int) int {
	ways := 1
	for _, size := range sizes {
		ways = saturatingMultiply(ways, size)
	}
	return ways
}

func saturatingMultiply(a, b int) int {
	if a != 0 && b > math.MaxInt/a {
		return math.MaxInt
	}
	return a * b
}

func saturatingAdd(a, b int) int {
	if b > math.MaxInt-a {
		return math.MaxInt
	}
	return a + b
}
