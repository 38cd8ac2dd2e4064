"""Leave to start what a test has, asked as the commands ask: by a policy that allows all of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from aperio_cli.machine.interpreters import missing_part
from aperio_cli.models.artifact import DevelopmentBuild
from aperio_cli.models.machine import Machine
from aperio_cli.models.platform import Platform
from aperio_cli.models.policy import UNSIGNED, Policy, PolicyException
from aperio_cli.verifying import Cleared, clear
from tests.builders import rule

if TYPE_CHECKING:
    from aperio_cli.models.receipt import Receipt

DAY = date(2026, 6, 1)
LINUX = Platform("linux", "amd64")


def machine_for(target: Receipt | DevelopmentBuild) -> Machine:
    """This machine, as somebody finds it who wants to start the target."""
    interpreter = target.interpreter
    found = ((interpreter, missing_part(interpreter)),) if interpreter else ()
    return Machine(LINUX, frozenset({"open_files"}), found)


def allowing(target: Receipt | DevelopmentBuild, policy: Policy | None = None) -> Policy:
    """A policy under which a receipt may be started that the local user signed, or nobody."""
    policy = policy or Policy()
    if isinstance(target, DevelopmentBuild):
        return policy
    granted = PolicyException(target.id, "", UNSIGNED, DAY.isoformat(), "a test")
    return replace(
        policy,
        publishers=(*policy.publishers, rule()),
        exceptions=(*policy.exceptions, granted),
    )


def cleared(target: Receipt | DevelopmentBuild, policy: Policy | None = None) -> Cleared:
    """Leave to start it once."""
    return clear(target, allowing(target, policy), machine_for(target), DAY)
