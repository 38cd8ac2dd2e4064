package main

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/destination"
)

// NATSJetStream publishes envelopes on a stream. An envelope counts as accepted once the stream has
// acknowledged it.
type NATSJetStream struct{ links links }

// Capabilities declares the settings and the streams.
func (*NATSJetStream) Capabilities() destination.Capabilities {
	return destination.Capabilities{
		Provider:    "NATS_JETSTREAM",
		Name:        "NATS JetStream",
		Description: "Publishes envelopes on a stream of NATS JetStream, as Aperio's server has events on its bus.",
		Category:    "Generic",
		Vendor:      "NATS",
		DocsURL:     "https://docs.nats.io/nats-concepts/jetstream",
		Streams: []destination.Stream{
			destination.Finding, destination.Event, destination.AuditLog,
		},
		Fields: fields,
	}
}

// Deliver publishes the envelopes and waits for the stream to acknowledge them.
func (n *NATSJetStream) Deliver(
	ctx context.Context, request *destination.DeliverRequest,
) ([]destination.Result, error) {
	settings, err := readSettings(request.Config, request.OrganizationID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := early(ctx)
	defer cancel()
	delivery := &delivery{
		logger: request.Logger, envelopes: request.Envelopes,
		results: make([]destination.Result, len(request.Envelopes)),
	}
	messages := make([]*nats.Msg, len(request.Envelopes))
	for index, envelope := range request.Envelopes {
		message, err := messageOf(envelope, request.OrganizationID, settings.prefix)
		if err != nil {
			delivery.results[index] = destination.Rejected(envelope, aperio.Diagnostic{
				Summary: err.Error(), Code: "envelope-invalid",
			})
			continue
		}
		messages[index] = message
	}
	link, err := n.links.get(ctx, settings, request.Logger)
	if err != nil {
		return nil, err
	}
	defer n.links.put(link)
	for _, message := range messages {
		if message == nil {
			continue
		}
		if err := link.requireSubject(message.Subject); err != nil {
			return nil, err
		}
	}
	delivery.link = link
	return delivery.run(ctx, messages)
}

// early ends before the call does, so that the host hears what has been accepted by then.
func early(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, isSet := ctx.Deadline()
	if !isSet {
		return context.WithCancel(ctx)
	}
	margin := min(2*time.Second, time.Until(deadline)/5)
	return context.WithDeadline(ctx, deadline.Add(-margin))
}
