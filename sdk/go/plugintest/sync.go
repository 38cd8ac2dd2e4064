package plugintest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/connector"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/fitting"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Checkpoint is a checkpoint as the host receives it.
type Checkpoint struct {
	// Cursor is what a later sync gets.
	Cursor []byte
	// EventsBefore is how many events of this sync it covers.
	EventsBefore int
	// Stream is the declared stream that has come on; empty: all of them.
	Stream string
	// CoversUntil is the time up to which it was read; zero: not known.
	CoversUntil time.Time
}

// DeadLetter is a dead letter as the host receives it: cut to its limits.
type DeadLetter struct {
	// Reason, Code, SourceEventID, Position, Type and Origin are as connector.DeadLetter has them.
	Reason, Code, SourceEventID, Position, Type, Origin string
	// Excerpt is the beginning of the record.
	Excerpt string
	// RecordBytes is the length of the whole.
	RecordBytes uint64
}

// SyncResult is what one sync gave.
type SyncResult struct {
	// Events in order, as the host receives them: records are json.RawMessage.
	Events []connector.Event
	// Checkpoints in order.
	Checkpoints []Checkpoint
	// Progress in order.
	Progress []connector.Progress
	// DeadLetters in order: what was skipped.
	DeadLetters []DeadLetter
	// Doubts in order: of events that pass, what somebody may not be able to store.
	Doubts []string
	// Messages is how many messages went to the host; a batch of events is one.
	Messages int
}

// Sync runs a connector's sync from a cursor, nil: from the beginning, to its end. The error is the
// *aperio.Error that the host is told; what came before it is in the result.
func (h *Harness) Sync(cursor []byte) (*SyncResult, error) {
	return h.SyncRequest(connector.SyncRequest{Cursor: cursor})
}

// SyncRequest is Sync, and asks for what a host may ask for beside a cursor. Its Invocation is the
// harness's own.
func (h *Harness) SyncRequest(request connector.SyncRequest) (*SyncResult, error) {
	return h.sync(request, -1)
}

// SyncUntil runs a sync and cancels it, as a host may at any time, after so many events.
func (h *Harness) SyncUntil(cursor []byte, events int) (*SyncResult, error) {
	return h.sync(connector.SyncRequest{Cursor: cursor}, events)
}

func (h *Harness) sync(asked connector.SyncRequest, mostEvents int) (*SyncResult, error) {
	ctx, cancel := h.context()
	defer cancel()
	result := &SyncResult{}
	client := pb.NewConnectorPluginClient(h.connection)
	request := &pb.SyncRequest{
		Context: h.invocation, Cursor: asked.Cursor,
		Streams: asked.Streams, EventTypes: asked.EventTypes,
	}
	if !asked.From.IsZero() {
		request.From = timestamppb.New(asked.From)
	}
	stream, err := client.Sync(ctx, request)
	if err != nil {
		return result, told(err, nil)
	}
	rules := fitting.NewEvents(h.schema.GetProvider(), h.schema.GetEventTypes())
	for {
		message, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return result, nil
		case err != nil:
			return result, told(err, stream.Trailer())
		}
		if err := result.take(message, rules, h.schema); err != nil {
			return result, err
		}
		if mostEvents >= 0 && len(result.Events) >= mostEvents {
			result.Events = result.Events[:mostEvents]
			return result, nil
		}
	}
}

// ResumeFromEveryCheckpoint proves that no event is lost, whichever checkpoint a sync goes on from,
// and gives the sync from the beginning. The test fails when a sync fails, or when one that went on
// from a checkpoint lacks events, whose ids it names.
func (h *Harness) ResumeFromEveryCheckpoint() *SyncResult {
	h.t.Helper()
	full, err := h.Sync(nil)
	if err != nil {
		h.t.Fatalf("the sync from the beginning failed: %v", err)
	}
	for number, checkpoint := range full.Checkpoints {
		resumed, err := h.Sync(checkpoint.Cursor)
		if err != nil {
			h.t.Fatalf("the sync from checkpoint %d failed: %v", number+1, err)
		}
		if lost := missing(full.Events[checkpoint.EventsBefore:], resumed.Events); len(lost) > 0 {
			h.t.Errorf(
				"the sync from checkpoint %d (%q) lost %d events: %s",
				number+1, checkpoint.Cursor, len(lost), strings.Join(lost[:min(10, len(lost))], ", "),
			)
		}
	}
	return full
}

