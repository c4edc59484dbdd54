package ztunnel

import (
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// What a line of the access log is told by: its scope, its message, and the level of
// connections that ended without an error (ztunnel src/proxy/metrics.rs, access_log).
const (
	accessScope   = "access"
	accessMessage = "connection complete"
	accessLevel   = "info"
)

// Access is a connection that a ztunnel has carried and that has ended, as its access log
// has it.
type Access struct {
	// Inbound is true where the ztunnel is that of the server.
	Inbound bool
	// Namespace is that of the workload whose ztunnel it is.
	Namespace string
}

// Line is what a line of ztunnel's log is.
type Line int

// LineOther is of something else, or of a connection that has ended with an error;
// LineAccess of a connection that was carried; LineUnread of one of which that cannot be
// told.
const (
	LineOther Line = iota
	LineAccess
	LineUnread
)

// ParseLine reads a line of ztunnel's log, in either of its formats (ztunnel
// src/telemetry.rs).
func ParseLine(line string) (Access, Line) {
	read := plainFields
	if strings.HasPrefix(line, "{") {
		read = jsonFields
	}
	fields, is := read(line)
	if is != LineAccess {
		return Access{}, is
	}
	access := Access{Inbound: fields["direction"] == "inbound", Namespace: fields["dst.namespace"]}
	if fields["direction"] == "outbound" {
		access.Namespace = fields["src.namespace"]
	} else if !access.Inbound {
		return Access{}, LineUnread
	}
	_, failed := fields["error"]
	_, whole := fields["duration"]
	switch {
	case failed:
		return Access{}, LineOther
	case !whole:
		return Access{}, LineUnread
	default:
		return access, LineAccess
	}
}

// plainFields reads time, level, scope and message, with a tab behind each, and fields.
func plainFields(line string) (map[string]string, Line) {
	parts := strings.SplitN(line, "\t", 5)
	if len(parts) < 4 || parts[1] != accessLevel || parts[2] != accessScope || parts[3] != accessMessage {
		return nil, LineOther
	}
	if len(parts) < 5 {
		return nil, LineUnread
	}
	fields := map[string]string{}
	for rest := strings.TrimSpace(parts[4]); rest != ""; {
		name, value, found := strings.Cut(rest, "=")
		if _, twice := fields[name]; !found || twice || name == "" || strings.ContainsAny(name, " \"") {
			return nil, LineUnread
		}
		var valid bool
		if fields[name], rest, valid = plainValue(value); !valid {
			return nil, LineUnread
		}
	}
	return fields, LineAccess
}

// plainValue takes a value off a text: one in quotes, with a backslash before a quote that
// is part of it, or one without blanks.
func plainValue(text string) (value, rest string, valid bool) {
	end := strings.IndexByte(text, ' ')
	if strings.HasPrefix(text, `"`) {
		if end = quoted(text); end < 0 || end < len(text) && text[end] != ' ' {
			return "", "", false
		}
		return text[1 : end-1], strings.TrimPrefix(text[end:], " "), true
	}
	if end < 0 {
		end = len(text)
	}
	return text[:end], strings.TrimPrefix(text[end:], " "), end > 0 && !strings.Contains(text[:end], `"`)
}

// quoted is where the quotes that a text begins with end, or -1.
func quoted(text string) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// jsonFields reads a line that is an object.
func jsonFields(line string) (map[string]string, Line) {
	var all map[string]any
	if err := json.Unmarshal([]byte(line), &all); err != nil || !utf8.ValidString(line) {
		if strings.Contains(line, `"`+accessMessage+`"`) {
			return nil, LineUnread
		}
		return nil, LineOther
	}
	if all["level"] != accessLevel || all["scope"] != accessScope || all["message"] != accessMessage {
		return nil, LineOther
	}
	fields := map[string]string{}
	for name, value := range all {
		fields[name], _ = value.(string)
	}
	return fields, LineAccess
}

// accessTally adds up what the access log of one ztunnel has, for each namespace since a
// time of its own.
type accessTally struct {
	since map[string]time.Time
	logs  map[string]mesh.AccessLog
	// on says of namespaces that the log has connections of somebody since their time.
	on map[string]bool
	// unread are lines that cannot be told from those of connections.
	unread int
}

func newAccessTally(since map[string]time.Time) *accessTally {
	return &accessTally{since: since, logs: map[string]mesh.AccessLog{}, on: map[string]bool{}}
}

func (t *accessTally) add(at time.Time, line string) {
	access, is := ParseLine(line)
	switch is {
	case LineUnread:
		t.unread++
	case LineAccess:
		for namespace, since := range t.since {
			t.on[namespace] = t.on[namespace] || !at.Before(since)
		}
		since, wanted := t.since[access.Namespace]
		if !wanted || at.Before(since) {
			return
		}
		log := t.logs[access.Namespace]
		if access.Inbound {
			log.Inbound++
		} else {
			log.Outbound++
		}
		t.logs[access.Namespace] = log
	case LineOther:
	}
}

// earliest is since when the log is of interest.
func (t *accessTally) earliest() time.Time {
	var earliest time.Time
	for _, since := range t.since {
		if earliest.IsZero() || since.Before(earliest) {
			earliest = since
		}
	}
	return earliest
}

// settled is true once there are connections of every namespace.
func (t *accessTally) settled() bool { return len(t.logs) == len(t.since) }

// result says of the namespaces without connections why that may not be all.
func (t *accessTally) result(gap func(namespace string, since time.Time) string) map[string]mesh.AccessLog {
	for namespace, since := range t.since {
		if _, seen := t.logs[namespace]; !seen {
			t.logs[namespace] = mesh.AccessLog{Gap: gap(namespace, since)}
		}
	}
	return t.logs
}
