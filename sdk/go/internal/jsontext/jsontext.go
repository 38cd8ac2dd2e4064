// Package jsontext looks at JSON texts without interpreting a value of them: how deep they are, and
// where a value ends.
package jsontext

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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
			at = endOfText(data, at) - 1
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
// end of the data when it has none.
func endOfText(data []byte, at int) int {
	for at++; at < len(data); at++ {
		switch data[at] {
		case '\\':
			at++
		case '"':
			return at + 1
		}
	}
	return len(data)
}
