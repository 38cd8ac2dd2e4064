package connector

import (
	"context"
	"errors"
	"fmt"
	"slices"

	aperio "github.com/writer/aperio-plugin-go"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/convert"
	"github.com/writer/aperio-plugin-go/internal/serve"
	"google.golang.org/grpc"
)

// NewService gives the connector behind its gRPC service, for Serve and package plugintest.
func NewService(plugin Connector) *serve.Service {
	register := func(registrar grpc.ServiceRegistrar, runtime *serve.Runtime) {
		pb.RegisterConnectorPluginServer(registrar, &service{plugin: plugin, runtime: runtime})
	}
	return &serve.Service{Kind: "connector", Register: register}
}

type service struct {
	pb.UnimplementedConnectorPluginServer
	plugin  Connector
	runtime *serve.Runtime
}

func (s *service) Schema(context.Context, *pb.SchemaRequest) (*pb.SchemaResponse, error) {
	return schemaMessage(s.plugin.Schema())
}

func (s *service) TestConnection(
	ctx context.Context, request *pb.TestRequest,
) (*pb.TestResponse, error) {
	call, err := s.runtime.Invocation(request.GetContext())
	if err != nil {
		return nil, err
	}
	result, err := s.plugin.TestConnection(ctx, call)
	var told *aperio.Error
	if errors.As(err, &told) && !errors.Is(err, aperio.Cancelled) {
		// A configuration that does not work is an answer, not a failed call.
		result = &TestResult{
			Diagnostics: []aperio.Diagnostic{told.Diagnostic()}, RetryAfter: told.RetryAfter,
		}
		err = nil
	}
	if err != nil {
		return nil, err
	}
	if result == nil {
		return nil, errors.New("TestConnection gave neither a result nor an error")
	}
	return &pb.TestResponse{
		Ok:          result.OK,
		Account:     result.Account,
		Diagnostics: convert.Diagnostics(result.Diagnostics),
		RetryAfter:  convert.RetryAfter(result.RetryAfter),
	}, nil
}

func (s *service) Sync(
	request *pb.SyncRequest, stream grpc.ServerStreamingServer[pb.SyncEvent],
) error {
	call, err := s.runtime.Invocation(request.GetContext())
	if err != nil {
		return err
	}
	if err := s.checkRequest(request); err != nil {
		return err
	}
	task := &SyncRequest{
		Invocation: call, Streams: request.GetStreams(), EventTypes: request.GetEventTypes(),
	}
	if len(request.GetCursor()) > 0 {
		task.Cursor = request.GetCursor()
	} else if request.GetFrom() != nil { // where to begin says nothing to a sync that goes on
		task.From = request.GetFrom().AsTime()
	}
	sync := newStream(stream.Context())
	return sync.run(func() error { return s.plugin.Sync(task, sync) }, stream.Send)
}

// checkRequest refuses what the connector does not declare as a feature, or as a stream.
func (s *service) checkRequest(request *pb.SyncRequest) error {
	from, streams, types := request.GetFrom(), request.GetStreams(), request.GetEventTypes()
	if from == nil && len(streams) == 0 && len(types) == 0 {
		return nil
	}
	if from != nil && from.CheckValid() != nil {
		const summary = "from is no time in the years 1 to 9999"
		return &aperio.Error{Cause: aperio.InvalidArgument, Summary: summary}
	}
	schema := s.plugin.Schema()
	for _, needed := range []struct {
		feature Feature
		isAsked bool
	}{
		{FeatureBackfill, from != nil},
		{FeatureStreams, len(streams) > 0},
		{FeatureEventTypes, len(types) > 0},
	} {
		if needed.isAsked && !slices.Contains(schema.Features, needed.feature) {
			summary := "this connector does not have the feature " + string(needed.feature)
			return &aperio.Error{Cause: aperio.Unsupported, Summary: summary}
		}
	}
	for _, name := range streams {
		isIt := func(stream DeclaredStream) bool { return stream.Name == name }
		if !slices.ContainsFunc(schema.Streams, isIt) {
			summary := fmt.Sprintf("this connector has no stream %.80q", name)
			return &aperio.Error{Cause: aperio.InvalidArgument, Summary: summary}
		}
	}
	return nil
}

func (s *service) OAuthCallback(
	ctx context.Context, request *pb.OAuthCallbackRequest,
) (*pb.OAuthCallbackResponse, error) {
	plugin, ok := s.plugin.(OAuthCallbacker)
	if !ok {
		const summary = "this connector has no parameters of its own in an OAuth callback"
		return nil, &aperio.Error{Cause: aperio.Unsupported, Summary: summary}
	}
	call, err := s.runtime.Invocation(request.GetContext())
	if err != nil {
		return nil, err
	}
	account, err := plugin.OAuthCallback(ctx, call, request.GetParameters())
	if err != nil {
		return nil, err
	}
	return &pb.OAuthCallbackResponse{Account: account}, nil
}
