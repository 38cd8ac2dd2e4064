package vectors_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/convert"
	"github.com/writer/aperio-plugin-go/internal/hoststate"
	"github.com/writer/aperio-plugin-go/internal/inprocess"
	"github.com/writer/aperio-plugin-go/internal/logging"
	"github.com/writer/aperio-plugin-go/internal/serve"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const (
	testdata = "../../../testdata"
	timeout  = 15 * time.Second
	bugText  = "s3cret text of a bug"
)

// forEach runs a test for each case of a file, decoded strictly.
func forEach[Case any](t *testing.T, name string, test func(*testing.T, Case)) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testdata, name))
	must(t, err)
	var document struct{ Cases []any }
	must(t, json.Unmarshal(text, &document))
	if len(document.Cases) == 0 {
		t.Fatalf("%s has no cases", name)
	}
	for _, raw := range document.Cases {
		encoded, err := json.Marshal(expanded(raw))
		must(t, err)
		var scenario Case
		decoder := json.NewDecoder(bytes.NewReader(encoded))
		decoder.DisallowUnknownFields()
		must(t, decoder.Decode(&scenario))
		t.Run(raw.(map[string]any)["name"].(string), func(t *testing.T) { test(t, scenario) })
	}
}

// expanded writes repeats and joined texts out.
func expanded(value any) any {
	switch value := value.(type) {
	case map[string]any:
		if repeat, found := value["repeat"].([]any); found && len(value) == 1 {
			return strings.Repeat(repeat[0].(string), int(repeat[1].(float64)))
		}
		if parts, found := value["joined"].([]any); found && len(value) == 1 {
			var joined strings.Builder
			for _, part := range parts {
				joined.WriteString(expanded(part).(string))
			}
			return joined.String()
		}
		for key := range value {
			value[key] = expanded(value[key])
		}
	case []any:
		for index := range value {
			value[index] = expanded(value[index])
		}
	}
	return value
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// assertMessage compares a message with the expected one in protobuf's JSON form.
func assertMessage[Message proto.Message](t *testing.T, got Message, wanted json.RawMessage) {
	t.Helper()
	expected := got.ProtoReflect().New().Interface()
	must(t, protojson.Unmarshal(wanted, expected))
	if !proto.Equal(got, expected) {
		t.Errorf("got %v\nwant %v", protojson.Format(got), protojson.Format(expected))
	}
}

// pluginError is an error as a plugin makes it: an object, or the word `bug`.
type pluginError struct {
	Code       string  `json:"code"`
	Summary    string  `json:"summary"`
	Detail     string  `json:"detail"`
	Attribute  []any   `json:"attribute"`
	RetryAfter float64 `json:"retry_after_s"`
	isBug      bool
}

func (e *pluginError) UnmarshalJSON(data []byte) error {
	type plain pluginError
	if string(data) == `"bug"` {
		e.isBug = true
		return nil
	}
	return json.Unmarshal(data, (*plain)(e))
}

func (e *pluginError) err() error {
	if e == nil {
		return nil
	}
	if e.isBug {
		return errors.New(bugText)
	}
	return &aperio.Error{
		Cause: aperio.Cause(e.Code), Summary: e.Summary, Detail: e.Detail,
		Attribute:  pathOf(e.Attribute),
		RetryAfter: time.Duration(e.RetryAfter * float64(time.Second)),
	}
}

func pathOf(steps []any) aperio.Path {
	var path aperio.Path
	for _, step := range steps {
		switch step := step.(type) {
		case string:
			path = append(path, aperio.Key(step))
		case float64:
			path = append(path, aperio.Index(step))
		}
	}
	return path
}

// diagnostic is one as a plugin makes it.
type diagnostic struct {
	Summary   string `json:"summary"`
	Detail    string `json:"detail"`
	Code      string `json:"code"`
	Attribute []any  `json:"attribute"`
	Severity  string `json:"severity"`
}

func (d diagnostic) diagnostic() aperio.Diagnostic {
	made := aperio.Diagnostic{
		Summary: d.Summary, Detail: d.Detail, Code: d.Code, Attribute: pathOf(d.Attribute),
	}
	if d.Severity == "warning" {
		made.Severity = aperio.SeverityWarning
	}
	return made
}

// told is what the host is told for an error.
type told struct {
	status      string
	text        string
	diagnostics *pb.Diagnostics
}

func toldBy(t *testing.T, err error, trailer metadata.MD) *told {
	t.Helper()
	result := &told{
		status: codeNames[status.Code(err)], text: status.Convert(err).Message(),
		diagnostics: &pb.Diagnostics{},
	}
	sent := trailer.Get(convert.DiagnosticsKey)
	if len(sent) != 1 {
		t.Fatalf("%d diagnostics beside %v", len(sent), err)
	}
	must(t, proto.Unmarshal([]byte(sent[0]), result.diagnostics))
	return result
}

var codeNames = map[codes.Code]string{
	codes.Canceled: "CANCELLED", codes.InvalidArgument: "INVALID_ARGUMENT",
	codes.PermissionDenied: "PERMISSION_DENIED", codes.ResourceExhausted: "RESOURCE_EXHAUSTED",
	codes.FailedPrecondition: "FAILED_PRECONDITION", codes.Aborted: "ABORTED",
	codes.OutOfRange: "OUT_OF_RANGE", codes.Unimplemented: "UNIMPLEMENTED",
	codes.Internal: "INTERNAL", codes.Unavailable: "UNAVAILABLE",
	codes.Unauthenticated: "UNAUTHENTICATED",
}

// wantedError is an expected error.
type wantedError struct {
	Status   string   `json:"status"`
	Code     string   `json:"code"`
	Mentions []string `json:"mentions"`
}

func (w *wantedError) assert(t *testing.T, got *told) {
	t.Helper()
	items := got.diagnostics.GetItems()
	if got.status != w.Status || len(items) != 1 || items[0].GetCode() != w.Code {
		t.Fatalf("got %s %v, want %s %s", got.status, items, w.Status, w.Code)
	}
	for _, text := range w.Mentions {
		if !strings.Contains(got.text, text) {
			t.Errorf("%q is not in %q", text, got.text)
		}
	}
}

// served gives a connection to a plugin, and what it logs.
func served(t *testing.T, service *serve.Service) (*grpc.ClientConn, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	runtime := serve.NewRuntime(logging.NewWriter(log, logging.Debug), hoststate.New("").Slice)
	connection, stop, err := inprocess.Serve(service, runtime)
	must(t, err)
	t.Cleanup(stop)
	return connection, log
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	return ctx
}

func invocation(config []byte) *pb.InvocationContext {
	return &pb.InvocationContext{
		OrganizationId: "o", IntegrationId: "i", InvocationId: "v", ConfigJson: config,
	}
}
