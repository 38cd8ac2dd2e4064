package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/destination"
	"github.com/writer/aperio-plugin-go/plugintest"
)

// harness is a plugin as after a start, with a folder to write to.
func harness(t *testing.T, folder string, further map[string]any) *plugintest.Harness {
	t.Helper()
	config := map[string]any{"folder": folder}
	for key, value := range further {
		config[key] = value
	}
	return plugintest.New(t, &JSONLFile{}, plugintest.Options{Config: config})
}

func envelope(id string) destination.Envelope { return padded(id, 0) }

// padded gives an envelope with a text of so many bytes in it.
func padded(id string, length int) destination.Envelope {
	text := fmt.Sprintf("{\n \"id\": %q, \"kind\": \"event\",\n \"record\": {\"text\": %q}}",
		id, strings.Repeat("x", length))
	return destination.Envelope{
		ID: id, Stream: destination.Event, JSON: json.RawMessage(text),
	}
}

func envelopes(ids ...string) []destination.Envelope {
	made := make([]destination.Envelope, len(ids))
	for index, id := range ids {
		made[index] = envelope(id)
	}
	return made
}

// mustDeliver delivers; every envelope must be accepted.
func mustDeliver(t *testing.T, harness *plugintest.Harness, given ...destination.Envelope) {
	t.Helper()
	results, err := harness.Deliver(given...)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != len(given) {
		t.Fatalf("got %d results for %d envelopes", len(results), len(given))
	}
	for _, result := range results {
		if result.Status != destination.StatusAccepted {
			t.Fatalf("got %+v", result)
		}
	}
}

// idsIn reads the ids of all lines back, those of full files first. Every line must be an object.
func idsIn(t *testing.T, folder string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder, "aperio.0*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(paths)
	ids := []string{}
	for _, path := range append(paths, filepath.Join(folder, currentName)) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			var head struct{ ID string }
			if err := json.Unmarshal(line, &head); err != nil || !bytes.HasSuffix(line, []byte("}\n")) {
				t.Fatalf("%s has the line %q", path, line)
			}
			ids = append(ids, head.ID)
		}
	}
	return ids
}

func wantIDs(t *testing.T, folder string, want ...string) {
	t.Helper()
	if got := idsIn(t, folder); !slices.Equal(got, want) {
		t.Errorf("the files have %v, want %v", got, want)
	}
}

func TestDeliverWritesOneObjectALine(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "made", "on the way")
	mustDeliver(t, harness(t, folder, nil), envelopes("a", "b", "c")...)
	wantIDs(t, folder, "a", "b", "c")
	data, err := os.ReadFile(filepath.Join(folder, currentName))
	if err != nil {
		t.Fatal(err)
	}
	const first = `{"id":"a","kind":"event","record":{"text":""}}` + "\n"
	if !bytes.HasPrefix(data, []byte(first)) {
		t.Errorf("the file begins with %.80q", data)
	}
}

func TestDeliverAppendsAfterARestart(t *testing.T) {
	folder := t.TempDir()
	mustDeliver(t, harness(t, folder, nil), envelope("a"))
	mustDeliver(t, harness(t, folder, nil), envelope("b"))
	wantIDs(t, folder, "a", "b")
}

func TestDeliverLeavesOutRepeats(t *testing.T) {
	tests := map[string]struct {
		window  int
		batches [][]string
		want    []string
	}{
		"in one batch":              {10, [][]string{{"a", "b", "a"}}, []string{"a", "b"}},
		"in a later batch":          {10, [][]string{{"a", "b"}, {"b", "c"}}, []string{"a", "b", "c"}},
		"within the window":         {2, [][]string{{"a", "b"}, {"a"}}, []string{"a", "b"}},
		"but not beyond the window": {2, [][]string{{"a", "b", "c"}, {"a"}}, []string{"a", "b", "c", "a"}},
		"but not without a window":  {0, [][]string{{"a"}, {"a"}}, []string{"a", "a"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			running, restarted := t.TempDir(), t.TempDir()
			config := map[string]any{"window": test.window}
			same := harness(t, running, config)
			for _, batch := range test.batches {
				mustDeliver(t, same, envelopes(batch...)...)
				mustDeliver(t, harness(t, restarted, config), envelopes(batch...)...)
			}
			wantIDs(t, running, test.want...)
			wantIDs(t, restarted, test.want...)
		})
	}
}

