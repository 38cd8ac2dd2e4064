package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/convert"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// DeliverTimeout is the longest that a call of Deliver takes: half of the lease that the product has
// on a delivery, so that none is sent twice because the first try is still under way.
const DeliverTimeout = 150 * time.Second

const (
	mostDiagnostics = 20
	longestWait     = 366 * 24 * time.Hour
)

// CallError is a call that a plugin answered with an error. status.Code and status.FromError take it
// as they take the one of gRPC.
type CallError struct {
	// Diagnostics are what the plugin says about it, at most 20: outside text.
	Diagnostics []*pb.Diagnostic
	// RetryAfter is how long the service asks not to be called again; 0: it does not say.
	RetryAfter time.Duration

	err error
}

// Error gives gRPC's text, and the first detail.
func (e *CallError) Error() string {
	text := e.err.Error()
	for _, each := range e.Diagnostics {
		if each.GetDetail() != "" {
			return text + ": " + each.GetDetail()
		}
	}
	return text
}

// Unwrap gives gRPC's error.
func (e *CallError) Unwrap() error { return e.err }

// GRPCStatus is what status.FromError looks for.
func (e *CallError) GRPCStatus() *status.Status { return status.Convert(e.err) }

// DiagnosticsOf gives what a plugin said about an error of a call, and how long it asks to wait; none
// for any other error.
func DiagnosticsOf(err error) ([]*pb.Diagnostic, time.Duration) {
	var told *CallError
	if !errors.As(err, &told) {
		return nil, 0
	}
	return told.Diagnostics, told.RetryAfter
}

// told gives the error of a call with the diagnostics of its trailer; those that cannot be read are
// none.
func told(err error, trailer metadata.MD) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	if _, isStatus := status.FromError(err); !isStatus {
		return err
	}
	made := &CallError{err: err}
	var said pb.Diagnostics
	values := trailer.Get(convert.DiagnosticsKey)
	if len(values) > 0 && proto.Unmarshal([]byte(values[0]), &said) == nil {
		made.Diagnostics = said.GetItems()[:min(len(said.GetItems()), mostDiagnostics)]
		wait := said.GetRetryAfter()
		if wait.CheckValid() == nil && wait.AsDuration() > 0 && wait.AsDuration() <= longestWait {
			made.RetryAfter = wait.AsDuration()
		}
	}
	return made
}

// guard stands before every call of one running plugin.
type guard struct {
	receipt *Receipt
	options Options
	mutex   sync.Mutex
	cleared map[string]bool
	// asking has a channel for each organization that is just being asked about; closed at the end.
	asking map[string]chan struct{}
}

func newGuard(receipt *Receipt, options Options) *guard {
	// The start itself asks for this one.
	return &guard{
		receipt: receipt, options: options, cleared: map[string]bool{options.organization(): true},
		asking: map[string]chan struct{}{},
	}
}

// unary is a grpc.UnaryClientInterceptor.
func (g *guard) unary(
	ctx context.Context, method string, request, reply any, connection *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	if err := g.permit(ctx, request); err != nil {
		return err
	}
	if delivery, is := request.(*pb.DeliverRequest); is {
		if err := g.refuseForeign(delivery); err != nil {
			return err
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DeliverTimeout)
		defer cancel()
	}
	var trailer metadata.MD
	options = append(options, grpc.Trailer(&trailer))
	return told(invoke(ctx, method, request, reply, connection, options...), trailer)
}

// stream is a grpc.StreamClientInterceptor.
func (g *guard) stream(
	ctx context.Context, description *grpc.StreamDesc, connection *grpc.ClientConn, method string,
	open grpc.Streamer, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	made, err := open(ctx, description, connection, method, options...)
	if err != nil {
		return nil, told(err, nil)
	}
	return &guarded{made, g}, nil
}

type guarded struct {
	grpc.ClientStream
	guard *guard
}

// SendMsg sends a request that may be sent.
func (g *guarded) SendMsg(message any) error {
	if err := g.guard.permit(g.Context(), message); err != nil {
		return err
	}
	return g.ClientStream.SendMsg(message)
}

