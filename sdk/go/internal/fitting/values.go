// Package fitting says what settings and events have to be, the same for hosts and for tests. Every
// SDK has these rules: fitting.json, event_rules.json and finding_rules.json in sdk/testdata hold them
// together. No message has a setting's value in it: any of them may be a secret that was given for
// the wrong key.
package fitting

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const longestText = 64 * 1024

// The names of the types of fields, as in ConfigField.Type without TYPE_.
const (
	text     = "TEXT"
	password = "PASSWORD"
	address  = "URL"
	choice   = "SELECT"
	boolean  = "BOOLEAN"
	number   = "NUMBER"
	none     = "UNSPECIFIED"
)

var (
	asNumber   = regexp.MustCompile(`^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?$`)
	errNotUTF8 = errors.New("expected text, received bytes that are not UTF-8")
	errFinite  = errors.New("expected a number that is finite")
)

// Given gives a setting as a field's type takes it: text that the operator wrote becomes a number, or
// true or false, where the type says so. kind is the type's name; any JSON fits one that is not known
// here, as a newer minor version may have it. options is what a SELECT may be.
func Given(kind string, options []string, value any) (any, error) {
	written, isText := value.(string)
	switch {
	case isText && kind == boolean && (written == "true" || written == "false"):
		return written == "true", nil
	case isText && kind == number && asNumber.MatchString(written):
		parsed, err := strconv.ParseFloat(written, 64)
		if err != nil {
			return nil, errFinite
		}
		if whole, err := strconv.ParseInt(written, 10, 64); err == nil {
			return whole, nil
		}
		return parsed, nil
	}
	return Value(kind, options, value)
}

// Default is Value for a field's default: there may be none, or an empty text.
func Default(kind string, options []string, value any) error {
	if value == nil || value == "" && (kind == text || kind == password || kind == address) {
		return nil
	}
	_, err := Value(kind, options, value)
	return err
}

// Value gives a value of JSON that is what a field's type says.
func Value(kind string, options []string, value any) (any, error) {
	plain, err := decoded(value)
	if err != nil {
		return nil, err
	}
	written, isText := plain.(string)
	if isText && kind != number && kind != boolean {
		err = checkText(written)
	}
	switch kind {
	case number:
		return asFinite(plain)
	case boolean:
		if _, fits := plain.(bool); !fits {
			return nil, fmt.Errorf("expected true or false, received %s", noun(plain))
		}
	case text, password, address, choice, none:
		if !isText {
			return nil, fmt.Errorf("expected text, received %s", noun(plain))
		}
		switch {
		case err != nil:
		case kind == address && !isWebAddress(written):
			err = errors.New("expected a web address that begins with https://")
		case kind == choice && !slices.Contains(options, written):
			err = fmt.Errorf("expected one of %s", strings.Join(options, ", "))
		}
	}
	return plain, err
}

// decoded gives a value as encoding/json decodes it, with numbers as they are written.
func decoded(value any) (any, error) {
	switch value := value.(type) {
	case float64:
		if math.IsNaN(value) || math.IsInf(value, 0) {
			return nil, errFinite
		}
	case string:
		if !utf8.ValidString(value) {
			return nil, errNotUTF8
		}
	}
	data, err := json.Marshal(value)
	if err != nil {
		return nil, errors.New("expected what JSON has")
	}
	var plain any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	err = decoder.Decode(&plain)
	return plain, err
}

func asFinite(value any) (any, error) {
	written, isNumber := value.(json.Number)
	if !isNumber {
		return nil, fmt.Errorf("expected a number, received %s", noun(value))
	}
	if _, err := written.Float64(); err != nil {
		return nil, errFinite
	}
	return written, nil
}

// checkText refuses what is not one line. In an HTTP header each control character makes a library
// refuse it, and quote it.
func checkText(value string) error {
	if utf8.RuneCountInString(value) > longestText {
		return fmt.Errorf("expected at most %d characters", longestText)
	}
	position := 0
	for _, character := range value {
		position++
		if name := control(character); name != "" {
			return fmt.Errorf("holds %s at position %d", name, position)
		}
	}
	return nil
}

// control names a character that has no place in one line of text; else it is empty.
func control(character rune) string {
	switch {
	case strings.ContainsRune("\n\r\u0085\u2028\u2029", character):
		return "a line end"
	case character == '\ufeff':
		return "a byte order mark"
	case character < 0x20, character >= 0x7f && character < 0xa0:
		return fmt.Sprintf("the control character U+%04X", character)
	}
	return ""
}

func isWebAddress(value string) bool {
	parts, err := url.Parse(value)
	if err != nil || parts.Scheme != "http" && parts.Scheme != "https" || parts.Hostname() == "" {
		return false
	}
	port, err := strconv.ParseUint(parts.Port(), 10, 16)
	return parts.Port() == "" || err == nil && port != 0
}

// noun is a word for the type of a value that must not be shown.
func noun(value any) string {
	switch value.(type) {
	case nil:
		return "nothing"
	case bool:
		return "true or false"
	case json.Number:
		return "a number"
	case string:
		return "text"
	case []any:
		return "a list"
	}
	return "an object"
}
