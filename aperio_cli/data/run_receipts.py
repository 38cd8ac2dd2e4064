"""Receipts of runs, kept on disk: a bounded file of lines for each plugin.

A run that goes on has a receipt, too; its end is a second line. Of a run whose process is gone
without one, killed say, the receipt says that it failed.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.files.rotating import RotatingFile, newest_lines
from aperio_cli.machine.processes import find_start
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.reading import Bounds, Table, Unreadable, read_json
from aperio_cli.models.run_receipt import FAILED, RUNNING, RunReceipt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCHEMA: Final = "aperio.run-receipt/v1"
MOST_BYTES: Final = 256 * 1024
"""Of one plugin's newest file; there is one older one. A receipt has some 600 bytes, twice."""
_KEPT: Final = 1
_MOST_LINE_BYTES: Final = 16 * 1024
LOST: Final = "host-ended"
"""The code of a run whose process ended before it did."""


class RunReceipts:
    """The receipts of one operator's runs.

    Args:
        folder: where they are; made when there is one to keep.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._holder = _own_identity(os.getpid())

    def keep(self, receipt: RunReceipt) -> None:
        """Keep a receipt; a later one of the same run takes its place.

        Raises:
            DiskFull: there is no space; those that were kept before are untouched.
            OSError, AperioError: as `RotatingFile.append`.
        """
        with self.keeping() as keep:
            keep(receipt)

    @contextlib.contextmanager
    def keeping(self) -> Iterator[Callable[[RunReceipt], None]]:
        """Give what keeps one receipt, as `keep`; files stay open while the block runs."""
        files: dict[PluginId, RotatingFile] = {}

        def keep(receipt: RunReceipt) -> None:
            plugin = receipt.plugin
            if plugin not in files:
                files[plugin] = RotatingFile(self._file(plugin), most_bytes=MOST_BYTES, kept=_KEPT)
            record = {"schema": SCHEMA, **receipt.to_json(), "holder": self._holder}
            text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
            files[plugin].append(text.encode("utf-8", "replace"))

        try:
            yield keep
        finally:
            for file in files.values():
                file.close()

    def newest(self, plugin: PluginId, *, most: int = 20) -> tuple[RunReceipt, ...]:
        """Return the newest receipts of a plugin, each run once, the newest first.

        A line that cannot be read is passed over: a full disk, or a kill, may have cut it.

        Raises:
            FileNotRegular, OSError: they cannot be read at all.
        """
        return tuple(itertools.islice(self._of(plugin), most))

    def newest_of_all(self, *, most: int = 20) -> tuple[RunReceipt, ...]:
        """Return the newest receipts of all plugins, each run once, the newest first.

        Raises:
            FileNotRegular, OSError: as `newest`.
        """
        each = (self._of(plugin) for plugin in self.plugins())
        merged = heapq.merge(*each, key=lambda receipt: receipt.started_at, reverse=True)
        return tuple(itertools.islice(merged, most))

    def _of(self, plugin: PluginId) -> Iterator[RunReceipt]:
        """Yield the receipts of a plugin as they are read."""
        seen: set[str] = set()
        lines = newest_lines(self._file(plugin), kept=_KEPT, most_bytes=2 * MOST_BYTES)
        for receipt in _receipts(lines):
            if receipt.run_id not in seen:
                seen.add(receipt.run_id)
                yield receipt

    def plugins(self) -> tuple[PluginId, ...]:
        """Return the ids of all plugins that have receipts, sorted."""
        found = set()
        for path in self._folder.glob("*/*.jsonl"):
            try:
                found.add(PluginId.parse(f"{path.parent.name}/{path.name.removesuffix('.jsonl')}"))
            except AperioError:  # nothing of ours
                continue
        return tuple(sorted(found))

    def _file(self, plugin: PluginId) -> Path:
        return self._folder / plugin.namespace / f"{plugin.name}.jsonl"


def _receipts(lines: Iterator[bytes]) -> Iterator[RunReceipt]:
    for line in lines:
        try:
            document = read_json(line, Bounds(_MOST_LINE_BYTES))
            table = Table({"of": document}, _unreadable, is_record=True).table("of")
            receipt = RunReceipt.from_record(table)
        except Unreadable:
            continue
        if document.get("schema", SCHEMA) != SCHEMA:  # of a newer aperio
            continue
        if receipt.status == RUNNING and not _is_held(document.get("holder")):
            receipt = replace(
                receipt,
                status=FAILED,
                code=LOST,
                error_message="the process that ran it ended before it did",
            )
        yield receipt


def _unreadable(key: str, why: str) -> NoReturn:
    raise Unreadable(f"{key}: {why}")


def _is_held(holder: object) -> bool:
    """Return whether the process that wrote a record is still there."""
    pid = holder.get("pid") if isinstance(holder, dict) else None
    return isinstance(pid, int) and holder == _identity(pid)


def _identity(pid: int) -> dict[str, object] | None:
    """Return what tells a process from every other, ids that come again included; None: gone."""
    started = find_start(pid)
    return None if started is None else {"pid": pid, "started": started, "boot": _boot()}


@functools.cache
def _own_identity(pid: int) -> dict[str, object] | None:
    """Return what tells this process from every other; looked up once."""
    return _identity(pid)


@functools.cache
def _boot() -> str:
    """Return what tells this start of the machine from every other."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def moment() -> str:
    """Return the current moment as receipts state it: RFC 3339 in UTC with milliseconds."""
    return clock.now().isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
