// Package hostclient calls the control API of `aperio host run`: a Go server uses the plugins that a
// host of the same user keeps running, without loading any of them itself.
//
//	client, err := hostclient.Open(home)
//	...
//	defer client.Close()
//	plugins, err := client.ListPlugins(ctx, &hostv1.ListPluginsRequest{})
//
// The API is proto/aperio/host/v1/host.proto; docs/reference/control-api.md is about it.
package hostclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/writer/aperio-plugin-go/gen/hostv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// MaxMessageBytes is the most that a message of the API has, either way.
const MaxMessageBytes = 4 << 20

const (
	mostFileBytes = 64 << 10
	fileSchema    = "aperio.host/v1"
)

// ErrNotRunning is the error of Open for a home on which no host runs.
var ErrNotRunning = errors.New("no host runs on this home")

// Client calls one host. It may be used by several goroutines at once.
type Client struct {
	hostv1.HostServiceClient
	connection *grpc.ClientConn
}

// Open gives a client of the host that runs on a home, such as ~/.aperio. The error is ErrNotRunning
// where none does, as far as its file says.
func Open(home string) (*Client, error) {
	path, err := SocketOf(home)
	if err != nil {
		return nil, err
	}
	return Dial(path)
}

// ErrForeign is in the text of a call's error when another user listens on the socket: a host that was
// killed leaves its file, and whoever comes upon the place that it names could wait there for secrets.
var ErrForeign = errors.New("the socket is another user's")

// Dial gives a client of the host that listens on a socket. It connects with the first call, and
// again with the next call after the host was restarted; nothing is said to a listener of another user.
func Dial(socket string) (*Client, error) {
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		connected, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err != nil {
			return nil, err
		}
		if err := requireOwn(connected.(*net.UnixConn), socket); err != nil {
			_ = connected.Close() // nothing was written
			return nil, err
		}
		return connected, nil
	}
	connection, err := grpc.NewClient(
		"passthrough:///localhost",
		grpc.WithContextDialer(dial),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(MaxMessageBytes), grpc.MaxCallSendMsgSize(MaxMessageBytes),
		),
		grpc.WithDisableRetry(), // an action is asked for once
	)
	if err != nil {
		return nil, err
	}
	return &Client{hostv1.NewHostServiceClient(connection), connection}, nil
}

// ownedBy tells whether a user id is this process's.
func ownedBy(uid int, socket string) error {
	if own := os.Geteuid(); uid != own {
		return fmt.Errorf("%w: user %d listens on %s, this is user %d", ErrForeign, uid, socket, own)
	}
	return nil
}

// Close ends the connection, and every call in flight.
func (c *Client) Close() error { return c.connection.Close() }

// SocketOf gives the socket of the host that runs on a home, which its host/host.json names. The
// error is ErrNotRunning where there is no such file.
func SocketOf(home string) (string, error) {
	file, err := os.Open(filepath.Join(home, "host", "host.json"))
	if errors.Is(err, os.ErrNotExist) {
		return "", ErrNotRunning
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, mostFileBytes))
	if err != nil {
		return "", err
	}
	var found struct {
		Schema string `json:"schema"`
		Socket string `json:"socket"`
	}
	if err := json.Unmarshal(data, &found); err != nil {
		return "", fmt.Errorf("%s: %w", file.Name(), err)
	}
	if found.Schema != fileSchema {
		return "", fmt.Errorf("%s: expected the schema %s, found %.80q", file.Name(), fileSchema, found.Schema)
	}
	if found.Socket == "" {
		return "", fmt.Errorf("%s names no socket", file.Name())
	}
	return found.Socket, nil
}

// ErrorOf gives what a host says about a call that failed: code, what, why, next. It is nil for an
// error that is none of the host's, such as a lost connection.
func ErrorOf(err error) *hostv1.Error {
	failed, isStatus := status.FromError(err)
	if !isStatus {
		return nil
	}
	for _, detail := range failed.Details() {
		if found, isError := detail.(*hostv1.Error); isError {
			return found
		}
	}
	return nil
}

// MayRepeat tells whether a call that failed may succeed when it is made again as it was: the host or
// the plugin is not there at the moment, the service asks to wait, or the host is busy. An Execute may
// be repeated after any error, with the same idempotency key.
func MayRepeat(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded, codes.Aborted:
		return true
	default:
		return false
	}
}

// ReadSync makes one sync. It hands over each item but the receipt, in the order of the stream, and
// gives the receipt at the end; nil where the sync did not begin. An error of handle ends the sync, and
// is given back as it is.
//
// Whoever handles a checkpoint writes its cursor down together with all that came before it, and puts
// it into the next request.
func (c *Client) ReadSync(
	ctx context.Context, request *hostv1.SyncRequest, handle func(*hostv1.SyncResponse) error,
) (*hostv1.Receipt, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the stream ends with the context
	stream, err := c.Sync(ctx, request)
	if err != nil {
		return nil, err
	}
	var receipt *hostv1.Receipt
	for {
		item, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return receipt, nil
		}
		if err != nil {
			return receipt, err
		}
		if found := item.GetReceipt(); found != nil {
			receipt = found
		} else if err := handle(item); err != nil {
			return receipt, err
		}
	}
}
