package aperio

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Invocation is one call: on whose behalf, with which settings. A plugin must keep nothing of it
// for another call. The call's context.Context has its deadline, and ends when the host ends it.
type Invocation struct {
	// OrganizationID is the tenant.
	OrganizationID string
	// IntegrationID is the connected account of that organization.
	IntegrationID string
	// InvocationID is unique for this call; every log record carries it.
	InvocationID string
	// Config has the operator's settings.
	Config Config
	// Token is the access token; nil when the plugin's auth is not OAuth 2.0.
	Token *Token
	// Logger writes structured records to the host's log.
	Logger *slog.Logger
	// HCLogger does the same, for libraries that take an hclog.Logger.
	HCLogger hclog.Logger
	// State is the key-value store.
	State State
	// Mode is what the operator allows on the integration.
	Mode Mode
	// GrantedScopes are the scopes that were granted, of those that the manifest asks for.
	GrantedScopes []string
	// TraceParent is the host's span, as W3C Trace Context writes it; empty: nobody traces it.
	TraceParent string
	// TraceState is what the systems above add to that, to be passed on with it; empty: nothing.
	TraceState string
}

// Mode is what the operator allows on an integration.
type Mode int

// The modes.
const (
	// ModeReadOnly: nothing may be written to the service.
	ModeReadOnly Mode = iota
	// ModeRemediation: remediations may write.
	ModeRemediation
)

// Token is an access token that the host obtained for this call. No text form of it shows it.
type Token struct {
	// Value is the bearer token. Secret: never log or store it.
	Value string
	// ExpiresAt is when it stops working; zero: unknown.
	ExpiresAt time.Time
}

const hidden = "Token(hidden)"

// String hides the token.
func (Token) String() string { return hidden }

// GoString hides the token.
func (Token) GoString() string { return hidden }

// LogValue hides the token.
func (Token) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalJSON hides the token.
func (Token) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// Config has the operator's settings by key, without those that only the host may use. Its text
// form shows keys only, because values may be secrets.
type Config struct{ values map[string]any }

// NewConfig gives a configuration with these values, of the types that encoding/json decodes into.
func NewConfig(values map[string]any) Config { return Config{maps.Clone(values)} }

// Keys gives the keys of the settings, sorted.
func (c Config) Keys() []string { return slices.Sorted(maps.Keys(c.values)) }

// Value gives a setting as encoding/json decodes it, and whether there is one.
func (c Config) Value(key string) (any, bool) {
	value, found := c.values[key]
	return value, found
}

// Text gives a setting that is text. The error has the cause InvalidConfig: there is none, or it
// is something else.
func (c Config) Text(key string) (string, error) {
	return read[string](c, key, "text", nil)
}

// TextOr is Text with a value for when there is no such setting.
func (c Config) TextOr(key, otherwise string) (string, error) {
	return read(c, key, "text", &otherwise)
}

// Number gives a setting that is a number. The error has the cause InvalidConfig: there is none,
// or it is something else.
func (c Config) Number(key string) (float64, error) {
	return read[float64](c, key, "a number", nil)
}

// NumberOr is Number with a value for when there is no such setting.
func (c Config) NumberOr(key string, otherwise float64) (float64, error) {
	return read(c, key, "a number", &otherwise)
}

// Flag gives a setting that is true or false. The error has the cause InvalidConfig: there is
// none, or it is neither.
func (c Config) Flag(key string) (bool, error) {
	return read[bool](c, key, "true or false", nil)
}

// FlagOr is Flag with a value for when there is no such setting.
func (c Config) FlagOr(key string, otherwise bool) (bool, error) {
	return read(c, key, "true or false", &otherwise)
}

func read[T any](c Config, key, kind string, otherwise *T) (T, error) {
	value, found := c.values[key]
	if !found && otherwise != nil {
		return *otherwise, nil
	}
	typed, fits := value.(T)
	switch {
	case fits:
		return typed, nil
	case value == nil:
		return typed, invalidSetting(key, "%s is not set", key)
	default:
		return typed, invalidSetting(key, "%s must be %s", key, kind)
	}
}

func invalidSetting(key, format string, arguments ...any) error {
	summary := fmt.Sprintf(format, arguments...)
	return &Error{Cause: InvalidConfig, Summary: summary, Attribute: Path{Key(key)}}
}

// String shows the keys.
func (c Config) String() string { return "Config(" + strings.Join(c.Keys(), ", ") + ")" }

// GoString shows the keys.
func (c Config) GoString() string { return c.String() }

// LogValue shows the keys.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// StoredValue is a value in the key-value store.
type StoredValue struct {
	// Value has at most 1 MiB.
	Value []byte
	// Revision grows with each change of the key, from 1.
	Revision uint64
}

// State is the plugin's slice of the host's key-value store: this organization and integration
// only. Keys are 1 to 512 bytes of UTF-8, values at most 1 MiB, the slice at most 16 MiB. The
// manifest must say `state: true`. Errors have the cause StateUnavailable: the host offers no
// store, or does not answer.
type State interface {
	// Get gives the value of a key, or nil.
	Get(ctx context.Context, key string) (*StoredValue, error)
	// Put stores a value and gives its revision.
	Put(ctx context.Context, key string, value []byte) (uint64, error)
	// PutIf is Put if the key has this revision (0: if it is absent); else the error has the cause
	// StateConflict.
	PutIf(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	// Delete removes a key; done as well when there is none.
	Delete(ctx context.Context, key string) error
	// Keys gives the keys that begin with a prefix, in bytewise order.
	Keys(ctx context.Context, prefix string) ([]string, error)
}
