package plugintest_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/connector"
	"github.com/writer/aperio-plugin-go/plugintest"
)

// judging is a connector that declares a check, and says that it sends findings and entries.
type judging struct {
	settled
	features []connector.Feature
}

func (j *judging) Schema() connector.Schema {
	schema := j.settled.Schema()
	schema.Checks = []connector.Check{{Key: "ms365.r", Title: "R"}}
	schema.Features = j.features
	return schema
}

var both = []connector.Feature{connector.FeatureFindings, connector.FeatureAuditLog}

func finding() connector.Finding {
	return connector.Finding{
		RuleID: "ms365.r", Title: "T", Description: "D", Severity: connector.SeverityHigh,
		RiskScore: 70, RemediationSteps: []string{"look"}, Target: "t", DedupeTarget: "d",
		Status: connector.StatusResolved, OccurredAt: time.Unix(1, 0).UTC(), SourceEventID: "e1",
		EventType: "x.y", Actor: &connector.Actor{ID: "7"}, Origin: "o", Tags: []string{"a"},
		Evidence: json.RawMessage(`{"a": [1]}`),
	}
}

func entry() connector.AuditLogEntry {
	return connector.AuditLogEntry{
		SourceEventID: "a1", Action: "policy.updated", OccurredAt: time.Unix(1, 0).UTC(),
		Origin: "o", Record: json.RawMessage("{}"),
	}
}

func syncOf(
	t *testing.T, features []connector.Feature, send func(*connector.Stream) error,
) (*plugintest.SyncResult, error) {
	t.Helper()
	plugin := &judging{features: features}
	plugin.sync = func(_ *connector.SyncRequest, stream *connector.Stream) error { return send(stream) }
	return plugintest.New(t, plugin, plugintest.Options{}).Sync(nil)
}

func TestFindingsAndEntriesAreWhatTheHostReceives(t *testing.T) {
	result, err := syncOf(t, both, func(stream *connector.Stream) error {
		return errors.Join(
			stream.SendFinding(finding()), stream.SendAuditLogEntry(entry()),
			stream.Checkpoint([]byte("1")),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(result.Findings, []connector.Finding{finding()}) {
		t.Errorf("got %+v", result.Findings)
	}
	if !reflect.DeepEqual(result.AuditLog, []connector.AuditLogEntry{entry()}) {
		t.Errorf("got %+v", result.AuditLog)
	}
	if at := result.Checkpoints[0]; at.FindingsBefore != 1 || at.AuditLogBefore != 1 {
		t.Errorf("got %+v", at)
	}
}

func TestASyncEndsWithAFindingOrAnEntryThatBreaksAPromise(t *testing.T) {
	undeclared := finding()
	undeclared.RuleID = "ms365.other"
	for why, send := range map[string]func(*connector.Stream) error{
		"no check of the schema": func(stream *connector.Stream) error {
			return stream.SendFinding(undeclared)
		},
		"the same finding came": func(stream *connector.Stream) error {
			return errors.Join(stream.SendFinding(finding()), stream.SendFinding(finding()))
		},
		"another entry of this sync": func(stream *connector.Stream) error {
			return errors.Join(stream.SendAuditLogEntry(entry()), stream.SendAuditLogEntry(entry()))
		},
	} {
		_, err := syncOf(t, both, send)
		if !errors.Is(err, aperio.InvalidRecord) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: got %v", why, err)
		}
	}
}

func TestWhatTheSchemaDoesNotSpeakOfEndsASync(t *testing.T) {
	for feature, send := range map[string]func(*connector.Stream) error{
		"`findings`":  func(stream *connector.Stream) error { return stream.SendFinding(finding()) },
		"`audit-log`": func(stream *connector.Stream) error { return stream.SendAuditLogEntry(entry()) },
	} {
		if _, err := syncOf(t, nil, send); err == nil || !strings.Contains(err.Error(), feature) {
			t.Errorf("%s: got %v", feature, err)
		}
	}
}
