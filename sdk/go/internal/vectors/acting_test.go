package vectors_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/destination"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/remediation"
	"github.com/writer/aperio-plugin-go/rest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// acting is a remediation that answers what it is told to.
type acting struct {
	declared remediation.Capabilities
	step     step
	asked    bool

	afterUnknown bool
}

func (a *acting) Capabilities() remediation.Capabilities { return a.declared }

func (a *acting) Execute(
	_ context.Context, request *remediation.ExecuteRequest,
) (*remediation.Result, error) {
	a.asked, a.afterUnknown = true, request.IsAfterUnknown
	if a.step.Raises != nil {
		return nil, a.step.Raises.err()
	}
	return a.step.Answer.result(), nil
}

type answer struct {
	Outcome string
	Changes []struct {
		Attribute []any
		Before    any
		After     any
	}
	Diagnostics []diagnostic

	ProviderRequestID string `json:"provider_request_id"`
}

var outcomes = map[string]remediation.Outcome{
	"changed": remediation.OutcomeChanged, "unchanged": remediation.OutcomeUnchanged,
	"would_change": remediation.OutcomeWouldChange, "failed": remediation.OutcomeFailed,
	"unknown": remediation.OutcomeUnknown,
}

func (a *answer) result() *remediation.Result {
	made := &remediation.Result{
		Outcome: outcomes[a.Outcome], ProviderRequestID: a.ProviderRequestID,
	}
	for _, change := range a.Changes {
		made.Changes = append(made.Changes, remediation.Change{
			Attribute: pathOf(change.Attribute), Before: change.Before, After: change.After,
		})
	}
	for _, d := range a.Diagnostics {
		made.Diagnostics = append(made.Diagnostics, d.diagnostic())
	}
	return made
}

type step struct {
	Request struct {
		Action         string
		Target         string
		IdempotencyKey string          `json:"idempotency_key"`
		Parameters     json.RawMessage `json:"parameters"`
		ParametersRaw  string          `json:"parameters_raw"`
		DryRun         bool            `json:"dry_run"`
		OrganizationID string          `json:"organization_id"`
		IntegrationID  string          `json:"integration_id"`
		TargetType     string          `json:"target_type"`
		Context        json.RawMessage `json:"context"`
		Mode           string          `json:"mode"`
		GrantedScopes  *[]string       `json:"granted_scopes"`
		Reference      string          `json:"reference"`
		AfterUnknown   bool            `json:"after_unknown"`
		Approval       json.RawMessage `json:"approval"`
	}
	Answer *answer
	Raises *pluginError
	Asked  bool
	After  *bool `json:"after_unknown"`
	Expect json.RawMessage
	Error  *wantedError
}

func (s step) message() *pb.ExecuteRequest {
	call := invocation(nil)
	if s.Request.OrganizationID != "" {
		call.OrganizationId = s.Request.OrganizationID
	}
	if s.Request.IntegrationID != "" {
		call.IntegrationId = s.Request.IntegrationID
	}
	call.Mode, call.GrantedScopes = pb.InvocationContext_MODE_REMEDIATION, []string{"users.write"}
	if s.Request.Mode != "" {
		call.Mode = pb.InvocationContext_Mode(pb.InvocationContext_Mode_value[s.Request.Mode])
	}
	if s.Request.GrantedScopes != nil {
		call.GrantedScopes = *s.Request.GrantedScopes
	}
	parameters := []byte(s.Request.Parameters)
	if s.Request.ParametersRaw != "" {
		parameters = []byte(s.Request.ParametersRaw)
	}
	return &pb.ExecuteRequest{
		Context: call, Action: s.Request.Action, Target: s.Request.Target,
		IdempotencyKey: s.Request.IdempotencyKey, ParametersJson: parameters,
		DryRun: s.Request.DryRun, TargetType: s.Request.TargetType, ContextJson: s.Request.Context,
		Approval: s.approval(parameters), AfterUnknown: s.Request.AfterUnknown,
	}
}

