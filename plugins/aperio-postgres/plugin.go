// Command aperio-postgres is a destination that writes events and findings into the database of
// Aperio's server.
package main

import "github.com/writer/aperio-plugin-go/destination"

func main() { destination.Serve(&AperioPostgres{}) }
