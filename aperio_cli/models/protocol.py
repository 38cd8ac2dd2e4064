"""The version of the plugin interface, and which versions of it go together.

Minor versions go together both ways: unknown fields are ignored, and behaviour is asked for by
feature (DESIGN, section 5). Another major version is another interface.
"""

from __future__ import annotations

from aperio_cli.errors.installing import ProtocolIncompatible

INTERFACE = (1, 0)
"""What this aperio speaks: (major, minor)."""


def format_protocol(protocol: tuple[int, int]) -> str:
    """A version of the interface as text, such as `1.0`."""
    return f"{protocol[0]}.{protocol[1]}"


def parse_protocol(text: str) -> tuple[int, int]:
    """The version of the interface written as `MAJOR.MINOR`.

    Raises:
        ValueError: when the text is not two whole numbers.
    """
    major, separator, minor = text.partition(".")
    if not (separator and text.isascii() and major.isdigit() and minor.isdigit()):
        raise ValueError(f"{text[:40]!r} is not MAJOR.MINOR")
    return int(major[:9]), int(minor[:9])


def is_compatible(protocol: tuple[int, int]) -> bool:
    """Whether a plugin of this interface version runs here: the same major version."""
    return protocol[0] == INTERFACE[0]


def require_compatible(protocol: tuple[int, int], *, subject: str, left: str) -> None:
    """Nothing, when a plugin of this interface version runs here.

    Args:
        protocol: what the plugin speaks, (major, minor).
        subject: what to call the plugin, such as "`acme/box` 1.2.0".
        left: what was not done, such as "was not installed".

    Raises:
        ProtocolIncompatible: naming both versions.
    """
    if is_compatible(protocol):
        return
    is_newer = protocol[0] > INTERFACE[0]
    step = "install a newer aperio" if is_newer else "ask its publisher for a newer version"
    raise ProtocolIncompatible(
        f"{subject} {left}: it speaks another version of the plugin interface",
        why=f"plugin {format_protocol(protocol)}\naperio {format_protocol(INTERFACE)}",
        next=[step],
    )
