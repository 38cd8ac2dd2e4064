package destination

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"
)

// exact is from where on two whole numbers may be one float64: their digits are kept.
const exact = 1 << 53

var productStreams = map[Stream]string{
	Finding: "FINDINGS", Event: "EVENTS", AuditLog: "AUDIT_LOGS",
}

// deliveryKey is what a key is the hash of; the fields stand in the order of the specification.
type deliveryKey struct {
	OrganizationID    string `json:"organizationId"`
	DestinationID     string `json:"destinationId"`
	Stream            string `json:"stream"`
	Kind              string `json:"kind"`
	StableRecordID    string `json:"stableRecordId"`
	FindingOccurrence string `json:"findingOccurrence,omitempty"`
	FindingStatus     string `json:"findingStatus,omitempty"`
}

// DeliveryKey gives what an envelope is deduplicated by, the id under which a host hands it over: 64
// lower-case hex digits, as the comment of OutboundEnvelope.id in destination.proto says. The
// envelope is the host's own or the product's; a call of aperio has the destination's id as its
// integration id. The error is about what is no JSON object in UTF-8, of another kind, or has no
// record.
func DeliveryKey(organizationID, destinationID string, envelope []byte) (string, error) {
	found, err := objectFrom(envelope)
	if err != nil {
		return "", err
	}
	kind, _ := found["kind"].(string)
	stream, isKnown := productStreams[Stream(kind)]
	if !isKnown {
		return "", fmt.Errorf("unknown kind of envelope %q", kind)
	}
	key := deliveryKey{
		OrganizationID: organizationID, DestinationID: destinationID, Stream: stream, Kind: kind,
	}
	if Stream(kind) != Finding {
		key.StableRecordID = firstText(found["id"])
	}
	if key.StableRecordID == "" {
		if err := key.fill(found); err != nil {
			return "", err
		}
	}
	encoded, err := json.Marshal(key)
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256(encoded)
	return hex.EncodeToString(digest[:]), nil
}

// fill takes from the record what tells it from others.
func (k *deliveryKey) fill(envelope map[string]any) error {
	record, isObject := envelope["record"].(map[string]any)
	if !isObject {
		return errors.New("the envelope has no record that is an object")
	}
	k.StableRecordID = firstText(
		record["findingId"], record["id"], record["dedupeKey"], record["sourceEventId"])
	if k.StableRecordID == "" {
		encoded, err := json.Marshal(record)
		if err != nil {
			return err
		}
		k.StableRecordID = string(encoded)
	}
	if Stream(k.Kind) == Finding {
		k.FindingOccurrence = firstText(
			record["sourceEventId"], record["detectedAt"], envelope["occurred_at"])
		k.FindingStatus = firstText(record["status"])
	}
	return nil
}

// firstText gives the first value that can be an id, as text: no object, list, null or blank.
func firstText(values ...any) string {
	for _, value := range values {
		switch value := value.(type) {
		case string:
			if text := strings.TrimSpace(value); text != "" {
				return text
			}
		case float64, bool, json.Number:
			return fmt.Sprint(value)
		}
	}
	return ""
}

func objectFrom(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("the envelope is not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("the envelope is not JSON: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the envelope")
	}
	object, isObject := withDoubles(value).(map[string]any)
	if !isObject {
		return nil, errors.New("the envelope is no JSON object")
	}
	return object, nil
}

// withDoubles gives a value with its numbers as the product holds them, which is as float64, except
// for those that would become another number.
func withDoubles(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key := range value {
			value[key] = withDoubles(value[key])
		}
	case []any:
		for index := range value {
			value[index] = withDoubles(value[index])
		}
	case json.Number:
		double, err := value.Float64()
		isWhole := !strings.ContainsAny(value.String(), ".eE")
		if err == nil && !(isWhole && math.Abs(double) >= exact) {
			return double
		}
	}
	return value
}
