"""The version of the plugin interface, and which versions of it go together.

Minor versions go together both ways: unknown fields are ignored, and behaviour is asked for by
feature (docs/reference/interface.md). Another major version is another interface.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.installing import ProtocolIncompatible

if TYPE_CHECKING:
    from collections.abc import Mapping

INTERFACE = (1, 0)
"""What this aperio speaks: (major, minor)."""

OPERATIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "connector": ("sync", "schema", "test", "connect"),
        "remediation": ("capabilities", "execute"),
        "destination": ("deliver", "capabilities"),
    }
)
"""What can be done with each kind; the first is what happens when nothing is named."""
DECLARING: Final = frozenset({"schema", "capabilities"})
"""Those that ask a plugin what it is; nothing is asked of its service, and nothing kept."""


def format_protocol(protocol: tuple[int, int]) -> str:
    """Return a version of the interface as text, such as `1.0`."""
    return f"{protocol[0]}.{protocol[1]}"


def parse_protocol(text: str) -> tuple[int, int]:
    """Return the version of the interface written as `MAJOR.MINOR`.

    Raises:
        ValueError: when the text is not two whole numbers.
    """
    major, separator, minor = text.partition(".")
    if not (separator and text.isascii() and major.isdigit() and minor.isdigit()):
        raise ValueError(f"{text[:40]!r} is not MAJOR.MINOR")
    return int(major[:9]), int(minor[:9])


def is_compatible(protocol: tuple[int, int], spoken: tuple[int, int] = INTERFACE) -> bool:
    """Return whether a plugin of this interface version runs here: the same major version."""
    return protocol[0] == spoken[0]


def require_compatible(
    protocol: tuple[int, int], *, subject: str, left: str, spoken: tuple[int, int] = INTERFACE
) -> None:
    """Require that a plugin of this interface version runs where `spoken` is spoken.

    Args:
        protocol: what the plugin speaks, (major, minor).
        subject: what to call the plugin, such as "`acme/box` 1.2.0".
        left: what was not done, such as "was not installed".
        spoken: what the host speaks, (major, minor).

    Raises:
        ProtocolIncompatible: naming both versions.
    """
    if is_compatible(protocol, spoken):
        return
    is_newer = protocol[0] > spoken[0]
    step = "install a newer aperio" if is_newer else "ask its publisher for a newer version"
    raise ProtocolIncompatible(
        f"{subject} {left}: it speaks another version of the plugin interface",
        why=f"plugin {format_protocol(protocol)}\naperio {format_protocol(spoken)}",
        next=[step],
    )
