"""`aperio plugin list`: what is installed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.options import option
from aperio_cli.context import Context
from aperio_cli.errors import DONE, REFUSED
from aperio_cli.files import owning
from aperio_cli.output import Report
from aperio_cli.paths import LOCK_FILE_NAME
from aperio_cli.store import listing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_cli.store.verdicts import Codes


@command(
    plugin,
    "plugin",
    "list",
    examples=[
        "aperio plugin list",
        "aperio plugin list --check --json",
        "aperio plugin list --outdated --registry ./mirror",
    ],
)
def plugin_list(
    context: Context,
    *,
    check: Annotated[bool, option("--check", help="Hash the installed files again.")] = False,
    outdated: Annotated[
        bool, option("--outdated", help="Only those for which the registries have a newer one.")
    ] = False,
) -> Report:
    """List installed plugins: version, kind, badge, whether each may run, by what it is contained.

    And who signed it, when its files were last checked, what it is excepted from.
    """
    owning.require_own(context.paths.plugins)
    problems = _check(context) if check else {}
    newest = _newest(context) if outdated else {}
    listed = [row | {"newest": newest.get((row["id"], row["version"]))} for row in _rows(context)]
    notes = _pin(context, listed)
    newer = [row for row in listed if row["newest"]] if outdated else []
    listed = newer if outdated else listed
    codes, contained = _judged(context) if listed else ({}, {})
    for row in listed:
        row["exceptions"] += _stated_exceptions(context, row["id"], row["version"])
    for row in listed if check else ():
        row["problem"] = problems.get((row["id"], row["version"]), row["problem"])
    listing.add_verdicts(listed, codes)
    listing.add_containment(listed, contained)
    is_wrong = any(row["problem"] or (row["current"] and row["refused_as"]) for row in listed)
    status = REFUSED if is_wrong and check else DONE
    text = listing.render(listed) if listed or not outdated else "nothing is outdated"
    text += "".join(f"{row['id']} {row['version']} → {row['newest']}\n" for row in newer)
    return Report({"plugins": listed}, text.rstrip("\n"), notes, status)


def _newest(context: Context) -> dict[tuple[str, str], str]:
    """Ask the registries; return the version that would be installed in place of each used one.

    Only of those where it is newer, or the one that is used was taken back.
    """
    from aperio_cli.commands.plugin.outdating import newer_versions

    with context.output.working("asking the registries"):
        return newer_versions(context)


def _rows(context: Context) -> list[dict[str, Any]]:
    """Return the rows of this store, and of the system's those that are not in this one."""
    home, system = context.paths.home, context.paths.system
    own = listing.rows(str(home))
    if system is None:
        return own
    owning.require_own(system.plugins)
    taken = {(row["id"], row["version"]) for row in own}
    used = {row["id"] for row in own if row["current"]}
    shared = [
        row | {"current": row["current"] and row["id"] not in used}
        for row in listing.rows(str(system.home), checks_home=str(home), is_system=True)
        if (row["id"], row["version"]) not in taken
    ]
    return sorted([*own, *shared], key=lambda row: (row["id"], row["version"]))


def _pin(context: Context, listed: list[dict[str, Any]]) -> tuple[str, ...]:
    """Mark the versions of a folder's lock file as those that are used; say which are lacking."""
    if not os.path.lexists(LOCK_FILE_NAME):
        return ()
    place = context.store.lock_file
    if place.is_home:
        return ()
    lock = place.read()
    pinned = {str(entry.id): entry.version for entry in lock.entries} if lock else {}
    for row in listed:
        row["current"] = pinned.get(row["id"]) == row["version"]
    there = {(row["id"], row["version"]) for row in listed}
    return tuple(
        f"`{name}` {version} is in {place.path}, and not installed: `aperio plugin install`"
        for name, version in pinned.items()
        if (name, version) not in there
    )


def _stated_exceptions(context: Context, plugin_id: str, version: str) -> list[dict[str, str]]:
    """Return the exceptions of the configuration that hold for a version today."""
    from aperio_cli import clock

    home = str(context.paths.home)
    if not (context.settings.config or listing.may_state_exceptions(os.environ, home)):
        return []  # and a configuration that cannot be read keeps nobody from looking
    today = clock.now().date().isoformat()
    return [
        {"rule": stated.rule, "until": stated.until, "reason": stated.reason}
        for stated in context.config.policy.exceptions
        if str(stated.plugin) == plugin_id
        and stated.covers(stated.plugin, version, stated.rule, today)
    ]


def _judged(context: Context) -> tuple[Codes, Mapping[str, Any]]:
    from aperio_cli.commands.plugin.judging import judged  # it imports the whole policy

    return judged(context)


def _check(context: Context) -> dict[tuple[str, str], str]:
    """Read every record, hash every file; return the codes of what is wrong, by id and version."""
    from aperio_cli.errors import Refusal
    from aperio_cli.models.plugin_id import PluginRef

    problems: dict[tuple[str, str], str] = {}
    for plugin_id, version in context.store.installed():
        try:
            receipt = context.store.find(PluginRef(plugin_id, version))
            if receipt:  # else it was removed meanwhile
                context.store.check(receipt)
        except Refusal as refusal:
            problems[str(plugin_id), version] = refusal.code
            context.output.warn(f"{refusal.what}\n{refusal.why}")
    return problems
