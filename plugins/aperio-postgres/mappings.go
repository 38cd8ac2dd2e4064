package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

const (
	// longestType and longestProductType are in bytes (EventMapping in connector.proto).
	longestType        = 128
	longestProductType = 120
)

// mappings has what the server calls a type of event, by the type.
type mappings map[string]string

// find gives what the server calls an event. The service's own word is looked up first.
func (m mappings) find(native, ours string) (string, bool) {
	if found, isMapped := m[native]; isMapped && native != "" {
		return found, true
	}
	found, isMapped := m[ours]
	return found, isMapped
}

// mapping is one element of event_mappings in a connector's schema.
type mapping struct {
	EventType        string `json:"event_type"`
	ProductEventType string `json:"product_event_type"`
}

// parseMappings reads the list event_mappings of a connector's schema, or a document that has it. Of
// no text it gives nil.
func parseMappings(text string) (mappings, error) {
	if text == "" {
		return nil, nil
	}
	list, err := findMappings([]byte(text))
	if err != nil {
		return nil, err
	}
	found := mappings{}
	for number, each := range list {
		switch {
		case each.EventType == "" || len(each.EventType) > longestType:
			return nil, fmt.Errorf("mapping %d of event_mappings: event_type must have 1 to %d bytes",
				number+1, longestType)
		case each.ProductEventType == "" || len(each.ProductEventType) > longestProductType:
			return nil, fmt.Errorf(
				"mapping %d of event_mappings: product_event_type must have 1 to %d bytes",
				number+1, longestProductType)
		case strings.TrimSpace(each.ProductEventType) == "" ||
			strings.ContainsFunc(each.ProductEventType, unicode.IsControl):
			// No server has a rule for it, and of NUL PostgreSQL would refuse each row.
			return nil, fmt.Errorf("mapping %d of event_mappings: product_event_type is no name", number+1)
		case found[each.EventType] != "" && found[each.EventType] != each.ProductEventType:
			return nil, fmt.Errorf("event_mappings maps %q twice, to different types", each.EventType)
		}
		found[each.EventType] = each.ProductEventType
	}
	return found, nil
}

func findMappings(data []byte) ([]mapping, error) {
	list := []mapping{}
	if json.Unmarshal(data, &list) == nil && list != nil {
		return list, nil
	}
	type answer struct {
		EventMappings *[]mapping `json:"event_mappings"`
	}
	var document struct {
		answer
		Data *answer `json:"data"`
	}
	if err := json.Unmarshal(data, &document); err != nil {
		return nil, errors.New("event_mappings is neither a JSON list of event_type and " +
			"product_event_type, nor a document with such a list as event_mappings")
	}
	switch {
	case document.EventMappings != nil:
		return *document.EventMappings, nil
	case document.Data != nil && document.Data.EventMappings != nil:
		return *document.Data.EventMappings, nil
	}
	return nil, errors.New("event_mappings is a document without a list event_mappings: " +
		"it is not the schema of a connector")
}
