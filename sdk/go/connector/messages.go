package connector

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	aperio "github.com/writer/aperio-plugin-go"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/convert"
	"github.com/writer/aperio-plugin-go/internal/jsontext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	maxProgressText = 1000
	perEventInBatch = 8 // its tag and length
)

// checkWhole refuses a text that was read with U+FFFD in the place of half of a surrogate pair: two
// ids that differ in nothing else would be one. Go reads them so, and says nothing.
func checkWhole(record []byte, name, text string) error {
	if strings.ContainsRune(text, utf8.RuneError) && jsontext.HasHalf(record) {
		return fmt.Errorf("%s has half of a surrogate pair, which UTF-8 does not have", name)
	}
	return nil
}

// eventMessage gives the message of an event, and an upper bound of its size in a batch, in bytes.
// The error names the part that is malformed or too long.
func eventMessage(event Event) (*pb.Event, int, error) {
	record, err := convert.Object(event.Record)
	if err != nil {
		return nil, 0, fmt.Errorf("record: %w", err)
	}
	if err := errors.Join(
		checkText("source_event_id", event.SourceEventID, 1, maxIDBytes),
		checkText("event_type", event.Type, 1, maxNameBytes),
		checkText("origin", event.Origin, 0, maxNameBytes),
		checkText("native_event_type", event.NativeType, 0, maxNameBytes),
		checkWhole(record, "source_event_id", event.SourceEventID),
		checkWhole(record, "event_type", event.Type),
		checkWhole(record, "native_event_type", event.NativeType),
		checkLength("record", len(record), maxRecordBytes),
		aperio.CheckTime(event.OccurredAt, "occurred_at"),
	); err != nil {
		return nil, 0, err
	}
	if err := jsontext.CheckObject(record, maxRecordDepth); err != nil {
		return nil, 0, fmt.Errorf("record: %w", err)
	}
	message := &pb.Event{
		SourceEventId:   event.SourceEventID,
		EventType:       event.Type,
		OccurredAt:      timestamppb.New(event.OccurredAt),
		Origin:          event.Origin,
		RecordJson:      record,
		NativeEventType: event.NativeType,
	}
	if event.Actor != nil {
		message.Actor = actorMessage(event.Actor)
	}
	return message, proto.Size(message) + perEventInBatch, nil
}

// letterOf gives the dead letter of an event that cannot be passed on.
func letterOf(event Event, reason error) DeadLetter {
	return DeadLetter{
		Reason: reason.Error(), SourceEventID: event.SourceEventID, Type: event.Type,
		Origin: event.Origin, Record: readable(event.Record),
	}
}

func checkText(name, text string, least, most int) error {
	if len(text) < least {
		return fmt.Errorf("%s is empty", name)
	}
	if !utf8.ValidString(text) {
		return fmt.Errorf("%s is not UTF-8", name)
	}
	return checkLength(name, len(text), most)
}

func checkLength(name string, length, most int) error {
	if length > most {
		return fmt.Errorf("%s has %d bytes, %d are the most", name, length, most)
	}
	return nil
}

// actorMessage gives the message of an actor. Bytes that are not UTF-8, and U+0000, are replaced,
// texts that are too long are cut: the record has what the service wrote, here it is for people.
func actorMessage(actor *Actor) *pb.Actor {
	return &pb.Actor{
		Id:          actorText(actor.ID),
		Email:       actorText(actor.Email),
		DisplayName: actorText(actor.DisplayName),
		Type:        actorText(actor.Type),
		IpAddress:   actorText(actor.IPAddress),
	}
}

func actorText(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	if len(text) <= maxActorCharacters || utf8.RuneCountInString(text) <= maxActorCharacters {
		return text
	}
	characters := []rune(text)
	return string(characters[:maxActorCharacters-1]) + "…"
}

