package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	aperio "{{ cookiecutter.sdk_module }}"
	"{{ cookiecutter.sdk_module }}/connector"
	"{{ cookiecutter.sdk_module }}/plugintest"
)

// One line per scenario, against a fake of the service on this machine; no host, no network.

const (
	madeUpKey = "made-up-key"
	fakePage  = 2
)

// fakeService has events, and an answer that it gives once before anything else.
type fakeService struct {
	events []any
	first  http.HandlerFunc
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
	if request.URL.Path == "/v1/account" {
		answer(reply, map[string]any{"id": "a1", "name": "Acme"})
		return
	}
	start, _ := strconv.Atoi(request.FormValue("after"))
	end := min(start+fakePage, len(f.events))
	answer(reply, map[string]any{
		"events": append([]any{}, f.events[start:end]...),
		"next":   strconv.Itoa(end),
		"more":   end < len(f.events),
	})
}

func answer(reply http.ResponseWriter, value any) { _ = json.NewEncoder(reply).Encode(value) }

// busy answers that there were too many requests.
func busy(retryAfter string) http.HandlerFunc {
	return func(reply http.ResponseWriter, _ *http.Request) {
		reply.Header().Set("Retry-After", retryAfter)
		reply.WriteHeader(http.StatusTooManyRequests)
	}
}

func harness(t *testing.T, service http.Handler, key string) *plugintest.Harness {
	t.Helper()
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	config := map[string]any{"base_url": server.URL, "api_key": key}
	return plugintest.New(t, &{{ cookiecutter.class_name }}{}, plugintest.Options{Config: config})
}

// logins gives records of logins as the service has them.
func logins(count int) []any {
	records := make([]any, count)
	for number := range records {
		records[number] = map[string]any{
			"id":    fmt.Sprintf("e%d", number),
			"type":  "login",
			"time":  fmt.Sprintf("2026-01-01T00:00:%02dZ", number),
			"actor": map[string]any{"id": "u1", "email": "ada@example.com", "ip": "192.0.2.1"},
		}
	}
	return records
}

func ids(events []connector.Event) []string {
	found := make([]string, len(events))
	for index, event := range events {
		found[index] = event.SourceEventID
	}
	return found
}

func TestConnectionShowsTheAccount(t *testing.T) {
	result, err := harness(t, &fakeService{}, madeUpKey).TestConnection()
	if err != nil || !result.OK || result.Account["name"] != "Acme" {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestConnectionFailsWithAWrongKey(t *testing.T) {
	result, err := harness(t, &fakeService{}, "another").TestConnection()
	if err == nil && result.OK {
		t.Errorf("got %+v", result)
	}
}

func TestSyncReadsEveryPageOnce(t *testing.T) {
	result, err := harness(t, &fakeService{events: logins(5)}, madeUpKey).Sync(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := ids(result.Events); !slices.Equal(got, []string{"e0", "e1", "e2", "e3", "e4"}) {
		t.Errorf("got %v", got)
	}
	first := result.Events[0]
	if first.NativeType != "login" {
		t.Errorf("got %+v", first)
	}
	if first.Type != "{{ cookiecutter.provider.lower() }}.login" || first.Actor.Email != "ada@example.com" {
		t.Errorf("got %+v", first)
	}
}

func TestSyncLosesNothingFromAnyCheckpoint(t *testing.T) {
	harness(t, &fakeService{events: logins(5)}, madeUpKey).ResumeFromEveryCheckpoint()
}

func TestSyncWaitsWhenTheServiceAsksForIt(t *testing.T) {
	service := &fakeService{events: logins(1), first: busy("0")}
	result, err := harness(t, service, madeUpKey).Sync(nil)
	if err != nil || len(result.Events) != 1 {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestSyncHandsALongWaitToTheHost(t *testing.T) {
	_, err := harness(t, &fakeService{first: busy("600")}, madeUpKey).Sync(nil)
	var told *aperio.Error
	if !errors.As(err, &told) || !errors.Is(err, aperio.RateLimited) ||
		told.RetryAfter != 10*time.Minute {
		t.Errorf("got %v", err)
	}
}

func TestSyncFails(t *testing.T) {
	tests := map[string]http.HandlerFunc{
		"on a redirect": http.RedirectHandler("/", http.StatusFound).ServeHTTP,
		"on a reply that is no page": func(reply http.ResponseWriter, _ *http.Request) {
			answer(reply, []int{1})
		},
		"on a reply that breaks off": func(reply http.ResponseWriter, _ *http.Request) {
			reply.Header().Set("Content-Length", "1000")
			answer(reply, map[string]any{"events": []int{}})
		},
	}
	for name, first := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := harness(t, &fakeService{first: first}, madeUpKey).Sync(nil)
			if !errors.Is(err, aperio.Unavailable) {
				t.Errorf("got the error %v", err)
			}
		})
	}
}

func TestSyncGoesOnAfterARecordThatCannotBeRead(t *testing.T) {
	for _, odd := range []struct {
		key    string
		value  any
		reason string
	}{
		{"id", 17, "id: expected text"},
		{"id", nil, "source_event_id is empty"},
		{"type", nil, "type is empty"},
		{"actor", "octocat", "actor: expected an object"},
		{"time", 1772356297000, "time: expected text"},
		{"time", "yesterday", "time is not a time"},
	} {
		events := logins(3)
		events[1].(map[string]any)[odd.key] = odd.value
		result, err := harness(t, &fakeService{events: events}, madeUpKey).Sync(nil)
		if err != nil || !slices.Equal(ids(result.Events), []string{"e0", "e2"}) {
			t.Errorf("%v: got %v, %v", odd, ids(result.Events), err)
		}
		if len(result.DeadLetters) != 1 ||
			!strings.Contains(result.DeadLetters[0].Reason, odd.reason) {
			t.Errorf("%v: got %+v", odd, result.DeadLetters)
		}
	}
}
