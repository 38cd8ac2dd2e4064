package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/destination"
	"github.com/writer/aperio-plugin-go/plugintest"
)

const storedCursors = `SELECT convert_from(cursor, 'UTF8') FROM aperio_sync_cursors ORDER BY stored_at, connector, choice`

var ofBox = destination.SyncSource{Connector: "acme/box-connector 1f2e"}

// newKeeper is a database with a table of cursors, and the plugin that keeps them.
func newKeeper(t *testing.T) (*database, *plugintest.Harness) {
	t.Helper()
	database := newDatabase(t)
	database.run(createCursors(database.schema))
	return database, harness(t, database, map[string]any{"keep_cursor": true})
}

// toStore is envelopes with a cursor behind them, in the place of another.
func toStore(cursor, replaces string, envelopes ...destination.Envelope) destination.StoreRequest {
	return destination.StoreRequest{
		DeliverRequest: destination.DeliverRequest{Envelopes: envelopes}, Source: ofBox,
		Checkpoint: destination.SyncCheckpoint{
			Cursor: []byte(cursor), ConnectorVersion: "1.2.3",
			Covered: map[string]time.Time{"admin_logs": time.Unix(1700000000, 5000).UTC()},
		},
		Replaces: []byte(replaces),
	}
}

// wantOutcome delivers with a cursor; the harness compares what is stored with the answer.
func wantOutcome(
	t *testing.T, plugin *plugintest.Harness, request destination.StoreRequest,
	outcome destination.CheckpointOutcome,
) {
	t.Helper()
	delivered, err := plugin.DeliverAndStore(request)
	if err != nil || delivered.Outcome != outcome || len(delivered.Results) != len(request.Envelopes) {
		t.Fatalf("got %+v, %v", delivered, err)
	}
}

func TestACursorIsStoredWithItsRows(t *testing.T) {
	database, plugin := newKeeper(t)
	position, err := plugin.Position(ofBox)
	if err != nil || position == nil || position.Checkpoint != nil {
		t.Fatalf("got %+v, %v", position, err)
	}
	wantOutcome(t, plugin, toStore("1", "", events(0, 3)...), destination.CheckpointStored)
	wantOutcome(t, plugin, toStore("2", "1", foundAt(1, statusOpen)), destination.CheckpointStored)
	wantOutcome(t, plugin, toStore("2", "1", foundAt(1, statusOpen)), destination.CheckpointStored) // again
	wantOutcome(t, plugin, toStore("3\x00\xff", "2"), destination.CheckpointStored)
	database.want(`SELECT count(*)::text FROM ingestion_jobs`, "3")
	database.want(`SELECT organization_id || integration_id || choice || connector_version || covered::text
		FROM aperio_sync_cursors`, `locallocal1.2.3{"admin_logs": "2023-11-14T22:13:20.000005Z"}`)
	position, err = plugin.Position(ofBox)
	if err != nil || string(position.Checkpoint.Cursor) != "3\x00\xff" || time.Since(position.StoredAt) > patience30 ||
		!position.Checkpoint.Covered["admin_logs"].Equal(time.Unix(1700000000, 5000)) {
		t.Errorf("got %+v, %v", position, err)
	}
	// What comes in one transaction has one time.
	database.want(`SELECT count(*)::text FROM security_findings WHERE updated_at <= (SELECT stored_at AT TIME ZONE 'UTC'
		FROM aperio_sync_cursors)`, "1")
}

func TestACursorIsNotStoredWhereARowIsNot(t *testing.T) {
	database, plugin := newKeeper(t)
	wantOutcome(t, plugin, toStore("1", "", events(0, 2)...), destination.CheckpointStored)
	tooLong := eventWith(idOfNumber(5), `{}`)
	tooLong.JSON = json.RawMessage(strings.Replace(string(tooLong.JSON), "admin_logs", strings.Repeat("o", 200), 1))
	invalid := event(idOfNumber(6))
	invalid.JSON = json.RawMessage(`{}`)
	for _, bad := range []destination.Envelope{tooLong, invalid} {
		wantOutcome(t, plugin, toStore("2", "1", event(idOfNumber(7)), bad), destination.CheckpointNotStored)
	}
	database.want(storedCursors, "1")
	database.want(`SELECT count(*)::text FROM ingestion_jobs`, "3")
	wantOutcome(t, plugin, toStore("2", "1"), destination.CheckpointStored)
	database.want(storedCursors, "2")
}

