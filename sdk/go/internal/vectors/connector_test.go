package vectors_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/connector"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/plugintest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// scripted is a connector whose methods are given.
type scripted struct {
	schema connector.Schema
	test   func() (*connector.TestResult, error)
	sync   func(*connector.Stream) error
	oauth  func(*aperio.Invocation) error
	asked  func(*connector.SyncRequest)
}

func (s *scripted) Schema() connector.Schema { return s.schema }

func (s *scripted) TestConnection(
	context.Context, *aperio.Invocation,
) (*connector.TestResult, error) {
	return s.test()
}

func (s *scripted) Sync(request *connector.SyncRequest, stream *connector.Stream) error {
	if s.asked != nil {
		s.asked(request)
	}
	return s.sync(stream)
}

func (s *scripted) OAuthCallback(
	_ context.Context, call *aperio.Invocation, _ map[string]string,
) (map[string]string, error) {
	return nil, s.oauth(call)
}

// synced gives the messages of a sync, and what the host is told when it fails.
func synced(
	t *testing.T, sync func(*connector.Stream) error, seen func(*pb.SyncEvent),
) ([]*pb.SyncEvent, *told) {
	t.Helper()
	connection, _ := served(t, connector.NewService(&scripted{sync: sync}))
	client := pb.NewConnectorPluginClient(connection)
	stream, err := client.Sync(deadline(t), &pb.SyncRequest{Context: invocation(nil)})
	must(t, err)
	var came []*pb.SyncEvent
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return came, nil
		}
		if err != nil {
			return came, toldBy(t, err, stream.Trailer())
		}
		came = append(came, message)
		seen(message)
	}
}

// wantedLetter is what the dead letter of an event says.
type wantedLetter struct{ Reason string }

func (w wantedLetter) assert(t *testing.T, letter *pb.DeadLetter, id string) {
	t.Helper()
	if letter.GetCode() != "record-invalid" || !strings.Contains(letter.GetReason(), w.Reason) {
		t.Errorf("got %v, want %q", letter, w.Reason)
	}
	if got := letter.GetSourceEventId(); !strings.HasPrefix(id, got) || (got == "") != (id == "") {
		t.Errorf("got the id %q, want %q", got, id)
	}
}

func TestAnEventIsPassedOnOrBecomesADeadLetter(t *testing.T) {
	type scenario struct {
		Name  string
		Event struct {
			SourceEventID string          `json:"source_event_id"`
			Type          string          `json:"event_type"`
			OccurredAt    string          `json:"occurred_at"`
			Origin        string          `json:"origin"`
			NativeType    string          `json:"native_event_type"`
			Record        any             `json:"record"`
			RecordRaw     *string         `json:"record_raw"`
			RecordHex     *string         `json:"record_hex"`
			Actor         *map[string]any `json:"actor"`
		}
		Expect     json.RawMessage
		Record     any           `json:"record"`
		RecordRaw  *string       `json:"record_raw"`
		DeadLetter *wantedLetter `json:"dead_letter"`
	}
	forEach(t, "events.json", func(t *testing.T, c scenario) {
		event := connector.Event{
			SourceEventID: c.Event.SourceEventID, Type: c.Event.Type,
			Origin: c.Event.Origin, NativeType: c.Event.NativeType, Record: c.Event.Record,
		}
		var err error
		event.OccurredAt, err = aperio.ParseTime(c.Event.OccurredAt, "occurred_at")
		must(t, err)
		if c.Event.RecordRaw != nil {
			event.Record = json.RawMessage(*c.Event.RecordRaw)
		}
		if c.Event.RecordHex != nil {
			event.Record, err = hex.DecodeString(*c.Event.RecordHex)
			must(t, err)
		}
		if c.Event.Actor != nil {
			event.Actor = actorOf(*c.Event.Actor)
		}
		came := sentEvent(t, event)
		if c.DeadLetter != nil {
			c.DeadLetter.assert(t, came.GetDeadLetter(), event.SourceEventID)
			return
		}
		message := came.GetBatch().GetEvents()[0]
		assertRecord(t, message.GetRecordJson(), c.Record, c.RecordRaw)
		message.RecordJson = nil
		assertMessage(t, message, c.Expect)
	})
}

