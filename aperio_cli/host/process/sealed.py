"""A single binary, copied into memory that cannot change any more and hashed on the way there.

The bytes that were hashed are those that run: the copy is sealed (memfd_create(2), `F_ADD_SEALS` in
fcntl(2)) and executed through its descriptor, so nobody can put another file in the place of the
checked one. A system without executable memfds (not Linux, or `vm.memfd_noexec` = 2) gives None:
the file on disk runs then, checked a moment before, and the host says so at every start.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.files import FilesChanged
from aperio_cli.files import reading
from aperio_cli.machine import kernel

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK_BYTES: Final = 1024 * 1024


class SealedBinary:
    """An executable copy of a file; close it once the process has started.

    It closes itself when nobody refers to it: a cancelled launch never sees what its thread made.

    Attributes:
        descriptor: of the sealed memory.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._close = weakref.finalize(self, os.close, descriptor)

    @property
    def path(self) -> str:
        """What to execute, in a process that inherits the descriptor."""
        return f"/proc/self/fd/{self.descriptor}"

    def another(self) -> SealedBinary:
        """Return the same memory by a descriptor of its own."""
        return SealedBinary(os.dup(self.descriptor))

    def close(self) -> None:
        """Close the descriptor; harmless when repeated."""
        self._close()


def seal_binary(path: Path, expected_sha256: str, *, subject: str) -> SealedBinary | None:
    """Return a sealed copy of a file, whose digest is the one expected.

    None where there is no memfd.

    Args:
        path: the file; a link is refused.
        expected_sha256: in hexadecimal, from the list made at install.
        subject: what to call the plugin in messages.

    Raises:
        FilesChanged: the copy has another digest; it is gone again.
        FileNotRegular: a link, or no file, stands there.
        OSError: the file may not be read, or memory is short.
    """
    descriptor = _executable_memory(path.name)
    if descriptor is None:
        return None
    try:
        with reading.open_regular(path) as source:
            found = _copy(source.fileno(), descriptor)
        _seal(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    if found == expected_sha256:
        return SealedBinary(descriptor)
    os.close(descriptor)
    raise FilesChanged(
        f"{subject} is not as it was installed: its binary changed; nothing was executed",
        why=f"checksums did not match: {path.name}\nexpected {expected_sha256}\nfound    {found}",
        next=["remove it and install it again, which brings back the published files"],
    )


def _executable_memory(name: str) -> int | None:
    """Return a new descriptor of memory that may be sealed and executed, or None."""
    flags = kernel.MFD_CLOEXEC | kernel.MFD_ALLOW_SEALING
    for more in (kernel.MFD_EXEC, 0):
        try:
            return kernel.memfd_create(name, flags | more)
        except OSError:
            continue
    return None


def _seal(descriptor: int) -> None:
    """Let nobody change the memory any more, nor whether it may be executed.

    Several processes may run from it, and each is of the user that it belongs to.
    """
    with contextlib.suppress(OSError):  # older kernels do not know it
        fcntl.fcntl(descriptor, kernel.F_ADD_SEALS, kernel.F_SEAL_EXEC)
    seals = kernel.F_SEAL_WRITE | kernel.F_SEAL_GROW | kernel.F_SEAL_SHRINK | kernel.F_SEAL_SEAL
    fcntl.fcntl(descriptor, kernel.F_ADD_SEALS, seals)


def _copy(source: int, target: int) -> str:
    """Return the SHA-256 of what was copied, in hexadecimal.

    What was read is hashed and written at the same time, from the same buffer; both release the
    GIL.
    """
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    with ThreadPoolExecutor(1) as pool:
        while count := os.readv(source, [buffer]):
            written = pool.submit(_write, target, buffer[:count])
            digest.update(buffer[:count])
            written.result()
    return digest.hexdigest()


def _write(target: int, rest: memoryview) -> None:
    while rest:
        rest = rest[os.write(target, rest) :]