func TestWhatHasNoMappingHoldsNoCursorUp(t *testing.T) {
	database, plugin := newKeeper(t)
	other := event(idOfNumber(1))
	other.JSON = json.RawMessage(strings.Replace(string(other.JSON), "box.item_shared_externally", "box.other", 1))
	wantOutcome(t, plugin, toStore("1", "", other), destination.CheckpointStored)
	database.want(`SELECT count(*)::text FROM ingestion_jobs`, "0")
}

func TestACursorReplacesOnlyTheOneThatItIsMeantTo(t *testing.T) {
	database, plugin := newKeeper(t)
	wantOutcome(t, plugin, toStore("5", "4"), destination.CheckpointMoved) // an empty table was brought back
	wantOutcome(t, plugin, toStore("3", ""), destination.CheckpointStored)
	wantOutcome(t, plugin, toStore("5", "4", event(idOfNumber(1))), destination.CheckpointMoved)
	wantOutcome(t, plugin, toStore("1", ""), destination.CheckpointMoved)
	database.want(storedCursors, "3")
	wantOutcome(t, plugin, toStore("4", "3"), destination.CheckpointStored)
}

func TestEachSyncHasACursorOfItsOwn(t *testing.T) {
	database, plugin := newKeeper(t)
	for _, source := range []destination.SyncSource{
		ofBox, {Connector: ofBox.Connector, Choice: "logs"}, {Connector: "acme/other 1f2e"},
	} {
		request := toStore("of "+source.Connector+source.Choice, "")
		request.Source = source
		wantOutcome(t, plugin, request, destination.CheckpointStored)
	}
	database.run(`UPDATE aperio_sync_cursors SET organization_id = 'org_2' WHERE choice = 'logs';
		UPDATE aperio_sync_cursors SET integration_id = 'int_9' WHERE connector = 'acme/other 1f2e'`)
	for _, source := range []destination.SyncSource{
		{Connector: ofBox.Connector, Choice: "logs"}, {Connector: "acme/other 1f2e"},
	} {
		if position, err := plugin.Position(source); err != nil || position.Checkpoint != nil {
			t.Errorf("got %+v, %v", position, err)
		}
	}
	database.want(`SELECT count(*)::text FROM aperio_sync_cursors`, "3")
}

func TestNoCursorIsKeptUnlessItIsAskedFor(t *testing.T) {
	database := newDatabase(t)
	plugin := harness(t, database, nil)
	if position, err := plugin.Position(ofBox); position != nil || err != nil {
		t.Errorf("got %+v, %v", position, err)
	}
	mustDeliver(t, plugin, event(idOfNumber(1)))
	if _, err := plugin.DeliverAndStore(toStore("1", "")); !errors.Is(err, aperio.InvalidConfig) {
		t.Errorf("got %v", err)
	}
	database.want(`SELECT count(*)::text FROM pg_tables WHERE schemaname = '`+database.schema+
		`' AND tablename = 'aperio_sync_cursors'`, "0")
}

