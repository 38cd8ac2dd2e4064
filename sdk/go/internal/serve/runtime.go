// Package serve stands between a plugin's code and go-plugin: it counts calls, turns what they
// return into what the host is told, and ends the process when the host does.
package serve

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	aperio "github.com/writer/aperio-plugin-go"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/convert"
	"github.com/writer/aperio-plugin-go/internal/logging"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	// MaxMessageBytes is the most that a message has, both ways (proto/aperio/plugin/v1).
	MaxMessageBytes = 4 * 1024 * 1024
	// MaxCalls is the most calls into the author's code at once; one more is refused with
	// RESOURCE_EXHAUSTED.
	MaxCalls = 64

	ourMethods     = "/aperio.plugin.v1."
	shutdownMethod = "/plugin.GRPCController/Shutdown"
	module         = "aperio_plugin"
)

// Service is an author's plugin behind the service of its kind.
type Service struct {
	// Kind is `connector`, `remediation` or `destination`.
	Kind string
	// Register adds it to a server whose options are the runtime's.
	Register func(grpc.ServiceRegistrar, *Runtime)
}

// Runtime is what the services of all kinds share.
type Runtime struct {
	writer *logging.Writer
	state  func(invocationID string) aperio.State
	log    hclog.Logger
	prints *prints
	ending func() // waits until the process may end
	stop   func() // ends the server, and does not wait

	mutex    sync.Mutex
	isEnding bool
	active   map[*context.CancelFunc]struct{}
	idle     chan struct{} // closed when the last call has ended after the end was begun
}

// NewRuntime gives a runtime that logs to a writer and hands out slices of a key-value store.
func NewRuntime(writer *logging.Writer, state func(invocationID string) aperio.State) *Runtime {
	return &Runtime{
		writer: writer,
		state:  state,
		log:    logging.NewHclog(writer, module),
		prints: newPrints(),
		ending: func() {},
		stop:   func() {},
		active: map[*context.CancelFunc]struct{}{},
		idle:   make(chan struct{}),
	}
}

// ServerOptions gives the options of the gRPC server.
func (r *Runtime) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.MaxSendMsgSize(MaxMessageBytes),
		grpc.UnaryInterceptor(r.unary),
		grpc.StreamInterceptor(r.stream),
	}
}

// Invocation gives what the author sees of a call. The error has the cause InvalidArgument: the
// configuration is not a JSON object.
func (r *Runtime) Invocation(message *pb.InvocationContext) (*aperio.Invocation, error) {
	values, err := convert.ObjectFrom(message.GetConfigJson(), "the configuration")
	if err != nil {
		return nil, err
	}
	identity := []logging.Pair{
		{Key: "organization_id", Value: message.GetOrganizationId()},
		{Key: "integration_id", Value: message.GetIntegrationId()},
		{Key: "invocation_id", Value: message.GetInvocationId()},
	}
	mode := aperio.ModeReadOnly // of a host that does not say, and of one that says something new
	if message.GetMode() == pb.InvocationContext_MODE_REMEDIATION {
		mode = aperio.ModeRemediation
	}
	return &aperio.Invocation{
		Mode:           mode,
		GrantedScopes:  message.GetGrantedScopes(),
		TraceParent:    message.GetTraceparent(),
		TraceState:     message.GetTracestate(),
		OrganizationID: message.GetOrganizationId(),
		IntegrationID:  message.GetIntegrationId(),
		InvocationID:   message.GetInvocationId(),
		Config:         aperio.NewConfig(values),
		Token:          convert.Token(message.GetToken()),
		Logger:         logging.NewSlog(r.writer, "plugin", identity...),
		HCLogger:       logging.NewHclog(r.writer, "plugin", identity...),
		State:          r.state(message.GetInvocationId()),
	}, nil
}

// End cancels all calls, refuses new ones, and waits until the author's code is done or time is up.
func (r *Runtime) End(patience time.Duration) {
	r.mutex.Lock()
	if !r.isEnding {
		r.isEnding = true
		if len(r.active) == 0 {
			close(r.idle)
		}
	}
	for cancel := range r.active {
		(*cancel)()
	}
	r.mutex.Unlock()
	select {
	case <-r.idle:
	case <-time.After(patience):
	}
}

