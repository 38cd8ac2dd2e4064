package connector

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/records"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const patience = 10 * time.Second

func event(id string) Event {
	return Event{
		SourceEventID: id, Type: "x.y", OccurredAt: time.Unix(0, 0), Record: json.RawMessage("{}"),
	}
}

// closed waits until a channel is closed.
func closed(t *testing.T, what string, channel <-chan struct{}) {
	t.Helper()
	select {
	case <-channel:
	case <-time.After(patience):
		t.Fatalf("%s did not happen", what)
	}
}

func TestAFailedCheckpointFailsTheSyncThatIgnoresIt(t *testing.T) {
	stream := newStream(t.Context())
	var sent []*pb.SyncEvent
	err := stream.run(func() error {
		_ = stream.Send(event("e1"))
		_ = stream.Checkpoint(make([]byte, maxCursorBytes+1))
		if err := stream.Checkpoint([]byte("2")); !errors.Is(err, aperio.InvalidRecord) {
			t.Errorf("a checkpoint after it: %v", err)
		}
		return nil
	}, func(message *pb.SyncEvent) error {
		sent = append(sent, message)
		return nil
	})
	if !errors.Is(err, aperio.InvalidRecord) {
		t.Errorf("got %v", err)
	}
	if len(sent) != 1 || len(sent[0].GetBatch().GetEvents()) != 1 {
		t.Errorf("sent %v", sent)
	}
}

func TestSendEachGoesOnAfterWhatCannotBeRead(t *testing.T) {
	page, err := records.Split([]byte(`{"l":[{"id":"e1"},{"id":17},{"a":tru},{"id":"e2"},`+
		`{"id":""},{"id":"\ud800"},{"id":"\ud83d\ude00 \ufffd"}]}`), "l")
	if err != nil {
		t.Fatal(err)
	}
	stream := newStream(t.Context())
	var ids, letters []string
	err = stream.run(func() error {
		return stream.SendEach(page.Records, "page 7", func(record records.Record) (Event, error) {
			var fields struct{ ID string }
			err := record.Decode(&fields)
			made := event(fields.ID)
			made.Record = record.JSON
			return made, err
		})
	}, func(message *pb.SyncEvent) error {
		for _, sent := range message.GetBatch().GetEvents() {
			ids = append(ids, sent.GetSourceEventId()+string(sent.GetRecordJson()))
		}
		if letter := message.GetDeadLetter(); letter != nil {
			letters = append(letters, letter.GetPosition()+letter.GetSourceEventId()+": "+letter.GetReason())
		}
		return nil
	})
	if err != nil || !slices.Equal(ids, []string{
		`e1{"id":"e1"}`, `e2{"id":"e2"}`, "\U0001f600 \ufffd" + `{"id":"\ud83d\ude00 \ufffd"}`,
	}) {
		t.Errorf("got %q, %v", ids, err)
	}
	if !slices.Equal(letters, []string{
		"page 7, entry 217: ID: expected text, received a number",
		"page 7, entry 3: record: it is not JSON",
		"page 7, entry 5: source_event_id is empty",
		"page 7, entry 6\ufffd: source_event_id has half of a surrogate pair, which UTF-8 does not have",
	}) {
		t.Errorf("got %q", letters)
	}
}

