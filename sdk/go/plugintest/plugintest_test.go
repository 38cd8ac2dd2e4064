package plugintest_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/connector"
	"github.com/writer/aperio-plugin-go/destination"
	"github.com/writer/aperio-plugin-go/plugintest"
	"github.com/writer/aperio-plugin-go/remediation"
)

// settled is a connector that tells what it sees, and syncs as it is told.
type settled struct {
	sync func(*connector.SyncRequest, *connector.Stream) error
}

func (*settled) Schema() connector.Schema {
	return connector.Schema{
		Provider: "X", Name: "X",
		Fields: []aperio.Field{
			{Key: "region", Label: "R", Default: "eu"},
			{Key: "secret", Label: "S", HostOnly: true},
		},
	}
}

func (*settled) TestConnection(
	ctx context.Context, call *aperio.Invocation,
) (*connector.TestResult, error) {
	region, err := call.Config.Text("region")
	if err != nil {
		return nil, err
	}
	if _, found := call.Config.Value("secret"); found {
		return nil, errors.New("a setting of the host's")
	}
	if _, err := call.State.Put(ctx, "seen", []byte(region)); err != nil {
		return nil, err
	}
	return &connector.TestResult{OK: true, Account: map[string]string{
		"region": region, "token": call.Token.Value, "shown": call.Config.String(),
	}}, nil
}

func (s *settled) Sync(request *connector.SyncRequest, stream *connector.Stream) error {
	return s.sync(request, stream)
}

func TestAPluginSeesItsSettingsTokenAndState(t *testing.T) {
	harness := plugintest.New(t, &settled{}, plugintest.Options{
		Config: map[string]any{"secret": "s"}, Token: "made-up",
	})
	result, err := harness.TestConnection()
	if err != nil || !result.OK || result.Account["region"] != "eu" ||
		result.Account["token"] != "made-up" || result.Account["shown"] != "Config(region)" {
		t.Errorf("got %v, %v", result, err)
	}
	stored, err := harness.State.Get(t.Context(), "seen")
	if err != nil || string(stored.Value) != "eu" || stored.Revision != 1 {
		t.Errorf("got %v, %v", stored, err)
	}
	if _, err := harness.State.PutIf(t.Context(), "seen", nil, 5); !errors.Is(err, aperio.StateConflict) {
		t.Errorf("got %v", err)
	}
}

func TestADeadlineEndsASync(t *testing.T) {
	waiting := func(_ *connector.SyncRequest, stream *connector.Stream) error {
		return aperio.Sleep(stream.Context(), time.Minute)
	}
	options := plugintest.Options{Timeout: 50 * time.Millisecond}
	_, err := plugintest.New(t, &settled{waiting}, options).Sync(nil)
	if err == nil {
		t.Error("it ended well")
	}
}

