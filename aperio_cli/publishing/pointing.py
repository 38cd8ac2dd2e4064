"""Where a registry may point: to addresses that everybody who reads it can ask, and may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from aperio_cli.errors.registries import RegistrySourceInvalid
from aperio_cli.models.address import has_user, is_possible, is_public, shown

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.publishing.record import Record

IN_ONE_NETWORK: Final = (
    'a registry for one network states `"private": true` in its aperio-registry.json'
)


def check_places(path: Path, record: Record, *, is_private: bool) -> None:
    """Check where the artifacts of a record are.

    Args:
        path: the record, for messages.
        record: its contents.
        is_private: whether the registry is for some networks only.

    Raises:
        RegistrySourceInvalid: one of them is no address that readers of the registry may ask.
    """
    for version in record.versions:
        for artifact in version.artifacts:
            for place in (artifact.url, *artifact.mirrors):
                if place and (problem := place_problem(place, is_private=is_private)):
                    raise RegistrySourceInvalid(
                        f"`{path}` points where a registry may not point",
                        why=f"{record.id} {version.version} {artifact.platform}: {problem}",
                        next=[
                            "give the artifact an https address that everybody reaches",
                            IN_ONE_NETWORK,
                        ],
                    )


def place_problem(address: str, *, is_private: bool) -> str:
    """Return what is wrong with an address of an artifact; empty when nothing is."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        port = parts.port
    except ValueError:
        return f"`{shown(address)}` is not an address"
    if not host or not is_possible(host) or port == 0:
        return f"`{shown(address)}` is not an address"
    if has_user(address):
        return f"`{shown(address)}` has a user or a password in it"
    if is_private:
        return "" if parts.scheme in {"https", "http", "oci"} else _not_https(address)
    if parts.scheme not in {"https", "oci"}:
        return _not_https(address)
    return "" if is_public(host) else f"`{shown(address)}` is in a private network, or this machine"


def _not_https(address: str) -> str:
    return f"`{shown(address)}` is not https"
