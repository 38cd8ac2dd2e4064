// Holds aperio's logs to the reading of the Go checksum database, whose format C2SP took over.
module github.com/writer/aperio/tests/interop/tlog

go 1.25.0

require golang.org/x/mod v0.38.0
