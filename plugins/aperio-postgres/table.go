package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	aperio "github.com/writer/aperio-plugin-go"
)

const (
	jobsTable     = "ingestion_jobs"
	findingsTable = "security_findings"
)

var (
	// columnsOfJobs are those that insertJobs writes.
	columnsOfJobs = []string{
		"id", "organization_id", "integration_id", "provider", "event_type", "source", "actor",
		"occurred_at", "payload", "status", "attempts", "max_attempts", "next_attempt_at", "created_at",
		"updated_at",
	}
	// columnsOfFindings are those that a finding needs.
	columnsOfFindings = []string{
		"id", "organization_id", "integration_id", "dedupe_key", "title", "severity", "status",
		"risk_score", "evidence", "detected_at", "resolved_at",
	}
	// optionalOfFindings are written where the table has them: not every version of the server does.
	optionalOfFindings = []string{
		"description", "remediation_steps", "tags", "rule_id", "target", "provider", "created_at",
		"updated_at",
	}
)

// table is what is known of a table of the server.
type table struct {
	name    string // quoted, with its schema
	columns map[string]column
	// integrations says where the integrations are that its rows are of; nil: it does not refer to a
	// table that has their organization.
	integrations *reference
}

// column is what is known of a column.
type column struct {
	kind   string   // its type, quoted, without a length
	enum   string   // the enum that it is, or that its domain is of; quoted
	labels []string // of that enum; nil: it is none
	isOwed bool     // an insert has to give it a value
	isCast bool     // a text does not become it by itself: an enum, JSON, or a domain of one
}

// reference is a key of another table.
type reference struct {
	table string
	key   string
}

func (t *table) has(name string) bool {
	_, isThere := t.columns[name]
	return isThere
}

// asks reads a database.
type asks interface {
	Query(ctx context.Context, sql string, arguments ...any) (pgx.Rows, error)
}

// columnsOf gives a table with its columns; none: it is not there.
func columnsOf(ctx context.Context, database asks, schema, name string) (*table, error) {
	found := &table{name: pgx.Identifier{schema, name}.Sanitize(), columns: map[string]column{}}
	rows, err := database.Query(ctx, `
		SELECT a.attname::text, format_type(a.atttypid, NULL), format_type(b.oid, NULL),
			a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND a.attgenerated = '',
			b.typtype = 'e' OR b.oid IN ('json'::regtype, 'jsonb'::regtype),
			CASE WHEN b.typtype = 'e' THEN ARRAY(
				SELECT e.enumlabel::text FROM pg_catalog.pg_enum e WHERE e.enumtypid = b.oid) END
		FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
		JOIN pg_catalog.pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
		WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped`, found.name)
	if err != nil {
		return nil, err
	}
	var title string
	var each column
	into := []any{&title, &each.kind, &each.enum, &each.isOwed, &each.isCast, &each.labels}
	if _, err := pgx.ForEachRow(rows, into, func() error {
		found.columns[title] = each
		each = column{}
		return nil
	}); err != nil {
		return nil, err
	}
	return found, nil
}

// inspect looks at a table: whether it is there, and what this plugin knows to fill.
func inspect(ctx context.Context, database asks, schema, name string) (*table, error) {
	found, err := columnsOf(ctx, database, schema, name)
	if err != nil {
		return nil, err
	}
	if err := found.requireColumns(schema, name); err != nil {
		return nil, err
	}
	return found, found.findIntegrations(ctx, database)
}