func TestATimeHasOneMeaning(t *testing.T) {
	type scenario struct {
		Name, Text     string
		Seconds, Nanos int64
		Error          string
	}
	forEach(t, "times.json", func(t *testing.T, c scenario) {
		at, err := aperio.ParseTime(c.Text, "occurred_at")
		if c.Error != "" {
			if err == nil || !strings.Contains(err.Error(), c.Error) {
				t.Errorf("got %v, %v", at, err)
			}
			return
		}
		must(t, err)
		message := sentEvent(t, connector.Event{
			SourceEventID: "e1", Type: "x.y", OccurredAt: at, Record: json.RawMessage("{}"),
		}).GetBatch().GetEvents()[0].GetOccurredAt()
		if message.GetSeconds() != c.Seconds || int64(message.GetNanos()) != c.Nanos {
			t.Errorf("got %v", message)
		}
	})
}

func TestARetryAfterHasOneMeaning(t *testing.T) {
	type scenario struct {
		Name, Value string
		Seconds     *float64
	}
	now := time.Date(2015, 10, 21, 7, 27, 50, 0, time.UTC)
	forEach(t, "retry_after.json", func(t *testing.T, c scenario) {
		got, found := aperio.ParseRetryAfter(c.Value, now)
		if found != (c.Seconds != nil) || found && got.Seconds() != *c.Seconds {
			t.Errorf("got %v, %v", got, found)
		}
	})
}

func TestAnEventPassesUpToItsLimits(t *testing.T) {
	type scenario struct {
		Name   string
		Passes bool
		Event  struct {
			SourceEventID string `json:"source_event_id"`
			Type          string `json:"event_type"`
			Origin        string
			NativeType    string `json:"native_event_type"`
			Seconds       int64
			Record        string
			Actor         *map[string]any
		}
	}
	forEach(t, "limits.json", func(t *testing.T, c scenario) {
		event := connector.Event{
			SourceEventID: c.Event.SourceEventID, Type: c.Event.Type, Origin: c.Event.Origin,
			NativeType: c.Event.NativeType,
			OccurredAt: time.Unix(c.Event.Seconds, 0), Record: json.RawMessage(c.Event.Record),
		}
		if c.Event.Actor != nil {
			event.Actor = actorOf(*c.Event.Actor)
		}
		if message := sentEvent(t, event); c.Passes != (message.GetBatch() != nil) {
			t.Errorf("got %.200v", message)
		}
	})
}

func TestACheckpointSaysWhatItCovers(t *testing.T) {
	type scenario struct {
		Name       string
		Checkpoint struct {
			Cursor, Stream string
			CoversUntil    string `json:"covers_until"`
		}
		Expect json.RawMessage
		Error  *wantedError
	}
	forEach(t, "checkpoints.json", func(t *testing.T, c scenario) {
		checkpoint := connector.Checkpoint{
			Cursor: []byte(c.Checkpoint.Cursor), Stream: c.Checkpoint.Stream,
		}
		if c.Checkpoint.CoversUntil != "" {
			// The SDK itself refuses times outside of the years, too.
			checkpoint.CoversUntil, _ = aperio.ParseTime(c.Checkpoint.CoversUntil, "covers_until")
		}
		came, failed := synced(t, func(stream *connector.Stream) error {
			if err := stream.Send(connector.Event{
				SourceEventID: "e1", Type: "x.y", OccurredAt: time.Unix(0, 0),
				Record: json.RawMessage("{}"),
			}); err != nil {
				return err
			}
			return stream.SendCheckpoint(checkpoint)
		}, func(*pb.SyncEvent) {})
		if len(came[0].GetBatch().GetEvents()) != 1 {
			t.Errorf("got %v", came)
		}
		if c.Error != nil {
			c.Error.assert(t, failed)
			return
		}
		if failed != nil {
			t.Fatalf("it failed with %v", failed)
		}
		assertMessage(t, came[1].GetCheckpoint(), c.Expect)
	})
}

