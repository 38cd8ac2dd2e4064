package host

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/convert"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// service is a plugin's side: it ends calls with what it is told, and keeps what it was asked.
type service struct {
	pb.UnimplementedDestinationPluginServer
	pb.UnimplementedConnectorPluginServer
	mutex     sync.Mutex // calls may come together
	trailer   metadata.MD
	failure   error
	deadlines []time.Duration
	delivered int
	asked     []*pb.SyncRequest
	sync      func(*pb.SyncRequest, grpc.ServerStreamingServer[pb.SyncEvent]) error
}

func (s *service) Deliver(ctx context.Context, _ *pb.DeliverRequest) (*pb.DeliverResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	deadline, _ := ctx.Deadline()
	s.deadlines = append(s.deadlines, time.Until(deadline))
	s.delivered++
	return &pb.DeliverResponse{}, errors.Join(grpc.SetTrailer(ctx, s.trailer), s.failure)
}

func (s *service) Sync(
	request *pb.SyncRequest, stream grpc.ServerStreamingServer[pb.SyncEvent],
) error {
	s.asked = append(s.asked, request)
	stream.SetTrailer(s.trailer)
	return s.sync(request, stream)
}

// reach serves, and gives a connection that calls through a guard.
func reach(t *testing.T, serving *service, options Options) *grpc.ClientConn {
	t.Helper()
	receipt := found(t, installed(t, nil), "")
	return reachFor(t, serving, receipt, options)
}

