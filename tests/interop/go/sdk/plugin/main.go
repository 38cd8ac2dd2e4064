// A connector made with the Go SDK that does what its settings say, to see what hosts make of it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/connector"
)

type wilful struct{}

func (wilful) Schema() connector.Schema {
	return connector.Schema{
		Provider: "NUMBERS",
		Name:     "Numbers",
		Fields: []aperio.Field{
			{Key: "mode", Label: "What to do"},
			{Key: "count", Label: "How many events", Type: aperio.Number},
			{Key: "path", Label: "File to leave a mark in"},
		},
	}
}

func (wilful) TestConnection(
	ctx context.Context, call *aperio.Invocation,
) (*connector.TestResult, error) {
	mode, err := call.Config.TextOr("mode", "")
	if err != nil {
		return nil, err
	}
	account := map[string]string{}
	switch mode {
	case "panic":
		panic(errors.New("s3cret in a panic"))
	case "error":
		return nil, errors.New("s3cret in an error")
	case "print":
		count, err := call.Config.NumberOr("count", 0)
		if err != nil {
			return nil, err
		}
		for number := range int(count) {
			fmt.Printf("line %d\n", number)
		}
		fmt.Print("printed\nwithout an end")
		call.Logger.Warn("logged", "@level", 5, "n", 7)
		call.HCLogger.Error("hclogged", "@message", 5)
	case "environment":
		for _, line := range os.Environ() {
			account[line] = ""
		}
	case "state":
		revision, err := call.State.Put(ctx, "k", []byte("v"))
		if err != nil {
			return nil, err
		}
		stored, err := call.State.Get(ctx, "k")
		if err != nil {
			return nil, err
		}
		account["stored"] = fmt.Sprintf("%s %d", stored.Value, stored.Revision-revision)
		_, err = call.State.PutIf(ctx, "k", nil, revision+5)
		account["conflict"] = strconv.FormatBool(errors.Is(err, aperio.StateConflict))
	case "refuse":
		return nil, &aperio.Error{Cause: aperio.PermissionDenied, Summary: "no"}
	}
	return &connector.TestResult{OK: true, Account: account}, nil
}

func (wilful) Sync(request *connector.SyncRequest, stream *connector.Stream) error {
	mode, _ := request.Config.TextOr("mode", "")
	count, _ := request.Config.NumberOr("count", 10)
	path, _ := request.Config.TextOr("path", "")
	first, _ := strconv.Atoi(string(request.Cursor))
	for number := first; number < int(count); number++ {
		if err := stream.Send(connector.Event{
			SourceEventID: fmt.Sprintf("number-%d", number),
			Type:          "numbers.counted",
			OccurredAt:    time.Unix(1_700_000_000, 0),
			Record:        map[string]any{"number": number, "text": "<&> \u2028"},
		}); err != nil {
			return mark(path, err)
		}
		if number%100 == 99 {
			if err := stream.Checkpoint([]byte(strconv.Itoa(number + 1))); err != nil {
				return mark(path, err)
			}
		}
	}
	switch mode {
	case "wait":
		<-stream.Context().Done()
		return mark(path, stream.Context().Err())
	case "stuck":
		select {}
	case "panic":
		panic("s3cret")
	case "unauthenticated":
		return &aperio.Error{Cause: aperio.Unauthenticated, Summary: "the token has expired"}
	case "rate-limited":
		return &aperio.Error{
			Cause: aperio.RateLimited, Summary: "too many requests", RetryAfter: 30 * time.Second,
		}
	}
	return nil
}

// mark leaves a file that says that Sync has ended, and how.
func mark(path string, err error) error {
	if path == "" {
		return err
	}
	return errors.Join(err, os.WriteFile(path, []byte(err.Error()), 0o600))
}

func main() { connector.Serve(wilful{}) }
