//go:build legacy

package main

import (
	"github.com/hashicorp/go-plugin"
)

// newer sets nothing: go-plugin 1.0.1 has neither multiplexing nor a group for the socket, and its
// reattach records know no test mode.
func newer(*plugin.ClientConfig, wanted) error { return nil }