func TestSendWaitsWhileTheHostDoesNotRead(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	stream := newStream(ctx)
	var mutex sync.Mutex
	taken, reading, ended := 0, make(chan struct{}), make(chan struct{})
	var once sync.Once
	go func() {
		defer close(ended)
		_ = stream.run(func() error {
			for {
				if err := stream.Send(event("e")); err != nil {
					return err
				}
				mutex.Lock()
				taken++
				mutex.Unlock()
			}
		}, func(*pb.SyncEvent) error {
			once.Do(func() { close(reading) })
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	closed(t, "reading", reading)
	cancel()
	closed(t, "the end", ended)
	mutex.Lock()
	defer mutex.Unlock()
	if most := (readyMessages + 2) * batchItems; taken > most {
		t.Errorf("%d events were taken, %d are the most", taken, most)
	}
}

func TestACancelledSyncFailsInTheAuthorsCode(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	stream := newStream(ctx)
	ended := make(chan struct{})
	_ = stream.run(func() error {
		defer close(ended)
		cancel()
		err := stream.Send(event("e1"))
		if !errors.Is(err, aperio.Cancelled) || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		return err
	}, func(*pb.SyncEvent) error { return nil })
	closed(t, "the end", ended)
}

func TestACallThatGRPCKnowsToHaveEndedIsNoBug(t *testing.T) {
	for err, wanted := range map[error]error{
		status.Error(codes.Canceled, "context canceled"): aperio.Cancelled,
		status.Error(codes.Internal, "marshal"):          nil,
	} {
		stream := newStream(t.Context())
		var author error
		got := stream.run(func() error {
			for author == nil {
				author = stream.Send(event("e"))
			}
			return nil
		}, func(*pb.SyncEvent) error { return err })
		if wanted == nil {
			wanted = err
		}
		if !errors.Is(got, wanted) || !errors.Is(author, wanted) {
			t.Errorf("%v: got %v, the author %v", err, got, author)
		}
	}
}

func TestSyncThatDoesNotReturnIsLeftBehind(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	stream := newStream(ctx)
	release := make(chan struct{})
	defer close(release)
	cancel()
	began := time.Now()
	err := stream.run(func() error { <-release; return nil }, func(*pb.SyncEvent) error { return nil })
	if !errors.Is(err, aperio.Cancelled) || time.Since(began) > patience {
		t.Errorf("got %v after %v", err, time.Since(began))
	}
}

func TestSeveralGoroutinesMaySend(t *testing.T) {
	const senders, each = 8, 500
	stream := newStream(t.Context())
	seen := map[string]bool{}
	err := stream.run(func() error {
		var group sync.WaitGroup
		for sender := range senders {
			group.Go(func() {
				for number := range each {
					id := strings.Repeat("s", sender+1) + strings.Repeat("n", number)
					if err := stream.Send(event(id)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		return nil
	}, func(message *pb.SyncEvent) error {
		for _, event := range message.GetBatch().GetEvents() {
			seen[event.GetSourceEventId()] = true
		}
		return nil
	})
	if err != nil || len(seen) == 0 {
		t.Errorf("got %v", err)
	}
}

func TestAnEventThatIsNotUTF8IsRefused(t *testing.T) {
	for name, broken := range map[string]Event{
		"id":     {SourceEventID: "\xff", Type: "x.y"},
		"type":   {SourceEventID: "e", Type: "\xff"},
		"origin": {SourceEventID: "e", Type: "x.y", Origin: "\xff"},
	} {
		broken.OccurredAt, broken.Record = time.Unix(0, 0), json.RawMessage("{}")
		if _, _, err := eventMessage(broken); err == nil || !strings.Contains(err.Error(), "UTF-8") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestAnEventWithoutATimeOrWithAnImpossibleRecordIsRefused(t *testing.T) {
	for name, broken := range map[string]Event{
		"no time":        {Record: json.RawMessage("{}")},
		"year 10000":     {OccurredAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), Record: struct{}{}},
		"a channel":      {OccurredAt: time.Unix(0, 0), Record: map[string]any{"c": make(chan int)}},
		"a nil map":      {OccurredAt: time.Unix(0, 0), Record: map[string]any(nil)},
		"nothing":        {OccurredAt: time.Unix(0, 0)},
		"a plain number": {OccurredAt: time.Unix(0, 0), Record: 5},
	} {
		broken.SourceEventID, broken.Type = "e", "x.y"
		if _, _, err := eventMessage(broken); err == nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func BenchmarkSync(b *testing.B) {
	one := event("e")
	one.Record = json.RawMessage(`{"x":"` + strings.Repeat("y", 490) + `"}`)
	stream := newStream(b.Context())
	err := stream.run(func() error {
		for b.Loop() {
			if err := stream.Send(one); err != nil {
				return err
			}
		}
		return nil
	}, func(*pb.SyncEvent) error { return nil })
	if err != nil {
		b.Fatal(err)
	}
}
