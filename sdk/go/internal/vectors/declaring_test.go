package vectors_test

import (
	"encoding/json"
	"strings"
	"testing"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/connector"
	"github.com/writer/aperio-plugin-go/destination"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/remediation"
	"google.golang.org/protobuf/proto"
)

var (
	hints = map[string]aperio.SeverityHint{
		"info": aperio.HintInfo, "low": aperio.HintLow, "medium": aperio.HintMedium,
		"high": aperio.HintHigh, "critical": aperio.HintCritical,
	}
	types = map[string]aperio.FieldType{
		"text": aperio.Text, "password": aperio.Password, "url": aperio.URL,
		"select": aperio.Select, "boolean": aperio.Boolean, "number": aperio.Number,
	}
	grants = map[string]aperio.Grant{
		"authorization_code": aperio.AuthorizationCode,
		"client_credentials": aperio.ClientCredentials,
	}
)

type field struct {
	Key         string   `json:"key"`
	Label       string   `json:"label"`
	Type        string   `json:"type"`
	Required    bool     `json:"required"`
	Secret      bool     `json:"secret"`
	Placeholder string   `json:"placeholder"`
	Helper      string   `json:"helper"`
	Options     []string `json:"options"`
	Default     any      `json:"default"`
	HostOnly    bool     `json:"host_only"`
}

func fieldsOf(fields []field) []aperio.Field {
	made := make([]aperio.Field, len(fields))
	for index, f := range fields {
		made[index] = aperio.Field{
			Key: f.Key, Label: f.Label, Type: types[f.Type], Required: f.Required,
			Secret: f.Secret, Placeholder: f.Placeholder, Helper: f.Helper, Options: f.Options,
			Default: f.Default, HostOnly: f.HostOnly,
		}
	}
	return made
}

type auth struct {
	APIKey *struct{ Field string } `json:"api_key"`
	OAuth2 *struct {
		AuthorizeURL      string            `json:"authorize_url"`
		TokenURL          string            `json:"token_url"`
		Grants            []string          `json:"grants"`
		Scopes            []string          `json:"scopes"`
		ClientIDField     string            `json:"client_id_field"`
		ClientSecretField string            `json:"client_secret_field"`
		TokenParameters   map[string]string `json:"token_parameters"`
	} `json:"oauth2"`
}

func (a *auth) auth() aperio.Auth {
	switch {
	case a == nil:
		return nil
	case a.APIKey != nil:
		return aperio.APIKey{Field: a.APIKey.Field}
	}
	made := aperio.OAuth2{
		AuthorizeURL: a.OAuth2.AuthorizeURL, TokenURL: a.OAuth2.TokenURL,
		ClientIDField: a.OAuth2.ClientIDField, ClientSecretField: a.OAuth2.ClientSecretField,
		Scopes: a.OAuth2.Scopes, TokenParameters: a.OAuth2.TokenParameters,
	}
	for _, grant := range a.OAuth2.Grants {
		made.Grants = append(made.Grants, grants[grant])
	}
	return made
}

// common is what plugins of all kinds declare.
type common struct {
	Provider    string  `json:"provider"`
	Name        string  `json:"name"`
	Description string  `json:"description"`
	DocsURL     string  `json:"docs_url"`
	Fields      []field `json:"fields"`
	Auth        *auth   `json:"auth"`
}

// action has the parts of a connector's and of a remediation's.
type action struct {
	Key            string   `json:"key"`
	Label          string   `json:"label"`
	Description    string   `json:"description"`
	SeverityHint   string   `json:"severity_hint"`
	TargetTypes    []string `json:"target_types"`
	ResponseKind   string   `json:"response_kind"`
	Context        []string `json:"required_context"`
	ReverseAction  string   `json:"reverse_action"`
	Rollback       string   `json:"rollback"`
	NoApproval     bool     `json:"approval_optional"`
	Parameters     []field  `json:"parameters"`
	Reversible     bool     `json:"reversible"`
	SupportsDryRun bool     `json:"supports_dry_run"`
	Scopes         []string `json:"scopes"`
}

type schema struct {
	common
	Category          string   `json:"category"`
	Availability      string   `json:"availability"`
	ReadScopes        []string `json:"read_scopes"`
	RemediationScopes []string `json:"remediation_scopes"`
	EventTypes        []string `json:"event_types"`
	ReadinessNote     string   `json:"readiness_note"`
	AccountIDField    string   `json:"account_id_field"`
	Actions           []action `json:"actions"`
	Features          []connector.Feature
	Streams           []connector.DeclaredStream
	EventMappings     []struct {
		EventType        string `json:"event_type"`
		ProductEventType string `json:"product_event_type"`
	} `json:"event_mappings"`
	Checks []struct {
		Key              string `json:"key"`
		Title            string `json:"title"`
		Description      string `json:"description"`
		SeverityHint     string `json:"severity_hint"`
		EnabledByDefault *bool  `json:"enabled_by_default"`
	} `json:"checks"`
}