// asked is what a host asks a sync for, and what an author sees of it.
type asked struct {
	Cursor      string
	From        string
	FromSeconds int64 `json:"from_seconds"`
	Streams     []string
	EventTypes  []string `json:"event_types"`
}

func (a asked) message(t *testing.T) *pb.SyncRequest {
	request := &pb.SyncRequest{
		Context: invocation(nil), Cursor: []byte(a.Cursor), Streams: a.Streams,
		EventTypes: a.EventTypes,
	}
	if a.From != "" {
		from, err := aperio.ParseTime(a.From, "from")
		must(t, err)
		request.From = timestamppb.New(from)
	}
	if a.FromSeconds != 0 {
		request.From = &timestamppb.Timestamp{Seconds: a.FromSeconds}
	}
	return request
}

func TestARequestForASyncIsSeenOrRefused(t *testing.T) {
	type scenario struct {
		Name   string
		Schema struct {
			Features   []connector.Feature
			Streams    []string
			EventTypes []string `json:"event_types"`
		}
		Request asked
		Expect  asked
		Error   *wantedError
	}
	forEach(t, "sync_requests.json", func(t *testing.T, c scenario) {
		plugin := &scripted{schema: connector.Schema{
			Provider: "X", Name: "X", Features: c.Schema.Features, EventTypes: c.Schema.EventTypes,
		}}
		for _, name := range c.Schema.Streams {
			plugin.schema.Streams = append(
				plugin.schema.Streams, connector.DeclaredStream{Name: name},
			)
		}
		var seen *asked
		plugin.asked = func(request *connector.SyncRequest) {
			seen = &asked{
				Cursor: string(request.Cursor), Streams: append([]string{}, request.Streams...),
				EventTypes: append([]string{}, request.EventTypes...),
			}
			if !request.From.IsZero() {
				seen.From = request.From.Format(time.RFC3339Nano)
			}
		}
		plugin.sync = func(*connector.Stream) error { return nil }
		connection, _ := served(t, connector.NewService(plugin))
		stream, err := pb.NewConnectorPluginClient(connection).Sync(deadline(t), c.Request.message(t))
		must(t, err)
		_, err = stream.Recv()
		if c.Error != nil {
			c.Error.assert(t, toldBy(t, err, stream.Trailer()))
			if seen != nil {
				t.Errorf("it was asked for %v", seen)
			}
			return
		}
		if !errors.Is(err, io.EOF) || seen == nil || !reflect.DeepEqual(*seen, c.Expect) {
			t.Errorf("got %v, %v", seen, err)
		}
	})
}

func TestATextOfAnActorIsCutVisibly(t *testing.T) {
	type scenario struct{ Name, Text, Expect string }
	forEach(t, "actors.json", func(t *testing.T, c scenario) {
		message := sentEvent(t, connector.Event{
			SourceEventID: "e1", Type: "x.y", OccurredAt: time.Unix(0, 0),
			Record: json.RawMessage("{}"), Actor: &connector.Actor{ID: "u1", DisplayName: c.Text},
		})
		actor := message.GetBatch().GetEvents()[0].GetActor()
		if actor.GetDisplayName() != c.Expect || actor.GetId() != "u1" {
			t.Errorf("got %.300v", actor)
		}
	})
}

func TestARecordWithNULPassesAndIsTold(t *testing.T) {
	type scenario struct {
		Name, Record string
		HasNUL       bool `json:"has_nul"`
	}
	forEach(t, "nul.json", func(t *testing.T, c scenario) {
		event := connector.Event{
			SourceEventID: "e1", Type: "x.y", OccurredAt: time.Unix(0, 0),
			Record: json.RawMessage(c.Record),
		}
		plugin := &scripted{
			schema: connector.Schema{Provider: "X", Name: "X"},
			sync:   func(stream *connector.Stream) error { return stream.Send(event) },
		}
		result, err := plugintest.New(t, plugin, plugintest.Options{}).Sync(nil)
		must(t, err)
		if len(result.Events) != 1 || c.HasNUL != (len(result.Doubts) == 1) {
			t.Errorf("got %q", result.Doubts)
		}
	})
}

