package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/destination"
	"github.com/writer/aperio/plugins/nats-jetstream/busv1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	sourceID = "aperio"
	// longestKind is in bytes. Subjects share a line of 4096 bytes with other things.
	longestKind = 255
)

var (
	digest     = regexp.MustCompile(`^[0-9a-f]{64}$`)
	schemaName = regexp.MustCompile(`^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*\.v[1-9][0-9]*$`)
	// notInKind is what stands between two words of a kind, whatever else it is.
	notInKind = regexp.MustCompile(`[^a-z0-9.]+`)
	dots      = regexp.MustCompile(`_*\.[._]*`)
)

// object is a JSON object, by keys exactly as they are written: encoding/json would take
// `Organization_ID` for a field called organization_id.
type object map[string]json.RawMessage

// text gives a value that is text, and else nothing.
func (o object) text(key string) string {
	var text string
	if json.Unmarshal(o[key], &text) != nil {
		return ""
	}
	return text
}

// messageOf gives the message of an envelope. The error is why there can be none.
func messageOf(
	envelope destination.Envelope, organization, prefix string,
) (*nats.Msg, error) {
	head := object{}
	if err := json.Unmarshal(envelope.JSON, &head); err != nil || head == nil {
		return nil, errors.New("the envelope is no JSON object")
	}
	id := idOf(envelope, head)
	if id == "" {
		return nil, errors.New("the envelope has no id")
	}
	if stated := head.text("organization_id"); stated != "" && stated != organization {
		return nil, errors.New("the envelope is of another organization than the call")
	}
	at, err := aperio.ParseTime(head.text("occurred_at"), "occurred_at")
	if err != nil {
		return nil, err
	}
	schema, err := schemaRef(envelope.Stream, head)
	if err != nil {
		return nil, err
	}
	record := object{}
	_ = json.Unmarshal(head["record"], &record) // of one that is no object nothing is taken
	attributes := attributesOf(envelope, head, record)
	message := &busv1.EventEnvelope{
		Id:         id,
		TenantId:   organization,
		SourceId:   sourceID,
		Kind:       kindOf(envelope.Stream, attributes),
		OccurredAt: timestamppb.New(at),
		SchemaRef:  schema,
		Payload:    envelope.JSON,
		Attributes: attributes,
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("the envelope cannot be encoded: %w", err)
	}
	return &nats.Msg{
		Subject: prefix + "." + message.Kind,
		Header:  nats.Header{jetstream.MsgIDHeader: {messageID(organization, id)}},
		Data:    data,
	}, nil
}

// idOf gives what every repeat of an envelope has and no other envelope. A finding keeps its id when
// its status changes, and each change has to arrive: its delivery key tells them apart.
func idOf(envelope destination.Envelope, head object) string {
	if id := head.text("id"); id != "" && envelope.Stream != destination.Finding {
		return id
	}
	return envelope.ID
}

// messageID gives the id by which the server leaves out repeats, whoever they are of. Digests are
// made over the organization, too; any other id is made one here, so that two organizations with
// the same id do not count as each other's repeats.
func messageID(organization, id string) string {
	if digest.MatchString(id) {
		return id
	}
	text := fmt.Sprintf("%d:%s%d:%s", len(organization), organization, len(id), id)
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// schemaRef gives `aperio/event/v1` for `aperio.event.v1`.
func schemaRef(stream destination.Stream, head object) (string, error) {
	version := head.text("schema_version")
	if _, isStated := head["schema_version"]; !isStated {
		version = fmt.Sprintf("aperio.%s.v1", stream)
	}
	if !schemaName.MatchString(version) {
		return "", errors.New("schema_version is not like aperio.event.v1")
	}
	return strings.ReplaceAll(version, ".", "/"), nil
}

// inRecord names what stands in the record of an envelope that the server made, and above the record
// in one of ours.
var inRecord = map[string]string{
	"integration_id": "integrationId", "provider": "provider", "event_type": "eventType",
	"source_event_id": "sourceEventId",
}

// ofFinding names what is worth knowing of a finding's record.
var ofFinding = map[string]string{
	"finding_id": "findingId", "rule_id": "ruleId", "severity": "severity", "status": "status",
	"dedupe_key": "dedupeKey",
}

func attributesOf(envelope destination.Envelope, head, record object) map[string]string {
	attributes := map[string]string{}
	add := func(name, value string) {
		if value != "" && attributes[name] == "" {
			attributes[name] = value
		}
	}
	for _, name := range []string{"producer", "destination_id", "origin"} {
		add(name, head.text(name))
	}
	for name, key := range inRecord {
		add(name, head.text(name))
		// A record of ours is the service's own: what its keys mean is not known.
		if _, isOurs := head["id"]; !isOurs || envelope.Stream == destination.Finding {
			add(name, record.text(key))
		}
	}
	if envelope.Stream == destination.Finding {
		add("envelope_id", head.text("id"))
		for name, key := range ofFinding {
			add(name, record.text(key))
		}
	}
	return attributes
}

// kindOf gives `aperio.event.box.file_downloaded`: the stream, the provider, and which event or rule
// it is. Without one of the two it is `aperio.event` alone. Kinds of the server have three words.
func kindOf(stream destination.Stream, attributes map[string]string) string {
	kind := "aperio." + string(stream)
	name := attributes["event_type"]
	if stream == destination.Finding {
		name = attributes["rule_id"]
	}
	provider, name := words(attributes["provider"]), words(name)
	name = strings.TrimPrefix(name, provider+".")
	detailed := fmt.Sprintf("%s.%s.%s", kind, strings.ReplaceAll(provider, ".", "_"), name)
	if provider == "" || name == "" || len(detailed) > longestKind {
		return kind
	}
	return detailed
}

// words gives a text in lower-case letters and digits, with one dot where it had some, and one
// underscore for whatever else stood between.
func words(text string) string {
	text = notInKind.ReplaceAllString(strings.ToLower(text), "_")
	return strings.Trim(dots.ReplaceAllString(text, "."), "._")
}
