"""`aperio trust require`: signed or verified publishers, for the machine or one organization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from aperio_cli.commands.app import trust
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import levels
from aperio_cli.commands.options import argument, tenant
from aperio_cli.commands.trust.stopping import say_stops, stops
from aperio_cli.context import Context
from aperio_cli.errors.usage import UsageError
from aperio_cli.output import Report
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from aperio_cli.config import Config


@command(
    trust,
    "trust",
    "require",
    examples=[
        "aperio trust require verified --org example-customer",
        "aperio trust require signed",
    ],
)
def trust_require(
    context: Context,
    level: Annotated[
        str,
        argument(metavar="signed|verified", help="What every plugin has to be.", values=levels),
    ],
    *,
    org: Annotated[
        str,
        tenant(help="For what runs for this organization."),
    ] = "",
) -> Report:
    """Say what is required of plugins here: a known signer, or one of a verified publisher.

    It is asked at install and before every start. What it stops is said first; to require less
    than before needs your consent.
    """
    from aperio_cli.config import changes, load_config, managed
    from aperio_cli.models.policy import REQUIREMENTS

    _require_level(level)
    config = context.config
    stopped = stops(context, changes.with_level(config, level, org), org)
    say_stops(context, stopped)
    before = config.user.level(org) or REQUIREMENTS[0]
    if REQUIREMENTS.index(level) < REQUIREMENTS.index(before):
        if words := _floor_words(config, org):
            context.output.warn(words)
        context.ask(
            f"Require no more than `{level}` {_whom(org)}?",
            what=f"`{before}` is required {_whom(org)} as before",
        )
    was_changed = managed.change(
        context.paths, lambda config: changes.with_level(config, level, org)
    )
    after = load_config(context.paths)
    held = after.policy.required(org)
    data = {
        "config_file": _holder(after, level, org),
        "organization": org or None,
        "require": level,
        "before": before,
        "in_force": held,
        "was_changed": was_changed,
        "stops": stopped,
    }
    stronger = f"`{held}` stays in force {_whom(org)}: {_floor_words(config, org)}"
    return Report(
        data,
        f"`{level}` is required {_whom(org)}",
        notes=(stronger,) if held != level else (),
    )


def _require_level(level: str) -> None:
    """Require a known level.

    Raises:
        UsageError: it is none.
    """
    from aperio_cli.models.policy import REQUIREMENTS
    from aperio_cli.models.reading import unknown

    if level not in REQUIREMENTS:
        raise UsageError(
            f"`{one_line(level, limit=80)}` was not accepted; what is required was left as it is",
            why=unknown(level, REQUIREMENTS),
            next=[f"say one of {' and '.join(f'`{each}`' for each in REQUIREMENTS)}"],
        )


def _holder(config: Config, level: str, organization: str) -> str:
    """Return the file that requires it: config.toml where both do."""
    is_by_hand = config.stated.level(organization) == level
    return str(config.file if is_by_hand else config.managed_file)


def _floor_words(config: Config, organization: str) -> str:
    """Return what is required all the same, whatever this says; empty when nothing is."""
    site = config.site
    stated = [f"`{site.require}` of every plugin"] if site.require else []
    own = dict(site.organizations).get(organization, "")
    stated += [f"`{own}` of `{organization}`'s"] if own else []
    if stated:
        return f"the site requires {' and '.join(stated)} ({config.site_file})"
    if organization and config.user.require:
        level = config.user.require
        return f"this machine requires `{level}` of every plugin ({_holder(config, level, '')})"
    return ""


def _whom(organization: str) -> str:
    return f"for `{organization}`" if organization else "on this machine"
