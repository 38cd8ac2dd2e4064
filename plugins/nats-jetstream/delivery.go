package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/destination"
)

// mostInFlight bounds the messages of one call that wait for their acknowledgement.
const mostInFlight = 128

// messageTooLarge is the server's code for a message that its stream does not take (server/errors.json
// of nats-server, JSStreamMessageExceedsMaximumErr).
const messageTooLarge = 10054

// sent is an envelope on its way to the stream.
type sent struct {
	index   int
	subject string
	future  jetstream.PubAckFuture
}

// delivery publishes the envelopes of one call.
type delivery struct {
	link      *link
	logger    *slog.Logger
	envelopes []destination.Envelope
	results   []destination.Result // in the order of the envelopes; without a status: no answer yet
	inFlight  []sent
	broken    *aperio.Diagnostic // why nothing more is sent
	denied    error              // what the server does not let this user do
}

// run publishes what has a message, and answers for each envelope, except where the server says
// that this user may not: about those is the error.
func (d *delivery) run(ctx context.Context, messages []*nats.Msg) ([]destination.Result, error) {
	for index, message := range messages {
		if message == nil {
			continue // it has its answer
		}
		if len(d.inFlight) == mostInFlight {
			d.settleOldest(ctx)
		}
		d.send(ctx, index, message)
	}
	for len(d.inFlight) > 0 {
		d.settleOldest(ctx)
	}
	answered := d.results[:0]
	for _, result := range d.results {
		if result.Status != 0 {
			answered = append(answered, result)
		}
	}
	return answered, d.denied
}

func (d *delivery) send(ctx context.Context, index int, message *nats.Msg) {
	if d.broken == nil && ctx.Err() != nil {
		d.breakOff("deadline", "the call's time was up before it was sent")
	}
	if d.broken != nil {
		d.results[index] = destination.Retry(d.envelopes[index], *d.broken, 0)
		return
	}
	stop := context.AfterFunc(ctx, d.link.interrupt) // a server that reads nothing lets nobody write
	future, err := d.link.jetStream.PublishMsgAsync(
		message, jetstream.WithExpectStream(d.link.settings.stream))
	stop()
	if err != nil {
		d.fail(index, len(message.Data), err)
		return
	}
	d.inFlight = append(d.inFlight, sent{index, message.Subject, future})
}

// settleOldest waits for what becomes of the message that was sent first.
func (d *delivery) settleOldest(ctx context.Context) {
	oldest := d.inFlight[0]
	d.inFlight = d.inFlight[1:]
	envelope := d.envelopes[oldest.index]
	for {
		isDenied, changed := d.link.denials.look(oldest.subject)
		if isDenied {
			d.link.spoil()
			d.denied = denial("publish on " + oldest.subject)
			return
		}
		select { // what has come already counts, even if the connection has ended since
		case <-oldest.future.Ok():
			d.results[oldest.index] = destination.Accepted(envelope)
			return
		default:
		}
		select {
		case <-oldest.future.Ok(): // the stream has it, from now or, a repeat, from before
			d.results[oldest.index] = destination.Accepted(envelope)
			return
		case err := <-oldest.future.Err():
			d.fail(oldest.index, len(oldest.future.Msg().Data), err)
			return
		case <-d.link.closed:
			d.breakOff("disconnected", "the connection ended before the stream acknowledged it")
		case <-ctx.Done():
			d.breakOff("deadline", "the call's time was up before the stream acknowledged it")
		case <-changed:
			continue
		}
		d.results[oldest.index] = destination.Retry(envelope, *d.broken, 0)
		return
	}
}

// fail answers for an envelope that the stream does not have. Rejected is only what no server with
// these settings will ever take; whatever an operator can mend without touching the envelope is
// tried again, so that nothing is lost meanwhile.
func (d *delivery) fail(index, size int, err error) {
	envelope := d.envelopes[index]
	var told *jetstream.APIError
	isTold := errors.As(err, &told)
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		d.results[index] = tooLarge(envelope, size, fmt.Sprintf(
			"the server takes %d at most (max_payload)", d.link.connection.MaxPayload()))
		return
	case isTold && told.ErrorCode == messageTooLarge:
		d.results[index] = tooLarge(envelope, size, "the stream takes less (max_msg_size)")
		return
	case errors.Is(err, nats.ErrBadSubject):
		d.results[index] = destination.Rejected(envelope, aperio.Diagnostic{
			Summary: "there is no such subject as it would have", Code: "subject-invalid",
		})
		return
	case isTold: // about this one; the stream may take the next, when a subject is full, say
		d.link.spoil()
		d.results[index] = destination.Retry(envelope, aperio.Diagnostic{
			Summary: "the stream did not take it: " + told.Description, Code: "not-stored",
		}, 0)
		return
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		d.breakOff("no-responders", "no stream answers for its subject")
	case errors.Is(err, jetstream.ErrAsyncPublishTimeout):
		d.breakOff("ack-timeout", fmt.Sprintf(
			"the stream did not acknowledge it within %s", d.link.settings.timeout))
	default:
		d.breakOff("not-sent", "it could not be sent: "+err.Error())
	}
	d.results[index] = destination.Retry(envelope, *d.broken, 0)
}

// breakOff has nothing more sent, and the next call connect anew and look at the stream again.
func (d *delivery) breakOff(code, summary string) {
	d.link.spoil()
	if d.broken == nil {
		d.logger.Warn("publishing was broken off", "code", code, "reason", summary)
	}
	d.broken = &aperio.Diagnostic{Summary: summary, Code: code}
}

func tooLarge(envelope destination.Envelope, size int, limit string) destination.Result {
	return destination.Rejected(envelope, aperio.Diagnostic{
		Summary: fmt.Sprintf("its message has %d bytes; %s", size, limit),
		Detail:  "raise the limit, then deliver what was rejected again",
		Code:    "message-too-large",
	})
}

func denial(what string) error {
	return &aperio.Error{
		Cause: aperio.PermissionDenied, Summary: "the server does not let this user " + what,
		Detail: "README.md of the plugin has the permissions that it needs",
	}
}
