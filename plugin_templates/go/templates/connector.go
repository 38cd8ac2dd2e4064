package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	aperio "{{ cookiecutter.sdk_module }}"
	"{{ cookiecutter.sdk_module }}/connector"
)

// What is written here fits an API of a common shape. Change paths and names to your service's:
//
//	GET /v1/account                       {"id": "a1", "name": "Acme"}
//	GET /v1/events?after=POSITION&limit=N {"events": [...], "next": "POSITION", "more": true}
const (
	defaultBaseURL = "https://api.example.com"
	pageEvents     = 200
	maxReplyBytes  = 16 << 20
	requestTimeout = 30 * time.Second
	maxWaits       = 3
	maxWait        = 30 * time.Second
)

// {{ cookiecutter.class_name }} reads the audit log page by page, oldest event first.
type {{ cookiecutter.class_name }} struct{}

// Schema declares the settings and the events.
func (*{{ cookiecutter.class_name }}) Schema() connector.Schema {
	return connector.Schema{
		Provider:    "{{ cookiecutter.provider }}",
		Name:        "{{ cookiecutter.title }}",
		Description: "Audit events from {{ cookiecutter.title }}",
		Category:    "other",
		Auth:        aperio.APIKey{Field: "api_key"},
		Fields: []aperio.Field{
			{
				Key: "base_url", Label: "Address of the API", Type: aperio.URL,
				Default: defaultBaseURL,
			},
			{
				Key: "api_key", Label: "API key", Type: aperio.Password,
				Required: true, Secret: true,
				Helper: "An administrator creates one under Settings, API keys, with read access.",
			},
		},
		EventTypes: []string{
			"{{ cookiecutter.provider.lower() }}.login",
			"{{ cookiecutter.provider.lower() }}.login_failed",
			"{{ cookiecutter.provider.lower() }}.role_changed",
		},
	}
}

// TestConnection reads the account that the key belongs to.
func (*{{ cookiecutter.class_name }}) TestConnection(
	ctx context.Context, call *aperio.Invocation,
) (*connector.TestResult, error) {
	var account struct{ ID, Name string }
	if err := get(ctx, call, "/v1/account", nil, &account); err != nil {
		return nil, err
	}
	facts := map[string]string{"id": account.ID, "name": account.Name}
	return &connector.TestResult{OK: true, Account: facts}, nil
}

// Sync reads from the position in the cursor until the service has no more.
func (*{{ cookiecutter.class_name }}) Sync(
	request *connector.SyncRequest, stream *connector.Stream,
) error {
	position := string(request.Cursor)
	for {
		page, err := readPage(stream.Context(), request.Invocation, position)
		if err != nil {
			return err
		}
		for _, record := range page.Events {
			event, err := toEvent(record)
			if err != nil {
				return err
			}
			if err := stream.Send(event); err != nil {
				return err
			}
		}
		if page.More && *page.Next == position {
			return unavailable("the service says there is more, and not where", nil)
		}
		if *page.Next != position {
			position = *page.Next
			// Everything before this point is safe once the host has stored the checkpoint.
			if err := stream.Checkpoint([]byte(position)); err != nil {
				return err
			}
		}
		if !page.More {
			return nil
		}
	}
}

// page is what the service answers to a question for events.
type page struct {
	Events []json.RawMessage `json:"events"`
	Next   *string           `json:"next"`
	More   bool              `json:"more"`
}

func readPage(ctx context.Context, call *aperio.Invocation, position string) (*page, error) {
	query := url.Values{"after": {position}, "limit": {strconv.Itoa(pageEvents)}}
	var found page
	if err := get(ctx, call, "/v1/events", query, &found); err != nil {
		return nil, err
	}
	if found.Events == nil || found.Next == nil {
		return nil, unavailable("the service's reply is not a page of events", nil)
	}
	return &found, nil
}

// toEvent turns one record of the service into an event; the record itself goes along unchanged.
func toEvent(record json.RawMessage) (connector.Event, error) {
	var fields struct {
		ID    string    `json:"id"`
		Type  string    `json:"type"`
		Time  time.Time `json:"time"`
		Actor *struct {
			ID    string `json:"id"`
			Email string `json:"email"`
			IP    string `json:"ip"`
		} `json:"actor"`
	}
	err := json.Unmarshal(record, &fields)
	if err != nil || fields.ID == "" || fields.Type == "" || fields.Time.IsZero() {
		const summary = "an event lacks what every event has: id, type and time"
		return connector.Event{}, &aperio.Error{
			Cause: aperio.InvalidRecord, Summary: summary, Err: err,
		}
	}
	event := connector.Event{
		SourceEventID: fields.ID,
		Type:          "{{ cookiecutter.provider.lower() }}." + fields.Type,
		OccurredAt:    fields.Time,
		Source:        "audit_log",
		Record:        record,
	}
	if actor := fields.Actor; actor != nil {
		event.Actor = &connector.Actor{ID: actor.ID, Email: actor.Email, IPAddress: actor.IP}
	}
	return event, nil
}

// get decodes the JSON object at a path, waiting when the service asks for it.
func get(
	ctx context.Context, call *aperio.Invocation, path string, query url.Values, into any,
) error {
	for range maxWaits {
		wait, err := getOnce(ctx, call, path+"?"+query.Encode(), into)
		if err != nil || wait == 0 {
			return err
		}
		if err := aperio.Sleep(ctx, wait); err != nil {
			return err
		}
	}
	return &aperio.Error{
		Cause: aperio.RateLimited, Summary: "the service keeps asking to be called less often",
	}
}

// getOnce decodes the answer, or gives how long to wait before trying again.
func getOnce(
	ctx context.Context, call *aperio.Invocation, path string, into any,
) (time.Duration, error) {
	base, err := baseURL(call)
	if err != nil {
		return 0, err
	}
	key, err := call.Config.Text("api_key")
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return 0, fmt.Errorf("make a request: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+key)
	reply, err := client.Do(request)
	if err != nil {
		return 0, unavailable("the service cannot be reached", err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return toWait(reply)
	}
	return 0, decode(reply.Body, into)
}

// toWait gives how long to wait before trying again, or the error that the status means.
func toWait(reply *http.Response) (time.Duration, error) {
	switch reply.StatusCode {
	case http.StatusUnauthorized:
		return 0, &aperio.Error{
			Cause: aperio.Unauthenticated, Summary: "the service does not accept the key",
		}
	case http.StatusForbidden:
		return 0, &aperio.Error{
			Cause: aperio.PermissionDenied, Summary: "the key may not read the audit log",
		}
	case http.StatusTooManyRequests:
	default:
		return 0, unavailable("the service answered "+reply.Status, nil)
	}
	wait := time.Second
	if seconds, err := strconv.Atoi(reply.Header.Get("Retry-After")); err == nil && seconds >= 0 {
		wait = max(time.Duration(seconds)*time.Second, time.Millisecond)
	}
	if wait > maxWait {
		// Longer than is good to sit in a call: the host comes back at that time.
		return 0, &aperio.Error{
			Cause: aperio.RateLimited, Summary: "the service asks to wait", RetryAfter: wait,
		}
	}
	return wait, nil
}

{% include "service.go" %}