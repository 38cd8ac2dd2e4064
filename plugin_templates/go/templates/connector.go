package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	aperio "{{ cookiecutter.sdk_module }}"
	"{{ cookiecutter.sdk_module }}/connector"
	"{{ cookiecutter.sdk_module }}/records"
	"{{ cookiecutter.sdk_module }}/rest"
)

// What is written here fits an API of a common shape. Change paths and names to your service's:
//
//	GET /v1/account                       {"id": "a1", "name": "Acme"}
//	GET /v1/events?after=POSITION&limit=N {"events": [...], "next": "POSITION", "more": true}
const (
	defaultBaseURL = "https://api.example.com"
	pageEvents     = 200
)

var refusals = map[int]string{http.StatusForbidden: "the key may not read the audit log"}

// {{ cookiecutter.class_name }} reads the audit log page by page, oldest event first.
type {{ cookiecutter.class_name }} struct{}

// Schema declares the settings and the events.
func (*{{ cookiecutter.class_name }}) Schema() connector.Schema {
	return connector.Schema{
		Provider:    "{{ cookiecutter.provider }}",
		Name:        "{{ cookiecutter.title }}",
		Description: "Audit events from {{ cookiecutter.title }}",
		Category:    "Productivity",
		DocsURL:     "https://{{ cookiecutter.module }}",
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
	api, err := service(call)
	if err != nil {
		return nil, err
	}
	var account struct{ ID, Name string }
	if err := api.GetInto(ctx, "/v1/account", nil, &account); err != nil {
		return nil, err
	}
	facts := map[string]string{"id": account.ID, "name": account.Name}
	return &connector.TestResult{OK: true, Account: facts}, nil
}

// Sync reads from the position in the cursor until the service has no more.
func (*{{ cookiecutter.class_name }}) Sync(
	request *connector.SyncRequest, stream *connector.Stream,
) error {
	api, err := service(request.Invocation)
	if err != nil {
		return err
	}
	position := string(request.Cursor)
	for {
		page, err := readPage(stream.Context(), api, position)
		if err != nil {
			return err
		}
		// A record that cannot be read is a dead letter: skipped, counted and written down.
		place := fmt.Sprintf("after %q", position)
		if err := stream.SendEach(page.records, place, toEvent); err != nil {
			return err
		}
		if page.more && page.next == position {
			return unavailable("the service says there is more, and not where")
		}
		if page.next != position {
			position = page.next
			// Everything before this point is safe once the host has stored the checkpoint.
			if err := stream.Checkpoint([]byte(position)); err != nil {
				return err
			}
		}
		if !page.more {
			return nil
		}
	}
}

// page is what the service answers to a question for events.
type page struct {
	records []records.Record
	next    string
	more    bool
}

func readPage(ctx context.Context, api *rest.Service, position string) (*page, error) {
	query := url.Values{"after": {position}, "limit": {strconv.Itoa(pageEvents)}}
	reply, err := api.Get(ctx, "/v1/events", query)
	if err != nil {
		return nil, err
	}
	found, err := reply.Page("events")
	if err != nil {
		return nil, err
	}
	var next *string
	if json.Unmarshal(found.Fields["next"], &next) != nil || next == nil {
		return nil, unavailable("the service's reply does not say what comes next")
	}
	more := string(found.Fields["more"]) == "true"
	return &page{records: found.Records, next: *next, more: more}, nil
}

// toEvent turns one record of the service into an event; the record itself goes along as it came.
func toEvent(record records.Record) (connector.Event, error) {
	var fields struct {
		ID    string `json:"id"`
		Type  string `json:"type"`
		Time  string `json:"time"`
		Actor *struct {
			ID    string `json:"id"`
			Email string `json:"email"`
			IP    string `json:"ip"`
		} `json:"actor"`
	}
	if err := record.Decode(&fields); err != nil {
		return connector.Event{}, err
	}
	if fields.Type == "" {
		return connector.Event{}, errors.New("type is empty")
	}
	at, err := aperio.ParseTime(fields.Time, "time")
	event := connector.Event{
		SourceEventID: fields.ID,
		Type:          "{{ cookiecutter.provider.lower() }}." + fields.Type,
		OccurredAt:    at,
		NativeType:    fields.Type,
		Origin:        "audit_log",
		Record:        record.JSON,
	}
	if actor := fields.Actor; actor != nil {
		event.Actor = &connector.Actor{ID: actor.ID, Email: actor.Email, IPAddress: actor.IP}
	}
	return event, err
}

{% include "service.go" %}