package remediation

import (
	"container/list"
	"context"
	"errors"
	"reflect"
	"sync"

	aperio "github.com/writer/aperio-plugin-go"
)

const rememberedKeys = 10_000

// memory has the latest idempotency keys and what was answered, of this process only.
type memory struct {
	mutex   sync.Mutex
	entries map[entryKey]*list.Element
	latest  *list.List // of *entry, the latest in front
}

type entryKey struct{ organizationID, integrationID, idempotencyKey string }

// entry is a request that is or was executed.
type entry struct {
	key     entryKey
	request *ExecuteRequest
	turn    chan struct{} // holds one while nobody executes it
	result  *Result       // whoever has the turn may use it, and the next
	unknown bool          // the latest call left open what was done
}

func newMemory() *memory {
	return &memory{entries: map[entryKey]*list.Element{}, latest: list.New()}
}

// once gives the remembered result, else that of executing; a repeat meanwhile waits for it. A
// failed one is not remembered: nothing was changed, so it may be tried again. One that ended unknown is
// asked for again with a word that says so.
func (m *memory) once(
	ctx context.Context, request *ExecuteRequest, execute func(*ExecuteRequest) (*Result, error),
) (*Result, error) {
	known := m.entry(request)
	if !sameRequest(known.request, request) {
		return nil, refuse(aperio.InvalidArgument, "the idempotency key was used for another request")
	}
	select {
	case <-known.turn:
	case <-ctx.Done():
		const summary = "the call ended while an earlier one with its idempotency key went on"
		return nil, &aperio.Error{Cause: aperio.Cancelled, Summary: summary, Err: ctx.Err()}
	}
	defer func() { known.turn <- struct{}{} }()
	if known.result != nil {
		return known.result, nil
	}
	asked := *request
	asked.IsAfterUnknown = asked.IsAfterUnknown || known.unknown // the host knows of other processes
	known.unknown = true                                         // unless it comes to an end that says more
	result, err := execute(&asked)
	var foreseen *aperio.Error
	switch {
	case err != nil && errors.As(err, &foreseen) && !isOpen(err): // it says that nothing was done
		known.unknown = asked.IsAfterUnknown
	case err == nil && result.Outcome == OutcomeFailed:
		known.unknown = asked.IsAfterUnknown
	case err == nil && result.Outcome != OutcomeUnknown:
		known.result = result
	}
	return result, err
}

// isOpen tells whether an error that was foreseen leaves open what was done.
func isOpen(err error) bool {
	return errors.Is(err, aperio.Cancelled) || errors.Is(err, aperio.Failed)
}

func (m *memory) entry(request *ExecuteRequest) *entry {
	key := entryKey{request.OrganizationID, request.IntegrationID, request.IdempotencyKey}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if element, found := m.entries[key]; found {
		m.latest.MoveToFront(element)
		return element.Value.(*entry)
	}
	// Without the invocation: nothing of a call, its token least of all, is kept for another.
	kept := *request
	kept.Invocation = nil
	made := &entry{key: key, request: &kept, turn: make(chan struct{}, 1)}
	made.turn <- struct{}{}
	m.entries[key] = m.latest.PushFront(made)
	for len(m.entries) > rememberedKeys {
		oldest := m.latest.Remove(m.latest.Back()).(*entry)
		delete(m.entries, oldest.key)
	}
	return made
}

func sameRequest(one, other *ExecuteRequest) bool {
	return one.Action == other.Action && one.Target == other.Target &&
		one.TargetType == other.TargetType && reflect.DeepEqual(one.Context, other.Context) &&
		reflect.DeepEqual(one.Parameters, other.Parameters)
}
