package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// refused says why a row is not in its table, by the index of its envelope.
type refused map[int]string

// rows are what a call writes, each with the index of its envelope.
type rows[T any] struct {
	indices []int
	values  []T
}

func (r *rows[T]) add(index int, value T) {
	r.indices, r.values = append(r.indices, index), append(r.values, value)
}

// without gives those that are not refused.
func (r *rows[T]) without(given refused) rows[T] {
	made := rows[T]{}
	for number, index := range r.indices {
		if _, isRefused := given[index]; !isRefused {
			made.add(index, r.values[number])
		}
	}
	return made
}

func (r *rows[T]) halves() (first, second rows[T]) {
	middle := len(r.values) / 2
	return rows[T]{r.indices[:middle], r.values[:middle]}, rows[T]{r.indices[middle:], r.values[middle:]}
}

// isolate writes rows, and where the database refuses one, the others all the same: halves of them,
// halves of those, behind a savepoint each. Errors are not about a row.
func isolate[T any](
	ctx context.Context, tx pgx.Tx, given rows[T], why refused,
	write func(context.Context, pgx.Tx, []T) error,
) error {
	if len(given.values) == 0 {
		return nil
	}
	err := pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error { return write(ctx, inner, given.values) })
	var told *pgconn.PgError
	if err == nil || !errors.As(err, &told) || !isAboutRow(told) {
		return err
	}
	if len(given.values) == 1 {
		why[given.indices[0]] = reasonOf(told)
		return nil
	}
	first, second := given.halves()
	if err := isolate(ctx, tx, first, why, write); err != nil {
		return err
	}
	return isolate(ctx, tx, second, why, write)
}

// isAboutRow tells whether another row might be taken (PostgreSQL documentation, appendix A): its
// data (22), a constraint (23, 44), a trigger (P0), or a limit (54), such as how deep JSON may be.
func isAboutRow(told *pgconn.PgError) bool {
	return !isAboutTable(told) && slices.Contains([]string{"22", "23", "44", "54", "P0"}, classOf(told))
}

// isAboutTable tells whether a table, a column or a type is not as it is taken to be: there is none, or
// a column has to have a value (23502) that this plugin does not write.
func isAboutTable(told *pgconn.PgError) bool {
	written := slices.Concat(columnsOfJobs, columnsOfFindings, optionalOfFindings)
	switch classOf(told) {
	case "42":
		return told.Code != "42501" // a privilege
	case "3F", "0A":
		return true
	}
	return told.Code == "23502" && !slices.Contains(written, told.ColumnName)
}

func classOf(told *pgconn.PgError) string { return (told.Code + "00")[:2] }

// reasonOf says what the database said, without its detail, which has the row in it.
func reasonOf(told *pgconn.PgError) string {
	reason := fmt.Sprintf("PostgreSQL refuses the row: %s (%s)", told.Message, told.Code)
	for name, value := range map[string]string{
		"column": told.ColumnName, "constraint": told.ConstraintName,
	} {
		if value != "" {
			reason += fmt.Sprintf("; %s %s", name, value)
		}
	}
	return reason
}

// ── events ────────────────────────────────────────────────────────────────────────────────────────

// insertJobs gives the statement that writes any number of jobs at once.
func insertJobs(into *table) string {
	values := []string{into.value("organization_id", "$1", "text")}
	for _, name := range []string{
		"id", "integration_id", "provider", "event_type", "source", "actor", "payload",
	} {
		values = append(values, into.value(name, "r."+name, "text"))
	}
	return fmt.Sprintf(`
		INSERT INTO %s (organization_id, id, integration_id, provider, event_type, source, actor, payload,
			occurred_at, status, attempts, max_attempts, next_attempt_at, created_at, updated_at)
		SELECT %s, r.occurred_at, 'QUEUED', 0, 3, now(), now(), now()
		FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
			$8::timestamptz[], $9::text[])
			AS r(id, integration_id, provider, event_type, source, actor, occurred_at, payload)
		ON CONFLICT (id) DO NOTHING`, into.name, strings.Join(values, ", "))
}

// writeJobs gives what writes jobs of an organization.
func writeJobs(into *table, organization string) func(context.Context, pgx.Tx, []*job) error {
	statement := insertJobs(into)
	return func(ctx context.Context, tx pgx.Tx, jobs []*job) error {
		texts, actors, times := make([][]string, 6), make([]*string, len(jobs)), make([]time.Time, len(jobs))
		for index, each := range jobs {
			for column, text := range []string{
				each.id, each.integration, each.provider, each.eventType, each.source, each.payload,
			} {
				texts[column] = append(texts[column], text)
			}
			actors[index], times[index] = each.actor, each.occurredAt
		}
		_, err := tx.Exec(ctx, statement, organization,
			texts[0], texts[1], texts[2], texts[3], texts[4], actors, times, texts[5])
		return err
	}
}

