"""`aperio plugin run PROJECT --debug`: keep a plugin running and say how others reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aperio_cli.errors.usage import UsageError

if TYPE_CHECKING:
    from aperio_cli.context import Context
    from aperio_cli.host.launch import RunningPlugin


def check_debug(context: Context, target: str, operation: str, *, is_development: bool) -> None:
    """Check that a plugin may be kept running for a debugger.

    Raises:
        UsageError: it is an installed plugin, an operation was named as well, or the policy demands
            AutoMTLS, whose keys no other host has.
    """
    why = step = ""
    if not is_development:
        why = "what is installed runs for its operator; a debugger needs the project's folder"
        step = "name that folder: `aperio plugin run ./PROJECT --debug`"
    elif operation:
        why = f"`--debug` waits for other hosts to call it; `{operation}` would call it from here"
        step = f"leave `{operation}` out, or `--debug`"
    elif context.config.mtls:
        why = "[host] mtls = true; a reattach record cannot carry the keys (go-plugin, AutoMTLS)"
        step = "debug it under a home whose config.toml does not state that: `--home DIR`"
    if why:
        raise UsageError(f"`{target}` was not started for debugging", why=why, next=[step])


def reattach_record(plugin: RunningPlugin) -> dict[str, Any]:
    """Return how another go-plugin host reaches a running plugin, by plugin id.

    The form is that of TF_REATTACH_PROVIDERS (hashicorp/terraform-plugin-go, its
    `tf5server/server.go`). `Test` keeps a host from ending the process, which is this one's to do.
    """
    address = {"Network": "unix", "String": str(plugin.address)}
    return {
        plugin.program.plugin_id: {
            "Protocol": "grpc",
            "ProtocolVersion": plugin.protocol_version,
            "Pid": plugin.pid,
            "Test": True,
            "Addr": address,
        }
    }