func reachFor(t *testing.T, serving *service, receipt *Receipt, options Options) *grpc.ClientConn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterDestinationPluginServer(server, serving)
	pb.RegisterConnectorPluginServer(server, serving)
	go func() { _ = server.Serve(listener) }() // Stop ends it
	t.Cleanup(server.Stop)
	calls := newGuard(receipt, options)
	connection, err := grpc.NewClient(
		listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithChainUnaryInterceptor(calls.unary), grpc.WithChainStreamInterceptor(calls.stream),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func own() *pb.InvocationContext { return &pb.InvocationContext{OrganizationId: "org_1"} }

func delivery(envelopes ...string) *pb.DeliverRequest {
	request := &pb.DeliverRequest{Context: own()}
	for _, text := range envelopes {
		request.Envelopes = append(request.Envelopes, &pb.OutboundEnvelope{Id: "key", EnvelopeJson: []byte(text)})
	}
	return request
}

func TestAnEnvelopeOfAnotherOrganizationIsNotSent(t *testing.T) {
	serving := &service{}
	client := pb.NewDestinationPluginClient(reach(t, serving, Options{Organization: "org_1"}))
	good := `{"id": "e", "record": {"organization_id": "org_2"}, "organization_id": "org_1"}`
	for name, c := range map[string]struct {
		request *pb.DeliverRequest
		code    string
	}{
		"its own":           {delivery(good, good), ""},
		"none":              {delivery(), ""},
		"another's":         {delivery(good, `{"organization_id": "org_2"}`), CodeForeignOrganization},
		"nobody's":          {delivery(`{"id": "e"}`), CodeForeignOrganization},
		"two":               {delivery(`{"organization_id": "org_1", "organization_id": "org_2"}`), CodeForeignOrganization},
		"two of one":        {delivery(`{"organization_id": "org_1", "organization_id": "org_1"}`), CodeForeignOrganization},
		"in capitals":       {delivery(`{"organization_id": "org_1", "Organization_ID": "org_2"}`), CodeForeignOrganization},
		"escaped":           {delivery(`{"organization_id": "org_1", "organization\u005fid": "org_2"}`), CodeForeignOrganization},
		"a number":          {delivery(`{"organization_id": 1}`), CodeForeignOrganization},
		"a list":            {delivery(`[{"organization_id": "org_1"}]`), CodeForeignOrganization},
		"broken":            {delivery(`{"organization_id": "org_1", `), CodeForeignOrganization},
		"cut off":           {delivery(`{"organization_id": "org_1"`), CodeForeignOrganization},
		"two objects":       {delivery(`{"organization_id": "org_1"} {"organization_id": "org_2"}`), CodeForeignOrganization},
		"nothing":           {delivery(``), CodeForeignOrganization},
		"of a call by none": {&pb.DeliverRequest{Envelopes: delivery(`{"organization_id": ""}`).Envelopes}, CodeForeignOrganization},
	} {
		before := serving.delivered
		_, err := client.Deliver(context.Background(), c.request)
		if got := code(t, err); got != c.code {
			t.Errorf("%s: got %q, want %q: %v", name, got, c.code, err)
		}
		if (serving.delivered > before) != (c.code == "") {
			t.Errorf("%s: it was sent, or was not", name)
		}
	}
}

func FuzzOrganization(f *testing.F) {
	f.Add([]byte(`{"organization_id": "org_1", "Organization_ID": "org_2"}`))
	f.Add([]byte(`{"a": {"organization_id": 1}, "organization_id": "\ud800"}`))
	f.Fuzz(func(t *testing.T, envelope []byte) {
		found, err := organizationOf(envelope)
		if err != nil {
			return
		}
		var loose struct {
			Organization string `json:"organization_id"` // of any case, and the last of several
		}
		if err := json.Unmarshal(envelope, &loose); err != nil || loose.Organization != found {
			t.Errorf("%q: %q to one reader, %q to another: %v", envelope, found, loose.Organization, err)
		}
	})
}

func TestADeliveryEndsBeforeTheLeaseOfTheProduct(t *testing.T) {
	serving := &service{}
	client := pb.NewDestinationPluginClient(reach(t, serving, Options{Organization: "org_1"}))
	hour, cancelHour := context.WithTimeout(context.Background(), time.Hour)
	defer cancelHour()
	second, cancelSecond := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancelSecond()
	for _, ctx := range []context.Context{context.Background(), hour, second} {
		if _, err := client.Deliver(ctx, delivery()); err != nil {
			t.Fatal(err)
		}
	}
	for number, most := range []time.Duration{DeliverTimeout, DeliverTimeout, 20 * time.Second} {
		if found := serving.deadlines[number]; found > most || found < most-15*time.Second {
			t.Errorf("%d: a deadline of %s, want %s", number, found, most)
		}
	}
}

func TestWhatAPluginSaysAboutAFailureIsRead(t *testing.T) {
	told, err := proto.Marshal(&pb.Diagnostics{
		Items:      []*pb.Diagnostic{{Summary: "slow down", Detail: "wait a little", Code: "rate-limited"}},
		RetryAfter: durationpb.New(30 * time.Second),
	})
	if err != nil {
		t.Fatal(err)
	}
	negative, err := proto.Marshal(&pb.Diagnostics{RetryAfter: durationpb.New(-time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	many := &pb.Diagnostics{}
	for range 50 {
		many.Items = append(many.Items, &pb.Diagnostic{Summary: "again"})
	}
	much, err := proto.Marshal(many)
	if err != nil {
		t.Fatal(err)
	}
	failure := status.Error(codes.ResourceExhausted, "too many requests")
	for name, c := range map[string]struct {
		trailer string
		items   int
		wait    time.Duration
	}{
		"diagnostics":   {string(told), 1, 30 * time.Second},
		"none":          {"", 0, 0},
		"broken":        {"\xff\xff", 0, 0},
		"before now":    {string(negative), 0, 0},
		"more than any": {string(much), mostDiagnostics, 0},
	} {
		serving := &service{failure: failure, trailer: metadata.Pairs(convert.DiagnosticsKey, c.trailer)}
		serving.sync = func(*pb.SyncRequest, grpc.ServerStreamingServer[pb.SyncEvent]) error { return failure }
		connection := reach(t, serving, Options{Organization: "org_1"})
		_, unary := pb.NewDestinationPluginClient(connection).Deliver(context.Background(), delivery())
		streamed := Sync(context.Background(), pb.NewConnectorPluginClient(connection),
			&pb.SyncRequest{Context: own()}, nil, func(*pb.SyncEvent) error { return nil })
		for _, err := range []error{unary, streamed} {
			items, wait := DiagnosticsOf(err)
			if len(items) != c.items || wait != c.wait || status.Code(err) != codes.ResourceExhausted {
				t.Errorf("%s: got %v, %s of %v", name, items, wait, err)
			}
			if c.items == 1 && (items[0].GetCode() != "rate-limited" || !errors.As(err, new(*CallError))) {
				t.Errorf("%s: got %v", name, items)
			}
		}
	}
	if items, wait := DiagnosticsOf(errors.New("another")); items != nil || wait != 0 {
		t.Errorf("got %v, %s", items, wait)
	}
}

func TestThePolicyIsAskedOnceForEachOrganizationThatIsCalledFor(t *testing.T) {
	receipt := found(t, installed(t, nil), "")
	options := saying(t, receipt, map[string]any{"organization": "org_1"})
	client := pb.NewDestinationPluginClient(reachFor(t, &service{}, receipt, options))
	for range 2 {
		if _, err := client.Deliver(context.Background(), delivery()); err != nil {
			t.Fatal(err)
		}
	}
	foreign := &pb.DeliverRequest{Context: &pb.InvocationContext{OrganizationId: "org_2"}}
	if _, err := client.Deliver(context.Background(), foreign); code(t, err) != CodeVerdictMismatch {
		t.Errorf("got %v", err)
	}
	// Declarations are on nobody's behalf.
	if _, err := client.Capabilities(context.Background(), nil); status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
}

func TestCallsThatComeTogetherAskThePolicyOnce(t *testing.T) {
	receipt := found(t, installed(t, nil), "")
	options := saying(t, receipt, map[string]any{"organization": "org_1"})
	folder := options.RuntimeFolder
	asked, leave := filepath.Join(folder, "asked"), filepath.Join(folder, "leave")
	if err := exec.Command("mkfifo", leave).Run(); err != nil {
		t.Skip("no pipes here")
	}
	script, err := os.ReadFile(options.Aperio)
	if err != nil {
		t.Fatal(err)
	}
	// It waits until somebody gives it leave, and counts how often it was asked.
	waiting := strings.Replace(string(script), "\n", "\necho >> "+asked+"\nread _ < "+leave+"\n", 1)
	write(t, options.Aperio, waiting, 0o755)
	client := pb.NewDestinationPluginClient(reachFor(t, &service{}, receipt, options))

	impatient, cancel := context.WithCancel(context.Background())
	answers := make(chan error, 9)
	call := func(ctx context.Context) {
		_, err := client.Deliver(ctx, delivery())
		answers <- err
	}
	go call(context.Background())
	gate, err := os.OpenFile(leave, os.O_WRONLY, 0) // waits for the first to ask
	if err != nil {
		t.Fatal(err)
	}
	go call(impatient)
	cancel()
	if err := <-answers; status.Code(err) != codes.Canceled {
		t.Fatal(err)
	}
	for range 7 {
		go call(context.Background())
	}
	if _, err := gate.WriteString("yes\n"); err != nil {
		t.Fatal(err)
	}
	_ = gate.Close() // it was written
	for range 8 {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	if times, err := os.ReadFile(asked); err != nil || len(times) != 1 {
		t.Errorf("asked %d times: %v", len(times), err)
	}
}

// expiring sends checkpoints by twos and lets every token expire, until the cursor is 6.
func expiring(request *pb.SyncRequest, stream grpc.ServerStreamingServer[pb.SyncEvent]) error {
	expired := status.Error(codes.Unauthenticated, "the token has expired")
	first := byte(0)
	if len(request.GetCursor()) > 0 {
		first = request.GetCursor()[0]
	}
	if request.GetContext().GetToken().GetValue() == "spent" {
		return expired
	}
	for _, each := range []*pb.SyncEvent{
		{Item: &pb.SyncEvent_Batch{Batch: &pb.EventBatch{}}},
		{Item: &pb.SyncEvent_Checkpoint{Checkpoint: &pb.Checkpoint{Cursor: []byte{first + 2}}}},
	} {
		if err := stream.Send(each); err != nil {
			return err
		}
	}
	if first+2 >= 6 {
		return nil
	}
	return expired
}

func TestASyncGoesOnFromTheLastCheckpointWithAnotherToken(t *testing.T) {
	for name, c := range map[string]struct {
		tokens  []string
		sync    func(*pb.SyncRequest, grpc.ServerStreamingServer[pb.SyncEvent]) error
		cursors []byte
		calls   int
		code    codes.Code
	}{
		"to the end":           {[]string{"1", "2", "3"}, expiring, []byte{2, 4, 6}, 3, codes.OK},
		"a token that is none": {[]string{"1", "spent"}, expiring, []byte{2}, 2, codes.Unauthenticated},
		"no tokens to be had":  {nil, expiring, []byte{2}, 1, codes.Unauthenticated},
		"for ever": {[]string{"1"}, func(_ *pb.SyncRequest, stream grpc.ServerStreamingServer[pb.SyncEvent]) error {
			checkpoint := &pb.Checkpoint{Cursor: []byte{1}}
			sent := stream.Send(&pb.SyncEvent{Item: &pb.SyncEvent_Checkpoint{Checkpoint: checkpoint}})
			return errors.Join(sent, status.Error(codes.Unauthenticated, "expired"))
		}, slices.Repeat([]byte{1}, MostTokens), MostTokens, codes.Unauthenticated},
	} {
		serving := &service{sync: c.sync}
		client := pb.NewConnectorPluginClient(reach(t, serving, Options{Organization: "org_1"}))
		given := 0
		tokens := func(context.Context) (*pb.Token, error) {
			given++
			return &pb.Token{Value: c.tokens[min(given, len(c.tokens))-1]}, nil
		}
		if c.tokens == nil {
			tokens = nil
		}
		var cursors []byte
		request := &pb.SyncRequest{Context: own()}
		err := Sync(context.Background(), client, request, tokens, func(message *pb.SyncEvent) error {
			cursors = append(cursors, message.GetCheckpoint().GetCursor()...)
			return nil
		})
		if status.Code(err) != c.code || string(cursors) != string(c.cursors) || len(serving.asked) != c.calls {
			t.Errorf("%s: %v after %v in %d calls", name, err, cursors, len(serving.asked))
		}
		ids := map[string]bool{}
		for _, asked := range serving.asked {
			ids[asked.GetContext().GetInvocationId()] = true
		}
		if len(ids) != c.calls || request.GetCursor() != nil || request.GetContext().GetToken() != nil {
			t.Errorf("%s: %d ids; the request became %v", name, len(ids), request)
		}
	}
}

func TestASinkOrATokenSourceEndsASync(t *testing.T) {
	stop := status.Error(codes.Unauthenticated, "the sink's own")
	serving := &service{sync: expiring}
	client := pb.NewConnectorPluginClient(reach(t, serving, Options{Organization: "org_1"}))
	request := &pb.SyncRequest{Context: own()}
	good := func(context.Context) (*pb.Token, error) { return &pb.Token{Value: "1"}, nil }
	err := Sync(context.Background(), client, request, good, func(message *pb.SyncEvent) error {
		if message.GetCheckpoint() != nil {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || len(serving.asked) != 1 {
		t.Errorf("%v after %d calls", err, len(serving.asked))
	}
	none := func(context.Context) (*pb.Token, error) { return nil, errors.New("refused") }
	err = Sync(context.Background(), client, request, none, func(*pb.SyncEvent) error { return nil })
	if err == nil || err.Error() != "no token was to be had: refused" || len(serving.asked) != 1 {
		t.Errorf("%v after %d calls", err, len(serving.asked))
	}
}
