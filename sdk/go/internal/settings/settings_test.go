package settings

import (
	"encoding/json"
	"strings"
	"testing"

	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
)

func fields(keys ...string) []*pb.ConfigField {
	made := make([]*pb.ConfigField, len(keys))
	for index, key := range keys {
		made[index] = &pb.ConfigField{Key: key, Type: pb.ConfigField_TYPE_TEXT}
	}
	return made
}

func client(secret string) *pb.Auth {
	return &pb.Auth{Method: &pb.Auth_Oauth2{Oauth2: &pb.Auth_OAuth2{
		ClientIdField: "client_id", ClientSecretField: secret,
	}}}
}

func TestTheClientsSecretIsWithheldWhateverItsFieldSays(t *testing.T) {
	given := map[string]any{"client_id": "me", "client_secret": "hunter2"}
	region := &pb.ConfigField{Key: "region", DefaultJson: `"eu"`}
	declared := append(fields("client_id", "client_secret"), region)
	kinds := map[string]Declaration{
		"connector":   &pb.SchemaResponse{Fields: declared, Auth: client("client_secret")},
		"destination": &pb.CapabilitiesResponse{Fields: declared, Auth: client("client_secret")},
	}
	for name, declaration := range kinds {
		values, err := ForPlugin(declaration, given)
		data, _ := json.Marshal(values)
		if want := `{"client_id":"me","region":"eu"}`; err != nil || string(data) != want {
			t.Errorf("%s: got %s, %v, want %s", name, data, err, want)
		}
	}
	if given["client_secret"] != "hunter2" {
		t.Error("the host's own settings were changed")
	}
}

func TestWithoutAClientOnlyHostOnlySettingsAreWithheld(t *testing.T) {
	declared := append(fields("client_secret"), &pb.ConfigField{Key: "pin", HostOnly: true})
	values, err := ForPlugin(&pb.SchemaResponse{Fields: declared}, map[string]any{
		"client_secret": "s", "pin": "0000",
	})
	if err != nil || len(values) != 1 || values["client_secret"] != "s" {
		t.Errorf("got %v, %v", values, err)
	}
}

func TestADeclarationThatCouldGiveTheSecretAwayIsRefused(t *testing.T) {
	hidden := &pb.ConfigField{Key: "client_secret", HostOnly: true}
	for name, c := range map[string]struct {
		declared *pb.SchemaResponse
		given    map[string]any
		why      string
	}{
		"twice":      {&pb.SchemaResponse{Fields: append(fields("client_secret"), hidden)}, nil, "twice"},
		"no setting": {&pb.SchemaResponse{Auth: client("client_secret")}, nil, "does not declare"},
		"no name":    {&pb.SchemaResponse{Auth: client("")}, nil, "does not declare"},
		"unknown":    {&pb.SchemaResponse{}, map[string]any{"regoin": "hunter2"}, `no field "regoin"`},
	} {
		values, err := ForPlugin(c.declared, c.given)
		if err == nil || !strings.Contains(err.Error(), c.why) ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, %v", name, values, err)
		}
	}
}
