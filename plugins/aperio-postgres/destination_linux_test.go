package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/destination"
	"github.com/writer/aperio-plugin-go/plugintest"
)

const boxMappings = `[{"event_type": "box.item_shared_externally", "product_event_type": "EXTERNAL_SHARING_ENABLED"}, ` +
	`{"event_type": "SHARE", "product_event_type": "FILE_SHARED"}]`

// idOfNumber is a digest, as ids of envelopes are.
func idOfNumber(number int) string {
	sum := sha256.Sum256(fmt.Append(nil, number))
	return hex.EncodeToString(sum[:])
}

func event(id string) destination.Envelope { return eventWith(id, `{"size": 0.10}`) }

func eventWith(id, record string) destination.Envelope {
	text := fmt.Sprintf(`{"id":%q,"schema_version":"aperio.event.v1","source":"aperio",`+
		`"producer":"acme/box-connector@1.2.3","organization_id":"local","integration_id":"int_1",`+
		`"provider":"SLACK","kind":"event","event_type":"box.item_shared_externally","actor":null,`+
		`"occurred_at":"2026-01-05T09:00:00.123956789Z","source_event_id":"e1","origin":"admin_logs",`+
		`"record":%s}`, id, record)
	return destination.Envelope{ID: id, Stream: destination.Event, JSON: json.RawMessage(text)}
}

// foundAt is an envelope of a finding; each status of it has an id of its own.
func foundAt(number int, status string) destination.Envelope {
	key := idOfNumber(number)
	text := fmt.Sprintf(`{"id":%[2]q,"schema_version":"aperio.finding.v1","source":"aperio",`+
		`"producer":"acme/box-connector@1.2.3","organization_id":"local","integration_id":"int_1",`+
		`"provider":"SLACK","kind":"finding","event_type":"x","actor":null,`+
		`"occurred_at":"2026-01-05T09:00:00Z","source_event_id":"e1","record":{`+
		`"schemaVersion":"aperio.finding.v1","findingId":"fnd_%[3]s","dedupeKey":%[1]q,"sourceEventId":"e1",`+
		`"status":%[4]q,"ruleId":"box.public_link","title":"T","description":"D","severity":"HIGH",`+
		`"riskScore":70,"remediationSteps":["a","b"],"tags":[],"target":"f","provider":"SLACK",`+
		`"integrationId":"int_1","source":"box.logs","eventType":"x","actor":null,`+
		`"evidence":{"link":"l","ruleId":"forged"}}}`, key, idOfNumber(-number)[:40]+status, key[:24], status)
	return destination.Envelope{ID: key + status, Stream: destination.Finding, JSON: json.RawMessage(text)}
}

func events(from, to int) []destination.Envelope {
	made := []destination.Envelope{}
	for number := from; number < to; number++ {
		made = append(made, event(idOfNumber(number)))
	}
	return made
}

// settingsOf are those of a database.
func settingsOf(database *database, further map[string]any) map[string]any {
	config := map[string]any{
		"host": "127.0.0.1", "port": database.server.port, "user": role, "password": password,
		"database": "postgres", "schema": database.schema, "event_mappings": boxMappings,
	}
	for key, value := range further {
		config[key] = value
	}
	return config
}

// harness is the plugin as after a start.
func harness(t *testing.T, database *database, further map[string]any) *plugintest.Harness {
	t.Helper()
	plugin := &AperioPostgres{}
	t.Cleanup(plugin.servers.close)
	return plugintest.New(t, plugin, plugintest.Options{Config: settingsOf(database, further)})
}

// deliver delivers; it gives the statuses, a letter each, and the reasons.
func deliver(
	t *testing.T, harness *plugintest.Harness, given ...destination.Envelope,
) (statuses string, reasons string) {
	t.Helper()
	results, err := harness.Deliver(given...)
	if err != nil || len(results) != len(given) {
		t.Fatalf("got %d results, %v", len(results), err)
	}
	for _, result := range results {
		statuses += map[destination.Status]string{
			destination.StatusAccepted: "a", destination.StatusRejected: "r", destination.StatusRetry: "t",
		}[result.Status]
		if result.Diagnostic != nil {
			reasons += result.Diagnostic.Code + ": " + result.Diagnostic.Summary + "\n"
		}
	}
	return statuses, reasons
}

// mustDeliver delivers; every envelope must be accepted.
func mustDeliver(t *testing.T, harness *plugintest.Harness, given ...destination.Envelope) {
	t.Helper()
	if statuses, reasons := deliver(t, harness, given...); strings.Trim(statuses, "a") != "" {
		t.Fatalf("got %s: %s", statuses, reasons)
	}
}