// captured are envelopes as the product writes them: eight keys, no id, escapes, sorted records.
var captured = []string{
	`{"schema_version":"aperio.finding.v1","source":"aperio","producer":"aperio.sspm","destination_id":"siem_1","organization_id":"org_1","kind":"finding","occurred_at":"2026-06-06T00:00:00.123456789Z","record":{"actor":null,"description":"a \u003cb\u003e \u0026 c","findingId":"fnd_1","severity":"HIGH","sourceEventId":"evt_1","status":"OPEN"}}`,
	`{"schema_version":"aperio.event.v1","source":"aperio","producer":"aperio.sspm","destination_id":"siem_1","organization_id":"org_1","kind":"event","occurred_at":"2026-06-06T00:00:00Z","record":{"eventType":"user.login","id":"src_1","n":1.10,"provider":"OKTA"}}`,
	`{"schema_version":"aperio.audit_log.v1","source":"aperio","producer":"aperio.sspm","destination_id":"siem_1","organization_id":"org_1","kind":"audit_log","occurred_at":"2026-06-06T00:00:00Z","record":{"action":"member.invited","actor":"a@example.com"}}`,
}

func addressed(t *testing.T, text string) destination.Envelope {
	t.Helper()
	key, err := destination.DeliveryKey("org_1", "siem_1", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return destination.Envelope{ID: key, Stream: destination.Finding, JSON: json.RawMessage(text)}
}

func TestDeliverWritesTheProductsEnvelopesAsTheyAre(t *testing.T) {
	folder := t.TempDir()
	given := []destination.Envelope{}
	for _, text := range append(captured, ` { "id" : "another", "b":1, "a":1, "a":"\u003c" }`) {
		given = append(given, destination.Envelope{
			ID: fmt.Sprint(len(given)), Stream: destination.Finding, JSON: json.RawMessage(text),
		})
	}
	mustDeliver(t, harness(t, folder, nil), given...)
	mustDeliver(t, harness(t, folder, nil), given...)
	data, err := os.ReadFile(filepath.Join(folder, currentName))
	if err != nil {
		t.Fatal(err)
	}
	want := ""
	for _, envelope := range given {
		want += string(envelope.JSON) + "\n"
	}
	if string(data) != want {
		t.Errorf("got %s", data)
	}
}

func TestDeliverWritesAChangeOfStatusAndNoRepeat(t *testing.T) {
	open := captured[0]
	resolved := strings.Replace(open, "OPEN", "RESOLVED", 1)
	own := `{"id":"own","organization_id":"org_1",` + open[strings.Index(open, `"kind"`):]
	ownResolved := strings.Replace(own, "OPEN", "RESOLVED", 1)
	for name, pair := range map[string][2]string{
		"without an id":                  {open, resolved},
		"with one id for both":           {own, ownResolved},
		"as the product and as the host": {open, ownResolved},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			same := harness(t, folder, nil)
			for range 2 {
				mustDeliver(t, same, addressed(t, pair[0]), addressed(t, pair[0]))
				mustDeliver(t, harness(t, folder, nil), addressed(t, pair[1]), addressed(t, pair[0]))
			}
			data, err := os.ReadFile(filepath.Join(folder, currentName))
			if want := pair[0] + "\n" + pair[1] + "\n"; err != nil || string(data) != want {
				t.Errorf("got %s, %v", data, err)
			}
		})
	}
}

