"""`aperio doctor`: what this machine can do for plugins, found by looking."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from aperio_cli import __version__, clock
from aperio_cli.commands.app import app
from aperio_cli.commands.common import command
from aperio_cli.context import Context
from aperio_cli.output import Report, pairs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from aperio_cli.trust.roots import DomainRoot

_TOOLS = ("go",)


@command(app, "doctor")
def doctor(context: Context) -> Report:
    """Show interpreters and tools found, what is enforced on plugins, and where things are."""
    from aperio_cli.host.limits import NOT_ENFORCED
    from aperio_cli.machine.interpreters import find_interpreters
    from aperio_cli.paths import find_program
    from aperio_cli.trust.roots import domain_roots

    now = clock.now()
    roots = domain_roots(context.config, context.paths)
    interpreters = [
        interpreter.to_json()
        for interpreter in find_interpreters(context.config.python_interpreters)
    ]
    tools = {tool: find_program(tool) for tool in _TOOLS}
    data = {
        "version": __version__,
        "platform": str(context.platform),
        "home": str(context.paths.home),
        "config_file": str(context.paths.config_file),
        "interpreters": interpreters,
        "tools": tools,
        "not_enforced": list(NOT_ENFORCED),
        "local_trust_domain": context.paths.local_root.exists(),
        "trusted_roots": [_root_data(root, now) for root in roots],
    }
    rows: list[tuple[str, object]] = [
        ("aperio", f"{__version__} on Python {sys.version.split()[0]}"),
        ("platform", context.platform),
        ("home", context.paths.home),
        ("config file", context.paths.config_file),
        *(("interpreter", f"{i['tag']}  {i['version']}  {i['executable']}") for i in interpreters),
        *((tool, place or "not found") for tool, place in tools.items()),
        ("not enforced", " ".join(NOT_ENFORCED)),
        ("local trust domain", "yes" if data["local_trust_domain"] else "no"),
        *(("trusted root", _root_text(root, now)) for root in roots),
    ]
    return Report(data, pairs(rows), notes=tuple(_warnings(context, roots, now)))


def _root_data(root: DomainRoot, now: datetime) -> dict[str, Any]:
    from aperio_cli.trust.roots import root_age_days

    source = root.source
    return {
        "name": source.name,
        "origin": source.origin,
        "as_of": source.as_of,
        "age_days": root_age_days(source, now),
        "problem": source.problem,
    }


def _root_text(root: DomainRoot, now: datetime) -> str:
    from aperio_cli.trust.roots import root_age

    source = root.source
    state = "cannot be used" if source.problem else root_age(source, now)
    return f"{source.name}  {source.origin}, {state}"


def _warnings(context: Context, roots: Sequence[DomainRoot], now: datetime) -> Iterator[str]:
    """Yield what people should know about the roots.

    Damage, and the old age of those that matter.
    """
    from aperio_cli.trust.roots import STALE_AFTER, refreshed_by_default, root_age, root_age_days

    wanted = refreshed_by_default(context.config)
    for root in roots:
        name, age_days = root.source.name, root_age_days(root.source, now)
        if root.source.problem:
            said = "; ".join((root.source.problem, *root.source.remedies))
            yield f"the trusted root `{name}` cannot be used: {said}"
        if name in wanted and age_days is not None and age_days > STALE_AFTER.days:
            age = root_age(root.source, now)
            yield f"the trusted root `{name}` is {age}: `aperio trust refresh {name}`"
