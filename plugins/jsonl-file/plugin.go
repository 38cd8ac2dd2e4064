// Command jsonl-file is a destination that appends envelopes to a file, one JSON object a line.
package main

import "github.com/writer/aperio-plugin-go/destination"

func main() { destination.Serve(&JSONLFile{}) }