// wantFailed delivers, which has to end in an error with a cause and such a text.
func wantFailed(
	t *testing.T, harness *plugintest.Harness, cause aperio.Cause, text string, given ...destination.Envelope,
) {
	t.Helper()
	results, err := harness.Deliver(given...)
	var told *aperio.Error
	if !errors.As(err, &told) || !errors.Is(err, cause) || len(results) > 0 ||
		!strings.Contains(told.Summary+"\n"+told.Detail, text) {
		t.Fatalf("got %v, %+v; want %s: %s", results, err, cause, text)
	}
	if strings.Contains(told.Summary+told.Detail, password) {
		t.Error("it shows the password")
	}
}

func TestAnEventIsAJobAsTheServerQueuesThem(t *testing.T) {
	database := newDatabase(t)
	mustDeliver(t, harness(t, database, nil), event(idOfNumber(1)))
	database.want(`SELECT concat_ws('|', id, organization_id, integration_id, provider, event_type, source,
		coalesce(actor, '-'), occurred_at, status, attempts, max_attempts) FROM ingestion_jobs`,
		idOfNumber(1)+"|local|int_1|SLACK|EXTERNAL_SHARING_ENABLED|slack.admin_logs|-|"+
			"2026-01-05 09:00:00.123|QUEUED|0|3")
	// In UTC, whatever the server's own time zone is.
	database.want(`SELECT count(*)::text FROM ingestion_jobs WHERE next_attempt_at = created_at
		AND updated_at = created_at AND abs(extract(epoch FROM created_at - (now() AT TIME ZONE 'UTC'))) < 60`, "1")
	database.want(`SELECT payload::text FROM ingestion_jobs`,
		`{"size": 0.10, "_aperio": {"id": "`+idOfNumber(1)+`", "actor": null, "producer": `+
			`"acme/box-connector@1.2.3", "occurred_at": "2026-01-05T09:00:00.123956789Z"}, "sourceEventId": "e1"}`)
}

func TestRepeatsAreOneRow(t *testing.T) {
	database := newDatabase(t)
	one, other := harness(t, database, nil), harness(t, database, nil)
	mustDeliver(t, one, append(events(0, 3), events(0, 3)...)...)
	database.run(`UPDATE ingestion_jobs SET status = 'SUCCEEDED'`)
	mustDeliver(t, one, events(0, 4)...)
	mustDeliver(t, other, events(0, 4)...) // as after a restart
	database.want(`SELECT status::text || ' ' || count(*) FROM ingestion_jobs GROUP BY status ORDER BY 1`, "QUEUED 1", "SUCCEEDED 3")
}

func TestOnlyTheRowThatIsRefusedIsRejected(t *testing.T) {
	database := newDatabase(t)
	database.run(`CREATE FUNCTION picky() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN IF NEW.payload ? 'bad' THEN RAISE 'I do not like it'; END IF; RETURN NEW; END $$;
		CREATE TRIGGER picky BEFORE INSERT ON ingestion_jobs FOR EACH ROW EXECUTE FUNCTION picky();
		ALTER TABLE ingestion_jobs ADD CONSTRAINT late FOREIGN KEY (last_error) REFERENCES organizations (id)
			DEFERRABLE INITIALLY DEFERRED, ADD CONSTRAINT small CHECK (NOT payload ? 'small')`)
	given := events(0, 100)
	for index, record := range map[int]string{
		3: `{"n":1e200000}`, 50: `{"bad":1}`, 51: `{"small":1}`, 99: strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000),
	} {
		given[index] = eventWith(given[index].ID, record)
	}
	given[98] = destination.Envelope{ID: given[98].ID, Stream: destination.Event, JSON: json.RawMessage(
		strings.Replace(string(given[98].JSON), "admin_logs", strings.Repeat("o", 200), 1))}
	plugin := harness(t, database, nil)
	statuses, reasons := deliver(t, plugin, given...)
	want := []byte(strings.Repeat("a", 100))
	for _, index := range []int{3, 50, 51, 98, 99} {
		want[index] = 'r'
	}
	if statuses != string(want) {
		t.Errorf("got %s", statuses)
	}
	for _, text := range []string{"(22003)", "I do not like it (P0001)", "constraint small", "(22001)"} {
		if !strings.Contains(reasons, text) {
			t.Errorf("nothing says %s:\n%s", text, reasons)
		}
	}
	database.want(`SELECT count(*)::text FROM ingestion_jobs`, "95")
	mustDeliver(t, plugin, event(idOfNumber(3))) // its twin
}

func TestTheOneKindOfCharacterThatJSONBLacksIsReplaced(t *testing.T) {
	database := newDatabase(t)
	mustDeliver(t, harness(t, database, nil),
		eventWith(idOfNumber(1), `{"a":"x\u0000y","b":"\ud800","c":"\\u0000"}`), event(idOfNumber(2)))
	database.want(`SELECT concat(payload->>'a', payload->>'b', payload->>'c') FROM ingestion_jobs
		WHERE payload ? 'a'`, "x\ufffdy\ufffd\\u0000")
	database.want(`SELECT count(*)::text FROM ingestion_jobs`, "2")
}

