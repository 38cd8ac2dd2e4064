package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	aperio "{{ cookiecutter.sdk_module }}"
	"{{ cookiecutter.sdk_module }}/plugintest"
	"{{ cookiecutter.sdk_module }}/remediation"
)

// One line per scenario, against a fake of the service on this machine; no host, no network.

const madeUpKey = "made-up-key"

// fakeService knows the user u1, and an answer that it gives once before anything else.
type fakeService struct {
	suspended       bool
	deaf            bool
	answerToPost    http.HandlerFunc
	idempotencyKeys []string
	first           http.HandlerFunc
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
	user, step, _ := strings.Cut(strings.TrimPrefix(request.URL.EscapedPath(), "/v1/users/"), "/")
	if user != "u1" {
		reply.WriteHeader(http.StatusNotFound)
		return
	}
	if request.Method == http.MethodPost {
		f.idempotencyKeys = append(f.idempotencyKeys, request.Header.Get("Idempotency-Key"))
		if !f.deaf {
			f.suspended = step == "suspend"
		}
		if f.answerToPost != nil {
			f.answerToPost(reply, request)
			return
		}
	}
	_ = json.NewEncoder(reply).Encode(map[string]any{"id": user, "suspended": f.suspended})
}

// busy answers that there were too many requests.
func busy(retryAfter string) http.HandlerFunc {
	return func(reply http.ResponseWriter, _ *http.Request) {
		reply.Header().Set("Retry-After", retryAfter)
		reply.WriteHeader(http.StatusTooManyRequests)
	}
}

func failing(reply http.ResponseWriter, _ *http.Request) {
	reply.WriteHeader(http.StatusBadGateway)
}

func nonsense(reply http.ResponseWriter, _ *http.Request) {
	_, _ = reply.Write([]byte(`{"id": "u1"}`))
}

// execute suspends u1 unless change says otherwise.
func execute(
	t *testing.T, service http.Handler, change func(*remediation.ExecuteRequest),
) (*remediation.Result, error) {
	t.Helper()
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	config := map[string]any{"base_url": server.URL, "api_key": madeUpKey}
	request := remediation.ExecuteRequest{Action: suspend, Target: "u1", IdempotencyKey: "i1"}
	if change != nil {
		change(&request)
	}
	plugin := &{{ cookiecutter.class_name }}{}
	return plugintest.New(t, plugin, plugintest.Options{Config: config}).Execute(request)
}

func TestExecute(t *testing.T) {
	resumed := func(request *remediation.ExecuteRequest) { request.Action = resume }
	dry := func(request *remediation.ExecuteRequest) { request.DryRun = true }
	tests := map[string]struct {
		service   *fakeService
		change    func(*remediation.ExecuteRequest)
		outcome   remediation.Outcome
		suspended bool
		calls     int
	}{
		"suspends": {
			service: &fakeService{}, outcome: remediation.OutcomeChanged,
			suspended: true, calls: 1,
		},
		"resumes": {
			service: &fakeService{suspended: true}, change: resumed,
			outcome: remediation.OutcomeChanged, calls: 1,
		},
		"leaves alone who is as wanted": {
			service: &fakeService{suspended: true}, outcome: remediation.OutcomeUnchanged,
			suspended: true,
		},
		"changes nothing in a dry run": {
			service: &fakeService{}, change: dry, outcome: remediation.OutcomeWouldChange,
		},
		"fails when the service changed nothing": {
			service: &fakeService{deaf: true}, outcome: remediation.OutcomeFailed, calls: 1,
		},
		"does not know when the service failed": {
			service: &fakeService{answerToPost: failing}, outcome: remediation.OutcomeUnknown,
			suspended: true, calls: 1,
		},
		"does not know when the service answers nonsense": {
			service: &fakeService{answerToPost: nonsense}, outcome: remediation.OutcomeUnknown,
			suspended: true, calls: 1,
		},
		"waits when the service asks for it": {
			service: &fakeService{first: busy("0")}, outcome: remediation.OutcomeChanged,
			suspended: true, calls: 1,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			result, err := execute(t, test.service, test.change)
			if err != nil {
				t.Fatal(err)
			}
			if result.Outcome != test.outcome {
				t.Errorf("got the outcome %v, want %v", result.Outcome, test.outcome)
			}
			if test.service.suspended != test.suspended {
				t.Errorf("suspended is %v, want %v", test.service.suspended, test.suspended)
			}
			if calls := len(test.service.idempotencyKeys); calls != test.calls {
				t.Errorf("the service was asked %d times to act, want %d", calls, test.calls)
			}
		})
	}
}

func TestExecuteSaysWhatChanged(t *testing.T) {
	result, err := execute(t, &fakeService{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []remediation.Change{{'{{'}}
		Attribute: aperio.Path{aperio.Key("suspended")}, Before: false, After: true,
	{{'}}'}}
	if !reflect.DeepEqual(result.Changes, want) {
		t.Errorf("got %+v, want %+v", result.Changes, want)
	}
}

func TestExecuteHandsTheKeyOfTheIntentOn(t *testing.T) {
	service := &fakeService{}
	if _, err := execute(t, service, nil); err != nil {
		t.Fatal(err)
	}
	if keys := service.idempotencyKeys; len(keys) != 1 || keys[0] != "i1" {
		t.Errorf("got %v", keys)
	}
}

func TestExecuteFails(t *testing.T) {
	target := func(name string) func(*remediation.ExecuteRequest) {
		return func(request *remediation.ExecuteRequest) { request.Target = name }
	}
	tests := map[string]struct {
		service *fakeService
		change  func(*remediation.ExecuteRequest)
		cause   aperio.Cause
	}{
		"on an unknown user":           {&fakeService{}, target("u2"), aperio.InvalidArgument},
		"on a target that is a path":   {&fakeService{}, target("../u1"), aperio.InvalidArgument},
		"on a target that is no name":  {&fakeService{}, target("?"), aperio.InvalidArgument},
		"when asked for a longer wait": {&fakeService{first: busy("600")}, nil, aperio.RateLimited},
		"on a redirect": {
			&fakeService{first: http.RedirectHandler("/", http.StatusFound).ServeHTTP},
			nil, aperio.Unavailable,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := execute(t, test.service, test.change)
			if !errors.Is(err, test.cause) {
				t.Errorf("got the error %v, want %v", err, test.cause)
			}
			var told *aperio.Error
			if errors.Is(err, aperio.RateLimited) && errors.As(err, &told) &&
				told.RetryAfter != 10*time.Minute {
				t.Errorf("got the wait %v", told.RetryAfter)
			}
			if test.service.suspended {
				t.Error("the user was suspended")
			}
		})
	}
}
