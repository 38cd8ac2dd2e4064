package remediation

import (
	"container/list"
	"context"
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
	result  *Result       // whoever has the turn may use it
}

func newMemory() *memory {
	return &memory{entries: map[entryKey]*list.Element{}, latest: list.New()}
}

// once gives the remembered result, else that of executing; a repeat meanwhile waits for it. What
// failed is not remembered: nothing was changed, so it may be tried again.
func (m *memory) once(
	ctx context.Context, request *ExecuteRequest, execute func() (*Result, error),
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
	result, err := execute()
	if err == nil && result.Outcome != OutcomeFailed {
		known.result = result
	}
	return result, err
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
		reflect.DeepEqual(one.Parameters, other.Parameters)
}
