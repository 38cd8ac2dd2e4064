package main

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// mostPools bounds how many settings are remembered; each has no connection when nobody calls.
const mostPools = 32

// server is the database of one organization's settings, and what is known of its tables.
type server struct {
	pool *pgxpool.Pool

	mutex   sync.Mutex // for all below
	tables  map[string]*table
	leftOut map[string]int // events without a mapping so far, by type
	users   int
	usedAt  time.Time
}

// known gives what is known of a table; nil: nothing.
func (s *server) known(name string) *table {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.tables[name]
}

// note remembers a table.
func (s *server) note(name string, found *table) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.tables[name] = found
}

// forget has the tables be looked at again: something about them is not as it was. It tells whether
// anything was known of them.
func (s *server) forget() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	known := len(s.tables) > 0
	clear(s.tables)
	return known
}

// countLeftOut adds to what was left out; it gives how many that are by now, and whether there was a
// type among them that is new.
func (s *server) countLeftOut(counts map[string]int) (total int, hasNew bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for name, count := range counts {
		hasNew = hasNew || s.leftOut[name] == 0
		s.leftOut[name] += count
	}
	for _, count := range s.leftOut {
		total += count
	}
	return total, hasNew
}

// servers keeps them between calls.
type servers struct {
	mutex sync.Mutex
	byKey map[[sha256.Size]byte]*server
}

// get gives the server of these settings; nothing is connected yet. Whoever got it calls put.
func (k *servers) get(settings *settings) (*server, error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	found := k.byKey[settings.key]
	if found == nil {
		pool, err := pgxpool.NewWithConfig(context.Background(), settings.pool)
		if err != nil {
			return nil, err
		}
		found = &server{pool: pool, tables: map[string]*table{}, leftOut: map[string]int{}}
		if k.byKey == nil {
			k.byKey = map[[sha256.Size]byte]*server{}
		}
		k.byKey[settings.key] = found
	}
	found.users++
	return found, nil
}

// put gives a server back. Of too many, the one that was not used for longest is closed.
func (k *servers) put(used *server) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	used.users--
	used.usedAt = time.Now()
	if len(k.byKey) <= mostPools {
		return
	}
	var oldest [sha256.Size]byte
	var found *server
	for key, each := range k.byKey {
		if each.users == 0 && (found == nil || each.usedAt.Before(found.usedAt)) {
			oldest, found = key, each
		}
	}
	if found != nil {
		delete(k.byKey, oldest)
		found.pool.Close()
	}
}

// close ends every connection.
func (k *servers) close() {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	for _, each := range k.byKey {
		each.pool.Close()
	}
	clear(k.byKey)
}
