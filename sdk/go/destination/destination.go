// Package destination is for plugins that push findings and events to a SIEM or a workflow tool.
package destination

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/internal/serve"
)

// Destination is what a plugin's author writes. Methods run in goroutines of their own, several at
// once for different calls.
type Destination interface {
	// Capabilities declares what the destination needs and takes, without the network.
	Capabilities() Capabilities
	// Deliver hands over envelopes and answers for each one. An envelope without an answer is tried
	// again. Answers count beside an error, which is then about the envelopes without one; an
	// *aperio.Error without any answer says why none could be handed over.
	Deliver(ctx context.Context, request *DeliverRequest) ([]Result, error)
}

// CheckpointKeeper is a Destination that can keep the checkpoints of a sync beside what it writes:
// after a crash at any point what was written and the checkpoint agree, and what is brought back from a
// backup goes on from where it was then. Deliver is called where there is no checkpoint.
type CheckpointKeeper interface {
	Destination
	// Position gives where the destination is in a sync; nil: with these settings it keeps no
	// checkpoints. The error says why it could not be found out.
	Position(ctx context.Context, request *PositionRequest) (*Position, error)
	// DeliverAndStore hands over envelopes, of which there may be none, and stores a checkpoint in one
	// transaction: only when every envelope is accepted, and what is stored may be replaced. With an
	// error nothing is stored, or it is not known.
	DeliverAndStore(ctx context.Context, request *StoreRequest) (*Delivered, error)
}

// SyncSource says which sync of a call's organization and integration a checkpoint is of. Each of the
// four tells checkpoints apart.
type SyncSource struct {
	// Connector is who reads; opaque, the same over versions, at most 256 bytes.
	Connector string
	// Choice is of which streams and event types; opaque, at most 256 bytes; empty: of all.
	Choice string
}

// SyncCheckpoint is what is kept of a sync; each replaces the one before it.
type SyncCheckpoint struct {
	// Cursor is opaque, at most 64 KiB.
	Cursor []byte
	// Covered says by the name of a stream until when everything of it was read.
	Covered map[string]time.Time
	// ConnectorVersion is the connector's version that gave it, at most 128 bytes.
	ConnectorVersion string
}

// PositionRequest asks where a destination is in a sync.
type PositionRequest struct {
	// Invocation is the call.
	*aperio.Invocation
	// Source is which sync.
	Source SyncSource
}

// Position is where a destination is in a sync.
type Position struct {
	// Checkpoint is the one that was stored last; nil: none was.
	Checkpoint *SyncCheckpoint
	// StoredAt is when that was; zero: it is not known.
	StoredAt time.Time
}

// StoreRequest is envelopes to hand over, and a checkpoint to store with them.
type StoreRequest struct {
	// DeliverRequest has the envelopes, of which there may be none.
	DeliverRequest
	// Source is which sync the checkpoint is of.
	Source SyncSource
	// Checkpoint is what is stored.
	Checkpoint SyncCheckpoint
	// Replaces is the cursor that the host knows to be stored; empty: none is.
	Replaces []byte
}

// MayReplace tells whether the checkpoint may take the place of the stored one, whose cursor is given
// and empty where none is stored; else its outcome is CheckpointMoved.
func (r *StoreRequest) MayReplace(cursor []byte) bool {
	return bytes.Equal(cursor, r.Replaces) || bytes.Equal(cursor, r.Checkpoint.Cursor)
}

// CheckpointOutcome says what became of a checkpoint that was to be stored.
type CheckpointOutcome int

// The outcomes.
const (
	// CheckpointNotStored: an envelope of the call was not accepted.
	CheckpointNotStored CheckpointOutcome = iota
	// CheckpointStored: it is stored, and so is every envelope of the call.
	CheckpointStored
	// CheckpointMoved: another cursor is stored than the one to be replaced.
	CheckpointMoved
)

