"""`aperio trust exception add`: lift one rule from one plugin, until a date and for a reason."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, NoReturn

from aperio_cli.commands.app import exception
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import installed
from aperio_cli.commands.options import Reason, Rule, argument, option
from aperio_cli.context import Context
from aperio_cli.errors.trust import SiteForbids
from aperio_cli.errors.usage import UsageError
from aperio_cli.output import Report
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_cli.models.policy import PolicyException


@command(
    exception,
    "trust",
    "exception",
    "add",
    examples=[
        (
            "aperio trust exception add acme/hello-connector --rule unverified --until 2027-01-31"
            " --reason 'we review it until then'"
        )
    ],
)
def trust_exception_add(
    context: Context,
    plugin: Annotated[
        str,
        argument(metavar="PLUGIN", help="Its id, or id@VERSION.", values=installed),
    ],
    *,
    rule: Rule,
    until: Annotated[str, option(help="Last day; at most a year.", metavar="DATE")],
    reason: Reason,
) -> Report:
    """Lift one rule from one plugin. It ends by itself, and stays visible until then."""
    from aperio_cli import clock
    from aperio_cli.config import changes, managed, parse_exception
    from aperio_cli.models.reading import Table

    stated = {"plugin": plugin, "rule": rule, "until": until, "reason": reason}
    fail = functools.partial(_fail, stated)
    wanted = parse_exception(Table(stated, fail), stated_in=str(context.paths.managed_file))
    if wanted.until < clock.now().date().isoformat():
        fail("until", f"{wanted.until} has passed")
    _refuse_forbidden(context, wanted)
    was_changed = managed.change(
        context.paths, lambda config: changes.with_exception(config, wanted)
    )
    data = {
        "config_file": wanted.stated_in if was_changed else _holder(context, wanted),
        "exception": wanted.to_json(),
        "lifts": lifts(wanted),
        "was_changed": was_changed,
        "is_installed": not _not_installed(context, wanted),
    }
    return Report(
        data, f"until {wanted.until} {lifts(wanted)}", notes=tuple(_notes(context, wanted))
    )


def _holder(context: Context, wanted: PolicyException) -> str:
    """Return the file that states an exception already."""
    stated = context.config.user.exceptions
    return next(known.stated_in for known in stated if known.to_json() == wanted.to_json())


def lifts(granted: PolicyException) -> str:
    """Return what an exception means, in words."""
    from aperio_cli.models.policy import LIMIT_PREFIX, REVOKED_RULE, UNSIGNED

    name = granted.name
    if granted.rule == UNSIGNED:
        return f"`{name}` may be installed from a file that nobody has signed"
    if granted.rule == REVOKED_RULE:
        return f"`{name}` may be installed and started although its registry has revoked it"
    if granted.rule.startswith(LIMIT_PREFIX):
        limit = granted.rule.removeprefix(LIMIT_PREFIX)
        return f"`{name}` may start where `{limit}` cannot be limited"
    return f"`{name}` may be used although its publisher is not verified"


def _fail(stated: Mapping[str, str], key: str, why: str) -> NoReturn:
    value = one_line(stated[key], limit=80)
    typed = value if key == "plugin" else f"--{key} {value}".rstrip()
    raise UsageError(
        f"`{typed}` was not accepted; no exception was made",
        why=why,
        next=["see what goes there: `aperio trust exception add --help`"],
    )


def _refuse_forbidden(context: Context, wanted: PolicyException) -> None:
    from aperio_cli.config import forbidden_by_site

    config = context.config
    stated = forbidden_by_site(wanted.rule, config.site)
    if stated:
        raise SiteForbids(
            f"`{wanted.plugin}` has to keep the rule `{wanted.rule}`; no exception was made",
            why=f"{config.site_file} states {stated}",
            next=["ask whoever keeps that file for an exception in it"],
        )


def _notes(context: Context, wanted: PolicyException) -> list[str]:
    """Say that it is about nothing that is here, or lifts nothing that anything asks for."""
    notes = _not_installed(context, wanted)
    from aperio_cli.models.policy import LIMIT_PREFIX, REQUIREMENTS, UNVERIFIED

    config = context.config
    asked = {config.policy.require, *dict(config.policy.organizations).values()}
    if wanted.rule == UNVERIFIED and REQUIREMENTS[-1] not in asked:
        return [*notes, "nothing requires verified publishers here, so it changes nothing now"]
    limit = wanted.rule.removeprefix(LIMIT_PREFIX)
    if wanted.rule.startswith(LIMIT_PREFIX) and limit not in config.sandbox_require:
        return [*notes, f"nothing requires `{limit}` here, so it changes nothing now"]
    return notes


def _not_installed(context: Context, wanted: PolicyException) -> list[str]:
    """Say that the plugin, or that version of it, is not installed; nothing when it is."""
    import difflib

    store = context.store
    versions = store.versions(wanted.plugin)
    if wanted.version in {"", *versions} and versions:
        return []
    if versions:
        return [f"`{wanted.name}` is not installed; of it there is {', '.join(versions)}"]
    known = sorted({str(receipt.id) for receipt in store.receipts()})
    close = difflib.get_close_matches(str(wanted.plugin), known, n=3)
    hint = f"; did you mean `{'`, `'.join(close)}`?" if close else ""
    return [f"`{wanted.plugin}` is not installed{hint}"]
