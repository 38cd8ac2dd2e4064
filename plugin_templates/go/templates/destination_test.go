package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	aperio "{{ cookiecutter.sdk_module }}"
	"{{ cookiecutter.sdk_module }}/destination"
	"{{ cookiecutter.sdk_module }}/plugintest"
)

// One line per scenario, against a fake of the service on this machine; no host, no network.

const madeUpKey = "made-up-key"

// fakeService has what it took by id, what it refuses, and an answer that it gives once before
// anything else.
type fakeService struct {
	taken   map[string]string
	refused map[string]string
	first   http.HandlerFunc
}

func (f *fakeService) ServeHTTP(reply http.ResponseWriter, request *http.Request) {
	if first := f.first; first != nil {
		f.first = nil
		first(reply, request)
		return
	}
	if request.Header.Get("Authorization") != "Bearer "+madeUpKey {
		reply.WriteHeader(http.StatusUnauthorized)
		return
	}
	var items []struct {
		ID       string          `json:"id"`
		Envelope json.RawMessage `json:"envelope"`
	}
	_ = json.NewDecoder(request.Body).Decode(&items)
	rejected := []map[string]string{}
	for _, item := range items {
		if reason := f.refused[item.ID]; reason != "" {
			rejected = append(rejected, map[string]string{"id": item.ID, "reason": reason})
		} else {
			f.taken[item.ID] = string(item.Envelope)
		}
	}
	_ = json.NewEncoder(reply).Encode(map[string]any{"rejected": rejected})
}

func fake() *fakeService {
	return &fakeService{taken: map[string]string{}, refused: map[string]string{}}
}

// open is a finding as Aperio's server delivers it: without an id.
const open = `{"schema_version":"aperio.finding.v1","source":"aperio","producer":"aperio.sspm",` +
	`"destination_id":"siem_1","organization_id":"local","kind":"finding",` +
	`"occurred_at":"2026-06-06T00:00:00.123456789Z","record":{"description":"\u003cb\u003e",` +
	`"findingId":"fnd_1","sourceEventId":"evt_1","status":"OPEN"}}`

func textOf(number int) string {
	return fmt.Sprintf(`{"kind": "event", "record": {"id": "e%d"}}`, number)
}

// deliver hands over envelopes with these numbers.
func deliver(
	t *testing.T, service http.Handler, key string, numbers ...int,
) ([]destination.Result, error) {
	t.Helper()
	envelopes := make([]destination.Envelope, len(numbers))
	for index, number := range numbers {
		envelopes[index] = destination.Envelope{
			ID: fmt.Sprintf("e%d", number), Stream: destination.Event,
			JSON: json.RawMessage(textOf(number)),
		}
	}
	return handOver(t, service, key, envelopes...)
}

func handOver(
	t *testing.T, service http.Handler, key string, envelopes ...destination.Envelope,
) ([]destination.Result, error) {
	t.Helper()
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	config := map[string]any{"base_url": server.URL, "api_key": key}
	plugin := &{{ cookiecutter.class_name }}{}
	return plugintest.New(t, plugin, plugintest.Options{Config: config}).Deliver(envelopes...)
}

func TestDeliverHandsOverEveryEnvelope(t *testing.T) {
	service := fake()
	results, err := deliver(t, service, madeUpKey, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range results {
		if result.Status != destination.StatusAccepted {
			t.Errorf("got %+v", result)
		}
	}
	if len(results) != 2 || service.taken["e1"] != textOf(1) || service.taken["e2"] != textOf(2) {
		t.Errorf("the service has %v, the results are %+v", service.taken, results)
	}
}

func TestDeliverPassesTheProductsEnvelopesOnAsTheyAre(t *testing.T) {
	service := fake()
	resolved := strings.Replace(open, "OPEN", "RESOLVED", 1)
	for _, text := range []string{open, resolved, open} {
		id, err := destination.DeliveryKey("local", "siem_1", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		results, err := handOver(t, service, madeUpKey, destination.Envelope{
			ID: id, Stream: destination.Finding, JSON: json.RawMessage(text),
		})
		if err != nil || results[0].Status != destination.StatusAccepted || service.taken[id] != text {
			t.Errorf("got %+v, %v; the service has %v", results, err, service.taken)
		}
	}
	if len(service.taken) != 2 {
		t.Errorf("the service has %v", service.taken)
	}
}

func TestDeliverAnswersForEachEnvelope(t *testing.T) {
	service := fake()
	service.refused["e2"] = "too old"
	results, err := deliver(t, service, madeUpKey, 1, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	want := []destination.Status{
		destination.StatusAccepted, destination.StatusRejected, destination.StatusAccepted,
	}
	for index, result := range results {
		if result.Status != want[index] {
			t.Errorf("got %+v", result)
		}
	}
	if reason := results[1].Diagnostic; reason == nil || reason.Summary != "too old" {
		t.Errorf("got the reason %+v", reason)
	}
}

func TestDeliverAsksToTryAgainWhenTheServiceDoes(t *testing.T) {
	service := fake()
	service.first = func(reply http.ResponseWriter, _ *http.Request) {
		reply.Header().Set("Retry-After", "600")
		reply.WriteHeader(http.StatusTooManyRequests)
	}
	results, err := deliver(t, service, madeUpKey, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range results {
		if result.Status != destination.StatusRetry || result.RetryAfter != 10*time.Minute {
			t.Errorf("got %+v", result)
		}
	}
	if len(service.taken) != 0 {
		t.Errorf("the service has %v", service.taken)
	}
}

func TestDeliverFails(t *testing.T) {
	says := func(text string) http.HandlerFunc {
		return func(reply http.ResponseWriter, _ *http.Request) { fmt.Fprint(reply, text) }
	}
	tests := map[string]struct {
		key   string
		first http.HandlerFunc
		cause aperio.Cause
	}{
		"with a wrong key":            {"another", nil, aperio.Unauthenticated},
		"on an empty reply":           {madeUpKey, says("{}"), aperio.Unavailable},
		"on a reply that is a list":   {madeUpKey, says("[]"), aperio.Unavailable},
		"on a reply that is not JSON": {madeUpKey, says("taken"), aperio.Unavailable},
		"on a redirect": {
			madeUpKey, http.RedirectHandler("/", http.StatusFound).ServeHTTP, aperio.Unavailable,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			service := fake()
			service.first = test.first
			results, err := deliver(t, service, test.key, 1)
			if !errors.Is(err, test.cause) {
				t.Errorf("got %+v and the error %v, want %v", results, err, test.cause)
			}
		})
	}
}
