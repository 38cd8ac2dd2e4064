package plugintest

import (
	"bytes"
	"time"

	"github.com/writer/aperio-plugin-go/destination"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func (h *Harness) deliverRequest(envelopes []destination.Envelope) *pb.DeliverRequest {
	request := &pb.DeliverRequest{Context: h.invocation}
	for _, envelope := range envelopes {
		request.Envelopes = append(request.Envelopes, &pb.OutboundEnvelope{
			Id: envelope.ID, Kind: string(envelope.Stream), EnvelopeJson: envelope.JSON,
		})
	}
	return request
}

// Position gives where a destination that keeps checkpoints is in a sync; nil: it keeps none. The error
// is the *aperio.Error that the host is told when it could not be found out.
func (h *Harness) Position(source destination.SyncSource) (*destination.Position, error) {
	ctx, cancel := h.context()
	defer cancel()
	var trailer trailer
	client := pb.NewDestinationPluginClient(h.connection)
	request := &pb.PositionRequest{Context: h.invocation, Source: sourceMessage(source)}
	answer, err := client.Position(ctx, request, trailer.option())
	if err != nil {
		return nil, trailer.told(err)
	}
	if !answer.GetKept() {
		return nil, nil
	}
	position := &destination.Position{}
	if found := answer.GetCheckpoint(); found != nil {
		position.Checkpoint = &destination.SyncCheckpoint{
			Cursor: found.GetCursor(), ConnectorVersion: found.GetConnectorVersion(),
			Covered: map[string]time.Time{},
		}
		for name, until := range found.GetCovered() {
			position.Checkpoint.Covered[name] = until.AsTime()
		}
	}
	if answer.GetStoredAt() != nil {
		position.StoredAt = answer.GetStoredAt().AsTime()
	}
	return position, nil
}

// DeliverAndStore hands envelopes to a destination with a checkpoint after them, and holds what is
// stored against the answer; the request's Invocation is the harness's. The test fails when the
// checkpoint is stored although an envelope was not accepted, or another one was to be replaced, and
// when what is stored is not what the answer says. The error is the *aperio.Error that the host is
// told when none was delivered.
func (h *Harness) DeliverAndStore(request destination.StoreRequest) (*destination.Delivered, error) {
	h.t.Helper()
	before, err := h.Position(request.Source)
	if err != nil {
		return nil, err
	}
	ctx, cancel := h.context()
	defer cancel()
	message := h.deliverRequest(request.Envelopes)
	message.Checkpoint = &pb.StoreCheckpoint{
		Source: sourceMessage(request.Source), Replaces: request.Replaces,
		Checkpoint: checkpointMessage(request.Checkpoint),
	}
	var trailer trailer
	answer, err := pb.NewDestinationPluginClient(h.connection).Deliver(ctx, message, trailer.option())
	if err != nil {
		return nil, trailer.told(err)
	}
	after, err := h.Position(request.Source)
	if err != nil {
		return nil, err
	}
	delivered := &destination.Delivered{
		Results: deliveriesFrom(answer),
		Outcome: destination.CheckpointOutcome(answer.GetCheckpointOutcome()),
	}
	if fault := faultOf(request, delivered, cursorOf(before), cursorOf(after)); fault != "" {
		h.t.Error(fault)
	}
	return delivered, nil
}

// faultOf says what is wrong about a checkpoint that is stored, or not; empty: nothing.
func faultOf(
	request destination.StoreRequest, delivered *destination.Delivered, before, after []byte,
) string {
	if delivered.Outcome != destination.CheckpointStored {
		if !bytes.Equal(before, after) {
			return "the checkpoint counts as not stored, but another cursor is stored than before"
		}
		return ""
	}
	for _, result := range delivered.Results {
		if result.Status != destination.StatusAccepted {
			return "the checkpoint is stored, but an envelope before it was not accepted: " + result.ID
		}
	}
	switch {
	case !request.MayReplace(before):
		return "the checkpoint is stored over another one than it replaces"
	case !bytes.Equal(after, request.Checkpoint.Cursor):
		return "the checkpoint counts as stored, but another cursor is"
	}
	return ""
}

func cursorOf(position *destination.Position) []byte {
	if position == nil || position.Checkpoint == nil {
		return nil
	}
	return position.Checkpoint.Cursor
}

func sourceMessage(source destination.SyncSource) *pb.SyncSource {
	return &pb.SyncSource{Connector: source.Connector, Choice: source.Choice}
}

func checkpointMessage(checkpoint destination.SyncCheckpoint) *pb.SyncCheckpoint {
	message := &pb.SyncCheckpoint{
		Cursor: checkpoint.Cursor, ConnectorVersion: checkpoint.ConnectorVersion,
		Covered: map[string]*timestamppb.Timestamp{},
	}
	for name, until := range checkpoint.Covered {
		message.Covered[name] = timestamppb.New(until)
	}
	return message
}

func deliveriesFrom(answer *pb.DeliverResponse) []destination.Result {
	results := make([]destination.Result, len(answer.GetResults()))
	for index, result := range answer.GetResults() {
		results[index] = deliveryFrom(result)
	}
	return results
}
