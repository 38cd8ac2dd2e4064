package vectors_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/connector"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/fitting"
)

// sent gives the one message that a sync becomes.
func sent(t *testing.T, send func(*connector.Stream) error) *pb.SyncEvent {
	t.Helper()
	came, failed := synced(t, send, func(*pb.SyncEvent) {})
	if failed != nil || len(came) != 1 {
		t.Fatalf("got %d messages, %v", len(came), failed)
	}
	return came[0]
}

// severityOf gives a severity, or what a careless author puts in its place.
func severityOf(value any) connector.FindingSeverity {
	if number, isNumber := value.(float64); isNumber {
		return connector.FindingSeverity(number)
	}
	names := []any{nil, "INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL"}
	return connector.FindingSeverity(slices.Index(names, value))
}

func statusOf(value any) connector.FindingStatus {
	if number, isNumber := value.(float64); isNumber {
		return connector.FindingStatus(number)
	}
	return connector.FindingStatus(max(0, slices.Index([]any{"OPEN", "RESOLVED", "MUTED"}, value)))
}

// assertObject compares a JSON object with what it has to be; neither: it is none.
func assertObject(t *testing.T, got []byte, value any, raw *string) {
	t.Helper()
	if value == nil && raw == nil {
		if len(got) > 0 {
			t.Errorf("got %s", got)
		}
		return
	}
	assertRecord(t, got, value, raw)
}

type author struct {
	SourceEventID string          `json:"source_event_id"`
	OccurredAt    string          `json:"occurred_at"`
	Origin        string          `json:"origin"`
	Actor         *map[string]any `json:"actor"`
}

func (a author) actor() *connector.Actor {
	if a.Actor == nil {
		return nil
	}
	return actorOf(*a.Actor)
}

type writtenFinding struct {
	author
	RuleID           string   `json:"rule_id"`
	Title            string   `json:"title"`
	Target           string   `json:"target"`
	Severity         any      `json:"severity"`
	RiskScore        int      `json:"risk_score"`
	Status           any      `json:"status"`
	Description      string   `json:"description"`
	RemediationSteps []string `json:"remediation_steps"`
	DedupeTarget     string   `json:"dedupe_target"`
	EventType        string   `json:"event_type"`
	Tags             []string `json:"tags"`
	Evidence         any      `json:"evidence"`
	EvidenceRaw      *string  `json:"evidence_raw"`
}

func (w writtenFinding) finding(t *testing.T) connector.Finding {
	t.Helper()
	at, err := aperio.ParseTime(w.OccurredAt, "occurred_at")
	must(t, err)
	made := connector.Finding{
		RuleID: w.RuleID, Title: w.Title, Description: w.Description,
		Severity: severityOf(w.Severity), RiskScore: w.RiskScore,
		RemediationSteps: w.RemediationSteps, Target: w.Target, DedupeTarget: w.DedupeTarget,
		Status: statusOf(w.Status), OccurredAt: at, SourceEventID: w.SourceEventID,
		EventType: w.EventType, Actor: w.actor(), Origin: w.Origin, Tags: w.Tags,
		Evidence: w.Evidence,
	}
	if w.EvidenceRaw != nil {
		made.Evidence = json.RawMessage(*w.EvidenceRaw)
	}
	return made
}

func TestAFindingIsPassedOnOrBecomesADeadLetter(t *testing.T) {
	type scenario struct {
		Name        string
		Finding     writtenFinding
		Expect      json.RawMessage
		Evidence    any           `json:"evidence"`
		EvidenceRaw *string       `json:"evidence_raw"`
		DeadLetter  *wantedLetter `json:"dead_letter"`
		Envelope    any           // the host's
	}
	forEach(t, "findings.json", func(t *testing.T, c scenario) {
		finding := c.Finding.finding(t)
		came := sent(t, func(stream *connector.Stream) error { return stream.SendFinding(finding) })
		if c.DeadLetter != nil {
			c.DeadLetter.assert(t, came.GetDeadLetter(), finding.SourceEventID)
			if !strings.HasPrefix(came.GetDeadLetter().GetReason(), "finding ") {
				t.Errorf("got %v", came)
			}
			return
		}
		message := came.GetFindings().GetFindings()[0]
		assertObject(t, message.GetEvidenceJson(), c.Evidence, c.EvidenceRaw)
		message.EvidenceJson = nil
		assertMessage(t, message, c.Expect)
	})
}

func TestAnAuditLogEntryIsPassedOnOrBecomesADeadLetter(t *testing.T) {
	type scenario struct {
		Name  string
		Entry struct {
			author
			Action    string  `json:"action"`
			Record    any     `json:"record"`
			RecordRaw *string `json:"record_raw"`
		}
		Expect     json.RawMessage
		Record     any           `json:"record"`
		RecordRaw  *string       `json:"record_raw"`
		DeadLetter *wantedLetter `json:"dead_letter"`
		Envelope   any           // the host's
	}
	forEach(t, "audit_log.json", func(t *testing.T, c scenario) {
		at, err := aperio.ParseTime(c.Entry.OccurredAt, "occurred_at")
		must(t, err)
		entry := connector.AuditLogEntry{
			SourceEventID: c.Entry.SourceEventID, Action: c.Entry.Action, OccurredAt: at,
			Actor: c.Entry.actor(), Origin: c.Entry.Origin, Record: c.Entry.Record,
		}
		if c.Entry.RecordRaw != nil {
			entry.Record = json.RawMessage(*c.Entry.RecordRaw)
		}
		came := sent(t, func(stream *connector.Stream) error { return stream.SendAuditLogEntry(entry) })
		if c.DeadLetter != nil {
			c.DeadLetter.assert(t, came.GetDeadLetter(), entry.SourceEventID)
			if !strings.HasPrefix(came.GetDeadLetter().GetReason(), "audit log entry ") {
				t.Errorf("got %v", came)
			}
			return
		}
		message := came.GetAuditLog().GetEntries()[0]
		assertRecord(t, message.GetRecordJson(), c.Record, c.RecordRaw)
		message.RecordJson = nil
		assertMessage(t, message, c.Expect)
	})
}

func TestFindingsKeepWhatIsDeclared(t *testing.T) {
	type scenario struct {
		Name     string
		Checks   []string
		Features []string
		Findings [][]any
	}
	forEach(t, "finding_rules.json", func(t *testing.T, c scenario) {
		rules := fitting.NewFindings("BOX", c.Checks, c.Features)
		for _, finding := range c.Findings {
			occurrence := fitting.Occurrence{
				RuleID: finding[0].(string), Target: finding[1].(string),
				Status: finding[2].(string), SourceEventID: finding[3].(string),
			}
			found := rules.Flaws(occurrence, finding[4].(string))
			wanted, isWanted := finding[5].([]any)
			switch {
			case !isWanted && len(found) > 0, isWanted && len(found) != 1:
				t.Errorf("%v: got %v", finding, found)
			case isWanted:
				isBreach := wanted[0] == "breach"
				if found[0].IsBreach != isBreach || !strings.Contains(found[0].Text, wanted[1].(string)) {
					t.Errorf("%v: got %v", finding, found)
				}
			}
		}
	})
}
