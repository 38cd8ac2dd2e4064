// The connector that is measured, made with the SDK: it gives as many events as its settings say.
package main

import (
	"context"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/bench/events"
	"github.com/writer/aperio-plugin-go/connector"
)

type measured struct{}

func (measured) Schema() connector.Schema {
	return connector.Schema{
		Provider: events.Provider,
		Name:     "Bench",
		Fields: []aperio.Field{
			{Key: "count", Label: "How many events", Type: aperio.Number, Required: true},
		},
	}
}

func (measured) TestConnection(
	context.Context, *aperio.Invocation,
) (*connector.TestResult, error) {
	return &connector.TestResult{OK: true}, nil
}

func (measured) Sync(request *connector.SyncRequest, stream *connector.Stream) error {
	count, err := request.Config.NumberOr("count", 0)
	if err != nil {
		return err
	}
	record, occurred := events.Record(), time.Unix(events.OccurredUnix, 0)
	for number := range int(count) {
		if err := stream.Send(connector.Event{
			SourceEventID: events.ID(number),
			Type:          events.Type,
			OccurredAt:    occurred,
			Record:        record,
		}); err != nil {
			return err
		}
	}
	return nil
}

func main() { connector.Serve(measured{}) }
