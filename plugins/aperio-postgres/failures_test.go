package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	aperio "github.com/writer/aperio-plugin-go"
)

// What PgBouncer 1.18 says is written from what it has said; its only code is 08P01.
func TestFailureReadsWhatAPoolerSays(t *testing.T) {
	tests := map[string]struct {
		code, message string
		cause         aperio.Cause
		about         string
	}{
		"in its statement mode": {
			"08P01", "transaction blocks not allowed in statement pooling mode", aperio.InvalidConfig, "",
		},
		"of a parameter": {
			"08P01", "unsupported startup parameter: statement_timeout", aperio.InvalidConfig, "url",
		},
		"of a password": {"08P01", "SASL authentication failed", aperio.Unauthenticated, ""},
		"of a user":     {"08P01", "no such user", aperio.Unauthenticated, ""},
		"of a database": {
			"08P01", `database "nowhere" does not exist`, aperio.InvalidConfig, "database",
		},
		"in its transaction mode, of a statement that is there": {
			"42P05", `prepared statement "s" already exists`, aperio.InvalidConfig, "url",
		},
		"in its transaction mode, of a statement that is not there": {
			"26000", `prepared statement "s" does not exist`, aperio.InvalidConfig, "url",
		},
		"when it has no connection":  {"08P01", "query_wait_timeout", aperio.Unavailable, ""},
		"when its server is away":    {"08P01", "server conn crashed?", aperio.Unavailable, ""},
		"of what is not of a pooler": {"42P01", `relation "x" does not exist`, aperio.InvalidConfig, "schema"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			told := &pgconn.PgError{Code: test.code, Message: test.message}
			err := failure(fmt.Errorf("wrapped: %w", told))
			if test.about == "url" && test.code == "08P01" {
				err = refusal(told, told) // it stands in the place of a connection
			}
			var found *aperio.Error
			if !errors.As(err, &found) || found.Cause != test.cause {
				t.Fatalf("got %+v", err)
			}
			if about := fmt.Sprint(found.Attribute); (test.about == "") != (len(found.Attribute) == 0) ||
				test.about != "" && about != fmt.Sprint(aperio.Path{aperio.Key(test.about)}) {
				t.Errorf("it is about %s", about)
			}
		})
	}
}
