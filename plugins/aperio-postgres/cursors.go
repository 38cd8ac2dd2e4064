package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/destination"
)

// cursorsTable has the cursors of connectors. The operator makes it: the server has none.
const cursorsTable = "aperio_sync_cursors"

// columnsOfCursors are its columns, each with the types that it may have, the first of which it gets.
var columnsOfCursors = []struct {
	name  string
	kinds []string
}{
	{"organization_id", textKinds},
	{"integration_id", textKinds},
	{"connector", textKinds},
	{"choice", textKinds},
	{"cursor", []string{"bytea"}},
	{"covered", []string{"jsonb", "json", "text"}},
	{"connector_version", textKinds},
	{"stored_at", []string{"timestamp with time zone"}},
}

var textKinds = []string{"text", "character varying"}

// keyOfCursors has the columns that tell cursors apart.
var keyOfCursors = []string{"organization_id", "integration_id", "connector", "choice"}

// createCursors gives the statement that makes the table.
func createCursors(schema string) string {
	columns := []string{}
	for _, each := range columnsOfCursors {
		columns = append(columns, each.name+" "+each.kinds[0]+" NOT NULL")
	}
	return fmt.Sprintf("CREATE TABLE %s (%s, PRIMARY KEY (%s));",
		pgx.Identifier{schema, cursorsTable}.Sanitize(), strings.Join(columns, ", "),
		strings.Join(keyOfCursors, ", "))
}

// inspectCursors looks at the table of cursors: whether it is there and what it has to be.
func inspectCursors(ctx context.Context, database asks, schema string) (*table, error) {
	found, err := columnsOf(ctx, database, schema, cursorsTable)
	if err != nil {
		return nil, err
	}
	if len(found.columns) == 0 {
		return nil, otherCursors(schema, fmt.Sprintf("there is no table %s in the schema %s", cursorsTable, schema))
	}
	wrong := []string{}
	for _, each := range columnsOfCursors {
		if known, isThere := found.columns[each.name]; !isThere {
			wrong = append(wrong, each.name+" is missing")
		} else if !slices.Contains(each.kinds, known.kind) {
			wrong = append(wrong, each.name+" is "+known.kind)
		}
	}
	for _, name := range keysOf(found.columns) {
		if found.columns[name].isOwed && !isColumnOfCursors(name) {
			wrong = append(wrong, name+" needs a value that there is not")
		}
	}
	rows, err := database.Query(ctx, `
		SELECT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = to_regclass($1)
				AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
				AND i.indexprs IS NULL AND i.indnkeyatts = cardinality($2::text[])
				AND i.indnatts = i.indnkeyatts AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
					WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
					AND a.attname::text <> ALL($2::text[]))),
			has_table_privilege(to_regclass($1), 'SELECT') AND has_table_privilege(to_regclass($1), 'INSERT')
				AND has_table_privilege(to_regclass($1), 'UPDATE')`, found.name, keyOfCursors)
	if err != nil {
		return nil, err
	}
	var isKeyed, mayWrite bool
	if _, err := pgx.ForEachRow(rows, []any{&isKeyed, &mayWrite}, func() error { return nil }); err != nil {
		return nil, err
	}
	if !isKeyed {
		wrong = append(wrong, "nothing holds "+strings.Join(keyOfCursors, ", ")+" to be unique together")
	}
	if len(wrong) > 0 {
		return nil, otherCursors(schema, fmt.Sprintf("the table %s.%s is another one than cursors are kept in: %s",
			schema, cursorsTable, strings.Join(wrong, "; ")))
	}
	if !mayWrite {
		return nil, &aperio.Error{
			Cause: aperio.PermissionDenied, Summary: "the user may not keep cursors in the database",
			Detail: fmt.Sprintf("as the owner of the table, run, with the role of this user: "+
				"GRANT SELECT, INSERT, UPDATE ON %s TO role;", found.name),
		}
	}
	return found, nil
}

func isColumnOfCursors(name string) bool {
	for _, each := range columnsOfCursors {
		if each.name == name {
			return true
		}
	}
	return false
}

// otherCursors says how the table has to be made.
func otherCursors(schema, summary string) error {
	return &aperio.Error{
		Cause: aperio.InvalidConfig, Attribute: aperio.Path{aperio.Key("keep_cursor")},
		Summary: summary,
		Detail: "as the owner of the tables, run: " + createCursors(schema) +
			" and GRANT SELECT, INSERT, UPDATE on it to the role of this user; nothing was read or written",
	}
}

