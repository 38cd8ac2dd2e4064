"""What a plugin finds around itself: a private folder and an environment built from nothing."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.usage import UsageError
from aperio_cli.files.writing import disk_full_guard
from aperio_cli.host.wire import handshake

if TYPE_CHECKING:
    from aperio_cli.host.wire.handshake import Dialect

HOST_SOCKET_VARIABLE: Final = "APERIO_HOST_SOCKET"
"""Names the socket of the key-value store (host.proto)."""
LOG_LEVEL_VARIABLE: Final = "APERIO_PLUGIN_LOG_LEVEL"
"""Tells an SDK below which level it need not log."""

_LONGEST_FOLDER_BYTES: Final = 80  # leaves 27 of a socket's 107 for go-plugin's names


@dataclass(frozen=True, slots=True)
class PrivateFolder:
    """A folder of mode 0700 for one run.

    Attributes:
        path: the folder itself.
    """

    path: Path

    @property
    def own(self) -> Path:
        """The plugin's own: its home, working directory, temporary folder, place of its socket."""
        return self.path / "plugin"

    @property
    def host_socket(self) -> Path:
        """Where the host serves the key-value store, if it does."""
        return self.path / "host" / "kv"

    @property
    def relay_socket(self) -> Path:
        """Where the host's TLS relay listens, if there is one."""
        return self.path / "host" / "tls"

    @classmethod
    def make(cls, base: Path, *, subject: str) -> PrivateFolder:
        """A new one.

        Args:
            base: where, such as `paths.runtime_base` says.
            subject: what to call the plugin in messages.

        Raises:
            UsageError: the path of `base` is so long that no socket fits below it (unix(7)).
            DiskFull: there is no space.
            OSError: it cannot be made.
        """
        with disk_full_guard(f"{subject} was not started"):
            folder = cls(Path(tempfile.mkdtemp(prefix="aperio-", dir=base)))
        if len(os.fsencode(folder.path)) > _LONGEST_FOLDER_BYTES:
            folder.path.rmdir()
            raise UsageError(
                f"{subject} was not started: {base} is too long for unix sockets",
                why=f"a socket's path has at most 107 bytes; {folder.path} leaves too few",
                next=["set XDG_RUNTIME_DIR to a folder with a short path"],
            )
        folder.own.mkdir(mode=0o700)
        folder.host_socket.parent.mkdir(mode=0o700)
        return folder

    def remove(self) -> None:
        """Remove it, also when the plugin took permissions away inside of it."""
        trash = self.path.with_name(f"{self.path.name}-{secrets.token_hex(4)}")
        with contextlib.suppress(OSError):
            self.path.rename(trash)  # a straggler that still knows the old name finds nothing
        for name in (self.path, trash):
            _open_folders(name)
            shutil.rmtree(name, ignore_errors=True)


def _open_folders(top: Path) -> None:
    for path, names, _ in os.walk(top):
        for name in names:
            inner = Path(path, name)
            with contextlib.suppress(OSError):  # a straggler was at it
                if not inner.is_symlink():
                    inner.chmod(0o700)


def build_environment(
    own_folder: Path,
    host_socket: str = "",
    client_certificate: str = "",
    dialect: Dialect = handshake.APERIO,
) -> dict[str, str]:
    """The whole environment of a plugin; nothing of the host's own is in it.

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
