"""`aperio trust require`: signed or verified publishers, for the machine or one organization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aperio_cli.commands.app import trust
from aperio_cli.commands.common import command
from aperio_cli.context import Context
from aperio_cli.errors import UsageError
from aperio_cli.output import Report

if TYPE_CHECKING:
    from aperio_cli.config import Config, Statements


@command(trust, "trust", "require")
def trust_require(
    context: Context,
    level: Annotated[
        str, typer.Argument(metavar="signed|verified", help="The least.", show_default=False)
    ],
    *,
    org: Annotated[
        str,
        typer.Option(help="For what runs for this organization.", metavar="ID", show_default=False),
    ] = "",
) -> Report:
    """Say what is required of plugins here: a known signer, or one of a verified publisher.

    It is asked at install and before every start. To require less than before needs your consent.
    """
    from aperio_cli.config import load_config, require_level
    from aperio_cli.models.policy import REQUIREMENTS
    from aperio_cli.models.table import unknown

    if level not in REQUIREMENTS:
        raise UsageError(
            "what is required was left as it is: expected signed or verified",
            why=unknown(level, REQUIREMENTS),
        )
    config = context.config
    before = _stated(config.user, org) or REQUIREMENTS[0]
    if REQUIREMENTS.index(level) < REQUIREMENTS.index(before):
        context.output.warn(_site_words(config, org))
        context.ask(
            f"Require no more than `{level}` {_whom(org)}?",
            what=f"`{before}` is required {_whom(org)} as before",
        )
    was_changed = require_level(context.paths.config_file, level, org)
    held = load_config(context.paths).policy.required(org)
    data = {
        "config_file": str(context.paths.config_file),
        "organization": org or None,
        "require": level,
        "before": before,
        "in_force": held,
        "was_changed": was_changed,
    }
    stronger = f"`{held}` stays in force {_whom(org)}: {_site_words(config, org)}"
    return Report(
        data,
        f"`{level}` is required {_whom(org)}",
        notes=(stronger,) if held != level else (),
    )


def _stated(statements: Statements, organization: str) -> str:
    if organization:
        return dict(statements.organizations).get(organization, "")
    return statements.require


def _site_words(config: Config, organization: str) -> str:
    """What the site holds, whatever the user's file says."""
    site = config.site
    stated = [f"`{site.require}` of every plugin"] if site.require else []
    own = dict(site.organizations).get(organization, "")
    stated += [f"`{own}` of `{organization}`'s"] if own else []
    if stated:
        return f"the site requires {' and '.join(stated)} ({config.site_file})"
    if organization and config.user.require:
        return f"this machine requires `{config.user.require}` of every plugin ({config.file})"
    return "the site requires nothing of its own"


def _whom(organization: str) -> str:
    return f"for `{organization}`" if organization else "on this machine"
