"""What a change of the policy would stop: installed versions that may start now, and not then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperio_cli.errors.trust import PublisherFileInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.config import ConfigFile
    from aperio_cli.context import Context


def stops(context: Context, managed: ConfigFile, organization: str = "") -> list[dict[str, str]]:
    """Return the installed versions that a change would stop: id, version, code of the refusal.

    Args:
        context: the operator's configuration and store.
        managed: what managed.toml would state.
        organization: for whom plugins are started; empty for the whole machine.
    """
    from aperio_cli.config import join
    from aperio_cli.running.judging import refusal_code

    config = context.config
    if managed == config.managed:
        return []
    try:
        before = context.policy
        after = context.policy_with(join(config.stated, managed))
    except PublisherFileInvalid:  # nothing may start as long as that file cannot be used
        return []
    return [
        {"id": str(receipt.id), "version": receipt.version, "code": code}
        for receipt in context.store.receipts()
        if not refusal_code(context.collaborators, receipt, before, organization)
        and (code := refusal_code(context.collaborators, receipt, after, organization))
    ]


def say_stops(context: Context, stopped: Sequence[dict[str, str]]) -> None:
    """Tell people what would stop, before it does; nothing when nothing would."""
    if stopped:
        context.output.warn("this stops installed plugins, from their next start on:")
    for each in stopped:
        context.output.warn(f"  {each['id']}@{each['version']}  {each['code']}")
