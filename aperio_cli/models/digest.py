"""Digests of bytes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Digest:
    """A SHA-256 digest; as text `sha256:<64 lower-case hex digits>`.

    Raises:
        ValueError: when `hex` is not 64 lower-case hexadecimal digits.
    """

    hex: str

    def __post_init__(self) -> None:
        if not _HEX.fullmatch(self.hex):
            message = "a sha256 digest is 64 lower-case hexadecimal digits"
            raise ValueError(message)

    def __str__(self) -> str:
        return f"sha256:{self.hex}"

    @property
    def raw(self) -> bytes:
        """The 32 bytes."""
        return bytes.fromhex(self.hex)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """Return the digest of bytes in memory."""
        return cls(hashlib.sha256(data).hexdigest())

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Return the digest written as `sha256:<hex>` or as bare hex digits.

        Raises:
            ValueError: when the text is neither.
        """
        return cls(text.removeprefix("sha256:"))
