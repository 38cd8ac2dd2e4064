"""What a command works with: settings of this call, and collaborators built on first use."""

from __future__ import annotations

import os
import platform as machine
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from aperio_cli.errors import ConsentMissing
from aperio_cli.models.platform import Platform
from aperio_cli.output import Output
from aperio_cli.paths import Paths, find_paths

if TYPE_CHECKING:
    from aperio_cli.config import Config
    from aperio_cli.registry import Registry
    from aperio_cli.store import Store


@dataclass(frozen=True, slots=True)
class Settings:
    """The options that every command takes (CLI.md, "Everywhere")."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    home: str = ""
    config: str = ""
    registry: str = ""
    offline: bool = False
    yes: bool = False


class Context:
    """The collaborators of one command, each built when it is first asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.output = Output(
            json_mode=settings.json, quiet=settings.quiet, verbose=settings.verbose
        )

    @cached_property
    def paths(self) -> Paths:
        """The places of this operator."""
        return find_paths(os.environ, home=self.settings.home, config_file=self.settings.config)

    @cached_property
    def config(self) -> Config:
        """The operator's configuration.

        Raises:
            ConfigurationInvalid: when a configuration file cannot be read.
        """
        from aperio_cli.config import load_config

        return load_config(self.paths)

    @cached_property
    def store(self) -> Store:
        """What is installed."""
        from aperio_cli.store import Store

        return Store(self.paths)

    @cached_property
    def registry(self) -> Registry:
        """The registry that the call, the environment or the configuration names.

        Raises:
            RegistryUnconfigured: when none of them names one.
        """
        from aperio_cli.registry import open_registry

        stated = self.settings.registry or os.environ.get("APERIO_REGISTRY", "")
        return open_registry(stated, self.config, self.paths, offline=self.settings.offline)

    @cached_property
    def platform(self) -> Platform:
        """The platform of this machine."""
        return Platform.of_machine(machine.system(), machine.machine())

    def ask(self, question: str, *, what: str) -> None:
        """Go on only with consent: `--yes`, or `y` typed on a terminal.

        Args:
            question: shown on the terminal, without the choices.
            what: what was not done, for the error.

        Raises:
            ConsentMissing: no terminal and no `--yes`, or the answer was not yes.
        """
        if self.settings.yes:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise ConsentMissing(
                what, why="there is no terminal to ask on", next=["add `--yes` to consent"]
            )
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise ConsentMissing(what, why="the answer was not yes")
