"""What is installed in one home, and what each record says: read, and judged by nobody.

    plugins/<namespace>/<name>/<version>/receipt.json
                                         artifact.sigstore.json, files.sha256, files/

A version whose folder has no receipt is not installed: a removal takes that first.
"""

from __future__ import annotations

import functools
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from aperio_cli.errors import AperioError
from aperio_cli.errors.installing import ReceiptInvalid
from aperio_cli.files import owning, reading, tree
from aperio_cli.models.plugin_id import PluginId, check_version, version_key
from aperio_cli.models.receipt import (
    FILE_NAME,
    MAX_BYTES,
    TREE_FILE_NAME,
    Precedent,
    Receipt,
    damaged,
)
from aperio_cli.store.current import is_version

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from aperio_cli.paths import Paths

MAX_TREE_BYTES: Final = 16 * 1024 * 1024
_Record = TypeVar("_Record", Precedent, Receipt)


class Records:
    """The records of the versions below one home; a home that does not exist holds none.

    Args:
        paths: gives the home.

    Raises:
        PathShared: somebody else may change what is in it. What reads a record raises it, too.
    """

    def __init__(self, paths: Paths) -> None:
        owning.require_own(paths.plugins)
        self._paths = paths

    def versions(self, plugin: PluginId) -> list[str]:
        """Return the installed versions of a plugin, lowest first; receipts may be damaged."""
        folder = self._paths.plugin(plugin)
        return [v for v in self.folders(plugin) if os.path.lexists(folder / v / FILE_NAME)]

    def folders(self, plugin: PluginId) -> list[str]:
        """Return `versions`, and those whose removal was interrupted: they have no receipt."""
        return sorted(filter(is_version, _folders(self._paths.plugin(plugin))), key=version_key)

    def folder(self, plugin: PluginId, version: str) -> Path:
        """Return the place of a version, whether it is there or not."""
        return self._paths.plugin(plugin) / check_version(version)

    def tree_list(self, receipt: Receipt) -> bytes:
        """Return the contents of a version's files.sha256, checked against the receipt.

        Raises:
            ReceiptInvalid: it is missing, or its digest is not the receipt's.
        """
        path = receipt.folder / TREE_FILE_NAME
        try:
            text = reading.read_capped(path, MAX_TREE_BYTES)
        except (OSError, AperioError) as error:
            raise damaged(path, str(error)) from error
        if (found := tree.tree_digest(text)) != receipt.tree_digest:
            raise damaged(path, f"expected {receipt.tree_digest}\nfound    {found}")
        return text

    def check(self, receipt: Receipt, digests: Mapping[str, str] | None = None) -> None:
        """Check that the files of an installed version are those of its installation.

        Args:
            receipt: which version.
            digests: of files that the caller has just read, as `files.compare_tree` takes them.

        Raises:
            FilesChanged: names the files that differ.
            ReceiptInvalid: the list of files is damaged.
            OSError: a file may not be read.
        """
        subject = f"`{receipt.id}` {receipt.version}"
        tree.compare_tree(receipt.files, self.tree_list(receipt), subject=subject, digests=digests)

    def _plugins(self) -> Iterator[PluginId]:
        for namespace in _folders(self._paths.plugins):
            for name in _folders(self._paths.plugins / namespace):
                with suppress(AperioError):  # not a name that install can have made
                    yield PluginId.parse(f"{namespace}/{name}")

    def _read(self, plugin: PluginId, version: str) -> Receipt:
        receipt = _parsed(self._record(plugin, version), self.folder(plugin, version))
        return self._own(receipt, plugin, version)

    def _recorded(self, plugin: PluginId, version: str) -> tuple[Precedent | None, Receipt | None]:
        """Return what the record of a version says, and the whole of it unless it is damaged."""
        if not self._is_recorded(plugin, version):
            return None, None
        data, folder = self._record(plugin, version), self.folder(plugin, version)
        try:
            receipt = self._own(Receipt.parse(data, folder), plugin, version)
        except ReceiptInvalid:
            return self._own(Precedent.parse(data, folder), plugin, version), None
        return receipt.precedent, receipt

    def _precedent(self, plugin: PluginId, version: str) -> Precedent | None:
        if not self._is_recorded(plugin, version):
            return None
        found = Precedent.parse(self._record(plugin, version), self.folder(plugin, version))
        return self._own(found, plugin, version)

    def _is_recorded(self, plugin: PluginId, version: str) -> bool:
        return os.path.lexists(self.folder(plugin, version) / FILE_NAME)

    def _record(self, plugin: PluginId, version: str) -> bytes:
        path = self.folder(plugin, version) / FILE_NAME
        owning.require_own(path)
        try:
            return reading.read_capped(path, MAX_BYTES)
        except (OSError, AperioError) as error:
            raise damaged(path, str(error)) from error

    def _own(self, record: _Record, plugin: PluginId, version: str) -> _Record:
        """Return a record that speaks for the version in whose folder it stands.

        Raises:
            ReceiptInvalid: it speaks for another one.
        """
        if (record.id, record.version) != (plugin, version):
            path = self.folder(plugin, version) / FILE_NAME
            raise damaged(path, f"it speaks for `{record.id}` {record.version}")
        return record


@functools.lru_cache(maxsize=128)
def _parsed(data: bytes, folder: Path) -> Receipt:
    """Return the receipt; a host asks for the same one at each start.

    Raises:
        ReceiptInvalid, ReceiptNewer: as `Receipt.parse`.
    """
    return Receipt.parse(data, folder)


def _folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted, without hidden ones and links."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name
                for entry in entries
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
            )
    except (FileNotFoundError, NotADirectoryError):
        return []
