package classes

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// everything is a space in which all values are possible and natural.
var everything = valueSpace{possible: nonEmpty, natural: nonEmpty}

// words yields all strings over the alphabet of at least one and at most length
// characters.
func words(alphabet string, length int) func(func(string) bool) {
	return func(yield func(string) bool) {
		longest := []string{""}
		for range length {
			var longer []string
			for _, word := range longest {
				for _, char := range alphabet {
					longer = append(longer, word+string(char))
					if !yield(word + string(char)) {
						return
					}
				}
			}
			longest = longer
		}
	}
}

// requireWitnesses fails unless the witnesses have one value for each signature
// that a value has.
func requireWitnesses[T any](t *testing.T, witnesses []T, values func(func(T) bool), signature func(T) string) {
	t.Helper()
	witnessed := map[string]T{}
	for _, witness := range witnesses {
		if other, twice := witnessed[signature(witness)]; twice {
			t.Errorf("two witnesses of one class: %v and %v", other, witness)
		}
		witnessed[signature(witness)] = witness
	}
	for value := range values {
		if _, ok := witnessed[signature(value)]; !ok {
			t.Errorf("no witness stands for %v among %v", value, witnesses)
			return
		}
	}
}

func TestParsePattern(t *testing.T) {
	for _, test := range []struct {
		pattern         string
		matches, misses []string
	}{
		{"*", []string{"a", "*"}, []string{""}},
		{"a*", []string{"a", "ab", "a*"}, []string{"", "ba", "A"}},
		{"*a", []string{"a", "ba"}, []string{"", "ab"}},
		{"a", []string{"a"}, []string{"", "aa", "A", "a*"}},
		{"a*b", []string{"a*b"}, []string{"ab", "acb"}},
		{"**", []string{"*", "a*"}, []string{"", "a"}},
	} {
		for _, value := range test.matches {
			if !parsePattern(test.pattern).matches(value) {
				t.Errorf("%q does not match %q", test.pattern, value)
			}
		}
		for _, value := range test.misses {
			if parsePattern(test.pattern).matches(value) {
				t.Errorf("%q matches %q", test.pattern, value)
			}
		}
	}
}

func TestConditionsAreKeptOnce(t *testing.T) {
	var c conditions
	c.add([]string{"b", "a"}, parsePattern)
	c.add([]string{"a", "b", "a"}, parsePattern)
	c.add(nil, parsePattern)
	c.add([]string{"a"}, parsePattern)
	if len(c) != 2 {
		t.Errorf("%v, want the list of two and the list of one", c)
	}
}

// randomConditions are up to four lists of up to three patterns.
func randomConditions(random *rand.Rand, constant func() string) conditions {
	var c conditions
	for range 1 + random.IntN(4) {
		var values []string
		for range 1 + random.IntN(3) {
			value := constant()
			switch random.IntN(8) {
			case 0:
				value = "*"
			case 1, 2:
				value += "*"
			case 3, 4:
				value = "*" + value
			}
			values = append(values, value)
		}
		c.add(values, parsePattern)
	}
	return c
}

func randomWord(random *rand.Rand, alphabet string, longest int) string {
	word := ""
	for range 1 + random.IntN(longest) {
		word += string(alphabet[random.IntN(len(alphabet))])
	}
	return word
}

func TestWitnessesOfRandomPatterns(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		c := randomConditions(random, func() string { return randomWord(random, "ab", 3) })
		values, complete := everything.witnesses(c)
		if !complete {
			t.Errorf("%v: not complete", c)
		}
		requireWitnesses(t, values, words("abx", 6), c.of)
		if t.Failed() {
			t.Fatalf("conditions %v", c)
		}
	}
}

