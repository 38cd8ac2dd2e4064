// A connector that makes its events up: numbers, in pages of a hundred.
package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/connector"
)

const pageSize = 100

// Numbers is a connector for a service that counts.
type Numbers struct{}

// Schema declares one setting.
func (*Numbers) Schema() connector.Schema {
	return connector.Schema{
		Provider:    "NUMBERS",
		Name:        "Numbers",
		Description: "Counts, and tells of each number",
		EventTypes:  []string{"numbers.counted"},
		Fields: []aperio.Field{
			{Key: "count", Label: "How far to count", Type: aperio.Number, Default: 250},
		},
	}
}

// TestConnection refuses to count downwards.
func (*Numbers) TestConnection(
	_ context.Context, call *aperio.Invocation,
) (*connector.TestResult, error) {
	count, err := count(call)
	if err != nil {
		return nil, err
	}
	return &connector.TestResult{OK: true, Account: map[string]string{"count": fmt.Sprint(count)}}, nil
}

// Sync gives a number at a time and a checkpoint after each page.
func (*Numbers) Sync(request *connector.SyncRequest, stream *connector.Stream) error {
	count, err := count(request.Invocation)
	if err != nil {
		return err
	}
	first, err := position(request.Cursor)
	if err != nil {
		return err
	}
	for number := first; number < count; number++ {
		err := stream.Send(connector.Event{
			SourceEventID: fmt.Sprintf("number-%d", number),
			Type:          "numbers.counted",
			OccurredAt:    time.Unix(int64(number), 0),
			Record:        map[string]any{"number": number},
		})
		if err != nil {
			return err
		}
		if (number+1)%pageSize == 0 {
			if err := stream.Checkpoint([]byte(strconv.Itoa(number + 1))); err != nil {
				return err
			}
		}
	}
	request.Logger.Info("counted", "numbers", count-first)
	return stream.Checkpoint([]byte(strconv.Itoa(count)))
}

func count(call *aperio.Invocation) (int, error) {
	count, err := call.Config.Number("count")
	if err != nil {
		return 0, err
	}
	if count < 0 {
		return 0, &aperio.Error{
			Cause:     aperio.InvalidConfig,
			Summary:   "count must not be negative",
			Attribute: aperio.Path{aperio.Key("count")},
		}
	}
	return int(count), nil
}

func position(cursor []byte) (int, error) {
	if cursor == nil {
		return 0, nil
	}
	number, err := strconv.Atoi(string(cursor))
	if err != nil || number < 0 {
		summary := "the cursor is not one of this connector"
		return 0, &aperio.Error{Cause: aperio.InvalidCursor, Summary: summary, Err: err}
	}
	return number, nil
}

func main() { connector.Serve(&Numbers{}) }
