package connector

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	aperio "github.com/writer/aperio-plugin-go"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/convert"
	"github.com/writer/aperio-plugin-go/internal/jsontext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const longestNamed = 100

// FindingSeverity says how grave a finding is. The zero value is none.
type FindingSeverity int

// The severities.
const (
	SeverityInfo FindingSeverity = iota + 1
	SeverityLow
	SeverityMedium
	SeverityHigh
	SeverityCritical
)

// FindingStatus says whether a finding stands. The zero value is StatusOpen.
type FindingStatus int

// The statuses.
const (
	StatusOpen FindingStatus = iota
	StatusResolved
	StatusMuted
)

// Finding is something wrong that the connector itself sees in the service. The host adds the tenant,
// the provider and the key by which repeats are known. Most connectors send events only, and leave
// the judgement to the product's rules; one that sends findings declares FeatureFindings. One that
// cannot be passed on becomes a dead letter that names the part, and the sync goes on.
type Finding struct {
	// RuleID is the key of a declared check, such as `box.public_shared_link`. 1 to 160 bytes.
	RuleID string
	// Title is one line. 1 to 220 characters.
	Title string
	// Description has at most 16 KiB.
	Description string
	// Severity says how grave it is.
	Severity FindingSeverity
	// RiskScore is 0 to 100.
	RiskScore int
	// RemediationSteps say what to do, one step each; at most 64 of at most 1024 bytes.
	RemediationSteps []string
	// Target is what it is about, such as the name of a repository. 1 to 255 characters.
	Target string
	// DedupeTarget tells findings of one rule apart, where the target does not. At most 255
	// characters.
	DedupeTarget string
	// Status says whether it stands.
	Status FindingStatus
	// OccurredAt is when it was found, or became resolved or muted; as an event's.
	OccurredAt time.Time
	// SourceEventID is a stable id of this occurrence in the service: of the event that gave rise to
	// it, say. The same finding with the same id and status is delivered once. 1 to 512 bytes.
	SourceEventID string
	// EventType is as an event's Type; may be empty.
	EventType string
	// Actor is who gave rise to it; nil when the service does not say.
	Actor *Actor
	// Origin is as an event's.
	Origin string
	// Tags are at most 32 of at most 64 bytes.
	Tags []string
	// Evidence is a JSON object, as an event's Record; nil: none.
	Evidence any
}

// AuditLogEntry is who did what to the configuration of the service itself. A connector that sends
// entries declares FeatureAuditLog. One that cannot be passed on becomes a dead letter, as an event
// does.
type AuditLogEntry struct {
	// SourceEventID is as an event's.
	SourceEventID string
	// Action is what was done, such as `policy.updated`. 1 to 128 bytes.
	Action string
	// OccurredAt is as an event's.
	OccurredAt time.Time
	// Actor is who did it; nil when the service does not say.
	Actor *Actor
	// Origin is as an event's.
	Origin string
	// Record is the service's own record, as an event's.
	Record any
}

// findingMessage gives the message of a finding, and an upper bound of its size in a batch, in bytes.
// The error names the part that is malformed or too long.
func findingMessage(finding Finding) (*pb.Finding, int, error) {
	title := strings.Join(strings.Fields(finding.Title), " ")
	severity, severityErr := severityOf(finding.Severity)
	status, statusErr := statusOf(finding.Status)
	if err := errors.Join(
		checkText("rule_id", finding.RuleID, 1, maxCheckBytes),
		checkCharacters("title", title, 1, maxTitleCharacters),
		checkText("description", finding.Description, 0, maxDescriptionBytes),
		severityErr,
		checkScore(finding.RiskScore),
		checkTexts("remediation_steps", finding.RemediationSteps, maxSteps, maxStepBytes),
		checkCharacters("target", finding.Target, 1, maxTargetCharacters),
		checkCharacters("dedupe_target", finding.DedupeTarget, 0, maxTargetCharacters),
		statusErr,
		aperio.CheckTime(finding.OccurredAt, "occurred_at"),
		checkText("source_event_id", finding.SourceEventID, 1, maxIDBytes),
		checkText("event_type", finding.EventType, 0, maxNameBytes),
		checkText("origin", finding.Origin, 0, maxNameBytes),
		checkTexts("tags", finding.Tags, maxTags, maxTagBytes),
	); err != nil {
		return nil, 0, err
	}
	message := &pb.Finding{
		RuleId: finding.RuleID, Title: title, Description: finding.Description,
		Severity: severity, RiskScore: uint32(finding.RiskScore),
		RemediationSteps: finding.RemediationSteps, Target: finding.Target,
		DedupeTarget: finding.DedupeTarget, Status: status,
		OccurredAt:    timestamppb.New(finding.OccurredAt),
		SourceEventId: finding.SourceEventID, EventType: finding.EventType,
		Actor: actorOrNone(finding.Actor), Origin: finding.Origin, Tags: finding.Tags,
	}
	if finding.Evidence != nil {
		var err error
		if message.EvidenceJson, err = object("evidence", finding.Evidence); err != nil {
			return nil, 0, err
		}
	}
	return message, proto.Size(message) + perEventInBatch, nil
}

