// Package aperio holds what plugins of every kind share: the call they answer, their settings,
// what they declare, and what went wrong.
//
// A plugin is a program whose main function calls Serve of its kind's package:
//
//	import "github.com/writer/aperio-plugin-go/connector"
//
//	func main() { connector.Serve(&BoxConnector{}) }
//
// Everything else is the SDK's: the go-plugin handshake, gRPC, batches and message limits, errors
// as data, panics, log records, and the end of the process. Package plugintest tries a plugin
// inside `go test`, without a host.
package aperio
