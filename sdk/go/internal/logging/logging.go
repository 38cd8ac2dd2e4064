// Package logging writes log records as hashicorp/go-hclog's JSON lines on descriptor 2, where
// go-plugin hosts read them.
//
// A host crashes on an `@` key that is not text, takes a record for debugging output when its
// timestamp has not exactly six fraction digits or its level is unknown, and breaks lines longer
// than 64 KiB into pieces (go-plugin, log_entry.go and client.go). hclog's own JSON format lets a
// caller's keys replace the `@` ones, so both loggers write through Writer.
package logging

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// LevelVariable is an environment variable: `trace`, `debug`, `info` (default), `warn`, `error`.
const LevelVariable = "APERIO_PLUGIN_LOG_LEVEL"

// MaxLineBytes is the most that a line has.
const MaxLineBytes = 60 * 1024

const (
	maxText    = 16 * 1024
	timeLayout = "2006-01-02T15:04:05.000000Z"
)

// Level is hclog's name of a level.
type Level string

// The levels, the lowest first.
const (
	Trace Level = "trace"
	Debug Level = "debug"
	Info  Level = "info"
	Warn  Level = "warn"
	Error Level = "error"
)

var order = map[Level]int{Trace: 0, Debug: 1, Info: 2, Warn: 3, Error: 4}

// LowestLevel gives the level that the environment asks for.
func LowestLevel() Level {
	level := Level(strings.ToLower(os.Getenv(LevelVariable)))
	if _, known := order[level]; !known {
		return Info
	}
	return level
}

// Pair is a key and its value.
type Pair struct {
	Key   string
	Value any
}

// Record is what is logged.
type Record struct {
	Time    time.Time
	Level   Level
	Module  string
	Message string
	Pairs   []Pair
}

// Writer writes records as lines, from any goroutine. Errors of its output are ignored: logging
// must never fail the caller, and there is nowhere left to tell.
type Writer struct {
	mutex  sync.Mutex
	output io.Writer
	lowest Level
}

// NewWriter gives a writer of records from a level on.
func NewWriter(output io.Writer, lowest Level) *Writer {
	return &Writer{output: output, lowest: lowest}
}

// Enabled tells whether records of a level are written.
func (w *Writer) Enabled(level Level) bool { return order[level] >= order[w.lowest] }

// Write writes one record, if its level is.
func (w *Writer) Write(record Record) {
	if !w.Enabled(record.Level) {
		return
	}
	line := Line(record)
	w.mutex.Lock()
	defer w.mutex.Unlock()
	_, _ = w.output.Write(line)
}

// Line gives a record as one line of at most MaxLineBytes.
func Line(record Record) []byte {
	fields := base(record, maxText)
	for _, pair := range record.Pairs {
		key := clean(pair.Key)
		if strings.HasPrefix(key, "@") {
			key = "_" + key
		}
		fields[key] = plain(pair.Value)
	}
	line, err := json.Marshal(fields)
	if err != nil || len(line) >= MaxLineBytes {
		fields = base(record, maxText/4) // escaped, a character has at most 6 bytes
		fields["keys_dropped"] = len(record.Pairs)
		line, _ = json.Marshal(fields) // texts and a number: it cannot fail
	}
	return append(line, '\n')
}

func base(record Record, most int) map[string]any {
	return map[string]any{
		"@level":     string(record.Level),
		"@message":   shortened(record.Message, most),
		"@module":    shortened(record.Module, most),
		"@timestamp": record.Time.UTC().Format(timeLayout),
	}
}

// plain gives a value that JSON has: a foreign value's text form, which may do anything.
func plain(value any) (result any) {
	defer func() {
		if raised := recover(); raised != nil {
			result = fmt.Sprintf("<%T, no text: panic>", value)
		}
	}()
	switch value := value.(type) {
	case nil, bool, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return value
	case float64:
		if math.IsInf(value, 0) || math.IsNaN(value) {
			return fmt.Sprint(value)
		}
		return value
	case string:
		return shortened(value, maxText)
	case error:
		return shortened(value.Error(), maxText)
	case time.Time:
		return value.Format(time.RFC3339Nano)
	default:
		return shortened(fmt.Sprint(value), maxText)
	}
}

func clean(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// shortened gives the text without its middle when it is long: a trace's end says much, too.
func shortened(text string, most int) string {
	text = clean(text)
	if len(text) <= most {
		return text
	}
	head, tail := most/2, len(text)-most/2
	for head > 0 && !utf8.RuneStart(text[head]) {
		head--
	}
	for tail < len(text) && !utf8.RuneStart(text[tail]) {
		tail++
	}
	return fmt.Sprintf("%s [%d bytes left out] %s", text[:head], tail-head, text[tail:])
}
