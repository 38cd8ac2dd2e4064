// Package host lets a Go server load what `aperio plugin install` installed, through unmodified
// hashicorp/go-plugin.
//
//	receipt, err := host.Find(home, "acme/box-connector", "")
//	config, err := receipt.ClientConfig(host.Options{RuntimeFolder: folder, Organization: "org_1"})
//	client := plugin.NewClient(config)
//	defer client.Kill()
//	box, err := host.Connector(client)
//	schema, err := box.Schema(ctx, &pluginv1.SchemaRequest{})
//	given, err := host.PluginConfig(schema, settings) // for InvocationContext.ConfigJson
//	err = host.Sync(ctx, box, request, tokens, sink)
//
// Messages and services have their names in package gen/pluginv1.
//
// At every start the operator's policy is asked, by `aperio plugin may-run`: its answer counts when it
// was made for this start and names the digest of the receipt that was read. Without an answer nothing
// starts. Every file is compared with what was installed, and while the plugin runs `aperio plugin
// remove` refuses. A call on behalf of another organization is asked for, too; an envelope of another
// organization is not sent. PluginConfig withholds what only the host may use, so that no plugin gets a
// client's secret.
//
// It does less than aperio's own host (`aperio plugin run`): it confines nothing, so
// no limit of the manifest and no egress rule is enforced (Verdict.NotEnforced says so); it does not
// watch a plugin, start it again, or keep one from failing over and over; it runs the files in place
// and not a sealed copy, and ends no process that has left the plugin's group; it checks no settings,
// obtains no tokens, stamps no envelopes, keeps no checkpoints, does not remember idempotency keys
// (ExecuteRequest.AfterUnknown is the server's to set when it asks again), and does not mask secrets in
// what a plugin prints.
package host
