package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hashicorp/go-plugin"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/settings"
	"google.golang.org/grpc"
)

// Declaration is what a plugin of any kind declares: a SchemaResponse or a CapabilitiesResponse.
type Declaration = settings.Declaration

// PluginConfig gives InvocationContext.ConfigJson for a host's settings: completed with defaults,
// without those that only the host may use. The secret of an OAuth 2.0 client is one of those,
// whatever the plugin declares about its field. Values are not checked against their fields' types.
// The error names a key that is declared twice or not at all.
func PluginConfig(declared Declaration, given map[string]any) ([]byte, error) {
	values, err := settings.ForPlugin(declared, given)
	if err != nil {
		return nil, err
	}
	return json.Marshal(values)
}

// Connector starts a connector, unless it runs, and waits for a health check. The error is about
// the start, or says that the plugin is of another kind.
func Connector(client *plugin.Client) (pb.ConnectorPluginClient, error) {
	return connect(client, "connector", pb.NewConnectorPluginClient)
}

// Remediation is Connector for a remediation.
func Remediation(client *plugin.Client) (pb.RemediationPluginClient, error) {
	return connect(client, "remediation", pb.NewRemediationPluginClient)
}

// Destination is Connector for a destination.
func Destination(client *plugin.Client) (pb.DestinationPluginClient, error) {
	return connect(client, "destination", pb.NewDestinationPluginClient)
}

func connect[Client any](
	client *plugin.Client, kind string, make func(grpc.ClientConnInterface) Client,
) (none Client, _ error) {
	protocol, err := client.Client()
	if err != nil {
		return none, err
	}
	if err := protocol.Ping(); err != nil { // go-plugin dials lazily: only this proves it runs
		return none, fmt.Errorf("health check: %w", err)
	}
	connection, err := protocol.Dispense(kind)
	if err != nil {
		return none, err
	}
	return make(connection.(*grpc.ClientConn)), nil
}

// grpcPlugin dispenses the connection.
type grpcPlugin struct{ plugin.NetRPCUnsupportedPlugin }

// GRPCServer is the plugin's side.
func (grpcPlugin) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("a host serves no plugins")
}

// GRPCClient gives the connection.
func (grpcPlugin) GRPCClient(
	_ context.Context, _ *plugin.GRPCBroker, connection *grpc.ClientConn,
) (any, error) {
	return connection, nil
}
