package vectors_test

import (
	"context"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/destination"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/serve"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
)

// keeping is a destination that keeps checkpoints, and remembers what it was asked.
type keeping struct {
	delivering
	position *destination.Position
	outcome  destination.CheckpointOutcome
	sources  []destination.SyncSource
	stored   []destination.StoreRequest
}

func (k *keeping) Position(
	_ context.Context, request *destination.PositionRequest,
) (*destination.Position, error) {
	k.sources = append(k.sources, request.Source)
	return k.position, k.err
}

func (k *keeping) DeliverAndStore(
	_ context.Context, request *destination.StoreRequest,
) (*destination.Delivered, error) {
	k.stored = append(k.stored, *request)
	return &destination.Delivered{Results: k.answers, Outcome: k.outcome}, k.err
}

// service gives the service around it, or around a destination without the feature.
func (k *keeping) service(keeps *bool) *serve.Service {
	if keeps != nil && !*keeps {
		return destination.NewService(&k.delivering)
	}
	return destination.NewService(k)
}

// timesOf reads times by name.
func timesOf(t *testing.T, texts map[string]string) map[string]time.Time {
	t.Helper()
	times := map[string]time.Time{}
	for name, text := range texts {
		// A time that is out of range is read, too: the wire refuses it.
		at, err := aperio.ParseTime(text, name)
		if err != nil {
			at, err = time.Parse(time.RFC3339, text)
		}
		must(t, err)
		times[name] = at.UTC()
	}
	return times
}

func TestADestinationSaysWhereItIsInASync(t *testing.T) {
	type scenario struct {
		Name     string
		Source   destination.SyncSource
		Position *struct {
			Cursor           *string
			Covered          map[string]string
			ConnectorVersion string `json:"connector_version"`
			StoredAt         string `json:"stored_at"`
		}
		Keeps  *bool
		Raises *pluginError
		Expect json.RawMessage
		Error  *wantedError
	}
	forEach(t, "positions.json", func(t *testing.T, c scenario) {
		plugin := &keeping{delivering: delivering{err: c.Raises.err()}}
		if c.Position != nil {
			plugin.position = &destination.Position{}
			if c.Position.Cursor != nil {
				plugin.position.Checkpoint = &destination.SyncCheckpoint{
					Cursor: []byte(*c.Position.Cursor), Covered: timesOf(t, c.Position.Covered),
					ConnectorVersion: c.Position.ConnectorVersion,
				}
			}
			if at := c.Position.StoredAt; at != "" {
				plugin.position.StoredAt = timesOf(t, map[string]string{"": at})[""]
			}
		}
		connection, _ := served(t, plugin.service(c.Keeps))
		var trailer metadata.MD
		client := pb.NewDestinationPluginClient(connection)
		source := &pb.SyncSource{Connector: c.Source.Connector, Choice: c.Source.Choice}
		request := &pb.PositionRequest{Context: invocation(nil), Source: source}
		got, err := client.Position(deadline(t), request, grpc.Trailer(&trailer))
		if c.Error != nil {
			c.Error.assert(t, toldBy(t, err, trailer))
			return
		}
		must(t, err)
		assertMessage(t, got, c.Expect)
		if !reflect.DeepEqual(plugin.sources, []destination.SyncSource{c.Source}) {
			t.Errorf("it saw %+v", plugin.sources)
		}
	})
}

func TestACheckpointGoesWithItsEnvelopes(t *testing.T) {
	type seen struct {
		Connector, Choice, Cursor string
		Covered                   map[string]string
		ConnectorVersion          string `json:"connector_version"`
		Replaces                  string
	}
	type scenario struct {
		Name      string
		Envelopes outbound
		Asked     json.RawMessage
		Sees      *seen
		Answers   []verdict
		Outcome   string
		Keeps     *bool
		Raises    *pluginError
		Expect    json.RawMessage
		Error     *wantedError
	}
	outcomes := map[string]destination.CheckpointOutcome{
		"not_stored": destination.CheckpointNotStored, "stored": destination.CheckpointStored,
		"moved": destination.CheckpointMoved,
	}
	forEach(t, "stored_checkpoints.json", func(t *testing.T, c scenario) {
		plugin := &keeping{outcome: outcomes[c.Outcome], delivering: delivering{err: c.Raises.err()}}
		for _, answer := range c.Answers {
			plugin.answers = append(plugin.answers, answer.result())
		}
		request := c.Envelopes.request()
		request.Checkpoint = &pb.StoreCheckpoint{}
		must(t, protojson.Unmarshal(c.Asked, request.Checkpoint))
		connection, _ := served(t, plugin.service(c.Keeps))
		var trailer metadata.MD
		client := pb.NewDestinationPluginClient(connection)
		got, err := client.Deliver(deadline(t), request, grpc.Trailer(&trailer))
		if c.Error != nil {
			c.Error.assert(t, toldBy(t, err, trailer))
		} else {
			must(t, err)
			assertMessage(t, got, c.Expect)
		}
		if c.Sees == nil {
			return
		}
		if len(plugin.stored) != 1 {
			t.Fatalf("it was asked %d times", len(plugin.stored))
		}
		stored := plugin.stored[0]
		source := destination.SyncSource{Connector: c.Sees.Connector, Choice: c.Sees.Choice}
		if stored.Source != source || string(stored.Replaces) != c.Sees.Replaces ||
			string(stored.Checkpoint.Cursor) != c.Sees.Cursor ||
			stored.Checkpoint.ConnectorVersion != c.Sees.ConnectorVersion ||
			!reflect.DeepEqual(stored.Checkpoint.Covered, timesOf(t, c.Sees.Covered)) ||
			len(stored.Envelopes) != len(c.Envelopes) {
			t.Errorf("it saw %+v", stored)
		}
	})
}
