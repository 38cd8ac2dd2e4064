package plugintest

import (
	"cmp"
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
	// EventsBefore, FindingsBefore and AuditLogBefore are how many events, findings and audit log
	// entries of this sync it covers.
	EventsBefore, FindingsBefore, AuditLogBefore int
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
	// Findings in order, as the host receives them: evidence is json.RawMessage, nil for none.
	Findings []connector.Finding
	// AuditLog has the entries in order, as the host receives them.
	AuditLog []connector.AuditLogEntry
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
	rules := newRules(h.schema)
	for {
		message, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return result, nil
		case err != nil:
			return result, told(err, stream.Trailer())
		}
		if err := result.take(message, rules); err != nil {
			return result, err
		}
		if mostEvents >= 0 && len(result.Events) >= mostEvents {
			result.Events = result.Events[:mostEvents]
			return result, nil
		}
	}
}

// ResumeFromEveryCheckpoint proves that nothing is lost, whichever checkpoint a sync goes on from,
// and gives the sync from the beginning. The test fails when a sync fails, or when one that went on
// from a checkpoint lacks events, findings or audit log entries, which it names.
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
		if lost := missing(full.names(checkpoint), resumed.names(Checkpoint{})); len(lost) > 0 {
			h.t.Errorf(
				"the sync from checkpoint %d (%q) lost %d events: %s",
				number+1, checkpoint.Cursor, len(lost), strings.Join(lost[:min(10, len(lost))], ", "),
			)
		}
	}
	return full
}

func missing(wanted, given []string) []string {
	known := make(map[string]bool, len(given))
	for _, name := range given {
		known[name] = true
	}
	var lost []string
	for _, name := range wanted {
		if !known[name] {
			lost = append(lost, name)
		}
	}
	return lost
}

// names tells apart all that a sync gave after a checkpoint.
func (r *SyncResult) names(after Checkpoint) []string {
	var names []string
	for _, event := range r.Events[after.EventsBefore:] {
		names = append(names, event.SourceEventID)
	}
	for _, finding := range r.Findings[after.FindingsBefore:] {
		target := cmp.Or(finding.DedupeTarget, finding.Target)
		names = append(names, fmt.Sprintf(
			"finding %s of %s (%d, %s)", finding.RuleID, target, finding.Status, finding.SourceEventID,
		))
	}
	for _, entry := range r.AuditLog[after.AuditLogBefore:] {
		names = append(names, "audit log entry "+entry.SourceEventID)
	}
	return names
}

// rules are what a schema promises of a sync.
type rules struct {
	schema   *pb.SchemaResponse
	events   *fitting.Events
	findings *fitting.Findings
	auditLog *fitting.AuditLog
}

func newRules(schema *pb.SchemaResponse) *rules {
	var checks []string
	for _, check := range schema.GetChecks() {
		checks = append(checks, check.GetKey())
	}
	features := schema.GetInterface().GetFeatures()
	return &rules{
		schema,
		fitting.NewEvents(schema.GetProvider(), schema.GetEventTypes()),
		fitting.NewFindings(schema.GetProvider(), checks, features),
		fitting.NewAuditLog(features),
	}
}

// hold holds something against what the connector promises, and notes what others cannot store. The
// error is an InvalidRecord: it is not as promised.
func (r *SyncResult) hold(subject string, flaws []fitting.Flaw, record []byte) error {
	if len(flaws) > 0 {
		said := fmt.Sprintf("%s: %s", subject, flaws[0].Text)
		return &aperio.Error{Cause: aperio.InvalidRecord, Summary: said}
	}
	if fitting.HasNUL(record) {
		r.Doubts = append(r.Doubts, fmt.Sprintf("%s: %s", subject, fitting.NULDoubt))
	}
	return nil
}

