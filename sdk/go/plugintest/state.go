package plugintest

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/internal/hoststate"
)

// MemoryState is a key-value store that forgets at the end.
type MemoryState struct {
	mutex  sync.Mutex
	values map[string]aperio.StoredValue
}

// NewMemoryState gives an empty store.
func NewMemoryState() *MemoryState {
	return &MemoryState{values: map[string]aperio.StoredValue{}}
}

// Get gives the value of a key, or nil.
func (s *MemoryState) Get(_ context.Context, key string) (*aperio.StoredValue, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	stored, found := s.values[key]
	if !found {
		return nil, nil
	}
	return &aperio.StoredValue{Value: bytes.Clone(stored.Value), Revision: stored.Revision}, nil
}

// Put stores a value and gives its revision.
func (s *MemoryState) Put(_ context.Context, key string, value []byte) (uint64, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.put(key, value), nil
}

// PutIf stores a value if the key has a revision, 0: if it is absent.
func (s *MemoryState) PutIf(
	_ context.Context, key string, value []byte, revision uint64,
) (uint64, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.values[key].Revision != revision {
		return 0, hoststate.Conflict(key, revision)
	}
	return s.put(key, value), nil
}

func (s *MemoryState) put(key string, value []byte) uint64 {
	revision := s.values[key].Revision + 1
	s.values[key] = aperio.StoredValue{Value: bytes.Clone(value), Revision: revision}
	return revision
}

// Delete removes a key.
func (s *MemoryState) Delete(_ context.Context, key string) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	delete(s.values, key)
	return nil
}

// Keys gives the keys that begin with a prefix, in bytewise order.
func (s *MemoryState) Keys(_ context.Context, prefix string) ([]string, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	keys := slices.Sorted(maps.Keys(s.values))
	return slices.DeleteFunc(keys, func(key string) bool {
		return !strings.HasPrefix(key, prefix)
	}), nil
}
