package hostclient

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/writer/aperio-plugin-go/gen/hostv1"
	"github.com/writer/aperio-plugin-go/gen/pluginv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type served struct {
	hostv1.UnimplementedHostServiceServer
}

func (served) GetHost(context.Context, *hostv1.GetHostRequest) (*hostv1.GetHostResponse, error) {
	return &hostv1.GetHostResponse{Version: "1.2.3"}, nil
}

func (served) Sync(
	request *hostv1.SyncRequest, stream grpc.ServerStreamingServer[hostv1.SyncResponse],
) error {
	batch := &hostv1.SyncResponse_Batch{Envelopes: []*hostv1.Envelope{{Id: "a"}}}
	items := []*hostv1.SyncResponse{
		{Item: &hostv1.SyncResponse_Batch_{Batch: batch}},
		{Item: &hostv1.SyncResponse_Checkpoint{Checkpoint: &pluginv1.Checkpoint{Cursor: []byte("1")}}},
		{Item: &hostv1.SyncResponse_Receipt{Receipt: &hostv1.Receipt{RunId: "run"}}},
	}
	for _, item := range items {
		if err := stream.Send(item); err != nil {
			return err
		}
	}
	if request.GetStrict() {
		failed := status.New(codes.Unauthenticated, "the token expired")
		told, err := failed.WithDetails(&hostv1.Error{Code: "plugin-unauthenticated"})
		if err != nil {
			return err
		}
		return told.Err()
	}
	return nil
}

// serve gives a home on which a host runs.
func serve(t *testing.T) string {
	t.Helper()
	home, err := os.MkdirTemp("", "hc") // short: a socket is made in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	socket := filepath.Join(home, "control.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	hostv1.RegisterHostServiceServer(server, served{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	write(t, home, `{"schema":"aperio.host/v1","socket":"`+socket+`","pid":1}`)
	return home
}

func write(t *testing.T, home, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(home, "host"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "host", "host.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T) (*Client, context.Context) {
	t.Helper()
	client, err := Open(serve(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return client, ctx
}

func TestAHomeNamesItsHost(t *testing.T) {
	client, ctx := open(t)
	answer, err := client.GetHost(ctx, &hostv1.GetHostRequest{})
	if err != nil || answer.GetVersion() != "1.2.3" {
		t.Fatal(answer, err)
	}
}

func TestAHomeWithoutAHostIsToldApart(t *testing.T) {
	home := t.TempDir()
	if _, err := Open(home); !errors.Is(err, ErrNotRunning) {
		t.Fatal(err)
	}
	for _, text := range []string{
		"{", "{}", "[]", `{"socket":"/s"}`, `{"schema":"aperio.host/v2","socket":"/s"}`,
		`{"schema":"aperio.host/v1"}`,
	} {
		write(t, home, text)
		if _, err := Open(home); err == nil || errors.Is(err, ErrNotRunning) {
			t.Fatal(text, err)
		}
	}
}

func TestASyncIsHandedOverInOrderAndEndsWithItsReceipt(t *testing.T) {
	client, ctx := open(t)
	var seen []string
	handle := func(item *hostv1.SyncResponse) error {
		for _, each := range item.GetBatch().GetEnvelopes() {
			seen = append(seen, each.GetId())
		}
		if checkpoint := item.GetCheckpoint(); checkpoint != nil {
			seen = append(seen, string(checkpoint.GetCursor()))
		}
		return nil
	}
	receipt, err := client.ReadSync(ctx, &hostv1.SyncRequest{}, handle)
	if err != nil || receipt.GetRunId() != "run" || len(seen) != 2 || seen[0] != "a" || seen[1] != "1" {
		t.Fatal(receipt, err, seen)
	}
}

func TestASyncThatFailsGivesItsReceiptAndWhatTheHostSays(t *testing.T) {
	client, ctx := open(t)
	ignore := func(*hostv1.SyncResponse) error { return nil }
	receipt, err := client.ReadSync(ctx, &hostv1.SyncRequest{Strict: true}, ignore)
	if receipt.GetRunId() != "run" || status.Code(err) != codes.Unauthenticated {
		t.Fatal(receipt, err)
	}
	if ErrorOf(err).GetCode() != "plugin-unauthenticated" || MayRepeat(err) {
		t.Fatal(ErrorOf(err))
	}
}

func TestAnErrorOfTheHandlerEndsTheSync(t *testing.T) {
	client, ctx := open(t)
	full := errors.New("the disk is full")
	_, err := client.ReadSync(ctx, &hostv1.SyncRequest{}, func(*hostv1.SyncResponse) error { return full })
	if !errors.Is(err, full) || ErrorOf(err) != nil || MayRepeat(err) {
		t.Fatal(err)
	}
}

func TestAHostThatIsGoneMayBeCalledAgain(t *testing.T) {
	client, err := Dial(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := client.GetHost(ctx, &hostv1.GetHostRequest{}); !MayRepeat(err) || ErrorOf(err) != nil {
		t.Fatal(err)
	}
}
