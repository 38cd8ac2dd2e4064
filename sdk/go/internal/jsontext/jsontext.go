// Package jsontext looks at JSON texts without interpreting a value of them: how deep they are, and
// where a value ends.
package jsontext

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"unicode/utf8"
)

// CheckObject refuses what is not one JSON object (RFC 8259) in UTF-8, or is nested too deeply.
func CheckObject(data []byte, mostLevels int) error {
	if !utf8.Valid(data) {
		return errors.New("it is not UTF-8")
	}
	if IsDeeper(data, mostLevels) {
		return fmt.Errorf("it has more than %d levels", mostLevels)
	}
	if !json.Valid(data) {
		return errors.New("it is not JSON")
	}
	if bytes.TrimLeft(data, " \t\r\n")[0] != '{' {
		return errors.New("it is not a JSON object")
	}
	return nil
}

// IsDeeper tells whether objects and lists stand in each other at more levels than that.
func IsDeeper(data []byte, mostLevels int) bool {
	if bytes.Count(data, []byte("{"))+bytes.Count(data, []byte("[")) <= mostLevels {
		return false
	}
	depth := 0
	for at := 0; at < len(data); at++ {
		switch data[at] {
		case '"':
			end, _ := endOfText(data, at)
			at = end - 1
		case '{', '[':
			if depth++; depth > mostLevels {
				return true
			}
		case '}', ']':
			depth--
		}
	}
	return false
}

// endOfText gives where a string ends that begins at a quote: behind its closing quote, or at the
// end of the data when it has none, which it tells.
func endOfText(data []byte, at int) (end int, isClosed bool) {
	for at++; at < len(data); at++ {
		switch data[at] {
		case '\\':
			at++
		case '"':
			return at + 1, true
		}
	}
	return len(data), false
}

var escape = regexp.MustCompile(`\\(?:u([0-9a-fA-F]{4})|.)`)

// HasHalf tells whether a text in JSON has half of a surrogate pair, which UTF-8 does not have.
func HasHalf(data []byte) bool {
	end, isOpen := 0, false // where the first half of a pair ended, and whether the second is due
	for _, found := range escape.FindAllSubmatchIndex(data, -1) {
		if isOpen && found[0] != end {
			return true
		}
		unit := uint64(0)
		if found[2] >= 0 {
			unit, _ = strconv.ParseUint(string(data[found[2]:found[3]]), 16, 16) // four hex digits
		}
		isSecond := unit >= 0xDC00 && unit <= 0xDFFF
		if isSecond != isOpen {
			return true
		}
		isOpen, end = unit >= 0xD800 && unit <= 0xDBFF, found[1]
	}
	return isOpen
}

// Member is a key of an object, and its value as it was written.
type Member struct {
	Key   string
	Value json.RawMessage
}

// Members gives the members of an object in their order; their values are not looked into. The
// error is about a text that is no object, or does not end.
func Members(data []byte) ([]Member, error) {
	var found []Member
	err := each(data, '{', '}', func(at int) (int, error) {
		if data[at] != '"' {
			return 0, expected("a key", at)
		}
		end, _ := endOfText(data, at)
		var key string
		if err := json.Unmarshal(data[at:end], &key); err != nil {
			return 0, expected("a key", at)
		}
		colon := afterSpace(data, end)
		if !isAt(data, colon, ':') {
			return 0, expected("`:`", colon)
		}
		begin := afterSpace(data, colon+1)
		end, err := endOfValue(data, begin)
		if err == nil {
			found = append(found, Member{key, data[begin:end]})
		}
		return end, err
	})
	return found, err
}

// Elements gives the elements of a list as they were written; they are not looked into. The error
// is about a text that is no list, or does not end.
func Elements(data []byte) ([]json.RawMessage, error) {
	found := []json.RawMessage{}
	err := each(data, '[', ']', func(at int) (int, error) {
		end, err := endOfValue(data, at)
		if err == nil {
			found = append(found, data[at:end])
		}
		return end, err
	})
	return found, err
}

// each calls read at each item between two brackets; it gives where the item ends.
func each(data []byte, opens, closes byte, read func(at int) (int, error)) error {
	at := afterSpace(data, 0)
	if !isAt(data, at, opens) {
		return expected(fmt.Sprintf("`%c`", opens), at)
	}
	if at = afterSpace(data, at+1); !isAt(data, at, closes) {
		for {
			if at >= len(data) {
				return expected("more", at)
			}
			end, err := read(at)
			if err != nil {
				return err
			}
			if at = afterSpace(data, end); !isAt(data, at, ',') {
				break
			}
			at = afterSpace(data, at+1)
		}
	}
	if !isAt(data, at, closes) {
		return expected(fmt.Sprintf("`%c`", closes), at)
	}
	if at = afterSpace(data, at+1); at != len(data) {
		return expected("the end", at)
	}
	return nil
}

// endOfValue gives where a value ends, by its brackets and strings alone.
func endOfValue(data []byte, at int) (int, error) {
	begin, depth := at, 0
	for at < len(data) {
		switch data[at] {
		case '"':
			end, isClosed := endOfText(data, at)
			if !isClosed {
				return 0, expected("the end of a text", end)
			}
			at = end
		case '{', '[':
			depth++
			at++
		case '}', ']':
			depth--
			at++
		default:
			if depth > 0 {
				at++
				continue
			}
			return endOfScalar(data, at)
		}
		if depth <= 0 {
			break
		}
	}
	if depth != 0 || at == begin {
		return 0, expected("a value that ends", begin)
	}
	return at, nil
}

func endOfScalar(data []byte, at int) (int, error) {
	end := at
	for end < len(data) && !bytes.ContainsRune([]byte(" \t\r\n,:]}[{\""), rune(data[end])) {
		end++
	}
	if end == at {
		return 0, expected("a value", at)
	}
	return end, nil
}

func afterSpace(data []byte, at int) int {
	for at < len(data) && (data[at] == ' ' || data[at] == '\t' || data[at] == '\r' || data[at] == '\n') {
		at++
	}
	return at
}

func isAt(data []byte, at int, mark byte) bool { return at < len(data) && data[at] == mark }

func expected(what string, at int) error { return fmt.Errorf("expected %s at byte %d", what, at) }
