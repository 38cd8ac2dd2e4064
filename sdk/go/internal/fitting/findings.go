package fitting

import (
	"fmt"
	"slices"
	"strings"
)

// Names of what a connector may send beside events, of Interface.features.
const (
	findingsFeature = "findings"
	auditLogFeature = "audit-log"
)

// Occurrence is a finding in one status.
type Occurrence struct {
	// RuleID, Target (the dedupe target where there is one), Status and SourceEventID are as the
	// finding has them.
	RuleID, Target, Status, SourceEventID string
}

// Findings looks at the findings of one sync, in their order.
type Findings struct {
	prefix string
	isTold bool
	rules  remembered[string]
	seen   remembered[Occurrence]
}

// NewFindings gives the rules for a provider, upper-case as in the manifest, the keys of the schema's
// checks, and the features that it names.
func NewFindings(provider string, checks, features []string) *Findings {
	made := &Findings{
		prefix: strings.ToLower(provider) + ".", isTold: slices.Contains(features, findingsFeature),
	}
	for _, check := range checks {
		made.rules.add(check)
	}
	return made
}

// Flaws gives what is wrong with the next finding; an undeclared rule once only.
func (f *Findings) Flaws(occurrence Occurrence, eventType string) []Flaw {
	var found []Flaw
	isOurs := strings.HasPrefix(eventType, f.prefix) && len(eventType) > len(f.prefix)
	if eventType != "" && !isOurs {
		said := fmt.Sprintf("event_type %s: expected `%s` and a name", eventType, f.prefix)
		return []Flaw{{said, true}}
	}
	if !f.isTold {
		f.isTold = true
		found = append(found, undeclared(findingsFeature))
	}
	if f.rules.add(occurrence.RuleID) {
		said := fmt.Sprintf("rule_id %s: no check of the schema has this key", occurrence.RuleID)
		found = append(found, Flaw{said, false})
	}
	if !f.seen.add(occurrence) {
		const said = "source_event_id: the same finding came with it and the same status before"
		found = append(found, Flaw{said, false})
	}
	return found
}

// AuditLog looks at the audit log entries of one sync, in their order.
type AuditLog struct {
	isTold bool
	ids    remembered[string]
}

// NewAuditLog gives the rules for the features that a schema names.
func NewAuditLog(features []string) *AuditLog {
	return &AuditLog{isTold: slices.Contains(features, auditLogFeature)}
}

// Flaws gives what is wrong with the next entry.
func (a *AuditLog) Flaws(sourceEventID string) []Flaw {
	var found []Flaw
	if !a.isTold {
		a.isTold = true
		found = append(found, undeclared(auditLogFeature))
	}
	if !a.ids.add(sourceEventID) {
		found = append(found, Flaw{"source_event_id: another entry of this sync has it, too", false})
	}
	return found
}

func undeclared(feature string) Flaw {
	return Flaw{fmt.Sprintf("the schema's interface does not name the feature `%s`", feature), false}
}

// remembered has the latest things: at least rememberedIDs, and at most twice as many.
type remembered[Thing comparable] struct{ things, older map[Thing]bool }

// add says whether a thing is new, and remembers it.
func (r *remembered[Thing]) add(thing Thing) bool {
	if r.things[thing] || r.older[thing] {
		return false
	}
	if r.things == nil || len(r.things) >= rememberedIDs {
		r.things, r.older = make(map[Thing]bool), r.things
	}
	r.things[thing] = true
	return true
}