// entryMessage gives the same of an audit log entry.
func entryMessage(entry AuditLogEntry) (*pb.AuditLogEntry, int, error) {
	if err := errors.Join(
		checkText("source_event_id", entry.SourceEventID, 1, maxIDBytes),
		checkText("action", entry.Action, 1, maxNameBytes),
		aperio.CheckTime(entry.OccurredAt, "occurred_at"),
		checkText("origin", entry.Origin, 0, maxNameBytes),
	); err != nil {
		return nil, 0, err
	}
	record, err := object("record", entry.Record)
	if err != nil {
		return nil, 0, err
	}
	message := &pb.AuditLogEntry{
		SourceEventId: entry.SourceEventID, Action: entry.Action,
		OccurredAt: timestamppb.New(entry.OccurredAt), Actor: actorOrNone(entry.Actor),
		Origin:     entry.Origin,
		RecordJson: record,
	}
	return message, proto.Size(message) + perEventInBatch, nil
}

func severityOf(severity FindingSeverity) (pb.Finding_Severity, error) {
	found, err := convert.Named(severity, map[FindingSeverity]pb.Finding_Severity{
		SeverityInfo:     pb.Finding_SEVERITY_INFO,
		SeverityLow:      pb.Finding_SEVERITY_LOW,
		SeverityMedium:   pb.Finding_SEVERITY_MEDIUM,
		SeverityHigh:     pb.Finding_SEVERITY_HIGH,
		SeverityCritical: pb.Finding_SEVERITY_CRITICAL,
	})
	if err != nil {
		return found, fmt.Errorf("severity: %w", err)
	}
	return found, nil
}

func statusOf(status FindingStatus) (pb.Finding_Status, error) {
	found, err := convert.Named(status, map[FindingStatus]pb.Finding_Status{
		StatusOpen:     pb.Finding_STATUS_OPEN,
		StatusResolved: pb.Finding_STATUS_RESOLVED,
		StatusMuted:    pb.Finding_STATUS_MUTED,
	})
	if err != nil {
		return found, fmt.Errorf("status: %w", err)
	}
	return found, nil
}

func checkScore(score int) error {
	if score < 0 || score > maxRiskScore {
		return fmt.Errorf("risk_score: expected 0 to %d, received %d", maxRiskScore, score)
	}
	return nil
}

func checkCharacters(name, text string, least, most int) error {
	if err := checkText(name, text, least, len(text)); err != nil {
		return err
	}
	if length := utf8.RuneCountInString(text); length > most {
		return fmt.Errorf("%s has %d characters, %d are the most", name, length, most)
	}
	return nil
}

func checkTexts(name string, texts []string, most, mostBytes int) error {
	if len(texts) > most {
		return fmt.Errorf("%s has %d texts, %d are the most", name, len(texts), most)
	}
	for number, text := range texts {
		if err := checkText(fmt.Sprintf("%s[%d]", name, number), text, 0, mostBytes); err != nil {
			return err
		}
	}
	return nil
}

func actorOrNone(actor *Actor) *pb.Actor {
	if actor == nil {
		return nil
	}
	return actorMessage(actor)
}

// object gives a JSON object. The error begins with its name: it is none, too long or too deep.
func object(name string, value any) ([]byte, error) {
	encoded, err := convert.Object(value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := checkLength(name, len(encoded), maxRecordBytes); err != nil {
		return nil, err
	}
	if err := jsontext.CheckObject(encoded, maxRecordDepth); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return encoded, nil
}

// letterOfFinding gives the dead letter of a finding that cannot be passed on; its record is the
// evidence.
func letterOfFinding(finding Finding, reason error) DeadLetter {
	return DeadLetter{
		Reason: fmt.Sprintf(
			"finding %q of %q: %s", short(finding.RuleID), short(finding.Target), reason,
		),
		SourceEventID: finding.SourceEventID, Type: finding.EventType, Origin: finding.Origin,
		Record: readable(finding.Evidence),
	}
}

// letterOfEntry gives the dead letter of an audit log entry that cannot be passed on.
func letterOfEntry(entry AuditLogEntry, reason error) DeadLetter {
	return DeadLetter{
		Reason:        fmt.Sprintf("audit log entry %q: %s", short(entry.Action), reason),
		SourceEventID: entry.SourceEventID, Origin: entry.Origin, Record: readable(entry.Record),
	}
}

func short(text string) string { return convert.Cut(text, longestNamed) }

// readable gives something that a person can read of a record; nothing for what has no form.
func readable(record any) []byte {
	if record == nil {
		return nil
	}
	encoded, err := convert.Object(record)
	if err != nil {
		encoded, _ = json.Marshal(record) // no object
	}
	return encoded
}
