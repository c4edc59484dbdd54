package ztunnel

import "bytes"

// eachMember calls a function with the name of each member of the object that begins at a
// place of a text in JSON, and where its value begins; the function says where that ends.
// It returns where the object ends, and whether it is one, as far as that shows without
// reading its values: that is left to whoever takes them.
func eachMember(text []byte, at int, member func(name string, at int) (end int, ok bool)) (end int, ok bool) {
	return eachValue(text, at, '{', '}', func(at int) (int, bool) {
		end := endOfString(text, at)
		if end < 0 {
			return 0, false
		}
		colon := skipSpace(text, end)
		if colon >= len(text) || text[colon] != ':' {
			return 0, false
		}
		return member(string(text[at+1:end-1]), skipSpace(text, colon+1))
	})
}

// eachElement does so with the elements of an array, as they are written, maybe with white
// space behind.
func eachElement(text []byte, at int, element func(value []byte) bool) (end int, ok bool) {
	return eachValue(text, at, '[', ']', func(at int) (int, bool) {
		end := endOfValue(text, at)
		return end, end > at && element(text[at:end])
	})
}

// eachValue goes through what stands between two brackets, separated by commas. next reads
// what begins at a place, and says where it ends.
func eachValue(text []byte, at int, opening, closing byte, next func(at int) (end int, ok bool)) (end int, ok bool) {
	if at >= len(text) || text[at] != opening {
		return 0, false
	}
	at = skipSpace(text, at+1)
	if at < len(text) && text[at] == closing {
		return at + 1, true
	}
	for {
		if at, ok = next(at); !ok {
			return 0, false
		}
		at = skipSpace(text, at)
		switch {
		case at < len(text) && text[at] == closing:
			return at + 1, true
		case at >= len(text) || text[at] != ',':
			return 0, false
		}
		at = skipSpace(text, at+1)
	}
}

func skipSpace(text []byte, at int) int {
	for at < len(text) && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r') {
		at++
	}
	return at
}

// endOfValue is where the value ends that begins at a place; -1 where it does not.
func endOfValue(text []byte, at int) int {
	depth := 0
	for at < len(text) {
		switch text[at] {
		case '"':
			if at = endOfString(text, at); at < 0 || depth == 0 {
				return at
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return at + 1
			}
			if depth < 0 {
				return at
			}
		case ',':
			if depth == 0 {
				return at
			}
		}
		at++
	}
	return -1
}

// endOfString is the place after the string that begins at a place; -1 where none does, or
// it does not end.
func endOfString(text []byte, at int) int {
	if at >= len(text) || text[at] != '"' {
		return -1
	}
	for at++; ; at++ {
		quote := bytes.IndexByte(text[at:], '"')
		if quote < 0 {
			return -1
		}
		at += quote
		escapes := 0
		for text[at-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return at + 1
		}
	}
}
