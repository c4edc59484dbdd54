package classes

import (
	"regexp"
	"strings"
)

// What the values of each attribute look like, and which are common.
var (
	methodSpace = valueSpace{
		common:   []string{"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT"},
		possible: regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$").MatchString,
		natural:  regexp.MustCompile(`^[A-Z-]+$`).MatchString,
	}
	pathSpace = valueSpace{
		common:   []string{"/", "/other"},
		fillers:  []string{"/x", "/other"},
		possible: possiblePath,
		natural:  regexp.MustCompile(`^/$|^(/[A-Za-z0-9_~@:-][A-Za-z0-9._~@:-]*)+/?$`).MatchString,
	}
	hostSpace = valueSpace{
		common:   []string{"www.example.org", "www.example.net"},
		fillers:  []string{"www", "www.example.org", "com", "443", "8080"},
		possible: regexp.MustCompile(`^[^\sA-Z/?#@\x00-\x1f\x7f]+$`).MatchString,
		natural:  regexp.MustCompile(`^` + hostName + `(:[1-9][0-9]{1,4})?$`).MatchString,
	}
	serverNameSpace = valueSpace{
		common:   []string{"www.example.org", "www.example.net"},
		fillers:  []string{"www", "www.example.org", "com"},
		possible: regexp.MustCompile(`^[^\sA-Z/?#@\x00-\x1f\x7f]+$`).MatchString,
		natural:  regexp.MustCompile(`^` + hostName + `$`).MatchString,
	}
	headerSpace = valueSpace{
		common:   []string{"other"},
		fillers:  []string{"1", "other"},
		possible: regexp.MustCompile(`^[^\s\x00-\x1f\x7f]([^\x00-\x08\x0a-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$`).MatchString,
		natural:  regexp.MustCompile(`^[!-~]([ -~]*[!-~])?$`).MatchString,
	}
	claimSpace = valueSpace{
		common:   []string{"other"},
		fillers:  []string{"1", "other"},
		possible: nonEmpty,
		natural:  regexp.MustCompile(`^[!-~]([ -~]*[!-~])?$`).MatchString,
	}
	// wordSpace is that of claims that Envoy splits at spaces.
	wordSpace = valueSpace{
		common:   claimSpace.common,
		fillers:  claimSpace.fillers,
		possible: regexp.MustCompile(`^[^ ]+$`).MatchString,
		natural:  claimSpace.natural,
	}
	issuerSpace = valueSpace{
		common:   []string{"https://issuer.example.org"},
		fillers:  []string{"https://issuer.example.org", "example.org"},
		possible: nonEmpty,
		natural:  regexp.MustCompile(`^[!-~]+$`).MatchString,
	}
	subjectSpace = valueSpace{
		common:   []string{"user"},
		fillers:  []string{"user", "1"},
		possible: nonEmpty,
		natural:  regexp.MustCompile(`^[!-~]+$`).MatchString,
	}
	namespaceSpace = valueSpace{
		common:   []string{"other"},
		fillers:  []string{"other", "-other", "other-", "-other-"},
		possible: regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`).MatchString,
		natural:  regexp.MustCompile(`[a-z]`).MatchString,
	}
	serviceAccountSpace = valueSpace{
		common:   []string{"default", "other"},
		fillers:  []string{"other", "-other", "other-", "-other-"},
		possible: regexp.MustCompile(`^` + hostName + `$`).MatchString,
		natural:  regexp.MustCompile(`[a-z]`).MatchString,
	}
	trustDomainSpace = valueSpace{
		common:   []string{"other.example"},
		fillers:  []string{"other", "other.", ".other", "-other", "other-"},
		possible: regexp.MustCompile(`^[a-z0-9._-]+$`).MatchString,
		natural:  regexp.MustCompile(`^` + hostName + `$`).MatchString,
	}
)

// hostName is what DNS takes for one.
const hostName = `[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*`

func nonEmpty(value string) bool { return value != "" }

// possiblePath leaves out OPTIONS for "*" and CONNECT, which have no path.
func possiblePath(path string) bool {
	return strings.HasPrefix(path, "/") && !strings.ContainsFunc(path, func(char rune) bool { return !pathCharacter(char) })
}
