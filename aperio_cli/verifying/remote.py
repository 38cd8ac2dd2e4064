"""An artifact at an address that somebody typed, and what stands beside it there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from aperio_cli.errors.files import ResponseNotFound
from aperio_cli.errors.usage import NotFound
from aperio_cli.models.address import beside_file, file_name, shown
from aperio_cli.models.artifact import SUFFIX
from aperio_cli.net.fetch import FetchRequest, fetch_bytes, fetch_into

if TYPE_CHECKING:
    from typing import BinaryIO

    from aperio_cli.models.digest import Digest

DOWNLOAD_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class RemoteArtifact:
    """An artifact at an address; as text the address without what may be secret in it.

    Attributes:
        address: as it was typed, with user, password and query.
        name: the file's name.
    """

    address: str
    name: str

    def __str__(self) -> str:
        return shown(self.address)

    @classmethod
    def parse(cls, address: str) -> RemoteArtifact:
        """Return the artifact at an address.

        Raises:
            NotFound: it is the address of something else.
        """
        name = unquote(file_name(address))
        if not name.endswith(SUFFIX) or name.startswith(".") or "/" in name or "\0" in name:
            raise NotFound(
                f"`{shown(address)}` was not fetched: it is not the address of an artifact",
                why=f"expected a name that ends in {SUFFIX}",
                next=["check the address for a typing error"],
            )
        return cls(address, name)

    def fetch(self, sink: BinaryIO, limit_bytes: int, *, offline: bool) -> Digest:
        """Fetch the artifact into an open file, and return its digest.

        Raises:
            AperioError: as `fetch_into`.
        """
        return fetch_into(self._request(self.address, limit_bytes, offline=offline), sink).digest

    def fetch_beside(self, suffix: str, limit_bytes: int, *, offline: bool) -> bytes | None:
        """Return the file whose name has a suffix more; None when it is not there.

        Raises:
            AperioError: as `fetch_bytes`.
        """
        beside = beside_file(self.address, suffix)
        try:
            return fetch_bytes(self._request(beside, limit_bytes, offline=offline))[0]
        except ResponseNotFound:
            return None

    @staticmethod
    def _request(address: str, limit_bytes: int, *, offline: bool) -> FetchRequest:
        return FetchRequest(address, limit_bytes, offline=offline, timeout_s=DOWNLOAD_TIMEOUT_S)
