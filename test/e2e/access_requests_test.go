package e2e

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	securityv1beta1 "istio.io/api/security/v1beta1"
)

// constants are what the policies of a server compare calls with, as they write it. They
// are read here once more, not taken from the witnesses: which kinds of calls there are
// is what the inventions put to the test.
type constants struct {
	methods, paths, hosts []string
	// headers are by lower-case name.
	headers map[string][]string
	blocks  []netip.Prefix
}

func constantsOf(server *access.Server) constants {
	found := constants{headers: map[string][]string{}}
	for _, policy := range server.Policies() {
		for _, rule := range policy.Spec.GetRules() {
			found.addRule(rule)
		}
	}
	return found
}

func (c *constants) addRule(rule *securityv1beta1.Rule) {
	for _, to := range rule.GetTo() {
		operation := to.GetOperation()
		c.methods = slices.Concat(c.methods, operation.GetMethods(), operation.GetNotMethods())
		c.paths = slices.Concat(c.paths, operation.GetPaths(), operation.GetNotPaths())
		c.hosts = slices.Concat(c.hosts, operation.GetHosts(), operation.GetNotHosts())
	}
	for _, from := range rule.GetFrom() {
		source := from.GetSource()
		c.addBlocks(slices.Concat(source.GetIpBlocks(), source.GetNotIpBlocks(), source.GetRemoteIpBlocks(), source.GetNotRemoteIpBlocks()))
	}
	for _, when := range rule.GetWhen() {
		values := slices.Concat(when.GetValues(), when.GetNotValues())
		switch key := when.GetKey(); {
		case key == "source.ip" || key == "remote.ip":
			c.addBlocks(values)
		case strings.HasPrefix(key, "request.headers["):
			name := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(key, "request.headers["), "]"))
			c.headers[name] = append(c.headers[name], values...)
		}
	}
}

func (c *constants) addBlocks(texts []string) {
	for _, text := range texts {
		if block, err := netip.ParsePrefix(text); err == nil {
			c.blocks = append(c.blocks, block)
		} else if address, err := netip.ParseAddr(text); err == nil {
			c.blocks = append(c.blocks, netip.PrefixFrom(address, address.BitLen()))
		}
	}
}

// invent changes a call that is a witness of its kind into one that need not be: at one
// attribute, or some, it has a constant of the policies, or what it had, but for a
// letter, a slash, or what is in front of it or behind.
//
// Paths have no empty elements, no dots and nothing escaped: proxies make others of
// such before policies see them, which is not the model's to know. The host stays
// empty where no policy asks for it: that stands for what is dialled.
func (c *constants) invent(dice *rand.Rand, drawn call) call {
	if !drawn.request.HTTP {
		return drawn
	}
	drawn.invented = true
	request := &drawn.request
	request.Headers, request.Token.Claims = maps.Clone(request.Headers), maps.Clone(request.Token.Claims)
	for range 1 + dice.IntN(3) {
		switch dice.IntN(6) {
		case 0:
			methods := append([]string{request.Method, "GET", "HEAD", "OPTIONS", "PUT", "PATCH", "PURGE", "x"}, c.methods...)
			request.Method = orElse(altered(dice, filled(oneOf(dice, methods))), request.Method)
		case 1:
			request.Path = alteredPath(dice, oneOf(dice, append([]string{request.Path, "/", "/else/where"}, c.paths...)))
		case 2:
			if request.Host != "" {
				request.Host = orElse(alteredHost(dice, filled(oneOf(dice, append([]string{request.Host}, c.hosts...)))), request.Host)
			}
		case 3:
			c.inventHeader(dice, request)
		case 4:
			c.inventAddress(dice, &drawn)
		case 5:
			inventClaims(dice, &request.Token)
		}
	}
	return drawn
}

func (c *constants) inventHeader(dice *rand.Rand, request *access.Request) {
	if len(c.headers) == 0 {
		return
	}
	name := oneOf(dice, slices.Sorted(maps.Keys(c.headers)))
	if request.Headers == nil {
		request.Headers = map[string]string{}
	}
	if dice.IntN(6) == 0 {
		delete(request.Headers, name)
		return
	}
	// It may well be empty: that is not the same as not being there.
	request.Headers[name] = altered(dice, filled(oneOf(dice, append([]string{request.Headers[name], ""}, c.headers[name]...))))
}

