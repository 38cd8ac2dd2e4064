"""What a plugin finds around itself: a private folder and an environment built from nothing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.usage import UsageError
from aperio_cli.files import removing
from aperio_cli.files.reading import FOLDER_FLAGS
from aperio_cli.files.writing import disk_full_guard
from aperio_cli.host.wire import handshake

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.host.wire.handshake import Dialect

KEY_PAIR_VARIABLE: Final = "APERIO_HOST_KEY_PAIR"
HOST_SOCKET_VARIABLE: Final = "APERIO_HOST_SOCKET"
"""Names the socket of the key-value store (host.proto)."""
LOG_LEVEL_VARIABLE: Final = "APERIO_PLUGIN_LOG_LEVEL"
"""Tells an SDK below which level it need not log."""

_FOLDER: Final = re.compile(r"aperio-[0-9a-f]{8}(-[0-9a-f]{8})?", re.ASCII)
"""Names of private folders, and of those that are just being removed."""
_SWEPT_AFTER_S: Final = 60.0
_LONGEST_FOLDER_BYTES: Final = 80  # leaves 27 of a socket's 107 for go-plugin's names


@dataclass(frozen=True, slots=True)
class PrivateFolder:
    """A folder of mode 0700 for one run.

    As long as its host lives it is locked, which the kernel ends with the host: `sweep` removes
    what was left by one that was killed.
    Its plugin may rename whatever is in it, and put links there: it is used and removed by the
    descriptors that are open since it was made.

    Attributes:
        path: the folder itself.
        base_descriptor: of the folder that it is in.
        descriptor: of the folder itself.
        own_descriptor: of `own`.
    """

    path: Path
    base_descriptor: int
    descriptor: int
    own_descriptor: int

    @property
    def own(self) -> Path:
        """The plugin's own: its home, working directory, temporary folder, place of its socket."""
        return self.path / "plugin"

    @property
    def host_socket(self) -> Path:
        """Where the host serves the key-value store, if it does."""
        return self.path / "host" / "kv"

    @property
    def store_socket(self) -> Path:
        """Where the key-value store is behind its gate, which no plugin is shown."""
        return self.path / "kv"

    @property
    def relay_socket(self) -> Path:
        """Where the host's TLS relay listens, if there is one."""
        return self.path / "host" / "tls"

    @classmethod
    def make(cls, base: Path, *, subject: str) -> PrivateFolder:
        """Return a new one.

        Args:
            base: where, such as `paths.runtime_base` says.
            subject: what to call the plugin in messages.

        Raises:
            UsageError: the path of `base` is so long that no socket fits below it (unix(7)).
            DiskFull: there is no space.
            OSError: it cannot be made.
        """
        path = base / f"aperio-{secrets.token_hex(4)}"
        if len(os.fsencode(path)) > _LONGEST_FOLDER_BYTES:
            raise UsageError(
                f"{subject} was not started: {base} is too long for unix sockets",
                why=f"a socket's path has at most 107 bytes; {path} leaves too few",
                next=["set XDG_RUNTIME_DIR to a folder with a short path"],
            )
        with disk_full_guard(f"{subject} was not started"), contextlib.ExitStack() as on_failure:
            above = os.open(base, FOLDER_FLAGS & ~os.O_NOFOLLOW)
            on_failure.callback(os.close, above)
            descriptor = _make_folder(above, path.name, on_failure)
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            own = _make_folder(descriptor, "plugin", on_failure)
            os.mkdir("host", 0o700, dir_fd=descriptor)
            # The folder above is closed; to a plugin with an id of its own its sandbox shows this.
            os.chmod("host", 0o755, dir_fd=descriptor)  # noqa: S103
            on_failure.pop_all()
        return cls(path, above, descriptor, own)

    def remove(self) -> None:
        """Remove it, also when the plugin took permissions away inside of it; call it once.

        What is still there afterwards was made meanwhile, by what the plugin left behind.
        """
        name, trash = self.path.name, f"{self.path.name}-{secrets.token_hex(4)}"
        base = self.base_descriptor
        with contextlib.suppress(OSError):  # a straggler that knows the old name finds nothing
            os.rename(name, trash, src_dir_fd=base, dst_dir_fd=base)
        with contextlib.suppress(OSError):
            removing.remove_contents(self.descriptor)
        for each in (trash, name):
            with contextlib.suppress(OSError):
                found = os.lstat(each, dir_fd=base)
                if os.path.samestat(found, os.fstat(self.descriptor)):
                    os.rmdir(each, dir_fd=base)
        for descriptor in (self.own_descriptor, self.descriptor, base):
            os.close(descriptor)


def _make_folder(above: int, name: str, on_failure: contextlib.ExitStack) -> int:
    """Make a folder that is this user's alone; return it opened."""
    os.mkdir(name, 0o700, dir_fd=above)
    on_failure.callback(removing.remove_below, above, name)
    descriptor = os.open(name, FOLDER_FLAGS, dir_fd=above)
    on_failure.callback(os.close, descriptor)
    return descriptor


def sweep(base: Path, *, older_than_s: float = _SWEPT_AFTER_S) -> None:
    """Remove private folders of this user whose host was killed. Blocks.

    Args:
        base: where they were made.
        older_than_s: how old they have to be: a new one is not locked yet.
    """
    with contextlib.suppress(OSError), os.scandir(base) as entries:
        names = [entry.name for entry in entries if _FOLDER.fullmatch(entry.name)]
        above = os.open(base, FOLDER_FLAGS & ~os.O_NOFOLLOW)
        try:
            for name in names:
                with contextlib.suppress(OSError):
                    _sweep(above, name, older_than_s)
        finally:
            os.close(above)


def _sweep(above: int, name: str, older_than_s: float) -> None:
    status = os.lstat(name, dir_fd=above)
    is_mine = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    if not is_mine or time.time() - status.st_ctime < older_than_s:
        return
    descriptor = os.open(name, FOLDER_FLAGS, dir_fd=above)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if set(os.listdir(descriptor)) <= {"plugin", "host", "kv"}:  # noqa: PTH208 - of a descriptor
            removing.remove_below(above, name)
    finally:
        os.close(descriptor)


def build_environment(
    own_folder: Path,
    host_socket: str = "",
    client_certificate: str = "",
    dialect: Dialect = handshake.APERIO,
) -> dict[str, str]:
    """Return the whole environment of a plugin; nothing of the host's own is in it.

    Args:
        own_folder: the plugin's private folder: home, temporary folder, place of its socket.
        host_socket: where the host serves the key-value store; empty: nowhere.
        client_certificate: the host's for AutoMTLS, PEM; empty: plaintext in the private folder.
        dialect: whose cookie and versions the plugin finds.
    """
    folder = str(own_folder)
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": folder,
        "TMPDIR": folder,  # what plugins before go-plugin 1.5 look at
        "PLUGIN_UNIX_SOCKET_DIR": folder,
        "PLUGIN_PROTOCOL_VERSIONS": ",".join(map(str, dialect.versions)),
        "PLUGIN_MIN_PORT": "10000",
        "PLUGIN_MAX_PORT": "25000",
        dialect.cookie[0]: dialect.cookie[1],
    }
    wanted = {HOST_SOCKET_VARIABLE: host_socket, "PLUGIN_CLIENT_CERT": client_certificate}
    return environment | {name: value for name, value in wanted.items() if value}
