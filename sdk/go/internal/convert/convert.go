// Package convert is where the types of all kinds of plugins and protobuf messages meet. What one
// kind adds stands in that kind's own package.
package convert

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	aperio "github.com/writer/aperio-plugin-go"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	interfaceMinor = 0

	// gRPC takes 8 KiB of metadata; the status text is sent beside the diagnostics and may triple
	// in size.
	maxStatusText  = 400
	maxSummaryText = 500
	maxDetailText  = 1500
)

// Object encodes a value as a JSON object, compact, in UTF-8; json.RawMessage and []byte are
// passed on untouched and unchecked. The error is about a value that has no JSON form, or that is
// no object.
func Object(value any) ([]byte, error) {
	switch raw := value.(type) {
	case json.RawMessage:
		return raw, nil
	case []byte:
		return raw, nil
	}
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	encoded := bytes.TrimSuffix(buffer.Bytes(), []byte("\n"))
	if len(encoded) == 0 || encoded[0] != '{' {
		return nil, fmt.Errorf("a %T has no form as a JSON object", value)
	}
	return encoded, nil
}

// ObjectFrom reads a JSON object that the host sent; nothing stands for an empty one. The error
// has the cause InvalidArgument and begins with what.
func ObjectFrom(data []byte, what string) (map[string]any, error) {
	if len(data) == 0 {
		return map[string]any{}, nil
	}
	var value any
	if err := json.Unmarshal(data, &value); err != nil || !utf8.Valid(data) {
		return nil, invalidArgument(err, "%s is not JSON", what)
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, invalidArgument(nil, "%s is not a JSON object", what)
	}
	return object, nil
}

func invalidArgument(cause error, format string, arguments ...any) error {
	summary := fmt.Sprintf(format, arguments...)
	return &aperio.Error{Cause: aperio.InvalidArgument, Summary: summary, Err: cause}
}

// Token gives the access token of a call, if there is one.
func Token(message *pb.Token) *aperio.Token {
	if message == nil {
		return nil
	}
	token := &aperio.Token{Value: message.GetValue()}
	if expiry := message.GetExpiresAt(); expiry != nil {
		token.ExpiresAt = expiry.AsTime()
	}
	return token
}

// OneLine gives text as one line of at most so many characters, in valid UTF-8.
func OneLine(text string, most int) string {
	return shortened(strings.Join(strings.Fields(clean(text)), " "), most)
}

