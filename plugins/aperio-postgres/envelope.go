package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/destination"
)

const (
	// longestActor is in characters, as PostgreSQL counts them.
	longestActor = 255
	// ofServer is the producer of the envelopes that the server makes itself.
	ofServer = "aperio.sspm"
)

// providerName is a label that the server's enum can have; 63 bytes is what a name has in PostgreSQL.
var providerName = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,62}$`)

// object is a JSON object, by keys exactly as they are written: encoding/json would take
// `Organization_ID` for a field called organization_id.
type object map[string]json.RawMessage

// parseObject reads a JSON object; of something else it gives nil.
func parseObject(data []byte) object {
	found := object{}
	if json.Unmarshal(data, &found) != nil {
		return nil
	}
	return found
}

// text gives a value that is text, and else nothing. PostgreSQL's texts have no NUL: it is replaced.
func (o object) text(key string) string {
	var text string
	if json.Unmarshal(o[key], &text) != nil {
		return ""
	}
	return strings.ReplaceAll(text, "\x00", string(utf8.RuneError))
}

// head is what both tables need of an envelope.
type head struct {
	object
	id          string
	integration string
	provider    string
	at          time.Time
	record      object
	recordJSON  []byte // valid JSON; jsonb has no NUL and no half of a surrogate pair, and neither has this
	repaired    int    // how many characters were replaced in it
}

// readHead checks an envelope. The error is why it can be in no table.
func readHead(envelope destination.Envelope, organization string) (*head, error) {
	if !utf8.Valid(envelope.JSON) {
		return nil, errors.New("the envelope is not UTF-8")
	}
	read := &head{object: parseObject(envelope.JSON)}
	if read.object == nil {
		return nil, errors.New("the envelope is no JSON object")
	}
	if err := read.requireIdentity(organization); err != nil {
		return nil, err
	}
	read.provider = read.text("provider")
	if !providerName.MatchString(read.provider) {
		return nil, errors.New("provider is no name in upper case, such as BOX")
	}
	at, err := aperio.ParseTime(read.text("occurred_at"), "occurred_at")
	if err != nil {
		return nil, err
	}
	read.at = at.UTC()
	read.recordJSON, read.repaired = storable(read.object["record"])
	if read.record = parseObject(read.recordJSON); read.record == nil {
		return nil, errors.New("record is no JSON object")
	}
	return read, nil
}

// requireIdentity checks whose envelope it is.
func (h *head) requireIdentity(organization string) error {
	h.id, h.integration = h.text("id"), h.text("integration_id")
	switch {
	case h.text("organization_id") != organization:
		return errors.New("the envelope is of another organization than the call")
	case h.id == "" && h.text("producer") == ofServer:
		return errors.New("the envelope comes from Aperio's server, which has it already")
	case h.id == "":
		return errors.New("the envelope has no id")
	case h.integration == "":
		return errors.New("the envelope has no integration_id")
	}
	for key, value := range map[string]string{"id": h.id, "integration_id": h.integration} {
		if strings.ContainsRune(value, utf8.RuneError) {
			return fmt.Errorf("%s has a character that is none", key)
		}
	}
	return nil
}

// milliseconds gives the time as the server's columns have it. PostgreSQL would round up.
func (h *head) milliseconds() time.Time { return h.at.Truncate(time.Millisecond) }

// source is where an event was read, as the server counts by it.
func (h *head) source() string {
	source := strings.ToLower(h.provider)
	if origin := h.text("origin"); origin != "" {
		source += "." + origin
	}
	return source
}

// actor gives the one text that the server has for who did it; nil: nobody is known.
func (h *head) actor() *string {
	who := parseObject(h.object["actor"])
	for _, key := range []string{"email", "id", "display_name"} {
		if text := who.text(key); strings.TrimSpace(text) != "" {
			text = firstRunes(text, longestActor)
			return &text
		}
	}
	return nil
}

func firstRunes(text string, most int) string {
	for index := range text {
		if most == 0 {
			return text[:index]
		}
		most--
	}
	return text
}
