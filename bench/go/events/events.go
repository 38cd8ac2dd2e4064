// Package events is what both measured plugins make: the same events, 500 bytes of record each.
package events

import (
	"fmt"
	"strings"
)

const (
	// Provider is the plugin's and its manifest's.
	Provider = "BENCH"
	// Type is every event's.
	Type = "bench.item_shared"
	// OccurredUnix is every event's time, in seconds.
	OccurredUnix = 1_772_356_297
	recordBytes  = 500
)

// ID gives the id of an event by its number.
func ID(number int) string { return fmt.Sprintf("evt-%012d", number) }

// Record gives a JSON object of exactly 500 bytes.
func Record() []byte {
	const begin, end = `{"type":"ITEM_SHARED","name":"`, `"}`
	return []byte(begin + strings.Repeat("x", recordBytes-len(begin)-len(end)) + end)
}
