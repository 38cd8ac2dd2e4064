//go:build !legacy

package main

import (
	"encoding/json"
	"fmt"
	"net"

	"github.com/hashicorp/go-plugin"
)

// newer sets what go-plugin 1.0.1 does not have.
func newer(config *plugin.ClientConfig, w wanted) error {
	config.GRPCBrokerMultiplex = w.multiplex
	if w.group != "" {
		config.UnixSocketConfig = &plugin.UnixSocketConfig{Group: w.group}
	}
	if w.reattach == "" {
		return nil
	}
	var records map[string]struct {
		Protocol        plugin.Protocol
		ProtocolVersion int
		Pid             int
		Test            bool
		Addr            struct{ Network, String string }
	}
	if err := json.Unmarshal([]byte(w.reattach), &records); err != nil {
		return fmt.Errorf("reading the reattach record: %w", err)
	}
	for _, r := range records {
		config.Reattach = &plugin.ReattachConfig{
			Protocol:        r.Protocol,
			ProtocolVersion: r.ProtocolVersion,
			Pid:             r.Pid,
			Test:            r.Test,
			Addr:            &net.UnixAddr{Net: r.Addr.Network, Name: r.Addr.String},
		}
	}
	// A reattached client takes its plugins from here, whatever the version.
	config.Plugins = plugin.PluginSet{"connector": &stub{}}
	config.VersionedPlugins = nil
	return nil
}
