"""What a command works with: settings of this call, and collaborators built on first use."""

from __future__ import annotations

import contextlib
import os
import platform as machine
import shlex
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from aperio_cli.errors import AperioError
from aperio_cli.errors.usage import ConfigurationInvalid, ConsentMissing, Interrupted
from aperio_cli.models.platform import Platform
from aperio_cli.output import Output
from aperio_cli.paths import Paths, find_paths
from aperio_cli.text import clean

if TYPE_CHECKING:
    from aperio_cli.config import Config, ConfigFile, PublisherFile
    from aperio_cli.models.known import KnownVersions
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.policy import Policy
    from aperio_cli.models.publisher_file import PublisherList
    from aperio_cli.proving.signature import TrustedRootSource
    from aperio_cli.registry import Registry, Situation
    from aperio_cli.registry.listing import Listing
    from aperio_cli.running import Collaborators
    from aperio_cli.store.installed import Store
    from aperio_cli.trust.signed_document import SignedDocument


@dataclass(frozen=True, slots=True)
class Settings:
    """The options that every command takes."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    home: str = ""
    config: str = ""
    registry: str = ""
    offline: bool = False
    yes: bool = False

    @property
    def places(self) -> str:
        """The options that say where things are, as they are typed; empty when none was given."""
        return _typed({"--home": self.home, "--config": self.config})

    @property
    def asked(self) -> str:
        """The option that says which registry is asked, as it is typed; empty without one."""
        return _typed({"--registry": self.registry})


def _typed(stated: dict[str, str]) -> str:
    return " ".join(f"{name} {shlex.quote(value)}" for name, value in stated.items() if value)


class Context:
    """The collaborators of one command, each built when it is first asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.is_frozen = False
        self._lock_file = ""
        self.output = Output(
            json_mode=settings.json,
            quiet=settings.quiet,
            verbose=settings.verbose,
            options=settings.places,
            registry=settings.asked,
        )

    @cached_property
    def paths(self) -> Paths:
        """The places of this operator."""
        return find_paths(os.environ, home=self.settings.home, config_file=self.settings.config)

    def require_config_file(self) -> None:
        """Require that the file which `--config` names is there: a typing error is no empty file.

        Raises:
            ConfigurationInvalid: it is not.
        """
        if not self.settings.config or self.paths.config_file.exists():
            return
        raise ConfigurationInvalid(
            f"`{clean(self.settings.config)}` is not there; nothing was done",
            why="`--config` names a file that states the configuration",
            next=["check the path for a typing error", "leave `--config` out"],
        )

    @cached_property
    def config(self) -> Config:
        """The operator's configuration.

        Raises:
            ConfigurationInvalid: when a configuration file cannot be read.
        """
        from aperio_cli.config import load_config

        return load_config(self.paths)

    @cached_property
    def policy(self) -> Policy:
        """The operator's rules: those of the configuration, and of the publisher files it names.

        With what is known against versions.

        Raises:
            ConfigurationInvalid: when a configuration file cannot be read.
            PublisherFileInvalid: when a publisher file does not count: without it a namespace
                that it speaks about would be open to whoever may sign for `*`.
            KnownVersionsUnreadable: when what is known of revoked versions cannot be read.
        """
        return self.policy_with(self.config.user)

    def policy_with(self, user: ConfigFile) -> Policy:
        """Return what the rules would be if the user's file stated this.

        Raises:
            ConfigurationInvalid, PublisherFileInvalid, KnownVersionsUnreadable: as `policy`.
        """
        from aperio_cli.config import policy_in_force

        named = self.config.publisher_files
        rules = {file: self.publishers_of(file).stated.rules for file in named}
        policy = policy_in_force(user, self.config.site, rules)
        return replace(policy, known=self.known_versions)

    @cached_property
    def trusted_roots(self) -> tuple[TrustedRootSource, ...]:
        """The trusted roots of this machine, one for each trust domain that has any."""
        from aperio_cli.trust import roots

        return roots.trusted_roots(self.config, self.paths)

    @property
    def known_versions(self) -> KnownVersions:
        """What registries were last heard to say against versions, as it is now.

        Raises:
            KnownVersionsUnreadable: when it cannot be read.
        """
        from aperio_cli.trust.known_versions import load_known

        return load_known(self.paths)

    def publishers_of(self, file: PublisherFile) -> SignedDocument[PublisherList]:
        """Return what a publisher file of the configuration states.

        Raises:
            PublisherFileInvalid: when it does not count.
        """
        from aperio_cli.trust.publisher_files import PublisherFileRequest, verify_publisher_file

        return verify_publisher_file(
            PublisherFileRequest(
                file=file,
                domains=self.config.domain_names,
                roots=self.trusted_roots,
                memory=self.paths.signed_documents,
            )
        )

    @cached_property
    def store(self) -> Store:
        """What is installed."""
        from aperio_cli.store.installed import Store
        from aperio_cli.store.lock_place import find_place

        place = find_place(self.paths.home, self._lock_file)
        if place.is_found:
            self.output.note(f"versions are those of {place.path}")
        return Store(self.paths, self.output.warn, place, is_frozen=self.is_frozen)

    def use_lock_file(self, stated: str, *, is_frozen: bool) -> None:
        """Say which lock file is in force, and whether it stays as it is, before the store is used.

        Args:
            stated: `--lock`; empty for the working folder's, else the home's.
            is_frozen: `--locked`.
        """
        self._lock_file, self.is_frozen = stated, is_frozen

    @cached_property
    def collaborators(self) -> Collaborators:
        """What running a plugin works with."""
        from aperio_cli.running import Collaborators

        return Collaborators(
            store=self.store,
            paths=self.paths,
            config=lambda: self.config,
            policy=lambda: self.policy,
            platform=self.platform,
            environment=os.environ,
        )

    @cached_property
    def registry(self) -> Registry:
        """The registry that the call, the environment or the configuration names.

        Raises:
            RegistryUnconfigured: when none of them names one.
        """
        from aperio_cli.registry import Trust, open_registry

        stated = self.settings.registry or os.environ.get("APERIO_REGISTRY", "")
        return open_registry(
            stated,
            self.config,
            self.paths,
            offline=self.settings.offline,
            trust=Trust(lambda: self.trusted_roots, self.paths.signed_documents),
            heeds=self._heeds if self.settings.registry else lambda _listing: True,
        )

    def is_installed(self, plugin: PluginId) -> bool:
        """Return whether any version of a plugin is; the store is opened for that only."""
        return self.store.has(plugin)

    def _heeds(self, listing: Listing) -> bool:
        """Return whether a registry that was named for this call alone may stop a plugin.

        It may when a version of it was installed from there. A look at somebody's folder must not
        keep from starting what came from elsewhere.
        """
        from aperio_cli.models.plugin_id import PluginRef

        for plugin, version in self.store.installed():
            if plugin == listing.id:
                with contextlib.suppress(AperioError):
                    receipt = self.store.find(PluginRef(plugin, version))
                    if (
                        receipt
                        and receipt.origin
                        and receipt.origin.place == listing.edition.registry
                    ):
                        return True
        return False

    @property
    def situation(self) -> Situation:
        """For whom a version is chosen: this machine, by the operator's rules, now."""
        from aperio_cli.registry import Situation

        return Situation(self.platform, self.policy)

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
            Interrupted: somebody pressed Ctrl-C instead.
        """
        if self.settings.yes:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise ConsentMissing(
                what, why="there is no terminal to ask on", next=["add `--yes` to consent"]
            )
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        try:
            answer = sys.stdin.readline()
        except KeyboardInterrupt as interrupt:
            sys.stderr.write("\n")
            raise Interrupted(what, why="Ctrl-C was pressed instead of an answer") from interrupt
        if not answer.endswith("\n"):
            sys.stderr.write("\n")
        if answer.strip().lower() not in {"y", "yes"}:
            raise ConsentMissing(what, why="the answer was not yes")
