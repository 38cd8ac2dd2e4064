package aperio

import (
	"context"
	"time"
)

// Cause says why a call failed, in the terms that a host understands. It is the stable kebab-case
// code of the error's diagnostic, and an error itself, so that
//
//	errors.Is(err, aperio.RateLimited)
//
// tells whether an *Error has this cause.
type Cause string

// The causes. Each has its gRPC status code, given in parentheses.
const (
	// Unauthenticated: the service does not, or no longer, accept the token or key. In mid-sync the
	// host obtains another token and goes on from the last checkpoint. (UNAUTHENTICATED)
	Unauthenticated Cause = "unauthenticated"
	// PermissionDenied: the service knows the caller and does not let it do this, for want of a
	// scope, say. (PERMISSION_DENIED)
	PermissionDenied Cause = "permission-denied"
	// RateLimited: the service asks to be called less often; Error.RetryAfter says how long to
	// wait. (RESOURCE_EXHAUSTED)
	RateLimited Cause = "rate-limited"
	// Unavailable: the service does not answer, or not usefully; trying later may help.
	// (UNAVAILABLE)
	Unavailable Cause = "service-unavailable"
	// ResultUnknown: a request that changes something was sent, and what came of it is not known.
	// In a remediation's Execute it becomes OutcomeUnknown; where a repeat is harmless it is as
	// Unavailable. (UNAVAILABLE)
	ResultUnknown Cause = "result-unknown"
	// InvalidConfig: a setting is missing, malformed or refused by the service; Error.Attribute
	// says which. (INVALID_ARGUMENT)
	InvalidConfig Cause = "config-invalid"
	// InvalidArgument: a parameter of this call is not acceptable. (INVALID_ARGUMENT)
	InvalidArgument Cause = "argument-invalid"
	// InvalidCursor: the cursor is not this plugin's, or the service forgot it: only a full sync
	// can go on. (OUT_OF_RANGE)
	InvalidCursor Cause = "cursor-invalid"
	// InvalidRecord: a record of the service, or an event made of one, cannot be passed on.
	// (INTERNAL)
	InvalidRecord Cause = "record-invalid"
	// Unsupported: the plugin does not do what was asked. (UNIMPLEMENTED)
	Unsupported Cause = "unsupported"
	// Cancelled: the host ended the call, or its deadline passed. (CANCELLED)
	Cancelled Cause = "cancelled"
	// StateUnavailable: the host offers no key-value store, or does not answer; see `state` in the
	// manifest. (FAILED_PRECONDITION)
	StateUnavailable Cause = "state-unavailable"
	// StateConflict: the stored revision is not the expected one: somebody else has written
	// meanwhile. (ABORTED)
	StateConflict Cause = "state-conflict"
	// Failed: the plugin failed in a way that it did not foresee. Every error that is no *Error,
	// and every panic, counts as this. (INTERNAL)
	Failed Cause = "plugin-failed"
)

// Error gives the code.
func (c Cause) Error() string { return string(c) }

// Error is what a plugin returns on purpose. The SDK turns it into the gRPC status of its cause,
// with structured diagnostics. Any other error that a plugin returns is a bug: the host sees
// INTERNAL, and the log gets its text.
type Error struct {
	// Cause selects the status; Failed when empty.
	Cause Cause
	// Summary says in one line what is wrong. No secrets.
	Summary string
	// Detail says what to do about it, and gives evidence; it may have several lines. No secrets.
	Detail string
	// Attribute is the part of the configuration or of a record that it is about.
	Attribute Path
	// RetryAfter: the service asks not to be called again before; 0: it does not say.
	RetryAfter time.Duration
	// HTTPStatus is what the service answered with, where package rest gives the error; 0: it did
	// not answer, or asks to wait. The host is not told.
	HTTPStatus int
	// Err is what led to it, for errors.Is and errors.As; the host is not told.
	Err error
}

// Error gives the summary.
func (e *Error) Error() string { return e.Summary }

// Unwrap gives what led to it.
func (e *Error) Unwrap() error { return e.Err }

// Is tells whether target is the error's cause; ResultUnknown is Unavailable, too.
func (e *Error) Is(target error) bool {
	code := e.code()
	return target == error(code) || code == ResultUnknown && target == error(Unavailable)
}

// Diagnostic gives the error as data.
func (e *Error) Diagnostic() Diagnostic {
	return Diagnostic{
		Summary: e.Summary, Detail: e.Detail, Code: string(e.code()), Attribute: e.Attribute,
	}
}

func (e *Error) code() Cause {
	if e.Cause == "" {
		return Failed
	}
	return e.Cause
}

// Path is a place inside a JSON value, outermost step first. Empty, it is the whole value.
type Path []Step

// Step is a Key or an Index.
type Step interface{ isStep() }

// Key is a step to a key of an object.
type Key string

// Index is a step to an element of an array, from 0.
type Index int

func (Key) isStep()   {}
func (Index) isStep() {}

// Severity says how much a diagnostic matters.
type Severity int

const (
	// SeverityError: something was not done.
	SeverityError Severity = iota
	// SeverityWarning: a person should know.
	SeverityWarning
)

// Diagnostic is one thing that is wrong, or that a person should know, told as data.
type Diagnostic struct {
	// Summary is one line. No secrets.
	Summary string
	// Detail says what to do about it, and gives evidence; it may have several lines. No secrets.
	Detail string
	// Code is the stable kebab-case name of the cause, for programs.
	Code string
	// Attribute is what it is about; empty: the whole.
	Attribute Path
	// Severity is an error unless said otherwise.
	Severity Severity
}

// Sleep waits, but no longer than the call lasts. It returns an *Error with the cause Cancelled
// when the call ended meanwhile, or had ended before.
func Sleep(ctx context.Context, duration time.Duration) error {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	if ctx.Err() == nil {
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
		}
	}
	const summary = "the call ended while the plugin was waiting"
	return &Error{Cause: Cancelled, Summary: summary, Err: ctx.Err()}
}