// requireColumns refuses a table that has not what is written, or wants what is not.
func (t *table) requireColumns(schema, name string) error {
	needed, further := columnsOfJobs, []string(nil)
	if name == findingsTable {
		needed, further = columnsOfFindings, optionalOfFindings
	}
	if len(t.columns) == 0 {
		return &aperio.Error{
			Cause: aperio.InvalidConfig, Attribute: aperio.Path{aperio.Key("schema")},
			Summary: fmt.Sprintf("there is no table %s in the schema %s", name, schema),
			Detail: "it is made by the server's migrations: run them, or correct database or schema; " +
				"nothing was written",
		}
	}
	missing := []string{}
	for _, each := range needed {
		if !t.has(each) {
			missing = append(missing, each)
		}
	}
	unknown := []string{}
	for _, each := range slices.Sorted(maps.Keys(t.columns)) {
		if t.columns[each].isOwed && !slices.Contains(needed, each) && !slices.Contains(further, each) {
			unknown = append(unknown, each)
		}
	}
	if len(missing)+len(unknown) == 0 {
		return nil
	}
	return &aperio.Error{
		Cause: aperio.InvalidConfig, Attribute: aperio.Path{aperio.Key("schema")},
		Summary: fmt.Sprintf("the table %s.%s is not one that this version can write", schema, name),
		Detail: fmt.Sprintf("missing columns: %s\nrequired columns that it does not know: %s",
			listOf(missing), listOf(unknown)),
	}
}

func listOf(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// findIntegrations finds the table that integration_id refers to, if it says whose they are.
func (t *table) findIntegrations(ctx context.Context, database asks) error {
	rows, err := database.Query(ctx, `
		SELECT c.confrelid::regclass::text, quote_ident(f.attname::text)
		FROM pg_catalog.pg_constraint c
		JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
		JOIN pg_catalog.pg_attribute f ON f.attrelid = c.confrelid AND f.attnum = c.confkey[1]
		JOIN pg_catalog.pg_attribute o ON o.attrelid = c.confrelid AND o.attname = 'organization_id'
		WHERE c.contype = 'f' AND c.conrelid = to_regclass($1) AND a.attname = 'integration_id'`, t.name)
	if err != nil {
		return err
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (reference, error) {
		var one reference
		return one, row.Scan(&one.table, &one.key)
	})
	if err == nil && len(found) > 0 {
		t.integrations = &found[0]
	}
	return err
}

// labels are the values that a call writes, by the column that may be an enum.
type labels map[string]map[string]bool

func (l labels) add(column, value string) {
	if l[column] == nil {
		l[column] = map[string]bool{}
	}
	l[column][value] = true
}

// requireLabels refuses values that the server's enums do not have, and says how to add them. A row
// of such a value would be rejected, and what is not as the rows expect is the server.
func (t *table) requireLabels(given labels) error {
	unknown, statements := []string{}, []string{}
	for _, name := range keysOf(given) {
		known := t.columns[name]
		if known.labels == nil {
			continue // it is text, or there is no such column
		}
		for _, value := range keysOf(given[name]) {
			if !slices.Contains(known.labels, value) {
				unknown = append(unknown, fmt.Sprintf("%s (its type %s has no such value)", name, known.enum))
				statements = append(statements, fmt.Sprintf("ALTER TYPE %s ADD VALUE '%s';", known.enum, value))
			}
		}
	}
	if len(statements) == 0 {
		return nil
	}
	return &aperio.Error{
		Cause:   aperio.InvalidConfig,
		Summary: "the server does not know this " + strings.Join(slices.Compact(unknown), ", this "),
		Detail: "as the owner of the type, run: " + strings.Join(statements, " ") +
			"\nnothing was written; what the server itself needs for a provider is in " +
			"docs/reference/product.md, and a severity or status comes with its migrations",
	}
}

// value gives the expression that writes a value of a type of PostgreSQL into a column. It has that
// type whatever the column is, so that the database says that they do not fit, once for all rows, and
// not the driver, or the database again for each row.
func (t *table) value(name, given, kind string) string {
	into := t.columns[name]
	switch {
	case !into.isCast:
		return given + "::" + kind
	case kind == "text[]":
		return fmt.Sprintf("array_to_json(%s::%s)::%s", given, kind, into.kind)
	}
	return fmt.Sprintf("%s::%s::text::%s", given, kind, into.kind)
}
