package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"
)

const (
	// reserved is the key of a payload that is this plugin's, whatever the record has.
	reserved      = "_aperio"
	sourceEventID = "sourceEventId"
	ipAddress     = "ipAddress"
)

// job is a row of ingestion_jobs, without what is the same in all.
type job struct {
	id          string
	integration string
	provider    string
	eventType   string // as the server calls it
	source      string
	actor       *string
	occurredAt  time.Time
	payload     string
}

// jobOf gives the row of an event, and whether the record had the reserved key.
func jobOf(read *head, eventType string) (*job, bool, error) {
	payload, err := payloadOf(read)
	if err != nil {
		return nil, false, err
	}
	_, hadReserved := read.record[reserved]
	return &job{
		id: read.id, integration: read.integration, provider: read.provider,
		eventType: eventType, source: read.source(), actor: read.actor(),
		occurredAt: read.milliseconds(), payload: string(payload),
	}, hadReserved, nil
}

// ours is what the server has no column or no digits for.
type ours struct {
	ID         string          `json:"id"`
	Producer   string          `json:"producer"`
	OccurredAt string          `json:"occurred_at"`
	Actor      json.RawMessage `json:"actor"`
}

// payloadOf gives the record with keys added. The record's bytes stand as they were, so that 0.10
// stays 0.10; of two keys jsonb has the last, so ours is.
func payloadOf(read *head) ([]byte, error) {
	actor, _ := storable(read.object["actor"])
	if len(actor) == 0 {
		actor = []byte("null")
	}
	added := []field{{reserved, ours{
		read.id, read.text("producer"), read.text("occurred_at"), actor,
	}}}
	if _, isThere := read.record[sourceEventID]; !isThere {
		added = append(added, field{sourceEventID, read.text("source_event_id")})
	}
	address := parseObject(read.object["actor"]).text("ip_address")
	if _, isThere := read.record[ipAddress]; !isThere && address != "" {
		added = append(added, field{ipAddress, address})
	}
	return withFields(read.recordJSON, len(read.record) == 0, added)
}

// field is a key of a JSON object, and its value.
type field struct {
	key   string
	value any
}

// withFields gives a JSON object with these behind its own.
func withFields(given []byte, isEmpty bool, added []field) ([]byte, error) {
	given = bytes.TrimSpace(given)
	last := len(given) - 1
	if last < 1 || given[last] != '}' {
		return nil, errors.New("record is no JSON object")
	}
	made := bytes.NewBuffer(make([]byte, 0, len(given)+512))
	made.Write(given[:last])
	encoder := json.NewEncoder(made)
	encoder.SetEscapeHTML(false)
	for index, each := range added {
		if index > 0 || !isEmpty {
			made.WriteByte(',')
		}
		if err := encoder.Encode(each.key); err != nil {
			return nil, err
		}
		made.WriteByte(':')
		if err := encoder.Encode(each.value); err != nil {
			return nil, err
		}
	}
	made.WriteByte('}')
	return made.Bytes(), nil
}
