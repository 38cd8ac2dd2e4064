// A client of the control API on Connect, over HTTP/2 on the unix socket: what Aperio's server has
// already. It tells what it saw as one JSON object.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"connectrpc.com/connect"
	"github.com/writer/aperio-plugin-go/gen/hostv1"
)

const service = "http://localhost/aperio.host.v1.HostService/"

type seen struct {
	Version string   `json:"version"`
	Plugins []string `json:"plugins"`
	Items   []string `json:"items"`
	IDs     []string `json:"ids"`
	// Status and Code are of a call that fails.
	Status string `json:"status"`
	Code   string `json:"code"`
}

func main() {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{
		Protocols: protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", os.Args[1])
		},
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	result, err := ask(ctx, client)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func ask(ctx context.Context, client *http.Client) (*seen, error) {
	result := &seen{}
	host, err := unary[hostv1.GetHostRequest, hostv1.GetHostResponse](
		ctx, client, "GetHost", &hostv1.GetHostRequest{},
	)
	if err != nil {
		return nil, err
	}
	result.Version = host.GetVersion()
	listed, err := unary[hostv1.ListPluginsRequest, hostv1.ListPluginsResponse](
		ctx, client, "ListPlugins", &hostv1.ListPluginsRequest{},
	)
	if err != nil {
		return nil, err
	}
	for _, plugin := range listed.GetPlugins() {
		result.Plugins = append(result.Plugins, plugin.GetId())
	}
	if err := sync(ctx, client, result); err != nil {
		return nil, err
	}
	fails(ctx, client, result)
	return result, nil
}

func unary[Request, Response any](
	ctx context.Context, client *http.Client, method string, request *Request,
) (*Response, error) {
	made := connect.NewClient[Request, Response](client, service+method, connect.WithGRPC())
	answer, err := made.CallUnary(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	return answer.Msg, nil
}

func sync(ctx context.Context, client *http.Client, result *seen) error {
	made := connect.NewClient[hostv1.SyncRequest, hostv1.SyncResponse](
		client, service+"Sync", connect.WithGRPC(),
	)
	call := &hostv1.Call{Plugin: "acme/bare", OrganizationId: "acme-corp", IntegrationId: "connect"}
	stream, err := made.CallServerStream(ctx, connect.NewRequest(&hostv1.SyncRequest{Call: call}))
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		item := stream.Msg()
		result.Items = append(result.Items, fmt.Sprintf("%T", item.GetItem()))
		for _, envelope := range item.GetBatch().GetEnvelopes() {
			result.IDs = append(result.IDs, envelope.GetId())
		}
	}
	return stream.Err()
}

// fails calls a plugin that is not there, and reads what the host says about it.
func fails(ctx context.Context, client *http.Client, result *seen) {
	call := &hostv1.Call{Plugin: "acme/unheard", OrganizationId: "acme-corp", IntegrationId: "connect"}
	_, err := unary[hostv1.TestConnectionRequest, hostv1.TestConnectionResponse](
		ctx, client, "TestConnection", &hostv1.TestConnectionRequest{Call: call},
	)
	var failed *connect.Error
	if !errors.As(err, &failed) {
		return
	}
	result.Status = failed.Code().String()
	for _, detail := range failed.Details() {
		if value, err := detail.Value(); err == nil {
			if said, isError := value.(*hostv1.Error); isError {
				result.Code = said.GetCode()
			}
		}
	}
}
