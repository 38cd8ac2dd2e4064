package serve

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writer/aperio-plugin-go/internal/hoststate"
	"github.com/writer/aperio-plugin-go/internal/logging"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const patience = 10 * time.Second

func runtime() (*Runtime, *bytes.Buffer) {
	log := &bytes.Buffer{}
	return NewRuntime(logging.NewWriter(log, logging.Info), hoststate.New("").Slice), log
}

func TestOneCallTooManyIsRefused(t *testing.T) {
	runtime, _ := runtime()
	var leaves []func()
	for range MaxCalls {
		_, leave, err := runtime.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, leave)
	}
	if _, _, err := runtime.enter(t.Context()); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v", err)
	}
	leaves[0]()
	if _, _, err := runtime.enter(t.Context()); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestEndCancelsCallsAndRefusesNewOnes(t *testing.T) {
	runtime, _ := runtime()
	ctx, leave, err := runtime.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var cancelled atomic.Bool
	go func() {
		<-ctx.Done()
		cancelled.Store(true)
		leave()
	}()
	runtime.End(patience)
	if !cancelled.Load() {
		t.Error("it did not wait for the call")
	}
	if _, _, err := runtime.enter(t.Context()); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	runtime.End(patience) // once more is harmless
}

func TestEndDoesNotWaitForEver(t *testing.T) {
	runtime, _ := runtime()
	if _, _, err := runtime.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.End(time.Millisecond)
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("it waits for ever")
	}
}

func TestGuardTurnsPanicsIntoErrorsWithTheirTrace(t *testing.T) {
	runtime, log := runtime()
	err := Guard(func() error { panic(errors.New("s3cret")) })
	told := runtime.Failure(context.Background(), err)
	if strings.Contains(told.Summary+told.Detail, "s3cret") || !strings.Contains(told.Summary, "panic") {
		t.Errorf("told %v", told)
	}
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "s3cret") ||
		!strings.Contains(text, "runtime_test.go") {
		t.Errorf("logged %s", text)
	}
	if err := Guard(func() error { return nil }); err != nil {
		t.Errorf("got %v", err)
	}
}
