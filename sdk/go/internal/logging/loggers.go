package logging

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
)

// fromSlog gives our name of a level. slog has no name for what is below Debug; its numbers leave room for it.
func fromSlog(level slog.Level) Level {
	switch {
	case level >= slog.LevelError:
		return Error
	case level >= slog.LevelWarn:
		return Warn
	case level >= slog.LevelInfo:
		return Info
	case level >= slog.LevelDebug:
		return Debug
	default:
		return Trace
	}
}

var fromHclog = map[hclog.Level]Level{
	hclog.Trace: Trace, hclog.Debug: Debug, hclog.Info: Info, hclog.Warn: Warn, hclog.Error: Error,
}

// handler is a slog.Handler on a Writer. Groups become prefixes of keys, joined by a dot.
type handler struct {
	writer *Writer
	module string
	pairs  []Pair
	prefix string
	fixed  []Pair
}

// NewSlog gives a logger whose records carry fixed pairs, which no other of the same key replaces.
func NewSlog(writer *Writer, module string, fixed ...Pair) *slog.Logger {
	return slog.New(&handler{writer: writer, module: module, fixed: fixed})
}

// Enabled tells whether records of a level are written.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return h.writer.Enabled(fromSlog(level))
}

// Handle writes a record.
func (h *handler) Handle(_ context.Context, record slog.Record) error {
	pairs := slices.Clone(h.pairs)
	record.Attrs(func(attribute slog.Attr) bool {
		pairs = appendAttribute(pairs, h.prefix, attribute)
		return true
	})
	h.writer.Write(Record{
		Time:    orNow(record.Time),
		Level:   fromSlog(record.Level),
		Module:  h.module,
		Message: record.Message,
		Pairs:   append(pairs, h.fixed...),
	})
	return nil
}

// WithAttrs gives a handler whose records carry these, too.
func (h *handler) WithAttrs(attributes []slog.Attr) slog.Handler {
	clone := *h
	clone.pairs = slices.Clone(h.pairs)
	for _, attribute := range attributes {
		clone.pairs = appendAttribute(clone.pairs, h.prefix, attribute)
	}
	return &clone
}

// WithGroup gives a handler whose further keys begin with a name.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	clone := *h
	clone.prefix = h.prefix + name + "."
	return &clone
}

func appendAttribute(pairs []Pair, prefix string, attribute slog.Attr) []Pair {
	value := attribute.Value.Resolve()
	if value.Kind() != slog.KindGroup {
		if attribute.Key == "" {
			return pairs
		}
		return append(pairs, Pair{prefix + attribute.Key, value.Any()})
	}
	if attribute.Key != "" {
		prefix += attribute.Key + "."
	}
	for _, member := range value.Group() {
		pairs = appendAttribute(pairs, prefix, member)
	}
	return pairs
}

func orNow(at time.Time) time.Time {
	if at.IsZero() {
		return time.Now()
	}
	return at
}

// sink hands what an hclog.Logger logs to a Writer.
type sink struct {
	writer *Writer
	fixed  []Pair
}

// NewHclog gives a logger whose records carry fixed pairs, which no other of the same key replaces.
func NewHclog(writer *Writer, module string, fixed ...Pair) hclog.Logger {
	logger := hclog.NewInterceptLogger(&hclog.LoggerOptions{
		Name: module, Level: hclog.LevelFromString(string(writer.lowest)), Output: io.Discard,
	})
	logger.RegisterSink(&sink{writer, fixed})
	return logger
}

// Accept writes a record: pairs are keys and values by turns.
func (s *sink) Accept(name string, level hclog.Level, message string, arguments ...any) {
	pairs := make([]Pair, 0, len(arguments)/2+len(s.fixed)+1)
	for len(arguments) > 1 {
		key, _ := arguments[0].(string)
		pairs = append(pairs, Pair{key, arguments[1]})
		arguments = arguments[2:]
	}
	if len(arguments) == 1 {
		pairs = append(pairs, Pair{hclog.MissingKey, arguments[0]})
	}
	s.writer.Write(Record{
		Time:    time.Now(),
		Level:   fromHclog[level],
		Module:  name,
		Message: message,
		Pairs:   append(pairs, s.fixed...),
	})
}