// sentEvent gives the one message that an event becomes.
func sentEvent(t *testing.T, event connector.Event) *pb.SyncEvent {
	t.Helper()
	send := func(stream *connector.Stream) error { return stream.Send(event) }
	came, failed := synced(t, send, func(*pb.SyncEvent) {})
	if failed != nil || len(came) != 1 {
		t.Fatalf("got %d messages, %v", len(came), failed)
	}
	return came[0]
}

func actorOf(parts map[string]any) *connector.Actor {
	text := func(key string) string {
		value, _ := parts[key].(string)
		return value
	}
	return &connector.Actor{
		ID: text("id"), Email: text("email"), DisplayName: text("display_name"),
		Type: text("type"), IPAddress: text("ip_address"),
	}
}

func assertRecord(t *testing.T, got []byte, record any, raw *string) {
	t.Helper()
	if raw != nil {
		if string(got) != *raw {
			t.Errorf("got %s, want %s", got, *raw)
		}
		return
	}
	var parsed any
	must(t, json.Unmarshal(got, &parsed))
	if !reflect.DeepEqual(parsed, record) {
		t.Errorf("got %v, want %v", parsed, record)
	}
}

// received counts the events that the host has.
type received struct {
	changed sync.Cond
	events  int
}

func (r *received) add(message *pb.SyncEvent) {
	r.changed.L.Lock()
	defer r.changed.L.Unlock()
	r.events += len(message.GetBatch().GetEvents())
	r.changed.Broadcast()
}

func (r *received) wait(ctx context.Context, events int) error {
	defer context.AfterFunc(ctx, r.changed.Broadcast)()
	r.changed.L.Lock()
	defer r.changed.L.Unlock()
	for r.events < events && ctx.Err() == nil {
		r.changed.Wait()
	}
	return ctx.Err()
}

// item is one thing that the plugin does.
type item struct {
	Events      int       `json:"events"`
	Findings    int       `json:"findings"`
	Entries     int       `json:"entries"`
	RecordBytes int       `json:"record_bytes"`
	Checkpoint  *string   `json:"checkpoint"`
	Progress    *progress `json:"progress"`
	DeadLetter  *letter   `json:"dead_letter"`
	Received    int       `json:"received"`
	Error       *pluginError
}

type letter struct {
	Reason        string  `json:"reason"`
	Code          string  `json:"code"`
	SourceEventID string  `json:"source_event_id"`
	Position      string  `json:"position"`
	Type          string  `json:"event_type"`
	Origin        string  `json:"origin"`
	Record        string  `json:"record"`
	RecordHex     *string `json:"record_hex"`
}

func (l letter) made() connector.DeadLetter {
	record := []byte(l.Record)
	if l.RecordHex != nil {
		record, _ = hex.DecodeString(*l.RecordHex)
	}
	return connector.DeadLetter{
		Reason: l.Reason, Code: l.Code, SourceEventID: l.SourceEventID, Position: l.Position,
		Type: l.Type, Origin: l.Origin, Record: record,
	}
}

func TestADeadLetterAlwaysPasses(t *testing.T) {
	type scenario struct {
		Name   string
		Letter letter
		Expect json.RawMessage
	}
	forEach(t, "dead_letters.json", func(t *testing.T, c scenario) {
		send := func(stream *connector.Stream) error { return stream.DeadLetter(c.Letter.made()) }
		came, failed := synced(t, send, func(*pb.SyncEvent) {})
		if failed != nil || len(came) != 1 {
			t.Fatalf("got %d messages, %v", len(came), failed)
		}
		assertMessage(t, came[0].GetDeadLetter(), c.Expect)
	})
}

type progress struct {
	Done    uint64 `json:"done"`
	Total   uint64 `json:"total"`
	Message string `json:"message"`
}

