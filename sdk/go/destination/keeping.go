package destination

import (
	"context"
	"fmt"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/convert"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// checkpointsFeature is of Interface.features: Position, and checkpoints beside envelopes.
	checkpointsFeature = "checkpoints"

	maxCursorBytes = 64 * 1024
)

func (s *service) keeper() (CheckpointKeeper, error) {
	if keeper, keeps := s.plugin.(CheckpointKeeper); keeps {
		return keeper, nil
	}
	return nil, &aperio.Error{
		Cause: aperio.Unsupported, Summary: "this destination does not have the feature checkpoints",
	}
}

func (s *service) Position(
	ctx context.Context, message *pb.PositionRequest,
) (*pb.PositionResponse, error) {
	source, err := sourceFrom(message.GetSource())
	if err != nil {
		return nil, err
	}
	keeper, err := s.keeper()
	if err != nil {
		return nil, err
	}
	call, err := s.runtime.Invocation(message.GetContext())
	if err != nil {
		return nil, err
	}
	position, err := keeper.Position(ctx, &PositionRequest{Invocation: call, Source: source})
	if err != nil {
		return nil, err
	}
	return positionMessage(position)
}

func (s *service) deliverAndStore(
	ctx context.Context, request *DeliverRequest, message *pb.StoreCheckpoint,
) (*pb.DeliverResponse, error) {
	source, err := sourceFrom(message.GetSource())
	if err != nil {
		return nil, err
	}
	checkpoint, err := checkpointFrom(message.GetCheckpoint())
	if err != nil {
		return nil, err
	}
	keeper, err := s.keeper()
	if err != nil {
		return nil, err
	}
	delivered, err := keeper.DeliverAndStore(ctx, &StoreRequest{
		DeliverRequest: *request, Source: source, Checkpoint: checkpoint,
		Replaces: message.GetReplaces(),
	})
	if err != nil {
		return nil, err
	}
	results, err := inOrder(request.Envelopes, delivered.Results, noAnswer)
	if err != nil {
		return nil, err
	}
	outcome, err := convert.Named(delivered.Outcome, outcomes)
	return &pb.DeliverResponse{Results: results, CheckpointOutcome: outcome}, err
}

var outcomes = map[CheckpointOutcome]pb.DeliverResponse_CheckpointOutcome{
	CheckpointNotStored: pb.DeliverResponse_CHECKPOINT_OUTCOME_UNSPECIFIED,
	CheckpointStored:    pb.DeliverResponse_CHECKPOINT_OUTCOME_STORED,
	CheckpointMoved:     pb.DeliverResponse_CHECKPOINT_OUTCOME_MOVED,
}

func sourceFrom(message *pb.SyncSource) (SyncSource, error) {
	if message.GetConnector() == "" {
		return SyncSource{}, &aperio.Error{
			Cause: aperio.InvalidArgument, Summary: "a checkpoint of no connector",
		}
	}
	return SyncSource{Connector: message.GetConnector(), Choice: message.GetChoice()}, nil
}

func checkpointFrom(message *pb.SyncCheckpoint) (SyncCheckpoint, error) {
	checkpoint := SyncCheckpoint{
		Cursor: message.GetCursor(), Covered: map[string]time.Time{},
		ConnectorVersion: message.GetConnectorVersion(),
	}
	for name, until := range message.GetCovered() {
		if !until.IsValid() {
			return checkpoint, &aperio.Error{
				Cause:   aperio.InvalidArgument,
				Summary: "covered has no time in the years 1 to 9999",
			}
		}
		checkpoint.Covered[name] = until.AsTime()
	}
	return checkpoint, nil
}

// positionMessage gives the message of where a destination is. The error has the cause InvalidRecord:
// the cursor is too long, or a time is none.
func positionMessage(position *Position) (*pb.PositionResponse, error) {
	if position == nil {
		return &pb.PositionResponse{}, nil
	}
	message := &pb.PositionResponse{Kept: true}
	found := position.Checkpoint
	if found == nil {
		return message, nil
	}
	if length := len(found.Cursor); length > maxCursorBytes {
		return nil, invalid("a cursor has %d bytes, %d are the most", length, maxCursorBytes)
	}
	message.Checkpoint = &pb.SyncCheckpoint{
		Cursor: found.Cursor, ConnectorVersion: found.ConnectorVersion,
		Covered: make(map[string]*timestamppb.Timestamp, len(found.Covered)),
	}
	for name, until := range found.Covered {
		if aperio.CheckTime(until, "") != nil {
			return nil, invalid("covered of %.80q is no time in the years 1 to 9999", name)
		}
		message.Checkpoint.Covered[name] = timestamppb.New(until)
	}
	if !position.StoredAt.IsZero() {
		if aperio.CheckTime(position.StoredAt, "") != nil {
			return nil, invalid("stored_at is no time in the years 1 to 9999")
		}
		message.StoredAt = timestamppb.New(position.StoredAt)
	}
	return message, nil
}

func invalid(format string, arguments ...any) error {
	return &aperio.Error{Cause: aperio.InvalidRecord, Summary: fmt.Sprintf(format, arguments...)}
}