// enter counts a call until leave; the error is the status of one that is refused.
func (r *Runtime) enter(ctx context.Context) (_ context.Context, leave func(), _ error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.isEnding {
		return nil, nil, status.Error(codes.Unavailable, "the plugin is stopping")
	}
	if len(r.active) >= MaxCalls {
		return nil, nil, status.Errorf(codes.ResourceExhausted, "%d calls are under way", MaxCalls)
	}
	ctx, cancel := context.WithCancel(ctx)
	r.active[&cancel] = struct{}{}
	return ctx, func() {
		cancel()
		r.mutex.Lock()
		defer r.mutex.Unlock()
		delete(r.active, &cancel)
		if r.isEnding && len(r.active) == 0 {
			close(r.idle)
		}
	}, nil
}

func (r *Runtime) unary(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler,
) (answer any, err error) {
	if info.FullMethod == shutdownMethod {
		// In place of go-plugin's own handler, which cuts every connection, with what is on its way.
		r.ending()
		r.stop()
		return &emptypb.Empty{}, nil
	}
	if !strings.HasPrefix(info.FullMethod, ourMethods) {
		return next(ctx, request)
	}
	called, leave, err := r.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	err = Guard(func() error {
		if answer, err = next(called, request); err == nil {
			_, err = proto.Marshal(answer.(proto.Message)) // text that is not UTF-8 fails here
		}
		return err
	})
	if err != nil {
		return nil, r.told(called, err, func(trailer metadata.MD) { _ = grpc.SetTrailer(ctx, trailer) })
	}
	return answer, nil
}

func (r *Runtime) stream(
	server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler,
) error {
	if info.FullMethod == stdioMethod {
		return r.prints.stream(server, stream, next)
	}
	if !strings.HasPrefix(info.FullMethod, ourMethods) {
		return next(server, stream)
	}
	ctx, leave, err := r.enter(stream.Context())
	if err != nil {
		return err
	}
	defer leave()
	err = Guard(func() error { return next(server, &cancellable{stream, ctx}) })
	if err != nil {
		return r.told(ctx, err, stream.SetTrailer)
	}
	return nil
}

// cancellable is a stream whose context ends with the plugin, too.
type cancellable struct {
	grpc.ServerStream
	ctx context.Context
}

// Context gives the context of the call.
func (c *cancellable) Context() context.Context { return c.ctx }

// told gives the status for an error, sends its diagnostics beside it, and logs what nobody
// foresaw.
func (r *Runtime) told(ctx context.Context, err error, trailer func(metadata.MD)) error {
	failure := r.Failure(ctx, err)
	diagnostics, invalid := proto.Marshal(convert.ErrorDiagnostics(failure))
	if invalid == nil {
		trailer(metadata.Pairs(convert.DiagnosticsKey, string(diagnostics)))
	}
	return status.Error(convert.StatusCode(failure), convert.StatusText(failure))
}

// Failure gives the error that the host is told; what nobody foresaw is logged, once.
func (r *Runtime) Failure(ctx context.Context, err error) *aperio.Error {
	failure, foreseen := convert.Failure(ctx, err)
	if !foreseen {
		arguments := []any{"error", err}
		if panicked, ok := err.(*panicError); ok {
			arguments = append(arguments, "traceback", panicked.trace)
			failure.Summary = fmt.Sprintf("the plugin failed with a panic: %T", panicked.value)
			failure.Detail = "The plugin's log has the traceback."
		}
		r.log.Error("the plugin failed", arguments...)
	}
	return failure
}

// Guard runs a function of the author's; a panic becomes an error with its traceback.
func Guard(run func() error) (err error) {
	finished := false
	defer func() {
		if finished {
			return
		}
		raised := recover() // nil: the goroutine is ending, by runtime.Goexit
		err = &panicError{raised, string(debug.Stack())}
	}()
	err = run()
	finished = true
	return err
}

type panicError struct {
	value any
	trace string
}

// Error gives the text of the value.
func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }
