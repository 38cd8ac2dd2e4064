"""Leave to start what is measured, by the policy of the home that it is installed in."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from aperio_cli import clock
from aperio_cli.config import load_config
from aperio_cli.host.limits import ENFORCED
from aperio_cli.machine.interpreters import missing_part
from aperio_cli.models.machine import Machine
from aperio_cli.models.platform import Platform
from aperio_cli.paths import find_paths
from aperio_cli.verifying import Cleared, clear

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aperio_cli.models.artifact import DevelopmentBuild
    from aperio_cli.models.receipt import Receipt


def clearing(
    environment: Mapping[str, str],
) -> Callable[[Receipt | DevelopmentBuild], Cleared]:
    """Return how to clear a start; the configuration is read once."""
    policy = load_config(find_paths(environment)).policy
    here = Platform.of_machine(platform.system(), platform.machine())

    def cleared(target: Receipt | DevelopmentBuild) -> Cleared:
        interpreter = target.interpreter
        found = ((interpreter, missing_part(interpreter)),) if interpreter else ()
        return clear(target, policy, Machine(here, ENFORCED, found), clock.now().date())

    return cleared
