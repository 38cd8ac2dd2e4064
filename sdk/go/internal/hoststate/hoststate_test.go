package hoststate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	aperio "github.com/writer/aperio-plugin-go"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// store is a host's store of one value and 2500 keys.
type store struct {
	pb.UnimplementedKeyValueStoreServer
	seen string
}

func (s *store) Get(ctx context.Context, request *pb.GetRequest) (*pb.GetResponse, error) {
	sent, _ := metadata.FromIncomingContext(ctx)
	s.seen = strings.Join(sent.Get(InvocationKey), ",")
	if request.GetKey() != "there" {
		return nil, status.Error(codes.NotFound, "no such key")
	}
	return &pb.GetResponse{Value: []byte("v"), Revision: 7}, nil
}

func (s *store) Put(_ context.Context, request *pb.PutRequest) (*pb.PutResponse, error) {
	if request.IfRevision != nil && request.GetIfRevision() != 7 {
		return nil, status.Error(codes.FailedPrecondition, "another revision")
	}
	if len(request.GetValue()) > 3 {
		return nil, status.Error(codes.ResourceExhausted, "no room")
	}
	return &pb.PutResponse{Revision: 8}, nil
}

func (s *store) List(_ context.Context, request *pb.ListRequest) (*pb.ListResponse, error) {
	first := 0
	if after := request.GetAfter(); after != "" {
		_, _ = fmt.Sscanf(after, "k%d", &first)
		first++
	}
	answer := &pb.ListResponse{}
	for number := first; number < min(first+int(request.GetLimit()), 2500); number++ {
		answer.Keys = append(answer.Keys, fmt.Sprintf("k%04d", number))
	}
	answer.More = first+len(answer.Keys) < 2500
	return answer, nil
}

// hosted gives a host's store on a socket whose path is no URL.
func hosted(t *testing.T) (*store, aperio.State) {
	t.Helper()
	folder, err := os.MkdirTemp("", "a%20?#b")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	socket := filepath.Join(folder, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	served, server := &store{}, grpc.NewServer()
	pb.RegisterKeyValueStoreServer(server, served)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	t.Setenv("http_proxy", "http://127.0.0.1:9")
	return served, New(socket).Slice("inv-1")
}

func TestGetGivesTheValueOrNothing(t *testing.T) {
	served, state := hosted(t)
	stored, err := state.Get(t.Context(), "there")
	if err != nil || string(stored.Value) != "v" || stored.Revision != 7 || served.seen != "inv-1" {
		t.Errorf("got %v, %v, %q", stored, err, served.seen)
	}
	if stored, err := state.Get(t.Context(), "absent"); stored != nil || err != nil {
		t.Errorf("got %v, %v", stored, err)
	}
}

func TestPutGivesARevisionAConflictOrSaysThatThereIsNoRoom(t *testing.T) {
	_, state := hosted(t)
	if revision, err := state.PutIf(t.Context(), "k", nil, 7); revision != 8 || err != nil {
		t.Errorf("got %v, %v", revision, err)
	}
	if _, err := state.PutIf(t.Context(), "k", nil, 0); !errors.Is(err, aperio.StateConflict) {
		t.Errorf("got %v", err)
	}
	_, err := state.Put(t.Context(), "k", []byte("long"))
	var told *aperio.Error
	if !errors.As(err, &told) || told.Cause != aperio.StateUnavailable ||
		told.Detail != "ResourceExhausted: no room" {
		t.Errorf("got %v", err)
	}
}

func TestKeysGivesAllPages(t *testing.T) {
	_, state := hosted(t)
	keys, err := state.Keys(t.Context(), "k")
	if err != nil || len(keys) != 2500 || !slices.IsSorted(keys) {
		t.Errorf("got %d keys, %v", len(keys), err)
	}
}

func TestWithoutAHostThereIsNoStore(t *testing.T) {
	for name, state := range map[string]aperio.State{
		"no socket":   New("").Slice("v"),
		"nobody home": New(filepath.Join(t.TempDir(), "s")).Slice("v"),
	} {
		_, getErr := state.Get(t.Context(), "k")
		_, putErr := state.Put(t.Context(), "k", nil)
		_, keysErr := state.Keys(t.Context(), "")
		for _, err := range []error{getErr, putErr, keysErr, state.Delete(t.Context(), "k")} {
			if !errors.Is(err, aperio.StateUnavailable) {
				t.Errorf("%s: got %v", name, err)
			}
		}
	}
}