func (i item) do(stream *connector.Stream, first int, has *received) error {
	record := `{"x":"` + strings.Repeat("y", max(0, i.RecordBytes-8)) + `"}`
	for number := range i.Events {
		err := stream.Send(connector.Event{
			SourceEventID: fmt.Sprintf("e%d", first+number), Type: "x.y",
			OccurredAt: time.Unix(0, 0), Record: json.RawMessage(record),
		})
		if err != nil {
			return err
		}
	}
	for number := range i.Findings {
		err := stream.SendFinding(connector.Finding{
			RuleID: "x.r", Title: "T", Target: "t", Severity: connector.SeverityLow, RiskScore: 20,
			OccurredAt: time.Unix(0, 0), SourceEventID: fmt.Sprintf("f%d", number),
			Evidence: json.RawMessage(record),
		})
		if err != nil {
			return err
		}
	}
	for number := range i.Entries {
		err := stream.SendAuditLogEntry(connector.AuditLogEntry{
			SourceEventID: fmt.Sprintf("a%d", number), Action: "y", OccurredAt: time.Unix(0, 0),
			Record: json.RawMessage("{}"),
		})
		if err != nil {
			return err
		}
	}
	switch {
	case i.Checkpoint != nil:
		return stream.Checkpoint([]byte(*i.Checkpoint))
	case i.Progress != nil:
		return stream.Progress(connector.Progress(*i.Progress))
	case i.DeadLetter != nil:
		return stream.DeadLetter(i.DeadLetter.made())
	case i.Received > 0:
		return has.wait(stream.Context(), i.Received)
	default:
		return i.Error.err()
	}
}

// description is how a message is written in the file.
type description string

func (d *description) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*d = description(text)
		return nil
	}
	var long struct {
		Checkpoint string
		Progress   *progress
	}
	if err := json.Unmarshal(data, &long); err != nil {
		return err
	}
	*d = description("checkpoint " + long.Checkpoint)
	if told := long.Progress; told != nil {
		*d = description(fmt.Sprintf("progress %d/%d %s", told.Done, told.Total, told.Message))
	}
	return nil
}

func described(message *pb.SyncEvent) description {
	switch item := message.GetItem().(type) {
	case *pb.SyncEvent_Checkpoint:
		return description("checkpoint " + string(item.Checkpoint.GetCursor()))
	case *pb.SyncEvent_Progress:
		told := item.Progress
		return description(
			fmt.Sprintf("progress %d/%d %s", told.GetDone(), told.GetTotal(), told.GetMessage()),
		)
	case *pb.SyncEvent_Findings:
		return description(fmt.Sprintf("findings %d", len(item.Findings.GetFindings())))
	case *pb.SyncEvent_AuditLog:
		return description(fmt.Sprintf("entries %d", len(item.AuditLog.GetEntries())))
	case *pb.SyncEvent_DeadLetter:
		return description("dead letter " + item.DeadLetter.GetReason())
	default:
		return description(fmt.Sprint(len(message.GetBatch().GetEvents())))
	}
}

func TestASyncBecomesMessages(t *testing.T) {
	type scenario struct {
		Name   string
		Items  []item
		Expect []description
		Error  *wantedError
	}
	forEach(t, "batches.json", func(t *testing.T, c scenario) {
		has := &received{changed: sync.Cond{L: &sync.Mutex{}}}
		script := func(stream *connector.Stream) error {
			first := 1
			for _, item := range c.Items {
				if err := item.do(stream, first, has); err != nil {
					return err
				}
				first += item.Events
			}
			return nil
		}
		came, failed := synced(t, script, has.add)
		var got []description
		for _, message := range came {
			got = append(got, described(message))
		}
		if !slices.Equal(got, c.Expect) {
			t.Errorf("got %.200q, want %.200q", got, c.Expect)
		}
		switch {
		case (failed == nil) != (c.Error == nil):
			t.Errorf("it failed with %v", failed)
		case failed != nil:
			c.Error.assert(t, failed)
		}
	})
}

// callback gives what the host is told of a failing OAuth callback; nil: it did not fail.
func callback(t *testing.T, config []byte, fail func(*aperio.Invocation) error) (*told, string) {
	t.Helper()
	connection, log := served(t, connector.NewService(&scripted{oauth: fail}))
	var trailer metadata.MD
	request := &pb.OAuthCallbackRequest{Context: invocation(config)}
	client := pb.NewConnectorPluginClient(connection)
	_, err := client.OAuthCallback(deadline(t), request, grpc.Trailer(&trailer))
	if err == nil {
		return nil, ""
	}
	return toldBy(t, err, trailer), log.String()
}