// put replaces what the files of a folder hold; a file with nothing is removed.
func put(t *testing.T, folder string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(folder, name)
		err := os.WriteFile(path, []byte(text), 0o600)
		if text == "" {
			err = os.Remove(path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

const lineOfA = `{"id":"a"}` + "\n" // 11 bytes

func TestDeliverGoesOnAfterACrash(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"after keys, before their lines": {
			map[string]string{currentName: lineOfA, keysName: "11 \"a\"\n57 \"b\"\n103 \"c\"\n"},
			[]string{"a", "b", "c"},
		},
		"in the middle of a key": {
			map[string]string{currentName: lineOfA, keysName: "11 \"a\"\n57 \"b"},
			[]string{"a", "b", "c"},
		},
		"after a line that nobody was told of": {
			map[string]string{currentName: lineOfA + lineOfA[:5], keysName: "11 \"a\"\n57 \"b\"\n"},
			[]string{"a", "b", "c"},
		},
		"with keys that are none": {
			map[string]string{currentName: lineOfA, keysName: "11 \"a\"\nx\n11 a\n"},
			[]string{"a", "b", "c"},
		},
		"between the renames": {
			map[string]string{currentName: lineOfA, "aperio.000001.keys": "11 \"a\"\n"},
			[]string{"a", "b", "c"},
		},
		"after the renames": {
			map[string]string{"aperio.000001.jsonl": lineOfA, "aperio.000001.keys": "11 \"a\"\n"},
			[]string{"a", "b", "c"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			put(t, folder, test.files)
			for range 2 {
				mustDeliver(t, harness(t, folder, nil), envelopes("a", "b", "c")...)
			}
			wantIDs(t, folder, test.want...)
		})
	}
}

func TestDeliverRemembersFilesThatWereMovedAway(t *testing.T) {
	folder := t.TempDir()
	config := map[string]any{"max_file_bytes": leastMaxFileBytes}
	for _, id := range []string{"a", "b", "c"} {
		mustDeliver(t, harness(t, folder, config), padded(id, 40_000))
	}
	put(t, folder, map[string]string{"aperio.000001.jsonl": "", "aperio.000002.jsonl": ""})
	mustDeliver(t, harness(t, folder, config), padded("a", 40_000), padded("d", 40_000))
	wantIDs(t, folder, "c", "d")
	if _, err := os.Stat(filepath.Join(folder, "aperio.000003.jsonl")); err != nil {
		t.Error(err) // its number goes on
	}
}

func TestDeliverBeginsANewFileWhenOneIsFull(t *testing.T) {
	folder := t.TempDir()
	config := map[string]any{"max_file_bytes": leastMaxFileBytes}
	want := []string{}
	for round := range 4 {
		batch := []destination.Envelope{}
		for number := range 5 {
			id := fmt.Sprintf("e%d-%d", round, number)
			batch, want = append(batch, padded(id, 20_000)), append(want, id)
		}
		mustDeliver(t, harness(t, folder, config), batch...)
	}
	wantIDs(t, folder, want...)
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".keys") {
			continue
		}
		info, err := entry.Info()
		if err != nil || info.Size() > leastMaxFileBytes {
			t.Errorf("%s has %d bytes (%v)", entry.Name(), info.Size(), err)
		}
		names = append(names, entry.Name())
	}
	if first := "aperio.000001.jsonl"; !slices.Contains(names, first) || len(names) != 8 {
		t.Errorf("the folder has %v", names)
	}
	// Repeats are found in full files, too.
	mustDeliver(t, harness(t, folder, config), padded("e0-0", 20_000))
	wantIDs(t, folder, want...)
}

func TestDeliverCutsOffWhatACrashLeftOfALine(t *testing.T) {
	for name, torn := range map[string]string{
		"after whole lines":        `{"id":"b","record":{"te`,
		"longer than a block read": `{"id":"b","record":"` + strings.Repeat("x", 200_000),
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			mustDeliver(t, harness(t, folder, nil), envelope("a"))
			file, err := os.OpenFile(
				filepath.Join(folder, currentName), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = file.WriteString(torn)
			if err := errors.Join(err, file.Close()); err != nil {
				t.Fatal(err)
			}
			mustDeliver(t, harness(t, folder, nil), envelopes("b", "c")...)
			wantIDs(t, folder, "a", "b", "c")
		})
	}
}

func TestDeliverRejectsWhatCanNeverBeWritten(t *testing.T) {
	folder := t.TempDir()
	other := envelope("b")
	other.JSON = json.RawMessage("null")
	given := []destination.Envelope{envelope("a"), other, padded("c", leastMaxFileBytes), envelope("d")}
	config := map[string]any{"max_file_bytes": leastMaxFileBytes}
	results, err := harness(t, folder, config).Deliver(given...)
	if err != nil {
		t.Fatal(err)
	}
	want := []destination.Status{
		destination.StatusAccepted, destination.StatusRejected,
		destination.StatusRejected, destination.StatusAccepted,
	}
	for index, result := range results {
		if result.ID != given[index].ID || result.Status != want[index] {
			t.Errorf("got %+v, want the status %v", result, want[index])
		}
		if result.Status == destination.StatusRejected && result.Diagnostic.Code != "envelope-invalid" {
			t.Errorf("got the reason %+v", result.Diagnostic)
		}
	}
	wantIDs(t, folder, "a", "d")
}

func TestDeliverAsksToTryAgainWhatCouldNotBeWritten(t *testing.T) {
	folder := t.TempDir()
	mustDeliver(t, harness(t, folder, nil), envelope("a"))
	journal, err := openJournal(context.Background(), settings{folder, defaultMaxFileBytes, 10})
	if err != nil {
		t.Fatal(err)
	}
	seen, err := journal.readWindow(10)
	if err != nil {
		t.Fatal(err)
	}
	journal.current.Close() // as a disk that is gone
	results, err := deliver(journal, seen, envelopes("a", "b"))
	journal.Close()
	if err == nil || results[0].Status != destination.StatusAccepted ||
		results[1].Status != destination.StatusRetry || results[1].Diagnostic == nil {
		t.Errorf("got %+v, %v", results, err)
	}
	wantIDs(t, folder, "a")
	mustDeliver(t, harness(t, folder, nil), envelope("b"))
	wantIDs(t, folder, "a", "b")
}

func TestDeliverSeesWhatAnotherProcessWrote(t *testing.T) {
	folder := t.TempDir()
	one, other := harness(t, folder, nil), harness(t, folder, nil)
	mustDeliver(t, one, envelope("a"))
	mustDeliver(t, other, envelopes("a", "b")...)
	mustDeliver(t, one, envelopes("b", "c")...)
	wantIDs(t, folder, "a", "b", "c")
}

