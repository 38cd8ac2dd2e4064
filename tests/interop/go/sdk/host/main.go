// A small server that loads an installed connector through the SDK's host package: the way in which
// the product's own server uses what `aperio` installed. It tells what it saw as one JSON object.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/writer/aperio-plugin-go/host"
)

type seen struct {
	Provider    string            `json:"provider"`
	OK          bool              `json:"ok"`
	Account     map[string]string `json:"account"`
	Diagnostics []string          `json:"diagnostics"`
	EventIDs    []string          `json:"event_ids"`
	Records     []json.RawMessage `json:"records"`
	Cursors     []string          `json:"cursors"`
	PID         int               `json:"pid"`
	Exited      bool              `json:"exited"`
}

func main() {
	home := flag.String("home", "", "home of aperio")
	id := flag.String("id", "", "id of the connector")
	runtime := flag.String("runtime", "", "private folder of the plugin")
	config := flag.String("config", "{}", "its configuration, JSON")
	token := flag.String("token", "", "access token")
	flag.Parse()
	call := &host.InvocationContext{
		OrganizationId: "org", IntegrationId: "int", InvocationId: "inv", ConfigJson: []byte(*config),
	}
	if *token != "" {
		call.Token = &host.Token{Value: *token}
	}
	result, err := run(*home, *id, *runtime, call)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		os.Exit(1)
	}
}

func run(home, id, runtime string, call *host.InvocationContext) (*seen, error) {
	receipt, err := host.Find(home, id, "")
	if err != nil {
		return nil, err
	}
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: os.Stderr, JSONFormat: true})
	options := host.Options{RuntimeFolder: runtime, Logger: logger}
	settings, err := receipt.ClientConfig(options)
	if err != nil {
		return nil, err
	}
	client := plugin.NewClient(settings)
	defer client.Kill()
	connector, err := host.Connector(client)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	result := &seen{PID: client.ReattachConfig().Pid}
	if err := result.ask(ctx, connector, call); err != nil {
		return nil, err
	}
	client.Kill()
	result.Exited = client.Exited()
	return result, nil
}

func (s *seen) ask(
	ctx context.Context, connector host.ConnectorClient, call *host.InvocationContext,
) error {
	schema, err := connector.Schema(ctx, &host.SchemaRequest{})
	if err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	s.Provider = schema.GetProvider()
	tested, err := connector.TestConnection(ctx, &host.TestRequest{Context: call})
	if err != nil {
		return fmt.Errorf("test: %w", err)
	}
	s.OK, s.Account = tested.GetOk(), tested.GetAccount()
	for _, diagnostic := range tested.GetDiagnostics() {
		s.Diagnostics = append(s.Diagnostics, diagnostic.GetSummary())
	}
	stream, err := connector.Sync(ctx, &host.SyncRequest{Context: call})
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		for _, event := range message.GetBatch().GetEvents() {
			s.EventIDs = append(s.EventIDs, event.GetSourceEventId())
			s.Records = append(s.Records, event.GetRecordJson())
		}
		if checkpoint := message.GetCheckpoint(); checkpoint != nil {
			s.Cursors = append(s.Cursors, string(checkpoint.GetCursor()))
		}
	}
}
