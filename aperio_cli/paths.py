"""Every place on disk that aperio reads or writes, built in one place.

`$APERIO_HOME` is `--home`, else the environment variable, else `~/.aperio`. When it is set,
configuration, cache and lock live in it too; otherwise they are in platformdirs' places.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aperio_cli
from aperio_cli.errors.files import PathShared
from aperio_cli.errors.usage import HomeUnknown, NotFound
from aperio_cli.files import owning
from aperio_cli.files.naming import as_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_cli.models.plugin_id import PluginId

HOME_VARIABLE = "APERIO_HOME"
MANAGED_FILE_NAME = "managed.toml"
LOCK_FILE_NAME = "aperio.lock"
_LONGEST_RUNTIME_FOLDER = 48  # leaves 59 of a socket's bytes for its folder and itself
_PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Paths:
    """The places of one operator.

    Attributes:
        home: `$APERIO_HOME`, absolute.
        config_file: the user's config.toml.
        cache: what can be made again.
    """

    home: Path
    config_file: Path
    cache: Path

    @property
    def managed_file(self) -> Path:
        """What commands state, beside the user's config.toml."""
        return self.config_file.with_name(MANAGED_FILE_NAME)

    @property
    def managed_lock(self) -> Path:
        """Held by whoever changes `managed_file`."""
        return self.managed_file.with_suffix(".lock")

    @property
    def artifacts(self) -> Path:
        """Artifacts that were downloaded from a registry, by digest; can be downloaded again."""
        return self.cache / "artifacts"

    @property
    def plugins(self) -> Path:
        """The store."""
        return self.home / "plugins"

    @property
    def system(self) -> Paths | None:
        """The home whose store every user runs plugins from; None where root keeps none."""
        home = Path(aperio_cli.SYSTEM_HOME)
        if sys.platform != "linux" or self.home == home or not home.joinpath("plugins").is_dir():
            return None
        return Paths(home, home / "config.toml", home / "cache")

    @property
    def state_database(self) -> Path:
        """Checkpoints and the key-value store (SQLite)."""
        return self.home / "state.db"

    @property
    def host(self) -> Path:
        """What the supervised host keeps: its socket, receipts of runs, logs of plugins."""
        return self.home / "host"

    @property
    def run_receipts(self) -> Path:
        """Receipts of runs, a file of lines for each plugin."""
        return self.host / "receipts"

    @property
    def plugin_logs(self) -> Path:
        """What plugins under the supervised host have to say, a file of lines for each."""
        return self.host / "logs"

    @property
    def host_pauses(self) -> Path:
        """What is paused under the supervised host."""
        return self.host / "pauses.json"

    @property
    def host_versions(self) -> Path:
        """Which version of each plugin was healthy last under the supervised host."""
        return self.host / "versions.json"

    @property
    def trust(self) -> Path:
        """Trust domains and roots."""
        return self.home / "trust"

    @property
    def local_domain(self) -> Path:
        """The local trust domain of this home."""
        return self.trust / "local"

    @property
    def local_root(self) -> Path:
        """The trusted root of the local trust domain: all that verification reads of it."""
        return self.local_domain / "trusted_root.json"

    def refreshed_root(self, domain: str) -> Path:
        """Return what `aperio trust refresh` last got for a trust domain."""
        return self.trust / "roots" / f"{domain}.json"

    def tuf_state(self, domain: str) -> Path:
        """Return the TUF metadata of a trust domain, one folder in it for each repository."""
        return self.trust / "tuf" / domain

    @property
    def signed_documents(self) -> Path:
        """What is remembered of signed documents: which were verified, and their serials."""
        return self.trust / "signed-documents.json"

    @property
    def lock_file(self) -> Path:
        """The home's lock file: which version of each plugin is used."""
        return self.home / LOCK_FILE_NAME

    @property
    def known_versions(self) -> Path:
        """What registries were last heard to say against versions."""
        return self.trust / "known-versions.json"

    @property
    def store_lock(self) -> Path:
        """Held by whoever changes the store."""
        return self.home / "store.lock"

    def checks(self, plugin: PluginId) -> Path:
        """Return where the outcomes of a plugin's checks before launches are, for `plugin list`."""
        return self.home / "checks" / plugin.namespace / f"{plugin.name}.json"

    def plugin(self, plugin: PluginId) -> Path:
        """Return the folder of one plugin in the store."""
        return self.plugins / plugin.namespace / plugin.name


