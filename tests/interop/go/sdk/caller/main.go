// A program that syncs a connector through a host, as Aperio's server would: it writes down what it
// got together with each cursor, and goes on from the last one whatever happens to the host.
//
// It says "waiting" after so many checkpoints and reads on once there is a line on stdin. At the end
// it tells what it has as one JSON object.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/writer/aperio-plugin-go/gen/hostv1"
	"github.com/writer/aperio-plugin-go/hostclient"
)

type kept struct {
	// IDs are of the envelopes that were written down, in their order.
	IDs []string `json:"ids"`
	// Sources are their ids in the service.
	Sources []string `json:"sources"`
	// Calls is how many syncs it took, Repeats how many envelopes were given again.
	Calls   int    `json:"calls"`
	Repeats int    `json:"repeats"`
	Status  string `json:"status"`
}

type caller struct {
	client  *hostclient.Client
	request *hostv1.SyncRequest
	kept    kept
	known   map[string]bool
	pending []*hostv1.Envelope
	waits   int
	seen    int
}

func main() {
	socket := flag.String("socket", "", "of the host")
	plugin := flag.String("plugin", "", "id of the connector")
	config := flag.String("config", "{}", "its settings, JSON")
	waits := flag.Int("wait-after", 0, "so many checkpoints; 0: never")
	flag.Parse()
	client, err := hostclient.Dial(*socket)
	if err != nil {
		fail(err)
	}
	call := &hostv1.Call{
		Plugin: *plugin, OrganizationId: "acme-corp", IntegrationId: "int_1", ConfigJson: []byte(*config),
	}
	made := &caller{client: client, request: &hostv1.SyncRequest{Call: call}, known: map[string]bool{}, waits: *waits}
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	if err := made.sync(ctx); err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(made.kept); err != nil {
		fail(err)
	}
}

// sync goes on until the connector has caught up.
func (c *caller) sync(ctx context.Context) error {
	for {
		c.kept.Calls++
		c.pending = nil // what came after the last checkpoint comes again
		receipt, err := c.client.ReadSync(ctx, c.request, c.handle)
		if err == nil {
			c.kept.Status = receipt.GetStatus().String()
			return nil
		}
		if !hostclient.MayRepeat(err) {
			return fmt.Errorf("%w: %v", err, hostclient.ErrorOf(err))
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *caller) handle(item *hostv1.SyncResponse) error {
	c.pending = append(c.pending, item.GetBatch().GetEnvelopes()...)
	checkpoint := item.GetCheckpoint()
	if checkpoint == nil {
		return nil
	}
	for _, each := range c.pending { // in one transaction with the cursor
		if c.known[each.GetId()] {
			c.kept.Repeats++
			continue
		}
		var envelope struct {
			Source string `json:"source_event_id"`
		}
		if err := json.Unmarshal(each.GetEnvelopeJson(), &envelope); err != nil {
			return err
		}
		c.known[each.GetId()] = true
		c.kept.IDs = append(c.kept.IDs, each.GetId())
		c.kept.Sources = append(c.kept.Sources, envelope.Source)
	}
	c.pending, c.request.Cursor = nil, checkpoint.GetCursor()
	c.seen++
	if c.seen == c.waits {
		fmt.Println("waiting")
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	}
	return nil
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
