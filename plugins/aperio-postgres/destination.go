package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/destination"
)

// AperioPostgres writes events into ingestion_jobs and findings into security_findings, and where it is
// asked to the connector's cursor with them. An envelope counts as accepted once the transaction of its
// call is committed.
type AperioPostgres struct{ servers servers }

// Capabilities declares the settings and the streams.
func (*AperioPostgres) Capabilities() destination.Capabilities {
	return destination.Capabilities{
		Provider:    "APERIO_POSTGRES",
		Name:        "Aperio's database",
		Description: "Queues events for the rules of Aperio's server, and keeps its findings, in its PostgreSQL database.",
		Category:    "bridge",
		Vendor:      "Aperio",
		DocsURL:     "https://github.com/writer/aperio/blob/main/docs/reference/product.md",
		Streams:     []destination.Stream{destination.Event, destination.Finding},
		Fields:      fields,
	}
}

// Deliver writes the envelopes in one transaction.
func (a *AperioPostgres) Deliver(
	ctx context.Context, request *destination.DeliverRequest,
) ([]destination.Result, error) {
	delivered, err := a.deliver(ctx, request, nil)
	if err != nil {
		return nil, err
	}
	return delivered.Results, nil
}

// DeliverAndStore writes the envelopes and the connector's cursor in one transaction.
func (a *AperioPostgres) DeliverAndStore(
	ctx context.Context, request *destination.StoreRequest,
) (*destination.Delivered, error) {
	return a.deliver(ctx, &request.DeliverRequest, request)
}