// Delivered is what became of envelopes, and of the checkpoint after them.
type Delivered struct {
	// Results has one for each envelope.
	Results []Result
	// Outcome is the checkpoint's.
	Outcome CheckpointOutcome
}

// Stream is a kind of envelope.
type Stream string

// The streams.
const (
	Finding  Stream = "finding"
	Event    Stream = "event"
	AuditLog Stream = "audit_log"
)

// Capabilities is what a destination needs and takes; the same for the same build.
type Capabilities struct {
	// Provider is the upper-case name of the service, such as `SPLUNK_HEC`; equals the manifest's.
	Provider string
	// Name is what people call the service.
	Name string
	// Streams are the kinds of envelope that it takes.
	Streams []Stream
	// Fields are the settings.
	Fields []aperio.Field
	// Auth says how the service authenticates its callers; nil: it does not.
	Auth aperio.Auth
	// Vendor is who makes the service.
	Vendor string
	// Category: the catalogue groups by Cloud SIEM, Hosted Search, Observability, Graph and Generic, and
	// shows another as it is.
	Category string
	// MaxBatchEnvelopes is the most envelopes in one Deliver; 0: 256.
	MaxBatchEnvelopes uint32
	// Description is one paragraph.
	Description string
	// DocsURL is where an operator reads on.
	DocsURL string
}

// DeliverRequest is envelopes to hand over.
type DeliverRequest struct {
	// Invocation is the call.
	*aperio.Invocation
	// Envelopes are to be handed over, in this order where the service has one.
	Envelopes []Envelope
}

// Envelope is one event, finding or audit log entry to hand over.
type Envelope struct {
	// ID is the delivery key, the same on every attempt and another one when a finding's status
	// changes: use it for de-duplication. It is not the id inside the envelope, which the product's
	// envelopes do not have; DeliveryKey computes it.
	ID string
	// Stream is its kind.
	Stream Stream
	// JSON is the whole envelope (aperio.plugin.contracts.v1, or the product's eight keys) as one
	// JSON object, at most 1.5 MiB: a record's 1 MiB, and what an envelope adds. Pass it on as it is.
	JSON json.RawMessage
}

// Status says what became of an envelope.
type Status int

// The statuses.
const (
	// StatusAccepted: the service has it.
	StatusAccepted Status = iota + 1
	// StatusRejected: the service will never take it.
	StatusRejected
	// StatusRetry: not now.
	StatusRetry
)

// Result is what became of one envelope; made by Accepted, Rejected, Retry.
type Result struct {
	// ID is the envelope's.
	ID string
	// Status says what became of it.
	Status Status
	// Diagnostic says why it was not accepted; nil: nothing to say.
	Diagnostic *aperio.Diagnostic
	// RetryAfter: try again no sooner; 0: the host decides.
	RetryAfter time.Duration
}

// Accepted gives the result of an envelope that the service has.
func Accepted(envelope Envelope) Result {
	return Result{ID: envelope.ID, Status: StatusAccepted}
}

// Rejected gives the result of an envelope that the service will never take.
func Rejected(envelope Envelope, reason aperio.Diagnostic) Result {
	return Result{ID: envelope.ID, Status: StatusRejected, Diagnostic: &reason}
}

// Retry gives the result of an envelope that the service did not take now. A wait of 0 leaves the
// time to the host, and a reason without a summary is none.
func Retry(envelope Envelope, reason aperio.Diagnostic, after time.Duration) Result {
	result := Result{ID: envelope.ID, Status: StatusRetry, RetryAfter: after}
	if reason.Summary != "" {
		result.Diagnostic = &reason
	}
	return result
}

// Serve serves the destination until the host says stop, or is gone. It returns then, so that main
// can clean up; the process ends 1.5 s after the stop at the latest. When no go-plugin host started
// the process, it says so on stderr and ends the process with status 1.
func Serve(plugin Destination) { serve.Run(NewService(plugin)) }
