"""Rejects: what will never be delivered, in full, in a file of lines that `deliver` reads again."""

from __future__ import annotations

import base64
import json
import os
import stat
from typing import TYPE_CHECKING, Any, Self

from aperio_cli import clock
from aperio_cli.errors.usage import PlaceUnusable
from aperio_cli.files import writing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from aperio_cli.host.calls.envelopes import Outbound
    from aperio_cli.host.calls.letters import DeadLetter
    from aperio_cli.host.calls.lines import BadLine


class Rejects:
    """A file that grows by whole lines; a context manager that closes it.

    Args:
        path: the file, made with its first line, and its folder if need be, for this user alone;
            lines are added to one that is there.

    Raises:
        PlaceUnusable: it is no regular file, or cannot be written. So may every method.
        DiskFull: there is no space. So may every method.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def file(self) -> str | None:
        """The file, once it was opened."""
        return None if self._descriptor is None else str(self.path)

    def add(self, lines: Sequence[bytes]) -> None:
        """Add lines, each of which ends in a line feed; they are on disk when this returns."""
        if not lines:
            return
        descriptor = self.open()
        try:
            with writing.disk_full_guard(f"`{self.path}` was not written to its end"):
                _write(descriptor, b"".join(lines))
                os.fsync(descriptor)
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error

    def open(self) -> int:
        """Make sure that the file is there and can be written; return its descriptor."""
        if self._descriptor is None:
            try:
                self._descriptor = self._opened()
            except OSError as error:
                raise self._unusable(error.strerror or str(error)) from error
        return self._descriptor

    def _opened(self) -> int:
        # Not blocking: a pipe that nobody reads would be waited for. It is refused below.
        if not self.path.parent.exists():
            writing.ensure_own(self.path.parent, is_read_again=False)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        with writing.disk_full_guard(f"`{self.path}` was not made"):
            descriptor = os.open(self.path, flags, 0o600)
        try:
            status = os.fstat(descriptor)
            self._require_file(status.st_mode)
            if status.st_size and os.pread(descriptor, 1, status.st_size - 1) != b"\n":
                _write(descriptor, b"\n")  # whoever wrote it last was killed in mid-line
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _require_file(self, mode: int) -> None:
        if not stat.S_ISREG(mode):
            raise self._unusable(f"it is no regular file: {stat.filemode(mode)}")

    def _unusable(self, why: str) -> PlaceUnusable:
        return PlaceUnusable(
            f"`{self.path}` cannot keep what is rejected",
            why=why,
            next=["name another file with `--rejects FILE`"],
        )


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def envelope_line(envelope: Outbound, said: dict[str, Any]) -> bytes:
    """Return the line of an envelope: an `event` line, so that `deliver` reads it again.

    Args:
        envelope: kept as it is.
        said: by whom it was not taken, and why.
    """
    head = json.dumps({"at": clock.timestamp()} | said).encode()
    return b'{"type":"event","rejected":%b,"envelope":%b}\n' % (head, envelope.json)


def line_line(line: BadLine) -> bytes:
    """Return the line of a line that was no envelope, as text, or in base64 if it is none."""
    said: dict[str, Any] = {"at": clock.timestamp(), "reason": line.reason, "code": line.code}
    said["line"] = line.number
    try:
        kept = {"text": line.data.decode()}
    except UnicodeDecodeError:
        kept = {"base64": base64.b64encode(line.data).decode()}
    return json.dumps({"type": "rejected_line", "rejected": said} | kept).encode() + b"\n"


def letter_line(letter: DeadLetter) -> bytes:
    """Return the line of a dead letter."""
    said = letter.to_json() | {"at": clock.timestamp()}
    return json.dumps(said).encode() + b"\n"