func TestWhatHasNoMappingIsLeftOut(t *testing.T) {
	database := newDatabase(t)
	other := func(number int, native string) destination.Envelope {
		made := event(idOfNumber(number))
		text := strings.Replace(string(made.JSON), "box.item_shared_externally", "box.login_succeeded", 1)
		made.JSON = json.RawMessage(strings.Replace(text, `"origin"`, `"native_event_type":"`+native+`","origin"`, 1))
		return made
	}
	plugin := harness(t, database, nil)
	mustDeliver(t, plugin, other(1, "LOGIN"), event(idOfNumber(2)), other(3, "SHARE"))
	database.want(`SELECT event_type FROM ingestion_jobs ORDER BY event_type`, "EXTERNAL_SHARING_ENABLED", "FILE_SHARED")
	// Without one there is nothing to look at: neither the table nor the provider.
	mustDeliver(t, harness(t, database, map[string]any{"schema": "nowhere", "event_mappings": "[]"}), event(idOfNumber(4)))
	unset := settingsOf(database, nil)
	delete(unset, "event_mappings")
	silent := plugintest.New(t, &AperioPostgres{}, plugintest.Options{Config: unset})
	wantFailed(t, silent, aperio.InvalidConfig, "event_mappings is not set", event(idOfNumber(5)))
	database.want(`SELECT count(*)::text FROM ingestion_jobs`, "2")
}

func TestAProviderThatTheServerDoesNotKnowIsNamedWithTheStatement(t *testing.T) {
	database := newDatabase(t)
	plugin := harness(t, database, nil)
	mustDeliver(t, plugin, event(idOfNumber(1)))
	box := event(idOfNumber(2))
	box.JSON = json.RawMessage(strings.Replace(string(box.JSON), "SLACK", "BOX", 1))
	statement := `ALTER TYPE "SaaSProvider" ADD VALUE 'BOX';`
	wantFailed(t, plugin, aperio.InvalidConfig, strings.Replace(statement, `"S`, database.schema+`."S`, 1), event(idOfNumber(3)), box)
	database.want(`SELECT count(*)::text FROM ingestion_jobs`, "1")
	database.run(statement)
	mustDeliver(t, plugin, event(idOfNumber(3)), box)
	database.want(`SELECT provider::text FROM ingestion_jobs ORDER BY 1`, "BOX", "SLACK", "SLACK")
}

func TestAProviderIsFreeWhereTheColumnIsText(t *testing.T) {
	database := newDatabase(t)
	database.run(`ALTER TABLE ingestion_jobs ALTER COLUMN provider TYPE text`)
	box := event(idOfNumber(2))
	box.JSON = json.RawMessage(strings.Replace(string(box.JSON), "SLACK", "BOX", 1))
	mustDeliver(t, harness(t, database, nil), box)
	database.want(`SELECT provider FROM ingestion_jobs`, "BOX")
}

func TestAnotherOrganizationIsNotTouched(t *testing.T) {
	database := newDatabase(t)
	database.run(fmt.Sprintf(`INSERT INTO ingestion_jobs (id, organization_id, integration_id, provider, event_type,
		source, occurred_at, payload, updated_at) VALUES ('%s', 'org_2', 'int_2', 'OKTA', 'X', 'okta.x', now(), '{}', now())`,
		idOfNumber(1)))
	foreign := event(idOfNumber(3))
	foreign.JSON = json.RawMessage(strings.Replace(string(foreign.JSON), "int_1", "int_2", 1))
	statuses, reasons := deliver(t, harness(t, database, nil), event(idOfNumber(1)), event(idOfNumber(2)), foreign)
	if statuses != "rar" || !strings.Contains(reasons, "another organization") ||
		!strings.Contains(reasons, "no integration int_2") || strings.Contains(reasons, "org_2") {
		t.Errorf("got %s: %s", statuses, reasons)
	}
	database.want(`SELECT concat_ws('|', organization_id, provider, event_type, payload) FROM ingestion_jobs ORDER BY 1`,
		"local|SLACK|EXTERNAL_SHARING_ENABLED|"+database.ask(`SELECT payload::text FROM ingestion_jobs WHERE organization_id = 'local'`)[0],
		"org_2|OKTA|X|{}")
}

func TestAFindingGoesThroughItsStates(t *testing.T) {
	database := newDatabase(t)
	plugin := harness(t, database, nil)
	state := `SELECT concat_ws('|', status, title, severity, risk_score, detected_at, coalesce(resolved_at::text, '-'),
		coalesce(resolved_by_id, '-')) FROM security_findings`
	at := func(envelope destination.Envelope, day, title string) destination.Envelope {
		text := strings.Replace(string(envelope.JSON), "2026-01-05", "2026-01-"+day, 1)
		envelope.JSON = json.RawMessage(strings.Replace(text, `"title":"T"`, `"title":"`+title+`"`, 1))
		return envelope
	}
	opened, resolved := foundAt(1, statusOpen), at(foundAt(1, statusResolved), "06", "T")
	for range 2 {
		mustDeliver(t, plugin, opened)
		database.want(state, "OPEN|T|HIGH|70|2026-01-05 09:00:00|-|-")
		mustDeliver(t, plugin, resolved, resolved)
		database.want(state, "RESOLVED|T|HIGH|70|2026-01-05 09:00:00|2026-01-06 09:00:00|-")
	}
	mustDeliver(t, plugin, at(foundAt(1, statusResolved), "07", "T"))
	database.want(state, "RESOLVED|T|HIGH|70|2026-01-05 09:00:00|2026-01-06 09:00:00|-")
	database.run(`UPDATE security_findings SET resolved_by_id = 'usr_1'`)
	mustDeliver(t, plugin, at(opened, "08", "new"))
	database.want(state, "OPEN|new|HIGH|70|2026-01-05 09:00:00|-|-")
	mustDeliver(t, plugin, resolved, foundAt(1, statusMuted))
	database.want(state, "RESOLVED|T|HIGH|70|2026-01-05 09:00:00|2026-01-06 09:00:00|-")
	mustDeliver(t, plugin, opened, foundAt(1, statusMuted))
	database.want(state, "MUTED|T|HIGH|70|2026-01-05 09:00:00|-|-")
	mustDeliver(t, plugin, at(opened, "09", "newer"), resolved, at(opened, "10", "newest"))
	database.want(state, "MUTED|newest|HIGH|70|2026-01-05 09:00:00|-|-")
	database.want(`SELECT id || integration_id || dedupe_key || remediation_steps::text FROM security_findings`,
		"fnd_"+idOfNumber(1)[:24]+"int_1"+idOfNumber(1)+"{a,b}")
	database.want(`SELECT concat_ws('|', evidence->>'ruleId', evidence->>'link', evidence->>'target',
		evidence->>'sourceEventId', evidence->>'eventType') FROM security_findings`, "box.public_link|l|f|e1|x")
	mustDeliver(t, plugin, foundAt(2, statusOpen), foundAt(2, statusResolved), foundAt(3, statusMuted))
	database.want(`SELECT status::text FROM security_findings ORDER BY dedupe_key = '`+idOfNumber(1)+`' DESC, status::text`,
		"MUTED", "MUTED", "RESOLVED")
}

func TestAFindingThatIsRefusedIsRejectedAlone(t *testing.T) {
	database := newDatabase(t)
	long := foundAt(2, statusOpen)
	long.JSON = json.RawMessage(strings.Replace(string(long.JSON), `"title":"T"`, `"title":"`+strings.Repeat("t", 221)+`"`, 1))
	statuses, reasons := deliver(t, harness(t, database, nil), foundAt(1, statusOpen), long, event(idOfNumber(1)), foundAt(3, statusOpen))
	if statuses != "araa" || !strings.Contains(reasons, "(22001)") {
		t.Errorf("got %s: %s", statuses, reasons)
	}
	database.want(`SELECT count(*)::text FROM security_findings`, "2")
	database.want(`SELECT count(*)::text FROM ingestion_jobs`, "1")
}

func TestFindingsAreWrittenIntoAnOlderTable(t *testing.T) {
	database := newDatabase(t)
	database.run(`ALTER TABLE security_findings DROP COLUMN tags, DROP COLUMN resolved_by_id`)
	mustDeliver(t, harness(t, database, nil), foundAt(1, statusOpen))
	database.want(`SELECT title FROM security_findings`, "T")
}

func TestATableThatIsAnotherOneIsRefused(t *testing.T) {
	database := newDatabase(t)
	plugin := harness(t, database, nil)
	wantFailed(t, harness(t, database, map[string]any{"schema": "nowhere"}), aperio.InvalidConfig,
		"no table ingestion_jobs in the schema nowhere", event(idOfNumber(1)))
	database.run(`ALTER TABLE ingestion_jobs ADD COLUMN novel text NOT NULL`)
	wantFailed(t, plugin, aperio.InvalidConfig, "does not know: novel", event(idOfNumber(1)))
	database.run(`ALTER TABLE ingestion_jobs DROP COLUMN novel`)
	mustDeliver(t, plugin, event(idOfNumber(1)))
	database.run(`ALTER TABLE ingestion_jobs RENAME COLUMN source TO origin`) // while it is connected
	wantFailed(t, plugin, aperio.InvalidConfig, "missing columns: source", event(idOfNumber(2)))
	database.run(`ALTER TABLE ingestion_jobs RENAME COLUMN origin TO source`)
	mustDeliver(t, plugin, event(idOfNumber(2)))
}

func TestValuesThatAnOlderServersEnumsLackAreNamed(t *testing.T) {
	database := newDatabase(t)
	plugin := harness(t, database, nil)
	database.run(`ALTER TYPE "IngestionJobStatus" RENAME VALUE 'QUEUED' TO 'PENDING';
		ALTER TYPE "FindingStatus" RENAME VALUE 'MUTED' TO 'SUPPRESSED';
		ALTER TYPE "FindingSeverity" RENAME VALUE 'HIGH' TO 'BAD'`)
	high := foundAt(1, statusOpen)
	low := func(status string) destination.Envelope {
		made := foundAt(2, status)
		made.JSON = json.RawMessage(strings.Replace(string(made.JSON), `"HIGH"`, `"LOW"`, 1))
		return made
	}
	wantFailed(t, plugin, aperio.InvalidConfig, `"IngestionJobStatus" ADD VALUE 'QUEUED';`, event(idOfNumber(1)))
	wantFailed(t, plugin, aperio.InvalidConfig, `"FindingSeverity" ADD VALUE 'HIGH';`, low(statusOpen), high)
	wantFailed(t, plugin, aperio.InvalidConfig, `"FindingStatus" ADD VALUE 'MUTED';`, low(statusMuted))
	database.want(`SELECT count(*)::text FROM security_findings`, "0")
	mustDeliver(t, plugin, low(statusOpen), low(statusResolved)) // no word of MUTED, and none is needed
	database.run(`ALTER TYPE "IngestionJobStatus" ADD VALUE 'QUEUED'; ALTER TYPE "FindingSeverity" ADD VALUE 'HIGH'`)
	mustDeliver(t, plugin, event(idOfNumber(1)), high)
}

func TestAServerThatIsBroughtToAnotherVersionMeanwhileIsWrittenAsItIs(t *testing.T) {
	for name, test := range map[string]struct{ change, want string }{
		"a column is gone": {`ALTER TABLE security_findings DROP COLUMN tags`, ""},
		"provider is text": {`ALTER TABLE ingestion_jobs ALTER provider TYPE text; DROP TYPE "SaaSProvider"`, ""},
		"id has a limit":   {`ALTER TABLE ingestion_jobs ALTER id TYPE varchar(100)`, ""},
		"another name":     {`ALTER TABLE integration_connections RENAME TO integrations`, ""},
		"the enum is new": {`ALTER TYPE "FindingStatus" RENAME TO old; CREATE TYPE "FindingStatus" AS ENUM ('OPEN', 'RESOLVED');
			ALTER TABLE security_findings ALTER status DROP DEFAULT, ALTER status TYPE "FindingStatus"
			USING status::text::"FindingStatus"; DROP TYPE old`, ""},
		"a column is wanted": {`ALTER TABLE security_findings ADD owed text NOT NULL DEFAULT ''; ALTER TABLE security_findings
			ALTER owed DROP DEFAULT`, "does not know: owed"},
	} {
		t.Run(name, func(t *testing.T) {
			database := newDatabase(t)
			plugin := harness(t, database, nil)
			mustDeliver(t, plugin, event(idOfNumber(1)), foundAt(1, statusOpen))
			database.run(test.change)
			given := []destination.Envelope{event(idOfNumber(2)), foundAt(2, statusOpen)}
			if test.want != "" {
				wantFailed(t, plugin, aperio.InvalidConfig, test.want, given...)
				return
			}
			mustDeliver(t, plugin, given...)
			database.want(`SELECT count(*)::text FROM ingestion_jobs`, "2")
			database.want(`SELECT count(*)::text FROM security_findings`, "2")
		})
	}
}

func TestColumnsOfOtherTypesAreTakenOrTold(t *testing.T) {
	const told = "(42804)"
	for name, test := range map[string]struct{ table, change, want string }{
		"payload is json":        {jobsTable, `payload TYPE json`, ""},
		"payload is text":        {jobsTable, `payload TYPE text`, ""},
		"payload is bytea":       {jobsTable, `payload TYPE bytea USING NULL`, told},
		"id is uuid":             {jobsTable, `id TYPE uuid USING NULL`, told},
		"actor is a number":      {jobsTable, `actor TYPE integer USING 0`, told},
		"provider is a domain":   {jobsTable, `provider TYPE named`, ""},
		"score is text":          {findingsTable, `risk_score TYPE text`, ""},
		"score is a double":      {findingsTable, `risk_score TYPE float8`, ""},
		"steps are JSON":         {findingsTable, `remediation_steps TYPE jsonb USING NULL`, ""},
		"steps are numbers":      {findingsTable, `remediation_steps TYPE integer[] USING NULL`, told},
		"evidence is text":       {findingsTable, `evidence TYPE text`, ""},
		"time has a zone":        {findingsTable, `detected_at TYPE timestamptz`, ""},
		"finding's id is uuid":   {findingsTable, `id TYPE uuid USING NULL`, told},
		"finding's key is bytea": {findingsTable, `dedupe_key TYPE bytea USING NULL`, told},
	} {
		t.Run(name, func(t *testing.T) {
			database := newDatabase(t)
			database.run(`CREATE DOMAIN named AS "SaaSProvider"; ALTER TABLE ` + test.table + ` ALTER ` + test.change)
			given := event(idOfNumber(1))
			if test.table == findingsTable {
				given = foundAt(1, statusOpen)
			}
			plugin := harness(t, database, nil)
			if test.want != "" {
				wantFailed(t, plugin, aperio.InvalidConfig, test.want, given)
				return
			}
			mustDeliver(t, plugin, given, given)
			database.want(`SELECT count(*)::text FROM `+test.table, "1")
		})
	}
}

