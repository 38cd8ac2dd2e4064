package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	aperio "{{ cookiecutter.sdk_module }}"
	"{{ cookiecutter.sdk_module }}/destination"
	"{{ cookiecutter.sdk_module }}/rest"
)

// What is written here fits an intake of a common shape. Change path and names to your service's:
//
//	POST /v1/intake   a JSON array of {"id": "…", "envelope": {…}}, where id is the delivery key;
//	                  answers {"rejected": [{"id": "…", "reason": "…"}]}
const (
	defaultBaseURL    = "https://intake.example.com"
	maxBatchEnvelopes = 200
)

var contentType = http.Header{"Content-Type": {"application/json"}}

var refusals = map[int]string{http.StatusForbidden: "the key may not write to the intake"}

// {{ cookiecutter.class_name }} posts batches of envelopes. The service drops a repeat of an id
// that it has.
type {{ cookiecutter.class_name }} struct{}

// Capabilities declares the settings and the streams.
func (*{{ cookiecutter.class_name }}) Capabilities() destination.Capabilities {
	return destination.Capabilities{
		Provider:          "{{ cookiecutter.provider }}",
		Name:              "{{ cookiecutter.title }}",
		Description:       "Hands findings and events to {{ cookiecutter.title }}",
		Category:          "Generic",
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

// bodyOf gives what the service gets: the bytes of each envelope, beside what tells it from a repeat.
func bodyOf(envelopes []destination.Envelope) ([]byte, error) {
	items := make([][]byte, len(envelopes))
	for index, envelope := range envelopes {
		id, err := json.Marshal(envelope.ID)
		if err != nil {
			return nil, err
		}
		items[index] = fmt.Appendf(nil, `{"id":%s,"envelope":%s}`, id, envelope.JSON)
	}
	return fmt.Appendf(nil, "[%s]", bytes.Join(items, []byte(","))), nil
}

// post gives which envelopes the service will never take, and why, by their ids.
func post(ctx context.Context, request *destination.DeliverRequest) (map[string]string, error) {
	body, err := bodyOf(request.Envelopes)
	if err != nil {
		return nil, err
	}
	api, err := service(request.Invocation)
	if err != nil {
		return nil, err
	}
	// The host waits, envelope by envelope, when the service asks for it.
	reply, err := api.PostOnce(ctx, "/v1/intake", body, contentType)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Rejected *[]struct {
			ID     string `json:"id"`
			Reason string `json:"reason"`
		} `json:"rejected"`
	}
	if err := reply.Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Rejected == nil {
		return nil, unavailable("the service's reply does not say what it took")
	}
	reasons := make(map[string]string, len(*answer.Rejected))
	for _, refused := range *answer.Rejected {
		reasons[refused.ID] = refused.Reason
	}
	return reasons, nil
}

{% include "service.go" %}