func TestASyncCanBeBrokenOff(t *testing.T) {
	ended := make(chan error, 1)
	endless := func(_ *connector.SyncRequest, stream *connector.Stream) error {
		for number := 0; ; number++ {
			err := stream.Send(connector.Event{
				SourceEventID: strconv.Itoa(number), Type: "x.y", OccurredAt: time.Unix(0, 0), Record: struct{}{},
			})
			if err != nil {
				ended <- err
				return err
			}
		}
	}
	result, err := plugintest.New(t, &settled{endless}, plugintest.Options{}).SyncUntil(nil, 300)
	if err != nil || len(result.Events) != 300 {
		t.Errorf("got %d events, %v", len(result.Events), err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, aperio.Cancelled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the plugin goes on")
	}
}

func TestASyncEndsWithAnEventThatBreaksAPromise(t *testing.T) {
	for kind, why := range map[string]string{
		"z.y": "expected `x.` and a name", "x.y": "another event of this sync has it",
	} {
		twice := func(_ *connector.SyncRequest, stream *connector.Stream) error {
			for _, kind := range []string{"x.y", kind} {
				err := stream.Send(connector.Event{
					SourceEventID: "e", Type: kind, OccurredAt: time.Unix(0, 0), Record: struct{}{},
				})
				if err != nil {
					return err
				}
			}
			return nil
		}
		result, err := plugintest.New(t, &settled{twice}, plugintest.Options{}).Sync(nil)
		if len(result.Events) != 1 || !errors.Is(err, aperio.InvalidRecord) ||
			!strings.Contains(err.Error(), why) {
			t.Errorf("%s: got %v, %v", kind, result.Events, err)
		}
	}
}

// busy is a connector whose service asks to wait.
type busy struct{ settled }

func (*busy) TestConnection(context.Context, *aperio.Invocation) (*connector.TestResult, error) {
	return nil, &aperio.Error{
		Cause: aperio.RateLimited, Summary: "too many calls", RetryAfter: 2 * time.Minute,
	}
}

func TestAnErrorOfAConnectionTestKeepsItsWait(t *testing.T) {
	result, err := plugintest.New(t, &busy{}, plugintest.Options{}).TestConnection()
	if err != nil || result.OK || result.RetryAfter != 2*time.Minute ||
		result.Diagnostics[0].Code != "rate-limited" {
		t.Errorf("got %v, %v", result, err)
	}
}

func TestAnOAuthCallbackIsOptional(t *testing.T) {
	_, err := plugintest.New(t, &settled{}, plugintest.Options{}).OAuthCallback(nil)
	if !errors.Is(err, aperio.Unsupported) {
		t.Errorf("got %v", err)
	}
}

type panicking struct{}

func (panicking) Capabilities() remediation.Capabilities {
	return remediation.Capabilities{
		Provider: "X", Name: "X", Actions: []remediation.Action{{
			Key: "x.a", Label: "A", TargetTypes: []string{"user"},
		}},
	}
}

func (panicking) Execute(context.Context, *remediation.ExecuteRequest) (*remediation.Result, error) {
	panic("s3cret")
}

func TestAPanicIsAnErrorAndNothingMore(t *testing.T) {
	harness := plugintest.New(t, panicking{}, plugintest.Options{})
	for range 2 {
		request := remediation.ExecuteRequest{Action: "x.a", IdempotencyKey: "k"}
		result, err := harness.Execute(request)
		if result != nil || !errors.Is(err, aperio.Failed) {
			t.Errorf("got %v, %v", result, err)
		}
	}
}

type looking struct{ panicking }

func (looking) Execute(
	_ context.Context, request *remediation.ExecuteRequest,
) (*remediation.Result, error) {
	if request.IsAfterUnknown {
		return &remediation.Result{Outcome: remediation.OutcomeUnchanged}, nil
	}
	return &remediation.Result{Outcome: remediation.OutcomeChanged}, nil
}

func TestAPluginIsToldThatAnotherProcessWasAsked(t *testing.T) {
	for isAfter, want := range map[bool]remediation.Outcome{
		true: remediation.OutcomeUnchanged, false: remediation.OutcomeChanged,
	} {
		harness := plugintest.New(t, looking{}, plugintest.Options{})
		got, err := harness.Execute(remediation.ExecuteRequest{
			Action: "x.a", Target: "t", IdempotencyKey: "k", IsAfterUnknown: isAfter,
		})
		if err != nil || got.Outcome != want {
			t.Errorf("%v: got %v, %v", isAfter, got, err)
		}
	}
}

// unsettled answers with a result that has no status.
type unsettled struct{}

func (unsettled) Capabilities() destination.Capabilities {
	return destination.Capabilities{Provider: "X", Name: "X"}
}

func (unsettled) Deliver(
	_ context.Context, request *destination.DeliverRequest,
) ([]destination.Result, error) {
	return []destination.Result{{ID: request.Envelopes[0].ID}}, nil
}

func TestAnswersThatAreNoneAreBugs(t *testing.T) {
	harness := plugintest.New(t, unsettled{}, plugintest.Options{})
	_, err := harness.Deliver(destination.Envelope{ID: "1", Stream: destination.Event})
	if !errors.Is(err, aperio.Failed) {
		t.Errorf("got %v", err)
	}
}