func FuzzWitnesses(f *testing.F) {
	f.Add([]byte("a*\nab\n*b\n\n*\nba*"))
	f.Add([]byte("aa*\n*aa\naaa\n\n*a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c conditions
		var list []string
		line := ""
		for _, char := range data[:min(len(data), 40)] {
			switch {
			case char == '\n' && line == "":
				c.add(list, parsePattern)
				list = nil
			case char == '\n':
				list, line = append(list, line), ""
			case char == '*':
				line += "*"
			default:
				line += string("ab"[char%2])
			}
		}
		c.add(append(list, line), parsePattern)
		values, complete := everything.witnesses(c)
		if !complete {
			t.Fatalf("%v: not complete", c)
		}
		requireWitnesses(t, values, words("ab*x", 5), c.of)
	})
}

func TestWitnessesSayWhereCharactersDidNotDo(t *testing.T) {
	var c conditions
	for _, char := range plain {
		c.add([]string{string(char) + "*"}, parsePattern)
	}
	if _, complete := everything.witnesses(c); complete {
		t.Error("complete although all values tried have a prefix")
	}
}

func TestWitnessesAreNatural(t *testing.T) {
	for _, test := range []struct {
		name      string
		space     valueSpace
		lists     [][]string
		witnesses []string
	}{
		{"a method", methodSpace, [][]string{{"GET"}}, []string{"GET", "POST"}},
		{"methods of one list", methodSpace, [][]string{{"GET", "HEAD"}, {"POST", "PUT"}}, []string{"GET", "POST", "DELETE"}},
		{"a method of a prefix", methodSpace, [][]string{{"PROP*"}}, []string{"GET", "PROPFIND"}},
		{"any method", methodSpace, [][]string{{"*"}}, []string{"GET"}},
		{"what is no method", methodSpace, [][]string{{"GET POST"}}, []string{"GET"}},
		{"a path", pathSpace, [][]string{{"/admin"}}, []string{"/", "/admin"}},
		{"a prefix", pathSpace, [][]string{{"/api/*"}}, []string{"/", "/api/"}},
		{"the root", pathSpace, [][]string{{"/"}}, []string{"/", "/other"}},
		{"all paths", pathSpace, [][]string{{"/*"}}, []string{"/"}},
		{"a suffix", pathSpace, [][]string{{"*.php"}}, []string{"/", "/x.php"}},
		{"prefix and suffix", pathSpace, [][]string{{"/api/*"}, {"*/admin"}}, []string{"/", "/api/", "/admin", "/api/admin"}},
		{"an exact path inside a prefix", pathSpace, [][]string{{"/api/*"}, {"/api/"}}, []string{"/", "/api/", "/api/x"}},
		{"what is no path", pathSpace, [][]string{{"admin*"}, {"a b"}, {"/a?b=c"}}, []string{"/"}},
		{"a host", hostSpace, [][]string{{"shop.example.com"}}, []string{"www.example.org", "shop.example.com"}},
		{"a domain", hostSpace, [][]string{{"*.example.com"}}, []string{"www.example.org", "www.example.com"}},
		{"a host with a port", hostSpace, [][]string{{"shop.example.com:*"}}, []string{"www.example.org", "shop.example.com:443"}},
		{"a port", hostSpace, [][]string{{"*:8080"}}, []string{"www.example.org", "www:8080"}},
		{"a scheme of a header", headerSpace, [][]string{{"Bearer *"}}, []string{"other", "Bearer 1"}},
		{"a namespace", namespaceSpace, [][]string{{"team-*"}, {"*-prod"}, {"Team"}}, []string{"other", "team-other", "other-prod", "team-prod"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var c conditions
			for _, list := range test.lists {
				c.add(list, parsePattern)
			}
			values, complete := test.space.witnesses(c)
			if !complete {
				t.Error("not complete")
			}
			if difference := cmp.Diff(test.witnesses, values); difference != "" {
				t.Errorf("witnesses (-want +got):\n%s", difference)
			}
			if slices.ContainsFunc(values, func(value string) bool { return !test.space.possible(value) }) {
				t.Errorf("impossible witness among %q", values)
			}
		})
	}
}
