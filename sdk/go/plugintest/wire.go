package plugintest

import (
	"encoding/json"
	"fmt"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/destination"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/convert"
	"github.com/writer/aperio-plugin-go/remediation"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// trailer keeps the trailing metadata of one call.
type trailer struct{ metadata metadata.MD }

func (t *trailer) option() grpc.CallOption { return grpc.Trailer(&t.metadata) }

func (t *trailer) told(err error) error { return told(err, t.metadata) }

// told gives the error that the host is told; the gRPC status is what led to it.
func told(err error, trailing metadata.MD) *aperio.Error {
	failure := &aperio.Error{Summary: status.Convert(err).Message(), Err: err}
	var diagnostics pb.Diagnostics
	sent := trailing.Get(convert.DiagnosticsKey)
	if len(sent) != 1 || proto.Unmarshal([]byte(sent[0]), &diagnostics) != nil ||
		len(diagnostics.GetItems()) == 0 {
		return failure
	}
	first := diagnosticFrom(diagnostics.GetItems()[0])
	failure.Cause = aperio.Cause(first.Code)
	failure.Summary = first.Summary
	failure.Detail = first.Detail
	failure.Attribute = first.Attribute
	failure.RetryAfter = diagnostics.GetRetryAfter().AsDuration()
	return failure
}

func diagnosticsFrom(messages []*pb.Diagnostic) []aperio.Diagnostic {
	var diagnostics []aperio.Diagnostic
	for _, message := range messages {
		diagnostics = append(diagnostics, diagnosticFrom(message))
	}
	return diagnostics
}

func diagnosticFrom(message *pb.Diagnostic) aperio.Diagnostic {
	diagnostic := aperio.Diagnostic{
		Summary:   message.GetSummary(),
		Detail:    message.GetDetail(),
		Code:      message.GetCode(),
		Attribute: pathFrom(message.GetAttribute()),
	}
	if message.GetSeverity() == pb.Diagnostic_SEVERITY_WARNING {
		diagnostic.Severity = aperio.SeverityWarning
	}
	return diagnostic
}

func pathFrom(message *pb.AttributePath) aperio.Path {
	var path aperio.Path
	for _, step := range message.GetSteps() {
		switch selector := step.GetSelector().(type) {
		case *pb.AttributePath_Step_Key:
			path = append(path, aperio.Key(selector.Key))
		case *pb.AttributePath_Step_Index:
			path = append(path, aperio.Index(selector.Index))
		}
	}
	return path
}

// resultFrom gives an action's result; its outcomes have the wire's numbers.
func resultFrom(message *pb.ExecuteResponse) (*remediation.Result, error) {
	result := &remediation.Result{
		Outcome:     remediation.Outcome(message.GetOutcome()),
		Diagnostics: diagnosticsFrom(message.GetDiagnostics()),

		ProviderRequestID: message.GetProviderRequestId(),
	}
	for _, change := range message.GetChanges() {
		before, err := valueFrom(change.GetBeforeJson())
		if err != nil {
			return nil, err
		}
		after, err := valueFrom(change.GetAfterJson())
		if err != nil {
			return nil, err
		}
		result.Changes = append(result.Changes, remediation.Change{
			Attribute: pathFrom(change.GetAttribute()), Before: before, After: after,
		})
	}
	return result, nil
}

func valueFrom(data []byte) (value any, err error) {
	if len(data) == 0 {
		return nil, nil
	}
	if err = json.Unmarshal(data, &value); err != nil {
		return nil, fmt.Errorf("a change is not JSON: %w", err)
	}
	return value, nil
}

// deliveryFrom gives an envelope's result; its statuses have the wire's numbers.
func deliveryFrom(message *pb.EnvelopeResult) destination.Result {
	result := destination.Result{
		ID:         message.GetId(),
		Status:     destination.Status(message.GetStatus()),
		RetryAfter: message.GetRetryAfter().AsDuration(),
	}
	if message.GetDiagnostic() != nil {
		diagnostic := diagnosticFrom(message.GetDiagnostic())
		result.Diagnostic = &diagnostic
	}
	return result
}
