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
	"{{ cookiecutter.sdk_module }}/remediation"
)

// What is written here fits an API of a common shape. Change paths and names to your service's:
//
//	GET  /v1/users/ID           {"id": "u1", "email": "ada@example.com", "suspended": false}
//	POST /v1/users/ID/suspend   the same, suspended; Idempotency-Key makes a repeat harmless
//	POST /v1/users/ID/resume    the same, not suspended
const (
	defaultBaseURL = "https://api.example.com"
	maxReplyBytes  = 1 << 20
	requestTimeout = 30 * time.Second
	maxWaits       = 3
	maxWait        = 30 * time.Second

	suspend = "{{ cookiecutter.provider.lower() }}.suspend_user"
	resume  = "{{ cookiecutter.provider.lower() }}.resume_user"
)

// {{ cookiecutter.class_name }} suspends and resumes users.
type {{ cookiecutter.class_name }} struct{}

// Capabilities declares the settings and the actions.
func (*{{ cookiecutter.class_name }}) Capabilities() remediation.Capabilities {
	return remediation.Capabilities{
		Provider:    "{{ cookiecutter.provider }}",
		Name:        "{{ cookiecutter.title }}",
		Description: "Suspends and resumes users of {{ cookiecutter.title }}",
		Auth:        aperio.APIKey{Field: "api_key"},
		Fields: []aperio.Field{
			{
				Key: "base_url", Label: "Address of the API", Type: aperio.URL,
				Default: defaultBaseURL,
			},
			{
				Key: "api_key", Label: "API key", Type: aperio.Password,
				Required: true, Secret: true,
				Helper: "An administrator creates one under Settings, API keys, with write access.",
			},
		},
		Actions: []remediation.Action{
			{
				Key: suspend, Label: "Suspend user", TargetType: "user",
				Description:  "Ends the user's sessions and refuses new ones.",
				SeverityHint: aperio.HintHigh, Reversible: true, SupportsDryRun: true,
			},
			{
				Key: resume, Label: "Resume user", TargetType: "user",
				Description: "Lets a suspended user log in again.",
				Reversible:  true, SupportsDryRun: true,
			},
		},
	}
}

// Execute looks before it acts: what is already as wanted is left alone, even after a restart.
func (*{{ cookiecutter.class_name }}) Execute(
	ctx context.Context, request *remediation.ExecuteRequest,
) (*remediation.Result, error) {
	wanted, step := request.Action == suspend, "resume"
	if wanted {
		step = "suspend"
	}
	path := "/v1/users/" + url.PathEscape(request.Target)
	before, err := isSuspended(ctx, request, http.MethodGet, path)
	if err != nil {
		return nil, err
	}
	if before == wanted {
		return remediation.Unchanged(), nil
	}
	change := remediation.Change{
		Attribute: aperio.Path{aperio.Key("suspended")}, Before: before, After: wanted,
	}
	if request.DryRun {
		return remediation.WouldChange(change), nil
	}
	after, err := isSuspended(ctx, request, http.MethodPost, path+"/"+step)
	if err != nil {
		return nil, err
	}
	if after != wanted {
		const summary = "the service answered, and left the user as it was"
		return remediation.Failed(aperio.Diagnostic{Summary: summary}), nil
	}
	return remediation.Changed(change), nil
}

// isSuspended reads from the service's answer whether the user is suspended.
func isSuspended(
	ctx context.Context, request *remediation.ExecuteRequest, method, path string,
) (bool, error) {
	var user struct {
		Suspended *bool `json:"suspended"`
	}
	if err := call(ctx, request, method, path, &user); err != nil {
		return false, err
	}
	if user.Suspended == nil {
		return false, unavailable("the service's reply is not a user", nil)
	}
	return *user.Suspended, nil
}

// call decodes the JSON object that the service answers, waiting when it asks for it. The key of
// the intent goes along, so that a repeat of the request does not act twice.
func call(
	ctx context.Context, request *remediation.ExecuteRequest, method, path string, into any,
) error {
	for range maxWaits {
		wait, err := callOnce(ctx, request, method, path, into)
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

// callOnce decodes the answer, or gives how long to wait before trying again.
func callOnce(
	ctx context.Context, request *remediation.ExecuteRequest, method, path string, into any,
) (time.Duration, error) {
	base, err := baseURL(request.Invocation)
	if err != nil {
		return 0, err
	}
	key, err := request.Config.Text("api_key")
	if err != nil {
		return 0, err
	}
	question, err := http.NewRequestWithContext(ctx, method, base+path, nil)
	if err != nil {
		return 0, fmt.Errorf("make a request: %w", err)
	}
	question.Header.Set("Authorization", "Bearer "+key)
	if method == http.MethodPost {
		question.Header.Set("Idempotency-Key", request.IdempotencyKey)
	}
	reply, err := client.Do(question)
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
			Cause: aperio.PermissionDenied, Summary: "the key may not change users",
		}
	case http.StatusNotFound:
		return 0, &aperio.Error{
			Cause: aperio.InvalidArgument, Summary: "the service has no such user",
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