func clean(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

func shortened(text string, most int) string {
	if len(text) <= most {
		return text
	}
	characters := []rune(text)
	return string(characters[:min(most, len(characters))])
}

// Diagnostic gives the message of a diagnostic, its texts shortened if they are very long.
func Diagnostic(diagnostic aperio.Diagnostic) *pb.Diagnostic {
	message := &pb.Diagnostic{
		Severity: pb.Diagnostic_SEVERITY_ERROR,
		Summary:  OneLine(diagnostic.Summary, maxSummaryText),
		Detail:   shortened(clean(diagnostic.Detail), maxDetailText),
		Code:     clean(diagnostic.Code),
	}
	if diagnostic.Severity == aperio.SeverityWarning {
		message.Severity = pb.Diagnostic_SEVERITY_WARNING
	}
	if len(diagnostic.Attribute) > 0 {
		message.Attribute = Path(diagnostic.Attribute)
	}
	return message
}

// Diagnostics gives the messages of some diagnostics.
func Diagnostics(diagnostics []aperio.Diagnostic) []*pb.Diagnostic {
	messages := make([]*pb.Diagnostic, len(diagnostics))
	for index, diagnostic := range diagnostics {
		messages[index] = Diagnostic(diagnostic)
	}
	return messages
}

// Path gives the message of a path.
func Path(path aperio.Path) *pb.AttributePath {
	message := &pb.AttributePath{}
	for _, step := range path {
		switch step := step.(type) {
		case aperio.Key:
			selector := &pb.AttributePath_Step_Key{Key: clean(string(step))}
			message.Steps = append(message.Steps, &pb.AttributePath_Step{Selector: selector})
		case aperio.Index:
			selector := &pb.AttributePath_Step_Index{Index: int64(step)}
			message.Steps = append(message.Steps, &pb.AttributePath_Step{Selector: selector})
		}
	}
	return message
}

// RetryAfter gives a wait, kept to the microsecond, of a month at most; 0 is none.
func RetryAfter(wait time.Duration) *durationpb.Duration {
	if wait <= 0 {
		return nil
	}
	return durationpb.New(min(wait, aperio.MaxRetryAfter).Truncate(time.Microsecond))
}

// Interface says which version of the plugin interface the SDK is for.
func Interface() *pb.Interface { return &pb.Interface{Minor: interfaceMinor} }

// Hint gives the message of a severity hint. The error is about a value that is none.
func Hint(hint aperio.SeverityHint) (pb.SeverityHint, error) {
	return Named(hint, map[aperio.SeverityHint]pb.SeverityHint{
		aperio.HintInfo:     pb.SeverityHint_SEVERITY_HINT_INFO,
		aperio.HintLow:      pb.SeverityHint_SEVERITY_HINT_LOW,
		aperio.HintMedium:   pb.SeverityHint_SEVERITY_HINT_MEDIUM,
		aperio.HintHigh:     pb.SeverityHint_SEVERITY_HINT_HIGH,
		aperio.HintCritical: pb.SeverityHint_SEVERITY_HINT_CRITICAL,
	})
}

// Named gives the wire's value for one of ours. The error is about one that is not in the table.
func Named[Ours comparable, Theirs any](value Ours, table map[Ours]Theirs) (Theirs, error) {
	theirs, known := table[value]
	if !known {
		return theirs, fmt.Errorf("%v is not a %T", value, value)
	}
	return theirs, nil
}

// All converts each item. The error is the first one.
func All[Ours, Theirs any](items []Ours, convert func(Ours) (Theirs, error)) ([]Theirs, error) {
	converted := make([]Theirs, len(items))
	for index, item := range items {
		var err error
		if converted[index], err = convert(item); err != nil {
			return nil, err
		}
	}
	return converted, nil
}

// Field gives the message of a setting or parameter. The error is about a type or default that
// makes no sense.
func Field(field aperio.Field) (*pb.ConfigField, error) {
	kind, err := Named(field.Type, map[aperio.FieldType]pb.ConfigField_Type{
		aperio.Text:     pb.ConfigField_TYPE_TEXT,
		aperio.Password: pb.ConfigField_TYPE_PASSWORD,
		aperio.URL:      pb.ConfigField_TYPE_URL,
		aperio.Select:   pb.ConfigField_TYPE_SELECT,
		aperio.Boolean:  pb.ConfigField_TYPE_BOOLEAN,
		aperio.Number:   pb.ConfigField_TYPE_NUMBER,
	})
	if err != nil {
		return nil, fmt.Errorf("field %q: %w", field.Key, err)
	}
	var fallback []byte
	if field.Default != nil {
		if fallback, err = json.Marshal(field.Default); err != nil {
			return nil, fmt.Errorf("field %q: default: %w", field.Key, err)
		}
	}
	return &pb.ConfigField{
		Key:         field.Key,
		Label:       field.Label,
		Placeholder: field.Placeholder,
		Helper:      field.Helper,
		Type:        kind,
		Required:    field.Required,
		Secret:      field.Secret,
		Options:     field.Options,
		DefaultJson: string(fallback),
		HostOnly:    field.HostOnly,
	}, nil
}

// Auth gives the message of a way to authenticate; nil counts as none. The error is about a grant
// that is none.
func Auth(auth aperio.Auth) (*pb.Auth, error) {
	switch auth := auth.(type) {
	case aperio.APIKey:
		key := &pb.Auth_ApiKey{Field: auth.Field}
		return &pb.Auth{Method: &pb.Auth_ApiKey_{ApiKey: key}}, nil
	case aperio.OAuth2:
		return oauth2(auth)
	default:
		return &pb.Auth{Method: &pb.Auth_None{None: &pb.Auth_NoAuth{}}}, nil
	}
}

func oauth2(auth aperio.OAuth2) (*pb.Auth, error) {
	grants, err := All(auth.Grants, func(grant aperio.Grant) (pb.Auth_OAuth2_Grant, error) {
		return Named(grant, map[aperio.Grant]pb.Auth_OAuth2_Grant{
			aperio.AuthorizationCode: pb.Auth_OAuth2_GRANT_AUTHORIZATION_CODE,
			aperio.ClientCredentials: pb.Auth_OAuth2_GRANT_CLIENT_CREDENTIALS,
		})
	})
	if err != nil {
		return nil, err
	}
	return &pb.Auth{Method: &pb.Auth_Oauth2{Oauth2: &pb.Auth_OAuth2{
		AuthorizeUrl:      auth.AuthorizeURL,
		TokenUrl:          auth.TokenURL,
		Grants:            grants,
		Scopes:            auth.Scopes,
		ClientIdField:     auth.IDField(),
		ClientSecretField: auth.SecretField(),
		TokenParameters:   auth.TokenParameters,
	}}}, nil
}

// Cut gives at most so many bytes of a text, whole characters, and what is not UTF-8 replaced.
func Cut(text string, most int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= most {
		return text
	}
	for !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}
