package connector

import "github.com/writer/aperio-plugin-go/records"

// Limits of proto/aperio/plugin/v1/connector.proto, which sdk/testdata/limits.json holds every SDK
// and the host to. Bytes are those of UTF-8.
const (
	maxRecordBytes = 1024 * 1024
	maxRecordDepth = records.MaxLevels // objects and lists inside each other, the record itself included
	maxIDBytes     = 512
	maxNameBytes   = 128
	maxCursorBytes = 64 * 1024

	// Of each text of an actor, which is cut: what the product's columns hold.
	maxActorCharacters = 255

	// Of the key of a check or an action, and of the product's word for a type.
	maxCheckBytes       = 160
	maxProductTypeBytes = 120

	// Of a finding.
	maxTitleCharacters  = 220
	maxDescriptionBytes = 16 * 1024
	maxSteps            = 64
	maxStepBytes        = 1024
	maxTargetCharacters = 255 // of the dedupe target, too
	maxTags             = 32
	maxTagBytes         = 64
	maxRiskScore        = 100

	// Of a dead letter, whose texts are cut.
	maxReasonBytes   = 1024
	maxExcerptBytes  = 1024
	maxPositionBytes = 512
	maxCodeBytes     = 64
)
