"""`aperio doctor`: what this machine can do for plugins, found by looking."""

from __future__ import annotations

import shutil
import sys

from aperio_cli import __version__
from aperio_cli.commands.app import app
from aperio_cli.commands.common import command
from aperio_cli.context import Context
from aperio_cli.output import Report, pairs

_TOOLS = ("git", "go")


@command(app, "doctor")
def doctor(context: Context) -> Report:
    """Show interpreters and tools found, what is enforced on plugins, and where things are."""
    from aperio_cli.host.run import NOT_ENFORCED
    from aperio_cli.installing import find_interpreters

    interpreters = [
        interpreter.to_json()
        for interpreter in find_interpreters(context.config.python_interpreters)
    ]
    tools = {tool: shutil.which(tool) for tool in _TOOLS}
    data = {
        "version": __version__,
        "platform": str(context.platform),
        "home": str(context.paths.home),
        "config_file": str(context.paths.config_file),
        "interpreters": interpreters,
        "tools": tools,
        "not_enforced": list(NOT_ENFORCED),
        "local_trust_domain": context.paths.local_root.exists(),
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
    ]
    return Report(data, pairs(rows))