// take keeps a message. The error is an InvalidRecord: something is not what the connector promises.
func (r *SyncResult) take(message *pb.SyncEvent, rules *rules) error {
	r.Messages++
	switch item := message.GetItem().(type) {
	case *pb.SyncEvent_Batch:
		for _, event := range item.Batch.GetEvents() {
			subject := fmt.Sprintf("event %q", event.GetSourceEventId())
			flaws := rules.events.Flaws(event.GetSourceEventId(), event.GetEventType())
			if err := r.hold(subject, flaws, event.GetRecordJson()); err != nil {
				return err
			}
			r.Events = append(r.Events, eventFrom(event))
		}
	case *pb.SyncEvent_Findings:
		for _, finding := range item.Findings.GetFindings() {
			subject := fmt.Sprintf("finding %q", finding.GetSourceEventId())
			flaws := rules.findings.Flaws(occurrenceOf(finding), finding.GetEventType())
			if err := r.hold(subject, flaws, finding.GetEvidenceJson()); err != nil {
				return err
			}
			r.Findings = append(r.Findings, findingFrom(finding))
		}
	case *pb.SyncEvent_AuditLog:
		for _, entry := range item.AuditLog.GetEntries() {
			subject := fmt.Sprintf("entry %q", entry.GetSourceEventId())
			flaws := rules.auditLog.Flaws(entry.GetSourceEventId())
			if err := r.hold(subject, flaws, entry.GetRecordJson()); err != nil {
				return err
			}
			r.AuditLog = append(r.AuditLog, entryFrom(entry))
		}
	case *pb.SyncEvent_Checkpoint:
		return r.takeCheckpoint(item.Checkpoint, rules.schema)
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
		Cursor: message.GetCursor(), EventsBefore: len(r.Events), FindingsBefore: len(r.Findings),
		AuditLogBefore: len(r.AuditLog), Stream: message.GetStream(),
	}
	if message.GetCoversUntil() != nil {
		checkpoint.CoversUntil = message.GetCoversUntil().AsTime()
	}
	r.Checkpoints = append(r.Checkpoints, checkpoint)
	return nil
}

func eventFrom(message *pb.Event) connector.Event {
	return connector.Event{
		SourceEventID: message.GetSourceEventId(),
		Type:          message.GetEventType(),
		OccurredAt:    message.GetOccurredAt().AsTime(),
		Origin:        message.GetOrigin(),
		NativeType:    message.GetNativeEventType(),
		Actor:         actorFrom(message.GetActor()),
		Record:        json.RawMessage(message.GetRecordJson()),
	}
}

func actorFrom(message *pb.Actor) *connector.Actor {
	if message == nil {
		return nil
	}
	return &connector.Actor{
		ID: message.GetId(), Email: message.GetEmail(), DisplayName: message.GetDisplayName(),
		Type: message.GetType(), IPAddress: message.GetIpAddress(),
	}
}

func occurrenceOf(message *pb.Finding) fitting.Occurrence {
	return fitting.Occurrence{
		RuleID: message.GetRuleId(), Target: cmp.Or(message.GetDedupeTarget(), message.GetTarget()),
		Status: message.GetStatus().String(), SourceEventID: message.GetSourceEventId(),
	}
}

// findingFrom gives a finding; its severities have the wire's numbers, its statuses one less.
func findingFrom(message *pb.Finding) connector.Finding {
	finding := connector.Finding{
		RuleID: message.GetRuleId(), Title: message.GetTitle(),
		Description: message.GetDescription(),
		Severity:    connector.FindingSeverity(message.GetSeverity()),
		RiskScore:   int(message.GetRiskScore()), RemediationSteps: message.GetRemediationSteps(),
		Target: message.GetTarget(), DedupeTarget: message.GetDedupeTarget(),
		Status:        connector.FindingStatus(message.GetStatus() - pb.Finding_STATUS_OPEN),
		OccurredAt:    message.GetOccurredAt().AsTime(),
		SourceEventID: message.GetSourceEventId(), EventType: message.GetEventType(),
		Actor: actorFrom(message.GetActor()), Origin: message.GetOrigin(), Tags: message.GetTags(),
	}
	if len(message.GetEvidenceJson()) > 0 {
		finding.Evidence = json.RawMessage(message.GetEvidenceJson())
	}
	return finding
}

func entryFrom(message *pb.AuditLogEntry) connector.AuditLogEntry {
	return connector.AuditLogEntry{
		SourceEventID: message.GetSourceEventId(), Action: message.GetAction(),
		OccurredAt: message.GetOccurredAt().AsTime(), Actor: actorFrom(message.GetActor()),
		Origin: message.GetOrigin(), Record: json.RawMessage(message.GetRecordJson()),
	}
}
