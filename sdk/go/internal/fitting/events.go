package fitting

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// NULDoubt is said of a record that HasNUL.
const NULDoubt = "record: a text in it has U+0000, which Aperio's server cannot store"

var (
	nul       = []byte(`\u0000`)
	nulInside = regexp.MustCompile(`(?:^|[^\\])(?:\\\\)*\\u0000`)
)

// HasNUL says whether a key or a text in JSON has U+0000, which the product's database refuses.
func HasNUL(record []byte) bool {
	return bytes.Contains(record, nul) && nulInside.Match(record)
}

// rememberedIDs before an event are compared with its own, and at most twice as many.
const rememberedIDs = 16_384

// Flaw is what is wrong with an event, or a finding, or an entry of an audit log.
type Flaw struct {
	// Text says it of the event; it may hold what that says.
	Text string
	// IsBreach: a host has to refuse the event. Any other it passes on, and says so.
	IsBreach bool
}

// Events looks at the events of one sync, in their order.
type Events struct {
	prefix        string
	takesAny      bool
	seen          map[string]bool
	ids, olderIDs map[string]bool
}

// NewEvents gives the rules for a provider, upper-case as in the manifest, and the schema's event
// types. None of them: it says nothing about them; `provider.*`: others come as well.
func NewEvents(provider string, declared []string) *Events {
	prefix := strings.ToLower(provider) + "."
	made := &Events{
		prefix:   prefix,
		takesAny: len(declared) == 0 || slices.Contains(declared, prefix+"*"),
		seen:     make(map[string]bool), ids: make(map[string]bool),
	}
	for _, name := range declared {
		if made.isOurs(name) {
			made.seen[name] = true
		}
	}
	return made
}

// Flaws gives what is wrong with the next event; an undeclared type once only.
func (e *Events) Flaws(sourceEventID, eventType string) []Flaw {
	var found []Flaw
	if !e.seen[eventType] {
		if !e.isOurs(eventType) {
			said := fmt.Sprintf("event_type %s: expected `%s` and a name", eventType, e.prefix)
			return []Flaw{{said, true}}
		}
		e.seen[eventType] = true
		if !e.takesAny {
			said := fmt.Sprintf("event_type %s: the schema does not declare it", eventType)
			found = append(found, Flaw{said, false})
		}
	}
	if e.ids[sourceEventID] || e.olderIDs[sourceEventID] {
		return append(found, Flaw{"source_event_id: another event of this sync has it, too", false})
	}
	if len(e.ids) >= rememberedIDs {
		e.ids, e.olderIDs = make(map[string]bool), e.ids
	}
	e.ids[sourceEventID] = true
	return found
}

func (e *Events) isOurs(name string) bool {
	return strings.HasPrefix(name, e.prefix) && len(name) > len(e.prefix)
}
