package translate

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// alternative is one way that a request may be routed: what it has to be like, and
// what becomes of it. Two routes whose alternatives are the same, in the order in
// which they are tried, do the same.
type alternative struct {
	// field is where it was written.
	field string
	// path is a match in one form for both APIs, and method and headers are; empty ones
	// match everything.
	path, method string
	headers      []string
	timeout      time.Duration
	// to are the destinations with their shares of the requests.
	to []string
}

// says is what it comes to, wherever it was written.
func (a alternative) says() string {
	return fmt.Sprintf("%q %q %q %s %q", a.path, a.method, a.headers, a.timeout, a.to)
}

// takesAll says whether nothing behind it is ever tried.
func (a alternative) takesAll() bool { return a.path == "" && a.method == "" && len(a.headers) == 0 }

// reached are the alternatives that any request can come to.
func reached(all []alternative) []alternative {
	if i := slices.IndexFunc(all, alternative.takesAll); i >= 0 {
		return all[:i+1]
	}
	return all
}

// unlikeError is a field that has no counterpart in the other API which could be
// compared.
type unlikeError struct{ field, why string }

func (e *unlikeError) Error() string { return e.field + " " + e.why }

func unlike(field string) error {
	return &unlikeError{field, "has no counterpart that could be compared"}
}

// setBesides names the first field of a message, by name, that is set and not among
// those known.
func setBesides(message protoreflect.ProtoMessage, known ...string) string {
	var others []string
	message.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if name := field.JSONName(); !slices.Contains(known, name) {
			others = append(others, name)
		}
		return true
	})
	if len(others) == 0 {
		return ""
	}
	return slices.Min(others)
}

// targets makes a destination one form for both APIs.
type targets[T any] func(field string, destination T) (string, error)

// ofVirtualService are the alternatives of its HTTP routes, in order.
func ofVirtualService(spec *networkingv1alpha3.VirtualService, target targets[*networkingv1alpha3.Destination]) ([]alternative, error) {
	var all []alternative
	for i, http := range spec.GetHttp() {
		field := fmt.Sprintf("spec.http[%d]", i)
		if other := setBesides(http, "name", "match", "route", "timeout"); other != "" {
			return nil, unlike(field + "." + other)
		}
		shared := alternative{field: field, timeout: http.GetTimeout().AsDuration()}
		parts := make([]part, 0, len(http.GetRoute()))
		for j, route := range http.GetRoute() {
			at := fmt.Sprintf("%s.route[%d]", field, j)
			if other := setBesides(route, "destination", "weight"); other != "" {
				return nil, unlike(at + "." + other)
			}
			to, err := target(at+".destination", route.GetDestination())
			if err != nil {
				return nil, err
			}
			weight := int64(route.GetWeight())
			if len(http.GetRoute()) == 1 {
				// One that is alone takes everything, whatever its weight.
				weight = 1
			}
			parts = append(parts, part{to, weight})
		}
		if shared.to = shares(parts); len(shared.to) == 0 {
			return nil, unlike(field + ".route")
		}
		if len(http.GetMatch()) == 0 {
			all = append(all, shared)
		}
		for j, match := range http.GetMatch() {
			one := shared
			one.field = fmt.Sprintf("%s.match[%d]", field, j)
			if err := one.match(match); err != nil {
				return nil, err
			}
			all = append(all, one)
		}
	}
	return all, nil
}

// match takes in what a VirtualService wants of a request. A prefix there is one of
// the text, and not of the path's elements as in Gateway API.
func (a *alternative) match(match *networkingv1alpha3.HTTPMatchRequest) error {
	if other := setBesides(match, "name", "uri", "method", "headers"); other != "" {
		return unlike(a.field + "." + other)
	}
	if uri := match.GetUri(); uri != nil {
		switch {
		case uri.GetPrefix() == "/":
			// Every path begins with it.
		case uri.GetPrefix() != "":
			a.path = "regex " + regexp.QuoteMeta(uri.GetPrefix()) + ".*"
		case uri.GetExact() != "":
			a.path = "exact " + uri.GetExact()
		case uri.GetRegex() != "":
			a.path = "regex " + uri.GetRegex()
		default:
			return unlike(a.field + ".uri")
		}
	}
	if method := match.GetMethod(); method != nil {
		if a.method = method.GetExact(); a.method == "" {
			return unlike(a.field + ".method")
		}
	}
	for name, value := range match.GetHeaders() {
		text := strings.ToLower(name)
		switch {
		case value.GetExact() != "":
			text += " exact " + value.GetExact()
		case value.GetRegex() != "":
			text += " regex " + value.GetRegex()
		case value.GetPrefix() != "":
			text += " regex " + regexp.QuoteMeta(value.GetPrefix()) + ".*"
		default:
			return unlike(a.field + ".headers[" + name + "]")
		}
		a.headers = append(a.headers, text)
	}
	slices.Sort(a.headers)
	return nil
}

