"""`aperio host unit`: a systemd unit that keeps the host running."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

from aperio_cli.commands.app import host
from aperio_cli.commands.common import command
from aperio_cli.commands.options import option
from aperio_cli.context import Context
from aperio_cli.output import Report

if TYPE_CHECKING:
    from collections.abc import Iterator


@command(host, "host", "unit", examples=["aperio host unit", "aperio host unit --all --json"])
def host_unit(
    context: Context,
    *,
    all_: Annotated[bool, option("--all", help="As of `host run`.")] = False,
    system: Annotated[
        bool, option("--system", help="A unit of the machine that runs as you; root's always is.")
    ] = False,
) -> Report:
    """Print a systemd unit for `host run` on this home, and say how to install it.

    Root's is a unit of the machine, anybody else's one of their own service manager. systemd hears
    when the host is ready, starts it again when it dies, and ends it when it hangs. It is hardened
    as far as that takes nothing from the sandbox of plugins.
    """
    from aperio_cli.serving.unit import NAME, Unit

    options = [*_places(context), *(["--all"] if all_ else [])]
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    unit = Unit(
        command=[*_program(), "host", "run", *options],
        home=context.paths.home,
        config_file=context.paths.config_file,
        user=_user() if system and not is_root else "",
        is_users=not is_root and not system,
        options=[*options, *(["--system"] if system else [])],
    )
    text = unit.text()
    steps = "\n".join(["to install it:", *(f"  {step}" for step in unit.steps)])
    data = {"name": NAME, "place": unit.place, "unit": text, "steps": list(unit.steps)}
    return Report(data, text.rstrip("\n"), (steps,))


def _program() -> Iterator[str]:
    """Give the arguments that start this aperio, whatever is on whose PATH."""
    yield sys.executable
    yield from ("-I", "-m", "aperio_cli")


def _places(context: Context) -> Iterator[str]:
    """Give the options by which this call chose its places."""
    if context.settings.config:
        yield from ("--config", str(context.paths.config_file))


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name
