// Package connector is for plugins that pull audit events out of a SaaS product.
//
//	type BoxConnector struct{}
//
//	func (*BoxConnector) Schema() connector.Schema { ... }
//	func (*BoxConnector) TestConnection(ctx context.Context, call *aperio.Invocation) (*connector.TestResult, error) { ... }
//	func (*BoxConnector) Sync(request *connector.SyncRequest, stream *connector.Stream) error {
//		if err := stream.Send(connector.Event{...}); err != nil {
//			return err
//		}
//		return stream.Checkpoint([]byte("page 2"))
//	}
//
//	func main() { connector.Serve(&BoxConnector{}) }
package connector

import (
	"context"
	"slices"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/internal/serve"
)

// Connector is what a plugin's author writes. Methods run in goroutines of their own, several at
// once for different calls.
type Connector interface {
	// Schema declares what the connector needs and offers, without the network.
	Schema() Schema
	// TestConnection tells by a cheap read whether the configuration works. An *aperio.Error
	// becomes a result that is not OK.
	TestConnection(ctx context.Context, call *aperio.Invocation) (*TestResult, error)
	// Sync reads events from a cursor on, in order, until caught up. It sends one event at a time;
	// the SDK batches, and holds Send up while the host does not read. When the call ends early,
	// stream.Context() ends and sending fails. An *aperio.Error says why the connector cannot go
	// on; events before it are kept.
	Sync(request *SyncRequest, stream *Stream) error
}

// OAuthCallbacker is a Connector that checks what is special to its provider in an OAuth callback.
type OAuthCallbacker interface {
	// OAuthCallback checks what came beside `code` and `state`, and gives account facts, never a
	// secret.
	OAuthCallback(
		ctx context.Context, call *aperio.Invocation, parameters map[string]string,
	) (map[string]string, error)
}

// SyncRequest is one sync.
type SyncRequest struct {
	// Invocation is the call.
	*aperio.Invocation
	// Cursor is of the last stored checkpoint; nil: from the beginning.
	Cursor []byte
	// From: leave out what occurred before, in UTC; zero: everything. With a cursor it is zero: keep
	// it in the cursor where it has to hold on. A host asks for it with FeatureBackfill only.
	From time.Time
	// Streams are names of declared streams; none: all of them. With FeatureStreams only.
	Streams []string
	// EventTypes are wanted; none: all. The host filters once more. With FeatureEventTypes only.
	EventTypes []string
}

// WantsStream says whether a stream is asked for.
func (r *SyncRequest) WantsStream(name string) bool {
	return len(r.Streams) == 0 || slices.Contains(r.Streams, name)
}

// WantsEventType says whether events of a type are asked for.
func (r *SyncRequest) WantsEventType(name string) bool {
	return len(r.EventTypes) == 0 || slices.Contains(r.EventTypes, name)
}

// Event is what the plugin knows about one event; the host adds organization, provider and the
// like. One that cannot be passed on becomes a dead letter, and the sync goes on.
type Event struct {
	// SourceEventID is stable in the service: the same event has the same one whenever it is read.
	// 1 to 512 bytes.
	SourceEventID string
	// Type is such as `box.login_failed`: provider, dot, type. 1 to 128 bytes.
	Type string
	// OccurredAt is in the years 1 to 9999 in UTC; aperio.ParseTime reads what services write.
	OccurredAt time.Time
	// Actor is who did it; nil when the service does not say.
	Actor *Actor
	// Origin is where in the service it was read, such as `admin_logs`. At most 128 bytes.
	Origin string
	// NativeType is the service's own word for the type, such as `COLLABORATION_INVITE`; empty: it
	// has none. At most 128 bytes.
	NativeType string
	// Record is the service's own record, a JSON object: a json.RawMessage or []byte is passed on
	// untouched (faster), all else is encoded by encoding/json. At most 1 MiB and 512 levels.
	Record any
}

// Actor is who did something; each field may be empty. An event with longer ones passes: what has
// more than 255 characters is cut, with `…` at its end, and U+0000 becomes U+FFFD. The record has all.
type Actor struct {
	// ID is the id in the service.
	ID string
	// Email is the mail address.
	Email string
	// DisplayName is what people call it.
	DisplayName string
	// Type is such as `user`, `service`, `app`.
	Type string
	// IPAddress is where it acted from.
	IPAddress string
}

// DeadLetter is a record of the service that cannot become an event: it is skipped, counted and
// written down. The sync goes on, and a checkpoint covers it like an event: it is not read again.
// What is too long is cut, so that a dead letter itself always passes.
type DeadLetter struct {
	// Reason is one line: what is wrong, naming the field. No secrets. At most 1024 bytes.
	Reason string
	// Code is a stable kebab-case name of the cause, at most 64 bytes; empty: record-invalid.
	Code string
	// SourceEventID is the id in the service, where it could be read. At most 512 bytes.
	SourceEventID string
	// Position is where a person finds it in the service without an id, such as `page 17, entry 3`.
	// At most 512 bytes.
	Position string
	// Type is as an event's, where it could be read.
	Type string
	// Origin is as an event's.
	Origin string
	// Record is the record as it came; its first 1024 bytes and its length are passed on.
	Record []byte
}

