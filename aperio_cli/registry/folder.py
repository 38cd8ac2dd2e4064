"""A registry in a folder of this machine, which somebody else may have filled."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from aperio_cli.files.beneath import Beneath
from aperio_cli.files.naming import as_path
from aperio_cli.models.address import Place
from aperio_cli.models.registry_index import FILE_NAME
from aperio_cli.net.fetch import FetchRequest, fetch_bytes
from aperio_cli.registry.reader import check_address, unreadable
from aperio_cli.text import clean

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.models.digest import Digest
    from aperio_cli.registry.http import Downloads

BUILT_FOLDER: Final = "public"
"""Where `aperio registry build` writes, below the folder that maintainers keep."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.ASCII | re.IGNORECASE)
_SHOWN = 120


def find_built(folder: Path) -> tuple[str, ...] | None:
    """Return the way from a folder to the built registry in it: none, or its source's `public`.

    Raises:
        FileNotRegular: a link stands in its place.
    """
    try:
        with Beneath(folder) as root:
            if root.has_file(FILE_NAME):
                return ()
            return (BUILT_FOLDER,) if root.has_file(BUILT_FOLDER, FILE_NAME) else None
    except (OSError, ValueError):  # there is no such folder, or it is not ours to read
        return None


@dataclass(frozen=True, slots=True)
class FolderReader:
    """A registry whose index is in a folder.

    Attributes:
        folder: the absolute folder that holds the index.
        root: the folder that the operator named, below which no link is followed: the same, or
            the one above it.
        downloads: fetches what the index points to elsewhere.
    """

    folder: Path
    root: Path
    downloads: Downloads

    @classmethod
    def open(cls, named: Path, downloads: Downloads) -> FolderReader:
        """Return the reader of a folder that holds an index, or whose `public` does.

        Raises:
            FileNotRegular: a link stands in the place of the index.
        """
        root = as_path(str(named)).absolute()
        return cls(root.joinpath(*(find_built(root) or ())), root, downloads)

    @property
    def place(self) -> str:
        """The folder."""
        return str(self.folder)

    @property
    def below(self) -> str:
        """The folder below which no link is followed."""
        return str(self.root)

    def locate(self, url: str) -> str:
        """Return a location in the index: in the folder, or an address of another machine.

        Raises:
            IndexUnreadable: it leads out of the folder, or onto this machine.
        """
        if _SCHEME.match(url):
            return check_address(url, allowed={Place.ELSEWHERE}, index=self.place)
        parts = unquote(url).split("/")
        if {"", ".", ".."} & set(parts) or any(c in part for part in parts for c in "\\\0"):
            shown = clean(url, limit=_SHOWN)
            raise unreadable(self.place, f"`{shown}` leads out of the registry")
        return str(self.folder.joinpath(*parts))

    def read(
        self,
        where: str,
        limit_bytes: int,
        expected: Digest | None = None,
        *,
        is_fresh: bool = False,
    ) -> bytes:
        """Return a document of the folder, or one elsewhere (`Documents.read`)."""
        if "://" in where:
            return self.downloads.read(where, limit_bytes, expected, is_fresh=is_fresh)
        return fetch_bytes(FetchRequest(where, limit_bytes, expected, below=self.below))[0]

    def keeping_late(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing: what is in a folder is not kept elsewhere (`Documents.keeping_late`)."""
        return contextlib.nullcontext()

    def keeping_nothing(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing, as above (`Documents.keeping_nothing`)."""
        return contextlib.nullcontext()

    def kept(
        self,
        where: str,  # noqa: ARG002 - as every place is asked
        limit_bytes: int,  # noqa: ARG002
        expected: Digest | None = None,  # noqa: ARG002
    ) -> bytes | None:
        """Return None: what is in a folder is not kept elsewhere (`Documents.kept`)."""
        return None

    def keep(self, where: str, data: bytes) -> None:
        """Do nothing, as above (`Documents.keep`)."""
