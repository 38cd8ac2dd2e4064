package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

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
		Description:       "Hands findings, events and audit logs to {{ cookiecutter.title }}",
		Category:          "Generic",
		DocsURL:           "https://{{ cookiecutter.module }}",
		MaxBatchEnvelopes: maxBatchEnvelopes,
		Streams: []destination.Stream{
			destination.Finding, destination.Event, destination.AuditLog,
		},
		Auth: aperio.APIKey{Field: "api_key"},
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
			{
				Key: "signing_secret", Label: "Signing secret", Type: aperio.Password, Secret: true,
				Helper: "With one, each request carries an HMAC-SHA256 of its body.",
			},
			{
				Key: "allow_private", Label: "Allow addresses of private networks",
				Type: aperio.Boolean, Default: false,
				Helper: "For a service that only your own network reaches.",
			},
		},
	}
}

// Deliver posts the envelopes as they are, and answers for each one.
func (*{{ cookiecutter.class_name }}) Deliver(
	ctx context.Context, request *destination.DeliverRequest,
) ([]destination.Result, error) {
	if err := requirePublic(request.Config); err != nil {
		return nil, err
	}
	api, err := service(request.Invocation)
	if err != nil {
		return nil, err
	}
	secret, err := request.Config.TextOr("signing_secret", "")
	if err != nil {
		return nil, err
	}
	send := func(envelopes []destination.Envelope) ([]destination.Result, error) {
		reasons, err := post(ctx, api, secret, envelopes)
		if err != nil {
			return nil, err
		}
		results := make([]destination.Result, len(envelopes))
		for index, envelope := range envelopes {
			if reason, refused := reasons[envelope.ID]; refused {
				results[index] = destination.Rejected(envelope, aperio.Diagnostic{Summary: reason})
			} else {
				results[index] = destination.Accepted(envelope)
			}
		}
		return results, nil
	}
	// What the service answers to a request becomes the result of each envelope in it.
	return destination.HandOver(request.Envelopes, send)
}

// requirePublic refuses private networks, unless the operator allows them. Plain http may lead to
// this machine only, for a stub of the service.
func requirePublic(config aperio.Config) error {
	address, err := config.TextOr("base_url", defaultBaseURL)
	if err != nil {
		return err
	}
	isAllowed, err := config.FlagOr("allow_private", false)
	if err != nil || isAllowed || strings.HasPrefix(address, "http:") {
		return err
	}
	return rest.RequirePublic(address, "base_url")
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
func post(
	ctx context.Context, api *rest.Service, secret string, envelopes []destination.Envelope,
) (map[string]string, error) {
	body, err := bodyOf(envelopes)
	if err != nil {
		return nil, err
	}
	header := contentType.Clone()
	if secret != "" {
		header.Set(destination.SignatureHeader, destination.SignHMAC(body, secret))
	}
	// The host waits, envelope by envelope, when the service asks for it.
	reply, err := api.PostOnce(ctx, "/v1/intake", body, header)
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
		isSent := func(envelope destination.Envelope) bool { return envelope.ID == refused.ID }
		if !slices.ContainsFunc(envelopes, isSent) {
			// What it refuses under another name is among those that would count as taken.
			return nil, unavailable("the service's reply refuses what was not sent")
		}
		reasons[refused.ID] = refused.Reason
	}
	return reasons, nil
}

{% include "service.go" %}