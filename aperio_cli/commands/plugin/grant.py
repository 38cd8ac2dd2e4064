"""`aperio plugin grant`: narrows or widens what an installed plugin may do."""

from __future__ import annotations

import functools
from collections import Counter
from typing import TYPE_CHECKING, Annotated

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import installed
from aperio_cli.commands.options import argument, option
from aperio_cli.context import Context
from aperio_cli.errors.usage import UsageError
from aperio_cli.output import Report
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aperio_cli.installing.granting import GrantChange
    from aperio_cli.models.grant import OwnRule
    from aperio_cli.models.plugin_id import PluginRef


@command(
    plugin,
    "plugin",
    "grant",
    examples=[
        "aperio plugin grant acme/hello-connector",
        "aperio plugin grant acme/hello-connector --limit memory=512MiB",
        "aperio plugin grant acme/hello-connector --own hello.corp.example:8443",
    ],
)
def plugin_grant(  # noqa: PLR0913 - one parameter for each option
    context: Context,
    named: Annotated[
        str, argument(metavar="PLUGIN", help="An id, or id@VERSION.", values=installed)
    ],
    *,
    egress: Annotated[
        list[str] | None,
        option(metavar="HOST:PORT", help="Of the hosts that it asks for, only these."),
    ] = None,
    no_egress: Annotated[
        bool, option("--no-egress", help="None of the hosts that it asks for.")
    ] = False,
    own: Annotated[
        list[str] | None,
        option(
            metavar="HOST:PORT",
            help="Open a host that it does not ask for, or one of your own network.",
        ),
    ] = None,
    any_protocol: Annotated[
        bool, option("--any-protocol", help="With `--own`: not only TLS and HTTP for that host.")
    ] = False,
    limit: Annotated[
        list[str] | None,
        option(
            metavar="NAME=VALUE", help="Set memory, cpu, processes, open_files, tmp or duration."
        ),
    ] = None,
    as_asked: Annotated[
        bool, option("--as-asked", help="First go back to what it asks for, and no more.")
    ] = False,
) -> Report:
    """Show what an installed plugin may do, or change that from its next start on.

    A host that runs it ends it first, in good order, and starts it with what it may do then.
    """
    from aperio_cli.installing.granting import GrantChange
    from aperio_cli.models.plugin_id import PluginRef

    if no_egress and egress:
        raise UsageError(
            "`--no-egress` and `--egress` exclude each other; nothing was changed",
            next=["`--egress HOST:PORT` for some of its hosts, `--no-egress` for none"],
        )
    if any_protocol and not own:
        raise UsageError(
            "`--any-protocol` goes with `--own`; nothing was changed",
            next=["name the host that it is for: `--own HOST:PORT --any-protocol`"],
        )
    only = tuple(dict.fromkeys(text.lower() for text in egress)) if egress else None
    change = GrantChange(
        as_asked=as_asked,
        egress=() if no_egress else only,
        own=tuple(_own(own or (), is_any_protocol=any_protocol)),
        limits=_limits(limit or ()),
    )
    return _report(context, PluginRef.parse(named), change)


def _report(context: Context, ref: PluginRef, change: GrantChange) -> Report:
    """Do it, and say what is granted now."""
    from aperio_cli.commands.host.releasing import done_despite_host
    from aperio_cli.commands.plugin import granting
    from aperio_cli.installing.granting import change_grant
    from aperio_cli.models.plugin_id import PluginRef

    before = receipt = context.store.get(ref)
    if not change.is_none:
        changing = functools.partial(change_grant, context.store, ref, change)
        receipt = done_despite_host(context, PluginRef(ref.id, before.version), changing)
    lines = [f"`{receipt.id}` {receipt.version} is granted"]
    lines += [f"  {line}" for line in granting.granted(receipt.grant, receipt.manifest)]
    asked = receipt.manifest.to_json()
    data = {
        "id": str(receipt.id),
        "version": receipt.version,
        "grant": receipt.grant.to_json(),
        "asked": {key: asked[key] for key in ("permissions", "scopes", "limits", "state")},
        "changed": receipt.grant != before.grant,
    }
    return Report(data, "\n".join(lines))


def _own(texts: Sequence[str], *, is_any_protocol: bool) -> Iterator[OwnRule]:
    from aperio_cli.models.grant import OwnRule

    for text in texts:
        try:
            yield OwnRule.parse(text, is_any_protocol=is_any_protocol)
        except ValueError as error:
            wrong = f"`--own {clean(text, limit=200)}` was not read; nothing was changed"
            step = "name one host and its port: `--own HOST:PORT`, such as syslog.corp.example:6514"
            raise UsageError(wrong, why=str(error), next=[step]) from None


def _limits(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    limits = tuple(map(_limit, texts))
    twice = [name for name, count in Counter(name for name, _ in limits).items() if count > 1]
    if twice:
        raise UsageError(
            f"`--limit {clean(twice[0], limit=40)}=...` is there twice; nothing was changed",
            why="expected each limit once: which of the two is meant cannot be told",
            next=["take one of the two away"],
        )
    return limits


def _limit(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise UsageError(
            f"`--limit {clean(text, limit=80)}` was not read; nothing was changed",
            why="expected NAME=VALUE",
            next=["such as `--limit memory=512MiB`"],
        )
    return name, value
