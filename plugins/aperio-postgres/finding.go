package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
)

const (
	statusOpen     = "OPEN"
	statusResolved = "RESOLVED"
	statusMuted    = "MUTED"
)

var (
	statuses   = []string{statusOpen, statusResolved, statusMuted}
	severities = []string{"INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL"}
	// inEvidence are the keys of a finding's record that the server has in the evidence only.
	inEvidence = []string{
		"ruleId", "target", "provider", "source", "eventType", sourceEventID, "actor", "dedupeTarget",
	}
)

// finding is a row of security_findings: values by the name of their column. Columns that the table
// lacks are left out; see optionalOfFindings.
type finding map[string]any

// delivered is what a finding's evidence has under the reserved key.
type delivered struct {
	ID         string `json:"id"` // the delivery key
	Producer   string `json:"producer"`
	OccurredAt string `json:"occurred_at"`
}

// findingOf gives the row of a finding that comes under a delivery key. The error is why there can be
// none.
func findingOf(read *head, delivery string) (finding, error) {
	record := read.record
	status, severity := record.text("status"), record.text("severity")
	switch {
	case record.text("findingId") == "" || record.text("dedupeKey") == "" || record.text("title") == "":
		return nil, errors.New("the finding lacks findingId, dedupeKey or title")
	case !slices.Contains(statuses, status):
		return nil, fmt.Errorf("the finding's status is none of %v", statuses)
	case !slices.Contains(severities, severity):
		return nil, fmt.Errorf("the finding's severity is none of %v", severities)
	case record.text("integrationId") != "" && record.text("integrationId") != read.integration:
		return nil, errors.New("the finding is of another integration than its envelope")
	}
	score, err := scoreOf(record)
	if err != nil {
		return nil, err
	}
	evidence, err := evidenceOf(read, delivery)
	if err != nil {
		return nil, err
	}
	made := finding{
		"id": record.text("findingId"), "integration_id": read.integration,
		"dedupe_key": record.text("dedupeKey"), "title": record.text("title"),
		"description": record.text("description"), "severity": severity, "status": status,
		"risk_score": score, "evidence": string(evidence), "detected_at": read.milliseconds(),
		"remediation_steps": record.texts("remediationSteps"), "tags": record.texts("tags"),
		"rule_id": record.text("ruleId"), "target": record.text("target"), "provider": read.provider,
		"resolved_at": nil,
	}
	if status == statusResolved {
		made["resolved_at"] = read.milliseconds()
	}
	return made, nil
}

func scoreOf(record object) (int32, error) {
	var score float64
	if json.Unmarshal(record["riskScore"], &score) != nil || score != math.Trunc(score) ||
		score < 0 || score > 100 {
		return 0, errors.New("the finding's riskScore is no whole number from 0 to 100")
	}
	return int32(score), nil
}

// evidenceOf gives the rule's evidence with what the server has beside it, and which delivery it is of.
func evidenceOf(read *head, delivery string) ([]byte, error) {
	record := read.record
	evidence := parseObject(record["evidence"])
	if evidence == nil {
		evidence = object{}
	}
	for _, key := range inEvidence {
		if value, isThere := record[key]; isThere {
			evidence[key] = value
		}
	}
	of, err := json.Marshal(delivered{delivery, read.text("producer"), read.text("occurred_at")})
	if err != nil {
		return nil, err
	}
	evidence[reserved] = of
	return json.Marshal(evidence)
}

// texts gives a list of texts; of what is none, an empty one.
func (o object) texts(key string) []string {
	list := []json.RawMessage{}
	if json.Unmarshal(o[key], &list) != nil {
		return []string{}
	}
	found := make([]string, 0, len(list))
	for _, each := range list {
		found = append(found, object{key: each}.text(key))
	}
	return found
}
