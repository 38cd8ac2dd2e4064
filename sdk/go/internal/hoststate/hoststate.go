// Package hoststate is the client of the host's key-value store, over the unix socket that the
// host names in the environment.
package hoststate

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	// SocketVariable is the environment variable with the host's socket.
	SocketVariable = "APERIO_HOST_SOCKET"
	// InvocationKey is the metadata key with the id of the call, which selects the slice.
	InvocationKey = "aperio-invocation"

	timeout = 10 * time.Second
	page    = 1000
)

// Host connects to the host's store when it is first used; one per process.
type Host struct {
	socket string
	mutex  sync.Mutex
	client pb.KeyValueStoreClient
}

// FromEnvironment gives the store of the host that started the process.
func FromEnvironment() *Host { return New(os.Getenv(SocketVariable)) }

// New gives the store at a socket; empty: there is none.
func New(socket string) *Host { return &Host{socket: socket} }

// Slice gives the slice of one call.
func (h *Host) Slice(invocationID string) aperio.State { return &slice{h, invocationID} }

func (h *Host) connected() (pb.KeyValueStoreClient, error) {
	if h.socket == "" {
		return nil, &aperio.Error{
			Cause:   aperio.StateUnavailable,
			Summary: "the host offers no key-value store",
			Detail:  "The manifest must say `state: true`, and the host must support it.",
		}
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.client == nil {
		dial := func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", h.socket)
		}
		// The dialer makes any path fit, and keeps proxies of the environment out.
		connection, err := grpc.NewClient(
			"passthrough:///aperio-host",
			grpc.WithContextDialer(dial),
			grpc.WithTransportCredentials(insecure.NewCredentials()),
		)
		if err != nil {
			return nil, unavailable("connect", err)
		}
		h.client = pb.NewKeyValueStoreClient(connection)
	}
	return h.client, nil
}

type slice struct {
	host         *Host
	invocationID string
}

// Get gives the value of a key, or nil.
func (s *slice) Get(ctx context.Context, key string) (*aperio.StoredValue, error) {
	client, err := s.host.connected()
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.outgoing(ctx)
	defer cancel()
	answer, err := client.Get(ctx, &pb.GetRequest{Key: key})
	if status.Code(err) == codes.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable("Get", err)
	}
	return &aperio.StoredValue{Value: answer.GetValue(), Revision: answer.GetRevision()}, nil
}

// Put stores a value and gives its revision.
func (s *slice) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	return s.put(ctx, &pb.PutRequest{Key: key, Value: value})
}

// PutIf stores a value if the key has a revision.
func (s *slice) PutIf(
	ctx context.Context, key string, value []byte, revision uint64,
) (uint64, error) {
	return s.put(ctx, &pb.PutRequest{Key: key, Value: value, IfRevision: &revision})
}

func (s *slice) put(ctx context.Context, request *pb.PutRequest) (uint64, error) {
	client, err := s.host.connected()
	if err != nil {
		return 0, err
	}
	ctx, cancel := s.outgoing(ctx)
	defer cancel()
	answer, err := client.Put(ctx, request)
	if status.Code(err) == codes.FailedPrecondition && request.IfRevision != nil {
		return 0, Conflict(request.GetKey(), request.GetIfRevision())
	}
	if err != nil {
		return 0, unavailable("Put", err)
	}
	return answer.GetRevision(), nil
}

// Delete removes a key.
func (s *slice) Delete(ctx context.Context, key string) error {
	client, err := s.host.connected()
	if err != nil {
		return err
	}
	ctx, cancel := s.outgoing(ctx)
	defer cancel()
	if _, err = client.Delete(ctx, &pb.DeleteRequest{Key: key}); err != nil {
		return unavailable("Delete", err)
	}
	return nil
}

// Keys gives the keys that begin with a prefix, fetched page by page.
func (s *slice) Keys(ctx context.Context, prefix string) ([]string, error) {
	client, err := s.host.connected()
	if err != nil {
		return nil, err
	}
	var keys []string
	for request := (&pb.ListRequest{Prefix: prefix, Limit: page}); ; {
		answer, err := s.list(ctx, client, request)
		if err != nil {
			return nil, unavailable("List", err)
		}
		keys = append(keys, answer.GetKeys()...)
		if !answer.GetMore() || len(answer.GetKeys()) == 0 {
			return keys, nil
		}
		request.After = keys[len(keys)-1]
	}
}

func (s *slice) list(
	ctx context.Context, client pb.KeyValueStoreClient, request *pb.ListRequest,
) (*pb.ListResponse, error) {
	ctx, cancel := s.outgoing(ctx)
	defer cancel()
	return client.List(ctx, request)
}

func (s *slice) outgoing(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx = metadata.AppendToOutgoingContext(ctx, InvocationKey, s.invocationID)
	return context.WithTimeout(ctx, timeout)
}

// Conflict gives the error for a key that has another revision.
func Conflict(key string, revision uint64) error {
	summary := fmt.Sprintf("%s does not have revision %d", key, revision)
	return &aperio.Error{Cause: aperio.StateConflict, Summary: summary}
}

func unavailable(method string, err error) error {
	state := status.Convert(err)
	return &aperio.Error{
		Cause:   aperio.StateUnavailable,
		Summary: "the host's key-value store did not do " + method,
		Detail:  fmt.Sprintf("%s: %s", state.Code(), state.Message()),
		Err:     err,
	}
}