func TestDeliverKeepsFoldersApart(t *testing.T) {
	one, other := t.TempDir(), t.TempDir()
	mustDeliver(t, harness(t, one, nil), envelope("a"))
	mustDeliver(t, harness(t, other, nil), envelope("a"))
	wantIDs(t, one, "a")
	wantIDs(t, other, "a")
}

func TestDeliverAtTheSameTimeWritesEachEnvelopeOnce(t *testing.T) {
	folder := t.TempDir()
	config := map[string]any{"max_file_bytes": leastMaxFileBytes}
	processes := []*plugintest.Harness{harness(t, folder, config), harness(t, folder, config)}
	var group sync.WaitGroup
	for _, process := range processes {
		for call := range 4 {
			group.Go(func() {
				for number := range 20 {
					id := fmt.Sprintf("e%d-%d", call, number)
					results, err := process.Deliver(padded(id, 3_000))
					if err != nil || results[0].Status != destination.StatusAccepted {
						t.Errorf("got %+v, %v", results, err)
					}
				}
			})
		}
	}
	group.Wait()
	ids := idsIn(t, folder)
	slices.Sort(ids)
	if once := slices.Compact(slices.Clone(ids)); len(ids) != 80 || len(once) != 80 {
		t.Errorf("the files have %d lines with %d ids", len(ids), len(once))
	}
}

func TestDeliverRefusesSettings(t *testing.T) {
	for name, test := range map[string]struct {
		key   string
		value any
	}{
		"a relative folder":      {"folder", "export"},
		"files that are small":   {"max_file_bytes", leastMaxFileBytes - 1},
		"files that are large":   {"max_file_bytes", mostMaxFileBytes + 1},
		"half a byte":            {"max_file_bytes", leastMaxFileBytes + 0.5},
		"a window below nothing": {"window", -1},
		"a window of everything": {"window", mostWindow + 1},
	} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "folder")
			plugin := harness(t, folder, map[string]any{test.key: test.value})
			_, err := plugin.Deliver(envelope("a"))
			var told *aperio.Error
			if !errors.As(err, &told) || !errors.Is(err, aperio.InvalidConfig) ||
				!slices.Equal(told.Attribute, aperio.Path{aperio.Key(test.key)}) {
				t.Errorf("got %v", err)
			}
			if _, err := os.Stat(folder); err == nil {
				t.Error("the folder was made")
			}
		})
	}
}

func TestDeliverWritesToRegularFilesOnly(t *testing.T) {
	link := func(path, elsewhere string) error { return os.Symlink(elsewhere, path) }
	isFolder := func(path, _ string) error { return os.Mkdir(path, 0o700) }
	for name, place := range map[string]struct {
		name string
		make func(path, elsewhere string) error
	}{
		"a link": {currentName, link}, "a folder": {currentName, isFolder},
		"a link for keys": {keysName, link}, "a folder for keys": {keysName, isFolder},
	} {
		t.Run(name, func(t *testing.T) {
			folder, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "elsewhere")
			if err := place.make(filepath.Join(folder, place.name), elsewhere); err != nil {
				t.Skip(err)
			}
			_, err := harness(t, folder, nil).Deliver(envelope("a"))
			if !errors.Is(err, aperio.Unavailable) {
				t.Errorf("got %v", err)
			}
			if _, err := os.Stat(elsewhere); err == nil {
				t.Error("something was written elsewhere")
			}
		})
	}
}

func TestDeliverEndsWithTheCallWhileTheFolderIsLocked(t *testing.T) {
	folder := t.TempDir()
	lock, err := lockFile(context.Background(), filepath.Join(folder, lockName))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	options := plugintest.Options{
		Config: map[string]any{"folder": folder}, Timeout: 200 * time.Millisecond,
	}
	if _, err := plugintest.New(t, &JSONLFile{}, options).Deliver(envelope("a")); err == nil {
		t.Error("it was delivered")
	}
	if _, err := os.Stat(filepath.Join(folder, currentName)); err == nil {
		t.Error("the file was made")
	}
}

func FuzzEncode(f *testing.F) {
	for _, seed := range []string{
		`{"id": "a"}`, `{ }`, "{\n\"id\": \"a\", \"x\": \"\\n\"}", `[]`, `{"id": 5}`, `{"id":"a"} {}`, "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		given := destination.Envelope{ID: "a", JSON: data}
		line, err := encode(given, defaultMaxFileBytes)
		if err != nil {
			return
		}
		if !json.Valid(line) || bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
			t.Errorf("%q became the line %q", data, line)
		}
	})
}
