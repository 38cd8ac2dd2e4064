package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	aperio "{{ cookiecutter.sdk_module }}"
	"{{ cookiecutter.sdk_module }}/destination"
	"{{ cookiecutter.sdk_module }}/plugintest"
)

// One line per scenario, against a fake of the service on this machine; no host, no network.

const madeUpKey = "made-up-key"

// fakeService has what it took, what it refuses by id, and an answer that it gives once before
// anything else.
type fakeService struct {
	taken   map[string]int
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
	var envelopes []struct {
		ID     string `json:"id"`
		Record struct {
			Number int `json:"number"`
		} `json:"record"`
	}
	_ = json.NewDecoder(request.Body).Decode(&envelopes)
	rejected := []map[string]string{}
	for _, envelope := range envelopes {
		if reason := f.refused[envelope.ID]; reason != "" {
			rejected = append(rejected, map[string]string{"id": envelope.ID, "reason": reason})
		} else {
			f.taken[envelope.ID] = envelope.Record.Number
		}
	}
	_ = json.NewEncoder(reply).Encode(map[string]any{"rejected": rejected})
}

func fake() *fakeService {
	return &fakeService{taken: map[string]int{}, refused: map[string]string{}}
}

// deliver hands over envelopes with these numbers.
func deliver(
	t *testing.T, service http.Handler, key string, numbers ...int,
) ([]destination.Result, error) {
	t.Helper()
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	config := map[string]any{"base_url": server.URL, "api_key": key}
	envelopes := make([]destination.Envelope, len(numbers))
	for index, number := range numbers {
		id := fmt.Sprintf("e%d", number)
		text := fmt.Sprintf(`{"id": %q, "kind": "event", "record": {"number": %d}}`, id, number)
		envelopes[index] = destination.Envelope{
			ID: id, Stream: destination.Event, JSON: json.RawMessage(text),
		}
	}
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
	if len(results) != 2 || service.taken["e1"] != 1 || service.taken["e2"] != 2 {
		t.Errorf("the service has %v, the results are %+v", service.taken, results)
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
