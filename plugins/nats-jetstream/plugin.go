// Command nats-jetstream is a destination that publishes envelopes on a stream of NATS JetStream.
package main

import "github.com/writer/aperio-plugin-go/destination"

func main() { destination.Serve(&NATSJetStream{}) }
