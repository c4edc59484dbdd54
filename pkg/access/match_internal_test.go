package access

import "testing"

func TestMatchString(t *testing.T) {
	for _, test := range []struct {
		pattern, value string
		fold, want     bool
	}{
		{"foo", "foo", false, true},
		{"foo", "not", false, false},
		{"foo", "", false, false},
		{"foo*", "foobar", false, true},
		{"foo*", "foo", false, true},
		{"foo*", "notfoo", false, false},
		{"foo*", "", false, false},
		{"*foo", "barfoo", false, true},
		{"*foo", "foonot", false, false},
		{"*foo", "", false, false},
		{"*", "foo", false, true},
		{"*", "", false, false},
		{"*foo*", "afoob", false, false},
		{"*foo*", "afoo*", false, true},
		{"f*o", "foo", false, false},
		{"Foo", "foo", false, false},
		{"Foo", "fOO", true, true},
		{"FOO*", "foobar", true, true},
		{"*BAR", "foobar", true, true},
	} {
		if got := matchString(test.pattern, test.value, test.fold); got != test.want {
			t.Errorf("matchString(%q, %q, %v) = %v", test.pattern, test.value, test.fold, got)
		}
	}
}

func TestPathTemplates(t *testing.T) {
	for _, test := range []struct {
		template, path string
		want           bool
	}{
		{"/a/{*}", "/a/b", true},
		{"/a/{*}", "/a/", false},
		{"/a/{*}", "/a/b/c", false},
		{"/a/{*}/c", "/a/b/c", true},
		{"/a/{**}", "/a/", true},
		{"/a/{**}", "/a/b/c/", true},
		{"/a/{**}", "/a", false},
		{"/a/{*}/c/{**}", "/a/b/c/d/e", true},
		{"/a.b/{*}", "/axb/c", false},
	} {
		if got := pathTemplate(test.template).MatchString(test.path); got != test.want {
			t.Errorf("%s matches %s: %v", test.template, test.path, got)
		}
	}
}
