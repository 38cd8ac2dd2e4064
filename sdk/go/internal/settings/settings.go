// Package settings says which settings a plugin is given, the same for hosts and for tests.
package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/fitting"
)

// Declaration is what a plugin of any kind declares: a SchemaResponse or a CapabilitiesResponse.
type Declaration interface {
	GetFields() []*pb.ConfigField
	GetAuth() *pb.Auth
}

// ForPlugin gives the settings that a plugin sees: given ones, converted to what their fields say, and
// defaults, without those that only the host may use. The secret of an OAuth 2.0 client is one of
// those, whatever the plugin declares about its field. nil and empty text are no value. The error
// names every key that is declared twice or not at all, that is missing, or whose value does not fit.
func ForPlugin(declared Declaration, given map[string]any) (map[string]any, error) {
	values := make(map[string]any)
	fields := make(map[string]bool)
	var problems []error
	for _, field := range declared.GetFields() {
		key := field.GetKey()
		if fields[key] {
			return nil, fmt.Errorf("the plugin declares field %q twice", key)
		}
		fields[key] = true
		value, err := valueOf(field, given[key])
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", key, err))
		} else if value != nil && !field.GetHostOnly() {
			values[key] = value
		}
	}
	for _, key := range slices.Sorted(maps.Keys(given)) {
		if !fields[key] {
			problems = append(problems, fmt.Errorf("the plugin declares no field %q", key))
		}
	}
	if client := declared.GetAuth().GetOauth2(); client != nil {
		secret := client.GetClientSecretField()
		if !fields[secret] {
			return nil, fmt.Errorf("the plugin's auth names the field %q, which it does not declare", secret)
		}
		delete(values, secret)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return values, nil
}

// valueOf gives the value of one field; nil when there is none and none is needed.
func valueOf(field *pb.ConfigField, given any) (any, error) {
	kind := kindOf(field)
	if isGiven(given) {
		return fitting.Given(kind, field.GetOptions(), given)
	}
	otherwise, err := defaultOf(field, kind)
	if err != nil {
		return nil, fmt.Errorf("the plugin's own default does not fit: %w", err)
	}
	if field.GetRequired() && !isGiven(otherwise) {
		return nil, errors.New("missing, and the plugin needs it")
	}
	return otherwise, nil
}

func isGiven(value any) bool { return value != nil && value != "" }

// kindOf gives the name of a field's type; empty for one of a newer minor version.
func kindOf(field *pb.ConfigField) string {
	return strings.TrimPrefix(pb.ConfigField_Type_name[int32(field.GetType())], "TYPE_")
}

func defaultOf(field *pb.ConfigField, kind string) (any, error) {
	if field.GetDefaultJson() == "" {
		return nil, nil
	}
	var value any
	decoder := json.NewDecoder(strings.NewReader(field.GetDefaultJson()))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil || decoder.More() || value == nil {
		return nil, errors.New("expected one JSON value")
	}
	return value, fitting.Default(kind, field.GetOptions(), value)
}