func TestAnErrorBecomesAStatusWithDiagnostics(t *testing.T) {
	type scenario struct {
		Name   string
		Error  *pluginError
		Expect struct {
			Status, Code, Message string
			Diagnostics           json.RawMessage
		}
	}
	forEach(t, "errors.json", func(t *testing.T, c scenario) {
		got, log := callback(t, nil, func(*aperio.Invocation) error { return c.Error.err() })
		if got == nil || got.status != c.Expect.Status {
			t.Fatalf("got %v, want %s", got, c.Expect.Status)
		}
		if c.Error.isBug {
			item := got.diagnostics.GetItems()[0]
			if item.GetCode() != c.Expect.Code || strings.Contains(got.text+item.String(), bugText) {
				t.Errorf("got %v", got)
			}
			if strings.Count(log, bugText) != 1 || strings.Count(log, "\n") != 1 {
				t.Errorf("the log has %s", log)
			}
			return
		}
		if got.text != c.Expect.Message || log != "" {
			t.Errorf("got %q, log %q", got.text, log)
		}
		assertMessage(t, got.diagnostics, c.Expect.Diagnostics)
	})
}

func TestADiagnosticIsPassedOn(t *testing.T) {
	type scenario struct {
		Name       string
		Diagnostic diagnostic
		Expect     json.RawMessage
	}
	forEach(t, "diagnostics.json", func(t *testing.T, c scenario) {
		result := &connector.TestResult{
			OK: true, Diagnostics: []aperio.Diagnostic{c.Diagnostic.diagnostic()},
		}
		test := func() (*connector.TestResult, error) { return result, nil }
		connection, _ := served(t, connector.NewService(&scripted{test: test}))
		client := pb.NewConnectorPluginClient(connection)
		request := &pb.TestRequest{Context: invocation(nil)}
		answer, err := client.TestConnection(deadline(t), request)
		must(t, err)
		assertMessage(t, answer.GetDiagnostics()[0], c.Expect)
	})
}

func TestASettingIsReadOrRefused(t *testing.T) {
	type scenario struct {
		Name      string
		Config    string
		ConfigHex string `json:"config_hex"`
		Read, Key string
		Default   any
		Value     any
		Error     *pluginError
		Refused   *wantedError
	}
	forEach(t, "settings.json", func(t *testing.T, c scenario) {
		config := []byte(c.Config)
		if c.ConfigHex != "" {
			var err error
			config, err = hex.DecodeString(c.ConfigHex)
			must(t, err)
		}
		var value any
		read := func(call *aperio.Invocation) (err error) {
			value, err = readSetting(call.Config, c.Read, c.Key, c.Default)
			return err
		}
		got, _ := callback(t, config, read)
		switch {
		case c.Refused != nil:
			c.Refused.assert(t, got)
		case c.Error != nil:
			wanted := &wantedError{"INVALID_ARGUMENT", c.Error.Code, []string{c.Error.Summary}}
			wanted.assert(t, got)
			steps := got.diagnostics.GetItems()[0].GetAttribute().GetSteps()
			if len(steps) != 1 || steps[0].GetKey() != c.Error.Attribute[0] {
				t.Errorf("got %v", steps)
			}
		case got != nil || value != c.Value:
			t.Errorf("got %v, %v", value, got)
		}
	})
}

func readSetting(config aperio.Config, read, key string, otherwise any) (any, error) {
	switch otherwise := otherwise.(type) {
	case string:
		return config.TextOr(key, otherwise)
	case float64:
		return config.NumberOr(key, otherwise)
	case bool:
		return config.FlagOr(key, otherwise)
	}
	switch read {
	case "text":
		return config.Text(key)
	case "number":
		return config.Number(key)
	case "flag":
		return config.Flag(key)
	default:
		return nil, fmt.Errorf("nothing reads %q", read)
	}
}
