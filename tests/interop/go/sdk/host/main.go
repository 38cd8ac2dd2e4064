// A small server that loads an installed connector through the SDK's host package: the way in which
// the product's own server uses what `aperio` installed. It tells what it saw as one JSON object.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/host"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type seen struct {
	Provider    string            `json:"provider"`
	OK          bool              `json:"ok"`
	Account     map[string]string `json:"account"`
	Diagnostics []string          `json:"diagnostics"`
	EventIDs    []string          `json:"event_ids"`
	Records     []json.RawMessage `json:"records"`
	Cursors     []string          `json:"cursors"`
	Tokens      int               `json:"tokens"`
	PID         string            `json:"pid"`
	Exited      bool              `json:"exited"`
}

type server struct {
	home, id string
	options  host.Options
	call     *pluginv1.InvocationContext
	tokens   []string
	stays    bool
}

func main() {
	home := flag.String("home", "", "home of aperio")
	id := flag.String("id", "", "id of the connector")
	lists := flag.Bool("list", false, "tell what is installed, and start nothing")
	runtime := flag.String("runtime", "", "private folder of the plugin")
	organization := flag.String("org", "", "for whom it is started")
	caller := flag.String("caller", "local", "for whom it is called")
	config := flag.String("config", "{}", "its configuration, JSON")
	tokens := flag.String("tokens", "", "access tokens, one after the other")
	stays := flag.Bool("stay", false, "say when it runs, and stop it when stdin ends")
	flag.Parse()
	asked := server{home: *home, id: *id, stays: *stays}
	asked.options = host.Options{
		RuntimeFolder: *runtime,
		Organization:  *organization,
		Logger:        hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: os.Stderr, JSONFormat: true}),
	}
	asked.call = &pluginv1.InvocationContext{
		OrganizationId: *caller, IntegrationId: "int", InvocationId: "inv", ConfigJson: []byte(*config),
	}
	if *tokens != "" {
		asked.tokens = strings.Split(*tokens, ",")
	}
	var result any
	var err error
	if *lists {
		result, err = host.List(*home)
	} else {
		result, err = asked.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		os.Exit(1)
	}
}

func (s *server) run() (*seen, error) {
	receipt, err := host.Find(s.home, s.id, "")
	if err != nil {
		return nil, err
	}
	settings, err := receipt.ClientConfig(s.options)
	if err != nil {
		return nil, err
	}
	client := plugin.NewClient(settings)
	defer client.Kill()
	connector, err := host.Connector(client)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	result := &seen{PID: client.ID()}
	if s.stays {
		fmt.Println(result.PID)
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	} else if err := s.ask(ctx, connector, result); err != nil {
		return nil, err
	}
	client.Kill()
	result.Exited = client.Exited()
	return result, nil
}

func (s *server) ask(
	ctx context.Context, connector pluginv1.ConnectorPluginClient, result *seen,
) error {
	schema, err := connector.Schema(ctx, &pluginv1.SchemaRequest{})
	if err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	result.Provider = schema.GetProvider()
	if len(s.tokens) > 0 {
		s.call.Token = &pluginv1.Token{Value: s.tokens[0]}
	}
	tested, err := connector.TestConnection(ctx, &pluginv1.TestRequest{Context: s.call})
	if err != nil && status.Code(err) != codes.Unimplemented {
		return fmt.Errorf("test: %w", err)
	}
	result.OK, result.Account = tested.GetOk(), tested.GetAccount()
	for _, diagnostic := range tested.GetDiagnostics() {
		result.Diagnostics = append(result.Diagnostics, diagnostic.GetSummary())
	}
	err = host.Sync(ctx, connector, &pluginv1.SyncRequest{Context: s.call}, s.next(result), result.take)
	if err != nil {
		diagnostics, wait := host.DiagnosticsOf(err)
		for _, each := range diagnostics {
			err = fmt.Errorf("%w; %s says: %s", err, wait, each.GetSummary())
		}
		return fmt.Errorf("sync after %v: %w", result.Cursors, err)
	}
	return nil
}

// next gives one token after the other; the last again and again.
func (s *server) next(result *seen) host.Tokens {
	if len(s.tokens) == 0 {
		return nil
	}
	return func(context.Context) (*pluginv1.Token, error) {
		result.Tokens++
		value := s.tokens[min(result.Tokens, len(s.tokens))-1]
		return &pluginv1.Token{Value: value}, nil
	}
}

func (s *seen) take(message *pluginv1.SyncEvent) error {
	for _, event := range message.GetBatch().GetEvents() {
		s.EventIDs = append(s.EventIDs, event.GetSourceEventId())
		s.Records = append(s.Records, event.GetRecordJson())
	}
	if checkpoint := message.GetCheckpoint(); checkpoint != nil {
		s.Cursors = append(s.Cursors, string(checkpoint.GetCursor()))
	}
	return nil
}
