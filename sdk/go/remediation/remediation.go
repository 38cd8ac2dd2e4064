// Package remediation is for plugins that write back into a SaaS product, after approval.
package remediation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/internal/serve"
)

// Remediation is what a plugin's author writes. Methods run in goroutines of their own, several at
// once for different calls.
type Remediation interface {
	// Capabilities declares what the remediation needs and can do, without the network.
	Capabilities() Capabilities
	// Execute performs one action. The SDK answers a repeat of an idempotency key from memory as
	// long as the process lives (the latest 10,000 keys); across restarts the plugin must look
	// before it acts, or pass the key on to the service. An *aperio.Error says why nothing was
	// done; such a call may be repeated. One with the cause ResultUnknown says that something was
	// sent, and becomes OutcomeUnknown. The SDK calls it when the operator allows writing, the scopes
	// that the action needs are granted and an approval fits, or for a dry run.
	Execute(ctx context.Context, request *ExecuteRequest) (*Result, error)
}

// Action is one thing that the remediation can do.
type Action struct {
	// Key is such as `okta.suspend_user`.
	Key string
	// Label is what a button says.
	Label string
	// TargetTypes are the kinds of thing that a target may name, such as `user`; at least one, of at
	// most 120 bytes each.
	TargetTypes []string
	// Description says what it does.
	Description string
	// SeverityHint says how grave its effect is.
	SeverityHint aperio.SeverityHint
	// Parameters are what it takes beside the target.
	Parameters []aperio.Field
	// Reversible: another action can undo it.
	Reversible bool
	// SupportsDryRun: ExecuteRequest.DryRun is understood; else the SDK refuses it.
	SupportsDryRun bool
	// Scopes are what the service must have granted for it, of the manifest's scopes; else the SDK
	// refuses it.
	Scopes []string
	// ResponseKind is what the product calls it; 0: it has no word for it.
	ResponseKind ResponseKind
	// RequiredContext are the keys that ExecuteRequest.Context must have; else the SDK refuses it.
	RequiredContext []string
	// ReverseAction is the key of the action that undoes it, where there is one.
	ReverseAction string
	// Rollback says in one line how a person undoes it, or that nobody can.
	Rollback string
	// ApprovalOptional: nobody has to approve it. Else the SDK refuses a call that no approval of
	// this very action, target and parameters came with.
	ApprovalOptional bool
}

// ResponseKind is what the product calls an action.
type ResponseKind int

// The product's own list.
const (
	RevokeOAuthGrant ResponseKind = iota + 1
	SuspendUser
	ResetMFA
	RevokeSession
	RemoveExternalShare
	DisableForwarding
	RemoveAdminRole
	QuarantineApp
	OpenTicket
	NotifySecOps
)

// Capabilities is what a remediation needs and can do; the same for the same build.
type Capabilities struct {
	// Provider is the upper-case name of the service, such as `OKTA`; equals the manifest's.
	Provider string
	// Name is what people call the service.
	Name string
	// Actions are what it can do.
	Actions []Action
	// Fields are the settings.
	Fields []aperio.Field
	// Auth says how the service authenticates its callers; nil: it does not.
	Auth aperio.Auth
	// Description is one paragraph.
	Description string
	// DocsURL is where an operator reads on.
	DocsURL string
}

// ExecuteRequest is one action to perform.
type ExecuteRequest struct {
	// Invocation is the call.
	*aperio.Invocation
	// Action is the key of one of the declared actions.
	Action string
	// Target is the id of the target in the service.
	Target string
	// IdempotencyKey is unique for the intent, 1 to 256 bytes; for services that take one.
	IdempotencyKey string
	// Parameters are the action's, as encoding/json decodes them.
	Parameters map[string]any
	// DryRun: say what would change; change nothing.
	DryRun bool
	// TargetType is one of the action's.
	TargetType string
	// Context has the facts of the finding that the action asks for in RequiredContext.
	Context map[string]any
	// Approval says who allowed it; nil for a dry run, and where the action needs none.
	Approval *Approval
	// IsAfterUnknown: an earlier call with this key ended in OutcomeUnknown, or was made of another
	// process: look before acting.
	IsAfterUnknown bool
}

// Approval is who allowed an action: a person's word for it, on one target, with one set of
// parameters.
type Approval struct {
	// Reference is the product's id of the approved response, 1 to 256 bytes; for logs.
	Reference string
	// SHA256 is of action, target and parameters, see ApprovalSHA256.
	SHA256 string
}

// ApprovalSHA256 gives what an approval is bound to, in lower-case hex. The parameters are as they
// are sent. The format is that of Approval.sha256 in proto/aperio/plugin/v1/remediation.proto.
func ApprovalSHA256(action, target string, parametersJSON []byte) string {
	digest := sha256.New()
	for _, part := range [][]byte{[]byte(action), []byte(target), parametersJSON} {
		fmt.Fprintf(digest, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(digest.Sum(nil))
}

// Change is one change, made or proposed.
type Change struct {
	// Attribute is what changes.
	Attribute aperio.Path
	// Before is a JSON value; nil: unknown. No secrets.
	Before any
	// After is a JSON value; nil: unknown. No secrets.
	After any
}

// Outcome says how an action ended.
type Outcome int

// The outcomes.
const (
	// OutcomeChanged: done now.
	OutcomeChanged Outcome = iota + 1
	// OutcomeUnchanged: the target already was as wanted.
	OutcomeUnchanged
	// OutcomeWouldChange: a dry run found something to do.
	OutcomeWouldChange
	// OutcomeFailed: not done, and nothing was changed.
	OutcomeFailed
	// OutcomeUnknown: sent, and what came of it is not known. It is never reported as failed, and
	// never repeated blindly.
	OutcomeUnknown
)

// Result is what Execute answers; made by Changed, Failed and their like.
type Result struct {
	// Outcome says how it ended.
	Outcome Outcome
	// Changes are made or proposed.
	Changes []Change
	// Diagnostics say what is wrong, or what to know.
	Diagnostics []aperio.Diagnostic
	// ProviderRequestID is the service's own id of the request, for its support; at most 256 bytes,
	// what is longer is cut.
	ProviderRequestID string
}

// Changed gives the result of an action that was done now.
func Changed(changes ...Change) *Result {
	return &Result{Outcome: OutcomeChanged, Changes: changes}
}

// Unchanged gives the result of an action whose target already was as wanted.
func Unchanged() *Result { return &Result{Outcome: OutcomeUnchanged} }

// WouldChange gives the result of a dry run that found something to do.
func WouldChange(changes ...Change) *Result {
	return &Result{Outcome: OutcomeWouldChange, Changes: changes}
}

// Failed gives the result of an action that was not done and changed nothing.
func Failed(reason aperio.Diagnostic) *Result {
	return &Result{Outcome: OutcomeFailed, Diagnostics: []aperio.Diagnostic{reason}}
}

// Unknown gives the result of an action that was sent, and whose result is not known.
func Unknown(reason aperio.Diagnostic) *Result {
	return &Result{Outcome: OutcomeUnknown, Diagnostics: []aperio.Diagnostic{reason}}
}

// Serve serves the remediation until the host says stop, or is gone. It returns then, so that main
// can clean up; the process ends 1.5 s after the stop at the latest. When no go-plugin host started
// the process, it says so on stderr and ends the process with status 1.
func Serve(plugin Remediation) { serve.Run(NewService(plugin)) }
