package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

const (
	madeUpKey    = "made-up-key"
	madeUpSecret = "made-up-secret"
)

// fakeService has what it took by id, what it refuses, an answer that it gives once before anything
// else, and what makes it refuse a whole request. It checks signatures, where there is one.
type fakeService struct {
	taken   map[string]string
	refused map[string]string
	first   http.HandlerFunc
	poison  string
	signed  int
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
	body, _ := io.ReadAll(request.Body)
	if signature := request.Header.Get("x-aperio-signature"); signature != "" {
		expected := hmac.New(sha256.New, []byte(madeUpSecret))
		expected.Write(body)
		if signature != hex.EncodeToString(expected.Sum(nil)) {
			reply.WriteHeader(http.StatusForbidden)
			return
		}
		f.signed++
	}
	if f.poison != "" && bytes.Contains(body, []byte(f.poison)) {
		reply.WriteHeader(http.StatusBadRequest)
		return
	}
	var items []struct {
		ID       string          `json:"id"`
		Envelope json.RawMessage `json:"envelope"`
	}
	_ = json.Unmarshal(body, &items)
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

const auditLog = `{"schema_version":"aperio.audit_log.v1","source":"aperio","producer":"aperio.sspm",` +
	`"destination_id":"siem_1","organization_id":"local","kind":"audit_log",` +
	`"occurred_at":"2026-06-06T00:00:00Z","record":{"action":"a","actor":null,"n":0.10}}`

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
	return handOver(t, service, map[string]any{"api_key": key}, envelopes...)
}

// handOver hands over envelopes with these settings; the address is the service's unless they say
// another.
func handOver(
	t *testing.T, service http.Handler, config map[string]any, envelopes ...destination.Envelope,
) ([]destination.Result, error) {
	t.Helper()
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	if config["base_url"] == nil {
		config["base_url"] = server.URL
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
	if len(results) != 2 || service.taken["e1"] != textOf(1) || service.taken["e2"] != textOf(2) {
		t.Errorf("the service has %v, the results are %+v", service.taken, results)
	}
}

func TestDeliverPassesTheProductsEnvelopesOnAsTheyAre(t *testing.T) {
	service := fake()
	resolved := strings.Replace(open, "OPEN", "RESOLVED", 1)
	for _, text := range []string{open, resolved, open, auditLog} {
		id, err := destination.DeliveryKey("local", "siem_1", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		results, err := handOver(t, service, map[string]any{"api_key": madeUpKey}, destination.Envelope{
			ID: id, Stream: destination.Finding, JSON: json.RawMessage(text),
		})
		if err != nil || results[0].Status != destination.StatusAccepted || service.taken[id] != text {
			t.Errorf("got %+v, %v; the service has %v", results, err, service.taken)
		}
	}
	if len(service.taken) != 3 {
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

func TestDeliverSignsRequestsWithTheSecret(t *testing.T) {
	envelope := destination.Envelope{ID: "e1", Stream: destination.Event, JSON: []byte(textOf(1))}
	for secret, signed := range map[string]int{"": 0, madeUpSecret: 1, "another": 0} {
		service := fake()
		config := map[string]any{"api_key": madeUpKey, "signing_secret": secret}
		_, err := handOver(t, service, config, envelope)
		if service.signed != signed || errors.Is(err, aperio.PermissionDenied) != (secret == "another") {
			t.Errorf("with %q: %d requests are signed, %v", secret, service.signed, err)
		}
	}
}

func TestDeliverRejectsWhatTheServiceNeverTakesAndNothingBesideIt(t *testing.T) {
	service := fake()
	service.poison = `"id":"e3"`
	results, err := deliver(t, service, madeUpKey, 1, 2, 3, 4)
	if err != nil {
		t.Fatal(err)
	}
	for index, result := range results {
		if isRejected := result.Status == destination.StatusRejected; isRejected != (index == 2) {
			t.Errorf("got %+v", result)
		}
	}
	if len(service.taken) != 3 {
		t.Errorf("the service has %v", service.taken)
	}
}

func TestDeliverLeadsToNoPrivateNetworkUnlessItMay(t *testing.T) {
	for _, address := range []string{"https://127.0.0.1:1", "HTTPS://localhost:1"} {
		for isAllowed, cause := range map[bool]aperio.Cause{
			false: aperio.InvalidConfig, true: aperio.Unavailable,
		} {
			_, err := handOver(t, fake(), map[string]any{
				"api_key": madeUpKey, "base_url": address, "allow_private": isAllowed,
			}, destination.Envelope{ID: "e1", Stream: destination.Event, JSON: []byte(textOf(1))})
			if !errors.Is(err, cause) {
				t.Errorf("%s, %t: got %v", address, isAllowed, err)
			}
		}
	}
}

func TestDeliverAsksToTryAgainWhenTheServiceDoes(t *testing.T) {
	for _, status := range []int{302, 408, 429, 500, 502, 503} {
		service := fake()
		service.first = func(reply http.ResponseWriter, _ *http.Request) {
			reply.Header().Set("Retry-After", "600")
			reply.WriteHeader(status)
		}
		results, err := deliver(t, service, madeUpKey, 1, 2)
		if err != nil || len(results) != 2 {
			t.Fatalf("got %+v, %v", results, err)
		}
		for _, result := range results {
			if result.Status != destination.StatusRetry || result.RetryAfter != 10*time.Minute {
				t.Errorf("%d: got %+v", status, result)
			}
		}
		if len(service.taken) != 0 {
			t.Errorf("the service has %v", service.taken)
		}
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
		"on a reply about another envelope": {
			madeUpKey, says(`{"rejected": [{"id": "of nobody", "reason": "old"}]}`), aperio.Unavailable,
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
