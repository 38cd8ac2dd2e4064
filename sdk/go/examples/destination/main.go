// A destination that appends envelopes to a file.
package main

import (
	"context"
	"fmt"
	"os"
	"sync"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/destination"
)

// Appender appends to a file.
type Appender struct{ mutex sync.Mutex }

// Capabilities declares the file as its setting.
func (*Appender) Capabilities() destination.Capabilities {
	return destination.Capabilities{
		Provider: "EXAMPLE_FILE",
		Name:     "Example file",
		Category: "file",
		Streams:  []destination.Stream{destination.Finding, destination.Event},
		Fields:   []aperio.Field{{Key: "path", Label: "File", Required: true}},
	}
}

// Deliver appends one line for each envelope.
func (a *Appender) Deliver(
	_ context.Context, request *destination.DeliverRequest,
) ([]destination.Result, error) {
	path, err := request.Config.Text("path")
	if err != nil {
		return nil, err
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		summary := "the file cannot be opened"
		return nil, &aperio.Error{Cause: aperio.Unavailable, Summary: summary, Err: err}
	}
	defer func() { _ = file.Close() }() // Sync below has told whether it was written
	for _, envelope := range request.Envelopes {
		if _, err := fmt.Fprintf(file, "%s\n", envelope.JSON); err != nil {
			return nil, fmt.Errorf("append: %w", err)
		}
	}
	if err := file.Sync(); err != nil {
		return nil, fmt.Errorf("sync: %w", err)
	}
	results := make([]destination.Result, len(request.Envelopes))
	for index, envelope := range request.Envelopes {
		results[index] = destination.Accepted(envelope)
	}
	return results, nil
}

func main() { destination.Serve(&Appender{}) }
