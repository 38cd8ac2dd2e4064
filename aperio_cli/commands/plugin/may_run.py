"""`aperio plugin may-run`: the launch verdict, for hosts that start plugins themselves."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import installed, limits
from aperio_cli.commands.options import argument, option, tenant
from aperio_cli.context import Context
from aperio_cli.errors.usage import UsageError
from aperio_cli.output import Report, pairs

if TYPE_CHECKING:
    from collections.abc import Iterator


@command(
    plugin,
    "plugin",
    "may-run",
    examples=[
        "aperio plugin may-run acme/hello-connector",
        "aperio plugin may-run acme/hello-connector --org acme-prod --json",
    ],
    is_for_linux=True,
)
def plugin_may_run(
    context: Context,
    plugin: Annotated[
        str,
        argument(
            metavar="PLUGIN",
            help="An installed plugin: id or id@VERSION.",
            values=installed,
        ),
    ],
    *,
    org: Annotated[
        str, tenant(help="Organization it is started for.", shows_default=True)
    ] = "local",
    enforces: Annotated[
        list[str] | None,
        option(
            "--enforces",
            help="A limit that the other host enforces.",
            metavar="LIMIT",
            values=limits,
        ),
    ] = None,
) -> Report:
    """Give the launch verdict on an installed plugin, for a host that is not aperio.

    The policy is asked and every file is hashed, as `plugin run` does before it starts anything;
    a refusal is the same error with the same exit status. The verdict is for one start, at once: a
    host compares `receipt_sha256` with the receipt that it has read. Limits that are not claimed
    with `--enforces` count as not enforced.
    """
    from aperio_cli.commands.loop import on_loop
    from aperio_cli.files.naming import is_path, parse_ref
    from aperio_cli.models.address import is_address, shown
    from aperio_cli.running.permitting import permit

    if is_address(plugin) or is_path(plugin):
        raise UsageError(
            f"`{shown(plugin)}` was not judged: a launch verdict is about what is installed",
            why="expected the id of an installed plugin, found a path",
            next=[f"for an artifact: `aperio plugin verify {shlex.quote(shown(plugin))}`"],
        )
    receipt = context.store.get(parse_ref(plugin))
    verdict = on_loop(permit(context.collaborators, receipt, org, enforces or ()))
    data = verdict.to_json()
    return Report(data, pairs([(name, value) for name, value in _rows(data) if value]))


def _rows(data: dict[str, Any]) -> Iterator[tuple[str, object]]:
    yield "plugin", f"{data['id']} {data['version']} ({data['kind']}, {data['platform']})"
    yield "may run", f"yes, for the organization {data['organization']}"
    yield "badge", f"{data['badge']} ({data['required']} is required)"
    yield "signed by", (data["signer"] or {}).get("identity", "nobody")
    for exception in data["exceptions"]:
        named = f"{exception['rule']} until {exception['until']}: {exception['reason']}"
        yield "exception", named
    yield "started by", shlex.join(data["arguments"])
    yield "receipt", f"sha256:{data['receipt_sha256']}"
    yield "files", f"{data['tree_digest']}, hashed just now"
    yield "not enforced", ", ".join(data["not_enforced"])
