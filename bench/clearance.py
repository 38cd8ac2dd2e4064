"""Leave to start what is measured, by the policy of the home that it is installed in."""

from __future__ import annotations

import functools
import platform
from typing import TYPE_CHECKING

from aperio_cli.config import load_config
from aperio_cli.models.platform import Platform
from aperio_cli.paths import find_paths
from aperio_cli.running import Collaborators, clear_target
from aperio_cli.store.installed import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aperio_cli.models.artifact import DevelopmentBuild
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.verifying import Cleared


def clearing(
    environment: Mapping[str, str],
) -> Callable[[Receipt | DevelopmentBuild], Cleared]:
    """Return how to clear a start; the configuration is read once."""
    paths = find_paths(environment)
    config = load_config(paths)
    here = Platform.of_machine(platform.system(), platform.machine())
    return functools.partial(
        clear_target,
        Collaborators(
            store=Store(paths),
            paths=paths,
            config=lambda: config,
            policy=lambda: config.policy,
            platform=here,
            environment=environment,
        ),
    )
