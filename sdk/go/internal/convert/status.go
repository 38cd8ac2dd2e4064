package convert

import (
	"context"
	"errors"
	"fmt"

	aperio "github.com/writer/aperio-plugin-go"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"google.golang.org/grpc/codes"
)

// DiagnosticsKey is the trailing metadata key of an error's diagnostics.
const DiagnosticsKey = "aperio-diagnostics-bin"

var statusCodes = map[aperio.Cause]codes.Code{
	aperio.Unauthenticated:  codes.Unauthenticated,
	aperio.PermissionDenied: codes.PermissionDenied,
	aperio.RateLimited:      codes.ResourceExhausted,
	aperio.Unavailable:      codes.Unavailable,
	aperio.ResultUnknown:    codes.Unavailable,
	aperio.InvalidConfig:    codes.InvalidArgument,
	aperio.InvalidArgument:  codes.InvalidArgument,
	aperio.InvalidCursor:    codes.OutOfRange,
	aperio.InvalidRecord:    codes.Internal,
	aperio.Unsupported:      codes.Unimplemented,
	aperio.Cancelled:        codes.Canceled,
	aperio.StateUnavailable: codes.FailedPrecondition,
	aperio.StateConflict:    codes.Aborted,
	aperio.Failed:           codes.Internal,
}

// Failure gives the error that the host is told for any error; foreseen is false for one that the
// plugin did not make for that: its text may quote a secret, so the host is told its type only.
func Failure(ctx context.Context, err error) (told *aperio.Error, foreseen bool) {
	if errors.As(err, &told) {
		return told, true
	}
	ended := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	if ended && ctx.Err() != nil {
		return &aperio.Error{Cause: aperio.Cancelled, Summary: "the call ended", Err: err}, true
	}
	return &aperio.Error{
		Cause:   aperio.Failed,
		Summary: fmt.Sprintf("the plugin failed with %T", err),
		Detail:  "The plugin's log has the error.",
		Err:     err,
	}, false
}

// StatusCode gives the gRPC status code of an error.
func StatusCode(err *aperio.Error) codes.Code {
	if code, known := statusCodes[err.Cause]; known {
		return code
	}
	return codes.Internal
}

// StatusText gives the one line that stands beside the status code.
func StatusText(err *aperio.Error) string { return OneLine(err.Summary, maxStatusText) }

// ErrorDiagnostics gives an error as the payload of DiagnosticsKey, short enough for metadata.
func ErrorDiagnostics(err *aperio.Error) *pb.Diagnostics {
	return &pb.Diagnostics{
		Items:      []*pb.Diagnostic{Diagnostic(err.Diagnostic())},
		RetryAfter: RetryAfter(err.RetryAfter),
	}
}
