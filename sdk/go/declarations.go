package aperio

import (
	"fmt"
	"regexp"

	"github.com/writer/aperio-plugin-go/internal/fitting"
)

// SeverityHint says how grave something usually is; the product decides. The zero value is
// HintMedium.
type SeverityHint int

// The hints.
const (
	HintMedium SeverityHint = iota
	HintInfo
	HintLow
	HintHigh
	HintCritical
)

// FieldType says how a setting is asked for, and its JSON type: boolean, number, or else string.
type FieldType int

// The types of fields.
const (
	Text FieldType = iota
	Password
	URL
	Select
	Boolean
	Number
)

var typeNames = map[FieldType]string{
	Text: "TEXT", Password: "PASSWORD", URL: "URL",
	Select: "SELECT", Boolean: "BOOLEAN", Number: "NUMBER",
}

// Field is one setting that the operator gives, or one parameter of an action.
type Field struct {
	// Key is the key in Invocation.Config: lower-case letters, digits, underscores.
	Key string
	// Label is what a form calls it.
	Label string
	// Type says how it is asked for.
	Type FieldType
	// Required: there must be a value.
	Required bool
	// Secret: shown as dots, stored encrypted, never logged.
	Secret bool
	// Placeholder is an example value.
	Placeholder string
	// Helper is one sentence that helps to find the value.
	Helper string
	// Options are the values of a Select.
	Options []string
	// Default is the value used when none is given, one that the type takes; nil: none.
	Default any
	// HostOnly: only the host may use it (an OAuth client secret, say); it is left out of
	// Invocation.Config.
	HostOnly bool
}

// Grant is how the host obtains an OAuth 2.0 access token (RFC 6749, section 1.3).
type Grant int

// The grants.
const (
	AuthorizationCode Grant = iota + 1
	ClientCredentials
)

// Auth says how the service authenticates its callers: NoAuth, APIKey or OAuth2. nil counts as
// NoAuth.
type Auth interface{ fieldKeys() []string }

// NoAuth says that the service asks nobody who they are.
type NoAuth struct{}

// APIKey says that the service takes a key, which is one of the settings.
type APIKey struct {
	// Field is the key of that setting.
	Field string
}

// OAuth2 says that the host obtains access tokens and hands them over as Invocation.Token.
type OAuth2 struct {
	// AuthorizeURL is where the operator's browser is sent; unused for client credentials.
	AuthorizeURL string
	// TokenURL is where the host asks for tokens; it may contain `{key}` of a setting that is not
	// Secret.
	TokenURL string
	// Grants are what the service supports, the preferred one first.
	Grants []Grant
	// Scopes are what the token must be good for.
	Scopes []string
	// ClientIDField is the key of the setting that holds the client's id; empty: `client_id`.
	ClientIDField string
	// ClientSecretField is the key of the setting that holds the client's secret; empty:
	// `client_secret`. Declare that one HostOnly and Secret. The host keeps it to itself in any
	// case. The client's id is no secret, and reaches the plugin like any setting unless it is
	// HostOnly.
	ClientSecretField string
	// TokenParameters are further parameters of the token request; values may contain `{key}`.
	TokenParameters map[string]string
}

func (NoAuth) fieldKeys() []string   { return nil }
func (a APIKey) fieldKeys() []string { return []string{a.Field} }
func (a OAuth2) fieldKeys() []string { return []string{a.IDField(), a.SecretField()} }

// IDField gives the key of the setting that holds the client's id.
func (a OAuth2) IDField() string { return orElse(a.ClientIDField, "client_id") }

// SecretField gives the key of the setting that holds the client's secret.
func (a OAuth2) SecretField() string { return orElse(a.ClientSecretField, "client_secret") }

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

var (
	fieldKey = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	named    = regexp.MustCompile(`\{([a-z][a-z0-9_]*)\}`)
)

// CheckDeclaration refuses settings, or parameters, that no host could show or use. auth may name
// some of them; nil: none. The SDK calls it for whatever a plugin declares.
func CheckDeclaration(fields []Field, auth Auth) error {
	declared := make(map[string]Field, len(fields))
	for _, field := range fields {
		_, isRepeated := declared[field.Key]
		switch {
		case !fieldKey.MatchString(field.Key):
			return fmt.Errorf("field key %q is not lower-case letters, digits, _", field.Key)
		case isRepeated:
			return fmt.Errorf("field %q is declared twice", field.Key)
		case (field.Type == Select) != (len(field.Options) > 0):
			return fmt.Errorf("field %q: Select has options, other types have none", field.Key)
		}
		if misfit := fitting.Default(typeNames[field.Type], field.Options, field.Default); misfit != nil {
			return fmt.Errorf("field %q: its default does not fit: %w", field.Key, misfit)
		}
		declared[field.Key] = field
	}
	if auth == nil {
		return nil
	}
	for _, key := range auth.fieldKeys() {
		if _, found := declared[key]; !found {
			return fmt.Errorf("auth names the field %q, which is not declared", key)
		}
	}
	if client, isClient := auth.(OAuth2); isClient {
		return checkClient(declared, client)
	}
	return nil
}

// checkClient refuses an OAuth 2.0 client whose secret could leave the host.
func checkClient(fields map[string]Field, auth OAuth2) error {
	secret := fields[auth.SecretField()]
	switch {
	case auth.IDField() == secret.Key:
		return fmt.Errorf("auth names the field %q for the client's id and its secret", secret.Key)
	case !secret.HostOnly || !secret.Secret:
		return fmt.Errorf("field %q holds the client's secret, which only the host may use: "+
			"declare it HostOnly and Secret", secret.Key)
	}
	for _, name := range named.FindAllStringSubmatch(auth.TokenURL+" "+auth.AuthorizeURL, -1) {
		if fields[name[1]].Secret {
			return fmt.Errorf("auth has the secret field %q in an address", name[1])
		}
	}
	return nil
}