// approval gives the one that fits, unless the step has another, or null.
func (s step) approval(parameters []byte) *pb.Approval {
	if s.Request.Approval == nil {
		return &pb.Approval{
			Reference: cmp.Or(s.Request.Reference, "r"),
			Sha256:    remediation.ApprovalSHA256(s.Request.Action, s.Request.Target, parameters),
		}
	}
	var given *pb.Approval
	if err := json.Unmarshal(s.Request.Approval, &given); err != nil {
		panic(err)
	}
	return given
}

func TestAnActionIsExecutedOnce(t *testing.T) {
	type scenario struct {
		Name  string
		Steps []step
	}
	declared := remediation.Capabilities{Provider: "X", Name: "X", Actions: []remediation.Action{
		{
			Key: "x.act", Label: "A", TargetTypes: []string{"t"}, SupportsDryRun: true,
			Scopes: []string{"users.write"},
		},
		{
			Key: "x.blunt", Label: "B", TargetTypes: []string{"user", "group"},
			RequiredContext: []string{"session_id"},
		},
		{Key: "x.free", Label: "C", TargetTypes: []string{"t"}, ApprovalOptional: true},
	}}
	forEach(t, "idempotency.json", func(t *testing.T, c scenario) {
		plugin := &acting{declared: declared}
		connection, _ := served(t, remediation.NewService(plugin))
		client := pb.NewRemediationPluginClient(connection)
		for number, step := range c.Steps {
			plugin.step, plugin.asked = step, false
			var trailer metadata.MD
			got, err := client.Execute(deadline(t), step.message(), grpc.Trailer(&trailer))
			if step.Error != nil {
				step.Error.assert(t, toldBy(t, err, trailer))
			} else {
				must(t, err)
				assertMessage(t, got, step.Expect)
			}
			if plugin.asked != step.Asked {
				t.Errorf("step %d: asked: %v", number, plugin.asked)
			}
			if step.After != nil && plugin.afterUnknown != *step.After {
				t.Errorf("step %d: after unknown: %v", number, plugin.afterUnknown)
			}
		}
	})
}

// delivering is a destination that gives these answers, and fails perhaps.
type delivering struct {
	declared destination.Capabilities
	answers  []destination.Result
	err      error
}

func (d *delivering) Capabilities() destination.Capabilities { return d.declared }

func (d *delivering) Deliver(
	context.Context, *destination.DeliverRequest,
) ([]destination.Result, error) {
	return d.answers, d.err
}

var statuses = map[string]destination.Status{
	"accepted": destination.StatusAccepted, "rejected": destination.StatusRejected,
	"retry": destination.StatusRetry,
}

// verdict is what a destination of a case says of one envelope.
type verdict struct {
	ID, Status, Summary, Detail, Code string
	RetryAfter                        float64 `json:"retry_after_s"`
}

func (v verdict) result() destination.Result {
	result := destination.Result{
		ID: v.ID, Status: statuses[v.Status],
		RetryAfter: time.Duration(v.RetryAfter * float64(time.Second)),
	}
	if v.Summary != "" {
		reason := diagnostic{Summary: v.Summary, Detail: v.Detail, Code: v.Code}.diagnostic()
		result.Diagnostic = &reason
	}
	return result
}

// outbound is what is handed over of a case.
type outbound []struct{ ID, Kind string }

func (o outbound) request() *pb.DeliverRequest {
	request := &pb.DeliverRequest{Context: invocation(nil)}
	for _, envelope := range o {
		request.Envelopes = append(request.Envelopes, &pb.OutboundEnvelope{
			Id: envelope.ID, Kind: envelope.Kind, EnvelopeJson: []byte("{}"),
		})
	}
	return request
}