func (s *schema) schema() connector.Schema {
	made := connector.Schema{
		Provider: s.Provider, Name: s.Name, Description: s.Description, DocsURL: s.DocsURL,
		Fields: fieldsOf(s.Fields), Auth: s.Auth.auth(), Category: s.Category,
		ReadScopes: s.ReadScopes, RemediationScopes: s.RemediationScopes, EventTypes: s.EventTypes,
		ReadinessNote: s.ReadinessNote, AccountIDField: s.AccountIDField, Features: s.Features,
		Streams: s.Streams,
	}
	for _, m := range s.EventMappings {
		mapping := connector.EventMapping{Type: m.EventType, ProductType: m.ProductEventType}
		made.EventMappings = append(made.EventMappings, mapping)
	}
	if s.Availability == "production_ready" {
		made.Availability = connector.ProductionReady
	}
	for _, c := range s.Checks {
		made.Checks = append(made.Checks, connector.Check{
			Key: c.Key, Title: c.Title, Description: c.Description,
			SeverityHint:      hints[c.SeverityHint],
			DisabledByDefault: c.EnabledByDefault != nil && !*c.EnabledByDefault,
		})
	}
	for _, a := range s.Actions {
		made.Actions = append(made.Actions, connector.Action{
			Key: a.Key, Label: a.Label, Description: a.Description,
			SeverityHint: hints[a.SeverityHint],
		})
	}
	return made
}

type remediationOf struct {
	common
	Actions []action `json:"actions"`
}

func (r *remediationOf) capabilities() remediation.Capabilities {
	made := remediation.Capabilities{
		Provider: r.Provider, Name: r.Name, Description: r.Description, DocsURL: r.DocsURL,
		Fields: fieldsOf(r.Fields), Auth: r.Auth.auth(),
	}
	for _, a := range r.Actions {
		made.Actions = append(made.Actions, remediation.Action{
			Key: a.Key, Label: a.Label, Description: a.Description, TargetTypes: a.TargetTypes,
			ResponseKind: responseKinds[a.ResponseKind], RequiredContext: a.Context,
			ReverseAction: a.ReverseAction, Rollback: a.Rollback, ApprovalOptional: a.NoApproval,
			SeverityHint: hints[a.SeverityHint], Parameters: fieldsOf(a.Parameters),
			Reversible: a.Reversible, SupportsDryRun: a.SupportsDryRun, Scopes: a.Scopes,
		})
	}
	return made
}

type destinationOf struct {
	common
	Vendor            string               `json:"vendor"`
	Category          string               `json:"category"`
	Streams           []destination.Stream `json:"streams"`
	MaxBatchEnvelopes uint32               `json:"max_batch_envelopes"`
}

func (d *destinationOf) capabilities() destination.Capabilities {
	return destination.Capabilities{
		Provider: d.Provider, Name: d.Name, Description: d.Description, DocsURL: d.DocsURL,
		Fields: fieldsOf(d.Fields), Auth: d.Auth.auth(), Vendor: d.Vendor, Category: d.Category,
		Streams: d.Streams, MaxBatchEnvelopes: d.MaxBatchEnvelopes,
	}
}

type declaration struct {
	Name        string
	Schema      *schema
	Remediation *remediationOf
	Destination *destinationOf
	Expect      json.RawMessage
	Invalid     []string
}

// declared gives a plugin's response, and what it logs.
func (d declaration) declared(t *testing.T) (proto.Message, string, error) {
	t.Helper()
	request := &pb.CapabilitiesRequest{}
	switch {
	case d.Schema != nil:
		plugin := &scripted{schema: d.Schema.schema()}
		connection, log := served(t, connector.NewService(plugin))
		client := pb.NewConnectorPluginClient(connection)
		answer, err := client.Schema(deadline(t), &pb.SchemaRequest{})
		return answer, log.String(), err
	case d.Remediation != nil:
		plugin := &acting{declared: d.Remediation.capabilities()}
		connection, log := served(t, remediation.NewService(plugin))
		client := pb.NewRemediationPluginClient(connection)
		answer, err := client.Capabilities(deadline(t), request)
		return answer, log.String(), err
	default:
		plugin := &delivering{declared: d.Destination.capabilities()}
		connection, log := served(t, destination.NewService(plugin))
		client := pb.NewDestinationPluginClient(connection)
		answer, err := client.Capabilities(deadline(t), request)
		return answer, log.String(), err
	}
}

func TestADeclarationBecomesAMessage(t *testing.T) {
	forEach(t, "declarations.json", func(t *testing.T, c declaration) {
		answer, log, err := c.declared(t)
		if c.Invalid == nil {
			must(t, err)
			assertMessage(t, answer, c.Expect)
			return
		}
		if err == nil || !strings.Contains(err.Error(), "Internal") {
			t.Fatalf("got %v, %v", answer, err)
		}
		for _, text := range c.Invalid {
			if !strings.Contains(log, text) {
				t.Errorf("%q is not in %q", text, log)
			}
		}
	})
}

var responseKinds = map[string]remediation.ResponseKind{"suspend_user": remediation.SuspendUser}