func missing(wanted, given []connector.Event) []string {
	known := make(map[string]bool, len(given))
	for _, event := range given {
		known[event.SourceEventID] = true
	}
	var lost []string
	for _, event := range wanted {
		if !known[event.SourceEventID] {
			lost = append(lost, event.SourceEventID)
		}
	}
	return lost
}

// take keeps a message. The error is an InvalidRecord: an event is not what the connector promises.
func (r *SyncResult) take(
	message *pb.SyncEvent, rules *fitting.Events, schema *pb.SchemaResponse,
) error {
	r.Messages++
	switch item := message.GetItem().(type) {
	case *pb.SyncEvent_Batch:
		for _, event := range item.Batch.GetEvents() {
			found := rules.Findings(event.GetSourceEventId(), event.GetEventType())
			if len(found) > 0 {
				said := fmt.Sprintf("event %q: %s", event.GetSourceEventId(), found[0].Text)
				return &aperio.Error{Cause: aperio.InvalidRecord, Summary: said}
			}
			if fitting.HasNUL(event.GetRecordJson()) {
				doubt := fmt.Sprintf("event %q: %s", event.GetSourceEventId(), fitting.NULDoubt)
				r.Doubts = append(r.Doubts, doubt)
			}
			r.Events = append(r.Events, eventFrom(event))
		}
	case *pb.SyncEvent_Checkpoint:
		return r.takeCheckpoint(item.Checkpoint, schema)
	case *pb.SyncEvent_DeadLetter:
		letter := item.DeadLetter
		r.DeadLetters = append(r.DeadLetters, DeadLetter{
			Reason: letter.GetReason(), Code: letter.GetCode(),
			SourceEventID: letter.GetSourceEventId(), Position: letter.GetPosition(),
			Type: letter.GetEventType(), Origin: letter.GetOrigin(),
			Excerpt: letter.GetExcerpt(), RecordBytes: letter.GetRecordBytes(),
		})
	case *pb.SyncEvent_Progress:
		told := item.Progress
		r.Progress = append(r.Progress, connector.Progress{
			Done: told.GetDone(), Total: told.GetTotal(), Message: told.GetMessage(),
		})
	}
	return nil
}

func (r *SyncResult) takeCheckpoint(message *pb.Checkpoint, schema *pb.SchemaResponse) error {
	isDeclared := func(stream *pb.Stream) bool { return stream.GetName() == message.GetStream() }
	if message.GetStream() != "" && !slices.ContainsFunc(schema.GetStreams(), isDeclared) {
		said := fmt.Sprintf(
			"checkpoint: stream %s: the schema does not declare it", message.GetStream(),
		)
		return &aperio.Error{Cause: aperio.InvalidRecord, Summary: said}
	}
	checkpoint := Checkpoint{
		Cursor: message.GetCursor(), EventsBefore: len(r.Events), Stream: message.GetStream(),
	}
	if message.GetCoversUntil() != nil {
		checkpoint.CoversUntil = message.GetCoversUntil().AsTime()
	}
	r.Checkpoints = append(r.Checkpoints, checkpoint)
	return nil
}

func eventFrom(message *pb.Event) connector.Event {
	event := connector.Event{
		SourceEventID: message.GetSourceEventId(),
		Type:          message.GetEventType(),
		OccurredAt:    message.GetOccurredAt().AsTime(),
		Origin:        message.GetOrigin(),
		NativeType:    message.GetNativeEventType(),
		Record:        json.RawMessage(message.GetRecordJson()),
	}
	if actor := message.GetActor(); actor != nil {
		event.Actor = &connector.Actor{
			ID: actor.GetId(), Email: actor.GetEmail(), DisplayName: actor.GetDisplayName(),
			Type: actor.GetType(), IPAddress: actor.GetIpAddress(),
		}
	}
	return event
}