func TestEveryEnvelopeHasAResult(t *testing.T) {
	type scenario struct {
		Name      string
		Envelopes outbound
		Answers   []verdict
		Raises    *pluginError
		Expect    json.RawMessage
		Error     *wantedError
	}
	forEach(t, "deliveries.json", func(t *testing.T, c scenario) {
		plugin := &delivering{err: c.Raises.err()}
		for _, answer := range c.Answers {
			plugin.answers = append(plugin.answers, answer.result())
		}
		request := c.Envelopes.request()
		connection, _ := served(t, destination.NewService(plugin))
		var trailer metadata.MD
		client := pb.NewDestinationPluginClient(connection)
		got, err := client.Deliver(deadline(t), request, grpc.Trailer(&trailer))
		if c.Error != nil {
			c.Error.assert(t, toldBy(t, err, trailer))
			return
		}
		must(t, err)
		assertMessage(t, got, c.Expect)
	})
}

func TestAnEnvelopeHasOneDeliveryKey(t *testing.T) {
	type scenario struct {
		Name           string
		OrganizationID string `json:"organization_id"`
		DestinationID  string `json:"destination_id"`
		Envelope       string
		Key            string
		Error          bool
	}
	forEach(t, "delivery_keys.json", func(t *testing.T, c scenario) {
		got, err := destination.DeliveryKey(c.OrganizationID, c.DestinationID, []byte(c.Envelope))
		if got != c.Key || (err != nil) != c.Error {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestWhatIsNoUTF8HasNoDeliveryKey(t *testing.T) {
	data := []byte("{\"kind\":\"event\",\"record\":{\"id\":\"\xff\"}}")
	if got, err := destination.DeliveryKey("o", "d", data); err == nil {
		t.Errorf("got %q", got)
	}
}

func TestARequestThatFailedHasAMeaningForItsEnvelope(t *testing.T) {
	type scenario struct {
		Name  string
		Error struct {
			Code, Summary string
			HTTPStatus    int     `json:"http_status"`
			RetryAfter    float64 `json:"retry_after_s"`
		}
		Expect string
	}
	forEach(t, "request_failures.json", func(t *testing.T, c scenario) {
		wait := time.Duration(c.Error.RetryAfter * float64(time.Second))
		failure := &aperio.Error{
			Cause: aperio.Cause(c.Error.Code), Summary: c.Error.Summary,
			HTTPStatus: c.Error.HTTPStatus, RetryAfter: wait,
		}
		got, err := destination.ResultOf(destination.Envelope{ID: "e1"}, failure)
		if c.Expect == "raised" {
			if err != error(failure) {
				t.Errorf("got %+v, %v", got, err)
			}
			return
		}
		code := c.Error.Code
		if c.Expect == "rejected" {
			wait, code = 0, string(aperio.InvalidArgument)
		}
		must(t, err)
		if got.ID != "e1" || got.Status != statuses[c.Expect] || got.RetryAfter != wait ||
			got.Diagnostic.Summary != "said" || got.Diagnostic.Code != code {
			t.Errorf("got %+v, %+v", got, got.Diagnostic)
		}
	})
}

func TestABodyHasOneSignature(t *testing.T) {
	type scenario struct{ Name, Body, Secret, Signature string }
	forEach(t, "signatures.json", func(t *testing.T, c scenario) {
		if got := destination.SignHMAC([]byte(c.Body), c.Secret); got != c.Signature {
			t.Errorf("got %s", got)
		}
	})
}

func TestAnAddressIsOfAPublicHostOrRefused(t *testing.T) {
	type scenario struct {
		Name, Address string
		IsPublic      bool `json:"is_public"`
	}
	forEach(t, "public_addresses.json", func(t *testing.T, c scenario) {
		err := rest.RequirePublic(c.Address, "intake_url")
		if (err == nil) != c.IsPublic || err != nil && !errors.Is(err, aperio.InvalidConfig) {
			t.Errorf("got %v", err)
		}
	})
}