func TestATableOfCursorsThatIsMissingOrAnotherIsToldWithTheStatement(t *testing.T) {
	for name, test := range map[string]struct{ statements, text string }{
		"missing":   {``, "there is no table aperio_sync_cursors"},
		"a column":  {`ALTER TABLE aperio_sync_cursors DROP COLUMN covered`, "covered is missing"},
		"a type":    {`ALTER TABLE aperio_sync_cursors ALTER cursor TYPE text USING ''`, "cursor is text"},
		"more":      {`ALTER TABLE aperio_sync_cursors ADD mine text NOT NULL`, "mine needs a value"},
		"no key":    {`ALTER TABLE aperio_sync_cursors DROP CONSTRAINT aperio_sync_cursors_pkey`, "unique together"},
		"less":      {`ALTER TABLE aperio_sync_cursors DROP CONSTRAINT aperio_sync_cursors_pkey, ADD PRIMARY KEY (organization_id, integration_id)`, "unique together"},
		"of a part": {`ALTER TABLE aperio_sync_cursors DROP CONSTRAINT aperio_sync_cursors_pkey; CREATE UNIQUE INDEX ON aperio_sync_cursors (organization_id, integration_id, connector, choice) WHERE choice = ''`, "unique together"},
	} {
		t.Run(name, func(t *testing.T) {
			database := newDatabase(t)
			if test.statements != "" {
				database.run(createCursors(database.schema))
				database.run(test.statements)
			}
			plugin := harness(t, database, map[string]any{"keep_cursor": true})
			_, err := plugin.Position(ofBox)
			var told *aperio.Error
			if !errors.As(err, &told) || !errors.Is(err, aperio.InvalidConfig) ||
				!strings.Contains(told.Summary, test.text) || !strings.Contains(told.Detail, "run: CREATE TABLE") {
				t.Fatalf("got %v", err)
			}
			database.run(`DROP TABLE IF EXISTS aperio_sync_cursors`)
			_, statement, _ := strings.Cut(told.Detail, "run: ")
			statement, _, _ = strings.Cut(statement, ";")
			database.run(statement)
			wantOutcome(t, plugin, toStore("1", "", event(idOfNumber(1))), destination.CheckpointStored)
		})
	}
}

func TestTheReadmeHasTheStatement(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil || !strings.Contains(string(text), "```sql\n"+createCursors(defaultSchema)+"\n```") {
		t.Errorf("expected %s; %v", createCursors(defaultSchema), err)
	}
}

func TestATableOfCursorsThatIsGoneMeanwhileIsTold(t *testing.T) {
	database, plugin := newKeeper(t)
	wantOutcome(t, plugin, toStore("1", "", event(idOfNumber(0))), destination.CheckpointStored)
	settings := settingsOf(database, map[string]any{"keep_cursor": true})
	settings["port"] = float64(database.server.port)
	known := &AperioPostgres{}
	t.Cleanup(known.servers.close)
	request := toStore("2", "1", event(idOfNumber(1)))
	request.Invocation = &aperio.Invocation{
		OrganizationID: "local", IntegrationID: "local", Config: aperio.NewConfig(settings),
		Logger: slog.New(slog.DiscardHandler),
	}
	if delivered, err := known.DeliverAndStore(t.Context(), &request); err != nil || delivered.Outcome != destination.CheckpointStored {
		t.Fatalf("got %+v, %v", delivered, err)
	}
	database.run(`DROP TABLE aperio_sync_cursors`)
	request.Envelopes = []destination.Envelope{event(idOfNumber(2))}
	var told *aperio.Error
	if _, err := known.DeliverAndStore(t.Context(), &request); !errors.As(err, &told) ||
		!strings.Contains(told.Detail, "CREATE TABLE") {
		t.Errorf("got %v", err)
	}
	database.want(`SELECT count(*)::text FROM ingestion_jobs`, "2")
	// Brought back without a cursor: what it would cover may be gone.
	database.run(createCursors(database.schema))
	request.Replaces = []byte("2")
	request.Checkpoint.Cursor = []byte("3")
	if delivered, err := known.DeliverAndStore(t.Context(), &request); err != nil || delivered.Outcome != destination.CheckpointMoved {
		t.Errorf("got %+v, %v", delivered, err)
	}
}

func TestATableOfCursorsThatHoldsThemIsTakenAsItIs(t *testing.T) {
	database := newDatabase(t)
	database.run(`CREATE TABLE aperio_sync_cursors (choice varchar(256), covered text, more text, cursor bytea,
		connector varchar(256), integration_id varchar(64), organization_id varchar(64), connector_version text,
		stored_at timestamptz, CONSTRAINT theirs UNIQUE (choice, connector, integration_id, organization_id))`)
	plugin := harness(t, database, map[string]any{"keep_cursor": true})
	wantOutcome(t, plugin, toStore("1", "", event(idOfNumber(1))), destination.CheckpointStored)
	wantOutcome(t, plugin, toStore("2", "1"), destination.CheckpointStored)
	database.run(`UPDATE aperio_sync_cursors SET covered = 'torn'`)
	position, err := plugin.Position(ofBox)
	if err != nil || string(position.Checkpoint.Cursor) != "2" || len(position.Checkpoint.Covered) > 0 {
		t.Errorf("got %+v, %v", position, err)
	}
	database.run(`ALTER TABLE aperio_sync_cursors ADD CHECK (connector_version <> '1.2.3') NOT VALID`)
	_, err = plugin.DeliverAndStore(toStore("3", "2", event(idOfNumber(2))))
	if !errors.Is(err, aperio.InvalidConfig) {
		t.Errorf("got %v", err)
	}
	database.want(`SELECT count(*)::text FROM ingestion_jobs`, "1")
}

