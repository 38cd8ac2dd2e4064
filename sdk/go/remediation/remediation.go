// Package remediation is for plugins that write back into a SaaS product, after approval.
package remediation

import (
	"context"

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
	// done; such a call may be repeated.
	Execute(ctx context.Context, request *ExecuteRequest) (*Result, error)
}

// Action is one thing that the remediation can do.
type Action struct {
	// Key is such as `okta.suspend_user`.
	Key string
	// Label is what a button says.
	Label string
	// TargetType is what kind of thing a target names, such as `user`.
	TargetType string
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
	// Scopes are OAuth scopes that it needs.
	Scopes []string
}

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
)

// Result is what Execute answers; made by Changed, Unchanged, WouldChange, Failed.
type Result struct {
	// Outcome says how it ended.
	Outcome Outcome
	// Changes are made or proposed.
	Changes []Change
	// Diagnostics say what is wrong, or what to know.
	Diagnostics []aperio.Diagnostic
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

// Serve serves the remediation until the host says stop, or is gone. It returns then, so that main
// can clean up; the process ends 1.5 s after the stop at the latest. When no go-plugin host started
// the process, it says so on stderr and ends the process with status 1.
func Serve(plugin Remediation) { serve.Run(NewService(plugin)) }
