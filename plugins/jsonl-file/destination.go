package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/destination"
)

const (
	defaultMaxFileBytes = 64 << 20
	leastMaxFileBytes   = 64 << 10
	mostMaxFileBytes    = 1 << 30
	defaultWindow       = 10_000
	mostWindow          = 1_000_000
	// keptWindows bounds how many folders are remembered; the window of another is read again.
	keptWindows = 64
)

// JSONLFile appends envelopes to a file. An envelope counts as accepted once the file with it has
// been synced to the disk.
type JSONLFile struct {
	mutex   sync.Mutex
	windows map[string]*window // by folder; what is in them was read from, or written to, its files
}

// Capabilities declares the settings and the streams.
func (*JSONLFile) Capabilities() destination.Capabilities {
	return destination.Capabilities{
		Provider:    "JSONL_FILE",
		Name:        "JSON Lines file",
		Description: "Appends envelopes to a file in a folder, one JSON object a line.",
		Vendor:      "Aperio",
		Category:    "Generic",
		DocsURL:     "https://github.com/writer/aperio/blob/main/plugins/jsonl-file/README.md",
		Streams: []destination.Stream{
			destination.Finding, destination.Event, destination.AuditLog,
		},
		Fields: []aperio.Field{
			{
				Key: "folder", Label: "Folder", Required: true,
				Placeholder: "/var/lib/aperio/export",
				Helper:      "An absolute path on the host; made when it is missing.",
			},
			{
				Key: "max_file_bytes", Label: "Size at which a new file begins",
				Type: aperio.Number, Default: defaultMaxFileBytes,
				Helper: "From 64 KiB to 1 GiB, in bytes.",
			},
			{
				Key: "window", Label: "Envelopes remembered to leave out repeats",
				Type: aperio.Number, Default: defaultWindow,
				Helper: "From 0 to 1,000,000, counted back from the latest one.",
			},
		},
	}
}

// Deliver appends the envelopes that are not among the latest ones already.
func (d *JSONLFile) Deliver(
	ctx context.Context, request *destination.DeliverRequest,
) ([]destination.Result, error) {
	settings, err := readSettings(request.Config)
	if err != nil {
		return nil, err
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if err := ctx.Err(); err != nil { // it waited for another call
		return nil, &aperio.Error{Cause: aperio.Cancelled, Summary: "the call ended", Err: err}
	}
	journal, err := openJournal(ctx, settings)
	if err != nil {
		return nil, failure("the folder cannot be used", err)
	}
	defer journal.Close()
	seen, err := d.windowOf(settings, journal)
	if err != nil {
		return nil, failure("the files in the folder cannot be read", err)
	}
	results, err := deliver(journal, seen, request.Envelopes)
	seen.end = journal.end
	if err != nil {
		request.Logger.Error("envelopes were not written", "error", err.Error())
	}
	return results, nil
}

// windowOf gives the latest keys in the folder: those remembered, unless somebody else has written.
func (d *JSONLFile) windowOf(settings settings, journal *journal) (*window, error) {
	found := d.windows[settings.folder]
	if found != nil && found.limit == settings.window && found.end == journal.end {
		return found, nil
	}
	found, err := journal.readWindow(settings.window)
	if err != nil {
		return nil, err
	}
	if d.windows == nil || len(d.windows) >= keptWindows {
		d.windows = map[string]*window{}
	}
	d.windows[settings.folder] = found
	return found, nil
}

// deliver answers for each envelope. The error is why some have to be tried again.
func deliver(
	journal *journal, seen *window, envelopes []destination.Envelope,
) ([]destination.Result, error) {
	results := make([]destination.Result, len(envelopes))
	var lines []entry
	lineOf := map[string]int{} // by key; a repeat in the same call shares the line
	for index, envelope := range envelopes {
		if _, found := lineOf[envelope.ID]; found {
			continue
		}
		if seen.has(envelope.ID) {
			results[index] = destination.Accepted(envelope)
			continue
		}
		line, err := encode(envelope, journal.maxBytes)
		if err != nil {
			results[index] = destination.Rejected(envelope, aperio.Diagnostic{
				Summary: err.Error(), Code: "envelope-invalid",
			})
			continue
		}
		lineOf[envelope.ID] = len(lines)
		lines = append(lines, entry{envelope.ID, line})
	}
	durable, err := journal.append(lines)
	for index, envelope := range envelopes {
		number, found := lineOf[envelope.ID]
		switch {
		case !found || results[index].Status != 0:
		case number < durable:
			results[index] = destination.Accepted(envelope)
			if !seen.has(envelope.ID) {
				seen.add(envelope.ID)
			}
		default:
			why := aperio.Diagnostic{Summary: "the file cannot be written", Detail: err.Error()}
			results[index] = destination.Retry(envelope, why, 0)
		}
	}
	return results, err
}

// encode gives the line of an envelope, with its line feed: the envelope as it is, unless there are
// line ends between its tokens. An id inside of it is not looked at; the product's have none.
func encode(envelope destination.Envelope, maxBytes int64) ([]byte, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(envelope.JSON, &object); err != nil || object == nil {
		return nil, errors.Join(errors.New("the envelope is no JSON object"), err)
	}
	var line bytes.Buffer
	if bytes.ContainsAny(envelope.JSON, "\r\n") { // inside of strings JSON has none
		if err := json.Compact(&line, envelope.JSON); err != nil {
			return nil, fmt.Errorf("the envelope is not JSON: %w", err)
		}
	} else {
		line.Write(envelope.JSON)
	}
	line.WriteByte('\n')
	if int64(line.Len()) > maxBytes {
		return nil, fmt.Errorf("the envelope is longer than a file may be, %d bytes", maxBytes)
	}
	return line.Bytes(), nil
}

// settings say where the files are and when a new one begins.
type settings struct {
	folder       string
	maxFileBytes int64
	window       int
}

func readSettings(config aperio.Config) (settings, error) {
	folder, err := config.Text("folder")
	if err != nil {
		return settings{}, err
	}
	if !filepath.IsAbs(folder) {
		return settings{}, refuse("folder", "folder must be an absolute path")
	}
	maxFileBytes, err := integer(
		config, "max_file_bytes", defaultMaxFileBytes, leastMaxFileBytes, mostMaxFileBytes)
	if err != nil {
		return settings{}, err
	}
	window, err := integer(config, "window", defaultWindow, 0, mostWindow)
	if err != nil {
		return settings{}, err
	}
	return settings{filepath.Clean(folder), maxFileBytes, int(window)}, nil
}

func integer(config aperio.Config, key string, otherwise, least, most int64) (int64, error) {
	stated, err := config.NumberOr(key, float64(otherwise))
	if err != nil {
		return 0, err
	}
	if stated < float64(least) || stated > float64(most) || stated != float64(int64(stated)) {
		return 0, refuse(key, fmt.Sprintf("%s must be a whole number, %d to %d", key, least, most))
	}
	return int64(stated), nil
}

func refuse(key, summary string) error {
	return &aperio.Error{
		Cause: aperio.InvalidConfig, Summary: summary,
		Attribute: aperio.Path{aperio.Key(key)},
	}
}

func failure(summary string, err error) error {
	return &aperio.Error{
		Cause: aperio.Unavailable, Summary: summary, Detail: err.Error(), Err: err,
	}
}
