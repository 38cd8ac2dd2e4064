// Package records cuts the records of a service out of its replies, as they were written.
//
// No value is interpreted on the way: what is passed on are the bytes that came. A record that is
// malformed or too deep does not spoil those beside it; connector.Stream.SendEach makes a dead letter
// of it.
package records

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/internal/jsontext"
)

// MaxLevels is how deep objects and lists may stand in each other, the record itself included.
const MaxLevels = 512

// Record is one record as the service wrote it.
type Record struct {
	// JSON is its text, passed on as it is.
	JSON json.RawMessage
	// Problem is why it cannot be passed on; nil: it can.
	Problem error
}

// Decode reads fields of the record, as json.Unmarshal does: to it, keys are the same in upper and
// lower case. The error is its Problem, or names the field that has another type.
func (r Record) Decode(into any) error {
	if r.Problem != nil {
		return r.Problem
	}
	err := json.Unmarshal(r.JSON, into)
	var other *json.UnmarshalTypeError
	if !errors.As(err, &other) || other.Field == "" {
		return err
	}
	return &aperio.Error{
		Cause: aperio.InvalidRecord, Err: err,
		Summary: fmt.Sprintf("%s: expected %s, received %s",
			other.Field, expected(other.Type), received(other.Value)),
	}
}

// expected gives what JSON calls what a Go type is read from.
func expected(wanted reflect.Type) string {
	switch wanted.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

// received gives what the decoder calls the value that it read, in the same words.
func received(value string) string {
	words := map[string]string{
		"string": "text", "bool": "true or false", "object": "an object", "array": "a list",
		"number": "a number",
	}
	if word, isKnown := words[value]; isKnown {
		return word
	}
	return "the " + value // such as `number 1e400`
}

// ID gives the field that identifies the record, text or a number; empty when there is none.
func (r Record) ID(key string) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(r.JSON, &fields) != nil {
		return ""
	}
	var text string
	if json.Unmarshal(fields[key], &text) == nil {
		return text
	}
	var number json.Number
	if json.Unmarshal(fields[key], &number) == nil {
		return number.String()
	}
	return ""
}

// Page is a reply with a list of records.
type Page struct {
	// Records are the elements of the list, in order.
	Records []Record
	// Fields is what else the reply has.
	Fields map[string]json.RawMessage
}

// Split cuts the list under a key of a JSON object into its records, each as it was written. The
// error has the cause Unavailable: the reply is not JSON, breaks off, or has no such list.
func Split(body []byte, key string) (*Page, error) {
	page := &Page{Fields: map[string]json.RawMessage{}}
	members, err := jsontext.Members(body)
	if err != nil {
		return nil, unavailable("a reply is not JSON", err)
	}
	found := false
	for _, member := range members {
		if member.Key != key || member.Value[0] != '[' {
			page.Fields[member.Key] = member.Value
			continue
		}
		elements, err := jsontext.Elements(member.Value)
		if err != nil {
			return nil, unavailable("a reply is not JSON", err)
		}
		found, page.Records = true, make([]Record, len(elements))
		for index, element := range elements {
			page.Records[index] = Record{JSON: element, Problem: problem(element)}
		}
	}
	if !found {
		return nil, unavailable(fmt.Sprintf("a reply has no list %q", key), nil)
	}
	delete(page.Fields, key) // which stood there, too, and was no list
	return page, nil
}

func problem(element []byte) error {
	if err := jsontext.CheckObject(element, MaxLevels); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

func unavailable(summary string, err error) error {
	told := &aperio.Error{Cause: aperio.Unavailable, Summary: summary, Err: err}
	if err != nil {
		told.Detail = err.Error()
	}
	return told
}

// Decode reads a JSON reply, as json.Unmarshal does. The error has the cause Unavailable.
func Decode(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		var other *json.UnmarshalTypeError
		if errors.As(err, &other) {
			return unavailable("a reply is not the JSON that was expected", err)
		}
		return unavailable("a reply is not JSON", err)
	}
	return nil
}