func TestWhatAPersonHasResolvedIsOpenedByAnotherDeliveryOnly(t *testing.T) {
	database := newDatabase(t)
	plugin := harness(t, database, nil)
	state := `SELECT concat_ws('|', status, title, resolved_by_id) FROM security_findings`
	opened, again := foundAt(1, statusOpen), foundAt(1, statusOpen)
	again.ID = idOfNumber(99) // of another occurrence
	titled := opened
	titled.JSON = json.RawMessage(strings.Replace(string(opened.JSON), `"title":"T"`, `"title":"new"`, 1))
	resolve := `UPDATE security_findings SET status = 'RESOLVED', resolved_at = '2026-01-07', resolved_by_id = 'usr_1'`
	mustDeliver(t, plugin, opened)
	database.run(resolve)
	mustDeliver(t, plugin, titled) // as after a crash, by a build that calls it something else
	database.want(state+` WHERE resolved_at = '2026-01-07'`, "RESOLVED|new|usr_1")
	mustDeliver(t, plugin, again)
	database.want(state+` WHERE resolved_at IS NULL`, "OPEN|T")
	database.run(resolve + `, evidence = '{}'`) // the server's worker has written it since
	mustDeliver(t, plugin, again)
	database.want(state, "OPEN|T")
}

func TestACallForAnIntegrationThatIsNotThereRejectsNothing(t *testing.T) {
	database := newDatabase(t)
	of := func(integration string, number int) destination.Envelope {
		made := event(idOfNumber(number))
		made.JSON = json.RawMessage(strings.Replace(string(made.JSON), "int_1", integration, 1))
		return made
	}
	plugin := harness(t, database, nil) // its calls are for the integration `local`
	mustDeliver(t, plugin, of("local", 1))
	database.run(`DELETE FROM integration_connections WHERE id = 'local'`)
	wantFailed(t, plugin, aperio.InvalidConfig, "no integration local", event(idOfNumber(2)), of("local", 3))
	wantFailed(t, plugin, aperio.InvalidConfig, "--integration", findingOfLocal())
	if statuses, _ := deliver(t, plugin, event(idOfNumber(2)), of("int_404", 3)); statuses != "ar" {
		t.Errorf("got %s", statuses)
	}
}

func findingOfLocal() destination.Envelope {
	made := foundAt(1, statusOpen)
	made.JSON = json.RawMessage(strings.ReplaceAll(string(made.JSON), "int_1", "local"))
	return made
}

func TestTheURLsParametersAreTakenOrNamed(t *testing.T) {
	database := newDatabase(t)
	with := func(query string) *plugintest.Harness {
		address := fmt.Sprintf("%s?schema=%s&%s", database.server.url(), database.schema, query)
		plugin := &AperioPostgres{}
		t.Cleanup(plugin.servers.close)
		return plugintest.New(t, plugin, plugintest.Options{
			Config: map[string]any{"url": address, "event_mappings": boxMappings},
		})
	}
	for _, query := range []string{"connection_limit=5", "lock_timeout=soon"} {
		wantFailed(t, with(query), aperio.InvalidConfig, "a parameter that the URL has", event(idOfNumber(1)))
	}
	wantFailed(t, with("default_transaction_read_only=on"), aperio.Unavailable, "takes no writes", event(idOfNumber(1)))
	wantFailed(t, with("statement_timeout=1"), aperio.Unavailable, "(57014)", events(0, 200)...)
	for number, query := range []string{
		"default_query_exec_mode=simple_protocol", "default_query_exec_mode=exec",
		"default_query_exec_mode=cache_statement", // not behind PgBouncer
		"client_encoding=LATIN1", "default_transaction_isolation=serializable", "lock_timeout=5s",
	} {
		mustDeliver(t, with(query), eventWith(idOfNumber(number), `{"a": "Grüße"}`), foundAt(number, statusOpen))
	}
	database.want(`SELECT DISTINCT payload->>'a' FROM ingestion_jobs`, "Grüße")
}

