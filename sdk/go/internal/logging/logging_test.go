package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"
)

// read parses what was logged, and refuses what a go-plugin host could not take.
func read(t *testing.T, line []byte) map[string]any {
	t.Helper()
	if len(line) > 64*1024 || bytes.Count(line, []byte("\n")) != 1 {
		t.Fatalf("%d bytes, %d line feeds", len(line), bytes.Count(line, []byte("\n")))
	}
	var fields map[string]any
	if err := json.Unmarshal(line, &fields); err != nil {
		t.Fatalf("%v: %.200q", err, line)
	}
	for key, value := range fields {
		if _, isText := value.(string); strings.HasPrefix(key, "@") && !isText {
			t.Fatalf("%s is %v", key, value)
		}
	}
	return fields
}

func TestALineHasWhatAHostParses(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.FixedZone("", 3600))
	fields := read(t, Line(Record{Time: at, Level: Warn, Module: "m", Message: "s", Pairs: []Pair{{"n", 7}}}))
	wanted := map[string]any{
		"@level": "warn", "@message": "s", "@module": "m", "n": 7.0,
		"@timestamp": "2026-01-02T02:04:05.000006Z",
	}
	for key, value := range wanted {
		if fields[key] != value {
			t.Errorf("%s is %v, want %v", key, fields[key], value)
		}
	}
}

type hostile struct{}

func (hostile) String() string { panic("no") }

func TestValuesBecomeWhatJSONHas(t *testing.T) {
	for name, c := range map[string]struct{ value, wanted any }{
		"infinite": {math.Inf(1), "+Inf"},
		"NaN":      {math.NaN(), "NaN"},
		"error":    {errors.New("e"), "e"},
		"bytes":    {[]byte{1}, "[1]"},
		"nil":      {nil, nil},
		"not text": {"\xff", "\uFFFD"},
	} {
		fields := read(t, Line(Record{Pairs: []Pair{{"k", c.value}}}))
		if fields["k"] != c.wanted {
			t.Errorf("%s: got %v", name, fields["k"])
		}
	}
	read(t, Line(Record{Pairs: []Pair{{"k", hostile{}}}}))
}

func TestLongRecordsAreShortened(t *testing.T) {
	long := strings.Repeat("\u0001", 100_000)
	pairs := []Pair{{"a", long}, {"b", long}, {"c", long}, {"d", long}}
	fields := read(t, Line(Record{Message: long, Module: long, Pairs: pairs}))
	if fields["keys_dropped"] != 4.0 {
		t.Errorf("got %v", fields["keys_dropped"])
	}
	middle := read(t, Line(Record{Message: strings.Repeat("é", 20_000)}))["@message"].(string)
	if !strings.Contains(middle, "bytes left out") || strings.Contains(middle, "\uFFFD") {
		t.Errorf("got %.100q", middle)
	}
}

func TestLoggersGroupNameAndFilter(t *testing.T) {
	var output bytes.Buffer
	writer := NewWriter(&output, Info)
	logger := NewSlog(writer, "plugin", Pair{"organization_id", "o"})
	logger.Debug("not this")
	logger.With("a", 1).WithGroup("g").Info(
		"this", "b", 2, slog.Group("h", "c", 3), "@message", 5, "organization_id", "other",
	)
	fields := read(t, output.Bytes())
	for key, value := range map[string]any{
		"@message": "this", "a": 1.0, "g.b": 2.0, "g.h.c": 3.0, "organization_id": "o", "g.@message": 5.0,
	} {
		if fields[key] != value {
			t.Errorf("%s is %v, want %v", key, fields[key], value)
		}
	}
}

func TestHclogGoesTheSameWay(t *testing.T) {
	var output bytes.Buffer
	logger := NewHclog(NewWriter(&output, Debug), "plugin", Pair{"organization_id", "o"})
	logger.Trace("not this")
	logger.Named("sub").With("a", 1).Error("this", "@level", 5, "odd")
	fields := read(t, output.Bytes())
	for key, value := range map[string]any{
		"@message": "this", "@level": "error", "@module": "plugin.sub", "a": 1.0, "_@level": 5.0,
		"EXTRA_VALUE_AT_END": "odd", "organization_id": "o",
	} {
		if fields[key] != value {
			t.Errorf("%s is %v, want %v", key, fields[key], value)
		}
	}
}

var timestamp = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`)

func FuzzLine(f *testing.F) {
	f.Add("message", "key", "value", int64(0))
	f.Add("\x00\xff", "@message", strings.Repeat("<", 300), int64(1<<40))
	f.Fuzz(func(t *testing.T, message, key, value string, at int64) {
		record := Record{
			Time: time.Unix(at%(1<<37), 0), Level: Info, Message: message, Module: value,
			Pairs: []Pair{{key, value}, {"@" + key, at}},
		}
		fields := read(t, Line(record))
		if text := fields["@timestamp"].(string); record.Time.UTC().Year() > 0 &&
			record.Time.UTC().Year() < 10_000 && !timestamp.MatchString(text) {
			t.Errorf("timestamp %q", text)
		}
	})
}