// Position gives where the database is in a sync; nil: it keeps no cursors.
func (a *AperioPostgres) Position(
	ctx context.Context, request *destination.PositionRequest,
) (*destination.Position, error) {
	settings, err := readSettings(request.Config, request.OrganizationID)
	if err != nil || !settings.keepsCursor {
		return nil, err
	}
	ctx, cancel := early(ctx, settings.timeout)
	defer cancel()
	server, err := a.servers.get(settings)
	if err != nil {
		return nil, failure(err)
	}
	defer a.servers.put(server)
	found, err := readCursor(ctx, server, settings, request)
	if err != nil {
		return nil, failure(err)
	}
	return found, nil
}

// readCursor looks at the table as it is now, and for a cursor in it.
func readCursor(
	ctx context.Context, server *server, settings *settings, request *destination.PositionRequest,
) (*destination.Position, error) {
	in, err := inspectCursors(ctx, server.pool, settings.schema)
	if err != nil {
		return nil, err
	}
	server.note(cursorsTable, in)
	rows, err := server.pool.Query(ctx, "SELECT cursor, covered::text, connector_version::text, stored_at FROM "+
		in.name+" WHERE "+whereCursor, request.OrganizationID, request.IntegrationID,
		request.Source.Connector, request.Source.Choice)
	if err != nil {
		return nil, err
	}
	found := &destination.Position{}
	var checkpoint destination.SyncCheckpoint
	var covered string
	into := []any{&checkpoint.Cursor, &covered, &checkpoint.ConnectorVersion, &found.StoredAt}
	_, err = pgx.ForEachRow(rows, into, func() error {
		if checkpoint.Covered, err = coveredOf(covered); err != nil {
			request.Logger.Warn("what a cursor covers cannot be read, and counts as not known", "error", err)
		}
		found.Checkpoint = &checkpoint
		return nil
	})
	return found, err
}

const whereCursor = "organization_id = $1::text AND integration_id = $2::text " +
	"AND connector = $3::text AND choice = $4::text"

// coveredOf reads the times by the names of streams.
func coveredOf(text string) (map[string]time.Time, error) {
	found := map[string]time.Time{}
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		return nil, err
	}
	return found, nil
}

// writeCursor stores the checkpoint of a call, when all its envelopes are accepted and what is stored is
// what it replaces.
func (d *delivery) writeCursor(ctx context.Context, tx pgx.Tx, server *server) error {
	d.outcome = destination.CheckpointNotStored
	if d.store == nil || len(d.invalid)+len(d.refused) > 0 {
		return nil
	}
	into := server.known(cursorsTable)
	if into == nil {
		found, err := inspectCursors(ctx, tx, d.settings.schema)
		if err != nil {
			return err
		}
		server.note(cursorsTable, found)
		into = found
	}
	covered, err := json.Marshal(d.store.Checkpoint.Covered)
	if err != nil {
		return err
	}
	done, err := tx.Exec(ctx, upsertCursor(into, len(d.store.Replaces) == 0),
		d.OrganizationID, d.IntegrationID, d.store.Source.Connector, d.store.Source.Choice,
		bytesOf(d.store.Checkpoint.Cursor), string(covered), d.store.Checkpoint.ConnectorVersion,
		bytesOf(d.store.Replaces))
	var told *pgconn.PgError
	switch {
	case errors.As(err, &told) && isAboutRow(told):
		return &aperio.Error{
			Cause: aperio.InvalidConfig, Err: err, Attribute: aperio.Path{aperio.Key("keep_cursor")},
			Summary: "the table " + cursorsTable + " does not take a cursor", Detail: reasonOf(told),
		}
	case err != nil:
		return err
	case done.RowsAffected() == 0:
		d.outcome = destination.CheckpointMoved
	default:
		d.outcome = destination.CheckpointStored
	}
	return nil
}

// bytesOf gives bytes that are never NULL.
func bytesOf(data []byte) []byte { return append([]byte{}, data...) }

// upsertCursor gives the statement that stores a cursor in the place of one that may be replaced; no row
// is affected where there is another one. Only where none is known to be stored may there be none: what
// is gone was brought back from a backup.
func upsertCursor(into *table, isFirst bool) string {
	covered := into.value("covered", "$6", "text")
	if !isFirst {
		return fmt.Sprintf("UPDATE %s SET cursor = $5::bytea, covered = %s, connector_version = $7::text, "+
			"stored_at = now() WHERE %s AND cursor IN ($5::bytea, $8::bytea)", into.name, covered, whereCursor)
	}
	return fmt.Sprintf("INSERT INTO %s AS c (organization_id, integration_id, connector, choice, cursor, covered, "+
		"connector_version, stored_at) VALUES ($1::text, $2::text, $3::text, $4::text, $5::bytea, %s, $7::text, now()) "+
		"ON CONFLICT (%s) DO UPDATE SET cursor = excluded.cursor, covered = excluded.covered, "+
		"connector_version = excluded.connector_version, stored_at = excluded.stored_at "+
		"WHERE c.cursor IN ($5::bytea, $8::bytea)", into.name, covered, strings.Join(keyOfCursors, ", "))
}
