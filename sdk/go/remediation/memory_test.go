package remediation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	aperio "github.com/writer/aperio-plugin-go"
)

func request(key string) *ExecuteRequest {
	return &ExecuteRequest{
		Invocation: &aperio.Invocation{OrganizationID: "o", Token: &aperio.Token{Value: "s3cret"}},
		Action:     "a", IdempotencyKey: key,
	}
}

func changed(*ExecuteRequest) (*Result, error) { return Changed(), nil }

func TestOnlyTheLatestKeysAreKept(t *testing.T) {
	done := newMemory()
	for number := range rememberedKeys + 1 {
		if _, err := done.once(t.Context(), request(fmt.Sprint(number)), changed); err != nil {
			t.Fatal(err)
		}
	}
	asked := false
	again := func(*ExecuteRequest) (*Result, error) { asked = true; return Unchanged(), nil }
	result, _ := done.once(t.Context(), request(fmt.Sprint(rememberedKeys)), again)
	if asked || result.Outcome != OutcomeChanged {
		t.Error("the latest was forgotten")
	}
	if _, _ = done.once(t.Context(), request("0"), again); !asked || len(done.entries) != rememberedKeys {
		t.Errorf("the oldest was kept, %d in all", len(done.entries))
	}
}

func TestRepeatsMeanwhileWaitForTheFirst(t *testing.T) {
	done := newMemory()
	var executed atomic.Int32
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			result, err := done.once(t.Context(), request("k"), func(*ExecuteRequest) (*Result, error) {
				executed.Add(1)
				return Changed(), nil
			})
			if err != nil || result.Outcome != OutcomeChanged {
				t.Errorf("got %v, %v", result, err)
			}
		})
	}
	group.Wait()
	if executed.Load() != 1 {
		t.Errorf("executed %d times", executed.Load())
	}
}

func TestARepeatGivesUpWaitingWhenItsCallEnds(t *testing.T) {
	done := newMemory()
	_, _ = done.once(t.Context(), request("k"), func(*ExecuteRequest) (*Result, error) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := done.once(ctx, request("k"), changed)
		if !errors.Is(err, aperio.Cancelled) {
			t.Errorf("got %v", err)
		}
		return Changed(), nil
	})
}

func TestAPanicLetsTheNextOneTry(t *testing.T) {
	done := newMemory()
	func() {
		defer func() { _ = recover() }()
		_, _ = done.once(t.Context(), request("k"), func(*ExecuteRequest) (*Result, error) { panic("no") })
	}()
	if result, err := done.once(t.Context(), request("k"), changed); err != nil || result == nil {
		t.Errorf("got %v, %v", result, err)
	}
}

func TestNothingOfACallIsKept(t *testing.T) {
	done := newMemory()
	_, _ = done.once(t.Context(), request("k"), changed)
	if kept := done.latest.Front().Value.(*entry).request; kept.Invocation != nil {
		t.Errorf("kept %v", kept.Invocation)
	}
}