// checkpointMessage gives the message of a checkpoint. The error has the cause InvalidRecord: the
// cursor is too long.
func checkpointMessage(checkpoint Checkpoint) (*pb.SyncEvent, error) {
	if err := checkCheckpoint(checkpoint); err != nil {
		return nil, &aperio.Error{Cause: aperio.InvalidRecord, Summary: err.Error()}
	}
	message := &pb.Checkpoint{
		Cursor: append([]byte{}, checkpoint.Cursor...), Stream: checkpoint.Stream,
	}
	if !checkpoint.CoversUntil.IsZero() {
		message.CoversUntil = timestamppb.New(checkpoint.CoversUntil)
	}
	return &pb.SyncEvent{Item: &pb.SyncEvent_Checkpoint{Checkpoint: message}}, nil
}

func checkCheckpoint(checkpoint Checkpoint) error {
	if checkpoint.Stream != "" && !streamName.MatchString(checkpoint.Stream) {
		return fmt.Errorf("a checkpoint of no stream: %.80q", checkpoint.Stream)
	}
	if !checkpoint.CoversUntil.IsZero() {
		if err := aperio.CheckTime(checkpoint.CoversUntil, "covers_until"); err != nil {
			return fmt.Errorf("a checkpoint's %w", err)
		}
	}
	return checkLength("a cursor", len(checkpoint.Cursor), maxCursorBytes)
}

func progressMessage(progress Progress) *pb.SyncEvent {
	return &pb.SyncEvent{Item: &pb.SyncEvent_Progress{Progress: &pb.Progress{
		Done:    progress.Done,
		Total:   progress.Total,
		Message: convert.OneLine(progress.Message, maxProgressText),
	}}}
}

// schemaMessage gives the message of a schema. The error is about a part that makes no sense.
func schemaMessage(schema Schema) (*pb.SchemaResponse, error) {
	if err := aperio.CheckDeclaration(schema.Fields, schema.Auth); err != nil {
		return nil, err
	}
	availability, err := convert.Named(
		schema.Availability, map[Availability]pb.SchemaResponse_Availability{
			Preview:         pb.SchemaResponse_AVAILABILITY_PREVIEW,
			ProductionReady: pb.SchemaResponse_AVAILABILITY_PRODUCTION_READY,
		})
	fields, fieldsErr := convert.All(schema.Fields, convert.Field)
	auth, authErr := convert.Auth(schema.Auth)
	checks, checksErr := convert.All(schema.Checks, checkMessage)
	actions, actionsErr := convert.All(schema.Actions, actionMessage)
	if err := errors.Join(err, fieldsErr, authErr, checksErr, actionsErr); err != nil {
		return nil, err
	}
	message := &pb.SchemaResponse{
		Interface:          convert.Interface(),
		Provider:           schema.Provider,
		Name:               schema.Name,
		Category:           schema.Category,
		Availability:       availability,
		Description:        schema.Description,
		DocsUrl:            schema.DocsURL,
		ReadScopes:         schema.ReadScopes,
		RemediationScopes:  schema.RemediationScopes,
		Fields:             fields,
		Auth:               auth,
		Checks:             checks,
		RemediationActions: actions,
		EventTypes:         schema.EventTypes,
		ReadinessNote:      schema.ReadinessNote,
		AccountIdField:     schema.AccountIDField,
	}
	for _, feature := range schema.Features {
		message.Interface.Features = append(message.Interface.Features, string(feature))
	}
	for _, stream := range schema.Streams {
		declared := &pb.Stream{Name: stream.Name, Description: stream.Description}
		message.Streams = append(message.Streams, declared)
	}
	for _, mapping := range schema.EventMappings {
		declared := &pb.EventMapping{
			EventType: mapping.Type, ProductEventType: mapping.ProductType,
		}
		message.EventMappings = append(message.EventMappings, declared)
	}
	return message, checkSchema(message)
}

func checkMessage(check Check) (*pb.Check, error) {
	hint, err := convert.Hint(check.SeverityHint)
	return &pb.Check{
		Key:              check.Key,
		Title:            check.Title,
		Description:      check.Description,
		SeverityHint:     hint,
		EnabledByDefault: !check.DisabledByDefault,
	}, err
}

func actionMessage(action Action) (*pb.RemediationAction, error) {
	hint, err := convert.Hint(action.SeverityHint)
	return &pb.RemediationAction{
		Key:          action.Key,
		Label:        action.Label,
		Description:  action.Description,
		SeverityHint: hint,
	}, err
}
