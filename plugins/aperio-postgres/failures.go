package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	aperio "github.com/writer/aperio-plugin-go"
)

// failure says why nothing was written. What is worth another try is Unavailable: a connection that
// ended, a deadlock, a server that starts or stops; names that are not found are so, too, because a
// resolver may be at fault.
func failure(err error) error {
	var ours *aperio.Error
	if errors.As(err, &ours) {
		return ours
	}
	var told *pgconn.PgError
	var noConnection *pgconn.ConnectError
	isConnecting := errors.As(err, &noConnection)
	if errors.As(err, &told) {
		if isConnecting {
			return refusal(told, err)
		}
		return serverFailure(told, err)
	}
	text := err.Error()
	switch {
	case isConnecting && strings.Contains(text, "server refused TLS connection"):
		return &aperio.Error{
			Cause: aperio.InvalidConfig, Err: err, Attribute: aperio.Path{aperio.Key("sslmode")},
			Summary: "the server offers no TLS",
			Detail:  "have it offer TLS (ssl = on); on a network of your own sslmode=disable does without",
		}
	case isConnecting && strings.Contains(text, "x509: "):
		return &aperio.Error{
			Cause: aperio.InvalidConfig, Err: err, Attribute: aperio.Path{aperio.Key("ca")},
			Summary: "the server's certificate is not one to trust", Detail: text,
		}
	case errors.Is(err, context.DeadlineExceeded):
		return unavailable(err, "the transaction took too long, and nothing of it is written", "")
	case isConnecting:
		return unavailable(err, "the server cannot be connected to", text+"\nin a sandbox it takes a rule of "+
			"yours: `aperio plugin grant aperio/aperio-postgres --as-asked --own HOST:PORT --any-protocol`")
	}
	return unavailable(err, "the connection to the server ended, and it is not known what is written", text)
}

func unavailable(err error, summary, detail string) error {
	return &aperio.Error{Cause: aperio.Unavailable, Err: err, Summary: summary, Detail: detail}
}

// refusal reads what the server said in the place of taking a connection.
func refusal(told *pgconn.PgError, err error) error {
	found := &aperio.Error{Cause: aperio.InvalidConfig, Err: err, Detail: saidBy(told)}
	switch {
	case told.Code == "28000" && told.Routine == "ClientAuthentication":
		found.Cause = aperio.Unauthenticated
		found.Summary = "the server does not let this user in from here, or not this way"
		found.Detail += "\nits pg_hba.conf says whom it lets in: a rule of `hostssl` takes sslmode=verify-full " +
			"or require, and its rule has to name user, database and where the connection comes from"
	case classOf(told) == "22" || told.Code == "42704" || isOfPooler(told, "startup parameter"):
		found.Attribute = aperio.Path{aperio.Key("url")}
		found.Summary = "the server does not take a parameter that the URL has"
		found.Detail += "\nleave it out of the URL: other programs' parameters, such as connection_limit, " +
			"are handed to PostgreSQL as settings"
	default:
		return serverFailure(told, err)
	}
	return found
}

// isOfPooler tells whether PgBouncer says this in the server's place; its only code is 08P01, for what
// passes and for what does not.
func isOfPooler(told *pgconn.PgError, words string) bool {
	return told.Code == "08P01" && strings.Contains(told.Message, words)
}

func saidBy(told *pgconn.PgError) string {
	return fmt.Sprintf("PostgreSQL: %s (%s)", told.Message, told.Code)
}

// serverFailure reads what the server said (PostgreSQL documentation, appendix A).
func serverFailure(told *pgconn.PgError, err error) error {
	said := saidBy(told)
	made := func(cause aperio.Cause, key, summary, detail string) error {
		found := &aperio.Error{Cause: cause, Err: err, Summary: summary, Detail: said + detail}
		if key != "" {
			found.Attribute = aperio.Path{aperio.Key(key)}
		}
		return found
	}
	switch {
	case told.Code == "42P05" || told.Code == "26000":
		return made(aperio.InvalidConfig, "url", "a pooler in front of the server mixes up prepared statements",
			"\nleave default_query_exec_mode out of the URL, or say default_query_exec_mode=exec there")
	case isOfPooler(told, "statement pooling mode"):
		return made(aperio.InvalidConfig, "", "a pooler in front of the server lets no transaction through",
			"\nname the server itself, or a pool with pool_mode=transaction: one call is one transaction")
	case classOf(told) == "28", isOfPooler(told, "authentication failed"), isOfPooler(told, "no such user"):
		return made(aperio.Unauthenticated, "", "the server does not accept the user or the password", "")
	case told.Code == "3D000", isOfPooler(told, "database \""), isOfPooler(told, "no such database"):
		return made(aperio.InvalidConfig, "database", "the server has no such database", "")
	case told.Code == "42501":
		return made(aperio.PermissionDenied, "", "the user may not do this in the database",
			"\nas the owner of the tables, run, with the role of this user: "+
				"GRANT USAGE ON SCHEMA schema TO role; GRANT SELECT, INSERT ON ingestion_jobs TO role; "+
				"GRANT SELECT, INSERT, UPDATE ON security_findings TO role; "+
				"and GRANT SELECT on the table of the integrations")
	case isAboutTable(told):
		return made(aperio.InvalidConfig, "schema", "the tables are not as this version knows them", "")
	case told.Code == "25006":
		return made(aperio.Unavailable, "", "the server takes no writes: it is a standby, or read-only",
			"\nname the primary; of several hosts in url `target_session_attrs=read-write` finds it")
	case isAboutRow(told):
		return made(aperio.Failed, "", "the server refuses what is written", "")
	}
	return made(aperio.Unavailable, "", "the server did not finish the transaction", "")
}
