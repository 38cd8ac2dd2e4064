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
	if errors.As(err, &told) {
		return serverFailure(told, err)
	}
	text := err.Error()
	var noConnection *pgconn.ConnectError
	switch {
	case errors.As(err, &noConnection) && strings.Contains(text, "server refused TLS connection"):
		return &aperio.Error{
			Cause: aperio.InvalidConfig, Err: err, Attribute: aperio.Path{aperio.Key("sslmode")},
			Summary: "the server offers no TLS",
			Detail:  "have it offer TLS (ssl = on); on a network of your own sslmode=disable does without",
		}
	case errors.As(err, &noConnection) && strings.Contains(text, "x509: "):
		return &aperio.Error{
			Cause: aperio.InvalidConfig, Err: err, Attribute: aperio.Path{aperio.Key("ca")},
			Summary: "the server's certificate is not one to trust", Detail: text,
		}
	case errors.Is(err, context.DeadlineExceeded):
		return unavailable(err, "the transaction took too long, and nothing of it is written", "")
	case errors.As(err, &noConnection):
		return unavailable(err, "the server cannot be connected to", text+"\nin a sandbox it takes a rule of "+
			"yours: `aperio plugin grant aperio/aperio-postgres --as-asked --own HOST:PORT --any-protocol`")
	}
	return unavailable(err, "the connection to the server ended, and it is not known what is written", text)
}

func unavailable(err error, summary, detail string) error {
	return &aperio.Error{Cause: aperio.Unavailable, Err: err, Summary: summary, Detail: detail}
}

// serverFailure reads what the server said (PostgreSQL documentation, appendix A).
func serverFailure(told *pgconn.PgError, err error) error {
	said := fmt.Sprintf("PostgreSQL: %s (%s)", told.Message, told.Code)
	made := func(cause aperio.Cause, key, summary, detail string) error {
		found := &aperio.Error{Cause: cause, Err: err, Summary: summary, Detail: said + detail}
		if key != "" {
			found.Attribute = aperio.Path{aperio.Key(key)}
		}
		return found
	}
	switch {
	case classOf(told) == "28":
		return made(aperio.Unauthenticated, "", "the server does not accept the user or the password", "")
	case told.Code == "3D000":
		return made(aperio.InvalidConfig, "database", "the server has no such database", "")
	case told.Code == "42501":
		return made(aperio.PermissionDenied, "", "the user may not do this in the database",
			"\nas the owner of the tables, run, with the role of this user: "+
				"GRANT SELECT, INSERT ON ingestion_jobs TO role; "+
				"GRANT SELECT, INSERT, UPDATE ON security_findings TO role; "+
				"and GRANT SELECT on the table of the integrations")
	case classOf(told) == "42" || classOf(told) == "3F" || classOf(told) == "0A":
		return made(aperio.InvalidConfig, "schema", "the tables are not as this version knows them", "")
	case isAboutRow(told):
		return made(aperio.Failed, "", "the server refuses what is written", "")
	}
	return made(aperio.Unavailable, "", "the server did not finish the transaction", "")
}
