package plugintest_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/destination"
	"github.com/writer/aperio-plugin-go/plugintest"
)

// ledger is a destination whose rows and checkpoints are one thing; the flaw says how it errs.
type ledger struct {
	unsettled
	flaw   string
	stored map[destination.SyncSource]destination.SyncCheckpoint
}

func (l *ledger) Position(
	_ context.Context, request *destination.PositionRequest,
) (*destination.Position, error) {
	if l.flaw == "keeps none" {
		return nil, nil
	}
	position := &destination.Position{}
	if found, isThere := l.stored[request.Source]; isThere {
		position.Checkpoint, position.StoredAt = &found, time.Unix(1700000000, 0).UTC()
	}
	return position, nil
}

func (l *ledger) DeliverAndStore(
	_ context.Context, request *destination.StoreRequest,
) (*destination.Delivered, error) {
	delivered := &destination.Delivered{Outcome: destination.CheckpointStored}
	for _, envelope := range request.Envelopes {
		result := destination.Accepted(envelope)
		if string(envelope.JSON) == "{}" {
			result = destination.Rejected(envelope, aperio.Diagnostic{Summary: "it is empty"})
			delivered.Outcome = destination.CheckpointNotStored
		}
		delivered.Results = append(delivered.Results, result)
	}
	if delivered.Outcome == destination.CheckpointNotStored && l.flaw != "early" {
		if l.flaw == "hidden" {
			l.stored[request.Source] = request.Checkpoint
		}
		return delivered, nil
	}
	if l.flaw != "any" && !request.MayReplace(l.stored[request.Source].Cursor) {
		delivered.Outcome = destination.CheckpointMoved
		return delivered, nil
	}
	delivered.Outcome = destination.CheckpointStored
	if l.flaw != "forgets" {
		l.stored[request.Source] = request.Checkpoint
	}
	return delivered, nil
}

func newLedger(flaw string) *ledger {
	return &ledger{flaw: flaw, stored: map[destination.SyncSource]destination.SyncCheckpoint{}}
}

var (
	source   = destination.SyncSource{Connector: "acme/box 1f"}
	full     = destination.Envelope{ID: "1", Stream: destination.Event, JSON: []byte(`{"n":1}`)}
	hollow   = destination.Envelope{ID: "2", Stream: destination.Event, JSON: []byte("{}")}
	untilNow = map[string]time.Time{"logs": time.Unix(1600000000, 5).UTC()}
)

// asked is a request to store a cursor in the place of another.
func asked(cursor, replaces string, envelopes ...destination.Envelope) destination.StoreRequest {
	return destination.StoreRequest{
		DeliverRequest: destination.DeliverRequest{Envelopes: envelopes}, Source: source,
		Checkpoint: destination.SyncCheckpoint{
			Cursor: []byte(cursor), Covered: untilNow, ConnectorVersion: "1.0.0",
		},
		Replaces: []byte(replaces),
	}
}

func TestACheckpointIsStoredWithItsEnvelopesAndFoundAgain(t *testing.T) {
	harness := plugintest.New(t, newLedger(""), plugintest.Options{})
	for _, step := range []struct {
		request destination.StoreRequest
		outcome destination.CheckpointOutcome
		stored  string
	}{
		{asked("1", "", full), destination.CheckpointStored, "1"},
		{asked("1", "", full), destination.CheckpointStored, "1"}, // its answer was lost
		{asked("2", "1"), destination.CheckpointStored, "2"},
		{asked("3", "2", full, hollow), destination.CheckpointNotStored, "2"},
		{asked("3", "1"), destination.CheckpointMoved, "2"},
	} {
		delivered, err := harness.DeliverAndStore(step.request)
		if err != nil || delivered.Outcome != step.outcome ||
			len(delivered.Results) != len(step.request.Envelopes) {
			t.Fatalf("got %+v, %v", delivered, err)
		}
		position, err := harness.Position(source)
		if err != nil || string(position.Checkpoint.Cursor) != step.stored ||
			!reflect.DeepEqual(position.Checkpoint.Covered, untilNow) || position.StoredAt.IsZero() ||
			position.Checkpoint.ConnectorVersion != "1.0.0" {
			t.Fatalf("got %+v, %v", position, err)
		}
	}
	position, err := harness.Position(destination.SyncSource{Connector: "acme/other 1f"})
	if err != nil || position == nil || position.Checkpoint != nil {
		t.Errorf("got %+v, %v", position, err)
	}
}

// watched remembers what a test is told, in the place of failing.
type watched struct {
	testing.TB
	told []string
}

func (w *watched) Error(arguments ...any) { w.told = append(w.told, arguments[0].(string)) }

func TestADestinationThatErrsAboutACheckpointFailsItsTest(t *testing.T) {
	for flaw, test := range map[string]struct {
		request destination.StoreRequest
		said    string
	}{
		"early":   {asked("1", "", hollow), "an envelope before it was not accepted: 2"},
		"hidden":  {asked("1", "", hollow), "counts as not stored"},
		"any":     {asked("1", "0", full), "over another one than it replaces"},
		"forgets": {asked("1", "", full), "counts as stored"},
	} {
		t.Run(flaw, func(t *testing.T) {
			watched := &watched{TB: t}
			harness := plugintest.New(watched, newLedger(flaw), plugintest.Options{})
			if _, err := harness.DeliverAndStore(test.request); err != nil {
				t.Fatal(err)
			}
			if len(watched.told) != 1 || !strings.Contains(watched.told[0], test.said) {
				t.Errorf("told %q", watched.told)
			}
		})
	}
}

func TestADestinationMayKeepNoCheckpointsAndOneWithoutTheFeatureCannot(t *testing.T) {
	position, err := plugintest.New(t, newLedger("keeps none"), plugintest.Options{}).Position(source)
	if position != nil || err != nil {
		t.Errorf("got %+v, %v", position, err)
	}
	_, err = plugintest.New(t, unsettled{}, plugintest.Options{}).Position(source)
	if !errors.Is(err, aperio.Unsupported) {
		t.Errorf("got %v", err)
	}
}