func TestWhomTheServerLetsInByTLSOnlyIsTold(t *testing.T) {
	database := newDatabase(t)
	database.run(`CREATE ROLE over_tls LOGIN PASSWORD 'p'`)
	rules := filepath.Join(database.server.data(), "pg_hba.conf")
	kept, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(rules, kept, 0o600); err != nil {
			t.Error(err)
		}
		database.run(`SELECT pg_reload_conf()`)
	})
	text := fmt.Sprintf("hostssl all over_tls 127.0.0.1/32 scram-sha-256\nhost all %s 127.0.0.1/32 scram-sha-256\n", role)
	if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	database.run(`SELECT pg_reload_conf()`)
	wantFailed(t, harness(t, database, map[string]any{"user": "over_tls", "password": "p"}), aperio.Unauthenticated,
		"a rule of `hostssl`", event(idOfNumber(1)))
	mustDeliver(t, harness(t, database, nil), event(idOfNumber(1)))
}

func TestAConnectionThatIsEndedInMidTransactionIsTriedAgain(t *testing.T) {
	database := newDatabase(t)
	plugin := harness(t, database, nil)
	mustDeliver(t, plugin, event(idOfNumber(0)))
	database.run(`BEGIN; LOCK TABLE ingestion_jobs IN SHARE MODE`)
	watcher := newClient(t, database.server, database.schema)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if results, err := plugin.Deliver(events(0, 200)...); !errors.Is(err, aperio.Unavailable) || len(results) > 0 {
			t.Errorf("got %v, %v", results, err)
		}
	}()
	end := `SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity
		WHERE wait_event_type = 'Lock' AND application_name = 'aperio-postgres'`
	for until := time.Now().Add(patience30); len(watcher.ask(end)) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("it does not wait")
		}
	}
	<-ended
	database.run(`ROLLBACK`)
	database.want(`SELECT count(*)::text FROM ingestion_jobs`, "1")
	mustDeliver(t, plugin, events(0, 200)...)
	database.want(`SELECT count(*)::text FROM ingestion_jobs`, "200")
}

func TestWhoMayNotWriteIsTold(t *testing.T) {
	database := newDatabase(t)
	name := "bridge_" + database.schema
	database.run(fmt.Sprintf(`CREATE ROLE %[1]s LOGIN PASSWORD 'p'; GRANT USAGE ON SCHEMA %[2]s TO %[1]s`, name, database.schema))
	plugin := harness(t, database, map[string]any{"user": name, "password": "p"})
	database.run(`REVOKE USAGE ON SCHEMA ` + database.schema + ` FROM ` + name)
	wantFailed(t, plugin, aperio.PermissionDenied, "GRANT USAGE ON SCHEMA", event(idOfNumber(1)))
	database.run(`GRANT USAGE ON SCHEMA ` + database.schema + ` TO ` + name)
	wantFailed(t, plugin, aperio.PermissionDenied, "GRANT SELECT, INSERT ON ingestion_jobs", event(idOfNumber(1)))
	database.run(fmt.Sprintf(`GRANT SELECT, INSERT ON ingestion_jobs TO %[1]s; GRANT SELECT ON integration_connections TO %[1]s;
		GRANT SELECT, INSERT, UPDATE ON security_findings TO %[1]s`, name))
	mustDeliver(t, plugin, event(idOfNumber(1)), foundAt(1, statusOpen))
	wantFailed(t, harness(t, database, map[string]any{"password": "wrong-word"}), aperio.Unauthenticated,
		"does not accept the user or the password", event(idOfNumber(1)))
	wantFailed(t, harness(t, database, map[string]any{"database": "nobase"}), aperio.InvalidConfig,
		"no such database", event(idOfNumber(1)))
	wantFailed(t, harness(t, database, map[string]any{"sslmode": "verify-full"}), aperio.InvalidConfig,
		"offers no TLS", event(idOfNumber(1)))
}

func TestAServerThatCannotBeReachedIsTriedAgain(t *testing.T) {
	database := newDatabase(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := closed.Addr().(*net.TCPAddr).Port
	mute, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	closed.Close()
	for name, test := range map[string]struct {
		further map[string]any
		text    string
	}{
		"nobody":  {map[string]any{"port": port}, "--any-protocol"},
		"no name": {map[string]any{"host": "no..such.name"}, "--any-protocol"},
		"mute":    {map[string]any{"port": mute.Addr().(*net.TCPAddr).Port, "timeout_s": 1}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			plugin := harness(t, database, test.further)
			wantFailed(t, plugin, aperio.Unavailable, test.text, event(idOfNumber(1)))
			// What is rejected is rejected all the same.
			invalid := event(idOfNumber(2))
			invalid.JSON = json.RawMessage(`{}`)
			if statuses, _ := deliver(t, plugin, event(idOfNumber(1)), invalid); statuses != "tr" {
				t.Errorf("got %s", statuses)
			}
		})
	}
	mustDeliver(t, harness(t, database, nil), event(idOfNumber(1)))
}

