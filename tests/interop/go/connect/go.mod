// A nested module: a client of the control API on what Aperio's server has already, without grpc-go.
module github.com/writer/aperio/tests/interop/connect

go 1.25.0

require (
	connectrpc.com/connect v1.20.0
	github.com/writer/aperio-plugin-go v0.0.0
)

require (
	golang.org/x/net v0.55.0 // indirect
	golang.org/x/sys v0.45.0 // indirect
	golang.org/x/text v0.37.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260526163538-3dc84a4a5aaa // indirect
	google.golang.org/grpc v1.83.1 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace github.com/writer/aperio-plugin-go => ../../../../sdk/go
