package connector

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
)

var (
	streamName = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)
	dottedKey  = regexp.MustCompile(`^[^\s.]+\.\S+$`)
)

// checkSchema refuses a schema that no host would use; the Python SDK and aperio have the same rule.
func checkSchema(schema *pb.SchemaResponse) error {
	checks := make([]string, 0, len(schema.GetChecks()))
	for _, check := range schema.GetChecks() {
		checks = append(checks, check.GetKey())
	}
	actions := make([]string, 0, len(schema.GetRemediationActions()))
	for _, action := range schema.GetRemediationActions() {
		actions = append(actions, action.GetKey())
	}
	return errors.Join(
		checkStreams(schema), checkAccount(schema), checkMappings(schema),
		checkKeys("check", checks), checkKeys("action", actions),
	)
}

func checkStreams(schema *pb.SchemaResponse) error {
	names := make([]string, 0, len(schema.GetStreams()))
	for _, stream := range schema.GetStreams() {
		if !streamName.MatchString(stream.GetName()) {
			return fmt.Errorf("stream %q is not 1 to 64 lower-case letters, digits, _ and -",
				stream.GetName())
		}
		names = append(names, stream.GetName())
	}
	features := schema.GetInterface().GetFeatures()
	switch {
	case slices.Contains(features, string(FeatureStreams)) && len(names) == 0:
		return errors.New("the feature `streams` needs streams that are declared")
	case slices.Contains(features, string(FeatureEventTypes)) && len(schema.GetEventTypes()) == 0:
		return errors.New("the feature `event-types` needs event types that are declared")
	}
	return checkOnce("stream", names)
}

func checkAccount(schema *pb.SchemaResponse) error {
	key := schema.GetAccountIdField()
	if key == "" {
		return nil
	}
	for _, field := range schema.GetFields() {
		if field.GetKey() == key && field.GetSecret() {
			return fmt.Errorf("account_id_field names %q, which is secret", key)
		}
		if field.GetKey() == key {
			return nil
		}
	}
	return fmt.Errorf("account_id_field names %q, which is not declared", key)
}

func checkMappings(schema *pb.SchemaResponse) error {
	names := make([]string, 0, len(schema.GetEventMappings()))
	for _, mapping := range schema.GetEventMappings() {
		ours, theirs := mapping.GetEventType(), mapping.GetProductEventType()
		if len(ours) == 0 || len(ours) > maxNameBytes {
			return fmt.Errorf("mapping of %q: an event type has 1 to %d bytes", ours, maxNameBytes)
		}
		if len(theirs) == 0 || len(theirs) > maxProductTypeBytes {
			return fmt.Errorf("mapping of %q: the product's event type has 1 to %d bytes",
				ours, maxProductTypeBytes)
		}
		names = append(names, ours)
	}
	return checkOnce("mapping of", names)
}

// checkKeys refuses keys of checks or actions. The part before the dot is free: `ms365.` stands for
// MICROSOFT_365.
func checkKeys(kind string, keys []string) error {
	for _, key := range keys {
		if !dottedKey.MatchString(key) || len(key) > maxCheckBytes {
			return fmt.Errorf("%s %q: a key is a prefix, a dot and a name, at most %d bytes",
				kind, key, maxCheckBytes)
		}
	}
	return checkOnce(kind, keys)
}

func checkOnce(kind string, names []string) error {
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		if seen[name] {
			return fmt.Errorf("%s %q is declared twice", kind, name)
		}
		seen[name] = true
	}
	return nil
}