func TestALockThatIsNotGivenEndsInTime(t *testing.T) {
	database := newDatabase(t)
	plugin := harness(t, database, map[string]any{"timeout_s": 1})
	mustDeliver(t, plugin, event(idOfNumber(1)))
	database.run(`BEGIN; LOCK TABLE ingestion_jobs`)
	wantFailed(t, plugin, aperio.Unavailable, "took too long", event(idOfNumber(2)))
	database.run(`ROLLBACK`)
	mustDeliver(t, plugin, event(idOfNumber(2)))
	database.want(`SELECT count(*)::text FROM ingestion_jobs`, "2")
}

func TestADeadlockIsTriedAgain(t *testing.T) {
	database := newDatabase(t)
	database.run(`CREATE FUNCTION torn() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN IF NEW.payload ? 'torn' THEN RAISE 'torn' USING ERRCODE = NEW.payload->>'torn'; END IF; RETURN NEW; END $$;
		CREATE TRIGGER torn BEFORE INSERT ON ingestion_jobs FOR EACH ROW EXECUTE FUNCTION torn()`)
	plugin := harness(t, database, nil)
	for number, code := range []string{"40001", "40P01", "53100", "53300", "57P01", "55P03", "58030", "XX000", "25006"} {
		torn := eventWith(idOfNumber(number), fmt.Sprintf(`{"torn":%q}`, code))
		wantFailed(t, plugin, aperio.Unavailable, code, event(idOfNumber(99)), torn)
	}
	database.want(`SELECT count(*)::text FROM ingestion_jobs`, "0")
	mustDeliver(t, plugin, event(idOfNumber(99)))
}

func TestNothingIsLostWhenTheServerIsKilled(t *testing.T) {
	requirePostgres(t)
	newDatabase(t) // has the shared one made
	server, err := makeServer(shared.server.program)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.remove)
	database := newDatabaseOn(t, server, "own")
	plugin := harness(t, database, nil)
	mustDeliver(t, plugin, event(idOfNumber(0)))
	database.run(`BEGIN; LOCK TABLE ingestion_jobs IN SHARE MODE`) // a transaction of ours waits for it
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if results, err := plugin.Deliver(events(0, 200)...); !errors.Is(err, aperio.Unavailable) || len(results) > 0 {
			t.Errorf("got %v, %v", results, err)
		}
	}()
	watcher := newClient(t, server, "own")
	for until := time.Now().Add(patience30); ; time.Sleep(5 * time.Millisecond) {
		if watcher.ask(`SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock'`)[0] == "1" {
			break
		}
		if time.Now().After(until) {
			t.Fatal("it does not wait")
		}
	}
	server.kill()
	<-ended
	wantFailed(t, plugin, aperio.Unavailable, "", events(0, 200)...)
	if err := server.start(); err != nil {
		t.Fatal(err)
	}
	mustDeliver(t, plugin, events(0, 200)...)
	after := newClient(t, server, "own")
	after.want(`SELECT count(*)::text FROM ingestion_jobs`, "200")
}

func TestCallsShareAFewConnections(t *testing.T) {
	database := newDatabase(t)
	plugin := &AperioPostgres{}
	t.Cleanup(plugin.servers.close)
	tried := plugintest.New(t, plugin, plugintest.Options{Config: settingsOf(database, nil)})
	var group sync.WaitGroup
	for call := range 12 {
		group.Go(func() {
			results, err := tried.Deliver(events(20*call, 20*call+40)...)
			if err != nil || len(results) != 40 {
				t.Errorf("got %v, %v", results, err)
			}
		})
	}
	group.Wait()
	database.want(`SELECT count(*)::text FROM ingestion_jobs`, "260")
	if len(plugin.servers.byKey) != 1 {
		t.Fatalf("there are %d pools", len(plugin.servers.byKey))
	}
	for _, each := range plugin.servers.byKey {
		if count := each.pool.Stat().TotalConns(); count > mostConnections {
			t.Errorf("there are %d connections", count)
		}
	}
}

func TestPoolsThatNobodyUsesAreClosed(t *testing.T) {
	kept := &servers{}
	t.Cleanup(kept.close)
	for number := range mostPools + 5 {
		values := map[string]any{"host": "127.0.0.1", "user": fmt.Sprint("u", number)}
		settings, err := readSettings(aperio.NewConfig(values), "local")
		if err != nil {
			t.Fatal(err)
		}
		server, err := kept.get(settings)
		if err != nil {
			t.Fatal(err)
		}
		kept.put(server)
		if again, _ := kept.get(settings); again != server {
			t.Error("it is another one")
		}
		kept.put(server)
	}
	if len(kept.byKey) != mostPools {
		t.Errorf("there are %d", len(kept.byKey))
	}
}
