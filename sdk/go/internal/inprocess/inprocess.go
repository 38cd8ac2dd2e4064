// Package inprocess serves a plugin inside of the process that calls it, over a pipe in memory.
package inprocess

import (
	"context"
	"net"
	"time"

	"github.com/writer/aperio-plugin-go/internal/serve"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
)

const (
	pipeBytes = 64 * 1024
	patience  = time.Second
)

// Serve serves a plugin and gives a connection to it, until stop is called.
func Serve(
	service *serve.Service, runtime *serve.Runtime,
) (connection *grpc.ClientConn, stop func(), err error) {
	listener := bufconn.Listen(pipeBytes)
	server := grpc.NewServer(runtime.ServerOptions()...)
	service.Register(server, runtime)
	connection, err = grpc.NewClient(
		"passthrough:///plugin",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return listener.DialContext(ctx)
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(serve.MaxMessageBytes)),
	)
	if err != nil {
		return nil, nil, err
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // it ends with Stop
	}()
	return connection, func() {
		_ = connection.Close()
		runtime.End(patience)
		server.Stop()
		<-served
	}, nil
}
