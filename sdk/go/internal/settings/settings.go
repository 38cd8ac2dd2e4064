// Package settings says which settings a plugin is given, the same for hosts and for tests.
package settings

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	pb "github.com/writer/aperio-plugin-go/internal/gen/aperiopluginv1"
)

// Declaration is what a plugin of any kind declares: a SchemaResponse or a CapabilitiesResponse.
type Declaration interface {
	GetFields() []*pb.ConfigField
	GetAuth() *pb.Auth
}

// ForPlugin gives the settings that a plugin sees: given ones and defaults, without those that only
// the host may use. The secret of an OAuth 2.0 client is one of those, whatever the plugin declares
// about its field. The error names a key that is declared twice or not at all.
func ForPlugin(declared Declaration, given map[string]any) (map[string]any, error) {
	values := maps.Clone(given)
	if values == nil {
		values = map[string]any{}
	}
	fields := make(map[string]bool)
	for _, field := range declared.GetFields() {
		key := field.GetKey()
		if fields[key] {
			return nil, fmt.Errorf("the plugin declares field %q twice", key)
		}
		fields[key] = true
		if _, found := values[key]; !found && field.GetDefaultJson() != "" {
			values[key] = json.RawMessage(field.GetDefaultJson())
		}
		if field.GetHostOnly() {
			delete(values, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(given)) {
		if !fields[key] {
			return nil, fmt.Errorf("the plugin declares no field %q", key)
		}
	}
	if client := declared.GetAuth().GetOauth2(); client != nil {
		secret := client.GetClientSecretField()
		if !fields[secret] {
			return nil, fmt.Errorf("the plugin's auth names the field %q, which it does not declare", secret)
		}
		delete(values, secret)
	}
	return values, nil
}