func TestWhoMayNotKeepCursorsIsToldBeforeAnythingIsRead(t *testing.T) {
	database, _ := newKeeper(t)
	name := "keeper_" + database.schema
	database.run(`CREATE ROLE ` + name + ` LOGIN PASSWORD 'p'; GRANT USAGE ON SCHEMA ` + database.schema + ` TO ` + name +
		`; GRANT SELECT, INSERT ON aperio_sync_cursors TO ` + name)
	plugin := harness(t, database, map[string]any{"user": name, "password": "p", "keep_cursor": true})
	_, err := plugin.Position(ofBox)
	var told *aperio.Error
	if !errors.As(err, &told) || !errors.Is(err, aperio.PermissionDenied) ||
		!strings.Contains(told.Detail, "GRANT SELECT, INSERT, UPDATE ON") {
		t.Fatalf("got %v", err)
	}
	database.run(`GRANT UPDATE ON aperio_sync_cursors TO ` + name)
	if position, err := plugin.Position(ofBox); err != nil || position == nil {
		t.Errorf("got %+v, %v", position, err)
	}
}

func TestRowsAndCursorAreThereTogetherOrNotAtAll(t *testing.T) {
	database, plugin := newKeeper(t)
	wantOutcome(t, plugin, toStore("1", "", event(idOfNumber(0))), destination.CheckpointStored)
	// The connection ends while it waits for the cursor's row, its own rows written.
	database.run(`BEGIN; SELECT FROM aperio_sync_cursors FOR UPDATE`)
	watcher := newClient(t, database.server, database.schema)
	told := make(chan error)
	go func() {
		_, err := plugin.DeliverAndStore(toStore("2", "1", events(0, 100)...))
		told <- err
	}()
	end := `SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock'
		AND application_name = 'aperio-postgres' AND query LIKE '%aperio_sync_cursors%'`
	for until := time.Now().Add(patience30); len(watcher.ask(end)) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("it does not wait")
		}
	}
	if err := <-told; !errors.Is(err, aperio.Unavailable) {
		t.Errorf("got %v", err)
	}
	database.run(`ROLLBACK`)
	database.want(`SELECT count(*)::text FROM ingestion_jobs`, "1")
	database.want(storedCursors, "1")
	wantOutcome(t, plugin, toStore("2", "1", events(0, 100)...), destination.CheckpointStored)
	database.want(`SELECT count(*)::text FROM ingestion_jobs`, "100")
	database.want(storedCursors, "2")
}

func TestOfTwoSyncsAtOnceOneHasMoved(t *testing.T) {
	database, _ := newKeeper(t)
	settings := settingsOf(database, map[string]any{"keep_cursor": true})
	settings["port"] = float64(database.server.port) // as JSON has it
	plugin := &AperioPostgres{}
	t.Cleanup(plugin.servers.close)
	outcomes := make(chan destination.CheckpointOutcome, 2)
	for number := range 2 {
		go func() {
			// Not by the harness, which expects to be alone.
			request := toStore(fmt.Sprint(number), "", events(100*number, 100*number+50)...)
			request.Invocation = &aperio.Invocation{
				OrganizationID: "local", IntegrationID: "int_1", Config: aperio.NewConfig(settings),
				Logger: slog.New(slog.DiscardHandler),
			}
			delivered, err := plugin.DeliverAndStore(t.Context(), &request)
			if err != nil {
				t.Error(err)
				delivered = &destination.Delivered{}
			}
			outcomes <- delivered.Outcome
		}()
	}
	if first, second := <-outcomes, <-outcomes; first == second || first+second !=
		destination.CheckpointStored+destination.CheckpointMoved {
		t.Errorf("got %d, %d", first, second)
	}
	database.want(`SELECT count(*)::text FROM aperio_sync_cursors`, "1")
}
