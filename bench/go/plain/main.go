// The connector that is measured, without the SDK: on stock go-plugin, one event in a message.
package main

import (
	"context"
	"encoding/json"

	"github.com/hashicorp/go-plugin"
	"github.com/writer/aperio-plugin-go/bench/events"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"
)

type service struct {
	pb.UnimplementedConnectorPluginServer
}

func (service) Schema(context.Context, *pb.SchemaRequest) (*pb.SchemaResponse, error) {
	return &pb.SchemaResponse{Provider: events.Provider, Name: "Bench"}, nil
}

func (service) Sync(request *pb.SyncRequest, stream grpc.ServerStreamingServer[pb.SyncEvent]) error {
	var config struct{ Count int }
	if err := json.Unmarshal(request.GetContext().GetConfigJson(), &config); err != nil {
		return err
	}
	record := events.Record()
	for number := range config.Count {
		if err := stream.Send(message(number, record)); err != nil {
			return err
		}
	}
	return nil
}

func message(number int, record []byte) *pb.SyncEvent {
	event := &pb.Event{
		SourceEventId: events.ID(number),
		EventType:     events.Type,
		OccurredAt:    &timestamppb.Timestamp{Seconds: events.OccurredUnix},
		RecordJson:    record,
	}
	batch := &pb.EventBatch{Events: []*pb.Event{event}}
	return &pb.SyncEvent{Item: &pb.SyncEvent_Batch{Batch: batch}}
}

type served struct{ plugin.NetRPCUnsupportedPlugin }

// GRPCServer registers the service.
func (served) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	pb.RegisterConnectorPluginServer(server, service{})
	return nil
}

// GRPCClient is never used: this is a plugin.
func (served) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, nil
}

func main() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion:  1,
			MagicCookieKey:   "APERIO_PLUGIN_MAGIC_COOKIE",
			MagicCookieValue: "aperio-plugin-v1",
		},
		Plugins:    plugin.PluginSet{"connector": served{}},
		GRPCServer: plugin.DefaultGRPCServer,
	})
}
