package aperio_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
)

func TestNoTextFormOfACallShowsASecret(t *testing.T) {
	call := aperio.Invocation{
		Config: aperio.NewConfig(map[string]any{"api_key": "s3cret", "region": "eu"}),
		Token:  &aperio.Token{Value: "s3cret"},
	}
	encoded, err := json.Marshal(map[string]any{"token": call.Token, "config": call.Config})
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("m", "config", call.Config, "token", *call.Token)
	for _, text := range []string{
		fmt.Sprintf("%v %+v %#v %s", call.Config, call.Config, call.Config, call.Config),
		fmt.Sprintf("%v %+v %#v %s", call.Token, *call.Token, *call.Token, call.Token),
		fmt.Sprintf("%v %+v", call, call), string(encoded), logged.String(),
	} {
		if strings.Contains(text, "s3cret") {
			t.Errorf("shown in %s", text)
		}
	}
	if got := call.Config.String(); got != "Config(api_key, region)" {
		t.Errorf("got %s", got)
	}
}

func TestAnErrorIsItsCauseAndWhatLedToIt(t *testing.T) {
	cause := errors.New("cause")
	err := fmt.Errorf("page 2: %w", &aperio.Error{Cause: aperio.RateLimited, Summary: "s", Err: cause})
	if !errors.Is(err, aperio.RateLimited) || !errors.Is(err, cause) || errors.Is(err, aperio.Failed) {
		t.Errorf("got %v", err)
	}
	if bug := (&aperio.Error{Summary: "s"}); !errors.Is(bug, aperio.Failed) ||
		bug.Diagnostic().Code != "plugin-failed" {
		t.Errorf("got %v", bug.Diagnostic())
	}
}

func TestSleepEndsWithTheCall(t *testing.T) {
	if err := aperio.Sleep(t.Context(), time.Microsecond); err != nil {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := aperio.Sleep(ctx, time.Hour)
	if !errors.Is(err, aperio.Cancelled) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestACopyOfTheSettingsIsKept(t *testing.T) {
	values := map[string]any{"a": "b"}
	config := aperio.NewConfig(values)
	values["a"] = "c"
	if got, err := config.Text("a"); got != "b" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
