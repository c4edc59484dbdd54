package classes

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// templateExpression is what a path template means, as a regular expression.
func templateExpression(template string) *regexp.Regexp {
	const literal = `a-zA-Z0-9\-._~%!$&'()+,;:@`
	expression := regexp.QuoteMeta(template)
	expression = strings.ReplaceAll(expression, regexp.QuoteMeta("{**}"), "["+literal+"/]*")
	expression = strings.ReplaceAll(expression, regexp.QuoteMeta("{*}"), "["+literal+"]+")
	return regexp.MustCompile("^" + expression + "$")
}

func TestPathTemplates(t *testing.T) {
	for _, template := range []string{
		"/{*}", "/{**}", "/a/{*}", "/a/{*}/", "/a/{*}/b", "/{*}/{*}", "/{*}/b/{**}", "/a/{**}", "/a/{**}/b", "/{**}/b/b", "/{**}/b/", "/a/{*}/{**}/a/b", "/{*}/aa/{*}",
	} {
		parsed, err := parsePathTemplate(template)
		if err != nil {
			t.Errorf("%s: %v", template, err)
			continue
		}
		expression := templateExpression(template)
		if !parsed.matches(parsed.instance()) {
			t.Errorf("%s does not match %s", template, parsed.instance())
		}
		for rest := range words("ab/=", 6) {
			if path := "/" + rest; parsed.matches(path) != expression.MatchString(path) {
				t.Errorf("%s and %s: %v, want %v", template, path, parsed.matches(path), expression.MatchString(path))
			}
		}
	}
}

func TestPathTemplatesThatEnvoyRefuses(t *testing.T) {
	for _, template := range []string{"{*}/a", "a/{**}", "/a{*}", "/{**}/{*}", "/{**}/{**}", "/a//{*}", "/a=b/{*}", "/a*/{*}", "/{a}/{*}", "/é/{*}"} {
		if _, err := parsePathTemplate(template); err == nil {
			t.Errorf("%s is taken for a template", template)
		}
	}
}

// pathConditions reads lists of paths as policies write them.
func pathConditions(lists ...[]string) conditions {
	var atoms Atoms
	for _, list := range lists {
		atoms.addPaths(list)
	}
	return atoms.paths
}

func TestPathWitnessesOfRandomPatterns(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	segments := []string{"a", "b", "ab", "{*}", "{*}", "{**}"}
	plainOnes := []string{"/a", "/a/*", "/a*", "*b", "*/b", "/a/b", "/*", "/ab/*", "*/", "*", "/a=", "*="}
	for range 400 {
		var lists [][]string
		for range 1 + random.IntN(3) {
			var list []string
			for range 1 + random.IntN(2) {
				template := ""
				for range 1 + random.IntN(3) {
					template += "/" + segments[random.IntN(len(segments))]
				}
				if _, err := parsePathTemplate(template); err != nil || random.IntN(3) == 0 {
					template = plainOnes[random.IntN(len(plainOnes))]
				}
				list = append(list, template)
			}
			lists = append(lists, list)
		}
		c := pathConditions(lists...)
		paths, complete := pathWitnesses(c)
		if !complete {
			t.Errorf("%q: not complete", lists)
		}
		requireWitnesses(t, paths, func(yield func(string) bool) {
			if !yield("/") {
				return
			}
			for rest := range words("ab/=|", 5) {
				if !yield("/" + rest) {
					return
				}
			}
		}, c.of)
		if t.Failed() {
			t.Fatalf("paths %q", lists)
		}
	}
}

func TestPathWitnessesOfTemplates(t *testing.T) {
	for _, test := range []struct {
		name  string
		lists [][]string
		paths []string
	}{
		{"one segment", [][]string{{"/users/{*}/orders"}}, []string{"/", "/users/x/orders"}},
		{"a constant inside a template", [][]string{{"/users/{*}"}, {"/users/me"}}, []string{"/", "/users/me", "/users/x"}},
		// Envoy's {*} matches no "=": the prefix does.
		{"a prefix around a template", [][]string{{"/users/*"}, {"/users/{**}"}}, []string{"/", "/users/", "/users/="}},
		{"two templates that share paths", [][]string{{"/a/{*}/b"}, {"/{*}/c/b"}}, []string{"/", "/a/x/b", "/x/c/b", "/a/c/b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			paths, complete := pathWitnesses(pathConditions(test.lists...))
			if !complete {
				t.Error("not complete")
			}
			if difference := cmp.Diff(test.paths, paths); difference != "" {
				t.Errorf("paths (-want +got):\n%s", difference)
			}
		})
	}
}

func TestPathSearchGivesUp(t *testing.T) {
	lists := [][]string{{strings.Repeat("/{*}", 30)}}
	for _, char := range "abcd" {
		lists = append(lists, []string{"*" + strings.Repeat(string(char), 300)})
	}
	paths, complete := pathWitnesses(pathConditions(lists...))
	if complete {
		t.Errorf("complete with %d paths", len(paths))
	}
}