// deliver writes the envelopes of a call, and the checkpoint that it has; nil: it has none.
func (a *AperioPostgres) deliver(
	ctx context.Context, request *destination.DeliverRequest, store *destination.StoreRequest,
) (*destination.Delivered, error) {
	settings, err := readSettings(request.Config, request.OrganizationID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := early(ctx, settings.timeout)
	defer cancel()
	if store != nil && !settings.keepsCursor {
		return nil, refuse("keep_cursor", "keep_cursor is off, and there is a cursor to keep")
	}
	call := newDelivery(request, settings)
	call.store = store
	if err := call.read(); err != nil {
		return nil, err
	}
	server, err := a.servers.get(settings)
	if err != nil {
		return nil, failure(err)
	}
	defer a.servers.put(server)
	if err := call.run(ctx, server); err != nil {
		server.forget()
		results, err := call.unfinished(failure(err))
		return &destination.Delivered{Results: results}, err
	}
	call.tell(server)
	return &destination.Delivered{Results: call.results(), Outcome: call.outcome}, nil
}

// early ends before the call does, so that the host hears what came of it.
func early(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	if deadline, isSet := ctx.Deadline(); isSet {
		left := time.Until(deadline)
		most = min(most, left-min(2*time.Second, left/5))
	}
	return context.WithTimeout(ctx, most)
}

// delivery is one call.
type delivery struct {
	*destination.DeliverRequest
	settings *settings
	store    *destination.StoreRequest // nil: no checkpoint
	outcome  destination.CheckpointOutcome
	jobs     rows[*job]
	findings rows[finding]
	invalid  refused        // no envelopes for this destination
	refused  refused        // by the database
	leftOut  map[string]int // by type
	repaired int            // characters that jsonb does not have
	replaced int            // records whose own reserved key is not in the payload
}

func newDelivery(request *destination.DeliverRequest, settings *settings) *delivery {
	return &delivery{
		DeliverRequest: request, settings: settings,
		invalid: refused{}, refused: refused{}, leftOut: map[string]int{},
	}
}

// read makes rows of the envelopes. The error is about a setting.
func (d *delivery) read() error {
	for index, envelope := range d.Envelopes {
		read, err := readHead(envelope, d.OrganizationID)
		if err == nil {
			switch envelope.Stream {
			case destination.Event:
				if d.settings.mappings == nil {
					return &aperio.Error{
						Cause: aperio.InvalidConfig, Attribute: aperio.Path{aperio.Key("event_mappings")},
						Summary: "event_mappings is not set, and there are events",
						Detail: "the server takes the types of events that it has rules for, under its own names: " +
							"set it to what `aperio plugin run CONNECTOR schema --json` answers; " +
							"with [] all events are left out",
					}
				}
				err = d.readEvent(index, read)
			case destination.Finding:
				err = d.readFinding(index, read)
			default:
				err = errors.New("the server has no queue for audit log entries")
			}
		}
		if err != nil {
			d.invalid[index] = err.Error()
		}
	}
	return nil
}

func (d *delivery) readEvent(index int, read *head) error {
	native, ours := read.text("native_event_type"), read.text("event_type")
	eventType, isMapped := d.settings.mappings.find(native, ours)
	if !isMapped {
		d.leftOut[ours]++
		return nil
	}
	made, hadReserved, err := jobOf(read, eventType)
	if err != nil {
		return err
	}
	if hadReserved {
		d.replaced++
	}
	d.repaired += read.repaired
	d.jobs.add(index, made)
	return nil
}

func (d *delivery) readFinding(index int, read *head) error {
	made, err := findingOf(read, d.Envelopes[index].ID)
	if err != nil {
		return err
	}
	d.repaired += read.repaired
	d.findings.add(index, made)
	return nil
}

// run writes the rows, and once more when a table is not what it was known to be: the server may have
// been brought to another version while it is connected. With an error nothing is written, or it is
// not known.
func (d *delivery) run(ctx context.Context, server *server) error {
	err := d.write(ctx, server)
	var told *pgconn.PgError
	if errors.As(err, &told) && isAboutTable(told) && server.forget() {
		clear(d.refused)
		return d.write(ctx, server)
	}
	return err
}

// write writes the rows in one transaction.
func (d *delivery) write(ctx context.Context, server *server) error {
	if len(d.jobs.values)+len(d.findings.values) == 0 && d.store == nil {
		return nil
	}
	return pgx.BeginFunc(ctx, server.pool, func(tx pgx.Tx) error {
		// What is checked at the end only could no longer be told from its neighbours.
		if _, err := tx.Exec(ctx, "SET CONSTRAINTS ALL IMMEDIATE"); err != nil {
			return err
		}
		if err := d.writeJobs(ctx, tx, server); err != nil {
			return err
		}
		if err := d.writeFindings(ctx, tx, server); err != nil {
			return err
		}
		return d.writeCursor(ctx, tx, server)
	})
}

func (d *delivery) writeJobs(ctx context.Context, tx pgx.Tx, server *server) error {
	if len(d.jobs.values) == 0 {
		return nil
	}
	used, integrations := labels{"status": {"QUEUED": true}}, map[string][]int{}
	for number, each := range d.jobs.values {
		used.add("provider", each.provider)
		integrations[each.integration] = append(integrations[each.integration], d.jobs.indices[number])
	}
	into, err := d.tableFor(ctx, tx, server, jobsTable, used)
	if err != nil {
		return err
	}
	if err := d.requireIntegrations(ctx, tx, into, integrations); err != nil {
		return err
	}
	write := writeJobs(into, d.OrganizationID)
	if err := isolate(ctx, tx, d.jobs.without(d.refused), d.refused, write); err != nil {
		return err
	}
	return refuseTaken(ctx, tx, into, d.OrganizationID, d.jobs.without(d.refused), d.refused)
}

func (d *delivery) writeFindings(ctx context.Context, tx pgx.Tx, server *server) error {
	if len(d.findings.values) == 0 {
		return nil
	}
	used, integrations := labels{}, map[string][]int{}
	for number, each := range d.findings.values {
		for _, name := range []string{"provider", "severity", "status"} {
			used.add(name, each[name].(string))
		}
		of := each["integration_id"].(string)
		integrations[of] = append(integrations[of], d.findings.indices[number])
	}
	into, err := d.tableFor(ctx, tx, server, findingsTable, used)
	if err != nil {
		return err
	}
	if err := d.requireIntegrations(ctx, tx, into, integrations); err != nil {
		return err
	}
	write := writeFindings(into, d.OrganizationID)
	return isolate(ctx, tx, d.findings.without(d.refused), d.refused, write)
}

// tableFor gives a table whose enums have these values. It is looked at when that is not known, and
// again when a value was missing: somebody may have added it.
func (d *delivery) tableFor(
	ctx context.Context, tx pgx.Tx, server *server, name string, used labels,
) (*table, error) {
	if known := server.known(name); known != nil && known.requireLabels(used) == nil {
		return known, nil
	}
	found, err := inspect(ctx, tx, d.settings.schema, name)
	if err != nil {
		return nil, err
	}
	server.note(name, found)
	return found, found.requireLabels(used)
}

// requireIntegrations refuses the rows of integrations that the organization does not have. When the
// call is for such a one, the error is about that: a wrong name would have all of a sync be rejected.
func (d *delivery) requireIntegrations(
	ctx context.Context, tx pgx.Tx, of *table, indices map[string][]int,
) error {
	if of.integrations == nil {
		return nil
	}
	rows, err := tx.Query(ctx, "SELECT "+of.integrations.key+" FROM "+of.integrations.table+
		" WHERE "+of.integrations.key+" = ANY($1::text[]) AND organization_id = $2::text",
		keysOf(indices), d.OrganizationID)
	if err != nil {
		return err
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for id, those := range indices {
		if slices.Contains(found, id) {
			continue
		}
		if id == d.IntegrationID {
			return &aperio.Error{
				Cause:   aperio.InvalidConfig,
				Summary: "the server has no integration " + firstRunes(id, longestActor) + " of this organization",
				Detail:  "`--org` and `--integration` say which, with the ids that the server has; nothing was written",
			}
		}
		for _, index := range those {
			d.refused[index] = "the server has no integration " + firstRunes(id, longestActor) +
				" of this organization: `--org` and `--integration` say which"
		}
	}
	return nil
}

func keysOf[T any](given map[string]T) []string { return slices.Sorted(maps.Keys(given)) }

// results answers for every envelope, after the transaction.
func (d *delivery) results() []destination.Result {
	answered := make([]destination.Result, 0, len(d.Envelopes))
	for index, envelope := range d.Envelopes {
		answered = append(answered, d.resultOf(index, envelope))
	}
	return answered
}

func (d *delivery) resultOf(index int, envelope destination.Envelope) destination.Result {
	if why, isInvalid := d.invalid[index]; isInvalid {
		return destination.Rejected(envelope, aperio.Diagnostic{Summary: why, Code: "envelope-invalid"})
	}
	if why, isRefused := d.refused[index]; isRefused {
		return destination.Rejected(envelope, aperio.Diagnostic{Summary: why, Code: "row-refused"})
	}
	return destination.Accepted(envelope)
}

// unfinished answers when there is no transaction: what is worth another try is tried again, one by
// one, and else the call fails and nothing is rejected for it.
func (d *delivery) unfinished(why error) ([]destination.Result, error) {
	var told *aperio.Error
	if !errors.As(why, &told) || told.Cause != aperio.Unavailable || len(d.invalid) == 0 {
		return nil, why
	}
	answered := []destination.Result{}
	for index, envelope := range d.Envelopes {
		if _, isInvalid := d.invalid[index]; isInvalid {
			answered = append(answered, d.resultOf(index, envelope))
		} else {
			answered = append(answered, destination.Retry(envelope, told.Diagnostic(), 0))
		}
	}
	return answered, nil
}

// tell writes into the log what is not as it was handed over.
func (d *delivery) tell(server *server) {
	if len(d.leftOut) > 0 {
		total, hasNew := server.countLeftOut(d.leftOut)
		log := d.Logger.Info
		if hasNew {
			log = d.Logger.Warn // once a type
		}
		log("events without a mapping were left out", "types", d.leftOut, "so_far", total)
	}
	if d.replaced > 0 {
		d.Logger.Warn("records had the key "+reserved+", which is this plugin's", "records", d.replaced)
	}
	if d.repaired > 0 {
		d.Logger.Warn("characters that jsonb does not have became U+FFFD", "characters", d.repaired)
	}
}
