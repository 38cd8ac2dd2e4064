package main

import (
	"bytes"
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
	"{{ cookiecutter.sdk_module }}/destination"
)

// What is written here fits an intake of a common shape. Change path and names to your service's:
//
//	POST /v1/intake   a JSON array of envelopes; answers {"rejected": [{"id": "…", "reason": "…"}]}
const (
	defaultBaseURL    = "https://intake.example.com"
	maxBatchEnvelopes = 200
	maxReplyBytes     = 1 << 20
	requestTimeout    = 30 * time.Second
	defaultWait       = 5 * time.Second
)

// {{ cookiecutter.class_name }} posts batches of envelopes. The service drops a repeat of an id
// that it has.
type {{ cookiecutter.class_name }} struct{}

// Capabilities declares the settings and the streams.
func (*{{ cookiecutter.class_name }}) Capabilities() destination.Capabilities {
	return destination.Capabilities{
		Provider:          "{{ cookiecutter.provider }}",
		Name:              "{{ cookiecutter.title }}",
		Description:       "Hands findings and events to {{ cookiecutter.title }}",
		Category:          "siem",
		Streams:           []destination.Stream{destination.Finding, destination.Event},
		MaxBatchEnvelopes: maxBatchEnvelopes,
		Auth:              aperio.APIKey{Field: "api_key"},
		Fields: []aperio.Field{
			{
				Key: "base_url", Label: "Address of the intake", Type: aperio.URL,
				Default: defaultBaseURL,
			},
			{
				Key: "api_key", Label: "API key", Type: aperio.Password,
				Required: true, Secret: true,
				Helper: "An administrator creates one under Settings, Intake keys.",
			},
		},
	}
}

// Deliver posts the envelopes as they are, and answers for each one.
func (*{{ cookiecutter.class_name }}) Deliver(
	ctx context.Context, request *destination.DeliverRequest,
) ([]destination.Result, error) {
	reasons, err := post(ctx, request)
	var limited *aperio.Error
	isLimited := errors.As(err, &limited) && errors.Is(err, aperio.RateLimited)
	if err != nil && !isLimited {
		return nil, err
	}
	results := make([]destination.Result, 0, len(request.Envelopes))
	for _, envelope := range request.Envelopes {
		reason, refused := reasons[envelope.ID]
		switch {
		case isLimited:
			why := aperio.Diagnostic{Summary: limited.Summary}
			results = append(results, destination.Retry(envelope, why, limited.RetryAfter))
		case refused:
			why := aperio.Diagnostic{Summary: reason}
			results = append(results, destination.Rejected(envelope, why))
		default:
			results = append(results, destination.Accepted(envelope))
		}
	}
	return results, nil
}

// post gives which envelopes the service will never take, and why, by their ids.
func post(ctx context.Context, request *destination.DeliverRequest) (map[string]string, error) {
	envelopes := make([][]byte, len(request.Envelopes))
	for index, envelope := range request.Envelopes {
		envelopes[index] = envelope.JSON
	}
	body := "[" + string(bytes.Join(envelopes, []byte(","))) + "]"
	var answer struct {
		Rejected *[]struct {
			ID     string `json:"id"`
			Reason string `json:"reason"`
		} `json:"rejected"`
	}
	if err := call(ctx, request.Invocation, body, &answer); err != nil {
		return nil, err
	}
	if answer.Rejected == nil {
		return nil, unavailable("the service's reply does not say what it took", nil)
	}
	reasons := make(map[string]string, len(*answer.Rejected))
	for _, refused := range *answer.Rejected {
		reasons[refused.ID] = refused.Reason
	}
	return reasons, nil
}

// call decodes the JSON object that the service answers.
func call(ctx context.Context, invocation *aperio.Invocation, body string, into any) error {
	base, err := baseURL(invocation)
	if err != nil {
		return err
	}
	key, err := invocation.Config.Text("api_key")
	if err != nil {
		return err
	}
	question, err := http.NewRequestWithContext(
		ctx, http.MethodPost, base+"/v1/intake", strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("make a request: %w", err)
	}
	question.Header.Set("Authorization", "Bearer "+key)
	question.Header.Set("Content-Type", "application/json")
	reply, err := client.Do(question)
	if err != nil {
		return unavailable("the service cannot be reached", err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return meaning(reply)
	}
	return decode(reply.Body, into)
}

// meaning gives the error that a status means.
func meaning(reply *http.Response) error {
	switch reply.StatusCode {
	case http.StatusUnauthorized:
		return &aperio.Error{
			Cause: aperio.Unauthenticated, Summary: "the service does not accept the key",
		}
	case http.StatusForbidden:
		return &aperio.Error{
			Cause: aperio.PermissionDenied, Summary: "the key may not write to the intake",
		}
	case http.StatusTooManyRequests:
		wait := defaultWait
		if seconds, err := strconv.Atoi(reply.Header.Get("Retry-After")); err == nil {
			wait = time.Duration(max(seconds, 0)) * time.Second
		}
		return &aperio.Error{
			Cause: aperio.RateLimited, Summary: "the service asks to wait", RetryAfter: wait,
		}
	default:
		return unavailable("the service answered "+reply.Status, nil)
	}
}

{% include "service.go" %}