def find_paths(environment: Mapping[str, str], *, home: str = "", config_file: str = "") -> Paths:
    """Return the places that command line, environment and platform give, in this order.

    Args:
        environment: usually `os.environ`.
        home: `--home`, or empty.
        config_file: `--config`, or empty.

    Raises:
        HomeUnknown: a path begins with `~`, or none is stated, and nobody knows where that is.
    """
    stated = home or environment.get(HOME_VARIABLE, "")
    if stated:
        root = _absolute(stated)
        chosen = _absolute(config_file) if config_file else root / "config.toml"
        return Paths(root, chosen, root / "cache")
    import platformdirs

    root = _user_home(environment) / ".aperio"
    chosen = _absolute(config_file) if config_file else Path()
    return Paths(
        root,
        chosen if config_file else platformdirs.user_config_path("aperio") / "config.toml",
        platformdirs.user_cache_path("aperio"),
    )


def _absolute(stated: str) -> Path:
    """Return a path as it was meant, `~` the user's home."""
    path = as_path(stated)
    if path.parts[:1] == ("~",):
        raise _home_unknown(f"`{stated}`")
    return path.absolute()


def _user_home(environment: Mapping[str, str]) -> Path:
    """Return where the user is at home: HOME where it is a place, else as the system says."""
    stated = Path(environment.get("HOME") or "")
    if stated.is_absolute():
        return stated
    try:
        import pwd

        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except ImportError:  # on Windows
        return _absolute("~")
    except KeyError as error:
        raise _home_unknown("`~/.aperio`") from error


def _home_unknown(place: str) -> HomeUnknown:
    return HomeUnknown(
        f"{place} is nowhere: nothing says where this user is at home",
        why=f"HOME is not set to an absolute path, and the system knows no user {_user()}",
        next=[f"set {HOME_VARIABLE} or HOME to a folder of this user's"],
    )


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "of that name"


def bundled(name: str) -> Path:
    """Return a folder that ships with aperio.

    `plugin_templates`, `proto`, `sdk/python` or `sdk/go`.

    In an installed aperio it stands in `_bundled/`; in a checkout, at the top.

    Raises:
        NotFound: when the installation lacks it.
    """
    for root in (_PACKAGE / "_bundled", _PACKAGE.parent):
        if (root / name).is_dir():
            return root / name
    raise NotFound(
        f"`{name}` is missing from this installation of aperio",
        why=f"looked in {_PACKAGE / '_bundled'} and {_PACKAGE.parent}",
        next=["install aperio-cli again"],
    )


def runtime_base(environment: Mapping[str, str]) -> Path:
    """Return where private socket folders are made; short: socket paths end at 107 bytes.

    A runtime folder that is not this user's alone does not count: its owner could exchange what is
    made in it (XDG Base Directory Specification: "MUST be owned by the user", mode 0700).
    """
    stated = Path(environment.get("XDG_RUNTIME_DIR", ""))
    if stated.is_absolute() and len(str(stated)) <= _LONGEST_RUNTIME_FOLDER and _is_private(stated):
        return stated
    return Path("/tmp")  # noqa: S108 - the folders made in it are private, and it is sticky


def _is_private(folder: Path) -> bool:
    """Return whether a folder, and the way to it, are this user's alone."""
    try:
        status = folder.lstat()
        owning.require_own(folder)
    except (OSError, PathShared):
        return False
    is_mine = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    return is_mine and stat.S_IMODE(status.st_mode) == stat.S_IRWXU


def find_program(command: str, search_path: str | None = None) -> str | None:
    """Return where a program is that was named without a folder; None when it is nowhere.

    Only absolute folders count: an empty entry of PATH, or `.`, is the folder that a command is
    typed in, and what stands there may be somebody else's project.

    Args:
        command: its name; one with a folder in it is taken as it is, when it may be executed.
        search_path: folders to look in, separated as in PATH, which None means.
    """
    stated = os.environ.get("PATH", os.defpath) if search_path is None else search_path
    folders = [folder for folder in stated.split(os.pathsep) if os.path.isabs(folder)]  # noqa: PTH117 - a text of PATH
    return shutil.which(command, path=os.pathsep.join(folders))