// Checkpoint says how far a sync has come.
type Checkpoint struct {
	// Cursor is any bytes that Sync understands, at most 64 KiB; never a secret. It stands for all
	// streams of the call.
	Cursor []byte
	// Stream is the declared stream that has come on; empty: all of the call's.
	Stream string
	// CoversUntil: everything that the service had of it up to this time was read; zero: it is not
	// known. In the years 1 to 9999 in UTC.
	CoversUntil time.Time
}

// Progress is a word for people; the host may drop it.
type Progress struct {
	// Done is how many events were read so far in this sync.
	Done uint64
	// Total is how many there will be; 0: unknown.
	Total uint64
	// Message is one line.
	Message string
}

// Availability says how far a connector is developed. The zero value is Preview.
type Availability int

// The availabilities.
const (
	Preview Availability = iota
	ProductionReady
)

// Feature is what a connector can do beyond reading everything; a host asks for nothing else.
type Feature string

// The features.
const (
	// FeatureBackfill: SyncRequest.From is understood.
	FeatureBackfill Feature = "backfill"
	// FeatureStreams: SyncRequest.Streams is understood.
	FeatureStreams Feature = "streams"
	// FeatureEventTypes: SyncRequest.EventTypes is understood.
	FeatureEventTypes Feature = "event-types"
	// FeatureFindings: Sync may send findings.
	FeatureFindings Feature = "findings"
	// FeatureAuditLog: Sync may send audit log entries.
	FeatureAuditLog Feature = "audit-log"
)

// DeclaredStream is one source of records in the service that has its own order and its own lag.
type DeclaredStream struct {
	// Name is lower-case letters, digits, `_` and `-`, such as `admin_logs`. At most 64 bytes.
	Name string
	// Description is one line.
	Description string
}

// EventMapping is what the product calls a type of event: matched exactly, against a closed list.
type EventMapping struct {
	// Type is an event's NativeType, or else its Type. At most 128 bytes.
	Type string
	// ProductType is such as `PUBLIC_REPOSITORY_CREATED`. At most 120 bytes.
	ProductType string
}

// Check is one posture check that the connector's events make possible.
type Check struct {
	// Key is such as `box.public_shared_link`: a prefix, a dot, a name; at most 160 bytes. The prefix
	// need not be the provider's name.
	Key string
	// Title is one line.
	Title string
	// Description says what is looked for, and why it matters.
	Description string
	// SeverityHint says how grave a finding usually is.
	SeverityHint aperio.SeverityHint
	// DisabledByDefault: the check runs only when somebody turns it on.
	DisabledByDefault bool
}

// Action is an action that a remediation plugin for this provider can execute.
type Action struct {
	// Key is such as `okta.suspend_user`.
	Key string
	// Label is what a button says.
	Label string
	// Description says what it does.
	Description string
	// SeverityHint says how grave its effect is.
	SeverityHint aperio.SeverityHint
}

// Schema is what a connector needs and offers; the same for the same build.
type Schema struct {
	// Provider is the upper-case name of the service, such as `BOX`; equals the manifest's.
	Provider string
	// Name is what people call the service.
	Name string
	// Fields are the settings.
	Fields []aperio.Field
	// Auth says how the service authenticates its callers; nil: it does not.
	Auth aperio.Auth
	// Category: the catalogue groups by Identity, Productivity, Source Control and Messaging, and shows
	// another as it is.
	Category string
	// Availability says how far the connector is developed.
	Availability Availability
	// Description is one paragraph.
	Description string
	// DocsURL is where an operator reads on.
	DocsURL string
	// ReadScopes are OAuth scopes that reading needs.
	ReadScopes []string
	// RemediationScopes are OAuth scopes that remediation needs.
	RemediationScopes []string
	// Checks are posture checks that the events make possible.
	Checks []Check
	// Actions are remediation actions for this provider.
	Actions []Action
	// EventTypes are the types that Sync gives; `box.*` among them says that others come as well.
	// None: nothing is said about them.
	EventTypes []string
	// Features are what of a SyncRequest the connector understands, and what it may send beside events.
	Features []Feature
	// ReadinessNote says why it is not ready for production, or what to know before it is used.
	ReadinessNote string
	// AccountIDField is the key of the setting that identifies the account in the service.
	AccountIDField string
	// Streams are what is read, one after the other or at once; none: one stream without a name.
	Streams []DeclaredStream
	// EventMappings say what the product calls the event types that its rules know.
	EventMappings []EventMapping
}

// TestResult says whether the configuration works.
type TestResult struct {
	// OK: it does.
	OK bool
	// Account has facts that show that it is the right account, such as its name. No secrets.
	Account map[string]string
	// Diagnostics say what is wrong, or what to know.
	Diagnostics []aperio.Diagnostic
	// RetryAfter: the service asks to wait so long before it is called again; 0: it does not.
	RetryAfter time.Duration
}

// Serve serves the connector until the host says stop, or is gone. It returns then, so that main
// can clean up; the process ends 1.5 s after the stop at the latest. When no go-plugin host started
// the process, it says so on stderr and ends the process with status 1.
func Serve(plugin Connector) { serve.Run(NewService(plugin)) }
