// Package plugintest tries a plugin inside `go test`: no host, no process, one line per scenario.
//
//	harness := plugintest.New(t, &BoxConnector{}, plugintest.Options{
//		Config: map[string]any{"region": "eu"}, Token: "made-up",
//	})
//	result := harness.ResumeFromEveryCheckpoint()
//
// Calls go over gRPC, through the code that serves a real host: the same checks, batches, limits
// and errors.
package plugintest

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/connector"
	"github.com/writer/aperio-plugin-go/destination"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/inprocess"
	"github.com/writer/aperio-plugin-go/internal/logging"
	"github.com/writer/aperio-plugin-go/internal/serve"
	"github.com/writer/aperio-plugin-go/internal/settings"
	"github.com/writer/aperio-plugin-go/remediation"
	"google.golang.org/grpc"
)

const local = "local"

// Options say how a plugin is called.
type Options struct {
	// Config has the operator's settings, checked and converted as the host does it: defaults of
	// declared fields are filled in, and fields that only the host may use are left out.
	Config map[string]any
	// Token is the access token, if the plugin's auth is OAuth 2.0.
	Token string
	// Timeout is the deadline of each call; 0: 30 s.
	Timeout time.Duration
	// IsReadOnly: the operator allows nothing else on the integration.
	IsReadOnly bool
	// GrantedScopes: nil: those that the actions of a remediation need.
	GrantedScopes []string
}

// Harness is one plugin with one configuration.
type Harness struct {
	// State is the key-value store that the plugin sees.
	State *MemoryState

	t          testing.TB
	plugin     any
	connection *grpc.ClientConn
	timeout    time.Duration
	invocation *pb.InvocationContext
	schema     *pb.SchemaResponse
	unset      error // why nothing can be called without a configuration
}

// New gives a harness around a connector, remediation or destination, until the test ends. The test
// fails at once when the plugin is none of these, when what it declares makes no sense, or when the
// configuration does not fit it: a key that it does not declare, a value that a field does not take, or
// one that it needs and has not. Without a configuration, the first call that needs one fails.
func New(t testing.TB, plugin any, options Options) *Harness {
	t.Helper()
	harness := &Harness{
		State: NewMemoryState(), t: t, plugin: plugin, timeout: options.Timeout,
	}
	if harness.timeout == 0 {
		harness.timeout = 30 * time.Second
	}
	harness.serve()
	declared := harness.declaration()
	if schema, isConnector := declared.(*pb.SchemaResponse); isConnector {
		harness.schema = schema
	}
	effective, err := settings.ForPlugin(declared, options.Config)
	if err != nil && options.Config == nil {
		harness.unset = fmt.Errorf("Options.Config: %w", err)
		return harness
	}
	harness.must(err)
	config, err := json.Marshal(effective)
	harness.must(err)
	harness.invocation = &pb.InvocationContext{
		OrganizationId: local, IntegrationId: local, InvocationId: "test", ConfigJson: config,
		Mode: mode(options), GrantedScopes: scopes(declared, options),
	}
	if options.Token != "" {
		harness.invocation.Token = &pb.Token{Value: options.Token}
	}
	return harness
}

func mode(options Options) pb.InvocationContext_Mode {
	if options.IsReadOnly {
		return pb.InvocationContext_MODE_READ_ONLY
	}
	return pb.InvocationContext_MODE_REMEDIATION
}

func scopes(declared settings.Declaration, options Options) []string {
	capabilities, ok := declared.(*pb.CapabilitiesResponse)
	if !ok || options.GrantedScopes != nil {
		return options.GrantedScopes
	}
	var needed []string
	for _, action := range capabilities.GetRemediation().GetActions() {
		needed = append(needed, action.GetScopes()...)
	}
	return needed
}

func (h *Harness) serve() {
	h.t.Helper()
	var service *serve.Service
	switch plugin := h.plugin.(type) {
	case connector.Connector:
		service = connector.NewService(plugin)
	case remediation.Remediation:
		service = remediation.NewService(plugin)
	case destination.Destination:
		service = destination.NewService(plugin)
	default:
		h.t.Fatalf("%T is no connector, remediation or destination", h.plugin)
	}
	log := &testLog{t: h.t}
	state := func(string) aperio.State { return h.State }
	runtime := serve.NewRuntime(logging.NewWriter(log, logging.Debug), state)
	connection, stop, err := inprocess.Serve(service, runtime)
	h.must(err)
	h.connection = connection
	h.t.Cleanup(func() {
		stop()
		log.ended.Store(true)
	})
}

// testLog shows log records with the test's own output, until the test has ended.
type testLog struct {
	t     testing.TB
	ended atomic.Bool
}

