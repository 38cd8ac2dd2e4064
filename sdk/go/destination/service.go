package destination

import (
	"context"
	"errors"
	"fmt"

	aperio "github.com/writer/aperio-plugin-go"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/convert"
	"github.com/writer/aperio-plugin-go/internal/serve"
	"google.golang.org/grpc"
)

// NewService gives the destination behind its gRPC service, for Serve and package plugintest.
func NewService(plugin Destination) *serve.Service {
	register := func(registrar grpc.ServiceRegistrar, runtime *serve.Runtime) {
		pb.RegisterDestinationPluginServer(registrar, &service{plugin: plugin, runtime: runtime})
	}
	return &serve.Service{Kind: "destination", Register: register}
}

type service struct {
	pb.UnimplementedDestinationPluginServer
	plugin  Destination
	runtime *serve.Runtime
}

func (s *service) Capabilities(
	context.Context, *pb.CapabilitiesRequest,
) (*pb.CapabilitiesResponse, error) {
	message, err := capabilitiesMessage(s.plugin.Capabilities())
	if _, keeps := s.plugin.(CheckpointKeeper); keeps && err == nil {
		message.Interface.Features = append(message.Interface.Features, checkpointsFeature)
	}
	return message, err
}

func (s *service) Deliver(
	ctx context.Context, message *pb.DeliverRequest,
) (*pb.DeliverResponse, error) {
	request, err := s.request(message)
	if err != nil {
		return nil, err
	}
	if message.GetCheckpoint() != nil {
		return s.deliverAndStore(ctx, request, message.GetCheckpoint())
	}
	results, err := s.plugin.Deliver(ctx, request)
	if err != nil && len(results) == 0 {
		return nil, err
	}
	reason := noAnswer
	if err != nil {
		reason = s.runtime.Failure(ctx, err).Diagnostic()
	}
	messages, err := inOrder(request.Envelopes, results, reason)
	return &pb.DeliverResponse{Results: messages}, err
}

var noAnswer = aperio.Diagnostic{Summary: "the plugin gave no answer", Code: "no-answer"}

// inOrder gives one result for each envelope: what was answered, or that it is tried again.
func inOrder(
	envelopes []Envelope, results []Result, reason aperio.Diagnostic,
) ([]*pb.EnvelopeResult, error) {
	answers := make(map[string]Result, len(results))
	for _, result := range results {
		answers[result.ID] = result
	}
	return convert.All(envelopes, func(envelope Envelope) (*pb.EnvelopeResult, error) {
		result, found := answers[envelope.ID]
		if !found {
			result = Retry(envelope, reason, 0)
		}
		return resultMessage(result)
	})
}

func (s *service) request(message *pb.DeliverRequest) (*DeliverRequest, error) {
	call, err := s.runtime.Invocation(message.GetContext())
	if err != nil {
		return nil, err
	}
	envelopes, err := convert.All(message.GetEnvelopes(), envelopeFrom)
	return &DeliverRequest{Invocation: call, Envelopes: envelopes}, err
}

func envelopeFrom(message *pb.OutboundEnvelope) (Envelope, error) {
	stream := Stream(message.GetKind())
	if _, known := streams[stream]; !known {
		summary := fmt.Sprintf("unknown kind of envelope %q", message.GetKind())
		return Envelope{}, &aperio.Error{Cause: aperio.InvalidArgument, Summary: summary}
	}
	return Envelope{ID: message.GetId(), Stream: stream, JSON: message.GetEnvelopeJson()}, nil
}

var streams = map[Stream]pb.DestinationCapabilities_Stream{
	Finding:  pb.DestinationCapabilities_STREAM_FINDING,
	Event:    pb.DestinationCapabilities_STREAM_EVENT,
	AuditLog: pb.DestinationCapabilities_STREAM_AUDIT_LOG,
}

// capabilitiesMessage gives the message of capabilities. The error is about a part that makes no
// sense.
func capabilitiesMessage(capabilities Capabilities) (*pb.CapabilitiesResponse, error) {
	err := aperio.CheckDeclaration(capabilities.Fields, capabilities.Auth)
	fields, fieldsErr := convert.All(capabilities.Fields, convert.Field)
	auth, authErr := convert.Auth(capabilities.Auth)
	taken, takenErr := convert.All(
		capabilities.Streams,
		func(stream Stream) (pb.DestinationCapabilities_Stream, error) {
			return convert.Named(stream, streams)
		},
	)
	if err := errors.Join(err, fieldsErr, authErr, takenErr); err != nil {
		return nil, err
	}
	return &pb.CapabilitiesResponse{
		Interface:   convert.Interface(),
		Provider:    capabilities.Provider,
		Name:        capabilities.Name,
		Description: capabilities.Description,
		DocsUrl:     capabilities.DocsURL,
		Fields:      fields,
		Auth:        auth,
		Kind: &pb.CapabilitiesResponse_Destination{Destination: &pb.DestinationCapabilities{
			Vendor:            capabilities.Vendor,
			Category:          capabilities.Category,
			Streams:           taken,
			MaxBatchEnvelopes: capabilities.MaxBatchEnvelopes,
		}},
	}, nil
}

func resultMessage(result Result) (*pb.EnvelopeResult, error) {
	status, err := convert.Named(result.Status, map[Status]pb.EnvelopeResult_Status{
		StatusAccepted: pb.EnvelopeResult_STATUS_ACCEPTED,
		StatusRejected: pb.EnvelopeResult_STATUS_REJECTED,
		StatusRetry:    pb.EnvelopeResult_STATUS_RETRY,
	})
	message := &pb.EnvelopeResult{
		Id:         result.ID,
		Status:     status,
		RetryAfter: convert.RetryAfter(result.RetryAfter),
	}
	if result.Diagnostic != nil {
		message.Diagnostic = convert.Diagnostic(*result.Diagnostic)
	}
	return message, err
}