// refuseTaken refuses the jobs whose id is that of another organization's job: they are not there.
func refuseTaken(
	ctx context.Context, tx pgx.Tx, in *table, organization string, jobs rows[*job], why refused,
) error {
	byID := map[string][]int{}
	for number, each := range jobs.values {
		byID[each.id] = append(byID[each.id], jobs.indices[number])
	}
	if len(byID) == 0 {
		return nil
	}
	taken, err := tx.Query(ctx, fmt.Sprintf(
		"SELECT id FROM %s WHERE id = ANY($1::text[]) AND organization_id <> $2::text", in.name),
		keysOf(byID), organization)
	if err != nil {
		return err
	}
	var id string
	_, err = pgx.ForEachRow(taken, []any{&id}, func() error {
		for _, index := range byID[id] {
			why[index] = "another job of the server has this id, and it is of another organization"
		}
		return nil
	})
	return err
}

// ── findings ──────────────────────────────────────────────────────────────────────────────────────

// stays gives the condition under which a finding keeps its status: it is MUTED, because a person said
// so; MUTED comes, and it is not OPEN; or the OPEN that comes is the delivery that wrote the row last.
// That one comes again after a crash, and whoever has resolved the finding since has seen it.
func stays(in *table) string {
	condition := "f.status::text = 'MUTED' OR excluded.status::text = 'MUTED' AND f.status::text <> 'OPEN'"
	if in.columns["evidence"].isCast {
		id := "evidence::jsonb #>> '{" + reserved + ",id}'"
		condition += " OR excluded.status::text = 'OPEN' AND f.status::text = 'RESOLVED' AND f." + id +
			" IS NOT DISTINCT FROM excluded." + id
	}
	return "(" + condition + ")"
}

// upsertFinding gives the statement that writes a finding, and the columns of its parameters. Its
// status is what the newest says unless it stays; RESOLVED is opened by OPEN only; the rest is as the
// newest has it. Statuses are compared as texts: an older server's enum lacks one that nobody writes.
func upsertFinding(into *table) (statement string, parameters []string) {
	names, values := []string{"organization_id"}, []string{into.value("organization_id", "$1", "text")}
	stays := stays(into)
	updates := []string{
		"status = CASE WHEN " + stays + " THEN f.status ELSE excluded.status END",
		"resolved_at = CASE WHEN " + stays + " OR excluded.status::text = 'MUTED' THEN f.resolved_at WHEN " +
			"excluded.status::text = 'OPEN' THEN NULL ELSE coalesce(f.resolved_at, excluded.resolved_at) END",
	}
	for _, name := range slices.Concat(columnsOfFindings, optionalOfFindings) {
		switch {
		case !into.has(name) || name == "organization_id":
			continue
		case name == "created_at" || name == "updated_at":
			names, values = append(names, name), append(values, "now()")
		default:
			parameters = append(parameters, name)
			names = append(names, name)
			given := fmt.Sprintf("$%d", len(parameters)+1)
			values = append(values, into.value(name, given, typeOfFinding(name)))
		}
		if isReplaced(name) {
			updates = append(updates, fmt.Sprintf("%s = excluded.%s", name, name))
		}
	}
	if into.has("resolved_by_id") {
		updates = append(updates, "resolved_by_id = CASE WHEN NOT "+stays+" AND "+
			"excluded.status::text = 'OPEN' THEN NULL ELSE f.resolved_by_id END")
	}
	return fmt.Sprintf("INSERT INTO %s AS f (%s) VALUES (%s) "+
		"ON CONFLICT (organization_id, dedupe_key) DO UPDATE SET %s",
		into.name, strings.Join(names, ", "), strings.Join(values, ", "), strings.Join(updates, ", ")), parameters
}

// typeOfFinding gives the type of what is written into a column, in PostgreSQL's words.
func typeOfFinding(name string) string {
	switch name {
	case "risk_score":
		return "integer"
	case "detected_at", "resolved_at":
		return "timestamptz"
	case "remediation_steps", "tags":
		return "text[]"
	}
	return "text"
}

// isReplaced tells whether a repeat of a finding brings the column anew.
func isReplaced(name string) bool {
	return slices.Contains([]string{
		"title", "description", "severity", "risk_score", "evidence", "remediation_steps", "tags",
		"updated_at",
	}, name)
}

// writeFindings gives what writes findings of an organization, one after the other: of two of the same
// the later counts.
func writeFindings(into *table, organization string) func(context.Context, pgx.Tx, []finding) error {
	statement, parameters := upsertFinding(into)
	return func(ctx context.Context, tx pgx.Tx, findings []finding) error {
		batch := &pgx.Batch{}
		for _, each := range findings {
			arguments := []any{organization}
			for _, name := range parameters {
				arguments = append(arguments, each[name])
			}
			batch.Queue(statement, arguments...)
		}
		return tx.SendBatch(ctx, batch).Close()
	}
}