// inventAddress has the call come from an end of a block, or from just beyond it.
func (c *constants) inventAddress(dice *rand.Rand, drawn *call) {
	if len(c.blocks) == 0 {
		return
	}
	block := oneOf(dice, c.blocks).Masked()
	first, last := block.Addr(), lastOf(block)
	address := oneOf(dice, []netip.Addr{first, first.Prev(), last, last.Next()})
	if !address.IsValid() {
		return
	}
	if drawn.request.ForwardedFor.IsValid() && dice.IntN(2) == 0 {
		drawn.request.ForwardedFor = address
		return
	}
	drawn.address = address
}

func lastOf(block netip.Prefix) netip.Addr {
	bytes := block.Addr().AsSlice()
	for bit := block.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last
}

// inventClaims changes what a token says, but for who has issued it and for whom.
func inventClaims(dice *rand.Rand, token *access.Token) {
	if token.Subject != "" && dice.IntN(2) == 0 {
		token.Subject = orElse(altered(dice, token.Subject), token.Subject)
	}
	for _, name := range slices.Sorted(maps.Keys(token.Claims)) {
		values := slices.Clone(token.Claims[name])
		for i := range values {
			values[i] = orElse(altered(dice, values[i]), values[i])
		}
		token.Claims[name] = values
	}
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// filled is a value that a pattern matches.
func filled(pattern string) string {
	return strings.NewReplacer("{**}", "a/b", "{*}", "7", "*", "7").Replace(pattern)
}

// altered is a text with a letter of other case, with one more in front or behind, with
// one less, or as it is.
func altered(dice *rand.Rand, text string) string {
	switch at := dice.IntN(6); {
	case at == 0:
		return text + "x"
	case at == 1:
		return "x" + text
	case text == "" || at == 2:
		return text
	case at == 3:
		return text[1:]
	case at == 4:
		return text[:len(text)-1]
	default:
		return otherCase(dice, text)
	}
}

func otherCase(dice *rand.Rand, text string) string {
	at := dice.IntN(len(text))
	letter := text[at : at+1]
	if upper := strings.ToUpper(letter); upper != letter {
		return text[:at] + upper + text[at+1:]
	}
	return text[:at] + strings.ToLower(letter) + text[at+1:]
}

// alteredHost is a host that is altered, or that names a port.
func alteredHost(dice *rand.Rand, host string) string {
	if name, _, named := strings.Cut(host, ":"); named {
		return name
	}
	if dice.IntN(4) == 0 {
		return host + ":8080"
	}
	return altered(dice, host)
}

// alteredPath is a path that is altered, or has or has not a slash at its end.
func alteredPath(dice *rand.Rand, path string) string {
	path = "/" + strings.TrimPrefix(filled(path), "/")
	made := "/" + altered(dice, path[1:])
	switch dice.IntN(5) {
	case 0:
		made = path + "/"
	case 1:
		made = strings.TrimSuffix(path, "/")
	case 2:
		made = "/x" + path
	}
	if !strings.HasPrefix(made, "/") || strings.Contains(made, "//") {
		return path
	}
	return made
}

// TestInventedPaths: no path is one of which proxies make another.
func TestInventedPaths(t *testing.T) {
	t.Parallel()
	dice := rand.New(rand.NewPCG(1, 1))
	met := map[string]bool{}
	for range 2000 {
		met[alteredPath(dice, oneOf(dice, []string{"/", "*", "/items/*", "*/admin", "/items/{*}/edit", "/{**}/admin"}))] = true
	}
	for path := range met {
		if !strings.HasPrefix(path, "/") || strings.Contains(path, "//") || strings.ContainsAny(path, "*{}%.") {
			t.Errorf("path %q", path)
		}
	}
	for _, want := range []string{"/", "/7", "/items/7/", "/x/items/7/edit", "/items/7/edi", "/a/b/admin"} {
		if !met[want] {
			t.Errorf("no path %s", want)
		}
	}
}

// TestLastOf: the addresses beyond blocks are those that are asked for.
func TestLastOf(t *testing.T) {
	t.Parallel()
	for block, want := range map[string]string{
		"203.0.113.0/24": "203.0.113.255", "198.51.100.0/25": "198.51.100.127", "203.0.113.7/32": "203.0.113.7", "10.0.0.0/8": "10.255.255.255", "0.0.0.0/0": "255.255.255.255",
	} {
		if got := lastOf(netip.MustParsePrefix(block)).String(); got != want {
			t.Errorf("%s ends with %s, want %s", block, got, want)
		}
	}
}
