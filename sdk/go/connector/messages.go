package connector

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/internal/convert"
	pb "github.com/writer/aperio-plugin-go/internal/gen/aperiopluginv1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Limits of proto/aperio/plugin/v1/connector.proto, and of texts that it leaves open.
const (
	maxRecordBytes   = 1024 * 1024
	maxCursorBytes   = 64 * 1024
	maxIDBytes       = 512
	maxNameBytes     = 128
	maxActorBytes    = 64 * 1024
	maxProgressText  = 1000
	perEventInBatch  = 8 // its tag and length
	longestNamedInID = 200
)

// eventMessage gives the message of an event, and an upper bound of its size in a batch, in bytes.
// The error has the cause InvalidRecord and names the event.
func eventMessage(event Event) (*pb.Event, int, error) {
	message, err := checkedEvent(event)
	if err != nil {
		name := convert.OneLine(event.SourceEventID, longestNamedInID)
		summary := fmt.Sprintf("event %q cannot be passed on: %v", name, err)
		return nil, 0, &aperio.Error{Cause: aperio.InvalidRecord, Summary: summary, Err: err}
	}
	return message, proto.Size(message) + perEventInBatch, nil
}

func checkedEvent(event Event) (*pb.Event, error) {
	record, err := convert.Object(event.Record)
	if err != nil {
		return nil, err
	}
	at := event.OccurredAt.Truncate(time.Microsecond)
	message := &pb.Event{
		SourceEventId: event.SourceEventID,
		EventType:     event.Type,
		OccurredAt:    timestamppb.New(at),
		Source:        event.Source,
		RecordJson:    record,
	}
	if err := errors.Join(
		checkText("source_event_id", event.SourceEventID, 1, maxIDBytes),
		checkText("event_type", event.Type, 1, maxNameBytes),
		checkText("source", event.Source, 0, maxNameBytes),
		checkLength("record", len(record), maxRecordBytes),
	); err != nil {
		return nil, err
	}
	if event.OccurredAt.IsZero() {
		return nil, errors.New("occurred_at is not set")
	}
	if !message.OccurredAt.IsValid() {
		return nil, fmt.Errorf("occurred_at is outside of the years 1 to 9999: %v", at)
	}
	if event.Actor != nil {
		message.Actor, err = actorMessage(event.Actor)
	}
	return message, err
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

func actorMessage(actor *Actor) (*pb.Actor, error) {
	size := 0
	for _, text := range []string{
		actor.ID, actor.Email, actor.DisplayName, actor.Type, actor.IPAddress,
	} {
		size += len(text)
		if !utf8.ValidString(text) {
			return nil, errors.New("actor is not UTF-8")
		}
	}
	if err := checkLength("actor", size, maxActorBytes); err != nil {
		return nil, err
	}
	return &pb.Actor{
		Id:          actor.ID,
		Email:       actor.Email,
		DisplayName: actor.DisplayName,
		Type:        actor.Type,
		IpAddress:   actor.IPAddress,
	}, nil
}

func batchMessage(events []*pb.Event) *pb.SyncEvent {
	return &pb.SyncEvent{Item: &pb.SyncEvent_Batch{Batch: &pb.EventBatch{Events: events}}}
}

// checkpointMessage gives the message of a checkpoint. The error has the cause InvalidRecord: the
// cursor is too long.
func checkpointMessage(cursor []byte) (*pb.SyncEvent, error) {
	if err := checkLength("a cursor", len(cursor), maxCursorBytes); err != nil {
		return nil, &aperio.Error{Cause: aperio.InvalidRecord, Summary: err.Error()}
	}
	item := &pb.SyncEvent_Checkpoint{Checkpoint: &pb.Checkpoint{Cursor: append([]byte{}, cursor...)}}
	return &pb.SyncEvent{Item: item}, nil
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
	return &pb.SchemaResponse{
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
	}, nil
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
