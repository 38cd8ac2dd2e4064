// A stock go-plugin host that measures. Each line of its stdin is a command, each line of its
// stdout the answer: nanoseconds.
//
//	launch PATH          from nothing to the first answered call of Schema
//	secure PATH SHA256   the same with SecureConfig
//	unary PATH COUNT     the median of so many calls of Schema, one after the other
//	sync PATH COUNT      a whole sync of so many events
//
// It lives through all of them, so that what is measured is not its own start.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"google.golang.org/grpc"
)

const timeout = 5 * time.Minute

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		took, err := measure(strings.Fields(lines.Text()))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(took.Nanoseconds())
	}
}

func measure(words []string) (time.Duration, error) {
	if len(words) < 2 {
		return 0, fmt.Errorf("not a command: %q", words)
	}
	command, path, argument := words[0], words[1], strings.Join(words[2:], " ")
	checksum, count := "", 0
	var err error
	if command == "secure" {
		checksum = argument
	} else if command != "launch" {
		if count, err = strconv.Atoi(argument); err != nil {
			return 0, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	began := time.Now()
	client, err := newClient(path, checksum)
	if err != nil {
		return 0, err
	}
	defer client.Kill()
	connector, err := firstAnswer(ctx, client)
	if err != nil {
		return 0, err
	}
	switch command {
	case "unary":
		return unary(ctx, connector, count)
	case "sync":
		return sync(ctx, connector, count)
	}
	return time.Since(began), nil
}

func newClient(path, checksum string) (*plugin.Client, error) {
	config := &plugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion:  1,
			MagicCookieKey:   "APERIO_PLUGIN_MAGIC_COOKIE",
			MagicCookieValue: "aperio-plugin-v1",
		},
		Plugins:          plugin.PluginSet{"connector": dispensed{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		SkipHostEnv:      true,
		Cmd:              exec.Command(path),
		Logger:           hclog.NewNullLogger(),
	}
	if checksum != "" {
		digest, err := hex.DecodeString(checksum)
		if err != nil {
			return nil, err
		}
		config.SecureConfig = &plugin.SecureConfig{Checksum: digest, Hash: sha256.New()}
	}
	return plugin.NewClient(config), nil
}

func firstAnswer(ctx context.Context, client *plugin.Client) (pb.ConnectorPluginClient, error) {
	protocol, err := client.Client()
	if err != nil {
		return nil, err
	}
	raw, err := protocol.Dispense("connector")
	if err != nil {
		return nil, err
	}
	connector, ok := raw.(pb.ConnectorPluginClient)
	if !ok {
		return nil, fmt.Errorf("dispensed a %T", raw)
	}
	_, err = connector.Schema(ctx, &pb.SchemaRequest{})
	return connector, err
}

func unary(
	ctx context.Context, connector pb.ConnectorPluginClient, count int,
) (time.Duration, error) {
	took := make([]time.Duration, count)
	for number := range took {
		began := time.Now()
		if _, err := connector.Schema(ctx, &pb.SchemaRequest{}); err != nil {
			return 0, err
		}
		took[number] = time.Since(began)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

func sync(
	ctx context.Context, connector pb.ConnectorPluginClient, count int,
) (time.Duration, error) {
	config := fmt.Appendf(nil, `{"count": %d}`, count)
	request := &pb.SyncRequest{Context: &pb.InvocationContext{ConfigJson: config}}
	began := time.Now()
	stream, err := connector.Sync(ctx, request)
	if err != nil {
		return 0, err
	}
	received := 0
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		received += len(message.GetBatch().GetEvents())
	}
	if received != count {
		return 0, fmt.Errorf("%d events, not %d", received, count)
	}
	return time.Since(began), nil
}

type dispensed struct{ plugin.NetRPCUnsupportedPlugin }

// GRPCServer is never used: this is a host.
func (dispensed) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("this is a host")
}

// GRPCClient gives the connector.
func (dispensed) GRPCClient(
	_ context.Context, _ *plugin.GRPCBroker, connection *grpc.ClientConn,
) (any, error) {
	return pb.NewConnectorPluginClient(connection), nil
}