// Write logs a line.
func (l *testLog) Write(line []byte) (int, error) {
	if !l.ended.Load() {
		l.t.Logf("%s", line[:len(line)-1])
	}
	return len(line), nil
}

func (h *Harness) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *Harness) context() (context.Context, context.CancelFunc) {
	h.t.Helper()
	h.must(h.unset)
	return context.WithTimeout(context.Background(), h.timeout)
}

// declaration gives what the plugin declares.
func (h *Harness) declaration() settings.Declaration {
	h.t.Helper()
	ctx, cancel := h.context()
	defer cancel()
	switch h.plugin.(type) {
	case connector.Connector:
		answer, err := pb.NewConnectorPluginClient(h.connection).Schema(ctx, &pb.SchemaRequest{})
		h.must(err)
		return answer
	case remediation.Remediation:
		client := pb.NewRemediationPluginClient(h.connection)
		answer, err := client.Capabilities(ctx, &pb.CapabilitiesRequest{})
		h.must(err)
		return answer
	default:
		client := pb.NewDestinationPluginClient(h.connection)
		answer, err := client.Capabilities(ctx, &pb.CapabilitiesRequest{})
		h.must(err)
		return answer
	}
}

// TestConnection gives what a connector says about the configuration. The error is the
// *aperio.Error that the host is told when the plugin fails.
func (h *Harness) TestConnection() (*connector.TestResult, error) {
	ctx, cancel := h.context()
	defer cancel()
	var trailer trailer
	client := pb.NewConnectorPluginClient(h.connection)
	request := &pb.TestRequest{Context: h.invocation}
	answer, err := client.TestConnection(ctx, request, trailer.option())
	if err != nil {
		return nil, trailer.told(err)
	}
	return &connector.TestResult{
		OK: answer.GetOk(), Account: answer.GetAccount(),
		Diagnostics: diagnosticsFrom(answer.GetDiagnostics()),
		RetryAfter:  answer.GetRetryAfter().AsDuration(),
	}, nil
}

// OAuthCallback gives a connector's account facts for an OAuth callback. The error is the
// *aperio.Error that the host is told.
func (h *Harness) OAuthCallback(parameters map[string]string) (map[string]string, error) {
	ctx, cancel := h.context()
	defer cancel()
	var trailer trailer
	client := pb.NewConnectorPluginClient(h.connection)
	request := &pb.OAuthCallbackRequest{Context: h.invocation, Parameters: parameters}
	answer, err := client.OAuthCallback(ctx, request, trailer.option())
	if err != nil {
		return nil, trailer.told(err)
	}
	return answer.GetAccount(), nil
}

// Execute executes an action of a remediation, with an approval of it unless the request has one; the
// request's Invocation is the harness's. The error is the *aperio.Error that the host is told when it
// was not done.
func (h *Harness) Execute(request remediation.ExecuteRequest) (*remediation.Result, error) {
	h.t.Helper()
	parameters, err := json.Marshal(request.Parameters)
	h.must(err)
	if request.Parameters == nil {
		parameters = nil
	}
	facts, err := json.Marshal(request.Context)
	h.must(err)
	if request.Context == nil {
		facts = nil
	}
	ctx, cancel := h.context()
	defer cancel()
	var trailer trailer
	client := pb.NewRemediationPluginClient(h.connection)
	answer, err := client.Execute(ctx, &pb.ExecuteRequest{
		Context: h.invocation, Action: request.Action, Target: request.Target,
		IdempotencyKey: request.IdempotencyKey, ParametersJson: parameters, DryRun: request.DryRun,
		TargetType: request.TargetType, ContextJson: facts, Approval: approvalOf(request, parameters),
		AfterUnknown: request.IsAfterUnknown,
	}, trailer.option())
	if err != nil {
		return nil, trailer.told(err)
	}
	return resultFrom(answer)
}

func approvalOf(request remediation.ExecuteRequest, parameters []byte) *pb.Approval {
	if given := request.Approval; given != nil {
		return &pb.Approval{Reference: given.Reference, Sha256: given.SHA256}
	}
	if request.DryRun {
		return nil
	}
	bound := remediation.ApprovalSHA256(request.Action, request.Target, parameters)
	return &pb.Approval{Reference: "test", Sha256: bound}
}

// Deliver hands envelopes to a destination; one result for each. The error is the *aperio.Error
// that the host is told when none was delivered.
func (h *Harness) Deliver(envelopes ...destination.Envelope) ([]destination.Result, error) {
	ctx, cancel := h.context()
	defer cancel()
	request := h.deliverRequest(envelopes)
	var trailer trailer
	client := pb.NewDestinationPluginClient(h.connection)
	answer, err := client.Deliver(ctx, request, trailer.option())
	if err != nil {
		return nil, trailer.told(err)
	}
	return deliveriesFrom(answer), nil
}