// RecvMsg gives a message, or the error with what the plugin says about it.
func (g *guarded) RecvMsg(message any) error {
	err := g.ClientStream.RecvMsg(message)
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return told(err, g.Trailer())
}

// permit asks the policy for an organization before the first call on its behalf: an organization may
// require more than the one that the plugin was started for.
func (g *guard) permit(ctx context.Context, request any) error {
	asking, has := request.(interface {
		GetContext() *pb.InvocationContext
	})
	if !has || asking.GetContext().GetOrganizationId() == "" {
		return nil // health checks, and what a plugin declares, are on nobody's behalf
	}
	organization := asking.GetContext().GetOrganizationId()
	for {
		isCleared, others := g.take(organization)
		if isCleared {
			return nil
		}
		if others == nil {
			break // it is ours to ask
		}
		select { // each question is a process: calls that come together ask one
		case <-others:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	options := g.options
	options.Organization = organization
	_, err := g.receipt.MayRun(ctx, options)
	g.mutex.Lock()
	defer g.mutex.Unlock()
	close(g.asking[organization])
	delete(g.asking, organization)
	if err == nil {
		g.cleared[organization] = true
	}
	return err
}

// take tells whether an organization is cleared; or gives what is closed once another call has asked
// for it, nil when it is this one's to ask.
func (g *guard) take(organization string) (bool, chan struct{}) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if g.cleared[organization] {
		return true, nil
	}
	if others, areAsking := g.asking[organization]; areAsking {
		return false, others
	}
	g.asking[organization] = make(chan struct{})
	return false, nil
}

// refuseForeign refuses a delivery, before anything of it is sent, that has an envelope which does not
// say, once and in so many words, that it is of the call's organization.
func (g *guard) refuseForeign(delivery *pb.DeliverRequest) error {
	own := delivery.GetContext().GetOrganizationId()
	for _, each := range delivery.GetEnvelopes() {
		found, err := organizationOf(each.GetEnvelopeJson())
		if err == nil && found != own {
			err = fmt.Errorf("expected %q, found %q", own, found)
		}
		if err != nil || own == "" {
			return &Refusal{
				Code: CodeForeignOrganization,
				What: fmt.Sprintf("nothing was delivered to `%s`: the envelope %q is not of the call's"+
					" organization", g.receipt.ID, each.GetId()),
				Why:  fmt.Sprintf("organization_id: %v", err),
				Next: []string{"make one call for each organization"},
				Err:  err,
			}
		}
	}
	return nil
}

// organizationOf gives an envelope's organization. A key that a reader may take for it, because that
// reader minds no case or takes the last of two, is an error.
func organizationOf(envelope []byte) (string, error) {
	const key = "organization_id"
	decoder := json.NewDecoder(bytes.NewReader(envelope))
	if opening, err := decoder.Token(); err != nil || opening != json.Delim('{') {
		return "", errors.New("the envelope is no JSON object")
	}
	var found []string
	for decoder.More() {
		name, err := decoder.Token()
		var value json.RawMessage
		if err == nil {
			err = decoder.Decode(&value)
		}
		if err != nil {
			return "", fmt.Errorf("the envelope is no JSON object: %w", err)
		}
		if text, _ := name.(string); strings.EqualFold(text, key) {
			var organization string
			if text != key || json.Unmarshal(value, &organization) != nil {
				return "", fmt.Errorf("expected a text under %s, found %q: %.80s", key, text, value)
			}
			found = append(found, organization)
		}
	}
	_, err := decoder.Token() // the closing brace
	if _, end := decoder.Token(); err != nil || !errors.Is(end, io.EOF) {
		return "", errors.New("the envelope is not one JSON object, and nothing else")
	}
	if len(found) != 1 {
		return "", fmt.Errorf("expected one, found %d", len(found))
	}
	return found[0], nil
}

// isUnauthenticated tells whether a call ended because its token is no longer good.
func isUnauthenticated(err error) bool { return status.Code(err) == codes.Unauthenticated }
