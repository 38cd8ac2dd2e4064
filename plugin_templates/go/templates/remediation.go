package main

import (
	"context"
	"net/http"
	"net/url"

	aperio "{{ cookiecutter.sdk_module }}"
	"{{ cookiecutter.sdk_module }}/remediation"
	"{{ cookiecutter.sdk_module }}/rest"
)

// What is written here fits an API of a common shape. Change paths and names to your service's:
//
//	GET  /v1/users/ID           {"id": "u1", "email": "ada@example.com", "suspended": false}
//	POST /v1/users/ID/suspend   the same, suspended; Idempotency-Key makes a repeat harmless
//	POST /v1/users/ID/resume    the same, not suspended
const (
	defaultBaseURL = "https://api.example.com"

	suspend = "{{ cookiecutter.provider.lower() }}.suspend_user"
	resume  = "{{ cookiecutter.provider.lower() }}.resume_user"
)

var refusals = map[int]string{
	http.StatusForbidden: "the key may not change users",
	http.StatusNotFound:  "the service has no such user",
}

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
				Key: suspend, Label: "Suspend user", TargetTypes: []string{"user"},
				Description:  "Ends the user's sessions and refuses new ones.",
				SeverityHint: aperio.HintHigh, ResponseKind: remediation.SuspendUser,
				Reversible: true, ReverseAction: resume, SupportsDryRun: true,
			},
			{
				Key: resume, Label: "Resume user", TargetTypes: []string{"user"},
				Description: "Lets a suspended user log in again.",
				Reversible:  true, ReverseAction: suspend, SupportsDryRun: true,
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
	api, err := service(request.Invocation)
	if err != nil {
		return nil, err
	}
	path := "/v1/users/" + url.PathEscape(request.Target)
	before, err := isSuspended(api.Get(ctx, path, nil))
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
	// The key of the intent goes along, so that a repeat of the request does not act twice.
	key := http.Header{"Idempotency-Key": {request.IdempotencyKey}}
	reply, err := api.Post(ctx, path+"/"+step, nil, key)
	if err != nil {
		return nil, err
	}
	after, err := isSuspended(reply, nil)
	if err != nil { // it was sent, and this says nothing about the user
		return remediation.Unknown(aperio.Diagnostic{Summary: err.Error()}), nil
	}
	if after != wanted {
		const summary = "the service answered, and left the user as it was"
		return remediation.Failed(aperio.Diagnostic{Summary: summary}), nil
	}
	return remediation.Changed(change), nil
}

// isSuspended reads from the service's answer whether the user is suspended.
func isSuspended(reply rest.Reply, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	var user struct {
		Suspended *bool `json:"suspended"`
	}
	if err := reply.Decode(&user); err != nil {
		return false, err
	}
	if user.Suspended == nil {
		return false, unavailable("the service's reply is not a user")
	}
	return *user.Suspended, nil
}

{% include "service.go" %}