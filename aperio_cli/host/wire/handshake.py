"""The handshake line that a plugin prints first: bytes to a Handshake, or the reason why not.

Source of the format: hashicorp/go-plugin, `client.go` (`Start`) and `server.go` (`Serve`). Fields
are separated by `|`: core protocol, app protocol, network, address, protocol, certificate,
multiplexing. Reading is as tolerant as a Go host's: white space at both ends is trimmed, four
fields are enough, and more than seven are fine. The address is hostile input: only a socket that
stands directly in the plugin's own folder is accepted, and its text is compared, not resolved.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.errors.installing import ProtocolIncompatible
from aperio_cli.errors.running import HandshakeAddressRefused, HandshakeMalformed, HandshakeTooLong
from aperio_cli.models.protocol import INTERFACE
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

PROTOCOL_VERSION = INTERFACE[0]
"""go-plugin's app protocol version is the major version of the plugin interface."""

MAX_BYTES = 64 * 1024
"""The longest first line, as in Go's `bufio.Scanner`."""

_CORE_VERSION = 1
_FEWEST_FIELDS = 4
_SHORTEST_CERTIFICATE = 50
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
# No `%`, `?` or `#`: gRPC decodes or cannot dial them in a target.
_SOCKET_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,106}", re.ASCII)
# The wording is go-plugin's, so that people find the answers that others got.
_USUAL_CAUSES = (
    "This usually means the plugin was not compiled for this architecture, is missing"
    " dynamic-link libraries, is not executable by this process due to file permissions, or"
    " printed something before its handshake"
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What hosts and plugins of one maker have agreed upon beside go-plugin itself.

    Attributes:
        cookie: name and value of the variable that tells a plugin that no person has started it.
        versions: the app protocol versions that the host speaks.
    """

    cookie: tuple[str, str]
    versions: tuple[int, ...]


APERIO = Dialect(("APERIO_PLUGIN_MAGIC_COOKIE", "aperio-plugin-v1"), (PROTOCOL_VERSION,))
"""What the plugins of this project speak."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a plugin said about itself and passed every check.

    Attributes:
        version: the app protocol version that it serves.
        socket_name: name of its socket, one component, inside its own folder.
        certificate: its certificate (DER) under AutoMTLS, else empty.
    """

    version: int
    socket_name: str
    certificate: bytes = b""


def parse(
    line: bytes,
    *,
    folder: str,
    subject: str,
    dialect: Dialect = APERIO,
    mtls: bool = False,
) -> Handshake:
    """Return the handshake in the first line of a plugin's stdout.

    Args:
        line: the line with or without its line feed.
        folder: absolute path of the plugin's own folder, exactly as it was given to the plugin.
        subject: what to call the plugin in messages: "`acme/box` 1.2.0".
        dialect: whose versions are meant.
        mtls: whether the host has asked for AutoMTLS; then there must be a certificate.

    Raises:
        HandshakeTooLong: the line has more than 64 KiB.
        HandshakeMalformed: fewer than four fields, or one that cannot be understood.
        ProtocolIncompatible: another core protocol or another major version.
        HandshakeAddressRefused: not a unix socket directly in `folder`.
    """
    if len(line) > MAX_BYTES:
        raise too_long(subject)
    fields = line.decode("utf-8", "replace").strip().split("|")
    if len(fields) < _FEWEST_FIELDS:
        raise HandshakeMalformed(
            f"{subject} was stopped: its first line of output is not a handshake",
            why=f"Unrecognized remote plugin message: {clean(line.strip()) or '(empty)'}\n"
            f"{_USUAL_CAUSES}",
            next=["if you wrote the plugin: print nothing before `serve`; log to stderr"],
        )
    version = _check_versions(fields, subject, dialect.versions)
    _check_transport(fields, subject)
    certificate = _certificate(fields, subject, mtls=mtls)
    name = _socket_name(fields[2], fields[3], folder, subject)
    return Handshake(version, name, certificate)


def too_long(subject: str) -> HandshakeTooLong:
    """Return the error for output that goes on and on without a line feed."""
    return HandshakeTooLong(
        f"{subject} was stopped: its first line of output does not end",
        why=f"expected a handshake of at most {MAX_BYTES} bytes\nreceived more, without a newline",
        next=["if you wrote the plugin: print nothing before `serve`; log to stderr"],
    )


def _integer(text: str, meaning: str, subject: str) -> int:
    """Return the integer as Go's `strconv.Atoi` reads it."""
    if not _INTEGER.fullmatch(text):
        raise malformed(subject, f"error parsing {meaning} version: {clean(text, limit=80)!r}")
    return int(text)


def _check_versions(fields: Sequence[str], subject: str, spoken: Sequence[int]) -> int:
    """Return the app protocol version, when the host speaks it."""
    core = _integer(fields[0], "core protocol", subject)
    if core != _CORE_VERSION:
        raise _incompatible(
            subject,
            "incompatible core API version with plugin."
            f" Plugin version: {core}, Core version: {_CORE_VERSION}",
        )
    version = _integer(fields[1], "protocol", subject)
    if version not in spoken:
        raise _incompatible(
            subject,
            "incompatible API version with plugin."
            f" Plugin version: {version}, Client versions: [{' '.join(map(str, spoken))}]",
        )
    return version


def _check_transport(fields: Sequence[str], subject: str) -> None:
    """go-plugin: a fifth field that is absent means net/rpc."""
    protocol = fields[4] if len(fields) > 4 else "netrpc"  # noqa: PLR2004 - the fifth field
    if protocol != "grpc":
        raise malformed(
            subject,
            f'unsupported plugin protocol "{clean(protocol, limit=80)}". Supported: [grpc]',
        )


def _certificate(fields: Sequence[str], subject: str, *, mtls: bool) -> bytes:
    """Return the sixth field.

    A DER certificate in base64 without padding (`server.go`, `Serve`).
    """
    text = fields[5] if len(fields) > 5 else ""  # noqa: PLR2004 - the sixth field
    if len(text) <= _SHORTEST_CERTIFICATE:
        if mtls:
            raise malformed(subject, "AutoMTLS is required here; it gave no certificate")
        return b""
    if not mtls:
        raise malformed(subject, "it offers TLS, which this host did not ask for")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise malformed(subject, f"error parsing server cert: {error}") from error


def _socket_name(network: str, address: str, folder: str, subject: str) -> str:
    parent, separator, name = address.rpartition("/")
    if network == "unix" and separator and parent == folder and _SOCKET_NAME.fullmatch(name):
        return name
    raise HandshakeAddressRefused(
        f"{subject} was stopped: its handshake names an address that is not its own",
        why=f"expected unix and a socket directly in {folder}\n"
        f"received {clean(network, limit=40)} {clean(address)}",
        next=[
            "if you wrote the plugin: make the socket in $PLUGIN_UNIX_SOCKET_DIR itself",
            "otherwise remove the plugin and tell its publisher",
        ],
    )


def _incompatible(subject: str, why: str) -> ProtocolIncompatible:
    return ProtocolIncompatible(
        f"{subject} cannot run here: it speaks another version of the plugin interface",
        why=why,
        next=[
            "install a version of the plugin that was built for this version of the interface",
            "use a version of aperio that speaks the plugin's",
        ],
    )


def malformed(subject: str, why: str) -> HandshakeMalformed:
    """Return the error for a handshake with a field that cannot be understood."""
    return HandshakeMalformed(
        f"{subject} was stopped: its handshake cannot be understood",
        why=why,
        next=["if you wrote the plugin: build it with a plugin SDK, or see docs/reference"],
    )