// ofRoute are the alternatives of an HTTPRoute, in the order in which istiod has them
// tried (istio pilot/pkg/config/kube/gateway/conversion.go, sortHTTPRoutes).
func ofRoute(spec gatewayv1.HTTPRouteSpec, target targets[gatewayv1.BackendRef]) ([]alternative, error) {
	if len(spec.Hostnames) > 0 {
		return nil, unlike("spec.hostnames")
	}
	var all []ranked
	for i, rule := range spec.Rules {
		field := fmt.Sprintf("spec.rules[%d]", i)
		shared := alternative{field: field}
		switch {
		case len(rule.Filters) > 0:
			return nil, unlike(field + ".filters")
		case rule.Retry != nil:
			return nil, unlike(field + ".retry")
		case rule.SessionPersistence != nil:
			return nil, unlike(field + ".sessionPersistence")
		case rule.Timeouts != nil && rule.Timeouts.BackendRequest != nil:
			return nil, unlike(field + ".timeouts.backendRequest")
		case rule.Timeouts != nil && rule.Timeouts.Request != nil:
			var err error
			if shared.timeout, err = time.ParseDuration(string(*rule.Timeouts.Request)); err != nil {
				return nil, unlike(field + ".timeouts.request")
			}
		}
		parts := make([]part, 0, len(rule.BackendRefs))
		for j, backend := range rule.BackendRefs {
			at := fmt.Sprintf("%s.backendRefs[%d]", field, j)
			if len(backend.Filters) > 0 {
				return nil, unlike(at + ".filters")
			}
			to, err := target(at, backend.BackendRef)
			if err != nil {
				return nil, err
			}
			weight := int64(1)
			if backend.Weight != nil {
				weight = int64(*backend.Weight)
			}
			parts = append(parts, part{to, weight})
		}
		if shared.to = shares(parts); len(shared.to) == 0 {
			return nil, unlike(field + ".backendRefs")
		}
		if len(rule.Matches) == 0 {
			all = append(all, ranked{alternative: shared, rank: rankPrefix, length: 1})
		}
		for j, match := range rule.Matches {
			one := ranked{alternative: shared}
			one.field = fmt.Sprintf("%s.matches[%d]", field, j)
			if err := one.match(match); err != nil {
				return nil, err
			}
			all = append(all, one)
		}
	}
	slices.SortStableFunc(all, ranked.compare)
	sorted := make([]alternative, 0, len(all))
	for _, one := range all {
		sorted = append(sorted, one.alternative)
	}
	return sorted, nil
}

// ranked is an alternative of an HTTPRoute with what decides when it is tried.
type ranked struct {
	alternative
	rank, length int
}

const (
	rankRegex = iota + 1
	rankPrefix
	rankExact
)

func (r ranked) compare(other ranked) int {
	with := func(method string) int { return len(method[:min(1, len(method))]) }
	return cmp.Or(
		cmp.Compare(other.rank, r.rank), cmp.Compare(other.length, r.length),
		cmp.Compare(with(other.method), with(r.method)), cmp.Compare(len(other.headers), len(r.headers)),
	)
}

// match takes in what an HTTPRoute wants of a request. A match without a path is one
// of every path, which the API server writes as the prefix /.
func (r *ranked) match(match gatewayv1.HTTPRouteMatch) error {
	if len(match.QueryParams) > 0 {
		return unlike(r.field + ".queryParams")
	}
	kind, value := gatewayv1.PathMatchPathPrefix, "/"
	if match.Path != nil && match.Path.Type != nil {
		kind = *match.Path.Type
	}
	if match.Path != nil && match.Path.Value != nil {
		value = *match.Path.Value
	}
	r.length = len(value)
	switch {
	case kind == gatewayv1.PathMatchPathPrefix && value == "/":
		r.rank = rankPrefix
	case kind == gatewayv1.PathMatchExact:
		r.rank, r.path = rankExact, "exact "+value
	case kind == gatewayv1.PathMatchRegularExpression:
		r.rank, r.path = rankRegex, "regex "+value
	default:
		return unlike(r.field + ".path")
	}
	if match.Method != nil {
		r.method = string(*match.Method)
	}
	for i, header := range match.Headers {
		how := "exact"
		switch {
		case header.Type == nil || *header.Type == gatewayv1.HeaderMatchExact:
		case *header.Type == gatewayv1.HeaderMatchRegularExpression:
			how = "regex"
		default:
			return unlike(fmt.Sprintf("%s.headers[%d].type", r.field, i))
		}
		r.headers = append(r.headers, strings.ToLower(string(header.Name))+" "+how+" "+header.Value)
	}
	slices.Sort(r.headers)
	return nil
}

// part is a destination and its weight among others.
type part struct {
	to     string
	weight int64
}

// shares are destinations with their part of the whole, in lowest terms; none where
// nothing is sent anywhere.
func shares(parts []part) []string {
	whole, weights := int64(0), map[string]int64{}
	for _, one := range parts {
		if one.weight > 0 {
			whole += one.weight
			weights[one.to] += one.weight
		}
	}
	texts := make([]string, 0, len(weights))
	for to, weight := range weights {
		common := divisor(weight, whole)
		texts = append(texts, fmt.Sprintf("%s %d/%d", to, weight/common, whole/common))
	}
	slices.Sort(texts)
	return texts
}

func divisor(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
